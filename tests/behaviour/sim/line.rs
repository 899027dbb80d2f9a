//! One direction of a simulated line: speed, latency, noise, lost and inserted bytes, and where or when it is cut.

use std::collections::VecDeque;
use std::time::Duration;

use bangpath::base::time::Instant;

use super::chance::Chance;

/// How long a sender pauses that pauses.
const PAUSE: Duration = Duration::from_millis(500);

/// What one direction does to the bytes on it.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// Bits per second, ten to the byte; 0: no limit.
    pub speed: u32,
    pub latency: Duration,
    /// Probability that a byte arrives as another one.
    pub errors: f64,
    /// Probability that a byte does not arrive.
    pub losses: f64,
    /// Probability, at each byte, that another arrives behind it that nobody sent.
    pub insertions: f64,
    /// Probability, at each byte, that noise sets in for the time of `burst_length` bytes at most.
    pub bursts: f64,
    pub burst_length: u64,
    /// So many bytes pass before errors and losses begin.
    pub harmless: u64,
    /// This one byte, counted from the first, arrives as another one.
    pub damaged_at: Option<u64>,
    /// Every byte loses its highest bit.
    pub seven_bits: bool,
    /// XON and XOFF do not arrive: something on the way takes them for flow control.
    pub eats_flow_control: bool,
    /// Both directions share the line, and it takes so long until the other side can send: half duplex.
    pub turn_round: Option<Duration>,
    /// Before this byte, counted from the first, whoever sends pauses for half a second.
    pub pauses_at: Option<u64>,
    /// The carrier drops when this many bytes have gone.
    pub cut_at: Option<u64>,
    /// The carrier drops after this time.
    pub drops_after: Option<Duration>,
}

impl Quality {
    pub fn clean(speed: u32) -> Self {
        Self {
            speed,
            latency: Duration::from_millis(5),
            errors: 0.0,
            losses: 0.0,
            insertions: 0.0,
            bursts: 0.0,
            burst_length: 0,
            harmless: 0,
            damaged_at: None,
            seven_bits: false,
            eats_flow_control: false,
            turn_round: None,
            pauses_at: None,
            cut_at: None,
            drops_after: None,
        }
    }

    pub fn latency(self, ms: u64) -> Self {
        Self { latency: Duration::from_millis(ms), ..self }
    }

    pub fn errors(self, errors: f64) -> Self {
        Self { errors, ..self }
    }

    pub fn losses(self, losses: f64) -> Self {
        Self { losses, ..self }
    }

    pub fn insertions(self, insertions: f64) -> Self {
        Self { insertions, ..self }
    }

    pub fn bursts(self, bursts: f64, burst_length: u64) -> Self {
        Self { bursts, burst_length, ..self }
    }

    pub fn harmless(self, bytes: u64) -> Self {
        Self { harmless: bytes, ..self }
    }

    pub fn damaged_at(self, byte: u64) -> Self {
        Self { damaged_at: Some(byte), ..self }
    }

    pub fn seven_bits(self) -> Self {
        Self { seven_bits: true, ..self }
    }

    pub fn eats_flow_control(self) -> Self {
        Self { eats_flow_control: true, ..self }
    }

    pub fn half_duplex(self, turn_round_ms: u64) -> Self {
        Self { turn_round: Some(Duration::from_millis(turn_round_ms)), ..self }
    }

    pub fn pauses_at(self, byte: u64) -> Self {
        Self { pauses_at: Some(byte), ..self }
    }

    pub fn cut_at(self, byte: u64) -> Self {
        Self { cut_at: Some(byte), ..self }
    }

    pub fn drops_after(self, seconds: u64) -> Self {
        Self { drops_after: Some(Duration::from_secs(seconds)), ..self }
    }

    /// What the equipment on the way makes of a byte.
    fn pass(&self, byte: u8) -> Option<u8> {
        let byte = if self.seven_bits { byte & 0x7f } else { byte };
        (!self.eats_flow_control || !matches!(byte, 0x11 | 0x13)).then_some(byte)
    }
}

pub struct Line {
    quality: Quality,
    chance: Chance,
    /// Nanoseconds: microseconds would round the time of one byte at 115200 bit/s.
    free_at: u64,
    under_way: VecDeque<(Instant, u8)>,
    /// How many bytes come out at once next time.
    portion: usize,
    /// Nanoseconds, too.
    burst_until: u64,
    /// It was the last to send on a line of half duplex; and how often it took its turn.
    has_turn: bool,
    pub turns: u64,
    pub carried: u64,
    pub damaged: u64,
}

