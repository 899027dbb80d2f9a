//! From received files to mail and news: after the call has acknowledged them, from durable jobs.

use std::io::{self, Read};
use std::time::Duration;

use super::Context;
use super::notices::{DONE, Notices};
use super::relay::{self, Asker, RelayError};
use crate::base::address::Address;
use crate::base::limits::{BATCH_TURN_MIN, WILDCARD_MATCHES_MAX};
use crate::base::names::SiteName;
use crate::base::time::{Now, Timestamp};
use crate::base::wishes::Reports;
use crate::base::words::with_causes;
use crate::mail::rmail::{BodyReader, incoming_rmail};
use crate::mail::{self, IntakeError, Origin, Refused};
use crate::news::{self, Source};
use crate::store::inbound::{KEPT, Purpose, Received};
use crate::store::ledger::Fact;
use crate::store::{BodyId, Change, Store, StoreError};
use crate::wire::batch::{Found, Reader};
use crate::wire::bsmtp;
use crate::wire::uucp::Output;

mod execution_file;
mod letters;
mod program;

pub use letters::{Batched, local_letters};

/// Files looked at in one go.
const RUN: usize = 100;
/// Articles filed in one transaction.
const ARTICLES_AT_ONCE: usize = 100;
/// How long a file that could not be unpacked for want of space waits.
const LATER: Duration = Duration::from_secs(60);
/// How long an execution file waits at first before it looks for its data again.
const PARTNER: Duration = Duration::from_secs(30);
/// How long data waits for its execution file: longer than that waits for data, so that it is still there when that gives up.
const DATA_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

/// Unpacks what waits and may be tried now, until told to stop. Gives how many files were done with.
pub fn run(context: &Context, told_to_stop: impl Fn() -> bool) -> Result<usize, StoreError> {
    let mut done = 0;
    loop {
        let now = (context.clock)();
        let files = context.store.read::<_, StoreError>(|view| view.received(now.wall, RUN))?;
        if files.is_empty() {
            return Ok(done);
        }
        for file in &files {
            if told_to_stop() {
                return Ok(done);
            }
            done += usize::from(unpack(context, file, &told_to_stop)?);
        }
    }
}

/// What became of a file.
enum Fate {
    /// Unpacked, and taken out of the store in the same change.
    Done,
    /// There is more of it, and how far it has come is noted: first it is the turn of others.
    More,
    /// Try again later, and why.
    Later(Duration, String),
    /// Cannot be unpacked, ever.
    Bad(String),
    /// The same of a command, and who is told.
    Failed { why: String, tell: Address, command: String },
}

fn unpack(context: &Context, file: &Received, told_to_stop: &dyn Fn() -> bool) -> Result<bool, StoreError> {
    let now = (context.clock)();
    let fate = match fate(context, now, file, told_to_stop) {
        Ok(fate) => fate,
        // What is wrong with one file must not keep the others, nor the scheduler, from their work.
        Err(error @ StoreError::Damaged(_)) => Fate::Bad(with_causes(&error)),
        Err(error @ StoreError::Io { .. }) => {
            tracing::error!(site = %file.site, error = with_causes(&error), "cannot unpack a received file");
            unreadable(now.wall, file, with_causes(&error))
        }
        Err(error @ (StoreError::Full(_) | StoreError::Database { .. } | StoreError::Schema { .. })) => {
            return Err(error);
        }
    };
    match fate {
        Fate::Done => return Ok(true),
        Fate::More => {}
        Fate::Later(pause, why) => {
            context.store.write::<_, StoreError>(|change| change.defer_received(file.id, now.wall + pause, &why))?;
        }
        Fate::Bad(why) => bury(context, now, file, &why, |_| Ok(()))?,
        Fate::Failed { why, tell, command } => {
            let notices = Notices { policy: &context.mail, now, site: &file.site };
            let how = format!("failed, and what came with it is kept for our postmaster: {why}");
            bury(context, now, file, &why, |change| notices.ended(change, &tell, (&command, &how)))?;
        }
    }
    Ok(false)
}

