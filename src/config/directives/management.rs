//! The management interface.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::ffi::OsStrExt as _;

use nix::unistd::{Group, User};

use super::ringway::SOCKET_PATH_MAX;
use super::values::number;
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::config::settings::ManagementSocket;
use crate::limits::MANAGEMENT_LOG_LINES_MAX;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "management",
        "ADDRESS PORT [PASSWORD-FILE]",
        (2, 3),
        "answer commands on a socket; `PATH unix` for a unix socket",
        management,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::later(
        "management-client",
        "",
        (0, 0),
        "connect to the manager instead",
        REMOVE,
    ),
    Directive::served(
        "management-client-auth",
        "",
        (0, 0),
        "let the manager admit clients",
        judges,
    )
    .of_servers(),
    Directive::served(
        "management-client-user",
        "NAME",
        (1, 1),
        "who may connect to the unix socket",
        client_user,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-client-group",
        "NAME",
        (1, 1),
        "who may connect to the unix socket",
        client_group,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-hold",
        "",
        (0, 0),
        "wait for the manager at the start",
        hold,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-log-cache",
        "N",
        (1, 1),
        "log lines kept for the manager, 250 if not written",
        log_cache,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-signal",
        "",
        (0, 0),
        "SIGUSR1 when the manager goes",
        signal,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-forget-disconnect",
        "",
        (0, 0),
        "forget the password of the key when the manager goes: then it is not read again",
        forget_disconnect,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-up-down",
        "",
        (0, 0),
        "tell the manager when the device is up, and when it is to be closed",
        up_down,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::served(
        "management-query-passwords",
        "",
        (0, 0),
        "ask the manager for the password of the key, if a file does not say it",
        query_passwords,
    )
    .on_client(Support::Later(REMOVE)),
    Directive::later(
        "management-external-key",
        "[ALGORITHM...]",
        (0, MANY),
        "ask the manager for signatures",
        "write `key`",
    ),
    Directive::later(
        "management-external-cert",
        "HINT",
        (1, 1),
        "ask the manager for the certificate",
        "write `cert`",
    ),
    Directive::refused(
        "management-query-proxy",
        "",
        (0, 0),
        "ask the manager for a proxy",
        "it belongs to a client's configuration; remove the line",
    ),
    Directive::refused(
        "management-query-remote",
        "",
        (0, 0),
        "ask the manager for the remote",
        "it belongs to a client's configuration; remove the line",
    ),
];

fn management(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let [address, port] = [0, 1].map(|index| line.argument(index).unwrap_or_default());
    let file = line.argument(2).map(str::to_owned);
    let socket = match port {
        "unix" => {
            let path = draft.path(address);
            let length = path.as_os_str().as_bytes().len();
            if address.is_empty() || length > SOCKET_PATH_MAX {
                return Err(Refusal::because(format!(
                    "the path has {length} bytes, and that of a socket has 1 to {SOCKET_PATH_MAX}"
                )));
            }
            ManagementSocket::Unix(path)
        }
        _ if address == "tunnel" => {
            return Err(
                Refusal::because("it does not listen on the address of the tunnel")
                    .instead("write `management 127.0.0.1 PORT` or `management PATH unix`"),
            );
        }
        _ => {
            let port: u16 = number(line, 1, 1..=u16::MAX)?;
            let found = match address.parse::<IpAddr>() {
                Ok(address) => Some(SocketAddr::new(address, port)),
                Err(_) => (address, port)
                    .to_socket_addrs()
                    .ok()
                    .and_then(|mut found| found.next()),
            };
            let found = found.ok_or_else(|| {
                Refusal::because(format!("`{address}` is no address of this machine"))
                    .instead("write `management 127.0.0.1 PORT` or `management PATH unix`")
            })?;
            ManagementSocket::Tcp(found)
        }
    };
    if file.is_none()
        && let ManagementSocket::Tcp(address) = socket
        && !address.ip().is_loopback()
    {
        let why = "whoever reaches this address can end the server: write a file with a password behind it";
        draft.warn(line, why);
    }
    draft.process.management.socket = Written::new((socket, file), line);
    Ok(())
}

fn client_user(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    let user = User::from_name(name).ok().flatten();
    // Wire: 2.6's words.
    let user =
        user.ok_or_else(|| Refusal::because(format!("failed to find UID for user {name}")))?;
    draft.process.management.client_user = Written::new(user.uid.as_raw(), line);
    Ok(())
}

fn client_group(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    let group = Group::from_name(name).ok().flatten();
    let group =
        group.ok_or_else(|| Refusal::because(format!("failed to find GID for group {name}")))?;
    draft.process.management.client_group = Written::new(group.gid.as_raw(), line);
    Ok(())
}

fn hold(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.management.hold = Written::new((), line);
    Ok(())
}

fn log_cache(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let lines: u32 = number(line, 0, 1..=MANAGEMENT_LOG_LINES_MAX)?;
    draft.process.management.log_lines = Written::new(lines as usize, line);
    Ok(())
}

fn signal(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.management.signal = Written::new((), line);
    Ok(())
}

fn up_down(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.management.up_down = Written::new((), line);
    Ok(())
}

fn query_passwords(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.management.asks = Written::new((), line);
    Ok(())
}

fn forget_disconnect(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.management.forgets = Written::new((), line);
    Ok(())
}

fn judges(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.management.judges = Written::new((), line);
    Ok(())
}

const REMOVE: &str = "remove the line; `status` says who is connected";
