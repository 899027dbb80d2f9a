//! Has programs run with the recorder, and reads what it noted.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("recorder.c");

/// A place for the notes, and what a program needs in its environment to make them.
pub struct Recorder {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// One note; a file or folder goes by the number of its inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    NewFile {
        file: u64,
        path: PathBuf,
    },
    NewFolder {
        file: u64,
        path: PathBuf,
    },
    Write {
        file: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: u64,
        len: u64,
    },
    SyncBegins {
        file: u64,
        thread: u32,
    },
    SyncEnds {
        file: u64,
        thread: u32,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    /// Said to somebody outside.
    Say {
        bytes: Vec<u8>,
    },
    /// The test saw this number acknowledged.
    Seen(u64),
}

impl Recorder {
    /// For what lies below these folders.
    pub fn new(below: &[&Path]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let below: Vec<String> = below.iter().map(|p| real(p).display().to_string()).collect();
        let environment = [
            ("LD_PRELOAD", library().display().to_string()),
            ("BANGPATH_TRACE", folder.path().join("notes").display().to_string()),
            ("BANGPATH_TRACE_BELOW", below.join(":")),
        ];
        Self { folder, environment: environment.map(|(name, value)| (name.to_owned(), value)).into() }
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// Notes, behind all that was noted by now, that this number was acknowledged.
    pub fn seen(&self, number: u64) {
        let mut note = [b'K' as u32, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        note.extend([number, 0].map(u64::to_ne_bytes).concat());
        let mut file =
            fs::OpenOptions::new().append(true).create(true).mode(0o600).open(self.path()).expect("the notes");
        file.write_all(&note).expect("room");
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    pub fn notes(&self) -> Vec<Note> {
        let all = fs::read(self.path()).expect("the notes");
        let mut rest = all.as_slice();
        std::iter::from_fn(|| (!rest.is_empty()).then(|| note(&mut rest))).collect()
    }
}

/// As the system knows a path: without links on the way.
pub fn real(path: &Path) -> PathBuf {
    path.canonicalize().expect("a path that is there")
}

/// `struct note` of recorder.c and what follows it.
fn note(rest: &mut &[u8]) -> Note {
    let mut take = |n: usize| rest.split_off(..n).expect("a whole note");
    let mut small = || u32::from_ne_bytes(take(4).try_into().expect("four bytes"));
    let [kind, _process, thread, path_len, other_len, data_len] = std::array::from_fn(|_| small());
    let mut large = || u64::from_ne_bytes(take(8).try_into().expect("eight bytes"));
    let [file, at] = std::array::from_fn(|_| large());
    let mut text = |n: u32| PathBuf::from(String::from_utf8(take(n as usize).to_vec()).expect("a path in UTF-8"));
    let (path, other) = (text(path_len), text(other_len));
    let bytes = take(data_len as usize).to_vec();
    match char::from_u32(kind).expect("a letter") {
        'C' => Note::NewFile { file, path },
        'M' => Note::NewFolder { file, path },
        'W' => Note::Write { file, at, bytes },
        'T' => Note::Truncate { file, len: at },
        's' => Note::SyncBegins { file, thread },
        'S' => Note::SyncEnds { file, thread },
        'R' => Note::Rename { from: path, to: other },
        'L' => Note::Link { from: path, to: other },
        'U' => Note::Unlink { path },
        'A' => Note::Say { bytes },
        'K' => Note::Seen(file),
        other => panic!("no note begins with {other:?}"),
    }
}

/// Builds the recorder, unless this very one has been built. Tests in other processes may be at it, too.
fn library() -> PathBuf {
    let mut hash = DefaultHasher::new();
    SOURCE.hash(&mut hash);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("recorder-{:016x}.so", hash.finish()));
    if !path.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/behaviour/cuts/trace/recorder.c");
        let new = tempfile::NamedTempFile::new_in(folder).expect("a temporary file").into_temp_path();
        let built = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&new).arg(source).output();
        let built = built.expect("power cuts are recorded by a library in C: there must be a C compiler, `cc`");
        assert!(built.status.success(), "the recorder: {}", String::from_utf8_lossy(&built.stderr));
        new.persist(&path).expect("renamed");
    }
    path
}
