//! What must survive a power cut: queue, jobs, mailboxes, articles, sites, ledger, in one SQLite database and bodies beside it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::base::address::Address;
use crate::base::limits::READERS_IDLE_MAX;
use crate::base::names::{Grade, PeerName, SiteName, UserName};
use crate::base::time::Timestamp;
use crate::base::wishes::{CopyWishes, Reports};

pub mod articles;
pub mod bodies;
mod commit;
mod disk;
mod executions;
pub mod inbound;
pub mod jobs;
pub mod ledger;
pub mod mailboxes;
pub mod queue;
mod rows;
mod schema;
pub mod sites;
pub mod statistics;
pub mod workroom;
pub mod wrong_logins;

use commit::{Committer, Effects, Failure};
use disk::Disk;
use schema::Access;

pub use bodies::{Body, BodyId, Draft};
pub use queue::{Item, ItemFilter, ItemId, NewItem};

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
    #[error(
        "{path} was made by another version of bangpath: it has schema {found}, this one knows {known}; use the newer one"
    )]
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
    /// A file to be sent (`to` is the name at the peer). `execution`: the execution file, by its name there, that it is, or whose
    /// data it is.
    File {
        from: String,
        to: String,
        user: String,
        mode: u32,
        wishes: CopyWishes,
        execution: Option<String>,
        body: BodyId,
    },
    /// A file to be fetched from a site into the public directory or, for local users, an absolute path.
    Fetch {
        from: String,
        to: String,
        user: String,
        wishes: CopyWishes,
    },
    /// Files that a site is to find by itself and send to `to`, which begins with our name.
    Expand {
        from: String,
        to: String,
        user: String,
        wishes: CopyWishes,
    },
    /// A command for the peer to run. Its bytes are the standard input, or with `file` a file of that name.
    Command {
        line: String,
        user: String,
        requestor: Option<String>,
        reports: Reports,
        file: Option<String>,
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
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<Disk>,
    committer: Committer,
    readers: Mutex<Vec<Connection>>,
    /// Bytes of disk that stay free.
    reserve: AtomicU64,
    /// Called after each change of this process that is on the disk.
    after_commit: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// A consistent look at what is committed (within a `write`: also at its own changes).
pub struct View<'a> {
    connection: &'a Connection,
    disk: &'a Arc<Disk>,
    /// The first error that may have undone the transaction as a whole.
    broken: RefCell<Option<Failure>>,
}

/// The one way to change the store: everything done to it becomes true together or not at all.
/// Derefs to `View`.
pub struct Change<'a> {
    view: View<'a>,
    effects: Effects,
}

impl<'a> std::ops::Deref for Change<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

/// Space left at a path, in bytes. Needs no store: without any space none opens.
pub fn free_space(path: &Path) -> Result<u64, StoreError> {
    let found = nix::sys::statvfs::statvfs(path).map_err(|e| StoreError::io(path, e.into()))?;
    Ok((found.blocks_available() as u64).saturating_mul(found.fragment_size() as u64))
}

