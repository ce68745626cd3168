//! `ringway-plugin-host`: where plug-ins of OpenVPN run, so that one that crashes or never answers
//! takes no server with it.
//!
//! ringway starts it before it gives up its privileges, with a socket as standard input that keeps
//! packets apart. The program stays what it was, as a watch ([`watch`]): it starts itself again as
//! the one that loads the plug-ins, opens them and becomes the user that the server becomes
//! ([`host`]). When that one dies, by itself or because a plug-in took too long, the watch says so
//! and starts the next one. Plug-ins are called one after the other, on one thread, as the stock
//! daemon calls them.
//!
//! `interface` has the types of `openvpn-plugin.h` and all that is `unsafe`; `log.c` what Rust has no
//! words for.

mod host;
mod interface;
mod library;
mod watch;

use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use ringway::node::keep_secret;
use ringway::node::plugins::{MESSAGE_MAX, encode};
use rustix::net::{SendFlags, SocketType, send, sockopt};
use serde::Serialize;

fn main() -> ExitCode {
    // Plug-ins that leave a process behind when they are opened tell it passwords later.
    keep_secret();
    let socket = match socket() {
        Ok(socket) => socket,
        Err(error) => return failed(&error),
    };
    let as_host = std::env::args().nth(1).is_some_and(|it| it == HOST);
    let ended = if as_host {
        host::run(socket)
    } else {
        watch::run(&socket)
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The socket that is standard input, as a descriptor that no program inherits; plug-ins find
/// nothing on their standard input.
fn socket() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if !matches!(sockopt::socket_type(stdin), Ok(SocketType::SEQPACKET)) {
        return Err(io::Error::other(
            "ringway starts this program by itself, for the `plugin` lines of a configuration",
        ));
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    sockopt::set_socket_send_buffer_size(&socket, 2 * MESSAGE_MAX)?;
    Ok(socket)
}

/// Sends one message to the server.
fn tell(socket: &OwnedFd, message: &impl Serialize) -> io::Result<()> {
    let bytes = encode(message).map_err(io::Error::other)?;
    send(socket, &bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn failed(error: &dyn Display) -> ExitCode {
    eprintln!("ringway-plugin-host: {error}");
    ExitCode::from(2)
}

/// The argument with which the program loads plug-ins.
const HOST: &str = "--host";
