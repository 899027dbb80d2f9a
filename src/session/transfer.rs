//! Commands and files: the part of a session between the handshake and the hang-up, for both roles.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use super::commands::{Part, command_for, execution_file, refusal_of};
use super::greeting::Greeted;
use super::{Deed, Desk, Ending, Refusal, Task, Totals};
use crate::base::limits::{ANSWERS_WAITING_MAX, BUSY_ANSWERS_MAX, PUT_OFF_MAX, SEND_AHEAD_MAX, VAIN_MAX};
use crate::base::names::{Grade, SiteName};
use crate::base::time::{Instant, Now};
use crate::base::words::with_causes;
use crate::dialogue::Stop;
use crate::proto::{Channel, Counters, Event, Protocol, Violation, Way};
use crate::wire::uucp::{Command, Features, Line, Malformed, Reply, parse_line};

mod incoming;
mod movement;

use incoming::Arriving;
use movement::Movement;

/// How long nothing at all may come of a session whose protocol still lives: a peer that keeps
/// acknowledging packets but never answers a command. The line's time for what has been taken ahead of it comes on top.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the peer's last words are waited for.
const PARTING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the files under way may still take when the longest time for a call is over.
const STOP_GRACE: Duration = Duration::from_secs(120);
const TOO_LONG: &str = "the longest time for a call is over";
/// How much of a file is read at once.
const CHUNK: usize = 4096;

/// How far the good-bye has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    No,
    /// We, as master, have said `H`.
    Asked,
    /// We, as slave, have said `HY`.
    Agreed,
    /// Both have agreed; the protocol says its own good-bye.
    Closing,
}

/// One of our commands under way.
struct Ours {
    task: Task,
    stage: OurStage,
}

enum OurStage {
    /// A file going out. Where several commands may be under way its bytes do not wait for `SY`, unless the peer may
    /// have a part of it.
    Sending { part: Part, offset: u64, answered: bool, ended: bool },
    /// We asked for a file; the answer has not come.
    Asking,
    /// The file we asked for is coming.
    Fetching(Arriving),
}

/// One of their commands under way.
enum Theirs {
    Arriving(Arriving),
    /// A file that they asked for.
    Serving {
        task: Box<Task>,
        size: u64,
        offset: u64,
        ended: bool,
    },
}

pub(super) struct Transfer {
    pub site: SiteName,
    pub letter: char,
    pub caller: bool,
    pub totals: Totals,
    protocol: Box<dyn Protocol>,
    desk: Box<dyn Desk>,
    features: Features,
    worst: Grade,
    size_max: Option<u64>,
    master: bool,
    started: bool,
    /// As far as is known, nothing is lost on the link.
    reliable: bool,
    /// How the call is brought to its end, and why.
    stop: Option<(Stop, &'static str)>,
    /// When it is, or is next, by itself.
    stop_at: Option<Instant>,
    /// Offers put off since we want to stop.
    put_off: u32,
    /// What the peer has said in vain since anything came of it.
    vain: u32,
    /// The desk had nothing; it is not asked again before something happens.
    drained: bool,
    /// What the desk gave and has not begun yet.
    next: Option<Task>,
    /// What the peer had no channel for; it goes again. And how many of our commands may be under way then.
    again: VecDeque<Task>,
    ours_max: usize,
    busy_answers: u32,
    ours: BTreeMap<u8, Ours>,
    theirs: BTreeMap<u8, Theirs>,
    /// Files going out, in their order; the first one's bytes go now.
    streams: VecDeque<Channel>,
    parting: Parting,
    /// How long nothing may come of the session.
    patience: Duration,
    deadline: Instant,
    movement: Movement,
    ending: Option<Ending>,
}

impl Transfer {
    pub fn new(now: Now, greeted: Greeted) -> Self {
        let Greeted { site, desk, mut features, protocol, letter, caller, worst, size_max, longest, facts, .. } =
            greeted;
        if !protocol.restarts() {
            features = features.without(Features::RESTART);
        }
        // What the protocol has taken of a file is on its way for so long, and as much of the peer's on the same line.
        let ahead = facts.line_time(2 * SEND_AHEAD_MAX);
        let patience = PROGRESS_TIMEOUT + ahead;
        let mut transfer = Self {
            site,
            letter,
            caller,
            totals: Totals::default(),
            protocol,
            desk,
            features,
            worst,
            size_max,
            master: caller,
            started: false,
            reliable: facts.reliable,
            stop: None,
            stop_at: longest.map(|longest| now.instant + longest),
            put_off: 0,
            vain: 0,
            drained: false,
            next: None,
            again: VecDeque::new(),
            ours_max: usize::MAX,
            busy_answers: 0,
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            streams: VecDeque::new(),
            parting: Parting::No,
            patience,
            deadline: now.instant + patience,
            movement: Movement::new(now.instant, ahead),
            ending: None,
        };
        transfer.drain_events(now);
        transfer
    }

