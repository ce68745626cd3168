//! Keys that a password locks, and files of PKCS #12, for either side.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::command_line::Daemon;
use crate::management::{Manager, socket};
use crate::outgoing::connect;
use crate::pki::{Identity, Kind};
use crate::process::{Process, run};
use crate::server::{Implementation, READY, RINGWAY, Server, ServerConfig, Site};

const PASSWORD: &str = "correct horse";

/// Locks the key of an identity in one of OpenSSL's ways: the file.
fn locked(site: &Site, identity: &Identity, name: &str, words: &[&str]) -> String {
    let clear = site.topology.write(&format!("{name}.clear"), &identity.key);
    let out = path(site, &format!("{name}.locked"));
    let clear = clear.display().to_string();
    let pass = format!("pass:{PASSWORD}");
    let rest = ["-in", &clear, "-out", &out, "-passout", &pass];
    run("openssl", &[words, &rest[..]].concat());
    out
}

/// Puts an identity and its authority into a file of PKCS #12.
fn packed(site: &Site, identity: &Identity, name: &str, words: &[&str]) -> String {
    let write = |what: &str, text: &str| {
        let path = site.topology.write(&format!("{name}.{what}"), text);
        path.display().to_string()
    };
    let (leaf, key) = (
        write("crt", &identity.certificate),
        write("pem", &identity.key),
    );
    let ca = write("ca", &site.authority.pem());
    let out = path(site, &format!("{name}.p12"));
    let pass = format!("pass:{PASSWORD}");
    let rest = [
        "-in",
        &leaf,
        "-inkey",
        &key,
        "-certfile",
        &ca,
        "-out",
        &out,
        "-passout",
        &pass,
    ];
    run(
        "openssl",
        &[&["pkcs12", "-export"], words, &rest[..]].concat(),
    );
    out
}

fn path(site: &Site, name: &str) -> String {
    site.topology.directory().join(name).display().to_string()
}

/// The line that names the file with the password.
fn askpass(site: &Site) -> String {
    let file = site.topology.write("password", format!("{PASSWORD}\n"));
    format!("askpass {}", file.display())
}

fn without_identity(client: ClientConfig) -> ClientConfig {
    client.without_block("cert").without_block("key")
}

#[test]
fn locked_keys_on_both_sides() {
    let site = Site::new(2);
    let server = site.authority.server("vpn-server", Kind::Rsa);
    let key = locked(&site, &server, "server", &["rsa", "-traditional", "-des3"]);
    let config = site.server_config_with(&site.authority.pem(), &server);
    let config = config.without("key").line(format!("key {key}"));
    let server = Server::start(&site, &config.line(askpass(&site)));
    let [alice, bob] = ["alice", "bob"].map(|name| site.authority.client(name, Kind::Ec));
    let client = |index, identity: &Identity, name| {
        let key = locked(&site, identity, name, &["pkcs8", "-topk8"]);
        let client = ClientConfig::with_identity(&site, index, identity).without_block("key");
        client.line(format!("key {key}")).line(askpass(&site))
    };
    Client::connect(&site, &client(0, &alice, "alice")).assert_reaches_all(&site);
    connect(&site, &client(1, &bob, "bob"));
    // The configuration is read again, and with it the password.
    if Implementation::chosen() == Implementation::Ringway {
        server.process.signal(Signal::HUP);
        server
            .process
            .wait_for("Reload: the configuration says the same");
    }
}

#[test]
fn files_of_pkcs12_on_both_sides() {
    let site = Site::new(2);
    let server = site.authority.server("vpn-server", Kind::Ec);
    let file = packed(&site, &server, "server", &[]);
    let config = site
        .server_config()
        .without("ca")
        .without("cert")
        .without("key");
    let config = config.line(format!("pkcs12 {file}")).line(askpass(&site));
    let _server = Server::start(&site, &config);
    let [alice, bob] = ["alice", "bob"].map(|name| site.authority.client(name, Kind::Ec));
    // The authority is in the file, too.
    let file = packed(&site, &alice, "alice", &[]);
    let client = ClientConfig::with_identity(&site, 0, &alice).without_block("ca");
    let client = without_identity(client).line(format!("pkcs12 {file}"));
    Client::connect(&site, &client.line(askpass(&site))).assert_reaches_all(&site);

    // The older form, which 2.6.14 with OpenSSL 3 cannot open.
    let file = packed(&site, &bob, "bob", &["-legacy"]);
    let text = run("base64", &[&file]);
    let client = ClientConfig::with_identity(&site, 1, &bob).without_block("ca");
    let client = without_identity(client).block("pkcs12", &text);
    connect(&site, &client.line(askpass(&site)));
}

/// Before it goes to the background, for there is no terminal any more.
#[test]
fn a_password_that_no_file_says_is_asked_for_on_the_terminal() {
    let site = Site::new(1);
    let server = site.authority.server("vpn-server", Kind::Ec);
    let key = locked(&site, &server, "server", &["pkcs8", "-topk8"]);
    let [pid, log, fifo] = ["pid", "log", "fifo"].map(|name| path(&site, name));
    let config = site.server_config_with(&site.authority.pem(), &server);
    let config = config.without("key").line(format!("key {key}"));
    let config = config
        .line("askpass")
        .line("daemon")
        .line(format!("writepid {pid}"))
        .line(format!("log {log}"));
    let file = site.topology.write("server.conf", config.text());
    run("mkfifo", &[&fifo]);
    let typist = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut keyboard = OpenOptions::new().write(true).open(fifo).unwrap();
            while keyboard
                .write_all(format!("{PASSWORD}\n").as_bytes())
                .is_ok()
            {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    });
    let command = format!(
        "exec script -qefc '{RINGWAY} --config {}' /dev/null < {fifo}",
        file.display()
    );
    let namespace = site.topology.server.name();
    let mut terminal = Process::spawn("the terminal", namespace, "sh", &["-c", &command]);
    assert_eq!(terminal.wait_exit().code(), Some(0));
    terminal.wait_for("Enter Private Key Password:");
    typist.join().unwrap();
    let _server = Daemon::from_pid_file(pid.as_ref());
    crate::process::eventually("the server's log", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        said.contains(READY).then_some(())
    });
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
}

