//! The folder in which a program of a site runs: its files under the names that it has for them, and nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Body, Store, StoreError};
use crate::base::limits::BODY_INLINE_MAX;

/// An empty folder below the spool, and files beside it. Gone when it is dropped, or when the next one is made.
pub struct Workroom<'s> {
    store: &'s Store,
    top: PathBuf,
    folder: PathBuf,
}

impl Store {
    /// Only for who holds the lock of unpacking: there is one.
    pub fn workroom(&self) -> Result<Workroom<'_>, StoreError> {
        let top = self.inner.disk.spool.join("running");
        let folder = top.join("files");
        let made = clear(&top).and_then(|()| {
            for path in [&top, &folder] {
                DirBuilder::new().mode(0o700).create(path)?;
                self.inner.disk.owner.give_path(path)?;
            }
            Ok(())
        });
        made.map_err(|e| StoreError::io(&top, e))?;
        Ok(Workroom { store: self, top, folder })
    }

    /// As whom programs are to run: root works for whoever the spool belongs to.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.inner.disk.owner.id()
    }
}

fn clear(top: &Path) -> io::Result<()> {
    match fs::remove_dir_all(top) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Workroom<'_> {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file in the folder; one that is there is replaced. `name` is a plain one.
    pub fn put(&self, name: &str, body: &Body) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        debug_assert_eq!(path.parent(), Some(self.folder.as_path()), "a name leads out of the folder");
        self.fill(&path, body).map(drop).map_err(|e| StoreError::io(&path, e))
    }

    /// These bytes for reading, beside the folder.
    pub fn input(&self, body: &Body) -> Result<File, StoreError> {
        let path = self.top.join("input");
        self.fill(&path, body).and_then(|()| File::open(&path)).map_err(|e| StoreError::io(&path, e))
    }

    /// An empty file for writing and reading, beside the folder.
    pub fn scratch(&self, name: &str) -> Result<File, StoreError> {
        let path = self.top.join(name);
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        made.map_err(|e| StoreError::io(&path, e))
    }

    fn fill(&self, path: &Path, body: &Body) -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        self.store.inner.disk.owner.give(&out)?;
        let mut piece = vec![0; BODY_INLINE_MAX];
        let mut at = 0;
        loop {
            let count = body.read_at(at, &mut piece)?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&piece[..count])?;
            at += count as u64;
        }
    }
}

impl Drop for Workroom<'_> {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.top) {
            tracing::warn!(folder = %self.top.display(), %error, "cannot clear away what a program has left");
        }
    }
}
