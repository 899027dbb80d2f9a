//! What a line test has found of a way is believed for some calls, so that not every call pays for it. Its speed is not: it
//! is measured within moments, and a wrong one would make every call slow. The round trip each call measures anew, and
//! errors are counted in each.

use std::time::Duration;

use super::{CallResult, Context, Site, Way};
use crate::base::limits::LINE_ROUND_TRIP_MAX_S;
use crate::dialogue::Facts;
use crate::link::Link;
use crate::session::line_test::LineReport;
use crate::store::StoreError;
use crate::store::sites::{CountedErrors, KnownLine, TestedLine};

/// After so many calls the line is tested anew: cables, modems and their settings change.
const CALLS_MAX: u32 = 20;
/// What calls have counted before anything was counted: one damaged byte in ten thousand. It keeps a short call from settling
/// what the line is.
const SUPPOSED: CountedErrors = CountedErrors { carried: 10_000, damaged: 1 };
/// Less than this says nothing, unless so many were damaged.
const CARRIED_MIN: u32 = 20_000;
const DAMAGED_MIN: u32 = 3;
/// After so many bytes the past counts half: lines change.
const CARRIED_MAX: u32 = 200_000;
/// No packet is smaller: what a call counts beyond one in so many bytes is no noise, and would be believed for long.
const PACKET_MIN: u64 = 64;

/// What is known of the line of one call.
pub(super) struct RecalledLine {
    known: KnownLine,
    /// The link as it was taken to be.
    facts: Facts,
}

impl RecalledLine {
    /// Puts what is remembered of this way into the facts of the link.
    pub fn recall(context: &Context, site: &Site, way: &Way, link: &mut Link) -> Result<Self, StoreError> {
        let known = context.store.read::<_, StoreError>(|view| view.known_line(&site.name, &way.port))?;
        let recalled = Self { known, facts: link.facts.clone() };
        if let Some(tested) = recalled.believed() {
            link.facts.eight_bit &= tested.eight_bit;
            link.facts.transparent &= tested.transparent;
        }
        link.facts.round_trip = known.round_trip;
        link.facts.errors = known.counted.and_then(damaged_in_a_million);
        Ok(recalled)
    }

    /// What a test has found. What is too old is not believed either where no test comes about: the peer may be another one.
    fn believed(&self) -> Option<TestedLine> {
        self.known.tested.filter(|tested| tested.calls < CALLS_MAX)
    }

    pub fn is_to_be_tested(&self) -> bool {
        self.believed().is_none()
    }

    /// Remembers what was found. After a call that went wrong nothing is believed any more but the errors that were counted.
    pub fn note(
        &self,
        context: &Context,
        site: &Site,
        way: &Way,
        found: Option<&LineReport>,
        result: &CallResult,
    ) -> Result<(), StoreError> {
        let known = match result.ending.is_complete() {
            true => self.after(way, found, result.round_trip),
            false => KnownLine::default(),
        };
        let counted = match self.facts.end_to_end {
            true => None,
            false => count(self.known.counted, result),
        };
        let known = KnownLine { counted, ..known };
        if known == self.known {
            return Ok(());
        }
        tokio::task::block_in_place(|| {
            context.store.write(|change| change.set_known_line(&site.name, &way.port, &known))
        })
    }

    /// What is known after a call that found and measured this.
    fn after(&self, way: &Way, found: Option<&LineReport>, measured: Option<Duration>) -> KnownLine {
        let known = match found {
            Some(report) => self.learn(way, report),
            None => {
                let tested = self.believed().map(|tested| TestedLine { calls: tested.calls + 1, ..tested });
                KnownLine { tested, ..self.known }
            }
        };
        let Some(measured) = measured.map(|time| time.min(Duration::from_secs(LINE_ROUND_TRIP_MAX_S))) else {
            return known;
        };
        // Small differences are not worth a write at each call.
        let near = known.round_trip.is_some_and(|known| known.abs_diff(measured) <= known / 4);
        if near { known } else { KnownLine { round_trip: Some(measured), ..known } }
    }

