//! Serial lines: opened for us alone, with their modem lines, and given back as they were.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::c_int;
use nix::sys::termios::{self, BaudRate, ControlFlags, FlushArg, InputFlags, SetArg, Termios};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

use super::lock::{Holder, LockFile};
use super::{Link, LinkError, comport};
use crate::dialogue::Facts;

/// How long DTR stays low to hang up: modems look at it for longer than 50 ms (V.24, S25), Telebits for a second.
const DTR_LOW: Duration = Duration::from_millis(1200);

/// How long a radio may take to end its connection.
const DISCONNECT_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// How a serial line is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialLine {
    pub place: Place,
    /// Bits per second.
    pub speed: u32,
    pub parity: Parity,
    pub flow: Flow,
    pub carrier: CarrierLine,
}

impl SerialLine {
    /// What the settings make of a line.
    pub(super) fn facts(&self, device: impl Into<String>) -> Facts {
        Facts {
            eight_bit: self.parity == Parity::None,
            transparent: self.flow != Flow::XonXoff,
            ..Facts::serial(device, self.speed)
        }
    }
}

/// Where a serial line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Device {
        path: PathBuf,
        /// Where programs that share the line keep their lock files; `None`: nobody shares it.
        locks: Option<PathBuf>,
    },
    /// At a server on the network, `host:port` (RFC 2217).
    Server(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { path, .. } => write!(f, "{}", path.display()),
            Self::Server(address) => f.write_str(address),
        }
    }
}

/// Even and odd leave seven bits for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    #[default]
    None,
    /// By the lines RTS and CTS.
    RtsCts,
    /// By two characters, which then can't be data.
    XonXoff,
}

/// Which line of the cable tells that somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarrierLine {
    #[default]
    Dcd,
    /// Where the carrier is not wired, or always on.
    Dsr,
}

impl CarrierLine {
    fn is_on(self, state: LineState) -> bool {
        match self {
            Self::Dcd => state.carrier,
            Self::Dsr => state.data_set_ready,
        }
    }
}

/// The lines of a cable that the other side drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineState {
    pub carrier: bool,
    /// Something is there and switched on.
    pub data_set_ready: bool,
    /// It takes bytes.
    pub clear_to_send: bool,
    pub ringing: bool,
}

/// What has gone wrong with what came in, counted up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineErrors {
    /// Bytes that nobody took in time.
    pub overruns: u32,
    pub wrong_parity: u32,
    /// Bytes without a stop bit.
    pub framing: u32,
    pub breaks: u32,
}

/// Bytes between us and the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Unread,
    Unsent,
    Both,
}

/// What stands beside the bytes of a line. A pty has none of it; tests bring their own.
pub trait Lines: Send + Sync {
    /// Whether there is a carrier, by the line that stands for it; `None` where nobody can tell.
    fn carrier(&self) -> Option<bool>;
    /// All of them; `None` where nobody can tell.
    fn state(&self) -> Option<LineState> {
        None
    }
    /// `None` where nobody counts them.
    fn errors(&self) -> Option<LineErrors> {
        None
    }
    fn set_dtr(&self, on: bool);
    fn set_rts(&self, _on: bool) {}
    /// Bytes that have not left yet; zero where nobody can tell.
    fn unsent(&self) -> usize;
    fn send_break(&self);
    /// Begins a break, or ends it.
    fn set_break(&self, _on: bool) {}
    /// Seven bits with XON and XOFF, once what was written has left, where there is a terminal that can be told so.
    fn seven_bits(&self) -> io::Result<()> {
        Ok(())
    }
    /// A modem that does not keep its own speed now has that of the connection. Says whether the line can have it.
    fn set_speed(&self, bits_per_second: u32) -> bool;
    /// Five to eight bits of data, one or two stop bits. Says whether the line can have them.
    fn set_format(&self, _data_bits: u8, _parity: Parity, _stop_bits: u8) -> bool {
        false
    }
    fn set_flow(&self, _flow: Flow) {}
    /// Throws away what lies there.
    fn purge(&self, _queue: Queue) {}
}

/// Opens a line, raw and for us alone. No byte of an earlier session reaches this one.
pub async fn open(line: &SerialLine) -> Result<Link, LinkError> {
    match &line.place {
        Place::Device { path, locks } => open_device(line, path, locks.as_deref()),
        Place::Server(address) => comport::open(line, address).await,
    }
}

