//! The subject of a certificate in the words that OpenSSL has for it: scripts, `verify-x509-name` and logs of
//! stock have it so.

use std::collections::HashMap;
use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::AttributeTypeAndValue;

use super::verify::{SUBJECT_MAX, printable};

/// The subject as stock prints it: `C=XX, O=Org, CN=name`.
///
/// Wire: OpenSSL's short names in the order of the certificate, numbers for what has none; several attributes of
/// one part with a plus between them; controls and backslashes escaped.
pub(crate) fn subject_text(certificate: &X509Certificate<'_>) -> String {
    let mut text = String::new();
    for part in certificate.subject().iter_rdn() {
        for (index, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push_str(if index == 0 { ", " } else { " + " });
            }
            let number = attribute.attr_type().to_id_string();
            text.push_str(short_name(&number).unwrap_or(&number));
            text.push('=');
            escape(&mut text, &value(attribute).unwrap_or_default());
        }
    }
    printable(&text, SUBJECT_MAX)
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            control if control.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _infallible = write!(text, "\\{:02X}", u32::from(control));
            }
            plain => text.push(plain),
        }
    }
}

/// The attributes of a subject that have a name, by their short names and in their order. Wire: the second of a
/// name has `_1` behind it, and so on.
pub(super) fn fields(certificate: &X509Certificate<'_>) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut counts = HashMap::new();
    for attribute in certificate.subject().iter_attributes() {
        let number = attribute.attr_type().to_id_string();
        let (Some(name), Some(value)) = (short_name(&number), value(attribute)) else {
            continue;
        };
        let count = counts.entry(name).or_insert(0);
        let numbered = match *count {
            0 => name.to_owned(),
            FIELDS_OF_A_NAME.. => continue,
            earlier => format!("{name}_{earlier}"),
        };
        *count += 1;
        fields.push((numbered, printable(&value, FIELD_MAX)));
    }
    fields
}

/// The value of an attribute, whatever kind of string it is.
pub(super) fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value: &Any<'_> = attribute.attr_value();
    let wide = |size: usize| {
        let unit = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u32::from(*byte))
        };
        let units = value.data.chunks_exact(size).map(unit);
        let whole = value.data.len().is_multiple_of(size);
        let text = units.map(char::from_u32).collect::<Option<String>>();
        text.filter(|_| whole)
    };
    match value.tag() {
        Tag::BmpString => wide(2),
        Tag::UniversalString => wide(4),
        // Wire: taken for Latin-1, as everybody does.
        Tag::TeletexString => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        _ => attribute.as_str().ok().map(str::to_owned),
    }
}

/// The number of an attribute by one of its names, or as it is written.
pub(super) fn number(word: &str) -> Option<String> {
    let known = ATTRIBUTES
        .iter()
        .find(|(short, long, _)| [*short, *long].contains(&word));
    let mut parts = word.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    let numeric = word.contains('.') && parts.all(is_number);
    known
        .map(|(_, _, number)| (*number).to_owned())
        .or_else(|| numeric.then(|| word.to_owned()))
}

/// OpenSSL's short name for an attribute.
pub(super) fn short_name(number: &str) -> Option<&'static str> {
    let known = ATTRIBUTES.iter().find(|(_, _, known)| *known == number);
    known.map(|(short, _, _)| *short)
}

/// What OpenSSL calls the attributes of subjects, short and long.
const ATTRIBUTES: [(&str, &str, &str); 38] = [
    ("CN", "commonName", "2.5.4.3"),
    ("SN", "surname", "2.5.4.4"),
    ("serialNumber", "serialNumber", "2.5.4.5"),
    ("C", "countryName", "2.5.4.6"),
    ("L", "localityName", "2.5.4.7"),
    ("ST", "stateOrProvinceName", "2.5.4.8"),
    ("street", "streetAddress", "2.5.4.9"),
    ("O", "organizationName", "2.5.4.10"),
    ("OU", "organizationalUnitName", "2.5.4.11"),
    ("title", "title", "2.5.4.12"),
    ("description", "description", "2.5.4.13"),
    ("businessCategory", "businessCategory", "2.5.4.15"),
    ("postalAddress", "postalAddress", "2.5.4.16"),
    ("postalCode", "postalCode", "2.5.4.17"),
    ("postOfficeBox", "postOfficeBox", "2.5.4.18"),
    (
        "physicalDeliveryOfficeName",
        "physicalDeliveryOfficeName",
        "2.5.4.19",
    ),
    ("telephoneNumber", "telephoneNumber", "2.5.4.20"),
    ("member", "member", "2.5.4.31"),
    ("owner", "owner", "2.5.4.32"),
    ("name", "name", "2.5.4.41"),
    ("GN", "givenName", "2.5.4.42"),
    ("initials", "initials", "2.5.4.43"),
    ("generationQualifier", "generationQualifier", "2.5.4.44"),
    ("x500UniqueIdentifier", "x500UniqueIdentifier", "2.5.4.45"),
    ("dnQualifier", "dnQualifier", "2.5.4.46"),
    ("dmdName", "dmdName", "2.5.4.54"),
    ("pseudonym", "pseudonym", "2.5.4.65"),
    ("role", "role", "2.5.4.72"),
    (
        "organizationIdentifier",
        "organizationIdentifier",
        "2.5.4.97",
    ),
    ("UID", "userId", "0.9.2342.19200300.100.1.1"),
    ("mail", "rfc822Mailbox", "0.9.2342.19200300.100.1.3"),
    ("DC", "domainComponent", "0.9.2342.19200300.100.1.25"),
    ("emailAddress", "emailAddress", "1.2.840.113549.1.9.1"),
    (
        "unstructuredName",
        "unstructuredName",
        "1.2.840.113549.1.9.2",
    ),
    (
        "unstructuredAddress",
        "unstructuredAddress",
        "1.2.840.113549.1.9.8",
    ),
    (
        "jurisdictionL",
        "jurisdictionLocalityName",
        "1.3.6.1.4.1.311.60.2.1.1",
    ),
    (
        "jurisdictionST",
        "jurisdictionStateOrProvinceName",
        "1.3.6.1.4.1.311.60.2.1.2",
    ),
    (
        "jurisdictionC",
        "jurisdictionCountryName",
        "1.3.6.1.4.1.311.60.2.1.3",
    ),
];

