//! Articles that clients bring to the news server, by POST and IHAVE.

use tracing::{info, warn};

use super::{NntpIn, Work};
use crate::base::limits::MESSAGE_LINE_MAX;
use crate::base::time::Now;
use crate::news::{self, Source, Verdict};
use crate::store::{Draft, StoreError};
use crate::wire::header::Header;
use crate::wire::nntp::{self, Reply};
use crate::wire::text::{DotReader, LineEnds};

/// An article on its way in.
pub struct Incoming {
    way: Way,
    dots: DotReader,
    /// The article so far, or what will be said of it at its end.
    draft: Result<Draft, Reply>,
}

/// How an article comes, which decides the words for what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Post,
    /// Under this Message-ID.
    Ihave(String),
}

impl Way {
    fn taken(&self) -> Reply {
        match self {
            Self::Post => Reply::new(240, "article posted"),
            Self::Ihave(_) => Reply::new(235, "article taken"),
        }
    }

    fn refused(&self, why: &str) -> Reply {
        match self {
            Self::Post => Reply::new(441, why),
            Self::Ihave(_) => Reply::new(437, why),
        }
    }

    /// POST has no code of its own for what may work later.
    fn later(&self, why: &str) -> Reply {
        match self {
            Self::Post => Reply::new(441, format!("{why}; try again later")),
            Self::Ihave(_) => Reply::new(436, format!("{why}; try again later")),
        }
    }

    fn store_trouble(&self, why: &StoreError) -> Reply {
        warn!(%why, "the store refuses an article");
        self.later(match why {
            StoreError::Full(_) => "no space left here",
            StoreError::Io { .. }
            | StoreError::Database { .. }
            | StoreError::Schema { .. }
            | StoreError::Damaged(_) => "cannot keep it now",
        })
    }
}

impl NntpIn {
    pub(super) fn ihave(&mut self, id: &str) {
        // A name that cannot be one is not wanted, rather than bad syntax: a peer would take that for our fault.
        if !nntp::is_message_id(id) {
            return self.say(435, "that is no Message-ID");
        }
        let way = Way::Ihave(id.to_owned());
        match self.store.read(|view| news::is_wanted(view, id)) {
            Ok(true) => match self.store.room_for(0) {
                Ok(()) => self.invite(way),
                Err(why) => self.reply(&way.store_trouble(&why)),
            },
            Ok(false) => self.say(435, "not wanted"),
            Err(why) => self.reply(&way.store_trouble(&why)),
        }
    }

    pub(super) fn post(&mut self) {
        match self.store.room_for(0) {
            Ok(()) => self.invite(Way::Post),
            // RFC 3977 section 6.3.1.2: before the article there is no other code.
            Err(_) => self.say(440, "no space left here; try again later"),
        }
    }

    fn invite(&mut self, way: Way) {
        let code = match &way {
            Way::Post => 340,
            Way::Ihave(_) => 335,
        };
        self.say(code, "send it, end with a dot alone on a line");
        self.work = Some(Work::Incoming(Box::new(Incoming {
            way,
            dots: DotReader::new(LineEnds::Tolerant, MESSAGE_LINE_MAX),
            draft: Ok(self.store.draft()),
        })));
    }

    /// Takes text up to the final dot, whatever is wrong with it: only behind the dot can a refusal be told.
    pub(super) fn incoming(&mut self, now: Now) -> bool {
        if self.input.pending().is_empty() {
            return false;
        }
        self.heard(now);
        let Some(Work::Incoming(incoming)) = &mut self.work else {
            return false;
        };
        let mut text = Vec::new();
        let progress = incoming.dots.push(self.input.pending(), &mut text);
        self.input.consume(progress.used);
        // A refusal takes the place of the draft: the rest is read and thrown away.
        if let Err(refusal) = incoming.keep(&text, self.service.policy.article_max) {
            incoming.draft = Err(refusal);
        }
        if progress.done {
            self.finish_incoming(now);
        }
        true
    }

    fn finish_incoming(&mut self, now: Now) {
        let Some(Work::Incoming(incoming)) = self.work.take() else {
            return;
        };
        let Incoming { way, draft, .. } = *incoming;
        let reply = draft.and_then(|draft| read_back(&way, &draft)).map(|article| self.accept(now, &way, &article));
        match reply {
            Ok(reply) => self.reply(&reply),
            Err(reply) => {
                info!(peer = %self.peer, %reply, "article refused");
                self.reply(&reply);
            }
        }
    }

