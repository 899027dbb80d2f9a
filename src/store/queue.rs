//! The queue: items that wait for a hop.

use std::ops::Range;
use std::time::Duration;

use rusqlite::{Row, params};

use super::jobs::JobId;
use super::rows::{CargoRow, count, from_json, integer, json};
use super::{BodyId, Cargo, Change, Envelope, Hop, HopTotals, StoreError, View};
use crate::base::names::Grade;
use crate::base::time::Timestamp;
use crate::base::wishes::CopyWishes;

/// Nothing is put off for longer.
const PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub i64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    pub hop: Hop,
    pub cargo: Cargo,
    pub grade: Grade,
    pub queued: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub id: ItemId,
    pub hop: Hop,
    pub cargo: Cargo,
    pub grade: Grade,
    /// Bytes of the body.
    pub size: u64,
    pub queued: Timestamp,
    pub not_before: Timestamp,
    pub attempts: u32,
    /// Why it is held, if it is: by an operator or by a `Disposition::Hold`.
    pub held: Option<String>,
    pub last_error: Option<String>,
    /// The job it is packed into, and whether a peer has seen that job (then it is frozen).
    pub job: Option<JobId>,
    pub in_doubt: bool,
}

/// A hop that could not be reached: it waits as a whole, and no item that waits for it has had an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopTrouble {
    /// In a row.
    pub failures: u32,
    pub not_before: Timestamp,
    pub last_error: String,
}

/// What a listing shows. Everything empty: all, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ItemFilter {
    pub hop: Option<Hop>,
    pub held: Option<bool>,
    pub limit: Option<usize>,
}

/// An item that cannot be dropped or rerouted without force: a peer has been offered it and may have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueRefusal {
    #[error("no item {0} in the queue")]
    Unknown(i64),
    #[error("item {0} was offered to its site and may have arrived; use --force to drop it all the same")]
    InDoubt(i64),
}

/// All columns of an item; `offered` is that of its job.
const ITEM: &str = "SELECT item.id, item.hop, item.grade, item.cargo, item.body, item.size, item.queued,
    item.not_before, item.attempts, item.held, item.last_error, item.job, job.offered IS NOT NULL AS offered
    FROM item LEFT JOIN job ON job.id = item.job";

/// An item whose cargo is still JSON.
type RawItem = (Item, String, Option<BodyId>);

fn raw_item(row: &Row<'_>) -> rusqlite::Result<RawItem> {
    let (from, to, user) = (String::new(), String::new(), String::new());
    let nothing = Cargo::Fetch { from, to, user, wishes: CopyWishes::default() };
    let item = Item {
        id: row.get("id")?,
        hop: row.get("hop")?,
        cargo: nothing,
        grade: row.get("grade")?,
        size: count(row, "size")?,
        queued: row.get("queued")?,
        not_before: row.get("not_before")?,
        attempts: row.get("attempts")?,
        held: row.get("held")?,
        last_error: row.get("last_error")?,
        job: row.get("job")?,
        in_doubt: row.get("offered")?,
    };
    Ok((item, row.get("cargo")?, row.get("body")?))
}

fn whole_item((item, cargo, body): RawItem) -> Result<Item, StoreError> {
    Ok(Item { cargo: from_json::<CargoRow>(&cargo)?.join(body)?, ..item })
}

