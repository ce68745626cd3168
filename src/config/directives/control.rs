//! How control packets are wrapped, which ciphers are offered, and the times of a handshake.

use std::num::NonZeroU64;
use std::time::Duration;

use super::compression;
use super::hooks;
use super::values::{YEAR, number, optional, seconds, source};
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::config::settings::ReplayWindow;
use crate::crypto::{DataCipher, Digest, KeyDirection};
use crate::limits;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "tls-auth",
        "FILE [0|1]",
        (1, 2),
        "authenticate control packets with a shared key",
        tls_auth,
    )
    .or_block(),
    Directive::served(
        "key-direction",
        "0|1",
        (1, 1),
        "direction of an inline `tls-auth` key",
        key_direction,
    ),
    Directive::served(
        "tls-crypt",
        "FILE",
        (1, 1),
        "encrypt control packets with a shared key",
        tls_crypt,
    )
    .or_block(),
    Directive::served(
        "tls-crypt-v2",
        "FILE [force-cookie|allow-noncookie]",
        (1, 2),
        "encrypt control packets, with a key for each client",
        tls_crypt_v2,
    )
    .or_block(),
    Directive::served(
        "tls-crypt-v2-max-age",
        "DAYS",
        (1, 1),
        "refuse `tls-crypt-v2` keys of clients that are older, or have no date",
        tls_crypt_v2_max_age,
    )
    .of_servers(),
    Directive::served(
        "data-ciphers",
        "CIPHER:...",
        (1, 1),
        "ciphers that are offered, best first; `?` before one makes it optional",
        data_ciphers,
    ),
    Directive::served(
        "ncp-ciphers",
        "CIPHER:...",
        (1, 1),
        "old name of `data-ciphers`",
        ncp_ciphers,
    ),
    Directive::served(
        "cipher",
        "CIPHER",
        (1, 1),
        "cipher of peers that cannot negotiate, as their options name it",
        cipher,
    ),
    Directive::served(
        "auth",
        "DIGEST",
        (1, 1),
        "digest of `tls-auth`, SHA1 if not written",
        auth,
    ),
    Directive::served(
        "hand-window",
        "SECONDS",
        (1, 1),
        "how long a handshake may take, 60 if not written",
        hand_window,
    ),
    Directive::served(
        "tran-window",
        "SECONDS",
        (1, 1),
        "how long an old key still opens packets, 3600 if not written",
        tran_window,
    ),
    Directive::served(
        "tls-timeout",
        "SECONDS",
        (1, 1),
        "first retransmission of a control packet, 2 if not written",
        tls_timeout,
    ),
    Directive::served(
        "reneg-sec",
        "LATEST [EARLIEST]",
        (1, 2),
        "when a new key is made, 0 for never",
        reneg_sec,
    ),
    Directive::served(
        "replay-window",
        "[PACKETS [SECONDS]]",
        (0, 2),
        "how far out of order packets may come",
        replay_window,
    ),
    Directive::ignored(
        "mute-replay-warnings",
        "",
        (0, 0),
        "no line about replayed packets",
        "such lines are bounded in any case",
    ),
    Directive::ignored(
        "disable-occ",
        "",
        (0, 0),
        "do not compare options with peers",
        "options are not compared",
    ),
    Directive::ignored(
        "opt-verify",
        "",
        (0, 0),
        "refuse peers with other options",
        "options are not compared, as in 2.7",
    ),
    Directive::ignored(
        "single-session",
        "",
        (0, 0),
        "one session only",
        "it belongs to two peers without a server",
    ),
    Directive::always(
        "force-tls-key-material-export",
        "[...]",
        (0, MANY),
        "keys by the exporter of TLS",
        "clients that can do it always do",
    ),
    Directive::served(
        "reneg-bytes",
        "BYTES",
        (1, 1),
        "new key after so many bytes, both ways together, looked at every second; 0 for never",
        reneg_bytes,
    ),
    Directive::served(
        "reneg-pkts",
        "PACKETS",
        (1, 1),
        "new key after so many packets, both ways together, looked at every second; 0 for never",
        reneg_pkts,
    ),
    Directive::served(
        "data-ciphers-fallback",
        "CIPHER",
        (1, 1),
        "cipher of peers that cannot negotiate, as their options name it",
        data_ciphers_fallback,
    ),
    Directive::served(
        "tls-crypt-v2-verify",
        "COMMAND",
        (1, 1),
        "run to check what is said of a client's own key of tls-crypt-v2",
        hooks::script,
    )
    .of_servers(),
    Directive::always(
        "tls-exit",
        "",
        (0, 0),
        "end when TLS fails, in place of trying again",
        "a client of a server ends when its TLS fails, and nobody else",
    )
    .on_client(Support::Served(tls_exit)),
    Directive::later(
        "replay-persist",
        "FILE",
        (1, 1),
        "keep replay state over a restart",
        "remove the line",
    ),
    Directive::served(
        "comp-lzo",
        "[yes|no|adaptive]",
        (0, 1),
        "framing for compression; nothing is ever compressed, clients are told not to, and what comes compressed is opened",
        compression::comp_lzo,
    ),
    Directive::served(
        "compress",
        "[stub|stub-v2|lz4|lz4-v2|lzo|migrate]",
        (0, 1),
        "framing for compression; nothing is ever compressed, and what comes compressed is opened",
        compression::compress,
    ),
    Directive::served(
        "allow-compression",
        "no|asym|yes",
        (1, 1),
        "whether packets may be compressed; they may come so, and never leave so",
        compression::allow_compression,
    ),
    Directive::ignored(
        "comp-noadapt",
        "",
        (0, 0),
        "compress always",
        "nothing is ever compressed; remove the line",
    ),
    Directive::refused(
        "secret",
        "FILE [0|1]",
        (1, 2),
        "a static key instead of TLS",
        "without TLS a lost key opens all past traffic: write `ca`, `cert`, `key`, on both sides",
    )
    .or_block(),
    Directive::refused(
        "no-replay",
        "",
        (0, 0),
        "accept replayed packets",
        "replay protection is never switched off; remove the line",
    ),
    Directive::refused(
        "allow-deprecated-insecure-static-crypto",
        "",
        (0, 0),
        "let `secret` be used",
        "`secret` is not served; remove the line",
    ),
];

