use super::*;
use crate::crypto::vectors::{hex, unhex};
use crate::crypto::{DataKeys, Digest, KeyMaterial, Role};
use crate::wire::{KeyId, PING, PeerId};

const NOW: Monotonic = Monotonic::ZERO;
const V2: DataHeader = DataHeader::V2 {
    key_id: KeyId::FIRST,
    peer_id: PeerId::NONE,
};

/// The bytes 00 01 .. ff, so that each slice of section 7 can be told from the others.
fn counting(cipher: DataCipher, role: Role) -> DataKeys {
    let bytes = std::array::from_fn(|index| index as u8);
    KeyMaterial::from_exporter(bytes)
        .unwrap()
        .split(cipher, role)
}

/// The slices of the session of appendix A.4.
fn captured(role: Role) -> DataKeys {
    let mut bytes = [0xee; KeyMaterial::LEN];
    for (at, text) in [
        (
            0,
            "601e798307f7c0df605972a8a7b521491fd051d09eb042ac8bb4293f20cbd5eb",
        ),
        (64, "05239d63ab6d8d62"),
        (
            128,
            "396cd3c17385455c7367c995ba7ef462611eb1165f0d85d72e3c31f2ba2e155e",
        ),
        (192, "c5a96c01a450f70a"),
    ] {
        let slice: Vec<u8> = unhex(text);
        bytes[at..at + slice.len()].copy_from_slice(&slice);
    }
    KeyMaterial::from_exporter(bytes)
        .unwrap()
        .split(DataCipher::Aes256Gcm, role)
}

fn seal(key: &mut SealKey, header: DataHeader, plaintext: &[u8]) -> Vec<u8> {
    let mut out = [0xa5; 256];
    let length = key.seal(header, plaintext, &mut out).unwrap();
    assert!(out[length..].iter().all(|byte| *byte == 0xa5));
    out[..length].to_vec()
}

fn open(key: &mut OpenKey, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut out = [0xa5; 256];
    let length = key.open(NOW, datagram, &mut out)?;
    assert!(out[length..].iter().all(|byte| *byte == 0xa5));
    Ok(out[..length].to_vec())
}

fn replay(packet_id: u64) -> OpenError {
    OpenError::Replay { packet_id }
}

fn aead(key: &mut SealKey) -> &mut AeadKey {
    match &mut key.scheme {
        Sealing::Classic(key) => key,
        _ => panic!("no key of the classic format"),
    }
}

#[test]
fn trap_02_the_captured_pings_of_both_directions() {
    let to_server: Vec<u8> = unhex(
        "48 000000 00000002 4e9aa6c8fae13c36bd02e1508f9fc8f3 57e527141836c51d741c470b30a3083d",
    );
    let to_client: Vec<u8> = unhex(
        "48 000000 00000001 e6ba9a8da7110a4694250088732b7352 a68ccefa1a2a22b5151a72a27dd76351",
    );
    let (mut server, mut client) = (captured(Role::Server), captured(Role::Client));
    assert_eq!(open(&mut server.open, &to_server).unwrap(), PING);
    assert_eq!(open(&mut client.open, &to_client).unwrap(), PING);

    let header = DataHeader::parse(&to_client).unwrap();
    assert_eq!(seal(&mut server.seal, header, &PING), to_client);
    seal(&mut client.seal, header, b"packet 1");
    assert_eq!(seal(&mut client.seal, header, &PING), to_server);
    assert_eq!(client.seal.packets(), 2);
}