/// Into the dead letters, an execution file with the data that has come for it; `also` is part of that change.
fn bury(
    context: &Context,
    now: Now,
    file: &Received,
    why: &str,
    also: impl FnOnce(&mut Change<'_>) -> Result<(), StoreError> + Send,
) -> Result<(), StoreError> {
    tracing::error!(site = %file.site, why, "a received file cannot be unpacked: see `bangpath dead`");
    let data = execution_file::data_here(context, file)?;
    context.store.write::<_, StoreError>(|change| {
        change.bury_received(file.id, why, now.wall)?;
        for id in data {
            change.bury_received(id, &format!("came for a command that was not run: {why}"), now.wall)?;
        }
        change.record(fact(now.wall, "buried", "file", &file.site, file.size, why.to_owned()))?;
        also(change)
    })
}

fn fate(context: &Context, now: Now, file: &Received, told_to_stop: &dyn Fn() -> bool) -> Result<Fate, StoreError> {
    match &file.purpose {
        Purpose::Execute { command, user, requestor, reports } => {
            let execution = Execution {
                site: &file.site,
                command,
                user,
                requestor: requestor.as_deref(),
                reports: *reports,
                brought: Brought { input: Some(file.body), ..Brought::default() },
                output: None,
                file,
                told_to_stop,
            };
            execution.run(context, now)
        }
        Purpose::Spool { name } if is_execution_file(name) => execution_file::run(context, now, file, told_to_stop),
        // Data waits for its execution file, which takes it along.
        Purpose::Spool { .. } => {
            let why = "waiting for its execution file".to_owned();
            Ok(waiting(now.wall, file, DATA_KEPT, (why, || "its execution file never came".to_owned())))
        }
    }
}

fn is_execution_file(name: &str) -> bool {
    name.starts_with("X.")
}

/// A file that cannot be used yet: why it waits, and what is said of it when it has waited for so long.
fn waiting(
    now: Timestamp,
    file: &Received,
    patience: Duration,
    (why, in_the_end): (String, impl FnOnce() -> String),
) -> Fate {
    if now.since(file.received) > patience {
        return Fate::Bad(in_the_end());
    }
    Fate::Later(PARTNER.saturating_mul(1 << file.attempts.min(7)), why)
}

/// It may be read when the disk is itself again.
fn unreadable(now: Timestamp, file: &Received, why: String) -> Fate {
    waiting(now, file, KEPT, (why, || "it could not be read for a week".to_owned()))
}

fn fact(at: Timestamp, verb: &'static str, what: &'static str, site: &SiteName, bytes: u64, detail: String) -> Fact {
    Fact { at, verb, what, place: site.to_string(), id: String::new(), bytes, detail }
}

/// A command that a site wants to have run.
struct Execution<'a> {
    site: &'a SiteName,
    command: &'a str,
    user: &'a str,
    requestor: Option<&'a str>,
    reports: Reports,
    brought: Brought,
    output: Option<&'a Output>,
    file: &'a Received,
    told_to_stop: &'a dyn Fn() -> bool,
}

