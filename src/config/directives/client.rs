//! Directives of clients: the servers to try, the login, what is taken of what a server pushes.
//!
//! In a server's configuration, those that a server of OpenVPN refuses are refused, the rest is
//! ignored. The setters here are also those of a client for lines that a server understands
//! otherwise.

mod connection;
mod tunnel;

use std::num::{NonZeroU8, NonZeroU32};

pub(super) use connection::{
    bind, connect_retry, connect_timeout, connection, local, lport, nobind, port, proto, remote,
    rport,
};
pub(super) use tunnel::{command, one_command, option, script, tunnel};

use super::values::{YEAR, number, optional, seconds, source};
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, LoginLine, Written};
use crate::config::lexer::Line;
use crate::config::settings::{AfterRefusal, FilterAction, PullFilter};
use crate::limits;

pub(super) const ROWS: &[Directive] = &[
    Directive::refused(
        "client",
        "",
        (0, 0),
        "be a client",
        "ringway is a server: this is a client's configuration",
    )
    .on_client(Support::Served(client)),
    Directive::refused(
        "tls-client",
        "",
        (0, 0),
        "be the TLS client",
        "ringway is a server: this is a client's configuration",
    )
    .on_client(Support::Served(tls_client)),
    Directive::refused(
        "remote",
        "HOST [PORT [PROTO]]",
        (1, 3),
        "the server of a client",
        "ringway is a server: this is a client's configuration, or one of two equal peers, which is not served",
    )
    .on_client(Support::Served(remote)),
    Directive::refused(
        "connection",
        "[...]",
        (1, 2),
        "a remote with options of its own",
        "ringway is a server: this is a client's configuration",
    )
    .or_block()
    .on_client(Support::Served(connection)),
    Directive::ignored("rport", "PORT", (1, 1), "port of the remote", CLIENT)
    .on_client(Support::Served(rport)),
    Directive::refused("pull", "", (0, 0), "accept pushed options", CLIENT)
    .on_client(Support::Served(pull)),
    Directive::refused(
        "auth-user-pass",
        "[FILE]",
        (0, 1),
        "log in with a password",
        CLIENT,
    )
    .or_block()
    .on_client(Support::Served(auth_user_pass)),
    Directive::refused(
        "http-proxy",
        "HOST PORT [AUTH [METHOD]]",
        (1, 4),
        "connect by a proxy",
        CLIENT,
    )
    .on_client(Support::Later("it belongs to TCP; remove the line")),
    Directive::refused(
        "http-proxy-option",
        "NAME [VALUE]",
        (1, 3),
        "connect by a proxy",
        CLIENT,
    )
    .on_client(Support::Later("it belongs to TCP; remove the line")),
    Directive::refused(
        "http-proxy-override",
        "HOST PORT [AUTH]",
        (2, 3),
        "connect by a proxy",
        CLIENT,
    )
    .on_client(Support::Later("it belongs to TCP; remove the line")),
    Directive::refused(
        "http-proxy-user-pass",
        "FILE",
        (1, MANY),
        "connect by a proxy",
        CLIENT,
    )
    .or_block()
    .on_client(Support::Later("it belongs to TCP; remove the line")),
    Directive::refused(
        "http-proxy-timeout",
        "SECONDS",
        (1, 1),
        "connect by a proxy",
        CLIENT,
    )
    .on_client(Support::Later("it belongs to TCP; remove the line")),
    Directive::refused(
        "socks-proxy",
        "HOST [PORT [FILE]]",
        (1, 3),
        "connect by a proxy",
        CLIENT,
    )
    .on_client(Support::Later("remove the line, where the server can be reached without the proxy")),
    Directive::ignored("allow-pull-fqdn", "", (0, 0), "accept pushed names", CLIENT)
    .on_client(Support::Later("remove the line; routes to names are left out, with a warning")),
    Directive::ignored("route-nopull", "", (0, 0), "refuse pushed routes", CLIENT)
    .on_client(Support::Served(route_nopull)),
    Directive::ignored(
        "resolv-retry",
        "SECONDS|infinite",
        (1, 1),
        "how long a name is tried",
        CLIENT,
    )
    .on_client(Support::Served(resolv_retry)),
    Directive::ignored(
        "remote-random",
        "",
        (0, 0),
        "remotes in a random order",
        CLIENT,
    )
    .on_client(Support::Served(remote_random)),
    Directive::ignored(
        "remote-random-hostname",
        "",
        (0, 0),
        "a random label before the remote",
        CLIENT,
    )
    .on_client(Support::Later("remove the line, if the name resolves without a label before it")),
    Directive::ignored(
        "connect-retry",
        "SECONDS [MOST]",
        (1, 2),
        "pause between attempts",
        CLIENT,
    )
    .on_client(Support::Served(connect_retry)),
    Directive::ignored("connect-retry-max", "N", (1, 1), "attempts", CLIENT)
    .on_client(Support::Served(connect_retry_max)),
    Directive::ignored(
        "connect-timeout",
        "SECONDS",
        (1, 1),
        "how long a remote is tried",
        CLIENT,
    )
    .on_client(Support::Served(connect_timeout)),
    Directive::ignored(
        "server-poll-timeout",
        "SECONDS",
        (1, 1),
        "how long a remote is tried",
        CLIENT,
    )
    .on_client(Support::Served(connect_timeout)),
    Directive::ignored(
        "auth-retry",
        "none|nointeract|interact",
        (1, 1),
        "what to do when a login fails",
        CLIENT,
    )
    .on_client(Support::Served(auth_retry)),
    Directive::ignored("auth-nocache", "", (0, 0), "forget passwords", CLIENT)
    .on_client(Support::Ignored("name and password are kept for the next connection, in memory that is wiped at the end")),
    Directive::ignored(
        "auth-token",
        "TOKEN",
        (1, 1),
        "a token for a password",
        CLIENT,
    )
    .on_client(Support::Refused("the server gives it: remove the line")),
    Directive::ignored(
        "auth-token-user",
        "NAME",
        (1, 1),
        "a name for a token",
        CLIENT,
    )
    .on_client(Support::Refused("the server gives it: remove the line")),
    Directive::ignored(
        "static-challenge",
        "TEXT ECHO",
        (2, 2),
        "a question at login",
        CLIENT,
    )
    .on_client(Support::Later("remove the line, if the server does without an answer")),
    Directive::ignored(
        "pull-filter",
        "ACTION TEXT",
        (2, 2),
        "choose among pushed options",
        CLIENT,
    )
    .on_client(Support::Served(pull_filter)),
    Directive::ignored("push-peer-info", "", (0, 0), "tell the server more", CLIENT)
    .on_client(Support::Ignored("the server is told what it needs to serve this client, and no more")),
    Directive::ignored(
        "allow-recursive-routing",
        "",
        (0, 0),
        "let the tunnel carry itself",
        CLIENT,
    )
    .on_client(Support::Always("packets to the server that come through the tunnel are not looked for")),
    Directive::ignored("preresolve", "[...]", (0, 1), "resolve names early", CLIENT)
    .on_client(Support::Ignored("names are resolved when they are dialed")),
    Directive::ignored("http-proxy-retry", "[...]", (0, MANY), "obsolete", CLIENT)
    .on_client(Support::Ignored("obsolete, and proxies are not served")),
    Directive::ignored("socks-proxy-retry", "[...]", (0, MANY), "obsolete", CLIENT)
    .on_client(Support::Ignored("obsolete, and proxies are not served")),
    Directive::ignored(
        "route-method",
        "METHOD",
        (1, 1),
        "how routes are set",
        WINDOWS,
    ),
    Directive::refused(
        "ip-win32",
        "METHOD...",
        (1, MANY),
        "how addresses are set",
        WINDOWS,
    ),
    Directive::refused("dhcp-renew", "", (0, 0), "DHCP of the device", WINDOWS),
    Directive::refused("dhcp-release", "", (0, 0), "DHCP of the device", WINDOWS),
    Directive::refused(
        "dhcp-pre-release",
        "",
        (0, 0),
        "DHCP of the device",
        WINDOWS,
    ),
    Directive::refused(
        "dhcp-internal",
        "INDEX",
        (1, 1),
        "DHCP of the device",
        WINDOWS,
    ),
    Directive::refused(
        "register-dns",
        "",
        (0, 0),
        "name servers of the device",
        WINDOWS,
    ),
    Directive::refused(
        "rdns-internal",
        "",
        (0, 0),
        "name servers of the device",
        WINDOWS,
    ),
    Directive::refused(
        "block-outside-dns",
        "",
        (0, 0),
        "only the tunnel's name servers",
        "it is for Windows clients: write `push \"block-outside-dns\"`",
    )
    .on_client(Support::Refused(WINDOWS)),
    Directive::refused(
        "tap-sleep",
        "SECONDS",
        (1, 1),
        "pause for the device",
        WINDOWS,
    ),
    Directive::refused(
        "pause-exit",
        "",
        (0, 0),
        "wait for a key at the end",
        WINDOWS,
    ),
    Directive::refused("service", "EVENT [0|1]", (1, 2), "be a service", WINDOWS),
    Directive::refused(
        "allow-nonadmin",
        "[ADAPTER]",
        (0, 1),
        "who may use the device",
        WINDOWS,
    ),
    Directive::refused("win-sys", "PATH", (1, 1), "where Windows is", WINDOWS),
    Directive::refused(
        "windows-driver",
        "DRIVER",
        (1, 1),
        "driver of the device",
        WINDOWS,
    ),
];

