//! Jobs: UUCP transfers made from items; kept byte for byte from the first offer to the confirmation.

use super::{BodyId, Change, ItemId, StoreError, View};
use crate::base::names::{Grade, SiteName};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// What is done with the bytes at the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// `rmail bob`, `rnews`: the bytes are its standard input.
    Execute { command: String, user: String, requestor: Option<String> },
    /// A file under this name.
    Store { from: String, to: String, user: String, mode: u32, notify: Option<String> },
    /// Nothing is sent: a file is asked for.
    Fetch { from: String, to: String, user: String },
}

/// A job to be made of these items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub site: SiteName,
    pub grade: Grade,
    pub items: Vec<ItemId>,
    pub deed: Deed,
    /// The bytes; for `Deed::Fetch` an empty body.
    pub data: BodyId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    pub site: SiteName,
    pub grade: Grade,
    pub deed: Deed,
    pub data: BodyId,
    pub size: u64,
    /// Four characters of `0-9A-Z`, unique per site for a week at least: `D.SEQ` is the temporary name.
    pub sequence: String,
    /// A second one for the `X.` file where the peer knows no E command.
    pub sequence_x: String,
    /// A peer has seen its name: from now on it never changes.
    pub offered: bool,
}

impl View<'_> {
    pub fn job(&self, _id: JobId) -> Result<Option<Job>, StoreError> {
        unimplemented!()
    }
    /// Jobs once offered and not yet confirmed, in the order of their offer.
    pub fn offered_jobs(&self, _site: &SiteName) -> Result<Vec<Job>, StoreError> {
        unimplemented!()
    }
    /// The items of a job.
    pub fn job_items(&self, _id: JobId) -> Result<Vec<super::Item>, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    /// Packs items (none of them in a job already) and takes two sequence names.
    pub fn new_job(&mut self, _job: NewJob) -> Result<Job, StoreError> {
        unimplemented!()
    }
    /// The peer is about to see it.
    pub fn offer_job(&mut self, _id: JobId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Confirmed: job and items are gone. The caller records it in the ledger.
    pub fn finish_job(&mut self, _id: JobId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Unpacks one: its items are free again (the peer refused it, or it was never offered).
    pub fn dissolve_job(&mut self, _id: JobId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// All of a site's jobs that no peer has seen; what a call does at its end and its beginning.
    pub fn dissolve_unoffered(&mut self, _site: &SiteName) -> Result<usize, StoreError> {
        unimplemented!()
    }
}
