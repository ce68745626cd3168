//! `ringway check FILE`: all that is wrong with a server's or a client's configuration, what it
//! would do, and what this machine offers.

mod clients;
mod served;

use std::fmt::Write as _;
use std::process::ExitCode;

use nix::unistd::{Uid, getgroups};
use rustix::process::{Resource, getrlimit};

use super::login;
use super::run::fail;
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::config::modes::explained;
use crate::config::settings::ProcessSettings;
use crate::config::usage::usage;
use crate::config::{self, Loaded};
use crate::node::may_lock_any;
use crate::reactor::{Feature, Report, probe};
use crate::wire::Role;

/// Prints the report; succeeds when the server, or the client, would start.
pub(super) fn check(words: &[String]) -> ExitCode {
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("no working directory: {error}");
            return ExitCode::FAILURE;
        }
    };
    let loaded = config::load(words, &directory);
    let ((loaded, _), mut machine) = (login::unlocked(loaded, words, &directory), probe());
    if let Some(configuration) = &loaded.configuration {
        let needed = privileges(configuration.process(), &Present::read());
        require(&mut machine, &needed);
    }
    print!("{}", text(&loaded, &machine));
    match loaded.configuration.is_some() && machine.is_sufficient() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Prints which directives are used, and how often.
pub(super) fn report(words: &[String]) -> ExitCode {
    match std::env::current_dir() {
        Ok(directory) => {
            print!("{}", usage(words, &directory));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("no working directory: {error}")),
    }
}

/// Who this process is before it becomes someone else.
#[derive(Clone)]
struct Present {
    user: u32,
    groups: Vec<u32>,
    /// Whether it may lock any amount of memory.
    locks_any: bool,
    /// Whether it may do so beyond its limit, as long as it keeps its capabilities.
    locks_beyond: bool,
}

impl Present {
    fn read() -> Self {
        let groups = getgroups().unwrap_or_default();
        Self {
            user: Uid::effective().as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            locks_any: getrlimit(Resource::Memlock).maximum.is_none(),
            locks_beyond: may_lock_any(),
        }
    }
}

/// The capabilities without which a process can't become what it is to become.
fn privileges(process: &ProcessSettings, present: &Present) -> Vec<&'static str> {
    let user = process.user.as_ref().map(|user| user.id);
    let others = user.is_some_and(|user| user != present.user);
    let groups = match &process.group {
        Some(group) => present.groups.iter().any(|member| *member != group.id),
        // The group of that user, which is another one.
        None => others,
    };
    let needs = [
        ("CAP_SETUID", others),
        ("CAP_SETGID", groups),
        ("CAP_SYS_CHROOT", process.chroot.is_some()),
        (
            "CAP_SYS_RESOURCE",
            process.locks_memory
                && !present.locks_any
                && !(present.locks_beyond && process.keeps_privileges()),
        ),
    ];
    let needed = needs.into_iter().filter(|(_, needed)| *needed);
    needed.map(|(name, _)| name).collect()
}

/// Makes features that others can do without required ones.
fn require(machine: &mut Report, names: &[&str]) {
    for feature in &mut machine.features {
        feature.required |= names.contains(&feature.name);
    }
}

fn text(loaded: &Loaded, machine: &Report) -> String {
    let mut text = String::new();
    let found: Vec<Diagnostic> = loaded.diagnostics.iter().cloned().collect();
    let explained = explained(&found, &loaded.advice);
    for diagnostic in &explained {
        let _ = writeln!(text, "{diagnostic}");
    }
    if !explained.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "Configuration: {}", summary(&explained));
    if let Some(configuration) = &loaded.configuration {
        text.push_str(&served::served(configuration, machine));
        text.push_str(&clients::files(configuration));
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
    let who = match loaded.role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let verdict = match (loaded.configuration.is_some(), machine.is_sufficient()) {
        (true, true) => "would start.",
        (false, _) => "would not start with this configuration.",
        (true, false) => "would not start on this machine, as this user.",
    };
    let _ = writeln!(text, "\nThe {who} {verdict}");
    text
}

