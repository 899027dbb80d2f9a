//! A call that we place: over one way after the other until one leads to the site, and how it went into the store.

use std::sync::Arc;
use std::time::Duration;

use super::count::{self, Connected};
use super::known_line::RecalledLine;
use super::report::Report;
use super::ways::{self, Fault, Only, ways_in_order};
use super::{CallError, Context, Progress, Site, Way, call_fact, desk, forget_hang_up, line, record_begin, taylor};
use crate::base::names::{Grade, PortName};
use crate::link::{self, Link, LinkError, Nudges};
use crate::session::dial::DialFailure;
use crate::session::{CallResult, Calling, Ending, Session};
use crate::store::{LockKind, StoreError};

/// How long a site that calls back may take before we call it again.
const CALL_BACK_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Calls a site, and records how it went: over the way of port `first` if one is named, then over the others, until one
/// leads there. `only`: over no other than the first. Traffic of grade `worst` and better travels.
pub async fn place(
    context: &Context,
    site: &Site,
    first: Option<(&PortName, Only)>,
    worst: Grade,
    progress: &Arc<Progress>,
    nudges: &mut Nudges,
) -> Result<CallResult, CallError> {
    let Some(site_lock) = context.store.lock(LockKind::Site, site.name.as_str())? else {
        return Err(CallError::SiteBusy(site.name.clone()));
    };
    let site_lock = Arc::new(site_lock);
    progress.meet(&site.name, &site_lock);
    forget_hang_up(context, site)?;
    let mut ways = context.store.read(|view| ways_in_order(view, site, context.now()))?;
    ways::choose(&mut ways, first);
    let placing = Placing { context, site, worst, progress };
    let mut attempts = Vec::new();
    // The entry of the `call` list whose number has led nowhere.
    let mut given_up = None;
    for way in ways {
        if given_up == Some(way.entry) {
            continue;
        }
        let attempt = placing.attempt(way, nudges).await;
        let fault = attempt.fault();
        attempts.push(attempt);
        match fault {
            Fault::Busy | Fault::Port => {}
            Fault::Number => given_up = Some(way.entry),
            Fault::Elsewhere => break,
        }
    }
    let tried = attempts.iter().any(|attempt| !attempt.is_busy());
    if tried {
        record_placed(context, site, &attempts)?;
    }
    // What was tried tells more than what was busy.
    let at = attempts.iter().rposition(|attempt| !tried || !attempt.is_busy()).expect("whoever calls has a way");
    attempts.swap_remove(at).result
}

/// A way that was tried, how the call over it went, and the words for it.
struct Attempt<'s> {
    way: &'s Way,
    result: Result<CallResult, CallError>,
    words: String,
    line: Connected,
}

impl Attempt<'_> {
    fn is_busy(&self) -> bool {
        self.result.as_ref().is_err_and(CallError::is_busy)
    }

    fn fault(&self) -> Fault {
        self.result.as_ref().err().map_or(Fault::Elsewhere, CallError::fault)
    }
}

/// What all attempts of one call have in common.
struct Placing<'a> {
    context: &'a Context,
    site: &'a Site,
    /// Traffic of this grade and better travels.
    worst: Grade,
    progress: &'a Arc<Progress>,
}

