//! News: the one way in, and which articles go where.
//!
//! **What is changed.** Our name is put before `Path`, and `Xref` is taken out; an article posted here gets the `Path`,
//! `Message-ID` and `Date` that it lacks. Nothing else, and not one byte of the text. Line ends are stored as LF.

use crate::base::limits::NEWSGROUPS_MAX;
use crate::base::names::{Grade, SiteName};
use crate::base::newsgroup::GroupName;
use crate::base::time::{Now, Timestamp};
use crate::store::articles::{NewArticle, Overview};
use crate::store::ledger::Fact;
use crate::store::{Cargo, Change, Hop, NewItem, StoreError, View};

mod article;
mod policy;

pub use article::{Article, Flaw};
pub use policy::{BatchForm, Compression, Feed, Policy};

/// Where an article comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A batch from a UUCP neighbour.
    Site(SiteName),
    /// IHAVE, by somebody at this address.
    Peer(String),
    /// POST, by a reader at this address.
    Poster(String),
    /// `rnews` or `inews` run by this local user.
    Local(String),
}

impl Source {
    /// Whether what is missing in the article is ours to add.
    fn is_poster(&self) -> bool {
        matches!(self, Self::Poster(_))
    }

    fn place(&self) -> String {
        match self {
            Self::Site(site) => site.to_string(),
            Self::Peer(name) | Self::Poster(name) | Self::Local(name) => name.clone(),
        }
    }
}

/// What became of an article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Filed under these numbers.
    Taken { message_id: String, placed: Vec<(GroupName, u64)> },
    /// We have it, or had it.
    Duplicate { message_id: String },
    /// Not wanted, now and later.
    Rejected { message_id: Option<String>, why: Rejection },
}

/// Why an article is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error(transparent)]
    Flaw(#[from] Flaw),
    #[error("we carry none of its groups: {0}")]
    NoGroup(String),
    #[error("it has been here: our name is in its Path")]
    PathLoop,
    #[error("it is older than what we remember")]
    TooOld,
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("posting to {0} is not allowed")]
    NoPosting(GroupName),
}

/// Whether an article with this Message-ID would be looked at: what IHAVE is answered by.
pub fn is_wanted(view: &View<'_>, message_id: &str) -> Result<bool, StoreError> {
    Ok(view.history(message_id)?.is_none())
}

/// The one way in. Files the article, queues it for every feed that takes it, and records it, in the caller's change.
///
/// `article` has LF or CRLF line ends. What is rejected for good is remembered, so that it is not offered twice.
pub fn accept(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    source: &Source,
    article: &[u8],
) -> Result<Verdict, StoreError> {
    let reject =
        |message_id: Option<&str>, why: Rejection| Verdict::Rejected { message_id: message_id.map(str::to_owned), why };
    if article.len() as u64 > policy.article_max {
        return Ok(reject(None, Rejection::TooLarge(policy.article_max)));
    }
    let poster = source.is_poster().then_some((now.wall, policy.domain.as_str()));
    let article = match Article::parse(article, poster) {
        Ok(article) => article,
        Err((message_id, flaw)) => {
            let verdict = reject(message_id.as_deref(), flaw.into());
            return note_rejection(change, now.wall, source, verdict);
        }
    };
    if change.history(&article.message_id)?.is_some() {
        return Ok(Verdict::Duplicate { message_id: article.message_id });
    }
    let groups = match carried(change, policy, now.wall, source, &article) {
        Ok(groups) => groups?,
        Err(why) => {
            let verdict = reject(Some(&article.message_id), why);
            return note_rejection(change, now.wall, source, verdict);
        }
    };
    file(change, policy, now.wall, source, article, groups)
}

