//! One report of the disjoint runs of several generators at the same server.

use crate::result::{Ending, Machine, Report};

/// The runs as one: counts and histograms added, series put side by side by the time of day.
///
/// # Errors
/// If there are fewer than two, or they are not parts of one measurement.
pub fn merge(reports: Vec<Report>) -> Result<Report, Unmergeable> {
    if reports.len() < 2 {
        return Err(Unmergeable::TooFew(reports.len()));
    }
    let mut reports = reports;
    let first = |report: &Report| report.sessions.iter().map(|it| it.first).min();
    reports.sort_by(|a, b| {
        let order = a.started.total_cmp(&b.started);
        order.then_with(|| first(a).cmp(&first(b)))
    });
    let mut reports = reports.into_iter();
    let Some(mut merged) = reports.next() else {
        return Err(Unmergeable::TooFew(0));
    };
    for report in reports {
        check(&merged, &report)?;
        add(&mut merged, report);
    }
    merged.relate_server();
    Ok(merged)
}

/// What keeps the two from being one.
fn check(merged: &Report, report: &Report) -> Result<(), Unmergeable> {
    let commands = || [merged.command.clone(), report.command.clone()];
    if merged.plan != report.plan {
        return Err(Unmergeable::Plans(commands()));
    }
    if merged.tally.interval_seconds != report.tally.interval_seconds {
        return Err(Unmergeable::Intervals(commands()));
    }
    let shared = merged
        .sessions
        .iter()
        .find(|it| report.sessions.iter().any(|other| it.overlaps(other)));
    if let Some(numbers) = shared {
        return Err(Unmergeable::Sessions {
            first: numbers.first,
            last: u64::from(numbers.first) + u64::from(numbers.count).saturating_sub(1),
            commands: commands(),
        });
    }
    // `merged` began first.
    if report.started >= merged.started + merged.seconds {
        return Err(Unmergeable::Times(commands()));
    }
    match (&merged.server, &report.server) {
        (Some(one), Some(other)) if (one.pid, &one.name) != (other.pid, &other.name) => {
            Err(Unmergeable::Servers([one.pid, other.pid]))
        }
        _ => Ok(()),
    }
}

fn add(merged: &mut Report, report: Report) {
    let later = report.started - merged.started;
    let intervals = (later / merged.tally.interval_seconds).round() as usize;
    merged.tally.add(&report.tally, intervals);
    merged.seconds = merged.seconds.max(later + report.seconds);
    merged.command = format!("{} + {}", merged.command, report.command);
    merged.sessions.extend(report.sessions);
    merged.shared_sockets |= report.shared_sockets;
    merged.ending = worse(merged.ending.clone(), report.ending);
    if merged.faults != report.faults {
        merged.faults = format!("{} + {}", named(&merged.faults), named(&report.faults));
    }
    let host = report.machine.host.clone();
    let limits = report.limits.into_iter();
    merged
        .limits
        .extend(limits.map(|it| format!("{host}: {it}")));
    merged.own.extend(report.own);
    join(&mut merged.machine, &report.machine);
    merged.far_side = match (merged.far_side, report.far_side) {
        (Some(mut sum), Some(other)) => {
            sum.add(&other);
            Some(sum)
        }
        // The packets of one part were not counted: the sum would be of neither.
        _ => None,
    };
    merged.server = match (merged.server.take(), report.server) {
        // Both looked at the same process: whoever looked longer saw more.
        (Some(one), Some(other)) if one.seconds < other.seconds => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    };
}

fn named(faults: &str) -> &str {
    if faults.is_empty() { "none" } else { faults }
}

/// Machines that are alike have one name less to tell.
fn join(machine: &mut Machine, other: &Machine) {
    for (mine, theirs) in [
        (&mut machine.host, &other.host),
        (&mut machine.processor, &other.processor),
        (&mut machine.kernel, &other.kernel),
    ] {
        if !mine.split(" + ").any(|it| it == theirs) {
            *mine = format!("{mine} + {theirs}");
        }
    }
}

const fn rank(ending: &Ending) -> u8 {
    match ending {
        Ending::Complete => 0,
        Ending::Interrupted => 1,
        Ending::Failed(_) => 2,
    }
}

fn worse(one: Ending, other: Ending) -> Ending {
    if rank(&other) > rank(&one) {
        other
    } else {
        one
    }
}

