//! Datagrams on their way out: those of one peer that are equally long, and of one class, leave as one send.
//!
//! Each peer has at most one open run. A packet that does not fit it closes it and opens another, so
//! a peer's datagrams leave in the order in which they were sealed. Nothing waits: at the end of a
//! turn all runs go out.

use super::{
    Batch, Buffer, Datagram, DropReason, Packet, Path, Peer, PeerIndex, PeerTable, Pool,
    TrafficClass,
};
use crate::limits::{SEGMENTS_PER_SEND, SEND_MAX};
use crate::time::Monotonic;
use crate::wire::STREAM_HEADER;

/// The open runs of a batch.
#[derive(Debug)]
pub(super) struct Runs {
    open: Vec<Run>,
    segments_max: usize,
    copies_classes: bool,
}

/// Datagrams of one peer in one buffer, all of the first one's class, and of its length but the last.
#[derive(Debug)]
struct Run {
    peer: PeerIndex,
    path: Path,
    class: TrafficClass,
    buffer: Buffer,
    len: usize,
    segment_size: usize,
    segments: usize,
    segments_max: usize,
    /// For a stream, where each of them stands behind its length, and can be as long as it likes.
    framed: bool,
}

impl Runs {
    /// No run yet, and room for one of each of `peers` peers. A run has many datagrams if the kernel
    /// takes them in one send, else one.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            open: Vec::with_capacity(peers),
            segments_max: SEGMENTS_PER_SEND,
            copies_classes: false,
        }
    }

    /// Lets each datagram leave by itself.
    pub(super) fn one_by_one(&mut self) {
        self.segments_max = 1;
    }

    /// Whether datagrams have the class of the packet inside.
    pub(super) fn copy_classes(&mut self, copies: bool) {
        self.copies_classes = copies;
    }

    /// How many runs are open; so many datagrams are at least still to come.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Seals a payload behind the peer's other datagrams of this batch. The run that it closes, if it
    /// does, goes to `closed`, where the caller has made room for one more.
    ///
    /// # Errors
    /// The reason why there is no datagram; the caller counts it.
    pub(super) fn seal(
        &mut self,
        peers: &mut PeerTable,
        index: PeerIndex,
        payload: &[u8],
        pool: &mut Pool,
        closed: &mut Batch<Datagram>,
        now: Monotonic,
    ) -> Result<(), DropReason> {
        let peer = peers.peer_mut(index).ok_or(DropReason::NotConnected)?;
        let class = self.class_of(payload);
        let Some(cut) = peer.cut(payload.len())? else {
            let length = peer.sealed_len(payload.len())?;
            let run = self.run_of(peer, index, (length, class), pool, closed, now)?;
            run.append(|room| peer.seal_framed(payload, room, now))?;
            peer.note_destination(payload, now);
            return Ok(());
        };
        if closed.room() < cut.parts() + self.len() {
            return Err(DropReason::QueueFull);
        }
        for number in 0..cut.parts() {
            let (_, range) = cut.part(number);
            let length = peer.sealed_len_of_part(range.len())?;
            let run = self.run_of(peer, index, (length, class), pool, closed, now)?;
            run.append(|room| peer.seal_part(payload, (&cut, number), room, now))?;
        }
        peer.note_destination(payload, now);
        Ok(())
    }

    /// The class of the datagram around an inner packet.
    fn class_of(&self, packet: &[u8]) -> TrafficClass {
        match self.copies_classes {
            true => TrafficClass::of(packet),
            false => TrafficClass::DEFAULT,
        }
    }

    /// Where a datagram of so many bytes and this class is added. The length is without what stands before
    /// it in a stream.
    fn run_of(
        &mut self,
        peer: &mut Peer,
        index: PeerIndex,
        (length, class): (usize, TrafficClass),
        pool: &mut Pool,
        closed: &mut Batch<Datagram>,
        now: Monotonic,
    ) -> Result<&mut Run, DropReason> {
        let framed = peer.path().is_stream();
        let length = length + if framed { STREAM_HEADER } else { 0 };
        let open = peer.run.map(usize::from);
        let place = match open.and_then(|place| self.open.get(place)) {
            Some(run) if run.takes(length, class) => open,
            _ => {
                let buffer = pool.take().ok_or(DropReason::PoolEmpty)?;
                let segments_max = match peer.sends_one_by_one(now) {
                    true => 1,
                    false => self.segments_max,
                };
                let run = Run {
                    peer: index,
                    path: *peer.path(),
                    class,
                    buffer,
                    len: 0,
                    segment_size: length,
                    segments: 0,
                    segments_max,
                    framed,
                };
                let place = self.begin(run, open, pool, closed);
                peer.run = u16::try_from(place).ok();
                Some(place)
            }
        };
        let run = place.and_then(|place| self.open.get_mut(place));
        run.ok_or(DropReason::QueueFull)
    }

    /// Closes all runs.
    pub(super) fn finish(
        &mut self,
        peers: &mut PeerTable,
        pool: &mut Pool,
        closed: &mut Batch<Datagram>,
    ) {
        for run in self.open.drain(..) {
            if let Some(peer) = peers.peer_mut(run.peer) {
                peer.run = None;
            }
            run.close(pool, closed);
        }
    }

    /// Opens a run in place of the peer's former one, if there is one; gives its place.
    fn begin(
        &mut self,
        run: Run,
        former: Option<usize>,
        pool: &mut Pool,
        closed: &mut Batch<Datagram>,
    ) -> usize {
        match former.and_then(|place| Some((place, self.open.get_mut(place)?))) {
            Some((place, former)) => {
                std::mem::replace(former, run).close(pool, closed);
                place
            }
            None => {
                self.open.push(run);
                self.open.len() - 1
            }
        }
    }
}

impl Run {
    /// Whether a datagram of this length and class can be its next one. A shorter one ends it. A stream
    /// has packets of all classes.
    fn takes(&self, length: usize, class: TrafficClass) -> bool {
        if self.framed {
            return self.len + length <= SEND_MAX;
        }
        self.segments < self.segments_max
            && class == self.class
            && length <= self.segment_size
            && self.len == self.segments * self.segment_size
            && self.len + length <= SEND_MAX
    }

    /// Has `seal` write the next datagram; it gives its length.
    fn append(
        &mut self,
        seal: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        let room = self.buffer.bytes_mut().get_mut(self.len..);
        self.len += seal(room.unwrap_or_default())?;
        self.segments += 1;
        Ok(())
    }

    fn close(self, pool: &mut Pool, closed: &mut Batch<Datagram>) {
        if self.segments == 0 {
            return pool.give(self.buffer);
        }
        let segment_size = match self.framed {
            true => self.len,
            false => self.segment_size.min(self.len),
        };
        closed.put(Datagram {
            packet: Packet {
                buffer: self.buffer,
                start: 0,
                len: self.len as u32,
                segment_size: segment_size as u32,
            },
            path: self.path,
            class: self.class,
            peer: self.peer,
        });
    }
}
