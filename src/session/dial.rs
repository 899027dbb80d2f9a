//! A modem's part of a call: brought to CONNECT by AT commands, by dialling or by answering a ring, and hung up at the end.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::{HANDSHAKE_NOISE_MAX, MODEM_LINE_MAX};
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Nudge, Request};

/// How long a modem may take to answer a command; a reset is the slowest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two commands: early modems lose what follows their OK at once.
const COMMAND_PAUSE: Duration = Duration::from_millis(150);
/// A caller who has not rung for so long has gone: rings are at most six seconds apart.
const RING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the line feed behind CONNECT may lag.
const LINE_FEED_WAIT: Duration = Duration::from_millis(300);
/// Rounds of commands that may fail before there is no modem.
const ROUNDS_MAX: u32 = 2;

/// What a kind of modem wants to hear and says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    /// Commands that make it ready, each answered by OK.
    pub init: Vec<String>,
    /// What stands before the number: `ATDT`.
    pub dial: String,
    /// What stands behind it.
    pub dial_end: String,
    /// What `=` and `-` in a number become: a wait for the dial tone, and a pause.
    pub dial_tone: String,
    pub pause: String,
    /// From the number to CONNECT.
    pub connect_timeout: Duration,
    /// Answers that mean there will be no connection.
    pub fail: Vec<String>,
    /// What takes a call that rings.
    pub answer: String,
    /// Silence before and after the escape that brings it back to commands.
    pub guard: Duration,
    pub escape: String,
    pub hang_up: String,
    /// Words in CONNECT, or in a line before it, that tell of error correction between the modems.
    pub corrected: Vec<String>,
    /// It keeps the speed of its serial side whatever CONNECT says.
    pub fixed_speed: bool,
    /// Its carrier line tells the truth, so that its loss ends a call.
    pub carrier: bool,
}

impl Profile {
    /// The command that dials a number.
    fn dial_command(&self, number: &str) -> String {
        let mut command = self.dial.clone();
        for letter in number.chars() {
            match letter {
                '=' if !is_host(number) => command.push_str(&self.dial_tone),
                '-' if !is_host(number) => command.push_str(&self.pause),
                _ => command.push(letter),
            }
        }
        command.push_str(&self.dial_end);
        command
    }
}

/// Whether a number is none but a host, as emulators of modems take it: `hub.example`, `my-hub:23`.
pub fn is_host(number: &str) -> bool {
    let begins_with_letter = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
    number.contains(':') || number.split('.').skip(1).any(begins_with_letter)
}

/// What a modem said when it had a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// Bits per second between the modems, where they tell.
    pub speed: Option<u32>,
    /// The modems correct errors between them.
    pub corrected: bool,
    /// They compress what they carry: it may be more than their speed says.
    pub compressed: bool,
    /// The line itself, for people.
    pub words: String,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    #[error("the modem does not answer `{0}`: is it on, at this speed, with this cable?")]
    NoModem(String),
    #[error("the modem does not take `{0}`: is this its profile?")]
    BadCommand(String),
    #[error("the modem says `{0}`")]
    Refused(String),
    #[error("no connection within {} s", .0.as_secs())]
    NoConnection(Duration),
    #[error("the modem's line was lost")]
    LineLost,
    #[error("endless noise instead of the modem's answer")]
    Noise,
    #[error("stopped with us")]
    Stopped,
    /// No failure of the line.
    #[error("nobody has called, or no longer")]
    Unwanted,
}

/// What the modem is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    Call(String),
    /// To be ready for callers.
    Prepare,
    /// After so many rings.
    Answer(u32),
}

/// Brings a modem to a connection.
pub struct Dial {
    profile: Profile,
    goal: Goal,
    stage: Stage,
    reader: LineReader,
    out: Vec<u8>,
    /// Told before CONNECT, by `CARRIER 31200` and `PROTOCOL: LAPM`.
    foretold: Connection,
    rounds: u32,
    rings: u32,
    outcome: Option<Result<Connection, DialFailure>>,
}

