//! The line test: two sides find out what a line does to bytes, how fast it is, and how long its way. (docs/line-test.md)

use std::time::Duration;

use self::listener::{Event, Listener, speed};
use crate::base::limits::{
    LINE_ROUND_TRIP_MAX_S, LINE_SPEED_MIN, LINE_TEST_S, LINE_TEST_TEXT_MAX, LINE_TEST_TURNS_MAX,
};
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Facts, Nudge, Request};
use crate::wire::line_test::{ByteSet, DOUBTFUL_MAX, Frame, Heard, Sample, Side, Word, XOFF, XON};

mod listener;

/// By this letter in the list of protocols one of us offers the test, and another begins it: no other program has it.
pub const LETTER: char = 'L';

/// How long an answer may take before the way's own time is known: a half-duplex line takes seconds to turn round.
const PATIENCE_FIRST: Duration = Duration::from_secs(10);
/// And between two calls for a partner that may not be there yet.
const PATIENCE_CALLING: Duration = Duration::from_secs(3);
/// How long an answer may take beyond what the way is known to take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What makes somebody speak who shows what he hears: a modem answers it, a login asks for the password. A plug gives it back.
const PROBE: &[u8] = b"\rAT\r";
/// So many bytes more than were sent may come back from a plug: noise.
const ECHO_ADDS_MAX: usize = 4;
/// A partner that has said its last waits so long, in case it was not heard.
const LINGER: Duration = Duration::from_secs(6);
/// What a quick test sends, both ways and some of it twice.
const QUICK_BYTES: usize = 2048;
/// How long the letters and digits go that show speed and damage.
const TEXT_TIME_S: u32 = 2;

/// Whether a link is one of which nothing is known: a bare line, or modems that repeat what is lost between them but may
/// be set to eat characters. Streams, and radios with error correction, are what they are.
pub fn is_wanted(facts: &Facts) -> bool {
    !facts.reliable || (facts.full_duplex && !facts.end_to_end)
}

/// One direction of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Direction {
    /// The highest bit of no byte arrives.
    pub top_bit_lost: bool,
    /// Values that do not arrive, and values that arrive as others.
    pub lost: ByteSet,
    pub changed: ByteSet,
    /// Bits per second as the bytes came, ten a byte; `None`: too fast to measure.
    pub speed: Option<u32>,
    /// Bytes looked at, and how many of them were damaged or lost by chance.
    pub looked_at: u32,
    pub damaged: u32,
}

impl Direction {
    /// Every value passes, XON and XOFF apart.
    pub fn is_eight_bit(&self) -> bool {
        !self.top_bit_lost && self.spoilt().iter().all(|byte| matches!(byte, XON | XOFF))
    }

    pub fn passes_flow_control(&self) -> bool {
        !self.spoilt().contains(XON) && !self.spoilt().contains(XOFF)
    }

    /// Values that do not pass as they are.
    pub fn spoilt(&self) -> ByteSet {
        self.lost.union(&self.changed)
    }
}

/// What a line test has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineReport {
    /// What one side sent came back to it, whether by a plug or a program that echoes: `sent` is both ways together.
    pub echo: bool,
    /// What we send, and what we receive.
    pub sent: Direction,
    pub received: Direction,
    /// From the last byte of a question to the first of its answer.
    pub round_trip: Option<Duration>,
}

/// Below this share of the speed that a port is set to, the line behind it is slower than it.
const SLOWER: f64 = 0.8;

impl LineReport {
    /// The facts of the link as they were taken to be, with what was found. A line is slow if both directions are: one of
    /// them was measured here, so neither a lie nor a pause at one end is enough.
    pub fn found(&self, facts: &Facts) -> Facts {
        let both = [&self.sent, &self.received];
        let quicker = self.sent.speed.zip(self.received.speed).map(|(sent, received)| sent.max(received));
        let longest = Duration::from_secs(LINE_ROUND_TRIP_MAX_S);
        let slower = |found: &u32| facts.speed.is_none_or(|set| f64::from(*found) < f64::from(set) * SLOWER);
        Facts {
            eight_bit: facts.eight_bit && both.iter().all(|way| way.is_eight_bit()),
            transparent: facts.transparent && both.iter().all(|way| way.passes_flow_control()),
            reliable: facts.reliable && both.iter().all(|way| way.damaged == 0),
            speed: quicker.filter(slower).map(|found| found.max(LINE_SPEED_MIN)).or(facts.speed),
            round_trip: self.round_trip.map(|time| time.min(longest)).or(facts.round_trip),
            ..facts.clone()
        }
    }
}

