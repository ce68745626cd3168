//! One who is connected: bytes in, bytes out. Sockets and clock are elsewhere.

use std::io::Write as _;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::desk::{Backend, Desk, Waits};
use super::lines::{Lines, TooLong};
use super::logins::ClientBlock;
use crate::limits::{
    CLIENT_LINES_MAX, MANAGEMENT_BACKLOG, MANAGEMENT_EXTRA_LINES, MANAGEMENT_REALTIME_BACKLOG,
};
use crate::node::event::Printable;
use crate::wire::words;

/// A connection.
pub(super) struct Conversation {
    lines: Lines,
    /// Passwords may go this way, so it is zeroed.
    output: Zeroizing<Vec<u8>>,
    stage: Stage,
    /// What is told as it happens.
    pub(super) log: bool,
    pub(super) state: bool,
    pub(super) echo: bool,
    /// Every so many seconds who has moved how many bytes; 0 for never.
    pub(super) bytecount: u32,
    /// How little is told of clients (`env-filter`); 0 for all.
    pub(super) env_filter: i64,
    closing: bool,
}

enum Stage {
    /// Until the password has come; with the wrong ones so far.
    Password {
        wanted: Zeroizing<String>,
        wrong: u32,
    },
    Commands,
    /// The lines behind `client-auth` with these numbers, until `END`.
    Extra {
        numbers: (u64, u64),
        lines: usize,
        text: String,
    },
}

/// What happens, for those who want to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A line of log.
    Log(String),
    /// Another state of the server.
    State(String),
    /// Words of the configuration.
    Echo(String),
    /// For everybody.
    All(String),
    /// Something of a client, for everybody.
    Client(ClientBlock),
}

impl Conversation {
    /// Begins, with the greeting or the question for the password.
    pub(super) fn new(password: Option<Zeroizing<String>>, desk: &Desk) -> Self {
        let mut conversation = Self {
            lines: Lines::default(),
            output: Zeroizing::default(),
            stage: Stage::Commands,
            log: false,
            state: false,
            echo: false,
            bytecount: 0,
            env_filter: 0,
            closing: false,
        };
        match password {
            Some(wanted) => {
                conversation.stage = Stage::Password { wanted, wrong: 0 };
                conversation.output.extend_from_slice(PROMPT);
            }
            None => conversation.welcome(desk),
        }
        conversation
    }

    fn welcome(&mut self, desk: &Desk) {
        self.say(GREETING);
        self.say_what_is_awaited(desk);
    }

    /// What a server that starts waits for.
    pub(super) fn say_what_is_awaited(&mut self, desk: &Desk) {
        match desk.waits {
            Waits::Nothing => {}
            Waits::Release => self.say(HELD),
            Waits::Password => self.say(NEEDS_PASSWORD),
        }
    }

    /// Takes what came, and answers as long as what is answered is read.
    pub(super) fn receive(&mut self, bytes: &[u8], desk: &mut Desk, backend: &mut dyn Backend) {
        self.lines.push(bytes);
        self.go_on(desk, backend);
    }

    /// Answers what waits.
    pub(super) fn go_on(&mut self, desk: &mut Desk, backend: &mut dyn Backend) {
        while !self.closing && self.output.len() < MANAGEMENT_BACKLOG {
            match self.lines.next() {
                Ok(Some(line)) => self.line(&line, desk, backend),
                Ok(None) => return,
                Err(TooLong) => self.closing = true,
            }
        }
    }

    /// Whether there is room for more to come.
    pub(super) fn listens(&self) -> bool {
        !self.closing
            && self.output.len() < MANAGEMENT_BACKLOG
            && self.lines.len() < MANAGEMENT_BACKLOG
    }

    /// Whether it ends once all is sent.
    pub(super) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether it may know what happens.
    pub(super) const fn is_welcome(&self) -> bool {
        !matches!(self.stage, Stage::Password { .. })
    }

