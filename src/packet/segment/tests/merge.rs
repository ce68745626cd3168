//! Which packets are merged: tables of what may differ, and what a super-packet says.

use super::alike::{flip, ip, set, transport};
use super::*;

/// Merges packets that lie in one buffer with gaps between them; what leaves, its bytes together.
fn merge_all(packets: &[Vec<u8>], merging: Merging) -> Vec<(Gathered, Vec<u8>)> {
    let mut merge = Merge::new(packets.len(), merging);
    let mut buffer = Vec::new();
    for packet in packets {
        buffer.extend_from_slice(&[0xa5; 30]);
        let start = buffer.len();
        buffer.extend_from_slice(packet);
        merge.push(&buffer, start..buffer.len(), true).unwrap();
    }
    let before = buffer.clone();
    merge.finish(&mut buffer);
    for packet in merge.packets().iter().filter(|packet| packet.segments == 1) {
        let pieces = merge.pieces();
        let untouched = gather(&before, packet, pieces);
        assert_eq!(gather(&buffer, packet, pieces), untouched);
        assert_eq!((packet.pieces.len(), packet.offload), (1, Offload::None));
    }
    let gathered = merge.packets().iter().map(|packet| {
        let bytes = gather(&buffer, packet, merge.pieces());
        (packet.clone(), bytes)
    });
    gathered.collect()
}

/// How many packets each of the leaving was merged from.
pub(super) fn segments(packets: &[Vec<u8>]) -> Vec<u32> {
    let merged = merge_all(packets, ALL);
    merged.iter().map(|(packet, _)| packet.segments).collect()
}

/// A run of a flow: each packet follows from the one before, then is changed.
fn run(first: &Sample, count: usize) -> Vec<Sample> {
    let mut packets = vec![first.clone()];
    for at in 1..count {
        let next = packets[at - 1].following();
        packets.push(next);
    }
    packets
}

pub(super) fn bytes(packets: &[Sample]) -> Vec<Vec<u8>> {
    packets.iter().map(Sample::bytes).collect()
}

#[test]
fn a_run_of_a_flow_becomes_one_packet_and_splits_into_the_same() {
    for first in Sample::each(&pattern(300)) {
        let mut packets = run(&first, 10);
        packets[9].payload.truncate(7);
        packets[9].set_flags(ACK | PSH | FIN);
        let packets = bytes(&packets);
        let merged = merge_all(&packets, ALL);
        let [(packet, whole)] = merged.try_into().unwrap();
        let (transport, header_len) = first.header();
        let wanted = Gathered {
            offload: Offload::Segments(Segments {
                kind: first.kind(false),
                size: 300,
                header_len: header_len as u16,
                transport: transport as u16,
            }),
            pieces: 0..10,
            len: (header_len + 9 * 300 + 7) as u32,
            segments: 10,
        };
        assert_eq!(packet, wanted);
        assert_eq!(split_all(&whole, packet.offload), Ok(packets));
    }
}

