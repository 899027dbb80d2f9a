//! Articles: groups with their numbers, overview, and the history by Message-ID.

use std::ops::RangeInclusive;

use rusqlite::{Row, params};

use super::rows::{count, integer, one_character};
use super::{BodyId, Change, StoreError, View};
use crate::base::newsgroup::GroupName;
use crate::base::time::Timestamp;

/// A group we carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: GroupName,
    pub description: String,
    /// As in LIST ACTIVE: `y` posting allowed, `n` not, `m` moderated.
    pub status: char,
    /// Lowest and highest number, and how many are there. Empty: low = high + 1 (RFC 3977 section 6.1.1.2).
    pub low: u64,
    pub high: u64,
    pub count: u64,
    pub created: Timestamp,
}

/// The fields of the overview (RFC 3977 section 8.1), tabs and line ends already blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    pub subject: String,
    pub from: String,
    pub date: String,
    pub message_id: String,
    pub references: String,
    pub bytes: u64,
    pub lines: u64,
}

/// An article to be filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArticle {
    pub overview: Overview,
    pub groups: Vec<GroupName>,
    pub body: BodyId,
    pub arrived: Timestamp,
}

/// An article as filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    pub overview: Overview,
    pub body: BodyId,
    pub arrived: Timestamp,
    /// Where it stands.
    pub placed: Vec<(GroupName, u64)>,
}

/// An article in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Where the next look goes on.
    pub place: (Timestamp, i64),
    pub message_id: String,
    /// The groups that it stands in, joined by commas.
    pub groups: String,
}

/// What the history knows of a Message-ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Filed.
    Here,
    /// Seen, and refused, expired or cancelled: not wanted again.
    Gone,
}

/// A number is counted here in 64 bits and there in 63.
fn bounds(range: &RangeInclusive<u64>) -> (i64, i64) {
    (integer(*range.start()), integer(*range.end()))
}

fn overview(row: &Row<'_>) -> rusqlite::Result<Overview> {
    Ok(Overview {
        subject: row.get("subject")?,
        from: row.get("author")?,
        date: row.get("date")?,
        message_id: row.get("message_id")?,
        references: row.get("refs")?,
        bytes: count(row, "bytes")?,
        lines: count(row, "lines")?,
    })
}

fn group(row: &Row<'_>) -> rusqlite::Result<Group> {
    let (high, low) = (count(row, "high")?, row.get::<_, Option<i64>>("low")?);
    Ok(Group {
        name: row.get("name")?,
        description: row.get("description")?,
        status: one_character(&row.get::<_, String>("status")?).unwrap_or('n'),
        low: low.map_or(high + 1, |n| u64::try_from(n).unwrap_or(0)),
        high,
        count: count(row, "count")?,
        created: row.get("created")?,
    })
}

const GROUP: &str = "SELECT name, description, status, high, count, created,
    (SELECT min(number) FROM placed WHERE newsgroup = newsgroup.id) AS low FROM newsgroup";

