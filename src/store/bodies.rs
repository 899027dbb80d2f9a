//! Bodies: the bytes of messages, articles and files, kept once and counted.

use std::fs::File;
use std::io;
use std::path::Path;
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
    /// A synced file at `target` (in the public directory), in place of one that is there.
    pub fn copy_to(&self, target: &Path, mode: u32) -> io::Result<()> {
        self.spill.copy_to(target, mode)
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
    /// Writes all of it.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut piece = vec![0; BODY_INLINE_MAX];
        let mut at = 0;
        loop {
            let count = self.read_at(at, &mut piece)?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&piece[..count])?;
            at += count as u64;
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
    /// Whether two bodies have the same bytes.
    pub fn are_equal(&self, one: BodyId, other: BodyId) -> Result<bool, StoreError> {
        let (one, other) = (self.body(one)?, self.body(other)?);
        let [mut ours, mut theirs] = [0, 1].map(|_| vec![0; BODY_INLINE_MAX]);
        let mut at = 0;
        while one.len == other.len && at < one.len {
            let mut read = || Ok((one.read_at(at, &mut ours)?, other.read_at(at, &mut theirs)?));
            let (count, as_many) = read().map_err(|e| StoreError::io(&self.disk.spool, e))?;
            if count == 0 || ours[..count] != theirs[..as_many] {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(one.len == other.len)
    }

    /// Opens a body. One that another thread or process has just released may be gone: `Io` of kind `NotFound`.
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

    /// The same for bytes in memory.
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::testing::*;
    use super::*;

    fn check_body(body: &Body, expected: &[u8]) {
        assert_eq!(body.len(), expected.len() as u64);
        assert!(body.bytes(expected.len() as u64).expect("readable") == expected);
        let mut middle = [0; 7];
        let offset = expected.len() / 2;
        let n = body.read_at(offset as u64, &mut middle).expect("readable");
        assert_eq!(middle[..n], expected[offset..expected.len().min(offset + 7)]);
        assert_eq!(body.read_at(expected.len() as u64 + 5, &mut middle).expect("the end"), 0);
    }

    #[test]
    fn bodies_of_all_sizes_come_back_and_go_with_the_last_who_counts_them() {
        for size in [0, 1, BODY_INLINE_MAX, BODY_INLINE_MAX + 1, 1_000_000] {
            let bytes = pattern(size);
            let (folder, store) = open();
            let mut draft = store.draft();
            bytes.chunks(4096).for_each(|piece| draft.write_all(piece).expect("room"));
            draft.seal().expect("synced");
            let numbers = write(&store, |change| {
                let id = change.keep(draft)?;
                Ok([change.deliver(&user("ann"), id, "", NOW)?, change.deliver(&user("bob"), id, "", NOW)?])
            });
            drop(store);
            let store = super::super::Store::open(folder.path()).expect("the same store");
            let large = usize::from(size > BODY_INLINE_MAX);
            assert_eq!(remains(&store), (2 - large as i64, large, 0), "{size}");
            let entry = read(&store, |v| v.mail_entry(&user("ann"), numbers[0])).expect("a message");
            assert_eq!(entry.size, size as u64);
            let body = read(&store, |v| v.body(entry.body));
            check_body(&body, &bytes);
            assert!(write(&store, |c| c.remove_mail(&user("ann"), numbers[0])));
            check_body(&read(&store, |v| v.body(entry.body)), &bytes);
            assert!(write(&store, |c| c.remove_mail(&user("bob"), numbers[1])));
            assert_eq!(remains(&store), (0, 0, 0), "{size}");
            // Who has it open goes on reading.
            check_body(&body, &bytes);
        }
    }

    #[test]
    fn a_draft_leaves_nothing_unless_somebody_counts_it() {
        let (_folder, store) = open();
        for counted in [false, true] {
            let mut draft = store.draft();
            draft.write_all(&pattern(200_000)).expect("room");
            assert_eq!(remains(&store).2, 1);
            let result = store.write(|change| {
                let id = change.keep(draft)?;
                change.keep_bytes(b"small")?;
                if counted {
                    change.deliver(&user("ann"), id, "", NOW)?;
                    return Err(StoreError::Damaged("as wished".to_owned()));
                }
                Ok(())
            });
            assert_eq!(result.is_ok(), !counted);
            assert_eq!(remains(&store), (0, 0, 0));
        }
        drop(store.draft().write_all(&pattern(200_000)));
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn a_body_that_is_missing_or_too_large_is_an_error() {
        let (_folder, store) = open();
        let number = write(&store, |c| {
            let id = c.keep_bytes(&pattern(100_000))?;
            c.deliver(&user("ann"), id, "", NOW)
        });
        let id = read(&store, |v| v.mail_entry(&user("ann"), number)).expect("a message").body;
        assert!(read(&store, |v| v.body(id)).bytes(99_999).is_err());
        assert!(matches!(store.read(|v| v.body(BodyId(id.0 + 1))), Err(StoreError::Damaged(_))));
        let file = std::fs::read_dir(store.spool().join("bodies")).expect("a folder").next().expect("a file");
        std::fs::write(file.expect("a file").path(), b"short").expect("writable");
        assert!(matches!(store.read(|v| v.body(id)), Err(StoreError::Damaged(_))));
        assert!(store.write(|c| c.deliver(&user("ann"), BodyId(99), "", NOW)).is_err());
    }

    #[test]
    fn the_next_start_removes_what_a_killed_process_left() {
        let (folder, store) = open();
        write(&store, |c| {
            let id = c.keep_bytes(&pattern(100_000))?;
            c.deliver(&user("ann"), id, "", NOW)
        });
        let mut in_work = store.draft();
        in_work.write_all(&pattern(100_000)).expect("room");
        for left in ["bodies/0123", "partial/4567"] {
            std::fs::write(folder.path().join(left), b"x").expect("writable");
        }
        // Another process starts while this one has a draft in work.
        let other = super::super::Store::open(folder.path()).expect("the same store");
        assert_eq!(remains(&other), (1, 1, 1));
        write(&store, |c| {
            let id = c.keep(in_work)?;
            c.deliver(&user("ann"), id, "", NOW)
        });
        assert_eq!(remains(&other), (2, 2, 0));
    }
}
