//! Protocol g: packets with a sum, a window of up to seven, repeated from the damaged one on. And G and v, which are g with
//! other rules for the size of a packet.

mod opening;
mod outbox;

use std::collections::VecDeque;
use std::time::Duration;

use self::opening::{Heard, Opening};
use self::outbox::{Outbox, Payload, Sizes};
use super::scan::{Scanned, Scanner};
use super::window::{Pace, Tally, push_control};
use super::{Channel, Counters, Event, Packets, Protocol, Start, Violation, Way};
use crate::base::limits::{TRANSMIT_MAX, UUCP_COMMAND_MAX};
use crate::base::time::{Instant, Now};
use crate::wire::packet::{Control, G_FIELD_MAX, G_MARK, GPacket, HEADER, parse_g, write_g_control, write_g_data};

/// g has one conversation.
const CHANNEL: Channel = Channel::Ours(1);
/// Beyond the line's own time, how long a peer on a half-duplex line is silent when it has no more to say for now.
const TURN_WAIT: Duration = Duration::from_millis(400);
/// Under way to a peer at once, whatever it announced: Taylor 1.07 reads into 16 KiB, and what does not fit damages the
/// file without a word (four packets of 4,096, also between two Taylors).
pub(super) const UNDER_WAY_MAX: usize = 16 * 1024 - 1;
/// An INITC that comes while we run says that ours was lost. Answered this often: two that both run would go on for ever.
const INIT_ANSWERS_MAX: u32 = 4;

/// Which of the three it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Packets smaller than announced go to those who announced more than 64 bytes, where that is allowed.
    Small,
    /// `G`: every packet has the size that was announced.
    Large,
    /// `v`: packets have any size up to that.
    Varying,
}

impl Variant {
    fn letter(self) -> char {
        match self {
            Self::Small => 'g',
            Self::Large => 'G',
            Self::Varying => 'v',
        }
    }

    fn sizes(self, short_packets: bool) -> Sizes {
        match self {
            Self::Small if short_packets => Sizes::MixedAbove64,
            Self::Small | Self::Large => Sizes::AsAnnounced,
            Self::Varying => Sizes::Mixed,
        }
    }
}

pub struct G {
    variant: Variant,
    start: Start,
    stage: Stage,
    opening: Opening,
    scanner: Scanner<GPacket>,
    pace: Pace,
    tally: Tally,
    outbox: Outbox,
    control: VecDeque<Control>,

    /// Sent and not yet acknowledged, oldest first.
    outstanding: VecDeque<Sent>,
    /// Number of the next new packet.
    next: u8,
    /// A time-out sent the oldest packet again; once it is acknowledged the packets up to this number follow, for
    /// most receivers have thrown them away.
    repairing_to: Option<u8>,
    /// Time-outs since the last acknowledgement.
    fruitless: u32,

    /// Number of the next packet that we take.
    expected: u8,
    /// Packets taken that no packet of ours has acknowledged.
    owed: u8,
    hole: Hole,
    inbox: VecDeque<Received>,
    /// What the peer sends from here on is the session's.
    peer_closed: bool,
    /// Our CLOSE goes no earlier, but in answer to theirs.
    close_at: Instant,
    receiving: Receiving,

    /// When something last went well in either direction, or began to be waited for.
    progress: Instant,
    /// When the last data packet left, or its acknowledgement came.
    asked: Instant,
    /// When anything last came that looked like a packet.
    heard: Instant,
    /// The line has enough until then.
    busy_until: Option<Instant>,
    /// Something came since the last good packet that was none: one may have been lost.
    doubtful: bool,
}

#[derive(PartialEq)]
enum Stage {
    /// Nothing has been sent or heard.
    New,
    Opening,
    /// Both sides are ready, and the session has not been told.
    Ready,
    Running,
    Closing,
    /// Our CLOSE is out, and the session has not been told.
    Closed,
    Failed(Violation),
    Ended,
}

struct Sent {
    number: u8,
    payload: Payload,
    /// To be sent again.
    due: bool,
    times: u32,
    left: Instant,
}

/// What is known about packets that do not follow the last one taken.
#[derive(Clone, Copy, PartialEq)]
enum Hole {
    None,
    /// We have asked for the missing one; since then the peer has sent packets up to this distance beyond it. When
    /// they start over, the one asked for was lost again.
    Asked(u8),
}

/// What has come in order and waits for the session to say what it is.
enum Received {
    Bytes(Vec<u8>),
    Close,
}

enum Receiving {
    Command(Vec<u8>),
    File { offset: u64 },
}