/// Why nothing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineTestFailure {
    #[error("nobody answers: neither a partner nor an echo")]
    Silence,
    #[error("what is sent comes back with other words: a modem or a login, and no partner")]
    Talks,
    #[error("the partner was heard, but no longer")]
    Ceased,
    #[error("the line damages too much: nothing comes through in {LINE_TEST_TURNS_MAX} turns")]
    TooDamaged,
    #[error("the line was lost")]
    LineLost,
    #[error("stopped")]
    Stopped,
}

/// How much is tested, and who is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Within a call: the partner is there, and the line is wanted for other things.
    Quick,
    /// By hand: a partner may still have to be started, or be a plug; speed and damage are looked at for longer.
    Thorough { wait: Duration },
}

/// What is known of one direction so far.
#[derive(Debug, Default)]
struct Search {
    all: Option<Heard>,
    /// Nothing is in doubt any more.
    settled: Option<Heard>,
    text: Option<Heard>,
    /// In which turn the present question was first asked: earlier answers are to earlier ones.
    since: u16,
}

impl Search {
    /// What has to be sent next to know more.
    fn wanted(&self, depth: Depth, set: Option<u32>) -> Option<Sample> {
        match (&self.all, &self.settled, &self.text) {
            (None, _, _) => Some(Sample::All),
            (Some(all), None, _) if all.doubtful().len() <= DOUBTFUL_MAX => Some(Sample::Again(all.doubtful())),
            (Some(_), None, _) => Some(Sample::All),
            (Some(_), Some(settled), None) if depth != Depth::Quick => {
                let speed = speed(settled).or(set).unwrap_or(u32::MAX);
                let bytes = (speed / 10).saturating_mul(TEXT_TIME_S).clamp(200, u32::from(LINE_TEST_TEXT_MAX));
                Some(Sample::Text(bytes as u16))
            }
            (Some(_), Some(_), _) => None,
        }
    }

    /// Whether it was news.
    fn learn(&mut self, turn: u16, sample: Sample, heard: Heard) -> bool {
        match (sample, &self.all) {
            (Sample::All, None) => {
                self.settled = heard.doubtful().is_empty().then_some(heard);
                self.all = Some(heard);
            }
            (Sample::All, Some(first)) if self.settled.is_none() => {
                // Too many are in doubt to look at each: what is so twice is so.
                let (lost, changed) =
                    (first.lost.intersection(&heard.doubtful()), first.changed.intersection(&heard.doubtful()));
                let twice = Heard { lost, changed, ..heard };
                let few = (1..=DOUBTFUL_MAX).contains(&twice.doubtful().len());
                // Two bursts of noise may have struck the same ones.
                if few { self.all = Some(twice) } else { self.settled = Some(twice) }
            }
            (Sample::Again(_), Some(all)) if self.settled.is_none() => {
                // Of what was asked about: a partner may say anything.
                let asked = all.doubtful();
                let (lost, changed) = (heard.lost.intersection(&asked), heard.changed.intersection(&asked));
                let cleared = asked.len() - lost.union(&changed).len();
                let damaged = heard.damaged.saturating_add(cleared as u32);
                let looked_at = all.looked_at.saturating_add(heard.looked_at).saturating_add(damaged);
                self.settled = Some(Heard { lost, changed, looked_at, damaged, ..*all });
            }
            (Sample::Text(_), _) => self.text = Some(heard),
            (Sample::All | Sample::Again(_), _) => return false,
        }
        self.since = turn.saturating_add(1);
        true
    }

    /// All that is known, in one.
    fn sum(&self) -> Heard {
        let settled = self.settled.unwrap_or_default();
        let Some(text) = self.text else { return settled };
        Heard {
            looked_at: settled.looked_at.saturating_add(text.looked_at),
            damaged: settled.damaged.saturating_add(text.damaged),
            timed: text.timed,
            micros: text.micros,
            ..settled
        }
    }
}

fn direction(heard: &Heard) -> Direction {
    let Heard { top_bit_lost, lost, changed, looked_at, damaged, .. } = *heard;
    Direction { top_bit_lost, lost, changed, speed: speed(heard), looked_at, damaged }
}

type Outcome = Result<LineReport, LineTestFailure>;