fn tls_auth(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if line.argument(1).is_some() {
        draft.control.direction = direction(line, 1)?;
    }
    if let Some(source) = source(line) {
        draft.control.tls_auth = Written::new(source, line);
    }
    Ok(())
}

fn key_direction(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.direction = direction(line, 0)?;
    Ok(())
}

fn direction(line: &Line, index: usize) -> Result<KeyDirection, Refusal> {
    match line.argument(index) {
        Some("0") => Ok(KeyDirection::Zero),
        Some("1") => Ok(KeyDirection::One),
        other => Err(
            Refusal::because(format!("`{}` is no direction", other.unwrap_or_default()))
                .instead("write 0 on the server and 1 on the clients"),
        ),
    }
}

fn tls_crypt(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.control.tls_crypt = Written::new(source, line);
    }
    Ok(())
}

fn tls_crypt_v2(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(1) {
        None => {}
        Some("allow-noncookie") => draft.control.without_cookie = true,
        Some("force-cookie") => draft.control.without_cookie = false,
        Some(other) => {
            let why = format!("`{other}` is no choice");
            let instead = "write `force-cookie` to shut out clients before 2.6, or nothing";
            return Err(Refusal::because(why).instead(instead));
        }
    }
    if let Some(source) = source(line) {
        draft.control.tls_crypt_v2 = Written::new(source, line);
    }
    Ok(())
}

fn tls_crypt_v2_max_age(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let days: u32 = number(line, 0, 1..=MAX_AGE_DAYS)?;
    let max_age = Duration::from_secs(u64::from(days) * 24 * 3600);
    draft.control.client_key_max_age = Written::new(max_age, line);
    Ok(())
}

fn ncp_ciphers(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    data_ciphers(draft, line)?;
    draft.note(line, "renamed in 2.5, and read as `data-ciphers`");
    Ok(())
}

fn data_ciphers(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let mut offered: Vec<DataCipher> = Vec::new();
    for entry in line.argument(0).unwrap_or_default().split(':') {
        let (name, optional) = match entry.strip_prefix('?') {
            Some(name) => (name, true),
            None => (entry, false),
        };
        let ciphers = match DataCipher::from_name(name) {
            Some(cipher) => {
                if cipher.digest().is_some() {
                    draft.note(
                        line,
                        format!("`{cipher}` is for clients that have nothing else"),
                    );
                }
                vec![cipher]
            }
            None if name.eq_ignore_ascii_case("DEFAULT") => DataCipher::USUAL.to_vec(),
            None if optional => {
                draft.note(line, format!("the optional cipher `{name}` is not served"));
                continue;
            }
            // Wire: a client takes the first of these that it has.
            None if is_cipher(&name.to_ascii_uppercase()) => {
                let why = format!("`{name}` is not served: clients get another one of the line");
                draft.warn(line, why);
                continue;
            }
            None => return Err(not_served(name)),
        };
        for cipher in ciphers {
            if !offered.contains(&cipher) {
                offered.push(cipher);
            }
        }
    }
    if offered.is_empty() {
        return Err(Refusal::because("none of these ciphers is served")
            .instead("write `data-ciphers DEFAULT`"));
    }
    draft.control.ciphers = offered;
    Ok(())
}

