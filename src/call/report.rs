//! What the outside learns of calls: a line that explains each, hooks of the operator, files that Taylor's tools read.

use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Weak;
use std::time::Duration;

use serde_json::json;

use super::count::Connected;
use super::{CallError, Context, Progress, Underway, describe, record_begin, taylor};
use crate::base::time::Instant;
use crate::base::words::with_causes;
use crate::link;
use crate::session::CallResult;

/// How long a hook may take: what it starts, such as a transmitter's power, may need a while.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is noted how far a call has come, if it has come further. Nothing waits for the disk.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// Who is told of calls.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// A program and its arguments, run at the beginning and the end of each call. No shell.
    pub hook: Vec<String>,
    /// Files that are written as Taylor UUCP writes its `Log` and `Stats`.
    pub log: Option<PathBuf>,
    pub statistics: Option<PathBuf>,
}

/// A call under way, as it is told of.
#[derive(Clone)]
pub(super) struct Report {
    /// Unknown while a caller has not given his name.
    site: Option<String>,
    protocol: Option<char>,
    /// The port, or who is at the other end of the link.
    port: String,
    outgoing: bool,
    began: Instant,
    pub line: Connected,
}

impl Report {
    /// Of a call that we place.
    pub async fn placing(context: &Context, site: &str, port: &str) -> Self {
        let report = Self::new(context, Some(site), port, true);
        report.tell(context, "start", None, "").await;
        report.log(context, &format!("Calling system {site} (port {port})"));
        report
    }

    /// Of somebody who calls us. Nothing is told before the handshake is done, nor ever if that fails: strangers could run
    /// the hook and fill the log as often as they can connect.
    pub fn answering(context: &Context, port: &str) -> Self {
        Self::new(context, None, port, false)
    }

    fn new(context: &Context, site: Option<&str>, port: &str, outgoing: bool) -> Self {
        let began = (context.clock)().instant;
        let (site, line) = (site.map(str::to_owned), Connected::default());
        Self { site, protocol: None, port: port.to_owned(), outgoing, began, line }
    }

    /// Waits for the call to come to its end, and meanwhile tells that it goes on. A hook that hears of a caller does not
    /// hold him up.
    pub async fn during<T>(&mut self, context: &Context, progress: &Progress, call: impl Future<Output = T>) -> T {
        let result = self.beside(context, progress, call).await;
        if let (Some((site, _)), Some(protocol)) = (progress.met.get(), progress.agreed.get()) {
            (self.site, self.protocol) = (Some(site.to_string()), Some(*protocol));
        }
        result
    }

    async fn beside<T>(&self, context: &Context, progress: &Progress, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        let mut greeting = pin!(self.greet(context, progress));
        let mut noting = pin!(self.note(context, progress));
        let mut greeted = self.outgoing;
        let result = loop {
            tokio::select! {
                result = &mut call => break result,
                () = &mut greeting, if !greeted => greeted = true,
                () = &mut noting => {}
            }
        };
        // The end is told after the beginning, however short the call was.
        if !greeted && progress.agreed.initialized() {
            greeting.await;
        }
        result
    }

    /// Tells of a caller once the handshake is done.
    async fn greet(&self, context: &Context, progress: &Progress) {
        let protocol = *progress.agreed.wait().await;
        let (site, _) = progress.met.wait().await;
        let begun = Self { site: Some(site.to_string()), protocol: Some(protocol), ..self.clone() };
        record_begin(context, site, &format!("it calls from {} (protocol {protocol})", self.port));
        begun.tell(context, "start", None, "").await;
    }

    /// Notes for ever how far the call has come, in the lock of the site.
    async fn note(&self, context: &Context, progress: &Progress) {
        let (_, lock) = progress.met.wait().await;
        let since = context.now() - (context.clock)().instant.since(self.began);
        let mut noted = None;
        while let Some(lock) = Weak::upgrade(lock) {
            let now = Underway::new(&self.port, self.outgoing, since, progress);
            if noted.as_ref() != Some(&now) {
                let words = serde_json::to_string(&now).unwrap_or_default();
                if let Err(error) = tokio::task::block_in_place(|| lock.note(&words)) {
                    tracing::debug!(%error, "cannot note how far a call has come");
                }
                noted = Some(now);
            }
            drop(lock);
            tokio::time::sleep(NOTE_EVERY).await;
        }
        pending().await
    }

