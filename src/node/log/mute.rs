//! `mute n`: of lines of one group in a row only the first n are written, the rest counted.

use std::num::NonZeroU32;

/// Where a row of lines of one group stands.
#[derive(Clone, Debug)]
pub(super) struct Mute {
    limit: Option<NonZeroU32>,
    group: u8,
    in_a_row: u32,
}

/// What to do with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// A line to write in front of it.
    pub(super) note: Option<String>,
    /// Whether to write the line itself.
    pub(super) write: bool,
}

impl Mute {
    /// At most `limit` lines of one group in a row; all of them for `None`.
    pub(super) const fn new(limit: Option<NonZeroU32>) -> Self {
        Self {
            limit,
            group: 0,
            in_a_row: 0,
        }
    }

    /// Judges the next line; group 0 is always written and does not end a row.
    pub(super) fn judge(&mut self, group: u8) -> Judgement {
        let Some(limit) = self.limit.filter(|_| group != 0) else {
            return Judgement {
                note: None,
                write: true,
            };
        };
        let limit = limit.get();
        if group == self.group {
            let note = (self.in_a_row == limit).then(|| "NOTE: --mute triggered...".to_owned());
            self.in_a_row = self.in_a_row.saturating_add(1);
            return Judgement {
                note,
                write: self.in_a_row <= limit,
            };
        }
        let muted = self.in_a_row.saturating_sub(limit);
        self.group = group;
        self.in_a_row = 1;
        Judgement {
            note: (muted > 0).then(|| {
                format!("{muted} variation(s) on previous {limit} message(s) suppressed by --mute")
            }),
            write: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(limit: Option<u32>, groups: &[u8]) -> Vec<String> {
        let mut mute = Mute::new(limit.and_then(NonZeroU32::new));
        let mut out = Vec::new();
        for &group in groups {
            let Judgement { note, write } = mute.judge(group);
            out.extend(note);
            if write {
                out.push(group.to_string());
            }
        }
        out
    }

    /// The sequence that OpenVPN 2.6.14 wrote with `--mute 2`.
    #[test]
    fn a_row_is_cut_and_counted_when_it_ends() {
        assert_eq!(
            written(Some(2), &[4, 4, 4, 4, 0, 4, 5, 4]),
            [
                "4",
                "4",
                "NOTE: --mute triggered...",
                "0",
                "3 variation(s) on previous 2 message(s) suppressed by --mute",
                "5",
                "4"
            ]
        );
    }

    #[test]
    fn without_a_limit_every_line_is_written() {
        assert_eq!(written(None, &[4, 4, 4]), ["4", "4", "4"]);
    }
}
