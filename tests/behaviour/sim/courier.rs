//! The smallest conversation that exercises a protocol: files both ways with offers, confirmations and a good-bye.
//!
//! Not the session: it knows only `S`, `SY`, `CY`, `H`, `HY`, `HN`, and keeps everything in memory.

use std::collections::{BTreeMap, VecDeque};

use bangpath::base::time::{Instant, Now};
use bangpath::dialogue::{Dialogue, Request};
use bangpath::proto::{Channel, Counters, Event, Protocol, Start, Violation, Way, entry};

/// Name and content of a file.
pub type File = (String, Vec<u8>);

/// What one side has to show at the end.
#[derive(Debug)]
pub struct Delivered {
    pub files: Vec<File>,
    /// How many of its own files the peer confirmed.
    pub confirmed: usize,
    pub end: Result<(), Trouble>,
    pub counters: Counters,
}

#[derive(Debug)]
#[expect(dead_code, reason = "read in the messages of failed tests")]
pub enum Trouble {
    Protocol(Violation),
    HungUp,
    /// The peer said what nobody says.
    Words(String),
}

pub struct Courier {
    protocol: Box<dyn Protocol>,
    /// Several files may be under way at once, and in both directions.
    many: bool,
    caller: bool,
    master: bool,
    outbox: VecDeque<File>,
    sending: BTreeMap<u8, Sending>,
    receiving: BTreeMap<Channel, File>,
    files: Vec<File>,
    confirmed: usize,
    parting: Parting,
    end: Option<Result<(), Trouble>>,
}

struct Sending {
    content: Vec<u8>,
    sent: usize,
    stage: Stage,
}

#[derive(PartialEq)]
enum Stage {
    Offered,
    Under,
    Whole,
}

#[derive(PartialEq)]
enum Parting {
    No,
    /// We have said H.
    Asked,
    /// They have said H, and we still have work.
    WasAsked,
    /// We have said HY, or heard it.
    Agreed,
}

impl Courier {
    pub fn new(letter: char, start: Start, outbox: Vec<File>) -> Self {
        let caller = start.caller;
        let protocol = (entry(letter).expect("a protocol of the table").make)(start);
        Self {
            protocol,
            many: false,
            caller,
            master: caller,
            outbox: outbox.into(),
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            files: Vec::new(),
            confirmed: 0,
            parting: Parting::No,
            end: None,
        }
    }

    fn control_channel(&self) -> Channel {
        Channel::Ours(if self.many { 0 } else { 1 })
    }

    fn say(&mut self, channel: Channel, text: &str) {
        self.protocol.send_command(channel, text.as_bytes());
    }

    fn digest(&mut self, now: Now) {
        while let Some(event) = self.protocol.poll_event() {
            match event {
                Event::Started => self.many = self.protocol.channels() > 1,
                Event::Command { channel, text } => {
                    self.hear(now, channel, &String::from_utf8_lossy(&text));
                }
                Event::Data { channel, offset, bytes } => {
                    let file = self.receiving.get_mut(&channel).expect("data only after begin_file");
                    assert_eq!(offset, file.1.len() as u64, "bytes of {} out of place", file.0);
                    file.1.extend(bytes);
                }
                Event::EndOfFile { channel } => {
                    let file = self.receiving.remove(&channel).expect("an end only after begin_file");
                    self.files.push(file);
                    self.say(channel, "CY");
                }
                Event::Again { channel } => match self.receiving.get_mut(&channel) {
                    Some(file) => file.1.clear(),
                    None => {
                        let sending = self.sending.get_mut(&1).expect("a file under way");
                        (sending.sent, sending.stage) = (0, Stage::Under);
                    }
                },
                Event::Closed => self.end = Some(Ok(())),
                Event::Failed(_) if self.parting == Parting::Agreed => self.end = Some(Ok(())),
                Event::Failed(why) => self.end = Some(Err(Trouble::Protocol(why))),
            }
            self.work();
        }
    }

