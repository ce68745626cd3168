use super::*;
use crate::crypto::vectors::hex;
use crate::random::SeededRandom;
use proptest::prelude::*;

/// The key of wire.md appendix A.2: bytes 00 to 7f.
fn server_key() -> TlsCryptV2ServerKey {
    TlsCryptV2ServerKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

/// The client's key of the same: bytes 00 to ff.
fn client_key() -> StaticKey {
    StaticKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

fn hello() -> Metadata {
    Metadata::User(b"hello".to_vec())
}

#[test]
fn the_vector_of_appendix_a_2() {
    let sealed = server_key().seal(&client_key(), &hello()).unwrap();
    assert_eq!(sealed.len(), 0x128);
    assert_eq!(
        hex(&sealed[..32]),
        "cca6dad522ba8af281062e9772a931a10d55ec7a3fa3caf8e510c38b2ab043db"
    );
    assert_eq!(hex(&sealed[32..48]), "23ae71a94f81277131012891d49529eb");
    assert_eq!(hex(&sealed[286..]), "3069c7b38e10456d0128");
    let opened = server_key().open(&sealed).unwrap();
    assert_eq!(opened.metadata, hello());
    assert_eq!(opened.key.as_bytes(), client_key().as_bytes());
}

/// Keys that OpenVPN 2.6.14 made: a server's, and two of its clients, one with metadata.
const FROM_OPENVPN: &str = include_str!("../../../tests/vectors/tls-crypt-v2-2.6.14.txt");

fn from_openvpn(nth: usize) -> &'static str {
    FROM_OPENVPN.split("\n\n").nth(nth).unwrap()
}

#[test]
fn keys_of_openvpn_are_read_opened_and_written_as_they_were() {
    let server = TlsCryptV2ServerKey::parse(from_openvpn(1)).unwrap();
    assert_eq!(server.to_text().trim_end(), from_openvpn(1).trim_end());
    for (nth, metadata) in [
        (2, Metadata::Timestamp(1_795_373_587)),
        (3, Metadata::User(b"hello".to_vec())),
    ] {
        let client = TlsCryptV2ClientKey::parse(from_openvpn(nth)).unwrap();
        assert_eq!(client.to_text().trim_end(), from_openvpn(nth).trim_end());
        let opened = server.open(client.sealed()).unwrap();
        assert_eq!(opened.metadata, metadata);
        assert_eq!(opened.key.as_bytes(), client.key().as_bytes());
        // The same key sealed by us is the same, to the last byte.
        assert_eq!(
            hex(&server.seal(client.key(), &metadata).unwrap()),
            hex(client.sealed())
        );
    }
}

#[test]
fn a_key_of_another_kind_is_told_by_what_it_lacks() {
    let (server, client) = (from_openvpn(1), from_openvpn(2));
    assert_eq!(
        TlsCryptV2ServerKey::parse(client).unwrap_err(),
        KeyFileError::Begin(SERVER_LABEL)
    );
    assert_eq!(
        TlsCryptV2ClientKey::parse(server).unwrap_err(),
        KeyFileError::Begin(CLIENT_LABEL)
    );
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for (length, fits) in [(127, false), (128, true), (129, false), (0, false)] {
        let text = pem::emit(SERVER_LABEL, &vec![7; length]);
        let verdict = TlsCryptV2ServerKey::parse(&text).map(|_| ());
        assert_eq!(verdict.is_ok(), fits, "{length}");
        if !fits {
            assert_eq!(verdict, Err(KeyFileError::Length(length)));
        }
    }
    for (length, fits) in [
        (0, false),
        (255, false),
        (256, false),
        (257, true),
        (256 + WRAPPED_KEY_MAX, true),
        (257 + WRAPPED_KEY_MAX, false),
    ] {
        let text = pem::emit(CLIENT_LABEL, &vec![7; length]);
        assert_eq!(TlsCryptV2ClientKey::parse(&text).is_ok(), fits, "{length}");
    }
}

#[test]
fn metadata_has_a_bound() {
    let seal = |length| server_key().seal(&client_key(), &Metadata::User(vec![7; length]));
    let longest = seal(Metadata::USER_MAX).unwrap();
    assert_eq!(longest.len(), WRAPPED_KEY_MAX);
    assert!(server_key().open(&longest).is_ok());
    let error = seal(Metadata::USER_MAX + 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata too long (734 bytes, max 733 bytes)"
    );
}

#[test]
fn metadata_that_nobody_knows_does_no_harm() {
    for bytes in [&[][..], &[1], &[1, 2, 3], &[2, 7], &[0xff; 40]] {
        let metadata = Metadata::parse(bytes);
        assert_eq!(metadata, Metadata::Unknown(bytes.to_vec()), "{bytes:?}");
        let sealed = server_key().seal(&client_key(), &metadata).unwrap();
        assert_eq!(server_key().open(&sealed).unwrap().metadata, metadata);
    }
    assert_eq!(Metadata::parse(&[0]), Metadata::User(Vec::new()));
}

#[test]
fn a_sealed_key_that_was_changed_anywhere_is_refused() {
    let sealed = server_key().seal(&client_key(), &hello()).unwrap();
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 0x10;
        let verdict = server_key().open(&changed).unwrap_err();
        let expected = match index < sealed.len() - 2 {
            true => WrapError::Authentication(WrapKind::TlsCryptV2),
            false => WrapError::Malformed(Malformed::Length),
        };
        assert_eq!(verdict, expected, "{index}");
    }
    let other = TlsCryptV2ServerKey::generate(&mut SeededRandom::new(1));
    assert_eq!(
        other.open(&sealed).unwrap_err(),
        WrapError::Authentication(WrapKind::TlsCryptV2)
    );
}

