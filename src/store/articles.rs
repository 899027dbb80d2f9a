//! Articles: groups with their numbers, overview, and the history by Message-ID.

use std::ops::RangeInclusive;

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

/// What the history knows of a Message-ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Filed.
    Here,
    /// Seen, and refused, expired or cancelled: not wanted again.
    Gone,
}

impl View<'_> {
    pub fn groups(&self) -> Result<Vec<Group>, StoreError> {
        unimplemented!()
    }
    pub fn group(&self, _name: &GroupName) -> Result<Option<Group>, StoreError> {
        unimplemented!()
    }
    pub fn history(&self, _message_id: &str) -> Result<Option<Known>, StoreError> {
        unimplemented!()
    }
    pub fn article(&self, _message_id: &str) -> Result<Option<Article>, StoreError> {
        unimplemented!()
    }
    pub fn article_at(&self, _group: &GroupName, _number: u64) -> Result<Option<Article>, StoreError> {
        unimplemented!()
    }
    /// Number and overview of what is there in the range, in order, `limit` at most.
    pub fn overview(
        &self,
        _group: &GroupName,
        _range: RangeInclusive<u64>,
        _limit: usize,
    ) -> Result<Vec<(u64, Overview)>, StoreError> {
        unimplemented!()
    }
    /// The numbers in the range, in order.
    pub fn numbers(&self, _group: &GroupName, _range: RangeInclusive<u64>) -> Result<Vec<u64>, StoreError> {
        unimplemented!()
    }
    /// The nearest article after (or before) this number.
    pub fn neighbour(&self, _group: &GroupName, _number: u64, _forward: bool) -> Result<Option<u64>, StoreError> {
        unimplemented!()
    }
    /// Message-IDs that arrived since, in order, `limit` at most.
    pub fn arrived_since(&self, _since: Timestamp, _limit: usize) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    /// Whether it is new.
    pub fn add_group(
        &mut self,
        _name: &GroupName,
        _description: &str,
        _status: char,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Files an article: numbers in each of its groups (which all exist), overview, history. It must not be in the history.
    pub fn add_article(&mut self, _article: NewArticle) -> Result<Vec<(GroupName, u64)>, StoreError> {
        unimplemented!()
    }
    /// Notes a Message-ID without an article, so that it is not taken later.
    pub fn remember(&mut self, _message_id: &str, _now: Timestamp) -> Result<(), StoreError> {
        unimplemented!()
    }
}
