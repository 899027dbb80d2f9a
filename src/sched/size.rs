//! How large a file may be by the time of day and by who called.

use super::{TimeString, Zone};
use crate::base::time::Timestamp;

/// One rule. Of several the first that holds counts; where none does, any size may travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeLimit {
    pub when: TimeString,
    /// Only in calls that the site placed, or only in ours; `None`: in both.
    pub called: Option<bool>,
    /// In bytes.
    pub size: u64,
}

/// What may travel now, in a call that the site placed (`called`) or we did.
pub fn size_limit_now(limits: &[SizeLimit], now: Timestamp, zone: &Zone, called: bool) -> Option<u64> {
    let holds = |limit: &&SizeLimit| limit.called.is_none_or(|c| c == called) && limit.when.contains(now, zone);
    limits.iter().find(holds).map(|limit| limit.size)
}

/// Whether there is a time or a kind of call in which so much may travel.
pub fn fits_ever(limits: &[SizeLimit], size: u64) -> bool {
    let always = |limit: &SizeLimit| limit.called.is_none() && limit.when.is_always();
    // What stands behind a rule that always holds is never reached.
    let reached = limits.iter().position(always).map_or(limits.len(), |at| at + 1);
    reached == 0 || limits[..reached].iter().any(|limit| size <= limit.size) || !limits.iter().any(always)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(when: &str, called: Option<bool>, size: u64) -> SizeLimit {
        SizeLimit { when: TimeString::parse(when).expect("a time"), called, size }
    }

    #[test]
    fn the_first_rule_that_holds_counts() {
        // A Monday, 10:00 and 20:00.
        let [day, evening] = [1_795_428_000, 1_795_464_000].map(Timestamp::from_seconds);
        let limits = [limit("Wk0800-1800", Some(true), 100), limit("Wk0800-1800", None, 200), limit("Any", None, 900)];
        let now = |at, called| size_limit_now(&limits, at, &Zone::utc(), called);
        assert_eq!((now(day, true), now(day, false), now(evening, true)), (Some(100), Some(200), Some(900)));
        assert_eq!(size_limit_now(&limits[..2], evening, &Zone::utc(), true), None);
        assert!(fits_ever(&limits, 900) && !fits_ever(&limits, 901));
        assert!(fits_ever(&limits[..2], u64::MAX) && fits_ever(&[], u64::MAX));
    }
}
