//! The line test on simulated lines: what a line does is what is found, from either side.

use std::time::Duration;

use bangpath::base::limits::{LINE_TEST_S, LINE_TEST_TEXT_MAX};
use bangpath::base::time::Now;
use bangpath::dialogue::Facts;
use bangpath::session::line_test::{Asker, Depth, Direction, LineReport, LineTestFailure, Partner};
use bangpath::wire::line_test::Sample;

use super::chance::Chance;
use super::line::Quality;
use super::seeds;
use super::world::{Report, World};

const WAIT: Duration = Duration::from_secs(30);
const THOROUGH: Depth = Depth::Thorough { wait: WAIT };

type Tested = Report<Result<LineReport, LineTestFailure>, Result<LineReport, LineTestFailure>>;

fn facts(quality: Quality) -> Facts {
    let speed = Some(quality.speed).filter(|&bps| bps > 0);
    Facts { speed, full_duplex: quality.turn_round.is_none(), ..Facts::serial("sim", 0) }
}

fn test(facts: Facts, lines: [Quality; 2], seed: u64) -> Tested {
    let now = Now::default();
    let asker = Asker::new(now, THOROUGH, facts.clone(), 4711);
    let partner = Partner::new(now, THOROUGH, facts, "iGgf".to_owned());
    let world = World::with_lines(asker, partner, lines, seed);
    world.run(Duration::from_secs(600)).unwrap_or_else(|stuck| panic!("seed {seed}, {lines:?}: {stuck}"))
}

/// Tests a line of these directions; both sides must find the same, seen from the other end. Gives what the asker found.
fn find(lines: [Quality; 2], seed: u64) -> (LineReport, Duration) {
    let report = test(facts(lines[0]), lines, seed);
    let what = format!("seed {seed}, {lines:?}");
    let found = report.caller.unwrap_or_else(|why| panic!("{what}: {why}"));
    let theirs = report.answerer.unwrap_or_else(|why| panic!("{what}: {why}"));
    assert_eq!((&found.sent, &found.received), (&theirs.received, &theirs.sent), "{what}");
    (found, report.elapsed)
}

/// What one direction is expected to be: eight bits, values that do not pass, and its speed.
#[derive(Clone, Copy)]
struct Expected {
    eight_bit: bool,
    spoilt: &'static str,
}

const CLEAN: Expected = Expected { eight_bit: true, spoilt: "" };
const EATS: Expected = Expected { eight_bit: true, spoilt: "11.13" };
const SEVEN: Expected = Expected { eight_bit: false, spoilt: "" };
/// Where the highest bit is gone, four values are eaten.
const BOTH: Expected = Expected { eight_bit: false, spoilt: "11.13.91.93" };

fn check(lines: [Quality; 2], expected: [Expected; 2]) {
    for seed in seeds(4) {
        let (found, _) = find(lines, seed);
        let what = format!("seed {seed}, {lines:?}: {found:?}");
        for (way, (expected, quality)) in [&found.sent, &found.received].into_iter().zip(expected.iter().zip(lines)) {
            assert_eq!(
                (way.is_eight_bit(), way.spoilt().to_string()),
                (expected.eight_bit, expected.spoilt.to_owned()),
                "{what}"
            );
            let speed = f64::from(quality.speed);
            match way.speed {
                Some(found) => assert!((f64::from(found) - speed).abs() < speed * 0.1, "{what}"),
                None => assert!(!(1..=19_200).contains(&quality.speed), "{what}"),
            }
        }
        let way = (lines[0].latency + lines[1].latency + lines[0].turn_round.unwrap_or_default()).as_secs_f64();
        let round_trip = found.round_trip.expect("measured").as_secs_f64();
        // Bytes are told of some at a time, for 20 ms at most.
        assert!((round_trip - way).abs() < 0.06 + way * 0.1, "{what}: {way}");
    }
}

#[test]
fn what_a_line_does_is_found_on_both_sides() {
    let clean = Quality::clean;
    for speed in [300, 1200, 2400, 9600, 19_200, 57_600, 115_200, 0] {
        check([clean(speed); 2], [CLEAN; 2]);
    }
    for speed in [1200, 9600, 0] {
        check([clean(speed).seven_bits(); 2], [SEVEN; 2]);
        check([clean(speed).eats_flow_control(); 2], [EATS; 2]);
        check([clean(speed).seven_bits().eats_flow_control(); 2], [BOTH; 2]);
        check([clean(speed).seven_bits(), clean(speed)], [SEVEN, CLEAN]);
        check([clean(speed), clean(speed).eats_flow_control()], [CLEAN, EATS]);
    }
    check([clean(1200), clean(75)], [CLEAN; 2]);
    check([clean(57_600).latency(300); 2], [CLEAN; 2]);
    check([clean(2400).latency(1000).eats_flow_control(); 2], [EATS; 2]);
    for turn in [500, 2000, 4000] {
        check([clean(1200).half_duplex(turn); 2], [CLEAN; 2]);
        check([clean(1200).half_duplex(turn).seven_bits(); 2], [SEVEN; 2]);
    }
}

