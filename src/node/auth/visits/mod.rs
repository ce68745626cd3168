//! Clients whose login is accepted: what is done when one comes, when addresses lead to it, and when it goes
//! (`client-connect`, `learn-address`, `client-disconnect`, and the hooks of plug-ins of these names).
//!
//! ```text
//!  accepted          arrived                      placed                 departed
//!  known ----> client-connect ----> answered ----> learn-address ----> in ----> client-disconnect ----> forgotten
//! ```
//!
//! Of one client one thing is done at a time, and of all so many at once: who goes when everybody goes waits
//! for a turn, and no script is left out. A client that goes in the middle goes at once; what is under way for
//! it comes to nothing.

mod errand;
mod facts;
mod files;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crossbeam::channel::{self, Receiver, Sender};
use ipnet::IpNet;

pub(in crate::node) use self::errand::Hooks;
use self::errand::{Connect, Done, Ended, Errand};
pub use self::facts::{Arrival, Connected, Departure, Learned};
use self::files::{ConnectFiles, LaterAnswer, TooLong};
use super::environment;
use super::login::Login;
use super::manager::ClientNews;
use super::rota::Rota;
use crate::limits::{CLIENT_LINES_MAX, ERRANDS_AT_ONCE};
use crate::node::event::{ClientEvent, ClientTag, NodeEvent};
use crate::node::message::Report;
use crate::node::registry::Place;
use crate::node::settings::ProfileLines;

/// All clients that are in, or on their way in with an accepted login.
pub(super) struct Visits {
    hooks: Hooks,
    /// Who else hears of clients: the management interface.
    news: Option<Sender<ClientNews>>,
    clients: HashMap<u64, Visit>,
    /// To whom an address or a network leads, as hooks have been told.
    learned: HashMap<IpNet, u64>,
    /// Clients with something to be done.
    ready: VecDeque<u64>,
    under_way: usize,
    /// Calls that have ended, on other threads, with whose they were.
    tell: Sender<(u64, Ended)>,
    told: Receiver<(u64, Ended)>,
    /// Has [`Visits::handle_timeout`] called.
    wake: Arc<dyn Fn() + Send + Sync>,
    said: VecDeque<Said>,
    /// Clients whose answer comes later.
    deferred: Rota<u64>,
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum Said {
    /// For the node.
    Report(Report),
    /// A client has gone, and nothing more is done for it.
    Departed(u64),
}

struct Visit {
    login: Arc<Login>,
    /// Lines that came with the verdict on it.
    given: Vec<ProfileLines>,
    /// What is known of it, by the names and in the order of stock.
    environment: Vec<(String, String)>,
    stage: Stage,
    errands: VecDeque<Errand>,
    /// One of them is under way, or waits for its turn.
    busy: bool,
}

/// How far a client is.
enum Stage {
    /// Its login is accepted.
    Accepted,
    /// What it is to have besides is being asked.
    Connecting(Box<Connecting>),
    /// That is known.
    Answered {
        arrival: Arrival,
        lines: Option<Arc<[ProfileLines]>>,
    },
    /// Where its addresses lead is being told.
    Learning {
        client: ClientTag,
        learned: Learned,
        /// Where from, and whether that is its own address.
        leads: Vec<(IpNet, bool)>,
    },
    In,
    /// It is gone.
    Departed,
}

struct Connecting {
    arrival: Arrival,
    lines: Vec<ProfileLines>,
    /// Those of who is being asked.
    files: Option<ConnectFiles>,
    /// Whose answer comes later.
    deferred: Option<Connect>,
}

impl Visits {
    pub(super) fn new(
        hooks: Hooks,
        news: Option<Sender<ClientNews>>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let (tell, told) = channel::unbounded();
        Self {
            hooks,
            news,
            clients: HashMap::new(),
            learned: HashMap::new(),
            ready: VecDeque::new(),
            under_way: 0,
            tell,
            told,
            wake,
            said: VecDeque::new(),
            deferred: Rota::new(),
        }
    }

    /// The login of a client is accepted, and it is to have what these lines say.
    pub(super) fn accepted(&mut self, login: Arc<Login>, given: Vec<ProfileLines>) {
        let client_id = login.client_id;
        let visit = Visit {
            environment: login.environment.clone(),
            login,
            given,
            stage: Stage::Accepted,
            errands: VecDeque::new(),
            busy: false,
        };
        self.clients.insert(client_id, visit);
    }

