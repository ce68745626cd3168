//! What a ringway process has counted, asked for on its control socket: how many packets it hands to
//! the kernel at a time, and takes from it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;

/// The counters of all shards together, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Group, name, sum.
    values: Vec<(String, String, u64)>,
}

/// Mean packets for each call, on the two edges towards the network and the two towards the tun device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Segments {
    /// Datagrams of one send.
    pub(super) send: Option<f64>,
    /// Datagrams of one receive.
    pub(super) receive: Option<f64>,
    /// Packets of one write to the tun device.
    pub(super) tun_write: Option<f64>,
    /// Packets of one read from it.
    pub(super) tun_read: Option<f64>,
}

impl Counters {
    /// Asks the process that answers at `socket`.
    pub(super) fn ask(socket: &Path) -> Result<Self, Failure> {
        let converse = || -> io::Result<String> {
            let mut stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"report\n")?;
            let mut report = String::new();
            stream.read_to_string(&mut report)?;
            Ok(report)
        };
        let report = converse().map_err(|source| Failure::file(socket, source))?;
        Ok(Self::parse(&report))
    }

    /// Adds up the lines `shard N: GROUP: name=value ...`.
    fn parse(report: &str) -> Self {
        let mut counters = Self::default();
        for line in report.lines() {
            let mut parts = line.splitn(3, ": ");
            let (Some(who), Some(group), Some(pairs)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if !who.starts_with("shard ") {
                continue;
            }
            for (name, value) in pairs.split(' ').filter_map(|pair| pair.split_once('=')) {
                counters.add(group, name, value.parse().unwrap_or(0));
            }
        }
        counters
    }

    fn add(&mut self, group: &str, name: &str, value: u64) {
        let mut values = self.values.iter_mut();
        match values.find(|(found, called, _)| found == group && called == name) {
            Some((_, _, sum)) => *sum += value,
            None => self.values.push((group.to_owned(), name.to_owned(), value)),
        }
    }

    fn find(&self, group: &str, name: &str) -> u64 {
        let mut values = self.values.iter();
        let found = values.find(|(found, called, _)| found == group && called == name);
        found.map_or(0, |(_, _, value)| *value)
    }

    /// Means over what was counted since `earlier`; nothing where nothing happened.
    pub(super) fn segments_since(&self, earlier: &Self) -> Segments {
        let mean = |calls: &str, packets: &str| {
            let since = |name| {
                let (now, then) = (self.find(GROUP, name), earlier.find(GROUP, name));
                now.saturating_sub(then) as f64
            };
            let calls = since(calls);
            (calls > 0.0).then(|| since(packets) / calls)
        };
        Segments {
            send: mean("sends", "datagrams_sent"),
            receive: mean("receives", "datagrams_received"),
            tun_write: mean("tun_writes", "tun_packets_written"),
            tun_read: mean("tun_reads", "tun_packets_read"),
        }
    }
}

/// The group of counters of calls and what they carried.
const GROUP: &str = "ring";

const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "\
OpenVPN CLIENT LIST: shard
node: clients: registered=1
shard 0: ring: sends=10 datagrams_sent=20 receives=7 datagrams_received=7
shard 1: ring: sends=1 datagrams_sent=1
shard 1: drops: total=2 replay=2
shard 2: no answer
";

    #[test]
    fn the_numbers_of_all_shards_are_added() {
        let counters = Counters::parse(EARLIER);
        assert_eq!(counters.find("ring", "sends"), 11);
        assert_eq!(counters.find("ring", "datagrams_sent"), 21);
        assert_eq!(counters.find("drops", "replay"), 2);
        assert_eq!(counters.find("clients", "registered"), 0);
    }

    #[test]
    fn means_are_of_what_happened_between() {
        let later = "shard 0: ring: sends=20 datagrams_sent=320 receives=7 datagrams_received=7 \
                     tun_reads=2 tun_packets_read=90\n\
                     shard 1: ring: sends=1 datagrams_sent=1\n";
        let means = Counters::parse(later).segments_since(&Counters::parse(EARLIER));
        let expected = Segments {
            send: Some(30.0),
            receive: None,
            tun_write: None,
            tun_read: Some(45.0),
        };
        assert_eq!(means, expected);
    }
}
