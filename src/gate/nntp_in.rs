//! NNTP for readers and for peers that bring articles (RFC 3977; XOVER and XHDR of RFC 2980).
//!
//! Articles come by POST and IHAVE into a draft; behind the final dot [`news::accept`] runs in one change, and `240` or `235` is
//! said only after the store has it. Long answers are not made at once: each piece is read from the store when the last
//! one has left.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::base::limits::NNTP_COMMAND_MAX;
use crate::base::newsgroup::GroupName;
use crate::base::time::Now;
use crate::gate::server::{Ended, Server, Service};
use crate::gate::text::Text;
use crate::news::Policy;
use crate::store::{Store, StoreError};
use crate::wire::nntp::{Command, List, Reply};
use crate::wire::text::{LineEnds, LineReader};

mod answers;
mod incoming;
mod reading;

use answers::Answer;
use incoming::Incoming;

/// The first line of a reply without its CRLF (RFC 3977 section 3.1). The reason of a refusal may be longer.
const REPLY_MAX: usize = 510;
/// What a conversation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Articles accepted.
    pub taken: u32,
    pub ended: Ended,
}

/// The server's side of one NNTP connection.
pub type NntpIn = Server<Nntp>;

/// What it keeps beside what every server does.
pub struct Nntp {
    policy: Arc<Policy>,
    selected: Option<Selected>,
    taken: u32,
}

/// The group that was chosen, and the current article in it, if there is one.
struct Selected {
    name: GroupName,
    current: Option<u64>,
}

/// What may be under way between two commands.
pub enum Work {
    /// An article comes in.
    Incoming(Box<Incoming>),
    /// An answer of many lines goes out.
    Answering(Box<Answer>),
    /// An article, or a part of it, goes out.
    Sending(Box<Text>),
}

impl Service for Nntp {
    type Work = Work;
    type Outcome = Outcome;

    /// RFC 3977 section 3.1 asks for three minutes at least; people who read are slow.
    const IDLE: Duration = Duration::from_secs(15 * 60);

    fn go_on(server: &mut NntpIn, now: Now) -> bool {
        match server.work {
            None => server.line(now),
            Some(Work::Incoming(_)) => server.incoming(now),
            Some(Work::Answering(_)) => server.answer_on(),
            Some(Work::Sending(_)) => server.send_on(),
        }
    }

    fn farewell(ended: Ended) -> Option<&'static str> {
        match ended {
            Ended::Quit => Some("205 goodbye"),
            Ended::TimedOut => Some("400 nothing heard for too long"),
            Ended::TooManyErrors => Some("400 too many errors"),
            Ended::WindDown => Some("400 shutting down"),
            Ended::Lost | Ended::Broken => None,
        }
    }

    fn outcome(&self, ended: Ended) -> Outcome {
        Outcome { taken: self.taken, ended }
    }
}

impl NntpIn {
    pub fn new(store: Store, policy: Arc<Policy>, peer: IpAddr, now: Now) -> Self {
        let service = Nntp { policy, selected: None, taken: 0 };
        let mut server = Self::open(store, peer, service, LineReader::new(NNTP_COMMAND_MAX, LineEnds::Tolerant), now);
        server.greet();
        server
    }

    fn greet(&mut self) {
        self.say(200, format!("{} bangpath news server ready, posting allowed", self.service.policy.path_name));
    }

    fn say(&mut self, code: u16, text: impl Into<String>) {
        self.reply(&Reply::new(code, text));
    }

    fn reply(&mut self, reply: &Reply) {
        let mut line = reply.to_string();
        line.truncate(line.floor_char_boundary(REPLY_MAX));
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, now: Now) -> bool {
        match self.next_line(now) {
            None => return false,
            // An empty line is no command; some clients send one behind an article.
            Some(Ok(line)) if line.iter().all(|b| matches!(b, b' ' | b'\t')) => {}
            Some(Ok(line)) => match Command::parse(&line, now.wall) {
                Ok(command) => {
                    // Only mistakes in a row count.
                    self.bad = 0;
                    self.command(now, command);
                }
                Err(why) => self.complain(why.code(), why.to_string()),
            },
            Some(Err(why)) => self.complain(501, why.to_string()),
        }
        true
    }

    /// A reply to a mistake.
    fn complain(&mut self, code: u16, text: String) {
        self.say(code, text);
        self.count_mistake();
    }

