//! Many packets in one read and in one write of a tun device.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::*;
use crate::limits::{PIECES_PER_PACKET, TUN_OFFSET};
use crate::packet::{SegmentKind, Segments};

#[test]
fn tcp_goes_through_a_device_in_super_packets() {
    for (ours, theirs) in [("10.79.0.1", "10.79.0.2"), ("fd79::1", "fd79::2")] {
        in_own_network(move || {
            let mut rig = Rig::small();
            let tun = rig.reactor.add_tun(device(TunOffloads::ALL)).unwrap();
            let seen = reflect_tcp(&mut rig, tun, ours, theirs);
            let kinds: Vec<_> = seen.iter().map(|segments| segments.kind).collect();
            let expected = match ours.contains('.') {
                true => SegmentKind::Tcp4 { cwr: false },
                false => SegmentKind::Tcp6 { cwr: false },
            };
            assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == expected));
            let header = if ours.contains('.') { 20 } else { 40 };
            assert!(seen.iter().all(|segments| segments.transport == header));
            // An MTU of 1500 less the IP header and a TCP header with timestamps.
            assert!(seen.iter().all(|it| it.size == 1500 - header - 32));
        });
    }
}

#[test]
fn without_offloads_tcp_goes_through_in_single_packets() {
    for offloads in [
        TunOffloads::default(),
        TunOffloads {
            merge: true,
            ..TunOffloads::default()
        },
        TunOffloads {
            uso: true,
            ..TunOffloads::default()
        },
    ] {
        in_own_network(move || {
            let mut rig = Rig::small();
            let device = device(offloads);
            assert_eq!(device.offloads(), offloads);
            let tun = rig.reactor.add_tun(device).unwrap();
            assert_eq!(reflect_tcp(&mut rig, tun, "10.79.0.1", "10.79.0.2"), []);
        });
    }
}

