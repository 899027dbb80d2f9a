//! One side of any conversation over a byte stream: the contract between those who talk and the driver.

use std::fmt;
use std::time::Duration;

use crate::base::time::{Instant, Now};

/// One side of a conversation over a byte stream. No I/O, no clock, no tasks.
///
/// Who drives it: after each `handle_*`, drain [`poll_transmit`](Self::poll_transmit) (writing what it
/// gives before asking again), then [`poll_request`](Self::poll_request), then look at
/// [`poll_timeout`](Self::poll_timeout). A dialogue never fails: it comes to an outcome, and after
/// `Request::Finish` it is not called any more.
pub trait Dialogue {
    type Outcome;

    /// Bytes from the peer, split in any way; never more than [`room`](Self::room) allowed.
    fn handle_input(&mut self, now: Now, bytes: &[u8]);

    /// The time that `poll_timeout` named has come. May be called early; then nothing happens.
    fn handle_timeout(&mut self, now: Now);

    /// The peer has closed, or the line is lost. No input follows and nothing more can be sent.
    fn handle_hangup(&mut self, now: Now);

    fn handle_nudge(&mut self, _now: Now, _nudge: Nudge) {}

    /// Appends what is to be sent next, some KiB at most; appends nothing when there is nothing now.
    /// Called when the last is written: that is the back pressure.
    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>);

    /// When `handle_timeout` is wanted, if nothing happens before. A time that has come and been told of is not told of
    /// again before the next `poll_transmit`: what is due then waits for the line.
    fn poll_timeout(&self) -> Option<Instant>;

    fn poll_request(&mut self) -> Option<Request<Self::Outcome>>;

    /// How many bytes of input it can take now. At zero the driver stops reading until it has written something.
    fn room(&self) -> usize {
        64 * 1024
    }
}

/// What a dialogue asks of its driver.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<Outcome> {
    /// Something that only the line can do. On a link that cannot, it is ignored.
    Line(LineRequest),
    /// The conversation is over. What had been read past its end goes to whoever talks next.
    Finish { outcome: Outcome, unread: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineRequest {
    /// A break condition of about a quarter of a second.
    Break,
    /// Seven bits, and XON and XOFF for flow control, from here to the end of the call: protocol f.
    SevenBits,
    /// The line is slower than it was taken to be: so many bits per second.
    Speed(u32),
}

/// "Look again": carries no work, so a lost one costs a delay and never a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// Something in the store has changed.
    Store,
    /// The program wants to stop: come to an end soon and in order.
    WindDown,
    /// The program stops: nothing more is waited for.
    HangUp,
}

/// How a call is brought to its end before everything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// We begin nothing new; the peer may go on as long as it has something.
    Drain,
    /// The files under way are finished, in both directions; what the peer then offers is put off.
    Orderly,
    /// The protocol is closed at once. Files go on where they stopped, in the next call.
    Now,
}

impl Stop {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Orderly => "orderly",
            Self::Now => "now",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Drain, Self::Orderly, Self::Now].into_iter().find(|stop| stop.as_str() == text)
    }
}

/// What is known about a link before a word is said on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Every byte value passes.
    pub eight_bit: bool,
    /// XON and XOFF pass: nobody on the way takes them for flow control.
    pub transparent: bool,
    /// Bytes are neither lost nor changed on the way.
    pub reliable: bool,
    /// The peer program itself is flow controlled: TCP, pipes.
    pub end_to_end: bool,
    pub full_duplex: bool,
    /// Bits per second with start and stop bit counted (ten a byte); `None` where it means nothing.
    pub speed: Option<u32>,
    /// From the last byte of a question to the first of its answer, where it was measured.
    pub round_trip: Option<Duration>,
    /// Bytes in a million that are damaged on the way, where earlier calls have counted them.
    pub errors: Option<u32>,
    /// The peer is of this program, as its greeting said: its timers count what is under way.
    pub peer_is_ours: bool,
    /// Who is at the other end, for logs: `127.0.0.1:4711`, `/dev/ttyS0`, `stdin`.
    pub peer: String,
}

impl Facts {
    /// A stream such as TCP or a pipe.
    pub fn stream(peer: impl Into<String>) -> Self {
        Self {
            eight_bit: true,
            transparent: true,
            reliable: true,
            end_to_end: true,
            full_duplex: true,
            speed: None,
            round_trip: None,
            errors: None,
            peer_is_ours: false,
            peer: peer.into(),
        }
    }

    /// A serial line: eight bits, may lose and damage bytes.
    pub fn serial(device: impl Into<String>, speed: u32) -> Self {
        Self {
            eight_bit: true,
            transparent: true,
            reliable: false,
            end_to_end: false,
            full_duplex: true,
            speed: Some(speed),
            round_trip: None,
            errors: None,
            peer_is_ours: false,
            peer: device.into(),
        }
    }

    /// How long `bytes` take on the line; zero where the speed is unknown.
    pub fn line_time(&self, bytes: usize) -> Duration {
        match self.speed {
            Some(bps) if bps > 0 => {
                // A radio modem program may say that any number is unsent.
                Duration::from_micros((bytes as u64).saturating_mul(10_000_000) / u64::from(bps))
            }
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer)?;
        if let Some(bps) = self.speed {
            write!(f, " at {bps} bit/s")?;
        }
        if self.full_duplex { Ok(()) } else { f.write_str(", half duplex") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_bytes_takes_some_time() {
        let facts = Facts::serial("test", 1200);
        assert_eq!(facts.line_time(120), Duration::from_secs(1));
        assert!(facts.line_time(usize::MAX) > Duration::from_secs(86400));
    }
}
