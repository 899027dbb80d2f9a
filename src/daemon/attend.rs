//! The task of a line on which callers are waited for.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::serve::wound_down;
use crate::base::words::with_causes;
use crate::call::{self, AnsweringPort, Attended, CallError, PortKind};
use crate::link::{Place, SerialLine};

/// After another program was found on the line, too many wrong logins, or a call that went wrong.
const PAUSE: Duration = Duration::from_secs(2);
/// After a completed call: the other end should see that DTR went, and the next caller be heard.
const CALL_PAUSE: Duration = Duration::from_millis(250);
/// After trouble: the adapter is unplugged, the modem off. Doubled up to the longest.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);
const TROUBLE_PAUSE_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether a device is there again.
const DEVICE_LOOK: Duration = Duration::from_secs(5);

pub(super) async fn run(shared: Shared, port: AnsweringPort) {
    let mut stop = shared.nudges.subscribe();
    let mut troubles = 0;
    loop {
        let begun = (shared.context.clock)().instant;
        let mut nudges = shared.nudges.subscribe();
        let outcome = call::attend(&shared.context, &port, &mut nudges).await;
        let lasted = (shared.context.clock)().instant.since(begun);
        let alone = pause(&outcome, lasted, &mut troubles);
        match outcome {
            Ok(Attended::Stopped) => return,
            Ok(Attended::Call(Err(error))) => tracing::warn!(port = %port.name, error = with_causes(&error), "caller"),
            // Said once, not every five minutes for months.
            Err(error) if troubles == 1 => {
                tracing::error!(port = %port.name, error = with_causes(&error), "cannot wait for callers on the line");
            }
            Ok(Attended::Call(Ok(())) | Attended::Nobody | Attended::Busy | Attended::Barred) | Err(_) => {}
        }
        tokio::select! {
            came_back = rest(device(&port.kind), alone) => if came_back {
                tracing::info!(port = %port.name, "the device is there again");
                troubles = 0;
            },
            () = wound_down(&mut stop) => return,
        }
    }
}

/// How long the line is left alone after this; `troubles` is how often in a row it could not be waited on.
fn pause(outcome: &Result<Attended, CallError>, lasted: Duration, troubles: &mut u32) -> Duration {
    if outcome.is_ok() || lasted > TROUBLE_PAUSE_MAX {
        // What has gone well for longer than any pause is in new trouble.
        *troubles = 0;
    }
    match outcome {
        Ok(Attended::Call(Ok(()))) => CALL_PAUSE,
        Ok(Attended::Call(Err(_)) | Attended::Nobody | Attended::Busy | Attended::Barred | Attended::Stopped) => PAUSE,
        Err(_) => {
            *troubles += 1;
            TROUBLE_PAUSE.saturating_mul(1 << (*troubles - 1).min(10)).min(TROUBLE_PAUSE_MAX)
        }
    }
}

fn device(kind: &PortKind) -> Option<&Path> {
    match kind {
        PortKind::Serial { line: SerialLine { place: Place::Device { path, .. }, .. }, .. } => Some(path),
        PortKind::Serial { .. } | PortKind::Tcp { .. } | PortKind::Pipe { .. } | PortKind::Radio { .. } => None,
    }
}

/// Leaves the line alone for so long, or until its device comes back, as an adapter does that is plugged in again. Says
/// whether it has.
async fn rest(device: Option<&Path>, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    let is_missing = || device.is_some_and(|path| !path.exists());
    let mut missing = is_missing();
    while Instant::now() < end {
        tokio::time::sleep_until(end.min(Instant::now() + DEVICE_LOOK)).await;
        let was_missing = std::mem::replace(&mut missing, is_missing());
        if was_missing && !missing {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::dial::DialFailure;

    type Outcome = fn() -> Result<Attended, CallError>;

    /// The pauses after one outcome after the other, in milliseconds; each took so many seconds.
    fn check(outcomes: &[(Outcome, u64)], expected: &[u128]) {
        let mut troubles = 0;
        let pauses: Vec<_> = outcomes
            .iter()
            .map(|(outcome, seconds)| pause(&outcome(), Duration::from_secs(*seconds), &mut troubles).as_millis())
            .collect();
        assert_eq!(pauses, expected);
    }

    fn complete() -> Result<Attended, CallError> {
        Ok(Attended::Call(Ok(())))
    }

    fn failed() -> Result<Attended, CallError> {
        Ok(Attended::Call(Err(DialFailure::LineLost.into())))
    }

    fn trouble() -> Result<Attended, CallError> {
        Err(DialFailure::LineLost.into())
    }

    #[test]
    fn the_next_caller_is_heard_sooner_after_a_call_that_was_completed() {
        check(&[(complete, 60), (failed, 60), (complete, 0)], &[250, 2000, 250]);
        check(&[(|| Ok(Attended::Nobody), 1800), (|| Ok(Attended::Busy), 0)], &[2000, 2000]);
    }

    #[test]
    fn a_device_that_comes_back_is_not_left_alone_any_longer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ttyUSB0");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let begun = Instant::now();
            assert!(!rest(Some(&path), TROUBLE_PAUSE_MAX).await);
            assert_eq!(begun.elapsed(), TROUBLE_PAUSE_MAX);
            let plugged = async {
                tokio::time::sleep(Duration::from_secs(62)).await;
                std::fs::write(&path, "").expect("a file");
            };
            let begun = Instant::now();
            let (came_back, ()) = tokio::join!(rest(Some(&path), TROUBLE_PAUSE_MAX), plugged);
            assert!(came_back);
            assert_eq!(begun.elapsed(), Duration::from_secs(65));
            // One that was there all the time has some other trouble, and may go while nobody looks.
            assert!(!rest(Some(&path), TROUBLE_PAUSE_MAX).await);
            assert!(!rest(None, TROUBLE_PAUSE_MAX).await);
        });
    }

    #[test]
    fn trouble_makes_longer_pauses_until_something_goes_well() {
        let pauses = [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000];
        check(&[(trouble as Outcome, 0); 8], &pauses);
        check(&[(trouble, 0), (trouble, 0), (complete, 9), (trouble, 0)], &[5000, 10_000, 250, 5000]);
        check(&[(trouble, 0), (trouble, 0), (trouble, 301)], &[5000, 10_000, 5000]);
    }
}
