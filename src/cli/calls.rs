//! Calls by hand: `call`, and `uucico` in both roles.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::classic::{for_each_option, unknown};
use super::signals::{self, Signals};
use super::{Failure, Here, Opened, TEMPORARY, UNAVAILABLE, USAGE, runtime};
use crate::base::names::{Grade, PortName};
use crate::call::{self, Only, Origin, Progress, Site, Unmet};
use crate::dialogue::Nudge;
use crate::link::{self, Opposite, Peer};
use crate::session::CallResult;
use crate::store::{LockKind, StoreError};

/// How often the progress is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// Call a site now, whatever its windows say, and show how it goes
///
/// Each way of the site is tried in turn until one reaches it. It works with and without a running daemon; one that is calling the site already goes on, and this call
/// is refused with status 75.
#[derive(clap::Args)]
pub struct Call {
    /// The UUCP name of the site, as in [sites.NAME]
    site: String,
    /// Only traffic of this grade or better (0 best, then 9, A, Z, a, z): C lets mail through and keeps news back
    #[arg(long, value_parser = grade)]
    grade: Option<Grade>,
    /// Over this port or pool of its list only, as in [port.NAME]
    #[arg(long)]
    port: Option<String>,
}

fn grade(text: &str) -> Result<Grade, String> {
    let mut letters = text.chars();
    match (letters.next().and_then(Grade::parse), letters.next()) {
        (Some(grade), None) => Ok(grade),
        _ => Err("a grade is one of 0-9, A-Z, a-z".to_owned()),
    }
}

pub fn call(here: &Here, arguments: &Call) -> Result<(), Failure> {
    let opened = here.open()?;
    let result = place(&opened, &arguments.site, arguments.grade, arguments.port.as_deref(), true)?;
    println!("{}", call::describe(&result));
    Ok(())
}

fn place(
    opened: &Opened,
    name: &str,
    grade: Option<Grade>,
    port: Option<&str>,
    show: bool,
) -> Result<CallResult, Failure> {
    let unknown = || Failure::new(UNAVAILABLE, format!("no site `{name}` in {}", opened.config.path.display()));
    let site = opened.context.site(name).ok_or_else(unknown)?.clone();
    if site.ways.is_empty() {
        return Err(Failure::new(UNAVAILABLE, format!("no way to call {name} is configured: it must call us")));
    }
    let first = match port {
        None => None,
        Some(port) => match PortName::parse(port).ok().filter(|name| site.ways.iter().any(|way| way.is_over(name))) {
            Some(name) => Some((name, Only::ThisWay)),
            None => return Err(Failure::new(USAGE, format!("site {name} is not called over port `{port}`"))),
        },
    };
    let result = runtime()?.block_on(async {
        let progress = Arc::new(Progress::default());
        let (ours, mut nudges) = call::own_nudges();
        let drawing = show.then(|| draw(name, Arc::clone(&progress)));
        let worst = grade.unwrap_or(Grade::LEAST);
        let first = first.as_ref().map(|(name, only)| (name, *only));
        let placing = call::place(&opened.context, &site, first, worst, &progress, &mut nudges);
        let result = Signals::listen()?.heed(&ours, call::unwatched(&ours, placing)).await;
        if let Some(drawing) = drawing {
            drawing.abort();
        }
        result
    })?;
    unpack(opened)?;
    opened.nudge();
    result.map_err(|error| Failure::of(TEMPORARY, &error))
}

/// Shows how far the call has come: a bar at a terminal, nothing elsewhere.
fn draw(site: &str, progress: Arc<Progress>) -> tokio::task::JoinHandle<()> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_prefix(site.to_owned());
    tokio::spawn(async move {
        loop {
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            bar.set_message(format!(
                "sent {} of {}, received {} of {}",
                super::ui::bytes(count(&progress.bytes_sent)),
                super::ui::bytes(count(&progress.bytes_to_send)),
                super::ui::bytes(count(&progress.bytes_received)),
                super::ui::bytes(count(&progress.bytes_to_receive)),
            ));
            bar.tick();
            tokio::time::sleep(DRAW).await;
        }
    })
}

