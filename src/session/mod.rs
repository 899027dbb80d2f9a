//! The UUCP conversation within a call: handshake, commands, files, hang-up; it moves files and runs commands through a `Desk`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use crate::base::names::{Grade, SiteName};
use crate::base::time::{Instant, Now};
use crate::base::wishes::{CopyWishes, Reports};
use crate::dialogue::{Dialogue, Facts, LineRequest, Nudge, Request, Stop};
use crate::proto::{self, Counters, Packets, Parameters, Settings, Violation};
pub use crate::wire::uucp::Restart;
use crate::wire::uucp::{HandshakeReader, handshake_message};

pub mod chat;
pub mod dial;
pub mod identity;
pub mod line_test;
pub mod login;

mod commands;
mod greeting;
mod transfer;

pub use greeting::{Answering, Calling};

use chat::{Chat, ChatFailure, Credentials, Script};
use greeting::{Greeted, Greeting, Step};
use line_test::LineReport;
use transfer::Transfer;

/// How long the other side's good-bye is waited for, after everything is done.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(10);

/// Who stopped a call, for the words about its end.
const THE_PROGRAM: &str = "the program ends";

/// One side of a UUCP call, from `Shere` to the last `OOOOOO`.
pub struct Session {
    stage: Stage,
    out: VecDeque<u8>,
    /// What the line must do once what is in `out` has gone.
    line: VecDeque<LineRequest>,
    /// What a test of the line has found.
    found: Option<Box<LineReport>>,
    /// The end, once what is in `out` has gone.
    outcome: Option<CallResult>,
}

