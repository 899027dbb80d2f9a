//! Files beside the database: bodies, partial files and locks, in the order of syncs that a power cut allows.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;
use crate::base::limits::{BODY_INLINE_MAX, LOCK_NOTE_MAX};

/// How often a lock is tried that only those keep who ask whether it is held.
const PROBES_MAX: u32 = 1000;

/// The folders of one spool.
pub(super) struct Disk {
    pub spool: PathBuf,
    pub database: PathBuf,
    pub locks: PathBuf,
    partial: PathBuf,
    bodies: PathBuf,
    pub owner: Owner,
    points: Points,
}

/// Who gets the files that root makes: whoever the spool belongs to, or the daemon could not open what
/// `sudo bangpath queue list` has left. `None`: whoever makes them.
pub(super) struct Owner(Option<(u32, u32)>);

impl Owner {
    fn of(spool: &Path) -> io::Result<Self> {
        let facts = fs::metadata(spool)?;
        Ok(Self((nix::unistd::geteuid().is_root() && facts.uid() != 0).then(|| (facts.uid(), facts.gid()))))
    }

    /// User and group, where they are others than ours.
    pub fn id(&self) -> Option<(u32, u32)> {
        self.0
    }

    pub fn give(&self, file: &File) -> io::Result<()> {
        self.0.map_or(Ok(()), |(user, group)| std::os::unix::fs::fchown(file, Some(user), Some(group)))
    }

    pub fn give_path(&self, path: &Path) -> io::Result<()> {
        self.0.map_or(Ok(()), |(user, group)| std::os::unix::fs::lchown(path, Some(user), Some(group)))
    }
}

/// Where a file beside the database lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Being written, or left by a call that broke off.
    Partial,
    /// Whole and synced; a row names it, or soon will.
    Bodies,
}

impl Disk {
    /// Makes the folders that are missing.
    pub fn open(spool: &Path) -> Result<Self, StoreError> {
        make_folder(spool).map_err(|e| StoreError::io(spool, e))?;
        let disk = Self {
            owner: Owner::of(spool).map_err(|e| StoreError::io(spool, e))?,
            spool: spool.to_owned(),
            database: spool.join("bangpath.db"),
            locks: spool.join("locks"),
            partial: spool.join("partial"),
            bodies: spool.join("bodies"),
            points: Points::from_environment(),
        };
        for folder in [&disk.locks, &disk.partial, &disk.bodies] {
            let made = make_folder(folder).and_then(|()| disk.owner.give_path(folder));
            made.map_err(|e| StoreError::io(folder, e))?;
        }
        Ok(disk)
    }

    pub fn path(&self, place: Place, name: &str) -> PathBuf {
        match place {
            Place::Partial => self.partial.join(name),
            Place::Bodies => self.bodies.join(name),
        }
    }

    /// Removes a file that no row names any more. What cannot be removed is left to the sweep of the next start.
    pub fn unlink(&self, place: Place, name: &str) {
        let path = self.path(place, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a file that is not needed any more");
            }
            Ok(()) | Err(_) => {}
        }
    }

    pub fn has_bodies(&self) -> Result<bool, StoreError> {
        Ok(fs::read_dir(&self.bodies).map_err(|e| StoreError::io(&self.bodies, e))?.next().is_some())
    }

    /// A commit or rename, counted for the power-cut tests.
    pub fn point<T>(&self, deed: impl FnOnce() -> T) -> T {
        self.points.pass(deed)
    }

    #[cfg(test)]
    pub fn points_passed(&self) -> u64 {
        self.points.passed.load(Ordering::Relaxed)
    }

    /// Removes what power cuts and killed processes left behind. `named` tells whether a row names the file.
    ///
    /// Other processes may be at work: whoever writes a file holds its lock until the row that names it is committed,
    /// so a file that can be locked and that no row names *after that* belongs to nobody.
    pub fn sweep(&self, mut named: impl FnMut(Place, &str) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        for (place, folder) in [(Place::Partial, &self.partial), (Place::Bodies, &self.bodies)] {
            for entry in fs::read_dir(folder).map_err(|e| StoreError::io(folder, e))? {
                let entry = entry.map_err(|e| StoreError::io(folder, e))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                if named(place, &name)? {
                    continue;
                }
                // Gone already: its owner was quicker.
                let Ok(file) = File::open(entry.path()) else { continue };
                if file.try_lock().is_ok() && !named(place, &name)? {
                    self.unlink(place, &name);
                }
            }
        }
        Ok(())
    }

    /// Takes the lock file `name`; `None` if another holds it, here or in another process.
    pub fn lock(&self, name: &str) -> Result<Option<File>, StoreError> {
        let path = self.locks.join(name);
        let file = self.open_private(&path).map_err(|e| StoreError::io(&path, e))?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                // Who only asks whether it is held shares it, for a moment: that is no holder.
                Err(TryLockError::WouldBlock) if attempt < PROBES_MAX && !self.is_locked(name)? => {
                    std::thread::yield_now();
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(StoreError::io(&path, e)),
            }
        }
        // What an earlier holder has noted is not the word of this one.
        if file.metadata().map_err(|e| StoreError::io(&path, e))?.len() > 0 {
            file.set_len(0).map_err(|e| StoreError::io(&path, e))?;
        }
        Ok(Some(file))
    }

    /// What the holder of the lock file `name` has noted in it.
    pub fn lock_note(&self, name: &str) -> Result<Option<String>, StoreError> {
        if !self.is_locked(name)? {
            return Ok(None);
        }
        let path = self.locks.join(name);
        let mut note = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LOCK_NOTE_MAX).read_to_end(&mut note));
        read.map_err(|e| StoreError::io(&path, e))?;
        Ok(String::from_utf8(note).ok().filter(|note| !note.is_empty()))
    }

    /// Whether another holds the lock file `name`. Shared, so that those who ask do not see each other.
    pub fn is_locked(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.locks.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(StoreError::io(&path, e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(StoreError::io(&path, e)),
        }
    }

    /// Like `lock`, but waits.
    pub fn lock_waiting(&self, name: &str) -> Result<File, StoreError> {
        let path = self.locks.join(name);
        let file = self.open_private(&path).map_err(|e| StoreError::io(&path, e))?;
        file.lock().map_err(|e| StoreError::io(&path, e))?;
        Ok(file)
    }

    fn open_private(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        self.owner.give(&file)?;
        Ok(file)
    }
}

