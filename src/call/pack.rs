//! From queue items to jobs: late, when a call has begun, in the form that the site wants.

use std::io::{self, Write};

use super::{Context, Site};
use crate::base::address::Address;
use crate::base::limits::ARTICLE_MAX;
use crate::base::names::Grade;
use crate::base::wishes::Reports;
use crate::mail::Failure;
use crate::mail::delivery::{Verdict, set_aside, settle_whole};
use crate::mail::rewrite::{Inexpressible, outgoing_batched, outgoing_rmail, sender_word};
use crate::session;
use crate::store::jobs::{Deed, Job, NewJob};
use crate::store::{Body, BodyId, Cargo, Envelope, Hop, Item, ItemId, NewItem, StoreError};
use crate::wire::batch;
use crate::wire::bsmtp;
use crate::wire::packing::BatchForm;
use crate::wire::smtp::Status;

/// Items looked at for one job: more than fit in any batch.
const RUN: usize = 500;

/// Why nothing could be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The most urgent item is larger than what may travel now.
    #[error("an item is larger than what may travel now")]
    TooLarge(Box<Item>),
    #[error("cannot pack a job")]
    Io(#[from] io::Error),
}

/// Makes a job of what is most urgent, and freezes it: the peer will see its name next. `None`: nothing waits.
pub(super) fn next_job(
    context: &Context,
    site: &Site,
    worst: Grade,
    size_max: Option<u64>,
) -> Result<Option<(Job, Body)>, PackError> {
    let hop = Hop::Site(site.name.clone());
    loop {
        let now = context.now();
        let items = context.store.read::<_, StoreError>(|view| {
            let first = view.ready_items(&hop, now, worst, 1)?;
            let batched = context.mail.site(&site.name).batch.is_some();
            match first.first().map(|item| &item.cargo) {
                Some(Cargo::Article { .. }) => view.ready_items(&hop, now, worst, RUN),
                Some(Cargo::Mail { .. }) if batched => view.ready_items(&hop, now, worst, RUN),
                // Only a batch needs more than one, and a long queue of letters would be read once for each.
                _ => Ok(first),
            }
        })?;
        let Some(first) = items.first() else { return Ok(None) };
        if let Some(max) = size_max
            && first.size > max
        {
            return Err(PackError::TooLarge(Box::new(first.clone())));
        }
        let packed = pack(context, site, first, &items, size_max)?;
        // Without a job the item was settled otherwise (it could not be said to this site, or not be read), or an
        // operator has it: look at the next.
        if let Some(job) = packed {
            let data = context.store.read::<_, StoreError>(|view| view.body(job.data))?;
            return Ok(Some((job, data)));
        }
    }
}

/// `items`: what else is ready, if the first may go in a batch.
fn pack(
    context: &Context,
    site: &Site,
    first: &Item,
    items: &[Item],
    size_max: Option<u64>,
) -> Result<Option<Job>, PackError> {
    match &first.cargo {
        Cargo::Mail { envelope, body } => match context.mail.site(&site.name).batch {
            None => pack_mail(context, site, first, envelope, *body),
            Some(form) => pack_letters(context, site, items, form, size_max),
        },
        Cargo::Article { .. } => pack_articles(context, site, items, size_max),
        Cargo::File { from, to, user, mode, wishes, body, .. } => {
            let (from, to, user, wishes) = (from.clone(), to.clone(), user.clone(), wishes.clone());
            pack_as_is(context, site, first, Deed::Store { from, to, user, mode: *mode, wishes }, Some(*body))
        }
        Cargo::Command { line, user, requestor, reports, file, input } => {
            let (command, user, requestor, file) = (line.clone(), user.clone(), requestor.clone(), file.clone());
            let deed = Deed::Execute { command, user, requestor, reports: *reports, file };
            pack_as_is(context, site, first, deed, Some(*input))
        }
        Cargo::Expand { from, to, user, wishes } => {
            let (from, to, user, wishes) = (from.clone(), to.clone(), user.clone(), wishes.clone());
            pack_as_is(context, site, first, Deed::Expand { from, to, user, wishes }, None)
        }
        Cargo::Fetch { from, to, user, wishes } => {
            let (from, to, user, wishes) = (from.clone(), to.clone(), user.clone(), wishes.clone());
            pack_as_is(context, site, first, Deed::Fetch { from, to, user, wishes }, None)
        }
    }
}

/// The bytes of an item; `None`: they cannot be read, and it has been set aside.
fn read_body(context: &Context, item: &Item, id: BodyId) -> Result<Option<Body>, StoreError> {
    match context.store.read(|view| view.body(id)) {
        Ok(body) => Ok(Some(body)),
        Err(error) => set_aside(&context.store, context.now(), item, error).map(|()| None),
    }
}