enum Stage {
    Greeting(Greeting),
    /// We were called, and something is said before the protocol begins.
    Chatting {
        chat: Box<Chat>,
        greeted: Box<Greeted>,
    },
    Transferring(Box<Transfer>),
    /// Everything is done; the `O`s are exchanged for politeness.
    Farewell {
        reader: HandshakeReader,
        deadline: Instant,
        result: CallResult,
    },
    Over,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResult {
    /// Known once the names have been exchanged.
    pub site: Option<SiteName>,
    pub protocol: Option<char>,
    pub ending: Ending,
    pub totals: Totals,
    pub counters: Counters,
    /// Of the line, as the protocol measured it.
    pub round_trip: Option<Duration>,
    /// It was brought to its end before everything was done, however orderly.
    pub stopped: bool,
}

/// Why a call ended, in words that an operator can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    #[error("call complete")]
    Complete,
    #[error("the handshake came to nothing: waiting for {0}")]
    NoHandshake(&'static str),
    #[error("the line was lost during {0}")]
    LineLost(&'static str),
    #[error("called the wrong site: it says it is `{0}`")]
    WrongSite(String),
    #[error("the site refused the call: {0}")]
    Rejected(String),
    #[error("refused caller `{name}`: {why}")]
    WeRejected { name: String, why: Rejection },
    #[error("no protocol in common: ours `{ours}`, theirs `{theirs}`")]
    NoCommonProtocol { ours: String, theirs: String },
    #[error("the chat with the caller failed: {0}")]
    CalledChat(ChatFailure),
    #[error("the site will call back")]
    CallsBack,
    #[error("stopped: {0}")]
    Stopped(&'static str),
    #[error(transparent)]
    Violation(Violation),
    #[error("local trouble: {0}")]
    Disk(String),
}

impl Ending {
    pub fn is_complete(&self) -> bool {
        *self == Self::Complete
    }

    /// Whether the line was lost before the answerer had said a word of UUCP.
    pub fn has_met_nobody(&self) -> bool {
        *self == Self::LineLost(greeting::HERE)
    }
}

/// Files and their bytes in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub files_sent: u64,
    pub bytes_sent: u64,
    pub files_received: u64,
    pub bytes_received: u64,
}

/// What is set of protocols, by letter.
#[derive(Debug, Clone, Default)]
pub struct SettingsByProtocol(pub BTreeMap<char, Settings>);

impl SettingsByProtocol {
    /// What the protocol is started with on this link.
    pub fn on(&self, letter: char, facts: &Facts) -> Parameters {
        self.0.get(&letter).unwrap_or(&Settings::default()).on(letter, facts)
    }
}

impl Session {
    /// We have called and logged in.
    pub fn calling(now: Now, calling: Calling, facts: Facts, settings: SettingsByProtocol) -> Self {
        Self::at(Stage::Greeting(Greeting::calling(now, calling, facts, settings)), Vec::new())
    }

    /// Somebody has called us.
    pub fn answering(now: Now, answering: Answering, facts: Facts) -> Self {
        let (greeting, here) = Greeting::answering(now, answering, facts);
        Self::at(Stage::Greeting(greeting), here)
    }

    fn at(stage: Stage, out: Vec<u8>) -> Self {
        Self { stage, out: out.into(), line: VecDeque::new(), found: None, outcome: None }
    }

    /// What a test of the line at the beginning of the call has found.
    pub fn found(&self) -> Option<&LineReport> {
        self.found.as_deref()
    }

    /// What the greeting wants next.
    fn go_on(&mut self, now: Now, step: Step) {
        match step {
            Step::Stay => {}
            Step::Go(greeted) => self.greeted(now, greeted),
            Step::End(ending) => self.end_greeting(ending),
        }
    }

    fn end_greeting(&mut self, ending: Ending) {
        self.stage = Stage::Over;
        self.outcome = Some(CallResult {
            site: None,
            protocol: None,
            ending,
            totals: Totals::default(),
            counters: Counters::default(),
            round_trip: None,
            stopped: false,
        });
    }

    /// The handshake is done: the called chat comes, if there is one, else the protocol.
    fn greeted(&mut self, now: Now, mut greeted: Box<Greeted>) {
        tracing::info!(site = %greeted.site, protocol = %greeted.letter, "handshake done");
        greeted.desk.agreed(greeted.letter);
        self.found = greeted.found.take();
        if self.found.is_some() {
            let Facts { eight_bit, transparent, round_trip, .. } = &greeted.facts;
            tracing::info!(link = %greeted.facts, eight_bit, transparent, ?round_trip, "line tested");
            self.line.extend(greeted.facts.speed.map(LineRequest::Speed));
        }
        match &greeted.chat {
            Some((script, credentials)) => {
                let chat = Box::new(Chat::new(now, script, credentials.clone()));
                self.stage = Stage::Chatting { chat, greeted };
                self.go_on_after_chat(now);
            }
            None => self.transfer(now, *greeted),
        }
    }

    fn transfer(&mut self, now: Now, greeted: Greeted) {
        let eight_bit = proto::entry(greeted.letter).is_none_or(|entry| entry.needs.eight_bit);
        self.line.extend((!eight_bit).then_some(LineRequest::SevenBits));
        self.stage = Stage::Transferring(Box::new(Transfer::new(now, greeted)));
    }

    /// After anything that may have brought the called chat further.
    fn go_on_after_chat(&mut self, now: Now) {
        let Stage::Chatting { chat, .. } = &mut self.stage else { return };
        match chat.poll_request() {
            None => {}
            Some(Request::Line(line)) => self.line.push_back(line),
            Some(Request::Finish { outcome, unread }) => {
                let Stage::Chatting { greeted, .. } = std::mem::replace(&mut self.stage, Stage::Over) else { return };
                match outcome {
                    Ok(()) => {
                        self.transfer(now, *greeted);
                        self.handle_input(now, &unread);
                    }
                    Err(failure) => self.end_chat(*greeted, Ending::CalledChat(failure)),
                }
            }
        }
    }

    fn end_chat(&mut self, greeted: Greeted, ending: Ending) {
        let (site, protocol) = (Some(greeted.site), Some(greeted.letter));
        let (totals, counters) = (Totals::default(), Counters::default());
        self.stage = Stage::Over;
        self.outcome = Some(CallResult { site, protocol, ending, totals, counters, round_trip: None, stopped: false });
    }

    /// After anything that may have brought the transfer to its end.
    fn look_for_ending(&mut self, now: Now) {
        let Stage::Transferring(transfer) = &mut self.stage else { return };
        let Some(ending) = transfer.take_ending() else { return };
        if !ending.is_complete() {
            transfer.abandon(now);
        }
        let mut last = Vec::new();
        transfer.poll_transmit(now, &mut last);
        self.out.extend(last);
        let result = CallResult {
            site: Some(transfer.site.clone()),
            protocol: Some(transfer.letter),
            ending,
            totals: transfer.totals,
            counters: transfer.counters(),
            round_trip: transfer.round_trip(),
            stopped: transfer.is_stopped(),
        };
        if !result.ending.is_complete() {
            self.stage = Stage::Over;
            self.outcome = Some(result);
            return;
        }
        let farewell = handshake_message(if transfer.caller { "OOOOOO" } else { "OOOOOOO" });
        self.out.extend(farewell.iter().chain(&farewell));
        // The peer's may have come in one piece with the end of its protocol.
        let mut reader = HandshakeReader::default();
        let heard = hears_farewell(&mut reader, &transfer.unread());
        // Who asked for the end has the peer's agreement, and the peer needs no more than what now goes out.
        if heard || transfer.has_asked() {
            self.stage = Stage::Over;
            self.outcome = Some(result);
            return;
        }
        let deadline = now.instant + FAREWELL_TIMEOUT;
        self.stage = Stage::Farewell { reader, deadline, result };
    }

    fn end_farewell(&mut self) {
        if let Stage::Farewell { result, .. } = std::mem::replace(&mut self.stage, Stage::Over) {
            self.outcome = Some(result);
        }
    }
}

fn hears_farewell(reader: &mut HandshakeReader, bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| reader.push(*byte).is_some_and(|message| message.starts_with("OOOOO")))
}

impl Dialogue for Session {
    type Outcome = CallResult;

