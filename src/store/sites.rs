//! What is remembered of each site between calls.

use super::{Change, StoreError, View};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;

/// The state of a site. A site never called has the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteState {
    /// When the last call to or from it ended, and how, in words.
    pub last_call: Option<Timestamp>,
    pub last_result: Option<String>,
    pub last_success: Option<Timestamp>,
    /// Failed calls in a row.
    pub failures: u32,
    /// No call by ourselves before this, after failures.
    pub not_before: Option<Timestamp>,
    /// An operator's hold, with the reason.
    pub held: Option<String>,
    /// `site call` asked for a call whatever the queue says.
    pub call_wanted: bool,
}

impl View<'_> {
    pub fn site_state(&self, _site: &SiteName) -> Result<SiteState, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    pub fn set_site_state(&mut self, _site: &SiteName, _state: &SiteState) -> Result<(), StoreError> {
        unimplemented!()
    }
}
