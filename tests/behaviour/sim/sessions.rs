//! Whole sessions on simulated lines: handshake, commands both ways, hang-up; lines that are cut; calls until all is there.

use std::io::Write as _;
use std::time::Duration;

use bangpath::base::address::Address;
use bangpath::base::names::{Grade, SiteName};
use bangpath::base::time::Now;
use bangpath::dialogue::Facts;
use bangpath::proto::entry;
use bangpath::session::{Answering, CallResult, Calling, Ending, Refusal, Session, SettingsByProtocol};
use bangpath::wire::bsmtp;
use bangpath::wire::packing::Packing;
use bangpath::wire::uucp::ExecutionFile;

use super::chance::Chance;
use super::line::Quality;
use super::shelf::{OpenDoor, Shelf};
use super::world::{Report, World};
use super::{letters, seeds};

/// Calls after which everything must be there, whatever the line does.
const CALLS_MAX: u32 = 60;

pub fn facts(letter: char, quality: Quality) -> Facts {
    let facts = Facts {
        speed: Some(quality.speed).filter(|s| *s > 0),
        eight_bit: !quality.seven_bits,
        transparent: !quality.eats_flow_control,
        full_duplex: quality.turn_round.is_none(),
        ..Facts::serial("sim", 0)
    };
    // Some claim streams only.
    if entry(letter).is_some_and(|entry| entry.needs.reliable) {
        Facts { reliable: true, end_to_end: true, ..facts }
    } else {
        facts
    }
}

pub fn call(letter: char, quality: Quality, seed: u64, shelves: [&Shelf; 2]) -> Report<CallResult, CallResult> {
    call_with(Some(letter.to_string()), facts(letter, quality), quality, seed, shelves)
}

fn call_with(
    protocols: Option<String>,
    facts: Facts,
    quality: Quality,
    seed: u64,
    shelves: [&Shelf; 2],
) -> Report<CallResult, CallResult> {
    let [here, there] = sessions(protocols, facts, Some("iteyjvGgaf"), shelves);
    let world = World::new(here, there, quality, seed);
    world.run(Duration::from_secs(24 * 3600)).unwrap_or_else(|stuck| panic!("{quality:?}, seed {seed}: {stuck}"))
}

/// A caller that would test the line, and an answerer with these protocols.
pub fn sessions(
    protocols: Option<String>,
    facts: Facts,
    answered: Option<&'static str>,
    [caller, answerer]: [&Shelf; 2],
) -> [Session; 2] {
    let now = Now::default();
    let site = |name: &str| SiteName::parse(name).expect("a name");
    let calling = Calling {
        name: "village".to_owned(),
        site: site("hub"),
        desk: caller.desk(),
        protocols,
        worst: Grade::LEAST,
        sequence: None,
        longest: caller.open().longest,
        test_line: true,
    };
    let answering =
        Answering { name: "hub".to_owned(), login: None, reception: Box::new(OpenDoor(answerer.clone(), answered)) };
    let here = Session::calling(now, calling, facts.clone(), SettingsByProtocol::default());
    [here, Session::answering(now, answering, facts)]
}

/// What a site has got, as `shelf.rs` notes it.
pub type Arrived = Vec<(String, Vec<u8>)>;

/// Puts mail on a shelf; gives what the other side must get.
pub fn fill(shelf: &Shelf, chance: &mut Chance, sizes: &[usize]) -> Arrived {
    let mut expected = Vec::new();
    for (id, size) in (1..).zip(sizes) {
        let bytes = chance.bytes(*size);
        shelf.open().outbox.insert(id, bytes.clone());
        expected.push((format!("rmail user{id}"), bytes));
    }
    expected.sort();
    expected
}

/// Commands with their input. Damage may take the letter for E out of a handshake, which has no checksum: then the
/// two came as files.
pub fn arrived(shelf: &Shelf) -> Arrived {
    let contents = shelf.open();
    let data = |name: &str| contents.arrived.iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.clone());
    let command = |(name, bytes): &(String, Vec<u8>)| match name.get(..2) {
        Some("X.") => {
            let file = ExecutionFile::parse(bytes).expect("an execution file");
            Some((file.command, data(&file.input.expect("an input")).expect("its data")))
        }
        Some("D.") => None,
        _ => Some((name.clone(), bytes.clone())),
    };
    let mut arrived: Arrived = contents.arrived.iter().filter_map(command).collect();
    arrived.sort();
    arrived
}

