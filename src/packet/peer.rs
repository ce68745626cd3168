//! What the data path knows of one peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::reassembly::Waiting;
use super::{
    Cut, DropReason, FragmentLimit, Fragments, HostsBehind, KeySlots, Mssfix, Path, slices,
};
use crate::crypto::{SealCost, SealError, SealKey};
use crate::limits;
use crate::time::Monotonic;
use crate::wire::{
    self, DataHeader, FragmentHeader, Framing, InnerPacket, KeyId, PeerId, STREAM_HEADER,
    stream_header,
};

/// A peer of the data path. What every packet touches stands first.
#[derive(Debug)]
#[repr(C)]
pub struct Peer {
    /// Its datagrams' way. Only [`super::PeerTable`] moves it, so that look-ups by path stay true.
    pub(super) path: Path,
    peer_id: PeerId,
    mtu: u16,
    pub(super) recognised: Recognised,
    pub(super) mssfix: Mssfix,
    /// What stands around its payloads.
    framing: Framing,
    /// Where packets to and from it are cut.
    fragments: Option<Box<Fragments>>,
    /// The place of its open run among those of the batch that is worked on.
    pub(super) run: Option<u16>,
    /// Until then each of its datagrams leaves by itself: the kernel has refused a send of several.
    one_by_one_until: Option<Monotonic>,
    /// When a datagram was last sealed for it, or sent to it by its session.
    pub last_sent: Monotonic,
    /// When an authenticated packet of either channel last came from it.
    pub last_received: Monotonic,
    /// What went over the wire.
    pub traffic: Traffic,
    /// Bytes of inner packets in both directions: what it does itself, without pings.
    pub inner_bytes: u64,
    pub(super) addresses: InnerAddresses,
    /// The hosts that were heard of, if it is a client with networks behind it.
    pub(super) hosts: Option<Box<HostsBehind>>,
    /// Its data keys.
    pub keys: KeySlots,
    /// Inner networks behind it.
    pub(super) prefixes: Vec<IpNet>,
}

impl Peer {
    pub(super) fn new(new: NewPeer, peer_id: PeerId, now: Monotonic) -> Self {
        Self {
            path: new.path,
            peer_id,
            mtu: new.mtu,
            recognised: match new.numbering {
                Numbering::PeerId => Recognised::NotYet,
                Numbering::FourTuple => Recognised::ByPath,
                Numbering::Dialed(_) => Recognised::BySocket,
                Numbering::DialedShared(_) => Recognised::BySocketAndId,
                Numbering::Stream { .. } => Recognised::ByStream,
            },
            mssfix: new.mssfix,
            framing: Framing::None,
            fragments: None,
            run: None,
            one_by_one_until: None,
            last_sent: now,
            last_received: now,
            traffic: Traffic::default(),
            inner_bytes: 0,
            addresses: InnerAddresses::default(),
            hosts: None,
            keys: KeySlots::default(),
            prefixes: Vec::new(),
        }
    }

    /// The inner networks that lead to it.
    pub fn prefixes(&self) -> &[IpNet] {
        &self.prefixes
    }

    /// The hosts in these networks that were heard of.
    pub fn hosts(&self) -> Option<&HostsBehind> {
        self.hosts.as_deref()
    }

    /// The way of its datagrams.
    pub const fn path(&self) -> &Path {
        &self.path
    }

    /// The peer id in data packets to it; [`PeerId::NONE`] if there is none.
    pub const fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// What stands around the payloads from and to it.
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// From now on this stands around the payloads from and to it; nothing does at first.
    pub const fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// From now on packets to and from it are cut; none are at first.
    pub fn cut_packets(&mut self, limit: FragmentLimit) {
        self.fragments = Some(Box::new(Fragments::new(limit)));
    }

    /// Its packets of which parts are missing, if packets are cut.
    pub(super) fn waiting(&mut self) -> Option<&mut Waiting> {
        let fragments = self.fragments.as_mut()?;
        Some(&mut fragments.waiting)
    }

