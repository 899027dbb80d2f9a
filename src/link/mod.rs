//! Byte streams to the outside, and the driver that runs a dialogue on one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::dialogue::Facts;

mod comport;
mod drive;
mod escaped;
mod execution;
mod fd;
mod lend;
mod lock;
mod net;
mod offered;
mod pipe;
mod program;
mod rfc2217;
mod serial;
mod telnet;
mod tnc;

pub use drive::{Clock, Nudges, drive};
pub use execution::Program;
pub use lend::lend;
pub use lock::{Holder, LockFile};
pub use net::{Listener, Peer, accept, connect, inherit, listen};
pub use pipe::{Opposite, RawTerminal, keep_words_off_the_line, run_hook, spawn, standard_streams};
pub use program::{ProgramFailure, Ran, run_program};
pub use serial::{
    CarrierLine, Flow, LineErrors, LineState, Lines, Parity, Place, Queue, SerialLine, open as open_serial,
};
pub use telnet::Speaks;
pub use tnc::{Dialect, Tnc, TncLine};

/// Why a link could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot open {device}")]
    Device { device: PathBuf, source: io::Error },
    /// `lock`: the lock file that says so, if nobody knows whose it is.
    #[error("{}{} is in use by another program", .device.display(), says(.lock.as_deref()))]
    Busy { device: PathBuf, lock: Option<PathBuf> },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    #[error("nobody answered at {address} within {} s", .waited.as_secs())]
    Silence { address: String, waited: Duration },
    #[error("the radio at {address}: {why}")]
    Radio { address: String, why: String },
    #[error("{address} gives no serial port: {why}")]
    SerialServer { address: String, why: String },
    #[error("{0} gives no serial port: it hangs up at once: is the port in use?")]
    SerialServerBusy(String),
    #[error("cannot listen on {address}{}", listen_hint(.source))]
    Listen { address: String, source: io::Error },
    #[error("the program of the port ended with {0} before the site had said a word")]
    Ended(ExitStatus),
    #[error("cannot run {program}")]
    Spawn { program: String, source: io::Error },
    #[error("cannot use standard input and output")]
    Standard(#[source] io::Error),
}

/// How long a peer on a network may take to see that we have hung up, and to hang up itself.
const HEARD_OUT: Duration = Duration::from_secs(2);

fn says(lock: Option<&Path>) -> String {
    lock.map_or(String::new(), |file| format!(", says {}, which is not ours to remove,", file.display()))
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 are for root, or for whom systemd gives AmbientCapabilities=CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrInUse => " (another program listens there)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    }
}

/// An open byte stream with its facts. Dropping it hangs up.
pub struct Link {
    pub facts: Facts,
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The modem lines beside the bytes, where there are some.
    lines: Option<Box<dyn Lines>>,
    /// What is between us and the network, where it is telnet.
    telnet: Option<Arc<Mutex<telnet::Telnet>>>,
    /// The loss of the carrier ends the conversation.
    carrier_watched: bool,
    /// Our right to a serial line. Goes last, for it hangs up.
    claim: Option<serial::Claim>,
    /// It is a network connection.
    socket: bool,
    /// The program behind it, where there is one.
    child: Option<pipe::Running>,
    /// The modes of our own terminal, to be restored.
    _terminal: Option<pipe::RawTerminal>,
}

impl Link {
    /// A link over any stream.
    pub fn new(
        facts: Facts,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            facts,
            reader: Box::new(reader),
            writer: Box::new(writer),
            lines: None,
            telnet: None,
            carrier_watched: false,
            claim: None,
            socket: false,
            child: None,
            _terminal: None,
        }
    }

    /// The same with modem lines beside it.
    pub fn with_lines(self, lines: Box<dyn Lines>) -> Self {
        Self { lines: Some(lines), ..self }
    }

    /// From now on the loss of the carrier ends a conversation, where the line can tell.
    pub fn watch_carrier(&mut self) {
        self.carrier_watched = true;
    }

    /// Sets the line to the speed of a connection.
    pub fn set_speed(&mut self, bits_per_second: u32) {
        if let Some(lines) = &self.lines {
            lines.set_speed(bits_per_second);
        }
    }

    /// Hangs up in good order: a program at the other end sees the end of its input and gets a moment to do what it
    /// does last, before it is killed. Dropping the link kills it at once. A peer on a network is heard out: if words of its
    /// are on the way to a closed socket, it is told of an error instead of the end (RFC 1122 section 4.2.2.13).
    /// Gives the status of that program, if it has ended.
    pub async fn close(mut self) -> Option<ExitStatus> {
        self.lower_far_dtr().await;
        let Self { mut reader, mut writer, child, socket, .. } = self;
        if socket {
            let parting = async {
                writer.shutdown().await?;
                tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
            };
            let _ = tokio::time::timeout(HEARD_OUT, parting).await;
        }
        drop((reader, writer));
        match child {
            Some(child) => child.end().await,
            None => None,
        }
    }

    /// Seven bits with XON and XOFF, where there is a terminal that can be told so.
    fn seven_bits(&self) {
        let told = match (&self.lines, &self._terminal) {
            (Some(lines), _) => lines.seven_bits(),
            (None, Some(_)) => fd::seven_bits(std::io::stdin()),
            (None, None) => Ok(()),
        };
        if let Err(error) = told {
            tracing::warn!(link = %self.facts, %error, "cannot set the line to seven bits and XON/XOFF");
        }
    }

    /// Says a few words to somebody who is not served, if they can be said at once.
    pub async fn refuse(&mut self, words: &[u8]) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.writer.write_all(words)).await;
    }

    /// A link over one open file, such as the end of a pty or of a socket pair.
    pub fn over(facts: Facts, file: OwnedFd) -> io::Result<Self> {
        let other = file.try_clone()?;
        Ok(Self::new(facts, fd::FdStream::new(file)?, fd::FdStream::new(other)?))
    }
}
