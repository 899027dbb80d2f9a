//! The deterministic world: two dialogues on a simulated line, one clock that jumps, everything from a seed.

pub mod chance;
pub mod courier;
pub mod line;
pub mod shelf;
pub mod world;

mod line_tests;
mod protocols;
mod sessions;
pub mod splits;
mod tested_calls;
mod throughput;
mod trickles;

use bangpath::proto::PROTOCOLS;

/// Every protocol of the table.
pub fn letters() -> impl Iterator<Item = char> {
    PROTOCOLS.iter().map(|entry| entry.letter)
}

/// The seeds to run a test with: a handful, or those that `BANGPATH_SIM_SEEDS` says: `2000` for all up to it, `=1173`
/// for that one.
pub fn seeds(handful: u64) -> std::ops::RangeInclusive<u64> {
    let wanted = std::env::var("BANGPATH_SIM_SEEDS").ok();
    let number = |n: &str| n.parse().expect("BANGPATH_SIM_SEEDS is a number, or = and a number");
    match wanted.as_deref().map(|wanted| (wanted, wanted.strip_prefix('='))) {
        None => 1..=handful,
        Some((_, Some(one))) => number(one)..=number(one),
        Some((most, None)) => 1..=number(most),
    }
}
