//! Which certificates are revoked: lists that authorities sign, or serial numbers that an administrator
//! has put down.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::X509Extension;
use x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER;
use x509_parser::oid_registry::OID_X509_EXT_CRL_NUMBER;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::RefusalReason;

/// What is known of revoked certificates.
#[derive(Debug, PartialEq, Eq)]
pub enum Revocations {
    /// Lists of authorities. A certificate whose authority has none is not revoked.
    Lists(Vec<RevocationList>),
    /// Serial numbers, written in decimal, of whatever authority.
    Serials(HashSet<Box<str>>),
    /// There are lists, and they can't be read: nobody is let in.
    Unreadable,
}

/// One authority's list.
#[derive(Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Its name, DER.
    issuer: Box<[u8]>,
    this_update: i64,
    next_update: Option<i64>,
    /// Serial numbers without leading zeros, sorted.
    serials: Vec<Box<[u8]>>,
    /// If the authority was not at hand.
    unproved: Option<Unproved>,
}

/// What an authority is said to have signed.
#[derive(Debug, PartialEq, Eq)]
struct Unproved {
    signed: Box<[u8]>,
    signature: Box<[u8]>,
}

/// What is known at a moment, for all who ask at once: whoever reads waits for nobody.
#[derive(Debug)]
pub struct SharedRevocations(ArcSwap<Revocations>);

impl SharedRevocations {
    /// What is known at first.
    pub fn new(revocations: Revocations) -> Self {
        Self(ArcSwap::from_pointee(revocations))
    }

    /// This is known from now on.
    pub fn set(&self, revocations: Revocations) {
        self.0.store(Arc::new(revocations));
    }

    /// What is known.
    pub fn now(&self) -> Arc<Revocations> {
        self.0.load_full()
    }
}

impl Revocations {
    /// The lists in a file, PEM. Those of `authorities` must be signed by them.
    ///
    /// # Errors
    /// A sentence about the first list that can't be used, or about there being none.
    pub fn from_pem(
        pem: &[u8],
        authorities: &[CertificateDer<'_>],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Self, String> {
        let mut lists = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            let block = block.map_err(|error| format!("broken PEM: {error}"))?;
            if block.label == "X509 CRL" {
                lists.push(RevocationList::new(
                    &block.contents,
                    authorities,
                    algorithms,
                )?);
            }
        }
        match lists.is_empty() {
            true => Err("no certificate revocation list in PEM form".to_owned()),
            false => Ok(Self::Lists(lists)),
        }
    }

    /// When the first list ends, in Unix seconds.
    pub fn end(&self) -> Option<u64> {
        let Self::Lists(lists) = self else {
            return None;
        };
        let ends = lists.iter().filter_map(|list| list.next_update);
        ends.min().map(|end| u64::try_from(end).unwrap_or(0))
    }

