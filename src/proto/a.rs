//! Protocol a: messages in the manner of Zmodem, sent on until something is missing, then again from there.

mod frame;
mod intake;

use std::collections::VecDeque;
use std::time::Duration;

use self::frame::{ACK, ALIGNMENT, DATA, End, FINISH, INIT, INIT_END, NAK, POSITION, next_start};
use self::intake::{Intake, Over, Part};
use super::window::{Pace, push_control};
use super::{Channel, Counters, Event, Protocol, Start, Violation, Way};
use crate::base::limits::{A_DATA_MAX, TRANSMIT_MAX};
use crate::base::time::{Instant, Now};

/// The version, in the fourth byte of what INIT says.
const VERSION: u32 = 1 << 24;
/// In what INIT says: all control characters are to be escaped.
const ESCAPE_CONTROLS: u32 = 1 << 8;
/// Bytes under way that are not acknowledged (Taylor's window, less what it keeps in hand).
const WINDOW: usize = 16_384 - 2048;
/// After so many bytes an acknowledgement is asked for.
const ASK_EVERY: u32 = 4096;
/// The smallest piece on a noisy line, and pieces in a row that went well before they grow again.
const PIECE_MIN: usize = 128;
const PIECES_GOOD: u32 = 16;
/// Between an acknowledgement and what we say next to a peer that is not ours: Taylor loses ten seconds when it reads both at once.
const PAUSE: Duration = Duration::from_millis(50);
/// After the peer's NAK: a little longer than Taylor waits before it says where to go on.
const NAK_WAIT: Duration = Duration::from_secs(11);
/// How many bytes of a file go first to a peer that is not ours. The others wait until these are acknowledged: Taylor forgives
/// a few errors only.
const FIRST_PIECE: usize = 64;
/// How long the peer's FINISH is waited for: Taylor ends badly when the line goes before it has said its own.
const FINISH_WAIT: Duration = Duration::from_secs(2);
const FINISHES_MAX: u32 = 3;
/// How often we begin before giving up, and answer a peer that still begins.
const STARTS_MAX: u32 = 16;
const START_ANSWERS_MAX: u32 = 8;

pub struct A {
    start: Start,
    stage: Stage,
    pace: Pace,
    counters: Counters,
    /// Headers to be sent, and from the start the first message.
    control: VecDeque<Control>,
    /// The peer wants control characters escaped.
    escape_controls: bool,
    starts: u32,
    answers: u32,

    messages: VecDeque<Message>,
    /// Where the first byte of the first message stands that is not acknowledged, and what has been sent.
    base: u32,
    sent: u32,
    /// How far the first message has ever been sent, and whether to its end: an acknowledgement may come when it goes again.
    furthest: u32,
    ended: bool,
    /// Where the message before it ended.
    last_end: Option<u32>,
    /// How far acknowledgements have been asked for.
    asked_to: u32,
    /// What goes next belongs to a frame that has begun.
    frame_out: bool,
    end_sent: bool,
    piece: usize,
    pieces_good: u32,
    /// When the first byte was last sent again, and whether that was of this message: then nobody knows which copy an
    /// acknowledgement answers.
    rewound: Instant,
    again: bool,
    quiet_until: Instant,
    /// The line has enough until then.
    busy_until: Option<Instant>,

    intake: Intake,
    peer_closed: bool,
    /// Our FINISH is out, and the peer's is waited for until then.
    finish_until: Option<Instant>,
    finishes: u32,
    /// We have asked for a repetition: when, and how often in a row.
    repair: Option<(Instant, u32)>,

    /// When something last went well in either direction, or began to be waited for.
    progress: Instant,
    /// When the last data left, or something was heard of them.
    asked: Instant,
    heard: Instant,
    fruitless: u32,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    New,
    /// The last step of the start that we have taken.
    Opening(Step),
    /// The session has not been told.
    Ready,
    Running,
    Closing,
    Closed,
    Failed(Violation),
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Init,
    Data,
    Ack,
    End,
}

