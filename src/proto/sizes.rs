//! How large packets should be on a link, by what is known of it, where the operator has not said so.

use std::time::Duration;

use super::g::UNDER_WAY_MAX;
use crate::dialogue::Facts;
use crate::wire::packet::{G_FIELD_MAX, HEADER};

/// The share of bytes that are taken to be damaged where nobody has counted them and nothing corrects them.
const SUPPOSED_ERRORS: f64 = 1e-4;
/// The same where the link is said to be without errors: none, as far as sizes go.
const NO_ERRORS: f64 = 1e-6;
/// In a, where much of what is under way goes again with what is lost, packets on a line of unknown noise are no smaller.
const NOISY: usize = 256;
/// A packet beyond this saves nothing more.
const PLENTY: usize = 1024;
/// How long a packet of i may take on the line.
const SECONDS: usize = 4;
/// In G commands and ends are full packets, too: of a small file four or five go for nothing.
const PADDED: usize = 256;
const SMALLEST: usize = 64;
/// What way there and back is reckoned with that has not been measured: two modems that correct errors.
const SUPPOSED: Duration = Duration::from_millis(250);
/// The same where one side sends at a time, and the line has to be turned round.
const SUPPOSED_TURNS: Duration = Duration::from_secs(1);
/// How long the peer may think before it answers.
const MARGIN: Duration = Duration::from_millis(50);
/// Taylor repeats after ten seconds, however much is under way: at 2400 bit/s and half duplex with 0.5 s it sent 23 of 36 packets
/// of 512 bytes twice and none of 256; at 1200 with 2 s packets of 128 take it a third longer than those of 64, and with 1024
/// it gives up.
const REPEATED_AFTER: Duration = Duration::from_secs(9);
/// How long the line may go one way between two of us, who count what is under way: a call is to notice soon that it is cut.
const ONE_WAY_MAX: Duration = Duration::from_secs(20);
/// Where one side sends at a time, a window is so many times as long as the turns that it costs.
const WINDOW_PER_TURNS: f64 = 4.0;

/// The largest packet that we ask the peer for; in a, that we send.
pub fn packet_size(letter: char, window: u8, facts: &Facts) -> u16 {
    let size = match letter {
        'v' => like_g(bearable(window, facts), window, facts),
        'G' if errors(facts) <= NO_ERRORS => like_g(PADDED, window, facts),
        // Noise costs more than padding saves, until the way is known to be so long that small packets leave it idle.
        'G' if facts.round_trip.is_some() || !facts.full_duplex => like_g(SMALLEST, window, facts),
        'G' => SMALLEST,
        'a' if errors(facts) > NO_ERRORS => {
            let most = if facts.errors.is_some() { bearable(window, facts) } else { PLENTY };
            second(facts).map_or(most, |second| second.clamp(NOISY.min(most), most))
        }
        // docs/protocol-g.md
        'g' => SMALLEST,
        // They size their packets by the errors that they count. But an answer may wait behind two of them, and who hears of none
        // for long takes the call for dead.
        'i' | 'j' => second(facts).map_or(PLENTY, |second| (second * SECONDS).clamp(SMALLEST, PLENTY)),
        _ => PLENTY,
    };
    u16::try_from(size).expect("no packet is larger than 4096 bytes")
}

/// `usual`, or more where the window would not fill the line.
fn like_g(usual: usize, window: u8, facts: &Facts) -> usize {
    let window = usize::from(window.max(1));
    let most = previous_power_of_two((UNDER_WAY_MAX / window).saturating_sub(HEADER)).min(G_FIELD_MAX);
    usual.max(filling(window, facts)).min(longest(window, facts).unwrap_or(most)).clamp(SMALLEST, most)
}

/// The share of bytes that are damaged, as counted or supposed.
fn errors(facts: &Facts) -> f64 {
    match facts.errors {
        Some(in_a_million) => f64::from(in_a_million).max(1.0) / 1e6,
        None if facts.reliable => NO_ERRORS,
        None => SUPPOSED_ERRORS,
    }
}

