//! What the node itself knows of logins, without a script or a plug-in: passwords in a file, codes of
//! a second factor, and who has failed too often.
//!
//! Everything here is asked off the shards, by the thread that judges logins.

mod backoff;
mod followed;
mod password_file;
mod totp;

pub use backoff::{Backoff, Source};
pub use followed::Followed;
pub use password_file::{PasswordFile, PasswordFileError, hash, removed, with};
pub use totp::{Secret, SecretError, SecretFile};
