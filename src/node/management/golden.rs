//! The transcripts of OpenVPN 2.6.14 said again: the same answers but for what must differ.

use std::sync::Arc;

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::conversation::Conversation;
use super::desk::{Backend, Desk, Waits};
use super::order::Killed;
use crate::node::counters::{Counters, NodeReport};
use crate::node::status::{
    ClientStatus, RouteDestination, RouteStatus, StatusFormat, StatusSnapshot,
};
use crate::node::title::title;
use crate::wire::PeerId;

/// The node of the transcripts: one client, whose numbers are those that stock had.
pub(super) struct Stock {
    unix: u64,
    killed: Vec<(Vec<u64>, Killed)>,
    verbs: Vec<u8>,
    passwords: Vec<String>,
}

impl Stock {
    pub(super) fn new() -> Self {
        let (killed, verbs) = (Vec::new(), Vec::new());
        Self {
            unix: 1_795_310_259,
            killed,
            verbs,
            passwords: Vec::new(),
        }
    }
}

fn client() -> ClientStatus {
    let route = |destination: &str, last_reference| RouteStatus {
        destination: RouteDestination::Address(destination.parse().unwrap()),
        last_reference,
    };
    ClientStatus {
        common_name: Some("Test-Client".into()),
        address: "10.77.0.2:48454".parse().unwrap(),
        v4: Some("10.8.0.2".parse().unwrap()),
        v6: Some("fd00:8::1000".parse().unwrap()),
        bytes_received: 5283,
        bytes_sent: 5399,
        connected_since: 1_795_310_201,
        username: None,
        client_id: 0,
        peer_id: PeerId::new(0).unwrap(),
        cipher: "AES-256-GCM".into(),
        routes: vec![
            route("10.8.0.2", 1_795_310_208),
            route("fd00:8::1000", 1_795_310_201),
        ],
    }
}

impl Backend for Stock {
    fn unix(&self) -> u64 {
        self.unix
    }

    fn report(&mut self) -> Option<Arc<NodeReport>> {
        Some(Arc::new(NodeReport {
            status: StatusSnapshot {
                unix: 1_795_310_212,
                clients: vec![client()],
                longest_queue: 1,
            },
            format: StatusFormat::V1,
            zone: TimeZone::UTC,
            steered: Vec::new(),
            node: Counters::default(),
            shards: Vec::new(),
        }))
    }

    fn kill(&mut self, clients: Vec<u64>, how: Killed) -> usize {
        let killed = clients.iter().filter(|&&client| client == 0).count();
        self.killed.push((clients, how));
        killed
    }

    fn set_verb(&mut self, verb: u8) {
        self.verbs.push(verb);
    }

    fn set_mute(&mut self, _: u32) {}

    fn signal(&mut self, _: i32) {}

    fn release(&mut self) {}

    fn key_password(&mut self, password: Zeroizing<String>) {
        self.passwords.push(password.to_string());
    }

    fn forget_passwords(&mut self) {
        self.passwords.clear();
    }

    fn note(&mut self, _: &str) {}
}

/// The exchanges of a transcript: a command and the lines behind it.
fn exchanges(transcript: &str) -> Vec<(&str, Vec<&str>)> {
    let mut exchanges: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in transcript
        .lines()
        .skip_while(|line| !line.starts_with(">>>"))
    {
        match line.strip_prefix(">>> ") {
            Some(command) => exchanges.push((command, Vec::new())),
            None => exchanges.last_mut().unwrap().1.push(line),
        }
    }
    exchanges
}

/// What must differ: title, process, times, and numbers of the traffic of that moment.
fn comparable(line: &str) -> String {
    let line = line.replace(title(), STOCK_TITLE);
    let digits_end = line.find(|it: char| !it.is_ascii_digit()).unwrap_or(0);
    if digits_end == 10 {
        return format!("T{}", &line[10..]);
    }
    for (begin, shown) in [
        ("SUCCESS: pid=", "SUCCESS: pid=N"),
        ("Updated,", "Updated,T"),
        ("TIME", "TIME"),
        ("CLIENT_LIST", "CLIENT_LIST"),
        ("Test-Client,", "Test-Client"),
        ("SUCCESS: nclients=1,", "SUCCESS: nclients=1"),
    ] {
        if line.starts_with(begin) {
            // The columns stay comparable by their number.
            let columns = line.split([',', '\t']).count();
            return format!("{shown} of {columns}");
        }
    }
    match line.strip_prefix(">LOG:") {
        Some(rest) => format!(">LOG:T{}", &rest[10..]),
        None => line,
    }
}

pub(super) fn ask(
    conversation: &mut Conversation,
    desk: &mut Desk,
    node: &mut Stock,
    text: &str,
) -> String {
    conversation.receive(text.as_bytes(), desk, node);
    let answer = String::from_utf8(conversation.output().to_vec()).unwrap();
    conversation.sent(answer.len());
    answer
}