    fn command(&mut self, now: Now, command: Command) {
        let done = match command {
            Command::Capabilities => self.lines(101, "capabilities", &CAPABILITIES),
            Command::Help => self.lines(100, "commands", &HELP),
            Command::List(List::OverviewFmt) => self.lines(215, "fields of the overview", &OVERVIEW),
            Command::List(List::Headers) => self.lines(215, "all fields, and", &[":", ":bytes", ":lines"]),
            Command::ModeReader => {
                self.greet();
                Ok(())
            }
            Command::Date => {
                self.say(111, now.wall.to_jiff().strftime("%Y%m%d%H%M%S").to_string());
                Ok(())
            }
            Command::Quit => {
                self.end(Ended::Quit);
                Ok(())
            }
            Command::Post => {
                self.post();
                Ok(())
            }
            Command::Ihave(id) => {
                self.ihave(&id);
                Ok(())
            }
            Command::Group(name) => self.group(&name),
            Command::ListGroup(name, range) => self.list_group(name.as_deref(), range),
            Command::Last => self.step(false),
            Command::Next => self.step(true),
            Command::Retrieve(part, which) => self.retrieve(part, &which),
            Command::Over { of, old } => self.over(of, old),
            Command::Hdr { field, of, old } => self.hdr(field, of, old),
            Command::List(List::Active(wildmat)) => self.list(answers::Groups::Active, wildmat),
            Command::List(List::ActiveTimes(wildmat)) => self.list(answers::Groups::Times, wildmat),
            Command::List(List::Newsgroups(wildmat)) => self.list(answers::Groups::Descriptions, wildmat),
            Command::NewGroups(since) => self.new_groups(since),
            Command::NewNews(wildmat, since) => self.new_news(&wildmat, since),
        };
        if let Err(why) = done {
            warn!(peer = %self.peer, %why, "cannot answer a news client");
            self.say(403, "cannot read the store now");
        }
    }