fn not_served(name: &str) -> Refusal {
    let instead = format!(
        "write `data-ciphers {}`",
        DataCipher::USUAL.map(DataCipher::name).join(":")
    );
    if is_cipher(&name.to_ascii_uppercase()) {
        let why = format!(
            "`{name}` is not served: each client since 2.4 has AES-256-GCM, which is faster and safer"
        );
        return Refusal::because(why).instead(instead);
    }
    Refusal::because(format!("`{name}` is no cipher")).instead(instead)
}

/// Whether OpenVPN has ever known this cipher.
fn is_cipher(name: &str) -> bool {
    let family = CIPHER_FAMILIES
        .iter()
        .any(|family| name.starts_with(family));
    let mode = CIPHER_MODES.iter().any(|mode| name.ends_with(mode));
    (family && mode) || DataCipher::from_name(name).is_some()
}

/// Wire: with 2.6 a cipher that OpenVPN does not know is an error here too.
fn data_ciphers_fallback(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    if !is_cipher(&name.to_ascii_uppercase()) {
        return Err(Refusal::because(format!("`{name}` is no cipher")).instead("remove the line"));
    }
    draft.control.fallback = DataCipher::from_name(name);
    if draft.control.fallback.is_none() {
        let why = format!(
            "`{name}` is not served: a client that can't negotiate, older than 2.4, is refused with the reason"
        );
        draft.warn(line, why);
    }
    Ok(())
}

fn cipher(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default().to_ascii_uppercase();
    if name == "NONE" {
        return Err(
            Refusal::because("packets are never sent unencrypted").instead("remove the line")
        );
    }
    if !is_cipher(&name) {
        return Err(not_served(&name));
    }
    let cipher = DataCipher::from_name(&name);
    draft.control.cipher = Some(name.clone());
    if cipher.is_none_or(|cipher| cipher.digest().is_some()) {
        draft.warn(
            line,
            format!("`{name}` is never used: both sides agree on one of `data-ciphers`"),
        );
    }
    Ok(())
}

fn auth(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    let digest = if name.eq_ignore_ascii_case("none") {
        None
    } else {
        Digest::from_name(name)
    };
    match digest {
        // A certificate's signature algorithm, in old files; the digest was meant.
        Some(digest) if !digest.name().eq_ignore_ascii_case(name) => {
            draft.warn(line, format!("`{name}` is read as `{}`", digest.name()));
        }
        None if !name.eq_ignore_ascii_case("none") => {
            return Err(
                Refusal::because(format!("`{name}` is no digest that is served"))
                    .instead("write `auth SHA256`, on the server and the clients"),
            );
        }
        _ => {}
    }
    draft.control.auth = Written::new(digest, line);
    Ok(())
}

fn hand_window(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.hand_window = seconds(line, 0, 1..=YEAR)?;
    Ok(())
}

fn tran_window(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.tran_window = seconds(line, 0, 0..=YEAR)?;
    Ok(())
}

fn tls_timeout(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.tls_timeout = seconds(line, 0, 1..=YEAR)?;
    Ok(())
}

fn reneg_sec(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let latest = number(line, 0, 0..=YEAR)?;
    let earliest = optional(line, 1, 0..=YEAR)?;
    if let Some(earliest) = earliest.filter(|earliest| *earliest > latest) {
        return Err(
            Refusal::because(format!("{earliest} is more than {latest}"))
                .instead(format!("write `reneg-sec {earliest} {latest}`")),
        );
    }
    draft.control.renegotiate = (latest, earliest);
    Ok(())
}

/// Wire: 2.6 takes numbers of 31 bits.
fn reneg_bytes(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.key_volume.bytes = NonZeroU64::new(number(line, 0, 0..=u64::MAX)?);
    Ok(())
}

fn reneg_pkts(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.control.key_volume.packets = NonZeroU64::new(number(line, 0, 0..=u64::MAX)?);
    Ok(())
}

fn tls_exit(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.exits_on_tls_error = true;
    Ok(())
}

fn replay_window(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if line.arguments.is_empty() {
        return Err(Refusal::because("the size of the window is missing")
            .instead("write `replay-window PACKETS [SECONDS]`"));
    }
    let packets = number(line, 0, 0..=limits::REPLAY_WINDOW_MAX)?;
    let time = optional(line, 1, 0..=600)?.unwrap_or(15);
    draft.control.replay = ReplayWindow {
        packets,
        time: Duration::from_secs(time),
    };
    Ok(())
}

/// A thousand years.
const MAX_AGE_DAYS: u32 = 365_000;

const CIPHER_FAMILIES: [&str; 11] = [
    "AES-128-",
    "AES-192-",
    "AES-256-",
    "ARIA-",
    "CAMELLIA-",
    "SEED-",
    "SM4-",
    "BF-",
    "DES-",
    "RC2-",
    "CAST5-",
];
const CIPHER_MODES: [&str; 8] = [
    "-CBC", "-CFB", "-CFB1", "-CFB8", "-OFB", "-GCM", "-CCM", "-CTR",
];
