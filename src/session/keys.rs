//! From a finished key exchange to keys: those of the data channel, and the wrapping of later
//! generations.
//!
//! Wire: wire.md sections 2.6 and 7.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::agreement::{Agreement, Derivation};
use super::event::{LeaveReason, SessionEvent};
use super::negotiation::KeySource;
use super::state::{Remote, Session};
use crate::crypto::{ControlWrap, DataKeys, KeyMaterial, PrfInput, Wrapping};
use crate::random::Random;
use crate::wire::Role;

impl Session {
    /// Makes the data keys of the current generation and hands them out.
    pub(super) fn derive_keys(
        &mut self,
        agreement: &Agreement,
        source: &KeySource,
    ) -> Result<(), LeaveReason> {
        let keys = self.make_keys(agreement, source)?;
        let key_id = self.current.key_id;
        self.emit(SessionEvent::Keys { key_id, keys });
        Ok(())
    }

    /// Makes the data keys of the current generation.
    pub(super) fn make_keys(
        &self,
        agreement: &Agreement,
        source: &KeySource,
    ) -> Result<Box<DataKeys>, LeaveReason> {
        let (client, server) = match (self.settings.role, self.remote) {
            (Role::Server, Remote::Known(remote)) => (remote, self.local),
            (Role::Client, Remote::Known(remote)) => (self.local, remote),
            (_, Remote::Unknown) => return Err(LeaveReason::Keys),
        };
        let material = match agreement.derivation {
            Derivation::Exporter => {
                let mut exported = Zeroizing::new([0; KeyMaterial::LEN]);
                let tls = &self.current.tls;
                tls.export(DATA_KEYS_LABEL, &mut *exported)
                    .map_err(LeaveReason::Tls)?;
                KeyMaterial::from_exporter(*exported)
            }
            Derivation::Prf => KeyMaterial::from_prf(&PrfInput {
                pre_master: &source.client.pre_master,
                client_random1: &source.client.random1,
                client_random2: &source.client.random2,
                server_random1: &source.server.random1,
                server_random2: &source.server.random2,
                client_session: client,
                server_session: server,
            }),
        };
        let material = material.map_err(|_| LeaveReason::Keys)?;
        let (cipher, role) = (agreement.cipher, self.settings.role);
        let DataKeys { seal, open } = match agreement.epoch_keys {
            true => material.split_epochs(cipher, role),
            false => material.split(cipher, role),
        };
        let open = open.with_replay_window(self.settings.replay_window.clone());
        Ok(Box::new(DataKeys { seal, open }))
    }

    /// Sets up the wrapping of later generations. Wire: wire.md section 2.6.
    pub(super) fn use_dynamic_wrapping(&mut self) -> Result<(), LeaveReason> {
        let mut exported = Zeroizing::new([0; KeyMaterial::LEN]);
        let tls = &self.current.tls;
        tls.export(DYNAMIC_TLS_CRYPT_LABEL, &mut *exported)
            .map_err(LeaveReason::Tls)?;
        let own = self.wrap.wrapping().own_key();
        let original = own.or(self.settings.static_key.as_ref());
        let wrapping = Wrapping::dynamic_tls_crypt(&exported, original, self.settings.role);
        self.later_wrap = Some(ControlWrap::new(Arc::new(wrapping)));
        Ok(())
    }

    /// True when TLS can export, so that keys need not come from the classic PRF.
    pub(super) fn can_export(&self) -> bool {
        let mut probe = Zeroizing::new([0; 1]);
        self.current
            .tls
            .export(DATA_KEYS_LABEL, &mut *probe)
            .is_ok()
    }
}

/// The random part of a key message.
pub(super) fn random_bytes<const N: usize>(random: &mut dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

const DATA_KEYS_LABEL: &str = "EXPORTER-OpenVPN-datakeys";
const DYNAMIC_TLS_CRYPT_LABEL: &str = "EXPORTER-OpenVPN-dynamic-tls-crypt";

/// The labels under which keys of sessions are derived: nobody else is told what comes of these.
pub const OWN_LABELS: [&str; 2] = [DATA_KEYS_LABEL, DYNAMIC_TLS_CRYPT_LABEL];
