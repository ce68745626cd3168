//! What shards and the node thread tell one another.

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{Connected, Departure, Judged, Learned, Login, LoginAt, Renewed};
use super::client::{Resolved, TunnelReport};
use super::client_files::ProfileAnswer;
use super::control_socket::Asker;
use super::event::{AdmissionRefusal, NodeEvent, ReleaseCause};
use super::management::{Killed, ManagementOrder};
use super::registry::{Announcement, Notice, Order, Place};
use super::rounds::Answer;
use super::running::{ReloadWanted, Reread};
use super::shard::{Dial, DialedEvent, HangUp, Terms};
use crate::session::ChallengeResponse;

/// From a shard to the node thread.
#[derive(Debug)]
pub enum Report {
    /// For the bus.
    Event(NodeEvent),
    /// For the registry.
    Registry(Box<Notice>),
    /// The answer to [`Instruction::ReportStatus`].
    Status {
        /// Which shard.
        shard: u16,
        /// What it says.
        answer: Box<Answer>,
    },
    /// Somebody wants the configuration read again.
    Reload(ReloadWanted),
    /// It was read.
    Reread(Box<Reread>),
    /// Somebody asks on the control socket.
    Asked {
        /// Who waits for the answer.
        asker: Asker,
    },
    /// What somebody on the management interface wants.
    Managed(ManagementOrder),
    /// What happens to a tunnel that was dialed.
    Dialed {
        /// Which one.
        attempt: u64,
        /// What happens.
        event: Box<DialedEvent>,
    },
    /// The addresses of a server that is to be dialed.
    Resolved(Resolved),
    /// A client's tunnel is up on the machine, or not.
    Tunnel(TunnelReport),
    /// A client logs in: who judges that is to be asked.
    Login(Box<Login>),
    /// A client whose login is being judged has answered a challenge.
    ChallengeAnswered(LoginAt, ChallengeResponse),
    /// Nobody waits for the verdict on that login any more.
    LoginGone(LoginAt),
    /// The session of a client is gone whose login was accepted.
    ClientGone(Departure),
    /// Whether a client may come in that has a place.
    Connected(Box<Connected>),
    /// Where a client's addresses lead.
    Learned(Learned),
    /// What became of a login.
    Judged(Judged),
    /// A client is to have a new token.
    Renewed(Renewed),
    /// What a client's file says.
    Profile(Box<ProfileAnswer>),
    /// Addresses that clients' files name.
    AddressesNamed(Vec<IpAddr>),
    /// The shard is ready to serve.
    Ready,
    /// The shard has ended; with a sentence if it was not told to.
    Ended {
        /// Which one.
        shard: u16,
        /// What went wrong.
        failure: Option<String>,
    },
    /// The process got this signal.
    Signal(i32),
}

/// From the node thread to a shard. Sessions are named as the shard named them.
#[derive(Debug)]
pub enum Instruction {
    /// Let the session in.
    Grant {
        /// Which one.
        session: u64,
        /// The registry's number for it.
        client_id: u64,
        /// What it is given.
        place: Arc<Place>,
    },
    /// Turn the session away.
    Refuse {
        /// Which one.
        session: u64,
        /// Why.
        refusal: AdmissionRefusal,
    },
    /// End the session: a newer one needs what it has.
    Release {
        /// Which one.
        session: u64,
        /// What that is.
        cause: ReleaseCause,
    },
    /// What became of a login of the shard.
    Judge(Judged),
    /// A client of the shard is to have a new token.
    Renew(Renewed),
    /// End the session: an administrator wants it.
    Kill {
        /// Which one.
        session: u64,
        /// How.
        how: Killed,
    },
    /// The registry has heard that the session is gone.
    Forget {
        /// Which one.
        session: u64,
    },
    /// Who has which addresses and networks.
    Announce(Announcement),
    /// Go by other rules from now on.
    Follow(Box<Terms>),
    /// Reach a server.
    Dial(Box<Dial>),
    /// End a tunnel that was dialed.
    HangUp(HangUp),
    /// Answer with [`Report::Status`].
    ReportStatus,
    /// Say goodbye to every client and end.
    Stop,
}

impl Instruction {
    /// What an order of the registry says to a shard, and to which; nothing for one that is
    /// not for a shard.
    pub fn of(order: Order) -> Option<(u16, Self)> {
        let (to, instruction) = match order {
            Order::Steer { .. }
            | Order::ReadProfile { .. }
            | Order::Connect(_)
            | Order::Learn { .. } => return None,
            Order::Announce { to, announcement } => {
                return Some((to, Self::Announce(announcement)));
            }
            Order::Grant {
                to,
                client_id,
                place,
            } => {
                let session = to.session;
                let grant = Self::Grant {
                    session,
                    client_id,
                    place,
                };
                (to, grant)
            }
            Order::Refuse { to, refusal } => {
                let session = to.session;
                (to, Self::Refuse { session, refusal })
            }
            Order::Release { to, cause } => {
                let session = to.session;
                (to, Self::Release { session, cause })
            }
            Order::Forget { to } => {
                let session = to.session;
                (to, Self::Forget { session })
            }
        };
        Some((to.shard, instruction))
    }
}
