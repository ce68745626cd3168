//! The eBPF program on the tun device: from the destination of an inner packet to the queue of the shard
//! that serves it.
//!
//! It looks for the destination among the addresses of the pool, then among the prefixes that are
//! not pool. What nobody has goes to a queue by the last bits of its address, so that somebody who
//! scans a network does not load one shard alone.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::reactor::steering::assembler::{
    Function, Instruction, Register, Size, Step, When, add, assemble, call, copy, end,
    from_network_order, go, jump, jump_by, load, modulo_word, set, set_map, set_wide, shift_right,
    store, store_constant, subtract, subtract_word,
};

/// What the program has to know; it is made for one device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) v4: Maps,
    pub(super) v6: Maps,
    /// The address of slot 0.
    pub(super) v4_first: Ipv4Addr,
    /// How many addresses a slot has, as a power of two.
    pub(super) v4_block_bits: u8,
    /// Slots of the IPv4 pool; 0 if there is none.
    pub(super) v4_slots: i32,
    /// The address of slot 0.
    pub(super) v6_first: Ipv6Addr,
    /// Slots of the IPv6 pool; 0 if there is none. Those whose addresses do not begin with the same 64
    /// bits as the first are not found.
    pub(super) v6_slots: i32,
    /// Queues, at least one.
    pub(super) shards: u16,
}

/// The descriptors of one family's maps. A value is the number of a shard and one; 0 is nobody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps {
    /// An array over the slots of the pool.
    pub(super) pool: i32,
    /// Prefixes; the longest counts.
    pub(super) prefixes: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    V4,
    V4Rest,
    V6,
    V6Rest,
    Owned,
    Nobody,
    Unreadable,
}

/// Returns the number of a queue for every packet.
pub(super) fn program(layout: &Layout) -> Vec<Instruction> {
    let mut steps = beginning();
    steps.extend(v4(layout));
    steps.extend(v6(layout));
    steps.extend(verdict(u32::from(layout.shards)));
    assemble(&steps)
}

fn beginning() -> Vec<Step<Label>> {
    vec![
        copy(R6, R1),                                 // the packet, where calls leave it
        set(R2, 0),                                   // from the first byte of its IP header
        copy(R3, R10),                                // to the stack
        add(R3, SLOT.into()),                         // at this place
        set(R4, 1),                                   // one byte
        call(Function::LoadBytes),                    // is copied
        jump(When::Unlike, R0, 0, Label::Unreadable), // unless the packet is empty
        load(Size::Byte, R0, R10, SLOT),              // version and header length
        shift_right(R0, 4),                           // the version
        jump(When::Equal, R0, 4, Label::V4),          // IPv4
        jump(When::Equal, R0, 6, Label::V6),          // IPv6
        go(Label::Unreadable),                        // no IP packet
    ]
}

