//! The services: each listens, and each client gets a conversation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{DaemonError, Shared};
use crate::base::limits::CLIENTS_MAX;
use crate::call::{self, Progress};
use crate::dialogue::Nudge;
use crate::gate::nntp_in::NntpIn;
use crate::gate::smtp_in::SmtpIn;
use crate::link::{self, Link, Nudges};

/// After an error of `accept` (no more open files, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
enum Service {
    Smtp,
    Nntp,
    Uucp,
}

/// Opens every configured service; `listening` gets their addresses.
pub(super) async fn start(shared: &Shared, listening: &mut Vec<String>) -> Result<(), DaemonError> {
    let listen = &shared.config.listen;
    let services = [
        (Service::Smtp, "smtp", &listen.smtp),
        (Service::Nntp, "nntp", &listen.nntp),
        (Service::Uucp, "uucp", &listen.uucp),
    ];
    for (service, name, address) in services {
        let Some(address) = address else { continue };
        let listener = link::listen(address).await?;
        let address = listener.local_addr().map_or(address.clone(), |a| a.to_string());
        listening.push(format!("{name} {address}"));
        shared.tasks.spawn(accept(shared.clone(), service, listener));
    }
    Ok(())
}

async fn accept(shared: Shared, service: Service, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let mut stop = shared.nudges.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = link::accept(&listener) => accepted,
            () = wound_down(&mut stop) => return,
        };
        match accepted {
            Ok((link, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => drop(shared.tasks.spawn(converse(shared.clone(), service, link, peer, place))),
                // Closing the connection is all there is to say: the client comes again.
                Err(_) => tracing::warn!(?service, %peer, "too many clients at once"),
            },
            Err(error) => {
                tracing::warn!(?service, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns when the program wants to stop.
pub(super) async fn wound_down(nudges: &mut Nudges) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match nudges.recv().await {
            Ok(Nudge::WindDown) | Err(RecvError::Closed) => return,
            Ok(Nudge::Store) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

async fn converse(shared: Shared, service: Service, mut link: Link, peer: SocketAddr, _place: OwnedSemaphorePermit) {
    let mut nudges = shared.nudges.subscribe();
    let clock = shared.context.clock;
    match service {
        Service::Smtp => {
            let mut server = SmtpIn::new(shared.store.clone(), Arc::clone(&shared.config.mail), peer.ip(), clock());
            let (outcome, _) = link::drive(&mut link, &mut server, &[], &mut nudges, clock).await;
            tracing::info!(%peer, accepted = outcome.accepted, ended = ?outcome.ended, "SMTP client");
        }
        Service::Nntp => {
            let mut server = NntpIn::new(shared.store.clone(), Arc::clone(&shared.config.news), peer.ip(), clock());
            let (outcome, _) = link::drive(&mut link, &mut server, &[], &mut nudges, clock).await;
            tracing::info!(%peer, taken = outcome.taken, ended = ?outcome.ended, "NNTP client");
        }
        Service::Uucp => {
            let progress = Arc::new(Progress::default());
            let ask_login = shared.config.listen.uucp_login;
            // What went wrong has been logged and recorded there.
            let result = call::answer(&shared.context, link, ask_login, None, &progress, &mut nudges).await;
            if let Err(error) = result {
                tracing::warn!(%peer, %error, "UUCP caller");
            }
        }
    }
}
