//! UUCP lock files, which minicom, mgetty, cu and pppd respect: `LCK..ttyUSB0` with a process id in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Bytes in a lock file: the longest known form is eleven of them, and a name behind it.
const LOCK_FILE_MAX: u64 = 64;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A living process.
    Process(u32),
    /// Somebody, says this file: it names no process yet, is no lock file at all, or cannot be removed.
    Unknown(PathBuf),
}

/// A lock file of ours; goes when it is dropped.
#[derive(Debug)]
pub struct LockFile(PathBuf);

impl LockFile {
    /// Who holds the lock of a device. One that a dead process has left is nobody's.
    pub fn holder(folder: &Path, device: &Path) -> Option<Holder> {
        let path = path_of(folder, &device.canonicalize().ok()?);
        match look(&path) {
            Found::Of { id, .. } => is_alive(id).then_some(Holder::Process(id)),
            Found::Odd => Some(Holder::Unknown(path)),
            Found::Nothing => None,
        }
    }

    /// Locks in a folder that dead processes have left, and the process of each.
    pub fn dead(folder: &Path) -> Vec<(PathBuf, u32)> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_lock =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"LCK.."));
        let dead = |path: PathBuf| match look(&path) {
            Found::Of { id, .. } => (!is_alive(id)).then_some((path, id)),
            Found::Odd | Found::Nothing => None,
        };
        entries.filter(is_lock).filter_map(dead).collect()
    }

    /// Takes the lock of a device in this folder, or says who holds it. One that a dead process has left is removed. The
    /// name is that of the device itself, whatever link leads to it (FHS 3.0 section 5.9).
    pub fn take(folder: &Path, device: &Path) -> io::Result<Result<Self, Holder>> {
        let device = device.canonicalize()?;
        let path = path_of(folder, &device);
        let own = folder.join(format!("LTMP..{}.{}", std::process::id(), name_of(&device)));
        // Written whole under another name, then linked: nobody sees a lock without its owner.
        let _ = fs::remove_file(&own);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&own)?;
        let taken = io::Write::write_all(&mut &file, format!("{:10}\n", std::process::id()).as_bytes())
            .and_then(|()| take_as(&own, &path));
        let _ = fs::remove_file(&own);
        Ok(taken?.map(|()| Self(path)))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if matches!(look(&self.0), Found::Of { id, .. } if id == std::process::id()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn name_of(device: &Path) -> String {
    // `/dev/pts/3` is `LCK..pts_3`, as minicom and mgetty have it.
    let name: PathBuf = device.strip_prefix("/dev").unwrap_or(device).to_path_buf();
    name.to_string_lossy().trim_start_matches('/').replace('/', "_")
}

fn path_of(folder: &Path, device: &Path) -> PathBuf {
    folder.join(format!("LCK..{}", name_of(device)))
}

fn take_as(own: &Path, path: &Path) -> io::Result<Result<(), Holder>> {
    for _ in 0..3 {
        match fs::hard_link(own, path) {
            Ok(()) => return Ok(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match look(path) {
                Found::Of { id, .. } if is_alive(id) => return Ok(Err(Holder::Process(id))),
                Found::Of { id, file } => remove_dead(path, id, &file),
                Found::Odd => break,
                Found::Nothing => {}
            },
            Err(error) => return Err(error),
        }
    }
    Ok(Err(Holder::Unknown(path.to_owned())))
}

/// Removes the lock of a dead process, unless another file or content has come in its place since it was found. Of two of
/// us who found the same file only one gets here at a time, and the later one finds it gone; for other programs the
/// moment between the last look and the removal remains.
fn remove_dead(path: &Path, id: u32, file: &File) {
    if file.try_lock().is_err() {
        return;
    }
    let number = |file: &File| file.metadata().map(|facts| (facts.dev(), facts.ino())).ok();
    // The number of a file that is open is no other's.
    if let Found::Of { id: still, file: there } = look(path)
        && still == id
        && number(&there) == number(file)
    {
        let _ = fs::remove_file(path);
    }
}

/// What is in the place of a lock.
enum Found {
    Nothing,
    /// A lock file of this process.
    Of {
        id: u32,
        file: File,
    },
    /// Nothing that says whose it is: too young to say so, or unreadable, or a FIFO that somebody has put there.
    Odd,
}

/// Never waits and never reads much: anybody may write to the folders where locks are.
fn look(path: &Path) -> Found {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_CLOEXEC;
    match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => process_in(&file).map_or(Found::Odd, |id| Found::Of { id, file }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(_) => Found::Odd,
    }
}

/// Ten characters and a line feed, or four bytes as SunOS and V2 had them.
fn process_in(file: &File) -> Option<u32> {
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(LOCK_FILE_MAX + 1).read_to_end(&mut text).ok().filter(|length| *length as u64 <= LOCK_FILE_MAX)?;
    match <[u8; 4]>::try_from(&text[..]) {
        Ok(binary) if !text.iter().all(|b| b.is_ascii_digit() || b.is_ascii_whitespace()) => {
            Some(u32::from_ne_bytes(binary))
        }
        _ => str::from_utf8(&text).ok()?.trim().parse().ok(),
    }
}

fn is_alive(id: u32) -> bool {
    let Some(id) = i32::try_from(id).ok().filter(|id| *id > 0) else { return false };
    kill(Pid::from_raw(id), None) != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_others_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = || LockFile::take(folder.path(), Path::new("/dev/null")).expect("a lock folder");
        let lock = take().expect("free");
        let text = fs::read_to_string(folder.path().join("LCK..null")).expect("a lock file");
        assert_eq!(text, format!("{:10}\n", std::process::id()));
        let ours = Holder::Process(std::process::id());
        assert_eq!(take().expect_err("we live"), ours);
        assert_eq!(LockFile::holder(folder.path(), Path::new("/dev/null")), Some(ours));
        drop(lock);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn the_lock_of_the_dead_is_taken_over_and_that_of_the_living_respected() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("LCK..null");
        let take = |content: &[u8]| {
            fs::write(&path, content).expect("a file");
            let lock = LockFile::take(folder.path(), Path::new("/dev/null")).expect("a lock folder");
            let mine = lock.is_ok();
            drop(lock);
            mine
        };
        assert!(take(b"   4194305\n") && take(&4_194_305_u32.to_ne_bytes()), "above any process id");
        assert!(!take(b"         1\n") && !take(&1_u32.to_ne_bytes()) && !take(b"") && !take(b"minicom\n"));
        assert_eq!(fs::read(&path).expect("it stays"), b"minicom\n");
    }

    #[test]
    fn whatever_else_is_in_the_place_of_a_lock_is_somebody_s_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("LCK..null");
        let check = |what: &str, make: &dyn Fn()| {
            make();
            let unknown = Holder::Unknown(path.clone());
            let taken = LockFile::take(folder.path(), Path::new("/dev/null")).expect("a lock folder");
            assert_eq!(taken.expect_err(what), unknown, "{what}");
            assert_eq!(LockFile::holder(folder.path(), Path::new("/dev/null")), Some(unknown), "{what}");
            assert_eq!(LockFile::dead(folder.path()), [], "{what}");
            assert!(path.symlink_metadata().is_ok(), "{what}");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        };
        check("a FIFO", &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO"));
        check("a folder", &|| fs::create_dir(&path).expect("a folder"));
        check("a link to nothing", &|| std::os::unix::fs::symlink("nothing", &path).expect("a link"));
        let target = folder.path().join("other");
        fs::write(&target, "   4194305\n").expect("a file");
        check("a link to a lock of the dead", &|| std::os::unix::fs::symlink(&target, &path).expect("a link"));
        check("a long file", &|| fs::write(&path, format!("4194305{}", " ".repeat(100))).expect("a file"));
        check("an endless file", &|| File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a file"));
    }

    #[test]
    fn a_lock_that_was_taken_anew_since_it_was_found_dead_is_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("LCK..null");
        let check = |what: &str, since: &dyn Fn(), stays: bool| {
            fs::write(&path, "   4194305\n").expect("a file");
            let Found::Of { id, file } = look(&path) else { panic!("a lock") };
            since();
            remove_dead(&path, id, &file);
            assert_eq!(path.exists(), stays, "{what}");
        };
        check("nothing", &|| {}, false);
        check("written anew", &|| fs::write(&path, "         1\n").expect("a file"), true);
        let another = || {
            fs::write(folder.path().join("new"), "   4194305\n").expect("a file");
            fs::rename(folder.path().join("new"), &path).expect("a file");
        };
        check("another file", &another, true);
        let other = std::cell::OnceCell::new();
        let removing = || {
            let file = File::open(&path).expect("a file");
            file.lock().expect("a lock");
            let _ = other.set(file);
        };
        check("another bangpath is about to remove it", &removing, true);
    }
}