enum Stage {
    /// Before what is to be said next; then so many commands of the profile have been answered.
    Pausing {
        until: Instant,
        next: usize,
    },
    Command {
        at: usize,
        deadline: Instant,
    },
    /// The modem may still be in an earlier call.
    Escaping(Escape),
    Ringing {
        deadline: Instant,
    },
    Connecting {
        deadline: Instant,
    },
    /// The line feed behind CONNECT.
    Connected {
        until: Instant,
        connection: Connection,
    },
}

impl Dial {
    /// Calls a number.
    pub fn calling(now: Now, profile: Profile, number: &str) -> Self {
        let stage = Stage::Pausing { until: now.instant, next: 0 };
        Self::new(profile, Goal::Call(number.to_owned()), stage)
    }

    /// Makes a modem ready for callers; there is no connection yet.
    pub fn preparing(now: Now, profile: Profile) -> Self {
        Self::new(profile, Goal::Prepare, Stage::Pausing { until: now.instant, next: 0 })
    }

    /// Takes the call of a modem that has been prepared and has something to say: after so many rings.
    pub fn answering(now: Now, profile: Profile, rings: u32) -> Self {
        Self::new(profile, Goal::Answer(rings.max(1)), Stage::Ringing { deadline: now.instant + RING_TIMEOUT })
    }

    fn new(profile: Profile, goal: Goal, stage: Stage) -> Self {
        Self {
            profile,
            goal,
            stage,
            reader: LineReader::default(),
            out: Vec::new(),
            foretold: Connection::default(),
            rounds: 0,
            rings: 0,
            outcome: None,
        }
    }

    fn fail(&mut self, why: DialFailure) {
        self.outcome.get_or_insert(Err(why));
    }

    fn say(&mut self, command: &str) {
        self.out.extend_from_slice(command.as_bytes());
        self.out.push(b'\r');
    }

    /// Says the command of this number, or what comes after the last.
    fn go_on(&mut self, now: Now, next: usize) {
        if let Some(command) = self.profile.init.get(next).cloned() {
            self.say(&command);
            self.stage = Stage::Command { at: next, deadline: now.instant + ANSWER_TIMEOUT };
            return;
        }
        match &self.goal {
            Goal::Call(number) => {
                let command = self.profile.dial_command(number);
                self.say(&command);
                self.stage = Stage::Connecting { deadline: now.instant + self.profile.connect_timeout };
            }
            Goal::Prepare | Goal::Answer(_) => drop(self.outcome.get_or_insert(Ok(Connection::default()))),
        }
    }

    fn handle_line(&mut self, now: Now, line: &str) {
        tracing::debug!(line, "modem");
        match &mut self.stage {
            Stage::Command { at, .. } => {
                let at = *at;
                if line == "OK" {
                    self.stage = Stage::Pausing { until: now.instant + COMMAND_PAUSE, next: at + 1 };
                } else if line == "ERROR" {
                    self.fail(DialFailure::BadCommand(self.profile.init[at].clone()));
                }
            }
            Stage::Escaping(escape) => escape.handle_line(now, line),
            Stage::Ringing { .. } => self.handle_ring(now, line),
            Stage::Connecting { .. } => self.handle_answer(now, line),
            Stage::Pausing { .. } | Stage::Connected { .. } => {}
        }
    }

    fn handle_ring(&mut self, now: Now, line: &str) {
        let Goal::Answer(rings) = self.goal else { return };
        if line == "RING" {
            self.rings += 1;
            self.stage = Stage::Ringing { deadline: now.instant + RING_TIMEOUT };
            if self.rings >= rings {
                let answer = self.profile.answer.clone();
                self.say(&answer);
                self.stage = Stage::Connecting { deadline: now.instant + self.profile.connect_timeout };
            }
        } else if line.starts_with("CONNECT") {
            // It answers by itself (S0).
            self.handle_answer(now, line);
        }
    }

