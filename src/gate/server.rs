//! What every server conversation of lines keeps, whatever is said in it: input, output, the time it may be idle, its end.
//!
//! A new service is a parser in `wire` and a [`Service`]: its state, its verbs, its words for the end.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::limits::BAD_COMMANDS_MAX;
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Nudge, Request};
use crate::store::Store;
use crate::wire::text::{BadLine, LineReader};

/// Input that waits because the client does not read our replies.
pub(super) const INPUT_MAX: usize = 64 * 1024;
/// Replies above this wait for the line.
pub(super) const OUTPUT_MAX: usize = 8 * 1024;
/// Given to the line at once.
const PIECE: usize = 16 * 1024;

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Quit,
    Lost,
    TimedOut,
    TooManyErrors,
    WindDown,
    /// The store failed in the middle of an answer, where nothing else can be said.
    Broken,
}

/// What a service has of its own.
pub trait Service: Sized {
    /// What may be under way between two commands. Winding down waits for it.
    type Work;
    type Outcome;

    /// How long a client may say nothing.
    const IDLE: Duration;

    /// Works on the next line, or on what is under way; whether there was anything to do.
    fn go_on(server: &mut Server<Self>, now: Now) -> bool;

    /// The last line of a conversation that ends so.
    fn farewell(ended: Ended) -> Option<&'static str>;

    fn outcome(&self, ended: Ended) -> Self::Outcome;
}

/// The server's side of one connection.
pub struct Server<S: Service> {
    pub(super) store: Store,
    pub(super) peer: IpAddr,
    pub(super) service: S,
    pub(super) work: Option<S::Work>,
    pub(super) input: LineReader,
    pub(super) output: Vec<u8>,
    /// Bad commands that count.
    pub(super) bad: u32,
    deadline: Instant,
    wind_down: bool,
    ended: Option<Ended>,
}

impl<S: Service> Server<S> {
    pub(super) fn open(store: Store, peer: IpAddr, service: S, input: LineReader, now: Now) -> Self {
        Self {
            store,
            // A socket for both families shows IPv4 clients as `::ffff:192.0.2.1`.
            peer: peer.to_canonical(),
            service,
            work: None,
            input,
            output: Vec::new(),
            bad: 0,
            deadline: now.instant + S::IDLE,
            wind_down: false,
            ended: None,
        }
    }

    /// The client is there.
    pub(super) fn heard(&mut self, now: Now) {
        self.deadline = now.instant + S::IDLE;
    }

    pub(super) fn next_line(&mut self, now: Now) -> Option<Result<Vec<u8>, BadLine>> {
        let line = self.input.next_line()?;
        self.heard(now);
        Some(line)
    }

    /// A mistake of the client has been answered. Too many of them end the conversation.
    pub(super) fn count_mistake(&mut self) {
        self.bad += 1;
        if self.bad >= BAD_COMMANDS_MAX {
            self.end(Ended::TooManyErrors);
        }
    }

    pub(super) fn end(&mut self, ended: Ended) {
        if let Some(words) = S::farewell(ended) {
            self.output.extend_from_slice(format!("{words}\r\n").as_bytes());
        }
        self.work = None;
        self.ended.get_or_insert(ended);
    }

    /// Works on what has arrived until there is no more, or the client must first read.
    fn process(&mut self, now: Now) {
        while self.ended.is_none() && self.output.len() < OUTPUT_MAX {
            let worked = S::go_on(self, now);
            if self.wind_down && self.work.is_none() && self.ended.is_none() {
                self.end(Ended::WindDown);
            }
            if !worked {
                break;
            }
        }
    }
}

impl<S: Service> Dialogue for Server<S> {
    type Outcome = S::Outcome;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.input.push(bytes);
        self.process(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.deadline && self.ended.is_none() {
            self.end(Ended::TimedOut);
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.end(Ended::Lost);
        self.output.clear();
    }

    fn handle_nudge(&mut self, now: Now, nudge: Nudge) {
        match nudge {
            Nudge::Store => {}
            Nudge::WindDown | Nudge::HangUp => {
                self.wind_down = true;
                self.process(now);
            }
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.output.is_empty() {
            self.process(now);
        }
        if !self.output.is_empty() {
            // Who takes a long answer slowly is not idle.
            self.heard(now);
        }
        out.extend(self.output.drain(..self.output.len().min(PIECE)));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.ended.is_none().then_some(self.deadline)
    }

    fn poll_request(&mut self) -> Option<Request<S::Outcome>> {
        let ended = self.ended.filter(|_| self.output.is_empty())?;
        Some(Request::Finish { outcome: self.service.outcome(ended), unread: self.input.pending().to_vec() })
    }

    fn room(&self) -> usize {
        INPUT_MAX.saturating_sub(self.input.pending().len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::gate::script::start;

    /// A client that says a command again and again and reads nothing is not read from any more.
    pub fn check_back_pressure<S: Service>(mut server: Server<S>, command: &[u8]) {
        let commands = command.repeat(INPUT_MAX / command.len());
        let mut taken = 0;
        while server.room() > 0 && taken < 10_000_000 {
            let len = server.room().min(commands.len());
            server.handle_input(start(), &commands[..len]);
            taken += len;
        }
        assert!(taken < 3 * INPUT_MAX, "{taken}");
        assert!(server.output.len() < 2 * OUTPUT_MAX);
    }
}
