//! Tokens in place of passwords: of the stock server and ours, renewed, and no longer good.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::outgoing::STOCK;
use crate::process::run;
use crate::server::{READY, RINGWAY, Server, ServerConfig, Site};

/// A script that accepts everybody and writes down what it was asked.
struct Judge {
    script: PathBuf,
    told: PathBuf,
}

impl Judge {
    fn new(site: &Site) -> Self {
        let told = site.topology.write("told", "");
        let text = format!(
            "#!/bin/sh\necho \"$session_state ${{#session_id}} $username\" >>{}\n",
            told.display()
        );
        let script = site.topology.write("judge", text);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { script, told }
    }

    fn config(&self, site: &Site, token: &str) -> ServerConfig {
        site.server_config()
            .line("script-security 2")
            .line(format!(
                "auth-user-pass-verify {} via-file",
                self.script.display()
            ))
            .line(token)
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.told).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn client(site: &Site) -> ClientConfig {
    let login = site.topology.write("login", "anna\nsesame\n");
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).unwrap();
    ClientConfig::new(site, 0, "alice")
        .line(format!("auth-user-pass {}", login.display()))
        .line("reneg-sec 0")
}

/// A token of the stock server is good at ours, which renews it; when it is none any more, the client hears so
/// and says its password again.
#[test]
fn a_token_of_stocks_goes_on_at_ours_until_it_expires() {
    let site = Site::new(1);
    let judge = Judge::new(&site);
    let key = site.topology.directory().join("token.key");
    run(
        RINGWAY,
        &["genkey", "auth-token", &key.display().to_string()],
    );
    let config = |token: &str| {
        let config = judge.config(&site, token);
        config.line(format!("auth-gen-token-secret {}", key.display()))
    };
    let mut stock = Server::start_program(&site, &config("auth-gen-token 600"), STOCK);
    let client = Client::connect(&site, &client(&site));
    client.assert_reaches_all(&site);
    assert_eq!(judge.told(), ["Initial 16 anna"]);
    stock.process.kill();

    let renewing = config("auth-gen-token 600").line("reneg-sec 8");
    let mut server = Server::start(&site, &renewing);
    client.process.signal(Signal::USR1);
    client.process.wait_for_count(READY, 2);
    client.assert_reaches_all(&site);
    // One with the configuration, and one with each new key.
    server.process.wait_for_count("auth-token", 3);
    client.assert_reaches_all(&site);
    assert_eq!(judge.told(), ["Initial 16 anna"], "nobody was asked again");
    let log = server.process.lines().join("\n");
    assert!(!log.contains("SESS_ID"), "a token is in the log");
    server.process.kill();

    let server = Server::start(&site, &config("auth-gen-token 1"));
    client.process.signal(Signal::USR1);
    client
        .process
        .wait_for("AUTH_FAILED,SESSION: token expired");
    client.process.wait_for_count(READY, 3);
    client.assert_reaches_all(&site);
    assert_eq!(judge.told(), ["Initial 16 anna"; 2]);
    drop(server);
}

/// Judges that are asked about tokens, too, are told what they are.
#[test]
fn external_judges_hear_of_tokens() {
    let site = Site::new(1);
    let judge = Judge::new(&site);
    let config = judge.config(&site, "auth-gen-token 0 external-auth");
    let _server = Server::start(&site, &config);
    let client = Client::connect(&site, &client(&site));
    client.process.signal(Signal::USR1);
    client.process.wait_for_count(READY, 2);
    client.assert_reaches_all(&site);
    assert_eq!(judge.told(), ["Initial 16 anna", "Authenticated 16 anna"]);
}
