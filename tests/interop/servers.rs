//! Servers of others on ports of their own: Postfix's `smtp-sink`, and a private INN.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::ours::{run, until};
use super::peers;

/// A program that ends with the test.
pub struct Running(Child);

impl Running {
    /// Starts it and waits until it answers at `address`; `log` gets what it says.
    pub fn start(mut command: Command, address: &str, log: &Path) -> Self {
        let said = fs::File::create(log).expect("a file");
        let said_too = said.try_clone().expect("a file");
        let child = command.stdin(Stdio::null()).stdout(said).stderr(said_too).spawn().expect("the server starts");
        let server = Self(child);
        let explain = || fs::read_to_string(log).unwrap_or_default();
        until("the server answers", || TcpStream::connect(address).ok().map(drop), explain);
        server
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free just now, for programs that cannot be told to find one.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// `smtp-sink`: takes every mail and keeps it in a file.
pub struct Sink {
    folder: TempDir,
    pub address: String,
    _server: Running,
}

impl Sink {
    pub fn start() -> Option<Self> {
        let mut command = peers::command("usr/sbin/smtp-sink")?;
        let folder = tempfile::Builder::new().prefix("sink-").tempdir().expect("a folder");
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).expect("a folder");
        let address = free_address();
        if nix::unistd::getuid().is_root() {
            // It refuses to be root.
            for place in [folder.path(), &kept] {
                fs::set_permissions(place, fs::Permissions::from_mode(0o777)).expect("a folder");
            }
            command.args(["-u", "nobody"]);
        }
        command.current_dir(&kept).args(["-d", "mail.", &address, "20"]);
        let server = Running::start(command, &address, &folder.path().join("log"));
        Some(Self { folder, address, _server: server })
    }

    /// What it got, in any order: `MAIL` and `RCPT` with their addresses, then header and body, lines ending in LF.
    pub fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("kept")).expect("a folder");
        let mails = entries.flatten().map(|e| fs::read(e.path()).expect("a mail"));
        // It ends each file with an empty line; a file without is still being written.
        let whole = mails.filter_map(|m| m.strip_suffix(b"\n\n").map(|m| [m, b"\n"].concat()));
        whole.map(|m| String::from_utf8_lossy(&m).into_owned()).map(|m| without_trace(&m)).collect()
    }
}

/// Drops what the sink itself puts before a mail, but for the envelope.
fn without_trace(mail: &str) -> String {
    let (trace, rest) = mail.split_once("Received: ").expect("its own trace");
    let envelope = trace.lines().filter(|l| l.starts_with("X-Mail-Args: ") || l.starts_with("X-Rcpt-Args: "));
    let envelope = envelope.map(|l| l.replace("X-Mail-Args:", "MAIL").replace("X-Rcpt-Args:", "RCPT") + "\n");
    // Its `Received` has three lines.
    let header = rest.splitn(4, '\n').nth(3).expect("a mail");
    envelope.collect::<String>() + header
}

/// User and group of news on every Debian: innd runs as nobody else.
const NEWS: &str = "9";

/// A private `innd`.
pub struct Inn {
    folder: TempDir,
    pub address: String,
    /// The words before a program of INN that make it run as user news.
    as_news: Vec<String>,
    _server: Running,
}

impl Inn {
    pub const NAME: &'static str = "inn.example.net";

    /// Carries `groups`; takes articles from everybody on this machine. `None` where it is missing or cannot run.
    pub fn start(groups: &[&str]) -> Option<Self> {
        let innd = peers::find("usr/lib/news/bin/innd")?;
        let folder = tempfile::Builder::new().prefix("inn-").tempdir().expect("a folder");
        let address = free_address();
        let (_, port) = address.rsplit_once(':').expect("a port");
        configure(folder.path(), groups, &innd);
        let as_news = as_news(folder.path())?;
        let of_inn = |program: &str, words: &[&str]| {
            let mut command = of_inn(folder.path(), &as_news, program);
            command.args(words);
            command
        };
        let made = run(of_inn("makedbz", &["-i", "-o", "-s", "10000"]), b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let server = Running::start(of_inn("innd", &["-f", "-P", port]), &address, &folder.path().join("said"));
        Some(Self { folder, address, as_news, _server: server })
    }

    /// A program of INN's, for this server.
    pub fn command(&self, program: &str) -> Command {
        of_inn(self.folder.path(), &self.as_news, program)
    }

    /// The articles of a group as they lie in its spool, by number.
    pub fn articles(&self, group: &str) -> Vec<String> {
        let folder = self.folder.path().join("articles").join(group.replace('.', "/"));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let numbered = entries.filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path())));
        let mut numbered: Vec<(u64, PathBuf)> = numbered.collect();
        numbered.sort();
        let read =
            |(_, path): &(u64, PathBuf)| String::from_utf8_lossy(&fs::read(path).expect("an article")).into_owned();
        numbered.iter().map(read).collect()
    }

    /// What it took and refused, and why.
    pub fn log(&self) -> String {
        let news = fs::read_to_string(self.folder.path().join("log/news")).unwrap_or_default();
        news + &fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    /// A script that runs one of its programs, for others to call.
    pub fn script(&self, program: &str, words: &str) -> String {
        let command = self.command(program);
        let mut line: Vec<String> = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}='{}'", name.to_str()?, value?.to_str()?)))
            .collect();
        line.insert(0, "exec env".to_owned());
        line.push(command.get_program().to_string_lossy().into_owned());
        line.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
        format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{} {words}\n", line.join(" "))
    }
}

