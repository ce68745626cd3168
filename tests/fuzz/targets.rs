//! What the fuzzer calls: a function for each parser of bytes that come from the network or from a
//! file, which feeds it and checks what must hold for any input.
//!
//! Both `cargo test --test fuzz` and the libFuzzer targets of `fuzz/` use this file.

#[path = "stage.rs"]
mod stage;

use self::stage::Stage;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringway::crypto::tls::rustls::{Identity, RustlsEngine, TlsVersion};
use ringway::crypto::tls::stand_in::StandInEngine;
use ringway::crypto::tls::{PeerPolicy, PeerPurpose, TlsEngine};
use ringway::crypto::{
    ControlWrap, CookieKey, DataCipher, Digest, KeyDirection, KeyMaterial, Metadata, ReplayStamp,
    ReplayWindow, StaticKey, TlsCryptV2ClientKey, TlsCryptV2ServerKey, Wrapping,
};
use ringway::packet::{Brought, StreamedPackets};
use ringway::random::SeededRandom;
use ringway::session::{
    ClientKeyRules, Grant, Greeting, OpenVpn2, SessionSettings, Timing, V4Grant,
};
use ringway::time::{Monotonic, Now};
use ringway::wire::{
    Acks, ClientKeyMessage, ControlBody, ControlHeader, ControlMessage, DataHeader,
    EarlyNegotiation, InnerPacket, KeyId, OccMessage, Opcode, OptionsString, PeerId, PeerInfo,
    PushAssembler, PushReply, Role, STREAM_HEADER, ServerKeyMessage, SessionId, begins_session,
    clamp_mss, options_cipher, options_compress, parse_first_byte, split_sealed_key, stream_packet,
    stream_packets,
};

