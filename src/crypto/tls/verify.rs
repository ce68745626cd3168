//! Whether a peer's certificate chain is accepted: path, dates, purpose and name.
//!
//! The path is rustls-webpki's work. It checks no name, since certificates of VPN peers usually
//! carry only a CN; what OpenVPN's directives demand beyond the path is checked here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, crypto::WebPkiSupportedAlgorithms};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::authority::{Authority, check_validity};
use super::fingerprint::{Fingerprint, fingerprint_of};
use super::subject::subject_text;
use super::{
    CertificateFacts, IssuerHashes, PeerCertificate, SharedRevocations, UsageRules, UsernameFields,
};
use crate::limits::{CHAIN_DEPTH_MAX, CLIENT_NAME_MAX};

/// The rules that a peer's chain is held to.
#[derive(Debug)]
pub struct PeerPolicy {
    /// What path building takes: one for each of `authorities`.
    anchors: Vec<TrustAnchor<'static>>,
    authorities: Vec<Authority>,
    purpose: PeerPurpose,
    demand_purpose: bool,
    usage: UsageRules,
    /// The certificates that are taken, by SHA-256; any if there are none here.
    fingerprints: Option<BTreeSet<[u8; 32]>>,
    issuers: Option<IssuerHashes>,
    name: Option<NameRule>,
    called: UsernameFields,
    revocations: Vec<Arc<SharedRevocations>>,
}

/// How a peer's certificate leads to an authority. What else the peer sent is not in it.
struct Path<'a> {
    /// The certificates in between, from the peer's side.
    between: Vec<CertificateDer<'static>>,
    /// None where a certificate's fingerprint is all that is asked for.
    authority: Option<&'a Authority>,
}

/// What the peer's certificate must be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPurpose {
    /// The peer is a TLS client.
    Client,
    /// The peer is a TLS server.
    Server,
}

/// `verify-x509-name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The whole subject, as OpenVPN prints it.
    Subject(String),
    /// The common name.
    Name(String),
    /// The start of the common name.
    NamePrefix(String),
}

/// A refusal, with the place in the chain that it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("depth={depth}, error={reason}: {subject}")]
pub struct CertificateRefused {
    /// 0 for the peer's own certificate, counting up to the authority.
    pub depth: usize,
    /// The subject of the certificate at that depth.
    pub subject: String,
    /// Its serial number, in decimal.
    pub serial: String,
    /// What is wrong with it.
    pub reason: RefusalReason,
}

/// Why a certificate is refused. The words are those that administrators know from OpenSSL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// Past its end.
    #[error("certificate has expired")]
    Expired,
    /// Before its start.
    #[error("certificate is not yet valid")]
    NotYetValid,
    /// No path to an authority of ours.
    #[error("unable to get local issuer certificate")]
    UnknownIssuer,
    /// A signature in the path is wrong.
    #[error("certificate signature failure")]
    BadSignature,
    /// Its extended key usage excludes this use.
    #[error("unsuitable certificate purpose")]
    Purpose,
    /// `remote-cert-tls`: the key usage extension must be there.
    #[error("certificate does not have key usage extension")]
    KeyUsageMissing,
    /// `remote-cert-tls`: the extended key usage must be there.
    #[error("certificate does not have the extended key usage {0}")]
    ExtendedKeyUsageMissing(&'static str),
    /// `remote-cert-ku`: the key usage is none of these.
    #[error("key usage {found:04x} is none of those that are demanded")]
    KeyUsage {
        /// The bits that there are.
        found: u16,
        /// Each of the sets of bits of which one was to be there.
        wanted: Vec<u16>,
    },
    /// `remote-cert-eku`: this extended key usage must be there.
    #[error("certificate does not have the extended key usage {0}")]
    ExtendedKeyUsage(String),
    /// `peer-fingerprint`, `verify-hash`: it is none of those that are taken; its own fingerprint.
    #[error("fingerprint {0} is not taken")]
    Fingerprint(String),
    /// `verify-x509-name`.
    #[error("name does not match verify-x509-name {0}")]
    Name(String),
    /// A certificate without this field, such as the common name, or with one that is too long: there is
    /// nothing to call the client, and the start of a long name may be another's.
    #[error("could not extract {0} from X509 subject string")]
    NoName(String),
    /// More certificates than a chain may have.
    #[error("certificate chain too long")]
    ChainTooLong,
    /// `crl-verify`: its authority has revoked it.
    #[error("certificate revoked")]
    Revoked,
    /// `crl-verify`: its serial number is in the directory.
    #[error("certificate revoked by its serial number")]
    SerialRevoked,
    /// `crl-verify`: the list of its authority is out of date.
    #[error("CRL has expired")]
    CrlExpired,
    /// `crl-verify`: the list of its authority is of the future.
    #[error("CRL is not yet valid")]
    CrlNotYetValid,
    /// `crl-verify`: the list of its authority is not that authority's.
    #[error("CRL signature failure")]
    CrlSignature,
    /// `crl-verify`: there is no list that can be read.
    #[error("CRL not loaded")]
    CrlUnreadable,
    /// Anything else that the path check found.
    #[error("{0}")]
    Other(String),
}

