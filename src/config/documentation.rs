//! The table of directives as text: for `--help`, and for docs/directives.md.

use std::fmt::Write as _;

use super::directive::{Directive, Support};
use super::directives::FAMILIES;

/// The served directives, a line each.
pub fn help() -> String {
    let mut text = String::new();
    for family in FAMILIES {
        let served: Vec<_> = family
            .rows
            .iter()
            .filter_map(|row| Some((row, served_by(row)?)))
            .collect();
        if served.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{}:", family.title);
        for (row, roles) in served {
            let _ = writeln!(text, "  --{:<40} {}{roles}", row.synopsis(), row.help);
        }
    }
    text
}

/// Who serves a directive, as a word behind its line; `None` if nobody does.
fn served_by(row: &Directive) -> Option<&'static str> {
    let served = |support| matches!(support, Support::Served(_));
    match (served(row.server), served(row.client)) {
        (true, true) => Some(""),
        (true, false) => Some(" (servers)"),
        (false, true) => Some(" (clients)"),
        (false, false) => None,
    }
}

/// docs/directives.md.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    for family in FAMILIES {
        let _ = write!(
            text,
            "\n## {}\n\n| directive | server | client | |\n|---|---|---|---|\n",
            family.title
        );
        for row in family.rows {
            let ((server, why_server), (client, why_client)) =
                (state(row.server), state(row.client));
            let about = match (why_server, why_client) {
                ("", "") => row.help.to_owned(),
                (both, same) if both == same => format!("{}. {both}", row.help),
                (server, "") => format!("{}. Server: {server}", row.help),
                ("", client) => format!("{}. Client: {client}", row.help),
                (server, client) => format!("{}. Server: {server}. Client: {client}", row.help),
            };
            let synopsis = row.synopsis().replace('|', "\\|");
            let about = about.replace('|', "\\|");
            let _ = writeln!(text, "| `{synopsis}` | {server} | {client} | {about} |");
        }
    }
    text
}

/// What becomes of a line in a word, and the sentence about it.
fn state(support: Support) -> (&'static str, &'static str) {
    match support {
        Support::Served(_) => ("served", ""),
        Support::Always(why) => ("always so", why),
        Support::Ignored(why) => ("ignored", why),
        Support::Later(meanwhile) => ("not yet", meanwhile),
        Support::Refused(why) => ("refused", why),
    }
}

const INTRODUCTION: &str = "\
# Directives

ringway reads the configuration files of OpenVPN. This page lists every directive that OpenVPN 2.6
and 2.7 know, and the few that ringway adds. It is made from the table in `src/config/directives/`;
after a change there, `UPDATE_DOCS=1 cargo test documentation` writes it anew.

The directives that ringway adds begin with `ringway-`. OpenVPN refuses lines that it does not know,
but passes over what stands behind `setenv opt`; ringway obeys it. So write `setenv opt
ringway-shards 4`, and the file serves both. A slip of the pen in such a line is an error.

A configuration with `client` (or `tls-client` and `pull`) is a client's, every other a server's;
[client.md](client.md) is about the former.

- **served**: it has effect.
- **always so**: accepted; what it asks for is so in any case.
- **ignored**: accepted without effect, with a warning.
- **not yet**: a configuration with it is refused until a later release; the last column says what
  to do meanwhile.
- **refused**: it has no place in a configuration of that role, or OpenVPN itself has dropped it.

`ignore-unknown-option NAME` and `setenv opt NAME` let lines pass, with a warning, that are unknown
or refused, as in OpenVPN; a line that is *not yet* supported never passes, since OpenVPN would obey it.

Without a `topology` line it is net30, as in OpenVPN 2.6, and ringway says so when it starts: clients that
have an address of it keep it. OpenVPN 2.7 takes subnet; write the line. All times are seconds. Where OpenVPN takes any number, ringway
takes those that make sense and names the bounds.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_what_is_served_and_nothing_else() {
        let help = help();
        assert!(help.contains("  --server NETWORK NETMASK [nopool] "));
        assert!(help.contains("  --management-client-auth "));
        assert!(!help.contains("--management-external-key"));
    }

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/directives.md");
        let page = markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == page,
            "out of date: UPDATE_DOCS=1 cargo test documentation"
        );
    }
}
