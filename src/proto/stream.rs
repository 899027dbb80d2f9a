//! What the protocols without packets to repeat share (t, e, f, y): order, silence, the end. Each adds how it frames things.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Channel, Counters, Event, Protocol, Start, Violation, Way};
use crate::base::limits::{HANDSHAKE_NOISE_MAX, SEND_AHEAD_MAX, TRANSMIT_MAX};
use crate::base::time::{Instant, Now};

/// They have one conversation.
pub const CHANNEL: Channel = Channel::Ours(1);
/// Between a message and what the same side sends next: HDB takes what it reads at once for one command.
const PAUSE: Duration = Duration::from_millis(50);

/// How one protocol turns commands and files into bytes, and back.
pub trait Framing: Send {
    const LETTER: char;
    const RESTARTS: bool = true;
    /// How long the caller is quiet at first on a line that has to change its mode.
    const QUIET_START: Duration = Duration::ZERO;

    /// What is said before anything else. False: `next` tells when the peer has said its own.
    fn begin(&mut self, _wire: &mut Wire) -> bool {
        true
    }

    fn command(&mut self, wire: &mut Wire, text: &[u8]);

    /// File bytes; none of them: the end of the file.
    fn data(&mut self, wire: &mut Wire, bytes: &[u8]) -> Result<(), Violation>;

    fn begin_file(&mut self, wire: &mut Wire, way: Way);

    /// What the bytes received so far say next.
    fn next(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation>;

    /// How long silence may last.
    fn patience(&self, timeout: Duration) -> Duration {
        timeout
    }
}

/// Bytes on their way in and out.
#[derive(Default)]
pub struct Wire {
    pub received: Vec<u8>,
    pub counters: Counters,
    pending: VecDeque<Piece>,
}

struct Piece {
    bytes: Vec<u8>,
    /// Nothing follows it at once.
    alone: bool,
}

impl Wire {
    /// Sends bytes behind those that wait.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.pending.back_mut() {
            Some(last) if !last.alone => last.bytes.extend_from_slice(bytes),
            _ => self.pending.push_back(Piece { bytes: bytes.to_vec(), alone: false }),
        }
    }

    /// Sends bytes that the peer must be able to read by themselves.
    pub fn send_alone(&mut self, bytes: Vec<u8>) {
        self.pending.push_back(Piece { bytes, alone: true });
    }

    /// File bytes too: there are never many.
    fn unsent(&self) -> usize {
        self.pending.iter().map(|piece| piece.bytes.len()).sum()
    }
}

pub struct Stream<F> {
    start: Start,
    framing: F,
    wire: Wire,
    stage: Stage,
    begun: bool,
    /// When the last byte came or will have left. `None` before the first look at the clock.
    active: Option<Instant>,
    /// Until then nothing is sent, unless something comes.
    quiet_until: Option<Instant>,
}

#[derive(PartialEq)]
enum Stage {
    Opening,
    /// The session has not been told.
    Ready,
    Running,
    Closing,
    Failed(Violation),
    Ended,
}

impl<F: Framing> Stream<F> {
    pub fn new(start: Start, framing: F) -> Self {
        Self {
            start,
            framing,
            wire: Wire::default(),
            stage: Stage::Opening,
            begun: false,
            active: None,
            quiet_until: None,
        }
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            if self.framing.begin(&mut self.wire) {
                self.stage = Stage::Ready;
            }
        }
    }

    fn patience(&self) -> Duration {
        self.framing.patience(self.start.parameters.timeout)
    }

    fn fail(&mut self, why: Violation) {
        if !matches!(self.stage, Stage::Failed(_) | Stage::Ended) {
            self.stage = Stage::Failed(why);
        }
    }

    fn next_received(&mut self) -> Option<Event> {
        match self.framing.next(&mut self.wire) {
            Ok(Some(Event::Started)) => {
                self.stage = Stage::Running;
                Some(Event::Started)
            }
            Ok(event) => event,
            Err(why) => {
                self.stage = Stage::Ended;
                Some(Event::Failed(why))
            }
        }
    }
}