    /// What is known of a client beside what it says at a login.
    pub(super) fn known_of(&self, client_id: u64) -> Vec<(String, String)> {
        let visit = self.clients.get(&client_id);
        visit.map_or_else(Vec::new, |it| environment::of_place(&it.environment))
    }

    /// Another login of a client that is in is accepted.
    pub(super) fn renewed(&mut self, login: &Login) {
        if let Some(visit) = self.clients.get_mut(&login.client_id) {
            visit.environment = environment::with_username(login);
        }
    }

    /// A client has a place, and wants to come in. If that is said again the answer is too; one that is gone
    /// gets none.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        let client_id = arrival.client_id;
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        match &visit.stage {
            Stage::Accepted => {}
            Stage::Answered { arrival, lines } => {
                let (arrival, lines) = (arrival.clone(), lines.clone());
                let connected = Box::new(Connected { arrival, lines });
                return self.report(Report::Connected(connected));
            }
            _ => return,
        }
        visit.environment = environment::of_visit(&visit.login, &arrival);
        let Arrival { place, .. } = &arrival;
        environment::set_addresses(&mut visit.environment, place, &self.hooks.network, false);
        visit
            .errands
            .extend(self.hooks.on_connect(arrival.client.address));
        visit.stage = Stage::Connecting(Box::new(Connecting {
            arrival,
            lines: Vec::new(),
            files: None,
            deferred: None,
        }));
        self.go_on(client_id);
    }

    /// A client has the place that it keeps: what leads to it is learnt.
    pub(super) fn placed(&mut self, client_id: u64, place: &Place) {
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        let Stage::Answered { arrival, lines } = &visit.stage else {
            return;
        };
        let Arrival { of, client, .. } = arrival.clone();
        let anew = lines.as_ref().is_some_and(|lines| !lines.is_empty());
        environment::set_addresses(&mut visit.environment, place, &self.hooks.network, anew);
        for (network, _) in led_to(place) {
            let update = self.learned.insert(network, client_id).is_some();
            visit.errands.extend(self.hooks.on_learn(network, update));
        }
        let learned = Learned {
            of,
            client_id,
            refused: Vec::new(),
        };
        visit.stage = Stage::Learning {
            client,
            learned,
            leads: led_to(place).collect(),
        };
        self.go_on(client_id);
    }

    /// A client is gone.
    pub(super) fn departed(&mut self, departure: &Departure) {
        let client_id = departure.client_id;
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        visit.errands.clear();
        let was = std::mem::replace(&mut visit.stage, Stage::Departed);
        // Wire: as in 2.6 whoever has come as far as `client-connect` goes by `client-disconnect`.
        if !matches!(was, Stage::Accepted | Stage::Departed) {
            environment::set_departure(&mut visit.environment, departure);
            visit.errands.extend(self.hooks.on_disconnect());
        }
        if let Some(news) = &self.news {
            // Wire: and by its word who has come in.
            let was_in = matches!(was, Stage::In);
            let gone = ClientNews::Gone {
                client_id,
                environment: was_in.then(|| visit.environment.clone()),
            };
            let _nobody_listens = news.send(gone);
        }
        let learned = self.learned.iter();
        let own = learned.filter(|(_, owner)| **owner == client_id);
        let mut own: Vec<IpNet> = own.map(|(network, _)| *network).collect();
        own.sort_unstable();
        for network in own {
            self.learned.remove(&network);
            visit.errands.extend(self.hooks.on_unlearn(network));
        }
        self.go_on(client_id);
    }