fn summary(explained: &[Diagnostic]) -> String {
    let count = |severity| {
        explained
            .iter()
            .filter(|it| it.severity == severity)
            .count()
    };
    let counts = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ];
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(severity, noun)| (count(severity), noun))
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }))
        .collect();
    match parts.is_empty() {
        true => "nothing to remark".to_owned(),
        false => parts.join(", "),
    }
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
pub(super) mod tests {
    use nix::unistd::{Gid, Group};

    use super::*;
    use crate::config::settings::Account;

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
                feature("SO_ATTACH_REUSEPORT_CBPF", false, true),
                feature("TUNSETSTEERINGEBPF", false, false),
            ],
        }
    }

    fn load(text: &str) -> Loaded {
        let directory = tempfile::tempdir().unwrap();
        load_in(directory.path(), text)
    }

    pub(super) fn load_in(directory: &std::path::Path, text: &str) -> Loaded {
        std::fs::write(directory.join("server.conf"), text).unwrap();
        let words = ["server.conf".to_owned()];
        crate::config::load_on(vec![0, 1, 2, 3, 8], &words, directory)
    }

    pub(super) fn pki() -> String {
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
    fn a_server_with_what_is_its_own() {
        let root = Group::from_gid(Gid::from_raw(0)).unwrap().unwrap().name;
        let lines = "dev tun7\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\n\
                     setenv opt ringway-cores 8,1-2\nsetenv opt ringway-shards 2\n\
                     ringway-control /run/r.sock\nclient-to-client\nconnect-freq 20 1\n\
                     connect-freq-initial 50 5\nuser nobody\nchroot /\n";
        let loaded = load(&format!("{lines}group {root}\n{}", pki()));
        insta::assert_snapshot!(text(&loaded, &machine(true)));
    }

    #[test]
    fn capabilities_for_what_the_process_becomes() {
        let account = |id| Account {
            name: "someone".to_owned(),
            id,
        };
        let process = |user: Option<u32>, group: Option<u32>, chroot: bool| ProcessSettings {
            user: user.map(account),
            group: group.map(account),
            chroot: chroot.then(|| "/".into()),
            ..ProcessSettings::default()
        };
        let present = Present {
            user: 5,
            groups: vec![7],
            locks_any: false,
            locks_beyond: false,
        };
        for (process, capabilities) in [
            (process(None, None, false), &[][..]),
            (process(Some(5), None, false), &[]),
            (process(Some(5), Some(7), false), &[]),
            (process(Some(6), None, false), &["CAP_SETUID", "CAP_SETGID"]),
            (process(Some(6), Some(7), false), &["CAP_SETUID"]),
            (process(None, Some(8), false), &["CAP_SETGID"]),
            (process(None, None, true), &["CAP_SYS_CHROOT"]),
        ] {
            assert_eq!(privileges(&process, &present), capabilities, "{process:?}");
        }
        let locking = ProcessSettings {
            locks_memory: true,
            ..ProcessSettings::default()
        };
        assert_eq!(privileges(&locking, &present), ["CAP_SYS_RESOURCE"]);
        let beyond = Present {
            locks_beyond: true,
            ..present.clone()
        };
        assert!(privileges(&locking, &beyond).is_empty());
        let confined = ProcessSettings {
            chroot: Some("/".into()),
            ..locking.clone()
        };
        let needs = ["CAP_SYS_CHROOT", "CAP_SYS_RESOURCE"];
        assert_eq!(privileges(&confined, &beyond), needs);
        let present = Present {
            locks_any: true,
            ..present
        };
        assert!(privileges(&locking, &present).is_empty());
    }

    #[test]
    fn what_a_configuration_needs_is_required() {
        let mut machine = machine(true);
        require(&mut machine, &["UDP_GRO", "AF_INET6"]);
        assert!(!machine.is_sufficient());
        let line = feature_line(machine.find("UDP_GRO").unwrap());
        assert!(line.starts_with("  MISSING  UDP_GRO "), "{line}");
        let probed = probe();
        for name in [
            "CAP_SETUID",
            "CAP_SETGID",
            "CAP_SYS_CHROOT",
            "CAP_SYS_RESOURCE",
        ] {
            assert!(probed.find(name).is_some(), "{name}");
        }
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
