//! What follows from the end of a connection: in which words it is told, and whether and where the
//! client tries again.

use std::time::Duration;

use super::dialer::Next;
use crate::node::event::{Text, TunnelEvent};
use crate::node::settings::AfterRefusal;
use crate::session::LeaveReason;

/// What a client does when a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// It tries again.
    Restart {
        /// Why, in the word of the log.
        cause: &'static str,
        after: After,
    },
    /// It tries again without the server's token.
    WithoutToken { cause: &'static str },
    /// It ends.
    End { cause: &'static str },
    /// It was the client's own doing.
    Nothing,
}

/// How the next attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct After {
    pub(super) next: Next,
    /// The least pause, if the server asks for one.
    pub(super) pause: Option<Duration>,
}

impl Default for After {
    fn default() -> Self {
        Self {
            next: Next::Another,
            pause: None,
        }
    }
}

/// What decides what follows from the end of a connection, beside its reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// What is to be done when the server refuses the login.
    pub(super) after_refusal: AfterRefusal,
    /// Whether the login was by a token.
    pub(super) by_token: bool,
    /// Whether a silent server ends the client (`ping-exit`).
    pub(super) exits_when_silent: bool,
    /// Whether a failure of TLS ends it (`tls-exit`).
    pub(super) exits_on_tls_error: bool,
}

/// What follows from the end of a connection.
pub(super) fn consequence(reason: &LeaveReason, given: Circumstances) -> Consequence {
    let restart = |cause| {
        let after = After::default();
        Consequence::Restart { cause, after }
    };
    match reason {
        LeaveReason::PingRestart if given.exits_when_silent => {
            Consequence::End { cause: "ping-exit" }
        }
        LeaveReason::PingRestart => restart("ping-restart"),
        LeaveReason::RemoteExit(_) => restart("remote-exit"),
        LeaveReason::ConnectionReset => restart("connection-reset"),
        LeaveReason::RemoteRestart { next_remote, .. } => Consequence::Restart {
            cause: "server-pushed-connection-reset",
            after: After {
                next: if *next_remote {
                    Next::Another
                } else {
                    Next::Same
                },
                pause: None,
            },
        },
        LeaveReason::RemoteHalt(_) => Consequence::End {
            cause: "server-pushed-halt",
        },
        LeaveReason::AuthFailed(reason) => refused(reason, given.after_refusal, given.by_token),
        LeaveReason::SessionTimeout => Consequence::End {
            cause: "session-timeout",
        },
        LeaveReason::Inactive => Consequence::End { cause: "inactive" },
        LeaveReason::Closed => Consequence::Nothing,
        LeaveReason::Push(_) | LeaveReason::NoCommonCipher(_) | LeaveReason::EpochKeys => {
            restart("process-push-msg-failed")
        }
        _ if given.exits_on_tls_error => Consequence::End { cause: "tls-error" },
        _ => restart("tls-error"),
    }
}

/// Wire: wire.md section 10.3. `TEMP[backoff 10,advance no]:text` asks for another attempt.
fn refused(reason: &str, after_refusal: AfterRefusal, by_token: bool) -> Consequence {
    if let Some(flags) = reason.strip_prefix("TEMP") {
        let flags = flags
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'));
        let flags = flags.map_or("", |(flags, _)| flags).split(',');
        let mut after = After::default();
        for flag in flags.map(str::trim) {
            if let Some(seconds) = flag.strip_prefix("backoff ") {
                after.pause = seconds.trim().parse().ok().map(Duration::from_secs);
            }
            if flag == "advance no" {
                after.next = Next::Same;
            }
        }
        let cause = "auth-temp-failure (server temporary reject)";
        return Consequence::Restart { cause, after };
    }
    if by_token {
        return Consequence::WithoutToken {
            cause: "auth-failure (auth-token)",
        };
    }
    let cause = "auth-failure";
    match after_refusal {
        AfterRefusal::End => Consequence::End { cause },
        AfterRefusal::Retry => Consequence::Restart {
            cause,
            after: After::default(),
        },
    }
}

/// What is told of the end of a connection, beside its consequence.
pub(super) fn told(reason: &LeaveReason, server: Text, ends: bool) -> Option<TunnelEvent> {
    Some(match reason {
        LeaveReason::PingRestart => TunnelEvent::Silent { server, ends },
        LeaveReason::ConnectionReset => TunnelEvent::ConnectionReset,
        LeaveReason::SessionTimeout => TunnelEvent::SessionOver,
        LeaveReason::Inactive => TunnelEvent::Inactive,
        LeaveReason::RemoteRestart { text, .. } => TunnelEvent::ToldToRestart {
            text: text.as_str().into(),
        },
        LeaveReason::RemoteHalt(text) => TunnelEvent::ToldToHalt {
            text: text.as_str().into(),
        },
        LeaveReason::AuthFailed(reason) => TunnelEvent::LoginRefused {
            reason: reason.as_str().into(),
        },
        _ => return None,
    })
}

