//! The plug-in host with plug-ins that are built here, in C and against the interface's own header:
//! what they are told, what they give back, and what becomes of the host when one crashes, ends or
//! never returns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crossbeam::channel::{self, Receiver};
use ringway::node::plugins::{
    Answer, FirstCall, Hook, Level, NoAnswer, Notice, Opening, Outcome, Plugin, PluginError,
    PluginHost, Question,
};
use tempfile::TempDir;

/// A directory with a plug-in that was built for one version of the interface.
struct Built {
    directory: TempDir,
}

impl Built {
    fn new(interface: u32) -> Self {
        Self::that_needs(interface, 3)
    }

    /// One that says that it needs a host of this version of the interface.
    fn that_needs(interface: u32, needed: u32) -> Self {
        let directory = TempDir::new().unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins");
        let status = Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-Wall",
                "-Werror",
                "-Wno-unused-function",
            ])
            .arg(format!("-DINTERFACE={interface}"))
            .arg(format!("-DNEEDED={needed}"))
            .args(["-I/usr/include/openvpn", "-I"])
            .arg(sources.join("include"))
            .arg("-o")
            .arg(directory.path().join("probe.so"))
            .arg(sources.join("probe.c"))
            .status();
        assert!(status.unwrap().success());
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("probe.so")
    }

    /// Where the plug-in says that it was closed.
    fn closed(&self) -> PathBuf {
        self.directory.path().join("closed")
    }

    /// A host with this plug-in, told to do so when it is opened, and what there is to tell of it.
    fn start(&self, what: &str) -> (Result<PluginHost, PluginError>, Receiver<Notice>) {
        start(&[self.plugin(what)])
    }

    fn plugin(&self, what: &str) -> Plugin {
        Plugin {
            path: self.path(),
            name: "probe.so".to_owned(),
            arguments: vec![what.to_owned(), self.closed().display().to_string()],
        }
    }
}

fn start(plugins: &[Plugin]) -> (Result<PluginHost, PluginError>, Receiver<Notice>) {
    start_calling(plugins, Vec::new())
}

fn start_calling(
    plugins: &[Plugin],
    first: Vec<FirstCall>,
) -> (Result<PluginHost, PluginError>, Receiver<Notice>) {
    let (sender, notices) = channel::unbounded();
    let opening = Opening {
        first,
        plugins: plugins.to_vec(),
        environment: vec!["verb=4".to_owned()],
        confinement: Vec::new(),
    };
    let program = Path::new(env!("CARGO_BIN_EXE_ringway-plugin-host"));
    let mut tell = move |notice| {
        let _test_is_over = sender.send(notice);
    };
    let host = PluginHost::start(program, opening, &mut tell);
    let host = host.map(|mut host| {
        host.listen(tell).unwrap();
        host
    });
    (host, notices)
}

/// Asks for a login with this password, and waits for the answer.
fn log_in(host: &PluginHost, password: &str) -> Answer {
    ask(host, Hook::AuthUserPassVerify, password, 60)
}

fn ask(host: &PluginHost, hook: Hook, password: &str, limit: u32) -> Answer {
    asked(host, hook, password, limit)
        .recv_timeout(LIMIT)
        .unwrap()
}

fn asked(host: &PluginHost, hook: Hook, password: &str, limit: u32) -> Receiver<Answer> {
    let (sender, answer) = channel::bounded(1);
    let question = Question {
        hook,
        client: Some(5),
        arguments: vec!["file".to_owned()],
        environment: ["username=anna".to_owned(), format!("password={password}")].to_vec(),
        limit,
    };
    host.ask(question, move |answer| sender.send(answer).unwrap());
    answer
}

/// Waits for the notice that this picks.
fn wait_for<T>(notices: &Receiver<Notice>, pick: impl Fn(&Notice) -> Option<T>) -> T {
    loop {
        let notice = notices.recv_timeout(LIMIT).unwrap();
        if let Some(picked) = pick(&notice) {
            return picked;
        }
    }
}

