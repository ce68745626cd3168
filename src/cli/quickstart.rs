//! `ringway quickstart`: from nothing to a server that a first client can use, and again.
//!
//! It makes a directory with a private authority, a server's and a client's certificate, and the
//! configurations of both. What is there is kept as it is, what is missing is made.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use jiff::civil::Date;

use super::client::{ClientName, NameError, issue_client, record};
use super::directory::{
    CA_CERTIFICATE, CLIENT_TEMPLATE, DEFAULT_DIRECTORY, Directory, FIRST_CLIENT, Readers,
    SERVER_CERTIFICATE, SERVER_CONFIGURATION, SERVER_KEY, TLS_CRYPT_KEY,
};
use super::pki::{Authority, PkiError, Purpose, day, own_key};
use crate::crypto::StaticKey;
use crate::random::{Random, SystemRandom};
use crate::reactor::{Report, probe};
use crate::time::Now;

/// What quickstart is asked for.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct QuickstartOptions {
    /// Where everything is made, or was made.
    #[arg(long, value_name = "D", default_value = DEFAULT_DIRECTORY)]
    pub directory: PathBuf,
    /// The UDP port.
    #[arg(long, default_value_t = 1194, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// The network inside the tunnel.
    #[arg(long, value_name = "NETWORK", default_value = "10.8.0.0/24")]
    pub pool: Ipv4Net,
    /// The name or address by which clients reach this machine; guessed if it is not given.
    #[arg(long, value_name = "A")]
    pub public_address: Option<String>,
}

/// Does all of quickstart but the serving: the result are the words after `ringway` that serve.
///
/// # Errors
/// The machine can't serve, or [`prepare`] fails.
pub fn run(options: &QuickstartOptions) -> Result<Vec<String>, QuickstartError> {
    check_machine(&probe())?;
    let directory = prepare(
        options,
        day(Now::read().unix),
        &mut SystemRandom,
        &mut io::stdout(),
    )?;
    let place = directory.path().to_string_lossy().into_owned();
    let words = ["--cd", &place, "--config", SERVER_CONFIGURATION];
    Ok(words.map(str::to_owned).to_vec())
}

/// Why quickstart stops.
#[derive(Debug, thiserror::Error)]
pub enum QuickstartError {
    /// This machine or this user can't serve. Nothing was made.
    #[error("this machine can't serve yet, and nothing was made:{}", list(.0))]
    Machine(Vec<String>),
    /// The pool is too small or no network.
    #[error("--pool {pool}: {problem}")]
    Pool {
        /// As it was given.
        pool: Ipv4Net,
        /// What is wrong.
        problem: &'static str,
    },
    /// The address would break the client's configuration.
    #[error("--public-address {0:?}: write a host name or an IP address")]
    PublicAddress(String),
    /// Keys or files failed.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The name of the first client.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The account of it could not be printed.
    #[error("printing failed: {0}")]
    Output(#[from] io::Error),
}

/// Checks that this process may make a tun device and that the machine has all that a server needs.
///
/// # Errors
/// What is missing, each with its name.
pub fn check_machine(report: &Report) -> Result<(), QuickstartError> {
    let missing: Vec<_> = report
        .missing()
        .map(|feature| {
            let reason = feature
                .reason
                .as_ref()
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default();
            let hint = hint(feature.name);
            format!(
                "{} is missing, for {}{reason}{hint}",
                feature.name, feature.purpose
            )
        })
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(QuickstartError::Machine(missing))
    }
}

/// Makes what is missing and tells on `out` what there is now and what to type. The directory is
/// then served as `--cd DIRECTORY --config server.conf`.
///
/// # Errors
/// The options can't be served, or files failed.
pub fn prepare(
    options: &QuickstartOptions,
    today: Date,
    random: &mut dyn Random,
    out: &mut dyn Write,
) -> Result<Directory, QuickstartError> {
    check_pool(options.pool)?;
    let reach = match &options.public_address {
        Some(given) => Reach::Given(check_public_address(given)?),
        None => guess_public_address(),
    };
    let directory = Directory::make(&options.directory).map_err(PkiError::from)?;
    let made = make_files(&directory, options, &reach, today, random)?;
    tell(options, &directory, &reach, &made, out)?;
    Ok(directory)
}

/// How clients reach this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Given(String),
    Guessed(IpAddr),
    Unknown,
}

/// Which files were not there before.
type Made = Vec<&'static str>;

