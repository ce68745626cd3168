//! The third stage: which payloads are for the sessions, which are IP packets of their peer, and how
//! large their segments may be.

use std::net::{IpAddr, Ipv6Addr};

use super::InboundBatch;
use crate::packet::unreachable::{ANSWER_MAX, no_route};
use crate::packet::{
    Destination, DropCounters, DropReason, Peer, PeerEvent, PeerIndex, PeerTable, Pool, Question,
    Refusal, Surroundings,
};
use crate::time::Monotonic;
use crate::wire::{self, InnerPacket, OccMessage};

/// Pings have done their work by being authentic; messages about the channel never reach the tun
/// device. Wire: wire.md section 9.3.
pub(super) fn take_special(batch: &mut InboundBatch) {
    let (events, arenas) = (&mut batch.events, &batch.arenas);
    batch.opened.retain(|opened| {
        let payload = opened.bytes(arenas);
        if payload == wire::PING {
            return false;
        }
        let Some(message) = OccMessage::parse(payload) else {
            return true;
        };
        let peer = opened.peer;
        let question = match message {
            OccMessage::Exit => {
                events.put(PeerEvent::ExitNotice { peer });
                return false;
            }
            OccMessage::Request => Question::Options,
            OccMessage::LoadRequest(bytes) => Question::Load(bytes),
            OccMessage::Load(_) => Question::Loaded(payload.len() as u16),
            OccMessage::SizesRequest => Question::Sizes,
            // We have asked for nothing.
            OccMessage::Reply(_) | OccMessage::Sizes { .. } | OccMessage::Other => return false,
        };
        events.put(PeerEvent::Asked { peer, question });
        false
    });
}

/// Answers IPv6 packets that there is no route for them.
///
/// Wire: what 2.6 says of the line. What its server does is to let them pass, and to answer in that way who
/// sends one to a client.
pub(super) fn refuse_ipv6(
    batch: &mut InboundBatch,
    from: Ipv6Addr,
    peers: &mut PeerTable,
    pool: &mut Pool,
    drops: &mut DropCounters,
    now: Monotonic,
) {
    let (events, arenas) = (&mut batch.events, &batch.arenas);
    let (runs, closed) = (&mut batch.runs, &mut batch.to_clients);
    batch.opened.retain(|opened| {
        let inner = InnerPacket::parse(opened.bytes(arenas));
        let Some(inner) = inner.ok().filter(|inner| inner.version() == 6) else {
            return true;
        };
        drops.count(DropReason::Ipv6Refused);
        let peer = opened.peer;
        let mtu = peers.peer(peer).map_or(0, |peer| usize::from(peer.mtu()));
        let mut buffer = [0; ANSWER_MAX];
        if let Some(answer) = no_route(inner, from, mtu, &mut buffer) {
            if let Err(reason) = runs.seal(peers, peer, answer, pool, closed, now) {
                drops.count(reason);
            }
            if let Some(key_id) = peers.peer_mut(peer).and_then(Peer::nears_limit) {
                events.put(PeerEvent::KeyNearLimit { peer, key_id });
            }
        }
        false
    });
}

/// Lets pass what is an IP packet from an address of its peer. Wire: wire.md section 16.
pub(super) fn check_sources(
    batch: &mut InboundBatch,
    peers: &mut PeerTable,
    drops: &mut DropCounters,
    surroundings: &Surroundings,
    now: Monotonic,
) {
    let (events, arenas) = (&mut batch.events, &batch.arenas);
    batch.opened.retain(|opened| {
        let (payload, peer) = (opened.bytes(arenas), opened.peer);
        match check_source(payload, peer, peers, surroundings, now) {
            Ok(len) => {
                opened.piece.len = len as u32;
                true
            }
            Err(reason) => {
                drops.count(reason);
                if reason == DropReason::SourceAddress
                    && let Ok(inner) = InnerPacket::parse(payload)
                {
                    let refusal = Refusal::Source(inner.source());
                    events.put(PeerEvent::Refused { peer, refusal });
                }
                false
            }
        }
    });
}

/// The length of the IP packet at the start of a payload, if it may pass.
fn check_source(
    payload: &[u8],
    from: PeerIndex,
    peers: &mut PeerTable,
    surroundings: &Surroundings,
    now: Monotonic,
) -> Result<usize, DropReason> {
    let inner = InnerPacket::parse(payload).map_err(|_| DropReason::InnerMalformed)?;
    let source = inner.source();
    let peer = peers.peer(from).ok_or(DropReason::UnknownPeer)?;
    // What lies behind a server is the server's to say. In a network behind a client a client of any
    // shard may have an address.
    if peer.is_dialed() || peer.addresses.contain(source) {
        return Ok(inner.bytes().len());
    }
    if surroundings.destination(source, peers) == Destination::Peer(from) {
        let hosts = peers.peer_mut(from).and_then(|peer| peer.hosts.as_mut());
        hosts.into_iter().for_each(|hosts| hosts.note(source, now));
        return Ok(inner.bytes().len());
    }
    match source {
        // Wire: wire.md section 20, trap 20: a new client solicits routers and probes its address.
        IpAddr::V6(source) if source.is_unicast_link_local() || source.is_unspecified() => {
            Err(DropReason::LinkLocalSource)
        }
        _ => Err(DropReason::SourceAddress),
    }
}

/// Keeps the peer's TCP connections to segments that fit the tunnel.
pub(super) fn clamp_segments(batch: &mut InboundBatch, peers: &PeerTable) {
    for opened in batch.opened.iter() {
        if let Some(peer) = peers.peer(opened.peer) {
            peer.clamp_segments(opened.bytes_mut(&mut batch.arenas));
        }
    }
}
