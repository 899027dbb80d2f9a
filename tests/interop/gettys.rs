//! Other programs on our serial lines: minicom, by its lock files; agetty and mgetty, behind which we answer.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::exchange::{Exchange, Setup};
use super::line::NullModem;
use super::ours::{BANGPATH, Ours, until};
use super::peers;
use super::taylor::Taylor;

/// A program that is started again whenever it has ended, as init does it with a getty. Ends with the test.
struct Respawned {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Respawned {
    /// `log` gets what it says.
    fn start(mut command: Command, log: &Path) -> Self {
        let file = || fs::OpenOptions::new().append(true).create(true).open(log).expect("a file");
        command.stdin(Stdio::null()).stdout(file()).stderr(file());
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn(move || {
            let mut child = command.spawn().expect("the getty starts");
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                if matches!(child.try_wait(), Ok(Some(_))) {
                    child = command.spawn().expect("the getty starts");
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Respawned {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A getty has a session of its own, which its line can control.
fn in_a_session(program: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

/// The name of a device as a getty wants it: below `/dev`.
fn below_dev(device: &Path) -> &Path {
    device.strip_prefix("/dev").expect("a device")
}

fn script(path: &Path, line: &str) -> PathBuf {
    fs::write(path, format!("#!/bin/sh\nexec {line}\n")).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a file");
    path.to_owned()
}

fn hub(rest: &str) -> Ours {
    let hub = Ours::new("hub", &format!("{rest}[sites.village]\ncalled-login = \"Uvillage\"\n"));
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    hub
}

/// Calls the hub over this device; `port` and `way` are more keys of each.
fn village(device: &Path, port: &str, way: &str) -> Ours {
    let village = Ours::new("village", "");
    fs::write(village.folder.path().join("password"), "secret\n").expect("a file");
    village.configure(&format!(
        "[port.out]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = 115200\nflow = \"none\"\n{port}\n[sites.hub]\n\
         call = [{{ port = \"out\", {way} }}]\nlogin = \"Uvillage\"\npassword-file = \"password\"\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n",
        device.display()
    ));
    village
}

fn call(village: &Ours, explain: impl Fn() -> String) {
    village.run(&["sendmail", "alice@hub.example"], b"Subject: test\n\nHello\n");
    let call = village.call("hub");
    assert!(call.status.success(), "{}: {}", String::from_utf8_lossy(&call.stderr), explain());
}

/// The login may be agetty's own, or the program behind it asks.
const LOGIN: &str = "chat = '\"\" \\r\\c ogin:-\\r\\c-ogin: \\L word: \\P'";

/// agetty with these options runs `words`; our caller logs in there and leaves a letter.
fn check_agetty(options: &[&str], folder: &Path, words: &str, letter: impl Fn() -> bool) {
    let Some(agetty) = peers::find("sbin/agetty") else { return };
    let modem = NullModem::new();
    let program = script(&folder.join("line"), words);
    let log = folder.join("agetty.log");
    let mut command = in_a_session(&agetty);
    command.args(["--noissue", "--8bits", "--login-program"]).arg(program).args(options);
    command.arg("115200").arg(below_dev(&modem.devices[1]));
    let _getty = Respawned::start(command, &log);
    let village = village(&modem.devices[0], "locks = \"\"", LOGIN);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    for _ in 0..2 {
        call(&village, said);
    }
    until("the letters", || letter().then_some(()), said);
}

#[test]
fn behind_agetty_we_ask_for_the_login() {
    let hub = hub("");
    let words = format!("{} -l", hub.uucico().join(" "));
    check_agetty(&["--skip-login"], hub.folder.path(), &words, || hub.mail_count("alice") == 2);
}

#[test]
fn agetty_asks_for_the_name_and_we_for_the_password() {
    let hub = hub("");
    let words = format!("{} -l -u \"$1\"", hub.uucico().join(" "));
    check_agetty(&["--login-options", "\\u"], hub.folder.path(), &words, || hub.mail_count("alice") == 2);
}

#[test]
fn taylor_behind_agetty_is_logged_in_to() {
    let Some(taylor) = Taylor::new("hub", "village", "type stdin", "called-login Uvillage") else { return };
    let words = taylor.uucico_with_login().join(" ");
    check_agetty(&["--skip-login"], taylor.folder.path(), &words, || taylor.execute("mail.").len() == 2);
}

/// mgetty on this device, which runs us for those whose name begins with U. Its folders are below `folder`.
fn mgetty(device: &Path, folder: &Path, hub: &Ours) -> Option<Respawned> {
    let program = peers::find("sbin/mgetty")?;
    for inner in ["etc/mgetty", "var/lock", "var/log/mgetty", "var/run"] {
        fs::create_dir_all(folder.join(inner)).expect("a folder");
    }
    let login = folder.join("etc/mgetty/login.config");
    fs::write(&login, format!("U*\t-\t@\t{} -l -u @\n", hub.uucico().join(" "))).expect("a file");
    // It heeds no list that others may read.
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).expect("a file");
    let mut command = in_a_session(&program);
    command.args(["-D", "-x", "4", "-s", "115200"]).arg(below_dev(device));
    command.env("LD_PRELOAD", peers::folder().join("elsewhere.so")).env("ELSEWHERE", folder);
    Some(Respawned::start(command, &folder.join("said")))
}

#[test]
fn mgetty_answers_asks_for_the_name_and_leaves_the_line_to_us_when_we_call_out() {
    if !nix::unistd::getuid().is_root() {
        return peers::skip("mgetty, which heeds root's list of logins alone: only root can run it");
    }
    let busy = Setup { busy: true, ..Setup::number("333") };
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222"), busy]);
    let top = tempfile::tempdir().expect("a folder");
    let (folder, device) = (top.path(), &exchange.devices[0]);
    let hub = hub(&format!(
        "[port.out]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = 115200\nflow = \"none\"\nmodem = \"mgetty\"\nlocks = \"{}\"\n\
         [sites.town]\ncall = [{{ port = \"out\", phone = \"333\", chat = \"\" }}]\n",
        device.display(),
        folder.join("var/lock").display()
    ));
    let Some(_getty) = mgetty(device, folder, &hub) else { return };
    let log = || {
        let logs = fs::read_dir(folder.join("var/log/mgetty")).into_iter().flatten().flatten();
        logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default()).collect::<String>()
    };
    let waits = |times: usize| {
        let is_ready = || (log().matches("waiting...").count() >= times).then_some(());
        until("mgetty waits", is_ready, log);
    };
    waits(1);
    let keys = "locks = \"\"\nmodem = \"hayes\"";
    let village = village(&exchange.devices[1], keys, "phone = \"111\", chat = 'ogin:-\\r\\c-ogin: \\L word: \\P'");
    call(&village, log);
    until("the letter", || (hub.mail_count("alice") == 1).then_some(()), log);
    waits(2);
    let called = hub.call("town");
    assert!(String::from_utf8_lossy(&called.stderr).contains("`BUSY`"), "{}", String::from_utf8_lossy(&called.stderr));
    // It has heard the modem, too, and found our lock.
    until("mgetty stands back", || log().contains("lock file exists").then_some(()), log);
}

/// minicom on this device, with its locks in this folder, and what keeps the terminal where it runs.
fn minicom(device: &Path, locks: &Path) -> Option<(Command, nix::pty::OpenptyResult)> {
    let mut command = peers::command("usr/bin/minicom")?;
    let settings = format!("pu lock {}\npu minit \npu mreset \n", locks.display());
    fs::write(locks.join(".minirc.dfl"), settings).expect("a file");
    let terminal = nix::pty::openpty(None, None).expect("a pty");
    let end = || Stdio::from(terminal.slave.try_clone().expect("a descriptor"));
    command.arg("-D").arg(device).env("HOME", locks).env("TERM", "vt100").stdin(end()).stdout(end()).stderr(end());
    Some((command, terminal))
}

#[test]
fn minicom_and_we_leave_a_device_to_whoever_has_it() {
    let exchange = Exchange::new(&[Setup::number("111")]);
    let locks = tempfile::tempdir().expect("a folder");
    let device = &exchange.devices[0];
    let lock = locks.path().join(format!("LCK..{}", below_dev(device).display().to_string().replace('/', "_")));
    let keys = format!("modem = \"hayes\"\nlocks = \"{}\"", locks.path().display());
    let village = village(device, &keys, "phone = \"999\"");
    let said = || String::from_utf8_lossy(&village.call("hub").stderr).into_owned();
    let Some((mut theirs, _terminal)) = minicom(device, locks.path()) else { return };

    let mut running = theirs.spawn().expect("minicom starts");
    until("minicom has the device", || lock.exists().then_some(()), || format!("{:?}", exchange.commands(0)));
    let of_theirs = fs::read_to_string(&lock).expect("its lock");
    assert!(said().contains("is in use by another program"), "{of_theirs}");
    assert_eq!(exchange.commands(0), [""; 0]);
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    assert!(lock.exists(), "who is killed leaves a lock");
    assert!(said().contains("NO CARRIER"), "{of_theirs}");

    let mut ours = Command::new(BANGPATH);
    ours.args(["terminal", "out"]).env("BANGPATH_CONFIG", &village.config);
    let mut ours = ours.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    until("we have the device", || lock.exists().then_some(()), String::new);
    assert_eq!(theirs.status().expect("minicom starts").code(), Some(1), "it does not begin");
    ours.stdin.take().expect("piped").write_all(b"~.").expect("typed");
    assert!(ours.wait().expect("it ends").success());
    let mut running = theirs.spawn().expect("minicom starts");
    until("minicom has the device", || lock.exists().then_some(()), String::new);
    running.kill().expect("it runs");
    running.wait().expect("it ends");
}
