//! What two peers agree on for their data channel, for the rest of the session.

use crate::crypto::DataCipher;
use crate::wire::{ClientCiphers, PeerInfo, Proto, options_cipher};

use super::event::PeerIdentity;

/// The data channel's cipher and the way its keys are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The peer, locked: a renegotiation with another certificate is refused.
    pub identity: PeerIdentity,
    /// The cipher of every key generation.
    pub cipher: DataCipher,
    /// How keys are derived in every generation.
    pub derivation: Derivation,
    /// Whether the peer takes and gives `EXIT` on the control channel.
    pub control_exit: bool,
    /// Whether later generations are wrapped with a key of their own.
    pub dynamic_tls_crypt: bool,
    /// Whether data keys are replaced epoch by epoch, within each generation.
    pub epoch_keys: bool,
    /// Server: whether the client was pushed what all are, and follows what changes in it.
    pub push_update: bool,
}

/// What a client's peer info says that it can do.
pub(super) struct Capabilities {
    pub(super) proto: Proto,
    /// Takes a pushed `cipher`.
    pub(super) negotiates_cipher: bool,
    /// The largest `tun-mtu` that it takes, if it takes one.
    pub(super) tun_mtu_max: Option<u32>,
}

/// Where data keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivation {
    /// The TLS exporter of the generation's own TLS session.
    Exporter,
    /// The classic PRF over the key-exchange messages.
    Prf,
}

/// The client's ciphers and ours have nothing in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCommonCipher {
    /// What the client offers, as it said it.
    pub offered: String,
}

/// The first of `ours` that the client accepts; an older one only if it takes nothing else. Wire: wire.md
/// section 11.
///
/// # Errors
/// There is none.
pub fn choose_cipher(
    ours: &[DataCipher],
    peer_info: &PeerInfo,
    options: &str,
) -> Result<DataCipher, NoCommonCipher> {
    let (theirs, configured) = (peer_info.ciphers(), options_cipher(options));
    let accepts = |cipher: &DataCipher| theirs.accept(cipher.name(), configured);
    let of_age = |old: bool| {
        ours.iter()
            .copied()
            .filter(move |it| it.digest().is_some() == old)
    };
    let common = of_age(false).chain(of_age(true)).find(accepts);
    common.ok_or_else(|| {
        let offered = match theirs {
            ClientCiphers::Listed(names) => names.join(":"),
            ClientCiphers::Gcm | ClientCiphers::Unannounced => {
                configured.unwrap_or("nothing").to_owned()
            }
        };
        NoCommonCipher { offered }
    })
}
