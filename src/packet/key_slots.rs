//! A peer's data keys: the ones in use, the one before, the one to come.

use arrayvec::ArrayVec;

use crate::crypto::DataKeys;
use crate::limits;
use crate::wire::KeyId;

/// Data keys by key id, oldest first. Every one of them opens; at most one seals.
///
/// Both sides change the sending key at different times, so that each key must open until it is
/// retired, in any order with the others. Wire: wire.md section 8.6.
#[derive(Debug, Default)]
pub struct KeySlots {
    slots: ArrayVec<KeySlot, { limits::KEY_SLOTS }>,
    sending: Option<KeyId>,
}

impl KeySlots {
    /// Adds keys that open from now on, in place of former keys of the same id. When there is no
    /// room the oldest key that does not send goes. What sends stays as it was.
    pub fn install(&mut self, key_id: KeyId, keys: DataKeys) {
        self.drop_slot(key_id);
        if self.slots.is_full()
            && let Some(oldest) = self.slots.iter().position(|slot| !self.sends(slot.key_id))
        {
            self.slots.remove(oldest);
        }
        self.slots.push(KeySlot {
            key_id,
            keys: Box::new(keys),
            opened: false,
            near_limit_told: false,
        });
    }

    /// Makes a key the one that seals.
    ///
    /// # Errors
    /// [`NoSuchKey`] when no key of that id is installed; what sends stays as it was.
    pub fn send_with(&mut self, key_id: KeyId) -> Result<(), NoSuchKey> {
        if self.opening(key_id).is_none() {
            return Err(NoSuchKey);
        }
        self.sending = Some(key_id);
        Ok(())
    }

    /// Removes a key. If it was the one that seals, nothing is sealed any more.
    pub fn retire(&mut self, key_id: KeyId) {
        self.drop_slot(key_id);
        if self.sends(key_id) {
            self.sending = None;
        }
    }

    /// The key that seals, if one was named.
    pub const fn sending(&self) -> Option<KeyId> {
        self.sending
    }

    /// The ids of all installed keys, oldest first.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.slots.iter().map(|slot| slot.key_id)
    }

    pub(super) fn sealing(&mut self) -> Option<&mut KeySlot> {
        let key_id = self.sending?;
        self.opening(key_id)
    }

    /// The key that seals, to ask it.
    pub(super) fn sealing_now(&self) -> Option<&KeySlot> {
        self.slots.iter().find(|slot| self.sends(slot.key_id))
    }

    pub(super) fn opening(&mut self, key_id: KeyId) -> Option<&mut KeySlot> {
        self.slots.iter_mut().find(|slot| slot.key_id == key_id)
    }

    /// Whether a packet was opened under a key that is newer than this one.
    pub(super) fn newer_opened(&self, key_id: KeyId) -> bool {
        let newer = self.slots.iter().rev();
        newer
            .take_while(|slot| slot.key_id != key_id)
            .any(|slot| slot.opened)
    }

    fn sends(&self, key_id: KeyId) -> bool {
        self.sending == Some(key_id)
    }

    fn drop_slot(&mut self, key_id: KeyId) {
        if let Some(place) = self.slots.iter().position(|slot| slot.key_id == key_id) {
            self.slots.remove(place);
        }
    }
}

/// One key generation.
#[derive(Debug)]
pub(super) struct KeySlot {
    pub(super) key_id: KeyId,
    /// Not in line, so that moving slots about leaves no copies of key bytes behind, and that a
    /// peer with one key takes the memory of one.
    pub(super) keys: Box<DataKeys>,
    /// A packet was opened with it: [`super::PeerEvent::FirstData`] is out.
    pub(super) opened: bool,
    /// [`super::PeerEvent::KeyNearLimit`] is out.
    near_limit_told: bool,
}

impl KeySlot {
    /// True once, when either direction of the key first nears its limit.
    pub(super) fn tells_near_limit(&mut self) -> bool {
        let tells =
            !self.near_limit_told && (self.keys.seal.near_limit() || self.keys.open.near_limit());
        self.near_limit_told |= tells;
        tells
    }
}

/// No key of this id is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key of this id is installed")]
pub struct NoSuchKey;