    /// Whether a payload is what it is, without a header or a frame.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self.framing, Framing::None) && self.fragments.is_none()
    }

    /// Bytes that are added to each payload.
    const fn overhead(&self) -> usize {
        let header = match self.fragments {
            Some(_) => FragmentHeader::LEN,
            None => 0,
        };
        header + self.framing.overhead()
    }

    /// Whether this side has dialed it.
    pub(super) const fn is_dialed(&self) -> bool {
        matches!(
            self.recognised,
            Recognised::BySocket | Recognised::BySocketAndId
        )
    }

    /// The largest inner packet that is sent to it, in bytes.
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The inner addresses assigned to it.
    pub const fn addresses(&self) -> InnerAddresses {
        self.addresses
    }

    /// What stands before its data packets.
    pub(super) fn header(&self, key_id: KeyId) -> DataHeader {
        match self.peer_id {
            PeerId::NONE => DataHeader::V1 { key_id },
            peer_id => DataHeader::V2 { key_id, peer_id },
        }
    }

    /// Bytes of the datagram that a payload of so many bytes becomes.
    ///
    /// # Errors
    /// [`DropReason::NotConnected`] while no key seals.
    pub(super) fn sealed_len(&self, payload: usize) -> Result<usize, DropReason> {
        let slot = self.keys.sealing_now().ok_or(DropReason::NotConnected)?;
        let plaintext = payload + self.overhead();
        Ok(slot
            .keys
            .seal
            .sealed_len(self.header(slot.key_id), plaintext))
    }

    /// Seals a payload with the sending key to the start of `out`; gives the datagram's length.
    ///
    /// # Errors
    /// The reason why there is no datagram.
    pub(super) fn seal(
        &mut self,
        payload: &[u8],
        out: &mut [u8],
        now: Monotonic,
    ) -> Result<usize, DropReason> {
        let framing = self.framing;
        let length = self.seal_with(now, |key, header| match framing.parts(payload) {
            None => key.seal(header, payload, out),
            Some(parts) => key.seal_parts(header, &parts, out),
        })?;
        self.count_inner(payload.len());
        Ok(length)
    }

    /// Seals with the sending key; gives the datagram's length.
    fn seal_with(
        &mut self,
        now: Monotonic,
        seal: impl FnOnce(&mut SealKey, DataHeader) -> Result<usize, SealError>,
    ) -> Result<usize, DropReason> {
        let key_id = self.keys.sending().ok_or(DropReason::NotConnected)?;
        let header = self.header(key_id);
        let slot = self.keys.opening(key_id).ok_or(DropReason::NotConnected)?;
        let sealed = seal(&mut slot.keys.seal, header);
        let length = sealed.map_err(|error| match error {
            SealError::Exhausted => DropReason::KeyExhausted,
            SealError::TooSmall => DropReason::TooLarge,
            SealError::Empty => DropReason::InnerMalformed,
        })?;
        self.last_sent = now;
        self.traffic.sent_packets += 1;
        self.traffic.sent_bytes += length as u64;
        Ok(length)
    }

    /// How a payload of so many bytes is cut, if packets are.
    ///
    /// # Errors
    /// [`DropReason::TooLarge`] if it has too many parts.
    pub(super) fn cut(&mut self, payload: usize) -> Result<Option<Cut>, DropReason> {
        if self.fragments.is_none() {
            return Ok(None);
        }
        let (cost, path) = (self.cost(), self.path);
        let length = payload + self.framing.overhead();
        let fragments = self.fragments.as_mut();
        fragments
            .map(|fragments| fragments.cut(length, &path, cost))
            .transpose()
    }

    /// Seals one part of a payload, behind its header, to the start of `out`; gives the datagram's length.
    ///
    /// # Errors
    /// The reason why there is no datagram.
    pub(super) fn seal_part(
        &mut self,
        payload: &[u8],
        (cut, number): (&Cut, usize),
        out: &mut [u8],
        now: Monotonic,
    ) -> Result<usize, DropReason> {
        let framed = self.framing.parts(payload).unwrap_or([payload, &[], &[]]);
        let (fragment, range) = cut.part(number);
        let before = fragment.emit();
        let [first, second, third] = slices(framed, range);
        let parts = [&before[..], first, second, third];
        let length = self.seal_with(now, |key, header| key.seal_parts(header, &parts, out))?;
        if number == 0 {
            self.count_inner(payload.len());
        }
        Ok(length)
    }

    /// Bytes of the datagram that a part of so many bytes becomes.
    ///
    /// # Errors
    /// As of [`sealed_len`](Self::sealed_len).
    pub(super) fn sealed_len_of_part(&self, part: usize) -> Result<usize, DropReason> {
        let slot = self.keys.sealing_now().ok_or(DropReason::NotConnected)?;
        let plaintext = FragmentHeader::LEN + part;
        Ok(slot
            .keys
            .seal
            .sealed_len(self.header(slot.key_id), plaintext))
    }

    /// The bytes of a datagram with a payload of so many bytes.
    ///
    /// # Errors
    /// There is no key to seal with.
    pub fn datagram_len(&self, payload: usize) -> Result<usize, DropReason> {
        self.sealed_len(payload)
    }

    /// The longest payload of a datagram of so many bytes that fits the tunnel.
    pub fn payload_max(&self, datagram: u16) -> usize {
        usize::from(self.cost().payload_max(datagram).min(self.mtu()))
    }

    /// What sealing adds to a payload that has neither header nor frame.
    fn cost(&self) -> SealCost {
        let header = self.header(KeyId::FIRST);
        let key = self.keys.sealing_now().map(|slot| &slot.keys.seal);
        key.map_or(SealCost::aead(header), |key| key.cost(header))
    }

    /// As [`seal`](Self::seal); to a peer with a stream, behind its length.
    pub(super) fn seal_framed(
        &mut self,
        payload: &[u8],
        out: &mut [u8],
        now: Monotonic,
    ) -> Result<usize, DropReason> {
        if !self.path.is_stream() {
            return self.seal(payload, out, now);
        }
        let (frame, room) = out
            .split_first_chunk_mut::<STREAM_HEADER>()
            .ok_or(DropReason::TooLarge)?;
        let length = self.seal(payload, room, now)?;
        *frame = stream_header(length).ok_or(DropReason::TooLarge)?;
        Ok(STREAM_HEADER + length)
    }

    /// Counts a payload, if it is not one that is told apart by being shorter than any inner packet.
    const fn count_inner(&mut self, payload: usize) {
        if payload >= INNER_PACKET_MIN {
            self.inner_bytes += payload as u64;
        }
    }

    /// Notes which host behind it an inner packet goes to, if there are any.
    pub(super) fn note_destination(&mut self, packet: &[u8], now: Monotonic) {
        if let Some(hosts) = &mut self.hosts
            && let Ok(inner) = InnerPacket::parse(packet)
            && !self.addresses.contain(inner.destination())
        {
            hosts.note(inner.destination(), now);
        }
    }

    /// Counts what was opened.
    pub(super) const fn count_opened(&mut self, plaintext: usize) {
        let header = match self.fragments {
            Some(_) => FragmentHeader::LEN,
            None => 0,
        };
        self.count_inner(plaintext.saturating_sub(header));
    }

    /// Lowers what a SYN announces, so that a TCP connection through the tunnel makes no packets
    /// that are too large on the way.
    pub(super) fn clamp_segments(&self, packet: &mut [u8]) {
        let cost = self.cost();
        let cost = SealCost {
            inside: cost.inside + self.overhead() as u16,
            ..cost
        };
        let Some(max) = self.mssfix.inner_packet_max(&self.path, cost) else {
            return;
        };
        let headers = match packet.first() {
            Some(0x40..=0x4f) => IPV4_TCP_HEADERS,
            _ => IPV6_TCP_HEADERS,
        };
        wire::clamp_mss(packet, max.saturating_sub(headers));
    }

    /// The kernel has refused a send of several of its datagrams, as when the way to it has become
    /// narrower: for a while each leaves by itself.
    pub fn refuse_runs(&mut self, now: Monotonic) {
        self.one_by_one_until = Some(now + limits::SEND_OFFLOAD_PAUSE);
    }

    /// Whether each of its datagrams leaves by itself.
    pub(super) fn sends_one_by_one(&mut self, now: Monotonic) -> bool {
        self.one_by_one_until = self.one_by_one_until.filter(|until| now < *until);
        self.one_by_one_until.is_some()
    }

    /// The sending key, once, when it first nears its limit.
    pub(super) fn nears_limit(&mut self) -> Option<KeyId> {
        let slot = self.keys.sealing()?;
        slot.tells_near_limit().then_some(slot.key_id)
    }
}