/// Sends a stream to `theirs`, which the test turns round to a listener at `ours`, as it is read.
fn reflect_tcp(rig: &mut Rig, tun: TunId, ours: &str, theirs: &str) -> Vec<Segments> {
    const LENGTH: usize = 2 << 20;
    let (ours, theirs): (IpAddr, IpAddr) = (ours.parse().unwrap(), theirs.parse().unwrap());
    let listener = TcpListener::bind((ours, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let stream: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8).collect();
    let expected = stream.clone();
    let sender = thread::spawn(move || {
        let mut connection = TcpStream::connect((theirs, port)).unwrap();
        connection.write_all(&stream).unwrap();
    });
    let receiver = thread::spawn(move || {
        let mut arrived = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut arrived)
            .unwrap();
        arrived
    });
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !receiver.is_finished() {
        assert!(
            Instant::now() < deadline,
            "the stream does not end: {:?}",
            rig.reactor
        );
        rig.turn(Duration::from_millis(5));
        for completion in std::mem::take(&mut rig.pending) {
            match completion {
                Completion::TunPacket {
                    mut buffer,
                    range,
                    offload,
                    ..
                } => {
                    assert_eq!(
                        range.start,
                        TUN_OFFSET - usize::from(range.start != TUN_OFFSET) * 10
                    );
                    exchange_addresses(&mut buffer.bytes_mut()[range.clone()]);
                    if let Offload::Segments(segments) = offload {
                        assert!(range.len() > usize::from(segments.size));
                        seen.push(segments);
                    }
                    write_in_pieces(rig, tun, buffer, range, offload);
                }
                Completion::TunWritten { buffer, result, .. } => {
                    assert!(result.unwrap() > 0);
                    rig.reactor.return_tun_buffer(buffer.unwrap()).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
    sender.join().unwrap();
    assert!(
        receiver.join().unwrap() == expected,
        "the stream has changed"
    );
    seen
}

/// Cuts a packet anywhere and writes it as one.
fn write_in_pieces(
    rig: &mut Rig,
    tun: TunId,
    buffer: Buffer,
    range: Range<usize>,
    offload: Offload,
) {
    let step = range.len().div_ceil(PIECES_PER_PACKET).max(33);
    let pieces: Vec<_> = range
        .clone()
        .step_by(step)
        .map(|start| piece(start, step.min(range.end - start)))
        .collect();
    let packet = gathered(offload, 0..pieces.len(), &pieces);
    assert_eq!(packet.len as usize, range.len());
    let written = rig.reactor.write_tun(tun, buffer, &[packet], &pieces);
    assert_eq!((written.begun, written.refused), (1, None));
}

#[test]
fn udp_segments_are_read_and_written_as_one_packet() {
    for (ours, theirs, headers) in [("10.79.0.1", "10.79.0.2", 28), ("fd79::1", "fd79::2", 48)] {
        in_own_network(move || {
            let mut rig = Rig::small();
            let tun = rig.reactor.add_tun(device(TunOffloads::ALL)).unwrap();
            let client = client(ours);
            cut_sends(&client, 1000);
            let theirs: IpAddr = theirs.parse().unwrap();
            client.connect((theirs, 7)).unwrap();
            let payload: Vec<u8> = (0..10_500u32).map(|at| (at / 3) as u8).collect();
            client.send(&payload).unwrap();
            let (mut buffer, range, offload) = next_segments(&mut rig);
            let Offload::Segments(segments) = offload else {
                panic!("{offload:?}")
            };
            assert_eq!((segments.kind, segments.size), (SegmentKind::Udp, 1000));
            assert_eq!(usize::from(segments.transport), headers - 8);
            assert!(buffer.bytes()[range.clone()].ends_with(&payload));
            assert_eq!(range.len(), headers + payload.len());

            let packet = &mut buffer.bytes_mut()[range.clone()];
            exchange_addresses(packet);
            let (source, destination) = packet[headers - 8..headers - 4].split_at_mut(2);
            source.swap_with_slice(destination);
            write_in_pieces(&mut rig, tun, buffer, range.clone(), offload);
            let (_, result) = rig.next_tun_written();
            assert_eq!(result.unwrap(), range.len());
            for segment in payload.chunks(1000) {
                assert_eq!(received(&client), segment);
            }
            let counters = rig.reactor.counters();
            assert_eq!(counters.tun_packets_read - counters.tun_reads, 10);
            let pieces = u64::try_from(PIECES_PER_PACKET).unwrap();
            let written = (counters.tun_writes, counters.tun_packets_written);
            assert_eq!(written, (1, pieces));
        });
    }
}

#[test]
fn a_packet_without_its_checksum_says_where_it_belongs() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let tun = rig.reactor.add_tun(device(TunOffloads::ALL)).unwrap();
        let client = client("10.79.0.1");
        client.connect("10.79.0.2:7").unwrap();
        client.send(b"to be summed").unwrap();
        let (mut buffer, range, offload) = loop {
            let (buffer, range, offload) = next_packet(&mut rig);
            if buffer.bytes()[range.clone()].ends_with(b"to be summed") {
                break (buffer, range, offload);
            }
        };
        let expected = Offload::Checksum {
            start: 20,
            offset: 6,
        };
        assert_eq!((range.len(), offload), (40, expected));
        let packet = &mut buffer.bytes_mut()[range.clone()];
        exchange_addresses(packet);
        let (source, destination) = packet[20..24].split_at_mut(2);
        source.swap_with_slice(destination);
        // The kernel takes it as it came, and nothing else: as it stands, the sum is wrong.
        write_in_pieces(&mut rig, tun, buffer, range.clone(), offload);
        let (buffer, _) = rig.next_tun_written();
        assert_eq!(received(&client), b"to be summed");
        rig.write_whole(tun, buffer, range);
        rig.next_tun_written().1.unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        assert!(client.recv(&mut [0; 64]).is_err());
    });
}

#[test]
fn several_packets_of_one_buffer_come_back_as_one() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            tun_writes: 3,
            ..SMALL
        });
        let tun = rig.reactor.add_tun(device(TunOffloads::ALL)).unwrap();
        let client = client("10.79.0.1");
        let to = client.local_addr().unwrap().port();
        for _ in 0..3 {
            let packets: Vec<_> = (0..4u8)
                .map(|number| datagram(to, &[number; 100]))
                .collect();
            let buffer = rig.buffer_with(&packets.concat());
            let index = buffer.index();
            let pieces: Vec<_> = (0..4)
                .flat_map(|number| {
                    let start = SEND_AT + number * 128;
                    [piece(start, 28), piece(start + 28, 100)]
                })
                .collect();
            let row: Vec<_> = (0..4)
                .map(|number| gathered(Offload::None, number * 2..number * 2 + 2, &pieces))
                .collect();
            let written = rig.reactor.write_tun(tun, buffer, &row, &pieces);
            assert_eq!(written.begun, 3);
            assert_eq!(written.refused, Some(QueueFull.into()));
            assert!(written.buffer.is_none());
            assert_eq!(rig.reactor.room().1, 0);
            let another = rig.pool.take().unwrap();
            let written = rig.reactor.write_tun(tun, another, &row, &pieces);
            assert_eq!(
                (written.begun, written.refused),
                (0, Some(QueueFull.into()))
            );
            rig.pool.give(written.buffer.unwrap());

            let mut back = Vec::new();
            while back.len() < 3 {
                if let Completion::TunWritten {
                    segments,
                    result,
                    buffer,
                    ..
                } = rig.next()
                {
                    assert_eq!((segments, result.unwrap()), (2, 128));
                    back.push(buffer.map(|buffer| {
                        assert_eq!(buffer.index(), index);
                        rig.pool.give(buffer);
                    }));
                }
            }
            assert_eq!(back, [None, None, Some(())]);
            for number in 0..3u8 {
                assert_eq!(received(&client), [number; 100]);
            }
        }
        assert_eq!((rig.reactor.room().1, rig.pool.free()), (3, 64));
    });
}

