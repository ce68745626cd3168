//! A private certificate authority, and the certificates that it issues: EC keys on P-256.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::directory::{CA_CERTIFICATE, CA_KEY, Directory, DirectoryError, Readers};
use crate::random::Random;

/// An authority that can sign.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A TLS server.
    Server,
    /// A TLS client.
    Client,
}

/// A new certificate with its key.
#[derive(Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8, not encrypted.
    pub key: Zeroizing<String>,
}

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The directory did not do.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A certificate can't be made again for a key that nobody has.
    #[error(
        "{directory}: there is {certificate} but not its key {key}: put the key back, or \
         remove {certificate} and everything that it signed to begin anew"
    )]
    KeyMissing {
        /// Where.
        directory: String,
        /// The certificate's file.
        certificate: &'static str,
        /// The key's file.
        key: &'static str,
    },
    /// A file does not hold what its name says.
    #[error("{file}: not usable: {source}")]
    Unusable {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// The library could not make a key or a certificate.
    #[error("making a key or certificate failed: {0}")]
    Library(#[from] rcgen::Error),
}

impl Authority {
    /// The authority of a directory; what is missing of it is made.
    ///
    /// # Errors
    /// Its files are unusable, or there is a certificate without a key.
    pub fn of(
        directory: &Directory,
        today: Date,
        random: &mut dyn Random,
    ) -> Result<Self, PkiError> {
        if !directory.has(CA_CERTIFICATE) {
            let key = own_key(directory, CA_KEY)?;
            let certificate = authority_parameters(today, random).self_signed(&key)?;
            directory.write(CA_CERTIFICATE, Readers::All, &certificate.pem())?;
        } else if !directory.has(CA_KEY) {
            return Err(PkiError::KeyMissing {
                directory: directory.path().display().to_string(),
                certificate: CA_CERTIFICATE,
                key: CA_KEY,
            });
        }
        let key = own_key(directory, CA_KEY)?;
        let certificate = directory.read(CA_CERTIFICATE)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|source| unusable(directory, CA_CERTIFICATE, source))?;
        Ok(Self { issuer })
    }

    /// The authority with this certificate, whose key is this one in PEM.
    ///
    /// # Errors
    /// One of them is not what it should be.
    pub fn with_key(certificate: &CertificateDer<'_>, key: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key)?;
        let issuer = Issuer::from_ca_cert_der(certificate, key)?;
        Ok(Self { issuer })
    }

    /// A certificate for a new key.
    ///
    /// # Errors
    /// The library fails.
    pub fn issue(
        &self,
        common_name: &str,
        purpose: Purpose,
        today: Date,
        random: &mut dyn Random,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Issued {
            certificate: self.certify(&key, common_name, purpose, today, random)?,
            key: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// The certificate of `key`, PEM.
    ///
    /// # Errors
    /// The library fails.
    pub fn certify(
        &self,
        key: &KeyPair,
        common_name: &str,
        purpose: Purpose,
        today: Date,
        random: &mut dyn Random,
    ) -> Result<String, PkiError> {
        let mut parameters = parameters(common_name, today, random);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        parameters.use_authority_key_identifier_extension = true;
        Ok(parameters.signed_by(key, &self.issuer)?.pem())
    }
}

/// The key in a file, made if the file is missing.
///
/// # Errors
/// The file is unusable, or a new one can't be written.
pub fn own_key(directory: &Directory, file: &str) -> Result<KeyPair, PkiError> {
    if directory.has(file) {
        KeyPair::from_pem(&directory.read(file)?)
            .map_err(|source| unusable(directory, file, source))
    } else {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        directory.write(file, Readers::Owner, &Zeroizing::new(key.serialize_pem()))?;
        Ok(key)
    }
}

/// The day of a Unix time, in UTC as certificates count.
pub fn day(unix: u64) -> Date {
    let moment = i64::try_from(unix)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX);
    moment.to_zoned(TimeZone::UTC).date()
}

fn authority_parameters(today: Date, random: &mut dyn Random) -> CertificateParams {
    // The number tells apart the authorities of several directories.
    let name = format!("ringway CA {:08x}", random.next_u64() as u32);
    let mut parameters = parameters(&name, today, random);
    // It signs peers and no further authorities.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

/// What all certificates have: a name, ten years, a random serial number.
fn parameters(common_name: &str, today: Date, random: &mut dyn Random) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let midnight = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(i32::from(date.year()), month, day)
    };
    // Yesterday: the clocks of clients are not all right.
    parameters.not_before = midnight(today.yesterday().unwrap_or(today));
    parameters.not_after = midnight(today.saturating_add(VALID_YEARS.years()));
    let mut serial = [0; 16];
    random.fill(&mut serial);
    // Positive in DER, and never with a leading zero byte.
    serial[0] = serial[0] & 0x7f | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters
}

fn unusable(directory: &Directory, file: &str, source: rcgen::Error) -> PkiError {
    PkiError::Unusable {
        file: directory.file(file).display().to_string(),
        source,
    }
}

const VALID_YEARS: i32 = 10;