    fn accept(&mut self, now: Now, way: &Way, article: &[u8]) -> Reply {
        let source = match way {
            Way::Post => Source::Poster(self.peer.to_string()),
            Way::Ihave(_) => Source::Peer(self.peer.to_string()),
        };
        // RFC 3977 section 6.3.2.2: the article must be the one that was offered, or the history would lie.
        let own = Header::parse(article).ok().and_then(|(header, _)| header.text("Message-ID"));
        if let (Way::Ihave(offered), Some(own)) = (way, own)
            && *offered != own
        {
            info!(peer = %self.peer, offered, own, "article refused: not the one offered");
            return way.refused(&format!("its Message-ID is {own}, which was not offered"));
        }
        match self.store.write(|change| news::accept(change, &self.service.policy, now, &source, article)) {
            Ok(Verdict::Taken { message_id, placed }) => {
                self.service.taken += 1;
                info!(peer = %self.peer, message_id, bytes = article.len(), groups = placed.len(), "article accepted");
                way.taken()
            }
            Ok(Verdict::Duplicate { .. }) => way.refused("it is here already"),
            Ok(Verdict::Rejected { message_id, why }) => {
                info!(peer = %self.peer, message_id, %why, "article refused");
                way.refused(&why.to_string())
            }
            Err(why) => way.store_trouble(&why),
        }
    }
}

impl Incoming {
    fn keep(&mut self, text: &[u8], article_max: u64) -> Result<(), Reply> {
        let Ok(draft) = &mut self.draft else {
            return Ok(());
        };
        if self.dots.flaw().is_some() {
            return Err(self.way.refused(&format!("a line of it is longer than {MESSAGE_LINE_MAX} bytes")));
        }
        if draft.len() + text.len() as u64 > article_max {
            return Err(self.way.refused(&format!("it is larger than {article_max} bytes")));
        }
        std::io::Write::write_all(draft, text).map_err(|why| not_kept(&self.way, &why))
    }
}

/// The whole article: up to now it may have been in a file, so that many clients at once do not fill the memory.
fn read_back(way: &Way, draft: &Draft) -> Result<Vec<u8>, Reply> {
    let mut article = vec![0; usize::try_from(draft.len()).expect("at most the largest article")];
    match draft.read_at(0, &mut article) {
        Ok(count) if count == article.len() => Ok(article),
        Ok(_) => Err(not_kept(way, &std::io::ErrorKind::UnexpectedEof.into())),
        Err(why) => Err(not_kept(way, &why)),
    }
}

