//! Packets whose parts have not all come: a table of fixed size for all peers of a shard.
//!
//! A peer has at most [`FRAGMENTED_PER_PEER`] packets in it, and none for longer than
//! [`FRAGMENT_LIFETIME`]. When it is full, the packet that is next in turn makes room.

use super::{DropCounters, DropReason, PeerIndex};
use crate::limits::{FRAGMENT_LIFETIME, FRAGMENTED_PER_PEER};
use crate::time::Monotonic;
use crate::wire::FragmentHeader;

/// What has come of packets that are not complete.
#[derive(Debug)]
pub(super) struct Reassembly {
    slots: Vec<Slot>,
    /// Of each slot so many bytes as a packet can have.
    bytes: Vec<u8>,
    room: usize,
    free: Vec<u16>,
    /// Who makes room next.
    next: u16,
    /// When packets that are too old were last looked for.
    swept: Monotonic,
}

/// The slots of one peer, by the numbers of its packets.
pub(super) type Waiting = [u16; FRAGMENTED_PER_PEER];

/// A part of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) of: PeerIndex,
    pub(super) sequence: u8,
    index: u8,
    /// Bytes of each part but the last.
    size: u16,
    last: bool,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Whose packet it is, and its number.
    packet: Option<(PeerIndex, u8)>,
    size: u16,
    /// A bit for each part that is there.
    parts: u32,
    /// How many parts and bytes the packet has, once the last one is there.
    whole: Option<(u8, usize)>,
    since: Monotonic,
}

impl<'a> Part<'a> {
    /// The part behind a header; `None` if it can't be one.
    pub(super) fn new(of: PeerIndex, header: FragmentHeader, bytes: &'a [u8]) -> Option<Self> {
        let (sequence, index, size, last) = match header {
            FragmentHeader::Whole => return None,
            FragmentHeader::Part { sequence, index } => {
                (sequence, index, u16::try_from(bytes.len()).ok()?, false)
            }
            FragmentHeader::Last {
                sequence,
                index,
                size,
            } => (sequence, index, size, true),
        };
        let fits = usize::from(size) % FragmentHeader::UNIT == 0
            && !bytes.is_empty()
            && bytes.len() <= usize::from(size);
        fits.then_some(Self {
            of,
            sequence,
            index,
            size,
            last,
            bytes,
        })
    }

    const fn start(&self) -> usize {
        self.index as usize * self.size as usize
    }
}

impl Reassembly {
    /// Room for so many packets of so many bytes each.
    pub(super) fn new(packets: u16, room: usize) -> Self {
        Self {
            slots: vec![Slot::default(); packets.into()],
            bytes: vec![0; usize::from(packets) * room],
            room,
            free: (0..packets).rev().collect(),
            next: 0,
            swept: Monotonic::ZERO,
        }
    }

    /// Takes a part in; gives the packet if it is the last that was missing, in whatever order they come.
    /// A packet that is given up is counted.
    ///
    /// # Errors
    /// The reason why the part goes no further.
    pub(super) fn take(
        &mut self,
        waiting: &mut Waiting,
        part: Part,
        drops: &mut DropCounters,
        now: Monotonic,
    ) -> Result<Option<&[u8]>, DropReason> {
        let (start, end) = (part.start(), part.start() + part.bytes.len());
        if end > self.room {
            return Err(DropReason::Fragment);
        }
        let place = waiting
            .get_mut(usize::from(part.sequence) % FRAGMENTED_PER_PEER)
            .ok_or(DropReason::Fragment)?;
        let number = match self.begun(*place, &part, now) {
            Some(number) => number,
            None => {
                self.give_up(*place, part.of, drops);
                *place = self.begin(&part, drops, now).ok_or(DropReason::Fragment)?;
                *place
            }
        };
        let base = usize::from(number) * self.room;
        let slot = self.slots.get_mut(usize::from(number));
        let slot = slot.ok_or(DropReason::Fragment)?;
        if !slot.note(&part, end) {
            self.give_up(number, part.of, drops);
            return Err(DropReason::Fragment);
        }
        let complete = slot.complete();
        let target = self.bytes.get_mut(base + start..base + end);
        target.unwrap_or_default().copy_from_slice(part.bytes);
        let Some(length) = complete else {
            return Ok(None);
        };
        self.release(number);
        Ok(self.bytes.get(base..base + length))
    }

    /// The slot of the part's packet, if others of it came before.
    fn begun(&self, number: u16, part: &Part, now: Monotonic) -> Option<u16> {
        let slot = self.slots.get(usize::from(number))?;
        let same = slot.packet == Some((part.of, part.sequence)) && slot.size == part.size;
        (same && !slot.is_old(now)).then_some(number)
    }

    /// A slot for a packet of which nothing has come.
    fn begin(&mut self, part: &Part, drops: &mut DropCounters, now: Monotonic) -> Option<u16> {
        if self.free.is_empty() {
            self.make_room(drops, now);
        }
        let number = self.free.pop()?;
        *self.slots.get_mut(usize::from(number))? = Slot {
            packet: Some((part.of, part.sequence)),
            size: part.size,
            parts: 0,
            whole: None,
            since: now,
        };
        Some(number)
    }

    /// Gives up what is too old, or if that was looked for a moment ago what is next in turn.
    fn make_room(&mut self, drops: &mut DropCounters, now: Monotonic) {
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            for number in 0..self.slots.len() as u16 {
                let slot = self.slots.get(usize::from(number));
                if slot.is_some_and(|slot| slot.is_old(now)) {
                    drops.count(DropReason::Incomplete);
                    self.release(number);
                }
            }
        }
        if self.free.is_empty() && !self.slots.is_empty() {
            let number = self.next;
            self.next = (number + 1) % self.slots.len() as u16;
            drops.count(DropReason::Incomplete);
            self.release(number);
        }
    }

    /// Forgets what is in a slot if it is this peer's.
    fn give_up(&mut self, number: u16, of: PeerIndex, drops: &mut DropCounters) {
        let slot = self.slots.get(usize::from(number));
        let packet = slot.and_then(|slot| slot.packet);
        if packet.is_some_and(|(owner, _)| owner == of) {
            drops.count(DropReason::Incomplete);
            self.release(number);
        }
    }

    fn release(&mut self, number: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(number))
            && slot.packet.take().is_some()
        {
            self.free.push(number);
        }
    }
}

impl Slot {
    /// Notes a part that ends at `end`. False if it does not go with the others.
    fn note(&mut self, part: &Part, end: usize) -> bool {
        let bit = 1_u32 << (part.index & 31);
        let fits = match (part.last, self.whole) {
            // None of those before lies behind the last one.
            (true, None) => self.parts < bit,
            (true, whole) => whole == Some((part.index, end)),
            (false, Some((last, _))) => part.index < last,
            (false, None) => true,
        };
        if part.last {
            self.whole = Some((part.index, end));
        }
        self.parts |= bit;
        fits
    }

    /// The packet's length, if all of it is there.
    const fn complete(&self) -> Option<usize> {
        match self.whole {
            Some((last, length)) if self.parts == u32::MAX >> (31 - (last & 31)) => Some(length),
            _ => None,
        }
    }

    fn is_old(&self, now: Monotonic) -> bool {
        self.packet.is_some() && now.since(self.since) >= FRAGMENT_LIFETIME
    }
}

/// Packets that are too old are looked for this often, while there is no room.
const SWEEP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
