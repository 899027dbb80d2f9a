//! The one driver: runs any dialogue over any link.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;
use tokio::task::block_in_place;

use super::{Lines, Link};
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, LineRequest, Nudge, Request};

/// How the driver learns the time: the daemon's one function.
pub type Clock = fn() -> Now;

/// Where nudges come from.
pub type Nudges = broadcast::Receiver<Nudge>;

/// How much line time may lie unsent between us and the peer. More, and every retransmission timer fires while
/// the kernel and the modem still hold the first copy.
const BACKLOG: Duration = Duration::from_millis(600);
/// How long the last words may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// How often it is looked whether they have.
const UNSENT_LOOK: Duration = Duration::from_millis(20);
/// How long a peer may refuse to take what we write.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);
/// How often the carrier is looked at: as long as modems themselves wait for it to come back (S10).
const CARRIER_LOOK: Duration = Duration::from_millis(700);
const READ_SIZE: usize = 16 * 1024;

/// What woke the driver.
enum Woken {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    Nudged(Result<Nudge, broadcast::error::RecvError>),
    NoCarrier,
    Time,
}

/// Runs `dialogue` until it finishes. `first` are bytes that an earlier dialogue read past its end. Gives the
/// outcome and the bytes that this one did not read.
///
/// Must run on a multi-thread runtime: the dialogue may call the store, which waits for the disk.
pub async fn drive<D: Dialogue>(
    link: &mut Link,
    dialogue: &mut D,
    first: &[u8],
    nudges: &mut Nudges,
    clock: Clock,
) -> (D::Outcome, Vec<u8>) {
    let mut out = Outgoing::default();
    let mut buffer = vec![0; READ_SIZE];
    let mut open = true;
    let mut listening = true;
    // When the dialogue was last told that its time has come, and has not been asked for output since.
    let mut told: Option<Instant> = None;
    if !first.is_empty() {
        block_in_place(|| dialogue.handle_input(clock(), first));
    }
    loop {
        if open && out.is_written() && out.pace(link, clock()) {
            told = None;
            block_in_place(|| dialogue.poll_transmit(clock(), &mut out.bytes));
        }
        if !open || out.is_written() {
            match block_in_place(|| dialogue.poll_request()) {
                Some(Request::Finish { outcome, unread }) => {
                    if open {
                        drain(link).await;
                    }
                    link.note_agreement();
                    return (outcome, unread);
                }
                Some(Request::Line(LineRequest::Break)) => {
                    if let Some(lines) = &link.lines {
                        lines.send_break();
                    }
                    continue;
                }
                Some(Request::Line(LineRequest::SevenBits)) => {
                    link.seven_bits();
                    continue;
                }
                Some(Request::Line(LineRequest::Speed(bits_per_second))) => {
                    link.facts.speed = Some(bits_per_second);
                    continue;
                }
                None => {}
            }
        }
        let due = dialogue.poll_timeout().filter(|at| told.is_none_or(|told| *at > told));
        let wake_at = [due, out.wake_at, out.stalls_at(clock())].into_iter().flatten().min();
        let pause = wake_at.map(|at| at.since(clock().instant));
        let room = dialogue.room().min(READ_SIZE);
        let woken = tokio::select! {
            read = link.reader.read(&mut buffer[..room]), if open && room > 0 => Woken::Read(read),
            wrote = link.writer.write(out.rest()), if open && !out.is_written() => Woken::Wrote(wrote),
            nudge = nudges.recv(), if listening => Woken::Nudged(nudge),
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => Woken::Time,
            () = carrier_lost(&link.lines), if open && link.carrier_watched => Woken::NoCarrier,
        };
        match woken {
            Woken::Read(Ok(count)) if count > 0 => {
                tracing::trace!(link = %link.facts, count, "<");
                block_in_place(|| dialogue.handle_input(clock(), &buffer[..count]));
            }
            Woken::Wrote(Ok(count)) if count > 0 => {
                tracing::trace!(link = %link.facts, count, ">");
                out.wrote(link, clock(), count);
            }
            Woken::Time if !out.is_stalled(clock()) => {
                let now = clock();
                told = Some(now.instant);
                block_in_place(|| dialogue.handle_timeout(now));
            }
            Woken::Nudged(Ok(nudge)) => block_in_place(|| dialogue.handle_nudge(clock(), nudge)),
            // Some were missed: look again, that is all they ever ask for.
            Woken::Nudged(Err(broadcast::error::RecvError::Lagged(_))) => {
                block_in_place(|| dialogue.handle_nudge(clock(), Nudge::Store));
            }
            Woken::Nudged(Err(broadcast::error::RecvError::Closed)) => listening = false,
            Woken::Read(_) | Woken::Wrote(_) | Woken::NoCarrier | Woken::Time => {
                open = false;
                out = Outgoing::default();
                block_in_place(|| dialogue.handle_hangup(clock()));
            }
        }
    }
}

