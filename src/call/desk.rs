//! The session's desk over the store: what goes to a site, and where what comes from it is put.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::notices::Notices;
use super::pack::{self, PackError};
use super::relay::{self, Asker, RelayError, Source};
use super::settle::{JobVerdict, settle_item};
use super::taylor::{self, FileCount};
use super::{Context, Progress, Site};
use crate::base::names::{Grade, SiteName};
use crate::base::time::Now;
use crate::base::words::with_causes;
use crate::dialogue::Stop;
use crate::files::FileError;
use crate::files::public::{self, PublicDirectory};
use crate::proto::Packets;
use crate::sched::{fits_ever, size_limit_now};
use crate::session::{Deed, Desk, Inbox, Incoming, Refusal, Restart, Spread, Task, TaskId, Wanted};
use crate::store::inbound::{Announced, Purpose, Receiving};
use crate::store::jobs::Job;
use crate::store::ledger::Fact;
use crate::store::sites::CallNumber;
use crate::store::{Body, Change, Lock, Store, StoreError};

/// How often, in bytes of a file, the space on the disk is looked at.
const LOOK_AT_DISK: u64 = 4 << 20;
/// What a file of unknown size is taken to have, as in Taylor.
const SIZE_ASSUMED: u64 = 10_240;

pub(super) struct StoreDesk {
    context: Context,
    site: Site,
    progress: Arc<Progress>,
    public: PublicDirectory,
    /// Jobs frozen in earlier calls, to be offered first; loaded at the first question.
    frozen: Option<std::vec::IntoIter<Job>>,
    open: HashMap<TaskId, Open>,
    /// Of the tasks whose bytes we send.
    counts: HashMap<TaskId, FileCount>,
    served: i64,
    /// It called us.
    called: bool,
    /// The port, or where it calls from.
    port: String,
    /// The number under which it is called, where calls are counted.
    number: Option<CallNumber>,
    /// Of an answered call: one session a site.
    _lock: Option<Arc<Lock>>,
}

/// A task under way.
enum Open {
    Job { job: Box<Job>, body: Body },
    File(std::fs::File),
}

