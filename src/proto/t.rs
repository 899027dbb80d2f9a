//! Protocol t: commands in blocks of 512 bytes, files in counted blocks, nothing checked. For links that lose nothing.

use super::stream::{CHANNEL, Framing, Wire};
use super::{Event, Violation, Way};
use crate::base::limits::{T_BLOCK_MAX, UUCP_COMMAND_MAX};

/// Commands are padded with NUL to a multiple of this.
const COMMAND_BLOCK: usize = 512;
/// BSD's and XP's buffers hold exactly this much; what we receive may be larger.
const DATA_BLOCK: usize = 1024;

#[derive(Default)]
pub struct T {
    receiving: Receiving,
}

/// What the next bytes from the peer are.
#[derive(Default)]
enum Receiving {
    #[default]
    Command,
    /// A file: where its next byte belongs, and how much of the block is still to come.
    File { offset: u64, left: u32 },
}

impl T {
    /// The text up to the first NUL; what pads its block may be anything.
    fn next_command(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        let end = memchr::memchr(0, &wire.received);
        if end.unwrap_or(wire.received.len()) > UUCP_COMMAND_MAX {
            return Err(Violation::Rule("a command is too long"));
        }
        let Some(end) = end else { return Ok(None) };
        let whole = (end / COMMAND_BLOCK + 1) * COMMAND_BLOCK;
        if wire.received.len() < whole {
            return Ok(None);
        }
        let mut text: Vec<u8> = wire.received.drain(..whole).collect();
        text.truncate(end);
        wire.counters.received += 1;
        Ok(Some(Event::Command { channel: CHANNEL, text }))
    }

    fn next_data(&mut self, wire: &mut Wire, offset: u64, left: u32) -> Result<Option<Event>, Violation> {
        if left > 0 {
            if wire.received.is_empty() {
                return Ok(None);
            }
            let taken = wire.received.len().min(left as usize);
            let bytes: Vec<u8> = wire.received.drain(..taken).collect();
            self.receiving = Receiving::File { offset: offset + taken as u64, left: left - taken as u32 };
            return Ok(Some(Event::Data { channel: CHANNEL, offset, bytes }));
        }
        let Some(count) = wire.received.first_chunk() else { return Ok(None) };
        let count = u32::from_be_bytes(*count);
        if count > T_BLOCK_MAX {
            return Err(Violation::Rule("a data block's count cannot be, so bytes were lost"));
        }
        wire.received.drain(..4);
        wire.counters.received += 1;
        if count == 0 {
            self.receiving = Receiving::Command;
            return Ok(Some(Event::EndOfFile { channel: CHANNEL }));
        }
        self.receiving = Receiving::File { offset, left: count };
        self.next_data(wire, offset, count)
    }
}

impl Framing for T {
    const LETTER: char = 't';

    fn command(&mut self, wire: &mut Wire, text: &[u8]) {
        let mut block = text.to_vec();
        block.resize((text.len() / COMMAND_BLOCK + 1) * COMMAND_BLOCK, 0);
        wire.send(&block);
        wire.counters.sent += 1;
    }

    fn data(&mut self, wire: &mut Wire, bytes: &[u8]) -> Result<(), Violation> {
        if bytes.is_empty() {
            wire.send(&0_u32.to_be_bytes());
            wire.counters.sent += 1;
        }
        for block in bytes.chunks(DATA_BLOCK) {
            wire.send(&(block.len() as u32).to_be_bytes());
            wire.send(block);
            wire.counters.sent += 1;
        }
        Ok(())
    }

    fn begin_file(&mut self, _wire: &mut Wire, way: Way) {
        if way == Way::In {
            self.receiving = Receiving::File { offset: 0, left: 0 };
        }
    }

