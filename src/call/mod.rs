//! Where session, store and link meet: one call, placed or answered, from the open line to the ledger.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::names::{Grade, PortName, SiteName, UserName};
use crate::base::time::Timestamp;
use crate::dialogue::Nudge;
use crate::link::{self, Clock, Link, LinkError, Nudges};
use crate::mail;
use crate::news;
use crate::sched::{Retry, Window, Zone};
use crate::session::chat::{Chat, ChatFailure, Credentials, Script};
use crate::session::login::{Gatekeeper, LoginFailure, LoginPrompt};
use crate::session::{Answering, CallResult, Calling, Ending, ParameterSet, Session};
use crate::store::ledger::Fact;
use crate::store::{LockKind, Store, StoreError};

mod desk;
mod pack;
mod reception;
pub mod unpack;

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
    /// The letters it may use, best first; `None`: all that suit the link.
    pub protocols: Option<String>,
    pub parameters: ParameterSet,
    /// The commands it may have run here: some of `rmail`, `rnews`.
    pub commands: Vec<String>,
    /// Whether it may ask for files of the public directory.
    pub may_request: bool,
    pub windows: Vec<Window>,
    pub zone: Zone,
    pub poll_every: Option<Duration>,
    pub retry: Retry,
    /// How large a news batch may become before compression, in bytes, and how it is compressed.
    pub batch: news::BatchForm,
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
    pub kind: PortKind,
    /// The login chat; empty: none.
    pub chat: Script,
    /// What the port's own nature does not tell of the line: whether it loses bytes, and its speed in bits per
    /// second where a slow line lies behind a program or a TCP address.
    pub reliable: Option<bool>,
    pub speed: Option<u32>,
}

/// What kind of port it is and how it is opened.
#[derive(Debug, Clone)]
pub enum PortKind {
    Serial { device: PathBuf, speed: u32, hardware_flow: bool },
    Tcp { address: String },
    Pipe { command: Vec<String> },
}