/// A server as that of the transcripts, at its end of the greeting.
fn connected() -> (Conversation, Desk, Stock) {
    let mut desk = Desk::new(250);
    desk.verb = 4;
    let states = ["CONNECTING,,,,,,", "ASSIGN_IP,,10.8.0.1,,,,,fd00:8::1"];
    for state in states
        .into_iter()
        .chain(["CONNECTED,SUCCESS,10.8.0.1,,,,,fd00:8::1"])
    {
        desk.state.push(format!("1795310199,{state}"));
    }
    let mut conversation = Conversation::new(None, &desk);
    let mut node = Stock::new();
    let greeting = ask(&mut conversation, &mut desk, &mut node, "");
    assert_eq!(
        greeting,
        ">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
    );
    (conversation, desk, node)
}

/// Every command of the transcript up to `last` is answered as stock answered it.
fn replay(transcript: &str, last: &str) -> usize {
    let (mut conversation, mut desk, mut node) = connected();
    let mut compared = 0;
    for (command, expected) in exchanges(transcript) {
        // An `END` of the transcript is the line behind `client-auth`, and stands before its answer.
        let (sent, expected) = match command.starts_with("client-auth ") {
            true => (format!("{command}\nEND\n"), &expected[1..]),
            false => (format!("{command}\n"), &expected[..]),
        };
        let answer = ask(&mut conversation, &mut desk, &mut node, &sent);
        assert!(answer.is_empty() || answer.ends_with("\r\n"), "{command}");
        let lines = answer.split_terminator("\r\n").map(comparable);
        let is_told = |line: &&&str| !line.starts_with(">BYTECOUNT_CLI");
        let expected = expected.iter().filter(is_told).map(|line| comparable(line));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            expected.collect::<Vec<_>>(),
            "{command}"
        );
        compared += 1;
        if command == last {
            return compared;
        }
    }
    panic!("the transcript ends without {last}");
}

#[test]
fn commands_of_the_first_transcript_are_answered_as_stock_answers_them() {
    // Behind it stock waits for the `END` of a `client-auth`, and the transcript for nothing.
    assert_eq!(replay(FIRST, "client-kill 99"), 20);
}

#[test]
fn commands_of_the_second_transcript_are_answered_as_stock_answers_them() {
    assert_eq!(replay(SECOND, "kill Test-Client"), 34);
}

#[test]
fn trap_19_lines_end_with_cr_lf_and_addresses_have_no_protocol() {
    let (mut conversation, mut desk, mut node) = connected();
    let answer = ask(&mut conversation, &mut desk, &mut node, "status 3\n");
    assert_eq!(answer.matches('\n').count(), answer.matches("\r\n").count());
    assert!(answer.ends_with("\nEND\r\n"), "{answer}");
    assert!(answer.contains("CLIENT_LIST\tTest-Client\t10.77.0.2:48454\t"));
    // 2.7's form is understood all the same.
    let killed = ask(
        &mut conversation,
        &mut desk,
        &mut node,
        "kill udp4:10.77.0.2:48454\n",
    );
    assert_eq!(
        killed,
        "SUCCESS: 1 client(s) at address 10.77.0.2:48454 killed\r\n"
    );
}

#[test]
fn trap_28_a_version_is_taken_without_a_word() {
    let (mut conversation, mut desk, mut node) = connected();
    for version in ["version 3\n", "version 4\n", "version 5\n"] {
        assert_eq!(ask(&mut conversation, &mut desk, &mut node, version), "");
    }
}

#[test]
fn the_version_has_exactly_four_parts_and_ends_with_a_digit() {
    let (mut conversation, mut desk, mut node) = connected();
    let answer = ask(&mut conversation, &mut desk, &mut node, "version\n");
    let parts: Vec<&str> = answer.split("\r\n").collect();
    assert_eq!(parts.len(), 4);
    assert!(parts[0].starts_with("OpenVPN Version: OpenVPN 2.6.14 "));
    assert_eq!(
        (parts[1], parts[2], parts[3]),
        ("Management Version: 5", "END", "")
    );
}

#[test]
fn a_password_has_three_tries() {
    let mut desk = Desk::new(10);
    let mut node = Stock::new();
    let password = || Some("secret".to_owned().into());
    let mut conversation = Conversation::new(password(), &desk);
    assert_eq!(
        ask(&mut conversation, &mut desk, &mut node, ""),
        "ENTER PASSWORD:"
    );
    assert_eq!(
        ask(&mut conversation, &mut desk, &mut node, "secre\n"),
        "ERROR: bad password\r\nENTER PASSWORD:"
    );
    let welcome = ask(&mut conversation, &mut desk, &mut node, "secret\r\npid\n");
    assert!(
        welcome.starts_with("SUCCESS: password is correct\r\n>INFO:"),
        "{welcome}"
    );
    assert!(welcome.contains("SUCCESS: pid="));

    let mut conversation = Conversation::new(password(), &desk);
    let answer = ask(
        &mut conversation,
        &mut desk,
        &mut node,
        "a\nb\nsecret1\nsecret\n",
    );
    assert!(answer.ends_with("ERROR: bad password\r\n"), "{answer}");
    assert!(conversation.is_closing());
    assert!(!answer.contains("SUCCESS"));
}