impl Line {
    pub fn new(quality: Quality, chance: Chance) -> Self {
        Self {
            quality,
            chance,
            free_at: 0,
            under_way: VecDeque::new(),
            portion: 1,
            burst_until: 0,
            has_turn: false,
            turns: 0,
            carried: 0,
            damaged: 0,
        }
    }

    /// Waits for its turn on a line where one side sends at a time: behind what the other side has put on it.
    pub fn take_turn(&mut self, other: &mut Self) {
        let Some(turn_round) = self.quality.turn_round else { return };
        if other.has_turn {
            other.has_turn = false;
            self.free_at = self.free_at.max(other.free_at + turn_round.as_nanos() as u64);
            self.turns += 1;
        }
        self.has_turn = true;
    }

    /// Puts bytes on the line. Says when the carrier dropped, if they were too many for it.
    pub fn send(&mut self, now: Instant, bytes: &[u8]) -> Option<Instant> {
        let byte_time = match self.quality.speed {
            0 => 0,
            speed => 10_000_000_000 / u64::from(speed),
        };
        self.free_at = self.free_at.max(now.as_micros() * 1000);
        for &byte in bytes {
            self.free_at += byte_time + self.pause();
            let arrival = Instant::from_micros(self.free_at / 1000) + self.quality.latency;
            if self.quality.cut_at.is_some_and(|end| self.carried >= end) {
                return Some(arrival);
            }
            self.carried += 1;
            let hit = self.quality.damaged_at == Some(self.carried);
            let byte = if hit { byte ^ 1 } else { byte };
            self.damaged += u64::from(hit);
            if let Some(byte) = self.noise(byte, byte_time).and_then(|byte| self.quality.pass(byte)) {
                self.under_way.push_back((arrival, byte));
            }
            if let Some(byte) = self.inserted().and_then(|byte| self.quality.pass(byte)) {
                self.under_way.push_back((arrival, byte));
            }
        }
        None
    }

    fn pause(&self) -> u64 {
        let pauses = self.quality.pauses_at == Some(self.carried + 1);
        if pauses { PAUSE.as_nanos() as u64 } else { 0 }
    }

    fn noise(&mut self, byte: u8, byte_time: u64) -> Option<u8> {
        let quiet = self.free_at >= self.burst_until;
        if quiet && self.quality.bursts > 0.0 && self.chance.happens(self.quality.bursts) {
            self.burst_until = self.free_at + byte_time * (1 + self.chance.below(self.quality.burst_length));
        }
        if self.free_at < self.burst_until {
            self.damaged += 1;
            return Some(self.chance.next() as u8);
        }
        if self.carried <= self.quality.harmless {
            return Some(byte);
        }
        if self.quality.losses > 0.0 && self.chance.happens(self.quality.losses) {
            self.damaged += 1;
            return None;
        }
        if self.quality.errors > 0.0 && self.chance.happens(self.quality.errors) {
            self.damaged += 1;
            return Some(byte ^ (1 + self.chance.below(255) as u8));
        }
        Some(byte)
    }

    fn inserted(&mut self) -> Option<u8> {
        let Quality { insertions, harmless, .. } = self.quality;
        if insertions <= 0.0 || self.carried <= harmless || !self.chance.happens(insertions) {
            return None;
        }
        self.damaged += 1;
        Some(self.chance.next() as u8)
    }

    /// How long what has been put on the line will still take to leave.
    pub fn backlog(&self, now: Instant) -> Duration {
        self.clear_at().since(now)
    }

    pub fn clear_at(&self) -> Instant {
        Instant::from_micros(self.free_at / 1000)
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// When a reader at the far end will next be told of bytes. Chips and kernels do not tell of each.
    pub fn next_arrival(&self) -> Option<Instant> {
        let last = self.portion.min(self.under_way.len()).checked_sub(1)?;
        Some(self.under_way[last].0)
    }

    pub fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let count = self.under_way.partition_point(|&(at, _)| at <= now);
        if count > 0 {
            // Some at a time, for 20 ms at most.
            let most = if self.quality.speed == 0 { 48 } else { (self.quality.speed / 500).clamp(1, 48) };
            self.portion = 1 + self.chance.below(u64::from(most)) as usize;
        }
        self.under_way.drain(..count).map(|(_, byte)| byte).collect()
    }

    /// The far end hears nothing more.
    pub fn cut(&mut self) {
        self.under_way.clear();
    }
}
