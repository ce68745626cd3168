//! A shard's side of the registry: what it has asked and not had answered, and what it has said
//! goodbye for and not had acknowledged.
//!
//! A state machine without clock or queue. Any notice and any order may be lost, or come twice; what
//! has no answer is said again. A session that has asked is remembered until the registry has heard
//! that it is gone, so that no place is ever kept for a session that nobody knows:
//!
//! ```text
//!              Admit               Grant                      left
//!   ask ----> [Asking] -----------------------> [Granted] ----------+
//!              repeats    |                                         |  Gone
//!                         | Refuse, Release, left                   v
//!                         +-----------------------------------> [Leaving] ----> forgotten
//!                                                                repeats Forget
//! ```

use std::collections::{BTreeSet, HashMap};

use super::announced::{Announced, Change};
use crate::limits::{ADMISSIONS_WAITING, REGISTRY_REPEAT};
use crate::node::registry::{AdmissionRequest, Announcement, Notice, NoticeContent};
use crate::packet::Numbering;
use crate::time::Monotonic;

/// What one shard and the registry have to say to one another. `K` is what the shard itself calls
/// a session.
#[derive(Debug)]
pub struct Registration<K> {
    shard: u16,
    sessions: HashMap<u64, State<K>>,
    sessions_max: usize,
    /// When something is to be said of a session, again or for the first time.
    due: BTreeSet<(Monotonic, u64)>,
    announced: Announced,
    /// Sessions that ignore their peer id, by client number, until all shards are told of it.
    unnumbered: HashMap<u64, u64>,
    last_session: u64,
    last_notice: u64,
}

/// How far a session is. The time is that of its entry in `due`.
#[derive(Debug)]
enum State<K> {
    Asking {
        key: K,
        request: AdmissionRequest,
        due: Monotonic,
    },
    /// With a time while it is to be said that it ignores its peer id.
    Granted {
        key: K,
        unnumbered: Option<Monotonic>,
    },
    /// Gone, and the registry may not know it.
    Leaving { due: Monotonic },
}

/// There are too many sessions that the registry has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry has too many sessions of this shard to answer")]
pub struct RegistryBusy;

impl<K: Copy> Registration<K> {
    /// For a shard without clients. At most `max_clients` will be granted.
    pub fn new(shard: u16, max_clients: usize) -> Self {
        Self {
            shard,
            sessions: HashMap::new(),
            sessions_max: max_clients.saturating_add(ADMISSIONS_WAITING),
            due: BTreeSet::new(),
            announced: Announced::default(),
            unnumbered: HashMap::new(),
            last_session: 0,
            last_notice: 0,
        }
    }

    /// At most `max_clients` will be granted from now on, or as many as before if that is more.
    pub fn grow(&mut self, max_clients: usize) {
        let sessions_max = max_clients.saturating_add(ADMISSIONS_WAITING);
        self.sessions_max = self.sessions_max.max(sessions_max);
    }

    /// A session wants to be admitted. Returns what it is called from now on, until
    /// [`Registration::left`] is told that it is gone.
    ///
    /// # Errors
    /// Too many wait already; the session is to be turned away.
    pub fn ask(
        &mut self,
        key: K,
        request: AdmissionRequest,
        now: Monotonic,
    ) -> Result<u64, RegistryBusy> {
        if self.sessions.len() >= self.sessions_max {
            return Err(RegistryBusy);
        }
        self.last_session += 1;
        let session = self.last_session;
        self.due.insert((now, session));
        let due = now;
        self.sessions
            .insert(session, State::Asking { key, request, due });
        Ok(session)
    }

    /// The registry admits a session. `None` if it has been granted before, or if it
    /// is gone, which the registry is told once more.
    pub fn granted(&mut self, session: u64, now: Monotonic) -> Option<K> {
        match self.sessions.get(&session) {
            Some(&State::Asking { key, due, .. }) => {
                self.due.remove(&(due, session));
                let unnumbered = None;
                self.sessions
                    .insert(session, State::Granted { key, unnumbered });
                Some(key)
            }
            Some(State::Granted { .. }) => None,
            Some(State::Leaving { .. }) | None => {
                self.leave(session, now);
                None
            }
        }
    }

