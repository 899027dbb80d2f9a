//! What the tests of news and of the NNTP dialogues begin with.

use std::time::Duration;

use tempfile::TempDir;

use super::{Feed, Policy};
use crate::base::names::{PeerName, SiteName};
use crate::base::newsgroup::{GroupName, Wildmat};
use crate::base::time::{Now, Timestamp};
use crate::store::queue::ItemFilter;
use crate::store::{Cargo, Hop, Store, StoreError};

pub(crate) fn now() -> Now {
    Now { wall: Timestamp::from_seconds(1_780_000_000), ..Now::default() }
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::parse(name).expect("a group name")
}

/// `local.a`, `local.b` and `local.secret` are open, `local.closed` and `local.mod` are what they say. Made on 1 June 2001.
pub(crate) fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(dir.path()).expect("a new store");
    let made: Result<(), StoreError> = store.write(|change| {
        let created = Timestamp::from_seconds(991_353_600);
        for (name, status) in
            [("local.a", 'y'), ("local.b", 'y'), ("local.secret", 'y'), ("local.closed", 'n'), ("local.mod", 'm')]
        {
            change.add_group(&group(name), &format!("About {name}"), status, created)?;
        }
        Ok(())
    });
    made.expect("an empty store takes groups");
    (dir, store)
}

/// Feeds to `leaf` and `hub` over UUCP and to `up` over NNTP; groups in `new.*` are made when an article comes.
pub(crate) fn village() -> Policy {
    let site = |name: &str| Hop::Site(SiteName::parse(name).expect("a name"));
    let feed = |hop, path_name: &str, groups: &str| Feed {
        hop,
        path_names: vec![path_name.to_owned()],
        groups: Wildmat::parse(groups),
        distributions: Vec::new(),
    };
    let up = feed(Hop::Nntp(PeerName::parse("up").expect("a name")), "up.example", "local.*,!local.b,@local.secret");
    Policy {
        path_name: "village".to_owned(),
        domain: "village.example".to_owned(),
        create: Wildmat::parse("new.*"),
        article_max: 100_000,
        age_max: Duration::from_secs(50 * 365 * 24 * 3600),
        feeds: vec![
            feed(site("leaf"), "leaf", "local.a,@local.secret"),
            feed(site("hub"), "hub", "*"),
            Feed { distributions: vec!["local".to_owned()], ..up },
        ],
    }
}

/// An article as it comes from elsewhere, with LF.
pub(crate) fn article(id: &str, groups: &str, path: &str) -> String {
    format!(
        "Path: {path}\nFrom: ann@x\nNewsgroups: {groups}\nSubject: hi\nMessage-ID: {id}\n\
         Date: 5 Apr 93 18:01:16 GMT\n\ntext\n"
    )
}

/// The bytes stored for an article.
pub(crate) fn body(store: &Store, name: &str, number: u64) -> String {
    let bytes: Result<Vec<u8>, StoreError> = store.read(|view| {
        let found = view.article_at(&group(name), number)?.expect("an article");
        Ok(view.body(found.body)?.bytes(1_000_000).expect("a short body"))
    });
    String::from_utf8(bytes.expect("the store works")).expect("text")
}

/// Hop and Message-ID of what waits, in order.
pub(crate) fn queued(store: &Store) -> Vec<String> {
    let items = store.read(|view| view.items(&ItemFilter::default())).expect("the store works");
    let line = |item: crate::store::Item| {
        let hop = match item.hop {
            Hop::Site(site) => site.to_string(),
            Hop::Nntp(peer) => peer.to_string(),
            other @ (Hop::Smtp { .. } | Hop::Maildir(_)) => panic!("{other:?}"),
        };
        match item.cargo {
            Cargo::Article { message_id, .. } => format!("{hop} {message_id}"),
            other => format!("{hop} {other:?}"),
        }
    };
    items.into_iter().map(line).collect()
}

pub(crate) fn facts(store: &Store) -> Vec<String> {
    let entries = store.read(|view| view.ledger(0, 1000)).expect("the store works");
    entries.iter().map(|e| format!("{} {} {} {}: {}", e.verb, e.what, e.place, e.id, e.detail)).collect()
}