impl Execution<'_> {
    fn run(&self, context: &Context, now: Now) -> Result<Fate, StoreError> {
        self.execute(context, now).map(|fate| self.told(context, fate))
    }

    /// Of a command that can never be run, who asked for it hears.
    fn told(&self, context: &Context, fate: Fate) -> Fate {
        match (fate, self.reported_to(context)) {
            (Fate::Bad(why), Some(tell)) => Fate::Failed { why, tell, command: self.command.to_owned() },
            (fate, _) => fate,
        }
    }

    fn execute(&self, context: &Context, now: Now) -> Result<Fate, StoreError> {
        let mut words = self.command.split_ascii_whitespace();
        let program = words.next().unwrap_or("");
        let site = context.site(self.site.as_str());
        let arguments: Vec<&str> = words.collect();
        if let Some((site, path)) = site.and_then(|site| Some((site, site.program(program)?))) {
            return self.program(context, now, (site, path), &arguments);
        }
        let permitted = site.is_some_and(|site| site.may_run(program));
        match program {
            "rmail" if permitted => self.rmail(context, now, &arguments),
            "rnews" if permitted => self.rnews(context, &arguments),
            batched if permitted && bsmtp::COMMANDS.contains(&batched) => self.letters(context, now),
            "uucp" if permitted => self.uucp(context, now, &arguments),
            _ => self.refuse(context, now, program),
        }
    }

    /// Its standard input. `None`: it has none, and what reads it would read nothing.
    fn input(&self, store: &Store) -> Result<Option<BodyReader>, StoreError> {
        self.brought.read().map(|input| body(store, input)).transpose()
    }

    fn finish(&self, change: &mut Change<'_>) -> Result<(), StoreError> {
        for data in &self.brought.data {
            change.finish_received(data.id)?;
        }
        change.finish_received(self.file.id)
    }

    /// It has been done: gone, and who wants to hear of that is told.
    fn succeed(&self, context: &Context, now: Now, change: &mut Change<'_>) -> Result<(), StoreError> {
        self.finish(change)?;
        match self.reported_to(context).filter(|_| self.reports == Reports::All) {
            Some(to) => {
                let notices = Notices { policy: &context.mail, now, site: self.site };
                notices.ended(change, &to, (self.command, DONE))
            }
            None => Ok(()),
        }
    }

    /// Who hears of a failure: nobody, if that is wished.
    fn reported_to(&self, context: &Context) -> Option<Address> {
        match self.reports {
            Reports::Never => None,
            Reports::Unsaid | Reports::Failures | Reports::All => {
                let to = self.notice_to(self.requestor.unwrap_or(self.user))?;
                let permitted = mail::may_be_told(&context.mail, self.site, &to);
                if !permitted {
                    tracing::info!(site = %self.site, %to, "who is to be told of a command is neither here nor at the site");
                }
                permitted.then_some(to)
            }
        }
    }

    /// One message. Taken and forgotten in one change: a power cut between leaves it to be taken once more, not twice.
    fn rmail(&self, context: &Context, now: Now, arguments: &[&str]) -> Result<Fate, StoreError> {
        let Some(input) = self.input(&context.store)? else { return Ok(no_input()) };
        let origin = (Origin::rmail(self.site.clone()), self.user);
        let submission = match incoming_rmail(&context.store, &context.mail, now, origin, arguments, input) {
            Ok(submission) => submission,
            Err(error @ IntakeError::Io(_)) => return Ok(Fate::Later(LATER, with_causes(&error))),
            Err(error) => return Ok(Fate::Bad(with_causes(&error))),
        };
        let accepted = context.store.write(|change| {
            self.succeed(context, now, change)?;
            mail::accept(change, &context.mail, now, submission)
        });
        match accepted {
            Ok(_) => Ok(Fate::Done),
            Err(Refused::Store(error @ StoreError::Full(_))) => Ok(Fate::Later(LATER, with_causes(&error))),
            Err(Refused::Store(error)) => Err(error),
            Err(error) => Ok(Fate::Bad(with_causes(&error))),
        }
    }

    /// Why a batch is left for now when so much of it is done, letters or articles: others have their turn, we stop, or what is
    /// packed might fill the reserve. That is for what is on its way, and has room for as much as has come; a packed batch may be
    /// a thousand times that.
    fn pause(&self, context: &Context, done: u64, packed: bool) -> Option<Fate> {
        if done >= self.file.progress + turn(self.file.progress) || (self.told_to_stop)() {
            return Some(Fate::More);
        }
        let room = if packed { context.store.room_for(0) } else { Ok(()) };
        room.err().map(|error| Fate::Later(LATER, with_causes(&error)))
    }

    /// Its batches: the files that it names, one after the other, or else its input. Arguments that name no file which came along
    /// are options, of which none matters here.
    fn rnews(&self, context: &Context, arguments: &[&str]) -> Result<Fate, StoreError> {
        let mut batches = Vec::new();
        for batch in arguments.iter().filter_map(|name| self.brought.file(name)) {
            if !batches.contains(&batch) {
                batches.push(batch);
            }
        }
        if batches.is_empty() {
            batches.extend(self.brought.read());
        }
        let Some(last) = batches.last() else { return Ok(no_input()) };
        let mut filing = Filing { alone: batches.len() == 1, ..Filing::default() };
        for batch in &batches {
            if let Some(fate) = self.file_articles(context, *batch, batch == last, &mut filing)? {
                return Ok(fate);
            }
        }
        // Of several the last change has kept what is damaged.
        Ok(filing.damaged.pop().filter(|_| filing.alone).map_or(Fate::Done, |(_, why)| Fate::Bad(why)))
    }

    /// A batch, in runs of articles; each run is one change that also notes how far the batches have come. What is
    /// damaged stays in the dead letters, bytes and all, after what could be read has been filed. Gives what ends the work before
    /// the end of the batch.
    fn file_articles(
        &self,
        context: &Context,
        batch: BodyId,
        last: bool,
        filing: &mut Filing,
    ) -> Result<Option<Fate>, StoreError> {
        let mut reader = match body(&context.store, batch) {
            Ok(bytes) => Reader::new(bytes),
            Err(StoreError::Damaged(why)) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            Err(error) => return Err(error),
        };
        loop {
            let packed = reader.as_ref().is_ok_and(Reader::is_packed);
            if let Some(fate) = self.pause(context, filing.number, packed) {
                return Ok(Some(fate));
            }
            let (run, end) = match &mut reader {
                Ok(reader) => next_run(reader),
                Err(error) => (Vec::new(), End::of(error, "the batch cannot be read")),
            };
            if let End::Trouble(why) = end {
                return Ok(Some(unreadable((context.clock)().wall, self.file, why)));
            }
            let first = filing.number;
            filing.number += run.len() as u64;
            let ended = filing.note(batch, &run, end);
            if filing.number <= self.file.progress && !(ended && last) {
                if ended {
                    return Ok(None);
                }
                continue;
            }
            let filed = context.store.write::<_, StoreError>(|change| {
                let now = (context.clock)();
                let source = Source::Site(self.site.clone());
                for (_, found) in (first..).zip(&run).filter(|(at, _)| *at >= self.file.progress) {
                    if let Found::Article(article) = found {
                        news::accept(change, &context.news, now, &source, article)?;
                    }
                }
                match (ended && last, &filing.damaged[..]) {
                    (false, _) => change.note_progress(self.file.id, filing.number),
                    (true, []) => self.succeed(context, now, change),
                    // Tried again by an operator, it is read from its beginning: the history makes that harmless.
                    (true, _) if filing.alone => change.note_progress(self.file.id, 0),
                    (true, damaged) => self.keep_damaged(context, now, change, damaged),
                }
            });
            match filed {
                Ok(()) if ended => return Ok(None),
                Ok(()) => {}
                Err(error @ StoreError::Full(_)) => return Ok(Some(Fate::Later(LATER, with_causes(&error)))),
                Err(error) => return Err(error),
            }
        }
    }

    /// Of several batches only those that are damaged stay in the dead letters, each as if it had come by itself.
    fn keep_damaged(
        &self,
        context: &Context,
        now: Now,
        change: &mut Change<'_>,
        damaged: &[(BodyId, String)],
    ) -> Result<(), StoreError> {
        let (command, user) = ("rnews".to_owned(), self.user.to_owned());
        let requestor = self.requestor.map(str::to_owned);
        let alone = Purpose::Execute { command, user, requestor, reports: self.reports };
        for (batch, why) in damaged {
            tracing::error!(site = %self.site, why, "one batch of several is damaged: see `bangpath dead`");
            for data in self.brought.data.iter().filter(|data| data.body == *batch) {
                change.set_purpose(data.id, &alone)?;
                change.bury_received(data.id, why, now.wall)?;
                change.record(fact(now.wall, "buried", "file", self.site, data.size, why.clone()))?;
            }
        }
        self.finish(change)?;
        let Some(to) = self.reported_to(context) else { return Ok(()) };
        let whys: Vec<&str> = damaged.iter().map(|(_, why)| why.as_str()).collect();
        let how = format!("failed in part, and what is damaged is kept for our postmaster: {}", whys.join("; "));
        Notices { policy: &context.mail, now, site: self.site }.ended(change, &to, (self.command, &how))
    }

    /// Files are sent on. All of the command is done, or nothing.
    fn uucp(&self, context: &Context, now: Now, arguments: &[&str]) -> Result<Fate, StoreError> {
        let Some(site) = context.site(self.site.as_str()) else { return self.refuse(context, now, "uucp") };
        let Some((sources, target, wishes)) = relay::words(arguments) else {
            return self.refuse(context, now, "uucp");
        };
        let asker = Asker { site, user: self.user, wishes };
        let mut copies = Vec::new();
        for source in sources {
            let source = match self.brought.file(source) {
                Some(body) => relay::Source::Brought(source, body),
                None => relay::Source::Named(source),
            };
            match relay::copies(context, &asker, source, target) {
                Ok(more) => copies.extend(more),
                Err(RelayError::NotPermitted(why)) => {
                    tracing::info!(site = %self.site, why, "files are not sent on");
                    return self.refuse(context, now, "uucp");
                }
                Err(error) => return Ok(Fate::Later(LATER, with_causes(&error))),
            }
            if copies.len() > WILDCARD_MATCHES_MAX {
                return Ok(Fate::Bad("the command names too many files".to_owned()));
            }
        }
        context.store.write(|change| {
            relay::queue(change, &asker, copies, now.wall)?;
            self.succeed(context, now, change)
        })?;
        Ok(Fate::Done)
    }

    /// Tells the sender that the command is not run here. Nothing of it is.
    fn refuse(&self, context: &Context, now: Now, program: &str) -> Result<Fate, StoreError> {
        let program: String = program.chars().filter(|c| !c.is_control()).take(60).collect();
        tracing::warn!(site = %self.site, program, "refusing to run a command");
        let notice = self.reported_to(context);
        let told = context.store.write(|change| {
            self.finish(change)?;
            change.record(fact(now.wall, "refused", "command", self.site, self.file.size, program.clone()))?;
            let Some(to) = &notice else { return Ok(()) };
            let text = format!(
                "Your site asked {} to run this command, which it does not do for others:\n\n    {}\n\nNothing was run.\n",
                context.our_name,
                self.command.chars().filter(|c| !c.is_control()).take(500).collect::<String>()
            );
            mail::notify(change, &context.mail, now, to, "Command refused", &text)
        });
        match told {
            Ok(()) => Ok(Fate::Done),
            Err(Refused::Store(error)) => Err(error),
            Err(error) => Ok(Fate::Bad(format!("refused to run `{program}`, and its sender cannot be told: {error}"))),
        }
    }

    /// The sender's address, seen from here. The site is the one the file came from, whatever it claims.
    fn notice_to(&self, user: &str) -> Option<Address> {
        match Address::parse_uucp(user).ok()? {
            Address::Local(user) => Some(Address::Path { hosts: vec![self.site.to_string()], user }),
            address => Some(address),
        }
    }
}

