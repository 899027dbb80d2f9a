//! The sites of the demo: their configurations and processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{Failure, TEMPORARY};
use crate::store::Store;

/// How long a daemon may take to listen.
const START: Duration = Duration::from_secs(20);

/// A site that runs. Its daemon ends with it.
pub struct Site {
    pub name: &'static str,
    pub config: PathBuf,
    pub store: Store,
    pub smtp: String,
    pub nntp: String,
    daemon: Child,
}

impl Site {
    /// Writes the configuration and starts the daemon.
    pub fn start(folder: &Path, name: &'static str, rest: &str) -> Result<Self, Failure> {
        let spool = folder.join(name);
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "[site]\nname = \"{name}\"\ndomain = \"{name}.example\"\nspool = \"{}\"\npostmaster = \"postmaster\"\nreserve = \"1M\"\n\n\
             [listen]\nsmtp = \"127.0.0.1:0\"\nnntp = \"127.0.0.1:0\"\n\n{rest}",
            spool.display()
        );
        fs::write(&config, text)?;
        let log = fs::File::create(folder.join(format!("{name}.log")))?;
        let mut command = Command::new(program()?);
        command.args(["run", "-c"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon = end_with_us(&mut command).spawn()?;
        let mut started = Started(Some(daemon));
        let listening = wait_for_listening(&spool, &mut started, folder, name)?;
        let address = |service: &str| {
            let line = listening.lines().find_map(|l| l.strip_prefix(service));
            line.map(|l| l.trim().to_owned())
                .ok_or_else(|| Failure::new(TEMPORARY, format!("{name} does not listen for {service}")))
        };
        let (smtp, nntp) = (address("smtp ")?, address("nntp ")?);
        let store = Store::open(&spool)?;
        let daemon = started.0.take().expect("it was put there above");
        Ok(Self { name, config, store, smtp, nntp, daemon })
    }
}

/// A child that is stopped if we fail before somebody else has it.
struct Started(Option<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            stop(child);
        }
    }
}

fn wait_for_listening(spool: &Path, started: &mut Started, folder: &Path, name: &str) -> Result<String, Failure> {
    let begun = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(spool.join("listening")) {
            return Ok(text);
        }
        let child = started.0.as_mut().expect("it is there until it is taken");
        let ended = child.try_wait()?;
        super::interrupt::check()?;
        if ended.is_some() || begun.elapsed() > START {
            let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            return Err(Failure::new(TEMPORARY, format!("{name} does not start:\n{log}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        stop(&mut self.daemon);
    }
}

/// Asks a child to end, and makes it.
fn stop(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Has the child end when we do, however we end.
fn end_with_us(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?)) }
}

/// This program.
pub fn program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Answers on a terminal as a getty does: runs `uucico` there for one call. `has_carrier` tells whether the caller is
/// still on the line; some time after it has gone the program is ended, and at once when the demo is over.
pub fn answer(
    config: &Path,
    terminal: &Path,
    log: &Path,
    has_carrier: impl Fn() -> bool,
    is_over: impl Fn() -> bool,
) -> io::Result<()> {
    let open = || fs::OpenOptions::new().read(true).write(true).open(terminal);
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program()?);
    command.args(["uucico", "-I"]).arg(config).stdin(open()?).stdout(open()?).stderr(log);
    let mut child = end_with_us(&mut command).spawn()?;
    let mut gone: Option<Instant> = None;
    while child.try_wait()?.is_none() {
        let since = *match has_carrier() {
            true => {
                gone = None;
                std::thread::sleep(POLL);
                continue;
            }
            false => gone.get_or_insert_with(Instant::now),
        };
        if since.elapsed() > HANG_UP || is_over() {
            stop(&mut child);
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// How long the answering program may go on after the line is lost.
const HANG_UP: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