    /// How many lists there are, or serial numbers.
    pub fn len(&self) -> usize {
        match self {
            Self::Lists(lists) => lists.len(),
            Self::Serials(serials) => serials.len(),
            Self::Unreadable => 0,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks a chain, the peer's own certificate first and the authority last.
    ///
    /// # Errors
    /// The place in the chain of the first certificate that is refused, and why.
    pub(super) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), (usize, RefusalReason)> {
        let issuers = chain.iter().skip(1).map(Some).chain([None]);
        for (depth, (certificate, issuer)) in chain.iter().zip(issuers).enumerate() {
            let refuse = |reason| (depth, reason);
            let malformed = || RefusalReason::Other("malformed certificate".to_owned());
            let (_, parsed) =
                X509Certificate::from_der(certificate).map_err(|_| refuse(malformed()))?;
            match self {
                Self::Unreadable => return Err(refuse(RefusalReason::CrlUnreadable)),
                Self::Serials(serials) if serials.contains(&*parsed.serial.to_string()) => {
                    return Err(refuse(RefusalReason::SerialRevoked));
                }
                Self::Serials(_) => {}
                Self::Lists(lists) => {
                    if let Some(issuer) = issuer {
                        check_lists(lists, &parsed, issuer, now, algorithms).map_err(refuse)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl RevocationList {
    fn new(
        der: &[u8],
        authorities: &[CertificateDer<'_>],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Self, String> {
        let (_, list) = CertificateRevocationList::from_der(der)
            .map_err(|error| format!("a revocation list that cannot be read: {error}"))?;
        let issuer = list.issuer().as_raw();
        let entries = list.iter_revoked_certificates();
        let entries = entries.flat_map(|entry| entry.extensions());
        // Such as one that says that the list is a part, or only tells what has changed.
        if let Some(unknown) = list.extensions().iter().chain(entries).find(is_unknown) {
            return Err(format!(
                "the revocation list of {} has the critical extension {}, which is not served",
                list.issuer(),
                unknown.oid
            ));
        }
        let signed = list.tbs_cert_list.as_ref();
        let signature = &*list.signature_value.data;
        let mut known = authorities.iter().filter(|authority| {
            X509Certificate::from_der(authority)
                .is_ok_and(|(_, authority)| authority.subject().as_raw() == issuer)
        });
        let mut known = known.by_ref().peekable();
        let unproved = known.peek().is_none();
        if !unproved && !known.any(|it| has_signed(it, signed, signature, algorithms)) {
            return Err(format!(
                "the revocation list of {} is not signed by that authority, or in a way that is not \
                 served, such as with SHA-1",
                list.issuer()
            ));
        }
        let serials = list.iter_revoked_certificates();
        let mut serials: Vec<_> = serials.map(|it| serial(it.raw_serial()).into()).collect();
        serials.sort_unstable();
        Ok(Self {
            issuer: issuer.into(),
            this_update: list.last_update().timestamp(),
            next_update: list.next_update().map(|end| end.timestamp()),
            serials,
            unproved: unproved.then(|| Unproved {
                signed: signed.into(),
                signature: signature.into(),
            }),
        })
    }

    fn has(&self, certificate: &X509Certificate<'_>) -> bool {
        let serial = serial(certificate.raw_serial());
        self.serials
            .binary_search_by(|revoked| (**revoked).cmp(serial))
            .is_ok()
    }
}

/// Whether a certificate is revoked by a list of its issuer. The newest of these has to be in its time.
fn check_lists(
    lists: &[RevocationList],
    certificate: &X509Certificate<'_>,
    issuer: &CertificateDer<'_>,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), RefusalReason> {
    let name = certificate.issuer().as_raw();
    let own = || lists.iter().filter(|list| &*list.issuer == name);
    let Some(newest) = own().max_by_key(|list| list.this_update) else {
        return Ok(());
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < newest.this_update {
        return Err(RefusalReason::CrlNotYetValid);
    }
    if newest.next_update.is_some_and(|end| now > end) {
        return Err(RefusalReason::CrlExpired);
    }
    for list in own() {
        if let Some(Unproved { signed, signature }) = &list.unproved
            && !has_signed(issuer, signed, signature, algorithms)
        {
            return Err(RefusalReason::CrlSignature);
        }
        if list.has(certificate) {
            return Err(RefusalReason::Revoked);
        }
    }
    Ok(())
}

fn has_signed(
    authority: &CertificateDer<'_>,
    signed: &[u8],
    signature: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else {
        return false;
    };
    let key = &*authority.public_key().subject_public_key.data;
    let mut all = algorithms.all.iter();
    all.any(|algorithm| algorithm.verify_signature(key, signed, signature).is_ok())
}

fn is_unknown(extension: &&X509Extension<'_>) -> bool {
    let known = [
        OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
        OID_X509_EXT_CRL_NUMBER,
    ];
    extension.critical && !known.contains(&extension.oid)
}

/// A serial number without leading zeros.
fn serial(raw: &[u8]) -> &[u8] {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw.get(zeros..).unwrap_or_default()
}
