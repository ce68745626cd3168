//! `bench compare`, as small as it goes. It needs root, as the interoperability tests do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

fn bench(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(words)
        .output()
        .unwrap()
}

/// The namespaces of a comparison that had this process id.
fn namespaces_of(pid: u32) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let prefix = format!("rw{pid}-bench-");
    let names = text.lines().filter(|line| line.starts_with(&prefix));
    names.map(str::to_owned).collect()
}

#[test]
fn contenders_at_one_work_give_a_table_and_rows() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["compare", "--rounds=1", "--seconds=1", "--link=whole"])
        .args([
            "--only=no-vpn,ringway,stock-client,openvpn",
            "--work=tcp1-up",
        ])
        .args(["--json", path])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(namespaces_of(pid), [""; 0]);

    let lines = text.lines().filter(|line| line.starts_with("| tcp1-up | "));
    assert_eq!(lines.count(), 4, "{text}");
    assert!(!text.contains("FAILED"), "{text}");

    let rows: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| &row["contender"]).collect();
    assert_eq!(names, ["no-vpn", "ringway", "stock-client", "openvpn"]);
    for row in rows {
        let number = |name: &str| {
            row[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{name} of {row}"))
        };
        assert_eq!((number("rounds"), number("seconds")), (1.0, 1.0));
        assert!(number("median") > 0.0, "{row}");
        assert_eq!(number("median"), number("min"));
        assert_eq!(number("median"), number("max"));
        assert!(number("ratio_to_openvpn") > 0.0, "{row}");
        assert!(number("ratio_to_no_vpn") > 0.0, "{row}");
        assert!(number("server_core_ms_per_gigabit") > 0.0, "{row}");
        let has_process = row["contender"] != "no-vpn";
        let is_ours = ["ringway", "stock-client"]
            .map(Value::from)
            .contains(&row["contender"]);
        for edge in ["send", "receive", "tun_write", "tun_read"] {
            let mean = row["server_segments"][edge].as_f64();
            assert_eq!(
                mean.is_some_and(|mean| mean >= 1.0),
                is_ours,
                "{edge} of {row}"
            );
        }
        assert_eq!(
            row["server_process_ms_per_gigabit"].is_number(),
            has_process
        );
    }
    assert_eq!(rows[0]["ratio_to_no_vpn"], 1.0);
    assert_eq!(rows[3]["ratio_to_openvpn"], 1.0);
}

#[test]
fn what_has_no_such_name_is_refused() {
    for (option, word) in [("--only", "openvpm"), ("--work", "tcp2"), ("--link", "wet")] {
        let output = bench(&["compare", option, word]);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("'{word}'")), "{said}");
    }
}

#[test]
fn peers_tells_of_each_program_where_it_is_or_how_it_comes() {
    let output = bench(&["peers"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for program in [
        "openvpn",
        "iperf3",
        "wg",
        "wireguard-go",
        "boringtun-cli",
        "gotatun",
    ] {
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(program));
        let line = line.unwrap_or_else(|| panic!("{program} is not in {text}"));
        let good = line.contains(" /") || line.contains(" not installed: ");
        assert!(good, "{line}");
    }
}

#[test]
fn an_interrupted_comparison_leaves_nothing_behind() {
    let child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["compare", "--rounds=9", "--seconds=9"])
        .args(["--only=openvpn", "--work=tcp1-up"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let server = PathBuf::from(format!("/run/netns/rw{pid}-bench-server"));
    eventually("the namespaces", || namespaces_of(pid).len() == 4);
    eventually("the namespace's file", || is_mounted(&server));
    let inode = std::fs::metadata(&server).unwrap().ino();
    eventually("a server", || !processes_in(inode).is_empty());
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(namespaces_of(pid), [""; 0]);
    assert_eq!(processes_in(inode), [""; 0]);
}

/// Whether `ip netns` has put a namespace there, and not only made the file.
fn is_mounted(path: &Path) -> bool {
    let root = std::fs::metadata("/run").unwrap().dev();
    std::fs::metadata(path).is_ok_and(|file| file.dev() != root)
}

/// The processes that live in a network namespace.
fn processes_in(namespace: u64) -> Vec<String> {
    let link = PathBuf::from(format!("net:[{namespace}]"));
    let entries = std::fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let paths = entries.map(|entry| entry.path());
    paths
        // Most of what is there is no process, and processes end.
        .filter(|path| std::fs::read_link(path.join("ns/net")).is_ok_and(|found| found == link))
        .map(|path| path.display().to_string())
        .collect()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
