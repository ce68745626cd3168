//! `bench handshake`: what a full TLS handshake with client certificates costs the server, in memory.
//!
//! Only the calls of the server's side are timed, by the processor time of the thread: what is between them is the
//! client's. `rustls` is the library alone, set up as ringway's server sets it up; `engine` is ringway's use of it,
//! with a verifier for each connection. Neither has anything of the VPN's protocol around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use ringway::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion, group_by_name};
use ringway::crypto::tls::{PeerPolicy, PeerPurpose, Tls, TlsEngine};
use ringway::random::SystemRandom;
use ringway::time::Now;
use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection, version};
use serde_json::json;

use crate::failure::Failure;
use crate::spread::Spread;

/// How much is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HandshakeOptions {
    /// The kinds of the server's key; the client's is P-256.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "ec,rsa2048,rsa4096"
    )]
    keys: Vec<KeyKind>,
    /// The key exchange groups that the client offers, by the names of `tls-groups`; all that the library has if not
    /// given.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = group)]
    groups: Option<Vec<Group>>,
    /// Rounds, of which the least, the middle and the greatest are shown.
    #[arg(long, default_value = "21")]
    rounds: std::num::NonZeroUsize,
    /// Handshakes of each kind in a round.
    #[arg(long, default_value = "50")]
    handshakes: std::num::NonZeroUsize,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the server signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyKind {
    Ec,
    Rsa2048,
    Rsa4096,
}

/// A key exchange group.
type Group = &'static dyn SupportedKxGroup;

fn group(name: &str) -> Result<Group, String> {
    group_by_name(name).ok_or_else(|| {
        format!("no key exchange group is called '{name}': write for example X25519")
    })
}

/// What one kind of key costs.
struct Measured {
    key: KeyKind,
    /// What was negotiated.
    suite: String,
    /// Microseconds of the server for a handshake.
    rustls: Spread,
    engine: Spread,
}

/// Measures and prints.
pub(crate) fn run(options: &HandshakeOptions) -> Result<(), Failure> {
    println!("| server key | rustls alone, µs | ringway's engine, µs | |\n|---|---|---|---|");
    let mut rows = Vec::new();
    for key in &options.keys {
        let measured = measure(*key, options).map_err(Failure::Impossible)?;
        println!("{measured}");
        rows.push(measured.to_json(options));
    }
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", json!({ "handshakes": rows }));
        std::fs::write(file, text).map_err(|source| Failure::file(file, source))?;
    }
    Ok(())
}

fn measure(key: KeyKind, options: &HandshakeOptions) -> Result<Measured, String> {
    let site = Site::new(key, options.groups.as_deref())?;
    let (mut rustls, mut engine) = (Vec::new(), Vec::new());
    let mut suite = String::new();
    for round in 0..=options.rounds.get() {
        for (ends, times) in [(Ends::Rustls, &mut rustls), (Ends::Engine, &mut engine)] {
            let mut spent = Duration::ZERO;
            for _ in 0..options.handshakes.get() {
                spent += site.shake(ends, &mut suite)?;
            }
            // The first round does not count.
            if round > 0 {
                times.push(spent.as_secs_f64() * 1e6 / options.handshakes.get() as f64);
            }
        }
    }
    let spread = |times| Spread::of(times).ok_or("nothing was measured");
    Ok(Measured {
        key,
        suite,
        rustls: spread(rustls)?,
        engine: spread(engine)?,
    })
}

/// Certificates, and both ends' settings made of them.
struct Site {
    client: RustlsEngine,
    engine: RustlsEngine,
    config: Arc<ServerConfig>,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Rustls,
    Engine,
}

impl Site {
    fn new(key: KeyKind, groups: Option<&[Group]>) -> Result<Self, String> {
        let (authority, anchor) = authority().map_err(|error| error.to_string())?;
        let server = issue(&authority, key, ExtendedKeyUsagePurpose::ServerAuth);
        let server = server.map_err(|error| error.to_string())?;
        let client = issue(&authority, KeyKind::Ec, ExtendedKeyUsagePurpose::ClientAuth);
        let client = client.map_err(|error| error.to_string())?;
        let config = server_config(&server, &anchor).map_err(|error| error.to_string())?;
        let engine = |identity, purpose, groups| {
            let policy = PeerPolicy::new(vec![anchor.clone()], purpose)?;
            let versions = TlsVersion::V1_2..=TlsVersion::V1_3;
            RustlsEngine::new(identity, policy, purpose, versions, groups)
        };
        Ok(Self {
            client: engine(client, PeerPurpose::Server, groups.map(<[_]>::to_vec))?,
            engine: engine(server, PeerPurpose::Client, None)?,
            config: Arc::new(config),
        })
    }