enum Control {
    Header(u8, u32),
    FirstMessage,
    /// The end alone of a file that ends there.
    End(u32),
}

struct Message {
    bytes: VecDeque<u8>,
    whole: bool,
    file: bool,
    /// The peer has acknowledged its first bytes.
    begun: bool,
}

impl A {
    pub fn new(start: Start) -> Self {
        let piece = usize::from(start.parameters.packet_size).clamp(PIECE_MIN, A_DATA_MAX);
        Self {
            stage: Stage::New,
            pace: Pace::new(start.facts.clone()),
            counters: Counters::default(),
            control: VecDeque::new(),
            escape_controls: false,
            starts: 0,
            answers: 0,
            messages: VecDeque::new(),
            base: ALIGNMENT,
            sent: ALIGNMENT,
            furthest: ALIGNMENT,
            ended: false,
            last_end: None,
            asked_to: ALIGNMENT,
            frame_out: false,
            end_sent: false,
            piece,
            pieces_good: 0,
            rewound: Instant::default(),
            again: false,
            quiet_until: Instant::default(),
            busy_until: None,
            intake: Intake::default(),
            peer_closed: false,
            finish_until: None,
            finishes: 0,
            repair: None,
            progress: Instant::default(),
            asked: Instant::default(),
            heard: Instant::default(),
            fruitless: 0,
            start,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Ready | Stage::Running | Stage::Closing)
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closed | Stage::Failed(_) | Stage::Ended)
    }

    fn fail(&mut self, why: Violation) {
        if !self.is_over() {
            self.stage = Stage::Failed(why);
        }
    }

    fn control(&mut self, control: Control) {
        push_control(&mut self.control, control);
    }

    fn open(&mut self, now: Now) {
        if self.stage == Stage::New {
            self.asked = now.instant;
            self.enter(Step::Init);
        }
    }

    fn enter(&mut self, step: Step) {
        self.stage = Stage::Opening(step);
        self.say(step);
    }

    fn say(&mut self, step: Step) {
        self.control(match step {
            Step::Init => Control::Header(INIT, VERSION),
            Step::Data => Control::FirstMessage,
            Step::Ack => Control::Header(ACK, 0),
            Step::End => Control::Header(INIT_END, 0),
        });
    }

    /// The peer has taken this step of the start.
    fn handle_step(&mut self, now: Now, theirs: Step) {
        let Stage::Opening(ours) = self.stage else {
            // It runs behind: our last steps were lost.
            self.answers += 1;
            if self.answers <= START_ANSWERS_MAX {
                self.say(Step::Ack);
                self.say(Step::End);
            }
            return;
        };
        self.asked = self.asked.max(now.instant);
        match theirs {
            Step::Init if ours == Step::Init => self.enter(Step::Data),
            // Without its INIT we do not know what it wants.
            _ if ours == Step::Init => {}
            _ if theirs < ours => {
                self.answers += 1;
                if self.answers <= START_ANSWERS_MAX {
                    self.say(theirs);
                    self.say(ours);
                }
            }
            Step::Init => {}
            Step::Data => self.enter(Step::Ack),
            Step::Ack | Step::End => {
                if ours < Step::Ack {
                    self.say(Step::Ack);
                }
                if ours < Step::End {
                    self.enter(Step::End);
                }
                if theirs == Step::End {
                    self.begin(now);
                }
            }
        }
    }

    fn begin(&mut self, now: Now) {
        self.stage = Stage::Ready;
        self.progress = self.progress.max(now.instant);
        self.heard = self.heard.max(now.instant);
    }

    fn unacknowledged(&self) -> usize {
        self.sent.wrapping_sub(self.base) as usize
    }

    fn awaits_answer(&self) -> bool {
        self.end_sent || self.unacknowledged() > 0
    }

    /// The peer has all up to here, if that can be.
    fn acknowledge(&mut self, now: Now, position: u32) -> bool {
        let count = position.wrapping_sub(self.base) as usize;
        if count > self.furthest.wrapping_sub(self.base) as usize {
            return false;
        }
        if count > self.unacknowledged() {
            (self.sent, self.asked_to, self.frame_out) = (position, position, false);
        }
        if let Some(message) = self.messages.front_mut() {
            message.bytes.drain(..count);
            message.begun |= count > 0;
        }
        self.base = position;
        if count > 0 {
            self.fruitless = 0;
            self.progress = self.progress.max(now.instant);
            self.asked = self.asked.max(now.instant);
        }
        true
    }

    fn handle_ack(&mut self, now: Now, position: u32) {
        let asked = self.asked;
        if !self.acknowledge(now, position) {
            return;
        }
        if !self.again && position == self.sent && now.instant >= asked {
            self.pace.learn(asked, now.instant);
        }
        if self.ended && self.base == self.furthest {
            self.messages.pop_front();
            self.last_end = Some(self.furthest);
            let start = next_start(self.furthest);
            (self.base, self.sent, self.asked_to, self.furthest) = (start, start, start, start);
            (self.end_sent, self.ended, self.frame_out, self.again, self.fruitless) = (false, false, false, false, 0);
            self.progress = self.progress.max(now.instant);
        }
    }

    fn handle_position(&mut self, now: Now, position: u32) {
        self.counters.rejects += 1;
        if self.last_end == Some(position) {
            // It has all of the message before this one but its end, which says no more: what we took for the answer to
            // it was an earlier one again.
            self.control(Control::End(position));
            return;
        }
        if !self.acknowledge(now, position) || self.messages.is_empty() {
            return;
        }
        // Several may be under way for one loss: those sent before the repetition could arrive are not about it.
        if now.instant < self.rewound + self.pace.usual() * 3 / 4 {
            return;
        }
        self.piece = (self.piece / 2).max(PIECE_MIN);
        self.pieces_good = 0;
        self.quiet_until = now.instant;
        self.asked = now.instant;
        self.rewind(now);
    }

    /// It could not read what we sent last. Taylor says so when it takes an acknowledgement and data at once; it reads
    /// nothing more for ten seconds, counts each try as an error, and then says where we are to go on.
    fn handle_nak(&mut self, now: Now) {
        self.counters.rejects += 1;
        self.control(Control::Header(ACK, self.intake.taken()));
        if self.awaits_answer() {
            self.quiet_until = self.quiet_until.max(now.instant + NAK_WAIT);
            self.asked = self.asked.max(self.quiet_until);
        }
    }

    /// Everything from the first byte that is not acknowledged goes again.
    fn rewind(&mut self, now: Now) {
        if self.awaits_answer() {
            self.counters.resent += 1;
        }
        (self.sent, self.asked_to) = (self.base, self.base);
        (self.end_sent, self.frame_out) = (false, false);
        self.rewound = now.instant;
        self.again = true;
        self.asked = self.asked.max(now.instant);
    }

    /// Writes data as far as the window and the budget allow.
    fn transmit_data(&mut self, now: Now, out: &mut Vec<u8>, budget: usize) {
        let before = out.len();
        let reached = (self.furthest, self.ended);
        self.busy_until = None;
        while out.len() - before < budget && now.instant >= self.quiet_until && !self.end_sent {
            self.busy_until =
                self.pace.busy_until(now.instant, out.len() - before).filter(|_| self.counters.rejects > 0);
            if self.busy_until.is_some() {
                break;
            }
            let Some(message) = self.messages.front() else { break };
            let done = self.unacknowledged();
            let rest = message.bytes.len() - done;
            let first = message.file && !message.begun && !self.start.facts.peer_is_ours;
            if first && done > 0 {
                break;
            }
            let piece = if first { FIRST_PIECE } else { self.piece };
            let count = rest.min(piece).min(WINDOW.saturating_sub(done));
            let last = message.whole && count == rest;
            // More is to come, and goes with it.
            if count < piece && !last {
                break;
            }
            let bytes: Vec<u8> = message.bytes.iter().skip(done).take(count).copied().collect();
            // A file ends with an empty piece, as Taylor has it.
            let end_of_message = last && (!message.file || rest == 0);
            if !self.frame_out {
                frame::write_binary(DATA, self.sent, self.escape_controls, out);
                self.frame_out = true;
            }
            self.sent = self.sent.wrapping_add(count as u32);
            let end = match end_of_message {
                true => End::Message,
                false if first || self.sent.wrapping_sub(self.asked_to) >= ASK_EVERY => End::MoreAck,
                false => End::More,
            };
            if end == End::MoreAck {
                self.asked_to = self.sent;
            }
            frame::write_data(&bytes, end, self.escape_controls, out);
            self.end_sent = end_of_message;
            self.ended |= end_of_message;
            if self.sent.wrapping_sub(self.base) > self.furthest.wrapping_sub(self.base) {
                self.furthest = self.sent;
            }
            self.frame_out = !end_of_message;
            self.counters.sent += 1;
            self.pieces_good += 1;
            if self.pieces_good >= PIECES_GOOD {
                self.pieces_good = 0;
                let most = usize::from(self.start.parameters.packet_size).clamp(PIECE_MIN, A_DATA_MAX);
                self.piece = (self.piece * 2).min(most);
            }
        }
        if out.len() > before {
            let idle = self.asked < now.instant && self.pace.clear_at() <= now.instant;
            let left = self.pace.sent(now.instant, out.len() - before);
            self.asked = self.asked.max(left);
            // What goes again is no progress.
            if idle && reached != (self.furthest, self.ended) {
                self.progress = self.progress.max(left);
            }
        }
    }

    fn read(&mut self, now: Now) {
        while !self.is_over() && !self.peer_closed {
            match self.intake.next_part() {
                None => return,
                Some(Part::Header(kind, value)) => {
                    self.heard = self.heard.max(now.instant);
                    self.handle_header(now, kind, value);
                }
                Some(Part::Data(bytes, end)) => self.handle_data(now, bytes, end),
                Some(Part::Damaged) => {
                    self.counters.bad_data += 1;
                    self.ask_again(now, 0);
                }
            }
        }
    }

    fn handle_header(&mut self, now: Now, kind: u8, value: u32) {
        match kind {
            INIT => {
                self.escape_controls |= value & ESCAPE_CONTROLS != 0;
                self.handle_step(now, Step::Init);
            }
            INIT_END => self.handle_step(now, Step::End),
            ACK if value == 0 && !self.is_running() => self.handle_step(now, Step::Ack),
            ACK => self.handle_ack(now, value),
            DATA => self.handle_frame(now, value),
            POSITION => self.handle_position(now, value),
            NAK => self.handle_nak(now),
            FINISH => {
                self.peer_closed = true;
                self.intake.close();
            }
            _ => {}
        }
    }

    /// Data begin that belong there.
    fn handle_frame(&mut self, now: Now, position: u32) {
        if position == 0 && self.intake.taken() == 0 {
            self.intake.begin_trial();
            return;
        }
        if self.stage == Stage::Opening(Step::End) {
            self.begin(now);
        }
        if !self.is_running() {
            return;
        }
        if self.intake.begin_frame(position) {
            if let Some((asked, 1)) = self.repair.take() {
                self.pace.learn(asked, now.instant);
            }
            return;
        }
        self.counters.bad_order += 1;
        if self.intake.in_message() {
            self.ask_again(now, 0);
        } else {
            // It missed our acknowledgement.
            self.control(Control::Header(ACK, self.intake.taken()));
        }
    }

    fn handle_data(&mut self, now: Now, bytes: Vec<u8>, end: End) {
        self.heard = self.heard.max(now.instant);
        if !self.intake.in_message() {
            // The first message, with which both only try the way.
            self.intake.end_frame();
            self.handle_step(now, Step::Data);
            return;
        }
        self.counters.received += 1;
        self.progress = self.progress.max(now.instant);
        self.fruitless = 0;
        self.intake.take(bytes, end);
        if matches!(end, End::MoreAck | End::FrameAck | End::Message) {
            self.control(Control::Header(ACK, self.intake.taken()));
        }
    }

    fn ask_again(&mut self, now: Now, times: u32) {
        if !self.is_running() {
            return;
        }
        self.control(Control::Header(POSITION, self.intake.expected()));
        self.repair = Some((now.instant, times + 1));
    }

    fn next_received(&mut self) -> Option<Event> {
        match self.intake.next()? {
            Ok(event) => Some(event),
            Err(Over::Closed) => {
                if self.stage == Stage::Running {
                    self.fail(Violation::ClosedByPeer);
                }
                None
            }
            Err(Over::Violated(why)) => {
                self.fail(why);
                None
            }
        }
    }

    fn longer(&self, times: u32) -> Duration {
        let patience = self.pace.patience();
        (patience * (1 << times.min(6))).min(self.start.parameters.timeout.max(patience))
    }

    /// How long a piece of data of the peer may take on its line.
    fn lag(&self) -> Duration {
        self.pace.line_time(A_DATA_MAX * 5 / 4)
    }

    /// When to do something about silence.
    fn wake_at(&self) -> Instant {
        let lag = self.lag();
        let idle = self.asked.max(self.heard) + self.start.parameters.timeout + lag;
        let answer = self.awaits_answer().then(|| self.asked + self.longer(self.fruitless) + lag);
        let repair = self.repair.map(|(asked, times)| asked + self.longer(times) + lag);
        [answer, repair].into_iter().flatten().fold(idle, Instant::min)
    }

    fn total_patience(&self) -> Duration {
        self.start.parameters.timeout * self.start.parameters.retries.max(1)
    }

    fn gives_up_at(&self) -> Instant {
        self.progress + self.total_patience() + self.pace.line_time(self.unacknowledged() + A_DATA_MAX)
    }

    /// Says FINISH, and again with the last message when nothing comes of it: noise may have taken both.
    fn finish(&mut self, now: Now, out: &mut Vec<u8>) {
        let is_over = self.finish_until.is_some_and(|until| until <= now.instant);
        if self.peer_closed && self.finishes > 0 || is_over && self.finishes >= FINISHES_MAX {
            self.stage = Stage::Closed;
        } else if self.finish_until.is_none() || is_over {
            if is_over && self.awaits_answer() {
                self.rewind(now);
                self.transmit_data(now, out, TRANSMIT_MAX);
            }
            let before = out.len();
            frame::write_hex(FINISH, 0, out);
            let left = self.pace.sent(now.instant, out.len() - before);
            self.finishes += 1;
            self.finish_until = Some(left + FINISH_WAIT + self.pace.usual() * 2);
        }
    }

    fn nudge(&mut self, now: Now) {
        let lag = self.lag();
        if self.awaits_answer() && self.asked + self.longer(self.fruitless) + lag <= now.instant {
            self.fruitless += 1;
            self.rewind(now);
        } else if let Some((asked, times)) = self.repair
            && asked + self.longer(times) + lag <= now.instant
        {
            self.intake.end_frame();
            self.ask_again(now, times);
        } else if !self.awaits_answer() {
            self.intake.end_frame();
            self.asked = now.instant;
            self.ask_again(now, 1);
            self.repair = None;
        } else {
            self.asked = now.instant;
        }
    }
}

