//! Where a client's packets go and where they come from: lines outside of `<connection>` blocks, and
//! the same lines inside of one.

use std::net::IpAddr;

use crate::config::directive::{Refusal, apply};
use crate::config::directives::values::{YEAR, number, optional, seconds};
use crate::config::draft::{Draft, RemoteLine, Transport, Written};
use crate::config::lexer::{Line, lex};
use crate::config::settings::{AddressFamily, RetryPause};

pub(in crate::config::directives) fn remote(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let host = line.argument(0).unwrap_or_default();
    if host.is_empty() || host.len() > HOST_MAX || host.contains(char::is_whitespace) {
        let why = format!("`{host}` is neither a name nor an address");
        return Err(Refusal::because(why).instead("write `remote HOST PORT`"));
    }
    let remote = RemoteLine {
        host: host.to_owned(),
        port: optional(line, 1, 1..=u16::MAX)?,
        transport: line.argument(2).map(transport).transpose()?,
        at: line.at.clone(),
    };
    let client = &mut draft.client;
    match &mut client.block_remote {
        Some(of_block) if of_block.is_some() => {
            return Err(
                Refusal::because("a <connection> has one remote").instead("write a block for each")
            );
        }
        Some(of_block) => *of_block = Some(remote),
        None => client.remotes.push(remote),
    }
    Ok(())
}

/// Reads the lines of a block: what was written before it counts inside of it, too.
pub(in crate::config::directives) fn connection(
    draft: &mut Draft,
    line: &Line,
) -> Result<(), Refusal> {
    let Some(block) = &line.block else {
        return Err(Refusal::because("it is a block")
            .instead("write `<connection>`, its lines, and `</connection>`"));
    };
    let outside = draft.client.connection.clone();
    draft.client.block_remote = Some(None);
    let (lines, faults) = lex(&line.at.file, block);
    let mut read = faults.first().map_or(Ok(()), |fault| {
        Err(Refusal::because(format!(
            "line {} of the block: {}",
            fault.at.line, fault.what
        )))
    });
    for mut inner in lines {
        inner.at.line += line.at.line;
        if !OF_BLOCKS.contains(&inner.name.as_str()) {
            let why = format!("`{}` cannot stand in a <connection>", inner.name);
            read = Err(Refusal::because(why).instead("write it outside, for all of them"));
            break;
        }
        apply(draft, &inner);
    }
    let inside = std::mem::replace(&mut draft.client.connection, outside);
    match (draft.client.block_remote.take().flatten(), read) {
        (_, Err(refusal)) => Err(refusal),
        (Some(remote), Ok(())) => {
            draft.client.blocks.push((remote, inside));
            Ok(())
        }
        // A line that was refused has been remarked upon already.
        (None, Ok(())) if draft.diagnostics.mentions("remote") => Ok(()),
        (None, Ok(())) => Err(Refusal::because("the block has no `remote`")),
    }
}

/// Both ends' port; it does not bind to it, as in 2.6.
pub(in crate::config::directives) fn port(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let port = number(line, 0, 1..=u16::MAX)?;
    draft.client.connection.remote_port = Some(port);
    draft.client.connection.port = port;
    Ok(())
}

pub(in crate::config::directives) fn rport(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.client.connection.remote_port = Some(number(line, 0, 1..=u16::MAX)?);
    Ok(())
}

pub(in crate::config::directives) fn lport(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.client.connection.local_port = Written::new(number(line, 0, 0..=u16::MAX)?, line);
    Ok(())
}

pub(in crate::config::directives) fn bind(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if line.argument(0).is_some() {
        return Err(Refusal::because("it belongs to a server's socket").instead("write `bind`"));
    }
    draft.client.connection.bind = true;
    Ok(())
}

pub(in crate::config::directives) fn nobind(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.client.connection.nobind = true;
    Ok(())
}

pub(in crate::config::directives) fn local(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if line.argument(1).is_some() {
        return Err(
            Refusal::because("the second word belongs to a server's sockets")
                .instead("write `local ADDRESS` and `lport PORT`"),
        );
    }
    let word = line.argument(0).unwrap_or_default();
    let address: IpAddr = word
        .parse()
        .map_err(|_| Refusal::because(format!("`{word}` is not an address")))?;
    draft.client.connection.local = Written::new(address, line);
    Ok(())
}

pub(in crate::config::directives) fn proto(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let transport = transport(line.argument(0).unwrap_or_default())?;
    draft.client.connection.transport = transport;
    Ok(())
}

/// Wire: a client's `tcp` is `tcp-client`, as in 2.6.
fn transport(name: &str) -> Result<Transport, Refusal> {
    let family = match name.as_bytes().get(3) {
        Some(b'4') => AddressFamily::V4,
        Some(b'6') => AddressFamily::V6,
        _ => AddressFamily::Any,
    };
    match name {
        "udp" | "udp4" | "udp6" => Ok(Transport::Udp(family)),
        "tcp" | "tcp4" | "tcp6" | "tcp-client" | "tcp4-client" | "tcp6-client" => {
            Ok(Transport::Tcp(family))
        }
        other => Err(
            Refusal::because(format!("`{other}` is no protocol of a client"))
                .instead("write `udp`, `udp4`, `udp6`, `tcp`, `tcp4` or `tcp6`"),
        ),
    }
}

pub(in crate::config::directives) fn connect_timeout(
    draft: &mut Draft,
    line: &Line,
) -> Result<(), Refusal> {
    draft.client.connection.timeout = seconds(line, 0, 1..=YEAR)?;
    Ok(())
}

pub(in crate::config::directives) fn connect_retry(
    draft: &mut Draft,
    line: &Line,
) -> Result<(), Refusal> {
    let first = seconds(line, 0, 1..=YEAR)?;
    let longest = match line.argument(1) {
        Some(_) => seconds(line, 1, 1..=YEAR)?,
        None => RetryPause::default().longest,
    };
    draft.client.connection.pause = RetryPause {
        first,
        longest: longest.max(first),
    };
    Ok(())
}

/// What may stand in a block. Wire: 2.6 takes a few more, which say here what they say outside.
const OF_BLOCKS: [&str; 11] = [
    "remote",
    "proto",
    "port",
    "rport",
    "lport",
    "local",
    "bind",
    "nobind",
    "connect-timeout",
    "server-poll-timeout",
    "connect-retry",
];

/// The longest name of the domain name system.
const HOST_MAX: usize = 253;