fn not_kept(way: &Way, why: &std::io::Error) -> Reply {
    warn!(%why, "cannot keep an article");
    way.later(if why.kind() == std::io::ErrorKind::StorageFull { "no space left here" } else { "cannot keep it now" })
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{ARTICLE, HELLO, check, server};
    use super::*;
    use crate::gate::script::{Player, SPLITS, Split};
    use crate::gate::server::{Ended, INPUT_MAX};
    use crate::news::Policy;
    use crate::news::testing::{body, facts, open, queued, village};

    #[test]
    fn an_article_comes_by_ihave() {
        let script = [
            "< IHAVE <1@x>
             > 335 …\n",
            ARTICLE,
            "> 235 article taken
             < ihave <1@x>
             > 435 not wanted
             < IHAVE 1@x
             > 435 that is no Message-ID
             < QUIT
             > 205 goodbye",
        ];
        let outcome = check(&script.concat(), &["accepted article 192.0.2.1 <1@x>: local.a:1"]);
        assert_eq!(outcome, Some(Outcome { taken: 1, ended: Ended::Quit }));
        let (_dir, store) = open();
        Player::new(server(&store, village()), Split::Whole).play(&[HELLO, &script.concat()].concat());
        assert!(body(&store, "local.a", 1).starts_with("Path: village!up!not-for-mail\nFrom"));
        assert!(body(&store, "local.a", 1).ends_with("\n\n.dot\n"));
        assert_eq!(queued(&store), ["leaf <1@x>", "hub <1@x>", "up <1@x>"]);
    }

    #[test]
    fn an_article_that_is_not_wanted_is_rejected_for_good() {
        let elsewhere = ARTICLE.replace("local.a", "far.away");
        let script = [
            "< IHAVE <1@x>\n> 335 …\n",
            &elsewhere,
            "> 437 we carry none of its groups: far.away
             < IHAVE <1@x>
             > 435 not wanted\n",
        ];
        check(&script.concat(), &["refused article 192.0.2.1 <1@x>: we carry none of its groups: far.away"]);
        // Offered under another name than its own: neither is taken, and its own may still come.
        let script = [
            "< IHAVE <2@x>\n> 335 …\n",
            ARTICLE,
            "> 437 its Message-ID is <1@x>, which was not offered\n< IHAVE <1@x>\n> 335 …\n",
            ARTICLE,
            "> 235 …\n< IHAVE <2@x>\n> 335 …\n",
            ARTICLE,
            "> 437 …",
        ];
        check(&script.concat(), &["accepted article 192.0.2.1 <1@x>: local.a:1"]);
    }

    #[test]
    fn a_reader_posts() {
        let script = "
            < POST
            > 340 …
            < From: ann@x
            < Newsgroups: local.a
            < Subject: hi
            <
            < text
            < .
            > 240 article posted
            < POST
            > 340 …
            < From: ann@x
            < Newsgroups: local.closed
            < Subject: hi
            <
            < .
            > 441 posting to local.closed is not allowed
            < POST
            > 340 …
            < .
            > 441 it has no text: no blank line ends the header
            < GROUP local.a
            > 211 1 1 1 local.a";
        for split in SPLITS {
            let (_dir, store) = open();
            Player::new(server(&store, village()), split).play(&[HELLO, script].concat());
            let shown = body(&store, "local.a", 1);
            assert!(shown.starts_with("Path: village!not-for-mail\nFrom: ann@x\n"), "{shown}");
            assert!(shown.contains("\nMessage-ID: <") && shown.ends_with("\n\ntext\n"), "{shown}");
            let ledger = facts(&store);
            assert_eq!(ledger.len(), 3);
            assert!(ledger[1].starts_with("refused article 192.0.2.1 <") && ledger[1].ends_with("is not allowed"));
        }
    }

    #[test]
    fn a_long_reason_is_cut_to_a_line() {
        let groups: Vec<String> = (0..5).map(|n| format!("g{n}.{}", "x".repeat(200))).collect();
        let text = ARTICLE.replace("local.a", &groups.join(","));
        let said: String = format!("437 we carry none of its groups: {}", groups.join(",")).chars().take(510).collect();
        for split in SPLITS {
            let (_dir, store) = open();
            let script = [HELLO, "< IHAVE <1@x>\n> 335 …\n", &text, "> ", &said, "\n< DATE\n> 111 …"].concat();
            Player::new(server(&store, village()), split).play(&script);
        }
    }

    /// An article of `head`, many pieces, and its end: what is said of it, with memory bounded.
    fn large(policy: Policy, head: &[u8], piece: &[u8], count: usize, expected: &str) {
        for (begin, code) in [("< POST\n> 340 …", "441"), ("< IHAVE <1@x>\n> 335 …", "437")] {
            let (_dir, store) = open();
            let mut player = Player::new(server(&store, policy.clone()), Split::Whole);
            player.play(&[HELLO, begin].concat());
            player.feed(head);
            for _ in 0..count {
                player.feed(piece);
                assert!(player.dialogue.input.pending().len() <= INPUT_MAX);
            }
            player.play(&format!("<< \\r\\n.\\r\\n\n> {code} {expected}\n< DATE\n> 111 …"));
        }
    }

    #[test]
    fn what_is_too_large_is_refused_at_its_end_and_the_conversation_goes_on() {
        let x = [b'x'; 64 * 1024];
        let lines = [b"x".repeat(77).as_slice(), b"\r\n"].concat().repeat(100);
        large(village(), b"A: 1\r\n\r\n", &lines, 100, "it is larger than 100000 bytes");
        let roomy = Policy { article_max: 10_000_000, ..village() };
        large(roomy.clone(), b"A: 1\r\n\r\n", &x, 100, "a line of it is longer than 1048576 bytes");
        large(roomy, b"", &[b"X: ", b"y".repeat(1000).as_slice(), b"\r\n"].concat(), 5000, "the header is too long");
    }

    #[test]
    fn a_full_store_means_later_and_so_does_every_other_trouble_of_ours() {
        let path = || std::path::PathBuf::from("/spool");
        let broken = StoreError::Io { path: path(), source: std::io::ErrorKind::Other.into() };
        let ihave = || Way::Ihave("<1@x>".to_owned());
        for (reply, expected) in [
            (Way::Post.store_trouble(&StoreError::Full(path())), "441 no space left here; try again later"),
            (ihave().store_trouble(&StoreError::Full(path())), "436 no space left here; try again later"),
            (ihave().store_trouble(&broken), "436 cannot keep it now; try again later"),
            (not_kept(&ihave(), &std::io::ErrorKind::StorageFull.into()), "436 no space left here; try again later"),
            (not_kept(&Way::Post, &std::io::ErrorKind::Other.into()), "441 cannot keep it now; try again later"),
        ] {
            assert_eq!(reply.to_string(), expected);
        }
    }

    #[test]
    fn without_room_no_article_is_invited() {
        let (_dir, store) = open();
        store.keep_free(u64::MAX);
        let script = "< POST\n> 440 no space left here; try again later\n< IHAVE <1@x>\n> 436 no space left here; try again later";
        Player::new(server(&store, village()), Split::Whole).play(&[HELLO, script].concat());
    }

    #[test]
    fn an_article_that_the_store_cannot_keep_may_come_again() {
        let (dir, store) = open();
        let long = ARTICLE.replace("..dot", &"x".repeat(80_000));
        let bodies = dir.path().join("bodies");
        let moved = dir.path().join("elsewhere");
        std::fs::rename(&bodies, &moved).expect("movable");
        let mut player = Player::new(server(&store, village()), Split::Whole);
        player.play(&[HELLO, "< IHAVE <1@x>\n> 335 …\n", &long, "> 436 …\n"].concat());
        assert_eq!(facts(&store), [""; 0]);
        std::fs::rename(&moved, &bodies).expect("movable");
        player.play(&["< IHAVE <1@x>\n> 335 …\n", &long, "> 235 …\n"].concat());
        assert_eq!(facts(&store), ["accepted article 192.0.2.1 <1@x>: local.a:1"]);
    }
}
