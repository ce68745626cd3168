//! Plug-ins as judges of logins: the one for PAM that comes with OpenVPN, and one that crashes or never answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::server::{Implementation, READY, Server, Site};
use crate::traffic::PingStream;

/// A service of PAM for one test: it knows anna, whose password is sesame.
struct Service {
    name: String,
    file: PathBuf,
}

impl Service {
    fn new(site: &Site) -> Self {
        let directory = site.topology.directory();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let script = site.topology.write(
            "password",
            "#!/bin/sh\npassword=$(tr -d '\\0')\n[ \"$PAM_USER $password\" = 'anna sesame' ]\n",
        );
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let unique = directory.file_name().unwrap().to_string_lossy();
        // PAM looks for it in lower case.
        let name = format!("ringway-{unique}").to_lowercase();
        let file = Path::new("/etc/pam.d").join(&name);
        let text = format!(
            "auth required pam_exec.so expose_authtok quiet {}\naccount required pam_permit.so\n",
            script.display()
        );
        fs::write(&file, text).unwrap();
        Self { name, file }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.file);
    }
}

fn client(site: &Site, index: usize, user: &str, password: &str) -> ClientConfig {
    let name = format!("login-{index}-{user}-{password}");
    let login = site.topology.write(&name, format!("{user}\n{password}\n"));
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).unwrap();
    ClientConfig::new(site, index, "alice").line(format!("auth-user-pass {}", login.display()))
}

fn refused(site: &Site, index: usize, user: &str, password: &str) {
    let mut client = Client::spawn(site, &client(site, index, user, password));
    client.process.wait_for("AUTH_FAILED");
    client.process.wait_exit();
    assert_eq!(client.process.count(READY), 0);
}

fn users_of_the_system(further: &str) {
    let site = Site::new(2);
    let service = Service::new(&site);
    let config = site
        .server_config()
        .line("script-security 2")
        .line("verify-client-cert none")
        .line("username-as-common-name")
        .line("user nobody")
        .line("group nogroup")
        .line(further)
        .line(format!(
            "plugin openvpn-plugin-auth-pam.so \"{} login USERNAME password PASSWORD\"",
            service.name
        ));
    let server = Server::start(&site, &config);
    server
        .process
        .wait_for("intercepted=PLUGIN_AUTH_USER_PASS_VERIFY");
    let anna = Client::connect(&site, &client(&site, 0, "anna", "sesame"));
    anna.assert_reaches_all(&site);
    server
        .process
        .wait_for("authentication succeeded for username 'anna'");
    refused(&site, 1, "anna", "wrong");
    refused(&site, 1, "bert", "sesame");
    server
        .process
        .wait_for("TLS Auth Error: Auth Username/Password verification failed for peer");
    anna.assert_reaches_all(&site);
}

#[test]
fn users_of_the_system_log_in() {
    users_of_the_system("verb 4");
}

/// As many installations have it: the plug-in answers later, in a file.
#[test]
fn users_of_the_system_log_in_later() {
    users_of_the_system("setenv deferred_auth_pam 1");
}

/// A plug-in that takes the server's place down with it, or never comes back, harms nobody who is in.
#[test]
fn a_plug_in_that_crashes_harms_nobody() {
    if !Implementation::is_ringway("a_plug_in_that_crashes_harms_nobody") {
        return;
    }
    let site = Site::new(2);
    let plugin = probe(&site, &["AUTH_USER_PASS_VERIFY"]);
    let config = site
        .server_config()
        .line("duplicate-cn")
        .line(format!("plugin {} nothing", plugin.display()));
    let server = Server::start(&site, &config);
    let stays = Client::connect(&site, &client(&site, 0, "anna", "sesame"));
    let stream = PingStream::start(stays.namespace(&site), LAN_V4);
    refused(&site, 1, "anna", "crash");
    server
        .process
        .wait_for("the plug-in host is gone: it was ended by signal 6");
    server.process.wait_for("The plug-in host is back");
    refused(&site, 1, "anna", "wrong");
    Client::connect(&site, &client(&site, 1, "anna", "sesame")).assert_reaches_all(&site);
    stream.stop_and_assert_all_received();
}