/// Who asks, and decides what is asked.
pub struct Asker {
    depth: Depth,
    facts: Facts,
    listener: Listener,
    /// Tells an echo of ours from anything else.
    number: String,
    question: Question,
    /// The protocols that the partner would speak, once it has answered.
    letters: Option<String>,
    echo_heard: bool,
    /// Whoever sends it back has been asked to say something of his own.
    probed: bool,
    /// Bytes sent, and bytes that came.
    sent: usize,
    came: usize,
    /// There is no partner, but what we say comes back.
    echo: bool,
    forth: Search,
    back: Search,
    way: Option<Timing>,
    /// Turns in a row that brought nothing new.
    fruitless: u16,
    deadline: Instant,
    give_up_at: Instant,
    outcome: Option<Outcome>,
}

/// All that is asked in one turn.
struct Question {
    turn: u16,
    out: Vec<u8>,
    /// Where in it the greeting and the raw bytes end.
    greeting_end: usize,
    raw_end: usize,
    length: usize,
    sent_at: Option<Instant>,
    /// The raw bytes in it.
    sample: Option<Sample>,
    /// The last that answers it.
    last: Last,
    /// An answer has begun, and something new was in it.
    answered: bool,
    learnt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Hello,
    Heard,
    Raw,
    Known,
}

/// From the first byte of a question to the last of a frame that answers it; and how many bytes went forth and back.
#[derive(Debug, Clone, Copy)]
struct Timing {
    took: Duration,
    forth: usize,
    back: usize,
}

impl Asker {
    /// `number` is any: an echo of ours is known by it.
    pub fn new(now: Now, depth: Depth, facts: Facts, number: u32) -> Self {
        let wait = match depth {
            Depth::Quick => limit(depth, &facts),
            Depth::Thorough { wait } => wait,
        };
        let mut asker = Self {
            depth,
            facts,
            listener: Listener::new(Side::Partner),
            number: number.to_string(),
            question: Question::new(0),
            letters: None,
            echo_heard: false,
            probed: false,
            sent: 0,
            came: 0,
            echo: false,
            forth: Search::default(),
            back: Search::default(),
            way: None,
            fruitless: 0,
            deadline: now.instant + PATIENCE_FIRST,
            give_up_at: now.instant + wait,
            outcome: None,
        };
        asker.ask();
        asker
    }

    /// The protocols that the partner would speak, on one line or another.
    pub fn letters(&self) -> &str {
        self.letters.as_deref().unwrap_or_default()
    }

    fn is_met(&self) -> bool {
        self.letters.is_some() || self.echo
    }

    /// Asks for all that is not known yet, in one turn: it may cost seconds to turn the line round.
    fn ask(&mut self) {
        let mut question = Question::new(self.question.turn.saturating_add(1));
        if !self.is_met() {
            question.say(Word::Hello(self.number.clone()), Last::Hello);
            question.greeting_end = question.out.len();
            if self.probed {
                question.out.extend_from_slice(PROBE);
            }
        }
        // Raw bytes are for a partner only: at a login or a modem they would do harm.
        let (mut forth, mut back) = (None, None);
        if self.is_met() || self.depth == Depth::Quick {
            forth = self.forth.wanted(self.depth, self.facts.speed);
            back = self.back.wanted(self.depth, self.facts.speed).filter(|_| !self.echo);
        }
        if let Some(sample) = forth {
            question.say(Word::Raw(sample), Last::Heard);
            question.out.extend(sample.bytes());
            question.say(Word::End, Last::Heard);
            question.raw_end = question.out.len();
            question.sample = Some(sample);
        }
        if let Some(sample) = back {
            question.say(Word::Give(sample), Last::Raw);
        }
        if self.is_met() && forth.is_none() && back.is_none() {
            self.conclude(&mut question);
        }
        question.length = question.out.len();
        self.question = question;
    }

    fn conclude(&mut self, question: &mut Question) {
        if !self.echo {
            let (forth, back) = (self.forth.sum(), self.back.sum());
            // Zero: not measured.
            let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
            let round_trip = self.round_trip().map_or(0, micros);
            question.say(Word::Facts { forth, back, round_trip }, Last::Known);
        }
        // Within a call the choice of a protocol follows, which tells as much.
        if self.echo || self.depth == Depth::Quick {
            self.finish();
        }
    }

