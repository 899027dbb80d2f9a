//! Programs as links (ssh, a modem emulator, another uucico), and our own standard input and output.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::{Link, LinkError, Peer, fd::FdStream, net};
use crate::dialogue::Facts;

/// How long a program may go on after we have hung up: it may have mail to unpack.
const LAST_DEEDS: Duration = Duration::from_secs(10);

/// Runs `argv` without a shell; its standard input and output are the link. It is killed when the link is dropped.
pub fn spawn(argv: &[String]) -> Result<Link, LinkError> {
    let failed = |source| LinkError::Spawn { program: argv.first().cloned().unwrap_or_default(), source };
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty")))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed(io::Error::other("its standard streams are missing")));
    };
    let mut link = Link::new(Facts::stream(program.clone()), stdout, stdin);
    link.child = Some(Running(child));
    Ok(link)
}

/// Runs an operator's program with facts in its environment and as text on its standard input; what it writes goes where
/// ours goes. It is killed when it takes too long.
pub async fn run_hook(
    argv: &[String],
    facts: &[(&str, String)],
    input: &str,
    limit: Duration,
) -> Result<(), LinkError> {
    let failed = |source| LinkError::Spawn { program: argv.first().cloned().unwrap_or_default(), source };
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(facts.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let run = async {
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read it does not want it.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(io::Error::other(format!("it ended with {status}")))),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(io::Error::other(format!("it did not end within {} s", limit.as_secs())))),
    }
}

/// The program of a link. Killed when dropped; the runtime collects it.
pub(super) struct Running(Child);

impl Running {
    /// Waits for it to end by itself, for a while. Gives its status if it did.
    pub async fn end(mut self) -> Option<ExitStatus> {
        match tokio::time::timeout(LAST_DEEDS, self.0.wait()).await {
            Ok(Ok(status)) => {
                if !status.success() {
                    tracing::info!(%status, "the program of the port ended");
                }
                return Some(status);
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot wait for the program of the port"),
            Err(_) => tracing::warn!("the program of the port does not end: killing it"),
        }
        None
    }
}

/// Our own standard input and output: a login shell, inetd, the far end of ssh.
pub fn standard_streams() -> Result<Link, LinkError> {
    let open = || -> io::Result<Link> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let peer = net::peer_of(&input);
        let name = peer.map_or("standard input".to_owned(), |peer| peer.to_string());
        let raw = RawTerminal::begin()?;
        let speed = raw.as_ref().and_then(|raw| line_speed(&raw.before));
        let mut link = Link::new(Facts::stream(name), FdStream::new(input)?, FdStream::new(output)?);
        link.socket = peer.is_some();
        if raw.is_some() {
            // A modem may be behind the terminal we were logged in on.
            link.facts.reliable = false;
            link.facts.end_to_end = false;
            link.facts.speed = speed;
        }
        link._terminal = raw;
        Ok(link)
    };
    open().map_err(LinkError::Standard)
}

/// Who has called us on our standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opposite {
    Network(Peer),
    /// Somebody on this line.
    Terminal(PathBuf),
    /// A program that has let him in.
    Program,
}

impl Opposite {
    pub fn find() -> Self {
        let stdin = io::stdin();
        let peer = stdin.as_fd().try_clone_to_owned().ok().and_then(|input| net::peer_of(&input));
        let terminal = || nix::unistd::ttyname(&stdin).ok();
        peer.map(Self::Network).or_else(|| terminal().map(Self::Terminal)).unwrap_or(Self::Program)
    }
}

/// inetd gives its socket as standard error, too: what is said there would be said to the caller. Nobody hears it then.
pub fn keep_words_off_the_line() {
    use nix::sys::stat::{SFlag, fstat};
    let (Ok(input), Ok(words)) = (fstat(io::stdin()), fstat(io::stderr())) else { return };
    let is_socket = SFlag::from_bits_truncate(input.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
    if is_socket && (input.st_dev, input.st_ino) == (words.st_dev, words.st_ino) {
        // Without /dev/null words stay on the line, which a caller may survive.
        if let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") {
            let _ = nix::unistd::dup2_stderr(&nowhere);
        }
    }
}

/// The speed of a terminal in bits per second, if it is one of the usual.
fn line_speed(modes: &Termios) -> Option<u32> {
    use nix::libc;
    let known = [
        (libc::B300, 300),
        (libc::B1200, 1200),
        (libc::B2400, 2400),
        (libc::B4800, 4800),
        (libc::B9600, 9600),
        (libc::B19200, 19_200),
        (libc::B38400, 38_400),
        (libc::B57600, 57_600),
        (libc::B115200, 115_200),
        (libc::B230400, 230_400),
        (libc::B4000000, 4_000_000),
    ];
    let modes: libc::termios = modes.clone().into();
    // SAFETY: the function only reads the structure.
    let speed = unsafe { libc::cfgetospeed(&raw const modes) };
    known.iter().find(|(code, _)| *code == speed).map(|(_, bits)| *bits)
}

/// Standard input as an eight-bit line while it lives.
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// `None` where standard input is no terminal.
    pub fn begin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}
