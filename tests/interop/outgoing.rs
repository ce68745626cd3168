//! ringway as a client: against the real openvpn server, and against its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, Namespace, TUNNEL_V4, server_v4, server_v6};
use crate::pki::{static_key, tls_crypt_v2_keys};
use crate::process::eventually;
use crate::server::{PORT, READY, RINGWAY, Server, ServerConfig, Site};
use crate::traffic::{PingStream, ping, transfer_both_ways};

/// The servers that ringway is a client of.
pub(crate) const SERVERS: [&str; 2] = [STOCK, RINGWAY];
/// The stock daemon.
pub(crate) const STOCK: &str = "openvpn";

pub(crate) const WRAPPINGS: [&str; 4] = ["", "tls-crypt", "tls-auth", "tls-crypt-v2"];

/// Starts ringway as client 0 and waits until the tunnel carries packets.
pub(crate) fn connect(site: &Site, config: &ClientConfig) -> Client {
    let client = Client::spawn_program(site, config, RINGWAY);
    client.process.wait_for(READY);
    wait_for_pings(site, &client);
    client
}

/// A stock server begins to carry packets up to a second later.
pub(crate) fn wait_for_pings(site: &Site, client: &Client) {
    for namespace in [&site.topology.server, client.namespace(site)] {
        namespace.wait_for_addresses();
    }
    eventually("pings through the tunnel", || {
        (ping(client.namespace(site), TUNNEL_V4, 10).received == 10).then_some(())
    });
}

