//! The ledger: done deeds, written in the transaction of the deed, and dead letters.

use std::time::Duration;

use rusqlite::{Row, params};

use super::rows::{CargoRow, PurposeRow, count, from_json, integer};
use super::{Body, BodyId, Cargo, Change, Hop, ItemId, StoreError, View};
use crate::base::limits::{REFUSED_CALLS_MAX, REFUSED_CALLS_SEEN};
use crate::base::names::SiteName;
use crate::base::time::Timestamp;

/// One done deed. `verb` is one of a small closed list: `accepted`, `delivered`, `sent`, `received`, `refused`,
/// `returned`, `retried`, `dropped`, `buried`, `began`, `done`, `called`, `warned`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fact {
    pub at: Timestamp,
    pub verb: &'static str,
    /// What it was: `mail`, `article`, `file`, `command`, `call`, `store`.
    pub what: &'static str,
    /// Where from or to: a site, a host, a mailbox, a group.
    pub place: String,
    /// Message-ID, queue id, name: what one would search for.
    pub id: String,
    pub bytes: u64,
    pub detail: String,
}

/// A fact as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub number: i64,
    pub at: Timestamp,
    pub verb: String,
    pub what: String,
    pub place: String,
    pub id: String,
    pub bytes: u64,
    pub detail: String,
}

/// Where a dead letter has gone that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// Into the queue.
    Item(ItemId),
    /// Among the received files that wait to be unpacked.
    Received,
}

/// What can neither be delivered nor returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub number: i64,
    pub at: Timestamp,
    pub why: String,
    /// What it was: hop or site, envelope or command, as text.
    pub what: String,
    pub size: u64,
    pub from_site: Option<SiteName>,
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        number: row.get("number")?,
        at: row.get("at")?,
        verb: row.get("verb")?,
        what: row.get("what")?,
        place: row.get("place")?,
        id: row.get("id")?,
        bytes: count(row, "bytes")?,
        detail: row.get("detail")?,
    })
}

const DEAD: &str = "SELECT number, at, why, size, body, hop, cargo, site, purpose FROM dead";

/// A dead letter whose origin is still JSON.
struct RawDead {
    letter: DeadLetter,
    body: Option<BodyId>,
    hop: Option<Hop>,
    cargo: Option<String>,
    purpose: Option<String>,
}

fn raw_dead(row: &Row<'_>) -> rusqlite::Result<RawDead> {
    let letter = DeadLetter {
        number: row.get("number")?,
        at: row.get("at")?,
        why: row.get("why")?,
        what: String::new(),
        size: count(row, "size")?,
        from_site: row.get("site")?,
    };
    Ok(RawDead {
        letter,
        body: row.get("body")?,
        hop: row.get("hop")?,
        cargo: row.get("cargo")?,
        purpose: row.get("purpose")?,
    })
}

fn whole_dead(raw: RawDead) -> Result<(DeadLetter, Option<BodyId>), StoreError> {
    let what = match (raw.hop, raw.cargo, raw.purpose) {
        (Some(hop), Some(cargo), _) => describe_item(&hop, from_json::<CargoRow>(&cargo)?.join(raw.body)?),
        (_, _, Some(purpose)) => match from_json::<PurposeRow>(&purpose)? {
            PurposeRow::Execute { command, user, .. } => format!("{command} (for {user})"),
            PurposeRow::Spool { name } => format!("spool file {name}"),
        },
        _ => return Err(StoreError::Damaged(format!("dead letter {} has no origin", raw.letter.number))),
    };
    Ok((DeadLetter { what, ..raw.letter }, raw.body))
}