/// What a session knows of its peer when it puts it into the table.
#[derive(Clone, Copy, Debug)]
pub struct NewPeer {
    /// Where it is.
    pub path: Path,
    /// By what its data packets are told apart: whether it gets a peer id, and they carry one.
    pub numbering: Numbering,
    /// The tunnel's MTU in bytes.
    pub mtu: u16,
    /// The bound on TCP segments.
    pub mssfix: Mssfix,
}

/// By what a peer's data packets are told apart from others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// By a peer id. Wire: the client announced bit 1 of `IV_PROTO`.
    PeerId,
    /// By their addresses and ports, as the oldest clients need it.
    FourTuple,
    /// By the socket that they come in by: this side has dialed, on a socket of its own. Packets to
    /// the peer carry the number that it has given us; [`PeerId::NONE`] if it has given none.
    Dialed(PeerId),
    /// By this number, which the server has given us, among those that share the socket on which this
    /// side has dialed.
    DialedShared(PeerId),
    /// By the stream that they come in by, whatever they carry.
    Stream {
        /// Whether it gets a peer id, which packets to it carry. Wire: as with [`Numbering::PeerId`].
        peer_id: bool,
    },
}

/// By what a peer's data packets have been told apart so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognised {
    /// None has come: by its path or its peer id.
    NotYet,
    /// By its path. It has no peer id, or was told to ignore it.
    ByPath,
    /// By its peer id: nobody is found by its path any more.
    ByPeerId,
    /// By its socket, which is nobody else's: it is where it was dialed, and never moves.
    BySocket,
    /// By its socket and the number that it has given us: it never moves either.
    BySocketAndId,
    /// By its stream: it never moves either.
    ByStream,
}

/// The inner addresses assigned to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InnerAddresses {
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl InnerAddresses {
    /// Whether `address` is one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4 == Some(address),
            IpAddr::V6(address) => self.v6 == Some(address),
        }
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.v6.map(IpAddr::V6);
        self.v4.map(IpAddr::V4).into_iter().chain(v6)
    }
}

/// Datagrams of a peer and their UDP payload bytes, of both channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the peer, authenticated.
    pub received_bytes: u64,
    /// Datagrams from the peer, authenticated.
    pub received_packets: u64,
    /// Bytes to the peer.
    pub sent_bytes: u64,
    /// Datagrams to the peer.
    pub sent_packets: u64,
}

/// The header of an IPv4 packet, the shortest one that there is. A ping has 16 bytes.
const INNER_PACKET_MIN: usize = 20;
const IPV4_TCP_HEADERS: u16 = 20 + 20;
const IPV6_TCP_HEADERS: u16 = 40 + 20;
