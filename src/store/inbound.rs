//! What arrives over UUCP: partial files with their restart points, receipts, and received files that wait to be unpacked.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Row, params};

use super::bodies::full_is_full;
use super::disk::{Place, Settled, Spill, SpoolFile};
use super::ledger::Fact;
use super::rows::{PurposeRow, count, from_json, integer, json};
use super::{BodyId, Change, Store, StoreError, View};
use crate::base::limits::{BODY_INLINE_MAX, PARTIAL_UNSYNCED_MAX};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;
use crate::base::wishes::Reports;
use crate::base::words::with_causes;

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
    Execute { command: String, user: String, requestor: Option<String>, reports: Reports },
    /// A spool file, `D.x` or `X.x`: waits for its partner.
    Spool { name: String },
}

impl Purpose {
    /// Its name, if it is a spool file.
    fn spool(&self) -> Option<&str> {
        match self {
            Self::Spool { name } => Some(name),
            Self::Execute { .. } => None,
        }
    }
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

impl Announced {
    /// What tells this file from others of the site, if the peer says enough of it: name and size. (A DOS peer that
    /// restarts its counter gives old names to new files.)
    fn identity(&self) -> Option<(&str, i64)> {
        Some((self.temp.as_deref()?, integer(self.size?)))
    }
}

/// A file being received. Held in memory to `BODY_INLINE_MAX`, then in the partial file; when it is dropped
/// unfinished, what has come is written to the partial file, so that the next call goes on from there.
///
/// Dropping it may write to the store: not within a `Store::write`.
pub struct Receiving {
    store: Store,
    file: Announced,
    begun: Timestamp,
    spill: Spill,
    /// Bytes that a committed row says are in the partial file.
    synced: u64,
    /// What has come may be gone on with: the peer restarts, so it is certain of the bytes it has sent.
    restart: bool,
    /// Committed, or beyond saving: nothing is to be kept for a restart.
    done: bool,
}

impl Receiving {
    /// Bytes that are here already: the restart point.
    pub fn kept(&self) -> u64 {
        self.spill.len()
    }

    /// Forgets what was kept: the peer does not restart.
    pub fn truncate(&mut self) -> io::Result<()> {
        // The row of the old partial file, if there is one, stays true until a new one takes its place.
        self.spill = Spill::new(&self.store.inner.disk);
        self.synced = 0;
        Ok(())
    }

    /// Bytes at their place in the file, which is the end or before it. A full disk is `ErrorKind::StorageFull`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.spill.write_at(offset, bytes).map_err(full_is_full)?;
        // What is not synced is lost in a power cut: a quarter of the file at most, and not more than the limit.
        let unsynced = self.spill.len().saturating_sub(self.synced);
        let unsynced_max = (self.synced / 4).clamp(BODY_INLINE_MAX as u64, PARTIAL_UNSYNCED_MAX);
        if unsynced > unsynced_max && self.restart && self.file.identity().is_some() {
            self.note_partial()?;
        }
        Ok(())
    }

