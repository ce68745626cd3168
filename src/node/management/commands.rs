//! What is said to each command, in OpenVPN 2.6.14's words.

use std::time::Duration;

use zeroize::Zeroizing;

use super::beyond;
use super::conversation::Conversation;
use super::desk::{Backend, Desk, Waits};
use super::history::History;
use super::order::Killed;
use crate::limits::MANAGEMENT_TEST_LINES;
use crate::node::event::RealAddress;
use crate::node::status::{ClientStatus, StatusFormat};
use crate::node::title::title;

/// Answers a command of at least one word.
pub(super) fn answer(
    to: &mut Conversation,
    words: &[String],
    desk: &mut Desk,
    backend: &mut dyn Backend,
) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((&name, arguments)) = words.split_first() else {
        return;
    };
    if let Some(&(_, least, more)) = NEEDS.iter().find(|(needs, ..)| *needs == name)
        && arguments.len() < least
    {
        let at_least = if more { "at least " } else { "" };
        let plural = if least > 1 { "s" } else { "" };
        return to.say(format_args!(
            "ERROR: the '{name}' command requires {at_least}{least} parameter{plural}"
        ));
    }
    if desk.waits != Waits::Nothing && OF_RUNNING.contains(&name) {
        return unsupported(to, name);
    }
    match (name, arguments) {
        ("exit" | "quit", _) => to.close(),
        ("help", _) => help(to),
        // Stock takes the number without a word: see docs/traps.md, 28.
        ("version", [_, ..]) => {}
        ("version", []) => {
            to.say(format_args!("OpenVPN Version: {}", title()));
            to.say("Management Version: 5");
            to.say("END");
        }
        ("pid", _) => to.say(format_args!("SUCCESS: pid={}", std::process::id())),
        ("env-filter", _) => {
            to.env_filter = arguments.first().map_or(0, |word| number(word));
            let level = to.env_filter;
            to.say(format_args!("SUCCESS: env_filter_level={level}"));
        }
        ("verb" | "mute", _) => amount(to, name, arguments.first().copied(), desk, backend),
        ("hold", _) => hold(to, arguments.first().copied(), desk, backend),
        ("signal", [signal, ..]) => send_signal(to, signal, desk, backend),
        ("log" | "state" | "echo", _) => remembered(to, name, arguments, desk),
        ("bytecount", [seconds, ..]) => {
            to.bytecount = u32::try_from(number(seconds)).unwrap_or_default();
            to.say("SUCCESS: bytecount interval changed");
        }
        ("load-stats" | "nclients" | "status" | "kill" | "client-kill", _) => {
            of_clients(to, name, arguments, backend);
        }
        ("shards" | "drops" | "sessions", _) => match backend.report() {
            Some(report) => beyond::answer(to, name, &report),
            None => to.say(NO_ANSWER),
        },
        ("test", [lines, ..]) => {
            let lines = u64::try_from(number(lines)).unwrap_or_default();
            for line in 0..lines.min(MANAGEMENT_TEST_LINES) {
                to.say(format_args!(
                    "[{line}] The purpose of this command is to generate large amounts of output."
                ));
            }
        }
        (
            "client-auth" | "client-auth-nt" | "client-deny" | "client-pending-auth",
            [client, key, rest @ ..],
        ) => {
            let Ok(client) = client.parse() else {
                return to.say("ERROR: cannot parse CID");
            };
            match key.parse() {
                Ok(key) => of_logins(to, name, (client, key), rest, desk),
                Err(_) => to.say("ERROR: cannot parse KID"),
            }
        }
        ("forget-passwords", _) => {
            backend.forget_passwords();
            to.say("SUCCESS: Passwords were forgotten");
        }
        ("password", [kind, password, ..]) if desk.waits == Waits::Password => {
            key_password(to, kind, password, desk, backend);
        }
        _ => of_others(to, name, arguments),
    }
}

/// The password of the key, for which the start waits.
fn key_password(
    to: &mut Conversation,
    kind: &str,
    password: &str,
    desk: &mut Desk,
    backend: &mut dyn Backend,
) {
    if kind != PRIVATE_KEY {
        return to.say(format_args!(
            "ERROR: password of type '{kind}' entered, but we need one of type '{PRIVATE_KEY}'"
        ));
    }
    desk.waits = Waits::Nothing;
    backend.key_password(Zeroizing::new(password.to_owned()));
    to.say(format_args!(
        "SUCCESS: '{PRIVATE_KEY}' password entered, but not yet verified"
    ));
}