    fn learn(&self, way: &Way, report: &LineReport) -> KnownLine {
        let Facts { eight_bit, transparent, round_trip, .. } = report.found(&self.facts);
        let port = &way.port;
        if self.facts.eight_bit && !eight_bit {
            tracing::warn!(%port, "not every character passes on this line: `bangpath doctor` says more; `eight-bit = false` at both ends saves the test");
        } else if self.facts.transparent && !transparent {
            tracing::warn!(%port, "something on this line takes XON and XOFF for itself: `bangpath doctor` says more");
        }
        KnownLine { round_trip, tested: Some(TestedLine { eight_bit, transparent, calls: 0 }), counted: None }
    }
}

/// What has been counted, with this call; only protocols that ask for damaged packets again count them.
fn count(before: Option<CountedErrors>, result: &CallResult) -> Option<CountedErrors> {
    if !matches!(result.protocol, Some('g' | 'G' | 'v' | 'i' | 'j' | 'a')) {
        return before;
    }
    let (totals, counters) = (&result.totals, &result.counters);
    let mut carried = totals.bytes_sent.saturating_add(totals.bytes_received);
    let losses = counters.bad_header.saturating_add(counters.bad_data).saturating_add(counters.rejects);
    let mut damaged = losses.min(carried / PACKET_MIN + u64::from(DAMAGED_MIN));
    let before = before.unwrap_or_default();
    // What is well known already is not worth a write at each call.
    if carried == 0 && damaged == 0 || damaged == 0 && before.damaged == 0 && before.carried >= CARRIED_MAX / 2 {
        return (before != CountedErrors::default()).then_some(before);
    }
    carried = carried.saturating_add(before.carried.into());
    damaged = damaged.saturating_add(before.damaged.into());
    while carried.max(damaged) > CARRIED_MAX.into() {
        (carried, damaged) = (carried / 2, damaged / 2);
    }
    Some(CountedErrors { carried: carried as u32, damaged: damaged as u32 })
}

fn damaged_in_a_million(counted: CountedErrors) -> Option<u32> {
    let CountedErrors { carried, damaged } = counted;
    if carried < CARRIED_MIN && damaged < DAMAGED_MIN {
        return None;
    }
    let share = u64::from(damaged + SUPPOSED.damaged) * 1_000_000 / u64::from(carried + SUPPOSED.carried);
    Some(u32::try_from(share).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Counters;
    use crate::session::{Ending, Totals};

    fn call(protocol: char, bytes_sent: u64, rejects: u64) -> CallResult {
        let totals = Totals { bytes_sent, ..Totals::default() };
        let counters = Counters { rejects, ..Counters::default() };
        let protocol = Some(protocol);
        CallResult {
            site: None,
            protocol,
            ending: Ending::Complete,
            totals,
            counters,
            round_trip: None,
            stopped: false,
        }
    }

    /// Calls in g with these bytes and errors, and what the next one begins with.
    fn check(calls: &[(u64, u64)], expected: Option<std::ops::Range<u32>>) {
        let counted = calls.iter().fold(None, |known, (bytes, errors)| count(known, &call('g', *bytes, *errors)));
        let found = counted.and_then(damaged_in_a_million);
        let is_right = match (&found, &expected) {
            (Some(found), Some(range)) => range.contains(found),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(is_right, "{calls:?}: {found:?}, not {expected:?}");
    }

    #[test]
    fn the_errors_of_calls_add_up_and_fade() {
        check(&[], None);
        check(&[(0, 0)], None);
        check(&[(5000, 1)], None);
        check(&[(5000, 3)], Some(200..300));
        check(&[(30_000, 0)], Some(20..30));
        check(&[(30_000, 9), (30_000, 9), (30_000, 9)], Some(250..310));
        check(&[(30_000, 30), (u64::MAX, 0)], Some(0..10));
        check(&[(1_500_000, 0), (30_000, 9)], Some(30..60));
        // A call that was all damage says little, and a good one after it as much.
        check(&[(0, u64::MAX), (0, u64::MAX)], Some(600..800));
        check(&[(0, u64::MAX), (100_000, 0)], Some(30..40));
    }

    #[test]
    fn a_protocol_that_asks_for_nothing_again_has_counted_nothing() {
        let known = Some(CountedErrors { carried: 5, damaged: 4 });
        assert_eq!(count(known, &call('t', 50_000, 0)), known);
        assert_eq!(count(None, &call('e', 50_000, 0)), None);
    }
}