/// Made by OpenSSL from the bytes 00 .. ff as key material: DATA_V2 to the server, DATA_V1 back.
#[test]
fn all_ciphers_in_both_formats() {
    let plaintext = b"the inner packet of this vector, 45 bytes long";
    let v2 = DataHeader::V2 {
        key_id: KeyId::from_low_bits(3),
        peer_id: PeerId::new(0x0102).unwrap(),
    };
    let v1 = DataHeader::V1 {
        key_id: KeyId::from_low_bits(1),
    };
    for (cipher, to_server, to_client) in [
        (
            DataCipher::Aes256Gcm,
            "4b000102000000017bf304fd0829ce24f34f1cfbbd11743bbfa31e9d02d8c8ac679e2416175d6d57d3025f81\
             84a1fb3ed33a82da881b787c9065e926b4b975673a2da702f2ac",
            "3100000001e8e8cffe73daf27e6372bc6b8dea31fecd2c4d31e7ade28a5297fe1e6e454fcb3e5e9fc1f1faf3\
             25d963a5a258d730292094f4df5b58bccd7d5d15710faf",
        ),
        (
            DataCipher::Aes128Gcm,
            "4b00010200000001cbbe377c5d61b1ddd340538d9605cbf2a66b99c7b5bd54f5f0fd59cc7bdc1fd9e4782c2a\
             b0a6cff640385dccaa9e9d9a397318e34cc23517185133d1979a",
            "31000000010ae48fa4a2348dbc9e1c1918380161c5b2632820881a7e597ef856e723feebed044e3ecf584047\
             f453e82215825161a8ec4a846ac995c0bbe1bbab8069de",
        ),
        (
            DataCipher::ChaCha20Poly1305,
            "4b000102000000015bba6eca6efac18f6022aea659ab62a07aec57e49ac20d5be196979225a3989e4a1833f6\
             df67cc1d68f500e2ba41e330aee7b3b52d6f0e5589e1439a2895",
            "3100000001f89bf967335c900d69358588ad4ed59e881f546aae6789bfb56170664da647022a78a64645063f\
             cd9109626f6c2f78f30041fcf93d207b8458838459dcc6",
        ),
    ] {
        let mut server = counting(cipher, Role::Server);
        let mut client = counting(cipher, Role::Client);
        let sealed = seal(&mut client.seal, v2, plaintext);
        assert_eq!(hex(&sealed), to_server);
        assert_eq!(sealed.len(), plaintext.len() + SealKey::OVERHEAD);
        assert_eq!(open(&mut server.open, &sealed).unwrap(), plaintext);
        let sealed = seal(&mut server.seal, v1, plaintext);
        assert_eq!(hex(&sealed), to_client);
        assert_eq!(open(&mut client.open, &sealed).unwrap(), plaintext);
    }
}

/// Vectors whose associated data our packets cannot have still have their ciphertext.
#[test]
fn ciphertexts_of_rfc_8439_and_of_the_gcm_specification() {
    let gcm_plaintext = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
        1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let sunscreen = hex(
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
        tip for the future, sunscreen would be it.",
    );
    for (cipher, key, nonce, plaintext, ciphertext) in [
        (
            DataCipher::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "070000004041424344454647",
            sunscreen.as_str(),
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b6116",
        ),
        (
            DataCipher::Aes128Gcm,
            "feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            gcm_plaintext,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        ),
        (
            DataCipher::Aes256Gcm,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            gcm_plaintext,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        ),
    ] {
        let (key, nonce): (Vec<u8>, [u8; 12]) = (unhex(key), unhex(nonce));
        let mut half = [0; 128];
        half[..key.len()].copy_from_slice(&key);
        half[64..72].copy_from_slice(&nonce[4..]);
        let mut sealing = SealKey::new(cipher, &half);
        sealing.last_id = u64::from(u32::from_be_bytes(*nonce.first_chunk().unwrap())) - 1;
        let sealed = seal(&mut sealing, V2, &unhex::<Vec<u8>>(plaintext));
        assert_eq!(hex(&sealed[SealKey::OVERHEAD..]), ciphertext, "{cipher}");
    }
}

#[test]
fn every_changed_bit_of_a_packet_is_refused() {
    for header in [
        V2,
        DataHeader::V1 {
            key_id: KeyId::FIRST,
        },
    ] {
        let mut client = counting(DataCipher::Aes256Gcm, Role::Client).seal;
        // An id that no changed bit makes 0, which is refused before authentication.
        client.last_id = 2;
        let sealed = seal(&mut client, header, b"payload");
        let mut key = counting(DataCipher::Aes256Gcm, Role::Server).open;
        // The opcode is where the packet is parsed by, and in DATA_V1 the tag does not cover it.
        for bit in 8..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let verdict = open(&mut key, &changed);
            assert_eq!(verdict, Err(OpenError::Authentication), "bit {bit}");
        }
        assert_eq!(key.failed(), (sealed.len() as u64 - 1) * 8);
        // None of that has marked an id or done other harm.
        assert_eq!(open(&mut key, &sealed).unwrap(), b"payload");
    }
}

