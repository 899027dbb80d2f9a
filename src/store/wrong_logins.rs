//! Wrong logins of the last minutes, by where they came from: one table for all processes that answer calls.

use std::time::Duration;

use rusqlite::params;

use super::rows::count;
use super::{Change, StoreError, View};
use crate::base::limits::{WRONG_LOGINS_HELD_MAX, WRONG_LOGINS_MAX, WRONG_LOGINS_WITHIN_S};
use crate::base::time::Timestamp;

const WITHIN: Duration = Duration::from_secs(WRONG_LOGINS_WITHIN_S);

/// One login that counts as wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongLogin(i64);

impl View<'_> {
    /// Whether there have been too many from there for anybody to be heard now.
    pub fn is_barred(&self, origin: &str, now: Timestamp) -> Result<bool, StoreError> {
        // A clock that was set back leaves some in the future, which tell nothing.
        let sql = "SELECT count(*) AS number FROM wrong_login WHERE origin = ? AND at > ? AND at <= ?";
        let found = self.row(sql, params![origin, now - WITHIN, now], |row| count(row, "number"))?;
        Ok(found.unwrap_or_default() >= WRONG_LOGINS_MAX as u64)
    }
}

impl Change<'_> {
    /// Somebody from there gives a name and password, which count as wrong for now. `None`: there were too many before, and these
    /// are not to be looked at.
    pub fn count_wrong_login(&mut self, origin: &str, now: Timestamp) -> Result<Option<WrongLogin>, StoreError> {
        if self.is_barred(origin, now)? {
            return Ok(None);
        }
        let outdated = "DELETE FROM wrong_login WHERE at <= ? OR at > ?";
        self.execute(outdated, params![now - WITHIN, now])?;
        let id = self.insert("INSERT INTO wrong_login (origin, at) VALUES (?, ?)", params![origin, now])?;
        self.execute("DELETE FROM wrong_login WHERE id <= ?", [id - WRONG_LOGINS_HELD_MAX])?;
        Ok(Some(WrongLogin(id)))
    }

    /// It was right.
    pub fn forgive_login(&mut self, login: WrongLogin) -> Result<(), StoreError> {
        self.execute("DELETE FROM wrong_login WHERE id = ?", [login.0]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::testing::*;
    use super::*;

    fn guess(store: &Store, origin: &str, seconds: i64) -> Option<WrongLogin> {
        write(store, |c| c.count_wrong_login(origin, later(seconds)))
    }

    fn is_barred(store: &Store, origin: &str, seconds: i64) -> bool {
        read(store, |v| v.is_barred(origin, later(seconds)))
    }

    const WITHIN_S: i64 = WRONG_LOGINS_WITHIN_S as i64;

    #[test]
    fn who_guesses_too_often_is_barred_for_a_while_by_every_process() {
        let (folder, store) = open();
        for n in 0..WRONG_LOGINS_MAX as i64 {
            assert!(!is_barred(&store, "192.0.2.7", n), "after {n}");
            assert!(guess(&store, "192.0.2.7", n).is_some());
        }
        drop(store);
        let store = Store::open(folder.path()).expect("a store");
        assert!(is_barred(&store, "192.0.2.7", 10) && !is_barred(&store, "192.0.2.8", 10));
        assert!(is_barred(&store, "192.0.2.7", WITHIN_S - 1));
        assert!(!is_barred(&store, "192.0.2.7", WITHIN_S), "the first is forgotten");
        // One more guess, and it waits for the second to be forgotten.
        assert_eq!(guess(&store, "192.0.2.7", WITHIN_S - 1), None);
        assert!(guess(&store, "192.0.2.7", WITHIN_S).is_some());
        assert!(is_barred(&store, "192.0.2.7", WITHIN_S));
        assert!(!is_barred(&store, "192.0.2.7", WITHIN_S + 1));
    }

    #[test]
    fn right_logins_do_not_count() {
        let (_folder, store) = open();
        for n in 0..3 * WRONG_LOGINS_MAX as i64 {
            let login = guess(&store, "192.0.2.7", n).expect("not barred");
            write(&store, |c| c.forgive_login(login));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_bars_nobody_for_longer() {
        let (_folder, store) = open();
        for n in 0..WRONG_LOGINS_MAX as i64 {
            guess(&store, "192.0.2.7", 1_000_000 + n);
        }
        assert!(is_barred(&store, "192.0.2.7", 1_000_100) && !is_barred(&store, "192.0.2.7", 0));
    }

    #[test]
    fn those_that_are_held_have_a_limit() {
        let (_folder, store) = open();
        store
            .write::<_, StoreError>(|change| {
                for n in 0..WRONG_LOGINS_HELD_MAX + 100 {
                    change.count_wrong_login(&format!("origin {n}"), NOW)?;
                }
                Ok(())
            })
            .expect("written");
        let held =
            read(&store, |v| v.rows("SELECT origin FROM wrong_login ORDER BY id", [], |row| row.get::<_, String>(0)));
        assert_eq!((held.len() as i64, held[0].as_str()), (WRONG_LOGINS_HELD_MAX, "origin 100"));
    }
}