/// What has arrived becomes mail and news now, unless the daemon is at it.
fn unpack(opened: &Opened) -> Result<(), Failure> {
    match opened.store.lock(LockKind::Unpack, "unpack")? {
        Some(_lock) => Ok(call::unpack::run(&opened.context, || false).map(drop)?),
        None => Ok(()),
    }
}

/// What `uucico` was told, of all that programs and old habits tell it.
#[derive(Default)]
struct Uucico {
    config: Option<PathBuf>,
    site: Option<String>,
    port: Option<String>,
    login: Option<String>,
    ask_login: bool,
    master: bool,
    /// The site is called in its windows only, and not in the pause after a failure.
    when_allowed: bool,
    /// It is called only if something waits for it.
    with_work: bool,
}

impl Uucico {
    fn parse(words: Vec<String>) -> Result<Self, Failure> {
        let mut told = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-') else {
                return Err(Failure::new(USAGE, format!("uucico takes no argument `{word}`; uucico --help")));
            };
            let takes_value = |letter| "SsIpuxXiPr".contains(letter);
            for_each_option(option, &mut words, takes_value, |option| told.set(option))?;
        }
        Ok(told)
    }

    fn set(&mut self, option: (char, Option<String>)) -> Result<(), Failure> {
        let (letter, value) = option;
        match letter {
            'S' | 's' => (self.site, self.when_allowed) = (value, letter == 's'),
            'I' => self.config = value.map(PathBuf::from),
            'p' => self.port = value,
            'u' => self.login = value,
            'r' => self.master = value.as_deref() == Some("1"),
            // Taylor's -e asks for the next login after each call; whoever runs us may do that.
            'l' | 'e' => self.ask_login = true,
            'C' => self.with_work = true,
            // Foreground, quiet, no uuxqt, the next way after one that fails: what we do anyway. And words for its log.
            'D' | 'q' | 'f' | 'c' | 'w' | 'z' | 'x' | 'X' | 'i' | 'P' => {}
            _ => return Err(unknown(letter)),
        }
        Ok(())
    }
}

pub fn uucico(here: &Here, words: Vec<String>) -> Result<(), Failure> {
    let told = Uucico::parse(words)?;
    link::keep_words_off_the_line();
    let opened = here.with(told.config.clone()).open()?;
    if let Some(site) = &told.site {
        let Some(worst) = called_for(&opened, site, &told)? else { return Ok(()) };
        return place(&opened, site, Some(worst), told.port.as_deref(), false).map(drop);
    }
    if told.master {
        return call_all(&opened);
    }
    answer(&opened, &told)
}

/// Whether `uucico -S` or `-s` is to call the site now, and what may travel then.
fn called_for(opened: &Opened, name: &str, told: &Uucico) -> Result<Option<Grade>, Failure> {
    // An unknown one is complained of where it is called.
    let Some(site) = opened.context.site(name) else { return Ok(Some(Grade::LEAST)) };
    let now = opened.context.now();
    let view = opened.store.read::<_, StoreError>(|view| {
        let totals = view.totals()?;
        crate::daemon::site_view(view, site, &totals, now, false)
    })?;
    if told.with_work && view.waiting.iter().all(|waiting| waiting.items == 0) {
        eprintln!("nothing waits for {name}");
        return Ok(None);
    }
    if !told.when_allowed {
        return Ok(Some(Grade::LEAST));
    }
    if let Some(at) = crate::sched::pause_until(now, &view) {
        return Err(Failure::new(TEMPORARY, format!("after a failure {name} is not called before {at}; -S calls it")));
    }
    let open = crate::sched::open_grade(now, &view);
    let closed = || Failure::new(TEMPORARY, format!("the schedule lets nobody call {name} now; -S calls it"));
    open.map(Some).ok_or_else(closed)
}

