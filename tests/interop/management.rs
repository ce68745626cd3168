//! The management interface of a running server, over both sockets and to clients of the real openvpn.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::process::{LIMIT, Process, eventually, run};
use crate::server::{Implementation, Server, ServerConfig, Site};
use crate::traffic::PingStream;

/// Somebody who is connected to a unix socket.
pub(crate) struct Manager {
    stream: UnixStream,
    heard: String,
}

impl Manager {
    /// Connects as soon as somebody listens, and hears the greeting.
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = eventually("the management socket", || UnixStream::connect(path).ok());
        let tick = Duration::from_millis(20);
        stream.set_read_timeout(Some(tick)).unwrap();
        let heard = String::new();
        let mut manager = Self { stream, heard };
        manager.hear("type 'help' for more info\r\n");
        manager
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// Everything up to these words, which go with it.
    pub(crate) fn hear(&mut self, words: &str) -> String {
        eventually(words, || {
            if let Some(at) = self.heard.find(words) {
                let rest = self.heard.split_off(at + words.len());
                return Some(std::mem::replace(&mut self.heard, rest));
            }
            let mut bytes = [0; 65536];
            if let Ok(length @ 1..) = self.stream.read(&mut bytes) {
                self.heard
                    .push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
            None
        })
    }

    /// The one line that answers a command; what is told meanwhile is not heard.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.say(command);
        loop {
            let line = self.hear("\r\n").trim_end().to_owned();
            if !line.starts_with('>') {
                return line;
            }
        }
    }

    /// The lines that answer a command, with their `END`.
    pub(crate) fn ask_lines(&mut self, command: &str) -> String {
        self.say(command);
        let mut answer = String::new();
        while !answer.ends_with("\r\nEND\r\n") && answer != "END\r\n" {
            let line = self.hear("\r\n");
            if !line.starts_with('>') {
                answer.push_str(&line);
            }
        }
        answer
    }

    /// Whether the other end has hung up.
    fn hears_the_end(&mut self) {
        eventually("the end of the connection", || {
            let mut bytes = [0; 4096];
            matches!(self.stream.read(&mut bytes), Ok(0)).then_some(())
        });
    }
}

pub(crate) fn socket(site: &Site) -> PathBuf {
    site.topology.directory().join("management")
}

pub(crate) fn config(site: &Site) -> ServerConfig {
    let line = format!("management {} unix", socket(site).display());
    site.server_config().line(line)
}

#[test]
fn states_numbers_and_lists_are_told_and_clients_made_to_go() {
    let site = Site::new(2);
    let mut server = Server::start(&site, &config(&site));
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let mut manager = Manager::connect(&socket(&site));
    let id = server.process.id();
    assert_eq!(manager.ask("pid"), format!("SUCCESS: pid={id}"));
    let states = manager.ask_lines("state all");
    assert!(states.contains(",CONNECTING,,,,,,\r\n"), "{states}");
    let connected = ",CONNECTED,SUCCESS,10.8.0.1,,,,,fd08::1\r\nEND\r\n";
    assert!(states.ends_with(connected), "{states}");
    assert!(
        manager
            .ask("load-stats")
            .starts_with("SUCCESS: nclients=1,bytesin=")
    );
    let status = manager.ask_lines("status 2");
    let row = status
        .lines()
        .find(|line| line.starts_with("CLIENT_LIST,alice,"));
    let cells: Vec<&str> = row.unwrap().split(',').collect();
    assert_eq!(cells.len(), 13, "{status}");
    let (real, client_id) = (cells[2], cells[10]);

    // A client that is told goes, and comes again if the message allows it.
    let told = manager.ask(&format!(
        "client-kill {client_id} \"RESTART,[N]come again\""
    ));
    assert_eq!(told, "SUCCESS: client-kill command succeeded");
    alice
        .process
        .wait_for("command was pushed by server ('[N]come again')");
    let again = eventually("another session", || {
        let status = manager.ask_lines("status 2");
        let mut rows = status.lines();
        let row = rows.find(|line| line.starts_with("CLIENT_LIST,alice,"))?;
        let id = row.split(',').nth(10)?.to_owned();
        (id != client_id).then_some(id)
    });
    assert_ne!(again, client_id);
    // One that is dropped hears nothing, by its name or its address.
    let gone = manager.ask(&format!("kill {real}"));
    assert!(
        gone.contains(" client(s) at address ") || gone.ends_with(" not found"),
        "{gone}"
    );
    let mut killed = manager.ask("kill alice");
    if killed.ends_with("not found") {
        alice
            .process
            .wait_for_count("Initialization Sequence Completed", 2);
        killed = manager.ask("kill alice");
    }
    assert_eq!(
        killed,
        "SUCCESS: common name 'alice' found, 1 client(s) killed"
    );
    server.process.wait_for("received, client-instance exiting");
    assert_eq!(
        manager.ask("kill nobody"),
        "ERROR: common name 'nobody' not found"
    );
    assert_eq!(
        manager.ask("client-kill 99"),
        "ERROR: client-kill command failed"
    );
    assert_eq!(
        manager.ask("signal SIGTERM"),
        "SUCCESS: signal SIGTERM thrown"
    );
    manager.hears_the_end();
    server.process.wait_exit();
}

