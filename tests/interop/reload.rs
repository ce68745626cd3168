//! A configuration that is read again while clients are connected.

use std::path::PathBuf;
use std::process::Output;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::pki::Kind;
use crate::process::command_in;
use crate::server::{Implementation, READY, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::PingStream;

/// A server with a control socket, and its configuration file.
struct Running {
    site: Site,
    config: ServerConfig,
    server: Server,
}

impl Running {
    fn start(clients: usize, change: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let site = Site::new(clients);
        let socket = site.topology.directory().join("control");
        let line = format!("setenv opt ringway-control {}", socket.display());
        let config = change(site.server_config().line(line));
        let server = Server::start(&site, &config);
        Self {
            site,
            config,
            server,
        }
    }

    fn connect(&self, index: usize, name: &str) -> Client {
        Client::connect(&self.site, &ClientConfig::new(&self.site, index, name))
    }

    fn write(&self, config: &ServerConfig) -> PathBuf {
        self.site.topology.write("server.conf", config.text())
    }

    /// Writes another configuration and sends the signal; what the log says of it.
    fn hang_up(&self, config: &ServerConfig) -> Vec<String> {
        self.write(config);
        let before = self.reloads();
        self.server.process.signal(Signal::HUP);
        crate::process::eventually("the report in the log", || {
            (self.reloads().len() > before.len()).then_some(())
        });
        self.reloads().split_off(before.len())
    }

    fn reloads(&self) -> Vec<String> {
        let lines = self.server.process.lines();
        let told = lines.iter().filter_map(|line| line.split_once("Reload: "));
        told.map(|(_, words)| words.to_owned()).collect()
    }

    fn ask(&self, words: &[&str]) -> Output {
        let path = self.site.topology.directory().join("server.conf");
        let path = path.display().to_string();
        let arguments: Vec<&str> = [words, &["--config", &path]].concat();
        let namespace = self.site.topology.server.name();
        command_in(namespace, RINGWAY, &arguments).output().unwrap()
    }
}

#[test]
fn sighup_changes_what_it_can_while_clients_go_on() {
    if !Implementation::is_ringway("a reload without a restart") {
        return;
    }
    let running = Running::start(3, |config| config.line("max-clients 1"));
    let alice = running.connect(0, "alice");
    alice.assert_reaches_all(&running.site);
    let stream = PingStream::start(alice.namespace(&running.site), LAN_V4);

    // A new certificate of the server, a new push, a place more, and a port that has to wait.
    let identity = running.site.authority.server("renewed-server", Kind::Ec);
    running
        .site
        .topology
        .write("server.crt", &identity.certificate);
    running.site.topology.write("server.key", &identity.key);
    let config = running
        .config
        .clone()
        .without("max-clients")
        .without("port");
    let config = config
        .line("max-clients 2")
        .line("port 1195")
        .line("verb 4")
        .line("push \"route 10.91.0.0 255.255.255.0\"");
    let told = running.hang_up(&config);
    assert_eq!(
        told[0],
        "in force from now on, no session is touched: log, verb, mute, cert, key, push, max-clients"
    );
    let left = "left as it was, since a restart would cost 1 session: port \
                (`ringway reload --disruptive` does it)";
    running.server.process.wait_for(left);

    let bob = running.connect(1, "bob");
    bob.assert_reaches_all(&running.site);
    bob.process.wait_for("CN=renewed-server");
    bob.process.wait_for("route 10.91.0.0 255.255.255.0");
    alice.assert_reaches_all(&running.site);
    stream.stop_and_assert_all_received();
    assert_eq!(alice.process.count(READY), 1);
    assert_eq!(alice.process.count("CN=renewed-server"), 0);

    // There are two places, and no third.
    let carol = Client::spawn(&running.site, &ClientConfig::new(&running.site, 2, "carol"));
    let full = "MULTI: new incoming connection would exceed maximum number of clients (2)";
    running.server.process.wait_for(full);
    assert_eq!(carol.process.count(READY), 0);
    drop(carol);
}

#[test]
fn a_new_key_of_an_old_session_shows_the_new_certificate() {
    if !Implementation::is_ringway("a certificate that is renewed under a session") {
        return;
    }
    let running = Running::start(1, |config| config);
    let config = ClientConfig::new(&running.site, 0, "alice").line("reneg-sec 4");
    let alice = Client::connect(&running.site, &config);
    let identity = running.site.authority.server("renewed-server", Kind::Ec);
    running
        .site
        .topology
        .write("server.crt", &identity.certificate);
    running.site.topology.write("server.key", &identity.key);
    let told = running.hang_up(&running.config);
    assert_eq!(
        told,
        ["in force from now on, no session is touched: cert, key"]
    );
    alice.process.wait_for("CN=renewed-server");
    alice.assert_reaches_all(&running.site);
    assert_eq!(alice.process.count(READY), 1);
}

#[test]
fn a_bad_configuration_changes_nothing() {
    if !Implementation::is_ringway("a reload of a bad configuration") {
        return;
    }
    let running = Running::start(2, |config| config);
    let alice = running.connect(0, "alice");
    let bad = running.config.clone().line("sever 10.9.0.0 255.255.255.0");
    let told = running.hang_up(&bad.line("push \"route 10.91.0.0 255.255.255.0\""));
    let words = "the configuration was not taken over, all stays as it was";
    assert_eq!(told, [words]);
    running
        .server
        .process
        .wait_for("Options error: Unrecognized option");
    alice.assert_reaches_all(&running.site);
    let bob = running.connect(1, "bob");
    assert_eq!(bob.process.count("route 10.91.0.0"), 0);

    let output = running.ask(&["reload"]);
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("sever"), "{text}");
    assert_eq!(running.reloads().len(), 1, "nobody was asked");
}

