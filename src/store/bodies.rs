//! Bodies: the bytes of messages, articles and files, kept once and counted.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rusqlite::params;

use super::disk::{Disk, Place, Settled, Spill, copy_from, read_fully_at};
use super::rows::{count, integer};
use super::{Change, StoreError, View};
use crate::base::limits::BODY_INLINE_MAX;

/// Names a body in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub i64);

/// A body being written; nothing of it survives unless `Change::keep` takes it. Implements `io::Write`.
pub struct Draft {
    spill: Spill,
}

impl Draft {
    pub(super) fn new(disk: &Arc<Disk>) -> Self {
        Self { spill: Spill::new(disk) }
    }

    pub fn len(&self) -> u64 {
        self.spill.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads back from `offset`.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.spill.read_at(offset, out)
    }
    /// Syncs what is in a file, so that `keep` has nothing to wait for while others wait for it. Worth calling just
    /// before the `write` that keeps a draft that may be large; what is written after it is synced by `keep`.
    pub fn seal(&mut self) -> io::Result<()> {
        match self.spill.file() {
            Some(file) => file.sync(),
            None => Ok(()),
        }
    }
}

impl io::Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spill.write_at(self.spill.len(), bytes).map_err(full_is_full)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A quota or a limit on file sizes is to whoever is sending what a full disk is: try later.
pub(super) fn full_is_full(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => io::Error::new(io::ErrorKind::StorageFull, error),
        _ => error,
    }
}

/// A kept body, open for reading; stays readable after the transaction and after its item is gone.
pub struct Body {
    source: Source,
    len: u64,
}

enum Source {
    Memory(Vec<u8>),
    File(File),
}

impl Body {
    /// What has no body has an empty one.
    pub(super) fn empty() -> Self {
        Self { source: Source::Memory(Vec::new()), len: 0 }
    }

    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `out` from `offset`; fewer bytes only at the end.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        match &self.source {
            Source::Memory(bytes) => Ok(copy_from(bytes, offset, out)),
            Source::File(file) => read_fully_at(file, offset, out),
        }
    }
    /// All of it, for what is known to be small enough; an error above `max`.
    pub fn bytes(&self, max: u64) -> io::Result<Vec<u8>> {
        if self.len > max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes where {max} may be", self.len)));
        }
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        match self.read_at(0, &mut bytes)? == bytes.len() {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl View<'_> {
    /// A body that another process has just released may be gone with an error of kind `NotFound`.
    pub fn body(&self, id: BodyId) -> Result<Body, StoreError> {
        let sql = "SELECT size, file, bytes FROM body LEFT JOIN body_bytes USING (id) WHERE id = ?";
        let row = self.row(sql, [id], |row| {
            Ok((count(row, "size")?, row.get::<_, Option<String>>("file")?, row.get::<_, Option<Vec<u8>>>("bytes")?))
        })?;
        match row {
            Some((len, None, Some(bytes))) if bytes.len() as u64 == len => {
                Ok(Body { source: Source::Memory(bytes), len })
            }
            Some((len, Some(name), None)) => {
                let path = self.disk.path(Place::Bodies, &name);
                let file = File::open(&path).map_err(|e| StoreError::io(&path, e))?;
                let found = file.metadata().map_err(|e| StoreError::io(&path, e))?.len();
                match found == len {
                    true => Ok(Body { source: Source::File(file), len }),
                    false => Err(StoreError::Damaged(format!("{} has {found} bytes, not {len}", path.display()))),
                }
            }
            Some(_) => Err(StoreError::Damaged(format!("the bytes of body {} are not there", id.0))),
            None => Err(StoreError::Damaged(format!("no body {}", id.0))),
        }
    }

    /// Whether a row names this file.
    pub(super) fn names_file(&self, place: Place, name: &str) -> Result<bool, StoreError> {
        let sql = match place {
            Place::Bodies => "SELECT 1 FROM body WHERE file = ?",
            Place::Partial => "SELECT 1 FROM partial WHERE file = ?",
        };
        Ok(self.row(sql, [name], |_| Ok(()))?.is_some())
    }
}

impl Change<'_> {
    /// Makes a draft durable with this transaction. A file is synced first. The count starts at zero: whoever
    /// stores the id in an item, mailbox or article adds one (those functions do), and at zero again it goes.
    /// A body that nothing counts at the end of this change goes at once.
    pub fn keep(&mut self, mut draft: Draft) -> Result<BodyId, StoreError> {
        let len = draft.len();
        let settled = draft.spill.settle().map_err(|e| StoreError::io(&self.disk.spool, e))?;
        match settled {
            Settled::Inline(bytes) => self.keep_bytes(&bytes),
            Settled::File(name) => {
                self.effects.created.extend(draft.spill.take_file());
                self.keep_file(&name, len)
            }
        }
    }

    pub fn keep_bytes(&mut self, bytes: &[u8]) -> Result<BodyId, StoreError> {
        if bytes.len() > BODY_INLINE_MAX {
            let mut draft = Draft::new(self.disk);
            draft.spill.write_at(0, bytes).map_err(|e| StoreError::io(&self.disk.spool, e))?;
            return self.keep(draft);
        }
        let id = self.insert("INSERT INTO body (refs, size) VALUES (0, ?)", [integer(bytes.len() as u64)])?;
        self.execute("INSERT INTO body_bytes (id, bytes) VALUES (?, ?)", params![id, bytes])?;
        self.effects.kept.push(BodyId(id));
        Ok(BodyId(id))
    }

    /// A body that lies, synced, in this file.
    pub(super) fn keep_file(&mut self, name: &str, len: u64) -> Result<BodyId, StoreError> {
        let sql = "INSERT INTO body (refs, size, file) VALUES (0, ?, ?)";
        let id = BodyId(self.insert(sql, params![integer(len), name])?);
        self.effects.kept.push(id);
        Ok(id)
    }

    /// One more row names this body. Its size, for that row.
    pub(super) fn count_body(&mut self, id: BodyId) -> Result<u64, StoreError> {
        let sql = "UPDATE body SET refs = refs + 1 WHERE id = ? RETURNING size";
        let size = self.row(sql, [id], |row| count(row, "size"))?;
        size.ok_or_else(|| StoreError::Damaged(format!("no body {}", id.0)))
    }

    /// One row less names this body; the last takes it along.
    pub(super) fn release_body(&mut self, id: BodyId) -> Result<(), StoreError> {
        let refs =
            self.row("UPDATE body SET refs = refs - 1 WHERE id = ? RETURNING refs", [id], |row| count(row, "refs"))?;
        match refs {
            Some(0) => self.remove_body(id),
            Some(_) => Ok(()),
            None => Err(StoreError::Damaged(format!("no body {}", id.0))),
        }
    }

    fn remove_body(&mut self, id: BodyId) -> Result<(), StoreError> {
        self.execute("DELETE FROM body_bytes WHERE id = ?", [id])?;
        let file =
            self.row("DELETE FROM body WHERE id = ? RETURNING file", [id], |row| row.get::<_, Option<String>>(0))?;
        if let Some(name) = file.flatten() {
            self.effects.doomed.push((Place::Bodies, name));
        }
        Ok(())
    }

    /// Ends a change: bodies that it made and nothing names.
    pub(super) fn drop_unused_bodies(&mut self) -> Result<(), StoreError> {
        for id in std::mem::take(&mut self.effects.kept) {
            if self.row("SELECT 1 FROM body WHERE id = ? AND refs = 0", [id], |_| Ok(()))?.is_some() {
                self.remove_body(id)?;
            }
        }
        Ok(())
    }
}
