//! `check` and `site`.

use serde_json::json;

use super::ui::{self, Table};
use super::{Failure, Here, Opened, UNAVAILABLE};
use crate::base::time::Timestamp;
use crate::base::words::count;
use crate::call::{self, PortKind, Underway};
use crate::config::Config;
use crate::daemon::site_view;
use crate::dialogue::Stop;
use crate::sched;
use crate::store::ledger::Entry;
use crate::store::sites::{CallNumber, SiteState};
use crate::store::statistics::SiteStatistics;
use crate::store::{Hop, HopTotals, LockKind, StoreError};

/// Everything wrong in the configuration.
#[derive(clap::Args)]
pub struct Check {
    /// Say also what the configuration amounts to
    #[arg(long)]
    explain: bool,
}

pub fn check(here: &Here, arguments: &Check) -> Result<(), Failure> {
    let config = here.config()?;
    if arguments.explain {
        return ui::print(&explain(&config));
    }
    ui::print(&format!("{}: no complaints\n", config.path.display()))
}

fn explain(config: &Config) -> String {
    let mut lines = vec![
        format!(
            "We are {} in UUCP and {} in mail; the postmaster is {}.",
            config.name, config.mail.domain, config.postmaster
        ),
        format!("The store is in {}, the public directory is {}.", config.spool.display(), config.public.display()),
    ];
    let service = |name: &str, address: &Option<String>| match address {
        Some(address) => format!("{name} listens on {address}."),
        None => format!("{name} is off."),
    };
    lines.push(service("SMTP", &config.listen.smtp));
    lines.push(service("NNTP", &config.listen.nntp));
    let login = if config.listen.uucp_login { " and asks for a login" } else { " and asks for no login" };
    lines.push(match &config.listen.uucp {
        Some(address) => format!("UUCP listens on {address}{login}."),
        None => "UUCP over TCP is off.".to_owned(),
    });
    for site in config.sites.iter() {
        let ways: Vec<String> = site.ways.iter().map(describe_way).collect();
        let how = if ways.is_empty() {
            "calls us; we do not call it".to_owned()
        } else {
            format!("is called over {}", ways.join(", else "))
        };
        lines.push(format!("Site {} {how}; it may run {}.", site.name, site.commands.join(" and ")));
    }
    for (pattern, via) in &config.mail.routes {
        lines.push(format!("Mail for {pattern} goes {via}."));
    }
    for feed in &config.news.feeds {
        lines.push(format!("News goes to {}.", place(&feed.hop)));
    }
    lines.join("\n") + "\n"
}

fn describe_way(way: &call::Way) -> String {
    let port = way.pool.as_ref().map_or(way.port.to_string(), |pool| format!("{} of {pool}", way.port));
    match &way.kind {
        PortKind::Serial { line, modem, .. } => {
            let number = modem.as_ref().and_then(|modem| modem.number.as_deref());
            let number = number.map_or(String::new(), |number| format!(", dials {number}"));
            format!("{port} ({} at {} bit/s{number})", line.place, line.speed)
        }
        PortKind::Tcp { address, telnet } => {
            let how = if *telnet { "telnet" } else { "TCP" };
            let how = if address.starts_with('/') { "Unix socket" } else { how };
            format!("{port} ({how} to {address})")
        }
        PortKind::Radio { line, station } => {
            let station = station.as_deref().map_or(String::new(), |station| format!(", calls {station}"));
            format!("{port} (radio at {}{station})", line.commands)
        }
        PortKind::Pipe { command } => format!("{port} ({})", command.join(" ")),
    }
}

/// A hop in few words.
pub fn place(hop: &Hop) -> String {
    match hop {
        Hop::Site(site) => format!("uucp:{site}"),
        Hop::Smtp { host, port } => format!("smtp:{host}:{port}"),
        Hop::Nntp(peer) => format!("nntp:{peer}"),
        Hop::Maildir(user) => format!("maildir:{user}"),
    }
}

