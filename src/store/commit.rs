//! Group commit: changes of several threads share one transaction and one sync.
//!
//! Each closure runs on its caller's thread, under a savepoint of a transaction that begins with the first of them. Who
//! finishes and sees nobody waiting commits for all; the others sleep until that is done. A thread that waits for the
//! writer is counted, and each of them either commits or leaves that to a later one, so the last always commits.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};

use rusqlite::{Connection, ffi};

use super::disk::{Disk, Place, SpoolFile};
use super::{BodyId, Change, StoreError, View};
use crate::base::limits::WRITE_GROUP_MAX;

/// The one writer of this process (others may have theirs: SQLite lets one at a time begin).
pub(super) struct Committer {
    waiting: AtomicUsize,
    writer: Mutex<Writer>,
    /// Whose closure is running: a `write` within it would wait for itself.
    running: Mutex<Option<ThreadId>>,
}

struct Writer {
    connection: Connection,
    /// The open transaction, if there is one.
    group: Option<Arc<Group>>,
    /// Closures that succeeded in it.
    size: usize,
    effects: Effects,
}

/// Changes that share a commit, and what became of it.
#[derive(Default)]
struct Group {
    outcome: Mutex<Option<Result<(), Failure>>>,
    known: Condvar,
}

/// What changes beside the database, and only when the commit has succeeded or failed.
#[derive(Default)]
pub(super) struct Effects {
    /// Files that rows of this transaction name for the first time.
    pub created: Vec<SpoolFile>,
    /// Files that no row names any more.
    pub doomed: Vec<(Place, String)>,
    /// Bodies made in this change, to be looked at when it ends.
    pub kept: Vec<BodyId>,
}

/// A `StoreError` that can be told to each thread of a group.
#[derive(Clone)]
pub(super) enum Failure {
    Full(PathBuf),
    Database { path: PathBuf, code: ffi::Error, text: Option<String> },
}

impl Committer {
    pub fn new(connection: Connection) -> Self {
        let writer = Writer { connection, group: None, size: 0, effects: Effects::default() };
        Self { waiting: AtomicUsize::new(0), writer: Mutex::new(writer), running: Mutex::new(None) }
    }

    /// Whether the calling thread is inside a closure of `write`.
    pub fn is_running_here(&self) -> bool {
        *self.running.lock().expect("nothing panics while it is locked") == Some(thread::current().id())
    }

    fn set_running(&self, thread: Option<ThreadId>) {
        *self.running.lock().expect("nothing panics while it is locked") = thread;
    }

    pub fn write<T, E: From<StoreError>>(
        &self,
        disk: &Arc<Disk>,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        assert!(!self.is_running_here(), "a write within a write");
        let mut writer = self.enter();
        let group = writer.begin(disk)?;
        self.set_running(Some(thread::current().id()));
        let done = writer.attempt(disk, change);
        self.set_running(None);
        if self.waiting.load(Ordering::SeqCst) == 0 || writer.size >= WRITE_GROUP_MAX {
            writer.commit(disk);
        }
        drop(writer);
        match done {
            Ok(Ok(value)) => group.wait().map(|()| value).map_err(|failure| failure.into_error().into()),
            Ok(Err(error)) => Err(error),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn enter(&self) -> MutexGuard<'_, Writer> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let writer = self.writer.lock().expect("closures that panic are caught");
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        writer
    }
}

impl Writer {
    /// The group of the open transaction, or a new one.
    fn begin(&mut self, disk: &Arc<Disk>) -> Result<Arc<Group>, StoreError> {
        if let Some(group) = &self.group {
            return Ok(Arc::clone(group));
        }
        // IMMEDIATE waits for other processes here and not in the middle of a change.
        self.statement(disk, "BEGIN IMMEDIATE")?;
        let group = Arc::new(Group::default());
        self.group = Some(Arc::clone(&group));
        self.size = 0;
        Ok(group)
    }

