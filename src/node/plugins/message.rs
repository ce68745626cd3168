//! What the node and its plug-in host say to one another, each message one packet of a socket that
//! keeps packets apart.
//!
//! Whoever dies in the middle leaves no half message behind, and two may send at one end: the
//! program that runs the plug-ins, and the one that watches over it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of the longest message: an environment with names of a long chain of certificates and the
/// longest user name and password is far below.
pub const MESSAGE_MAX: usize = 128 * 1024;

/// What the node says to the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToHost {
    /// Load these plug-ins, open them, and give up what is to be given up. The first message.
    Open(Opening),
    /// Call a hook.
    Call(Call),
    /// A client is gone: its context may be freed.
    Forget {
        /// Its number in [`Call::client`].
        client: u64,
    },
}

/// Which plug-ins there are, and who they are to run as.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// In the order of the configuration.
    pub plugins: Vec<Plugin>,
    /// `name=value`, what is known before there is a client.
    pub environment: Vec<String>,
    /// Called as soon as they are open, in order, while the host still has the privileges of the start: also when it
    /// is started anew. Plug-ins that are opened when those are gone are not called for them.
    pub first: Vec<FirstCall>,
    /// What the host becomes as soon as they are open, as words of [`confine`](crate::node::confine); none if
    /// it stays what it is.
    pub confinement: Vec<String>,
}

/// A hook that tells of what is there already when plug-ins are opened, with the environment that they are opened with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FirstCall {
    /// Which.
    pub hook: Hook,
    /// What the plug-in finds behind its own name.
    pub arguments: Vec<String>,
    /// Seconds after which plug-ins that have not returned are killed.
    pub limit: u32,
    /// What the host refuses to go on with if a plug-in says no; `None` if that is but a warning.
    pub needed: Option<String>,
}

/// One `plugin` line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The shared object, as a path that `dlopen` takes.
    pub path: PathBuf,
    /// The object's name as the configuration has it: what a plug-in finds as its first argument.
    pub name: String,
    /// Its further arguments.
    pub arguments: Vec<String>,
}

/// One hook, for each plug-in that has asked for it.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Call {
    /// Comes back in the answer.
    pub number: u64,
    /// The client that it is about, if it is about one.
    pub client: Option<u64>,
    /// Which.
    #[zeroize(skip)]
    pub hook: Hook,
    /// What the plug-in finds behind its own name.
    pub arguments: Vec<String>,
    /// `name=value`; the password may be among them.
    pub environment: Vec<String>,
    /// Seconds after which plug-ins that have not returned are killed.
    pub limit: u32,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Call")
            .field("number", &self.number)
            .field("client", &self.client)
            .field("hook", &self.hook)
            .finish_non_exhaustive()
    }
}

/// What a plug-in can be called for, by its number in `openvpn-plugin.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the interface")]
pub enum Hook {
    Up = 0,
    Down = 1,
    RouteUp = 2,
    IpChange = 3,
    TlsVerify = 4,
    AuthUserPassVerify = 5,
    ClientConnect = 6,
    ClientDisconnect = 7,
    LearnAddress = 8,
    ClientConnectV2 = 9,
    TlsFinal = 10,
    RoutePredown = 12,
    ClientConnectDefer = 13,
    ClientConnectDeferV2 = 14,
    ClientCrResponse = 15,
}

impl Hook {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Up,
        Self::Down,
        Self::RouteUp,
        Self::IpChange,
        Self::TlsVerify,
        Self::AuthUserPassVerify,
        Self::ClientConnect,
        Self::ClientDisconnect,
        Self::LearnAddress,
        Self::ClientConnectV2,
        Self::TlsFinal,
        Self::RoutePredown,
        Self::ClientConnectDefer,
        Self::ClientConnectDeferV2,
        Self::ClientCrResponse,
    ];

    /// Its bit in a mask of hooks.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Its name in log lines of stock.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "PLUGIN_UP",
            Self::Down => "PLUGIN_DOWN",
            Self::RouteUp => "PLUGIN_ROUTE_UP",
            Self::IpChange => "PLUGIN_IPCHANGE",
            Self::TlsVerify => "PLUGIN_TLS_VERIFY",
            Self::AuthUserPassVerify => "PLUGIN_AUTH_USER_PASS_VERIFY",
            Self::ClientConnect => "PLUGIN_CLIENT_CONNECT",
            Self::ClientDisconnect => "PLUGIN_CLIENT_DISCONNECT",
            Self::LearnAddress => "PLUGIN_LEARN_ADDRESS",
            Self::ClientConnectV2 => "PLUGIN_CLIENT_CONNECT_V2",
            Self::TlsFinal => "PLUGIN_TLS_FINAL",
            Self::RoutePredown => "PLUGIN_ROUTE_PREDOWN",
            Self::ClientConnectDefer => "PLUGIN_CLIENT_CONNECT_DEFER",
            Self::ClientConnectDeferV2 => "PLUGIN_CLIENT_CONNECT_DEFER_V2",
            Self::ClientCrResponse => "PLUGIN_CLIENT_CRRESPONSE",
        }
    }
}

