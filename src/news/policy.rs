//! What the configuration decides about news, as plain values.

use std::time::Duration;

use crate::base::newsgroup::Wildmat;
use crate::store::Hop;

/// How news is treated here.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Our name in `Path`.
    pub path_name: String,
    /// What a poster's Message-ID and an unqualified address get.
    pub domain: String,
    /// Groups that are made when the first article for them comes; others are refused.
    pub create: Wildmat,
    /// Largest article, in bytes.
    pub article_max: u64,
    /// Articles older than this are refused: the history has forgotten them.
    pub age_max: Duration,
    /// Which articles go where.
    pub feeds: Vec<Feed>,
}

/// No article is too old.
pub const ANY_AGE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Then what was refused or cancelled a year ago may as well come again.
const HISTORY_OF_ANY_AGE: Duration = Duration::from_secs(365 * 24 * 3600);
/// An article may be dated in the future by clocks that are wrong.
const HISTORY_MARGIN: Duration = Duration::from_secs(7 * 24 * 3600);

impl Policy {
    /// How long the Message-IDs of articles that are not here are remembered: until a peer that offers one would be
    /// refused for its age.
    pub fn history_kept(&self) -> Duration {
        if self.age_max >= ANY_AGE { HISTORY_OF_ANY_AGE } else { self.age_max + HISTORY_MARGIN }
    }
}

/// Which articles go to a site or peer.
#[derive(Debug, Clone)]
pub struct Feed {
    pub hop: Hop,
    /// Names by which it stands in `Path`: an article that has been there does not go there.
    pub path_names: Vec<String>,
    pub groups: Wildmat,
    /// The distributions it takes; empty: all.
    pub distributions: Vec<String>,
}
