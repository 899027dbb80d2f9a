//! The handshake before a protocol runs: `Shere`, `S`, `R`, `P`, `U`, on both sides.

use std::time::Duration;

use super::chat::{Credentials, Script};
use super::line_test::{self, Asker, Depth, LineReport, Partner};
use super::{Caller, Desk, Ending, Reception, Rejection};
use crate::base::limits::{HANDSHAKE_NOISE_MAX, LINE_ROUND_TRIP_MAX_S};
use crate::base::names::{Grade, SiteName};
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Facts, Request};
use crate::proto::{self, Protocol};
use crate::wire::uucp::{CallerLine, Features, HandshakeReader, Welcome as Answer, handshake_message};

/// How long one message may take (Taylor's time; packet radio needs it).
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);

/// The first word of a call: the answerer says it.
pub(super) const HERE: &str = "Shere";

/// What the caller knows before it calls.
pub struct Calling {
    /// Our name, as this site knows us.
    pub name: String,
    pub site: SiteName,
    pub desk: Box<dyn Desk>,
    /// The letters configured for this site, best first; `None`: all that suit the link.
    pub protocols: Option<String>,
    /// What may travel in this window: announced to the site and kept by ourselves.
    pub worst: Grade,
    /// The number of this call, where calls are counted.
    pub sequence: Option<u32>,
    /// How long the call may last.
    pub longest: Option<Duration>,
    /// The line is to be tested if the site can: nothing is known of it.
    pub test_line: bool,
}

/// What the answerer knows before it is called.
pub struct Answering {
    pub name: String,
    /// The login the caller came in by, where the link asked for one.
    pub login: Option<String>,
    pub reception: Box<dyn Reception>,
}

/// A handshake that has come to its end.
pub(super) struct Greeted {
    pub site: SiteName,
    pub desk: Box<dyn Desk>,
    pub features: Features,
    pub protocol: Box<dyn Protocol>,
    pub letter: char,
    pub caller: bool,
    /// What we send: grades as good as this.
    pub worst: Grade,
    /// The other side's file size limit.
    pub size_max: Option<u64>,
    pub longest: Option<Duration>,
    /// What is said before the protocol begins.
    pub chat: Option<(Script, Credentials)>,
    /// What the link is, by the line test or as it was taken to be.
    pub facts: Facts,
    pub found: Option<Box<LineReport>>,
}

/// What the greeting wants next.
pub(super) enum Step {
    Stay,
    Go(Box<Greeted>),
    End(Ending),
}

enum Wait {
    /// Caller: for `Shere`.
    Here,
    /// Caller: for `ROK` or a refusal.
    Answer,
    /// Caller: for `P`.
    Offer { features: Features, size_max: Option<u64> },
    /// Caller: for the end of the line test.
    Test { asker: Box<Asker>, offered: String, features: Features, size_max: Option<u64> },
    /// Answerer: for `S`.
    Name,
    /// Answerer: for `U`. With the partner of a line test, once the caller wants one.
    Choice {
        offered: String,
        site: SiteName,
        features: Features,
        worst: Grade,
        size_max: Option<u64>,
        partner: Option<Box<Partner>>,
    },
}

enum Role {
    Caller {
        name: String,
        site: SiteName,
        protocols: Option<String>,
        worst: Grade,
        sequence: Option<u32>,
        test_line: bool,
    },
    Answerer(Answering),
}

pub(super) struct Greeting {
    role: Role,
    wait: Wait,
    reader: HandshakeReader,
    facts: Facts,
    found: Option<Box<LineReport>>,
    settings: super::SettingsByProtocol,
    /// Known from the start to the caller, from `S` on to the answerer.
    desk: Option<Box<dyn Desk>>,
    longest: Option<Duration>,
    /// The line test was offered.
    may_test: bool,
    deadline: Instant,
    noise: usize,
    /// When our last words have left that are answered.
    said: Option<Instant>,
    /// The shortest time that an answer took: what the way there and back takes, and the peer's thinking.
    quickest_answer: Option<Duration>,
}

