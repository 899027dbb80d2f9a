//! Where session, store and link meet: one call, placed or answered, from the open line to the ledger.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::SetOnce;

use crate::base::limits::WIRE_NAME_MAX;
use crate::base::names::{PortName, SiteName, UserName};
use crate::base::time::Timestamp;
use crate::base::words::{count, with_causes};
use crate::dialogue::Nudge;
use crate::link::{self, Clock, Link, LinkError, Nudges, ProgramFailure, SerialLine, Speaks, TncLine};
use crate::mail;
use crate::news;
use crate::sched::{Retry, SizeLimit, Window, Zone};
use crate::session::chat::{Chat, ChatFailure, Credentials, Script};
use crate::session::dial::DialFailure;
use crate::session::login::{Gatekeeper, LOGIN_TIMEOUT, LoginFailure, LoginPrompt};
use crate::session::{Answering, CallResult, Ending, Rejection, Session, SettingsByProtocol};
use crate::store::ledger::Fact;
use crate::store::{Lock, Store, StoreError};
use crate::wire::bsmtp;
use crate::wire::packing::BatchForm;

mod attend;
mod chat_program;
mod count;
mod desk;
mod known_line;
mod lend;
mod line;
mod notices;
mod pack;
mod place;
mod reception;
mod relay;
mod report;
mod settle;
mod taylor;
mod underway;
pub mod unpack;
mod ways;
mod wrong_logins;

pub use attend::{AnsweringPort, Attended, attend};
pub use chat_program::ChatProgram;
pub use lend::{SharedPort, lend};
pub use line::{Modem, StatedLine, connected, hang_up, open_port};
pub use pack::spool_name;
pub use place::place;
pub use relay::{Outgoing, can_be_notified, can_be_said, copy_command, file_cargo, word_of};
pub use report::Watch;
pub use underway::Underway;
pub use ways::{Only, ways_in_order};
pub use wrong_logins::{Origin, network_of};

use count::Connected;
use report::Report;

/// How often a call that no daemon watches looks whether it is to be hung up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the last words of a login may take to leave.
const LOGIN_GRACE: Duration = Duration::from_secs(1);

/// A configured neighbour.
#[derive(Debug, Clone)]
pub struct Site {
    pub name: SiteName,
    /// Our name, as this site knows us.
    pub our_name: String,
    /// Ways to call it, best first; none: it calls us.
    pub ways: Vec<Way>,
    /// What `\L` and `\P` say when we call it.
    pub credentials: Option<SecretCredentials>,
    /// The login it must have come in by, where one was asked for.
    pub called_login: Option<String>,
    /// What is said to it, when it has called, before the protocol begins; empty: nothing.
    pub called_chat: Script,
    /// The letters it may use, best first; `None`: all that suit the link.
    pub protocols: Option<String>,
    pub settings: SettingsByProtocol,
    /// The commands it may have run here: some of `rmail`, `rnews` and the batched forms of `rmail`, which come with it.
    pub commands: Vec<String>,
    /// Programs of this machine that it may have run, too, by the last part of their paths.
    pub programs: Vec<PathBuf>,
    /// Whether it may ask for files of the public directory.
    pub may_request: bool,
    pub windows: Vec<Window>,
    pub zone: Zone,
    pub poll_every: Option<Duration>,
    pub retry: Retry,
    /// How large a news batch may become before compression, in bytes, and how it is compressed.
    pub batch: BatchForm,
    /// Calls are counted on both sides (`-Q`).
    pub sequence: bool,
    /// It is called back when it calls.
    pub call_back: bool,
    pub longest_call: Duration,
    /// What we send it and take from it, by the time of day and by who called.
    pub send_limits: Vec<SizeLimit>,
    pub receive_limits: Vec<SizeLimit>,
    /// Sites to which, and from which, it may have files sent on through us.
    pub forward_to: Forwarding,
    pub forward_from: Forwarding,
}

