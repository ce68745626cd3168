#![no_main]

#[allow(dead_code)] // each binary has one of the targets
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::stream_framing(data));
