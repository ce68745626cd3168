//! Certificates, keys, and what TLS may use.

mod peers;

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;

use super::logging::file;
use super::values::source;
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, RevocationLine, Source, Written};
use crate::config::lexer::Line;
use crate::crypto::tls::rustls::{TlsVersion, group_by_name};
use crate::crypto::tls::{is_suite_of_openssl, suite_by_name, suites as tls_suites};
use crate::session::{KeyingMaterial, OWN_LABELS};

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "ca",
        "FILE",
        (1, 1),
        "authorities that sign the peers, PEM",
        ca,
    )
    .or_block(),
    Directive::served(
        "cert",
        "FILE",
        (1, 1),
        "the own certificate and its chain, PEM",
        cert,
    )
    .or_block(),
    Directive::served("key", "FILE", (1, 1), "the own private key, PEM", key).or_block(),
    Directive::served(
        "dh",
        "FILE|none",
        (1, 1),
        "Diffie-Hellman parameters; read, and not needed",
        dh,
    )
    .or_block()
    .on_client(Support::Ignored("it belongs to a server's configuration")),
    Directive::always(
        "tls-server",
        "",
        (0, 0),
        "be the TLS server",
        "ringway always is",
    )
    .of_servers(),
    Directive::served(
        "tls-version-min",
        "1.2|1.3 [or-highest]",
        (1, 2),
        "the oldest TLS version, 1.2 if not written",
        tls_version_min,
    ),
    Directive::served(
        "tls-version-max",
        "1.2|1.3",
        (1, 1),
        "the newest TLS version",
        tls_version_max,
    ),
    Directive::served(
        "tls-groups",
        "GROUP:...",
        (1, 1),
        "key exchange groups, best first",
        tls_groups,
    ),
    Directive::served(
        "remote-cert-tls",
        "client|server",
        (1, 1),
        "the peers' certificates must be marked for that role",
        peers::remote_cert_tls,
    ),
    Directive::served(
        "ns-cert-type",
        "client|server",
        (1, 1),
        "obsolete form of `remote-cert-tls`",
        peers::ns_cert_type,
    ),
    Directive::served(
        "verify-x509-name",
        "NAME [subject|name|name-prefix]",
        (1, 2),
        "what the peers' certificates must be named",
        peers::verify_x509_name,
    ),
    Directive::ignored(
        "ecdh-curve",
        "CURVE",
        (1, 1),
        "obsolete form of `tls-groups`",
        "write `tls-groups`",
    ),
    Directive::served(
        "tls-cipher",
        "SUITE:...",
        (1, 1),
        "suites of TLS 1.2, best first, in OpenSSL's names or IANA's; the usual ones, all of them strong, if none \
         of these is served",
        tls_cipher,
    ),
    Directive::served(
        "tls-ciphersuites",
        "SUITE:...",
        (1, 1),
        "suites of TLS 1.3, best first; all of them if none of these is served",
        tls_ciphersuites,
    ),
    Directive::ignored(
        "providers",
        "NAME...",
        (1, MANY),
        "providers of OpenSSL",
        "TLS is not done by OpenSSL",
    ),
    Directive::ignored(
        "engine",
        "[NAME]",
        (0, 1),
        "engine of OpenSSL",
        "TLS is not done by OpenSSL",
    ),
    Directive::served(
        "tls-cert-profile",
        "insecure|legacy|preferred|suiteb",
        (1, 1),
        "least strength of certificates: that of `preferred`, RSA of 2048 bits and SHA-256, also with the \
         weaker two; with `suiteb` nothing but P-256, P-384 and AES-GCM",
        tls_cert_profile,
    ),
    Directive::served(
        "extra-certs",
        "FILE",
        (1, 1),
        "more certificates of the own chain, sent after those of `cert`",
        extra_certs,
    )
    .or_block(),
    Directive::served(
        "pkcs12",
        "FILE",
        (1, 1),
        "key, certificate and chain in one file, and the authorities if there is no `ca`; its password is \
         that of `askpass`",
        pkcs12,
    )
    .or_block(),
    Directive::served(
        "capath",
        "DIRECTORY",
        (1, 1),
        "authorities in a directory, a file each as `openssl rehash` names them, read at the start; and their \
         revocation lists, read again when a file comes or goes",
        capath,
    ),
    Directive::served(
        "crl-verify",
        "FILE [dir]",
        (1, 2),
        "refuse revoked certificates: lists of authorities, or a directory with a file for each, named by \
         its serial number; looked at every second",
        crl_verify,
    )
    .or_block(),
    Directive::served(
        "peer-fingerprint",
        "FINGERPRINT",
        (1, 1),
        "accept these certificates only, whoever has signed them if there is no `ca`",
        peers::peer_fingerprint,
    )
    .or_block(),
    Directive::served(
        "verify-hash",
        "HASH [ALGORITHM]",
        (1, 2),
        "who has signed the peers' certificates must be one of these: its SHA1, or SHA256 if that is written \
         behind it or the hashes are in a block",
        peers::verify_hash,
    )
    .or_block(),
    Directive::served(
        "remote-cert-ku",
        "[USAGE...]",
        (0, MANY),
        "the peers' certificates must have one of these key usages, or any",
        peers::remote_cert_ku,
    ),
    Directive::served(
        "remote-cert-eku",
        "OID",
        (1, 1),
        "the peers' certificates must have this extended key usage",
        peers::remote_cert_eku,
    ),
    Directive::served(
        "x509-username-field",
        "FIELD...",
        (1, MANY),
        "the fields of a certificate, joined by `_`, by which its peer is called in place of its CN: \
         `ext:subjectAltName` (its mail address), `serialNumber`, `emailAddress`, `UID` and their like, or numbers",
        peers::x509_username_field,
    ),
    Directive::served(
        "x509-track",
        "FIELD",
        (1, 1),
        "a field of a client's certificate that scripts are told, in the place of all; with `+` before it also \
         those of its authorities: a field of the subject, `SHA1` or `SHA256`",
        peers::x509_track,
    )
    .on_client(Support::Ignored("no script of a client is told of certificates")),
    Directive::served(
        "keying-material-exporter",
        "LABEL LENGTH",
        (2, MANY),
        "tell plug-ins, when a client's keys are made, what both ends can derive of them (RFC 5705): 16 to 4095 bytes under a \
         label that begins with EXPORTER",
        keying_material_exporter,
    )
    .on_client(Support::Ignored(
        "only plug-ins are told it, and a client has none",
    )),
    Directive::served(
        "askpass",
        "[FILE]",
        (0, 1),
        "password of the key or of `pkcs12`, the first line of a file; asked for on the terminal if none is named",
        askpass,
    ),
    Directive::refused(
        "no-name-remapping",
        "",
        (0, 0),
        "keep odd characters of names",
        "removed in OpenVPN 2.5: names are kept but for control characters; remove the line",
    ),
    Directive::refused(
        "pkcs11-providers",
        "PROVIDER...",
        (1, MANY),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "pkcs11-id",
        "NAME",
        (1, 1),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "pkcs11-id-management",
        "",
        (0, 0),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "pkcs11-pin-cache",
        "SECONDS",
        (1, 1),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "pkcs11-cert-private",
        "[0|1...]",
        (0, MANY),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "pkcs11-private-mode",
        "MODE...",
        (1, MANY),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "pkcs11-protected-authentication",
        "[0|1...]",
        (0, MANY),
        "keys on a smart card",
        "keys are read from files: write `key`",
    ),
    Directive::refused(
        "cryptoapicert",
        "SELECT",
        (1, 1),
        "keys in the Windows store",
        "keys are read from files: write `key`",
    ),
];