impl Site {
    /// The program of this machine that the operator lets it call so.
    pub fn program(&self, name: &str) -> Option<&Path> {
        let called = |path: &&PathBuf| path.as_os_str() == name || path.file_name().is_some_and(|file| file == name);
        self.programs.iter().find(called).map(PathBuf::as_path)
    }

    /// Whether it may have this program run here. What `uucp` may do is looked at file by file.
    pub fn may_run(&self, program: &str) -> bool {
        let named = |program: &str| self.commands.iter().any(|c| c == program);
        named(program)
            || program == "uucp"
            || self.program(program).is_some()
            || bsmtp::COMMANDS.contains(&program) && named("rmail")
    }
}

/// Sites between which files may be forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    Any,
    Sites(Vec<SiteName>),
}

impl Forwarding {
    pub fn admits(&self, site: &SiteName) -> bool {
        match self {
            Self::Any => true,
            Self::Sites(sites) => sites.contains(site),
        }
    }
}

/// A login name and password that no log shows.
#[derive(Clone)]
pub struct SecretCredentials(pub Credentials);

impl std::fmt::Debug for SecretCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "login `{}`", self.0.login)
    }
}

/// One way to a site: a port with what this site sets of it.
#[derive(Debug, Clone)]
pub struct Way {
    pub port: PortName,
    /// The pool that the site is called over, if the port is one of several equal ones.
    pub pool: Option<PortName>,
    /// Its place in the `call` list; the ports of a pool share one.
    pub entry: usize,
    pub kind: PortKind,
    /// What talks on the line before the login chat.
    pub chat_program: Option<ChatProgram>,
    /// The login chat; empty: none.
    pub chat: Script,
    pub stated: StatedLine,
}

/// What kind of port it is and how it is opened.
#[derive(Debug, Clone)]
pub enum PortKind {
    Serial {
        line: SerialLine,
        modem: Option<Modem>,
        /// The loss of the carrier ends a call, on a line without a modem of ours.
        carrier: bool,
    },
    Tcp {
        /// `host:port`, or the path of a Unix socket.
        address: String,
        telnet: bool,
    },
    Pipe {
        command: Vec<String>,
    },
    /// A radio modem program, and the station that is called.
    Radio {
        line: TncLine,
        station: Option<String>,
    },
}

impl PortKind {
    /// Whether only one call at a time can use it.
    pub fn is_single(&self) -> bool {
        matches!(self, Self::Serial { .. } | Self::Radio { .. })
    }
}

/// What every call needs; the same for all of them.
#[derive(Clone)]
pub struct Context {
    pub store: Store,
    pub clock: Clock,
    pub our_name: String,
    pub sites: Arc<Vec<Site>>,
    pub mail: Arc<mail::Policy>,
    pub news: Arc<news::Policy>,
    pub public: PathBuf,
    pub watch: Arc<Watch>,
}

impl Context {
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|s| s.name.as_str() == name)
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)().wall
    }
}

/// How far a call has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    pub bytes_sent: AtomicU64,
    pub bytes_received: AtomicU64,
    pub files_sent: AtomicU64,
    pub files_received: AtomicU64,
    /// Bytes of the files begun in each direction, where they are known.
    pub bytes_to_send: AtomicU64,
    pub bytes_to_receive: AtomicU64,
    /// The site, once it is known, and its lock, which must go with the session.
    met: SetOnce<(SiteName, Weak<Lock>)>,
    /// The protocol, once the handshake is done.
    agreed: SetOnce<char>,
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Tells with whom the call is.
    fn meet(&self, site: &SiteName, lock: &Arc<Lock>) {
        // A call is with one site.
        let _ = self.met.set((site.clone(), Arc::downgrade(lock)));
    }
}