impl View<'_> {
    /// One item, if it is still there.
    pub fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        self.row(&format!("{ITEM} WHERE item.id = ?"), [id], raw_item)?.map(whole_item).transpose()
    }

    /// What the filter lets through, oldest first.
    pub fn items(&self, filter: &ItemFilter) -> Result<Vec<Item>, StoreError> {
        let sql = format!(
            "{ITEM} WHERE (?1 IS NULL OR item.hop = ?1) AND (?2 IS NULL OR (item.held IS NOT NULL) = ?2)
             ORDER BY item.id LIMIT ?3"
        );
        let limit = filter.limit.map_or(-1, |n| integer(n as u64));
        let items = self.rows(&sql, params![filter.hop, filter.held, limit], raw_item)?;
        items.into_iter().map(whole_item).collect()
    }

    /// Items for `hop` that may go now: not held, `not_before` past, in no job, grade `worst` or better; by grade, then
    /// in the order in which they came.
    pub fn ready_items(&self, hop: &Hop, now: Timestamp, worst: Grade, limit: usize) -> Result<Vec<Item>, StoreError> {
        let sql = format!(
            "{ITEM} WHERE item.hop = ? AND item.grade <= ? AND item.held IS NULL AND item.job IS NULL
             AND item.not_before <= ? ORDER BY item.grade, item.id LIMIT ?"
        );
        let items = self.rows(&sql, params![hop, worst, now, integer(limit as u64)], raw_item)?;
        items.into_iter().map(whole_item).collect()
    }

    /// Mail queued in this span of time, neither held nor in a job, oldest first: what may have waited too long.
    pub fn mail_queued(&self, span: Range<Timestamp>, limit: usize) -> Result<Vec<Item>, StoreError> {
        let sql = format!(
            "{ITEM} WHERE item.queued >= ? AND item.queued < ? AND item.held IS NULL AND item.job IS NULL
             AND item.cargo ->> '$.cargo' = 'mail' ORDER BY item.queued LIMIT ?"
        );
        let items = self.rows(&sql, params![span.start, span.end, integer(limit as u64)], raw_item)?;
        items.into_iter().map(whole_item).collect()
    }

    /// Why and until when a hop is left alone, if it is.
    pub fn hop_trouble(&self, hop: &Hop) -> Result<Option<HopTrouble>, StoreError> {
        let sql = "SELECT failures, not_before, last_error FROM hop WHERE hop = ?";
        self.row(sql, [hop], |row| {
            Ok(HopTrouble {
                failures: row.get("failures")?,
                not_before: row.get("not_before")?,
                last_error: row.get("last_error")?,
            })
        })
    }

    /// Totals per hop and grade, for the scheduler and `site list`. Items in a job count too. Where all are held,
    /// `ready` is the end of time.
    pub fn totals(&self) -> Result<Vec<HopTotals>, StoreError> {
        let sql = "SELECT hop, grade, sum(held IS NULL) AS items, sum(held IS NOT NULL) AS held,
                          sum(CASE WHEN held IS NULL THEN size ELSE 0 END) AS bytes,
                          min(CASE WHEN held IS NULL THEN not_before END) AS ready, min(queued) AS oldest
                   FROM item GROUP BY hop, grade ORDER BY hop, grade";
        self.rows(sql, [], |row| {
            Ok(HopTotals {
                hop: row.get("hop")?,
                grade: row.get("grade")?,
                items: count(row, "items")?,
                bytes: count(row, "bytes")?,
                held: count(row, "held")?,
                ready: row.get::<_, Option<_>>("ready")?.unwrap_or(Timestamp::from_micros(i64::MAX)),
                oldest: row.get("oldest")?,
            })
        })
    }
}