    fn handle_input(&mut self, now: Now, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.stage {
                Stage::Greeting(greeting) => {
                    let mut said = Vec::new();
                    let (used, step) = greeting.handle_input(now, bytes, &mut said);
                    self.out.extend(said);
                    bytes = &bytes[used..];
                    self.go_on(now, step);
                }
                Stage::Chatting { chat, .. } => {
                    chat.handle_input(now, bytes);
                    bytes = &[];
                    self.go_on_after_chat(now);
                }
                Stage::Transferring(transfer) => {
                    transfer.handle_input(now, bytes);
                    bytes = &[];
                    self.look_for_ending(now);
                }
                Stage::Farewell { reader, .. } => {
                    let heard = hears_farewell(reader, bytes);
                    bytes = &[];
                    if heard {
                        self.end_farewell();
                    }
                }
                Stage::Over => return,
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        match &mut self.stage {
            Stage::Greeting(greeting) if now.instant >= greeting.poll_timeout() => {
                let mut said = Vec::new();
                let step = greeting.handle_timeout(now, &mut said);
                self.out.extend(said);
                self.go_on(now, step);
            }
            Stage::Chatting { chat, .. } => {
                chat.handle_timeout(now);
                self.go_on_after_chat(now);
            }
            Stage::Transferring(transfer) => {
                transfer.handle_timeout(now);
                self.look_for_ending(now);
            }
            Stage::Farewell { deadline, .. } if now.instant >= *deadline => self.end_farewell(),
            Stage::Greeting(_) | Stage::Farewell { .. } | Stage::Over => {}
        }
    }

    fn handle_hangup(&mut self, now: Now) {
        self.out.clear();
        match &mut self.stage {
            Stage::Greeting(greeting) => {
                let ending = Ending::LineLost(greeting.waiting_for());
                self.end_greeting(ending);
            }
            Stage::Chatting { chat, .. } => {
                chat.handle_hangup(now);
                self.go_on_after_chat(now);
            }
            Stage::Transferring(transfer) => {
                transfer.handle_hangup();
                self.look_for_ending(now);
                self.out.clear();
                self.end_farewell();
            }
            Stage::Farewell { .. } => self.end_farewell(),
            Stage::Over => {}
        }
    }

    fn handle_nudge(&mut self, now: Now, nudge: Nudge) {
        match (&mut self.stage, nudge) {
            (Stage::Transferring(transfer), Nudge::Store) => transfer.look_again(),
            (Stage::Transferring(transfer), Nudge::WindDown) => transfer.stop(Stop::Orderly, THE_PROGRAM),
            (Stage::Transferring(transfer), Nudge::HangUp) => transfer.stop(Stop::Now, THE_PROGRAM),
            (Stage::Greeting(_), Nudge::HangUp) => self.end_greeting(Ending::Stopped(THE_PROGRAM)),
            (Stage::Chatting { .. }, Nudge::HangUp) => {
                let Stage::Chatting { greeted, .. } = std::mem::replace(&mut self.stage, Stage::Over) else { return };
                self.end_chat(*greeted, Ending::Stopped(THE_PROGRAM));
            }
            (Stage::Greeting(_) | Stage::Chatting { .. }, Nudge::Store | Nudge::WindDown) => {}
            (Stage::Farewell { .. } | Stage::Over, _) => {}
        }
        self.look_for_ending(now);
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if let Stage::Chatting { chat, .. } = &mut self.stage {
            let mut said = Vec::new();
            chat.poll_transmit(now, &mut said);
            self.out.extend(said);
            self.go_on_after_chat(now);
        }
        if self.out.is_empty()
            && let Stage::Transferring(transfer) = &mut self.stage
        {
            transfer.poll_transmit(now, out);
            self.look_for_ending(now);
        }
        // What a greeting or a farewell said goes before anything that follows it.
        out.extend(self.out.drain(..));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Greeting(greeting) => Some(greeting.poll_timeout()),
            Stage::Chatting { chat, .. } => chat.poll_timeout(),
            Stage::Transferring(transfer) => transfer.poll_timeout(),
            Stage::Farewell { deadline, .. } => Some(*deadline),
            Stage::Over => None,
        }
    }

