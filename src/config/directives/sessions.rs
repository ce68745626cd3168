//! How many clients there are, when one is given up, and what they are told at the end.

use std::time::Duration;

use super::client;
use super::values::{YEAR, number, optional, seconds};
use crate::config::directive::{Directive, Refusal, Support};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::config::settings::{ExplicitExit, Inactivity, SessionTimes};
use crate::limits;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "keepalive",
        "PING RESTART",
        (2, 2),
        "ping and give up silent peers, on both sides",
        keepalive,
    ),
    Directive::served(
        "ping",
        "SECONDS",
        (1, 1),
        "ping a peer when nothing else was sent",
        ping,
    ),
    Directive::served(
        "ping-restart",
        "SECONDS",
        (1, 1),
        "give up a peer that was silent for so long",
        ping_restart,
    ),
    Directive::served(
        "max-clients",
        "N",
        (1, 1),
        "clients at the same time, 1024 if not written",
        max_clients,
    )
    .on_client(Support::Ignored("it belongs to a server's configuration")),
    Directive::served(
        "duplicate-cn",
        "",
        (0, 0),
        "several clients may share a common name",
        duplicate_cn,
    )
    .of_servers(),
    Directive::served(
        "explicit-exit-notify",
        "[0|1|2|N]",
        (0, 1),
        "what clients are told when the server stops; on a client, how often the server is told",
        explicit_exit_notify,
    )
    .on_client(Support::Served(client::explicit_exit_notify)),
    Directive::ignored(
        "ping-timer-rem",
        "",
        (0, 0),
        "count only with a remote address",
        "a client's address is always known",
    )
    .on_client(Support::Ignored("a client always has a remote address")),
    Directive::served(
        "ping-exit",
        "SECONDS",
        (1, 1),
        "end when the peer is silent: a client itself, a server the client's session, as with `ping-restart`",
        ping_exit,
    ),
    Directive::served(
        "inactive",
        "SECONDS [BYTES]",
        (1, 2),
        "end sessions without packets, or with less than so many bytes, in such a time, and on a client \
         the client; 0 for never",
        inactive,
    ),
    Directive::served(
        "session-timeout",
        "SECONDS",
        (1, 1),
        "end each session after such a time, and on a client the client; 0 for never",
        session_timeout,
    ),
];

fn inactive(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.inactivity = inactivity(line)?;
    Ok(())
}

fn inactivity(line: &Line) -> Result<Option<Inactivity>, Refusal> {
    let patience = time(line)?;
    let bytes = optional(line, 1, 0..=u64::MAX)?.unwrap_or(0);
    Ok(patience.map(|patience| Inactivity { patience, bytes }))
}

fn session_timeout(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.session_timeout = time(line)?;
    Ok(())
}

/// `None` for 0, which stands for never.
fn time(line: &Line) -> Result<Option<Duration>, Refusal> {
    let time = seconds(line, 0, 0..=YEAR)?;
    Ok((!time.is_zero()).then_some(time))
}

/// The lines of a client's file about its times. `None` if it is no such line.
///
/// Wire: 2.6 begins all of them anew when it has read the file.
pub(in crate::config) fn of_one_client(
    times: &mut SessionTimes,
    line: &Line,
) -> Option<Result<(), Refusal>> {
    let exits = line.name == "ping-exit";
    Some(match line.name.as_str() {
        "inactive" => inactivity(line).map(|it| times.inactivity = it),
        "session-timeout" => time(line).map(|it| times.session_timeout = it),
        "ping" => time(line).map(|it| times.keepalive.ping = it),
        "ping-restart" | "ping-exit" => time(line).map(|it| {
            times.keepalive.ping_restart = it;
            times.exit_when_silent = exits;
        }),
        _ => return None,
    })
}

fn keepalive(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    // Wire: zeros take back what was written before.
    if [0, 1].map(|index| line.argument(index)) == [Some("0"); 2] {
        draft.network.keepalive = None;
        return Ok(());
    }
    let written = (number(line, 0, 1..=YEAR)?, number(line, 1, 1..=YEAR)?);
    let (ping, restart) = (
        written.0.min(KEEPALIVE_MAX / 2),
        written.1.min(KEEPALIVE_MAX),
    );
    if restart < 2 * ping {
        let why = format!(
            "{restart} seconds is less than twice {ping}: one lost ping would end a session"
        );
        return Err(Refusal::because(why).instead(format!(
            "write `keepalive {ping} {}`",
            (6 * ping).min(KEEPALIVE_MAX)
        )));
    }
    draft.network.keepalive = Written::new((ping, restart), line);
    if written != (ping, restart) {
        let why = format!("no time is longer than {KEEPALIVE_MAX} seconds, as in OpenVPN 2.7");
        let instead = format!("write `keepalive {ping} {restart}`");
        return Err(Refusal::because(why).instead(instead).but_served());
    }
    Ok(())
}

fn ping(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.ping = Written::new(number(line, 0, 0..=YEAR)?, line);
    Ok(())
}

/// `ping-restart` and `ping-exit` set one time: the last of them says what becomes of the session.
fn ping_restart(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.exit_when_silent = false;
    draft.network.ping_restart = Written::new(number(line, 0, 0..=YEAR)?, line);
    Ok(())
}

fn ping_exit(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.exit_when_silent = true;
    draft.network.ping_restart = Written::new(number(line, 0, 0..=YEAR)?, line);
    Ok(())
}

fn max_clients(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.max_clients = number(line, 0, 1..=limits::MAX_CLIENTS_MAX)?;
    Ok(())
}

fn duplicate_cn(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.network.duplicate_cn = true;
    Ok(())
}

fn explicit_exit_notify(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let times: u32 = optional(line, 0, 0..=u32::MAX)?.unwrap_or(1);
    draft.network.explicit_exit = match times {
        0 => ExplicitExit::Silent,
        2 => ExplicitExit::RestartNext,
        _ => ExplicitExit::Restart,
    };
    if times > 2 {
        // Wire: in 2.6 each other number does what 1 does.
        let why = format!("`{times}` is no way of telling clients, and does what 1 does");
        return Err(Refusal::because(why)
            .instead("write 0, 1 or 2")
            .but_served());
    }
    Ok(())
}

/// Wire: 2.7 caps the values of `keepalive`, so that their doubles stay below a day.
const KEEPALIVE_MAX: u32 = 43_200;
