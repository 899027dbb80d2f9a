//! What the protocols with windows share: how long an answer may take, how many errors are too many, and how much may wait.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Counters, Violation};
use crate::base::limits::CONTROL_WAITING_MAX;
use crate::base::time::Instant;
use crate::dialogue::Facts;

/// The least that we wait for an answer beyond the line's own time: a peer on a slow machine writes to its disk.
const PATIENCE_MIN: Duration = Duration::from_millis(500);
/// The least on a link that loses nothing and has no known speed: what looks like silence is a slow line somewhere
/// behind it, and repeating would only fill that. (Taylor's time for every line.)
const PATIENCE_BLIND: Duration = Duration::from_secs(10);
/// What we wait before any answer has told us better.
const PATIENCE_FIRST: Duration = Duration::from_secs(3);

/// Puts a control packet behind those that wait for the line, unless they are too many.
pub fn push_control<C>(waiting: &mut VecDeque<C>, control: C) {
    if waiting.len() < CONTROL_WAITING_MAX {
        waiting.push_back(control);
    }
}

/// How long the peer's answers take, learnt from those that came. Times count from when the last byte of what is
/// answered has left, so a slow line's backlog does not look like a slow peer.
#[derive(Debug)]
pub struct Pace {
    facts: Facts,
    clear_at: Instant,
    /// Smoothed time and its mean deviation, as TCP keeps them (RFC 6298 section 2).
    learnt: Option<(Duration, Duration)>,
    quickest: Option<Duration>,
    meter: Meter,
    /// When something was last acknowledged, if more was under way.
    carried_at: Option<Instant>,
}

/// How long the line may be busy with what it has been given before more is given, where all that is under way goes again with
/// what is lost.
const GIVEN_AHEAD: Duration = Duration::from_millis(40);
/// Over what time the rate of a line is measured.
const METER_TIME: Duration = Duration::from_millis(500);
/// What may be under way beyond one way there and back: enough that the line is never idle, and little enough that a
/// repetition is not late.
const AHEAD: Duration = Duration::from_millis(600);
/// What may be under way before the rate is known, bytes.
const UNMEASURED: usize = 4096;

/// How fast the line is, by the acknowledgements.
#[derive(Debug, Default)]
struct Meter {
    /// Since when it has been busy without a pause, and what has been acknowledged since.
    since: Option<Instant>,
    bytes: usize,
    /// Bytes per second.
    rate: Option<f64>,
}

impl Meter {
    fn carried(&mut self, now: Instant, bytes: usize, busy: bool) {
        if let Some(since) = self.since {
            self.bytes += bytes;
            let time = now.since(since);
            if time >= METER_TIME {
                let rate = self.bytes as f64 / time.as_secs_f64();
                // Pauses of the peer and packets that went again make it look slower than it is.
                self.rate = Some(self.rate.map_or(rate, |before| rate.max(before * 0.95)));
                (self.since, self.bytes) = (Some(now), 0);
            }
        } else {
            (self.since, self.bytes) = (Some(now), 0);
        }
        if !busy {
            self.since = None;
        }
    }
}

impl Pace {
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            clear_at: Instant::default(),
            learnt: None,
            quickest: None,
            meter: Meter::default(),
            carried_at: None,
        }
    }

    /// These many bytes were handed out. Says when the last of them will have left.
    pub fn sent(&mut self, now: Instant, bytes: usize) -> Instant {
        self.clear_at = self.clear_at.max(now) + self.facts.line_time(bytes);
        self.clear_at
    }

    pub fn learn(&mut self, left: Instant, now: Instant) {
        let took = now.since(left);
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        self.learnt = Some(match self.learnt {
            None => (took, took / 2),
            Some((smooth, deviation)) => ((smooth * 7 + took) / 8, (deviation * 3 + smooth.abs_diff(took)) / 4),
        });
    }

    /// How long after its last byte left a packet should have been answered.
    pub fn patience(&self) -> Duration {
        let first = || PATIENCE_FIRST.max(self.facts.round_trip.unwrap_or_default() * 2);
        let learnt = self.learnt.map_or_else(first, |(smooth, deviation)| smooth + deviation * 4);
        let blind = self.facts.speed.is_none() && self.facts.reliable;
        learnt.max(if blind { PATIENCE_BLIND } else { PATIENCE_MIN })
    }

    /// The usual time of an answer; zero before the first.
    pub fn usual(&self) -> Duration {
        self.learnt.map_or(Duration::ZERO, |(smooth, _)| smooth)
    }

    /// The shortest time of an answer so far: what the way itself takes.
    pub fn quickest(&self) -> Option<Duration> {
        self.quickest
    }

    /// Something came damaged: whatever the link was taken for, it is not reliable.
    pub fn doubt(&mut self) {
        self.facts.reliable = false;
    }

    /// So many bytes have been acknowledged; `busy`: others are still under way.
    pub fn carried(&mut self, now: Instant, bytes: usize, busy: bool) {
        self.meter.carried(now, bytes, busy);
        self.carried_at = busy.then_some(now);
    }

    /// Bits per second of the line: as configured, or as measured.
    pub fn speed(&self) -> Option<f64> {
        self.facts.speed.map(f64::from).or(self.meter.rate.map(|rate| rate * 10.0))
    }

    /// How many bytes may be under way on a line of unknown speed that loses some: what lies in buffers on the way
    /// makes every repetition late. `None` where the driver sees to it, or nothing is repeated.
    pub fn bound(&self) -> Option<usize> {
        if self.facts.speed.is_some() || self.facts.reliable {
            return None;
        }
        let time = self.quickest.unwrap_or_default() + AHEAD;
        Some(self.meter.rate.map_or(UNMEASURED, |rate| (rate * time.as_secs_f64()) as usize))
    }

    /// When so much of these bytes has arrived that more may be given, though the peer, which lacks one packet, can't acknowledge those
    /// behind it. `None`: nobody can say.
    pub fn room_at(&self, bytes: usize) -> Option<Instant> {
        let excess = bytes.saturating_sub(self.bound()?);
        Some(self.carried_at? + Duration::from_secs_f64(excess as f64 / self.meter.rate?.max(1.0)))
    }

    /// When all that was handed out will have left.
    pub fn clear_at(&self) -> Instant {
        self.clear_at
    }

    /// Until when the line has enough, with so many bytes more, if every byte ahead is one that may go for nothing. Where one
    /// side sends at a time, what is given goes in one turn.
    pub fn busy_until(&self, now: Instant, more: usize) -> Option<Instant> {
        let busy = self.clear_at.since(now) + self.line_time(more);
        (self.facts.full_duplex && busy > GIVEN_AHEAD).then(|| now + (busy - GIVEN_AHEAD))
    }

    pub fn line_time(&self, bytes: usize) -> Duration {
        self.facts.line_time(bytes)
    }
}

