//! Protocol y: a stream of numbered packets with a sum and no repair. For links that lose nothing, where that is worth knowing.

use std::time::Duration;

use super::stream::{CHANNEL, Framing, Wire};
use super::{Event, Violation, Way};
use crate::base::limits::UUCP_COMMAND_MAX;
use crate::wire::packet::stream_sum;

const HEADER: usize = 6;
/// Lengths from here on mark control packets.
const CONTROL: u16 = 0x8000;
const ACK: u16 = 0xfffe;
const OUT_OF_ORDER: u16 = 0xfffd;
const BAD_SUM: u16 = 0xfffc;
const VERSION: u8 = 1;
/// Packet sizes are said in units of this.
const SIZE_UNIT: usize = 256;

pub struct Y {
    /// What we announce, bytes.
    size: usize,
    /// What we send: the smaller of both announcements.
    packet: usize,
    started: bool,
    /// Number of our next packet, and of the peer's.
    next: u16,
    expected: u16,
    receiving: Receiving,
    /// Our file is out and the peer has not said that it has it.
    awaits_ack: bool,
}

enum Receiving {
    Command(Vec<u8>),
    File { offset: u64 },
}

impl Y {
    /// `size`: the largest packet that the peer is asked to send, bytes.
    pub fn new(size: u16) -> Self {
        let size = usize::from(size).clamp(SIZE_UNIT, usize::from(CONTROL) - SIZE_UNIT) / SIZE_UNIT * SIZE_UNIT;
        Self {
            size,
            packet: size,
            started: false,
            next: 0,
            expected: 0,
            receiving: Receiving::Command(Vec::new()),
            awaits_ack: false,
        }
    }

    fn packet(&mut self, wire: &mut Wire, length: u16, sum: u16, bytes: &[u8]) {
        for word in [self.next, length, sum] {
            wire.send(&word.to_le_bytes());
        }
        wire.send(bytes);
        self.next = self.next.wrapping_add(1);
        wire.counters.sent += 1;
    }

    fn send_bytes(&mut self, wire: &mut Wire, bytes: &[u8]) {
        for packet in bytes.chunks(self.packet) {
            self.packet(wire, packet.len() as u16, stream_sum(0xffff, packet), packet);
        }
    }

    fn handle_control(&mut self, kind: u16) -> Result<(), Violation> {
        match kind {
            ACK if self.awaits_ack => {
                self.awaits_ack = false;
                Ok(())
            }
            ACK => Err(Violation::Rule("an acknowledgement of no file")),
            OUT_OF_ORDER => Err(Violation::Rule("the peer missed a packet")),
            BAD_SUM => Err(Violation::Rule("the peer got a damaged packet")),
            _ => Err(Violation::Rule("an unknown packet")),
        }
    }

    fn handle_sync(&mut self, bytes: &[u8]) -> Result<Event, Violation> {
        let Some(size) = bytes.get(1).copied().filter(|size| *size > 0) else {
            return Err(Violation::Rule("the peer did not begin as it should"));
        };
        self.packet = self.size.min(usize::from(size) * SIZE_UNIT);
        self.started = true;
        Ok(Event::Started)
    }

    fn handle_bytes(&mut self, wire: &mut Wire, bytes: Vec<u8>) -> Result<Option<Event>, Violation> {
        match &mut self.receiving {
            Receiving::File { .. } if bytes.is_empty() => {
                self.receiving = Receiving::Command(Vec::new());
                self.packet(wire, ACK, 0, &[]);
                Ok(Some(Event::EndOfFile { channel: CHANNEL }))
            }
            Receiving::File { offset } => {
                let at = *offset;
                *offset += bytes.len() as u64;
                Ok(Some(Event::Data { channel: CHANNEL, offset: at, bytes }))
            }
            Receiving::Command(_) if self.awaits_ack => Err(Violation::Rule("a file was not acknowledged")),
            Receiving::Command(text) => {
                let end = memchr::memchr(0, &bytes);
                text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                if text.len() > UUCP_COMMAND_MAX {
                    return Err(Violation::Rule("a command is too long"));
                }
                Ok(end.map(|_| Event::Command { channel: CHANNEL, text: std::mem::take(text) }))
            }
        }
    }
}

impl Framing for Y {
    const LETTER: char = 'y';

    fn begin(&mut self, wire: &mut Wire) -> bool {
        let sync = [VERSION, (self.size / SIZE_UNIT) as u8, 0, 0];
        self.packet(wire, sync.len() as u16, stream_sum(0xffff, &sync), &sync);
        false
    }

    fn command(&mut self, wire: &mut Wire, text: &[u8]) {
        let mut bytes = text.to_vec();
        bytes.push(0);
        self.send_bytes(wire, &bytes);
    }

    fn data(&mut self, wire: &mut Wire, bytes: &[u8]) -> Result<(), Violation> {
        self.send_bytes(wire, bytes);
        if bytes.is_empty() {
            self.packet(wire, 0, 0xffff, &[]);
            self.awaits_ack = true;
        }
        Ok(())
    }

    fn begin_file(&mut self, _wire: &mut Wire, way: Way) {
        if way == Way::In {
            self.receiving = Receiving::File { offset: 0 };
        }
    }