fn ca(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.tls.ca = Written::new(source, line);
    }
    Ok(())
}

fn crl_verify(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let directory = match line.argument(1) {
        None => false,
        Some("dir") => true,
        Some(other) => {
            return Err(Refusal::because(format!("`{other}` is not `dir`")));
        }
    };
    if let Some(source) = source(line) {
        draft.tls.revocations = Written::new(RevocationLine { source, directory }, line);
    }
    Ok(())
}

fn cert(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.tls.certificate = Written::new(source, line);
    }
    Ok(())
}

fn key(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.tls.key = Written::new(source, line);
    }
    Ok(())
}

fn pkcs12(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.tls.pkcs12 = Written::new(source, line);
    }
    Ok(())
}

fn askpass(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    // Wire: `stdin` stands for the terminal in 2.6, too.
    let file = line.argument(0).filter(|name| *name != "stdin");
    let file = file.map(|name| Source::File(name.to_owned()));
    draft.tls.askpass = Written::new(file, line);
    Ok(())
}

fn dh(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.tls.dh = match line.argument(0) {
        Some("none") => None,
        _ => source(line).and_then(|source| Written::new(source, line)),
    };
    Ok(())
}

fn tls_version_min(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let or_highest = match line.argument(1) {
        None => false,
        Some("or-highest") => true,
        Some(other) => {
            return Err(Refusal::because(format!("`{other}` is no flag"))
                .instead("the only flag is `or-highest`"));
        }
    };
    let oldest = match line.argument(0) {
        Some(old @ ("1.0" | "1.1")) => {
            draft.warn(line, format!("TLS {old} is not served; the oldest is 1.2"));
            TlsVersion::V1_2
        }
        word => match version(word) {
            Ok(version) => version,
            Err(_) if or_highest => TlsVersion::V1_3,
            Err(refusal) => return Err(refusal),
        },
    };
    draft.tls.oldest = Some(oldest);
    Ok(())
}