/// Good packets that make up for one error.
const GOOD_FOR_ONE: u32 = 10;

/// Counts packets and errors, and knows when the errors are too many.
#[derive(Debug)]
pub struct Tally {
    pub counters: Counters,
    errors: u32,
    good: u32,
    errors_max: u32,
}

impl Tally {
    pub fn new(errors_max: u32) -> Self {
        Self { counters: Counters::default(), errors: 0, good: 0, errors_max }
    }

    pub fn good(&mut self) {
        self.good += 1;
        if self.good >= GOOD_FOR_ONE {
            self.good = 0;
            self.errors = self.errors.saturating_sub(1);
        }
    }

    /// One more error; too many end the call.
    pub fn error(&mut self) -> Result<(), Violation> {
        self.errors += 1;
        if self.errors > self.errors_max { Err(Violation::TooManyErrors(self.counters)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_answers_and_leaves_the_line_its_time() {
        let mut pace = Pace::new(Facts::serial("line", 9600));
        let start = Instant::from_micros(5_000_000);
        assert_eq!(pace.patience(), PATIENCE_FIRST);
        assert_eq!(pace.sent(start, 960), start + Duration::from_secs(1));
        assert_eq!(pace.sent(start, 960), start + Duration::from_secs(2), "it waits for what went before");
        for _ in 0..40 {
            pace.learn(start, start + Duration::from_secs(4));
        }
        assert!((Duration::from_secs(4)..Duration::from_millis(4100)).contains(&pace.patience()));
        for _ in 0..80 {
            pace.learn(start, start + Duration::from_millis(1));
        }
        assert_eq!(pace.patience(), PATIENCE_MIN);
        assert_eq!(pace.quickest(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn the_speed_of_an_unknown_line_is_measured_and_bounds_what_is_under_way() {
        let stream = Facts::stream("line");
        let mut pace = Pace::new(stream.clone());
        assert_eq!(pace.bound(), None, "nothing is lost on it");
        pace.doubt();
        assert_eq!((pace.bound(), pace.speed()), (Some(UNMEASURED), None));
        let start = Instant::from_micros(5_000_000);
        pace.learn(start, start + Duration::from_millis(400));
        for n in 0..20 {
            pace.carried(start + Duration::from_millis(100) * n, 576, true);
        }
        assert_eq!((pace.bound(), pace.speed()), (Some(5760), Some(57_600.0)));
        let told = start + Duration::from_millis(1900);
        assert_eq!(pace.room_at(5760 + 2880), Some(told + Duration::from_millis(500)), "by then so much has arrived");
        // An hour later.
        let later = start + Duration::from_secs(3600);
        pace.carried(later, 576, false);
        assert_eq!(pace.room_at(10_000), None, "nothing was under way");
        pace.carried(later + Duration::from_secs(3600), 576, true);
        assert!(pace.speed().is_some_and(|speed| speed > 50_000.0), "a pause is no slow line");
        assert_eq!(Pace::new(Facts::serial("line", 9600)).bound(), None, "the driver sees to it");
    }

    #[test]
    fn errors_are_forgiven_for_good_packets_and_too_many_are_too_many() {
        let mut tally = Tally::new(2);
        assert_eq!((tally.error(), tally.error()), (Ok(()), Ok(())));
        (0..10).for_each(|_| tally.good());
        assert_eq!(tally.error(), Ok(()));
        assert_eq!(tally.error(), Err(Violation::TooManyErrors(Counters::default())));
    }
}
