//! The TLS engines of both sides: the stand-in, or the real one with certificates of one authority.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use ringway::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion};
use ringway::crypto::tls::stand_in::StandInEngine;
use ringway::crypto::tls::{PeerPolicy, PeerPurpose, TlsEngine};
use ringway::wire::Role;

/// Which TLS the two speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    StandIn,
    Rustls,
}

/// The engine of the side that is known to its peer as `name`.
pub(crate) fn engine(role: Role, engine: Engine, name: &str) -> Arc<dyn TlsEngine> {
    match (engine, role) {
        (Engine::StandIn, Role::Server) => Arc::new(StandInEngine::server(name)),
        (Engine::StandIn, Role::Client) => Arc::new(StandInEngine::client(name)),
        (Engine::Rustls, role) => authority().engine(role, name),
    }
}

/// Signs the certificates of all sides, each once.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
    engines: Mutex<HashMap<String, Arc<dyn TlsEngine>>>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("generates");
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signs");
        Self {
            certificate,
            issuer: rcgen::Issuer::new(params, key),
            engines: Mutex::default(),
        }
    }

    fn engine(&self, role: Role, name: &str) -> Arc<dyn TlsEngine> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let made = engines
            .entry(name.to_owned())
            .or_insert_with(|| self.make(role, name));
        Arc::clone(made)
    }

    fn make(&self, role: Role, name: &str) -> Arc<dyn TlsEngine> {
        let (purpose, usage) = match role {
            Role::Server => (PeerPurpose::Client, ExtendedKeyUsagePurpose::ServerAuth),
            Role::Client => (PeerPurpose::Server, ExtendedKeyUsagePurpose::ClientAuth),
        };
        let key = KeyPair::generate().expect("generates");
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        let identity = Identity {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der().try_into().expect("a key"),
        };
        let policy = PeerPolicy::new(vec![self.certificate.der().clone()], purpose);
        let versions = TlsVersion::V1_2..=TlsVersion::V1_3;
        let engine = RustlsEngine::new(identity, policy.expect("usable"), purpose, versions, None);
        Arc::new(engine.expect("usable"))
    }
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(Authority::new)
}
