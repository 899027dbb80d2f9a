//! What becomes of an item after an attempt: sent, tried later, returned. The same for every hop.

use std::time::Duration;

use crate::base::address::Address;
use crate::base::time::{Now, Timestamp};
use crate::base::words::count;
use crate::store::ledger::Fact;
use crate::store::queue::HopTrouble;
use crate::store::{Cargo, Change, Envelope, Hop, Item, ItemId, Store, StoreError, View};
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
            verb: if matches!(item.hop, Hop::Maildir(_)) { "delivered" } else { "sent" },
            what: "mail",
            place: place(&item.hop),
            id: letter.message_id.clone(),
            bytes: letter.size,
            detail: format!("from {} to {}: {sent}", letter.sender_text(), count(settled.sent as u64, "recipient")),
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

/// An item whose bytes cannot be read must not stand before all others: it waits, or where they are damaged goes to the
/// dead letters. Any other trouble is given back.
pub fn set_aside(store: &Store, now: Timestamp, item: &Item, error: StoreError) -> Result<(), StoreError> {
    let why = error.to_string();
    tracing::error!(hop = place(&item.hop), item = item.id.0, why, "an item cannot be read");
    match error {
        StoreError::Io { .. } => store.write(|change| change.defer_item(item.id, retry_at(now, item.attempts), &why)),
        StoreError::Damaged(_) => store.write(|change| {
            change.bury_item(item.id, &why, now)?;
            change.record(Fact {
                at: now,
                verb: "buried",
                what: "item",
                place: place(&item.hop),
                id: item.id.0.to_string(),
                bytes: item.size,
                detail: why.clone(),
            })
        }),
        StoreError::Full(_) | StoreError::Database { .. } | StoreError::Schema { .. } => Err(error),
    }
}

/// No connection to a host could be had, or it broke: the hop as a whole waits, longer each time unless something
/// was sent. No item pays for that with an attempt; mail that waits too long is returned by [`expire`].
pub fn defer_hop(change: &mut Change<'_>, now: Timestamp, hop: &Hop, sent: bool, why: &str) -> Result<(), StoreError> {
    let before = change.hop_trouble(hop)?.filter(|_| !sent).map_or(0, |t| t.failures);
    let not_before = retry_at(now, before);
    let trouble = HopTrouble { failures: before.saturating_add(1), not_before, last_error: why.to_owned() };
    change.set_hop_trouble(hop, Some(&trouble))
}

/// A connection came to its orderly end.
pub fn hop_reached(change: &mut Change<'_>, hop: &Hop) -> Result<(), StoreError> {
    change.set_hop_trouble(hop, None)
}

