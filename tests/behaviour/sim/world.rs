//! Runs two dialogues on a simulated line until both have come to an end, and fails when one waits without a deadline.

use std::fmt;
use std::time::Duration;

use bangpath::base::time::{Instant, Now, Timestamp};
use bangpath::dialogue::{Dialogue, Request};

use super::chance::Chance;
use super::line::{Line, Quality};

/// How much line time the driver keeps unsent: it asks for more when less than this is left.
const AHEAD: Duration = Duration::from_millis(500);
/// Steps without the clock moving that mean it never will.
const SPIN_MAX: u32 = 10_000;

pub struct World<A: Dialogue, B: Dialogue> {
    now: Now,
    caller: Side<A>,
    answerer: Side<B>,
    /// From the caller to the answerer, and back.
    forth: Line,
    back: Line,
    hang_up_at: Option<Instant>,
    /// When the carrier drops, whatever is under way.
    drops_at: Option<Instant>,
}

struct Side<D: Dialogue> {
    direction: char,
    /// `BANGPATH_SIM_TRACE` is set: all that is sent goes to standard error, as `time direction bytes`.
    traced: bool,
    dialogue: D,
    outcome: Option<D::Outcome>,
    /// Arrived, but the dialogue had no room for it.
    unread: Vec<u8>,
    /// When it was last told that its time has come, and has not been asked for output since.
    told: Option<Instant>,
    /// The last poll gave something, so there may be more when the line has room.
    more: bool,
}

/// How it went.
pub struct Report<A, B> {
    pub caller: A,
    pub answerer: B,
    pub elapsed: Duration,
    /// Bytes put on the line by the caller and by the answerer.
    pub carried: [u64; 2],
    pub damaged: u64,
    /// How often the direction changed, on a line of half duplex.
    pub turns: u64,
}

#[derive(Debug)]
pub enum Stuck {
    /// Nothing is under way and no timer runs.
    NoDeadline(&'static str, Duration),
    /// Nobody comes to an end.
    TooLong(Duration),
    /// The same moment again and again.
    Spinning(Duration),
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDeadline(who, at) => write!(f, "the {who} waits without a deadline after {at:?}"),
            Self::TooLong(at) => write!(f, "not finished after {at:?}"),
            Self::Spinning(at) => write!(f, "time stands still at {at:?}"),
        }
    }
}

impl<A: Dialogue, B: Dialogue> World<A, B> {
    /// The same line in both directions.
    pub fn new(caller: A, answerer: B, quality: Quality, seed: u64) -> Self {
        Self::with_lines(caller, answerer, [quality; 2], seed)
    }

    /// What the caller sends goes over the first line, what the answerer sends over the second.
    pub fn with_lines(caller: A, answerer: B, [forth, back]: [Quality; 2], seed: u64) -> Self {
        let start = Now { instant: Instant::from_micros(0), wall: Timestamp::from_seconds(1_800_000_000) };
        Self {
            now: start,
            caller: Side::new('>', caller),
            answerer: Side::new('<', answerer),
            forth: Line::new(forth, Chance::new(seed, 1)),
            back: Line::new(back, Chance::new(seed, 2)),
            hang_up_at: None,
            drops_at: forth.drops_after.map(|after| start.instant + after),
        }
    }

    /// Until both have finished; one that has finished hangs up when its last byte has gone.
    pub fn run(mut self, limit: Duration) -> Result<Report<A::Outcome, B::Outcome>, Stuck> {
        let end = self.now.instant + limit;
        let mut same_moment = 0;
        self.serve();
        loop {
            self.plan_hang_up();
            if self.caller.outcome.is_some() && self.answerer.outcome.is_some() {
                return Ok(self.report());
            }
            let next = self.next_moment()?;
            if next > end {
                return Err(Stuck::TooLong(limit));
            }
            same_moment = if next > self.now.instant { 0 } else { same_moment + 1 };
            if same_moment > SPIN_MAX {
                return Err(Stuck::Spinning(self.elapsed()));
            }
            self.advance(next);
            self.step();
        }
    }

