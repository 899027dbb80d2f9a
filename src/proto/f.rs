//! Protocol f: seven-bit text without control characters, a sum over each file. For lines that pass no more than that.

use std::time::Duration;

use super::stream::{CHANNEL, Framing, Wire};
use super::{Event, Violation, Way};
use crate::base::limits::UUCP_COMMAND_MAX;
use crate::wire::packet::stream_sum;

/// Twice before the sum: the end of a file. Alone it stands before bytes from fa on.
const MARK: u8 = 0x7e;

pub struct F {
    /// How often a file may go again.
    repeats_max: u32,
    receiving: Receiving,
    sending: Sending,
}

/// What the next bytes from the peer are.
enum Receiving {
    Command(Vec<u8>),
    File {
        incoming: Sum,
        escape: Option<u8>,
        repeats: u32,
    },
    /// The end of a file: what its sum says.
    End {
        incoming: Sum,
        digits: Vec<u8>,
        repeats: u32,
    },
}

/// A file so far.
#[derive(Clone, Copy)]
struct Sum {
    bytes: u64,
    sum: u16,
    /// It holds what nobody sends.
    damaged: bool,
}

impl Sum {
    const EMPTY: Self = Self { bytes: 0, sum: 0xffff, damaged: false };
}

enum Sending {
    Nothing,
    File {
        sum: u16,
        repeats: u32,
    },
    /// The file is out: the next line says what the peer thinks of it.
    Ended {
        repeats: u32,
    },
}

impl F {
    pub fn new(repeats_max: u32) -> Self {
        Self { repeats_max, receiving: Receiving::Command(Vec::new()), sending: Sending::Nothing }
    }

    /// A whole line from the peer.
    fn handle_line(&mut self, text: Vec<u8>) -> Result<Option<Event>, Violation> {
        let repeats = match self.sending {
            Sending::Nothing => return Ok(Some(Event::Command { channel: CHANNEL, text })),
            Sending::File { .. } => return Err(Violation::Rule("the peer spoke in the middle of a file")),
            Sending::Ended { repeats } => repeats,
        };
        match text[..] {
            [b'G'] => {
                self.sending = Sending::Nothing;
                Ok(None)
            }
            [b'R'] if repeats < self.repeats_max => {
                self.sending = Sending::File { sum: Sum::EMPTY.sum, repeats: repeats + 1 };
                Ok(Some(Event::Again { channel: CHANNEL }))
            }
            [b'R' | b'Q'] => Err(Violation::Rule("a file came damaged every time it was sent")),
            _ => Err(Violation::Rule("no word on a file that was sent")),
        }
    }

    /// The end of a file, and how its sum compares.
    fn handle_sum(
        &mut self,
        wire: &mut Wire,
        incoming: Sum,
        digits: &[u8],
        repeats: u32,
    ) -> Result<Option<Event>, Violation> {
        wire.counters.received += 1;
        let said = std::str::from_utf8(digits).ok().and_then(|digits| u16::from_str_radix(digits, 16).ok());
        if said == Some(incoming.sum) && !incoming.damaged {
            wire.send(b"G\r");
            self.receiving = Receiving::Command(Vec::new());
            return Ok(Some(Event::EndOfFile { channel: CHANNEL }));
        }
        wire.counters.bad_data += 1;
        if repeats == self.repeats_max {
            wire.send(b"Q\r");
            return Err(Violation::Rule("a file came damaged every time"));
        }
        wire.send(b"R\r");
        self.receiving = Receiving::File { incoming: Sum::EMPTY, escape: None, repeats: repeats + 1 };
        Ok(Some(Event::Again { channel: CHANNEL }))
    }

    /// Reads file bytes up to the end mark. `None`: only what is not part of the file was there.
    fn next_data(&mut self, received: &mut Vec<u8>) -> Option<Event> {
        let Receiving::File { incoming, escape, repeats } = &mut self.receiving else { return None };
        let (offset, mut bytes, mut used) = (incoming.bytes, Vec::new(), 0);
        let mut ended = false;
        for byte in received.iter().map(|byte| byte & 0x7f) {
            used += 1;
            match (*escape, byte) {
                // XON and XOFF, and what a PAD puts in.
                (_, 0..=0x1f) => {}
                (Some(MARK), MARK) => {
                    ended = true;
                    break;
                }
                (None, 0x7a..=0x7e) => *escape = Some(byte),
                (None, byte) => bytes.push(byte),
                (Some(by), byte) => {
                    *escape = None;
                    let plain = decode(by, byte);
                    incoming.damaged |= plain.is_none();
                    bytes.push(plain.unwrap_or(byte));
                }
            }
        }
        received.drain(..used);
        incoming.bytes += bytes.len() as u64;
        incoming.sum = stream_sum(incoming.sum, &bytes);
        if ended {
            self.receiving = Receiving::End { incoming: *incoming, digits: Vec::new(), repeats: *repeats };
        }
        (!bytes.is_empty()).then_some(Event::Data { channel: CHANNEL, offset, bytes })
    }

