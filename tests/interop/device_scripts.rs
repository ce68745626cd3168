//! The scripts of a server's device: `up`, `route-up`, `route-pre-down` and `down` are told what stock tells them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::server::{Implementation, RINGWAY, Server, ServerConfig, Site};

/// What a script was told: its arguments, and its variables.
type Told = (String, BTreeMap<String, String>);

/// A script that writes down its arguments and its environment.
fn script(site: &Site, name: &str) -> PathBuf {
    let directory = site.topology.directory();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let told = directory.join(format!("{name}.told"));
    fs::write(&told, "").unwrap();
    fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
    let told = told.display();
    let text = format!(
        "#!/bin/sh\necho \"$*\" >{told}\nip link show tun0 >/dev/null 2>&1 && echo is_there=yes >>{told}\n\
         echo user=$(id -un) >>{told}\nenv >>{told}\n"
    );
    let path = site.topology.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn told(site: &Site, name: &str) -> Told {
    let path = site.topology.directory().join(format!("{name}.told"));
    let text = fs::read_to_string(path).unwrap();
    let (arguments, variables) = text.split_once('\n').expect(name);
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    // The shell's own.
    let variables = variables.filter(|(name, _)| !["PWD", "_", "SHLVL", "OLDPWD"].contains(name));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (arguments.to_owned(), variables.collect())
}

const NAMES: [&str; 4] = ["up", "route-up", "route-pre-down", "down"];

fn life(site: &Site, config: &ServerConfig, program: &str) -> [Told; 4] {
    let mut server = Server::start_program(site, config, program);
    assert!(server.stop().success());
    NAMES.map(|name| told(site, name))
}

#[test]
fn scripts_of_the_device_are_told_what_stock_tells_them() {
    if !Implementation::is_ringway("scripts_of_the_device_are_told_what_stock_tells_them") {
        return;
    }
    let site = Site::new(0);
    let mut config = site
        .server_config()
        .line("script-security 2")
        .line("route 10.78.0.0 255.255.255.0")
        .line("route-ipv6 fd78::/64")
        .line("setenv colour blue")
        .line("user nobody")
        .line("group nogroup");
    for name in NAMES {
        let script = script(&site, name);
        config = config.line(format!("{name} \"{} own\"", script.display()));
    }
    let stock = life(&site, &config, "openvpn");
    let ringway = life(&site, &config, RINGWAY);
    let mut others = Vec::new();
    for ((name, stock), ringway) in NAMES.iter().zip(stock).zip(ringway) {
        if stock.0 != ringway.0 {
            others.push(format!("{name}: {}, in stock {}", ringway.0, stock.0));
        }
        let differing = |name: &str| ["daemon_pid", "daemon_start_time", "verb"].contains(&name);
        for (variable, value) in stock.1 {
            let own = ringway.1.get(&variable).cloned();
            if own.is_none() || own.as_ref() != Some(&value) && !differing(&variable) {
                others.push(format!("{name}: {variable} is {own:?}, in stock {value}"));
            }
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn a_script_of_up_that_fails_ends_the_start() {
    let site = Site::new(0);
    let script = site.topology.write("up", "#!/bin/sh\nexit 3\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let config = site
        .server_config()
        .line("script-security 2")
        .line(format!("up {}", script.display()));
    let path = site.topology.write("server.conf", config.text());
    let mut server = Server::spawn(&site, &["--config", &path.display().to_string()]);
    server
        .process
        .wait_for("external program exited with error status: 3");
    assert!(!server.process.wait_exit().success());
}
