//! Protocol a against known bytes and against losses.

use super::intake::CHANNEL;
use super::*;
use crate::base::limits::CONTROL_WAITING_MAX;
use crate::dialogue::Facts;
use crate::proto::testing::{Bench, command, data, end_of_file, facts, hex};

const INIT_BYTES: &str = "2a 2a 18 42 30*9 31 38 62 63 37 32 35 62 31 0d 11";
const FIRST: &str = "2a 18 41 01 00 00 00 00 ad de 42 fb 00 18 6c 8c 3f dd 05 0d 11";
const ACK_0: &str = "2a 2a 18 42 30 33 30*8 63 64 38 64 38 32 38 31 0d";
const INIT_END_BYTES: &str = "2a 2a 18 42 30 36 30*8 62 64 30 32 36 32 34 39 0d 11";

fn started() -> Bench {
    started_on(facts())
}

fn started_on(facts: Facts) -> Bench {
    let mut a = Bench::on(facts, 'a');
    assert_eq!(a.sent(), hex(INIT_BYTES));
    for (heard, said) in [(INIT_BYTES, FIRST), (FIRST, ACK_0), (ACK_0, INIT_END_BYTES)] {
        assert_eq!(a.feed(&hex(heard)), []);
        assert_eq!(a.sent(), hex(said));
    }
    assert_eq!(a.feed(&hex(INIT_END_BYTES)), [Event::Started]);
    a.now.instant = a.now.instant + Duration::from_millis(60);
    a
}

/// A message of the peer.
fn message(position: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_binary(DATA, position, false, &mut out);
    frame::write_data(bytes, End::Message, false, &mut out);
    out
}

fn header(kind: u8, value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_hex(kind, value, &mut out);
    out
}

#[test]
fn a_conversation_has_the_captured_bytes() {
    let mut a = started();
    let offer = "2a 18 41 01 00 04 00 00 71 76 4b fc 45 20 44 2e 30 30 30 31 20 44 2e 61 6c 70 68 61 4e 30 30 30 31 20 75 75 63 70 \
                 20 2d 43 20 44 2e 30 30 30 31 20 30 36 36 36 20 22 22 20 30 78 34 61 20 72 6d 61 69 6c 20 62 6f 62 00 18 6c 98 7d \
                 ff 0f 0d 11";
    let text = r#"E D.0001 D.alphaN0001 uucp -C D.0001 0666 "" 0x4a rmail bob"#;
    assert_eq!(a.feed(&hex(offer)), [command(text)]);
    a.protocol.begin_file(CHANNEL, Way::In);
    a.protocol.send_command(CHANNEL, b"EY");
    let ack = hex("2a 2a 18 42 30 33 33 63 30 34 30 30 30 30 30 38 36 32 37 36 33 63 0d");
    assert_eq!(a.sent(), ack, "the answer does not come at once with it");
    a.now.instant = a.now.instant + Duration::from_millis(60);
    assert_eq!(a.sent(), hex("2a 18 41 01 00 04 00 00 71 76 4b fc 45 59 00 18 6c 5f 4f e7 aa 0d 11"));
    let file = "2a 18 41 01 00 08 00 00 15 8f 51 f5 48 69 18 69";
    let mut bytes = hex(file)[..12].to_vec();
    frame::write_data(b"Hi", End::More, false, &mut bytes);
    bytes.extend(hex("18 6c fe c2 06 96 0d 11"));
    let heard = [header(ACK, 0x403), bytes].concat();
    assert_eq!(a.feed(&heard), [data(0, "Hi"), end_of_file()]);
}

#[test]
fn what_was_damaged_is_asked_for_and_sent_again_from_there() {
    let mut a = started();
    a.protocol.begin_file(CHANNEL, Way::In);
    let mut bytes = message(0x400, b"abc");
    bytes[13] ^= 1;
    assert_eq!(a.feed(&bytes), []);
    assert_eq!(a.sent(), header(POSITION, 0x400));
    assert_eq!(a.feed(&message(0x400, b"abc")), [data(0, "abc"), end_of_file()]);
    a.feed(&message(0x400, b"abc"));
    assert_eq!(a.sent(), [header(ACK, 0x403), header(ACK, 0x403)].concat(), "a repeated one is acknowledged again");

    let mut a = started();
    a.protocol.send_command(CHANNEL, b"HY");
    assert_eq!(a.sent(), message(0x400, b"HY\0"));
    a.pass(5);
    a.feed(&header(POSITION, 0x400));
    assert_eq!(a.sent(), message(0x400, b"HY\0"));
    a.pass(20);
    assert_eq!(a.sent(), message(0x400, b"HY\0"), "no answer");
    a.feed(&header(ACK, 0x403));
    a.protocol.send_command(CHANNEL, b"H");
    assert_eq!(a.sent(), message(0x800, b"H\0"));
}

#[test]
fn a_peer_that_could_not_read_is_left_alone_until_it_says_where_to_go_on() {
    let mut a = started();
    a.protocol.send_command(CHANNEL, b"SY");
    assert_eq!(a.sent(), message(0x400, b"SY\0"));
    a.feed(&header(NAK, 0));
    assert_eq!(a.sent(), header(ACK, 0));
    a.pass(9);
    assert!(a.sent().is_empty(), "Taylor counts each try");
    a.feed(&header(POSITION, 0x400));
    assert_eq!(a.sent(), message(0x400, b"SY\0"));
    a.feed(&header(NAK, 0));
    a.sent();
    a.pass(30);
    assert_eq!(a.sent(), message(0x400, b"SY\0"), "it never says it");
}

