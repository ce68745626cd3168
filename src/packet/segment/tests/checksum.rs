//! Sums against words added one at a time, and checksums that were left to an offload.

use proptest::prelude::*;

use super::reference;
use crate::packet::segment::checksum::{complete, finish, fold, sum};

#[test]
fn the_example_of_rfc_1071() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(fold(sum(&bytes)), 0xddf2);
    assert_eq!(finish(sum(&bytes)), 0x220d);
}

#[test]
fn any_number_of_full_words_carries() {
    for length in 0..300 {
        let wanted = if length == 0 { 0 } else { 0xffff };
        let wanted = if length % 2 == 1 { 0xff00 } else { wanted };
        assert_eq!(fold(sum(&vec![0xff; length])), wanted, "{length}");
    }
    assert_eq!(fold(sum(&[0xff; 70_000])), 0xffff);
    assert_eq!(fold(sum(&[0; 70_000])), 0);
    // Four carries one after another.
    assert_eq!(fold(0x0001_0000_ffff_ffff), 1);
    assert_eq!(fold(u64::MAX), 0xffff);
}

#[test]
fn a_checksum_left_to_an_offload_is_completed() {
    // A query of UDP from 10.0.0.1 to 10.0.0.2, the pseudo-header's sum in its field.
    let mut packet = vec![0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend_from_slice(&[0, 53, 0, 53, 0, 10, 0x14, 0x1e, 0xab, 0xcd]);
    complete(&mut packet, 20, 6).unwrap();
    assert_eq!(reference::transport_checksum(&packet), 0);
    assert_eq!(packet[26..28], [0x3f, 0xa0]);

    // A sum of 0xffff is written as 0xffff too.
    packet[26..30].copy_from_slice(&[0x14, 0x1e, 0xeb, 0x6d]);
    complete(&mut packet, 20, 6).unwrap();
    assert_eq!(packet[26..28], [0xff, 0xff]);
    assert_eq!(reference::transport_checksum(&packet), 0);
}

#[test]
fn a_checksum_outside_of_the_packet_is_refused() {
    for (start, offset, fits) in [
        (0, 0, true),
        (8, 0, true),
        (0, 8, true),
        (9, 0, false),
        (0, 9, false),
        (10, 0, false),
        (11, 0, false),
        (u16::MAX, u16::MAX, false),
    ] {
        let mut packet = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let before = packet;
        let verdict = complete(&mut packet, start, offset);
        assert_eq!(verdict.is_ok(), fits, "{start}+{offset}");
        assert_eq!(packet != before, fits, "{start}+{offset}");
    }
}

proptest! {
    #[test]
    fn sums_are_those_of_single_words(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000), cut in 0_usize..3000,
    ) {
        let wanted = reference::checksum(&bytes);
        prop_assert_eq!(finish(sum(&bytes)), wanted);
        let (one, other) = bytes.split_at((cut & !1).min(bytes.len() & !1));
        prop_assert_eq!(finish(sum(one) + sum(other)), wanted);
    }
}