    /// Runs one closure under its savepoint. A panic comes back as the outer error.
    fn attempt<T, E: From<StoreError>>(
        &mut self,
        disk: &Arc<Disk>,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>, Box<dyn Any + Send>> {
        if let Err(error) = self.statement(disk, "SAVEPOINT change") {
            return Ok(Err(self.give_up(disk, Failure::from(&error)).into()));
        }
        let view = View::new(&self.connection, disk);
        let mut running = Change { view, effects: Effects::default() };
        let done = catch_unwind(AssertUnwindSafe(|| -> Result<T, E> {
            let value = change(&mut running)?;
            running.drop_unused_bodies()?;
            Ok(value)
        }));
        let Change { view, effects } = running;
        let broken = view.broken.into_inner();
        let ended = match &done {
            Ok(Ok(_)) => self.statement(disk, "RELEASE change"),
            Ok(Err(_)) | Err(_) => {
                self.statement(disk, "ROLLBACK TO change").and_then(|()| self.statement(disk, "RELEASE change"))
            }
        };
        // On some errors, a full disk among them, SQLite undoes the whole transaction, and with it the changes of
        // those who wait for this commit.
        if let Err(error) = ended {
            let error = self.give_up(disk, broken.unwrap_or_else(|| Failure::from(&error)));
            return done.map(|result| result.and_then(|_| Err(error.into())));
        }
        if let Ok(Ok(_)) = &done {
            self.size += 1;
            self.effects.join(effects);
        }
        done
    }

    /// Commits the open transaction and tells its group.
    fn commit(&mut self, disk: &Arc<Disk>) {
        let Some(group) = self.group.take() else { return };
        if self.size == 0 {
            // Every closure failed, and nobody waits.
            if let Err(error) = self.statement(disk, "ROLLBACK") {
                tracing::warn!(%error, "cannot end a transaction");
            }
            return;
        }
        let outcome = disk.point(|| self.statement(disk, "COMMIT"));
        let effects = std::mem::take(&mut self.effects);
        match outcome {
            Ok(()) => {
                group.tell(Ok(()));
                effects.make_true(disk);
            }
            Err(error) => {
                let failure = Failure::from(&error);
                self.roll_back(disk);
                effects.leave_to_sweep_after(&failure);
                group.tell(Err(failure));
            }
        }
    }

    /// Ends the transaction for all of its group; gives the error back for the one who met it.
    fn give_up(&mut self, disk: &Arc<Disk>, failure: Failure) -> StoreError {
        self.roll_back(disk);
        // Nothing of it was committed: the files that it made go.
        self.effects = Effects::default();
        if let Some(group) = self.group.take() {
            group.tell(Err(failure.clone()));
        }
        failure.into_error()
    }

    fn roll_back(&mut self, disk: &Arc<Disk>) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.statement(disk, "ROLLBACK")
        {
            tracing::error!(%error, "cannot undo a failed transaction");
        }
    }

    fn statement(&self, disk: &Arc<Disk>, sql: &str) -> Result<(), StoreError> {
        View::new(&self.connection, disk).statement(sql)
    }
}

impl Group {
    fn tell(&self, outcome: Result<(), Failure>) {
        *self.outcome.lock().expect("nothing panics while it is locked") = Some(outcome);
        self.known.notify_all();
    }

    fn wait(&self) -> Result<(), Failure> {
        let outcome = self.outcome.lock().expect("nothing panics while it is locked");
        let outcome = self.known.wait_while(outcome, |o| o.is_none()).expect("nothing panics while it is locked");
        outcome.clone().expect("it was waited for")
    }
}

impl Effects {
    fn join(&mut self, other: Self) {
        self.created.extend(other.created);
        self.doomed.extend(other.doomed);
    }

    fn make_true(mut self, disk: &Disk) {
        for file in &mut self.created {
            file.retain();
        }
        for (place, name) in &self.doomed {
            disk.unlink(*place, name);
        }
    }

    /// Dropping the files removes them. But after an error in the sync of a commit nobody knows what a power cut will
    /// leave of the log: then they stay for the sweep of the next start, which knows. (A write to a full disk never
    /// completes the commit in the log.)
    fn leave_to_sweep_after(mut self, failure: &Failure) {
        match failure {
            Failure::Full(_) => {}
            Failure::Database { .. } => self.created.iter_mut().for_each(SpoolFile::retain),
        }
    }
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        let (path, source) = match error {
            StoreError::Full(path) => return Self::Full(path.clone()),
            StoreError::Database { path, source } => (path.clone(), Some(source)),
            StoreError::Io { path, .. } | StoreError::Schema { path, .. } => (path.clone(), None),
            StoreError::Damaged(_) => (PathBuf::new(), None),
        };
        match source {
            Some(rusqlite::Error::SqliteFailure(code, text)) => {
                Self::Database { path, code: *code, text: text.clone() }
            }
            Some(_) | None => {
                Self::Database { path, code: ffi::Error::new(ffi::SQLITE_ERROR), text: Some(error.to_string()) }
            }
        }
    }
}

