//! A site of ours in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub const BANGPATH: &str = env!("CARGO_BIN_EXE_bangpath");
/// How long any one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Ours {
    pub folder: TempDir,
    pub config: PathBuf,
    name: String,
}

impl Ours {
    /// `rest` is the configuration behind `[site]`.
    pub fn new(name: &str, rest: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("site-").tempdir().expect("a folder");
        let config = folder.path().join("bangpath.toml");
        let site = Self { folder, config, name: name.to_owned() };
        site.configure(rest);
        site.run(&["user", "add", "alice"], b"");
        site
    }

    pub fn configure(&self, rest: &str) {
        let spool = self.folder.path().join("spool");
        let text = format!(
            "[site]\nname = \"{0}\"\ndomain = \"{0}.example\"\nspool = \"{1}\"\npostmaster = \"alice\"\nreserve = \"1M\"\n\n{rest}\n",
            self.name,
            spool.display()
        );
        fs::write(&self.config, text).expect("a file");
    }

    pub fn public(&self) -> PathBuf {
        self.folder.path().join("spool/public")
    }

    /// The words that answer a call.
    pub fn uucico(&self) -> Vec<String> {
        [BANGPATH, "uucico", "-I", &self.config.display().to_string()].map(str::to_owned).into()
    }

    /// Runs a command, and wants it to succeed.
    pub fn run(&self, words: &[&str], input: &[u8]) -> String {
        let output = self.try_run(words, input);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn try_run(&self, words: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(BANGPATH);
        command.args(words).env("BANGPATH_CONFIG", &self.config);
        run(command, input)
    }

    pub fn call(&self, site: &str) -> Output {
        self.try_run(&["call", site], b"")
    }

    /// The newest message of a user.
    pub fn mail(&self, user: &str) -> String {
        self.run(&["mailbox", "show", user], b"")
    }

    /// How many messages a user has.
    pub fn mail_count(&self, user: &str) -> usize {
        let list = self.run(&["mailbox", "list", user, "--json"], b"");
        list.matches("\"number\"").count()
    }

    pub fn daemon(&self) -> Daemon {
        let log = fs::File::create(self.folder.path().join("log")).expect("a file");
        let child = Command::new(BANGPATH)
            .args(["run", "-c"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        let daemon = Daemon { child };
        let path = self.folder.path().join("spool/listening");
        let log = self.folder.path().join("log");
        until("the daemon listens", || path.exists().then_some(()), || fs::read_to_string(&log).unwrap_or_default());
        daemon
    }

    /// What the daemon has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The address of a service of the running daemon.
    pub fn address(&self, service: &str) -> String {
        let text = fs::read_to_string(self.folder.path().join("spool/listening")).expect("the daemon runs");
        let line = text.lines().find_map(|l| l.strip_prefix(service)).expect("the service is on");
        line.trim().to_owned()
    }
}

/// Ends with the test.
pub struct Daemon {
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, or fails when it takes too long.
pub fn run(mut command: Command, input: &[u8]) -> Output {
    use std::io::Write as _;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_vec());
    // A program may answer before it has read everything, or end without reading what it does not want.
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().expect("its output");
    let _ = done.send(());
    output
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>, explain: impl Fn() -> String) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: it does not come to that: {}", explain());
}

/// Bytes that are the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub fn assert_same(path: &Path, expected: &[u8]) {
    let got = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(got == expected, "{} differs: {} bytes, expected {}", path.display(), got.len(), expected.len());
}
