//! The files that a configuration names: certificates, keys, parameters.

mod identity;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

pub(super) use identity::{identity, key_password, unpack};

use super::diagnostics::{Diagnostic, Reason, Severity};
use super::draft::{Draft, RevocationLine, Source, Written};
use super::lexer::Location;
use super::settings::{RevocationSettings, RevocationSource};
use crate::crypto::tls::{PeerPolicy, PeerPurpose, Revocations, SharedRevocations, subject_text};
use crate::crypto::{
    AuthTokenKey, KeyFileError, StaticKey, TlsCryptV2ClientKey, TlsCryptV2ServerKey,
};
use crate::limits;
use crate::node::revocations::{self, RevocationFault, algorithms};
use crate::wire::Role;

/// A file option whose content is at hand.
pub(super) struct Opened {
    /// For messages: the file's name, or the block and its line.
    origin: String,
    bytes: Zeroizing<Vec<u8>>,
    directive: &'static str,
    at: Location,
}

impl Opened {
    /// Reads what a line names. A file with a secret that others may read is remarked upon.
    pub(super) fn new(
        draft: &mut Draft,
        directive: &'static str,
        source: &Written<Source>,
        secret: bool,
    ) -> Option<Self> {
        let at = source.at.clone();
        let read = match &source.value {
            Source::Block(text) => Ok((
                format!("<{directive}> at {at}"),
                Zeroizing::new(text.as_bytes().to_vec()),
            )),
            Source::Unpacked(name, text) => {
                Ok((name.clone(), Zeroizing::new(text.as_bytes().to_vec())))
            }
            Source::File(name) => {
                let path = draft.path(name);
                if secret {
                    warn_of_others(draft, directive, &at, &path, name);
                }
                read_bounded(&path)
                    .map(|bytes| (name.clone(), bytes))
                    .map_err(|why| format!("{name}: {why}"))
            }
        };
        match read {
            Ok((origin, bytes)) => Some(Self {
                origin,
                bytes,
                directive,
                at,
            }),
            Err(why) => {
                let instead = beside_the_file(draft, source);
                draft.remark_at(Severity::Error, directive, &at, why, instead);
                None
            }
        }
    }

    /// The content as text, `None` if it is none.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    pub(super) fn remark(
        &self,
        draft: &mut Draft,
        severity: Severity,
        why: impl std::fmt::Display,
        instead: Option<&str>,
    ) {
        let why = format!("{}: {why}", self.origin);
        draft.remark_at(
            severity,
            self.directive,
            &self.at,
            why,
            instead.map(str::to_owned),
        );
    }
}

/// What to do about a file that is not where its name leads, but stands beside the configuration.
fn beside_the_file(draft: &Draft, source: &Written<Source>) -> Option<String> {
    let Source::File(name) = &source.value else {
        return None;
    };
    let directory = Path::new(&*source.at.file)
        .parent()
        .filter(|path| *path != Path::new(""))?;
    let there = !draft.path(name).exists() && draft.path(directory.join(name)).exists();
    there.then(|| {
        format!(
            "names start from the working directory: add `--cd {}` before `--config`, \
             without the directory there",
            directory.display()
        )
    })
}

impl Draft {
    pub(super) fn remark_at(
        &mut self,
        severity: Severity,
        directive: &str,
        at: &Location,
        why: impl Into<String>,
        instead: Option<String>,
    ) {
        self.diagnostics.push(Diagnostic {
            severity,
            at: Some(at.clone()),
            directive: directive.to_owned(),
            reason: Reason::Because(why.into()),
            instead,
        });
    }
}

/// The authorities of `ca`.
pub(super) fn authorities(draft: &mut Draft, ca: &Opened) -> Option<Vec<CertificateDer<'static>>> {
    let authorities = certificates(draft, ca)?;
    let weak = authorities.iter().filter(|it| short_key(it).is_some());
    let all_weak = weak.count() == authorities.len();
    for authority in &authorities {
        remark_dates(draft, ca, authority);
        remark_authority(draft, ca, authority);
        remark_signing(draft, ca, authority, all_weak);
    }
    if all_weak {
        return None;
    }
    match PeerPolicy::new(authorities.clone(), PeerPurpose::Client) {
        Ok(_) => Some(authorities),
        Err(why) => {
            ca.remark(draft, Severity::Error, why, None);
            None
        }
    }
}