#[test]
fn trap_04_packets_that_are_too_short_or_no_data() {
    let sealed = seal(
        &mut counting(DataCipher::Aes256Gcm, Role::Client).seal,
        V2,
        b"x",
    );
    let mut key = counting(DataCipher::Aes256Gcm, Role::Server).open;
    for length in 0..sealed.len() {
        assert_eq!(
            open(&mut key, &sealed[..length]),
            Err(OpenError::Malformed),
            "{length}"
        );
    }
    let control = [&[0x20], &sealed[1..]].concat();
    assert_eq!(open(&mut key, &control), Err(OpenError::Malformed));
    assert_eq!(key.open(NOW, &sealed, &mut []), Err(OpenError::TooSmall));
    assert_eq!(key.failed(), 0);
    assert_eq!(open(&mut key, &sealed).unwrap(), b"x");
}

#[test]
fn trap_03_the_first_byte_is_authentic_in_data_v2_alone() {
    let v1 = DataHeader::V1 {
        key_id: KeyId::FIRST,
    };
    for (header, verdict) in [
        (V2, Err(OpenError::Authentication)),
        (v1, Ok(b"payload".to_vec())),
    ] {
        let mut sealed = seal(
            &mut counting(DataCipher::Aes256Gcm, Role::Client).seal,
            header,
            b"payload",
        );
        // The first packet of a key has the id 1.
        let at = header.len();
        assert_eq!(sealed[at..at + 4], [0, 0, 0, 1]);
        sealed[0] ^= 5;
        let mut key = counting(DataCipher::Aes256Gcm, Role::Server).open;
        assert_eq!(open(&mut key, &sealed), verdict);
    }
}

#[test]
fn a_packet_is_opened_once() {
    let mut client = counting(DataCipher::ChaCha20Poly1305, Role::Client);
    let mut server = counting(DataCipher::ChaCha20Poly1305, Role::Server);
    let packets: Vec<_> = (0..70)
        .map(|_| seal(&mut client.seal, V2, b"payload"))
        .collect();
    for (index, verdict) in [
        (1, Ok(())),
        (1, Err(replay(2))),
        (0, Ok(())),
        (69, Ok(())),
        (5, Err(replay(6))),
        (6, Ok(())),
        (6, Err(replay(7))),
    ] {
        let opened = open(&mut server.open, &packets[index]);
        assert_eq!(opened.map(drop), verdict, "{index}");
    }
    // An id of 0 is none, and a packet with it costs no decryption.
    let mut forged = packets[0].clone();
    forged[4..8].fill(0);
    assert_eq!(open(&mut server.open, &forged), Err(replay(0)));
    assert_eq!(server.open.failed(), 0);
}

#[test]
fn a_wider_window_can_be_had() {
    let mut client = counting(DataCipher::Aes256Gcm, Role::Client);
    let window = ReplayWindow::new(1000, std::time::Duration::from_secs(15));
    let mut key = counting(DataCipher::Aes256Gcm, Role::Server)
        .open
        .with_replay_window(window);
    let first = seal(&mut client.seal, V2, b"first");
    client.seal.last_id = 999;
    let late = seal(&mut client.seal, V2, b"late");
    assert_eq!(open(&mut key, &late).unwrap(), b"late");
    assert_eq!(open(&mut key, &first).unwrap(), b"first");
}

#[test]
fn packet_ids_end_and_never_wrap() {
    let mut key = counting(DataCipher::ChaCha20Poly1305, Role::Client).seal;
    let mut out = [0; 64];
    key.last_id = u64::from(PACKET_ID_RENEGOTIATE) - 1;
    assert!(!key.near_limit());
    assert_eq!(key.seal(V2, b"x", &mut out), Ok(25));
    assert!(key.near_limit());
    key.last_id = u64::from(u32::MAX) - 1;
    assert_eq!(key.seal(V2, b"x", &mut out), Ok(25));
    assert_eq!(out[4..8], [0xff; 4]);
    for _ in 0..2 {
        assert_eq!(key.seal(V2, b"x", &mut out), Err(SealError::Exhausted));
    }
}

