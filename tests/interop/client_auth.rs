//! Logins that somebody on the management interface judges, and clients as it hears of them: the very variables, in
//! the very order of stock. With stock as the server, too: the contract is its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::client::{Client, ClientConfig};
use crate::management::{Manager, config, socket};
use crate::server::{READY, Server, Site};

/// A client with a password.
fn client(site: &Site, number: usize, name: &str) -> ClientConfig {
    let login = site.topology.write("login", "anna\nsesame\n");
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).unwrap();
    ClientConfig::new(site, number, name).line(format!("auth-user-pass {}", login.display()))
}

// What is told of a client, in stock's order.
const OF_LOGIN: &[&str] = &[
    "n_clients",
    "password",
    "untrusted_port",
    "untrusted_ip",
    "common_name",
    "username",
];
const OF_CERTIFICATES: &[&str] = &["X509_0_CN", "X509_1_CN"];
const POOL: &[&str] = &[
    "ifconfig_pool_ip6_netbits",
    "ifconfig_pool_local_ip6",
    "ifconfig_pool_remote_ip6",
    "ifconfig_pool_netmask",
    "ifconfig_pool_remote_ip",
];
const TIME: &[&str] = &["time_unix", "time_ascii"];
const TRUSTED: &[&str] = &["trusted_port", "trusted_ip"];
const UNTRUSTED: &[&str] = &["untrusted_port", "untrusted_ip"];

/// A block about a client.
struct Block {
    /// What stands behind the client's kind of news.
    numbers: String,
    /// The lines that came before it.
    before: String,
    variables: Vec<(String, String)>,
}