impl Greeting {
    /// The caller waits for `Shere`.
    pub fn calling(now: Now, calling: Calling, facts: Facts, settings: super::SettingsByProtocol) -> Self {
        let Calling { name, site, desk, protocols, worst, sequence, longest, test_line } = calling;
        let role = Role::Caller { name, site, protocols, worst, sequence, test_line };
        let mut greeting = Self::new(now, role, Wait::Here, facts, settings);
        (greeting.desk, greeting.longest) = (Some(desk), longest);
        greeting
    }

    /// The answerer speaks first: the second value goes out.
    pub fn answering(now: Now, answering: Answering, facts: Facts) -> (Self, Vec<u8>) {
        let here = handshake_message(&format!("Shere={}", answering.name));
        let unknown = super::SettingsByProtocol::default();
        let mut greeting = Self::new(now, Role::Answerer(answering), Wait::Name, facts, unknown);
        greeting.has_said(now, here.len());
        (greeting, here)
    }

    fn new(now: Now, role: Role, wait: Wait, facts: Facts, settings: super::SettingsByProtocol) -> Self {
        let deadline = now.instant + MESSAGE_TIMEOUT;
        let reader = HandshakeReader::default();
        Self {
            role,
            wait,
            reader,
            facts,
            found: None,
            settings,
            desk: None,
            longest: None,
            may_test: false,
            deadline,
            noise: 0,
            said: None,
            quickest_answer: None,
        }
    }

    /// So many bytes go out now, and are answered.
    fn has_said(&mut self, now: Now, bytes: usize) {
        self.said = Some(now.instant + self.facts.line_time(bytes));
    }

    /// An answer of so many bytes has come.
    fn is_answered(&mut self, now: Now, bytes: usize) {
        let Some(said) = self.said.take() else { return };
        let took = now.instant.since(said + self.facts.line_time(bytes));
        if took <= Duration::from_secs(LINE_ROUND_TRIP_MAX_S) {
            self.quickest_answer = Some(self.quickest_answer.map_or(took, |quickest| quickest.min(took)));
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        match &self.wait {
            Wait::Test { asker, .. } => asker.poll_timeout().unwrap_or(self.deadline),
            Wait::Here | Wait::Answer | Wait::Offer { .. } | Wait::Name | Wait::Choice { .. } => self.deadline,
        }
    }

    /// The time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Vec<u8>) -> Step {
        if let Wait::Test { asker, .. } = &mut self.wait {
            asker.handle_timeout(now);
            return self.go_on_testing(now, out);
        }
        Step::End(Ending::NoHandshake(self.waiting_for()))
    }

