//! What must be equal in packets that are merged, and what must follow: one field changed at a time.

use super::merge::{bytes, segments};
use super::*;

#[test]
fn what_must_be_equal_and_what_must_follow() {
    for (name, change, wanted) in IP_CHANGES.iter().chain(OTHER_CHANGES) {
        let mut kinds = 0;
        for first in Sample::each(&pattern(300)) {
            let mut second = first.following();
            if !change(&mut second) {
                continue;
            }
            kinds += 1;
            let packets = bytes(&[first.clone(), second.clone(), second.following()]);
            let protocol = first.transport.protocol();
            assert_eq!(
                segments(&packets),
                *wanted,
                "{name} in {:?} {protocol}",
                first.ip
            );
        }
        assert!(kinds >= 2, "{name} is in no packet");
    }
}

/// The fields of either IP header; none where it has none.
pub(super) struct IpFields<'a> {
    pub(super) class: &'a mut u8,
    pub(super) ttl: &'a mut u8,
    pub(super) addresses: &'a mut [u8],
    pub(super) label: Option<&'a mut u32>,
    pub(super) id: Option<&'a mut u16>,
    pub(super) fragment: Option<&'a mut u16>,
    pub(super) options: Option<&'a mut Vec<u8>>,
    pub(super) extensions: Option<&'a mut Option<Extensions>>,
}

pub(super) fn ip(sample: &mut Sample) -> IpFields<'_> {
    match &mut sample.ip {
        Ip::V4 {
            tos,
            id,
            fragment,
            ttl,
            options,
            addresses,
        } => IpFields {
            class: tos,
            ttl,
            addresses,
            label: None,
            id: Some(id),
            fragment: Some(fragment),
            options: Some(options),
            extensions: None,
        },
        Ip::V6 {
            class,
            label,
            hops,
            extensions,
            addresses,
        } => IpFields {
            class,
            ttl: hops,
            addresses,
            label: Some(label),
            id: None,
            fragment: None,
            options: None,
            extensions: Some(extensions),
        },
    }
}

/// The fields of either transport header; none where it has none.
pub(super) struct TransportFields<'a> {
    pub(super) ports: &'a mut [u16; 2],
    pub(super) sequence: Option<&'a mut u32>,
    pub(super) acknowledged: Option<&'a mut u32>,
    pub(super) flags: Option<&'a mut u8>,
    pub(super) window: Option<&'a mut u16>,
    pub(super) urgent: Option<&'a mut u16>,
    pub(super) options: Option<&'a mut Vec<u8>>,
}

pub(super) fn transport(sample: &mut Sample) -> TransportFields<'_> {
    match &mut sample.transport {
        Transport::Tcp {
            ports,
            sequence,
            acknowledged,
            flags,
            window,
            urgent,
            options,
        } => TransportFields {
            ports,
            sequence: Some(sequence),
            acknowledged: Some(acknowledged),
            flags: Some(flags),
            window: Some(window),
            urgent: Some(urgent),
            options: Some(options),
        },
        Transport::Udp { ports } => TransportFields {
            ports,
            sequence: None,
            acknowledged: None,
            flags: None,
            window: None,
            urgent: None,
            options: None,
        },
    }
}

pub(super) fn set<T: Clone>(field: Option<&mut T>, change: impl Fn(T) -> T) -> bool {
    let Some(field) = field else {
        return false;
    };
    *field = change(field.clone());
    true
}

pub(super) fn flip(field: &mut u8, bit: u8) -> bool {
    *field ^= bit;
    true
}

fn flip16(field: &mut u16) -> bool {
    *field ^= 1;
    true
}

fn resize(sample: &mut Sample, length: usize) -> bool {
    sample.payload.resize(length, 0x77);
    true
}

pub(super) fn timestamp(value: u8) -> Vec<u8> {
    vec![1, 1, 8, 10, 0, 0, 1, value, 0, 0, 3, 4]
}

fn hop_by_hop() -> Option<Extensions> {
    Some((0, vec![0, 0, 1, 4, 0, 0, 0, 0], 0))
}

