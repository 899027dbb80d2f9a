//! What a has received: puts headers and data together from bytes, knows up to where all has come, and reads commands and files.

use std::collections::VecDeque;

use super::frame::{self, End, Front, next_start};
use crate::base::limits::UUCP_COMMAND_MAX;
use crate::proto::{Channel, Event, Violation};

/// a has one conversation.
pub const CHANNEL: Channel = Channel::Ours(1);

pub struct Intake {
    received: Vec<u8>,
    /// Data follow.
    in_frame: bool,
    /// Up to here all has come.
    taken: u32,
    in_message: bool,
    inbox: VecDeque<Received>,
    receiving: Receiving,
}

enum Received {
    Bytes(Vec<u8>),
    EndOfMessage,
    Close,
}

enum Receiving {
    Command(Vec<u8>),
    File { offset: u64 },
}

/// What stands next in the bytes.
pub enum Part {
    Header(u8, u32),
    Data(Vec<u8>, End),
    /// Data that cannot be read. A header is looked for behind them.
    Damaged,
}

/// Why nothing more is to be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Over {
    Closed,
    Violated(Violation),
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            received: Vec::new(),
            in_frame: false,
            taken: 0,
            in_message: false,
            inbox: VecDeque::new(),
            receiving: Receiving::Command(Vec::new()),
        }
    }
}

impl Intake {
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// `None`: not all of it has come.
    pub fn next_part(&mut self) -> Option<Part> {
        if self.in_frame {
            let (part, used) = match frame::parse_data(&self.received) {
                Front::Incomplete => return None,
                Front::Got((bytes, end), used) => (Part::Data(bytes, end), used),
                Front::Nothing(used) => (Part::Damaged, used),
            };
            self.received.drain(..used);
            self.in_frame &= !matches!(part, Part::Damaged);
            return Some(part);
        }
        loop {
            let start = memchr::memchr(b'*', &self.received).unwrap_or(self.received.len());
            self.received.drain(..start);
            match frame::parse_header(&self.received) {
                Front::Incomplete => return None,
                Front::Got((kind, value), used) => {
                    self.received.drain(..used);
                    return Some(Part::Header(kind, value));
                }
                Front::Nothing(used) => {
                    self.received.drain(..used.min(self.received.len()));
                }
            }
        }
    }

    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Whether a message has begun to come, and not all of it.
    pub fn in_message(&self) -> bool {
        self.in_message
    }

    /// Where the data stand that come next.
    pub fn expected(&self) -> u32 {
        if self.in_message { self.taken } else { next_start(self.taken) }
    }

    /// Data of no message follow: both only try the way.
    pub fn begin_trial(&mut self) {
        self.in_frame = true;
    }

    /// Data of this position follow. False: they are not those that come next.
    pub fn begin_frame(&mut self, position: u32) -> bool {
        let follows = position == self.expected();
        if follows {
            (self.taken, self.in_message, self.in_frame) = (position, true, true);
        }
        follows
    }

    /// No more data are expected before a header.
    pub fn end_frame(&mut self) {
        self.in_frame = false;
    }

    /// Takes data of the message that is under way.
    pub fn take(&mut self, bytes: Vec<u8>, end: End) {
        self.taken = self.taken.wrapping_add(bytes.len() as u32);
        if !bytes.is_empty() {
            self.inbox.push_back(Received::Bytes(bytes));
        }
        self.in_frame = matches!(end, End::More | End::MoreAck);
        if end == End::Message {
            self.in_message = false;
            self.inbox.push_back(Received::EndOfMessage);
        }
    }

    /// The peer says nothing more.
    pub fn close(&mut self) {
        self.inbox.push_back(Received::Close);
    }

    pub fn begin_file(&mut self) {
        self.receiving = Receiving::File { offset: 0 };
    }

    /// The next thing to tell the session, or why there will be no more.
    pub fn next(&mut self) -> Option<Result<Event, Over>> {
        loop {
            match (self.inbox.pop_front()?, &mut self.receiving) {
                (Received::Close, _) => return Some(Err(Over::Closed)),
                (Received::EndOfMessage, Receiving::File { .. }) => {
                    self.receiving = Receiving::Command(Vec::new());
                    return Some(Ok(Event::EndOfFile { channel: CHANNEL }));
                }
                (Received::Bytes(bytes), Receiving::File { offset }) => {
                    let at = *offset;
                    *offset += bytes.len() as u64;
                    return Some(Ok(Event::Data { channel: CHANNEL, offset: at, bytes }));
                }
                (Received::EndOfMessage, Receiving::Command(text)) => {
                    let mut text = std::mem::take(text);
                    text.truncate(memchr::memchr(0, &text).unwrap_or(text.len()));
                    if !text.is_empty() {
                        return Some(Ok(Event::Command { channel: CHANNEL, text }));
                    }
                }
                (Received::Bytes(bytes), Receiving::Command(text)) => {
                    text.extend(bytes);
                    if text.len() > UUCP_COMMAND_MAX {
                        return Some(Err(Over::Violated(Violation::Rule("a command is too long"))));
                    }
                }
            }
        }
    }

    /// What nobody has read.
    pub fn unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }
}
