//! Lines between a caller and a program that answers: TCP and a pair of ptys, which can be cut after some bytes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{self, BaudRate, SetArg};

/// Bytes carried from the caller, and back.
#[derive(Default)]
pub struct Carried {
    pub forth: AtomicU64,
    pub back: AtomicU64,
}

/// Answers each connection on a port of its own with a new process of `argv`, as inetd does. The first `cuts` connections
/// are cut when so many bytes have gone either way.
pub fn inetd(argv: Vec<String>, cuts: Vec<u64>) -> (String, Arc<Carried>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let carried = Arc::new(Carried::default());
    let counted = Arc::clone(&carried);
    thread::spawn(move || {
        let mut cuts = cuts.into_iter();
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (argv, cut, counted) = (argv.clone(), cuts.next(), Arc::clone(&counted));
            thread::spawn(move || answer(&stream, &argv, cut, &counted));
        }
    });
    (address, carried)
}

fn answer(stream: &TcpStream, argv: &[String], cut: Option<u64>, carried: &Arc<Carried>) {
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the answering program starts");
    let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = (stream.try_clone().expect("a socket"), stream.try_clone().expect("a socket"));
    let (counted, other) = (Arc::clone(carried), stream.try_clone().expect("a socket"));
    let forth = thread::spawn(move || {
        copy(&mut reader, &mut input, &counted.forth, cut);
        let _ = other.shutdown(std::net::Shutdown::Both);
    });
    copy(&mut output, &mut writer, &carried.back, cut);
    // A dead line takes nothing any more: who still writes hears of it at once.
    drop(output);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = forth.join();
    // It sees the end of its input and does what it does last.
    for _ in 0..500 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Copies until the end, or until the line is cut.
fn copy(from: &mut impl Read, to: &mut impl Write, counter: &AtomicU64, cut: Option<u64>) {
    let mut buffer = [0; 4096];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let gone = counter.fetch_add(count as u64, Ordering::SeqCst);
        let left = cut.map_or(count, |cut| (cut.saturating_sub(gone) as usize).min(count));
        if to.write_all(&buffer[..left]).is_err() || left < count {
            return;
        }
    }
}

/// Two ptys, cross-connected: two devices of which each carries what is written to the other.
pub struct NullModem {
    pub devices: [PathBuf; 2],
    masters: [OwnedFd; 2],
}

impl NullModem {
    /// Make it before other threads start programs.
    pub fn new() -> Self {
        let (a, b) = (openpty(None, None).expect("a pty"), openpty(None, None).expect("a pty"));
        // A program started elsewhere would keep the line open, and it would look as if somebody had called.
        for end in [&a.master, &a.slave, &b.master, &b.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor");
        }
        for slave in [&a.slave, &b.slave] {
            let mut modes = termios::tcgetattr(slave).expect("a terminal");
            termios::cfmakeraw(&mut modes);
            // As a getty would; who answers keeps to it.
            termios::cfsetspeed(&mut modes, BaudRate::B4000000).expect("a speed");
            termios::tcsetattr(slave, SetArg::TCSANOW, &modes).expect("a terminal");
        }
        let devices = [&a.slave, &b.slave].map(|s| nix::unistd::ttyname(s).expect("a name"));
        for (from, to) in [(&a.master, &b.master), (&b.master, &a.master)] {
            let clone = |fd: &OwnedFd| File::from(fd.try_clone().expect("a descriptor"));
            let (mut from, mut to) = (clone(from), clone(to));
            thread::spawn(move || {
                let mut buffer = [0; 512];
                loop {
                    match from.read(&mut buffer) {
                        Ok(count) if count > 0 => to.write_all(&buffer[..count]).unwrap_or(()),
                        // Nobody has opened the device yet, or everybody has closed it.
                        Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => {
                            thread::sleep(Duration::from_millis(5))
                        }
                        Ok(_) | Err(_) => return,
                    }
                }
            });
        }
        Self { devices, masters: [a.master, b.master] }
    }

    /// Whether a program has opened this end.
    pub fn is_open(&self, end: usize) -> bool {
        let mut look = [PollFd::new(self.masters[end].as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut look, PollTimeout::ZERO);
        !look[0].revents().is_some_and(|r| r.contains(PollFlags::POLLHUP))
    }
}
