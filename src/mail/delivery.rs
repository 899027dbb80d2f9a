//! What becomes of an item after an attempt: sent, tried later, returned. The same for every hop.

use std::time::Duration;

use crate::base::address::Address;
use crate::base::names::Grade;
use crate::base::time::{Now, Timestamp};
use crate::store::ledger::Fact;
use crate::store::queue::ItemFilter;
use crate::store::{Cargo, Change, Envelope, Hop, Item, ItemId, StoreError, View};
use crate::wire::smtp::Status;

use super::bounce::{give_back, original_header};
use super::{Accepted, Failure, Letter, Origin, Policy, dispatch};

/// The first pause after a failed attempt doubles with each more, up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
const RETRY_LAST: Duration = Duration::from_secs(4 * 3600);
/// An item queued before this (2025) was queued by a machine that did not know the time: its age means nothing.
const CLOCK_KNOWN: Timestamp = Timestamp::from_seconds(1_735_689_600);
/// So many attempts an item of unknown age is worth: a week of them.
const ATTEMPTS_WITHOUT_AGE: u32 = 60;
/// Items looked at in one transaction.
const RUN: usize = 200;

/// What became of one recipient in an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next hop has taken it. The text is what it said.
    Sent(String),
    /// Not this time, and why.
    Retry(String),
    /// Not tried for want of room in this attempt; goes again at once.
    Again,
    Failed(Failure),
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    pub sent: usize,
    pub returned: usize,
    /// Recipients that stay, and until when.
    pub waiting: usize,
    pub until: Option<Timestamp>,
}

/// Ends an attempt at a mail item: records what was sent, returns what failed or has waited too long, keeps the
/// rest in the queue. All in the caller's change. An item that an operator has dropped meanwhile is left alone.
pub fn settle(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    item: &Item,
    verdicts: Vec<(Address, Verdict)>,
) -> Result<Settled, StoreError> {
    let mut settled = Settled::default();
    let Some(letter) = change.item(item.id)?.map(|item| letter_of(change, &item)).transpose()?.flatten() else {
        return Ok(settled);
    };
    let (mut failures, mut waiting, mut reason, mut sent) = (Vec::new(), Vec::new(), None, String::new());
    for (recipient, verdict) in verdicts {
        match verdict {
            Verdict::Sent(said) => {
                settled.sent += 1;
                sent = said;
            }
            Verdict::Failed(failure) => failures.push(failure),
            Verdict::Retry(why) if is_expired(policy, now.wall, item) => {
                let text = format!("it could not be delivered in time; the last attempt: {why}");
                failures.push(Failure::new(&recipient, Status(5, 4, 7), text));
            }
            Verdict::Retry(why) => {
                reason = Some(why);
                waiting.push(recipient);
            }
            Verdict::Again => waiting.push(recipient),
        }
    }
    if settled.sent > 0 {
        change.record(Fact {
            at: now.wall,
            verb: "sent",
            what: "mail",
            place: place(&item.hop),
            id: letter.message_id.clone(),
            bytes: letter.size,
            detail: format!("from {} to {} recipients: {sent}", letter.sender_text(), settled.sent),
        })?;
    }
    settled.returned = failures.len();
    settled.waiting = waiting.len();
    give_back(change, policy, now, &letter, failures)?;
    if waiting.is_empty() {
        change.finish_item(item.id)?;
        return Ok(settled);
    }
    if settled.sent + settled.returned > 0 {
        change.narrow_item(item.id, &Envelope { sender: letter.sender, recipients: waiting })?;
    }
    if let Some(why) = reason {
        let until = retry_at(now.wall, item.attempts);
        change.defer_item(item.id, until, &why)?;
        settled.until = Some(until);
    }
    Ok(settled)
}

