//! What is remembered of each site between calls.

use rusqlite::params;

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
    pub fn site_state(&self, site: &SiteName) -> Result<SiteState, StoreError> {
        let sql = "SELECT last_call, last_result, last_success, failures, not_before, held, call_wanted
                   FROM site WHERE name = ?";
        let state = self.row(sql, [site], |row| {
            Ok(SiteState {
                last_call: row.get("last_call")?,
                last_result: row.get("last_result")?,
                last_success: row.get("last_success")?,
                failures: row.get("failures")?,
                not_before: row.get("not_before")?,
                held: row.get("held")?,
                call_wanted: row.get("call_wanted")?,
            })
        })?;
        Ok(state.unwrap_or_default())
    }
}

impl Change<'_> {
    pub fn set_site_state(&mut self, site: &SiteName, state: &SiteState) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO site
                   (name, last_call, last_result, last_success, failures, not_before, held, call_wanted)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let row = params![
            site,
            state.last_call,
            state.last_result,
            state.last_success,
            state.failures,
            state.not_before,
            state.held,
            state.call_wanted
        ];
        self.execute(sql, row).map(drop)
    }
}