    fn round_trip(&self) -> Option<Duration> {
        let Timing { took, forth, back } = self.way?;
        let time = |bytes: usize, found: &Heard| match speed(found) {
            Some(bps) if bps > 0 => Duration::from_micros(bytes as u64 * 10_000_000 / u64::from(bps)),
            Some(_) | None => self.facts.line_time(bytes),
        };
        Some(took.saturating_sub(time(forth, &self.forth.sum()) + time(back, &self.back.sum())))
    }

    fn finish(&mut self) {
        let sent = direction(&self.forth.sum());
        let received = if self.echo { sent.clone() } else { direction(&self.back.sum()) };
        let report = LineReport { echo: self.echo, sent, received, round_trip: self.round_trip() };
        self.outcome.get_or_insert(Ok(report));
    }

    /// Whether the partner has heard all that was found or not, we know it.
    fn fail(&mut self, why: LineTestFailure) {
        match self.question.last {
            Last::Known => self.finish(),
            Last::Hello | Last::Heard | Last::Raw => drop(self.outcome.get_or_insert(Err(why))),
        }
    }

    fn patience(&self) -> Duration {
        match (&self.way, self.depth) {
            (Some(timing), _) => timing.took * 2 + PATIENCE,
            (None, _) if self.probed && !self.is_met() && self.facts.full_duplex => PATIENCE,
            (None, Depth::Thorough { .. }) if !self.is_met() && self.facts.full_duplex => PATIENCE_CALLING,
            (None, _) => PATIENCE_FIRST,
        }
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Frame(Frame { side, word: Word::Hello(number), .. }) if side != self.listener.side => {
                self.echo_heard |= number == self.number;
            }
            Event::Frame(Frame { side, .. }) if side != self.listener.side => {}
            Event::Frame(frame) => self.handle_frame(now, frame),
            // Our own raw bytes: the test by an echo.
            Event::Raw { turn, heard } if self.echo => {
                let end = Frame { side: Side::Asker, turn, word: Word::End }.print().len();
                if turn == self.question.turn && self.way.is_none() {
                    self.way = self.question.sent_at.map(|sent_at| {
                        let took = now.instant.since(sent_at);
                        Timing { took, forth: self.question.raw_end - end, back: end }
                    });
                }
                self.heard_forth(turn, heard.map(|(_, heard)| heard));
                self.answered(turn, Last::Heard);
            }
            Event::Raw { turn, heard } => {
                if let Some((sample, heard)) = heard.filter(|_| turn >= self.back.since) {
                    self.question.learnt |= self.back.learn(turn, sample, heard);
                }
                self.answered(turn, Last::Raw);
            }
        }
    }

    fn handle_frame(&mut self, now: Now, frame: Frame) {
        self.time_answer(now, &frame);
        let Frame { turn, word, .. } = frame;
        match word {
            Word::Hello(_) if self.echo => {}
            Word::Hello(letters) => {
                if self.letters.is_none() {
                    self.give_up_at = self.give_up_at.max(now.instant + limit(self.depth, &self.facts));
                    self.question.learnt = true;
                }
                self.letters = Some(letters);
                self.answered(turn, Last::Hello);
            }
            Word::Heard(heard) => {
                self.heard_forth(turn, Some(heard));
                self.answered(turn, Last::Heard);
            }
            Word::Missed => self.answered(turn, Last::Heard),
            Word::Known if self.question.last == Last::Known => self.finish(),
            Word::Known | Word::Raw(_) | Word::End | Word::Give(_) | Word::Facts { .. } => {}
        }
    }

    /// How long the way is: by the first frame that answers a question.
    fn time_answer(&mut self, now: Now, frame: &Frame) {
        let question = &mut self.question;
        let first = !std::mem::replace(&mut question.answered, true) && self.way.is_none();
        let Some(sent_at) = question.sent_at.filter(|_| first && frame.turn == question.turn) else { return };
        let forth = match (&frame.word, self.facts.full_duplex) {
            (_, false) => question.length,
            (Word::Hello(_), true) => question.greeting_end,
            (_, true) => question.raw_end,
        };
        self.way = Some(Timing { took: now.instant.since(sent_at), forth, back: frame.print().len() });
    }

    fn heard_forth(&mut self, turn: u16, heard: Option<Heard>) {
        // What was asked before, and is answered now, was the same or is not wanted any more.
        if let Some((sample, heard)) = self.question.sample.zip(heard).filter(|_| turn >= self.forth.since) {
            self.question.learnt |= self.forth.learn(turn, sample, heard);
        }
    }

    /// After the last answer to the present turn nothing more is under way.
    fn answered(&mut self, turn: u16, last: Last) {
        if turn != self.question.turn || last != self.question.last {
            return;
        }
        self.fruitless = if self.question.learnt { 0 } else { self.fruitless + 1 };
        if self.fruitless < LINE_TEST_TURNS_MAX {
            self.ask();
        } else {
            self.fail(LineTestFailure::TooDamaged);
        }
    }

    fn expired(&mut self, now: Now) {
        if now.instant >= self.give_up_at {
            self.fail(if self.is_met() { LineTestFailure::Ceased } else { LineTestFailure::Silence });
        } else if now.instant >= self.deadline && self.question.sent_at.is_some() {
            if self.echo_heard && !self.is_met() && self.depth != Depth::Quick {
                if self.came > self.sent + ECHO_ADDS_MAX {
                    return self.fail(LineTestFailure::Talks);
                }
                self.echo = std::mem::replace(&mut self.probed, true);
                if self.echo {
                    self.listener = Listener::new(Side::Asker);
                    self.give_up_at = now.instant + limit(self.depth, &self.facts);
                }
            }
            self.fruitless += u16::from(self.is_met() && !self.question.learnt);
            match self.fruitless < LINE_TEST_TURNS_MAX {
                true => self.ask(),
                false => self.fail(LineTestFailure::TooDamaged),
            }
        }
    }
}

