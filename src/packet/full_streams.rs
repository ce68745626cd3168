//! Which streams take nothing more now, since as much waits for their receivers as may.
//!
//! Nothing is sealed for them: what would be dropped afterwards would leave a gap in the packet ids, which
//! a receiver over TCP can take for an attack (2.3 does, and begins anew).

use super::Path;
use crate::limits::FIRST_STREAM;

/// Streams by their number.
#[derive(Debug, Default)]
pub struct FullStreams {
    /// A bit each.
    words: Vec<u64>,
    count: usize,
}

impl FullStreams {
    /// Notes whether a stream is full. True if that is news.
    pub fn set(&mut self, stream: u16, full: bool) -> bool {
        let Some((word, bit)) = place_of(stream) else {
            return false;
        };
        if full == self.has(word, bit) {
            return false;
        }
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word ^= bit;
        }
        match full {
            true => self.count += 1,
            false => self.count -= 1,
        }
        true
    }

    /// Whether what goes this way is for a stream that is full.
    pub fn contains(&self, path: &Path) -> bool {
        self.count > 0 && place_of(path.socket).is_some_and(|(word, bit)| self.has(word, bit))
    }

    /// Becomes what `other` is.
    pub(super) fn follow(&mut self, other: &Self) {
        self.words.clone_from(&other.words);
        self.count = other.count;
    }

    fn has(&self, word: usize, bit: u64) -> bool {
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The word and the bit of a stream; none for datagrams.
fn place_of(socket: u16) -> Option<(usize, u64)> {
    let number = socket.checked_sub(FIRST_STREAM)?;
    Some((usize::from(number / 64), 1 << (number % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_is_full_by_itself() {
        let path = |socket| Path {
            remote: ([192, 0, 2, 7], 1).into(),
            local: None,
            socket,
        };
        let mut full = FullStreams::default();
        let streams = [0, 63, 64, 8191].map(|number| FIRST_STREAM + number);
        for stream in streams {
            assert!(full.set(stream, true));
            assert!(!full.set(stream, true), "no news");
        }
        assert!(!full.set(7, true), "no stream");
        for (socket, expected) in streams.map(|stream| (stream, true)).into_iter().chain([
            (0, false),
            (63, false),
            (FIRST_STREAM + 1, false),
        ]) {
            assert_eq!(full.contains(&path(socket)), expected, "{socket}");
        }
        let mut other = FullStreams::default();
        other.follow(&full);
        assert!(full.set(streams[1], false));
        assert!(!full.contains(&path(streams[1])) && full.contains(&path(streams[2])));
        assert!(other.contains(&path(streams[1])));
        other.follow(&full);
        assert!(!other.contains(&path(streams[1])));
    }
}
