//! What the server tells a client: the options of its PUSH_REPLY and the options string.

use super::agreement::{Agreement, Capabilities, Derivation};
use super::event::Grant;
use super::settings::SessionSettings;
use crate::crypto::SessionToken;
use crate::wire::{PushError, PushReply};

/// The reply for one client, in the order of 2.6: what everybody gets, then its own.
/// Wire: wire.md section 10.1.
///
/// # Errors
/// An option that no client could read.
pub(super) fn reply(
    settings: &SessionSettings,
    agreement: &Agreement,
    capabilities: &Capabilities,
    grant: &Grant,
    token: Option<&SessionToken>,
) -> Result<PushReply, PushError> {
    let mut options = match &grant.push {
        Some(own) => own.to_vec(),
        None => settings.push.clone(),
    };
    if let Some(v6) = grant.v6 {
        options.push(format!(
            "ifconfig-ipv6 {}/{} {}",
            v6.address, v6.prefix, v6.server
        ));
    }
    if let Some(v4) = grant.v4 {
        options.push(format!("ifconfig {} {}", v4.address, v4.second));
    }
    if capabilities.proto.data_v2() {
        options.push(format!("peer-id {}", grant.peer_id.get()));
    }
    options.extend(token.map(auth_token));
    if capabilities.negotiates_cipher {
        options.push(format!("cipher {}", agreement.cipher.name()));
    }
    options.extend(protocol_options(agreement, capabilities));
    if capabilities
        .tun_mtu_max
        .is_some_and(|max| u32::from(settings.tun_mtu) <= max)
    {
        options.push(format!("tun-mtu {}", settings.tun_mtu));
    }
    let mut reply = PushReply::new();
    for option in options {
        reply.push(option)?;
    }
    Ok(reply)
}

/// The option that has a client log in with a token from now on.
pub(super) fn auth_token(token: &SessionToken) -> String {
    format!("auth-token {}", token.as_str())
}

/// Only what the client announced: others break on it. Wire: wire.md section 10.2.1.
fn protocol_options(agreement: &Agreement, capabilities: &Capabilities) -> Vec<String> {
    let exporter = agreement.derivation == Derivation::Exporter;
    let knows_flags = capabilities.proto.cc_exit_notify();
    let flags: Vec<&str> = [
        (knows_flags, "cc-exit"),
        (knows_flags && exporter, "tls-ekm"),
        (agreement.dynamic_tls_crypt, "dyn-tls-crypt"),
        (agreement.epoch_keys, "aead-epoch"),
    ]
    .into_iter()
    .filter_map(|(pushed, flag)| pushed.then_some(flag))
    .collect();
    let mut options = Vec::new();
    if exporter && !knows_flags {
        options.push("key-derivation tls-ekm".to_owned());
    }
    if !flags.is_empty() {
        options.push(format!("protocol-flags {}", flags.join(" ")));
    }
    options
}