/// Why a call did not come to an orderly end.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("site {0} is in another call")]
    SiteBusy(SiteName),
    #[error("port {0} is in use")]
    PortBusy(PortName),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Dial(#[from] DialFailure),
    // No sources: one line of a log has to tell it all.
    #[error("login failed: {0}")]
    Chat(ChatFailure),
    #[error("the chat program failed: {0}")]
    ChatProgram(ProgramFailure),
    #[error("the chat with whoever called failed: {0}")]
    AnswerChat(ChatFailure),
    #[error("login failed: {0}")]
    Login(LoginFailure),
    #[error("{}", .0.ending)]
    Ended(Box<CallResult>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChatFailure> for CallError {
    fn from(failure: ChatFailure) -> Self {
        Self::Chat(failure)
    }
}

impl From<LoginFailure> for CallError {
    fn from(failure: LoginFailure) -> Self {
        Self::Login(failure)
    }
}

impl CallError {
    /// Whether it says nothing about the site: the port or the site was busy with us already.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::SiteBusy(_) | Self::PortBusy(_) | Self::Link(LinkError::Busy { .. }))
    }
}

/// A wish to end a call that came when it had just ended is not meant for the next.
fn forget_hang_up(context: &Context, site: &Site) -> Result<(), StoreError> {
    match context.store.read::<_, StoreError>(|view| view.hang_up_wanted(&site.name))? {
        Some(_) => context.store.write::<_, StoreError>(|change| change.want_hang_up(&site.name, None)),
        None => Ok(()),
    }
}

/// Notes that a call has begun; whoever follows the ledger sees it now, and not when all is over. A call goes on without that.
fn record_begin(context: &Context, site: &SiteName, detail: &str) {
    let fact = Fact { verb: "began", ..call_fact(context.now(), site, detail, None) };
    let recorded = tokio::task::block_in_place(|| context.store.write::<_, StoreError>(|change| change.record(fact)));
    if let Err(error) = recorded {
        tracing::warn!(error = with_causes(&error), "cannot note that a call has begun");
    }
}

fn call_fact(at: Timestamp, site: &SiteName, detail: &str, result: Option<&CallResult>) -> Fact {
    let bytes = result.map_or(0, |r| r.totals.bytes_sent + r.totals.bytes_received);
    Fact {
        at,
        verb: "called",
        what: "call",
        place: site.to_string(),
        id: String::new(),
        bytes,
        detail: detail.to_owned(),
    }
}

/// One line for people.
pub fn describe(result: &CallResult) -> String {
    let t = &result.totals;
    let protocol = result.protocol.map_or(String::new(), |p| format!(" (protocol {p})"));
    format!(
        "{}{protocol}: sent {}, {}; received {}, {}",
        result.ending,
        count(t.files_sent, "file"),
        count(t.bytes_sent, "byte"),
        count(t.files_received, "file"),
        count(t.bytes_received, "byte")
    )
}

/// Answers a call on an open link, with a login first if it must be. The outcome is recorded for a known site.
pub async fn answer(
    context: &Context,
    mut link: Link,
    caller: Unmet,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    // A telnet client begins with its options, and a login never with their first byte. A damaged line may.
    if caller.ask_login && link.facts.reliable {
        link = link.over_telnet(Speaks::FirstByteTells);
    }
    let result = converse(context, &mut link, caller, progress, nudges).await;
    link.close().await;
    result
}

/// A caller of whom nothing is known but how he came in.
pub struct Unmet {
    /// What goes before the login; empty: nothing.
    pub chat: Script,
    pub ask_login: bool,
    /// What he has logged in as already, elsewhere.
    pub login: Option<String>,
    /// That is a name without a password as yet: a getty has asked for it.
    pub lacks_password: bool,
    /// Where his wrong logins are counted.
    pub from: Option<Origin>,
    /// What he has said already.
    pub unread: Vec<u8>,
}

impl Unmet {
    pub fn new(ask_login: bool) -> Self {
        Self { chat: Script::default(), ask_login, login: None, lacks_password: false, from: None, unread: Vec::new() }
    }
}

async fn converse(
    context: &Context,
    link: &mut Link,
    caller: Unmet,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    let mut report = Report::answering(context, &link.facts.peer);
    let answering = answer_on(context, link, caller, progress, nudges);
    let result = report.during(context, progress, answering).await;
    report.line.speed = link.facts.speed;
    report.end(context, &result).await;
    result
}

async fn answer_on(
    context: &Context,
    link: &mut Link,
    caller: Unmet,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    let clock = context.clock;
    let connected = clock().instant;
    let Unmet { chat, ask_login, mut login, lacks_password, from, mut unread } = caller;
    if !chat.is_empty() {
        let mut chat = Chat::new(clock(), &chat, Credentials::default());
        let (outcome, rest) = link::drive(link, &mut chat, &unread, nudges, clock).await;
        outcome.map_err(CallError::AnswerChat)?;
        unread = rest;
    }
    if ask_login {
        let gatekeeper = Box::new(StoreGatekeeper { context: context.clone(), from });
        let mut prompt = match login.take().filter(|_| lacks_password) {
            Some(name) => LoginPrompt::for_password(clock(), gatekeeper, name),
            None => LoginPrompt::new(clock(), gatekeeper),
        };
        let asking = link::drive(link, &mut prompt, &unread, nudges, clock);
        let (outcome, rest) = in_time(LOGIN_TIMEOUT + LOGIN_GRACE, asking).await;
        login = Some(match outcome {
            Ok(login) => login,
            Err(failure) => return Err(record_failed_login(context, failure)?.into()),
        });
        unread = rest;
    }
    let reception = reception::StoreReception::new(context.clone(), ask_login, &link.facts.peer, Arc::clone(progress));
    let answering = Answering { name: context.our_name.clone(), login, reception: Box::new(reception) };
    let mut session = Session::answering(clock(), answering, link.facts.clone());
    let (result, _) = link::drive(link, &mut session, &unread, nudges, clock).await;
    drop(session);
    let line = Connected { time: clock().instant.since(connected), speed: link.facts.speed };
    record_answered(context, &result, line)?;
    match result.ending {
        Ending::Complete => Ok(result),
        _ => Err(CallError::Ended(Box::new(result))),
    }
}

type LoggedIn = (Result<String, LoginFailure>, Vec<u8>);

/// What a login comes to within its time: for a caller that takes nothing of what he is told the driver has more patience.
async fn in_time(limit: Duration, asking: impl Future<Output = LoggedIn>) -> LoggedIn {
    tokio::time::timeout(limit, asking).await.unwrap_or((Err(LoginFailure::Silence), Vec::new()))
}

fn record_answered(context: &Context, result: &CallResult, line: Connected) -> Result<(), StoreError> {
    let words = describe(result);
    let Some(site) = &result.site else {
        tracing::warn!(result = words, "a caller did not get far");
        return record_rejected(context, &result.ending);
    };
    tracing::info!(%site, result = words, "answered call ended");
    let now = context.now();
    tokio::task::block_in_place(|| {
        context.store.write(|change| {
            change.dissolve_unoffered(site)?;
            change.want_hang_up(site, None)?;
            let mut state = change.site_state(site)?;
            state.last_call = Some(now);
            state.last_result = Some(words.clone());
            if result.ending.is_complete() {
                state.last_success = Some(now);
                state.failures = 0;
                state.not_before = None;
            }
            change.set_site_state(site, &state)?;
            change.count_call(site, now, &count::answered(result, line))?;
            change.record(call_fact(now, site, &format!("was called by it: {words}"), Some(result)))
        })
    })
}

/// Notes who was refused, under the name it gave itself.
fn record_rejected(context: &Context, ending: &Ending) -> Result<(), StoreError> {
    let Ending::WeRejected { name, why } = ending else { return Ok(()) };
    // A call that crosses another is nothing to be told.
    if matches!(why, Rejection::Locked | Rejection::CallBack) {
        return Ok(());
    }
    let name: String = name.chars().filter(|c| !c.is_control()).take(WIRE_NAME_MAX).collect();
    refuse_call(context, &name, &why.to_string())
}

/// Notes a login that failed: that of a site under its name, any other as it is. What is no login at all is not
/// shown anywhere.
fn record_failed_login(context: &Context, failure: LoginFailure) -> Result<LoginFailure, StoreError> {
    let LoginFailure::Wrong(login) = &failure else { return Ok(failure) };
    let user = UserName::parse(login).ok();
    let known = user.map(|user| context.store.read::<_, StoreError>(|view| view.user(&user))).transpose()?.flatten();
    let own = |site: &&Site| site.called_login.as_deref().unwrap_or(site.name.as_str()) == login;
    let site = context.sites.iter().find(own);
    let failure = if known.is_some() || site.is_some() { failure } else { LoginFailure::Unknown };
    refuse_call(context, site.map_or("", |site| site.name.as_str()), &failure.to_string())?;
    Ok(failure)
}

fn refuse_call(context: &Context, place: &str, detail: &str) -> Result<(), StoreError> {
    let now = context.now();
    let written = tokio::task::block_in_place(|| {
        context.store.write::<_, StoreError>(|change| change.record_refused_call(now, place, detail))
    })?;
    if !written {
        tracing::warn!(place, detail, "too many callers are refused to write each down");
    }
    Ok(())
}

/// Checks logins against the users of the store.
struct StoreGatekeeper {
    context: Context,
    from: Option<Origin>,
}

impl Gatekeeper for StoreGatekeeper {
    fn admits(&mut self, login: &str, password: &str) -> bool {
        let Self { context, from } = self;
        let counted = from.as_ref().map(|from| from.count(context));
        if counted == Some(None) {
            return false;
        }
        let found = UserName::parse(login).ok().and_then(|name| {
            let user = context.store.read::<_, StoreError>(|view| view.user(&name));
            user.unwrap_or_else(|error| {
                tracing::error!(error = with_causes(&error), "cannot look up a login");
                None
            })
        });
        let admitted = crate::base::password::verify(found.and_then(|user| user.password).as_deref(), password);
        if let Some(Some(login)) = counted {
            wrong_logins::judge(context, login, admitted);
        }
        admitted
    }
}

/// Nudges of what no daemon watches: only the sender gives some.
pub fn own_nudges() -> (tokio::sync::broadcast::Sender<Nudge>, Nudges) {
    tokio::sync::broadcast::channel(16)
}

/// A call that no daemon watches. No other process can nudge it, so it looks by itself whether it is to be hung up and whether
/// there is more to do.
pub async fn unwatched<T>(nudges: &tokio::sync::broadcast::Sender<Nudge>, call: impl Future<Output = T>) -> T {
    let looking = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let _ = nudges.send(Nudge::Store);
        }
    };
    tokio::select! {
        done = call => done,
        never = looking => never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;
    use crate::dialogue::Facts;

    struct Nobody;
    impl Gatekeeper for Nobody {
        fn admits(&mut self, _login: &str, _password: &str) -> bool {
            false
        }
    }

    #[test]
    fn a_caller_that_takes_no_prompt_is_not_waited_for_beyond_the_time_of_a_login() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // No room for the prompt.
            let (near, _far) = tokio::io::duplex(1);
            let (reader, writer) = tokio::io::split(near);
            let mut link = Link::new(Facts::stream("test"), reader, writer);
            let mut prompt = LoginPrompt::new(Now::default(), Box::new(Nobody));
            let (_keep, mut nudges) = own_nudges();
            let asking = link::drive(&mut link, &mut prompt, &[], &mut nudges, Now::default);
            let (outcome, _) = in_time(Duration::from_millis(50), asking).await;
            assert_eq!(outcome, Err(LoginFailure::Silence));
        });
    }
}