#[test]
fn a_halted_client_ends_and_what_happens_is_told_at_once() {
    let site = Site::new(1);
    let server = Server::start(&site, &config(&site));
    let mut manager = Manager::connect(&socket(&site));
    assert_eq!(
        manager.ask("bytecount 1"),
        "SUCCESS: bytecount interval changed"
    );
    assert_eq!(
        manager.ask("log on"),
        "SUCCESS: real-time log notification set to ON"
    );
    let mut alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    manager.hear(">LOG:");
    manager.hear("Peer Connection Initiated with [AF_INET");
    manager.hear(">BYTECOUNT_CLI:0,");
    manager.say("client-kill 0 HALT");
    manager.hear("SUCCESS: client-kill command succeeded\r\n");
    alice.process.wait_for("Halt command was pushed by server");
    alice.process.wait_exit();
    drop(server);
}

#[test]
fn clients_and_their_numbers_survive_a_reload() {
    if !Implementation::is_ringway("clients that survive SIGHUP") {
        return;
    }
    let site = Site::new(1);
    let server = Server::start(&site, &config(&site));
    let _alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let mut manager = Manager::connect(&socket(&site));
    let number = |manager: &mut Manager| {
        let status = manager.ask_lines("status 2");
        let row = status
            .lines()
            .find(|line| line.starts_with("CLIENT_LIST,alice,"));
        row.unwrap().split(',').nth(10).unwrap().to_owned()
    };
    let before = number(&mut manager);
    server.process.signal(Signal::HUP);
    server.process.wait_for("onfiguration");
    assert_eq!(number(&mut manager), before);
    // More than one may be connected over a unix socket, and both are told the same.
    let mut other = Manager::connect(&socket(&site));
    assert_eq!(number(&mut other), before);
    for (command, name) in [
        ("sessions", "\"common_name\":\"alice\""),
        ("shards", "\"answered\":true"),
    ] {
        let lines = other.ask_lines(command);
        assert!(lines.contains(name), "{lines}");
    }
    assert!(other.ask_lines("drops").ends_with("END\r\n"));
}