/// Calls over lines of these qualities, one after the other and then the last again and again, until both sides have
/// everything. Each message must have arrived once and exactly. Gives how many calls it took.
fn check(letter: char, seed: u64, qualities: &[Quality]) -> u32 {
    let (here, there) = (Shelf::default(), Shelf::default());
    let mut chance = Chance::new(seed, 9);
    let forth = fill(&here, &mut chance, &[0, 1, 63, 64, 65, 1000, 4095, 4096, 4097, 30_000]);
    let back = fill(&there, &mut chance, &[74, 2000, 2000, 2000, 12_000]);
    for n in 0..CALLS_MAX {
        let quality = qualities[(n as usize).min(qualities.len() - 1)];
        let report = call(letter, quality, seed * 1000 + u64::from(n), [&here, &there]);
        let done = here.open().outbox.is_empty() && there.open().outbox.is_empty();
        if done && report.caller.ending.is_complete() {
            let summary =
                |all: &Arrived| all.iter().map(|(name, bytes)| format!("{name}:{}", bytes.len())).collect::<Vec<_>>();
            for (got, expected, way) in [(arrived(&there), &forth, "forth"), (arrived(&here), &back, "back")] {
                assert_eq!(summary(&got), summary(expected), "{letter}, seed {seed}, {way}");
                assert!(got == *expected, "{letter}, seed {seed}: what went {way} is not what arrived");
            }
            return n + 1;
        }
    }
    panic!("{letter}, seed {seed}: not everything arrived in {CALLS_MAX} calls");
}

#[test]
fn one_call_on_a_clean_line_carries_everything_both_ways() {
    for seed in seeds(4) {
        for letter in letters() {
            for speed in [0, 9600, 115_200] {
                assert_eq!(check(letter, seed, &[Quality::clean(speed)]), 1, "{letter}");
            }
            assert_eq!(check(letter, seed, &[Quality::clean(9600).half_duplex(300)]), 1, "{letter}");
        }
    }
}

#[test]
fn a_line_that_dies_anywhere_loses_nothing_and_doubles_nothing() {
    for seed in seeds(4) {
        let mut chance = Chance::new(seed, 4);
        for letter in letters() {
            // Cut anywhere, from the first byte of the handshake to the last of the good-bye.
            let cuts = [60, 400, 6000, 80_000].map(|range| Quality::clean(19_200).cut_at(chance.below(range)));
            check(letter, seed, &[&cuts[..], &[Quality::clean(19_200)]].concat());
        }
    }
}

#[test]
fn a_noisy_line_takes_more_calls_at_most() {
    for seed in seeds(4) {
        check('i', seed, &[Quality::clean(19_200).errors(3e-4)]);
        check('j', seed, &[Quality::clean(19_200).errors(3e-4).eats_flow_control()]);
        check('a', seed, &[Quality::clean(19_200).errors(3e-4).eats_flow_control()]);
        check('i', seed, &[Quality::clean(9600).latency(300).errors(1e-4).losses(1e-5)]);
    }
}

/// One call between two who have not configured any protocol: the letter they choose, and everything arrives.
fn check_choice(facts: Facts, quality: Quality, expected: char) {
    for seed in seeds(4) {
        let (here, there) = (Shelf::default(), Shelf::default());
        let mut chance = Chance::new(seed, 9);
        let forth = fill(&here, &mut chance, &[0, 1, 4096, 20_000]);
        let back = fill(&there, &mut chance, &[74, 12_000]);
        let report = call_with(None, facts.clone(), quality, seed, [&here, &there]);
        let CallResult { protocol, ending, .. } = &report.caller;
        assert!(*protocol == Some(expected) && ending.is_complete(), "{quality:?}: {protocol:?}, {ending}");
        assert!(arrived(&there) == forth && arrived(&here) == back, "{quality:?}, seed {seed}");
    }
}

#[test]
fn the_line_decides_the_protocol() {
    let check = |quality: Quality, expected| check_choice(facts('i', quality), quality, expected);
    check(Quality::clean(9600), 'i');
    check(Quality::clean(9600).seven_bits(), 'f');
    check(Quality::clean(9600).seven_bits().eats_flow_control(), 'f');
    check(Quality::clean(9600).eats_flow_control(), 'j');
    check_choice(Facts::stream("sim"), Quality::clean(0), 'i');
}