fn make_files(
    directory: &Directory,
    options: &QuickstartOptions,
    reach: &Reach,
    today: Date,
    random: &mut dyn Random,
) -> Result<Made, QuickstartError> {
    let mut made = Made::new();
    if !directory.has(CA_CERTIFICATE) {
        Authority::of(directory, today, random)?;
        made.push(CA_CERTIFICATE);
    }
    if make_server_certificate(directory, today, random)? {
        made.push(SERVER_CERTIFICATE);
    }
    if !directory.has(TLS_CRYPT_KEY) {
        let key = StaticKey::generate(random).to_text();
        write(directory, TLS_CRYPT_KEY, Readers::Owner, &key)?;
        made.push(TLS_CRYPT_KEY);
    }
    if !directory.has(SERVER_CONFIGURATION) {
        let text = server_configuration(options);
        write(directory, SERVER_CONFIGURATION, Readers::All, &text)?;
        made.push(SERVER_CONFIGURATION);
    }
    if !directory.has(CLIENT_TEMPLATE) {
        let text = client_template(reach, options.port);
        write(directory, CLIENT_TEMPLATE, Readers::All, &text)?;
        made.push(CLIENT_TEMPLATE);
    }
    let client = ClientName::new(FIRST_CLIENT_NAME)?;
    // Once handed over, the configuration may be gone from here; the name stays taken.
    if !directory.has(FIRST_CLIENT) && !directory.has(&record(&client)) {
        issue_client(directory, &client, FIRST_CLIENT, today, random)?;
        made.push(FIRST_CLIENT);
    }
    Ok(made)
}

/// True if it was missing.
fn make_server_certificate(
    directory: &Directory,
    today: Date,
    random: &mut dyn Random,
) -> Result<bool, PkiError> {
    if directory.has(SERVER_CERTIFICATE) {
        if directory.has(SERVER_KEY) {
            return Ok(false);
        }
        return Err(PkiError::KeyMissing {
            directory: directory.path().display().to_string(),
            certificate: SERVER_CERTIFICATE,
            key: SERVER_KEY,
        });
    }
    let authority = Authority::of(directory, today, random)?;
    let key = own_key(directory, SERVER_KEY)?;
    let certificate = authority.certify(&key, SERVER_NAME, Purpose::Server, today, random)?;
    directory.write(SERVER_CERTIFICATE, Readers::All, &certificate)?;
    Ok(true)
}

fn write(directory: &Directory, name: &str, readers: Readers, text: &str) -> Result<(), PkiError> {
    Ok(directory.write(name, readers, text)?)
}

fn tell(
    options: &QuickstartOptions,
    directory: &Directory,
    reach: &Reach,
    made: &Made,
    out: &mut dyn Write,
) -> io::Result<()> {
    let place = directory.path().display();
    if made.is_empty() {
        writeln!(out, "Using {place} as it is.")?;
    } else {
        writeln!(out, "Made in {place}: {}.", made.join(", "))?;
    }
    if !made.contains(&SERVER_CONFIGURATION) {
        writeln!(
            out,
            "Port and pool are those of its {SERVER_CONFIGURATION}; edit them there."
        )?;
    }
    if made.contains(&CLIENT_TEMPLATE) {
        tell_reach(reach, options.port, out)?;
    } else {
        writeln!(
            out,
            "Clients are sent to the `remote` of its {CLIENT_TEMPLATE}; edit it there."
        )?;
    }
    let first = directory.file(FIRST_CLIENT);
    if directory.has(FIRST_CLIENT) {
        writeln!(
            out,
            "\nOn the client, as root, with a copy of {} (it holds a private key: copy it with scp):\n\
             \n    openvpn --config {FIRST_CLIENT}\n",
            first.display()
        )?;
    }
    writeln!(
        out,
        "Another client:      ringway client add NAME --directory {place}\n\
         This server, later:  ringway --cd {place} --config {SERVER_CONFIGURATION}\n"
    )?;
    out.flush()
}

fn tell_reach(reach: &Reach, port: u16, out: &mut dyn Write) -> io::Result<()> {
    match reach {
        Reach::Given(address) => writeln!(out, "Clients are sent to {address}, UDP port {port}."),
        Reach::Guessed(address) => {
            writeln!(
                out,
                "Clients are sent to {address}, UDP port {port} (a guess)."
            )?;
            if !is_global(*address) {
                writeln!(
                    out,
                    "That is a private address. For clients elsewhere, forward the port on the router \
                     and write\nthe router's address into `remote` of {CLIENT_TEMPLATE} and {FIRST_CLIENT}, \
                     or begin anew with --public-address."
                )?;
            }
            Ok(())
        }
        Reach::Unknown => writeln!(
            out,
            "No default route tells this machine's address: write it in place of {UNKNOWN_ADDRESS} into \
             `remote`\nof {CLIENT_TEMPLATE} and {FIRST_CLIENT}, or begin anew with --public-address."
        ),
    }
}