/// What came for a command.
#[derive(Default)]
struct Brought {
    input: Option<BodyId>,
    /// The one file of a command that has no input.
    only: Option<BodyId>,
    /// What the command calls a file, and its bytes.
    files: Vec<(String, BodyId)>,
    /// What goes when the command has been run, beside the file that names it.
    data: Vec<Received>,
}

impl Brought {
    /// What is built in reads the only file where there is no input: some peers mean that.
    fn read(&self) -> Option<BodyId> {
        self.input.or(self.only)
    }

    fn file(&self, name: &str) -> Option<BodyId> {
        self.files.iter().find(|(called, _)| called == name).map(|(_, body)| *body)
    }
}

fn body(store: &Store, id: BodyId) -> Result<BodyReader, StoreError> {
    store.read::<_, StoreError>(|view| view.body(id)).map(BodyReader::new)
}

fn no_input() -> Fate {
    Fate::Bad("nothing came for the command to read".to_owned())
}

/// How far the batches of one command have come.
#[derive(Default)]
struct Filing {
    /// Articles seen, and what else counts as one.
    number: u64,
    /// There is one batch only.
    alone: bool,
    /// Batches with what is wrong with each. It is found again each time, and decides what becomes of them.
    damaged: Vec<(BodyId, String)>,
}

