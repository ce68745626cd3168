//! Lines of other times: strict, usual and translated.

use super::*;
use crate::config::modes::explained;
use crate::config::usage::usage;

/// What a line is told in a mode: each remark on it, and whether a server would start.
fn told(files: &Files, mode: &str, lines: &str) -> (Vec<String>, bool) {
    files.write("t.conf", &format!("{LEAST}{lines}"));
    let loaded = files.load(&["--config", "t.conf", mode]);
    let told = loaded.diagnostics.iter().map(ToString::to_string);
    (told.collect(), loaded.configuration.is_some())
}

#[test]
fn a_strict_server_takes_no_obsolete_line() {
    let files = Files::new();
    for (line, instead) in [
        ("comp-lzo", "write `compress migrate`"),
        ("compress lz4-v2", "write `compress migrate`"),
        (
            "ncp-ciphers AES-256-GCM:AES-128-GCM",
            "write `data-ciphers AES-256-GCM:AES-128-GCM`",
        ),
        (
            "cipher AES-256-CBC",
            "write `data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305`",
        ),
        ("ns-cert-type client", "write `remote-cert-tls client`"),
        ("ecdh-curve secp384r1", "write `tls-groups secp384r1`"),
        ("keysize 256", "remove the line"),
        ("tun-ipv6", "remove the line"),
        ("max-routes 10", "remove the line"),
        ("prng none", "remove the line"),
    ] {
        let (told, starts) = told(&files, "--strict", &format!("{line}\n"));
        assert!(!starts, "{line}");
        let words = told.iter().find(|it| it.contains("error: ")).expect(line);
        assert!(
            words.contains(": obsolete: ") && words.ends_with(instead),
            "{words}"
        );
        let (told, starts) = self::told(&files, "--verb", &format!("{line}\n"));
        assert!(
            !starts && told.iter().any(|it| it.contains("verb")),
            "{told:?}"
        );
        let loaded = files.load_text(&format!("{LEAST}{line}\n"));
        assert!(
            loaded.configuration.is_some(),
            "{line} is taken without --strict"
        );
    }
    let modern = "cipher AES-256-GCM\ncompress migrate\ndata-ciphers AES-256-GCM\n";
    let (told, starts) = told(&files, "--strict", modern);
    assert!(starts, "{told:?}");
}

#[test]
fn lines_of_older_versions_are_translated_when_that_is_wanted() {
    let files = Files::new();
    for (line, told_instead) in [
        ("keysize 256", "remove the line"),
        ("key-method 2", "remove the line"),
        ("ncp-disable", "remove the line"),
        ("script-security 2 execve", "write `script-security 2`"),
        ("tls-remote alice", "write `verify-x509-name alice name`"),
        (
            "push dhcp-option DNS 10.8.0.1",
            "write `push \"dhcp-option DNS 10.8.0.1\"`",
        ),
    ] {
        let lines = format!("{line}\n");
        let (remarks, starts) = told(&files, "--compat-legacy", &lines);
        assert!(starts, "{line}: {remarks:?}");
        let translated = |it: &&String| it.contains("of an older version, and translated: ");
        let words = remarks.iter().find(translated).expect(line);
        assert!(words.ends_with(told_instead), "{words}");
    }
    let lines = format!("{LEAST}tls-remote alice\npush dhcp-option DNS 10.8.0.1\n");
    files.write("t.conf", &lines);
    let loaded = files.load(&["--compat-legacy", "t.conf"]);
    let settings = loaded
        .configuration
        .and_then(Configuration::server)
        .unwrap();
    assert_eq!(
        settings.node.tls.peer_name,
        Some(NameRule::Name("alice".to_owned()))
    );
    assert!(
        settings
            .push
            .contains(&"dhcp-option DNS 10.8.0.1".to_owned())
    );
    for line in [
        "ncp-disable",
        "key-method 2",
        "tls-remote alice",
        "push route 10.0.0.0",
    ] {
        let loaded = files.load_text(&format!("{LEAST}{line}\n"));
        assert!(
            loaded.configuration.is_none(),
            "{line} is refused without it"
        );
    }
    let (_, starts) = told(&files, "--compat-legacy", "client-cert-not-required\n");
    assert!(!starts, "what it is today is told to be served later");
    let words = ["t.conf", "--strict", "--compat-legacy"];
    assert!(files.load(&words).configuration.is_none());
}

#[test]
fn check_writes_the_better_line() {
    let files = Files::new();
    let lines =
        "comp-lzo\nduplicate-cn\nreneg-sec 0\nhash-size 1 1\ncipher AES-256-GCM\ncipher BF-CBC\n";
    files.write("t.conf", lines);
    let loaded = files.load(&["t.conf"]);
    let found: Vec<_> = loaded.diagnostics.iter().cloned().collect();
    let explained = explained(&found, &loaded.advice);
    let about = |line: u32| {
        let mut about = explained
            .iter()
            .filter(|it| it.at.as_ref().is_some_and(|at| at.line == line as _));
        about.next().map(ToString::to_string).unwrap_or_default()
    };
    assert!(
        about(1).ends_with("; write `compress migrate`"),
        "{}",
        about(1)
    );
    assert!(
        about(2).contains("insecure: nobody can tell"),
        "{}",
        about(2)
    );
    assert!(
        about(3).ends_with("; write `reneg-sec 3600`"),
        "{}",
        about(3)
    );
    assert!(
        about(4).ends_with("has no effect: tables size themselves; remove the line"),
        "{}",
        about(4)
    );
    assert_eq!(about(5), "");
    assert!(about(6).contains("; write `data-ciphers "), "{}", about(6));
}

#[test]
fn a_report_has_names_and_counts_and_nothing_else() {
    let files = Files::new();
    let text = "server 10.99.0.0 255.255.255.0\npush \"route 10.98.0.0\"\npush \"dhcp-option DOMAIN corp\"\n\
                setenv opt ringway-shards 2\nsetenv SECRET hunter2\nsuperlongsecret hunter2\nca /etc/corp/ca.crt\n\
                <key>\nhunter2\n</key>\n";
    files.write("t.conf", text);
    let words = ["--strict".to_owned(), "t.conf".to_owned()];
    assert_eq!(
        usage(&words, files.0.path()),
        "ca 1\nkey 1\npush 2\nringway-shards 1\nserver 1\nsetenv 1\n(unknown) 1\n"
    );
}
