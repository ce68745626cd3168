//! Bytes of a stranger: whatever they are, no parser panics, and what one accepts it writes and reads
//! back as the same value.

use proptest::collection::vec;
use proptest::prelude::*;
use ringway::crypto::{
    DataCipher, Digest, KeyDirection, KeyMaterial, OpenError, Role, StaticKey, Wrapping,
};
use ringway::time::Monotonic;
use ringway::wire::{
    ClientKeyMessage, ControlBody, ControlHeader, ControlMessage, DataHeader, OCC_MAGIC,
    OccMessage, Opcode, PeerInfo, PushAssembler, ServerKeyMessage, options_cipher,
};

/// Text with the words of the protocol in it, so that more than the first check is reached.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "PUSH_REPLY",
        "PUSH_REQUEST",
        "AUTH_FAILED",
        "AUTH_PENDING",
        "RESTART",
        "HALT",
        "INFO_PRE",
        "INFO",
        "CR_RESPONSE",
        "EXIT",
        ",",
        "[PN]",
        "[",
        "]",
        "timeout 5",
        "timeout ",
        "x",
        "push-continuation 2",
        "push-continuation 1",
        "\r\n",
        "\t",
        "\0",
        "\u{e4}",
    ]);
    vec(word, 0..8).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn control_packets(bytes in vec(any::<u8>(), 0..80), first in 24_u8..96) {
        let datagram = [&[first], &bytes[..]].concat();
        if let Ok(header) = ControlHeader::parse(&datagram) {
            prop_assert_eq!(&header.to_bytes()[..], &datagram[..ControlHeader::LEN]);
        }
        for opcode in [Opcode::ControlV1, Opcode::AckV1, Opcode::SoftResetV1] {
            if let Ok(body) = ControlBody::parse(opcode, &bytes) {
                let mut out = Vec::new();
                body.emit(&mut out);
                prop_assert_eq!(out.len(), body.encoded_len());
                prop_assert_eq!(&out[..], &bytes[..out.len()]);
            }
        }
    }

    #[test]
    fn key_messages(mut bytes in vec(any::<u8>(), 100..400), lengths in [0_u8..60, 0_u8..60, 0_u8..60, 0_u8..60]) {
        if bytes.len() > 4 {
            bytes[4] = 2;
        }
        // Plausible lengths of the four strings, each with its NUL where one can be.
        let mut at = 5 + 48 + 64;
        for length in lengths {
            let end = at + 2 + usize::from(length);
            if end > bytes.len() {
                break;
            }
            bytes[at..at + 2].copy_from_slice(&[0, length]);
            bytes[at + 2..end].iter_mut().for_each(|byte| *byte |= 0x20);
            if length > 0 {
                bytes[end - 1] = 0;
            }
            at = end;
        }
        if let Ok(message) = ClientKeyMessage::parse(&bytes) {
            let mut out = Vec::new();
            message.emit(&mut out).unwrap();
            prop_assert_eq!(ClientKeyMessage::parse(&out).unwrap(), message);
        }
        let _ = ServerKeyMessage::parse(&bytes);
    }

    #[test]
    fn text_messages(record in message()) {
        for read in ControlMessage::parse_all(&record).flatten() {
            let mut out = Vec::new();
            read.emit(&mut out).unwrap();
            prop_assert_eq!(ControlMessage::parse(&out), Ok(read));
            if let ControlMessage::PushReply(part) = read {
                let _ = PushAssembler::new().take(part);
            }
        }
    }

    #[test]
    fn texts(text: String) {
        let info = PeerInfo::parse(&text);
        let _ = (info.proto(), info.ciphers(), info.mtu());
        for (key, value) in info.iter() {
            prop_assert!(!key.is_empty() && !value.chars().any(|c| c.is_control() || c == ' '));
        }
        let _ = options_cipher(&text);
        prop_assert!(StaticKey::parse(&text).is_err());
    }

    #[test]
    fn data_payloads(bytes in vec(any::<u8>(), 0..40)) {
        if let Ok(header) = DataHeader::parse(&bytes) {
            prop_assert_eq!(&header.to_bytes()[..header.len()], &bytes[..header.len()]);
        }
        prop_assert_eq!(OccMessage::parse(&bytes), None);
        let payload = [&OCC_MAGIC[..], &bytes].concat();
        prop_assert!(OccMessage::parse(&payload).is_some());
    }

    #[test]
    fn nothing_forged_is_opened(bytes in vec(any::<u8>(), 0..120), first: u8) {
        let mut datagram = [&[first], &bytes[..]].concat();
        let key = StaticKey::from_bytes(&[7; StaticKey::LEN]);
        for wrapping in [
            Wrapping::tls_auth(&key, KeyDirection::Both, Digest::Sha1),
            Wrapping::tls_crypt(&key, Role::Server),
        ] {
            prop_assert!(wrapping.open_stateless(&mut datagram).is_err());
        }
        let mut data = KeyMaterial::from_exporter([7; KeyMaterial::LEN])
            .unwrap()
            .split(DataCipher::Aes256Gcm, Role::Server)
            .open;
        let verdict = data.open(Monotonic::ZERO, &datagram, &mut [0; 128]).unwrap_err();
        let expected = matches!(
            verdict,
            OpenError::Malformed | OpenError::Authentication | OpenError::Replay { .. }
        );
        prop_assert!(expected, "{verdict:?}");
    }
}