    /// What we were waiting for, for the explanation of a failure.
    pub fn waiting_for(&self) -> &'static str {
        match self.wait {
            Wait::Here => HERE,
            Wait::Answer => "the answer to our name",
            Wait::Offer { .. } => "the list of protocols",
            Wait::Test { .. } => "the test of the line",
            Wait::Name => "the caller's name",
            Wait::Choice { .. } => "the choice of a protocol",
        }
    }

    /// Takes bytes up to the end of a message. The first value is how many; what follows the last message
    /// of the greeting belongs to the protocol.
    pub fn handle_input(&mut self, now: Now, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Step) {
        if let Wait::Test { asker, .. } = &mut self.wait {
            asker.handle_input(now, bytes);
            return (bytes.len(), self.go_on_testing(now, out));
        }
        for (n, byte) in bytes.iter().enumerate() {
            self.noise += 1;
            if let Wait::Choice { partner: Some(partner), .. } = &mut self.wait {
                partner.handle_input(now, &[*byte]);
                partner.poll_transmit(now, out);
            }
            let Some(message) = self.reader.push(*byte) else {
                continue;
            };
            self.noise = 0;
            match self.handle_message(now, &message, out) {
                Step::Stay if matches!(self.wait, Wait::Test { .. }) => return (n + 1, Step::Stay),
                Step::Stay => {}
                step => return (n + 1, step),
            }
        }
        if self.noise > HANDSHAKE_NOISE_MAX {
            return (bytes.len(), Step::End(Ending::NoHandshake(self.waiting_for())));
        }
        (bytes.len(), Step::Stay)
    }

    fn handle_message(&mut self, now: Now, message: &str, out: &mut Vec<u8>) -> Step {
        tracing::debug!(message, "handshake <");
        // Only ASCII passes the reader, so the first byte is the first character.
        let (letter, text) = message.split_at(1);
        let before = out.len();
        if matches!((&self.wait, letter), (Wait::Answer, "R") | (Wait::Name, "S") | (Wait::Choice { .. }, "U")) {
            self.is_answered(now, handshake_message(message).len());
        }
        let step = match (&self.wait, letter) {
            (Wait::Here, "S") => self.handle_here(text, out),
            (Wait::Answer, "R") => self.handle_answer(text),
            (Wait::Offer { .. }, "P") => self.handle_offer(now, text, out),
            (Wait::Name, "S") => self.handle_name(text, out),
            (Wait::Choice { partner: Some(_), .. }, "U") if text.len() != 1 || is_test(text) => return Step::Stay,
            (Wait::Choice { .. }, "U") if is_test(text) => return self.begin_partner(now),
            (Wait::Choice { .. }, "U") => self.handle_choice(text),
            // An echo of our own words, or something nobody specified.
            _ => return Step::Stay,
        };
        self.deadline = now.instant + MESSAGE_TIMEOUT;
        if out.len() > before {
            self.has_said(now, out.len() - before);
        }
        step
    }

    fn handle_here(&mut self, text: &str, out: &mut Vec<u8>) -> Step {
        let Role::Caller { name: ours, site, worst, sequence, .. } = &self.role else { return Step::Stay };
        let Some(rest) = text.strip_prefix("here") else { return Step::Stay };
        if let Some(name) = rest.strip_prefix('=') {
            let name = name.split_ascii_whitespace().next().unwrap_or("");
            if !is_same_site(name, site.as_str()) {
                return Step::End(Ending::WrongSite(name.to_owned()));
            }
        }
        let line = CallerLine {
            name: ours.clone(),
            sequence: *sequence,
            grade: (*worst < Grade::LEAST).then(|| worst.as_char()),
            restart: true,
            features: Some(Some(Features::OURS.0)),
            ..CallerLine::default()
        };
        say(&line.print(), out);
        self.wait = Wait::Answer;
        Step::Stay
    }

    fn handle_answer(&mut self, text: &str) -> Step {
        let answer = Answer::parse(text);
        // Taylor counts a call that it then refuses because another is going on.
        let counted = matches!(&answer, Answer::Accepted { .. }) || text == "LCK";
        if let Some(desk) = self.desk.as_mut().filter(|_| counted)
            && let Err(error) = desk.counted()
        {
            return Step::End(Ending::Disk(error.to_string()));
        }
        match answer {
            Answer::Accepted { features, size_max } => {
                self.wait = Wait::Offer { features, size_max };
                Step::Stay
            }
            Answer::Refused(text) if text == "CB" => Step::End(Ending::CallsBack),
            Answer::Refused(text) => Step::End(Ending::Rejected(explain_rejection(&text))),
        }
    }

    fn handle_offer(&mut self, now: Now, offered: &str, out: &mut Vec<u8>) -> Step {
        let Role::Caller { protocols, test_line, .. } = &self.role else { return Step::Stay };
        let Wait::Offer { features, size_max } = self.wait else { return Step::Stay };
        // A list of ours is the operator's word on what the line carries.
        let can_test = protocols.is_none() && line_test::is_wanted(&self.facts) && offered.contains(line_test::LETTER);
        let ours = proto::suitable(&self.facts, protocols.as_deref());
        let none_suits = !ours.chars().any(|letter| offered.contains(letter));
        if can_test && (*test_line || none_suits) {
            say(&format!("U{}", line_test::LETTER), out);
            let mut asker = Box::new(Asker::new(now, Depth::Quick, self.facts.clone(), 0));
            asker.poll_transmit(now, out);
            self.wait = Wait::Test { asker, offered: offered.to_owned(), features, size_max };
            return Step::Stay;
        }
        self.choose(offered, features, size_max, out)
    }

    /// Says what the test has to say; at its end chooses a protocol, by what was found if anything was.
    fn go_on_testing(&mut self, now: Now, out: &mut Vec<u8>) -> Step {
        let Wait::Test { asker, offered, features, size_max } = &mut self.wait else { return Step::Stay };
        asker.poll_transmit(now, out);
        let Some(Request::Finish { outcome, .. }) = asker.poll_request() else { return Step::Stay };
        let (mut offered, features, size_max) = (std::mem::take(offered), *features, *size_max);
        match outcome {
            Ok(report) => {
                offered = asker.letters().to_owned();
                self.facts = report.found(&self.facts);
                self.found = Some(Box::new(report));
            }
            Err(why) => tracing::warn!(link = %self.facts, %why, "the line could not be tested"),
        }
        self.choose(&offered, features, size_max, out)
    }

    fn choose(&mut self, offered: &str, features: Features, size_max: Option<u64>, out: &mut Vec<u8>) -> Step {
        let Role::Caller { site, protocols, worst, .. } = &self.role else { return Step::Stay };
        let ours = proto::suitable(&self.facts, protocols.as_deref());
        let Some(letter) = ours.chars().find(|l| offered.contains(*l)) else {
            say("UN", out);
            return Step::End(Ending::NoCommonProtocol { ours, theirs: offered.to_owned() });
        };
        say(&format!("U{letter}"), out);
        let (site, worst) = (site.clone(), *worst);
        self.greeted(letter, site, features, worst, size_max)
    }

    fn handle_name(&mut self, text: &str, out: &mut Vec<u8>) -> Step {
        let Role::Answerer(answering) = &mut self.role else { return Step::Stay };
        let line = match CallerLine::parse(text) {
            Ok(line) => line,
            Err(_) => return Step::Stay,
        };
        let caller = Caller { name: line.name.clone(), login: answering.login.clone(), sequence: line.sequence };
        let welcome = match answering.reception.welcome(&caller) {
            Ok(welcome) => welcome,
            Err(rejection) => {
                say(rejection_message(&rejection), out);
                return Step::End(Ending::WeRejected { name: line.name, why: rejection });
            }
        };
        let (answer, features) = line.welcome();
        let offered = proto::suitable(&self.facts, welcome.protocols.as_deref());
        say(&answer, out);
        // Last, where a peer with a short memory for lists loses nothing else.
        let test = line_test::is_wanted(&self.facts) && welcome.protocols.is_none();
        let letter = if test { line_test::LETTER.to_string() } else { String::new() };
        say(&format!("P{offered}{letter}"), out);
        self.may_test = test;
        let worst = match line.grade.and_then(Grade::parse) {
            Some(grade) => grade.min(welcome.worst),
            None => welcome.worst,
        };
        (self.desk, self.longest) = (Some(welcome.desk), welcome.longest);
        self.settings = welcome.settings;
        let (site, size_max) = (welcome.site, line.size_max);
        self.wait = Wait::Choice { offered, site, features, worst, size_max, partner: None };
        Step::Stay
    }

    /// The caller wants the line tested, and its choice of a protocol comes after that.
    fn begin_partner(&mut self, now: Now) -> Step {
        let Wait::Choice { offered, partner, .. } = &mut self.wait else { return Step::Stay };
        if !self.may_test {
            return Step::End(Ending::NoCommonProtocol {
                ours: offered.clone(),
                theirs: line_test::LETTER.to_string(),
            });
        }
        // What the line will turn out to carry may be any of what we speak.
        *offered = proto::speakable();
        *partner = Some(Box::new(Partner::new(now, Depth::Quick, self.facts.clone(), offered.clone())));
        self.deadline = now.instant + line_test::limit(Depth::Quick, &self.facts) + MESSAGE_TIMEOUT;
        Step::Stay
    }

    fn handle_choice(&mut self, text: &str) -> Step {
        let Wait::Choice { offered, site, features, worst, size_max, partner } = &self.wait else { return Step::Stay };
        if let Some(report) = partner.as_ref().and_then(|partner| partner.report()) {
            self.facts = report.found(&self.facts);
            self.found = Some(Box::new(report.clone()));
        }
        let letter = text.chars().next().unwrap_or('N');
        if !offered.contains(letter) {
            return Step::End(Ending::NoCommonProtocol { ours: offered.clone(), theirs: text.to_owned() });
        }
        // Whoever chooses has seen that we took the call.
        if let Some(Err(error)) = self.desk.as_mut().map(|desk| desk.counted()) {
            return Step::End(Ending::Disk(error.to_string()));
        }
        let (site, features, worst, size_max) = (site.clone(), *features, *worst, *size_max);
        self.greeted(letter, site, features, worst, size_max)
    }

    fn greeted(
        &mut self,
        letter: char,
        site: SiteName,
        features: Features,
        worst: Grade,
        size_max: Option<u64>,
    ) -> Step {
        let Some(entry) = proto::entry(letter) else {
            return Step::End(Ending::NoCommonProtocol { ours: String::new(), theirs: letter.to_string() });
        };
        let (caller, chat) = match &self.role {
            Role::Caller { .. } => (true, None),
            Role::Answerer(answering) => (false, answering.reception.called_chat(&site)),
        };
        let desk = self.desk.take().expect("the desk is there before a protocol is chosen, and one is chosen once");
        // What earlier calls or a test have measured holds no thinking of the peer's.
        self.facts.round_trip = self.facts.round_trip.or(self.quickest_answer);
        self.facts.peer_is_ours = features.has(Features::BANGPATH);
        let mut parameters = self.settings.on(letter, &self.facts);
        // Who announces features is Taylor or its kin. HDB, SVR4 and BSD take packets of exactly the size they asked for.
        parameters.short_packets &= features != Features::default() && !features.has(Features::SVR4);
        let start = proto::Start { caller, facts: self.facts.clone(), parameters };
        let protocol = (entry.make)(start);
        let (longest, facts, found) = (self.longest, self.facts.clone(), self.found.take());
        Step::Go(Box::new(Greeted {
            site,
            desk,
            features,
            protocol,
            letter,
            caller,
            worst,
            size_max,
            longest,
            facts,
            found,
            chat,
        }))
    }
}

