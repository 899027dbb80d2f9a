//! Wrong logins of the last minutes, by where they came from: one table for all processes that answer calls.

use std::time::Duration;

use rusqlite::params;

use super::rows::count;
use super::{Change, StoreError, View};
use crate::base::limits::{WRONG_LOGINS_HELD_MAX, WRONG_LOGINS_MAX, WRONG_LOGINS_WITHIN_S};
use crate::base::time::Timestamp;

const WITHIN: Duration = Duration::from_secs(WRONG_LOGINS_WITHIN_S);
/// How long it may take to look at one: nobody waits longer for one that a process took with it when it died.
const LOOKED_AT_MAX: Duration = Duration::from_secs(60);

/// One login that may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenLogin(i64);

/// Whether a login may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Yes(GivenLogin),
    /// As many are looked at as may be wrong: later.
    Later,
    /// There were too many wrong ones.
    Barred,
}

impl View<'_> {
    /// Whether there have been too many from there for anybody to be heard now.
    pub fn is_barred(&self, origin: &str, now: Timestamp) -> Result<bool, StoreError> {
        // A clock that was set back leaves some in the future, which tell nothing.
        Ok(self.given(origin, now, WITHIN, false)? >= WRONG_LOGINS_MAX)
    }

    fn given(&self, origin: &str, now: Timestamp, within: Duration, pending: bool) -> Result<usize, StoreError> {
        let sql = "SELECT count(*) AS number FROM wrong_login WHERE origin = ? AND at > ? AND at <= ? AND pending = ?";
        let found = self.row(sql, params![origin, now - within, now, pending], |row| count(row, "number"))?;
        Ok(found.unwrap_or_default() as usize)
    }
}

impl Change<'_> {
    /// Somebody from there gives a name and password. Looked at are only as many at once as may be wrong: many guesses at once
    /// are no more guesses.
    pub fn count_login(&mut self, origin: &str, now: Timestamp) -> Result<Counted, StoreError> {
        if self.is_barred(origin, now)? {
            return Ok(Counted::Barred);
        }
        let (wrong, pending) = (self.given(origin, now, WITHIN, false)?, self.given(origin, now, LOOKED_AT_MAX, true)?);
        if wrong + pending >= WRONG_LOGINS_MAX {
            return Ok(Counted::Later);
        }
        let outdated = "DELETE FROM wrong_login WHERE at <= ? OR at > ?";
        self.execute(outdated, params![now - WITHIN, now])?;
        let id = self.insert("INSERT INTO wrong_login (origin, at, pending) VALUES (?, ?, 1)", params![origin, now])?;
        self.execute("DELETE FROM wrong_login WHERE id <= ?", [id - WRONG_LOGINS_HELD_MAX])?;
        Ok(Counted::Yes(GivenLogin(id)))
    }

    /// It has been looked at.
    pub fn judge_login(&mut self, login: GivenLogin, right: bool) -> Result<(), StoreError> {
        let sql = match right {
            true => "DELETE FROM wrong_login WHERE id = ?",
            false => "UPDATE wrong_login SET pending = 0 WHERE id = ?",
        };
        self.execute(sql, [login.0]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::testing::*;
    use super::*;

    fn give(store: &Store, origin: &str, seconds: i64) -> Counted {
        write(store, |c| c.count_login(origin, later(seconds)))
    }

    fn guess(store: &Store, origin: &str, seconds: i64) -> Counted {
        let given = give(store, origin, seconds);
        if let Counted::Yes(login) = given {
            write(store, |c| c.judge_login(login, false));
        }
        given
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
            assert!(matches!(guess(&store, "192.0.2.7", n), Counted::Yes(_)));
        }
        drop(store);
        let store = Store::open(folder.path()).expect("a store");
        assert!(is_barred(&store, "192.0.2.7", 10) && !is_barred(&store, "192.0.2.8", 10));
        assert!(is_barred(&store, "192.0.2.7", WITHIN_S - 1));
        assert!(!is_barred(&store, "192.0.2.7", WITHIN_S), "the first is forgotten");
        // One more guess, and it waits for the second to be forgotten.
        assert_eq!(guess(&store, "192.0.2.7", WITHIN_S - 1), Counted::Barred);
        assert!(matches!(guess(&store, "192.0.2.7", WITHIN_S), Counted::Yes(_)));
        assert!(is_barred(&store, "192.0.2.7", WITHIN_S));
        assert!(!is_barred(&store, "192.0.2.7", WITHIN_S + 1));
    }

    #[test]
    fn right_logins_do_not_count() {
        let (_folder, store) = open();
        for n in 0..3 * WRONG_LOGINS_MAX as i64 {
            let Counted::Yes(login) = give(&store, "192.0.2.7", n) else { panic!("barred") };
            write(&store, |c| c.judge_login(login, true));
        }
    }

    #[test]
    fn many_at_once_wait_for_their_turn_and_are_not_barred() {
        let (_folder, store) = open();
        let given: Vec<Counted> = (0..WRONG_LOGINS_MAX).map(|_| give(&store, "192.0.2.7", 0)).collect();
        assert_eq!((give(&store, "192.0.2.7", 1), is_barred(&store, "192.0.2.7", 1)), (Counted::Later, false));
        let [Counted::Yes(first), Counted::Yes(second), ..] = given[..] else { panic!("{given:?}") };
        write(&store, |c| c.judge_login(first, true));
        assert!(matches!(give(&store, "192.0.2.7", 2), Counted::Yes(_)), "one was right");
        write(&store, |c| c.judge_login(second, false));
        assert_eq!(give(&store, "192.0.2.7", 3), Counted::Later, "one was wrong");
        assert!(matches!(give(&store, "192.0.2.7", 61), Counted::Yes(_)), "nobody looks at the others any more");
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
                    change.count_login(&format!("origin {n}"), NOW)?;
                }
                Ok(())
            })
            .expect("written");
        let held =
            read(&store, |v| v.rows("SELECT origin FROM wrong_login ORDER BY id", [], |row| row.get::<_, String>(0)));
        assert_eq!((held.len() as i64, held[0].as_str()), (WRONG_LOGINS_HELD_MAX, "origin 100"));
    }
}
