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
    /// A UUCP neighbour, by `rmail`.
    Site(SiteName),
    /// A user of this machine, by `sendmail` or `rmail`.
    Local(String),
    /// Ourselves: a delivery status notification.
    Report,
}

impl Origin {
    /// Whether it may send to other hosts through us.
    pub fn may_relay(&self, policy: &Policy) -> bool {
        match self {
            Self::Smtp { peer, .. } => policy.relays_for(*peer),
            Self::Site(site) => policy.site(site).relay,
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
            Self::Site(site) => format!("from {site} by {} (bangpath) with UUCP", policy.hostname),
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
            Self::Smtp { .. } | Self::Site(_) | Self::Report => return None,
        };
        Some(Completion { now, domain: policy.domain.to_string(), from })
    }

    fn place(&self) -> String {
        match self {
            Self::Smtp { peer, .. } => peer.to_string(),
            Self::Site(site) => site.to_string(),
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
        if !matches!(origin, Origin::Site(_)) {
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
            if let Err(why) = rewrite::recipient_word(policy.site(&site).addressing, &recipient) {
                return Ok(Err(Refusal::new(Status(5, 1, 3), why.to_string())));
            }
            if *origin == Origin::Site(site.clone()) && !found.explicit {
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
            let word = rewrite::recipient_word(policy.site(&site).addressing, &recipient);
            format!("over UUCP to {site}: rmail {}", word.unwrap_or_else(|why| why.0))
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

/// The envelopes of the items for one hop: one, but for a site as many as it takes commands, because one item
/// is one command at the peer.
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
    match rewrite::outgoing_rmail(policy, site, &whole, now.wall) {
        Ok(commands) => commands
            .into_iter()
            .map(|command| Envelope { sender: whole.sender.clone(), recipients: command.recipients })
            .collect(),
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
