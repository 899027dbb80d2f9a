//! Serial lines.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

use super::{Link, LinkError};
use crate::dialogue::Facts;

/// The tty itself, beside the streams over it: for breaks, for what is still unsent, for the hang-up.
pub(super) struct Tty(OwnedFd);

/// Opens a direct line: raw, eight bits, no parity, for us alone.
pub fn open(device: &Path, speed: u32, hardware_flow: bool) -> Result<Link, LinkError> {
    let failed = |source| LinkError::Device { device: device.to_owned(), source };
    let flow = if hardware_flow { tokio_serial::FlowControl::Hardware } else { tokio_serial::FlowControl::None };
    let stream = tokio_serial::new(device.to_string_lossy(), speed).flow_control(flow).open_native_async();
    let mut stream: SerialStream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            let source = io::Error::from(error);
            let busy =
                matches!(source.raw_os_error(), Some(nix::libc::EBUSY)) || source.kind() == io::ErrorKind::ResourceBusy;
            return Err(if busy { LinkError::Busy(device.to_owned()) } else { failed(source) });
        }
    };
    // No byte of an earlier session reaches this one. A pty has no lines to raise, which is no error.
    let _ = stream.clear(tokio_serial::ClearBuffer::All);
    let _ = stream.write_data_terminal_ready(true);
    // SAFETY: the descriptor belongs to `stream`, which lives until the end of this function.
    let tty = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }.try_clone_to_owned().map_err(failed)?;
    let (reader, writer) = tokio::io::split(stream);
    let facts = Facts::serial(device.display().to_string(), speed);
    let mut link = Link::new(facts, reader, writer);
    link.tty = Some(Tty(tty));
    Ok(link)
}

nix::ioctl_read_bad!(
    /// Bytes in the output queue of a tty.
    tiocoutq,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);
nix::ioctl_write_ptr_bad!(
    /// Lowers modem lines.
    tiocmbic,
    nix::libc::TIOCMBIC,
    nix::libc::c_int
);

impl Tty {
    /// Bytes that the kernel has not sent yet; zero where it cannot tell.
    pub fn unsent(&self) -> usize {
        let mut count = 0;
        // SAFETY: the descriptor is open and the kernel writes one int.
        match unsafe { tiocoutq(self.0.as_raw_fd(), &raw mut count) } {
            Ok(_) => usize::try_from(count).unwrap_or(0),
            Err(_) => 0,
        }
    }

    pub fn send_break(&self) {
        // About a quarter of a second; a pty ignores it.
        let _ = nix::sys::termios::tcsendbreak(self.0.as_fd(), 0);
    }
}

impl Drop for Tty {
    /// Hangs up: a modem drops the carrier, and what the peer still sends does not reach the next session.
    fn drop(&mut self) {
        // Neither can fail in a way that matters: a pty has no lines, a vanished adapter has no queue.
        let _ = nix::sys::termios::tcflush(self.0.as_fd(), nix::sys::termios::FlushArg::TCIFLUSH);
        // SAFETY: the descriptor is open and the kernel reads one int.
        let _ = unsafe { tiocmbic(self.0.as_raw_fd(), &raw const DTR) };
    }
}

static DTR: nix::libc::c_int = nix::libc::TIOCM_DTR;