/// The authorities of `capath`. Wire: files are found by their names, a hash and a number.
pub(super) fn authorities_in(
    draft: &mut Draft,
    line: &Written<String>,
) -> Option<Vec<CertificateDer<'static>>> {
    let directory = draft.path(&line.value);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => {
            let why = format!("fails with '{}': {}", directory.display(), reason(&error));
            draft.remark_at(Severity::Error, "capath", &line.at, why, None);
            return None;
        }
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_hashed(name)).collect();
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let path = directory.join(name).display().to_string();
        let (value, at) = (Source::File(path), line.at.clone());
        let opened = Opened::new(draft, "capath", &Written { value, at }, false)?;
        all.extend(authorities(draft, &opened)?);
    }
    if all.is_empty() {
        let why = format!("no authority in '{}'", directory.display());
        let instead = Some(format!("openssl rehash {}", line.value));
        draft.remark_at(Severity::Error, "capath", &line.at, why, instead);
        return None;
    }
    Some(all)
}

/// Whether a name is eight hexadecimal digits, a dot and a number.
fn is_hashed(name: &str) -> bool {
    let parts = name.split_once('.');
    parts.is_some_and(|(hash, number)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits
    })
}

/// What `crl-verify` names; `None` for an error. Lists of `authorities` are held against them.
pub(super) fn revocations(
    draft: &mut Draft,
    line: &Written<RevocationLine>,
    authorities: Option<&[CertificateDer<'static>]>,
) -> Option<RevocationSettings> {
    let directive = "crl-verify";
    let RevocationLine { source, directory } = &line.value;
    let (origin, read, source) = match source {
        Source::Block(text) | Source::Unpacked(_, text) => {
            let authorities = authorities.unwrap_or_default();
            let read = Revocations::from_pem(text.as_bytes(), authorities, algorithms());
            let origin = format!("<{directive}> at {}", line.at);
            (origin, read, RevocationSource::Inline)
        }
        Source::File(name) => {
            let (here, then) = draft.path_when_running(name);
            let source = match directory {
                true => RevocationSource::Directory,
                false => RevocationSource::File,
            };
            let read = revocations::read(&source(here), authorities?, algorithms());
            let read = read.map_err(|fault| match fault {
                RevocationFault::System(error) => reason(&error),
                RevocationFault::Content(why) => why,
            });
            (name.clone(), read, source(then))
        }
    };
    match read {
        Ok(read) => {
            if let Some(why) = read.end().and_then(near_end) {
                let why = format!("{origin}: {why}");
                draft.remark_at(Severity::Warning, directive, &line.at, why, None);
            }
            let known = Arc::new(SharedRevocations::new(read));
            Some(RevocationSettings { source, known })
        }
        Err(why) => {
            let why = format!("{origin}: {why}");
            draft.remark_at(Severity::Error, directive, &line.at, why, None);
            None
        }
    }
}

/// The lists of `capath`; `None` for an error.
pub(super) fn revocations_in(
    draft: &mut Draft,
    line: &Written<String>,
    authorities: &[CertificateDer<'static>],
) -> Option<RevocationSettings> {
    let (here, then) = draft.path_when_running(&line.value);
    let read = revocations::read(&RevocationSource::Hashed(here), authorities, algorithms());
    match read {
        Ok(read) => {
            if let Some(why) = read.end().and_then(near_end) {
                let why = format!("{}: {why}", line.value);
                draft.remark_at(Severity::Warning, "capath", &line.at, why, None);
            }
            let known = Arc::new(SharedRevocations::new(read));
            let source = RevocationSource::Hashed(then);
            Some(RevocationSettings { source, known })
        }
        Err(fault) => {
            let why = match fault {
                RevocationFault::System(error) => reason(&error),
                RevocationFault::Content(why) => why,
            };
            let why = format!("{}: {why}", line.value);
            draft.remark_at(Severity::Error, "capath", &line.at, why, None);
            None
        }
    }
}

/// What there is to say about the end of a revocation list, in Unix seconds.
fn near_end(end: u64) -> Option<&'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |age| age.as_secs());
    match end.checked_sub(now) {
        None => Some("the revocation list has expired: nobody is let in until there is a new one"),
        Some(left) if left <= limits::REVOCATIONS_ANNOUNCED.as_secs() => {
            Some("the revocation list expires within 14 days: nobody is let in from then on")
        }
        Some(_) => None,
    }
}

fn certificates(draft: &mut Draft, opened: &Opened) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&opened.bytes).collect();
    let why = match read {
        Ok(found) if found.is_empty() => "no certificate in PEM form".to_owned(),
        Ok(found) => match found
            .iter()
            .find_map(|der| X509Certificate::from_der(der).err())
        {
            None => return Some(found),
            Some(error) => format!("a certificate that cannot be read: {error}"),
        },
        Err(error) => format!("broken PEM: {error}"),
    };
    opened.remark(draft, Severity::Error, why, None);
    None
}

