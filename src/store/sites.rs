//! What is remembered of each site between calls.

use std::time::Duration;

use rusqlite::params;

use super::{Change, StoreError, View};
use crate::base::names::{PortName, SiteName};
use crate::base::time::Timestamp;
use crate::dialogue::Stop;

/// The state of a site. A site never called has the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteState {
    /// When the last call to or from it ended, and how, in words.
    pub last_call: Option<Timestamp>,
    pub last_result: Option<String>,
    pub last_success: Option<Timestamp>,
    /// Failed calls in a row.
    pub failures: u32,
    /// No call by ourselves before this, after failures.
    pub not_before: Option<Timestamp>,
    /// An operator's hold, with the reason.
    pub held: Option<String>,
    /// `site call` asked for a call whatever the queue says.
    pub call_wanted: bool,
}

/// The number of the last call with a site, either way: `-Q`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallNumber {
    pub number: u32,
    /// The site called with it and may not know that we took it, so it may come once more.
    pub doubtful: bool,
}

/// What is known of the way to a site over a port. A way that nothing is known of has the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownLine {
    /// As the last calls measured it.
    pub round_trip: Option<Duration>,
    pub tested: Option<TestedLine>,
    pub counted: Option<CountedErrors>,
}

/// What calls have counted on a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountedErrors {
    /// Bytes of files, either way. Beyond some hundred thousand the past counts half.
    pub carried: u32,
    /// Packets that came damaged, or that the peer wanted again.
    pub damaged: u32,
}

/// What a line test has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestedLine {
    pub eight_bit: bool,
    pub transparent: bool,
    /// Calls since the test.
    pub calls: u32,
}

