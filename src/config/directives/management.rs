//! The management interface.

use crate::config::directive::{Directive, MANY, Support};

pub(super) const ROWS: &[Directive] = &[
    Directive::later(
        "management",
        "ADDRESS PORT [PASSWORD-FILE]",
        (2, 3),
        "answer commands on a socket",
        REMOVE,
    )
    .on_client(Support::Later("remove the line")),
    Directive::later(
        "management-client",
        "",
        (0, 0),
        "connect to the manager instead",
        REMOVE,
    ),
    Directive::later(
        "management-client-auth",
        "",
        (0, 0),
        "let the manager admit clients",
        "without it more clients would be let in, so ringway does not start",
    )
    .of_servers(),
    Directive::later(
        "management-client-user",
        "NAME",
        (1, 1),
        "who may connect to the socket",
        REMOVE,
    ),
    Directive::later(
        "management-client-group",
        "NAME",
        (1, 1),
        "who may connect to the socket",
        REMOVE,
    ),
    Directive::later(
        "management-hold",
        "",
        (0, 0),
        "wait for the manager at the start",
        REMOVE,
    ),
    Directive::later(
        "management-log-cache",
        "N",
        (1, 1),
        "log lines kept for the manager",
        REMOVE,
    ),
    Directive::later(
        "management-signal",
        "",
        (0, 0),
        "restart when the manager goes",
        REMOVE,
    ),
    Directive::later(
        "management-forget-disconnect",
        "",
        (0, 0),
        "forget passwords when the manager goes",
        REMOVE,
    ),
    Directive::later(
        "management-up-down",
        "",
        (0, 0),
        "tell the manager about the device",
        REMOVE,
    ),
    Directive::later(
        "management-query-passwords",
        "",
        (0, 0),
        "ask the manager for passwords",
        REMOVE,
    ),
    Directive::later(
        "management-external-key",
        "[ALGORITHM...]",
        (0, MANY),
        "ask the manager for signatures",
        "write `key`",
    ),
    Directive::later(
        "management-external-cert",
        "HINT",
        (1, 1),
        "ask the manager for the certificate",
        "write `cert`",
    ),
    Directive::refused(
        "management-query-proxy",
        "",
        (0, 0),
        "ask the manager for a proxy",
        "it belongs to a client's configuration; remove the line",
    ),
    Directive::refused(
        "management-query-remote",
        "",
        (0, 0),
        "ask the manager for the remote",
        "it belongs to a client's configuration; remove the line",
    ),
];

const REMOVE: &str = "remove the line; `status` says who is connected";