#[test]
fn what_cannot_be_written_is_refused_before_the_kernel_sees_it() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let tun = rig.reactor.add_tun(device(TunOffloads::default())).unwrap();
        let end = crate::limits::BUFFER_SIZE;
        let pieces: Vec<_> = [piece(200, 100), piece(end - 50, 51), piece(7, 0)]
            .into_iter()
            .chain((0..=PIECES_PER_PACKET).map(|at| piece(200 + at, 1)))
            .collect();
        let udp = Offload::Segments(Segments {
            kind: SegmentKind::Udp,
            size: 10,
            header_len: 28,
            transport: 20,
        });
        let last = pieces.len();
        for (what, tun, offload, at, refused) in [
            (
                "no such queue",
                TunId(1),
                Offload::None,
                0..1,
                Refused::Unknown,
            ),
            ("no offloads", tun, udp, 0..1, Refused::Offload),
            (
                "beyond the buffer",
                tun,
                Offload::None,
                0..2,
                Refused::Range,
            ),
            ("nothing", tun, Offload::None, 2..3, Refused::Range),
            ("no pieces", tun, Offload::None, 0..0, Refused::Range),
            (
                "too many pieces",
                tun,
                Offload::None,
                3..last,
                Refused::Range,
            ),
        ] {
            let buffer = rig.pool.take().unwrap();
            let index = buffer.index();
            let packet = gathered(offload, at, &pieces);
            let written = rig.reactor.write_tun(tun, buffer, &[packet], &pieces);
            assert_eq!(
                (written.begun, written.refused),
                (0, Some(refused)),
                "{what}"
            );
            let buffer = written.buffer.unwrap();
            assert_eq!(buffer.index(), index);
            rig.pool.give(buffer);
        }
        let buffer = rig.pool.take().unwrap();
        let mut beyond = gathered(Offload::None, 0..1, &pieces);
        beyond.pieces = last..last + 1;
        let written = rig.reactor.write_tun(tun, buffer, &[beyond], &pieces);
        assert_eq!(written.refused, Some(Refused::Range));
        rig.turn(Duration::ZERO);
        assert!(
            rig.pending
                .iter()
                .all(|it| matches!(it, Completion::TunPacket { .. }))
        );
        assert_eq!(rig.reactor.room().1, 16);
    });
}

/// A device that has both families, of which the system itself says things too.
fn device(offloads: TunOffloads) -> Tun {
    let tun = Tun::create(&TunConfig {
        name: Some("ringway-s".to_owned()),
        ipv4: Some(("10.79.0.1".parse().unwrap(), 24)),
        ipv6: Some(("fd79::1".parse().unwrap(), 64)),
        mtu: Some(1500),
        offloads,
        ..TunConfig::default()
    });
    // The system routes a new IPv6 address a little later.
    let routes = || run("ip", &["-6", "route", "show", "table", "local"]);
    eventually(|| routes().contains("local fd79::1 dev ringway-s"));
    tun.unwrap()
}

fn next_packet(rig: &mut Rig) -> (Buffer, Range<usize>, Offload) {
    match rig.next() {
        Completion::TunPacket {
            buffer,
            range,
            offload,
            ..
        } => (buffer, range, offload),
        other => panic!("{other:?} is no packet"),
    }
}

/// The next super-packet; what the system says meanwhile is passed over.
fn next_segments(rig: &mut Rig) -> (Buffer, Range<usize>, Offload) {
    loop {
        let (buffer, range, offload) = next_packet(rig);
        if matches!(offload, Offload::Segments(_)) {
            return (buffer, range, offload);
        }
    }
}

/// Turns a packet round to the host it came from, whose sums stay right.
fn exchange_addresses(packet: &mut [u8]) {
    let (at, length) = match packet[0] >> 4 {
        4 => (12, 4),
        _ => (8, 16),
    };
    let (source, destination) = packet[at..at + 2 * length].split_at_mut(length);
    source.swap_with_slice(destination);
}

/// Lets the kernel cut what a socket sends.
fn cut_sends(socket: &Client, size: i32) {
    let length = size_of_val(&size) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel reads `length` bytes of `size`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            length,
        )
    };
    assert_eq!(result, 0);
}

/// A UDP packet from 10.79.0.2 to 10.79.0.1 that has no checksum.
fn datagram(to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 79, 0, 2, 10, 79, 0, 1]);
    let words = packet
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(7u16.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}
