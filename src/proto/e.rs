//! Protocol e: commands end in a NUL, files follow their length, nothing checked. For links that lose nothing.

use super::stream::{CHANNEL, Framing, Wire};
use super::{Event, Violation, Way};
use crate::base::limits::UUCP_COMMAND_MAX;

/// The length of a file, decimal and filled up with NUL.
const LENGTH_FIELD: usize = 20;

#[derive(Default)]
pub struct E {
    receiving: Receiving,
    /// Bytes announced and not yet sent.
    owed: u64,
}

/// What the next bytes from the peer are.
#[derive(Default)]
enum Receiving {
    #[default]
    Command,
    Length,
    /// Where the next byte of the file belongs, and how many are to come.
    File {
        offset: u64,
        left: u64,
    },
}

impl E {
    fn next_command(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        loop {
            let end = memchr::memchr(0, &wire.received);
            if end.unwrap_or(wire.received.len()) > UUCP_COMMAND_MAX {
                return Err(Violation::Rule("a command is too long"));
            }
            let Some(end) = end else { return Ok(None) };
            let mut text: Vec<u8> = wire.received.drain(..=end).collect();
            text.truncate(end);
            if !text.is_empty() {
                wire.counters.received += 1;
                return Ok(Some(Event::Command { channel: CHANNEL, text }));
            }
        }
    }

    /// HDB and SVR4 write it with `%ld`: it ends at the first byte that is no digit.
    fn next_length(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        if wire.received.len() < LENGTH_FIELD {
            return Ok(None);
        }
        let field: Vec<u8> = wire.received.drain(..LENGTH_FIELD).collect();
        let digits = field.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = std::str::from_utf8(&field[..digits]).ok().and_then(|digits| digits.parse().ok());
        let left = length.ok_or(Violation::Rule("a file's length is no number, so bytes were lost"))?;
        self.receiving = Receiving::File { offset: 0, left };
        self.next(wire)
    }

    fn next_data(&mut self, wire: &mut Wire, offset: u64, left: u64) -> Option<Event> {
        if left == 0 {
            self.receiving = Receiving::Command;
            wire.counters.received += 1;
            return Some(Event::EndOfFile { channel: CHANNEL });
        }
        if wire.received.is_empty() {
            return None;
        }
        let taken = wire.received.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes: Vec<u8> = wire.received.drain(..taken).collect();
        self.receiving = Receiving::File { offset: offset + taken as u64, left: left - taken as u64 };
        Some(Event::Data { channel: CHANNEL, offset, bytes })
    }
}

impl Framing for E {
    const LETTER: char = 'e';

    fn command(&mut self, wire: &mut Wire, text: &[u8]) {
        let mut bytes = text.to_vec();
        bytes.push(0);
        wire.send_alone(bytes);
        wire.counters.sent += 1;
    }

    fn data(&mut self, wire: &mut Wire, bytes: &[u8]) -> Result<(), Violation> {
        if bytes.is_empty() && self.owed > 0 {
            return Err(Violation::Rule("our file has become shorter than we said"));
        }
        // What a file has grown since then is not part of it.
        let bytes = &bytes[..bytes.len().min(usize::try_from(self.owed).unwrap_or(usize::MAX))];
        self.owed -= bytes.len() as u64;
        wire.send(bytes);
        Ok(())
    }

    fn begin_file(&mut self, wire: &mut Wire, way: Way) {
        match way {
            Way::In => self.receiving = Receiving::Length,
            Way::Out { bytes } => {
                let mut field = bytes.to_string().into_bytes();
                field.resize(LENGTH_FIELD, 0);
                wire.send(&field);
                wire.counters.sent += 1;
                self.owed = bytes;
            }
        }
    }