    fn poll_request(&mut self) -> Option<Request<CallResult>> {
        if !self.out.is_empty() {
            return None;
        }
        if let Some(line) = self.line.pop_front() {
            return Some(Request::Line(line));
        }
        // No byte of one session reaches the next: what follows the good-bye is thrown away (A12).
        self.outcome.take().map(|outcome| Request::Finish { outcome, unread: Vec::new() })
    }
}

/// Names a task between the session and its desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub i64);

/// One file or command to send or fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub grade: Grade,
    /// The user it is done for.
    pub user: String,
    /// It was offered in an earlier call: the peer may have a part of it.
    pub again: bool,
    pub deed: Deed,
}

/// What a task does at the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// `S`: the bytes become a file there.
    Send {
        from: String,
        to: String,
        /// `D.0001`: stays the same over all attempts.
        temp: String,
        mode: u32,
        wishes: CopyWishes,
        size: u64,
    },
    /// `E`, or `S` twice with an `X.` file where the peer has no `E`: the bytes become the standard input of a command.
    Execute {
        command: String,
        /// Where mail about it goes, and of what end.
        requestor: Option<String>,
        reports: Reports,
        /// `D.alphaC0001` and `X.alphaC0002`: names at the peer.
        data_name: String,
        execution_name: String,
        /// `D.0001` and `D.0002`: temporary names of the two.
        temp: String,
        execution_temp: String,
        /// The bytes are not its standard input but a file of this name: an `X.` file alone can say so.
        file: Option<String>,
        /// Our name, as it stands in the `X.` file.
        system: String,
        size: u64,
    },
    /// `R`: their file `from` comes to our `to`, if it has no more than `size_max` bytes. What an earlier call has left of it is
    /// not asked for again.
    Fetch { from: String, to: String, wishes: CopyWishes, size_max: Option<u64>, restart: Option<Restart> },
    /// `X`: they work out which files `from` means and send each to `to`, which begins with our name.
    Expand { from: String, to: String, wishes: CopyWishes },
    /// What we answer to their `R` (made by `Desk::serve`).
    Serve {
        mode: u32,
        size: u64,
        /// What tells the file from an earlier or later one of its name.
        version: u64,
    },
}

impl Deed {
    /// The bytes that we send, if we send any.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Send { size, .. } | Self::Execute { size, .. } | Self::Serve { size, .. } => Some(*size),
            Self::Fetch { .. } | Self::Expand { .. } => None,
        }
    }
}

/// A file that the peer wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The answer to our own fetch, or theirs to give.
    pub fetch: Option<TaskId>,
    pub from: String,
    pub to: String,
    pub user: String,
    /// The temporary name, if it identifies the job: neither absent nor `D.0`.
    pub temp: Option<String>,
    pub mode: u32,
    pub size: Option<u64>,
    pub wishes: CopyWishes,
    /// With `E`: the command line, where mail about it goes, and of what end.
    pub command: Option<String>,
    pub requestor: Option<String>,
    pub reports: Reports,
    /// What tells the file that we fetch from others of its name, if the peer says so.
    pub version: Option<u64>,
    /// The sender can start in the middle.
    pub restart: bool,
}

/// A file that the peer asks for with `R`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub from: String,
    pub to: String,
    pub user: String,
    /// The largest it will take.
    pub size_max: Option<u64>,
}

/// What the peer asks for with `X`: `from` may hold wildcards or be at a third system, `to` names the system it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    pub from: String,
    pub to: String,
    pub user: String,
    pub wishes: CopyWishes,
}

