//! SMTP for clients and hosts that bring mail (RFC 5321), with PIPELINING, 8BITMIME, SIZE, SMTPUTF8, ENHANCEDSTATUSCODES.
//!
//! Every recipient is routed when it is named, so that refusals come at RCPT. The message streams into a draft; at the final
//! dot [`mail::accept`] runs in one change, and `250` is said only after the store has it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::SMTP_COMMAND_MAX;
use crate::base::time::Now;
use crate::gate::server::{Ended, Server, Service};
use crate::mail::Policy;
use crate::store::Store;
use crate::wire::smtp::{Command, Reply, Status};
use crate::wire::text::{LineEnds, LineReader};

mod transaction;

use transaction::{Data, Transaction};

/// What a conversation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Messages accepted.
    pub accepted: u32,
    pub ended: Ended,
}

/// The server's side of one SMTP connection.
pub type SmtpIn = Server<Smtp>;

/// What it keeps beside what every server does.
pub struct Smtp {
    policy: Arc<Policy>,
    /// Who the client is, once it has said HELO or EHLO: its name and whether it speaks ESMTP.
    client: Option<(String, bool)>,
    accepted: u32,
}

/// What may be under way between two commands.
pub enum Work {
    Envelope(Transaction),
    Data(Box<Data>),
}

impl Service for Smtp {
    type Work = Work;
    type Outcome = Outcome;

    /// RFC 5321 section 4.5.3.2.7.
    const IDLE: Duration = Duration::from_secs(5 * 60);

    fn go_on(server: &mut SmtpIn, now: Now) -> bool {
        match server.work {
            Some(Work::Data(_)) => server.data(now),
            None | Some(Work::Envelope(_)) => server.line(now),
        }
    }

    fn farewell(ended: Ended) -> Option<&'static str> {
        match ended {
            Ended::Quit => Some("221 2.0.0 goodbye"),
            Ended::TimedOut => Some("421 4.4.2 nothing heard for too long"),
            Ended::TooManyErrors => Some("421 4.7.0 too many errors"),
            Ended::WindDown => Some("421 4.3.2 shutting down"),
            Ended::Lost | Ended::Broken => None,
        }
    }

    fn outcome(&self, ended: Ended) -> Outcome {
        Outcome { accepted: self.accepted, ended }
    }
}

impl SmtpIn {
    pub fn new(store: Store, policy: Arc<Policy>, peer: IpAddr, now: Now) -> Self {
        let greeting = Reply::plain(220, [format!("{} ESMTP bangpath", policy.hostname)]);
        let service = Smtp { policy, client: None, accepted: 0 };
        let mut server = Self::open(store, peer, service, LineReader::new(SMTP_COMMAND_MAX, LineEnds::Strict), now);
        server.say(&greeting);
        server
    }

    fn say(&mut self, reply: &Reply) {
        reply.print(&mut self.output);
    }

    fn line(&mut self, now: Now) -> bool {
        let command = match self.next_line(now) {
            None => return false,
            Some(Ok(line)) => Command::parse(&line).map_err(|why| why.reply()),
            Some(Err(why)) => Err(Reply::new(500, Status(5, 5, 2), why.to_string())),
        };
        match command {
            Ok(command) => self.command(now, command),
            Err(reply) => self.complain(&reply),
        }
        true
    }

