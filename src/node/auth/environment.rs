//! What judges are told of a login, by the names and in the order of stock. Wire: wire.md section 17.2.

use std::net::SocketAddr;

use super::login::Login;
use super::visits::{Arrival, Departure};
use crate::crypto::tls::TrackedField;
use crate::node::local_time::{local_time, system_zone};
use crate::node::registry::Place;
use crate::node::settings::{NetworkSettings, V4Layout};

/// What is the same for all logins of a node: its own variables, in stock's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Names and values.
    pub variables: Vec<(String, String)>,
    /// The fields of certificates that are told, none for all of the subject.
    pub tracked: Vec<TrackedField>,
}

/// The variables of a login, but for those that not every judge may have. Of a client that is in something is
/// `known` besides.
pub(super) fn of(
    login: &Login,
    known: Vec<(String, String)>,
    server: &ServerFacts,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    for (name, value) in address("untrusted", login.client.address) {
        set(&name, &value);
    }
    set(
        "common_name",
        login.client.common_name.as_deref().unwrap_or_default(),
    );
    let said: Vec<_> = login.peer_info.iter().collect();
    for (key, value) in said.into_iter().rev() {
        // A client may tell of itself what it likes, by these names alone.
        if key.starts_with("IV_") || key.starts_with("UV_") {
            set(key, value);
        }
    }
    for (depth, certificate) in login.certificates.iter().enumerate() {
        set(&format!("tls_serial_hex_{depth}"), &certificate.serial_hex);
        set(&format!("tls_serial_{depth}"), &certificate.serial);
        set(&format!("tls_digest_sha256_{depth}"), &certificate.sha256);
        set(&format!("tls_digest_{depth}"), &certificate.sha1);
        set(&format!("tls_id_{depth}"), &certificate.subject);
        if server.tracked.is_empty() {
            for (field, value) in certificate.fields.iter().rev() {
                set(&format!("X509_{depth}_{field}"), value);
            }
        }
        let tracked = server.tracked.iter();
        for (field, value) in tracked.filter_map(|field| field.of(certificate, depth)) {
            set(&format!("X509_{depth}_{field}"), &value);
        }
    }
    variables.extend(known);
    variables.extend(server.variables.iter().cloned());
    variables
}

/// The variables of a login with the name of its user.
pub(super) fn with_username(login: &Login) -> Vec<(String, String)> {
    let mut variables = login.environment.clone();
    if let Some(username) = login.username() {
        // Wire: behind the common name, which is always there.
        let at = variables.iter().position(|(name, _)| name == "common_name");
        let told = ("username".to_owned(), username.to_owned());
        variables.insert(at.map_or(0, |at| at + 1), told);
    }
    variables
}

/// What is known of a client that is in beside what it says at a login: its place, and since when and from where it
/// has it.
pub(super) fn of_place(variables: &[(String, String)]) -> Vec<(String, String)> {
    let of_place = ["ifconfig_pool_", "time_", "trusted_"];
    let known = variables.iter();
    let known = known.filter(|(name, _)| of_place.iter().any(|begin| name.starts_with(begin)));
    known.cloned().collect()
}

/// Where a client is, as it is told with this in front.
fn address(kind: &str, address: SocketAddr) -> [(String, String); 2] {
    let ip = address.ip().to_canonical();
    let family = if ip.is_ipv4() { "" } else { "6" };
    [
        (format!("{kind}_port"), address.port().to_string()),
        (format!("{kind}_ip{family}"), ip.to_string()),
    ]
}

/// The variables of a client that has a place, but for those of its place: see [`set_addresses`].
pub(super) fn of_visit(login: &Login, arrival: &Arrival) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    set("time_unix", &login.since.to_string());
    set("time_ascii", &local_time(login.since, &system_zone()));
    let client = &arrival.client;
    for (name, value) in address("trusted", client.address) {
        set(&name, &value);
    }
    let common_name = client.common_name.as_deref().unwrap_or_default();
    set("common_name", common_name);
    let known = login
        .environment
        .iter()
        .filter(|(name, _)| name != "common_name");
    for (name, value) in known {
        set(name, value);
        if let Some(username) = login
            .username()
            .filter(|_| name.starts_with("untrusted_ip"))
        {
            set("username", username);
        }
    }
    variables
}

