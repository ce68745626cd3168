//! ringway against the real `openvpn`, in network namespaces that each test makes and removes.
//!
//! ```text
//!   client namespaces (1 to 16)        server namespace                      LAN namespace
//!  +---------------------------+      +---------------------------------+   +------------------+
//!  | openvpn                   |      | ringway, or openvpn             |   |                  |
//!  |  tun0  10.8.0.x  fd08::x  |      |  tun   10.8.0.1  fd08::1        |   |                  |
//!  |  out   10.80.<i>.2, .3    |------|  c<i>  10.80.<i>.1, .9          |   |                  |
//!  |        fd80:<i>::2, ::3   | veth |        fd80:<i>::1, ::9         |   |                  |
//!  |                           |      |                 lan 10.90.0.1   |---| lan  10.90.0.2   |
//!  | no default route: the LAN |      |                     fd90::1     |   |      fd90::2     |
//!  | is there through the      |      | forwards between tun and lan    |   | default route by |
//!  | tunnel or not at all      |      |                                 |   | the server       |
//!  +---------------------------+      +---------------------------------+   +------------------+
//! ```
//!
//! A test that wants to do something to the packets between the two puts a [`relay::Relay`] into
//! the client's namespace and points the client at it.
//!
//! The server is the ringway binary of this build. `RINGWAY_INTEROP_SERVER=openvpn` puts the stock
//! daemon in its place: a test that fails with ringway and passes with openvpn is ringway's fault.
//! ringway runs on four shards, or on as many as `RINGWAY_INTEROP_SHARDS` says, and does without
//! the offloads that `RINGWAY_INTEROP_OFFLOAD_OFF` names, or without `all`.
//!
//! `RINGWAY_OPENVPN_CLIENTS` names further openvpn programs, with colons between them, which the
//! tests of [`versions`] run beside the system's own.
//!
//! Tests marked as ignored are the full tier; `scripts/test --fast` leaves them out. They need root
//! (namespaces, tun devices), send nothing outside the namespaces they make, and leave nothing
//! behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

mod client;
mod device_scripts;
mod empirical_mtu;
mod endpoint;
mod flood;
mod network;
mod pki;

mod process;
mod recording;
mod relay;
mod report;
mod server;
mod tokens;
mod topologies;
mod traffic;

mod addresses;
mod backends;
mod belongings;
mod blocked;
mod capture;
mod certificates;
mod classes;
mod client_auth;
mod client_files;
mod client_keys;
mod client_to_client;
mod command_line;
mod compression;
mod confined;
mod crowd;
mod every_shard;
mod fragment;
mod inactive;
mod inner_networks;
mod lifecycle;
mod lifetime;
mod locked;
mod logins;
mod logs;
mod machine;
mod management;
mod matrix;
mod moved;
mod old_installation;
mod older_ciphers;
mod options;
mod outgoing;
mod outgoing_streams;
mod own_directives;
mod own_users;
mod plugins;
mod port_share;
mod proxy_protocol;
mod reconnects;
mod redirected;
mod reload;
mod renegotiation;
mod revoked;
mod roaming;
mod routing;
mod runtime;
mod shapes;
mod sizes;
mod slow;
mod stalled;
mod statuses;
mod streams;
mod suites;
mod super_packets;
mod tampering;
mod traps;
mod verdicts;
mod versions;
mod visits;