#[test]
fn a_file_that_f_finds_damaged_goes_again_in_the_same_call() {
    for damaged in [8000, 12_000, 20_000] {
        let (here, there) = (Shelf::default(), Shelf::default());
        let forth = fill(&here, &mut Chance::new(damaged, 9), &[20_000, 300]);
        let back = fill(&there, &mut Chance::new(damaged, 8), &[20_000]);
        let quality = Quality::clean(9600).seven_bits().damaged_at(damaged);
        let report = call('f', quality, 1, [&here, &there]);
        assert!(report.caller.ending.is_complete() && report.damaged == 2, "{damaged}: {}", report.caller.ending);
        assert!(arrived(&there) == forth && arrived(&here) == back, "{damaged}");
        assert!(report.carried.iter().all(|carried| *carried > 50_000), "{damaged}: both files went twice");
    }
}

#[test]
fn a_restarted_file_moves_only_the_rest() {
    // In f a file always begins at its beginning.
    for letter in letters().filter(|letter| *letter != 'f') {
        for share in [25, 50, 75] {
            let (here, there) = (Shelf::default(), Shelf::default());
            let expected = fill(&here, &mut Chance::new(share, 9), &[200_000]);
            let cut = Quality::clean(57_600).cut_at(2000 * share);
            let report = call(letter, cut, share, [&here, &there]);
            assert!(
                matches!(report.caller.ending, Ending::LineLost(_) | Ending::Violation(_)),
                "{:?}",
                report.caller.ending
            );
            let before = there.open().bytes_in;
            let report = call(letter, Quality::clean(57_600), share, [&here, &there]);
            assert!(report.caller.ending.is_complete(), "{letter}: {}", report.caller.ending);
            assert!(arrived(&there) == expected, "{letter} {share}");
            let second = there.open().bytes_in - before;
            assert!(second <= 200_000 - before + 64_000, "{letter} {share}: {second} bytes after {before}");
            assert!(
                report.carried[0] <= (200_000 - before + 64_000) * 12 / 10,
                "{letter} {share}: {} on the line",
                report.carried[0]
            );
        }
    }
}

#[test]
fn a_line_that_drops_every_thirty_seconds_still_moves_a_million_bytes() {
    // The line alone needs six calls; each loses a second or two to its beginning and to what was under way.
    for letter in letters().filter(|letter| *letter != 'f') {
        let (here, there) = (Shelf::default(), Shelf::default());
        let expected = fill(&here, &mut Chance::new(30, 9), &[1_000_000]);
        let quality = Quality::clean(57_600).drops_after(30);
        let mut calls = 0;
        while !here.open().outbox.is_empty() {
            calls += 1;
            assert!(calls <= 8, "{letter}: {} bytes in {calls} calls", there.open().bytes_in);
            let report = call(letter, quality, calls, [&here, &there]);
            assert!(report.elapsed <= Duration::from_secs(31), "{letter}: {:?}", report.elapsed);
        }
        assert!(arrived(&there) == expected, "{letter}");
    }
}

#[test]
fn a_file_that_is_asked_for_comes_over_such_a_line_too_and_never_as_two_halves() {
    for letter in letters().filter(|letter| *letter != 'f') {
        for changed in [false, true] {
            let (here, there) = (Shelf::default(), Shelf::default());
            let mut chance = Chance::new(31, 9);
            let (old, new) = (chance.text(400_000), chance.text(400_000));
            here.open().wishes.insert(1, "wanted".to_owned());
            there.open().library.insert("wanted".to_owned(), old.clone());
            let quality = Quality::clean(57_600).drops_after(30);
            let mut calls = 0;
            while !here.open().wishes.is_empty() {
                calls += 1;
                // It needs three calls, and begins again where it is another one.
                assert!(calls <= 4 + u64::from(changed), "{letter}: {} bytes in {calls} calls", here.open().bytes_in);
                call(letter, quality, calls, [&here, &there]);
                if changed && calls == 1 {
                    there.open().library.insert("wanted".to_owned(), new.clone());
                }
            }
            let expected = if changed { &new } else { &old };
            assert!(arrived(&here) == [("wanted".to_owned(), expected.clone())], "{letter}, changed: {changed}");
        }
    }
}

/// Everything goes up in one call over a half-duplex line; gives how often the line was turned round.
fn turns(letter: char, sizes: &[usize]) -> u64 {
    let here = Shelf::default();
    let expected = fill(&here, &mut Chance::new(50, 9), sizes);
    turns_for(letter, &here, &expected)
}

