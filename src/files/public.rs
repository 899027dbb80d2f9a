//! The public directory: the only place where peers may read and write files, whatever name they ask for.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use super::FileError;
use super::glob;
use crate::base::limits::{WILDCARD_ENTRIES_MAX, WILDCARD_MATCHES_MAX, WIRE_NAME_MAX};

/// A folder that peers may name files in.
#[derive(Debug, Clone)]
pub struct PublicDirectory {
    root: PathBuf,
}

/// A place for a file, below the public directory. It holds the folder open, so that no change of folders or links
/// can lead a later write elsewhere.
#[derive(Debug)]
pub struct Target {
    folder: OwnedFd,
    name: String,
    shown: PathBuf,
}

impl Target {
    /// A path for writing that leads to this place while the target lives. (Through `/proc`, where there is one.)
    pub fn path(&self) -> PathBuf {
        let held = Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string());
        match held.exists() {
            true => held.join(&self.name),
            false => self.shown.clone(),
        }
    }

    /// The path as people know it.
    pub fn shown(&self) -> &Path {
        &self.shown
    }
}

/// Why a name on the wire is refused.
const ABSOLUTE: &str = "it is an absolute path";
const ANOTHER_USER: &str = "it is in another user's home";
const UPWARDS: &str = "it leads upwards";
const HIDDEN: &str = "it begins with a dot";
const BAD_CHARACTER: &str = "it holds a control character";
const TOO_LONG: &str = "it is too long";
const NO_NAME: &str = "it names no file";
const TOO_MANY: &str = "it matches too much";
const LINK: &str = "a link or another special file is in the way";

impl PublicDirectory {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Opens a file for a peer that asks for it: `~/x` or `x`, a regular file, reached through no symbolic link. (A second
    /// hard link is somebody's intention, and as good as a file.)
    pub fn open(&self, name: &str) -> Result<File, FileError> {
        let mut parts = components(name)?;
        let last = parts.pop().ok_or_else(|| refuse(name, NO_NAME))?;
        let path = self.root.join(parts.join("/")).join(last);
        let read = |e: Errno| if is_link(e) { refuse(name, LINK) } else { FileError::read(&path, e) };
        let mut folder = self.root_folder().map_err(read)?;
        for part in parts {
            folder = open_folder(&folder, part).map_err(read)?;
        }
        // Without O_NONBLOCK a FIFO would stop us for ever.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&folder, last, flags, Mode::empty()).map_err(read)?);
        match file.metadata().map_err(|e| FileError::read(&path, e))?.is_file() {
            true => Ok(file),
            false => Err(refuse(name, LINK)),
        }
    }

    /// The files that a name with `*`, `?` or `[a-z]` in it stands for, as names for [`open`](Self::open), in order. A name
    /// without them is itself.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>, FileError> {
        let parts = components(pattern)?;
        if !parts.iter().any(|part| glob::is_pattern(part)) {
            return Ok(vec![pattern.to_owned()]);
        }
        let mut entries = 0;
        let mut found = vec![String::new()];
        for (n, part) in parts.iter().enumerate() {
            let last = n + 1 == parts.len();
            let mut next = Vec::new();
            for folder in &found {
                if !glob::is_pattern(part) {
                    next.push(format!("{folder}{part}{}", if last { "" } else { "/" }));
                    continue;
                }
                let Ok(names) = self.list(folder) else { continue };
                entries += names.len();
                if entries > WILDCARD_ENTRIES_MAX {
                    return Err(refuse(pattern, TOO_MANY));
                }
                let named = names.into_iter().filter(|(name, is_folder)| {
                    *is_folder != last && glob::matches(part, name) && check_part(pattern, name).is_ok()
                });
                next.extend(named.map(|(name, _)| format!("{folder}{name}{}", if last { "" } else { "/" })));
                if next.len() > WILDCARD_MATCHES_MAX {
                    return Err(refuse(pattern, TOO_MANY));
                }
            }
            found = next;
        }
        found.sort();
        // A name behind a wildcard folder need not be there.
        found.retain(|name| self.open(name).is_ok());
        Ok(found)
    }

    /// The names in a folder, and whether each is a folder. Links are none of both.
    fn list(&self, below: &str) -> Result<Vec<(String, bool)>, Errno> {
        let mut folder = self.root_folder()?;
        for part in below.split('/').filter(|part| !part.is_empty()) {
            folder = open_folder(&folder, part)?;
        }
        let held = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
        let held = if held.exists() { held } else { self.root.join(below) };
        let entries = std::fs::read_dir(held).map_err(|_| Errno::EACCES)?;
        let name = |entry: std::fs::DirEntry| {
            let kind = entry.file_type().ok()?;
            let name = entry.file_name().into_string().ok()?;
            (kind.is_file() || kind.is_dir()).then_some((name, kind.is_dir()))
        };
        Ok(entries.take(WILDCARD_ENTRIES_MAX + 1).filter_map(|entry| name(entry.ok()?)).collect())
    }