    fn next(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        match self.receiving {
            Receiving::Command => self.next_command(wire),
            Receiving::Length => self.next_length(wire),
            Receiving::File { offset, left } => Ok(self.next_data(wire, offset, left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::limits::HANDSHAKE_NOISE_MAX;
    use crate::proto::testing::{Bench, command, data, end_of_file, hex};

    fn bench() -> Bench {
        Bench::started('e', true)
    }

    #[test]
    fn a_conversation_has_the_captured_bytes() {
        let mut e = bench();
        e.protocol
            .send_command(CHANNEL, br#"S /alpha/pub/hello.txt ~/incoming/hello.txt uucp -Cd D.0002 0644 "" 0x16"#);
        assert_eq!(e.sent(), b"S /alpha/pub/hello.txt ~/incoming/hello.txt uucp -Cd D.0002 0644 \"\" 0x16\0");
        assert_eq!(e.feed(&hex("53 59 00")), [command("SY")]);
        e.protocol.begin_file(CHANNEL, Way::Out { bytes: 22 });
        e.protocol.send_data(CHANNEL, 0, b"Hello file from alpha\n");
        e.protocol.send_data(CHANNEL, 22, b"");
        assert_eq!(e.sent(), hex("32 32 00*18 48 65 6c 6c 6f 20 66 69 6c 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a"));
        assert_eq!(e.feed(&hex("43 59 00")), [command("CY")]);
    }

    #[test]
    fn what_follows_a_command_is_read_as_the_owner_says() {
        let mut e = bench();
        e.protocol.handle_input(e.now, b"S\x003 bytes\0\0\0\0\0\0\0\0\0\0\0\0\0abcH\0");
        assert_eq!(e.protocol.poll_event(), Some(command("S")));
        e.protocol.begin_file(CHANNEL, Way::In);
        assert_eq!(e.events(), [data(0, "abc"), end_of_file(), command("H")]);
    }

    #[test]
    fn an_empty_file_ends_at_its_length() {
        let mut e = bench();
        e.protocol.begin_file(CHANNEL, Way::In);
        assert_eq!(e.feed(&hex("30 00*19 43")), [end_of_file()]);
    }

    #[test]
    fn nothing_goes_with_a_command_before_its_answer_or_a_pause() {
        let mut e = bench();
        e.protocol.send_command(CHANNEL, b"RY 0644 0x3");
        e.protocol.begin_file(CHANNEL, Way::Out { bytes: 3 });
        e.protocol.send_data(CHANNEL, 0, b"abc");
        assert_eq!(e.sent(), b"RY 0644 0x3\0");
        e.now.instant = e.protocol.poll_timeout().expect("the end of the pause");
        assert_eq!(e.sent(), hex("33 00*19 61 62 63"));
        e.protocol.send_command(CHANNEL, b"HN");
        e.protocol.send_command(CHANNEL, b"H");
        assert_eq!(e.sent(), b"HN\0");
        e.feed(b"x");
        assert_eq!(e.sent(), b"H\0");
    }

    #[test]
    fn lengths_that_cannot_be_end_the_call_and_large_ones_cost_no_memory() {
        for field in ["61 00*19", "00*20", "39*20"] {
            let mut e = bench();
            e.protocol.begin_file(CHANNEL, Way::In);
            assert!(matches!(e.feed(&hex(field))[..], [Event::Failed(Violation::Rule(_))]), "{field}");
        }
        let mut e = bench();
        e.protocol.begin_file(CHANNEL, Way::In);
        assert_eq!(e.feed(&hex("39*18 00 00 61")), [data(0, "a")]);
        let mut e = bench();
        assert!(matches!(e.feed(&[b'x'; HANDSHAKE_NOISE_MAX])[..], [Event::Failed(Violation::Rule(_))]));
    }

    #[test]
    fn a_file_that_changes_under_way_keeps_the_length_that_was_said() {
        let mut e = bench();
        e.protocol.begin_file(CHANNEL, Way::Out { bytes: 2 });
        e.protocol.send_data(CHANNEL, 0, b"abc");
        assert_eq!(e.sent(), hex("32 00*19 61 62"));
        e.protocol.begin_file(CHANNEL, Way::Out { bytes: 2 });
        e.protocol.send_data(CHANNEL, 0, b"a");
        e.protocol.send_data(CHANNEL, 1, b"");
        assert!(matches!(e.events()[..], [Event::Failed(Violation::Rule(_))]));
    }

    #[test]
    fn silence_ends_the_call_after_two_minutes() {
        let mut e = bench();
        e.feed(b"S");
        e.pass(120);
        assert_eq!(e.events(), [Event::Failed(Violation::Silence(Duration::from_secs(120)))]);
    }
}
