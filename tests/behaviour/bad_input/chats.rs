//! Chats, dialling and logins with a peer that does whatever comes to its mind, for ever: they end in time, say no more than they
//! mean to, and do not care how bytes are split. From a seed; `PROPTEST_CASES` asks for more.

use std::fmt::Debug;
use std::time::Duration;

use bangpath::base::time::{Instant, Now};
use bangpath::dialogue::{Dialogue, Request};
use bangpath::session::chat::{Chat, Credentials, Script};
use bangpath::session::dial::{Dial, HangUp, Profile};
use bangpath::session::login::{Gatekeeper, LoginPrompt};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// What a peer says, and after how many milliseconds.
type Step = (u64, Vec<u8>);

/// How it went.
#[derive(Debug, PartialEq, Eq)]
struct Played {
    said: String,
    outcome: String,
    /// What belongs to whoever talks next, if it went well.
    rest: String,
    took: Duration,
}

/// Plays a dialogue against a peer that repeats its steps without end, in pieces of this size at most.
fn play<D: Dialogue<Outcome: Debug>>(mut dialogue: D, steps: &[Step], piece: usize) -> Played {
    let (mut now, mut said) = (Now::default(), Vec::new());
    let mut steps = steps.iter().cycle();
    let (mut input, mut input_at) = (Vec::new(), now.instant);
    for _ in 0..1_000_000 {
        dialogue.poll_transmit(now, &mut said);
        match dialogue.poll_request() {
            Some(Request::Line(_)) => continue,
            Some(Request::Finish { outcome, unread }) => {
                let outcome = format!("{outcome:?}");
                let rest = if outcome.starts_with("Ok") { [unread, input].concat() } else { Vec::new() };
                let [said, rest] = [said, rest].map(|bytes| bytes.escape_ascii().to_string());
                return Played { said, outcome, rest, took: now.instant.since(Instant::default()) };
            }
            None => {}
        }
        if input.is_empty() {
            let (pause, bytes) = steps.next().expect("the peer goes on for ever");
            (input, input_at) = (bytes.clone(), input_at + Duration::from_millis(*pause));
        }
        let timeout = dialogue.poll_timeout().expect("it waits without a deadline");
        if dialogue.room() > 0 && input_at <= timeout {
            now.instant = now.instant.max(input_at);
            let count = input.len().min(piece).min(dialogue.room());
            let head: Vec<u8> = input.drain(..count).collect();
            dialogue.handle_input(now, &head);
        } else {
            now.instant = now.instant.max(timeout);
            dialogue.handle_timeout(now);
        }
    }
    panic!("it does not come to an end: {} s, {} bytes said", now.instant.as_micros() / 1_000_000, said.len());
}

/// Plays the steps once, then the line is lost: that is the end, if nothing was before.
fn lose_line<D: Dialogue>(mut dialogue: D, steps: &[Step]) {
    let (mut now, mut said) = (Now::default(), Vec::new());
    for (pause, bytes) in steps {
        now.instant = now.instant + Duration::from_millis(*pause);
        dialogue.handle_timeout(now);
        dialogue.poll_transmit(now, &mut said);
        let count = bytes.len().min(dialogue.room());
        dialogue.handle_input(now, &bytes[..count]);
        dialogue.poll_transmit(now, &mut said);
        if matches!(dialogue.poll_request(), Some(Request::Finish { .. })) {
            return;
        }
    }
    dialogue.handle_hangup(now);
    let mut requests = std::iter::from_fn(|| dialogue.poll_request());
    assert!(requests.any(|request| matches!(request, Request::Finish { .. })), "it goes on without a line");
}

