//! Scripts and plug-ins that are run when clients come and go: what they are told, what they may say, and that
//! nobody waits for them who is in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::process::eventually;
use crate::server::{READY, Server, Site};
use crate::traffic::{PingStream, ping};

/// A script of the test's directory that writes what it is told into `told`.
fn script(site: &Site, name: &str, text: &str) -> PathBuf {
    let directory = site.topology.directory();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!("#!/bin/sh\nexec 3>>{}\n{text}", told(site).display());
    let path = site.topology.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn told(site: &Site) -> PathBuf {
    site.topology.directory().join("told")
}

/// What scripts have been told, once there are so many lines.
fn lines(site: &Site, count: usize) -> Vec<String> {
    eventually("scripts have written what they were told", || {
        let text = fs::read_to_string(told(site)).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// With stock as the server too: the contract is its own.
#[test]
fn scripts_hear_of_a_client_from_its_coming_to_its_going() {
    let site = Site::new(1);
    let connect = script(
        &site,
        "connect",
        "echo \"$script_type $common_name $ifconfig_pool_remote_ip $ifconfig_pool_netmask \
         ${trusted_ip:+trusted} ${trusted_port:+port} ${untrusted_ip:+untrusted} ${time_unix:+time} $IV_PLAT $dev \
         $tls_serial_0 ${X509_0_CN}\" >&3\n\
         printf 'push \"route 10.77.1.0 255.255.255.0\"\\nifconfig-push 10.8.0.77 255.255.255.0\\niroute 10.78.0.0 \
         255.255.255.0\\n' >\"$1\"\n",
    );
    let learn = script(&site, "learn", "echo \"$script_type $*\" >&3\n");
    let disconnect = script(
        &site,
        "disconnect",
        "echo \"$script_type $common_name $ifconfig_pool_remote_ip $((bytes_received > 0)) $((bytes_sent > 0)) \
         ${time_duration:+lasted}\" >&3\n",
    );
    let config = site
        .server_config()
        .line("script-security 2")
        .line(format!("client-connect {}", connect.display()))
        .line(format!("learn-address {}", learn.display()))
        .line(format!("client-disconnect {}", disconnect.display()));
    let mut server = Server::start(&site, &config);
    let mut client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    assert_eq!(client.tunnel_v4(&site).to_string(), "10.8.0.77");
    client.process.wait_for("route 10.77.1.0 255.255.255.0");
    client.assert_reaches_all(&site);
    let come = lines(&site, 4);
    let first: Vec<_> = come[0].split_whitespace().collect();
    assert_eq!(first[..2], ["client-connect", "alice"]);
    assert!(
        first[2].starts_with("10.8.0.") && first[2] != "10.8.0.77",
        "{first:?}"
    );
    let others = "255.255.255.0 trusted port untrusted time linux tun0";
    assert_eq!(first[3..10].join(" "), others);
    assert_eq!((first.len(), first[11]), (12, "alice"));
    let mut learnt = come[1..4].to_vec();
    learnt.sort();
    let v6 = client.tunnel_v6(&site);
    assert_eq!(
        learnt,
        [
            "learn-address add 10.78.0.0/24 alice".to_owned(),
            "learn-address add 10.8.0.77 alice".to_owned(),
            format!("learn-address add {v6} alice"),
        ]
    );
    client.process.signal(Signal::TERM);
    client.process.wait_exit();
    // Who did not say goodbye goes with the server.
    server.process.signal(Signal::TERM);
    server.process.wait_exit();
    let gone = lines(&site, 5);
    let expected = "client-disconnect alice 10.8.0.77 1 1 lasted";
    assert!(gone.contains(&expected.to_owned()), "{gone:?}");
}

/// Refused at once, refused later, accepted later; one that is in hears nothing of it.
#[test]
fn a_script_may_refuse_and_may_take_its_time() {
    let site = Site::new(2);
    let connect = script(
        &site,
        "connect",
        "case $common_name in\n\
         alice) ;;\n\
         bob) exit 1;;\n\
         carol) echo 2 >\"$client_connect_deferred_file\"\n\
         (sleep 2; echo 'push \"route 10.77.2.0 255.255.255.0\"' >\"$1\"; echo 1 >\"$client_connect_deferred_file\") &\n\
         esac\nexit 0\n",
    );
    let config = site
        .server_config()
        .line("script-security 2")
        .line(format!("client-connect {}", connect.display()));
    let server = Server::start(&site, &config);
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let stream = PingStream::start(alice.namespace(&site), LAN_V4);
    let mut bob = Client::spawn(&site, &ClientConfig::new(&site, 1, "bob"));
    bob.process
        .wait_for("AUTH: Received control message: AUTH_FAILED");
    bob.process.wait_exit();
    assert_eq!(bob.process.count(READY), 0);
    let failed =
        "Failed running command (--client-connect): external program exited with error status: 1";
    server.process.wait_for(failed);
    let carol = Client::connect(&site, &ClientConfig::new(&site, 1, "carol"));
    carol.process.wait_for("route 10.77.2.0 255.255.255.0");
    carol.assert_reaches_all(&site);
    stream.stop_and_assert_all_received();
}

/// A plug-in with the hooks of those that keep accounts or give addresses.
#[test]
fn a_plug_in_hears_of_clients_and_gives_them_lines() {
    let site = Site::new(1);
    let plugin = crate::plugins::compiled(&site, "visits.c", &[]);
    let config = site.server_config().line(format!(
        "plugin {} {}",
        plugin.display(),
        told(&site).display()
    ));
    let mut server = Server::start(&site, &config);
    // It looks at no passwords: its clients need none.
    let mut client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.process.wait_for("route 10.79.1.0 255.255.255.0");
    client.process.wait_for("route 10.79.2.0 255.255.255.0");
    client.assert_reaches_all(&site);
    client.process.signal(Signal::TERM);
    client.process.wait_exit();
    // Who did not say goodbye goes with the server.
    server.process.signal(Signal::TERM);
    server.process.wait_exit();
    let said = lines(&site, 5);
    let v4 = said
        .iter()
        .filter(|line| line.starts_with("learn add 10.8.0.") && line.ends_with(" alice"));
    assert_eq!(v4.count(), 1, "{said:?}");
    assert_eq!(said[..2], ["connect alice 1", "connect-v2 alice 2"]);
    assert!(said.contains(&"disconnect alice 3".to_owned()), "{said:?}");
}

/// The script sees the authority's certificate first, then the client's own. Who is refused is not told why.
#[test]
fn a_script_looks_at_certificates() {
    let site = Site::new(2);
    let verify = script(
        &site,
        "verify",
        "echo \"$script_type $* $X509_0_CN\" >&3\ncase \"$2 $3\" in '0 CN=bob') exit 1;; esac\nexit 0\n",
    );
    let config = site
        .server_config()
        .line("script-security 2")
        .line(format!("tls-verify \"{} own\"", verify.display()));
    let server = Server::start(&site, &config);
    let alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    alice.assert_reaches_all(&site);
    let told = lines(&site, 2);
    assert!(
        told[0].starts_with("tls-verify own 1 CN=interop CA"),
        "{told:?}"
    );
    assert!(told[1].starts_with("tls-verify own 0 CN=alice"), "{told:?}");
    let bob = Client::spawn(&site, &ClientConfig::new(&site, 1, "bob"));
    server
        .process
        .wait_for("VERIFY SCRIPT ERROR: depth=0, CN=bob");
    lines(&site, 4);
    assert_eq!(bob.process.count(READY), 0);
    assert_eq!(bob.process.count("AUTH_FAILED"), 0);
    alice.assert_reaches_all(&site);
}

/// The fields of the certificates that are to be told, in the place of all: of a client's own certificate, and of
/// its authority's where a plus is written.
#[test]
fn scripts_are_told_the_fields_that_are_tracked() {
    let site = Site::new(1);
    let connect = script(
        &site,
        "connect",
        "env | grep ^X509_ | sed 's/=[0-9A-F:]\\{59\\}$/=digest/' | sort >&3\n",
    );
    let config = site
        .server_config()
        .line("script-security 2")
        .line(format!("client-connect {}", connect.display()))
        .line("x509-track +CN")
        .line("x509-track SHA1")
        .line("x509-track emailAddress");
    let _server = Server::start(&site, &config);
    let _alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    let expected = [
        "X509_0_CN=alice",
        "X509_0_SHA1=digest",
        "X509_1_CN=interop CA",
    ];
    assert_eq!(lines(&site, 3), expected);
}

/// A client whose certificate is not good any more is found out with its next key, and nobody else.
#[test]
fn a_script_looks_at_certificates_with_each_new_key() {
    let site = Site::new(2);
    let lost = site.topology.directory().join("lost");
    let verify = script(
        &site,
        "verify",
        &format!(
            "echo \"$1 $2\" >&3\n[ \"$1 $2\" != '0 CN=bob' ] || [ ! -e {} ]\n",
            lost.display()
        ),
    );
    let config = site
        .server_config()
        .line("script-security 2")
        .line("reneg-sec 6")
        .line(format!("tls-verify {}", verify.display()));
    let server = Server::start(&site, &config);
    let [alice, bob] = [(0, "alice"), (1, "bob")].map(|(index, name)| {
        // A stock client goes on with the key before for half of that time, if that key is so old: until then its
        // new one has been judged. With an hour it is the `hand-window`.
        let config = ClientConfig::new(&site, index, name).line("reneg-sec 8");
        Client::connect(&site, &config)
    });
    bob.assert_reaches_all(&site);
    // Each has come, and has had a new key.
    let seen = |who: &str, times: usize| {
        eventually("scripts have looked at certificates", || {
            let text = fs::read_to_string(told(&site)).unwrap_or_default();
            let looked = text.lines().filter(|line| line.ends_with(who));
            (looked.count() >= times).then_some(())
        });
    };
    seen("0 CN=alice", 2);
    seen("0 CN=bob", 2);
    fs::write(&lost, "").unwrap();
    server
        .process
        .wait_for("VERIFY SCRIPT ERROR: depth=0, CN=bob");
    seen("0 CN=alice", 4);
    eventually("alice goes on", || {
        (ping(alice.namespace(&site), LAN_V4, 3).received == 3).then_some(())
    });
}