#[test]
fn the_first_bytes_of_a_file_go_alone() {
    let mut a = started();
    let room = a.protocol.room(CHANNEL);
    a.protocol.send_data(CHANNEL, 0, &vec![b'x'; room]);
    let mut first = Vec::new();
    frame::write_binary(DATA, 0x400, false, &mut first);
    frame::write_data(&[b'x'; FIRST_PIECE], End::MoreAck, false, &mut first);
    assert_eq!(a.sent(), first);
    a.feed(&header(ACK, 0x400 + FIRST_PIECE as u32));
    assert!(a.sent().len() > 4096);

    let mut a = started_on(Facts { peer_is_ours: true, ..facts() });
    a.protocol.send_data(CHANNEL, 0, &vec![b'x'; room]);
    assert!(a.sent().len() > 4096, "one of us never stumbles over them");
}

#[test]
fn an_acknowledgement_that_comes_when_all_goes_again_counts() {
    let mut a = started();
    let text = vec![b'x'; 9000];
    a.protocol.send_command(CHANNEL, &text);
    a.sent();
    a.now.instant = a.now.instant + Duration::from_secs(1);
    a.feed(&header(POSITION, 0x400));
    let again = a.sent();
    assert!((200..9000).contains(&again.len()), "part of it has gone again: {}", again.len());
    a.feed(&header(ACK, 0x400 + 9001));
    a.protocol.send_command(CHANNEL, b"H");
    assert_eq!(a.sent_within(Duration::from_millis(100)), message(next_start(0x400 + 9001), b"H\0"));
}

#[test]
fn a_line_that_loses_something_is_given_little_ahead() {
    let mut a = started_on(Facts { peer_is_ours: true, ..Facts::serial("bench", 9600) });
    a.now.instant = a.now.instant + Duration::from_secs(1);
    a.protocol.send_command(CHANNEL, &[b'x'; 9000]);
    assert!(a.sent().len() > 9000, "nothing is lost");
    a.now.instant = a.now.instant + Duration::from_secs(12);
    a.feed(&header(POSITION, 0x400));
    let second = Duration::from_secs(1);
    assert!(a.sent().len() < 600, "one piece, for the next may go for nothing");
    assert!((500..1500).contains(&a.sent_within(second).len()), "and no pause after it");
}

#[test]
fn the_end_of_a_file_goes_again_though_it_seemed_acknowledged() {
    let mut a = started();
    a.protocol.send_data(CHANNEL, 0, b"Hi");
    a.protocol.send_data(CHANNEL, 2, b"");
    a.sent();
    a.feed(&header(ACK, 0x402));
    a.sent();
    // Not the answer to the end, which is lost, but the same once more.
    a.feed(&header(ACK, 0x402));
    a.protocol.send_command(CHANNEL, b"S x");
    a.sent();
    a.feed(&header(POSITION, 0x402));
    let mut end = Vec::new();
    frame::write_binary(DATA, 0x402, false, &mut end);
    frame::write_data(&[], End::Message, false, &mut end);
    assert_eq!(a.sent(), end);
}

#[test]
fn the_window_bounds_what_is_under_way() {
    let mut a = started();
    let room = a.protocol.room(CHANNEL);
    a.protocol.send_data(CHANNEL, 0, &vec![b'x'; room]);
    a.sent();
    a.feed(&header(ACK, 0x400 + FIRST_PIECE as u32));
    let room = a.protocol.room(CHANNEL);
    a.protocol.send_data(CHANNEL, 0, &vec![b'x'; room]);
    assert!((12_000..16_384).contains(&a.sent().len()));
    assert!(a.protocol.room(CHANNEL) == 0 && a.sent().is_empty());
    a.feed(&header(ACK, 0x400 + FIRST_PIECE as u32 + 4096));
    assert_eq!(a.protocol.room(CHANNEL), 4096);
}

#[test]
fn no_answer_to_the_start_ends_the_call() {
    let mut a = Bench::new('a', true);
    for _ in 0..=STARTS_MAX {
        assert_eq!(a.sent(), hex(INIT_BYTES));
        a.pass(6);
    }
    assert_eq!(a.events(), [Event::Failed(Violation::NoStart('a'))]);
}

#[test]
fn long_commands_and_long_pieces_are_bounded() {
    let mut a = started();
    let mut bytes = Vec::new();
    frame::write_binary(DATA, 0x400, false, &mut bytes);
    (0..9).for_each(|_| frame::write_data(&[b'x'; 1000], End::More, false, &mut bytes));
    assert!(matches!(a.feed(&bytes)[..], [Event::Failed(Violation::Rule(_))]));
    let mut a = started();
    frame::write_binary(DATA, 0x400, false, &mut bytes);
    a.feed(&bytes[bytes.len() - 12..]);
    a.feed(&[b'x'; 100_000]);
    assert!(a.protocol.unread().len() <= 2 * A_DATA_MAX);
}

#[test]
fn what_waits_for_a_peer_that_does_not_read_is_bounded() {
    let mut a = started();
    for _ in 0..10_000 {
        a.feed(&[header(NAK, 0), header(DATA, 7)].concat());
    }
    assert!(a.sent().len() <= CONTROL_WAITING_MAX * header(ACK, 0).len());
}

#[test]
fn repeating_is_no_progress() {
    let mut a = started();
    a.protocol.send_command(CHANNEL, b"H");
    for _ in 0..40 {
        a.pass(5);
        // The clock goes on between what is due and what is sent.
        a.now.instant = a.now.instant + Duration::from_millis(1);
        a.sent();
    }
    assert!(matches!(a.events()[..], [Event::Failed(Violation::Silence(_))]));
}
