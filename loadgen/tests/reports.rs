//! Reports as files, and what the program makes of them and says of what is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use loadgen::plan::Plan;
use loadgen::result::{Ending, Machine, Report, SessionNumbers, Tally, Traffic};
use loadgen::span::Span;
use tempfile::TempDir;

fn loadgen(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(words)
        .output()
        .unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn success(words: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = loadgen(words);
    assert!(status.success(), "{}", text(stderr));
    text(stdout)
}

fn failure(words: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = loadgen(words);
    assert!(!status.success(), "{}", text(stdout));
    let stderr = text(stderr);
    assert!(stderr.starts_with("loadgen: "), "{stderr}");
    stderr
}

/// Ten seconds in which `handshakes` sessions came up, one generator's part from session `first` on.
fn report(first: u32, handshakes: u64) -> Report {
    let mut tally = Tally::new(Duration::from_secs(10));
    for session in 0..handshakes {
        tally.attempts += 1;
        tally.established(
            session * 10_000_000_000 / handshakes,
            5_000_000 + session * 1000,
        );
    }
    tally.sent(0, Traffic::packet(1400));
    Report {
        format: Report::FORMAT,
        command: format!("loadgen --first {first}"),
        started: 1.8e9,
        seconds: 10.0,
        ending: Ending::Complete,
        machine: Machine::default(),
        seed: 1,
        server_address: "192.0.2.1:1194".to_owned(),
        sessions: vec![SessionNumbers { first, count: 100 }],
        faults: String::new(),
        shared_sockets: false,
        plan: Plan::from_words("handshake:rate=10", 0, Span::of(10)).unwrap(),
        phases: vec![],
        tally,
        own: vec![],
        limits: vec![],
        server: None,
        far_side: None,
    }
}

/// A directory with the files `a.json` and `b.json`.
fn two() -> (TempDir, [String; 2]) {
    let directory = TempDir::new().unwrap();
    let names = [("a.json", 0, 100), ("b.json", 100, 200)].map(|(name, first, handshakes)| {
        let path = directory.path().join(name);
        report(first, handshakes).write(&path).unwrap();
        path.display().to_string()
    });
    (directory, names)
}

#[test]
fn two_reports_are_compared() {
    let (_directory, [a, b]) = two();
    let table = success(&["compare", &a, &b]);
    let row = "| handshakes | 10.0 /s | 20.0 /s | 2.00 | B |";
    assert!(table.lines().any(|line| line == row), "{table}");
}

#[test]
fn two_reports_are_merged_and_the_sum_is_a_report() {
    let (directory, [a, b]) = two();
    let sum = directory.path().join("sum.json");
    let name = sum.display().to_string();
    assert_eq!(success(&["merge", &a, &b, "-o", &name]), "");
    let merged = Report::read(&sum).unwrap();
    assert_eq!(merged.tally.handshakes, 300);
    assert_eq!(merged.sessions.len(), 2);
    // Without a file it is printed.
    let printed: Report = serde_json::from_str(&success(&["merge", &b, &a])).unwrap();
    assert_eq!(printed, merged);
    let error = failure(&["merge", &a, &name]);
    assert!(error.contains("share sessions between 0 and 99"), "{error}");
    let error = failure(&["merge", &a]);
    assert!(error.contains("1 reports: it takes two"), "{error}");
}

#[test]
fn a_report_is_drawn_again() {
    let (directory, [a, _]) = two();
    let page = directory.path().join("page.html").display().to_string();
    success(&["html", &a, "-o", &page]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("<figcaption>Handshakes<"));
    assert_eq!(success(&["html", &a]), html);
}

#[test]
fn what_is_no_report_is_named_with_its_reason() {
    let (directory, [a, _]) = two();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, content: &[u8]| -> String {
        std::fs::write(path(name), content).unwrap();
        path(name).display().to_string()
    };
    let whole = std::fs::read(&a).unwrap();
    for (file, said) in [
        (write("empty", b""), "it is empty"),
        (
            write("half", &whole[..whole.len() / 2]),
            "EOF while parsing",
        ),
        (write("other", b"{\"a\": 1}"), "missing field `format`"),
        (write("list", b"[1, 2]"), "no report of loadgen"),
        (write("binary", &[0xff, 0, 0x80]), "UTF-8"),
        (write("later", b"{\"format\": 99}"), "it has format 99"),
        (path("absent").display().to_string(), "No such file"),
        (directory.path().display().to_string(), "Is a directory"),
    ] {
        for words in [
            &["compare", &a, &file][..],
            &["compare", &file, &a],
            &["merge", &a, &file],
            &["html", &file],
        ] {
            let error = failure(words);
            assert!(
                error.contains(&file) && error.contains(said),
                "{words:?}: {error}"
            );
        }
    }
    let absent = Path::new("/nonexistent/x").display().to_string();
    for words in [
        &["html", &a, "-o", &absent][..],
        &["merge", &a, &a, "-o", &absent],
    ] {
        failure(words);
    }
}

#[test]
fn a_report_with_hostile_words_is_still_only_text() {
    let directory = TempDir::new().unwrap();
    let file: PathBuf = directory.path().join("x.json");
    let mut hostile = report(0, 5);
    hostile.command = "<script>alert(1)</script> | ` \u{1b}[31m".to_owned();
    hostile
        .tally
        .failed(0, "</table><img src=x onerror=alert(1)>");
    hostile.write(&file).unwrap();
    let name = file.display().to_string();
    let html = success(&["html", &name]);
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains('\u{1b}'));
    let table = success(&["compare", &name, &name]);
    assert_eq!(
        table.lines().next(),
        Some("A: `<script>alert(1)</script> | ' \u{fffd}[31m`")
    );
}