fn for_all<S: Strategy>(strategy: S, check: impl Fn(S::Value)) {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 100 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, seed).run(&strategy, |value| {
        check(value);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

/// Words that mean something to one of the dialogues, and others.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "login: ",
        "ogin:",
        "word:",
        "OK\r\n",
        "RING\r\n",
        "CONNECT 2400/ARQ\r\n",
        "NO CARRIER\r",
        "BUSY",
        "\r",
        "a\rb\r",
        "+",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let other = prop::collection::vec(any::<u8>(), 0..8);
    let word = prop_oneof![8 => known, 2 => other, 1 => prop::collection::vec(Just(b'x'), 200..300)];
    // Several may come in one piece.
    prop::collection::vec(word, 1..4).prop_map(|words| words.concat())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![3 => 100_u64..300, 1 => 300_u64..20_000];
    prop::collection::vec((pause, words()), 1..8)
}

/// Scripts of words that mean something, some of them wrong.
fn script(echo: bool) -> impl Strategy<Value = String> {
    let echo = if echo { "\\E|\\e" } else { "\\p" };
    let expect =
        "(ogin:|word:|OK|x|\"\"|[a-z]{1,3}){1,2}(-(BREAK|EOT|\\\\d|\\\\r\\\\c|)-(ogin:|OK|\"\"|)){0,2}(\\\\W[0-9])?";
    let send = format!(
        "(\"\"|BREAK|EOT|(a|\\\\d|\\\\p|\\\\s|\\\\K|\\\\L|\\\\P|\\\\x41|{}){{1,5}}(\\\\c)?)",
        echo.replace('\\', "\\\\")
    );
    let pair = (
        proptest::string::string_regex(expect).expect("a pattern"),
        proptest::string::string_regex(&send).expect("a pattern"),
    );
    let pairs = prop::collection::vec(pair.prop_map(|(expect, send)| format!("{expect} {send}")), 1..6);
    pairs.prop_map(|pairs| pairs.join(" "))
}

fn parsed(text: &str) -> Option<Script> {
    Script::parse(text, &["BUSY".to_owned(), "NO\\sCARRIER".to_owned()]).ok()
}

fn chat(script: &Script) -> Chat {
    let credentials = Credentials { login: "Uvillage".to_owned(), password: "secret".to_owned() };
    Chat::new(Now::default(), script, credentials)
}

#[test]
fn any_text_is_a_script_or_a_bad_one() {
    for_all("(\\PC|[\\\\ \"-]|\\\\[a-zA-Z0-7]){0,30}", |text: String| drop(parsed(&text)));
    for_all("([a-z\\\\ \"-]|\\\\[a-zA-Z0-7]){0,20}", |text: String| {
        if let Some(script) = parsed(&text) {
            play(chat(&script), &[(20, b"x".to_vec())], 1);
        }
    });
}

#[test]
fn a_chat_ends_in_time_whatever_its_peer_does() {
    for_all((script(true), steps()), |(text, steps)| {
        let Some(script) = parsed(&text) else { return };
        let played = play(chat(&script), &steps, 7);
        // Nothing in a script lasts longer than ten seconds a letter, nor says more than the longest of the credentials.
        lose_line(chat(&script), &steps);
        let letters = text.len() + 8 * text.matches(['L', 'P']).count();
        assert!(played.took <= Duration::from_secs(10) * (letters as u32 + 1), "{text}: {played:?}");
        assert!(played.said.len() <= letters + text.len(), "{text}: {played:?}");
        // Twice what it remembers, and the last piece, with four characters for a byte.
        assert!(played.rest.len() <= 4 * (2048 + 7), "{text}");
    });
}

#[test]
fn an_echo_that_comes_is_not_waited_for_any_longer() {
    let script = parsed("\"\" \\Eab\\c").expect("a script");
    let played = play(chat(&script), &[(20, b"a".to_vec()), (20, b"b".to_vec())], 1);
    assert_eq!((played.said.as_str(), played.took), ("ab", Duration::from_millis(40)));
}

#[test]
fn the_split_of_what_a_peer_says_means_nothing_to_a_chat() {
    for_all((script(false), steps()), |(text, steps)| {
        let Some(script) = parsed(&text) else { return };
        let whole = play(chat(&script), &steps, usize::MAX);
        for piece in [1, 3] {
            assert_eq!(play(chat(&script), &steps, piece), whole, "{text}");
        }
    });
}

fn profile() -> Profile {
    Profile {
        name: "test".to_owned(),
        init: ["ATZ", "ATE0"].map(str::to_owned).into(),
        dial: "ATDT".to_owned(),
        dial_end: String::new(),
        dial_tone: "W".to_owned(),
        pause: ",".to_owned(),
        connect_timeout: Duration::from_secs(60),
        fail: ["BUSY", "NO CARRIER", "ERROR"].map(str::to_owned).into(),
        answer: "ATA".to_owned(),
        guard: Duration::from_secs(1),
        escape: "+++".to_owned(),
        hang_up: "ATH".to_owned(),
        corrected: ["ARQ", "LAPM"].map(str::to_owned).into(),
        fixed_speed: true,
        carrier: true,
    }
}

/// Plays a dialogue whole and in pieces: the same each time, and within this time and so many bytes.
fn check<D: Dialogue<Outcome: Debug>>(make: impl Fn() -> D, steps: &[Step], longest_s: u64, said_max: usize) {
    let whole = play(make(), steps, usize::MAX);
    assert!(whole.took <= Duration::from_secs(longest_s) && whole.said.len() <= said_max, "{whole:?}");
    for piece in [1, 3] {
        assert_eq!(play(make(), steps, piece), whole);
    }
    lose_line(make(), steps);
}

#[test]
fn dialling_answering_and_hanging_up_end_in_time_whatever_the_modem_says() {
    for_all(steps(), |steps| {
        // Two rounds of two commands, an escape between them, and the wait for CONNECT.
        check(|| Dial::calling(Now::default(), profile(), "9=5551234"), &steps, 90, 100);
        check(|| Dial::preparing(Now::default(), profile()), &steps, 30, 100);
        check(|| Dial::answering(Now::default(), profile(), 3), &steps, 3 * 15 + 61, 100);
        check(|| HangUp::new(Now::default(), &profile()), &steps, 12, 20);
    });
}

pub struct OneUser;

impl Gatekeeper for OneUser {
    fn admits(&mut self, login: &str, password: &str) -> bool {
        (login, password) == ("a", "x")
    }
}

#[test]
fn a_login_ends_in_time_whatever_the_caller_does() {
    for_all(steps(), |steps| {
        check(|| LoginPrompt::new(Now::default(), Box::new(OneUser)), &steps, 60, 60_000 / 20 * 30);
    });
}

/// What a dialogue holds ready for a peer that talks without end and takes nothing.
fn held<D: Dialogue>(mut dialogue: D, word: &[u8]) -> usize {
    for _ in 0..20_000 {
        let room = dialogue.room();
        if room == 0 {
            break;
        }
        dialogue.handle_input(Now::default(), &word[..word.len().min(room)]);
    }
    let mut out = Vec::new();
    dialogue.poll_transmit(Now::default(), &mut out);
    out.len()
}

#[test]
fn who_listens_to_nothing_does_not_fill_the_memory() {
    for word in [&b"\r"[..], b"\r\r\r\r\r\r\r\r", b"a\r", b"OK\r\n", b"RING\r\n", b"ogin:", b"x"] {
        let script = parsed("ogin: \\L ogin: \\L").expect("a script");
        let most = [
            held(LoginPrompt::new(Now::default(), Box::new(OneUser)), word),
            held(chat(&script), word),
            held(Dial::calling(Now::default(), profile(), "1"), word),
            held(Dial::answering(Now::default(), profile(), 3), word),
            held(HangUp::new(Now::default(), &profile()), word),
        ];
        assert!(most.iter().all(|bytes| *bytes < 10_000), "{:?}: {most:?}", String::from_utf8_lossy(word));
    }
}