/// What a test may not leave changed: addresses, routes and devices.
pub(crate) fn traces(namespace: &Namespace) -> String {
    // The kernel asks for a moment whether somebody else has an address of the link.
    let tentative = ["-o", "-6", "address", "show", "tentative"];
    eventually("addresses that nobody else has", || {
        namespace.ip(&tentative).is_empty().then_some(())
    });
    let shown = [
        &["-o", "address", "show"][..],
        &["route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["-o", "link", "show"],
    ];
    shown.map(|arguments| namespace.ip(arguments)).concat()
}

/// Ends a client that leaves nothing undone.
pub(crate) fn stop(client: &mut Client) {
    client.process.signal(Signal::TERM);
    assert_eq!(client.process.wait_exit().code(), Some(0));
    let said = "SIGTERM[hard,] received, process exiting";
    client.process.wait_for(said);
}

#[test]
fn a_stock_server_is_reached_with_each_wrapping_and_nothing_is_left_behind() {
    for wrapping in WRAPPINGS {
        is_reached_and_left(STOCK, wrapping);
    }
}

#[test]
fn our_server_is_reached_with_each_wrapping_and_nothing_is_left_behind() {
    for wrapping in WRAPPINGS {
        is_reached_and_left(RINGWAY, wrapping);
    }
}

fn is_reached_and_left(program: &str, wrapping: &str) {
    let site = Site::new(1);
    let (server, client) = (site.server_config(), ClientConfig::new(&site, 0, "alice"));
    let (server, client) = wrapped(&site, server, client, wrapping);
    let server = Server::start_program(&site, &server, program);
    let namespace = &site.topology.clients[0];
    let before = traces(namespace);
    let client = client.line("explicit-exit-notify 1");
    let mut client = connect(&site, &client);
    client.assert_reaches_all(&site);
    transfer_both_ways(client.namespace(&site), &site.topology.lan, LAN_V4);
    stop(&mut client);
    server
        .process
        .wait_for_any(&["remote-exit", "delayed-exit"]);
    assert_eq!(traces(namespace), before, "{program} {wrapping}");
}

/// The configurations of both sides with one of [`WRAPPINGS`].
pub(crate) fn wrapped(
    site: &Site,
    server: ServerConfig,
    client: ClientConfig,
    wrapping: &str,
) -> (ServerConfig, ClientConfig) {
    let key = static_key();
    match wrapping {
        "" => (server, client),
        "tls-auth" => (
            server.block(wrapping, &key).line("key-direction 0"),
            client.block(wrapping, &key).line("key-direction 1"),
        ),
        "tls-crypt-v2" => {
            let (theirs, ours) = tls_crypt_v2_keys(&site.topology);
            (
                server.block(wrapping, &theirs),
                client.block(wrapping, &ours),
            )
        }
        _ => (server.block(wrapping, &key), client.block(wrapping, &key)),
    }
}

#[test]
fn a_server_is_reached_over_ipv6() {
    for program in SERVERS {
        let site = Site::new(1);
        let _server = Server::start_program(&site, &site.server_config(), program);
        let config = ClientConfig::new(&site, 0, "alice").remote(server_v6(0), PORT);
        let mut client = connect(&site, &config);
        client.assert_reaches_all(&site);
        stop(&mut client);
    }
}

#[test]
fn a_filter_keeps_a_route_out() {
    let site = Site::new(1);
    let _server = Server::start_program(&site, &site.server_config(), STOCK);
    let config = ClientConfig::new(&site, 0, "alice").line("pull-filter ignore \"route-ipv6 \"");
    let mut client = connect(&site, &config);
    let namespace = client.namespace(&site);
    assert!(namespace.ip(&["route", "show"]).contains("10.90.0.0/24"));
    let v6 = namespace.ip(&["-6", "route", "show"]);
    assert!(!v6.contains("fd90::"), "{v6}");
    stop(&mut client);
}

#[test]
fn a_server_that_comes_back_finds_its_client_again() {
    for program in SERVERS {
        let site = Site::new(1);
        let config = site.server_config().line("explicit-exit-notify 1");
        let mut server = Server::start_program(&site, &config, program);
        let mut client = connect(&site, &ClientConfig::new(&site, 0, "alice"));
        server.process.signal(Signal::TERM);
        server.process.wait_exit();
        client
            .process
            .wait_for("Connection reset command was pushed by server");
        client
            .process
            .wait_for("SIGUSR1[soft,server-pushed-connection-reset] received, process restarting");
        let _server = Server::start_program(&site, &config, program);
        client.process.wait_for_count(READY, 2);
        wait_for_pings(&site, &client);
        client.assert_reaches_all(&site);
        assert_eq!(
            client.process.count("Preserving previous TUN/TAP instance"),
            1
        );
        stop(&mut client);
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .without("keepalive")
        .line("keepalive 1 4");
    let mut server = Server::start_program(&site, &config, STOCK);
    let mut client = connect(&site, &ClientConfig::new(&site, 0, "alice"));
    server.process.kill();
    client
        .process
        .wait_for("[vpn-server] Inactivity timeout (--ping-restart), restarting");
    client
        .process
        .wait_for("SIGUSR1[soft,ping-restart] received, process restarting");
    let _server = Server::start_program(&site, &config, STOCK);
    client.process.wait_for_count(READY, 2);
    wait_for_pings(&site, &client);
    stop(&mut client);
}

#[test]
fn a_signal_begins_the_connection_anew() {
    let site = Site::new(1);
    let _server = Server::start_program(&site, &site.server_config(), RINGWAY);
    let mut client = connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.process.signal(Signal::USR1);
    client.process.wait_for("SIGUSR1");
    client.process.wait_for_count(READY, 2);
    wait_for_pings(&site, &client);
    client.assert_reaches_all(&site);
    stop(&mut client);
}

#[test]
fn keys_are_renewed_under_traffic() {
    for program in SERVERS {
        let site = Site::new(1);
        let config = site.server_config().line("reneg-sec 4");
        let _server = Server::start_program(&site, &config, program);
        let config = ClientConfig::new(&site, 0, "alice").line("reneg-sec 0");
        let mut client = connect(&site, &config);
        let stream = PingStream::start(client.namespace(&site), LAN_V4);
        client.process.wait_for_count("TLS: soft reset", 3);
        stream.stop_and_assert_all_received();
        assert_eq!(client.process.count(READY), 1);
        stop(&mut client);
    }
}

#[test]
fn the_second_server_is_tried_when_the_first_is_dead() {
    let site = Site::new(1);
    let _server = Server::start_program(&site, &site.server_config(), STOCK);
    let dead = format!("remote {} 9 udp4", server_v4(0));
    let alive = format!("remote {} {PORT} udp4", server_v4(0));
    let config = ClientConfig::new(&site, 0, "alice")
        .without("remote")
        .line(dead)
        .line(alive)
        .line("server-poll-timeout 2");
    let mut client = connect(&site, &config);
    assert_eq!(client.process.count("Server poll timeout, restarting"), 1);
    client.assert_reaches_all(&site);
    stop(&mut client);
}

#[test]
fn a_client_ends_when_every_server_was_tried_often_enough() {
    let site = Site::new(1);
    let config = ClientConfig::new(&site, 0, "alice")
        .line("connect-retry-max 2")
        .line("server-poll-timeout 1");
    let mut client = Client::spawn_program(&site, &config, RINGWAY);
    let said = "All connections have been connect-retry-max (2) times unsuccessful, exiting";
    client.process.wait_for(said);
    assert_eq!(client.process.wait_exit().code(), Some(1));
    assert_eq!(client.process.count("Server poll timeout"), 2);
}

/// A program of the test's.
fn script(site: &Site, name: &str, text: &str) -> PathBuf {
    let path = site.topology.write(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// The script hears where the server is, from ringway and from the stock client.
#[test]
fn a_script_hears_where_the_server_is() {
    let site = Site::new(1);
    let _server = Server::start_program(&site, &site.server_config(), STOCK);
    let mut told = Vec::new();
    for program in [STOCK, RINGWAY] {
        let file = site.topology.directory().join("told");
        let text = format!(
            "#!/bin/sh\necho \"$1|$2|$script_type|$common_name|$trusted_ip|$trusted_port|$ifconfig_remote\" >>{}\n",
            file.display()
        );
        let script = script(&site, "where", &text);
        let config = ClientConfig::new(&site, 0, "alice")
            .line("script-security 2")
            .line(format!("ipchange {}", script.display()));
        let mut client = Client::spawn_program(&site, &config, program);
        client.wait_connected(&site);
        stop(&mut client);
        told.push(std::fs::read_to_string(&file).unwrap());
        std::fs::remove_file(&file).unwrap();
    }
    assert_eq!(told[0], told[1]);
}

/// A stock server that asks for a password.
fn guarded(site: &Site) -> ServerConfig {
    let text = "#!/bin/sh\n{ read user; read password; } < \"$1\"\n\
                test \"$user:$password\" = anna:sesame\n";
    let check = script(site, "check-password", text);
    site.server_config().line("script-security 2").line(format!(
        "auth-user-pass-verify {} via-file",
        check.display()
    ))
}

fn login(site: &Site, password: &str) -> ClientConfig {
    let file = site.topology.write("login", format!("anna\n{password}\n"));
    ClientConfig::new(site, 0, "alice").line(format!("auth-user-pass {}", file.display()))
}

#[test]
fn a_login_is_told_and_a_token_takes_its_place() {
    let site = Site::new(1);
    let config = guarded(&site).line("auth-gen-token 600");
    let server = Server::start_program(&site, &config, STOCK);
    let mut client = connect(&site, &login(&site, "sesame").line("reneg-sec 4"));
    client.assert_reaches_all(&site);
    client.process.wait_for_count("TLS: soft reset", 2);
    server
        .process
        .wait_for("auth-token authentication succeeded");
    client.assert_reaches_all(&site);
    let log = client.process.lines().join("\n");
    assert!(!log.contains("SESS_ID"), "a token is in the log");
    stop(&mut client);
}

#[test]
fn a_login_that_is_refused_ends_the_client_as_it_ends_stock() {
    let site = Site::new(1);
    let _server = Server::start_program(&site, &guarded(&site), STOCK);
    let mut codes = Vec::new();
    for program in [STOCK, RINGWAY] {
        let config = login(&site, "wrong");
        let mut client = Client::spawn_program(&site, &config, program);
        let said = "AUTH: Received control message: AUTH_FAILED";
        client.process.wait_for(said);
        client
            .process
            .wait_for("SIGTERM[soft,auth-failure] received, process exiting");
        codes.push(client.process.wait_exit().code());
    }
    assert_eq!(codes[0], codes[1]);
}

#[test]
fn a_server_of_another_authority_is_refused() {
    let (site, other) = (Site::new(1), Site::new(1));
    let _server = Server::start_program(&site, &site.server_config(), STOCK);
    let config = ClientConfig::new(&site, 0, "alice")
        .without_block("ca")
        .block("ca", &other.authority.pem());
    let mut client = Client::spawn_program(&site, &config, RINGWAY);
    client.process.wait_for("VERIFY ERROR: depth=");
    client
        .process
        .wait_for("SIGUSR1[soft,tls-error] received, process restarting");
    assert_eq!(client.process.count(READY), 0);
    stop(&mut client);
}

#[test]
fn scripts_are_told_of_the_tunnel() {
    let site = Site::new(1);
    let config = site
        .server_config()
        .line("push \"dhcp-option DNS 10.8.0.1\"");
    let _server = Server::start_program(&site, &config, STOCK);
    let told = |name: &str| site.topology.directory().join(name);
    let text = format!(
        "#!/bin/sh\n{{ echo \"arguments $*\"; /usr/bin/env; }} > {}/told-$script_type\n",
        site.topology.directory().display()
    );
    let script = script(&site, "tell", &text).display().to_string();
    let config = ClientConfig::new(&site, 0, "alice")
        .line("script-security 2")
        .line("setenv SITE one")
        .line(format!("up {script}"))
        .line(format!("down {script}"))
        .line(format!("route-up {script}"));
    let mut client = connect(&site, &config);
    let address = client.tunnel_v4(&site);
    assert_told(
        &told("told-up"),
        &[
            &format!("arguments tun0 1500 0 {address} 255.255.255.0 init"),
            "dev=tun0",
            "script_context=init",
            "SITE=one",
            &format!("ifconfig_local={address}"),
            "ifconfig_netmask=255.255.255.0",
            "route_vpn_gateway=10.8.0.1",
            "route_network_1=10.90.0.0",
            "foreign_option_1=dhcp-option DNS 10.8.0.1",
            "common_name=vpn-server",
        ],
    );
    assert_told(&told("told-route-up"), &["script_type=route-up"]);
    assert!(!told("told-down").exists());
    stop(&mut client);
    assert_told(&told("told-down"), &["script_type=down", "dev=tun0"]);
}

fn assert_told(file: &Path, lines: &[&str]) {
    let text = std::fs::read_to_string(file).unwrap();
    for line in lines {
        assert!(
            text.lines().any(|it| it == *line),
            "no {line:?} in:\n{text}"
        );
    }
}

/// Words that a server has for the user; the stock daemon sends them when its manager has it do so.
#[test]
fn what_a_server_has_to_say_is_in_the_log() {
    let site = Site::new(1);
    let socket = site.topology.directory().join("manager");
    let config = site
        .server_config()
        .line(format!("management {} unix", socket.display()))
        .line("management-client-auth")
        .line("auth-user-pass-optional");
    let _server = Server::start_program(&site, &config, STOCK);
    let mut manager = UnixStream::connect(&socket).unwrap();
    let mut lines = BufReader::new(manager.try_clone().unwrap()).lines();
    let client = Client::spawn_program(&site, &ClientConfig::new(&site, 0, "alice"), RINGWAY);
    let asked = lines.find(|line| line.as_ref().unwrap().starts_with(">CLIENT:CONNECT,"));
    let numbers = asked
        .unwrap()
        .unwrap()
        .replace(">CLIENT:CONNECT,", "")
        .replace(',', " ");
    let numbers = numbers.trim();
    write!(
        manager,
        "client-pending-auth {numbers} OPEN_URL:https://acme.example/ 30\n\
         client-auth-nt {numbers}\n"
    )
    .unwrap();
    client
        .process
        .wait_for("Info command was pushed by server ('OPEN_URL:https://acme.example/')");
    client.process.wait_for(READY);
}