/// How long a test may take at most: the line's own time for the samples both ways apart.
pub(super) fn limit(depth: Depth, facts: &Facts) -> Duration {
    let bytes = match depth {
        Depth::Quick => QUICK_BYTES,
        Depth::Thorough { .. } => 2 * usize::from(LINE_TEST_TEXT_MAX),
    };
    Duration::from_secs(LINE_TEST_S) + facts.line_time(bytes)
}

impl Question {
    fn new(turn: u16) -> Self {
        Self {
            turn,
            out: Vec::new(),
            greeting_end: 0,
            raw_end: 0,
            length: 0,
            sent_at: None,
            sample: None,
            last: Last::Hello,
            answered: false,
            learnt: false,
        }
    }

    fn say(&mut self, word: Word, last: Last) {
        self.out.extend(Frame { side: Side::Asker, turn: self.turn, word }.print());
        self.last = last;
    }
}

impl Dialogue for Asker {
    type Outcome = Outcome;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.came = self.came.saturating_add(bytes.len());
        for byte in bytes {
            if let Some(event) = self.listener.push(now.instant, *byte)
                && self.outcome.is_none()
            {
                self.handle_event(now, event);
            }
        }
        // Who still sends has not done yet.
        self.deadline = self.deadline.max(now.instant + self.patience());
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.outcome.is_none() {
            self.expired(now);
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.question.out.clear();
        self.fail(LineTestFailure::LineLost);
    }

