//! The own certificate and its key: in files of their own or in one of PKCS #12, and the password that
//! locks the key.

use data_encoding::BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use zeroize::Zeroizing;

use super::{Opened, certificates, old_digest, remark_dates, short_key};
use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, Source, Written};
use crate::crypto::tls::rustls::Identity;
use crate::crypto::tls::subject_text;
use crate::crypto::{LockedKey, Pkcs12, UnlockError};
use crate::limits::LOGIN_MAX;
use crate::wire::Role;

/// Reads the file of `askpass`. Wire: its first line is the password.
pub(in crate::config) fn key_password(draft: &mut Draft) {
    let Some(line) = draft.tls.askpass.clone() else {
        return;
    };
    let Some(source) = line.value else {
        return;
    };
    let source = Written {
        value: source,
        at: line.at,
    };
    let Some(opened) = Opened::new(draft, "askpass", &source, true) else {
        // What is locked has its reason already.
        draft.tls.password_unread = true;
        return;
    };
    let first = opened.text().and_then(|text| text.lines().next());
    match first {
        Some(password) if !password.is_empty() && password.len() <= LOGIN_MAX => {
            draft.tls.password = Some(Zeroizing::new(password.to_owned()));
        }
        _ => {
            let why = format!("its first line is no password of 1 to {LOGIN_MAX} bytes");
            opened.remark(draft, Severity::Error, why, None);
            draft.tls.password_unread = true;
        }
    }
}

/// Puts what is in a file of `pkcs12` in the place of `cert` and `key`, and of `ca` if that is not
/// written.
pub(in crate::config) fn unpack(draft: &mut Draft) {
    let Some(line) = draft.tls.pkcs12.clone() else {
        return;
    };
    remark_beside(draft);
    let Some(opened) = Opened::new(draft, "pkcs12", &line, true) else {
        return;
    };
    let Some(bytes) = binary(&opened, &line.value) else {
        opened.remark(draft, Severity::Error, "the block is not base64", None);
        return;
    };
    let password = draft.tls.password.clone();
    match Pkcs12::open(&bytes, password.as_ref().map(|it| it.as_str())) {
        Ok(found) => {
            let unpacked = |text| {
                Some(Written {
                    value: Source::Unpacked(opened.origin.clone(), text),
                    at: line.at.clone(),
                })
            };
            draft.tls.certificate = unpacked(found.chain);
            draft.tls.key = unpacked(found.key);
            if draft.tls.ca.is_none() && !found.authorities.is_empty() {
                draft.tls.ca = unpacked(found.authorities);
            }
        }
        Err(why) => remark_locked(draft, &opened, why, PKCS12_ANEW),
    }
}

/// The bytes of a file, or those that a block says.
fn binary(opened: &Opened, source: &Source) -> Option<Zeroizing<Vec<u8>>> {
    match source {
        Source::File(_) | Source::Unpacked(..) => Some(opened.bytes.clone()),
        Source::Block(_) => {
            let digits = opened.bytes.iter().copied();
            let digits: Zeroizing<Vec<u8>> =
                Zeroizing::new(digits.filter(|it| !it.is_ascii_whitespace()).collect());
            BASE64.decode(&digits).ok().map(Zeroizing::new)
        }
    }
}

/// Wire: as in 2.6, which refuses them together.
fn remark_beside(draft: &mut Draft) {
    let tls = &draft.tls;
    let beside = [
        ("cert", tls.certificate.as_ref().map(|line| line.at.clone())),
        ("key", tls.key.as_ref().map(|line| line.at.clone())),
        (
            "capath",
            tls.ca_directory.as_ref().map(|line| line.at.clone()),
        ),
    ];
    for (name, at) in beside {
        if let Some(at) = at {
            let why = "cannot be used when `pkcs12` is also specified";
            let instead = Some("remove one of the two".to_owned());
            draft.remark_at(Severity::Error, name, &at, why, instead);
        }
    }
}

/// The key, by the password of `askpass` or the one that somebody has entered.
fn unlocked(
    draft: &mut Draft,
    opened: &Opened,
    locked: &LockedKey<'_>,
) -> Option<PrivateKeyDer<'static>> {
    let found = match draft.tls.password.clone() {
        Some(password) => locked.unlock(&password),
        None => Err(UnlockError::Password),
    };
    found
        .map_err(|why| remark_locked(draft, opened, why, KEY_ANEW))
        .ok()
}

/// Says why something stays locked. Where nobody has said a password, somebody is to be asked.
fn remark_locked(draft: &mut Draft, opened: &Opened, why: UnlockError, anew: &str) {
    match (why, &draft.tls.password) {
        (UnlockError::Password, None) if draft.tls.password_unread => {}
        (UnlockError::Password, None) => {
            draft.tls.asks_password = true;
            if draft.process.management.asks.is_some() {
                let why =
                    "it is locked by a password, which is asked for on the management interface";
                return opened.remark(draft, Severity::Warning, why, None);
            }
            let why = "it is locked by a password, and there is no terminal to ask for it on";
            let instead = "write the password into a file, and `askpass FILE`";
            opened.remark(draft, Severity::Error, why, Some(instead));
        }
        (UnlockError::Password, Some(_)) => {
            draft.tls.wrong_password = true;
            opened.remark(draft, Severity::Error, why, None);
        }
        _ => {
            let anew = anew.replace("FILE", &opened.origin);
            let instead = format!("convert it: {anew}");
            opened.remark(draft, Severity::Error, why, Some(&instead));
        }
    }
}

