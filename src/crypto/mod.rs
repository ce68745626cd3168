//! Floor 2: keys, packet ids, control-channel wrapping, the TLS engine.
//!
//! Invariant: no clock, no socket, no thread.

mod auth_token;
mod cookie;
mod data_cipher;
mod data_keys;
mod digest;
mod key_material;
mod locked_key;
mod packet_id;
mod pem;
mod prf;
mod static_key;
mod tls_auth;
mod tls_crypt;
mod tls_crypt_v2;
#[cfg(test)]
mod vectors;
mod wrapping;

pub mod tls;

pub use auth_token::{AuthTokenKey, SessionToken, TokenFacts, auth_token_key_file};
pub use cookie::CookieKey;
pub use data_cipher::DataCipher;
pub use data_keys::{NULL_CIPHER, OpenError, OpenKey, SealCost, SealError, SealKey};
pub use digest::Digest;
pub use key_material::{DataKeys, KeyMaterial, ZeroKey};
pub use locked_key::{LockedKey, Pkcs12, UnlockError};
pub use packet_id::{Replay, ReplayWindow};
pub use pem::KeyFileError;
pub use prf::{PrfInput, key_expansion, master_secret};
pub use static_key::{KeyDirection, StaticKey, StaticKeyError};
pub use tls_auth::TlsAuth;
pub use tls_crypt::TlsCrypt;
pub use tls_crypt_v2::{
    Metadata, MetadataTooLong, OpenedKey, TlsCryptV2ClientKey, TlsCryptV2ServerKey,
};
pub use wrapping::{ControlWrap, Opened, ReplayStamp, WrapError, WrapKind, Wrapping};

pub use crate::wire::Role;
