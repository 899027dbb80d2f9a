//! Protocol g against captured conversations, and against each loss that a line can cause.

use super::*;
use crate::base::limits::CONTROL_WAITING_MAX;
use crate::dialogue::Facts;
use crate::proto::Parameters;
use crate::proto::testing::{Bench, command, data, end_of_file, hex, usual};
use crate::wire::packet::Front;

const INITS: &str = "10 09 6b aa 3f f7 10 09 79 aa 31 eb 10 09 7b aa 2f f7";

fn started() -> Bench {
    opened(Bench::new('g', true))
}

fn opened(mut g: Bench) -> Bench {
    assert_eq!(g.sent(), hex("10 09 6b aa 3f f7"));
    assert_eq!(g.feed(&hex(INITS)), [Event::Started]);
    assert_eq!(g.sent(), hex("10 09 79 aa 31 eb 10 09 7b aa 2f f7"));
    g
}

/// `INITA7`, `RR3`, `3:5` for packet 3 acknowledging 5.
fn packets(bytes: &[u8]) -> String {
    let (mut rest, mut all) = (bytes, Vec::new());
    while !rest.is_empty() {
        let Front::Packet(packet, length) = parse_g(rest, G_FIELD_MAX) else { panic!("no packet in {rest:?}") };
        rest = &rest[length..];
        all.push(match packet {
            GPacket::Data { sequence, acknowledged, .. } => format!("{sequence}:{acknowledged}"),
            GPacket::Control(Control::Close) => "CLOSE".to_owned(),
            GPacket::Control(Control::Reject(n)) => format!("RJ{n}"),
            GPacket::Control(Control::RejectOne(n)) => format!("SRJ{n}"),
            GPacket::Control(Control::Ready(n)) => format!("RR{n}"),
            GPacket::Control(Control::InitC(n)) => format!("INITC{n}"),
            GPacket::Control(Control::InitB(n)) => format!("INITB{n}"),
            GPacket::Control(Control::InitA(n)) => format!("INITA{n}"),
        });
    }
    all.join(" ")
}

fn packet(sequence: u8, acknowledged: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_g_data(sequence, acknowledged, text.as_bytes(), 64, &mut out);
    out
}

fn control(control: Control) -> Vec<u8> {
    let mut out = Vec::new();
    write_g_control(control, &mut out);
    out
}

/// One that has sent packets 1 to 7 of a file.
/// What a window takes to leave, and a little more.
const WINDOW: Duration = Duration::from_millis(60);

/// One whose window has left.
fn with_full_window() -> Bench {
    let mut g = started();
    g.protocol.send_data(CHANNEL, 0, &[b'x'; 64 * 10]);
    assert_eq!(packets(&g.sent()), "1:0 2:0 3:0 4:0 5:0 6:0 7:0");
    g.now.instant = g.now.instant + WINDOW;
    g
}

