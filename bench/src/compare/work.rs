//! The kinds of work that a contender is measured at.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::contender::Tunnel;
use super::counters::{Counters, Segments};
use super::flood::flood;
use super::interrupt::Interrupt;
use super::iperf::{Direction, Iperf, Streams};
use super::network::{LAN_HOST, Namespace, Network};
use super::round_trip::round_trips;
use super::usage::Usage;
use crate::failure::Failure;

/// What is carried, and what is measured of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// TCP, as fast as it goes.
    Tcp {
        /// Connections at a time.
        streams: usize,
        direction: Direction,
    },
    /// TCP between the networks behind the two ends, one connection.
    Sites { direction: Direction },
    /// UDP, faster than it goes.
    Udp {
        /// Bytes of content.
        size: usize,
        direction: Direction,
    },
    /// One datagram at a time, there and back.
    RoundTrip {
        /// While a TCP stream goes up.
        loaded: bool,
    },
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// In the unit of the work.
    pub(super) value: f64,
    /// The part of the datagrams that was lost.
    pub(super) loss: Option<f64>,
    /// 99th percentile, in the unit of the work.
    pub(super) p99: Option<f64>,
    /// What was delivered, in gigabits of content.
    pub(super) gigabits: f64,
    /// Processor time of the server's side while it was delivered.
    pub(super) usage: Usage,
    /// Packets of a call, at the server.
    pub(super) server: Segments,
    /// Packets of a call, at the client.
    pub(super) client: Segments,
}

/// What measuring needs.
pub(super) struct Bench<'a> {
    pub(super) network: &'a Network,
    pub(super) directory: &'a Path,
    pub(super) duration: Duration,
    pub(super) interrupt: &'a Interrupt,
}

impl Work {
    /// All of it, in the order of the table.
    pub(super) fn all() -> Vec<Self> {
        use Direction::{Down, Up};
        let both = [Up, Down];
        let tcp = [1, 4]
            .into_iter()
            .flat_map(move |streams| both.map(|direction| Self::Tcp { streams, direction }));
        let udp = [64, 512, 1400]
            .into_iter()
            .flat_map(move |size| both.map(|direction| Self::Udp { size, direction }));
        let round_trips = [false, true].map(|loaded| Self::RoundTrip { loaded });
        let sites = both.map(|direction| Self::Sites { direction });
        tcp.chain(sites).chain(udp).chain(round_trips).collect()
    }

    /// The unit of its values.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Tcp { .. } | Self::Sites { .. } => "Gbit/s",
            Self::Udp { .. } => "kpps",
            Self::RoundTrip { .. } => "µs",
        }
    }

    /// Whether the processor time for each gigabit says something.
    pub(super) const fn carries_much(self) -> bool {
        !matches!(self, Self::RoundTrip { .. })
    }

    /// Measures it once through a tunnel.
    pub(super) fn measure(self, bench: &Bench<'_>, tunnel: &Tunnel) -> Result<Sample, Failure> {
        let core = bench.network.server.place().core;
        let ask = |socket: Option<&Path>| socket.map(Counters::ask).transpose();
        let before = (ask(tunnel.server_control())?, ask(tunnel.client_control())?);
        let earlier = Usage::read(core, tunnel.server_id())?;
        let outcome = self.run(bench)?;
        let usage = Usage::read(core, tunnel.server_id())?.since(&earlier);
        let after = (ask(tunnel.server_control())?, ask(tunnel.client_control())?);
        let means = |before: Option<Counters>, after: Option<Counters>| {
            let both = before.zip(after);
            both.map(|(before, after)| after.segments_since(&before))
                .unwrap_or_default()
        };
        Ok(Sample {
            usage,
            server: means(before.0, after.0),
            client: means(before.1, after.1),
            ..outcome
        })
    }

    /// Measures it, without what it cost.
    fn run(self, bench: &Bench<'_>) -> Result<Sample, Failure> {
        match self {
            Self::Tcp { streams, direction } => {
                tcp(bench, &bench.network.client, streams, direction)
            }
            Self::Sites { direction } => tcp(bench, &bench.network.branch, 1, direction),
            Self::Udp { size, direction } => udp(bench, size, direction),
            Self::RoundTrip { loaded } => round_trip(bench, loaded),
        }
    }
}

