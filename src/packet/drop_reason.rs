//! Why a datagram or packet went no further: one name and one counter for each way to drop it.

/// Counts of dropped packets by reason, of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCounters {
    counts: [u64; DropReason::COUNT],
}

impl DropCounters {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            counts: [0; DropReason::COUNT],
        }
    }

    /// Counts one drop.
    pub const fn count(&mut self, reason: DropReason) {
        self.counts[reason as usize] += 1;
    }

    /// Counts several.
    pub const fn count_many(&mut self, reason: DropReason, packets: u64) {
        self.counts[reason as usize] += packets;
    }

    /// How many were dropped for `reason`.
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }

    /// How many were dropped for any reason.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of another shard or stage.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    /// Each reason with its count, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.counts)
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the enum, `ALL` and `name` from one list, so that none of the three can miss a reason.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])+ $variant:ident $name:literal)+) => {
        /// Why a datagram or packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant,)+];

            const COUNT: usize = [$($name,)+].len();

            /// The value of the metric's `reason` label; lower case, words joined by `_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    // --- Datagrams of either channel ---
    /// The bytes are no packet of the protocol: an opcode out of use, or a header cut short.
    Malformed "malformed"
    /// An empty datagram.
    Empty "empty"
    /// Larger than its channel allows.
    Oversized "oversized"

    // --- Control datagrams ---
    /// The control-channel wrapping did not verify.
    ControlAuthentication "control_authentication"
    /// The replay id of the wrapping was seen before or is too old.
    ControlReplay "control_replay"
    /// No session has this session id at this address.
    UnknownSession "unknown_session"
    /// The cookie in the answer to a reset is wrong, too old, or of another address.
    Cookie "cookie"
    /// A key id or opcode that the session cannot take in its present state.
    ControlUnexpected "control_unexpected"
    /// A message id outside the receive window.
    ControlWindow "control_window"
    /// The budget of answers to new contacts, or of new sessions, is spent.
    ContactBudget "contact_budget"
    /// The bound on half-open sessions, of the shard or of the source prefix, is reached: a session
    /// went, or a newcomer was not let in.
    HalfOpenLimit "half_open_limit"
    /// More datagrams of strangers wait for their turn than may.
    StrangerBacklog "stranger_backlog"
    /// More datagrams of half-open sessions wait for their turn than may.
    HandshakeBacklog "handshake_backlog"
    /// The bound on sessions is reached.
    SessionLimit "session_limit"
    /// A connection that is to come from a proxy does not, or does not begin so: it was closed.
    ProxyHeader "proxy_header"
    /// The bound on connections that are passed on to a web server is reached: one was closed.
    PortShareLimit "port_share_limit"

    // --- Data datagrams from a peer ---
    /// No peer has this peer id or, for a packet without one, this path.
    UnknownPeer "unknown_peer"
    /// The peer has no key with this key id.
    UnknownKey "unknown_key"
    /// The key was retired for its number of failed decryptions or its use.
    KeyExhausted "key_exhausted"
    /// The tag does not verify.
    Authentication "authentication"
    /// The packet id was seen before, is too old, or is zero.
    Replay "replay"
    /// Authentic, but no IP packet and no special payload.
    InnerMalformed "inner_malformed"
    /// Authentic, but not framed for compression as it should be, or compressed so that it can't be opened.
    Framing "framing"
    /// Authentic, but not a packet or a part of one as it should be where packets are cut.
    Fragment "fragment"
    /// A packet of which not all parts came in time, or which made room for others.
    Incomplete "incomplete"
    /// The inner source is neither assigned to the peer nor routed to it. Wire: "bad source address".
    SourceAddress "source_address"
    /// Authentic, but from an address where a client is that is known by it: the peer may not move there.
    FloatTaken "float_taken"
    /// The inner source is IPv6 link-local or unspecified, as clients' own chatter is.
    LinkLocalSource "link_local_source"
    /// An IPv6 packet of a client, or for one, where there is to be none (`block-ipv6`).
    Ipv6Refused "family_refused"

    // --- Inner packets to a peer ---
    /// No peer has the inner destination.
    NoRoute "no_route"
    /// The peer has no key to send with yet.
    NotConnected "not_connected"
    /// Larger than the tunnel's MTU.
    TooLarge "too_large"

    // --- Between shards ---
    /// The mailbox of the shard that it belongs to is full.
    MailboxFull "mailbox_full"
    /// It was handed over by another shard already, and does not belong to this one either.
    HandedOnTwice "handed_on_twice"

    // --- Our own bounds, and the kernel ---
    /// The kernel had no room for a datagram in the receive buffer of its socket.
    ReceiveOverflow "receive_overflow"
    /// No pool buffer is free.
    PoolEmpty "pool_empty"
    /// A queue of datagrams, or a batch, is full.
    QueueFull "queue_full"
    /// The tun device's queue is full.
    TunFull "tun_full"
    /// The tun device refused the packet.
    TunError "tun_error"
    /// The kernel's send buffer is full.
    SendFull "send_full"
    /// As many packets as `tcp-queue-limit` says wait for the receiver of a stream.
    StreamFull "stream_full"
    /// The stream was closed before its packets could leave.
    StreamClosed "stream_closed"
    /// The kernel knows no way to the peer (unreachable host, network or port).
    SendUnreachable "send_unreachable"
    /// The datagram exceeds the path's MTU.
    SendTooLarge "send_too_large"
    /// Any other error of a send.
    SendError "send_error"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_fit_a_metric_label() {
        let names: HashSet<_> = DropReason::ALL.map(DropReason::name).into();
        assert_eq!(names.len(), DropReason::ALL.len());
        for name in names {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
        }
    }

    #[test]
    fn each_reason_has_its_own_counter() {
        let mut counters = DropCounters::new();
        for (times, reason) in DropReason::ALL.into_iter().enumerate() {
            for _ in 0..times {
                counters.count(reason);
            }
        }
        let mut doubled = counters.clone();
        doubled.add(&counters);
        for (times, (reason, count)) in counters.iter().enumerate() {
            assert_eq!(count, times as u64, "{}", reason.name());
            assert_eq!(doubled.of(reason), 2 * count);
        }
        let last = DropReason::ALL.len() as u64;
        assert_eq!(counters.total(), last * (last - 1) / 2);
    }
}