fn to_io(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl StoreDesk {
    /// `number`: what the call is counted as.
    pub fn new(context: Context, site: Site, progress: Arc<Progress>, number: Option<u32>) -> Self {
        let public = PublicDirectory::new(&context.public);
        let (open, counts) = (HashMap::new(), HashMap::new());
        let number = number.map(|number| CallNumber { number, doubtful: false });
        let (frozen, served, called, port) = (None, 0, false, String::new());
        Self { context, site, progress, public, frozen, open, counts, served, called, port, number, _lock: None }
    }

    /// Of a call over this port.
    pub fn over(mut self, port: &str) -> Self {
        port.clone_into(&mut self.port);
        self
    }

    /// Of a call that we answer: keeps the lock as long as the desk lives.
    pub fn answering(mut self, lock: Arc<Lock>, peer: &str) -> Self {
        (self._lock, self.called, self.port) = (Some(lock), true, peer.to_owned());
        self
    }

    fn log(&self, user: &str, what: &str, size: Option<u64>) {
        taylor::log_file(&self.context, self.site.name.as_str(), user, what, size);
    }

    fn count(&self, verb: &'static str, user: &str) -> FileCount {
        FileCount::begin(&self.context, verb, [user, self.site.name.as_str(), &self.port])
    }

    /// Takes a file or says why not.
    fn take(&mut self, request: &Incoming) -> Result<Box<dyn Inbox>, Refusal> {
        self.context.store.room_for(request.size.unwrap_or(0)).map_err(|_| Refusal::CannotCreate)?;
        self.check_size(request.size.unwrap_or(SIZE_ASSUMED))?;
        Progress::add(&self.progress.bytes_to_receive, request.size.unwrap_or(0));
        if let Some(command) = &request.command {
            let program = command.split_ascii_whitespace().next().unwrap_or("");
            if !self.site.may_run(program) {
                tracing::warn!(site = %self.site.name, program, "refusing to run a command");
                return Err(Refusal::NotPermitted);
            }
            let (command, user) = (command.clone(), request.user.clone());
            let (requestor, reports) = (request.requestor.clone(), request.reports);
            return self.admit_spool(request, Purpose::Execute { command, user, requestor, reports });
        }
        match request.to.get(..2) {
            Some("D." | "X.") if !request.to.contains('/') => {
                self.admit_spool(request, Purpose::Spool { name: request.to.clone() })
            }
            Some("C.") => Err(Refusal::NotPermitted),
            _ => self.admit_file(request),
        }
    }

    fn now(&self) -> Now {
        (self.context.clock)()
    }

    fn next_frozen(&mut self, worst: Grade) -> Result<Option<(Job, Body)>, StoreError> {
        let frozen = match &mut self.frozen {
            Some(frozen) => frozen,
            none => {
                let jobs = self.context.store.read::<_, StoreError>(|view| view.offered_jobs(&self.site.name))?;
                none.insert(jobs.into_iter())
            }
        };
        for job in frozen.filter(|job| job.grade <= worst) {
            match self.context.store.read(|view| view.body(job.data)) {
                Ok(body) => return Ok(Some((job, body))),
                // The other jobs must not wait for one that cannot be read.
                Err(error @ (StoreError::Io { .. } | StoreError::Damaged(_))) => {
                    hold_items(&self.context.store, &job, &error)?;
                }
                Err(error @ (StoreError::Full(_) | StoreError::Database { .. } | StoreError::Schema { .. })) => {
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// What becomes of a job's items after the site's word on it, all in one change.
    fn settle(&mut self, id: TaskId, verdict: &JobVerdict) -> Result<(), StoreError> {
        let Some(Open::Job { job, .. }) = self.open.remove(&id) else { return Ok(()) };
        let now = self.now();
        let policy = Arc::clone(&self.context.mail);
        self.context.store.write(|change| {
            let items = change.job_items(job.id)?;
            change.dissolve_job(job.id)?;
            for item in &items {
                settle_item(change, &policy, now, &self.site, &job.sequence, item, verdict)?;
            }
            Ok(())
        })
    }

    /// Packs the next job. What is too large for this call is put off, or given back where it is too large for any.
    fn next_job(&mut self, worst: Grade) -> Result<Option<(Job, Body)>, PackError> {
        let now = self.now();
        let limit = size_limit_now(&self.site.send_limits, now.wall, &self.site.zone, self.called);
        loop {
            let item = match pack::next_job(&self.context, &self.site, worst, limit) {
                Err(PackError::TooLarge(item)) => item,
                packed => return packed,
            };
            let verdict = match fits_ever(&self.site.send_limits, item.size) {
                true => JobVerdict::Later("is not sent so much in a call such as this".to_owned()),
                false => JobVerdict::Never("is never sent so much (send-limits)".to_owned()),
            };
            let policy = Arc::clone(&self.context.mail);
            self.context.store.write(|change| settle_item(change, &policy, now, &self.site, "", &item, &verdict))?;
        }
    }

    /// The largest file that may come now.
    fn receive_limit(&self) -> Option<u64> {
        size_limit_now(&self.site.receive_limits, self.now().wall, &self.site.zone, self.called)
    }

    /// Whether larger files may come at another time, or in another call.
    fn may_take_more(&self) -> bool {
        self.receive_limit().is_none_or(|max| fits_ever(&self.site.receive_limits, max.saturating_add(1)))
    }

    fn is_fetch(&self, task: TaskId) -> bool {
        let deed = match self.open.get(&task) {
            Some(Open::Job { job, .. }) => Some(&job.deed),
            Some(Open::File(_)) | None => None,
        };
        matches!(deed, Some(crate::store::jobs::Deed::Fetch { .. }))
    }

    /// Whether a file of theirs, sent or fetched, is larger than what may come now.
    fn check_size(&self, size: u64) -> Result<(), Refusal> {
        match self.receive_limit() {
            Some(max) if size > max && fits_ever(&self.site.receive_limits, size) => Err(Refusal::TooLargeNow),
            Some(max) if size > max => Err(Refusal::TooLarge),
            Some(_) | None => Ok(()),
        }
    }

    /// What an earlier call has left of a file that we fetch.
    fn restart_of(&self, task: TaskId, to: &str) -> Result<Option<Restart>, StoreError> {
        let begins = fetch_name(task, "");
        Ok(self.left_of(task, to)?.and_then(|(name, position)| {
            let version = u64::from_str_radix(name.strip_prefix(&begins)?, 16).ok()?;
            Some(Restart { position, version })
        }))
    }

    fn left_of(&self, task: TaskId, to: &str) -> Result<Option<(String, u64)>, StoreError> {
        let (begins, now) = (fetch_name(task, ""), self.now().wall);
        self.context.store.read(|view| view.partial_named(&self.site.name, &begins, to, now))
    }

    /// Of a file that is another one now, what an earlier call has left is of no use.
    fn forget_other(&self, task: TaskId, announced: &Announced) -> Result<(), StoreError> {
        match self.left_of(task, &announced.to)?.filter(|(name, _)| announced.temp.as_ref() != Some(name)) {
            Some((name, _)) => self.context.store.write(|change| change.forget_partial(&announced.site, &name, "")),
            None => Ok(()),
        }
    }

    fn receive(&self, request: &Incoming) -> Result<Receiving, Refusal> {
        let announced = self.announced(request);
        if let Some(task) = request.fetch {
            self.forget_other(task, &announced).map_err(|error| refuse(&error))?;
        }
        self.context.store.receive(&announced, request.restart, self.now().wall).map_err(|error| refuse(&error))
    }

    fn announced(&self, request: &Incoming) -> Announced {
        Announced {
            site: self.site.name.clone(),
            temp: match (request.fetch, request.version) {
                (Some(task), Some(version)) => Some(fetch_name(task, &format!("{version:x}"))),
                (Some(_), None) | (None, _) => request.temp.clone(),
            },
            size: request.size,
            to: request.to.clone(),
        }
    }

    /// A command, or a spool file of one: kept in the store until it is unpacked.
    fn admit_spool(&self, request: &Incoming, purpose: Purpose) -> Result<Box<dyn Inbox>, Refusal> {
        let announced = self.announced(request);
        let now = self.now().wall;
        let known = self.context.store.read::<_, StoreError>(|view| view.is_received_in_doubt(&announced, now));
        if known.map_err(|error| refuse(&error))? {
            return Err(Refusal::AlreadyHere);
        }
        let receiving = self.receive(request)?;
        Ok(self.inbox(request, receiving, Target::Spool(purpose)))
    }

    fn admit_file(&self, request: &Incoming) -> Result<Box<dyn Inbox>, Refusal> {
        let wishes = &request.wishes;
        let place = match request.fetch {
            // We asked for it, and the user who did was asked whether they may write there.
            Some(_) if request.to.starts_with('/') => Ok(Place::Path(PathBuf::from(&request.to))),
            _ => self.public.target(&request.to, &request.from, !wishes.no_folders).map(Place::Public),
        };
        let place = place.map_err(|error| match error {
            FileError::NotPermitted { .. } => Refusal::NotPermitted,
            // It will not be there next time either, unless a person makes it.
            ref missing if wishes.no_folders && missing.is_missing() => {
                Refusal::Other("there is no such folder, and none is to be made".to_owned())
            }
            FileError::CannotCreate { .. } | FileError::CannotRead { .. } => {
                tracing::warn!(error = with_causes(&error), "cannot make a place for a file");
                Refusal::CannotCreate
            }
        })?;
        // A file in doubt has been here, and its user has been told.
        let (announced, now) = (self.announced(request), self.now().wall);
        let known = self.context.store.read::<_, StoreError>(|view| view.is_received_in_doubt(&announced, now));
        let told = known.map_err(|error| refuse(&error))?;
        let notify = wishes.notify.clone().filter(|_| !told).map(|user| (user, request.user.clone()));
        let receiving = self.receive(request)?;
        let target = Target::File { place, mode: request.mode, id: request.to.clone(), notify };
        Ok(self.inbox(request, receiving, target))
    }

    fn inbox(&self, request: &Incoming, receiving: Receiving, target: Target) -> Box<dyn Inbox> {
        Box::new(StoreInbox {
            receiving,
            target,
            context: self.context.clone(),
            site: self.site.name.clone(),
            progress: Arc::clone(&self.progress),
            count: self.count("received", &request.user),
        })
    }
}

/// The name under which a file that we fetch is kept until it is whole; no peer's begins so.
fn fetch_name(task: TaskId, version: &str) -> String {
    format!("R.{}.{version}", task.0)
}

/// What tells a file from what its name meant before: anything that is done to it changes one of these.
fn version(facts: &std::fs::Metadata) -> u64 {
    let mut digest = Sha256::new();
    for fact in [facts.dev(), facts.ino(), facts.len()] {
        digest.update(fact.to_le_bytes());
    }
    for fact in [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()] {
        digest.update(fact.to_le_bytes());
    }
    digest.finalize().first_chunk().copied().map_or(0, u64::from_le_bytes)
}

fn refuse(error: &StoreError) -> Refusal {
    tracing::error!(error = with_causes(&error), "cannot take a file");
    Refusal::CannotCreate
}

impl Desk for StoreDesk {
    fn next_task(&mut self, worst: Grade) -> io::Result<Option<Task>> {
        let (job, body, again) = match self.next_frozen(worst).map_err(to_io)? {
            Some((job, body)) => (job, body, true),
            None => match self.next_job(worst) {
                Ok(Some((job, body))) => (job, body, false),
                Ok(None) => return Ok(None),
                // What comes to us can still be taken.
                Err(error @ PackError::Store(StoreError::Full(_))) => {
                    tracing::error!(error = with_causes(&error), "cannot pack for want of space");
                    return Ok(None);
                }
                Err(error) => return Err(to_io(error)),
            },
        };
        Progress::add(&self.progress.bytes_to_send, job.size);
        let mut task = pack::task(&self.site.our_name, &job, again);
        match &mut task.deed {
            Deed::Send { from, size, .. } => self.log(&task.user, &format!("Sending {from}"), Some(*size)),
            Deed::Execute { command, temp, size, .. } => {
                self.log(&task.user, &format!("Sending {command} ({temp})"), Some(*size));
            }
            Deed::Fetch { to, size_max, restart, .. } => {
                *size_max = self.receive_limit();
                *restart = self.restart_of(task.id, to).map_err(to_io)?;
            }
            // Nothing is sent; what comes is told of then.
            Deed::Expand { .. } | Deed::Serve { .. } => {}
        }
        if task.deed.size().is_some() {
            self.counts.insert(task.id, self.count("sent", &task.user));
        }
        self.open.insert(task.id, Open::Job { job: Box::new(job), body });
        Ok(Some(task))
    }

    fn read(&mut self, task: TaskId, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let count = match self.open.get(&task) {
            Some(Open::Job { body, .. }) => body.read_at(offset, out)?,
            Some(Open::File(file)) => file.read_at(out, offset)?,
            None => return Err(io::Error::other("the task is not open")),
        };
        Progress::add(&self.progress.bytes_sent, count as u64);
        if let Some(counted) = self.counts.get_mut(&task) {
            counted.moved(count);
        }
        Ok(count)
    }

    fn serve(&mut self, request: &Wanted) -> Result<Task, Refusal> {
        if !self.site.may_request {
            return Err(Refusal::NotPermitted);
        }
        let unreadable = |error: &dyn std::error::Error| {
            tracing::info!(error = with_causes(error), from = request.from, "a request is refused");
            Refusal::NotPermitted
        };
        let file = self.public.open(&request.from).map_err(|e| unreadable(&e))?;
        let facts = file.metadata().map_err(|e| unreadable(&e))?;
        let (size, mode) = (facts.len(), facts.permissions().mode() & 0o777);
        let limits = &self.site.send_limits;
        if size_limit_now(limits, self.now().wall, &self.site.zone, self.called).is_some_and(|max| size > max) {
            return Err(if fits_ever(limits, size) { Refusal::TooLargeNow } else { Refusal::TooLarge });
        }
        // What they take may be more at another time: of that they know, not we. (Taylor says so too)
        if request.size_max.is_some_and(|max| size > max) {
            return Err(Refusal::TooLargeNow);
        }
        self.log(&request.user, &format!("Sending {}", request.from), Some(size));
        self.served -= 1;
        let id = TaskId(self.served);
        self.open.insert(id, Open::File(file));
        self.counts.insert(id, self.count("sent", &request.user));
        let deed = Deed::Serve { mode, size, version: version(&facts) };
        Ok(Task { id, grade: Grade::FILE, user: request.user.clone(), again: false, deed })
    }

    fn admit(&mut self, request: &Incoming) -> Result<Box<dyn Inbox>, Refusal> {
        let inbox = self.take(request)?;
        let what = request.command.as_ref().unwrap_or(&request.to);
        self.log(&request.user, &format!("Receiving {what}"), request.size);
        Ok(inbox)
    }

    fn finished(&mut self, task: TaskId) -> io::Result<()> {
        Progress::add(&self.progress.files_sent, 1);
        if let Some(count) = self.counts.remove(&task) {
            count.done();
        }
        match self.open.get(&task) {
            Some(Open::Job { .. }) => self.settle(task, &JobVerdict::Done).map_err(to_io),
            Some(Open::File(_)) | None => {
                self.open.remove(&task);
                Ok(())
            }
        }
    }

    fn refused(&mut self, task: TaskId, why: Refusal) -> io::Result<()> {
        self.counts.remove(&task);
        let verdict = match why {
            Refusal::TooLargeNow if self.is_fetch(task) && !self.may_take_more() => {
                JobVerdict::Never("has it too large (receive-limits), or too large to be sent now".to_owned())
            }
            Refusal::CannotCreate | Refusal::TooLargeNow | Refusal::TooManyChannels => {
                JobVerdict::Later(why.to_string())
            }
            Refusal::NotPermitted
            | Refusal::TooLarge
            | Refusal::CannotStore
            | Refusal::AlreadyHere
            | Refusal::Other(_) => JobVerdict::Never(why.to_string()),
        };
        match self.open.get(&task) {
            Some(Open::Job { .. }) => self.settle(task, &verdict).map_err(to_io),
            Some(Open::File(_)) | None => {
                self.open.remove(&task);
                Ok(())
            }
        }
    }

    fn settled(&mut self) -> io::Result<()> {
        self.context.store.write::<_, StoreError>(|change| change.settle_receipts(&self.site.name)).map_err(to_io)
    }

    fn expand(&mut self, request: &Spread) -> Result<(), Refusal> {
        let asker = Asker { site: &self.site, user: &request.user, wishes: request.wishes.clone() };
        let copies = relay::copies(&self.context, &asker, Source::Named(&request.from), &request.to);
        let copies = copies.map_err(|error| match error {
            RelayError::NotPermitted(why) => {
                tracing::info!(site = %self.site.name, why, "a request to send files on is refused");
                Refusal::NotPermitted
            }
            RelayError::Store(error) => refuse(&error),
            RelayError::Io(error) => {
                tracing::error!(error = with_causes(&error), "cannot queue what a site asks for");
                Refusal::CannotCreate
            }
        })?;
        let now = self.now().wall;
        let queued = self.context.store.write::<_, StoreError>(|change| relay::queue(change, &asker, copies, now));
        queued.map_err(|error| refuse(&error))
    }

    fn counted(&mut self) -> io::Result<()> {
        let Some(number) = self.number else { return Ok(()) };
        self.context
            .store
            .write::<_, StoreError>(|change| change.set_call_number(&self.site.name, number))
            .map_err(to_io)
    }

    fn agreed(&mut self, protocol: char) {
        if self.called {
            self.log(taylor::NOBODY, &format!("Incoming call (port {})", self.port), None);
        }
        // Once a call: who was talked to is not called over another way.
        let _ = self.progress.agreed.set(protocol);
    }

    fn started(&mut self, packets: Option<Packets>) {
        let Some(protocol) = self.progress.agreed.get() else { return };
        self.log(taylor::NOBODY, &taylor::handshake(*protocol, packets), None);
    }

    fn stop_wanted(&mut self) -> io::Result<Option<Stop>> {
        self.context.store.read::<_, StoreError>(|view| view.hang_up_wanted(&self.site.name)).map_err(to_io)
    }
}

/// Whether the site has what it was offered is for an operator to find out: nothing here can tell.
fn hold_items(store: &Store, job: &Job, error: &StoreError) -> Result<(), StoreError> {
    let why = format!("it was offered and may have arrived, but cannot be read any more: {error}");
    tracing::error!(site = %job.site, job = job.sequence, why, "the items of a job are held");
    store.write(|change| {
        let items = change.job_items(job.id)?;
        change.dissolve_job(job.id)?;
        items.iter().try_for_each(|item| change.hold_item(item.id, &why))
    })
}

/// Where a file goes once it is whole.
enum Target {
    Spool(Purpose),
    /// `notify`: who is told then, and who sent it.
    File {
        place: Place,
        mode: u32,
        id: String,
        notify: Option<(String, String)>,
    },
}

enum Place {
    Public(public::Target),
    Path(PathBuf),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Self::Public(target) => target.path(),
            Self::Path(path) => path.clone(),
        }
    }

    /// As people know it.
    fn shown(&self) -> PathBuf {
        match self {
            Self::Public(target) => target.shown().to_owned(),
            Self::Path(path) => path.clone(),
        }
    }
}

/// Keeps the kind of the error: a folder that we may not write to concerns this one file, a full disk the whole call.
fn no_place(error: &StoreError, place: &Path) -> io::Error {
    let kind = match error {
        StoreError::Io { source, .. } => source.kind(),
        StoreError::Full(_) => io::ErrorKind::StorageFull,
        StoreError::Database { .. } | StoreError::Schema { .. } | StoreError::Damaged(_) => io::ErrorKind::Other,
    };
    tracing::error!(place = %place.display(), %kind, "cannot put a received file in its place");
    io::Error::new(kind, format!("cannot write {}: {kind}", place.display()))
}

struct StoreInbox {
    receiving: Receiving,
    target: Target,
    context: Context,
    site: SiteName,
    progress: Arc<Progress>,
    count: FileCount,
}

impl Inbox for StoreInbox {
    fn kept(&self) -> u64 {
        self.receiving.kept()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Progress::add(&self.progress.bytes_received, bytes.len() as u64);
        self.count.moved(bytes.len());
        // A peer that announces no size, or sends for hours, must not fill the disk.
        if offset / LOOK_AT_DISK != (offset + bytes.len() as u64) / LOOK_AT_DISK {
            self.context.store.room_for(0).map_err(to_io)?;
        }
        self.receiving.write(offset, bytes)
    }

    fn forget(&mut self) -> io::Result<()> {
        self.receiving.truncate()
    }

    fn commit(self: Box<Self>) -> io::Result<()> {
        let Self { receiving, target, context, site, progress, count } = *self;
        let now = (context.clock)();
        let bytes = receiving.len();
        match target {
            Target::Spool(purpose) => drop(receiving.commit(purpose, now.wall).map_err(to_io)?),
            Target::File { place, mode, id, notify } => {
                let (shown, at, verb, what) = (place.shown(), now.wall, "received", "file");
                let fact = Fact { at, verb, what, place: site.to_string(), id, bytes, detail: String::new() };
                let notices = Notices { policy: &context.mail, now, site: &site };
                let tell = |change: &mut Change<'_>| match &notify {
                    Some((user, sender)) => notices.came(change, user, (sender, &shown.display().to_string())),
                    None => Ok(()),
                };
                let put = receiving.commit_to_file(&place.path(), mode, fact, tell);
                put.map_err(|error| no_place(&error, &shown))?;
            }
        }
        count.done();
        Progress::add(&progress.files_received, 1);
        Ok(())
    }
}
