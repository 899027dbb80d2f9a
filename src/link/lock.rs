//! UUCP lock files, which minicom, mgetty, cu and pppd respect: `LCK..ttyUSB0` with a process id in it.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A lock file of ours; goes when it is dropped.
#[derive(Debug)]
pub struct LockFile(PathBuf);

impl LockFile {
    /// The living process that holds the lock of a device.
    pub fn holder(folder: &Path, device: &Path) -> Option<u32> {
        holder(&path_of(folder, &device.canonicalize().ok()?)).filter(|id| is_alive(Some(*id)))
    }

    /// Locks in a folder that dead processes have left, and the process of each.
    pub fn dead(folder: &Path) -> Vec<(PathBuf, u32)> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_lock =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"LCK.."));
        let dead = |path: PathBuf| holder(&path).filter(|id| !is_alive(Some(*id))).map(|id| (path, id));
        entries.filter(is_lock).filter_map(dead).collect()
    }

    /// Takes the lock of a device in this folder; `None`: a living process holds it. One that a dead process has left is
    /// removed. The name is that of the device itself, whatever link leads to it (FHS 3.0 section 5.9).
    pub fn take(folder: &Path, device: &Path) -> io::Result<Option<Self>> {
        let device = device.canonicalize()?;
        let path = path_of(folder, &device);
        let own = folder.join(format!("LTMP..{}.{}", std::process::id(), name_of(&device)));
        // Written whole under another name, then linked: nobody sees a lock without its owner.
        let _ = fs::remove_file(&own);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&own)?;
        let taken = io::Write::write_all(&mut &file, format!("{:10}\n", std::process::id()).as_bytes())
            .and_then(|()| take_as(&own, &path));
        let _ = fs::remove_file(&own);
        Ok(taken?.then(|| Self(path)))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if holder(&self.0) == Some(std::process::id()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn name_of(device: &Path) -> String {
    // `/dev/pts/3`: the others know it as `LCK..pts/3`, which no folder can hold, so with a dash.
    let name: PathBuf = device.strip_prefix("/dev").unwrap_or(device).to_path_buf();
    name.to_string_lossy().trim_start_matches('/').replace('/', "-")
}

fn path_of(folder: &Path, device: &Path) -> PathBuf {
    folder.join(format!("LCK..{}", name_of(device)))
}

fn take_as(own: &Path, path: &Path) -> io::Result<bool> {
    for _ in 0..3 {
        match fs::hard_link(own, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_alive(holder(path)) {
                    return Ok(false);
                }
                let _ = fs::remove_file(path);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Ten characters and a line feed, or four bytes as SunOS and V2 had them.
fn holder(path: &Path) -> Option<u32> {
    let text = fs::read(path).ok()?;
    match <[u8; 4]>::try_from(&text[..]) {
        Ok(binary) if !text.iter().all(|b| b.is_ascii_digit() || b.is_ascii_whitespace()) => {
            Some(u32::from_ne_bytes(binary))
        }
        _ => str::from_utf8(&text).ok()?.trim().parse().ok(),
    }
}

/// Whether this process lives. A lock without a readable owner is somebody's, too young to say whose.
fn is_alive(holder: Option<u32>) -> bool {
    let Some(id) = holder.and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 0) else { return holder.is_none() };
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
        assert!(take().is_none(), "we live");
        assert_eq!(LockFile::holder(folder.path(), Path::new("/dev/null")), Some(std::process::id()));
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
            let mine = lock.is_some();
            drop(lock);
            mine
        };
        assert!(take(b"   4194305\n") && take(&4_194_305_u32.to_ne_bytes()), "above any process id");
        assert!(!take(b"         1\n") && !take(&1_u32.to_ne_bytes()) && !take(b"") && !take(b"minicom\n"));
        assert_eq!(fs::read(&path).expect("it stays"), b"minicom\n");
    }
}
