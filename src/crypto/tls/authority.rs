//! A certificate authority that peers' chains may end at, read once when the configuration is.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::anchor_from_trusted_cert;
use x509_parser::certificate::Validity;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::subject::subject_text;
use super::verify::RefusalReason;

/// An authority, with what each chain that ends at it asks for.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) certificate: CertificateDer<'static>,
    /// As OpenVPN prints it.
    pub(super) subject: String,
    validity: Validity,
}

impl Authority {
    /// What path building needs of `certificate`, and the rest.
    ///
    /// # Errors
    /// A sentence about a certificate that can't be read.
    pub(super) fn read(
        certificate: CertificateDer<'static>,
    ) -> Result<(TrustAnchor<'static>, Self), String> {
        let anchor = anchor_from_trusted_cert(&certificate)
            .map_err(|error| format!("not usable as a certificate authority: {error}"))?
            .to_owned();
        let (subject, validity) = match X509Certificate::from_der(&certificate) {
            Ok((_, parsed)) => (subject_text(&parsed), parsed.validity().clone()),
            Err(error) => return Err(format!("not usable as a certificate authority: {error}")),
        };
        let authority = Self {
            certificate,
            subject,
            validity,
        };
        Ok((anchor, authority))
    }

    /// OpenSSL checks the dates of the authority itself too; webpki does not.
    pub(super) fn check_dates(&self, now: UnixTime) -> Result<(), RefusalReason> {
        check_validity(&self.validity, now)
    }
}

/// Whether `now` is within a certificate's dates.
pub(super) fn check_validity(validity: &Validity, now: UnixTime) -> Result<(), RefusalReason> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > validity.not_after.timestamp() {
        return Err(RefusalReason::Expired);
    }
    if now < validity.not_before.timestamp() {
        return Err(RefusalReason::NotYetValid);
    }
    Ok(())
}
