//! Commands that the openvpn program runs instead of a tunnel.

use crate::config::directive::{Directive, MANY};

pub(super) const ROWS: &[Directive] = &[
    Directive::refused(
        "help",
        "[...]",
        (0, MANY),
        "print help",
        "write `ringway --help` alone",
    ),
    Directive::refused(
        "version",
        "",
        (0, 0),
        "print the version",
        "write `ringway --version` alone",
    ),
    Directive::refused(
        "genkey",
        "[TYPE [FILE [METADATA]]]",
        (0, 3),
        "make a key",
        "write `ringway genkey TYPE [FILE [METADATA]]`",
    ),
    Directive::refused(
        "mktun",
        "",
        (0, 0),
        "make a lasting device",
        "use `ip tuntap add`",
    ),
    Directive::refused(
        "rmtun",
        "",
        (0, 0),
        "remove a lasting device",
        "use `ip tuntap del`",
    ),
    Directive::refused(
        "test-crypto",
        "",
        (0, 0),
        "test the ciphers",
        "`ringway check` says what this machine offers",
    ),
    Directive::refused("show-ciphers", "", (0, 0), "list ciphers", LISTS),
    Directive::refused("show-digests", "", (0, 0), "list digests", LISTS),
    Directive::refused("show-engines", "", (0, 0), "list engines", LISTS),
    Directive::refused("show-tls", "", (0, 0), "list suites of TLS", LISTS),
    Directive::refused("show-curves", "", (0, 0), "list groups of TLS", LISTS),
    Directive::refused("show-groups", "", (0, 0), "list groups of TLS", LISTS),
    Directive::refused(
        "show-gateway",
        "[ADDRESS]",
        (0, 1),
        "print the default gateway",
        "use `ip route get`",
    ),
    Directive::refused(
        "show-pkcs11-ids",
        "[PROVIDER [PRIVATE]]",
        (0, 2),
        "list keys on a smart card",
        "keys are read from files",
    ),
    Directive::refused(
        "show-adapters",
        "",
        (0, 0),
        "list devices",
        "it is about Windows",
    ),
    Directive::refused(
        "show-net",
        "",
        (0, 0),
        "list devices",
        "it is about Windows",
    ),
    Directive::refused(
        "show-net-up",
        "",
        (0, 0),
        "list devices",
        "it is about Windows",
    ),
    Directive::refused(
        "show-valid-subnets",
        "",
        (0, 0),
        "list networks",
        "it is about Windows",
    ),
];

const LISTS: &str = "docs/directives.md says what is served";
