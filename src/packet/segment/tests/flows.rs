//! Flows of all shapes, interleaved: what was merged splits into the same packets, each flow in its order.

use std::collections::HashMap;

use proptest::prelude::*;

use super::alike::{ip, set, timestamp, transport};
use super::*;

/// The next packet of one flow: what changes from now on, what is different in this one alone, and
/// what happens to it on its way. Numbers choose from the tables below, and how.
#[derive(Clone, Debug)]
pub(in crate::packet) struct Turn {
    flow: usize,
    from_now: Option<(usize, u16)>,
    this_one: Option<(usize, u16)>,
    damage: Option<(usize, u16)>,
    may_merge: bool,
}

type Change = fn(&mut Sample, u16) -> bool;

const FROM_NOW: &[Change] = &[
    |sample, to| set(Some(ip(sample).class), |_| to as u8),
    |sample, to| set(Some(ip(sample).ttl), |_| to as u8),
    |sample, to| set(ip(sample).label, |_| to.into()),
    |sample, by| set(ip(sample).id, |id| id.wrapping_add(by % 3)),
    |sample, to| set(ip(sample).fragment, |_| (to & 3) << 14),
    |sample, by| {
        let by = i32::from(by % 60) - 30;
        set(transport(sample).sequence, |at| at.wrapping_add_signed(by))
    },
    |sample, by| set(transport(sample).acknowledged, |at| at + u32::from(by)),
    |sample, to| set(transport(sample).window, |_| to),
    |sample, to| set(transport(sample).options, |_| timestamp(to as u8)),
    |sample, to| {
        set(transport(sample).options, |_| {
            vec![1; (to as usize % 11) * 4]
        })
    },
];

const THIS_ONE: &[Change] = &[
    |sample, to| {
        set(Some(&mut sample.payload), |payload| {
            tagged(payload, to as usize % 50)
        })
    },
    |sample, _| set(Some(&mut sample.payload), |_| vec![]),
    |sample, to| set(transport(sample).flags, |_| to as u8),
    |sample, _| set(transport(sample).flags, |_| ACK | PSH),
    |sample, _| set(transport(sample).flags, |_| ACK | FIN),
    |sample, _| set(transport(sample).flags, |_| ACK | CWR),
    |sample, to| set(transport(sample).urgent, |_| to & 1),
    |sample, to| set(ip(sample).fragment, |_| 1 << (to % 14)),
    |sample, to| set(ip(sample).options, |_| vec![1; (to as usize % 11) * 4]),
    |sample, to| {
        let header = [&[0, (to % 4) as u8, 1][..], &[0; 29]].concat();
        let length = (usize::from(to % 4) + 1) * 8;
        set(ip(sample).extensions, |_| {
            Some((0, header[..length].to_vec(), 0))
        })
    },
];

/// What is done to the bytes of a packet whose transport header is there. None of it touches a port or
/// an address, by which the flow would be another.
const DAMAGE: &[fn(&mut [u8], usize, u16)] = &[
    |packet, transport, at| {
        let behind_ports = &mut packet[transport + 4..];
        let length = behind_ports.len();
        behind_ports[at as usize % length] ^= 1;
    },
    |packet, transport, _| checksum_field(packet, transport).fill(0),
    |packet, transport, _| checksum_field(packet, transport).fill(0xff),
    |packet, _, at| packet[4 + at as usize % 2] ^= 1,
    |packet, _, at| packet[10] ^= u8::from(packet[0] >> 4 == 4) << (at % 8),
];

fn checksum_field(packet: &mut [u8], transport: usize) -> &mut [u8] {
    let is_udp = packet.len() < transport + 20 || packet[9] == 17 || packet[6] == 17;
    let field = transport + if is_udp { 6 } else { 16 };
    &mut packet[field..field + 2]
}

/// A payload of another length that still says which packet it is of.
fn tagged(mut payload: Vec<u8>, length: usize) -> Vec<u8> {
    payload.resize(length, 0x5a);
    payload
}

pub(in crate::packet) fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let rarely = |of: usize| {
        let choice = (0..of, any::<u16>());
        proptest::option::weighted(0.1, choice)
    };
    let turn = (
        0..FLOWS,
        rarely(FROM_NOW.len()),
        rarely(THIS_ONE.len()),
        rarely(DAMAGE.len()),
        proptest::bool::weighted(0.97),
    );
    let turn = turn.prop_map(|(flow, from_now, this_one, damage, may_merge)| Turn {
        flow,
        from_now,
        this_one,
        damage,
        may_merge,
    });
    // A few packets of one flow in a row, as they come, or more than one super-packet takes.
    let count = prop_oneof![30 => 1_usize..5, 1 => 60_usize..140];
    let turns = (turn, count).prop_map(|(turn, count)| {
        let plain = Turn {
            from_now: None,
            this_one: None,
            damage: None,
            ..turn
        };
        let mut turns = vec![plain; count];
        turns[0] = turn;
        turns
    });
    proptest::collection::vec(turns, 1..40).prop_map(|turns| turns.concat())
}