/// Returns when the carrier is known to be lost.
pub(super) async fn carrier_lost(lines: &Option<Box<dyn Lines>>) {
    while lines.as_ref().and_then(|lines| lines.carrier()) != Some(false) {
        tokio::time::sleep(CARRIER_LOOK).await;
    }
}

/// Returns when a carrier comes that was not there.
pub(super) async fn carrier_comes(lines: &Option<Box<dyn Lines>>) {
    let carrier = || lines.as_ref().and_then(|lines| lines.carrier());
    let (mut before, mut now) = (None, carrier());
    while (before, now) != (Some(false), Some(true)) {
        tokio::time::sleep(CARRIER_LOOK).await;
        (before, now) = (now, carrier());
    }
}

/// What is being written, and how long the line will be busy with it.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// When the line has carried what was written, by its speed.
    line_free: Instant,
    /// When the line has room again.
    wake_at: Option<Instant>,
    /// When the peer has not taken anything for too long.
    stalls_at: Option<Instant>,
}

impl Outgoing {
    fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn wrote(&mut self, link: &Link, now: Now, count: usize) {
        self.written += count;
        self.line_free = self.line_free.max(now.instant) + link.facts.line_time(count);
        self.stalls_at = None;
    }

    /// Whether more may be asked of the dialogue; makes room for it.
    fn pace(&mut self, link: &Link, now: Now) -> bool {
        self.bytes.clear();
        self.written = 0;
        self.stalls_at = None;
        let queued = link.lines.as_ref().map_or(Duration::ZERO, |lines| link.facts.line_time(lines.unsent()));
        let backlog = self.line_free.since(now.instant).max(queued);
        if backlog <= BACKLOG {
            self.wake_at = None;
            return true;
        }
        self.wake_at = Some(now.instant + (backlog - BACKLOG));
        false
    }

    fn stalls_at(&mut self, now: Now) -> Option<Instant> {
        if self.is_written() {
            return None;
        }
        Some(*self.stalls_at.get_or_insert(now.instant + STALL_TIMEOUT))
    }

    fn is_stalled(&self, now: Now) -> bool {
        !self.is_written() && self.stalls_at.is_some_and(|at| at <= now.instant)
    }
}

/// Lets the last words leave the tty before anybody hangs up. A peer may hold them back for ever: a telnet client that
/// has suspended us.
async fn drain(link: &mut Link) {
    let Link { writer, lines, .. } = link;
    let leaving = async {
        let _ = writer.flush().await;
        while lines.as_ref().is_some_and(|lines| lines.unsent() > 0) {
            tokio::time::sleep(UNSENT_LOOK).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, leaving).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Facts;
    use crate::link::Speaks;

    #[test]
    fn a_telnet_client_that_suspends_us_for_ever_keeps_nobody() {
        const SUSPEND: &[u8] = b"\xff\xfb\x2c\xff\xfa\x2c\x08\xff\xf0";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (near, mut far) = tokio::io::duplex(1000);
            let (reader, writer) = tokio::io::split(near);
            let mut link = Link::new(Facts::stream("test"), reader, writer).over_telnet(Speaks::FirstByteTells);
            link.socket = true;
            far.write_all(SUSPEND).await.expect("it listens");
            far.write_all(b"x").await.expect("it listens");
            let mut heard = [0];
            link.reader.read_exact(&mut heard).await.expect("a byte");
            let telnet = link.telnet.as_ref().expect("it speaks telnet").lock().expect("nobody panics").is_held();
            assert!(telnet, "the client was not understood");
            let begun = tokio::time::Instant::now();
            drain(&mut link).await;
            link.close().await;
            assert!(begun.elapsed() <= LAST_WORDS + Duration::from_secs(3), "{:?}", begun.elapsed());
            drop(far);
        });
    }
}
