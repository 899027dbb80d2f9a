//! Mail: the one way in, routing, rewriting, bounces.
//!
//! [`accept`] is the only way a message enters the store; [`settle`](delivery::settle) is how an item leaves the queue after an attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::address::Address;
use crate::base::limits::{RECEIVED_MAX, RECIPIENTS_MAX};
use crate::base::names::{Grade, SiteName, UserName};
use crate::base::time::{Now, Timestamp};
use crate::store::ledger::Fact;
use crate::store::{BodyId, Cargo, Change, Envelope, Hop, ItemId, NewItem, StoreError, View};
use crate::wire::header::folded;
use crate::wire::smtp::Status;

pub mod batched;
pub mod bounce;
pub mod delivery;
pub mod intake;
pub mod local;
mod notice;
pub mod policy;
pub mod rewrite;
pub mod rmail;
pub mod route;

pub use bounce::Failure;
pub use intake::{Completion, Intake, IntakeError, Message};
pub use notice::notify;
pub use policy::{Addressing, Pattern, Policy, SiteMail, Via};
pub use route::{Refusal, Target};

/// Who brought a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A client over SMTP, with the name it gave itself and the protocol for `with` (RFC 3848: `SMTP`, `ESMTP`, `UTF8SMTP`).
    Smtp { peer: IpAddr, name: String, protocol: &'static str },
    /// A UUCP neighbour, with the word for `with` too.
    Site { site: SiteName, protocol: &'static str },
    /// A user of this machine, by `sendmail` or `rmail`.
    Local(String),
    /// Ourselves: a delivery status notification.
    Report,
}

impl Origin {
    /// A neighbour, by `rmail`.
    pub fn rmail(site: SiteName) -> Self {
        Self::Site { site, protocol: "UUCP" }
    }

    /// A neighbour, in a batch.
    pub fn batch(site: SiteName) -> Self {
        Self::Site { site, protocol: "BSMTP" }
    }

    /// Whether it may send to other hosts through us.
    pub fn may_relay(&self, policy: &Policy) -> bool {
        match self {
            Self::Smtp { peer, .. } => policy.relays_for(*peer),
            Self::Site { site, .. } => policy.site(site).relay,
            Self::Local(_) | Self::Report => true,
        }
    }

    /// The `Received` field that this message gets (RFC 5321 section 4.4); nothing for our own reports.
    pub fn received(&self, policy: &Policy, recipients: &[Address], now: Timestamp) -> String {
        let from = match self {
            Self::Smtp { peer, name, protocol } => {
                let literal = if peer.is_ipv6() { format!("[IPv6:{peer}]") } else { format!("[{peer}]") };
                format!("from {name} ({literal}) by {} (bangpath) with {protocol}", policy.hostname)
            }
            Self::Site { site, protocol } => format!("from {site} by {} (bangpath) with {protocol}", policy.hostname),
            Self::Local(user) => format!("by {} (bangpath, user {user})", policy.hostname),
            Self::Report => return String::new(),
        };
        // One recipient may be named; of several, none may learn of the others.
        let recipient = match recipients {
            [one] => format!(" for <{one}>"),
            _ => String::new(),
        };
        folded("Received", &format!("{from}{recipient}; {}", now.rfc5322()))
    }

    /// What we add to its messages if it is missing.
    pub fn completion(&self, policy: &Policy, now: Timestamp) -> Option<Completion> {
        let from = match self {
            Self::Local(user) => Some(format!("{user}@{}", policy.domain)),
            Self::Smtp { .. } if self.may_relay(policy) => None,
            Self::Smtp { .. } | Self::Site { .. } | Self::Report => return None,
        };
        Some(Completion { now, domain: policy.domain.to_string(), from })
    }

    fn place(&self) -> String {
        match self {
            Self::Smtp { peer, .. } => peer.to_string(),
            Self::Site { site, .. } => site.to_string(),
            Self::Local(user) => user.clone(),
            Self::Report => "ourselves".to_owned(),
        }
    }
}

/// A message with its envelope, ready to be accepted.
pub struct Submission {
    pub origin: Origin,
    pub envelope: Envelope,
    pub message: Message,
    /// Recipients that are lost already: arguments of `rmail` that are no addresses.
    pub failures: Vec<Failure>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The items made, one for each hop (or more, where a command line would be too long).
    pub queued: Vec<ItemId>,
    /// Messages put into local mailboxes.
    pub delivered: usize,
    /// Recipients that were returned to the sender.
    pub returned: usize,
}

/// Why a submission is not taken at all: the sender, who is still there, must be told.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the message has gone round: it has more than {RECEIVED_MAX} Received lines")]
    Loop,
    #[error("there is no recipient")]
    NoRecipients,
    #[error("there are more than {RECIPIENTS_MAX} recipients")]
    TooManyRecipients,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The one way in. Keeps the body once, files it for local users, enqueues one item for each hop,
/// returns what cannot be delivered, and records it all: in the caller's change, so together or not at all.
///
/// A loop is refused to SMTP clients and local users, and returned for a neighbour, who is not listening any more.
pub fn accept(change: &mut Change<'_>, policy: &Policy, now: Now, submission: Submission) -> Result<Accepted, Refused> {
    let Submission { origin, envelope, message, mut failures } = submission;
    let mut recipients = envelope.recipients;
    if recipients.is_empty() && failures.is_empty() {
        return Err(Refused::NoRecipients);
    }
    if recipients.len() > RECIPIENTS_MAX {
        return Err(Refused::TooManyRecipients);
    }
    if message.noted.received > RECEIVED_MAX {
        if !matches!(origin, Origin::Site { .. }) {
            return Err(Refused::Loop);
        }
        let looped = |to: Address| Failure::new(&to, Status(5, 4, 6), Refused::Loop.to_string());
        failures.extend(recipients.drain(..).map(looped));
    }
    let sender = envelope.sender.map(|sender| qualified(policy, sender));
    let letter = Letter {
        sender,
        body: change.keep(message.out)?,
        size: message.size,
        message_id: message.noted.message_id,
        grade: Grade::MAIL,
    };
    change.record(Fact {
        at: now.wall,
        verb: "accepted",
        what: "mail",
        place: origin.place(),
        id: letter.message_id.clone(),
        bytes: letter.size,
        detail: format!("from {} for {}", letter.sender_text(), listed(&recipients)),
    })?;
    let (mut accepted, lost) = dispatch(change, policy, now, &origin, &letter, recipients)?;
    failures.extend(lost);
    accepted.returned = failures.len();
    bounce::give_back(change, policy, now, &letter, failures)?;
    Ok(accepted)
}

/// A message that is in the store and belongs to recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub sender: Option<Address>,
    pub body: BodyId,
    pub size: u64,
    pub message_id: String,
    pub grade: Grade,
}

