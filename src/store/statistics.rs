//! What the calls with each site came to: counted day by day, in the change that records a call.

use rusqlite::{Row, params_from_iter, types::Value};

use super::rows::{count, integer};
use super::{Change, StoreError, View};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;

/// Counts of one call, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Calls that we placed, and calls that we answered.
    pub placed: u64,
    pub answered: u64,
    /// Failed calls by kind: no connection, no login, no agreement in the handshake, a lost line, a broken rule of the
    /// protocol, our own doing (stopped, or a disk that failed).
    pub not_reached: u64,
    pub not_logged_in: u64,
    pub not_agreed: u64,
    pub line_lost: u64,
    pub protocol_error: u64,
    pub ended_here: u64,
    pub files_sent: u64,
    pub bytes_sent: u64,
    pub files_received: u64,
    pub bytes_received: u64,
    /// From the connection to the end of the session.
    pub connected_ms: u64,
    /// The part of it on lines whose speed is known, and what the bytes of the busier direction need at that speed.
    pub timed_ms: u64,
    pub needed_ms: u64,
    pub packets: u64,
    pub packets_again: u64,
    /// Packets that came damaged or out of order.
    pub packet_errors: u64,
}

impl Statistics {
    pub fn calls(&self) -> u64 {
        self.placed.saturating_add(self.answered)
    }

    /// The failures in words, those that there were.
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("not reached", self.not_reached),
            ("not logged in", self.not_logged_in),
            ("not agreed", self.not_agreed),
            ("line lost", self.line_lost),
            ("protocol error", self.protocol_error),
            ("ended here", self.ended_here),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub fn failed(&self) -> u64 {
        self.failures().iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// What part of the line was used while we were connected, where that is known: 1 is all of it.
    pub fn line_share(&self) -> Option<f64> {
        (self.timed_ms > 0).then(|| self.needed_ms as f64 / self.timed_ms as f64)
    }

    /// What part of the packets was sent again.
    pub fn again_share(&self) -> Option<f64> {
        (self.packets > 0).then(|| self.packets_again as f64 / self.packets as f64)
    }
}

/// The columns, in the order of the fields.
const COLUMNS: [&str; 18] = [
    "placed",
    "answered",
    "not_reached",
    "not_logged_in",
    "not_agreed",
    "line_lost",
    "protocol_error",
    "ended_here",
    "files_sent",
    "bytes_sent",
    "files_received",
    "bytes_received",
    "connected_ms",
    "timed_ms",
    "needed_ms",
    "packets",
    "packets_again",
    "packet_errors",
];

impl Statistics {
    fn to_columns(self) -> [u64; 18] {
        [
            self.placed,
            self.answered,
            self.not_reached,
            self.not_logged_in,
            self.not_agreed,
            self.line_lost,
            self.protocol_error,
            self.ended_here,
            self.files_sent,
            self.bytes_sent,
            self.files_received,
            self.bytes_received,
            self.connected_ms,
            self.timed_ms,
            self.needed_ms,
            self.packets,
            self.packets_again,
            self.packet_errors,
        ]
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            placed: count(row, "placed")?,
            answered: count(row, "answered")?,
            not_reached: count(row, "not_reached")?,
            not_logged_in: count(row, "not_logged_in")?,
            not_agreed: count(row, "not_agreed")?,
            line_lost: count(row, "line_lost")?,
            protocol_error: count(row, "protocol_error")?,
            ended_here: count(row, "ended_here")?,
            files_sent: count(row, "files_sent")?,
            bytes_sent: count(row, "bytes_sent")?,
            files_received: count(row, "files_received")?,
            bytes_received: count(row, "bytes_received")?,
            connected_ms: count(row, "connected_ms")?,
            timed_ms: count(row, "timed_ms")?,
            needed_ms: count(row, "needed_ms")?,
            packets: count(row, "packets")?,
            packets_again: count(row, "packets_again")?,
            packet_errors: count(row, "packet_errors")?,
        })
    }
}

/// The statistics of a site from some day on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteStatistics {
    pub site: SiteName,
    /// The beginning of the first day that is counted in.
    pub since: Timestamp,
    pub counts: Statistics,
}

const DAY_S: i64 = 24 * 3600;

fn day(at: Timestamp) -> i64 {
    at.as_seconds().div_euclid(DAY_S)
}

