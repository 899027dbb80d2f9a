//! A site of ours in a temporary folder: commands and the daemon as processes, and what its store holds.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bangpath::base::names::UserName;
use bangpath::base::time::Timestamp;
use bangpath::store::articles::Overview;
use bangpath::store::ledger::DeadLetter;
use bangpath::store::mailboxes::User;
use bangpath::store::{BodyId, Cargo, Hop, Item, ItemFilter, Store, StoreError, View};

pub const BANGPATH: &str = env!("CARGO_BIN_EXE_bangpath");
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Later than anything that waits.
const MUCH_LATER: Timestamp = Timestamp::from_seconds(100_000_000_000);

pub struct Site {
    folder: tempfile::TempDir,
    name: String,
    /// Of every program that it runs.
    environment: Vec<(String, String)>,
}

impl Site {
    /// With the users alice and bob; `rest` is the configuration behind `[site]`.
    pub fn new(name: &str, rest: &str) -> Self {
        Self::within(tempfile::tempdir(), name, rest)
    }

    /// The same on a disk in memory, if there is one: what a killed process wrote is kept by either.
    pub fn in_memory(name: &str, rest: &str) -> Self {
        Self::within(memory_folder(), name, rest)
    }

    fn within(folder: std::io::Result<tempfile::TempDir>, name: &str, rest: &str) -> Self {
        let site = Self::bare(folder, name);
        site.configure(rest);
        for user in ["alice", "bob"] {
            site.add_user(user, None);
        }
        site
    }

    fn bare(folder: std::io::Result<tempfile::TempDir>, name: &str) -> Self {
        Self { folder: folder.expect("a temporary folder"), name: name.to_owned(), environment: Vec::new() }
    }

    /// A folder in memory, and nothing in it.
    pub fn empty(name: &str) -> Self {
        Self::bare(memory_folder(), name)
    }

    /// The same site once more, in memory, with a copy of its store.
    pub fn copy(&self, rest: &str) -> Self {
        let copy = Self::empty(&self.name);
        copy_folder(&self.spool(), &copy.spool());
        copy.configure(rest);
        copy
    }

    pub fn add_user(&self, name: &str, password: Option<String>) {
        let added = Timestamp::from_seconds(1_000_000_000);
        let user = User { name: user(name), password, added };
        self.store().write::<_, StoreError>(|change| change.set_user(&user)).expect("a user");
    }

    pub fn configure(&self, rest: &str) {
        let text = format!(
            "[site]\nname = \"{0}\"\ndomain = \"{0}.example\"\nspool = \"{1}\"\npostmaster = \"alice\"\nreserve = \"1M\"\n\n{rest}\n",
            self.name,
            self.spool().display()
        );
        fs::write(self.config(), text).expect("a file");
    }

