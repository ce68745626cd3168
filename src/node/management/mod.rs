//! The management interface: an OpenVPN server's text protocol for monitors, portals and administrators.
//!
//! A thread of its own beside the shards. It asks the node thread for what it tells, and is told what
//! happens by the event bus; nobody waits for it. Wire: wire.md section 17, `docs/management.md`.
//!
//! - [`lines`](self::lines): bytes to lines.
//! - [`history`](self::history): what `log`, `state` and `echo` show.
//! - [`desk`](self::desk): what all who are connected share.
//! - [`logins`](self::logins): clients that wait for a word, and those who come and go.
//! - [`conversation`](self::conversation): one of them, without input and output.
//! - [`commands`](self::commands): what is said to each command.
//! - [`beyond`](self::beyond): commands that OpenVPN does not have, in JSON.
//! - [`listener`](self::listener), [`service`](self::service): sockets and the thread.

mod beyond;
mod commands;
mod conversation;
mod desk;
mod history;
mod lines;
mod listener;
mod logins;
mod order;
mod service;

pub use self::listener::ManagementError;
pub(super) use self::listener::ManagementListener;
pub use self::order::{Killed, ManagementOrder};
pub(super) use self::service::{ManagementThread, Released, Starter};

#[cfg(test)]
mod golden;
