//! An operator's program that talks on an open line for a while, as Taylor's `chat-program` does.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::broadcast::error::RecvError;

use super::drive::carrier_lost;
use super::{Link, Nudges};
use crate::base::limits::PROGRAM_WORDS_MAX;
use crate::dialogue::Nudge;

/// How long what it said last may take to reach us, or the line.
const LAST_WORDS: Duration = Duration::from_secs(20);
const LAST_ERRORS: Duration = Duration::from_millis(200);
/// More than the kernel holds of a socket pair: what a program has started may still be writing when it has ended.
const HELD_MAX: usize = 1024 * 1024;

/// Why a program did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProgramFailure {
    #[error("cannot run {program}: {error}")]
    Broken { program: String, error: io::Error },
    #[error("{program} ended with {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("{program} did not end within {} s", .limit.as_secs())]
    Late { program: String, limit: Duration },
    #[error("{program} wrote more than {limit} bytes")]
    TooMuch { program: String, limit: u64 },
    #[error("the line was lost while {program} talked")]
    LineLost { program: String },
    #[error("{program} was stopped with us")]
    Stopped { program: String },
}

/// What became of a program.
#[derive(Debug)]
pub struct Ran {
    /// Good if its exit status was 0.
    pub result: Result<(), ProgramFailure>,
    /// What it wrote to standard error, as far as it is kept.
    pub words: String,
    /// What came over the line and it did not read.
    pub unread: Vec<u8>,
}

/// Runs `argv` without a shell; its standard input and output are the line, on which `unread` has come already. It is
/// killed when it takes longer than `limit`, when the line is lost, and when we stop.
pub async fn run_program(
    link: &mut Link,
    argv: &[String],
    unread: Vec<u8>,
    limit: Duration,
    nudges: &mut Nudges,
) -> Ran {
    let name = argv.first().cloned().unwrap_or_default();
    let broken = |error| ProgramFailure::Broken { program: name.clone(), error };
    let mut running = match Running::start(argv, unread) {
        Ok(started) => started,
        Err(error) => return Ran { result: Err(broken(error)), words: String::new(), unread: Vec::new() },
    };
    let talked = tokio::select! {
        talked = running.talk(link) => talked,
        () = tokio::time::sleep(limit) => Talked::Late,
        () = told_to_stop(nudges) => Talked::Stopped,
    };
    let program = name.clone();
    let result = match talked {
        // It may have said good-bye.
        Talked::Ended(Ok(status)) => match running.last_words(link).await {
            _ if !status.success() => Err(ProgramFailure::Failed { program, status }),
            said => said.map_err(broken),
        },
        Talked::Ended(Err(error)) => Err(broken(error)),
        Talked::LineLost => Err(ProgramFailure::LineLost { program }),
        Talked::Late => Err(ProgramFailure::Late { program, limit }),
        Talked::Stopped => Err(ProgramFailure::Stopped { program }),
    };
    running.end().await;
    Ran { result, words: running.words(), unread: running.unread() }
}

enum Talked {
    Ended(io::Result<ExitStatus>),
    LineLost,
    Late,
    Stopped,
}