    /// A reply to a mistake.
    fn complain(&mut self, reply: &Reply) {
        self.say(reply);
        self.count_mistake();
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Helo(name) => {
                self.hello(name, false);
                self.say(&Reply::plain(250, [self.service.policy.hostname.clone()]));
            }
            Command::Ehlo(name) => {
                let greeting = format!("{} greets {name}", self.service.policy.hostname);
                self.hello(name, true);
                let size = format!("SIZE {}", self.service.policy.message_max);
                let offers = ["PIPELINING", "8BITMIME", &size, "SMTPUTF8", "ENHANCEDSTATUSCODES", "HELP"];
                self.say(&Reply::plain(250, [greeting].into_iter().chain(offers.map(str::to_owned))));
            }
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.begin_data(now),
            Command::Rset => {
                self.work = None;
                self.say(&Reply::new(250, Status(2, 0, 0), "forgotten"));
            }
            Command::Noop => self.say(&Reply::new(250, Status(2, 0, 0), "nothing done")),
            Command::Vrfy(_) => self.say(&Reply::new(252, Status(2, 5, 0), "send mail and see")),
            Command::Help => {
                self.say(&Reply::new(214, Status(2, 0, 0), "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT"))
            }
            Command::Quit => self.end(Ended::Quit),
        }
    }

    fn hello(&mut self, name: String, extended: bool) {
        self.service.client = Some((name, extended));
        self.work = None;
    }

    fn out_of_order(&mut self, text: &str) {
        self.complain(&Reply::new(503, Status(5, 5, 1), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::BAD_COMMANDS_MAX;
    use crate::gate::script::{Player, SPLITS, Split, check_splits, start};
    use crate::gate::server::INPUT_MAX;
    use crate::gate::server::tests::check_back_pressure;
    use crate::mail::policy::tests::village;
    use crate::mail::tests::{contents, open};

    const STRANGER: &str = "203.0.113.9";
    const NEIGHBOUR: &str = "192.168.7.7";

    fn server(store: &Store, policy: Policy, peer: &str) -> SmtpIn {
        SmtpIn::new(store.clone(), Arc::new(policy), peer.parse().expect("an address"), start())
    }

    /// Plays a conversation in every split, each with a store of its own; what is in the store afterwards, and the outcome.
    fn check(peer: &str, script: &str, expected: &str) -> Option<Outcome> {
        let mut last = None;
        for split in SPLITS {
            let (_dir, store) = open();
            let server = server(&store, village(), peer);
            let mut player = Player::new(server, split);
            player.play(script);
            assert_eq!(contents(&store), expected, "{split:?}");
            last = player.outcome;
        }
        last
    }

    /// `body` as the text of DATA, and what is said at its end.
    fn data(body: &str, answer: &str, expected: &str) {
        let script = format!(
            "> 220 mx.village.example ESMTP bangpath
             < HELO client.example
             > 250 mx.village.example
             < MAIL FROM:<eve@far.example>
             > 250 2.1.0 sender ok
             < RCPT TO:<ann@village.example>
             > 250 2.1.5 recipient ok
             < DATA
             > 354 end with a dot alone on a line
             << {body}
             > {answer}
             < NOOP
             > 250 2.0.0 nothing done"
        );
        check(STRANGER, &script, expected);
    }

    const DATE: &str = "Thu, 28 May 2026 20:26:40 +0000";

    #[test]
    fn a_letter_is_taken_and_filed() {
        let received = format!(
            "Received: from client.example ([203.0.113.9]) by mx.village.example (bangpath)\\n\\twith ESMTP for <ann@village.example>; {DATE}\\n"
        );
        let script = "
            > 220 mx.village.example ESMTP bangpath
            < EHLO client.example
            > 250-mx.village.example greets client.example
            > 250-PIPELINING
            > 250-8BITMIME
            > 250-SIZE 100000
            > 250-SMTPUTF8
            > 250-ENHANCEDSTATUSCODES
            > 250 HELP
            < MAIL FROM:<eve@far.example> SIZE=1000 BODY=8BITMIME
            > 250 2.1.0 sender ok
            < RCPT TO:<ann@village.example>
            > 250 2.1.5 recipient ok
            < DATA
            > 354 end with a dot alone on a line
            < Subject: hi
            <
            < ..dot
            < .
            > 250 2.0.0 accepted
            < QUIT
            > 221 2.0.0 goodbye";
        let expected = format!("mailbox ann: <eve@far.example> {received}Subject: hi\\n\\n.dot\\n\n");
        let outcome = check(STRANGER, script, &expected);
        assert_eq!(outcome, Some(Outcome { accepted: 1, ended: Ended::Quit }));
    }

    #[test]
    fn a_letter_that_has_no_room_is_refused_before_it_is_sent() {
        let server = |reserve| {
            let (dir, store) = open();
            store.keep_free(reserve);
            let policy = Policy { message_max: u64::MAX, ..village() };
            let server = server(&store, policy, STRANGER);
            (dir, store, Player::new(server, Split::Whole))
        };
        let hello = "> 220 …\n< HELO x\n> 250 …\n";
        let (_dir, store, mut player) = server(0);
        let free = store.free_space().expect("known");
        let sized = |size| format!("< MAIL FROM:<eve@far.example> SIZE={size}\n");
        player.play(&[hello, &sized(free * 2), "> 452 4.3.1 no space left here; try later\n"].concat());
        player.play(&[&sized(1000), "> 250 …\n< RCPT TO:<ann@village.example>\n> 250 …\n"].concat());
        // It has become less meanwhile.
        store.keep_free(u64::MAX);
        player.play("< DATA\n> 452 4.3.1 no space left here; try later\n");
        let (_dir, _store, mut player) = server(u64::MAX);
        player.play(&[hello, &sized(1), "> 452 4.3.1 …\n< NOOP\n> 250 …"].concat());
    }

    #[test]
    fn pipelined_letters_are_taken_in_one_go() {
        let script = "
            > 220 …
            < EHLO lan
            > 250-…
            > 250-…
            > 250-…
            > 250-…
            > 250-…
            > 250-…
            > 250 …
            < MAIL FROM:<ann@village.example>
            < RCPT TO:<bob@far.example>
            < RCPT TO:<nobody@village.example>
            < RCPT TO:<carl@lan.example>
            < DATA
            < A: 1
            <
            < .
            < MAIL FROM:<>
            < RCPT TO:<postmaster>
            < DATA
            < B: 2
            < .
            < RSET
            < QUIT
            > 250 2.1.0 sender ok
            > 250 2.1.5 recipient ok
            > 550 5.1.1 there is no user nobody here
            > 250 2.1.5 recipient ok
            > 354 …
            > 250 2.0.0 accepted
            > 250 2.1.0 sender ok
            > 250 2.1.5 recipient ok
            > 354 …
            > 250 2.0.0 accepted
            > 250 2.0.0 forgotten
            > 221 2.0.0 goodbye";
        for split in SPLITS {
            let (_dir, store) = open();
            let server = server(&store, village(), NEIGHBOUR);
            Player::new(server, split).play(script);
            let shown = contents(&store);
            let lines: Vec<&str> = shown.lines().map(|line| line.split(" Received").next().unwrap_or(line)).collect();
            assert_eq!(
                lines,
                [
                    "mailbox alice: <>",
                    "item hub C: <ann@village.example> to <bob@far.example>",
                    "item mail.lan.example:2525 C: <ann@village.example> to <carl@lan.example>",
                ]
            );
            assert_eq!(shown.matches("Date: ").count(), 3, "what a client of ours leaves out is added: {shown}");
        }
    }

    #[test]
    fn strangers_may_send_to_our_users_and_nowhere_else() {
        let script = "
            > 220 …
            < HELO x
            > 250 …
            < MAIL FROM:<eve@far.example>
            > 250 …
            < RCPT TO:<bob@far.example>
            > 550 5.7.1 we do not relay for you
            < RCPT TO:<hub!bob>
            > 550 5.7.1 we do not relay for you
            < RCPT TO:<bob%far.example@village.example>
            > 550 5.7.1 we do not relay for you
            < RCPT TO:<far.example!bob@village.example>
            > 550 5.7.1 we do not relay for you
            < RCPT TO:<@village.example:bob@far.example>
            > 550 5.7.1 we do not relay for you
            < RCPT TO:<bob@closed.example>
            > 550 5.7.1 moved away
            < RCPT TO:<nobody@village.example>
            > 550 5.1.1 there is no user nobody here
            < DATA
            > 554 5.5.1 no valid recipients
            < RCPT TO:<Ann+lists@also.example>
            > 250 2.1.5 recipient ok
            < RCPT TO:<PostMaster>
            > 250 2.1.5 recipient ok";
        check(STRANGER, script, "");
    }

    #[test]
    fn no_text_can_smuggle_a_second_message() {
        let evil = "MAIL FROM:<root@far.example>\\r\\nRCPT TO:<ann@village.example>\\r\\nDATA\\r\\nB: 2\\r\\n";
        for fake_end in [
            "\\n.\\n",
            "\\n.\\r\\n",
            "\\r\\n.\\n",
            "\\r.\\r",
            "\\r\\n.\\r",
            "\\r.\\r\\n",
            "\\r\\n.\\r\\r\\n",
            "\\n\\r.\\r\\n",
            "\\r\\r\\n.\\n",
        ] {
            let body = format!("A: 1\\r\\n\\r\\nx{fake_end}{evil}\\r\\n.\\r\\n");
            data(&body, "554 5.6.11 a CR or LF stands alone in the message", "");
        }
        // A NUL between is text like any other.
        let body = format!("A: 1\\r\\n\\r\\nx\\r\\n\\0.\\r\\n{evil}\\r\\n.\\r\\n");
        for split in SPLITS {
            let (_dir, store) = open();
            let server = server(&store, village(), STRANGER);
            let script = format!(
                "> 220 …\n< HELO x\n> 250 …\n< MAIL FROM:<a@b>\n> 250 …\n< RCPT TO:<ann>\n> 250 …\n< DATA\n> 354 …\n<< {body}\n> 250 …"
            );
            Player::new(server, split).play(&script);
            assert_eq!(contents(&store).lines().count(), 1);
        }
    }

    #[test]
    fn bare_line_ends_in_commands_are_refused_with_the_whole_line() {
        let script = "
            > 220 …
            << HELO x\\nMAIL FROM:<a@b>\\r\\n
            > 500 5.5.2 lines end in CR LF
            < MAIL FROM:<a@b>
            > 503 5.5.1 say EHLO first
            << HELO x\\ry\\r\\n
            > 500 5.5.2 lines end in CR LF";
        check(STRANGER, script, "");
    }

    #[test]
    fn commands_out_of_order_and_nonsense_are_answered_and_counted() {
        let script = format!(
            "> 220 …
            < RCPT TO:<ann>
            > 503 5.5.1 say MAIL first
            < DATA
            > 503 5.5.1 say MAIL and RCPT first
            < VRFY ann
            > 252 2.5.0 send mail and see
            < HELP
            > 214 2.0.0 …
            < EHLO
            > 501 5.5.4 …
            < HELO x
            > 250 …
            < MAIL FROM:<a@b> SIZE=100001
            > 552 5.3.4 we take messages up to 100000 bytes
            < MAIL FROM:<ü@b>
            > 553 5.6.7 …
            < MAIL FROM:<a@b>
            > 250 …
            < MAIL FROM:<a@b>
            > 503 5.5.1 there is a sender already
            < RCPT TO:<ü@b>
            > 553 5.6.7 …
            {}
            < x
            > 500 5.5.1 unknown command
            > 421 4.7.0 too many errors",
            "< x\n> 500 5.5.1 unknown command\n".repeat(BAD_COMMANDS_MAX as usize - 5)
        );
        let outcome = check(STRANGER, &script, "");
        assert_eq!(outcome, Some(Outcome { accepted: 0, ended: Ended::TooManyErrors }));
    }

    #[test]
    fn who_says_nothing_is_sent_away_and_a_lost_line_leaves_nothing() {
        let outcome =
            check(STRANGER, "> 220 …\n@ 299\n< NOOP\n> 250 …\n@ 299\n@ 2\n> 421 4.4.2 nothing heard for too long", "");
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::TimedOut));
        let begun = "> 220 …\n< HELO x\n> 250 …\n< MAIL FROM:<a@b>\n> 250 …\n< RCPT TO:<ann>\n> 250 …\n< DATA\n> 354 …\n< A: 1\n";
        let outcome = check(STRANGER, &format!("{begun}!hangup"), "");
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::Lost));
    }

    #[test]
    fn winding_down_waits_for_the_transaction() {
        let outcome = check(STRANGER, "> 220 …\n< HELO x\n> 250 …\n!winddown\n> 421 4.3.2 shutting down", "");
        assert_eq!(outcome.map(|outcome| outcome.ended), Some(Ended::WindDown));
        let script = "> 220 …\n< HELO x\n> 250 …\n< MAIL FROM:<a@b>\n> 250 …\n!winddown\n< RSET\n> 250 …\n> 421 4.3.2 shutting down";
        check(STRANGER, script, "");
    }

    #[test]
    fn a_message_that_has_gone_round_is_refused() {
        let body = "Received: x\\r\\n".repeat(101) + "\\r\\n.\\r\\n";
        data(&body, "554 5.4.6 the message has gone round: it has more than 100 Received lines", "");
    }

    /// A server at DATA, and all it says from here on.
    fn at_data(policy: Policy) -> (tempfile::TempDir, Store, Player<SmtpIn>) {
        let (dir, store) = open();
        let server = server(&store, policy, STRANGER);
        let mut player = Player::new(server, Split::Whole);
        player
            .play("> 220 …\n< HELO x\n> 250 …\n< MAIL FROM:<a@b>\n> 250 …\n< RCPT TO:<ann>\n> 250 …\n< DATA\n> 354 …");
        (dir, store, player)
    }

    fn refused_at_the_end(policy: Policy, piece: &[u8], count: usize, expected: &str) {
        let (_dir, store, mut player) = at_data(policy);
        for _ in 0..count {
            player.feed(piece);
            assert!(player.dialogue.input.pending().len() <= INPUT_MAX);
        }
        player.play(&format!("<< \\r\\n.\\r\\n\n> {expected}\n< QUIT\n> 221 …"));
        assert_eq!(contents(&store), "");
    }

    #[test]
    fn what_is_too_large_is_refused_at_its_end_without_filling_the_memory() {
        let large = Policy { message_max: u64::MAX, ..village() };
        let piece = [b'x'; 64 * 1024];
        // A line of a gigabyte, a header of ten megabytes, a long message.
        refused_at_the_end(large.clone(), &piece, 16 * 1024, "552 5.3.4 the header is larger than 262144 bytes");
        let (_dir, _store, mut player) = at_data(large.clone());
        player.feed(b"A: 1\r\n\r\n");
        (0..100).for_each(|_| player.feed(&piece));
        player.play("<< \\r\\n.\\r\\n\n> 554 5.6.0 a line of the message is longer than 1048576 bytes");
        let field = [b"X: ".as_slice(), &[b'y'; 1000], b"\r\n"].concat();
        refused_at_the_end(large, &field, 10_000, "552 5.3.4 the header is larger than 262144 bytes");
        refused_at_the_end(
            village(),
            &[b"\r\n".as_slice(); 100].concat(),
            1001,
            "552 5.3.4 the message is larger than 100000 bytes",
        );
    }

    #[test]
    fn a_command_line_of_a_gigabyte_is_refused_at_once_and_only_once() {
        let (_dir, store) = open();
        let server = server(&store, village(), STRANGER);
        let mut player = Player::new(server, Split::Whole);
        player.heard();
        let piece = [b'x'; 64 * 1024];
        player.feed(&piece);
        assert_eq!(player.heard(), b"500 5.5.2 line too long\r\n");
        for _ in 0..16 * 1024 {
            player.feed(&piece);
        }
        player.play("<< \\r\\n\n< NOOP\n> 250 …");
    }

    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let (_dir, store) = open();
        check_back_pressure(server(&store, village(), STRANGER), b"NOOP\r\n");
    }

    #[test]
    fn whatever_a_client_says_the_split_means_nothing() {
        const WORDS: [&[u8]; 16] = [
            b"EHLO x\r\n",
            b"HELO x\r\n",
            b"MAIL FROM:<a@b>\r\n",
            b"RCPT TO:<ann>\r\n",
            b"RCPT TO:<x@y>\r\n",
            b"DATA\r\n",
            b".\r\n",
            b"A: 1\r\n",
            b"\r\n",
            b"..\r\n",
            b"\n",
            b"\r",
            b"\0\xff",
            b"RSET\r\n",
            b"QUIT\r\n",
            b"From x\r\n",
        ];
        let (_dir, store) = open();
        check_splits(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann>\r\n", &WORDS, || server(&store, village(), STRANGER));
    }
}
