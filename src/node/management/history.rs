//! The last lines of a kind, for who asks later.

use std::collections::VecDeque;

/// At most so many entries, the oldest of which go.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<String>,
    capacity: usize,
}

impl History {
    /// Room for at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// Adds one.
    pub(super) fn push(&mut self, entry: String) {
        while self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The last ones, the oldest first; all with `None`.
    pub(super) fn last(&self, count: Option<usize>) -> impl Iterator<Item = &str> {
        let count = count.unwrap_or(usize::MAX).min(self.entries.len());
        let behind = self.entries.len() - count;
        self.entries.iter().skip(behind).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_stay() {
        let mut history = History::new(3);
        for number in 0..5 {
            history.push(number.to_string());
        }
        let last = |count| history.last(count).collect::<Vec<_>>();
        assert_eq!(last(None), ["2", "3", "4"]);
        assert_eq!(last(Some(2)), ["3", "4"]);
        assert_eq!(last(Some(9)), ["2", "3", "4"]);
    }
}
