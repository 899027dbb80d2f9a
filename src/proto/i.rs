//! Protocol i: a window of up to 16 packets with a real checksum, both directions at once, only what was lost repeated.

mod intake;
mod noise;
mod outbox;
mod outstanding;
mod sync;
mod torn;

use std::time::Duration;

use self::intake::{End, Intake, Placed};
use self::noise::{Noise, SIZE_MIN};
use self::outbox::{Outbox, Piece};
use self::outstanding::{Acknowledged, Again, Outstanding};
use self::sync::{Sync, Unheard};
use self::torn::Torn;
use super::scan::{Scanned, Scanner};
use super::window::{Pace, Tally};
use super::{Channel, Counters, Event, Packets, Protocol, Start, Violation, Way};
use crate::base::limits::TRANSMIT_MAX;
use crate::base::time::{Instant, Now};
use crate::wire::packet::{I_DATA_MAX, I_MARK, I_OVERHEAD, IKind, IPacket, parse_i, write_i};
use crate::wire::patch::patch;

/// Where acknowledgements cost nothing, they go after this time at latest.
const ACK_DELAY: Duration = Duration::from_millis(100);
/// Where one side talks at a time: it is silent when nothing has come for this time beyond that of some bytes.
const GAP: Duration = Duration::from_millis(80);
const GAP_BYTES: usize = 12;
/// Bytes that are no packets are taken for talk as long as this beyond the time of a packet; then they are noise.
const TALK_MAX: Duration = Duration::from_secs(5);
/// How often a peer that has fallen silent is asked at least, until we give up.
const QUERIES_MIN: u32 = 4;
/// How long it takes until a packet that goes again is acknowledged, in round trips of the quickest answer.
const REPAIR_ROUND_TRIPS: f64 = 1.5;

pub struct I {
    start: Start,
    stage: Stage,
    scanner: Scanner<IPacket>,
    pace: Pace,
    /// How long a packet takes to come that we asked for.
    repair: Pace,
    tally: Tally,
    sync: Sync,

    outbox: Outbox,
    outstanding: Outstanding,
    /// Number of the next new packet.
    next: u8,
    noise_out: Noise,
    /// Time-outs since the last acknowledgement.
    fruitless: u32,

    intake: Intake,
    torn: Torn,
    owed: Owed,
    noise_in: Noise,
    peer_closed: bool,
    /// Packets to ask for, as soon as the line has room, each once.
    requests: Vec<u8>,
    query: Query,