/// One that looks at certificates, hears of addresses and has the last word, and that alone is told the keying material.
/// It refuses bob by his certificate, and carol at the end.
#[test]
fn a_plug_in_looks_at_the_handshake() {
    let site = Site::new(3);
    let told = site.topology.directory().join("told");
    let plugin = compiled(&site, "handshake.c", &[]);
    let config = site
        .server_config()
        .line("keying-material-exporter EXPORTER_for_tests 24")
        .line("reneg-sec 3600")
        .line(format!("plugin {} {}", plugin.display(), told.display()));
    let mut server = Server::start(&site, &config);
    let alice = ClientConfig::new(&site, 0, "alice").line("reneg-sec 5");
    let alice = Client::connect(&site, &alice);
    let bob = Client::spawn(&site, &ClientConfig::new(&site, 1, "bob"));
    server
        .process
        .wait_for("VERIFY PLUGIN ERROR: depth=0, CN=bob");
    let mut carol = Client::spawn(&site, &ClientConfig::new(&site, 2, "carol"));
    carol.process.wait_for("AUTH_FAILED");
    carol.process.wait_exit();
    alice.process.wait_for_count("TLS: soft reset", 2);
    alice.assert_reaches_all(&site);
    assert_eq!(bob.process.count(READY), 0);
    server.stop();
    let told = fs::read_to_string(&told).unwrap();
    let of = |name: &str| -> Vec<String> {
        let lines = told.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|line| line.trim().to_owned()).collect()
    };
    let own = of("alice:");
    assert_eq!(own[..2], ["verify 0 CN=alice", "final"], "{told}");
    let port = own[2].rsplit_once(' ').unwrap().1;
    let reached = format!("10.80.0.2 {port} - {port}");
    assert!(
        own[2].starts_with("reached [AF_INET") && own[2].ends_with(&reached),
        "{told}"
    );
    let materials: std::collections::BTreeSet<String> = of("material").into_iter().collect();
    assert!(materials.iter().all(|it| it.len() == 48), "{told}");
    assert!(materials.len() >= 3, "another for each key: {told}");
    assert_eq!(of("bob:")[0], "verify 0 CN=bob", "{told}");
    assert!(!told.contains("bob: final"), "{told}");
    assert_eq!(of("carol:")[..2], ["verify 0 CN=carol", "final"], "{told}");
    assert!(of("interop CA:").len() >= 3, "{told}");
}

/// What a plug-in starts while it may do all is done at the end, when the server may not any more.
#[test]
fn a_plug_in_does_at_the_end_what_the_server_may_not() {
    let site = Site::new(1);
    let directory = site.topology.directory();
    let done = directory.join("done");
    let script = site.topology.write(
        "at-the-end",
        format!("#!/bin/sh\nid -u >{}\n", done.display()),
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let config = site
        .server_config()
        .line("user nobody")
        .line("group nogroup")
        .line("verb 4")
        .line(format!(
            "plugin openvpn-plugin-down-root.so {}",
            script.display()
        ));
    let mut server = Server::start(&site, &config);
    server.process.wait_for("intercepted=PLUGIN_UP|PLUGIN_DOWN");
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    assert!(!done.exists());
    server.stop();
    assert_eq!(fs::read_to_string(&done).unwrap(), "0\n");
}

/// As with the script of `up`.
#[test]
fn without_a_good_answer_of_a_plug_in_to_the_device_there_is_no_server() {
    let site = Site::new(1);
    let plugin = probe(&site, &["UP"]);
    let config = site
        .server_config()
        .line(format!("plugin {} nothing", plugin.display()));
    let path = site.topology.write("server.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    server.process.wait_for("up/down plugin call failed");
    assert!(!server.process.wait_exit().success());
}

/// It says no to both, which ends no server.
#[test]
fn plug_ins_hear_of_the_routes() {
    let site = Site::new(1);
    let plugin = probe(&site, &["ROUTE_UP", "ROUTE_PREDOWN"]);
    let config = site
        .server_config()
        .line("route 10.99.7.0 255.255.255.0")
        .line(format!("plugin {} nothing", plugin.display()));
    let mut server = Server::start(&site, &config);
    server
        .process
        .wait_for("plugin function PLUGIN_ROUTE_UP failed with status 1");
    let client = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
    client.assert_reaches_all(&site);
    server.stop();
    server
        .process
        .wait_for("plugin function PLUGIN_ROUTE_PREDOWN failed with status 1");
}

/// The plug-in of `tests/plugins/`, which does what the password says, for these hooks.
fn probe(site: &Site, hooks: &[&str]) -> PathBuf {
    let mask = |hook: &&str| format!("OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_{hook})");
    let hooks: Vec<String> = hooks.iter().map(mask).collect();
    let hooks = format!("-DALL=({})", hooks.join("|"));
    compiled(site, "probe.c", &["-DINTERFACE=3", "-DNEEDED=3", &hooks])
}

/// A plug-in of `tests/plugins/`.
pub(crate) fn compiled(site: &Site, source: &str, flags: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins");
    let plugin = site.topology.directory().join(source).with_extension("so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-I/usr/include/openvpn", "-I"])
        .arg(sources.join("include"))
        .args(flags)
        .arg("-o")
        .arg(&plugin)
        .arg(sources.join(source))
        .status();
    assert!(status.unwrap().success());
    plugin
}
