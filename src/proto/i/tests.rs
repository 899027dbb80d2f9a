//! Protocol i against captured conversations, and against each loss that a line can cause.

use super::*;
use crate::dialogue::Facts;
use crate::proto::Parameters;
use crate::proto::testing::{Bench, hex, usual};
use crate::wire::packet::Front;
use Channel::{Ours, Theirs};

const THEIR_SYNC: &str = "07 00 00 20 04 24 04 00 10 07 85 7f 30 46";

fn started() -> Bench {
    let mut i = Bench::new('i', true);
    assert_eq!(i.sent(), hex("07 00 00 30 04 34 04 00 10 07 85 7f 30 46"));
    assert_eq!(i.feed(&hex(THEIR_SYNC)), [Event::Started]);
    assert!(i.sent().is_empty());
    i
}

/// `3:5 x12` packet 3 acknowledging 5 with 12 bytes, `ACK5`, `NAK7`, `SPOS3@100`, `CLOSE4`, `SYNC1024/16`.
fn packets(bytes: &[u8]) -> String {
    let (mut rest, mut all) = (bytes, Vec::new());
    while !rest.is_empty() {
        let Front::Packet(packet, length) = parse_i(rest, I_DATA_MAX) else { panic!("no packet in {rest:?}") };
        rest = &rest[length..];
        let IPacket { number, acknowledged, data, .. } = packet;
        all.push(match packet.kind {
            IKind::Data => format!("{number}:{acknowledged}x{}", data.len()),
            IKind::Sync => format!("SYNC{}/{}+{}", u16::from_be_bytes([data[0], data[1]]), data[2], data.len() - 3),
            IKind::Ack => format!("ACK{acknowledged}"),
            IKind::Nak => format!("NAK{number}"),
            IKind::Position => format!("SPOS{number}"),
            IKind::Close => format!("CLOSE{number}"),
            IKind::Sums => format!("SUMS{number}x{}", data.len()),
            IKind::Patch => format!("PATCH{number}x{}", data.len()),
        });
    }
    all.join(" ")
}

fn packet(kind: IKind, number: u8, acknowledged: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let data = data.to_vec();
    write_i(&IPacket { kind, number, local: 1, acknowledged, remote: 0, caller: false, data }, &mut out);
    out
}

fn data(number: u8, acknowledged: u8, text: &str) -> Vec<u8> {
    packet(IKind::Data, number, acknowledged, text.as_bytes())
}

fn ack(number: u8) -> Vec<u8> {
    packet(IKind::Ack, 0, number, b"")
}

fn nak(number: u8, acknowledged: u8) -> Vec<u8> {
    packet(IKind::Nak, number, acknowledged, b"")
}

fn command(channel: Channel, text: &str) -> Event {
    Event::Command { channel, text: text.into() }
}

fn file(channel: Channel, offset: u64, text: &str) -> Event {
    Event::Data { channel, offset, bytes: text.into() }
}