impl Letter {
    /// `<ann@x>`, or `<>`.
    fn sender_text(&self) -> String {
        self.sender.as_ref().map_or("<>".to_owned(), |sender| format!("<{sender}>"))
    }
}

/// Where a recipient's copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Mailbox(UserName),
    Maildir(UserName),
    Site { site: SiteName, recipient: Address },
    Smtp { host: String, port: u16, recipient: Address },
}

/// Where a recipient's copy would go, or why it is not taken: what RCPT is answered by.
pub fn destination(
    view: &View<'_>,
    policy: &Policy,
    origin: &Origin,
    recipient: &Address,
) -> Result<Result<Destination, Refusal>, StoreError> {
    let found = route::route(policy, recipient);
    let destination = match found.target {
        Target::Refused(why) => return Ok(Err(why)),
        Target::Local(name) => return local_user(view, policy, &name),
        Target::Site { site, recipient } => {
            if let Err(why) = rewrite::told(policy.site(&site), &recipient) {
                return Ok(Err(Refusal::new(Status(5, 1, 3), why.to_string())));
            }
            if matches!(origin, Origin::Site { site: from, .. } if *from == site) && !found.explicit {
                let text = format!("{site} sent it here, and our route leads back to {site}");
                return Ok(Err(Refusal::new(Status(5, 4, 6), text)));
            }
            Destination::Site { site, recipient }
        }
        Target::Smtp { host, port, recipient } => Destination::Smtp { host, port, recipient },
    };
    if origin.may_relay(policy) {
        Ok(Ok(destination))
    } else {
        Ok(Err(Refusal::new(Status(5, 7, 1), "we do not relay for you")))
    }
}