impl<F: Framing> Protocol for Stream<F> {
    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.begin();
        self.active = self.active.max(Some(now.instant));
        self.quiet_until = None;
        // Past the end only the session's few good-bye bytes matter.
        let over = matches!(self.stage, Stage::Closing | Stage::Failed(_) | Stage::Ended);
        if !over || self.wire.received.len() < HANDSHAKE_NOISE_MAX {
            self.wire.received.extend_from_slice(bytes);
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        let silent = self.active.is_some_and(|active| active + self.patience() <= now.instant);
        match self.stage {
            Stage::Opening if silent => self.fail(Violation::NoStart(F::LETTER)),
            Stage::Running if silent => self.fail(Violation::Silence(self.patience())),
            _ => {}
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.begin();
        if self.active.is_none() {
            self.active = Some(now.instant);
            if self.start.caller && !self.start.facts.end_to_end && !F::QUIET_START.is_zero() {
                self.quiet_until = Some(now.instant + F::QUIET_START);
            }
        }
        let before = out.len();
        self.quiet_until = self.quiet_until.filter(|until| *until > now.instant);
        while out.len() - before < TRANSMIT_MAX && self.quiet_until.is_none() {
            let Some(mut piece) = self.wire.pending.pop_front() else { break };
            let given = piece.bytes.len().min(TRANSMIT_MAX - (out.len() - before));
            out.extend(piece.bytes.drain(..given));
            if !piece.bytes.is_empty() {
                self.wire.pending.push_front(piece);
            } else if piece.alone {
                self.quiet_until = Some(now.instant + self.start.facts.line_time(out.len() - before) + PAUSE);
            }
        }
        let given = out.len() - before;
        if given > 0 {
            let from = self.active.map_or(now.instant, |active| active.max(now.instant));
            self.active = Some(from + self.start.facts.line_time(given));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let waiting = matches!(self.stage, Stage::Opening | Stage::Running);
        let silence = self.active.filter(|_| waiting).map(|active| active + self.patience());
        let quiet = self.quiet_until.filter(|_| !self.wire.pending.is_empty());
        [silence, quiet].into_iter().flatten().min()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.begin();
        match &self.stage {
            Stage::Ready => {
                self.stage = Stage::Running;
                Some(Event::Started)
            }
            Stage::Opening | Stage::Running => self.next_received(),
            Stage::Closing if self.wire.pending.is_empty() => {
                self.stage = Stage::Ended;
                Some(Event::Closed)
            }
            Stage::Failed(why) => {
                let why = why.clone();
                self.stage = Stage::Ended;
                Some(Event::Failed(why))
            }
            Stage::Closing | Stage::Ended => None,
        }
    }

    fn room(&self, _channel: Channel) -> usize {
        match self.stage {
            Stage::Running => SEND_AHEAD_MAX.saturating_sub(self.wire.unsent()),
            Stage::Opening | Stage::Ready | Stage::Closing | Stage::Failed(_) | Stage::Ended => 0,
        }
    }

    fn waiting(&self) -> usize {
        self.wire.unsent()
    }

    fn send_command(&mut self, _channel: Channel, command: &[u8]) {
        self.framing.command(&mut self.wire, command);
    }

    fn send_data(&mut self, _channel: Channel, _offset: u64, data: &[u8]) {
        if let Err(why) = self.framing.data(&mut self.wire, data) {
            self.fail(why);
        }
    }

    fn begin_file(&mut self, _channel: Channel, way: Way) {
        self.framing.begin_file(&mut self.wire, way);
    }

    fn shut_down(&mut self, _now: Now) {
        if self.stage == Stage::Running {
            self.stage = Stage::Closing;
        }
    }

    fn restarts(&self) -> bool {
        F::RESTARTS
    }

    fn unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire.received)
    }

    fn counters(&self) -> Counters {
        self.wire.counters
    }
}