impl Store {
    /// Opens, or makes, the store below `spool` (`spool/bangpath.db`, `spool/bodies/`, `spool/partial/`,
    /// `spool/locks/`), and migrates an older schema.
    pub fn open(spool: &Path) -> Result<Self, StoreError> {
        let disk = Arc::new(Disk::open(spool)?);
        // Turning a new database to WAL, migrating and sweeping are done by one process at a time.
        let _opening = disk.lock_waiting("open")?;
        let writer = schema::prepare(&disk)?;
        let look = View::new(&writer, &disk);
        disk.sweep(|place, name| look.names_file(place, name))?;
        let inner = Inner {
            committer: Committer::new(writer),
            readers: Mutex::default(),
            reserve: AtomicU64::new(0),
            after_commit: OnceLock::new(),
            disk,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Looks at one state of the store, whatever is committed meanwhile. Keep it short: a long look makes the log of
    /// the database grow.
    pub fn read<T, E: From<StoreError>>(&self, look: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let inner = &*self.inner;
        let connection = inner.reader()?;
        let view = View::new(&connection, &inner.disk);
        view.statement("BEGIN")?;
        let found = look(&view);
        // A connection that a panic or an error leaves within its transaction is not used again.
        if view.statement("COMMIT").is_ok() {
            inner.return_reader(connection);
        }
        found
    }

    /// Runs `change` and commits, together with what other threads change at the same time; returns when it is
    /// on the disk. An `Err` (or a panic) undoes all that this closure did and nothing else. But if the commit fails, or
    /// SQLite gives up the transaction in the middle (which it does on a full disk), all who share it get that error.
    ///
    /// No network and no compression inside, no second `write`, and no lock that anybody holds across a `write`: other
    /// threads wait for this closure.
    pub fn write<T, E: From<StoreError>>(&self, change: impl FnOnce(&mut Change<'_>) -> Result<T, E>) -> Result<T, E> {
        let result = self.inner.committer.write(&self.inner.disk, change);
        if let (Ok(_), Some(tell)) = (&result, self.inner.after_commit.get()) {
            tell();
        }
        result
    }

    /// Has `tell` called after each change that this process commits: whoever waits for work looks again then.
    /// Only the first caller is heard.
    pub fn after_commit(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.inner.after_commit.set(Box::new(tell));
    }

    /// An empty body to be filled; held in memory to `BODY_INLINE_MAX`, then in a file.
    pub fn draft(&self) -> Draft {
        Draft::new(&self.inner.disk)
    }

    /// Space left for bodies and database, in bytes, for the warning before the disk is full.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        free_space(self.spool())
    }

    /// From now on [`Store::room_for`] leaves so many bytes free.
    pub fn keep_free(&self, reserve: u64) {
        self.inner.reserve.store(reserve, Ordering::Relaxed);
    }

    /// Whether so many bytes more may come in: else `Full`. To be asked before anything large is taken; the reserve is
    /// for what is on its way already.
    pub fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        let reserve = self.inner.reserve.load(Ordering::Relaxed);
        let free = self.free_space()?;
        if free < bytes.saturating_add(reserve) {
            tracing::warn!(free, bytes, reserve, "the disk is nearly full: nothing more is taken");
            return Err(StoreError::Full(self.spool().to_owned()));
        }
        Ok(())
    }

    /// Takes a lock that dies with the process: one session a site, one user a port. `None`: another holds it, in this
    /// process or in another one.
    pub fn lock(&self, kind: LockKind, name: &str) -> Result<Option<Lock>, StoreError> {
        let file = self.inner.disk.lock(&lock_name(kind, name))?;
        Ok(file.map(|file| Lock { file }))
    }

    /// Whether somebody holds this lock now. For listings: a moment later it may be otherwise.
    pub fn is_locked(&self, kind: LockKind, name: &str) -> Result<bool, StoreError> {
        self.inner.disk.is_locked(&lock_name(kind, name))
    }

    /// What the holder of a lock has noted in it; `None`: nobody holds it, or nothing is noted. For listings, and not to be
    /// relied on: it may be half of one note and half of the next.
    pub fn lock_note(&self, kind: LockKind, name: &str) -> Result<Option<String>, StoreError> {
        self.inner.disk.lock_note(&lock_name(kind, name))
    }

    /// Gives a file or folder that root has made below the spool's to whom the spool belongs, so that the daemon can use it.
    pub fn give_to_owner(&self, path: &Path) -> io::Result<()> {
        self.inner.disk.owner.give_path(path)
    }

    /// The folder, for messages to people and for the control socket.
    pub fn spool(&self) -> &Path {
        &self.inner.disk.spool
    }
}

impl Inner {
    fn reader(&self) -> Result<Connection, StoreError> {
        let idle = self.readers.lock().expect("nothing panics while it is locked").pop();
        idle.map_or_else(|| schema::connect(&self.disk, Access::Read), Ok)
    }

