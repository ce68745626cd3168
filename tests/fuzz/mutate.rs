//! A small mutator: what libFuzzer does, without its eyes.

use ringway::random::{Random, SeededRandom};

/// A new input from those of the corpus.
pub(crate) fn mutate(corpus: &[Vec<u8>], random: &mut SeededRandom) -> Vec<u8> {
    let mut input = pick(corpus, random).cloned().unwrap_or_default();
    for _ in 0..=random.below(4) {
        mutate_once(&mut input, corpus, random);
    }
    input.truncate(LONGEST);
    input
}

fn mutate_once(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut SeededRandom) {
    let at = random.below(input.len() as u64) as usize;
    match random.below(9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next_u64() as u8;
            }
        }
        2 => input.truncate(at),
        3 => {
            let value = pick(&INTERESTING, random).copied().unwrap_or_default();
            let bytes = value.to_be_bytes();
            let width = [1, 2, 4][random.below(3) as usize];
            for (byte, new) in input.iter_mut().skip(at).zip(&bytes[4 - width..]) {
                *byte = *new;
            }
        }
        // Splice: the start of this one, the end of another.
        4 => {
            if let Some(other) = pick(corpus, random) {
                let from = random.below(other.len() as u64) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
        5 => {
            let length = random.below(16) as usize;
            let mut bytes = vec![0; length];
            random.fill(&mut bytes);
            input.splice(at..at, bytes);
        }
        6 => {
            let end = input.len().min(at + 1 + random.below(8) as usize);
            input.drain(at..end);
        }
        // Something twice.
        7 => {
            let end = input.len().min(at + 1 + random.below(64) as usize);
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        _ => {
            let length = random.below(600) as usize;
            let byte = random.next_u64() as u8;
            input.resize(input.len() + length, byte);
        }
    }
}

fn pick<'a, T>(from: &'a [T], random: &mut SeededRandom) -> Option<&'a T> {
    from.get(random.below(from.len() as u64) as usize)
}

const LONGEST: usize = 4_096;

const INTERESTING: [u32; 14] = [
    0,
    1,
    2,
    7,
    8,
    9,
    12,
    0x7f,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
];