/// What the host says to the node.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromHost {
    /// The host runs and waits for [`ToHost::Open`]; also after it was started anew.
    Started,
    /// Every plug-in is open: the hooks that each asked for, as a mask of [`Hook::bit`].
    Opened {
        /// In the order of [`Opening::plugins`].
        hooks: Vec<u32>,
    },
    /// A plug-in can't be used; the host ends.
    Refused {
        /// Why.
        reason: String,
    },
    /// The program that ran the plug-ins is gone, and what it was called for has no answer. It is
    /// started anew.
    Died {
        /// How it ended.
        reason: String,
        /// Seconds until then.
        pause: u32,
    },
    /// A line for the log.
    Said {
        /// How much it matters.
        level: Level,
        /// Without a line feed.
        text: String,
    },
    /// The answer to a call.
    Answered {
        /// [`Call::number`].
        number: u64,
        /// What came of it.
        outcome: Outcome,
        /// What plug-ins gave back, in their order: names and values.
        returned: Vec<(String, String)>,
    },
}

/// How much a line of a plug-in matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Level {
    Error,
    Warning,
    Note,
    /// What is done with plug-ins.
    Step,
    Debug,
}

/// What a hook came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Each plug-in said yes, or there is none that asked for the hook.
    Success,
    /// One said no.
    Error,
    /// One says it later, in a file.
    Deferred,
}

/// A message that can't be sent, or is none.
#[derive(Debug, thiserror::Error)]
#[error("a message between node and plug-in host: {0}")]
pub struct MessageError(#[from] postcard::Error);

/// The bytes of a message, zeroed when they are dropped.
///
/// # Errors
/// It is longer than [`MESSAGE_MAX`].
pub fn encode(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, MessageError> {
    let mut bytes = Zeroizing::new(vec![0; MESSAGE_MAX]);
    let length = postcard::to_slice(message, &mut bytes)?.len();
    bytes.truncate(length);
    Ok(bytes)
}

/// The message of these bytes.
///
/// # Errors
/// They are none.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    Ok(postcard::from_bytes(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_what_it_was_and_does_not_show_its_password() {
        let call = Call {
            number: 7,
            client: Some(3),
            hook: Hook::AuthUserPassVerify,
            arguments: vec!["one".to_owned()],
            environment: vec!["password=sesame".to_owned()],
            limit: 60,
        };
        assert!(!format!("{call:?}").contains("sesame"));
        let bytes = encode(&ToHost::Call(call)).unwrap();
        let Ok(ToHost::Call(call)) = decode(&bytes) else {
            panic!("not a call");
        };
        assert_eq!((call.number, call.client, call.limit), (7, Some(3), 60));
        assert_eq!(call.hook, Hook::AuthUserPassVerify);
        assert_eq!(call.environment, ["password=sesame"]);
    }

    #[test]
    fn a_message_has_its_bound_and_bytes_of_nobody_are_none() {
        let text = "x".repeat(MESSAGE_MAX);
        assert!(encode(&FromHost::Refused { reason: text }).is_err());
        assert!(decode::<FromHost>(&[0xff; 16]).is_err());
        assert!(decode::<FromHost>(&[]).is_err());
    }

    #[test]
    fn hooks_have_the_numbers_of_the_interface() {
        let numbers = Hook::ALL.map(|hook| hook as u32);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15]);
    }
}