impl PeerPolicy {
    /// Rules that trust `authorities` and demand `purpose` where a certificate restricts its use.
    ///
    /// # Errors
    /// A sentence about the first authority that can't be read.
    pub fn new(
        authorities: Vec<CertificateDer<'static>>,
        purpose: PeerPurpose,
    ) -> Result<Self, String> {
        let read = authorities.into_iter().map(Authority::read);
        let (anchors, authorities) = read.collect::<Result<_, _>>()?;
        Ok(Self {
            anchors,
            authorities,
            purpose,
            demand_purpose: false,
            usage: UsageRules::default(),
            fingerprints: None,
            issuers: None,
            name: None,
            called: UsernameFields::default(),
            revocations: Vec::new(),
        })
    }

    /// `remote-cert-tls`: key usage and the extended key usage of the purpose must be present.
    #[must_use]
    pub fn demanding_purpose(mut self) -> Self {
        self.demand_purpose = true;
        self
    }

    /// `verify-x509-name`.
    #[must_use]
    pub fn with_name(mut self, rule: NameRule) -> Self {
        self.name = Some(rule);
        self
    }

    /// `remote-cert-ku`, `remote-cert-eku`.
    #[must_use]
    pub fn with_usage(mut self, rules: UsageRules) -> Self {
        self.usage = rules;
        self
    }

    /// `peer-fingerprint`: only these certificates are taken. Without an authority nothing else is asked of
    /// them, neither who has signed them nor until when they are good. Wire: as in 2.6.
    #[must_use]
    pub fn with_fingerprints(mut self, fingerprints: BTreeSet<[u8; 32]>) -> Self {
        self.fingerprints = Some(fingerprints);
        self
    }

    /// `verify-hash`: who has signed the peer's certificate must be one of these.
    #[must_use]
    pub fn with_issuers(mut self, issuers: IssuerHashes) -> Self {
        self.issuers = Some(issuers);
        self
    }

    /// `x509-username-field`: the peer is called by these fields.
    #[must_use]
    pub fn called_by(mut self, fields: UsernameFields) -> Self {
        self.called = fields;
        self
    }