    fn return_reader(&self, connection: Connection) {
        let mut readers = self.readers.lock().expect("nothing panics while it is locked");
        if readers.len() < READERS_IDLE_MAX {
            readers.push(connection);
        }
    }
}

/// Names of ports may be anything; names of files may not.
fn lock_name(kind: LockKind, name: &str) -> String {
    let kind = match kind {
        LockKind::Site => "site",
        LockKind::Port => "port",
        LockKind::Daemon => "daemon",
        LockKind::Unpack => "unpack",
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    let escape = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") };
    format!("{kind}.{}", name.bytes().map(escape).collect::<String>())
}

/// How the files of the store put their questions: all go through here, so that every error is told apart once.
impl<'a> View<'a> {
    fn new(connection: &'a Connection, disk: &'a Arc<Disk>) -> Self {
        Self { connection, disk, broken: RefCell::new(None) }
    }

    fn rows<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let all = || self.connection.prepare_cached(sql)?.query_map(parameters, read)?.collect::<rusqlite::Result<_>>();
        all().map_err(|e| self.refused(e))
    }

    fn row<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let one = || self.connection.prepare_cached(sql)?.query_row(parameters, read).optional();
        one().map_err(|e| self.refused(e))
    }

    /// What is wrong within the database, in SQLite's words, a few at most; nothing: all is well. Reads all of it.
    pub fn damage(&self) -> Result<Vec<String>, StoreError> {
        let found = self.rows("PRAGMA quick_check(5)", [], |row| row.get::<_, String>(0))?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|e| self.refused(e))
    }

    fn refused(&self, error: rusqlite::Error) -> StoreError {
        let error = StoreError::of_connection(&self.disk.database, self.connection, error);
        if self.connection.is_autocommit() {
            self.broken.borrow_mut().get_or_insert_with(|| Failure::from(&error));
        }
        error
    }
}

impl Change<'_> {
    /// How many rows it changed.
    fn execute(&mut self, sql: &str, parameters: impl Params) -> Result<usize, StoreError> {
        let run = || self.view.connection.prepare_cached(sql)?.execute(parameters);
        run().map_err(|e| self.view.refused(e))
    }

    /// The id of the new row.
    fn insert(&mut self, sql: &str, parameters: impl Params) -> Result<i64, StoreError> {
        self.execute(sql, parameters)?;
        Ok(self.last_row())
    }

    fn last_row(&self) -> i64 {
        self.view.connection.last_insert_rowid()
    }
}

impl StoreError {
    /// Whether the database has bytes in it that cannot be right.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Database { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt),
            Self::Full(_) | Self::Io { .. } | Self::Schema { .. } => false,
        }
    }

    fn unusable(path: &Path, why: &str) -> Self {
        Self::Io { path: path.to_owned(), source: io::Error::new(io::ErrorKind::InvalidData, why) }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(path.to_owned())
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    fn database(path: &Path, source: rusqlite::Error) -> Self {
        match &source {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Damaged(source.to_string()),
            _ if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => Self::Full(path.to_owned()),
            // The memory that connections share is a file, too: SQLite has no word for want of space there.
            _ if is_io_failure(&source) && free_space(path).is_ok_and(|free| free < SHARED_MEMORY) => {
                Self::Full(path.to_owned())
            }
            _ if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => Self::unusable(
                path,
                "it is no database; put back a copy of it, or move it away to begin with an empty one",
            ),
            _ => Self::Database { path: path.to_owned(), source },
        }
    }

    /// SQLite says "disk full" only for ENOSPC in a write; quotas and limits hide behind "disk I/O error". A sync that
    /// fails for want of space is not taken for a full disk, since what it leaves is not known (see `commit`).
    fn of_connection(path: &Path, connection: &Connection, source: rusqlite::Error) -> Self {
        if is_io_failure(&source) {
            // SAFETY: the handle is that of an open connection, and the call only reads a number from it.
            let errno = unsafe { rusqlite::ffi::sqlite3_system_errno(connection.handle()) };
            if let full @ Self::Full(_) = Self::io(path, io::Error::from_raw_os_error(errno)) {
                return full;
            }
        }
        Self::database(path, source)
    }
}

/// What SQLite takes at once for the memory that connections share (`bangpath.db-shm`), in bytes.
const SHARED_MEMORY: u64 = 32 * 1024;

/// An I/O error that may be one for want of space.
fn is_io_failure(source: &rusqlite::Error) -> bool {
    source.sqlite_error().is_some_and(|error| {
        error.code == rusqlite::ErrorCode::SystemIoFailure && error.extended_code != rusqlite::ffi::SQLITE_IOERR_FSYNC
    })
}

