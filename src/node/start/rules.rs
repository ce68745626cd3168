//! What all sessions of a node have in common, as its settings say it.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::crypto::tls::rustls::RustlsEngine;
use crate::crypto::{Digest, KeyDirection, ReplayWindow};
use crate::limits::{
    HOSTS_REMEMBERED, STREAM_QUEUE_DEFAULT, STREAMS_DIALED, TUNNELS_DIALED, stream_packet_max,
    streams_per_shard,
};
use crate::node::client::peer_info;
use crate::node::registry::RegistryRules;
use crate::node::settings::{
    ClientSettings, Compression, ExplicitExit, Keepalive, ListenerTransport, NodeSettings,
    SessionTimes, Settings,
};
use crate::node::shard::{LoginTerms, Network};
use crate::node::start::StartError;
use crate::node::worker::StreamRules;
use crate::reactor::ReactorConfig;
use crate::session::{
    ContactLimits, CredentialRule, Farewell, LoginRules, SessionSettings, Timing,
};
use crate::wire::{Framing, OptionsString, Role};

/// The rules of a server's sessions.
pub(in crate::node) fn session_settings(
    settings: &Settings,
) -> Result<SessionSettings, StartError> {
    let tls = settings.tls_engine().map_err(StartError::Tls)?;
    let framed = is_framed(settings);
    let common = in_common(
        &settings.node,
        Role::Server,
        tls,
        settings.keepalive,
        framed,
    );
    let login = settings.auth.as_ref().map(|auth| LoginRules {
        credentials: match auth.optional {
            true => CredentialRule::Optional,
            false => CredentialRule::Required,
        },
        exporter: auth.exporter.clone(),
    });
    Ok(SessionSettings {
        push: settings.push.clone(),
        login,
        ..common
    })
}

/// The rules of a server's sessions over TCP, if it serves any.
pub(in crate::node) fn over_streams(
    settings: &Settings,
    session: &Arc<SessionSettings>,
) -> Arc<SessionSettings> {
    let transport = ListenerTransport::Tcp;
    if !settings.listens_on(transport) {
        return Arc::clone(session);
    }
    let framed = is_framed(settings);
    Arc::new(SessionSettings {
        options_string: options(&settings.node, Role::Server, framed, transport),
        ..SessionSettings::clone(session)
    })
}

fn is_framed(settings: &Settings) -> bool {
    match settings.compression {
        Compression::Framed(framing) => framing != Framing::None,
        // Those whose configuration frames will know better from what they are told.
        Compression::Migrate => false,
    }
}

/// What a side tells of itself.
fn options(node: &NodeSettings, role: Role, framed: bool, transport: ListenerTransport) -> String {
    let options = OptionsString {
        tcp: transport == ListenerTransport::Tcp,
        tun_mtu: u32::from(node.device.mtu),
        framed,
        fragments: node.fragment.is_some() && transport == ListenerTransport::Udp,
        auth: node.auth.map_or("[null-digest]", Digest::name),
        tls_auth: node.wrapping.tls_auth_direction().map(|it| match it {
            KeyDirection::Both => None,
            KeyDirection::Zero => Some(0),
            KeyDirection::One => Some(1),
        }),
        ..OptionsString::stock(role)
    };
    options.to_string()
}

/// The rules of a client's sessions.
///
/// # Errors
/// [`StartError::Tls`] for a key or an authority that can't be used.
pub fn client_session_settings(settings: &ClientSettings) -> Result<SessionSettings, StartError> {
    let tls = settings.tls_engine().map_err(StartError::Tls)?;
    let framed = settings.framing != Framing::None;
    let common = in_common(
        &settings.node,
        Role::Client,
        tls,
        settings.keepalive,
        framed,
    );
    Ok(SessionSettings {
        peer_info: peer_info(&settings.node.ciphers, settings.mtu_max),
        ..common
    })
}

fn in_common(
    node: &NodeSettings,
    role: Role,
    tls: RustlsEngine,
    keepalive: Keepalive,
    framed: bool,
) -> SessionSettings {
    let options = options(node, role, framed, ListenerTransport::Udp);
    let handshake = node.handshake;
    SessionSettings {
        role,
        wrapping: Arc::new(node.wrapping.wrapping(role)),
        static_key: node.wrapping.static_key().cloned(),
        tls: Arc::new(tls),
        ciphers: node.ciphers.clone(),
        options_string: options,
        tun_mtu: node.device.mtu,
        push: Vec::new(),
        peer_info: String::new(),
        replay_window: ReplayWindow::new(node.replay.packets, node.replay.time),
        timing: Timing {
            hand_window: handshake.hand_window,
            tran_window: handshake.tran_window,
            tls_timeout: handshake.tls_timeout,
            renegotiation: handshake.renegotiate,
            ping: keepalive.ping,
            ping_restart: keepalive.ping_restart,
        },
        login: None,
    }
}

