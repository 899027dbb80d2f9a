//! Serial ports of ours as the kernel has them: how they are set, who may use them, and what is left behind on them.

use std::cell::Cell;
use std::ffi::{c_int, c_ulong, c_void};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bangpath::call;
use bangpath::link::{CarrierLine, Flow, Link, LinkError, Parity, Place, SerialLine, open_serial};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::termios::{self, ControlFlags, InputFlags, Termios};

use super::carrier::{hear, run};
use super::exchange::raw_pty;
use super::port_server::PortServer;
use crate::site::{Site, until};

thread_local! {
    /// How this thread last set a serial port.
    static ASKED: Cell<Option<libc::termios2>> = const { Cell::new(None) };
    /// The modem lines that this thread finds on a serial port; without them, those that a pty has: none.
    static WIRES: Cell<Option<c_int>> = const { Cell::new(None) };
}

/// The kernel leaves a pty eight bits without parity whatever it is asked for, so what it is asked for is noted on the way; and
/// a pty has no modem lines, so they are made up.
///
/// # Safety
///
/// As that of the C library, whose place it takes in this program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if request == libc::TCSETS2 as c_ulong {
        // SAFETY: this request has such a structure.
        ASKED.set(Some(unsafe { *argument.cast() }));
    }
    if request == libc::TIOCMGET as c_ulong
        && let Some(wires) = WIRES.get()
    {
        // SAFETY: this request has room for an int.
        unsafe { *argument.cast() = wires };
        return 0;
    }
    // SAFETY: it is the same call, and it leaves its error where it belongs.
    unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) as c_int }
}

/// A device, what keeps it open, and its other end.
struct Far {
    device: PathBuf,
    slave: OwnedFd,
    end: File,
}

impl Far {
    fn new() -> Self {
        let (device, slave, master) = raw_pty();
        Self { device, slave, end: master.into() }
    }

    fn modes(&self) -> Termios {
        termios::tcgetattr(&self.slave).expect("a terminal")
    }

    fn unread(&self) -> usize {
        unread(self.slave.as_fd())
    }
}

nix::ioctl_read_bad!(
    /// Bytes that can be read.
    fionread,
    libc::FIONREAD,
    c_int
);
nix::ioctl_read_bad!(
    /// Whether others are kept from opening it.
    tiocgexcl,
    libc::TIOCGEXCL,
    c_int
);

fn unread(file: BorrowedFd<'_>) -> usize {
    let mut count = 0;
    // SAFETY: the descriptor is open and the kernel writes one int.
    unsafe { fionread(file.as_raw_fd(), &raw mut count) }.expect("a terminal");
    count as usize
}

fn is_exclusive(file: &OwnedFd) -> bool {
    let mut is = 0;
    // SAFETY: as above.
    unsafe { tiocgexcl(file.as_raw_fd(), &raw mut is) }.expect("a terminal");
    is != 0
}

fn line(path: &Path, locks: Option<&Path>) -> SerialLine {
    SerialLine {
        place: Place::Device { path: path.to_owned(), locks: locks.map(Path::to_owned) },
        speed: 9600,
        parity: Parity::None,
        flow: Flow::None,
        carrier: CarrierLine::Dcd,
    }
}

