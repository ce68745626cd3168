//! What a client says of itself to be let in.

use std::time::Duration;

use ringway::session::Credentials;

use crate::pair::{Pair, V2_6, Wrap, client, server};

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
