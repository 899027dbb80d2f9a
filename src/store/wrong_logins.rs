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
pub enum Turn {
    Now,
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

    /// Whether a login from there may be looked at now; asked for without a change while others are looked at.
    pub fn login_turn(&self, origin: &str, now: Timestamp) -> Result<Turn, StoreError> {
        let wrong = self.given(origin, now, WITHIN, false)?;
        let pending = self.given(origin, now, LOOKED_AT_MAX, true)?;
        Ok(match (wrong >= WRONG_LOGINS_MAX, wrong + pending >= WRONG_LOGINS_MAX) {
            (true, _) => Turn::Barred,
            (false, true) => Turn::Later,
            (false, false) => Turn::Now,
        })
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
    pub fn count_login(&mut self, origin: &str, now: Timestamp) -> Result<Result<GivenLogin, Turn>, StoreError> {
        match self.login_turn(origin, now)? {
            Turn::Now => {}
            turn @ (Turn::Later | Turn::Barred) => return Ok(Err(turn)),
        }
        let outdated = "DELETE FROM wrong_login WHERE at <= ? OR at > ?";
        self.execute(outdated, params![now - WITHIN, now])?;
        let id = self.insert("INSERT INTO wrong_login (origin, at, pending) VALUES (?, ?, 1)", params![origin, now])?;
        self.execute("DELETE FROM wrong_login WHERE id <= ?", [id - WRONG_LOGINS_HELD_MAX])?;
        Ok(Ok(GivenLogin(id)))
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

    fn give(store: &Store, origin: &str, seconds: i64) -> Result<GivenLogin, Turn> {
        write(store, |c| c.count_login(origin, later(seconds)))
    }

    fn guess(store: &Store, origin: &str, seconds: i64) -> Result<GivenLogin, Turn> {
        let given = give(store, origin, seconds);
        if let Ok(login) = given {
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
            assert!(guess(&store, "192.0.2.7", n).is_ok());
        }
        drop(store);
        let store = Store::open(folder.path()).expect("a store");
        assert!(is_barred(&store, "192.0.2.7", 10) && !is_barred(&store, "192.0.2.8", 10));
        assert!(is_barred(&store, "192.0.2.7", WITHIN_S - 1));
        assert!(!is_barred(&store, "192.0.2.7", WITHIN_S), "the first is forgotten");
        // One more guess, and it waits for the second to be forgotten.
        assert_eq!(guess(&store, "192.0.2.7", WITHIN_S - 1), Err(Turn::Barred));
        assert!(guess(&store, "192.0.2.7", WITHIN_S).is_ok());
        assert!(is_barred(&store, "192.0.2.7", WITHIN_S));
        assert!(!is_barred(&store, "192.0.2.7", WITHIN_S + 1));
    }

    #[test]
    fn right_logins_do_not_count() {
        let (_folder, store) = open();
        for n in 0..3 * WRONG_LOGINS_MAX as i64 {
            let Ok(login) = give(&store, "192.0.2.7", n) else { panic!("barred") };
            write(&store, |c| c.judge_login(login, true));
        }
    }

    #[test]
    fn many_at_once_wait_for_their_turn_and_are_not_barred() {
        let (_folder, store) = open();
        let given: Vec<_> = (0..WRONG_LOGINS_MAX).map(|_| give(&store, "192.0.2.7", 0)).collect();
        assert_eq!((give(&store, "192.0.2.7", 1), is_barred(&store, "192.0.2.7", 1)), (Err(Turn::Later), false));
        let [Ok(first), Ok(second), ..] = given[..] else { panic!("{given:?}") };
        write(&store, |c| c.judge_login(first, true));
        assert!(give(&store, "192.0.2.7", 2).is_ok(), "one was right");
        write(&store, |c| c.judge_login(second, false));
        assert_eq!(give(&store, "192.0.2.7", 3), Err(Turn::Later), "one was wrong");
        assert!(give(&store, "192.0.2.7", 61).is_ok(), "nobody looks at the others any more");
    }

    #[test]
    fn a_clock_that_is_set_back_bars_nobody_for_longer() {
        let (_folder, store) = open();
        for n in 0..WRONG_LOGINS_MAX as i64 {
            assert!(guess(&store, "192.0.2.7", 1_000_000 + n).is_ok());
        }
        assert!(is_barred(&store, "192.0.2.7", 1_000_100) && !is_barred(&store, "192.0.2.7", 0));
    }

    #[test]
    fn those_that_are_held_have_a_limit() {
        let (_folder, store) = open();
        store
            .write::<_, StoreError>(|change| {
                for n in 0..WRONG_LOGINS_HELD_MAX + 100 {
                    assert!(change.count_login(&format!("origin {n}"), NOW)?.is_ok());
                }
                Ok(())
            })
            .expect("written");
        let held =
            read(&store, |v| v.rows("SELECT origin FROM wrong_login ORDER BY id", [], |row| row.get::<_, String>(0)));
        assert_eq!((held.len() as i64, held[0].as_str()), (WRONG_LOGINS_HELD_MAX, "origin 100"));
    }
}