    fn hear(&mut self, now: Now, channel: Channel, text: &str) {
        let slot = match channel {
            Channel::Ours(n) | Channel::Theirs(n) => n,
        };
        match text.split_once(' ').unwrap_or((text, "")) {
            ("S", name) => {
                self.receiving.insert(channel, (name.to_owned(), Vec::new()));
                self.protocol.begin_file(channel, Way::In);
                self.say(channel, "SY");
            }
            ("SY", _) => {
                if let Some(sending) = self.sending.get_mut(&slot).filter(|s| s.stage == Stage::Offered) {
                    sending.stage = Stage::Under;
                    let bytes = sending.content.len() as u64;
                    self.protocol.begin_file(channel, Way::Out { bytes });
                }
            }
            ("CY", _) if self.sending.remove(&slot).is_some() => self.confirmed += 1,
            ("H", _) => self.parting = Parting::WasAsked,
            ("HN", _) => {
                self.master = false;
                self.parting = Parting::No;
            }
            ("HY", _) if self.parting == Parting::Asked => {
                self.say(self.control_channel(), "HY");
                // From here on the peer may go without a word, as in a session.
                self.parting = Parting::Agreed;
                self.protocol.shut_down(now);
                // Both know by now: the peer may be gone before it has acknowledged ours.
                self.parting = Parting::Agreed;
            }
            ("HY", _) if self.parting == Parting::Agreed => self.protocol.shut_down(now),
            _ => self.end = Some(Err(Trouble::Words(text.to_owned()))),
        }
    }

    /// Does what is its turn: offers, file bytes, the good-bye.
    fn work(&mut self) {
        if !self.master && !self.many && self.parting == Parting::WasAsked && !self.outbox.is_empty() {
            self.say(self.control_channel(), "HN");
            self.master = true;
            self.parting = Parting::No;
        }
        self.offer();
        self.send();
        if !self.sending.is_empty() || !self.outbox.is_empty() {
            return;
        }
        let may_ask = if self.many { self.caller } else { self.master };
        match self.parting {
            Parting::No if may_ask && self.protocol.room(self.control_channel()) > 0 => {
                self.say(self.control_channel(), "H");
                self.parting = Parting::Asked;
            }
            Parting::WasAsked => {
                self.say(self.control_channel(), "HY");
                self.parting = Parting::Agreed;
            }
            Parting::No | Parting::Asked | Parting::Agreed => {}
        }
    }

    fn offer(&mut self) {
        let slots = self.protocol.channels();
        while (self.many || self.master) && self.protocol.room(Channel::Ours(1)) > 0 {
            let Some(slot) = (1..=slots).find(|slot| !self.sending.contains_key(slot)) else { return };
            let Some((name, content)) = self.outbox.pop_front() else { return };
            self.say(Channel::Ours(slot), &format!("S {name}"));
            // Where several files may be under way, nobody waits for the answer.
            let stage = if self.many { Stage::Under } else { Stage::Offered };
            self.sending.insert(slot, Sending { content, sent: 0, stage });
        }
    }

    fn send(&mut self) {
        for (&slot, sending) in self.sending.iter_mut().filter(|(_, sending)| sending.stage == Stage::Under) {
            let channel = Channel::Ours(slot);
            loop {
                let room = self.protocol.room(channel);
                let end = sending.content.len().min(sending.sent + room);
                if room == 0 {
                    break;
                }
                let bytes = &sending.content[sending.sent..end];
                self.protocol.send_data(channel, sending.sent as u64, bytes);
                sending.sent = end;
                if bytes.is_empty() {
                    sending.stage = Stage::Whole;
                    break;
                }
            }
        }
    }
}

impl Dialogue for Courier {
    type Outcome = Delivered;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.protocol.handle_input(now, bytes);
        self.digest(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.protocol.handle_timeout(now);
        self.digest(now);
    }

    fn handle_hangup(&mut self, _now: Now) {
        let end = if self.parting == Parting::Agreed { Ok(()) } else { Err(Trouble::HungUp) };
        self.end.get_or_insert(end);
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.digest(now);
        self.work();
        self.protocol.poll_transmit(now, out);
        // The protocol's good-bye may just have gone out.
        self.digest(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.protocol.poll_timeout()
    }

    fn poll_request(&mut self) -> Option<Request<Delivered>> {
        let end = self.end.take()?;
        let outcome = Delivered {
            files: std::mem::take(&mut self.files),
            confirmed: self.confirmed,
            end,
            counters: self.protocol.counters(),
        };
        Some(Request::Finish { outcome, unread: self.protocol.unread() })
    }
}
