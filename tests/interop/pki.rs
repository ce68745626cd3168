//! Certificates for the tests: good ones, and each way in which one can be wrong.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RevokedCertParams,
    RsaKeySize, SerialNumber, date_time_ymd,
};
use x509_parser::num_bigint::BigUint;
use x509_parser::pem::parse_x509_pem;

use crate::network::Topology;
use crate::process::run;

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

    /// A client's certificate with something of its own.
    pub(crate) fn client_of(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = leaf_params("alice");
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
        change(&mut params);
        self.issue(&params, Kind::Ec)
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

    /// A client's certificate with a key as short as they were long ago. Only OpenSSL still makes one.
    pub(crate) fn weak_client(&self, name: &str, topology: &Topology) -> Identity {
        let file = |name: &str| topology.directory().join(name).display().to_string();
        let [key, request] = [file("weak.key"), file("weak.csr")];
        let authority = topology.write("weak-ca.crt", self.issuer.pem());
        let secret = topology.write("weak-ca.key", self.issuer.key().serialize_pem());
        let subject = format!("/CN={name}");
        let made = [
            "req", "-newkey", "rsa:1024", "-nodes", "-keyout", &key, "-out", &request,
        ];
        run("openssl", &[&made[..], &["-subj", &subject]].concat());
        let [authority, secret] = [authority, secret].map(|it| it.display().to_string());
        let signed = [
            "x509", "-req", "-in", &request, "-CA", &authority, "-CAkey", &secret,
        ];
        let certificate = run("openssl", &[&signed[..], &["-set_serial", "77"]].concat());
        Identity {
            certificate,
            key: std::fs::read_to_string(key).unwrap(),
        }
    }

    /// A list of certificates that this authority has revoked, good for some days from now; of the past
    /// with less than none.
    pub(crate) fn revocation_list(&self, revoked: &[&Identity], days: i64) -> String {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let day = |days: i64| {
            let seconds = today.as_secs().checked_add_signed(days * 24 * 3600);
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unwrap())
        };
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&identity.serial().to_bytes_be()),
            revocation_time: day(-1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: day(-30),
            next_update: day(days),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
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

impl Identity {
    /// A client's certificate that nobody else has signed.
    pub(crate) fn self_signed_client(name: &str) -> Self {
        let mut params = leaf_params(name);
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
        let key = Kind::Ec.generate();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// SHA-256 of the certificate, as `openssl x509 -fingerprint` prints it.
    pub(crate) fn fingerprint(&self) -> String {
        let (_, pem) = parse_x509_pem(self.certificate.as_bytes()).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pem.contents);
        let parts: Vec<String> = digest
            .as_ref()
            .iter()
            .map(|it| format!("{it:02X}"))
            .collect();
        parts.join(":")
    }

    /// The serial number of the certificate.
    pub(crate) fn serial(&self) -> BigUint {
        let (_, pem) = parse_x509_pem(self.certificate.as_bytes()).unwrap();
        pem.parse_x509().unwrap().serial.clone()
    }
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
                let pem = run("openssl", &["genpkey", "-algorithm", "ed25519"]);
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

/// A server's key of tls-crypt-v2 and a client's that fits it, made by the real openvpn.
pub(crate) fn tls_crypt_v2_keys(topology: &Topology) -> (String, String) {
    let server = crate::process::run("openvpn", &["--genkey", "tls-crypt-v2-server"]);
    let file = topology.write("tls-crypt-v2-server.key", &server);
    let client = tls_crypt_v2_client_key("openvpn", &file);
    (server, client)
}

/// Another client's key for the server's key in this file, made by this program.
pub(crate) fn tls_crypt_v2_client_key(program: &str, server: &Path) -> String {
    let server = server.display().to_string();
    let words = ["--tls-crypt-v2", &server, "--genkey", "tls-crypt-v2-client"];
    crate::process::run(program, &words)
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
