//! Conversations with old programs, from `tests/dialogues`: handshakes byte for byte, then their commands in packets of their size.
//!
//! `> ` what we must send and `< ` what they send, with escapes; `>p ` and `<p ` the same for packets, in hexadecimal with `"text"` and
//! `00*62` for 62 times 00. Or, where packets do not matter, `g 64 3`: protocol g begins, with their packet size and window; `>c ` and
//! `<c ` commands, `>d ` and `<d ` whole files; `!hangup`. Before them stands what we have, after them what must have come of it.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bangpath::base::names::{Grade, SiteName};
use bangpath::base::time::Now;
use bangpath::dialogue::{Dialogue, Facts, Request};
use bangpath::proto::{self, Channel, Event, Protocol, Settings, Start, Way};
use bangpath::session::{Answering, CallResult, Calling, Session, SettingsByProtocol};

use crate::sim::shelf::{OpenDoor, Shelf};

struct Scene {
    name: String,
    now: Now,
    shelf: Shelf,
    session: Option<Session>,
    peer: Option<Box<dyn Protocol>>,
    we_call: bool,
    said: Vec<u8>,
    commands: VecDeque<String>,
    data: Vec<u8>,
    files: VecDeque<Vec<u8>>,
    outcome: Option<CallResult>,
}

impl Scene {
    fn session(&mut self) -> &mut Session {
        if self.session.is_none() {
            let facts = Facts::serial("line", 9600);
            let site = |name: &str| SiteName::parse(name).expect("a name");
            self.session = Some(if self.we_call {
                let calling = Calling {
                    name: "village".to_owned(),
                    site: site("hub"),
                    desk: self.shelf.desk(),
                    protocols: None,
                    worst: Grade::LEAST,
                    sequence: None,
                    longest: None,
                    test_line: true,
                };
                Session::calling(Now::default(), calling, facts, SettingsByProtocol::default())
            } else {
                let reception = Box::new(OpenDoor(self.shelf.clone(), None));
                let answering = Answering { name: "hub".to_owned(), login: None, reception };
                Session::answering(Now::default(), answering, facts)
            });
        }
        self.session.as_mut().expect("just made")
    }

    /// Carries bytes both ways until nobody has any.
    fn pump(&mut self) {
        loop {
            // The line has carried what went before.
            self.now.instant = self.now.instant + Duration::from_millis(100);
            let now = self.now;
            let mut forth = Vec::new();
            self.session().poll_transmit(now, &mut forth);
            let quiet = forth.is_empty();
            let Some(peer) = &mut self.peer else {
                self.said.extend(forth);
                if quiet {
                    break;
                }
                continue;
            };
            peer.handle_input(now, &forth);
            while let Some(event) = peer.poll_event() {
                match event {
                    Event::Command { text, .. } => {
                        let text = String::from_utf8_lossy(&text).into_owned();
                        // Their protocol must know that a file follows.
                        if text.starts_with("RY") {
                            peer.begin_file(Channel::Theirs(1), Way::In);
                        }
                        self.commands.push_back(text);
                    }
                    Event::Data { bytes, .. } => self.data.extend(bytes),
                    Event::EndOfFile { .. } => self.files.push_back(std::mem::take(&mut self.data)),
                    Event::Started | Event::Again { .. } | Event::Closed => {}
                    // They hear that we go; what they miss is missed by the script.
                    Event::Failed(_) => {}
                }
            }
            let mut back = Vec::new();
            peer.poll_transmit(now, &mut back);
            if quiet && back.is_empty() {
                break;
            }
            // One byte at a time, as a slow line brings them.
            let session = self.session.as_mut().expect("made before");
            for byte in back {
                session.handle_input(now, &[byte]);
            }
        }
        if let Some(Request::Finish { outcome, .. }) = self.session().poll_request() {
            self.outcome = Some(outcome);
        }
    }

