//! Time as the floors below the daemon see it: an argument, never a clock they read.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A point on the clock that never jumps, in microseconds since an origin that the driver chose.
///
/// Only differences mean anything. Dialogues measure their time-outs with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The instant `us` microseconds after the origin.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Time of day: microseconds since 1970-01-01 00:00 UTC, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }

    pub const fn from_seconds(s: i64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time from `earlier` to here; zero if `earlier` is later (the clock was set back).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// In UTC, for calendar arithmetic. Clamped to the range that a calendar can show.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    pub fn from_jiff(t: jiff::Timestamp) -> Self {
        Self(t.as_microsecond())
    }

    /// `Mon, 05 Jan 1998 10:00:00 +0000`, as RFC 5322 section 3.3 wants it.
    pub fn rfc5322(self) -> String {
        self.to_jiff().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }

    /// `Mon Jan  5 10:00:00 1998` in UTC: the 24 characters of ctime, which `From_` lines carry.
    pub fn ctime(self) -> String {
        self.to_jiff().strftime("%a %b %e %H:%M:%S %Y").to_string()
    }
}

/// Clamped to the range that a calendar can show: the clock of a machine may be set to anything.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = |since: Duration| i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let us = time.duration_since(SystemTime::UNIX_EPOCH).map_or_else(|e| -micros(e.duration()), micros);
        Self::from_jiff(Self(us).to_jiff())
    }
}

/// `1998-01-05 10:00:00Z`
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff().strftime("%Y-%m-%d %H:%M:%SZ"))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// Both clocks at one moment, as the driver hands them to a dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For time-outs.
    pub instant: Instant,
    /// For dates in headers, queue and ledger.
    pub wall: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_forms_that_mail_wants() {
        assert_eq!(Timestamp::from_seconds(883_994_400).ctime(), "Mon Jan  5 10:00:00 1998");
        assert_eq!(Timestamp::from_seconds(0).rfc5322(), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(Timestamp::from_seconds(0).ctime(), "Thu Jan  1 00:00:00 1970");
    }

    #[test]
    fn a_clock_set_to_anything_is_within_the_calendar() {
        let seconds = Duration::from_secs;
        let check = |time: Option<SystemTime>, shown: &str| {
            assert_eq!(Timestamp::from(time.expect("a system that knows it")).to_string(), shown);
        };
        check(SystemTime::UNIX_EPOCH.checked_add(seconds(883_994_400)), "1998-01-05 10:00:00Z");
        check(SystemTime::UNIX_EPOCH.checked_sub(seconds(1)), "1969-12-31 23:59:59Z");
        check(SystemTime::UNIX_EPOCH.checked_add(seconds(253_500_000_000)), "9999-12-30 22:00:00Z");
        check(SystemTime::UNIX_EPOCH.checked_add(seconds(1 << 62)), "9999-12-30 22:00:00Z");
        check(SystemTime::UNIX_EPOCH.checked_sub(seconds(1 << 62)), "-9999-01-02 01:59:59Z");
    }

    #[test]
    fn a_clock_set_back_gives_no_time_and_no_panic() {
        assert_eq!(Timestamp::from_seconds(5).since(Timestamp::from_seconds(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(i64::MIN).to_jiff(), jiff::Timestamp::MIN);
    }
}
