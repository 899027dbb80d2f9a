//! The UUCP conversation within a call: handshake, commands, files, hang-up; it moves files and runs commands through a `Desk`.

use std::io;

use crate::base::names::{Grade, SiteName};

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
        notify: Option<String>,
        size: u64,
    },
    /// `E`, or `S` twice with an `X.` file where the peer has no `E`: the bytes become the standard input of a command.
    Execute {
        command: String,
        /// Where mail about a failure goes.
        requestor: Option<String>,
        /// `D.alphaC0001` and `X.alphaC0002`: names at the peer.
        data_name: String,
        execution_name: String,
        /// `D.0001` and `D.0002`: temporary names of the two.
        temp: String,
        execution_temp: String,
        size: u64,
    },
    /// `R`: their file `from` comes to our `to`.
    Fetch { from: String, to: String },
    /// What we answer to their `R` (made by `Desk::serve`).
    Serve { mode: u32, size: u64 },
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
    /// Who is told when it has arrived.
    pub notify: Option<String>,
    /// With `E`: the command line and where mail about its failure goes.
    pub command: Option<String>,
    pub requestor: Option<String>,
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
    /// They send a file.
    fn admit(&mut self, request: &Incoming) -> Result<Box<dyn Inbox>, Refusal>;
    /// Confirmed by the peer (`CY`, or `SN8`); for a fetch: its inbox is committed.
    fn finished(&mut self, task: TaskId) -> io::Result<()>;
    fn refused(&mut self, task: TaskId, why: Refusal) -> io::Result<()>;
    /// The peer has gone on after our confirmations: what we received is not in doubt any more.
    fn settled(&mut self) -> io::Result<()>;
}

/// A file on its way in. Dropped unfinished, it keeps what has come for a restart.
pub trait Inbox: Send {
    /// The restart point.
    fn kept(&self) -> u64;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
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
}

/// What an accepted caller gets.
pub struct Welcome {
    pub site: SiteName,
    pub desk: Box<dyn Desk>,
    /// The letters configured for this site; `None`: all that suit the link.
    pub protocols: Option<String>,
    /// What we send it when it calls: grades as good as this.
    pub worst: Grade,
}

/// The answers to `S` that end a call (section 1.6 of the protocol reference in docs/).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    Unknown,
    WrongLogin,
    Locked,
    BadSequence,
}
