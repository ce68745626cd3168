//! Clients as who is connected knows them: logins that wait for a word, and those who came in by one.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::limits::AUTH_REASON_MAX;
use crate::node::auth::{AskedLogin, ClientNews, Login, LoginAt, LoginKind};
use crate::node::event::Printable;
use crate::session::ChallengeResponse;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// By their CID and KID, with how many had come before.
    waiting: HashMap<(u64, u64), (u64, AskedLogin)>,
    numbers: HashMap<LoginAt, (u64, u64)>,
    /// Logins that nobody has been told of yet, in the order in which they came.
    untold: BTreeMap<u64, (u64, u64)>,
    /// How many have come.
    asked: u64,
    clients: HashMap<u64, Known>,
    /// How many of them are in.
    established: usize,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether its first login was told.
    asked: bool,
    established: bool,
}

/// What is told of a client in one piece, or of the device. Wire: wire.md section 17.2.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientBlock {
    /// The first line.
    pub(super) head: String,
    /// How many clients are in, if that is told.
    pub(super) clients: Option<usize>,
    /// What the client says of itself, for those who filter variables.
    pub(super) peer_info: Vec<(String, String)>,
    pub(super) password: Option<Zeroizing<String>>,
    /// Variables; without them the first line is all.
    pub(super) environment: Option<Vec<(String, String)>>,
}

impl fmt::Debug for ClientBlock {
    /// Without the password, and without what has been said of the client: it may be a login's.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientBlock")
            .field("head", &self.head)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}

impl ClientBlock {
    fn line(head: String) -> Self {
        Self {
            head,
            clients: None,
            peer_info: Vec::new(),
            password: None,
            environment: None,
        }
    }

    /// Its lines, for who wants to know so little (`env-filter`).
    pub(super) fn lines(&self, filter: i64, mut say: impl FnMut(&str)) {
        say(&self.head);
        let Some(environment) = &self.environment else {
            return;
        };
        let kind = self.head.split(':').next().unwrap_or_default();
        let filter = if kind == ">CLIENT" { filter } else { 0 };
        let mut variable = |name: &str, value: &str| {
            let line = format!("{kind}:ENV,{name}={}", Printable(value));
            say(&Zeroizing::new(line));
        };
        if let Some(clients) = self.clients.filter(|_| passes("n_clients", filter)) {
            variable("n_clients", &clients.to_string());
        }
        if filter > 0 {
            let said = self.peer_info.iter();
            said.for_each(|(name, value)| variable(name, value));
        }
        if let Some(password) = self
            .password
            .as_ref()
            .filter(|_| passes("password", filter))
        {
            variable("password", password);
        }
        let told = environment.iter().filter(|(name, _)| passes(name, filter));
        told.for_each(|(name, value)| variable(name, value));
        say(&format!("{kind}:ENV,END"));
    }
}

/// Whether a variable is told at that level of `env-filter`. Wire: 2.6's lists.
fn passes(name: &str, filter: i64) -> bool {
    match filter {
        0 => true,
        ..=1 if name.starts_with("X509_") => true,
        ..=2 => FILTERED.contains(&name) || name.starts_with("tls_serial_"),
        _ => false,
    }
}

impl Logins {
    /// Takes news of clients: what is to be told at once. Of logins see [`Logins::next_untold`].
    pub(super) fn take(&mut self, news: ClientNews) -> Option<ClientBlock> {
        match news {
            ClientNews::Asked(asked) => {
                let numbers = asked.login().numbers();
                self.asked += 1;
                self.numbers.insert(asked.login().at, numbers);
                self.untold.insert(self.asked, numbers);
                self.waiting.insert(numbers, (self.asked, asked));
                None
            }
            ClientNews::Forgotten(at) => {
                let asked = self.numbers.get(&at).copied();
                if let Some(asked) = asked.and_then(|numbers| self.remove(numbers)) {
                    self.not_in(asked.login().client_id);
                }
                None
            }
            ClientNews::Responded(login, ChallengeResponse(response)) => {
                let response = Printable(&response);
                Some(self.of_login("CR_RESPONSE", &login, format_args!(",{response}")))
            }
            ClientNews::Addressed {
                client_id,
                network,
                primary,
            } => {
                let known = self.clients.get(&client_id);
                let shown = shown(network);
                known.is_some_and(|it| it.asked).then(|| {
                    let primary = u8::from(primary);
                    ClientBlock::line(format!(">CLIENT:ADDRESS,{client_id},{shown},{primary}"))
                })
            }
            ClientNews::Established {
                client_id,
                environment,
            } => {
                self.clients.entry(client_id).or_default().established = true;
                self.established += 1;
                Some(ClientBlock {
                    clients: Some(self.established),
                    environment: Some(environment),
                    ..ClientBlock::line(format!(">CLIENT:ESTABLISHED,{client_id}"))
                })
            }
            ClientNews::Gone {
                client_id,
                environment,
            } => {
                let known = self.clients.remove(&client_id)?;
                self.established -= usize::from(known.established);
                let environment = environment.filter(|_| known.asked)?;
                Some(ClientBlock {
                    environment: Some(environment),
                    ..ClientBlock::line(format!(">CLIENT:DISCONNECT,{client_id}"))
                })
            }
            ClientNews::Device { up, environment } => {
                let head = match up {
                    true => ">UPDOWN:UP",
                    false => ">UPDOWN:DOWN",
                };
                Some(ClientBlock {
                    environment: Some(environment),
                    ..ClientBlock::line(head.to_owned())
                })
            }
        }
    }