/// The packet that loses least. Each costs its header and its part of the turns of the line beside its data, and each damaged
/// byte the whole packet: of `size` bytes a share of `cost / size + size * errors` is lost, which is least at
/// `sqrt(cost / errors)`. With one damaged byte in ten thousand, and no turns, that is 245.
fn bearable(window: u8, facts: &Facts) -> usize {
    let turns = match facts.speed {
        Some(bps) if !facts.full_duplex && facts.peer_is_ours => {
            f64::from(bps) / 10.0 * turn_time(facts).as_secs_f64() / f64::from(window.max(1))
        }
        _ => 0.0,
    };
    nearest_power_of_two(((HEADER as f64 + turns) / errors(facts)).sqrt()).clamp(SMALLEST, PLENTY)
}

/// From the end of a packet to its acknowledgement, where one side sends at a time.
fn turn_time(facts: &Facts) -> Duration {
    facts.round_trip.unwrap_or(SUPPOSED_TURNS)
}

/// About a second of the line: the peer's time-outs know nothing of its speed. Where one side sends at a time the whole window
/// and the turn must be over before it repeats.
fn longest(window: usize, facts: &Facts) -> Option<usize> {
    let (bps, second) = (facts.speed?, second(facts)?);
    if facts.full_duplex {
        return Some(second);
    }
    let carried =
        |time: Duration| previous_power_of_two((f64::from(bps) / 10.0 * time.as_secs_f64()) as usize / window);
    match facts.peer_is_ours {
        true => Some(carried(ONE_WAY_MAX)),
        false => Some(second.min(carried(REPEATED_AFTER.saturating_sub(turn_time(facts))))),
    }
}

/// The packet with which the window fills the line until the first is acknowledged; zero where the speed is unknown.
fn filling(window: usize, facts: &Facts) -> usize {
    let Some(bps) = facts.speed else { return 0 };
    let round_trip = if facts.full_duplex { facts.round_trip.unwrap_or(SUPPOSED) } else { turn_time(facts) };
    let idle = f64::from(bps) / 10.0 * (round_trip + MARGIN).as_secs_f64();
    let needed = match facts.full_duplex {
        // The first is acknowledged when all of it has come.
        true => idle / (window - 1).max(1) as f64,
        false => idle * WINDOW_PER_TURNS / window as f64,
    };
    match facts.reliable {
        true => (needed as usize).next_power_of_two(),
        // The nearest: a packet twice as long is damaged twice as often.
        false => nearest_power_of_two(needed),
    }
}

/// About what the line carries in a second.
fn second(facts: &Facts) -> Option<usize> {
    facts.speed.map(|bps| nearest_power_of_two(f64::from(bps) / 10.0))
}

fn nearest_power_of_two(number: f64) -> usize {
    1 << (number.clamp(1.0, G_FIELD_MAX as f64).log2().round() as u32)
}