    /// One handshake; the server's part of its processor time.
    fn shake(&self, ends: Ends, suite: &mut String) -> Result<Duration, String> {
        let now = Now::read();
        let mut client = start(&self.client, now)?;
        let mut spent = Duration::ZERO;
        let mut server = timed(&mut spent, || match ends {
            Ends::Engine => start(&self.engine, now).map(Server::Engine),
            Ends::Rustls => ServerConnection::new(Arc::clone(&self.config))
                .map(|connection| Server::Rustls(Box::new(connection)))
                .map_err(|error| error.to_string()),
        })?;
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while !(client.is_established() && server.is_established()) {
            up.clear();
            client.transmit(&mut up);
            down.clear();
            timed(&mut spent, || server.turn(&up, &mut down))?;
            if up.is_empty() && down.is_empty() {
                return Err("the handshake stands still".to_owned());
            }
            client.receive(&down).map_err(|error| error.to_string())?;
        }
        if let Some(negotiated) = client.negotiated() {
            let group = negotiated.group.unwrap_or_default();
            *suite = format!("{} {} {group}", negotiated.version, negotiated.suite);
        }
        timed(&mut spent, || drop(server));
        Ok(spent)
    }
}

/// The end that is measured.
enum Server {
    Engine(Box<dyn Tls>),
    Rustls(Box<ServerConnection>),
}

impl Server {
    fn is_established(&self) -> bool {
        match self {
            Self::Engine(tls) => tls.is_established(),
            Self::Rustls(connection) => !connection.is_handshaking(),
        }
    }

    /// Takes what the client says, and answers.
    fn turn(&mut self, mut said: &[u8], answer: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Engine(tls) => {
                tls.receive(said).map_err(|error| error.to_string())?;
                tls.transmit(answer);
            }
            Self::Rustls(connection) => {
                while !said.is_empty() {
                    let read = connection.read_tls(&mut said);
                    read.map_err(|error| error.to_string())?;
                    let processed = connection.process_new_packets();
                    processed.map_err(|error| error.to_string())?;
                }
                while connection.wants_write() {
                    let written = connection.write_tls(answer);
                    written.map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }
}

impl Measured {
    fn to_json(&self, options: &HandshakeOptions) -> serde_json::Value {
        let spread = |it: Spread| json!({"min": it.min, "median": it.median, "max": it.max});
        json!({
            "key": self.key.name(),
            "negotiated": self.suite,
            "rounds": options.rounds,
            "of": options.handshakes,
            "rustls_us": spread(self.rustls),
            "engine_us": spread(self.engine),
        })
    }
}

impl std::fmt::Display for Measured {
    /// A line of a Markdown table.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spread = |it: Spread| format!("{:.0} / {:.0} / {:.0}", it.min, it.median, it.max);
        let (rustls, engine) = (spread(self.rustls), spread(self.engine));
        let (key, suite) = (self.key.name(), &self.suite);
        write!(formatter, "| {key} | {rustls} | {engine} | {suite} |")
    }
}

impl KeyKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Ec => "ec",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa4096 => "rsa4096",
        }
    }

    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Ec => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        }
    }
}

/// What ringway's server says to rustls, once for all connections.
fn server_config(
    identity: &Identity,
    anchor: &CertificateDer<'static>,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(anchor.clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_client_cert_verifier(verifier.clear_root_hint_subjects().build()?)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    // Wire: no resumption and no tickets, as OpenVPN has it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn authority() -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), rcgen::Error> {
    let key = KeyKind::Ec.generate()?;
    let mut params = named("authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let anchor = params.self_signed(&key)?.der().clone();
    Ok((Issuer::new(params, key), anchor))
}

fn issue(
    authority: &Issuer<'static, KeyPair>,
    kind: KeyKind,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Identity, Box<dyn std::error::Error>> {
    let key = kind.generate()?;
    let mut params = named("peer")?;
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.signed_by(&key, authority)?;
    Ok(Identity {
        chain: vec![certificate.der().clone()],
        key: key.serialize_der().try_into()?,
    })
}

fn named(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn start(engine: &RustlsEngine, now: Now) -> Result<Box<dyn Tls>, String> {
    let started = engine.start(now, &mut SystemRandom);
    started.map_err(|error| error.to_string())
}

/// Adds the thread's processor time in `work`.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let done = work();
    *spent += processor_time().saturating_sub(before);
    done
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(groups: Option<Vec<Group>>) -> HandshakeOptions {
        let one = std::num::NonZeroUsize::MIN;
        HandshakeOptions {
            keys: Vec::new(),
            groups,
            rounds: one,
            handshakes: one,
            json: None,
        }
    }

    #[test]
    fn each_key_is_measured_on_the_server_alone() {
        let options = options(None);
        for key in KeyKind::value_variants() {
            let measured = measure(*key, &options).unwrap();
            assert!(measured.rustls.min > 0.0 && measured.engine.min > 0.0);
            assert!(measured.suite.starts_with("TLSv1.3 TLS_"), "{measured}");
            let json = measured.to_json(&options);
            assert_eq!(json["key"], key.name());
            assert_eq!(json["rustls_us"]["median"], measured.rustls.median);
        }
    }

    #[test]
    fn the_group_that_is_asked_for_is_agreed_on() {
        for name in ["X25519", "secp384r1"] {
            let options = options(Some(vec![group(name).unwrap()]));
            let measured = measure(KeyKind::Ec, &options).unwrap();
            assert!(measured.suite.ends_with(&format!(" {name}")), "{measured}");
        }
        assert!(group("secp111r1").unwrap_err().contains("'secp111r1'"));
    }
}
