//! The chain: which link has which login, without a thread.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Answers;
use super::codes::{Codes, Factor, is_for_now};
use super::environment::{self, ServerFacts};
use super::login::{Judged, Link, Login, LoginAt, LoginKind, Verdict};
use super::responses::Responses;
use super::tokens::{Renewed, Tokens};
use crate::crypto::SessionToken;
use crate::limits::LOGINS_OF_A_NAME;
use crate::node::logins::{Backoff, Source};
use crate::node::settings::ProfileLines;
use crate::session::ChallengeResponse;
use crate::time::Now;

/// Links in their order, and the logins that they look at.
pub(super) struct Chain {
    links: Vec<Box<dyn Link>>,
    facts: ServerFacts,
    tokens: Option<Tokens>,
    responses: Option<(Responses, Answers)>,
    codes: Option<Codes>,
    backoff: Option<Backoff>,
    waiting: HashMap<LoginAt, Waiting>,
    verdicts: VecDeque<(Judged, Option<Accepted>)>,
}

/// A login that is accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) login: Arc<Login>,
    /// What the client is to have besides.
    pub(super) lines: Vec<ProfileLines>,
}

struct Waiting {
    login: Arc<Login>,
    /// Who has it now.
    link: usize,
    /// Its token is good: nobody is asked about its password.
    by_token: bool,
    /// Its code, where one is needed beside the password; until it has been looked at.
    factor: Option<Factor>,
    /// What the client is to have besides.
    lines: Vec<ProfileLines>,
}

impl Chain {
    pub(super) fn new(links: Vec<Box<dyn Link>>, facts: ServerFacts) -> Self {
        Self {
            links,
            facts,
            tokens: None,
            responses: None,
            codes: None,
            backoff: None,
            waiting: HashMap::new(),
            verdicts: VecDeque::new(),
        }
    }

    /// The same chain, whose clients get tokens for their passwords.
    pub(super) fn with_tokens(self, tokens: Option<Tokens>) -> Self {
        Self { tokens, ..self }
    }

    /// The same chain, whose users need codes, and wait when they have failed too often, if that is wanted.
    pub(super) fn with_own(self, codes: Option<Codes>, backoff: Option<Backoff>) -> Self {
        Self {
            codes,
            backoff,
            ..self
        }
    }

    /// The same chain, whose clients' answers to challenges are handed on; with a way of answers to it.
    pub(super) fn with_responses(self, responses: Responses, way: Answers) -> Self {
        let responses = Some((responses, way));
        Self { responses, ..self }
    }

    /// Gives a login to the first link. Of a client that is in something is `known` besides.
    pub(super) fn begin(&mut self, mut login: Login, known: Vec<(String, String)>) {
        login.environment = environment::of(&login, known, &self.facts);
        let tokens = self.tokens.as_mut();
        let token = tokens.and_then(|tokens| tokens.look(&mut login, Now::read().unix));
        let by_token = token == Some(Verdict::Accepted);
        // Neither counts as a failure: nobody guesses tokens, and after a restart every client may have an old one.
        let refused = token.filter(Verdict::is_refusal);
        let refused = refused.or_else(|| self.too_soon(&login).filter(|_| !by_token));
        if let Some(refused) = refused {
            return self.turn_away(&login, refused);
        }
        // Not of one that comes too soon: a challenge is answered once.
        let codes = self.codes.as_mut().filter(|_| !by_token);
        let factor = codes.map(|codes| codes.take(&mut login, Instant::now()));
        let at = login.at;
        let waiting = Waiting {
            login: Arc::new(login),
            link: 0,
            by_token,
            factor,
            lines: Vec::new(),
        };
        self.waiting.insert(at, waiting);
        self.ask(at);
    }