fn client(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.tls_client = true;
    draft.client.pull = true;
    Ok(())
}

fn tls_client(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.tls_client = true;
    Ok(())
}

fn pull(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.pull = true;
    Ok(())
}

pub(super) fn mode(_: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("p2p") => Ok(()),
        Some("server") => Err(Refusal::because("`mode server` does not go with `client`")
            .instead("keep the one that is meant")),
        other => Err(
            Refusal::because(format!("`{}` is no mode", other.unwrap_or_default()))
                .instead("remove the line"),
        ),
    }
}

/// A tunnel is one shard's.
pub(super) fn shards(_: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match number(line, 0, 1..=limits::SHARDS_MAX)? {
        1 => Ok(()),
        _ => Err(
            Refusal::because("a tunnel is one shard's, and a client has one tunnel")
                .instead("remove the line; `ringway-cores` says on which core"),
        ),
    }
}

fn auth_user_pass(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let login = source(line).map_or(LoginLine::Ask, LoginLine::Read);
    draft.client.login = Written::new(login, line);
    Ok(())
}

fn auth_retry(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.client.after_refusal = match line.argument(0) {
        Some("none") => AfterRefusal::End,
        Some("nointeract") => AfterRefusal::Retry,
        Some("interact") => {
            return Err(Refusal::because("nobody is asked while the client runs")
                .instead("write `auth-retry none` or `auth-retry nointeract`"));
        }
        other => {
            let why = format!("`{}` is no choice", other.unwrap_or_default());
            return Err(Refusal::because(why).instead("write `none` or `nointeract`"));
        }
    };
    Ok(())
}