/// Which of its groups we carry, made if the policy says so; or why it is not wanted.
fn carried(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Timestamp,
    source: &Source,
    article: &Article,
) -> Result<Result<Vec<GroupName>, StoreError>, Rejection> {
    if article.has_passed(&policy.path_name) {
        return Err(Rejection::PathLoop);
    }
    // The clock may be wrong by years; an article is then never too old.
    if article.date.is_some_and(|date| now.since(date) > policy.age_max) {
        return Err(Rejection::TooOld);
    }
    let mut groups = Vec::new();
    for name in article.groups.iter().take(NEWSGROUPS_MAX) {
        let group = match change.group(name) {
            Ok(group) => group,
            Err(error) => return Ok(Err(error)),
        };
        match group {
            Some(group) if source.is_poster() && group.status == 'n' => return Err(Rejection::NoPosting(name.clone())),
            Some(_) => groups.push(name.clone()),
            None if policy.create.matches(name.as_str()) && !source.is_poster() => {
                if let Err(error) = change.add_group(name, "", 'y', now) {
                    return Ok(Err(error));
                }
                groups.push(name.clone());
            }
            None => {}
        }
    }
    if groups.is_empty() {
        let names: Vec<&str> = article.groups.iter().take(5).map(GroupName::as_str).collect();
        return Err(Rejection::NoGroup(names.join(",")));
    }
    Ok(Ok(groups))
}

fn file(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Timestamp,
    source: &Source,
    article: Article,
    groups: Vec<GroupName>,
) -> Result<Verdict, StoreError> {
    let stored = article.stored(&policy.path_name);
    let size = stored.len() as u64;
    let body = change.keep_bytes(&stored)?;
    let overview = Overview { bytes: size, ..article.overview.clone() };
    let placed = change.add_article(NewArticle { overview, groups, body, arrived: now })?;
    let message_id = article.message_id.clone();
    for feed in policy.feeds.iter().filter(|feed| feed.takes(source, &article)) {
        let cargo = Cargo::Article { message_id: message_id.clone(), body };
        change.enqueue(NewItem { hop: feed.hop.clone(), cargo, grade: Grade::NEWS, queued: now })?;
    }
    let detail = placed.iter().map(|(group, number)| format!("{group}:{number}")).collect::<Vec<_>>().join(" ");
    change.record(fact(now, "accepted", source, &message_id, size, detail))?;
    Ok(Verdict::Taken { message_id, placed })
}

fn note_rejection(
    change: &mut Change<'_>,
    now: Timestamp,
    source: &Source,
    verdict: Verdict,
) -> Result<Verdict, StoreError> {
    if let Verdict::Rejected { message_id, why } = &verdict {
        let id = message_id.as_deref().unwrap_or("");
        // A poster may mend the article and post it again under the same name.
        if !id.is_empty() && !source.is_poster() && change.history(id)?.is_none() {
            change.remember(id, now)?;
        }
        change.record(fact(now, "refused", source, id, 0, why.to_string()))?;
    }
    Ok(verdict)
}

fn fact(at: Timestamp, verb: &'static str, source: &Source, id: &str, bytes: u64, detail: String) -> Fact {
    Fact { at, verb, what: "article", place: source.place(), id: id.to_owned(), bytes, detail }
}

impl Feed {
    /// Whether an article from `source` goes this way (RFC 5537 section 3.6; distributions as in INN).
    fn takes(&self, source: &Source, article: &Article) -> bool {
        let came_from_here = match (source, &self.hop) {
            (Source::Site(from), Hop::Site(to)) => from == to,
            _ => false,
        };
        !came_from_here
            && !self.path_names.iter().any(|name| article.has_passed(name))
            && self.groups.matches_any(article.groups.iter().map(GroupName::as_str))
            && self.takes_distribution(&article.distributions)
    }

    fn takes_distribution(&self, words: &[String]) -> bool {
        if words.is_empty() || self.distributions.is_empty() {
            return true;
        }
        let listed = |word: &String| self.distributions.iter().any(|d| d.eq_ignore_ascii_case(word));
        let refused = |word: &String| {
            self.distributions.iter().any(|d| d.strip_prefix('!').is_some_and(|d| d.eq_ignore_ascii_case(word)))
        };
        let only_negations = self.distributions.iter().all(|d| d.starts_with('!'));
        words.iter().any(listed) || (only_negations && !words.iter().any(refused))
    }
}
