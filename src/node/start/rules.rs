//! What all sessions of a node have in common, as its settings say it.

use std::sync::Arc;

use crate::crypto::{Digest, KeyDirection, ReplayWindow};
use crate::node::settings::{ExplicitExit, Settings, WrappingSettings};
use crate::node::shard::Network;
use crate::node::start::StartError;
use crate::session::{Farewell, SessionSettings, Timing};
use crate::wire::{OptionsString, Role};

pub(super) fn session_settings(settings: &Settings) -> Result<SessionSettings, StartError> {
    let handshake = settings.node.handshake;
    let options = OptionsString {
        tun_mtu: u32::from(settings.node.device.mtu),
        auth: settings.node.auth.map_or("[null-digest]", Digest::name),
        tls_auth: match &settings.node.wrapping {
            WrappingSettings::TlsAuth { direction, .. } => Some(match direction {
                KeyDirection::Both => None,
                KeyDirection::Zero => Some(0),
                KeyDirection::One => Some(1),
            }),
            WrappingSettings::Plain | WrappingSettings::TlsCrypt { .. } => None,
        },
        ..OptionsString::stock(Role::Server)
    };
    Ok(SessionSettings {
        role: Role::Server,
        wrapping: Arc::new(settings.node.wrapping.wrapping(Role::Server)),
        static_key: settings.node.wrapping.static_key().cloned(),
        tls: Arc::new(settings.tls_engine().map_err(StartError::Tls)?),
        ciphers: settings.node.ciphers.clone(),
        options_string: options.to_string(),
        tun_mtu: settings.node.device.mtu,
        push: settings.push.clone(),
        peer_info: String::new(),
        replay_window: ReplayWindow::new(settings.node.replay.packets, settings.node.replay.time),
        timing: Timing {
            hand_window: handshake.hand_window,
            tran_window: handshake.tran_window,
            tls_timeout: handshake.tls_timeout,
            renegotiation: handshake.renegotiate,
            ping: settings.keepalive.ping,
            ping_restart: settings.keepalive.ping_restart,
        },
    })
}

pub(super) fn network(settings: &Settings) -> Network {
    Network {
        v4_netmask: settings.network.v4.map(|v4| v4.client_netmask),
        v6: settings
            .network
            .v6
            .map(|v6| (v6.network.prefix_len(), v6.server)),
        mtu: settings.node.device.mtu,
        mssfix: settings.node.mssfix,
        max_clients: settings.max_clients,
        address_slots: settings.network.pool().slots,
        farewell: match settings.explicit_exit {
            ExplicitExit::Silent => Farewell::Silent,
            ExplicitExit::Restart => Farewell::Restart { next_remote: false },
            ExplicitExit::RestartNext => Farewell::Restart { next_remote: true },
        },
        contact: settings.contact,
        client_to_client: settings.client_to_client,
    }
}
