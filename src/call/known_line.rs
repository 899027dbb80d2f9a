//! What a line test has found of a way is believed for some calls, so that not every call pays for it. Its speed is not: it
//! is measured within moments, and a wrong one would make every call slow. The round trip each call measures anew.

use std::time::Duration;

use super::{CallResult, Context, Site, Way};
use crate::base::limits::LINE_ROUND_TRIP_MAX_S;
use crate::dialogue::Facts;
use crate::link::Link;
use crate::session::line_test::LineReport;
use crate::store::{StoreError, sites};

/// After so many calls the line is tested anew: cables, modems and their settings change.
const CALLS_MAX: u32 = 20;

/// What is known of the line of one call.
pub(super) struct KnownLine {
    stored: Option<sites::KnownLine>,
    /// The link as it was taken to be.
    facts: Facts,
}

impl KnownLine {
    /// Puts what is remembered of this way into the facts of the link.
    pub fn recall(context: &Context, site: &Site, way: &Way, link: &mut Link) -> Result<Self, StoreError> {
        let stored = context.store.read::<_, StoreError>(|view| view.known_line(&site.name, &way.port))?;
        let recalled = Self { stored, facts: link.facts.clone() };
        if let Some(known) = recalled.believed() {
            link.facts.eight_bit &= known.eight_bit;
            link.facts.transparent &= known.transparent;
        }
        link.facts.round_trip = stored.and_then(|known| known.round_trip);
        Ok(recalled)
    }

    /// What a test has found. What is too old is not believed either where no test comes about: the peer may be another one.
    fn believed(&self) -> Option<sites::KnownLine> {
        self.stored.filter(|known| known.calls < CALLS_MAX)
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
        let line = result.ending.is_complete().then(|| self.after(way, found, result.round_trip)).flatten();
        if line == self.stored {
            return Ok(());
        }
        tokio::task::block_in_place(|| {
            context.store.write(|change| change.set_known_line(&site.name, &way.port, line.as_ref()))
        })
    }

    /// What is known after a call that found and measured this.
    fn after(&self, way: &Way, found: Option<&LineReport>, measured: Option<Duration>) -> Option<sites::KnownLine> {
        let line = match (found, self.believed()) {
            (Some(report), _) => Some(self.learn(way, report)),
            (None, Some(known)) => Some(sites::KnownLine { calls: known.calls.saturating_add(1), ..known }),
            (None, None) => self.stored,
        };
        let Some(measured) = measured.map(|time| time.min(Duration::from_secs(LINE_ROUND_TRIP_MAX_S))) else {
            return line;
        };
        // As old as can be: it is no word about the bytes of the line, which is tested when the peer can do that.
        let Facts { eight_bit, transparent, .. } = self.facts;
        let line = line.unwrap_or(sites::KnownLine { eight_bit, transparent, round_trip: None, calls: CALLS_MAX });
        // Small differences are not worth a write at each call.
        let near = line.round_trip.is_some_and(|known| known.abs_diff(measured) <= known / 4);
        Some(if near { line } else { sites::KnownLine { round_trip: Some(measured), ..line } })
    }

    fn learn(&self, way: &Way, report: &LineReport) -> sites::KnownLine {
        let Facts { eight_bit, transparent, round_trip, .. } = report.found(&self.facts);
        let port = &way.port;
        if self.facts.eight_bit && !eight_bit {
            tracing::warn!(%port, "not every character passes on this line: `bangpath doctor` says more; `eight-bit = false` at both ends saves the test");
        } else if self.facts.transparent && !transparent {
            tracing::warn!(%port, "something on this line takes XON and XOFF for itself: `bangpath doctor` says more");
        }
        sites::KnownLine { eight_bit, transparent, round_trip, calls: 0 }
    }
}