/// Why a command is not done: policy, or no room. Both directions use it: our answer to them, theirs to us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `SN2`: not permitted.
    #[error("not permitted")]
    NotPermitted,
    /// `SN4`: cannot be created: no space, no such folder, disk error.
    #[error("cannot be created now")]
    CannotCreate,
    /// `SN6`: too large for now.
    #[error("too large for now")]
    TooLargeNow,
    /// `SN7`: too large ever.
    #[error("too large")]
    TooLarge,
    /// `SN8`: received already.
    #[error("received already")]
    AlreadyHere,
    /// `SN9`: more channels are in use than the peer has.
    #[error("too many channels are in use")]
    TooManyChannels,
    /// `CN5`: received, but could not be put in its place.
    #[error("received but could not be stored")]
    CannotStore,
    /// Any other answer of a peer.
    #[error("refused: {0}")]
    Other(String),
}

/// The session's side: what is to be sent, what may be received. `call::desk` over the store, and a twin in the simulator.
pub trait Desk: Send {
    /// The next thing for the peer, of this grade or better; `None` when there is nothing (it may be asked again later).
    fn next_task(&mut self, worst: Grade) -> io::Result<Option<Task>>;
    /// The bytes of a task from `offset`; fewer than asked for only at the end.
    fn read(&mut self, task: TaskId, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// They ask for a file: a task with `Deed::Serve`.
    fn serve(&mut self, request: &Wanted) -> Result<Task, Refusal>;
    /// They want files sent that we are to find: queued, or refused.
    fn expand(&mut self, request: &Spread) -> Result<(), Refusal>;
    /// They send a file.
    fn admit(&mut self, request: &Incoming) -> Result<Box<dyn Inbox>, Refusal>;
    /// Confirmed by the peer (`CY`, or `SN8`); for a fetch: its inbox is committed.
    fn finished(&mut self, task: TaskId) -> io::Result<()>;
    fn refused(&mut self, task: TaskId, why: Refusal) -> io::Result<()>;
    /// The peer has nothing left to offer: what we received, in this call and before, is not in doubt any more.
    fn settled(&mut self) -> io::Result<()>;
    /// The peer has counted this call (`-Q`), and knows that we have.
    fn counted(&mut self) -> io::Result<()>;
    /// The handshake is done, and this protocol comes.
    fn agreed(&mut self, protocol: char);
    /// The protocol has started, with such packets.
    fn started(&mut self, _packets: Option<Packets>) {}
    /// Whether an operator wants this call to end.
    fn stop_wanted(&mut self) -> io::Result<Option<Stop>>;
}

/// A file on its way in. Dropped unfinished, it keeps what has come for a restart.
pub trait Inbox: Send {
    /// The restart point.
    fn kept(&self) -> u64;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// What has come does not count: the file comes again from its first byte.
    fn forget(&mut self) -> io::Result<()>;
    /// Durable; only then is the peer told.
    fn commit(self: Box<Self>) -> io::Result<()>;
}

/// Who calls, as far as the handshake tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    /// The login it came in by, if the link had one.
    pub login: Option<String>,
    /// `-Q`.
    pub sequence: Option<u32>,
}

/// The answering side's front door.
pub trait Reception: Send {
    /// Knows the caller and finds its desk, or says why not.
    fn welcome(&mut self, caller: &Caller) -> Result<Welcome, Rejection>;
    /// What is said to a caller once the protocol has been chosen, before it begins (Taylor's `called-chat`).
    fn called_chat(&self, _site: &SiteName) -> Option<(Script, Credentials)> {
        None
    }
}

/// What an accepted caller gets.
pub struct Welcome {
    pub site: SiteName,
    pub desk: Box<dyn Desk>,
    /// The letters configured for this site; `None`: all that suit the link.
    pub protocols: Option<String>,
    pub settings: SettingsByProtocol,
    /// What we send it when it calls: grades as good as this.
    pub worst: Grade,
    /// How long the call may last.
    pub longest: Option<Duration>,
}

/// Why we do not take a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("not in our configuration")]
    Unknown,
    #[error("it came in by {}, and its login is `{expected}`", by_login(.used.as_deref()))]
    WrongLogin { used: Option<String>, expected: String },
    #[error("a call between us is going on already")]
    Locked,
    #[error("the numbers of the calls differ: see `bangpath site sequence`")]
    BadSequence,
    #[error("it is called back")]
    CallBack,
}

fn by_login(used: Option<&str>) -> String {
    used.map_or("no login".to_owned(), |login| format!("login `{login}`"))
}
