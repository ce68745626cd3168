//! Floor 3: one peer's control channel as a sans-IO state machine, server and client role.
//!
//! A [`Session`] is driven by five verbs: [`Session::handle_datagram`], [`Session::handle_timeout`],
//! [`Session::poll_transmit`], [`Session::poll_event`] and [`Session::next_timeout`]. What it needs
//! from outside comes as an argument; what it has to say comes out as a [`SessionEvent`].
//! [`OpenVpn2`] is what a listener knows of the protocol: how to sort a datagram, and how a stranger
//! becomes a session.
//!
//! Invariant: no clock, no socket, no thread, and no data packet; keys leave in an event.

mod agreement;
mod client;
mod credentials;
mod event;
mod keys;
mod login;
mod negotiation;
mod openvpn2;
mod push;
mod push_update;
mod reliable;
mod renewal;
mod server;
mod settings;
mod state;
mod timer;

pub use agreement::{Agreement, Derivation, NoCommonCipher, choose_cipher};
pub use credentials::{Credentials, PullFilter};
pub use event::{
    Admission, ChallengeResponse, ControlDrop, ExitChannel, Farewell, Grant, LeaveReason,
    PeerIdentity, SessionEvent, V4Grant, V6Grant,
};
pub use keys::OWN_LABELS;
pub use openvpn2::{
    Class, ClassicInstruction, ContactLimits, ContactNotice, Greeting, OpenVpn2, Rate, Steering,
};
pub use settings::{
    ClientKeyRules, CredentialRule, KeyingMaterial, LoginRules, Renegotiation, SessionSettings,
    Timing,
};
pub use state::{Activity, Keepalive, Session};
