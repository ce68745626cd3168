//! The file of one client (`client-config-dir`): its lines, and what they come to.
//!
//! As in OpenVPN a line that is wrong is told and passed over, and the others count.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::command_line;
use super::diagnostics::{Diagnostic, Reason, Severity};
use super::directive::Refusal;
use super::directives;
use super::lexer::{Line, words};
use super::settings::{
    Access, ClientProfile, Compression, Destination, ProfileBasis, ProfileLines, ProfileRead,
    RouteLine, RouteTarget, TunnelOption, V4Layout, V6Address,
};
use crate::limits;
use crate::wire::{Framing, PushReply};

/// Reads the file of a client for a node that serves, and lines that it is given besides.
pub(super) fn read(
    path: Option<&Path>,
    lines: &[ProfileLines],
    basis: &ProfileBasis,
) -> ProfileRead {
    let (profile, diagnostics) = inspect(path, lines, basis);
    ProfileRead {
        faults: diagnostics.iter().map(Diagnostic::log_line).collect(),
        ..profile
    }
}

/// Reads the file of a client and lines that it is given besides, and says what is wrong with which line.
pub(crate) fn inspect(
    path: Option<&Path>,
    lines: &[ProfileLines],
    basis: &ProfileBasis,
) -> (ProfileRead, Vec<Diagnostic>) {
    let mut file = ClientFile {
        basis,
        profile: ClientProfile::usual(basis.routes_max),
        push: None,
        removed: Vec::new(),
        told_to_frame: Vec::new(),
        diagnostics: Vec::new(),
    };
    let directory = &basis.directory;
    let own = path.map(|path| command_line::include(path, directory));
    let given = lines
        .iter()
        .map(|given| command_line::include_text(&given.source, &given.text, directory));
    for line in own.into_iter().chain(given).flatten() {
        match line {
            Ok(line) => file.take(&line),
            Err(diagnostic) => file.diagnostics.push(diagnostic),
        }
    }
    file.end()
}

/// A file as far as it has been read.
struct ClientFile<'b> {
    basis: &'b ProfileBasis,
    profile: ClientProfile,
    /// The options for this client, once its file has changed them.
    push: Option<Vec<String>>,
    removed: Vec<String>,
    /// Lines that have the client frame its packets, and how.
    told_to_frame: Vec<(Line, Framing)>,
    diagnostics: Vec<Diagnostic>,
}