    /// `crl-verify`, or the lists of `capath`; they add up.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Arc<SharedRevocations>) -> Self {
        self.revocations.push(revocations);
        self
    }

    /// Checks a chain as the peer sent it.
    ///
    /// # Errors
    /// The first rule that the chain breaks.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<PeerCertificate, CertificateRefused> {
        let refuse = |depth, certificate: &CertificateDer<'_>, reason| {
            Err(CertificateRefused::new(depth, certificate, reason))
        };
        if intermediates.len() >= CHAIN_DEPTH_MAX {
            return refuse(0, leaf, RefusalReason::ChainTooLong);
        }
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            let malformed = RefusalReason::Other("malformed certificate".to_owned());
            return refuse(0, leaf, malformed);
        };
        let path = match self.fingerprints.is_some() && self.anchors.is_empty() {
            true => Path::of_one(),
            false => self.trusted_path(leaf, intermediates, now, algorithms)?,
        };
        let chain = path.chain(leaf);
        for revocations in &self.revocations {
            if let Err((depth, reason)) = revocations.now().check(&chain, now, algorithms) {
                return refuse(depth, chain.get(depth).unwrap_or(leaf), reason);
            }
        }
        if let Some(issuers) = &self.issuers
            && let Err(found) = issuers.check(chain.get(1))
        {
            let issuer = chain.get(1).unwrap_or(leaf);
            return refuse(1, issuer, RefusalReason::Fingerprint(found));
        }
        let fingerprint = fingerprint_of(leaf);
        if let Some(taken) = &self.fingerprints
            && !taken.contains(&fingerprint)
        {
            let reason = RefusalReason::Fingerprint(Fingerprint(fingerprint).to_string());
            return refuse(0, leaf, reason);
        }
        let common_name = match self.called.name(&parsed) {
            Ok(name) => printable(&name, CLIENT_NAME_MAX),
            Err(field) => return refuse(0, leaf, RefusalReason::NoName(field)),
        };
        let subject = subject_text(&parsed);
        if let Err(reason) = self.check_directives(&parsed, &subject, &common_name) {
            return refuse(0, leaf, reason);
        }
        let mut subjects = vec![subject];
        subjects.extend(path.subjects());
        subjects.dedup();
        let facts = chain.iter().filter_map(|it| CertificateFacts::read(it));
        Ok(PeerCertificate {
            common_name,
            subjects,
            fingerprint,
            facts: facts.collect(),
            key: key_kind(&parsed),
        })
    }

    /// A valid path to an authority that is in its dates too.
    fn trusted_path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Path<'_>, CertificateRefused> {
        let path = match self.path(leaf, intermediates, now, algorithms) {
            Ok(path) => path,
            Err(reason @ (RefusalReason::Expired | RefusalReason::NotYetValid)) => {
                // webpki does not say which certificate of the path is outside its dates.
                let mut chain = std::iter::once(leaf).chain(intermediates);
                let depth = chain.position(|certificate| check_dates(certificate, now).is_err());
                let certificate = depth.and_then(|depth| depth.checked_sub(1));
                let certificate = certificate.and_then(|index| intermediates.get(index));
                let (depth, certificate) = (depth.unwrap_or(0), certificate.unwrap_or(leaf));
                return Err(CertificateRefused::new(depth, certificate, reason));
            }
            Err(reason) => return Err(CertificateRefused::new(0, leaf, reason)),
        };
        if let Some(authority) = path.authority
            && let Err(reason) = authority.check_dates(now)
        {
            let depth = path.between.len() + 1;
            return Err(CertificateRefused::new(
                depth,
                &authority.certificate,
                reason,
            ));
        }
        Ok(path)
    }

    /// A valid path to an authority.
    fn path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Path<'_>, RefusalReason> {
        let usage = match self.purpose {
            PeerPurpose::Client => KeyUsage::client_auth(),
            PeerPurpose::Server => KeyUsage::server_auth(),
        };
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| reason_of(&error))?;
        let path = certificate
            .verify_for_usage(
                algorithms.all,
                &self.anchors,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(|error| reason_of(&error))?;
        let anchor = path.anchor();
        let between = path
            .intermediate_certificates()
            .map(|certificate| certificate.der().into_owned())
            .collect();
        self.anchors
            .iter()
            .position(|candidate| candidate == anchor)
            .and_then(|index| self.authorities.get(index))
            .map(|authority| Path {
                between,
                authority: Some(authority),
            })
            .ok_or(RefusalReason::UnknownIssuer)
    }

    fn check_directives(
        &self,
        certificate: &X509Certificate<'_>,
        subject: &str,
        common_name: &str,
    ) -> Result<(), RefusalReason> {
        if self.demand_purpose {
            // Wire: wire.md section 5, any key usage bits, and the extended usage by its name.
            if !matches!(certificate.key_usage(), Ok(Some(_))) {
                return Err(RefusalReason::KeyUsageMissing);
            }
            let usage = certificate.extended_key_usage().ok().flatten();
            let (present, name) = match self.purpose {
                PeerPurpose::Client => (
                    usage.is_some_and(|usage| usage.value.client_auth),
                    CLIENT_USAGE,
                ),
                PeerPurpose::Server => (
                    usage.is_some_and(|usage| usage.value.server_auth),
                    SERVER_USAGE,
                ),
            };
            if !present {
                return Err(RefusalReason::ExtendedKeyUsageMissing(name));
            }
        }
        self.usage.check(certificate)?;
        match &self.name {
            Some(rule) if !rule.accepts(subject, common_name) => {
                Err(RefusalReason::Name(rule.to_string()))
            }
            _ => Ok(()),
        }
    }
}

impl CertificateRefused {
    fn new(depth: usize, certificate: &CertificateDer<'_>, reason: RefusalReason) -> Self {
        Self {
            depth,
            subject: subject_of(certificate),
            serial: serial_of(certificate),
            reason,
        }
    }
}

impl Path<'_> {
    /// The path of a certificate that nobody has to vouch for.
    fn of_one() -> Self {
        Self {
            between: Vec::new(),
            authority: None,
        }
    }

    /// The subjects behind the peer's own, up to the authority's.
    fn subjects(&self) -> impl Iterator<Item = String> {
        let authority = self.authority.map(|authority| authority.subject.clone());
        self.between.iter().map(subject_of).chain(authority)
    }

    /// The peer's certificate, those in between, and the authority's.
    fn chain<'a>(&'a self, leaf: &'a CertificateDer<'_>) -> Vec<CertificateDer<'a>> {
        let between = self.between.iter();
        let authority = self.authority.map(|authority| &authority.certificate);
        let chain = std::iter::once(leaf).chain(between).chain(authority);
        chain.map(|it| CertificateDer::from(it.as_ref())).collect()
    }
}

