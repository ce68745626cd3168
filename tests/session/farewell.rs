//! Goodbyes from either side.

use std::time::Duration;

use ringway::crypto::ReplayStamp;
use ringway::session::{ControlDrop, ExitChannel, Farewell, LeaveReason, SessionEvent};
use ringway::wire::{
    Acks, ControlBody, ControlHeader, KeyId, Opcode, Role, SessionId, parse_first_byte,
};

use crate::attack::record;
use crate::pair::{ALL_WRAPS, Pair, V2_6, Wrap, client, count, left, server, wrapping};
use crate::push::name;

const V2_5: &str = "IV_CIPHERS=AES-256-GCM\nIV_PROTO=6\n";

fn connected(wrap: Wrap, peer_info: &str) -> Pair {
    Pair::connected(client(wrap, peer_info), server(wrap))
}

fn assert_over(pair: &mut Pair) {
    pair.pass(Duration::from_secs(4));
    assert_eq!(count(&pair.client_events, is_finished), 0);
    assert_eq!(count(&pair.server_events, is_finished), 0);
    pair.pass(Duration::from_secs(2));
    assert_eq!(count(&pair.client_events, is_finished), 1);
    assert_eq!(count(&pair.server_events, is_finished), 1);
    assert_eq!(pair.client.next_timeout(), None);
    assert_eq!(pair.server().next_timeout(), None);
    let (_, last) = pair.tape.last().cloned().expect("something was sent");
    assert_eq!(pair.deliver_to_server(&last), Err(ControlDrop::Over));
    assert_eq!(pair.deliver_to_client(&last), Err(ControlDrop::Over));
}

fn is_finished(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Finished)
}

fn is_left(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Left(_))
}

#[test]
fn trap_23_the_clients_exit_goes_over_the_control_channel_where_that_was_agreed() {
    for wrap in ALL_WRAPS {
        let mut pair = connected(wrap, V2_6);
        let now = pair.wall();
        pair.client.close(now, Farewell::Exit, LeaveReason::Closed);
        pair.client.close(now, Farewell::Exit, LeaveReason::Closed);
        pair.settle();
        assert_eq!(left(&pair.client_events), Some(&LeaveReason::Closed));
        assert_eq!(
            left(&pair.server_events),
            Some(&LeaveReason::RemoteExit(ExitChannel::Control))
        );
        assert_eq!(count(&pair.client_events, is_left), 1);
        assert_eq!(
            count(&pair.client_events, |event| name(event) == "ExitNoticeDue"),
            0
        );
        assert_over(&mut pair);
    }
}

#[test]
fn the_exit_of_an_older_client_goes_over_the_data_channel() {
    let mut pair = connected(Wrap::TlsCrypt, V2_5);
    let now = pair.wall();
    pair.client.close(now, Farewell::Exit, LeaveReason::Closed);
    pair.settle();
    let last: Vec<_> = pair.client_events.iter().rev().take(3).map(name).collect();
    assert_eq!(last, ["Finished", "Left", "ExitNoticeDue"]);
    assert!(pair.server().is_connected());
    pair.server().peer_exits(now);
    pair.server().peer_exits(now);
    pair.settle();
    assert_eq!(
        left(&pair.server_events),
        Some(&LeaveReason::RemoteExit(ExitChannel::Data))
    );
    assert_eq!(count(&pair.server_events, is_left), 1);
}

#[test]
fn an_exit_while_a_new_key_is_agreed_on_goes_over_the_data_channel() {
    let mut pair = connected(Wrap::TlsCrypt, V2_6);
    let now = pair.wall();
    pair.client.renegotiate_soon(now);
    let (activity, mut random) = (pair.activity(), pair.random.clone());
    pair.client.handle_timeout(now, &mut random, activity);
    assert_eq!(
        pair.intercept_client().len(),
        1,
        "a soft reset that is lost"
    );
    pair.client.close(now, Farewell::Exit, LeaveReason::Closed);
    pair.collect_events();
    let last: Vec<_> = pair.client_events.iter().rev().take(3).map(name).collect();
    assert_eq!(last, ["Finished", "Left", "ExitNoticeDue"]);
}

#[test]
fn the_servers_restart_reaches_the_client() {
    for next_remote in [false, true] {
        let mut pair = connected(Wrap::Plain, V2_6);
        let now = pair.wall();
        let farewell = Farewell::Restart { next_remote };
        pair.server().close(now, farewell, LeaveReason::Closed);
        pair.settle();
        assert_eq!(left(&pair.server_events), Some(&LeaveReason::Closed));
        let text = String::new();
        let told = LeaveReason::RemoteRestart { next_remote, text };
        assert_eq!(left(&pair.client_events), Some(&told));
        let text: &[u8] = if next_remote {
            b"RESTART,[N]\0"
        } else {
            b"RESTART\0"
        };
        let said = |datagram: &[u8]| datagram.windows(text.len()).any(|window| window == text);
        assert!(pair.tape.iter().any(|(_, datagram)| said(datagram)));
        assert_over(&mut pair);
    }
}