    fn next(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        match self.receiving {
            Receiving::Command => self.next_command(wire),
            Receiving::File { offset, left } => self.next_data(wire, offset, left),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::testing::{Bench, command, data, end_of_file, hex};

    fn bench() -> Bench {
        Bench::started('t', true)
    }

    #[test]
    fn the_captured_conversation_is_understood_and_repeated() {
        let mut t = bench();
        t.protocol.send_command(CHANNEL, br#"E D.0001 D.alphaN0001 uucp -C D.0001 0666 "" 0x4a rmail bob"#);
        let text = "45 20 44 2e 30 30 30 31 20 44 2e 61 6c 70 68 61 4e 30 30 30 31 20 75 75 63 70 20 2d 43 20 44 2e \
                    30 30 30 31 20 30 36 36 36 20 22 22 20 30 78 34 61 20 72 6d 61 69 6c 20 62 6f 62 00*453";
        assert_eq!(t.sent(), hex(text));
        assert_eq!(t.feed(&hex("45 59 00*510")), [command("EY")]);
        t.protocol.send_data(CHANNEL, 0, b"Hello file from alpha\n");
        t.protocol.send_data(CHANNEL, 22, b"");
        assert_eq!(
            t.sent(),
            hex("00 00 00 16 48 65 6c 6c 6f 20 66 69 6c 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a 00 00 00 00")
        );
        assert_eq!(t.feed(&hex("43 59 00*510 48 4e 00*510")), [command("CY"), command("HN")]);
    }

    #[test]
    fn what_follows_a_command_is_read_as_the_owner_says() {
        let mut t = bench();
        let stream = hex("53 00*511 00 00 00 03 61 62 63 00 00 00 01 64 00 00 00 00 48 00*511");
        let mut events = Vec::new();
        t.protocol.handle_input(t.now, &stream);
        while let Some(event) = t.protocol.poll_event() {
            if event == command("S") {
                t.protocol.begin_file(CHANNEL, Way::In);
            }
            events.push(event);
        }
        assert_eq!(events, [command("S"), data(0, "abc"), data(3, "d"), end_of_file(), command("H")]);
    }

    #[test]
    fn commands_end_at_the_first_nul_whatever_pads_them() {
        let mut t = bench();
        assert_eq!(t.feed(&hex("53 59 00 ff*508 00")), [command("SY")]);
        let long = vec![b'x'; 512];
        t.protocol.send_command(CHANNEL, &long);
        let sent = t.sent();
        assert_eq!(sent.len(), 1024, "a text that fills a block needs another for its NUL");
        assert_eq!(t.feed(&sent), [Event::Command { channel: CHANNEL, text: long }]);
    }

    #[test]
    fn blocks_go_out_with_1024_bytes_at_most_and_come_in_larger() {
        let mut t = bench();
        t.protocol.send_data(CHANNEL, 0, &[7; 1025]);
        let sent = t.sent();
        assert_eq!((sent.len(), &sent[..4], &sent[1028..]), (1033, &[0, 0, 4, 0][..], &[0, 0, 0, 1, 7][..]));
        t.protocol.begin_file(CHANNEL, Way::In);
        let mut block = hex("00 00 40 00");
        block.resize(4 + 0x4000, b'z');
        assert_eq!(t.feed(&block), [data(0, &"z".repeat(0x4000))]);
    }

    #[test]
    fn a_lost_byte_ends_the_call() {
        let mut t = bench();
        t.protocol.begin_file(CHANNEL, Way::In);
        assert!(matches!(t.feed(&hex("00 40 00 00"))[..], [Event::Failed(Violation::Rule(_))]));
        let mut t = bench();
        assert!(matches!(t.feed(&[b'x'; UUCP_COMMAND_MAX + 1])[..], [Event::Failed(Violation::Rule(_))]));
    }

    #[test]
    fn silence_ends_the_call_after_two_minutes() {
        let mut t = bench();
        t.feed(b"S");
        t.pass(119);
        assert_eq!(t.events(), []);
        t.pass(1);
        assert_eq!(t.events(), [Event::Failed(Violation::Silence(Duration::from_secs(120)))]);
        assert_eq!(t.protocol.poll_timeout(), None);
    }

    #[test]
    fn the_end_comes_when_all_is_handed_out_and_leaves_the_good_bye_unread() {
        let mut t = bench();
        t.protocol.send_command(CHANNEL, b"HY");
        t.protocol.shut_down(t.now);
        assert_eq!(t.events(), []);
        t.sent();
        assert_eq!(t.events(), [Event::Closed]);
        t.feed(b"\x10OOOOOOO\0");
        assert_eq!(t.protocol.unread(), b"\x10OOOOOOO\0");
    }
}
