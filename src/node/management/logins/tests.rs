use super::*;
use crate::node::auth::Verdict;
use crate::node::auth::manager::tests::asked;
use crate::node::management::conversation::{Conversation, Notice};
use crate::node::management::desk::Desk;
use crate::node::management::golden::{Stock, ask};

type Variables = Vec<(String, String)>;

/// The lines of the transcript that stand behind this one, up to the end of its variables.
fn block(head: &str) -> Vec<&'static str> {
    let lines = TRANSCRIPT.lines().skip_while(|line| *line != head);
    let end = ">CLIENT:ENV,END";
    let mut lines: Vec<_> = lines.take_while(|line| *line != end).collect();
    lines.push(end);
    lines
}

/// The variables of such a block, but for those that its teller adds.
fn variables(block: &[&str], besides: &[&str]) -> Variables {
    let told = block
        .iter()
        .filter_map(|line| line.strip_prefix(">CLIENT:ENV,"));
    let told = told.filter_map(|it| it.split_once('='));
    let told = told.filter(|(name, _)| !besides.contains(name));
    told.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn lines(block: &ClientBlock, filter: i64) -> Vec<String> {
    let mut lines = Vec::new();
    block.lines(filter, |line| lines.push(line.to_owned()));
    lines
}

/// A server's side, and what who is connected to it reads.
struct Talk {
    conversation: Conversation,
    desk: Desk,
    node: Stock,
}

impl Talk {
    fn new() -> Self {
        let desk = Desk::new(10);
        let mut talk = Self {
            conversation: Conversation::new(None, &desk),
            desk,
            node: Stock::new(),
        };
        talk.says("");
        talk
    }

    fn says(&mut self, text: &str) -> String {
        let Self {
            conversation,
            desk,
            node,
        } = self;
        ask(conversation, desk, node, text)
    }

    fn news(&mut self, news: ClientNews) -> Vec<String> {
        let block = self.desk.logins.take(news);
        let block = block.or_else(|| self.desk.logins.next_untold());
        if let Some(block) = block {
            assert!(self.conversation.notice(&Notice::Client(block)));
        }
        let said = self.says("");
        let lines = said.split_terminator("\r\n");
        lines.map(str::to_owned).collect()
    }
}

#[test]
fn a_client_is_told_as_stock_tells_it() {
    let mut talk = Talk::new();
    let connect = block(">CLIENT:CONNECT,0,1");
    let environment = variables(&connect, &["n_clients", "password", "username"]);
    let (login, mut answer) = asked(0, 1, environment);
    assert_eq!(talk.news(ClientNews::Asked(login)), connect);
    assert_eq!(answer(), None, "nobody has said anything");
    let given = "push \"route 10.99.0.0 255.255.0.0\"\npush \"dhcp-option DNS 10.8.0.1\"\n";
    let said = talk.says(&format!("client-auth 0 1\n{given}END\n"));
    assert_eq!(said, "SUCCESS: client-auth command succeeded\r\n");
    let (verdict, told) = answer().unwrap();
    assert_eq!(verdict, Verdict::Accepted);
    assert_eq!(told.unwrap().text, given);
    for (network, shown) in [
        ("10.8.0.3/32", ">CLIENT:ADDRESS,0,10.8.0.3,1"),
        ("fd00:8::1001/128", ">CLIENT:ADDRESS,0,fd00:8::1001,1"),
        (
            "192.168.50.0/24",
            ">CLIENT:ADDRESS,0,192.168.50.0/255.255.255.0,0",
        ),
        ("fd50::/64", ">CLIENT:ADDRESS,0,fd50::/64,0"),
    ] {
        let news = ClientNews::Addressed {
            client_id: 0,
            network: network.parse().unwrap(),
            primary: shown.ends_with('1'),
        };
        assert_eq!(talk.news(news), [shown]);
    }
    let established = block(">CLIENT:ESTABLISHED,0");
    let news = ClientNews::Established {
        client_id: 0,
        environment: variables(&established, &["n_clients"]),
    };
    assert_eq!(talk.news(news), established);
    let gone = block(">CLIENT:DISCONNECT,0");
    let news = ClientNews::Gone {
        client_id: 0,
        environment: Some(variables(&gone, &[])),
    };
    assert_eq!(talk.news(news), gone);
    assert!(talk.desk.logins.clients.is_empty());
}

#[test]
fn of_a_client_that_was_not_asked_about_only_its_coming_is_told() {
    let mut talk = Talk::new();
    let mut counted = Vec::new();
    for client_id in [3, 4] {
        let network = "10.8.0.3/32".parse().unwrap();
        let primary = true;
        let addressed = ClientNews::Addressed {
            client_id,
            network,
            primary,
        };
        assert_eq!(talk.news(addressed), [] as [&str; 0]);
        let environment = Vec::new();
        counted.extend(talk.news(ClientNews::Established {
            client_id,
            environment,
        }));
    }
    let end = ">CLIENT:ENV,END";
    let expected = [
        [">CLIENT:ESTABLISHED,3", ">CLIENT:ENV,n_clients=1", end],
        [">CLIENT:ESTABLISHED,4", ">CLIENT:ENV,n_clients=2", end],
    ];
    assert_eq!(counted, expected.concat());
    let gone = ClientNews::Gone {
        client_id: 3,
        environment: Some(Vec::new()),
    };
    assert_eq!(talk.news(gone), [] as [&str; 0]);
    assert_eq!(talk.desk.logins.established, 1);
}

#[test]
fn the_first_word_counts_and_one_for_nobody_is_an_error() {
    let mut talk = Talk::new();
    let (login, mut answer) = asked(7, 1, Vec::new());
    talk.news(ClientNews::Asked(login));
    for (said, reply) in [
        ("client-deny 7 2 no", "ERROR: client-deny command failed"),
        ("client-auth-nt 8 1", "ERROR: client-auth command failed"),
        ("client-auth-nt 7 x", "ERROR: cannot parse KID"),
        ("client-deny x 1 no", "ERROR: cannot parse CID"),
        (
            "client-pending-auth 7 1 WEB_AUTH::https://x/ x",
            "ERROR: cannot parse TIMEOUT",
        ),
        (
            "client-pending-auth 7 1 WEB_AUTH::https://x/ 30",
            "SUCCESS: client-pending-auth command succeeded",
        ),
        (
            "client-deny 7 1 \"wrong password\" \"not today\"",
            "SUCCESS: client-deny command succeeded",
        ),
        ("client-auth-nt 7 1", "ERROR: client-auth command failed"),
        (
            "client-auth 7 1\npush x\nEND",
            "ERROR: client-auth command failed",
        ),
        (
            "client-pending-auth 7 1 WEB_AUTH::https://x/ 30",
            "ERROR: client-pending-auth command failed. Extra parameter might be too long",
        ),
    ] {
        assert_eq!(
            talk.says(&format!("{said}\n")),
            format!("{reply}\r\n"),
            "{said}"
        );
    }
    let pending = Verdict::Pending {
        timeout: Duration::from_secs(30),
        extra: "WEB_AUTH::https://x/".to_owned(),
    };
    assert_eq!(answer(), Some((pending, None)));
    let refused = Verdict::Refused {
        reason: "not today".to_owned(),
        why: "connection rejected: wrong password, CLI:not today".into(),
    };
    assert_eq!(answer(), Some((refused, None)));
    assert_eq!(answer(), None);
    let logins = &talk.desk.logins;
    assert!(logins.clients.is_empty() && logins.numbers.is_empty());
}

#[test]
fn words_that_no_message_could_carry_are_refused() {
    let mut logins = Logins::default();
    let (login, mut answer) = asked(7, 1, Vec::new());
    logins.take(ClientNews::Asked(login));
    let mut delay = |extra| logins.delay((7, 1), Duration::ZERO, &"x".repeat(extra));
    assert!(!delay(AUTH_REASON_MAX + 1));
    assert_eq!(answer(), None);
    assert!(delay(AUTH_REASON_MAX));
    assert!(answer().is_some());
}

#[test]
fn a_login_waits_for_who_connects_later_and_not_when_it_is_gone() {
    let mut logins = Logins::default();
    let mut answers = Vec::new();
    let mut numbers = Vec::new();
    for client in [1, 2, 3] {
        let (login, answer) = asked(client, 1, Vec::new());
        numbers.push(login.login().at);
        answers.push(answer);
        assert_eq!(logins.take(ClientNews::Asked(login)), None);
    }
    assert_eq!(logins.take(ClientNews::Forgotten(numbers[1])), None);
    let told = std::iter::from_fn(|| logins.next_untold());
    let heads: Vec<_> = told.map(|block| block.head).collect();
    assert_eq!(heads, [">CLIENT:CONNECT,1,1", ">CLIENT:CONNECT,3,1"]);
    assert_eq!(logins.take(ClientNews::Forgotten(numbers[0])), None);
    assert!(!logins.accept((1, 1), String::new()), "it is gone");
    assert!(logins.accept((3, 1), String::new()));
    assert_eq!(answers[2](), Some((Verdict::Accepted, None)));
    let left = (
        logins.waiting.len(),
        logins.numbers.len(),
        logins.untold.len(),
    );
    assert_eq!(left, (0, 0, 0));
    assert_eq!(logins.clients.len(), 1, "the one that comes in");
}

#[test]
fn another_login_of_one_that_is_in_is_told_as_such_and_may_be_refused() {
    let mut talk = Talk::new();
    let (login, _) = asked(0, 1, Vec::new());
    talk.news(ClientNews::Asked(login));
    talk.says("client-auth-nt 0 1\n");
    let environment = Vec::new();
    let client_id = 0;
    talk.news(ClientNews::Established {
        client_id,
        environment,
    });
    let (login, mut answer) = asked(0, 3, Vec::new());
    let told = talk.news(ClientNews::Asked(login));
    assert_eq!(told[..2], [">CLIENT:REAUTH,0,3", ">CLIENT:ENV,n_clients=1"]);
    talk.says("client-deny 0 3 no\n");
    assert!(answer().is_some_and(|(verdict, _)| verdict.is_refusal()));
    let environment = Some(Vec::new());
    let told = talk.news(ClientNews::Gone {
        client_id,
        environment,
    });
    assert_eq!(told[0], ">CLIENT:DISCONNECT,0", "it was in all the same");
}

#[test]
fn an_answer_to_a_challenge_is_told_with_all_but_the_password() {
    let mut talk = Talk::new();
    let connect = block(">CLIENT:CONNECT,0,1");
    let environment = variables(&connect, &["n_clients", "password", "username"]);
    let (login, _answer) = asked(0, 1, environment);
    let of = login.shared();
    talk.news(ClientNews::Asked(login));
    let response = ChallengeResponse("Ymx1\r\nZQ==".to_owned().into());
    let told = talk.news(ClientNews::Responded(of, response));
    assert_eq!(told[0], ">CLIENT:CR_RESPONSE,0,1,Ymx1__ZQ==");
    let rest = connect[1..].iter().filter(|it| !it.contains("password"));
    assert!(rest.eq(&told[1..]), "{told:?}");
}

#[test]
fn who_filters_is_told_less_and_nobody_a_second_line() {
    let environment = vec![
        variable("untrusted_ip", "10.0.0.1"),
        variable("untrusted_port", "7"),
        variable("common_name", "al\r\n>FATAL:ice"),
        variable("tls_serial_0", "2"),
        variable("X509_0_CN", "alice"),
        variable("X509_0_O", "here"),
    ];
    let (login, _answer) = asked(0, 1, environment);
    let mut logins = Logins::default();
    logins.take(ClientNews::Asked(login));
    let block = logins.next_untold().unwrap();
    let names = |filter| -> Vec<String> {
        let lines = lines(&block, filter).into_iter();
        let lines = lines.filter_map(|it| Some(it.strip_prefix(">CLIENT:ENV,")?.to_owned()));
        lines
            .map(|it| it.split('=').next().unwrap().to_owned())
            .collect()
    };
    let of_certificate = ["tls_serial_0", "X509_0_CN"];
    let head = ["password", "untrusted_ip"];
    let said = ["IV_VER", "IV_PLAT"];
    let all = [
        "n_clients",
        "password",
        "untrusted_ip",
        "untrusted_port",
        "common_name",
    ];
    let all = [
        &all[..],
        &["username"],
        &of_certificate,
        &["X509_0_O", "END"],
    ]
    .concat();
    assert_eq!(names(0), all);
    let rest = [&head[..], &["username"], &of_certificate].concat();
    assert_eq!(names(1), [&said[..], &rest, &["X509_0_O", "END"]].concat());
    assert_eq!(names(2), [&said[..], &rest, &["END"]].concat());
    assert_eq!(names(3), [&said[..], &["END"]].concat());
    let lines = lines(&block, 0);
    assert!(lines.contains(&">CLIENT:ENV,common_name=al__>FATAL:ice".to_owned()));
}

const TRANSCRIPT: &str = include_str!("../../../../tests/golden/management-2.6.14-client-auth.txt");
