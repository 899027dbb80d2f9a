//! NNTP to a news peer (RFC 3977 section 6.3.2): one connection offers what the queue holds for it, article after article.
//!
//! What the peer has taken or does not want is finished in the change that records it; what it wants later waits. A
//! connection that breaks leaves the article under way in the queue: offered again, the peer knows whether it has it.

use tracing::{error, info, warn};

use crate::base::limits::{ARTICLE_ATTEMPTS_MAX, NNTP_REPLY_LINE_MAX};
use crate::base::names::{Grade, PeerName};
use crate::base::time::Now;
use crate::gate::client::{Client, Ended, Errand, FINAL, GOODBYE, PIECE_SENT, REPLY};
use crate::gate::text::Text;
use crate::mail::delivery::retry_at;
use crate::store::ledger::Fact;
use crate::store::{Cargo, Hop, Item, Store, StoreError};
use crate::wire::nntp::Reply;
use crate::wire::text::BadLine;

/// What a conversation came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Articles that the peer has taken.
    pub sent: u32,
    /// Articles that it does not want, mostly because it has them.
    pub refused: u32,
    /// Why the rest must wait, if it must.
    pub failure: Option<String>,
}

/// The client's side of one NNTP connection. One at a time for each peer.
pub type NntpOut = Client<Nntp>;

/// What it keeps beside what every client does.
pub struct Nntp {
    hop: Hop,
    sent: u32,
    refused: u32,
}

/// What it waits for.
pub enum State {
    Greeting,
    /// Offered with IHAVE.
    Offered(Box<Job>),
    Text(Box<Job>),
    Final(Box<Job>),
    Quit,
}

pub struct Job {
    item: Item,
    message_id: String,
    text: Text,
}

/// What comes next.
enum Next {
    Nothing,
    Job(Box<Job>),
    /// An item that cannot be read now: it must not stand before the others.
    Unreadable(Item, String),
    /// An item that can never be sent.
    Impossible(Item, String),
}

/// What becomes of an item.
enum Fate {
    Sent,
    Refused(String),
    Later(String),
}

impl Errand for Nntp {
    type State = State;
    type Outcome = Outcome;

    fn answered(client: &mut NntpOut, now: Now, line: Result<Vec<u8>, BadLine>) {
        match line.map(|line| Reply::parse(&line)) {
            Ok(Ok(reply)) => client.reply(now, &reply),
            Ok(Err(why)) => Self::break_off(client, now, why.to_string()),
            Err(why) => Self::break_off(client, now, format!("the server's reply: {why}")),
        }
    }

    fn go_on(client: &mut NntpOut, now: Now) {
        match client.state.take() {
            Some(State::Text(job)) => client.send_text(now, job),
            state => client.state = state,
        }
    }

    /// The article under way has had its attempt: it must not break off the next connection before all others.
    fn break_off(client: &mut NntpOut, now: Now, why: String) {
        match client.state.take() {
            Some(State::Offered(job) | State::Text(job) | State::Final(job)) => {
                match client.defer(now, &job.item, &why) {
                    Ok(()) => client.fail(why),
                    Err(why) => client.store_failed(&why),
                }
            }
            // Nothing was left to say.
            Some(State::Quit) => client.end(Ended::Done),
            None | Some(State::Greeting) => client.fail(why),
        }
    }

    fn outcome(&mut self, ended: Ended) -> Outcome {
        let failure = match ended {
            Ended::Done => None,
            Ended::Failed(why) => Some(why),
            Ended::Store(why) => Some(format!("our store: {why}")),
        };
        Outcome { sent: self.sent, refused: self.refused, failure }
    }
}

impl NntpOut {
    /// A connection to the peer is open; nothing has been said.
    pub fn new(store: Store, peer: PeerName, now: Now) -> Self {
        let (host, errand) = (peer.to_string(), Nntp { hop: Hop::Nntp(peer), sent: 0, refused: 0 });
        let mut client = Self::open(store, host, errand, NNTP_REPLY_LINE_MAX, now);
        client.wait(now, REPLY, State::Greeting);
        client
    }

