//! The command line: one file for a family of commands.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::base::words::with_causes;
use crate::call::Context;
use crate::config::{self, Complaints, Config, Port};
use crate::daemon::{self, DaemonError};
use crate::store::{Store, StoreError};

mod calls;
mod classic;
mod demo;
mod doctor;
mod local;
mod mail;
mod manual;
mod news;
mod queue;
mod signals;
mod sites;
mod statistics;
mod terminal;
mod ui;

/// A command that failed: what to say, and the exit status by sysexits, which those who run us from scripts and
/// mailers go by.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    message: String,
}

/// The arguments are wrong.
const USAGE: u8 = 64;
/// The input is wrong.
const DATA: u8 = 65;
/// Something asked for is not there.
const UNAVAILABLE: u8 = 69;
/// Nothing was done; it may work later.
const TEMPORARY: u8 = 75;
/// Not allowed.
const PERMISSION: u8 = 77;
/// The configuration is wrong.
const CONFIGURATION: u8 = 78;

impl Failure {
    fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// An error with its causes, on one line.
    fn of(status: u8, error: &dyn std::error::Error) -> Self {
        Self { status, message: with_causes(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<StoreError> for Failure {
    /// A full disk, a busy or a newer store: the same command may work later.
    fn from(error: StoreError) -> Self {
        Self::of(TEMPORARY, &error)
    }
}

impl From<Complaints> for Failure {
    fn from(error: Complaints) -> Self {
        Self::new(CONFIGURATION, error.to_string())
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self::of(UNAVAILABLE, &error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(TEMPORARY, &error)
    }
}

/// A store-and-forward bridge for mail and Usenet news over UUCP.
#[derive(Parser)]
#[command(name = "bangpath", version, arg_required_else_help = true)]
struct Arguments {
    /// The configuration; else $BANGPATH_CONFIG, else /etc/bangpath/bangpath.toml
    #[arg(short = 'c', long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// More in the log on standard error: -v each step, -vv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon, in the foreground
    Run,
    /// The main job on this machine: two sites, a simulated modem line, mail and news both ways
    Demo(demo::Demo),
    /// Everything wrong in the configuration, with file, line and hint
    Check(sites::Check),
    Doctor(doctor::Doctor),
    /// Talk over a port by hand
    Terminal(terminal::Terminal),
    /// Log in over a port by hand, and get the chat script that does the same
    Learn(terminal::Learn),
    Call(calls::Call),
    /// The UUCP neighbours
    #[command(subcommand)]
    Site(sites::Site),
    /// What waits to leave
    #[command(subcommand)]
    Queue(queue::Queue),
    /// What can neither be delivered nor returned
    #[command(subcommand)]
    Dead(queue::Dead),
    /// What has been done
    Log(queue::Log),
    /// Mail of local users
    #[command(subcommand)]
    Mailbox(mail::Mailbox),
    /// Local users and UUCP logins
    #[command(subcommand)]
    User(mail::User),
    /// How mail to an address would go, step by step
    Route(mail::Route),
    /// Newsgroups
    #[command(subcommand)]
    Group(news::Group),
    /// Write manual pages
    Man(manual::Man),
    /// UUCP session with whoever called us, or a call
    #[command(disable_help_flag = true)]
    Uucico(classic::Words),
    /// Queue a command for another site
    #[command(disable_help_flag = true)]
    Uux(classic::Words),
    /// Queue a file for another site, or ask for one
    #[command(disable_help_flag = true)]
    Uucp(classic::Words),
    /// The names of the sites
    #[command(disable_help_flag = true)]
    Uuname(classic::Words),
    /// Take mail from a UUCP site
    #[command(disable_help_flag = true)]
    Rmail(classic::Words),
    /// Take a batch of mail
    #[command(disable_help_flag = true)]
    Rsmtp(classic::Words),
    /// Take a batch of mail
    #[command(disable_help_flag = true)]
    Bsmtp(classic::Words),
    /// Take a batch of mail, compressed or not
    #[command(disable_help_flag = true)]
    Rcsmtp(classic::Words),
    /// Take a batch of mail, compressed or not
    #[command(disable_help_flag = true)]
    Csmtp(classic::Words),
    /// Take a batch of mail, compressed or not
    #[command(disable_help_flag = true)]
    Rgsmtp(classic::Words),
    /// Take a batch of mail, compressed or not
    #[command(disable_help_flag = true)]
    Gsmtp(classic::Words),
    /// Take news: an article or a batch
    #[command(disable_help_flag = true)]
    Rnews(classic::Words),
    /// Send mail
    #[command(disable_help_flag = true)]
    Sendmail(classic::Words),
}

/// The classic commands, which may also be the name we are run by.
const CLASSIC: [&str; 13] = [
    "uucico", "uux", "uucp", "uuname", "rmail", "rsmtp", "bsmtp", "rcsmtp", "csmtp", "rgsmtp", "gsmtp", "rnews",
    "sendmail",
];

/// Runs the program with these arguments.
pub fn run(mut words: Vec<OsString>) -> ExitCode {
    let called = words.first().map(PathBuf::from).unwrap_or_default();
    let name = called.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // A login shell's name begins with a minus.
    let name = name.trim_start_matches('-');
    if CLASSIC.contains(&name) {
        words.splice(0..1, ["bangpath".into(), name.into()]);
    }
    if let Some((at, name)) = classic(&words) {
        let told: Vec<String> = words[at + 1..].iter().map(|w| w.to_string_lossy().into_owned()).collect();
        if let Some(answer) = manual::answer(name, &told) {
            return end(ui::print(&answer));
        }
        // What follows is for the classic command alone: its `-c` is not ours.
        words.insert(at + 1, "--".into());
    }
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    ui::start_log(arguments.verbose, matches!(arguments.command, Command::Run));
    signals::hear_of_children();
    end(dispatch(arguments.config, arguments.command))
}

/// Tells a failure. A line each, as complaints are; nothing of it may move the cursor.
fn end(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    for line in failure.message.lines() {
        eprintln!("bangpath: {}", ui::plain(line));
    }
    ExitCode::from(failure.status)
}

/// The classic command among the words and its place, behind options of ours.
fn classic(words: &[OsString]) -> Option<(usize, &'static str)> {
    let mut at = 1;
    loop {
        let word = words.get(at)?.to_str()?;
        match word {
            "-c" | "--config" => at += 2,
            _ if word.starts_with('-') => at += 1,
            _ => return CLASSIC.into_iter().find(|name| *name == word).map(|name| (at, name)),
        }
    }
}

fn dispatch(config: Option<PathBuf>, command: Command) -> Result<(), Failure> {
    let site = Here { path: config };
    match command {
        Command::Run => {
            let passed = daemon::passed_sockets();
            let config = site.config()?;
            runtime()?.block_on(daemon::run(config, passed)).map_err(Failure::from)
        }
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => sites::check(&site, &arguments),
        Command::Doctor(arguments) => doctor::doctor(&site, &arguments),
        Command::Terminal(arguments) => terminal::terminal(&site, &arguments),
        Command::Learn(arguments) => terminal::learn(&site, &arguments),
        Command::Call(arguments) => calls::call(&site, &arguments),
        Command::Site(command) => sites::site(&site, command),
        Command::Queue(command) => queue::queue(&site, command),
        Command::Dead(command) => queue::dead(&site, command),
        Command::Log(arguments) => queue::log(&site, &arguments),
        Command::Mailbox(command) => mail::mailbox(&site, command),
        Command::User(command) => mail::user(&site, command),
        Command::Route(arguments) => mail::route(&site, &arguments),
        Command::Group(command) => news::group(&site, command),
        Command::Man(arguments) => manual::man(&arguments),
        Command::Uucico(told) => calls::uucico(&site, told.words),
        Command::Uux(told) => classic::uux(&site, told.words),
        Command::Uucp(told) => classic::uucp(&site, told.words),
        Command::Uuname(told) => classic::uuname(&site, told.words),
        Command::Rmail(told) => local::rmail(&site, told.words),
        Command::Rsmtp(told)
        | Command::Bsmtp(told)
        | Command::Rcsmtp(told)
        | Command::Csmtp(told)
        | Command::Rgsmtp(told)
        | Command::Gsmtp(told) => local::rsmtp(&site, told.words),
        Command::Rnews(told) => local::rnews(&site, told.words),
        Command::Sendmail(told) => local::sendmail(&site, told.words),
    }
}

/// Where we are: the configuration that the command line names.
struct Here {
    path: Option<PathBuf>,
}

impl Here {
    /// The same with the file that a classic `-I` names.
    fn with(&self, path: Option<PathBuf>) -> Self {
        Self { path: path.or(self.path.clone()) }
    }

    fn config(&self) -> Result<Config, Failure> {
        let from_environment = || std::env::var_os("BANGPATH_CONFIG").map(PathBuf::from);
        let path = self.path.clone().or_else(from_environment);
        let path = path.unwrap_or_else(|| Path::new(config::DEFAULT_PATH).to_owned());
        Ok(config::load(&path)?)
    }

    fn open(&self) -> Result<Opened, Failure> {
        let config = self.config()?;
        let store = Store::open(&config.spool).map_err(|error| spool_trouble(&config.spool, error))?;
        // A public directory elsewhere may be another user's to make; who needs it is told then.
        if !config.public.exists() && crate::files::make_folders(&config.public).is_ok() {
            let _ = store.give_to_owner(&config.public);
        }
        let context = daemon::context(&config, store.clone());
        Ok(Opened { config, store, context })
    }
}

/// The spool is for its owner and for root: whoever else runs us is told so.
fn spool_trouble(spool: &Path, error: StoreError) -> Failure {
    use std::os::unix::fs::MetadataExt;
    let mut failure = Failure::from(error);
    let me = nix::unistd::geteuid();
    let owner = std::fs::metadata(spool).map(|facts| facts.uid()).unwrap_or(me.as_raw());
    if !me.is_root() && owner != me.as_raw() {
        let user = nix::unistd::User::from_uid(owner.into()).ok().flatten();
        let name = user.map_or(format!("user {owner}"), |user| user.name);
        failure.status = PERMISSION;
        let or_root = if owner == 0 { "" } else { ", or as root" };
        failure.message.push_str(&format!("; the spool belongs to {name}: run as {name}{or_root}"));
    }
    failure
}

/// A configuration with its store.
struct Opened {
    config: Config,
    store: Store,
    context: Context,
}

impl Opened {
    /// Something was changed: the daemon should look.
    fn nudge(&self) {
        daemon::nudge(&self.config.spool);
    }

    /// A port that can be opened by itself.
    fn port(&self, name: &str) -> Result<&Port, Failure> {
        let ports = &self.config.ports;
        ports.iter().find(|port| port.name.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            let what = format!("no port `{name}` that says where it leads; there are: {}", known.join(", "));
            Failure::new(UNAVAILABLE, what)
        })
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}