/// A target by name, and how dear an input is compared to the cheapest.
pub(crate) type Target = (&'static str, fn(&[u8]), u32);

/// All of them; each has a folder of this name under `fuzz/corpus`.
pub(crate) const TARGETS: [Target; 21] = [
    ("control_packet", control_packet, 1),
    ("open_stateless", open_stateless, 1),
    ("sealed_body", sealed_body, 1),
    ("client_key_message", client_key_message, 1),
    ("server_key_message", server_key_message, 1),
    ("peer_info", peer_info, 2),
    ("options_string", options_string, 1),
    ("control_message", control_message, 1),
    ("push_reply", push_reply, 2),
    ("data_packet", data_packet, 4),
    ("occ_message", occ_message, 1),
    ("inner_packet", inner_packet, 1),
    ("stream_framing", stream_framing, 2),
    ("proxy_header", proxy_header, 1),
    ("static_key", static_key, 2),
    ("client_key", client_key, 2),
    ("config_text", config_text, 4),
    ("tls_stream", tls_stream, 30),
    ("door", door, 10),
    ("session_raw", session_raw, 60),
    ("session_sealed", session_sealed, 60),
];

/// First byte, header and body, as they stand without a wrapping.
pub(crate) fn control_packet(data: &[u8]) {
    let _ = OpenVpn2::classify(data);
    let first = parse_first_byte(data);
    let Ok(header) = ControlHeader::parse(data) else {
        return;
    };
    assert_eq!(first, Ok((header.opcode, header.key_id)));
    assert_eq!(header.to_bytes()[..], data[..ControlHeader::LEN]);
    let bytes = &data[ControlHeader::LEN..];
    let Ok(body) = ControlBody::parse(header.opcode, bytes) else {
        return;
    };
    let mut written = Vec::new();
    body.emit(&mut written);
    assert_eq!(written.len(), body.encoded_len());
    assert!(bytes.starts_with(&written));
    assert!(header.opcode == Opcode::AckV1 || written == bytes);
}

/// A stranger's bytes under each wrapping.
pub(crate) fn open_stateless(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let mut datagram = data.to_vec();
    let wrapping = wrapping(*choice, Role::Server);
    let opened = wrapping.open_stateless(&mut datagram);
    if let Ok(opened) = opened {
        assert!(opened.body.len() <= data.len());
        let _ = ControlBody::parse(opened.header.opcode, opened.body);
    }
}

/// The same behind the wrapping: the fuzzer's bytes are sealed with the right key.
pub(crate) fn sealed_body(data: &[u8]) {
    let Some(([choice, first], bytes)) = data.split_first_chunk() else {
        return;
    };
    let header = header(*first, SessionId([7; 8]));
    let stamp = ReplayStamp { id: 1, time: 2 };
    let mut datagram = Vec::new();
    wrapping(*choice, Role::Client).seal_with(stamp, header, bytes, &mut datagram);
    let wrapping = wrapping(*choice, Role::Server);
    match wrapping.open_stateless(&mut datagram) {
        Ok(opened) => {
            assert_eq!((opened.header, opened.body), (header, bytes));
            let _ = ControlBody::parse(opened.header.opcode, opened.body);
        }
        // Hard resets have no later generations.
        Err(error) => assert!(
            header.opcode.is_hard_reset() && header.key_id != KeyId::FIRST || bytes.is_empty(),
            "{error}"
        ),
    }
}

/// Key method 2 as a server reads it.
pub(crate) fn client_key_message(data: &[u8]) {
    let Ok(message) = ClientKeyMessage::parse(data) else {
        return;
    };
    let texts = [&message.options, &message.username, &message.peer_info];
    for text in texts.into_iter().chain([&*message.password]) {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }
    let mut bytes = Vec::new();
    message.emit(&mut bytes).expect("no longer than it was");
    assert!(ClientKeyMessage::parse(&bytes) == Ok(message.clone()));
    peer_info(message.peer_info.as_bytes());
    options_string(message.options.as_bytes());
}

/// And as a client does.
pub(crate) fn server_key_message(data: &[u8]) {
    let Ok(message) = ServerKeyMessage::parse(data) else {
        return;
    };
    let mut bytes = Vec::new();
    message.emit(&mut bytes).expect("no longer than it was");
    assert!(ServerKeyMessage::parse(&bytes) == Ok(message));
}

/// A client's account of itself.
pub(crate) fn peer_info(data: &[u8]) {
    let info = PeerInfo::parse(&String::from_utf8_lossy(data));
    assert!(info.iter().count() <= ringway::limits::PEER_INFO_ENTRIES_MAX);
    for (key, value) in info.iter() {
        assert!(!key.is_empty() && key.is_ascii());
        assert!(!value.chars().any(|c| c.is_control() || c.is_whitespace()));
    }
    let _ = (info.version(), info.platform(), info.mtu(), info.proto());
    let ours = [DataCipher::Aes256Gcm, DataCipher::ChaCha20Poly1305];
    let _ = ringway::session::choose_cipher(&ours, &info, "V4,cipher BF-CBC");
}

/// The options string.
pub(crate) fn options_string(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(cipher) = options_cipher(&text) {
        assert!(!cipher.contains(','));
    }
    assert!(!options_compress(&text) || text.contains("comp-lzo"));
}

/// Text messages.
pub(crate) fn control_message(data: &[u8]) {
    let _ = ControlMessage::parse(data);
    for message in ControlMessage::parse_all(data).flatten() {
        let mut bytes = Vec::new();
        if message.emit(&mut bytes).is_ok() {
            assert!(ControlMessage::parse(&bytes).is_ok(), "{message:?}");
        }
    }
}

/// A server's configuration in parts, a line each, and options that are to be pushed.
pub(crate) fn push_reply(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut assembler = PushAssembler::new();
    for part in text.lines() {
        if let Ok(Some(options)) = assembler.take(part) {
            assert!(options.iter().all(|option| !option.contains(',')));
        }
    }
    let mut reply = PushReply::new();
    for option in text.lines() {
        let _ = reply.push(option);
    }
    let mut assembler = PushAssembler::new();
    let mut whole = None;
    for message in reply.messages() {
        assert!(message.len() < 1_024);
        let part = message.strip_prefix("PUSH_REPLY,").expect("begins so");
        assert_eq!(whole, None, "the last part came before");
        match assembler.take(part) {
            Ok(options) => whole = options,
            Err(_) => return,
        }
    }
    let continues = |option: &String| option.starts_with("push-continuation ");
    if !reply.options().iter().any(continues) {
        assert_eq!(whole.as_deref(), Some(reply.options()));
    }
}

/// A data packet as it comes, and the fuzzer's bytes as what is inside one.
pub(crate) fn data_packet(data: &[u8]) {
    let material = KeyMaterial::from_exporter(std::array::from_fn(|index| index as u8));
    let material = material.expect("not zero");
    let choice = usize::from(data.first().copied().unwrap_or(0)) % 3;
    let cipher = [
        DataCipher::Aes256Gcm,
        DataCipher::Aes128Gcm,
        DataCipher::ChaCha20Poly1305,
    ][choice];
    let mut server = material.split(cipher, Role::Server);
    let mut client = material.split(cipher, Role::Client);
    let mut plain = vec![0; data.len() + 64];
    let _ = server.open_datagram(Monotonic::ZERO, data, &mut plain);
    let Ok(header) = DataHeader::parse(data) else {
        return;
    };
    assert_eq!(header.to_bytes()[..header.len()], data[..header.len()]);
    let mut sealed = vec![0; data.len() + 64];
    let length = client.seal.seal(header, data, &mut sealed).expect("fits");
    let opened = server
        .open
        .open(Monotonic::ZERO, &sealed[..length], &mut plain);
    assert_eq!(opened.map(|length| &plain[..length]), Ok(data));
    assert!(
        server
            .open
            .open(Monotonic::ZERO, &sealed[..length], &mut plain)
            .is_err(),
        "a replay"
    );
}

/// What is said inside the data channel.
pub(crate) fn occ_message(data: &[u8]) {
    if let Some(message) = OccMessage::parse(data) {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        let again = (message != OccMessage::Other).then_some(message);
        assert_eq!(OccMessage::parse(&bytes), again);
    }
}

/// An inner packet, and the clamping of its segment size.
pub(crate) fn inner_packet(data: &[u8]) {
    let Ok(packet) = InnerPacket::parse(data) else {
        let mut copy = data.to_vec();
        assert!(!clamp_mss(&mut copy, 1_200));
        assert_eq!(copy, data);
        return;
    };
    assert!(packet.bytes().len() <= data.len());
    assert!(matches!(packet.version(), 4 | 6));
    let _ = packet.transport();
    let (source, destination) = (packet.source(), packet.destination());
    let mut copy = data.to_vec();
    let clamped = clamp_mss(&mut copy, 1_200);
    assert_eq!(clamped, copy != data);
    assert!(!clamp_mss(&mut copy, 1_200), "once is enough");
    let after = InnerPacket::parse(&copy).expect("still a packet");
    assert_eq!((after.source(), after.destination()), (source, destination));
}

/// A stream of packets behind their lengths, in pieces: what comes out is what a look at the whole shows.
pub(crate) fn stream_framing(data: &[u8]) {
    let mut reader = Reader(data);
    let longest = usize::from(reader.u8()) + 1;
    let cuts: [u8; 4] = std::array::from_fn(|_| reader.u8());
    let (whole, mut at, mut expected) = (reader.0, 0, Vec::new());
    let end = loop {
        match stream_packet(&whole[at..], longest) {
            Ok(Some(packet)) => {
                expected.push(&whole[at + packet.start..at + packet.end]);
                at += packet.end;
            }
            Ok(None) => break Ok(()),
            Err(bad) => break Err(bad),
        }
    };
    let (mut streamed, mut brought) = (StreamedPackets::default(), Brought::default());
    let (mut found, mut ended) = (Vec::new(), Ok(()));
    for cut in cuts.into_iter().cycle() {
        let piece = reader.take(usize::from(cut) + 1);
        if piece.is_empty() || ended.is_err() {
            break;
        }
        ended = streamed.take(piece, longest, &mut brought);
        if let Some(used) = brought.completed {
            found.push(streamed.completed()[STREAM_HEADER..].to_vec());
            let end = brought.rows.last().map_or(used, |(row, _)| row.end);
            let rest = piece.get(end..).filter(|_| ended.is_ok());
            streamed.begin(rest.unwrap_or_default());
        }
        for (row, packets) in &brought.rows {
            let row = &piece[row.clone()];
            let places: Vec<_> = stream_packets(row).collect();
            assert_eq!(places.len(), *packets);
            assert!(*packets <= ringway::limits::SEGMENTS_MAX);
            found.extend(places.into_iter().map(|place| row[place].to_vec()));
        }
    }
    assert_eq!((found.len(), ended), (expected.len(), end));
    assert!(found.iter().zip(expected).all(|(one, other)| one == other));
}

/// What a proxy writes before the first packet, and whose the rest is.
pub(crate) fn proxy_header(data: &[u8]) {
    let mut verdict = Ok(None);
    for end in 0..=data.len().min(2_000) {
        let bytes = &data[..end];
        let now = ringway::wire::proxy_header(bytes);
        assert!(
            verdict == Ok(None) || now == verdict,
            "more bytes change it"
        );
        verdict = now;
    }
    let Ok(Some(header)) = verdict else {
        assert!(data.len() < 1_100 || verdict.is_err(), "without end");
        return;
    };
    assert!(header.length <= data.len());
    let rest = &data[header.length..];
    let begins = begins_session(rest);
    assert!(begins.is_some() || rest.len() < 3);
    assert!(begins.is_none() || begins_session(&rest[..rest.len().min(3)]) == begins);
}

/// The text of a key file.
pub(crate) fn static_key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = StaticKey::parse(&text) {
        let written = key.to_text();
        let again = StaticKey::parse(&written).expect("our own text");
        assert_eq!(*again.to_text(), *written);
    }
}