/// Bytes of one field, which has at most 64 characters by the rules.
const FIELD_MAX: usize = 256;
/// Wire: as many as 2.6 counts.
const FIELDS_OF_A_NAME: u32 = 1_000;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::prelude::FromDer as _;

    use super::*;

    /// A certificate that OpenSSL makes, and its subject as OpenSSL prints it.
    fn made(subject: &str, words: &[&str]) -> (Vec<u8>, String) {
        let directory = tempfile::tempdir().unwrap();
        let run = |words: &[&str]| {
            let command = Command::new("openssl")
                .current_dir(directory.path())
                .args(words)
                .output();
            let output = command.unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        let config = "[req]\ndistinguished_name=dn\nstring_mask=utf8only\n[dn]\n";
        std::fs::write(directory.path().join("config"), config).unwrap();
        let request = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-config",
            "config",
            "-utf8",
            "-keyout",
            "key",
            "-out",
            "crt",
            "-subj",
            subject,
        ];
        run(&[&request[..], words].concat());
        let options = "sep_comma_plus_space,sname,utf8,esc_ctrl";
        let printed = run(&[
            "x509", "-in", "crt", "-noout", "-subject", "-nameopt", options,
        ]);
        let printed = String::from_utf8(printed).unwrap();
        let printed = printed
            .trim_end()
            .strip_prefix("subject=")
            .unwrap()
            .to_owned();
        let pem = std::fs::read(directory.path().join("crt")).unwrap();
        (
            CertificateDer::from_pem_slice(&pem).unwrap().to_vec(),
            printed,
        )
    }

    #[test]
    fn a_subject_reads_as_openssl_prints_it() {
        let every: String = ATTRIBUTES
            .iter()
            .filter(|(short, ..)| !["C", "jurisdictionC", "x500UniqueIdentifier"].contains(short))
            .map(|(_, _, number)| format!("/{number}=v"))
            .collect();
        for subject in [
            &every,
            "/C=DE/ST=Berlin/O=Acme/OU=one/OU=two/CN=anna/name=EasyRSA/emailAddress=me@myhost.mydomain",
            "/C=DE/jurisdictionC=DE/O=Gr\u{fc}n \u{20ac}/CN=a\\\\b, c/UID=7/DC=example",
            "/O=Acme/CN=anna+UID=anna+serialNumber=5/1.3.6.1.4.1.99999.1=own",
            "/CN=two\nlines",
        ] {
            let (der, printed) = made(subject, &["-multivalue-rdn"]);
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(subject_text(&certificate), printed, "{subject}");
        }
    }

    #[test]
    fn fields_of_one_name_are_counted() {
        let (der, _) = made(
            "/OU=one/CN=anna/OU=two/OU=three/1.3.6.1.4.1.99999.1=own",
            &[],
        );
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let expected = [
            ("OU", "one"),
            ("CN", "anna"),
            ("OU_1", "two"),
            ("OU_2", "three"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields(&certificate), expected);
    }

    #[test]
    fn older_kinds_of_strings_are_read() {
        let named = |tag: u8, value: &[u8]| {
            // SET { SEQUENCE { 2.5.4.3, value } }, as a name of one part.
            let value = [&[tag, value.len() as u8][..], value].concat();
            let pair = [&[6, 3, 0x55, 4, 3][..], &value].concat();
            let pair = [&[0x30, pair.len() as u8][..], &pair].concat();
            let part = [&[0x31, pair.len() as u8][..], &pair].concat();
            [&[0x30, part.len() as u8][..], &part].concat()
        };
        for (tag, bytes, text) in [
            (12, &b"anna"[..], Some("anna")),
            (30, b"\0a\0n\x20\xac", Some("an\u{20ac}")),
            (30, b"\0a\0", None),
            (28, b"\0\0\0a\0\x01\xf6\0", Some("a\u{1f600}")),
            (20, b"Gr\xfcn", Some("Gr\u{fc}n")),
        ] {
            let name = named(tag, bytes);
            let (_, name) = x509_parser::x509::X509Name::from_der(&name).unwrap();
            let first = name.iter_attributes().next().unwrap();
            assert_eq!(value(first).as_deref(), text, "{tag}");
        }
    }
}