#[test]
fn the_header_of_a_super_packet_is_what_the_kernel_expects() {
    for first in Sample::each(&pattern(300)) {
        let [(packet, whole)] = merge_all(&bytes(&run(&first, 3)), ALL).try_into().unwrap();
        let (transport, _) = first.header();
        // Completed as the kernel or a network card would, it is right as one packet.
        let mut completed = whole.clone();
        let field = match &first.transport {
            Transport::Tcp { .. } => 16,
            Transport::Udp { .. } => 6,
        };
        let summed = &mut completed[transport..];
        let checksum = reference::checksum(summed);
        summed[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        let mut wanted = whole;
        reference::complete(&mut wanted);
        assert_eq!(completed, wanted);
        assert_eq!(packet.segments, 3);
    }
}

#[test]
fn wrong_checksums_and_none_are_never_merged() {
    for (kind, first) in Sample::each(&pattern(300)).into_iter().enumerate() {
        let good = bytes(&run(&first, 4));
        let checksum = match first.transport {
            Transport::Tcp { .. } => first.header().0 + 16,
            Transport::Udp { .. } => first.header().0 + 6,
        };
        let last = good[0].len() - 1;
        for (broken, wanted) in [(0, vec![1, 3]), (1, vec![1, 1, 2]), (3, vec![3, 1])] {
            for at in [checksum, last] {
                let mut packets = good.clone();
                packets[broken][at] ^= 1;
                assert_eq!(segments(&packets), wanted, "{kind}: byte {at} of {broken}");
            }
        }
        if kind % 2 == 0 {
            let mut packets = good.clone();
            packets[1][10] ^= 1;
            assert_eq!(segments(&packets), [1, 1, 2], "header checksum");
        }
        if kind >= 2 {
            let mut packets = good;
            packets[1][checksum..checksum + 2].fill(0);
            assert_eq!(segments(&packets), [1, 1, 2], "no checksum");
        }
    }
}

#[test]
fn the_other_form_of_zero_is_left_as_it_is() {
    // A checksum of IPv4 or TCP that comes out as zero, and is sent as 0xffff.
    let [tcp4, tcp6, udp4, udp6] = Sample::each(&pattern(300));
    // In UDP it is the other way round, and zero says that there is none.
    for (first, field, varied, right) in [
        (&tcp4, tcp4.header().0 + 16, tcp4.header().1, 0),
        (&tcp6, tcp6.header().0 + 16, tcp6.header().1, 0),
        (&udp4, 10, 16, 0),
        (&udp4, udp4.header().0 + 6, udp4.header().1, 0xff),
        (&udp6, udp6.header().0 + 6, udp6.header().1, 0xff),
    ] {
        let mut packets = bytes(&run(first, 2));
        let word = (0..=u16::MAX).find(|word| {
            for packet in &mut packets {
                packet[varied..varied + 2].copy_from_slice(&word.to_be_bytes());
            }
            reference::complete(&mut packets[1]);
            packets[1][field..field + 2] == [right; 2]
        });
        assert!(word.is_some());
        reference::complete(&mut packets[0]);
        assert_eq!(segments(&packets), [2]);
        packets[1][field..field + 2].fill(!right);
        assert_eq!(segments(&packets), [1, 1]);
    }
}

#[test]
fn a_datagram_that_is_shorter_than_its_packet_leaves_alone() {
    // RFC 9868: what is behind the datagram has a meaning too.
    for first in [Sample::udp4(pattern(300)), Sample::udp6(pattern(300))] {
        let mut packets = bytes(&run(&first, 2));
        let udp = &mut packets[1][first.header().0..];
        let [length, checksum] = [[udp[4], udp[5]], [udp[6], udp[7]]].map(u16::from_be_bytes);
        udp[4..6].copy_from_slice(&(length - 1).to_be_bytes());
        udp[6..8].copy_from_slice(&(checksum + 1).to_be_bytes());
        assert_eq!(reference::transport_checksum(&packets[1]), 0);
        assert_eq!(segments(&packets), [1, 1]);
    }
}

#[test]
fn an_id_of_an_atomic_datagram_means_nothing() {
    let mut first = Sample::tcp4(pattern(300));
    set(ip(&mut first).fragment, |_| 0x4000);
    let mut packets = run(&first, 3);
    for packet in &mut packets {
        set(ip(packet).id, |_| 0);
    }
    assert_eq!(segments(&bytes(&packets)), [3]);
}

#[test]
fn flows_interleave_and_each_keeps_its_order() {
    let [tcp4, tcp6, udp4, udp6] = Sample::each(&pattern(300)).map(|first| run(&first, 3));
    let packets = [
        &tcp4[0], &udp6[0], &tcp4[1], &tcp6[0], &udp4[0], &tcp6[1], &udp6[1], &udp6[2], &tcp6[2],
        &tcp4[2], &udp4[1],
    ];
    let packets: Vec<_> = packets.map(Sample::bytes).to_vec();
    let merged = merge_all(&packets, ALL);
    let places = merged.iter().map(|(packet, _)| packet.pieces.clone());
    assert_eq!(places.collect::<Vec<_>>(), [0..3, 3..6, 6..9, 9..11]);
    for (flow, (packet, whole)) in [tcp4, udp6, tcp6, udp4].iter().zip(&merged) {
        let count = packet.segments as usize;
        assert_eq!(split_all(whole, packet.offload), Ok(bytes(&flow[..count])));
    }
}

#[test]
fn flows_between_the_same_ports_of_other_addresses() {
    for one in Sample::each(&pattern(30)) {
        let mut other = one.clone();
        let last = ip(&mut other).addresses.len() - 1;
        flip(&mut ip(&mut other).addresses[last], 1);
        let [one, other] = [one, other].map(|first| bytes(&run(&first, 2)));
        let packets = [&one[0], &other[0], &one[1], &other[1]].map(Vec::clone);
        assert_eq!(segments(&packets), [2, 2]);
    }
}

#[test]
fn what_cannot_be_told_from_a_flow_closes_it() {
    let flow = run(&Sample::tcp4(pattern(300)), 2);
    let mut fragment = Sample::udp4(pattern(20));
    set(ip(&mut fragment).fragment, |_| 0x2000);
    let mut ping = Sample::udp4(pattern(20)).bytes();
    ping[9] = 1;
    // Options that would be a port and another if they were behind the header.
    let mut options = flow[0].clone();
    set(ip(&mut options).options, |_| vec![1; 40]);
    let mut elsewhere = fragment.clone();
    flip(&mut ip(&mut elsewhere).addresses[0], 1);
    for (between, wanted) in [
        (fragment.bytes(), vec![1, 1, 1]),
        (ping, vec![1, 1, 1]),
        (options.bytes(), vec![1, 1, 1]),
        (elsewhere.bytes(), vec![2, 1]),
        (Sample::udp4(pattern(20)).bytes(), vec![2, 1]),
        (Sample::udp4(vec![]).bytes(), vec![2, 1]),
        (vec![], vec![1, 1, 1]),
    ] {
        let packets = [flow[0].bytes(), between, flow[1].bytes()];
        assert_eq!(segments(&packets), wanted);
    }
}

#[test]
fn switches_and_the_caller_keep_packets_apart() {
    let [tcp, _, udp, _] = Sample::each(&pattern(30)).map(|first| bytes(&run(&first, 2)));
    let packets = [tcp.clone(), udp].concat();
    for (tcp, udp, wanted) in [
        (true, true, vec![2, 2]),
        (true, false, vec![2, 1, 1]),
        (false, true, vec![1, 1, 2]),
        (false, false, vec![1, 1, 1, 1]),
    ] {
        let merged = merge_all(&packets, Merging { tcp, udp });
        let merged: Vec<_> = merged.iter().map(|(packet, _)| packet.segments).collect();
        assert_eq!(merged, wanted);
    }

    let buffer = bytes(&run(&Sample::tcp4(pattern(30)), 4)).concat();
    let length = buffer.len() / 4;
    for (forbidden, wanted) in [(0, vec![1, 3]), (1, vec![1, 1, 2]), (3, vec![3, 1])] {
        let mut merge = Merge::new(4, ALL);
        for at in 0..4 {
            let packet = at * length..(at + 1) * length;
            merge.push(&buffer, packet, at != forbidden).unwrap();
        }
        merge.finish(&mut buffer.clone());
        let merged = merge.packets().iter().map(|packet| packet.segments);
        assert_eq!(merged.collect::<Vec<_>>(), wanted, "{forbidden}");
    }
}

#[test]
fn a_super_packet_ends_at_its_bounds() {
    let most = PIECES_PER_PACKET as u32;
    for first in Sample::each(&pattern(10)) {
        let packets = bytes(&run(&first, PIECES_PER_PACKET + 6));
        assert_eq!(segments(&packets), [most, 6]);
    }
    // 65,535 bytes with the header, and not one more.
    for (mut first, payload) in [
        (Sample::udp4(vec![]), 65_535 - 28_usize),
        (Sample::udp6(vec![]), 65_535 - 48),
        (Sample::tcp4(vec![]), 65_535 - 52),
        (Sample::tcp6(vec![]), 65_535 - 72),
    ] {
        let size: usize = 3001;
        first.payload = pattern(size);
        let mut packets = run(&first, payload.div_ceil(size));
        let last = payload % size;
        for (length, merges) in [(last, true), (last + 1, false)] {
            packets.last_mut().unwrap().payload = pattern(length);
            let merged = segments(&bytes(&packets));
            assert_eq!(merged.len() == 1, merges, "{length} more bytes");
        }
    }
}

#[test]
fn as_many_flows_as_are_open_and_one_more() {
    for (flows, is_merged) in [(OPEN_FLOWS_MAX, true), (OPEN_FLOWS_MAX + 1, false)] {
        let mut packets = Vec::new();
        for _ in 0..3 {
            for port in 0..flows {
                let mut sample = Sample::udp6(pattern(50));
                transport(&mut sample).ports[0] = port as u16;
                packets.push(sample.bytes());
            }
        }
        let wanted = match is_merged {
            true => vec![3; flows],
            false => vec![1; 3 * flows],
        };
        assert_eq!(segments(&packets), wanted, "{flows} flows");
    }
}

#[test]
fn a_full_one_is_finished_and_begins_again() {
    let packets = bytes(&run(&Sample::tcp6(pattern(40)), 4));
    let length = packets[0].len();
    let mut buffer = packets.concat();
    let place = |at: usize| at * length..(at + 1) * length;
    let mut merge = Merge::new(2, ALL);
    for pair in [[0, 1], [2, 3]] {
        for at in pair {
            assert_eq!(merge.push(&buffer, place(at), true), Ok(()));
        }
        assert_eq!(merge.push(&buffer, place(0), true), Err(MergeFull));
        merge.finish(&mut buffer);
        let [packet] = merge.packets() else {
            panic!("{:?}", merge.packets());
        };
        let whole = gather(&buffer, packet, merge.pieces());
        let wanted = packets[pair[0]..=pair[1]].to_vec();
        assert_eq!(split_all(&whole, packet.offload), Ok(wanted));
    }

    // A packet joins only one that came since.
    let mut buffer = packets.concat();
    merge.push(&buffer, place(0), true).unwrap();
    merge.finish(&mut buffer);
    let other = buffer.len()..buffer.len() + length;
    buffer.extend_from_slice(&Sample::udp6(pattern(length - 48)).bytes());
    merge.push(&buffer, other, true).unwrap();
    merge.push(&buffer, place(1), true).unwrap();
    merge.finish(&mut buffer);
    let segments = merge.packets().iter().map(|packet| packet.segments);
    assert_eq!(segments.collect::<Vec<_>>(), [1, 1]);

    merge.push(&buffer, place(0), true).unwrap();
    merge.clear();
    assert_eq!((merge.packets().len(), merge.pieces().len()), (0, 0));
    merge.finish(&mut buffer);
    assert_eq!(merge.packets(), []);
}

const ALL: Merging = Merging {
    tcp: true,
    udp: true,
};