/// Where a client's key is read: behind a packet, in its seal, in a key file, and the server's
/// answer that asks for it.
pub(crate) fn client_key(data: &[u8]) {
    let mut datagram = data.to_vec();
    if let Ok((packet, sealed)) = split_sealed_key(&mut datagram) {
        assert_eq!([packet, sealed].concat(), data);
        assert!(server_key().open(sealed).is_err(), "nobody guesses a seal");
    }
    // The same bytes under the right seal.
    let metadata = Metadata::User(data.to_vec());
    match server_key().seal(&key(), &metadata) {
        Ok(sealed) => {
            let opened = server_key().open(&sealed).expect("our own");
            assert_eq!(opened.metadata, metadata);
        }
        Err(_) => assert!(data.len() > Metadata::USER_MAX),
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = TlsCryptV2ClientKey::parse(&text) {
        let again = TlsCryptV2ClientKey::parse(&key.to_text()).expect("our own text");
        assert_eq!(*again.to_text(), *key.to_text());
    }
    let _ = TlsCryptV2ServerKey::parse(&text);
    if let Ok(said) = EarlyNegotiation::parse(data) {
        assert_eq!(EarlyNegotiation::parse(&said.to_bytes()), Ok(said));
    }
}

/// A configuration file's lexer.
pub(crate) fn config_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (lines, faults) = ringway::config::lexer::lex("server.conf", &text);
    assert!(lines.len() + faults.len() <= text.lines().count() + 1);
    for line in text.lines() {
        let _ = ringway::config::lexer::words(line);
    }
}

