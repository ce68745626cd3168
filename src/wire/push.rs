//! PUSH_REPLY: options into messages that fit, and back.
//!
//! Wire: wire.md section 10.1. Options are separated by commas; a reply that is too long for one
//! message goes on in another, which the option `push-continuation` announces.

use crate::limits::{PUSH_MESSAGE_MAX, PUSH_OPTION_MAX, PUSH_REPLY_MAX};

/// The options of a reply, in the order in which they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushReply {
    options: Vec<String>,
}

impl PushReply {
    /// A reply without options.
    pub const fn new() -> Self {
        Self {
            options: Vec::new(),
        }
    }

    /// Adds an option, such as `route 10.0.0.0 255.0.0.0`.
    ///
    /// # Errors
    /// An option that no client could read: too long, empty, with a comma or a control character.
    pub fn push(&mut self, option: impl Into<String>) -> Result<(), PushError> {
        let option = option.into();
        check_option(&option)?;
        self.options.push(option);
        Ok(())
    }

    /// The options so far.
    pub fn options(&self) -> &[String] {
        &self.options
    }

    /// The texts to send in this order, without their NULs; at least one, each with `PUSH_REPLY,`.
    pub fn messages(&self) -> Vec<String> {
        messages(PUSH_REPLY, &self.options)
    }
}

/// The texts that carry these options behind `word`, which ends in a comma: at least one.
pub(super) fn messages(word: &str, options: &[String]) -> Vec<String> {
    let mut messages = Vec::new();
    let mut message = String::from(word);
    for option in options {
        // One more for the comma, which the first option finds written.
        if message.len() + 1 + option.len() > PUSH_MESSAGE_MAX {
            messages.push(message + ",push-continuation 2");
            message = String::from(word);
        }
        if message.len() > word.len() {
            message.push(',');
        }
        message.push_str(option);
    }
    if !messages.is_empty() {
        message.push_str(",push-continuation 1");
    }
    messages.push(message);
    messages
}

/// Collects the parts of a reply, or of an update, on the client's side.
#[derive(Clone, Debug, Default)]
pub struct PushAssembler {
    options: Vec<String>,
    bytes: usize,
}

impl PushAssembler {
    /// Nothing collected.
    pub const fn new() -> Self {
        Self {
            options: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes what stands behind `PUSH_REPLY,` in one message; gives all options once the last part
    /// is there, and is then ready for another reply.
    ///
    /// # Errors
    /// [`PushError::ReplyTooLong`] when the parts together exceed [`PUSH_REPLY_MAX`].
    pub fn take(&mut self, part: &str) -> Result<Option<Vec<String>>, PushError> {
        self.bytes = self.bytes.saturating_add(part.len());
        if self.bytes > PUSH_REPLY_MAX {
            *self = Self::new();
            return Err(PushError::ReplyTooLong);
        }
        let mut more = false;
        for option in part.split(',').filter(|option| !option.is_empty()) {
            match option.strip_prefix("push-continuation ") {
                Some(state) => more = state == "2",
                None => self.options.push(option.to_owned()),
            }
        }
        if more {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).options))
    }
}

/// Why an option or a reply cannot be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Clients read options of up to 255 bytes.
    #[error("a pushed option is longer than 255 bytes")]
    OptionTooLong,
    /// The comma separates options and cannot be quoted.
    #[error("a pushed option contains a comma")]
    Comma,
    /// Clients refuse a message with control characters.
    #[error("a pushed option contains a control character")]
    Control,
    /// There is nothing to push.
    #[error("a pushed option is empty")]
    Empty,
    /// A server that never ends its reply.
    #[error("the pushed reply is longer than a client takes")]
    ReplyTooLong,
}

pub(super) fn check_option(option: &str) -> Result<(), PushError> {
    if option.is_empty() {
        Err(PushError::Empty)
    } else if option.len() > PUSH_OPTION_MAX {
        Err(PushError::OptionTooLong)
    } else if option.contains(',') {
        Err(PushError::Comma)
    } else if option.chars().any(char::is_control) {
        Err(PushError::Control)
    } else {
        Ok(())
    }
}