fn describe_item(hop: &Hop, cargo: Cargo) -> String {
    let cargo = match cargo {
        Cargo::Mail { envelope, .. } => {
            let sender = envelope.sender.map(|a| a.to_string()).unwrap_or_default();
            let recipients: Vec<String> = envelope.recipients.iter().map(|a| format!("<{a}>")).collect();
            format!("mail from <{sender}> to {}", recipients.join(" "))
        }
        Cargo::Article { message_id, .. } => format!("article {message_id}"),
        Cargo::File { to, user, .. } => format!("file {to} (for {user})"),
        Cargo::Fetch { from, user, .. } => format!("request for {from} (for {user})"),
        Cargo::Expand { from, user, .. } => format!("request for {from} (for {user})"),
        Cargo::Command { line, user, .. } => format!("command {line} (for {user})"),
    };
    let hop = match hop {
        Hop::Site(site) => format!("site {site}"),
        Hop::Smtp { host, port } => format!("SMTP host {host} port {port}"),
        Hop::Nntp(peer) => format!("news peer {peer}"),
        Hop::Maildir(user) => format!("the Maildir of {user}"),
    };
    format!("{cargo}, for {hop}")
}

impl View<'_> {
    /// Facts numbered above `after`, oldest first, `limit` at most.
    pub fn ledger(&self, after: i64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT * FROM ledger WHERE number > ? ORDER BY number LIMIT ?";
        self.rows(sql, params![after, integer(limit as u64)], entry)
    }

    /// The last `count` facts, oldest first.
    pub fn ledger_tail(&self, count: usize) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT * FROM (SELECT * FROM ledger ORDER BY number DESC LIMIT ?) ORDER BY number";
        self.rows(sql, [integer(count as u64)], entry)
    }

    /// The last call of a site that we refused.
    pub fn last_refused_call(&self, place: &str) -> Result<Option<Entry>, StoreError> {
        let sql =
            "SELECT * FROM ledger WHERE verb = 'refused' AND what = 'call' AND place = ? ORDER BY number DESC LIMIT 1";
        self.row(sql, [place], entry)
    }

    /// All of them, oldest first.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let letters = self.rows(&format!("{DEAD} ORDER BY number"), [], raw_dead)?;
        letters.into_iter().map(|raw| whole_dead(raw).map(|(letter, _)| letter)).collect()
    }

    /// One with its bytes; a request for a file has none.
    pub fn dead_letter(&self, number: i64) -> Result<Option<(DeadLetter, Body)>, StoreError> {
        let Some(raw) = self.row(&format!("{DEAD} WHERE number = ?"), [number], raw_dead)? else { return Ok(None) };
        let (letter, body) = whole_dead(raw)?;
        let body = body.map_or_else(|| Ok(Body::empty()), |id| self.body(id))?;
        Ok(Some((letter, body)))
    }
}

