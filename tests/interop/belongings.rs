//! What a process asks of the machine and leaves there: locked memory, the modes of its files, signals.

use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Resource, Signal, getrlimit};

use crate::client::{Client, ClientConfig};
use crate::outgoing::connect;
use crate::process::eventually;
use crate::server::{Implementation, READY, RINGWAY, Server, Site};

/// `mlock` with a user who may lock nothing: what the process has, and what it takes later.
#[test]
fn memory_is_locked_before_the_privileges_go() {
    if getrlimit(Resource::Memlock).maximum.is_some() {
        println!(
            "memory_is_locked: locked memory has a limit here, which a container cannot raise"
        );
        return;
    }
    let site = Site::new(1);
    let config = site.server_config().line("mlock").line("user nobody");
    let server = Server::start(&site, &config);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    let status = server.process.told_by_kernel("status");
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.unwrap().parse().unwrap();
    assert!(kilobytes > 1000, "{status}");
    server.process.wait_for("mlockall call succeeded");
}

#[test]
fn a_limit_on_locked_memory_that_stays_is_named() {
    if !Implementation::is_ringway("a_limit_on_locked_memory") {
        return;
    }
    let site = Site::new(1);
    let config = site.server_config().line("mlock");
    let path = site.topology.write("server.conf", config.text());
    let words = ["--config".to_owned(), path.display().to_string()];
    let limited = format!(
        "ulimit -l 8192; exec setpriv --bounding-set -sys_resource,-ipc_lock {RINGWAY} {}",
        words.join(" ")
    );
    let namespace = site.topology.server.name();
    let mut server =
        crate::process::Process::spawn("the server", namespace, "sh", &["-c", &limited]);
    assert_eq!(server.wait_exit().code(), Some(1));
    let said = server.wait_for("`mlock` needs leave to lock any amount of memory");
    assert!(said.contains("the limit is 8388608 bytes"), "{said}");
    let checked = limited.replace("--config", "check --config");
    let mut check = crate::process::Process::spawn("check", namespace, "sh", &["-c", &checked]);
    assert_eq!(check.wait_exit().code(), Some(1));
    check.wait_for("MISSING  CAP_SYS_RESOURCE");
}

/// CAP_IPC_LOCK is enough without the right to raise the limit, for who keeps it.
#[test]
fn memory_is_locked_by_the_capability_alone() {
    if !Implementation::is_ringway("memory_is_locked_by_the_capability") {
        return;
    }
    let site = Site::new(1);
    let config = site.server_config().line("mlock");
    let path = site.topology.write("server.conf", config.text());
    let confined = site
        .topology
        .write("confined.conf", config.line("user nobody").text());
    let limited = |words: &str| {
        format!("ulimit -l 8192; exec setpriv --bounding-set -sys_resource {RINGWAY} {words}")
    };
    let namespace = site.topology.server.name();
    let spawn = |words: &str| {
        crate::process::Process::spawn("the server", namespace, "sh", &["-c", &limited(words)])
    };
    let path = path.display();
    let mut check = spawn(&format!("check --config {path}"));
    check.wait_exit();
    assert_eq!(check.count("MISSING  CAP_SYS_RESOURCE"), 0);
    let server = spawn(&format!("--config {path}"));
    server.wait_for(READY);
    assert_eq!(server.count("mlockall call succeeded"), 1);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    drop(server);
    // It would give the capability up.
    let mut server = spawn(&format!("--config {}", confined.display()));
    server.wait_for("CAP_IPC_LOCK alone is enough without `user`");
    assert_eq!(server.wait_exit().code(), Some(1));
}

/// Whatever the process may make by its umask: files with something to read are the owner's alone.
#[test]
fn files_have_the_modes_that_the_stock_daemon_gives_them() {
    let site = Site::new(1);
    let at = |name: &str| site.topology.directory().join(name).display().to_string();
    let config = site
        .server_config()
        .line(format!("writepid {}", at("pid")))
        .line(format!("log {}", at("log")))
        .line(format!("status {} 1", at("status")))
        .line(format!("ifconfig-pool-persist {} 1", at("ipp.txt")));
    let path = site.topology.write("server.conf", config.text());
    for (umask, pid) in [("000", 0o666), ("022", 0o644), ("077", 0o600)] {
        for name in ["pid", "log", "status", "ipp.txt"] {
            let _was_not_there = std::fs::remove_file(at(name));
        }
        for program in ["openvpn", RINGWAY] {
            let command = format!("umask {umask}; exec {program} --config {}", path.display());
            let namespace = site.topology.server.name();
            let mut server =
                crate::process::Process::spawn("the server", namespace, "sh", &["-c", &command]);
            eventually("the server's log", || {
                let said = std::fs::read_to_string(at("log")).unwrap_or_default();
                said.contains(READY).then_some(())
            });
            eventually("the files", || {
                let there = |name| std::fs::metadata(at(name)).is_ok();
                ["status", "ipp.txt", "pid"]
                    .into_iter()
                    .all(there)
                    .then_some(())
            });
            let mode = |name| std::fs::metadata(at(name)).unwrap().mode() & 0o777;
            let modes = ["pid", "log", "status", "ipp.txt"].map(mode);
            assert_eq!(modes, [pid, 0o600, 0o600, 0o600], "{program}, {umask}");
            server.signal(Signal::TERM);
            server.wait_exit();
            for name in ["pid", "log", "status", "ipp.txt"] {
                let _was_not_there = std::fs::remove_file(at(name));
            }
        }
    }
}

#[test]
fn sigusr1_is_taken_for_another_signal() {
    let site = Site::new(1);
    let config = site.server_config().line("remap-usr1 SIGTERM");
    // 2.6.14 is asked, too: it ends.
    let mut server = Server::start(&site, &config);
    server.process.signal(Signal::USR1);
    assert_eq!(server.process.wait_exit().code(), Some(0));
    drop(server);

    let mut server = Server::start(&site, &site.server_config());
    let client = ClientConfig::new(&site, 0, "alice")
        .line("remap-usr1 SIGTERM")
        .line("keepalive 1 5");
    let mut client = connect(&site, &client);
    server.process.signal(Signal::KILL);
    server.process.wait_exit();
    client
        .process
        .wait_for("SIGTERM[soft,ping-restart] received, process exiting");
    assert_eq!(client.process.wait_exit().code(), Some(0));
}