/// The own chain of `cert` and the key of `key`.
pub(in crate::config) fn identity(
    draft: &mut Draft,
    cert: Option<Opened>,
    key: Option<Opened>,
) -> Option<Identity> {
    let chain = cert.as_ref().and_then(|cert| certificates(draft, cert));
    if let (Some(cert), Some(leaf)) = (&cert, chain.as_ref().and_then(|chain| chain.first())) {
        remark_dates(draft, cert, leaf);
        remark_usage(draft, cert, leaf);
        if !remark_unserved(draft, cert, leaf) {
            return None;
        }
    }
    let opened = key?;
    let key = private_key(draft, &opened)?;
    let mut chain = chain?;
    chain.extend(extra(draft)?);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider) {
        Ok(_) => Some(Identity { chain, key }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let why = "the key does not belong to the certificate";
            let instead = "the file of `cert` begins with the certificate of this key";
            opened.remark(draft, Severity::Error, why, Some(instead));
            None
        }
        Err(error) => {
            opened.remark(draft, Severity::Error, error, None);
            None
        }
    }
}

/// The certificates of `extra-certs`; `None` for an error.
fn extra(draft: &mut Draft) -> Option<Vec<CertificateDer<'static>>> {
    match draft.tls.extra.clone() {
        None => Some(Vec::new()),
        Some(line) => {
            let opened = Opened::new(draft, "extra-certs", &line, false)?;
            certificates(draft, &opened)
        }
    }
}

fn private_key(draft: &mut Draft, opened: &Opened) -> Option<PrivateKeyDer<'static>> {
    let key = match opened.text().and_then(LockedKey::find) {
        Some(locked) => unlocked(draft, opened, &locked)?,
        None => match PrivateKeyDer::from_pem_slice(&opened.bytes) {
            Ok(key) => key,
            Err(_) => {
                opened.remark(draft, Severity::Error, "no private key in PEM form", None);
                return None;
            }
        },
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if provider
        .key_provider
        .load_private_key(key.clone_key())
        .is_err()
    {
        let why = "this kind of key is not served";
        let served =
            "served are RSA of 2048 to 8192 bits, EC on P-256, P-384 and P-521, and Ed25519";
        opened.remark(draft, Severity::Error, why, Some(served));
        return None;
    }
    Some(key)
}

/// Names what can't be served of the own certificate. True if it can be.
fn remark_unserved(draft: &mut Draft, opened: &Opened, der: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    let subject = subject_text(&certificate);
    let mut faults = Vec::new();
    if certificate.version() != X509Version::V3 {
        faults.push(format!(
            "the certificate of {subject} is of X.509 version {}, and version 3 is served",
            certificate.version().0 + 1
        ));
    }
    if let Some(bits) = short_key(der) {
        faults.push(format!(
            "the certificate of {subject} has an RSA key of {bits} bits, and 2048 to 8192 are served"
        ));
    }
    if let Some(digest) = old_digest(&certificate) {
        faults.push(format!(
            "the certificate of {subject} is signed with {digest}, which nobody should take"
        ));
    }
    for why in &faults {
        opened.remark(draft, Severity::Error, why, Some(NEW_CERTIFICATE));
    }
    faults.is_empty()
}

fn remark_usage(draft: &mut Draft, opened: &Opened, der: &CertificateDer<'_>) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return;
    };
    let usage = certificate.extended_key_usage().ok().flatten();
    let marked = usage.is_some_and(|usage| {
        let own = match draft.role {
            Role::Server => usage.value.server_auth,
            Role::Client => usage.value.client_auth,
        };
        own || usage.value.any
    });
    let (own, peers, option) = match draft.role {
        Role::Server => ("server", "clients", "remote-cert-tls server"),
        Role::Client => ("client", "servers", "remote-cert-tls client"),
    };
    if certificate.is_ca() {
        let why = format!("the certificate is that of an authority, not of a {own}");
        let what = format!("{peers} may refuse it; `cert` names one that the authority signed");
        opened.remark(draft, Severity::Warning, why, Some(&what));
    }
    if !marked {
        let why = format!("the certificate is not marked for {own}s");
        let what = format!("{peers} with `{option}` will refuse it");
        opened.remark(draft, Severity::Warning, why, Some(&what));
    }
}

const NEW_CERTIFICATE: &str = "issue it anew, with easy-rsa 3 and a new key";

/// Makes of a locked key one that is served.
const KEY_ANEW: &str = "openssl pkey -in FILE -aes256 -out NEW";

/// Makes of a file of PKCS #12 one that is served.
const PKCS12_ANEW: &str =
    "openssl pkcs12 -legacy -in FILE -nodes | openssl pkcs12 -export -out NEW";