fn previous_power_of_two(number: usize) -> usize {
    1 << number.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(letter: char, facts: &Facts, round_trip_ms: Option<u64>, expected: u16) {
        let facts = Facts { round_trip: round_trip_ms.map(Duration::from_millis), ..facts.clone() };
        let found = packet_size(letter, 7, &facts);
        assert_eq!(found, expected, "{letter} on {facts:?}");
    }

    fn modems(speed: u32) -> Facts {
        Facts { reliable: true, ..Facts::serial("line", speed) }
    }

    #[test]
    fn a_packet_takes_a_second_at_most_and_noise_keeps_it_small() {
        for (speed, size) in [(300, 64), (1200, 128), (2400, 256), (9600, 256), (57_600, 256)] {
            check('v', &Facts::serial("line", speed), None, size);
        }
        for (speed, size) in [(300, 64), (1200, 128), (2400, 256), (9600, 1024), (57_600, 1024)] {
            check('v', &modems(speed), None, size);
        }
        for (speed, size) in [(300, 64), (2400, 256), (9600, 256)] {
            check('G', &modems(speed), None, size);
            check('G', &Facts::serial("line", speed), None, 64);
        }
        for (speed, size) in [(300, 256), (2400, 256), (4800, 512), (57_600, 1024)] {
            check('a', &Facts::serial("line", speed), None, size);
            check('a', &modems(speed), None, 1024);
        }
    }

    #[test]
    fn a_long_way_is_filled_by_larger_packets() {
        let line = Facts::serial("line", 57_600);
        for (letter, ms, size) in [('v', 20, 256), ('v', 600, 512), ('G', 600, 512), ('G', 20, 64), ('G', 1200, 1024)] {
            check(letter, &line, Some(ms), size);
        }
        for letter in ['v', 'G'] {
            check(letter, &modems(57_600), Some(1200), 2048);
            // No more than is under way at once, nor than a second of the line.
            check(letter, &modems(115_200), Some(5000), 2048);
            check(letter, &modems(2400), Some(30_000), 256);
        }
        assert_eq!(packet_size('G', 3, &Facts { round_trip: Some(Duration::from_secs(5)), ..modems(115_200) }), 4096);
        assert_eq!(packet_size('G', 1, &Facts { round_trip: Some(Duration::from_secs(5)), ..modems(115_200) }), 4096);
        assert_eq!(packet_size('v', 0, &modems(0)), 64, "nothing that is set makes it panic");
    }

    #[test]
    fn where_one_side_sends_at_a_time_the_window_is_long_beside_the_turns() {
        let radio = |speed| Facts { full_duplex: false, ..Facts::serial("radio", speed) };
        check('G', &radio(2400), None, 128);
        check('G', &radio(9600), Some(1000), 512);
        check('v', &radio(9600), Some(1000), 512);
        check('v', &radio(1200), Some(4000), 64);
        check('v', &radio(1200), None, 128);
        check('G', &radio(1200), Some(60_000), 64);
    }

    #[test]
    fn two_of_us_count_what_is_under_way_and_turn_the_line_round_less_often() {
        let radio = |speed| Facts { full_duplex: false, peer_is_ours: true, ..Facts::serial("radio", speed) };
        for (speed, ms, size) in [(2400, 1000, 512), (1200, 4000, 256), (300, 2000, 64), (9600, 1000, 1024)] {
            check('v', &radio(speed), Some(ms), size);
        }
        check('v', &Facts { full_duplex: true, ..radio(2400) }, Some(1000), 256);
    }

    #[test]
    fn errors_that_were_counted_say_more_than_what_was_supposed() {
        let line = |errors| Facts { errors: Some(errors), ..Facts::serial("line", 57_600) };
        for (errors, v, a) in [(0, 1024, 1024), (10, 1024, 1024), (100, 256, 256), (300, 128, 128), (1000, 64, 64)] {
            check('v', &line(errors), Some(1), v);
            check('a', &line(errors), Some(1), a);
        }
        check('G', &line(0), Some(1), 256);
        check('G', &line(100), Some(1), 64);
        check('v', &Facts { errors: Some(300), ..modems(57_600) }, Some(1), 128);
    }

    #[test]
    fn where_the_speed_is_unknown_noise_alone_counts() {
        let stream = Facts::stream("pipe");
        check('v', &stream, None, 1024);
        check('G', &stream, None, 256);
        check('v', &Facts { reliable: false, ..stream.clone() }, Some(2000), 256);
        check('G', &Facts { reliable: false, ..stream }, None, 64);
    }

    #[test]
    fn g_has_sixty_four_whatever_the_line() {
        check('g', &Facts::stream("pipe"), None, 64);
        check('g', &modems(57_600), Some(1200), 64);
    }

    #[test]
    fn a_packet_of_i_takes_four_seconds_at_most() {
        for (speed, size) in [(50, 64), (300, 128), (1200, 512), (2400, 1024), (57_600, 1024)] {
            check('i', &Facts::serial("line", speed), None, size);
        }
        check('j', &Facts::stream("pipe"), None, 1024);
    }
}