fn is_test(text: &str) -> bool {
    text.starts_with(line_test::LETTER)
}

fn say(text: &str, out: &mut Vec<u8>) {
    tracing::debug!(message = text, "handshake >");
    out.extend_from_slice(&handshake_message(text));
}

/// Whether the name in `Shere=` is that of the site called. Old systems cut theirs at 7 or 14 characters.
fn is_same_site(heard: &str, called: &str) -> bool {
    let cut = matches!(heard.len(), 7 | 14) && called.len() > heard.len();
    let called = if cut { called.get(..heard.len()).unwrap_or(called) } else { called };
    heard.eq_ignore_ascii_case(called)
}

fn rejection_message(why: &Rejection) -> &'static str {
    match why {
        Rejection::Unknown => "RYou are unknown to me",
        Rejection::WrongLogin { .. } => "RLOGIN",
        Rejection::Locked => "RLCK",
        Rejection::BadSequence => "RBADSEQ",
        Rejection::CallBack => "RCB",
    }
}

/// The known refusals in words.
fn explain_rejection(text: &str) -> String {
    let known = match text {
        "LCK" => "a call between us and it is going on already (RLCK)",
        "LOGIN" => "our login name is not the one it expects of us (RLOGIN)",
        "BADSEQ" => "the numbers of the calls differ (RBADSEQ); set ours with `bangpath site sequence`",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    text.chars().take(120).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cut_by_old_systems_are_recognised() {
        assert!(is_same_site("beta", "beta"));
        assert!(is_same_site("BETA", "beta"));
        assert!(is_same_site("longnam", "longname-of-a-site"));
        assert!(!is_same_site("longna", "longname-of-a-site"));
        assert!(!is_same_site("gamma", "beta"));
        assert!(!is_same_site("", "beta"));
    }
}