    /// A short answer of several lines.
    fn lines(&mut self, code: u16, text: &str, lines: &[&str]) -> Result<(), StoreError> {
        self.say(code, text);
        for line in lines {
            self.output.extend_from_slice(line.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
        self.output.extend_from_slice(b".\r\n");
        Ok(())
    }
}

/// RFC 3977 section 5.2. IHAVE and READER on one port, so there is no MODE-READER.
const CAPABILITIES: [&str; 9] = [
    "VERSION 2",
    concat!("IMPLEMENTATION bangpath ", env!("CARGO_PKG_VERSION")),
    "READER",
    "POST",
    "IHAVE",
    "NEWNEWS",
    "OVER MSGID",
    "HDR",
    "LIST ACTIVE ACTIVE.TIMES HEADERS NEWSGROUPS OVERVIEW.FMT",
];

/// RFC 3977 section 8.4.2: these seven, in this order.
const OVERVIEW: [&str; 7] = ["Subject:", "From:", "Date:", "Message-ID:", "References:", ":bytes", ":lines"];

const HELP: [&str; 6] = [
    "CAPABILITIES  DATE  HELP  MODE READER  QUIT",
    "GROUP group  LISTGROUP [group [range]]  NEXT  LAST",
    "ARTICLE  HEAD  BODY  STAT  [number|message-id]",
    "OVER [range|message-id]  HDR field [range|message-id]  XOVER  XHDR",
    "LIST [ACTIVE|ACTIVE.TIMES|NEWSGROUPS [wildmat]|HEADERS|OVERVIEW.FMT]  NEWGROUPS date time  NEWNEWS wildmat date time",
    "POST  IHAVE message-id",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::BAD_COMMANDS_MAX;
    use crate::gate::script::{Player, SPLITS, Split, check_splits, start};
    use crate::gate::server::tests::check_back_pressure;
    use crate::news::testing::{facts, open, village};

    pub(super) fn server(store: &Store, policy: Policy) -> NntpIn {
        NntpIn::new(store.clone(), Arc::new(policy), "::ffff:192.0.2.1".parse().expect("an address"), start())
    }

    pub(super) const HELLO: &str = "> 200 village bangpath news server ready, posting allowed\n";

    /// Plays a conversation in every split, each with a store of its own; the ledger afterwards, and the outcome.
    pub(super) fn check(script: &str, expected: &[&str]) -> Option<Outcome> {
        let mut last = None;
        for split in SPLITS {
            let (_dir, store) = open();
            let mut player = Player::new(server(&store, village()), split);
            player.play(&[HELLO, script].concat());
            assert_eq!(facts(&store), expected, "{split:?}");
            last = player.outcome;
        }
        last
    }

    /// A whole article as text of a script.
    pub(super) const ARTICLE: &str = "
        < Path: up!not-for-mail
        < From: ann@x
        < Newsgroups: local.a
        < Subject: hi
        < Message-ID: <1@x>
        < Date: 5 Apr 93 18:01:16 GMT
        <
        < ..dot
        < .\n";

    #[test]
    fn commands_may_be_sent_ahead_of_their_answers() {
        let script = "
            < MODE READER
            < GROUP local.a
            < DATE
            < LIST ACTIVE local.?
            < STAT
            < QUIT
            > 200 village bangpath news server ready, posting allowed
            > 211 0 1 0 local.a
            > 111 20260528202640
            > 215 list follows
            > local.a 0 1 y
            > local.b 0 1 y
            > .
            > 420 there is no current article
            > 205 goodbye";
        check(script, &[]);
    }

    #[test]
    fn capabilities_and_help_are_told() {
        let version = env!("CARGO_PKG_VERSION");
        let script = format!(
            "< CAPABILITIES
             > 101 capabilities
             > VERSION 2
             > IMPLEMENTATION bangpath {version}
             > READER
             > POST
             > IHAVE
             > NEWNEWS
             > OVER MSGID
             > HDR
             > LIST ACTIVE ACTIVE.TIMES HEADERS NEWSGROUPS OVERVIEW.FMT
             > .
             < HELP
             > 100 commands
             > CAPABILITIES …
             > GROUP …
             > ARTICLE …
             > OVER …
             > LIST …
             > POST …
             > ."
        );
        check(&script, &[]);
    }

    #[test]
    fn nonsense_is_answered_and_counted() {
        let line = "x".repeat(NNTP_COMMAND_MAX);
        let script = format!(
            "< XYZZY
             > 500 unknown command
             < GROUP
             > 501 an argument is missing
             < MODE STREAM
             > 501 MODE READER is the only mode
             < {line}
             > 501 line too long
             << GROUP \\0\\r\\n
             > 501 a NUL in the command
             <
             << DATE\\n
             > 111 …
             {}> 400 too many errors",
            "< XYZZY\n> 500 unknown command\n".repeat(BAD_COMMANDS_MAX as usize)
        );
        let outcome = check(&script, &[]);
        assert_eq!(outcome, Some(Outcome { taken: 0, ended: Ended::TooManyErrors }));
    }

    #[test]
    fn who_says_nothing_is_sent_away_and_a_lost_line_leaves_nothing() {
        let outcome = check("@ 899\n< DATE\n> 111 …\n@ 899\n@ 2\n> 400 nothing heard for too long", &[]);
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::TimedOut));
        let begun = ["< IHAVE <1@x>\n> 335 …\n", ARTICLE.trim_end().trim_end_matches("< ."), "\n"].concat();
        let outcome = check(&[&begun, "!hangup"].concat(), &[]);
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::Lost));
        let outcome = check(&[&begun, "@ 901\n> 400 nothing heard for too long"].concat(), &[]);
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::TimedOut));
    }

    #[test]
    fn winding_down_waits_for_the_article_under_way() {
        let outcome = check("!winddown\n> 400 shutting down", &[]);
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::WindDown));
        let script = ["< IHAVE <1@x>\n> 335 …\n!winddown\n", ARTICLE, "> 235 …\n> 400 shutting down"].concat();
        let outcome = check(&script, &["accepted article 192.0.2.1 <1@x>: local.a:1"]);
        assert_eq!(outcome, Some(Outcome { taken: 1, ended: Ended::WindDown }));
    }

    #[test]
    fn a_line_of_a_gigabyte_is_refused_at_once_and_only_once() {
        let (_dir, store) = open();
        let mut player = Player::new(server(&store, village()), Split::Whole);
        player.heard();
        let piece = [b'x'; 64 * 1024];
        player.feed(&piece);
        assert_eq!(player.heard(), b"501 line too long\r\n");
        for _ in 0..16 * 1024 {
            player.feed(&piece);
        }
        player.play("<< \\r\\n\n< DATE\n> 111 …");
    }

    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let (_dir, store) = open();
        check_back_pressure(server(&store, village()), b"LIST\r\n");
    }

    #[test]
    fn whatever_a_client_says_the_split_means_nothing() {
        const WORDS: [&[u8]; 20] = [
            b"GROUP local.a\r\n",
            b"GROUP x\r\n",
            b"IHAVE <7@x>\r\n",
            b"POST\r\n",
            b".\r\n",
            b"A: 1\r\n",
            b"\r\n",
            b"..\r\n",
            b"\n",
            b"\r",
            b"\0\xff",
            b"LIST\r\n",
            b"OVER 1-\r\n",
            b"ARTICLE 1\r\n",
            b"HDR subject <1@x>\r\n",
            b"NEXT\r\n",
            b"LISTGROUP\r\n",
            b"XHDR path 1-5\r\n",
            b"BODY\r\n",
            b"QUIT\r\n",
        ];
        let (_dir, store) = open();
        Player::new(server(&store, village()), Split::Whole)
            .play(&[HELLO, "< IHAVE <1@x>\n> 335 …\n", ARTICLE, "> 235 …"].concat());
        check_splits(b"", &WORDS, || server(&store, village()));
    }
}