impl G {
    pub fn new(start: Start, variant: Variant) -> Self {
        let opening = Opening::new(&start.parameters);
        Self {
            variant,
            stage: Stage::New,
            scanner: Scanner::new(parse_g, G_MARK, opening.our_field(), G_FIELD_MAX),
            opening,
            pace: Pace::new(start.facts.clone()),
            tally: Tally::new(start.parameters.errors),
            outbox: Outbox::new(variant.sizes(start.parameters.short_packets)),
            control: VecDeque::new(),
            outstanding: VecDeque::new(),
            next: 1,
            repairing_to: None,
            fruitless: 0,
            expected: 1,
            owed: 0,
            hole: Hole::None,
            inbox: VecDeque::new(),
            peer_closed: false,
            close_at: Instant::default(),
            receiving: Receiving::Command(Vec::new()),
            progress: Instant::default(),
            asked: Instant::default(),
            heard: Instant::default(),
            busy_until: None,
            doubtful: false,
            start,
        }
    }

    /// How many packets may be under way to the peer.
    fn window(&self) -> usize {
        self.opening.peer_window().min(UNDER_WAY_MAX / (HEADER + self.opening.peer_field()))
    }

    fn last_taken(&self) -> u8 {
        self.expected.wrapping_sub(1) & 7
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

    fn count_error(&mut self) {
        if let Err(why) = self.tally.error() {
            self.fail(why);
        }
    }

    fn handle_packet(&mut self, now: Now, packet: GPacket) {
        let control = match packet {
            GPacket::Data { sequence, acknowledged, bytes } => {
                self.handle_data(now, sequence, acknowledged, bytes);
                return;
            }
            GPacket::Control(control) => control,
        };
        match control {
            Control::InitA(_) | Control::InitB(_) | Control::InitC(_) => self.handle_init(now, control),
            Control::Ready(number) => {
                self.peer_runs(now);
                self.acknowledge(now, self.acknowledged_by(number));
            }
            Control::Reject(number) => {
                self.peer_runs(now);
                self.handle_reject(now, number);
            }
            Control::RejectOne(number) => {
                self.tally.counters.rejects += 1;
                if let Some(sent) = self.outstanding.iter_mut().find(|sent| sent.number == number) {
                    sent.due = true;
                }
                self.count_error();
            }
            Control::Close => {
                self.peer_closed = true;
                self.inbox.push_back(Received::Close);
            }
        }
    }

    fn handle_init(&mut self, now: Now, control: Control) {
        if self.stage == Stage::Opening {
            match self.opening.handle(now.instant, control, &mut self.control) {
                Heard::Nothing => {}
                Heard::All { asked } => {
                    if let Some(left) = asked {
                        self.pace.learn(left, now.instant);
                    }
                    self.begin(now);
                }
                Heard::TooOften => self.fail(Violation::NoStart(self.variant.letter())),
            }
        } else if matches!(control, Control::InitC(_)) && self.opening.may_answer(INIT_ANSWERS_MAX) {
            self.control(Control::InitC(self.opening.our_window()));
        }
    }

    /// The peer sends what only a running peer sends: if its last INITC was lost, we run nevertheless.
    fn peer_runs(&mut self, now: Now) {
        if self.stage == Stage::Opening && self.opening.knows_peer() {
            self.begin(now);
        }
    }

    fn open(&mut self) {
        if self.stage == Stage::New {
            self.stage = Stage::Opening;
            self.opening.begin(&mut self.control);
        }
    }

    fn begin(&mut self, now: Now) {
        self.stage = Stage::Ready;
        // What we ask for suits the line, and v may send less than it is asked for: Taylor asks for 1024 on any line.
        self.outbox.set_field(match self.variant {
            Variant::Varying => self.opening.peer_field().min(self.opening.our_field()),
            Variant::Small | Variant::Large => self.opening.peer_field(),
        });
        self.progress = self.progress.max(now.instant);
    }

    fn handle_data(&mut self, now: Now, sequence: u8, acknowledged: u8, bytes: Vec<u8>) {
        self.peer_runs(now);
        if !self.is_running() {
            return;
        }
        if sequence != self.expected {
            self.tally.counters.bad_order += 1;
            self.out_of_order(sequence);
            return;
        }
        self.tally.counters.received += 1;
        self.tally.good();
        self.acknowledge(now, self.acknowledged_by(acknowledged));
        self.expected = (self.expected + 1) & 7;
        self.owed = self.owed.saturating_add(1);
        self.hole = Hole::None;
        self.doubtful = false;
        self.fruitless = 0;
        self.progress = self.progress.max(now.instant);
        self.inbox.push_back(Received::Bytes(bytes));
    }

    /// When an acknowledgement is to go by itself. Where one side sends at a time, the peer's window is let run full, for
    /// every acknowledgement turns the line round twice; or the peer has fallen silent.
    fn owes_at(&self) -> Option<Instant> {
        let at_once = self.start.facts.full_duplex || self.owed >= self.opening.our_window();
        let silence = self.pace.line_time(2 * self.opening.our_field()) + TURN_WAIT;
        (self.owed > 0).then(|| if at_once { Instant::default() } else { self.heard + silence })
    }

    /// Either a packet was lost before this one, or this one was sent again though we had it.
    fn out_of_order(&mut self, sequence: u8) {
        let distance = sequence.wrapping_sub(self.expected) & 7;
        let start_over = match self.hole {
            Hole::None => true,
            Hole::Asked(last) => distance <= last,
        };
        self.hole = Hole::Asked(distance);
        if !start_over {
            return;
        }
        // Numbers run modulo 8, so old and new can only be told apart by likelihood: far ahead means a little behind.
        // The peer missed our RR, and gets it again; an RJ would make it repeat the next as well.
        if distance > 4 {
            self.owed = 0;
            self.control(Control::Ready(self.last_taken()));
        } else {
            self.reject();
        }
    }

    /// Asks for the next packet. What had arrived before is acknowledged by itself: some peers read the number of an
    /// RJ as the packet that is wanted.
    fn reject(&mut self) {
        if std::mem::take(&mut self.owed) > 0 {
            self.control(Control::Ready(self.last_taken()));
        }
        self.control(Control::Reject(self.last_taken()));
        self.count_error();
    }

    fn handle_damaged(&mut self, header: &GPacket) {
        self.tally.counters.bad_data += 1;
        self.doubtful = true;
        match header {
            GPacket::Data { sequence, .. } if *sequence == self.expected => {
                self.hole = Hole::Asked(0);
                self.reject();
            }
            GPacket::Data { .. } | GPacket::Control(_) => {}
        }
    }

    /// How many packets this number acknowledges. Numbers outside the window in use are stale or false: none.
    fn acknowledged_by(&self, number: u8) -> usize {
        let Some(oldest) = self.outstanding.front() else { return 0 };
        let count = usize::from(number.wrapping_sub(oldest.number).wrapping_add(1) & 7);
        if count <= self.outstanding.len() { count } else { 0 }
    }

    fn acknowledge(&mut self, now: Now, count: usize) {
        let Some(newest) = self.outstanding.drain(..count).next_back() else { return };
        if newest.times == 1 {
            self.pace.learn(newest.left, now.instant);
        }
        (0..count).for_each(|_| self.tally.good());
        self.fruitless = 0;
        self.progress = self.progress.max(now.instant);
        self.asked = self.asked.max(now.instant);
        self.go_on_repairing();
    }

    /// After a time-out: the receiver has the packet that it missed, and lacks those after it.
    fn go_on_repairing(&mut self) {
        let Some(last) = self.repairing_to.take() else { return };
        let Some(place) = self.outstanding.iter().position(|sent| sent.number == last) else { return };
        self.outstanding.iter_mut().take(place + 1).for_each(|sent| sent.due = true);
    }

    /// The peer misses a packet, and has thrown away those after it. Which one it is, is not taken from the RJ: XP names
    /// the packet that it wants, all others the one before; it is the oldest that no RR has acknowledged.
    fn handle_reject(&mut self, now: Now, number: u8) {
        self.tally.counters.rejects += 1;
        // Either reading of the number acknowledges what lies before it.
        self.acknowledge(now, self.acknowledged_by(number).saturating_sub(1));
        let Some(oldest) = self.outstanding.front() else { return };
        // Several RJ may be under way for one loss: those sent before the repetition could arrive are not about it.
        let just_repeated = oldest.due
            || oldest.times > 1 && now.instant < oldest.left + self.pace.quickest().unwrap_or_default() * 3 / 4;
        if just_repeated {
            return;
        }
        self.outstanding.iter_mut().for_each(|sent| sent.due = true);
        self.repairing_to = None;
        self.asked = self.asked.max(now.instant);
        self.count_error();
    }

    fn next_received(&mut self) -> Option<Event> {
        loop {
            let bytes = match self.inbox.pop_front()? {
                Received::Bytes(bytes) => bytes,
                Received::Close => {
                    if self.stage == Stage::Running {
                        self.control(Control::Close);
                        self.fail(Violation::ClosedByPeer);
                    }
                    return None;
                }
            };
            match &mut self.receiving {
                Receiving::File { .. } if bytes.is_empty() => {
                    self.receiving = Receiving::Command(Vec::new());
                    return Some(Event::EndOfFile { channel: CHANNEL });
                }
                Receiving::File { offset } => {
                    let at = *offset;
                    *offset += bytes.len() as u64;
                    return Some(Event::Data { channel: CHANNEL, offset: at, bytes });
                }
                Receiving::Command(text) => {
                    let end = memchr::memchr(0, &bytes);
                    text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                    if text.len() > UUCP_COMMAND_MAX {
                        self.fail(Violation::Rule("a command is too long"));
                        return None;
                    }
                    // A packet of NULs alone fills up the command before it, in some programs.
                    if end.is_some() && !text.is_empty() {
                        return Some(Event::Command { channel: CHANNEL, text: std::mem::take(text) });
                    }
                }
            }
        }
    }

    /// Writes data packets as far as the window and the budget allow.
    fn transmit_data(&mut self, now: Now, out: &mut Vec<u8>, budget: usize) {
        let (start, acknowledged) = (out.len(), self.last_taken());
        let lossy = self.tally.counters.rejects + self.tally.counters.resent > 0;
        self.busy_until = None;
        for sent in self.outstanding.iter_mut().filter(|sent| sent.due) {
            self.busy_until = self.pace.busy_until(now.instant, 0).filter(|_| lossy);
            if out.len() - start >= budget || self.busy_until.is_some() {
                return;
            }
            write_g_data(sent.number, acknowledged, &sent.payload.bytes, sent.payload.field, out);
            sent.due = false;
            sent.times += 1;
            sent.left = self.pace.sent(now.instant, HEADER + sent.payload.field);
            self.asked = self.asked.max(sent.left);
            self.tally.counters.resent += 1;
        }
        while out.len() - start < budget && self.outstanding.len() < self.window() {
            self.busy_until = self.pace.busy_until(now.instant, 0).filter(|_| lossy && self.outbox.is_ready());
            if self.busy_until.is_some() {
                return;
            }
            let Some(payload) = self.outbox.next() else { return };
            write_g_data(self.next, acknowledged, &payload.bytes, payload.field, out);
            let left = self.pace.sent(now.instant, HEADER + payload.field);
            if self.outstanding.is_empty() {
                self.progress = self.progress.max(left);
            }
            self.asked = self.asked.max(left);
            self.outstanding.push_back(Sent { number: self.next, payload, due: false, times: 1, left });
            self.next = (self.next + 1) & 7;
            self.owed = 0;
            self.tally.counters.sent += 1;
        }
    }

    /// Whether a new data packet can go at once, and with it our acknowledgement. One that is repeated does not do:
    /// the peer ignores what it says if it has the packet already.
    fn new_packet_ready(&self) -> bool {
        self.outstanding.len() < self.window()
            && self.outbox.is_ready()
            && !self.outstanding.iter().any(|sent| sent.due)
    }

    /// About a quarter of a second of line time: what is given can't be overtaken by an acknowledgement.
    fn budget(&self) -> usize {
        self.start.facts.speed.map_or(TRANSMIT_MAX, |bps| (bps as usize / 40).clamp(1, TRANSMIT_MAX))
    }

    /// When to do something about silence.
    fn wake_at(&self) -> Instant {
        let timeout = self.start.parameters.timeout;
        let patience = self.pace.patience();
        let longer = (patience * (1 << self.fruitless.min(6))).min(timeout.max(patience));
        // The peer's line, or its driver, may be busy with a packet.
        let packet = self.pace.line_time(HEADER + self.opening.our_field());
        if !self.outstanding.is_empty() {
            return self.asked + longer + packet;
        }
        let wait = if self.doubtful { longer * 2 } else { timeout };
        self.asked.max(self.heard) + wait + packet
    }

    /// When the silence has lasted too long.
    fn gives_up_at(&self) -> Instant {
        let outstanding: usize = self.outstanding.iter().map(|sent| HEADER + sent.payload.field).sum();
        let line = self.pace.line_time(outstanding + HEADER + self.opening.our_field());
        // A peer that is heard is not gone: one packet may be damaged many times in a row.
        let alive = self.heard.min(self.progress + self.total_patience() * 4);
        self.progress.max(alive) + self.total_patience() + line
    }

    fn total_patience(&self) -> Duration {
        self.start.parameters.timeout * self.start.parameters.retries.max(1)
    }

    fn nudge(&mut self, now: Now) {
        self.scanner.give_up_partial();
        self.asked = now.instant;
        self.fruitless += 1;
        match self.outstanding.front_mut() {
            Some(oldest) => {
                oldest.due = true;
                self.repairing_to = self.outstanding.back().map(|sent| sent.number);
            }
            None => {
                if std::mem::take(&mut self.owed) > 0 {
                    self.control(Control::Ready(self.last_taken()));
                }
                self.control(Control::Reject(self.last_taken()));
            }
        }
    }
}

impl Protocol for G {
    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        // The peer may have begun before we were asked for our first packet.
        self.open();
        self.scanner.feed(bytes);
        while !self.is_over() && !self.peer_closed {
            let Some(scanned) = self.scanner.next() else { return };
            self.heard = self.heard.max(now.instant);
            match scanned {
                Scanned::Packet { packet, .. } => self.handle_packet(now, packet),
                Scanned::Damaged { packet, .. } => self.handle_damaged(&packet),
                Scanned::Noise => {
                    self.tally.counters.bad_header += 1;
                    self.doubtful = true;
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.poll_timeout().is_none_or(|at| at > now.instant) {
            return;
        }
        match self.stage {
            Stage::Opening => {
                if self.opening.start_again(now.instant, &mut self.control).is_err() {
                    self.fail(Violation::NoStart(self.variant.letter()));
                }
            }
            Stage::Ready | Stage::Running | Stage::Closing if self.gives_up_at() <= now.instant => {
                self.fail(Violation::Silence(self.total_patience()));
            }
            Stage::Ready | Stage::Running | Stage::Closing if self.wake_at() <= now.instant => self.nudge(now),
            // An acknowledgement is due: it goes when the line has room.
            Stage::Ready | Stage::Running | Stage::Closing => {}
            Stage::New | Stage::Closed | Stage::Failed(_) | Stage::Ended => {}
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.open();
        let start = out.len();
        let running = self.is_running();
        if running && self.owes_at().is_some_and(|at| at <= now.instant) && !self.new_packet_ready() {
            self.owed = 0;
            self.control(Control::Ready(self.last_taken()));
        }
        while let Some(control) = self.control.pop_front() {
            write_g_control(control, out);
            let left = self.pace.sent(now.instant, HEADER);
            self.opening.sent(control, left);
        }
        if running {
            self.transmit_data(now, out, self.budget().saturating_sub(out.len() - start));
        }
        let all_said = self.outbox.is_empty() && self.close_at <= now.instant;
        if self.stage == Stage::Closing && (all_said || self.peer_closed) {
            // Twice, as the peer does not answer it and it may be lost.
            write_g_control(Control::Close, out);
            write_g_control(Control::Close, out);
            self.stage = Stage::Closed;
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::New | Stage::Closed | Stage::Failed(_) | Stage::Ended => None,
            Stage::Opening => self.opening.timeout(),
            Stage::Ready | Stage::Running | Stage::Closing => {
                let owes_at = self.owes_at().filter(|_| !self.start.facts.full_duplex);
                let least = self.wake_at().min(self.gives_up_at());
                let closing = self.stage == Stage::Closing && self.outbox.is_empty();
                let least = if closing { least.min(self.close_at) } else { least };
                [owes_at, self.busy_until].into_iter().flatten().chain([least]).min()
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
        match self.stage {
            Stage::Running => self.outbox.room(),
            Stage::New
            | Stage::Opening
            | Stage::Ready
            | Stage::Closing
            | Stage::Closed
            | Stage::Failed(_)
            | Stage::Ended => 0,
        }
    }

    fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    fn send_command(&mut self, _channel: Channel, command: &[u8]) {
        self.outbox.command(command);
    }

    fn send_data(&mut self, _channel: Channel, _offset: u64, data: &[u8]) {
        self.outbox.data(data);
    }

    fn begin_file(&mut self, _channel: Channel, way: Way) {
        if way == Way::In {
            self.receiving = Receiving::File { offset: 0 };
        }
    }

    fn shut_down(&mut self, now: Now) {
        if self.stage == Stage::Running {
            self.stage = Stage::Closing;
            // Where we take one packet at a time Taylor waits to say HY a third time, and a CLOSE in that wait is a failure to it.
            if self.opening.our_window() == 1 {
                self.close_at = now.instant + self.pace.patience();
            }
        }
    }

    fn unread(&mut self) -> Vec<u8> {
        self.scanner.take_rest()
    }

    fn packets(&self) -> Option<Packets> {
        Some(Packets {
            sending: (self.opening.peer_field(), self.opening.peer_window().min(7) as u8),
            receiving: (self.opening.our_field(), self.opening.our_window()),
        })
    }

    fn counters(&self) -> Counters {
        self.tally.counters
    }

    fn round_trip(&self) -> Option<Duration> {
        self.pace.quickest()
    }
}

#[cfg(test)]
mod tests;
