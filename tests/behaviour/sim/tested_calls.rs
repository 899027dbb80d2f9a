//! Calls between two of us over lines of which nothing is known: the line is tested first, and what is found decides the protocol.

use std::time::Duration;

use bangpath::base::time::{Instant, Now};
use bangpath::dialogue::{Dialogue, Facts, Request};
use bangpath::session::CallResult;
use bangpath::wire::line_test::{Frame, Heard, Sample, Side, Word};

use super::chance::Chance;
use super::line::Quality;
use super::seeds;
use super::sessions::{arrived, fill, sessions};
use super::shelf::Shelf;
use super::world::{Report, World};

/// What a port says of a line that nobody has looked at.
fn taken_for(quality: Quality) -> Facts {
    let speed = Some(quality.speed).filter(|&bps| bps > 0);
    Facts { speed, full_duplex: quality.turn_round.is_none(), ..Facts::serial("sim", 0) }
}

/// One call with mail both ways; `tested` says whether the answerer offers the test.
fn call(quality: Quality, seed: u64, sizes: [&[usize]; 2], tested: bool) -> Report<CallResult, CallResult> {
    let (here, there) = (Shelf::default(), Shelf::default());
    let mut chance = Chance::new(seed, 9);
    let forth = fill(&here, &mut chance, sizes[0]);
    let back = fill(&there, &mut chance, sizes[1]);
    let answered = if tested { None } else { Some("ijvGgf") };
    let [caller, answerer] = sessions(None, taken_for(quality), answered, [&here, &there]);
    let world = World::new(caller, answerer, quality, seed);
    let report =
        world.run(Duration::from_secs(24 * 3600)).unwrap_or_else(|stuck| panic!("{quality:?}, {seed}: {stuck}"));
    let what = format!("{quality:?}, seed {seed}: {}", report.caller.ending);
    assert!(report.caller.ending.is_complete() && report.answerer.ending.is_complete(), "{what}");
    assert!(arrived(&there) == forth && arrived(&here) == back, "{what}");
    report
}

/// Over a line taken to be a plain one everything arrives, by the protocol that the line as it is wants.
fn check(quality: Quality, expected: char) {
    for seed in seeds(5) {
        let report = call(quality, seed, [&[0, 1, 4096, 20_000], &[74, 12_000]], true);
        assert_eq!((report.caller.protocol, report.answerer.protocol), (Some(expected), Some(expected)), "{quality:?}");
    }
}

#[test]
fn the_line_as_it_is_decides_the_protocol() {
    for speed in [1200, 9600, 57_600] {
        check(Quality::clean(speed), 'i');
        check(Quality::clean(speed).seven_bits(), 'f');
        check(Quality::clean(speed).eats_flow_control(), 'j');
        check(Quality::clean(speed).seven_bits().eats_flow_control(), 'f');
        check(Quality::clean(speed).latency(600).eats_flow_control(), 'j');
    }
    check(Quality::clean(2400).half_duplex(2000), 'i');
    check(Quality::clean(1200).half_duplex(4000).seven_bits(), 'f');
}

#[test]
fn a_test_that_noise_disturbs_costs_time_and_hardly_a_call() {
    let (mut calls, mut failed) = (0, 0);
    for seed in seeds(20) {
        let (here, there) = (Shelf::default(), Shelf::default());
        let mut chance = Chance::new(seed, 9);
        let (forth, back) = (fill(&here, &mut chance, &[2000]), fill(&there, &mut chance, &[2000]));
        // The handshake has no checksum, so the noise begins behind it; but the choice behind the test is in it.
        let quality = Quality::clean(9600).harmless(60).errors(1e-3);
        let place = |seed: u64| {
            let [caller, answerer] = sessions(None, taken_for(quality), None, [&here, &there]);
            let world = World::new(caller, answerer, quality, seed);
            world.run(Duration::from_secs(3600)).unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"))
        };
        let mut report = place(seed);
        calls += 1;
        if !report.caller.ending.is_complete() {
            failed += 1;
            report = place(seed + 1_000_000);
        }
        assert!(report.caller.ending.is_complete(), "seed {seed}: {}", report.caller.ending);
        assert_eq!(report.caller.protocol, Some('i'), "seed {seed}");
        assert!(arrived(&there) == forth && arrived(&here) == back, "seed {seed}");
    }
    assert!(failed * 50 <= calls, "{failed} of {calls} calls failed");
}

#[test]
fn a_line_that_dies_during_the_test_ends_the_call_and_the_next_goes_well() {
    for seed in seeds(20) {
        let (here, there) = (Shelf::default(), Shelf::default());
        let forth = fill(&here, &mut Chance::new(seed, 9), &[2000]);
        let clean = Quality::clean(9600).seven_bits();
        let place = |quality: Quality| {
            let [caller, answerer] = sessions(None, taken_for(quality), None, [&here, &there]);
            let world = World::new(caller, answerer, quality, seed);
            world.run(Duration::from_secs(3600)).unwrap_or_else(|stuck| panic!("{quality:?}, {seed}: {stuck}"))
        };
        let cut = clean.cut_at(40 + Chance::new(seed, 4).below(400));
        let report = place(cut);
        assert!(!report.caller.ending.is_complete() && !report.answerer.ending.is_complete(), "{cut:?}, seed {seed}");
        assert!(report.elapsed < Duration::from_secs(60), "{cut:?}, seed {seed}: {:?}", report.elapsed);
        assert!(place(clean).caller.ending.is_complete() && arrived(&there) == forth, "seed {seed}");
    }
}

