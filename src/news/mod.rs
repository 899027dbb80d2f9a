//! News: the one way in, and which articles go where.
//!
//! **What is changed.** Our name is put before `Path`, and `Xref` is taken out; an article posted here gets the `Path`,
//! `Message-ID` and `Date` that it lacks. Line ends are stored as LF, and a last line without one gets it: no protocol can
//! carry such a line. Nothing else, and not one other byte of the text.
//!
//! **What is not done.** Control messages (`cancel`, `newgroup` and so on) are filed and sent on like any other article, and
//! nothing is done by them. Articles for moderated groups are not mailed to a moderator: without `Approved` they are refused.
//! An article from the future is taken, since it may be our clock that is wrong.

use crate::base::limits::{GROUPS_MAX, NEWSGROUPS_MAX};
use crate::base::names::{Grade, SiteName};
use crate::base::newsgroup::GroupName;
use crate::base::time::{Now, Timestamp};
use crate::store::articles::{NewArticle, Overview};
use crate::store::ledger::Fact;
use crate::store::{Cargo, Change, Hop, NewItem, StoreError, View};

mod article;
mod policy;
#[cfg(test)]
pub(crate) mod testing;

pub use article::{Article, Flaw};
pub use policy::{ANY_AGE, Feed, Policy};

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
    #[error("{0} is moderated, and no moderator has approved of it")]
    Unapproved(GroupName),
}

/// Why filing stops: a verdict, or trouble of ours.
enum Stop {
    Rejected(Rejection),
    Store(StoreError),
}

