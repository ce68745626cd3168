//! Text messages on the control channel, each one TLS record: ASCII words and a NUL.
//!
//! Wire: wire.md section 10.

use super::Malformed;
use crate::limits::CONTROL_MESSAGE_MAX;

/// A text message, without its NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMessage<'a> {
    /// The client asks for its configuration.
    PushRequest,
    /// The server's options, or a part of them (see [`PushAssembler`](super::PushAssembler)).
    PushReply(&'a str),
    /// What changes in the server's options, or a part of it (see [`PushUpdate`](super::PushUpdate)).
    PushUpdate(&'a str),
    /// The server refuses the credentials; the reason is empty if it gives none.
    AuthFailed {
        /// Free text, or one of the forms of wire.md section 10.3.
        reason: &'a str,
    },
    /// The server is still deciding; seconds that the client should wait, if it says so.
    AuthPending {
        /// `timeout N`.
        timeout: Option<u32>,
    },
    /// For the user, before the configuration.
    InfoPre(&'a str),
    /// For the user, after the configuration.
    Info(&'a str),
    /// The client's answer to a challenge, in base64.
    ChallengeResponse(&'a str),
    /// The client should connect again.
    Restart {
        /// `[P]`: with the credentials it has.
        keep_credentials: bool,
        /// `[N]`: to its next remote.
        next_remote: bool,
        /// Why; may be empty.
        text: &'a str,
    },
    /// The client should end for good; why, may be empty.
    Halt(&'a str),
    /// The sender leaves.
    Exit,
    /// Anything else; such messages are logged and ignored.
    Unknown(&'a str),
}

impl<'a> ControlMessage<'a> {
    /// The one message of a record: text, a NUL, and nothing behind it.
    ///
    /// Trailing CR and LF before the NUL are cut off.
    ///
    /// # Errors
    /// [`Malformed::Text`] without the NUL, with one inside, with control characters or with bytes
    /// that are not UTF-8; [`Malformed::Length`] above [`CONTROL_MESSAGE_MAX`].
    pub fn parse(record: &'a [u8]) -> Result<Self, Malformed> {
        if record.len() > CONTROL_MESSAGE_MAX {
            return Err(Malformed::Length);
        }
        match record.split_last() {
            Some((0, text)) => Self::parse_text(text),
            _ => Err(Malformed::Text),
        }
    }

    /// All messages of a record in which the sender put several, each with its NUL.
    ///
    /// What follows the last NUL is [`Malformed::Text`], as it is since 2.6.11.
    pub fn parse_all(record: &'a [u8]) -> impl Iterator<Item = Result<Self, Malformed>> {
        record.split_inclusive(|byte| *byte == 0).map(Self::parse)
    }

    fn parse_text(text: &'a [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|_| Malformed::Text)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.chars().any(char::is_control) {
            return Err(Malformed::Text);
        }
        let (word, rest) = text.split_once(',').unwrap_or((text, ""));
        Ok(match word {
            "PUSH_REQUEST" => Self::PushRequest,
            "PUSH_REPLY" => Self::PushReply(rest),
            "PUSH_UPDATE" => Self::PushUpdate(rest),
            "AUTH_FAILED" => Self::AuthFailed { reason: rest },
            "AUTH_PENDING" => Self::AuthPending {
                timeout: parse_timeout(rest),
            },
            "INFO_PRE" => Self::InfoPre(rest),
            "INFO" => Self::Info(rest),
            "CR_RESPONSE" => Self::ChallengeResponse(rest),
            "RESTART" => parse_restart(rest),
            "HALT" => Self::Halt(rest),
            "EXIT" => Self::Exit,
            _ => Self::Unknown(text),
        })
    }

    /// Appends the message and its NUL to `out`; control characters become `_`, since clients refuse
    /// a message that has some.
    ///
    /// # Errors
    /// [`Malformed::Length`] above [`CONTROL_MESSAGE_MAX`]; `out` is then as before.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let text: String = self
            .text()
            .chars()
            .map(|character| {
                if character.is_control() {
                    '_'
                } else {
                    character
                }
            })
            .collect();
        if text.len() + 1 > CONTROL_MESSAGE_MAX {
            return Err(Malformed::Length);
        }
        out.extend_from_slice(text.as_bytes());
        out.push(0);
        Ok(())
    }

    fn text(&self) -> String {
        match *self {
            Self::PushRequest => "PUSH_REQUEST".into(),
            // OpenVPN 3 does not see the bare word.
            Self::PushReply(options) => format!("PUSH_REPLY,{options}"),
            Self::PushUpdate(items) => format!("PUSH_UPDATE,{items}"),
            Self::AuthFailed { reason } => with_text("AUTH_FAILED", reason),
            Self::AuthPending { timeout: None } => "AUTH_PENDING".into(),
            Self::AuthPending {
                timeout: Some(seconds),
            } => format!("AUTH_PENDING,timeout {seconds}"),
            Self::InfoPre(text) => format!("INFO_PRE,{text}"),
            Self::Info(text) => format!("INFO,{text}"),
            Self::ChallengeResponse(text) => format!("CR_RESPONSE,{text}"),
            Self::Restart {
                keep_credentials,
                next_remote,
                text,
            } => match (keep_credentials, next_remote) {
                (false, false) => with_text("RESTART", text),
                (true, false) => format!("RESTART,[P]{text}"),
                (false, true) => format!("RESTART,[N]{text}"),
                (true, true) => format!("RESTART,[PN]{text}"),
            },
            Self::Halt(text) => with_text("HALT", text),
            Self::Exit => "EXIT".into(),
            Self::Unknown(text) => text.into(),
        }
    }
}

fn parse_timeout(arguments: &str) -> Option<u32> {
    arguments
        .split(',')
        .find_map(|argument| argument.strip_prefix("timeout "))?
        .parse()
        .ok()
}

fn parse_restart(rest: &str) -> ControlMessage<'_> {
    let (flags, text) = rest
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .unwrap_or(("", rest));
    ControlMessage::Restart {
        keep_credentials: flags.contains('P'),
        next_remote: flags.contains('N'),
        text,
    }
}

fn with_text(word: &str, text: &str) -> String {
    match text {
        "" => word.into(),
        _ => format!("{word},{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ControlMessage as M;

    const RESTART: M<'static> = M::Restart {
        keep_credentials: false,
        next_remote: false,
        text: "",
    };

    #[test]
    fn every_message_is_read_and_written() {
        let table: [(&str, M<'_>); 19] = [
            ("PUSH_REQUEST", M::PushRequest),
            ("PUSH_REPLY,a b,c", M::PushReply("a b,c")),
            ("AUTH_FAILED", M::AuthFailed { reason: "" }),
            (
                "AUTH_FAILED,SESSION: token expired",
                M::AuthFailed {
                    reason: "SESSION: token expired",
                },
            ),
            ("AUTH_PENDING", M::AuthPending { timeout: None }),
            (
                "AUTH_PENDING,timeout 120",
                M::AuthPending { timeout: Some(120) },
            ),
            (
                "INFO_PRE,CR_TEXT:R,E:code?",
                M::InfoPre("CR_TEXT:R,E:code?"),
            ),
            ("INFO,hello", M::Info("hello")),
            ("CR_RESPONSE,MTIz", M::ChallengeResponse("MTIz")),
            ("RESTART", RESTART),
            (
                "RESTART,going down",
                M::Restart {
                    keep_credentials: false,
                    next_remote: false,
                    text: "going down",
                },
            ),
            (
                "RESTART,[N]",
                M::Restart {
                    keep_credentials: false,
                    next_remote: true,
                    text: "",
                },
            ),
            (
                "RESTART,[PN]x",
                M::Restart {
                    keep_credentials: true,
                    next_remote: true,
                    text: "x",
                },
            ),
            ("HALT", M::Halt("")),
            ("HALT,bye", M::Halt("bye")),
            ("EXIT", M::Exit),
            ("EXITING", M::Unknown("EXITING")),
            (
                "PUSH_UPDATE,-route, ?dns x",
                M::PushUpdate("-route, ?dns x"),
            ),
            ("", M::Unknown("")),
        ];
        for (text, message) in table {
            let record = [text.as_bytes(), &[0]].concat();
            assert_eq!(M::parse(&record), Ok(message), "{text}");
            let mut out = vec![0xa5];
            message.emit(&mut out).unwrap();
            assert_eq!(out[1..], record, "{text}");
        }
    }

    #[test]
    fn forms_that_are_read_but_not_written() {
        for (record, message) in [
            (&b"PUSH_REPLY\0"[..], M::PushReply("")),
            (b"EXIT\r\n\0", M::Exit),
            (
                b"AUTH_PENDING,timeout soon\0",
                M::AuthPending { timeout: None },
            ),
            (b"RESTART,\0", RESTART),
        ] {
            assert_eq!(M::parse(record), Ok(message));
        }
    }

    #[test]
    fn messages_that_are_refused() {
        let long = vec![b'x'; CONTROL_MESSAGE_MAX + 1];
        for (record, verdict) in [
            (&b""[..], Malformed::Text),
            (b"EXIT", Malformed::Text),
            (b"EXIT\0EXIT\0", Malformed::Text),
            (b"INFO,a\tb\0", Malformed::Text),
            (b"INFO,a\r\nb\0", Malformed::Text),
            (b"INFO,\xff\0", Malformed::Text),
            (b"INFO,\x7f\0", Malformed::Text),
            (&long, Malformed::Length),
        ] {
            assert_eq!(M::parse(record), Err(verdict), "{record:?}");
        }
    }

    #[test]
    fn several_messages_in_a_record() {
        let read: Vec<_> = M::parse_all(b"INFO_PRE,x\0EXIT\0rest").collect();
        assert_eq!(
            read,
            [Ok(M::InfoPre("x")), Ok(M::Exit), Err(Malformed::Text)]
        );
    }

    #[test]
    fn trap_14_what_is_sent_has_no_control_characters_and_a_bounded_length() {
        let mut out = Vec::new();
        let reason = "two\nlines\u{85}";
        M::AuthFailed { reason }.emit(&mut out).unwrap();
        assert_eq!(out, b"AUTH_FAILED,two_lines_\0");
        let long = "x".repeat(CONTROL_MESSAGE_MAX - 6);
        out.clear();
        M::Info(&long).emit(&mut out).unwrap();
        assert_eq!(out.len(), CONTROL_MESSAGE_MAX);
        let longer = long + "x";
        assert_eq!(M::Info(&longer).emit(&mut out), Err(Malformed::Length));
        assert_eq!(out.len(), CONTROL_MESSAGE_MAX);
    }
}
