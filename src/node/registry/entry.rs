//! From a place to a client that is in: who is asked when a client connects may give it another place or refuse
//! it, and who is told where its addresses lead may keep some from leading there.
//!
//! ```text
//!  grant ---> Connecting ---> (place taken anew) ---> Learning ---> In
//!                 |   waits in Claiming for who has an address that it is to have
//!                 +---> refused
//! ```
//!
//! Networks lead to it when it may come in: who is refused takes none from others.
//!
//! A client on this way has its place and its name, as one that is in: it can be told to go, and whoever waits for
//! what it has gets it when it is gone. No shard is told of it.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Admission, Granted, Order, Registry, Session, SessionAt, tag, tenant};
use crate::node::auth::Arrival;
use crate::node::event::{AdmissionRefusal, ReleaseCause};
use crate::node::leases::Addresses;
use crate::node::registry::holdings::Holding;
use crate::node::settings::{Access, ClientProfile};
use crate::time::Monotonic;

/// How far a client with a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Those are asked who are asked when a client connects. This says which networks it is to have.
    Connecting(Arc<ClientProfile>),
    /// It waits for the holder of an address that this gives it.
    Claiming(Arc<ClientProfile>),
    /// It is told where its addresses lead.
    Learning,
    /// It is in.
    In,
}

impl Registry {
    /// Asks whether a client that has a place may come in; without anybody to be asked it is in.
    pub(super) fn enter(&mut self, session: SessionAt, profile: &ClientProfile, now: Monotonic) {
        if self.rules.hooks {
            return self.ask_to_connect(session);
        }
        self.route(session, profile);
        self.let_in(session, now);
    }

    pub(super) fn ask_to_connect(&mut self, session: SessionAt) {
        let Some(Session { request, state }) = self.sessions.get(&session) else {
            return;
        };
        if let Admission::Granted(granted) = state {
            self.orders.push_back(Order::Connect(Arrival {
                of: session,
                client_id: granted.client_id,
                client: tag(request),
                place: Arc::clone(&granted.holding.place),
            }));
        }
    }

    /// What came of asking: what the client's file and the lines that it was given say, if it was given some,
    /// or why it may not come in. It may come twice, or too late.
    pub fn connected(
        &mut self,
        session: SessionAt,
        answer: Result<Option<Arc<ClientProfile>>, AdmissionRefusal>,
        now: Monotonic,
    ) {
        let Some(Entry::Connecting(known)) = self.entry_of(session).cloned() else {
            return;
        };
        match answer {
            Err(refusal) => self.shut_out(session, refusal, now),
            Ok(Some(profile)) if profile.access == Access::Disabled => {
                self.shut_out(session, AdmissionRefusal::Disabled, now);
            }
            Ok(Some(profile)) => self.take_anew(session, profile, now),
            Ok(None) => self.learn(session, &known),
        }
    }

    /// Where a client's addresses lead is known: to it, but for these.
    pub fn learned(&mut self, session: SessionAt, refused: &[IpNet], now: Monotonic) {
        if self.entry_of(session) != Some(&Entry::Learning) {
            return;
        }
        if let Some(granted) = self.granted_to(session) {
            let former = granted.holding.clone();
            let mut holding = former.clone();
            self.holdings.lead_nowhere(session, &mut holding, refused);
            self.set_holding(session, holding);
            self.steer_nowhere(&former);
        }
        self.let_in(session, now);
    }

    /// A holder is gone whom a client waited for.
    pub(super) fn claim_again(&mut self, session: SessionAt, now: Monotonic) {
        if let Some(Entry::Claiming(profile)) = self.entry_of(session).cloned() {
            self.take_anew(session, profile, now);
        }
    }