    fn reply(&mut self, now: Now, reply: &Reply) {
        let Some(state) = self.state.take() else {
            return;
        };
        match (state, reply.code) {
            // 201: readers may not post; that says nothing about peers.
            (State::Greeting, 200 | 201) => self.next_item(now),
            (State::Offered(job), 335) => self.wait(now, PIECE_SENT, State::Text(job)),
            // 431 is what streaming servers say for "later"; with 501 they do not like the Message-ID, or us.
            (State::Offered(job), 431 | 436 | 501) | (State::Final(job), 431 | 436) => {
                self.settle(now, *job, Fate::Later(reply.to_string()));
            }
            (State::Offered(job) | State::Final(job), 435 | 437) => {
                self.settle(now, *job, Fate::Refused(reply.to_string()));
            }
            (State::Final(job), 235) => self.settle(now, *job, Fate::Sent),
            (State::Quit, _) => self.end(Ended::Done),
            // 400 and 5xx at any time, or words that make no sense here: this peer can do nothing for us now.
            (state @ (State::Greeting | State::Offered(_) | State::Text(_) | State::Final(_)), _) => {
                self.state = Some(state);
                Nntp::break_off(self, now, format!("{} says {reply}", self.host));
            }
        }
    }

    /// Begins with the next item that waits, or takes its leave.
    fn next_item(&mut self, now: Now) {
        loop {
            let next = if self.wind_down { Ok(Next::Nothing) } else { self.load(now) };
            let settled = match next {
                Ok(Next::Nothing) => {
                    self.say("QUIT");
                    return self.wait(now, GOODBYE, State::Quit);
                }
                Ok(Next::Job(job)) => {
                    self.say(format_args!("IHAVE {}", job.message_id));
                    return self.wait(now, REPLY, State::Offered(job));
                }
                Ok(Next::Unreadable(item, why)) => self.defer(now, &item, &why),
                Ok(Next::Impossible(item, why)) => self.bury(now, &item, &why),
                Err(why) => Err(why),
            };
            if let Err(why) = settled {
                return self.store_failed(&why);
            }
        }
    }

    fn load(&self, now: Now) -> Result<Next, StoreError> {
        self.store.read(|view| {
            let Some(item) = view.ready_items(&self.errand.hop, now.wall, Grade::LEAST, 1)?.pop() else {
                return Ok(Next::Nothing);
            };
            let Cargo::Article { message_id, body } = &item.cargo else {
                return Ok(Next::Impossible(item, "it is no article and waits for a news peer".to_owned()));
            };
            let message_id = message_id.clone();
            match view.body(*body) {
                Ok(body) => Ok(Next::Job(Box::new(Job { item, message_id, text: Text::whole(body) }))),
                Err(StoreError::Damaged(why)) => Ok(Next::Impossible(item, why)),
                Err(why @ StoreError::Io { .. }) => Ok(Next::Unreadable(item, why.to_string())),
                Err(why @ (StoreError::Full(_) | StoreError::Database { .. } | StoreError::Schema { .. })) => Err(why),
            }
        })
    }

    fn defer(&self, now: Now, item: &Item, why: &str) -> Result<(), StoreError> {
        warn!(peer = %self.host, item = item.id.0, why, "article deferred");
        self.store.write(|change| change.defer_item(item.id, retry_at(now.wall, item.attempts), why))
    }

    /// It would stand before all others for ever.
    fn bury(&self, now: Now, item: &Item, why: &str) -> Result<(), StoreError> {
        error!(peer = %self.host, item = item.id.0, why, "an item cannot be sent: see `bangpath dead`");
        self.store.write(|change| {
            change.bury_item(item.id, why, now.wall)?;
            change.record(Fact {
                at: now.wall,
                verb: "buried",
                what: "article",
                place: self.host.clone(),
                id: item.id.0.to_string(),
                bytes: item.size,
                detail: why.to_owned(),
            })
        })
    }

    /// Writes what became of an item to the store: first the disk, then the next word.
    fn settle(&mut self, now: Now, job: Job, fate: Fate) {
        let item = &job.item;
        let (verb, detail) = match fate {
            Fate::Later(why) if item.attempts + 1 < ARTICLE_ATTEMPTS_MAX => {
                return match self.defer(now, item, &why) {
                    Ok(()) => self.next_item(now),
                    Err(why) => self.store_failed(&why),
                };
            }
            Fate::Sent => ("sent", String::new()),
            Fate::Refused(why) => ("refused", why),
            Fate::Later(why) => ("dropped", format!("after {ARTICLE_ATTEMPTS_MAX} attempts: {why}")),
        };
        let fact = Fact {
            at: now.wall,
            verb,
            what: "article",
            place: self.host.clone(),
            id: job.message_id.clone(),
            bytes: item.size,
            detail,
        };
        let written = self.store.write(|change| {
            // An item that an operator has dropped meanwhile was sent all the same.
            change.finish_item(item.id)?;
            change.record(fact)
        });
        match written {
            Ok(()) => {
                let count = if verb == "sent" { &mut self.errand.sent } else { &mut self.errand.refused };
                *count += 1;
                info!(peer = %self.host, id = job.message_id, verb, bytes = item.size, "article offered");
                self.next_item(now);
            }
            // It stays in the queue as it was; going on would only offer it again at once.
            Err(why) => self.store_failed(&why),
        }
    }

