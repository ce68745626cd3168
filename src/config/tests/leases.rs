//! `ifconfig-pool-persist`.

use std::time::Duration;

use super::Files;
use crate::config::Configuration;
use crate::config::settings::LeaseSettings;

const LINES: &str = "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\n\
                     ca ca.crt\ncert server.crt\nkey server.key\n";

/// The file and the seconds, or what is wrong.
fn leases(files: &Files, line: &str) -> Result<Option<(String, Option<Duration>)>, String> {
    let loaded = files.load_text(&format!("{LINES}{line}\n"));
    let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    match loaded.configuration {
        Some(Configuration::Server(settings)) => Ok(settings.leases.map(|leases| {
            let LeaseSettings { path, interval } = leases;
            (path.file_name().unwrap().display().to_string(), interval)
        })),
        _ => Err(remarks.join("\n")),
    }
}

#[test]
fn a_file_of_leases_and_when_it_is_written() {
    let files = Files::new();
    let found = |seconds: Option<u64>| {
        Ok(Some((
            "ipp.txt".to_owned(),
            seconds.map(Duration::from_secs),
        )))
    };
    assert_eq!(leases(&files, ""), Ok(None));
    for (line, seconds) in [
        ("ifconfig-pool-persist ipp.txt", Some(600)),
        ("ifconfig-pool-persist ipp.txt 30", Some(30)),
        ("ifconfig-pool-persist ipp.txt 0", None),
    ] {
        assert_eq!(leases(&files, line), found(seconds), "{line}");
    }
    assert_eq!(
        leases(&files, "ifconfig-pool-persist ipp.txt\nduplicate-cn"),
        Ok(None),
        "a name says nothing then"
    );
    for (line, error) in [
        ("ifconfig-pool-persist ipp.txt x", "is not a whole number"),
        (
            "ifconfig-pool-persist nowhere/ipp.txt",
            "nowhere/ipp.txt': No such file or directory",
        ),
    ] {
        let said = leases(&files, line).unwrap_err();
        assert!(said.contains(error), "{said}");
    }
}