impl fmt::Display for Work {
    /// The name that `--work` takes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |direction| match direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        match *self {
            Self::Tcp { streams, direction } => {
                write!(formatter, "tcp{streams}-{}", way(direction))
            }
            Self::Sites { direction } => write!(formatter, "sites-{}", way(direction)),
            Self::Udp { size, direction } => write!(formatter, "udp{size}-{}", way(direction)),
            Self::RoundTrip { loaded: false } => write!(formatter, "rtt-idle"),
            Self::RoundTrip { loaded: true } => write!(formatter, "rtt-loaded"),
        }
    }
}

impl Sample {
    fn of(value: f64, gigabits: f64) -> Self {
        Self {
            value,
            loss: None,
            p99: None,
            gigabits,
            usage: Usage::default(),
            server: Segments::default(),
            client: Segments::default(),
        }
    }
}

fn tcp(
    bench: &Bench<'_>,
    near: &Namespace,
    count: usize,
    direction: Direction,
) -> Result<Sample, Failure> {
    let streams = Streams {
        near,
        count,
        direction,
        duration: bench.duration,
    };
    let iperf = Iperf::start(bench.network, streams, bench.directory, bench.interrupt)?;
    let received = iperf.finish()?;
    let gigabits = received.bytes * 8.0 / 1e9;
    Ok(Sample::of(gigabits / received.seconds, gigabits))
}

fn udp(bench: &Bench<'_>, size: usize, direction: Direction) -> Result<Sample, Failure> {
    let Network { client, lan, .. } = bench.network;
    let (from, to, address) = match direction {
        Direction::Up => (client, lan, LAN_HOST),
        // Through a VPN the client has another address than without.
        Direction::Down => (lan, client, client.source_towards(LAN_HOST)?),
    };
    let flood = flood(from, to, address, size, bench.duration)?;
    bench.interrupt.check()?;
    let gigabits = flood.received as f64 * size as f64 * 8.0 / 1e9;
    Ok(Sample {
        loss: Some(flood.loss()),
        ..Sample::of(flood.kpps(), gigabits)
    })
}

fn round_trip(bench: &Bench<'_>, loaded: bool) -> Result<Sample, Failure> {
    let Network { client, lan, .. } = bench.network;
    let load = match loaded {
        // The load begins before the first round trip, and ends after the last.
        true => {
            let streams = Streams {
                near: client,
                count: 1,
                direction: Direction::Up,
                duration: bench.duration + 2 * LEAD,
            };
            let iperf = Iperf::start(bench.network, streams, bench.directory, bench.interrupt)?;
            Some(iperf)
        }
        false => None,
    };
    if loaded {
        bench.interrupt.sleep(LEAD)?;
    }
    let times = round_trips(client, lan, LAN_HOST, bench.duration)?;
    bench.interrupt.check()?;
    load.map(Iperf::finish).transpose()?;
    Ok(Sample {
        loss: Some(times.loss),
        p99: Some(times.p99),
        ..Sample::of(times.median, 0.0)
    })
}

const LEAD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_work_has_a_name_of_its_own() {
        let names: Vec<String> = Work::all().iter().map(Work::to_string).collect();
        assert_eq!(
            names,
            [
                "tcp1-up",
                "tcp1-down",
                "tcp4-up",
                "tcp4-down",
                "sites-up",
                "sites-down",
                "udp64-up",
                "udp64-down",
                "udp512-up",
                "udp512-down",
                "udp1400-up",
                "udp1400-down",
                "rtt-idle",
                "rtt-loaded",
            ]
        );
    }
}
