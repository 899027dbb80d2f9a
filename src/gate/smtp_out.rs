//! SMTP to a host (RFC 5321): one connection takes what the queue holds for it, item after item.
//!
//! Every recipient has its own verdict. What the host has taken is finished in the change that records it, 4xx waits, 5xx is
//! returned ([`delivery::settle`]). The body streams from the store; a connection that breaks before the last reply means
//! "try later".

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::base::address::Address;
use crate::base::limits::{SMTP_ITEMS_MAX, SMTP_REPLY_LINE_MAX};
use crate::base::names::Grade;
use crate::base::time::Now;
pub use crate::gate::client::Ended;
use crate::gate::client::{Client, Errand, FINAL, GOODBYE, PIECE_SENT, REPLY};
use crate::gate::text::Text;
use crate::mail::delivery::{self, Settled, Verdict};
use crate::mail::{Failure, Policy, bounce, rewrite};
use crate::store::{Cargo, Hop, Item, ItemId, Store, StoreError};
use crate::wire::smtp::{Command, Mail, Offers, Reply, ReplyReader, Status};
use crate::wire::text::BadLine;

/// How long the answer to DATA may take (RFC 5321 section 4.5.3.2.4).
const DATA: Duration = Duration::from_secs(2 * 60);

/// What a conversation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What became of each item that was tried, in order.
    pub items: Vec<(ItemId, Settled)>,
    pub ended: Ended,
}

/// The client's side of one SMTP connection. One at a time for each hop, or an item may be sent twice.
pub type SmtpOut = Client<Smtp>;

/// What it keeps beside what every client does.
pub struct Smtp {
    policy: Arc<Policy>,
    hop: Hop,
    offers: Offers,
    replies: ReplyReader,
    items: Vec<(ItemId, Settled)>,
}

/// What it waits for.
pub enum State {
    Greeting,
    Ehlo,
    Helo,
    /// The sender has been told, and with PIPELINING the recipients too.
    Sender(Box<Job>),
    /// Waiting for what they say to recipient number `next`.
    Recipients(Box<Job>, usize),
    Data(Box<Job>),
    Text(Box<Job>),
    Final(Box<Job>),
    Reset,
    Quit,
}

pub struct Job {
    item: Item,
    /// As the queue has them, and what was decided for each.
    recipients: Vec<(Address, Option<Verdict>)>,
    /// Numbers of those that are told to the host, and of those it has taken so far.
    told: Vec<usize>,
    taken: Vec<usize>,
    sender_refused: Option<Verdict>,
    text: Text,
}

impl Errand for Smtp {
    type State = State;
    type Outcome = Outcome;

    fn answered(client: &mut SmtpOut, now: Now, line: Result<Vec<u8>, BadLine>) {
        let reply = match line {
            Ok(line) => client.errand.replies.push(&line).map_err(|why| why.to_string()),
            Err(why) => Err(format!("the server's reply: {why}")),
        };
        match reply {
            Ok(None) => {}
            Ok(Some(reply)) => client.reply(now, reply),
            Err(why) => Self::break_off(client, now, why),
        }
    }

    fn go_on(client: &mut SmtpOut, now: Now) {
        match client.state.take() {
            Some(State::Text(job)) => client.send_text(now, job),
            state => client.state = state,
        }
    }

    /// What was under way waits, and whoever opened it lets the host wait.
    fn break_off(client: &mut SmtpOut, now: Now, why: String) {
        let retry = Verdict::Retry(why.clone());
        match client.state.take() {
            Some(State::Greeting | State::Ehlo | State::Helo) => warn!(host = client.host, why, "no SMTP service"),
            Some(
                State::Sender(job)
                | State::Recipients(job, _)
                | State::Data(job)
                | State::Text(job)
                | State::Final(job),
            ) => client.settle(now, *job, &retry),
            Some(State::Quit) => return client.end(Ended::Done),
            Some(State::Reset) | None => {}
        }
        client.end(Ended::Failed(why));
    }

    fn outcome(&mut self, ended: Ended) -> Outcome {
        Outcome { items: std::mem::take(&mut self.items), ended }
    }
}

