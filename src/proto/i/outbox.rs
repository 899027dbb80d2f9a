//! What i has still to send: commands, which go ahead, and file bytes of several channels.

use std::collections::VecDeque;

use crate::base::limits::SEND_AHEAD_MAX;
use crate::proto::Channel;

enum Content {
    /// With its NUL.
    Command,
    /// Where the first byte belongs in the file.
    Data(u64),
    EndOfFile,
}

struct Item {
    channel: Channel,
    content: Content,
    bytes: Vec<u8>,
}

/// What goes into the next packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// The data that follow belong there, which is not where the last ones ended.
    Position(u32),
    /// Part of a command or of a file; nothing: the end of a file.
    Data(Channel, Vec<u8>),
}

#[derive(Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    /// Every byte of data that we send moves this on, those of commands too.
    position: u32,
}

impl Outbox {
    /// Queues a command, ahead of the file bytes of other channels.
    pub fn command(&mut self, channel: Channel, text: &[u8]) {
        let mut bytes = text.to_vec();
        bytes.push(0);
        let after_own = self.items.iter().rposition(|item| item.channel == channel).map_or(0, |at| at + 1);
        let after_commands = self.items.iter().rposition(|item| matches!(item.content, Content::Command));
        let at = after_own.max(after_commands.map_or(0, |at| at + 1));
        self.items.insert(at, Item { channel, content: Content::Command, bytes });
    }

    /// Queues file bytes; none of them: its end.
    pub fn data(&mut self, channel: Channel, offset: u64, bytes: &[u8]) {
        let is_data = |item: &Item| item.channel == channel && matches!(item.content, Content::Data(_));
        let ends_elsewhere = |item: &Item| match item.content {
            Content::Data(start) => start + item.bytes.len() as u64 != offset,
            Content::Command | Content::EndOfFile => false,
        };
        // An end that is not where the bytes end says that nobody wants them any more.
        if bytes.is_empty() && self.items.iter().rfind(|item| is_data(item)).is_some_and(ends_elsewhere) {
            self.items.retain(|item| !is_data(item));
        }
        let last = self.items.iter_mut().rfind(|item| item.channel == channel);
        match last {
            _ if bytes.is_empty() => {
                self.items.push_back(Item { channel, content: Content::EndOfFile, bytes: Vec::new() });
            }
            Some(Item { content: Content::Data(start), bytes: held, .. }) if *start + held.len() as u64 == offset => {
                held.extend_from_slice(bytes);
            }
            Some(_) | None => {
                self.items.push_back(Item { channel, content: Content::Data(offset), bytes: bytes.to_vec() });
            }
        }
    }

    pub fn room(&self) -> usize {
        let held = self.items.iter().map(|item| match item.content {
            Content::Data(_) => item.bytes.len(),
            Content::Command | Content::EndOfFile => 0,
        });
        SEND_AHEAD_MAX.saturating_sub(held.sum())
    }

    /// Bytes of commands.
    pub fn waiting(&self) -> usize {
        let commands = self.items.iter().filter(|item| matches!(item.content, Content::Command));
        commands.map(|item| item.bytes.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first item that can go, in packets of `size`: file bytes wait for a full one as long as more may come, and
    /// let those of other channels pass.
    fn ready(&self, size: usize) -> Option<usize> {
        (0..self.items.len()).find(|&at| {
            let item = &self.items[at];
            let mut before = self.items.range(..at);
            let mut after = self.items.range(at + 1..);
            let complete = match item.content {
                Content::Command | Content::EndOfFile => true,
                Content::Data(_) => item.bytes.len() >= size || after.any(|other| other.channel == item.channel),
            };
            complete && !before.any(|other| other.channel == item.channel)
        })
    }

    /// The next packet's content, `size` bytes at most.
    pub fn next(&mut self, size: usize) -> Option<Piece> {
        let at = self.ready(size)?;
        let item = &mut self.items[at];
        if let Content::Data(offset) = item.content
            && offset as u32 != self.position
        {
            self.position = offset as u32;
            return Some(Piece::Position(self.position));
        }
        let taken = item.bytes.len().min(size);
        let bytes: Vec<u8> = item.bytes.drain(..taken).collect();
        self.position = self.position.wrapping_add(taken as u32);
        let channel = item.channel;
        if let Content::Data(offset) = &mut item.content {
            *offset += taken as u64;
        }
        if item.bytes.is_empty() {
            self.items.remove(at);
        }
        Some(Piece::Data(channel, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Channel::{Ours, Theirs};

    /// `1:3` three bytes on our channel 1, `-2` theirs, `@0` a position.
    fn check(size: usize, fill: impl Fn(&mut Outbox), expected: &str) {
        let mut outbox = Outbox::default();
        fill(&mut outbox);
        let pieces = std::iter::from_fn(|| outbox.next(size)).map(|piece| match piece {
            Piece::Position(at) => format!("@{at}"),
            Piece::Data(Ours(n), bytes) => format!("{n}:{}", bytes.len()),
            Piece::Data(Theirs(n), bytes) => format!("-{n}:{}", bytes.len()),
        });
        assert_eq!(pieces.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_position_goes_before_data_that_do_not_follow() {
        let file = |o: &mut Outbox| {
            o.command(Ours(1), b"S x");
            o.data(Ours(1), 0, &[0; 10]);
            o.data(Ours(1), 10, &[]);
        };
        check(8, file, "1:4 @0 1:8 1:2 1:0");
        let restart = |o: &mut Outbox| {
            o.data(Ours(1), 4, &[0; 4]);
            o.data(Ours(1), 100, &[0; 4]);
            o.data(Ours(1), 104, &[]);
        };
        check(8, restart, "@4 1:4 @100 1:4 1:0");
    }

    #[test]
    fn commands_pass_the_data_of_others_and_not_their_own() {
        let fill = |o: &mut Outbox| {
            o.data(Ours(1), 0, &[0; 16]);
            o.data(Ours(1), 16, &[]);
            o.command(Theirs(3), b"SY");
            o.command(Theirs(3), b"CY");
            o.command(Ours(1), b"S y");
        };
        check(8, fill, "-3:3 -3:3 @0 1:8 1:8 1:0 1:4");
    }

    #[test]
    fn data_wait_for_a_full_packet_and_let_others_pass() {
        let fill = |o: &mut Outbox| {
            o.data(Ours(1), 0, &[0; 5]);
            o.data(Ours(2), 0, &[0; 3]);
            o.data(Ours(2), 3, &[]);
        };
        check(8, fill, "2:3 2:0");
        check(5, fill, "1:5 @0 2:3 2:0");
    }

    #[test]
    fn an_end_elsewhere_takes_back_what_has_not_gone() {
        let fill = |o: &mut Outbox| {
            o.data(Ours(1), 0, &[0; 20]);
            o.data(Ours(2), 0, &[0; 3]);
            o.data(Ours(1), 0, &[]);
            o.data(Ours(2), 3, &[]);
        };
        check(8, fill, "2:3 1:0 2:0");
    }

    #[test]
    fn a_command_is_cut_at_the_packet_size() {
        check(8, |o| o.command(Ours(2), &[b'x'; 16]), "2:8 2:8 2:1");
    }
}