/// Returns mail that has waited longer than its lifetime for a hop that nobody could even try. Held items and
/// those in a job stay. Gives how many there were; [`RUN`] at most, so call it again while there are some.
pub fn expire(change: &mut Change<'_>, policy: &Policy, now: Now) -> Result<usize, StoreError> {
    let old = change.mail_queued(CLOCK_KNOWN..now.wall - policy.queue_lifetime, RUN)?;
    for item in &old {
        let trouble = change.hop_trouble(&item.hop)?.map(|t| t.last_error);
        let last = trouble.or(item.last_error.clone()).unwrap_or_else(|| "there was none".to_owned());
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

pub(super) fn place(hop: &Hop) -> String {
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
    use crate::base::names::Grade;
    use crate::mail::policy::tests::village;
    use crate::mail::tests::{TEXT, contents, now, open, placed, submit};
    use crate::store::NewItem;
    use crate::store::queue::ItemFilter;

    #[test]
    fn pauses_grow_and_stop_growing() {
        let minutes = |attempts| retry_at(Timestamp::default(), attempts).as_seconds() / 60;
        assert_eq!([0, 1, 2, 5, 6, 60].map(minutes), [5, 10, 20, 160, 240, 240]);
    }

    fn queued(to: &[&str]) -> (tempfile::TempDir, Store, Item) {
        let (dir, store) = open();
        submit(&store, Origin::Local("ann".to_owned()), "ann", to, TEXT).expect("it is accepted");
        let item = store.read(|view| view.items(&ItemFilter::default())).expect("the store works").remove(0);
        (dir, store, item)
    }

    fn later(time: Duration) -> Now {
        Now { wall: now().wall + time, ..now() }
    }

    fn expired_after(time: Duration) -> (tempfile::TempDir, Store, usize) {
        let (dir, store) = open();
        // News that nobody fetches stands before it and waits on.
        let news: Result<(), StoreError> = store.write(|change| {
            let body = change.keep_bytes(b"x")?;
            for n in 0..=RUN {
                let cargo = Cargo::Article { message_id: format!("<{n}@x>"), body };
                let hop = Hop::Site(village().sites.into_keys().next().expect("there is a site"));
                change.enqueue(NewItem { hop, cargo, grade: Grade::NEWS, queued: now().wall })?;
            }
            Ok(())
        });
        news.expect("the store works");
        submit(&store, Origin::Local("ann".to_owned()), "ann", &["x@far.example"], TEXT).expect("it is accepted");
        let returned = store.write(|change| expire(change, &village(), later(time))).expect("the store works");
        (dir, store, returned)
    }

    #[test]
    fn what_nobody_fetches_is_returned_after_its_lifetime() {
        let week = village().queue_lifetime;
        let (_dir, store, returned) = expired_after(week);
        assert_eq!(
            (returned, placed(&store)),
            (0, vec!["item hub C: <ann@village.example> to <x@far.example>".to_owned()])
        );
        let (_dir, store, returned) = expired_after(week + Duration::from_secs(1));
        assert_eq!((returned, placed(&store)), (1, vec!["mailbox ann: <>".to_owned()]));
        assert!(contents(&store).contains("Status: 5.4.7"));
    }

    #[test]
    fn a_clock_that_was_wrong_when_an_item_was_queued_does_not_expire_it() {
        let (_dir, _store, item) = queued(&["x@far.example"]);
        let queued_in_1970 = Item { queued: Timestamp::from_seconds(60), ..item };
        assert!(!is_expired(&village(), now().wall, &queued_in_1970));
        let tried = Item { attempts: ATTEMPTS_WITHOUT_AGE, ..queued_in_1970 };
        assert!(is_expired(&village(), now().wall, &tried));
    }

    #[test]
    fn a_host_that_cannot_be_reached_keeps_all_its_mail_waiting() {
        let (_dir, store, item) = queued(&["x@lan.example"]);
        submit(&store, Origin::Local("ann".to_owned()), "ann", &["y@lan.example"], TEXT).expect("it is accepted");
        let fail = |at: Now, sent| {
            store.write(|change| defer_hop(change, at.wall, &item.hop, sent, "no answer")).expect("the store works");
            store.read(|view| view.hop_trouble(&item.hop)).expect("the store works").expect("trouble")
        };
        assert_eq!(fail(now(), false).not_before, now().wall + RETRY_FIRST);
        let second = fail(later(RETRY_FIRST), false);
        assert_eq!((second.failures, second.not_before), (2, later(RETRY_FIRST).wall + 2 * RETRY_FIRST));
        assert_eq!(fail(now(), true).failures, 1, "it was reached meanwhile");
        let items = store.read(|view| view.ready_items(&item.hop, now().wall, Grade::LEAST, 9)).expect("works");
        assert_eq!(items.iter().map(|item| item.attempts).collect::<Vec<_>>(), [0, 0]);
        // An operator's word counts more, and so does a connection.
        store.write(|change| change.release_item(item.id)).expect("the store works");
        assert_eq!(store.read(|view| view.hop_trouble(&item.hop)).expect("the store works"), None);
        // In the end it is returned, with the reason.
        fail(now(), false);
        let much_later = later(village().queue_lifetime + Duration::from_secs(1));
        store.write(|change| expire(change, &village(), much_later)).expect("the store works");
        assert_eq!(contents(&store).matches("the last attempt: no answer").count(), 2, "{}", contents(&store));
    }

    #[test]
    fn changed_routes_take_effect_on_what_waits() {
        let (_dir, store, item) = queued(&["x@far.example", "y@lan.example"]);
        let mut policy = village();
        policy.routes.clear();
        policy.local_domains.insert(crate::base::address::Domain::parse("far.example").expect("a domain"));
        let accepted = store.write(|change| reroute(change, &policy, now(), item.id)).expect("the store works");
        assert_eq!(accepted.map(|accepted| accepted.returned), Some(1));
        assert_eq!(placed(&store).len(), 2, "{:?}", placed(&store));
        assert_eq!(store.write(|change| reroute(change, &policy, now(), item.id)).expect("the store works"), None);
    }

    #[test]
    fn an_item_dropped_meanwhile_is_left_alone() {
        let (_dir, store, item) = queued(&["x@far.example"]);
        let settled = store.write(|change| {
            change.finish_item(item.id)?;
            settle_whole(change, &village(), now(), &item, |to| {
                Verdict::Failed(Failure::new(to, Status(5, 1, 1), "no"))
            })
        });
        assert_eq!(settled.expect("the store works"), Settled::default());
        assert_eq!(placed(&store), [""; 0]);
    }
}
