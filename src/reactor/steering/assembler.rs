//! The few instructions of eBPF that our program needs, and labels for its jumps.
//!
//! Registers: a program begins with its packet in R1 and ends with its result in R0. A call takes
//! its arguments in R1 to R4, returns in R0 and spoils R1 to R5; R6 to R9 survive it. R10 is the end of
//! the stack, which is used downwards.

/// An instruction as the kernel's `struct bpf_insn` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones (on little-endian machines).
    registers: u8,
    offset: i16,
    constant: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R10 = 10,
}

/// What a program is written in: instructions, jumps to labels of the type `L`, and the labels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<L> {
    One(Instruction),
    Two([Instruction; 2]),
    Jump(Instruction, L),
    Label(L),
}

/// How many bytes of memory a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Word = 0x00,   // BPF_W: four
    Byte = 0x10,   // BPF_B
    Double = 0x18, // BPF_DW: eight
}

/// When a jump is taken, all comparisons being of unsigned 64-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always = 0x00,  // BPF_JA
    Equal = 0x10,   // BPF_JEQ
    AtLeast = 0x30, // BPF_JGE
    Unlike = 0x50,  // BPF_JNE
}

/// Functions of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Map and pointer to a key to the pointer to its value, or 0.
    MapLookup = 1,
    /// Packet, offset, pointer to the destination and length to 0 if the packet is long enough.
    LoadBytes = 26,
}

/// Resolves the jumps. A label that is nowhere leads behind the last instruction, which the kernel refuses.
pub(super) fn assemble<L: Copy + PartialEq>(steps: &[Step<L>]) -> Vec<Instruction> {
    let length_before = |end: &[Step<L>]| end.iter().map(Step::length).sum::<usize>();
    let mut program: Vec<Instruction> = Vec::new();
    for step in steps {
        match step {
            Step::One(instruction) => program.push(*instruction),
            Step::Two(instructions) => program.extend(instructions),
            Step::Jump(instruction, label) => {
                let target = steps
                    .iter()
                    .position(|step| matches!(step, Step::Label(it) if it == label));
                let target =
                    length_before(steps.get(..target.unwrap_or(steps.len())).unwrap_or(steps));
                let distance = target.wrapping_sub(program.len() + 1).cast_signed();
                program.push(Instruction {
                    offset: i16::try_from(distance).unwrap_or(i16::MAX),
                    ..*instruction
                });
            }
            Step::Label(_) => {}
        }
    }
    program
}

impl<L> Step<L> {
    fn length(&self) -> usize {
        match self {
            Self::One(_) | Self::Jump(..) => 1,
            Self::Two(_) => 2,
            Self::Label(_) => 0,
        }
    }
}

/// `to = from`
pub(super) fn copy<L>(to: Register, from: Register) -> Step<L> {
    one(ALU64 | SOURCE_REGISTER | MOVE, to, from, 0, 0)
}

/// `to = constant`
pub(super) fn set<L>(to: Register, constant: i32) -> Step<L> {
    one(ALU64 | MOVE, to, R0, 0, constant)
}

/// `to = constant`, of 64 bits.
pub(super) fn set_wide<L>(to: Register, constant: u64) -> Step<L> {
    wide(to, R0, constant)
}

/// `to` = the map with this descriptor, which the kernel puts in when it takes the program.
pub(super) fn set_map<L>(to: Register, descriptor: i32) -> Step<L> {
    // BPF_PSEUDO_MAP_FD in the place of the source
    wide(to, R1, u64::from(descriptor.cast_unsigned()))
}

/// `to += constant`
pub(super) fn add<L>(to: Register, constant: i32) -> Step<L> {
    one(ALU64 | ADD, to, R0, 0, constant)
}

/// `to -= constant`, in 32 bits; the upper half becomes 0.
pub(super) fn subtract_word<L>(to: Register, constant: u32) -> Step<L> {
    one(ALU32 | SUBTRACT, to, R0, 0, constant.cast_signed())
}