fn died(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Died { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

#[test]
fn each_version_of_the_interface_is_asked() {
    for interface in 1..=3 {
        let built = Built::new(interface);
        let (host, notices) = built.start("nothing");
        let host = host.unwrap();
        assert!(host.wants(Hook::AuthUserPassVerify));
        assert!(!host.wants(Hook::TlsVerify));
        assert_eq!(log_in(&host, "sesame"), Ok((Outcome::Success, vec![])));
        assert_eq!(log_in(&host, "wrong"), Ok((Outcome::Error, vec![])));
        assert_eq!(log_in(&host, "later"), Ok((Outcome::Deferred, vec![])));
        // Whom nobody wants to hear says nothing against it.
        assert_eq!(
            ask(&host, Hook::TlsVerify, "", 60),
            Ok((Outcome::Success, vec![]))
        );
        if interface > 1 {
            // The context is the same one each time.
            for count in 1..=2 {
                let seen = format!("nothing file anna {count}");
                let returned = vec![("config".to_owned(), seen)];
                let answer = ask(&host, Hook::ClientConnectV2, "", 60);
                assert_eq!(answer, Ok((Outcome::Success, returned)));
            }
            host.forget(5);
            let answer = ask(&host, Hook::ClientConnectV2, "", 60);
            let seen = "nothing file anna 1".to_owned();
            assert_eq!(
                answer,
                Ok((Outcome::Success, vec![("config".to_owned(), seen)]))
            );
        }
        let lines = notices.try_iter().filter_map(|notice| match notice {
            Notice::Said { text, .. } => Some(text),
            _ => None,
        });
        let lines: Vec<String> = lines.collect();
        let opened = format!(
            "PLUGIN_INIT: POST probe.so '[probe.so] [nothing] [{}]' intercepted={}",
            built.closed().display(),
            "PLUGIN_AUTH_USER_PASS_VERIFY|PLUGIN_CLIENT_CONNECT_V2 "
        );
        assert!(lines.contains(&opened), "{lines:?}");
        let refused = "PLUGIN_CALL: plugin function PLUGIN_AUTH_USER_PASS_VERIFY failed with status \
                       1: probe.so";
        assert!(lines.iter().any(|line| line == refused), "{lines:?}");
        if interface == 3 {
            let told = "PLUGIN probe: cmluZ3dheQ== 12 7 ringway -1 4 2.6.14 5";
            assert!(lines.iter().any(|line| line == told), "{lines:?}");
        }
        drop(host);
        let closed = std::fs::read_to_string(built.closed()).unwrap();
        assert_eq!(closed, "closed with 0 clients\n");
    }
}

#[test]
fn a_host_that_dies_is_told_and_started_again() {
    let built = Built::new(3);
    let (host, notices) = built.start("nothing");
    let host = host.unwrap();
    for (password, limit, words) in [
        ("crash", 60, "it was ended by signal 6"),
        ("leave", 60, "it ended with code 0"),
        ("hang", 1, "a plug-in did not return within 1 seconds"),
    ] {
        let first = asked(&host, Hook::AuthUserPassVerify, password, limit);
        // Whoever waits behind it hears the same.
        let behind = asked(&host, Hook::AuthUserPassVerify, "sesame", 60);
        for answer in [first, behind] {
            assert_eq!(answer.recv_timeout(LIMIT), Ok(Err(NoAnswer::Down)));
        }
        assert_eq!(wait_for(&notices, died), words);
        assert_eq!(log_in(&host, "sesame"), Err(NoAnswer::Down));
        wait_for(&notices, |notice| (*notice == Notice::Back).then_some(()));
        assert_eq!(log_in(&host, "sesame"), Ok((Outcome::Success, vec![])));
    }
}

#[test]
fn a_question_is_taken_back() {
    let built = Built::new(3);
    let (host, notices) = built.start("nothing");
    let host = host.unwrap();
    let hanging = asked(&host, Hook::AuthUserPassVerify, "hang", 2);
    let (sender, answer) = channel::bounded(1);
    let question = Question {
        hook: Hook::AuthUserPassVerify,
        client: None,
        arguments: Vec::new(),
        environment: Vec::new(),
        limit: 60,
    };
    let number = host.ask(question, move |answer| sender.send(answer).unwrap());
    host.take_back(number);
    assert!(
        answer.recv_timeout(LIMIT).is_err(),
        "nobody is there to be told"
    );
    assert_eq!(hanging.recv_timeout(LIMIT), Ok(Err(NoAnswer::Down)));
    wait_for(&notices, died);
}

#[test]
fn an_environment_without_end_is_refused() {
    let built = Built::new(3);
    let (host, _notices) = built.start("nothing");
    let host = host.unwrap();
    assert_eq!(log_in(&host, &"x".repeat(1 << 20)), Err(NoAnswer::TooLong));
    assert_eq!(log_in(&host, "sesame"), Ok((Outcome::Success, vec![])));
}

#[test]
fn two_that_defer_one_login_are_refused() {
    let built = Built::new(2);
    let (host, notices) = start(&[built.plugin("one"), built.plugin("two")]);
    let host = host.unwrap();
    assert_eq!(log_in(&host, "sesame"), Ok((Outcome::Success, vec![])));
    assert_eq!(log_in(&host, "later"), Ok((Outcome::Error, vec![])));
    wait_for(&notices, |notice| match notice {
        Notice::Said {
            level: Level::Error,
            text,
        } => text.contains("only one plug-in may defer").then_some(()),
        _ => None,
    });
}

#[test]
fn what_is_wrong_with_a_plug_in_is_told() {
    let built = Built::new(3);
    let refusal = |what: &str| built.start(what).0.unwrap_err().to_string();
    assert_eq!(
        refusal("refuse"),
        "PLUGIN_INIT: plugin initialization function failed: probe.so"
    );
    assert_eq!(
        refusal("crash"),
        "the plug-in host ended while it opened its plug-ins: it was ended by signal 6"
    );
    let future = Built::that_needs(3, 4).start("nothing").0.unwrap_err();
    let words =
        "plugin needs interface version 4, but this version of ringway only supports version 3";
    assert!(future.to_string().contains(words), "{future}");
    let absent = Plugin {
        path: built.directory.path().join("absent.so"),
        name: "absent.so".to_owned(),
        arguments: Vec::new(),
    };
    let absent = start(&[absent]).0.unwrap_err().to_string();
    assert!(absent.contains("absent.so"), "{absent}");
    assert!(
        absent.contains("could not load plugin shared object"),
        "{absent}"
    );
    // A shared object that is no plug-in.
    let object = Plugin {
        path: "libc.so.6".into(),
        name: "libc.so.6".to_owned(),
        arguments: Vec::new(),
    };
    let other = start(&[object]).0.unwrap_err().to_string();
    assert!(
        other.contains("symbol openvpn_plugin_close_v1 is undefined"),
        "{other}"
    );
}

/// The plug-in says no, since nobody has given a password.
#[test]
fn what_is_called_first_is_called_again_by_a_host_that_is_back() {
    let built = Built::new(3);
    let first = |needed: Option<&str>| FirstCall {
        hook: Hook::AuthUserPassVerify,
        arguments: Vec::new(),
        limit: 60,
        needed: needed.map(str::to_owned),
    };
    let plugins = [built.plugin("nothing")];
    let (refused, _) = start_calling(&plugins, vec![first(Some("no device"))]);
    assert_eq!(refused.unwrap_err().to_string(), "no device");
    let (host, notices) = start_calling(&plugins, vec![first(None)]);
    let host = host.unwrap();
    let line = |notice: &Notice| match notice {
        Notice::Said { text, .. } => text.contains("VERIFY failed with status 1").then_some(()),
        _ => None,
    };
    wait_for(&notices, line);
    assert_eq!(log_in(&host, "crash"), Err(NoAnswer::Down));
    wait_for(&notices, line);
}

#[test]
fn nobody_starts_it_by_hand() {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway-plugin-host"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("ringway starts this program by itself"),
        "{said}"
    );
}

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(60);