    /// What becomes of a login that comes too soon after others that failed. Who is in does not lose its place because
    /// somebody behind the same address guesses.
    fn too_soon(&self, login: &Login) -> Option<Verdict> {
        if login.kind == LoginKind::Reauth {
            return None;
        }
        let (source, name) = whose(login)?;
        let backoff = self.backoff.as_ref()?;
        // Whoever guesses may guess in many sessions at once; that keeps nobody out where they are at home.
        let waiting = self.waiting.values();
        let same = waiting.filter(|it| it.login.username() == Some(name));
        let (what, wait) = match backoff.wait(Now::read().monotonic, source, name) {
            Some(wait) => ("too many failed logins", wait),
            None if same.count() >= LOGINS_OF_A_NAME && !backoff.is_home(source, name) => {
                ("other logins of that name are looked at", Duration::ZERO)
            }
            None => return None,
        };
        let seconds = wait.as_secs() + 1;
        Some(Verdict::Refused {
            reason: login.try_again(seconds, &format!("{what}: wait {seconds} s")),
            why: format!("{what}: not looked at for {seconds} s").into(),
        })
    }

    /// The client of a login has answered a challenge.
    pub(super) fn responded(&mut self, at: LoginAt, response: ChallengeResponse) {
        let (Some(waiting), Some((responses, way))) = (self.waiting.get(&at), &self.responses)
        else {
            return;
        };
        let link = self.links.get(waiting.link);
        let files = link.map(|link| link.files(at)).unwrap_or_default();
        let answers = way.of_link(waiting.link);
        responses.tell(&waiting.login, files, &response, answers);
    }

    /// Nobody waits for a login any more.
    pub(super) fn forget(&mut self, at: LoginAt) {
        if let Some(waiting) = self.waiting.remove(&at)
            && let Some(link) = self.links.get_mut(waiting.link)
        {
            link.forget(at);
            if waiting.login.kind == LoginKind::Connect {
                self.left(waiting.login.client_id);
            }
        }
    }

    /// A client is gone, and all that is done for that; or it does not come in.
    pub(super) fn left(&mut self, client_id: u64) {
        if let Some(tokens) = &mut self.tokens {
            tokens.left(client_id);
        }
        if let Some(codes) = &mut self.codes {
            codes.left(client_id);
        }
        for link in &mut self.links {
            link.left(client_id);
        }
    }

    /// What a link makes of a login, and what the client is to have besides. One that is not its own to judge
    /// changes nothing.
    pub(super) fn answered(
        &mut self,
        link: usize,
        at: LoginAt,
        login: u64,
        answer: Verdict,
        lines: Option<ProfileLines>,
    ) {
        let waiting = self.waiting.get_mut(&at);
        let Some(waiting) = waiting.filter(|it| it.link == link && it.login.login == login) else {
            return;
        };
        match answer {
            Verdict::Accepted => {
                waiting.lines.extend(lines);
                waiting.link += 1;
                self.ask(at);
            }
            refused @ (Verdict::Refused { .. } | Verdict::Dropped { .. }) => {
                self.decide(at, refused);
            }
            pending @ Verdict::Pending { .. } => {
                let judged = judged(&waiting.login, pending, None);
                self.verdicts.push_back((judged, None));
            }
        }
    }

