//! Bytes of any kind for whatever reads what peers say: no panic, an end, and no more held than the limits name. The same few
//! hundred inputs each time; `BANGPATH_FUZZ_CASES` asks for more. The targets are also those of `cargo fuzz` (tests/fuzz).

mod held;
mod lines;
mod targets;

use bangpath::base::limits::{ARTICLE_MAX, HANDSHAKE_NOISE_MAX, UUCP_COMMAND_MAX};
use bangpath::base::time::Now;
use bangpath::dialogue::{Dialogue, Facts, Request};
use bangpath::proto::PROTOCOLS;
use bangpath::session::chat::{Chat, Credentials, Script};
use bangpath::session::{Answering, Session};
use bangpath::wire::packet::G_FIELD_MAX;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::sim::line::Quality;
use crate::sim::shelf::{OpenDoor, Shelf};
use crate::sim::splits::overhear;

/// Runs a target with so many inputs, each of which may make it hold so many bytes beside `per_byte` for each it was given.
fn check(cases: u32, inputs: impl Strategy<Value = Vec<u8>>, target: fn(&[u8]), bytes_max: usize, per_byte: usize) {
    let cases = std::env::var("BANGPATH_FUZZ_CASES").map_or(cases, |n| n.parse().expect("a number"));
    let config = Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&inputs, |input| {
        let held = held::most(|| target(&input));
        let allowed = bytes_max + per_byte * input.len();
        prop_assert!(held <= allowed, "{held} bytes held for {} given, allowed {allowed}", input.len());
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}

fn any_bytes(length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Bytes that mean something to some protocol come oftener than others.
    let byte = prop_oneof![
        3 => any::<u8>(),
        1 => prop::sample::select(vec![0x00_u8, 0x07, 0x10, 0x11, 0x13, 0x18, 0x2a, 0x5e, 0x0d, 0xff]),
        1 => 0x20_u8..0x7f,
    ];
    vec(byte, 0..length_max)
}

/// Something that was said, with bytes changed, taken out, put in, said again and cut off.
fn mutated(said: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..5_u8, any::<prop::sample::Index>(), 0..80_usize, any::<u8>());
    (prop::sample::select(said), vec(change, 0..12)).prop_map(|(mut bytes, changes)| {
        for (kind, place, length, byte) in changes {
            let at = place.index(bytes.len() + 1);
            let end = bytes.len().min(at + length);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => drop(bytes.drain(at..end)),
                2 => bytes.insert(at, byte),
                3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                _ if length < 8 => bytes.truncate(at),
                _ => {}
            }
        }
        bytes
    })
}

#[test]
fn packets_of_any_kind_are_read_or_passed_over() {
    // What is found is copied out, one at a time, and written again.
    check(400, any_bytes(600), targets::packets, 3 * G_FIELD_MAX, 4);
}

#[test]
fn words_of_any_kind_are_understood_or_malformed() {
    let lines = [
        "\x10Svillage -Q5 -pZ -vgrade=Z -R -N01047 -U0x10\0\x10ROKN047\0\x10PtgieyGvfja\0\x10Ui\0",
        "S /a/b ~/c ann -Cd D.0001 0644 \"\" 0x16\0E D.0001 D.x0001 uucp -CRZ D.0001 0666 \"ann\" 0x4a rmail bob\0",
        "R ~/wanted.txt /x/got uucp -d 0xffffffffffffffff 0x1000 0x9f3c\0X ~/*.txt alpha!~/ uucp -d\0RY 0644 0x150 0x10 0x9f3c\0SN2\0CYM\0H\0HY\0",
        "S /x ~/x ann -dc D.0 644 ann dummy 0x6\0R ~/m ~/g ann -d dummy 0644 ann D.0007 0x3\0SY 0x4\0EN9\0",
        "U uucp alpha\nF D.alphaN0001 name\nI D.alphaN0001\nC rmail bob\nR ann\nN\nZ\n",
    ];
    let said = lines.iter().map(|l| l.as_bytes().to_vec()).collect();
    let inputs = prop_oneof![1 => any_bytes(400), 3 => mutated(said)];
    check(600, inputs, targets::words, UUCP_COMMAND_MAX, 64);
}

#[test]
fn batches_of_any_kind_are_unpacked_within_bounds() {
    let batch = b"#! rnews 12\nPath: a\n\nhi\n#! rnews 5\nabcd\n! rnews 99999999999\nshort".to_vec();
    let letters = b"HELO a\nMAIL FROM:<a@b>\nRCPT TO:<c!d>\nRCPT TO:<>\nDATA\nA: 1\n\n..\n.\r\n.\nRSET\nMAIL FROM:<>\nDATA\n\r.\nQUIT\n";
    let wrapped = |batch: &[u8], form: u8| [&[form, form * 11][..], b"\0\x30\x55", batch].concat();
    let forms = (0..24_u8).flat_map(|form| [wrapped(&batch, form), wrapped(letters, form)]).collect();
    let inputs = prop_oneof![1 => any_bytes(600), 1 => mutated(forms)];
    // A deflate window and its tables, the codes of `.Z` at 16 bits both ways, and an article that grows by doubling.
    check(300, inputs, targets::batches, 3 * ARTICLE_MAX as usize, 4096);
}

/// A protocol holds a packet that is not whole, a command, and what it has still to say.
const PROTOCOL_HOLDS: usize = 12 * G_FIELD_MAX + 8 * UUCP_COMMAND_MAX;

