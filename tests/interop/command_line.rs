//! The server's own command line: forms of starting it, quickstart, check, and refusals.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringway::node::logins::PasswordFile;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::client::{Client, ClientConfig};
use crate::network::server_v4;
use crate::pki::Kind;
use crate::process::{Process, command_in, eventually};
use crate::server::{Implementation, PORT, READY, RINGWAY, Server, Site};
use crate::traffic::ping;

/// What a command printed (both streams) and its exit code.
struct Outcome {
    code: Option<i32>,
    text: String,
}

/// Runs a command in the server's namespace to its end.
fn outcome(site: &Site, program: &str, arguments: &[&str]) -> Outcome {
    let output = command_in(site.topology.server.name(), program, arguments)
        .output()
        .unwrap();
    let [text, error] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    Outcome {
        code: output.status.code(),
        text: text + &error,
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn configuration_file_as_the_only_word() {
    let site = Site::new(1);
    let path = site
        .topology
        .write("server.conf", site.server_config().text());
    let _server = Server::start_with(&site, &[&display(&path)]);
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
}

#[test]
fn directives_before_and_after_the_configuration_file() {
    let site = Site::new(1);
    let config = site.server_config().without("port").without("keepalive");
    let path = site.topology.write("server.conf", config.text());
    let words = [
        "--port",
        "4711",
        "--config",
        &display(&path),
        "--keepalive",
        "3",
        "9",
    ];
    let _server = Server::start_with(&site, &words);
    let config = ClientConfig::new(&site, 0, "alice").remote(server_v4(0), 4711);
    let client = Client::connect(&site, &config);
    client.process.wait_for("ping 3,ping-restart 9");
    client.assert_reaches_all(&site);
}

/// The directory of `cd`, relative paths, a file included by another, comments and quotes.
#[test]
fn configuration_in_pieces() {
    let site = Site::new(1);
    let text = site
        .server_config()
        .text()
        .replace(&display(site.topology.directory()), ".");
    site.topology.write("rest.conf", text);
    let path = site.topology.write(
        "server.conf",
        "# the whole of it stands elsewhere\r\nconfig \"rest.conf\" ; a comment\r\n\
         push 'dhcp-option DOMAIN \"quoted\"' # another\r\n",
    );
    let directory = display(site.topology.directory());
    let words = ["--cd", &directory, "--config", &display(&path)];
    let _server = Server::start_with(&site, &words);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.process.wait_for("dhcp-option DOMAIN \"quoted\"");
    client.assert_reaches_all(&site);
}

#[test]
fn everything_inline() {
    let site = Site::new(1);
    let identity = site.authority.server("vpn-server", Kind::Ec);
    let config = site
        .server_config()
        .without("ca")
        .without("cert")
        .without("key")
        .block("ca", &site.authority.pem())
        .block("cert", &identity.certificate)
        .block("key", &identity.key);
    let _server = Server::start(&site, &config);
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
}

/// A program that left its parent; known by its pid file alone.
pub(crate) struct Daemon(Pid);

impl Daemon {
    pub(crate) fn from_pid_file(path: &Path) -> Self {
        Self(eventually("the pid file", || {
            Pid::from_raw(std::fs::read_to_string(path).ok()?.trim().parse().ok()?)
        }))
    }

    pub(crate) fn wait_gone(&self) {
        eventually("the daemon's end", || {
            test_kill_process(self.0).is_err().then_some(())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn daemon_with_pid_file_log_and_status() {
    let site = Site::new(1);
    let [pid, log, status] =
        ["server.pid", "server.log", "status"].map(|name| site.topology.directory().join(name));
    std::fs::write(&log, "what was there before\n").unwrap();
    let config = site
        .server_config()
        .line(format!("writepid {}", pid.display()))
        .line(format!("log-append {}", log.display()))
        .line(format!("status {} 1", status.display()))
        .line("daemon");
    let path = site.topology.write("server.conf", config.text());
    let mut parent = Server::spawn(&site, &["--config", &display(&path)]);
    assert_eq!(
        parent.process.wait_exit().code(),
        Some(0),
        "the parent's exit code"
    );
    let daemon = Daemon::from_pid_file(&pid);
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    eventually("the log file", || read(&log).contains(READY).then_some(()));
    assert!(read(&log).starts_with("what was there before\n"));

    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    let text = eventually("the client in the status file", || {
        Some(read(&status)).filter(|text| text.contains("alice"))
    });
    assert!(text.contains("10.8.0.2,alice,"), "{text}");

    kill_process(daemon.0, Signal::TERM).unwrap();
    daemon.wait_gone();
    assert!(read(&log).contains("SIGTERM[hard,] received, process exiting"));
}

/// A configuration that cannot be served: exit code 1, and the log says file, line and what.
#[test]
fn configuration_errors_name_file_and_line() {
    let site = Site::new(1);
    let lines = site.server_config().text().lines().count();
    // (line, what the message names, whether the stock daemon refuses it too)
    for (line, word, stock) in [
        ("no-such-directive 1", "no-such-directive", true),
        ("port", "port", true),
        ("push one two", "push", true),
        ("tls-version-min 7.0", "tls-version-min", false),
        (
            "client-nat snat 10.0.0.0 255.0.0.0 1.2.3.0",
            "client-nat",
            false,
        ),
        ("secret static.key", "secret", false),
        ("data-ciphers AES-256-CBX", "AES-256-CBX", false),
        ("keepalive ten 60", "keepalive", false),
    ] {
        if !stock && !Implementation::is_ringway(line) {
            continue;
        }
        let config = site.server_config().line(line);
        let path = site.topology.write("wrong.conf", config.text());
        let mut server = Server::spawn(&site, &["--config", &display(&path)]);
        assert_eq!(server.process.wait_exit().code(), Some(1), "{line:?}");
        let log = server.process.lines().join("\n");
        let place = format!("wrong.conf:{}", lines + 1);
        assert!(
            log.contains(&place) && log.contains(word),
            "{line:?} at {place}: {log}"
        );
        assert_eq!(server.process.count(READY), 0);
    }
}

#[test]
fn missing_key_file_is_named() {
    let site = Site::new(1);
    let config = site.server_config().without("key").line("key nowhere.key");
    let path = site.topology.write("wrong.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &display(&path)]);
    assert_eq!(server.process.wait_exit().code(), Some(1));
    server.process.wait_for("nowhere.key");
}

#[test]
fn port_in_use_is_an_error() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config());
    let config = site
        .server_config()
        .without("server")
        .line("server 10.9.0.0 255.255.255.0");
    let path = site.topology.write("second.conf", config.text());
    let mut second = Server::spawn(&site, &["--config", &display(&path)]);
    assert_eq!(second.process.wait_exit().code(), Some(1));
    assert_eq!(second.process.count(READY), 0);
}

/// `ringway check` lists every problem of a file at once, a line each.
#[test]
fn check_lists_every_problem() {
    if !Implementation::is_ringway("check") {
        return;
    }
    let site = Site::new(1);
    let path = site
        .topology
        .write("server.conf", site.server_config().text());
    let good = outcome(&site, RINGWAY, &["check", &display(&path)]);
    assert_eq!(good.code, Some(0), "{}", good.text);
    assert!(
        good.text.contains("io_uring"),
        "what the machine offers: {}",
        good.text
    );

    let lines = site.server_config().text().lines().count();
    let config = site
        .server_config()
        .line("no-such-directive")
        .line("link-mtu 1400")
        .line("max-clients many");
    let path = site.topology.write("wrong.conf", config.text());
    let wrong = outcome(&site, RINGWAY, &["check", &display(&path)]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.text);
    for (offset, word) in ["no-such-directive", "link-mtu", "max-clients"]
        .iter()
        .enumerate()
    {
        let place = format!("wrong.conf:{}", lines + 1 + offset);
        let found = wrong
            .text
            .lines()
            .any(|line| line.contains(&place) && line.contains(word));
        assert!(found, "no line with {place} and {word}: {}", wrong.text);
    }
}

#[test]
fn a_client_is_checked_and_asks_on_a_terminal_alone() {
    if !Implementation::is_ringway("check") {
        return;
    }
    let site = Site::new(1);
    let ca = site.authority.pem();
    let text = "client\ndev tun\nremote 192.0.2.1\nremote-cert-tls server\nauth-user-pass\n";
    let path = site
        .topology
        .write("client.ovpn", format!("{text}<ca>\n{ca}\n</ca>\n"));
    let checked = outcome(&site, RINGWAY, &["check", &display(&path)]);
    let shows = "a name and a password, which are asked for at the start";
    assert!(checked.text.contains(shows), "{}", checked.text);
    let verdict = "\nThe client would start.\n";
    assert!(checked.text.ends_with(verdict), "{}", checked.text);
    assert_eq!(checked.code, Some(0));
    // A session of its own has no terminal.
    let alone = outcome(&site, "setsid", &["--wait", RINGWAY, &display(&path)]);
    let why = "auth-user-pass: there is no terminal to ask on";
    assert!(alone.text.contains(why), "{}", alone.text);
    assert_eq!(alone.code, Some(1));
}

#[test]
fn check_opens_keys_and_certificates() {
    if !Implementation::is_ringway("check") {
        return;
    }
    let site = Site::new(1);
    let expired = site.authority.expired_client("old-server");
    let config = site.server_config_with(&site.authority.pem(), &expired);
    let path = site.topology.write("server.conf", config.text());
    let found = outcome(&site, RINGWAY, &["check", &display(&path)]);
    assert!(found.text.contains("expired"), "{}", found.text);

    let config = site.server_config().without("ca").line("ca nowhere.crt");
    let path = site.topology.write("server.conf", config.text());
    let found = outcome(&site, RINGWAY, &["check", &display(&path)]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    assert!(found.text.contains("nowhere.crt"), "{}", found.text);
}

/// Starts `ringway quickstart` and waits until clients can connect.
fn quickstart(site: &Site, directory: &str) -> Process {
    let address = server_v4(0).to_string();
    let port = PORT.to_string();
    let words = ["quickstart", "--directory", directory, "--port", &port];
    let words = [&words[..], &["--public-address", &address]].concat();
    let server = Process::spawn("quickstart", site.topology.server.name(), RINGWAY, &words);
    server.wait_for(READY);
    server
}

/// Connects with a self-contained file, and pings the server's end of the tunnel.
fn connect_with_file(site: &Site, index: usize, file: &Path) -> Client {
    let client = Client::spawn_file(site, index, "openvpn", file);
    client.process.wait_for(READY);
    let push = client.process.wait_for("PUSH_REPLY");
    let mut gateway = push
        .split("route-gateway ")
        .skip(1)
        .flat_map(|rest| rest.split([',', '\'']));
    let gateway = gateway
        .next()
        .expect("a pushed route-gateway")
        .parse()
        .unwrap();
    ping(client.namespace(site), gateway, 5).assert_all_received();
    client
}

/// From nothing to a connected client; a second client; run again, it reuses what it made.
#[test]
fn quickstart_from_nothing() {
    if !Implementation::is_ringway("quickstart") {
        return;
    }
    let site = Site::new(1);
    let directory = site.topology.directory().join("quick");
    let path = display(&directory);
    let mut server = quickstart(&site, &path);
    let first = directory.join("client.ovpn");
    let mut client = connect_with_file(&site, 0, &first);
    client.process.kill();

    let added = outcome(
        &site,
        RINGWAY,
        &["client", "add", "second", "--directory", &path],
    );
    assert_eq!(added.code, Some(0), "{}", added.text);
    let second = connect_with_file(&site, 0, &directory.join("second.ovpn"));
    assert!(private_secrets(&directory) > 0, "no secret in {path}");
    drop(second);

    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    let before = std::fs::read(&first).unwrap();
    let _again = quickstart(&site, &path);
    assert_eq!(
        std::fs::read(&first).unwrap(),
        before,
        "what was made is reused"
    );
    connect_with_file(&site, 0, &first);
}

/// How many files hold a secret; each of them is its owner's alone.
fn private_secrets(directory: &Path) -> usize {
    let mut secrets = 0;
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            secrets += private_secrets(&path);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("PRIVATE KEY-----") || text.contains("OpenVPN Static key") {
            secrets += 1;
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "mode of {}: {mode:o}", path.display());
        }
    }
    secrets
}

/// Without the right to make a tun device it names what is missing and stops.
#[test]
fn quickstart_without_capability() {
    if !Implementation::is_ringway("quickstart") {
        return;
    }
    let site = Site::new(1);
    let directory = display(&site.topology.directory().join("quick"));
    let words = [
        "--bounding-set=-net_admin",
        RINGWAY,
        "quickstart",
        "--directory",
        &directory,
    ];
    let words = [&words[..], &["--public-address", "10.80.0.1"]].concat();
    let refused = outcome(&site, "setpriv", &words);
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert!(refused.text.contains("CAP_NET_ADMIN"), "{}", refused.text);
}

#[test]
fn a_file_of_passwords_is_written_for_its_owner_alone() {
    let site = Site::new(1);
    let file = site.topology.directory().join("passwords");
    let passwd = |password: &str, arguments: &[&str]| {
        let script = format!("printf '%s\\n' '{password}' | \"$@\"");
        let words = [&["-c", &script, "sh", RINGWAY, "passwd"], arguments].concat();
        outcome(&site, "sh", &words)
    };
    let path = display(&file);
    for password in ["sesame", "open"] {
        let set = passwd(password, &[&path, "anna"]);
        assert_eq!(set.code, Some(0), "{}", set.text);
    }
    let bert = passwd("bear", &[&path, "bert"]);
    assert_eq!(bert.code, Some(0), "{}", bert.text);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let read = || PasswordFile::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(read().verify("anna", "open"));
    assert!(!read().verify("anna", "sesame"), "it was changed");
    assert!(read().verify("bert", "bear"));

    assert_eq!(passwd("", &["--remove", &path, "anna"]).code, Some(0));
    assert_eq!(read().len(), 1);
    for (arguments, words) in [
        (
            ["--remove", &path, "anna"].as_slice(),
            "there is no 'anna' in",
        ),
        (&[&path, "a:b"], "the name 'a:b' can't be used"),
        (&[&path, "anna"], "a password has between 1 and"),
        (&["/absent/file", "anna"], "can't be written"),
    ] {
        let password = if words.contains("written") {
            "word"
        } else {
            ""
        };
        let refused = passwd(password, arguments);
        assert_eq!(refused.code, Some(1), "{}", refused.text);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    std::fs::write(&file, "anna sesame\n").unwrap();
    let refused = passwd("word", &[&path, "bert"]);
    assert!(
        refused.text.contains("line 1: there is no colon"),
        "{}",
        refused.text
    );
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "anna sesame\n",
        "as it was"
    );
}