    /// Whether nothing is being done and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.ready.is_empty()
    }

    /// The next thing that has come of it.
    pub(super) fn poll(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.deferred.next_timeout()
    }

    /// Hears what has ended, and looks for deferred answers when it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Ok((client_id, ended)) = self.told.try_recv() {
            self.under_way -= 1;
            self.ended(client_id, ended, now);
        }
        self.look(now);
        self.start();
    }

    /// Starts what there is room for.
    fn start(&mut self) {
        while self.under_way < ERRANDS_AT_ONCE
            && let Some(client_id) = self.ready.pop_front()
        {
            let Some(visit) = self.clients.get_mut(&client_id) else {
                continue;
            };
            let Some(errand) = visit.errands.pop_front() else {
                visit.busy = false;
                self.go_on(client_id);
                continue;
            };
            self.under_way += 1;
            let (tell, wake) = (self.tell.clone(), Arc::clone(&self.wake));
            let told = move |ended| {
                // The thread of logins ends with the node.
                let _nobody_listens = tell.send((client_id, ended));
                wake();
            };
            let files = match (&errand, &mut visit.stage) {
                (Errand::Connect(who), Stage::Connecting(connecting)) if who.answers_in_files() => {
                    match connecting.files_in(&self.hooks.directory) {
                        Ok(files) => Some(files),
                        Err(error) => {
                            let directory = self.hooks.directory.display();
                            let why = format!("could not create a file in {directory}: {error}");
                            let outcome = Done::No(why);
                            told(Ended { errand, outcome });
                            continue;
                        }
                    }
                }
                _ => None,
            };
            self.hooks
                .start(errand, client_id, &visit.environment, files, told);
        }
    }

    /// Has a client's next errand done, or ends its stage if there is none.
    fn go_on(&mut self, client_id: u64) {
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        if visit.busy {
            return;
        }
        if !visit.errands.is_empty() {
            visit.busy = true;
            self.ready.push_back(client_id);
            return self.start();
        }
        match std::mem::replace(&mut visit.stage, Stage::In) {
            Stage::Connecting(connecting) if connecting.deferred.is_none() => {
                let Connecting {
                    arrival, mut lines, ..
                } = *connecting;
                lines.extend(visit.given.iter().cloned());
                self.answer(arrival, Some(lines.into()));
            }
            Stage::Learning { learned, leads, .. } => {
                if let Some(news) = &self.news {
                    let leads = leads.iter();
                    let leads = leads.filter(|(network, _)| !learned.refused.contains(network));
                    for &(network, primary) in leads {
                        let _nobody_listens = news.send(ClientNews::Addressed {
                            client_id,
                            network,
                            primary,
                        });
                    }
                    let environment = visit.environment.clone();
                    let _nobody_listens = news.send(ClientNews::Established {
                        client_id,
                        environment,
                    });
                }
                self.report(Report::Learned(learned));
            }
            Stage::Departed => {
                self.clients.remove(&client_id);
                self.hooks.forget(client_id);
                self.said.push_back(Said::Departed(client_id));
            }
            stage => visit.stage = stage,
        }
    }

    /// Says whether a client may come in.
    fn answer(&mut self, arrival: Arrival, lines: Option<Arc<[ProfileLines]>>) {
        if let Some(visit) = self.clients.get_mut(&arrival.client_id) {
            visit.stage = Stage::Answered {
                arrival: arrival.clone(),
                lines: lines.clone(),
            };
        }
        self.report(Report::Connected(Box::new(Connected { arrival, lines })));
    }

    fn ended(&mut self, client_id: u64, Ended { errand, outcome }: Ended, now: Instant) {
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        visit.busy = false;
        match (errand, outcome) {
            (Errand::Connect(who), outcome) => self.connect_ended(client_id, who, outcome, now),
            (Errand::Learn { network, .. }, Done::No(why)) => {
                if let Stage::Learning {
                    client, learned, ..
                } = &mut visit.stage
                {
                    let client = client.clone();
                    learned.refused.push(network);
                    if self.learned.get(&network) == Some(&client_id) {
                        self.learned.remove(&network);
                    }
                    // Nobody else need be told of an address that is not learnt.
                    let again = |errand: &Errand| matches!(errand, Errand::Learn { network: other, .. } if *other == network);
                    visit.errands.retain(|errand| !again(errand));
                    self.complain(client, why);
                }
            }
            (
                Errand::Reached(_) | Errand::Unlearn { .. } | Errand::Disconnect(_),
                Done::No(why),
            ) => {
                let client = visit.login.client.clone();
                self.complain(client, why);
            }
            (_, Done::Yes(_) | Done::Later) => {}
        }
        self.go_on(client_id);
    }

    fn connect_ended(&mut self, client_id: u64, who: Connect, outcome: Done, now: Instant) {
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        let Stage::Connecting(connecting) = &mut visit.stage else {
            return;
        };
        let written = connecting.files.as_ref().map(ConnectFiles::answer);
        let written = written.unwrap_or(LaterAnswer::Nothing);
        let why = match (outcome, written) {
            (Done::No(why), _) => why,
            (Done::Yes(_) | Done::Later, LaterAnswer::No) => {
                format!("{who} has refused the client")
            }
            (Done::Later, _) | (Done::Yes(_), LaterAnswer::Later) => {
                connecting.deferred = self.hooks.later(who);
                if connecting.deferred.is_some() {
                    self.deferred.add(client_id, now);
                    return;
                }
                "A plugin that defers from the OPENVPN_PLUGIN_CLIENT_CONNECT_V2 call must also declare \
                 support for OPENVPN_PLUGIN_CLIENT_CONNECT_DEFER_V2"
                    .to_owned()
            }
            (Done::Yes(returned), _) => {
                connecting.deferred = None;
                match connecting.take(who, returned) {
                    Ok(()) => return,
                    Err(TooLong) => {
                        format!("{who} gave more than {CLIENT_LINES_MAX} bytes of lines")
                    }
                }
            }
        };
        self.refuse(client_id, why);
    }

    /// A client may not come in.
    fn refuse(&mut self, client_id: u64, why: String) {
        let Some(visit) = self.clients.get_mut(&client_id) else {
            return;
        };
        visit.errands.clear();
        if let Stage::Connecting(connecting) = std::mem::replace(&mut visit.stage, Stage::Accepted)
        {
            let arrival = connecting.arrival;
            self.complain(arrival.client.clone(), why);
            self.answer(arrival, None);
        }
    }

    /// Looks for the answers that were deferred and are due.
    fn look(&mut self, now: Instant) {
        for client_id in self.deferred.take_due(now) {
            let Some(visit) = self.clients.get_mut(&client_id) else {
                continue;
            };
            let Stage::Connecting(connecting) = &visit.stage else {
                continue;
            };
            let Some(who) = connecting.deferred else {
                continue;
            };
            let written = connecting.files.as_ref().map(ConnectFiles::answer);
            match (who, written.unwrap_or(LaterAnswer::Nothing)) {
                _ if visit.busy => self.deferred.add(client_id, now),
                // The script has ended: its file alone says it.
                (Connect::Script, LaterAnswer::Nothing | LaterAnswer::Later) => {
                    self.deferred.add(client_id, now);
                }
                (Connect::Script, LaterAnswer::Yes | LaterAnswer::No) => {
                    self.connect_ended(client_id, who, Done::Yes(Vec::new()), now);
                    self.go_on(client_id);
                }
                (who, _) => {
                    visit.errands.push_front(Errand::Connect(who));
                    self.go_on(client_id);
                }
            }
        }
    }

    /// What the log says of a client.
    fn complain(&mut self, client: ClientTag, line: String) {
        let line = line.as_str().into();
        let event = NodeEvent::client(client, ClientEvent::HookFailed { line });
        self.report(Report::Event(event));
    }

    fn report(&mut self, report: Report) {
        self.said.push_back(Said::Report(report));
    }
}