/// Pushed options as one line for the log.
pub(super) fn without_secrets(options: &[String]) -> String {
    let shown = options.iter().map(|option| match option.split_once(' ') {
        Some(("auth-token", _)) => "auth-token [redacted]",
        _ => option,
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ExitChannel;

    const fn restart(cause: &'static str, next: Next, pause: Option<u64>) -> Consequence {
        let pause = match pause {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        };
        let after = After { next, pause };
        Consequence::Restart { cause, after }
    }

    const USUAL: Circumstances = Circumstances {
        after_refusal: AfterRefusal::End,
        by_token: false,
        exits_when_silent: false,
        exits_on_tls_error: false,
    };

    #[test]
    fn each_end_has_its_consequence() {
        use Next::{Another, Same};
        let temporary = "auth-temp-failure (server temporary reject)";
        let pushed = |next_remote| LeaveReason::RemoteRestart {
            next_remote,
            text: String::new(),
        };
        for (reason, expected) in [
            (
                LeaveReason::PingRestart,
                restart("ping-restart", Another, None),
            ),
            (LeaveReason::HandWindow, restart("tls-error", Another, None)),
            (LeaveReason::KeyExpired, restart("tls-error", Another, None)),
            (
                LeaveReason::ConnectionReset,
                restart("connection-reset", Another, None),
            ),
            (
                LeaveReason::RemoteExit(ExitChannel::Data),
                restart("remote-exit", Another, None),
            ),
            (
                pushed(false),
                restart("server-pushed-connection-reset", Same, None),
            ),
            (
                pushed(true),
                restart("server-pushed-connection-reset", Another, None),
            ),
            (
                LeaveReason::RemoteHalt(String::new()),
                Consequence::End {
                    cause: "server-pushed-halt",
                },
            ),
            (LeaveReason::Closed, Consequence::Nothing),
            (
                LeaveReason::SessionTimeout,
                Consequence::End {
                    cause: "session-timeout",
                },
            ),
            (
                LeaveReason::AuthFailed("wrong".to_owned()),
                Consequence::End {
                    cause: "auth-failure",
                },
            ),
            (
                LeaveReason::AuthFailed("TEMP".to_owned()),
                restart(temporary, Another, None),
            ),
            (
                LeaveReason::AuthFailed("TEMP[backoff 42,advance no]:full".to_owned()),
                restart(temporary, Same, Some(42)),
            ),
        ] {
            let consequence = consequence(&reason, USUAL);
            assert_eq!(consequence, expected, "{reason:?}");
        }
    }

    #[test]
    fn rules_and_tokens_change_it() {
        let refused = LeaveReason::AuthFailed(String::new());
        let retrying = Circumstances {
            after_refusal: AfterRefusal::Retry,
            ..USUAL
        };
        let by_token = Circumstances {
            by_token: true,
            ..USUAL
        };
        let exits_when_silent = Circumstances {
            exits_when_silent: true,
            ..USUAL
        };
        let cause = "auth-failure (auth-token)";
        for (reason, given, expected) in [
            (
                &refused,
                retrying,
                restart("auth-failure", Next::Another, None),
            ),
            (&refused, by_token, Consequence::WithoutToken { cause }),
            (
                &LeaveReason::PingRestart,
                exits_when_silent,
                Consequence::End { cause: "ping-exit" },
            ),
        ] {
            assert_eq!(consequence(reason, given), expected, "{reason:?}");
        }
        // What is no fault of TLS is not ended by `tls-exit`.
        for (reason, expected) in [
            (
                LeaveReason::HandWindow,
                Consequence::End { cause: "tls-error" },
            ),
            (
                LeaveReason::PingRestart,
                restart("ping-restart", Next::Another, None),
            ),
        ] {
            let given = Circumstances {
                exits_on_tls_error: true,
                ..USUAL
            };
            assert_eq!(consequence(&reason, given), expected, "{reason:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let options = ["ping 10", "auth-token SESS_ID", "auth-token-user YQ=="];
        let options: Vec<_> = options.map(str::to_owned).into();
        assert_eq!(
            without_secrets(&options),
            "ping 10,auth-token [redacted],auth-token-user YQ=="
        );
    }
}
