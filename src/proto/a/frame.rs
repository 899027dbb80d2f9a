//! The bytes of protocol a: headers and data as in Zmodem, with a checksum of 32 bits everywhere.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::base::limits::A_DATA_MAX;

const PAD: u8 = b'*';
const ESCAPE: u8 = 0x18;
const BINARY: u8 = b'A';
const HEX: u8 = b'B';
const XON: u8 = 0x11;
const XOFF: u8 = 0x13;
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// Each message begins at a multiple of this.
pub const ALIGNMENT: u32 = 1024;

/// Where the message after one that ends here begins.
pub fn next_start(end: u32) -> u32 {
    (end / ALIGNMENT).wrapping_add(1).wrapping_mul(ALIGNMENT)
}

pub const INIT: u8 = 0;
pub const DATA: u8 = 1;
pub const POSITION: u8 = 2;
pub const ACK: u8 = 3;
pub const NAK: u8 = 4;
pub const INIT_END: u8 = 6;
pub const FINISH: u8 = 7;

/// How a piece of data ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A header follows.
    Frame,
    /// More data follow.
    More,
    /// More data follow, and an acknowledgement is wanted.
    MoreAck,
    /// A header follows, and an acknowledgement is wanted.
    FrameAck,
    /// The end of a message.
    Message,
}

impl End {
    fn letter(self) -> u8 {
        match self {
            Self::Frame => b'h',
            Self::More => b'i',
            Self::MoreAck => b'j',
            Self::FrameAck => b'k',
            Self::Message => b'l',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        [Self::Frame, Self::More, Self::MoreAck, Self::FrameAck, Self::Message]
            .into_iter()
            .find(|e| e.letter() == letter)
    }
}

/// What stands at the front of some received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Front<T> {
    Incomplete,
    /// Nothing of its kind, for so many bytes.
    Nothing(usize),
    Got(T, usize),
}

fn push(byte: u8, all_controls: bool, out: &mut Vec<u8>) {
    if matches!(byte, ESCAPE | 0x0d | 0x10 | XON | XOFF) || all_controls && byte & 0x60 == 0 {
        out.extend([ESCAPE, byte ^ 0x40]);
    } else {
        out.push(byte);
    }
}

fn header_bytes(kind: u8, value: u32) -> [u8; 9] {
    let [a, b, c, d] = value.to_le_bytes();
    let [e, f, g, h] = CRC.checksum(&[kind, a, b, c, d]).to_le_bytes();
    [kind, a, b, c, d, e, f, g, h]
}

pub fn write_hex(kind: u8, value: u32, out: &mut Vec<u8>) {
    out.extend([PAD, PAD, ESCAPE, HEX]);
    for byte in header_bytes(kind, value) {
        out.extend(format!("{byte:02x}").bytes());
    }
    out.push(0x0d);
    if !matches!(kind, FINISH | ACK) {
        out.push(XON);
    }
}

pub fn write_binary(kind: u8, value: u32, all_controls: bool, out: &mut Vec<u8>) {
    out.extend([PAD, ESCAPE, BINARY]);
    header_bytes(kind, value).into_iter().for_each(|byte| push(byte, all_controls, out));
}

pub fn write_data(bytes: &[u8], end: End, all_controls: bool, out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| push(*byte, all_controls, out));
    out.extend([ESCAPE, end.letter()]);
    let mut digest = CRC.digest();
    digest.update(bytes);
    digest.update(&[end.letter()]);
    digest.finalize().to_le_bytes().into_iter().for_each(|byte| push(byte, all_controls, out));
    if !matches!(end, End::More | End::MoreAck) {
        out.extend([0x0d, XON]);
    }
}

/// One byte as it was meant.
enum Read {
    Byte(u8),
    End(End),
    /// A header begins here.
    Header,
    Bad,
}

/// Reads bytes with their escapes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// A raw byte; XON and XOFF are not data.
    fn raw(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if !matches!(byte, XON | XOFF) {
                return Some(byte);
            }
        }
    }

    fn next(&mut self) -> Option<Read> {
        let from = self.at;
        let byte = self.raw()?;
        if byte != ESCAPE {
            return Some(Read::Byte(byte));
        }
        let byte = self.raw()?;
        let after_pad = from > 0 && self.bytes[from - 1] == PAD;
        Some(match byte {
            BINARY | HEX if after_pad => Read::Header,
            b'm' => Read::Byte(0x7f),
            b'n' => Read::Byte(0xff),
            _ if byte & 0x60 == 0x40 => Read::Byte(byte ^ 0x40),
            _ => End::from_letter(byte).map_or(Read::Bad, Read::End),
        })
    }
}

/// Reads the header at the front: its type and value.
pub fn parse_header(bytes: &[u8]) -> Front<(u8, u32)> {
    let (start, hex) = match bytes {
        [] | [PAD] | [PAD, PAD] | [PAD, ESCAPE] | [PAD, PAD, ESCAPE] => return Front::Incomplete,
        [PAD, PAD, ESCAPE, HEX, ..] => (4, true),
        [PAD, ESCAPE, BINARY, ..] => (3, false),
        _ => return Front::Nothing(1),
    };
    let mut header = [0; 9];
    let mut reader = Reader { bytes, at: start };
    for byte in &mut header {
        let read = if hex {
            let (Some(high), Some(low)) = (reader.raw(), reader.raw()) else { return Front::Incomplete };
            let digit = |byte: u8| char::from(byte & 0x7f).to_digit(16);
            digit(high).zip(digit(low)).map(|(high, low)| (high * 16 + low) as u8)
        } else {
            match reader.next() {
                None => return Front::Incomplete,
                Some(Read::Byte(byte)) => Some(byte),
                Some(Read::End(_) | Read::Header | Read::Bad) => None,
            }
        };
        let Some(read) = read else { return Front::Nothing(1) };
        *byte = read;
    }
    let [kind, a, b, c, d, ..] = header;
    let value = u32::from_le_bytes([a, b, c, d]);
    if header_bytes(kind, value) == header { Front::Got((kind, value), reader.at) } else { Front::Nothing(1) }
}