    /// Finds the place for a file that a peer sends as `name`. If that is a folder (it is one, or ends in `/`), the
    /// last part of `source`, the sender's name of the file, is added. `make_folders`: those that are missing are made.
    pub fn target(&self, name: &str, source: &str, make_folders: bool) -> Result<Target, FileError> {
        let mut parts = components(name)?;
        let is_folder = name.ends_with('/') || parts.is_empty();
        let last = if is_folder { None } else { parts.pop() };
        let mut shown = self.root.clone();
        let mut folder = self.root_folder().map_err(|e| FileError::create(&shown, e))?;
        for part in parts {
            shown.push(part);
            folder = self.enter(&folder, part, make_folders).map_err(|e| cannot_enter(name, &shown, e))?;
        }
        let last = match last {
            Some(last) => match open_folder(&folder, last) {
                Ok(inner) => {
                    folder = inner;
                    shown.push(last);
                    last_component(source)?
                }
                // A link of that name would be replaced, not followed; still nobody expects that.
                Err(e) if is_link(e) && is_symbolic_link(&folder, last) => return Err(refuse(name, LINK)),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => last,
                Err(e) => return Err(FileError::create(&shown.join(last), e)),
            },
            None => last_component(source)?,
        };
        shown.push(last);
        Ok(Target { folder, name: last.to_owned(), shown })
    }

    fn root_folder(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(&self.root, flags, Mode::empty())
    }

    fn enter(&self, folder: &OwnedFd, part: &str, make: bool) -> Result<OwnedFd, Errno> {
        match open_folder(folder, part) {
            Err(Errno::ENOENT) if make => {
                match mkdirat(folder, part, Mode::from_bits_truncate(0o755)) {
                    // The name of a new folder has to survive as long as what will be in it.
                    Ok(()) => nix::unistd::fsync(folder)?,
                    // Another was quicker.
                    Err(Errno::EEXIST) => {}
                    Err(e) => return Err(e),
                }
                open_folder(folder, part)
            }
            found => found,
        }
    }
}

fn open_folder(folder: &OwnedFd, part: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, part, flags, Mode::empty())
}

fn is_symbolic_link(folder: &OwnedFd, part: &str) -> bool {
    nix::fcntl::readlinkat(folder, part).is_ok()
}

/// With `O_NOFOLLOW` a link gives ELOOP, and ENOTDIR where a folder is wanted too.
fn is_link(error: Errno) -> bool {
    matches!(error, Errno::ELOOP | Errno::ENOTDIR)
}

fn cannot_enter(name: &str, path: &Path, error: Errno) -> FileError {
    if is_link(error) { refuse(name, LINK) } else { FileError::create(path, error) }
}

fn refuse(name: &str, why: &'static str) -> FileError {
    FileError::NotPermitted { name: name.chars().take(WIRE_NAME_MAX).flat_map(char::escape_debug).collect(), why }
}

/// The parts of a wire name below the public directory; none for that directory itself.
fn components(name: &str) -> Result<Vec<&str>, FileError> {
    if name.len() > WIRE_NAME_MAX {
        return Err(refuse(name, TOO_LONG));
    }
    let below = match name.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        Some(_) => return Err(refuse(name, ANOTHER_USER)),
        None if name.starts_with('/') => return Err(refuse(name, ABSOLUTE)),
        None if name.is_empty() => return Err(refuse(name, NO_NAME)),
        None => name,
    };
    let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    for part in &parts {
        check_part(name, part)?;
    }
    Ok(parts)
}

fn check_part(name: &str, part: &str) -> Result<(), FileError> {
    if part == ".." {
        return Err(refuse(name, UPWARDS));
    }
    // The public directory is the home of `uucp` on many systems, where `.rhosts` or `.ssh` would open a door.
    if part.starts_with('.') {
        return Err(refuse(name, HIDDEN));
    }
    if part.chars().any(char::is_control) {
        return Err(refuse(name, BAD_CHARACTER));
    }
    Ok(())
}