/// `to -= other`
pub(super) fn subtract<L>(to: Register, other: Register) -> Step<L> {
    one(ALU64 | SOURCE_REGISTER | SUBTRACT, to, other, 0, 0)
}

/// `to >>= constant`
pub(super) fn shift_right<L>(to: Register, constant: i32) -> Step<L> {
    one(ALU64 | SHIFT_RIGHT, to, R0, 0, constant)
}

/// `to %= constant`, in 32 bits.
pub(super) fn modulo_word<L>(to: Register, constant: u32) -> Step<L> {
    one(ALU32 | MODULO, to, R0, 0, constant.cast_signed())
}

/// From network order to a number, or back; of a word, the upper half becomes 0.
pub(super) fn from_network_order<L>(to: Register, size: Size) -> Step<L> {
    let bits = match size {
        Size::Byte => 8,
        Size::Word => 32,
        Size::Double => 64,
    };
    one(ALU32 | SOURCE_REGISTER | TO_BIG_ENDIAN, to, R0, 0, bits)
}

/// `to = memory[at + offset]`
pub(super) fn load<L>(size: Size, to: Register, at: Register, offset: i16) -> Step<L> {
    one(LOAD_MEMORY | size as u8, to, at, offset, 0)
}

/// `memory[at + offset] = from`
pub(super) fn store<L>(size: Size, at: Register, offset: i16, from: Register) -> Step<L> {
    one(STORE_REGISTER | size as u8, at, from, offset, 0)
}

/// `memory[at + offset] = constant`
pub(super) fn store_constant<L>(size: Size, at: Register, offset: i16, constant: i32) -> Step<L> {
    one(STORE_CONSTANT | size as u8, at, R0, offset, constant)
}

/// Goes on at `label` if `register` compares to `constant` so.
pub(super) fn jump<L>(when: When, register: Register, constant: i32, label: L) -> Step<L> {
    let code = JUMP | when as u8;
    Step::Jump(instruction(code, register, R0, 0, constant), label)
}

/// Goes on at `label` if `register` compares to `other` so.
pub(super) fn jump_by<L>(when: When, register: Register, other: Register, label: L) -> Step<L> {
    let code = JUMP | SOURCE_REGISTER | when as u8;
    Step::Jump(instruction(code, register, other, 0, 0), label)
}

/// Goes on at `label`.
pub(super) fn go<L>(label: L) -> Step<L> {
    jump(When::Always, R0, 0, label)
}

pub(super) fn call<L>(function: Function) -> Step<L> {
    one(JUMP | CALL, R0, R0, 0, function as i32)
}

pub(super) fn end<L>() -> Step<L> {
    one(JUMP | EXIT, R0, R0, 0, 0)
}

fn one<L>(code: u8, to: Register, from: Register, offset: i16, constant: i32) -> Step<L> {
    Step::One(instruction(code, to, from, offset, constant))
}

/// The only instruction that takes two places: the halves of a constant.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of the number"
)]
fn wide<L>(to: Register, from: Register, constant: u64) -> Step<L> {
    Step::Two([
        instruction(LOAD_WIDE, to, from, 0, constant as i32),
        instruction(0, R0, R0, 0, (constant >> 32) as i32),
    ])
}

fn instruction(code: u8, to: Register, from: Register, offset: i16, constant: i32) -> Instruction {
    let (low, high) = if cfg!(target_endian = "little") {
        (to, from)
    } else {
        (from, to)
    };
    Instruction {
        code,
        registers: low as u8 | (high as u8) << 4,
        offset,
        constant,
    }
}

use Register::{R0, R1};

