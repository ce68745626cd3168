//! Packets out of a stream: where one receive has many, and where one packet needs several receives.

use std::ops::Range;

use crate::limits::SEGMENTS_MAX;
use crate::wire::{BadLength, stream_packet};

/// The packet of a stream of which a part has come.
#[derive(Debug, Default)]
pub struct StreamedPackets {
    /// Its length and its first bytes, or nothing.
    partial: Vec<u8>,
}

/// What one receive brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// How many of its bytes have completed the packet that was there before.
    pub completed: Option<usize>,
    /// Whole packets with their lengths, so many in a row as can be handed on at once, with their number.
    pub rows: Vec<(Range<usize>, usize)>,
}

impl StreamedPackets {
    /// Takes what one receive has brought: what is no whole packet at its end is kept.
    ///
    /// # Errors
    /// A length that no packet has, with what is good before it.
    pub fn take(
        &mut self,
        bytes: &[u8],
        longest: usize,
        brought: &mut Brought,
    ) -> Result<(), BadLength> {
        brought.completed = None;
        brought.rows.clear();
        let mut at = 0;
        if !self.partial.is_empty() {
            at = self.fill(bytes, longest)?;
            if stream_packet(&self.partial, longest)?.is_none() {
                return Ok(());
            }
            brought.completed = Some(at);
        }
        let (mut row, mut packets) = (at..at, 0);
        let whole = loop {
            match stream_packet(bytes.get(at..).unwrap_or_default(), longest) {
                Ok(Some(packet)) => at += packet.end,
                Ok(None) => break Ok(()),
                Err(bad) => break Err(bad),
            }
            row.end = at;
            packets += 1;
            if packets == SEGMENTS_MAX {
                brought.rows.push((row, packets));
                (row, packets) = (at..at, 0);
            }
        };
        if packets > 0 {
            brought.rows.push((row, packets));
        }
        whole?;
        if brought.completed.is_none() {
            self.partial
                .extend_from_slice(bytes.get(at..).unwrap_or_default());
        }
        Ok(())
    }

    /// The packet that was completed, with its length.
    pub fn completed(&self) -> &[u8] {
        &self.partial
    }

    /// The completed packet has been looked at; `rest` begins the next one.
    pub fn begin(&mut self, rest: &[u8]) {
        self.partial.clear();
        self.partial.extend_from_slice(rest);
    }

    /// Adds bytes to the packet that is there, none of the next; how many.
    fn fill(&mut self, bytes: &[u8], longest: usize) -> Result<usize, BadLength> {
        let mut used = 0;
        while used < bytes.len() && stream_packet(&self.partial, longest)?.is_none() {
            let missing = self.missing().clamp(1, bytes.len() - used);
            let more = bytes.get(used..used + missing).unwrap_or_default();
            self.partial.extend_from_slice(more);
            used += missing;
        }
        Ok(used)
    }

    /// How many bytes are missing to its length, or to its end.
    fn missing(&self) -> usize {
        match self.partial.first_chunk::<2>() {
            None => 2 - self.partial.len(),
            Some(length) => {
                let end = 2 + usize::from(u16::from_be_bytes(*length));
                end.saturating_sub(self.partial.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All packets that come out when a stream comes in these parts.
    fn packets<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, BadLength> {
        let mut reassembly = StreamedPackets::default();
        let (mut brought, mut packets) = (Brought::default(), Vec::new());
        for part in parts {
            let taken = reassembly.take(part, LONGEST, &mut brought);
            if let Some(used) = brought.completed {
                packets.push(reassembly.completed()[2..].to_vec());
                let end = brought.rows.last().map_or(used, |(row, _)| row.end);
                reassembly.begin(part.get(end..).unwrap_or_default());
            }
            for (row, count) in &brought.rows {
                let row = &part[row.clone()];
                let places: Vec<_> = crate::wire::stream_packets(row).collect();
                assert_eq!(places.len(), *count);
                assert!(*count <= SEGMENTS_MAX);
                packets.extend(places.into_iter().map(|place| row[place].to_vec()));
            }
            taken?;
        }
        Ok(packets)
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_they_are_cut(
            lengths in prop::collection::vec(1_usize..=40, 0..300),
            cuts in prop::collection::vec(1_usize..2000, 1..20),
        ) {
            let sent: Vec<Vec<u8>> = lengths
                .iter()
                .enumerate()
                .map(|(mark, &length)| vec![mark as u8; length])
                .collect();
            let mut stream = Vec::new();
            for packet in &sent {
                stream.extend_from_slice(&(packet.len() as u16).to_be_bytes());
                stream.extend_from_slice(packet);
            }
            let mut rest = stream.as_slice();
            let mut cuts = cuts.into_iter().cycle();
            let parts = std::iter::from_fn(|| {
                let at = cuts.next()?.min(rest.len());
                let (part, behind) = rest.split_at(at);
                rest = behind;
                (!part.is_empty()).then_some(part)
            });
            prop_assert_eq!(packets(parts), Ok(sent));
        }
    }

    #[test]
    fn a_bad_length_ends_the_stream_wherever_it_is_cut() {
        let stream = [0, 2, 7, 7, 0, 41, 1, 1];
        for cut in 0..stream.len() {
            let (one, other) = stream.split_at(cut);
            let bad = packets([one, other].into_iter()).expect_err("41 bytes are too many");
            assert_eq!((bad.length, bad.longest), (41, LONGEST), "{cut}");
        }
        assert!(packets([&[0_u8, 0][..]].into_iter()).is_err());
    }

    #[test]
    fn many_small_packets_come_in_rows() {
        let stream = [0_u8, 1, 9].repeat(2 * SEGMENTS_MAX + 3);
        let (mut reassembly, mut brought) = (StreamedPackets::default(), Brought::default());
        reassembly.take(&stream, LONGEST, &mut brought).unwrap();
        let counts: Vec<_> = brought.rows.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [SEGMENTS_MAX, SEGMENTS_MAX, 3]);
    }

    const LONGEST: usize = 40;
}