impl PortKind {
    /// Whether only one call at a time can use it.
    pub fn is_single(&self) -> bool {
        matches!(self, Self::Serial { .. })
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
    /// Space that stays free, in bytes.
    pub reserve: u64,
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
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
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
    #[error("login failed: {0}")]
    Chat(#[from] ChatFailure),
    #[error("login failed: {0}")]
    Login(#[from] LoginFailure),
    #[error("{}", .0.ending)]
    Ended(Box<CallResult>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CallError {
    /// Whether it says nothing about the site: the port or the site was busy with us already.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::SiteBusy(_) | Self::PortBusy(_) | Self::Link(LinkError::Busy(_)))
    }
}

/// Calls a site over one of its ways, and records how it went. Traffic of grade `worst` and better travels.
pub async fn place(
    context: &Context,
    site: &Site,
    way: &Way,
    worst: Grade,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    let Some(_site_lock) = context.store.lock(LockKind::Site, site.name.as_str())? else {
        return Err(CallError::SiteBusy(site.name.clone()));
    };
    let _port_lock = match way.kind.is_single() {
        false => None,
        true => match context.store.lock(LockKind::Port, way.port.as_str())? {
            Some(lock) => Some(lock),
            None => return Err(CallError::PortBusy(way.port.clone())),
        },
    };
    let result = converse(context, site, way, worst, progress, nudges).await;
    if !matches!(&result, Err(error) if error.is_busy()) {
        record_placed(context, site, way, &result)?;
    }
    result
}

async fn converse(
    context: &Context,
    site: &Site,
    way: &Way,
    worst: Grade,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    let mut link = open(way).await?;
    tracing::info!(site = %site.name, port = %way.port, link = %link.facts, "calling");
    let result = talk(context, site, way, worst, progress, nudges, &mut link).await;
    link.close().await;
    result
}

async fn talk(
    context: &Context,
    site: &Site,
    way: &Way,
    worst: Grade,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
    link: &mut Link,
) -> Result<CallResult, CallError> {
    let clock = context.clock;
    let mut unread = Vec::new();
    if !way.chat.is_empty() {
        let credentials = site.credentials.as_ref().map(|c| c.0.clone()).unwrap_or_default();
        let mut chat = Chat::new(clock(), &way.chat, credentials);
        let (outcome, rest) = link::drive(link, &mut chat, &[], nudges, clock).await;
        outcome?;
        unread = rest;
    }
    let desk = desk::StoreDesk::new(context.clone(), site.clone(), Arc::clone(progress));
    let calling = Calling {
        name: site.our_name.clone(),
        site: site.name.clone(),
        desk: Box::new(desk),
        protocols: site.protocols.clone(),
        worst,
    };
    let mut session = Session::calling(clock(), calling, link.facts.clone(), site.parameters.clone());
    let (result, _) = link::drive(link, &mut session, &unread, nudges, clock).await;
    tracing::debug!(site = %site.name, counters = %result.counters, "session over");
    match result.ending {
        Ending::Complete => Ok(result),
        _ => Err(CallError::Ended(Box::new(result))),
    }
}

async fn open(way: &Way) -> Result<Link, LinkError> {
    let mut link = match &way.kind {
        PortKind::Serial { device, speed, hardware_flow } => link::open_serial(device, *speed, *hardware_flow)?,
        PortKind::Tcp { address } => link::connect(address).await?,
        PortKind::Pipe { command } => link::spawn(command)?,
    };
    link.facts.speed = link.facts.speed.or(way.speed);
    if let Some(reliable) = way.reliable {
        link.facts.reliable = reliable;
        link.facts.end_to_end &= reliable;
    }
    Ok(link)
}

/// Notes in one change how a call went, when the site may be called again, and that what was packed but never
/// offered waits as before.
fn record_placed(
    context: &Context,
    site: &Site,
    way: &Way,
    result: &Result<CallResult, CallError>,
) -> Result<(), StoreError> {
    let now = context.now();
    let (words, complete) = match result {
        Ok(result) => (describe(result), true),
        Err(error) => (error.to_string(), false),
    };
    tokio::task::block_in_place(|| {
        context.store.write(|change| {
            change.dissolve_unoffered(&site.name)?;
            let mut state = change.site_state(&site.name)?;
            state.last_call = Some(now);
            state.last_result = Some(words.clone());
            state.call_wanted = false;
            if complete {
                state.last_success = Some(now);
                state.failures = 0;
                state.not_before = None;
            } else {
                state.failures = state.failures.saturating_add(1);
                let salt = now.as_micros().unsigned_abs() / 1000;
                state.not_before = Some(now + site.retry.pause(state.failures, salt));
            }
            change.set_site_state(&site.name, &state)?;
            change.record(call_fact(
                now,
                &site.name,
                &format!("called over {}: {words}", way.port),
                result.as_ref().ok(),
            ))
        })
    })?;
    if complete {
        tracing::info!(site = %site.name, result = words, "call ended");
    } else {
        tracing::warn!(site = %site.name, result = words, "call failed");
    }
    Ok(())
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
        "{}{protocol}: sent {} files, {} bytes; received {} files, {} bytes",
        result.ending, t.files_sent, t.bytes_sent, t.files_received, t.bytes_received
    )
}

/// Answers a call on an open link, with a login first if `ask_login`. The outcome is recorded for a known site.
pub async fn answer(
    context: &Context,
    mut link: Link,
    ask_login: bool,
    login: Option<String>,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    let clock = context.clock;
    let (mut login, mut unread) = (login, Vec::new());
    if ask_login {
        let gatekeeper = Box::new(StoreGatekeeper(context.store.clone()));
        let mut prompt = LoginPrompt::new(clock(), gatekeeper);
        let (outcome, rest) = link::drive(&mut link, &mut prompt, &[], nudges, clock).await;
        login = Some(outcome?);
        unread = rest;
    }
    let reception = reception::StoreReception::new(context.clone(), ask_login, Arc::clone(progress));
    let answering = Answering { name: context.our_name.clone(), login, reception: Box::new(reception) };
    let mut session = Session::answering(clock(), answering, link.facts.clone(), ParameterSet::default());
    let (result, _) = link::drive(&mut link, &mut session, &unread, nudges, clock).await;
    drop(session);
    record_answered(context, &result)?;
    match result.ending {
        Ending::Complete => Ok(result),
        _ => Err(CallError::Ended(Box::new(result))),
    }
}

fn record_answered(context: &Context, result: &CallResult) -> Result<(), StoreError> {
    let words = describe(result);
    let Some(site) = &result.site else {
        tracing::warn!(result = words, "a caller did not get far");
        return Ok(());
    };
    tracing::info!(%site, result = words, "answered call ended");
    let now = context.now();
    tokio::task::block_in_place(|| {
        context.store.write(|change| {
            change.dissolve_unoffered(site)?;
            let mut state = change.site_state(site)?;
            state.last_call = Some(now);
            state.last_result = Some(words.clone());
            if result.ending.is_complete() {
                state.last_success = Some(now);
                state.failures = 0;
                state.not_before = None;
            }
            change.set_site_state(site, &state)?;
            change.record(call_fact(now, site, &format!("was called by it: {words}"), Some(result)))
        })
    })
}

/// Checks logins against the users of the store.
struct StoreGatekeeper(Store);

impl Gatekeeper for StoreGatekeeper {
    fn admits(&mut self, login: &str, password: &str) -> bool {
        let found = UserName::parse(login).ok().and_then(|name| {
            let user = self.0.read::<_, StoreError>(|view| view.user(&name));
            user.unwrap_or_else(|error| {
                tracing::error!(%error, "cannot look up a login");
                None
            })
        });
        crate::base::password::verify(found.and_then(|user| user.password).as_deref(), password)
    }
}

/// A receiver of nudges that never come: for calls that no daemon watches.
pub fn no_nudges() -> (tokio::sync::broadcast::Sender<Nudge>, Nudges) {
    tokio::sync::broadcast::channel(1)
}