fn open_device(line: &SerialLine, device: &Path, locks: Option<&Path>) -> Result<Link, LinkError> {
    let failed = |source| LinkError::Device { device: device.to_owned(), source };
    let lock = take_lock(device, locks)?;
    let (bits, parity) = match line.parity {
        Parity::None => (tokio_serial::DataBits::Eight, tokio_serial::Parity::None),
        Parity::Even => (tokio_serial::DataBits::Seven, tokio_serial::Parity::Even),
        Parity::Odd => (tokio_serial::DataBits::Seven, tokio_serial::Parity::Odd),
    };
    let flow = match line.flow {
        Flow::None => tokio_serial::FlowControl::None,
        Flow::RtsCts => tokio_serial::FlowControl::Hardware,
        Flow::XonXoff => tokio_serial::FlowControl::Software,
    };
    let builder = tokio_serial::new(device.to_string_lossy(), line.speed);
    let stream = builder.data_bits(bits).parity(parity).flow_control(flow).open_native_async();
    let mut stream: SerialStream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            // What `TIOCEXCL` or `flock` of another program refuses us; a device that is not there is an error of the system.
            let busy = error.kind() == tokio_serial::ErrorKind::NoDevice;
            return Err(if busy { in_use(device, None) } else { failed(error.into()) });
        }
    };
    let _ = stream.clear(tokio_serial::ClearBuffer::All);
    // A pty has no lines to raise, which is no error.
    let _ = stream.write_data_terminal_ready(true);
    // SAFETY: the descriptor belongs to `stream`, which lives until the end of this function.
    let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    let (tty, shared) = (fd.try_clone_to_owned().map_err(failed)?, fd.try_clone_to_owned().map_err(failed)?);
    let tty = Tty(tty, line.carrier);
    let (reader, writer) = tokio::io::split(stream);
    let facts = line.facts(device.display().to_string());
    let claim = Claim { device: device.to_owned(), locks: locks.map(Path::to_owned), fd: shared, lock, held: true };
    Ok(Link { claim: Some(claim), ..Link::new(facts, reader, writer).with_lines(Box::new(tty)) })
}

fn take_lock(device: &Path, locks: Option<&Path>) -> Result<Option<LockFile>, LinkError> {
    let Some(folder) = locks.filter(|folder| folder.is_dir()) else { return Ok(None) };
    match LockFile::take(folder, device) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(Holder::Process(_))) => Err(in_use(device, None)),
        Ok(Err(Holder::Unknown(file))) => Err(in_use(device, Some(file))),
        Err(source) if is_missing(device) => Err(LinkError::Device { device: device.to_owned(), source }),
        Err(error) => {
            // The kernel's own lock on the line still holds off all who look at it.
            tracing::warn!(folder = %folder.display(), %error, "cannot make a lock file for the line");
            Ok(None)
        }
    }
}

fn in_use(device: &Path, lock: Option<PathBuf>) -> LinkError {
    LinkError::Busy { device: device.to_owned(), lock }
}

fn is_missing(device: &Path) -> bool {
    !device.exists()
}

/// Our right to a line, which can be given up and taken again while it stays open.
pub(super) struct Claim {
    device: PathBuf,
    locks: Option<PathBuf>,
    fd: OwnedFd,
    lock: Option<LockFile>,
    held: bool,
}

nix::ioctl_none_bad!(
    /// Others may open the tty.
    tiocnxcl,
    nix::libc::TIOCNXCL
);
nix::ioctl_none_bad!(
    /// Others may not.
    tiocexcl,
    nix::libc::TIOCEXCL
);

impl Claim {
    /// Lets others use the line. What they say to each other is theirs: nothing may be read until it is claimed again.
    pub fn give_up(&mut self) {
        self.lock = None;
        self.held = false;
        // SAFETY: the descriptor is open; neither changes memory. What fails leaves the line ours, which others see.
        unsafe {
            let _ = tiocnxcl(self.fd.as_raw_fd());
            nix::libc::flock(self.fd.as_raw_fd(), nix::libc::LOCK_UN);
        }
    }

    /// Takes the line again, unless somebody uses it.
    pub fn take(&mut self) -> Result<(), LinkError> {
        self.lock = take_lock(&self.device, self.locks.as_deref())?;
        // SAFETY: as above.
        if unsafe { nix::libc::flock(self.fd.as_raw_fd(), nix::libc::LOCK_EX | nix::libc::LOCK_NB) } != 0 {
            self.lock = None;
            return Err(in_use(&self.device, None));
        }
        // SAFETY: as above.
        let _ = unsafe { tiocexcl(self.fd.as_raw_fd()) };
        self.held = true;
        Ok(())
    }

