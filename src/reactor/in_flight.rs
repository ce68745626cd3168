//! What the kernel is doing for us. A completion names its operation by index and generation, never
//! by pointer: one that comes too late finds nothing, instead of somebody else's memory.

/// Operations in flight, at most as many as it was made for.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    operation: Option<T>,
}

/// A place that is free.
pub(super) struct Vacant<'a, T> {
    place: &'a mut Place<T>,
    index: u32,
    free: &'a mut Vec<u32>,
}

impl<'a, T> Vacant<'a, T> {
    /// Puts an operation here and says where it stands now: it stays there, unmoved, until it is
    /// removed. Its key differs from all keys of this place before, until the generation has gone
    /// round.
    pub(super) fn occupy(self, operation: T) -> (Key, &'a mut T) {
        self.free.pop();
        let key = Key {
            index: self.index,
            generation: self.place.generation,
        };
        (key, self.place.operation.insert(operation))
    }
}

/// The `user_data` of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(super) fn index(self) -> usize {
        self.index as usize
    }

    pub(super) fn as_user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the number"
    )]
    pub(super) fn from_user_data(data: u64) -> Self {
        Self {
            index: data as u32,
            generation: (data >> 32) as u32,
        }
    }
}

impl<T> InFlight<T> {
    pub(super) fn new(capacity: u32) -> Self {
        let vacant = |_| Place {
            generation: 0,
            operation: None,
        };
        Self {
            places: (0..capacity).map(vacant).collect(),
            free: (0..capacity).rev().collect(),
        }
    }

    /// A place for one more, if there is one.
    pub(super) fn vacant(&mut self) -> Option<Vacant<'_, T>> {
        let index = *self.free.last()?;
        Some(Vacant {
            place: self.places.get_mut(index as usize)?,
            index,
            free: &mut self.free,
        })
    }

    pub(super) fn find(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index())?;
        if place.generation != key.generation {
            return None;
        }
        place.operation.as_ref()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index())?;
        if place.generation != key.generation {
            return None;
        }
        let operation = place.operation.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(operation)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = InFlight::new(2);
        let first = occupy(&mut table, "first");
        let second = occupy(&mut table, "second");
        assert_ne!(first.index(), second.index());
        assert!(table.vacant().is_none());
        assert_eq!(table.len(), 2);

        assert_eq!(table.remove(first), Some("first"));
        assert_eq!(table.find(first), None);
        assert_eq!(table.remove(first), None);
        let third = occupy(&mut table, "third");
        assert_eq!(third.index(), first.index());
        assert_ne!(third.as_user_data(), first.as_user_data());
        assert_eq!(table.remove(first), None);
        assert_eq!(table.find(third), Some(&"third"));
        assert_eq!(table.find(second), Some(&"second"));
    }

    #[test]
    fn keys_survive_the_kernel() {
        for data in [0, 1, 0xffff_ffff_ffff_ffff, 0x1234_5678_9abc_def0] {
            assert_eq!(Key::from_user_data(data).as_user_data(), data);
        }
        let unknown = Key::from_user_data(u64::MAX);
        assert_eq!(InFlight::<()>::new(1).find(unknown), None);
        assert_eq!(InFlight::<()>::new(1).remove(unknown), None);
    }

    fn occupy<'a>(table: &mut InFlight<&'a str>, operation: &'a str) -> Key {
        let (key, stored) = table.vacant().unwrap().occupy(operation);
        assert_eq!(*stored, operation);
        key
    }
}