/// The same verdict for every recipient of an item.
pub fn settle_whole(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    item: &Item,
    verdict: impl Fn(&Address) -> Verdict,
) -> Result<Settled, StoreError> {
    let Cargo::Mail { envelope, .. } = &item.cargo else {
        return Ok(Settled::default());
    };
    let verdicts = envelope.recipients.iter().map(|to| (to.clone(), verdict(to))).collect();
    settle(change, policy, now, item, verdicts)
}

/// No connection to a host could be had: what waits for it goes on waiting, or is returned if it has waited too long.
pub fn defer_hop(change: &mut Change<'_>, policy: &Policy, now: Now, hop: &Hop, why: &str) -> Result<(), StoreError> {
    for item in change.ready_items(hop, now.wall, Grade::LEAST, RUN)? {
        settle_whole(change, policy, now, &item, |_| Verdict::Retry(why.to_owned()))?;
    }
    Ok(())
}

/// Returns mail that has waited longer than its lifetime for a hop that nobody could even try. Held items and
/// those in a job stay. Gives how many were looked at and returned.
pub fn expire(change: &mut Change<'_>, policy: &Policy, now: Now) -> Result<usize, StoreError> {
    let filter = ItemFilter { held: Some(false), limit: Some(RUN), ..ItemFilter::default() };
    let old: Vec<Item> = change
        .items(&filter)?
        .into_iter()
        .filter(|item| matches!(item.cargo, Cargo::Mail { .. }) && item.job.is_none() && !item.in_doubt)
        .filter(|item| is_expired(policy, now.wall, item))
        .collect();
    for item in &old {
        let last = item.last_error.clone().unwrap_or_else(|| "there was none".to_owned());
        settle_whole(change, policy, now, item, |_| Verdict::Retry(last.clone()))?;
    }
    Ok(old.len())
}

/// Takes a mail item out of the queue and routes its recipients anew: after `dead retry`, and when the routes have changed.
pub fn reroute(change: &mut Change<'_>, policy: &Policy, now: Now, id: ItemId) -> Result<Option<Accepted>, StoreError> {
    let Some(item) = change.item(id)? else { return Ok(None) };
    let (Some(letter), Cargo::Mail { envelope, .. }) = (letter_of(change, &item)?, item.cargo) else {
        return Ok(None);
    };
    let (mut accepted, lost) = dispatch(change, policy, now, &Origin::Report, &letter, envelope.recipients)?;
    accepted.returned = lost.len();
    give_back(change, policy, now, &letter, lost)?;
    change.finish_item(id)?;
    Ok(Some(accepted))
}

/// When an item that has been tried `attempts` times before this one goes again.
pub fn retry_at(now: Timestamp, attempts: u32) -> Timestamp {
    now + RETRY_FIRST.saturating_mul(1 << attempts.min(16)).min(RETRY_LAST)
}

fn is_expired(policy: &Policy, now: Timestamp, item: &Item) -> bool {
    if item.queued < CLOCK_KNOWN {
        return item.attempts >= ATTEMPTS_WITHOUT_AGE;
    }
    now.since(item.queued) > policy.queue_lifetime
}

fn letter_of(view: &View<'_>, item: &Item) -> Result<Option<Letter>, StoreError> {
    let Cargo::Mail { envelope, body } = &item.cargo else {
        return Ok(None);
    };
    let message_id = original_header(view, *body)?.text("Message-ID").unwrap_or_default();
    let sender = envelope.sender.clone();
    Ok(Some(Letter { sender, body: *body, size: item.size, message_id, grade: item.grade }))
}

fn place(hop: &Hop) -> String {
    match hop {
        Hop::Site(site) => site.to_string(),
        Hop::Smtp { host, port } => format!("{host}:{port}"),
        Hop::Nntp(peer) => peer.to_string(),
        Hop::Maildir(user) => user.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stop_growing() {
        let minutes = |attempts| retry_at(Timestamp::default(), attempts).as_seconds() / 60;
        assert_eq!([0, 1, 2, 5, 6, 60].map(minutes), [5, 10, 20, 160, 240, 240]);
    }
}
