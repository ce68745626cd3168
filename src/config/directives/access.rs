//! Who may connect: passwords, tokens, files of single clients.

use ipnet::Ipv4Net;

use super::passwords;
use super::values::{YEAR, ipv4, number, optional, seconds};
use crate::config::directive::{Directive, MANY, Refusal};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::limits::{HOSTS_REMEMBERED, INNER_PREFIXES_MAX};

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "verify-client-cert",
        "none|optional|require",
        (0, 1),
        "whether clients need a certificate",
        passwords::verify_client_cert,
    )
    .of_servers(),
    Directive::served(
        "auth-user-pass-verify",
        "COMMAND METHOD",
        (1, MANY),
        "check passwords by a command",
        passwords::verify,
    )
    .of_servers(),
    Directive::served(
        "auth-user-pass-optional",
        "",
        (0, 0),
        "clients may come without a password",
        passwords::optional,
    )
    .of_servers(),
    Directive::served(
        "username-as-common-name",
        "",
        (0, 0),
        "name clients by their user name",
        passwords::username_as_common_name,
    )
    .of_servers(),
    Directive::served(
        "auth-gen-token",
        "[LIFETIME [RENEWAL] [external-auth]]",
        (0, MANY),
        "give clients a token for their password; seconds, a LIFETIME of 0 has no end",
        passwords::auth_gen_token,
    )
    .of_servers(),
    Directive::served(
        "auth-gen-token-secret",
        "FILE",
        (1, 1),
        "key of the tokens; without it they are good until the server ends",
        passwords::auth_gen_token_secret,
    )
    .or_block()
    .of_servers(),
    Directive::served(
        "client-config-dir",
        "DIRECTORY",
        (1, 1),
        "a file of options for each client",
        client_config_dir,
    )
    .of_servers(),
    Directive::served(
        "ccd-exclusive",
        "",
        (0, 0),
        "refuse clients without a file of their own",
        ccd_exclusive,
    )
    .of_servers(),
    Directive::served(
        "max-routes-per-client",
        "N",
        (1, 1),
        "addresses and networks that lead to one client at most",
        max_routes_per_client,
    )
    .of_servers(),
    Directive::served(
        "stale-routes-check",
        "SECONDS [INTERVAL]",
        (1, 2),
        "forget hosts behind clients that are silent for so long, after 60 if not written and at the latest; \
         clients' own addresses and networks stay with them",
        stale_routes_check,
    )
    .of_servers(),
    Directive::served(
        "ifconfig-push-constraint",
        "NETWORK NETMASK",
        (2, 2),
        "where clients' own addresses are to be; one that is elsewhere is remarked upon, and served",
        ifconfig_push_constraint,
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
        "remove the line: a user has the name of its login, for whoever judges it and in the status",
    )
    .of_servers(),
];

fn client_config_dir(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let directory = line.argument(0).unwrap_or_default().to_owned();
    draft.network.client_files = Written::new(directory, line);
    Ok(())
}

fn ccd_exclusive(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.files_exclusive = Written::new((), line);
    Ok(())
}

fn ifconfig_push_constraint(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (network, netmask) = (ipv4(line, 0)?, ipv4(line, 1)?);
    let constraint = Ipv4Net::with_netmask(network, netmask)
        .map_err(|_| Refusal::because(format!("`{netmask}` is not a netmask")))?;
    draft.network.constraint = Some(constraint);
    Ok(())
}

fn max_routes_per_client(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.routes_per_client = routes_per_client(line)?;
    Ok(())
}

/// Stock looks through its routes each INTERVAL; here who is stale is never shown.
fn stale_routes_check(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let stale = seconds(line, 0, 1..=YEAR)?;
    let _interval = optional(line, 1, 1..=u32::MAX)?;
    draft.network.hosts_remembered = stale.min(HOSTS_REMEMBERED);
    Ok(())
}

/// The number of a `max-routes-per-client` line.
pub(in crate::config) fn routes_per_client(line: &Line) -> Result<u32, Refusal> {
    number(line, 0, 1..=ROUTES_PER_CLIENT_MAX)
}

const ROUTES_PER_CLIENT_MAX: u32 = INNER_PREFIXES_MAX as u32;
const ONE_CLIENT: &str = "it belongs to the file of one client (client-config-dir)";
