//! `site statistics`, and the same in words for `site show`.

use std::time::Duration;

use serde_json::json;

use super::sites::find;
use super::ui::{self, Table};
use super::{Failure, Opened};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;
use crate::base::words::count;
use crate::call;
use crate::config;
use crate::store::StoreError;
use crate::store::statistics::{SiteStatistics, Statistics};

/// What the calls with each site came to
///
/// Counted by days in UTC, and kept when the log is trimmed. TIME is what we were connected, LINE the part of it that the bytes of the busier direction
/// need at the speed of the line, AGAIN the part of the packets that were sent again.
#[derive(clap::Args)]
pub struct Show {
    /// Only this site
    site: Option<String>,
    /// Only the last days, as 7d: from the beginning of the first one on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or("a duration is written 12h or 7d".to_owned())
}

pub fn show(opened: &Opened, arguments: &Show) -> Result<(), Failure> {
    let wanted = arguments.site.as_deref().map(|name| find(opened, name)).transpose()?;
    let since = arguments.since.map(|since| opened.context.now() - since);
    let mut table = Table::new(["SITE", "PLACED", "ANSWERED", "FAILED", "SENT", "RECEIVED", "TIME", "LINE", "AGAIN"]);
    let mut rows = Vec::new();
    opened.store.read::<_, StoreError>(|view| {
        let mut found = view.statistics(since)?;
        // Sites without calls, too; and those that are configured no more, for they had some.
        let silent = opened.config.sites.iter().filter(|site| !found.iter().any(|s| s.site == site.name));
        let none = |site: &call::Site| SiteStatistics {
            site: site.name.clone(),
            since: since.unwrap_or(opened.context.now()),
            counts: Statistics::default(),
        };
        let silent: Vec<_> = silent.map(none).collect();
        found.extend(silent);
        found.retain(|statistics| wanted.is_none_or(|site| site.name == statistics.site));
        found.sort_by(|a, b| a.site.cmp(&b.site));
        for statistics in &found {
            let success = view.site_state(&statistics.site)?.last_success;
            rows.push(as_json(statistics, success));
            table.row(as_row(&statistics.site, &statistics.counts));
        }
        Ok(())
    })?;
    if arguments.json { ui::print_json(&rows) } else { table.print() }
}

fn as_row(site: &SiteName, counts: &Statistics) -> [String; 9] {
    let share = |share: Option<f64>| share.map_or("-".to_owned(), percent);
    [
        site.to_string(),
        counts.placed.to_string(),
        counts.answered.to_string(),
        counts.failed().to_string(),
        ui::bytes(counts.bytes_sent),
        ui::bytes(counts.bytes_received),
        ui::duration(Duration::from_millis(counts.connected_ms)),
        share(counts.line_share()),
        share(counts.again_share()),
    ]
}

fn as_json(statistics: &SiteStatistics, success: Option<Timestamp>) -> serde_json::Value {
    let counts = &statistics.counts;
    json!({
        "site": statistics.site.as_str(), "since": date(statistics.since),
        "placed": counts.placed, "answered": counts.answered, "failed": counts.failed(),
        "failures": {
            "not_reached": counts.not_reached, "not_logged_in": counts.not_logged_in, "not_agreed": counts.not_agreed,
            "line_lost": counts.line_lost, "protocol_error": counts.protocol_error, "ended_here": counts.ended_here,
        },
        "files_sent": counts.files_sent, "bytes_sent": counts.bytes_sent,
        "files_received": counts.files_received, "bytes_received": counts.bytes_received,
        "connected_seconds": counts.connected_ms as f64 / 1000.0, "line_share": counts.line_share(),
        "packets_sent": counts.packets, "packets_sent_again": counts.packets_again, "packet_errors": counts.packet_errors,
        "last_success": success.map(|at| at.to_string()),
    })
}

/// Lines for `site show`, in its form; none before the first call.
pub fn lines(statistics: &SiteStatistics) -> Vec<String> {
    let SiteStatistics { since, counts, .. } = statistics;
    let failures = counts.failures();
    let kinds = failures.iter().map(|(kind, number)| format!("{number} {kind}")).collect::<Vec<_>>().join(", ");
    let failed = if failures.is_empty() { "none failed".to_owned() } else { format!("failed: {kinds}") };
    let share = counts.line_share().map_or(String::new(), |share| format!(", {} of the line", percent(share)));
    let again = counts.again_share().map_or(String::new(), |share| format!(" ({})", percent(share)));
    vec![
        format!(
            "calls         {} placed, {} answered; {failed}; since {}",
            counts.placed,
            counts.answered,
            date(*since)
        ),
        format!("sent          {}, {}", count(counts.files_sent, "file"), ui::bytes(counts.bytes_sent)),
        format!("received      {}, {}", count(counts.files_received, "file"), ui::bytes(counts.bytes_received)),
        format!("connected     {}{share}", ui::duration(Duration::from_millis(counts.connected_ms))),
        format!(
            "packets       {} sent, {} again{again}; {} came damaged",
            counts.packets, counts.packets_again, counts.packet_errors
        ),
    ]
}

/// The day of it. Years before 0 have a sign more.
fn date(at: Timestamp) -> String {
    let text = at.to_string();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// `0.3%`, `97%`
fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0%".to_owned(),
        small if small < 9.95 => format!("{small:.1}%"),
        large => format!("{large:.0}%"),
    }
}