/// `uucico -r1`: everyone for whom something waits and whose window is open.
fn call_all(opened: &Opened) -> Result<(), Failure> {
    let now = opened.context.now();
    let views = opened.store.read::<_, StoreError>(|view| {
        let totals = view.totals()?;
        let one = |site: &Site| crate::daemon::site_view(view, site, &totals, now, false);
        opened.config.sites.iter().map(one).collect::<Result<Vec<_>, _>>()
    })?;
    let ports: Vec<_> = opened.config.sites.iter().flat_map(|s| &s.ways).collect();
    let ports: Vec<_> =
        ports.iter().map(|w| crate::sched::PortView { name: w.port.clone(), busy: false, single: false }).collect();
    let mut failed = None;
    for planned in crate::sched::plan(now, &views, &ports).calls {
        if let Err(failure) = place(opened, planned.site.as_str(), Some(planned.worst), None, false) {
            eprintln!("bangpath: {}: {failure}", planned.site);
            failed = Some(failure);
        }
        if signals::came() {
            break;
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Somebody is on our standard input and output: a login shell, inetd, ssh.
fn answer(opened: &Opened, told: &Uucico) -> Result<(), Failure> {
    let login = told.login.clone().or_else(super::local::user_name);
    let stated = told.port.as_deref().map(|port| on_port(opened, port)).transpose()?.unwrap_or_default();
    let from = told.ask_login.then(|| origin(told.port.as_deref())).flatten();
    if from.as_ref().is_some_and(|from| from.is_barred(&opened.context)) {
        return Err(Failure::new(TEMPORARY, "too many wrong logins from there: nobody is heard for a while"));
    }
    let result = runtime()?.block_on(async {
        let (ours, mut nudges) = call::own_nudges();
        outlive_hang_up(ours.clone());
        let mut link = link::standard_streams()?;
        stated.describe(&mut link.facts);
        let progress = Arc::new(Progress::default());
        let lacks_password = told.login.is_some();
        let caller = Unmet { login, lacks_password, from, ..Unmet::new(told.ask_login) };
        call::unwatched(&ours, call::answer(&opened.context, link, caller, &progress, &mut nudges)).await
    });
    unpack(opened)?;
    opened.nudge();
    result.map(drop).map_err(|error| Failure::of(TEMPORARY, &error))
}

/// Where wrong logins of the caller count; of who comes by a Unix socket or a program, nowhere: they have been let in.
fn origin(port: Option<&str>) -> Option<Origin> {
    match Opposite::find() {
        Opposite::Network(Peer::Tcp(address)) => Some(Origin::Address(address.ip())),
        Opposite::Network(Peer::Unix) | Opposite::Program => None,
        Opposite::Terminal(path) => {
            let port = port.and_then(|port| PortName::parse(port).ok());
            Some(port.map_or(Origin::Terminal(path), Origin::Port))
        }
    }
}

/// The line we are on is this port: what is configured of it holds for callers, too.
fn on_port(opened: &Opened, port: &str) -> Result<call::StatedLine, Failure> {
    let answering = opened.config.answering.iter().find(|answering| answering.name.as_str() == port);
    answering.map_or_else(|| opened.port(port).map(|port| port.stated), |answering| Ok(answering.stated))
}

/// The caller's program ends us with signals as soon as it has hung up. What has arrived is unpacked all the same:
/// from here on they only ask for an orderly end.
fn outlive_hang_up(nudges: tokio::sync::broadcast::Sender<Nudge>) {
    // Without handlers we are ended early, and the daemon or the next call unpacks.
    let Ok(mut signals) = Signals::listen() else { return };
    tokio::spawn(async move {
        loop {
            signals.next().await;
            let _ = nudges.send(Nudge::WindDown);
        }
    });
}