/// Makes a folder that may be there already, and those above it that are missing. Each new name is synced: a spool that
/// a power cut takes away takes along all that was synced in it.
fn make_folder(folder: &Path) -> io::Result<()> {
    let above = match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    match DirBuilder::new().mode(0o750).create(folder) {
        Ok(()) => sync_folder(above),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_folder(above)?;
            make_folder(folder)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder; name another one, or move it away"))
        }
        Err(e) => Err(e),
    }
}

/// Syncs a folder: only then do the names in it survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// 32 hexadecimal digits that no other file has.
pub(super) fn fresh_name() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// A file beside the database that no committed row names yet; removed when dropped, unless it is retained.
pub(super) struct SpoolFile {
    disk: Arc<Disk>,
    /// Locked while it is open: the sign for the sweep of another process that it has an owner.
    file: File,
    name: String,
    place: Place,
    retained: bool,
}

impl SpoolFile {
    fn create(disk: &Arc<Disk>) -> io::Result<Self> {
        loop {
            let name = fresh_name()?;
            let path = disk.path(Place::Partial, &name);
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            disk.owner.give(&file)?;
            file.lock()?;
            // The sweep of another process may have come between creation and lock.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { disk: Arc::clone(disk), file, name, place: Place::Partial, retained: false });
            }
        }
    }

    /// A partial file that a row names; `None` if it is not there or another is writing it.
    pub fn resume(disk: &Arc<Disk>, name: &str) -> Option<Self> {
        let path = disk.path(Place::Partial, name);
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        file.try_lock().ok()?;
        if file.metadata().ok()?.nlink() == 0 {
            return None;
        }
        Some(Self { disk: Arc::clone(disk), file, name: name.to_owned(), place: Place::Partial, retained: true })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds survives a power cut after this; its name does if it was synced once before.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Syncs the file and moves it among the bodies.
    pub fn seal(&mut self) -> io::Result<()> {
        match self.place {
            Place::Partial => self.move_to(Place::Bodies),
            Place::Bodies => Ok(()),
        }
    }

    /// Back among the partial files, because the row could not be committed.
    pub fn unseal(&mut self) -> io::Result<()> {
        match self.place {
            Place::Bodies => self.move_to(Place::Partial),
            Place::Partial => Ok(()),
        }
    }

    /// First the bytes, then the name, then the folder: whatever the disk does in between, a name that survives has
    /// its bytes.
    fn move_to(&mut self, place: Place) -> io::Result<()> {
        let (from, to) = (self.disk.path(self.place, &self.name), self.disk.path(place, &self.name));
        self.file.sync_all()?;
        self.disk.point(|| fs::rename(&from, &to))?;
        self.place = place;
        sync_folder(to.parent().expect("it lies in a folder"))
    }

    /// A committed row names it, or may name it: it stays.
    pub fn retain(&mut self) {
        self.retained = true;
    }

    /// No row names it: it goes when it is dropped.
    pub fn abandon(&mut self) {
        self.retained = false;
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if !self.retained {
            self.disk.unlink(self.place, &self.name);
        }
    }
}