/// Returns when nothing more is waited for.
async fn told_to_stop(nudges: &mut Nudges) {
    loop {
        match nudges.recv().await {
            Ok(Nudge::HangUp) => return,
            Ok(Nudge::Store | Nudge::WindDown) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

struct Running {
    child: Child,
    /// It has a process group of its own, with all that it starts.
    apart: bool,
    stderr: ChildStderr,
    ours: tokio::net::UnixStream,
    /// The program's end of it. Kept, so that what it does not read can be had again.
    theirs: OwnedFd,
    /// On the way from the line to the program, and back.
    inward: Vec<u8>,
    outward: Vec<u8>,
    words: Vec<u8>,
}

impl Running {
    fn start(argv: &[String], unread: Vec<u8>) -> io::Result<Self> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let theirs = OwnedFd::from(theirs);
        let mut command = Command::new(program);
        command.args(arguments).stderr(Stdio::piped()).kill_on_drop(true);
        command.stdin(Stdio::from(theirs.try_clone()?)).stdout(Stdio::from(theirs.try_clone()?));
        // Who calls by hand ends us and all of it with one key.
        let apart = !io::stdin().is_terminal();
        if apart {
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().expect("it is piped");
        let ours = tokio::net::UnixStream::from_std(ours)?;
        Ok(Self { child, apart, stderr, ours, theirs, inward: unread, outward: Vec::new(), words: Vec::new() })
    }

    /// Kills it if it goes on, and what it has started if it is `apart`: one of those may have the device open. One that has
    /// ended is not harmed, nor what it meant to leave running.
    async fn end(&mut self) {
        if let Some(group) = self.child.id().filter(|_| self.apart).and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.kill().await;
    }

    /// Carries bytes both ways until either end is no more.
    async fn talk(&mut self, link: &mut Link) -> Talked {
        let Self { child, stderr, .. } = self;
        let Link { reader, writer, lines, carrier_watched, .. } = link;
        let (mut from_program, mut to_program) = self.ours.split();
        let (mut line, mut program, mut words) = ([0; 1024], [0; 1024], [0; 1024]);
        let mut listening = true;
        // It may close one direction of the line for itself, or both, and go on.
        let (mut talking, mut hearing) = (true, true);
        loop {
            tokio::select! {
                status = child.wait() => {
                    // What it has started may go on writing for ever.
                    let _ = tokio::time::timeout(LAST_ERRORS, async {
                        while let Ok(count @ 1..) = stderr.read(&mut words).await {
                            keep(&mut self.words, &words[..count]);
                        }
                    })
                    .await;
                    return Talked::Ended(status);
                }
                read = reader.read(&mut line), if self.inward.is_empty() => match read {
                    Ok(count @ 1..) => self.inward.extend_from_slice(&line[..count]),
                    Ok(0) | Err(_) => return Talked::LineLost,
                },
                wrote = to_program.write(&self.inward), if hearing && !self.inward.is_empty() => match wrote {
                    Ok(count) => drop(self.inward.drain(..count)),
                    Err(_) => hearing = false,
                },
                read = from_program.read(&mut program), if talking && self.outward.is_empty() => match read {
                    Ok(count @ 1..) => self.outward.extend_from_slice(&program[..count]),
                    Ok(0) | Err(_) => talking = false,
                },
                wrote = writer.write(&self.outward), if !self.outward.is_empty() => match wrote {
                    Ok(count @ 1..) => drop(self.outward.drain(..count)),
                    Ok(0) | Err(_) => return Talked::LineLost,
                },
                read = stderr.read(&mut words), if listening => match read {
                    Ok(count @ 1..) => keep(&mut self.words, &words[..count]),
                    Ok(0) | Err(_) => listening = false,
                },
                () = carrier_lost(lines), if *carrier_watched => return Talked::LineLost,
            }
        }
    }

    /// What it has written and is not on the line yet goes there.
    async fn last_words(&mut self, link: &mut Link) -> io::Result<()> {
        self.outward.extend(waiting(&self.ours));
        tokio::time::timeout(LAST_WORDS, async {
            link.writer.write_all(&self.outward).await?;
            link.writer.flush().await
        })
        .await?
    }

    /// Whole lines of what it wrote to standard error.
    fn words(&self) -> String {
        let mut words = String::from_utf8_lossy(&self.words).into_owned();
        if self.words.len() == PROGRAM_WORDS_MAX {
            // A word cut in two is not known for what it is: it may be half a password.
            words.truncate(words.rfind('\n').unwrap_or(0));
        }
        words
    }

    fn unread(&self) -> Vec<u8> {
        let mut unread = waiting(&self.theirs);
        unread.extend_from_slice(&self.inward);
        unread
    }
}

/// The rest is thrown away, so that the program can go on.
fn keep(words: &mut Vec<u8>, more: &[u8]) {
    let room = PROGRAM_WORDS_MAX - words.len();
    words.extend_from_slice(&more[..more.len().min(room)]);
}

/// What can be read at once from one end of a socket pair: what the kernel holds of it, at most.
fn waiting(end: &impl AsFd) -> Vec<u8> {
    let mut found = Vec::new();
    let mut bytes = [0; 1024];
    while found.len() < HELD_MAX
        && let Ok(count @ 1..) = recv(end.as_fd().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)
    {
        found.extend_from_slice(&bytes[..count]);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::sys::socket::{Shutdown, shutdown};
    use nix::time::{ClockId, clock_gettime};

    use super::*;
    use crate::dialogue::Facts;

    /// Runs a script on a line that says this; gives what came of it and what went over the line.
    fn run(script: &str, line: &[u8], limit: Duration, keep_line: bool) -> (Ran, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(100_000);
            let (reader, writer) = tokio::io::split(near);
            let mut link = Link::new(Facts::stream("test"), reader, writer);
            far.write_all(line).await.expect("it listens");
            if !keep_line {
                far.shutdown().await.expect("it is open");
            }
            let (_keep, mut nudges) = tokio::sync::broadcast::channel(1);
            let argv = ["sh", "-c", script].map(str::to_owned);
            let mut ran = run_program(&mut link, &argv, b"ear".to_vec(), limit, &mut nudges).await;
            // What it was too short for is still on the line.
            far.shutdown().await.expect("it is open");
            link.reader.read_to_end(&mut ran.unread).await.expect("closed");
            drop(link);
            let mut said = Vec::new();
            far.read_to_end(&mut said).await.expect("closed");
            (ran, said)
        })
    }

    fn check(script: &str, line: &[u8], result: Result<(), &str>, said: &[u8], unread: &[u8]) -> String {
        let (ran, heard) = run(script, line, Duration::from_secs(60), true);
        let got = ran.result.map_err(|failure| failure.to_string());
        assert_eq!((got, &heard[..], &ran.unread[..]), (result.map_err(str::to_owned), said, unread), "{script}");
        ran.words
    }

    #[test]
    fn a_program_talks_on_the_line_and_what_it_does_not_read_is_handed_on() {
        check("printf hello", b"", Ok(()), b"hello", b"ear");
        assert_eq!(check("head -c 6 >&2; printf '\\377\\0'", b"ly and", Ok(()), b"\xff\0", b"and"), "early ");
        check("exec <&- >&-; exit 0", b"ly", Ok(()), b"", b"early");
        check("head -c 3; exit 3", b"", Err("sh ended with exit status: 3"), b"ear", b"");
        let long = "x".repeat(50_000);
        check(
            "head -c 50003 >/dev/null; head -c 50000 /dev/zero | tr '\\0' x",
            long.as_bytes(),
            Ok(()),
            long.as_bytes(),
            b"",
        );
    }

    #[test]
    fn a_program_is_ended_with_its_line_and_with_its_time() {
        let words = |limit, keep_line| {
            let (ran, _) = run("exec sleep 1000", b"", limit, keep_line);
            ran.result.expect_err("it does not end").to_string()
        };
        assert_eq!(words(Duration::from_secs(60), false), "the line was lost while sh talked");
        assert_eq!(words(Duration::from_millis(20), true), "sh did not end within 0 s");
    }

    #[test]
    fn what_a_program_has_to_say_of_itself_is_kept_up_to_a_limit_and_never_stops_it() {
        let words = check("head -c 1000000 /dev/zero | tr '\\0' '\\n' >&2", b"", Ok(()), b"", b"ear");
        assert_eq!(words.len(), PROGRAM_WORDS_MAX - 1);
        assert_eq!(check("head -c 5000 /dev/zero | tr '\\0' x >&2", b"", Ok(()), b"", b"ear"), "", "half a word");
    }

    #[test]
    fn what_a_program_leaves_running_does_not_keep_us() {
        check("yes >&2 & exit 0", b"", Ok(()), b"", b"ear");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        // Faster than it is read.
        let writing = std::thread::spawn(move || while theirs.write_all(&[b'y'; 256 * 1024]).is_ok() {});
        assert!(waiting(&ours).len() <= HELD_MAX + 1024);
        drop(ours);
        writing.join().expect("it ends with the line");
    }

    #[test]
    fn what_a_program_has_started_ends_with_it_when_it_is_killed() {
        let (ran, said) = run("sleep 1000 & echo $!; wait", b"", Duration::from_millis(500), true);
        assert!(matches!(ran.result, Err(ProgramFailure::Late { .. })), "{:?}", ran.result);
        let id: i32 = String::from_utf8(said).expect("text").trim().parse().expect("a process");
        let runs = || std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        // It is killed at once, and gone a little later.
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !runs()
        });
        if !gone {
            let _ = nix::sys::signal::kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        assert!(gone, "what it has started goes on");
    }

    #[test]
    fn a_program_that_closes_the_line_for_itself_keeps_no_processor_busy_and_takes_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (near, _far) = tokio::io::duplex(100);
            let (reader, writer) = tokio::io::split(near);
            let mut link = Link::new(Facts::stream("test"), reader, writer);
            let argv = ["sleep".to_owned(), "0.5".to_owned()];
            let mut running = Running::start(&argv, b"ear".to_vec()).expect("it runs");
            // The same socket as that of the program, which could do so itself.
            shutdown(running.theirs.as_raw_fd(), Shutdown::Both).expect("a socket");
            let busy = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
            let before = busy();
            let talked = running.talk(&mut link).await;
            let busy = Duration::from(busy() - before);
            assert!(matches!(talked, Talked::Ended(Ok(status)) if status.success()), "it was taken to be broken");
            assert!(busy < Duration::from_millis(100), "busy for {busy:?}");
            assert_eq!(running.unread(), b"ear");
        });
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut link = Link::new(Facts::stream("test"), tokio::io::empty(), tokio::io::sink());
            let (_keep, mut nudges) = tokio::sync::broadcast::channel(1);
            let argv = ["/nonexistent/dial".to_owned(), "secret".to_owned()];
            let ran = run_program(&mut link, &argv, Vec::new(), Duration::from_secs(1), &mut nudges).await;
            let words = ran.result.expect_err("it cannot run").to_string();
            assert!(words.starts_with("cannot run /nonexistent/dial: ") && !words.contains("secret"), "{words}");
        });
    }
}
