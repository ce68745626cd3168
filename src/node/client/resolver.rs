//! Names to addresses, on a thread of its own: a resolver may take a minute.
//!
//! One question at a time: the next one waits until the last is answered, and of several that wait
//! the newest counts. So no more than one thread ever hangs in a resolver.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use crossbeam::channel::{self, Sender, TrySendError};

use crate::node::message::Report;
use crate::node::settings::{AddressFamily, RemoteSettings};

/// The thread that resolves names.
pub(super) struct Resolver {
    questions: Sender<Question>,
}

/// What is asked.
#[derive(Debug)]
struct Question {
    number: u64,
    remote: RemoteSettings,
}

/// What a resolver has found.
#[derive(Debug)]
pub struct Resolved {
    /// Which question.
    pub number: u64,
    /// The addresses in the order in which they are to be tried; or why there are none, in a few
    /// words.
    pub addresses: Result<Vec<SocketAddr>, String>,
}

impl Resolver {
    /// Starts the thread. It ends by itself when nobody can ask any more.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(reports: Sender<Report>) -> io::Result<Self> {
        let (questions, asked) = channel::bounded::<Question>(1);
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                for Question { number, remote } in asked {
                    let addresses = look_up(&remote);
                    let resolved = Resolved { number, addresses };
                    if reports.send(Report::Resolved(resolved)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { questions })
    }

    /// Asks for a remote's addresses. False if a question still waits.
    pub(super) fn ask(&self, number: u64, remote: RemoteSettings) -> bool {
        let question = Question { number, remote };
        match self.questions.try_send(question) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// The address that a remote is written as, if it is one: nobody has to be asked.
pub(super) fn written(remote: &RemoteSettings) -> Option<Vec<SocketAddr>> {
    let address: IpAddr = remote.host.parse().ok()?;
    let of_family = remote.family.contains(address);
    let address = SocketAddr::new(address, remote.port);
    Some(of_family.then_some(address).into_iter().collect())
}

fn look_up(remote: &RemoteSettings) -> Result<Vec<SocketAddr>, String> {
    let found = (remote.host.as_str(), remote.port).to_socket_addrs();
    let found = found.map_err(|error| error.to_string())?;
    let addresses = of_family(remote.family, found);
    match addresses.is_empty() {
        true => Err("it has no address of the family that is asked for".to_owned()),
        false => Ok(addresses),
    }
}

/// Each address once.
fn of_family(family: AddressFamily, found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.filter(|address| family.contains(address.ip())) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::settings::{ListenerTransport, RetryPause};

    fn remote(host: &str, family: AddressFamily) -> RemoteSettings {
        RemoteSettings {
            transport: ListenerTransport::Udp,
            host: host.to_owned(),
            port: 1194,
            family,
            local: None,
            local_port: 0,
            timeout: Duration::from_secs(1),
            pause: RetryPause::default(),
        }
    }

    #[test]
    fn what_is_an_address_is_not_looked_up() {
        for (host, family, expected) in [
            (
                "192.0.2.1",
                AddressFamily::Any,
                Some(vec!["192.0.2.1:1194"]),
            ),
            ("192.0.2.1", AddressFamily::V6, Some(vec![])),
            (
                "2001:db8::1",
                AddressFamily::V6,
                Some(vec!["[2001:db8::1]:1194"]),
            ),
            ("vpn.example", AddressFamily::Any, None),
        ] {
            let expected = expected.map(|list| {
                let addresses = list.into_iter().map(|it| it.parse().unwrap());
                addresses.collect::<Vec<SocketAddr>>()
            });
            assert_eq!(written(&remote(host, family)), expected, "{host}");
        }
    }

    #[test]
    fn a_family_has_its_addresses_once_and_in_order() {
        let found = ["[::1]:1", "127.0.0.1:1", "[::1]:1", "127.0.0.2:1"];
        let found = || found.map(|it| it.parse().unwrap()).into_iter();
        let v4: Vec<_> = of_family(AddressFamily::V4, found());
        assert_eq!(
            v4,
            ["127.0.0.1:1", "127.0.0.2:1"].map(|it| it.parse().unwrap())
        );
        assert_eq!(of_family(AddressFamily::Any, found()).len(), 3);
    }

    #[test]
    fn an_answer_comes_as_a_report() {
        let (reports, taken) = channel::bounded(4);
        let resolver = Resolver::start(reports).unwrap();
        assert!(resolver.ask(7, remote("localhost", AddressFamily::Any)));
        let patience = Duration::from_secs(60);
        let Ok(Report::Resolved(resolved)) = taken.recv_timeout(patience) else {
            panic!("no answer");
        };
        assert_eq!(resolved.number, 7);
        let addresses = resolved.addresses.unwrap();
        assert!(
            addresses.iter().all(|it| it.ip().is_loopback()),
            "{addresses:?}"
        );
    }
}
