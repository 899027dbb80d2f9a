//! What i has received: puts packets in order, knows which are missing, and reads commands and files from them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::UUCP_COMMAND_MAX;
use crate::base::time::Instant;
use crate::proto::{Channel, Event, Violation};
use crate::wire::packet::{IKind, IPacket};

/// Packet numbers are modulo 32.
const NUMBERS: usize = 32;
/// More than half of the numbers could not be told from old ones.
pub const WINDOW_MAX: u8 = 16;

/// Packets in the order of their numbers.
pub struct Intake {
    /// Number of the next packet in order.
    expected: u8,
    /// By number: what came before its turn.
    stored: [Option<IPacket>; NUMBERS],
    /// By number: when it was last asked for, and how often.
    asked: [Option<Asked>; NUMBERS],
    /// How far beyond `expected` the furthest packet lies of which we have heard.
    reach: u8,
    inbox: VecDeque<IPacket>,
    channels: [Conversation; 16],
    /// Every byte of data that we take moves this on, those of commands too.
    position: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub left: Instant,
    pub times: u32,
    /// Its answer has come, by all signs, and could not be read.
    due: bool,
}

#[derive(Default)]
struct Conversation {
    /// Where the next byte of the file belongs, while one is being received.
    file: Option<u64>,
    command: Vec<u8>,
}

/// What a numbered packet was.
#[derive(Debug, PartialEq, Eq)]
pub enum Placed {
    /// The next in order; so many packets can now be read. If it had been asked for once, when that had left.
    InOrder { count: u32, asked: Option<Instant> },
    /// Packets before it are missing.
    Early,
    /// We had it.
    Again,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            expected: 1,
            stored: Default::default(),
            asked: [None; NUMBERS],
            reach: 0,
            inbox: VecDeque::new(),
            channels: Default::default(),
            position: 0,
        }
    }
}

impl Intake {
    pub fn expected(&self) -> u8 {
        self.expected
    }

    /// The last packet of an unbroken row.
    pub fn last_in_order(&self) -> u8 {
        self.expected.wrapping_sub(1) & 31
    }

    fn distance(&self, number: u8) -> u8 {
        number.wrapping_sub(self.expected) & 31
    }

    pub fn place(&mut self, packet: IPacket) -> Placed {
        let (number, distance) = (packet.number, self.distance(packet.number));
        let slot = &mut self.stored[usize::from(number)];
        if distance >= WINDOW_MAX || slot.is_some() {
            return Placed::Again;
        }
        *slot = Some(packet);
        self.reach = self.reach.max(distance);
        if distance > 0 {
            self.asked[usize::from(number)] = None;
            return Placed::Early;
        }
        let asked = self.asked[usize::from(number)].filter(|asked| asked.times == 1).map(|asked| asked.left);
        let mut count = 0;
        while let Some(packet) = self.stored[usize::from(self.expected)].take() {
            self.asked[usize::from(self.expected)] = None;
            self.inbox.push_back(packet);
            self.expected = (self.expected + 1) & 31;
            self.reach = self.reach.saturating_sub(1);
            count += 1;
        }
        Placed::InOrder { count, asked }
    }

    /// A packet of this number came damaged: it and those before it have been sent. If we had asked for it, the answer
    /// has been, and we ask anew.
    pub fn heard_of(&mut self, number: u8) {
        if self.lacks(number) {
            self.asked[usize::from(number)] = None;
            // One beyond, for it is missing itself.
            self.reach = self.reach.max(self.distance(number) + 1);
        }
    }

    /// Makes requests for these numbers due again that left so long ago that their answers may have come.
    pub fn ask_anew(&mut self, now: Instant, quickest: Duration, wanted: impl Fn(u8) -> bool) {
        for (number, asked) in (0..).zip(&mut self.asked) {
            if let Some(asked) = asked.as_mut().filter(|_| wanted(number)) {
                asked.due |= asked.left + quickest <= now;
            }
        }
    }

    /// Numbers of which we know that they were sent and have not come.
    fn missing(&self) -> impl Iterator<Item = u8> {
        let numbers = (0..self.reach.min(WINDOW_MAX)).map(|distance| (self.expected + distance) & 31);
        numbers.filter(|&number| self.stored[usize::from(number)].is_none())
    }

