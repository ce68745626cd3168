//! Whose key a stranger's packet is wrapped with: the one that all clients share, or one that it
//! brings along.
//!
//! Wire: wire.md section 2.5. What is not authentic costs one HMAC and one decryption of at most
//! [`WRAPPED_KEY_MAX`](crate::limits::WRAPPED_KEY_MAX) bytes, and leaves nothing behind.

use std::net::SocketAddr;
use std::sync::Arc;

use super::OpenVpn2;
use crate::crypto::Wrapping;
use crate::session::event::ControlDrop;
use crate::session::settings::ClientKeyRules;
use crate::time::Now;
use crate::wire::{Opcode, Role, SessionId, split_sealed_key};

/// The sender of a first packet that is authentic.
pub(super) struct Stranger {
    pub(super) from: SocketAddr,
    /// The session id that it chose.
    pub(super) client: SessionId,
    /// What its packets are wrapped with.
    pub(super) wrapping: Arc<Wrapping>,
    /// Whether it brings its key once more if it is asked to.
    pub(super) negotiates_early: bool,
}

impl OpenVpn2 {
    /// A listener whose clients may bring keys of their own. If the wrapping of its settings is
    /// [`Wrapping::Plain`], all have to.
    #[must_use]
    pub fn with_client_keys(self, rules: Arc<ClientKeyRules>) -> Self {
        let client_keys = Some(rules);
        Self {
            client_keys,
            ..self
        }
    }

    /// Whether a stranger can begin with such a packet.
    pub(super) fn check_kind(&self, opcode: Opcode) -> Result<(), ControlDrop> {
        // Wire: whoever has no key at all is not let in beside those that have.
        let keyless = matches!(*self.settings.wrapping, Wrapping::Plain);
        match (opcode, self.client_keys.is_some()) {
            (Opcode::HardResetClientV2, true) if keyless => Err(ControlDrop::NoKey),
            (Opcode::HardResetClientV2 | Opcode::ControlV1 | Opcode::AckV1, keys)
                if !(keys && keyless) =>
            {
                Ok(())
            }
            (Opcode::HardResetClientV3 | Opcode::ControlWkcV1, true) => Ok(()),
            _ => Err(ControlDrop::Unexpected),
        }
    }

    /// The part of a datagram that is wrapped, and with what.
    pub(super) fn wrapping_of<'a>(
        &self,
        now: Now,
        opcode: Opcode,
        datagram: &'a mut [u8],
    ) -> Result<(&'a mut [u8], Arc<Wrapping>), ControlDrop> {
        let Some(rules) = self.client_keys.as_ref().filter(|_| opcode.carries_key()) else {
            return Ok((datagram, Arc::clone(&self.settings.wrapping)));
        };
        let (packet, sealed) = split_sealed_key(datagram)?;
        let opened = rules.key.open(sealed)?;
        if !rules.admits(&opened.metadata, now) {
            return Err(ControlDrop::KeyTooOld);
        }
        let metadata = rules
            .keeps_metadata
            .then(|| opened.metadata.to_bytes().into());
        let wrapping = Wrapping::OwnTlsCrypt(opened.key, Role::Server, metadata);
        Ok((packet, Arc::new(wrapping)))
    }
}