    pub fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.protocol.handle_input(now, bytes);
        self.drain_events(now);
    }

    pub fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.deadline && self.ending.is_none() {
            let silent = Ending::Violation(Violation::Silence(self.patience));
            self.ending = Some(if self.is_parting() { Ending::Complete } else { silent });
        }
        if now.instant >= self.movement.ends() && !self.is_parting() {
            self.ending.get_or_insert(Ending::Violation(Violation::Trickle));
        }
        if self.stop_at.is_some_and(|at| now.instant >= at) {
            let orderly = self.stop.is_some_and(|(how, _)| how >= Stop::Orderly);
            self.stop_at = (!orderly).then(|| now.instant + STOP_GRACE);
            self.stop(if orderly { Stop::Now } else { Stop::Orderly }, TOO_LONG);
        }
        self.protocol.handle_timeout(now);
        self.drain_events(now);
    }

    pub fn handle_hangup(&mut self) {
        let ending = if self.is_parting() { Ending::Complete } else { Ending::LineLost("the transfer of files") };
        self.ending.get_or_insert(ending);
    }

    /// Something was queued meanwhile, or an operator wants the call to end.
    pub fn look_again(&mut self) {
        self.drained = false;
        match self.desk.stop_wanted() {
            Ok(Some(how)) => self.stop(how, "by an operator"),
            Ok(None) => {}
            Err(error) => self.fail_local(&error),
        }
    }

    /// Brings the call to its end in this way, or the more urgent one that was wanted before.
    pub fn stop(&mut self, how: Stop, why: &'static str) {
        if self.stop.is_some_and(|(before, _)| before >= how) {
            return;
        }
        tracing::info!(site = %self.site, how = how.as_str(), why, "stopping the call");
        self.stop = Some((how, why));
        if how == Stop::Now && !self.is_parting() {
            self.ending.get_or_insert(Ending::Stopped(why));
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    pub fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.started && self.ending.is_none() {
            let before = self.totals.bytes_sent;
            if let Err(error) = self.begin_tasks().and_then(|()| self.stream()) {
                self.fail_local(&error);
            }
            if self.totals.bytes_sent > before {
                self.deadline = now.instant + self.patience;
                self.movement.count(now.instant, self.totals.bytes_sent - before);
            }
        }
        self.protocol.poll_transmit(now, out);
        self.drain_events(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let protocol = self.protocol.poll_timeout();
        let slow = Some(self.movement.ends()).filter(|_| !self.is_parting());
        [protocol, self.stop_at, Some(self.deadline), slow].into_iter().flatten().min()
    }

    /// The end, once there is nothing more to say.
    pub fn take_ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }

    /// Tells the peer's protocol that we go, so that it need not find out by silence.
    pub fn abandon(&mut self, now: Now) {
        self.protocol.shut_down(now);
    }

    pub fn counters(&self) -> Counters {
        self.protocol.counters()
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.protocol.round_trip()
    }

    /// What came behind the end of the protocol.
    pub fn unread(&mut self) -> Vec<u8> {
        self.protocol.unread()
    }

    /// Whether we, as master, asked for the end, and the peer agreed.
    pub fn has_asked(&self) -> bool {
        self.master && self.parting == Parting::Closing
    }

    fn is_parting(&self) -> bool {
        matches!(self.parting, Parting::Agreed | Parting::Closing)
    }

    fn many(&self) -> bool {
        self.protocol.channels() > 1
    }

    /// Our own disk fails: the peer gets no confirmation and keeps what it has.
    fn fail_local(&mut self, error: &io::Error) {
        self.ending.get_or_insert(Ending::Disk(with_causes(error)));
    }

    fn drain_events(&mut self, now: Now) {
        while let Some(event) = self.protocol.poll_event() {
            if self.ending.is_some() {
                continue;
            }
            self.deadline = now.instant + self.patience;
            if let Err(error) = self.handle_event(now, event) {
                self.fail_local(&error);
            }
        }
    }

    fn handle_event(&mut self, now: Now, event: Event) -> io::Result<()> {
        match event {
            Event::Started => {
                self.started = true;
                self.desk.started(self.protocol.packets());
            }
            Event::Command { channel, text } => {
                self.movement.count(now.instant, text.len() as u64);
                return self.handle_line(now, channel, &text);
            }
            Event::Data { channel, offset, bytes } => {
                self.movement.count(now.instant, bytes.len() as u64);
                return self.handle_data(channel, offset, &bytes);
            }
            Event::EndOfFile { channel } => return self.handle_end_of_file(channel),
            Event::Again { channel } => return self.begin_again(channel),
            Event::Closed => self.ending = Some(Ending::Complete),
            // After the good-byes nobody owes anybody an orderly end (section 1.9 of the reference).
            Event::Failed(_) if self.is_parting() => self.ending = Some(Ending::Complete),
            Event::Failed(violation) => self.ending = Some(Ending::Violation(violation)),
        }
        Ok(())
    }

    /// Which conversation a line or bytes belong to. With one channel the roles tell.
    fn resolve(&self, channel: Channel) -> Channel {
        match (self.many(), self.ours.is_empty()) {
            (true, _) => channel,
            (false, false) => Channel::Ours(1),
            (false, true) => Channel::Theirs(1),
        }
    }

    fn say(&mut self, channel: Channel, text: &str) {
        tracing::debug!(site = %self.site, text, ">");
        self.protocol.send_command(channel, text.as_bytes());
    }

    /// The peer has said something that leads to nothing.
    fn in_vain(&mut self) {
        self.vain += 1;
        if self.vain > VAIN_MAX {
            self.ending.get_or_insert(Ending::Violation(Violation::Rule("too much of what it says leads to nothing")));
        }
    }

    fn handle_line(&mut self, now: Now, channel: Channel, text: &[u8]) -> io::Result<()> {
        if self.protocol.waiting() > SEND_AHEAD_MAX + ANSWERS_WAITING_MAX {
            self.ending.get_or_insert(Ending::Violation(Violation::Rule("it sends and does not read")));
            return Ok(());
        }
        tracing::debug!(site = %self.site, text = %String::from_utf8_lossy(text), "<");
        match parse_line(text, self.features) {
            Ok(Line::Command(Command::Hangup)) => self.handle_hang_up_request(now),
            Ok(Line::Command(command)) => self.handle_command(channel, command),
            Ok(Line::Reply(reply)) if reply.verb == 'H' => {
                self.handle_hang_up_reply(now, reply.yes);
                Ok(())
            }
            Ok(Line::Reply(reply)) => match self.resolve(channel) {
                Channel::Ours(n) => self.handle_our_reply(n, reply),
                Channel::Theirs(n) => self.handle_their_confirmation(n, reply),
            },
            Err(Malformed(why)) => {
                tracing::warn!(site = %self.site, why, "garbled command");
                self.in_vain();
                let verb = text.first().copied().filter(u8::is_ascii_uppercase).map_or('S', char::from);
                self.say(channel, &Reply::no(verb, Some(2)).print());
                if self.many()
                    && matches!(verb, 'S' | 'E')
                    && let Channel::Theirs(n) = channel
                {
                    self.protocol.begin_file(channel, Way::In);
                    self.theirs.insert(n, Theirs::Arriving(Arriving::discarded(false, Refusal::NotPermitted)));
                }
                Ok(())
            }
        }
    }

    // --- the end of a turn, and of the call ---------------------------------------------------

    fn handle_hang_up_request(&mut self, now: Now) -> io::Result<()> {
        // The peer has nothing left to offer, so it will not offer again what we have confirmed. A mere next command
        // says less: it may be the first of a call, before what an earlier one left in doubt.
        self.desk.settled()?;
        if self.parting == Parting::Agreed {
            self.in_vain();
        }
        self.drained = false;
        self.prepare()?;
        if self.ours.is_empty() && (self.next.is_none() || self.stop.is_some()) {
            self.say(Channel::Theirs(0), "HY");
            self.parting = Parting::Agreed;
            // The master answers HY, or just goes: either is the end.
            self.deadline = now.instant + PARTING_TIMEOUT;
            if self.has_lost_nothing() {
                self.part(now);
            }
        } else {
            self.say(Channel::Theirs(0), "HN");
            self.master = true;
        }
        Ok(())
    }

    fn handle_hang_up_reply(&mut self, now: Now, yes: bool) {
        match (self.parting, yes) {
            (Parting::Asked, true) => {
                self.say(Channel::Ours(0), "HY");
                self.part(now);
            }
            (Parting::Asked, false) => {
                self.parting = Parting::No;
                self.master = false;
            }
            (Parting::Agreed, true) => self.part(now),
            (Parting::Agreed | Parting::No | Parting::Closing, _) => {}
        }
    }

    /// Then the master need not say that our last word has come: Taylor as slave does not wait for it either, and where a line
    /// has to be turned round that saves a turn.
    fn has_lost_nothing(&self) -> bool {
        let Counters { resent, bad_header, bad_data, bad_order, rejects, .. } = self.protocol.counters();
        self.reliable && resent + bad_header + bad_data + bad_order + rejects == 0
    }

    fn part(&mut self, now: Now) {
        self.parting = Parting::Closing;
        // What the peer confirmed by going this far is settled; a failure here costs a later SN8 at most.
        if let Err(error) = self.desk.settled() {
            tracing::warn!(site = %self.site, error = with_causes(&error), "cannot settle receipts");
        }
        self.protocol.shut_down(now);
    }
    // --- what we send and ask for -------------------------------------------------------------

    /// Has the next task ready, if there is one.
    fn prepare(&mut self) -> io::Result<()> {
        if self.next.is_none() && self.stop.is_none() {
            self.next = self.again.pop_front();
        }
        while self.next.is_none() && !self.drained && self.stop.is_none() {
            let Some(task) = self.desk.next_task(self.worst)? else {
                self.drained = true;
                return Ok(());
            };
            let too_large = self.size_max.zip(task.deed.size()).is_some_and(|(max, size)| size > max);
            if too_large {
                self.desk.refused(task.id, Refusal::TooLarge)?;
            } else {
                self.next = Some(task);
            }
        }
        Ok(())
    }

    /// Begins what may be begun now; says `H` when there is nothing and it is our turn.
    fn begin_tasks(&mut self) -> io::Result<()> {
        if self.parting != Parting::No {
            return Ok(());
        }
        let at_once = if self.many() { usize::from(self.protocol.channels()) } else { usize::from(self.master) };
        if !self.many() && !self.theirs.is_empty() {
            return Ok(());
        }
        while self.ours.len() < at_once.min(self.ours_max) {
            self.prepare()?;
            let Some(task) = self.next.take_if(|_| self.stop.is_none()) else { break };
            self.begin(task)?;
        }
        let idle = self.ours.is_empty() && self.theirs.is_empty();
        if self.master && idle && (self.next.is_none() || self.stop.is_some()) {
            self.say(Channel::Ours(0), "H");
            self.parting = Parting::Asked;
        }
        Ok(())
    }

    fn begin(&mut self, task: Task) -> io::Result<()> {
        let free = (1..=self.protocol.channels()).find(|n| !self.ours.contains_key(n));
        let n = free.expect("begin is called while a channel is free");
        let part = match &task.deed {
            Deed::Execute { file, .. } if file.is_some() || !self.features.has(Features::EXECUTE) => Part::Data,
            Deed::Send { .. }
            | Deed::Execute { .. }
            | Deed::Fetch { .. }
            | Deed::Expand { .. }
            | Deed::Serve { .. } => Part::Whole,
        };
        self.begin_part(n, task, part)
    }

    /// Says the command for one part of a task.
    fn begin_part(&mut self, n: u8, task: Task, part: Part) -> io::Result<()> {
        let channel = Channel::Ours(n);
        let line = match command_for(&task, &part).print(self.features) {
            Ok(line) => line,
            Err(Malformed(why)) => return self.desk.refused(task.id, Refusal::Other(why.to_owned())),
        };
        self.say(channel, &line);
        let stage = if matches!(task.deed, Deed::Fetch { .. } | Deed::Expand { .. }) {
            OurStage::Asking
        } else {
            if self.many() {
                self.streams.push_back(channel);
            }
            OurStage::Sending { part, offset: 0, answered: false, ended: false }
        };
        self.ours.insert(n, Ours { task, stage });
        Ok(())
    }

    fn handle_our_reply(&mut self, n: u8, reply: Reply) -> io::Result<()> {
        let Some(Ours { task, stage }) = self.ours.remove(&n) else {
            tracing::warn!(site = %self.site, reply = reply.print(), "an answer to nothing");
            self.in_vain();
            return Ok(());
        };
        match (stage, reply.verb, reply.yes) {
            (OurStage::Sending { part, offset, ended, .. }, 'S' | 'E', true) => {
                self.go_ahead(n, task, part, offset, ended, reply.number)
            }
            (OurStage::Sending { part, .. }, 'C', true) => self.part_confirmed(n, task, part),
            (OurStage::Sending { part, ended, .. }, 'S' | 'E', false) => {
                self.stop_stream(Channel::Ours(n), ended);
                match refusal_of(&reply) {
                    Refusal::TooManyChannels => self.go_again_later(task),
                    Refusal::AlreadyHere => self.part_confirmed(n, task, part),
                    why => self.task_refused(&task, why),
                }
            }
            (OurStage::Sending { .. }, 'C', false) => self.task_refused(&task, Refusal::CannotStore),
            (OurStage::Asking, 'R', true) => self.fetch_granted(n, task, &reply),
            (OurStage::Asking, 'X', true) => {
                self.drained = false;
                self.desk.finished(task.id)
            }
            (OurStage::Asking, 'R' | 'X', false) => match refusal_of(&reply) {
                Refusal::TooManyChannels => self.go_again_later(task),
                why => self.task_refused(&task, why),
            },
            (stage, verb, yes) => {
                tracing::warn!(site = %self.site, %verb, yes, "an answer that does not belong here");
                self.in_vain();
                self.ours.insert(n, Ours { task, stage });
                Ok(())
            }
        }
    }

    /// `SY`: the bytes may go, from a position that the peer may name.
    fn go_ahead(
        &mut self,
        n: u8,
        task: Task,
        part: Part,
        offset: u64,
        ended: bool,
        from: Option<u64>,
    ) -> io::Result<()> {
        let size = part.size(&task);
        let from = from.filter(|_| self.features.has(Features::RESTART)).unwrap_or(0).min(size);
        let channel = Channel::Ours(n);
        let offset = if self.many() {
            // Taylor names what it holds including what has just come; only what lies ahead of us means a restart.
            if ended { offset } else { offset.max(from) }
        } else {
            self.protocol.begin_file(channel, Way::Out { bytes: size - from });
            self.streams.push_back(channel);
            from
        };
        if from > 0 && offset == from {
            tracing::info!(site = %self.site, from, size, "going on in the middle");
        }
        self.ours.insert(n, Ours { task, stage: OurStage::Sending { part, offset, answered: true, ended } });
        Ok(())
    }

    fn part_confirmed(&mut self, n: u8, task: Task, part: Part) -> io::Result<()> {
        match part {
            Part::Data => {
                let execution = execution_file(&task);
                self.begin_part(n, task, Part::Execution(execution))
            }
            Part::Whole | Part::Execution(_) => {
                self.totals.files_sent += 1;
                self.vain = 0;
                self.drained = false;
                self.desk.finished(task.id)
            }
        }
    }

    /// The peer has no channel free for it (`SN9`): fewer are used from now on, down to two as Taylor does.
    fn go_again_later(&mut self, task: Task) -> io::Result<()> {
        self.busy_answers += 1;
        if self.busy_answers > BUSY_ANSWERS_MAX {
            return self.task_refused(&task, Refusal::TooManyChannels);
        }
        self.ours_max = self.ours.len().max(2);
        self.again.push_back(task);
        Ok(())
    }

    fn task_refused(&mut self, task: &Task, why: Refusal) -> io::Result<()> {
        tracing::info!(site = %self.site, %why, "the site refused a task");
        self.drained = false;
        self.desk.refused(task.id, why)
    }

    /// Ends a stream that nobody wants: where bytes flow ahead of the answer, an empty packet says so.
    fn stop_stream(&mut self, channel: Channel, ended: bool) {
        if self.many() && !ended {
            self.protocol.send_data(channel, 0, &[]);
        }
        self.streams.retain(|c| *c != channel);
    }

    /// Gives the protocol as much of the files going out as it takes.
    fn stream(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        while let Some(channel) = self.streams.front().copied() {
            let room = self.protocol.room(channel).min(CHUNK);
            if room == 0 {
                return Ok(());
            }
            let out = &mut chunk[..room];
            let (offset, ended, count) = match channel {
                Channel::Ours(n) => match self.ours.get_mut(&n) {
                    Some(Ours { task, stage: OurStage::Sending { part, offset, answered, ended } }) => {
                        // Taylor forgets the part it has as soon as other bytes come.
                        if task.again && !*answered {
                            return Ok(());
                        }
                        let count = part.read(self.desk.as_mut(), task, *offset, out)?;
                        (offset, ended, count)
                    }
                    _ => {
                        self.streams.pop_front();
                        continue;
                    }
                },
                Channel::Theirs(n) => match self.theirs.get_mut(&n) {
                    Some(Theirs::Serving { task, offset, ended, .. }) => {
                        let count = self.desk.read(task.id, *offset, out)?;
                        (offset, ended, count)
                    }
                    _ => {
                        self.streams.pop_front();
                        continue;
                    }
                },
            };
            self.protocol.send_data(channel, *offset, &out[..count]);
            *offset += count as u64;
            self.totals.bytes_sent += count as u64;
            if count == 0 {
                *ended = true;
                self.streams.pop_front();
            }
        }
        Ok(())
    }
}
