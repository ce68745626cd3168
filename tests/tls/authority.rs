//! Certificates of every kind.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SignatureAlgorithm, date_time_ymd,
};
use ringway::crypto::tls::rustls::Identity;
use rustls::pki_types::CertificateDer;

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Server,
    Client,
}

/// One that signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// What leads from here to the root.
    above: Vec<CertificateDer<'static>>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, &rcgen::PKCS_ECDSA_P256_SHA256, |_| ())
    }

    pub(crate) fn with(
        name: &str,
        algorithm: &'static SignatureAlgorithm,
        change: impl Fn(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("generates");
        let mut params = params(Some(name));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let certificate = params.self_signed(&key).expect("signs").der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            above: Vec::new(),
        }
    }

    /// One below this one.
    pub(crate) fn intermediate(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("generates");
        let mut params = params(Some(name));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        let certificate = certificate.der().clone();
        let mut above = vec![certificate.clone()];
        above.extend(self.above.iter().cloned());
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            above,
        }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn identity(&self, name: &str, usage: Usage) -> Identity {
        self.issue(Some(name), usage, &rcgen::PKCS_ECDSA_P256_SHA256, |_| ())
    }

    pub(crate) fn issue(
        &self,
        name: Option<&str>,
        usage: Usage,
        algorithm: &'static SignatureAlgorithm,
        change: impl Fn(&mut CertificateParams),
    ) -> Identity {
        let key = KeyPair::generate_for(algorithm).expect("generates");
        let mut params = params(name);
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.above.iter().cloned());
        Identity {
            chain,
            key: key.serialize_der().try_into().expect("a key"),
        }
    }
}

fn params(name: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("valid");
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

/// Over since 2025.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2025, 1, 1);
}

/// From 2027 on.
pub(crate) fn to_come(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
}