    fn store_failed(&mut self, why: &StoreError) {
        error!(peer = %self.host, %why, "cannot record what became of an article");
        self.end(Ended::Store(why.to_string()));
    }

    fn fail(&mut self, why: String) {
        warn!(peer = %self.host, why, "news peer failed");
        self.end(Ended::Failed(why));
    }

    /// The next piece of the article, or its end.
    fn send_text(&mut self, now: Now, mut job: Box<Job>) {
        match job.text.piece(&mut self.output) {
            Ok(true) => self.wait(now, PIECE_SENT, State::Text(job)),
            Ok(false) => self.wait(now, FINAL, State::Final(job)),
            Err(why) => {
                // Without its final dot the peer will not take it for whole.
                self.state = Some(State::Final(job));
                Nntp::break_off(self, now, format!("an article cannot be read: {why}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::wishes::Reports;
    use crate::dialogue::{Dialogue, Request};
    use crate::gate::script::{Player, SPLITS, Split, start};
    use crate::news::testing::{facts, open, queued};
    use crate::store::{NewItem, Store};

    fn peer() -> PeerName {
        PeerName::parse("up").expect("a name")
    }

    fn queue(store: &Store, cargo: impl FnOnce(crate::store::BodyId) -> Cargo, text: &[u8]) {
        let queued: Result<(), StoreError> = store.write(|change| {
            let body = change.keep_bytes(text)?;
            let cargo = cargo(body);
            change.enqueue(NewItem { hop: Hop::Nntp(peer()), cargo, grade: Grade::NEWS, queued: start().wall })?;
            Ok(())
        });
        queued.expect("the store works");
    }

    fn queue_article(store: &Store, id: &str, text: &str) {
        let message_id = id.to_owned();
        queue(store, |body| Cargo::Article { message_id, body }, text.as_bytes());
    }

    const TEXT: &str = "A: 1\n\n.x\nend\n";
    const HELLO: &str = "< 200 up ready\n> IHAVE <1@x>\n";
    const SENT: &str = "< 335 go on\n> A: 1\n>\n> ..x\n> end\n> .\n";
    const BYE: &str = "> QUIT\n< 205 bye\n";

    /// Two articles wait; what is left of them after a script, in every split, and the outcome.
    fn check(script: &str, left: &[&str], sent: u32, refused: u32, failure: Option<&str>) -> Vec<String> {
        let mut ledger = Vec::new();
        for split in SPLITS {
            let (_dir, store) = open();
            queue_article(&store, "<1@x>", TEXT);
            queue_article(&store, "<2@x>", TEXT);
            let mut player = Player::new(NntpOut::new(store.clone(), peer(), start()), split);
            player.play(script);
            let expected = Outcome { sent, refused, failure: failure.map(str::to_owned) };
            assert_eq!(player.outcome, Some(expected), "{script}");
            let items = store.read(|view| view.items(&crate::store::ItemFilter::default())).expect("the store works");
            let line = |item: Item| match (item.cargo, item.last_error) {
                (Cargo::Article { message_id, .. }, None) => message_id,
                (Cargo::Article { message_id, .. }, Some(why)) => {
                    format!("{message_id} until +{}: {why}", item.not_before.since(start().wall).as_secs())
                }
                (other, _) => panic!("{other:?}"),
            };
            assert_eq!(items.into_iter().map(line).collect::<Vec<_>>(), left, "{script}");
            ledger = facts(&store);
        }
        ledger
    }

    #[test]
    fn articles_are_offered_and_sent_one_after_another() {
        let script = [HELLO, SENT, "< 235 thanks\n> IHAVE <2@x>\n", SENT, "< 235 thanks\n", BYE].concat();
        let ledger = check(&script, &[], 2, 0, None);
        assert_eq!(ledger, ["sent article up <1@x>: ", "sent article up <2@x>: "]);
    }

    #[test]
    fn what_the_peer_has_or_does_not_like_is_done_with() {
        let script = [HELLO, "< 435 have it\n> IHAVE <2@x>\n", SENT, "< 437 no such group\n", BYE].concat();
        let ledger = check(&script, &[], 0, 2, None);
        assert_eq!(ledger, ["refused article up <1@x>: 435 have it", "refused article up <2@x>: 437 no such group"]);
        let old = script.replace("200 up", "201 no posting, up");
        check(&old, &[], 0, 2, None);
    }

    #[test]
    fn what_the_peer_wants_later_waits_and_the_rest_goes() {
        for (answers, why) in [
            ("< 436 busy\n", "436 busy"),
            ("< 431 busy\n", "431 busy"),
            ("< 501 bad name\n", "501 bad name"),
            (&format!("{SENT}< 436 disk full\n"), "436 disk full"),
        ] {
            let script = [HELLO, answers, "> IHAVE <2@x>\n", SENT, "< 235\n", BYE].concat();
            check(&script, &[&format!("<1@x> until +300: {why}")], 1, 0, None);
        }
    }

    #[test]
    fn what_the_peer_never_wants_now_is_dropped_in_the_end() {
        let (_dir, store) = open();
        queue_article(&store, "<1@x>", TEXT);
        let script = [HELLO, "< 436 busy\n", BYE].concat();
        let mut attempts = 0;
        while !queued(&store).is_empty() {
            let mut player = Player::new(NntpOut::new(store.clone(), peer(), start()), Split::Whole);
            player.now.wall = player.now.wall + Duration::from_secs(5 * 3600) * attempts;
            player.play(&script);
            attempts += 1;
        }
        assert_eq!(attempts, ARTICLE_ATTEMPTS_MAX);
        assert_eq!(facts(&store), ["dropped article up <1@x>: after 60 attempts: 436 busy"]);
    }

    #[test]
    fn a_connection_that_fails_leaves_what_was_not_confirmed() {
        let both = ["<1@x>", "<2@x>"];
        for (script, why) in [
            ("< 400 not now\n".to_owned(), "up says 400 not now"),
            ("< 502 who are you?\n".to_owned(), "up says 502 who are you?"),
            ("!hangup\n".to_owned(), "up closed the connection"),
            ("@ 301\n".to_owned(), "up did not answer in time"),
            ("< hello\n".to_owned(), "a line of the server does not begin with a code"),
            (format!("< 200 {}\n", "x".repeat(3000)), "the server's reply: line too long"),
            (format!("{HELLO}< 500 what?\n"), "up says 500 what?"),
            (format!("{HELLO}< 480 who are you?\n"), "up says 480 who are you?"),
            (format!("{HELLO}< 400 going down\n"), "up says 400 going down"),
            (format!("{HELLO}< 235 thanks\n"), "up says 235 thanks"),
            (format!("{HELLO}!hangup\n"), "up closed the connection"),
            (format!("{HELLO}{SENT}!hangup\n"), "up closed the connection"),
            (format!("{HELLO}{SENT}@ 601\n"), "up did not answer in time"),
            (format!("{HELLO}{SENT}< 335 again?\n"), "up says 335 again?"),
            (format!("{HELLO}< hello\n"), "a line of the server does not begin with a code"),
        ] {
            // What was under way has had an attempt, so that it does not stand before the other for ever.
            let until = if script.contains("@ 601") { 901 } else { 300 };
            let tried = [format!("<1@x> until +{until}: {why}"), "<2@x>".to_owned()];
            let tried = tried.each_ref().map(String::as_str);
            let left = if script.starts_with(HELLO) { &tried } else { &both };
            check(&script, left, 0, 0, Some(why));
        }
        let script = [HELLO, SENT, "< 235 thanks\n> IHAVE <2@x>\n!hangup\n"].concat();
        check(&script, &["<2@x> until +300: up closed the connection"], 1, 0, Some("up closed the connection"));
        let script = [HELLO, SENT, "< 235 thanks\n> IHAVE <2@x>\n< 435 no\n> QUIT\n!hangup\n"].concat();
        check(&script, &[], 1, 1, None);
    }

    #[test]
    fn what_is_no_article_is_buried_and_the_rest_goes() {
        let (_dir, store) = open();
        queue(
            &store,
            |input| Cargo::Command {
                line: "x".to_owned(),
                user: "u".to_owned(),
                requestor: None,
                reports: Reports::default(),
                file: None,
                input,
            },
            b"",
        );
        queue_article(&store, "<1@x>", TEXT);
        let mut player = Player::new(NntpOut::new(store.clone(), peer(), start()), Split::Whole);
        player.play(&[HELLO, SENT, "< 235 thanks\n", BYE].concat());
        assert_eq!(player.outcome, Some(Outcome { sent: 1, ..Outcome::default() }));
        assert_eq!(queued(&store), [""; 0]);
        let dead = store.read(|view| view.dead_letters()).expect("the store works");
        assert_eq!(dead[0].why, "it is no article and waits for a news peer");
        assert_eq!(facts(&store)[0], "buried article up 1: it is no article and waits for a news peer");
    }

    #[test]
    fn a_large_article_streams_and_arrives_with_its_dots() {
        let (_dir, store) = open();
        let body: String = (0..40_000).map(|n| format!(".{n}\n")).collect();
        queue_article(&store, "<1@x>", &format!("A: 1\n\n{body}no end"));
        let mut player = Player::new(NntpOut::new(store.clone(), peer(), start()), Split::Whole);
        player.play(HELLO);
        player.feed(b"335 go\r\n");
        let heard = String::from_utf8(player.heard()).expect("text");
        let expected: String = (0..40_000).map(|n| format!("..{n}\r\n")).collect();
        assert_eq!(heard, format!("A: 1\r\n\r\n{expected}no end\r\n.\r\n"));
        player.play(&format!("< 235 ok\n{BYE}"));
        assert_eq!(queued(&store), [""; 0]);
    }

    #[test]
    fn an_answer_before_the_end_of_the_text_is_a_failure() {
        let (_dir, store) = open();
        queue_article(&store, "<1@x>", TEXT);
        let mut client = NntpOut::new(store.clone(), peer(), start());
        let mut said = Vec::new();
        client.handle_input(start(), b"200 hi\r\n");
        client.poll_transmit(start(), &mut said);
        client.handle_input(start(), b"335 go\r\n400 no, stop\r\n");
        let failure = Some("up says 400 no, stop".to_owned());
        match client.poll_request() {
            Some(Request::Finish { outcome, .. }) => assert_eq!(outcome, Outcome { failure, ..Outcome::default() }),
            other => panic!("{other:?}"),
        }
        assert_eq!(queued(&store), ["up <1@x>"]);
    }

    #[test]
    fn winding_down_ends_after_the_article_under_way() {
        let script = [HELLO, "!winddown\n", SENT, "< 235 thanks\n", BYE].concat();
        check(&script, &["<2@x>"], 1, 0, None);
    }

    #[test]
    fn an_article_that_cannot_be_read_does_not_hold_up_the_others() {
        let (dir, store) = open();
        queue_article(&store, "<0@x>", &format!("A: 1\n\n{}", "x".repeat(100_000)));
        queue_article(&store, "<1@x>", TEXT);
        for file in std::fs::read_dir(dir.path().join("bodies")).expect("a folder") {
            std::fs::remove_file(file.expect("a file").path()).expect("removable");
        }
        let mut player = Player::new(NntpOut::new(store.clone(), peer(), start()), Split::Whole);
        player.play(&[HELLO, SENT, "< 235 thanks\n", BYE].concat());
        assert_eq!(queued(&store), ["up <0@x>"]);
        let item = store.read(|view| view.items(&crate::store::ItemFilter::default())).expect("it works").remove(0);
        assert_eq!((item.attempts, item.not_before), (1, start().wall + Duration::from_secs(300)));
    }

    #[test]
    fn an_article_that_is_cut_short_under_way_is_not_sent_as_if_whole() {
        let (dir, store) = open();
        queue_article(&store, "<1@x>", &"x\n".repeat(50_000));
        let mut player = Player::new(NntpOut::new(store.clone(), peer(), start()), Split::Whole);
        player.play(HELLO);
        for file in std::fs::read_dir(dir.path().join("bodies")).expect("a folder") {
            let file = std::fs::OpenOptions::new().write(true).open(file.expect("a file").path()).expect("writable");
            file.set_len(50_000).expect("it can be cut");
        }
        player.feed(b"335 go on\r\n");
        assert!(player.heard().ends_with(b"x\r\n"));
        let failure = Some("an article cannot be read: unexpected end of file".to_owned());
        assert_eq!(player.outcome, Some(Outcome { failure, ..Outcome::default() }));
        assert_eq!(queued(&store), ["up <1@x>"]);
    }
}