    fn handle_answer(&mut self, now: Now, line: &str) {
        if line.starts_with("CONNECT") {
            let told = read_connect(line, &self.profile.corrected);
            let connection = Connection {
                speed: self.foretold.speed.or(told.speed),
                corrected: self.foretold.corrected || told.corrected,
                compressed: self.foretold.compressed || told.compressed,
                words: told.words,
            };
            self.stage = Stage::Connected { until: now.instant + LINE_FEED_WAIT, connection };
        } else if let Some(speed) = line.strip_prefix("CARRIER ").or(line.strip_prefix("+MRR:")) {
            self.foretold.speed = leading_number(speed);
        } else if let Some(protocol) = line.strip_prefix("PROTOCOL:").or(line.strip_prefix("+ER:")) {
            self.foretold.corrected |= self.profile.corrected.iter().any(|word| protocol.contains(word.as_str()));
        } else if let Some(how) = line.strip_prefix("COMPRESSION:").or(line.strip_prefix("+DR:")) {
            self.foretold.compressed |= how.trim() != "NONE";
        } else if self.profile.fail.iter().any(|word| line.starts_with(word.as_str())) {
            self.fail(DialFailure::Refused(line.to_owned()));
        }
    }

    fn expired(&mut self, now: Now) {
        match &mut self.stage {
            Stage::Pausing { until, next } if *until <= now.instant => {
                let next = *next;
                self.go_on(now, next);
            }
            Stage::Command { at, deadline } if *deadline <= now.instant => {
                let command = self.profile.init[*at].clone();
                self.rounds += 1;
                if self.rounds >= ROUNDS_MAX {
                    self.fail(DialFailure::NoModem(command));
                } else {
                    self.stage = Stage::Escaping(Escape::new(now, &self.profile));
                }
            }
            Stage::Escaping(escape) => {
                escape.expired(now);
                if escape.is_over() {
                    self.stage = Stage::Pausing { until: now.instant + COMMAND_PAUSE, next: 0 };
                }
            }
            Stage::Ringing { deadline } if *deadline <= now.instant => self.fail(DialFailure::Unwanted),
            Stage::Connecting { deadline } if *deadline <= now.instant => {
                self.fail(DialFailure::NoConnection(self.profile.connect_timeout));
            }
            Stage::Connected { until, connection } if *until <= now.instant => {
                self.outcome.get_or_insert(Ok(connection.clone()));
            }
            Stage::Pausing { .. }
            | Stage::Command { .. }
            | Stage::Ringing { .. }
            | Stage::Connecting { .. }
            | Stage::Connected { .. } => {}
        }
    }
}

impl Dialogue for Dial {
    type Outcome = Result<Connection, DialFailure>;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            if let Stage::Connected { connection, .. } = &self.stage {
                // What is not the line feed is the peer's first byte.
                let rest = if *byte == b'\n' { &bytes[n + 1..] } else { &bytes[n..] };
                self.reader.rest = rest.to_vec();
                self.outcome.get_or_insert(Ok(connection.clone()));
                return;
            }
            match self.reader.push(*byte) {
                Some(line) => self.handle_line(now, &line),
                None if self.reader.noise > HANDSHAKE_NOISE_MAX => self.fail(DialFailure::Noise),
                None => {}
            }
            if self.outcome.is_some() {
                return;
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        self.expired(now);
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.fail(DialFailure::LineLost);
    }

