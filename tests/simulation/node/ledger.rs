//! Inner packets: each has a number of its own, and a line in the ledger that says who sent it, to
//! whom, and how often it has arrived.

use std::net::IpAddr;

/// All inner packets that were ever sent.
#[derive(Default)]
pub(crate) struct Ledger(Vec<Entry>);

/// One inner packet.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) from: Origin,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    len: usize,
    /// How often it has arrived, and how often one shard has handed it to another.
    pub(crate) arrived: u32,
    handed_over: u32,
}

/// Who sends an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A host behind the tun device.
    Lan,
    /// A client, with the number of the key that sealed it. The source is not its own if forged.
    Client {
        number: usize,
        key: u64,
        forged: bool,
    },
}

impl Ledger {
    /// Enters a packet; returns its bytes. Both addresses are of one family.
    pub(crate) fn send(
        &mut self,
        from: Origin,
        source: IpAddr,
        destination: IpAddr,
        len: usize,
    ) -> Vec<u8> {
        let entry = Entry {
            from,
            source,
            destination,
            len: len.max(SMALLEST),
            arrived: 0,
            handed_over: 0,
        };
        self.0.push(entry);
        entry.bytes(self.0.len() as u64 - 1)
    }

    /// Notes that a packet has arrived; panics if it was never sent so, or has arrived before.
    pub(crate) fn arrive(&mut self, packet: &[u8]) -> (u64, Entry) {
        let (number, entry) = self.find(packet);
        entry.arrived += 1;
        assert_eq!(entry.arrived, 1, "packet {number} arrives again: {entry:?}");
        (number, *entry)
    }

    /// Notes that one shard hands a packet to another; panics if that is not the first time.
    pub(crate) fn hand_over(&mut self, packet: &[u8]) {
        let (number, entry) = self.find(packet);
        entry.handed_over += 1;
        let first = entry.handed_over == 1;
        assert!(first, "packet {number} is handed on: {entry:?}");
    }

    /// The entry of a packet; panics if it was never sent so.
    fn find(&mut self, packet: &[u8]) -> (u64, &mut Entry) {
        let header = match packet.first().map(|first| first >> 4) {
            Some(4) => V4_HEADER,
            _ => V6_HEADER,
        };
        let number = packet
            .get(header..header + 8)
            .and_then(|tag| tag.try_into().ok());
        let number = u64::from_be_bytes(number.unwrap_or([0xff; 8]));
        let Some(entry) = self.0.get_mut(number as usize) else {
            panic!("a packet arrives that nobody has sent: {packet:02x?}");
        };
        assert_eq!(
            packet,
            entry.bytes(number),
            "packet {number} was changed: {entry:?}"
        );
        (number, entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The packet of a number.
    pub(crate) fn entry(&self, number: usize) -> Entry {
        self.0[number]
    }
}

impl Entry {
    /// The packet as it was sent, and as it must arrive.
    fn bytes(&self, number: u64) -> Vec<u8> {
        let mut packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, PROTOCOL, 0, 0];
                header[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, PROTOCOL, 64];
                header[4..6].copy_from_slice(&((self.len - V6_HEADER) as u16).to_be_bytes());
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            mixed => panic!("addresses of two families: {mixed:?}"),
        };
        packet.extend(number.to_be_bytes());
        let filled = packet.len()..self.len;
        packet.extend(filled.map(|at| (number as usize * 31 + at) as u8));
        packet
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.from {
            Origin::Lan => formatter.write_str("the LAN: ")?,
            Origin::Client { number, forged, .. } => {
                let forged = if forged { ", forged" } else { "" };
                write!(formatter, "client {number}{forged}: ")?;
            }
        }
        write!(formatter, "{} to {}", self.source, self.destination)
    }
}

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Holds the number in both families.
const SMALLEST: usize = V6_HEADER + 8;
/// For experiments, by RFC 3692: no other code looks inside.
const PROTOCOL: u8 = 253;