    fn handle_nudge(&mut self, _now: Now, nudge: Nudge) {
        if nudge != Nudge::Store {
            self.fail(LineTestFailure::Stopped);
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.question.sent_at.is_none() && !self.question.out.is_empty() {
            self.question.sent_at = Some(now.instant);
            self.deadline = now.instant + self.facts.line_time(self.question.length) + self.patience();
        }
        self.sent += self.question.out.len();
        out.append(&mut self.question.out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = if self.question.sent_at.is_some() { self.deadline } else { self.give_up_at };
        self.outcome.is_none().then_some(due.min(self.give_up_at))
    }

    fn poll_request(&mut self) -> Option<Request<Outcome>> {
        // The last words go first.
        let outcome = self.outcome.take_if(|_| self.question.out.is_empty())?;
        Some(Request::Finish { outcome, unread: Vec::new() })
    }
}

/// Who answers what is asked.
pub struct Partner {
    depth: Depth,
    facts: Facts,
    /// The protocols that we would speak, on one line or another.
    letters: String,
    listener: Listener,
    out: Vec<u8>,
    answers: u16,
    met: bool,
    /// Of what was received, measured here: the asker's word is not needed.
    speed: Option<u32>,
    report: Option<LineReport>,
    give_up_at: Instant,
    outcome: Option<Outcome>,
}

impl Partner {
    pub fn new(now: Now, depth: Depth, facts: Facts, letters: String) -> Self {
        let wait = match depth {
            Depth::Quick => limit(depth, &facts),
            Depth::Thorough { wait } => wait,
        };
        Self {
            depth,
            facts,
            letters,
            listener: Listener::new(Side::Asker),
            out: Vec::new(),
            answers: 0,
            met: false,
            speed: None,
            report: None,
            give_up_at: now.instant + wait,
            outcome: None,
        }
    }

    /// What the asker has found, once it has said so.
    pub fn report(&self) -> Option<&LineReport> {
        self.report.as_ref()
    }

    fn say(&mut self, turn: u16, word: Word) {
        self.out.extend(Frame { side: Side::Partner, turn, word }.print());
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        // Each turn has three questions at most; who asks for more wants something else.
        if self.answers >= 3 * LINE_TEST_TURNS_MAX {
            return;
        }
        match event {
            Event::Raw { turn, heard: Some((sample, heard)) } => {
                match sample {
                    Sample::All | Sample::Text(_) => self.speed = speed(&heard),
                    Sample::Again(_) => {}
                }
                self.say(turn, Word::Heard(heard));
            }
            Event::Raw { turn, heard: None } => self.say(turn, Word::Missed),
            Event::Frame(Frame { side: Side::Asker, turn, word }) => self.handle_frame(now, turn, word),
            // Our own words come back to us.
            Event::Frame(Frame { side: Side::Partner, .. }) => return,
        }
        self.answers += 1;
    }

    fn handle_frame(&mut self, now: Now, turn: u16, word: Word) {
        match word {
            Word::Hello(_) => {
                if !std::mem::replace(&mut self.met, true) {
                    self.give_up_at = now.instant + limit(self.depth, &self.facts);
                }
                self.say(turn, Word::Hello(self.letters.clone()));
            }
            Word::Give(sample) => {
                self.say(turn, Word::Raw(sample));
                self.out.extend(sample.bytes());
                self.say(turn, Word::End);
            }
            Word::Facts { forth, back, round_trip } => {
                let round_trip = (round_trip > 0).then(|| Duration::from_micros(u64::from(round_trip)));
                let (sent, received) = (direction(&back), Direction { speed: self.speed, ..direction(&forth) });
                self.report = Some(LineReport { echo: false, sent, received, round_trip });
                if self.depth != Depth::Quick {
                    self.say(turn, Word::Known);
                    self.give_up_at = now.instant + LINGER;
                }
            }
            Word::Raw(_) | Word::End | Word::Heard(_) | Word::Missed | Word::Known => {}
        }
    }

    fn end(&mut self, why: LineTestFailure) {
        let end = self.report.clone().ok_or(why);
        self.outcome.get_or_insert(end);
    }
}

impl Dialogue for Partner {
    type Outcome = Outcome;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        for byte in bytes {
            if let Some(event) = self.listener.push(now.instant, *byte) {
                self.handle_event(now, event);
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.give_up_at {
            self.end(if self.met { LineTestFailure::Ceased } else { LineTestFailure::Silence });
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.out.clear();
        self.end(LineTestFailure::LineLost);
    }

    fn handle_nudge(&mut self, _now: Now, nudge: Nudge) {
        if nudge != Nudge::Store {
            self.end(LineTestFailure::Stopped);
        }
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.outcome.is_none().then_some(self.give_up_at)
    }

    fn poll_request(&mut self) -> Option<Request<Outcome>> {
        let outcome = self.outcome.take_if(|_| self.out.is_empty())?;
        Some(Request::Finish { outcome, unread: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_partner_says_of_values_that_were_not_asked_about_counts_for_nothing() {
        let all = |values: &[u8]| values.iter().copied().collect::<ByteSet>();
        let most = u32::MAX;
        let mut search = Search::default();
        let first = Heard { lost: all(&[1, 2, 3]), looked_at: most, damaged: most, ..Heard::default() };
        assert!(search.learn(1, Sample::All, first));
        let lie = Heard { lost: all(&[2, 4, 5, 6]), changed: all(&[2, 3, 7]), ..first };
        assert!(search.learn(2, Sample::Again(first.doubtful()), lie));
        assert!(search.learn(3, Sample::Text(100), first));
        let sum = search.sum();
        assert_eq!((sum.lost.to_string(), sum.changed.to_string()), ("02".to_owned(), "02-03".to_owned()));
        assert_eq!((sum.looked_at, sum.damaged), (most, most));
    }
}
