//! Where a peer stands in its shard's table.

/// A place in a [`super::PeerTable`] and its generation: outlives the peer without ever naming the
/// next one at that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIndex {
    place: u32,
    generation: u32,
}

impl PeerIndex {
    pub(super) const fn new(place: u32, generation: u32) -> Self {
        Self { place, generation }
    }

    /// The dense number of the place, from 0: for tables that run beside the peer table.
    pub const fn place(self) -> usize {
        self.place as usize
    }

    /// How many peers stood at this place before.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}
