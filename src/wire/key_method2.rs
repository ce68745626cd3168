//! Key method 2: the first message of each side inside TLS, once per key generation.
//!
//! Wire: wire.md section 6. A string is `u16 length including the NUL || bytes || NUL`, an absent one
//! is a length of 0.

use zeroize::Zeroizing;

use super::Malformed;
use crate::limits::{CONTROL_MESSAGE_MAX, OPTIONS_STRING_MAX};

/// What a client sends as soon as its TLS handshake is done.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeyMessage {
    /// Secret for the classic key derivation; random and unused when keys are exported from TLS.
    pub pre_master: Zeroizing<[u8; 48]>,
    /// Seed of the master secret.
    pub random1: [u8; 32],
    /// Seed of the key expansion.
    pub random2: [u8; 32],
    /// The client's options string (see [`OptionsString`](super::OptionsString)).
    pub options: String,
    /// The login name, empty if the client sent none.
    pub username: String,
    /// The password or token, empty if the client sent none.
    pub password: Zeroizing<String>,
    /// `KEY=VALUE` lines (see [`PeerInfo`](super::PeerInfo)).
    pub peer_info: String,
}

impl ClientKeyMessage {
    /// The message in one TLS record. It may end after the options or after the password.
    ///
    /// Control characters and bytes that are not UTF-8 become `_` in all strings (but the line ends
    /// of the peer info stay): they end up in logs and in the environment of scripts.
    ///
    /// # Errors
    /// [`Malformed::Length`] above [`CONTROL_MESSAGE_MAX`] or for options above
    /// [`OPTIONS_STRING_MAX`], [`Malformed::Value`] for another key method, [`Malformed::Text`] for
    /// a string without its NUL or with one inside, [`Malformed::Truncated`] for a short message.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message)?;
        let pre_master = Zeroizing::new(reader.take()?);
        let random1 = reader.take()?;
        let random2 = reader.take()?;
        Ok(Self {
            pre_master,
            random1,
            random2,
            options: reader.options()?,
            username: printable(reader.string_or_end()?, is_control),
            password: Zeroizing::new(printable(reader.string_or_end()?, is_control)),
            peer_info: printable(reader.string_or_end()?, |character| {
                is_control(character) && character != '\n'
            }),
        })
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    /// [`Malformed::Length`] if it would exceed [`CONTROL_MESSAGE_MAX`] or the options
    /// [`OPTIONS_STRING_MAX`]; `out` is then as before.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let strings = [
            self.options.as_str(),
            &self.username,
            &self.password,
            &self.peer_info,
        ];
        check_length(
            PREFIX.len() + self.pre_master.len() + 2 * 32,
            &self.options,
            &strings,
        )?;
        out.extend_from_slice(&PREFIX);
        out.extend_from_slice(self.pre_master.as_slice());
        out.extend_from_slice(&self.random1);
        out.extend_from_slice(&self.random2);
        for string in strings {
            emit_string(string, out);
        }
        Ok(())
    }
}

/// What a server answers once it has accepted the client's message.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKeyMessage {
    /// Seed of the master secret.
    pub random1: [u8; 32],
    /// Seed of the key expansion.
    pub random2: [u8; 32],
    /// The server's options string.
    pub options: String,
}

impl ServerKeyMessage {
    /// The message in one TLS record. What follows the options is not looked at.
    ///
    /// # Errors
    /// As [`ClientKeyMessage::parse`].
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message)?;
        Ok(Self {
            random1: reader.take()?,
            random2: reader.take()?,
            options: reader.options()?,
        })
    }

    /// Appends the message to `out`, with empty username, password and peer info.
    ///
    /// # Errors
    /// [`Malformed::Length`] if the options exceed [`OPTIONS_STRING_MAX`].
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let strings = [self.options.as_str(), "", "", ""];
        check_length(PREFIX.len() + 2 * 32, &self.options, &strings)?;
        out.extend_from_slice(&PREFIX);
        out.extend_from_slice(&self.random1);
        out.extend_from_slice(&self.random2);
        for string in strings {
            emit_string(string, out);
        }
        Ok(())
    }
}

