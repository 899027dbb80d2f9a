//! What g has still to send, cut into data fields as the peer takes them.

use std::collections::VecDeque;

use crate::base::limits::SEND_AHEAD_MAX;

/// Peers that announce this or less take packets of exactly the size they announced: HDB, SVR4, BSD.
const MIXED_SIZES_ABOVE: usize = 64;
const SMALLEST_FIELD: usize = 32;

/// The valid bytes of one data packet and the size of its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub field: usize,
}

/// Which packets the peer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// Of the size that it announced.
    AsAnnounced,
    /// Also smaller ones, if it announced more than 64 bytes.
    MixedAbove64,
    /// Also smaller ones.
    Mixed,
}

enum Item {
    Command(Vec<u8>),
    Data(Vec<u8>),
    EndOfFile,
}

pub struct Outbox {
    items: VecDeque<Item>,
    /// The packets of the command that has begun to go.
    cut: VecDeque<Payload>,
    field: usize,
    sizes: Sizes,
}

impl Outbox {
    pub fn new(sizes: Sizes) -> Self {
        Self { items: VecDeque::new(), cut: VecDeque::new(), field: SMALLEST_FIELD, sizes }
    }

    /// What the peer announced.
    pub fn set_field(&mut self, field: usize) {
        self.field = field;
    }

    pub fn command(&mut self, text: &[u8]) {
        self.items.push_back(Item::Command(text.to_vec()));
    }

    /// File bytes; none of them: its end.
    pub fn data(&mut self, bytes: &[u8]) {
        match self.items.back_mut() {
            _ if bytes.is_empty() => self.items.push_back(Item::EndOfFile),
            Some(Item::Data(held)) => held.extend_from_slice(bytes),
            Some(Item::Command(_) | Item::EndOfFile) | None => self.items.push_back(Item::Data(bytes.to_vec())),
        }
    }

    /// Bytes of commands.
    pub fn waiting(&self) -> usize {
        let command = |item: &Item| match item {
            Item::Command(text) => text.len(),
            Item::Data(_) | Item::EndOfFile => 0,
        };
        self.items.iter().map(command).sum()
    }

    /// File bytes that can still be taken.
    pub fn room(&self) -> usize {
        let held = self.items.iter().map(|item| match item {
            Item::Data(bytes) => bytes.len(),
            Item::Command(_) | Item::EndOfFile => 0,
        });
        SEND_AHEAD_MAX.saturating_sub(held.sum())
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.cut.is_empty()
    }

    /// Whether `next` has a packet: file bytes wait for a full one as long as more may come.
    pub fn is_ready(&self) -> bool {
        !self.cut.is_empty()
            || match self.items.front() {
                None => false,
                Some(Item::Data(bytes)) => bytes.len() >= self.field || self.items.len() > 1,
                Some(Item::Command(_) | Item::EndOfFile) => true,
            }
    }

    pub fn next(&mut self) -> Option<Payload> {
        if let Some(payload) = self.cut.pop_front() {
            return Some(payload);
        }
        if !self.is_ready() {
            return None;
        }
        if let Some(Item::Data(bytes)) = self.items.front_mut()
            && bytes.len() > self.field
        {
            let full = bytes.drain(..self.field).collect();
            return Some(Payload { bytes: full, field: self.field });
        }
        match self.items.pop_front()? {
            Item::Command(text) => {
                self.cut = self.cut_command(text);
                self.cut.pop_front()
            }
            Item::Data(bytes) => Some(Payload { field: self.field_for(bytes.len()), bytes }),
            Item::EndOfFile => Some(Payload { bytes: Vec::new(), field: self.field_for(0) }),
        }
    }

    /// Full packets, padded with NUL: HDB looks only at the last byte to find the end.
    fn cut_command(&self, mut text: Vec<u8>) -> VecDeque<Payload> {
        text.push(0);
        let field = self.field_for(text.len());
        text.resize(text.len().next_multiple_of(field), 0);
        text.chunks(field).map(|bytes| Payload { bytes: bytes.to_vec(), field }).collect()
    }

    /// The smallest field for so many bytes, where the peer takes mixed sizes.
    fn field_for(&self, length: usize) -> usize {
        let mixed = match self.sizes {
            Sizes::AsAnnounced => false,
            Sizes::MixedAbove64 => self.field > MIXED_SIZES_ABOVE,
            Sizes::Mixed => true,
        };
        if mixed { length.next_power_of_two().clamp(SMALLEST_FIELD, self.field) } else { self.field }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `valid/field` of each packet.
    fn check(field: usize, sizes: Sizes, fill: impl Fn(&mut Outbox), expected: &str) {
        let mut outbox = Outbox::new(sizes);
        outbox.set_field(field);
        fill(&mut outbox);
        let packets: Vec<String> = std::iter::from_fn(|| {
            let ready = outbox.is_ready();
            let next = outbox.next();
            assert_eq!(next.is_some(), ready);
            next
        })
        .map(|payload| format!("{}/{}", payload.bytes.len(), payload.field))
        .collect();
        assert_eq!(packets.join(" "), expected);
    }

    #[test]
    fn commands_end_with_a_nul_in_their_last_packet() {
        check(64, Sizes::MixedAbove64, |o| o.command(&[b'x'; 63]), "64/64");
        check(64, Sizes::MixedAbove64, |o| o.command(&[b'x'; 64]), "64/64 64/64");
        check(1024, Sizes::MixedAbove64, |o| o.command(b"SY"), "32/32");
        check(1024, Sizes::MixedAbove64, |o| o.command(&[b'x'; 64]), "128/128");
        check(1024, Sizes::AsAnnounced, |o| o.command(b"SY"), "1024/1024");
        check(128, Sizes::MixedAbove64, |o| o.command(&[b'x'; 200]), "128/128 128/128");
    }

    #[test]
    fn files_go_in_full_packets_a_short_one_and_the_end() {
        let file = |length: usize| {
            move |o: &mut Outbox| {
                o.data(&vec![b'x'; length]);
                o.data(b"");
            }
        };
        check(64, Sizes::MixedAbove64, file(130), "64/64 64/64 2/64 0/64");
        check(64, Sizes::MixedAbove64, file(64), "64/64 0/64");
        check(1024, Sizes::MixedAbove64, file(1024 + 336), "1024/1024 336/512 0/32");
        check(1024, Sizes::MixedAbove64, file(64), "64/64 0/32");
        check(1024, Sizes::AsAnnounced, file(64), "64/1024 0/1024");
        check(64, Sizes::MixedAbove64, |o| o.data(b"more may come"), "");
        check(64, Sizes::Mixed, file(70), "64/64 6/32 0/32");
        check(1024, Sizes::Mixed, file(600), "600/1024 0/32");
    }
}
