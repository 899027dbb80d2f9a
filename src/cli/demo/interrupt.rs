//! Signals that end the demo early: they are noted, and whoever waits asks, so that everything is cleaned up as usual.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Failure;

/// What a shell makes of SIGINT.
const INTERRUPTED: u8 = 130;

static CAME: AtomicBool = AtomicBool::new(false);

/// From here on signals are only noted.
pub fn listen() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered before the thread starts, so that none is missed.
    let mut signals = runtime.block_on(async {
        Ok::<_, io::Error>([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ])
    })?;
    thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            CAME.store(true, Ordering::SeqCst);
        });
    });
    Ok(())
}

/// Fails once a signal has come.
pub fn check() -> Result<(), Failure> {
    match CAME.load(Ordering::SeqCst) {
        true => Err(Failure::new(INTERRUPTED, "interrupted")),
        false => Ok(()),
    }
}
