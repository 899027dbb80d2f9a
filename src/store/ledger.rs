//! The ledger: done deeds, written in the transaction of the deed, and dead letters.

use super::{Body, Change, StoreError, View};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;

/// One done deed. `verb` is one of a small closed list: `accepted`, `delivered`, `sent`, `received`, `refused`,
/// `returned`, `retried`, `dropped`, `buried`, `called`, `warned`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub at: Timestamp,
    pub verb: &'static str,
    /// What it was: `mail`, `article`, `file`, `command`, `call`, `store`.
    pub what: &'static str,
    /// Where from or to: a site, a host, a mailbox, a group.
    pub place: String,
    /// Message-ID, queue id, name: what one would search for.
    pub id: String,
    pub bytes: u64,
    pub detail: String,
}

/// A fact as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub number: i64,
    pub at: Timestamp,
    pub verb: String,
    pub what: String,
    pub place: String,
    pub id: String,
    pub bytes: u64,
    pub detail: String,
}

/// What can neither be delivered nor returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub number: i64,
    pub at: Timestamp,
    pub why: String,
    /// What it was: hop or site, envelope or command, as text.
    pub what: String,
    pub size: u64,
    pub from_site: Option<SiteName>,
}

impl View<'_> {
    /// Facts numbered above `after`, oldest first, `limit` at most.
    pub fn ledger(&self, _after: i64, _limit: usize) -> Result<Vec<Entry>, StoreError> {
        unimplemented!()
    }
    /// The last `count` facts, oldest first.
    pub fn ledger_tail(&self, _count: usize) -> Result<Vec<Entry>, StoreError> {
        unimplemented!()
    }
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        unimplemented!()
    }
    pub fn dead_letter(&self, _number: i64) -> Result<Option<(DeadLetter, Body)>, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    pub fn record(&mut self, _fact: Fact) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Back to where it came from: the queue, or the files to be unpacked. Whether there was one.
    pub fn retry_dead_letter(&mut self, _number: i64, _now: Timestamp) -> Result<bool, StoreError> {
        unimplemented!()
    }
    pub fn drop_dead_letter(&mut self, _number: i64) -> Result<bool, StoreError> {
        unimplemented!()
    }
}
