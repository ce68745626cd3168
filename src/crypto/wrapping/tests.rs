use super::*;
use crate::crypto::vectors::{hex, unhex};
use crate::time::Monotonic;
use crate::wire::{KeyId, Opcode, SessionId};

/// The bytes 00 .. ff, the static key of appendix A.
fn key() -> StaticKey {
    StaticKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

fn at(unix: u64) -> Now {
    Now {
        monotonic: Monotonic::ZERO,
        unix,
    }
}

fn header() -> ControlHeader {
    ControlHeader {
        opcode: Opcode::ControlV1,
        key_id: KeyId::FIRST,
        session_id: SessionId([7; 8]),
    }
}

/// Both roles' wrappings, server first.
fn pairs() -> [(Wrapping, Wrapping); 5] {
    let key = key();
    let (zero, one, both) = (KeyDirection::Zero, KeyDirection::One, KeyDirection::Both);
    [
        (
            Wrapping::tls_auth(&key, zero, Digest::Sha1),
            Wrapping::tls_auth(&key, one, Digest::Sha1),
        ),
        (
            Wrapping::tls_auth(&key, one, Digest::Sha384),
            Wrapping::tls_auth(&key, zero, Digest::Sha384),
        ),
        (
            Wrapping::tls_auth(&key, both, Digest::Sha512),
            Wrapping::tls_auth(&key, both, Digest::Sha512),
        ),
        (
            Wrapping::tls_crypt(&key, Role::Server),
            Wrapping::tls_crypt(&key, Role::Client),
        ),
        (
            Wrapping::dynamic_tls_crypt(&[9; 256], Some(&key), Role::Server),
            Wrapping::dynamic_tls_crypt(&[9; 256], Some(&key), Role::Client),
        ),
    ]
}

fn opened(
    wrapping: &Wrapping,
    datagram: &[u8],
) -> Result<(Option<ReplayStamp>, Vec<u8>), WrapError> {
    let mut datagram = datagram.to_vec();
    let opened = wrapping.open_stateless(&mut datagram)?;
    Ok((opened.replay, opened.body.to_vec()))
}

/// Opens a captured datagram as its receiver and seals its parts again as its sender.
fn check_vector(
    sender: &Wrapping,
    receiver: &Wrapping,
    datagram: &str,
    id: u32,
    time: u32,
    body: &str,
) {
    let datagram: Vec<u8> = unhex(datagram);
    let stamp = ReplayStamp { id, time };
    let (replay, found) = opened(receiver, &datagram).unwrap();
    assert_eq!(
        (replay, hex(&found)),
        (Some(stamp), hex(&unhex::<Vec<u8>>(body)))
    );
    let header = ControlHeader::parse(&datagram).unwrap();
    let mut out = vec![0xa5];
    sender.seal_with(stamp, header, &found, &mut out);
    assert_eq!(hex(&out[1..]), hex(&datagram));
    assert_eq!(datagram.len(), sender.overhead() + found.len());
    assert!(
        opened(sender, &datagram).is_err(),
        "the sender's own packet, sent back"
    );
}

#[test]
fn trap_01_captured_resets_under_tls_crypt() {
    let server = Wrapping::tls_crypt(&key(), Role::Server);
    let client = Wrapping::tls_crypt(&key(), Role::Client);
    check_vector(
        &client,
        &server,
        "38 98e69570889e71f3 00000001 6b0241c7
         f736ca978a0e3ccef3cbb4162ade50771321363baa8dd28121f5072221c51d5c a9857da012",
        1,
        0x6b02_41c7,
        "00 00000000",
    );
    check_vector(
        &server,
        &client,
        "40 88bc7ddb49e79337 00000001 6b0241c7
         a481dde739af7d88a9db5dc103242bdbb443ac36f77709fed9c7bfdd522563f2
         d6ec5aae1804bf8b348a7e029b3f69c2b4",
        1,
        0x6b02_41c7,
        "01 00000000 98e69570889e71f3 00000000",
    );
}

#[test]
fn captured_resets_under_tls_auth_with_directions() {
    let server = Wrapping::tls_auth(&key(), KeyDirection::Zero, Digest::Sha256);
    let client = Wrapping::tls_auth(&key(), KeyDirection::One, Digest::Sha256);
    check_vector(
        &client,
        &server,
        "38 e0a820e852aa5e60
         587824e8823d1c9e732c8eaf5916dd047d28a313f3bb6bdafb6f2a170a35a96d
         00000001 6b023fb4 00 00000000",
        1,
        0x6b02_3fb4,
        "00 00000000",
    );
    check_vector(
        &server,
        &client,
        "40 97f77a97ef09c950
         7eef596f4b2743b0fedff4a87109c0937dc69f03d9fda7e4b769c72f5bae5343
         00000001 6b023fb4 01 00000000 e0a820e852aa5e60 00000000",
        1,
        0x6b02_3fb4,
        "01 00000000 e0a820e852aa5e60 00000000",
    );
}

#[test]
fn overheads_are_those_of_the_layouts() {
    let overhead = |digest| Wrapping::tls_auth(&key(), KeyDirection::Both, digest).overhead();
    assert_eq!(Wrapping::Plain.overhead(), 9);
    assert_eq!(overhead(Digest::Sha1), 37);
    assert_eq!(overhead(Digest::Sha256), 49);
    assert_eq!(overhead(Digest::Sha384), 65);
    assert_eq!(overhead(Digest::Sha512), 81);
    assert_eq!(Wrapping::tls_crypt(&key(), Role::Server).overhead(), 49);
}

#[test]
fn both_directions_of_every_wrapping() {
    for (server, client) in pairs() {
        for (sender, receiver) in [(&server, &client), (&client, &server)] {
            let stamp = ReplayStamp { id: 3, time: 9 };
            let mut out = Vec::new();
            sender.seal_with(stamp, header(), b"body", &mut out);
            assert_eq!(
                opened(receiver, &out),
                Ok((Some(stamp), b"body".to_vec())),
                "{sender:?}"
            );
        }
    }
    let mut out = Vec::new();
    Wrapping::Plain.seal_with(ReplayStamp { id: 3, time: 9 }, header(), b"body", &mut out);
    assert_eq!(opened(&Wrapping::Plain, &out), Ok((None, b"body".to_vec())));
    assert_eq!(out.len(), 13);
}

#[test]
fn every_changed_bit_and_every_cut_is_refused() {
    for (server, client) in pairs() {
        let mut sealed = Vec::new();
        let stamp = ReplayStamp { id: 3, time: 9 };
        client.seal_with(stamp, header(), b"body", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let verdict = server.open_stateless(&mut changed).unwrap_err();
            match verdict {
                WrapError::Authentication(kind) => assert_eq!(Some(kind), server.kind()),
                WrapError::Malformed(_) => assert!(bit < 8, "bit {bit}"),
                WrapError::Replay { .. } => panic!("no replay is looked for"),
            }
        }
        for length in 0..sealed.len() {
            let verdict = opened(&server, &sealed[..length]).unwrap_err();
            let wanted = match length < server.overhead() {
                true => WrapError::Malformed(Malformed::Truncated),
                false => WrapError::Authentication(server.kind().unwrap()),
            };
            assert_eq!(verdict, wanted, "{length}");
        }
    }
}

#[test]
fn a_refused_datagram_leaves_no_plaintext() {
    let (server, client) = &pairs()[3];
    let mut sealed = Vec::new();
    client.seal_with(
        ReplayStamp { id: 1, time: 1 },
        header(),
        b"body",
        &mut sealed,
    );
    let plaintext_of_last = *b"body";
    sealed[server.overhead() - 1] ^= 1;
    assert!(server.open_stateless(&mut sealed).is_err());
    let body = &sealed[server.overhead()..];
    assert_ne!(body, plaintext_of_last);
    assert_eq!(body, [0; 4]);
}

#[test]
fn a_dynamic_key_is_mixed_with_the_original_one() {
    let exported: [u8; 256] = std::array::from_fn(|index| (index * 7) as u8);
    let mixed: [u8; 256] = std::array::from_fn(|index| (index * 7) as u8 ^ index as u8);
    let stamp = ReplayStamp { id: 1, time: 1 };
    for (dynamic, equal) in [
        (
            Wrapping::dynamic_tls_crypt(&exported, Some(&key()), Role::Server),
            Wrapping::tls_crypt(&StaticKey::from_bytes(&mixed), Role::Client),
        ),
        (
            Wrapping::dynamic_tls_crypt(&exported, None, Role::Server),
            Wrapping::tls_crypt(&StaticKey::from_bytes(&exported), Role::Client),
        ),
    ] {
        let mut sealed = Vec::new();
        dynamic.seal_with(stamp, header(), b"body", &mut sealed);
        assert_eq!(opened(&equal, &sealed), Ok((Some(stamp), b"body".to_vec())));
    }
}

fn sealed_stamp(wrap: &mut ControlWrap, now: Now, receiver: &Wrapping) -> ReplayStamp {
    let mut out = Vec::new();
    wrap.seal(now, header(), b"", &mut out);
    opened(receiver, &out).unwrap().0.unwrap()
}

#[test]
fn ids_count_on_and_the_time_stays() {
    let [.., (server, client), _] = pairs();
    let (server, stamp) = (Arc::new(server), |id, time| ReplayStamp { id, time });
    let mut wrap = ControlWrap::new(Arc::clone(&server));
    assert_eq!(sealed_stamp(&mut wrap, at(100), &client), stamp(1, 100));
    assert_eq!(sealed_stamp(&mut wrap, at(200), &client), stamp(2, 100));

    let mut wrap = ControlWrap::with_sent(Arc::clone(&server), stamp(1, 100));
    assert_eq!(sealed_stamp(&mut wrap, at(200), &client), stamp(2, 100));

    // When the ids are used up the time moves on, whatever the clock says.
    for (now, time) in [(200, 200), (100, 101), (50, 101)] {
        let mut wrap = ControlWrap::with_sent(Arc::clone(&server), stamp(u32::MAX - 1, 100));
        assert_eq!(
            sealed_stamp(&mut wrap, at(now), &client),
            stamp(u32::MAX, 100)
        );
        assert_eq!(sealed_stamp(&mut wrap, at(now), &client), stamp(1, time));
    }
}

#[test]
fn stamps_are_taken_once_in_order_of_time_then_id() {
    for (server, client) in pairs() {
        let mut wrap = ControlWrap::new(Arc::new(server));
        let mut open = |id: u32, time: u32| {
            let mut datagram = Vec::new();
            client.seal_with(ReplayStamp { id, time }, header(), b"body", &mut datagram);
            match wrap.open(at(0), &mut datagram) {
                Ok((found, body)) => {
                    assert_eq!((found, body), (header(), &b"body"[..]));
                    Ok(())
                }
                Err(WrapError::Replay { stamp, reason, .. }) => {
                    assert_eq!(stamp, ReplayStamp { id, time });
                    Err(reason)
                }
                Err(other) => panic!("{other}"),
            }
        };
        for (id, time, verdict) in [
            (1, 100, Ok(())),
            (1, 100, Err(Replay::Seen)),
            (3, 100, Ok(())),
            (2, 100, Ok(())),
            (2, 100, Err(Replay::Seen)),
            (4, 99, Err(Replay::Old)),
            (100, 100, Ok(())),
            (36, 100, Err(Replay::Old)),
            // No id at all must not reset the window.
            (0, 101, Err(Replay::Zero)),
            (100, 100, Err(Replay::Seen)),
            // A later time starts over, from any id.
            (7, 101, Ok(())),
            (101, 100, Err(Replay::Old)),
            (6, 101, Ok(())),
            (7, 101, Err(Replay::Seen)),
            (0x0f00_0001, 101, Ok(())),
        ] {
            assert_eq!(open(id, time), verdict, "{id} at {time}");
        }
    }
}

#[test]
fn a_packet_opened_without_a_session_is_not_taken_again_by_it() {
    let (server, client) = pairs().into_iter().next().unwrap();
    let mut datagram = Vec::new();
    let stamp = ReplayStamp { id: 2, time: 100 };
    client.seal_with(stamp, header(), b"body", &mut datagram);
    let mut wrap = ControlWrap::with_sent(Arc::new(server), ReplayStamp { id: 1, time: 100 });
    wrap.mark_received(at(100), stamp).unwrap();
    assert!(matches!(
        wrap.open(at(100), &mut datagram),
        Err(WrapError::Replay {
            reason: Replay::Seen,
            ..
        })
    ));
}

#[test]
fn an_unauthentic_packet_marks_nothing() {
    let (server, client) = pairs().into_iter().next().unwrap();
    let mut wrap = ControlWrap::new(Arc::new(server));
    let mut datagram = Vec::new();
    client.seal_with(
        ReplayStamp { id: 1, time: 100 },
        header(),
        b"body",
        &mut datagram,
    );
    let mut forged = datagram.clone();
    *forged.last_mut().unwrap() ^= 1;
    // A far later time, which would lock the honest sender out.
    forged[29 + 4] = 0xff;
    assert_eq!(
        wrap.open(at(0), &mut forged),
        Err(WrapError::Authentication(WrapKind::TlsAuth))
    );
    assert!(wrap.open(at(0), &mut datagram).is_ok());
}

#[test]
fn without_a_wrapping_nothing_is_a_replay() {
    let mut wrap = ControlWrap::new(Arc::new(Wrapping::Plain));
    let mut datagram = Vec::new();
    wrap.seal(at(0), header(), b"body", &mut datagram);
    assert_eq!(datagram.len(), wrap.overhead() + 4);
    for _ in 0..2 {
        assert_eq!(
            wrap.open(at(0), &mut datagram),
            Ok((header(), &b"body"[..]))
        );
    }
}

#[test]
fn errors_have_the_words_of_openvpns_log() {
    let stamp = ReplayStamp { id: 5, time: 9 };
    let replay = |kind| WrapError::Replay {
        kind,
        stamp,
        reason: Replay::Seen,
    };
    for (error, wanted) in [
        (
            WrapError::Authentication(WrapKind::TlsAuth),
            "Authenticate/Decrypt packet error: packet HMAC authentication failed",
        ),
        (
            WrapError::Authentication(WrapKind::TlsCrypt),
            "tls-crypt unwrap error: packet authentication failed",
        ),
        (
            replay(WrapKind::TlsAuth),
            "Authenticate/Decrypt packet error: bad packet ID (may be a replay): \
             [ #5 / time = (9) ] (packet id has arrived already)",
        ),
        (
            WrapError::Malformed(Malformed::Truncated),
            "malformed control packet: truncated",
        ),
    ] {
        assert_eq!(error.to_string(), wanted);
    }
    assert!(
        replay(WrapKind::TlsCrypt)
            .to_string()
            .starts_with("tls-crypt unwrap error: bad")
    );
}

#[test]
fn keys_are_not_printed() {
    for (server, _) in pairs() {
        let printed = format!("{server:?}").to_ascii_lowercase();
        for secret in [
            "0001020304",
            "0, 1, 2, 3",
            "4041424344",
            "64, 65, 66",
            "8081828384",
        ] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
