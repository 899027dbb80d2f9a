//! The scheduler's task: looks at the store, does what the plan says, sleeps until the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::Shared;
use super::deliver;
use super::serve::wound_down;
use crate::base::names::{PortName, SiteName};
use crate::base::time::Timestamp;
use crate::base::words::with_causes;
use crate::call::{self, Only, Progress, Site, ways_in_order};
use crate::config::Config;
use crate::mail::delivery;
use crate::sched::{self, LOOK_AGAIN, PlannedCall, PortView, SiteView, Waiting};
use crate::store::queue::HopTrouble;
use crate::store::{Hop, HopTotals, LockKind, StoreError, View};

/// Nudges that come together are one.
const SETTLE: Duration = Duration::from_millis(20);
/// A site or port that another process uses is tried again after this.
const BUSY_PAUSE: Duration = Duration::from_secs(10);
/// Unpacking that failed is tried again after this.
const UNPACK_PAUSE: Duration = Duration::from_secs(10);
/// How often an idle daemon gives memory back.
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// How often old items are looked for, and the disk is measured.
const HOUSEKEEPING: Duration = Duration::from_secs(600);
/// How often ledger and history are trimmed, which reads all of them.
const TRIMMING: Duration = Duration::from_secs(24 * 3600);

/// No hop is left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// What is going on now, in this process.
#[derive(Default)]
struct Ongoing {
    sites: BTreeMap<SiteName, PortName>,
    hops: BTreeSet<Hop>,
    /// What has arrived is being made into mail and news: a large batch takes its time.
    unpacking: bool,
    /// Sites that were found busy, and until when they are left alone.
    pauses: BTreeMap<SiteName, Timestamp>,
    housekeeping: Option<Timestamp>,
    /// When memory was last given back.
    trimmed: Option<Timestamp>,
    trimming: Option<Timestamp>,
}

/// What a short-lived task tells when it ends.
enum Done {
    Call { site: SiteName, busy: bool },
    Delivery(Hop),
    Unpacked,
}