/// What the answerer says to these bytes, fed in pieces of this size, and how it ends when its times have come.
fn answer(pieces: usize, bytes: &[u8]) -> (Vec<u8>, String, Duration) {
    let shelf = Shelf::default();
    let [_, mut answerer] = sessions(None, Facts::serial("sim", 9600), None, [&shelf, &shelf]);
    let (mut now, mut said) = (Now::default(), Vec::new());
    for piece in bytes.chunks(pieces) {
        answerer.handle_input(now, piece);
        answerer.poll_transmit(now, &mut said);
    }
    loop {
        if let Some(Request::Finish { outcome, .. }) = answerer.poll_request() {
            return (said, outcome.ending.to_string(), now.instant.since(Instant::from_micros(0)));
        }
        now.instant = answerer.poll_timeout().expect("a deadline");
        answerer.handle_timeout(now);
        answerer.poll_transmit(now, &mut said);
    }
}

fn frame(turn: u16, word: Word) -> Vec<u8> {
    Frame { side: Side::Asker, turn, word }.print()
}

#[test]
fn a_partner_answers_the_same_however_the_questions_are_split() {
    let mut bytes = b"\x10Svillage\0\x10UL\0".to_vec();
    for (turn, sample) in
        [(1, Sample::All), (2, Sample::Again([0x11, 0x13].into_iter().collect())), (3, Sample::Text(300))]
    {
        bytes.extend(frame(turn, Word::Hello("0".to_owned())));
        bytes.extend(frame(turn, Word::Raw(sample)));
        bytes.extend(sample.bytes().iter().filter(|byte| **byte != 0x13));
        bytes.extend(frame(turn, Word::End));
        bytes.extend(frame(turn, Word::Give(sample)));
    }
    let whole = answer(bytes.len(), &bytes);
    assert!(whole.0.windows(4).filter(|w| *w == b" l13").count() == 2, "{}", String::from_utf8_lossy(&whole.0));
    for pieces in [1, 7, 64] {
        assert_eq!(answer(pieces, &bytes), whole, "{pieces}");
    }
}

#[test]
fn a_caller_that_asks_without_end_is_heard_only_so_long() {
    let begin = b"\x10Svillage\0\x10UL\0".to_vec();
    let ask: Vec<u8> = (0..2000).flat_map(|turn| frame(turn, Word::Give(Sample::Text(4096)))).collect();
    let again = b"\x10UL\0".repeat(2000);
    let open = frame(1, Word::Raw(Sample::All)).repeat(3000);
    for rest in [ask, again, open, vec![b'<'; 60_000], Vec::new()] {
        let (said, ending, took) = answer(4096, &[&begin[..], &rest].concat());
        assert!(said.len() < 200_000, "{} bytes", said.len());
        assert!(ending.starts_with("the handshake came to nothing"), "{ending}");
        assert!(took < Duration::from_secs(200), "{took:?}");
    }
    // The letter was not offered on a stream.
    let shelf = Shelf::default();
    let [_, mut answerer] = sessions(None, Facts::stream("sim"), None, [&shelf, &shelf]);
    answerer.handle_input(Now::default(), &begin);
    answerer.poll_transmit(Now::default(), &mut Vec::new());
    let Some(Request::Finish { outcome, .. }) = answerer.poll_request() else { panic!("it is refused") };
    assert_eq!(outcome.ending.to_string(), "no protocol in common: ours `iteyjvGgf`, theirs `L`");
}

#[test]
fn a_caller_that_lies_about_the_line_holds_it_no_longer() {
    // The first packet of protocol i, and then nothing.
    let sync = b"\x07\x00\x00\x30\x04\x34\x04\x00\x10\x07\x85\x7f\x30\x46";
    let held = |bytes: &[u8]| answer(4096, &[b"\x10Svillage\0\x10UL\0", bytes, b"\x10Ui\0", sync].concat()).2;
    let honest = held(&[]);
    let found = Heard { looked_at: 256, timed: 430, micros: u32::MAX, ..Heard::default() };
    let lie = held(&frame(1, Word::Facts { forth: found, back: found, round_trip: 1 }));
    assert_eq!(lie, honest);
    let lie = held(&frame(1, Word::Facts { forth: found, back: found, round_trip: u32::MAX }));
    assert!(lie < honest * 3, "{lie:?} instead of {honest:?}");
}

/// What the test costs a call of one file of 2 kB, in seconds.
fn cost(quality: Quality) -> f64 {
    let time = |tested| call(quality, 1, [&[2000], &[]], tested).elapsed.as_secs_f64();
    time(true) - time(false)
}

#[test]
fn the_test_costs_little() {
    let check = |quality, most: f64| {
        let cost = cost(quality);
        assert!((0.0..most).contains(&cost), "{quality:?}: {cost:.2} s");
    };
    check(Quality::clean(2400), 4.0);
    check(Quality::clean(9600), 1.0);
    check(Quality::clean(57_600), 0.3);
    check(Quality::clean(2400).half_duplex(2000), 9.0);
}