fn resolv_retry(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.client.resolve_patience = match line.argument(0) {
        Some("infinite") => None,
        _ => Some(seconds(line, 0, 0..=YEAR)?),
    };
    Ok(())
}

fn remote_random(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.shuffle_remotes = true;
    Ok(())
}

fn connect_retry_max(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.client.rounds = match line.argument(0) {
        Some("unlimited") => None,
        // Wire: 2.6 takes 0 for no bound.
        _ => NonZeroU32::new(number(line, 0, 0..=u32::MAX)?),
    };
    Ok(())
}

fn route_nopull(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.pull_rules.without_routes = true;
    Ok(())
}

pub(super) fn route_noexec(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.routes_by_script = true;
    Ok(())
}

fn pull_filter(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let action = match line.argument(0).unwrap_or_default() {
        "accept" => FilterAction::Accept,
        "ignore" => FilterAction::Ignore,
        "reject" => FilterAction::Reject,
        other => {
            return Err(Refusal::because(format!("`{other}` is no action"))
                .instead("write `accept`, `ignore` or `reject`"));
        }
    };
    let prefix = line.argument(1).unwrap_or_default().trim_start().to_owned();
    if prefix.is_empty() {
        return Err(Refusal::because(
            "the text is empty, with which every option begins",
        ));
    }
    let mut followed = OF_THE_SESSION.iter();
    let followed =
        followed.find(|name| prefix.starts_with(&format!("{name} ")) || name.starts_with(&prefix));
    if let (FilterAction::Ignore, Some(name)) = (action, followed) {
        return Err(Refusal::because(format!(
            "`{name}` is followed before filters are asked, and cannot be left out"
        ))
        .instead("remove the line, or write `pull-filter reject`"));
    }
    let filters = &mut draft.client.pull_rules.filters;
    filters.push(PullFilter { action, prefix });
    Ok(())
}

pub(super) fn tun_mtu_max(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let most = number(line, 0, limits::TUN_MTU_MIN..=limits::TUN_MTU_MAX)?;
    draft.client.mtu_max = Written::new(most, line);
    Ok(())
}

pub(super) fn explicit_exit_notify(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let times = optional(line, 0, 0..=u8::MAX)?.unwrap_or(1);
    draft.client.explicit_exit = NonZeroU8::new(times);
    Ok(())
}

pub(super) fn down_pre(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.scripts.down_before = true;
    Ok(())
}

pub(super) fn up_restart(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.scripts.at_restart = true;
    Ok(())
}

/// What the session follows before filters are asked.
const OF_THE_SESSION: [&str; 7] = [
    "cipher",
    "key-derivation",
    "peer-id",
    "ping",
    "ping-exit",
    "ping-restart",
    "protocol-flags",
];

const CLIENT: &str = "it belongs to a client's configuration";
const WINDOWS: &str = "it is about Windows";