/// Commands that answer a login, by its CID and KID.
fn of_logins(
    to: &mut Conversation,
    name: &str,
    numbers: (u64, u64),
    arguments: &[&str],
    desk: &mut Desk,
) {
    match (name, arguments) {
        ("client-auth", _) => to.expect_lines(numbers),
        ("client-auth-nt", _) => to.accept(numbers, String::new(), desk),
        ("client-deny", [why, rest @ ..]) => {
            let reason = rest.first().copied().unwrap_or_default();
            to.say(match desk.logins.refuse(numbers, why, reason.to_owned()) {
                true => "SUCCESS: client-deny command succeeded",
                false => "ERROR: client-deny command failed",
            });
        }
        (_, [extra, timeout, ..]) => {
            let Ok(timeout) = timeout.parse::<u32>() else {
                return to.say("ERROR: cannot parse TIMEOUT");
            };
            let timeout = Duration::from_secs(timeout.into());
            to.say(match desk.logins.delay(numbers, timeout, extra) {
                true => "SUCCESS: client-pending-auth command succeeded",
                false => {
                    "ERROR: client-pending-auth command failed. Extra parameter might be too long"
                }
            });
        }
        _ => {}
    }
}

/// Commands that a server has no answer to, and those of a client.
fn of_others(to: &mut Conversation, name: &str, arguments: &[&str]) {
    match (name, arguments) {
        ("auth-retry", []) => to.say("SUCCESS: auth-retry=none"),
        ("auth-retry", ["none" | "interact" | "nointeract", ..]) => {
            to.say("SUCCESS: auth-retry parameter changed");
        }
        ("auth-retry", _) => to.say("ERROR: bad auth-retry parameter"),
        ("username" | "password", _) => {
            to.say(format_args!(
                "ERROR: no {name} is currently needed at this time"
            ));
        }
        ("needok" | "needstr", _) => to.say(format_args!(
            "ERROR: no {name}-confirmation is currently needed at this time"
        )),
        ("pkcs11-id-count", _) => to.say(">PKCS11ID-COUNT:0"),
        ("net", _) => to.say("ERROR: Sorry, this command is currently only implemented on Windows"),
        (
            "cr-response" | "remote-entry-count" | "remote-entry-get" | "proxy" | "remote"
            | "rsa-sig" | "pk-sig" | "certificate" | "pkcs11-id-get",
            _,
        ) => unsupported(to, name),
        _ => to.say("ERROR: unknown command, enter 'help' for more options"),
    }
}

fn help(to: &mut Conversation) {
    to.say(format_args!("Management Interface for {}", title()));
    to.say_lines(include_str!("help.txt"));
    to.say("END");
}

fn unsupported(to: &mut Conversation, name: &str) {
    to.say(format_args!(
        "ERROR: The '{name}' command is not supported by the current daemon mode"
    ));
}

fn amount(
    to: &mut Conversation,
    name: &str,
    wanted: Option<&str>,
    desk: &mut Desk,
    backend: &mut dyn Backend,
) {
    match (name, wanted.map(number)) {
        ("verb", None) => to.say(format_args!("SUCCESS: verb={}", desk.verb)),
        ("verb", Some(verb @ 0..=11)) => {
            desk.verb = verb as u8;
            backend.set_verb(desk.verb);
            to.say("SUCCESS: verb level changed");
        }
        (_, None) => to.say(format_args!("SUCCESS: mute={}", desk.mute)),
        ("mute", Some(lines @ 0..=10_000)) => {
            desk.mute = lines as u32;
            backend.set_mute(desk.mute);
            to.say("SUCCESS: mute level changed");
        }
        (_, Some(_)) => to.say(format_args!("ERROR: {name} level is out of range")),
    }
}

