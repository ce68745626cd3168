//! `tls-crypt-v2` in configurations of servers and clients. What stock does with the same lines was
//! tried with OpenVPN 2.6.14.

use std::fs;
use std::time::Duration;

use super::client::LEAST as LEAST_CLIENT;
use super::{Files, LEAST};
use crate::config::Configuration;
use crate::config::settings::WrappingSettings;
use crate::crypto::{Metadata, TlsCryptV2ClientKey, TlsCryptV2ServerKey};
use crate::random::SeededRandom;

/// The usual files, and `v2-server.key` with `v2-client.key`.
fn files() -> Files {
    let files = Files::new();
    let mut random = SeededRandom::new(2);
    let server = TlsCryptV2ServerKey::generate(&mut random);
    let client = TlsCryptV2ClientKey::generate(&server, &Metadata::Timestamp(1), &mut random);
    files.write("v2-server.key", &server.to_text());
    files.write("v2-client.key", &client.unwrap().to_text());
    files
}

fn block(files: &Files, name: &str) -> String {
    let text = fs::read_to_string(files.0.path().join(name)).unwrap();
    format!("<tls-crypt-v2>\n{text}</tls-crypt-v2>\n")
}

#[test]
fn a_server_opens_the_keys_of_clients() {
    let files = files();
    let inline = block(&files, "v2-server.key");
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
    for (lines, without_cookie, max_age, others) in [
        ("tls-crypt-v2 v2-server.key\n", true, None, None),
        (
            "tls-crypt-v2 v2-server.key allow-noncookie\n",
            true,
            None,
            None,
        ),
        (
            "tls-crypt-v2 v2-server.key force-cookie\n",
            false,
            None,
            None,
        ),
        (
            "tls-crypt-v2-max-age 30\ntls-crypt-v2 v2-server.key\n",
            true,
            days(30),
            None,
        ),
        (
            "tls-crypt-v2 v2-server.key\ntls-crypt ta.key\n",
            true,
            None,
            Some("TlsCrypt {"),
        ),
        (
            "tls-auth ta.key 0\ntls-crypt-v2 v2-server.key\n",
            true,
            None,
            Some("TlsAuth {"),
        ),
        (&inline, true, None, None),
    ] {
        let wrapping = files.with(lines).node.wrapping;
        let WrappingSettings::TlsCryptV2Server {
            rules,
            others: found,
        } = wrapping
        else {
            panic!("{lines}");
        };
        assert_eq!(
            (rules.without_cookie, rules.max_age),
            (without_cookie, max_age),
            "{lines}"
        );
        let found = found.map(|found| format!("{found:?}"));
        assert_eq!(found.is_some(), others.is_some(), "{lines}");
        assert!(
            found
                .unwrap_or_default()
                .starts_with(others.unwrap_or_default()),
            "{lines}"
        );
    }
}

#[test]
fn a_client_has_a_key_of_its_own() {
    let files = files();
    let inline = block(&files, "v2-client.key");
    for lines in [
        "tls-crypt-v2 v2-client.key\n",
        "tls-crypt-v2 v2-client.key force-cookie\n",
        &inline,
    ] {
        let loaded = files.load_text(&format!("{LEAST_CLIENT}{lines}"));
        let client = loaded.configuration.and_then(Configuration::client);
        let wrapping = client.expect("served").settings.node.wrapping;
        assert!(
            matches!(wrapping, WrappingSettings::TlsCryptV2Client { .. }),
            "{lines}"
        );
        assert!(wrapping.static_key().is_some());
    }
}

#[test]
fn lines_that_are_refused() {
    let files = files();
    for (least, lines, remark) in [
        (
            LEAST,
            "tls-crypt-v2 v2-server.key bogus\n",
            "error: tls-crypt-v2: `bogus` is no choice; write `force-cookie` to shut out clients before \
             2.6, or nothing",
        ),
        (
            LEAST,
            "tls-crypt-v2 v2-client.key\n",
            "error: tls-crypt-v2: v2-client.key: no line `-----BEGIN OpenVPN tls-crypt-v2 server key-----`; \
             make one: ringway genkey tls-crypt-v2-server server.key",
        ),
        (
            LEAST_CLIENT,
            "tls-crypt-v2 v2-server.key\n",
            "error: tls-crypt-v2: v2-server.key: no line `-----BEGIN OpenVPN tls-crypt-v2 client key-----`; \
             make one with the server's key: ringway --tls-crypt-v2 server.key --genkey \
             tls-crypt-v2-client client.key",
        ),
        (
            LEAST_CLIENT,
            "tls-crypt ta.key\ntls-crypt-v2 v2-client.key\n",
            "error: tls-crypt-v2: a client has it, or `tls-auth`, or `tls-crypt`; keep the one that the \
             server has",
        ),
        (
            LEAST,
            "tls-crypt-v2-max-age 0\n",
            "error: tls-crypt-v2-max-age: `0` is not a whole number from 1 to 365000",
        ),
        (
            LEAST,
            "tls-crypt-v2-max-age 30\n",
            "warning: tls-crypt-v2-max-age: no client has a key with an age without `tls-crypt-v2`",
        ),
        (
            LEAST,
            "script-security 2\ntls-crypt-v2-verify /bin/true\n",
            "warning: tls-crypt-v2-verify: no client has a key of its own without `tls-crypt-v2`",
        ),
    ] {
        let loaded = files.load_text(&format!("{least}{lines}"));
        let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert!(
            remarks.iter().any(|it| it.ends_with(remark)),
            "{lines}: {remarks:?}"
        );
    }
}
