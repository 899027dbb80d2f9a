//! Jobs: UUCP transfers made from items; kept byte for byte from the first offer to the confirmation.

use rusqlite::{Row, params};

use super::queue::Item;
use super::rows::{DeedRow, count, from_json, integer, json};
use super::{BodyId, Change, ItemId, StoreError, View};
use crate::base::names::{Grade, SiteName};
use crate::base::time::Timestamp;
use crate::base::wishes::{CopyWishes, Reports};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// What is done with the bytes at the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// `rmail bob`, `rnews`: the bytes are its standard input, or with `file` a file of that name.
    Execute { command: String, user: String, requestor: Option<String>, reports: Reports, file: Option<String> },
    /// A file under this name.
    Store { from: String, to: String, user: String, mode: u32, wishes: CopyWishes },
    /// Nothing is sent: a file is asked for.
    Fetch { from: String, to: String, user: String, wishes: CopyWishes },
    /// Nothing is sent: the peer is to find and send files (`X`).
    Expand { from: String, to: String, user: String, wishes: CopyWishes },
}

/// A job to be made of these items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub site: SiteName,
    pub grade: Grade,
    pub items: Vec<ItemId>,
    pub deed: Deed,
    /// The bytes; for `Deed::Fetch` an empty body.
    pub data: BodyId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    pub site: SiteName,
    pub grade: Grade,
    pub deed: Deed,
    pub data: BodyId,
    pub size: u64,
    /// Four characters of `0-9A-Z`, unique per site for a week at least: `D.SEQ` is the temporary name.
    pub sequence: String,
    /// A second one for the `X.` file where the peer knows no E command.
    pub sequence_x: String,
    /// A peer has seen its name: from now on it never changes.
    pub offered: bool,
}

const JOB: &str = "SELECT id, site, grade, deed, data, size, sequence, sequence_x, offered FROM job";

/// A job whose deed is still JSON.
type RawJob = (Job, String);

fn raw_job(row: &Row<'_>) -> rusqlite::Result<RawJob> {
    let (from, to, user) = (String::new(), String::new(), String::new());
    let nothing = Deed::Fetch { from, to, user, wishes: CopyWishes::default() };
    let job = Job {
        id: row.get("id")?,
        site: row.get("site")?,
        grade: row.get("grade")?,
        deed: nothing,
        data: row.get("data")?,
        size: count(row, "size")?,
        sequence: row.get("sequence")?,
        sequence_x: row.get("sequence_x")?,
        offered: row.get::<_, Option<i64>>("offered")?.is_some(),
    };
    Ok((job, row.get("deed")?))
}

fn whole_job((job, deed): RawJob) -> Result<Job, StoreError> {
    Ok(Job { deed: from_json::<DeedRow>(&deed)?.into(), ..job })
}

impl View<'_> {
    /// One job, if it is neither finished nor dissolved.
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.row(&format!("{JOB} WHERE id = ?"), [id], raw_job)?.map(whole_job).transpose()
    }

    /// Jobs once offered and not yet confirmed, in the order of their offer.
    pub fn offered_jobs(&self, site: &SiteName) -> Result<Vec<Job>, StoreError> {
        let sql = format!("{JOB} WHERE site = ? AND offered IS NOT NULL ORDER BY offered");
        self.rows(&sql, [site], raw_job)?.into_iter().map(whole_job).collect()
    }

    /// The items of a job, in the order in which they came.
    pub fn job_items(&self, id: JobId) -> Result<Vec<Item>, StoreError> {
        let ids = self.rows("SELECT id FROM item WHERE job = ? ORDER BY id", [id], |row| row.get::<_, ItemId>(0))?;
        let there = |item: Option<Item>| item.ok_or_else(|| StoreError::Damaged("an item without its row".to_owned()));
        ids.into_iter().map(|id| self.item(id).and_then(there)).collect()
    }
}

