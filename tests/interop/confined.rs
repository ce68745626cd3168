//! `user`, `group` and `chroot`: what is left of the process, and that it serves all the same.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6};
use crate::process::eventually;
use crate::server::{Implementation, READY, Server, ServerConfig, Site, shards};
use crate::traffic::transfer_both_ways;

/// A site whose server leaves files behind in a directory that is root's alone.
struct Confined {
    site: Site,
    pid_file: PathBuf,
    status: PathBuf,
}

impl Confined {
    fn new() -> Self {
        let site = Site::new(1);
        let [pid_file, status] =
            ["server.pid", "status"].map(|name| site.topology.directory().join(name));
        fs::set_permissions(site.topology.directory(), Permissions::from_mode(0o700)).unwrap();
        Self {
            site,
            pid_file,
            status,
        }
    }

    fn config(&self) -> ServerConfig {
        self.site
            .server_config()
            .line(format!("writepid {}", self.pid_file.display()))
            .line(format!("status {} 1", self.status.display()))
            .line("user nobody")
            .line("group nogroup")
    }

    fn server_process(&self) -> Pid {
        let text = fs::read_to_string(&self.pid_file).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    fn wait_for_status(&self, needle: &str) {
        eventually(&format!("{needle:?} in the status file"), || {
            let text = fs::read_to_string(&self.status).unwrap_or_default();
            (text.contains(needle) && text.ends_with("END\n")).then_some(())
        });
    }
}

/// The rows of `/proc/PID/task/*/status`, thread by thread.
fn threads_of(process: Pid) -> Vec<String> {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let tasks = fs::read_dir(tasks).unwrap().map(Result::unwrap);
    // A thread that has just ended is none.
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .collect()
}

fn assert_confined(process: Pid) {
    if Implementation::chosen() == Implementation::Ringway {
        let last = format!("shard-{}", shards() - 1);
        for name in ["log", "status", "signals", "shard-0", &last] {
            // A thread names itself some time after it began.
            let row = format!("Name:\t{name}\n");
            eventually(&format!("the thread {name}"), || {
                let mut threads = threads_of(process).into_iter();
                threads.find(|it| it.starts_with(&row))
            });
        }
    }
    let threads = threads_of(process);
    let (groups, none) = (["", "65534"], "0000000000000000");
    for status in threads {
        let row = |key: &str| {
            let prefix = format!("{key}:");
            let row = status.lines().find_map(|line| line.strip_prefix(&prefix));
            let words: Vec<&str> = row.unwrap().split_whitespace().collect();
            words.join(" ")
        };
        let name = row("Name");
        assert_eq!(row("Uid"), "65534 65534 65534 65534", "{name}");
        assert_eq!(row("Gid"), "65534 65534 65534 65534", "{name}");
        assert!(groups.contains(&row("Groups").as_str()), "{name}");
        assert_eq!(row("CapInh"), none, "{name}");
        assert_eq!(row("CapAmb"), none, "{name}");
        // The stock daemon keeps CAP_NET_ADMIN.
        if Implementation::chosen() == Implementation::Ringway {
            assert_eq!(row("CapPrm"), none, "{name}");
            assert_eq!(row("CapEff"), none, "{name}");
            assert_eq!(row("NoNewPrivs"), "1", "{name}");
        }
    }
}

fn root_of(process: Pid) -> PathBuf {
    fs::read_link(format!("/proc/{}/root", process.as_raw_nonzero())).unwrap()
}

#[test]
fn nobody_serves_with_nothing_left() {
    let confined = Confined::new();
    let site = &confined.site;
    let mut server = Server::start(site, &confined.config());
    for line in [
        "UID set to nobody",
        "GID set to nogroup",
        "Capabilities retained: ",
    ] {
        server.process.wait_for(line);
    }
    let process = confined.server_process();
    assert_confined(process);
    assert_eq!(root_of(process), Path::new("/"));

    let client = Client::connect(site, &ClientConfig::new(site, 0, "alice"));
    client.assert_reaches_all(site);
    for target in [LAN_V4, LAN_V6] {
        transfer_both_ways(client.namespace(site), &site.topology.lan, target);
    }
    confined.wait_for_status("alice,");
    assert_eq!(fs::metadata(&confined.status).unwrap().uid(), 0);
    // Nothing that it did since has brought anything back.
    assert_confined(process);

    assert_eq!(server.stop().code(), Some(0));
    server
        .process
        .wait_for("SIGTERM[hard,] received, process exiting");
    let links = site.topology.server.ip(&["link", "show"]);
    assert!(!links.contains("tun0"), "{links}");
    // As the stock daemon leaves it, which may not remove it either.
    assert_eq!(confined.server_process(), process);
}

/// In the background, in a root directory with nothing in it: no `/dev/null`, no `/etc/localtime`,
/// no `/proc`.
#[test]
fn daemon_serves_from_an_empty_root_directory() {
    let confined = Confined::new();
    let site = &confined.site;
    let [root, log] = ["root", "server.log"].map(|name| site.topology.directory().join(name));
    fs::create_dir(&root).unwrap();
    if Implementation::chosen() == Implementation::Stock {
        // Which wants a directory for the files of scripts.
        fs::create_dir(root.join("tmp")).unwrap();
    }
    let config = confined
        .config()
        .line(format!("chroot {}", root.display()))
        .line(format!("log {}", log.display()))
        .line("daemon");
    let path = site.topology.write("server.conf", config.text());
    let mut parent = Server::spawn(site, &["--config", &path.display().to_string()]);
    assert_eq!(parent.process.wait_exit().code(), Some(0));
    let said = |needle: &str| {
        let text = fs::read_to_string(&log).unwrap();
        text.contains(needle).then_some(())
    };
    eventually("the start of the daemon", || said(READY));
    let daemon = Daemon(confined.server_process());
    said(&format!(
        "chroot to '{}' and cd to '/' succeeded",
        root.display()
    ))
    .unwrap();
    assert_confined(daemon.0);
    assert_eq!(root_of(daemon.0), root);

    let client = Client::connect(site, &ClientConfig::new(site, 0, "alice"));
    client.assert_reaches_all(site);
    confined.wait_for_status("alice,");
    kill_process(daemon.0, Signal::TERM).unwrap();
    eventually("the daemon's end", || {
        test_kill_process(daemon.0).is_err().then_some(())
    });
    said("SIGTERM[hard,] received, process exiting").unwrap();
}

/// Who may not do it says what it lacks, and does not serve as somebody else than was asked for.
#[test]
fn server_that_cannot_become_nobody_does_not_start() {
    if !Implementation::is_ringway("the words of a refused change of user") {
        return;
    }
    let confined = Confined::new();
    let path = confined
        .site
        .topology
        .write("server.conf", confined.config().text());
    let arguments = ["--config".to_owned(), path.display().to_string()];
    let mut server = Server::spawn_without(&confined.site, "setuid,setgid", &arguments);
    assert_eq!(server.process.wait_exit().code(), Some(1));
    let said = server.process.wait_for("lacks CAP_SETGID");
    assert!(said.contains("group nogroup"), "{said}");
    assert_eq!(server.process.count(READY), 0);
    assert!(!confined.pid_file.exists());
}

/// A daemon that ends with the test.
struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = kill_process(self.0, Signal::KILL);
    }
}

/// It is asked for while the process may, and stays when it is somebody else.
#[test]
fn a_priority_that_stays() {
    let Confined { site, .. } = &Confined::new();
    let config = site.server_config().line("nice 5").line("user nobody");
    let server = Server::start(site, &config);
    let client = Client::connect(site, &ClientConfig::new(site, 0, "alice"));
    client.assert_reaches_all(site);
    let stat = server.process.told_by_kernel("stat");
    let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16);
    assert_eq!(nice, Some("5"));
}
