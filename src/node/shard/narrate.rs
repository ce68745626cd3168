//! What sessions say, in the words of [`NodeEvent`](crate::node::event::NodeEvent).

use std::sync::Arc;

use super::connections::Standing;
use crate::crypto::tls::{Negotiated, PeerCertificate, TlsError};
use crate::crypto::{WrapError, WrapKind};
use crate::node::event::{
    AdmissionRefusal, ClientEvent, ControlChannel, DataRefusal, ExitChannel, HandshakeFailure,
    LeaveReason as Left, StrangerRefusal, Text,
};
use crate::packet::{DropReason, Refusal};
use crate::session::{Agreement, ControlDrop, Derivation, LeaveReason, SessionSettings};
use crate::wire::{Malformed, PeerInfo};

/// A finished TLS handshake: the chain from the authority down, then the channel.
pub(super) fn secured(
    certificate: Option<&PeerCertificate>,
    negotiated: Negotiated,
) -> Vec<ClientEvent> {
    let chain = certificate.map(|it| it.subjects.iter().enumerate().rev());
    let chain = chain.into_iter().flatten();
    let mut events: Vec<_> = chain
        .map(|(depth, subject)| ClientEvent::CertificateAccepted {
            depth: depth as u8,
            subject: subject.as_str().into(),
        })
        .collect();
    events.push(ClientEvent::ControlChannel(ControlChannel {
        version: negotiated.version,
        cipher_suite: negotiated.suite.into(),
        certificate_key: certificate.map_or("", |it| it.key.as_str()).into(),
        group: negotiated.group.map(Text::from),
    }));
    events
}

/// A client's peer info, a variable a line.
pub(super) fn peer_info(info: &PeerInfo) -> Text {
    let lines: Vec<_> = info
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    lines.join("\n").into()
}

/// The words after `protocol-flags` that the client was told.
pub(super) fn protocol_flags(agreement: &Agreement) -> String {
    let mut flags = Vec::new();
    if agreement.control_exit {
        flags.push("cc-exit");
    }
    if agreement.derivation == Derivation::Exporter {
        flags.push("tls-ekm");
    }
    if agreement.dynamic_tls_crypt {
        flags.push("dyn-tls-crypt");
    }
    if agreement.epoch_keys {
        flags.push("aead-epoch");
    }
    flags.join(" ")
}

/// Why a session ended, as the events that tell it.
pub(super) fn left(
    reason: &LeaveReason,
    standing: &Standing,
    settings: &SessionSettings,
) -> Vec<ClientEvent> {
    let mut events = failed(reason, settings);
    if let LeaveReason::RemoteExit(channel) = reason {
        events.push(ClientEvent::ExitReceived(match channel {
            crate::session::ExitChannel::Control => ExitChannel::Control,
            crate::session::ExitChannel::Data => ExitChannel::Data,
        }));
    }
    let reset = *reason == LeaveReason::ConnectionReset;
    if matches!(standing, Standing::Client(_)) || reset {
        events.push(ClientEvent::Left(match reason {
            LeaveReason::RemoteExit(crate::session::ExitChannel::Data) => Left::RemoteExit,
            LeaveReason::RemoteExit(_) => Left::DelayedExit,
            LeaveReason::PingRestart if exits_when_silent(standing) => Left::PingExit,
            LeaveReason::PingRestart => Left::PingRestart,
            LeaveReason::Replaced => Left::Replaced,
            LeaveReason::Inactive => Left::Inactive,
            LeaveReason::SessionTimeout => Left::SessionTimeout,
            LeaveReason::ConnectionReset => Left::ConnectionReset,
            LeaveReason::Killed => Left::Killed,
            LeaveReason::Dismissed => Left::DelayedExit,
            LeaveReason::Closed => Left::ServerStopped,
            _ => Left::TlsError,
        }));
    }
    events
}

fn exits_when_silent(standing: &Standing) -> bool {
    standing
        .tunnel()
        .is_some_and(|tunnel| tunnel.times.exit_when_silent)
}

/// A key exchange that failed; nothing for other ends.
pub(super) fn failed(reason: &LeaveReason, settings: &SessionSettings) -> Vec<ClientEvent> {
    let failure = |reason: &dyn std::fmt::Display| HandshakeFailure::Tls {
        reason: reason.to_string().into(),
    };
    match reason {
        LeaveReason::HandWindow => {
            let seconds = settings.timing.hand_window.as_secs();
            vec![ClientEvent::HandshakeFailed(HandshakeFailure::Timeout {
                seconds,
            })]
        }
        LeaveReason::Tls(TlsError::Certificate(refused)) => vec![
            ClientEvent::CertificateRefused(Arc::new(refused.clone())),
            ClientEvent::HandshakeFailed(failure(&"certificate verify failed")),
        ],
        LeaveReason::Tls(error) => vec![ClientEvent::HandshakeFailed(failure(error))],
        LeaveReason::NoCommonCipher(client) => {
            let ours = settings.ciphers.iter().map(|cipher| cipher.name());
            vec![ClientEvent::NoCommonCipher {
                server: ours.collect::<Vec<_>>().join(":").into(),
                client: client.as_str().into(),
            }]
        }
        LeaveReason::KeyMessage(_)
        | LeaveReason::IdentityChanged { .. }
        | LeaveReason::Push(_)
        | LeaveReason::Keys
        | LeaveReason::NoCredentials
        | LeaveReason::UsernameChanged { .. }
        | LeaveReason::KeyExpired => {
            let reason = reason.to_string().into();
            vec![ClientEvent::HandshakeFailed(HandshakeFailure::KeyMethod {
                reason,
            })]
        }
        _ => Vec::new(),
    }
}

