//! What Taylor UUCP writes in its `Log` and `Stats`, for the tools that read them.

use std::path::Path;

use super::Context;
use crate::base::time::{Instant, Timestamp};
use crate::base::words::with_causes;
use crate::files;
use crate::proto::Packets;

/// The user of what is done for none.
pub(super) const NOBODY: &str = "-";

/// One line of the `Log`: program, site, user, time and process, words. What a peer has said is made harmless.
pub(super) fn log(context: &Context, site: &str, user: &str, text: &str) {
    let Some(path) = &context.watch.log else { return };
    let user = word(user);
    let text = text.replace(char::is_control, "?");
    let at = stamp(context.now());
    append(path, &format!("uucico {site} {user} ({at} {}) {text}\n", std::process::id()));
}

/// The words of the `Log` when a protocol has started.
pub(super) fn handshake(protocol: char, packets: Option<Packets>) -> String {
    let sizes = packets.map_or(String::new(), |Packets { sending, receiving }| {
        format!(" sending packet/window {}/{} receiving {}/{}", sending.0, sending.1, receiving.0, receiving.1)
    });
    format!("Handshake successful (protocol '{protocol}'{sizes})")
}

/// A line of the `Log` for a file that begins to be sent or received.
pub(super) fn log_file(context: &Context, site: &str, user: &str, what: &str, size: Option<u64>) {
    let size = size.map_or(String::new(), |size| format!(" ({size} bytes)"));
    log(context, site, user, &format!("{what}{size}"));
}

/// A file on its way, which becomes a line of the `Stats`: when it is done, or of its failure when it is dropped.
pub(super) struct FileCount {
    context: Context,
    /// `sent` or `received`.
    verb: &'static str,
    user: String,
    site: String,
    port: String,
    begun: Instant,
    bytes: u64,
}

impl FileCount {
    pub fn begin(context: &Context, verb: &'static str, [user, site, port]: [&str; 3]) -> Self {
        let begun = (context.clock)().instant;
        let (user, site, port) = (word(user), word(site), port.replace(char::is_control, "?"));
        Self { context: context.clone(), verb, user, site, port, begun, bytes: 0 }
    }

    pub fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// It is where it was to go.
    pub fn done(mut self) {
        self.write("");
        self.bytes = 0;
    }

    fn write(&self, failed: &str) {
        let Some(path) = &self.context.watch.statistics else { return };
        let Self { verb, user, site, port, bytes, .. } = self;
        let seconds = (self.context.clock)().instant.since(self.begun).as_secs_f64();
        let rate = (*bytes as f64 / seconds.max(0.001)) as u64;
        let pace = format!("{bytes} bytes in {seconds:.3} seconds ({rate} bytes/sec)");
        let at = stamp(self.context.now());
        append(path, &format!("{user} {site} ({at}) {failed}{verb} {pace} on port {port}\n"));
    }
}

impl Drop for FileCount {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.write("failed after ");
        }
    }
}

/// One word for a line that is read by its blanks.
fn word(text: &str) -> String {
    let text = if text.is_empty() { NOBODY } else { text };
    text.replace(|c: char| c.is_control() || c.is_whitespace(), "_")
}

fn append(path: &Path, line: &str) {
    if let Err(error) = tokio::task::block_in_place(|| files::append(path, line)) {
        tracing::warn!(error = with_causes(&error), "cannot note a call");
    }
}

/// `2026-11-23 16:08:37.26`, in local time.
fn stamp(at: Timestamp) -> String {
    let hundredths = at.as_micros().rem_euclid(1_000_000) / 10_000;
    let local = jiff::tz::TimeZone::system().to_datetime(at.to_jiff());
    format!("{}.{hundredths:02}", local.strftime("%Y-%m-%d %H:%M:%S"))
}