    /// What the programs that it runs find in their environment from now on.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Where all of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("bangpath.toml")
    }

    pub fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    /// Runs a command to its end. `cut` is the commit point before (`7`) or after (`7+`) which it is aborted.
    pub fn try_run(&self, words: &[&str], input: &[u8], cut: Option<&str>) -> Output {
        let mut command = Command::new(BANGPATH);
        command.args(words).env("BANGPATH_CONFIG", self.config()).envs(self.environment.clone());
        if let Some(cut) = cut {
            command.env("BANGPATH_ABORT_AT", cut);
        }
        run(command, input)
    }

    /// Runs a command, and wants it to succeed.
    pub fn run(&self, words: &[&str], input: &[u8]) -> String {
        let output = self.try_run(words, input, None);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn daemon(&self, cut: Option<&str>) -> Daemon {
        let path = self.spool().join("listening");
        // What a daemon that was killed has left.
        let _ = fs::remove_file(&path);
        let mut command = Command::new(BANGPATH);
        command.args(["run", "-c"]).arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(self.environment.clone());
        if let Some(cut) = cut {
            command.env("BANGPATH_ABORT_AT", cut);
        }
        command.stderr(fs::File::create(self.path("log")).expect("a file"));
        let mut child = command.spawn().expect("the daemon starts");
        let listening = until("the daemon listens", || match child.try_wait().expect("a process") {
            Some(_) => Some(String::new()),
            None => fs::read_to_string(&path).ok(),
        });
        Daemon { child, listening }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.spool()).expect("a store")
    }

    fn read<T>(&self, look: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> T {
        self.store().read(look).expect("readable")
    }

    /// The messages in a mailbox, oldest first.
    pub fn mail(&self, name: &str) -> Vec<String> {
        self.read(|view| {
            let entries = view.mailbox(&user(name))?;
            entries.iter().map(|e| text(view, e.body)).collect()
        })
    }

    /// Every article as often as it stands in a group.
    pub fn articles(&self) -> Vec<Overview> {
        self.read(|view| {
            let mut found = Vec::new();
            for group in view.groups()? {
                found.extend(view.overview(&group.name, 0..=u64::MAX, usize::MAX)?.into_iter().map(|(_, o)| o));
            }
            Ok(found)
        })
    }

    /// The Message-ID and the text of every article, header and all, as often as it stands in a group.
    pub fn article_texts(&self) -> Vec<(String, String)> {
        let articles = self.articles();
        self.read(|view| {
            let whole = |overview: Overview| {
                let article = view.article(&overview.message_id)?;
                let article =
                    article.ok_or_else(|| StoreError::Damaged("an overview without its article".to_owned()))?;
                Ok((overview.message_id, text(view, article.body)?))
            };
            articles.into_iter().map(whole).collect()
        })
    }

    /// The mail that waits to leave, with its next hop.
    pub fn waiting_mail(&self) -> Vec<(Hop, String)> {
        self.read(|view| {
            let mail = |item: Item| match item.cargo {
                Cargo::Mail { body, .. } => Some((item.hop, body)),
                Cargo::Article { .. }
                | Cargo::File { .. }
                | Cargo::Fetch { .. }
                | Cargo::Expand { .. }
                | Cargo::Command { .. } => None,
            };
            let items = view.items(&ItemFilter::default())?;
            items.into_iter().filter_map(mail).map(|(hop, body)| Ok((hop, text(view, body)?))).collect()
        })
    }

    pub fn has_user(&self, name: &str) -> bool {
        self.read(|view| view.user(&user(name))).is_some()
    }

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.read(|view| view.dead_letters())
    }

    /// How much waits to leave.
    pub fn queued(&self) -> usize {
        self.read(|view| Ok(view.items(&ItemFilter::default())?.len()))
    }

    /// Whether nothing that came waits to be unpacked.
    pub fn is_unpacked(&self) -> bool {
        self.read(|view| Ok(view.received(MUCH_LATER, usize::MAX)?.is_empty()))
    }

    /// Whether nothing waits, to leave or to be unpacked.
    pub fn is_idle(&self) -> bool {
        self.queued() == 0 && self.is_unpacked()
    }
}

fn text(view: &View<'_>, body: BodyId) -> Result<String, StoreError> {
    let bytes = view.body(body)?.bytes(u64::MAX).expect("readable");
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn user(name: &str) -> UserName {
    UserName::parse(name).expect("a user name")
}

fn memory_folder() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// Ends with the test.
pub struct Daemon {
    child: Child,
    listening: String,
}

impl Daemon {
    /// The address of a service, if the daemon came to listen.
    pub fn address(&self, service: &str) -> Option<String> {
        self.listening.lines().find_map(|l| l.strip_prefix(service)).map(|a| a.trim().to_owned())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Has it end in order.
    pub fn stop(mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        until("the daemon ends", || self.has_ended().then_some(()));
    }

    /// Whether it has come to an end by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a process").is_some()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, or fails when it takes too long.
pub fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let input = input.to_owned();
    // A program may end without reading what it does not want.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("written");
    let _ = done.send(());
    output
}

/// Whether it ended at the commit point that it was told.
pub fn was_cut(output: &Output) -> bool {
    output.status.signal() == Some(nix::libc::SIGABRT)
}

/// What a command said, for a failed test.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: it does not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that sends lines and hears answers; `None` once the connection is dead.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Some(Self { stream: BufReader::new(stream) })
    }

    pub fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.get_mut().write_all(bytes).ok()
    }

    /// One answer, the last line of it.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    pub fn ask(&mut self, line: &str) -> Option<String> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.hear()
    }
}