    /// Gives a client another place instead of the one that it has.
    fn take_anew(&mut self, session: SessionAt, profile: Arc<ClientProfile>, now: Monotonic) {
        let holder = self.holdings.holder_of(&profile, Some(session));
        if let Some(holder) = holder {
            self.tell_to_go(holder, ReleaseCause::Address, now);
            self.holdings.reserve_named(&profile);
            self.claims.entry(holder).or_default().push(session);
            return self.set_entry(session, Entry::Claiming(profile));
        }
        let Some(Session { request, state }) = self.sessions.get(&session) else {
            return;
        };
        let Admission::Granted(granted) = state else {
            return;
        };
        let name = self.is_one(&request.name).then(|| request.name.clone());
        let former = granted.holding.clone();
        let _still_led_by_others = self.holdings.release(session, &former);
        let taken = self
            .holdings
            .take_addresses(session, name.as_ref(), &profile);
        let (addresses, slots) = match taken {
            Ok(taken) => taken,
            Err(refusal) => {
                let nothing = ClientProfile::usual(0);
                let none = Addresses { v4: None, v6: None };
                let empty = Holding::new(none, Vec::new(), former.seat, &nothing);
                self.set_holding(session, empty);
                self.steer_nowhere(&former);
                return self.shut_out(session, refusal, now);
            }
        };
        let holding = Holding::new(addresses, slots, former.seat, &profile);
        self.set_holding(session, holding);
        self.steer_nowhere(&former);
        self.learn(session, &profile);
    }

    /// Leads a client's networks to it: those that were behind others are behind it from now on.
    fn route(&mut self, session: SessionAt, profile: &ClientProfile) {
        let Some(granted) = self.granted_to(session) else {
            return;
        };
        let mut holding = granted.holding.clone();
        let dispossessed = self.holdings.route(session, &mut holding, profile);
        self.set_holding(session, holding);
        for (other, network) in dispossessed {
            self.dispossess(other, network);
        }
    }

    /// What nobody has any more, of all that one had: the kernel may still bring it to whom it was taken from.
    pub(super) fn steer_nowhere(&mut self, former: &Holding) {
        for what in self.holdings.steered(former) {
            if self.holdings.is_free(what) {
                self.orders.push_back(Order::Steer { what, shard: None });
            }
        }
    }

    fn learn(&mut self, session: SessionAt, profile: &ClientProfile) {
        self.route(session, profile);
        self.set_entry(session, Entry::Learning);
        if let Some(granted) = self.granted_to(session) {
            self.orders.push_back(Order::Learn {
                client_id: granted.client_id,
                place: Arc::clone(&granted.holding.place),
            });
        }
    }

    /// Turns a client away that has a place.
    fn shut_out(&mut self, session: SessionAt, refusal: AdmissionRefusal, now: Monotonic) {
        let to = session;
        self.orders.push_back(Order::Refuse { to, refusal });
        self.gone(session, now);
    }

    /// A client has what it is to have: everybody hears of it.
    fn let_in(&mut self, session: SessionAt, now: Monotonic) {
        self.set_entry(session, Entry::In);
        let Some(Session { request, state }) = self.sessions.get(&session) else {
            return;
        };
        let Admission::Granted(Granted {
            client_id, holding, ..
        }) = state
        else {
            return;
        };
        let shard = Some(session.shard);
        let steered = self.holdings.steered(holding).into_iter();
        let steered = steered.map(|what| Order::Steer { what, shard });
        self.orders.extend(steered);
        let (client_id, place) = (*client_id, Arc::clone(&holding.place));
        let tenant = tenant(session, client_id, request, &place);
        self.announcements.change(holding.seat, Some(tenant));
        self.announce(now);
        self.orders.push_back(Order::Grant {
            to: session,
            client_id,
            place,
        });
    }

    fn entry_of(&self, session: SessionAt) -> Option<&Entry> {
        self.granted_to(session).map(|granted| &granted.entry)
    }

    fn set_entry(&mut self, session: SessionAt, entry: Entry) {
        if let Some(granted) = self.granted_to_mut(session) {
            granted.entry = entry;
        }
    }

    fn set_holding(&mut self, session: SessionAt, holding: Holding) {
        if let Some(granted) = self.granted_to_mut(session) {
            granted.holding = holding;
        }
    }
}
