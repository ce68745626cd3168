//! The registry: which client has which name, addresses and number. The node thread alone owns it.
//!
//! It is a state machine without clock, queue or thread: a message in, orders out. A session that
//! has authenticated asks to be admitted and waits. If an older session has its name (and
//! `duplicate-cn` is off), that one's shard is told to let go, and only when it has, the newcomer
//! is granted the same place and the same addresses; so no address ever has two owners, and there
//! is nothing to time out: a shard always answers, by [`Registry::gone`].

use std::collections::HashMap;

use arrayvec::ArrayVec;

use super::event::{AdmissionRefusal, Text};
use super::leases::{AddressPool, Addresses, Leases};

/// Names, addresses and numbers of all clients of a node.
#[derive(Debug)]
pub struct Registry {
    pool: AddressPool,
    leases: Leases,
    max_clients: usize,
    duplicate_cn: bool,
    sessions: HashMap<SessionAt, Session>,
    /// Who has a name, and who waits for it; empty with `duplicate-cn`.
    names: HashMap<Text, NameHolder>,
    /// How many of `sessions` are granted.
    granted: usize,
    next_client_id: u64,
}

/// A session and the shard that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAt {
    /// The shard.
    pub shard: u16,
    /// What the shard calls the session; it never calls two sessions the same.
    pub session: u64,
}

/// What the registry wants a shard to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The session is admitted.
    Grant {
        /// Which one.
        to: SessionAt,
        /// Its number, as management and scripts know it: from 0, never used twice.
        client_id: u64,
        /// The slot of the address pool.
        slot: u32,
        /// The addresses of that slot.
        addresses: Addresses,
    },
    /// The session is not admitted; the registry has forgotten it.
    Refuse {
        /// Which one.
        to: SessionAt,
        /// Why.
        refusal: AdmissionRefusal,
    },
    /// A newer session has this one's name: end it, and answer with [`Registry::gone`].
    Release {
        /// Which one.
        to: SessionAt,
    },
}

/// At most a refusal and a release at once.
pub type Orders = ArrayVec<Order, 2>;

#[derive(Debug)]
struct Session {
    name: Text,
    state: Admission,
}

#[derive(Clone, Copy, Debug)]
enum Admission {
    /// Until the holder of the name is gone.
    Waiting,
    Granted {
        slot: u32,
    },
}

/// The session that has a name; `successor` waits for it to be gone, and it has been told to go.
#[derive(Clone, Copy, Debug)]
struct NameHolder {
    session: SessionAt,
    order: HolderOrder,
}

#[derive(Clone, Copy, Debug)]
enum HolderOrder {
    Stay,
    /// Told to go. The successor may have gone itself in the meantime.
    Go {
        successor: Option<SessionAt>,
    },
}

impl Registry {
    /// A registry without clients.
    pub fn new(pool: AddressPool, max_clients: usize, duplicate_cn: bool) -> Self {
        Self {
            pool,
            leases: Leases::new(pool.slots),
            max_clients,
            duplicate_cn,
            sessions: HashMap::new(),
            names: HashMap::new(),
            granted: 0,
            next_client_id: 0,
        }
    }

    /// A session has authenticated under `name`. Its answer is a grant or a refusal, now or when the
    /// older session of that name is gone. Asking twice changes nothing.
    pub fn admit(&mut self, session: SessionAt, name: Text) -> Orders {
        if self.sessions.contains_key(&session) {
            return Orders::new();
        }
        if self.duplicate_cn {
            return self.grant(session, name);
        }
        match self.names.get_mut(&name) {
            None => self.grant(session, name),
            Some(holder) => {
                let mut orders = Orders::new();
                let displaced = match &mut holder.order {
                    HolderOrder::Go { successor } => successor.replace(session),
                    HolderOrder::Stay => {
                        holder.order = HolderOrder::Go {
                            successor: Some(session),
                        };
                        orders.push(Order::Release { to: holder.session });
                        None
                    }
                };
                let state = Admission::Waiting;
                self.sessions.insert(session, Session { name, state });
                if let Some(displaced) = displaced {
                    self.sessions.remove(&displaced);
                    let refusal = AdmissionRefusal::Replaced;
                    orders.push(Order::Refuse {
                        to: displaced,
                        refusal,
                    });
                }
                orders
            }
        }
    }

    /// A session has ended: told by [`Order::Release`] or by itself. One that is not known (any
    /// more) changes nothing.
    pub fn gone(&mut self, session: SessionAt) -> Orders {
        let Some(Session { name, state }) = self.sessions.remove(&session) else {
            return Orders::new();
        };
        match state {
            Admission::Waiting => {
                if let Some(holder) = self.names.get_mut(&name)
                    && let HolderOrder::Go { successor } = &mut holder.order
                    && *successor == Some(session)
                {
                    *successor = None;
                }
                Orders::new()
            }
            Admission::Granted { slot } => {
                self.leases.release(slot);
                self.granted -= 1;
                match self.names.remove(&name).map(|holder| holder.order) {
                    Some(HolderOrder::Go {
                        successor: Some(successor),
                    }) => self.grant(successor, name),
                    _ => Orders::new(),
                }
            }
        }
    }

    /// How many clients are admitted.
    pub fn len(&self) -> usize {
        self.granted
    }

    /// Whether no client is admitted.
    pub fn is_empty(&self) -> bool {
        self.granted == 0
    }

    fn grant(&mut self, session: SessionAt, name: Text) -> Orders {
        match self.place(&name) {
            Ok(slot) => {
                self.granted += 1;
                let client_id = self.next_client_id;
                self.next_client_id += 1;
                if !self.duplicate_cn {
                    let order = HolderOrder::Stay;
                    self.names
                        .insert(name.clone(), NameHolder { session, order });
                }
                let state = Admission::Granted { slot };
                self.sessions.insert(session, Session { name, state });
                Orders::from_iter([Order::Grant {
                    to: session,
                    client_id,
                    slot,
                    addresses: self.pool.addresses(slot),
                }])
            }
            Err(refusal) => {
                self.sessions.remove(&session);
                Orders::from_iter([Order::Refuse {
                    to: session,
                    refusal,
                }])
            }
        }
    }

    fn place(&mut self, name: &Text) -> Result<u32, AdmissionRefusal> {
        if self.granted >= self.max_clients {
            return Err(AdmissionRefusal::MaxClients {
                max: self.max_clients,
            });
        }
        // Under duplicate-cn a name says nothing about who it is.
        let name = (!self.duplicate_cn).then_some(name);
        self.leases
            .take(name)
            .ok_or(AdmissionRefusal::PoolExhausted)
    }
}

#[cfg(test)]
mod tests;