fn v4(layout: &Layout) -> Vec<Step<Label>> {
    let first = layout.v4_first.to_bits();
    let mut steps = vec![
        Step::Label(Label::V4),
        copy(R1, R6),                                            // from the packet
        set(R2, V4_DESTINATION),                                 // its destination
        copy(R3, R10),                                           // to the stack
        add(R3, V4_ADDRESS.into()),                              // at this place
        set(R4, 4),                                              // four bytes
        call(Function::LoadBytes),                               // are copied
        jump(When::Unlike, R0, 0, Label::Unreadable),            // unless the header is cut
        load(Size::Word, R1, R10, V4_ADDRESS),                   // the destination
        from_network_order(R1, Size::Word),                      // as a number
        subtract_word(R1, first),                                // how far it is from the first
        shift_right(R1, layout.v4_block_bits.into()),            // the slot, or a great number
        jump(When::AtLeast, R1, layout.v4_slots, Label::V4Rest), // no slot
    ];
    steps.extend(owner(layout.v4, Label::V4Rest, V4_KEY, 32));
    steps
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of the number"
)]
fn v6(layout: &Layout) -> Vec<Step<Label>> {
    let first = layout.v6_first.to_bits();
    let (upper, lower) = ((first >> 64) as u64, first as u64);
    let mut steps = vec![
        Step::Label(Label::V6),
        copy(R1, R6),                                            // from the packet
        set(R2, V6_DESTINATION),                                 // its destination
        copy(R3, R10),                                           // to the stack
        add(R3, V6_ADDRESS.into()),                              // at this place
        set(R4, 16),                                             // 16 bytes
        call(Function::LoadBytes),                               // are copied
        jump(When::Unlike, R0, 0, Label::Unreadable),            // unless the header is cut
        load(Size::Double, R1, R10, V6_ADDRESS),                 // its first half
        from_network_order(R1, Size::Double),                    // as a number
        set_wide(R2, upper),                                     // that of the pool
        jump_by(When::Unlike, R1, R2, Label::V6Rest),            // not of the pool
        load(Size::Double, R1, R10, V6_ADDRESS + 8),             // its second half
        from_network_order(R1, Size::Double),                    // as a number
        set_wide(R2, lower),                                     // that of the pool
        subtract(R1, R2),                                        // the slot, or a great number
        jump(When::AtLeast, R1, layout.v6_slots, Label::V6Rest), // no slot
    ];
    steps.extend(owner(layout.v6, Label::V6Rest, V6_KEY, 128));
    steps
}

/// Who has the slot in R1; from `prefixes` on, who has the longest prefix of the address on the stack,
/// which has this many bits and the place for their number before it.
fn owner(maps: Maps, prefixes: Label, key: i16, bits: i32) -> [Step<Label>; 18] {
    [
        store(Size::Word, R10, SLOT, R1),        // the slot
        set_map(R1, maps.pool),                  // in the pool
        copy(R2, R10),                           // by the key
        add(R2, SLOT.into()),                    // at this place
        call(Function::MapLookup),               // whose is it?
        jump(When::Equal, R0, 0, prefixes),      // not for an array
        load(Size::Word, R0, R0, 0),             // the shard and one
        jump(When::Unlike, R0, 0, Label::Owned), // somebody's
        Step::Label(prefixes),
        store_constant(Size::Word, R10, key, bits), // all bits of the destination
        set_map(R1, maps.prefixes),                 // among the prefixes
        copy(R2, R10),                              // by the key
        add(R2, key.into()),                        // at this place
        call(Function::MapLookup),                  // whose is the longest that it has?
        jump(When::Equal, R0, 0, Label::Nobody),    // it has none
        load(Size::Word, R0, R0, 0),                // the shard and one
        jump(When::Unlike, R0, 0, Label::Owned),    // somebody's
        go(Label::Nobody),                          // nobody's
    ]
}

fn verdict(shards: u32) -> [Step<Label>; 11] {
    [
        Step::Label(Label::Nobody),
        load(Size::Word, R0, R10, V4_ADDRESS), // the last four bytes of the destination
        from_network_order(R0, Size::Word),    // as a number
        modulo_word(R0, shards),               // spread over all
        end(),
        Step::Label(Label::Owned),
        add(R0, -1), // the shard alone
        end(),
        Step::Label(Label::Unreadable),
        set(R0, 0), // any
        end(),
    ]
}

use Register::{R0, R1, R2, R3, R4, R6, R10};

// The stack, downwards from R10: the destination, which ends at the same place in both families; before
// it the number of its bits, which makes it the key of a prefix; before that the slot.
const V4_ADDRESS: i16 = -4;
const V4_KEY: i16 = -8;
const V6_ADDRESS: i16 = -16;
const V6_KEY: i16 = -20;
const SLOT: i16 = -24;

/// Where the destination stands in the header of its family.
const V4_DESTINATION: i32 = 16;
const V6_DESTINATION: i32 = 24;

#[cfg(test)]
mod tests;
