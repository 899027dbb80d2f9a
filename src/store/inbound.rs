//! What arrives over UUCP: partial files with their restart points, receipts, and received files that wait to be unpacked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Row, params};

use super::bodies::full_is_full;
use super::disk::{Place, Settled, Spill, SpoolFile, fresh_name, sync_folder};
use super::rows::{PurposeRow, count, from_json, integer, json};
use super::{BodyId, Change, Store, StoreError, View};
use crate::base::limits::{BODY_INLINE_MAX, PARTIAL_UNSYNCED_MAX};
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
        if unsynced > unsynced_max && self.file.identity().is_some() {
            self.note_partial()?;
        }
        Ok(())
    }

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
            let spool = match &purpose {
                Purpose::Spool { name } => Some(name),
                Purpose::Execute { .. } => None,
            };
            let row = params![self.file.site, json(&PurposeRow::from(&purpose)), spool, body, now, now];
            change.insert(sql, row).map(ReceivedId)
        });
        match &committed {
            Ok(_) => self.finish(&settled),
            Err(error) => self.take_back(&settled, error),
        }
        committed
    }

    /// Moves the bytes, synced, to `target` (for files that go to the public directory), with a receipt in doubt.
    /// The folder must be there; a file that is there is replaced. Of `mode` the permission bits count.
    pub fn commit_to_file(mut self, target: &Path, mode: u32, now: Timestamp) -> Result<(), StoreError> {
        self.copy_to(target, mode & 0o777).map_err(|e| StoreError::io(target, e))?;
        self.store.write(|change| change.note_receipt(&self.file, now))?;
        self.done = true;
        if let Some(file) = self.spill.file() {
            file.abandon();
        }
        Ok(())
    }

    fn copy_to(&self, target: &Path, mode: u32) -> io::Result<()> {
        let Some(folder) = target.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
        // Hidden from those who look into the folder: it is of no use to them before it is whole.
        let temporary = folder.join(format!(".bangpath-{}", fresh_name()?));
        let rename = || self.store.inner.disk.point(|| fs::rename(&temporary, target));
        let copied = self.fill(&temporary, mode).and_then(|()| rename());
        if copied.is_err() {
            // It may not even have been made.
            let _gone = fs::remove_file(&temporary);
        }
        copied?;
        sync_folder(folder)
    }

    fn fill(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut piece = vec![0; BODY_INLINE_MAX];
        let mut offset = 0;
        while offset < self.len() {
            let n = self.spill.read_at(offset, &mut piece)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&piece[..n])?;
            offset += n as u64;
        }
        out.set_permissions(fs::Permissions::from_mode(mode))?;
        File::sync_all(&out)
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
        let file = self.spill.to_file().map_err(full_is_full)?;
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
        self.spill.to_file()?.retain();
        self.synced = len;
        Ok(())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.done || self.spill.len() <= self.synced || self.store.inner.committer.is_running_here() {
            return;
        }
        if let Err(error) = self.note_partial() {
            tracing::warn!(site = %self.file.site, %error, "cannot keep the beginning of a file for the next call");
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
        Ok(Receiving { store: self.clone(), file: file.clone(), begun: now, spill, synced, done: false })
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

    pub fn note_progress(&mut self, id: ReceivedId, progress: u64) -> Result<(), StoreError> {
        self.execute("UPDATE received SET progress = ? WHERE id = ?", params![integer(progress), id]).map(drop)
    }

    /// Not now: counts an attempt, notes why, and waits until `until`.
    pub fn defer_received(&mut self, id: ReceivedId, until: Timestamp, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE received SET attempts = attempts + 1, not_before = ?, last_error = ? WHERE id = ?";
        self.execute(sql, params![until, why, id]).map(drop)
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
        let sql = "INSERT INTO dead (at, why, size, body, site, purpose, spool)
                   SELECT ?, ?, body.size, received.body, site, purpose, spool
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
    fn forget_partial(&mut self, site: &SiteName, temp: &str, in_use: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM partial WHERE site = ? AND temp = ? RETURNING file";
        if let Some(name) = self.row(sql, params![site, temp], |row| row.get::<_, String>(0))?
            && name != in_use
        {
            self.effects.doomed.push((Place::Partial, name));
        }
        Ok(())
    }
}