impl Filing {
    /// Whether the batch ends with this run; the first that is wrong with it is remembered.
    fn note(&mut self, batch: BodyId, run: &[Found], end: End) -> bool {
        let (ended, broken) = match end {
            End::More => (false, None),
            End::Whole => (true, None),
            End::Broken(why) | End::Trouble(why) => (true, Some(why)),
        };
        let known = self.damaged.iter().any(|(known, _)| *known == batch);
        if let Some(why) = run.iter().find_map(flaw).or(broken).filter(|_| !known) {
            self.damaged.push((batch, why));
        }
        ended
    }
}

/// How many letters or articles of a batch are taken before others have their turn, if so many are done with: these are read once
/// more, so the turns become longer.
fn turn(progress: u64) -> u64 {
    (progress / 4).max(BATCH_TURN_MIN)
}

/// Where a news batch is damaged, and how.
fn flaw(found: &Found) -> Option<String> {
    match found {
        Found::Article(_) => None,
        Found::Oversized { bytes } => Some(format!("an article of {bytes} bytes was passed over")),
        Found::OutOfStep { bytes } => {
            Some(format!("{bytes} bytes of the batch belong to no article: its lengths are wrong"))
        }
        Found::Truncated { missing, .. } => Some(format!("the batch ends {missing} bytes too early")),
    }
}