    /// A link has asked for it.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        for link in &mut self.links {
            link.handle_timeout(now);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(|it| it.next_timeout());
        let tokens = self.tokens.as_ref().and_then(Tokens::next_timeout);
        links.chain(tokens).min()
    }

    /// Lets the links do what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for link in &mut self.links {
            if link.next_timeout().is_some_and(|at| at <= now) {
                link.handle_timeout(now);
            }
        }
    }

    /// The next verdict; with the login if it is accepted.
    pub(super) fn poll(&mut self) -> Option<(Judged, Option<Accepted>)> {
        self.verdicts.pop_front()
    }

    /// The next token that is to be made anew by now.
    pub(super) fn poll_renewed(&mut self, now: Instant) -> Option<Renewed> {
        self.tokens.as_mut()?.poll(now, Now::read().unix)
    }

    fn ask(&mut self, at: LoginAt) {
        let Some(waiting) = self.waiting.get_mut(&at) else {
            return;
        };
        let others = self.links.iter().skip(waiting.link);
        let by_token = waiting.by_token;
        waiting.link += others
            .take_while(|it| by_token && it.judges_passwords())
            .count();
        let next = self.links.get_mut(waiting.link);
        if next.as_ref().is_none_or(|link| link.is_asked_last())
            && let (Some(codes), Some(factor)) = (&mut self.codes, waiting.factor.take())
        {
            let unix = Now::read().unix;
            let verdict = codes.judge(&waiting.login, &factor, unix, Instant::now());
            if verdict.is_refusal() {
                return self.decide(at, verdict);
            }
        }
        match next {
            Some(link) => link.judge(&Arc::clone(&waiting.login)),
            None => self.decide(at, Verdict::Accepted),
        }
    }

    fn decide(&mut self, at: LoginAt, verdict: Verdict) {
        let Some(Waiting { login, lines, .. }) = self.waiting.remove(&at) else {
            return;
        };
        if let (Some(backoff), Some((source, name))) = (&mut self.backoff, whose(&login)) {
            let now = Now::read().monotonic;
            match verdict.is_refusal() {
                false => backoff.succeeded(now, source, name),
                true if is_for_now(&verdict) => {}
                true => backoff.failed(now, source, name),
            }
        }
        if verdict.is_refusal() {
            return self.turn_away(&login, verdict);
        }
        let tokens = self.tokens.as_mut();
        let token =
            tokens.and_then(|tokens| tokens.accepted(&login, Now::read().unix, Instant::now()));
        let judged = judged(&login, verdict, token);
        self.verdicts
            .push_back((judged, Some(Accepted { login, lines })));
    }

    /// A login is refused: nothing is kept for it.
    fn turn_away(&mut self, login: &Login, refused: Verdict) {
        match login.kind {
            LoginKind::Connect => self.left(login.client_id),
            // It hears that it is out, and goes then.
            LoginKind::Reauth => {
                if let Some(tokens) = &mut self.tokens {
                    tokens.left(login.client_id);
                }
            }
        }
        let judged = judged(login, refused, None);
        self.verdicts.push_back((judged, None));
    }
}

/// Where a login comes from, and by which name; one without a name fails for nobody.
fn whose(login: &Login) -> Option<(Source, &str)> {
    let source = login.client.address.ip().into();
    login.username().map(|name| (source, name))
}