/// What the file is called at the sender, without its folders. DOS has backslashes and drive letters.
fn last_component(source: &str) -> Result<&str, FileError> {
    let last = source.rsplit(['/', '\\', ':']).next().unwrap_or_default();
    if last.is_empty() || last.starts_with('~') {
        return Err(refuse(source, NO_NAME));
    }
    if last.len() > WIRE_NAME_MAX {
        return Err(refuse(source, TOO_LONG));
    }
    check_part(source, last)?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A public directory beside a secret file, with links of all kinds to it.
    fn scene() -> (tempfile::TempDir, PublicDirectory) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let public = folder.path().join("public");
        fs::create_dir_all(public.join("sub/deep")).expect("folders");
        fs::write(folder.path().join("secret"), "secret").expect("writable");
        fs::write(public.join("file"), "public").expect("writable");
        fs::write(public.join("sub/inner"), "inner").expect("writable");
        symlink("../secret", public.join("link")).expect("a link");
        symlink("..", public.join("up")).expect("a link");
        symlink("sub", public.join("alias")).expect("a link");
        nix::unistd::mkfifo(&public.join("fifo"), Mode::S_IRWXU).expect("a FIFO");
        (folder, PublicDirectory::new(&public))
    }

    fn outcome(error: &FileError) -> &'static str {
        match error {
            FileError::NotPermitted { .. } => "not permitted",
            FileError::CannotCreate { .. } => "cannot create",
            FileError::CannotRead { .. } if error.is_missing() => "missing",
            FileError::CannotRead { .. } => "cannot read",
        }
    }

    #[test]
    fn reading_stays_within_the_public_directory() {
        let (_folder, public) = scene();
        for (name, expected) in [
            ("file", "public"),
            ("~/file", "public"),
            ("~//sub/./inner", "inner"),
            ("nothing", "missing"),
            ("sub/none/x", "missing"),
            ("", "not permitted"),
            ("~", "not permitted"),
            ("~/", "not permitted"),
            ("sub", "not permitted"),
            ("/etc/passwd", "not permitted"),
            ("../secret", "not permitted"),
            ("sub/../../secret", "not permitted"),
            ("~/../secret", "not permitted"),
            ("~uucp/file", "not permitted"),
            ("~root/.profile", "not permitted"),
            ("link", "not permitted"),
            ("up/secret", "not permitted"),
            ("alias/inner", "not permitted"),
            ("fifo", "not permitted"),
            ("file/x", "not permitted"),
            (".hidden", "not permitted"),
            ("a\0b", "not permitted"),
            (&"x".repeat(256), "not permitted"),
        ] {
            let got = match public.open(name) {
                Ok(mut file) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).expect("readable");
                    text
                }
                Err(error) => outcome(&error).to_owned(),
            };
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn wildcards_stay_within_the_public_directory() {
        let (_folder, public) = scene();
        for (pattern, expected) in [
            ("~/*", Some("file")),
            ("f?le", Some("file")),
            ("~/s*/inn[a-e]r", Some("sub/inner")),
            ("~/*/inner", Some("sub/inner")),
            ("~/nothing*", Some("")),
            ("~/file", Some("~/file")),
            ("l*", Some("")),
            ("up/*", Some("")),
            ("../*", None),
            ("/etc/*", None),
            ("~root/*", None),
        ] {
            let found = public.matching(pattern).ok().map(|names| names.join(" "));
            assert_eq!(found.as_deref(), expected, "{pattern}");
        }
        for n in 0..=WILDCARD_MATCHES_MAX {
            fs::write(public.root.join(format!("many{n}")), "x").expect("writable");
        }
        assert!(public.matching("~/many*").is_err());
    }

    #[test]
    fn writing_stays_within_the_public_directory() {
        let (folder, public) = scene();
        for (name, source, make, expected) in [
            ("~/new", "", false, "new"),
            ("new", "", false, "new"),
            ("file", "", false, "file"),
            ("~/sub/new", "", false, "sub/new"),
            ("~/sub/", "/home/ann/letter.txt", false, "sub/letter.txt"),
            ("~/sub", "letter.txt", false, "sub/letter.txt"),
            ("~", "letter.txt", false, "letter.txt"),
            ("~/", "C:\\MAIL\\LETTER.TXT", false, "LETTER.TXT"),
            ("~/made/by/us/", "x", true, "made/by/us/x"),
            ("~/missing/x", "", false, "cannot create"),
            ("~/file/x", "", true, "not permitted"),
            ("link", "", true, "not permitted"),
            ("up/x", "", true, "not permitted"),
            ("alias/x", "", true, "not permitted"),
            ("/tmp/x", "", true, "not permitted"),
            ("~ann/x", "", true, "not permitted"),
            ("~/a/../../x", "", true, "not permitted"),
            ("~/.rhosts", "", true, "not permitted"),
            ("~/sub/", "..", true, "not permitted"),
            ("~/sub/", "/etc/", true, "not permitted"),
            ("~/sub/", ".rhosts", true, "not permitted"),
            ("", "x", true, "not permitted"),
        ] {
            let got = match public.target(name, source, make) {
                Ok(target) => {
                    fs::write(target.path(), "x").expect("writable");
                    let below = target.shown().strip_prefix(folder.path().join("public")).expect("within");
                    assert!(target.shown().is_file(), "{name}");
                    below.to_str().expect("text").to_owned()
                }
                Err(error) => outcome(&error).to_owned(),
            };
            assert_eq!(got, expected, "{name} from {source}");
        }
        assert_eq!(fs::read(folder.path().join("secret")).expect("readable"), b"secret");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn a_folder_exchanged_for_a_link_after_the_check_leads_nowhere() {
        let (folder, public) = scene();
        let target = public.target("sub/new", "", false).expect("permitted");
        let root = folder.path().join("public");
        fs::rename(root.join("sub"), root.join("moved")).expect("renamed");
        symlink("..", root.join("sub")).expect("a link");
        fs::write(target.path(), "x").expect("writable");
        assert!(root.join("moved/new").is_file());
        assert!(!folder.path().join("new").exists());
    }
}