impl Change<'_> {
    /// Writes a fact, in the change that makes it true.
    pub fn record(&mut self, fact: Fact) -> Result<(), StoreError> {
        let sql = "INSERT INTO ledger (at, verb, what, place, id, bytes, detail) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let row = params![fact.at, fact.verb, fact.what, fact.place, fact.id, integer(fact.bytes), fact.detail];
        self.insert(sql, row).map(drop)
    }

    /// Writes that a caller was refused, unless that was written often enough lately ([`REFUSED_CALLS_MAX`]): strangers
    /// must not fill the disk. Whether it was written.
    pub fn record_refused_call(&mut self, at: Timestamp, place: &str, detail: &str) -> Result<bool, StoreError> {
        let hour_ago = at - Duration::from_secs(3600);
        let sql = "SELECT count(*) AS count FROM (SELECT * FROM ledger ORDER BY number DESC LIMIT ?)
                   WHERE verb = 'refused' AND what = 'call' AND at > ?";
        // Where much else is done the older ones are out of sight, and a few more are no harm.
        let lately = self.row(sql, params![integer(REFUSED_CALLS_SEEN), hour_ago], |row| count(row, "count"))?;
        if lately.unwrap_or(0) >= REFUSED_CALLS_MAX {
            return Ok(false);
        }
        let (place, detail) = (place.to_owned(), detail.to_owned());
        self.record(Fact { at, verb: "refused", what: "call", place, id: String::new(), bytes: 0, detail })?;
        Ok(true)
    }

    /// Removes facts older than `before`; how many there were.
    pub fn trim_ledger(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        self.execute("DELETE FROM ledger WHERE at < ?", [before])
    }

    /// Back to where it came from, as if it were new; a file goes on where its unpacking had come to, and with an execution file
    /// come those that were buried in the same change, as with an item all of its command. `None`: there was none.
    pub fn retry_dead_letter(&mut self, number: i64, now: Timestamp) -> Result<Option<Retried>, StoreError> {
        let sql = "SELECT number FROM dead WHERE number = ?1 OR spool IS NOT NULL AND
                   (at, site) = (SELECT at, site FROM dead WHERE number = ?1 AND spool IS NOT NULL) ORDER BY number";
        let mut letters = self.rows(sql, [number], |row| row.get::<_, i64>(0))?;
        letters.extend(self.dead_companions(number)?);
        letters.sort_unstable();
        let mut retried = None;
        for one in letters {
            retried = self.revive(one, now)?.or(retried);
        }
        if let Some(Retried::Item(id)) = retried
            && let Some((hop, execution)) = self.execution_of(id)?
        {
            self.keep_order(&hop, &execution)?;
        }
        Ok(retried)
    }

    /// The other dead letters of the command that this one was for.
    fn dead_companions(&self, number: i64) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT number FROM dead WHERE number <> ?1 AND (hop, cargo ->> '$.execution') =
                   (SELECT hop, cargo ->> '$.execution' FROM dead WHERE number = ?1) ORDER BY number";
        self.rows(sql, [number], |row| row.get(0))
    }

    fn revive(&mut self, number: i64, now: Timestamp) -> Result<Option<Retried>, StoreError> {
        // The new row takes over the dead letter's share in the body.
        let sql = "INSERT INTO item (hop, grade, cargo, body, size, queued, not_before)
                   SELECT hop, grade, cargo, body, size, ?2, ?2 FROM dead WHERE number = ?1 AND hop IS NOT NULL";
        let item = match self.execute(sql, params![number, now])? {
            0 => None,
            _ => Some(Retried::Item(ItemId(self.last_row()))),
        };
        let sql = "INSERT INTO received (site, purpose, spool, body, progress, received, not_before)
                   SELECT site, purpose, spool, body, progress, ?2, ?2 FROM dead
                   WHERE number = ?1 AND purpose IS NOT NULL";
        let received = self.execute(sql, params![number, now])?;
        self.execute("DELETE FROM dead WHERE number = ?", [number])?;
        Ok(item.or((received > 0).then_some(Retried::Received)))
    }

    /// For ever, and what was for the same command at a site. How many there were.
    pub fn drop_dead_letter(&mut self, number: i64) -> Result<usize, StoreError> {
        let mut letters = self.dead_companions(number)?;
        letters.push(number);
        let mut dropped = 0;
        for number in letters {
            let sql = "DELETE FROM dead WHERE number = ? RETURNING body";
            if let Some(body) = self.row(sql, [number], |row| row.get::<_, Option<BodyId>>(0))? {
                dropped += 1;
                body.map_or(Ok(()), |body| self.release_body(body))?;
            }
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbound::{Announced, Purpose};
    use super::super::testing::*;
    use super::super::{ItemFilter, Store};
    use super::*;

    fn fact(id: &str) -> Fact {
        Fact {
            at: NOW,
            verb: "delivered",
            what: "mail",
            place: "ann".to_owned(),
            id: id.to_owned(),
            bytes: 7,
            detail: "to the mailbox".to_owned(),
        }
    }

    #[test]
    fn facts_stand_in_the_order_of_their_deeds_and_fall_with_them() {
        let (_folder, store) = open();
        for id in ["a", "b", "c"] {
            write(&store, |c| c.record(fact(id)));
        }
        let undone: Result<(), StoreError> = store.write(|c| {
            c.record(fact("lie"))?;
            Err(StoreError::Damaged("as wished".to_owned()))
        });
        assert!(undone.is_err());
        let ids = |entries: Vec<Entry>| entries.into_iter().map(|e| e.id).collect::<Vec<_>>();
        let all = read(&store, |v| v.ledger(0, 99));
        assert_eq!((all[0].verb.as_str(), all[0].bytes, all[0].at), ("delivered", 7, NOW));
        assert_eq!(ids(read(&store, |v| v.ledger(all[0].number, 1))), ["b"]);
        assert_eq!(ids(read(&store, |v| v.ledger_tail(2))), ["b", "c"]);
        assert_eq!(ids(all), ["a", "b", "c"]);
        assert_eq!(write(&store, |c| c.trim_ledger(NOW)), 0);
        assert_eq!(write(&store, |c| c.trim_ledger(later(1))), 3);
        write(&store, |c| c.record(fact("d")));
        assert_eq!(read(&store, |v| v.ledger_tail(9))[0].number, 4);
    }

    #[test]
    fn refused_callers_do_not_fill_the_ledger() {
        let (_folder, store) = open();
        let refuse = |at| write(&store, |c| c.record_refused_call(at, "stranger", "not in our configuration"));
        let written = (0..10 * REFUSED_CALLS_MAX).filter(|_| refuse(NOW)).count();
        assert_eq!(written as u64, REFUSED_CALLS_MAX);
        assert!(!refuse(later(3599)) && refuse(later(3600)));
        let last = read(&store, |v| v.last_refused_call("stranger")).expect("there is one");
        assert_eq!((last.at, last.detail.as_str()), (later(3600), "not in our configuration"));
        assert_eq!(read(&store, |v| v.last_refused_call("hub")), None);
    }

    fn buried(store: &Store) -> DeadLetter {
        let letters = read(store, |v| v.dead_letters());
        assert_eq!(letters.len(), 1);
        letters.into_iter().next().expect("one letter")
    }

    #[test]
    fn a_buried_item_can_be_tried_again_or_dropped() {
        let (_folder, store) = open();
        let bytes = pattern(100_000);
        let id = queue_mail(&store, "hub", 'C', &bytes);
        let before = read(&store, |v| v.item(id)).expect("an item");
        write(&store, |c| c.defer_item(id, later(60), "busy"));
        write(&store, |c| c.bury_item(id, "no way", later(99)));
        assert_eq!(read(&store, |v| v.items(&ItemFilter::default())), []);
        let letter = buried(&store);
        assert_eq!((letter.why.as_str(), letter.at, letter.size), ("no way", later(99), 100_000));
        assert_eq!(letter.what, "mail from <ann@village.example> to <bob@hub.example>, for site hub");
        let (_, body) = read(&store, |v| v.dead_letter(letter.number)).expect("one letter");
        assert!(body.bytes(100_000).expect("readable") == bytes);

        assert!(write(&store, |c| c.retry_dead_letter(letter.number, later(100))).is_some());
        assert_eq!(write(&store, |c| c.retry_dead_letter(letter.number, later(100))), None);
        let items = read(&store, |v| v.items(&ItemFilter::default()));
        let again = super::super::Item { id: items[0].id, queued: later(100), not_before: later(100), ..before };
        assert_eq!(items, [again]);

        write(&store, |c| c.bury_item(items[0].id, "no way", NOW));
        let number = buried(&store).number;
        assert_ne!(number, letter.number);
        assert_eq!(write(&store, |c| c.drop_dead_letter(number)), 1);
        assert_eq!(write(&store, |c| c.drop_dead_letter(number)), 0);
        assert!(read(&store, |v| v.dead_letter(number)).is_none());
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn a_buried_file_goes_back_to_be_unpacked() {
        let (_folder, store) = open();
        let file = Announced { site: site("hub"), temp: None, size: None, to: "D.x".to_owned() };
        let mut receiving = store.receive(&file, false, NOW).expect("room");
        receiving.write(0, b"batch").expect("room");
        let id = receiving.commit(Purpose::Spool { name: "D.x".to_owned() }, NOW).expect("committed");
        write(&store, |c| c.note_progress(id, 3));
        write(&store, |c| c.bury_received(id, "no batch", later(5)));
        assert_eq!(read(&store, |v| v.received(later(99), 9)), []);
        let letter = buried(&store);
        assert_eq!((letter.what.as_str(), letter.from_site.clone()), ("spool file D.x", Some(site("hub"))));
        assert_eq!(write(&store, |c| c.retry_dead_letter(letter.number, later(9))), Some(Retried::Received));
        let back = read(&store, |v| v.received_spool(&site("hub"), "D.x")).expect("a file");
        assert_eq!((back.progress, back.size, back.received), (3, 5, later(9)));
        write(&store, |c| c.finish_received(back.id));
        assert_eq!(remains(&store), (0, 0, 0));
    }
}