/// An item that is gone already is left alone by all of these: an operator may have been quicker than a call.
impl Change<'_> {
    /// Into the queue, ready at once.
    pub fn enqueue(&mut self, item: NewItem) -> Result<ItemId, StoreError> {
        let (cargo, body) = CargoRow::split(&item.cargo);
        let size = body.map_or(Ok(0), |id| self.count_body(id))?;
        let sql = "INSERT INTO item (hop, grade, cargo, body, size, queued, not_before) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let row = params![item.hop, item.grade, json(&cargo), body, integer(size), item.queued, item.queued];
        let id = self.insert(sql, row).map(ItemId)?;
        match &item.cargo {
            Cargo::File { to, execution: Some(execution), .. } if to == execution => {
                self.keep_order(&item.hop, execution)?;
            }
            Cargo::File { .. }
            | Cargo::Mail { .. }
            | Cargo::Article { .. }
            | Cargo::Fetch { .. }
            | Cargo::Expand { .. }
            | Cargo::Command { .. } => {}
        }
        Ok(id)
    }

    /// Done: gone from the queue, its body released. The caller records why in the ledger in the same change. The last data of a
    /// command lets its execution file go.
    pub fn finish_item(&mut self, id: ItemId) -> Result<(), StoreError> {
        let execution = self.execution_of(id)?;
        if let Some(body) = self.take_item(id)?.flatten() {
            self.release_body(body)?;
        }
        match execution {
            Some((hop, execution)) => self.keep_order(&hop, &execution),
            None => Ok(()),
        }
    }

    /// Not now: counts an attempt, notes why, and sleeps until `until`.
    pub fn defer_item(&mut self, id: ItemId, until: Timestamp, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE item SET attempts = attempts + 1, not_before = ?, last_error = ? WHERE id = ?";
        self.execute(sql, params![until, why, id]).map(drop)
    }

    /// Notes that a hop could not be reached, or with `None` that it was.
    pub fn set_hop_trouble(&mut self, hop: &Hop, trouble: Option<&HopTrouble>) -> Result<(), StoreError> {
        let Some(t) = trouble else { return self.execute("DELETE FROM hop WHERE hop = ?", [hop]).map(drop) };
        let sql = "INSERT OR REPLACE INTO hop (hop, failures, not_before, last_error) VALUES (?, ?, ?, ?)";
        self.execute(sql, params![hop, t.failures, t.not_before, t.last_error]).map(drop)
    }

    /// A clock that was set back must not keep anything for years: what came later than now, or waits for longer than anything
    /// may, has waited. When it came stays as it was: if it is this clock that is wrong, as on a machine that has just
    /// started without one, mail would be too old as soon as it is right.
    pub fn disbelieve_later_than(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for (table, came) in [("item", "queued"), ("received", "received")] {
            let sql = format!(
                "UPDATE {table} SET not_before = ?1 WHERE not_before > ?1 AND ({came} > ?1 OR not_before > ?2)"
            );
            self.execute(&sql, params![now, now + PAUSE_MAX])?;
        }
        Ok(())
    }

    /// Takes it out of a job that no peer has seen. In one that a peer has seen it goes on, and is held if that job
    /// is dissolved.
    pub fn hold_item(&mut self, id: ItemId, why: &str) -> Result<(), StoreError> {
        self.unpack_unoffered(id)?;
        self.execute("UPDATE item SET held = ? WHERE id = ?", params![why, id]).map(drop)
    }

    /// Not held any more, and ready at once, even if its hop could not be reached before; an execution file only when its data is
    /// there.
    pub fn release_item(&mut self, id: ItemId) -> Result<(), StoreError> {
        self.execute("DELETE FROM hop WHERE hop = (SELECT hop FROM item WHERE id = ?)", [id])?;
        let sql = "UPDATE item SET held = NULL, not_before = min(not_before, queued) WHERE id = ?";
        self.execute(sql, [id])?;
        match self.execution_of(id)? {
            Some((hop, execution)) => self.keep_order(&hop, &execution),
            None => Ok(()),
        }
    }

    /// An operator's wish. Refused while in doubt, unless `force`; then a job with no other item goes with it. Gives what has gone:
    /// with a file of a command all that is left of that.
    pub fn drop_item(&mut self, id: ItemId, force: bool) -> Result<Result<Vec<Item>, QueueRefusal>, StoreError> {
        let Some(item) = self.item(id)? else { return Ok(Err(QueueRefusal::Unknown(id.0))) };
        let mut items = vec![item];
        items.extend(self.companions(id)?);
        if let Some(doubtful) = items.iter().find(|item| item.in_doubt && !force) {
            return Ok(Err(QueueRefusal::InDoubt(doubtful.id.0)));
        }
        items.iter().try_for_each(|item| self.finish_item(item.id))?;
        Ok(Ok(items))
    }

    /// Replaces the envelope of a mail item: those recipients that are still to be served.
    pub fn narrow_item(&mut self, id: ItemId, envelope: &Envelope) -> Result<(), StoreError> {
        self.execute("UPDATE item SET cargo = ? WHERE id = ?", params![json(&CargoRow::mail(envelope)), id]).map(drop)
    }

    /// Out of the queue, into the dead letters, with its body.
    pub(super) fn bury_alone(&mut self, id: ItemId, why: &str, now: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT INTO dead (at, why, size, body, hop, grade, cargo)
                   SELECT ?, ?, size, body, hop, grade, cargo FROM item WHERE id = ?";
        self.execute(sql, params![now, why, id])?;
        // The dead letter takes over the item's share in the body.
        self.take_item(id).map(drop)
    }

    /// Removes the row and gives its body, if there was one, to the caller to release.
    fn take_item(&mut self, id: ItemId) -> Result<Option<Option<BodyId>>, StoreError> {
        self.unpack_unoffered(id)?;
        let gone = self.row("DELETE FROM item WHERE id = ? RETURNING body, job", [id], |row| {
            Ok((row.get::<_, Option<BodyId>>("body")?, row.get::<_, Option<JobId>>("job")?))
        })?;
        if let Some((_, Some(job))) = gone {
            self.remove_job_without_items(job)?;
        }
        Ok(gone.map(|(body, _)| body))
    }

    /// Dissolves the job of an item if no peer has seen it: its bytes would not match its items any more.
    fn unpack_unoffered(&mut self, id: ItemId) -> Result<(), StoreError> {
        let sql = "SELECT job.id FROM item JOIN job ON job.id = item.job WHERE item.id = ? AND job.offered IS NULL";
        match self.row(sql, [id], |row| row.get(0))? {
            Some(job) => self.dissolve_job(job),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::jobs::{Deed, NewJob};
    use super::super::testing::*;
    use super::*;
    use crate::base::wishes::Reports;

    fn ready(store: &Store, now: Timestamp, worst: char) -> Vec<i64> {
        let hop = Hop::Site(site("hub"));
        read(store, |v| v.ready_items(&hop, now, grade(worst), 10)).into_iter().map(|item| item.id.0).collect()
    }

    fn pack(store: &Store, items: &[ItemId]) -> JobId {
        let (command, user) = ("rmail bob".to_owned(), "uucp".to_owned());
        let deed = Deed::Execute { command, user, requestor: None, reports: Reports::Never, file: None };
        write(store, |c| {
            let data = c.keep_bytes(b"job")?;
            c.new_job(NewJob { site: site("hub"), grade: grade('C'), items: items.to_vec(), deed, data })
        })
        .id
    }

    #[test]
    fn every_cargo_comes_back_as_it_was_and_takes_its_body_along() {
        let (_folder, store) = open();
        let text = |s: &str| s.to_owned();
        type Make = fn(BodyId) -> Cargo;
        let cargoes: [Make; 5] = [
            |body| Cargo::Mail { envelope: envelope(&["\"a b\"@x.example", "a!b!c", "postmaster"]), body },
            |body| Cargo::Article { message_id: "<1@x>".to_owned(), body },
            |body| Cargo::File {
                from: "/home/ann/\u{e4} b".to_owned(),
                to: "~/b".to_owned(),
                user: "ann".to_owned(),
                mode: 0o644,
                wishes: CopyWishes::parse("fmn", "ann"),
                execution: Some("X.hubN0001".to_owned()),
                body,
            },
            |_| Cargo::Fetch {
                from: "~/x".to_owned(),
                to: "y".to_owned(),
                user: "ann".to_owned(),
                wishes: CopyWishes::parse("fm", ""),
            },
            |input| Cargo::Command {
                line: "rmail bob".to_owned(),
                user: "ann".to_owned(),
                requestor: None,
                reports: Reports::Never,
                file: None,
                input,
            },
        ];
        let hops = [
            Hop::Site(site("hub")),
            Hop::Smtp { host: text("mail.example"), port: 25 },
            Hop::Nntp(crate::base::names::PeerName::parse("up").expect("a name")),
            Hop::Maildir(user("ann")),
        ];
        for make in cargoes {
            for hop in &hops {
                let (id, cargo) = write(&store, |c| {
                    let cargo = make(c.keep_bytes(b"1234567")?);
                    let item = NewItem { hop: hop.clone(), cargo: cargo.clone(), grade: grade('N'), queued: NOW };
                    Ok((c.enqueue(item)?, cargo))
                });
                let size = if matches!(cargo, Cargo::Fetch { .. }) { 0 } else { 7 };
                let expected = Item {
                    id,
                    hop: hop.clone(),
                    cargo,
                    grade: grade('N'),
                    size,
                    queued: NOW,
                    not_before: NOW,
                    attempts: 0,
                    held: None,
                    last_error: None,
                    job: None,
                    in_doubt: false,
                };
                assert_eq!(read(&store, |v| v.item(id)), Some(expected));
                write(&store, |c| c.finish_item(id));
                write(&store, |c| c.finish_item(id));
                assert_eq!(read(&store, |v| v.item(id)), None);
            }
        }
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn urgent_items_go_first_then_the_older_and_what_may_not_go_does_not() {
        let (_folder, store) = open();
        let [news, mail, late, held, packed, urgent] =
            ['d', 'C', 'C', 'C', 'C', '0'].map(|c| queue_mail(&store, "hub", c, b"x"));
        queue_mail(&store, "other", '0', b"x");
        write(&store, |c| c.defer_item(late, later(60), "busy"));
        write(&store, |c| c.hold_item(held, "wait"));
        let job = pack(&store, &[packed]);
        assert_eq!(ready(&store, NOW, 'z'), [urgent.0, mail.0, news.0]);
        assert_eq!(ready(&store, NOW, 'C'), [urgent.0, mail.0]);
        assert_eq!(ready(&store, later(-1), 'z'), [0; 0]);
        assert_eq!(ready(&store, later(60), 'C'), [urgent.0, mail.0, late.0]);
        write(&store, |c| c.release_item(held));
        write(&store, |c| c.dissolve_job(job));
        assert_eq!(ready(&store, NOW, 'C'), [urgent.0, mail.0, held.0, packed.0]);
        let item = read(&store, |v| v.item(late)).expect("an item");
        assert_eq!((item.attempts, item.last_error.as_deref(), item.not_before), (1, Some("busy"), later(60)));
        write(&store, |c| c.release_item(late));
        assert!(ready(&store, NOW, 'C').contains(&late.0));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_no_item_for_years() {
        let (_folder, store) = open();
        let [waits, tried] = ["hub", "hub"].map(|hop| queue_mail(&store, hop, 'C', b"x"));
        write(&store, |c| c.defer_item(tried, later(60), "busy"));
        write(&store, |c| c.disbelieve_later_than(NOW));
        assert_eq!(ready(&store, NOW, 'C'), [waits.0], "a pause is a pause");
        // It is the day before all this.
        let now = later(-24 * 3600);
        assert_eq!(ready(&store, now, 'C'), [0; 0]);
        write(&store, |c| c.disbelieve_later_than(now));
        assert_eq!(ready(&store, now, 'C'), [waits.0, tried.0]);
        assert_eq!(read(&store, |v| v.item(waits)).map(|item| item.queued), Some(NOW), "it grows no older than it is");
    }

    #[test]
    fn listings_choose_by_hop_and_hold() {
        let (_folder, store) = open();
        let [a, b, c] = ["hub", "hub", "leaf"].map(|hop| queue_mail(&store, hop, 'C', b"x").0);
        write(&store, |change| change.hold_item(ItemId(b), "wait"));
        let hub = Some(Hop::Site(site("hub")));
        for (filter, expected) in [
            (ItemFilter::default(), vec![a, b, c]),
            (ItemFilter { hop: hub.clone(), ..ItemFilter::default() }, vec![a, b]),
            (ItemFilter { held: Some(true), ..ItemFilter::default() }, vec![b]),
            (ItemFilter { hop: hub, held: Some(false), limit: None }, vec![a]),
            (ItemFilter { limit: Some(2), ..ItemFilter::default() }, vec![a, b]),
        ] {
            let found: Vec<i64> = read(&store, |v| v.items(&filter)).iter().map(|item| item.id.0).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }

    #[test]
    fn totals_are_those_of_the_items() {
        let (_folder, store) = open();
        let [first, _, held] = [3, 5, 11].map(|n| queue_mail(&store, "hub", 'C', &pattern(n)));
        queue_mail(&store, "hub", 'd', b"12");
        write(&store, |c| c.defer_item(first, later(60), "busy"));
        write(&store, |c| c.hold_item(held, "wait"));
        let total = |c, items, bytes, held, ready| HopTotals {
            hop: Hop::Site(site("hub")),
            grade: grade(c),
            items,
            bytes,
            held,
            ready,
            oldest: NOW,
        };
        assert_eq!(read(&store, |v| v.totals()), [total('C', 2, 8, 1, NOW), total('d', 1, 2, 0, NOW)]);
        write(&store, |c| c.hold_item(ItemId(first.0 + 1), "wait"));
        assert_eq!(read(&store, |v| v.totals())[0], total('C', 1, 3, 2, later(60)));
        write(&store, |c| c.hold_item(first, "wait"));
        assert_eq!(read(&store, |v| v.totals())[0], total('C', 0, 0, 3, Timestamp::from_micros(i64::MAX)));
    }

    #[test]
    fn what_a_peer_may_have_is_dropped_by_force_only() {
        let (_folder, store) = open();
        let [a, b] = ["a", "b"].map(|text| queue_mail(&store, "hub", 'C', text.as_bytes()));
        let job = pack(&store, &[a, b]);
        write(&store, |c| c.offer_job(job));
        assert!(read(&store, |v| v.item(a)).expect("an item").in_doubt);
        let dropped = |id, force| {
            let dropped = write(&store, |c| c.drop_item(id, force))?;
            Ok(dropped.iter().map(|item| item.id).collect::<Vec<_>>())
        };
        assert_eq!(dropped(a, false), Err(QueueRefusal::InDoubt(a.0)));
        assert_eq!(dropped(a, true), Ok(vec![a]));
        assert_eq!(dropped(a, true), Err(QueueRefusal::Unknown(a.0)));
        assert!(read(&store, |v| v.job(job)).is_some());
        assert_eq!(dropped(b, true), Ok(vec![b]));
        assert_eq!(read(&store, |v| v.job(job)), None);
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn a_job_that_no_peer_has_seen_dissolves_when_one_of_its_items_leaves() {
        type Leave = fn(&mut Change<'_>, ItemId) -> Result<(), StoreError>;
        let ways: [Leave; 3] = [
            |c, id| c.drop_item(id, false).map(|dropped| drop(dropped.expect("not in doubt"))),
            |c, id| c.hold_item(id, "wait"),
            |c, id| c.bury_item(id, "hopeless", NOW),
        ];
        for leave in ways {
            let (_folder, store) = open();
            let [a, b] = ["a", "b"].map(|text| queue_mail(&store, "hub", 'C', text.as_bytes()));
            let job = pack(&store, &[a, b]);
            write(&store, |c| leave(c, a));
            assert_eq!(read(&store, |v| v.job(job)), None);
            assert_eq!(ready(&store, NOW, 'z'), [b.0]);
            assert!(store.write(|c| c.offer_job(job)).is_err());
        }
    }

    #[test]
    fn a_narrowed_item_keeps_its_sender_and_body() {
        let (_folder, store) = open();
        let id = queue_mail(&store, "hub", 'C', b"x");
        write(&store, |c| c.narrow_item(id, &envelope(&["carol@x.example"])));
        match read(&store, |v| v.item(id)).expect("an item").cargo {
            Cargo::Mail { envelope: left, body } => {
                assert_eq!(left, envelope(&["carol@x.example"]));
                assert_eq!(read(&store, |v| v.body(body)).len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_long_queue_is_answered_from_the_index() {
        let (_folder, store) = open();
        queue_mail(&store, "hub", 'C', b"x");
        let plan = |sql: &str| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            read(&store, |v| v.rows(&sql, [], |row| row.get::<_, String>("detail"))).join("; ")
        };
        let ready = "SELECT id FROM item WHERE hop = 'x' AND grade <= 'C' AND held IS NULL AND job IS NULL
                     AND not_before <= 5 ORDER BY grade, id LIMIT 5";
        assert_eq!(plan(ready), "SEARCH item USING COVERING INDEX item_hop (hop=? AND grade<?)");
        let totals = "SELECT hop, grade, sum(held IS NULL), sum(size), min(not_before), min(queued)
                      FROM item GROUP BY hop, grade ORDER BY hop, grade";
        assert_eq!(plan(totals), "SCAN item USING COVERING INDEX item_hop");
    }
}
