//! Where the fields of IP, TCP and UDP headers are, and what they hold.

use std::ops::Range;

pub(super) const V4_TOTAL_LENGTH: Range<usize> = 2..4;
pub(super) const V4_ID: Range<usize> = 4..6;
pub(super) const V4_CHECKSUM: Range<usize> = 10..12;
pub(super) const V4_ADDRESSES: Range<usize> = 12..20;
pub(super) const V4_HEADER: usize = 20;
pub(super) const V4_HEADER_MAX: usize = 60;

pub(super) const V6_PAYLOAD_LENGTH: Range<usize> = 4..6;
pub(super) const V6_ADDRESSES: Range<usize> = 8..40;
pub(super) const V6_HEADER: usize = 40;

pub(super) const TCP: u8 = 6;
pub(super) const TCP_SEQUENCE: Range<usize> = 4..8;
/// Bytes of the header in units of 16, four bits that are reserved.
pub(super) const TCP_DATA_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_CHECKSUM: Range<usize> = 16..18;
pub(super) const TCP_HEADER: usize = 20;
pub(super) const TCP_HEADER_MAX: usize = 60;
pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

pub(super) const UDP: u8 = 17;
pub(super) const UDP_LENGTH: Range<usize> = 4..6;
pub(super) const UDP_CHECKSUM: Range<usize> = 6..8;
pub(super) const UDP_HEADER: usize = 8;

/// Writes a field of a header that has it.
pub(super) fn put(header: &mut [u8], field: Range<usize>, value: u16) {
    if let Some(field) = header.get_mut(field) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