/// Tells the addresses of a client's place, in place of those that were told before. `anew` if it has another
/// place than it had at first.
pub(super) fn set_addresses(
    variables: &mut Vec<(String, String)>,
    place: &Place,
    network: &NetworkSettings,
    anew: bool,
) {
    variables.retain(|(name, _)| !name.starts_with("ifconfig_pool_"));
    let mut pool = Vec::new();
    let mut set = |name: &str, value: String| pool.push((name.to_owned(), value));
    let usual = network.v6.map(|v6| (v6.network.prefix_len(), v6.server));
    if let Some((address, length, server)) = place.v6(usual) {
        set("ifconfig_pool_ip6_netbits", length.to_string());
        set("ifconfig_pool_local_ip6", server.to_string());
        set("ifconfig_pool_remote_ip6", address.to_string());
    }
    let layout = network.v4.map(|v4| v4.layout);
    if let Some((address, second)) = place.v4(layout) {
        let name = match layout {
            Some(V4Layout::Subnet { .. }) | None => "ifconfig_pool_netmask",
            Some(V4Layout::Net30 { .. } | V4Layout::PointToPoint { .. }) => {
                "ifconfig_pool_local_ip"
            }
        };
        set(name, second.to_string());
        set("ifconfig_pool_remote_ip", address.to_string());
    }
    // Wire: behind the time, unless it has been set since.
    let behind = variables
        .iter()
        .take_while(|(name, _)| name.starts_with("time_"));
    let behind = if anew { 0 } else { behind.count() };
    variables.splice(behind..behind, pool);
}

/// Tells what a client that has gone has come to.
pub(super) fn set_departure(variables: &mut Vec<(String, String)>, departure: &Departure) {
    let told = [
        ("time_duration", departure.lasted.as_secs()),
        ("bytes_sent", departure.sent),
        ("bytes_received", departure.received),
    ];
    let told = told.map(|(name, value)| (name.to_owned(), value.to_string()));
    // Wire: where it was is set again.
    let is_trusted = |(name, _): &mut (String, String)| name.starts_with("trusted_");
    let trusted: Vec<_> = variables.extract_if(.., is_trusted).collect();
    variables.splice(0..0, told.into_iter().chain(trusted));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::tls::CertificateFacts;
    use crate::node::event::ClientTag;
    use crate::wire::PeerInfo;

    #[test]
    fn a_login_is_told_as_stock_tells_it() {
        let certificate = CertificateFacts {
            subject: "O=here, CN=anna".to_owned(),
            fields: vec![
                ("O".to_owned(), "here".to_owned()),
                ("CN".to_owned(), "anna".to_owned()),
            ],
            serial: "2".to_owned(),
            serial_hex: "02".to_owned(),
            sha1: "aa:bb".to_owned(),
            sha256: "cc:dd".to_owned(),
        };
        let login = Login {
            client: ClientTag::named("[::ffff:10.77.0.2]:36222".parse().unwrap(), "anna".into()),
            peer_info: PeerInfo::parse("IV_VER=2.6.14\nIV_PLAT=linux\nLD_PRELOAD=x\n"),
            certificates: Arc::new([certificate]),
            ..Login::of_test(0)
        };
        let server = ServerFacts {
            variables: vec![("dev".to_owned(), "tun0".to_owned())],
            tracked: Vec::new(),
        };
        let told: Vec<_> = of(&login, Vec::new(), &server)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            told,
            [
                "untrusted_port=36222",
                "untrusted_ip=10.77.0.2",
                "common_name=anna",
                "IV_PLAT=linux",
                "IV_VER=2.6.14",
                "tls_serial_hex_0=02",
                "tls_serial_0=2",
                "tls_digest_sha256_0=cc:dd",
                "tls_digest_0=aa:bb",
                "tls_id_0=O=here, CN=anna",
                "X509_0_CN=anna",
                "X509_0_O=here",
                "dev=tun0",
            ]
        );
        // The fields that are tracked stand in the place of all.
        let tracked = ["SHA1", "CN"].map(|name| TrackedField::new(name).unwrap());
        let server = ServerFacts {
            tracked: tracked.into(),
            ..server
        };
        let told = of(&login, Vec::new(), &server).into_iter();
        let told = told.filter(|(name, _)| name.starts_with("X509_"));
        let value = |text: &str| text.to_owned();
        let expected = [("X509_0_SHA1", "AA:BB"), ("X509_0_CN", "anna")];
        let expected = expected.map(|(name, text)| (value(name), value(text)));
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
