//! Signals while a command has a line: the line is given back before we end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::Sender;

use super::{Failure, TEMPORARY};
use crate::dialogue::Nudge;

/// A process has its signals once, whatever runtime hears them.
static CAME: AtomicBool = AtomicBool::new(false);

/// Signals that would end us at once: locks would stay where they are, a terminal raw, and a call without its end.
pub(super) struct Signals(Vec<Signal>);

impl Signals {
    /// From here on they are only noted. Those that whoever started us wants to be ignored (`nohup`) are not.
    pub fn listen() -> io::Result<Self> {
        let ends = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
        ends.into_iter().filter(|kind| !is_ignored(*kind)).map(signal).collect::<Result<_, _>>().map(Self)
    }

    /// Returns at the next.
    pub async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        CAME.store(true, Ordering::Relaxed);
    }

    /// Does what listens to these nudges. The first signal asks it to come to its end, the next ends it.
    pub async fn heed<T>(mut self, nudges: &Sender<Nudge>, work: impl Future<Output = T>) -> Result<T, Failure> {
        let told = async {
            self.next().await;
            let _ = nudges.send(Nudge::HangUp);
            self.next().await;
        };
        tokio::select! {
            done = work => Ok(done),
            () = told => Err(ended()),
        }
    }
}

/// One has been noted: nothing more is begun.
pub(super) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

pub(super) fn ended() -> Failure {
    Failure::new(TEMPORARY, "ended by a signal")
}

/// Whoever started us may ignore the ends of its children, and that is handed down: we would not learn how programs of ours end,
/// and neither would they of theirs.
pub(super) fn hear_of_children() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler of ours is there yet, and the default runs no code.
    if let Err(error) = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) } {
        tracing::warn!(%error, "cannot hear how programs end");
    }
}

/// Where the kernel does not say (it is not Linux), none is.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored & 1 << (kind.as_raw_value() - 1) != 0
}
