//! Who may connect: passwords, tokens, files of single clients.

use crate::config::directive::{Directive, MANY};

pub(super) const ROWS: &[Directive] = &[
    Directive::later(
        "verify-client-cert",
        "[none|optional|require]",
        (0, 1),
        "whether clients need a certificate",
        "remove the line: every client needs one",
    )
    .of_servers(),
    Directive::later(
        "auth-user-pass-verify",
        "COMMAND METHOD",
        (1, MANY),
        "check passwords by a command",
        PASSWORDS,
    )
    .of_servers(),
    Directive::later(
        "auth-user-pass-optional",
        "",
        (0, 0),
        "clients may come without a password",
        PASSWORDS,
    )
    .of_servers(),
    Directive::later(
        "username-as-common-name",
        "",
        (0, 0),
        "name clients by their user name",
        PASSWORDS,
    )
    .of_servers(),
    Directive::later(
        "auth-gen-token",
        "[LIFETIME [RENEWAL [external-auth]]]",
        (0, MANY),
        "give clients a token for their password",
        PASSWORDS,
    )
    .of_servers(),
    Directive::later(
        "auth-gen-token-secret",
        "FILE",
        (1, 1),
        "key of the tokens",
        PASSWORDS,
    )
    .or_block()
    .of_servers(),
    Directive::later(
        "client-config-dir",
        "DIRECTORY",
        (1, 1),
        "a file of options for each client",
        "remove the line if the directory is empty; its options would be lost",
    )
    .of_servers(),
    Directive::later(
        "ccd-exclusive",
        "",
        (0, 0),
        "refuse clients without a file",
        "without it more clients would be let in, so ringway does not start",
    )
    .of_servers(),
    Directive::later(
        "max-routes-per-client",
        "N",
        (1, 1),
        "routes behind one client",
        "remove the line",
    )
    .of_servers(),
    Directive::later(
        "stale-routes-check",
        "SECONDS [INTERVAL]",
        (1, 2),
        "forget unused routes",
        "remove the line",
    )
    .of_servers(),
    Directive::later(
        "ifconfig-push-constraint",
        "NETWORK NETMASK",
        (2, 2),
        "networks for clients' own addresses",
        "remove the line",
    )
    .of_servers(),
    Directive::refused(
        "ifconfig-push",
        "ADDRESS NETMASK [ALIAS]",
        (2, 3),
        "address of one client",
        ONE_CLIENT,
    )
    .of_servers(),
    Directive::refused(
        "ifconfig-ipv6-push",
        "ADDRESS/BITS [REMOTE]",
        (1, 2),
        "IPv6 address of one client",
        ONE_CLIENT,
    )
    .of_servers(),
    Directive::refused(
        "iroute",
        "NETWORK [NETMASK]",
        (1, 2),
        "network behind one client",
        ONE_CLIENT,
    )
    .of_servers(),
    Directive::refused(
        "iroute-ipv6",
        "NETWORK/BITS",
        (1, 1),
        "IPv6 network behind one client",
        ONE_CLIENT,
    )
    .of_servers(),
    Directive::refused("disable", "", (0, 0), "shut one client out", ONE_CLIENT).of_servers(),
    Directive::refused(
        "override-username",
        "NAME",
        (1, 1),
        "name one client",
        ONE_CLIENT,
    )
    .of_servers(),
];

const PASSWORDS: &str = "remove the line; clients are known by their certificates";
const ONE_CLIENT: &str = "it belongs to the file of one client (client-config-dir)";
