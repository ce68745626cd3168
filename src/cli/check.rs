//! `ringway check server.conf`: all that is wrong, what would be served, and what this machine
//! offers.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::config::diagnostics::{Diagnostics, Severity};
use crate::config::settings::{Bind, DeviceName, Settings, WrappingSettings};
use crate::config::{self, Loaded};
use crate::reactor::{Feature, Report, probe};

/// Prints the report; succeeds when the server would start.
pub(super) fn check(words: &[String]) -> ExitCode {
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("no working directory: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (loaded, machine) = (config::load(words, &directory), probe());
    print!("{}", text(&loaded, &machine));
    match loaded.settings.is_some() && machine.is_sufficient() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn text(loaded: &Loaded, machine: &Report) -> String {
    let mut text = String::new();
    for diagnostic in loaded.diagnostics.iter() {
        let _ = writeln!(text, "{diagnostic}");
    }
    if loaded.diagnostics.iter().next().is_some() {
        text.push('\n');
    }
    let _ = writeln!(text, "Configuration: {}", summary(&loaded.diagnostics));
    if let Some(settings) = &loaded.settings {
        text.push_str(&served(settings));
    }
    let _ = writeln!(
        text,
        "\nMachine: {}",
        match machine.is_sufficient() {
            true => "has what is needed",
            false => "lacks what is needed",
        }
    );
    for feature in &machine.features {
        let _ = writeln!(text, "{}", feature_line(feature));
    }
    let verdict = match (loaded.settings.is_some(), machine.is_sufficient()) {
        (true, true) => "The server would start.",
        (false, _) => "The server would not start with this configuration.",
        (true, false) => "The server would not start on this machine, as this user.",
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

fn summary(diagnostics: &Diagnostics) -> String {
    let counts = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ];
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(severity, noun)| (diagnostics.count(severity), noun))
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }))
        .collect();
    match parts.is_empty() {
        true => "nothing to remark".to_owned(),
        false => parts.join(", "),
    }
}

fn served(settings: &Settings) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    for listener in &settings.listeners {
        let address = match listener.bind {
            Bind::DualStack => "all addresses, IPv4 and IPv6".to_owned(),
            Bind::V4(address) => address.to_string(),
            Bind::V6(address) => address.to_string(),
        };
        row(
            "listens",
            format!("UDP port {} of {address}", listener.port),
        );
    }
    let device = match &settings.device.name {
        DeviceName::Auto => "the next free tun device",
        DeviceName::Named(name) => name,
    };
    row("device", format!("{device}, MTU {}", settings.device.mtu));
    let networks = [
        settings.network.v4.map(|v4| v4.network.to_string()),
        settings.network.v6.map(|v6| v6.network.to_string()),
    ];
    let networks: Vec<String> = networks.into_iter().flatten().collect();
    let slots = settings.network.pool().slots.min(settings.max_clients);
    row(
        "network",
        format!(
            "{}, {slots} clients at the same time",
            networks.join(" and ")
        ),
    );
    row(
        "control",
        match &settings.wrapping {
            WrappingSettings::Plain => "TLS without a shared key".to_owned(),
            WrappingSettings::TlsAuth { digest, .. } => format!("tls-auth with {}", digest.name()),
            WrappingSettings::TlsCrypt { .. } => "tls-crypt".to_owned(),
        },
    );
    let ciphers: Vec<&str> = settings
        .ciphers
        .iter()
        .map(|cipher| cipher.name())
        .collect();
    row("ciphers", ciphers.join(", "));
    for option in &settings.push {
        row("pushes", option.clone());
    }
    text
}

fn feature_line(feature: &Feature) -> String {
    let state = match (feature.available, feature.required) {
        (true, _) => "yes",
        (false, true) => "MISSING",
        (false, false) => "no",
    };
    let reason = match (&feature.reason, feature.available) {
        (Some(reason), false) => format!(" ({reason})"),
        _ => String::new(),
    };
    format!(
        "  {state:<8} {:<26} {}{reason}",
        feature.name, feature.purpose
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(available: bool) -> Report {
        let feature = |name, required, available: bool| Feature {
            name,
            available,
            required,
            purpose: "what it is for",
            reason: (!available).then(|| "why it is not there".to_owned()),
        };
        Report {
            features: vec![
                feature("io_uring", true, available),
                feature("UDP_GRO", false, false),
                feature("AF_INET6", false, true),
            ],
        }
    }

    fn load(text: &str) -> Loaded {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("server.conf"), text).unwrap();
        config::load(&["server.conf".to_owned()], directory.path())
    }

    fn pki() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).unwrap().pem();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        format!("<ca>\n{authority}</ca>\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n")
    }

    #[test]
    fn a_server_that_would_start() {
        let lines = "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\n";
        let loaded = load(&format!(
            "{lines}server-ipv6 fd00::/64\ncipher AES-256-CBC\n{}",
            pki()
        ));
        insta::assert_snapshot!(text(&loaded, &machine(true)));
    }

    #[test]
    fn a_server_that_would_not_start() {
        let loaded = load("dev tap\nsever 10.8.0.0 255.255.255.0\nncp-ciphers AES-128-GCM\n");
        insta::assert_snapshot!(text(&loaded, &machine(true)));
    }

    #[test]
    fn a_machine_that_cannot_serve() {
        let lines = "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\n";
        let loaded = load(&format!("{lines}{}", pki()));
        let text = text(&loaded, &machine(false));
        assert!(
            text.starts_with("Configuration: nothing to remark\n"),
            "{text}"
        );
        assert!(text.contains("\nMachine: lacks what is needed\n"), "{text}");
        assert!(
            text.ends_with("\nThe server would not start on this machine, as this user.\n"),
            "{text}"
        );
    }
}