#[test]
fn a_server_with_management_hold_opens_nothing_before_its_release() {
    let site = Site::new(1);
    let config = config(&site).line("management-hold");
    let path = site.topology.write("server.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    let mut manager = Manager::connect(&socket(&site));
    manager.hear(">HOLD:Waiting for hold release:0\r\n");
    assert!(!site.topology.server.ip(&["link"]).contains("tun"));
    assert_eq!(manager.ask("hold"), "SUCCESS: hold=1");
    assert_eq!(
        manager.ask("hold release"),
        "SUCCESS: hold release succeeded"
    );
    server.process.wait_for("Initialization Sequence Completed");
    let _alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    server.stop();
}

#[test]
fn a_manager_hears_of_the_device() {
    let site = Site::new(0);
    let config = config(&site)
        .line("management-hold")
        .line("management-up-down")
        .line("route 10.99.7.0 255.255.255.0");
    let path = site.topology.write("server.conf", config.text());
    let server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    let mut manager = Manager::connect(&socket(&site));
    manager.hear(">HOLD:Waiting for hold release:0\r\n");
    manager.say("hold release");
    let before = manager.hear(">UPDOWN:UP\r\n");
    assert!(!before.contains(">UPDOWN:ENV"), "{before}");
    let told = manager.hear(">UPDOWN:ENV,END\r\n");
    for variable in [
        "dev=tun0",
        "ifconfig_local=10.8.0.1",
        "route_network_1=10.99.7.0",
    ] {
        assert!(
            told.contains(&format!(">UPDOWN:ENV,{variable}\r\n")),
            "{told}"
        );
    }
    server.process.wait_for("Initialization Sequence Completed");
    server.process.signal(Signal::TERM);
    manager.hear(">UPDOWN:DOWN\r\n");
    let told = manager.hear(">UPDOWN:ENV,END\r\n");
    assert!(told.contains(">UPDOWN:ENV,dev=tun0\r\n"), "{told}");
    manager.hears_the_end();
}

/// Over TCP, with a password, from inside the server's namespace.
#[test]
fn over_tcp_a_password_is_asked_for() {
    let site = Site::new(0);
    let password = site.topology.write("password", "open sesame\n");
    let line = format!("management 127.0.0.1 7505 {}", password.display());
    let _server = Server::start(&site, &site.server_config().line(line));
    let script = "import socket\n\
        def ask(first):\n\
        \x20s = socket.create_connection(('127.0.0.1', 7505), 20)\n\
        \x20s.settimeout(20)\n\
        \x20s.sendall((first + '\\nquit\\n').encode())\n\
        \x20text = b''\n\
        \x20while True:\n\
        \x20 try: more = s.recv(4096)\n\
        \x20 except ConnectionError: break\n\
        \x20 if not more: break\n\
        \x20 text += more\n\
        \x20return text\n\
        print(ask('open sesame'))\n\
        print(ask('wrong\\nwrong\\nwrong'))\n";
    let said = site.topology.server.run("python3", &["-c", script]);
    let welcome = "b\"ENTER PASSWORD:SUCCESS: password is correct\\r\\n>INFO:OpenVPN Management Interface Version 5";
    assert!(said.contains(welcome), "{said}");
    assert_eq!(said.matches("ERROR: bad password").count(), 3, "{said}");
}

#[test]
fn only_the_named_user_or_group_may_use_the_unix_socket() {
    for (line, other) in [
        (
            "management-client-user nobody",
            "management-client-user root",
        ),
        (
            "management-client-group nogroup",
            "management-client-group root",
        ),
    ] {
        let site = Site::new(0);
        let server = Server::start(&site, &config(&site).line(line));
        let mut stream = UnixStream::connect(socket(&site)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = Vec::new();
        // The end, or a reset.
        let _reset = stream.read_to_end(&mut text);
        assert_eq!(text, b"", "{line}");
        server.process.wait_for("doesn't match required value");
        let site = Site::new(0);
        let _server = Server::start(&site, &config(&site).line(other));
        Manager::connect(&socket(&site));
    }
}

/// Unmodified programs from the Python package index, as people run them.
#[test]
fn other_peoples_programs_find_what_they_look_for() {
    let site = Site::new(3);
    let status = site.topology.directory().join("status");
    let config = config(&site).line(format!("status {} 1", status.display()));
    let _server = Server::start(&site, &config);
    let names = ["alice", "bob", "carol"];
    let _clients: Vec<Client> = names
        .iter()
        .enumerate()
        .map(|(index, name)| Client::connect(&site, &ClientConfig::new(&site, index, name)))
        .collect();
    eventually("a status file with all clients", || {
        let text = std::fs::read_to_string(&status).ok()?;
        (names.iter().all(|name| text.contains(name)) && text.ends_with("END\n")).then_some(())
    });
    let script = site
        .topology
        .write("clients.py", include_str!("management.py"));
    for (program, package, found) in PROGRAMS {
        let output = Command::new(python(package))
            .arg(&script)
            .arg(program)
            .arg(socket(&site))
            .arg(&status)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}{errors}");
        assert_eq!(said, found, "{program}: {errors}");
    }
}

/// openvpn-auth-azure-ad as its users run it, but for the cloud: it releases the server, and lets in who has the password
/// and the certificate that goes with it.
#[test]
fn a_program_for_azure_judges_logins() {
    let site = Site::new(3);
    let config = config(&site)
        .line("management-client-auth")
        .line("management-hold");
    let path = site.topology.write("server.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    eventually("the management socket", || {
        socket(&site).exists().then_some(())
    });
    let script = site
        .topology
        .write("clients.py", include_str!("management.py"));
    let script = script.display().to_string();
    let socket = socket(&site).display().to_string();
    let python = python("openvpn-auth-azure-ad==2.0.3 concurrent-log-handler==0.9.25")
        .display()
        .to_string();
    let namespace = site.topology.server.name();
    let mut program = Process::spawn(
        "azure",
        namespace,
        &python,
        &[&script, "azure", &socket, "-"],
    );
    server.process.wait_for("Initialization Sequence Completed");
    let login = |index: usize, name: &str, password: &str| {
        let file = format!("login-{index}");
        let file = site.topology.write(&file, format!("anna\n{password}\n"));
        let config = ClientConfig::new(&site, index, name);
        config.line(format!("auth-user-pass {}", file.display()))
    };
    let alice = Client::connect(&site, &login(0, "alice", "sesame"));
    alice.assert_reaches_all(&site);
    for refused in [login(1, "alice", "wrong"), login(2, "bob", "sesame")] {
        let mut refused = Client::spawn(&site, &refused);
        refused.process.wait_for("AUTH_FAILED");
        refused.process.wait_exit();
    }
    alice.assert_reaches_all(&site);
    program.kill();
    server.stop();
}

