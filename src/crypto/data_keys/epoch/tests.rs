use proptest::prelude::*;

use super::*;
use crate::crypto::vectors::{hex, unhex};
use crate::crypto::{DataKeys, KeyMaterial, Role};
use crate::limits::{FAILED_OPEN_MAX, REPLAY_TIME};
use crate::wire::{KeyId, PING, PeerId};

const NOW: Monotonic = Monotonic::ZERO;
const CIPHER: DataCipher = DataCipher::Aes256Gcm;
const TO_SERVER: &str = "5ae53aefad8a8a028dd4efe038515644cee111240256c17451d3f3a2efaf9107";
const TO_CLIENT: &str = "578a3069d98a48696d2224b2172e8c63072549eeb9efedf2072a36d8a48e73cf";

fn header() -> DataHeader {
    DataHeader::V2 {
        key_id: KeyId::FIRST,
        peer_id: PeerId::new(0).unwrap(),
    }
}

/// The secrets of the session of appendix A.4, taken from 2.7.6.
fn captured(cipher: DataCipher, role: Role) -> DataKeys {
    let mut bytes = [0xee; KeyMaterial::LEN];
    for (at, text) in [(0, TO_SERVER), (128, TO_CLIENT)] {
        bytes[at..at + Secret::LEN].copy_from_slice(&unhex::<Vec<u8>>(text));
    }
    KeyMaterial::from_exporter(bytes)
        .unwrap()
        .split_epochs(cipher, role)
}

fn pair() -> (DataKeys, DataKeys) {
    (
        captured(CIPHER, Role::Server),
        captured(CIPHER, Role::Client),
    )
}

fn seal(keys: &mut DataKeys, plaintext: &[u8]) -> Vec<u8> {
    let mut out = [0xa5; 256];
    let length = keys.seal.seal(header(), plaintext, &mut out).unwrap();
    assert!(out[length..].iter().all(|byte| *byte == 0xa5));
    assert_eq!(length, keys.seal.sealed_len(header(), plaintext.len()));
    out[..length].to_vec()
}

fn open_at(keys: &mut DataKeys, now: Monotonic, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut out = [0xa5; 256];
    let length = keys.open_datagram(now, datagram, &mut out)?;
    assert!(out[length..].iter().all(|byte| *byte == 0xa5));
    Ok(out[..length].to_vec())
}

fn open(keys: &mut DataKeys, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
    open_at(keys, NOW, datagram)
}

/// A packet of an epoch, from a side that has not reached it.
fn of_epoch(epoch: u16, plaintext: &[u8]) -> Vec<u8> {
    let mut client = captured(CIPHER, Role::Client);
    client.seal.reach(epoch);
    seal(&mut client, plaintext)
}

fn epoch_of(datagram: &[u8]) -> (u16, u64) {
    let id = u64::from_be_bytes(datagram[4..12].try_into().unwrap());
    ((id >> COUNTER_BITS) as u16, id & COUNTER_MAX)
}

fn opened_epoch(keys: &DataKeys) -> u16 {
    (keys.open.highest() >> COUNTER_BITS) as u16
}

#[test]
fn the_schedule_of_2_7_6() {
    for (secret, key_1, iv_1, next) in [
        (
            TO_SERVER,
            "db68038d2fbee28e26105b5040c6aa81c7438e55a632f90265fc521c228a4568",
            "d1451c7192509800229f2f94",
            "77ee4f72ce1e33113f0e231f1ec1fc71c63848948f91af5b36bcf19bb67a9c99",
        ),
        (
            TO_CLIENT,
            "2913a77390e6aff654679cedcb14584c180f0a59aa98f2bf011d00cdc895247d",
            "ff62de2fb19d48582d3f56e6",
            "08365b413b29ab373b05ca058161baf225971891120c44d86d19d413de08d6c4",
        ),
    ] {
        let secret = Secret::first(&unhex::<Vec<u8>>(secret));
        let (mut key, mut iv) = ([0; 32], [0; IV_LEN]);
        secret.expand(b"data_key", &mut key);
        secret.expand(b"data_iv", &mut iv);
        assert_eq!((hex(&key), hex(&iv)), (key_1.to_owned(), iv_1.to_owned()));
        assert_eq!(hex(secret.next().0.as_slice()), next);
    }
}