    /// When something last went well in either direction, or began to be waited for.
    progress: Instant,
    /// When the last numbered packet left, or an acknowledgement came.
    asked: Instant,
    /// When anything last came that was a packet.
    heard: Instant,
    /// When the line will have room for more, by its rate.
    room_at: Option<Instant>,
    /// On a half-duplex line: the peer talks, as far as we hear, until then.
    talks_until: Option<Instant>,
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

/// A NAK for a packet that does not exist yet: Taylor, and we, answer it with an ACK.
#[derive(Clone, Copy)]
enum Query {
    No,
    /// To be sent once what is due has gone.
    Wanted,
    /// When it will have left.
    Asked(Instant),
}

/// Packets taken since we last acknowledged any.
#[derive(Default)]
struct Owed {
    packets: u32,
    at_once: bool,
    at: Option<Instant>,
}

impl I {
    pub fn new(start: Start) -> Self {
        let sync = Sync::new(start.parameters.packet_size, start.parameters.window);
        Self {
            stage: Stage::New,
            scanner: Scanner::new(parse_i, I_MARK, sync.size, I_DATA_MAX),
            pace: Pace::new(start.facts.clone()),
            repair: Pace::new(start.facts.clone()),
            tally: Tally::new(start.parameters.errors),
            sync,
            outbox: Outbox::default(),
            outstanding: Outstanding::default(),
            next: 1,
            noise_out: Noise::on(&start.facts),
            fruitless: 0,
            intake: Intake::default(),
            torn: Torn::default(),
            owed: Owed::default(),
            noise_in: Noise::on(&start.facts),
            peer_closed: false,
            requests: Vec::new(),
            query: Query::No,
            progress: Instant::default(),
            asked: Instant::default(),
            heard: Instant::default(),
            room_at: None,
            talks_until: None,
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

    /// A packet with so many bytes of data was lost. As long as smaller ones may help, that is no reason to give up.
    fn count_error(&mut self, length: usize) {
        if length <= SIZE_MIN
            && let Err(why) = self.tally.error()
        {
            self.fail(why);
        }
    }

    fn handle_packet(&mut self, now: Now, packet: IPacket, in_step: bool) {
        // Our own, from a line that echoes.
        if packet.caller == self.start.caller {
            return;
        }
        if packet.kind == IKind::Sync {
            self.handle_sync(now, &packet.data);
            return;
        }
        // Without data a packet has no real check. After damage it may be a chance arrangement of bytes, and to take
        // one for the end of a file does harm, while a true one will come again.
        if packet.data.is_empty() && packet.kind.is_numbered() && !in_step {
            return;
        }
        self.sync.peer_runs = true;
        if self.is_running() {
            self.acknowledge(now, packet.acknowledged);
        }
        match packet.kind {
            IKind::Data | IKind::Position | IKind::Close => self.handle_numbered(now, packet),
            IKind::Nak => self.handle_request(now, packet.number, None),
            IKind::Ack => self.handle_answer(now),
            IKind::Sums if self.mends() => self.handle_request(now, packet.number, Some(&packet.data)),
            IKind::Patch if self.mends() => self.handle_patch(now, packet),
            IKind::Sync | IKind::Sums | IKind::Patch => {}
        }
    }

    /// If this answers our query, the peer has heard all that we had sent before; what it does not acknowledge is lost.
    fn handle_answer(&mut self, now: Now) {
        let Query::Asked(left) = self.query else { return };
        if now.instant < left {
            return;
        }
        self.query = Query::No;
        if let Some(oldest) = self.outstanding.oldest().filter(|oldest| oldest.left < left) {
            oldest.due.get_or_insert(Again::Whole);
            self.query = Query::Wanted;
        }
    }

    fn handle_sync(&mut self, now: Now, data: &[u8]) {
        let opening = self.stage == Stage::Opening;
        if self.sync.handle(now.instant, data, opening) && opening {
            self.begin(now);
        }
    }

    fn open(&mut self, now: Now) {
        if self.stage == Stage::New {
            self.stage = Stage::Opening;
            // Two that speak at once would turn the line round twice.
            self.sync.open(now.instant, !self.start.caller && !self.start.facts.full_duplex);
        }
    }

    /// On a half-duplex line: notes that the peer talks. We answer when it falls silent, all at once.
    pub(super) fn listen(&mut self, now: Now) {
        let gap = GAP + self.pace.line_time(GAP_BYTES);
        let believed = self.heard + self.pace.line_time(self.sync.size + I_OVERHEAD) + TALK_MAX;
        if !self.start.facts.full_duplex && now.instant < believed {
            self.talks_until = Some(now.instant + gap);
        }
    }

    /// Whether we wait for the peer to fall silent.
    fn holds_back(&self, now: Now) -> bool {
        self.is_running() && self.talks_until.is_some_and(|until| now.instant < until)
    }

    fn begin(&mut self, now: Now) {
        self.stage = Stage::Ready;
        self.sync.say();
        self.progress = self.progress.max(now.instant);
    }

    fn handle_numbered(&mut self, now: Now, packet: IPacket) {
        let (kind, length) = (packet.kind, packet.data.len());
        self.torn.forget(packet.number);
        self.noise_in.carried(length + I_OVERHEAD);
        match self.intake.place(packet) {
            Placed::InOrder { count, asked } => {
                self.tally.counters.received += u64::from(count);
                (0..count).for_each(|_| self.tally.good());
                if let Some(left) = asked {
                    self.repair.learn(left, now.instant);
                }
                self.owe(now, count);
                // Those that waited for it fill the peer's window.
                self.owed.at_once |= count > 1 && self.start.facts.full_duplex;
                self.progress = self.progress.max(now.instant);
                self.peer_closed |= kind == IKind::Close;
            }
            Placed::Early => self.tally.counters.bad_order += 1,
            Placed::Again => {
                // It missed our acknowledgement.
                self.tally.counters.bad_order += 1;
                self.owed.at_once = true;
            }
        }
        self.ask_for_smaller(length);
    }

    fn owe(&mut self, now: Now, count: u32) {
        self.owed.packets += count;
        let full_duplex = self.start.facts.full_duplex;
        // Where one side talks at a time, a peer that may still go on is not interrupted.
        let enough = u32::from(self.sync.window).div_ceil(if full_duplex { 2 } else { 1 });
        if self.owed.packets >= enough {
            self.owed.at_once = true;
            self.talks_until = None;
        }
        if self.owed.at.is_none() && full_duplex {
            self.owed.at = Some(now.instant + ACK_DELAY);
        }
    }

    /// Asks the peer for packets that suit the noise.
    fn ask_for_smaller(&mut self, length: usize) {
        let most = self.sync.size_max;
        let best = self.noise_in.best_size(most).max(self.least_to_ask()).min(most);
        self.sync.ask_for(best, length, self.noise_in.is_certain());
    }

    /// Something came of which nothing can be read, not even a number: what was asked for long enough ago may have been
    /// it, and is asked for anew.
    pub(super) fn handle_noise(&mut self, now: Now) {
        self.heard = self.heard.max(now.instant);
        self.ask_anew(now, |_| true);
        self.ask_for_missing(now);
    }

    /// The same of bytes between packets, which are often no packet: only a patch costs next to nothing if it comes twice.
    fn handle_stray_bytes(&mut self, now: Now) {
        self.doubt();
        let expected = self.intake.expected();
        if self.torn.holds(expected) {
            self.ask_anew(now, |number| number == expected);
        }
    }

    fn ask_anew(&mut self, now: Now, wanted: impl Fn(u8) -> bool) {
        let quickest = self.repair.quickest().or(self.pace.quickest()).unwrap_or_default();
        self.intake.ask_anew(now.instant, quickest, wanted);
    }

    /// Whether damaged packets are mended in part: only we can do that.
    fn mends(&self) -> bool {
        self.start.facts.peer_is_ours
    }

    fn handle_damaged(&mut self, now: Now, damaged: IPacket, in_step: bool) {
        self.tally.counters.bad_data += 1;
        self.doubt();
        if damaged.caller == self.start.caller || !in_step {
            return;
        }
        match damaged.kind {
            IKind::Data | IKind::Position | IKind::Close => {
                if self.mends() && damaged.kind == IKind::Data && self.intake.lacks(damaged.number) {
                    self.torn.keep(damaged.number, damaged.data);
                }
                self.intake.heard_of(damaged.number);
            }
            IKind::Patch if self.mends() => self.intake.heard_of(damaged.number),
            IKind::Sums if self.mends() => self.handle_request(now, damaged.number, None),
            IKind::Sync | IKind::Ack | IKind::Nak | IKind::Sums | IKind::Patch => {}
        }
    }

    fn handle_patch(&mut self, now: Now, patch: IPacket) {
        if !self.torn.holds(patch.number) {
            return;
        }
        match self.torn.mend(patch.number, &patch.data) {
            Some(data) => self.handle_numbered(now, IPacket { kind: IKind::Data, data, ..patch }),
            None => self.intake.heard_of(patch.number),
        }
    }

    fn acknowledge(&mut self, now: Now, number: u8) {
        let Some(Acknowledged { count, bytes, newest }) = self.outstanding.acknowledge(number) else { return };
        if newest.times == 1 {
            self.pace.learn(newest.left, now.instant);
        }
        self.pace.carried(now.instant, bytes, !self.outstanding.is_empty());
        (0..count).for_each(|_| self.tally.good());
        self.fruitless = 0;
        self.progress = self.progress.max(now.instant);
        self.asked = self.asked.max(now.instant);
    }

    fn doubt(&mut self) {
        self.pace.doubt();
        self.repair.doubt();
    }

    /// The peer lacks a packet, or has it damaged, with these sums.
    fn handle_request(&mut self, now: Now, number: u8, sums: Option<&[u8]>) {
        self.tally.counters.rejects += 1;
        let Some(sent) = self.outstanding.find(number) else {
            // The peer asks for what we have not sent: it wants to know whether we live, and what we have.
            self.owed.at_once |= number == self.next;
            return;
        };
        // What has not left cannot be what it misses.
        if sent.due.is_some() || now.instant < sent.left {
            return;
        }
        let patch = sums.and_then(|sums| patch(&sent.packet.data, sums));
        let (goes_whole, length) = (patch.is_none(), sent.packet.data.len());
        sent.due = Some(patch.map_or(Again::Whole, Again::Pieces));
        self.doubt();
        // What is mended costs little in a packet of any size.
        if goes_whole {
            self.noise_out.lost();
            self.count_error(length);
        }
    }

    /// Smaller packets would leave the line idle with such a window, noise or not: a full window must last for so many
    /// round trips. One brings the first acknowledgement, the others the packets that are repeated.
    fn least_size(&self, window: u8, round_trips: f64) -> usize {
        let (Some(speed), Some(quickest)) = (self.pace.speed(), self.pace.quickest()) else { return 0 };
        let on_the_way = speed / 10.0 * quickest.as_secs_f64();
        (on_the_way / f64::from(window) * round_trips) as usize
    }

    fn least_to_send(&self) -> usize {
        self.least_size(self.sync.peer.window, 4.0).min(self.noise_out.bearable_size())
    }

    /// What we see of the way back holds the peer's own backlog, so less will do.
    fn least_to_ask(&self) -> usize {
        self.least_size(self.sync.window, 1.5).min(self.noise_in.bearable_size())
    }

    fn packet_size(&self) -> usize {
        self.noise_out.best_size(self.sync.peer.wish).max(self.least_to_send()).min(self.sync.peer.size)
    }

    fn packet(&self, kind: IKind, number: u8, data: Vec<u8>) -> IPacket {
        IPacket {
            kind,
            number,
            local: 0,
            acknowledged: self.intake.last_in_order(),
            remote: 0,
            caller: self.start.caller,
            data,
        }
    }

    /// Writes a packet; whatever it is, it acknowledges.
    fn write(&mut self, now: Now, packet: &IPacket, out: &mut Vec<u8>) -> Instant {
        let before = out.len();
        write_i(packet, out);
        if packet.kind != IKind::Sync {
            self.owed = Owed::default();
        }
        self.pace.sent(now.instant, out.len() - before)
    }

    fn transmit_sync(&mut self, now: Now, out: &mut Vec<u8>) {
        let Some(data) = self.sync.take_due() else { return };
        let packet = IPacket { acknowledged: 0, ..self.packet(IKind::Sync, 0, data) };
        let left = self.write(now, &packet, out);
        self.sync.has_left(left);
    }

    /// Notes which packets to ask for now. What is held back would be taken for asked.
    fn ask_for_missing(&mut self, now: Now) {
        if self.holds_back(now) {
            return;
        }
        for number in self.intake.to_ask(now.instant, self.repair_patience()) {
            self.request(number);
            let will_have_left = self.pace.clear_at().max(now.instant);
            if self.intake.has_asked(number, will_have_left) && !self.torn.is_fresh(number) {
                self.noise_in.lost();
                self.count_error(self.sync.size);
            }
        }
    }

    /// However often it comes damaged while the line has no room.
    fn request(&mut self, number: u8) {
        if !self.requests.contains(&number) {
            self.requests.push(number);
        }
    }

    fn transmit_requests(&mut self, now: Now, out: &mut Vec<u8>) {
        for number in std::mem::take(&mut self.requests) {
            if self.intake.lacks(number) {
                let (kind, data) = match self.torn.sums(number) {
                    Some(sums) => (IKind::Sums, sums),
                    None => (IKind::Nak, Vec::new()),
                };
                let request = self.packet(kind, number, data);
                self.write(now, &request, out);
            }
        }
    }

    /// Writes numbered packets as far as the window and the budget allow.
    fn transmit_numbered(&mut self, now: Now, out: &mut Vec<u8>, budget: usize) {
        let start = out.len();
        let acknowledged = self.intake.last_in_order();
        while out.len() - start < budget
            && let Some(packet) = self.outstanding.next_again()
        {
            let packet = IPacket { acknowledged, ..packet };
            let left = self.write(now, &packet, out);
            self.outstanding.has_left(packet.number, left);
            self.asked = self.asked.max(left);
            self.tally.counters.resent += 1;
        }
        while out.len() - start < budget && self.has_room_under_way(now) {
            let size = self.packet_size();
            let Some(piece) = self.outbox.next(size) else { break };
            let packet = match piece {
                Piece::Position(at) => self.packet(IKind::Position, self.next, at.to_be_bytes().to_vec()),
                Piece::Data(channel, data) => {
                    let (local, remote) = match channel {
                        Channel::Ours(n) => (n, 0),
                        Channel::Theirs(n) => (0, n),
                    };
                    IPacket { local, remote, ..self.packet(IKind::Data, self.next, data) }
                }
            };
            self.transmit_new(now, packet, out);
        }
    }

    fn has_room_under_way(&mut self, now: Now) -> bool {
        self.room_at = None;
        let under_way = self.outstanding.len();
        if under_way >= usize::from(self.sync.peer.window) - self.kept_for_repairs() {
            return false;
        }
        let bytes = self.outstanding.bytes();
        if under_way < 2 || self.pace.bound().is_none_or(|bound| bytes < bound) {
            return true;
        }
        let room_at = self.pace.room_at(bytes);
        self.room_at = room_at.filter(|at| now.instant < *at);
        room_at.is_some() && self.room_at.is_none()
    }

    /// Where packets are lost, as much of the window as the line carries until one that goes again is acknowledged: with the
    /// window full before that, the line would be idle for so long.
    fn kept_for_repairs(&self) -> usize {
        let (Some(speed), Some(quickest)) = (self.pace.speed(), self.pace.quickest()) else { return 0 };
        if self.outstanding.is_in_repair() || !self.noise_out.is_certain() {
            return 0;
        }
        let bytes = speed / 10.0 * quickest.as_secs_f64() * REPAIR_ROUND_TRIPS;
        (bytes as usize / (self.packet_size() + I_OVERHEAD)).min(usize::from(self.sync.peer.window) / 2)
    }

    fn transmit_new(&mut self, now: Now, packet: IPacket, out: &mut Vec<u8>) {
        let left = self.write(now, &packet, out);
        self.noise_out.carried(packet.data.len() + I_OVERHEAD);
        if self.outstanding.is_empty() {
            self.progress = self.progress.max(left);
        }
        self.asked = self.asked.max(left);
        self.outstanding.push(packet, left);
        self.next = (self.next + 1) & 31;
        self.tally.counters.sent += 1;
    }

    /// About a quarter of a second of line time: what is given can't be overtaken by a NAK.
    fn budget(&self) -> usize {
        self.start.facts.speed.map_or(TRANSMIT_MAX, |bps| (bps as usize / 40).clamp(1, TRANSMIT_MAX))
    }

    /// How long a packet may take that was asked for: behind what the peer has given to its line already.
    fn repair_patience(&self) -> Duration {
        self.repair.patience().min(self.pace.patience() * 2) + self.lag()
    }

    /// How long an answer may wait at the peer: behind one packet of its own data, and until the next has come, in whose header it is.
    fn lag(&self) -> Duration {
        self.pace.line_time(2 * (self.sync.size + I_OVERHEAD))
    }

    /// The callee waits a little longer, so that both do not speak at once.
    fn timeout(&self) -> Duration {
        self.start.parameters.timeout + Duration::from_secs(u64::from(!self.start.caller))
    }

    /// When to do something about missing acknowledgements, or about silence.
    fn wake_at(&self) -> Instant {
        if self.outstanding.is_empty() {
            return self.asked.max(self.heard) + self.timeout() + self.lag();
        }
        let patience = self.pace.patience();
        let longer = patience * (1 << self.fruitless.min(6));
        let since = self.talks_until.map_or(self.asked, |until| self.asked.max(until));
        // Where turns of the line were long: often enough before the end of all patience.
        let longest = self.timeout().max(patience.min(self.total_patience() / QUERIES_MIN));
        since + longer.min(longest) + self.lag()
    }

    fn gives_up_at(&self) -> Instant {
        // A peer that is heard is not gone: one packet may be damaged many times in a row.
        let alive = self.heard.min(self.progress + self.total_patience() * 4);
        self.progress.max(alive) + self.total_patience() + self.pace.line_time(self.outstanding.bytes()) + self.lag()
    }

    fn total_patience(&self) -> Duration {
        self.start.parameters.timeout * self.start.parameters.retries.max(1)
    }

    fn nudge(&mut self, now: Now) {
        self.asked = now.instant;
        self.scanner.give_up_partial();
        if self.outstanding.is_empty() {
            self.request(self.intake.expected());
        }
        // What the peer answers tells what it lacks. Only if it does not answer are packets repeated on suspicion: the
        // oldest, then the last, for if that comes early the peer asks for those before it.
        if !self.outstanding.is_empty() {
            self.query = Query::Wanted;
        }
        let suspect = match self.fruitless {
            0 => None,
            n if n.is_multiple_of(2) => self.outstanding.newest(),
            _ => self.outstanding.oldest(),
        };
        if let Some(sent) = suspect {
            sent.due.get_or_insert(Again::Whole);
        }
        self.fruitless += 1;
    }

    fn sync_again(&mut self, now: Now) {
        match self.sync.unheard(now.instant) {
            Unheard::SayAgain => {}
            Unheard::Begin => self.begin(now),
            Unheard::GiveUp => self.fail(Violation::NoStart('i')),
        }
    }
}

impl Protocol for I {
    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        // The peer may have begun before we were asked for our first packet.
        self.open(now);
        self.listen(now);
        self.scanner.feed(bytes);
        while !self.is_over() && !self.peer_closed {
            let Some(scanned) = self.scanner.next() else { break };
            match scanned {
                Scanned::Packet { packet, in_step } => {
                    self.heard = self.heard.max(now.instant);
                    self.handle_packet(now, packet, in_step);
                }
                Scanned::Damaged { packet, in_step } => {
                    self.heard = self.heard.max(now.instant);
                    self.handle_damaged(now, packet, in_step);
                }
                Scanned::Noise => {
                    self.tally.counters.bad_header += 1;
                    // What is left of the handshake says nothing.
                    if self.is_running() {
                        self.handle_stray_bytes(now);
                    }
                }
            }
        }
        self.ask_for_missing(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        match self.stage {
            Stage::Opening if self.sync.again_at(self.timeout()) <= now.instant => self.sync_again(now),
            Stage::Ready | Stage::Running | Stage::Closing => {
                self.talks_until = self.talks_until.filter(|until| now.instant < *until);
                self.room_at = self.room_at.filter(|at| now.instant < *at);
                if self.gives_up_at() <= now.instant {
                    self.fail(Violation::Silence(self.total_patience()));
                } else if self.wake_at() <= now.instant {
                    self.nudge(now);
                }
                if self.owed.at.is_some_and(|at| at <= now.instant) {
                    self.owed.at_once = true;
                    self.owed.at = None;
                }
                self.ask_for_missing(now);
            }
            Stage::New | Stage::Opening | Stage::Closed | Stage::Failed(_) | Stage::Ended => {}
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.open(now);
        if self.holds_back(now) {
            return;
        }
        let start = out.len();
        self.transmit_sync(now, out);
        if self.is_running() {
            self.transmit_requests(now, out);
            self.transmit_numbered(now, out, self.budget().saturating_sub(out.len() - start));
            if matches!(self.query, Query::Wanted) && !self.outstanding.is_any_due() {
                let query = self.packet(IKind::Nak, self.intake.expected(), Vec::new());
                self.query = Query::Asked(self.write(now, &query, out));
            }
            if self.owed.at_once {
                let ack = self.packet(IKind::Ack, 0, Vec::new());
                self.write(now, &ack, out);
            }
        }
        if self.stage == Stage::Closing && (self.outbox.is_empty() || self.peer_closed) {
            let close = self.packet(IKind::Close, self.next, Vec::new());
            self.write(now, &close, out);
            self.stage = Stage::Closed;
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::New | Stage::Closed | Stage::Failed(_) | Stage::Ended => None,
            Stage::Opening => Some(self.sync.again_at(self.timeout())),
            Stage::Ready | Stage::Running | Stage::Closing => {
                let repair = self.intake.ask_at(self.repair_patience());
                let repair = repair.map(|at| self.talks_until.map_or(at, |until| until.max(at)));
                let least = self.wake_at().min(self.gives_up_at());
                [self.owed.at, repair, self.talks_until, self.room_at].into_iter().flatten().chain([least]).min()
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        if matches!(self.stage, Stage::New | Stage::Opening) {
            return None;
        }
        if self.stage == Stage::Ready {
            self.stage = Stage::Running;
            return Some(Event::Started);
        }
        while let Some(said) = self.intake.next() {
            match said {
                Ok(event) => return Some(event),
                Err(End::Closed) if self.stage == Stage::Running => self.fail(Violation::ClosedByPeer),
                Err(End::Closed) => {}
                Err(End::Violated(why)) => self.fail(why),
            }
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
            Stage::New | Stage::Opening | Stage::Ready | Stage::Closing => 0,
            Stage::Closed | Stage::Failed(_) | Stage::Ended => 0,
        }
    }

    fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    fn send_command(&mut self, channel: Channel, command: &[u8]) {
        self.outbox.command(channel, command);
    }

    fn send_data(&mut self, channel: Channel, offset: u64, data: &[u8]) {
        self.outbox.data(channel, offset, data);
    }

    fn begin_file(&mut self, channel: Channel, way: Way) {
        if way == Way::In {
            self.intake.begin_file(channel);
        }
    }

    fn shut_down(&mut self, _now: Now) {
        if self.stage == Stage::Running {
            self.stage = Stage::Closing;
        }
    }

    fn channels(&self) -> u8 {
        self.sync.peer.channels
    }

    fn unread(&mut self) -> Vec<u8> {
        self.scanner.take_rest()
    }

    fn packets(&self) -> Option<Packets> {
        let (sending, receiving) = ((self.sync.peer.size, self.sync.peer.window), (self.sync.size, self.sync.window));
        Some(Packets { sending, receiving })
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
