//! Super-packets split, against the reference and against tables.

use proptest::prelude::*;

use super::*;

fn segments(sample: &Sample, size: u16, cwr: bool) -> Offload {
    let (transport, header_len) = sample.header();
    Offload::Segments(Segments {
        kind: sample.kind(cwr),
        size,
        header_len: header_len as u16,
        transport: transport as u16,
    })
}

#[test]
fn a_super_packet_becomes_the_packets_that_the_reference_makes_of_it() {
    for length in [0, 1, 99, 100, 101, 1000, 1005, 10_000] {
        for sample in Sample::each(&pattern(length)) {
            let packet = sample.bytes();
            let packets = split_all(&packet, segments(&sample, 100, false)).unwrap();
            assert_eq!(packets.len(), length.div_ceil(100).max(1));
            assert_eq!(packets, reference::split(&packet, 100, false));
        }
    }
}

#[test]
fn fields_of_the_segments_of_a_known_packet() {
    let mut sample = Sample::tcp4(pattern(0x600));
    sample.set_flags(ACK | PSH | FIN | ECE | CWR);
    let cwr = segments(&sample, 0x200, true);
    let packets = split_all(&sample.bytes(), cwr).unwrap();
    let fields = packets.iter().map(|packet| {
        let id = u16::from_be_bytes([packet[4], packet[5]]);
        let sequence = u32::from_be_bytes(packet[24..28].try_into().unwrap());
        (id, sequence, packet[33])
    });
    // Both the identification and the sequence number wrap.
    let wanted = [
        (0xfffe, 0xffff_fc00, ACK | ECE | CWR),
        (0xffff, 0xffff_fe00, ACK | ECE),
        (0x0000, 0x0000_0000, ACK | ECE | PSH | FIN),
    ];
    assert_eq!(fields.collect::<Vec<_>>(), wanted);
    for packet in packets {
        assert_eq!(packet.len(), 52 + 0x200);
        assert_eq!(reference::checksum(&packet[..20]), 0);
        assert_eq!(reference::transport_checksum(&packet), 0);
    }

    // CWR that the kernel does not say belongs to the first alone is kept.
    let packets = split_all(&sample.bytes(), segments(&sample, 0x200, false)).unwrap();
    assert_eq!(packets[1][33], ACK | ECE | CWR);
}

#[test]
fn what_the_offload_says_of_lengths_is_not_believed() {
    for sample in Sample::each(&pattern(500)) {
        let packet = sample.bytes();
        for (header_len, transport) in [(0, 0), (1, 2), (40, 20), (54, 14), (u16::MAX, u16::MAX)] {
            let offload = Offload::Segments(Segments {
                kind: sample.kind(false),
                size: 70,
                header_len,
                transport,
            });
            let wanted = reference::split(&packet, 70, false);
            assert_eq!(split_all(&packet, offload), Ok(wanted));
        }
    }
}

#[test]
fn segments_smaller_than_their_header() {
    for sample in Sample::each(&pattern(120)) {
        let packet = sample.bytes();
        let wanted = reference::split(&packet, 1, false);
        assert_eq!(split_all(&packet, segments(&sample, 1, false)), Ok(wanted));
    }
}

#[test]
fn options_and_extension_headers_are_in_front_of_each_segment() {
    let mut options = Sample::tcp4(pattern(300));
    if let Ip::V4 { options, .. } = &mut options.ip {
        *options = vec![1; 40];
    }
    let mut extended = Sample::udp6(pattern(300));
    if let Ip::V6 { extensions, .. } = &mut extended.ip {
        *extensions = Some((0, vec![0, 0, 1, 4, 0, 0, 0, 0], 0));
    }
    let mut too_long = Sample::tcp6(pattern(300));
    if let Ip::V6 { extensions, .. } = &mut too_long.ip {
        *extensions = Some((0, [&[0, 3][..], &[0; 30]].concat(), 0));
    }
    for sample in [options, extended] {
        let wanted = reference::split(&sample.bytes(), 100, false);
        let mut packet = sample.bytes();
        leave_checksum(&mut packet, sample.header().0);
        assert_eq!(
            split_all(&packet, segments(&sample, 100, false)),
            Ok(wanted)
        );
    }
    let verdict = split_all(&too_long.bytes(), segments(&too_long, 100, false));
    assert_eq!(verdict, Err(Unsplittable::Header));
}

