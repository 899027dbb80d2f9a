//! The doors: each listens, and each client gets a conversation.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::places::{Place, Places};
use super::{DaemonError, Shared};
use crate::base::words::with_causes;
use crate::call::{self, Origin, Progress, Unmet};
use crate::config::Listen;
use crate::dialogue::Nudge;
use crate::gate::nntp_in::NntpIn;
use crate::gate::smtp_in::SmtpIn;
use crate::link::{self, Link, Listener, Nudges, Peer, Speaks};

/// After an error of `accept` (no more open files, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Smtp,
    Nntp,
    Uucp,
    UucpTelnet,
}

impl Door {
    /// What a client hears for whom there is no place (RFC 5321 section 3.8, RFC 3977 section 5.1).
    fn too_many(self) -> &'static [u8] {
        match self {
            Self::Smtp => b"421 4.3.2 too many clients at once, try again later\r\n",
            Self::Nntp => b"400 too many clients at once, try again later\r\n",
            Self::Uucp | Self::UucpTelnet => b"",
        }
    }
}

impl Door {
    const ALL: [Self; 4] = [Self::Smtp, Self::Nntp, Self::Uucp, Self::UucpTelnet];

    fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Nntp => "nntp",
            Self::Uucp => "uucp",
            Self::UucpTelnet => "uucp-telnet",
        }
    }

    /// Its address, if it is on.
    fn address(self, listen: &Listen) -> Option<&str> {
        match self {
            Self::Smtp => listen.smtp.as_deref(),
            Self::Nntp => listen.nntp.as_deref(),
            Self::Uucp => listen.uucp.as_deref(),
            Self::UucpTelnet => listen.uucp_telnet.as_deref(),
        }
    }

    fn asks_login(self, listen: &Listen) -> bool {
        match self {
            Self::Smtp | Self::Nntp => false,
            Self::Uucp => listen.uucp_login,
            Self::UucpTelnet => true,
        }
    }
}

/// Opens every door: on the sockets passed to us, and where there is none for it, at its configured address.
/// `listening` gets their addresses.
pub(super) async fn start(
    shared: &Shared,
    passed: Vec<(String, OwnedFd)>,
    listening: &mut Vec<String>,
) -> Result<(), DaemonError> {
    let listen = &shared.config.listen;
    let mut open = Vec::new();
    for (name, socket) in passed {
        let listener = link::inherit(socket)?;
        let address = listener.address().unwrap_or_default();
        let Some(door) = door_of(&name, &address, listen) else {
            return Err(DaemonError::Socket { name, address });
        };
        open.push((door, listener));
    }
    for door in Door::ALL {
        let Some(address) = door.address(listen) else { continue };
        if !open.iter().any(|(passed, _)| *passed == door) {
            open.push((door, link::listen(address).await?));
        }
    }
    for (door, listener) in open {
        listening.push(format!("{} {}", door.name(), listener.address().unwrap_or_default()));
        shared.tasks.spawn(accept(shared.clone(), door, listener));
    }
    Ok(())
}

/// The door of a passed socket: by its name, or as the one that is configured for the same port or path.
fn door_of(name: &str, address: &str, listen: &Listen) -> Option<Door> {
    let place = |address: &str| address.rsplit_once(':').map_or(address, |(_, port)| port).to_owned();
    let named = Door::ALL.into_iter().find(|door| door.name() == name);
    named
        .or_else(|| Door::ALL.into_iter().find(|door| door.address(listen).is_some_and(|a| place(a) == place(address))))
}

async fn accept(shared: Shared, door: Door, listener: Listener) {
    let places = Places::default();
    let mut stop = shared.nudges.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = link::accept(&listener) => accepted,
            () = wound_down(&mut stop) => return,
        };
        match accepted {
            // Closing the connection is all there is to say to either: the client comes again.
            Ok((_, peer)) if is_barred(&shared, door, peer) => {
                tracing::warn!(?door, %peer, "too many wrong logins from there");
            }
            Ok((mut link, peer)) => match places.take(peer) {
                Some(place) => drop(shared.tasks.spawn(converse(shared.clone(), door, link, peer, place))),
                None => {
                    tracing::warn!(?door, %peer, "too many clients at once");
                    link.refuse(door.too_many()).await;
                }
            },
            Err(error) => {
                tracing::warn!(?door, error = with_causes(&error), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether it guesses logins. A Unix socket is not barred: that would shut out all of its users for one.
fn is_barred(shared: &Shared, door: Door, peer: Peer) -> bool {
    let asks = door.asks_login(&shared.config.listen) && peer != Peer::Unix;
    asks && Origin::Address(peer.ip()).is_barred(&shared.context)
}

/// Returns when the program wants to stop.
pub(super) async fn wound_down(nudges: &mut Nudges) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match nudges.recv().await {
            Ok(Nudge::WindDown | Nudge::HangUp) | Err(RecvError::Closed) => return,
            Ok(Nudge::Store) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

async fn converse(shared: Shared, door: Door, mut link: Link, peer: Peer, _place: Place) {
    let mut nudges = shared.nudges.subscribe();
    let clock = shared.context.clock;
    match door {
        Door::Smtp => {
            let mut server = SmtpIn::new(shared.store.clone(), Arc::clone(&shared.config.mail), peer.ip(), clock());
            let (outcome, _) = link::drive(&mut link, &mut server, &[], &mut nudges, clock).await;
            tracing::info!(%peer, accepted = outcome.accepted, ended = ?outcome.ended, "SMTP client");
        }
        Door::Nntp => {
            let mut server = NntpIn::new(shared.store.clone(), Arc::clone(&shared.config.news), peer.ip(), clock());
            let (outcome, _) = link::drive(&mut link, &mut server, &[], &mut nudges, clock).await;
            tracing::info!(%peer, taken = outcome.taken, ended = ?outcome.ended, "NNTP client");
        }
        Door::Uucp | Door::UucpTelnet => {
            let progress = Arc::new(Progress::default());
            let from = matches!(peer, Peer::Tcp(_)).then(|| Origin::Address(peer.ip()));
            let caller = Unmet { from, ..Unmet::new(door.asks_login(&shared.config.listen)) };
            if door == Door::UucpTelnet {
                link = link.over_telnet(Speaks::TelnetCaller);
            }
            // What went wrong has been logged and recorded there.
            let result = call::answer(&shared.context, link, caller, &progress, &mut nudges).await;
            if let Err(error) = result {
                tracing::warn!(%peer, error = with_causes(&error), "UUCP caller");
            }
        }
    }
}