/// What a manager hears without asking, and what its commands change in a server that runs.
#[test]
fn states_come_by_themselves_and_verbosity_and_the_end_of_a_client_take_effect() {
    let site = Site::new(2);
    let config = config(&site).line("management-log-cache 5");
    let server = Server::start(&site, &config);
    let mut manager = Manager::connect(&socket(&site));
    assert_eq!(
        manager.ask_lines("log all").lines().count(),
        6,
        "five and END"
    );
    let set = "SUCCESS: verb level changed";
    assert_eq!(manager.ask("verb 1"), set);
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    server.process.wait_for("[alice] Peer Connection Initiated");
    assert_eq!(manager.ask("verb 3"), set);
    let bob = Client::connect(&site, &ClientConfig::new(&site, 1, "bob"));
    // Such a line comes before the other.
    server.process.wait_for("VERIFY OK: depth=0, CN=bob");
    assert_eq!(server.process.count("VERIFY OK: depth=0, CN=alice"), 0);
    let status = manager.ask_lines("status 2");
    let alice_at = status
        .lines()
        .find(|line| line.starts_with("CLIENT_LIST,alice,"));
    let alice_at = alice_at.unwrap().split(',').nth(2).unwrap();
    let killed = format!("SUCCESS: 1 client(s) at address {alice_at} killed");
    assert_eq!(manager.ask(&format!("kill {alice_at}")), killed);
    alice.process.wait_for("process restarting");
    bob.assert_reaches_all(&site);
    let heard = "SUCCESS: real-time state notification set to ON";
    assert_eq!(manager.ask("state on"), heard);
    server.process.signal(Signal::TERM);
    manager.hear(",EXITING,SIGTERM,,,,,\r\n");
    manager.hears_the_end();
}

#[test]
fn words_of_the_configuration_are_remembered_and_told_again_when_it_is_read_again() {
    let site = Site::new(0);
    let config = config(&site)
        .line("echo msg one \"two  words\"")
        .line("echo");
    let server = Server::start(&site, &config);
    server.process.wait_for("ECHO:msg one two  words");
    let mut manager = Manager::connect(&socket(&site));
    let told = manager.ask_lines("echo all");
    let words: Vec<&str> = told
        .lines()
        .map(|line| line.split_once(',').map_or(line, |it| it.1))
        .collect();
    assert_eq!(words, ["msg one two  words", "", "END"]);
    assert_eq!(
        manager.ask("echo on"),
        "SUCCESS: real-time echo notification set to ON"
    );
    server.process.signal(Signal::HUP);
    let again = manager.hear(",msg one two  words\r\n");
    assert!(again.contains(">ECHO:"), "{again}");
}