/// Bytes being collected: in memory to `BODY_INLINE_MAX`, then in a file.
pub(super) struct Spill {
    disk: Arc<Disk>,
    memory: Vec<u8>,
    file: Option<SpoolFile>,
    len: u64,
}

/// How a body is to be kept.
pub(super) enum Settled {
    /// In the database.
    Inline(Vec<u8>),
    /// In the synced file of this name.
    File(String),
}

impl Spill {
    pub fn new(disk: &Arc<Disk>) -> Self {
        Self { disk: Arc::clone(disk), memory: Vec::new(), file: None, len: 0 }
    }

    /// A synced file at `target`, whose folder must be there; a file that is there is replaced.
    pub fn copy_to(&self, target: &Path, mode: u32) -> io::Result<()> {
        let Some(folder) = target.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
        // Hidden from those who look into the folder: it is of no use to them before it is whole.
        let temporary = folder.join(format!(".bangpath-{}", fresh_name()?));
        let rename = || self.disk.point(|| fs::rename(&temporary, target));
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
        while offset < self.len {
            let n = self.read_at(offset, &mut piece)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&piece[..n])?;
            offset += n as u64;
        }
        out.set_permissions(fs::Permissions::from_mode(mode))?;
        File::sync_all(&out)
    }

    /// Goes on with a file that holds `len` good bytes; what stands behind them was never synced and goes.
    pub fn resume(file: SpoolFile, len: u64) -> io::Result<Self> {
        if file.file.metadata()?.len() < len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
        }
        file.file.set_len(len)?;
        Ok(Self { disk: Arc::clone(&file.disk), memory: Vec::new(), file: Some(file), len })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn file(&mut self) -> Option<&mut SpoolFile> {
        self.file.as_mut()
    }

    pub fn take_file(&mut self) -> Option<SpoolFile> {
        self.file.take()
    }

    /// `offset` is at most `len`. After an error `len` tells what is certainly there.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset > self.len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "bytes that would leave a gap"));
        }
        let end = offset + bytes.len() as u64;
        if self.file.is_none() && end <= BODY_INLINE_MAX as u64 {
            let (start, end) = (offset as usize, end as usize);
            if self.memory.len() < end {
                self.memory.resize(end, 0);
            }
            self.memory[start..end].copy_from_slice(bytes);
        } else {
            self.in_file()?.file.write_all_at(bytes, offset)?;
        }
        self.len = self.len.max(end);
        Ok(())
    }

    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        match &self.file {
            Some(file) => {
                // A failed write may have left more in the file than counts.
                let out_max = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
                read_fully_at(&file.file, offset, &mut out[..out_max])
            }
            None => Ok(copy_from(&self.memory, offset, out)),
        }
    }

    /// Moves what is in memory to a file, which is not synced yet.
    pub fn in_file(&mut self) -> io::Result<&mut SpoolFile> {
        if self.file.is_none() {
            let file = SpoolFile::create(&self.disk)?;
            file.file.write_all_at(&self.memory, 0)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        Ok(self.file.as_mut().expect("it was made above"))
    }

    /// Syncs the new name of a partial file.
    pub fn sync_name(&self) -> io::Result<()> {
        sync_folder(&self.disk.partial)
    }

    /// Ready to be named by a row: small bytes in memory, large ones synced among the bodies.
    pub fn settle(&mut self) -> io::Result<Settled> {
        if self.len <= BODY_INLINE_MAX as u64 {
            let mut bytes = vec![0; self.len as usize];
            let read = self.read_at(0, &mut bytes)?;
            return match read == bytes.len() {
                true => Ok(Settled::Inline(bytes)),
                false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter")),
            };
        }
        let len = self.len;
        let file = self.in_file()?;
        // Bytes of a write that failed half-way are not part of it.
        if file.file.metadata()?.len() != len {
            file.file.set_len(len)?;
        }
        file.seal()?;
        Ok(Settled::File(file.name.clone()))
    }
}

/// Fills `out` from `offset`; fewer bytes only at the end of the file.
pub(super) fn read_fully_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The same for bytes in memory.
pub(super) fn copy_from(bytes: &[u8], offset: u64, out: &mut [u8]) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let n = out.len().min(bytes.len() - start);
    out[..n].copy_from_slice(&bytes[start..start + n]);
    n
}