/// The shared key of `tls-auth` or `tls-crypt`.
pub(super) fn static_key(draft: &mut Draft, opened: &Opened) -> Option<StaticKey> {
    let text = Zeroizing::new(String::from_utf8_lossy(&opened.bytes).into_owned());
    match StaticKey::parse(&text) {
        Ok(key) => Some(key),
        Err(error) => {
            opened.remark(
                draft,
                Severity::Error,
                error,
                Some("make one: ringway genkey tls-crypt ta.key"),
            );
            None
        }
    }
}

/// A server's key of `tls-crypt-v2`.
pub(super) fn tls_crypt_v2_server_key(
    draft: &mut Draft,
    opened: &Opened,
) -> Option<TlsCryptV2ServerKey> {
    let instead = "make one: ringway genkey tls-crypt-v2-server server.key";
    own_format(draft, opened, TlsCryptV2ServerKey::parse, instead)
}

/// The key of a server's tokens.
pub(super) fn auth_token_key(draft: &mut Draft, opened: &Opened) -> Option<AuthTokenKey> {
    let instead = "make one: ringway genkey auth-token token.key";
    own_format(draft, opened, AuthTokenKey::parse, instead)
}

/// A client's key of `tls-crypt-v2`.
pub(super) fn tls_crypt_v2_client_key(
    draft: &mut Draft,
    opened: &Opened,
) -> Option<TlsCryptV2ClientKey> {
    let instead = "make one with the server's key: \
                   ringway --tls-crypt-v2 server.key --genkey tls-crypt-v2-client client.key";
    own_format(draft, opened, TlsCryptV2ClientKey::parse, instead)
}

fn own_format<T>(
    draft: &mut Draft,
    opened: &Opened,
    parse: fn(&str) -> Result<T, KeyFileError>,
    instead: &str,
) -> Option<T> {
    let text = Zeroizing::new(String::from_utf8_lossy(&opened.bytes).into_owned());
    match parse(&text) {
        Ok(key) => Some(key),
        Err(error) => {
            opened.remark(draft, Severity::Error, error, Some(instead));
            None
        }
    }
}

/// OpenVPN starts with an expired certificate, and so do we: clients will refuse it.
fn remark_dates(draft: &mut Draft, opened: &Opened, der: &CertificateDer<'_>) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (subject, validity) = (subject_text(&certificate), certificate.validity());
    let why = if validity.not_after.timestamp() < now {
        format!(
            "the certificate of {subject} has expired on {}",
            validity.not_after
        )
    } else if validity.not_before.timestamp() > now {
        format!(
            "the certificate of {subject} is not valid before {}",
            validity.not_before
        )
    } else {
        return;
    };
    let what = match draft.role {
        Role::Server => "no client will connect",
        Role::Client => "no server will be trusted, or none will let this client in",
    };
    opened.remark(draft, Severity::Warning, why, Some(what));
}