impl SmtpOut {
    /// A connection to the host of `hop` ([`Hop::Smtp`]) is open; nothing has been said.
    pub fn new(store: Store, policy: Arc<Policy>, host: &str, port: u16, now: Now) -> Self {
        let hop = Hop::Smtp { host: host.to_owned(), port };
        let (offers, replies) = (Offers::default(), ReplyReader::default());
        let errand = Smtp { policy, hop, offers, replies, items: Vec::new() };
        let mut client = Self::open(store, host.to_owned(), errand, SMTP_REPLY_LINE_MAX, now);
        client.wait(now, REPLY, State::Greeting);
        client
    }

    fn reply(&mut self, now: Now, reply: Reply) {
        if reply.code == 421 && !matches!(self.state, Some(State::Quit)) {
            return Smtp::break_off(self, now, format!("{} says {reply}", self.host));
        }
        let Some(state) = self.state.take() else {
            return;
        };
        match state {
            State::Greeting if reply.code == 220 => {
                self.say(Command::Ehlo(self.errand.policy.hostname.clone()));
                self.wait(now, REPLY, State::Ehlo);
            }
            State::Ehlo if reply.is_positive() => {
                self.errand.offers = Offers::from_reply(&reply);
                self.next_item(now);
            }
            // A server from before RFC 1869.
            State::Ehlo if !reply.is_transient() => {
                self.say(Command::Helo(self.errand.policy.hostname.clone()));
                self.wait(now, REPLY, State::Helo);
            }
            State::Helo if reply.is_positive() => self.next_item(now),
            state @ (State::Greeting | State::Ehlo | State::Helo) => {
                self.state = Some(state);
                Smtp::break_off(self, now, format!("{} says {reply}", self.host));
            }
            State::Sender(job) => self.sender_answered(now, job, &reply),
            State::Recipients(job, next) => self.recipient_answered(now, job, next, &reply),
            State::Data(job) if reply.code == 354 => {
                self.wait(now, PIECE_SENT, State::Text(job));
            }
            State::Data(job) => self.finish_item(now, *job, &self.verdict(&reply), true),
            State::Final(job) => self.finish_item(now, *job, &self.verdict(&reply), false),
            // It has given up in mid-text: nothing can be said on this connection any more.
            State::Text(job) => {
                let verdict = if reply.is_positive() {
                    Verdict::Retry(format!("{} answered before the end of the text", self.host))
                } else {
                    self.verdict(&reply)
                };
                self.settle(now, *job, &verdict);
                self.end(Ended::Failed(format!("{} says {reply}", self.host)));
            }
            State::Reset => self.next_item(now),
            State::Quit => self.end(Ended::Done),
        }
    }

    /// What a reply means for those whom it concerns.
    fn verdict(&self, reply: &Reply) -> Verdict {
        match reply.code / 100 {
            2 => Verdict::Sent(reply.to_string()),
            5 => self.failed(reply.status_or_default(), reply.to_string(), true),
            _ => Verdict::Retry(format!("{} says {reply}", self.host)),
        }
    }

    fn failed(&self, status: Status, reason: String, said: bool) -> Verdict {
        // The recipient's name is put in where the verdict is given.
        Verdict::Failed(Failure { recipient: String::new(), status, reason, remote: said.then(|| self.host.clone()) })
    }

    /// Begins with the next item that waits, or takes its leave.
    fn next_item(&mut self, now: Now) {
        let item = if self.wind_down || self.errand.items.len() >= SMTP_ITEMS_MAX { Ok(None) } else { self.load(now) };
        match item {
            Ok(None) => {
                self.say(Command::Quit);
                self.wait(now, GOODBYE, State::Quit);
            }
            Ok(Some((job, header_utf8))) => self.begin(now, job, header_utf8),
            Err(why) => self.store_failed(&why),
        }
    }

