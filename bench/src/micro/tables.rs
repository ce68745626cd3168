//! What is looked up and kept for each packet or session, with few and with many others beside it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use ringway::crypto::ReplayWindow;
use ringway::limits::INNER_PREFIXES_MAX;
use ringway::node::shard::wheel::Wheel;
use ringway::packet::{Directory, Mssfix, NewPeer, Numbering, Owner, Path, PeerTable};
use ringway::random::{Random, SeededRandom};
use ringway::time::Monotonic;

use super::{Figure, Rounds};

/// From an inner address to whose it is: single addresses, and networks up to the bound on them.
pub(super) fn routes(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let addresses = COUNTS.map(|count| addresses(rounds, count));
    let networks = COUNTS.map(|count| networks(rounds, count.min(INNER_PREFIXES_MAX)));
    addresses.into_iter().chain(networks).collect()
}

fn addresses(rounds: &Rounds, count: usize) -> Result<Figure, String> {
    let mut random = SeededRandom::new(1);
    let mut directory = Directory::new(count as u32, &mut random);
    for number in 0..count {
        let announced = directory.announce_inner(address(number), OWNER);
        announced.map_err(|full| full.to_string())?;
    }
    let name = format!("route among {count} addresses");
    look_up(rounds, name, count, |number| {
        directory.owner_of_inner(address(number)).is_some()
    })
}

fn networks(rounds: &Rounds, count: usize) -> Result<Figure, String> {
    let mut random = SeededRandom::new(1);
    let mut directory = Directory::new(1, &mut random);
    for number in 0..count {
        let network = Ipv4Net::new_assert(network(number, 0), 24);
        let announced = directory.announce_prefix(IpNet::V4(network), OWNER);
        announced.map_err(|full| full.to_string())?;
    }
    let name = format!("route among {count} networks");
    look_up(rounds, name, count, |number| {
        directory
            .owner_of_inner(IpAddr::V4(network(number, 77)))
            .is_some()
    })
}

/// From a peer id, and from an address, to the peer.
pub(super) fn peers(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for count in COUNTS {
        let mut random = SeededRandom::new(1);
        let mut table = PeerTable::new(0, 1, count as u32, &mut random);
        let mut ids = Vec::with_capacity(count);
        for number in 0..count {
            let inserted = table.insert(new_peer(number), Monotonic::ZERO);
            let index = inserted.map_err(|full| full.to_string())?;
            ids.push(table.peer(index).ok_or("no peer")?.peer_id());
        }
        let by_id = format!("peer by id among {count}");
        figures.push(look_up(rounds, by_id, count, |number| {
            let id = ids.get(number);
            id.is_some_and(|id| table.by_peer_id(*id).is_some())
        })?);
        let by_path = format!("peer by address among {count}");
        figures.push(look_up(rounds, by_path, count, |number| {
            table.by_path(&new_peer(number).path).is_some()
        })?);
    }
    Ok(figures)
}

/// Looks up entries in no particular order; each must be there.
fn look_up(
    rounds: &Rounds,
    name: String,
    count: usize,
    find: impl Fn(usize) -> bool,
) -> Result<Figure, String> {
    let mut random = SeededRandom::new(2);
    let order: Vec<usize> = (0..rounds.items)
        .map(|_| random.below(count as u64) as usize)
        .collect();
    rounds.time(name, None, |_| {
        let found = order.iter().filter(|number| find(black_box(**number)));
        match found.count() == order.len() {
            true => Ok(()),
            false => Err("an entry is missing".to_owned()),
        }
    })
}

/// Packet ids in order, and each pair of them swapped.
pub(super) fn replay(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let in_order = |id: u64| id;
    let swapped = |id: u64| id ^ 1;
    [
        ("replay window, ids in order", in_order as fn(u64) -> u64),
        ("replay window, ids swapped", swapped),
    ]
    .map(|(name, order)| {
        let mut window = ReplayWindow::default();
        let mut next = 2;
        rounds.time(name, None, |count| {
            for _ in 0..count {
                let id = order(black_box(next));
                let taken = window.check_and_mark(id, Monotonic::ZERO);
                taken.map_err(|_| format!("{id} was refused"))?;
                next += 1;
            }
            Ok(())
        })
    })
    .into_iter()
    .collect()
}

/// A timer set again and taken, among those of so many sessions.
pub(super) fn wheel(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    COUNTS
        .map(|sessions| {
            let mut wheel = Wheel::new(Monotonic::ZERO);
            let mut random = SeededRandom::new(3);
            let mut soon = || Duration::from_micros(1 + random.below(10_000_000));
            for session in 0..sessions {
                wheel.set(Monotonic::ZERO + soon(), session);
            }
            let mut now = Monotonic::ZERO;
            let mut due = Vec::with_capacity(sessions);
            let name = format!("timer set and taken among {sessions}");
            rounds.time_part(name, None, |count| {
                let start = std::time::Instant::now();
                let mut taken = 0;
                while taken < count {
                    now = wheel.next().ok_or("no timer is left")?;
                    wheel.expire(now, &mut due);
                    taken += due.len();
                    for session in due.drain(..) {
                        wheel.set(now + soon(), session);
                    }
                }
                Ok((start.elapsed(), taken))
            })
        })
        .into_iter()
        .collect()
}

fn new_peer(number: usize) -> NewPeer {
    let remote = (Ipv4Addr::from_bits(0xc000_0200 + number as u32), 1194);
    NewPeer {
        path: Path {
            remote: remote.into(),
            local: None,
            socket: 0,
        },
        numbering: Numbering::PeerId,
        mtu: 1500,
        mssfix: Mssfix::Packet(1492),
    }
}

fn address(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a08_0002 + number as u32))
}

/// An address of a network of 24 bits.
fn network(number: usize, host: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + ((number as u32) << 8) + u32::from(host))
}

const OWNER: Owner = Owner {
    shard: 3,
    client_id: 17,
};

const COUNTS: [usize; 3] = [10, 1_000, 100_000];
