//! The program runs in a machine that knows nothing of ours, with maps made of plain vectors and
//! compared with a plain reading of the packet.

use std::cell::RefCell;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const SHARDS: u16 = 4;
const SLOTS: u32 = 100;

/// What the program can reach: the packet, and the maps by their descriptors.
#[derive(Default)]
struct World {
    packet: Vec<u8>,
    v4_pool: Vec<u32>,
    v6_pool: Vec<u32>,
    prefixes: Vec<(IpNet, u32)>,
    /// Where a value stands that a look-up has found.
    found: Box<u32>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

const V4: Maps = Maps {
    pool: 3,
    prefixes: 4,
};
const V6: Maps = Maps {
    pool: 5,
    prefixes: 6,
};

fn layout() -> Layout {
    Layout {
        v4: V4,
        v6: V6,
        v4_first: Ipv4Addr::new(10, 8, 0, 250),
        v4_block_bits: 0,
        v4_slots: SLOTS as i32,
        v6_first: "fd00:8::ffff:ff80".parse().unwrap(),
        v6_slots: SLOTS as i32,
        shards: SHARDS,
    }
}

fn world() -> World {
    // Slot 7 is nobody's, the others those of the four shards in turn.
    let pool: Vec<u32> = (0..SLOTS)
        .map(|slot| {
            if slot == 7 {
                0
            } else {
                slot % u32::from(SHARDS) + 1
            }
        })
        .collect();
    let prefixes = [
        ("192.168.0.0/16", 1),
        ("192.168.7.0/24", 2),
        ("192.168.7.9/32", 3),
        ("10.8.1.1/32", 4), // slot 7 of the pool
        ("2001:db8::/32", 1),
        ("2001:db8:7::/48", 2),
        ("2001:db8:7::9/128", 3),
        ("fd00:8::ffff:ff87/128", 4), // slot 7 of the pool
    ];
    World {
        v4_pool: pool.clone(),
        v6_pool: pool,
        prefixes: prefixes
            .map(|(prefix, value)| (prefix.parse().unwrap(), value))
            .to_vec(),
        ..World::default()
    }
}

fn packet(to: IpAddr) -> Vec<u8> {
    match to {
        IpAddr::V4(to) => [&[0x45; 16][..], &to.octets(), &[0x5a; 8]].concat(),
        IpAddr::V6(to) => [&[0x60; 24][..], &to.octets(), &[0x5a; 8]].concat(),
    }
}

#[test]
fn destinations_lead_to_the_queue_of_their_shard() {
    let slot = |slot: u32| slot % u32::from(SHARDS);
    let spread = |last_word: u32| last_word % u32::from(SHARDS);
    for (to, expected) in [
        // the pool: first, last, next to it, over a byte
        ("10.8.0.250", slot(0)),
        ("10.8.0.251", slot(1)),
        ("10.8.1.0", slot(6)),
        ("10.8.1.93", slot(99)),
        ("10.8.0.249", spread(0x0a08_00f9)),
        ("10.8.1.94", spread(0x0a08_015e)),
        ("fd00:8::ffff:ff80", slot(0)),
        ("fd00:8::ffff:ffe3", slot(99)),
        ("fd00:8::ffff:ffe4", spread(0xffff_ffe4)),
        ("fd00:8::ffff:ff7f", spread(0xffff_ff7f)),
        // the same lower half, another upper half
        ("fd00:9::ffff:ff81", spread(0xffff_ff81)),
        // nobody's slot, with a prefix of its own
        ("10.8.1.1", 3),
        ("fd00:8::ffff:ff87", 3),
        // the longest prefix
        ("192.168.1.1", 0),
        ("192.168.7.1", 1),
        ("192.168.7.9", 2),
        ("2001:db8::1", 0),
        ("2001:db8:7::1", 1),
        ("2001:db8:7::9", 2),
        // nobody's
        ("224.0.0.22", spread(0xe000_0016)),
        ("255.255.255.255", spread(0xffff_ffff)),
        ("ff02::16", spread(0x16)),
        ("::", 0),
    ] {
        assert_eq!(
            verdict(&layout(), &packet(to.parse().unwrap())),
            expected,
            "{to}"
        );
    }
}

#[test]
fn a_node_without_a_pool_has_its_prefixes() {
    let layout = Layout {
        v4_slots: 0,
        v6_slots: 0,
        v4_first: Ipv4Addr::UNSPECIFIED,
        v6_first: Ipv6Addr::UNSPECIFIED,
        ..layout()
    };
    for (to, expected) in [
        ("0.0.0.0", 0),
        ("192.168.7.1", 1),
        ("2001:db8:7::9", 2),
        ("::1", 1),
    ] {
        assert_eq!(
            verdict(&layout, &packet(to.parse().unwrap())),
            expected,
            "{to}"
        );
    }
}

#[test]
fn what_is_no_whole_packet_has_some_queue() {
    for to in ["10.8.0.251", "fd00:8::ffff:ff81"] {
        let whole = packet(to.parse().unwrap());
        let header = if whole[0] == 0x45 { 20 } else { 40 };
        for length in 0..=whole.len() {
            let expected = u32::from(length >= header);
            assert_eq!(
                verdict(&layout(), &whole[..length]),
                expected,
                "{to} {length}"
            );
        }
    }
    for version in (0..16).filter(|version| ![4, 6].contains(version)) {
        assert_eq!(verdict(&layout(), &[version << 4; 60]), 0, "{version}");
    }
}

proptest! {
    #[test]
    fn any_packet_has_the_queue_of_a_plain_reading(
        packet in proptest::collection::vec(any::<u8>(), 0..60),
        version in prop_oneof![Just(0x40), Just(0x60), any::<u8>()],
        near in any::<Option<(bool, u8)>>(),
    ) {
        let mut packet = packet;
        if let Some(first) = packet.first_mut() {
            *first = version;
        }
        // Half of them go somewhere near a pool.
        if let Some((upper, low)) = near {
            for (at, bytes) in [
                (16, &[10, 8, u8::from(upper), low][..]),
                (24, &[0xfd, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff - u8::from(upper), low]),
            ] {
                let family = if at == 16 { 0x40 } else { 0x60 };
                if version == family && let Some(place) = packet.get_mut(at..at + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
        }
        prop_assert_eq!(verdict(&layout(), &packet), plainly_read(&packet));
    }
}

/// The same said in Rust, over the maps of `world`.
fn plainly_read(packet: &[u8]) -> u32 {
    let world = world();
    let to: Option<IpAddr> = match packet.first().map(|first| first >> 4) {
        Some(4) => packet
            .get(16..20)
            .map(|it| <[u8; 4]>::try_from(it).unwrap().into()),
        Some(6) => packet
            .get(24..40)
            .map(|it| <[u8; 16]>::try_from(it).unwrap().into()),
        _ => None,
    };
    let Some(to) = to else {
        return 0;
    };
    let (slot, last_word) = match to {
        IpAddr::V4(to) => {
            let slot = i128::from(to.to_bits()) - i128::from(layout().v4_first.to_bits());
            (slot, to.to_bits())
        }
        IpAddr::V6(to) => {
            let slot = to.to_bits().wrapping_sub(layout().v6_first.to_bits()) as i128;
            (slot, to.to_bits() as u32)
        }
    };
    let owner = usize::try_from(slot)
        .ok()
        .and_then(|slot| world.v4_pool.get(slot).copied());
    let of_prefixes = || {
        let holding = world
            .prefixes
            .iter()
            .filter(|(prefix, _)| prefix.contains(&to));
        holding
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .map(|(_, value)| *value)
    };
    let owner = owner.filter(|value| *value != 0).or_else(of_prefixes);
    owner.map_or(last_word % u32::from(SHARDS), |value| value - 1)
}

/// What the program returns for a packet in the `world`.
fn verdict(layout: &Layout, packet: &[u8]) -> u32 {
    WORLD.set(World {
        packet: packet.to_vec(),
        ..world()
    });
    let code: Vec<u8> = program(layout)
        .into_iter()
        .flat_map(Instruction::to_bytes)
        .collect();
    let mut machine = rbpf::EbpfVmNoData::new(Some(&code)).unwrap();
    machine
        .register_helper(Function::MapLookup as u32, look_up)
        .unwrap();
    machine
        .register_helper(Function::LoadBytes as u32, load_bytes)
        .unwrap();
    let found = WORLD.with_borrow(|world| std::ptr::from_ref(&*world.found).addr() as u64);
    machine.register_allowed_memory(found..found + 4);
    let returned = machine.execute_program().unwrap();
    assert!(returned < u64::from(SHARDS), "{returned}");
    returned as u32
}

/// The kernel's `bpf_map_lookup_elem`.
fn look_up(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    WORLD.with_borrow_mut(|world| {
        let word = |at| u32::from_ne_bytes(bytes_at::<4>(key + at));
        let value = match i32::try_from(map).unwrap() {
            it if it == V4.pool => world.v4_pool.get(word(0) as usize).copied(),
            it if it == V6.pool => world.v6_pool.get(word(0) as usize).copied(),
            it if it == V4.prefixes => {
                assert_eq!(word(0), 32);
                world.longest(bytes_at::<4>(key + 4).into())
            }
            it if it == V6.prefixes => {
                assert_eq!(word(0), 128);
                world.longest(bytes_at::<16>(key + 4).into())
            }
            other => panic!("there is no map {other}"),
        };
        value.map_or(0, |value| {
            *world.found = value;
            std::ptr::from_ref(&*world.found).addr() as u64
        })
    })
}

/// The kernel's `bpf_skb_load_bytes`.
fn load_bytes(_packet: u64, offset: u64, to: u64, length: u64, _: u64) -> u64 {
    WORLD.with_borrow(|world| {
        let (offset, length) = (offset as usize, length as usize);
        let Some(bytes) = world.packet.get(offset..offset + length) else {
            return -i64::from(libc::EFAULT) as u64;
        };
        for (at, byte) in bytes.iter().enumerate() {
            let place = std::ptr::with_exposed_provenance_mut::<u8>(to as usize + at);
            // SAFETY: the program passes a place on its stack, as the tests of its verdicts show.
            unsafe { place.write(*byte) };
        }
        0
    })
}

fn bytes_at<const N: usize>(address: u64) -> [u8; N] {
    let place = std::ptr::with_exposed_provenance::<[u8; N]>(address as usize);
    // SAFETY: the program passes a key on its stack, as the tests of its verdicts show.
    unsafe { place.read_unaligned() }
}

impl World {
    fn longest(&self, to: IpAddr) -> Option<u32> {
        let holding = self
            .prefixes
            .iter()
            .filter(|(prefix, _)| prefix.contains(&to));
        let longest = holding.max_by_key(|(prefix, _)| prefix.prefix_len());
        longest.map(|(_, value)| *value)
    }
}
