//! What no other server has: shards, their cores, steering, offloads, the control socket.
//!
//! Each of these lines may also be written as `setenv opt ringway-...`, which OpenVPN passes over
//! and ringway obeys, so that a configuration serves both.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use ipnet::IpNet;

use super::client;
use super::logging::file;
use super::values::number;
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, ProxyLine, Written};
use crate::config::lexer::Line;
use crate::config::settings::{CoreList, OffloadName, SteeringChoice};
use crate::limits;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "ringway-shards",
        "N",
        (1, 1),
        "shards, each with a thread, sockets and a tun queue of its own; if not written, one for \
         each core that the process may use",
        shards,
    )
    .on_client(Support::Served(client::shards)),
    Directive::served(
        "ringway-cores",
        "LIST",
        (1, 1),
        "cores such as `0-3,8` that the shards are pinned to, in this order; if not written, those \
         that the process may use",
        cores,
    ),
    Directive::served(
        "ringway-steering",
        "both|udp|tun|none",
        (1, 1),
        "for which side programs in the kernel may choose the shard, `both` if not written",
        steering,
    )
    .on_client(Support::Ignored("a client has one shard")),
    Directive::served(
        "ringway-offload",
        "NAME on|off",
        (2, 2),
        "whether the kernel does this for many packets at once where it can, `on` if not written; NAME is \
         `udp-gro`, `udp-gso`, `tun-tso`, `tun-uso` or `tun-merge`, a line each",
        offload,
    ),
    Directive::served(
        "ringway-control",
        "PATH",
        (1, 1),
        "unix socket on which the running server answers",
        control,
    ),
    Directive::served(
        "ringway-proxy-protocol",
        "[PORT] [NETWORK...]",
        (0, MANY),
        "TCP connections, to this port if one is written, begin with a PROXY header of version 1 or 2, whose source \
         stands for the client's address; those of other networks than these are closed, if some are written",
        proxy_protocol,
    )
    .of_servers(),
    Directive::served(
        "ringway-password-file",
        "FILE",
        (1, 1),
        "clients need a user name and a password of this file, which `ringway passwd` writes; it is read again when it changes",
        password_file,
    )
    .of_servers(),
    Directive::served(
        "ringway-totp-file",
        "FILE",
        (1, 1),
        "each user needs a code of an authenticator beside the password; FILE has `name:secret` lines, secrets in Base32",
        totp_file,
    )
    .of_servers(),
    Directive::served(
        "ringway-login-backoff",
        "on|off",
        (1, 1),
        "whether logins of an address or a name that has failed too often wait before they are looked at; if not written, \
         `on` with `ringway-password-file` or `ringway-totp-file`",
        login_backoff,
    )
    .of_servers(),
];

fn password_file(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let path = draft.path(file(line)?);
    draft.login.passwords = Written::new(path, line);
    Ok(())
}

fn totp_file(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let path = draft.path(file(line)?);
    draft.login.secrets = Written::new(path, line);
    Ok(())
}

fn login_backoff(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let on = on_or_off(line, 0)?;
    draft.login.backoff = Written::new(on, line);
    Ok(())
}

/// A word that says whether something is to be.
fn on_or_off(line: &Line, index: usize) -> Result<bool, Refusal> {
    match line.argument(index).unwrap_or_default() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => {
            Err(Refusal::because(format!("`{other}` is no state")).instead("write `on` or `off`"))
        }
    }
}

fn shards(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.shards.count = Written::new(number(line, 0, 1..=limits::SHARDS_MAX)?, line);
    Ok(())
}

fn cores(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let list = line.argument(0).unwrap_or_default();
    let cores = read_cores(list, &draft.usable_cores)?;
    draft.shards.cores = Written::new(cores, line);
    Ok(())
}

fn steering(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.shards.steering = match line.argument(0).unwrap_or_default() {
        "both" => SteeringChoice::Both,
        "udp" => SteeringChoice::Udp,
        "tun" => SteeringChoice::Tun,
        "none" => SteeringChoice::None,
        other => {
            return Err(Refusal::because(format!("`{other}` is no side"))
                .instead("write `both`, `udp`, `tun` or `none`"));
        }
    };
    Ok(())
}

fn offload(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    let mut names = OffloadName::ALL.into_iter();
    let name = names.find(|it| it.as_str() == name).ok_or_else(|| {
        Refusal::because(format!("`{name}` is no offload"))
            .instead("write `udp-gro`, `udp-gso`, `tun-tso`, `tun-uso` or `tun-merge`")
    })?;
    draft.offloads.set(name, on_or_off(line, 1)?);
    Ok(())
}