impl View<'_> {
    /// All groups, by name.
    pub fn groups(&self) -> Result<Vec<Group>, StoreError> {
        self.rows(&format!("{GROUP} ORDER BY name"), [], group)
    }

    /// Groups behind this name in the order of names, `limit` at most: a listing in pieces begins with the empty name.
    pub fn groups_after(&self, name: &str, limit: usize) -> Result<Vec<Group>, StoreError> {
        let sql = format!("{GROUP} WHERE name > ? ORDER BY name LIMIT ?");
        self.rows(&sql, params![name, integer(limit as u64)], group)
    }

    /// How many groups there are.
    pub fn group_count(&self) -> Result<u64, StoreError> {
        let found = self.row("SELECT count(*) AS groups FROM newsgroup", [], |row| count(row, "groups"))?;
        Ok(found.unwrap_or(0))
    }

    /// One group, if we carry it.
    pub fn group(&self, name: &GroupName) -> Result<Option<Group>, StoreError> {
        self.row(&format!("{GROUP} WHERE name = ?"), [name], group)
    }

    /// Whether an article of this Message-ID was here before.
    pub fn history(&self, message_id: &str) -> Result<Option<Known>, StoreError> {
        let known = |here: bool| if here { Known::Here } else { Known::Gone };
        let sql = "SELECT 1 FROM article WHERE message_id = ?1
                   UNION ALL SELECT 0 FROM gone WHERE message_id = ?1 LIMIT 1";
        Ok(self.row(sql, [message_id], |row| row.get(0))?.map(known))
    }

    /// One article with all its places.
    pub fn article(&self, message_id: &str) -> Result<Option<Article>, StoreError> {
        let sql = "SELECT * FROM article WHERE message_id = ?";
        let found = self.row(sql, [message_id], |row| {
            Ok((row.get::<_, i64>("id")?, overview(row)?, row.get("body")?, row.get("arrived")?))
        })?;
        let Some((id, overview, body, arrived)) = found else { return Ok(None) };
        let sql = "SELECT name, number FROM placed JOIN newsgroup ON newsgroup.id = placed.newsgroup
                   WHERE article = ? ORDER BY name";
        let placed = self.rows(sql, [id], |row| Ok((row.get("name")?, count(row, "number")?)))?;
        Ok(Some(Article { overview, body, arrived, placed }))
    }

    /// The same by its place.
    pub fn article_at(&self, group: &GroupName, number: u64) -> Result<Option<Article>, StoreError> {
        let sql = "SELECT message_id FROM placed JOIN article ON article.id = placed.article
                   WHERE newsgroup = (SELECT id FROM newsgroup WHERE name = ?) AND number = ?";
        match self.row(sql, params![group, integer(number)], |row| row.get::<_, String>(0))? {
            Some(message_id) => self.article(&message_id),
            None => Ok(None),
        }
    }

    /// Number and overview of what is there in the range, in order, `limit` at most.
    pub fn overview(
        &self,
        group: &GroupName,
        range: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Overview)>, StoreError> {
        let sql = "SELECT placed.number AS number, article.* FROM placed JOIN article ON article.id = placed.article
                   WHERE newsgroup = (SELECT id FROM newsgroup WHERE name = ?) AND number BETWEEN ? AND ?
                   ORDER BY number LIMIT ?";
        let (first, last) = bounds(&range);
        self.rows(sql, params![group, first, last, integer(limit as u64)], |row| {
            Ok((count(row, "number")?, overview(row)?))
        })
    }

    /// The numbers in the range, in order, `limit` at most.
    pub fn numbers(&self, group: &GroupName, range: RangeInclusive<u64>, limit: usize) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT number FROM placed WHERE newsgroup = (SELECT id FROM newsgroup WHERE name = ?)
                   AND number BETWEEN ? AND ? ORDER BY number LIMIT ?";
        let (first, last) = bounds(&range);
        self.rows(sql, params![group, first, last, integer(limit as u64)], |row| count(row, "number"))
    }

    /// The nearest article after (or before) this number.
    pub fn neighbour(&self, group: &GroupName, number: u64, forward: bool) -> Result<Option<u64>, StoreError> {
        let sql = match forward {
            true => {
                "SELECT number FROM placed WHERE newsgroup = (SELECT id FROM newsgroup WHERE name = ?)
                 AND number > ? ORDER BY number LIMIT 1"
            }
            false => {
                "SELECT number FROM placed WHERE newsgroup = (SELECT id FROM newsgroup WHERE name = ?)
                 AND number < ? ORDER BY number DESC LIMIT 1"
            }
        };
        self.row(sql, params![group, integer(number)], |row| count(row, "number"))
    }

    /// What arrived behind this place, in order, `limit` at most. All that arrived at a time or later stands behind
    /// `(time, 0)`.
    pub fn arrivals(&self, behind: (Timestamp, i64), limit: usize) -> Result<Vec<Arrival>, StoreError> {
        let sql = "SELECT id, arrived, message_id,
                       (SELECT group_concat(name, ',') FROM placed JOIN newsgroup ON newsgroup.id = placed.newsgroup
                        WHERE placed.article = article.id) AS groups
                   FROM article WHERE (arrived, id) > (?, ?) ORDER BY arrived, id LIMIT ?";
        self.rows(sql, params![behind.0, behind.1, integer(limit as u64)], |row| {
            Ok(Arrival {
                place: (row.get("arrived")?, row.get("id")?),
                message_id: row.get("message_id")?,
                groups: row.get::<_, Option<String>>("groups")?.unwrap_or_default(),
            })
        })
    }
}

