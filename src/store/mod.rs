//! What must survive a power cut: queue, jobs, mailboxes, articles, sites, ledger, in one SQLite database and bodies beside it.

use std::path::{Path, PathBuf};

use crate::base::address::Address;
use crate::base::names::{Grade, PeerName, SiteName, UserName};
use crate::base::time::Timestamp;

pub mod articles;
pub mod bodies;
pub mod inbound;
pub mod jobs;
pub mod ledger;
pub mod mailboxes;
pub mod queue;
pub mod sites;

pub use bodies::{Body, BodyId, Draft};
pub use queue::{Item, ItemId, NewItem};

/// What can go wrong with the store. `Full` is a temporary failure for whoever is sending.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no space left in {0}")]
    Full(PathBuf),
    #[error("cannot use {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the database {path} refused")]
    Database { path: PathBuf, source: rusqlite::Error },
    /// The file was made by another version of this program: exit 75 and leave it alone.
    #[error("{path} has schema {found}, this program knows {known}")]
    Schema { path: PathBuf, found: i64, known: i64 },
    /// A row or file that should be there is not, or cannot be read as what it should be.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Where an item goes next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// Over UUCP to this neighbour.
    Site(SiteName),
    /// Over SMTP to this host.
    Smtp { host: String, port: u16 },
    /// Over NNTP to this news peer of the configuration.
    Nntp(PeerName),
    /// Into the Maildir of a local user.
    Maildir(UserName),
}

/// What an item carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cargo {
    Mail {
        envelope: Envelope,
        body: BodyId,
    },
    Article {
        message_id: String,
        body: BodyId,
    },
    /// A file to be sent (`to` is the name at the peer).
    File {
        from: String,
        to: String,
        user: String,
        mode: u32,
        notify: Option<String>,
        body: BodyId,
    },
    /// A file to be fetched from a site into the public directory or, for local users, an absolute path.
    Fetch {
        from: String,
        to: String,
        user: String,
    },
    /// A command for the peer to run, with its standard input.
    Command {
        line: String,
        user: String,
        requestor: Option<String>,
        input: BodyId,
    },
}

/// Who sends a message to whom. The null sender is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub sender: Option<Address>,
    pub recipients: Vec<Address>,
}

/// One directory tree with everything that must not be lost. Cheap to clone; every clone is the same store.
#[derive(Clone)]
pub struct Store {}

/// A consistent look at what is committed (within a `write`: also at its own changes).
pub struct View<'a> {
    _later: std::marker::PhantomData<&'a ()>,
}

/// The one way to change the store: everything done to it becomes true together or not at all.
/// Derefs to `View`.
pub struct Change<'a> {
    view: View<'a>,
}

impl<'a> std::ops::Deref for Change<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl Store {
    /// Opens, or makes, the store below `spool` (`spool/bangpath.db`, `spool/bodies/`, `spool/partial/`,
    /// `spool/locks/`), and migrates an older schema.
    pub fn open(_spool: &Path) -> Result<Self, StoreError> {
        unimplemented!()
    }

    pub fn read<T, E: From<StoreError>>(&self, _look: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        unimplemented!()
    }

    /// Runs `change` and commits, together with what other threads change at the same time; returns when it is
    /// on the disk. An `Err` undoes all that this closure did. No network and no compression inside.
    pub fn write<T, E: From<StoreError>>(&self, _change: impl FnOnce(&mut Change<'_>) -> Result<T, E>) -> Result<T, E> {
        unimplemented!()
    }

    /// An empty body to be filled; held in memory to `BODY_INLINE_MAX`, then in a file.
    pub fn draft(&self) -> Draft {
        unimplemented!()
    }

    /// Space left for bodies and database, in bytes, for the warning before the disk is full.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }

    /// Takes a lock that dies with the process: one session a site, one user a port. `None`: another holds it.
    pub fn lock(&self, _kind: LockKind, _name: &str) -> Result<Option<Lock>, StoreError> {
        unimplemented!()
    }

    /// The folder, for messages to people and for the control socket.
    pub fn spool(&self) -> &Path {
        unimplemented!()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    Site,
    Port,
    /// The one daemon of a spool.
    Daemon,
}

/// Held while it lives.
#[derive(Debug)]
pub struct Lock {}

/// Grade order and totals that the scheduler reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopTotals {
    pub hop: Hop,
    pub grade: Grade,
    /// Items that may go now or later: not held.
    pub items: u64,
    pub bytes: u64,
    pub held: u64,
    /// When the first of them may go (`not_before`), and when the oldest was queued.
    pub ready: Timestamp,
    pub oldest: Timestamp,
}
