//! Files for other programs: Maildir, the public directory: write, sync, rename.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

mod glob;
pub mod maildir;
pub mod public;

/// What can go wrong with a file for another program.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The name leads out of where it may lead, whatever the disk says: never try again.
    #[error("`{name}` is not permitted: {why}")]
    NotPermitted { name: String, why: &'static str },
    /// No space, no such folder, no right to write there: it may work later.
    #[error("cannot write {path}")]
    CannotCreate { path: PathBuf, source: io::Error },
    /// Not there, or not readable.
    #[error("cannot read {path}")]
    CannotRead { path: PathBuf, source: io::Error },
}

impl FileError {
    fn create(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::CannotCreate { path: path.to_owned(), source: source.into() }
    }

    fn read(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::CannotRead { path: path.to_owned(), source: source.into() }
    }

    /// Whether the file, or the folder for it, is not there.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::CannotRead { source, .. } | Self::CannotCreate { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            Self::NotPermitted { .. } => false,
        }
    }

    /// Whether it is for want of space: a temporary failure for whoever is sending.
    pub fn is_full(&self) -> bool {
        match self {
            Self::NotPermitted { .. } => false,
            Self::CannotCreate { source, .. } | Self::CannotRead { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            ),
        }
    }
}

/// Makes a folder, and those above it that are missing, so that what is written into it survives a power cut.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    match make_folder(folder, 0o777) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_folders(above(folder)?)?;
            make_folder(folder, 0o777)
        }
        made => made,
    }
}

/// Makes a folder that may be there already; the name of a new one is synced.
fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => sync_folder(above(folder)?),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

fn above(folder: &Path) -> io::Result<&Path> {
    match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(above) => Ok(above),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Adds a line to a file that other programs read. It is made if it is not there; a lost line is no harm.
pub fn append(path: &Path, line: &str) -> Result<(), FileError> {
    let open = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    open.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|e| FileError::create(path, e))
}

/// Writes and syncs a file, replacing the leftover of an earlier try.
fn write_synced(path: &Path, bytes: &mut dyn Read, mode: u32) -> io::Result<u64> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    let written = io::copy(bytes, &mut file)?;
    file.sync_all()?;
    Ok(written)
}

/// Syncs a folder: only then do the names in it survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