const PUSH_REPLY: &str = "PUSH_REPLY,";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ControlMessage;
    use proptest::prelude::*;

    fn reply(options: impl IntoIterator<Item = String>) -> PushReply {
        let mut reply = PushReply::new();
        for option in options {
            reply.push(option).unwrap();
        }
        reply
    }

    #[test]
    fn the_captured_reply_is_one_message() {
        let options = [
            "route-gateway 10.8.0.1",
            "topology subnet",
            "ping 1",
            "ping-restart 60",
            "ifconfig 10.8.0.2 255.255.255.0",
            "peer-id 0",
            "cipher AES-256-GCM",
            "protocol-flags cc-exit tls-ekm dyn-tls-crypt",
            "tun-mtu 1500",
        ];
        let messages = reply(options.map(str::to_owned)).messages();
        assert_eq!(
            messages,
            [
                "PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,ping 1,ping-restart 60,\
                ifconfig 10.8.0.2 255.255.255.0,peer-id 0,cipher AES-256-GCM,\
                protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500"
            ]
        );
        let mut record = Vec::new();
        ControlMessage::PushReply(&messages[0]["PUSH_REPLY,".len()..])
            .emit(&mut record)
            .unwrap();
        assert_eq!(record.len(), 192);
    }

    #[test]
    fn trap_15_an_empty_reply_keeps_its_comma() {
        assert_eq!(PushReply::new().messages(), ["PUSH_REPLY,"]);
        assert_eq!(PushAssembler::new().take(""), Ok(Some(Vec::new())));
    }

    #[test]
    fn trap_15_a_long_reply_continues() {
        let options: Vec<_> = (0..60)
            .map(|number| format!("route 10.{number}.0.0 255.255.0.0"))
            .collect();
        let messages = reply(options.clone()).messages();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].ends_with(",push-continuation 2"));
        assert!(messages[1].ends_with(",push-continuation 1"));
        assert!(messages[0].len() <= PUSH_MESSAGE_MAX + ",push-continuation 2".len());

        let mut assembler = PushAssembler::new();
        let part = |index: usize| messages[index].strip_prefix("PUSH_REPLY,").unwrap();
        assert_eq!(assembler.take(part(0)), Ok(None));
        assert_eq!(assembler.take(part(1)), Ok(Some(options)));
        assert_eq!(
            assembler.take("a,b"),
            Ok(Some(vec!["a".into(), "b".into()]))
        );
    }

    #[test]
    fn options_that_no_client_could_read_are_refused() {
        let mut reply = PushReply::new();
        assert_eq!(reply.push("a".repeat(255)), Ok(()));
        assert_eq!(reply.push("a".repeat(256)), Err(PushError::OptionTooLong));
        assert_eq!(reply.push("a,b"), Err(PushError::Comma));
        assert_eq!(reply.push("a\nb"), Err(PushError::Control));
        assert_eq!(reply.push(""), Err(PushError::Empty));
        assert_eq!(reply.options().len(), 1);
    }

    #[test]
    fn a_reply_without_end_is_refused() {
        let mut assembler = PushAssembler::new();
        let part = format!("{},push-continuation 2", "a".repeat(1000));
        let verdict = (0..300).find_map(|_| assembler.take(&part).err());
        assert_eq!(verdict, Some(PushError::ReplyTooLong));
        assert_eq!(assembler.take("x"), Ok(Some(vec!["x".into()])));
    }

    proptest! {
        #[test]
        fn any_options_arrive_in_messages_that_fit(
            options in proptest::collection::vec("[a-z0-9 .]{1,255}", 0..60),
        ) {
            let messages = reply(options.clone()).messages();
            let mut assembler = PushAssembler::new();
            let mut received = None;
            for message in &messages {
                prop_assert!(message.len() < 1024 - 1);
                prop_assert!(received.is_none());
                received = assembler.take(message.strip_prefix("PUSH_REPLY,").unwrap()).unwrap();
            }
            prop_assert_eq!(received, Some(options));
        }
    }
}
