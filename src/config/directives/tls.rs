//! Certificates, keys, and what TLS may use.

use rustls::crypto::SupportedKxGroup;

use super::logging::file;
use super::values::source;
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, RevocationLine, Written};
use crate::config::lexer::Line;
use crate::crypto::tls::rustls::{TlsVersion, group_by_name};
use crate::crypto::tls::{ExtendedUsage, NameRule};
use crate::wire::Role;

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
        remote_cert_tls,
    ),
    Directive::served(
        "ns-cert-type",
        "client|server",
        (1, 1),
        "obsolete form of `remote-cert-tls`",
        ns_cert_type,
    ),
    Directive::served(
        "verify-x509-name",
        "NAME [subject|name|name-prefix]",
        (1, 2),
        "what the peers' certificates must be named",
        verify_x509_name,
    ),
    Directive::ignored(
        "ecdh-curve",
        "CURVE",
        (1, 1),
        "obsolete form of `tls-groups`",
        "write `tls-groups`",
    ),
    Directive::ignored(
        "tls-cipher",
        "SUITE:...",
        (1, 1),
        "suites of TLS 1.2",
        "TLS 1.2 is served with ECDHE and AEAD suites, all of them strong",
    ),
    Directive::ignored(
        "tls-ciphersuites",
        "SUITE:...",
        (1, 1),
        "suites of TLS 1.3",
        "TLS 1.3 is served with all of its suites, all of them strong",
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
        "insecure|legacy|preferred",
        (1, 1),
        "least strength of certificates: always that of `preferred`, RSA of 2048 bits and SHA-256",
        tls_cert_profile,
    ),
    Directive::later(
        "extra-certs",
        "FILE",
        (1, 1),
        "more certificates of the own chain",
        "append them to the file of `cert`",
    )
    .or_block(),
    Directive::later(
        "pkcs12",
        "FILE",
        (1, 1),
        "key and certificates in one file",
        "convert it: openssl pkcs12 -in FILE -nodes, and write `ca`, `cert`, `key`",
    )
    .or_block(),
    Directive::served(
        "capath",
        "DIRECTORY",
        (1, 1),
        "authorities in a directory, a file each as `openssl rehash` names them; read at the start",
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
        peer_fingerprint,
    )
    .or_block(),
    Directive::later(
        "verify-hash",
        "HASH [ALGORITHM]",
        (1, 2),
        "accept one authority",
        "write `ca` with that authority alone",
    )
    .or_block(),
    Directive::served(
        "remote-cert-ku",
        "[USAGE...]",
        (0, MANY),
        "the peers' certificates must have one of these key usages, or any",
        remote_cert_ku,
    ),
    Directive::served(
        "remote-cert-eku",
        "OID",
        (1, 1),
        "the peers' certificates must have this extended key usage",
        remote_cert_eku,
    ),
    Directive::later(
        "x509-username-field",
        "FIELD...",
        (1, MANY),
        "take a client's name from another field",
        "remove the line; the name is the CN",
    ),
    Directive::later(
        "x509-track",
        "ATTRIBUTE",
        (1, 1),
        "save a field for scripts",
        "remove the line",
    ),
    Directive::later(
        "keying-material-exporter",
        "LABEL LENGTH",
        (2, MANY),
        "export keys for plug-ins",
        "remove the line",
    ),
    Directive::later(
        "askpass",
        "[FILE]",
        (0, 1),
        "password of an encrypted key",
        "decrypt the key: openssl pkey -in KEY -out NEW",
    ),
    Directive::later(
        "no-name-remapping",
        "",
        (0, 0),
        "keep odd characters of names",
        "remove the line",
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

/// Lines add up, and so do those of a block.
fn peer_fingerprint(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
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

/// 32 bytes as `AB:cd:...`.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let parts = text.split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    });
    let bytes: Option<Vec<u8>> = parts.collect();
    bytes?.try_into().ok()
}

fn remote_cert_ku(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
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

fn remote_cert_eku(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let word = line.argument(0).unwrap_or_default();
    let usage = ExtendedUsage::new(word).ok_or_else(|| {
        Refusal::because(format!("`{word}` is no extended key usage"))
            .instead("write its number, such as 1.3.6.1.5.5.7.3.2 for clients")
    })?;
    draft.tls.usage.extended = Some(usage);
    Ok(())
}

fn tls_cert_profile(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match line.argument(0) {
        Some("preferred") => Ok(()),
        Some("insecure" | "legacy") => {
            draft.warn(
                line,
                "RSA below 2048 bits and SHA-1 signatures are refused all the same",
            );
            Ok(())
        }
        Some("suiteb") => Err(Refusal::because(
            "`suiteb` is not served: other certificates than those on P-256 and P-384 are taken too",
        )
        .instead("write `tls-cert-profile preferred`")),
        other => Err(
            Refusal::because(format!("`{}` is no profile", other.unwrap_or_default()))
                .instead("write `tls-cert-profile preferred`"),
        ),
    }
}

fn remote_cert_tls(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
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

fn ns_cert_type(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
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

fn verify_x509_name(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
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