#[test]
fn a_routed_packet_keeps_the_destination_that_its_checksum_is_over() {
    let mut source_route = Sample::tcp4(pattern(300));
    if let Ip::V4 { options, .. } = &mut source_route.ip {
        *options = vec![131, 7, 4, 10, 9, 8, 7, 0];
    }
    let mut routing_header = Sample::tcp6(pattern(300));
    if let Ip::V6 { extensions, .. } = &mut routing_header.ip {
        *extensions = Some((43, vec![0, 0, 99, 1, 0, 0, 0, 0], 0));
    }
    for sample in [source_route, routing_header] {
        let mut packet = sample.bytes();
        let transport = sample.header().0;
        leave_checksum(&mut packet, transport);
        // The last destination is higher by five than the one in the header.
        let sum = u16::from_be_bytes([packet[transport + 16], packet[transport + 17]]);
        packet[transport + 16..transport + 18].copy_from_slice(&(sum + 5).to_be_bytes());
        let packets = split_all(&packet, segments(&sample, 100, false)).unwrap();
        let missing = packets
            .iter()
            .map(|packet| reference::transport_checksum(packet));
        assert_eq!(missing.collect::<Vec<_>>(), [5; 3]);
    }
}

#[test]
fn a_datagram_never_says_that_it_has_no_checksum() {
    for mut sample in [Sample::udp4(pattern(30)), Sample::udp6(pattern(30))] {
        let (transport, _) = sample.header();
        // A word of the second payload for which its checksum comes out as zero.
        let found = (0..=u16::MAX).find(|word| {
            sample.payload[10..12].copy_from_slice(&word.to_be_bytes());
            let packets = reference::split(&sample.bytes(), 10, false);
            packets[1][transport + 6..transport + 8] == [0xff, 0xff]
        });
        assert!(found.is_some());
        let packet = sample.bytes();
        let packets = split_all(&packet, segments(&sample, 10, false)).unwrap();
        assert_eq!(packets[1][transport + 6..transport + 8], [0xff, 0xff]);
    }
}

/// Puts the sum of the pseudo-header where the checksum is, as the kernel leaves it.
fn leave_checksum(packet: &mut [u8], transport: usize) {
    let is_udp = packet[9] == 17 || packet[0] >> 4 == 6 && packet[40] == 17;
    let field = transport + if is_udp { 6 } else { 16 };
    // The checksum is the complement of pseudo-header and datagram; the datagram's part goes out.
    packet[field..field + 2].fill(0);
    let whole = reference::transport_checksum(packet);
    let datagram = reference::checksum(&packet[transport..]);
    let sum = u32::from(!whole) + u32::from(datagram);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
}

#[test]
fn packets_that_are_not_what_their_offload_says() {
    let tcp4 = Sample::tcp4(pattern(300));
    let size = |kind, size| {
        Offload::Segments(Segments {
            kind,
            size,
            header_len: 52,
            transport: 20,
        })
    };
    let is_tcp4 = SegmentKind::Tcp4 { cwr: false };
    let is_tcp6 = SegmentKind::Tcp6 { cwr: false };
    let changed = |at: usize, value: u8| {
        let mut packet = tcp4.bytes();
        packet[at] = value;
        packet
    };
    let last_segment = TUN_SEGMENTS_MAX as u16;
    let many = Sample::tcp4(pattern(TUN_SEGMENTS_MAX * 10)).bytes();
    let checksum = |start, offset| Offload::Checksum { start, offset };
    for (packet, offload, verdict) in [
        (tcp4.bytes(), size(is_tcp4, 100), None),
        (
            tcp4.bytes(),
            size(is_tcp6, 100),
            Some(Unsplittable::Transport),
        ),
        (
            tcp4.bytes(),
            size(SegmentKind::Udp, 100),
            Some(Unsplittable::Transport),
        ),
        (
            Sample::udp6(vec![1; 9]).bytes(),
            size(is_tcp6, 5),
            Some(Unsplittable::Transport),
        ),
        (
            Sample::tcp6(vec![1; 9]).bytes(),
            size(is_tcp4, 5),
            Some(Unsplittable::Transport),
        ),
        // A fragment; a TCP header that is too short, or leaves the packet; no IP at all.
        (
            changed(6, 0x20),
            size(is_tcp4, 100),
            Some(Unsplittable::Transport),
        ),
        (
            changed(32, 0x40),
            size(is_tcp4, 100),
            Some(Unsplittable::Header),
        ),
        (
            changed(0, 0x55),
            size(is_tcp4, 100),
            Some(Unsplittable::NoPacket),
        ),
        (
            tcp4.bytes()[..40].to_vec(),
            size(is_tcp4, 100),
            Some(Unsplittable::NoPacket),
        ),
        (
            short(&tcp4.bytes(), 51),
            size(is_tcp4, 100),
            Some(Unsplittable::Header),
        ),
        (short(&tcp4.bytes(), 52), size(is_tcp4, 100), None),
        (tcp4.bytes(), size(is_tcp4, 0), Some(Unsplittable::Segments)),
        (many.clone(), size(is_tcp4, 10), None),
        (many.clone(), size(is_tcp4, 9), Some(Unsplittable::Segments)),
        (many, size(is_tcp4, last_segment), None),
        (tcp4.bytes(), checksum(20, 16), None),
        (
            tcp4.bytes(),
            checksum(20, 332),
            Some(Unsplittable::Checksum),
        ),
    ] {
        let packets = split_all(&packet, offload);
        assert_eq!(packets.err(), verdict, "{offload:?}");
    }
    let mut buffer = [0; 10];
    let verdict = Split::new(&mut buffer, 5..11, Offload::None).map(|_| ());
    assert_eq!(verdict, Err(Unsplittable::NoPacket));
}

