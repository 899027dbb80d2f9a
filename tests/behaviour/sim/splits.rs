//! The same bytes mean the same, however they are split; and garbage means nothing, without harm.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bangpath::base::time::{Instant, Now};
use bangpath::dialogue::{Dialogue, Facts, Request};
use bangpath::proto::{Event, Protocol, Settings, Start, Way, entry};

use super::chance::Chance;
use super::courier::Courier;
use super::line::Quality;
use super::protocols::texts;
use super::world::World;
use super::{letters, seeds};

/// Notes what somebody hears.
pub struct Overheard<D> {
    pub dialogue: D,
    pub bytes: Rc<RefCell<Vec<u8>>>,
}

impl<D: Dialogue> Dialogue for Overheard<D> {
    type Outcome = D::Outcome;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(bytes);
        self.dialogue.handle_input(now, bytes);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.dialogue.handle_timeout(now);
    }

    fn handle_hangup(&mut self, now: Now) {
        self.dialogue.handle_hangup(now);
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.dialogue.poll_transmit(now, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.dialogue.poll_timeout()
    }

    fn poll_request(&mut self) -> Option<Request<D::Outcome>> {
        self.dialogue.poll_request()
    }
}

fn start(caller: bool, letter: char) -> Start {
    let facts = Facts::serial("sim", 9600);
    Start { caller, parameters: Settings::default().on(letter, &facts), facts }
}

/// All that the answerer hears in a conversation on a bad line.
pub fn overhear(letter: char, quality: Quality, seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed, 5);
    let bytes = Rc::new(RefCell::new(Vec::new()));
    let files = texts(&mut chance, &[0, 100, 3000]);
    let caller = Courier::new(letter, start(true, letter), files);
    let courier = Courier::new(letter, start(false, letter), texts(&mut chance, &[500]));
    let answerer = Overheard { dialogue: courier, bytes: bytes.clone() };
    let ran = World::new(caller, answerer, quality, seed).run(Duration::from_secs(3600));
    ran.unwrap_or_else(|stuck| panic!("{letter}, seed {seed}: {stuck}"));
    bytes.take()
}

fn running(letter: char) -> Box<dyn Protocol> {
    let mut protocol = (entry(letter).expect("a protocol of the table").make)(start(false, letter));
    protocol.poll_transmit(Now::default(), &mut Vec::new());
    protocol
}

/// What the session is told when these portions come in, file bytes joined.
fn told<'a>(letter: char, portions: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut protocol = running(letter);
    let mut events: Vec<Event> = Vec::new();
    for portion in portions {
        protocol.handle_input(Now::default(), portion);
        while let Some(event) = protocol.poll_event() {
            if let Event::Command { channel, text } = &event
                && text.starts_with(b"S ")
            {
                protocol.begin_file(*channel, Way::In);
            }
            if let Event::Data { channel, bytes, .. } = &event
                && let Some(Event::Data { channel: same, bytes: before, .. }) = events.last_mut()
                && same == channel
            {
                before.extend_from_slice(bytes);
                continue;
            }
            events.push(event);
        }
    }
    events
}

fn check(letter: char, quality: Quality, seed: u64) {
    let stream = overhear(letter, quality, seed);
    let whole = told(letter, [&stream[..]]);
    assert!(whole.contains(&Event::Started) && whole.len() > 4, "{letter}, seed {seed}: {whole:?}");
    assert!(told(letter, stream.chunks(1)) == whole, "{letter}, seed {seed}: byte by byte it means something else");
    let mut chance = Chance::new(seed, 6);
    let mut rest = &stream[..];
    let mut cut = Vec::new();
    while !rest.is_empty() {
        let (portion, after) = rest.split_at(rest.len().min(1 + chance.below(200) as usize));
        cut.push(portion);
        rest = after;
    }
    assert!(told(letter, cut) == whole, "{letter}, seed {seed}: cut at random it means something else");
}

#[test]
fn the_same_bytes_mean_the_same_in_any_split() {
    // Without a clock a protocol that has lost its opening never starts, and nothing would be compared.
    let noisy = Quality::clean(9600).errors(1e-3).losses(1e-3).harmless(80);
    for seed in seeds(3) {
        for letter in letters() {
            check(letter, Quality::clean(9600), seed);
        }
        check('g', noisy, seed);
        check('j', noisy, seed);
        check('a', noisy, seed);
        check('v', noisy, seed);
        check('i', noisy, seed);
    }
}

#[test]
fn garbage_does_no_harm() {
    for seed in seeds(5) {
        for letter in letters() {
            let mut chance = Chance::new(seed, 7);
            let mut protocol = running(letter);
            let mut now = Now::default();
            let mut given = 0;
            for _ in 0..300 {
                // Random bytes with many that begin packets, and now and then a true packet with a byte changed.
                let mut portion: Vec<u8> = (0..chance.below(300))
                    .map(|_| match chance.below(4) {
                        0 => 0x10,
                        1 => 0x07,
                        2 => chance.below(16) as u8,
                        _ => chance.next() as u8,
                    })
                    .collect();
                mark_headers(&mut chance, &mut portion);
                protocol.handle_input(now, &portion);
                while protocol.poll_event().is_some() {}
                let mut out = Vec::new();
                protocol.poll_transmit(now, &mut out);
                given += out.len();
                now.instant = now.instant + Duration::from_millis(chance.below(500));
                if protocol.poll_timeout().is_some_and(|at| at <= now.instant) {
                    protocol.handle_timeout(now);
                }
            }
            assert!(given < 300 * 300, "{letter}, seed {seed}: {given} bytes in answer to garbage");
        }
    }
}

/// Makes some of the bytes into good headers, so that what lies behind them is reached.
fn mark_headers(chance: &mut Chance, bytes: &mut [u8]) {
    for _ in 0..4 {
        let at = chance.below(bytes.len() as u64) as usize;
        let Some(header) = bytes.get_mut(at..at + 6) else { continue };
        if chance.happens(0.5) {
            header[0] = 0x10;
            header[1] = 1 + chance.below(9) as u8;
            if header[1] == 9 {
                let check = 0xaaaa_u16.wrapping_sub(u16::from(header[4]));
                header[2..4].copy_from_slice(&check.to_le_bytes());
            }
        } else {
            header[0] = 0x07;
            header[3] &= 0xf0;
            header[4] &= 0x0f * chance.below(2) as u8;
        }
        header[5] = header[1] ^ header[2] ^ header[3] ^ header[4];
    }
}
