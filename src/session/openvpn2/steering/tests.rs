//! The program runs in an eBPF machine that knows nothing of ours, after a translation word by word,
//! as the kernel translates it. A load beyond the end of a datagram is an error there, so that no
//! test passes by way of the kernel's silent 0.

use proptest::prelude::*;
use rbpf::ebpf;

use super::*;
use crate::random::SeededRandom;
use crate::session::OpenVpn2;
use crate::wire::{KeyId, first_byte};

const SHARDS: [u16; 9] = [1, 2, 3, 4, 5, 7, 16, 255, u16::MAX];

fn steering(shards: u16) -> Steering {
    Steering::new(shards, &mut SeededRandom::new(u64::from(shards)))
}

#[test]
fn every_packet_kind_is_steered_as_it_is_classified() {
    use Opcode::*;
    let id = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
    for steering in SHARDS.map(steering) {
        let shards = u32::from(steering.shards());
        let of_session = Some(steering.shard_of_session(SessionId(id)));
        for (opcode, expected) in [
            (SoftResetV1, of_session),
            (ControlV1, of_session),
            (AckV1, of_session),
            (DataV1, None),
            (HardResetClientV2, of_session),
            (HardResetServerV2, of_session),
            (DataV2, Some((0x11_2233 % shards) as u16)),
            (HardResetClientV3, of_session),
            (ControlWkcV1, of_session),
        ] {
            for key_id in (0..8).map(KeyId::from_low_bits) {
                let mut datagram = vec![first_byte(opcode, key_id)];
                datagram.extend(id);
                assert_eq!(verdict(&steering, &datagram), expected, "{opcode:?}");
                datagram.extend([0x5a; 1400]);
                assert_eq!(verdict(&steering, &datagram), expected, "{opcode:?}");
            }
        }
    }
}

#[test]
fn a_datagram_cut_at_any_length_is_steered_as_it_is_classified() {
    let steering = steering(4);
    for first in 0..=u8::MAX {
        for rest in [[0xff; 15], [0x17; 15]] {
            let whole = [&[first], &rest[..]].concat();
            for length in 0..=whole.len() {
                verdict(&steering, &whole[..length]);
            }
        }
    }
}

#[test]
fn what_the_bytes_do_not_tell_is_left_to_the_kernel() {
    let steering = steering(4);
    for datagram in [
        &[][..],
        &[0x48],                               // DATA_V2, cut
        &[0x48, 0, 0, 1],                      // DATA_V2 without anything in it
        &[0x4f, 0xff, 0xff, 0xff, 0, 0, 0, 0], // DATA_V2 without peer id
        &[0x30, 0, 0, 1, 0, 0, 0, 0, 0, 0],    // DATA_V1
        &[0x38, 1, 2, 3, 4, 5, 6, 7],          // a reset, cut inside the session id
        &[0x10, 1, 2, 3, 4, 5, 6, 7, 8, 9],    // an opcode out of use
        &[0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9],    // another
        &[0xff; 40],
    ] {
        assert_eq!(
            run(&steering, datagram),
            Steering::NOBODY,
            "{datagram:02x?}"
        );
    }
}

#[test]
fn peer_ids_go_to_the_shard_that_gave_them_out() {
    let steering = steering(6);
    for id in [0u32, 1, 5, 6, 7, 0x00ff_fffe] {
        let id = PeerId::new(id).unwrap();
        let shard = steering.shard_of(Class::Data(id)).unwrap();
        assert_eq!(u32::from(shard), id.get() % 6);
    }
}

#[test]
fn no_shards_count_as_one() {
    let none = steering(0);
    assert_eq!(none.shards(), 1);
    assert_eq!(verdict(&none, &[0x38; 20]), Some(0));
}

#[test]
fn session_ids_spread_evenly() {
    const IDS: u64 = 20_000;
    for shards in [2, 3, 4, 7, 16] {
        let steering = steering(shards);
        let mut random = SeededRandom::new(7);
        let drawn = |_| random.next_u64();
        let counted = |id: u64| 0x3800_0000_0000_0000 | id;
        let shifted = |id: u64| id << 40;
        for ids in [
            (0..IDS).map(drawn).collect::<Vec<_>>(),
            (0..IDS).map(counted).collect(),
            (0..IDS).map(shifted).collect(),
        ] {
            let mut loads = vec![0u64; usize::from(shards)];
            for id in ids {
                let id = SessionId(id.to_be_bytes());
                loads[usize::from(steering.shard_of(Class::Control(id)).unwrap())] += 1;
            }
            let fair = IDS / u64::from(shards);
            let even = loads.iter().all(|load| load.abs_diff(fair) < fair / 5);
            assert!(even, "{shards} shards: {loads:?}");
        }
    }
}

#[test]
fn other_random_numbers_spread_otherwise() {
    let spread = |seed| {
        let steering = Steering::new(4, &mut SeededRandom::new(seed));
        let shard = |id: u64| steering.shard_of(Class::Control(SessionId(id.to_be_bytes())));
        (0..64u64).map(|id| shard(id << 32)).collect::<Vec<_>>()
    };
    assert_ne!(spread(1), spread(2));
    assert_eq!(spread(1), spread(1));
}

