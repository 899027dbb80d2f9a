//! The deterministic world: two dialogues on a simulated line, one clock that jumps, everything from a seed.

pub mod chance;
pub mod courier;
pub mod line;
pub mod shelf;
pub mod world;

mod protocols;
mod sessions;
mod splits;
mod throughput;

/// The seeds to run a test with: a handful, or as many as `BANGPATH_SIM_SEEDS` says.
pub fn seeds(handful: u64) -> impl Iterator<Item = u64> {
    let wanted = std::env::var("BANGPATH_SIM_SEEDS").ok().map(|n| n.parse().expect("BANGPATH_SIM_SEEDS is a number"));
    1..=wanted.unwrap_or(handful)
}