    /// Whether this packet has not come, of those that may come.
    pub fn lacks(&self, number: u8) -> bool {
        self.distance(number) < WINDOW_MAX && self.stored[usize::from(number)].is_none()
    }

    /// Those missing that have not been asked for, or so long ago that the request or the answer was lost.
    pub fn to_ask(&self, now: Instant, patience: Duration) -> Vec<u8> {
        let due = |number: &u8| match self.asked[usize::from(*number)] {
            None => true,
            Some(asked) => asked.due || asked.again_at(patience) <= now,
        };
        self.missing().filter(due).collect()
    }

    /// When a missing packet is to be asked for again; those never asked for are asked for at once.
    pub fn ask_at(&self, patience: Duration) -> Option<Instant> {
        self.missing().filter_map(|number| self.asked[usize::from(number)]).map(|a| a.again_at(patience)).min()
    }

    /// A request for this packet has been handed out. Says whether it is the first.
    pub fn has_asked(&mut self, number: u8, left: Instant) -> bool {
        let slot = &mut self.asked[usize::from(number)];
        let times = slot.map_or(0, |asked| asked.times) + 1;
        *slot = Some(Asked { left, times, due: false });
        times == 1
    }

    pub fn begin_file(&mut self, channel: Channel) {
        self.channels[index(channel)].file = Some(0);
    }

    /// The next thing to tell the session, and whether the peer has closed.
    pub fn next(&mut self) -> Option<Result<Event, End>> {
        while let Some(packet) = self.inbox.pop_front() {
            match packet.kind {
                IKind::Close => return Some(Err(End::Closed)),
                IKind::Position => {
                    if let Some(position) = packet.data.first_chunk() {
                        self.position = u32::from_be_bytes(*position);
                    }
                }
                IKind::Data => {
                    if let Some(said) = self.read(packet) {
                        return Some(said);
                    }
                }
                IKind::Sync | IKind::Ack | IKind::Nak | IKind::Sums | IKind::Patch => {}
            }
        }
        None
    }

    fn read(&mut self, packet: IPacket) -> Option<Result<Event, End>> {
        let channel = match (packet.local, packet.remote) {
            (local, 0) => Channel::Theirs(local),
            (_, remote) => Channel::Ours(remote),
        };
        let position = self.position;
        self.position = position.wrapping_add(packet.data.len() as u32);
        let conversation = &mut self.channels[index(channel)];
        if let Some(at) = &mut conversation.file {
            if packet.data.is_empty() {
                conversation.file = None;
                return Some(Ok(Event::EndOfFile { channel }));
            }
            let offset = whole_position(*at, position);
            *at = offset + packet.data.len() as u64;
            return Some(Ok(Event::Data { channel, offset, bytes: packet.data }));
        }
        let end = memchr::memchr(0, &packet.data);
        conversation.command.extend_from_slice(&packet.data[..end.unwrap_or(packet.data.len())]);
        if conversation.command.len() > UUCP_COMMAND_MAX {
            return Some(Err(End::Violated(Violation::Rule("a command is too long"))));
        }
        end?;
        Some(Ok(Event::Command { channel, text: std::mem::take(&mut conversation.command) }))
    }
}

/// Why nothing more is to be read.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Violated(Violation),
}

impl Asked {
    fn again_at(&self, patience: Duration) -> Instant {
        self.left + patience * (1 << (self.times - 1).min(2))
    }
}

fn index(channel: Channel) -> usize {
    match channel {
        Channel::Ours(n) => usize::from(n & 7),
        Channel::Theirs(n) => 8 + usize::from(n & 7),
    }
}