impl View<'_> {
    /// Of every site with which there were calls, by name: from the day of `since` on, or of all time.
    pub fn statistics(&self, since: Option<Timestamp>) -> Result<Vec<SiteStatistics>, StoreError> {
        // `sum` fails beyond 2^63; `total` does not, its cast ends there, and below 2^53 it is exact.
        let sums = COLUMNS.map(|column| format!("CAST(total({column}) AS INTEGER) AS {column}")).join(", ");
        let sql = format!(
            "SELECT site, min(day) AS first, {sums} FROM statistics WHERE day >= ? GROUP BY site ORDER BY site"
        );
        self.rows(&sql, [since.map_or(i64::MIN, day)], |row| {
            let first: i64 = row.get("first")?;
            let since = Timestamp::from_seconds(first.saturating_mul(DAY_S));
            Ok(SiteStatistics { site: row.get("site")?, since, counts: Statistics::from_row(row)? })
        })
    }
}

impl Change<'_> {
    /// Adds a call, in the change that records it.
    pub fn count_call(&mut self, site: &SiteName, at: Timestamp, call: &Statistics) -> Result<(), StoreError> {
        let columns = COLUMNS.join(", ");
        let places = ["?"; COLUMNS.len()].join(", ");
        // Beyond 2^63 a sum is a floating-point number, which the column refuses, and the record of the call with it.
        let sum = |column| format!("{column} = min({column} + excluded.{column}, {})", i64::MAX);
        let sums = COLUMNS.map(sum).join(", ");
        let sql = format!(
            "INSERT INTO statistics (site, day, {columns}) VALUES (?, ?, {places})
             ON CONFLICT (site, day) DO UPDATE SET {sums}"
        );
        let key = [Value::Text(site.to_string()), Value::Integer(day(at))];
        let counts = call.to_columns().map(|count| Value::Integer(integer(count)));
        self.execute(&sql, params_from_iter(key.into_iter().chain(counts))).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Each count is another, so that none can stand for its neighbour.
    fn call() -> Statistics {
        Statistics {
            placed: 1,
            answered: 2,
            not_reached: 3,
            not_logged_in: 4,
            not_agreed: 5,
            line_lost: 6,
            protocol_error: 7,
            ended_here: 8,
            files_sent: 9,
            bytes_sent: 10,
            files_received: 11,
            bytes_received: 12,
            connected_ms: 13,
            timed_ms: 14,
            needed_ms: 7,
            packets: 16,
            packets_again: 4,
            packet_errors: 18,
        }
    }

    #[test]
    fn calls_add_up_by_site_and_day_and_outlive_the_ledger() {
        let (_folder, store) = open();
        for (name, at) in [("hub", NOW), ("hub", later(1)), ("hub", later(3 * DAY_S)), ("far", later(DAY_S))] {
            write(&store, |c| c.count_call(&site(name), at, &call()));
        }
        write(&store, |c| c.trim_ledger(later(99 * DAY_S)));
        let check = |since, expected: &[(&str, i64, u64)]| {
            let found = read(&store, |v| v.statistics(since));
            let found: Vec<_> =
                found.iter().map(|s| (s.site.as_str(), day(s.since) - day(NOW), s.counts.placed)).collect();
            assert_eq!(found, expected);
        };
        check(None, &[("far", 1, 1), ("hub", 0, 3)]);
        check(Some(later(DAY_S)), &[("far", 1, 1), ("hub", 3, 1)]);
        check(Some(later(4 * DAY_S)), &[]);
        let one = &read(&store, |v| v.statistics(None))[0];
        assert_eq!(one.counts, call());
        assert_eq!(
            (one.counts.failed(), one.counts.line_share(), one.counts.again_share()),
            (33, Some(0.5), Some(0.25))
        );
        assert_eq!(Statistics::default().line_share(), None);
    }

    #[test]
    fn counts_end_at_the_largest_number() {
        let (_folder, store) = open();
        let most = u64::try_from(i64::MAX).expect("positive");
        let full = Statistics { placed: most, answered: most, not_reached: most, line_lost: most, ..call() };
        let full = Statistics { ended_here: most, bytes_received: most, ..full };
        for at in [NOW, NOW, later(DAY_S)] {
            write(&store, |c| c.count_call(&site("hub"), at, &full));
            write(&store, |c| c.count_call(&site("hub"), at, &call()));
        }
        let counts = read(&store, |v| v.statistics(None))[0].counts;
        assert_eq!((counts.placed, counts.bytes_received, counts.bytes_sent), (most, most, 60));
        assert_eq!((counts.calls(), counts.failed()), (2 * most, u64::MAX));
    }

    #[test]
    fn a_call_that_is_not_recorded_is_not_counted() {
        let (_folder, store) = open();
        let undone: Result<(), StoreError> = store.write(|c| {
            c.count_call(&site("hub"), NOW, &call())?;
            Err(StoreError::Damaged("as wished".to_owned()))
        });
        assert!(undone.is_err() && read(&store, |v| v.statistics(None)).is_empty());
    }
}
