//! Keys that are replaced without a word of the control channel, epoch by epoch.
//!
//! Wire: wire.md section 8.2. Each epoch's secret gives a key, a vector and the secret of the next
//! epoch. A packet names its epoch, so that both sides go on to the next as they like: a sender when its
//! key has done its part or the other side is ahead, a receiver when the first authentic packet comes.
//! Key and secret of an epoch that is over are forgotten: nobody can open later what was sent before.

use aws_lc_rs::aead::Nonce;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

use super::aead::{AeadKey, COUNTER_MAX, IV_LEN, Layout, Place, Sealed};
use super::{Arrivals, OpenError, SealError};
use crate::crypto::DataCipher;
use crate::limits::{DATA_EPOCH_RENEGOTIATE, DATA_EPOCHS_AHEAD, FAILED_OPEN_RENEGOTIATE};
use crate::time::Monotonic;
use crate::wire::DataHeader;

/// The sending side: one epoch's key.
pub(super) struct EpochSeal {
    cipher: DataCipher,
    epoch: u16,
    secret: Secret,
    key: AeadKey,
}

impl EpochSeal {
    /// In epoch 1; `half` has 128 bytes, and begins with the secret.
    pub(super) fn new(cipher: DataCipher, half: &[u8]) -> Self {
        let secret = Secret::first(half);
        Self {
            cipher,
            epoch: 1,
            key: secret.key(cipher),
            secret,
        }
    }

    /// The epoch of the next packet.
    pub(super) const fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Writes a packet as [`AeadKey::seal_with`] does, in the next epoch if this one's key has done its part.
    /// `last` is the number of the last packet.
    pub(super) fn seal(
        &mut self,
        last: &mut u64,
        header: DataHeader,
        plaintext: usize,
        out: &mut [u8],
        seal: impl FnOnce(&AeadKey, Nonce, &[u8], Place<'_>) -> Result<(), Unspecified>,
    ) -> Result<usize, SealError> {
        if !self.key.may_seal(plaintext) || *last >= COUNTER_MAX {
            let next = self.epoch.checked_add(1).ok_or(SealError::Exhausted)?;
            self.reach(next);
            *last = 0;
        }
        let number = *last + 1;
        let id = packet_id(self.epoch, number).to_be_bytes();
        let key = &mut self.key;
        let length = key.seal_with(Layout::Epoch, header, id, plaintext, out, seal)?;
        *last = number;
        Ok(length)
    }

    /// Goes on to an epoch that is not over; true if that is another one, whose numbers begin anew.
    pub(super) fn reach(&mut self, epoch: u16) -> bool {
        if epoch <= self.epoch {
            return false;
        }
        for _ in self.epoch..epoch {
            self.secret = self.secret.next();
        }
        self.epoch = epoch;
        let usage_max = self.key.usage_max;
        self.key = self.secret.key(self.cipher);
        self.key.usage_max = usage_max;
        true
    }

    pub(super) const fn near_limit(&self) -> bool {
        self.epoch >= DATA_EPOCH_RENEGOTIATE
    }

    /// Lets each epoch's key seal no more than this.
    pub(super) const fn limit_usage(&mut self, usage_max: u64) {
        self.key.usage_max = usage_max;
    }
}

/// The receiving side: the newest epoch of which a packet has come, the one before, and those to come.
pub(super) struct EpochOpen {
    cipher: DataCipher,
    epoch: u16,
    secret: Secret,
    key: AeadKey,
    retiring: Option<Box<Retiring>>,
    /// The epochs behind this one, in their order. Made for the first packet that claims to be of one of
    /// them, and then there until it is true.
    ahead: Vec<Ahead>,
    /// The key of one of those, for which a packet has come that may have been a lie.
    candidate: Option<Box<Candidate>>,
}

/// The epoch before the newest, for packets that were overtaken.
struct Retiring {
    epoch: u16,
    key: AeadKey,
    arrivals: Arrivals,
    since: Monotonic,
}

/// An epoch of which no packet has come.
struct Ahead {
    secret: Secret,
    failed: u64,
}

struct Candidate {
    epoch: u16,
    key: AeadKey,
    arrivals: Arrivals,
}

impl EpochOpen {
    /// In epoch 1; `half` has 128 bytes, and begins with the secret.
    pub(super) fn new(cipher: DataCipher, half: &[u8]) -> Self {
        let secret = Secret::first(half);
        Self {
            cipher,
            epoch: 1,
            key: secret.key(cipher),
            secret,
            retiring: None,
            ahead: Vec::new(),
            candidate: None,
        }
    }

    /// Opens a packet of an epoch that it may be of. `arrivals` are those of the newest epoch, and stay so.
    pub(super) fn open(
        &mut self,
        arrivals: &mut Arrivals,
        now: Monotonic,
        header: DataHeader,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        let packet = Sealed::parse(Layout::Epoch, header, datagram)?;
        let [high, low, ..] = packet.id;
        let epoch = u16::from_be_bytes([high, low]);
        match epoch.checked_sub(self.epoch) {
            Some(0) => self.key.open(arrivals, &packet, now, out),
            Some(steps) => self.open_ahead(usize::from(steps), arrivals, &packet, now, out),
            None => self.open_retiring(epoch, &packet, now, out),
        }
    }

    /// The epoch that our own packets should have reached: the newest of the other side, or one more to
    /// make it leave a key that was used too much.
    pub(super) const fn wanted(&self, arrivals: &Arrivals) -> u16 {
        let used_up = self.key.usage > self.key.usage_max;
        match used_up || arrivals.failed >= FAILED_OPEN_RENEGOTIATE {
            true => self.epoch.saturating_add(1),
            false => self.epoch,
        }
    }

