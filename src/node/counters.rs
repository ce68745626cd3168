//! What a running node has counted, as it is told to who asks: in the log on SIGUSR2, and on the
//! control socket.
//!
//! A line begins with `node:` or `shard N:` and a group, then come `name=value` pairs. Lines can so
//! be searched for and taken apart without knowing them all; a name that is missing counts zero.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::event::{Direction, Printable, SteeredBy};
use super::status::{StatusFormat, StatusSnapshot};
use crate::packet::{DropCounters, HandOffCounters, HandOffs};

/// Numbers by name, in groups, in the order in which they were put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: &'static str,
    values: Vec<(&'static str, u64)>,
}

/// What one shard tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// What it counts, beside drops.
    pub counters: Counters,
    /// What it handed to other shards, and they to it.
    pub hand_offs: HandOffCounters,
    /// What it dropped.
    pub drops: DropCounters,
}

/// All of a node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Who is connected, as the status file says it.
    pub status: StatusSnapshot,
    /// In this format.
    pub format: StatusFormat,
    /// In times of this zone.
    pub zone: TimeZone,
    /// Who brings packets to their shards.
    pub steered: Vec<(Direction, SteeredBy)>,
    /// What the node thread counts.
    pub node: Counters,
    /// The shards by number; `None` for one that did not answer in time.
    pub shards: Vec<Option<ShardCounters>>,
}

impl Counters {
    /// Adds a group.
    #[must_use]
    pub fn with<const N: usize>(
        mut self,
        name: &'static str,
        values: [(&'static str, u64); N],
    ) -> Self {
        let values = values.to_vec();
        self.groups.push(Group { name, values });
        self
    }

    /// A number, if it is there.
    pub fn find(&self, group: &str, name: &str) -> Option<u64> {
        let group = self.groups.iter().find(|found| found.name == group)?;
        let value = group.values.iter().find(|(found, _)| *found == name)?;
        Some(value.1)
    }

    /// The groups with their numbers.
    pub fn groups(
        &self,
    ) -> impl Iterator<Item = (&'static str, impl Iterator<Item = (&'static str, u64)> + '_)> + '_
    {
        let groups = self.groups.iter();
        groups.map(|group| (group.name, group.values.iter().copied()))
    }

    fn write(&self, who: &str, lines: &mut Vec<String>) {
        for Group { name, values } in &self.groups {
            let mut line = format!("{who}: {name}:");
            pairs(&mut line, values.iter().copied());
            lines.push(line);
        }
    }
}

impl NodeReport {
    /// The counters, a line a group.
    pub fn counters(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (direction, by) in &self.steered {
            lines.push(format!("node: steering: {}", steering(*direction, by)));
        }
        self.node.write("node", &mut lines);
        for (number, shard) in self.shards.iter().enumerate() {
            let who = format!("shard {number}");
            match shard {
                Some(shard) => shard.write(&who, &mut lines),
                None => lines.push(format!("{who}: no answer")),
            }
        }
        lines
    }

    /// The text of the status file.
    pub fn status(&self) -> String {
        self.status.text(self.format, &self.zone)
    }
}

impl ShardCounters {
    fn write(&self, who: &str, lines: &mut Vec<String>) {
        self.counters.write(who, lines);
        let mut line = format!("{who}: hand_offs:");
        for (kind, counts) in self.hand_offs.iter() {
            let (
                name,
                HandOffs {
                    sent,
                    received,
                    refused,
                },
            ) = (kind.name(), counts);
            // Writing to a String cannot fail.
            let _infallible = write!(
                line,
                " {name}_sent={sent} {name}_received={received} {name}_refused={refused}"
            );
        }
        lines.push(line);
        let dropped = self.drops.iter().filter(|(_, count)| *count > 0);
        let mut line = format!("{who}: drops: total={}", self.drops.total());
        pairs(
            &mut line,
            dropped.map(|(reason, count)| (reason.name(), count)),
        );
        lines.push(line);
    }
}

fn steering(direction: Direction, by: &SteeredBy) -> String {
    let direction = match direction {
        Direction::Datagrams => "datagrams",
        Direction::TunPackets => "tun_packets",
    };
    match by {
        SteeredBy::OneShard => format!("{direction}=one_shard"),
        SteeredBy::Program => format!("{direction}=program"),
        SteeredBy::HandOver { reason } => format!("{direction}=hand_over ({})", Printable(reason)),
    }
}

fn pairs(line: &mut String, values: impl Iterator<Item = (&'static str, u64)>) {
    for (name, value) in values {
        // Writing to a String cannot fail.
        let _infallible = write!(line, " {name}={value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{DropReason, HandOffKind};

    #[test]
    fn a_line_has_who_group_and_pairs() {
        let mut drops = DropCounters::new();
        drops.count(DropReason::Replay);
        drops.count(DropReason::Replay);
        drops.count(DropReason::NoRoute);
        let mut hand_offs = HandOffCounters::new();
        hand_offs.of_mut(HandOffKind::TunPacket).sent += 4;
        hand_offs.of_mut(HandOffKind::ClientPacket).refused += 5;
        let counters = Counters::default()
            .with("clients", [("connected", 3), ("half_open", 0)])
            .with("buffers", [("free", 1700)]);
        let report = NodeReport {
            status: StatusSnapshot::default(),
            format: StatusFormat::V1,
            zone: TimeZone::UTC,
            steered: vec![
                (Direction::Datagrams, SteeredBy::Program),
                (
                    Direction::TunPackets,
                    SteeredBy::HandOver {
                        reason: "switched off".into(),
                    },
                ),
            ],
            node: Counters::default().with("events", [("lost", 7)]),
            shards: vec![
                Some(ShardCounters {
                    counters,
                    hand_offs,
                    drops,
                }),
                None,
                Some(ShardCounters::default()),
            ],
        };
        assert_eq!(
            report.counters(),
            [
                "node: steering: datagrams=program",
                "node: steering: tun_packets=hand_over (switched off)",
                "node: events: lost=7",
                "shard 0: clients: connected=3 half_open=0",
                "shard 0: buffers: free=1700",
                "shard 0: hand_offs: datagram_sent=0 datagram_received=0 datagram_refused=0 \
                 tun_packet_sent=4 tun_packet_received=0 tun_packet_refused=0 \
                 client_packet_sent=0 client_packet_received=0 client_packet_refused=5",
                "shard 0: drops: total=3 replay=2 no_route=1",
                "shard 1: no answer",
                "shard 2: hand_offs: datagram_sent=0 datagram_received=0 datagram_refused=0 \
                 tun_packet_sent=0 tun_packet_received=0 tun_packet_refused=0 \
                 client_packet_sent=0 client_packet_received=0 client_packet_refused=0",
                "shard 2: drops: total=0",
            ]
        );
    }

    #[test]
    fn a_number_is_found_by_group_and_name() {
        let counters = Counters::default().with("buffers", [("free", 5), ("all", 9)]);
        assert_eq!(counters.find("buffers", "all"), Some(9));
        assert_eq!(counters.find("buffers", "lent"), None);
        assert_eq!(counters.find("clients", "all"), None);
    }
}