#[test]
fn the_captured_caller_is_repeated_to_the_byte() {
    let mut g = started();
    g.protocol.send_command(CHANNEL, br#"E D.0001 D.alphaN0001 uucp -C D.0001 0666 "" 0x4a rmail bob"#);
    let offer = "10 02 36 5e 88 e2 45 20 44 2e 30 30 30 31 20 44 2e 61 6c 70 68 61 4e 30 30 30 31 20 75 75 63 70 \
                 20 2d 43 20 44 2e 30 30 30 31 20 30 36 36 36 20 22 22 20 30 78 34 61 20 72 6d 61 69 6c 20 62 6f \
                 62 00 00 00 00 00";
    assert_eq!(g.sent(), hex(offer));
    assert_eq!(g.feed(&hex("10 09 89 aa 21 0b 10 02 b8 e0 89 d3 45 59 00*62")), [command("EY")]);
    assert_eq!(g.sent(), hex("10 09 89 aa 21 0b"), "nothing else to send, so RR 1");
    g.protocol.send_data(CHANNEL, 0, b"From ann Mon Jan  5 10:00:00 1998 remote from alpha\nSubject: test\n\nHi Bob\n");
    g.protocol.send_data(CHANNEL, 74, b"");
    let file = "10 02 a3 b2 91 82 46 72 6f 6d 20 61 6e 6e 20 4d 6f 6e 20 4a 61 6e 20 20 35 20 31 30 3a 30 30 3a 30 \
                30 20 31 39 39 38 20 72 65 6d 6f 74 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a 53 75 62 6a 65 63 74 3a \
                20 74 65 73 10 02 72 8b d9 22 36 74 0a 0a 48 69 20 42 6f 62 0a 00*53 10 02 f8 ce e1 d5 40 00*63";
    assert_eq!(g.sent(), hex(file));
    let answer = "10 09 88 aa 22 09 10 09 87 aa 23 07 10 09 86 aa 24 01 10 02 e9 67 94 18 43 59 00*62";
    assert_eq!(g.feed(&hex(answer)), [command("CY")]);
    g.protocol.send_command(CHANNEL, br#"S /alpha/pub/hello.txt ~/incoming/hello.txt uucp -Cd D.0002 0644 "" 0x16"#);
    assert_eq!(packets(&g.sent()), "5:2 6:2", "a new packet acknowledges, no RR is needed");
}

#[test]
fn the_captured_file_is_read() {
    let mut g = started();
    let replies = "10 02 b8 e0 89 d3 45 59 00*62 10 02 e9 67 94 18 43 59 00*62 10 02 71 21 9e cc 53 59 00*62 \
                   10 02 b5 67 a0 70 43 59 00*62 10 02 ca e4 a9 85 53 4e 32 00*61 \
                   10 02 0f c5 b2 7a 52 59 20 30 36 34 34 20 30 78 31 35 30 00*51";
    let told = g.feed(&hex(replies));
    assert_eq!(told, ["EY", "CY", "SY", "CY", "SN2", "RY 0644 0x150"].map(command));
    g.protocol.begin_file(CHANNEL, Way::In);
    let text: String = (0..12).map(|n| format!("line {n:03} of the wanted file\n")).collect();
    let headers =
        ["10 02 2f 14 ba 83", "10 02 58 f7 82 2f", "10 02 26 1c 8a b2", "10 02 18 09 92 81", "10 02 43 b0 9a 6b"];
    for (at, header) in headers.iter().enumerate() {
        let part = &text[at * 64..at * 64 + 64];
        assert_eq!(g.feed(&[hex(header), part.into()].concat()), [data(at as u64 * 64, part)]);
    }
    let rest = "10 02 ec 67 e2 6b 30 74 68 65 20 77 61 6e 74 65 64 20 66 69 6c 65 0a 00*47 10 02 f1 ce ea d7 40 00*63";
    assert_eq!(g.feed(&hex(rest)), [data(320, "the wanted file\n"), end_of_file()]);
    assert_eq!(packets(&g.sent()), "RR5", "one RR for what came together");
}

#[test]
fn no_more_is_under_way_than_taylor_has_room_for() {
    let mut g = Bench::new('g', true);
    g.sent();
    g.feed(&[Control::InitA(7), Control::InitB(7), Control::InitC(7)].map(control).concat());
    g.sent();
    g.protocol.send_data(CHANNEL, 0, &[b'x'; 8192]);
    let mut sent = g.sent();
    g.protocol.send_data(CHANNEL, 8192, &[b'x'; 8192]);
    sent.extend(g.sent());
    assert_eq!(packets(&sent), "1:0 2:0 3:0");
}

#[test]
fn a_damaged_packet_is_asked_for_at_once_and_once() {
    let mut g = started();
    g.feed(&packet(1, 0, "a"));
    let mut bad = packet(2, 0, "b");
    bad[20] ^= 1;
    g.feed(&[bad.clone(), packet(3, 0, "c"), packet(4, 0, "d")].concat());
    assert_eq!(packets(&g.sent()), "RR1 RJ1");
    g.feed(&packet(5, 0, "e"));
    assert_eq!(packets(&g.sent()), "");
    g.feed(&bad);
    assert_eq!(packets(&g.sent()), "RJ1", "the repetition came damaged");
    g.feed(&[packet(2, 0, "b"), packet(3, 0, "c")].concat());
    assert_eq!(packets(&g.sent()), "RR3");
}

#[test]
fn a_hole_is_asked_for_once_in_each_round() {
    let mut g = started();
    g.feed(&packet(2, 0, "b"));
    assert_eq!(packets(&g.sent()), "RJ0");
    g.feed(&[packet(3, 0, "c"), packet(4, 0, "d")].concat());
    assert_eq!(packets(&g.sent()), "");
    g.feed(&[packet(2, 0, "b"), packet(3, 0, "c")].concat());
    assert_eq!(packets(&g.sent()), "RJ0", "the peer began again, and the first was lost again");
    assert_eq!(g.feed(&packet(1, 0, "a\0")), [command("a")]);
    assert_eq!(packets(&g.sent()), "RR1");
}

#[test]
fn a_packet_that_comes_again_is_acknowledged_again() {
    let mut g = started();
    g.feed(&packet(1, 0, "a"));
    assert_eq!(packets(&g.sent()), "RR1");
    assert_eq!(g.feed(&packet(1, 0, "a")), []);
    assert_eq!(packets(&g.sent()), "RR1");
}

#[test]
fn after_an_rj_all_is_sent_again_from_there_but_not_for_each_rj() {
    let mut g = with_full_window();
    g.feed(&[control(Control::Ready(2)), control(Control::Reject(2))].concat());
    assert_eq!(packets(&g.sent()), "3:0 4:0 5:0 6:0 7:0 0:0 1:0");
    g.feed(&control(Control::Reject(2)));
    assert_eq!(packets(&g.sent()), "", "that one was under way before the repetition");
    g.now.instant = g.now.instant + Duration::from_millis(400);
    g.feed(&control(Control::Reject(2)));
    assert_eq!(packets(&g.sent()), "3:0 4:0 5:0 6:0 7:0 0:0 1:0");
}

#[test]
fn a_line_that_loses_packets_is_given_few_ahead() {
    let mut g = opened(Bench::on(Facts::serial("bench", 9600), 'g'));
    g.protocol.send_data(CHANNEL, 0, &[b'x'; 64 * 10]);
    assert_eq!(packets(&g.sent()), "1:0 2:0 3:0 4:0 5:0 6:0 7:0");
    g.now.instant = g.now.instant + WINDOW * 12;
    g.feed(&control(Control::Reject(0)));
    assert_eq!(packets(&g.sent()), "1:0", "the next may go for nothing");
    assert_eq!(packets(&g.sent_within(WINDOW)), "2:0");
    assert_eq!(packets(&g.sent_within(WINDOW * 9)), "3:0 4:0 5:0 6:0 7:0");
}

#[test]
fn an_rj_that_names_the_wanted_packet_is_understood_too() {
    let mut g = with_full_window();
    g.feed(&[control(Control::Ready(2)), control(Control::Reject(3))].concat());
    assert!(packets(&g.sent()).starts_with("3:0 4:0"), "XP wants packet 3");
    let mut g = with_full_window();
    g.feed(&control(Control::Reject(3)));
    assert!(packets(&g.sent()).starts_with("3:0 4:0"), "whoever sends no RR has had 2 at least");
    g.feed(&control(Control::Ready(3)));
    g.sent();
    g.feed(&control(Control::RejectOne(5)));
    assert!(packets(&g.sent_within(WINDOW)).starts_with("5:0"));
}

#[test]
fn silence_brings_the_oldest_and_its_acknowledgement_the_rest() {
    let mut g = with_full_window();
    g.feed(&control(Control::Ready(1)));
    g.sent();
    g.pass(4);
    assert_eq!(packets(&g.sent()), "2:0");
    g.feed(&control(Control::Ready(2)));
    assert_eq!(packets(&g.sent_within(WINDOW)), "3:0 4:0 5:0 6:0 7:0 0:0 1:0");
    let mut g = with_full_window();
    g.pass(4);
    assert_eq!(packets(&g.sent()), "1:0");
    g.feed(&control(Control::Ready(7)));
    assert_eq!(packets(&g.sent()), "0:0 1:0 2:0", "only the acknowledgements were lost");
}

#[test]
fn numbers_outside_the_window_acknowledge_nothing() {
    let mut g = started();
    g.protocol.send_command(CHANNEL, b"H");
    g.sent();
    g.feed(&[control(Control::Ready(5)), control(Control::Reject(6)), packet(1, 4, "x")].concat());
    g.sent();
    g.pass(4);
    assert_eq!(packets(&g.sent()), "1:1");
}

#[test]
fn a_quiet_peer_is_woken_and_in_the_end_given_up() {
    let mut g = started();
    g.feed(&packet(1, 0, "S\0"));
    g.sent();
    g.pass(9);
    assert!(g.sent().is_empty());
    g.pass(2);
    assert_eq!(packets(&g.sent()), "RJ1");
    let rejects = (0..100).take_while(|_| {
        g.pass(1);
        g.sent();
        g.events().is_empty()
    });
    assert!((45..65).contains(&rejects.count()), "about a minute in all");
    assert_eq!(g.protocol.poll_timeout(), None);
}

#[test]
fn a_peer_that_begins_first_is_heard() {
    let mut g = Bench::new('g', false);
    g.feed(&control(Control::InitA(3)));
    assert_eq!(packets(&g.sent()), "INITA7 INITB1");
    g.feed(&[control(Control::InitB(1)), control(Control::InitC(3))].concat());
    assert_eq!(packets(&g.sent()), "INITC7");
}

#[test]
fn no_answer_to_the_start_ends_the_call() {
    let mut g = Bench::new('g', false);
    let starts = (0..100).take_while(|_| {
        assert_eq!(packets(&g.sent()), "INITA7");
        g.pass(6);
        g.protocol.poll_timeout().is_some()
    });
    assert_eq!(starts.count(), 16);
    assert_eq!(g.events(), [Event::Failed(Violation::NoStart('g'))]);
}

#[test]
fn a_lost_last_init_is_made_good_by_what_follows() {
    let mut g = Bench::new('g', true);
    g.sent();
    assert_eq!(g.feed(&[&hex(INITS)[..12], &packet(1, 0, "S\0")].concat()), [Event::Started, command("S")]);
    g.sent();
    for _ in 0..10 {
        g.feed(&control(Control::InitC(7)));
    }
    assert_eq!(packets(&g.sent()), "INITC7 INITC7 INITC7 INITC7", "answered, but not for ever");
}

#[test]
fn many_errors_end_the_call_and_good_packets_make_up_for_some() {
    let parameters = Parameters { errors: 3, ..usual('g') };
    let mut g = Bench::with('g', true, parameters);
    g.sent();
    g.feed(&hex(INITS));
    let mut bad = packet(1, 0, "a");
    bad[20] ^= 1;
    assert_eq!(g.feed(&bad.repeat(3)), []);
    assert!(matches!(g.feed(&bad)[..], [Event::Failed(Violation::TooManyErrors(_))]));
}

#[test]
fn the_end_is_said_twice_and_what_follows_the_peers_is_left() {
    let mut g = started();
    let good_bye = [packet(1, 0, "HY\0"), control(Control::Close), control(Control::Close), b"\x10OOOOOOO\0".to_vec()];
    g.protocol.handle_input(g.now, &good_bye.concat());
    assert_eq!(g.protocol.poll_event(), Some(command("HY")));
    g.protocol.send_command(CHANNEL, b"HY");
    g.protocol.shut_down(g.now);
    assert_eq!(g.events(), []);
    assert_eq!(packets(&g.sent()), "1:1 CLOSE CLOSE");
    assert_eq!(g.events(), [Event::Closed]);
    assert_eq!(g.protocol.unread(), hex("10 09 a2 aa 08 09 10 4f*7 00"));
}

#[test]
fn a_close_in_the_middle_is_answered_and_is_a_failure() {
    let mut g = started();
    g.protocol.send_data(CHANNEL, 0, b"some");
    let told = g.feed(&[packet(1, 0, "SY\0"), control(Control::Close)].concat());
    assert_eq!(told, [command("SY"), Event::Failed(Violation::ClosedByPeer)]);
    assert!(packets(&g.sent()).ends_with("CLOSE"));
}

#[test]
fn commands_end_at_the_first_nul_and_may_be_long() {
    let mut g = started();
    let first = [b'x'; 64];
    let told = g.feed(&[packet(1, 0, &"x".repeat(64)), packet(2, 0, "\0\u{7f}")].concat());
    assert_eq!(told, [Event::Command { channel: CHANNEL, text: first.to_vec() }]);
    let mut told = Vec::new();
    for number in 3..=200_u8 {
        told.extend(g.feed(&packet(number & 7, 0, &"y".repeat(64))));
    }
    assert!(matches!(told[..], [Event::Failed(Violation::Rule(_))]));
}

/// The captured beginning with this letter, our command the first of all; then an end of file in a field of `field`.
fn check_beginning(letter: char, size: u16, inits: &str, command: &str, field: usize) {
    let mut bench = Bench::with(letter, true, Parameters { packet_size: size, ..usual(letter) });
    let mut said = bench.sent();
    for control in hex(inits).chunks(6) {
        bench.feed(control);
        said.extend(bench.sent());
    }
    assert_eq!(said, hex(inits), "{letter}");
    let text = br#"E D.0001 D.alphaN0001 uucp -C D.0001 0666 "" 0x4a rmail bob"#;
    bench.protocol.send_command(CHANNEL, text);
    let sent = bench.sent();
    assert_eq!(sent[..6], hex(command), "{letter}");
    assert!(sent[6..].starts_with(text), "{letter}");
    bench.protocol.send_data(CHANNEL, 0, b"");
    assert_eq!(bench.sent().len(), 6 + field, "{letter}");
}

#[test]
fn v_sends_small_packets_and_the_large_g_fills_all_up() {
    let inits = "10 09 6b aa 3f f7 10 09 75 aa 35 e3 10 09 7b aa 2f f7";
    check_beginning('v', 1024, inits, "10 02 36 5e 88 e2", 32);
    let inits = "10 09 6b aa 3f f7 10 09 79 aa 31 eb 10 09 7b aa 2f f7";
    check_beginning('G', 64, inits, "10 02 36 5e 88 e2", 64);
    let mut bench = Bench::with('G', true, Parameters { packet_size: 128, ..usual('G') });
    bench.sent();
    bench.feed(&hex("10 09 6b aa 3f f7 10 09 78 aa 32 e9 10 09 7b aa 2f f7"));
    bench.sent();
    bench.protocol.send_command(CHANNEL, b"EY");
    bench.protocol.send_data(CHANNEL, 0, b"");
    assert_eq!(bench.sent().len(), 2 * (6 + 128));
}

#[test]
fn v_sends_no_larger_packets_than_suit_the_line_whatever_the_peer_announced() {
    for (letter, packets) in [('v', 4), ('G', 1)] {
        let mut bench = Bench::with(letter, true, Parameters { packet_size: 256, ..usual(letter) });
        bench.sent();
        bench.feed(&hex("10 09 6b aa 3f f7 10 09 75 aa 35 e3 10 09 7b aa 2f f7"));
        bench.sent();
        bench.protocol.send_data(CHANNEL, 0, &[b'x'; 1024]);
        bench.protocol.send_command(CHANNEL, b"H");
        let command = if letter == 'v' { 32 } else { 1024 };
        assert_eq!(bench.sent().len(), 1024 + 6 * packets + 6 + command, "{letter}");
    }
}

#[test]
fn with_a_window_of_one_the_close_of_the_peer_is_waited_for_a_moment() {
    let closing = || {
        let mut g = Bench::with('g', true, Parameters { window: 1, ..usual('g') });
        g.sent();
        g.feed(&hex(INITS));
        g.sent();
        g.protocol.send_command(CHANNEL, b"HY");
        g.protocol.shut_down(g.now);
        assert_eq!(packets(&g.sent()), "1:0");
        g
    };
    let mut g = closing();
    g.feed(&packet(1, 1, "HY\0"));
    assert_eq!(packets(&g.sent()), "RR1", "it may say it again");
    assert_eq!(g.feed(&control(Control::Close)), []);
    assert_eq!(packets(&g.sent()), "CLOSE CLOSE");
    let mut silent = closing();
    silent.feed(&control(Control::Ready(1)));
    silent.now.instant = silent.protocol.poll_timeout().expect("it does not wait for ever");
    silent.pass(0);
    assert_eq!(packets(&silent.sent()), "CLOSE CLOSE");
}

#[test]
fn what_waits_for_a_peer_that_does_not_read_is_bounded() {
    let mut g = started();
    for _ in 0..10_000 {
        g.feed(&packet(0, 0, "again"));
    }
    assert!(g.sent().len() <= (CONTROL_WAITING_MAX + 2) * HEADER);
}
