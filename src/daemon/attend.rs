//! The task of a line on which callers are waited for.

use std::time::Duration;

use super::Shared;
use super::serve::wound_down;
use crate::base::words::with_causes;
use crate::call::{self, AnsweringPort, Attended, CallError};

/// After another program was found on the line, or a call that went wrong.
const PAUSE: Duration = Duration::from_secs(2);
/// After a completed call: the other end should see that DTR went, and the next caller be heard.
const CALL_PAUSE: Duration = Duration::from_millis(250);
/// After trouble: the adapter is unplugged, the modem off. Doubled up to the longest.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);
const TROUBLE_PAUSE_MAX: Duration = Duration::from_secs(300);

pub(super) async fn run(shared: Shared, port: AnsweringPort) {
    let mut stop = shared.nudges.subscribe();
    let mut troubles = 0;
    loop {
        let begun = (shared.context.clock)().instant;
        let mut nudges = shared.nudges.subscribe();
        let outcome = call::attend(&shared.context, &port, &mut nudges).await;
        let lasted = (shared.context.clock)().instant.since(begun);
        let rest = pause(&outcome, lasted, &mut troubles);
        match outcome {
            Ok(Attended::Stopped) => return,
            Ok(Attended::Call(Err(error))) => tracing::warn!(port = %port.name, error = with_causes(&error), "caller"),
            // Said once, not every five minutes for months.
            Err(error) if troubles == 1 => {
                tracing::error!(port = %port.name, error = with_causes(&error), "cannot wait for callers on the line");
            }
            Ok(Attended::Call(Ok(())) | Attended::Nobody | Attended::Busy) | Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
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
        Ok(Attended::Call(Err(_)) | Attended::Nobody | Attended::Busy | Attended::Stopped) => PAUSE,
        Err(_) => {
            *troubles += 1;
            TROUBLE_PAUSE.saturating_mul(1 << (*troubles - 1).min(10)).min(TROUBLE_PAUSE_MAX)
        }
    }
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
    fn trouble_makes_longer_pauses_until_something_goes_well() {
        let pauses = [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000];
        check(&[(trouble as Outcome, 0); 8], &pauses);
        check(&[(trouble, 0), (trouble, 0), (complete, 9), (trouble, 0)], &[5000, 10_000, 250, 5000]);
        check(&[(trouble, 0), (trouble, 0), (trouble, 301)], &[5000, 10_000, 5000]);
    }
}