fn tls_version_max(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.tls.newest = Written::new(version(line.argument(0))?, line);
    Ok(())
}

fn version(word: Option<&str>) -> Result<TlsVersion, Refusal> {
    match word {
        Some("1.2") => Ok(TlsVersion::V1_2),
        Some("1.3") => Ok(TlsVersion::V1_3),
        other => Err(Refusal::because(format!(
            "TLS `{}` is not served",
            other.unwrap_or_default()
        ))
        .instead("write 1.2 or 1.3")),
    }
}

fn tls_cipher(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.tls.suites_12 = suites(draft, line, false)?;
    Ok(())
}

fn tls_ciphersuites(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.tls.suites_13 = suites(draft, line, true)?;
    Ok(())
}

/// The suites of a line that are served, `None` if there are none.
///
/// Wire: 2.6 does not start with a line in which there is no suite at all. One whose suites it has, and which
/// are not served here, does not keep it: the usual ones are stronger than those.
fn suites(
    draft: &mut Draft,
    line: &Line,
    tls13: bool,
) -> Result<Option<Vec<SupportedCipherSuite>>, Refusal> {
    let names = line.argument(0).unwrap_or_default().split(':');
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in names.clone() {
        match suite_by_name(name).filter(|suite| suite.tls13().is_some() == tls13) {
            Some(suite) => known.push(suite),
            None => unknown.push(name),
        }
    }
    let unknown = unknown.join("`, `");
    match (known.is_empty(), unknown.is_empty()) {
        (true, _) if !names.clone().any(|name| is_suite_of_openssl(name, tls13)) => {
            let usual: Vec<_> = tls_suites(tls13).map(shown).collect();
            let why = format!(
                "there is no suite of TLS in `{}`",
                names.collect::<Vec<_>>().join(":")
            );
            let instead = format!(
                "write `{} {}`, or remove the line",
                line.name,
                usual.join(":")
            );
            return Err(Refusal::because(why).instead(instead));
        }
        (true, _) => {
            let why = "none of these suites is served; the usual ones are, all of them strong";
            draft.warn(line, why);
            return Ok(None);
        }
        (false, false) => draft.warn(line, format!("not served: `{unknown}`")),
        (false, true) => {}
    }
    Ok(Some(known))
}

/// As OpenVPN writes it.
fn shown(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    match suite.tls13() {
        Some(_) => name.replace("TLS13_", "TLS_"),
        None => name.replace('_', "-"),
    }
}

fn tls_groups(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for name in line.argument(0).unwrap_or_default().split(':') {
        match group_by_name(name) {
            Some(group) => groups.push(group),
            None => draft.warn(line, format!("the group `{name}` is not served")),
        }
    }
    if groups.is_empty() {
        return Err(Refusal::because("none of these groups is served")
            .instead("write for example `tls-groups X25519MLKEM768:X25519:secp256r1`"));
    }
    draft.tls.groups = Some(groups);
    Ok(())
}

fn capath(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.tls.ca_directory = Written::new(file(line)?.to_owned(), line);
    Ok(())
}

fn extra_certs(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.tls.extra = Written::new(source, line);
    }
    Ok(())
}

fn tls_cert_profile(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("preferred") => {
            draft.tls.suite_b = false;
            Ok(())
        }
        Some("suiteb") => {
            draft.tls.suite_b = true;
            Ok(())
        }
        Some("insecure" | "legacy") => {
            draft.tls.suite_b = false;
            draft.warn(
                line,
                "RSA below 2048 bits and SHA-1 signatures are refused all the same",
            );
            Ok(())
        }
        other => Err(
            Refusal::because(format!("`{}` is no profile", other.unwrap_or_default()))
                .instead("write `tls-cert-profile preferred`"),
        ),
    }
}

/// Wire: 2.6 takes these labels and lengths.
fn keying_material_exporter(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let label = line.argument(0).unwrap_or_default();
    if !label.starts_with("EXPORTER") {
        let why = "Keying material exporter label must begin with \"EXPORTER\"";
        return Err(
            Refusal::because(why).instead("write `keying-material-exporter EXPORTER_NAME 16`")
        );
    }
    if OWN_LABELS.contains(&label) {
        let why = format!("Keying material exporter label must not be '{label}'");
        return Err(
            Refusal::because(why).instead("choose another: OpenVPN itself makes keys of that one")
        );
    }
    let length = line.argument(1).and_then(|it| it.parse().ok());
    let Some(length) = length.filter(|it| (16..=4095).contains(it)) else {
        let why = "Invalid keying material exporter length";
        return Err(Refusal::because(why).instead("write a number of bytes from 16 to 4095"));
    };
    let material = KeyingMaterial {
        label: label.to_owned(),
        length,
    };
    draft.login.exporter = Written::new(material, line);
    Ok(())
}
