//! `terminal`: what is typed that is not for the other side.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{self, LocalFlags};
use nix::unistd::{Pid, mkfifo};

use super::exchange::raw_pty;
use super::port_server::PortServer;
use crate::site::{BANGPATH, Site, until};

/// Somebody at the terminal of a port. Ends with the test.
struct Hand {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Hand {
    fn at(site: &Site) -> Self {
        let mut command = Command::new(BANGPATH);
        command.args(["terminal", "line"]).env("BANGPATH_CONFIG", site.config());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (keys, screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, keys, screen, shown: String::new() }
    }

    fn types(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("typed");
    }

    fn sees(&mut self, wanted: &str) {
        while !self.shown.ends_with(wanted) {
            let mut byte = [0];
            assert_eq!(self.screen.read(&mut byte).expect("readable"), 1, "{wanted} does not come: {}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
    }

    /// Asks for a file to be sent, and sees these words.
    fn sends(&mut self, file: &Path, wanted: &str) {
        self.types(b"~>");
        self.sees("file: ");
        self.types(format!("{}\n", file.display()).as_bytes());
        self.sees(wanted);
    }

    fn ends(&mut self) {
        assert!(until("it ends", || self.child.try_wait().expect("a child of ours")).success());
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_is_sent_as_it_is_and_one_that_cannot_be_read_is_said_so() {
    let (device, _slave, master) = raw_pty();
    let port =
        format!("[port.line]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = 230400\nlocks = \"\"\n", device.display());
    let site = Site::new("hub", &port);
    // All values, and what would be for the terminal if it were typed.
    let bytes: Vec<u8> = b"~.\n~#".iter().copied().chain((0..=255).cycle().take(20_000)).collect();
    fs::write(site.path("letter"), &bytes).expect("a file");
    let mut far = File::from(master);
    let mut hand = Hand::at(&site);
    hand.types(b"~>");
    hand.sees("file: ");
    hand.types(format!("{}\n", site.path("no-letter").display()).as_bytes());
    hand.sees("No such file or directory (os error 2)\r\n");
    hand.types(b"~>");
    hand.sees("file: ");
    hand.types(format!("{}x\x7f\r", site.path("letter").display()).as_bytes());
    hand.sees(&format!("sending {} bytes\r\n", bytes.len()));
    let mut heard = vec![0; bytes.len()];
    far.read_exact(&mut heard).expect("it comes");
    assert!(heard == bytes, "it is another file");
    // And what is typed next is a line of its own.
    hand.types(b"x\n~.");
    let mut rest = [0; 2];
    far.read_exact(&mut rest).expect("it comes");
    assert_eq!(&rest, b"x\r");
    assert!(hand.child.wait().expect("it ends").success());
}

#[test]
fn a_break_that_is_typed_reaches_the_line() {
    let server = PortServer::new();
    let port = format!("[port.line]\ntype = \"serial\"\nserver = \"{}\"\nspeed = 9600\n", server.address);
    let site = Site::new("hub", &port);
    let mut hand = Hand::at(&site);
    hand.types(b"~#");
    let is_break = |(code, value): &(u8, Vec<u8>)| *code == 5 && matches!(value[..], [5] | [6]);
    let breaks = || server.asked().into_iter().filter(is_break).map(|(_, value)| value[0]).collect::<Vec<_>>();
    until("the break ends", || (breaks().len() == 2).then_some(()));
    assert_eq!(breaks(), [5, 6]);
    hand.types(b"~.");
    assert!(hand.child.wait().expect("it ends").success());
}

/// A site whose port leads to where nobody reads, and a file of 100 MB.
fn to_nobody() -> (TcpListener, Site) {
    let far = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = far.local_addr().expect("an address");
    let site = Site::new("hub", &format!("[port.line]\ntype = \"tcp\"\naddress = \"{address}\"\n"));
    File::create(site.path("letter")).and_then(|file| file.set_len(100_000_000)).expect("a file");
    (far, site)
}

#[test]
fn a_line_that_is_closed_while_a_file_is_sent_ends_it() {
    let (far, site) = to_nobody();
    let mut hand = Hand::at(&site);
    hand.sends(&site.path("letter"), "sending 100000000 bytes\r\n");
    drop(far.accept().expect("it calls"));
    hand.sees("the line is closed\r\n");
    hand.ends();
}

#[test]
fn the_end_typed_twice_does_not_wait_for_a_line_that_takes_nothing() {
    let (_far, site) = to_nobody();
    let mut hand = Hand::at(&site);
    hand.sends(&site.path("letter"), "sending 100000000 bytes\r\n");
    hand.types(b"~.~.");
    hand.ends();
}

#[test]
fn what_may_keep_us_or_has_no_end_is_no_file() {
    let (_far, site) = to_nobody();
    mkfifo(&site.path("fifo"), Mode::S_IRWXU).expect("a FIFO");
    let mut hand = Hand::at(&site);
    hand.sends(&site.path("fifo"), "it is no file\r\n");
    hand.sends(Path::new("/dev/zero"), "it is no file\r\n");
    hand.types(b"~.");
    hand.ends();
}

/// A site with a line at which nobody speaks, and the folder of its locks.
fn at_a_silent_line() -> (Site, tempfile::TempDir, [OwnedFd; 2]) {
    let (device, slave, master) = raw_pty();
    let locks = tempfile::tempdir().expect("a folder");
    let (shown, folder) = (device.display(), locks.path().display());
    let port = format!(
        "[port.line]\ntype = \"serial\"\ndevice = \"{shown}\"\nspeed = 230400\nlocks = \"{folder}\"\n\
         [sites.village]\ncall = [{{ port = \"line\", chat = 'never\\W600 x' }}, {{ port = \"line\", chat = 'again\\W600 x' }}]\n"
    );
    (Site::new("hub", &port), locks, [slave, master])
}

fn count(folder: &tempfile::TempDir) -> usize {
    fs::read_dir(folder.path()).expect("a folder").count()
}

#[test]
fn told_to_end_it_gives_back_the_terminal_and_the_lock_of_the_line() {
    let (site, locks, _line) = at_a_silent_line();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let users = openpty(None, None).expect("a pty");
        let mut command = Command::new(BANGPATH);
        command.args(["terminal", "line"]).env("BANGPATH_CONFIG", site.config());
        let mut child = command.stdin(users.slave.try_clone().expect("a descriptor")).spawn().expect("it starts");
        let is_raw = || {
            let modes = termios::tcgetattr(&users.slave).expect("a terminal");
            !modes.local_flags.contains(LocalFlags::ICANON)
        };
        until("the terminal is raw", || is_raw().then_some(()));
        assert_eq!(count(&locks), 1);
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it lives");
        until("it ends", || child.try_wait().expect("a child of ours"));
        assert!(!is_raw(), "{signal}: the terminal stays raw");
        assert_eq!(count(&locks), 0, "{signal}: the lock stays");
    }
}

#[test]
fn told_to_end_a_call_and_a_line_test_give_back_the_lock_of_the_line() {
    let (site, locks, _line) = at_a_silent_line();
    for words in [&["call", "village"][..], &["doctor", "line", "--wait", "600"]] {
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
            let mut command = Command::new(BANGPATH);
            command.args(words).env("BANGPATH_CONFIG", site.config()).stdin(Stdio::null());
            let mut child = command.spawn().expect("it starts");
            until("the line is locked", || (count(&locks) == 1).then_some(()));
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it lives");
            until("it ends", || child.try_wait().expect("a child of ours"));
            assert_eq!(count(&locks), 0, "{words:?}, {signal}: the lock stays");
        }
    }
}
