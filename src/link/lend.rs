//! A serial line of ours lent to a client on the network, who sets it as if it were its own (RFC 2217).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::libc::{TIOCM_CAR, TIOCM_CTS, TIOCM_DSR, TIOCM_DTR, TIOCM_RI, TIOCM_RTS, c_int};
use nix::sys::termios::{self, ControlFlags, FlushArg, InputFlags, SetArg, Termios};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::comport::{self, NOTIFY_MODEMSTATE};
use super::serial::{rate, tiocmbic, tiocmbis, tiocmget};
use super::telnet::Speaks;
use super::{Link, LinkError};

/// How often the modem lines are looked at.
const LINES_LOOK: Duration = Duration::from_millis(200);
/// How long a line may take nothing of what its client says: it would hold the port for ever.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

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

/// What of a line a client can set. A pty has hardly any of it, which is no error.
#[derive(Debug)]
pub(super) struct Board(OwnedFd);

impl Board {
    fn change(&self, change: impl FnOnce(&mut Termios)) -> bool {
        let Ok(mut modes) = termios::tcgetattr(&self.0) else { return false };
        change(&mut modes);
        termios::tcsetattr(&self.0, SetArg::TCSANOW, &modes).is_ok()
    }

    /// Says whether the line can have this speed.
    pub fn set_speed(&self, bits_per_second: u32) -> bool {
        let Some(rate) = rate(bits_per_second) else { return false };
        // It is a rate of the table, so it can be written down.
        self.change(|modes| {
            let _ = termios::cfsetspeed(modes, rate);
        })
    }

    /// Bits of data, parity and stop bits by the numbers of RFC 2217.
    pub fn set_format(&self, data_bits: u8, parity: u8, stop_bits: u8) -> bool {
        let size = match data_bits {
            5 => ControlFlags::CS5,
            6 => ControlFlags::CS6,
            7 => ControlFlags::CS7,
            8 => ControlFlags::CS8,
            _ => return false,
        };
        // Mark, space and one stop bit and a half are of no line that has them everywhere.
        if !(1..=3).contains(&parity) || !(1..=2).contains(&stop_bits) {
            return false;
        }
        self.change(|modes| {
            modes.control_flags.remove(ControlFlags::CSIZE);
            modes.control_flags.insert(size);
            modes.control_flags.set(ControlFlags::PARENB, parity != 1);
            modes.control_flags.set(ControlFlags::PARODD, parity == 2);
            modes.control_flags.set(ControlFlags::CSTOPB, stop_bits == 2);
        })
    }

    /// Flow control, break, DTR and RTS by the numbers of SET-CONTROL.
    pub fn set_control(&self, value: u8) {
        match value {
            1..=3 => {
                self.change(|modes| {
                    modes.input_flags.set(InputFlags::IXON | InputFlags::IXOFF, value == 2);
                    modes.control_flags.set(ControlFlags::CRTSCTS, value == 3);
                });
            }
            // SAFETY: the descriptor is open; neither takes memory.
            5 => {
                let _ = unsafe { tiocsbrk(self.0.as_raw_fd()) };
            }
            // SAFETY: as above.
            6 => {
                let _ = unsafe { tioccbrk(self.0.as_raw_fd()) };
            }
            8 | 9 => self.set_line(TIOCM_DTR, value == 8),
            11 | 12 => self.set_line(TIOCM_RTS, value == 11),
            _ => {}
        }
    }

    fn set_line(&self, line: c_int, on: bool) {
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open and the kernel reads one int.
        let _ = unsafe { if on { tiocmbis(fd, &raw const line) } else { tiocmbic(fd, &raw const line) } };
    }

    /// What has come and was not read, what has not left, or both.
    pub fn purge(&self, which: u8) {
        let queue = match which {
            1 => FlushArg::TCIFLUSH,
            2 => FlushArg::TCOFLUSH,
            3 => FlushArg::TCIOFLUSH,
            _ => return,
        };
        let _ = termios::tcflush(self.0.as_fd(), queue);
    }

    /// The modem lines by the bits of NOTIFY-MODEMSTATE; `None` where there are none.
    pub fn modem_state(&self) -> Option<u8> {
        let mut state = 0;
        // SAFETY: the descriptor is open and the kernel writes one int.
        unsafe { tiocmget(self.0.as_raw_fd(), &raw mut state) }.ok()?;
        let lines = [(TIOCM_CTS, 0x10), (TIOCM_DSR, 0x20), (TIOCM_RI, 0x40), (TIOCM_CAR, 0x80)];
        Some(lines.into_iter().filter(|(line, _)| state & line != 0).map(|(_, bit)| bit).sum())
    }
}

/// Lends an open line of ours to a client until either of them goes.
pub async fn lend(client: Link, line: Link) -> Result<(), LinkError> {
    let mut client = client.over_telnet(Speaks::TelnetCaller);
    let telnet = client.telnet.clone().expect("it has been put over telnet");
    let tty = line.claim.as_ref().map(|claim| claim.tty().map_err(LinkError::Standard)).transpose()?;
    comport::lock(&telnet).lend(tty.map(Board), line.facts.speed);
    let Link { reader: mut from_line, writer: mut to_line, claim: _claim, .. } = line;
    let up = async {
        let mut bytes = [0; 1024];
        loop {
            let count = client.reader.read(&mut bytes).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            tokio::time::timeout(STALL_TIMEOUT, to_line.write_all(&bytes[..count])).await??;
        }
    };
    let down = tokio::io::copy(&mut from_line, &mut client.writer);
    let news = async {
        let mut before = comport::lock(&telnet).modem_state();
        loop {
            tokio::time::sleep(LINES_LOOK).await;
            let mut telnet = comport::lock(&telnet);
            let now = telnet.modem_state();
            if let (Some(was), Some(is)) = (before, now)
                && was != is
            {
                // The lower half says which have changed.
                telnet.request(NOTIFY_MODEMSTATE, &[is | (was ^ is) >> 4]);
            }
            before = now;
        }
    };
    let ended = tokio::select! {
        ended = up => ended,
        ended = down => ended.map(drop),
        () = news => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(client = %client.facts, %error, "a lent line");
    }
    Ok(())
}