fn configure(folder: &Path, groups: &[&str], innd: &Path) {
    let programs = innd.parent().expect("a folder");
    let news = programs.parent().expect("a folder");
    let etc = peers::folder().join("etc/news");
    let etc = if etc.exists() { etc } else { PathBuf::from("/etc/news") };
    let paths = [
        "etc", "db", "log", "run", "spool", "articles", "overview", "incoming", "outgoing", "archive", "tmp", "filter",
    ];
    for path in paths {
        fs::create_dir(folder.join(path)).expect("a folder");
    }
    fs::create_dir(folder.join("incoming/bad")).expect("a folder");
    for entry in fs::read_dir(etc).expect("its configuration").flatten().filter(|e| e.path().is_file()) {
        fs::copy(entry.path(), folder.join("etc").join(entry.file_name())).expect("a file");
    }
    let places: String = paths.iter().map(|p| format!("path{p}: {}\n", folder.join(p).display())).collect();
    let conf = format!(
        "domain: example.net\npathhost: {}\nmta: \"/bin/true\"\nbindaddress: 127.0.0.1\novmethod: tradindexed\nhismethod: hisv6\n\
         artcutoff: 0\nwireformat: false\npathnews: {}\npathbin: {}\n{places}",
        Inn::NAME,
        news.display(),
        programs.display()
    );
    let internal = ["control", "control.cancel", "control.checkgroups", "control.newgroup", "control.rmgroup", "junk"];
    let group = |name: &&str| format!("{name} 0000000000 0000000001 y\n");
    let files = [
        ("etc/inn.conf", conf),
        ("etc/storage.conf", "method tradspool {\n newsgroups: *\n class: 0\n}\n".to_owned()),
        ("etc/newsfeeds", "ME:*::\n".to_owned()),
        (
            "etc/incoming.conf",
            "streaming: true\nmax-connections: 8\npeer local {\n hostname: \"127.0.0.1\"\n}\n".to_owned(),
        ),
        ("db/active", internal.iter().chain(groups).map(group).collect()),
        ("db/history", String::new()),
    ];
    for (file, text) in files {
        fs::write(folder.join(file), text).expect("a file");
    }
}

fn of_inn(folder: &Path, as_news: &[String], program: &str) -> Command {
    let program = peers::find(&format!("usr/lib/news/bin/{program}")).expect("innd is there, so are the others");
    let mut command = Command::new(&as_news[0]);
    command.args(&as_news[1..]).arg(program);
    command.env("INNCONF", folder.join("etc/inn.conf")).env("LD_LIBRARY_PATH", peers::libraries());
    command
}

/// In a user namespace we are called news, whoever we are; where there are none, root becomes news.
fn as_news(folder: &Path) -> Option<Vec<String>> {
    let words = |text: String| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<String>>();
    let namespace = words(format!("unshare --user --map-user={NEWS} --map-group={NEWS}"));
    let mut attempt = Command::new(&namespace[0]);
    attempt.args(&namespace[1..]).arg("true");
    if run(attempt, b"").status.success() {
        return Some(namespace);
    }
    if !nix::unistd::getuid().is_root() {
        peers::skip("what needs INN, which runs as user news: this is neither root nor are there user namespaces");
        return None;
    }
    let mut give = Command::new("chown");
    give.args(["-R", &format!("{NEWS}:{NEWS}")]).arg(folder);
    assert!(run(give, b"").status.success());
    Some(words(format!("setpriv --reuid {NEWS} --regid {NEWS} --clear-groups")))
}