impl From<Rejection> for Stop {
    fn from(why: Rejection) -> Self {
        Self::Rejected(why)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether an article with this Message-ID would be looked at: what IHAVE is answered by.
pub fn is_wanted(view: &View<'_>, message_id: &str) -> Result<bool, StoreError> {
    Ok(view.history(message_id)?.is_none())
}

/// The one way in. Files the article, queues it for every feed that takes it, and records it, in the caller's change.
///
/// `article` has LF or CRLF line ends. What our rules reject is remembered, so that it is not offered twice. What is damaged is
/// not: it may come whole by another way.
pub fn accept(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    source: &Source,
    article: &[u8],
) -> Result<Verdict, StoreError> {
    let refuse = |change: &mut Change<'_>, message_id: Option<String>, why: Rejection| {
        let id = message_id.clone().unwrap_or_default();
        change.record(fact(now.wall, "refused", source, id, 0, why.to_string()))?;
        Ok(Verdict::Rejected { message_id, why })
    };
    if article.len() as u64 > policy.article_max {
        return refuse(change, None, Rejection::TooLarge(policy.article_max));
    }
    let poster = source.is_poster().then_some((now.wall, policy.domain.as_str()));
    let article = match Article::parse(article, poster) {
        Ok(article) => article,
        Err((message_id, flaw)) => return refuse(change, message_id, flaw.into()),
    };
    if change.history(&article.message_id)?.is_some() {
        return Ok(Verdict::Duplicate { message_id: article.message_id });
    }
    match carried(change, policy, now.wall, source, &article) {
        Ok(groups) => file(change, policy, now.wall, source, article, groups),
        Err(Stop::Store(error)) => Err(error),
        Err(Stop::Rejected(why)) => {
            // A poster may mend the article and post it again under the same name.
            if !source.is_poster() {
                change.remember(&article.message_id, now.wall)?;
            }
            refuse(change, Some(article.message_id), why)
        }
    }
}

/// Which of its groups we carry, made if the policy says so; or why it is not wanted (RFC 5537 sections 3.5 and 3.6).
fn carried(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Timestamp,
    source: &Source,
    article: &Article<'_>,
) -> Result<Vec<GroupName>, Stop> {
    if article.has_passed(&policy.path_name) {
        return Err(Rejection::PathLoop.into());
    }
    if article.date.is_some_and(|date| now.since(date) > policy.age_max) {
        return Err(Rejection::TooOld.into());
    }
    let (mut groups, mut new) = (Vec::new(), Vec::new());
    for name in article.groups.iter().take(NEWSGROUPS_MAX) {
        match change.group(name)?.map(|group| group.status) {
            Some('n') if source.is_poster() => return Err(Rejection::NoPosting(name.clone()).into()),
            Some('m') if !article.approved => return Err(Rejection::Unapproved(name.clone()).into()),
            Some(_) => groups.push(name.clone()),
            None if policy.create.matches(name.as_str()) && !source.is_poster() => new.push(name.clone()),
            None => {}
        }
    }
    // Made only now: an article that is refused makes none.
    for name in new {
        if change.group_count()? >= GROUPS_MAX {
            break;
        }
        change.add_group(&name, "", 'y', now)?;
        groups.push(name);
    }
    if groups.is_empty() {
        let names: Vec<&str> = article.groups.iter().take(5).map(GroupName::as_str).collect();
        return Err(Rejection::NoGroup(names.join(",")).into());
    }
    Ok(groups)
}

fn file(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Timestamp,
    source: &Source,
    article: Article<'_>,
    groups: Vec<GroupName>,
) -> Result<Verdict, StoreError> {
    let stored = article.stored(&policy.path_name);
    let body = change.keep_bytes(&stored)?;
    let overview = Overview { bytes: article::wire_size(&stored), ..article.overview.clone() };
    let placed = change.add_article(NewArticle { overview, groups, body, arrived: now })?;
    for feed in policy.feeds.iter().filter(|feed| feed.takes(source, &article)) {
        let cargo = Cargo::Article { message_id: article.message_id.clone(), body };
        change.enqueue(NewItem { hop: feed.hop.clone(), cargo, grade: Grade::NEWS, queued: now })?;
    }
    let message_id = article.message_id;
    let places = placed.iter().map(|(group, number)| format!("{group}:{number}")).collect::<Vec<_>>().join(" ");
    change.record(fact(now, "accepted", source, message_id.clone(), stored.len() as u64, places))?;
    Ok(Verdict::Taken { message_id, placed })
}

fn fact(at: Timestamp, verb: &'static str, source: &Source, id: String, bytes: u64, detail: String) -> Fact {
    Fact { at, verb, what: "article", place: source.place(), id, bytes, detail }
}

impl Feed {
    /// Whether an article from `source` goes this way (RFC 5537 section 3.6; distributions as in INN).
    fn takes(&self, source: &Source, article: &Article<'_>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::base::newsgroup::Wildmat;
    use crate::store::Store;
    use crate::store::articles::Known;

    fn taken(store: &Store, policy: &Policy, source: &Source, text: &str) -> String {
        let verdict = store.write(|change| accept(change, policy, now(), source, text.as_bytes()));
        match verdict.expect("the store works") {
            Verdict::Taken { placed, .. } => {
                placed.iter().map(|(group, number)| format!("{group}:{number}")).collect::<Vec<_>>().join(" ")
            }
            Verdict::Duplicate { .. } => "duplicate".to_owned(),
            Verdict::Rejected { why, .. } => why.to_string(),
        }
    }

    fn site(name: &str) -> Source {
        Source::Site(SiteName::parse(name).expect("a name"))
    }

    fn known(store: &Store, id: &str) -> Option<Known> {
        store.read(|view| view.history(id)).expect("the store works")
    }

    /// What becomes of an article in a store that carries `CARRIED`, and whether its Message-ID is known afterwards.
    fn check(source: &Source, text: &str, expected: &str, remembered: Option<Known>) {
        let (_dir, store) = open();
        assert_eq!(taken(&store, &village(), source, text), expected, "{text}");
        assert_eq!(known(&store, "<1@x>"), remembered, "{text}");
        if remembered != Some(Known::Here) {
            assert_eq!(queued(&store), [""; 0]);
        }
    }

    #[test]
    fn an_article_is_numbered_in_each_group_that_we_carry() {
        for (groups, expected) in [
            ("local.a", "local.a:1"),
            ("local.a,local.b,far.away", "local.a:1 local.b:1"),
            ("local.a, local.a", "local.a:1"),
            ("local.a,..bad..", "local.a:1"),
            ("local.closed", "local.closed:1"),
            ("new.born,local.a", "local.a:1 new.born:1"),
        ] {
            check(&site("hub"), &article("<1@x>", groups, "hub!not-for-mail"), expected, Some(Known::Here));
        }
    }

    #[test]
    fn what_is_not_wanted_is_remembered_and_what_is_damaged_is_not() {
        let good = article("<1@x>", "local.a", "hub!not-for-mail");
        let gone = Some(Known::Gone);
        for (text, expected, remembered) in [
            (good.replace("local.a", "far.away"), "we carry none of its groups: far.away", gone),
            (good.replace("hub!", "far!Village!hub!"), "it has been here: our name is in its Path", gone),
            (good.replace("hub!", "far!\n\tvillage!\n hub!"), "it has been here: our name is in its Path", gone),
            (good.replace(" 93 ", " 1903 "), "it is older than what we remember", gone),
            (
                good.replace("local.a", "local.a,local.mod"),
                "local.mod is moderated, and no moderator has approved of it",
                gone,
            ),
            (good.replace("Message-ID: <1@x>\n", ""), "it has no Message-ID", None),
            (good.replace("\n\ntext", "\ntext"), "a line of its header is no field: text", None),
            (good.replace("text\n", &"x".repeat(100_000)), "it is larger than 100000 bytes", None),
        ] {
            check(&site("hub"), &text, expected, remembered);
        }
    }

    #[test]
    fn a_refused_article_makes_no_group() {
        let (_dir, store) = open();
        let text = article("<1@x>", "new.born,local.mod", "hub!not-for-mail");
        assert!(taken(&store, &village(), &site("hub"), &text).starts_with("local.mod is moderated"));
        assert_eq!(store.read(|view| view.group(&group("new.born"))).expect("the store works"), None);
    }

    #[test]
    fn an_approved_article_goes_to_a_moderated_group() {
        let text = article("<1@x>", "local.mod", "hub!x").replace("Subject", "Approved: mod@x\nSubject");
        check(&site("hub"), &text, "local.mod:1", Some(Known::Here));
    }

    #[test]
    fn a_second_copy_changes_nothing() {
        let (_dir, store) = open();
        let text = article("<1@x>", "local.a", "far!not-for-mail");
        assert_eq!(taken(&store, &village(), &site("hub"), &text), "local.a:1");
        let before = queued(&store);
        assert_eq!(taken(&store, &village(), &Source::Peer("p".to_owned()), &text), "duplicate");
        let refused = article("<2@x>", "far.away", "far!not-for-mail");
        taken(&store, &village(), &site("hub"), &refused);
        assert_eq!(taken(&store, &village(), &site("hub"), &refused), "duplicate");
        assert_eq!(queued(&store), before);
        assert!(store.read(|view| is_wanted(view, "<3@x>")).expect("the store works"));
        assert!(!store.read(|view| is_wanted(view, "<2@x>")).expect("the store works"));
    }

    #[test]
    fn a_poster_gets_what_is_missing_and_may_mend_the_rest() {
        let poster = Source::Poster("192.0.2.1".to_owned());
        let (_dir, store) = open();
        let bare = "From: ann@x\nNewsgroups: local.a\nSubject: hi\n\ntext\n";
        assert_eq!(taken(&store, &village(), &poster, bare), "local.a:1");
        let shown = body(&store, "local.a", 1);
        let (first, rest) = shown.split_once('\n').expect("a line");
        assert_eq!(first, "Path: village!not-for-mail");
        assert!(
            rest.starts_with("From: ann@x\nNewsgroups: local.a\nSubject: hi\nDate: Thu, 28 May 2026 20:26:40 +0000\n")
        );
        assert!(rest.contains("\nMessage-ID: <") && rest.ends_with("@village.example>\n\ntext\n"), "{rest}");
        for (from, to, expected) in [
            ("local.a", "local.closed", "posting to local.closed is not allowed"),
            ("local.a", "local.mod", "local.mod is moderated, and no moderator has approved of it"),
            ("local.a", "new.born", "we carry none of its groups: new.born"),
            ("Subject: hi\n", "", "it has no Subject"),
            ("Subject: hi\n", "Subject: hi\nMessage-ID: <bad>\n", "its Message-ID is malformed"),
        ] {
            let text = bare.replace(from, to);
            assert_eq!(taken(&store, &village(), &poster, &text), expected);
        }
        check(&poster, &article("<1@x>", "far.away", "x"), "we carry none of its groups: far.away", None);
    }

    #[test]
    fn a_feed_takes_its_groups_and_nothing_that_has_been_there() {
        let hub = site("hub");
        let peer = Source::Peer("192.0.2.1".to_owned());
        for (source, groups, path, more, expected) in [
            (&peer, "local.a", "far!x", "", vec!["leaf", "hub", "up"]),
            (&hub, "local.a", "far!x", "", vec!["leaf", "up"]),
            (&peer, "local.a", "far!UP.example!x", "", vec!["leaf", "hub"]),
            (&peer, "local.a", "hub!far!leaf!x", "", vec!["up"]),
            (&peer, "local.a", "far!hub", "", vec!["leaf", "hub", "up"]),
            (&peer, "local.b", "far!x", "", vec!["hub"]),
            (&peer, "local.b,local.a", "far!x", "", vec!["leaf", "hub", "up"]),
            (&peer, "local.a,local.secret", "far!x", "", vec!["hub"]),
            (&peer, "local.a", "far!x", "Distribution: world\n", vec!["leaf", "hub"]),
            (&peer, "local.a", "far!x", "Distribution: local, usa\n", vec!["leaf", "hub", "up"]),
        ] {
            let (_dir, store) = open();
            let text = article("<1@x>", groups, path).replace("Subject", &format!("{more}Subject"));
            taken(&store, &village(), source, &text);
            let hops: Vec<String> = queued(&store).iter().map(|line| line.replace(" <1@x>", "")).collect();
            assert_eq!(hops, expected, "{groups} {path} {more}");
        }
    }

    #[test]
    fn distributions_may_be_excluded() {
        let mut policy = village();
        policy.feeds.truncate(1);
        policy.feeds[0].distributions = vec!["!local".to_owned()];
        for (words, expected) in [("local", 0), ("world", 1), ("world,local", 0)] {
            let (_dir, store) = open();
            let text = article("<1@x>", "local.a", "x").replace("Subject", &format!("Distribution: {words}\nSubject"));
            taken(&store, &policy, &site("hub"), &text);
            assert_eq!(queued(&store).len(), expected, "{words}");
        }
    }

    #[test]
    fn groups_are_made_up_to_a_limit_and_only_where_we_want() {
        let (_dir, store) = open();
        let policy = Policy { create: Wildmat::parse("*,!alt.*"), ..village() };
        let text = article("<1@x>", "alt.x,comp.y", "x");
        assert_eq!(taken(&store, &policy, &site("hub"), &text), "comp.y:1");
        let filled: Result<(), StoreError> = store.write(|change| {
            let count = change.group_count()?;
            for n in count..GROUPS_MAX {
                change.add_group(&group(&format!("g.{n}")), "", 'y', now().wall)?;
            }
            Ok(())
        });
        filled.expect("the store works");
        let text = article("<2@x>", "comp.z", "x");
        assert_eq!(taken(&store, &policy, &site("hub"), &text), "we carry none of its groups: comp.z");
    }

    #[test]
    fn every_deed_is_in_the_ledger() {
        let (_dir, store) = open();
        let hub = site("hub");
        taken(&store, &village(), &hub, &article("<1@x>", "local.a,local.b", "x"));
        taken(&store, &village(), &hub, &article("<2@x>", "far.away", "x"));
        taken(&store, &village(), &hub, "nonsense");
        assert_eq!(
            facts(&store),
            [
                "accepted article hub <1@x>: local.a:1 local.b:1",
                "refused article hub <2@x>: we carry none of its groups: far.away",
                "refused article hub : a line of its header is no field: nonsense",
            ]
        );
    }

    #[test]
    fn control_messages_are_articles_like_others() {
        let (_dir, store) = open();
        taken(&store, &village(), &site("hub"), &article("<1@x>", "local.a", "x"));
        let cancel = article("<2@x>", "local.a", "x").replace("Subject: hi", "Subject: cmsg\nControl: cancel <1@x>");
        assert_eq!(taken(&store, &village(), &site("hub"), &cancel), "local.a:2");
        assert_eq!(known(&store, "<1@x>"), Some(Known::Here));
    }
}