impl Change<'_> {
    /// Packs items (none of them in a job already) and takes two sequence names.
    pub fn new_job(&mut self, job: NewJob) -> Result<Job, StoreError> {
        let size = self.count_body(job.data)?;
        let first = self.first_queued(&job)?;
        let (sequence, sequence_x) = (self.next_sequence(&job.site, first)?, self.next_sequence(&job.site, first)?);
        let sql = "INSERT INTO job (site, grade, deed, data, size, sequence, sequence_x) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let deed = json(&DeedRow::from(&job.deed));
        let row = params![job.site, job.grade, deed, job.data, integer(size), sequence, sequence_x];
        let id = JobId(self.insert(sql, row)?);
        for item in &job.items {
            if self.execute("UPDATE item SET job = ? WHERE id = ? AND job IS NULL", params![id, item])? != 1 {
                return Err(StoreError::Damaged(format!("item {} cannot be packed: gone, or packed already", item.0)));
            }
        }
        let NewJob { site, grade, deed, data, .. } = job;
        Ok(Job { id, site, grade, deed, data, size, sequence, sequence_x, offered: false })
    }

    /// The next name for this site, for a job or for a file that others of the queue name. The count goes round after 1,679,616
    /// names, so none comes again within a week below one job a second without a pause; what a job still holds is passed over.
    /// Where the names of a site begin is told by the time at which the first item was queued, so that a spool that was lost and
    /// made anew does not give names that the peer still remembers.
    pub fn next_sequence(&mut self, site: &SiteName, first: Timestamp) -> Result<String, StoreError> {
        let sql = "SELECT next FROM job_sequence WHERE site = ?";
        let next = self.row(sql, [site], |row| row.get(0))?;
        let mut next = next.unwrap_or_else(|| first.as_seconds().rem_euclid(SEQUENCES));
        let name = loop {
            let name = sequence_name(next);
            next = (next + 1) % SEQUENCES;
            let sql = "SELECT 1 FROM job WHERE site = ? AND (sequence = ? OR sequence_x = ?)";
            if self.row(sql, params![site, name, name], |_| Ok(()))?.is_none() {
                break name;
            }
        };
        self.execute("INSERT OR REPLACE INTO job_sequence (site, next) VALUES (?, ?)", params![site, next])?;
        Ok(name)
    }

    /// When the first item of a job was queued.
    fn first_queued(&self, job: &NewJob) -> Result<Timestamp, StoreError> {
        let Some(first) = job.items.first() else { return Ok(Timestamp::from_seconds(0)) };
        let queued = self.row("SELECT queued FROM item WHERE id = ?", [first], |row| row.get::<_, Timestamp>(0))?;
        Ok(queued.unwrap_or(Timestamp::from_seconds(0)))
    }

    /// The peer is about to see it. Items may have been dropped or held since it was packed, which dissolves it:
    /// look with `job` in the same change. Without the job this is an error.
    pub fn offer_job(&mut self, id: JobId) -> Result<(), StoreError> {
        let sql = "UPDATE job SET offered = coalesce(offered, 1 + (SELECT coalesce(max(other.offered), 0)
                   FROM job AS other WHERE other.site = job.site)) WHERE id = ?";
        match self.execute(sql, [id])? {
            1 => Ok(()),
            _ => Err(StoreError::Damaged(format!("no job {}", id.0))),
        }
    }

    /// Confirmed: job and items are gone. The caller records it in the ledger.
    pub fn finish_job(&mut self, id: JobId) -> Result<(), StoreError> {
        let items = "DELETE FROM item WHERE job = ? RETURNING body";
        for body in self.rows(items, [id], |row| row.get::<_, Option<BodyId>>(0))?.into_iter().flatten() {
            self.release_body(body)?;
        }
        self.remove_job(id)
    }

    /// Unpacks one: its items are free again (the peer refused it, or it was never offered).
    pub fn dissolve_job(&mut self, id: JobId) -> Result<(), StoreError> {
        self.execute("UPDATE item SET job = NULL WHERE job = ?", [id])?;
        self.remove_job(id)
    }

    /// All of a site's jobs that no peer has seen; what a call does at its end and its beginning.
    pub fn dissolve_unoffered(&mut self, site: &SiteName) -> Result<usize, StoreError> {
        let sql = "SELECT id FROM job WHERE site = ? AND offered IS NULL";
        let jobs = self.rows(sql, [site], |row| row.get(0))?;
        for id in &jobs {
            self.dissolve_job(*id)?;
        }
        Ok(jobs.len())
    }

    /// The last item of a job is gone: nobody wants it sent any more.
    pub(super) fn remove_job_without_items(&mut self, id: JobId) -> Result<(), StoreError> {
        match self.row("SELECT 1 FROM item WHERE job = ? LIMIT 1", [id], |_| Ok(()))? {
            Some(()) => Ok(()),
            None => self.remove_job(id),
        }
    }

    fn remove_job(&mut self, id: JobId) -> Result<(), StoreError> {
        match self.row("DELETE FROM job WHERE id = ? RETURNING data", [id], |row| row.get(0))? {
            Some(data) => self.release_body(data),
            None => Ok(()),
        }
    }
}

/// Names of four characters.
const SEQUENCES: i64 = 36 * 36 * 36 * 36;