/// A TLS stream from a client, in pieces, at the real library.
pub(crate) fn tls_stream(data: &[u8]) {
    let mut tls = rustls_server()
        .start(now(0), &mut SeededRandom::new(1))
        .expect("starts");
    let mut reader = Reader(data);
    while !reader.0.is_empty() {
        let length = usize::from(reader.u16()) % 2_000 + 1;
        let bytes = reader.take(length);
        let taken = tls.receive(bytes);
        let mut answer = Vec::new();
        tls.transmit(&mut answer);
        assert!(answer.len() <= ringway::limits::TLS_BACKLOG_MAX);
        assert!(!tls.is_established(), "nobody has a certificate");
        assert_eq!(tls.next_message(), None);
        if taken.is_err() {
            return;
        }
    }
}

/// Strangers' datagrams at a listener, some of them sealed with the right key.
pub(crate) fn door(data: &[u8]) {
    let mut reader = Reader(data);
    let choice = reader.u8();
    let mut random = SeededRandom::new(3);
    let key = CookieKey::new(&mut random, Duration::from_secs(60));
    let settings = Arc::new(settings(Role::Server, choice, V2_6));
    let mut door = OpenVpn2::new(settings, key, &mut random);
    let client = wrapping(choice, Role::Client);
    let own_client = Wrapping::tls_crypt(&self::key(), Role::Client);
    let mut sealed_key = Vec::new();
    if choice & 4 != 0 {
        door = door.with_client_keys(Arc::new(ClientKeyRules {
            key: server_key(),
            without_cookie: choice & 8 != 0,
            max_age: None,
            keeps_metadata: false,
        }));
        let sealed = server_key().seal(&self::key(), &Metadata::Timestamp(1));
        sealed_key = sealed.expect("short metadata");
    }
    let (mut time, mut cookie, mut stamp) = (1_000, SessionId([0; 8]), 0);
    let (mut answer, mut answered) = (Vec::new(), 0);
    while !reader.0.is_empty() {
        let (kind, first) = (reader.u8(), reader.u8());
        let header = header(first, SessionId([reader.u8() % 4; 8]));
        time += u64::from(reader.u8() % 64);
        let mut datagram = Vec::new();
        let own = header.opcode.carries_key() && !sealed_key.is_empty();
        let client = if own { &own_client } else { &client };
        match kind % 4 {
            0 => {
                let length = usize::from(reader.u16());
                datagram.extend_from_slice(reader.take(length));
            }
            1 => {
                let length = usize::from(reader.u16());
                stamp += 1;
                let stamp = ReplayStamp { id: stamp, time: 1 };
                client.seal_with(stamp, header, reader.take(length), &mut datagram);
            }
            _ => {
                let body = reader.body(cookie, SessionId([9; 8]), header.opcode);
                let mut bytes = Vec::new();
                body.emit(&mut bytes);
                stamp += 1;
                let stamp = ReplayStamp { id: stamp, time: 1 };
                client.seal_with(stamp, header, &bytes, &mut datagram);
            }
        }
        if own && kind % 4 != 0 {
            datagram.extend_from_slice(&sealed_key);
        }
        let port = 1_000 + u16::from(kind >> 6);
        let from = SocketAddr::from(([192, 0, 2, 1], port));
        answer.clear();
        match door.greet(now(time), &mut random, from, &datagram, &mut answer) {
            Ok(Greeting::Answer) => {
                let answer = ControlHeader::parse(&answer).expect("our own");
                assert_eq!(answer.opcode, Opcode::HardResetServerV2);
                cookie = answer.session_id;
                answered += 1;
            }
            Ok(Greeting::Session(session)) => {
                assert!(session.is_half_open());
                assert!(answer.is_empty());
                assert!(
                    answered > 0 || choice & 12 == 12,
                    "nobody could know a cookie"
                );
            }
            Err(_) => assert!(answer.is_empty()),
        }
    }
}

