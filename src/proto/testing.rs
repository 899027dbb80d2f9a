//! What the tests of all protocols use: one protocol on a bench, fed by hand.

use std::time::Duration;

use super::{Channel, Event, Parameters, Protocol, Settings, Start, entry};
use crate::base::time::Now;
use crate::dialogue::Facts;

pub(crate) use crate::wire::packet::tests::hex;

pub struct Bench {
    pub protocol: Box<dyn Protocol>,
    pub now: Now,
}

impl Bench {
    pub fn new(letter: char, caller: bool) -> Self {
        Self::with(letter, caller, usual(letter))
    }

    pub fn with(letter: char, caller: bool, parameters: Parameters) -> Self {
        Self::begin(letter, Start { caller, facts: facts(), parameters })
    }

    /// An answerer on this link.
    pub fn on(facts: Facts, letter: char) -> Self {
        Self::begin(letter, Start { caller: false, facts, parameters: usual(letter) })
    }

    /// One whose peer is ours.
    pub fn between_us(letter: char, caller: bool) -> Self {
        let facts = Facts { peer_is_ours: true, ..facts() };
        Self::begin(letter, Start { caller, parameters: Settings::default().on(letter, &facts), facts })
    }

    pub fn begin(letter: char, start: Start) -> Self {
        let make = entry(letter).expect("a protocol of the table").make;
        // Not at zero: no protocol may take the origin of the clock for its own beginning.
        let mut now = Now::default();
        now.instant = now.instant + Duration::from_secs(1_000_000);
        Self { protocol: make(start), now }
    }

    /// One that needs no start-up.
    pub fn started(letter: char, caller: bool) -> Self {
        let mut bench = Self::new(letter, caller);
        assert_eq!(bench.events(), [Event::Started]);
        assert!(bench.sent().is_empty());
        bench
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.protocol.handle_input(self.now, bytes);
        self.events()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.protocol.poll_event()).collect()
    }

    /// All that it wants to send now.
    pub fn sent(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let before = out.len();
            self.protocol.poll_transmit(self.now, &mut out);
            if out.len() == before {
                return out;
            }
        }
    }

    /// What it sends in so long, as the line has room for it.
    pub fn sent_within(&mut self, time: Duration) -> Vec<u8> {
        let mut out = self.sent();
        let end = self.now.instant + time;
        while let Some(at) = self.protocol.poll_timeout().filter(|at| *at < end) {
            self.now.instant = self.now.instant.max(at);
            self.protocol.handle_timeout(self.now);
            out.extend(self.sent());
        }
        self.now.instant = end;
        out
    }

    /// Lets time pass and tells the protocol at the end of it.
    pub fn pass(&mut self, seconds: u64) {
        self.now.instant = self.now.instant + Duration::from_secs(seconds);
        self.protocol.handle_timeout(self.now);
    }
}

pub fn facts() -> Facts {
    Facts::serial("bench", 115_200)
}

/// What a protocol is started with there where nothing is set.
pub fn usual(letter: char) -> Parameters {
    Settings::default().on(letter, &facts())
}

pub fn command(text: &str) -> Event {
    Event::Command { channel: Channel::Ours(1), text: text.into() }
}

pub fn data(offset: u64, bytes: &str) -> Event {
    Event::Data { channel: Channel::Ours(1), offset, bytes: bytes.into() }
}

pub fn end_of_file() -> Event {
    Event::EndOfFile { channel: Channel::Ours(1) }
}
