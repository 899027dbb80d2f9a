//! What the two sides of i tell each other with SYNC: packet size, window and channels.

use std::time::Duration;

use super::intake::WINDOW_MAX;
use crate::base::limits::CHANNELS_MAX;
use crate::base::time::Instant;
use crate::wire::packet::I_DATA_MAX;

/// SYNC packets that we send before giving up.
const SYNCS_MAX: u32 = 12;
/// SYNC packets that we answer while running: a peer that repeats its own has missed ours.
const SYNC_ANSWERS_MAX: u32 = 8;
/// What a peer will take that runs, but whose SYNC was lost: Taylor does not repeat it.
const SIZE_UNKNOWN: usize = 256;
const WINDOW_UNKNOWN: u8 = 4;
/// Packets larger than we asked for that may be under way when we ask for smaller ones.
const UNDER_WAY_MAX: u32 = 32;

pub struct Sync {
    /// The packet size that we ask for now, the largest that we ask for, and the window.
    pub size: usize,
    pub size_max: usize,
    pub window: u8,
    due: Option<Saying>,
    sent: u32,
    answers: u32,
    left: Instant,
    /// Packets since then.
    packets: u32,
    /// The peer's has come.
    heard: bool,
    /// The peer sends what only a running peer sends.
    pub peer_runs: bool,
    pub peer: Terms,
}

/// What the peer has said.
pub struct Terms {
    /// The most that it takes, and what it wants now.
    pub size: usize,
    pub wish: usize,
    pub window: u8,
    pub channels: u8,
}

#[derive(Clone, Copy, PartialEq)]
enum Saying {
    /// Size, window and channels.
    Whole,
    /// Size and window, while running.
    Size,
}

/// What to do where the peer's has not come.
#[derive(Debug, PartialEq, Eq)]
pub enum Unheard {
    SayAgain,
    /// It runs; its own was lost.
    Begin,
    GiveUp,
}

impl Sync {
    pub fn new(size: u16, window: u8) -> Self {
        let unknown = Terms { size: SIZE_UNKNOWN, wish: SIZE_UNKNOWN, window: WINDOW_UNKNOWN, channels: CHANNELS_MAX };
        let size = usize::from(size).clamp(1, I_DATA_MAX);
        Self {
            size,
            size_max: size,
            window: window.clamp(1, WINDOW_MAX),
            due: None,
            sent: 0,
            answers: 0,
            left: Instant::default(),
            packets: 0,
            heard: false,
            peer_runs: false,
            peer: unknown,
        }
    }

    /// The call begins; `silent`: the other side has the first word.
    pub fn open(&mut self, now: Instant, silent: bool) {
        self.left = now;
        self.due = (!silent).then_some(Saying::Whole);
    }

    /// Sees to it that the peer hears ours.
    pub fn say(&mut self) {
        if self.sent == 0 {
            self.due = Some(Saying::Whole);
        }
    }

    /// What the peer says, and whether it can be read.
    pub fn handle(&mut self, now: Instant, data: &[u8], opening: bool) -> bool {
        let &[high, low, window, ref rest @ ..] = data else { return false };
        let peer = &mut self.peer;
        let size = usize::from(u16::from_be_bytes([high, low]));
        if size > 0 {
            // A request in the middle is about noise; what the peer can take it has said at the start.
            peer.wish = size.min(I_DATA_MAX);
            peer.size = if rest.is_empty() { peer.size.max(peer.wish) } else { peer.wish };
        }
        peer.window = if window == 0 { WINDOW_MAX } else { window.min(WINDOW_MAX) };
        if let Some(&channels @ 1..=CHANNELS_MAX) = rest.first() {
            peer.channels = channels.min(peer.channels);
        }
        let first = !std::mem::replace(&mut self.heard, true);
        let just_sent = now < self.left + Duration::from_secs(1);
        if !opening && !first && !rest.is_empty() && self.answers < SYNC_ANSWERS_MAX && !just_sent {
            self.answers += 1;
            self.due = Some(Saying::Whole);
        }
        true
    }

    /// The wait for the peer's is over.
    pub fn unheard(&mut self, now: Instant) -> Unheard {
        // Taylor does not repeat its SYNC when it runs.
        if self.peer_runs && self.sent >= 3 {
            Unheard::Begin
        } else if self.sent >= SYNCS_MAX {
            Unheard::GiveUp
        } else {
            self.open(now, false);
            Unheard::SayAgain
        }
    }

    pub fn again_at(&self, timeout: Duration) -> Instant {
        self.left + if self.peer_runs { Duration::from_secs(2) } else { timeout / 2 }
    }

    /// A packet of this length came, where those of `best` bytes would suit the line. Asks for them, and asks again when the
    /// request seems to have been lost; `certain`: noise, not an accident, speaks for smaller ones.
    pub fn ask_for(&mut self, best: usize, length: usize, certain: bool) {
        self.packets += 1;
        let unheard = length > self.size && self.packets > UNDER_WAY_MAX;
        if best <= self.size / 2 && certain || best >= self.size * 2 {
            self.size = best;
            self.due = Some(Saying::Size);
        } else if unheard {
            self.due = Some(Saying::Size);
        }
    }

    /// The data of what is due.
    pub fn take_due(&mut self) -> Option<Vec<u8>> {
        let saying = self.due.take()?;
        let [high, low] = (self.size as u16).to_be_bytes();
        let channels = (saying == Saying::Whole).then_some(CHANNELS_MAX);
        Some([high, low, self.window].into_iter().chain(channels).collect())
    }

    /// What was due will have left then.
    pub fn has_left(&mut self, at: Instant) {
        self.left = at;
        self.sent += 1;
        self.packets = 0;
    }
}