#[test]
fn the_captured_pings_of_2_7_6() {
    let to_client: Vec<u8> = unhex(
        "48 000000 0001 000000000001 1345205090d18e6fd8d33ec55c610ca1 3a640b12f06fc2b54c88043e3bf9e64b",
    );
    let to_server: Vec<u8> = unhex(
        "48 000000 0001 000000000002 dca79ddda6c96183adff05093ea8c413 b5a98111598ae69484c31d9742ccd2ca",
    );
    let (mut server, mut client) = pair();
    assert_eq!(seal(&mut server, &PING), to_client);
    seal(&mut client, b"packet 1");
    assert_eq!(seal(&mut client, &PING), to_server);
    assert_eq!(open(&mut server, &to_server).unwrap(), PING);
    assert_eq!(open(&mut client, &to_client).unwrap(), PING);
    let replay = OpenError::Replay { packet_id: 2 };
    assert_eq!(open(&mut server, &to_server), Err(replay));
}

#[test]
fn every_cipher_goes_from_epoch_to_epoch_at_its_limit_and_takes_the_other_side_along() {
    for cipher in DataCipher::ALL {
        if cipher.digest().is_some() {
            continue;
        }
        let mut server = captured(cipher, Role::Server);
        let mut client = captured(cipher, Role::Client);
        client.seal.limit_usage(10);
        let mut ids = Vec::new();
        for number in 0..12_u8 {
            // Two blocks and one packet: three of those are nine, the fourth would be more than ten.
            let datagram = seal(&mut client, &[number; 17]);
            ids.push(epoch_of(&datagram));
            assert_eq!(open(&mut server, &datagram).unwrap(), [number; 17]);
            let answer = seal(&mut server, b"answer");
            let epoch = u16::from(number / 3 + 1);
            assert_eq!(epoch_of(&answer), (epoch, u64::from(number % 3 + 1)));
            assert_eq!(open(&mut client, &answer).unwrap(), b"answer");
        }
        let epochs = 1..=4;
        let wanted: Vec<_> = epochs.flat_map(|it| [(it, 1), (it, 2), (it, 3)]).collect();
        assert_eq!(ids, wanted, "{cipher}");
        assert_eq!(
            (server.seal.epoch(), client.seal.epoch()),
            (Some(4), Some(4))
        );
        assert!(!client.seal.near_limit() && !server.open.near_limit());
    }
}

#[test]
fn sixteen_epochs_ahead_are_taken_and_none_more() {
    for (epoch, taken) in [
        (0, false),
        (2, true),
        (17, true),
        (18, false),
        (u16::MAX, false),
    ] {
        let (mut server, _) = pair();
        let mut datagram = of_epoch(epoch.max(1), b"x");
        datagram[4..6].copy_from_slice(&epoch.to_be_bytes());
        let verdict = open(&mut server, &datagram);
        match taken {
            true => assert_eq!(verdict.unwrap(), b"x"),
            false => assert_eq!(verdict, Err(OpenError::UnknownEpoch), "{epoch}"),
        }
        let now = if taken { epoch } else { 1 };
        assert_eq!(
            (opened_epoch(&server), server.seal.epoch()),
            (now, Some(now))
        );
        // From there it is sixteen more.
        let next = of_epoch(now + 16, b"next");
        assert_eq!(open(&mut server, &next).unwrap(), b"next");
    }
}

#[test]
fn a_packet_that_lies_about_its_epoch_changes_nothing() {
    let (mut server, mut client) = pair();
    let first = seal(&mut client, b"first");
    for epoch in [2_u16, 3, 3, 17, 2] {
        let mut forged = first.clone();
        forged[4..6].copy_from_slice(&epoch.to_be_bytes());
        assert_eq!(open(&mut server, &forged), Err(OpenError::Authentication));
    }
    assert_eq!((opened_epoch(&server), server.seal.epoch()), (1, Some(1)));
    assert_eq!(open(&mut server, &first).unwrap(), b"first");
    // Each epoch counts what was not authentic, and what it counted stays when it has come.
    assert_eq!(server.open.failed(), 0);
    for (epoch, failed) in [(2, 2), (3, 2), (17, 1)] {
        assert_eq!(open(&mut server, &of_epoch(epoch, b"x")).unwrap(), b"x");
        assert_eq!(server.open.failed(), failed, "{epoch}");
    }
}

