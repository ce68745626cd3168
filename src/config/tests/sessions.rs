//! When clients are ended, and how datagrams are treated that are too large for their way.

use std::time::Duration;

use super::Files;
use crate::config::settings::{Inactivity, PathMtu};

#[test]
fn clients_that_do_nothing() {
    let files = Files::new();
    let inactivity = |seconds, bytes| {
        Some(Inactivity {
            patience: Duration::from_secs(seconds),
            bytes,
        })
    };
    for (lines, expected) in [
        ("", None),
        ("inactive 0\n", None),
        ("inactive 300\n", inactivity(300, 0)),
        ("inactive 120 10000000\n", inactivity(120, 10_000_000)),
        ("inactive 120\ninactive 0\n", None),
    ] {
        assert_eq!(files.with(lines).inactivity, expected, "{lines}");
    }
    let said = files.first_remark("inactive often\n");
    assert!(said.contains("`often` is not a whole number"), "{said}");
}

#[test]
fn the_discovery_of_the_path_mtu() {
    let files = Files::new();
    for (lines, expected) in [
        ("", None),
        ("mtu-disc no\n", Some(PathMtu::Ignored)),
        ("mtu-disc maybe\n", Some(PathMtu::Minded)),
        ("mtu-disc yes\n", Some(PathMtu::Demanded)),
    ] {
        assert_eq!(files.with(lines).path_mtu, expected, "{lines}");
    }
    let said = files.first_remark("mtu-disc on\n");
    assert!(said.contains("`on` is no choice"), "{said}");
}
