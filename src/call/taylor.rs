//! What Taylor UUCP writes in its `Log` and `Stats`, for the tools that read them.

use std::path::Path;

use super::Context;
use crate::base::time::Timestamp;
use crate::base::words::with_causes;
use crate::files;

/// The user of what is done for none.
pub(super) const NOBODY: &str = "-";

/// One line of the `Log`: program, site, user, time and process, words. What a peer has said is made harmless.
pub(super) fn log(context: &Context, site: &str, user: &str, text: &str) {
    let Some(path) = &context.watch.log else { return };
    let user = if user.is_empty() { NOBODY } else { user };
    let user = user.replace(|c: char| c.is_control() || c.is_whitespace(), "_");
    let text = text.replace(char::is_control, "?");
    let at = stamp(context.now());
    append(path, &format!("uucico {site} {user} ({at} {}) {text}\n", std::process::id()));
}

/// A line of the `Log` for a file that begins to be sent or received.
pub(super) fn log_file(context: &Context, site: &str, user: &str, what: &str, size: Option<u64>) {
    let size = size.map_or(String::new(), |size| format!(" ({size} bytes)"));
    log(context, site, user, &format!("{what}{size}"));
}

/// One line of the `Stats`.
pub(super) fn count(context: &Context, site: &str, words: &str) {
    let Some(path) = &context.watch.statistics else { return };
    append(path, &format!("uucp {site} ({}) {words}\n", stamp(context.now())));
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
