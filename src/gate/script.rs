//! Plays a conversation written as text against a dialogue, in any split of its input.
//!
//! `> ` what we must say (a trailing `…` stands for anything), `< ` what they say, `<< ` the same with escapes and without CRLF,
//! `@ 30` seconds pass, `!hangup`, `!winddown`. Lines without a mark are remarks.

use std::fmt::Debug;
use std::time::Duration;

use crate::base::time::{Now, Timestamp};
use crate::dialogue::{Dialogue, Nudge, Request};

/// How the peer's bytes are cut.
#[derive(Debug, Clone, Copy)]
pub enum Split {
    Whole,
    Bytes,
    /// Cuts from a seed.
    Random(u64),
}

pub const SPLITS: [Split; 5] = [Split::Whole, Split::Bytes, Split::Random(1), Split::Random(2), Split::Random(3)];

/// The moment at which scripts begin: Mon Jan  5 10:00:00 1998 is too old a clock to expire by, so 2026.
pub fn start() -> Now {
    Now { instant: crate::base::time::Instant::from_micros(1_000_000), wall: Timestamp::from_seconds(1_780_000_000) }
}

pub struct Player<D: Dialogue> {
    pub dialogue: D,
    pub now: Now,
    pub outcome: Option<D::Outcome>,
    pub unread: Vec<u8>,
    heard: Vec<u8>,
    split: Split,
}

impl<D: Dialogue> Player<D> {
    pub fn new(dialogue: D, split: Split) -> Self {
        let mut player = Self { dialogue, now: start(), outcome: None, unread: Vec::new(), heard: Vec::new(), split };
        player.drain();
        player
    }

    /// Plays a script to its end; panics where what we say is not what stands there.
    pub fn play(&mut self, script: &str) -> &mut Self {
        let mut said = Vec::new();
        for line in script.lines().map(str::trim_start) {
            if let Some(text) = line.strip_prefix("<< ") {
                said.extend_from_slice(&unescaped(text));
                continue;
            }
            if let Some(text) = line.strip_prefix("< ").or_else(|| (line == "<").then_some("")) {
                said.extend_from_slice(format!("{text}\r\n").as_bytes());
                continue;
            }
            self.feed(&std::mem::take(&mut said));
            if let Some(expected) = line.strip_prefix("> ").or_else(|| (line == ">").then_some("")) {
                self.expect(expected);
            } else if let Some(seconds) = line.strip_prefix("@ ") {
                self.pass(Duration::from_secs(seconds.parse().expect("seconds")));
            } else if line == "!hangup" {
                self.dialogue.handle_hangup(self.now);
                self.drain();
            } else if line == "!winddown" {
                self.dialogue.handle_nudge(self.now, Nudge::WindDown);
                self.drain();
            }
        }
        self.feed(&said);
        assert_eq!(String::from_utf8_lossy(&self.heard), "", "said without being asked, {:?}", self.split);
        self
    }

    /// Gives the dialogue what the peer says, as far as it has room, cut as the split wants.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut seed = match self.split {
            Split::Random(seed) => seed,
            Split::Whole | Split::Bytes => 0,
        };
        let mut at = 0;
        while at < bytes.len() && self.outcome.is_none() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let wish = match self.split {
                Split::Whole => usize::MAX,
                Split::Bytes => 1,
                Split::Random(_) => 1 + (seed >> 33) as usize % 37,
            };
            let room = self.dialogue.room();
            assert!(room > 0, "no room although everything is written");
            let end = at + wish.min(room).min(bytes.len() - at);
            self.dialogue.handle_input(self.now, &bytes[at..end]);
            at = end;
            self.drain();
        }
    }

    /// What was said and not yet expected.
    pub fn heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    fn expect(&mut self, expected: &str) {
        let end = self.heard.iter().position(|b| *b == b'\n').map_or(self.heard.len(), |at| at + 1);
        let line = String::from_utf8_lossy(&self.heard.drain(..end).collect::<Vec<u8>>()).into_owned();
        let line = line.strip_suffix("\r\n").unwrap_or(&line);
        let same = match expected.strip_suffix('…') {
            Some(beginning) => line.starts_with(beginning),
            None => line == expected,
        };
        assert!(same, "expected: {expected}\n     got: {line}\n  {:?}", self.split);
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall + time };
        if self.dialogue.poll_timeout().is_some_and(|at| at <= self.now.instant) {
            self.dialogue.handle_timeout(self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let before = self.heard.len();
            self.dialogue.poll_transmit(self.now, &mut self.heard);
            assert!(self.heard.len() - before <= 64 * 1024, "too much at once");
            if self.heard.len() == before {
                break;
            }
        }
        while let Some(request) = self.dialogue.poll_request() {
            match request {
                Request::Line(_) => {}
                Request::Finish { outcome, unread } => {
                    (self.outcome, self.unread) = (Some(outcome), unread);
                    return;
                }
            }
        }
    }
}

/// Says words in any order, by a seed, behind a beginning: what is answered must not depend on the split.
pub fn check_splits<D>(beginning: &[u8], words: &[&[u8]], server: impl Fn() -> D)
where
    D: Dialogue<Outcome: PartialEq + Debug>,
{
    let mut seed = 1_u64;
    for _ in 0..150 {
        let mut input = beginning.to_vec();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            input.extend_from_slice(words[(seed >> 40) as usize % words.len()]);
        }
        let answers = SPLITS.map(|split| {
            let mut player = Player::new(server(), split);
            player.feed(&input);
            (String::from_utf8(player.heard()).expect("replies are text"), player.outcome)
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{}: {answers:?}", input.escape_ascii());
    }
}

/// `\r`, `\n`, `\0` and `\\` as in Rust.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.bytes();
    while let Some(byte) = chars.next() {
        bytes.push(match (byte, byte == b'\\') {
            (_, true) => match chars.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                other => other.expect("an escape has two characters"),
            },
            (plain, false) => plain,
        });
    }
    bytes
}