/// Datagrams as they come, at a session of either role, before and after it has connected.
pub(crate) fn session_raw(data: &[u8]) {
    let mut reader = Reader(data);
    let mut stage = Stage::new(reader.u8());
    while !reader.0.is_empty() {
        let fix_id = reader.u8() & 1 == 1;
        let length = usize::from(reader.u16());
        let mut datagram = reader.take(length).to_vec();
        let from = stage.other().local_id();
        if let Some(id) = datagram.get_mut(1..9).filter(|_| fix_id) {
            id.copy_from_slice(&from.0);
        }
        stage.deliver(&datagram);
    }
    stage.end();
}

/// Packets from somebody who has the key and knows the session ids, and what else may happen.
pub(crate) fn session_sealed(data: &[u8]) {
    let mut reader = Reader(data);
    let choice = reader.u8();
    let mut stage = Stage::new(choice);
    let role = match stage.role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let mut wrap = ControlWrap::with_sent(
        Arc::new(wrapping(choice, role)),
        ReplayStamp {
            id: 40,
            time: now(1_000).unix as u32,
        },
    );
    while !reader.0.is_empty() {
        match reader.u8() % 8 {
            0..=4 => {
                let header = header(reader.u8(), stage.other().local_id());
                let (ours, foreign) = (stage.session().local_id(), SessionId([0xee; 8]));
                let body = reader.body(ours, foreign, header.opcode);
                let (mut bytes, mut datagram) = (Vec::new(), Vec::new());
                body.emit(&mut bytes);
                wrap.seal(stage.now(), header, &bytes, &mut datagram);
                stage.deliver(&datagram);
            }
            5 => stage.pass(Duration::from_millis(100 * u64::from(reader.u8()))),
            6 => stage.command(reader.u8()),
            _ => stage.converse(2),
        }
    }
    stage.end();
}