/// Flows of all kinds; of each a second between other ports, and a third between other addresses.
fn flow(number: usize) -> Sample {
    let mut first = Sample::each(&[])[number % 4].clone();
    match number / 4 {
        0 => {}
        1 => transport(&mut first).ports[1] = 80,
        _ => ip(&mut first).addresses[2] ^= 1,
    }
    first
}

/// The packets that these turns make, with the flow and whether each may be merged.
pub(in crate::packet) fn packets(turns: &[Turn]) -> Vec<(usize, Vec<u8>, bool)> {
    let mut flows: Vec<Sample> = (0..FLOWS).map(flow).collect();
    let mut packets = Vec::new();
    for (count, turn) in turns.iter().enumerate() {
        let state = &mut flows[turn.flow];
        if let Some((which, number)) = turn.from_now {
            FROM_NOW[which](state, number);
        }
        state.payload = vec![turn.flow as u8, count as u8, (count >> 8) as u8];
        state.payload.resize(25, count as u8);
        let mut sample = state.clone();
        if let Some((which, number)) = turn.this_one {
            THIS_ONE[which](&mut sample, number);
        }
        state.payload = sample.payload.clone();
        *state = state.following();
        let mut packet = sample.bytes();
        if let Some((which, number)) = turn.damage {
            DAMAGE[which](&mut packet, sample.header().0, number);
        }
        packets.push((turn.flow, packet, turn.may_merge));
    }
    packets
}

/// A packet without what has no meaning: the id of an IPv4 packet that cannot be fragmented.
pub(in crate::packet) fn meaning(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 && reference::checksum(&packet[..20]) == 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

proptest! {
    #[test]
    fn what_was_merged_splits_into_the_same_packets(turns in turns()) {
        let packets = packets(&turns);
        let mut merge = Merge::new(packets.len(), Merging { tcp: true, udp: true });
        let mut buffer = Vec::new();
        let mut places = Vec::new();
        for (_, packet, _) in &packets {
            buffer.extend_from_slice(&[0xa5; 24]);
            places.push(buffer.len()..buffer.len() + packet.len());
            buffer.extend_from_slice(packet);
        }
        for (place, (_, _, may_merge)) in places.into_iter().zip(&packets) {
            merge.push(&buffer, place, *may_merge).unwrap();
        }
        merge.finish(&mut buffer);

        let flow_of: HashMap<Vec<u8>, usize> =
            packets.iter().map(|(flow, packet, _)| (meaning(packet), *flow)).collect();
        let mut out = vec![Vec::new(); FLOWS];
        let mut next_piece = 0;
        for packet in merge.packets() {
            prop_assert_eq!(packet.pieces.start, next_piece);
            next_piece = packet.pieces.end;
            prop_assert_eq!(packet.pieces.len(), packet.segments as usize);
            let whole = gather(&buffer, packet, merge.pieces());
            let split = match packet.offload {
                Offload::Segments(segments) => {
                    reference::split(&whole, segments.size.into(), false)
                }
                _ => vec![whole.clone()],
            };
            prop_assert_eq!(split.len(), packet.segments as usize);
            prop_assert_eq!(split_all(&whole, packet.offload), Ok(split.clone()));
            for packet in split {
                let packet = meaning(&packet);
                let flow = flow_of.get(&packet);
                prop_assert!(flow.is_some(), "nobody sent {packet:02x?}");
                out[*flow.unwrap()].push(packet);
            }
        }
        for (flow, out) in out.into_iter().enumerate() {
            let sent = packets.iter().filter(|(of, _, _)| *of == flow);
            let sent: Vec<_> = sent.map(|(_, packet, _)| meaning(packet)).collect();
            prop_assert_eq!(out, sent);
        }
    }
}

#[test]
fn most_packets_of_such_flows_are_merged() {
    // Else the property above says nothing.
    let plain = |flow| Turn {
        flow,
        from_now: None,
        this_one: None,
        damage: None,
        may_merge: true,
    };
    let turns: Vec<Turn> = (0..40).map(|at| plain(at / 5 % 4)).collect();
    let packets: Vec<_> = packets(&turns)
        .into_iter()
        .map(|(_, bytes, _)| bytes)
        .collect();
    assert_eq!(super::merge::segments(&packets), [10; 4]);
}

pub(in crate::packet) const FLOWS: usize = 12;