/// A data packet that was refused.
pub(super) fn data_refusal(refusal: Refusal, aead: bool) -> ClientEvent {
    match refusal {
        Refusal::NotAuthentic => ClientEvent::DataRefused(DataRefusal::NotAuthentic { aead }),
        Refusal::Replay { packet_id } => {
            ClientEvent::DataRefused(DataRefusal::Replay { packet_id, aead })
        }
        Refusal::Framing => ClientEvent::DataRefused(DataRefusal::Framing),
        Refusal::Fragment => ClientEvent::DataRefused(DataRefusal::Fragment),
        Refusal::Source(source) => ClientEvent::BadSource { source },
        Refusal::Taken(to) => ClientEvent::DataRefused(DataRefusal::AddressTaken { to }),
    }
}

/// What a client is told when the registry has no place for it.
pub(super) fn refusal(refusal: AdmissionRefusal) -> &'static str {
    match refusal {
        AdmissionRefusal::MaxClients { .. } => "the server has as many clients as it takes",
        AdmissionRefusal::PoolExhausted => "the server has no address left",
        AdmissionRefusal::RegistryBusy => "the server is too busy to let clients in",
        AdmissionRefusal::Replaced => "a newer connection of this client took over",
        AdmissionRefusal::Disabled => "the server's file for this client shuts it out",
        AdmissionRefusal::NoFile => "the server has no file for this client",
        AdmissionRefusal::Hook => "",
        AdmissionRefusal::NoAddress => "the server has no address for this client",
    }
}

/// Whether asking again would lead to nothing else.
pub(super) const fn is_for_good(refusal: AdmissionRefusal) -> bool {
    matches!(
        refusal,
        AdmissionRefusal::Disabled | AdmissionRefusal::NoFile | AdmissionRefusal::Hook
    )
}

/// The counter of a refused control datagram.
pub(super) fn drop_reason(refused: ControlDrop) -> DropReason {
    match refused {
        ControlDrop::Malformed(Malformed::Truncated | Malformed::Opcode)
        | ControlDrop::Wrapping(WrapError::Malformed(_))
        | ControlDrop::Malformed(_) => DropReason::Malformed,
        ControlDrop::Wrapping(WrapError::Authentication(_)) => DropReason::ControlAuthentication,
        ControlDrop::Wrapping(WrapError::Replay { .. }) => DropReason::ControlReplay,
        ControlDrop::ForeignSession => DropReason::UnknownSession,
        ControlDrop::KeyOutOfStep | ControlDrop::Unexpected | ControlDrop::Over => {
            DropReason::ControlUnexpected
        }
        ControlDrop::OutsideWindow => DropReason::ControlWindow,
        ControlDrop::Cookie => DropReason::Cookie,
        ControlDrop::NoKey | ControlDrop::KeyTooOld => DropReason::ControlAuthentication,
        ControlDrop::TooManyContacts | ControlDrop::TooManySessions => DropReason::ContactBudget,
        ControlDrop::TooLong => DropReason::Oversized,
    }
}

/// What the log says of a refused control datagram, if it is worth a line.
pub(super) fn stranger_refusal(refused: ControlDrop) -> Option<StrangerRefusal> {
    Some(match refused {
        ControlDrop::Wrapping(WrapError::Authentication(WrapKind::TlsAuth)) => {
            StrangerRefusal::TlsAuthFailed
        }
        ControlDrop::Wrapping(WrapError::Authentication(WrapKind::TlsCrypt)) => {
            StrangerRefusal::TlsCryptFailed
        }
        ControlDrop::Wrapping(WrapError::Authentication(WrapKind::TlsCryptV2)) => {
            StrangerRefusal::ClientKeyRefused
        }
        ControlDrop::Wrapping(WrapError::Replay {
            kind: WrapKind::TlsAuth,
            ..
        }) => StrangerRefusal::TlsAuthReplay,
        ControlDrop::Wrapping(WrapError::Replay {
            kind: WrapKind::TlsCrypt | WrapKind::TlsCryptV2,
            ..
        }) => StrangerRefusal::TlsCryptReplay,
        ControlDrop::Wrapping(WrapError::Malformed(Malformed::Truncated)) => {
            StrangerRefusal::TlsAuthMissing
        }
        ControlDrop::Cookie => StrangerRefusal::WrongCookie,
        ControlDrop::NoKey => StrangerRefusal::ClientKeyMissing,
        ControlDrop::KeyTooOld => StrangerRefusal::ClientKeyTooOld,
        ControlDrop::TooManySessions => StrangerRefusal::TooManySessions,
        _ => return None,
    })
}

/// A message as the log may have it: a token is as good as a password.
pub(super) fn without_token(message: &str) -> String {
    let shown = message
        .split(',')
        .map(|option| match option.split_once(' ') {
            Some(("auth-token", _)) => "auth-token [redacted]",
            _ => option,
        });
    shown.collect::<Vec<_>>().join(",")
}