fn remark_authority(draft: &mut Draft, opened: &Opened, der: &CertificateDer<'_>) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return;
    };
    if !certificate.is_ca() {
        let subject = subject_text(&certificate);
        let why = format!("the certificate of {subject} is not marked as an authority's");
        let what = match draft.role {
            Role::Server => "`ca` names the certificate that signed those of the clients",
            Role::Client => "`ca` names the certificate that signed that of the server",
        };
        opened.remark(draft, Severity::Warning, why, Some(what));
    }
}

/// What an authority has signed can't be verified if its key is too short, and is not taken if it is
/// signed by an old digest.
fn remark_signing(draft: &mut Draft, opened: &Opened, der: &CertificateDer<'_>, all_weak: bool) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return;
    };
    let subject = subject_text(&certificate);
    if let Some(bits) = short_key(der) {
        let severity = match all_weak {
            true => Severity::Error,
            false => Severity::Warning,
        };
        let why = format!(
            "the authority {subject} has an RSA key of {bits} bits: nothing that it has signed is taken"
        );
        opened.remark(draft, severity, why, Some(NEW_AUTHORITY));
    }
    if let Some(digest) = old_digest(&certificate) {
        let why = format!(
            "the authority {subject} is signed with {digest}: certificates that it has signed so are refused"
        );
        opened.remark(draft, Severity::Warning, why, Some(NEW_AUTHORITY));
    }
}

/// The bits of an RSA key that is too short to be served.
fn short_key(der: &CertificateDer<'_>) -> Option<usize> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) if key.key_size() < RSA_BITS_MIN => Some(key.key_size()),
        _ => None,
    }
}

/// The digest of a signature that is not served.
fn old_digest(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    let mut old = OLD_SIGNATURES.iter();
    old.find(|(id, _)| *id == algorithm).map(|(_, name)| *name)
}

/// Whether a file of `dh` could be used; ringway has no use for it, and OpenVPN would refuse it.
pub(super) fn check_dh(draft: &mut Draft, opened: &Opened) {
    let found = Pem::iter_from_buffer(&opened.bytes)
        .filter_map(Result::ok)
        .any(|pem| pem.label.ends_with("DH PARAMETERS") && pem.contents.first() == Some(&SEQUENCE));
    if found {
        let why = "read and not used: keys are exchanged by elliptic curves";
        opened.remark(draft, Severity::Note, why, None);
    } else {
        let why = "no DH PARAMETERS in PEM form";
        opened.remark(draft, Severity::Error, why, Some("write `dh none`"));
    }
}

/// A whole file, if it is not unreasonably large.
pub(super) fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    let most = limits::CONFIG_FILE_MAX;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    if bytes.len() as u64 > most {
        return Err(format!("more than {most} bytes"));
    }
    Ok(bytes)
}

/// The error's words, without the number that the standard library appends.
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error")
        .map_or(text.clone(), |(words, _)| words.to_owned())
}

/// Remarks upon a file with a secret that its group or others may do something with.
pub(super) fn warn_of_others(
    draft: &mut Draft,
    directive: &'static str,
    at: &Location,
    path: &Path,
    name: &str,
) {
    let metadata = path.metadata();
    if metadata.is_ok_and(|it| it.permissions().mode() & 0o077 != 0) {
        let why = format!("file '{name}' is group or others accessible");
        let instead = Some(format!("chmod 600 {name}"));
        draft.remark_at(Severity::Warning, directive, at, why, instead);
    }
}

/// Signatures that no library of today takes, by their object identifiers.
const OLD_SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.3", "MD4"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
];

/// The shortest RSA key that is served.
const RSA_BITS_MIN: usize = 2048;

const NEW_AUTHORITY: &str =
    "make a new authority with easy-rsa 3 or `ringway quickstart`, and give out new certificates";

/// The tag that DH parameters begin with.
const SEQUENCE: u8 = 0x30;
