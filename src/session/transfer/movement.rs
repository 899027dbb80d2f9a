//! The least that must move in a session: a peer that says a byte now and then does not hold a line.

use std::time::Duration;

use crate::base::limits::{MOVED_BYTES_MIN, MOVED_WITHIN_S};
use crate::base::time::Instant;

/// What has moved since enough had moved before.
pub(super) struct Movement {
    since: Instant,
    bytes: u64,
    within: Duration,
}

impl Movement {
    /// `ahead`: how long the line takes for what a protocol has taken ahead of it.
    pub(super) fn new(now: Instant, ahead: Duration) -> Self {
        Self { since: now, bytes: 0, within: Duration::from_secs(MOVED_WITHIN_S) + ahead }
    }

    pub(super) fn count(&mut self, now: Instant, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= MOVED_BYTES_MIN {
            (self.since, self.bytes) = (now, 0);
        }
    }

    /// When it will have been too little, unless more moves.
    pub(super) fn ends(&self) -> Instant {
        self.since + self.within
    }
}