    fn load(&self, now: Now) -> Result<Option<(Box<Job>, bool)>, StoreError> {
        loop {
            let ready =
                self.store.read::<_, StoreError>(|view| view.ready_items(&self.errand.hop, now.wall, Grade::LEAST, 1));
            let Some(item) = ready?.pop() else { return Ok(None) };
            match self.read(&item) {
                Ok((text, header_utf8)) => {
                    let recipients = recipients(&item).iter().map(|to| (to.clone(), None)).collect();
                    let (told, taken) = (Vec::new(), Vec::new());
                    let job = Job { recipients, told, taken, sender_refused: None, text, item };
                    return Ok(Some((Box::new(job), header_utf8)));
                }
                Err(why) => delivery::set_aside(&self.store, now.wall, &item, why)?,
            }
        }
    }

    /// The text, and whether its header is UTF-8.
    fn read(&self, item: &Item) -> Result<(Text, bool), StoreError> {
        let Cargo::Mail { body, .. } = &item.cargo else {
            return Err(StoreError::Damaged(format!("item {} is no mail and waits for SMTP", item.id.0)));
        };
        self.store.read(|view| {
            let header = bounce::original_header(view, *body)?;
            let header_utf8 = !header.as_bytes().is_ascii() && std::str::from_utf8(header.as_bytes()).is_ok();
            Ok((Text::whole(view.body(*body)?), header_utf8))
        })
    }

    fn begin(&mut self, now: Now, mut job: Box<Job>, header_utf8: bool) {
        if self.errand.offers.size_max.is_some_and(|max| job.item.size > max) {
            let text = format!("{} takes no message of {} bytes", self.host, job.item.size);
            let verdict = self.failed(Status(5, 3, 4), text, false);
            self.settle(now, *job, &verdict);
            return self.next_item_unless_over(now);
        }
        let sender = job.sender().map(|sender| rewrite::smtp_address(&self.errand.policy, sender));
        let no_utf8 = self.failed(Status(5, 6, 7), format!("{} knows no addresses beyond ASCII", self.host), false);
        if sender.as_ref().is_some_and(Address::needs_utf8) && !self.errand.offers.smtputf8 {
            self.settle(now, *job, &no_utf8);
            return self.next_item_unless_over(now);
        }
        for (n, (recipient, verdict)) in job.recipients.iter_mut().enumerate() {
            if recipient.needs_utf8() && !self.errand.offers.smtputf8 {
                *verdict = Some(named(&no_utf8, recipient));
            } else {
                job.told.push(n);
            }
        }
        if job.told.is_empty() {
            self.settle(now, *job, &no_utf8);
            return self.next_item_unless_over(now);
        }
        let utf8 = header_utf8
            || sender.as_ref().is_some_and(Address::needs_utf8)
            || job.told.iter().any(|n| job.recipients[*n].0.needs_utf8());
        self.say(Command::Mail(Mail {
            sender,
            size: self.errand.offers.size.then_some(job.item.size),
            eight_bit: self.errand.offers.eight_bit,
            smtputf8: self.errand.offers.smtputf8 && utf8,
        }));
        if self.errand.offers.pipelining {
            for n in &job.told {
                let recipient = rewrite::smtp_address(&self.errand.policy, &job.recipients[*n].0);
                self.say(Command::Rcpt(recipient));
            }
        }
        self.wait(now, REPLY, State::Sender(job));
    }

    fn sender_answered(&mut self, now: Now, mut job: Box<Job>, reply: &Reply) {
        if reply.code / 100 != 2 {
            let verdict = self.verdict(reply);
            if !self.errand.offers.pipelining {
                return self.finish_item(now, *job, &verdict, true);
            }
            // The answers to the recipients are on their way and mean nothing.
            job.sender_refused = Some(verdict);
        }
        self.ask_recipient(now, job, 0);
    }

    /// Waits for the answer to recipient `next`, having asked for it if that is not done.
    fn ask_recipient(&mut self, now: Now, job: Box<Job>, next: usize) {
        if !self.errand.offers.pipelining {
            let recipient = rewrite::smtp_address(&self.errand.policy, &job.recipients[job.told[next]].0);
            self.say(Command::Rcpt(recipient));
        }
        self.wait(now, REPLY, State::Recipients(job, next));
    }