    /// The next login that nobody has been told of.
    pub(super) fn next_untold(&mut self) -> Option<ClientBlock> {
        let (_, numbers) = self.untold.pop_first()?;
        let (_, asked) = self.waiting.get(&numbers)?;
        let login = asked.login();
        let what = match login.kind {
            LoginKind::Connect => {
                self.clients.entry(login.client_id).or_default().asked = true;
                "CONNECT"
            }
            LoginKind::Reauth => "REAUTH",
        };
        let password = login.credentials.as_ref().map(|_| login.password());
        Some(ClientBlock {
            password,
            ..self.of_login(what, login, format_args!(""))
        })
    }

    /// What is told of a login, without its password.
    fn of_login(&self, what: &str, login: &Login, rest: fmt::Arguments<'_>) -> ClientBlock {
        let (client_id, number) = login.numbers();
        let said = login.peer_info.iter();
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        ClientBlock {
            clients: Some(self.established),
            peer_info: said.map(own).collect(),
            environment: Some(login.told()),
            ..ClientBlock::line(format!(">CLIENT:{what},{client_id},{number}{rest}"))
        }
    }

    /// Lets a client in that waits, with lines of its own; whether there is one.
    pub(super) fn accept(&mut self, numbers: (u64, u64), lines: String) -> bool {
        let asked = self.remove(numbers);
        asked.map(|asked| asked.accept(lines)).is_some()
    }

    /// Refuses one that waits; whether there is one.
    pub(super) fn refuse(&mut self, numbers: (u64, u64), why: &str, reason: String) -> bool {
        let Some(asked) = self.remove(numbers) else {
            return false;
        };
        self.not_in(numbers.0);
        asked.refuse(why, reason);
        true
    }

    /// Has one that waits told so; whether there is one, and the message has room for that.
    pub(super) fn delay(&mut self, numbers: (u64, u64), timeout: Duration, extra: &str) -> bool {
        match self.waiting.get(&numbers) {
            Some((_, asked)) if extra.len() <= AUTH_REASON_MAX => {
                asked.delay(timeout, extra.to_owned());
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, numbers: (u64, u64)) -> Option<AskedLogin> {
        let (number, asked) = self.waiting.remove(&numbers)?;
        self.numbers.remove(&asked.login().at);
        self.untold.remove(&number);
        Some(asked)
    }

    /// A client does not come in; one that is in stays.
    fn not_in(&mut self, client_id: u64) {
        let known = self.clients.get(&client_id);
        if known.is_some_and(|it| !it.established) {
            self.clients.remove(&client_id);
        }
    }
}

/// As stock writes what leads to a client.
fn shown(network: IpNet) -> String {
    match network {
        IpNet::V4(v4) if v4.prefix_len() == 32 => v4.addr().to_string(),
        IpNet::V4(v4) => format!("{}/{}", v4.network(), v4.netmask()),
        IpNet::V6(v6) if v6.prefix_len() == 128 => v6.addr().to_string(),
        IpNet::V6(v6) => v6.to_string(),
    }
}

/// What is told at levels 1 and 2 of `env-filter`, beside serial numbers.
const FILTERED: &[&str] = &[
    "username",
    "password",
    "X509_0_CN",
    "untrusted_ip",
    "ifconfig_local",
    "ifconfig_netmask",
    "daemon_start_time",
    "daemon_pid",
    "dev",
    "ifconfig_pool_remote_ip",
    "ifconfig_pool_netmask",
    "time_duration",
    "bytes_sent",
    "bytes_received",
    "session_id",
    "session_state",
];

#[cfg(test)]
mod tests;
