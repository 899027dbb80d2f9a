//! The daemon: clock, the closed list of tasks, nudges, report.
//!
//! Its long-lived tasks are these and no others: the scheduler, one listener for each service, one
//! attendant for each answering line, one lender for each shared port, the ear for nudges, the ear for signals. Calls, deliveries, unpacking and conversations
//! are short-lived tasks that the scheduler and the listeners start.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::call;
use crate::config::Config;
use crate::dialogue::Nudge;
use crate::files;
use crate::link::{self, LinkError};
use crate::store::{LockKind, Store, StoreError};

mod attend;
mod clock;
mod deliver;
mod lend;
mod nudge;
mod places;
mod scheduler;
mod serve;
mod systemd;

pub use clock::now;
pub use nudge::nudge;
pub use scheduler::site_view;
pub use systemd::passed_sockets;

/// How long conversations may take to come to an end when we stop.
const WIND_DOWN: Duration = Duration::from_secs(30);
/// How long they may then take to say that we go.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Nudges under way; a listener that misses some looks again anyway.
const NUDGES: usize = 64;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("another bangpath runs on {0}")]
    Running(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("cannot use {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("systemd passed a socket `{name}` ({address}) that is no service of ours")]
    Socket { name: String, address: String },
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

/// What every task has.
#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    store: Store,
    context: call::Context,
    nudges: broadcast::Sender<Nudge>,
    tasks: TaskTracker,
}

/// What calls need, from a configuration and its store.
pub fn context(config: &Config, store: Store) -> call::Context {
    store.keep_free(config.reserve);
    call::Context {
        store,
        clock: clock::now,
        our_name: config.name.to_string(),
        sites: Arc::clone(&config.sites),
        mail: Arc::clone(&config.mail),
        news: Arc::clone(&config.news),
        public: config.public.clone(),
        watch: Arc::clone(&config.watch),
    }
}

/// Runs until a signal ends it. Services have `passed` sockets, or make their own.
pub async fn run(config: Config, passed: Vec<(String, OwnedFd)>) -> Result<(), DaemonError> {
    let store = Store::open(&config.spool)?;
    let made = files::make_folders(&config.public);
    made.map_err(|source| DaemonError::Io { path: config.public.clone(), source })?;
    let Some(_lock) = store.lock(LockKind::Daemon, "daemon")? else {
        return Err(DaemonError::Running(config.spool));
    };
    let (nudges, _) = broadcast::channel(NUDGES);
    let waker = nudges.clone();
    store.after_commit(move || {
        // Nobody listening is no error: then nobody sleeps.
        let _ = waker.send(Nudge::Store);
    });
    let context = context(&config, store.clone());
    let shared = Shared { config: Arc::new(config), store, context, nudges, tasks: TaskTracker::new() };

    let mut listening = Vec::new();
    serve::start(&shared, passed, &mut listening).await?;
    for port in &shared.config.shared {
        let listener = link::listen(&port.address).await?;
        listening.push(format!("share {} {}", port.name, listener.address().unwrap_or_default()));
        shared.tasks.spawn(lend::run(shared.clone(), port.clone(), listener));
    }
    let ear = nudge::Ear::open(&shared.config.spool)?;
    if let Err(error) = write_listening(&shared.config.spool, &listening) {
        // On a full disk we are needed all the more: what we send away makes room.
        tracing::warn!(%error, "the addresses of the services cannot be noted in spool/listening");
    }
    shared.tasks.spawn(nudge::listen(ear, shared.nudges.clone(), shared.nudges.subscribe()));
    shared.tasks.spawn(scheduler::run(shared.clone()));
    for port in &shared.config.answering {
        shared.tasks.spawn(attend::run(shared.clone(), port.clone()));
    }
    tracing::info!(site = %shared.config.name, services = listening.join(", "), "running");
    systemd::notify("READY=1");

    wait_for_signal().await.map_err(DaemonError::Signals)?;
    tracing::info!("stopping");
    systemd::notify("STOPPING=1");
    let _ = shared.nudges.send(Nudge::WindDown);
    shared.tasks.close();
    let mut ended = tokio::time::timeout(WIND_DOWN, shared.tasks.wait()).await;
    if ended.is_err() {
        let _ = shared.nudges.send(Nudge::HangUp);
        ended = tokio::time::timeout(LAST_WORDS, shared.tasks.wait()).await;
    }
    if ended.is_err() {
        tracing::warn!(tasks = shared.tasks.len(), "some conversations did not end in time");
    }
    // Best effort: a stale file only names addresses nobody answers at.
    let _ = std::fs::remove_file(shared.config.spool.join("listening"));
    Ok(())
}

/// Notes the addresses in `spool/listening`, one service a line: with port 0 nobody else could know them.
fn write_listening(spool: &std::path::Path, listening: &[String]) -> io::Result<()> {
    let path = spool.join("listening");
    let new = spool.join("listening.new");
    std::fs::write(&new, listening.iter().map(|l| format!("{l}\n")).collect::<String>())?;
    std::fs::rename(new, path)
}

async fn wait_for_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
