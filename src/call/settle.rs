//! What becomes of what a site was offered: gone, put off, or kept with a word to its user.

use std::time::Duration;

use super::Site;
use super::notices::Notices;
use crate::base::limits::EXECUTION_FILE_MAX;
use crate::base::time::{Now, Timestamp};
use crate::base::wishes::Reports;
use crate::mail::delivery::{Verdict, settle_whole};
use crate::mail::{self, Failure};
use crate::store::ledger::Fact;
use crate::store::{Cargo, Change, Item, StoreError};
use crate::wire::smtp::Status;
use crate::wire::uucp::ExecutionFile;

/// How long an item that the site could not take now waits before it is offered again.
const LATER: Duration = Duration::from_secs(30 * 60);

/// The site's word on a job.
pub(super) enum JobVerdict {
    Done,
    /// Not now.
    Later(String),
    /// Never.
    Never(String),
}

/// What becomes of an item of a job, by that word.
pub(super) fn settle_item(
    change: &mut Change<'_>,
    policy: &mail::Policy,
    now: Now,
    site: &Site,
    sequence: &str,
    item: &Item,
    verdict: &JobVerdict,
) -> Result<(), StoreError> {
    if let Cargo::Mail { .. } = item.cargo {
        settle_whole(change, policy, now, item, |recipient| match verdict {
            JobVerdict::Done => Verdict::Sent(format!("job {sequence}")),
            JobVerdict::Later(why) => Verdict::Retry(why.clone()),
            JobVerdict::Never(why) => {
                let reason = format!("the UUCP site {} {why}", site.name);
                Verdict::Failed(Failure::new(recipient, Status(5, 7, 1), reason))
            }
        })?;
        return Ok(());
    }
    let notices = Notices { policy, now, site: &site.name };
    match verdict {
        JobVerdict::Done => {
            change.finish_item(item.id)?;
            change.record(item_fact(now.wall, "sent", site, item, &format!("job {sequence}")))?;
            match &item.cargo {
                Cargo::File { from, to, user, wishes, .. } if wishes.tell_asker => {
                    notices.copied(change, user, (from, &format!("{}!{to}", site.name)))
                }
                Cargo::Fetch { from, to, user, wishes } if wishes.tell_asker => {
                    notices.copied(change, user, (&format!("{}!{from}", site.name), to))
                }
                Cargo::File { .. }
                | Cargo::Fetch { .. }
                | Cargo::Mail { .. }
                | Cargo::Article { .. }
                | Cargo::Expand { .. }
                | Cargo::Command { .. } => Ok(()),
            }
        }
        JobVerdict::Later(why) => change.defer_item(item.id, now.wall + LATER, why),
        JobVerdict::Never(why) => {
            change.record(item_fact(now.wall, "refused", site, item, why))?;
            settle_refused(change, notices, item, why)
        }
    }
}

/// An article that one neighbour does not want is no loss; a file or command is kept, and its user told.
fn settle_refused(change: &mut Change<'_>, notices: Notices<'_>, item: &Item, why: &str) -> Result<(), StoreError> {
    let (buried, at) = (format!("site {} {why}", notices.site), notices.now.wall);
    match &item.cargo {
        Cargo::Article { .. } => change.finish_item(item.id),
        Cargo::Mail { .. } => change.bury_item(item.id, &buried, at),
        Cargo::File { from, to, user, execution: Some(execution), .. } => {
            let command = command_of(change, item, execution)?;
            change.bury_item(item.id, &buried, at)?;
            let Some(command) = command else { return notices.refused(change, (user, from), why) };
            let why = match to == execution {
                true => why.to_owned(),
                false => format!("{why} ({from}, without which the command is of no use)"),
            };
            let whom = command.requestor.as_ref().unwrap_or(user);
            tell_refused(change, notices, (whom, &command.command), &why, command.reports)
        }
        Cargo::File { user, to: what, .. }
        | Cargo::Fetch { user, from: what, .. }
        | Cargo::Expand { user, from: what, .. } => {
            change.bury_item(item.id, &buried, at)?;
            notices.refused(change, (user, what), why)
        }
        Cargo::Command { user, line, requestor, reports, .. } => {
            change.bury_item(item.id, &buried, at)?;
            tell_refused(change, notices, (requestor.as_ref().unwrap_or(user), line), why, *reports)
        }
    }
}

/// Of a command, if that is wished.
fn tell_refused(
    change: &mut Change<'_>,
    notices: Notices<'_>,
    (whom, command): (&str, &str),
    why: &str,
    reports: Reports,
) -> Result<(), StoreError> {
    match reports {
        Reports::Never => Ok(()),
        Reports::Unsaid | Reports::Failures | Reports::All => notices.refused(change, (whom, command), why),
    }
}

/// What the execution file asks for that an item goes with, or is, if it is still here and can be read.
fn command_of(change: &Change<'_>, item: &Item, execution: &str) -> Result<Option<ExecutionFile>, StoreError> {
    let companions = change.companions(item.id)?;
    let body = [item].into_iter().chain(&companions).find_map(|item| match &item.cargo {
        Cargo::File { to, body, .. } if to == execution => Some(*body),
        Cargo::File { .. }
        | Cargo::Mail { .. }
        | Cargo::Article { .. }
        | Cargo::Fetch { .. }
        | Cargo::Expand { .. }
        | Cargo::Command { .. } => None,
    });
    let Some(body) = body else { return Ok(None) };
    let bytes = match change.body(body) {
        Ok(body) => body.bytes(EXECUTION_FILE_MAX as u64).ok(),
        Err(StoreError::Damaged(_) | StoreError::Io { .. }) => None,
        Err(error @ (StoreError::Full(_) | StoreError::Database { .. } | StoreError::Schema { .. })) => {
            return Err(error);
        }
    };
    Ok(bytes.and_then(|bytes| ExecutionFile::parse(&bytes).ok()))
}

fn item_fact(at: Timestamp, verb: &'static str, site: &Site, item: &Item, detail: &str) -> Fact {
    let (what, id) = match &item.cargo {
        Cargo::Mail { .. } => ("mail", String::new()),
        Cargo::Article { message_id, .. } => ("article", message_id.clone()),
        Cargo::File { to, .. } => ("file", to.clone()),
        Cargo::Fetch { from, .. } | Cargo::Expand { from, .. } => ("file", from.clone()),
        Cargo::Command { line, .. } => ("command", line.clone()),
    };
    Fact { at, verb, what, place: site.name.to_string(), id, bytes: item.size, detail: detail.to_owned() }
}