/// Frozen from the moment the change is on the disk. `None`: an item is gone or held.
fn freeze(
    context: &Context,
    site: &Site,
    grade: Grade,
    items: Vec<ItemId>,
    deed: Deed,
    data: JobData,
) -> Result<Option<Job>, PackError> {
    let job = context.store.write::<_, StoreError>(|change| {
        for id in &items {
            // Dropped or held since it was looked at: the bytes do not fit any more.
            if change.item(*id)?.is_none_or(|item| item.held.is_some()) {
                return Ok(None);
            }
        }
        let data = match data {
            JobData::New(draft) => change.keep(draft)?,
            JobData::Kept(body) => body,
            JobData::Nothing => change.keep_bytes(&[])?,
        };
        let job = change.new_job(NewJob { site: site.name.clone(), grade, items, deed, data })?;
        change.offer_job(job.id)?;
        Ok(Some(job))
    })?;
    Ok(job)
}

enum JobData {
    New(crate::store::Draft),
    Kept(BodyId),
    Nothing,
}

fn pack_as_is(
    context: &Context,
    site: &Site,
    item: &Item,
    deed: Deed,
    body: Option<BodyId>,
) -> Result<Option<Job>, PackError> {
    let data = match body {
        None => JobData::Nothing,
        Some(body) => match read_body(context, item, body)? {
            Some(_) => JobData::Kept(body),
            None => return Ok(None),
        },
    };
    freeze(context, site, item.grade, vec![item.id], deed, data)
}

/// One execution of `rmail` for all recipients of the item. Where they are too many for one command line the
/// others become items of their own.
fn pack_mail(
    context: &Context,
    site: &Site,
    item: &Item,
    envelope: &Envelope,
    body: BodyId,
) -> Result<Option<Job>, PackError> {
    let policy = &context.mail;
    let mut executions = match outgoing_rmail(policy, &site.name, envelope, item.queued) {
        Ok(executions) => executions.into_iter(),
        Err(error) => return give_back(context, item, &error).map(|()| None),
    };
    let Some(first) = executions.next() else {
        context.store.write::<_, StoreError>(|change| change.finish_item(item.id))?;
        return Ok(None);
    };
    let rest: Vec<Envelope> =
        executions.map(|e| Envelope { sender: envelope.sender.clone(), recipients: e.recipients }).collect();
    if !rest.is_empty() {
        let narrowed = Envelope { sender: envelope.sender.clone(), recipients: first.recipients.clone() };
        context.store.write::<_, StoreError>(|change| {
            change.narrow_item(item.id, &narrowed)?;
            for envelope in rest {
                let cargo = Cargo::Mail { envelope, body };
                change.enqueue(NewItem { hop: item.hop.clone(), cargo, grade: item.grade, queued: item.queued })?;
            }
            Ok(())
        })?;
    }
    let Some(text) = read_body(context, item, body)? else { return Ok(None) };
    let addressing = policy.site(&site.name).addressing;
    let mut draft = context.store.draft();
    draft.write_all(&first.prefix)?;
    text.write_to(&mut draft)?;
    let requestor = envelope.sender.as_ref().and_then(|sender| sender_word(policy, addressing, Some(sender)).ok());
    let deed = Deed::Execute {
        command: first.command,
        user: "uucp".to_owned(),
        // What fails of a letter that nobody is to answer is not told: two sites would tell each other for ever.
        reports: if requestor.is_some() { Reports::Failures } else { Reports::Never },
        requestor,
        file: None,
    };
    freeze(context, site, item.grade, vec![item.id], deed, JobData::New(draft))
}

/// The addresses of a letter cannot be said to the site.
fn give_back(context: &Context, item: &Item, why: &Inexpressible) -> Result<(), PackError> {
    let now = (context.clock)();
    let failed = |recipient: &_| Verdict::Failed(Failure::new(recipient, Status(5, 1, 3), why.to_string()));
    context.store.write::<_, StoreError>(|change| settle_whole(change, &context.mail, now, item, failed))?;
    Ok(())
}

