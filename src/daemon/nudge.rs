//! Nudges from other processes: datagrams to a socket in the spool. They carry nothing; a lost one costs a delay.

use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::Path;

use tokio::net::UnixDatagram;
use tokio::sync::broadcast;

use super::DaemonError;
use crate::dialogue::Nudge;

const SOCKET: &str = "nudge";

/// Tells the daemon of this spool, if one runs, that the store has changed.
pub fn nudge(spool: &Path) {
    // No daemon, no nudge: whoever starts next looks at the store first.
    if let Ok(socket) = StdDatagram::unbound() {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(b"n", spool.join(SOCKET));
    }
}

/// The daemon's end.
pub(super) struct Ear(UnixDatagram);

impl Ear {
    pub fn open(spool: &Path) -> Result<Self, DaemonError> {
        let path = spool.join(SOCKET);
        // The daemon's lock is held, so a socket that is there is a dead one's.
        let _ = std::fs::remove_file(&path);
        UnixDatagram::bind(&path).map(Self).map_err(|source| DaemonError::Io { path, source })
    }
}

pub(super) async fn listen(ear: Ear, nudges: broadcast::Sender<Nudge>, mut stop: broadcast::Receiver<Nudge>) {
    let mut datagram = [0; 16];
    loop {
        tokio::select! {
            heard = ear.0.recv(&mut datagram) => match heard {
                Ok(_) => drop(nudges.send(Nudge::Store)),
                Err(error) => {
                    tracing::warn!(%error, "nudges from other processes cannot be heard any more");
                    return;
                }
            },
            nudge = stop.recv() => if matches!(nudge, Ok(Nudge::WindDown) | Err(broadcast::error::RecvError::Closed)) {
                return;
            },
        }
    }
}