/// The fuzzer's bytes from front to back; what is missing is zero.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(length.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// Acknowledgements, an echo, a message id and a payload.
    fn body(&mut self, right: SessionId, wrong: SessionId, opcode: Opcode) -> ControlBody<'a> {
        let shape = self.u8();
        let acks: Acks = (0..shape & 7).map(|_| u32::from(self.u8())).collect();
        let remote = match shape >> 3 & 3 {
            0 => None,
            1 => Some(wrong),
            _ => Some(right),
        };
        let id = match shape >> 5 {
            0 => u32::from_be_bytes([self.u8(), self.u8(), self.u8(), self.u8()]),
            _ => u32::from(self.u8()),
        };
        let length = usize::from(self.u16()) % 2_048;
        ControlBody {
            remote: remote.filter(|_| !acks.is_empty()),
            acks,
            message_id: (opcode != Opcode::AckV1).then_some(id),
            payload: if opcode == Opcode::AckV1 {
                &[]
            } else {
                self.take(length)
            },
        }
    }
}

/// The header of any control packet that can be written at all.
fn header(first: u8, session_id: SessionId) -> ControlHeader {
    let (opcode, key_id) = match parse_first_byte(&[first]) {
        Ok((opcode, key_id)) if !opcode.is_data() => (opcode, key_id),
        _ => (Opcode::ControlV1, KeyId::from_low_bits(first)),
    };
    ControlHeader {
        opcode,
        key_id,
        session_id,
    }
}

fn wrapping(choice: u8, role: Role) -> Wrapping {
    let direction = match role {
        Role::Server => KeyDirection::Zero,
        Role::Client => KeyDirection::One,
    };
    match choice & 3 {
        0 => Wrapping::Plain,
        1 => Wrapping::tls_auth(&key(), direction, Digest::Sha256),
        _ => Wrapping::tls_crypt(&key(), role),
    }
}

fn server_key() -> TlsCryptV2ServerKey {
    TlsCryptV2ServerKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

fn key() -> StaticKey {
    StaticKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

fn now(seconds: u64) -> Now {
    Now {
        monotonic: Monotonic::ZERO + Duration::from_secs(seconds),
        unix: 1_795_000_000 + seconds,
    }
}

fn grant() -> Grant {
    Grant {
        peer_id: PeerId::from_bytes([0, 0, 7]),
        v4: Some(V4Grant {
            address: Ipv4Addr::new(10, 8, 0, 2),
            second: Ipv4Addr::new(255, 255, 255, 0),
        }),
        v6: None,
        push: None,
        keepalive: None,
    }
}

fn settings(role: Role, choice: u8, peer_info: &str) -> SessionSettings {
    let tls: Arc<dyn TlsEngine> = match role {
        Role::Server => Arc::new(StandInEngine::server("gate")),
        Role::Client => Arc::new(StandInEngine::client("alice")),
    };
    SessionSettings {
        role,
        wrapping: Arc::new(wrapping(choice, role)),
        static_key: (choice & 3 != 0).then(key),
        tls,
        ciphers: vec![DataCipher::Aes256Gcm],
        options_string: OptionsString::stock(role).to_string(),
        tun_mtu: 1500,
        push: vec!["topology subnet".to_owned()],
        peer_info: peer_info.to_owned(),
        replay_window: ReplayWindow::default(),
        timing: Timing {
            hand_window: Duration::from_secs(60),
            tran_window: Duration::from_secs(3_600),
            tls_timeout: Duration::from_secs(2),
            renegotiation: None,
            ping: None,
            ping_restart: None,
        },
        login: None,
    }
}

fn rustls_server() -> &'static RustlsEngine {
    static ENGINE: OnceLock<RustlsEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let key = rcgen::KeyPair::generate().expect("generates");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signs");
        let identity = Identity {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der().try_into().expect("a key"),
        };
        let authorities = vec![certificate.der().clone()];
        let policy = PeerPolicy::new(authorities, PeerPurpose::Client).expect("usable");
        let versions = TlsVersion::V1_2..=TlsVersion::V1_3;
        let engine = RustlsEngine::new(identity, policy, PeerPurpose::Client, versions, None);
        engine.expect("usable")
    })
}

const V2_6: &str = "IV_VER=2.6.14\nIV_CIPHERS=AES-256-GCM\nIV_PROTO=990\nIV_MTU=1600\n";
const V2_5: &str = "IV_VER=2.5.11\nIV_CIPHERS=AES-256-GCM\nIV_PROTO=6\n";
