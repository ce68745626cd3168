//! Odd words on the command line, and what the program says of them. What a run measures is tested with
//! servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::process::Command;

fn refused(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(words)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success(), "{words:?}: {stdout}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn words_that_make_no_run_say_why() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[phase]]\nname = 'x'\nlength = '1s'\n").unwrap();
    let plan = file.path().to_str().unwrap();
    for (words, said) in [
        (&[][..], "Usage: loadgen"),
        (&["--sessions", "3"], "--config <FILE>"),
        (&["--config", "/nonexistent/x.ovpn"], "/nonexistent/x.ovpn"),
        (
            &["--config", "x", "--duration", "0s"],
            "no length of time above zero",
        ),
        (
            &["--config", "x", "--scenario", "bulk"],
            "unknown variant `bulk`",
        ),
        (
            &["--config", "x", "--scenario", "idle:rate=3"],
            "unknown field `rate`",
        ),
        (
            &["--config", "x", "--scenario", "idle", "--sessions", "0"],
            "idle needs some",
        ),
        (
            &[
                "--config",
                "x",
                "--sessions",
                "99999999",
                "--scenario",
                "idle",
            ],
            "is not between 0 and",
        ),
        (&["--config", "x", "--plan", plan], "line 3"),
        (&["--config", "x", "--plan", plan], "unknown field `length`"),
        (
            &["--config", "x", "--plan", "/nonexistent/p"],
            "/nonexistent/p: ",
        ),
        (
            &["--config", "x", "--plan", plan, "--scenario", "idle"],
            "cannot be used with",
        ),
        (
            &["--config", "x", "--scenario", "latency"],
            "--lan ADDRESS:PORT",
        ),
        (&["--config", "x", "--server-cores", "0"], "--server-pid"),
        (
            &["--cd", "/nonexistent", "--config", "x"],
            "--cd /nonexistent: No such file",
        ),
        (&["table", "/nonexistent"], "/nonexistent: "),
        (&["--config", "x", "lan"], "cannot be used with"),
        (&["compare", "a"], "<B>"),
        (&["merge"], "<REPORTS>"),
    ] {
        let error = refused(words);
        assert!(error.contains(said), "{words:?}: {error}");
    }
}

#[test]
fn names_in_a_profile_begin_where_cd_leads() {
    let directory = tempfile::tempdir().unwrap();
    let profile = "client\ndev tun\nremote 127.0.0.1 1194\nca other.crt\n";
    std::fs::write(directory.path().join("x.ovpn"), profile).unwrap();
    let ca = "not a certificate";
    std::fs::write(directory.path().join("other.crt"), ca).unwrap();
    let inside = directory.path().to_str().unwrap();
    let elsewhere = refused(&["--config", &format!("{inside}/x.ovpn")]);
    assert!(elsewhere.contains("--cd"), "{elsewhere}");
    let error = refused(&["--cd", inside, "--config", "x.ovpn"]);
    assert!(error.contains("other.crt: no certificate"), "{error}");
}

#[test]
fn every_command_has_its_help() {
    for words in [
        &["--help"][..],
        &["lan", "--help"],
        &["compare", "--help"],
        &["merge", "--help"],
        &["table", "--help"],
        &["html", "--help"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains("Usage: loadgen"),
            "{text}"
        );
    }
}
