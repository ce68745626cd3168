//! The cookie that lets a server answer a client's first packet without remembering it.
//!
//! Wire: wire.md section 4.1. The server's session id is an HMAC over a time slot, the client's address
//! and the client's session id; whoever echoes it has received the answer at that address. How the
//! input is encoded concerns nobody else, but all shards must agree on it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::hmac;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::random::Random;
use crate::time::Now;
use crate::wire::SessionId;

/// The key of all cookies of a process; clones are the same key, for the other shards.
#[derive(Clone)]
pub struct CookieKey {
    key: hmac::Key,
    slot_seconds: u64,
}

impl CookieKey {
    /// A new random key. A slot is half of `hand_window`, rounded up to seconds.
    pub fn new(random: &mut dyn Random, hand_window: Duration) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        random.fill(key.as_mut_slice());
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()),
            slot_seconds: hand_window.as_secs().div_ceil(2).max(1),
        }
    }

    /// The slot of a moment.
    pub const fn slot(&self, now: Now) -> u64 {
        now.monotonic.as_nanos() / NANOS / self.slot_seconds
    }

    /// The session id of the server's answer, in `slot`, to the client with this address and session
    /// id. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn session_id(&self, slot: u64, address: &SocketAddr, client: SessionId) -> SessionId {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&slot.to_be_bytes());
        context.update(&ip.octets());
        context.update(&address.port().to_be_bytes());
        context.update(&client.0);
        let mut id = [0; 8];
        for (byte, tag) in id.iter_mut().zip(context.sign().as_ref()) {
            *byte = *tag;
        }
        SessionId(id)
    }

    /// True if `presented` is the cookie of this slot or of one of the two before: an answer stays
    /// good for two to three slots.
    pub fn verify(
        &self,
        now: Now,
        address: &SocketAddr,
        client: SessionId,
        presented: SessionId,
    ) -> bool {
        let current = self.slot(now);
        let mut valid = Choice::from(0);
        for slot in current.saturating_sub(SLOTS_BEFORE)..=current {
            let cookie = self.session_id(slot, address, client);
            valid |= cookie.0.ct_eq(&presented.0);
        }
        valid.into()
    }
}

impl std::fmt::Debug for CookieKey {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CookieKey")
            .field("slot_seconds", &self.slot_seconds)
            .finish_non_exhaustive()
    }
}

const NANOS: u64 = 1_000_000_000;
const SLOTS_BEFORE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use crate::time::Monotonic;

    const CLIENT: SessionId = SessionId([1, 2, 3, 4, 5, 6, 7, 8]);

    fn key(seed: u64) -> CookieKey {
        CookieKey::new(&mut SeededRandom::new(seed), Duration::from_secs(60))
    }

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Monotonic::ZERO + Duration::from_secs(seconds),
            unix: 1_795_000_000,
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_slot_and_the_two_after() {
        let (key, here) = (key(1), address("192.0.2.1:1194"));
        let cookie = key.session_id(key.slot(at(300)), &here, CLIENT);
        for (seconds, verdict) in [
            (270, false),
            (299, false),
            (300, true),
            (329, true),
            (330, true),
            (389, true),
            (390, false),
            (100_000, false),
        ] {
            assert_eq!(
                key.verify(at(seconds), &here, CLIENT, cookie),
                verdict,
                "{seconds}"
            );
        }
    }

    #[test]
    fn the_first_slots_of_a_process_work() {
        let (key, here) = (key(1), address("192.0.2.1:1194"));
        for seconds in [0, 29, 30, 61] {
            let cookie = key.session_id(key.slot(at(seconds)), &here, CLIENT);
            assert!(key.verify(at(seconds), &here, CLIENT, cookie));
        }
    }

    #[test]
    fn the_slot_follows_the_hand_window() {
        for (hand_window, length) in [(60, 30), (61, 31), (1, 1), (0, 1)] {
            let window = Duration::from_secs(hand_window);
            let key = CookieKey::new(&mut SeededRandom::new(1), window);
            assert_eq!(key.slot(at(length * 10 - 1)), 9, "{hand_window}");
            assert_eq!(key.slot(at(length * 10)), 10, "{hand_window}");
        }
    }

    #[test]
    fn every_changed_bit_of_a_cookie_is_refused() {
        let (key, here, now) = (key(1), address("192.0.2.1:1194"), at(300));
        let cookie = key.session_id(key.slot(now), &here, CLIENT);
        assert!(key.verify(now, &here, CLIENT, cookie));
        for bit in 0..64 {
            let mut changed = cookie;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(now, &here, CLIENT, changed), "bit {bit}");
        }
        for byte in 0..8 {
            // Only this byte right: what a comparison that stops at the first match would take.
            let mut mostly_wrong = cookie.0.map(|byte| !byte);
            mostly_wrong[byte] = cookie.0[byte];
            assert!(
                !key.verify(now, &here, CLIENT, SessionId(mostly_wrong)),
                "byte {byte}"
            );
        }
        // An inverted comparison (2.6.0 to 2.6.15) would take all of these.
        for wrong in [[0; 8], [0xff; 8], CLIENT.0, cookie.0.map(|byte| !byte)] {
            assert!(
                !key.verify(now, &here, CLIENT, SessionId(wrong)),
                "{wrong:02x?}"
            );
        }
    }

    #[test]
    fn a_cookie_is_bound_to_everything_that_went_into_it() {
        let now = at(300);
        let here = address("192.0.2.1:1194");
        let cookie = key(1).session_id(10, &here, CLIENT);
        let mut other_client = CLIENT;
        other_client.0[7] ^= 1;
        for (seed, address, client, verdict) in [
            (1, here, CLIENT, true),
            (2, here, CLIENT, false),
            (1, address("192.0.2.2:1194"), CLIENT, false),
            (1, address("192.0.2.1:1195"), CLIENT, false),
            (1, address("[2001:db8::1]:1194"), CLIENT, false),
            // The IPv4-compatible address is another one, the mapped one is not.
            (1, address("[::192.0.2.1]:1194"), CLIENT, false),
            (1, address("[::ffff:192.0.2.1]:1194"), CLIENT, true),
            (1, here, other_client, false),
        ] {
            assert_eq!(
                key(seed).verify(now, &address, client, cookie),
                verdict,
                "{address}"
            );
        }
    }

    #[test]
    fn clones_share_the_key_and_nothing_prints_it() {
        let first = key(1);
        let second = first.clone();
        let here = address("[2001:db8::1]:1194");
        let cookie = first.session_id(10, &here, CLIENT);
        assert!(second.verify(at(300), &here, CLIENT, cookie));
        assert_eq!(format!("{first:?}"), "CookieKey { slot_seconds: 30, .. }");
    }
}