impl NameRule {
    fn accepts(&self, subject: &str, common_name: &str) -> bool {
        match self {
            Self::Subject(expected) => subject == expected,
            Self::Name(expected) => common_name == expected,
            Self::NamePrefix(prefix) => common_name.starts_with(prefix.as_str()),
        }
    }
}

/// The wanted name alone, as OpenVPN's log gives it.
impl fmt::Display for NameRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(text) | Self::Name(text) | Self::NamePrefix(text) => {
                formatter.write_str(text)
            }
        }
    }
}

impl RefusalReason {
    /// The error by which rustls chooses the alert that the peer is told.
    pub(super) fn alert(&self) -> CertificateError {
        match self {
            Self::Expired => CertificateError::Expired,
            Self::NotYetValid => CertificateError::NotValidYet,
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::Revoked | Self::SerialRevoked => CertificateError::Revoked,
            Self::CrlExpired | Self::CrlNotYetValid | Self::CrlSignature | Self::CrlUnreadable => {
                CertificateError::UnknownRevocationStatus
            }
            Self::BadSignature => CertificateError::BadSignature,
            Self::Purpose
            | Self::KeyUsageMissing
            | Self::KeyUsage { .. }
            | Self::ExtendedKeyUsageMissing(_)
            | Self::ExtendedKeyUsage(_) => CertificateError::InvalidPurpose,
            _ => CertificateError::ApplicationVerificationFailure,
        }
    }
}

fn reason_of(error: &webpki::Error) -> RefusalReason {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => RefusalReason::Expired,
        Error::CertNotValidYet { .. } => RefusalReason::NotYetValid,
        Error::UnknownIssuer => RefusalReason::UnknownIssuer,
        Error::InvalidSignatureForPublicKey => RefusalReason::BadSignature,
        Error::RequiredEkuNotFoundContext(_) => RefusalReason::Purpose,
        other => RefusalReason::Other(other.to_string()),
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), RefusalReason> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| RefusalReason::Other("malformed certificate".to_owned()))?;
    check_validity(parsed.validity(), now)
}

/// The subject as OpenVPN prints it, `C=XX, O=Org, CN=name`.
fn subject_of(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => subject_text(&parsed),
        Err(_) => "(malformed)".to_owned(),
    }
}

/// The serial number, in decimal.
fn serial_of(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => printable(&parsed.serial.to_string(), SUBJECT_MAX),
        Err(_) => String::new(),
    }
}

/// What a stranger wrote into a certificate reaches logs and files: controls become `_`.
pub(super) fn printable(text: &str, max: usize) -> String {
    let mut clean = String::new();
    for character in text.chars() {
        let character = if character.is_control() {
            '_'
        } else {
            character
        };
        if clean.len() + character.len_utf8() > max {
            break;
        }
        clean.push(character);
    }
    clean
}

fn key_kind(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("{} bits RSA", key.key_size()),
        Ok(PublicKey::EC(_)) => match curve(certificate) {
            Some((bits, name)) => format!("{bits} bits EC{name}"),
            None => "EC".to_owned(),
        },
        _ if certificate.public_key().algorithm.algorithm == ED25519 => {
            "256 bits ED25519".to_owned()
        }
        _ => "unknown key".to_owned(),
    }
}

/// The curve of an EC key, by the name that OpenSSL gives it.
fn curve(certificate: &X509Certificate<'_>) -> Option<(u32, &'static str)> {
    let parameters = certificate.public_key().algorithm.parameters.as_ref()?;
    let curve = parameters.as_oid().ok()?;
    [
        (OID_EC_P256, (256, "prime256v1")),
        (OID_NIST_EC_P384, (384, "secp384r1")),
        (OID_NIST_EC_P521, (521, "secp521r1")),
    ]
    .into_iter()
    .find_map(|(oid, named)| (oid == curve).then_some(named))
}

const CLIENT_USAGE: &str = "TLS Web Client Authentication";
const SERVER_USAGE: &str = "TLS Web Server Authentication";
pub(super) const SUBJECT_MAX: usize = 512;
const ED25519: x509_parser::asn1_rs::Oid<'static> = x509_parser::oid_registry::OID_SIG_ED25519;
