//! How many shards there are, where they run, and who steers packets to them.

use std::fmt;

use crate::limits;

/// The shards of a node: one for each entry of `cores`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSettings {
    /// The core that each shard is pinned to, in the order of the shards; at least one and at most
    /// [`limits::SHARDS_MAX`]. A core may stand here several times.
    pub cores: Vec<usize>,
    /// Which steering programs are asked for.
    pub steering: SteeringChoice,
}

impl ShardSettings {
    /// One shard a core of `usable`, the first ones if there are too many.
    pub fn one_a_core(usable: &[usize]) -> Self {
        Self::on(usable, usable.len())
    }

    /// `count` shards on these cores, which are taken in turn: with more shards than cores some
    /// cores have several. At most [`limits::SHARDS_MAX`].
    pub fn on(cores: &[usize], count: usize) -> Self {
        let count = count.min(limits::SHARDS_MAX);
        Self {
            cores: cores.iter().copied().cycle().take(count).collect(),
            steering: SteeringChoice::default(),
        }
    }
}

/// Which directions are steered by a program in the kernel. One that is not asked for, or that the
/// machine does not let us have, is left to the kernel's own spreading and to the mailboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SteeringChoice {
    /// Datagrams to sockets, and packets to queues of the tun device.
    #[default]
    Both,
    /// Datagrams alone.
    Udp,
    /// Packets of the tun device alone.
    Tun,
    /// Neither.
    None,
}

impl SteeringChoice {
    /// Whether datagrams are steered to the socket of their shard.
    pub fn udp(self) -> bool {
        matches!(self, Self::Both | Self::Udp)
    }

    /// Whether packets of the tun device are steered to the queue of their shard.
    pub fn tun(self) -> bool {
        matches!(self, Self::Both | Self::Tun)
    }
}

/// Cores as people write them: `0-3,8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreList<'c>(pub &'c [usize]);

impl fmt::Display for CoreList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|core, next| core + 1 == *next);
        for (index, run) in runs.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                single => single
                    .iter()
                    .try_for_each(|core| write!(f, "{comma}{core}"))?,
            }
        }
        Ok(())
    }
}

/// The cores that this thread may run on, in ascending order; none if the system does not say.
pub fn usable_cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().map(|core| core.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_round_the_cores() {
        for (cores, count, expected) in [
            (&[0, 1, 2][..], 2, &[0, 1][..]),
            (&[0, 1], 2, &[0, 1]),
            (&[4, 6], 5, &[4, 6, 4, 6, 4]),
            (&[3], 1, &[3]),
            (&[], 4, &[]),
        ] {
            assert_eq!(ShardSettings::on(cores, count).cores, expected);
        }
        let many: Vec<usize> = (0..1000).collect();
        assert_eq!(
            ShardSettings::one_a_core(&many).cores,
            many[..limits::SHARDS_MAX]
        );
        assert_eq!(ShardSettings::one_a_core(&[2, 5]).cores, [2, 5]);
    }

    #[test]
    fn cores_as_people_write_them() {
        for (cores, text) in [
            (&[][..], ""),
            (&[3], "3"),
            (&[0, 1], "0-1"),
            (&[0, 1, 2, 3, 8], "0-3,8"),
            (&[8, 0, 1, 4], "8,0-1,4"),
            (&[0, 1, 0, 1], "0-1,0-1"),
        ] {
            assert_eq!(CoreList(cores).to_string(), text);
        }
    }

    #[test]
    fn a_choice_is_a_pair_of_directions() {
        for (choice, directions) in [
            (SteeringChoice::Both, (true, true)),
            (SteeringChoice::Udp, (true, false)),
            (SteeringChoice::Tun, (false, true)),
            (SteeringChoice::None, (false, false)),
        ] {
            assert_eq!((choice.udp(), choice.tun()), directions, "{choice:?}");
        }
    }

    #[test]
    fn this_thread_may_run_somewhere() {
        let cores = usable_cores();
        assert!(!cores.is_empty());
        assert!(cores.is_sorted());
    }
}