/// What leads to a client with a place, and whether that is its own address.
fn led_to(place: &Place) -> impl Iterator<Item = (IpNet, bool)> {
    let addresses = place.addresses.iter().map(|it| (IpNet::from(it), true));
    let networks = place.networks.iter().map(|network| (*network, false));
    addresses.chain(networks)
}

impl Connecting {
    /// The files of who is asked now; the same for one who is asked again.
    fn files_in(&mut self, directory: &Path) -> io::Result<&ConnectFiles> {
        let files = match (self.files.take(), self.deferred) {
            (Some(files), Some(_)) => files,
            _ => ConnectFiles::create(directory)?,
        };
        Ok(self.files.insert(files))
    }

    /// Takes the lines that somebody gave, and lets the files go.
    fn take(&mut self, who: Connect, returned: Vec<(String, String)>) -> Result<(), TooLong> {
        if let Some(files) = self.files.take() {
            let (source, text) = (files.configuration(), files.lines()?);
            self.lines.push(ProfileLines { source, text });
        }
        let given = returned.into_iter().filter(|(name, _)| name == "config");
        for (_, text) in given {
            let source = who.to_string();
            self.lines.push(ProfileLines { source, text });
        }
        self.lines.retain(|lines| !lines.text.trim().is_empty());
        Ok(())
    }
}