impl Block {
    /// The next one of that kind.
    fn hear(manager: &mut Manager, kind: &str) -> Self {
        let head = format!(">CLIENT:{kind},");
        let before = manager.hear(&head);
        let numbers = manager.hear("\r\n").trim_end().to_owned();
        let told = manager.hear(">CLIENT:ENV,END\r\n");
        let told = told.lines().filter_map(|line| {
            let variable = line.strip_prefix(">CLIENT:ENV,");
            let (name, value) = variable?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Self {
            numbers,
            before,
            variables: told.collect(),
        }
    }

    fn names(&self) -> Vec<&str> {
        let names = self.variables.iter().map(|(name, _)| name.as_str());
        // What is the same for all, and what a client says of itself.
        let until = self
            .variables
            .iter()
            .position(|(name, _)| name == "remote_port_1");
        names
            .take(until.unwrap())
            .filter(|name| !name.starts_with("IV_") && !name.starts_with("tls_"))
            .collect()
    }

    fn value(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(it, _)| it == name);
        found.map_or("", |(_, value)| value)
    }

    /// The numbers as commands take them.
    fn of_command(&self) -> String {
        self.numbers.replace(',', " ")
    }
}

#[test]
fn a_manager_lets_clients_in_with_lines_of_their_own_and_keeps_others_out() {
    let site = Site::new(1);
    let config = config(&site)
        .line("management-client-auth")
        .line("reneg-sec 6");
    let _server = Server::start(&site, &config);
    let mut manager = Manager::connect(&socket(&site));
    let client = Client::spawn(&site, &client(&site, 0, "alice"));
    let connect = Block::hear(&mut manager, "CONNECT");
    assert_eq!(connect.names(), [OF_LOGIN, OF_CERTIFICATES].concat());
    let told = [
        "n_clients",
        "password",
        "common_name",
        "username",
        "IV_PLAT",
        "tls_id_0",
    ];
    let told = told.map(|name| connect.value(name));
    assert_eq!(told, ["0", "sesame", "alice", "anna", "linux", "CN=alice"]);
    let numbers = connect.of_command();
    let pending = format!("client-pending-auth {numbers} OPEN_URL:https://acme.example/ 30");
    assert_eq!(
        manager.ask(&pending),
        "SUCCESS: client-pending-auth command succeeded"
    );
    client
        .process
        .wait_for("Info command was pushed by server ('OPEN_URL:https://acme.example/')");
    manager.say(&format!(
        "client-auth {numbers}\npush \"route 10.99.0.0 255.255.0.0\"\nEND"
    ));
    let established = Block::hear(&mut manager, "ESTABLISHED");
    let client_id = &established.numbers;
    let v4 = established.value("ifconfig_pool_remote_ip");
    let v6 = established.value("ifconfig_pool_remote_ip6");
    let before: Vec<_> = established.before.lines().collect();
    assert_eq!(
        before,
        [
            "SUCCESS: client-auth command succeeded".to_owned(),
            format!(">CLIENT:ADDRESS,{client_id},{v4},1"),
            format!(">CLIENT:ADDRESS,{client_id},{v6},1"),
            ">CLIENT:ESTABLISHED,".to_owned(),
        ]
    );
    let expected = [
        &["n_clients"][..],
        POOL,
        TIME,
        TRUSTED,
        &["common_name"],
        UNTRUSTED,
        &["username"],
        OF_CERTIFICATES,
    ];
    assert_eq!(established.names(), expected.concat());
    client.process.wait_for(READY);
    client.process.wait_for("route 10.99.0.0 255.255.0.0");
    client.assert_reaches_all(&site);

    // With a new key it is asked again, and of a client that is in more is known.
    let reauth = Block::hear(&mut manager, "REAUTH");
    let expected = [OF_LOGIN, OF_CERTIFICATES, POOL, TIME, TRUSTED];
    assert_eq!(reauth.names(), expected.concat());
    assert_eq!(reauth.value("n_clients"), "1");
    assert_ne!(reauth.numbers, connect.numbers);
    let numbers = reauth.of_command();
    let accepted = manager.ask(&format!("client-auth-nt {numbers}"));
    assert_eq!(accepted, "SUCCESS: client-auth command succeeded");
    let again = Block::hear(&mut manager, "REAUTH");
    assert_ne!(again.numbers, reauth.numbers, "it has gone on");

    manager.say(&format!("client-kill {client_id}"));
    let gone = Block::hear(&mut manager, "DISCONNECT");
    assert_eq!(&gone.numbers, client_id);
    let counted = ["time_duration", "bytes_sent", "bytes_received"];
    let expected = [
        &counted[..],
        TRUSTED,
        UNTRUSTED,
        &["common_name", "username"],
        OF_CERTIFICATES,
        POOL,
        TIME,
    ];
    assert_eq!(gone.names(), expected.concat());
    let counted = counted.map(|name| gone.value(name).parse::<u64>().unwrap());
    assert!(counted[1] > 1000 && counted[2] > 1000, "{counted:?}");
}

#[test]
fn a_manager_keeps_a_client_out_and_says_why() {
    let site = Site::new(1);
    let config = config(&site).line("management-client-auth");
    let server = Server::start(&site, &config);
    let client = Client::spawn(&site, &client(&site, 0, "alice"));
    // It waits for who connects later, where stock forgets it.
    let mut manager = Manager::connect(&socket(&site));
    let connect = Block::hear(&mut manager, "CONNECT");
    let numbers = connect.of_command();
    let denied = manager.ask(&format!(
        "client-deny {numbers} \"no such user\" \"not today\""
    ));
    assert_eq!(denied, "SUCCESS: client-deny command succeeded");
    client
        .process
        .wait_for("AUTH: Received control message: AUTH_FAILED,not today");
    let said = "connection rejected: no such user, CLI:not today";
    server.process.wait_for(said);
    let log = server.process.lines().join("\n");
    assert!(!log.contains("sesame"), "a password is in the log");
}

/// A question to the user of a client that waits: the answer reaches script and manager, and decides.
#[test]
fn a_client_answers_a_challenge() {
    let site = Site::new(2);
    let script = |name: &str, text: &str| {
        let path = site.topology.write(name, format!("#!/bin/sh\n{text}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let question =
        "printf '60\\ncrtext\\nCR_TEXT:R,E:What colour?\\n' >\"$auth_pending_file\"\nexit 2\n";
    let answer = "[ \"$script_type $username $common_name\" = 'client-crresponse anna alice' ] || exit 1\n\
                  [ \"$(cat \"$1\")\" = Ymx1ZQ== ] || exit 1\n\
                  echo 1 >\"$auth_control_file\"\n";
    let config = config(&site)
        .line("script-security 2")
        .line(format!(
            "auth-user-pass-verify {} via-file",
            script("asks", question)
        ))
        .line(format!("client-crresponse {}", script("hears", answer)));
    let server = Server::start(&site, &config);
    let mut manager = Manager::connect(&socket(&site));
    let own = |name: &str| site.topology.directory().join(format!("own-{name}"));
    let client = |number, name| {
        let config = client(&site, number, name)
            .line(format!("management {} unix", own(name).display()))
            .line("management-hold")
            .line("setenv IV_SSO crtext")
            .line("push-peer-info");
        Client::spawn(&site, &config)
    };
    let alice = client(0, "alice");
    let mut user = Manager::connect(&own("alice"));
    user.say("hold release");
    user.hear(">INFOMSG:CR_TEXT:R,E:What colour?");
    user.say("cr-response Ymx1ZQ==");
    let response = Block::hear(&mut manager, "CR_RESPONSE");
    assert!(
        response.numbers.ends_with(",1,Ymx1ZQ=="),
        "{}",
        response.numbers
    );
    assert_eq!(
        (response.value("username"), response.value("n_clients")),
        ("anna", "0")
    );
    alice.process.wait_for(READY);
    alice.assert_reaches_all(&site);
    let bob = client(1, "bob");
    let mut user = Manager::connect(&own("bob"));
    user.say("hold release");
    user.hear(">INFOMSG:CR_TEXT:R,E:What colour?");
    user.say("cr-response Ymx1ZQ==");
    bob.process.wait_for("AUTH_FAILED");
    server.process.wait_for("--client-crresponse");
}

/// Without being asked it hears who is in all the same.
#[test]
fn every_manager_hears_who_is_in() {
    let site = Site::new(1);
    let server = Server::start(&site, &config(&site));
    let mut manager = Manager::connect(&socket(&site));
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let established = Block::hear(&mut manager, "ESTABLISHED");
    assert_eq!(established.numbers, "0");
    assert_eq!(established.value("common_name"), "alice");
    let shown = established.value("ifconfig_pool_remote_ip");
    assert_eq!(shown, client.tunnel_v4(&site).to_string());
    drop(server);
}