    /// Tells how it went. Gives the words for it.
    pub async fn end(mut self, context: &Context, result: &Result<CallResult, CallError>) -> String {
        let seconds = (context.clock)().instant.since(self.began).as_secs_f64();
        let known = match result {
            Ok(result) => Some(result),
            Err(CallError::Ended(result)) => Some(&**result),
            Err(_) => None,
        };
        if let Some(site) = known.and_then(|known| known.site.as_ref()) {
            self.site = Some(site.to_string());
        }
        let words = match known {
            Some(known) => format!("{}{}", describe(known), self.pace(known, seconds)),
            None => result.as_ref().err().map(|error| with_causes(error)).unwrap_or_default(),
        };
        if self.site.is_none() {
            return words;
        }
        // A port that somebody else uses is no failure.
        let failed = result.as_ref().is_err_and(|error| !error.is_busy());
        self.tell(context, if failed { "failure" } else { "end" }, known, &words).await;
        self.write(context, result, known, seconds, &words);
        words
    }

    /// `; 12.3 s, 94 % of the line; 3 packets sent again`.
    fn pace(&self, result: &CallResult, seconds: f64) -> String {
        let mut words = format!("; {seconds:.1} s");
        let bytes = result.totals.bytes_sent.max(result.totals.bytes_received) as f64;
        if let Some(speed) = self.line.speed.filter(|speed| *speed > 0 && seconds > 0.0 && bytes > 0.0) {
            words += &format!(", {:.0} % of {speed} bit/s", bytes * 1000.0 / f64::from(speed) / seconds);
        }
        match result.counters.resent {
            0 => {}
            1 => words += "; 1 packet sent again",
            count => words += &format!("; {count} packets sent again"),
        }
        words
    }

    async fn tell(&self, context: &Context, event: &str, result: Option<&CallResult>, words: &str) {
        if context.watch.hook.is_empty() {
            return;
        }
        let totals = result.map(|result| result.totals).unwrap_or_default();
        let counters = result.map(|result| result.counters).unwrap_or_default();
        let site = self.site.clone().unwrap_or_default();
        let direction = if self.outgoing { "out" } else { "in" };
        let protocol =
            result.and_then(|result| result.protocol).or(self.protocol).map(String::from).unwrap_or_default();
        let facts = [
            ("BANGPATH_EVENT", event.to_owned()),
            ("BANGPATH_SITE", site.clone()),
            ("BANGPATH_PORT", self.port.clone()),
            ("BANGPATH_DIRECTION", direction.to_owned()),
            ("BANGPATH_PROTOCOL", protocol.clone()),
            ("BANGPATH_RESULT", words.to_owned()),
            ("BANGPATH_BYTES_SENT", totals.bytes_sent.to_string()),
            ("BANGPATH_BYTES_RECEIVED", totals.bytes_received.to_string()),
        ];
        let facts_json = json!({
            "event": event, "site": site, "port": self.port, "direction": direction, "protocol": protocol,
            "result": words, "files_sent": totals.files_sent, "bytes_sent": totals.bytes_sent,
            "files_received": totals.files_received, "bytes_received": totals.bytes_received,
            "packets_sent": counters.sent, "packets_resent": counters.resent,
        });
        let run = link::run_hook(&context.watch.hook, &facts, &facts_json.to_string(), HOOK_TIMEOUT).await;
        if let Err(error) = run {
            tracing::warn!(event, error = with_causes(&error), "the hook of calls");
        }
    }

    fn write(
        &self,
        context: &Context,
        result: &Result<CallResult, CallError>,
        known: Option<&CallResult>,
        seconds: f64,
        words: &str,
    ) {
        if let Some(known) = known {
            let c = &known.counters;
            let letter = known.protocol.unwrap_or('-');
            let packets = format!("sent {}, resent {}, received {}", c.sent, c.resent, c.received);
            self.log(context, &format!("Protocol '{letter}' packets: {packets}"));
        }
        match result {
            Ok(result) => {
                let bytes = result.totals.bytes_sent + result.totals.bytes_received;
                let rate = (bytes as f64 / seconds.max(0.001)) as u64;
                self.log(context, &format!("Call complete ({} seconds {bytes} bytes {rate} bps)", seconds as u64));
            }
            Err(_) => self.log(context, &format!("ERROR: {words}")),
        }
    }

    fn log(&self, context: &Context, text: &str) {
        taylor::log(context, self.site.as_deref().unwrap_or(taylor::NOBODY), taylor::NOBODY, text);
    }
}