#[test]
fn messages_of_client_kill_reach_the_node_and_what_is_wrong_does_not() {
    let (mut conversation, mut desk, mut node) = connected();
    let commands = "client-kill 0\nclient-kill 0 \"HALT,good bye\"\nclient-kill x\nclient-kill\n";
    let answer = ask(&mut conversation, &mut desk, &mut node, commands);
    assert_eq!(
        answer.split("\r\n").collect::<Vec<_>>(),
        [
            "SUCCESS: client-kill command succeeded",
            "SUCCESS: client-kill command succeeded",
            "ERROR: cannot parse CID",
            "ERROR: the 'client-kill' command requires at least 1 parameter",
            ""
        ]
    );
    let told = |text: &str| (vec![0], Killed::Told(text.into()));
    assert_eq!(node.killed, [told("RESTART"), told("HALT,good bye")]);
}

#[test]
fn who_reads_nothing_is_asked_nothing_more() {
    let (mut conversation, mut desk, mut node) = connected();
    let many = "test 1000\n".repeat(100);
    conversation.receive(many.as_bytes(), &mut desk, &mut node);
    assert!(conversation.output().len() < 2 * crate::limits::MANAGEMENT_BACKLOG + 8000);
    assert!(!conversation.listens());
}

#[test]
fn a_server_that_waits_says_so_and_has_no_clients() {
    let mut desk = Desk::new(10);
    (desk.hold, desk.waits) = (true, Waits::Release);
    let mut node = Stock::new();
    let mut conversation = Conversation::new(None, &desk);
    let commands = "status\nsignal SIGHUP\nhold\nhold release\nstatus 9\n";
    let answer = ask(&mut conversation, &mut desk, &mut node, commands);
    assert_eq!(
        answer.split("\r\n").skip(1).collect::<Vec<_>>(),
        [
            ">HOLD:Waiting for hold release:0",
            "ERROR: The 'status' command is not supported by the current daemon mode",
            "ERROR: signal 'SIGHUP' is currently ignored",
            ">HOLD:Waiting for hold release:0",
            "SUCCESS: hold=1",
            "SUCCESS: hold release succeeded",
            "ERROR: bad status format version number",
            ""
        ]
    );
}

#[test]
fn the_password_of_the_key_is_taken_when_it_is_asked_for() {
    let mut desk = Desk::new(10);
    desk.verb = 3;
    let mut node = Stock::new();
    let (mut early, _, _) = connected();
    let asks =
        |conversation: &mut Conversation, desk: &mut Desk, node: &mut Stock, commands: &str| {
            let answer = ask(conversation, desk, node, commands);
            let lines = answer.split("\r\n").filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
    let none = "ERROR: no password is currently needed at this time";
    let before = asks(
        &mut early,
        &mut desk,
        &mut node,
        "password 'Private Key' early\n",
    );
    assert_eq!(before, [none]);
    desk.waits = Waits::Password;
    let mut conversation = Conversation::new(None, &desk);
    let long = "x".repeat(crate::limits::CONFIG_WORD_MAX + 1);
    let commands = format!(
        "username 'Private Key' anna\npassword Auth other\npassword 'Private Key' {long}\n\
         signal SIGHUP\nload-stats\npassword \"Private Key\" \"two \\\"words\"\n\
         password 'Private Key' late\n"
    );
    let answers = asks(&mut conversation, &mut desk, &mut node, &commands);
    assert_eq!(
        answers
            .iter()
            .skip(1)
            .map(String::as_str)
            .collect::<Vec<_>>(),
        [
            ">PASSWORD:Need 'Private Key' password",
            "ERROR: no username is currently needed at this time",
            "ERROR: password of type 'Auth' entered, but we need one of type 'Private Key'",
            "ERROR: a word of more than 256 bytes",
            "ERROR: signal 'SIGHUP' is currently ignored",
            ">PASSWORD:Need 'Private Key' password",
            "ERROR: The 'load-stats' command is not supported by the current daemon mode",
            "SUCCESS: 'Private Key' password entered, but not yet verified",
            none,
        ]
    );
    assert_eq!(node.passwords, ["two \"words"]);
    let said: Vec<&str> = desk.log.last(None).collect();
    assert!(said.iter().all(|line| !line.contains("words")), "{said:?}");
    asks(
        &mut conversation,
        &mut desk,
        &mut node,
        "forget-passwords\n",
    );
    assert_eq!(node.passwords, [""; 0]);
}

const STOCK_TITLE: &str = "OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)] [LZO] [LZ4] [EPOLL] [PKCS11] [MH/PKTINFO] [AEAD] [DCO]";
const FIRST: &str = include_str!("../../../tests/golden/management-2.6.14.txt");
const SECOND: &str = include_str!("../../../tests/golden/management-2.6.14-b.txt");
