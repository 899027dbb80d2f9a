//! Any open file that can be waited for, as an async stream: standard input and output, ptys, socket pairs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{self, InputFlags, SetArg};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sets a terminal to seven bits with XON and XOFF, once what was written has left. The eighth bit is stripped rather
/// than not sent, as Taylor does it: parity stays as it is.
pub(super) fn seven_bits(terminal: impl AsFd) -> io::Result<()> {
    let mut modes = termios::tcgetattr(&terminal)?;
    modes.input_flags.insert(InputFlags::ISTRIP | InputFlags::IXON | InputFlags::IXOFF);
    Ok(termios::tcsetattr(&terminal, SetArg::TCSADRAIN, &modes)?)
}

/// Puts the file in non-blocking mode while it lives.
pub(super) struct FdStream {
    file: AsyncFd<Restoring>,
}

/// Gives the file back its mode: it may be shared with the program that started us.
struct Restoring {
    file: OwnedFd,
    before: OFlag,
}

impl AsRawFd for Restoring {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        if !self.before.contains(OFlag::O_NONBLOCK) {
            let _ = fcntl(&self.file, FcntlArg::F_SETFL(self.before));
        }
    }
}

impl FdStream {
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        let before = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
        // SAFETY: `Restoring` owns the descriptor and names the same one all its life.
        let file = unsafe { AsyncFd::register(Restoring { file, before })? };
        Ok(Self { file })
    }
}

impl AsyncRead for FdStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.file.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match guard.try_io(|inner| Ok(nix::unistd::read(&inner.get_ref().file, unfilled)?)) {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // A pty whose other side is closed says EIO: that is its end of file.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for FdStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.file.poll_write_ready(cx))?;
            match guard.try_io(|inner| Ok(nix::unistd::write(&inner.get_ref().file, buf)?)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The peer of a socket sees the end; what is none ends when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let file = self.file.get_ref().file.as_raw_fd();
        Poll::Ready(match nix::sys::socket::shutdown(file, nix::sys::socket::Shutdown::Write) {
            Ok(()) | Err(nix::errno::Errno::ENOTSOCK) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}
