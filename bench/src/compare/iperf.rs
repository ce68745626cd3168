//! TCP through iperf3.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::interrupt::Interrupt;
use super::network::{LAN_HOST, Namespace, Network};
use super::process::Process;
use crate::failure::Failure;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the client's side to the LAN.
    Up,
    /// From the LAN to the client's side.
    Down,
}

/// What flows.
#[derive(Clone, Copy)]
pub(super) struct Streams<'a> {
    /// The end on the client's side.
    pub(super) near: &'a Namespace,
    pub(super) count: usize,
    pub(super) direction: Direction,
    pub(super) duration: Duration,
}

/// An iperf3 that is sending.
pub(super) struct Iperf {
    server: Process,
    client: Process,
    limit: Duration,
}

/// What the receiver got.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Received {
    pub(super) bytes: f64,
    pub(super) seconds: f64,
}

impl Iperf {
    /// Starts streams to or from the LAN.
    pub(super) fn start(
        network: &Network,
        streams: Streams<'_>,
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let host = LAN_HOST.to_string();
        let words = ["iperf3", "-s", "-1", "-B", &host, "--forceflush"];
        let place = network.lan.place();
        let mut server = Process::spawn(place, "iperf3-server", &words, directory, interrupt)?;
        server.wait_for("Server listening")?;
        let (seconds, count) = (streams.duration.as_secs(), streams.count);
        let (seconds, count) = (seconds.to_string(), count.to_string());
        let words = ["iperf3", "-c", &host, "-t", &seconds, "-P", &count, "-J"];
        let reverse: &[&str] = match streams.direction {
            Direction::Up => &[],
            Direction::Down => &["-R"],
        };
        let words = [&words[..], &CONNECT[..], &CONGESTION_CONTROL[..], reverse].concat();
        let place = streams.near.place();
        let client = Process::spawn(place, "iperf3-client", &words, directory, interrupt)?;
        let limit = streams.duration + PATIENCE;
        Ok(Self {
            server,
            client,
            limit,
        })
    }

    /// Waits for the end.
    pub(super) fn finish(mut self) -> Result<Received, Failure> {
        self.client.wait(self.limit)?;
        // The server may still be writing its account, which nobody reads.
        drop(self.server);
        parse(&self.client.output())
    }
}

fn parse(output: &str) -> Result<Received, Failure> {
    let report: Value = serde_json::from_str(output).unwrap_or_default();
    let sum = |name: &str| {
        report
            .pointer(&format!("/end/sum_received/{name}"))?
            .as_f64()
    };
    match sum("bytes").zip(sum("seconds")) {
        Some((bytes, seconds)) if bytes > 0.0 && seconds > 0.0 => Ok(Received { bytes, seconds }),
        _ => Err(Failure::Unexpected {
            tool: "iperf3",
            said: output.chars().take(400).collect(),
        }),
    }
}

/// The kernel's own default, for both directions. What a machine is set to differs, and some pace their
/// packets by a timer: then it is the timer that is measured.
const CONGESTION_CONTROL: [&str; 2] = ["-C", "cubic"];
const CONNECT: [&str; 2] = ["--connect-timeout", "5000"];

/// Beyond the time that it sends.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_sum_counts() {
        let output = r#"{"end": {"sum_sent": {"bytes": 9, "seconds": 1},
            "sum_received": {"start": 0, "seconds": 2.5, "bytes": 1000, "bits_per_second": 3200}}}"#;
        let (bytes, seconds) = (1000.0, 2.5);
        assert_eq!(parse(output).unwrap(), Received { bytes, seconds });
    }

    #[test]
    fn an_error_is_shown() {
        for output in ["", r#"{"error": "unable to connect"}"#] {
            let said = parse(output).unwrap_err().to_string();
            assert!(said.ends_with(output), "{said}");
        }
    }
}
