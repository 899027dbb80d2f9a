//! What a line test has found of a way is believed for some calls, so that not every call pays for it. Its speed is not: it
//! is measured within moments, and a wrong one would make every call slow. The round trip each call measures anew.

use std::time::Duration;

use super::{CallResult, Context, Site, Way};
use crate::base::limits::LINE_ROUND_TRIP_MAX_S;
use crate::dialogue::Facts;
use crate::link::Link;
use crate::session::line_test::LineReport;
use crate::store::StoreError;
use crate::store::sites::{KnownLine, TestedLine};

/// After so many calls the line is tested anew: cables, modems and their settings change.
const CALLS_MAX: u32 = 20;

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
        Ok(recalled)
    }

    /// What a test has found. What is too old is not believed either where no test comes about: the peer may be another one.
    fn believed(&self) -> Option<TestedLine> {
        self.known.tested.filter(|tested| tested.calls < CALLS_MAX)
    }

    pub fn is_to_be_tested(&self) -> bool {
        self.believed().is_none()
    }

    /// Remembers what was found. After a call that went wrong nothing is believed any more.
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
        KnownLine { round_trip, tested: Some(TestedLine { eight_bit, transparent, calls: 0 }) }
    }
}
