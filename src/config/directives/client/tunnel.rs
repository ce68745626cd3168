//! Lines that mean what they mean when a server pushes them, and the programs that are told of it.

use std::path::PathBuf;

use ipnet::IpNet;
use nix::unistd::{AccessFlags, access};

use crate::config::diagnostics::{Reason, Severity};
use crate::config::directive::Refusal;
use crate::config::draft::{Draft, Written};
use crate::config::lexer::{Line, words};
use crate::config::settings::{OptionFault, ScriptCommand, TunnelOption};

/// `route`, `ifconfig` and the like.
pub(in crate::config::directives) fn tunnel(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    match option(draft, line)? {
        Some(option) => draft.client.options.push(option),
        // The table leads no other line here.
        None => return Err(Refusal::because("it says nothing about a tunnel")),
    }
    if line
        .arguments
        .iter()
        .any(|flag| flag.starts_with("bypass-d"))
    {
        draft.note(
            line,
            "`bypass-dhcp` and `bypass-dns` have no effect outside of Windows",
        );
    }
    Ok(())
}

/// What a line says about a tunnel; `None` if its name is not that of such a line. A route to a network that is
/// written with bits behind its prefix leads to the network, with a warning.
pub(in crate::config::directives) fn option(
    draft: &mut Draft,
    line: &Line,
) -> Result<Option<TunnelOption>, Refusal> {
    let parsed = TunnelOption::parse(&line.name, &line.arguments);
    let parsed = match parsed {
        Err(fault @ OptionFault::HostBits { network, .. }) => {
            let (_, reason, instead) = refusal(&fault, line).into_parts();
            draft.remark(Severity::Warning, line, Reason::Because(reason), instead);
            let mut words = line.arguments.clone();
            if let Some(first) = words.first_mut() {
                *first = match network {
                    IpNet::V4(network) => network.network().to_string(),
                    IpNet::V6(network) => network.to_string(),
                };
            }
            TunnelOption::parse(&line.name, &words)
        }
        parsed => parsed,
    };
    parsed.map_err(|fault| refusal(&fault, line))
}

fn refusal(fault: &OptionFault, line: &Line) -> Refusal {
    let refusal = Refusal::because(fault.to_string());
    match fault {
        OptionFault::HostBits { network, .. } if line.name == "route" => {
            let (address, netmask) = (network.network(), network.netmask());
            refusal.instead(format!("write `route {address} {netmask}`"))
        }
        OptionFault::HostBits { network, .. } => {
            refusal.instead(format!("write `{} {network}`", line.name))
        }
        OptionFault::Flag(_) => {
            refusal.instead("the flags are `def1`, `local`, `autolocal`, `ipv6` and `!ipv4`")
        }
        OptionFault::BlockLocal => refusal.instead("remove the flag"),
        OptionFault::Ipv4(word) if line.name == "route" && line.argument(0) == Some(word) => {
            refusal.instead("names are not resolved for routes: write the address")
        }
        _ => refusal,
    }
}

/// `up`, `down`, `route-up`, `route-pre-down`, `ipchange`.
pub(in crate::config::directives) fn script(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let command = one_command(draft, line)?;
    let scripts = &mut draft.client.scripts;
    let place = match line.name.as_str() {
        "up" => &mut scripts.up,
        "down" => &mut scripts.down,
        "route-up" => &mut scripts.route_up,
        "ipchange" => &mut scripts.ip_change,
        _ => &mut scripts.route_pre_down,
    };
    *place = Some(command);
    draft.client.first_script = draft.client.first_script.take().or(Written::new((), line));
    Ok(())
}

/// The program of a line. Wire: it is one word, in quotes if it has arguments.
pub(in crate::config::directives) fn one_command(
    draft: &Draft,
    line: &Line,
) -> Result<ScriptCommand, Refusal> {
    if line.arguments.len() > 1 {
        let command = line.arguments.join(" ");
        return Err(Refusal::because("a command is one word")
            .instead(format!("write it in quotes: {} \"{command}\"", line.name)));
    }
    command(draft, line.argument(0).unwrap_or_default())
}

/// A program with arguments, as one word says it. Wire: with `chroot` it is looked for inside.
pub(in crate::config::directives) fn command(
    draft: &Draft,
    text: &str,
) -> Result<ScriptCommand, Refusal> {
    let words = words(text).map_err(|fault| Refusal::because(fault.to_string()))?;
    let mut words = words.into_iter();
    let name = words
        .next()
        .ok_or_else(|| Refusal::because("the command is empty"))?;
    let (now, program) = draft.path_when_running(&name);
    executable(now)
        .map_err(|why| Refusal::because(format!("script fails with '{name}': {why}")))?;
    Ok(ScriptCommand {
        program,
        arguments: words.collect(),
    })
}

fn executable(path: PathBuf) -> Result<(), String> {
    access(&path, AccessFlags::X_OK).map_err(|error| error.desc().to_owned())?;
    match path.is_file() {
        true => Ok(()),
        false => Err("not a file".to_owned()),
    }
}
