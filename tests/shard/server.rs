//! The node under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use ringway::crypto::DataCipher;
use ringway::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion};
use ringway::crypto::tls::{PeerPolicy, PeerPurpose, UsernameFields};
use ringway::node::bus::{Bus, Delivery, Subscription};
use ringway::node::event::NodeEvent;
use ringway::node::log::{LogOptions, LogTarget, Stamp};
use ringway::node::settings::{
    Bind, ContactLimits, DeviceName, DeviceSettings, ExplicitExit, HandshakeSettings, Keepalive,
    KeyVolume, ListenerSettings, ListenerTransport, NetworkSettings, NodeSettings, Offloads,
    ProcessSettings, ReplayWindow, Routing, Settings, ShardSettings, StatusSettings, TlsSettings,
    V4Layout, V4Network, V4Pool, WrappingSettings, usable_cores,
};
use ringway::node::status::StatusFormat;
use ringway::node::{Ended, Node, StartError};
use ringway::packet::{DropReason, Mssfix};

/// Where the server listens.
pub(crate) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1194);

/// The server's address inside the tunnel.
pub(crate) const INNER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

/// A running node.
pub(crate) struct Server {
    authority: CertifiedIssuer<'static, KeyPair>,
    events: Arc<Mutex<Vec<NodeEvent>>>,
    status: PathBuf,
    node: JoinHandle<Result<Ended, StartError>>,
    /// Never read: a subscriber that is asleep holds nobody up.
    asleep: Subscription,
    _directory: tempfile::TempDir,
}

impl Server {
    /// One that clients can connect to.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same with some other settings.
    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let authority = authority();
        let directory = tempfile::tempdir().expect("a directory");
        let status = directory.path().join("status");
        let mut settings = settings(&authority, status.clone());
        change(&mut settings);
        let mut bus = Bus::new();
        let subscription = bus.subscribe(65_536);
        let (events, ready) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        collect(subscription, Arc::clone(&events), Arc::clone(&ready));
        let asleep = bus.subscribe(1);
        let node = Node::start(settings, bus).expect("the node starts");
        let node = thread::spawn(|| node.run());
        while !ready.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(5));
        }
        Self {
            authority,
            events,
            status,
            node,
            asleep,
            _directory: directory,
        }
    }

    /// One that has started and is not run.
    pub(crate) fn never_run() -> Node {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings(&authority(), directory.path().join("status"));
        Node::start(settings, Bus::new()).expect("the node starts")
    }

    /// The TLS of a client called `name`.
    pub(crate) fn engine(&self, name: &str) -> Arc<RustlsEngine> {
        let identity = identity(&self.authority, name, ExtendedKeyUsagePurpose::ClientAuth);
        let authorities = vec![self.authority.der().clone()];
        let policy = PeerPolicy::new(authorities, PeerPurpose::Server).expect("an authority");
        let versions = TlsVersion::V1_2..=TlsVersion::V1_3;
        let engine = RustlsEngine::new(identity, policy, PeerPurpose::Server, versions, None);
        Arc::new(engine.expect("a usable key"))
    }

    /// How many rows of the next status file begin so.
    pub(crate) fn status_rows(&self, prefix: &str) -> usize {
        // Two versions from now, so that all of it was written after the question.
        for _ in 0..2 {
            let _absent = std::fs::remove_file(&self.status);
            let deadline = Instant::now() + Duration::from_secs(10);
            while !self.text().ends_with("END\n") {
                assert!(Instant::now() < deadline, "no status file");
                thread::sleep(Duration::from_millis(10));
            }
        }
        let text = self.text();
        text.lines().filter(|line| line.starts_with(prefix)).count()
    }

    /// How many packets were told to have been dropped for `reason`.
    pub(crate) fn dropped(&self, wanted: DropReason) -> u64 {
        let events = self.events.lock().expect("not poisoned");
        let counts = events.iter().map(|event| match event {
            NodeEvent::Dropped { reason, packets } if *reason == wanted => *packets,
            _ => 0,
        });
        counts.sum()
    }

    /// How many events so far have this name in them.
    pub(crate) fn count_events(&self, name: &str) -> usize {
        let events = self.events.lock().expect("not poisoned");
        let named = |event: &&NodeEvent| format!("{event:?}").contains(name);
        events.iter().filter(named).count()
    }

    /// How many events were lost on a subscriber that never reads, since the last call.
    pub(crate) fn slept_through(&self) -> u64 {
        self.asleep.take_lost()
    }

    /// As an administrator does.
    pub(crate) fn ask_to_stop(&self) {
        let signal = rustix::process::Signal::TERM;
        rustix::process::kill_process(rustix::process::getpid(), signal).expect("signals");
    }

    /// Waits for the end, and whether it was in order.
    pub(crate) fn ended(self) -> bool {
        self.node.join().is_ok_and(|result| result.is_ok())
    }

    /// The status file.
    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(&self.status).unwrap_or_default()
    }
}