/// The same for letters of these sizes that are packed as one batch.
fn turns_batched(letter: char, packing: Packing, sizes: &[usize]) -> u64 {
    let mut chance = Chance::new(50, 9);
    let address = |text: &str| Address::parse_smtp(text).expect(text);
    let mut batch = bsmtp::Writer::new(Vec::new(), packing, "village.example").expect("written to memory");
    for size in sizes {
        batch.begin(Some(&address("alice@village.example")), &[address("bob@hub.example")]).expect("written to memory");
        batch.write_all(&chance.text(*size)).and_then(|()| batch.end()).expect("written to memory");
    }
    let batch = batch.finish().expect("written to memory");
    let here = Shelf::default();
    here.open().outbox.insert(1, batch.clone());
    turns_for(letter, &here, &vec![("rmail user1".to_owned(), batch)])
}

fn turns_for(letter: char, here: &Shelf, expected: &Arrived) -> u64 {
    let there = Shelf::default();
    let report = call(letter, Quality::clean(2400).half_duplex(500), 1, [here, &there]);
    assert!(report.caller.ending.is_complete() && arrived(&there) == *expected, "{letter}: {}", report.caller.ending);
    report.turns
}

#[test]
fn fifty_letters_turn_a_half_duplex_line_round_as_seldom_as_the_protocol_lets_them() {
    let check = |letter: char, sizes: &[usize], turns_max: u64| {
        let turns = turns(letter, sizes);
        assert!(turns <= turns_max, "{letter}, {} files: the line was turned round {turns} times", sizes.len());
    };
    check('y', &[700; 50], 4 * 50 + 12);
    // Offers, files and confirmations of as many as the window takes go together.
    check('i', &[700; 50], 40);
    for letter in ['i', 'y'] {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Compress] {
            let turns = turns_batched(letter, packing, &[700; 50]);
            assert!(turns <= 20, "{letter}, a batch, {packing:?}: the line was turned round {turns} times");
        }
    }
}

#[test]
fn the_last_turns_of_the_line_are_saved_where_nothing_is_lost() {
    let quality = Quality::clean(2400).half_duplex(500);
    let turns = |letter: char, reliable: bool| {
        let (here, there) = (Shelf::default(), Shelf::default());
        fill(&here, &mut Chance::new(50, 9), &[700]);
        let facts = Facts { reliable, ..facts(letter, quality) };
        let report = call_with(Some(letter.to_string()), facts, quality, 1, [&here, &there]);
        for end in [&report.caller.ending, &report.answerer.ending] {
            assert!(end.is_complete(), "{letter}: {end}");
        }
        report.turns
    };
    for letter in ['g', 'i', 'y'] {
        let [sure, unsure] = [true, false].map(|reliable| turns(letter, reliable));
        assert!(sure < unsure, "{letter}: {sure} turns, {unsure} where something may be lost");
    }
}

#[test]
fn the_handshake_tells_how_far_the_peer_is() {
    // Over a satellite packets of 64 bytes leave the line idle: nobody knows of it but by the first words.
    let quality = Quality::clean(57_600).latency(600);
    for (letter, seconds) in [('G', 40), ('v', 35)] {
        let (here, there) = (Shelf::default(), Shelf::default());
        fill(&here, &mut Chance::new(7, 9), &[50_000; 2]);
        let report = call(letter, quality, 1, [&here, &there]);
        assert!(report.caller.ending.is_complete(), "{letter}: {}", report.caller.ending);
        assert!(report.elapsed < Duration::from_secs(seconds), "{letter}: {:?}", report.elapsed);
    }
}

#[test]
fn files_are_asked_for_and_refused() {
    for letter in letters() {
        let (here, there) = (Shelf::default(), Shelf::default());
        let file = Chance::new(1, 2).bytes(5000);
        there.open().library.insert("~/wanted".to_owned(), file.clone());
        here.open().wishes.insert(1, "~/wanted".to_owned());
        here.open().wishes.insert(2, "~/secret".to_owned());
        fill(&there, &mut Chance::new(3, 3), &[300]);
        let report = call(letter, Quality::clean(9600), 1, [&here, &there]);
        assert!(report.caller.ending.is_complete() && report.answerer.ending.is_complete(), "{letter}");
        assert!(here.open().arrived.contains(&("~/wanted".to_owned(), file)), "{letter}");
        assert_eq!(here.open().refused.len(), 1, "{letter}");
        assert!(here.open().wishes.is_empty() && there.open().outbox.is_empty(), "{letter}");
    }
}

