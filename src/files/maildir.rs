//! Delivery into a Maildir: written in `tmp/`, synced, then moved to `new/`.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::{FileError, make_folder, sync_folder, write_synced};

/// What a delivery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Written and synced, so many bytes.
    Now(u64),
    /// An earlier try had brought it there; nothing was written.
    Before,
}

/// Delivers one message into the Maildir `folder` under `name`, once: if `new/` or `cur/` has a message of that name
/// (with flags or without), that is the one. So the name must be the same at every try and no other message's: it
/// derives from the queue item.
///
/// `cur/`, `new/` and `tmp/` are made if they are missing, and `folder` itself, but not the folder above it: a home
/// that is not mounted must not get its mail below the mount point.
pub fn deliver(folder: &Path, name: &str, bytes: &mut dyn Read) -> Result<Delivered, FileError> {
    // A colon begins the flags.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', ':', '\0']) {
        return Err(FileError::NotPermitted { name: name.to_owned(), why: "no name for a message in a Maildir" });
    }
    for part in [folder, &folder.join("tmp"), &folder.join("new"), &folder.join("cur")] {
        make_folder(part, 0o700).map_err(|e| FileError::create(part, e))?;
    }
    for part in ["new", "cur"] {
        let part = folder.join(part);
        if holds(&part, name).map_err(|e| FileError::read(&part, e))? {
            // The earlier try may have died between the rename and the sync.
            sync_folder(&part).map_err(|e| FileError::create(&part, e))?;
            return Ok(Delivered::Before);
        }
    }
    let (temporary, new) = (folder.join("tmp").join(name), folder.join("new"));
    let delivered = write_synced(&temporary, bytes, 0o600)
        .and_then(|written| fs::rename(&temporary, new.join(name)).map(|()| written));
    match delivered {
        Ok(written) => {
            sync_folder(&new).map_err(|e| FileError::create(&new, e))?;
            Ok(Delivered::Now(written))
        }
        Err(error) => {
            // On a full disk the part of it that was written is in the way of others.
            let _gone = fs::remove_file(&temporary);
            Err(FileError::create(&temporary, error))
        }
    }
}

fn holds(folder: &Path, name: &str) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let found = entry?.file_name();
        let rest = found.as_encoded_bytes().strip_prefix(name.as_bytes());
        if rest.is_some_and(|rest| rest.is_empty() || rest[0] == b':') {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &Path, name: &str, text: &str, expected: Delivered) {
        assert_eq!(deliver(folder, name, &mut text.as_bytes()).expect(name), expected, "{name}");
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|n| n.into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_message_comes_once_wherever_the_reader_has_put_it() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let folder = home.path().join("Maildir");
        check(&folder, "17.village", "one", Delivered::Now(3));
        check(&folder, "17.village", "one", Delivered::Before);
        check(&folder, "1", "other", Delivered::Now(5));
        fs::rename(folder.join("new/17.village"), folder.join("cur/17.village:2,S")).expect("read");
        check(&folder, "17.village", "one", Delivered::Before);
        check(&folder, "17.vill", "third", Delivered::Now(5));
        assert_eq!(names(&folder.join("new")), ["1", "17.vill"]);
        assert_eq!(names(&folder.join("cur")), ["17.village:2,S"]);
        assert_eq!(names(&folder.join("tmp")), [""; 0]);
        assert_eq!(fs::read(folder.join("new/1")).expect("a message"), b"other");
    }

    #[test]
    fn the_leftover_of_a_try_that_died_is_written_anew() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let folder = home.path().join("Maildir");
        check(&folder, "a", "x", Delivered::Now(1));
        fs::write(folder.join("tmp/b"), "half of a longer text").expect("writable");
        check(&folder, "b", "whole", Delivered::Now(5));
        assert_eq!(fs::read(folder.join("new/b")).expect("a message"), b"whole");
    }

    #[test]
    fn names_that_leave_the_folder_and_homes_that_are_not_there_are_refused() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let folder = home.path().join("Maildir");
        for name in ["", ".", "..", "../x", "a/b", "a:2,S", ".x"] {
            let refused = deliver(&folder, name, &mut io::empty());
            assert!(matches!(refused, Err(FileError::NotPermitted { .. })), "{name}");
        }
        assert!(!folder.exists());
        let refused = deliver(&home.path().join("gone/Maildir"), "x", &mut io::empty());
        assert!(matches!(refused, Err(FileError::CannotCreate { .. })));
    }

    #[test]
    fn a_message_that_cannot_be_read_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::Other.into())
            }
        }
        let home = tempfile::tempdir().expect("a temporary folder");
        let folder = home.path().join("Maildir");
        assert!(deliver(&folder, "x", &mut Broken).is_err());
        assert_eq!(names(&folder.join("tmp")), [""; 0]);
        assert_eq!(names(&folder.join("new")), [""; 0]);
    }
}
