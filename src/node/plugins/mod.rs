//! Plug-ins of OpenVPN, in a program of their own (`plugin-host/`): the node's side of it.
//!
//! [`PluginHost`] starts that program and asks it; [`message`] is what is said. No plug-in is ever
//! loaded into this process, so there is nothing here that it could break.

mod host;
mod message;

pub use message::{
    Call, FirstCall, FromHost, Hook, Level, MESSAGE_MAX, MessageError, Opening, Outcome, Plugin,
    ToHost, decode, encode,
};

pub use host::{Answer, NoAnswer, Notice, PluginError, PluginHost, Question};