/// Reads the piece of data at the front.
pub fn parse_data(bytes: &[u8]) -> Front<(Vec<u8>, End)> {
    let mut reader = Reader { bytes, at: 0 };
    let mut data = Vec::new();
    let end = loop {
        let from = reader.at;
        match reader.next() {
            None => return Front::Incomplete,
            Some(Read::Byte(_)) if data.len() == A_DATA_MAX => return Front::Nothing(from),
            Some(Read::Byte(byte)) => data.push(byte),
            Some(Read::End(end)) => break end,
            Some(Read::Header) => return Front::Nothing(from - 1),
            Some(Read::Bad) => return Front::Nothing(reader.at),
        }
    };
    let mut sum = [0; 4];
    for byte in &mut sum {
        match reader.next() {
            None => return Front::Incomplete,
            Some(Read::Byte(read)) => *byte = read,
            Some(Read::End(_) | Read::Header | Read::Bad) => return Front::Nothing(reader.at),
        }
    }
    let mut digest = CRC.digest();
    digest.update(&data);
    digest.update(&[end.letter()]);
    if digest.finalize() == u32::from_le_bytes(sum) {
        Front::Got((data, end), reader.at)
    } else {
        Front::Nothing(reader.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::hex;

    fn check_header(kind: u8, value: u32, binary: bool, expected: &str) {
        let mut out = Vec::new();
        if binary {
            write_binary(kind, value, false, &mut out)
        } else {
            write_hex(kind, value, &mut out)
        }
        assert_eq!(out, hex(expected));
        assert!(matches!(parse_header(&out), Front::Got(read, _) if read == (kind, value)));
        assert_eq!(parse_header(&out[..out.len() - 3]), Front::Incomplete);
        out[8] ^= 1;
        assert_eq!(parse_header(&out), Front::Nothing(1));
    }

    #[test]
    fn headers_have_the_captured_bytes() {
        check_header(INIT, 0x0100_0000, false, "2a 2a 18 42 30*9 31 38 62 63 37 32 35 62 31 0d 11");
        check_header(ACK, 0, false, "2a 2a 18 42 30 33 30*8 63 64 38 64 38 32 38 31 0d");
        check_header(INIT_END, 0, false, "2a 2a 18 42 30 36 30*8 62 64 30 32 36 32 34 39 0d 11");
        check_header(FINISH, 0, false, "2a 2a 18 42 30 37 30*9 64 32 62 30 32 37 34 0d");
        check_header(POSITION, 0x400, false, "2a 2a 18 42 30 32 30 30 30 34 30 30 30 30 61 31 30 63 65 62 62 62 0d 11");
        check_header(DATA, 0, true, "2a 18 41 01 00 00 00 00 ad de 42 fb");
        check_header(DATA, 0x1000, true, "2a 18 41 01 00 18 50 00 00 dd 7d 64 e7");
    }

    fn check_data(bytes: &[u8], end: End, expected: &str) {
        let mut out = Vec::new();
        write_data(bytes, end, false, &mut out);
        assert_eq!(out, hex(expected));
        assert!(matches!(parse_data(&out), Front::Got(read, _) if read == (bytes.to_vec(), end)));
    }

    #[test]
    fn data_have_the_captured_bytes() {
        check_data(b"\0", End::Message, "00 18 6c 8c 3f dd 05 0d 11");
        check_data(b"EY\0", End::Message, "45 59 00 18 6c 5f 4f e7 aa 0d 11");
        check_data(b"", End::Message, "18 6c fe c2 06 96 0d 11");
        let file = "48 65 6c 6c 6f 20 66 69 6c 65 20 66 72 6f 6d 20 61 6c 70 68 61 0a 18 69 1f 5f 5a e8";
        check_data(b"Hello file from alpha\n", End::More, file);
    }

    #[test]
    fn every_byte_survives_and_flow_control_is_never_sent_as_data() {
        let all: Vec<u8> = (0..=255).collect();
        for all_controls in [false, true] {
            let mut out = Vec::new();
            write_data(&all, End::MoreAck, all_controls, &mut out);
            assert!(!out.iter().any(|byte| matches!(byte, 0x11 | 0x13)));
            let with_xon: Vec<u8> = out.iter().flat_map(|byte| [*byte, 0x11]).collect();
            for bytes in [out, with_xon] {
                assert!(matches!(parse_data(&bytes), Front::Got((read, End::MoreAck), _) if read == all));
            }
        }
    }

    #[test]
    fn a_header_in_the_midst_of_data_ends_them_and_their_length_is_bounded() {
        let mut out = b"some data ".to_vec();
        write_binary(DATA, 0x400, false, &mut out);
        assert_eq!(parse_data(&out), Front::Nothing(10));
        assert_eq!(parse_data(&[b'x'; A_DATA_MAX + 1]), Front::Nothing(A_DATA_MAX));
        assert_eq!(parse_data(&[b'x'; A_DATA_MAX]), Front::Incomplete);
    }
}