#[test]
fn the_captured_caller_is_repeated_to_the_byte() {
    let mut i = started();
    i.protocol.send_command(Ours(1), br#"E D.0001 D.alphaN0001 uucp -C D.0001 0666 "" 0x4a rmail bob"#);
    let mail = b"From ann Mon Jan  5 10:00:00 1998 remote from alpha\nSubject: test\n\nHi Bob\n";
    i.protocol.send_data(Ours(1), 0, mail);
    i.protocol.send_data(Ours(1), 74, b"");
    i.protocol.send_command(Ours(5), b"X ~/*.txt alpha!/alpha/pub/ uucp -d");
    i.protocol.send_data(Ours(2), 0, b"Hello file from alpha\n");
    i.protocol.send_data(Ours(2), 22, b"");
    let commands = "07 09 00 10 3c 25 45 20 44 2e 30 30 30 31 20 44 2e 61 6c 70 68 61 4e 30 30 30 31 20 75 75 63 70 \
                    20 2d 43 20 44 2e 30 30 30 31 20 30 36 36 36 20 22 22 20 30 78 34 61 20 72 6d 61 69 6c 20 62 \
                    6f 62 00 0f 11 23 fc \
                    07 15 00 10 24 21 58 20 7e 2f 2a 2e 74 78 74 20 61 6c 70 68 61 21 2f 61 6c 70 68 61 2f 70 75 62 \
                    2f 20 75 75 63 70 20 2d 64 00 21 2b bb 01";
    let files = "07 18 00 90 04 8c 00 00 00 00 de bb 20 e3 \
                 07 21 00 10 4a 7b 46 72 6f 6d 20 61 6e 6e 20 4d 6f 6e 20 4a 61 6e 20 20 35 20 31 30 3a 30 30 3a 30 \
                 30 20 31 39 39 38 20 72 65 6d 6f 74 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a 53 75 62 6a 65 63 74 3a \
                 20 74 65 73 74 0a 0a 48 69 20 42 6f 62 0a 6a d9 3d 46 07 29 00 10 00 39 \
                 07 30 00 90 04 a4 00 00 00 00 de bb 20 e3 \
                 07 3a 00 10 16 3c 48 65 6c 6c 6f 20 66 69 6c 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a 12 1e a3 f7 \
                 07 42 00 10 00 52";
    assert_eq!(i.sent(), hex(&[commands, files].join(" ")), "as captured, but for the numbers of what was left out");
}

#[test]
fn the_captured_answerer_is_understood() {
    let mut i = started();
    let theirs = "07 09 00 00 4c 45 45 20 44 2e 30 30 30 31 20 44 2e 62 65 74 61 4e 30 30 30 31 20 75 75 63 70 20 2d 43 \
                  5a 52 20 44 2e 30 30 30 31 20 30 36 36 36 20 62 6f 62 20 30 78 34 64 20 72 6d 61 69 6c 20 61 6e 6e \
                  40 61 6c 70 68 61 2e 65 78 61 6d 70 6c 65 00 25 23 b2 b8 07 10 00 80 04 94 00 00 00 00 de bb 20 e3 \
                  07 19 00 00 4d 54 46 72 6f 6d 20 62 6f 62 20 4d 6f 6e 20 4a 61 6e 20 20 35 20 31 30 3a 30 35 3a 30 \
                  30 20 31 39 39 38 20 72 65 6d 6f 74 65 20 66 72 6f 6d 20 62 65 74 61 0a 53 75 62 6a 65 63 74 3a 20 \
                  72 65 3a 20 74 65 73 74 0a 0a 48 69 20 41 6e 6e 0a 42 0a eb d3 07 21 00 00 00 21";
    i.protocol.handle_input(i.now, &hex(theirs));
    let offer = "E D.0001 D.betaN0001 uucp -CZR D.0001 0666 bob 0x4d rmail ann@alpha.example";
    assert_eq!(i.protocol.poll_event(), Some(command(Theirs(1), offer)));
    i.protocol.begin_file(Theirs(1), Way::In);
    let mail = "From bob Mon Jan  5 10:05:00 1998 remote from beta\nSubject: re: test\n\nHi Ann\n";
    assert_eq!(i.events(), [file(Theirs(1), 0, mail), Event::EndOfFile { channel: Theirs(1) }]);
    let replies = "07 28 75 00 03 5e 58 59 00 09 68 bf f8 \
                   07 30 74 00 0e 4a 52 59 20 30 36 34 34 20 30 78 31 35 30 00 f6 c6 01 20 \
                   07 38 73 00 08 43 53 59 20 30 78 31 36 00 53 8a 53 c6";
    let told = i.feed(&hex(replies));
    let expected = [command(Ours(5), "XY"), command(Ours(4), "RY 0644 0x150"), command(Ours(3), "SY 0x16")];
    assert_eq!(told, expected);
    i.protocol.send_command(Theirs(1), b"EY 0x4d");
    i.protocol.send_command(Theirs(1), b"CY");
    let answers = "07 08 39 10 08 29 45 59 20 30 78 34 64 00 67 18 96 57 07 10 39 10 03 3a 43 59 00 19 1b f3 69";
    assert_eq!(i.sent(), hex(answers), "on channel 0, with theirs as the remote one, and acknowledging 7");
}

#[test]
fn a_hole_is_asked_for_once_and_what_came_early_is_kept() {
    let mut i = started();
    assert_eq!(i.feed(&[data(1, 0, "a"), data(4, 0, "d"), data(5, 0, "e")].concat()), []);
    assert_eq!(packets(&i.sent()), "NAK2 NAK3");
    i.feed(&data(6, 0, "f\0"));
    assert_eq!(packets(&i.sent()), "");
    i.feed(&data(3, 0, "c"));
    assert_eq!(i.feed(&data(2, 0, "b")), [command(Theirs(1), "abcdef")]);
    i.pass(1);
    assert_eq!(packets(&i.sent()), "ACK6");
}

#[test]
fn damage_is_asked_for_at_once_and_again_when_the_repetition_is_damaged() {
    let mut i = started();
    let mut bad = data(1, 0, "SY\0");
    bad[7] ^= 1;
    i.feed(&bad);
    assert_eq!(packets(&i.sent()), "NAK1");
    i.feed(&[data(2, 0, "x"), bad].concat());
    assert_eq!(packets(&i.sent()), "NAK1");
    i.pass(1);
    assert_eq!(packets(&i.sent()), "");
    i.pass(8);
    assert_eq!(packets(&i.sent()), "NAK1", "neither request nor answer arrived");
}

#[test]
fn a_nak_brings_that_packet_alone_with_a_new_acknowledgement() {
    let mut i = started();
    for number in 1..=3 {
        i.protocol.send_command(Ours(number), b"S");
    }
    assert_eq!(packets(&i.sent()), "1:0x2 2:0x2 3:0x2");
    i.pass(1);
    i.feed(&data(1, 1, "x\0"));
    i.sent();
    i.feed(&nak(2, 1));
    assert_eq!(packets(&i.sent()), "2:1x2");
    i.feed(&nak(9, 1));
    assert_eq!(packets(&i.sent()), "", "that one does not exist");
    i.feed(&[ack(3), nak(4, 3)].concat());
    assert_eq!(packets(&i.sent()), "ACK1", "the next one, and nothing is under way: it asks whether we live");
}

#[test]
fn acknowledgements_go_with_data_after_half_a_window_or_soon() {
    let mut i = started();
    i.feed(&data(1, 0, "a\0"));
    assert_eq!(packets(&i.sent()), "");
    i.protocol.send_command(Ours(1), b"S");
    assert_eq!(packets(&i.sent()), "1:1x2");
    i.feed(&(2..10).flat_map(|number| data(number, 0, "a\0")).collect::<Vec<u8>>());
    assert_eq!(packets(&i.sent()), "ACK9");
    i.feed(&data(10, 1, "a\0"));
    i.pass(1);
    assert_eq!(packets(&i.sent()), "ACK10");
    i.feed(&data(10, 1, "a\0"));
    assert_eq!(packets(&i.sent()), "ACK10", "it came again, so the peer does not know");
}

#[test]
fn silence_brings_a_query_and_its_answer_what_was_lost() {
    let mut i = started();
    for number in 1..=3 {
        i.protocol.send_command(Ours(number), b"S");
    }
    i.sent();
    i.pass(4);
    assert_eq!(packets(&i.sent()), "NAK1", "the peer has sent nothing yet");
    i.pass(1);
    i.feed(&ack(1));
    assert_eq!(packets(&i.sent()), "2:0x2 NAK1");
    i.pass(1);
    i.feed(&ack(2));
    assert_eq!(packets(&i.sent()), "3:0x2 NAK1");
    i.pass(1);
    i.feed(&ack(3));
    assert_eq!(packets(&i.sent()), "");
}

#[test]
fn a_peer_that_does_not_answer_gets_the_oldest_and_the_last_again() {
    let mut i = started();
    for number in 1..=3 {
        i.protocol.send_command(Ours(number), b"S");
    }
    i.sent();
    i.pass(4);
    assert_eq!(packets(&i.sent()), "NAK1");
    i.pass(7);
    assert_eq!(packets(&i.sent()), "1:0x2 NAK1");
    i.pass(12);
    assert_eq!(packets(&i.sent()), "3:0x2 NAK1");
    i.feed(&ack(3));
    i.pass(11);
    assert_eq!(packets(&i.sent()), "NAK1");
    let waits = (0..100).take_while(|_| {
        i.pass(1);
        i.sent();
        i.events().is_empty()
    });
    assert!((45..65).contains(&waits.count()), "about a minute in all");
}

#[test]
fn the_window_and_the_size_are_the_peers() {
    let mut i = Bench::new('i', true);
    i.sent();
    assert_eq!(i.feed(&packet(IKind::Sync, 0, 0, &[0, 100, 2, 1])), [Event::Started]);
    assert_eq!(i.protocol.channels(), 1);
    i.protocol.send_data(Ours(1), 0, &[b'x'; 1000]);
    assert_eq!(packets(&i.sent()), "1:0x100 2:0x100");
    i.feed(&[packet(IKind::Sync, 0, 0, &[0, 50, 40]), ack(2)].concat());
    let more = packets(&i.sent());
    assert!(more.starts_with("3:0x50 4:0x50"), "{more}");
    assert_eq!(more.split(' ').count(), 16, "a window above 16 cannot be");
}

#[test]
fn our_own_packets_from_an_echoing_line_are_nothing() {
    let mut i = started();
    i.protocol.send_command(Ours(1), b"S");
    let own = i.sent();
    assert_eq!(i.feed(&own), []);
    assert_eq!(packets(&i.sent()), "");
}

#[test]
fn a_packet_without_data_counts_only_where_one_should_begin() {
    let mut i = started();
    i.protocol.begin_file(Theirs(1), Way::In);
    i.feed(&data(1, 0, "text"));
    let end = data(2, 0, "");
    assert_eq!(i.feed(&[b"noise".to_vec(), end.clone()].concat()), []);
    assert_eq!(i.feed(&end), [Event::EndOfFile { channel: Theirs(1) }]);
}

#[test]
fn a_peer_that_begins_first_is_heard() {
    let mut i = Bench::new('i', true);
    assert_eq!(i.feed(&hex(THEIR_SYNC)), [Event::Started]);
    assert_eq!(packets(&i.sent()), "SYNC1024/16+1");
}

#[test]
fn a_lost_sync_is_made_good() {
    let mut i = started();
    i.pass(2);
    i.feed(&hex(THEIR_SYNC));
    assert_eq!(packets(&i.sent()), "SYNC1024/16+1", "the peer did not hear ours");

    let mut i = Bench::new('i', true);
    i.sent();
    assert_eq!(i.feed(&data(1, 0, "S x\0")), []);
    i.pass(3);
    assert_eq!(packets(&i.sent()), "SYNC1024/16+1");
    i.pass(3);
    i.sent();
    i.pass(3);
    assert_eq!(i.events(), [Event::Started, command(Theirs(1), "S x")], "it runs, though its SYNC was lost");

    let mut i = Bench::new('i', true);
    let syncs = (0..100).take_while(|_| {
        assert_eq!(packets(&i.sent()), "SYNC1024/16+1");
        i.pass(6);
        i.protocol.poll_timeout().is_some()
    });
    assert_eq!(syncs.count(), 11);
    assert_eq!(i.events(), [Event::Failed(Violation::NoStart('i'))]);
}

#[test]
fn much_damage_makes_packets_smaller_both_ways() {
    let mut i = started();
    let mut bad = packet(IKind::Data, 1, 0, &[b'x'; 500]);
    bad[40] ^= 1;
    let good = packet(IKind::Data, 1, 0, &[b'x'; 500]);
    for number in 1..6 {
        let renumber = |packet: &[u8]| {
            let mut packet = packet.to_vec();
            packet[5] ^= packet[1] ^ (number << 3 | 1);
            packet[1] = number << 3 | 1;
            packet
        };
        i.feed(&renumber(&bad));
        i.feed(&renumber(&good));
    }
    let sent = packets(&i.sent());
    assert!(sent.starts_with("SYNC") && sent.contains("/16+0"), "{sent}");

    i.protocol.send_data(Ours(1), 0, &[b'x'; 8000]);
    let largest = |i: &mut Bench| {
        let sent = packets(&i.sent());
        sent.split(' ').filter_map(|one| one.split_once('x')?.1.parse().ok()).max().unwrap_or(0)
    };
    let before: usize = largest(&mut i);
    i.feed(&ack(1));
    i.pass(1);
    i.feed(&[nak(2, 1), nak(3, 1), nak(4, 1)].concat());
    i.sent();
    i.feed(&ack(8));
    i.protocol.send_data(Ours(1), 8000, &[b'x'; 8000]);
    let after = largest(&mut i);
    assert!(before > 500 && (64..250).contains(&after), "{before}, then {after}");
}

#[test]
fn the_end_comes_in_its_turn() {
    let mut i = started();
    let good_bye = [data(1, 0, "HY\0"), packet(IKind::Close, 2, 0, b""), b"\x10OOOOOOO\0".to_vec()];
    i.protocol.handle_input(i.now, &good_bye.concat());
    assert_eq!(i.protocol.poll_event(), Some(command(Theirs(1), "HY")));
    i.protocol.send_command(Ours(0), b"HY");
    i.protocol.shut_down(i.now);
    assert_eq!(packets(&i.sent()), "1:2x3 CLOSE2");
    assert_eq!(i.events(), [Event::Closed]);
    assert_eq!(i.protocol.unread(), b"\x10OOOOOOO\0");

    let mut i = started();
    let told = i.feed(&[packet(IKind::Close, 2, 0, b""), data(1, 0, "SY\0")].concat());
    assert_eq!(told, [command(Theirs(1), "SY"), Event::Failed(Violation::ClosedByPeer)]);
}

#[test]
fn errors_end_the_call_only_when_packets_cannot_get_smaller() {
    let parameters = Parameters { errors: 3, packet_size: 64, ..usual('i') };
    let mut i = Bench::with('i', true, parameters);
    i.sent();
    i.feed(&packet(IKind::Sync, 0, 0, &[0, 64, 16]));
    let mut told = Vec::new();
    for number in 1..10 {
        let mut bad = data(number, 0, "abc");
        bad[7] ^= 1;
        told.extend(i.feed(&bad));
    }
    assert!(matches!(told[..], [Event::Failed(Violation::TooManyErrors(_))]), "{told:?}");
}

/// Two of us, of which the first has sent a command of 480 bytes with its NUL. Its packet, byte 100 damaged, is the third.
fn with_a_damaged_packet() -> (Bench, Bench, Vec<u8>) {
    let (mut sender, mut receiver) = (Bench::between_us('i', true), Bench::between_us('i', false));
    let sync = receiver.sent();
    receiver.feed(&sender.sent());
    sender.feed(&sync);
    sender.protocol.send_command(Ours(1), long_command().as_bytes());
    let mut sent = sender.sent();
    assert_eq!(packets(&sent), "1:0x480");
    sender.pass(1);
    sent[100] ^= 4;
    (sender, receiver, sent)
}

fn long_command() -> String {
    ('a'..='z').cycle().take(479).collect()
}

fn arrived() -> [Event; 1] {
    [command(Theirs(1), &long_command())]
}

#[test]
fn what_two_of_us_receive_damaged_is_mended() {
    let (mut sender, mut receiver, damaged) = with_a_damaged_packet();
    assert_eq!(receiver.feed(&damaged), []);
    let request = receiver.sent();
    assert_eq!(packets(&request), "SUMS1x30");
    sender.feed(&request);
    let patch = sender.sent();
    assert_eq!(packets(&patch), "PATCH1x21", "one piece of sixteen bytes");
    sender.feed(&request);
    assert_eq!(packets(&sender.sent()), "", "it is on its way");
    assert_eq!(receiver.feed(&patch), arrived());
    receiver.pass(1);
    assert_eq!(packets(&receiver.sent()), "ACK1");
    assert_eq!(receiver.feed(&patch), [], "the same again is nothing");
    assert_eq!(receiver.protocol.counters().bad_data, 1);
}

#[test]
fn a_damaged_patch_is_asked_for_anew_and_then_the_whole() {
    let (mut sender, mut receiver, damaged) = with_a_damaged_packet();
    receiver.feed(&damaged);
    for _ in 0..3 {
        let request = receiver.sent();
        assert_eq!(packets(&request), "SUMS1x30");
        sender.feed(&request);
        let mut patch = sender.sent();
        sender.pass(1);
        patch[10] ^= 1;
        receiver.feed(&patch);
    }
    let request = receiver.sent();
    assert_eq!(packets(&request), "NAK1");
    sender.feed(&request);
    assert_eq!(receiver.feed(&sender.sent()), arrived());
}

#[test]
fn noise_where_a_patch_may_have_been_has_it_asked_for_anew() {
    let (mut sender, mut receiver, damaged) = with_a_damaged_packet();
    receiver.feed(&damaged);
    sender.protocol.send_command(Ours(1), b"S");
    receiver.feed(&sender.sent());
    sender.feed(&receiver.sent());
    let mut patch = sender.sent();
    patch[2] ^= 1;
    receiver.pass(1);
    receiver.feed(&patch);
    let request = receiver.sent();
    assert_eq!(packets(&request), "SUMS1x30");
    sender.pass(1);
    sender.feed(&request);
    let patch = sender.sent();
    assert_eq!(receiver.feed(&patch).first(), arrived().first());
}

#[test]
fn a_damaged_request_brings_the_whole() {
    let (mut sender, mut receiver, damaged) = with_a_damaged_packet();
    receiver.feed(&damaged);
    let mut request = receiver.sent();
    request[10] ^= 1;
    sender.feed(&request);
    let whole = sender.sent();
    assert_eq!(packets(&whole), "1:0x480");
    assert_eq!(receiver.feed(&whole), arrived());
}

#[test]
fn a_packet_that_is_not_what_it_was_taken_for_comes_as_a_whole() {
    let (mut sender, mut receiver, mut damaged) = with_a_damaged_packet();
    damaged[20..400].fill(0);
    receiver.feed(&damaged);
    sender.feed(&receiver.sent());
    assert_eq!(packets(&sender.sent()), "1:0x480", "too many pieces differ");

    let (mut sender, mut receiver, mut damaged) = with_a_damaged_packet();
    // The sum of eight bits does not see these.
    damaged[200] ^= 1;
    damaged[201] ^= 7;
    receiver.feed(&damaged);
    sender.feed(&receiver.sent());
    let patch = sender.sent();
    assert_eq!(packets(&patch), "PATCH1x21");
    assert_eq!(receiver.feed(&patch), [], "the checksum of the whole does");
    let request = receiver.sent();
    assert_eq!(packets(&request), "NAK1");
    sender.pass(1);
    sender.feed(&request);
    assert_eq!(receiver.feed(&sender.sent()), arrived());
}

#[test]
fn a_peer_that_does_not_mend_is_asked_for_the_whole_in_time() {
    let (_, mut receiver, damaged) = with_a_damaged_packet();
    receiver.feed(&damaged);
    assert_eq!(packets(&receiver.sent()), "SUMS1x30");
    let asked: Vec<String> = (0..30)
        .map(|_| {
            receiver.pass(1);
            packets(&receiver.sent())
        })
        .filter(|sent| !sent.is_empty())
        .take(3)
        .collect();
    assert_eq!(asked, ["SUMS1x30", "SUMS1x30", "NAK1"]);
}

#[test]
fn nothing_is_mended_with_others() {
    let mut i = started();
    let mut damaged = data(1, 0, &long_command());
    damaged[100] ^= 4;
    i.feed(&damaged);
    assert_eq!(packets(&i.sent()), "NAK1");
    i.protocol.send_data(Ours(1), 0, &[b'x'; 2000]);
    i.sent();
    i.pass(1);
    i.feed(&packet(IKind::Sums, 1, 0, &[0; 30]));
    assert_eq!(packets(&i.sent()), "");
}

#[test]
fn on_a_half_duplex_line_each_missing_packet_is_asked_for_once_when_the_peer_falls_silent() {
    let facts = Facts { full_duplex: false, ..Facts::serial("radio", 2400) };
    let mut i = Bench::on(facts, 'i');
    let ours = |packet: Vec<u8>| {
        let Front::Packet(packet, _) = parse_i(&packet, I_DATA_MAX) else { panic!("no packet") };
        let mut out = Vec::new();
        write_i(&IPacket { caller: true, ..packet }, &mut out);
        out
    };
    i.feed(&ours(packet(IKind::Sync, 0, 0, &[4, 0, 16, 7])));
    i.sent_within(Duration::from_secs(1));
    let mut damaged = ours(data(1, 0, &long_command()));
    damaged[100] ^= 4;
    // A second each, with no room for a word between them.
    for packet in [damaged.clone(), ours(data(2, 0, "x")), ours(data(3, 0, "y")), damaged, ours(data(5, 0, "z"))] {
        for byte in packet.chunks(20) {
            i.feed(byte);
            assert_eq!(packets(&i.sent_within(Duration::from_millis(80))), "");
        }
        i.sent_within(Duration::from_millis(20));
    }
    assert_eq!(packets(&i.sent_within(Duration::from_secs(2))), "NAK1 NAK4");
}

#[test]
fn while_the_line_is_busy_a_packet_that_is_damaged_again_and_again_is_asked_for_once() {
    let (_, mut receiver, damaged) = with_a_damaged_packet();
    for _ in 0..100 {
        receiver.feed(&damaged);
    }
    assert_eq!(packets(&receiver.sent()), "SUMS1x30");

    let mut i = started();
    let mut damaged = data(1, 0, "SY\0");
    damaged[7] ^= 1;
    for _ in 0..100 {
        i.feed(&damaged);
    }
    assert_eq!(packets(&i.sent()), "NAK1");
}

#[test]
fn a_silent_peer_is_asked_before_we_give_up_however_long_a_packet_takes() {
    for (speed, size) in [(50, 64), (300, 128), (300, 1024), (300, 4095), (1200, 4095)] {
        let parameters = Parameters { packet_size: size, ..usual('i') };
        let mut i = Bench::begin('i', Start { caller: true, facts: Facts::serial("line", speed), parameters });
        i.sent();
        let [high, low] = size.to_be_bytes();
        i.feed(&packet(IKind::Sync, 0, 0, &[high, low, 16, 7]));
        i.protocol.send_command(Ours(1), b"S");
        i.sent();
        let mut asked = 0;
        while i.events().is_empty() {
            i.pass(1);
            asked += usize::from(!i.sent().is_empty());
        }
        assert!(asked > 0, "{speed} bit/s, packets of {size}");
    }
}

/// What comes every second from a peer that acknowledges nothing, between us or not, and after how many seconds it is given up.
fn check_given_up(i: &mut Bench, said: &[u8]) {
    i.sent();
    i.feed(&packet(IKind::Sync, 0, 0, &[4, 0, 16, 7]));
    i.protocol.send_data(Ours(1), 0, &[b'x'; 20_000]);
    let (mut seconds, mut sent) = (0, 0);
    loop {
        sent += i.sent().len();
        i.pass(1);
        seconds += 1;
        if i.feed(said).iter().any(|event| matches!(event, Event::Failed(_))) {
            break;
        }
        assert!(seconds < 600, "it goes on for ever");
    }
    assert!(sent < 40_000 + seconds * 2000, "{sent} bytes in {seconds} s");
}

#[test]
fn a_peer_that_asks_and_acknowledges_nothing_or_sends_damage_for_ever_is_given_up() {
    let mut damaged = data(1, 0, &long_command());
    damaged[100] ^= 4;
    let patch = packet(IKind::Patch, 1, 0, &[0; 4]);
    let sums = packet(IKind::Sums, 1, 0, &[0; 32]);
    for said in [nak(1, 0), sums, damaged.clone(), [damaged, patch].concat(), ack(0)] {
        check_given_up(&mut Bench::new('i', true), &said);
        check_given_up(&mut Bench::between_us('i', true), &said);
    }
}
