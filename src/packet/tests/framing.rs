//! Framing for compression, and what comes compressed.

use lz4_flex::block::compress;
use lzokay::compress::compress as lzo_of;
use lzokay::decompress::decompress;
use proptest::prelude::*;

use super::*;
use crate::wire::{Framing, OCC_MAGIC, PING};

fn framed(framing: Framing) -> Pair {
    let mut pair = Pair::aes();
    pair.client.peer().set_framing(framing);
    pair.server.peer().set_framing(framing);
    pair
}

/// A packet of the client with a payload that a compressor likes.
fn large() -> Vec<u8> {
    ip(CLIENT_V4, LAN_V4, &[0x61; 1400])
}

fn lzo(packet: &[u8]) -> Vec<u8> {
    lzo_of(packet).unwrap()
}

/// The server opens what the client frames by hand, under the client's key.
fn arrives(pair: &mut Pair, packet_id: u32, frame: &[u8]) -> Vec<Vec<u8>> {
    let datagram = datagram_with_packet_id(packet_id, frame);
    pair.server.receive(&datagram, CLIENT)
}

#[test]
fn both_ends_frame_alike_and_packets_are_what_they_were() {
    let up = ip(CLIENT_V4, LAN_V4, b"up");
    let down = ip(LAN_V4, CLIENT_V4, b"down");
    for framing in [Framing::None, Framing::Prefix, Framing::Swap, Framing::V2] {
        let mut pair = framed(framing);
        let datagram = pair.client.sealed(&up);
        assert_eq!(
            datagram.len(),
            24 + up.len() + framing.overhead(),
            "{framing:?}"
        );
        assert_eq!(
            pair.server.receive(&datagram, CLIENT),
            std::slice::from_ref(&up)
        );
        let datagram = pair.server.sealed(&down);
        assert_eq!(
            pair.client.receive(&datagram, SERVER),
            std::slice::from_ref(&down)
        );
        let ping = pair.client.sealed_payload(&PING);
        assert_eq!(ping.len(), 40 + framing.overhead());
        assert_eq!(pair.server.receive(&ping, CLIENT), [[0; 0]; 0]);
        let exit = [&OCC_MAGIC[..], &[6]].concat();
        let exit = pair.client.sealed_payload(&exit);
        assert_eq!(pair.server.receive(&exit, CLIENT), [[0; 0]; 0]);
        let peer = pair.server.peer;
        assert!(
            pair.server.events.contains(&PeerEvent::ExitNotice { peer }),
            "{framing:?}"
        );
        pair.server.assert_drops(&[]);
        pair.client.assert_drops(&[]);
    }
}

#[test]
fn what_lz4_compresses_is_opened() {
    let packet = large();
    let block = compress(&packet);
    let mut swapped = block.clone();
    swapped.push(block[0]);
    swapped[0] = 0x69;
    for (framing, frame) in [
        (Framing::V2, [&[0x50, 1][..], &block].concat()),
        (Framing::Swap, swapped),
    ] {
        let mut pair = framed(framing);
        for packet_id in 1..100 {
            assert_eq!(
                arrives(&mut pair, packet_id, &frame),
                std::slice::from_ref(&packet)
            );
        }
        pair.server.assert_drops(&[]);
    }
}

#[test]
fn what_lzo_compresses_is_opened() {
    let packet = large();
    let frame = [&[0x66][..], &lzo(&packet)].concat();
    assert!(frame.len() < 100);
    let mut pair = framed(Framing::Prefix);
    for packet_id in 1..100 {
        assert_eq!(
            arrives(&mut pair, packet_id, &frame),
            std::slice::from_ref(&packet)
        );
    }
    pair.server.assert_drops(&[]);
}

proptest! {
    #[test]
    fn no_bytes_make_lzo_panic_or_leave_its_room(
        stream in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut out = [0xa5; 1600];
        let _refused = decompress(&stream, &mut out[..1500]);
        let mut damaged = lzo(&large());
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let _refused = decompress(&damaged, &mut out[..1500]);
        prop_assert_eq!(&out[1500..], [0xa5; 100]);
    }
}