#[test]
fn the_epoch_before_is_opened_once_more_as_long_as_a_late_packet_may_come() {
    let (mut server, mut client) = pair();
    let old: Vec<_> = (0..4).map(|_| seal(&mut client, b"old")).collect();
    assert_eq!(open(&mut server, &old[1]).unwrap(), b"old");
    client.seal.reach(3);
    let new: Vec<_> = (0..2).map(|_| seal(&mut client, b"new")).collect();
    assert_eq!(open(&mut server, &new[1]).unwrap(), b"new");
    let replay = |packet_id| Err(OpenError::Replay { packet_id });
    for (late, now, verdict) in [
        (&old[0], NOW, Ok(b"old".to_vec())),
        (&old[0], NOW, replay(1)),
        (&old[1], NOW, replay(2)),
        (&old[3], NOW + REPLAY_TIME, Ok(b"old".to_vec())),
        (&new[1], NOW, replay(2)),
        (&new[0], NOW, Ok(b"new".to_vec())),
        (&of_epoch(2, b"between"), NOW, Err(OpenError::UnknownEpoch)),
        (
            &old[2],
            NOW + REPLAY_TIME + std::time::Duration::from_millis(1),
            Err(OpenError::UnknownEpoch),
        ),
        (&old[2], NOW, Err(OpenError::UnknownEpoch)),
    ] {
        assert_eq!(open_at(&mut server, now, late), verdict);
    }
    // A late packet takes nobody back, neither the receiver nor what it sends.
    assert_eq!((opened_epoch(&server), server.seal.epoch()), (3, Some(3)));
}

#[test]
fn a_key_that_the_other_side_uses_too_much_is_left_by_going_ahead() {
    let (mut server, mut client) = pair();
    let EpochOpen { key, .. } = epochs(&mut server);
    key.usage_max = 3;
    for (number, epoch) in [(1, 1), (2, 2), (3, 2)] {
        assert_eq!(open(&mut server, &seal(&mut client, b"x")).unwrap(), b"x");
        assert_eq!(server.seal.epoch(), Some(epoch), "{number}");
    }
    // The other side follows, and then it is no further.
    let pushed = seal(&mut server, b"go on");
    assert_eq!(open(&mut client, &pushed).unwrap(), b"go on");
    assert_eq!(epoch_of(&seal(&mut client, b"x")).0, 2);
    assert_eq!(open(&mut server, &seal(&mut client, b"x")).unwrap(), b"x");
    assert_eq!((opened_epoch(&server), server.seal.epoch()), (2, Some(2)));

    // The same for one that has refused many packets; and one that has refused too many opens nothing.
    server.open.arrivals.failed = FAILED_OPEN_RENEGOTIATE;
    assert_eq!(open(&mut server, &seal(&mut client, b"x")).unwrap(), b"x");
    assert_eq!(server.seal.epoch(), Some(3));
    server.open.arrivals.failed = FAILED_OPEN_MAX;
    let refused = open(&mut server, &seal(&mut client, b"x"));
    assert_eq!(refused, Err(OpenError::Exhausted));
    client.seal.reach(3);
    assert_eq!(open(&mut server, &seal(&mut client, b"x")).unwrap(), b"x");
}

fn epochs(keys: &mut DataKeys) -> &mut EpochOpen {
    match &mut keys.open.scheme {
        super::super::Opening::Epoch(epochs) => epochs,
        _ => panic!("no epochs"),
    }
}