    fn recipient_answered(&mut self, now: Now, mut job: Box<Job>, next: usize, reply: &Reply) {
        let n = job.told[next];
        let too_many = matches!(reply.code, 452 | 552) && !job.taken.is_empty();
        let verdict = match self.verdict(reply) {
            Verdict::Sent(_) => None,
            // RFC 5321 section 4.5.3.1.10: the rest goes in a transaction of its own.
            _ if too_many => Some(Verdict::Again),
            verdict => Some(named(&verdict, &job.recipients[n].0)),
        };
        if verdict.is_none() {
            job.taken.push(n);
        }
        job.recipients[n].1 = verdict;
        if next + 1 < job.told.len() {
            return self.ask_recipient(now, job, next + 1);
        }
        if let Some(refused) = job.sender_refused.take() {
            job.recipients.iter_mut().for_each(|(_, verdict)| *verdict = None);
            return self.finish_item(now, *job, &refused, true);
        }
        if job.taken.is_empty() {
            let nobody = Verdict::Retry(format!("{} takes no recipient", self.host));
            return self.finish_item(now, *job, &nobody, true);
        }
        self.say(Command::Data);
        self.wait(now, DATA, State::Data(job));
    }

    /// Gives `rest` to all recipients who have no verdict, and goes on.
    fn finish_item(&mut self, now: Now, job: Job, rest: &Verdict, reset: bool) {
        self.settle(now, job, rest);
        if reset && self.ended.is_none() {
            self.say(Command::Rset);
            self.wait(now, REPLY, State::Reset);
        } else {
            self.next_item_unless_over(now);
        }
    }

    fn next_item_unless_over(&mut self, now: Now) {
        if self.ended.is_none() {
            self.next_item(now);
        }
    }

    /// Writes what became of an item to the store: first the disk, then the next word.
    fn settle(&mut self, now: Now, job: Job, rest: &Verdict) {
        let verdicts: Vec<(Address, Verdict)> = job
            .recipients
            .into_iter()
            .map(|(to, verdict)| {
                let verdict = verdict.unwrap_or_else(|| named(rest, &to));
                (to, verdict)
            })
            .collect();
        let item = &job.item;
        match self.store.write(|change| delivery::settle(change, &self.errand.policy, now, item, verdicts)) {
            Ok(settled) => {
                let Settled { sent, returned, waiting, .. } = settled;
                info!(host = self.host, item = item.id.0, sent, returned, waiting, "mail tried");
                self.errand.items.push((item.id, settled));
            }
            // It stays in the queue as it was; going on would only try it again at once.
            Err(why) => self.store_failed(&why),
        }
    }

    fn store_failed(&mut self, why: &StoreError) {
        error!(host = self.host, %why, "cannot record what became of mail");
        self.end(Ended::Store(why.to_string()));
    }

    /// The next piece of the text, or its end.
    fn send_text(&mut self, now: Now, mut job: Box<Job>) {
        match job.text.piece(&mut self.output) {
            Ok(true) => self.wait(now, PIECE_SENT, State::Text(job)),
            Ok(false) => self.wait(now, FINAL, State::Final(job)),
            Err(why) => {
                // Without its final dot the host will not take it for whole.
                self.settle(now, *job, &Verdict::Retry(format!("the body cannot be read: {why}")));
                self.end(Ended::Store(why.to_string()));
            }
        }
    }
}

fn recipients(item: &Item) -> &[Address] {
    match &item.cargo {
        Cargo::Mail { envelope, .. } => &envelope.recipients,
        Cargo::Article { .. }
        | Cargo::File { .. }
        | Cargo::Fetch { .. }
        | Cargo::Expand { .. }
        | Cargo::Command { .. } => &[],
    }
}

impl Job {
    fn sender(&self) -> Option<&Address> {
        match &self.item.cargo {
            Cargo::Mail { envelope, .. } => envelope.sender.as_ref(),
            Cargo::Article { .. }
            | Cargo::File { .. }
            | Cargo::Fetch { .. }
            | Cargo::Expand { .. }
            | Cargo::Command { .. } => None,
        }
    }
}

