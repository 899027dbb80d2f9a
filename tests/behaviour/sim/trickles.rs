//! Peers that say a byte now and then, and lines that are honest and slow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bangpath::base::limits::MOVED_WITHIN_S;
use bangpath::base::time::{Instant, Now};
use bangpath::dialogue::{Dialogue, Request};
use bangpath::proto::Violation;
use bangpath::session::Ending;

use super::chance::Chance;
use super::letters;
use super::line::Quality;
use super::sessions::{arrived, call, facts, fill, sessions};
use super::shelf::Shelf;
use super::splits::Overheard;
use super::world::World;

/// What the called one speaks.
const EVERY: Option<&str> = Some("iteyjvGgaf");

/// Says what it has learnt, whatever it hears: a piece, and after its pause the next.
struct Reciting {
    pieces: VecDeque<(Vec<u8>, Duration)>,
    next_at: Instant,
    over: bool,
}

impl Dialogue for Reciting {
    type Outcome = ();

    fn handle_input(&mut self, _now: Now, _bytes: &[u8]) {}

    fn handle_timeout(&mut self, _now: Now) {}

    fn handle_hangup(&mut self, _now: Now) {
        self.over = true;
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        if now.instant >= self.next_at
            && let Some((piece, pause)) = self.pieces.pop_front()
        {
            out.extend(piece);
            self.next_at = now.instant + pause;
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next_at)
    }

    fn poll_request(&mut self) -> Option<Request<()>> {
        (self.over || self.pieces.is_empty()).then(|| Request::Finish { outcome: (), unread: Vec::new() })
    }
}

/// What a caller says that sends one file, up to its end.
fn overheard(letter: char) -> Vec<u8> {
    let here = Shelf::default();
    fill(&here, &mut Chance::new(1, 9), &[40_000]);
    let quality = Quality::clean(9600);
    let [caller, session] =
        sessions(Some(letter.to_string()), facts(letter, quality), EVERY, [&here, &Shelf::default()]);
    let bytes = Rc::new(RefCell::new(Vec::new()));
    let answerer = Overheard { dialogue: session, bytes: Rc::clone(&bytes) };
    World::new(caller, answerer, quality, 1).run(Duration::from_secs(3600)).unwrap_or_else(|stuck| panic!("{stuck}"));
    bytes.take()
}

/// A caller greets as others do and then says a byte each `pause`: how its call ends, and when.
fn trickle(letter: char, pause: Duration) -> (Ending, Duration) {
    let said = overheard(letter);
    let chosen = said.windows(2).position(|two| two == b"\x10U").expect("it chooses a protocol");
    let (greeting, rest) = said.split_at(chosen + 4);
    let words = greeting.split_inclusive(|byte| *byte == 0).map(|word| (word.to_vec(), Duration::from_secs(2)));
    let pieces = words.chain(rest.iter().map(|byte| (vec![*byte], pause))).collect();
    let caller = Reciting { pieces, next_at: Instant::default() + Duration::from_secs(1), over: false };
    let quality = Quality::clean(9600);
    let shelf = Shelf::default();
    let [_, answerer] = sessions(None, facts(letter, quality), EVERY, [&shelf, &shelf]);
    let ran = World::new(caller, answerer, quality, 1).run(Duration::from_secs(3 * 24 * 3600));
    let report = ran.unwrap_or_else(|stuck| panic!("{letter}: {stuck}"));
    (report.answerer.ending, report.elapsed)
}

#[test]
fn a_byte_now_and_then_does_not_hold_a_line() {
    for pause in [3, 30] {
        for letter in letters() {
            let (ending, elapsed) = trickle(letter, Duration::from_secs(pause));
            assert!(matches!(ending, Ending::Violation(_)), "{letter}, {pause}: {ending}");
            let most = Duration::from_secs(2 * MOVED_WITHIN_S);
            assert!(elapsed < most, "{letter}, {pause}: {ending} after {elapsed:?}");
            // In the others a packet must come whole before it counts.
            let bytes_count = matches!(letter, 'e' | 'f') && pause == 3;
            assert_eq!(ending == Ending::Violation(Violation::Trickle), bytes_count, "{letter}, {pause}: {ending}");
        }
    }
}

#[test]
fn a_line_that_is_honest_and_slow_is_left_in_peace() {
    let slow = [
        Quality::clean(50),
        Quality::clean(50).errors(1e-3).harmless(300),
        Quality::clean(300).half_duplex(2000),
        Quality::clean(300).half_duplex(5000),
        Quality::clean(300).half_duplex(10_000),
        Quality::clean(1200).latency(5000),
    ];
    for (seed, quality) in (1..).zip(slow) {
        let has_noise = quality.errors > 0.0;
        // The others give up by themselves there, long before too little has moved.
        for letter in letters().filter(|letter| !has_noise || *letter == 'i') {
            let (here, there) = (Shelf::default(), Shelf::default());
            let mut chance = Chance::new(seed, 9);
            let forth = fill(&here, &mut chance, &[100, 150, 9000]);
            let back = fill(&there, &mut chance, &[100, 3000]);
            let report = call(letter, quality, seed, [&here, &there]);
            let ending = report.caller.ending;
            assert!(
                ending.is_complete(),
                "{letter}, {quality:?}: {ending} after {:?}; {}",
                report.elapsed,
                report.answerer.ending
            );
            assert!(arrived(&there) == forth && arrived(&here) == back, "{letter}, {quality:?}");
        }
    }
}