/// Whether mail that a site only wishes for may lead there: to users here or at that site; elsewhere only where it may relay.
/// What it asks us to do is in the text, so it would else write to the world through us.
pub fn may_be_told(policy: &Policy, site: &SiteName, to: &Address) -> bool {
    match route::route(policy, to).target {
        Target::Local(_) => true,
        Target::Site { site: at, .. } if at == *site => true,
        Target::Site { .. } | Target::Smtp { .. } => policy.site(site).relay,
        Target::Refused(_) => false,
    }
}

/// `ann`, `Ann`, `ann+lists`, and `postmaster` in any case (RFC 5321 section 4.5.1).
fn local_user(view: &View<'_>, policy: &Policy, name: &str) -> Result<Result<Destination, Refusal>, StoreError> {
    let lower = name.to_lowercase();
    if lower == "postmaster" || lower == "mailer-daemon" {
        return Ok(Ok(mailbox_of(policy, policy.postmaster.clone())));
    }
    let base = |name: &str| name.split('+').next().unwrap_or(name).to_owned();
    for candidate in [name.to_owned(), lower.clone(), base(name), base(&lower)] {
        let Ok(user) = UserName::parse(&candidate) else { continue };
        if user == policy.postmaster || policy.maildirs.contains(&user) || view.user(&user)?.is_some() {
            return Ok(Ok(mailbox_of(policy, user)));
        }
    }
    Ok(Err(Refusal::new(Status(5, 1, 1), format!("there is no user {name} here"))))
}

/// The user of this site, with a mailbox or a Maildir, whom this plain name means; names that lead on from here mean none.
pub fn local_user_named(view: &View<'_>, policy: &Policy, name: &str) -> Result<Option<UserName>, StoreError> {
    Ok(match local_user(view, policy, name)? {
        Ok(Destination::Mailbox(user) | Destination::Maildir(user)) => Some(user),
        Ok(Destination::Site { .. } | Destination::Smtp { .. }) | Err(_) => None,
    })
}

fn mailbox_of(policy: &Policy, user: UserName) -> Destination {
    if policy.maildirs.contains(&user) { Destination::Maildir(user) } else { Destination::Mailbox(user) }
}

/// How mail to `address` would go, in sentences: `bangpath route`.
pub fn explain(view: &View<'_>, policy: &Policy, address: &Address) -> Result<Vec<String>, StoreError> {
    let mut steps = route::route(policy, address).steps;
    let end = match destination(view, policy, &Origin::Local(policy.postmaster.to_string()), address)? {
        Ok(Destination::Mailbox(user)) => format!("into the mailbox of {user}"),
        Ok(Destination::Maildir(user)) => format!("into the Maildir of {user}"),
        Ok(Destination::Site { site, recipient }) => {
            let told = rewrite::told(policy.site(&site), &recipient);
            format!("over UUCP to {site}: {}", told.unwrap_or_else(|why| why.0))
        }
        Ok(Destination::Smtp { host, port, recipient }) => format!("over SMTP to {host} port {port}: <{recipient}>"),
        Err(why) => format!("returned: {} {why}", why.status),
    };
    steps.push(end);
    Ok(steps)
}