impl ClientFile<'_> {
    fn take(&mut self, line: &Line) {
        if line.name == "setenv" && line.argument(0) == Some("opt") {
            return self.optional(line);
        }
        let Some(directive) = directives::find(&line.name) else {
            let reason = Reason::Unrecognized("no such directive".to_owned());
            return self.remark(Severity::Error, line, reason, None);
        };
        if let Some(misfit) = directive.misfit(line) {
            let instead = Some(format!("write `{}`", directive.synopsis()));
            return self.remark(Severity::Error, line, Reason::Unrecognized(misfit), instead);
        }
        if let Err(refusal) = self.obey(line) {
            let (severity, why, instead) = refusal.into_parts();
            self.remark(severity, line, Reason::Because(why), instead);
        }
    }

    fn obey(&mut self, line: &Line) -> Result<(), Refusal> {
        match line.name.as_str() {
            "ifconfig-push" => self.ifconfig_push(line),
            "ifconfig-ipv6-push" => self.ifconfig_ipv6_push(line),
            "iroute" => self.iroute(line),
            "iroute-ipv6" => self.iroute_ipv6(line),
            "push" => self.push(line),
            "push-reset" => {
                self.push = Some(Vec::new());
                Ok(())
            }
            "push-remove" => {
                self.push_remove(argument(line, 0));
                Ok(())
            }
            "max-routes-per-client" => {
                self.profile.routes_max = directives::routes_per_client(line)?;
                Ok(())
            }
            "disable" => {
                self.profile.access = Access::Disabled;
                Ok(())
            }
            name @ ("comp-lzo" | "compress") => self.framing(line, name),
            // Replaced by the lines of that file.
            "config" => Ok(()),
            "inactive" | "ping" | "ping-exit" | "ping-restart" | "session-timeout" => {
                let times = self.profile.times.get_or_insert(self.basis.times);
                directives::times_of_one_client(times, line).unwrap_or(Ok(()))
            }
            // A client's address is always known.
            "ping-timer-rem" => Ok(()),
            name if OF_ONE_CLIENT.contains(&name) => Err(Refusal::because(
                "has no effect: it is not served for a single client yet",
            )
            .but_served()),
            name => Err(Refusal::because(format!(
                "option '{name}' cannot be used in this context"
            ))
            .instead("write it into the server's configuration")),
        }
    }

    /// Wire: the server frames its packets so from then on; the client has to be told by a `push` line. One
    /// that might compress by LZO is told not to.
    fn framing(&mut self, line: &Line, name: &str) -> Result<(), Refusal> {
        match directives::compression_meant(name, line.argument(0))? {
            Compression::Framed(framing) => self.profile.framing = Some(framing),
            Compression::Migrate => {
                return Err(Refusal::because(
                    "what a client frames is known before its file is read",
                )
                .instead("write `compress migrate` into the server's configuration"));
            }
        }
        Ok(())
    }

    /// `setenv opt X ...`: the line `X ...`, which may be unknown.
    fn optional(&mut self, line: &Line) {
        let words = line.arguments.iter().skip(1).cloned().collect();
        match Line::from_words(line.at.clone(), words) {
            Some(inner) if directives::find(&inner.name).is_some() => self.take(&inner),
            Some(_) => {}
            None => {
                let reason = Reason::Unrecognized("`setenv opt` needs a directive".to_owned());
                self.remark(Severity::Error, line, reason, None);
            }
        }
    }

    fn ifconfig_push(&mut self, line: &Line) -> Result<(), Refusal> {
        let (address, netmask) = (ipv4(line, 0)?, ipv4(line, 1)?);
        let Some(network) = self.basis.network.v4 else {
            return Err(Refusal::because("the tunnel has no IPv4 network")
                .instead("add a `server` line to the server's configuration"));
        };
        if line.argument(2).is_some() {
            return Err(Refusal::because("an alias of the address is not served")
                .instead("write the address that the server is to use"));
        }
        let is_netmask =
            Ipv4Net::with_netmask(address, netmask).is_ok() && !netmask.is_unspecified();
        if let (false, V4Layout::Subnet { netmask: ours }) = (is_netmask, network.layout) {
            return Err(Refusal::because(format!(
                "`{netmask}` is not a netmask: addresses are given out for `topology subnet`"
            ))
            .instead(format!("write `ifconfig-push {address} {ours}`")));
        }
        if address == network.server {
            return Err(Refusal::because(format!(
                "{address} is the server's own address"
            )));
        }
        self.profile.v4 = Some((address, netmask));
        let subnet = matches!(network.layout, V4Layout::Subnet { .. });
        let constraint = self.basis.constraint;
        let constraint = constraint.or_else(|| subnet.then_some(network.network));
        let (why, instead) = match (network.layout, constraint) {
            // Wire: stock says so and serves it.
            (_, Some(constraint)) if !constraint.contains(&address) => (
                format!(
                    "{address} violates tunnel network/netmask constraint ({}/{})",
                    constraint.network(),
                    constraint.netmask()
                ),
                None,
            ),
            (V4Layout::Net30 { .. } | V4Layout::PointToPoint { .. }, _) if is_netmask => (
                format!(
                    "`{netmask}` is a netmask, but the topology is {}",
                    network.layout.name()
                ),
                Some(format!(
                    "write `ifconfig-push {address} {}`",
                    network.layout.second(address)
                )),
            ),
            _ => return Ok(()),
        };
        let refusal = Refusal::because(why).but_served();
        Err(match instead {
            Some(instead) => refusal.instead(instead),
            None => refusal,
        })
    }

    fn ifconfig_ipv6_push(&mut self, line: &Line) -> Result<(), Refusal> {
        let address = ipv6_net(line)?;
        let Some(network) = self.basis.network.v6 else {
            return Err(Refusal::because("the tunnel has no IPv6 network")
                .instead("add a `server-ipv6` line to the server's configuration"));
        };
        let gateway = match line.argument(1) {
            None => network.server,
            Some(word) => word
                .parse::<Ipv6Addr>()
                .map_err(|_| Refusal::because(format!("`{word}` is not an IPv6 address")))?,
        };
        if address.addr() == network.server {
            let why = format!("{} is the server's own address", network.server);
            return Err(Refusal::because(why));
        }
        self.profile.v6 = Some(V6Address { address, gateway });
        match network.network.contains(&address.addr()) {
            true => Ok(()),
            false => Err(Refusal::because(format!(
                "{} is not inside the tunnel's network {}",
                address.addr(),
                network.network
            ))
            .but_served()),
        }
    }

    fn iroute(&mut self, line: &Line) -> Result<(), Refusal> {
        let address = ipv4(line, 0)?;
        let netmask = match line.argument(1) {
            Some(_) => ipv4(line, 1)?,
            None => Ipv4Addr::BROADCAST,
        };
        let network = Ipv4Net::with_netmask(address, netmask)
            .map_err(|_| Refusal::because(format!("`{netmask}` is not a netmask")))?;
        self.network(network.into());
        Ok(())
    }

    fn iroute_ipv6(&mut self, line: &Line) -> Result<(), Refusal> {
        let network = ipv6_net(line)?;
        self.network(network.into());
        Ok(())
    }

    fn network(&mut self, network: IpNet) {
        let network = network.trunc();
        if !self.profile.networks.contains(&network) {
            self.profile.networks.push(network);
        }
    }

    fn push(&mut self, line: &Line) -> Result<(), Refusal> {
        let mut words = argument(line, 0).split_whitespace();
        let framing = words
            .next()
            .and_then(|name| Framing::named(name, words.next()));
        if let Some(framing) = framing {
            // Whether the file frames so is known when all lines are.
            self.told_to_frame.push((line.clone(), framing));
            return Ok(());
        }
        let Some(option) = directives::pushed_option(argument(line, 0))? else {
            return Ok(());
        };
        let options = self.options();
        options.push(option.to_owned());
        if can_be_told(options) {
            return Ok(());
        }
        options.pop();
        Err(Refusal::because("more than a client can be told").instead("push fewer options"))
    }

    /// Wire: every option that begins so is left out, and the word `ifconfig-ipv6` leaves out the
    /// client's own IPv6 address.
    fn push_remove(&mut self, beginning: &str) {
        self.options()
            .retain(|option| !option.starts_with(beginning));
        match beginning {
            "ifconfig" => self.profile.withheld.v4 = true,
            "ifconfig-ipv6" => self.profile.withheld.v6 = true,
            _ => {}
        }
        self.removed.push(beginning.to_owned());
    }

    fn options(&mut self) -> &mut Vec<String> {
        self.push.get_or_insert_with(|| self.basis.push.to_vec())
    }

    /// Has the client told how to frame its packets, if that is how the file frames them. One that may frame
    /// for LZO is told in any case that nothing is compressed.
    fn tell_framing(&mut self) {
        let framing = self.profile.framing;
        let mut told = None;
        for (line, meant) in std::mem::take(&mut self.told_to_frame) {
            if framing == Some(meant) {
                told = Some(argument(&line, 0).to_owned());
                continue;
            }
            let why = "it would change how this client's packets are framed, and not how the server frames \
                       them";
            let instead = "write the same in a line of the file, or push it to all clients";
            let reason = Reason::Because(why.to_owned());
            self.remark(Severity::Error, &line, reason, Some(instead.to_owned()));
        }
        if framing == Some(Framing::Prefix) {
            told = Some("comp-lzo no".to_owned());
        }
        if let Some(told) = told {
            let options = self.options();
            options.retain(|option| *option != told);
            options.push(told);
        }
    }

    /// What it all comes to.
    fn end(mut self) -> (ProfileRead, Vec<Diagnostic>) {
        self.tell_framing();
        let networks = std::mem::take(&mut self.profile.networks);
        let is_own = |option: &String| {
            let to = pushed_route(option);
            to.is_some_and(|to| networks.contains(&to))
        };
        let mut own_networks = Vec::new();
        if self
            .push
            .as_deref()
            .unwrap_or(&self.basis.push)
            .iter()
            .any(is_own)
        {
            let (own, others) = self.options().drain(..).partition(is_own);
            own_networks = own;
            self.push = Some(others);
        }
        self.profile.networks = networks;
        self.profile.push = self.push.map(Arc::from);
        let read = ProfileRead {
            profile: self.profile,
            faults: Vec::new(),
            removed: self.removed,
            own_networks,
        };
        (read, self.diagnostics)
    }

    fn remark(&mut self, severity: Severity, line: &Line, reason: Reason, instead: Option<String>) {
        self.diagnostics.push(Diagnostic {
            severity,
            at: Some(line.at.clone()),
            directive: line.name.clone(),
            reason,
            instead,
        });
    }
}

