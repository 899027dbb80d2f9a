//! Calls between two of us over lines of which nothing is known: the line is tested first, and what is found decides the protocol.

use std::time::Duration;

use bangpath::dialogue::Facts;
use bangpath::session::CallResult;

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
fn a_test_that_noise_disturbs_costs_time_and_no_call() {
    for seed in seeds(20) {
        // The handshake itself has no checksum, so the noise begins behind it.
        let quality = Quality::clean(9600).harmless(60).errors(1e-3);
        let report = call(quality, seed, [&[2000], &[2000]], true);
        assert_eq!(report.caller.protocol, Some('i'), "seed {seed}");
    }
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
        eprintln!("{quality:?}: {cost:.2} s");
    };
    check(Quality::clean(2400), 4.0);
    check(Quality::clean(9600), 1.0);
    check(Quality::clean(57_600), 0.3);
    check(Quality::clean(2400).half_duplex(2000), 9.0);
}
