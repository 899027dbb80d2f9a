//! The task of a port that other programs may have over the network: one client at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Shared;
use super::serve::wound_down;
use crate::base::words::with_causes;
use crate::call::{self, SharedPort};
use crate::link::{self, Listener};

/// After an error of `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(shared: Shared, port: SharedPort, listener: Listener) {
    let mut stop = shared.nudges.subscribe();
    let place = Arc::new(Semaphore::new(1));
    loop {
        let accepted = tokio::select! {
            accepted = link::accept(&listener) => accepted,
            () = wound_down(&mut stop) => return,
        };
        let (mut client, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(port = %port.name, error = with_causes(&error), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&place).try_acquire_owned() else {
            client.refuse(format!("port {} is lent to another client\r\n", port.name).as_bytes()).await;
            continue;
        };
        let (shared, port) = (shared.clone(), port.clone());
        let mut stop = shared.nudges.subscribe();
        shared.tasks.clone().spawn(async move {
            tokio::select! {
                lent = call::lend(&shared.context, &port, client) => if let Err(error) = lent {
                    tracing::warn!(port = %port.name, error = with_causes(&error), "cannot lend the port");
                },
                () = wound_down(&mut stop) => {}
            }
            drop(place);
        });
    }
}