impl Placing<'_> {
    async fn attempt<'s>(&self, way: &'s Way, nudges: &mut Nudges) -> Attempt<'s> {
        let Self { context, site, .. } = *self;
        let failed = |error, words: &str| {
            let (result, words) = (Err(error), words.to_owned());
            Attempt { way, result, words, line: Connected::default() }
        };
        let _port_lock = match way.kind.is_single() {
            false => None,
            true => match context.store.lock(LockKind::Port, way.port.as_str()) {
                Ok(Some(lock)) => Some(lock),
                Ok(None) => return failed(CallError::PortBusy(way.port.clone()), "in use"),
                Err(error) => return failed(error.into(), ""),
            },
        };
        let mut report = Report::placing(context, site.name.as_str(), way.port.as_str()).await;
        let mut line = Connected::default();
        let result = report.during(context, self.progress, self.over_way(way, nudges, &mut line)).await;
        report.line = line;
        let words = report.end(context, &result).await;
        Attempt { way, result, words, line }
    }

    async fn over_way(
        &self,
        way: &Way,
        nudges: &mut Nudges,
        connected: &mut Connected,
    ) -> Result<CallResult, CallError> {
        let Self { context, site, .. } = *self;
        let mut link = line::open(way).await?;
        tracing::info!(site = %site.name, port = %way.port, link = %link.facts, "calling");
        // A port that somebody else uses is found out before: nothing has begun.
        record_begin(context, &site.name, &format!("we call over {}", way.port));
        let result = match line::dial(&mut link, &way.kind, nudges, context.clock).await {
            Ok(unread) => {
                let since = (context.clock)().instant;
                let result = match line::log_in(&mut link, site, way, unread, nudges, context.clock).await {
                    Ok(unread) => {
                        taylor::log(context, site.name.as_str(), taylor::NOBODY, "Login successful");
                        self.talk(way, nudges, &mut link, &unread).await
                    }
                    Err(error) => Err(error),
                };
                connected.time = (context.clock)().instant.since(since);
                result
            }
            Err(failure) => Err(failure.into()),
        };
        connected.speed = link.facts.speed;
        let refused = matches!(&result, Err(CallError::Dial(why)) if !matches!(why, DialFailure::NoConnection(_) | DialFailure::Stopped));
        line::hang_up(&mut link, &way.kind, !refused, nudges, context.clock).await;
        match (result, link.close().await) {
            // As ssh does that reaches nobody.
            (Err(CallError::Ended(result)), Some(status)) if result.ending.has_met_nobody() && !status.success() => {
                Err(LinkError::Ended(status).into())
            }
            (result, _) => result,
        }
    }

    async fn talk(
        &self,
        way: &Way,
        nudges: &mut Nudges,
        link: &mut Link,
        unread: &[u8],
    ) -> Result<CallResult, CallError> {
        let Self { context, site, worst, progress } = *self;
        let line = RecalledLine::recall(context, site, way, link)?;
        let clock = context.clock;
        let last = context.store.read::<_, StoreError>(|view| view.call_number(&site.name))?;
        let sequence = site.sequence.then(|| last.number.wrapping_add(1));
        let desk =
            desk::StoreDesk::new(context.clone(), site.clone(), Arc::clone(progress), sequence).over(way.port.as_str());
        let calling = Calling {
            name: site.our_name.clone(),
            site: site.name.clone(),
            desk: Box::new(desk),
            protocols: site.protocols.clone(),
            worst,
            sequence,
            longest: Some(site.longest_call),
            test_line: line.is_to_be_tested(),
        };
        let mut session = Session::calling(clock(), calling, link.facts.clone(), site.settings.clone());
        let (result, _) = link::drive(link, &mut session, unread, nudges, clock).await;
        line.note(context, site, way, session.found(), &result)?;
        tracing::debug!(site = %site.name, counters = %result.counters, "session over");
        match result.ending {
            Ending::Complete | Ending::CallsBack => Ok(result),
            _ => Err(CallError::Ended(Box::new(result))),
        }
    }
}

/// Notes in one change how a call went, when the site may be called again, and that what was packed but never
/// offered waits as before.
fn record_placed(context: &Context, site: &Site, attempts: &[Attempt<'_>]) -> Result<(), StoreError> {
    let now = context.now();
    let describe = |attempt: &Attempt<'_>| format!("over {}: {}", attempt.way.port, attempt.words);
    let words = attempts.iter().map(describe).collect::<Vec<_>>().join("; ");
    let complete = attempts.iter().find_map(|attempt| attempt.result.as_ref().ok());
    tokio::task::block_in_place(|| {
        context.store.write(|change| {
            change.dissolve_unoffered(&site.name)?;
            for attempt in attempts.iter().filter(|attempt| !attempt.is_busy()) {
                ways::note(change, site, attempt.way, attempt.fault(), now)?;
                change.count_call(&site.name, now, &count::placed(&attempt.result, attempt.line))?;
            }
            let mut state = change.site_state(&site.name)?;
            state.last_call = Some(now);
            state.last_result = Some(words.clone());
            state.call_wanted = false;
            change.want_hang_up(&site.name, None)?;
            if let Some(result) = complete {
                state.last_success = Some(now);
                state.failures = 0;
                state.not_before = match result.ending {
                    Ending::CallsBack => Some(now + CALL_BACK_PATIENCE),
                    // What is left would have us call at once.
                    _ => result.stopped.then(|| now + site.retry.first),
                };
            } else {
                state.failures = state.failures.saturating_add(1);
                let salt = now.as_micros().unsigned_abs() / 1000;
                state.not_before = Some(now + site.retry.pause(state.failures, salt));
            }
            change.set_site_state(&site.name, &state)?;
            change.record(call_fact(now, &site.name, &format!("called {words}"), complete))
        })
    })?;
    if complete.is_some() {
        tracing::info!(site = %site.name, result = words, "call ended");
    } else {
        tracing::warn!(site = %site.name, result = words, "call failed");
    }
    Ok(())
}
