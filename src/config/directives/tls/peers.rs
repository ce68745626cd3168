//! What is asked of the peers' certificates.

use std::collections::BTreeSet;

use crate::config::directive::Refusal;
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::crypto::tls::{ExtendedUsage, IssuerHashes, NameRule, TrackedField, UsernameFields};
use crate::wire::Role;

/// Lines add up, and so do those of a block.
pub(super) fn peer_fingerprint(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let texts = match (&line.block, line.argument(0)) {
        (Some(block), _) => block.lines().map(str::trim).collect(),
        (None, word) => vec![word.unwrap_or_default()],
    };
    let comment = |text: &&str| text.is_empty() || text.starts_with(['#', ';']);
    let mut all = draft.tls.fingerprints.take().map(|known| known.value);
    for text in texts.into_iter().filter(|text| !comment(text)) {
        let Some(fingerprint) = fingerprint(text) else {
            let why = format!("`{text}` is not the SHA-256 of a certificate");
            return Err(
                Refusal::because(why).instead("openssl x509 -in FILE -noout -fingerprint -sha256")
            );
        };
        all.get_or_insert_default().insert(fingerprint);
    }
    let all = all.ok_or_else(|| Refusal::because("there is no fingerprint in it"))?;
    draft.tls.fingerprints = Written::new(all, line);
    Ok(())
}

/// Wire: as in 2.6, SHA-1 unless it is said otherwise, but SHA-256 in a block.
pub(super) fn verify_hash(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let known = draft.tls.issuers.take().map(|known| known.value);
    let texts = match (&line.block, line.argument(0)) {
        (Some(block), _) => block.lines().map(str::trim).collect(),
        (None, word) => vec![word.unwrap_or_default()],
    };
    let texts = texts
        .into_iter()
        .filter(|text| !text.is_empty() && !text.starts_with(['#', ';']));
    let issuers = match (line.argument(1), &line.block) {
        (Some("SHA256"), _) | (None, Some(_)) => match known {
            None => IssuerHashes::Sha256(hashes(texts, "256")?),
            Some(IssuerHashes::Sha256(known)) => {
                IssuerHashes::Sha256(&known | &hashes(texts, "256")?)
            }
            Some(IssuerHashes::Sha1(_)) => return Err(Refusal::because(MIXED)),
        },
        (Some("SHA1") | None, _) => match known {
            None => IssuerHashes::Sha1(hashes(texts, "1")?),
            Some(IssuerHashes::Sha1(known)) => IssuerHashes::Sha1(&known | &hashes(texts, "1")?),
            Some(IssuerHashes::Sha256(_)) => return Err(Refusal::because(MIXED)),
        },
        (Some(other), _) => {
            let why = format!("`{other}` is no algorithm");
            return Err(Refusal::because(why).instead("write SHA256"));
        }
    };
    // Wire: 2.6 says so, too.
    let why = "deprecated: write `ca` with the certificate that has signed those of the peers, or \
               `peer-fingerprint`";
    draft.warn(line, why);
    draft.tls.issuers = Written::new(issuers, line);
    Ok(())
}

fn hashes<'t, const N: usize>(
    texts: impl Iterator<Item = &'t str>,
    algorithm: &str,
) -> Result<BTreeSet<[u8; N]>, Refusal> {
    let hashes = texts.map(|text| {
        fingerprint(text).ok_or_else(|| {
            let why = format!("`{text}` is not the SHA-{algorithm} of a certificate");
            let command = format!("openssl x509 -in FILE -noout -fingerprint -sha{algorithm}");
            Refusal::because(why).instead(command)
        })
    });
    let hashes: BTreeSet<[u8; N]> = hashes.collect::<Result<_, _>>()?;
    match hashes.is_empty() {
        true => Err(Refusal::because("there is no hash in it")),
        false => Ok(hashes),
    }
}