// Codes, as in <linux/bpf_common.h> and <linux/bpf.h>: a class, an operation, and where its second
// argument is.
const LOAD_WIDE: u8 = 0x18; // BPF_LD | BPF_IMM | BPF_DW
const LOAD_MEMORY: u8 = 0x61; // BPF_LDX | BPF_MEM
const STORE_CONSTANT: u8 = 0x62; // BPF_ST | BPF_MEM
const STORE_REGISTER: u8 = 0x63; // BPF_STX | BPF_MEM
const ALU32: u8 = 0x04;
const ALU64: u8 = 0x07;
const JUMP: u8 = 0x05;
const SOURCE_REGISTER: u8 = 0x08; // BPF_X, else BPF_K: the constant
const ADD: u8 = 0x00;
const SUBTRACT: u8 = 0x10;
const SHIFT_RIGHT: u8 = 0x70;
const MODULO: u8 = 0x90;
const MOVE: u8 = 0xb0;
const TO_BIG_ENDIAN: u8 = 0xd0; // BPF_END | BPF_TO_BE
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;

#[cfg(test)]
impl Instruction {
    /// As it stands in memory, for a machine of another make.
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let [offset_0, offset_1] = self.offset.to_ne_bytes();
        let [a, b, c, d] = self.constant.to_ne_bytes();
        [self.code, self.registers, offset_0, offset_1, a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_what_another_assembler_makes_of_their_text() {
        use Register::*;
        #[rustfmt::skip]
        let cases: [(&str, Step<()>); 19] = [
            ("mov r6, r1", copy(R6, R1)),
            ("mov r2, -24", set(R2, -24)),
            ("lddw r3, 0x1122334455667788", set_wide(R3, 0x1122_3344_5566_7788)),
            ("lddw r3, 0xfedcba9876543210", set_wide(R3, 0xfedc_ba98_7654_3210)),
            ("add r3, -8", add(R3, -8)),
            ("sub32 r1, 0x7f000001", subtract_word(R1, 0x7f00_0001)),
            ("sub r2, r3", subtract(R2, R3)),
            ("rsh r0, 4", shift_right(R0, 4)),
            ("mod32 r0, 7", modulo_word(R0, 7)),
            ("be32 r1", from_network_order(R1, Size::Word)),
            ("be64 r2", from_network_order(R2, Size::Double)),
            ("ldxb r0, [r10-24]", load(Size::Byte, R0, R10, -24)),
            ("ldxw r0, [r0]", load(Size::Word, R0, R0, 0)),
            ("ldxdw r1, [r10-16]", load(Size::Double, R1, R10, -16)),
            ("stxw [r10-24], r2", store(Size::Word, R10, -24, R2)),
            ("stw [r10-20], 128", store_constant(Size::Word, R10, -20, 128)),
            ("call 1", call(Function::MapLookup)),
            ("call 26", call(Function::LoadBytes)),
            ("exit", end()),
        ];
        for (text, step) in cases {
            assert_eq!(
                bytes(&[step]),
                rbpf::assembler::assemble(text).unwrap(),
                "{text}"
            );
        }
        assert_eq!(bytes::<()>(&[set_map(R1, 7)])[..5], [0x18, 0x11, 0, 0, 7]);
    }

    #[test]
    fn jumps_lead_to_their_labels_over_instructions_of_both_lengths() {
        use Register::*;
        let program = [
            jump(When::Equal, R0, 4, "end"),
            set_wide(R1, 1),
            jump_by(When::Unlike, R1, R2, "middle"),
            jump(When::AtLeast, R2, 9, "end"),
            Step::Label("middle"),
            go("end"),
            set(R0, 0),
            Step::Label("end"),
            end(),
        ];
        let text =
            "jeq r0, 4, +6\nlddw r1, 1\njne r1, r2, +1\njge r2, 9, +2\nja +1\nmov r0, 0\nexit";
        assert_eq!(bytes(&program), rbpf::assembler::assemble(text).unwrap());
        let nowhere = bytes(&[go("nowhere"), end()]);
        assert_eq!(nowhere, rbpf::assembler::assemble("ja +1\nexit").unwrap());
    }

    fn bytes<L: Copy + PartialEq>(steps: &[Step<L>]) -> Vec<u8> {
        assemble(steps)
            .into_iter()
            .flat_map(Instruction::to_bytes)
            .collect()
    }
}