#[test]
fn a_device_that_goes_away_while_a_caller_is_waited_for_is_no_caller() {
    let pty = nix::pty::openpty(None, None).expect("a pty");
    let name = nix::unistd::ttyname(&pty.slave).expect("its name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut link = bangpath::link::open_serial(&line(&name, None)).await.expect("a port");
        link.give_up_line();
        let quiet = tokio::time::timeout(Duration::from_millis(100), link.heard(false)).await;
        assert!(quiet.is_err(), "nobody has said anything");
        drop(pty);
        let heard = tokio::time::timeout(Duration::from_secs(10), link.heard(false)).await;
        let told = heard.expect("it is noticed").expect_err("nobody calls on a device that is gone");
        assert_eq!(told.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

/// Opens a port with these keys, and looks which wire it is that makes a caller.
fn check_caller(keys: &str, callers: c_int) {
    let far = Far::new();
    let port = format!("[port.line]\ntype = \"serial\"\ndevice = \"{}\"\nlocks = \"\"\n{keys}\n", far.device.display());
    let site = Site::new("hub", &port);
    let config = bangpath::config::load(&site.config()).expect("it is right");
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("a runtime").block_on(async {
        let mut link = call::open_port(&config.ports[0].kind).await.expect("a port");
        link.give_up_line();
        for wire in [libc::TIOCM_CAR, libc::TIOCM_DSR] {
            WIRES.set(Some(0));
            let comes = async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                WIRES.set(Some(wire));
            };
            let heard = tokio::time::timeout(Duration::from_secs(20), link.heard(true));
            let (heard, ()) = tokio::join!(heard, comes);
            assert_eq!(heard.is_ok(), wire == callers, "{keys}: {wire:#x}");
        }
    });
    WIRES.set(None);
}

#[test]
fn a_caller_on_a_device_is_there_by_the_line_that_its_port_names() {
    check_caller("", libc::TIOCM_CAR);
    check_caller("carrier-line = \"dcd\"", libc::TIOCM_CAR);
    check_caller("carrier-line = \"dsr\"", libc::TIOCM_DSR);
}

/// Opens a port with these keys, and looks how its line is set: the speed, the format and RTS/CTS as they were asked for, and
/// XON/XOFF.
fn check_set(keys: &str, speed: u32, format: ControlFlags, xon: bool) {
    let far = Far::new();
    let port = format!("[port.line]\ntype = \"serial\"\ndevice = \"{}\"\nlocks = \"\"\n{keys}\n", far.device.display());
    let site = Site::new("hub", &port);
    let config = bangpath::config::load(&site.config()).expect("it is right");
    let link = run(call::open_port(&config.ports[0].kind)).expect("a port");
    let asked = ASKED.take().expect("it was set");
    let flags = ControlFlags::from_bits_retain(asked.c_cflag);
    let beside = ControlFlags::CREAD | ControlFlags::CLOCAL | ControlFlags::HUPCL;
    assert_eq!(flags - beside - ControlFlags::from_bits_retain(libc::CBAUD), format, "{keys}");
    assert!(flags.contains(ControlFlags::CREAD | ControlFlags::CLOCAL), "{keys}");
    assert_eq!((asked.c_ispeed, asked.c_ospeed), (speed, speed), "{keys}");
    let modes = far.modes();
    // What a pty has of it.
    let kept = ControlFlags::PARODD | ControlFlags::CRTSCTS;
    assert_eq!(modes.control_flags & kept, format & kept, "{keys}");
    let both = InputFlags::IXON | InputFlags::IXOFF;
    assert_eq!(modes.input_flags & both, if xon { both } else { InputFlags::empty() }, "{keys}");
    drop(link);
}

#[test]
fn a_device_is_set_as_its_port_says() {
    use ControlFlags as C;
    check_set("speed = 9600\nflow = \"none\"", 9600, C::CS8, false);
    check_set("speed = 38400", 38_400, C::CS8, false);
    check_set("speed = 2400\nflow = \"rts-cts\"", 2400, C::CS8 | C::CRTSCTS, false);
    check_set("speed = 1200\nflow = \"xon-xoff\"", 1200, C::CS8, true);
    check_set("speed = 300\nparity = \"even\"\nflow = \"none\"", 300, C::CS7 | C::PARENB, false);
    let odd = C::CS7 | C::PARENB | C::PARODD;
    check_set("speed = 115200\nparity = \"odd\"\nflow = \"xon-xoff\"", 115_200, odd, true);
}

#[test]
fn other_programs_are_held_off_a_device_that_is_open_and_hold_us_off() {
    run(async {
        let far = Far::new();
        let lock = || Flock::lock(File::open(&far.device).expect("root may"), FlockArg::LockExclusiveNonblock);
        let is_busy = |opened: Result<Link, LinkError>| matches!(opened, Err(LinkError::Busy { .. }));
        let mut link = open_serial(&line(&far.device, None)).await.expect("a port");
        assert!(is_exclusive(&far.slave));
        // Only root may open it now, and sees this.
        if nix::unistd::getuid().is_root() {
            assert!(lock().is_err());
        } else {
            assert!(File::open(&far.device).is_err());
        }
        assert!(is_busy(open_serial(&line(&far.device, None)).await));
        // While callers are waited for it is anybody's.
        link.give_up_line();
        assert!(!is_exclusive(&far.slave));
        let theirs = lock().expect("it is free");
        assert!(matches!(link.take_line(), Err(LinkError::Busy { .. })));
        assert!(!is_exclusive(&far.slave));
        drop(theirs);
        link.take_line().expect("it is free again");
        assert!(is_exclusive(&far.slave));
        drop(link);
        assert!(!is_exclusive(&far.slave));
        let theirs = lock().expect("it is free");
        assert!(is_busy(open_serial(&line(&far.device, None)).await));
        drop(theirs);
        open_serial(&line(&far.device, None)).await.expect("a port");
    });
}

#[test]
fn a_device_behind_a_link_is_locked_under_its_own_name() {
    run(async {
        let (far, folder) = (Far::new(), tempfile::tempdir().expect("a folder"));
        let locks = folder.path().join("locks");
        fs::create_dir(&locks).expect("a folder");
        let by_id = folder.path().join("usb-FTDI_FT232R-if00-port0");
        std::os::unix::fs::symlink(&far.device, &by_id).expect("a link");
        let names = || {
            let entries = fs::read_dir(&locks).expect("a folder").flatten();
            entries.map(|entry| entry.file_name().into_string().expect("a name")).collect::<Vec<_>>()
        };
        let number = far.device.file_name().expect("a name").to_string_lossy().into_owned();
        let link = open_serial(&line(&by_id, Some(&locks))).await.expect("a port");
        assert_eq!(names(), [format!("LCK..pts_{number}")]);
        drop(link);
        assert_eq!(names(), [""; 0]);
        // Whoever locks the device holds off those who come by the link.
        fs::write(locks.join(format!("LCK..pts_{number}")), "         1\n").expect("a lock");
        assert!(matches!(open_serial(&line(&by_id, Some(&locks))).await, Err(LinkError::Busy { .. })));
        let tty = folder.path().join("modem");
        std::os::unix::fs::symlink("/dev/tty", &tty).expect("a link");
        let taken = bangpath::link::LockFile::take(&locks, &tty).expect("a lock folder").expect("it is free");
        assert!(names().contains(&"LCK..tty".to_owned()), "{:?}", names());
        drop(taken);
    });
}

#[test]
fn no_byte_of_one_session_on_a_device_reaches_the_next() {
    run(async {
        for stale in [100, 3000, 40_000] {
            let mut far = Far::new();
            let link = open_serial(&line(&far.device, None)).await.expect("a port");
            nix::fcntl::fcntl(&far.end, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).expect("a mode");
            let mut left = vec![b'x'; stale];
            while !left.is_empty()
                && let Ok(count) = far.end.write(&left)
            {
                left.drain(..count);
            }
            until("it lies there", || (far.unread() >= stale.min(3000)).then_some(()));
            drop(link);
            // Nobody has it open, and somebody says something.
            let _ = far.end.write(b"between");
            let mut link = open_serial(&line(&far.device, None)).await.expect("a port");
            far.end.write_all(b"fresh").expect("said");
            assert_eq!(hear(&mut link, 5).await, "fresh", "{stale}");
        }
    });
}

#[test]
fn no_byte_of_one_session_at_a_server_reaches_the_next() {
    run(async {
        let server = PortServer::new();
        let place = Place::Server(server.address.clone());
        let line = SerialLine { place, speed: 9600, parity: Parity::None, flow: Flow::None, carrier: CarrierLine::Dcd };
        let link = open_serial(&line).await.expect("a port");
        server.say(b"nobody reads this");
        link.close().await;
        server.say(&[b'x'; 100]);
        let mut link = open_serial(&line).await.expect("a port");
        server.say(b"fresh");
        assert_eq!(hear(&mut link, 5).await, "fresh");
    });
}