impl View<'_> {
    /// What is known of the line to a site over a port.
    pub fn known_line(&self, site: &SiteName, port: &PortName) -> Result<KnownLine, StoreError> {
        let sql = "SELECT round_trip, eight_bit, transparent, calls, carried, damaged FROM known_line
                   WHERE site = ? AND port = ?";
        let found = self.row(sql, params![site, port], |row| {
            let micros: Option<i64> = row.get("round_trip")?;
            let tested = match row.get("calls")? {
                Some(calls) => {
                    Some(TestedLine { eight_bit: row.get("eight_bit")?, transparent: row.get("transparent")?, calls })
                }
                None => None,
            };
            let counted = match row.get("carried")? {
                Some(carried) => Some(CountedErrors { carried, damaged: row.get("damaged")? }),
                None => None,
            };
            let round_trip = micros.map(|micros| Duration::from_micros(micros.unsigned_abs()));
            Ok(KnownLine { round_trip, tested, counted })
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The number of the last call; 0 before the first.
    pub fn call_number(&self, site: &SiteName) -> Result<CallNumber, StoreError> {
        let sql = "SELECT number, doubtful FROM call_number WHERE site = ?";
        let found =
            self.row(sql, [site], |row| Ok(CallNumber { number: row.get("number")?, doubtful: row.get("doubtful")? }))?;
        Ok(found.unwrap_or_default())
    }

    /// How an operator wants the call with a site to end, if he does.
    pub fn hang_up_wanted(&self, site: &SiteName) -> Result<Option<Stop>, StoreError> {
        let how = self.row("SELECT how FROM hang_up WHERE site = ?", [site], |row| row.get::<_, String>(0))?;
        Ok(how.and_then(|how| Stop::parse(&how)))
    }

    /// What is remembered of a site.
    pub fn site_state(&self, site: &SiteName) -> Result<SiteState, StoreError> {
        let sql = "SELECT last_call, last_result, last_success, failures, not_before, held, call_wanted
                   FROM site WHERE name = ?";
        let state = self.row(sql, [site], |row| {
            Ok(SiteState {
                last_call: row.get("last_call")?,
                last_result: row.get("last_result")?,
                last_success: row.get("last_success")?,
                failures: row.get("failures")?,
                not_before: row.get("not_before")?,
                held: row.get("held")?,
                call_wanted: row.get("call_wanted")?,
            })
        })?;
        Ok(state.unwrap_or_default())
    }

    /// The ways to a site that failed when last tried, by port, and when that was.
    pub fn failed_ways(&self, site: &SiteName) -> Result<Vec<(PortName, Timestamp)>, StoreError> {
        let sql = "SELECT port, last_failure FROM way WHERE site = ?";
        self.rows(sql, [site], |row| Ok((row.get("port")?, row.get("last_failure")?)))
    }
}

impl Change<'_> {
    /// Replaces what is known of a line.
    pub fn set_known_line(&mut self, site: &SiteName, port: &PortName, line: &KnownLine) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO known_line (site, port, round_trip, eight_bit, transparent, calls, carried, damaged)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let KnownLine { round_trip, tested, counted } = line;
        let micros = round_trip.map(|time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
        let eight_bit = tested.map(|found| found.eight_bit);
        let transparent = tested.map(|found| found.transparent);
        let calls = tested.map(|found| found.calls);
        let (carried, damaged) = (counted.map(|counted| counted.carried), counted.map(|counted| counted.damaged));
        self.execute(sql, params![site, port, micros, eight_bit, transparent, calls, carried, damaged]).map(drop)
    }

    pub fn set_call_number(&mut self, site: &SiteName, number: CallNumber) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO call_number (site, number, doubtful) VALUES (?, ?, ?)";
        self.execute(sql, params![site, number.number, number.doubtful]).map(drop)
    }

    /// Notes how the call with a site is to end; `None`: there is no such wish any more.
    pub fn want_hang_up(&mut self, site: &SiteName, how: Option<Stop>) -> Result<(), StoreError> {
        match how {
            Some(how) => {
                self.execute("INSERT OR REPLACE INTO hang_up (site, how) VALUES (?, ?)", params![site, how.as_str()])
            }
            None => self.execute("DELETE FROM hang_up WHERE site = ?", [site]),
        }
        .map(drop)
    }

    /// Replaces what is remembered of a site.
    pub fn set_site_state(&mut self, site: &SiteName, state: &SiteState) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO site
                   (name, last_call, last_result, last_success, failures, not_before, held, call_wanted)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let row = params![
            site,
            state.last_call,
            state.last_result,
            state.last_success,
            state.failures,
            state.not_before,
            state.held,
            state.call_wanted
        ];
        self.execute(sql, row).map(drop)
    }

    /// Notes how a way to a site did: `failed` when, or that it led there.
    pub fn note_way(&mut self, site: &SiteName, port: &PortName, failed: Option<Timestamp>) -> Result<(), StoreError> {
        match failed {
            Some(at) => self.execute(
                "INSERT OR REPLACE INTO way (site, port, last_failure) VALUES (?, ?, ?)",
                params![site, port, at],
            ),
            None => self.execute("DELETE FROM way WHERE site = ? AND port = ?", params![site, port]),
        }
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn what_is_known_of_a_line_belongs_to_the_site_and_the_port() {
        let (_folder, store) = open();
        let port = |name: &str| PortName::parse(name).expect("a name");
        let tested = Some(TestedLine { eight_bit: false, transparent: true, calls: 3 });
        let counted = Some(CountedErrors { carried: 70_000, damaged: 7 });
        let line = KnownLine { round_trip: Some(Duration::from_millis(1250)), tested, counted };
        for line in [
            line,
            KnownLine { round_trip: None, ..line },
            KnownLine { tested: None, ..line },
            KnownLine { counted: None, ..line },
            KnownLine::default(),
        ] {
            write(&store, |c| c.set_known_line(&site("hub"), &port("modem"), &line));
            assert_eq!(read(&store, |v| v.known_line(&site("hub"), &port("modem"))), line);
            assert_eq!(read(&store, |v| v.known_line(&site("hub"), &port("net"))), KnownLine::default());
        }
    }

    #[test]
    fn a_site_is_remembered_as_it_was_set() {
        let (_folder, store) = open();
        assert_eq!(read(&store, |v| v.site_state(&site("hub"))), SiteState::default());
        let state = SiteState {
            last_call: Some(NOW),
            last_result: Some("no carrier".to_owned()),
            last_success: Some(later(-60)),
            failures: 3,
            not_before: Some(later(600)),
            held: Some("holidays".to_owned()),
            call_wanted: true,
        };
        for state in [state, SiteState { failures: 1, ..SiteState::default() }] {
            write(&store, |c| c.set_site_state(&site("hub"), &state));
            assert_eq!(read(&store, |v| v.site_state(&site("hub"))), state);
            assert_eq!(read(&store, |v| v.site_state(&site("Hub"))), SiteState::default());
        }
    }
}
