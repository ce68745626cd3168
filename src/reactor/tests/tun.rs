//! Reading and writing tun devices.

use super::*;

#[test]
fn a_packet_goes_round_through_a_tun_device() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            tun_buffers: 4,
            ..SMALL
        });
        let tun = rig.reactor.add_tun(tun_device()).unwrap();
        let client = client("10.79.0.1");
        client.connect("10.79.0.2:7").unwrap();
        rig.turn(Duration::ZERO);
        for number in 0..100u8 {
            client.send(&[number; 1000]).unwrap();
        }
        for number in 0..100u8 {
            let (mut buffer, range) = rig.next_tun_packet();
            let packet = &mut buffer.bytes_mut()[range.clone()];
            assert_eq!(packet.len(), 1028);
            assert_eq!(packet[28..], [number; 1000]);
            turn_round(packet);
            rig.write_whole(tun, buffer, range);
            let (buffer, result) = rig.next_tun_written();
            assert_eq!(result.unwrap(), 1028);
            rig.reactor.return_tun_buffer(buffer).unwrap();
            assert_eq!(received(&client), [number; 1000]);
        }
        assert!(rig.reactor.counters().tun_starved >= 1);
    });
}

#[test]
fn a_removed_device_is_reported_once() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let tun = rig.reactor.add_tun(tun_device()).unwrap();
        let (_, port) = rig.bind(Family::V4);
        rig.turn(Duration::ZERO);
        run("ip", &["link", "del", "ringway-e"]);
        match rig.next() {
            Completion::TunLost { tun: lost, .. } => assert_eq!(lost, tun),
            other => panic!("{other:?}"),
        }
        let buffer = rig.buffer_with(&[0x45; 20]);
        rig.write_whole(tun, buffer, SEND_AT..SEND_AT + 20);
        match rig.next() {
            Completion::TunWritten { result, .. } => assert!(result.is_err()),
            other => panic!("{other:?}"),
        }
        client("127.0.0.1")
            .send_to(b"still", ("127.0.0.1", port))
            .unwrap();
        assert_eq!(rig.next_payload(), b"still");
    });
}

#[test]
fn a_write_to_a_device_that_is_down_fails_alone() {
    in_own_network(|| {
        let mut rig = Rig::small();
        let tun = rig.reactor.add_tun(tun_device()).unwrap();
        run("ip", &["link", "set", "ringway-e", "down"]);
        let buffer = rig.buffer_with(&[0x45; 20]);
        let index = buffer.index();
        rig.write_whole(tun, buffer, SEND_AT..SEND_AT + 20);
        match rig.next() {
            Completion::TunWritten { buffer, result, .. } => {
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO));
                assert_eq!(buffer.unwrap().index(), index);
            }
            other => panic!("{other:?}"),
        }
        run("ip", &["link", "set", "ringway-e", "up"]);
        let client = client("10.79.0.1");
        client.send_to(b"up again", "10.79.0.2:7").unwrap();
        let (buffer, range) = rig.next_tun_packet();
        assert!(buffer.bytes()[range].ends_with(b"up again"));
    });
}

/// Sends a UDP packet back to where it came from; exchanging words leaves the checksums right.
fn turn_round(packet: &mut [u8]) {
    let (source, destination) = packet[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    let (source, destination) = packet[20..24].split_at_mut(2);
    source.swap_with_slice(destination);
}