/// Runs a test in a process of its own with a network of its own.
pub(crate) fn in_own_process(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.is_ok_and(|status| status.success()));
        return test();
    }
    let program = std::env::current_exe().expect("a test is a program");
    let status = Command::new("unshare")
        .arg("--net")
        .arg(program)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("unshare is there").success(), "see above");
}

fn collect(subscription: Subscription, into: Arc<Mutex<Vec<NodeEvent>>>, ready: Arc<AtomicBool>) {
    thread::spawn(move || {
        loop {
            match subscription.next(Duration::from_secs(1)) {
                Delivery::Event(published) => {
                    if published.event == NodeEvent::InitializationComplete {
                        ready.store(true, Ordering::Release);
                    }
                    into.lock().expect("not poisoned").push(published.event);
                }
                Delivery::Nothing => {}
                Delivery::Ended => return,
            }
        }
    });
}

fn listener() -> ListenerSettings {
    ListenerSettings {
        transport: ListenerTransport::Udp,
        protocol: "udp4",
        bind: Bind::V4(Ipv4Addr::UNSPECIFIED),
        port: ADDRESS.port(),
        proxy: None,
        send_buffer: None,
        receive_buffer: None,
    }
}

fn settings(authority: &CertifiedIssuer<'static, KeyPair>, status: PathBuf) -> Settings {
    let pool = V4Pool::new(Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 3, 250));
    let seconds = Duration::from_secs;
    Settings {
        node: NodeSettings {
            shards: ShardSettings::on(&usable_cores(), 1),
            routing: Routing::default(),
            offloads: Offloads::default(),
            device: DeviceSettings {
                name: DeviceName::Auto,
                mtu: 1500,
                transmit_queue: None,
            },
            tls: TlsSettings {
                authorities: vec![authority.der().clone()],
                versions: TlsVersion::V1_2..=TlsVersion::V1_3,
                groups: None,
                suites: None,
                suite_b: false,
                peer_usage: false,
                usage: Default::default(),
                fingerprints: None,
                peer_name: None,
                issuers: None,
                called: UsernameFields::default(),
                revocations: Vec::new(),
            },
            wrapping: WrappingSettings::Plain,
            ciphers: vec![DataCipher::Aes256Gcm],
            auth: None,
            inactivity: None,
            session_timeout: None,
            key_volume: KeyVolume::default(),
            handshake: HandshakeSettings {
                hand_window: seconds(60),
                tran_window: seconds(3_600),
                tls_timeout: seconds(2),
                renegotiate: None,
            },
            replay: ReplayWindow {
                packets: 64,
                time: seconds(15),
            },
            mssfix: Mssfix::Off,
            fragment: None,
            copies_classes: false,
            log: LogOptions {
                target: LogTarget::Tracing,
                verb: 3,
                mute: None,
                stamp: Stamp::None,
            },
            control_socket: None,
            process: ProcessSettings::default(),
            environment: Vec::new(),
        },
        identity: identity(authority, "server", ExtendedKeyUsagePurpose::ServerAuth),
        listeners: vec![listener()],
        network: NetworkSettings {
            v4: Some(V4Network {
                server: INNER,
                network: Ipv4Net::new_assert(Ipv4Addr::new(10, 8, 0, 0), 16),
                layout: V4Layout::Subnet {
                    netmask: Ipv4Addr::new(255, 255, 0, 0),
                },
                pool,
            }),
            v6: None,
        },
        push: vec!["topology subnet".to_owned()],
        keepalive: Keepalive::default(),
        max_clients: 1024,
        duplicate_cn: false,
        leases: None,
        client_files: None,
        auth: None,
        routes: Vec::new(),
        route_table: None,
        client_to_client: false,
        block_ipv6: false,
        compression: Default::default(),
        path_mtu: None,
        exit_when_silent: false,
        hosts_remembered: Duration::from_secs(60),
        contact: ContactLimits::default(),
        stream_queue: 64,
        device_scripts: None,
        port_share: None,
        explicit_exit: ExplicitExit::Restart,
        management: None,
        echo: Vec::new(),
        tracked: Vec::new(),
        status: Some(StatusSettings {
            path: status,
            interval: Duration::from_millis(200),
            format: StatusFormat::V2,
        }),
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = named("authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("generates");
    CertifiedIssuer::self_signed(params, key).expect("signs")
}

fn identity(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Identity {
    let mut params = named(name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("generates");
    let leaf = params.signed_by(&key, authority).expect("signs");
    Identity {
        chain: vec![leaf.der().clone()],
        key: key.serialize_der().try_into().expect("a key"),
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("valid");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

const INSIDE: &str = "RINGWAY_TEST_IN_OWN_NETWORK";
