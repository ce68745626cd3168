//! By which fields of its certificate a peer is called (`x509-username-field`).

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::X509Certificate;

use super::subject;
use crate::limits::{CLIENT_NAME_MAX, COMMON_NAME_MAX};

/// The fields of a certificate whose values, joined by `_`, are what a peer is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsernameFields(Vec<Field>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    /// As it was written.
    name: String,
    place: Place,
}

/// Where the value of a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The last of these attributes of the subject, by its number.
    Subject(String),
    /// The serial number of the certificate.
    Serial,
    /// The last mail address among the other names of the subject.
    SubjectAlternative,
    /// The same of the issuer.
    IssuerAlternative,
}

/// A word that is no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no field of a certificate")]
pub struct UnknownField(pub String);

impl UsernameFields {
    /// Fields by the names that OpenSSL has for them, or by their numbers.
    ///
    /// # Errors
    /// The first word that is none.
    pub fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, UnknownField> {
        let fields = words.into_iter().map(Field::new);
        fields.collect::<Result<_, _>>().map(Self)
    }

    /// What a peer with this certificate is called. Wire: as in 2.6, each value has at most 64 bytes, and
    /// the whole name 255.
    ///
    /// # Errors
    /// The name of the field that is not there, or makes the name too long.
    pub(super) fn name(&self, certificate: &X509Certificate<'_>) -> Result<String, String> {
        let mut name = String::new();
        for (index, field) in self.0.iter().enumerate() {
            let value = field.place.value(certificate);
            let room = CLIENT_NAME_MAX.saturating_sub(name.len() + usize::from(index > 0));
            let most = room.min(COMMON_NAME_MAX);
            let value = value.filter(|value| !value.is_empty() && value.len() <= most);
            let value = value.ok_or_else(|| field.name.clone())?;
            if index > 0 {
                name.push('_');
            }
            name.push_str(&value);
        }
        Ok(name)
    }
}

/// The CN.
impl Default for UsernameFields {
    fn default() -> Self {
        Self(vec![Field {
            name: "CN".to_owned(),
            place: Place::Subject(COMMON_NAME.to_owned()),
        }])
    }
}

impl Field {
    fn new(word: &str) -> Result<Self, UnknownField> {
        let place = match word {
            "ext:subjectAltName" => Place::SubjectAlternative,
            "ext:issuerAltName" => Place::IssuerAlternative,
            "serialNumber" => Place::Serial,
            other => Place::Subject(
                subject::number(other).ok_or_else(|| UnknownField(other.to_owned()))?,
            ),
        };
        let name = word.to_owned();
        Ok(Self { name, place })
    }
}

impl Place {
    fn value(&self, certificate: &X509Certificate<'_>) -> Option<String> {
        match self {
            Self::Subject(wanted) => {
                // Wire: 2.x takes the last one, too.
                let attributes = certificate.subject().iter_attributes();
                let last = attributes.filter(|it| it.attr_type().to_id_string() == *wanted);
                subject::value(last.last()?)
            }
            Self::Serial => {
                let raw = certificate.raw_serial();
                let zeros = raw.iter().take_while(|byte| **byte == 0).count();
                let digits = raw.iter().skip(zeros).map(|byte| format!("{byte:02X}"));
                Some(format!("0x{}", digits.collect::<String>()))
            }
            Self::SubjectAlternative => mail(certificate, |it| match it {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            }),
            Self::IssuerAlternative => mail(certificate, |it| match it {
                ParsedExtension::IssuerAlternativeName(names) => Some(&names.general_names),
                _ => None,
            }),
        }
    }
}

fn mail<'c>(
    certificate: &'c X509Certificate<'c>,
    names: impl Fn(&'c ParsedExtension<'c>) -> Option<&'c Vec<GeneralName<'c>>>,
) -> Option<String> {
    let all = certificate.extensions().iter();
    let all = all.filter_map(|extension| names(extension.parsed_extension()));
    let mails = all.flatten().filter_map(|name| match name {
        GeneralName::RFC822Name(mail) => Some((*mail).to_owned()),
        _ => None,
    });
    mails.last()
}

const COMMON_NAME: &str = "2.5.4.3";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};
    use x509_parser::prelude::FromDer as _;

    use super::*;

    fn named(words: &[&str], change: impl Fn(&mut CertificateParams)) -> Result<String, String> {
        let mut params = CertificateParams::new(vec![]).unwrap();
        let subject = &mut params.distinguished_name;
        *subject = rcgen::DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Acme");
        subject.push(DnType::CommonName, "anna");
        let mail = vec![1, 2, 840, 113_549, 1, 9, 1];
        subject.push(DnType::CustomDnType(mail), "anna@acme.example");
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xbc]));
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
        UsernameFields::new(words.iter().copied())
            .unwrap()
            .name(&parsed)
    }

    #[test]
    fn a_peer_is_called_by_the_fields_that_are_named() {
        for (words, name) in [
            (&["CN"][..], Ok("anna")),
            (&["commonName"], Ok("anna")),
            (&["2.5.4.3"], Ok("anna")),
            (&["O", "CN"], Ok("Acme_anna")),
            (&["emailAddress"], Ok("anna@acme.example")),
            (&["serialNumber"], Ok("0x0ABC")),
            (&["OU"], Err("OU")),
            (&["CN", "UID"], Err("UID")),
            (&["ext:subjectAltName"], Err("ext:subjectAltName")),
        ] {
            let expected = name.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(named(words, |_| ()), expected, "{words:?}");
        }
    }

    /// Wire: `extract_x509_extension` of 2.6: mail addresses alone, and the last of them.
    #[test]
    fn a_mail_address_among_the_other_names() {
        let mails = |params: &mut CertificateParams| {
            let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
            let name = SanType::DnsName("acme.example".try_into().unwrap());
            params.subject_alt_names = vec![mail("a@acme.example"), mail("b@acme.example"), name];
        };
        let name = named(&["ext:subjectAltName"], mails);
        assert_eq!(name.as_deref(), Ok("b@acme.example"));
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        let long = |length: usize| {
            named(&["OU", "CN"], move |params| {
                let unit = "u".repeat(length);
                params
                    .distinguished_name
                    .push(DnType::OrganizationalUnitName, unit);
            })
        };
        assert_eq!(long(64), Ok(format!("{}_anna", "u".repeat(64))));
        assert_eq!(long(65), Err("OU".to_owned()));
        let repeated = |times: usize| {
            let fields = [&["OU"; 5][..times], &["CN"]].concat();
            named(&fields, |params| {
                let unit = "u".repeat(62);
                params
                    .distinguished_name
                    .push(DnType::OrganizationalUnitName, unit);
            })
        };
        assert_eq!(repeated(3).map(|it| it.len()), Ok(3 * 63 + 4));
        assert_eq!(repeated(4), Err("CN".to_owned()));
    }

    #[test]
    fn words_that_are_no_field() {
        for word in ["", "cn", "EMAILADDRESS", "ext:keyUsage", "2.", "2..5", "5"] {
            let known = UsernameFields::new([word]);
            assert_eq!(known, Err(UnknownField(word.to_owned())));
        }
    }
}
