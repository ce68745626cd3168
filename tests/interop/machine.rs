//! What the machine does not give: the server says so and ends, in the foreground and as a daemon.

use std::process::Output;
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::process::command_in;
use crate::server::{Implementation, PORT, READY, RINGWAY, Server, Site};

fn output(site: &Site, arguments: &[&str]) -> Output {
    command_in(site.topology.server.name(), RINGWAY, arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A daemon that does not get its port: whoever started it learns it from the exit code and reads
/// the reason; the log has it too, and the pid file stays that of the server which has the port.
#[test]
fn daemon_without_its_port_fails_where_it_was_started() {
    if !Implementation::is_ringway("a daemon's failure at its start") {
        return;
    }
    let site = Site::new(1);
    let [pid, log] = ["server.pid", "second.log"].map(|name| site.topology.directory().join(name));
    let first = site
        .server_config()
        .line(format!("writepid {}", pid.display()));
    let _first = Server::start(&site, &first);
    let pid_of_first = std::fs::read_to_string(&pid).unwrap();

    let second = first
        .without("server")
        .without("server-ipv6")
        .line("server 10.9.0.0 255.255.255.0")
        .line(format!("log {}", log.display()))
        .line("daemon");
    let path = site.topology.write("second.conf", second.text());
    let second = output(&site, &["--config", &path.display().to_string()]);
    assert_eq!(second.status.code(), Some(1));
    let reason = format!("cannot bind UDP [::]:{PORT}: Address already in use");
    assert!(
        text(&second.stderr).contains(&reason),
        "{}",
        text(&second.stderr)
    );
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(&reason), "{log}");
    assert!(!log.contains(READY), "{log}");
    assert_eq!(std::fs::read_to_string(&pid).unwrap(), pid_of_first);
}

/// Runs `test` where `io_uring_setup` fails with `EPERM`, as container engines have it. The filter
/// is this thread's and that of the programs which it starts.
fn with_io_uring_forbidden(test: impl FnOnce() + Send + 'static) {
    let restricted = thread::spawn(|| {
        let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let refused = [(libc::SYS_io_uring_setup, vec![])].into();
        let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(refused, SeccompAction::Allow, refusal, architecture);
        let program: BpfProgram = filter.unwrap().try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        test();
    });
    if let Err(panic) = restricted.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn forbidden_io_uring_is_said_with_what_forbids_it() {
    if !Implementation::is_ringway("io_uring forbidden") {
        return;
    }
    with_io_uring_forbidden(|| {
        let site = Site::new(1);
        let path = site
            .topology
            .write("server.conf", site.server_config().text())
            .display()
            .to_string();
        for words in [&["check", &path][..], &["--config", &path]] {
            let refused = output(&site, words);
            assert_eq!(refused.status.code(), Some(1), "{words:?}");
            let said = text(&refused.stdout) + &text(&refused.stderr);
            for part in ["io_uring", "seccomp", "container/seccomp.json"] {
                assert!(said.contains(part), "{words:?} without {part:?}: {said}");
            }
            assert!(!said.contains(READY), "{said}");
        }
    });
}