/// The first bytes of an IPv4 packet, its length right.
fn short(packet: &[u8], length: usize) -> Vec<u8> {
    let mut packet = packet[..length].to_vec();
    packet[3] = length as u8;
    packet[2] = 0;
    packet
}

#[test]
fn one_packet_is_one_packet() {
    let packet = Sample::udp4(vec![1; 5]).bytes();
    assert_eq!(split_all(&packet, Offload::None), Ok(vec![packet.clone()]));

    let mut left = packet.clone();
    leave_checksum(&mut left, 20);
    assert_ne!(left, packet);
    let offload = Offload::Checksum {
        start: 20,
        offset: 6,
    };
    assert_eq!(split_all(&left, offload), Ok(vec![packet]));
}

#[test]
fn what_follows_the_packet_is_left_off() {
    let sample = Sample::udp4(vec![1; 50]);
    let packet = sample.bytes();
    let longer = [&packet[..], &[0xee; 30]].concat();
    let packets = split_all(&longer, segments(&sample, 20, false)).unwrap();
    assert_eq!(packets, reference::split(&packet, 20, false));
}

#[test]
fn another_buffer_than_at_first_yields_nothing() {
    let sample = Sample::udp4(vec![1; 50]);
    let mut buffer = sample.bytes();
    let place = 0..buffer.len();
    let mut split = Split::new(&mut buffer, place, segments(&sample, 20, false)).unwrap();
    assert_eq!(split.remaining(), 3);
    assert_eq!(split.next(&mut buffer[..30]), None);
    assert_eq!(split.remaining(), 2);
}

proptest! {
    #[test]
    fn any_super_packet_is_split_like_the_reference_does(
        which in 0_usize..4,
        payload in proptest::collection::vec(any::<u8>(), 0..4000),
        size in 40_u16..5000,
        flags: u8,
        sequence: u32,
        cwr: bool,
        options in 0_usize..=10,
    ) {
        let mut sample = Sample::each(&payload)[which].clone();
        if let Transport::Tcp { flags: f, sequence: s, options: o, .. } = &mut sample.transport {
            *f = flags;
            *s = sequence;
            *o = vec![1; options * 4];
        }
        let packet = sample.bytes();
        let wanted = reference::split(&packet, usize::from(size), cwr);
        prop_assert_eq!(split_all(&packet, segments(&sample, size, cwr)), Ok(wanted));
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        start in 0_usize..450,
        length in 0_usize..450,
        offload in any_offload(),
        likely: (bool, u8, bool, u8),
    ) {
        // Mostly with a header that is looked into.
        let (is_likely, version, is_tcp, byte) = likely;
        if let (true, Some(header)) = (is_likely, bytes.get_mut(start..start + 40)) {
            header[0] = if version & 1 == 0 { 0x45 } else { 0x60 };
            header[2..8].copy_from_slice(&[0, length as u8, 0, byte, 0, 0]);
            header[if version & 1 == 0 { 9 } else { 6 }] = if is_tcp { 6 } else { 17 };
            header[32] = 0x50 | byte & 0x3f;
        }
        let mut other = vec![0; usize::from(byte)];
        let place = start..start + length;
        if let Ok(mut split) = Split::new(&mut bytes, place.clone(), offload) {
            let promised = split.remaining();
            prop_assert!((1..=TUN_SEGMENTS_MAX).contains(&promised));
            let mut stray = split.clone();
            for left in (0..promised).rev() {
                let range = split.next(&mut bytes).unwrap();
                prop_assert!(place.start <= range.start && range.start <= range.end);
                prop_assert!(range.end <= place.end);
                prop_assert_eq!(split.remaining(), left);
            }
            prop_assert_eq!(split.next(&mut bytes), None);
            for _ in 0..promised {
                stray.next(&mut other);
            }
        }
    }
}

fn any_offload() -> impl Strategy<Value = Offload> {
    let kind = prop_oneof![
        any::<bool>().prop_map(|cwr| SegmentKind::Tcp4 { cwr }),
        any::<bool>().prop_map(|cwr| SegmentKind::Tcp6 { cwr }),
        Just(SegmentKind::Udp),
    ];
    let size = prop_oneof![0_u16..50, any::<u16>()];
    prop_oneof![
        Just(Offload::None),
        (0_u16..500, 0_u16..500).prop_map(|(start, offset)| Offload::Checksum { start, offset }),
        (kind, size, any::<u16>(), any::<u16>()).prop_map(|(kind, size, header_len, transport)| {
            Offload::Segments(Segments {
                kind,
                size,
                header_len,
                transport,
            })
        }),
    ]
}