    fn play(&mut self, line: &str) {
        let now = self.now;
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "role" => self.we_call = text == "caller",
            "outbox" => drop(self.shelf.open().outbox.insert(1, unescaped(text))),
            "large" => drop(self.shelf.open().outbox.insert(1, vec![b'x'; text.parse().expect("a size")])),
            "wish" => drop(self.shelf.open().wishes.insert(2, text.to_owned())),
            "library" => {
                let (name, content) = text.split_once(' ').expect("name and content");
                self.shelf.open().library.insert(name.to_owned(), content.as_bytes().to_vec());
            }
            ">" | ">p" => {
                self.pump();
                // The first packet of the protocol may follow at once.
                let expected = if word == ">" { unescaped(text) } else { packet(text) };
                let rest = self.said.split_off(expected.len().min(self.said.len()));
                let said = std::mem::replace(&mut self.said, rest);
                assert_eq!(said.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{}", self.name);
            }
            "<" => {
                for byte in unescaped(text) {
                    self.session().handle_input(now, &[byte]);
                }
            }
            "<p" => {
                self.pump();
                assert_eq!(self.said.escape_ascii().to_string(), "", "{}: said before {text}", self.name);
                for byte in packet(text) {
                    self.session().handle_input(now, &[byte]);
                }
            }
            "g" => {
                self.session();
                let (size, window) = text.split_once(' ').expect("size and window");
                let packet_size = Some(size.parse().expect("a size"));
                let window = Some(window.parse().expect("a window"));
                let facts = Facts::serial("line", 9600);
                let parameters = Settings { packet_size, window, ..Settings::default() }.on('g', &facts);
                let start = Start { caller: !self.we_call, facts, parameters };
                let mut peer = (proto::entry('g').expect("we speak g").make)(start);
                peer.handle_input(now, &std::mem::take(&mut self.said));
                self.peer = Some(peer);
                self.pump();
            }
            ">c" => {
                self.pump();
                let heard =
                    self.commands.pop_front().unwrap_or_else(|| panic!("{}: nothing said, not {text}", self.name));
                assert_eq!(heard, text, "{}", self.name);
            }
            "<c" => {
                let peer = self.peer.as_mut().expect("g has begun");
                peer.send_command(Channel::Ours(1), text.as_bytes());
                if text.starts_with("SY") || text.starts_with("EY") {
                    peer.begin_file(Channel::Theirs(1), Way::In);
                }
                self.pump();
            }
            ">d" => {
                self.pump();
                let got = self.files.pop_front().unwrap_or_else(|| panic!("{}: no file", self.name));
                assert_eq!(got.escape_ascii().to_string(), unescaped(text).escape_ascii().to_string(), "{}", self.name);
            }
            "<d" => {
                let bytes = unescaped(text);
                let peer = self.peer.as_mut().expect("g has begun");
                peer.begin_file(Channel::Ours(1), Way::Out { bytes: bytes.len() as u64 });
                peer.send_data(Channel::Ours(1), 0, &bytes);
                peer.send_data(Channel::Ours(1), bytes.len() as u64, &[]);
                self.pump();
            }
            "!hangup" => {
                self.pump();
                assert_eq!(self.said.escape_ascii().to_string(), "", "{}: said at the end", self.name);
                self.session().handle_hangup(now);
                self.pump();
            }
            "end" => {
                let outcome = self.outcome.as_ref().unwrap_or_else(|| panic!("{}: it goes on", self.name));
                assert_eq!(outcome.ending.to_string(), text, "{}", self.name);
            }
            "arrived" => {
                let arrived: Vec<String> = self
                    .shelf
                    .open()
                    .arrived
                    .iter()
                    .map(|(n, b)| format!("{n} {}", String::from_utf8_lossy(b)))
                    .collect();
                assert_eq!(arrived, [text], "{}", self.name);
            }
            "spread" => assert_eq!(self.shelf.open().spread, [text], "{}", self.name),
            "refused" => {
                let why: Vec<String> = self.shelf.open().refused.iter().map(|(_, why)| why.to_string()).collect();
                assert_eq!(why, [text], "{}", self.name);
            }
            other => panic!("{}: what is `{other}`?", self.name),
        }
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (plain, false) => plain,
            (_, true) => match rest.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'x') => {
                    let digits = [rest.next(), rest.next()].map(|d| char::from(d.expect("two digits")));
                    u8::from_str_radix(&String::from_iter(digits), 16).expect("hexadecimal")
                }
                other => other.expect("an escape has two characters"),
            },
        });
    }
    bytes
}

/// Bytes in hexadecimal, `00*62` for many of one, and text in quotes.
fn packet(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with('"') {
            let quoted = rest.match_indices('"').find(|(at, _)| *at > 0 && !rest[..*at].ends_with('\\'));
            let end = quoted.expect("a closing quote").0;
            bytes.extend(unescaped(&rest[1..end]));
            end + 1
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            let (byte, count) = rest[..end].split_once('*').unwrap_or((&rest[..end], "1"));
            let byte = u8::from_str_radix(byte, 16).expect("hexadecimal");
            bytes.resize(bytes.len() + count.parse::<usize>().expect("a count"), byte);
            end
        };
        rest = rest[end..].trim_start();
    }
    bytes
}

#[test]
fn old_programs_hear_what_they_understand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut scene = Scene {
            now: Now::default(),
            name,
            shelf: Shelf::default(),
            session: None,
            peer: None,
            we_call: false,
            said: Vec::new(),
            commands: VecDeque::new(),
            data: Vec::new(),
            files: VecDeque::new(),
            outcome: None,
        };
        // The first line says who it is.
        for line in fs::read_to_string(&path).expect("text").lines().skip(1) {
            scene.play(line);
        }
        count += 1;
    }
    assert_eq!(count, 14);
}
