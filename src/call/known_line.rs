//! What a line test has found of a way is believed for some calls, so that not every call pays for it. Its speed is not: it
//! is measured within moments, and a wrong one would make every call slow.

use super::{Context, Site, Way};
use crate::dialogue::Facts;
use crate::link::Link;
use crate::session::line_test::LineReport;
use crate::store::{StoreError, sites};

/// After so many calls the line is tested anew: cables, modems and their settings change.
const CALLS_MAX: u32 = 20;

/// What is known of the line of one call.
pub(super) struct KnownLine {
    /// What is believed.
    known: Option<sites::KnownLine>,
    /// The link as it was taken to be.
    facts: Facts,
}

impl KnownLine {
    /// Puts what is remembered of this way into the facts of the link.
    pub fn recall(context: &Context, site: &Site, way: &Way, link: &mut Link) -> Result<Self, StoreError> {
        let facts = link.facts.clone();
        let known = context.store.read::<_, StoreError>(|view| view.known_line(&site.name, &way.port))?;
        // What is too old is not believed either where no test comes about: the peer may be another one.
        let known = known.filter(|known| known.calls < CALLS_MAX);
        if let Some(known) = &known {
            link.facts.eight_bit &= known.eight_bit;
            link.facts.transparent &= known.transparent;
            link.facts.round_trip = known.round_trip;
        }
        Ok(Self { known, facts })
    }

    pub fn is_to_be_tested(&self) -> bool {
        self.known.is_none()
    }

    /// Remembers what was found. After a call that went wrong nothing is believed any more.
    pub fn note(
        &self,
        context: &Context,
        site: &Site,
        way: &Way,
        found: Option<&LineReport>,
        complete: bool,
    ) -> Result<(), StoreError> {
        let line = match (found, self.known) {
            _ if !complete => None,
            (Some(report), _) => Some(self.learn(way, report)),
            (None, Some(known)) => Some(sites::KnownLine { calls: known.calls.saturating_add(1), ..known }),
            (None, None) => None,
        };
        if line.is_none() && self.known.is_none() {
            return Ok(());
        }
        tokio::task::block_in_place(|| {
            context.store.write(|change| change.set_known_line(&site.name, &way.port, line.as_ref()))
        })
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