    /// The registry turns a session away, which has left with that. `None` if it is gone, or if the
    /// refusal is an old one: the session has been granted since.
    pub fn refused(&mut self, session: u64, now: Monotonic) -> Option<K> {
        let State::Asking { key, .. } = *self.sessions.get(&session)? else {
            return None;
        };
        self.leave(session, now);
        Some(key)
    }

    /// What the shard calls a session that was granted.
    pub fn client(&self, session: u64) -> Option<K> {
        match self.sessions.get(&session)? {
            State::Granted { key, .. } => Some(*key),
            State::Asking { .. } | State::Leaving { .. } => None,
        }
    }

    /// The registry wants a session to go: end it, then tell [`Registration::left`]. `None` if it is
    /// gone, which the registry is told once more.
    pub fn released(&mut self, session: u64, now: Monotonic) -> Option<K> {
        match self.sessions.get(&session) {
            Some(State::Asking { key, .. } | State::Granted { key, .. }) => Some(*key),
            Some(State::Leaving { .. }) | None => {
                self.leave(session, now);
                None
            }
        }
    }

    /// A session is gone: nothing that it was granted is in use any more.
    pub fn left(&mut self, session: u64, now: Monotonic) {
        if let Some(State::Asking { .. } | State::Granted { .. }) = self.sessions.get(&session) {
            self.leave(session, now);
        }
    }

    /// A session that was granted under that number sends without the peer id that it was given. It
    /// is said until the registry announces it.
    pub fn ignores_peer_id(&mut self, session: u64, client_id: u64, now: Monotonic) {
        if let Some(State::Granted { unnumbered, .. }) = self.sessions.get_mut(&session)
            && unnumbered.is_none()
        {
            *unnumbered = Some(now);
            self.due.insert((now, session));
            self.unnumbered.insert(client_id, session);
        }
    }

    /// The registry has heard that a session is gone.
    pub fn forget(&mut self, session: u64) {
        if let Some(&State::Leaving { due }) = self.sessions.get(&session) {
            self.due.remove(&(due, session));
            self.sessions.remove(&session);
        }
    }

    /// The registry tells who has the addresses of a slot; returns what that changes in the shard's
    /// directory, if anything.
    pub fn announced(&mut self, announcement: &Announcement) -> Option<Change> {
        if let Some(tenant) = &announcement.tenant
            && tenant.shard == self.shard
            && tenant.path.numbering == Numbering::FourTuple
            && let Some(session) = self.unnumbered.remove(&tenant.client_id)
            && let Some(State::Granted { unnumbered, .. }) = self.sessions.get_mut(&session)
            && let Some(due) = unnumbered.take()
        {
            self.due.remove(&(due, session));
        }
        self.announced.take(announcement)
    }

    /// The next notice that is due at `now`. It may be lost; then it will be due again.
    pub fn poll_notice(&mut self, now: Monotonic) -> Option<Notice> {
        let content = match self.announced.poll_acknowledgement() {
            Some(number) => NoticeContent::Announced { number },
            None => self.next_due(now)?,
        };
        self.last_notice += 1;
        Some(Notice {
            shard: self.shard,
            number: self.last_notice,
            content,
        })
    }

    /// When [`Registration::poll_notice`] has the next one.
    pub fn next_timeout(&self) -> Option<Monotonic> {
        if self.announced.has_acknowledgement() {
            return Some(Monotonic::ZERO);
        }
        self.due.first().map(|(at, _)| *at)
    }

