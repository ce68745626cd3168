//! The table: every directive that OpenVPN 2.6 and 2.7 know, and those of ringway alone, a file per
//! family.

mod access;
mod addresses;
mod client;
mod compression;
mod control;
mod hooks;
mod logging;
mod management;
mod network;
mod passwords;
mod process;
mod push;
mod removed;
mod ringway;
mod routing;
mod scripts;
mod sessions;
mod standalone;
mod tls;
mod transport;
mod values;

pub(super) use access::routes_per_client;
pub(super) use compression::meant as compression_meant;
pub(super) use push::pushed_option;
pub(super) use sessions::of_one_client as times_of_one_client;

use super::directive::Directive;

/// Directives that belong together.
#[derive(Debug)]
pub struct Family {
    /// What they are about.
    pub title: &'static str,
    /// The rows, in the order of the documentation.
    pub rows: &'static [Directive],
}

/// All families, in the order of the documentation.
pub const FAMILIES: &[Family] = &[
    Family {
        title: "Of ringway alone",
        rows: ringway::ROWS,
    },
    Family {
        title: "Listening",
        rows: transport::ROWS,
    },
    Family {
        title: "Device",
        rows: network::ROWS,
    },
    Family {
        title: "Addresses inside the tunnel",
        rows: addresses::ROWS,
    },
    Family {
        title: "Sessions",
        rows: sessions::ROWS,
    },
    Family {
        title: "What clients are told",
        rows: push::ROWS,
    },
    Family {
        title: "Certificates and TLS",
        rows: tls::ROWS,
    },
    Family {
        title: "Control channel and ciphers",
        rows: control::ROWS,
    },
    Family {
        title: "Who may connect",
        rows: access::ROWS,
    },
    Family {
        title: "Routing and filtering",
        rows: routing::ROWS,
    },
    Family {
        title: "Log and status",
        rows: logging::ROWS,
    },
    Family {
        title: "Process and configuration",
        rows: process::ROWS,
    },
    Family {
        title: "Scripts and plug-ins",
        rows: scripts::ROWS,
    },
    Family {
        title: "Management interface",
        rows: management::ROWS,
    },
    Family {
        title: "Of clients only",
        rows: client::ROWS,
    },
    Family {
        title: "Commands of the openvpn program",
        rows: standalone::ROWS,
    },
    Family {
        title: "No longer in OpenVPN",
        rows: removed::ROWS,
    },
];

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    FAMILIES.iter().flat_map(|family| family.rows)
}

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Directive> {
    all().find(|row| row.name == name)
}

/// Whether a name is one that OpenVPN will never know. A line with it is meant for ringway and
/// never passed over.
pub fn is_own(name: &str) -> bool {
    name.starts_with("ringway-")
}

/// The names of [`is_own`] that there are.
pub fn own() -> impl Iterator<Item = &'static str> {
    ringway::ROWS.iter().map(|row| row.name)
}

/// The name that was probably meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    all()
        .map(|row| (strsim::damerau_levenshtein(row.name, name), row.name))
        .min()
        .filter(|(distance, near)| *distance <= near.len().div_ceil(4).min(3))
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::directive::MANY;

    #[test]
    fn each_name_stands_once() {
        let mut seen = BTreeSet::new();
        for row in all() {
            assert!(seen.insert(row.name), "{} stands twice", row.name);
        }
    }

    #[test]
    fn rows_agree_with_themselves() {
        for row in all() {
            assert!(row.arity.0 <= row.arity.1, "{}", row.name);
            assert_eq!(row.arity.1 == 0, row.arguments.is_empty(), "{}", row.name);
            assert!(
                !row.help.is_empty() && !row.help.ends_with('.'),
                "{}",
                row.name
            );
            assert!(row.arity.1 <= 16 || row.arity.1 == MANY, "{}", row.name);
        }
    }

    #[test]
    fn names_of_our_own() {
        let by_name = all().map(|row| row.name).filter(|name| is_own(name));
        assert_eq!(by_name.collect::<Vec<_>>(), own().collect::<Vec<_>>());
        assert_eq!(own().count(), 9);
    }

    /// Names and arities as OpenVPN 2.6.14 itself takes them, and the names of 2.7.
    #[test]
    fn every_directive_of_openvpn_is_here_with_its_arity() {
        let mut missing = Vec::new();
        for line in include_str!("stock.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let mut words = line.split(' ');
            let (name, arity) = (words.next().unwrap(), words.next());
            let Some(row) = find(name) else {
                missing.push(name);
                continue;
            };
            if let Some(arity) = arity {
                let (fewest, most) = arity.split_once('-').unwrap();
                let most = if most == "many" {
                    MANY
                } else {
                    most.parse().unwrap()
                };
                assert_eq!(row.arity, (fewest.parse().unwrap(), most), "{name}");
            }
        }
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        for (written, meant) in [
            ("sever", Some("server")),
            ("data-cipher", Some("data-ciphers")),
            ("tls-crpyt", Some("tls-crypt")),
            ("max-client", Some("max-clients")),
            ("dve", Some("dev")),
            ("ringway-shard", Some("ringway-shards")),
            ("ringway-stering", Some("ringway-steering")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written), meant, "{written}");
        }
    }
}
