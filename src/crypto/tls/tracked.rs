//! Which fields of certificates scripts are told (`x509-track`).

use super::username::UnknownField;
use super::{CertificateFacts, subject};

/// A field that is told, in the place of those of the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedField {
    /// As it was written, without its `+`.
    name: String,
    /// Whether it is told of all certificates of a chain, not of a peer's own alone (`+`).
    of_chain: bool,
    place: Place,
}

/// Where its value is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The first of these of the subject, by its short name.
    Subject(String),
    Sha1,
    Sha256,
}

impl TrackedField {
    /// A field by the name that OpenSSL has for it, or by its number; `SHA1` or `SHA256` for a fingerprint.
    ///
    /// # Errors
    /// It is no field of a subject.
    pub fn new(word: &str) -> Result<Self, UnknownField> {
        let (name, of_chain) = match word.strip_prefix('+') {
            Some(name) => (name, true),
            None => (word, false),
        };
        let place = match name {
            "SHA1" | "sha1" => Place::Sha1,
            "SHA256" | "sha256" => Place::Sha256,
            other => Place::Subject(short(other).ok_or_else(|| UnknownField(other.to_owned()))?),
        };
        Ok(Self {
            name: name.to_owned(),
            of_chain,
            place,
        })
    }

    /// Its name, and its value in the certificate so far from a peer's own; nothing if it is not told or
    /// not there. Wire: fingerprints are in capitals here, and nowhere else.
    pub fn of(&self, certificate: &CertificateFacts, depth: usize) -> Option<(&str, String)> {
        if depth > 0 && !self.of_chain {
            return None;
        }
        let value = match &self.place {
            Place::Sha1 => certificate.sha1.to_uppercase(),
            Place::Sha256 => certificate.sha256.to_uppercase(),
            Place::Subject(field) => {
                let mut fields = certificate.fields.iter();
                fields.find(|(name, _)| name == field)?.1.clone()
            }
        };
        Some((&self.name, value))
    }
}

/// The short name by which [`CertificateFacts::fields`] has an attribute.
fn short(word: &str) -> Option<String> {
    subject::short_name(&subject::number(word)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_all_their_names() {
        let certificate = CertificateFacts {
            subject: String::new(),
            fields: [
                ("O", "here"),
                ("OU", "first"),
                ("OU", "second"),
                ("CN", "anna"),
                ("emailAddress", "a@b"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            serial: "1".to_owned(),
            serial_hex: "01".to_owned(),
            sha1: "aa:bb".to_owned(),
            sha256: "cc:dd".to_owned(),
        };
        for (word, own, further) in [
            ("CN", Some(("CN", "anna")), None),
            ("commonName", Some(("commonName", "anna")), None),
            ("2.5.4.3", Some(("2.5.4.3", "anna")), None),
            ("+CN", Some(("CN", "anna")), Some(("CN", "anna"))),
            ("OU", Some(("OU", "first")), None),
            ("emailAddress", Some(("emailAddress", "a@b")), None),
            ("ST", None, None),
            ("serialNumber", None, None),
            ("SHA1", Some(("SHA1", "AA:BB")), None),
            (
                "+SHA256",
                Some(("SHA256", "CC:DD")),
                Some(("SHA256", "CC:DD")),
            ),
        ] {
            let field = TrackedField::new(word).unwrap();
            let of = |depth| field.of(&certificate, depth);
            let told = |expected: Option<(&'static str, &str)>| {
                expected.map(|(name, value)| (name, value.to_owned()))
            };
            assert_eq!(of(0), told(own), "{word}");
            assert_eq!(of(1), told(further), "{word}");
        }
        for word in ["subjectAltName", "nonsense", "", "+", "1.2.3.4.5.6"] {
            assert!(TrackedField::new(word).is_err(), "{word}");
        }
    }
}
