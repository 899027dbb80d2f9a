//! The folder in which a program of a site runs: its files under the names that it has for them, and nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::disk::fresh_name;
use super::{Body, Store, StoreError};

/// An empty folder below the spool, and files beside it. Gone when it is dropped, or when the next one is made.
pub struct Workroom<'s> {
    store: &'s Store,
    top: PathBuf,
    folder: PathBuf,
    home: PathBuf,
}

impl Store {
    /// Only for who holds the lock of unpacking: there is one.
    pub fn workroom(&self) -> Result<Workroom<'_>, StoreError> {
        let top = self.inner.disk.spool.join("running");
        let (folder, home) = (top.join("files"), top.join("home"));
        let made = self.clear(&top).and_then(|()| {
            for path in [&top, &folder, &home] {
                DirBuilder::new().mode(0o700).create(path)?;
                self.inner.disk.owner.give_path(path)?;
            }
            Ok(())
        });
        made.map_err(|e| StoreError::io(&top, e))?;
        Ok(Workroom { store: self, top, folder, home })
    }

    /// Programs of all sites need this place, so what cannot be removed is put aside.
    fn clear(&self, top: &Path) -> io::Result<()> {
        // Root needs no permission, and must change none where another user may put a link in the way.
        let unlocked = |error| if nix::unistd::geteuid().is_root() { Err(error) } else { unlock(top) };
        let removed = remove(top).or_else(|error| unlocked(error).and_then(|()| remove(top)));
        let Err(error) = removed else { return Ok(()) };
        let aside = self.inner.disk.spool.join(format!("left-{}", fresh_name()?));
        fs::rename(top, &aside)?;
        tracing::error!(folder = %aside.display(), %error, "cannot remove what a program has left: remove it by hand");
        Ok(())
    }

    /// As whom programs are to run: root works for whoever the spool belongs to.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.inner.disk.owner.id()
    }
}

fn remove(top: &Path) -> io::Result<()> {
    match fs::remove_dir_all(top) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How a file is made here. What an earlier program has left running may put a link in its place.
fn anew() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    options
}

/// Programs, such as those that unpack archives, leave folders which their owner may not change. No link is followed.
fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

impl Workroom<'_> {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder that stays empty for it: beside it, a file of the site would be taken for settings (`.curlrc`, `.mailrc`).
    pub fn home(&self) -> &Path {
        &self.home
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
        let made = anew().read(true).open(&path);
        // Who opens `/dev/stdout` opens it once more, as who they are.
        let given = made.and_then(|file| self.store.inner.disk.owner.give(&file).map(|()| file));
        given.map_err(|e| StoreError::io(&path, e))
    }

    fn fill(&self, path: &Path, body: &Body) -> io::Result<()> {
        let mut out = anew().open(path)?;
        self.store.inner.disk.owner.give(&out)?;
        body.write_to(&mut out)
    }
}

impl Drop for Workroom<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.store.clear(&self.top) {
            tracing::warn!(folder = %self.top.display(), %error, "cannot clear away what a program has left");
        }
    }
}
