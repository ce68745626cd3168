//! Splitting as it is told in a sentence: for each payload a copy of the header, its fields written,
//! its checksums computed from nothing.

/// The packets that a super-packet is made of.
pub(in crate::packet) fn split(packet: &[u8], size: usize, cwr: bool) -> Vec<Vec<u8>> {
    let (transport, protocol) = transport(packet);
    let header = match protocol {
        6 => transport + usize::from(packet[transport + 12] >> 4) * 4,
        _ => transport + 8,
    };
    let mut payloads: Vec<&[u8]> = packet[header..].chunks(size).collect();
    if payloads.is_empty() {
        payloads.push(&[]);
    }
    let last = payloads.len() - 1;
    let mut packets = Vec::new();
    for (number, payload) in payloads.into_iter().enumerate() {
        let mut one = [&packet[..header], payload].concat();
        if one[0] >> 4 == 4 {
            add(&mut one[4..6], number as u32);
        }
        if protocol == 6 {
            let sequence = number * size;
            add(&mut one[transport + 4..transport + 8], sequence as u32);
            if number != last {
                one[transport + 13] &= !0x09;
            }
            if number != 0 && cwr {
                one[transport + 13] &= !0x80;
            }
        }
        complete(&mut one);
        packets.push(one);
    }
    packets
}

/// Writes the lengths of a packet and its checksums.
pub(super) fn complete(packet: &mut [u8]) {
    let length = packet.len();
    let (transport, protocol) = transport(packet);
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        packet[10..12].fill(0);
        let checksum = checksum(&packet[..transport]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    }
    let field = match protocol {
        6 => transport + 16,
        _ => {
            let datagram = (length - transport) as u16;
            packet[transport + 4..transport + 6].copy_from_slice(&datagram.to_be_bytes());
            transport + 6
        }
    };
    packet[field..field + 2].fill(0);
    let checksum = match (protocol, transport_checksum(packet)) {
        (17, 0) => 0xffff,
        (_, checksum) => checksum,
    };
    packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The checksum over the pseudo-header and all behind the IP header; zero if there is one and it is right.
pub(super) fn transport_checksum(packet: &[u8]) -> u16 {
    let (transport, protocol) = transport(packet);
    let mut bytes = match packet[0] >> 4 {
        4 => packet[12..20].to_vec(),
        _ => packet[8..40].to_vec(),
    };
    bytes.extend_from_slice(&((packet.len() - transport) as u32).to_be_bytes());
    bytes.extend_from_slice(&[0, protocol]);
    bytes.extend_from_slice(&packet[transport..]);
    checksum(&bytes)
}

/// RFC 1071, a word at a time.
pub(in crate::packet) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Where the transport header begins, and its protocol.
fn transport(packet: &[u8]) -> (usize, u8) {
    if packet[0] >> 4 == 4 {
        return (usize::from(packet[0] & 0x0f) * 4, packet[9]);
    }
    let (mut offset, mut protocol) = (40, packet[6]);
    while protocol != 6 && protocol != 17 {
        protocol = packet[offset];
        offset += 8;
    }
    (offset, protocol)
}

fn add(field: &mut [u8], value: u32) {
    match field.try_into() {
        Ok(bytes) => {
            let sum = u32::from_be_bytes(bytes).wrapping_add(value);
            field.copy_from_slice(&sum.to_be_bytes());
        }
        Err(_) => {
            let sum = u16::from_be_bytes([field[0], field[1]]).wrapping_add(value as u16);
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}