#[test]
fn a_goodbye_that_is_lost_is_repeated() {
    let mut pair = connected(Wrap::TlsCrypt, V2_6);
    let now = pair.wall();
    pair.client.close(now, Farewell::Exit, LeaveReason::Closed);
    assert_eq!(pair.intercept_client().len(), 1, "lost");
    pair.pass(Duration::from_secs(3));
    assert_eq!(
        left(&pair.server_events),
        Some(&LeaveReason::RemoteExit(ExitChannel::Control))
    );
}

#[test]
fn trap_27_a_login_that_fails_later_is_told() {
    let mut pair = connected(Wrap::Plain, V2_6);
    let now = pair.wall();
    let farewell = Farewell::AuthFailed("SESSION: token expired");
    pair.server().close(now, farewell, LeaveReason::Closed);
    pair.settle();
    let told = LeaveReason::AuthFailed("SESSION: token expired".to_owned());
    assert_eq!(left(&pair.client_events), Some(&told));
}

/// A text message that the server of this pair without a wrapping never says by itself.
fn server_says(pair: &mut Pair, text: &str) {
    let servers = || pair.tape.iter().filter(|(by_client, _)| !by_client);
    let ids = servers().filter_map(|(_, datagram)| {
        let (opcode, _) = parse_first_byte(datagram).ok()?;
        ControlBody::parse(opcode, datagram.get(9..)?)
            .ok()?
            .message_id
    });
    let next = ids.max().map(|id| id + 1);
    let (_, last) = servers().next_back().expect("the server has spoken");
    let session_id = last.get(1..9).and_then(|it| it.try_into().ok());
    let header = ControlHeader {
        opcode: Opcode::ControlV1,
        key_id: KeyId::FIRST,
        session_id: SessionId(session_id.expect("a control packet")),
    };
    let body = ControlBody {
        acks: Acks::new(),
        remote: None,
        message_id: next,
        payload: &record(format!("{text}\0").as_bytes()),
    };
    let (mut inner, mut datagram) = (Vec::new(), Vec::new());
    body.emit(&mut inner);
    let stamp = ReplayStamp { id: 0, time: 0 };
    wrapping(Wrap::Plain, Role::Server).seal_with(stamp, header, &inner, &mut datagram);
    pair.deliver_to_client(&datagram).expect("the server's");
    pair.collect_events();
}

/// What a management interface, a script or another implementation may have a server say.
#[test]
fn what_a_server_says_ends_the_tunnel_of_a_client_or_does_not() {
    let restart = |next_remote, text: &str| {
        let text = text.to_owned();
        Some(LeaveReason::RemoteRestart { next_remote, text })
    };
    let halt = |text: &str| Some(LeaveReason::RemoteHalt(text.to_owned()));
    let refused = |text: &str| Some(LeaveReason::AuthFailed(text.to_owned()));
    for (text, reason) in [
        ("RESTART", restart(false, "")),
        ("RESTART,going down", restart(false, "going down")),
        ("RESTART,[P]", restart(false, "")),
        ("RESTART,[N]elsewhere", restart(true, "elsewhere")),
        ("RESTART,[PN]", restart(true, "")),
        ("HALT", halt("")),
        ("HALT,bye", halt("bye")),
        ("EXIT", Some(LeaveReason::RemoteExit(ExitChannel::Control))),
        ("AUTH_FAILED", refused("")),
        ("AUTH_FAILED,wrong", refused("wrong")),
        (
            "AUTH_FAILED,TEMP[backoff 7]:full",
            refused("TEMP[backoff 7]:full"),
        ),
        ("INFO,hello", None),
        ("INFO_PRE,hello", None),
        ("AUTH_PENDING,timeout 20", None),
        ("PUSH_REQUEST", None),
        ("CR_RESPONSE,YQ==", None),
        ("RESTARTED", None),
        ("HALTED,x", None),
    ] {
        let mut pair = connected(Wrap::Plain, V2_6);
        server_says(&mut pair, text);
        assert_eq!(left(&pair.client_events), reason.as_ref(), "{text}");
        assert_eq!(pair.client.is_connected(), reason.is_none(), "{text}");
        // It was understood, for it is acknowledged.
        assert!(!pair.intercept_client().is_empty(), "{text}");
    }
}

#[test]
fn a_silent_farewell_says_nothing() {
    let mut pair = connected(Wrap::TlsCrypt, V2_6);
    let (now, sent) = (pair.wall(), pair.tape.len());
    pair.server()
        .close(now, Farewell::Silent, LeaveReason::Replaced);
    pair.settle();
    assert_eq!(pair.tape.len(), sent);
    assert_eq!(pair.server_events.last().map(name), Some("Finished"));
    assert!(pair.client.is_connected());
}
