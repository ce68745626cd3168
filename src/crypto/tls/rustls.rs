//! TLS by rustls with the aws-lc provider.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrayvec::ArrayVec;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName,
    ProtocolVersion, ServerConfig, ServerConnection, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};
use zeroize::Zeroizing;

use super::records::Records;
use super::{
    CertificateRefused, Negotiated, PeerCertificate, PeerPolicy, PeerPurpose, Tls, TlsEngine,
    TlsError,
};
use crate::limits::TLS_BACKLOG_MAX;
use crate::random::Random;
use crate::time::Now;

/// Starts rustls connections of one role.
#[derive(Debug)]
pub struct RustlsEngine {
    end: End,
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    policy: Arc<PeerPolicy>,
    /// Whether a server chooses among suites by its own order.
    own_order: bool,
    asked: Asked,
    clock: Arc<SessionClock>,
}

/// Which end of a connection this is, and what it shows of itself.
#[derive(Debug)]
enum End {
    Server(Arc<SingleCertAndKey>),
    /// A client may have no certificate.
    Client(Option<Arc<SingleCertAndKey>>),
}

/// Our own side of the mutual authentication.
#[derive(Debug)]
pub struct Identity {
    /// Our certificate, then what leads to the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// The oldest version that is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl RustlsEngine {
    /// An engine for the side that `policy` is not about: a policy on clients makes a server. Only
    /// a client can do without an identity.
    ///
    /// # Errors
    /// A sentence about a key that does not fit its certificate, or is of a kind that is not
    /// served.
    pub fn new(
        identity: impl Into<Option<Identity>>,
        policy: PeerPolicy,
        purpose: PeerPurpose,
        versions: std::ops::RangeInclusive<TlsVersion>,
        groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    ) -> Result<Self, String> {
        let mut provider = provider::default_provider();
        if let Some(groups) = groups {
            provider.kx_groups = groups;
        }
        let identity: Option<Identity> = identity.into();
        let certified = identity
            .map(|identity| CertifiedKey::from_der(identity.chain, identity.key, &provider))
            .transpose()
            .map_err(|error| format!("the private key can't be used: {error}"))?
            .map(|certified| Arc::new(SingleCertAndKey::from(certified)));
        let end = match (purpose, certified) {
            (PeerPurpose::Server, certified) => End::Client(certified),
            (PeerPurpose::Client, Some(certified)) => End::Server(certified),
            (PeerPurpose::Client, None) => return Err("a server needs a certificate".to_owned()),
        };
        let versions = [
            (TlsVersion::V1_3, &version::TLS13),
            (TlsVersion::V1_2, &version::TLS12),
        ]
        .into_iter()
        .filter(|(version, _)| versions.contains(version))
        .map(|(_, supported)| supported)
        .collect();
        Ok(Self {
            end,
            provider: Arc::new(provider),
            versions,
            policy: Arc::new(policy),
            own_order: false,
            asked: Asked::default(),
            clock: Arc::default(),
        })
    }

    /// `tls-cipher`, `tls-ciphersuites`: these suites alone, best first; of each version that is served at
    /// least one. Wire: the order of a server of 2.6 is what counts.
    #[must_use]
    pub fn with_suites(mut self, suites: Vec<SupportedCipherSuite>) -> Self {
        Arc::make_mut(&mut self.provider).cipher_suites = suites;
        self.own_order = true;
        self
    }

    /// The same engine with a provider that was changed.
    pub(super) fn with_provider(mut self, change: impl FnOnce(&mut CryptoProvider)) -> Self {
        change(Arc::make_mut(&mut self.provider));
        self
    }

    /// `verify-client-cert`: whether clients show a certificate.
    #[must_use]
    pub fn with_clients(mut self, asked: Asked) -> Self {
        self.asked = asked;
        self
    }

    fn server(
        &self,
        certified: &Arc<SingleCertAndKey>,
        verifier: Arc<Verifier>,
    ) -> Result<Connection, rustls::Error> {
        let clock = Arc::clone(&self.clock);
        let mut config = ServerConfig::builder_with_details(Arc::clone(&self.provider), clock)
            .with_protocol_versions(&self.versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(certified) as Arc<dyn ResolvesServerCert>);
        // Wire: no resumption and no tickets (wire.md section 5).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.ignore_client_order = self.own_order;
        config.enable_secret_extraction = true;
        Ok(Connection::Server(ServerConnection::new(Arc::new(config))?))
    }

    fn client(
        &self,
        certified: Option<&Arc<SingleCertAndKey>>,
        verifier: Arc<Verifier>,
    ) -> Result<Connection, rustls::Error> {
        let clock = Arc::clone(&self.clock);
        let config = ClientConfig::builder_with_details(Arc::clone(&self.provider), clock)
            .with_protocol_versions(&self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match certified {
            Some(certified) => config.with_client_cert_resolver(Arc::clone(certified) as Arc<_>),
            None => config.with_no_client_auth(),
        };
        config.enable_sni = false;
        config.enable_secret_extraction = true;
        config.resumption = rustls::client::Resumption::disabled();
        // No name is sent or checked; rustls asks for one all the same.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        Ok(Connection::Client(ClientConnection::new(
            Arc::new(config),
            name,
        )?))
    }
}

