//! Which of a site's ways are tried, in which order, and what is remembered of them.

use std::time::Duration;

use super::{CallError, Site, Way};
use crate::base::names::PortName;
use crate::base::time::Timestamp;
use crate::link::{LinkError, ProgramFailure};
use crate::session::chat::ChatFailure;
use crate::session::dial::DialFailure;
use crate::store::{Change, StoreError, View};

/// How long a way that failed is tried after the others.
const WAY_REST: Duration = Duration::from_secs(3600);

/// Whether a call may take other ways than the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    ThisWay,
    ThisFirst,
}

impl Way {
    /// Whether this is its port, or the pool of its port.
    pub fn is_over(&self, name: &PortName) -> bool {
        self.port == *name || self.pool.as_ref() == Some(name)
    }
}

/// As configured, but what has failed lately comes last.
pub fn ways_in_order<'s>(view: &View<'_>, site: &'s Site, now: Timestamp) -> Result<Vec<&'s Way>, StoreError> {
    let failed = view.failed_ways(&site.name)?;
    let rests = |way: &Way| failed.iter().any(|(name, at)| way.is_over(name) && now.since(*at) < WAY_REST);
    let mut ways: Vec<&Way> = site.ways.iter().collect();
    ways.sort_by_key(|way| rests(way));
    Ok(ways)
}

/// The same with one named in front, or alone.
pub(super) fn choose(ways: &mut Vec<&Way>, first: Option<(&PortName, Only)>) {
    let Some((name, only)) = first else { return };
    ways.sort_by_key(|way| !way.is_over(name));
    if only == Only::ThisWay {
        ways.retain(|way| way.is_over(name));
    }
}

/// What a failure to reach a site tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing: somebody else uses the port.
    Busy,
    /// The port does not work; an equal one may.
    Port,
    /// The port works; the same number over an equal one leads no further.
    Number,
    /// None of the way: the site was reached.
    Elsewhere,
}

impl CallError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::PortBusy(_) | Self::Link(LinkError::Busy { .. }) => Fault::Busy,
            Self::Link(_) => Fault::Port,
            Self::Dial(failure) => match failure {
                DialFailure::NoModem(_) | DialFailure::BadCommand(_) | DialFailure::LineLost | DialFailure::Noise => {
                    Fault::Port
                }
                // Its telephone line is not plugged in.
                DialFailure::Refused(words) if words.starts_with("NO DIAL") => Fault::Port,
                DialFailure::Refused(_) | DialFailure::NoConnection(_) | DialFailure::Unwanted => Fault::Number,
                DialFailure::Stopped => Fault::Elsewhere,
            },
            // We ended it, not the way.
            Self::ChatProgram(ProgramFailure::Stopped { .. }) | Self::Chat(ChatFailure::Stopped) => Fault::Elsewhere,
            Self::Chat(_) | Self::ChatProgram(_) => Fault::Number,
            Self::SiteBusy(_) | Self::Login(_) | Self::AnswerChat(_) | Self::Ended(_) | Self::Store(_) => {
                Fault::Elsewhere
            }
        }
    }
}

/// Notes how a way did. A number is noted under the name of its pool: it leads no further over any of the ports.
pub(super) fn note(
    change: &mut Change<'_>,
    site: &Site,
    way: &Way,
    fault: Fault,
    now: Timestamp,
) -> Result<(), StoreError> {
    let failed = match fault {
        Fault::Busy => return Ok(()),
        Fault::Port => return change.note_way(&site.name, &way.port, Some(now)),
        Fault::Number => Some(now),
        Fault::Elsewhere => None,
    };
    match &way.pool {
        Some(pool) => {
            change.note_way(&site.name, &way.port, None)?;
            change.note_way(&site.name, pool, failed)
        }
        None => change.note_way(&site.name, &way.port, failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_stop_says_nothing_of_its_way() {
        assert_eq!(CallError::Chat(ChatFailure::Stopped).fault(), Fault::Elsewhere);
        assert_eq!(CallError::Dial(DialFailure::Stopped).fault(), Fault::Elsewhere);
        let failure = |limit| match limit {
            None => ProgramFailure::Stopped { program: "dial".to_owned() },
            Some(limit) => ProgramFailure::Late { program: "dial".to_owned(), limit },
        };
        assert_eq!(CallError::ChatProgram(failure(None)).fault(), Fault::Elsewhere);
        assert_eq!(CallError::ChatProgram(failure(Some(WAY_REST))).fault(), Fault::Number);
    }
}
