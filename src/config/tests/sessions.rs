//! When clients are ended, and how datagrams are treated that are too large for their way.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::Files;
use crate::config::settings::{Inactivity, KeyVolume, PathMtu};

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
        assert_eq!(files.with(lines).node.inactivity, expected, "{lines}");
    }
    let said = files.first_remark("inactive often\n");
    assert!(said.contains("`often` is not a whole number"), "{said}");
}

#[test]
fn how_long_a_session_lasts_and_what_a_key_may_carry() {
    let files = Files::new();
    let of = |lines: &str| {
        let node = files.with(lines).node;
        let seconds = node.session_timeout.map(|it| it.as_secs());
        let count = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        let KeyVolume { bytes, packets } = node.key_volume;
        (seconds, count(bytes), count(packets))
    };
    for (lines, expected) in [
        ("", (None, 0, 0)),
        ("session-timeout 3600\n", (Some(3600), 0, 0)),
        ("session-timeout 3600\nsession-timeout 0\n", (None, 0, 0)),
        ("reneg-bytes 1073741824\nreneg-sec 0\n", (None, 1 << 30, 0)),
        ("reneg-pkts 5000000\nreneg-bytes 0\n", (None, 0, 5_000_000)),
        ("tls-exit\n", (None, 0, 0)),
    ] {
        assert_eq!(of(lines), expected, "{lines}");
    }
    for line in [
        "session-timeout soon\n",
        "reneg-bytes -1\n",
        "reneg-pkts 1k\n",
    ] {
        let said = files.first_remark(line);
        assert!(said.contains("is not a whole number"), "{said}");
    }
}

#[test]
fn a_key_is_worn_by_as_much_as_was_said_of_either() {
    let volume = KeyVolume {
        bytes: NonZeroU64::new(1000),
        packets: NonZeroU64::new(10),
    };
    for (bytes, packets, reached) in [
        (999, 9, false),
        (1000, 0, true),
        (0, 10, true),
        (u64::MAX, u64::MAX, true),
    ] {
        assert_eq!(volume.is_reached(bytes, packets), reached);
        assert!(!KeyVolume::default().is_reached(bytes, packets));
    }
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

/// 0 is what the kernel has.
#[test]
fn buffers_and_queues_are_as_large_as_the_lines_say() {
    let files = Files::new();
    for (lines, buffers, queue) in [
        ("", (None, None), None),
        ("sndbuf 0\nrcvbuf 0\n", (None, None), None),
        (
            "sndbuf 1\nrcvbuf 2\ntxqueuelen 500\n",
            (NonZeroU32::new(1), NonZeroU32::new(2)),
            Some(500),
        ),
    ] {
        let settings = files.with(lines);
        let listener = &settings.listeners[0];
        assert_eq!(
            (listener.send_buffer, listener.receive_buffer),
            buffers,
            "{lines}"
        );
        assert_eq!(settings.node.device.transmit_queue, queue, "{lines}");
    }
}

#[test]
fn replay_windows_and_rates_of_new_clients() {
    let files = Files::new();
    let window = |lines: &str| {
        let replay = files.with(lines).node.replay;
        (replay.packets, replay.time.as_secs())
    };
    assert_eq!(window(""), (64, 15));
    assert_eq!(window("replay-window 128 30\n"), (128, 30));
    let rate = |lines: &str| {
        let rate = files.with(lines).contact.new_sessions;
        rate.map(|rate| (rate.count, rate.per.as_secs()))
    };
    assert_eq!(rate(""), None);
    assert_eq!(rate("connect-freq 3 20\n"), Some((3, 20)));
    assert_eq!(rate("connect-freq 3 0\n"), None);
}
