//! What a seed makes of the world: how many shards and clients, how bad everything is, and for how
//! long.

use std::time::Duration;

use ringway::random::{Random, SeededRandom};

use crate::network::Conditions;
use crate::tls::Engine;

/// The rules of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) engine: Engine,
    pub(crate) shards: u16,
    pub(crate) clients: usize,
    /// So many pairs of clients have one name.
    pub(crate) namesakes: usize,
    /// 0 plain, 1 tls-auth, 2 tls-crypt, 3 tls-crypt-v2.
    pub(crate) wrapping: u64,
    /// Addresses that there are.
    pub(crate) slots: u32,
    /// Clients that may be connected at once.
    pub(crate) max_clients: u32,
    /// When both sides want new keys, if ever.
    pub(crate) renegotiation: Option<Duration>,
    /// How long everything is bad.
    pub(crate) storm: Duration,
    /// What becomes of datagrams in that time.
    pub(crate) conditions: Conditions,
    /// How datagrams find their shard in that time.
    pub(crate) steering: Quality,
    /// How inner packets find their shard in that time.
    pub(crate) queues: Quality,
    /// How shards and node thread hear one another in that time.
    pub(crate) mail: Mail,
    /// Buffers of each shard, the lent ones included.
    pub(crate) buffers: u32,
    /// Those that are lent to its sockets, and to its tun queue.
    pub(crate) lent: usize,
    /// So many sends, and so many writes, can be on their way; with more than there are buffers for,
    /// the pools run dry.
    pub(crate) in_flight: usize,
    /// The kernel refuses so many of them.
    pub(crate) refusals: f64,
    /// Packets between clients stay inside the server.
    pub(crate) client_to_client: bool,
    /// A client, and somebody who writes to it, sends about so often.
    pub(crate) data_every: Duration,
    /// A client does something unexpected about so often.
    pub(crate) whim_every: Duration,
}

/// How well the kernel finds the shard of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quality {
    /// As the program says, but for this share of packets, which go anywhere.
    Program { astray: f64 },
    /// There is no program: by a hash over the addresses.
    FlowHash,
}

/// How messages inside the node fare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mail {
    /// Share of messages that are lost.
    pub(crate) loss: f64,
    /// How many fit into a mailbox.
    pub(crate) room: usize,
    /// No message takes longer.
    pub(crate) delay: Duration,
    /// Share of turns after which a shard, or the node thread, is away for a while.
    pub(crate) away: f64,
    /// No absence lasts longer.
    pub(crate) absence: Duration,
}

impl Plan {
    /// A perfect world.
    pub(crate) fn calm() -> Self {
        Self {
            engine: Engine::StandIn,
            shards: 4,
            clients: 12,
            namesakes: 0,
            wrapping: 2,
            slots: 32,
            max_clients: 32,
            renegotiation: None,
            storm: Duration::from_secs(60),
            conditions: Conditions::perfect(),
            steering: Quality::Program { astray: 0.0 },
            queues: Quality::Program { astray: 0.0 },
            mail: Mail::perfect(),
            buffers: 96,
            lent: 16,
            in_flight: 32,
            refusals: 0.0,
            client_to_client: true,
            data_every: Duration::from_millis(500),
            whim_every: Duration::MAX,
        }
    }

    pub(crate) fn from_seed(seed: u64, engine: Engine) -> Self {
        let mut random = SeededRandom::new(seed ^ 0x5eed_0fa1);
        let random = &mut random;
        let clients = match random.below(20) {
            0 => 20 + random.below(11),
            _ => 5 + random.below(6),
        } as usize;
        let mut conditions = Conditions::from_seed(seed);
        conditions.mtu = conditions.mtu.max(1_200);
        // Handshakes of many clients are to succeed more often than those of two.
        conditions.loss /= 2.0;
        conditions.damage /= 2.0;
        let room = clients as u64;
        let lent = 2 + random.below(14) as usize;
        let own = 15 + random.below(60) as usize;
        Self {
            engine,
            shards: 1 + random.below(4) as u16,
            clients,
            namesakes: random.below(3) as usize,
            wrapping: random.below(4),
            slots: (room + random.below(8)) as u32,
            max_clients: (room + random.below(4)) as u32,
            renegotiation: one_in(random, 2).then(|| seconds(random, 8, 40)),
            storm: seconds(random, 20, 60),
            conditions,
            steering: Quality::from(random),
            queues: Quality::from(random),
            mail: Mail::from(random),
            buffers: (2 * lent + own) as u32,
            lent,
            in_flight: if one_in(random, 4) { own } else { own / 3 },
            refusals: if one_in(random, 2) {
                share(random, 0.05)
            } else {
                0.0
            },
            client_to_client: one_in(random, 2),
            data_every: Duration::from_millis(200 + random.below(1_500)),
            whim_every: seconds(random, 4, 30),
        }
    }
}

impl Quality {
    fn from(random: &mut SeededRandom) -> Self {
        match random.below(6) {
            0 => Self::FlowHash,
            1 => Self::Program { astray: 0.0 },
            _ => Self::Program {
                astray: share(random, 0.3),
            },
        }
    }
}

impl Mail {
    pub(crate) fn perfect() -> Self {
        Self {
            loss: 0.0,
            room: 1_024,
            delay: Duration::from_micros(50),
            away: 0.0,
            absence: Duration::ZERO,
        }
    }

    fn from(random: &mut SeededRandom) -> Self {
        let lossy = one_in(random, 2);
        let room = if one_in(random, 2) { 4 } else { 64 };
        Self {
            loss: if lossy { share(random, 0.3) } else { 0.0 },
            room: 1 + random.below(room) as usize,
            delay: Duration::from_millis(random.below(300)),
            away: share(random, 0.02),
            absence: seconds(random, 0, 6),
        }
    }
}

fn share(random: &mut SeededRandom, max: f64) -> f64 {
    random.below(1_000_000) as f64 / 1e6 * max
}

fn seconds(random: &mut SeededRandom, from: u64, to: u64) -> Duration {
    Duration::from_millis(from * 1_000 + random.below((to - from) * 1_000))
}

fn one_in(random: &mut SeededRandom, many: u64) -> bool {
    random.below(many) == 0
}

/// Whether something happens that happens in this share of cases.
pub(crate) fn happens(random: &mut SeededRandom, share: f64) -> bool {
    (random.below(1_000_000) as f64) < share * 1e6
}