/// For the traits that know `io::Error` only: a full disk stays one.
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Full(_) => io::ErrorKind::StorageFull,
            StoreError::Io { source, .. } => source.kind(),
            StoreError::Database { .. } | StoreError::Schema { .. } | StoreError::Damaged(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    Site,
    Port,
    /// The one daemon of a spool.
    Daemon,
    /// Whoever unpacks received files.
    Unpack,
}

/// Held while it lives. The file stays: removing it would let two others each lock one of that name.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Notes what the lock is held for. Nobody believes a note once the lock has gone, so it is not synced.
    pub fn note(&self, words: &str) -> io::Result<()> {
        self.file.write_all_at(words.as_bytes(), 0)?;
        self.file.set_len(words.len() as u64)
    }
}

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

#[cfg(test)]
mod testing {
    //! What the tests of all files of the store begin with.

    use super::*;

    pub const NOW: Timestamp = Timestamp::from_seconds(1_000_000_000);

    pub fn later(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000_000 + seconds)
    }

    pub fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("a new store");
        (folder, store)
    }

    pub fn site(name: &str) -> SiteName {
        SiteName::parse(name).expect("a site name")
    }

    pub fn user(name: &str) -> UserName {
        UserName::parse(name).expect("a user name")
    }

    pub fn grade(c: char) -> Grade {
        Grade::parse(c).expect("a grade")
    }

    pub fn envelope(recipients: &[&str]) -> Envelope {
        let address = |text: &&str| Address::parse_smtp(text).expect("an address");
        Envelope { sender: Some(address(&"ann@village.example")), recipients: recipients.iter().map(address).collect() }
    }

    /// A mail item for a site, with these bytes.
    pub fn queue_mail(store: &Store, hop: &str, c: char, bytes: &[u8]) -> ItemId {
        let add = |change: &mut Change<'_>| {
            let body = change.keep_bytes(bytes)?;
            let cargo = Cargo::Mail { envelope: envelope(&["bob@hub.example"]), body };
            change.enqueue(NewItem { hop: Hop::Site(site(hop)), cargo, grade: grade(c), queued: NOW })
        };
        store.write(add).expect("an item")
    }

    pub fn read<T>(store: &Store, look: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> T {
        store.read(look).expect("readable")
    }

    pub fn write<T>(store: &Store, change: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError>) -> T {
        store.write(change).expect("written")
    }

    /// Bodies in the database, files of bodies, partial files.
    pub fn remains(store: &Store) -> (i64, usize, usize) {
        let rows = read(store, |v| {
            v.row("SELECT (SELECT count(*) FROM body) + (SELECT count(*) FROM body_bytes)", [], |r| r.get(0))
        });
        let files = |folder: &str| std::fs::read_dir(store.spool().join(folder)).expect("a folder").count();
        (rows.expect("a count"), files("bodies"), files("partial"))
    }

    /// Bytes that compress badly and tell where they stand.
    pub fn pattern(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn what_was_written_is_there_after_reopening_and_belongs_to_nobody_else() {
        let (folder, store) = open();
        let id = queue_mail(&store, "hub", 'C', b"hello");
        drop(store);
        let store = Store::open(folder.path()).expect("the same store");
        let item = read(&store, |v| v.item(id)).expect("the item");
        assert_eq!((item.hop, item.size, item.queued), (Hop::Site(site("hub")), 5, NOW));
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(mode("bangpath.db"), 0o600);
        assert_eq!(mode("bangpath.db-wal"), 0o600);
        assert_eq!(mode("bodies") & 0o027, 0);
    }

    #[test]
    fn a_schema_of_another_version_or_program_is_left_alone() {
        let refused = |change: &dyn Fn(&Path), expected: &str| {
            let (folder, store) = open();
            drop(store);
            let path = folder.path().join("bangpath.db");
            change(&path);
            let before = std::fs::read(&path).expect("readable");
            let error = Store::open(folder.path()).map(drop).expect_err("a refusal");
            let told = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
            assert!(told.contains(expected), "{told}");
            assert!(std::fs::read(&path).expect("readable") == before);
        };
        let run = |path: &Path, sql: &str| {
            Connection::open(path).and_then(|c| c.execute_batch(sql)).expect("a changed database");
        };
        refused(
            &|path| run(path, "PRAGMA user_version = 99"),
            "it has schema 99, this one knows 10; use the newer one",
        );
        refused(&|path| run(path, "PRAGMA application_id = 7"), "it belongs to another program");
        let garbage = |path: &Path| std::fs::write(path, [b'x'; 5000]).expect("writable");
        refused(&garbage, "it is no database; put back a copy");
        let empty = |path: &Path| {
            std::fs::write(path.with_file_name("bodies").join("a"), "a letter").expect("writable");
            std::fs::write(path, "").expect("writable");
        };
        refused(&empty, "it is missing or empty, and there are messages");
    }

    #[test]
    fn a_read_sees_one_state_whatever_is_committed_meanwhile() {
        let (_folder, store) = open();
        let count = |v: &View<'_>| v.items(&ItemFilter::default()).map(|items| items.len());
        read(&store, |view| {
            assert_eq!(count(view)?, 0);
            queue_mail(&store, "hub", 'C', b"x");
            assert_eq!(count(view)?, 0);
            Ok(())
        });
        assert_eq!(read(&store, count), 1);
    }

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let (folder, store) = open();
        let other = Store::open(folder.path()).expect("the same store");
        let lock = |store: &Store, kind, name| store.lock(kind, name).expect("a lock file");
        let held = lock(&store, LockKind::Site, "hub").expect("free");
        assert!(lock(&store, LockKind::Site, "hub").is_none());
        assert!(lock(&other, LockKind::Site, "hub").is_none());
        assert!(lock(&other, LockKind::Port, "hub").is_some());
        assert!(lock(&other, LockKind::Port, "/dev/tty\u{e4}").is_some());
        drop(held);
        assert!(lock(&other, LockKind::Site, "hub").is_some());
    }

    #[test]
    fn a_full_disk_stays_one_through_io_errors() {
        for errno in [nix::libc::ENOSPC, nix::libc::EDQUOT, nix::libc::EFBIG] {
            let error = StoreError::io(Path::new("/x"), io::Error::from_raw_os_error(errno));
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::StorageFull);
        }
        let other = StoreError::io(Path::new("/x"), io::Error::from_raw_os_error(nix::libc::EIO));
        assert_ne!(io::Error::from(other).kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_store_and_what_is_made_with_it_may_go_to_other_threads() {
        fn goes<T: Send>() {}
        fn is_shared<T: Send + Sync>() {}
        is_shared::<Store>();
        goes::<inbound::Receiving>();
        goes::<Draft>();
        is_shared::<Body>();
    }

    #[test]
    fn free_space_is_that_of_the_spool() {
        let (_folder, store) = open();
        let free = store.free_space().expect("known");
        assert!(free > 0 && store.room_for(1).is_ok());
        assert!(matches!(store.room_for(u64::MAX), Err(StoreError::Full(_))));
        store.keep_free(u64::MAX);
        assert!(matches!(store.room_for(0), Err(StoreError::Full(_))));
    }

    #[test]
    fn an_io_error_where_nothing_is_free_is_a_full_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let roomy = folder.path().to_str().expect("a name");
        let check = |path: &str, extended: i32, full: bool| {
            let error = rusqlite::ffi::Error::new(extended);
            let found = StoreError::database(Path::new(path), rusqlite::Error::SqliteFailure(error, None));
            assert_eq!(matches!(found, StoreError::Full(_)), full, "{path} {extended}: {found:?}");
        };
        // Nothing is ever free on procfs.
        check("/proc/self", rusqlite::ffi::SQLITE_IOERR_SHMSIZE, true);
        check("/proc/self", rusqlite::ffi::SQLITE_IOERR_FSYNC, false);
        check("/proc/self", rusqlite::ffi::SQLITE_CORRUPT, false);
        check(roomy, rusqlite::ffi::SQLITE_IOERR_SHMSIZE, false);
    }
}