fn sequence_name(mut number: i64) -> String {
    let mut name = [b'0'; 4];
    for place in name.iter_mut().rev() {
        *place = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(number % 36) as usize];
        number /= 36;
    }
    name.iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Hop, Store};
    use super::*;

    fn deed() -> Deed {
        Deed::Execute {
            command: "rmail bob".to_owned(),
            user: "uucp".to_owned(),
            requestor: Some("ann".to_owned()),
            reports: Reports::Failures,
            file: None,
        }
    }

    fn pack(store: &Store, to: &str, items: &[ItemId]) -> Job {
        write(store, |c| {
            let data = c.keep_bytes(b"job data")?;
            c.new_job(NewJob { site: site(to), grade: grade('C'), items: items.to_vec(), deed: deed(), data })
        })
    }

    fn set_next(store: &Store, next: i64) {
        write(store, |c| c.execute("UPDATE job_sequence SET next = ?", [next]).map(drop));
    }

    #[test]
    fn a_job_is_the_same_at_every_offer_until_it_is_confirmed() {
        let (folder, store) = open();
        let [a, b, c] = [1, 2, 3].map(|n| queue_mail(&store, "hub", 'C', &pattern(n)));
        let (first, second) = (pack(&store, "hub", &[a, b]), pack(&store, "hub", &[c]));
        assert_eq!((first.size, first.offered), (8, false));
        assert_eq!(read(&store, |v| v.offered_jobs(&site("hub"))), []);
        for id in [second.id, first.id, second.id] {
            write(&store, |c| c.offer_job(id));
        }
        drop(store);
        let store = Store::open(folder.path()).expect("the same store");
        assert_eq!(write(&store, |c| c.dissolve_unoffered(&site("hub"))), 0);
        let offered = |job: &Job| Job { offered: true, ..job.clone() };
        assert_eq!(read(&store, |v| v.offered_jobs(&site("hub"))), [offered(&second), offered(&first)]);
        let ids = |job: &Job| read(&store, |v| v.job_items(job.id)).iter().map(|item| item.id).collect::<Vec<_>>();
        assert_eq!((ids(&first), ids(&second)), (vec![a, b], vec![c]));
        assert_eq!(read(&store, |v| v.ready_items(&Hop::Site(site("hub")), NOW, Grade::LEAST, 9)), []);
        for job in [&first, &second] {
            write(&store, |c| c.finish_job(job.id));
            assert_eq!(read(&store, |v| v.job(job.id)), None);
        }
        assert_eq!(read(&store, |v| v.item(a)), None);
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn a_job_that_no_peer_has_seen_dissolves_into_its_items() {
        let (_folder, store) = open();
        let [a, b] = ["a", "b"].map(|text| queue_mail(&store, "hub", 'C', text.as_bytes()));
        let other = queue_mail(&store, "leaf", 'C', b"x");
        let (seen, unseen) = (pack(&store, "hub", &[a]), pack(&store, "hub", &[b]));
        let elsewhere = pack(&store, "leaf", &[other]);
        write(&store, |c| c.offer_job(seen.id));
        assert_eq!(write(&store, |c| c.dissolve_unoffered(&site("hub"))), 1);
        assert_eq!(read(&store, |v| v.job(unseen.id)), None);
        assert!(read(&store, |v| v.job(seen.id)).is_some());
        assert!(read(&store, |v| v.job(elsewhere.id)).is_some());
        let ready = read(&store, |v| v.ready_items(&Hop::Site(site("hub")), NOW, Grade::LEAST, 9));
        assert_eq!(ready.iter().map(|item| item.id).collect::<Vec<_>>(), [b]);
    }

    #[test]
    fn an_item_is_in_one_job_only() {
        let (_folder, store) = open();
        let item = queue_mail(&store, "hub", 'C', b"x");
        let job = pack(&store, "hub", &[item]);
        let again = |items: Vec<ItemId>| {
            store.write(|c| {
                let data = c.keep_bytes(b"job data")?;
                c.new_job(NewJob { site: site("hub"), grade: grade('C'), items, deed: deed(), data })
            })
        };
        assert!(again(vec![item]).is_err());
        assert!(again(vec![ItemId(99)]).is_err());
        assert_eq!(read(&store, |v| v.item(item)).expect("an item").job, Some(job.id));
        assert_eq!(remains(&store), (4, 0, 0));
    }

    #[test]
    fn names_go_on_after_a_restart_and_pass_over_what_a_job_still_holds() {
        let (folder, store) = open();
        let items: Vec<ItemId> = (0..4).map(|_| queue_mail(&store, "hub", 'C', b"x")).collect();
        let names = |job: &Job| (job.sequence.clone(), job.sequence_x.clone());
        let name = |text: &str| text.to_owned();
        pack(&store, "hub", &items[..1]);
        set_next(&store, SEQUENCES - 1);
        assert_eq!(names(&pack(&store, "hub", &items[1..2])), (name("ZZZZ"), name("0000")));
        drop(store);
        let store = Store::open(folder.path()).expect("the same store");
        assert_eq!(names(&pack(&store, "hub", &items[2..3])), (name("0001"), name("0002")));
        // Once round: three names are still held.
        set_next(&store, SEQUENCES - 1);
        assert_eq!(names(&pack(&store, "hub", &items[3..])), (name("0003"), name("0004")));
    }

    #[test]
    fn a_spool_made_anew_does_not_begin_with_the_names_of_the_old_one() {
        let first = |queued: i64| {
            let (_folder, store) = open();
            let item = queue_mail(&store, "hub", 'C', b"x");
            write(&store, |c| c.execute("UPDATE item SET queued = ?", [later(queued)]).map(drop));
            pack(&store, "hub", &[item]).sequence
        };
        assert_eq!(first(0), first(0));
        assert_ne!(first(0), first(24 * 3600));
    }

    #[test]
    fn sequence_names_have_four_characters() {
        for (number, expected) in [(0, "0000"), (35, "000Z"), (36, "0010"), (SEQUENCES - 1, "ZZZZ")] {
            assert_eq!(sequence_name(number), expected);
        }
    }
}