    /// What is to be sent.
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        let sent = bytes.min(self.output.len());
        self.output.drain(..sent);
    }

    /// Tells what happens, if it is wanted. False: too much waits already, and nobody reads it.
    pub(super) fn notice(&mut self, notice: &Notice) -> bool {
        if !self.is_welcome() {
            return true;
        }
        match notice {
            Notice::Log(entry) if self.log => self.say(format_args!(">LOG:{entry}")),
            Notice::State(entry) if self.state => self.say(format_args!(">STATE:{entry}")),
            Notice::Echo(entry) if self.echo => self.say(format_args!(">ECHO:{entry}")),
            Notice::All(line) => self.say(line),
            Notice::Client(block) => block.lines(self.env_filter, |line| self.say(line)),
            Notice::Log(_) | Notice::State(_) | Notice::Echo(_) => {}
        }
        self.output.len() < MANAGEMENT_REALTIME_BACKLOG
    }

    /// A line out.
    pub(super) fn say(&mut self, line: impl std::fmt::Display) {
        // Writing to a Vec cannot fail.
        let _infallible = write!(*self.output, "{line}\r\n");
    }

    /// Lines out that are ended by LF.
    pub(super) fn say_lines(&mut self, text: &str) {
        text.lines().for_each(|line| self.say(line));
    }

    /// Ends once all is sent.
    pub(super) const fn close(&mut self) {
        self.closing = true;
    }

    /// Lines for a client follow, until `END`.
    pub(super) fn expect_lines(&mut self, numbers: (u64, u64)) {
        self.stage = Stage::Extra {
            numbers,
            lines: 0,
            text: String::new(),
        };
    }

    /// A client may come in, with these lines.
    pub(super) fn accept(&mut self, numbers: (u64, u64), lines: String, desk: &mut Desk) {
        self.say(match desk.logins.accept(numbers, lines) {
            true => "SUCCESS: client-auth command succeeded",
            false => "ERROR: client-auth command failed",
        });
    }

    fn line(&mut self, line: &str, desk: &mut Desk, backend: &mut dyn Backend) {
        match &mut self.stage {
            Stage::Password { wanted, wrong } => {
                if bool::from(wanted.as_bytes().ct_eq(line.as_bytes())) {
                    self.stage = Stage::Commands;
                    self.say("SUCCESS: password is correct");
                    self.welcome(desk);
                    return;
                }
                *wrong += 1;
                self.closing = *wrong >= PASSWORD_TRIES;
                self.say("ERROR: bad password");
                match self.closing {
                    true => backend.note(REJECTED),
                    false => self.output.extend_from_slice(PROMPT),
                }
            }
            Stage::Extra { numbers, text, .. } if line == "END" => {
                let (numbers, text) = (*numbers, std::mem::take(text));
                self.stage = Stage::Commands;
                self.accept(numbers, text, desk);
            }
            Stage::Extra { lines, text, .. } => {
                *lines += 1;
                text.push_str(line);
                text.push('\n');
                let is_too_long = text.len() as u64 > CLIENT_LINES_MAX;
                self.closing = *lines > MANAGEMENT_EXTRA_LINES || is_too_long;
            }
            Stage::Commands => self.command(line, desk, backend),
        }
    }

    fn command(&mut self, line: &str, desk: &mut Desk, backend: &mut dyn Backend) {
        let words = match words(line) {
            // One of them may be a password.
            Ok(words) => Zeroizing::new(words),
            Err(fault) => return self.say(format_args!("ERROR: {fault}")),
        };
        let Some(name) = words.first() else {
            return;
        };
        let shown = match name.as_str() {
            "password" => "password [...]",
            _ => line,
        };
        if name != "load-stats" && desk.verb >= COMMANDS_VERB {
            let text = format!("MANAGEMENT: CMD '{}'", Printable(shown));
            let entry = format!("{},D,{text}", backend.unix());
            self.notice(&Notice::Log(entry.clone()));
            desk.log.push(entry);
            backend.note(&text);
        }
        super::commands::answer(self, &words, desk, backend);
    }
}

pub(super) const GREETING: &str =
    ">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info";
pub(super) const HELD: &str = ">HOLD:Waiting for hold release:0";
pub(super) const NEEDS_PASSWORD: &str = ">PASSWORD:Need 'Private Key' password";
pub(super) const WRONG_PASSWORD: &str = ">PASSWORD:Verification Failed: 'Private Key'";
const PROMPT: &[u8] = b"ENTER PASSWORD:";
const PASSWORD_TRIES: u32 = 3;
const REJECTED: &str = "MAN: client connection rejected after 3 failed password attempts";
/// The verbosity from which commands are logged.
const COMMANDS_VERB: u8 = 3;
