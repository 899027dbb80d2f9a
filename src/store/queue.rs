//! The queue: items that wait for a hop.

use super::{Cargo, Change, Hop, HopTotals, StoreError, View};
use crate::base::names::Grade;
use crate::base::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub i64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    pub hop: Hop,
    pub cargo: Cargo,
    pub grade: Grade,
    pub queued: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub id: ItemId,
    pub hop: Hop,
    pub cargo: Cargo,
    pub grade: Grade,
    /// Bytes of the body.
    pub size: u64,
    pub queued: Timestamp,
    pub not_before: Timestamp,
    pub attempts: u32,
    /// Why it is held, if it is: by an operator or by a `Disposition::Hold`.
    pub held: Option<String>,
    pub last_error: Option<String>,
    /// The job it is packed into, and whether a peer has seen that job (then it is frozen).
    pub job: Option<super::jobs::JobId>,
    pub in_doubt: bool,
}

/// What a listing shows. Everything empty: all, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ItemFilter {
    pub hop: Option<Hop>,
    pub held: Option<bool>,
    pub limit: Option<usize>,
}

/// An item that cannot be dropped or rerouted without force: a peer has been offered it and may have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueRefusal {
    #[error("no item {0} in the queue")]
    Unknown(i64),
    #[error("item {0} was offered to its site and may have arrived; use --force to drop it all the same")]
    InDoubt(i64),
}

impl View<'_> {
    pub fn item(&self, _id: ItemId) -> Result<Option<Item>, StoreError> {
        unimplemented!()
    }
    pub fn items(&self, _filter: &ItemFilter) -> Result<Vec<Item>, StoreError> {
        unimplemented!()
    }
    /// Items for `hop` that may go now: not held, `not_before` past, in no job, grade `worst` or better; by grade, then age.
    pub fn ready_items(
        &self,
        _hop: &Hop,
        _now: Timestamp,
        _worst: Grade,
        _limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        unimplemented!()
    }
    /// Totals per hop and grade, for the scheduler and `site list`.
    pub fn totals(&self) -> Result<Vec<HopTotals>, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    pub fn enqueue(&mut self, _item: NewItem) -> Result<ItemId, StoreError> {
        unimplemented!()
    }
    /// Done: gone from the queue, its body released. The caller records why in the ledger in the same change.
    pub fn finish_item(&mut self, _id: ItemId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Not now: counts an attempt, notes why, and sleeps until `until`.
    pub fn defer_item(&mut self, _id: ItemId, _until: Timestamp, _why: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn hold_item(&mut self, _id: ItemId, _why: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Not held any more, and ready at once.
    pub fn release_item(&mut self, _id: ItemId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// An operator's wish. Refused while in doubt, unless `force`.
    pub fn drop_item(&mut self, _id: ItemId, _force: bool) -> Result<Result<(), QueueRefusal>, StoreError> {
        unimplemented!()
    }
    /// Replaces the envelope of a mail item: those recipients that are still to be served.
    pub fn narrow_item(&mut self, _id: ItemId, _envelope: &super::Envelope) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Out of the queue, into the dead letters, with its body.
    pub fn bury_item(&mut self, _id: ItemId, _why: &str, _now: Timestamp) -> Result<(), StoreError> {
        unimplemented!()
    }
}