#[test]
fn a_gcm_key_protects_a_limited_number_of_blocks() {
    use crate::limits::GCM_USAGE_MAX;
    let mut key = counting(DataCipher::Aes256Gcm, Role::Client).seal;
    let mut out = [0; 64];
    assert_eq!(key.seal(V2, &[0; 17], &mut out), Ok(41));
    assert_eq!(aead(&mut key).usage, 3);
    aead(&mut key).usage = GCM_USAGE_MAX / 8 * 7 - 2;
    assert!(!key.near_limit());
    assert_eq!(key.seal(V2, &[0; 16], &mut out), Ok(40));
    assert!(key.near_limit());
    aead(&mut key).usage = GCM_USAGE_MAX - 2;
    assert_eq!(key.seal(V2, &[0; 17], &mut out), Err(SealError::Exhausted));
    assert_eq!(key.seal(V2, &[0; 16], &mut out), Ok(40));
    assert_eq!(key.seal(V2, &[0; 1], &mut out), Err(SealError::Exhausted));
    assert_eq!(key.packets(), 3);

    let mut chacha = counting(DataCipher::ChaCha20Poly1305, Role::Client).seal;
    aead(&mut chacha).usage = GCM_USAGE_MAX;
    assert!(!chacha.near_limit());
    assert_eq!(chacha.seal(V2, b"x", &mut out), Ok(25));
}

#[test]
fn a_key_that_refuses_too_much_is_given_up() {
    let sealed = seal(
        &mut counting(DataCipher::Aes256Gcm, Role::Client).seal,
        V2,
        b"x",
    );
    let mut key = counting(DataCipher::Aes256Gcm, Role::Server).open;
    assert!(!key.near_limit());
    key.arrivals.failed = FAILED_OPEN_RENEGOTIATE;
    assert!(key.near_limit());
    assert_eq!(open(&mut key, &sealed).unwrap(), b"x");
    key.arrivals.failed = FAILED_OPEN_MAX;
    assert_eq!(open(&mut key, &sealed), Err(OpenError::Exhausted));

    let mut key = counting(DataCipher::Aes256Gcm, Role::Server).open;
    let mut client = counting(DataCipher::Aes256Gcm, Role::Client).seal;
    client.last_id = u64::from(PACKET_ID_RENEGOTIATE) - 1;
    open(&mut key, &seal(&mut client, V2, b"x")).unwrap();
    assert!(key.near_limit(), "the other side's ids are near their end");
}

#[test]
fn what_cannot_be_sealed_spends_no_id() {
    let mut key = counting(DataCipher::Aes256Gcm, Role::Client).seal;
    let mut out = [0xa5; 64];
    assert_eq!(key.seal(V2, b"", &mut out), Err(SealError::Empty));
    assert_eq!(key.seal(V2, &[0; 41], &mut out), Err(SealError::TooSmall));
    assert_eq!(out, [0xa5; 64]);
    assert_eq!(key.packets(), 0);
    assert_eq!(key.seal(V2, &[0; 40], &mut out), Ok(64));
    assert_eq!(out[4..8], [0, 0, 0, 1]);
}

const OLD: [DataCipher; 3] = [
    DataCipher::Aes256Cbc(Digest::Sha512),
    DataCipher::Aes192Cbc(Digest::Sha256),
    DataCipher::Aes128Cbc(Digest::Sha1),
];

/// What stands behind the plaintext is its padding.
fn opened(key: &mut OpenKey, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut out = [0xa5; 256];
    let length = key.open(NOW, datagram, &mut out)?;
    assert!(out[datagram.len()..].iter().all(|byte| *byte == 0xa5));
    Ok(out[..length].to_vec())
}