/// What is changed in the second of three packets, and so in the third; how, false if the packet has no
/// such field; and how many packets each of the leaving is merged from.
type Change = (&'static str, fn(&mut Sample) -> bool, &'static [u32]);

const IP_CHANGES: &[Change] = &[
    ("ECN", |sample| flip(ip(sample).class, 1), &[1, 2]),
    ("DSCP", |sample| flip(ip(sample).class, 0x80), &[1, 2]),
    ("time to live", |sample| flip(ip(sample).ttl, 1), &[1, 2]),
    (
        "source",
        |sample| flip(&mut ip(sample).addresses[3], 1),
        &[1, 2],
    ),
    (
        "flow label",
        |sample| set(ip(sample).label, |label| label ^ 1),
        &[1, 2],
    ),
    (
        "id",
        |sample| set(ip(sample).id, |id| id.wrapping_add(1)),
        &[1, 2],
    ),
    ("DF", |sample| set(ip(sample).fragment, |_| 0x4000), &[1, 2]),
    (
        "reserved bit",
        |sample| set(ip(sample).fragment, |_| 0x8000),
        &[1, 2],
    ),
    (
        "more fragments",
        |sample| set(ip(sample).fragment, |_| 0x2000),
        &[1, 1, 1],
    ),
    (
        "fragment offset",
        |sample| set(ip(sample).fragment, |_| 1),
        &[1, 1, 1],
    ),
    (
        "IP options",
        |sample| set(ip(sample).options, |_| vec![1; 4]),
        &[1, 1, 1],
    ),
    (
        "extension header",
        |sample| set(ip(sample).extensions, |_| hop_by_hop()),
        &[1, 1, 1],
    ),
];

const OTHER_CHANGES: &[Change] = &[
    ("nothing", |_| true, &[3]),
    (
        "port",
        |sample| flip16(&mut transport(sample).ports[0]),
        &[1, 2],
    ),
    (
        "destination port",
        |sample| flip16(&mut transport(sample).ports[1]),
        &[1, 2],
    ),
    (
        "gap",
        |sample| set(transport(sample).sequence, |at| at.wrapping_add(1)),
        &[1, 2],
    ),
    (
        "repetition",
        |sample| set(transport(sample).sequence, |at| at.wrapping_sub(300)),
        &[1, 2],
    ),
    (
        "acknowledgement",
        |sample| set(transport(sample).acknowledged, |at| at.wrapping_add(1)),
        &[1, 2],
    ),
    (
        "window",
        |sample| set(transport(sample).window, |window| window.wrapping_add(1)),
        &[1, 2],
    ),
    (
        "urgent pointer",
        |sample| set(transport(sample).urgent, |_| 1),
        &[1, 1, 1],
    ),
    (
        "timestamp",
        |sample| set(transport(sample).options, |_| timestamp(1)),
        &[1, 2],
    ),
    (
        "no options",
        |sample| set(transport(sample).options, |_| vec![]),
        &[1, 2],
    ),
    (
        "SYN",
        |sample| set(transport(sample).flags, |_| ACK | SYN),
        &[1, 1, 1],
    ),
    (
        "RST",
        |sample| set(transport(sample).flags, |_| ACK | RST),
        &[1, 1, 1],
    ),
    (
        "URG",
        |sample| set(transport(sample).flags, |_| ACK | URG),
        &[1, 1, 1],
    ),
    (
        "CWR",
        |sample| set(transport(sample).flags, |_| ACK | CWR),
        &[1, 1, 1],
    ),
    (
        "no ACK",
        |sample| set(transport(sample).flags, |_| 0),
        &[1, 1, 1],
    ),
    (
        "ECE",
        |sample| set(transport(sample).flags, |_| ACK | ECE),
        &[1, 2],
    ),
    (
        "PSH",
        |sample| set(transport(sample).flags, |_| ACK | PSH),
        &[2, 1],
    ),
    (
        "FIN",
        |sample| set(transport(sample).flags, |_| ACK | FIN),
        &[2, 1],
    ),
    ("longer", |sample| resize(sample, 301), &[1, 2]),
    ("shorter", |sample| resize(sample, 299), &[2, 1]),
    ("empty", |sample| resize(sample, 0), &[1, 1, 1]),
];
