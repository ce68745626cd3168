//! What a configuration makes ringway serve, a row a property.

mod client;

use std::fmt::Write as _;

use crate::config::Configuration;
use crate::config::settings::{
    Bind, ContactLimits, CoreList, Destination, DeviceName, ListenerSettings, ListenerTransport,
    NodeSettings, Offloads, OffloadsInUse, ProcessSettings, Rate, Settings, ShardSettings,
    TunnelRoute, WrappingSettings,
};
use crate::reactor::Report;

/// The rows, a line each.
pub(super) fn served(configuration: &Configuration, machine: &Report) -> String {
    let mut rows = match configuration {
        Configuration::Server(settings) => server(settings, machine),
        Configuration::Client(client) => client::rows(client, machine),
        Configuration::Locked(_) => vec![("locked", LOCKED.to_owned())],
    };
    rows.extend(becomes(configuration.process()).map(|who| ("becomes", who)));
    let socket = configuration.control_socket();
    rows.extend(socket.map(|path| ("answers", format!("on {}", path.display()))));
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<10} {value}");
    }
    text
}

const LOCKED: &str =
    "what else it serves is seen with the password of its key, for which a terminal is asked";

type Row = (&'static str, String);

fn server(settings: &Settings, machine: &Report) -> Vec<Row> {
    let node = &settings.node;
    let mut rows = vec![("shards", shards(&node.shards))];
    rows.extend(steers(&node.shards, machine).map(|how| ("steers", how)));
    rows.push(("offloads", offloads(node.offloads, machine).to_string()));
    for listener in &settings.listeners {
        rows.push(("listens", listens(listener)));
    }
    rows.extend([
        ("device", device(node)),
        ("network", network(settings)),
        ("between", between_clients(settings).to_owned()),
        ("control", wrapping(&node.wrapping)),
        ("ciphers", ciphers(node)),
        ("strangers", strangers(settings.contact)),
    ]);
    let route = |route: &TunnelRoute| match route.destination {
        Destination::Network(network) => network.to_string(),
        Destination::Remote => String::new(),
    };
    rows.extend(settings.routes.iter().map(|it| ("routes", route(it))));
    rows.extend(
        settings
            .push
            .iter()
            .map(|option| ("pushes", option.clone())),
    );
    rows
}

fn shards(shards: &ShardSettings) -> String {
    let cores = match shards.cores.as_slice() {
        [_] => "core",
        _ => "cores",
    };
    format!(
        "{}, on {cores} {}",
        shards.cores.len(),
        CoreList(&shards.cores)
    )
}

/// Who chooses the shard for what comes from either side, and why it is not a program of ours.
fn steers(shards: &ShardSettings, machine: &Report) -> impl Iterator<Item = String> {
    let choice = shards.steering;
    let sides = [
        (
            "datagrams",
            choice.udp(),
            "SO_ATTACH_REUSEPORT_CBPF",
            "the kernel's hash of addresses and ports",
        ),
        (
            "packets of the tun device",
            choice.tun(),
            "TUNSETSTEERINGEBPF",
            "the kernel's flow table",
        ),
    ];
    let several = shards.cores.len() > 1;
    let sides = sides.into_iter().filter(move |_| several);
    sides.filter_map(|(what, chosen, name, instead)| {
        let feature = machine.find(name)?;
        let why = match (chosen, &feature.reason) {
            (true, _) if feature.available => return Some(format!("{what} by program")),
            (true, None) => String::new(),
            (true, Some(reason)) => format!(" ({reason})"),
            (false, _) => " (`ringway-steering` leaves the program out)".to_owned(),
        };
        Some(format!("{what} by {instead}{why}"))
    })
}

/// What the kernel would do for many packets at once.
fn offloads(wanted: Offloads, machine: &Report) -> OffloadsInUse {
    let has = |name| machine.find(name).is_some_and(|feature| feature.available);
    let used = Offloads {
        udp_gro: wanted.udp_gro && has("UDP_GRO"),
        udp_gso: wanted.udp_gso && has("UDP_SEGMENT"),
        tun_tso: wanted.tun_tso && has("TUN_F_TSO4"),
        tun_uso: wanted.tun_uso && has("TUN_F_USO4"),
        tun_merge: wanted.tun_merge && has("IFF_VNET_HDR"),
    };
    OffloadsInUse { wanted, used }
}

fn listens(listener: &ListenerSettings) -> String {
    let address = match listener.bind {
        Bind::DualStack => "all addresses, IPv4 and IPv6".to_owned(),
        Bind::V4(address) => address.to_string(),
        Bind::V6(address) => address.to_string(),
    };
    let transport = match listener.transport {
        ListenerTransport::Udp => "UDP",
        ListenerTransport::Tcp => "TCP",
    };
    format!("{transport} port {} of {address}", listener.port)
}

fn device(node: &NodeSettings) -> String {
    let device = match &node.device.name {
        DeviceName::Auto => "the next free tun device",
        DeviceName::Named(name) => name,
    };
    format!("{device}, MTU {}", node.device.mtu)
}

fn network(settings: &Settings) -> String {
    let networks = [
        settings
            .network
            .v4
            .map(|v4| format!("{} ({})", v4.network, v4.layout.name())),
        settings.network.v6.map(|v6| v6.network.to_string()),
    ];
    let networks: Vec<String> = networks.into_iter().flatten().collect();
    let slots = settings.network.pool().slots.min(settings.max_clients);
    format!(
        "{}, {slots} clients at the same time",
        networks.join(" and ")
    )
}

fn between_clients(settings: &Settings) -> &'static str {
    match settings.client_to_client {
        true => "clients, packets stay inside the server, past the kernel and its firewall",
        false => "clients, packets go through the kernel, if it forwards",
    }
}