impl std::fmt::Debug for ClientKeyMessage {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientKeyMessage")
            .field("options", &self.options)
            .field("username", &self.username)
            .field("peer_info", &self.peer_info)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerKeyMessage {
    /// Without the seeds.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ServerKeyMessage")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the length and the prefix, whose first four bytes are reserved and ignored.
    fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        if message.len() > CONTROL_MESSAGE_MAX {
            return Err(Malformed::Length);
        }
        let mut reader = Self { rest: message };
        let [_, _, _, _, method] = reader.take()?;
        if method & KEY_METHOD_MASK != KEY_METHOD {
            return Err(Malformed::Value);
        }
        Ok(reader)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(u16::from_be_bytes(self.take()?));
        let (string, tail) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = tail;
        match string.split_last() {
            None => Ok(string),
            Some((0, text)) if !text.contains(&0) => Ok(text),
            Some(_) => Err(Malformed::Text),
        }
    }

    fn string_or_end(&mut self) -> Result<&'a [u8], Malformed> {
        match self.rest {
            [] => Ok(&[]),
            _ => self.string(),
        }
    }

    fn options(&mut self) -> Result<String, Malformed> {
        let options = self.string()?;
        if options.len() >= OPTIONS_STRING_MAX {
            return Err(Malformed::Length);
        }
        Ok(printable(options, is_control))
    }
}

fn is_control(character: char) -> bool {
    character.is_control() || character == char::REPLACEMENT_CHARACTER
}

fn printable(bytes: &[u8], refused: impl Fn(char) -> bool) -> String {
    // Reserved at once: growing would leave copies of a password behind.
    let mut text = String::with_capacity(bytes.len() * char::REPLACEMENT_CHARACTER.len_utf8());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            text.push(if refused(character) { '_' } else { character });
        }
        text.extend(chunk.invalid().iter().map(|_| '_'));
    }
    text
}

fn check_length(fixed: usize, options: &str, strings: &[&str]) -> Result<(), Malformed> {
    let strings: usize = strings.iter().map(|string| 2 + string.len() + 1).sum();
    if fixed + strings > CONTROL_MESSAGE_MAX || options.len() >= OPTIONS_STRING_MAX {
        return Err(Malformed::Length);
    }
    Ok(())
}

/// The caller has checked that the length fits.
fn emit_string(string: &str, out: &mut Vec<u8>) {
    if string.is_empty() {
        out.extend_from_slice(&[0, 0]);
        return;
    }
    out.extend_from_slice(&(string.len() as u16 + 1).to_be_bytes());
    out.extend_from_slice(string.as_bytes());
    out.push(0);
}

const KEY_METHOD: u8 = 2;
const KEY_METHOD_MASK: u8 = 0x0f;
const PREFIX: [u8; 5] = [0, 0, 0, 0, KEY_METHOD];

#[cfg(test)]
mod tests {
    use super::*;

    // Appendix A.3, a session of OpenVPN 2.6.14.
    const CLIENT_OPTIONS: &str = "V4,dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,\
        auth SHA1,keysize 128,key-method 2,tls-client";
    const PEER_INFO: &str = "IV_VER=2.6.14\nIV_PLAT=linux\nIV_TCPNL=1\nIV_MTU=1600\n\
        IV_CIPHERS=AES-256-GCM\nIV_PROTO=990\nIV_LZO_STUB=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\n";
    const CLIENT_FIXED: &str = "0000000002\
        bee8ba598ab01208361e776ab023497fa1410c2c2fee024890d84e57564ee02626e05cb7c67450f3f94815834b9368fd\
        4c39b8b01dbbf5f5dfce28b317d57531ffb674f3cdb0fa8efdc87ca44d47a327\
        a7306c98dce5dfdf35609f93e5d60f8cb5fc90d1a34dddef593642c877660c36";
    const SERVER_FIXED: &str = "0000000002\
        33958177d84a56c1e0d0c37601dd2cbfc603df926623fd9508503fdd0be404a7\
        34fa9aec27851275afb6c0e67b51be9dc495ed9b22b011ad63307b419a5d321f";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn captured_client() -> Vec<u8> {
        let mut message = unhex(CLIENT_FIXED);
        message.extend_from_slice(&[0x00, 0x65]);
        message.extend_from_slice(CLIENT_OPTIONS.as_bytes());
        message.extend_from_slice(&[0, 0, 0, 0, 0, 0x00, 0x86]);
        message.extend_from_slice(PEER_INFO.as_bytes());
        message.push(0);
        message
    }

    #[test]
    fn the_captured_client_message() {
        let bytes = captured_client();
        assert_eq!(bytes.len(), 360);
        let message = ClientKeyMessage::parse(&bytes).unwrap();
        assert_eq!(message.pre_master[..4], [0xbe, 0xe8, 0xba, 0x59]);
        assert_eq!(message.random1[..2], [0x4c, 0x39]);
        assert_eq!(message.random2[30..], [0x0c, 0x36]);
        assert_eq!(message.options, CLIENT_OPTIONS);
        assert_eq!(
            (message.username.as_str(), message.password.as_str()),
            ("", "")
        );
        assert_eq!(message.peer_info, PEER_INFO);
        let mut out = vec![0xa5];
        message.emit(&mut out).unwrap();
        assert_eq!(out[1..], bytes);
    }