    /// The tty itself, for whoever sets it.
    pub fn tty(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Returns when there is something to read, without reading it. A device that has gone away is an error.
    pub async fn readable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is borrowed, so it stays open while it is watched.
        let watched = unsafe { AsyncFd::register_with_interest(self.fd.as_fd(), Interest::READABLE)? };
        let mut ready = watched.readable().await?;
        ready.retain_ready();
        if ready.ready().is_read_closed() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Drop for Claim {
    /// Hangs up: a modem drops the carrier, and what the peer still sends does not reach the next session. A line that
    /// others use is left alone.
    fn drop(&mut self) {
        if self.held {
            // Neither can fail in a way that matters: a pty has no lines, a vanished adapter has no queue.
            let _ = termios::tcflush(self.fd.as_fd(), FlushArg::TCIFLUSH);
            // SAFETY: the descriptor is open and the kernel reads one int.
            let _ = unsafe { tiocmbic(self.fd.as_raw_fd(), &raw const DTR) };
        }
    }
}

/// The tty itself, beside the streams over it.
struct Tty(OwnedFd, CarrierLine);

static DTR: c_int = nix::libc::TIOCM_DTR;

nix::ioctl_read_bad!(
    /// Bytes in the output queue of a tty.
    tiocoutq,
    nix::libc::TIOCOUTQ,
    c_int
);
nix::ioctl_read_bad!(
    /// The state of the modem lines.
    tiocmget,
    nix::libc::TIOCMGET,
    c_int
);
nix::ioctl_write_ptr_bad!(
    /// Lowers modem lines.
    tiocmbic,
    nix::libc::TIOCMBIC,
    c_int
);
nix::ioctl_write_ptr_bad!(
    /// Raises modem lines.
    tiocmbis,
    nix::libc::TIOCMBIS,
    c_int
);

nix::ioctl_none_bad!(
    /// Begins a break.
    tiocsbrk,
    nix::libc::TIOCSBRK
);
nix::ioctl_none_bad!(
    /// Ends it.
    tioccbrk,
    nix::libc::TIOCCBRK
);
nix::ioctl_read_bad!(
    /// Counts of errors, since the driver was loaded.
    tiocgicount,
    nix::libc::TIOCGICOUNT,
    Counts
);

/// Linux: `struct serial_icounter_struct`.
#[repr(C)]
#[derive(Default)]
struct Counts {
    /// Changes of CTS, DSR, RI and the carrier; bytes received and sent.
    _changes: [c_int; 6],
    framing: c_int,
    overruns: c_int,
    wrong_parity: c_int,
    breaks: c_int,
    buffer_overruns: c_int,
    _reserved: [c_int; 9],
}

impl Tty {
    fn change(&self, change: impl FnOnce(&mut Termios)) -> bool {
        let Ok(mut modes) = termios::tcgetattr(&self.0) else { return false };
        change(&mut modes);
        termios::tcsetattr(&self.0, SetArg::TCSANOW, &modes).is_ok()
    }

    /// A pty has no such lines, which is no error.
    fn set_line(&self, line: c_int, on: bool) {
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open and the kernel reads one int.
        let _ = unsafe { if on { tiocmbis(fd, &raw const line) } else { tiocmbic(fd, &raw const line) } };
    }
}

impl Lines for Tty {
    fn carrier(&self) -> Option<bool> {
        self.state().map(|state| self.1.is_on(state))
    }

    fn state(&self) -> Option<LineState> {
        let mut state = 0;
        // SAFETY: the descriptor is open and the kernel writes one int.
        unsafe { tiocmget(self.0.as_raw_fd(), &raw mut state) }.ok()?;
        Some(LineState {
            carrier: state & nix::libc::TIOCM_CAR != 0,
            data_set_ready: state & nix::libc::TIOCM_DSR != 0,
            clear_to_send: state & nix::libc::TIOCM_CTS != 0,
            ringing: state & nix::libc::TIOCM_RI != 0,
        })
    }

    fn errors(&self) -> Option<LineErrors> {
        let mut counts = Counts::default();
        // SAFETY: the descriptor is open and the kernel writes one such structure.
        unsafe { tiocgicount(self.0.as_raw_fd(), &raw mut counts) }.ok()?;
        // They are counted up and begin anew at the end.
        let count = |number: c_int| number.cast_unsigned();
        Some(LineErrors {
            overruns: count(counts.overruns).wrapping_add(count(counts.buffer_overruns)),
            wrong_parity: count(counts.wrong_parity),
            framing: count(counts.framing),
            breaks: count(counts.breaks),
        })
    }

    fn set_dtr(&self, on: bool) {
        self.set_line(nix::libc::TIOCM_DTR, on);
    }

    fn set_rts(&self, on: bool) {
        self.set_line(nix::libc::TIOCM_RTS, on);
    }

    fn unsent(&self) -> usize {
        let mut count = 0;
        // SAFETY: the descriptor is open and the kernel writes one int.
        match unsafe { tiocoutq(self.0.as_raw_fd(), &raw mut count) } {
            Ok(_) => usize::try_from(count).unwrap_or(0),
            Err(_) => 0,
        }
    }

    fn seven_bits(&self) -> io::Result<()> {
        super::fd::seven_bits(&self.0)
    }

    fn send_break(&self) {
        // About a quarter of a second; a pty ignores it.
        let _ = termios::tcsendbreak(self.0.as_fd(), 0);
    }

    fn set_break(&self, on: bool) {
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open; neither takes memory.
        let _ = unsafe { if on { tiocsbrk(fd) } else { tioccbrk(fd) } };
    }

    fn set_speed(&self, bits_per_second: u32) -> bool {
        let Some(rate) = rate(bits_per_second) else { return false };
        // It is a rate of the table, so it can be written down.
        self.change(|modes| {
            let _ = termios::cfsetspeed(modes, rate);
        })
    }

    fn set_format(&self, data_bits: u8, parity: Parity, stop_bits: u8) -> bool {
        let size = match data_bits {
            5 => ControlFlags::CS5,
            6 => ControlFlags::CS6,
            7 => ControlFlags::CS7,
            8 => ControlFlags::CS8,
            _ => return false,
        };
        if !(1..=2).contains(&stop_bits) {
            return false;
        }
        self.change(|modes| {
            modes.control_flags.remove(ControlFlags::CSIZE);
            modes.control_flags.insert(size);
            modes.control_flags.set(ControlFlags::PARENB, parity != Parity::None);
            modes.control_flags.set(ControlFlags::PARODD, parity == Parity::Odd);
            modes.control_flags.set(ControlFlags::CSTOPB, stop_bits == 2);
        })
    }

    fn set_flow(&self, flow: Flow) {
        self.change(|modes| {
            modes.input_flags.set(InputFlags::IXON | InputFlags::IXOFF, flow == Flow::XonXoff);
            modes.control_flags.set(ControlFlags::CRTSCTS, flow == Flow::RtsCts);
        });
    }

    fn purge(&self, queue: Queue) {
        let queue = match queue {
            Queue::Unread => FlushArg::TCIFLUSH,
            Queue::Unsent => FlushArg::TCOFLUSH,
            Queue::Both => FlushArg::TCIOFLUSH,
        };
        let _ = termios::tcflush(self.0.as_fd(), queue);
    }
}

/// The speeds that modems connect at and ports have.
fn rate(bits_per_second: u32) -> Option<BaudRate> {
    Some(match bits_per_second {
        300 => BaudRate::B300,
        600 => BaudRate::B600,
        1200 => BaudRate::B1200,
        2400 => BaudRate::B2400,
        4800 => BaudRate::B4800,
        9600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        _ => return None,
    })
}

impl Link {
    /// Drops DTR, as modems want it for a hang-up, and raises it again. Says whether the carrier is known to be gone.
    pub async fn drop_carrier(&mut self) -> bool {
        let Some(lines) = &self.lines else { return false };
        if lines.carrier().is_none() {
            return false;
        }
        lines.set_dtr(false);
        // Reading is what carries the request to a line at a server, and brings its news.
        let _ = tokio::time::timeout(DTR_LOW, async {
            let mut rest = [0; 256];
            while self.reader.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            std::future::pending::<()>().await
        })
        .await;
        let gone = lines.carrier() == Some(false);
        lines.set_dtr(true);
        gone
    }

    /// Ends a radio connection: what is on its way leaves first. Bounded, as the far station may be gone.
    pub async fn disconnect(&mut self) {
        let Some(lines) = &self.lines else { return };
        lines.set_dtr(false);
        for _ in 0..DISCONNECT_MAX.as_millis() / LOOK.as_millis() {
            if lines.carrier() != Some(true) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The lines of the cable, where there is one.
    pub fn line_state(&self) -> Option<LineState> {
        self.lines.as_ref()?.state()
    }

    /// Lets other programs use the line, while we wait for a call on it.
    pub fn give_up_line(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.give_up();
        }
    }

    /// Takes the line again; `LinkError::Busy` if somebody uses it.
    pub fn take_line(&mut self) -> Result<(), LinkError> {
        self.claim.as_mut().map_or(Ok(()), Claim::take)
    }

    /// Waits until something comes on a serial line, or a carrier where that counts. Of our own lines nothing is read, for
    /// it may be another program's; at a server the line is ours alone, and what came is given.
    pub async fn heard(&mut self, carrier_counts: bool) -> io::Result<Vec<u8>> {
        let Self { claim, reader, telnet, lines, .. } = self;
        let input = async {
            match (claim, telnet) {
                (Some(claim), _) => claim.readable().await.map(|()| Vec::new()),
                (None, Some(telnet)) => comport::heard(reader, telnet, comport::ASK_EVERY).await,
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = input => heard,
            () = super::drive::carrier_comes(lines), if carrier_counts => Ok(Vec::new()),
        }
    }
}
