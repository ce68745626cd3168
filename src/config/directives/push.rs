//! Options that are sent to clients.

use super::compression::meant as compression_meant;
use crate::config::directive::{Directive, Refusal, Support};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "push",
        "\"OPTION\"",
        (1, 1),
        "send an option to every client",
        push,
    )
    .on_client(Support::Ignored("a client pushes nothing")),
    Directive::refused(
        "push-reset",
        "",
        (0, 0),
        "forget the pushed options for one client",
        "it belongs to the file of one client (client-config-dir)",
    )
    .of_servers(),
    Directive::refused(
        "push-remove",
        "OPTION",
        (1, 1),
        "forget one pushed option for one client",
        "it belongs to the file of one client (client-config-dir)",
    )
    .of_servers(),
    Directive::refused(
        "push-continuation",
        "1|2",
        (1, 1),
        "part of a push message",
        "it is never written in a file",
    ),
    Directive::refused(
        "peer-id",
        "N",
        (1, 1),
        "part of a push message",
        "it is never written in a file",
    ),
    Directive::refused(
        "protocol-flags",
        "FLAG...",
        (1, crate::config::directive::MANY),
        "part of a push message",
        "it is never written in a file",
    ),
    Directive::refused(
        "key-derivation",
        "METHOD...",
        (1, crate::config::directive::MANY),
        "part of a push message",
        "it is never written in a file",
    ),
    Directive::ignored(
        "parameter",
        "[WORD...]",
        (0, crate::config::directive::MANY),
        "a word for a client's user interface",
        "the server does not read it",
    ),
    Directive::ignored(
        "ip-remote-hint",
        "[ADDRESS]",
        (0, 1),
        "a word for a client's user interface",
        "the server does not read it",
    ),
];

fn push(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let written = line.argument(0).unwrap_or_default().trim();
    let mut words = written.split_whitespace();
    if let Some(name @ ("comp-lzo" | "compress")) = words.next() {
        // Whether it goes with the server's own framing is known when all lines are.
        compression_meant(name, words.next())?;
        draft.push.extend(Written::new(written.to_owned(), line));
        return Ok(());
    }
    match pushed_option(line.argument(0).unwrap_or_default())? {
        Some(option) => draft.push.extend(Written::new(option.to_owned(), line)),
        None => draft.warn(line, "an empty option is not sent"),
    }
    Ok(())
}

/// What stands in a `push` line, if it may be sent; `None` for an empty option.
pub(in crate::config) fn pushed_option(written: &str) -> Result<Option<&str>, Refusal> {
    let option = written.trim();
    let mut words = option.split_whitespace();
    let name = words.next().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    if option.contains(',') || option.chars().any(char::is_control) {
        return Err(Refusal::because(
            "a comma or a control character cannot be pushed",
        ));
    }
    if option.len() > PUSHED_OPTION_MAX {
        let why = format!("an option of more than {PUSHED_OPTION_MAX} bytes cannot be pushed");
        return Err(Refusal::because(why));
    }
    match (name, words.next()) {
        ("comp-lzo" | "compress", _) => Err(Refusal::because(
            "it would change how this client's packets are framed, and not how the server frames them",
        )
        .instead("remove the line, and push it to all clients")),
        (
            "ifconfig" | "peer-id" | "cipher" | "protocol-flags" | "key-derivation" | "auth-token",
            _,
        ) => Err(
            Refusal::because(format!("ringway decides `{name}` for each client"))
                .instead("remove the line"),
        ),
        _ => Ok(Some(option)),
    }
}

/// What a client takes for one option. Wire: wire.md section 10.
const PUSHED_OPTION_MAX: usize = 255;
