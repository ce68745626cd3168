//! How a server finds out who its clients are, beyond their certificates.

use std::path::PathBuf;
use std::time::Duration;

use super::ScriptCommand;
use crate::crypto::AuthTokenKey;
use crate::node::plugins::Plugin;
use crate::session::KeyingMaterial;

/// What is asked of logins, and who judges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// The script that judges user names and passwords (`auth-user-pass-verify`).
    pub script: Option<VerifyScript>,
    /// Plug-ins that judge them too, before the script (`plugin`).
    pub plugins: Option<PluginSettings>,
    /// What the server itself knows of its users.
    pub own: OwnUsers,
    /// Scripts that are run when clients come and go.
    pub hooks: HookScripts,
    /// What the management interface has to do with logins, if there is one.
    pub manager: Option<ManagerPart>,
    /// The tokens that clients get for their passwords, if they get some (`auth-gen-token`).
    pub token: Option<TokenSettings>,
    /// Whether clients may come without user name and password (`auth-user-pass-optional`).
    pub optional: bool,
    /// Whether clients need a certificate (`verify-client-cert`).
    pub certificate: ClientCertificate,
    /// Whether a client is called by its user's name (`username-as-common-name`).
    pub username_as_common_name: bool,
    /// What plug-ins are told of TLS sessions (`keying-material-exporter`).
    pub exporter: Option<KeyingMaterial>,
    /// Where files for scripts are made (`tmp-dir`).
    pub temporary: PathBuf,
    /// The program that starts scripts, with its arguments: this one (see
    /// [`helper::serve`](crate::node::auth::helper::serve)).
    pub helper: ScriptCommand,
    /// The configuration's file, as scripts are told it (`config`).
    pub configuration: String,
}

impl AuthSettings {
    /// Whether somebody may give a client lines of its own.
    pub const fn gives_lines(&self) -> bool {
        self.plugins.is_some()
            || self.hooks.connect.is_some()
            || matches!(self.manager, Some(ManagerPart::Judges))
    }
}

/// What the server itself knows of its users, without anybody who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnUsers {
    /// Their passwords (`ringway-password-file`).
    pub passwords: Option<PathBuf>,
    /// Their secrets of a second factor (`ringway-totp-file`): each needs a code beside the password.
    pub secrets: Option<PathBuf>,
    /// Whether who has failed too often waits before the next attempt is looked at (`ringway-login-backoff`).
    pub backoff: bool,
}

/// Scripts that are run when clients come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookScripts {
    /// For the own key of one that comes (`tls-crypt-v2-verify`): it may refuse it.
    pub key_metadata: Option<ScriptCommand>,
    /// For each certificate of one that comes (`tls-verify`): it may refuse it.
    pub verify: Option<ScriptCommand>,
    /// When one has a place (`client-connect`): it may refuse it, or give it lines of its own.
    pub connect: Option<ScriptCommand>,
    /// When one is gone (`client-disconnect`).
    pub disconnect: Option<ScriptCommand>,
    /// When an address or a network leads to one, or does not any more (`learn-address`).
    pub learn: Option<ScriptCommand>,
    /// When one has answered a challenge (`client-crresponse`).
    pub challenge: Option<ScriptCommand>,
}

impl HookScripts {
    /// Whether there is one.
    pub const fn is_some(&self) -> bool {
        self.key_metadata.is_some()
            || self.verify.is_some()
            || self.connect.is_some()
            || self.disconnect.is_some()
            || self.learn.is_some()
            || self.challenge.is_some()
    }
}

/// What who is connected to the management interface has to do with logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagerPart {
    /// It hears who comes in.
    Hears,
    /// It judges them (`management-client-auth`).
    Judges,
}

/// Tokens in place of passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// How long a token stands for the password that was looked at; without end if it is `None`.
    pub lifetime: Option<Duration>,
    /// A token is good for twice as long as this.
    pub renewal: Duration,
    /// How often a client gets a new one beside those of its renegotiations, if those are too seldom.
    pub between: Option<Duration>,
    /// Whether the judges are asked about tokens, too.
    pub external_auth: bool,
    /// What they are signed with.
    pub key: AuthTokenKey,
}

/// A script that judges user names and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyScript {
    /// The script.
    pub command: ScriptCommand,
    /// How it is told name and password.
    pub by: HandOver,
    /// Whether passwords may stand in an environment (`script-security 3`).
    pub password_in_environment: bool,
}

/// Plug-ins, and the program that they run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSettings {
    /// The program.
    pub host: PathBuf,
    /// In the order of the configuration; at least one.
    pub plugins: Vec<Plugin>,
}

/// How a script is told a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// `via-env`.
    Environment,
    /// `via-file`.
    File,
}

/// Whether a server's clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Who has none is refused.
    #[default]
    Required,
    /// Who has one must have a good one.
    Optional,
    /// Nobody is asked for one.
    None,
}