/// The network of a pushed route that says no more than that. Wire: as 2.6, which sends a route with
/// gateway or metric to the network's own client.
fn pushed_route(option: &str) -> Option<IpNet> {
    let mut words = words(option).ok()?;
    let name = (!words.is_empty()).then(|| words.remove(0))?;
    let most = match name.as_str() {
        "route" => 2,
        "route-ipv6" => 1,
        _ => return None,
    };
    if words.len() > most {
        return None;
    }
    match TunnelOption::parse(&name, &words) {
        Ok(Some(TunnelOption::Route(RouteLine {
            target: RouteTarget::Known(Destination::Network(network)),
            ..
        }))) => Some(network),
        _ => None,
    }
}

/// The last message is left for what the client's own addresses add.
fn can_be_told(options: &[String]) -> bool {
    let mut reply = PushReply::new();
    let mut options = options.iter();
    options.all(|option| reply.push(option.clone()).is_ok())
        && reply.messages().len() < limits::PUSH_MESSAGES_MAX
}

fn argument(line: &Line, index: usize) -> &str {
    line.argument(index).unwrap_or_default()
}

fn ipv4(line: &Line, index: usize) -> Result<Ipv4Addr, Refusal> {
    let word = argument(line, index);
    word.parse()
        .map_err(|_| Refusal::because(format!("`{word}` is not an IPv4 address")))
}

fn ipv6_net(line: &Line) -> Result<Ipv6Net, Refusal> {
    let word = argument(line, 0);
    word.parse().map_err(|_| {
        Refusal::because(format!(
            "`{word}` is not an IPv6 address with its prefix length"
        ))
        .instead(format!("write for example `{} fd00::7/64`", line.name))
    })
}

/// Lines that 2.6 takes in the file of a client, and that are not served there.
const OF_ONE_CLIENT: [&str; 9] = [
    "auth-token",
    "cipher",
    "comp-noadapt",
    "data-ciphers",
    "data-ciphers-fallback",
    "echo",
    "override-username",
    "parameter",
    "vlan-pvid",
];

#[cfg(test)]
mod tests;
