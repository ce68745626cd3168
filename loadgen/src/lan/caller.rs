//! The session's side of an order: sends it until it is answered, and no longer than it makes sense.

use super::order::{Answer, Ask, Counts, Order, Refusal, Reply};

/// One session's talk with the LAN host, one order at a time. Times are nanoseconds of any clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    run: u32,
    session: u32,
    number: u32,
    cookie: u64,
    open: Option<Open>,
}

/// An order without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    ask: Ask,
    due: u64,
    tries: u8,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The LAN host does it.
    Accepted,
    /// It does not.
    Refused(Refusal),
    /// What it has seen of the session.
    Counts(Counts),
    /// It did not answer.
    Silent,
}

/// What a caller wants now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, before this time; never if there is none.
    Wait(Option<u64>),
    /// This datagram sent to the LAN host.
    Send([u8; Order::LENGTH]),
    /// Nothing any more: the order has ended.
    Ended(Outcome),
}

impl Caller {
    /// Of a session that has asked nothing yet.
    pub const fn new(run: u32, session: u32) -> Self {
        Self {
            run,
            session,
            number: 0,
            cookie: 0,
            open: None,
        }
    }

    /// Begins a new order at `now`; one that is open is forgotten.
    pub const fn ask(&mut self, ask: Ask, now: u64) {
        self.number = self.number.wrapping_add(1);
        self.open = Some(Open {
            ask,
            due: now,
            tries: 0,
        });
    }

    /// True if an order has no answer yet.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What is to be done at `now`. Ask again after each send.
    pub fn step(&mut self, now: u64) -> Step {
        let Some(open) = &mut self.open else {
            return Step::Wait(None);
        };
        if now < open.due {
            return Step::Wait(Some(open.due));
        }
        if open.tries == TRIES {
            self.open = None;
            return Step::Ended(Outcome::Silent);
        }
        open.due = now.saturating_add(FIRST_WAIT << open.tries.min(SLOWEST));
        open.tries += 1;
        let order = Order {
            run: self.run,
            session: self.session,
            number: self.number,
            cookie: self.cookie,
            ask: open.ask,
        };
        Step::Send(order.write())
    }

    /// Takes a datagram of the LAN host; gives back how the order ended, if this ends it.
    pub fn handle(&mut self, datagram: &[u8], now: u64) -> Option<Outcome> {
        let answer = Answer::read(datagram)?;
        let mine = [answer.run, answer.session, answer.number];
        if mine != [self.run, self.session, self.number] {
            return None;
        }
        let open = self.open.as_mut()?;
        let outcome = match answer.reply {
            Reply::Challenge { cookie } => {
                // A challenge is not a loss: with a new cookie the order goes out at once. The same
                // one again was an answer to an earlier try.
                if cookie != self.cookie {
                    self.cookie = cookie;
                    open.due = now;
                }
                return None;
            }
            Reply::Accepted => Outcome::Accepted,
            Reply::Refused(refusal) => Outcome::Refused(refusal),
            Reply::Counts(counts) => Outcome::Counts(counts),
        };
        self.open = None;
        Some(outcome)
    }
}

/// Before an order is sent for the second time.
const FIRST_WAIT: u64 = 200_000_000;
/// Waits double so many times, up to 3.2 seconds.
const SLOWEST: u8 = 4;
/// Some 17 seconds in all.
const TRIES: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(caller: &Caller, reply: Reply) -> Vec<u8> {
        let mut out = [0; Answer::LENGTH_MAX];
        let length = Answer {
            run: caller.run,
            session: caller.session,
            number: caller.number,
            reply,
        }
        .write(&mut out);
        out[..length].to_vec()
    }

    fn sent(step: Step) -> Order {
        match step {
            Step::Send(bytes) => Order::read(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_is_sent_again_with_the_cookie_and_then_done() {
        let mut caller = Caller::new(5, 6);
        assert_eq!(caller.step(0), Step::Wait(None));
        caller.ask(Ask::Counts, 100);
        let first = sent(caller.step(100));
        assert_eq!((first.cookie, first.number, first.ask), (0, 1, Ask::Counts));
        assert_eq!(caller.step(101), Step::Wait(Some(100 + FIRST_WAIT)));

        let challenge = answer(&caller, Reply::Challenge { cookie: 42 });
        assert_eq!(caller.handle(&challenge, 200), None);
        let second = sent(caller.step(200));
        assert_eq!((second.cookie, second.number), (42, 1));
        // The same challenge once more does not hurry.
        assert_eq!(caller.handle(&challenge, 300), None);
        assert!(matches!(caller.step(300), Step::Wait(Some(_))));

        let counts = Reply::Counts(Counts::default());
        let done = Some(Outcome::Counts(Counts::default()));
        let bytes = answer(&caller, counts);
        assert_eq!(caller.handle(&bytes, 400), done);
        assert!(!caller.is_open());
        assert_eq!(caller.handle(&bytes, 500), None);

        // The cookie is kept, and answers to the order before are not taken for this one's.
        let stale = answer(&caller, Reply::Accepted);
        caller.ask(Ask::Stop, 600);
        assert_eq!(caller.handle(&stale, 600), None);
        let third = sent(caller.step(600));
        assert_eq!((third.cookie, third.number), (42, 2));
        let refused = answer(&caller, Reply::Refused(Refusal::Rate));
        let outcome = Some(Outcome::Refused(Refusal::Rate));
        assert_eq!(caller.handle(&refused, 700), outcome);
    }

    #[test]
    fn silence_ends_after_some_tries() {
        let mut caller = Caller::new(5, 6);
        caller.ask(Ask::Stop, 0);
        let (mut now, mut sends) = (0, 0);
        loop {
            match caller.step(now) {
                Step::Send(_) => sends += 1,
                Step::Wait(Some(due)) => now = due,
                Step::Wait(None) => panic!("waits for ever"),
                Step::Ended(outcome) => {
                    assert_eq!(outcome, Outcome::Silent);
                    break;
                }
            }
        }
        assert_eq!(sends, TRIES);
        assert!((10_000_000_000..30_000_000_000).contains(&now), "{now}");
        assert_eq!(caller.step(now), Step::Wait(None));
    }

    #[test]
    fn strangers_answers_are_passed_over() {
        let mut caller = Caller::new(5, 6);
        caller.ask(Ask::Stop, 0);
        for other in [Caller::new(4, 6), Caller::new(5, 7), Caller::new(5, 6)] {
            let bytes = answer(&other, Reply::Accepted);
            assert_eq!(caller.handle(&bytes, 0), None);
        }
        assert_eq!(caller.handle(b"", 0), None);
        assert!(caller.is_open());
    }
}