impl TlsEngine for RustlsEngine {
    fn start(&self, now: Now, _random: &mut dyn Random) -> Result<Box<dyn Tls>, TlsError> {
        self.clock.set(now);
        // A verifier of its own tells each connection whom it met and why it was refused; what
        // is costly (keys, anchors, provider) is shared.
        let verifier = Arc::new(Verifier {
            policy: Arc::clone(&self.policy),
            provider: Arc::clone(&self.provider),
            asked: self.asked,
            outcome: OnceLock::new(),
        });
        let connection = match &self.end {
            End::Server(certified) => self.server(certified, Arc::clone(&verifier)),
            End::Client(certified) => self.client(certified.as_ref(), Arc::clone(&verifier)),
        };
        let mut connection = connection.map_err(|error| TlsError::Protocol(error.to_string()))?;
        connection.set_buffer_limit(Some(TLS_BACKLOG_MAX));
        Ok(Box::new(RustlsTls::Whole(Box::new(Whole {
            connection,
            verifier,
            place: RecordPlace::default(),
        }))))
    }
}

/// Whether a server's clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Who has none is refused.
    #[default]
    Always,
    /// Who has one must have a good one.
    Optional,
    /// They are not.
    Never,
}

/// One connection.
enum RustlsTls {
    /// All of it.
    Whole(Box<Whole>),
    /// What is left of it after the handshake.
    Resting(Records),
    /// Nothing.
    Over,
}

/// A connection of the library.
struct Whole {
    connection: Connection,
    verifier: Arc<Verifier>,
    /// Where in its records the peer is.
    place: RecordPlace,
}

impl RustlsTls {
    fn whole(&self) -> Option<&Whole> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Resting(_) | Self::Over => None,
        }
    }
}

impl Tls for RustlsTls {
    fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        match self {
            Self::Whole(whole) => whole.receive(bytes),
            Self::Resting(records) => records.receive(bytes),
            Self::Over => Err(over()),
        }
    }

    fn transmit(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Whole(whole) => whole.transmit(out),
            Self::Resting(records) => records.transmit(out),
            Self::Over => {}
        }
    }

    fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Whole(whole) => whole.next_message(),
            Self::Resting(records) => records.next_message(),
            Self::Over => None,
        }
    }

    fn send_message(&mut self, message: &[u8]) -> Result<(), TlsError> {
        match self {
            Self::Whole(whole) => whole.send_message(message),
            Self::Resting(records) => records.send_message(message),
            Self::Over => Err(over()),
        }
    }

    fn is_established(&self) -> bool {
        match self {
            Self::Whole(whole) => !whole.connection.is_handshaking(),
            Self::Resting(_) => true,
            Self::Over => false,
        }
    }

    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        let whole = self.whole().ok_or_else(over)?;
        whole
            .connection
            .export_keying_material(out, label.as_bytes(), None)
            .map(|_| ())
            .map_err(|error| TlsError::Unavailable(error.to_string()))
    }

    fn peer(&self) -> Option<&PeerCertificate> {
        self.whole()?.verifier.outcome.get()?.as_ref().ok()
    }

    fn negotiated(&self) -> Option<Negotiated> {
        self.whole()?.negotiated()
    }

    fn rest(&mut self) {
        let can_rest = self.whole().is_some_and(Whole::can_rest);
        if !can_rest {
            return;
        }
        if let Self::Whole(whole) = std::mem::replace(self, Self::Over)
            && let Ok(secrets) = whole.connection.dangerous_extract_secrets()
        {
            *self = Self::Resting(Records::new(secrets));
        }
    }
}

impl Whole {
    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        self.place.advance(bytes);
        while !bytes.is_empty() {
            let taken = self.connection.read_tls(&mut bytes);
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| self.error(error))?;
            match taken {
                Ok(0) => return Err(TlsError::Alert("CloseNotify".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(TlsError::Protocol(error.to_string())),
            }
            if state.peer_has_closed() {
                return Err(TlsError::Alert("CloseNotify".to_owned()));
            }
        }
        Ok(())
    }