/// Why reports are not parts of one measurement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmergeable {
    /// One is not several.
    #[error("{0} reports: it takes two to be merged")]
    TooFew(usize),
    /// They did different things.
    #[error("`{}` and `{}` had different plans: only parts of one plan are merged", .0[0], .0[1])]
    Plans([String; 2]),
    /// Their series have different steps.
    #[error("`{}` and `{}` have series of different intervals", .0[0], .0[1])]
    Intervals([String; 2]),
    /// They had the same sessions, or one of them is given twice.
    #[error(
        "`{}` and `{}` share sessions between {first} and {last}: give each generator numbers of its own",
        commands[0], commands[1]
    )]
    Sessions {
        /// The first of the range in which both had some.
        first: u32,
        /// Its last.
        last: u64,
        /// Who they are.
        commands: [String; 2],
    },
    /// One was over when the other began.
    #[error("`{}` was over when `{}` began: only what ran at the same time is merged", .0[0], .0[1])]
    Times([String; 2]),
    /// They looked at different servers.
    #[error("the reports have figures of two servers, processes {} and {}", .0[0], .0[1])]
    Servers([u32; 2]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::SessionNumbers;
    use crate::result::testing::sample;

    /// The same, on another machine and with other sessions, begun two seconds later.
    fn other() -> Report {
        let mut report = sample();
        report.started += 2.0;
        report.sessions = vec![SessionNumbers {
            first: 10,
            count: 5,
        }];
        report.machine.host = "lab2".to_owned();
        report.server = None;
        report.limits = vec!["full".to_owned()];
        report.ending = Ending::Interrupted;
        report
    }

    #[test]
    fn two_parts_are_one_run() {
        // Whatever the order in which they are given.
        for reports in [vec![sample(), other()], vec![other(), sample()]] {
            let merged = merge(reports).unwrap();
            assert_eq!((merged.started, merged.seconds), (1.8e9, 6.0));
            assert_eq!(merged.tally.handshakes, 20);
            assert_eq!(merged.tally.handshake.count(), 20);
            let downs: Vec<_> = merged
                .tally
                .series
                .iter()
                .map(|it| it.down.packets)
                .collect();
            assert_eq!(downs, [1000, 1000, 2000, 2000, 1000, 1000]);
            assert_eq!(merged.far_side.unwrap().up.lost, 200);
            let first: Vec<_> = merged.sessions.iter().map(|it| it.first).collect();
            assert_eq!(first, [0, 10]);
            assert_eq!(merged.machine.host, "lab + lab2");
            assert_eq!(merged.machine.kernel, "Linux 6.18");
            assert_eq!(merged.limits, ["lab2: full"]);
            assert_eq!(merged.ending, Ending::Interrupted);
            assert_eq!(merged.own.len(), 2);
            // What a gigabit cost the server is of the gigabits of both: half as many more in its phase.
            let cost =
                |report: &Report| report.server.as_ref().unwrap().core_ms_per_gigabit.unwrap();
            assert!((cost(&merged) - cost(&sample()) / 1.5).abs() < 1e-9);
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let changed = |change: &dyn Fn(&mut Report)| {
            let mut report = other();
            change(&mut report);
            merge(vec![sample(), report]).unwrap_err().to_string()
        };
        for (error, said) in [
            (
                changed(&|it| it.plan.phases[0].name.push('x')),
                "had different plans",
            ),
            (
                changed(&|it| it.tally.interval_seconds = 2.0),
                "different intervals",
            ),
            (
                changed(&|it| it.sessions[0].first = 9),
                "share sessions between 0 and 9: give each generator numbers of its own",
            ),
            (changed(&|it| it.started += 2.0), "was over when"),
            (
                changed(&|it| {
                    it.server = sample().server;
                    it.server.as_mut().unwrap().pid = 18;
                }),
                "figures of two servers, processes 17 and 18",
            ),
        ] {
            assert!(error.contains(said), "{error}");
        }
        let error = merge(vec![sample()]).unwrap_err().to_string();
        assert_eq!(error, "1 reports: it takes two to be merged");
        assert_eq!(merge(vec![]), Err(Unmergeable::TooFew(0)));
    }

    #[test]
    fn a_part_that_nobody_counted_is_not_counted_for_both() {
        let mut report = other();
        report.far_side = None;
        report.faults = "loss 1 %".to_owned();
        let merged = merge(vec![sample(), report]).unwrap();
        assert_eq!(merged.far_side, None);
        assert_eq!(merged.up_traffic().packets, 8000);
        assert_eq!(merged.faults, "none + loss 1 %");
    }
}