    #[test]
    fn the_captured_server_message() {
        let mut bytes = unhex(SERVER_FIXED);
        bytes.extend_from_slice(&[0x00, 0x65]);
        bytes.extend_from_slice(
            CLIENT_OPTIONS
                .replace("tls-client", "tls-server")
                .as_bytes(),
        );
        bytes.extend_from_slice(&[0; 7]);
        assert_eq!(bytes.len(), 178);
        let message = ServerKeyMessage::parse(&bytes).unwrap();
        assert_eq!(message.random1[..2], [0x33, 0x95]);
        assert_eq!(message.random2[30..], [0x32, 0x1f]);
        assert!(message.options.ends_with("key-method 2,tls-server"));
        let mut out = Vec::new();
        message.emit(&mut out).unwrap();
        assert_eq!(out, bytes);
        // A server of old may stop after its options.
        assert_eq!(
            ServerKeyMessage::parse(&bytes[..bytes.len() - 6]),
            Ok(message)
        );
    }

    #[test]
    fn credentials_are_read_and_their_control_characters_replaced() {
        let mut message = ClientKeyMessage::parse(&captured_client()).unwrap();
        message.username = "al\u{e4}n\r\n".into();
        message.password = Zeroizing::new("se\x1bcret".into());
        let mut out = Vec::new();
        message.emit(&mut out).unwrap();
        let read = ClientKeyMessage::parse(&out).unwrap();
        assert_eq!(read.username, "al\u{e4}n__");
        assert_eq!(read.password.as_str(), "se_cret");

        let latin1 = out
            .windows(2)
            .position(|pair| pair == [0xc3, 0xa4])
            .unwrap();
        out[latin1] = 0xe4;
        out[latin1 + 1] = b'!';
        assert_eq!(ClientKeyMessage::parse(&out).unwrap().username, "al_!n__");
    }

    #[test]
    fn a_message_may_end_after_the_options_or_the_password_but_not_inside() {
        let bytes = captured_client();
        let after_options = 5 + 48 + 64 + 2 + 101;
        for length in 0..bytes.len() {
            let read = ClientKeyMessage::parse(&bytes[..length]);
            let whole = [after_options, after_options + 2, after_options + 4];
            if whole.contains(&length) {
                assert_eq!(read.unwrap().peer_info, "", "{length}");
            } else {
                assert_eq!(read, Err(Malformed::Truncated), "{length}");
            }
        }
    }

    #[test]
    fn messages_that_are_refused() {
        let bytes = captured_client();
        let with = |at: usize, value: u8| {
            let mut changed = bytes.clone();
            changed[at] = value;
            ClientKeyMessage::parse(&changed)
        };
        let options_end = 5 + 48 + 64 + 2 + 100;
        assert_eq!(with(4, 1), Err(Malformed::Value));
        assert_eq!(with(options_end, b'x'), Err(Malformed::Text));
        assert_eq!(with(options_end - 1, 0), Err(Malformed::Text));
        // The upper half of the method byte and the four bytes before it mean nothing.
        assert!(with(4, 0xf2).is_ok());
        assert!(with(0, 0xff).is_ok());

        let mut long = bytes.clone();
        long.resize(CONTROL_MESSAGE_MAX + 1, 0);
        assert_eq!(ClientKeyMessage::parse(&long), Err(Malformed::Length));

        let mut message = ClientKeyMessage::parse(&bytes).unwrap();
        let mut out = Vec::new();
        message.options = "x".repeat(OPTIONS_STRING_MAX - 1);
        message.emit(&mut out).unwrap();
        assert_eq!(ClientKeyMessage::parse(&out).unwrap().options.len(), 511);
        message.options.push('x');
        assert_eq!(message.emit(&mut out), Err(Malformed::Length));
        message.options.clear();
        message.peer_info = "y".repeat(CONTROL_MESSAGE_MAX);
        assert_eq!(message.emit(&mut out), Err(Malformed::Length));
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut message = ClientKeyMessage::parse(&captured_client()).unwrap();
        message.password = Zeroizing::new("hunter2".into());
        let printed = format!("{message:?}");
        assert!(printed.contains("tls-client"));
        assert!(
            !printed.contains("hunter2") && !printed.contains("190"),
            "{printed}"
        );
    }
}
