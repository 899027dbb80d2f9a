//! Deliveries to everything that is no UUCP site: SMTP hosts, NNTP peers, Maildirs.

use std::sync::Arc;

use tokio::task::block_in_place;

use super::Shared;
use crate::base::names::{Grade, UserName};
use crate::base::words::with_causes;
use crate::files::maildir;
use crate::gate::nntp_out::NntpOut;
use crate::gate::smtp_out::{Ended, SmtpOut};
use crate::link;
use crate::mail::delivery::{self, Verdict};
use crate::mail::rmail::BodyReader;
use crate::store::{Cargo, Hop, Item, StoreError};

/// Items delivered to a Maildir in one go.
const RUN: usize = 100;

/// Delivers what is ready for a hop. What cannot be delivered now waits for its next attempt.
pub(super) async fn run(shared: &Shared, hop: &Hop) {
    let result = match hop {
        Hop::Smtp { host, port } => smtp(shared, hop, host, *port).await,
        Hop::Nntp(_) => nntp(shared, hop).await,
        Hop::Maildir(user) => block_in_place(|| to_maildir(shared, hop, user)),
        // Calls are the scheduler's.
        Hop::Site(_) => Ok(()),
    };
    if let Err(error) = result {
        tracing::error!(?hop, error = with_causes(&error), "cannot deliver");
    }
}

async fn smtp(shared: &Shared, hop: &Hop, host: &str, port: u16) -> Result<(), StoreError> {
    let (clock, policy) = (shared.context.clock, Arc::clone(&shared.config.mail));
    let (sent, failure) = match link::connect(&format!("{host}:{port}")).await {
        Err(error) => (false, Some(with_causes(&error))),
        Ok(mut link) => {
            let mut nudges = shared.nudges.subscribe();
            let mut client = SmtpOut::new(shared.store.clone(), policy, host, port, clock());
            let (outcome, _) = link::drive(&mut link, &mut client, &[], &mut nudges, clock).await;
            tracing::info!(host, port, items = outcome.items.len(), ended = ?outcome.ended, "SMTP delivery");
            let failure = match outcome.ended {
                Ended::Done => None,
                // The host has done nothing wrong, but going on at once would fill the log.
                Ended::Store(why) | Ended::Failed(why) => Some(why),
            };
            (outcome.items.iter().any(|(_, settled)| settled.sent > 0), failure)
        }
    };
    note_connection(shared, hop, sent, failure)
}

/// Lets a hop wait that could not be reached, and forgets the trouble of one that could.
fn note_connection(shared: &Shared, hop: &Hop, sent: bool, failure: Option<String>) -> Result<(), StoreError> {
    let now = shared.context.now();
    match failure {
        Some(why) => {
            tracing::warn!(?hop, why, "cannot be reached, or broke off");
            block_in_place(|| shared.store.write(|change| delivery::defer_hop(change, now, hop, sent, &why)))
        }
        None => block_in_place(|| match shared.store.read::<_, StoreError>(|view| view.hop_trouble(hop))? {
            Some(_) => shared.store.write(|change| delivery::hop_reached(change, hop)),
            None => Ok(()),
        }),
    }
}

async fn nntp(shared: &Shared, hop: &Hop) -> Result<(), StoreError> {
    let clock = shared.context.clock;
    let Hop::Nntp(name) = hop else { return Ok(()) };
    let (sent, failure) = match shared.config.peers.iter().find(|p| p.name == *name) {
        None => (false, Some("it is not in the configuration any more".to_owned())),
        Some(peer) => match link::connect(&peer.address).await {
            Err(error) => (false, Some(with_causes(&error))),
            Ok(mut link) => {
                let mut nudges = shared.nudges.subscribe();
                let mut client = NntpOut::new(shared.store.clone(), name.clone(), clock());
                let (outcome, _) = link::drive(&mut link, &mut client, &[], &mut nudges, clock).await;
                tracing::info!(peer = %name, sent = outcome.sent, refused = outcome.refused, "NNTP delivery");
                (outcome.sent > 0, outcome.failure)
            }
        },
    };
    note_connection(shared, hop, sent, failure)
}

/// The file is there and synced before the item goes; its name derives from the item, so a repeat finds it.
fn to_maildir(shared: &Shared, hop: &Hop, user: &UserName) -> Result<(), StoreError> {
    let now = (shared.context.clock)();
    let items = shared.store.read::<_, StoreError>(|view| view.ready_items(hop, now.wall, Grade::LEAST, RUN))?;
    let place = shared.config.maildirs.iter().find(|(name, _)| name == user).map(|(_, path)| path);
    for item in items {
        let verdict = match place {
            None => Verdict::Retry(format!("no Maildir is configured for {user} any more")),
            Some(place) => match write_file(shared, place, &item) {
                Ok(()) => Verdict::Sent(place.display().to_string()),
                Err(why) => {
                    tracing::warn!(%user, why, "cannot write to a Maildir");
                    Verdict::Retry(why)
                }
            },
        };
        shared
            .store
            .write(|change| delivery::settle_whole(change, &shared.config.mail, now, &item, |_| verdict.clone()))?;
    }
    Ok(())
}

fn write_file(shared: &Shared, place: &std::path::Path, item: &Item) -> Result<(), String> {
    let Cargo::Mail { body, .. } = &item.cargo else { return Err("it is no mail".to_owned()) };
    let body = shared.store.read::<_, StoreError>(|view| view.body(*body)).map_err(|e| e.to_string())?;
    let name = format!("{}.{}.{}", item.queued.as_seconds(), item.id.0, shared.config.hostname);
    maildir::deliver(place, &name, &mut BodyReader::new(body)).map(drop).map_err(|e| with_causes(&e))
}
