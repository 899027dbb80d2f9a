//! Programs as links (ssh, a modem emulator, another uucico), and our own standard input and output.

use std::io;
use std::os::fd::AsFd;
use std::process::Stdio;

use nix::sys::termios::{self, SetArg, Termios};
use tokio::process::{Child, Command};

use super::{Link, LinkError, fd::FdStream};
use crate::dialogue::Facts;

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
    link._with = Some(Box::new(Running(child)));
    Ok(link)
}

/// Kills the child with the link, and lets the runtime collect it.
struct Running(#[allow(dead_code, reason = "held for its drop")] Child);

/// Our own standard input and output: a login shell, inetd, the far end of ssh.
pub fn standard_streams() -> Result<Link, LinkError> {
    let open = || -> io::Result<Link> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let raw = RawTerminal::begin()?;
        let mut link = Link::new(Facts::stream("standard input"), FdStream::new(input)?, FdStream::new(output)?);
        if raw.is_some() {
            // A modem may be behind the terminal we were logged in on.
            link.facts.reliable = false;
            link.facts.end_to_end = false;
        }
        link._with = raw.map(|raw| Box::new(raw) as Box<dyn Send>);
        Ok(link)
    };
    open().map_err(LinkError::Standard)
}

/// Standard input as an eight-bit line while it lives.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// `None` where standard input is no terminal.
    fn begin() -> io::Result<Option<Self>> {
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
