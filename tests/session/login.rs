//! What a client says of itself to be let in.

use std::time::Duration;

use ringway::session::{
    CredentialRule, Credentials, LeaveReason, LoginRules, SessionEvent, SessionSettings,
};
use ringway::wire::KeyId;

use crate::pair::{Pair, V2_6, Verdict, Wrap, client, count, left, server};

/// A server that asks for user names and passwords.
fn judged(optional: bool) -> SessionSettings {
    let mut settings = server(Wrap::Plain);
    settings.login = Some(LoginRules {
        credentials: match optional {
            true => CredentialRule::Optional,
            false => CredentialRule::Required,
        },
        exporter: None,
    });
    settings.timing.tran_window = Duration::from_secs(600);
    settings
}

fn pair(settings: SessionSettings) -> Pair {
    let mut pair = Pair::new(client(Wrap::Plain, V2_6), settings);
    pair.client = pair.client.with_credentials(Credentials {
        username: "anna".to_owned(),
        password: "sesame".to_owned().into(),
    });
    pair
}

fn keys_of(pair: &Pair, key_id: u8) -> usize {
    let is_it = |known: &KeyId| known.get() == key_id;
    count(
        &pair.server_events,
        |event| matches!(event, SessionEvent::Keys { key_id, .. } if is_it(key_id)),
    )
}

fn renegotiate(pair: &mut Pair) {
    let now = pair.wall();
    pair.client.renegotiate_soon(now);
    pair.pass(Duration::from_secs(90));
}

#[test]
fn a_new_key_comes_out_when_its_login_is_accepted() {
    let mut pair = pair(judged(false));
    pair.settle();
    pair.pass(Duration::from_secs(2));
    assert!(pair.client.is_connected(), "{:?}", pair.server_events);
    renegotiate(&mut pair);
    let again = |event: &SessionEvent| match event {
        SessionEvent::LoginAgain(admission) => {
            let credentials = admission.credentials.as_ref();
            assert_eq!(credentials.map(|it| it.username.as_str()), Some("anna"));
            admission.login == 2
        }
        _ => false,
    };
    assert_eq!(count(&pair.server_events, again), 1);
    assert_eq!(keys_of(&pair, 1), 0);
    let promoted = |pair: &Pair| {
        count(
            &pair.server_events,
            |event| matches!(event, SessionEvent::Promoted(key_id) if key_id.get() == 1),
        )
    };
    assert_eq!(
        promoted(&pair),
        0,
        "nobody seals with a key that is not accepted"
    );
    let (now, mut random) = (pair.wall(), pair.random.clone());
    pair.server().login_accepted(now, &mut random, 1);
    pair.pass(Duration::from_secs(1));
    assert_eq!(keys_of(&pair, 1), 0, "an old verdict");
    pair.server().login_accepted(now, &mut random, 2);
    pair.server().login_accepted(now, &mut random, 2);
    pair.pass(Duration::from_secs(900));
    assert_eq!((keys_of(&pair, 1), promoted(&pair)), (1, 1));
    assert_eq!(
        left(&pair.server_events),
        None,
        "it lives on with the new key"
    );
}

#[test]
fn a_refused_key_is_not_used_and_the_client_is_told_when_the_old_one_ends() {
    let mut pair = pair(judged(false));
    pair.settle();
    pair.pass(Duration::from_secs(2));
    renegotiate(&mut pair);
    let (now, mut random) = (pair.wall(), pair.random.clone());
    pair.server().login_refused(now, &mut random, 2, "not\nyou");
    pair.server().login_accepted(now, &mut random, 2);
    pair.pass(Duration::from_secs(400));
    assert_eq!(keys_of(&pair, 1), 0);
    assert_eq!(left(&pair.server_events), None, "the old key lives on");
    pair.pass(Duration::from_secs(200));
    let refused = LeaveReason::LoginRefused("not_you".to_owned());
    assert_eq!(left(&pair.server_events), Some(&refused));
    let told = LeaveReason::AuthFailed("not_you".to_owned());
    assert_eq!(left(&pair.client_events), Some(&told));
}

