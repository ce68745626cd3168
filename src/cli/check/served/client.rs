//! What a client's configuration makes ringway do.

use std::net::IpAddr;

use super::{Row, ciphers, device, offloads, shards, wrapping};
use crate::config::ClientConfiguration;
use crate::config::settings::{
    AddressFamily, ClientSettings, FilterAction, RemoteSettings, ScriptSettings,
};
use crate::reactor::Report;

pub(super) fn rows(client: &ClientConfiguration, machine: &Report) -> Vec<Row> {
    let (settings, node) = (&client.settings, &client.settings.node);
    let offloads = offloads(node.offloads, machine).to_string();
    let mut rows = vec![("shards", shards(&node.shards)), ("offloads", offloads)];
    rows.extend(
        settings
            .remotes
            .iter()
            .map(|remote| ("dials", dials(remote))),
    );
    if settings.shuffle_remotes {
        rows.push(("order", "the servers in a random order".to_owned()));
    }
    rows.extend([
        ("device", device(node)),
        ("shows", shows(client)),
        ("control", wrapping(&node.wrapping)),
        ("ciphers", ciphers(node)),
    ]);
    rows.extend(takes(settings).map(|what| ("takes", what)));
    if settings.routes_by_script {
        rows.push(("routes", "none is set: `route-noexec`".to_owned()));
    }
    rows.extend(runs(&settings.scripts));
    rows
}

fn dials(remote: &RemoteSettings) -> String {
    let host = match remote.host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => remote.host.clone(),
    };
    let family = match remote.family {
        AddressFamily::Any => "",
        AddressFamily::V4 => " by IPv4",
        AddressFamily::V6 => " by IPv6",
    };
    let from = match (remote.local, remote.local_port) {
        (None, 0) => String::new(),
        (None, port) => format!(", from port {port}"),
        (Some(address), 0) => format!(", from {address}"),
        (Some(address), port) => format!(", from port {port} of {address}"),
    };
    format!("UDP port {} of {host}{family}{from}", remote.port)
}

/// What the client shows of itself to be let in.
fn shows(client: &ClientConfiguration) -> String {
    let login = match (&client.settings.login, &client.question) {
        (Some(login), _) => Some(format!("the password of {}", login.username)),
        (None, Some(question)) => Some(match &question.username {
            Some(username) => {
                format!("the password of {username}, which is asked for at the start")
            }
            None => "a name and a password, which are asked for at the start".to_owned(),
        }),
        (None, None) => None,
    };
    match (&client.settings.identity, login) {
        (Some(_), Some(login)) => format!("a certificate, and {login}"),
        (Some(_), None) => "a certificate".to_owned(),
        (None, login) => login.unwrap_or_default(),
    }
}

/// What is taken of what the server pushes, where that is not everything.
fn takes(settings: &ClientSettings) -> impl Iterator<Item = String> {
    let rules = &settings.pull;
    let routes = "no routes and no name servers of the server".to_owned();
    let filters = rules.filters.iter().map(|filter| {
        let prefix = &filter.prefix;
        match filter.action {
            FilterAction::Accept => format!("pushed options that begin with `{prefix}`"),
            FilterAction::Ignore => format!("no pushed options that begin with `{prefix}`"),
            FilterAction::Reject => format!("no server that pushes `{prefix}`"),
        }
    });
    let routes = rules.without_routes.then_some(routes);
    routes.into_iter().chain(filters)
}

fn runs(scripts: &ScriptSettings) -> impl Iterator<Item = Row> {
    let scripts = [
        ("up", &scripts.up),
        ("route-up", &scripts.route_up),
        ("route-pre-down", &scripts.route_pre_down),
        ("ipchange", &scripts.ip_change),
        ("down", &scripts.down),
    ];
    scripts.into_iter().filter_map(|(when, command)| {
        let program = command.as_ref()?.program.display();
        Some(("runs", format!("{program} ({when})")))
    })
}
