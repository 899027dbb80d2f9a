//! What one call adds to the statistics of its site.

use std::time::Duration;

use super::CallError;
use crate::session::{CallResult, Ending};
use crate::store::statistics::Statistics;

/// The line of a call, as far as it counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connected {
    /// From the connection to the end of the session; zero: there was none.
    pub time: Duration,
    /// Bits per second of the line, once it is known.
    pub speed: Option<u32>,
}

/// The counts of a call that we placed.
pub(super) fn placed(result: &Result<CallResult, CallError>, line: Connected) -> Statistics {
    let mut counts = Statistics { placed: 1, ..Statistics::default() };
    match result {
        Ok(result) => add(&mut counts, result, line),
        Err(CallError::Ended(result)) => add(&mut counts, result, line),
        Err(CallError::Link(_) | CallError::Dial(_) | CallError::SiteBusy(_) | CallError::PortBusy(_)) => {
            counts.not_reached = 1;
        }
        Err(CallError::Chat(_) | CallError::ChatProgram(_) | CallError::Login(_) | CallError::AnswerChat(_)) => {
            counts.not_logged_in = 1;
            counts.connected_ms = milliseconds(line.time);
        }
        Err(CallError::Store(_)) => counts.ended_here = 1,
    }
    counts
}

/// The counts of a call that we answered.
pub(super) fn answered(result: &CallResult, line: Connected) -> Statistics {
    let mut counts = Statistics { answered: 1, ..Statistics::default() };
    add(&mut counts, result, line);
    counts
}

fn add(counts: &mut Statistics, result: &CallResult, line: Connected) {
    match &result.ending {
        Ending::Complete | Ending::CallsBack => {}
        Ending::NoHandshake(_)
        | Ending::WrongSite(_)
        | Ending::Rejected(_)
        | Ending::WeRejected { .. }
        | Ending::NoCommonProtocol { .. } => counts.not_agreed = 1,
        Ending::CalledChat(_) => counts.not_logged_in = 1,
        Ending::LineLost(_) => counts.line_lost = 1,
        Ending::Violation(_) => counts.protocol_error = 1,
        Ending::Stopped(_) | Ending::Disk(_) => counts.ended_here = 1,
    }
    let (totals, packets) = (&result.totals, &result.counters);
    counts.files_sent = totals.files_sent;
    counts.bytes_sent = totals.bytes_sent;
    counts.files_received = totals.files_received;
    counts.bytes_received = totals.bytes_received;
    counts.connected_ms = milliseconds(line.time);
    if let Some(speed) = line.speed.filter(|speed| *speed > 0) {
        counts.timed_ms = counts.connected_ms;
        // Ten bits a byte.
        let bytes = totals.bytes_sent.max(totals.bytes_received);
        counts.needed_ms = bytes.saturating_mul(10_000) / u64::from(speed);
    }
    counts.packets = packets.sent;
    counts.packets_again = packets.resent;
    counts.packet_errors = packets.bad_header.saturating_add(packets.bad_data).saturating_add(packets.bad_order);
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Counters;
    use crate::session::Totals;

    #[test]
    fn damaged_packets_are_counted_up_to_the_largest_number() {
        let check = |bad: [u64; 3], expected| {
            let [bad_header, bad_data, bad_order] = bad;
            let counters = Counters { bad_header, bad_data, bad_order, ..Counters::default() };
            let (totals, ending) = (Totals::default(), Ending::Complete);
            let result =
                CallResult { site: None, protocol: None, ending, totals, counters, round_trip: None, stopped: false };
            assert_eq!(answered(&result, Connected::default()).packet_errors, expected, "{bad:?}");
        };
        check([1, 20, 300], 321);
        check([u64::MAX, 1, 0], u64::MAX);
        check([1, 0, u64::MAX], u64::MAX);
        check([u64::MAX; 3], u64::MAX);
    }
}