/// Lengths around a full block, from both sides; what a payload becomes is what was told before.
#[test]
fn the_older_format_carries_payloads_of_all_lengths() {
    let v1 = DataHeader::V1 {
        key_id: KeyId::FIRST,
    };
    for cipher in OLD {
        let mut server = counting(cipher, Role::Server);
        let mut client = counting(cipher, Role::Client);
        let mac = cipher.digest().unwrap().output_len();
        for length in 1..50 {
            let payload = vec![0x45; length];
            for header in [V2, v1] {
                let sealed = seal(&mut client.seal, header, &payload);
                assert_eq!(sealed.len(), client.seal.sealed_len(header, length));
                let blocks = (length + 4) / 16 + 1;
                assert_eq!(sealed.len(), header.len() + mac + 16 + 16 * blocks);
                assert_eq!(opened(&mut server.open, &sealed).unwrap(), payload);
                let cost = client.seal.cost(header);
                assert!(usize::from(cost.payload_max(sealed.len() as u16)) >= length);
                assert!(usize::from(cost.payload_max(sealed.len() as u16 - 1)) < length);
            }
        }
        let mut out = [0; 256];
        let parts = [&b"a"[..], b"", b"bc"];
        let length = server.seal.seal_parts(V2, &parts, &mut out).unwrap();
        assert_eq!(opened(&mut client.open, &out[..length]).unwrap(), b"abc");
        assert_eq!(client.seal.seal(V2, b"", &mut out), Err(SealError::Empty));
        assert_eq!(
            client.seal.seal(V2, b"x", &mut out[..40]),
            Err(SealError::TooSmall)
        );
    }
}

/// `openssl enc` gives the same vector and ciphertext, and Python's `hmac` the same code.
#[test]
fn a_packet_of_the_older_format_byte_by_byte() {
    let mut key = counting(DataCipher::Aes256Cbc(Digest::Sha1), Role::Client).seal;
    let sealed = seal(&mut key, V2, &PING);
    assert_eq!(
        hex(&sealed),
        "48ffffff830eeeff5caaf66381742f06a6e88483858c2822aa4155598606af4c64fad84d9a6383b550977905\
         4f5ad9fb8277a9a3bc0a9f700eaed0d421b86f64a0ec22d2d0e7154f"
    );
}

#[test]
fn every_changed_bit_of_the_older_format_is_refused_before_it_is_decrypted() {
    let cipher = DataCipher::Aes256Cbc(Digest::Sha256);
    let sealed = seal(&mut counting(cipher, Role::Client).seal, V2, b"payload");
    let mut key = counting(cipher, Role::Server).open;
    for bit in V2.len() * 8..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut out = [0xa5; 256];
        let verdict = key.open(NOW, &changed, &mut out);
        assert_eq!(verdict, Err(OpenError::Authentication), "bit {bit}");
        assert_eq!(out, [0xa5; 256], "bit {bit}");
    }
    assert_eq!(key.failed(), (sealed.len() - V2.len()) as u64 * 8);
    for length in 0..sealed.len() {
        let verdict = opened(&mut key, &sealed[..length]);
        let whole_blocks = length >= 4 + 32 + 32 && (length - 4 - 32).is_multiple_of(16);
        let expected = match whole_blocks {
            true => OpenError::Authentication,
            false => OpenError::Malformed,
        };
        assert_eq!(verdict, Err(expected), "{length}");
    }
    assert_eq!(key.open(NOW, &sealed, &mut []), Err(OpenError::TooSmall));
    assert_eq!(opened(&mut key, &sealed).unwrap(), b"payload");
    assert_eq!(opened(&mut key, &sealed), Err(replay(1)));
}

#[test]
fn no_two_packets_of_the_older_format_have_a_vector_in_common() {
    let cipher = DataCipher::Aes128Cbc(Digest::Sha1);
    let mut client = counting(cipher, Role::Client).seal;
    let mut server = counting(cipher, Role::Server).seal;
    let vectors: std::collections::BTreeSet<Vec<u8>> = (0..100)
        .map(|number| match number % 2 {
            0 => seal(&mut client, V2, &PING),
            _ => seal(&mut server, V2, &PING),
        })
        .map(|packet| packet[4 + 20..4 + 20 + 16].to_vec())
        .collect();
    assert_eq!(vectors.len(), 100);
    client.last_id = u32::MAX.into();
    assert!(client.near_limit());
    let exhausted = client.seal(V2, b"x", &mut [0; 99]);
    assert_eq!(exhausted, Err(SealError::Exhausted));
}
