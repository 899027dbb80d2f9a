//! The handshake before a protocol runs: `Shere`, `S`, `R`, `P`, `U`, on both sides.

use std::time::Duration;

use super::{Caller, Desk, Ending, Reception, Rejection};
use crate::base::limits::HANDSHAKE_NOISE_MAX;
use crate::base::names::{Grade, SiteName};
use crate::base::time::{Instant, Now};
use crate::dialogue::Facts;
use crate::proto::{self, Protocol};
use crate::wire::uucp::{CallerLine, Features, HandshakeReader, Welcome as Answer, handshake_message};

/// How long one message may take (Taylor's time; packet radio needs it).
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);

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
}

/// What the greeting wants next.
pub(super) enum Step {
    Stay,
    Go(Greeted),
    End(Ending),
}

enum Wait {
    /// Caller: for `Shere`.
    Here,
    /// Caller: for `ROK` or a refusal.
    Answer,
    /// Caller: for `P`.
    Offer { features: Features, size_max: Option<u64> },
    /// Answerer: for `S`.
    Name,
    /// Answerer: for `U`.
    Choice { offered: String, site: SiteName, features: Features, worst: Grade, size_max: Option<u64> },
}

enum Role {
    Caller { name: String, site: SiteName, protocols: Option<String>, worst: Grade, sequence: Option<u32> },
    Answerer(Answering),
}

pub(super) struct Greeting {
    role: Role,
    wait: Wait,
    reader: HandshakeReader,
    facts: Facts,
    parameters: super::ParameterSet,
    /// Known from the start to the caller, from `S` on to the answerer.
    desk: Option<Box<dyn Desk>>,
    longest: Option<Duration>,
    deadline: Instant,
    noise: usize,
}

impl Greeting {
    /// The caller waits for `Shere`.
    pub fn calling(now: Now, calling: Calling, facts: Facts, parameters: super::ParameterSet) -> Self {
        let Calling { name, site, desk, protocols, worst, sequence, longest } = calling;
        let role = Role::Caller { name, site, protocols, worst, sequence };
        let mut greeting = Self::new(now, role, Wait::Here, facts, parameters);
        (greeting.desk, greeting.longest) = (Some(desk), longest);
        greeting
    }

    /// The answerer speaks first: the second value goes out.
    pub fn answering(now: Now, answering: Answering, facts: Facts) -> (Self, Vec<u8>) {
        let here = handshake_message(&format!("Shere={}", answering.name));
        let unknown = super::ParameterSet::default();
        (Self::new(now, Role::Answerer(answering), Wait::Name, facts, unknown), here)
    }

    fn new(now: Now, role: Role, wait: Wait, facts: Facts, parameters: super::ParameterSet) -> Self {
        let deadline = now.instant + MESSAGE_TIMEOUT;
        let reader = HandshakeReader::default();
        Self { role, wait, reader, facts, parameters, desk: None, longest: None, deadline, noise: 0 }
    }

    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// What we were waiting for, for the explanation of a failure.
    pub fn waiting_for(&self) -> &'static str {
        match self.wait {
            Wait::Here => "Shere",
            Wait::Answer => "the answer to our name",
            Wait::Offer { .. } => "the list of protocols",
            Wait::Name => "the caller's name",
            Wait::Choice { .. } => "the choice of a protocol",
        }
    }

    /// Takes bytes up to the end of a message. The first value is how many; what follows the last message
    /// of the greeting belongs to the protocol.
    pub fn handle_input(&mut self, now: Now, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Step) {
        for (n, byte) in bytes.iter().enumerate() {
            self.noise += 1;
            let Some(message) = self.reader.push(*byte) else {
                continue;
            };
            self.noise = 0;
            match self.handle_message(now, &message, out) {
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
        let step = match (&self.wait, letter) {
            (Wait::Here, "S") => self.handle_here(text, out),
            (Wait::Answer, "R") => self.handle_answer(text),
            (Wait::Offer { .. }, "P") => self.handle_offer(text, out),
            (Wait::Name, "S") => self.handle_name(text, out),
            (Wait::Choice { .. }, "U") => self.handle_choice(text),
            // An echo of our own words, or something nobody specified.
            _ => return Step::Stay,
        };
        self.deadline = now.instant + MESSAGE_TIMEOUT;
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

    fn handle_offer(&mut self, offered: &str, out: &mut Vec<u8>) -> Step {
        let Role::Caller { site, protocols, worst, .. } = &self.role else { return Step::Stay };
        let Wait::Offer { features, size_max } = self.wait else { return Step::Stay };
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
        say(&format!("P{offered}"), out);
        let worst = match line.grade.and_then(Grade::parse) {
            Some(grade) => grade.min(welcome.worst),
            None => welcome.worst,
        };
        (self.desk, self.longest) = (Some(welcome.desk), welcome.longest);
        self.parameters = welcome.parameters;
        self.wait = Wait::Choice { offered, site: welcome.site, features, worst, size_max: line.size_max };
        Step::Stay
    }

    fn handle_choice(&mut self, text: &str) -> Step {
        let Wait::Choice { offered, site, features, worst, size_max } = &self.wait else { return Step::Stay };
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
        let caller = matches!(self.role, Role::Caller { .. });
        let desk = self.desk.take().expect("the desk is there before a protocol is chosen, and one is chosen once");
        let mut parameters = self.parameters.get(letter);
        // Who announces features is Taylor or its kin. HDB, SVR4 and BSD take packets of exactly the size they asked for.
        parameters.short_packets &= features != Features::default() && !features.has(Features::SVR4);
        let start = proto::Start { caller, facts: self.facts.clone(), parameters };
        let protocol = (entry.make)(start);
        let longest = self.longest;
        Step::Go(Greeted { site, desk, features, protocol, letter, caller, worst, size_max, longest })
    }
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