fn judged(login: &Login, verdict: Verdict, token: Option<SessionToken>) -> Judged {
    Judged {
        at: login.at,
        login: login.login,
        client_id: login.client_id,
        verdict,
        token,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::wire::PeerInfo;

    /// A judge that says what it hears.
    struct Scribe(&'static str, mpsc::Sender<String>);

    /// A judge of certificates.
    struct Seal(Scribe);

    impl Link for Seal {
        fn judge(&mut self, login: &Arc<Login>) {
            self.0.judge(login);
        }

        fn judges_passwords(&self) -> bool {
            false
        }

        fn forget(&mut self, at: LoginAt) {
            self.0.forget(at);
        }
    }

    impl Link for Scribe {
        fn judge(&mut self, login: &Arc<Login>) {
            self.1
                .send(format!("{} judges {}", self.0, login.at.number))
                .unwrap();
        }

        fn forget(&mut self, at: LoginAt) {
            self.1
                .send(format!("{} forgets {}", self.0, at.number))
                .unwrap();
        }
    }

    fn at(number: u64) -> LoginAt {
        LoginAt { shard: 0, number }
    }

    fn refused() -> Verdict {
        Verdict::Refused {
            reason: "no".to_owned(),
            why: "because".into(),
        }
    }

    fn verdicts(chain: &mut Chain) -> Vec<(u64, Verdict)> {
        std::iter::from_fn(|| chain.poll())
            .map(|(judged, _)| (judged.at.number, judged.verdict))
            .collect()
    }

    #[test]
    fn all_links_must_accept_and_the_first_refusal_is_the_verdict() {
        let (say, said) = mpsc::channel();
        let links: Vec<Box<dyn Link>> = vec![
            Box::new(Scribe("first", say.clone())),
            Box::new(Scribe("second", say)),
        ];
        let mut chain = Chain::new(links, ServerFacts::default());
        let said = || said.try_iter().collect::<Vec<_>>();
        for number in 1..=4 {
            chain.begin(Login::of_test(number), Vec::new());
        }
        assert_eq!(said().len(), 4);
        chain.answered(1, at(1), 1, Verdict::Accepted, None);
        chain.answered(0, at(1), 2, Verdict::Accepted, None);
        assert_eq!(said(), [] as [&str; 0], "not its login to judge");
        chain.answered(0, at(1), 1, Verdict::Accepted, None);
        chain.answered(0, at(2), 1, refused(), None);
        assert_eq!(said(), ["second judges 1"]);
        let timeout = Duration::from_secs(9);
        let extra = "CR_TEXT:R:code".to_owned();
        let pending = (timeout, extra.clone());
        let (timeout, extra) = pending.clone();
        chain.answered(1, at(1), 1, Verdict::Pending { timeout, extra }, None);
        chain.answered(1, at(1), 1, Verdict::Accepted, None);
        chain.answered(1, at(1), 1, refused(), None);
        chain.forget(at(3));
        chain.answered(0, at(3), 1, Verdict::Accepted, None);
        assert_eq!(said(), ["first forgets 3"]);
        let (timeout, extra) = pending;
        let no = Verdict::Refused {
            reason: "no".to_owned(),
            why: "because".into(),
        };
        assert_eq!(
            verdicts(&mut chain),
            [
                (2, no),
                (1, Verdict::Pending { timeout, extra }),
                (1, Verdict::Accepted),
            ]
        );
        assert_eq!(chain.waiting.len(), 1, "the fourth still waits");
    }

    #[test]
    fn a_good_token_stands_for_the_password_and_for_nothing_else() {
        let (say, said) = mpsc::channel();
        let links: Vec<Box<dyn Link>> = vec![
            Box::new(Scribe("password", say.clone())),
            Box::new(Seal(Scribe("certificate", say.clone()))),
            Box::new(Scribe("second password", say)),
        ];
        let tokens = crate::node::auth::tokens::tests::tokens(false);
        let mut chain = Chain::new(links, ServerFacts::default()).with_tokens(Some(tokens));
        let said = || said.try_iter().collect::<Vec<_>>();
        let with = |number, password: &str| Login::of_test(number).with_password("anna", password);
        chain.begin(with(1, "sesame"), Vec::new());
        for link in 0..3 {
            chain.answered(link, at(1), 1, Verdict::Accepted, None);
        }
        let judges = ["password", "certificate", "second password"];
        assert_eq!(said(), judges.map(|it| format!("{it} judges 1")));
        let (judged, _) = chain.poll().unwrap();
        let token = judged.token.expect("a token for the password");
        for number in [2, 3] {
            chain.begin(with(number, token.as_str()), Vec::new());
            assert_eq!(said(), [format!("certificate judges {number}")]);
        }
        chain.answered(1, at(2), 1, refused(), None);
        chain.answered(1, at(3), 1, Verdict::Accepted, None);
        assert_eq!(said(), [] as [&str; 0], "no other password judge either");
        let verdicts = verdicts(&mut chain);
        assert_eq!(verdicts, [(2, refused()), (3, Verdict::Accepted)]);
    }

    #[test]
    fn who_fails_too_often_waits_and_nobody_is_asked() {
        let (say, said) = mpsc::channel();
        let links: Vec<Box<dyn Link>> = vec![Box::new(Scribe("judge", say))];
        let mut chain = Chain::new(links, ServerFacts::default());
        chain = chain.with_own(None, Some(Backoff::default()));
        let named = |number, name: &str, peer_info: &str| Login {
            peer_info: PeerInfo::parse(peer_info),
            ..Login::of_test(number).with_password(name, "wrong")
        };
        for number in 1..=3 {
            chain.begin(named(number, "anna", ""), Vec::new());
            chain.answered(0, at(number), 1, refused(), None);
        }
        assert_eq!(said.try_iter().count(), 3, "slips are free");
        let reasons = |chain: &mut Chain| -> Vec<String> {
            let verdicts = verdicts(chain).into_iter();
            let reasons = verdicts.map(|(_, verdict)| match verdict {
                Verdict::Refused { reason, .. } => reason,
                other => format!("{other:?}"),
            });
            reasons.collect()
        };
        reasons(&mut chain);
        let temporary = "IV_PROTO=990\n";
        chain.begin(named(5, "anna", temporary), Vec::new());
        chain.begin(named(6, "bert", ""), Vec::new());
        let told = reasons(&mut chain);
        let [understands, does_not] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!(understands.starts_with("TEMP[backoff "), "{told:?}");
        assert!(does_not.starts_with("too many failed logins"), "{told:?}");
        assert_eq!(said.try_iter().count(), 0, "nobody was asked");
        // Who is in behind the same address stays.
        let again = Login {
            kind: LoginKind::Reauth,
            ..named(8, "dora", "")
        };
        chain.begin(again, Vec::new());
        assert_eq!(said.try_iter().count(), 1);
        // Nor are more of one name asked about at once than somebody has devices.
        let mut chain = chain.with_own(None, Some(Backoff::default()));
        for number in 11..=15 {
            chain.begin(named(number, "carl", temporary), Vec::new());
        }
        assert_eq!(said.try_iter().count(), LOGINS_OF_A_NAME);
        let told = reasons(&mut chain);
        assert!(
            told.len() == 1 && told[0].starts_with("TEMP[backoff 1]:other logins"),
            "{told:?}"
        );
        chain.begin(named(20, "emma", ""), Vec::new());
        chain.answered(0, at(20), 1, Verdict::Accepted, None);
        for number in 21..=26 {
            chain.begin(named(number, "emma", ""), Vec::new());
        }
        let asked = said.try_iter().count();
        assert_eq!(asked, 7, "at home there may be more");
        // One without a name fails for nobody.
        chain.begin(Login::of_test(7), Vec::new());
        assert_eq!(said.try_iter().count(), 1);
    }

    #[test]
    fn an_old_token_is_nobodys_failure() {
        let (say, said) = mpsc::channel();
        let links: Vec<Box<dyn Link>> = vec![Box::new(Scribe("judge", say))];
        let before = crate::node::auth::tokens::tests::tokens(false);
        let token = {
            let mut chain = Chain::new(Vec::new(), ServerFacts::default());
            chain = chain.with_tokens(Some(before));
            let login = Login::of_test(1).with_password("anna", "sesame");
            chain.begin(login, Vec::new());
            chain.poll().unwrap().0.token.unwrap()
        };
        // The server has another secret now, and all are behind one address.
        let now = crate::node::auth::tokens::tests::tokens_of(false, 8);
        let mut chain = Chain::new(links, ServerFacts::default()).with_tokens(Some(now));
        chain = chain.with_own(None, Some(Backoff::default()));
        for number in 1..=20 {
            let login = Login::of_test(number).with_password("anna", token.as_str());
            chain.begin(login, Vec::new());
        }
        let refusals = verdicts(&mut chain);
        assert!(refusals.iter().all(|(_, it)| it.is_refusal()));
        assert_eq!((refusals.len(), said.try_iter().count()), (20, 0));
        let login = Login::of_test(21).with_password("anna", "sesame");
        chain.begin(login, Vec::new());
        assert_eq!(said.try_iter().count(), 1, "it does not wait");
    }

    #[test]
    fn an_answer_to_a_challenge_that_comes_too_soon_is_good_later() {
        let (codes, _directory) = crate::node::auth::codes::tests::codes();
        let mut chain = Chain::new(Vec::new(), ServerFacts::default());
        chain = chain.with_own(Some(codes), Some(Backoff::default()));
        let begin = |chain: &mut Chain, number, password: &str| {
            let login = Login::of_test(number).with_password("anna", password);
            chain.begin(login, Vec::new());
            match chain.poll().unwrap().0.verdict {
                Verdict::Refused { reason, why } => (reason, why.to_string()),
                other => panic!("{other:?}"),
            }
        };
        let (question, _) = begin(&mut chain, 1, "sesame");
        let state = question.split(':').nth(2).unwrap();
        let answer = format!("CRV1::{state}::no code");
        for number in 2..=6 {
            begin(&mut chain, number, "SCRV1:eA==:eA==");
        }
        let (_, why) = begin(&mut chain, 7, &answer);
        assert!(why.starts_with("too many failed logins"), "{why}");
        // Behind the wait it is looked at, and answers the question that is still open.
        chain = Chain {
            backoff: Some(Backoff::default()),
            ..chain
        };
        let (_, why) = begin(&mut chain, 8, &answer);
        assert_eq!(why, "ringway-totp-file: wrong code");
        let (_, why) = begin(&mut chain, 9, &answer);
        assert_eq!(why, "ringway-totp-file: no code", "once");
    }
}