pub(super) async fn run(shared: Shared) {
    let (done, mut ended) = mpsc::unbounded_channel();
    let mut ongoing = Ongoing::default();
    let mut nudges = shared.nudges.subscribe();
    let mut stop = shared.nudges.subscribe();
    loop {
        let now = shared.context.now();
        let next = block_in_place(|| look(&shared, &mut ongoing, now, &done));
        let wait = next.since(shared.context.now()).clamp(SETTLE, LOOK_AGAIN);
        tokio::select! {
            () = wound_down(&mut stop) => return,
            Some(done) = ended.recv() => note(&mut ongoing, done, shared.context.now()),
            _ = nudges.recv() => {
                tokio::time::sleep(SETTLE).await;
                // All that came meanwhile is answered by one look.
                nudges = nudges.resubscribe();
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn note(ongoing: &mut Ongoing, done: Done, now: Timestamp) {
    match done {
        Done::Call { site, busy } => {
            ongoing.sites.remove(&site);
            if busy {
                ongoing.pauses.insert(site, now + BUSY_PAUSE);
            }
        }
        Done::Delivery(hop) => drop(ongoing.hops.remove(&hop)),
        Done::Unpacked => ongoing.unpacking = false,
    }
}

/// One look: everything that is due is begun. Gives when to look again.
fn look(shared: &Shared, ongoing: &mut Ongoing, now: Timestamp, done: &mpsc::UnboundedSender<Done>) -> Timestamp {
    match try_look(shared, ongoing, now, done) {
        Ok(next) => next,
        Err(error) => {
            tracing::error!(error = with_causes(&error), "the scheduler cannot work");
            now + LOOK_AGAIN
        }
    }
}

fn try_look(
    shared: &Shared,
    ongoing: &mut Ongoing,
    now: Timestamp,
    done: &mpsc::UnboundedSender<Done>,
) -> Result<Timestamp, StoreError> {
    if !ongoing.unpacking && !shared.store.read::<_, StoreError>(|view| view.received(now, 1))?.is_empty() {
        ongoing.unpacking = true;
        let (task, done) = (shared.clone(), done.clone());
        shared.tasks.spawn(async move {
            if let Err(error) = block_in_place(|| unpack(&task)) {
                tracing::error!(error = with_causes(&error), "cannot unpack what has arrived");
                // Not again at once: the disk may be full.
                tokio::time::sleep(UNPACK_PAUSE).await;
            }
            let _ = done.send(Done::Unpacked);
        });
    }
    housekeeping(shared, ongoing, now)?;
    give_back_memory(ongoing, now);
    ongoing.pauses.retain(|_, until| *until > now);
    let (totals, sites, troubles) = shared.store.read::<_, StoreError>(|view| {
        let totals = view.totals()?;
        let troubles = totals.iter().map(|total| view.hop_trouble(&total.hop));
        let troubles = troubles.collect::<Result<Vec<Option<HopTrouble>>, StoreError>>()?;
        let in_call = |name: &SiteName| ongoing.sites.contains_key(name) || ongoing.pauses.contains_key(name);
        let sites = shared.config.sites.iter().map(|site| site_view(view, site, &totals, now, in_call(&site.name)));
        let sites = sites.collect::<Result<Vec<SiteView>, StoreError>>()?;
        Ok((totals, sites, troubles))
    })?;
    let plan = sched::plan(now, &sites, &ports(&shared.config, ongoing));
    for planned in plan.calls {
        begin_call(shared, ongoing, planned, done);
    }
    let mut next = plan.look_again;
    let waiting = totals.iter().zip(troubles).filter(|(t, _)| t.items > 0 && !matches!(t.hop, Hop::Site(_)));
    for (total, trouble) in waiting {
        // A clock that was set back must not forbid a hop for years.
        let pause = trouble.map(|t| t.not_before).filter(|at| at.since(now) < LONGEST_PAUSE);
        let ready = pause.map_or(total.ready, |at| at.max(total.ready));
        if ready > now {
            next = next.min(ready);
        } else if ongoing.hops.insert(total.hop.clone()) {
            let (task, hop, done) = (shared.clone(), total.hop.clone(), done.clone());
            shared.tasks.spawn(async move {
                deliver::run(&task, &hop).await;
                let _ = done.send(Done::Delivery(hop));
            });
        }
    }
    Ok(next)
}

/// One process at a time unpacks, or a message could be taken twice.
fn unpack(shared: &Shared) -> Result<(), StoreError> {
    let Some(_lock) = shared.store.lock(LockKind::Unpack, "unpack")? else { return Ok(()) };
    // A nudge to stop may be lost among those of the letters taken; that no more tasks come is not.
    call::unpack::run(&shared.context, || shared.tasks.is_closed()).map(drop)
}

/// The allocator keeps what a busy hour needed; on a small machine others want it.
fn give_back_memory(ongoing: &mut Ongoing, now: Timestamp) {
    let due = ongoing.trimmed.is_none_or(|last| now.since(last) >= TRIM_EVERY || now < last);
    if due && ongoing.sites.is_empty() && ongoing.hops.is_empty() && !ongoing.unpacking {
        ongoing.trimmed = Some(now);
        #[cfg(target_env = "gnu")]
        // SAFETY: it has no conditions; it takes locks of the allocator and gives pages back.
        unsafe {
            nix::libc::malloc_trim(0);
        }
    }
}

fn housekeeping(shared: &Shared, ongoing: &mut Ongoing, now: Timestamp) -> Result<(), StoreError> {
    if !is_due(&mut ongoing.housekeeping, now, HOUSEKEEPING) {
        return Ok(());
    }
    let free = shared.store.free_space()?;
    if free < shared.config.reserve.saturating_mul(2) {
        tracing::error!(
            free,
            reserve = shared.config.reserve,
            "the disk is nearly full: soon no files will be taken from UUCP sites, and in the end no mail"
        );
    }
    let clock = (shared.context.clock)();
    shared.store.write::<_, StoreError>(|change| change.disbelieve_later_than(now))?;
    // A run at a time, so that others may write in between.
    while shared.store.write::<_, StoreError>(|change| delivery::expire(change, &shared.config.mail, clock))? > 0 {}
    if !is_due(&mut ongoing.trimming, now, TRIMMING) {
        return Ok(());
    }
    let (ledger, history) = (now - shared.config.ledger, now - shared.config.news.history_kept());
    let facts = shared.store.write::<_, StoreError>(|change| change.trim_ledger(ledger))?;
    let ids = shared.store.write::<_, StoreError>(|change| change.forget_gone(history))?;
    if facts + ids > 0 {
        tracing::info!(facts, ids, "old facts and Message-IDs removed");
    }
    Ok(())
}

/// Whether it is time again; if so, it is noted. A clock that was set back makes it time, too.
fn is_due(last: &mut Option<Timestamp>, now: Timestamp, every: Duration) -> bool {
    let due = last.is_none_or(|last| now.since(last) >= every || now < last);
    if due {
        *last = Some(now);
    }
    due
}

/// What the scheduler sees of a site.
pub fn site_view(
    view: &View<'_>,
    site: &Site,
    totals: &[HopTotals],
    now: Timestamp,
    in_call: bool,
) -> Result<SiteView, StoreError> {
    let state = view.site_state(&site.name)?;
    let of_site = |t: &&HopTotals| matches!(&t.hop, Hop::Site(name) if *name == site.name);
    let waiting = totals.iter().filter(of_site).map(|t| Waiting { grade: t.grade, items: t.items, ready: t.ready });
    let mut waiting: Vec<Waiting> = waiting.collect();
    // What an earlier call left in doubt goes first, whatever its items say.
    for job in view.offered_jobs(&site.name)? {
        waiting.push(Waiting { grade: job.grade, items: 1, ready: state.last_call.unwrap_or_default() });
    }
    Ok(SiteView {
        name: site.name.clone(),
        ports: ways_in_order(view, site, now)?.into_iter().map(|way| way.port.clone()).collect(),
        windows: site.windows.clone(),
        zone: site.zone.clone(),
        waiting,
        held: state.held.is_some(),
        in_call,
        call_wanted: state.call_wanted,
        poll_every: site.poll_every,
        last_call: state.last_call,
        not_before: state.not_before,
    })
}

fn ports(config: &Config, ongoing: &Ongoing) -> Vec<PortView> {
    let mut ports: BTreeMap<&PortName, bool> = BTreeMap::new();
    for way in config.sites.iter().flat_map(|s| &s.ways) {
        ports.insert(&way.port, way.kind.is_single());
    }
    let view = |(name, single): (&PortName, bool)| {
        let busy = ongoing.sites.values().any(|p| p == name);
        PortView { name: name.clone(), busy, single }
    };
    ports.into_iter().map(view).collect()
}

fn begin_call(shared: &Shared, ongoing: &mut Ongoing, planned: PlannedCall, done: &mpsc::UnboundedSender<Done>) {
    let Some(site) = shared.context.site(planned.site.as_str()).cloned() else { return };
    ongoing.sites.insert(site.name.clone(), planned.port.clone());
    let (shared, done) = (shared.clone(), done.clone());
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let mut nudges = shared.nudges.subscribe();
        let progress = Arc::new(Progress::default());
        let first = Some((&planned.port, Only::ThisFirst));
        let result = call::place(&shared.context, &site, first, planned.worst, &progress, &mut nudges).await;
        // What went wrong with the call itself has been logged and recorded.
        let busy = result.as_ref().is_err_and(call::CallError::is_busy);
        let _ = done.send(Done::Call { site: site.name, busy });
    });
}
