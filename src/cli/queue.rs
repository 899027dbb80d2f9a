//! `queue`, `dead` and `log`: what waits, what is lost without a person, what has been done.

use serde_json::json;

use super::sites::place;
use super::ui::{self, Table};
use super::{Failure, Here, Opened, TEMPORARY, UNAVAILABLE};
use crate::base::words::count;
use crate::mail::delivery;
use crate::store::ledger::{Entry, Fact, Retried};
use crate::store::queue::{ItemFilter, QueueRefusal};
use crate::store::{BodyId, Cargo, Hop, Item, ItemId, StoreError, View};

/// What waits to leave.
#[derive(clap::Subcommand)]
pub enum Queue {
    /// All of it, oldest first
    List {
        /// Only for this UUCP site
        #[arg(long)]
        site: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// One item and the beginning of what it carries
    Show {
        /// The item, by its number in `queue list`
        item: i64,
    },
    /// Leave an item where it is until released
    Hold {
        /// The item, by its number in `queue list`
        item: i64,
        /// What `queue list` shows as the reason
        #[arg(long, default_value = "by hand")]
        reason: String,
    },
    /// Let an item go, at once
    Release {
        /// The item, by its number in `queue list`
        item: i64,
    },
    /// Throw an item away; of a command with files all of it
    Drop {
        /// The item, by its number in `queue list`
        item: i64,
        /// Also when the site was offered it and may have it
        #[arg(long)]
        force: bool,
    },
}

/// `mailq`
pub fn list_all() -> Queue {
    Queue::List { site: None, json: false }
}

pub fn queue(here: &Here, command: Queue) -> Result<(), Failure> {
    let opened = here.open()?;
    match command {
        Queue::List { site, json } => list(&opened, site.as_deref(), json),
        Queue::Show { item } => show(&opened, item),
        Queue::Hold { item, reason } => {
            let found = find(&opened, item)?;
            opened.store.write::<_, StoreError>(|change| change.hold_item(ItemId(item), &reason))?;
            warn_of_offer(&found);
            Ok(())
        }
        Queue::Release { item } => {
            find(&opened, item)?;
            opened.store.write::<_, StoreError>(|change| change.release_item(ItemId(item)))?;
            opened.nudge();
            Ok(())
        }
        Queue::Drop { item, force } => drop_item(&opened, item, force),
    }
}

fn find(opened: &Opened, id: i64) -> Result<Item, Failure> {
    let item = opened
        .store
        .read::<_, StoreError>(|view| view.item(ItemId(id))?.map(|item| with_trouble(view, item)).transpose())?;
    item.ok_or_else(|| Failure::new(UNAVAILABLE, format!("no item {id} in the queue")))
}

/// What it is, and for whom, in few words.
fn describe(cargo: &Cargo) -> (&'static str, String, BodyId) {
    match cargo {
        Cargo::Mail { envelope, body } => {
            let from = envelope.sender.as_ref().map_or("<>".to_owned(), ToString::to_string);
            let to: Vec<String> = envelope.recipients.iter().map(ToString::to_string).collect();
            ("mail", format!("{from} > {}", to.join(" ")), *body)
        }
        Cargo::Article { message_id, body } => ("article", message_id.clone(), *body),
        Cargo::File { from, to, body, .. } => ("file", format!("{from} > {to}"), *body),
        Cargo::Fetch { from, to, .. } => ("fetch", format!("{from} > {to}"), BodyId(0)),
        Cargo::Expand { from, to, .. } => ("fetch", format!("{from} > {to}"), BodyId(0)),
        Cargo::Command { line, input, .. } => ("command", line.clone(), *input),
    }
}

fn state(item: &Item) -> String {
    match (&item.held, item.in_doubt, &item.last_error) {
        (Some(reason), _, _) => format!("held: {reason}"),
        (None, true, _) => "offered to the site, not confirmed".to_owned(),
        (None, false, Some(error)) => format!("waiting until {}: {error}", item.not_before),
        (None, false, None) => "waiting".to_owned(),
    }
}

/// An item that waits because its hop does says why, and until when.
fn with_trouble(view: &View<'_>, item: Item) -> Result<Item, StoreError> {
    Ok(match view.hop_trouble(&item.hop)?.filter(|trouble| trouble.not_before > item.not_before) {
        Some(trouble) => Item { not_before: trouble.not_before, last_error: Some(trouble.last_error), ..item },
        None => item,
    })
}

fn list(opened: &Opened, site: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let hop = match site {
        Some(name) => match opened.context.site(name) {
            Some(site) => Some(Hop::Site(site.name.clone())),
            None => return Err(Failure::new(UNAVAILABLE, format!("no site `{name}`"))),
        },
        None => None,
    };
    let items = opened.store.read::<_, StoreError>(|view| {
        let items = view.items(&ItemFilter { hop, ..ItemFilter::default() })?;
        items.into_iter().map(|item| with_trouble(view, item)).collect::<Result<Vec<Item>, _>>()
    })?;
    if as_json {
        let rows: Vec<serde_json::Value> = items
            .iter()
            .map(|item| {
                let (kind, what, _) = describe(&item.cargo);
                json!({
                    "item": item.id.0, "hop": place(&item.hop), "kind": kind, "what": what, "grade": item.grade.to_string(),
                    "bytes": item.size, "queued": item.queued.to_string(), "not_before": item.not_before.to_string(),
                    "attempts": item.attempts, "held": item.held, "last_error": item.last_error, "in_doubt": item.in_doubt,
                })
            })
            .collect();
        return ui::print_json(&rows);
    }
    let mut table = Table::new(["ITEM", "GRADE", "HOP", "KIND", "SIZE", "QUEUED", "WHAT", "STATE"]);
    for item in &items {
        let (kind, what, _) = describe(&item.cargo);
        let cells = [item.id.0.to_string(), item.grade.to_string(), place(&item.hop), kind.to_owned()];
        let [id, grade, hop, kind] = cells;
        table.row([id, grade, hop, kind, ui::bytes(item.size), item.queued.to_string(), what, state(item)]);
    }
    table.print()
}

fn show(opened: &Opened, id: i64) -> Result<(), Failure> {
    let item = find(opened, id)?;
    let (kind, what, body) = describe(&item.cargo);
    let mut text: String = format!(
        "item      {id}\nkind      {kind}\nwhat      {what}\nhop       {}\ngrade     {}\nsize      {}\nqueued    {}\nattempts  {}\nstate     {}\n",
        place(&item.hop),
        item.grade,
        ui::bytes(item.size),
        item.queued,
        item.attempts,
        state(&item),
    )
    .lines()
    .map(|line| ui::plain(line) + "\n")
    .collect();
    if item.size > 0 {
        let body = opened.store.read::<_, StoreError>(|view| view.body(body))?;
        text.push('\n');
        text.push_str(&beginning(&body)?);
    }
    ui::print(&text)
}

/// The first lines of a body, printable.
fn beginning(body: &crate::store::Body) -> Result<String, Failure> {
    let mut bytes = vec![0; 4096];
    let count = body.read_at(0, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
    let shown = text.lines().take(30).map(|l| l.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>());
    Ok(shown.map(|l| l + "\n").collect())
}

/// What a site has been offered is not in our hands alone.
fn warn_of_offer(item: &Item) {
    if item.in_doubt {
        eprintln!("bangpath: item {} was offered to the site before: it may arrive there all the same", item.id.0);
    }
}

/// With a file of a command all that is left of that: the site could do nothing with the rest.
fn drop_item(opened: &Opened, id: i64, force: bool) -> Result<(), Failure> {
    let now = opened.context.now();
    let dropped = opened.store.write::<_, StoreError>(|change| {
        let dropped = change.drop_item(ItemId(id), force)?;
        for item in dropped.iter().flatten() {
            let (what, id, _) = describe(&item.cargo);
            let (place, bytes, detail) = (place(&item.hop), item.size, "by hand".to_owned());
            change.record(Fact { at: now, verb: "dropped", what, place, id, bytes, detail })?;
        }
        Ok(dropped)
    })?;
    let items = dropped.map_err(|refusal| match refusal {
        QueueRefusal::Unknown(_) => Failure::of(UNAVAILABLE, &refusal),
        QueueRefusal::InDoubt(_) => Failure::of(TEMPORARY, &refusal),
    })?;
    items.iter().for_each(warn_of_offer);
    let others: Vec<String> = items.iter().skip(1).map(|item| item.id.0.to_string()).collect();
    if !others.is_empty() {
        ui::print(&format!("dropped with what was left of its command: item {}\n", others.join(", ")))?;
    }
    Ok(())
}

/// What can neither be delivered nor returned.
#[derive(clap::Subcommand)]
pub enum Dead {
    /// All of them, and why
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// One of them, with the beginning of its bytes
    Show {
        /// The letter, by its number in `dead list`
        number: i64,
        /// Every byte of it and nothing else, for a file or a pipe
        #[arg(long)]
        all: bool,
    },
    /// Back to where it came from: the queue, or the files to be unpacked; of a command with files all of it
    Retry {
        /// The letter, by its number in `dead list`
        number: i64,
    },
    /// Throw it away; of a command for a site all of it
    Drop {
        /// The letter, by its number in `dead list`
        number: i64,
    },
}

pub fn dead(here: &Here, command: Dead) -> Result<(), Failure> {
    let opened = here.open()?;
    let none = |number: i64| Failure::new(UNAVAILABLE, format!("no dead letter {number}"));
    match command {
        Dead::List { json } => list_dead(&opened, json),
        Dead::Show { number, all } => {
            let found = opened.store.read::<_, StoreError>(|view| view.dead_letter(number))?;
            let (letter, body) = found.ok_or_else(|| none(number))?;
            if all {
                return write_all(&body);
            }
            let head = format!(
                "number  {number}\nsince   {}\nwhat    {}\nwhy     {}\nsize    {}\n\n",
                letter.at,
                ui::plain(&letter.what),
                ui::plain(&letter.why),
                ui::bytes(letter.size)
            );
            ui::print(&(head + &beginning(&body)?))
        }
        Dead::Retry { number } => ui::print(&(retry(&opened, number)?.ok_or_else(|| none(number))? + "\n")),
        Dead::Drop { number } => {
            let now = opened.context.now();
            let found = opened.store.write::<_, StoreError>(|change| {
                let found = change.drop_dead_letter(number)?;
                if found > 0 {
                    let (place, id) = (String::new(), format!("dead letter {number}"));
                    change.record(Fact {
                        at: now,
                        verb: "dropped",
                        what: "mail",
                        place,
                        id,
                        bytes: 0,
                        detail: "by hand".to_owned(),
                    })?;
                }
                Ok(found)
            })?;
            match found {
                0 => Err(none(number)),
                1 => Ok(()),
                more => ui::print(&format!("dropped with {} of its command\n", count(more as u64 - 1, "other letter"))),
            }
        }
    }
}

/// What has become of a dead letter that is tried again; `None`: there is none.
fn retry(opened: &Opened, number: i64) -> Result<Option<String>, Failure> {
    let clock = (opened.context.clock)();
    let ours = Hop::Site(opened.config.name.clone());
    let done = opened.store.write::<_, StoreError>(|change| {
        let id = match change.retry_dead_letter(number, clock.wall)? {
            None => return Ok(None),
            Some(Retried::Received) => return Ok(Some("it will be unpacked again".to_owned())),
            Some(Retried::Item(id)) => id,
        };
        let Some(item) = change.item(id)?.filter(|item| item.hop == ours) else {
            let hop = change.item(id)?.map_or(String::new(), |item| place(&item.hop));
            return Ok(Some(format!("item {} waits for {hop}", id.0)));
        };
        // A letter that waits for ourselves is one that could not be returned: it is routed anew.
        let accepted = delivery::reroute(change, &opened.config.mail, clock, item.id)?.unwrap_or_default();
        let queued: Vec<String> = accepted.queued.iter().map(|id| format!("queued as item {}", id.0)).collect();
        let delivered = (accepted.delivered > 0)
            .then(|| format!("delivered to {}", count(accepted.delivered as u64, "local user")));
        let failed = (accepted.returned > 0)
            .then(|| format!("failed again for {}: see `bangpath log`", count(accepted.returned as u64, "recipient")));
        let deeds: Vec<String> = queued.into_iter().chain(delivered).chain(failed).collect();
        Ok(Some(format!("routed anew: {}", deeds.join(", "))))
    })?;
    opened.nudge();
    Ok(done)
}

fn write_all(body: &crate::store::Body) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    body.write_to(&mut out)?;
    Ok(out.flush()?)
}

fn list_dead(opened: &Opened, as_json: bool) -> Result<(), Failure> {
    let letters = opened.store.read::<_, StoreError>(|view| view.dead_letters())?;
    if as_json {
        let rows: Vec<serde_json::Value> = letters
            .iter()
            .map(|l| json!({"number": l.number, "at": l.at.to_string(), "what": l.what, "why": l.why, "bytes": l.size}))
            .collect();
        return ui::print_json(&rows);
    }
    let mut table = Table::new(["NUMBER", "SINCE", "SIZE", "WHAT", "WHY"]);
    for letter in letters {
        table.row([letter.number.to_string(), letter.at.to_string(), ui::bytes(letter.size), letter.what, letter.why]);
    }
    table.print()
}

/// What has been done.
#[derive(clap::Args)]
pub struct Log {
    /// Go on showing what is done, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many deeds
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

pub fn log(here: &Here, arguments: &Log) -> Result<(), Failure> {
    let opened = here.open()?;
    let mut entries = opened.store.read::<_, StoreError>(|view| view.ledger_tail(arguments.lines))?;
    if arguments.json && !arguments.follow {
        let rows: Vec<serde_json::Value> = entries.iter().map(as_json).collect();
        return ui::print_json(&rows);
    }
    loop {
        for entry in &entries {
            let line = if arguments.json { as_json(entry).to_string() } else { as_line(entry) };
            ui::print(&format!("{}\n", ui::plain(&line)))?;
        }
        if !arguments.follow {
            return Ok(());
        }
        let last = entries.last().map_or(0, |e| e.number);
        entries = next_entries(&opened, last)?;
    }
}

/// Waits until something more has been done.
fn next_entries(opened: &Opened, last: i64) -> Result<Vec<Entry>, Failure> {
    loop {
        let entries = opened.store.read::<_, StoreError>(|view| view.ledger(last, 1000))?;
        if !entries.is_empty() {
            return Ok(entries);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn as_json(e: &Entry) -> serde_json::Value {
    json!({
        "number": e.number, "at": e.at.to_string(), "verb": e.verb, "what": e.what, "place": e.place, "id": e.id,
        "bytes": e.bytes, "detail": e.detail,
    })
}

fn as_line(e: &Entry) -> String {
    let size = if e.bytes > 0 { format!("({})", ui::bytes(e.bytes)) } else { String::new() };
    let at = e.at.to_string();
    let words = [at.as_str(), &e.verb, &e.what, &e.place, &e.id, &size, &e.detail];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
