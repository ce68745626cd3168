//! `bench/load` makes its networks and measures: tiny here, so that it cannot rot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::path::Path;
use std::process::{Command, Output};

use loadgen::result::{Ending, Report};
use loadgen::table::Measurements;

#[test]
fn both_servers_are_measured_in_turns() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().to_str().unwrap();
    let options = ["--rounds", "1", "--seconds", "1", "--into", into];
    let works = ["handshakes", "imix-up", "storm-10"];
    let output = load(&[&options[..], &works].concat());
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let names = [
        "handshakes-ringway",
        "handshakes-openvpn",
        "imix-up-ringway",
        "imix-up-openvpn",
        "storm-10-ringway",
        "storm-10-openvpn",
    ];
    let files = names.map(|name| directory.path().join(format!("{name}-ec-1.json")));
    let files_said: Vec<&Path> = said.lines().map(Path::new).collect();
    assert_eq!(files_said, files.each_ref().map(AsRef::<Path>::as_ref));
    for (number, file) in files.iter().enumerate() {
        let report = Report::read(file).unwrap();
        assert_eq!(report.ending, Ending::Complete);
        assert!(report.tally.handshakes > 0);
        let server = report.server.expect("the server's process was looked at");
        assert!(
            file.to_str().unwrap().contains(&server.name),
            "{}",
            server.name
        );
        // A storm of ten takes less than the kernel counts in: its ticks are of 10 ms.
        assert!(server.process_cpu_seconds > 0.0 || number >= 4);
    }
    // A storm is over when all are there.
    let storm = Report::read(&files[4]).unwrap();
    assert_eq!(storm.tally.handshakes, 10);
    assert!(storm.phases[0].seconds < 60.0, "{:?}", storm.phases);
    let table = Measurements::read(directory.path())
        .unwrap()
        .table("openvpn");
    let head = "|  | ringway | openvpn | ringway / openvpn |";
    assert_eq!(table.matches(head).count(), 3, "{table}");
    assert!(table.contains("| packets up, /s | "), "{table}");
}

#[test]
fn two_shards_hand_nothing_over_and_the_idle_round_trip_is_a_work_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().to_str().unwrap();
    let options = [
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--servers",
        "ringway2",
        "--into",
        into,
    ];
    let output = load(&[&options[..], &["imix-down", "latency-idle"]].concat());
    assert!(output.status.success(), "{output:?}");
    let latency = directory.path().join("latency-idle-ringway2-ec-1.json");
    let latency = Report::read(&latency).unwrap();
    assert!(latency.tally.round_trip.count() > 500, "{latency:?}");
    let down = directory.path().join("imix-down-ringway2-ec-1.json");
    assert!(Report::read(&down).unwrap().tally.down.packets > 0);
    let counted = std::fs::read_to_string(down.with_extension("runtime")).unwrap();
    assert!(counted.contains("shard 1: hand_offs: "), "{counted}");
    let table = Measurements::read(directory.path()).unwrap().table("-");
    let line = "| packets handed to another shard | 0.00 |";
    assert_eq!(table.matches(line).count(), 2, "{table}");
}

#[test]
fn what_it_does_not_know_it_says() {
    for (words, part) in [
        (
            &["--rounds", "1", "--seconds", "1", "dance"][..],
            "no work is called 'dance'",
        ),
        (&["--fast", "1", "storm-10"], "--fast is no option"),
        (&["--rounds"], "--rounds needs a value"),
        (&["--rounds", "1"], "what is to be measured?"),
    ] {
        let output = load(words);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(part), "{said}");
    }
}

fn load(words: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/load");
    let mut command = Command::new(script);
    command.env("LOADGEN", env!("CARGO_BIN_EXE_loadgen"));
    command.args(words).output().unwrap()
}
