//! User names and passwords, judged by a script: right and wrong, at once and later, and what a script that
//! takes its time does to others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::process::eventually;
use crate::server::{Implementation, READY, Server, ServerConfig, Site};
use crate::traffic::PingStream;

/// A script for all tests, to which the password says what to do. It writes down who it was asked about.
struct Script {
    path: PathBuf,
    told: PathBuf,
    files: PathBuf,
}

impl Script {
    fn new(site: &Site) -> Self {
        let directory = site.topology.directory();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let [told, files] = ["told", "files"].map(|name| directory.join(name));
        for at in [&told, &files] {
            match at == &told {
                true => fs::write(at, "").unwrap(),
                false => fs::create_dir(at).unwrap(),
            }
            fs::set_permissions(at, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let text = format!(
            "#!/bin/sh\n\
             mode=-\n\
             if [ -n \"$1\" ]; then {{ read user; read pass; }} <\"$1\"; mode=$(stat -c %a \"$1\")\n\
             else user=$username; pass=$password; fi\n\
             echo \"$script_type $user $common_name $untrusted_ip $X509_0_CN $IV_PLAT $dev $(id -un) $mode\" >>{}\n\
             case \"$pass\" in\n\
             right) exit 0;;\n\
             later) (sleep 1; echo 1 >\"$auth_control_file\") & exit 2;;\n\
             monday) (sleep 1; printf 'come on Monday' >\"$auth_failed_reason_file\"; echo 0 >\"$auth_control_file\") & exit 2;;\n\
             slow) sleep 10; exit 0;;\n\
             web) printf '300\\nwebauth\\nWEB_AUTH::https://login.invalid/\\n' >\"$auth_pending_file\"\n\
             (sleep 2; echo 1 >\"$auth_control_file\") & exit 2;;\n\
             loud) head -c 104857600 /dev/zero; exit 0;;\n\
             once) if [ -e {}.once ]; then exit 1; fi; touch {}.once; exit 0;;\n\
             *) printf 'that is wrong' >\"$auth_failed_reason_file\"; exit 1;;\n\
             esac\n",
            told.display(),
            told.display(),
            told.display()
        );
        let path = site.topology.write("verify", text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { path, told, files }
    }

    fn config(&self, site: &Site, method: &str) -> ServerConfig {
        site.server_config()
            .line("script-security 3")
            .line(format!("tmp-dir {}", self.files.display()))
            .line(format!(
                "auth-user-pass-verify {} {method}",
                self.path.display()
            ))
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.told).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Nothing is left behind.
    fn assert_no_files(&self) {
        eventually("all files of scripts are gone", || {
            fs::read_dir(&self.files)
                .unwrap()
                .next()
                .is_none()
                .then_some(())
        });
    }
}

fn client(site: &Site, index: usize, user: &str, password: &str) -> ClientConfig {
    let name = format!("login-{index}-{user}-{password}");
    let login = site.topology.write(&name, format!("{user}\n{password}\n"));
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).unwrap();
    ClientConfig::new(site, index, "alice").line(format!("auth-user-pass {}", login.display()))
}

fn passwords(method: &str, mode: &str) {
    let site = Site::new(1);
    let script = Script::new(&site);
    let server = Server::start(&site, &script.config(&site, method));
    let mut right = Client::connect(&site, &client(&site, 0, "anna", "right"));
    right.assert_reaches_all(&site);
    assert_eq!(
        script.told()[0].split_whitespace().collect::<Vec<_>>()[..6],
        [
            "user-pass-verify",
            "anna",
            "alice",
            &told_ip(&script),
            "alice",
            "linux"
        ]
    );
    assert!(
        script.told()[0].ends_with(&format!("root {mode}")),
        "{:?}",
        script.told()
    );
    let succeeded = "authentication succeeded for username 'anna'";
    server.process.wait_for(succeeded);
    right.process.signal(Signal::TERM);
    right.process.wait_exit();
    for (password, said) in [
        ("wrong", "AUTH_FAILED,that is wrong"),
        ("monday", "AUTH_FAILED,come on Monday"),
    ] {
        let mut wrong = Client::spawn(&site, &client(&site, 0, "anna", password));
        wrong.process.wait_for(said);
        wrong.process.wait_for("auth-failure");
        wrong.process.wait_exit();
        assert_eq!(wrong.process.count(READY), 0);
    }
    server
        .process
        .wait_for("TLS Auth Error: Auth Username/Password verification failed for peer");
    let later = Client::connect(&site, &client(&site, 0, "anna", "later"));
    later.assert_reaches_all(&site);
    script.assert_no_files();
}

fn told_ip(script: &Script) -> String {
    let told = script.told();
    told[0].split_whitespace().nth(3).unwrap().to_owned()
}

#[test]
fn a_script_judges_by_its_environment() {
    passwords("via-env", "-");
}

#[test]
fn a_script_judges_by_a_file() {
    passwords("via-file", "600");
}

#[test]
fn who_sends_no_password_is_refused_unless_it_is_optional() {
    let site = Site::new(2);
    let script = Script::new(&site);
    let mut server = Server::start(&site, &script.config(&site, "via-file"));
    let without = ClientConfig::new(&site, 0, "alice").line("hand-window 6");
    let refused = Client::spawn(&site, &without);
    server
        .process
        .wait_for("Auth Username/Password was not provided by peer");
    // Wire: stock says nothing to it.
    refused
        .process
        .wait_for_any(&["AUTH_FAILED", "TLS Error: TLS handshake failed"]);
    assert_eq!(refused.process.count(READY), 0);
    assert_eq!(script.told(), [] as [&str; 0], "nobody was asked");
    drop(refused);
    server.stop();
    let lenient = "#!/bin/sh\nexit 0\n";
    fs::write(&script.path, lenient).unwrap();
    let config = script
        .config(&site, "via-file")
        .line("auth-user-pass-optional");
    let _server = Server::start(&site, &config);
    let let_in = Client::connect(&site, &without);
    let_in.assert_reaches_all(&site);
}

/// Nobody's traffic waits for a script, and a script that prints without end is no one's trouble.
#[test]
fn others_go_on_while_a_script_sleeps() {
    if !Implementation::is_ringway("others_go_on_while_a_script_sleeps") {
        return;
    }
    let site = Site::new(3);
    let script = Script::new(&site);
    let config = script.config(&site, "via-env").line("duplicate-cn");
    let server = Server::start(&site, &config);
    let other = Client::connect(&site, &client(&site, 0, "anna", "right"));
    other.assert_reaches_all(&site);
    let stream = PingStream::start(other.namespace(&site), LAN_V4);
    let slow = Client::spawn(&site, &client(&site, 1, "bert", "slow"));
    let loud = Client::connect(&site, &client(&site, 2, "carl", "loud"));
    loud.assert_reaches_all(&site);
    assert_eq!(slow.process.count(READY), 0, "it came before the loud one");
    slow.wait_connected(&site);
    stream.stop_and_assert_all_received();
    server
        .process
        .wait_for("authentication succeeded for username 'bert'");
}

/// A script that sends the user somewhere else: the client is told where, and that it takes longer, if it can
/// show that; else it is told that it can't.
#[test]
fn a_user_is_sent_to_a_web_page() {
    let site = Site::new(2);
    let script = Script::new(&site);
    let config = script.config(&site, "via-file").line("duplicate-cn");
    let server = Server::start(&site, &config);
    let knows = client(&site, 0, "anna", "web").line("setenv IV_SSO webauth");
    let knows = Client::connect(&site, &knows.line("push-peer-info"));
    knows.process.wait_for("AUTH_PENDING received");
    server.process.wait_for("WEB_AUTH::https://login.invalid/");
    knows.assert_reaches_all(&site);
    let other = Client::spawn(&site, &client(&site, 1, "bert", "web"));
    other
        .process
        .wait_for("required pending auth method 'webauth' not supported");
    assert_eq!(other.process.count(READY), 0);
    script.assert_no_files();
}

/// A new key is judged too: what is accepted goes on, what is refused ends when the old key does, and the
/// client is told.
#[test]
fn a_new_key_waits_for_its_login() {
    let site = Site::new(2);
    let script = Script::new(&site);
    let config = script
        .config(&site, "via-env")
        .line("duplicate-cn")
        .line("reneg-sec 12")
        .line("tran-window 4");
    let server = Server::start(&site, &config);
    let stays = Client::connect(
        &site,
        &client(&site, 0, "anna", "right").line("reneg-sec 0"),
    );
    stays.assert_reaches_all(&site);
    let goes = client(&site, 1, "bert", "once").line("reneg-sec 0");
    let mut goes = Client::connect(&site, &goes);
    goes.process.wait_for("AUTH_FAILED");
    goes.process.wait_exit();
    server
        .process
        .wait_for_count("authentication succeeded for username 'anna'", 3);
    stays.assert_reaches_all(&site);
    assert_eq!(stays.process.count(READY), 1, "the tunnel never went down");
}

/// Clients without certificates, called by their users' names, and a script that is as confined as its
/// server.
#[test]
fn users_in_place_of_certificates() {
    let site = Site::new(2);
    let script = Script::new(&site);
    let status = site.topology.directory().join("status");
    let config = script
        .config(&site, "via-file")
        .line("verify-client-cert none")
        .line("username-as-common-name")
        .line(format!("status {} 1", status.display()))
        .line("status-version 3")
        .line("user nobody")
        .line("group nogroup");
    let server = Server::start(&site, &config);
    let bare = |index, user: &str| {
        let config = client(&site, index, user, "right");
        config.without_block("cert").without_block("key")
    };
    let anna = Client::connect(&site, &bare(0, "anna"));
    let bert = Client::connect(&site, &bare(1, "bert").line("explicit-exit-notify 1"));
    anna.assert_reaches_all(&site);
    bert.assert_reaches_all(&site);
    server.process.wait_for("[anna] Peer Connection Initiated");
    server.process.wait_for("username 'bert' [CN SET]");
    eventually("both users in the status file", || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let row = |user: &str| {
            text.lines().any(|line| {
                let fields: Vec<_> = line.split('\t').collect();
                fields.first() == Some(&"CLIENT_LIST")
                    && fields.get(1) == Some(&user)
                    && fields.get(9) == Some(&user)
            })
        };
        (row("anna") && row("bert")).then_some(())
    });
    for told in script.told() {
        assert!(told.ends_with("nobody 600"), "{told}");
    }
    script.assert_no_files();
}

/// A name that is the client's in files and logs has the bound of a common name, as in stock.
#[test]
fn a_user_that_is_too_long_for_a_common_name_is_refused() {
    let site = Site::new(1);
    let script = Script::new(&site);
    let config = script
        .config(&site, "via-file")
        .line("verify-client-cert none")
        .line("username-as-common-name");
    let server = Server::start(&site, &config);
    let mut refused = Client::spawn(&site, &client(&site, 0, &"u".repeat(65), "right"));
    refused.process.wait_for("AUTH_FAILED");
    refused.process.wait_exit();
    server.process.wait_for(
        "username is longer than the maximum permitted Common Name length of 64 characters",
    );
    let longest = "u".repeat(64);
    let longest = client(&site, 0, &longest, "right");
    Client::connect(&site, &longest).assert_reaches_all(&site);
}