#[test]
fn noise_is_not_taken_for_a_habit_of_the_line() {
    let (mut looked_at, mut damaged) = (0, 0);
    for quality in [
        Quality::clean(9600).errors(3e-3),
        Quality::clean(9600).losses(1e-3),
        Quality::clean(2400).latency(300).errors(1e-3).losses(1e-3),
        Quality::clean(2400).half_duplex(1000).errors(1e-3),
    ] {
        check([quality; 2], [CLEAN; 2]);
        check([quality.seven_bits().eats_flow_control(); 2], [BOTH; 2]);
    }
    for seed in seeds(20) {
        let (found, _) = find([Quality::clean(9600).errors(3e-3); 2], seed);
        for way in [found.sent, found.received] {
            (looked_at, damaged) = (looked_at + way.looked_at, damaged + way.damaged);
        }
    }
    let rate = f64::from(damaged) / f64::from(looked_at);
    assert!((2e-3..4e-3).contains(&rate), "{damaged} of {looked_at}");
}

#[test]
fn bursts_are_survived() {
    for seed in seeds(20) {
        let (found, _) = find([Quality::clean(9600).bursts(5e-4, 60); 2], seed);
        assert!(found.sent.is_eight_bit() && found.received.is_eight_bit(), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_line_slower_than_its_port_is_found_out() {
    for seed in seeds(20) {
        let set = Facts::serial("sim", 115_200);
        let report = test(set.clone(), [Quality::clean(2400); 2], seed);
        let found = report.caller.expect("a partner").found(&set);
        assert!(found.speed.is_some_and(|speed| (2200..2600).contains(&speed)), "{found:?}");
        let same = Facts::serial("sim", 2400);
        let report = test(same.clone(), [Quality::clean(2400); 2], seed);
        assert_eq!(report.caller.expect("a partner").found(&same).speed, Some(2400));
    }
}

#[test]
fn a_pause_of_one_side_makes_no_line_slow() {
    let quick = |set: &Facts, lines, seed| {
        let now = Now::default();
        let asker = Asker::new(now, Depth::Quick, set.clone(), 0);
        // The asker's choice of a protocol ends the partner's test in a call; here its time does.
        let partner = Partner::new(now, Depth::Quick, set.clone(), "i".to_owned());
        let world = World::with_lines(asker, partner, lines, seed);
        let report = world.run(Duration::from_secs(600)).unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
        let found = [report.caller.expect("a partner"), report.answerer.expect("an asker")];
        found.map(|found| found.found(set).speed.expect("a speed"))
    };
    for seed in seeds(40) {
        let pause = Chance::new(seed, 5).below(600);
        for (speed, set) in [(2400, 2400), (9600, 9600), (38_400, 38_400), (2400, 115_200), (9600, 115_200)] {
            let set = Facts::serial("sim", set);
            let [clean, pausing] = [Quality::clean(speed), Quality::clean(speed).pauses_at(pause)];
            for lines in [[pausing, clean], [clean, pausing], [pausing, pausing]] {
                for found in quick(&set, lines, seed) {
                    assert!(found.abs_diff(speed) < speed / 10, "seed {seed}, {speed}, pause at {pause}: {found}");
                }
            }
        }
    }
}

#[test]
fn what_a_partner_or_a_caller_says_is_believed_within_bounds() {
    let way = |speed| Direction { speed, ..Direction::default() };
    let check = |sent, received, round_trip: u64, expected: (u32, u64)| {
        let round_trip = Some(Duration::from_secs(round_trip));
        let found = LineReport { echo: false, sent: way(sent), received: way(received), round_trip };
        let found = found.found(&Facts::serial("sim", 9600));
        assert_eq!((found.speed, found.round_trip), (Some(expected.0), Some(Duration::from_secs(expected.1))));
    };
    check(Some(1), Some(1), 4294, (50, 30));
    check(Some(1), Some(1200), 1, (1200, 1));
    check(Some(1), Some(9500), 1, (9600, 1));
    check(Some(1), None, 1, (9600, 1));
}

/// A plug: what goes in comes out.
fn echo(asker: Asker, quality: Quality, seed: u64) -> Result<LineReport, LineTestFailure> {
    echo_with(asker, b"", quality, seed)
}

/// The same with something said after each return: a modem or a login that shows what it hears.
fn echo_with(asker: Asker, said: &'static [u8], quality: Quality, seed: u64) -> Result<LineReport, LineTestFailure> {
    let world = World::new(asker, Plug { said, ..Plug::default() }, quality, seed);
    world.run(Duration::from_secs(600)).unwrap_or_else(|stuck| panic!("{stuck}")).caller
}

#[derive(Default)]
struct Plug {
    bytes: Vec<u8>,
    said: &'static [u8],
    closed: bool,
}

impl bangpath::dialogue::Dialogue for Plug {
    type Outcome = ();

    fn handle_input(&mut self, _now: Now, bytes: &[u8]) {
        for byte in bytes {
            self.bytes.push(*byte);
            self.bytes.extend(if *byte == b'\r' { self.said } else { b"" });
        }
    }

    fn handle_timeout(&mut self, _now: Now) {}

    fn handle_hangup(&mut self, _now: Now) {
        self.closed = true;
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
    }

    fn poll_timeout(&self) -> Option<bangpath::base::time::Instant> {
        Some(bangpath::base::time::Instant::from_micros(u64::MAX / 2))
    }

    fn poll_request(&mut self) -> Option<bangpath::dialogue::Request<()>> {
        self.closed.then_some(bangpath::dialogue::Request::Finish { outcome: (), unread: Vec::new() })
    }
}

#[test]
fn a_modem_or_a_login_that_shows_what_it_hears_is_taken_for_no_plug() {
    let now = bangpath::base::time::Now::default();
    for said in [&b"\r\nOK\r\n"[..], b"\r\nPassword: "] {
        let quality = Quality::clean(9600);
        let asker = Asker::new(now, THOROUGH, facts(quality), 1);
        assert_eq!(echo_with(asker, said, quality, 1), Err(LineTestFailure::Talks), "{said:?}");
    }
}

#[test]
fn an_echo_is_known_for_one_and_tells_of_both_ways_together() {
    for seed in seeds(5) {
        for (quality, eight_bit, spoilt) in [
            (Quality::clean(9600), true, ""),
            (Quality::clean(9600).seven_bits(), false, ""),
            (Quality::clean(2400).eats_flow_control().errors(1e-3), true, "11.13"),
        ] {
            let asker = Asker::new(Now::default(), THOROUGH, facts(quality), seed as u32);
            let found = echo(asker, quality, seed).expect("an echo");
            assert!(found.echo && found.sent.is_eight_bit() == eight_bit, "seed {seed}: {found:?}");
            assert_eq!(found.sent.spoilt().to_string(), spoilt, "seed {seed}");
            let speed = f64::from(found.sent.speed.expect("slow enough"));
            assert!((speed / f64::from(quality.speed) - 1.0).abs() < 0.1, "seed {seed}: {found:?}");
        }
    }
}

#[test]
fn a_silent_or_deaf_line_ends_the_test_in_words_and_in_time() {
    let now = Now::default();
    let hears_nothing = Quality::clean(9600).losses(1.0);
    for lines in [[hears_nothing; 2], [Quality::clean(9600), hears_nothing], [hears_nothing, Quality::clean(9600)]] {
        let report = test(Facts::serial("sim", 9600), lines, 1);
        assert_eq!(report.caller, Err(LineTestFailure::Silence));
        assert!(report.elapsed < WAIT + Duration::from_secs(120), "{:?}", report.elapsed);
    }
    // Noise alone is neither a partner nor an echo.
    let noise = Quality::clean(9600).bursts(1.0, 10);
    assert_eq!(echo(Asker::new(now, THOROUGH, facts(noise), 1), noise, 1), Err(LineTestFailure::Silence));
    // A line that gets worse and worse: whatever is found, it comes to an end, with what fits into the time that a test has.
    let bytes_max = 960 * LINE_TEST_S + 2 * u64::from(LINE_TEST_TEXT_MAX);
    for seed in seeds(20) {
        for errors in [0.01, 0.03, 0.1, 0.3] {
            let report = test(Facts::serial("sim", 9600), [Quality::clean(9600).errors(errors); 2], seed);
            assert!(report.elapsed < Duration::from_secs(200), "{errors}: {:?}", report.elapsed);
            assert!(report.carried.iter().all(|bytes| *bytes < bytes_max), "{errors}: {:?}", report.carried);
        }
        let cut = Quality::clean(9600).cut_at(Chance::new(seed, 7).below(2000));
        let report = test(Facts::serial("sim", 9600), [cut; 2], seed);
        assert!(report.caller.is_err(), "{cut:?}: {:?}", report.caller);
    }
}

#[test]
fn a_test_by_hand_at_2400_takes_seconds() {
    let (_, elapsed) = find([Quality::clean(2400); 2], 1);
    // Each way all values and two seconds of text.
    assert!(elapsed < Duration::from_secs(18), "{elapsed:?}");
    assert_eq!(Sample::All.bytes().len(), 257);
}