    /// Takes bytes up to a carriage return.
    fn next_line(line: &mut Vec<u8>, received: &mut Vec<u8>) -> Result<bool, Violation> {
        let end = received.iter().position(|byte| byte & 0x7f == b'\r');
        let taken = received.drain(..end.map_or(received.len(), |end| end + 1));
        line.extend(taken.map(|byte| byte & 0x7f).filter(|byte| (0x20..0x7f).contains(byte)));
        if line.len() > UUCP_COMMAND_MAX {
            return Err(Violation::Rule("a command is too long"));
        }
        Ok(end.is_some())
    }
}

/// The byte that these two stand for, if they stand for one.
fn decode(by: u8, byte: u8) -> Option<u8> {
    match (by, byte) {
        (0x7a, 0x40..=0x5f) => Some(byte - 0x40),
        (0x7b, 0x3a..=0x3f) => Some(byte + 0x40),
        (0x7c, 0x40..=0x5f) => Some(byte + 0x40),
        (0x7d, 0x20..=0x79) => Some(byte + 0x80),
        (0x7e, 0x3a..=0x3f) => Some(byte + 0xc0),
        _ => None,
    }
}

fn encode(byte: u8, out: &mut Vec<u8>) {
    match byte {
        0x00..=0x1f => out.extend([0x7a, byte + 0x40]),
        0x20..=0x79 => out.push(byte),
        0x7a..=0x7f => out.extend([0x7b, byte - 0x40]),
        0x80..=0x9f => out.extend([0x7c, byte - 0x40]),
        0xa0..=0xf9 => out.extend([0x7d, byte - 0x80]),
        0xfa..=0xff => out.extend([0x7e, byte - 0xc0]),
    }
}

impl Framing for F {
    const LETTER: char = 'f';
    const RESTARTS: bool = false;
    // The peer needs a moment to change its line's mode (Taylor and BSD 2 s, XP 1.2 s).
    const QUIET_START: Duration = Duration::from_secs(2);

    fn command(&mut self, wire: &mut Wire, text: &[u8]) {
        wire.send(text);
        wire.send(b"\r");
        wire.counters.sent += 1;
    }

    fn data(&mut self, wire: &mut Wire, bytes: &[u8]) -> Result<(), Violation> {
        let Sending::File { sum, repeats } = &mut self.sending else {
            return Err(Violation::Rule("file bytes after their end"));
        };
        if bytes.is_empty() {
            wire.send(format!("~~{sum:04x}\r").as_bytes());
            wire.counters.sent += 1;
            self.sending = Sending::Ended { repeats: *repeats };
            return Ok(());
        }
        *sum = stream_sum(*sum, bytes);
        let mut encoded = Vec::with_capacity(bytes.len() * 2);
        bytes.iter().for_each(|byte| encode(*byte, &mut encoded));
        wire.send(&encoded);
        Ok(())
    }

    fn begin_file(&mut self, _wire: &mut Wire, way: Way) {
        match way {
            Way::In => self.receiving = Receiving::File { incoming: Sum::EMPTY, escape: None, repeats: 0 },
            Way::Out { .. } => self.sending = Sending::File { sum: Sum::EMPTY.sum, repeats: 0 },
        }
    }

