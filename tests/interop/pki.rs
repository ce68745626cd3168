//! Certificates for the tests: good ones, and each way in which one can be wrong.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    chain: String,
}

impl Authority {
    /// A root with a P-256 key.
    pub(crate) fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority_params(name), Kind::Ec.generate());
        Self {
            issuer: issuer.unwrap(),
            chain: String::new(),
        }
    }

    /// An intermediate authority below this one; what it issues carries its certificate along.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let params = authority_params(name);
        let issuer = CertifiedIssuer::signed_by(params, Kind::Ec.generate(), &self.issuer).unwrap();
        let chain = format!("{}{}", issuer.pem(), self.chain);
        Self { issuer, chain }
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server.
    pub(crate) fn server(&self, name: &str, kind: Kind) -> Identity {
        let mut params = leaf_params(name);
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
        self.issue(&params, kind)
    }

    /// A certificate for a client.
    pub(crate) fn client(&self, name: &str, kind: Kind) -> Identity {
        let mut params = leaf_params(name);
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
        self.issue(&params, kind)
    }

    /// A client's certificate that ended years ago.
    pub(crate) fn expired_client(&self, name: &str) -> Identity {
        let mut params = leaf_params(name);
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.issue(&params, Kind::Ec)
    }

    fn issue(&self, params: &CertificateParams, kind: Kind) -> Identity {
        let key = kind.generate();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: format!("{}{}", leaf.pem(), self.chain),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate (with its intermediates) and its key, as PEM.
pub(crate) struct Identity {
    /// Leaf first.
    pub(crate) certificate: String,
    /// PKCS #8.
    pub(crate) key: String,
}

/// The kinds of key that are served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Ec,
    Rsa,
    Ed25519,
}

impl Kind {
    fn generate(self) -> KeyPair {
        match self {
            Self::Ec => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            // OpenSSL 3.0 reads only the older form of PKCS #8, without the public key.
            Self::Ed25519 => {
                let pem = crate::process::run("openssl", &["genpkey", "-algorithm", "ed25519"]);
                KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519)
            }
        }
        .unwrap()
    }
}

/// A fresh static key file for tls-auth or tls-crypt, made by the real openvpn.
pub(crate) fn static_key() -> String {
    crate::process::run("openvpn", &["--genkey", "secret"])
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = leaf_params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.use_authority_key_identifier_extension = true;
    params
}