/// A batch of letters: as many of the ready ones of the first one's grade as the site's batches hold. One that cannot be said or
/// read is settled by itself.
fn pack_letters(
    context: &Context,
    site: &Site,
    items: &[Item],
    form: BatchForm,
    size_max: Option<u64>,
) -> Result<Option<Job>, PackError> {
    let policy = &context.mail;
    let batch_max = size_max.map_or(form.size, |max| max.min(form.size));
    let grade = items[0].grade;
    let mut batch = bsmtp::Writer::new(context.store.draft(), form.packing, &policy.hostname)?;
    let mut packed = Vec::new();
    for item in items.iter().take_while(|i| i.grade == grade) {
        let Cargo::Mail { envelope, body } = &item.cargo else { continue };
        if !packed.is_empty() && batch.written() + item.size > batch_max {
            break;
        }
        let told = match outgoing_batched(policy, &site.name, envelope) {
            Ok(told) => told,
            Err(why) => {
                give_back(context, item, &why)?;
                continue;
            }
        };
        if told.recipients.is_empty() {
            context.store.write::<_, StoreError>(|change| change.finish_item(item.id))?;
            continue;
        }
        let Some(text) = read_body(context, item, *body)? else { continue };
        batch.begin(told.sender.as_ref(), &told.recipients)?;
        text.write_to(&mut batch)?;
        batch.end()?;
        packed.push(item.id);
    }
    if packed.is_empty() {
        return Ok(None);
    }
    // No sender speaks for all of the letters: of a command that fails there the postmaster learns.
    let postmaster = Address::Local("postmaster".to_owned());
    let deed = Deed::Execute {
        command: bsmtp::command(form.packing).to_owned(),
        user: "uucp".to_owned(),
        requestor: sender_word(policy, policy.site(&site.name).addressing, Some(&postmaster)).ok(),
        reports: Reports::Failures,
        file: None,
    };
    freeze(context, site, grade, packed, deed, JobData::New(batch.finish()?))
}

/// A batch of articles: as many of the ready ones of the first one's grade as the site's batches hold.
fn pack_articles(
    context: &Context,
    site: &Site,
    items: &[Item],
    size_max: Option<u64>,
) -> Result<Option<Job>, PackError> {
    let batch_max = size_max.map_or(site.batch.size, |max| max.min(site.batch.size));
    let grade = items[0].grade;
    let mut batch = Vec::new();
    let mut packed = Vec::new();
    for item in items.iter().take_while(|i| i.grade == grade) {
        let Cargo::Article { body, .. } = &item.cargo else { continue };
        if !packed.is_empty() && batch.len() as u64 + item.size > batch_max {
            break;
        }
        let Some(article) = read_body(context, item, *body)? else { continue };
        let article = article.bytes(ARTICLE_MAX)?;
        batch::append(&mut batch, &article);
        packed.push(item.id);
    }
    if packed.is_empty() {
        return Ok(None);
    }
    let mut draft = context.store.draft();
    draft.write_all(&batch::pack(batch, site.batch.packing))?;
    let (command, user) = ("rnews".to_owned(), "news".to_owned());
    let deed = Deed::Execute { command, user, requestor: None, reports: Reports::Unsaid, file: None };
    freeze(context, site, grade, packed, deed, JobData::New(draft))
}

/// What a file of ours is called in the spool of a site, as Taylor words it: `D.villageC0001`.
pub fn spool_name(letter: char, our_name: &str, grade: Grade, sequence: &str) -> String {
    let short: String = our_name.chars().take(7).collect();
    format!("{letter}.{short}{grade}{sequence}")
}

/// A job as the session knows it. The names follow Taylor's: `D.0001` is the file, `D.villageC0001` its name at the site.
/// `again`: it was offered in an earlier call.
pub(super) fn task(our_name: &str, job: &Job, again: bool) -> session::Task {
    let temp = format!("D.{}", job.sequence);
    let (user, deed) = match &job.deed {
        Deed::Execute { command, user, requestor, reports, file } => {
            let deed = session::Deed::Execute {
                command: command.clone(),
                requestor: requestor.clone(),
                reports: *reports,
                data_name: spool_name('D', our_name, job.grade, &job.sequence),
                execution_name: spool_name('X', our_name, job.grade, &job.sequence_x),
                temp,
                execution_temp: format!("D.{}", job.sequence_x),
                file: file.clone(),
                system: our_name.to_owned(),
                size: job.size,
            };
            (user, deed)
        }
        Deed::Store { from, to, user, mode, wishes } => {
            let (from, to, wishes) = (from.clone(), to.clone(), wishes.clone());
            (user, session::Deed::Send { from, to, temp, mode: *mode, wishes, size: job.size })
        }
        Deed::Expand { from, to, user, wishes } => {
            (user, session::Deed::Expand { from: from.clone(), to: to.clone(), wishes: wishes.clone() })
        }
        Deed::Fetch { from, to, user, wishes } => {
            let (from, to, wishes) = (from.clone(), to.clone(), wishes.clone());
            (user, session::Deed::Fetch { from, to, wishes, size_max: None, restart: None })
        }
    };
    session::Task { id: session::TaskId(job.id.0), grade: job.grade, user: user.clone(), again, deed }
}
