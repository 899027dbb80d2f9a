//! `X.` files: whether the data that they name is here, and what the command calls it.

use super::{Brought, Context, Execution, Fate, KEPT, is_execution_file, waiting};
use crate::base::limits::{EXECUTION_FILE_MAX, WIRE_NAME_MAX};
use crate::base::time::Now;
use crate::base::words::with_causes;
use crate::store::StoreError;
use crate::store::inbound::{Purpose, Received, ReceivedId};
use crate::wire::uucp::ExecutionFile;

/// Runs the command of an execution file, once all its data is here: some may come later, in another call.
pub(super) fn run(
    context: &Context,
    now: Now,
    file: &Received,
    told_to_stop: &dyn Fn() -> bool,
) -> Result<Fate, StoreError> {
    let wanted = match read(context, file)? {
        Ok(wanted) => wanted,
        Err(why) => return Ok(Fate::Bad(why)),
    };
    let Gathered { here, missing } = gather(context, file, &wanted)?;
    let older: Vec<ReceivedId> = here.iter().filter(|(_, r)| r.received < file.received).map(|(_, r)| r.id).collect();
    let execution = Execution {
        site: &file.site,
        command: &wanted.command,
        user: &wanted.user,
        requestor: wanted.requestor.as_deref(),
        reports: wanted.reports,
        brought: brought(&wanted, here),
        output: wanted.output.as_ref(),
        file,
        told_to_stop,
    };
    if let Some(why) = flaw(&wanted) {
        return Ok(execution.told(context, Fate::Bad(why)));
    }
    let Some(missing) = missing else {
        return match doubled(context, &execution.brought)? {
            Some(why) => Ok(execution.told(context, Fate::Bad(why))),
            None => execution.run(context, now),
        };
    };
    if !older.is_empty() {
        context.store.write::<_, StoreError>(|change| {
            older.into_iter().try_for_each(|id| change.renew_received(id, file.received))
        })?;
    }
    let never = || format!("`{missing}` never came, which the command needs");
    Ok(execution.told(context, waiting(now.wall, file, KEPT, (format!("waiting for {missing}"), never))))
}

/// The data of an execution file, as far as it is here; of other files there is none.
pub(super) fn data_here(context: &Context, file: &Received) -> Result<Vec<ReceivedId>, StoreError> {
    match &file.purpose {
        Purpose::Spool { name } if is_execution_file(name) => {}
        Purpose::Spool { .. } | Purpose::Execute { .. } => return Ok(Vec::new()),
    }
    // One that cannot be read names nothing, and its burial must not fail by that.
    let wanted = match read(context, file) {
        Ok(Ok(wanted)) => wanted,
        Ok(Err(_)) | Err(StoreError::Damaged(_) | StoreError::Io { .. }) => return Ok(Vec::new()),
        Err(error @ (StoreError::Full(_) | StoreError::Database { .. } | StoreError::Schema { .. })) => {
            return Err(error);
        }
    };
    let Gathered { here, .. } = gather(context, file, &wanted)?;
    Ok(here.into_iter().map(|(_, data)| data.id).collect())
}

/// What the file asks for, or why nobody can say.
fn read(context: &Context, file: &Received) -> Result<Result<ExecutionFile, String>, StoreError> {
    let body = context.store.read::<_, StoreError>(|view| view.body(file.body))?;
    Ok(match body.bytes(EXECUTION_FILE_MAX as u64) {
        Ok(bytes) => ExecutionFile::parse(&bytes).map_err(|error| with_causes(&error)),
        Err(error) => Err(format!("the execution file cannot be read: {error}")),
    })
}

/// What there is of the data of an execution file.
struct Gathered<'a> {
    /// By its names in the spool, each once.
    here: Vec<(&'a str, Received)>,
    /// The first that is not here.
    missing: Option<&'a str>,
}

fn gather<'a>(context: &Context, file: &Received, wanted: &'a ExecutionFile) -> Result<Gathered<'a>, StoreError> {
    let (mut here, mut missing) = (Vec::<(&str, Received)>::new(), None);
    let names = wanted.files.iter().map(|(spool, _)| spool).chain(&wanted.input);
    context.store.read::<_, StoreError>(|view| {
        for name in names.map(String::as_str).filter(|name| !is_execution_file(name)) {
            if here.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match view.received_spool(&file.site, name)? {
                Some(data) => here.push((name, data)),
                None => missing = missing.or(Some(name)),
            }
        }
        Ok(())
    })?;
    Ok(Gathered { here, missing })
}

fn brought(wanted: &ExecutionFile, here: Vec<(&str, Received)>) -> Brought {
    let body = |spool: &str| here.iter().find(|(name, _)| *name == spool).map(|(_, data)| data.body);
    let files = wanted.files.iter().filter_map(|(spool, name)| Some((name.clone()?, body(spool)?)));
    let only = match (&wanted.input, &wanted.files[..]) {
        (None, [(only, _)]) => body(only),
        (Some(_), _) | (None, _) => None,
    };
    let (input, files) = (wanted.input.as_deref().and_then(body), files.collect());
    Brought { input, only, files, data: here.into_iter().map(|(_, data)| data).collect() }
}

/// What is wrong with the names: a file is in the folder of the command, or it came with it.
fn flaw(wanted: &ExecutionFile) -> Option<String> {
    for (spool, name) in &wanted.files {
        if is_place(spool) || is_execution_file(spool) {
            return Some(format!("the command wants `{}`, which is no file that came with it", shown(spool)));
        }
        let Some(name) = name else { continue };
        if is_place(name) || name.len() > WIRE_NAME_MAX {
            return Some(format!("a file of the command is to be called `{}`, which is no plain name", shown(name)));
        }
    }
    let input = wanted.input.as_deref().filter(|input| is_place(input) || is_execution_file(input))?;
    Some(format!("the command wants `{}` to read, which is no file that came with it", shown(input)))
}

/// Taylor's `uux` sends a file as often as it is named. Two that differ under one name are two files of the user, and one would be lost.
fn doubled(context: &Context, brought: &Brought) -> Result<Option<String>, StoreError> {
    for (number, (name, body)) in brought.files.iter().enumerate() {
        let Some((_, earlier)) = brought.files[..number].iter().find(|(earlier, _)| earlier == name) else { continue };
        if !context.store.read::<_, StoreError>(|view| view.are_equal(*earlier, *body))? {
            return Ok(Some(format!("two files of the command are to be called `{}`", shown(name))));
        }
    }
    Ok(None)
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn is_place(name: &str) -> bool {
    name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..")
}