#[test]
fn a_file_that_has_no_place_holds_up_no_other() {
    for letter in letters() {
        let (here, there) = (Shelf::default(), Shelf::default());
        there.open().no_place = Some("rmail user1".to_owned());
        fill(&here, &mut Chance::new(5, 5), &[500, 600, 700]);
        let report = call(letter, Quality::clean(9600), 1, [&here, &there]);
        assert!(report.caller.ending.is_complete() && report.answerer.ending.is_complete(), "{letter}");
        assert_eq!(there.open().arrived.len(), 2, "{letter}");
        assert_eq!(here.open().refused, [(1, Refusal::CannotStore)], "{letter}");
    }
}

#[test]
fn the_wrong_site_and_no_common_protocol_end_a_call_in_words() {
    let quality = Quality::clean(0);
    let (here, there) = (Shelf::default(), Shelf::default());
    let calling = Calling {
        name: "village".to_owned(),
        site: SiteName::parse("other").expect("a name"),
        desk: here.desk(),
        protocols: Some("g".to_owned()),
        worst: Grade::LEAST,
        sequence: Some(8),
        longest: None,
        test_line: false,
    };
    let answering = Answering {
        name: "hub".to_owned(),
        login: None,
        reception: Box::new(OpenDoor(there.clone(), Some("iteyjvGgaf"))),
    };
    let facts = facts('g', quality);
    let here = Session::calling(Now::default(), calling, facts.clone(), SettingsByProtocol::default());
    let there = Session::answering(Now::default(), answering, facts);
    let report =
        World::new(here, there, quality, 1).run(Duration::from_secs(600)).unwrap_or_else(|stuck| panic!("{stuck}"));
    assert_eq!(report.caller.ending.to_string(), "called the wrong site: it says it is `hub`");
    assert_eq!(report.answerer.ending.to_string(), "the line was lost during the caller's name");
}

#[test]
fn a_call_ends_in_order_when_its_longest_time_is_over_and_the_next_goes_on() {
    for letter in letters() {
        let (here, there) = (Shelf::default(), Shelf::default());
        here.open().longest = Some(Duration::from_secs(20));
        let sizes = [6000; 12];
        fill(&here, &mut Chance::new(5, 6), &sizes);
        let report = call(letter, Quality::clean(9600), 1, [&here, &there]);
        assert!(report.caller.stopped && report.caller.ending.is_complete(), "{letter}: {:?}", report.caller);
        let came = there.open().arrived.len();
        assert!((1..sizes.len()).contains(&came), "{letter}: {came} files");
        here.open().longest = None;
        call(letter, Quality::clean(9600), 2, [&here, &there]);
        assert_eq!(there.open().arrived.len(), sizes.len(), "{letter}");
    }
}

#[test]
fn a_call_that_is_stopped_at_once_goes_on_at_the_byte_in_the_next() {
    for letter in ["t", "i", "g"].map(|l| l.chars().next().expect("a letter")) {
        let (here, there) = (Shelf::default(), Shelf::default());
        // No file ends in the time that is given to it: what follows is an end at once.
        here.open().longest = Some(Duration::from_secs(1));
        let bytes = fill(&here, &mut Chance::new(5, 6), &[400_000]);
        let report = call(letter, Quality::clean(9600), 1, [&here, &there]);
        assert_eq!(report.caller.ending.to_string(), "stopped: the longest time for a call is over", "{letter}");
        here.open().longest = None;
        call(letter, Quality::clean(9600), 2, [&here, &there]);
        assert_eq!(arrived(&there), bytes, "{letter}");
        assert!(there.open().bytes_in < 420_000, "{letter}");
    }
}

#[test]
fn the_answerer_ends_a_call_in_order_and_what_the_caller_offers_is_put_off() {
    for letter in ['t', 'i', 'g', 'e'] {
        let (here, there) = (Shelf::default(), Shelf::default());
        there.open().longest = Some(Duration::from_secs(20));
        fill(&here, &mut Chance::new(5, 6), &[6000; 12]);
        let report = call(letter, Quality::clean(9600), 1, [&here, &there]);
        assert!(report.answerer.stopped, "{letter}");
        assert!(here.open().refused.iter().all(|(_, why)| *why == Refusal::TooLargeNow), "{letter}");
        assert!(!there.open().arrived.is_empty() && !here.open().refused.is_empty(), "{letter}");
    }
}
