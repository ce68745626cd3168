//! Goodbyes from either side.

use std::time::Duration;

use ringway::session::{ControlDrop, ExitChannel, Farewell, LeaveReason, SessionEvent};

use crate::pair::{ALL_WRAPS, Pair, V2_6, Wrap, client, count, left, server};
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
fn the_clients_exit_goes_over_the_control_channel_where_that_was_agreed() {
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
fn a_login_that_fails_later_is_told() {
    let mut pair = connected(Wrap::Plain, V2_6);
    let now = pair.wall();
    let farewell = Farewell::AuthFailed("SESSION: token expired");
    pair.server().close(now, farewell, LeaveReason::Closed);
    pair.settle();
    let told = LeaveReason::AuthFailed("SESSION: token expired".to_owned());
    assert_eq!(left(&pair.client_events), Some(&told));
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
