//! Which shard a datagram belongs to: said of its class by [`Steering::shard_of`], and of its bytes by
//! a classic BPF program that the kernel runs before it chooses a socket. The two always agree.
//!
//! It is a hint: nobody trusts that a datagram arrives where it belongs.
//!
//! Wire: wire.md section 18.

use super::Class;
use crate::random::Random;
use crate::wire::{Opcode, PeerId, SessionId};

/// How datagrams are spread over the shards of a node. All shards have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    shards: u16,
    /// Multiplies the first half of a session id.
    high: u32,
    /// Multiplies its second half.
    low: u32,
    /// Is added.
    offset: u32,
}

/// An instruction of classic BPF, as the kernel's `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicInstruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// A constant, or an offset in the packet.
    pub k: u32,
}

impl Steering {
    /// Steering to `shards` shards (none counts as one). Session ids are spread by random numbers, so
    /// that a stranger does not know which of them meet.
    pub fn new(shards: u16, random: &mut dyn Random) -> Self {
        let (factors, offset) = (random.next_u64(), random.next_u64());
        Self {
            shards: shards.max(1),
            // Odd factors: each half alone reaches all values equally often.
            high: (factors >> 32) as u32 | 1,
            low: factors as u32 | 1,
            offset: offset as u32,
        }
    }

    /// Shards that datagrams are spread over, at least one.
    pub const fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard that datagrams of `class` belong to; nothing where the bytes do not tell.
    pub fn shard_of(&self, class: Class) -> Option<u16> {
        match class {
            Class::Data(id) => Some(self.shard_of_peer(id)),
            Class::Control(id) => Some(self.shard_of_session(id)),
            Class::DataByPath | Class::Foreign => None,
        }
    }

    /// The shard that gives out this peer id.
    fn shard_of_peer(&self, id: PeerId) -> u16 {
        (id.get() % u32::from(self.shards)) as u16
    }

    fn shard_of_session(&self, SessionId(id): SessionId) -> u16 {
        let id = u64::from_be_bytes(id);
        let (high, low) = ((id >> 32) as u32, id as u32);
        let mixed = self
            .high
            .wrapping_mul(high)
            .wrapping_add(self.low.wrapping_mul(low))
            .wrapping_add(self.offset);
        ((mixed >> 16) % u32::from(self.shards)) as u16
    }

    /// The program for a group of sockets in the order of their shards. It sees the payload of a
    /// datagram and returns the shard, or [`NOBODY`](Self::NOBODY), which leaves the choice to the
    /// kernel.
    ///
    /// Nothing is loaded before the length is known to hold it: a load beyond the end would end the
    /// program with 0, which is a shard.
    pub fn program(&self) -> Vec<ClassicInstruction> {
        let shards = u32::from(self.shards);
        let mut program = vec![
            /*  0 */ plain(LOAD_LENGTH, 0),
            /*  1 */
            unless(JUMP_AT_LEAST, DATA_V2_MIN, FOREIGN), // too short for all kinds
            /*  2 */ plain(LOAD_BYTE, 0),
            /*  3 */ plain(SHIFT_RIGHT, 3), // the opcode; three bits of key id go
            /*  4 */
            unless(JUMP_EQUAL, Opcode::DataV2 as u32, OTHER), // which has a peer id
            /*  5 */ plain(LOAD_WORD, 0),
            /*  6 */
            plain(AND, PeerId::NONE.get()), // the peer id; opcode and key id go
            /*  7 */
            when(JUMP_EQUAL, PeerId::NONE.get(), FOREIGN), // only its path tells
            /*  8 */ plain(MODULO, shards),
            /*  9 */ plain(RETURN_RESULT, 0),
            /* 10 */
            when(JUMP_EQUAL, Opcode::DataV1 as u32, FOREIGN), // only its path tells
            /* 11 */
            unless(JUMP_AT_LEAST, Opcode::SoftResetV1 as u32, FOREIGN), // the first
            /* 12 */
            when(JUMP_ABOVE, Opcode::ControlWkcV1 as u32, FOREIGN), // and the last in use
            /* 13 */ plain(LOAD_LENGTH, 0),
            /* 14 */ unless(JUMP_AT_LEAST, CONTROL_MIN, FOREIGN), // no whole session id
            /* 15 */ plain(LOAD_WORD, 1), // the first half of the session id
            /* 16 */ plain(MULTIPLY, self.high),
            /* 17 */ plain(COPY_TO_OTHER, 0), // waits in the other register
            /* 18 */ plain(LOAD_WORD, 5), // the second half
            /* 19 */ plain(MULTIPLY, self.low),
            /* 20 */ plain(ADD_OTHER, 0), // both products
            /* 21 */ plain(ADD, self.offset),
            /* 22 */
            plain(SHIFT_RIGHT, 16), // the low bits of a product depend on few bits
            /* 23 */ plain(MODULO, shards),
            /* 24 */ plain(RETURN_RESULT, 0),
            /* 25 */ plain(RETURN_CONSTANT, Self::NOBODY), // the bytes do not tell
        ];
        for (at, instruction) in (0u8..).zip(&mut program) {
            instruction.count_jumps_from(at);
        }
        program
    }

    /// What the program returns for a datagram of which the bytes do not tell the shard: an index
    /// that no socket has.
    pub const NOBODY: u32 = u32::MAX;
}

impl ClassicInstruction {
    /// Turns the targets of jumps, numbers of instructions until here, into distances.
    fn count_jumps_from(&mut self, at: u8) {
        for target in [&mut self.jump_true, &mut self.jump_false] {
            *target = target.saturating_sub(at + 1);
        }
    }
}

const fn plain(code: u16, k: u32) -> ClassicInstruction {
    ClassicInstruction {
        code,
        jump_true: 0,
        jump_false: 0,
        k,
    }
}

/// Goes on at instruction `target` if the comparison holds, else at the next one.
const fn when(code: u16, k: u32, target: u8) -> ClassicInstruction {
    ClassicInstruction {
        jump_true: target,
        ..plain(code, k)
    }
}

/// Goes on at the next instruction if the comparison holds, else at `target`.
const fn unless(code: u16, k: u32, target: u8) -> ClassicInstruction {
    ClassicInstruction {
        jump_false: target,
        ..plain(code, k)
    }
}

/// Where the program goes on with other opcodes than DATA_V2.
const OTHER: u8 = 10;
/// Where it says that the bytes do not tell.
const FOREIGN: u8 = 25;

/// The shortest DATA_V2 packet with a class: first byte, peer id, and anything.
const DATA_V2_MIN: u32 = 5;
/// The shortest control packet with a class: first byte and session id.
const CONTROL_MIN: u32 = 9;

// Codes of the instructions, as in <linux/bpf_common.h>: what, with what, of which size. `A` is the
// register that results are in, `X` the other one.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_ABS | BPF_W: big-endian
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_ABS | BPF_B
const LOAD_LENGTH: u16 = 0x80; // BPF_LD | BPF_LEN | BPF_W
const ADD: u16 = 0x04; // BPF_ALU | BPF_ADD | BPF_K, as all of them with 32 bits
const ADD_OTHER: u16 = 0x0c; // BPF_ALU | BPF_ADD | BPF_X
const MULTIPLY: u16 = 0x24; // BPF_ALU | BPF_MUL | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u16 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN_CONSTANT: u16 = 0x06; // BPF_RET | BPF_K
const RETURN_RESULT: u16 = 0x16; // BPF_RET | BPF_A
const COPY_TO_OTHER: u16 = 0x07; // BPF_MISC | BPF_TAX

#[cfg(test)]
mod tests;
