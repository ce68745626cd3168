//! Two reports beside each other, as a table of ratios.

use std::fmt::Write as _;

use crate::result::{Better, Ending, Figure, Report, three_digits};

/// A Markdown table: each figure of both runs, the second divided by the first, and which is better. What
/// makes the comparison doubtful stands in front of it.
pub fn compare(first: &Report, second: &Report) -> String {
    let mut text = String::new();
    for (name, report) in [("A", first), ("B", second)] {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name}: `{}`", report.command.replace('`', "'"));
    }
    for doubt in doubts(first, second) {
        let _infallible = writeln!(text, "\nNOTE: {doubt}");
    }
    text.push_str("\n| | A | B | B / A | better |\n|---|---|---|---|---|\n");
    let (of_first, of_second) = (first.figures(), second.figures());
    for figure in &of_first {
        let other = of_second.iter().find(|it| it.name == figure.name);
        text.push_str(&row(Some(figure), other));
    }
    let named = |name: &str| of_first.iter().any(|it| it.name == name);
    for figure in of_second.iter().filter(|it| !named(&it.name)) {
        text.push_str(&row(None, Some(figure)));
    }
    printable(&text)
}

/// Reports are files from anywhere, and a terminal obeys what it reads.
fn printable(text: &str) -> String {
    let shown = |it: char| it == '\n' || !it.is_control();
    text.chars()
        .map(|it| if shown(it) { it } else { '\u{fffd}' })
        .collect()
}

fn row(first: Option<&Figure>, second: Option<&Figure>) -> String {
    let Some(either) = first.or(second) else {
        return String::new();
    };
    let cell = |figure: Option<&Figure>| match figure {
        Some(figure) => format!("{} {}", three_digits(figure.value), figure.unit)
            .trim_end()
            .to_owned(),
        None => "-".to_owned(),
    };
    let (ratio, better) = match (first, second) {
        (Some(first), Some(second)) => verdict(first, second),
        _ => ("-".to_owned(), "-"),
    };
    let cells = [
        either.name.clone(),
        cell(first),
        cell(second),
        ratio,
        better.to_owned(),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn verdict(first: &Figure, second: &Figure) -> (String, &'static str) {
    let (a, b) = (first.value, second.value);
    let ratio = match (a == 0.0, b == 0.0) {
        (true, true) => "1.00".to_owned(),
        (true, false) => "-".to_owned(),
        _ => three_digits(b / a),
    };
    let more = first.better == Better::More;
    let better = match b.total_cmp(&a) {
        std::cmp::Ordering::Equal => "same",
        std::cmp::Ordering::Greater => {
            if more {
                "B"
            } else {
                "A"
            }
        }
        std::cmp::Ordering::Less => {
            if more {
                "A"
            } else {
                "B"
            }
        }
    };
    (ratio, better)
}

/// Why the two may not be comparable, or are not worth it, a sentence each.
fn doubts(first: &Report, second: &Report) -> Vec<String> {
    let mut found = Vec::new();
    if first.plan != second.plan {
        found.push("A and B did not do the same: their plans differ.".to_owned());
    }
    if first.faults != second.faults {
        found.push("A and B had not the same faults on the way.".to_owned());
    }
    if first.machine.processor != second.machine.processor
        || first.machine.processors != second.machine.processors
    {
        found.push("A and B were made on different machines.".to_owned());
    }
    for (name, report) in [("A", first), ("B", second)] {
        match &report.ending {
            Ending::Complete => {}
            Ending::Interrupted => found.push(format!("{name} was interrupted.")),
            Ending::Failed(why) => found.push(format!("{name} ended early: {why}")),
        }
        for limit in &report.limits {
            found.push(format!("In {name} the generator was the limit: {limit}."));
        }
        if report.shared_sockets {
            found.push(format!(
                "In {name} sessions shared sockets, which real clients do not."
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::testing::sample;

    #[test]
    fn ratios_say_who_is_better() {
        let (first, mut second) = (sample(), sample());
        second.tally.series[3].handshakes += 20;
        second.phases[0].seconds = 8.0;
        second.tally.echoes.sent = 10;
        second.tally.echoes.lost = 1;
        let text = compare(&first, &second);
        for line in [
            "A: `loadgen --scenario 'a&b' <x>`",
            "| | A | B | B / A | better |",
            "| handshakes | 2.50 /s | 3.75 /s | 1.50 | B |",
            "| goodput up | 10.9 Mbit/s | 5.46 Mbit/s | 0.500 | A |",
            "| sessions failed | 1.00 | 1.00 | 1.00 | same |",
            "| reordered up | 0.00 | 0.00 | 1.00 | same |",
            "| round trips lost | - | 10.0 % | - | - |",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains("NOTE"), "{text}");
    }

    #[test]
    fn what_makes_them_incomparable_stands_first() {
        let (first, mut second) = (sample(), sample());
        second.plan.phases[0].name = "other".to_owned();
        second.faults = "loss 1 %".to_owned();
        second.machine.processors = 64;
        second.ending = Ending::Failed("the server stopped".to_owned());
        second.limits = vec!["its thread was full".to_owned()];
        second.shared_sockets = true;
        let text = compare(&first, &second);
        for note in [
            "their plans differ",
            "the same faults",
            "different machines",
            "B ended early: the server stopped",
            "In B the generator was the limit: its thread was full.",
            "sessions shared sockets",
        ] {
            let at = text.find(note).unwrap_or_else(|| panic!("{note}\n{text}"));
            assert!(at < text.find("| | A").unwrap());
        }
        assert_eq!(text.matches("NOTE: ").count(), 6);
    }

    #[test]
    fn from_nothing_there_is_no_ratio() {
        let figure = |value, better| Figure {
            name: "x".to_owned(),
            unit: "",
            value,
            better,
        };
        for (a, b, better, expected) in [
            (0.0, 0.0, Better::More, ("1.00", "same")),
            (0.0, 5.0, Better::Less, ("-", "A")),
            (5.0, 0.0, Better::Less, ("0.00", "B")),
            (2.0, 3.0, Better::More, ("1.50", "B")),
        ] {
            let (ratio, verdict) = verdict(&figure(a, better), &figure(b, better));
            assert_eq!((ratio.as_str(), verdict), expected);
        }
    }
}