/// The UUCP neighbours.
#[derive(clap::Subcommand)]
pub enum Site {
    /// What waits for each and how the last call went
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// One site: its ways, its state, why it is or is not called now, and how far a call with it has come that is going on
    Show {
        /// The UUCP name of the site
        site: String,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    Statistics(super::statistics::Show),
    /// Call it now
    Call(super::calls::Call),
    /// No calls by ourselves until released
    Hold {
        /// The UUCP name of the site
        site: String,
        /// What `site show` says as the reason
        #[arg(long, default_value = "by hand")]
        reason: String,
    },
    /// End the call with it that is going on
    HangUp {
        /// The UUCP name of the site
        site: String,
        /// Begin nothing new, but let it send all that it has
        #[arg(long, conflicts_with = "now")]
        drain: bool,
        /// At once, in the middle of a file, which goes on in the next call; else the files under way are finished
        #[arg(long)]
        now: bool,
    },
    /// Show or set the number of the last call, where calls are counted
    Sequence {
        /// The UUCP name of the site
        site: String,
        /// What it is from now on: the next call has the next number
        number: Option<u32>,
    },
    /// Calls again, at once if something waits
    Release {
        /// The UUCP name of the site
        site: String,
    },
}

pub fn site(here: &Here, command: Site) -> Result<(), Failure> {
    match command {
        Site::List { json } => list(&here.open()?, json),
        Site::Show { site, json } => show(&here.open()?, &site, json),
        Site::Statistics(arguments) => super::statistics::show(&here.open()?, &arguments),
        Site::Call(arguments) => super::calls::call(here, &arguments),
        Site::Hold { site, reason } => change(&here.open()?, &site, |state| state.held = Some(reason.clone())),
        Site::HangUp { site, drain, now } => {
            let how = match (drain, now) {
                (true, _) => Stop::Drain,
                (false, true) => Stop::Now,
                (false, false) => Stop::Orderly,
            };
            hang_up(&here.open()?, &site, how)
        }
        Site::Sequence { site, number } => sequence(&here.open()?, &site, number),
        Site::Release { site } => change(&here.open()?, &site, |state| {
            state.held = None;
            state.not_before = None;
            state.failures = 0;
        }),
    }
}

pub fn find<'a>(opened: &'a Opened, name: &str) -> Result<&'a call::Site, Failure> {
    let unknown = || Failure::new(UNAVAILABLE, format!("no site `{name}` in {}", opened.config.path.display()));
    opened.context.site(name).ok_or_else(unknown)
}

fn change(opened: &Opened, name: &str, edit: impl Fn(&mut SiteState)) -> Result<(), Failure> {
    let site = &find(opened, name)?.name;
    opened.store.write::<_, StoreError>(|change| {
        let mut state = change.site_state(site)?;
        edit(&mut state);
        change.set_site_state(site, &state)
    })?;
    opened.nudge();
    Ok(())
}

fn hang_up(opened: &Opened, name: &str, how: Stop) -> Result<(), Failure> {
    let site = find(opened, name)?;
    if !is_in_call(opened, site)? {
        return Err(Failure::new(UNAVAILABLE, format!("no call with {name} is going on")));
    }
    opened.store.write::<_, StoreError>(|change| change.want_hang_up(&site.name, Some(how)))?;
    opened.nudge();
    Ok(())
}

fn sequence(opened: &Opened, name: &str, number: Option<u32>) -> Result<(), Failure> {
    let site = &find(opened, name)?.name;
    match number {
        Some(number) => opened
            .store
            .write::<_, StoreError>(|change| change.set_call_number(site, CallNumber { number, doubtful: false }))?,
        None => {
            let last = opened.store.read::<_, StoreError>(|view| view.call_number(site))?;
            ui::print(&format!("{}\n", last.number))?;
        }
    }
    Ok(())
}

fn waiting(totals: &[HopTotals], site: &call::Site) -> (u64, u64) {
    let own = totals.iter().filter(|t| matches!(&t.hop, Hop::Site(name) if *name == site.name));
    own.fold((0, 0), |(items, bytes), t| (items + t.items + t.held, bytes + t.bytes))
}

/// Each call holds the site's lock, in whatever process.
fn is_in_call(opened: &Opened, site: &call::Site) -> Result<bool, StoreError> {
    opened.store.is_locked(LockKind::Site, site.name.as_str())
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or("never".to_owned(), |at| at.to_string())
}

fn list(opened: &Opened, as_json: bool) -> Result<(), Failure> {
    let now = opened.context.now();
    let mut table = Table::new(["SITE", "ITEMS", "BYTES", "LAST CALL", "RESULT", "NEXT"]);
    let mut rows = Vec::new();
    opened.store.read::<_, StoreError>(|view| {
        let totals = view.totals()?;
        for site in opened.config.sites.iter() {
            let state = view.site_state(&site.name)?;
            let (items, bytes) = waiting(&totals, site);
            let in_call = is_in_call(opened, site)?;
            let next = sched::explain(now, &site_view(view, site, &totals, now, in_call)?);
            let call = Underway::of(&opened.store, &site.name)?;
            let result = state.last_result.clone().unwrap_or_default();
            rows.push(json!({
                "site": site.name.as_str(), "items": items, "bytes": bytes, "failures": state.failures,
                "last_call": state.last_call.map(|t| t.to_string()), "result": result, "next": next, "held": state.held,
                "in_call": in_call, "call": call.as_ref().map(call_as_json),
            }));
            let next = call.map_or(next, |call| format!("in a call: {}", so_far(&call)));
            table.row([
                site.name.to_string(),
                items.to_string(),
                ui::bytes(bytes),
                when(state.last_call),
                result,
                next,
            ]);
        }
        Ok(())
    })?;
    if as_json { ui::print_json(&rows) } else { table.print() }
}