fn check_pool(pool: Ipv4Net) -> Result<(), QuickstartError> {
    let problem = if pool.trunc() != pool {
        "the address has bits behind the prefix; write the network's first address"
    } else if pool.prefix_len() > 29 {
        "a network of at most 29 bits is needed: the server has an address of it too"
    } else if pool.prefix_len() < 16 {
        "a network of at least 16 bits is needed: more addresses are not given out"
    } else {
        return Ok(());
    };
    Err(QuickstartError::Pool { pool, problem })
}

/// A host name or address without anything that means something in a configuration.
fn check_public_address(given: &str) -> Result<String, QuickstartError> {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | ':' | '_' | '%')
    };
    let is_good = !given.is_empty()
        && given.len() <= 253
        && !given.starts_with('-')
        && given.chars().all(plain)
        && (!given.contains(':') || given.parse::<IpAddr>().is_ok());
    if is_good {
        Ok(given.to_owned())
    } else {
        Err(QuickstartError::PublicAddress(given.to_owned()))
    }
}

/// The source address that the default route would use. Connecting a UDP socket asks the kernel
/// for it and sends nothing; the destinations are of the networks reserved for documentation.
fn guess_public_address() -> Reach {
    let ask = |bind: &str, towards: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(towards).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    };
    let v4 = ask("0.0.0.0:0", "192.0.2.1:9");
    let v6 = ask("[::]:0", "[2001:db8::1]:9");
    let global = [v4, v6]
        .into_iter()
        .flatten()
        .find(|address| is_global(*address));
    global.or(v4).or(v6).map_or(Reach::Unknown, Reach::Guessed)
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_link_local() || v4.is_loopback() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback()),
    }
}

fn server_configuration(options: &QuickstartOptions) -> String {
    let QuickstartOptions { port, pool, .. } = options;
    let (network, mask) = (pool.network(), pool.netmask());
    let server = Ipv4Addr::from(u32::from(network).wrapping_add(1));
    format!(
        "# A server for ringway, and for any OpenVPN 2.6. Made by `ringway quickstart`; yours to edit.
# File names are relative to the directory that the server runs in.

# Where clients connect, and the tun device: `tun` takes the next free one.
port {port}
proto udp
dev tun

# Addresses inside the tunnel. This server is {server}, clients get the others in turn.
topology subnet
server {network} {mask}

# Who we are, and who signs our clients.
ca {CA_CERTIFICATE}
cert {SERVER_CERTIFICATE}
key {SERVER_KEY}
dh none
# Only certificates made for clients.
remote-cert-tls client
# Hides and protects the handshake; every client has this key too.
tls-crypt {TLS_CRYPT_KEY}

# Ciphers for the data, best first.
data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305

# Clients ping every 10 seconds; silence of a minute means gone.
keepalive 10 60
# Clients are told when the server stops, and connect again.
explicit-exit-notify 1
persist-key
persist-tun

# To let clients reach a network behind this machine, tell them the way, and let the machine forward
# (sysctl net.ipv4.ip_forward=1; the network needs a way back, or masquerading).
;push \"route 192.168.0.0 255.255.255.0\"

# How much is logged, 0 to 11.
verb 3

# What only ringway knows; OpenVPN passes over these lines. One shard on each core that the process may
# use, or on fewer.
;setenv opt ringway-shards 4
;setenv opt ringway-cores 0-3
# Where `ringway check --runtime` asks the running server what it has counted.
;setenv opt ringway-control ringway.sock
"
    )
}

fn client_template(reach: &Reach, port: u16) -> String {
    let address = match reach {
        Reach::Given(address) => address.clone(),
        Reach::Guessed(address) => address.to_string(),
        Reach::Unknown => UNKNOWN_ADDRESS.to_owned(),
    };
    format!(
        "# Every client's configuration begins with these lines. `ringway client add` puts a certificate
# and its key behind them.
client
dev tun
proto udp
remote {address} {port}
resolv-retry infinite
nobind
persist-key
persist-tun
# The other side must be a server, and this one.
remote-cert-tls server
verify-x509-name {SERVER_NAME} name
verb 3
"
    )
}

fn hint(feature: &str) -> &'static str {
    match feature {
        "CAP_NET_ADMIN" => {
            ": run as root, or give it (systemd: AmbientCapabilities=CAP_NET_ADMIN; docker: --cap-add NET_ADMIN)"
        }
        "/dev/net/tun" => {
            ": load the module (modprobe tun), or give the container --device /dev/net/tun"
        }
        _ => "",
    }
}

fn list(sentences: &[String]) -> String {
    sentences
        .iter()
        .map(|sentence| format!("\n  {sentence}"))
        .collect()
}

/// The common name of the server's certificate, which clients check.
const SERVER_NAME: &str = "server";

const FIRST_CLIENT_NAME: &str = "client1";

/// What stands in a client's configuration when this machine's address is not known.
const UNKNOWN_ADDRESS: &str = "SERVER-ADDRESS";

#[cfg(test)]
mod tests;