/// Files and enqueues a letter for `recipients`; also gives back whom it cannot serve.
pub(crate) fn dispatch(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    origin: &Origin,
    letter: &Letter,
    recipients: Vec<Address>,
) -> Result<(Accepted, Vec<Failure>), StoreError> {
    let (mut accepted, mut failures) = (Accepted::default(), Vec::new());
    let mut hops: BTreeMap<Hop, Vec<Address>> = BTreeMap::new();
    let mut users: BTreeSet<UserName> = BTreeSet::new();
    for recipient in recipients {
        let (hop, address) = match destination(change, policy, origin, &recipient)? {
            Ok(Destination::Mailbox(user)) => {
                users.insert(user);
                continue;
            }
            Ok(Destination::Maildir(user)) => {
                let address = Address::Local(user.to_string());
                (Hop::Maildir(user), address)
            }
            Ok(Destination::Site { site, recipient }) => (Hop::Site(site), recipient),
            Ok(Destination::Smtp { host, port, recipient }) => (Hop::Smtp { host, port }, recipient),
            Err(why) => {
                failures.push(Failure::new(&recipient, why.status, why.text));
                continue;
            }
        };
        let list = hops.entry(hop).or_default();
        if !list.contains(&address) {
            list.push(address);
        }
    }
    for user in users {
        deliver(change, now, letter, &user)?;
        accepted.delivered += 1;
    }
    for (hop, recipients) in hops {
        for envelope in envelopes(policy, now, letter, &hop, recipients, &mut failures) {
            let cargo = Cargo::Mail { envelope, body: letter.body };
            let item = NewItem { hop: hop.clone(), cargo, grade: letter.grade, queued: now.wall };
            accepted.queued.push(change.enqueue(item)?);
        }
    }
    Ok((accepted, failures))
}

fn deliver(change: &mut Change<'_>, now: Now, letter: &Letter, user: &UserName) -> Result<(), StoreError> {
    let sender = letter.sender.as_ref().map(Address::to_string).unwrap_or_default();
    change.deliver(user, letter.body, &sender, now.wall)?;
    change.record(Fact {
        at: now.wall,
        verb: "delivered",
        what: "mail",
        place: user.to_string(),
        id: letter.message_id.clone(),
        bytes: letter.size,
        detail: format!("from {}", letter.sender_text()),
    })
}

/// The envelopes of the items for one hop: one, but for a site without batches as many as it takes commands, because there one
/// item is one command at the peer.
fn envelopes(
    policy: &Policy,
    now: Now,
    letter: &Letter,
    hop: &Hop,
    recipients: Vec<Address>,
    failures: &mut Vec<Failure>,
) -> Vec<Envelope> {
    let whole = Envelope { sender: letter.sender.clone(), recipients };
    let Hop::Site(site) = hop else {
        return vec![whole];
    };
    let told = match policy.site(site).batch {
        Some(_) => rewrite::outgoing_batched(policy, site, &whole).map(|_| vec![whole.clone()]),
        None => rewrite::outgoing_rmail(policy, site, &whole, now.wall).map(|commands| {
            let narrowed =
                |command: rewrite::Rmail| Envelope { sender: whole.sender.clone(), recipients: command.recipients };
            commands.into_iter().map(narrowed).collect()
        }),
    };
    match told {
        Ok(envelopes) => envelopes,
        Err(why) => {
            failures.extend(whole.recipients.iter().map(|to| Failure::new(to, Status(5, 1, 7), why.to_string())));
            Vec::new()
        }
    }
}

/// A bare name as sender is one of our users, and a path that begins with us says nothing by that.
fn qualified(policy: &Policy, sender: Address) -> Address {
    match sender {
        Address::Local(local) => Address::Domain { local, domain: policy.domain.clone() },
        Address::Path { mut hosts, user } if policy.is_ours(&hosts[0]) => {
            hosts.remove(0);
            let rest = if hosts.is_empty() { Address::Local(user) } else { Address::Path { hosts, user } };
            qualified(policy, rest)
        }
        Address::Domain { .. } | Address::Path { .. } => sender,
    }
}

