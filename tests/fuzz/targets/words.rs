//! `targets::words` with whatever libFuzzer finds.
#![no_main]

#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../../behaviour/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::words(bytes));