    /// Bytes that are here by now.
    pub fn len(&self) -> u64 {
        self.spill.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Durable with its purpose and a receipt in doubt, in one transaction. Only then may the peer be told. After an
    /// error what has come is kept for a restart.
    pub fn commit(mut self, purpose: Purpose, now: Timestamp) -> Result<ReceivedId, StoreError> {
        let len = self.len();
        let settled = self.settle()?;
        let committed = self.store.write(|change| {
            let body = match &settled {
                Settled::Inline(bytes) => change.keep_bytes(bytes)?,
                Settled::File(name) => change.keep_file(name, len)?,
            };
            change.count_body(body)?;
            change.note_receipt(&self.file, now)?;
            let sql = "INSERT INTO received (site, purpose, spool, body, received, not_before)
                       VALUES (?, ?, ?, ?, ?, ?)";
            let row = params![self.file.site, json(&PurposeRow::from(&purpose)), purpose.spool(), body, now, now];
            let id = change.insert(sql, row).map(ReceivedId)?;
            if let Purpose::Spool { .. } = purpose {
                // Execution files of the site may have waited for this one.
                let sql = "UPDATE received SET not_before = min(not_before, ?2)
                           WHERE site = ?1 AND spool IS NOT NULL AND not_before > ?2";
                change.execute(sql, params![self.file.site, now])?;
            }
            Ok(id)
        });
        match &committed {
            Ok(_) => self.finish(&settled),
            Err(error) => self.take_back(&settled, error),
        }
        committed
    }

    /// Moves the bytes, synced, to `target` (for files that go to the public directory), with a receipt in doubt and a line in
    /// the ledger; `also` is part of that change. The folder must be there; a file that is there is replaced. Of `mode` the
    /// permission bits count.
    pub fn commit_to_file(
        mut self,
        target: &Path,
        mode: u32,
        fact: Fact,
        also: impl FnOnce(&mut Change<'_>) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        self.spill.copy_to(target, mode & 0o777).map_err(|e| StoreError::io(target, e))?;
        self.store.write(|change| {
            change.note_receipt(&self.file, fact.at)?;
            change.record(fact)?;
            also(change)
        })?;
        self.done = true;
        if let Some(file) = self.spill.file() {
            file.abandon();
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Settled, StoreError> {
        let disk = &self.store.inner.disk;
        self.spill.settle().map_err(|e| StoreError::io(&disk.path(Place::Partial, ""), e))
    }

    /// The row that names the file is committed; a partial file whose bytes went into the database is not needed.
    fn finish(&mut self, settled: &Settled) {
        self.done = true;
        if let Some(file) = self.spill.file() {
            match settled {
                Settled::Inline(_) => file.abandon(),
                Settled::File(_) => file.retain(),
            }
        }
    }

    /// The row is not committed: back to a partial file. After an error other than a full disk nobody knows what a
    /// power cut would bring back (see `commit`), so the file stays for whoever opens the store next.
    fn take_back(&mut self, settled: &Settled, error: &StoreError) {
        let Settled::File(_) = settled else { return };
        let Some(file) = self.spill.file() else { return };
        let moved = match error {
            StoreError::Full(_) => file.unseal(),
            StoreError::Io { .. } | StoreError::Database { .. } => Err(io::ErrorKind::Other.into()),
            StoreError::Schema { .. } | StoreError::Damaged(_) => file.unseal(),
        };
        if moved.is_err() {
            file.retain();
            self.done = true;
        }
    }

    /// Syncs what has come and notes it, so that another call can go on from here.
    fn note_partial(&mut self) -> io::Result<()> {
        let Some((temp, size)) = self.file.identity() else { return Ok(()) };
        let len = self.spill.len();
        let file = self.spill.in_file().map_err(full_is_full)?;
        file.sync().map_err(full_is_full)?;
        let name = file.name().to_owned();
        if self.synced == 0 {
            self.spill.sync_name()?;
        }
        let (site, wanted, begun) = (&self.file.site, &self.file.to, self.begun);
        self.store.write(|change| {
            change.forget_partial(site, temp, &name)?;
            let sql = "INSERT INTO partial (site, temp, size, wanted, file, len, touched) VALUES (?, ?, ?, ?, ?, ?, ?)";
            change.execute(sql, params![site, temp, size, wanted, name, integer(len), begun]).map(drop)
        })?;
        self.spill.in_file()?.retain();
        self.synced = len;
        Ok(())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.done || !self.restart || self.spill.len() <= self.synced || self.store.inner.committer.is_running_here()
        {
            return;
        }
        if let Err(error) = self.note_partial() {
            tracing::warn!(site = %self.file.site, error = with_causes(&error), "cannot keep the beginning of a file for the next call");
        }
    }
}

fn received(row: &Row<'_>) -> rusqlite::Result<(Received, String)> {
    let received = Received {
        id: row.get("id")?,
        site: row.get("site")?,
        purpose: Purpose::Spool { name: String::new() },
        body: row.get("body")?,
        size: count(row, "size")?,
        received: row.get("received")?,
        progress: count(row, "progress")?,
        attempts: row.get("attempts")?,
        not_before: row.get("not_before")?,
    };
    Ok((received, row.get("purpose")?))
}

fn whole((received, purpose): (Received, String)) -> Result<Received, StoreError> {
    Ok(Received { purpose: from_json::<PurposeRow>(&purpose)?.into(), ..received })
}

const RECEIVED: &str = "SELECT received.id, site, purpose, body, size, received, progress, attempts, not_before
    FROM received JOIN body ON body.id = received.body";

impl Store {
    /// Begins to receive; finds what an earlier call left if `restart` and the announced size agree.
    pub fn receive(&self, file: &Announced, restart: bool, now: Timestamp) -> Result<Receiving, StoreError> {
        let left = match file.identity() {
            Some((temp, size)) if restart => self.read(|view| view.partial(file, temp, size, now))?,
            Some(_) | None => None,
        };
        let disk = &self.inner.disk;
        let resumed = left.and_then(|(name, len)| {
            let spill = Spill::resume(SpoolFile::resume(disk, &name)?, len).ok()?;
            Some((spill, len))
        });
        let (spill, synced) = resumed.unwrap_or_else(|| (Spill::new(disk), 0));
        Ok(Receiving { store: self.clone(), file: file.clone(), begun: now, spill, synced, restart, done: false })
    }
}

impl View<'_> {
    /// Name and length of the partial file for this very file.
    fn partial(
        &self,
        file: &Announced,
        temp: &str,
        size: i64,
        now: Timestamp,
    ) -> Result<Option<(String, u64)>, StoreError> {
        let sql = "SELECT file, len FROM partial
                   WHERE site = ? AND temp = ? AND size = ? AND wanted = ? AND touched >= ? AND len <= size";
        let row = params![file.site, temp, size, file.to, now - KEPT];
        self.row(sql, row, |row| Ok((row.get("file")?, count(row, "len")?)))
    }

    /// Temporary name and length of the youngest partial file whose name begins so and that is to become `wanted`.
    pub fn partial_named(
        &self,
        site: &SiteName,
        begins: &str,
        wanted: &str,
        now: Timestamp,
    ) -> Result<Option<(String, u64)>, StoreError> {
        let sql = "SELECT temp, len FROM partial
                   WHERE site = ?1 AND substr(temp, 1, length(?2)) = ?2 AND wanted = ?3 AND touched >= ?4 AND len <= size
                   ORDER BY touched DESC LIMIT 1";
        self.row(sql, params![site, begins, wanted, now - KEPT], |row| Ok((row.get("temp")?, count(row, "len")?)))
    }

    /// Whether this very file (temporary name and size) was received whole and its confirmation is still in doubt.
    pub fn is_received_in_doubt(&self, file: &Announced, now: Timestamp) -> Result<bool, StoreError> {
        let Some((temp, size)) = file.identity() else { return Ok(false) };
        let sql = "SELECT 1 FROM receipt WHERE site = ? AND temp = ? AND size = ? AND received >= ?";
        Ok(self.row(sql, params![file.site, temp, size, now - KEPT], |_| Ok(()))?.is_some())
    }

    /// Files that wait to be unpacked and may be tried now, oldest first.
    pub fn received(&self, now: Timestamp, limit: usize) -> Result<Vec<Received>, StoreError> {
        let sql = format!("{RECEIVED} WHERE not_before <= ? ORDER BY received.id LIMIT ?");
        let files = self.rows(&sql, params![now, integer(limit as u64)], received)?;
        files.into_iter().map(whole).collect()
    }

    /// A spool file of this site by name (`D.betaN0001`); the oldest, if a peer has used the name again.
    pub fn received_spool(&self, site: &SiteName, name: &str) -> Result<Option<Received>, StoreError> {
        let sql = format!("{RECEIVED} WHERE site = ? AND spool = ? ORDER BY received.id LIMIT 1");
        self.row(&sql, params![site, name], received)?.map(whole).transpose()
    }
}

impl Change<'_> {
    /// The peer has gone on after our `CY` (or the session ended in order): nothing of this site is in doubt any more.
    pub fn settle_receipts(&mut self, site: &SiteName) -> Result<(), StoreError> {
        self.execute("DELETE FROM receipt WHERE site = ?", [site]).map(drop)
    }

    /// How far unpacking has come, in the change that brought it there.
    pub fn note_progress(&mut self, id: ReceivedId, progress: u64) -> Result<(), StoreError> {
        self.execute("UPDATE received SET progress = ? WHERE id = ?", params![integer(progress), id]).map(drop)
    }

    /// From now on it is there for this by itself, from its beginning, and no file beside it.
    pub fn set_purpose(&mut self, id: ReceivedId, purpose: &Purpose) -> Result<(), StoreError> {
        let sql = "UPDATE received SET purpose = ?, spool = ?, progress = 0 WHERE id = ?";
        self.execute(sql, params![json(&PurposeRow::from(purpose)), purpose.spool(), id]).map(drop)
    }

    /// Not now: counts an attempt, notes why, and waits until `until`.
    pub fn defer_received(&mut self, id: ReceivedId, until: Timestamp, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE received SET attempts = attempts + 1, not_before = ?, last_error = ? WHERE id = ?";
        self.execute(sql, params![until, why, id]).map(drop)
    }

    /// Counts as having come at `since`, if it came earlier: what it waits with came then.
    pub fn renew_received(&mut self, id: ReceivedId, since: Timestamp) -> Result<(), StoreError> {
        self.execute("UPDATE received SET received = max(received, ?) WHERE id = ?", params![since, id]).map(drop)
    }

    /// Unpacked: gone.
    pub fn finish_received(&mut self, id: ReceivedId) -> Result<(), StoreError> {
        match self.row("DELETE FROM received WHERE id = ? RETURNING body", [id], |row| row.get(0))? {
            Some(body) => self.release_body(body),
            None => Ok(()),
        }
    }

    /// Cannot be unpacked: into the dead letters, bytes and all.
    pub fn bury_received(&mut self, id: ReceivedId, why: &str, now: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT INTO dead (at, why, size, body, site, purpose, spool, progress)
                   SELECT ?, ?, body.size, received.body, site, purpose, spool, progress
                   FROM received JOIN body ON body.id = received.body WHERE received.id = ?";
        self.execute(sql, params![now, why, id])?;
        // The dead letter takes over the share in the body.
        self.execute("DELETE FROM received WHERE id = ?", [id]).map(drop)
    }

    /// The file is here: it may be offered again if our confirmation does not reach the peer, and its partial file is
    /// of no use. What is older than a week goes on this occasion.
    fn note_receipt(&mut self, file: &Announced, now: Timestamp) -> Result<(), StoreError> {
        if let Some((temp, size)) = file.identity() {
            self.forget_partial(&file.site, temp, "")?;
            let sql = "INSERT OR REPLACE INTO receipt (site, temp, size, received) VALUES (?, ?, ?, ?)";
            self.execute(sql, params![file.site, temp, size, now])?;
        }
        self.execute("DELETE FROM receipt WHERE received < ?", [now - KEPT])?;
        let sql = "DELETE FROM partial WHERE touched < ? RETURNING file";
        for name in self.rows(sql, [now - KEPT], |row| row.get(0))? {
            self.effects.doomed.push((Place::Partial, name));
        }
        Ok(())
    }

    /// Removes the row of a partial file, and the file itself unless it is the one that is still in use.
    pub fn forget_partial(&mut self, site: &SiteName, temp: &str, in_use: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM partial WHERE site = ? AND temp = ? RETURNING file";
        if let Some(name) = self.row(sql, params![site, temp], |row| row.get::<_, String>(0))?
            && name != in_use
        {
            self.effects.doomed.push((Place::Partial, name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::*;
    use super::*;

    const WEEK: i64 = 7 * 24 * 3600;

    fn announced(temp: &str, size: u64) -> Announced {
        let temp = Some(temp.to_owned());
        Announced { site: site("hub"), temp, size: Some(size), to: "D.hubN0001".to_owned() }
    }

    fn file_came() -> Fact {
        Fact { at: NOW, verb: "received", what: "file", ..Fact::default() }
    }

    fn begin(store: &Store, file: &Announced, now: Timestamp) -> Receiving {
        store.receive(file, true, now).expect("room")
    }

    fn feed(receiving: &mut Receiving, bytes: &[u8], to: usize) {
        let from = receiving.len() as usize;
        for (n, piece) in bytes[from..to].chunks(1000).enumerate() {
            receiving.write((from + n * 1000) as u64, piece).expect("room");
        }
    }

    fn spool() -> Purpose {
        Purpose::Spool { name: "D.hubN0001".to_owned() }
    }

    fn check_received(store: &Store, bytes: &[u8]) {
        let files = read(store, |v| v.received(NOW, 9));
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].size, bytes.len() as u64);
        assert!(read(store, |v| v.body(files[0].body)).bytes(1 << 20).expect("readable") == bytes);
        let large = usize::from(bytes.len() > BODY_INLINE_MAX);
        assert_eq!(remains(store), (2 - large as i64, large, 0));
    }

    #[test]
    fn a_file_comes_whole_in_one_call() {
        for size in [0, 1, BODY_INLINE_MAX, BODY_INLINE_MAX + 1, 300_000] {
            let (_folder, store) = open();
            let bytes = pattern(size);
            let mut receiving = begin(&store, &announced("D.1", size as u64), NOW);
            assert_eq!(receiving.kept(), 0);
            feed(&mut receiving, &bytes, size);
            receiving.commit(spool(), NOW).expect("committed");
            check_received(&store, &bytes);
        }
    }

    #[test]
    fn a_second_call_goes_on_where_the_first_broke_off_even_after_a_restart() {
        for (size, cut) in [(1000, 500), (100_000, 10), (100_000, 65_000), (100_000, 99_999), (600_000, 450_000)] {
            let (folder, store) = open();
            let bytes = pattern(size);
            let file = announced("D.1", size as u64);
            let mut receiving = begin(&store, &file, NOW);
            feed(&mut receiving, &bytes, cut / 2);
            drop(receiving);
            let mut receiving = begin(&store, &file, NOW);
            assert_eq!(receiving.kept(), cut as u64 / 2);
            feed(&mut receiving, &bytes, cut);
            drop(receiving);
            drop(store);
            let store = Store::open(folder.path()).expect("the same store");
            let mut receiving = begin(&store, &file, NOW);
            assert_eq!(receiving.kept(), cut as u64, "{size}");
            feed(&mut receiving, &bytes, size);
            receiving.commit(spool(), NOW).expect("committed");
            check_received(&store, &bytes);
            assert_eq!(begin(&store, &file, NOW).kept(), 0);
        }
    }

    #[test]
    fn only_the_same_file_is_gone_on_with() {
        let bytes = pattern(100_000);
        let first = announced("D.1", 200_000);
        for (file, restart, now, expected) in [
            (first.clone(), true, NOW, 100_000),
            (first.clone(), true, later(WEEK), 100_000),
            (first.clone(), true, later(WEEK + 1), 0),
            (first.clone(), false, NOW, 0),
            (announced("D.2", 200_000), true, NOW, 0),
            (announced("D.1", 200_001), true, NOW, 0),
            (Announced { size: None, ..first.clone() }, true, NOW, 0),
            (Announced { temp: None, ..first.clone() }, true, NOW, 0),
            (Announced { site: site("leaf"), ..first.clone() }, true, NOW, 0),
            (Announced { to: "D.other".to_owned(), ..first.clone() }, true, NOW, 0),
        ] {
            let (_folder, store) = open();
            feed(&mut begin(&store, &first, NOW), &bytes, 100_000);
            let receiving = store.receive(&file, restart, now).expect("room");
            assert_eq!(receiving.kept(), expected, "{file:?} {restart} {now}");
        }
    }

    #[test]
    fn what_cannot_be_told_from_other_files_is_not_kept() {
        let (_folder, store) = open();
        for file in
            [Announced { temp: None, ..announced("", 200_000) }, Announced { size: None, ..announced("D.1", 0) }]
        {
            feed(&mut begin(&store, &file, NOW), &pattern(100_000), 100_000);
            assert_eq!(remains(&store), (0, 0, 0));
        }
    }

    #[test]
    fn what_comes_by_a_protocol_without_restart_is_not_kept() {
        let (_folder, store) = open();
        let mut receiving = store.receive(&announced("D.1", 200_000), false, NOW).expect("room");
        feed(&mut receiving, &pattern(150_000), 150_000);
        drop(receiving);
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn a_peer_that_does_not_restart_begins_anew_and_the_old_part_goes() {
        let (_folder, store) = open();
        let file = announced("D.1", 150_000);
        feed(&mut begin(&store, &file, NOW), &pattern(100_000), 100_000);
        let mut receiving = begin(&store, &file, NOW);
        receiving.truncate().expect("forgotten");
        assert_eq!((receiving.kept(), receiving.is_empty()), (0, true));
        let bytes: Vec<u8> = pattern(150_000).into_iter().rev().collect();
        feed(&mut receiving, &bytes, 120_000);
        drop(receiving);
        assert_eq!(remains(&store).2, 1);
        let mut receiving = begin(&store, &file, NOW);
        feed(&mut receiving, &bytes, 150_000);
        receiving.commit(spool(), NOW).expect("committed");
        check_received(&store, &bytes);
    }

    #[test]
    fn a_killed_process_loses_little_of_a_long_file() {
        let (folder, store) = open();
        let bytes = pattern(1_000_000);
        let file = announced("D.1", 1_000_000);
        let mut receiving = begin(&store, &file, NOW);
        feed(&mut receiving, &bytes, 900_000);
        // Neither dropped nor committed, as if the power had gone: only its lock is let go.
        let copy = tempfile::tempdir().expect("a temporary folder");
        for name in ["bangpath.db", "bangpath.db-wal"] {
            fs::copy(folder.path().join(name), copy.path().join(name)).expect("copied");
        }
        fs::create_dir(copy.path().join("partial")).expect("a folder");
        for entry in fs::read_dir(folder.path().join("partial")).expect("a folder") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, copy.path().join("partial").join(path.file_name().expect("a name"))).expect("copied");
        }
        let revived = Store::open(copy.path()).expect("the store after the power cut");
        let mut again = begin(&revived, &file, NOW);
        assert!((700_000..=900_000).contains(&again.kept()), "{}", again.kept());
        feed(&mut again, &bytes, 1_000_000);
        again.commit(spool(), NOW).expect("committed");
        check_received(&revived, &bytes);
        // While the first is at it, nobody else gets its partial file.
        assert_eq!(begin(&store, &file, NOW).kept(), 0);
    }

    #[test]
    fn a_receipt_is_for_the_same_name_and_size_until_it_is_settled_or_a_week_old() {
        let (_folder, store) = open();
        let file = announced("D.1", 3);
        let mut receiving = begin(&store, &file, NOW);
        feed(&mut receiving, b"abc", 3);
        receiving.commit(spool(), NOW).expect("committed");
        let in_doubt = |file: &Announced, now| read(&store, |v| v.is_received_in_doubt(file, now));
        assert!(in_doubt(&file, NOW));
        assert!(in_doubt(&file, later(WEEK)));
        assert!(!in_doubt(&file, later(WEEK + 1)));
        assert!(!in_doubt(&announced("D.2", 3), NOW));
        assert!(!in_doubt(&announced("D.1", 4), NOW));
        assert!(!in_doubt(&Announced { site: site("leaf"), ..file.clone() }, NOW));
        assert!(!in_doubt(&Announced { size: None, ..file.clone() }, NOW));
        write(&store, |c| c.settle_receipts(&site("leaf")));
        assert!(in_doubt(&file, NOW));
        write(&store, |c| c.settle_receipts(&site("hub")));
        assert!(!in_doubt(&file, NOW));
    }

    #[test]
    fn after_a_week_partial_files_and_receipts_are_gone() {
        let (_folder, store) = open();
        feed(&mut begin(&store, &announced("D.1", 9999), NOW), &pattern(1000), 1000);
        begin(&store, &announced("D.2", 0), NOW).commit(spool(), NOW).expect("committed");
        assert_eq!(remains(&store).2, 1);
        begin(&store, &announced("D.3", 0), later(WEEK + 1)).commit(spool(), later(WEEK + 1)).expect("committed");
        assert_eq!(remains(&store).2, 0);
        let rows = read(&store, |v| v.rows("SELECT temp FROM receipt", [], |row| row.get::<_, String>(0)));
        assert_eq!(rows, ["D.3"]);
    }

    #[test]
    fn a_file_for_the_public_directory_gets_there_whole_with_its_receipt() {
        for size in [0, 10, 200_000] {
            let (_folder, store) = open();
            let public = tempfile::tempdir().expect("a temporary folder");
            let (file, bytes) = (announced("D.1", size as u64), pattern(size));
            let mut receiving = begin(&store, &file, NOW);
            feed(&mut receiving, &bytes, size / 2);
            drop(receiving);
            let mut receiving = begin(&store, &file, NOW);
            feed(&mut receiving, &bytes, size);
            let target = public.path().join("file");
            fs::write(&target, "an older one").expect("writable");
            receiving.commit_to_file(&target, 0o100_640, file_came(), |_| Ok(())).expect("committed");
            assert!(fs::read(&target).expect("a file") == bytes);
            assert_eq!(fs::metadata(&target).expect("a file").permissions().mode() & 0o7777, 0o640);
            assert_eq!(fs::read_dir(public.path()).expect("a folder").count(), 1);
            assert!(read(&store, |v| v.is_received_in_doubt(&file, NOW)));
            assert_eq!(read(&store, |v| v.ledger(0, 9)).len(), 1);
            assert_eq!(remains(&store), (0, 0, 0));
        }
    }

    #[test]
    fn a_file_that_cannot_be_put_in_its_place_is_kept_for_the_next_try() {
        let (_folder, store) = open();
        let file = announced("D.1", 200_000);
        let mut receiving = begin(&store, &file, NOW);
        feed(&mut receiving, &pattern(200_000), 200_000);
        let refused = receiving.commit_to_file(Path::new("/nowhere/at/all"), 0o644, file_came(), |_| Ok(()));
        assert!(matches!(refused, Err(StoreError::Io { .. })));
        assert!(!read(&store, |v| v.is_received_in_doubt(&file, NOW)));
        assert_eq!(read(&store, |v| v.ledger(0, 9)).len(), 0);
        assert_eq!(begin(&store, &file, NOW).kept(), 200_000);
    }

    #[test]
    fn received_files_wait_for_the_unpacker_in_the_order_of_their_coming() {
        let (_folder, store) = open();
        let receive =
            |temp: &str, purpose| begin(&store, &announced(temp, 0), NOW).commit(purpose, NOW).expect("committed");
        let (command, user, requestor) = ("rnews".to_owned(), "news".to_owned(), Some("a".to_owned()));
        let execute = Purpose::Execute { command, user, requestor, reports: Reports::Never };
        let (first, second) = (receive("D.1", spool()), receive("D.2", execute.clone()));
        let again = receive("D.3", spool());
        let ids = |now| read(&store, |v| v.received(now, 9)).iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(NOW), [first, second, again]);
        assert_eq!(ids(later(-1)), []);
        write(&store, |c| c.defer_received(first, later(60), "no X. file yet"));
        write(&store, |c| c.note_progress(second, 17));
        assert_eq!(ids(NOW), [second, again]);
        assert_eq!(ids(later(60)), [first, second, again]);
        let files = read(&store, |v| v.received(later(60), 9));
        assert_eq!((files[0].attempts, &files[1].purpose, files[1].progress), (1, &execute, 17));
        let spooled = |name| read(&store, |v| v.received_spool(&site("hub"), name)).map(|r| r.id);
        assert_eq!((spooled("D.hubN0001"), spooled("D.other")), (Some(first), None));
        // What it waits for may be what comes next.
        let partner = receive("D.4", spool());
        assert_eq!(ids(NOW), [first, second, again, partner]);
        write(&store, |c| c.finish_received(first));
        assert_eq!(spooled("D.hubN0001"), Some(again));
    }
}