/// `<a> <b> and 3 more`
fn listed(recipients: &[Address]) -> String {
    let mut words: Vec<String> = recipients.iter().take(3).map(|to| format!("<{to}>")).collect();
    if recipients.len() > 3 {
        words.push(format!("and {} more", recipients.len() - 3));
    }
    words.join(" ")
}

#[cfg(test)]
pub(crate) mod tests {
    use tempfile::TempDir;

    use super::policy::tests::{site, village};
    use super::*;
    use crate::store::Store;
    use crate::store::mailboxes::User;
    use crate::store::queue::ItemFilter;

    /// A store with the users ann, bob and mark.
    pub(crate) fn open() -> (TempDir, Store) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(dir.path()).expect("a new store");
        let added = Timestamp::default();
        let users = ["ann", "bob", "mark"].map(|name| UserName::parse(name).expect("a user name"));
        let write = store.write(|change| {
            users.iter().try_for_each(|name| change.set_user(&User { name: name.clone(), password: None, added }))
        });
        write.expect("an empty store takes users");
        (dir, store)
    }

    /// Mailboxes, mail in the queue and dead letters in lines of text.
    pub(crate) fn contents(store: &Store) -> String {
        let shown: Result<String, StoreError> = store.read(|view| {
            let text = |body| -> Result<String, StoreError> {
                let bytes = view.body(body)?.bytes(1_000_000).expect("a short body");
                Ok(String::from_utf8_lossy(&bytes).replace('\n', "\\n").replace('\t', "\\t"))
            };
            let mut lines = String::new();
            for (user, _, _) in view.mailboxes()? {
                for entry in view.mailbox(&user)? {
                    lines += &format!("mailbox {user}: <{}> {}\n", entry.sender, text(entry.body)?);
                }
            }
            for item in view.items(&ItemFilter::default())? {
                let Cargo::Mail { envelope, body } = &item.cargo else { continue };
                let sender = envelope.sender.as_ref().map(Address::to_string).unwrap_or_default();
                let to: Vec<String> = envelope.recipients.iter().map(|to| format!("<{to}>")).collect();
                let place = delivery::place(&item.hop);
                let error = item.last_error.map(|why| format!(" ({why})")).unwrap_or_default();
                lines +=
                    &format!("item {place} {}: <{sender}> to {}{error} {}\n", item.grade, to.join(" "), text(*body)?);
            }
            for dead in view.dead_letters()? {
                lines += &format!("dead: {}: {}\n", dead.what, dead.why);
            }
            Ok(lines)
        });
        shown.expect("the store can be read")
    }

    pub(crate) fn facts(store: &Store) -> Vec<String> {
        let entries = store.read(|view| view.ledger(0, 1000)).expect("the store can be read");
        let line =
            |e: &crate::store::ledger::Entry| format!("{} {} {} {}: {}", e.verb, e.what, e.place, e.id, e.detail);
        entries.iter().map(line).collect()
    }

    pub(crate) fn now() -> Now {
        Now { wall: Timestamp::from_seconds(1_780_000_000), ..Now::default() }
    }

    fn address(text: &str) -> Address {
        Address::parse_uucp(text).expect(text)
    }

    pub(crate) fn submit(
        store: &Store,
        origin: Origin,
        sender: &str,
        recipients: &[&str],
        text: &str,
    ) -> Result<Accepted, Refused> {
        let recipients: Vec<Address> = recipients.iter().map(|to| address(to)).collect();
        let policy = village();
        let received = origin.received(&policy, &recipients, now().wall);
        let mut intake = Intake::new(store.draft(), received, origin.completion(&policy, now().wall), u64::MAX);
        intake.write(text.as_bytes()).expect("a small message");
        let message = intake.finish().expect("a small message");
        let envelope = Envelope { sender: (!sender.is_empty()).then(|| address(sender)), recipients };
        let submission = Submission { origin, envelope, message, failures: Vec::new() };
        store.write(|change| accept(change, &policy, now(), submission))
    }

    /// Without the text of messages.
    pub(crate) fn placed(store: &Store) -> Vec<String> {
        let first_words = |line: &str| {
            let beginnings = [" Received", " From: Mail", " Message-ID: <1@x>"];
            let end = beginnings.iter().filter_map(|text| line.find(text)).min().unwrap_or(line.len());
            line[..end].to_owned()
        };
        contents(store).lines().map(first_words).collect()
    }

    pub(crate) const TEXT: &str = "Message-ID: <1@x>\nFrom: ann\nDate: today\n\nhello\n";

    #[test]
    fn one_body_goes_to_mailboxes_and_to_one_item_for_each_hop() {
        let (_dir, store) = open();
        let to = [
            "bob",
            "BOB@village.example",
            "mark",
            "x@far.example",
            "hub!y",
            "x@far.example",
            "oldvax!z",
            "q@lan.example",
            "r@lan.example",
        ];
        let accepted = submit(&store, Origin::Local("ann".to_owned()), "ann", &to, TEXT).expect("it is accepted");
        assert_eq!((accepted.queued.len(), accepted.delivered, accepted.returned), (4, 1, 0));
        assert_eq!(
            placed(&store),
            [
                "mailbox bob: <ann@village.example>",
                "item hub C: <ann@village.example> to <x@far.example> <y>",
                "item oldvax C: <ann@village.example> to <z>",
                "item mail.lan.example:2525 C: <ann@village.example> to <q@lan.example> <r@lan.example>",
                "item mark C: <ann@village.example> to <mark>",
            ]
        );
        assert_eq!(
            facts(&store),
            [
                "accepted mail ann <1@x>: from <ann@village.example> for <bob> <BOB@village.example> <mark> and 6 more",
                "delivered mail bob <1@x>: from <ann@village.example>",
            ]
        );
    }

    #[test]
    fn what_cannot_be_delivered_after_acceptance_is_returned_once_to_the_sender() {
        let (_dir, store) = open();
        let origin = Origin::rmail(site("oldvax"));
        let to = ["bob", "nobody", "x@far.example"];
        let accepted = submit(&store, origin, "oldvax!eve", &to, TEXT).expect("it is accepted");
        assert_eq!((accepted.delivered, accepted.returned), (1, 2));
        assert_eq!(placed(&store), ["mailbox bob: <oldvax!eve>", "item oldvax C: <> to <eve>"]);
        let report = contents(&store);
        assert!(report.contains("Final-Recipient: rfc822; nobody\\nAction: failed\\nStatus: 5.1.1"), "{report}");
        assert!(report.contains("Final-Recipient: rfc822; x@far.example\\nAction: failed\\nStatus: 5.7.1"), "{report}");
        assert!(report.contains("Message-ID: <1@x>"), "{report}");
        assert_eq!(
            facts(&store).last().map(|fact| fact.split(':').next().unwrap_or("").to_owned()).as_deref(),
            Some("returned mail oldvax!eve <1@x>")
        );
    }

    #[test]
    fn a_report_is_never_reported_on() {
        let (_dir, store) = open();
        submit(&store, Origin::rmail(site("hub")), "", &["nobody"], TEXT).expect("it is accepted");
        submit(&store, Origin::rmail(site("hub")), "nobody@village.example", &["no-one"], TEXT)
            .expect("it is accepted");
        assert_eq!(
            placed(&store),
            [
                "dead: mail from <> to <nobody>, for site village: <nobody>: there is no user nobody here",
                "dead: mail from <nobody@village.example> to <no-one>, for site village: <no-one>: there is no user no-one here; \
                 and the sender <nobody@village.example> cannot be told: there is no user nobody here",
            ]
        );
    }

    #[test]
    fn a_dead_letter_tried_again_is_routed_anew() {
        let (_dir, store) = open();
        submit(&store, Origin::rmail(site("hub")), "", &["late"], TEXT).expect("it is accepted");
        let policy = village();
        let done: Result<(), StoreError> = store.write(|change| {
            change.set_user(&User {
                name: UserName::parse("late").expect("a name"),
                password: None,
                added: now().wall,
            })?;
            let number = change.dead_letters()?[0].number;
            assert!(change.retry_dead_letter(number, now().wall)?.is_some());
            let item = change.items(&ItemFilter::default())?.pop().expect("the item is back");
            assert_eq!(item.hop, Hop::Site(site("village")));
            let accepted = delivery::reroute(change, &policy, now(), item.id)?.expect("it is there");
            assert_eq!(accepted.delivered, 1);
            Ok(())
        });
        done.expect("the store works");
        assert_eq!(placed(&store), ["mailbox late: <>"]);
    }

    #[test]
    fn a_message_that_has_gone_round_is_refused_or_returned() {
        let (_dir, store) = open();
        let text = "Received: x\n".repeat(101) + TEXT;
        let local = submit(&store, Origin::Local("ann".to_owned()), "ann", &["bob"], &text);
        assert!(matches!(local, Err(Refused::Loop)));
        submit(&store, Origin::rmail(site("hub")), "ann@village.example", &["bob"], &text).expect("it is accepted");
        assert_eq!(placed(&store), ["mailbox ann: <>"]);
        assert!(contents(&store).contains("Status: 5.4.6"));
    }

    #[test]
    fn mail_does_not_go_back_by_the_default_route_to_where_it_came_from() {
        let (_dir, store) = open();
        submit(&store, Origin::rmail(site("hub")), "ann@village.example", &["x@far.example", "hub!y"], TEXT)
            .expect("it is accepted");
        assert_eq!(placed(&store), ["mailbox ann: <>", "item hub C: <ann@village.example> to <y>"]);
        assert!(contents(&store).contains("our route leads back to hub"));
    }

    #[test]
    fn what_cannot_be_said_over_uucp_is_returned_at_once() {
        let (_dir, store) = open();
        let quoted = Address::parse_smtp("\"a b\"@far.example").expect("an address");
        let answer =
            store.read(|view| destination(view, &village(), &Origin::Report, &quoted)).expect("the store works");
        assert_eq!(answer.map_err(|why| why.status), Err(Status(5, 1, 3)));
    }

    #[test]
    fn more_recipients_than_a_command_holds_make_more_items() {
        let (_dir, store) = open();
        let to: Vec<String> = (0..100).map(|n| format!("recipient-{n}@far.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let accepted = submit(&store, Origin::Local("ann".to_owned()), "ann", &to, TEXT).expect("it is accepted");
        assert!(accepted.queued.len() > 1);
        let policy = village();
        let items = store.read(|view| view.items(&ItemFilter::default())).expect("the store works");
        let jobs: Vec<_> = items
            .iter()
            .map(|item| {
                let Cargo::Mail { envelope, .. } = &item.cargo else { panic!("only mail is here") };
                rewrite::outgoing_rmail(&policy, &site("hub"), envelope, item.queued).expect("plain addresses")
            })
            .collect();
        assert!(jobs.iter().all(|commands| commands.len() == 1));
        assert_eq!(jobs.iter().flatten().map(|command| command.recipients.len()).sum::<usize>(), 100);
    }

    #[test]
    fn a_route_is_explained_to_its_end() {
        let (_dir, store) = open();
        let explained = |text: &str| {
            let steps = store.read(|view| explain(view, &village(), &address(text))).expect("the store works");
            steps.last().cloned().unwrap_or_default()
        };
        for (text, expected) in [
            ("ann", "into the mailbox of ann"),
            ("mark", "into the Maildir of mark"),
            ("x@far.example", "over UUCP to hub: rmail x@far.example"),
            ("oldvax!a!b@c", "over UUCP to oldvax: rmail a!c!b"),
            ("x@lan.example", "over SMTP to mail.lan.example port 2525: <x@lan.example>"),
            ("nobody", "returned: 5.1.1 there is no user nobody here"),
        ] {
            assert_eq!(explained(text), expected);
        }
    }
}