fn hold(to: &mut Conversation, wanted: Option<&str>, desk: &mut Desk, backend: &mut dyn Backend) {
    match wanted {
        None => to.say(format_args!("SUCCESS: hold={}", u8::from(desk.hold))),
        Some("on") => {
            desk.hold = true;
            to.say("SUCCESS: hold flag set to ON");
        }
        Some("off") => {
            desk.hold = false;
            to.say("SUCCESS: hold flag set to OFF");
        }
        Some("release") => {
            if desk.waits == Waits::Release {
                desk.waits = Waits::Nothing;
            }
            backend.release();
            to.say("SUCCESS: hold release succeeded");
        }
        Some(_) => to.say("ERROR: bad hold command parameter"),
    }
}

fn send_signal(to: &mut Conversation, name: &str, desk: &Desk, backend: &mut dyn Backend) {
    let Some(&(name, _)) = SIGNALS.iter().find(|(known, _)| *known == name) else {
        return to.say(format_args!(
            "ERROR: signal '{name}' is not a known signal type"
        ));
    };
    let thrown = if name == "SIGUSR1" {
        desk.restart
    } else {
        name
    };
    if desk.waits != Waits::Nothing && matches!(thrown, "SIGHUP" | "SIGUSR1") {
        to.say(format_args!("ERROR: signal '{name}' is currently ignored"));
        return to.say_what_is_awaited(desk);
    }
    if let Some(&(_, number)) = SIGNALS.iter().find(|(known, _)| *known == thrown) {
        backend.signal(number);
    }
    to.say(format_args!("SUCCESS: signal {thrown} thrown"));
}

/// `on`, `off`, `all` or a number, and one of those again; `state` alone is `state 1`.
fn remembered(to: &mut Conversation, name: &str, arguments: &[&str], desk: &Desk) {
    let arguments = match arguments {
        [] => &["1"],
        some => some.get(..2).unwrap_or(some),
    };
    let history: &History = match name {
        "log" => &desk.log,
        "state" => &desk.state,
        _ => &desk.echo,
    };
    for &wanted in arguments {
        let count = usize::try_from(number(wanted))
            .ok()
            .filter(|&count| count > 0);
        match wanted {
            "on" | "off" => {
                let realtime = match name {
                    "log" => &mut to.log,
                    "state" => &mut to.state,
                    _ => &mut to.echo,
                };
                *realtime = wanted == "on";
                let word = wanted.to_uppercase();
                to.say(format_args!(
                    "SUCCESS: real-time {name} notification set to {word}"
                ));
            }
            "all" => show(to, history, None),
            _ if count.is_some() => show(to, history, count),
            _ => to.say(format_args!(
                "ERROR: {name} parameter must be 'on' or 'off' or some number n or 'all'"
            )),
        }
    }
}

fn show(to: &mut Conversation, history: &History, count: Option<usize>) {
    history.last(count).for_each(|entry| to.say(entry));
    to.say("END");
}

/// Commands about those who are connected.
fn of_clients(to: &mut Conversation, name: &str, arguments: &[&str], backend: &mut dyn Backend) {
    let format = match arguments.first().map_or(0, |word| number(word)) {
        0 | 1 => Some(StatusFormat::V1),
        2 => Some(StatusFormat::V2),
        3 => Some(StatusFormat::V3),
        _ => None,
    };
    if name == "status" && format.is_none() {
        return to.say("ERROR: bad status format version number");
    }
    if name == "client-kill" && !arguments.first().is_some_and(|word| is_number(word)) {
        return to.say("ERROR: cannot parse CID");
    }
    let Some(report) = backend.report() else {
        return to.say(NO_ANSWER);
    };
    let clients = &report.status.clients;
    match (name, arguments) {
        ("status", _) => {
            let format = format.unwrap_or(StatusFormat::V1);
            to.say_lines(&report.status.text(format, &report.zone));
        }
        ("load-stats", _) => {
            let sum = |count: fn(&ClientStatus) -> u64| clients.iter().map(count).sum::<u64>();
            to.say(format_args!(
                "SUCCESS: nclients={},bytesin={},bytesout={}",
                clients.len(),
                sum(|client| client.bytes_received),
                sum(|client| client.bytes_sent),
            ));
        }
        ("nclients", _) => to.say(format_args!("SUCCESS: nclients={}", clients.len())),
        ("client-kill", [client, rest @ ..]) => {
            let id = client.parse().unwrap_or(u64::MAX);
            let message = rest.first().copied().unwrap_or("RESTART");
            let killed = backend.kill(vec![id], Killed::Told(message.into()));
            to.say(match killed {
                0 => "ERROR: client-kill command failed",
                _ => "SUCCESS: client-kill command succeeded",
            });
        }
        (_, [victim, ..]) => kill(to, victim, clients, backend),
        (_, []) => {}
    }
}