proptest! {
    #[test]
    fn any_bytes_are_steered_as_they_are_classified(
        shards in 1..=u16::MAX,
        seed: u64,
        datagram in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        verdict(&Steering::new(shards, &mut SeededRandom::new(seed)), &datagram);
    }

    #[test]
    fn any_packet_is_steered_as_it_is_classified(
        shards in 1..=u16::MAX,
        seed: u64,
        opcode in 3u8..=11,
        key_id in 0u8..8,
        rest: [u8; 12],
    ) {
        let datagram = [&[opcode << 3 | key_id], &rest[..]].concat();
        verdict(&Steering::new(shards, &mut SeededRandom::new(seed)), &datagram);
    }
}

/// The shard of a datagram, on which program and class must agree.
fn verdict(steering: &Steering, datagram: &[u8]) -> Option<u16> {
    let shard = steering.shard_of(OpenVpn2::classify(datagram));
    let returned = run(steering, datagram);
    let expected = shard.map_or(Steering::NOBODY, u32::from);
    assert_eq!(returned, expected, "{datagram:02x?} by {steering:?}");
    assert!(shard.is_none_or(|shard| shard < steering.shards()));
    shard
}

/// What the program returns for a datagram.
fn run(steering: &Steering, datagram: &[u8]) -> u32 {
    let code = translated(&steering.program(), datagram.len());
    let machine = rbpf::EbpfVmRaw::new(Some(&code)).unwrap();
    let mut memory = datagram.to_vec();
    let returned = machine.execute_program(&mut memory);
    u32::try_from(returned.unwrap()).unwrap()
}

/// A classic program as an eBPF program for packets of one length: register 0 is A, register 7 is X,
/// and register 1 points to the packet.
fn translated(classic: &[ClassicInstruction], length: usize) -> Vec<u8> {
    let mut starts = Vec::new();
    let mut jumps = Vec::new();
    let mut code: Vec<ebpf::Insn> = Vec::new();
    for instruction in classic {
        starts.push(code.len());
        let ClassicInstruction { code: what, k, .. } = *instruction;
        let mut emit = |opc, dst, src, imm: u32| {
            code.push(ebpf::Insn {
                opc,
                dst,
                src,
                off: 0,
                imm: imm.cast_signed(),
            });
        };
        let jump = |opc| (opc, [instruction.jump_true, instruction.jump_false]);
        let jump = match u32::from(what) {
            0x20 => {
                emit(ebpf::LD_W_REG, 0, 1, 0);
                emit(ebpf::BE, 0, 0, 32);
                let load = code.len() - 2;
                code[load].off = i16::try_from(k).unwrap();
                None
            }
            0x30 => {
                emit(ebpf::LD_B_REG, 0, 1, 0);
                let load = code.len() - 1;
                code[load].off = i16::try_from(k).unwrap();
                None
            }
            0x80 => {
                emit(ebpf::MOV32_IMM, 0, 0, u32::try_from(length).unwrap());
                None
            }
            0x07 => {
                emit(ebpf::MOV32_REG, 7, 0, 0);
                None
            }
            0x06 => {
                emit(ebpf::MOV32_IMM, 0, 0, k);
                emit(ebpf::EXIT, 0, 0, 0);
                None
            }
            0x16 => {
                emit(ebpf::EXIT, 0, 0, 0);
                None
            }
            0x0c => {
                emit(ebpf::ADD32_REG, 0, 7, 0);
                None
            }
            arithmetic @ (0x04 | 0x24 | 0x54 | 0x74 | 0x94) => {
                // The same codes with a constant as in eBPF.
                emit(u8::try_from(arithmetic).unwrap(), 0, 0, k);
                None
            }
            0x15 => Some(jump(ebpf::JEQ_IMM32)),
            0x25 => Some(jump(ebpf::JGT_IMM32)),
            0x35 => Some(jump(ebpf::JGE_IMM32)),
            _ => panic!("not an instruction that the translation knows: {instruction:?}"),
        };
        if let Some((opc, targets)) = jump {
            jumps.push((code.len(), starts.len(), targets));
            emit_pair(&mut code, opc, k);
        }
    }
    for (at, next, targets) in jumps {
        for (which, target) in targets.into_iter().enumerate() {
            let target = starts[next + usize::from(target)];
            code[at + which].off = i16::try_from(target - (at + which + 1)).unwrap();
        }
    }
    code.iter().flat_map(ebpf::Insn::to_array).collect()
}

/// A comparison that jumps if it holds, and the jump for when it does not.
fn emit_pair(code: &mut Vec<ebpf::Insn>, opc: u8, k: u32) {
    for (opc, imm) in [(opc, k.cast_signed()), (ebpf::JA, 0)] {
        code.push(ebpf::Insn {
            opc,
            dst: 0,
            src: 0,
            off: 0,
            imm,
        });
    }
}