/// A server whose key is locked, and whose manager is to be asked.
fn asking(site: &Site, words: &[&str]) -> ServerConfig {
    let server = site.authority.server("vpn-server", Kind::Ec);
    let key = locked(site, &server, "server", words);
    let config = site.server_config_with(&site.authority.pem(), &server);
    config
        .without("key")
        .line(format!("key {key}"))
        .line(format!("management {} unix", socket(site).display()))
        .line("management-query-passwords")
        .line("verb 3")
}

fn spawn(site: &Site, config: &ServerConfig) -> Server {
    let file = site.topology.write("server.conf", config.text());
    Server::spawn(site, &["--config", &file.display().to_string()])
}

const NEEDED: &str = ">PASSWORD:Need 'Private Key' password\r\n";
const ENTERED: &str = "SUCCESS: 'Private Key' password entered, but not yet verified";

fn enter(manager: &mut Manager, password: &str) {
    let command = format!("password \"Private Key\" \"{password}\"");
    assert_eq!(manager.ask(&command), ENTERED);
}

#[test]
fn a_manager_says_the_password_of_the_key() {
    let site = Site::new(1);
    let server = spawn(&site, &asking(&site, &["pkcs8", "-topk8"]));
    let mut manager = Manager::connect(&socket(&site));
    manager.hear(NEEDED);
    assert_eq!(
        manager.ask("password Auth guess"),
        "ERROR: password of type 'Auth' entered, but we need one of type 'Private Key'"
    );
    enter(&mut manager, PASSWORD);
    server.process.wait_for(READY);
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
    assert_eq!(
        manager.ask("password 'Private Key' late"),
        "ERROR: no password is currently needed at this time"
    );
    assert_eq!(server.process.count(PASSWORD), 0);
}

/// Stock ends at the first wrong one. The password serves when the configuration is read again, until it is
/// to be forgotten.
#[test]
fn a_wrong_password_is_asked_for_again_and_the_right_one_kept_until_it_is_forgotten() {
    if !Implementation::is_ringway("passwords of managers") {
        return;
    }
    let site = Site::new(1);
    let config = asking(&site, &["pkcs8", "-topk8"]).line("management-hold");
    let mut server = spawn(&site, &config);
    let mut manager = Manager::connect(&socket(&site));
    manager.hear(">HOLD:Waiting for hold release:0\r\n");
    assert_eq!(
        manager.ask("hold release"),
        "SUCCESS: hold release succeeded"
    );
    manager.hear(NEEDED);
    for _ in 0..3 {
        enter(&mut manager, "guess");
        manager.hear(">PASSWORD:Verification Failed: 'Private Key'\r\n");
        manager.hear(NEEDED);
    }
    // Who comes later is asked, too.
    let mut other = Manager::connect(&socket(&site));
    other.hear(NEEDED);
    assert!(!site.topology.server.ip(&["link"]).contains("tun"));
    enter(&mut other, PASSWORD);
    server.process.wait_for(READY);
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    for times in 1..=2 {
        server.process.signal(Signal::HUP);
        let same = "Reload: the configuration says the same";
        server.process.wait_for_count(same, times);
    }
    assert_eq!(
        manager.ask("forget-passwords"),
        "SUCCESS: Passwords were forgotten"
    );
    server.process.signal(Signal::HUP);
    server.process.wait_for("its password has been forgotten");
    server
        .process
        .wait_for("Reload: the configuration was not taken over");
    client.assert_reaches_all(&site);
    assert_eq!(server.process.count(PASSWORD), 0);
    server.stop();
}

/// A daemon that waits for its manager has gone to the background, and says its process id. It can be ended
/// while it waits.
#[test]
fn a_daemon_waits_for_its_manager_in_the_background() {
    for ends in [false, true] {
        let site = Site::new(0);
        let pid = path(&site, "pid");
        let config = asking(&site, &["pkcs8", "-topk8"])
            .line("daemon")
            .line(format!("writepid {pid}"))
            .line(format!("log {}", path(&site, "log")));
        let mut started = spawn(&site, &config);
        assert_eq!(started.process.wait_exit().code(), Some(0));
        let daemon = Daemon::from_pid_file(pid.as_ref());
        let mut manager = Manager::connect(&socket(&site));
        manager.hear(NEEDED);
        if ends {
            assert_eq!(
                manager.ask("signal SIGTERM"),
                "SUCCESS: signal SIGTERM thrown"
            );
            daemon.wait_gone();
            continue;
        }
        enter(&mut manager, PASSWORD);
        crate::process::eventually("the server's log", || {
            let said = std::fs::read_to_string(path(&site, "log")).unwrap_or_default();
            said.contains(READY).then_some(())
        });
    }
}