    /// Sessions that the registry may know of.
    #[cfg(test)]
    pub(in crate::node) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn next_due(&mut self, now: Monotonic) -> Option<NoticeContent> {
        let &(at, session) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, session));
        let again = now + REGISTRY_REPEAT;
        let content = match self.sessions.get_mut(&session)? {
            State::Asking { request, due, .. } => {
                *due = again;
                let request = request.clone();
                NoticeContent::Admit { session, request }
            }
            State::Leaving { due } => {
                *due = again;
                NoticeContent::Gone { session }
            }
            State::Granted { unnumbered, .. } => {
                *unnumbered = Some(again);
                NoticeContent::IgnoresPeerId { session }
            }
        };
        self.due.insert((again, session));
        Some(content)
    }

    /// Says that a session is gone, at once and until the registry has heard it.
    fn leave(&mut self, session: u64, now: Monotonic) {
        let leaving = State::Leaving { due: now };
        match self.sessions.insert(session, leaving) {
            Some(State::Asking { due, .. } | State::Leaving { due }) => {
                self.due.remove(&(due, session));
            }
            Some(State::Granted {
                unnumbered: Some(due),
                ..
            }) => {
                self.due.remove(&(due, session));
                self.unnumbered
                    .retain(|_, unnumbered| *unnumbered != session);
            }
            Some(State::Granted { .. }) | None => {}
        }
        self.due.insert((now, session));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Monotonic = Monotonic::ZERO;

    fn registration() -> Registration<char> {
        Registration::new(3, 2)
    }

    fn request(name: &str) -> AdmissionRequest {
        AdmissionRequest {
            name: name.into(),
            client_id: None,
            since: START,
            path: crate::node::registry::tests::PATH,
        }
    }

    fn ask(registration: &mut Registration<char>, key: char) -> u64 {
        registration
            .ask(key, request("a"), START)
            .expect("there is room")
    }

    fn said(registration: &mut Registration<char>, now: Monotonic) -> Vec<NoticeContent> {
        std::iter::from_fn(|| registration.poll_notice(now))
            .map(|notice| notice.content)
            .collect()
    }

    fn admit(session: u64) -> NoticeContent {
        let request = request("a");
        NoticeContent::Admit { session, request }
    }

    const fn gone(session: u64) -> NoticeContent {
        NoticeContent::Gone { session }
    }

    #[test]
    fn a_question_is_asked_again_until_it_is_answered() {
        let mut registration = registration();
        let session = ask(&mut registration, 'a');
        assert_eq!(registration.next_timeout(), Some(START));
        assert_eq!(said(&mut registration, START), [admit(session)]);
        let early = START + REGISTRY_REPEAT - Duration::from_nanos(1);
        assert_eq!(said(&mut registration, early), []);
        let later = START + REGISTRY_REPEAT;
        assert_eq!(registration.next_timeout(), Some(later));
        assert_eq!(said(&mut registration, later), [admit(session)]);
        assert_eq!(registration.granted(session, later), Some('a'));
        assert_eq!(registration.granted(session, later), None, "let in once");
        assert_eq!(registration.refused(session, later), None, "an old refusal");
        assert_eq!(registration.next_timeout(), None);
    }

    #[test]
    fn a_goodbye_is_said_again_until_it_is_heard() {
        let mut registration = registration();
        let session = ask(&mut registration, 'a');
        registration.granted(session, START);
        registration.left(session, START);
        assert_eq!(said(&mut registration, START), [gone(session)]);
        let later = START + REGISTRY_REPEAT;
        registration.left(session, later);
        assert_eq!(said(&mut registration, later), [gone(session)]);
        registration.forget(session);
        registration.left(session, later);
        assert_eq!(registration.next_timeout(), None);
        assert!(registration.sessions.is_empty());
    }

    #[test]
    fn who_leaves_while_it_asks_asks_no_more() {
        let mut registration = registration();
        let session = ask(&mut registration, 'a');
        registration.left(session, START);
        assert_eq!(said(&mut registration, START), [gone(session)]);
        assert_eq!(
            registration.granted(session, START),
            None,
            "the grant is late"
        );
        assert_eq!(said(&mut registration, START), [gone(session)]);
        registration.forget(session);
        assert_eq!(registration.next_timeout(), None);
    }

    #[test]
    fn the_refused_is_gone_with_that() {
        let mut registration = registration();
        let session = ask(&mut registration, 'a');
        assert_eq!(registration.refused(session, START), Some('a'));
        assert_eq!(registration.refused(session, START), None);
        assert_eq!(said(&mut registration, START), [gone(session)]);
        assert_eq!(registration.granted(session, START), None);
    }

    #[test]
    fn a_session_is_released_while_it_asks_or_is_granted_and_once_only() {
        for granted in [false, true] {
            let mut registration = registration();
            let session = ask(&mut registration, 'a');
            if granted {
                registration.granted(session, START);
            }
            assert_eq!(registration.released(session, START), Some('a'));
            registration.left(session, START);
            assert_eq!(said(&mut registration, START), [gone(session)]);
            assert_eq!(registration.released(session, START), None);
            assert_eq!(
                said(&mut registration, START),
                [gone(session)],
                "told again at once, as the registry waits for it"
            );
        }
    }

    #[test]
    fn one_that_nobody_knows_is_told_to_be_gone_until_the_registry_has_heard_it() {
        let mut registration = registration();
        assert_eq!(registration.released(77, START), None);
        assert_eq!(said(&mut registration, START), [gone(77)]);
        registration.forget(77);
        assert_eq!(registration.next_timeout(), None);
        assert_eq!(registration.granted(78, START), None);
        assert_eq!(registration.refused(79, START), None);
        assert_eq!(said(&mut registration, START), [gone(78)]);
    }

    #[test]
    fn that_a_session_ignores_its_peer_id_is_said_until_it_is_announced() {
        let mut registration = registration();
        let (first, second) = (ask(&mut registration, 'a'), ask(&mut registration, 'b'));
        registration.ignores_peer_id(first, 8, START);
        for session in [first, second] {
            registration.granted(session, START);
            registration.ignores_peer_id(session, session + 7, START);
            registration.ignores_peer_id(session, session + 7, START);
        }
        let unnumbered = |session| NoticeContent::IgnoresPeerId { session };
        let both = [unnumbered(first), unnumbered(second)];
        assert_eq!(said(&mut registration, START), both);
        let later = START + REGISTRY_REPEAT;
        assert_eq!(said(&mut registration, later), both);
        let announcement = |shard, session, numbering| Announcement {
            number: 1,
            after: 9,
            seat: 0,
            tenant: Some(std::sync::Arc::new(crate::node::registry::Tenant {
                shard,
                session,
                client_id: session + 7,
                path: crate::packet::ClientPath {
                    numbering,
                    ..crate::node::registry::tests::PATH
                },
                addresses: crate::node::leases::Addresses { v4: None, v6: None },
                networks: Vec::new(),
            })),
        };
        registration.announced(&announcement(3, first, Numbering::PeerId));
        registration.announced(&announcement(2, first, Numbering::FourTuple));
        assert_eq!(registration.due.len(), 2, "neither is what it waits for");
        registration.announced(&announcement(3, first, Numbering::FourTuple));
        let later = later + REGISTRY_REPEAT;
        assert_eq!(said(&mut registration, later), [unnumbered(second)]);
        registration.left(second, later);
        assert_eq!(said(&mut registration, later), [gone(second)]);
        assert!(registration.unnumbered.is_empty());
    }

    #[test]
    fn names_and_numbers_are_used_once() {
        let mut registration = registration();
        let first = ask(&mut registration, 'a');
        registration.left(first, START);
        let notice = registration.poll_notice(START).expect("one is due");
        registration.forget(first);
        let second = ask(&mut registration, 'a');
        assert_ne!(first, second);
        let next = registration.poll_notice(START).expect("one is due");
        assert_eq!((notice.shard, notice.number), (3, 1));
        assert_eq!((next.shard, next.number), (3, 2));
    }

    #[test]
    fn a_registry_that_answers_nothing_is_not_asked_without_end() {
        let mut registration = registration();
        let most = 2 + ADMISSIONS_WAITING;
        for _ in 0..most {
            let session = ask(&mut registration, 'a');
            registration.left(session, START);
        }
        assert_eq!(
            registration.ask('b', request("b"), START),
            Err(RegistryBusy)
        );
        assert_eq!(said(&mut registration, START).len(), most);
        registration.forget(1);
        assert!(registration.ask('b', request("b"), START).is_ok());
    }
}
