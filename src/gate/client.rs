//! What every client conversation of lines keeps, whatever is said in it: input, output, the time an answer may take, its end.
//!
//! A new client is a parser in `wire` and an [`Errand`]: its states, and what it does with each answer.

use std::fmt::Display;
use std::time::Duration;

use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Nudge, Request};
use crate::gate::text::READ;
use crate::store::Store;
use crate::wire::text::{BadLine, LineEnds, LineReader};

/// How long an answer may take (RFC 5321 section 4.5.3.2; a news server may be as busy with its spool), and a piece of text
/// to leave us.
pub(super) const REPLY: Duration = Duration::from_secs(5 * 60);
pub(super) const PIECE_SENT: Duration = Duration::from_secs(3 * 60);
pub(super) const FINAL: Duration = Duration::from_secs(10 * 60);
pub(super) const GOODBYE: Duration = Duration::from_secs(30);

/// How a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was left for this host, or we were asked to stop.
    Done,
    /// The host would not talk to us, or talked nonsense; or the line was lost.
    Failed(String),
    /// Our store would not take what became of an item.
    Store(String),
}

/// What a client has of its own.
pub trait Errand: Sized {
    /// What it waits for.
    type State;
    type Outcome;

    fn answered(client: &mut Client<Self>, now: Now, line: Result<Vec<u8>, BadLine>);

    /// All is written: what follows unasked, such as the next piece of a text.
    fn go_on(client: &mut Client<Self>, now: Now);

    /// The connection is of no use any more.
    fn break_off(client: &mut Client<Self>, now: Now, why: String);

    fn outcome(&mut self, ended: Ended) -> Self::Outcome;
}

/// The client's side of one connection.
pub struct Client<E: Errand> {
    pub(super) store: Store,
    /// Who serves us, in words for people.
    pub(super) host: String,
    pub(super) errand: E,
    /// `None`: nothing more is said or heard.
    pub(super) state: Option<E::State>,
    pub(super) output: Vec<u8>,
    pub(super) wind_down: bool,
    pub(super) ended: Option<Ended>,
    input: LineReader,
    deadline: Instant,
}

impl<E: Errand> Client<E> {
    /// The longest line that the host may say is of `line_max` bytes.
    pub(super) fn open(store: Store, host: String, errand: E, line_max: usize, now: Now) -> Self {
        Self {
            store,
            host,
            errand,
            state: None,
            output: Vec::new(),
            wind_down: false,
            ended: None,
            input: LineReader::new(line_max, LineEnds::Tolerant),
            deadline: now.instant,
        }
    }

    pub(super) fn say(&mut self, command: impl Display) {
        self.output.extend_from_slice(format!("{command}\r\n").as_bytes());
    }

    pub(super) fn wait(&mut self, now: Now, time: Duration, state: E::State) {
        self.deadline = now.instant + time;
        self.state = Some(state);
    }

    pub(super) fn end(&mut self, ended: Ended) {
        self.state = None;
        self.output.clear();
        self.ended.get_or_insert(ended);
    }
}

impl<E: Errand> Dialogue for Client<E> {
    type Outcome = E::Outcome;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.input.push(bytes);
        while self.ended.is_none()
            && let Some(line) = self.input.next_line()
        {
            E::answered(self, now, line);
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.deadline && self.ended.is_none() {
            E::break_off(self, now, format!("{} did not answer in time", self.host));
        }
    }

    fn handle_hangup(&mut self, now: Now) {
        if self.ended.is_none() {
            E::break_off(self, now, format!("{} closed the connection", self.host));
        }
        self.output.clear();
    }

    fn handle_nudge(&mut self, _now: Now, nudge: Nudge) {
        match nudge {
            Nudge::Store => {}
            Nudge::WindDown | Nudge::HangUp => self.wind_down = true,
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.output.is_empty() {
            E::go_on(self, now);
        }
        // A long list of recipients goes in pieces too; stuffing makes a piece of text twice as long or so.
        out.extend(self.output.drain(..self.output.len().min(2 * READ + 16)));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.ended.is_none().then_some(self.deadline)
    }

    fn poll_request(&mut self) -> Option<Request<E::Outcome>> {
        let ended = self.ended.clone().filter(|_| self.output.is_empty())?;
        Some(Request::Finish { outcome: self.errand.outcome(ended), unread: self.input.pending().to_vec() })
    }
}
