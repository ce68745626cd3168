//! Every fuzz target for a moment: the committed corpus, then seeded mutations of it.
//!
//! The real fuzzing is done by hand, with coverage: see `fuzz/README.md`. An input that fails here
//! is printed in hexadecimal; it belongs into the target's corpus once the bug is fixed.

#![allow(clippy::expect_used)] // a test says what it expects

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ringway::random::SeededRandom;

/// Inputs for the cheapest target; the full tier runs ten times as many.
const INPUTS: u32 = 60_000;

#[test]
fn every_target_survives_its_corpus_and_mutations_of_it() {
    let factor = match std::env::var("RINGWAY_TESTS") {
        Ok(tier) if tier == "full" => 10,
        _ => 1,
    };
    for (name, target, cost) in targets::TARGETS {
        let corpus = corpus(name);
        for input in &corpus {
            run(name, target, input);
        }
        run(name, target, &[]);
        let mut random = SeededRandom::new(0x5eed);
        for _ in 0..INPUTS * factor / cost {
            run(name, target, &mutate::mutate(&corpus, &mut random));
        }
    }
}

#[test]
fn every_target_has_a_libfuzzer_binary_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names: Vec<_> = targets::TARGETS
        .iter()
        .map(|(name, ..)| format!("{name}.rs"))
        .collect();
    names.sort();
    assert_eq!(files, names);
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{name} fails on {hex}");
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("readable").path())
        .collect();
    // The order in a directory is nobody's promise, and the seed counts on one.
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    files
        .iter()
        .map(|file| std::fs::read(file).expect("readable"))
        .collect()
}