    fn transmit(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing into a vector can't fail; a connection that gives nothing is done.
            if !matches!(self.connection.write_tls(out), Ok(1..)) {
                break;
            }
        }
    }

    fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut reader = self.connection.reader();
        // rustls keeps one chunk for each record; whether it is too long, its parser says.
        let message = Zeroizing::new(reader.fill_buf().ok()?.to_vec());
        if message.is_empty() {
            return None;
        }
        reader.consume(message.len());
        Some(message)
    }

    fn send_message(&mut self, message: &[u8]) -> Result<(), TlsError> {
        if self.connection.is_handshaking() {
            return Err(TlsError::Unavailable(
                "the TLS handshake is not done".to_owned(),
            ));
        }
        let unavailable = |error: std::io::Error| TlsError::Unavailable(error.to_string());
        self.connection
            .writer()
            .write_all(message)
            .map_err(unavailable)
    }

    fn negotiated(&self) -> Option<Negotiated> {
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => return None,
        };
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        let suite = suite
            .as_str()
            .map_or_else(|| format!("{suite:?}"), openssl_name);
        let group = self.connection.negotiated_key_exchange_group();
        Some(Negotiated {
            version,
            suite,
            group: group.map(|group| format!("{:?}", group.name())),
        })
    }

    /// Whether nothing is under way in either direction. Of TLS 1.2 there are few connections left, and
    /// its records are others: they stay whole.
    fn can_rest(&self) -> bool {
        !self.connection.is_handshaking()
            && !self.connection.wants_write()
            && self.place.is_between_records()
            && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    fn error(&self, error: rustls::Error) -> TlsError {
        match (error, self.verifier.outcome.get()) {
            (rustls::Error::InvalidCertificate(_), Some(Err(refused))) => {
                TlsError::Certificate(refused.clone())
            }
            (rustls::Error::AlertReceived(alert), _) => TlsError::Alert(format!("{alert:?}")),
            (error, _) => TlsError::Protocol(error.to_string()),
        }
    }
}

fn over() -> TlsError {
    TlsError::Unavailable("the TLS connection is over".to_owned())
}

/// Follows a stream of records by their headers.
#[derive(Debug, Default)]
struct RecordPlace {
    header: ArrayVec<u8, RECORD_HEADER>,
    /// Bytes of the record that have not come.
    missing: usize,
}

impl RecordPlace {
    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let content = self.missing.min(bytes.len());
            self.missing -= content;
            bytes = self.take_header(&bytes[content..]);
        }
    }

    /// Takes what there is of the next header, if one is due; gives back the rest.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.missing > 0 {
            return bytes;
        }
        let taken = bytes.len().min(self.header.remaining_capacity());
        let (header, rest) = bytes.split_at(taken);
        self.header.extend(header.iter().copied());
        if let [_, _, _, high, low] = *self.header.as_slice() {
            self.missing = usize::from(u16::from_be_bytes([high, low]));
            self.header.clear();
        }
        rest
    }

    fn is_between_records(&self) -> bool {
        self.header.is_empty() && self.missing == 0
    }
}

const RECORD_HEADER: usize = 5;

/// rustls asks its questions here, in either role, and finds the policy's answer.
#[derive(Debug)]
struct Verifier {
    policy: Arc<PeerPolicy>,
    provider: Arc<CryptoProvider>,
    asked: Asked,
    outcome: OnceLock<Result<PeerCertificate, CertificateRefused>>,
}

impl Verifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let outcome = self
            .outcome
            .get_or_init(|| self.policy.verify(leaf, intermediates, now, algorithms));
        match outcome {
            Ok(_) => Ok(()),
            Err(refused) => Err(rustls::Error::InvalidCertificate(refused.reason.alert())),
        }
    }

    fn signature_1_2(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn signature_1_3(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.asked != Asked::Never
    }

    fn client_auth_mandatory(&self) -> bool {
        self.asked == Asked::Always
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Hints help a browser choose; a VPN client has one certificate.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(leaf, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature_1_2(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature_1_3(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature_1_2(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature_1_3(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// The wall clock that certificates are checked against: that of the latest session start, so
/// that a simulation's time reaches rustls too.
#[derive(Debug, Default)]
struct SessionClock(AtomicU64);

impl SessionClock {
    fn set(&self, now: Now) {
        self.0.store(now.unix, Ordering::Relaxed);
    }
}

impl rustls::time_provider::TimeProvider for SessionClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.load(Ordering::Relaxed),
        )))
    }
}

/// A key exchange group by the names that OpenSSL, and so `tls-groups`, knows it under.
pub fn group_by_name(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    use provider::kx_group;
    Some(match name.to_ascii_lowercase().as_str() {
        "x25519" => kx_group::X25519,
        "secp256r1" | "prime256v1" | "p-256" => kx_group::SECP256R1,
        "secp384r1" | "p-384" => kx_group::SECP384R1,
        "x25519mlkem768" => kx_group::X25519MLKEM768,
        "secp256r1mlkem768" => kx_group::SECP256R1MLKEM768,
        "mlkem768" => kx_group::MLKEM768,
        "mlkem1024" => kx_group::MLKEM1024,
        _ => return None,
    })
}

/// rustls writes `TLS13_AES...` where everybody else writes `TLS_AES...`.
fn openssl_name(name: &str) -> String {
    name.replace("TLS13_", "TLS_")
}
