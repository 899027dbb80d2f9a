//! A program that a site may have run: files are its input and output, and its time is short.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::ProgramFailure;

/// How often it is looked whether it has ended: soon at first, for most are short.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LONGEST: Duration = Duration::from_millis(100);
/// How long it may go on when we are to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// What is run, without a shell.
pub struct Program<'a> {
    pub path: &'a Path,
    pub arguments: &'a [String],
    pub folder: &'a Path,
    /// All of its environment.
    pub environment: &'a [(&'static str, String)],
    /// The user and group to run as, if not ours.
    pub owner: Option<(u32, u32)>,
    pub input: File,
    pub output: &'a File,
    pub errors: &'a File,
    pub longest: Duration,
    /// Bytes that it may write to standard output, and as many to standard error.
    pub output_max: u64,
}

impl Program<'_> {
    /// Waits for its end. It is killed when it goes too far, and in any case what it has started goes with it: nothing watches
    /// over that any more. Blocks.
    pub fn run(self, told_to_stop: &dyn Fn() -> bool) -> Result<(), ProgramFailure> {
        let program = self.path.display().to_string();
        let broken = |error| ProgramFailure::Broken { program: program.clone(), error };
        let mut child = self.start().map_err(broken)?;
        let group = Pid::from_raw(child.id().cast_signed());
        let ended = self.watch(group, told_to_stop);
        // Until it is waited for, its number is that of its group and of nothing else.
        let _ = killpg(group, Signal::SIGKILL);
        let status = child.wait().map_err(broken)?;
        match ended.map_err(broken)? {
            Ended::ByItself if status.success() => Ok(()),
            Ended::ByItself => Err(ProgramFailure::Failed { program, status }),
            Ended::Late => Err(ProgramFailure::Late { program, limit: self.longest }),
            Ended::TooMuch => Err(ProgramFailure::TooMuch { program, limit: self.output_max }),
            Ended::Stopped => Err(ProgramFailure::Stopped { program }),
        }
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(self.path);
        command.args(self.arguments).current_dir(self.folder).env_clear().process_group(0);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(self.input.try_clone()?).stdout(self.output.try_clone()?).stderr(self.errors.try_clone()?);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command.spawn()
    }

    fn watch(&self, child: Pid, told_to_stop: &dyn Fn() -> bool) -> io::Result<Ended> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let (mut pause, mut waited, mut stopping) = (LOOK_FIRST, Duration::ZERO, Duration::ZERO);
        loop {
            let has_ended = waitid(Id::Pid(child), look)? != WaitStatus::StillAlive;
            if self.output.metadata()?.len().max(self.errors.metadata()?.len()) > self.output_max {
                return Ok(Ended::TooMuch);
            }
            if has_ended {
                return Ok(Ended::ByItself);
            }
            if waited >= self.longest {
                return Ok(Ended::Late);
            }
            if stopping >= STOP_GRACE {
                return Ok(Ended::Stopped);
            }
            std::thread::sleep(pause);
            waited += pause;
            if told_to_stop() {
                stopping += pause;
            }
            pause = (pause * 2).min(LOOK_LONGEST);
        }
    }
}

enum Ended {
    ByItself,
    Late,
    TooMuch,
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `/bin/sleep` or `/usr/bin/yes`, and gives how it ended.
    fn check(path: &str, argument: &str, longest: Duration, expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = || tempfile::tempfile().expect("a file");
        let (output, errors) = (file(), file());
        let arguments = [argument.to_owned()];
        let program = Program {
            path: Path::new(path),
            arguments: &arguments,
            folder: folder.path(),
            environment: &[],
            owner: None,
            input: file(),
            output: &output,
            errors: &errors,
            longest,
            output_max: 100_000,
        };
        let said = program.run(&|| false).map_or_else(|error| error.to_string(), |()| "done".to_owned());
        assert!(said.contains(expected), "{path}: {said}");
    }

    #[test]
    fn a_program_that_goes_too_far_is_ended() {
        let ample = Duration::from_secs(60);
        check("/bin/sleep", "0", ample, "done");
        check("/bin/sleep", "60", Duration::from_millis(50), "did not end within");
        check("/usr/bin/yes", "and on", ample, "wrote more than 100000 bytes");
        check("/bin/sleep", "for ever", ample, "exit status: 1");
        check("/none/such", "", ample, "cannot run /none/such");
    }
}