#[test]
fn numbers_end_with_their_epoch_and_epochs_never_wrap() {
    let (mut server, mut client) = pair();
    client.seal.last_id = COUNTER_MAX - 1;
    for id in [(1, COUNTER_MAX), (2, 1)] {
        let datagram = seal(&mut client, b"x");
        assert_eq!(epoch_of(&datagram), id);
        assert_eq!(open(&mut server, &datagram).unwrap(), b"x");
    }
    assert_eq!(server.open.highest(), 2 << 48 | 1);
    client.seal.reach(DATA_EPOCH_RENEGOTIATE - 1);
    assert!(!client.seal.near_limit());
    client.seal.reach(DATA_EPOCH_RENEGOTIATE);
    assert!(client.seal.near_limit());
    client.seal.reach(u16::MAX);
    client.seal.last_id = COUNTER_MAX;
    let end = client.seal.seal(header(), b"x", &mut [0; 64]);
    assert_eq!(end, Err(SealError::Exhausted));
}

#[test]
fn packets_that_are_too_short_or_changed() {
    let (mut server, mut client) = pair();
    let sealed = seal(&mut client, b"payload");
    for length in 4..sealed.len() {
        let verdict = open(&mut server, &sealed[..length]);
        let expected = match length > header().len() + 8 + 16 {
            true => OpenError::Authentication,
            false => OpenError::Malformed,
        };
        assert_eq!(verdict, Err(expected), "{length}");
    }
    for bit in 8..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        match open(&mut server, &changed) {
            Err(OpenError::Authentication | OpenError::UnknownEpoch) => {}
            // The only bit of the number.
            Err(OpenError::Replay { packet_id: 0 }) => assert_eq!(bit, 11 * 8),
            other => panic!("{other:?} at {bit}"),
        }
    }
    assert_eq!(open(&mut server, &sealed).unwrap(), b"payload");
}

proptest! {
    /// Two sides whose keys wear out soon, and a network that loses, overtakes and doubles: each payload
    /// arrives unchanged and at most once, no packet id comes twice, and while they talk no side is left behind.
    #[test]
    fn both_sides_stay_together_whatever_the_network_does(
        limits in (20_u64..200, 20_u64..200),
        steps in proptest::collection::vec((any::<bool>(), 0_usize..6, 1_usize..60), 1..400),
    ) {
        let (server, client) = pair();
        let mut sides = [client, server];
        sides[0].seal.limit_usage(limits.0);
        sides[1].seal.limit_usage(limits.1);
        let mut ways: [Vec<Vec<u8>>; 2] = Default::default();
        let mut ids: [std::collections::BTreeSet<(u16, u64)>; 2] = Default::default();
        let mut arrived = std::collections::BTreeSet::new();
        for (number, (from, what, length)) in steps.into_iter().enumerate() {
            let (from, to) = (usize::from(from), usize::from(!from));
            let mut payload = (number as u64).to_be_bytes().to_vec();
            payload.resize(8 + length, from as u8);
            let datagram = seal(&mut sides[from], &payload);
            prop_assert!(ids[from].insert(epoch_of(&datagram)));
            ways[from].push(datagram);
            let datagram = match what {
                // Lost.
                0 => {
                    ways[from].pop();
                    continue;
                }
                // Kept for later.
                1 => continue,
                // The oldest that waits; else the newest, and one of them twice.
                2 => ways[from].remove(0),
                3 => ways[from].last().cloned().unwrap_or_default(),
                _ => ways[from].pop().unwrap_or_default(),
            };
            match open(&mut sides[to], &datagram) {
                Ok(payload) => {
                    prop_assert!(payload[8..].iter().all(|byte| usize::from(*byte) == from));
                    prop_assert!(arrived.insert(payload[..8].to_vec()));
                }
                Err(OpenError::Replay { .. }) => {}
                // Two epochs late; never one to come, unless sixteen epochs were lost.
                Err(OpenError::UnknownEpoch) => {
                    prop_assert!(epoch_of(&datagram).0 < opened_epoch(&sides[to]));
                }
                Err(error) => prop_assert!(false, "{:?}", error),
            }
            prop_assert!(sides[to].seal.epoch() >= Some(opened_epoch(&sides[to])));
        }
    }
}