#[test]
fn a_login_that_is_never_judged_ends_with_the_old_key() {
    let mut pair = pair(judged(false));
    pair.settle();
    pair.pass(Duration::from_secs(2));
    renegotiate(&mut pair);
    renegotiate(&mut pair);
    pair.pass(Duration::from_secs(600));
    assert_eq!(left(&pair.server_events), Some(&LeaveReason::KeyExpired));
    assert_eq!(keys_of(&pair, 1) + keys_of(&pair, 2), 0);
}

#[test]
fn without_credentials_nobody_is_asked_unless_they_are_optional() {
    for optional in [false, true] {
        let mut pair = Pair::new(client(Wrap::Plain, V2_6), judged(optional));
        pair.settle();
        pair.pass(Duration::from_secs(2));
        let asked = |event: &SessionEvent| matches!(event, SessionEvent::Authenticated(_));
        assert_eq!(count(&pair.server_events, asked), usize::from(optional));
        assert_eq!(pair.client.is_connected(), optional);
        let told = (!optional).then(|| LeaveReason::AuthFailed(String::new()));
        assert_eq!(left(&pair.client_events), told.as_ref());
    }
}

#[test]
fn a_client_waits_longer_when_it_is_told_so() {
    let mut settings = judged(false);
    settings.timing.hand_window = Duration::from_secs(60);
    for pending in [false, true] {
        let mut pair = pair(settings.clone());
        pair.verdict = Verdict::Later;
        pair.settle();
        let (now, mut random) = (pair.wall(), pair.random.clone());
        if pending {
            let (wanted, extra) = (Duration::from_secs(9_000), "WEB_AUTH::https://here");
            pair.server()
                .login_pending(now, &mut random, 1, wanted, extra);
        }
        pair.pass(Duration::from_secs(70));
        let ended = left(&pair.server_events).is_some();
        assert_eq!(ended, !pending);
        let told = |event: &SessionEvent| match event {
            SessionEvent::Pushed(messages) => {
                messages[0].starts_with("AUTH_PENDING,timeout ")
                    && messages[1] == "INFO_PRE,WEB_AUTH::https://here"
            }
            _ => false,
        };
        assert_eq!(count(&pair.server_events, told), usize::from(pending));
    }
}

#[test]
fn a_password_is_told_until_a_token_takes_its_place() {
    let mut settings = server(Wrap::Plain);
    settings.push.push("auth-token SESS_ID_AT_one".to_owned());
    // Without a wrapping of later generations, so that the tape shows them.
    let peer_info = V2_6.replace("IV_PROTO=990", "IV_PROTO=478");
    let mut pair = Pair::new(client(Wrap::Plain, &peer_info), settings);
    pair.client = pair.client.with_credentials(Credentials {
        username: "anna".to_owned(),
        password: "sesame".to_owned().into(),
    });
    pair.settle();
    pair.pass(Duration::from_secs(2));
    assert!(pair.client.is_connected(), "{:?}", pair.client_events);
    // Wire: each string with its length and NUL.
    let first = b"\x00\x05anna\x00\x00\x07sesame\x00";
    assert_eq!(told(&pair, first), 1);

    let now = pair.wall();
    pair.client.renegotiate_soon(now);
    pair.pass(Duration::from_secs(2));
    assert_eq!(told(&pair, first), 1);
    let next = b"\x00\x05anna\x00\x00\x0fSESS_ID_AT_one\x00";
    assert_eq!(told(&pair, next), 1);
}

/// How many of the client's datagrams hold these bytes.
fn told(pair: &Pair, text: &[u8]) -> usize {
    let holds = |datagram: &[u8]| datagram.windows(text.len()).any(|window| window == text);
    let tape = pair.tape.iter();
    tape.filter(|(from_client, datagram)| *from_client && holds(datagram))
        .count()
}