fn wrapping(wrapping: &WrappingSettings) -> String {
    match wrapping {
        WrappingSettings::Plain => "TLS without a shared key".to_owned(),
        WrappingSettings::TlsAuth { digest, .. } => format!("tls-auth with {}", digest.name()),
        WrappingSettings::TlsCrypt { .. } => "tls-crypt".to_owned(),
        WrappingSettings::TlsCryptV2Client { .. } => "tls-crypt-v2".to_owned(),
        WrappingSettings::TlsCryptV2Server { others: None, .. } => {
            "tls-crypt-v2, a key for each client".to_owned()
        }
        WrappingSettings::TlsCryptV2Server {
            others: Some(others),
            ..
        } => format!("tls-crypt-v2, or {}", self::wrapping(others)),
    }
}

fn ciphers(node: &NodeSettings) -> String {
    let names = node.ciphers.iter().map(|cipher| cipher.name());
    names.collect::<Vec<_>>().join(", ")
}

fn strangers(contact: ContactLimits) -> String {
    let most = |rate: Rate, what| {
        let seconds = rate.per.as_secs();
        format!("at most {} {what} in {seconds} s", rate.count)
    };
    let answers = most(contact.initial, "answers");
    match contact.new_sessions {
        Some(rate) => format!("{answers}, {}", most(rate, "new sessions")),
        None => answers,
    }
}

/// What is left of the process once everything is open, if anything is given up.
fn becomes(process: &ProcessSettings) -> Option<String> {
    let parts = [
        process
            .user
            .as_ref()
            .map(|user| format!("user {}", user.name)),
        process
            .group
            .as_ref()
            .map(|group| format!("group {}", group.name)),
        process
            .chroot
            .as_ref()
            .map(|root| format!("root directory {}", root.display())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{}, without capabilities", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::SteeringChoice;
    use crate::reactor::{Feature, probe};

    fn machine(datagrams: bool, tun: bool) -> Report {
        let feature = |name, available: bool| Feature {
            name,
            available,
            required: false,
            purpose: "",
            reason: (!available).then(|| "not allowed".to_owned()),
        };
        Report {
            features: vec![
                feature("SO_ATTACH_REUSEPORT_CBPF", datagrams),
                feature("TUNSETSTEERINGEBPF", tun),
            ],
        }
    }

    #[test]
    fn offloads_are_named_by_what_the_machine_has() {
        let mut machine = machine(true, true);
        for name in ["UDP_GRO", "UDP_SEGMENT", "IFF_VNET_HDR", "TUN_F_USO4"] {
            machine.features.push(Feature {
                name,
                available: name != "TUN_F_USO4",
                required: false,
                purpose: "",
                reason: None,
            });
        }
        let wanted = Offloads {
            udp_gso: false,
            ..Offloads::ALL
        };
        assert_eq!(
            offloads(wanted, &machine).to_string(),
            "udp-gro, tun-merge; not of this machine: tun-tso, tun-uso; switched off: udp-gso"
        );
        assert_eq!(offloads(wanted, &probe()).used, wanted);
    }

    #[test]
    fn who_steers() {
        let [by_hash, by_table] = [
            "datagrams by the kernel's hash of addresses and ports",
            "packets of the tun device by the kernel's flow table",
        ];
        let left_out = "(`ringway-steering` leaves the program out)";
        let by_program = [
            "datagrams by program",
            "packets of the tun device by program",
        ]
        .map(str::to_owned);
        let [datagrams, packets] = by_program.clone();
        let sides = |count, steering, machine: &Report| {
            let shards = ShardSettings {
                steering,
                ..ShardSettings::on(&[0], count)
            };
            steers(&shards, machine).collect::<Vec<_>>()
        };
        use SteeringChoice::{Both, None, Tun, Udp};
        let able = machine(true, true);
        assert_eq!(sides(1, Both, &able), Vec::<String>::new());
        assert_eq!(sides(2, Both, &able), by_program);
        assert_eq!(
            sides(2, Udp, &able),
            [datagrams.clone(), format!("{by_table} {left_out}")]
        );
        assert_eq!(
            sides(2, Tun, &able),
            [format!("{by_hash} {left_out}"), packets]
        );
        assert_eq!(
            sides(2, None, &able),
            [
                format!("{by_hash} {left_out}"),
                format!("{by_table} {left_out}")
            ]
        );
        assert_eq!(
            sides(2, Both, &machine(true, false)),
            [datagrams, format!("{by_table} (not allowed)")]
        );
    }
}