    fn report(self) -> Report<A::Outcome, B::Outcome> {
        Report {
            elapsed: self.elapsed(),
            caller: self.caller.outcome.expect("it has finished"),
            answerer: self.answerer.outcome.expect("it has finished"),
            carried: [self.forth.carried, self.back.carried],
            damaged: self.forth.damaged + self.back.damaged,
            turns: self.forth.turns + self.back.turns,
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.instant.since(Instant::from_micros(0))
    }

    fn advance(&mut self, to: Instant) {
        let by = to.since(self.now.instant);
        self.now = Now { instant: self.now.instant + by, wall: self.now.wall + by };
    }

    fn plan_hang_up(&mut self) {
        let quiet = match (&self.caller.outcome, &self.answerer.outcome) {
            (Some(_), None) => self.forth.clear_at(),
            (None, Some(_)) => self.back.clear_at(),
            (None, None) | (Some(_), Some(_)) => return,
        };
        // A modem takes a moment to notice; the last bytes are read before.
        let at = quiet.max(self.now.instant) + Duration::from_secs(2);
        self.hang_up_at.get_or_insert(at);
    }

    /// The next time at which anything happens.
    fn next_moment(&self) -> Result<Instant, Stuck> {
        let forth = self.caller.next_moment(&self.forth, &self.back);
        let back = self.answerer.next_moment(&self.back, &self.forth);
        if self.hang_up_at.is_none() {
            if forth.is_none() && self.caller.outcome.is_none() && self.forth.is_empty() {
                return Err(Stuck::NoDeadline("caller", self.elapsed()));
            }
            if back.is_none() && self.answerer.outcome.is_none() && self.back.is_empty() {
                return Err(Stuck::NoDeadline("answerer", self.elapsed()));
            }
        }
        let next = [forth, back, self.hang_up_at, self.drops_at].into_iter().flatten().min();
        Ok(next.ok_or(Stuck::NoDeadline("world", self.elapsed()))?.max(self.now.instant))
    }

    fn step(&mut self) {
        let now = self.now;
        self.answerer.hear(now, self.forth.arrived(now.instant));
        self.caller.hear(now, self.back.arrived(now.instant));
        self.caller.look_at_clock(now);
        self.answerer.look_at_clock(now);
        let dead = [self.hang_up_at, self.drops_at].into_iter().flatten().any(|at| at <= now.instant);
        if dead {
            (self.hang_up_at, self.drops_at) = (None, None);
            self.forth.cut();
            self.back.cut();
            self.caller.hang_up(now);
            self.answerer.hang_up(now);
        }
        self.serve();
    }

    fn serve(&mut self) {
        let cut = self.caller.serve(self.now, &mut self.forth, &mut self.back);
        let other = self.answerer.serve(self.now, &mut self.back, &mut self.forth);
        for at in [cut, other].into_iter().flatten() {
            self.hang_up_at = Some(self.hang_up_at.map_or(at, |already| already.min(at)));
        }
    }
}

impl<D: Dialogue> Side<D> {
    fn new(direction: char, dialogue: D) -> Self {
        let traced = std::env::var_os("BANGPATH_SIM_TRACE").is_some();
        Self { direction, traced, dialogue, outcome: None, unread: Vec::new(), told: None, more: true }
    }

    /// When this side will hear or do something by itself.
    fn next_moment(&self, out: &Line, into: &Line) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let room = Instant::from_micros(out.clear_at().as_micros().saturating_sub(AHEAD.as_micros() as u64));
        let ask = self.more.then_some(room);
        let due = self.dialogue.poll_timeout().filter(|at| self.told.is_none_or(|told| *at > told));
        [due, into.next_arrival(), ask].into_iter().flatten().min()
    }

    fn hear(&mut self, now: Now, bytes: Vec<u8>) {
        if self.outcome.is_some() {
            return;
        }
        self.unread.extend(bytes);
        let taken = self.unread.len().min(self.dialogue.room());
        if taken > 0 {
            let bytes: Vec<u8> = self.unread.drain(..taken).collect();
            self.dialogue.handle_input(now, &bytes);
            self.more = true;
        }
    }

    fn look_at_clock(&mut self, now: Now) {
        if self.outcome.is_none() && self.dialogue.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.told = Some(now.instant);
            self.dialogue.handle_timeout(now);
            self.more = true;
        }
    }

    fn hang_up(&mut self, now: Now) {
        if self.outcome.is_none() {
            self.dialogue.handle_hangup(now);
            self.more = true;
        }
    }

    /// Takes what it wants to send, while the line has room, and its requests. Says when the carrier dropped, if so.
    fn serve(&mut self, now: Now, line: &mut Line, other: &mut Line) -> Option<Instant> {
        self.requests();
        while self.outcome.is_none() && self.more && line.backlog(now.instant) <= AHEAD {
            let mut out = Vec::new();
            self.told = None;
            self.dialogue.poll_transmit(now, &mut out);
            self.more = !out.is_empty();
            if self.more {
                line.take_turn(other);
            }
            let cut = line.send(now.instant, &out);
            self.trace(now, &out);
            self.requests();
            if cut.is_some() {
                return cut;
            }
            if line.backlog(now.instant).is_zero() {
                // A line without a speed: what was said is heard before more is asked for.
                break;
            }
        }
        None
    }

    fn trace(&self, now: Now, bytes: &[u8]) {
        if self.traced && !bytes.is_empty() {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{} {} {hex}", now.instant.as_micros(), self.direction);
        }
    }

    fn requests(&mut self) {
        while self.outcome.is_none() {
            match self.dialogue.poll_request() {
                Some(Request::Finish { outcome, .. }) => self.outcome = Some(outcome),
                Some(Request::Line(_)) => {}
                None => break,
            }
        }
    }
}