impl Change<'_> {
    /// Whether it is new. One that is there stays as it is.
    pub fn add_group(
        &mut self,
        name: &GroupName,
        description: &str,
        status: char,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT OR IGNORE INTO newsgroup (name, description, status, created) VALUES (?, ?, ?, ?)";
        self.execute(sql, params![name, description, status.to_string(), now]).map(|n| n > 0)
    }

    /// Files an article: numbers in each of its groups (which all exist), overview, history. It must not be in the
    /// history: look there in the same change.
    pub fn add_article(&mut self, article: NewArticle) -> Result<Vec<(GroupName, u64)>, StoreError> {
        let overview = &article.overview;
        if let Some(known) = self.history(&overview.message_id)? {
            return Err(StoreError::Damaged(format!("{} is in the history already: {known:?}", overview.message_id)));
        }
        self.count_body(article.body)?;
        let sql = "INSERT INTO article (message_id, subject, author, date, refs, bytes, lines, body, arrived)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let row = params![
            overview.message_id,
            overview.subject,
            overview.from,
            overview.date,
            overview.references,
            integer(overview.bytes),
            integer(overview.lines),
            article.body,
            article.arrived
        ];
        let id = self.insert(sql, row)?;
        let mut placed: Vec<(GroupName, u64)> = Vec::with_capacity(article.groups.len());
        for name in article.groups {
            if placed.iter().any(|(there, _)| *there == name) {
                continue;
            }
            let sql = "UPDATE newsgroup SET high = high + 1, count = count + 1 WHERE name = ? RETURNING id, high";
            let place = self.row(sql, [&name], |row| Ok((row.get::<_, i64>("id")?, count(row, "high")?)))?;
            let (newsgroup, number) = place.ok_or_else(|| StoreError::Damaged(format!("no group {name}")))?;
            let sql = "INSERT INTO placed (newsgroup, number, article) VALUES (?, ?, ?)";
            self.execute(sql, params![newsgroup, integer(number), id])?;
            placed.push((name, number));
        }
        Ok(placed)
    }

    /// Takes an article out of all its groups and remembers it as gone; whether it was there.
    pub fn remove_article(&mut self, message_id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT id, body FROM article WHERE message_id = ?";
        let found = self.row(sql, [message_id], |row| Ok((row.get::<_, i64>("id")?, row.get("body")?)))?;
        let Some((id, body)) = found else { return Ok(false) };
        let sql = "UPDATE newsgroup SET count = count - 1 WHERE id IN (SELECT newsgroup FROM placed WHERE article = ?)";
        self.execute(sql, [id])?;
        self.execute("DELETE FROM placed WHERE article = ?", [id])?;
        self.execute("DELETE FROM article WHERE id = ?", [id])?;
        self.release_body(body)?;
        self.remember(message_id, now)?;
        Ok(true)
    }

    /// Forgets what is gone and was noted before that time: nobody offers it any more. How many there were.
    pub fn forget_gone(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        self.execute("DELETE FROM gone WHERE noted < ?", [before])
    }

    /// Notes a Message-ID without an article, so that it is not taken later.
    pub fn remember(&mut self, message_id: &str, now: Timestamp) -> Result<(), StoreError> {
        self.execute("INSERT OR IGNORE INTO gone (message_id, noted) VALUES (?, ?)", params![message_id, now]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::testing::*;
    use super::*;

    fn name(text: &str) -> GroupName {
        GroupName::parse(text).expect("a group name")
    }

    fn carry(store: &Store, groups: &[&str]) {
        for group in groups {
            assert!(write(store, |c| c.add_group(&name(group), "About it", 'y', NOW)));
        }
    }

    fn new(id: &str, groups: &[&str], body: BodyId, arrived: Timestamp) -> NewArticle {
        let overview = Overview {
            subject: format!("About {id}"),
            from: "ann@x".to_owned(),
            date: "Thu, 01 Jan 1970 00:00:00 +0000".to_owned(),
            message_id: id.to_owned(),
            references: "<0@x>".to_owned(),
            bytes: 100,
            lines: 5,
        };
        NewArticle { overview, groups: groups.iter().map(|g| name(g)).collect(), body, arrived }
    }

    fn file(store: &Store, id: &str, groups: &[&str]) -> Result<Vec<(GroupName, u64)>, StoreError> {
        store.write(|c| {
            let body = c.keep_bytes(b"article")?;
            c.add_article(new(id, groups, body, NOW))
        })
    }

    fn water_marks(store: &Store, group: &str) -> (u64, u64, u64) {
        let group = read(store, |v| v.group(&name(group))).expect("a group");
        (group.low, group.high, group.count)
    }

    #[test]
    fn an_article_gets_a_number_in_each_of_its_groups_and_comes_back() {
        let (_folder, store) = open();
        carry(&store, &["a.b", "a.c"]);
        assert_eq!(water_marks(&store, "a.b"), (1, 0, 0));
        assert_eq!(file(&store, "<1@x>", &["a.b"]).expect("filed"), [(name("a.b"), 1)]);
        let placed = file(&store, "<2@x>", &["a.c", "a.b", "a.c"]).expect("filed");
        assert_eq!(placed, [(name("a.c"), 1), (name("a.b"), 2)]);
        assert_eq!(water_marks(&store, "a.b"), (1, 2, 2));
        let article = read(&store, |v| v.article("<2@x>")).expect("an article");
        assert_eq!(article.placed, [(name("a.b"), 2), (name("a.c"), 1)]);
        assert_eq!(article.overview, new("<2@x>", &[], article.body, NOW).overview);
        assert_eq!(read(&store, |v| v.article_at(&name("a.c"), 1)), Some(article.clone()));
        assert_eq!(read(&store, |v| v.article_at(&name("a.c"), 2)), None);
        assert_eq!(read(&store, |v| v.body(article.body)).bytes(99).expect("readable"), b"article");
        assert!(!write(&store, |c| c.add_group(&name("a.b"), "Anew", 'm', NOW)));
        assert_eq!(read(&store, |v| v.groups()).len(), 2);
    }

    #[test]
    fn what_the_history_knows_is_not_filed_again() {
        let (_folder, store) = open();
        carry(&store, &["a.b"]);
        file(&store, "<1@x>", &["a.b"]).expect("filed");
        write(&store, |c| c.remember("<2@x>", NOW));
        for (id, expected) in [("<1@x>", Some(Known::Here)), ("<2@x>", Some(Known::Gone)), ("<3@x>", None)] {
            assert_eq!(read(&store, |v| v.history(id)), expected);
            assert_eq!(file(&store, id, &["a.b"]).is_ok(), expected.is_none());
        }
        assert_eq!(water_marks(&store, "a.b"), (1, 2, 2));
        assert!(file(&store, "<4@x>", &["a.b", "not.carried"]).is_err());
        assert_eq!(read(&store, |v| v.history("<4@x>")), None);
    }

    #[test]
    fn what_is_long_gone_can_be_forgotten() {
        let (_folder, store) = open();
        for (id, noted) in [("<1@x>", 10), ("<2@x>", 20)] {
            write(&store, |c| c.remember(id, later(noted)));
        }
        assert_eq!(write(&store, |c| c.forget_gone(later(20))), 1);
        assert_eq!(read(&store, |v| v.history("<1@x>")), None);
        assert_eq!(read(&store, |v| v.history("<2@x>")), Some(Known::Gone));
    }

    #[test]
    fn a_removed_article_leaves_a_gap_and_is_not_taken_again() {
        let (_folder, store) = open();
        carry(&store, &["a.b", "a.c"]);
        for n in 1..=4 {
            file(&store, &format!("<{n}@x>"), &["a.b"]).expect("filed");
        }
        for gone in ["<1@x>", "<3@x>"] {
            assert!(write(&store, |c| c.remove_article(gone, NOW)));
            assert!(!write(&store, |c| c.remove_article(gone, NOW)));
        }
        assert_eq!(water_marks(&store, "a.b"), (2, 4, 2));
        assert_eq!(read(&store, |v| v.history("<3@x>")), Some(Known::Gone));
        assert!(file(&store, "<3@x>", &["a.b"]).is_err());
        assert_eq!(read(&store, |v| v.numbers(&name("a.b"), 1..=u64::MAX, 9)), [2, 4]);
        assert_eq!(read(&store, |v| v.numbers(&name("a.b"), 1..=u64::MAX, 1)), [2]);
        for (number, forward, expected) in
            [(2, true, Some(4)), (4, true, None), (4, false, Some(2)), (2, false, None), (0, true, Some(2))]
        {
            assert_eq!(read(&store, |v| v.neighbour(&name("a.b"), number, forward)), expected, "{number} {forward}");
        }
        for rest in ["<2@x>", "<4@x>"] {
            write(&store, |c| c.remove_article(rest, NOW));
        }
        assert_eq!(water_marks(&store, "a.b"), (5, 4, 0));
        assert_eq!(remains(&store), (0, 0, 0));
    }

    #[test]
    fn the_overview_comes_in_order_and_within_the_range() {
        let (_folder, store) = open();
        carry(&store, &["a.b"]);
        for n in 1..=20 {
            file(&store, &format!("<{n}@x>"), &["a.b"]).expect("filed");
        }
        let numbers = |range, limit| {
            let found = read(&store, |v| v.overview(&name("a.b"), range, limit));
            found.iter().for_each(|(n, overview)| assert_eq!(overview.message_id, format!("<{n}@x>")));
            found.iter().map(|(n, _)| *n).collect::<Vec<_>>()
        };
        assert_eq!(numbers(9..=11, 99), [9, 10, 11]);
        assert_eq!(numbers(18..=u64::MAX, 2), [18, 19]);
        assert_eq!(numbers(RangeInclusive::new(21, 5), 9), [0; 0]);
    }

    #[test]
    fn new_articles_are_those_that_arrived_since() {
        let (_folder, store) = open();
        carry(&store, &["a.b", "a.c"]);
        for (id, arrived, groups) in
            [("<1@x>", 30, ["a.b"].as_slice()), ("<2@x>", 10, &["a.b"]), ("<3@x>", 20, &["a.c", "a.b"])]
        {
            write(&store, |c| {
                let body = c.keep_bytes(b"x")?;
                c.add_article(new(id, groups, body, later(arrived)))
            });
        }
        let found = read(&store, |v| v.arrivals((later(20), 0), 9));
        let shown: Vec<(&str, &str)> = found.iter().map(|a| (a.message_id.as_str(), a.groups.as_str())).collect();
        assert!(shown == [("<3@x>", "a.c,a.b"), ("<1@x>", "a.b")] || shown == [("<3@x>", "a.b,a.c"), ("<1@x>", "a.b")]);
        let first = read(&store, |v| v.arrivals((NOW, 0), 1)).remove(0);
        assert_eq!(first.message_id, "<2@x>");
        let next = read(&store, |v| v.arrivals(first.place, 1)).remove(0);
        assert_eq!(next.message_id, "<3@x>");
    }

    #[test]
    fn groups_come_in_pieces_and_are_counted() {
        let (_folder, store) = open();
        assert_eq!(read(&store, |v| v.group_count()), 0);
        carry(&store, &["b.c", "a.c", "a.b"]);
        let names = |after, limit| {
            let groups = read(&store, |v| v.groups_after(after, limit));
            groups.into_iter().map(|g| g.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("", 2), ["a.b", "a.c"]);
        assert_eq!(names("a.c", 2), ["b.c"]);
        assert_eq!(names("b.c", 2), [""; 0]);
        assert_eq!(read(&store, |v| v.group_count()), 3);
    }
}
