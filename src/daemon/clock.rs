//! The clock: the one place where time is read.

use std::sync::OnceLock;
use std::time::SystemTime;

use crate::base::time::{Instant, Now};

/// Both clocks, now.
pub fn now() -> Now {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let since = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
    // An origin a second after zero: subtracting a little from the first instant does not saturate.
    let instant = Instant::from_micros(1_000_000 + u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    Now { instant, wall: SystemTime::now().into() }
}