    /// The highest packet id of all epochs, as a number that only rises.
    pub(super) const fn highest(&self, arrivals: &Arrivals) -> u64 {
        packet_id(self.epoch, arrivals.window.highest())
    }

    /// Opens a packet that was overtaken by the next epoch, as long as it could have been by packets of its own.
    #[cold]
    fn open_retiring(
        &mut self,
        epoch: u16,
        packet: &Sealed<'_>,
        now: Monotonic,
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        self.retiring = self
            .retiring
            .take()
            .filter(|it| now.since(it.since) <= it.arrivals.window.time());
        let retiring = self.retiring.as_mut().filter(|it| it.epoch == epoch);
        let retiring = retiring.ok_or(OpenError::UnknownEpoch)?;
        retiring.key.open(&mut retiring.arrivals, packet, now, out)
    }

    /// Opens a packet of an epoch to come, which then has come.
    #[cold]
    fn open_ahead(
        &mut self,
        steps: usize,
        arrivals: &mut Arrivals,
        packet: &Sealed<'_>,
        now: Monotonic,
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        let epoch = self.look_ahead(steps).ok_or(OpenError::UnknownEpoch)?;
        let ahead = self.ahead.get_mut(steps - 1);
        let ahead = ahead.ok_or(OpenError::UnknownEpoch)?;
        let mut candidate = match self.candidate.take() {
            Some(candidate) if candidate.epoch == epoch => candidate,
            _ => Box::new(Candidate {
                epoch,
                key: ahead.secret.key(self.cipher),
                arrivals: arrivals.of_another_key(ahead.failed),
            }),
        };
        let Candidate {
            key,
            arrivals: first,
            ..
        } = &mut *candidate;
        let opened = key.open(first, packet, now, out);
        ahead.failed = first.failed;
        match opened {
            Ok(_) => self.enter(*candidate, arrivals, now),
            Err(_) => self.candidate = Some(candidate),
        }
        opened
    }

    /// The epoch so many steps from here, if its secret is to be had.
    fn look_ahead(&mut self, steps: usize) -> Option<u16> {
        let steps = u16::try_from(steps).ok()?;
        if steps > DATA_EPOCHS_AHEAD {
            return None;
        }
        let epoch = self.epoch.checked_add(steps)?;
        self.ahead
            .reserve_exact(usize::from(DATA_EPOCHS_AHEAD) - self.ahead.len());
        while self.ahead.len() < usize::from(steps) {
            let last = self.ahead.last().map_or(&self.secret, |it| &it.secret);
            let secret = last.next();
            self.ahead.push(Ahead { secret, failed: 0 });
        }
        Some(epoch)
    }

    /// Makes an epoch the newest, of which a packet was authentic.
    fn enter(&mut self, next: Candidate, arrivals: &mut Arrivals, now: Monotonic) {
        let steps = usize::from(next.epoch - self.epoch);
        if let Some(Ahead { secret, .. }) = self.ahead.drain(..steps).next_back() {
            self.secret = secret;
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
        let key = std::mem::replace(&mut self.key, next.key);
        self.retiring = Some(Box::new(Retiring {
            epoch: self.epoch,
            key,
            arrivals: std::mem::replace(arrivals, next.arrivals),
            since: now,
        }));
        self.epoch = next.epoch;
    }
}

/// What an epoch's key and the next epoch's secret are made of. Not in line, so that moving it leaves
/// no copies behind.
struct Secret(Box<Zeroizing<[u8; Secret::LEN]>>);

impl Secret {
    const LEN: usize = 32;

    /// That of epoch 1.
    fn first(half: &[u8]) -> Self {
        let mut secret = Self::empty();
        secret.0.copy_from_slice(&half[..Self::LEN]);
        secret
    }

    /// That of the next epoch.
    fn next(&self) -> Self {
        let mut next = Self::empty();
        self.expand(b"datakey upd", next.0.as_mut_slice());
        next
    }

    fn empty() -> Self {
        Self(Box::new(Zeroizing::new([0; Self::LEN])))
    }

    /// Key and vector of this epoch.
    fn key(&self, cipher: DataCipher) -> AeadKey {
        let mut key = Zeroizing::new([0; KEY_LEN_MAX]);
        let key = &mut key[..cipher.key_len()];
        self.expand(b"data_key", key);
        let mut iv = [0; IV_LEN];
        self.expand(b"data_iv", &mut iv);
        AeadKey::new(cipher, key, iv)
    }

    /// As TLS 1.3 labels what it expands (RFC 8446, section 7.1), with a prefix of our protocol and no context.
    fn expand(&self, label: &[u8], out: &mut [u8]) {
        let length = (out.len() as u16).to_be_bytes();
        let label_len = [(PREFIX.len() + label.len()) as u8];
        let info = [&length[..], &label_len, PREFIX, label, &[0]];
        // Of a hundred times as many bytes it would say that they are too many.
        #[allow(clippy::expect_used)]
        Prk::new_less_safe(HKDF_SHA256, self.0.as_slice())
            .expand(&info, Length(out.len()))
            .and_then(|made| made.fill(out))
            .expect("HKDF gives some bytes");
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

const fn packet_id(epoch: u16, number: u64) -> u64 {
    (epoch as u64) << COUNTER_BITS | number
}

const PREFIX: &[u8] = b"ovpn ";
const COUNTER_BITS: u32 = COUNTER_MAX.count_ones();
const KEY_LEN_MAX: usize = 32;

#[cfg(test)]
mod tests;