/// Pieces of 200 bytes, and time that passes between some of them: as `targets::protocol` reads it.
fn script(letter: usize, stream: &[u8], parameters: u8) -> Vec<u8> {
    // Window 7; the answerer, as `overhear` listens to what it hears.
    let mut script = vec![letter as u8, 0, parameters];
    for (n, piece) in stream.chunks(200).enumerate() {
        script.extend([0, piece.len() as u8]);
        script.extend_from_slice(piece);
        if n % 3 == 0 {
            script.extend([12, 3]);
        }
    }
    script
}

#[test]
fn protocols_survive_bytes_time_outs_and_packets_of_any_kind() {
    let letter = 0..PROTOCOLS.len() as u8;
    let inputs = (letter, any_bytes(1500)).prop_map(|(letter, mut bytes)| {
        bytes.insert(0, letter);
        bytes
    });
    check(600, inputs, targets::protocol, PROTOCOL_HOLDS, 64);
}

#[test]
fn protocols_survive_conversations_with_damage_of_every_kind() {
    for (number, entry) in PROTOCOLS.iter().enumerate() {
        let said = (1..=3_u8).map(|seed| {
            let stream = overhear(entry.letter, Quality::clean(9600), seed.into());
            script(number, &stream, 6 + 7 * seed)
        });
        let said: Vec<Vec<u8>> = said.collect();
        // What `make fuzz` begins with.
        if let Some(folder) = std::env::var_os("BANGPATH_FUZZ_CORPUS") {
            let folder = std::path::PathBuf::from(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            for (n, said) in said.iter().enumerate() {
                std::fs::write(folder.join(format!("{}{n}", entry.letter as u32)), said).expect("a file");
            }
        }
        check(40, mutated(said), targets::protocol, PROTOCOL_HOLDS, 64);
    }
}

/// Feeds a dialogue to its end, or as long as there is input and then until its own patience ends. Gives whether it ended.
fn listen<D: Dialogue>(mut dialogue: D, bytes: &[u8]) -> bool {
    let mut now = Now::default();
    let ended = |dialogue: &mut D, now: Now| {
        for _ in 0..1000 {
            let mut out = Vec::new();
            dialogue.poll_transmit(now, &mut out);
            match dialogue.poll_request() {
                Some(Request::Finish { .. }) => return true,
                Some(Request::Line(_)) => {}
                None if out.is_empty() => return false,
                None => {}
            }
        }
        panic!("it talks without an end");
    };
    for piece in bytes.chunks(37) {
        if ended(&mut dialogue, now) {
            return true;
        }
        dialogue.handle_input(now, piece);
    }
    for _ in 0..2000 {
        if ended(&mut dialogue, now) {
            return true;
        }
        let Some(at) = dialogue.poll_timeout() else { return false };
        let by = at.since(now.instant);
        now = Now { instant: now.instant + by, wall: now.wall + by };
        dialogue.handle_timeout(now);
    }
    false
}

/// A caller of ours that says what it likes.
fn session(bytes: &[u8]) {
    let answering = Answering {
        name: "hub".to_owned(),
        login: None,
        reception: Box::new(OpenDoor(Shelf::default(), Some("iteyjvGgaf"))),
    };
    let session = Session::answering(Now::default(), answering, Facts::serial("fuzz", 9600));
    assert!(listen(session, bytes), "the session does not end by itself");
}

#[test]
fn calls_of_any_kind_come_to_an_end() {
    // Taylor, and one of us.
    let hands = |letter: char, bits: &str| format!("\x10Svillage -R -N{bits}\0\x10U{letter}\0").into_bytes();
    let said = PROTOCOLS.iter().flat_map(|entry| {
        let talk = overhear(entry.letter, Quality::clean(9600), 1);
        ["047", "01047"].map(|bits| [hands(entry.letter, bits), talk.clone()].concat())
    });
    let inputs = prop_oneof![1 => any_bytes(400), 3 => mutated(said.collect())];
    check(120, inputs, session, HANDSHAKE_NOISE_MAX + PROTOCOL_HOLDS + 256 * 1024, 256);
}

/// The first line is the script, the rest is what the other side says.
fn chat(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (script, said) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(script) = Script::parse(script, &["BUSY".to_owned()]) else { return };
    let credentials = Credentials { login: "ann".to_owned(), password: "secret".to_owned() };
    let chat = Chat::new(Now::default(), &script, credentials);
    assert!(listen(chat, said.as_bytes()), "the chat `{}` does not end by itself", script_of(bytes));
}

fn script_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn chats_of_any_kind_come_to_an_end() {
    let lines = [
        "ogin: \\L word: \\P\nhub login: ann\r\nPassword: \r\n",
        "\"\" \\r\\c ogin:-\\r\\c-ogin: \\L\\d word: \\P\\W5\nCONNECT 2400\r\nlogin: login: Password:",
        "\"\" ATZ\\r OK-+++\\d\\d\\cATH\\r-OK ATDT\\T\\r CONNECT \\c\nOK\r\nBUSY\r\n",
        "\"\" BREAK ogin:-BREAK-ogin: EOT\\040\\x41\\E\\e\\K\n\x10Shere",
    ];
    let said = lines.iter().map(|l| l.as_bytes().to_vec()).collect();
    let inputs = prop_oneof![1 => any_bytes(200), 3 => mutated(said)];
    check(400, inputs, chat, HANDSHAKE_NOISE_MAX, 128);
}