impl Failure {
    fn into_error(self) -> StoreError {
        match self {
            Self::Full(path) => StoreError::Full(path),
            Self::Database { path, code, text } => {
                StoreError::Database { path, source: rusqlite::Error::SqliteFailure(code, text) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use super::super::testing::*;
    use super::super::{ItemFilter, Store};
    use super::*;

    fn items(store: &Store) -> usize {
        read(store, |v| v.items(&ItemFilter::default())).len()
    }

    fn commits(store: &Store) -> u64 {
        store.inner.disk.points_passed()
    }

    /// Runs `change` on so many threads that all wait while the first closure runs, so that they share its commit.
    fn together<T: Send>(store: &Store, threads: usize, change: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let committer = &store.inner.committer;
        let inside = Barrier::new(2);
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                // What becomes of the commit is for the others to tell.
                let _outcome = store.write::<_, StoreError>(|_| {
                    inside.wait();
                    while committer.waiting.load(Ordering::SeqCst) < threads {
                        thread::yield_now();
                    }
                    Ok(())
                });
            });
            inside.wait();
            let change = &change;
            let others: Vec<_> = (0..threads).map(|n| scope.spawn(move || change(n))).collect();
            first.join().expect("no panic");
            others.into_iter().map(|t| t.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn changes_that_come_together_share_one_commit() {
        let (_folder, store) = open();
        let before = commits(&store);
        together(&store, 20, |_| queue_mail(&store, "hub", 'C', b"x"));
        assert_eq!(items(&store), 20);
        assert_eq!(commits(&store) - before, 1);
    }

    #[test]
    fn a_group_does_not_grow_without_end() {
        let (_folder, store) = open();
        let before = commits(&store);
        together(&store, WRITE_GROUP_MAX + 1, |_| queue_mail(&store, "hub", 'C', b"x"));
        assert_eq!(items(&store), WRITE_GROUP_MAX + 1);
        assert_eq!(commits(&store) - before, 2);
    }

    #[test]
    fn an_error_or_panic_undoes_its_own_change_only() {
        let (_folder, store) = open();
        let results = together(&store, 30, |n| {
            let change = |change: &mut Change<'_>| {
                let big = change.keep_bytes(&pattern(100_000))?;
                change.deliver(&user("ann"), big, "", NOW)?;
                match n % 3 {
                    0 => Ok(()),
                    1 => Err(StoreError::Damaged("as wished".to_owned())),
                    _ => panic!("as wished"),
                }
            };
            catch_unwind(AssertUnwindSafe(|| store.write(change))).map(|r| r.is_ok()).unwrap_or(false)
        });
        for (n, ok) in results.into_iter().enumerate() {
            assert_eq!(ok, n % 3 == 0, "{n}");
        }
        assert_eq!(read(&store, |v| v.mailbox(&user("ann"))).len(), 10);
        assert_eq!(remains(&store), (10, 10, 0));
    }

    #[test]
    fn a_failed_commit_is_told_to_all_who_share_it_and_the_next_one_works() {
        let (_folder, store) = open();
        let broken = AtomicBool::new(false);
        let results = together(&store, 5, |n| {
            store.write(|change| {
                change.keep_bytes(&pattern(100_000)).and_then(|id| change.deliver(&user("ann"), id, "", NOW))?;
                // The second and later ones find the transaction gone, as after an error that SQLite cannot contain.
                if n == 4 && !broken.swap(true, Ordering::SeqCst) {
                    change.connection.execute_batch("ROLLBACK").expect("a transaction");
                }
                Ok::<_, StoreError>(())
            })
        });
        let failed = results.iter().filter(|r| r.is_err()).count();
        assert!(failed >= 1);
        assert_eq!(read(&store, |v| v.mailbox(&user("ann"))).len(), 5 - failed);
        assert_eq!(remains(&store), (5 - failed as i64, 5 - failed, 0));
        queue_mail(&store, "hub", 'C', b"x");
        assert_eq!(items(&store), 1);
    }

    #[test]
    fn a_full_database_is_told_to_all_and_there_is_nothing_to_clear_away() {
        let (_folder, store) = open();
        let pages_max = |n: i64| write(&store, |c| c.row(&format!("PRAGMA max_page_count = {n}"), [], |_| Ok(())));
        queue_mail(&store, "hub", 'C', b"x");
        let before = remains(&store);
        pages_max(1);
        let results = together(&store, 6, |n| {
            store.write(|change| {
                let body = change.keep_bytes(&pattern(if n % 2 == 0 { 60_000 } else { 100_000 }))?;
                change.keep_bytes(&pattern(60_000)).and_then(|id| change.deliver(&user("ann"), id, "", NOW))?;
                change.deliver(&user("ann"), body, "", NOW)
            })
        });
        for result in results {
            assert!(matches!(result, Err(StoreError::Full(_))), "{result:?}");
        }
        assert_eq!(remains(&store), before);
        pages_max(1 << 30);
        queue_mail(&store, "hub", 'C', &pattern(60_000));
        assert_eq!(items(&store), 2);
    }

    #[test]
    fn threads_and_handles_do_not_lose_each_others_changes() {
        let (folder, store) = open();
        let other = Store::open(folder.path()).expect("the same store");
        thread::scope(|scope| {
            for store in [&store, &store, &other, &other] {
                scope.spawn(move || {
                    for _ in 0..50 {
                        queue_mail(store, "hub", 'C', b"x");
                    }
                });
            }
        });
        assert_eq!(items(&store), 200);
        assert!(commits(&store) + commits(&other) <= 201);
    }

    #[test]
    fn a_write_within_a_write_is_our_fault_and_said_so() {
        let (_folder, store) = open();
        let nested = catch_unwind(AssertUnwindSafe(|| write(&store, |_| Ok(queue_mail(&store, "hub", 'C', b"x")))));
        assert!(nested.is_err());
        queue_mail(&store, "hub", 'C', b"x");
        assert_eq!(items(&store), 1);
    }
}
