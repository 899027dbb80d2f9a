//! What arrives over UUCP: partial files with their restart points, receipts, and received files that wait to be unpacked.

use std::io;
use std::time::Duration;

use super::{BodyId, Change, Store, StoreError, View};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;

/// How long a partial file and a receipt are worth keeping (Taylor: a week).
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a peer says of a file it is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub site: SiteName,
    /// The temporary name, `D.0001`, if it is one that identifies the job (not `D.0`).
    pub temp: Option<String>,
    pub size: Option<u64>,
    pub to: String,
}

/// What becomes of a file once it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Standard input of this command, as in an E command or an `X.` file.
    Execute { command: String, user: String, requestor: Option<String> },
    /// A spool file, `D.x` or `X.x`: waits for its partner.
    Spool { name: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceivedId(pub i64);

/// A file received whole, waiting to be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: ReceivedId,
    pub site: SiteName,
    pub purpose: Purpose,
    pub body: BodyId,
    pub size: u64,
    pub received: Timestamp,
    /// How far unpacking has come, in bytes of the unpacked batch, articles done, or whatever the unpacker counts.
    pub progress: u64,
    pub attempts: u32,
    pub not_before: Timestamp,
}

/// A file being received. Held in memory to `BODY_INLINE_MAX`, then in the partial file; when it is dropped
/// unfinished, what has come is written to the partial file, so that the next call goes on from there.
pub struct Receiving {}

impl Receiving {
    /// Bytes that are here already: the restart point.
    pub fn kept(&self) -> u64 {
        unimplemented!()
    }
    /// Forgets what was kept: the peer does not restart.
    pub fn truncate(&mut self) -> io::Result<()> {
        unimplemented!()
    }
    pub fn write(&mut self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        unimplemented!()
    }
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Durable with its purpose and a receipt in doubt, in one transaction. Only then may the peer be told.
    pub fn commit(self, _purpose: Purpose, _now: Timestamp) -> Result<ReceivedId, StoreError> {
        unimplemented!()
    }
    /// Moves the bytes, synced, to `target` (for files that go to the public directory), with a receipt in doubt.
    pub fn commit_to_file(self, _target: &std::path::Path, _mode: u32, _now: Timestamp) -> Result<(), StoreError> {
        unimplemented!()
    }
}

impl Store {
    /// Begins to receive; finds what an earlier call left if `restart` and the announced size agree.
    pub fn receive(&self, _file: &Announced, _restart: bool, _now: Timestamp) -> Result<Receiving, StoreError> {
        unimplemented!()
    }
}

impl View<'_> {
    /// Whether this very file (temporary name and size) was received whole and its confirmation is still in doubt.
    pub fn is_received_in_doubt(&self, _file: &Announced, _now: Timestamp) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Files that wait to be unpacked and may be tried now, oldest first.
    pub fn received(&self, _now: Timestamp, _limit: usize) -> Result<Vec<Received>, StoreError> {
        unimplemented!()
    }
    /// A spool file of this site by name (`D.betaN0001`).
    pub fn received_spool(&self, _site: &SiteName, _name: &str) -> Result<Option<Received>, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    /// The peer has gone on after our `CY` (or the session ended in order): nothing of this site is in doubt any more.
    pub fn settle_receipts(&mut self, _site: &SiteName) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn note_progress(&mut self, _id: ReceivedId, _progress: u64) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn defer_received(&mut self, _id: ReceivedId, _until: Timestamp, _why: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Unpacked: gone.
    pub fn finish_received(&mut self, _id: ReceivedId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Cannot be unpacked: into the dead letters, bytes and all.
    pub fn bury_received(&mut self, _id: ReceivedId, _why: &str, _now: Timestamp) -> Result<(), StoreError> {
        unimplemented!()
    }
}