/// The numbered points at which the power-cut tests end the process.
///
/// `BANGPATH_ABORT_AT=7` aborts just before the seventh commit or rename of a store since it was opened,
/// `7+` just after it. Read once, when the store is opened.
struct Points {
    passed: AtomicU64,
    abort: Option<(u64, Moment)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

impl Points {
    fn from_environment() -> Self {
        let abort = std::env::var("BANGPATH_ABORT_AT").ok().and_then(|text| {
            let (number, moment) = match text.strip_suffix('+') {
                Some(number) => (number, Moment::After),
                None => (text.as_str(), Moment::Before),
            };
            number.parse().ok().map(|n| (n, moment))
        });
        Self { passed: AtomicU64::new(0), abort }
    }

    fn pass<T>(&self, deed: impl FnOnce() -> T) -> T {
        let number = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.abort == Some((number, Moment::Before)) {
            std::process::abort();
        }
        let done = deed();
        if self.abort == Some((number, Moment::After)) {
            std::process::abort();
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spill() -> (tempfile::TempDir, Spill) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Arc::new(Disk::open(folder.path()).expect("folders"));
        (folder, Spill::new(&disk))
    }

    #[test]
    fn bytes_move_to_a_file_when_they_are_many_and_read_back_the_same() {
        for size in [0, 1, BODY_INLINE_MAX - 1, BODY_INLINE_MAX, BODY_INLINE_MAX + 1, 3 * BODY_INLINE_MAX] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let (_folder, mut spill) = spill();
            for piece in bytes.chunks(1000) {
                spill.write_at(spill.len(), piece).expect("room");
            }
            let mut back = vec![0; size + 10];
            assert_eq!(spill.read_at(0, &mut back).expect("readable"), size);
            assert!(back[..size] == bytes[..]);
            assert_eq!(spill.file().is_some(), size > BODY_INLINE_MAX, "{size}");
        }
    }

    #[test]
    fn an_earlier_place_is_overwritten_and_a_gap_refused() {
        let (_folder, mut spill) = spill();
        spill.write_at(0, b"abcdef").expect("room");
        spill.write_at(2, b"XY").expect("room");
        spill.write_at(5, b"fgh").expect("room");
        assert!(spill.write_at(9, b"z").is_err());
        let mut back = [0; 8];
        assert_eq!(spill.read_at(0, &mut back).expect("readable"), 8);
        assert_eq!(&back, b"abXYefgh");
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_spool_belongs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Anybody else finds their own, which is the same rule.
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).expect("root may");
        }
        let owner = fs::metadata(folder.path()).expect("a folder").uid();
        let store = super::super::Store::open(folder.path()).expect("a store");
        let _lock = store.lock(super::super::LockKind::Unpack, "unpack").expect("lockable");
        let mut draft = store.draft();
        io::Write::write_all(&mut draft, &[b'x'; 2 * BODY_INLINE_MAX]).expect("room");
        store.write(|change| change.keep(draft).map(drop)).expect("kept");
        let mut folders = vec![folder.path().to_owned()];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry")) {
                let facts = entry.metadata().expect("facts");
                assert_eq!(facts.uid(), owner, "{:?}", entry.path());
                names.push(entry.file_name().to_string_lossy().into_owned());
                if facts.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        assert!(names.iter().any(|n| n == "bangpath.db-wal") && names.len() >= 8, "{names:?}");
    }

    #[test]
    fn who_asks_whether_a_lock_is_held_keeps_nobody_from_it() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let (_folder, store) = super::super::testing::open();
        let disk = &store.inner.disk;
        drop(disk.lock("site.hub").expect("the disk works"));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        disk.is_locked("site.hub").expect("the disk works");
                    }
                });
            }
            let taken = (0..2000).filter(|_| disk.lock("site.hub").expect("the disk works").is_some()).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(taken, 2000);
        });
        let held = disk.lock("site.hub").expect("the disk works");
        assert!(held.is_some() && disk.lock("site.hub").expect("the disk works").is_none());
    }

    #[test]
    fn the_sweep_leaves_what_is_locked_or_named() {
        let (folder, mut written) = spill();
        written.in_file().expect("a file");
        let partial = folder.path().join("partial");
        fs::write(partial.join("named"), b"").expect("writable");
        fs::write(partial.join("orphan"), b"").expect("writable");
        let disk = Disk::open(folder.path()).expect("folders");
        disk.sweep(|_, name| Ok(name == "named")).expect("swept");
        assert!(partial.join("named").exists());
        assert!(!partial.join("orphan").exists());
        let in_work = written.file().expect("a file").name().to_owned();
        assert!(partial.join(&in_work).exists());
        drop(written);
        assert!(!partial.join(&in_work).exists());
    }
}