/// The length is authenticated too: a shorter or longer copy that says so of itself is refused.
#[test]
fn lengths_that_are_no_sealed_keys() {
    for length in [0, 1, 2, 33, WRAPPED_KEY_MIN - 1, WRAPPED_KEY_MAX + 1, 4_000] {
        let mut bytes = vec![0; length];
        if let Some(field) = bytes.last_chunk_mut::<2>() {
            *field = (length as u16).to_be_bytes();
        }
        assert_eq!(
            server_key().open(&bytes).unwrap_err(),
            WrapError::Malformed(Malformed::Length),
            "{length}"
        );
    }
    let sealed = server_key().seal(&client_key(), &hello()).unwrap();
    let mut longer = sealed[..sealed.len() - 2].to_vec();
    longer.extend_from_slice(&[0, 0x01, 0x29]);
    assert_eq!(
        server_key().open(&longer).unwrap_err(),
        WrapError::Authentication(WrapKind::TlsCryptV2)
    );
}

#[test]
fn keys_are_not_printed() {
    let mut random = SeededRandom::new(2);
    let server = TlsCryptV2ServerKey::generate(&mut random);
    let client = TlsCryptV2ClientKey::generate(&server, &hello(), &mut random).unwrap();
    assert_eq!(format!("{server:?}"), "TlsCryptV2ServerKey");
    assert_eq!(format!("{client:?}"), "TlsCryptV2ClientKey");
    assert!(server.open(client.sealed()).is_ok());
}

proptest! {
    #[test]
    fn any_metadata_survives(
        bytes in proptest::collection::vec(any::<u8>(), 0..=Metadata::USER_MAX),
        time in any::<u64>(),
    ) {
        for metadata in [Metadata::User(bytes.clone()), Metadata::Timestamp(time)] {
            let sealed = server_key().seal(&client_key(), &metadata).unwrap();
            let opened = server_key().open(&sealed).unwrap();
            prop_assert_eq!(opened.metadata, metadata);
            let key = client_key();
            prop_assert_eq!(opened.key.as_bytes(), key.as_bytes());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_were_sealed(
        bytes in proptest::collection::vec(any::<u8>(), 0..1_100),
    ) {
        prop_assert!(server_key().open(&bytes).is_err());
    }
}
