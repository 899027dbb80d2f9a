//! The task of a line on which callers are waited for.

use std::time::Duration;

use super::Shared;
use super::serve::wound_down;
use crate::call::{self, AnsweringPort, Attended};

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
        let pause = match call::attend(&shared.context, &port, &mut nudges).await {
            Ok(Attended::Stopped) => return,
            Ok(outcome) => {
                troubles = 0;
                match outcome {
                    Attended::Call(Ok(())) => CALL_PAUSE,
                    Attended::Call(Err(error)) => {
                        tracing::warn!(port = %port.name, %error, "caller");
                        PAUSE
                    }
                    Attended::Nobody | Attended::Busy | Attended::Stopped => PAUSE,
                }
            }
            Err(error) => {
                // What has gone well for longer than any pause is in new trouble.
                if (shared.context.clock)().instant.since(begun) > TROUBLE_PAUSE_MAX {
                    troubles = 0;
                }
                // Said once, not every five minutes for months.
                if troubles == 0 {
                    tracing::error!(port = %port.name, %error, "cannot wait for callers on the line");
                }
                troubles += 1;
                TROUBLE_PAUSE.saturating_mul(1 << (troubles - 1).min(10)).min(TROUBLE_PAUSE_MAX)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wound_down(&mut stop) => return,
        }
    }
}