/// Lines of a kind in a row are cut when a manager wants it.
#[test]
fn muted_lines_are_counted() {
    if !Implementation::is_ringway("which lines are of a kind") {
        return;
    }
    let site = Site::new(2);
    let server = Server::start(&site, &config(&site));
    let mut manager = Manager::connect(&socket(&site));
    let _alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    server
        .process
        .wait_for("MULTI: primary virtual IPv6 for alice");
    assert_eq!(server.process.count("--mute triggered"), 0);
    assert_eq!(manager.ask("mute 2"), "SUCCESS: mute level changed");
    assert_eq!(manager.ask("mute"), "SUCCESS: mute=2");
    let _bob = Client::connect(&site, &ClientConfig::new(&site, 1, "bob"));
    server
        .process
        .wait_for("variation(s) on previous 2 message(s) suppressed by --mute");
    assert!(server.process.count("--mute triggered") > 0);
}

#[test]
fn a_manager_that_goes_is_a_signal_where_that_is_wanted() {
    let site = Site::new(0);
    let server = Server::start(&site, &config(&site).line("management-signal"));
    drop(Manager::connect(&socket(&site)));
    server.process.wait_for("MANAGEMENT: Client disconnected");
    // Which a server takes for a wish to read its configuration again.
    server.process.wait_for("the configuration says the same");
}

#[test]
fn a_server_that_cannot_start_says_so_to_who_has_released_it() {
    let site = Site::new(0);
    let config = config(&site)
        .line("management-hold")
        .line("local 2001:db8::77");
    let path = site.topology.write("server.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    let mut manager = Manager::connect(&socket(&site));
    manager.hear(">HOLD:Waiting for hold release:0\r\n");
    manager.say("hold release");
    manager.hear(">FATAL:");
    assert!(manager.hear("\r\n").contains("2001:db8::77"));
    assert!(!server.process.wait_exit().success());
}

/// It is told the log, asks for more than it takes, and goes after its time; another one is answered meanwhile.
#[test]
fn a_manager_that_takes_nothing_is_dropped_and_holds_up_nobody() {
    if !Implementation::is_ringway("a_manager_that_takes_nothing_is_dropped_and_holds_up_nobody") {
        return;
    }
    let site = Site::new(1);
    let server = Server::start(&site, &config(&site));
    let mut deaf = Manager::connect(&socket(&site));
    for _ in 0..20 {
        deaf.say("test 2000");
    }
    let mut manager = Manager::connect(&socket(&site));
    let id = server.process.id();
    assert_eq!(manager.ask("pid"), format!("SUCCESS: pid={id}"));
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let stream = PingStream::start(alice.namespace(&site), LAN_V4);
    server.process.wait_for("MANAGEMENT: Client disconnected");
    assert_eq!(manager.ask("pid"), format!("SUCCESS: pid={id}"));
    stream.stop_and_assert_all_received();
    alice.assert_reaches_all(&site);
}

/// The interpreter of an environment with a program, and what it needs of a certain version, made once. Each has its own: what
/// they need does not go together.
fn python(package: &str) -> PathBuf {
    let name = format!(
        "management-{}",
        package.replace("==", "-").replace(' ', "-")
    );
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = directory.join("bin/python3");
    let done = directory.join("done");
    if !done.exists() {
        run("python3", &["-m", "venv", &directory.display().to_string()]);
        let mut install = vec![
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        install.extend(package.split(' '));
        run(&python.display().to_string(), &install);
        std::fs::write(done, "").unwrap();
    }
    python
}

/// By name, as they are installed, and what they say of a server with three clients.
const PROGRAMS: [(&str, &str, &str); 3] = [
    (
        "monitor",
        "openvpn-monitor==2.0.4",
        "monitor: alice bob carol\n",
    ),
    (
        "reader",
        "openvpn-status-reader==0.3.1",
        "reader: alice bob carol\n",
    ),
    (
        "api",
        "openvpn-management-api==0.4.0",
        "api: 3 CONNECTED 10.8.0.1\napi: killed\n",
    ),
];