pub(super) fn x509_track(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let field = TrackedField::new(line.argument(0).unwrap_or_default());
    let field = field.map_err(|unknown| {
        Refusal::because(unknown.to_string()).instead(
            "there are `CN`, `OU`, `emailAddress` and the other fields of a subject, `SHA1` and `SHA256`",
        )
    })?;
    draft.tls.tracked.push(field);
    Ok(())
}

pub(super) fn x509_username_field(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let mut words: Vec<String> = line.arguments.clone();
    for word in &mut words {
        // Wire: as in 2.6, which says so.
        let lower = !word.starts_with("ext:") && !word.contains(char::is_uppercase);
        let upper = word.to_uppercase();
        if lower && *word != upper {
            draft.warn(line, format!("`{word}` is read as `{upper}`; write it so"));
            *word = upper;
        }
    }
    let fields = UsernameFields::new(words.iter().map(String::as_str));
    let fields = fields.map_err(|unknown| {
        Refusal::because(unknown.to_string())
            .instead("there are `CN`, `emailAddress`, `UID`, `serialNumber`, `ext:subjectAltName` and others")
    })?;
    draft.tls.called = Some(fields);
    Ok(())
}

/// Bytes as `AB:cd:...`.
fn fingerprint<const N: usize>(text: &str) -> Option<[u8; N]> {
    let parts = text.split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    });
    let bytes: Option<Vec<u8>> = parts.collect();
    bytes?.try_into().ok()
}

pub(super) fn remote_cert_ku(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let words = line.arguments.iter();
    let sets = words.map(|word| {
        let digits = word.trim_start_matches("0x");
        let bits = u16::from_str_radix(digits, 16);
        bits.map_err(|_| {
            Refusal::because(format!("`{word}` is no key usage"))
                .instead("write it in hexadecimal, such as 80 for digitalSignature")
        })
    });
    draft.tls.usage.key = Some(sets.collect::<Result<_, _>>()?);
    Ok(())
}

pub(super) fn remote_cert_eku(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let word = line.argument(0).unwrap_or_default();
    let usage = ExtendedUsage::new(word).ok_or_else(|| {
        Refusal::because(format!("`{word}` is no extended key usage"))
            .instead("write its number, such as 1.3.6.1.5.5.7.3.2 for clients")
    })?;
    draft.tls.usage.extended = Some(usage);
    Ok(())
}

pub(super) fn remote_cert_tls(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let peer = peer_usage(draft);
    match line.argument(0) {
        Some(usage) if usage == peer => {
            draft.tls.peer_usage = true;
            Ok(())
        }
        Some("server") => Err(Refusal::because("a server's peers are clients")
            .instead("write `remote-cert-tls client`")),
        Some("client") => Err(Refusal::because("a client's peer is a server")
            .instead("write `remote-cert-tls server`")),
        other => Err(
            Refusal::because(format!("`{}` is no usage", other.unwrap_or_default()))
                .instead(format!("write `remote-cert-tls {peer}`")),
        ),
    }
}

pub(super) fn ns_cert_type(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    remote_cert_tls(draft, line)?;
    let peer = peer_usage(draft);
    draft.warn(
        line,
        format!("obsolete, and read as `remote-cert-tls {peer}`"),
    );
    Ok(())
}

fn peer_usage(draft: &Draft) -> &'static str {
    match draft.role {
        Role::Server => "client",
        Role::Client => "server",
    }
}

pub(super) fn verify_x509_name(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default().to_owned();
    draft.tls.peer_name = Some(match line.argument(1) {
        None | Some("subject") => NameRule::Subject(name),
        Some("name") => NameRule::Name(name),
        Some("name-prefix") => NameRule::NamePrefix(name),
        Some(other) => {
            return Err(Refusal::because(format!("`{other}` is no kind of name"))
                .instead("write `subject`, `name` or `name-prefix`"));
        }
    });
    Ok(())
}

const MIXED: &str = "hashes of another line are of another algorithm";