/// A verdict for all, for one of them.
fn named(verdict: &Verdict, recipient: &Address) -> Verdict {
    match verdict {
        Verdict::Failed(failure) => Verdict::Failed(Failure { recipient: recipient.to_string(), ..failure.clone() }),
        Verdict::Sent(_) | Verdict::Retry(_) | Verdict::Again => verdict.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::script::{Player, SPLITS, Split, start};
    use crate::mail::Origin;
    use crate::mail::policy::tests::village;
    use crate::mail::tests::{TEXT, contents, facts, open, placed, submit};

    const HELLO: &str = "
        < 220 mail.lan.example ready
        > EHLO mx.village.example
        < 250-mail.lan.example
        < 250-PIPELINING
        < 250-8BITMIME
        < 250 SIZE 100000\n";
    const OLD: &str = "
        < 220-mail.lan.example ready
        < 220 since 1985
        > EHLO mx.village.example
        < 502 what?
        > HELO mx.village.example
        < 250 hello\n";
    const BYE: &str = "
        > QUIT
        < 221 bye\n";
    const BODY: &str = "
        > DATA
        < 354 go on
        > Message-ID: <1@x>
        > From: ann
        > Date: today
        >
        > hello
        > .\n";

    /// A whole conversation in which a letter is taken.
    fn taken(hello: &str, envelope: &str) -> String {
        [hello, envelope, BODY, "< 250 ok\n", BYE].concat()
    }

    fn client(store: &Store) -> SmtpOut {
        SmtpOut::new(store.clone(), Arc::new(village()), "mail.lan.example", 2525, start())
    }

    /// Sends one letter of ann's to these people at lan.example, in every split; what is left in the store.
    fn check(to: &[&str], script: &str, expected: &[&str]) -> Vec<String> {
        let mut ledger = Vec::new();
        for split in SPLITS {
            let (_dir, store) = open();
            submit(&store, Origin::Report, "ann@village.example", to, TEXT).expect("it is accepted");
            let mut player = Player::new(client(&store), split);
            player.play(script);
            assert!(player.outcome.is_some(), "it comes to an end");
            assert_eq!(placed(&store), expected, "{split:?}");
            ledger = facts(&store).into_iter().filter(|fact| fact.starts_with("sent")).collect();
        }
        ledger
    }

    #[test]
    fn a_letter_is_sent_and_leaves_the_queue() {
        let script = [
            HELLO,
            "> MAIL FROM:<ann@village.example> SIZE=… BODY=8BITMIME
             > RCPT TO:<q@lan.example>
             > RCPT TO:<r@lan.example>
             < 250 2.1.0 ok
             < 250 2.1.5 ok
             < 250 2.1.5 ok\n",
            BODY,
            "< 250 2.0.0 queued as 1\n",
            BYE,
        ]
        .concat()
        .replace("SIZE=… BODY=8BITMIME", "…");
        let sent = check(&["q@lan.example", "r@lan.example"], &script, &[]);
        assert_eq!(
            sent,
            [
                "sent mail mail.lan.example:2525 <1@x>: from <ann@village.example> to 2 recipients: 250 2.0.0 queued as 1"
            ]
        );
    }

    #[test]
    fn an_old_server_is_asked_one_thing_at_a_time() {
        let script = taken(
            OLD,
            "> MAIL FROM:<ann@village.example>
             < 250 ok
             > RCPT TO:<q@lan.example>
             < 250 ok
             > RCPT TO:<r@lan.example>
             < 251 will forward\n",
        );
        check(&["q@lan.example", "r@lan.example"], &script, &[]);
    }

    #[test]
    fn each_recipient_has_its_own_fate() {
        let script = taken(
            HELLO,
            "> MAIL FROM:…
             > RCPT TO:<q@lan.example>
             > RCPT TO:<r@lan.example>
             > RCPT TO:<s@lan.example>
             < 250 ok
             < 550-5.1.1 no such
             < 550 5.1.1 user
             < 450 4.2.1 busy
             < 250 ok\n",
        );
        let to = ["q@lan.example", "r@lan.example", "s@lan.example"];
        let waiting = "item mail.lan.example:2525 C: <ann@village.example> to <r@lan.example> (mail.lan.example says 450 4.2.1 busy)";
        check(&to, &script, &["mailbox ann: <>", waiting]);
    }

    #[test]
    fn a_refused_message_is_returned_and_the_host_quoted() {
        for (answers, code) in [
            ("< 550 5.7.1 not you\n< 503 x\n> RSET\n< 250 ok\n", "550 5.7.1 not you"),
            ("< 250 ok\n< 553 no\n> RSET\n< 250 ok\n", "553 no"),
            ("< 250 ok\n< 250 ok\n> DATA\n< 554 no\n> RSET\n< 250 ok\n", "554 no"),
            (&format!("< 250 ok\n< 250 ok\n{BODY}< 552 too big\n"), "552 too big"),
        ] {
            let script = [HELLO, "> MAIL …\n> RCPT …\n", answers, BYE].concat();
            check(&["q@lan.example"], &script, &["mailbox ann: <>"]);
            let (_dir, store) = open();
            submit(&store, Origin::Report, "ann@village.example", &["q@lan.example"], TEXT).expect("it is accepted");
            Player::new(client(&store), Split::Whole).play(&script);
            let shown = contents(&store);
            assert!(
                shown.contains(&format!("Remote-MTA: dns; mail.lan.example\\nDiagnostic-Code: smtp; {code}\\n")),
                "{shown}"
            );
            assert!(shown.contains("Final-Recipient: rfc822; q@lan.example\\n"), "{shown}");
        }
    }

    #[test]
    fn what_may_work_later_waits() {
        let item = "item mail.lan.example:2525 C: <ann@village.example> to <q@lan.example>";
        let begun = [HELLO, "> MAIL …\n> RCPT …\n"].concat();
        for (script, why) in [
            (format!("{begun}< 451 no\n< 503 x\n> RSET\n< 250 ok\n{BYE}"), "mail.lan.example says 451 no"),
            (format!("{begun}< 250 ok\n< 451 no\n> RSET\n< 250 ok\n{BYE}"), "mail.lan.example says 451 no"),
            (
                format!("{begun}< 250 ok\n< 250 ok\n{BODY}< 452 4.3.1 full\n{BYE}"),
                "mail.lan.example says 452 4.3.1 full",
            ),
            (format!("{begun}< 421 4.3.2 going\n"), "mail.lan.example says 421 4.3.2 going"),
            (format!("{begun}!hangup\n"), "mail.lan.example closed the connection"),
            (format!("{begun}< 250 ok\n< 250 ok\n{BODY}!hangup\n"), "mail.lan.example closed the connection"),
            (format!("{begun}< 250 ok\n< 250 ok\n{BODY}@ 601\n"), "mail.lan.example did not answer in time"),
            (format!("{begun}@ 301\n"), "mail.lan.example did not answer in time"),
            (format!("{begun}< hello\n"), "a line of the server does not begin with a code"),
            (format!("{begun}< {}\n", "x".repeat(3000)), "the server's reply: line too long"),
        ] {
            let sent = check(&["q@lan.example"], &script, &[&format!("{item} ({why})")]);
            assert_eq!(sent, [""; 0]);
        }
    }

    #[test]
    fn a_host_without_service_costs_no_item_an_attempt() {
        let item = "item mail.lan.example:2525 C: <ann@village.example> to <q@lan.example>";
        for (script, why) in [
            ("< 554 no service\n", "mail.lan.example says 554 no service"),
            ("< 220 x\n> EHLO …\n< 421 busy\n", "mail.lan.example says 421 busy"),
            ("!hangup\n", "mail.lan.example closed the connection"),
            ("@ 301\n", "mail.lan.example did not answer in time"),
        ] {
            let (_dir, store) = open();
            submit(&store, Origin::Report, "ann@village.example", &["q@lan.example"], TEXT).expect("it is accepted");
            let mut player = Player::new(client(&store), Split::Whole);
            player.play(script);
            assert_eq!(player.outcome.map(|outcome| outcome.ended), Some(Ended::Failed(why.to_owned())));
            assert_eq!(placed(&store), [item]);
        }
    }

    #[test]
    fn what_has_waited_too_long_is_returned() {
        let (_dir, store) = open();
        submit(&store, Origin::Report, "ann@village.example", &["q@lan.example"], TEXT).expect("it is accepted");
        let mut player = Player::new(client(&store), Split::Whole);
        player.now.wall = player.now.wall + village().queue_lifetime + Duration::from_secs(60);
        player.play(&[HELLO, "> MAIL …\n> RCPT …\n< 451 no\n< 503 x\n> RSET\n< 250 ok\n", BYE].concat());
        assert_eq!(placed(&store), ["mailbox ann: <>"]);
        let shown = contents(&store);
        assert!(shown.contains("Status: 5.4.7"), "{shown}");
    }

    #[test]
    fn recipients_beyond_the_host_s_limit_go_in_a_second_transaction() {
        let script = [
            HELLO,
            "> MAIL …
             > RCPT TO:<q@lan.example>
             > RCPT TO:<r@lan.example>
             < 250 ok
             < 250 ok
             < 452 4.5.3 too many\n",
            BODY,
            "< 250 ok
             > MAIL …
             > RCPT TO:<r@lan.example>
             < 250 ok
             < 250 ok\n",
            BODY,
            "< 250 ok\n",
            BYE,
        ]
        .concat();
        check(&["q@lan.example", "r@lan.example"], &script, &[]);
    }

    #[test]
    fn a_message_too_large_for_the_host_is_returned_untried() {
        let hello = HELLO.replace("SIZE 100000", "SIZE 10");
        check(&["q@lan.example"], &[&hello, BYE].concat(), &["mailbox ann: <>"]);
    }

    #[test]
    fn addresses_beyond_ascii_go_only_where_they_are_known() {
        check(&["ü@lan.example"], &[HELLO, BYE].concat(), &["mailbox ann: <>"]);
        let hello = HELLO.replace("SIZE 100000", "SMTPUTF8");
        let script = taken(
            &hello,
            "> MAIL FROM:<ann@village.example> BODY=8BITMIME SMTPUTF8
             > RCPT TO:<ü@lan.example>
             < 250 ok
             < 250 ok\n",
        );
        check(&["ü@lan.example"], &script, &[]);
    }

    #[test]
    fn a_report_goes_out_with_the_null_sender_and_dies_where_it_is_refused() {
        let script = [HELLO, "> MAIL FROM:<> …\n> RCPT …\n< 250 ok\n< 550 no\n> RSET\n< 250 ok\n", BYE].concat();
        for split in SPLITS {
            let (_dir, store) = open();
            submit(&store, Origin::Report, "", &["q@lan.example"], TEXT).expect("it is accepted");
            Player::new(client(&store), split).play(&script);
            assert_eq!(
                placed(&store),
                ["dead: mail from <> to <q@lan.example>, for site village: <q@lan.example>: 550 no"]
            );
        }
    }

    #[test]
    fn a_large_body_streams_and_arrives_with_its_dots() {
        let (_dir, store) = open();
        let body: String = (0..40_000).map(|n| format!(".{n}\n")).collect();
        submit(&store, Origin::Report, "", &["q@lan.example"], &format!("A: 1\n\n{body}")).expect("it is accepted");
        let mut player = Player::new(client(&store), Split::Whole);
        player.play(&[OLD, "> MAIL …\n< 250 ok\n> RCPT …\n< 250 ok\n> DATA\n"].concat());
        player.feed(b"354 ok\r\n");
        let heard = String::from_utf8(player.heard()).expect("text");
        let expected: String = (0..40_000).map(|n| format!("..{n}\r\n")).collect();
        assert_eq!(heard, format!("A: 1\r\n\r\n{expected}.\r\n"));
        player.play(&format!("< 250 ok\n{BYE}"));
        assert_eq!(player.outcome.map(|outcome| outcome.ended), Some(Ended::Done));
    }

    #[test]
    fn winding_down_ends_after_the_item_under_way() {
        let (_dir, store) = open();
        for _ in 0..2 {
            submit(&store, Origin::Report, "", &["q@lan.example"], TEXT).expect("it is accepted");
        }
        let script = taken(HELLO, "> MAIL …\n> RCPT …\n!winddown\n< 250 ok\n< 250 ok\n");
        Player::new(client(&store), Split::Whole).play(&script);
        assert_eq!(placed(&store).len(), 1);
    }
}