/// How large the ring of a server's shard is.
pub(super) fn ring(settings: &Settings) -> ReactorConfig {
    let streams = settings.listens_on(ListenerTransport::Tcp);
    let streams = streams.then(|| streams_per_shard(settings.max_clients));
    ReactorConfig {
        streams: streams.unwrap_or(0),
        ..ReactorConfig::default()
    }
}

/// What the streams of a server have in common.
pub(super) fn streams(settings: &Settings) -> StreamRules {
    StreamRules {
        queue_limit: settings.stream_queue as usize,
        packet_max: stream_packet_max(settings.node.device.mtu),
    }
}

/// What the streams of a client have in common.
pub(super) fn client_streams(settings: &ClientSettings) -> StreamRules {
    StreamRules {
        queue_limit: STREAM_QUEUE_DEFAULT as usize,
        packet_max: stream_packet_max(settings.mtu_max.max(settings.node.device.mtu)),
    }
}

/// How large the ring of a client's shard is.
pub(super) fn client_ring(settings: &ClientSettings) -> ReactorConfig {
    let streams = settings.dials(ListenerTransport::Tcp);
    ReactorConfig {
        streams: if streams { STREAMS_DIALED } else { 0 },
        ..ReactorConfig::default()
    }
}

/// The rules of a client's sessions over TCP, if it has any.
pub(super) fn client_over_streams(
    settings: &ClientSettings,
    session: &Arc<SessionSettings>,
) -> Arc<SessionSettings> {
    let transport = ListenerTransport::Tcp;
    if !settings.dials(transport) {
        return Arc::clone(session);
    }
    let framed = settings.framing != Framing::None;
    Arc::new(SessionSettings {
        options_string: options(&settings.node, Role::Client, framed, transport),
        ..SessionSettings::clone(session)
    })
}

/// What the shard of a client knows of a network: nothing, for the server says it to the client.
pub(super) fn client_network(settings: &ClientSettings) -> Network {
    Network {
        v4: None,
        v6: None,
        mtu: settings.mtu_max.max(settings.node.device.mtu),
        mssfix: settings.node.mssfix,
        fragment: settings.node.fragment,
        copies_classes: settings.node.copies_classes,
        max_clients: TUNNELS_DIALED,
        // Who it was connected to has been told before.
        farewell: Farewell::Silent,
        contact: ContactLimits::default(),
        client_to_client: false,
        refuses_ipv6: None,
        compression: Compression::Framed(settings.framing),
        times: SessionTimes {
            keepalive: settings.keepalive,
            exit_when_silent: settings.exit_when_silent,
            inactivity: settings.node.inactivity,
            session_timeout: settings.node.session_timeout,
        },
        hosts_remembered: HOSTS_REMEMBERED,
        key_volume: settings.node.key_volume,
        logins: LoginTerms::default(),
    }
}

/// What the shards of a server know of its network.
pub(in crate::node) fn network(settings: &Settings) -> Network {
    Network {
        v4: settings.network.v4.map(|v4| v4.layout),
        v6: settings
            .network
            .v6
            .map(|v6| (v6.network.prefix_len(), v6.server)),
        mtu: settings.node.device.mtu,
        mssfix: settings.node.mssfix,
        fragment: settings.node.fragment,
        copies_classes: settings.node.copies_classes,
        max_clients: settings.max_clients,
        farewell: match settings.explicit_exit {
            ExplicitExit::Silent => Farewell::Silent,
            ExplicitExit::Restart => Farewell::Restart { next_remote: false },
            ExplicitExit::RestartNext => Farewell::Restart { next_remote: true },
        },
        contact: settings.contact,
        client_to_client: settings.client_to_client,
        refuses_ipv6: settings.block_ipv6.then(|| {
            let own = settings.network.v6.map(|v6| v6.server);
            own.unwrap_or(NAMELESS)
        }),
        compression: settings.compression,
        times: settings.times(),
        hosts_remembered: settings.hosts_remembered,
        key_volume: settings.node.key_volume,
        logins: settings
            .auth
            .as_ref()
            .map_or_else(LoginTerms::default, |auth| LoginTerms {
                judged: true,
                username_as_common_name: auth.username_as_common_name,
            }),
    }
}

/// What a server's registry goes by, with so many shards.
pub(in crate::node) fn registry_rules(settings: &Settings, shards: u16) -> RegistryRules {
    RegistryRules {
        pool: settings.network.pool(),
        max_clients: settings.max_clients as usize,
        duplicate_cn: settings.duplicate_cn,
        client_files: settings.client_files.is_some(),
        hooks: settings.auth.is_some(),
        shards,
    }
}

/// Who answers to clients' IPv6 packets where the server has no address of its own. Wire: that of 2.6.
const NAMELESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