fn kill(to: &mut Conversation, victim: &str, clients: &[ClientStatus], backend: &mut dyn Backend) {
    let mut ids_of = |is_meant: &dyn Fn(&ClientStatus) -> bool| {
        let meant = clients.iter().filter(|client| is_meant(client));
        let ids: Vec<u64> = meant.map(|client| client.client_id).collect();
        match ids.is_empty() {
            true => 0,
            false => backend.kill(ids, Killed::Silently),
        }
    };
    // Clients by both of 2.6's forms, and by 2.7's with the protocol before the address.
    let address = [
        "udp:",
        "udp4:",
        "tcp:",
        "tcp4-server:",
        "tcp-server:",
        "tcp4:",
    ]
    .iter()
    .find_map(|protocol| victim.strip_prefix(protocol))
    .unwrap_or(victim);
    let Some((host, port)) = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
    else {
        let name = victim.trim_end_matches(':');
        if name.is_empty() {
            return to.say("ERROR: kill parse");
        }
        let killed = ids_of(&|client| client.common_name.as_deref() == Some(name));
        return to.say(match killed {
            0 => format!("ERROR: common name '{name}' not found"),
            _ => format!("SUCCESS: common name '{name}' found, {killed} client(s) killed"),
        });
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(ip) = bare.parse::<std::net::IpAddr>() else {
        return to.say(format_args!("ERROR: error parsing IP address: {host}"));
    };
    let Some(number) = port.parse::<u16>().ok().filter(|&port| port > 0) else {
        return to.say(format_args!("ERROR: port number is out of range: {port}"));
    };
    let killed = ids_of(&|client| {
        client.address.ip().to_canonical() == ip.to_canonical() && client.address.port() == number
    });
    let shown = RealAddress((ip, number).into());
    let shown = match ip {
        std::net::IpAddr::V4(_) => shown.to_string(),
        std::net::IpAddr::V6(_) => format!("[{ip}]:{number}"),
    };
    to.say(match killed {
        0 => format!("ERROR: client at address {shown} not found"),
        _ => format!("SUCCESS: {killed} client(s) at address {shown} killed"),
    });
}

/// As C's `atoi` reads it: what no number begins is zero.
fn number(word: &str) -> i64 {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let end = digits.find(|character: char| !character.is_ascii_digit());
    let digits = digits
        .get(..end.unwrap_or(digits.len()))
        .unwrap_or_default();
    let value: i64 = digits.parse().unwrap_or_default();
    if word.starts_with('-') { -value } else { value }
}

fn is_number(word: &str) -> bool {
    word.parse::<u64>().is_ok()
}

/// How many words a command needs behind its own, and whether there may be more.
const NEEDS: &[(&str, usize, bool)] = &[
    ("signal", 1, false),
    ("kill", 1, false),
    ("log", 1, true),
    ("echo", 1, true),
    ("username", 2, false),
    ("password", 2, false),
    ("needok", 2, false),
    ("needstr", 2, false),
    ("cr-response", 1, false),
    ("bytecount", 1, false),
    ("client-kill", 1, true),
    ("client-deny", 3, true),
    ("client-auth-nt", 2, false),
    ("client-auth", 2, false),
    ("client-pending-auth", 4, false),
    ("pkcs11-id-get", 1, false),
    ("remote-entry-get", 1, true),
    ("proxy", 1, true),
    ("remote", 1, true),
    ("test", 1, false),
];

/// Commands that a server that waits at its start has no answer to.
const OF_RUNNING: &[&str] = &[
    "status",
    "load-stats",
    "nclients",
    "kill",
    "client-kill",
    "shards",
    "drops",
    "sessions",
];

const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", libc::SIGHUP),
    ("SIGTERM", libc::SIGTERM),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGINT", libc::SIGINT),
];

/// Wire: what the password of a key is called.
const PRIVATE_KEY: &str = "Private Key";
const NO_ANSWER: &str = "ERROR: the server does not answer in time";