#[test]
fn reload_says_what_it_did_and_restarts_when_told_so() {
    if !Implementation::is_ringway("ringway reload") {
        return;
    }
    let running = Running::start(1, |config| {
        config.line("explicit-exit-notify 1").line("verb 3")
    });
    let alice = running.connect(0, "alice");
    let said = |output: &Output| {
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // What there is to remark on the file is said again.
        let lines = text.lines().filter(|line| !line.starts_with("WARNING: "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(
        said(&running.ask(&["reload"])),
        "Reload: the configuration says the same\n"
    );
    let config = running
        .config
        .clone()
        .without("keepalive")
        .line("keepalive 4 20");
    running.write(&config.line("tun-mtu 1400"));
    let left = "dev, tun-mtu";
    let text = said(&running.ask(&["reload"]));
    assert!(
        text.contains(&format!("would cost 1 session: {left} (")),
        "{text}"
    );
    assert_eq!(running.server.process.count(READY), 1);
    assert_eq!(alice.process.count(READY), 1);

    let text = said(&running.ask(&["reload", "--disruptive"]));
    assert_eq!(
        text,
        format!("Reload: restarting, which costs 1 session: {left}\n")
    );
    running
        .server
        .process
        .wait_for("SIGHUP[hard,] received, process restarting");
    running.server.process.wait_for_count(READY, 2);
    alice
        .process
        .wait_for("Connection reset command was pushed by server");
    alice.process.wait_for_count(READY, 2);
    alice.wait_until_reaching(&running.site);
    alice.process.wait_for("tun-mtu 1400");
    let mut server = running.server;
    assert_eq!(server.stop().code(), Some(0));
}

/// Who has become nobody can't read the key again, and says so.
#[test]
fn a_process_without_its_rights_says_what_it_cannot_read() {
    if !Implementation::is_ringway("a reload after a change of user") {
        return;
    }
    let running = Running::start(1, |config| config.line("user nobody").line("verb 3"));
    let alice = running.connect(0, "alice");
    let told = running.hang_up(&running.config.clone().line("push \"route 10.91.0.0\""));
    let words = "the configuration was not taken over, all stays as it was";
    assert_eq!(told, [words]);
    running
        .server
        .process
        .wait_for("server.conf: Permission denied");
    alice.assert_reaches_all(&running.site);
}