/// Positions have 32 bits. In a file larger than that the one meant is the next at or after `at`, unless it lies so
/// far ahead that a step back is likelier.
fn whole_position(at: u64, position: u32) -> u64 {
    let ahead = position.wrapping_sub(at as u32);
    let back = u64::from(ahead.wrapping_neg());
    if ahead > u32::MAX / 2 && back <= at { at - back } else { at + u64::from(ahead) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: IKind, number: u8, local: u8, remote: u8, data: &[u8]) -> IPacket {
        IPacket { kind, number, local, acknowledged: 0, remote, caller: true, data: data.to_vec() }
    }

    fn data(number: u8, data: &str) -> IPacket {
        packet(IKind::Data, number, 1, 0, data.as_bytes())
    }

    #[test]
    fn early_packets_are_kept_and_the_missing_known() {
        let mut intake = Intake::default();
        let now = Instant::from_micros(1);
        assert_eq!(intake.place(data(3, "c")), Placed::Early);
        assert_eq!(intake.place(data(3, "c")), Placed::Again);
        assert_eq!(intake.to_ask(now, Duration::ZERO), [1, 2]);
        assert!(intake.has_asked(1, now) && intake.has_asked(2, now) && !intake.has_asked(2, now));
        assert_eq!(intake.to_ask(now, Duration::from_secs(1)), [0u8; 0]);
        assert_eq!(intake.ask_at(Duration::from_secs(1)), Some(now + Duration::from_secs(1)));
        assert_eq!(intake.to_ask(now + Duration::from_secs(1), Duration::from_secs(1)), [1]);
        assert_eq!(intake.place(data(1, "a")), Placed::InOrder { count: 1, asked: Some(now) });
        assert_eq!(intake.place(data(2, "b\0")), Placed::InOrder { count: 2, asked: None }, "asked for twice");
        assert_eq!((intake.place(data(1, "a")), intake.lacks(3), intake.lacks(4)), (Placed::Again, false, true));
        intake.heard_of(5);
        assert_eq!(intake.to_ask(now, Duration::ZERO), [4, 5]);
    }

    #[test]
    fn numbers_run_round() {
        let mut intake = Intake::default();
        for number in (1..100).map(|n| n & 31) {
            assert_eq!(intake.place(data(number, "\0")), Placed::InOrder { count: 1, asked: None });
        }
        assert_eq!((intake.expected(), intake.last_in_order()), (100 & 31, 99 & 31));
    }

    #[test]
    fn positions_and_commands_share_one_count() {
        let mut intake = Intake::default();
        let events = [
            packet(IKind::Data, 1, 1, 0, b"S x\0"),
            packet(IKind::Data, 2, 1, 0, b"abcd"),
            packet(IKind::Data, 3, 0, 2, b"SY\0"),
            packet(IKind::Position, 4, 0, 0, &[0, 0, 1, 0]),
            packet(IKind::Data, 5, 1, 0, b"e"),
            packet(IKind::Data, 6, 1, 0, b""),
            packet(IKind::Data, 7, 1, 0, b"co"),
            packet(IKind::Data, 8, 0, 0, b"H\0"),
            packet(IKind::Data, 9, 1, 0, b"py\0"),
            packet(IKind::Close, 10, 0, 0, b""),
        ];
        for packet in events {
            assert!(matches!(intake.place(packet), Placed::InOrder { .. }));
        }
        let channel = Channel::Theirs(1);
        let command = |channel, text: &str| Some(Ok(Event::Command { channel, text: text.into() }));
        let data = |offset, text: &str| Some(Ok(Event::Data { channel, offset, bytes: text.into() }));
        assert_eq!(intake.next(), command(channel, "S x"));
        intake.begin_file(channel);
        assert_eq!(intake.next(), data(4, "abcd"));
        assert_eq!(intake.next(), command(Channel::Ours(2), "SY"));
        assert_eq!(intake.next(), data(256, "e"));
        assert_eq!(intake.next(), Some(Ok(Event::EndOfFile { channel })));
        assert_eq!(intake.next(), command(Channel::Theirs(0), "H"));
        assert_eq!(intake.next(), command(channel, "copy"));
        assert_eq!(intake.next(), Some(Err(End::Closed)));
    }

    #[test]
    fn positions_beyond_32_bits_are_the_nearest() {
        const G4: u64 = 1 << 32;
        assert_eq!(whole_position(0, 0xffff_0000), 0xffff_0000);
        assert_eq!(whole_position(G4 - 10, 5), G4 + 5);
        assert_eq!(whole_position(G4 + 100, 90), G4 + 90);
        assert_eq!(whole_position(1000, 0), 0);
    }
}
