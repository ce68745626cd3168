//! Programs and plug-ins that OpenVPN starts.

use super::{client, hooks, passwords};
use crate::config::directive::{Directive, MANY, Support};

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "up",
        "COMMAND",
        (1, MANY),
        "run when the device is up",
        client::script,
    ),
    Directive::served(
        "down",
        "COMMAND",
        (1, MANY),
        "run when the device is closed",
        client::script,
    ),
    Directive::served(
        "down-pre",
        "",
        (0, 0),
        "run `down` before the device is closed",
        client::down_pre,
    ),
    Directive::later("up-delay", "", (0, 0), "run `up` at the first client", UNIT).on_client(
        Support::Always("`up` runs when the server has given an address"),
    ),
    Directive::always(
        "up-restart",
        "",
        (0, 0),
        "run `up` and `down` at a restart",
        "a server that reads its configuration again keeps its device, and one that restarts runs both",
    )
    .on_client(Support::Served(client::up_restart)),
    Directive::served(
        "route-up",
        "COMMAND",
        (1, MANY),
        "run when routes are set",
        client::script,
    ),
    Directive::served(
        "route-pre-down",
        "COMMAND",
        (1, MANY),
        "run before routes are removed",
        client::script,
    ),
    Directive::refused(
        "ipchange",
        "COMMAND",
        (1, MANY),
        "run when the server's address is known to be right",
        "a server has many peers: write `client-connect`",
    )
    .on_client(Support::Served(client::script)),
    Directive::served(
        "client-connect",
        "COMMAND",
        (1, MANY),
        "run when a client comes",
        hooks::script,
    )
    .of_servers(),
    Directive::served(
        "client-disconnect",
        "COMMAND",
        (1, MANY),
        "run when a client goes",
        hooks::script,
    )
    .of_servers(),
    Directive::served(
        "client-crresponse",
        "COMMAND",
        (1, MANY),
        "run when a client answers a challenge",
        hooks::script,
    )
    .of_servers(),
    Directive::served(
        "learn-address",
        "COMMAND",
        (1, MANY),
        "run when an address is learnt",
        hooks::script,
    )
    .of_servers(),
    Directive::served(
        "tls-verify",
        "COMMAND",
        (1, MANY),
        "run to check a certificate",
        hooks::script,
    )
    .on_client(Support::Later(
        "without it more servers would be trusted, so ringway does not start",
    )),
    Directive::later(
        "tls-export-cert",
        "DIRECTORY",
        (1, 1),
        "certificates as files for scripts",
        "remove the line",
    ),
    Directive::served(
        "plugin",
        "FILE [ARGUMENTS]",
        (1, MANY),
        "a plug-in that judges logins or hears of clients and of the device, in a program of its own",
        passwords::plugin,
    )
    .of_servers(),
    Directive::later(
        "dns-updown",
        "COMMAND",
        (1, MANY),
        "run to set name servers",
        "remove the line",
    ),
];

const UNIT: &str =
    "remove the line and run the command from the unit file: ExecStartPost=, ExecStopPost=";