    fn next(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        while !wire.received.is_empty() {
            match &mut self.receiving {
                Receiving::Command(line) => {
                    if Self::next_line(line, &mut wire.received)? && !line.is_empty() {
                        wire.counters.received += 1;
                        let text = std::mem::take(line);
                        if let Some(event) = self.handle_line(text)? {
                            return Ok(Some(event));
                        }
                    }
                }
                Receiving::File { .. } => {
                    if let Some(event) = self.next_data(&mut wire.received) {
                        return Ok(Some(event));
                    }
                }
                Receiving::End { incoming, digits, repeats } => {
                    if Self::next_line(digits, &mut wire.received)? {
                        let (incoming, digits, repeats) = (*incoming, std::mem::take(digits), *repeats);
                        return self.handle_sum(wire, incoming, &digits, repeats);
                    }
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{Bench, command, data, end_of_file, hex};

    fn bench() -> Bench {
        Bench::started('f', false)
    }

    const MAIL: &[u8] = b"From ann Mon Jan  5 10:00:00 1998 remote from alpha\nSubject: test\n\nHi Bob\n";

    fn mail() -> Event {
        data(0, &String::from_utf8_lossy(MAIL))
    }

    fn again() -> Event {
        Event::Again { channel: CHANNEL }
    }

    #[test]
    fn a_conversation_has_the_captured_bytes() {
        let mut f = bench();
        f.protocol.send_command(CHANNEL, b"EY");
        assert_eq!(f.sent(), hex("45 59 0d"));
        f.protocol.begin_file(CHANNEL, Way::Out { bytes: MAIL.len() as u64 });
        f.protocol.send_data(CHANNEL, 0, MAIL);
        f.protocol.send_data(CHANNEL, MAIL.len() as u64, b"");
        let file = "46 72 6f 6d 20 61 6e 6e 20 4d 6f 6e 20 4a 61 6e 20 20 35 20 31 30 3a 30 30 3a 30 30 20 31 39 39 38 20 72 65 \
                    6d 6f 74 65 20 66 72 6f 6d 20 61 6c 70 68 61 7a 4a 53 75 62 6a 65 63 74 3a 20 74 65 73 74 7a 4a 7a 4a 48 69 \
                    20 42 6f 62 7a 4a 7e 7e 38 32 38 64 0d";
        assert_eq!(f.sent(), hex(file));
        assert_eq!(f.feed(&hex("47 0d 43 59 0d")), [command("CY")]);
        f.protocol.begin_file(CHANNEL, Way::In);
        let told = f.feed(&[&hex(file)[..], b"H\r"].concat());
        assert_eq!(told, [mail(), end_of_file(), command("H")]);
        assert_eq!(f.sent(), b"G\r");
    }

    #[test]
    fn every_byte_survives_seven_bits_and_what_a_pad_puts_in() {
        let all: Vec<u8> = (0..=255).collect();
        let mut encoded = Vec::new();
        all.iter().for_each(|byte| encode(*byte, &mut encoded));
        assert!(encoded.iter().all(|byte| (0x20..0x7f).contains(byte)));
        let with_rubbish: Vec<u8> = encoded.iter().flat_map(|byte| [*byte | 0x80, 0x11, 0x0a, 0, 0x13]).collect();
        let mut f = bench();
        f.protocol.begin_file(CHANNEL, Way::In);
        let told = f.feed(&[&with_rubbish[..], b"~~a67f\r"].concat());
        assert_eq!(told, [Event::Data { channel: CHANNEL, offset: 0, bytes: all }, end_of_file()]);
    }

    #[test]
    fn a_damaged_file_is_asked_for_again_and_not_for_ever() {
        let mut f = bench();
        f.protocol.begin_file(CHANNEL, Way::In);
        assert_eq!(f.feed(b"ab~~0000\r"), [data(0, "ab"), again()]);
        assert_eq!(f.feed(b"A~~0040\rH\r"), [data(0, "A"), end_of_file(), command("H")]);
        assert_eq!(f.sent(), b"R\rG\r");
        f.protocol.begin_file(CHANNEL, Way::In);
        let told = f.feed(b"~~0000\r~~\rz!~~12345\r");
        assert!(matches!(told[..], [Event::Again { .. }, Event::Again { .. }, Event::Data { .. }, Event::Failed(_)]));
        assert_eq!(f.sent(), b"R\rR\rQ\r");
    }

    #[test]
    fn a_file_goes_again_when_the_peer_asks_and_not_for_ever() {
        let mut f = bench();
        f.protocol.begin_file(CHANNEL, Way::Out { bytes: 1 });
        for _ in 0..2 {
            f.protocol.send_data(CHANNEL, 0, b"A");
            f.protocol.send_data(CHANNEL, 1, b"");
            assert_eq!(f.sent(), b"A~~0040\r");
            assert_eq!(f.feed(b"R\r"), [again()]);
        }
        f.protocol.send_data(CHANNEL, 0, b"");
        assert!(matches!(f.feed(b"R\r")[..], [Event::Failed(Violation::Rule(_))]));
        let mut f = bench();
        f.protocol.begin_file(CHANNEL, Way::Out { bytes: 0 });
        f.protocol.send_data(CHANNEL, 0, b"");
        assert!(matches!(f.feed(b"Q\r")[..], [Event::Failed(Violation::Rule(_))]));
    }

    #[test]
    fn lines_without_an_end_are_bounded() {
        assert!(matches!(bench().feed(&[b'x'; UUCP_COMMAND_MAX + 1])[..], [Event::Failed(Violation::Rule(_))]));
        let mut f = bench();
        f.protocol.begin_file(CHANNEL, Way::In);
        let told = f.feed(&[&b"~~"[..], &[b'0'; UUCP_COMMAND_MAX + 1]].concat());
        assert!(matches!(told[..], [Event::Failed(Violation::Rule(_))]));
    }

    #[test]
    fn the_caller_gives_the_peer_time_to_change_its_line() {
        let mut f = Bench::started('f', true);
        f.protocol.send_command(CHANNEL, b"H");
        assert!(f.sent().is_empty());
        f.pass(2);
        assert_eq!(f.sent(), b"H\r");
    }
}