/// Several datagrams of one turn, more than one buffer holds when they are opened.
#[test]
fn compressed_packets_come_in_great_numbers() {
    let mut pair = framed(Framing::V2);
    let packet = large();
    let frame = [&[0x50, 1][..], &compress(&packet)].concat();
    let datagrams: Vec<u8> = (1..=60)
        .flat_map(|packet_id| datagram_with_packet_id(packet_id, &frame))
        .collect();
    let mut received = pair.server.packet(&datagrams, 100);
    received.segment_size = (datagrams.len() / 60) as u32;
    let received = super::received(received, CLIENT);
    pair.server.inbound.received.push(received).unwrap();
    pair.server.run_inbound();
    assert_eq!(pair.server.take_inner(), vec![packet; 60]);
    pair.server.assert_drops(&[]);
}

#[test]
fn what_can_not_be_opened_is_dropped_by_name() {
    let packet = large();
    let too_long = [&[0x50, 1][..], &compress(&[0x45; 1501])].concat();
    let cut = [&[0x50, 1][..], &compress(&packet)[..10]].concat();
    let peer = Pair::aes().server.peer;
    let refused = |refusal| vec![PeerEvent::Refused { peer, refusal }];
    for (framing, frame, reason, refusal) in [
        (
            Framing::Prefix,
            vec![0x66, 1, 2],
            DropReason::Framing,
            Refusal::Framing,
        ),
        (
            Framing::Swap,
            vec![0x66, 1, 2],
            DropReason::Framing,
            Refusal::Framing,
        ),
        (
            Framing::V2,
            vec![0x50, 2, 2],
            DropReason::Framing,
            Refusal::Framing,
        ),
        // As many bytes as the tunnel has, and one more; a distance back to before the start.
        (
            Framing::Prefix,
            [&[0x66][..], &lzo(&[0x45; 1501])].concat(),
            DropReason::Framing,
            Refusal::Framing,
        ),
        (
            Framing::Prefix,
            vec![0x66, 0x12, 0x45, 0x40, 0xff, 0x11, 0, 0],
            DropReason::Framing,
            Refusal::Framing,
        ),
        (
            Framing::Prefix,
            packet.clone(),
            DropReason::Framing,
            Refusal::Framing,
        ),
        (
            Framing::Swap,
            packet.clone(),
            DropReason::Framing,
            Refusal::Framing,
        ),
        (
            Framing::V2,
            vec![0x50, 9, 9],
            DropReason::Framing,
            Refusal::Framing,
        ),
        (Framing::V2, too_long, DropReason::Framing, Refusal::Framing),
        (Framing::V2, cut, DropReason::Framing, Refusal::Framing),
    ] {
        let mut pair = framed(framing);
        assert_eq!(arrives(&mut pair, 1, &frame), [[0; 0]; 0]);
        pair.server.assert_drops(&[(reason, 1)]);
        let told: Vec<_> = pair.server.events.drain(..).collect();
        let told = told.into_iter();
        let told = told.filter(|event| matches!(event, PeerEvent::Refused { .. }));
        assert_eq!(told.collect::<Vec<_>>(), refused(refusal), "{framing:?}");
    }
}

#[test]
fn a_byte_more_leaves_a_byte_less_for_tcp() {
    let clamped = |framing| {
        let mut pair = framed(framing);
        let syn = ip_with_protocol(TCP, CLIENT_V4, LAN_V4, &syn(1460));
        let datagram = pair.client.sealed(&syn);
        announced(&pair.server.receive(&datagram, CLIENT)[0])
    };
    let plain = clamped(Framing::None);
    assert_eq!(plain, 1492 - 28 - 24 - 40);
    assert_eq!(clamped(Framing::V2), plain);
    assert_eq!(clamped(Framing::Prefix), plain - 1);
    assert_eq!(clamped(Framing::Swap), plain - 1);
}