/// How a run of articles ended.
enum End {
    More,
    Whole,
    /// The rest cannot be read.
    Broken(String),
    /// The same now, for the disk fails: that may pass.
    Trouble(String),
}

impl End {
    fn of(error: &io::Error, what: &str) -> Self {
        let why = format!("{what}: {error}");
        if error.raw_os_error().is_some() { Self::Trouble(why) } else { Self::Broken(why) }
    }
}

fn next_run(reader: &mut Reader<'_>) -> (Vec<Found>, End) {
    let mut run = Vec::new();
    let mut bytes = 0;
    // A run is bounded in bytes too: it is held in memory.
    while run.len() < ARTICLES_AT_ONCE && bytes < 4 << 20 {
        match reader.next_found() {
            Ok(Some(found)) => {
                if let Found::Article(article) = &found {
                    bytes += article.len();
                }
                run.push(found);
            }
            Ok(None) => return (run, End::Whole),
            Err(error) => return (run, End::of(&error, "the batch is damaged")),
        }
    }
    (run, End::More)
}

/// Runs a batch that a local program hands in: `rnews` as a command. Gives how many articles were taken, and refused.
pub fn local_rnews(context: &Context, user: &str, input: impl Read) -> Result<(usize, usize), LocalError> {
    let mut reader = Reader::new(input)?;
    let (mut taken, mut refused) = (0, 0);
    loop {
        let (run, end) = next_run(&mut reader);
        context.store.write::<_, StoreError>(|change| {
            for found in &run {
                let Found::Article(article) = found else {
                    refused += 1;
                    continue;
                };
                match news::accept(change, &context.news, (context.clock)(), &Source::Local(user.to_owned()), article)?
                {
                    news::Verdict::Taken { .. } => taken += 1,
                    news::Verdict::Duplicate { .. } => {}
                    news::Verdict::Rejected { why, message_id } => {
                        tracing::warn!(%why, message_id, "article refused");
                        refused += 1;
                    }
                }
            }
            Ok(())
        })?;
        match end {
            End::More => {}
            End::Whole => return Ok((taken, refused)),
            End::Broken(why) | End::Trouble(why) => return Err(LocalError::Damaged(why)),
        }
    }
}

/// Why a batch could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot keep a letter")]
    Disk(#[source] io::Error),
    #[error("cannot read the batch")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_not_read_many_times_over_for_the_sake_of_turns() {
        let (mut progress, mut read) = (0, 0);
        while progress < 1_000_000 {
            progress += turn(progress);
            read += progress;
        }
        assert!(read < 7 * progress, "{read} of {progress}");
        assert_eq!(turn(0), BATCH_TURN_MIN);
    }
}