/// What is known of a site.
struct Shown {
    state: SiteState,
    in_call: bool,
    call: Option<Underway>,
    next: String,
    offered: u64,
    refused: Option<Entry>,
    number: u32,
    statistics: Option<SiteStatistics>,
}

impl Shown {
    fn look(opened: &Opened, site: &call::Site) -> Result<Self, StoreError> {
        let now = opened.context.now();
        let in_call = is_in_call(opened, site)?;
        let call = Underway::of(&opened.store, &site.name)?;
        opened.store.read(|view| {
            let totals = view.totals()?;
            Ok(Self {
                state: view.site_state(&site.name)?,
                in_call,
                call,
                next: sched::explain(now, &site_view(view, site, &totals, now, in_call)?),
                offered: view.offered_jobs(&site.name)?.len() as u64,
                refused: view.last_refused_call(site.name.as_str())?,
                number: view.call_number(&site.name)?.number,
                statistics: view.statistics(None)?.into_iter().find(|statistics| statistics.site == site.name),
            })
        })
    }

    fn lines(&self, site: &call::Site) -> Vec<String> {
        let Self { state, .. } = self;
        let ways: Vec<String> = site.ways.iter().map(describe_way).collect();
        let mut lines = vec![
            format!("site          {}", site.name),
            format!("ways          {}", if ways.is_empty() { "none: it calls us".to_owned() } else { ways.join("; ") }),
            format!("protocols     {}", site.protocols.as_deref().unwrap_or("every one that suits the link")),
            format!("last call     {}", when(state.last_call)),
            format!("result        {}", state.last_result.as_deref().unwrap_or("-")),
            format!("last success  {}", when(state.last_success)),
            format!("failures      {}", state.failures),
            format!("in doubt      {}", count(self.offered, "job")),
            format!("next call     {}", self.next),
        ];
        if let Some(call) = &self.call {
            let who = if call.outgoing { "we call over" } else { "it calls from" };
            let protocol = call.protocol.map_or("no protocol yet".to_owned(), |letter| format!("protocol {letter}"));
            lines.push(format!("under way     {who} {} since {}, {protocol}", ui::plain(&call.port), call.since()));
            lines.push(format!("so far        {}", so_far(call)));
        }
        if site.sequence {
            lines.push(format!("call number   {}", self.number));
        }
        lines.extend(self.statistics.iter().flat_map(super::statistics::lines));
        if let Some(reason) = &state.held {
            lines.push(format!("held          {reason}"));
        }
        if let Some(refused) = &self.refused {
            lines.push(format!("refused       {}: {}", refused.at, ui::plain(&refused.detail)));
        }
        lines
    }

    fn json(&self, site: &call::Site) -> serde_json::Value {
        let Self { state, .. } = self;
        let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
        json!({
            "site": site.name.as_str(), "ways": site.ways.iter().map(describe_way).collect::<Vec<_>>(),
            "protocols": site.protocols, "last_call": at(state.last_call), "result": state.last_result,
            "last_success": at(state.last_success), "failures": state.failures, "in_doubt": self.offered,
            "next": self.next, "held": state.held, "in_call": self.in_call, "call": self.call.as_ref().map(call_as_json),
            "call_number": site.sequence.then_some(self.number),
            "refused": self.refused.as_ref().map(|refused| json!({"at": refused.at.to_string(), "why": refused.detail})),
        })
    }
}

/// `sent 1 file, 12.3 kB; received 0 files, 0 B`
fn so_far(call: &Underway) -> String {
    let both = |files, bytes| format!("{}, {}", count(files, "file"), ui::bytes(bytes));
    format!(
        "sent {}; received {}",
        both(call.files_sent, call.bytes_sent),
        both(call.files_received, call.bytes_received)
    )
}

fn call_as_json(call: &Underway) -> serde_json::Value {
    json!({
        "port": call.port, "direction": if call.outgoing { "out" } else { "in" }, "protocol": call.protocol,
        "since": call.since().to_string(), "files_sent": call.files_sent, "bytes_sent": call.bytes_sent,
        "files_received": call.files_received, "bytes_received": call.bytes_received,
    })
}

fn show(opened: &Opened, name: &str, as_json: bool) -> Result<(), Failure> {
    let site = find(opened, name)?;
    let shown = Shown::look(opened, site)?;
    match as_json {
        true => ui::print(&format!("{:#}\n", shown.json(site))),
        false => ui::print(&(shown.lines(site).join("\n") + "\n")),
    }
}
