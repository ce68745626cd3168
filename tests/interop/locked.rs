//! Keys that a password locks, and files of PKCS #12, for either side.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use crate::client::{Client, ClientConfig};
use crate::command_line::Daemon;
use crate::outgoing::connect;
use crate::pki::{Identity, Kind};
use crate::process::{Process, run};
use crate::server::{READY, RINGWAY, Server, Site};

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
    if crate::server::Implementation::chosen() == crate::server::Implementation::Ringway {
        server.process.signal(rustix::process::Signal::HUP);
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