fn control(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let path = draft.path(file(line)?);
    let length = path.as_os_str().as_bytes().len();
    if length > SOCKET_PATH_MAX {
        return Err(Refusal::because(format!(
            "the path has {length} bytes, and that of a socket has at most {SOCKET_PATH_MAX}"
        )));
    }
    draft.process.control_socket = Some(path);
    Ok(())
}

fn proxy_protocol(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let words: Vec<&str> = (0..MANY).map_while(|at| line.argument(at)).collect();
    let is_port = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let port = words.first().filter(|word| is_port(word));
    let port = port.map(|_| number(line, 0, 1..=u16::MAX)).transpose()?;
    let networks = words.iter().skip(usize::from(port.is_some()));
    let trusted = networks.map(|word| network(word));
    let trusted: Vec<IpNet> = trusted.collect::<Result<_, _>>()?;
    if trusted.len() > limits::PROXY_NETWORKS_MAX {
        let most = limits::PROXY_NETWORKS_MAX;
        return Err(Refusal::because(format!("more than {most} networks")));
    }
    let line = Written::new(ProxyLine { port, trusted }, line);
    draft.network.proxies.extend(line);
    Ok(())
}

/// A network, or an address by itself.
fn network(word: &str) -> Result<IpNet, Refusal> {
    let address = word.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| word.parse()).map_err(|_| {
        Refusal::because(format!("`{word}` is no network and no address"))
            .instead("write for example `ringway-proxy-protocol 10.0.0.0/24`")
    })
}

/// The cores of a list such as `0-3,8`, in its order, each of which is usable. With no `usable`
/// ones it is not known which are.
fn read_cores(list: &str, usable: &[usize]) -> Result<Vec<usize>, Refusal> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let range = range_of(part).ok_or_else(|| {
            Refusal::because(format!("`{part}` is no core and no range of cores"))
                .instead("write for example `ringway-cores 0-3,8`")
        })?;
        for core in range {
            if !usable.is_empty() && !usable.contains(&core) {
                return Err(Refusal::because(format!(
                    "core {core} is none that this process may use: those are {}",
                    CoreList(usable)
                )));
            }
            if cores.contains(&core) {
                return Err(Refusal::because(format!("core {core} stands there twice"))
                    .instead("for several shards on a core, write `ringway-shards`"));
            }
            if cores.len() == limits::SHARDS_MAX {
                return Err(Refusal::because(format!(
                    "more than {} cores",
                    limits::SHARDS_MAX
                )));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

fn range_of(part: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    // `+1` would parse too.
    let number = |word: &str| word.parse().ok().filter(|_| !word.starts_with('+'));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

/// What `sun_path` of unix(7) holds beside its NUL.
pub(super) const SOCKET_PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        let usable: Vec<usize> = (0..8).chain([12]).collect();
        for (list, cores) in [
            ("0", &[0][..]),
            ("0-3,6", &[0, 1, 2, 3, 6]),
            ("12,0-1", &[12, 0, 1]),
            ("5-5", &[5]),
        ] {
            assert_eq!(read_cores(list, &usable).as_deref(), Ok(cores), "{list}");
        }
        assert_eq!(read_cores("900-902", &[]).unwrap(), [900, 901, 902]);
    }

    #[test]
    fn lists_that_are_none() {
        let no_range = |part| {
            Refusal::because(format!("`{part}` is no core and no range of cores"))
                .instead("write for example `ringway-cores 0-3,8`")
        };
        let unusable = |core| {
            Refusal::because(format!(
                "core {core} is none that this process may use: those are 0-3,6,8-9"
            ))
        };
        let twice = |core| {
            Refusal::because(format!("core {core} stands there twice"))
                .instead("for several shards on a core, write `ringway-shards`")
        };
        for (list, refusal) in [
            ("", no_range("")),
            ("0,,1", no_range("")),
            ("3-0", no_range("3-0")),
            ("all", no_range("all")),
            ("0-", no_range("0-")),
            ("-1", no_range("-1")),
            ("+1", no_range("+1")),
            ("0 1", no_range("0 1")),
            ("4", unusable(4)),
            ("0-4", unusable(4)),
            ("8-18446744073709551615", unusable(10)),
            ("0-2,1", twice(1)),
        ] {
            assert_eq!(
                read_cores(list, &[0, 1, 2, 3, 6, 8, 9]),
                Err(refusal),
                "{list}"
            );
        }
        assert_eq!(
            read_cores("0-18446744073709551615", &[]),
            Err(Refusal::because("more than 256 cores"))
        );
    }
}
