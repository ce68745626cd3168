//! A client's steps as lines.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::{FATAL, HANDSHAKE, INFO, PUSH, Page, TLS_ERROR, WARNING};
use crate::node::event::{FamilyAddress, Printable, RouteChange, TunnelEvent};
use crate::node::settings::ListenerTransport;

impl Page<'_> {
    /// A device of a server or of a client.
    pub(super) fn tun_addressed(&mut self, name: &str, address: IpNet, peer: Option<Ipv4Addr>) {
        let family = if address.addr().is_ipv4() { "v4" } else { "v6" };
        let (own, bits) = (address.addr(), address.prefix_len());
        match peer {
            Some(peer) => self.say(
                INFO,
                format_args!("net_addr_ptp_{family}_add: {own} peer {peer} dev {name}"),
            ),
            None => self.say(
                INFO,
                format_args!("net_addr_{family}_add: {own}/{bits} dev {name}"),
            ),
        }
    }

    pub(super) fn tunnel(&mut self, event: &TunnelEvent) {
        use TunnelEvent as E;
        match event {
            E::Unresolved { host, port, why } => self.say(
                WARNING,
                format_args!(
                    "RESOLVE: Cannot resolve host address: {}:{port} ({})",
                    Printable(host),
                    Printable(why)
                ),
            ),
            E::Connecting { .. } | E::Dialing { .. } | E::Undialable { .. } => self.way(event),
            E::Unanswered => self.say(TLS_ERROR, format_args!("Server poll timeout, restarting")),
            E::ConnectionReset => self.say(INFO, format_args!("Connection reset, restarting [0]")),
            E::Pushed { options } => self.say(
                PUSH,
                format_args!(
                    "PUSH: Received control message: 'PUSH_REPLY,{}'",
                    Printable(options)
                ),
            ),
            E::PushUpdated { items } => self.say(
                PUSH,
                format_args!(
                    "PUSH: Received control message: 'PUSH_UPDATE,{}'",
                    Printable(items)
                ),
            ),
            E::LoginRefused { reason } => {
                let comma = if reason.is_empty() { "" } else { "," };
                self.say(
                    INFO,
                    format_args!(
                        "AUTH: Received control message: AUTH_FAILED{comma}{}",
                        Printable(reason)
                    ),
                );
            }
            E::ToldToRestart { text } => self.say(
                INFO,
                format_args!(
                    "Connection reset command was pushed by server ('{}')",
                    Printable(text)
                ),
            ),
            E::ToldToHalt { text } => self.say(
                INFO,
                format_args!("Halt command was pushed by server ('{}')", Printable(text)),
            ),
            E::SessionOver => self.say(INFO, format_args!("Session timeout, exiting")),
            E::Inactive => self.say(INFO, format_args!("Inactivity timeout (--inactive), exiting")),
            E::Silent { server, ends } => {
                let (option, what) = match ends {
                    true => ("--ping-exit", "exiting"),
                    false => ("--ping-restart", "restarting"),
                };
                let server = Printable(server);
                self.say(INFO, format_args!("[{server}] Inactivity timeout ({option}), {what}"));
            }
            E::Restarting { cause } => self.say(
                INFO,
                format_args!("SIGUSR1[soft,{cause}] received, process restarting"),
            ),
            E::Pausing(pause) => {
                let seconds = pause.as_secs();
                self.say(HANDSHAKE, format_args!("Restart pause, {seconds} second(s)"));
            }
            E::Exhausted { rounds } => self.say(
                FATAL,
                format_args!(
                    "All connections have been connect-retry-max ({rounds}) times unsuccessful, exiting"
                ),
            ),
            E::Ending { cause } => self.say(
                INFO,
                format_args!("SIGTERM[soft,{cause}] received, process exiting"),
            ),
            E::Preserved { .. }
            | E::DeviceUp { .. }
            | E::AddressRemoved { .. }
            | E::RouteAdded(_)
            | E::RouteRemoved(_)
            | E::StepFailed { .. } => self.machine(event),
        }
    }

    /// How a client gets to a server.
    fn way(&mut self, event: &TunnelEvent) {
        use TunnelEvent as E;
        match event {
            E::Connecting { remote } => {
                let remote = FamilyAddress(*remote);
                let what = "Attempting to establish TCP connection with";
                self.say(INFO, format_args!("{what} {remote}"));
            }
            E::Dialing {
                transport,
                local,
                remote,
            } => {
                if *transport == ListenerTransport::Tcp {
                    let remote = FamilyAddress(*remote);
                    self.say(
                        INFO,
                        format_args!("TCP connection established with {remote}"),
                    );
                }
                let family = match (transport, remote.is_ipv4()) {
                    (ListenerTransport::Udp, true) => "UDPv4",
                    (ListenerTransport::Udp, false) => "UDPv6",
                    (ListenerTransport::Tcp, true) => "TCPv4_CLIENT",
                    (ListenerTransport::Tcp, false) => "TCPv6_CLIENT",
                };
                match local {
                    Some(local) => {
                        let local = FamilyAddress(*local);
                        self.say(INFO, format_args!("{family} link local (bound): {local}"));
                    }
                    None => self.say(INFO, format_args!("{family} link local: (not bound)")),
                }
                let remote = FamilyAddress(*remote);
                self.say(INFO, format_args!("{family} link remote: {remote}"));
            }
            E::Undialable {
                transport,
                remote,
                why,
            } => {
                let remote = FamilyAddress(*remote);
                match transport {
                    ListenerTransport::Udp => {
                        self.say(WARNING, format_args!("There is no way to {remote}: {why}"));
                    }
                    ListenerTransport::Tcp => self.say(
                        WARNING,
                        format_args!("TCP: connect to {remote} failed: {why}"),
                    ),
                }
            }
            _ => {}
        }
    }

    /// What a client does to the machine.
    fn machine(&mut self, event: &TunnelEvent) {
        use TunnelEvent as E;
        match event {
            E::Preserved { device } => self.say(
                INFO,
                format_args!("Preserving previous TUN/TAP instance: {device}"),
            ),
            E::DeviceUp { device, mtu } => {
                self.say(
                    INFO,
                    format_args!("net_iface_mtu_set: mtu {mtu} for {device}"),
                );
                self.say(INFO, format_args!("net_iface_up: set {device} up"));
            }
            E::AddressRemoved { device, address } => {
                let family = if address.addr().is_ipv4() { "v4" } else { "v6" };
                let network = format_args!("{}/{}", address.addr(), address.prefix_len());
                self.say(
                    INFO,
                    format_args!("net_addr_{family}_del: {network} dev {device}"),
                );
            }
            E::RouteAdded(route) => self.route("add", route),
            E::RouteRemoved(route) => self.route("del", route),
            E::StepFailed { step, why } => self.say(
                WARNING,
                format_args!("ERROR: {} failed: {}", Printable(step), Printable(why)),
            ),
            _ => {}
        }
    }

    fn route(&mut self, what: &str, route: &RouteChange) {
        let RouteChange {
            destination,
            gateway,
            metric,
            table,
        } = route;
        let family = if destination.addr().is_ipv4() {
            "v4"
        } else {
            "v6"
        };
        let via = gateway.map_or_else(|| "[NULL]".to_owned(), |gateway| gateway.to_string());
        let metric = metric.map_or(-1, i64::from);
        self.say(
            INFO,
            format_args!(
                "net_route_{family}_{what}: {destination} via {via} dev [NULL] table {table} metric {metric}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::event::NodeEvent;
    use crate::node::log::line::lines;

    #[test]
    fn a_clients_lines_are_those_that_tools_look_for() {
        use TunnelEvent as E;
        let route = |gateway: Option<&str>, metric| RouteChange {
            destination: "10.90.0.0/24".parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            metric,
            table: 0,
        };
        for (event, expected) in [
            (
                E::Unresolved {
                    host: "vpn.example".into(),
                    port: 1194,
                    why: "no".into(),
                },
                &["RESOLVE: Cannot resolve host address: vpn.example:1194 (no)"][..],
            ),
            (E::Unanswered, &["Server poll timeout, restarting"]),
            (
                E::Pushed {
                    options: "ping 10,peer-id 0".into(),
                },
                &["PUSH: Received control message: 'PUSH_REPLY,ping 10,peer-id 0'"],
            ),
            (
                E::PushUpdated {
                    items: "-route, ?dns search-domains x".into(),
                },
                &["PUSH: Received control message: 'PUSH_UPDATE,-route, ?dns search-domains x'"],
            ),
            (
                E::LoginRefused { reason: "".into() },
                &["AUTH: Received control message: AUTH_FAILED"],
            ),
            (
                E::LoginRefused {
                    reason: "no\n".into(),
                },
                &["AUTH: Received control message: AUTH_FAILED,no_"],
            ),
            (
                E::ToldToRestart { text: "".into() },
                &["Connection reset command was pushed by server ('')"],
            ),
            (
                E::Silent {
                    server: "vpn".into(),
                    ends: false,
                },
                &["[vpn] Inactivity timeout (--ping-restart), restarting"],
            ),
            (
                E::Restarting {
                    cause: "ping-restart".into(),
                },
                &["SIGUSR1[soft,ping-restart] received, process restarting"],
            ),
            (
                E::Pausing(Duration::from_secs(2)),
                &["Restart pause, 2 second(s)"],
            ),
            (
                E::Ending {
                    cause: "auth-failure".into(),
                },
                &["SIGTERM[soft,auth-failure] received, process exiting"],
            ),
            (
                E::DeviceUp {
                    device: "tun0".into(),
                    mtu: 1400,
                },
                &[
                    "net_iface_mtu_set: mtu 1400 for tun0",
                    "net_iface_up: set tun0 up",
                ],
            ),
            (
                E::RouteAdded(route(None, None)),
                &["net_route_v4_add: 10.90.0.0/24 via [NULL] dev [NULL] table 0 metric -1"],
            ),
            (
                E::RouteRemoved(route(Some("192.0.2.9"), Some(5))),
                &["net_route_v4_del: 10.90.0.0/24 via 192.0.2.9 dev [NULL] table 0 metric 5"],
            ),
        ] {
            let told = lines(&NodeEvent::Tunnel(event), 3);
            let texts: Vec<_> = told.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(texts, expected);
        }
    }

    #[test]
    fn the_way_to_a_server_is_told_in_stock_s_words() {
        use TunnelEvent as E;
        let remote = "192.0.2.1:1194".parse().unwrap();
        for (event, expected) in [
            (
                E::Dialing {
                    transport: ListenerTransport::Udp,
                    local: None,
                    remote,
                },
                &[
                    "UDPv4 link local: (not bound)",
                    "UDPv4 link remote: [AF_INET]192.0.2.1:1194",
                ][..],
            ),
            (
                E::Connecting { remote },
                &["Attempting to establish TCP connection with [AF_INET]192.0.2.1:1194"],
            ),
            (
                E::Dialing {
                    transport: ListenerTransport::Tcp,
                    local: None,
                    remote,
                },
                &[
                    "TCP connection established with [AF_INET]192.0.2.1:1194",
                    "TCPv4_CLIENT link local: (not bound)",
                    "TCPv4_CLIENT link remote: [AF_INET]192.0.2.1:1194",
                ],
            ),
            (
                E::Undialable {
                    transport: ListenerTransport::Tcp,
                    remote,
                    why: "Connection refused".into(),
                },
                &["TCP: connect to [AF_INET]192.0.2.1:1194 failed: Connection refused"],
            ),
        ] {
            let told = lines(&NodeEvent::Tunnel(event), 3);
            let texts: Vec<_> = told.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(texts, expected);
        }
    }
}
