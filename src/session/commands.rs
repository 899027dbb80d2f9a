//! What a session says of its tasks and files: commands, execution files, reasons.

use std::io;

use super::{Deed, Desk, Refusal, Task};
use crate::wire::uucp::{Command, ExecutionFile, Reply, SendCommand};

/// What of a task is being sent.
pub(super) enum Part {
    /// The task's own bytes, all of it.
    Whole,
    /// The bytes of a command, for a peer without `E`: the execution file comes after them.
    Data,
    /// The execution file.
    Execution(Vec<u8>),
}

impl Part {
    pub fn size(&self, task: &Task) -> u64 {
        match self {
            Self::Whole | Self::Data => task.deed.size().unwrap_or(0),
            Self::Execution(text) => text.len() as u64,
        }
    }

    pub fn read(&self, desk: &mut dyn Desk, task: &Task, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Whole | Self::Data => desk.read(task.id, offset, out),
            Self::Execution(text) => {
                let rest = usize::try_from(offset).ok().and_then(|at| text.get(at..)).unwrap_or(&[]);
                let count = rest.len().min(out.len());
                out[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

/// The command that offers this part of a task, or asks for its file.
pub(super) fn command_for(task: &Task, part: &Part) -> Command {
    let user = task.user.clone();
    match (&task.deed, part) {
        (Deed::Send { from, to, temp, mode, wishes, size }, _) => Command::Send(SendCommand {
            from: from.clone(),
            to: to.clone(),
            user,
            options: format!("C{}", wishes.letters()),
            temp: temp.clone(),
            mode: *mode,
            notify: wishes.notify.clone().unwrap_or_default(),
            size: Some(*size),
        }),
        (Deed::Execute { execution_name, execution_temp, .. }, Part::Execution(text)) => {
            Command::Send(spool_file(execution_temp, execution_name, user, "", "", text.len() as u64))
        }
        (Deed::Execute { data_name, temp, size, .. }, Part::Data) => {
            Command::Send(spool_file(temp, data_name, user, "", "", *size))
        }
        (Deed::Execute { data_name, temp, size, command, requestor, reports, .. }, Part::Whole) => {
            let options = ["C", reports.letter(), if requestor.is_some() { "R" } else { "" }].concat();
            let notify = requestor.as_deref().unwrap_or("");
            Command::Execute(spool_file(temp, data_name, user, &options, notify, *size), command.clone())
        }
        (Deed::Fetch { from, to, wishes, size_max, restart }, _) => {
            let (options, size_max, restart) = (wishes.letters(), *size_max, *restart);
            Command::Receive { from: from.clone(), to: to.clone(), user, options, size_max, position: None, restart }
        }
        (Deed::Expand { from, to, wishes }, _) => {
            Command::Expand { from: from.clone(), to: to.clone(), user, options: wishes.letters() }
        }
        (Deed::Serve { .. }, _) => unreachable!("a served file is never offered"),
    }
}

fn spool_file(temp: &str, to: &str, user: String, options: &str, notify: &str, size: u64) -> SendCommand {
    SendCommand {
        from: temp.to_owned(),
        to: to.to_owned(),
        user,
        options: options.to_owned(),
        temp: temp.to_owned(),
        mode: 0o666,
        notify: notify.to_owned(),
        size: Some(size),
    }
}

/// The `X.` file for a peer without `E`. The system in it is what stands between `D.` and the sequence of our
/// data's name, which the peer does not trust anyway.
pub(super) fn execution_file(task: &Task) -> Vec<u8> {
    let Deed::Execute { command, requestor, reports, data_name, system, file: name, .. } = &task.deed else {
        unreachable!("only a command has an execution file");
    };
    let file = ExecutionFile {
        command: command.clone(),
        user: task.user.clone(),
        system: system.clone(),
        input: name.is_none().then(|| data_name.clone()),
        files: vec![(data_name.clone(), name.clone())],
        output: None,
        requestor: requestor.clone(),
        reports: *reports,
    };
    file.print().into_bytes()
}

/// Whether a file could not be stored for reasons of its own place, and not because our disk fails.
pub(super) fn concerns_one_file(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

pub(super) fn reason_of(why: &Refusal) -> u32 {
    match why {
        Refusal::NotPermitted | Refusal::Other(_) => 2,
        Refusal::CannotCreate => 4,
        Refusal::CannotStore => 5,
        Refusal::TooLargeNow => 6,
        Refusal::TooLarge => 7,
        Refusal::AlreadyHere => 8,
        Refusal::TooManyChannels => 9,
    }
}

pub(super) fn refusal_of(reply: &Reply) -> Refusal {
    match reply.reason {
        Some(2) => Refusal::NotPermitted,
        Some(4) => Refusal::CannotCreate,
        Some(5) => Refusal::CannotStore,
        Some(6) => Refusal::TooLargeNow,
        Some(7) => Refusal::TooLarge,
        Some(8) => Refusal::AlreadyHere,
        Some(9) => Refusal::TooManyChannels,
        _ => Refusal::Other(reply.print()),
    }
}
