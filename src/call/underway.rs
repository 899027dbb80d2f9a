//! A call that is going on, noted in the lock of its site, so that every process can tell of it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::Progress;
use crate::base::names::SiteName;
use crate::base::time::Timestamp;
use crate::store::{LockKind, Store, StoreError};

/// How far a call has come that is going on now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The port, or who is at the other end of a call to us.
    pub port: String,
    /// We have called.
    pub outgoing: bool,
    /// Unknown until the handshake is done.
    pub protocol: Option<char>,
    since_us: i64,
    pub files_sent: u64,
    pub bytes_sent: u64,
    pub files_received: u64,
    pub bytes_received: u64,
}

impl Underway {
    pub(super) fn new(port: &str, outgoing: bool, since: Timestamp, progress: &Progress) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            port: port.to_owned(),
            outgoing,
            protocol: progress.agreed.get().copied(),
            since_us: since.as_micros(),
            files_sent: count(&progress.files_sent),
            bytes_sent: count(&progress.bytes_sent),
            files_received: count(&progress.files_received),
            bytes_received: count(&progress.bytes_received),
        }
    }

    /// The call with a site, in whatever process. `None`: there is none, or nothing is known of it yet.
    pub fn of(store: &Store, site: &SiteName) -> Result<Option<Self>, StoreError> {
        let note = store.lock_note(LockKind::Site, site.as_str())?;
        Ok(note.and_then(|note| serde_json::from_str(&note).ok()))
    }

    pub fn since(&self) -> Timestamp {
        Timestamp::from_micros(self.since_us)
    }
}