    fn next(&mut self, wire: &mut Wire) -> Result<Option<Event>, Violation> {
        loop {
            let Some(&[a, b, c, d, e, f]) = wire.received.first_chunk::<HEADER>() else { return Ok(None) };
            let [number, length, sum] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
            if number != self.expected {
                wire.counters.bad_order += 1;
                self.packet(wire, OUT_OF_ORDER, 0, &[]);
                return Err(Violation::Rule("a packet is missing"));
            }
            let data = if length < CONTROL { usize::from(length) } else { 0 };
            if wire.received.len() < HEADER + data {
                return Ok(None);
            }
            let bytes: Vec<u8> = wire.received.drain(..HEADER + data).skip(HEADER).collect();
            self.expected = self.expected.wrapping_add(1);
            wire.counters.received += 1;
            if length >= CONTROL {
                self.handle_control(length)?;
                continue;
            }
            if stream_sum(0xffff, &bytes) != sum {
                wire.counters.bad_data += 1;
                self.packet(wire, BAD_SUM, 0, &[]);
                return Err(Violation::Rule("a packet is damaged"));
            }
            if !self.started {
                return self.handle_sync(&bytes).map(Some);
            }
            if let Some(event) = self.handle_bytes(wire, bytes)? {
                return Ok(Some(event));
            }
        }
    }

    /// The peer syncs a whole file to its disk before it says that it has it.
    fn patience(&self, timeout: Duration) -> Duration {
        if self.awaits_ack { timeout * 2 } else { timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{Bench, command, data, end_of_file, hex};

    const SYNC: &str = "00 00 04 00 10 00 01 04 00 00";

    fn started() -> Bench {
        let mut y = Bench::new('y', true);
        assert_eq!((y.events(), y.sent()), (vec![], hex(SYNC)));
        assert_eq!(y.feed(&hex(SYNC)), [Event::Started]);
        y
    }

    #[test]
    fn a_conversation_has_the_captured_bytes() {
        let mut y = started();
        y.protocol.send_command(CHANNEL, br#"S /alpha/pub/hello.txt /etc/motd uucp -Cd D.0003 0644 "" 0x16"#);
        let text = "01 00 3e 00 76 57 53 20 2f 61 6c 70 68 61 2f 70 75 62 2f 68 65 6c 6c 6f 2e 74 78 74 20 2f 65 74 63 \
                    2f 6d 6f 74 64 20 75 75 63 70 20 2d 43 64 20 44 2e 30 30 30 33 20 30 36 34 34 20 22 22 20 30 78 31 36 00";
        assert_eq!(y.sent(), hex(text));
        assert_eq!(y.feed(&hex("01 00 03 00 fa 01 53 59 00")), [command("SY")]);
        y.protocol.begin_file(CHANNEL, Way::Out { bytes: 22 });
        y.protocol.send_data(CHANNEL, 0, b"Hello file from alpha\n");
        y.protocol.send_data(CHANNEL, 22, b"");
        let file =
            "02 00 16 00 ef 67 48 65 6c 6c 6f 20 66 69 6c 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a 03 00 00 00 ff ff";
        assert_eq!(y.sent(), hex(file));
        assert_eq!(y.feed(&hex("02 00 fe ff 00 00 03 00 03 00 ba 01 43 59 00")), [command("CY")]);
    }

    #[test]
    fn a_file_is_acknowledged_under_our_own_number() {
        let mut y = started();
        y.protocol.begin_file(CHANNEL, Way::In);
        let told = y.feed(&hex("01 00 01 00 40 00 41 02 00 00 00 ff ff"));
        assert_eq!(told, [data(0, "A"), end_of_file()]);
        assert_eq!(y.sent(), hex("01 00 fe ff 00 00"));
    }

    #[test]
    fn sums_are_those_of_the_reference() {
        for (bytes, sum) in [("", 0xffff), ("41", 0x0040), ("45 59 00", 0x01c2), ("01 04 00 00", 0x0010)] {
            assert_eq!(stream_sum(0xffff, &hex(bytes)), sum, "{bytes}");
        }
        assert_eq!(stream_sum(0xffff, b"123456789"), 0x62c5);
        assert_eq!(stream_sum(0xffff, &(0..=255).collect::<Vec<u8>>()), 0xa67f);
    }

    /// What is told at the end, and what the peer is told.
    fn check_failure(input: &str, said: &str) {
        let mut y = started();
        assert!(matches!(y.feed(&hex(input))[..], [Event::Failed(Violation::Rule(_))]), "{input}");
        assert_eq!(y.sent(), hex(said), "{input}");
    }

    #[test]
    fn any_error_ends_the_call_and_is_named() {
        check_failure("02 00 03 00 fa 01 53 59 00", "01 00 fd ff 00 00");
        check_failure("01 00 03 00 fa 01 53 58 00", "01 00 fc ff 00 00");
        check_failure("01 00 fe ff 00 00", "");
        check_failure("01 00 fc ff 00 00", "");
        check_failure("01 00 00 80 00 00", "");
    }

    #[test]
    fn packets_are_as_large_as_both_allow_and_commands_may_take_several() {
        let mut y = Bench::new('y', false);
        let sync = [1, 1, 0, 0, 9];
        let mut first = hex("00 00 05 00");
        first.extend(stream_sum(0xffff, &sync).to_le_bytes());
        first.extend(sync);
        assert_eq!(y.feed(&first), [Event::Started], "a longer beginning is a newer one");
        y.sent();
        y.protocol.send_command(CHANNEL, &[b'x'; 256]);
        assert_eq!(y.sent().len(), HEADER + 256 + HEADER + 1);
    }

    #[test]
    fn the_acknowledgement_of_a_file_is_waited_for_twice_as_long() {
        let mut y = started();
        y.protocol.send_data(CHANNEL, 0, b"");
        y.sent();
        y.pass(61);
        assert_eq!(y.events(), []);
        y.pass(60);
        assert_eq!(y.events(), [Event::Failed(Violation::Silence(Duration::from_secs(120)))]);
        let mut y = Bench::new('y', true);
        y.sent();
        y.pass(61);
        assert_eq!(y.events(), [Event::Failed(Violation::NoStart('y'))]);
    }
}