    fn handle_nudge(&mut self, _now: Now, nudge: Nudge) {
        if nudge != Nudge::Store && matches!(self.stage, Stage::Ringing { .. }) {
            self.fail(DialFailure::Unwanted);
        } else if nudge == Nudge::HangUp {
            self.fail(DialFailure::Stopped);
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if let Stage::Escaping(escape) = &mut self.stage {
            escape.poll_transmit(now, out);
        }
        out.append(&mut self.out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Pausing { until, .. } | Stage::Connected { until, .. } => Some(*until),
            Stage::Command { deadline, .. } | Stage::Connecting { deadline } | Stage::Ringing { deadline } => {
                Some(*deadline)
            }
            Stage::Escaping(escape) => Some(escape.deadline()),
        }
    }

    fn poll_request(&mut self) -> Option<Request<Self::Outcome>> {
        let outcome = self.outcome.take()?;
        Some(Request::Finish { outcome, unread: std::mem::take(&mut self.reader.rest) })
    }
}

/// Brings a modem back from a connection and breaks it: for lines whose DTR does nothing.
pub struct HangUp {
    escape: Escape,
    reader: LineReader,
}

impl HangUp {
    pub fn new(now: Now, profile: &Profile) -> Self {
        Self { escape: Escape::new(now, profile), reader: LineReader::default() }
    }
}

impl Dialogue for HangUp {
    type Outcome = ();

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        for byte in bytes {
            if let Some(line) = self.reader.push(*byte) {
                self.escape.handle_line(now, &line);
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        self.escape.expired(now);
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.escape.step = Step::Over;
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.escape.poll_transmit(now, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.escape.deadline())
    }

    fn poll_request(&mut self) -> Option<Request<()>> {
        self.escape.is_over().then_some(Request::Finish { outcome: (), unread: Vec::new() })
    }
}

/// Silence, `+++`, silence, `ATH`. Comes to an end whether the modem answers or not.
struct Escape {
    guard: Duration,
    /// What is still to be said: the escape, then the command.
    words: VecDeque<Vec<u8>>,
    step: Step,
}

enum Step {
    /// Nothing may be sent until then.
    Quiet(Instant),
    /// The escape or the command has gone.
    Waiting(Instant),
    Over,
}

impl Escape {
    fn new(now: Now, profile: &Profile) -> Self {
        // Where it was at its commands already, the escape has begun a line there.
        let hang_up = format!("\r{}\r", profile.hang_up).into_bytes();
        Self {
            guard: profile.guard,
            words: VecDeque::from([profile.escape.clone().into_bytes(), hang_up]),
            step: Step::Quiet(now.instant + profile.guard),
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if let Step::Quiet(until) = self.step
            && until <= now.instant
            && let Some(words) = self.words.pop_front()
        {
            out.extend(words);
            self.step = Step::Waiting(now.instant + self.guard + ANSWER_TIMEOUT);
        }
    }

    fn handle_line(&mut self, now: Now, line: &str) {
        let Step::Waiting(_) = self.step else { return };
        if line.starts_with("NO CARRIER") || self.words.is_empty() && line == "OK" {
            self.step = Step::Over;
        } else if line == "OK" {
            self.step = Step::Quiet(now.instant + COMMAND_PAUSE);
        }
    }

    fn expired(&mut self, now: Now) {
        if let Step::Waiting(until) = self.step
            && until <= now.instant
        {
            // No answer to the escape: it may have been at its commands all the time.
            self.step = if self.words.is_empty() { Step::Over } else { Step::Quiet(now.instant) };
        }
    }

    fn deadline(&self) -> Instant {
        match self.step {
            Step::Quiet(at) | Step::Waiting(at) => at,
            Step::Over => Instant::default(),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }
}

/// Cuts what a modem says into lines, without the eighth bit.
#[derive(Default)]
pub(super) struct LineReader {
    line: Vec<u8>,
    /// Bytes since the last line that was one.
    noise: usize,
    /// What came behind the last line.
    rest: Vec<u8>,
}

impl LineReader {
    pub fn push(&mut self, byte: u8) -> Option<String> {
        self.noise += 1;
        match byte & 0x7f {
            b'\r' | b'\n' => {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if line.is_empty() {
                    return None;
                }
                self.noise = 0;
                Some(line)
            }
            byte if self.line.len() < MODEM_LINE_MAX => {
                self.line.push(byte);
                None
            }
            _ => None,
        }
    }
}

/// `CONNECT 33600/ARQ/V34`, `CONNECT 115200/V34/LAPM/V42BIS/33600:TX/31200:RX`, `CONNECT 14400 REL`. Where several speeds
/// stand, the first may be that of the cable: what we send at is the one marked TX, else the least.
fn read_connect(line: &str, corrected: &[String]) -> Connection {
    let words: Vec<&str> = line.split(['/', ' ', ':', ',']).collect();
    let numbers = words.iter().enumerate().filter_map(|(at, word)| {
        let number: u32 = word.parse().ok().filter(|n| (75..=4_000_000).contains(n))?;
        Some((words.get(at + 1) == Some(&"TX"), number))
    });
    let speed = numbers.clone().find(|(marked, _)| *marked).or(numbers.min_by_key(|(_, number)| *number));
    Connection {
        speed: speed.map(|(_, number)| number),
        corrected: corrected.iter().any(|word| words.contains(&word.as_str())),
        compressed: COMPRESSIONS.iter().any(|word| words.contains(word)),
        words: line.to_owned(),
    }
}

/// What modems call compression at CONNECT: V.42bis, its forms, V.44, and classes 5 and 7 of MNP.
const COMPRESSIONS: [&str; 8] = ["V42BIS", "V42bis", "V42B", "V42b", "V44", "MNP5", "MNP7", "COMP"];

fn leading_number(text: &str) -> Option<u32> {
    let digits: String = text.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn profile() -> Profile {
        Profile {
            name: "test".to_owned(),
            init: vec!["ATZ".to_owned(), "ATE0".to_owned()],
            dial: "ATDT".to_owned(),
            dial_end: String::new(),
            dial_tone: "W".to_owned(),
            pause: ",".to_owned(),
            connect_timeout: Duration::from_secs(60),
            fail: ["BUSY", "NO CARRIER", "ERROR"].map(str::to_owned).into(),
            answer: "ATA".to_owned(),
            guard: Duration::from_secs(1),
            escape: "+++".to_owned(),
            hang_up: "ATH".to_owned(),
            corrected: ["ARQ", "LAPM"].map(str::to_owned).into(),
            fixed_speed: true,
            carrier: true,
        }
    }

    /// Plays a modem: what it answers to what it hears, each answer after 10 ms. Gives all that was said, the outcome
    /// and what is left for the session.
    fn play<D: Dialogue>(mut dialogue: D, answers: &[(&str, &str)]) -> (String, D::Outcome, String) {
        let (mut now, mut said, mut heard) = (Now::default(), Vec::new(), 0);
        for _ in 0..1000 {
            dialogue.poll_transmit(now, &mut said);
            if let Some(Request::Finish { outcome, unread }) = dialogue.poll_request() {
                let said = String::from_utf8(said).expect("text").replace('\r', "|");
                return (said, outcome, String::from_utf8(unread).expect("text"));
            }
            let new = String::from_utf8_lossy(&said[heard..]).into_owned();
            let answer = answers.iter().find(|(to, _)| !new.is_empty() && new.trim_end() == *to);
            heard = said.len();
            match answer {
                Some((_, answer)) => {
                    now.instant = now.instant + Duration::from_millis(10);
                    dialogue.handle_input(now, answer.as_bytes());
                }
                None => {
                    let Some(at) = dialogue.poll_timeout() else { panic!("it waits for ever, having said {new:?}") };
                    now.instant = at.max(now.instant);
                    dialogue.handle_timeout(now);
                }
            }
        }
        panic!("it comes to no end");
    }

    /// Has heard something before it is asked for anything.
    struct Heard(Dial, &'static str);

    impl Dialogue for Heard {
        type Outcome = <Dial as Dialogue>::Outcome;

        fn handle_input(&mut self, now: Now, bytes: &[u8]) {
            self.0.handle_input(now, bytes);
        }

        fn handle_timeout(&mut self, now: Now) {
            self.0.handle_timeout(now);
        }

        fn handle_hangup(&mut self, now: Now) {
            self.0.handle_hangup(now);
        }

        fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
            self.0.handle_input(now, std::mem::take(&mut self.1).as_bytes());
            self.0.poll_transmit(now, out);
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.0.poll_timeout()
        }

        fn poll_request(&mut self) -> Option<Request<Self::Outcome>> {
            self.0.poll_request()
        }
    }

    fn check_call(answers: &[(&str, &str)], expected: &str) {
        let (said, outcome, unread) = play(Dial::calling(Now::default(), profile(), "5551234"), answers);
        let outcome = match outcome {
            Ok(c) => format!("{:?} {} {}", c.speed, c.corrected, c.words),
            Err(why) => why.to_string(),
        };
        assert_eq!(format!("{said} -> {outcome} [{unread}]"), expected);
    }

    #[test]
    fn a_number_is_dialled_and_the_connection_understood() {
        let ready = [("ATZ", "ATZ\r\r\nOK\r\n"), ("ATE0", "\r\nOK\r\n")];
        let call = |answer| [ready[0], ready[1], ("ATDT5551234", answer)];
        check_call(
            &call("\r\nCONNECT 2400/ARQ\r\n\x10Shere"),
            "ATZ|ATE0|ATDT5551234| -> Some(2400) true CONNECT 2400/ARQ [\x10Shere]",
        );
        check_call(
            &call("\r\n+MCR: V34\r\n+MRR: 28800\r\n+ER: LAPM\r\n\r\nCONNECT 115200\r\n"),
            "ATZ|ATE0|ATDT5551234| -> Some(28800) true CONNECT 115200 []",
        );
        check_call(
            &call("\r\nCARRIER 31200\r\n\r\nPROTOCOL: LAPM\r\n\r\nCONNECT 115200\r\nx"),
            "ATZ|ATE0|ATDT5551234| -> Some(31200) true CONNECT 115200 [x]",
        );
        let (_, outcome, _) = play(
            Dial::calling(Now::default(), profile(), "5551234"),
            &call("\r\nCARRIER 31200\r\n\r\nPROTOCOL: LAPM\r\n\r\nCOMPRESSION: V.42 BIS\r\n\r\nCONNECT 115200\r\n"),
        );
        assert!(outcome.is_ok_and(|connection| connection.compressed));
        check_call(
            &call("ATDT5551234\r\r\nRINGING\r\n\r\nCONNECT\r"),
            "ATZ|ATE0|ATDT5551234| -> None false CONNECT []",
        );
        check_call(&call("\r\nBUSY\r\n"), "ATZ|ATE0|ATDT5551234| -> the modem says `BUSY` []");
        check_call(&call("\r\n"), "ATZ|ATE0|ATDT5551234| -> no connection within 60 s []");
    }

    #[test]
    fn a_number_waits_for_the_dial_tone_and_pauses_where_it_says_so_and_a_host_does_not() {
        let check = |number: &str, expected: &str| assert_eq!(profile().dial_command(number), expected);
        check("9=1-212-5551234", "ATDT9W1,212,5551234");
        check("9,555.1234", "ATDT9,555.1234");
        check("my-hub:23", "ATDTmy-hub:23");
        check("my-hub.example", "ATDTmy-hub.example");
    }

    #[test]
    fn a_modem_still_in_a_call_is_brought_back() {
        let answers = [("+++", "OK\r"), ("\rATH", "OK\r"), ("ATE0", "OK\r"), ("ATDT5551234", "CONNECT 300\r\n")];
        check_call(
            &answers,
            "ATZ|+++|ATH|ATZ| -> the modem does not answer `ATZ`: is it on, at this speed, with this cable? []",
        );
        check_call(&[("ATZ", "ERROR\r")], "ATZ| -> the modem does not take `ATZ`: is this its profile? []");
    }

    #[test]
    fn a_modem_is_prepared_and_a_ring_answered() {
        let answers = [("ATZ", "OK\r\n"), ("ATE0", "OK\r\n")];
        let (said, outcome, _) = play(Dial::preparing(Now::default(), profile()), &answers);
        assert_eq!((said.as_str(), outcome), ("ATZ|ATE0|", Ok(Connection::default())));
        let mut dial = Dial::answering(Now::default(), profile(), 2);
        dial.handle_input(Now::default(), b"RING\r\n");
        let (said, outcome, rest) = play(Heard(dial, "\r\nRING\r\n"), &[("ATA", "\r\nCONNECT 9600/LAPM\r\nuu")]);
        let connection = outcome.expect("a connection");
        assert_eq!((connection.speed, connection.corrected), (Some(9600), true));
        assert_eq!((said.as_str(), rest.as_str()), ("ATA|", "uu"));
    }

    #[test]
    fn who_went_away_is_not_waited_for() {
        let check = |heard: &'static str, answers: &[(&str, &str)], expected: DialFailure| {
            let dial = Dial::answering(Now::default(), profile(), 1);
            assert_eq!(play(Heard(dial, heard), answers).1, Err(expected));
        };
        check("\r\nOK\r\n", &[], DialFailure::Unwanted);
        check("RING\r\n", &[("ATA", "NO CARRIER\r\n")], DialFailure::Refused("NO CARRIER".to_owned()));
        check("RING\r\n", &[], DialFailure::NoConnection(Duration::from_secs(60)));
        let mut dial = Dial::answering(Now::default(), profile(), 1);
        dial.handle_nudge(Now::default(), Nudge::WindDown);
        let unwanted = Request::Finish { outcome: Err(DialFailure::Unwanted), unread: Vec::new() };
        assert_eq!(dial.poll_request(), Some(unwanted), "we want the line ourselves");
    }

    #[test]
    fn a_stop_ends_the_dialling_but_not_before_the_last_moment() {
        let mut dial = Dial::calling(Now::default(), profile(), "5551234");
        let mut said = Vec::new();
        dial.poll_transmit(Now::default(), &mut said);
        dial.handle_nudge(Now::default(), Nudge::WindDown);
        assert_eq!(dial.poll_request(), None);
        dial.handle_nudge(Now::default(), Nudge::HangUp);
        let stopped = Request::Finish { outcome: Err(DialFailure::Stopped), unread: Vec::new() };
        assert_eq!(dial.poll_request(), Some(stopped));
    }

    #[test]
    fn a_modem_hangs_up_or_is_given_up() {
        let hang_up = || HangUp::new(Now::default(), &profile());
        assert_eq!(play(hang_up(), &[("+++", "\r\nOK\r\n"), ("\rATH", "\r\nOK\r\n")]).0, "+++|ATH|");
        assert_eq!(play(hang_up(), &[("+++", "\r\nNO CARRIER\r\n")]).0, "+++");
        assert_eq!(play(hang_up(), &[]).0, "+++|ATH|");
    }

    #[test]
    fn speeds_are_read_from_many_forms_of_connect() {
        let check = |line: &str, speed: Option<u32>, corrected: bool| {
            let connection = read_connect(line, &["ARQ", "REL", "LAPM"].map(str::to_owned));
            assert_eq!((connection.speed, connection.corrected), (speed, corrected), "{line}");
        };
        check("CONNECT", None, false);
        check("CONNECT 1200", Some(1200), false);
        check("CONNECT 14400/REL", Some(14_400), true);
        check("CONNECT 33600/ARQ/V34/LAPM/V42BIS", Some(33_600), true);
        check("CONNECT 115200/V34/LAPM/V42BIS/33600:TX/31200:RX", Some(33_600), true);
        check("CONNECT FAST", None, false);
        let compressed = |line: &str| read_connect(line, &[]).compressed;
        assert!(compressed("CONNECT 33600/ARQ/V34/LAPM/V42BIS") && compressed("CONNECT 14400/ARQ/V32b/V42b"));
        assert!(!compressed("CONNECT 14400/ARQ/V32/LAPM") && !compressed("CONNECT 9600"));
        check("CONNECT 99999999999", None, false);
    }

    #[test]
    fn noise_has_an_end() {
        let mut dial = Dial::calling(Now::default(), profile(), "1");
        dial.handle_input(Now::default(), &vec![b'x'; HANDSHAKE_NOISE_MAX + 2]);
        assert_eq!(dial.poll_request(), Some(Request::Finish { outcome: Err(DialFailure::Noise), unread: Vec::new() }));
    }
}
