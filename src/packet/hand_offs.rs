//! How often shards hand packets to one another: in the steady state only from client to client.

/// Counts of hand-offs by kind, of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOffCounters {
    counts: [HandOffs; HandOffKind::ALL.len()],
}

/// What is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HandOffKind {
    /// A datagram from a socket.
    Datagram,
    /// An inner packet from the tun device.
    TunPacket,
    /// An inner packet from one client for another.
    ClientPacket,
}

/// How often something was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandOffs {
    /// To another shard.
    pub sent: u64,
    /// By another shard.
    pub received: u64,
    /// Not at all, because the other's mailbox was full.
    pub refused: u64,
}

impl HandOffCounters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counts of one kind.
    pub const fn of(&self, kind: HandOffKind) -> HandOffs {
        self.counts[kind as usize]
    }

    /// The counts of one kind, to be raised.
    pub const fn of_mut(&mut self, kind: HandOffKind) -> &mut HandOffs {
        &mut self.counts[kind as usize]
    }

    /// The counts of all kinds together.
    pub fn total(&self) -> HandOffs {
        let mut total = HandOffs::default();
        self.counts.iter().for_each(|counts| total.add(*counts));
        total
    }

    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            mine.add(theirs);
        }
    }

    /// Each kind with its counts, in the order of [`HandOffKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (HandOffKind, HandOffs)> + '_ {
        HandOffKind::ALL.into_iter().zip(self.counts)
    }
}

impl HandOffs {
    const fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.refused += other.refused;
    }
}

impl HandOffKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Datagram, Self::TunPacket, Self::ClientPacket];

    /// The value of the metric's `kind` label; lower case, words joined by `_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::TunPacket => "tun_packet",
            Self::ClientPacket => "client_packet",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_counts() {
        let mut counters = HandOffCounters::new();
        for (times, kind) in (1..).zip(HandOffKind::ALL) {
            counters.of_mut(kind).sent += times;
            counters.of_mut(kind).received += 10 * times;
            counters.of_mut(kind).refused += 100 * times;
        }
        let mut doubled = counters.clone();
        doubled.add(&counters);
        for (times, (kind, counts)) in (1..).zip(counters.iter()) {
            let expected = |times| HandOffs {
                sent: times,
                received: 10 * times,
                refused: 100 * times,
            };
            assert_eq!(counts, expected(times), "{}", kind.name());
            assert_eq!(doubled.of(kind), expected(2 * times));
        }
        let total = HandOffs {
            sent: 6,
            received: 60,
            refused: 600,
        };
        assert_eq!(counters.total(), total);
    }
}
