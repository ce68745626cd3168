//! The checksum of IP, TCP and UDP: the complement of the ones' complement sum of 16-bit words (RFC 1071).

/// The place that a packet names for its checksum lies outside of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checksum lies outside of the packet")]
pub(crate) struct OutsideOfPacket;

/// Completes a checksum that was left to an offload: the field at `start + offset` has the sum of the
/// pseudo-header in it, and gets the complement of the sum of everything from `start` on.
///
/// As in the kernel, a result of zero is stored as its other form 0xffff: in UDP zero says that there is
/// no checksum, and to TCP the two are the same.
///
/// # Errors
/// [`OutsideOfPacket`] if `start` or the field is. Nothing is written then.
pub(crate) fn complete(packet: &mut [u8], start: u16, offset: u16) -> Result<(), OutsideOfPacket> {
    let summed = packet
        .get_mut(usize::from(start)..)
        .ok_or(OutsideOfPacket)?;
    let value = nonzero(finish(sum(summed)));
    let field = summed
        .get_mut(usize::from(offset)..)
        .and_then(|field| field.first_chunk_mut())
        .ok_or(OutsideOfPacket)?;
    *field = value.to_be_bytes();
    Ok(())
}

/// The ones' complement sum of big-endian words, at most 0xffff; zero only if all bytes are. An odd byte
/// at the end is the high half of a word.
///
/// Sums of parts add up if each part but the last has an even length.
#[inline]
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks();
    let (words, _) = rest.as_chunks();
    let mut sum = match blocks {
        [] => 0,
        blocks => sum_blocks(blocks),
    };
    // As many as are left behind a block; a loop would become one for hundreds.
    sum += match words {
        [] => 0,
        [a] => word(a),
        [a, b] => word(a) + word(b),
        [a, b, c, ..] => word(a) + word(b) + word(c),
    };
    sum += word(&last_bytes(bytes));
    // The sum of byte-swapped words is the byte-swapped sum.
    u64::from(fold(sum).swap_bytes())
}

/// The sum of addresses as they stand in the header, protocol and length of the transport packet.
#[inline]
pub(crate) fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u64 {
    sum(addresses) + u64::from(protocol) + length as u64
}

/// A sum as the value of a checksum field.
pub(crate) fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// A checksum of UDP, where zero means that there is none.
pub(crate) const fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// A sum in 16 bits: the carries are added at the low end.
pub(crate) const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of little-endian 16-bit words.
///
/// Written so that it becomes three vector instructions for 16 bytes on any x86-64: adding 32-bit words
/// loses the carries of their high halves, but the sum of the high halves is kept beside it, and with it
/// the sum of the low halves comes out of the total. Right for 65,536 blocks, which is 2 MiB.
#[inline(never)]
fn sum_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    debug_assert!(blocks.len() <= 1 << 16, "the sum of a lane is too large");
    let mut total = [0_u32; LANES];
    let mut high = [0_u32; LANES];
    for block in blocks {
        let (words, _) = block.as_chunks();
        for ((total, high), word) in total.iter_mut().zip(&mut high).zip(words) {
            let word = u32::from_le_bytes(*word);
            *total = total.wrapping_add(word);
            *high += word >> 16;
        }
    }
    let lanes = total.into_iter().zip(high);
    lanes
        .map(|(total, high)| u64::from(total.wrapping_sub(high << 16)) + u64::from(high))
        .sum()
}

/// The sum of the halves of a little-endian word.
const fn word(bytes: &[u8; 8]) -> u64 {
    let word = u64::from_le_bytes(*bytes);
    (word & 0xffff_ffff) + (word >> 32)
}

/// What is left of `bytes` after its words of eight bytes, zeros behind it.
#[inline]
fn last_bytes(bytes: &[u8]) -> [u8; 8] {
    let count = bytes.len() % 8;
    if count == 0 {
        return [0; 8];
    }
    match bytes.last_chunk() {
        // The eight bytes up to the end, without those that belong to the word before.
        Some(last) => (u64::from_le_bytes(*last) >> (64 - 8 * count)).to_le_bytes(),
        None => {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            padded
        }
    }
}

const LANES: usize = 8;
const BLOCK: usize = 4 * LANES;