impl Protocol for A {
    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.open(now);
        self.intake.push(bytes);
        self.read(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.poll_timeout().is_none_or(|at| at > now.instant) {
            return;
        }
        match self.stage {
            Stage::Opening(step) => {
                self.starts += 1;
                self.asked = now.instant;
                if self.starts > STARTS_MAX {
                    self.fail(Violation::NoStart('a'));
                } else {
                    self.intake.end_frame();
                    self.say(step);
                }
            }
            Stage::Ready | Stage::Running | Stage::Closing if self.gives_up_at() <= now.instant => {
                self.fail(Violation::Silence(self.total_patience()));
            }
            Stage::Ready | Stage::Running | Stage::Closing if self.wake_at() <= now.instant => self.nudge(now),
            _ => {}
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.open(now);
        let before = out.len();
        while let Some(control) = self.control.pop_front() {
            if std::mem::take(&mut self.frame_out) {
                frame::write_data(&[], End::Frame, self.escape_controls, out);
            }
            match control {
                Control::Header(kind, value) => frame::write_hex(kind, value, out),
                Control::FirstMessage => {
                    frame::write_binary(DATA, 0, self.escape_controls, out);
                    frame::write_data(&[0], End::Message, self.escape_controls, out);
                }
                Control::End(position) => {
                    frame::write_binary(DATA, position, self.escape_controls, out);
                    frame::write_data(&[], End::Message, self.escape_controls, out);
                }
            }
            if matches!(control, Control::Header(ACK | INIT_END, _)) {
                let pause = if self.start.facts.peer_is_ours { Duration::ZERO } else { PAUSE };
                self.quiet_until = self.pace.clear_at().max(now.instant) + pause;
            }
        }
        if out.len() > before {
            let left = self.pace.sent(now.instant, out.len() - before);
            self.quiet_until = self.quiet_until.max(Instant::default());
            if matches!(self.stage, Stage::Opening(_)) {
                self.asked = self.asked.max(left);
            }
        }
        if self.is_running() {
            // About a quarter of a second of line time: what is given can't be overtaken by a question.
            let budget = self.start.facts.speed.map_or(TRANSMIT_MAX, |bps| (bps as usize / 40).clamp(1, TRANSMIT_MAX));
            self.transmit_data(now, out, budget.saturating_sub(out.len() - before));
        }
        let all_said = self.messages.is_empty() || self.messages.len() == 1 && self.end_sent;
        if self.stage == Stage::Closing && (all_said || self.peer_closed) {
            self.finish(now, out);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::New | Stage::Closed | Stage::Failed(_) | Stage::Ended => None,
            Stage::Opening(_) => Some(self.asked + self.start.parameters.timeout / 2),
            Stage::Ready | Stage::Running | Stage::Closing => {
                let least = self.wake_at().min(self.gives_up_at());
                let waits = !self.messages.is_empty() && !self.awaits_answer() && !self.frame_out;
                let quiet = waits.then(|| self.quiet_until.max(self.pace.clear_at()));
                [quiet, self.busy_until, self.finish_until].into_iter().flatten().chain([least]).min()
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        if self.stage == Stage::Ready {
            self.stage = Stage::Running;
            return Some(Event::Started);
        }
        if let Some(event) = self.next_received() {
            return Some(event);
        }
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Closed => Some(Event::Closed),
            Stage::Failed(why) => Some(Event::Failed(why)),
            other => {
                self.stage = other;
                None
            }
        }
    }

    fn room(&self, _channel: Channel) -> usize {
        let held: usize = self.messages.iter().map(|message| message.bytes.len()).sum();
        if self.stage == Stage::Running { (WINDOW + A_DATA_MAX).saturating_sub(held) } else { 0 }
    }

    fn waiting(&self) -> usize {
        self.messages.iter().filter(|message| !message.file).map(|message| message.bytes.len()).sum()
    }

    fn send_command(&mut self, _channel: Channel, command: &[u8]) {
        let bytes = command.iter().copied().chain([0]).collect();
        self.messages.push_back(Message { bytes, whole: true, file: false, begun: false });
    }

    fn send_data(&mut self, _channel: Channel, _offset: u64, data: &[u8]) {
        if self.messages.back().is_none_or(|message| message.whole) {
            self.messages.push_back(Message { bytes: VecDeque::new(), whole: false, file: true, begun: false });
        }
        if let Some(message) = self.messages.back_mut() {
            message.bytes.extend(data);
            message.whole = data.is_empty();
        }
    }

    fn begin_file(&mut self, _channel: Channel, way: Way) {
        if way == Way::In {
            self.intake.begin_file();
        }
    }

    fn shut_down(&mut self, _now: Now) {
        if self.stage == Stage::Running {
            self.stage = Stage::Closing;
        }
    }

    fn unread(&mut self) -> Vec<u8> {
        self.intake.unread()
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
