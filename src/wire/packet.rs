//! Packets of the UUCP protocols g and i: headers and checksums, both ways; the sum of f and y.

use crc::{Algorithm, Crc, Table};

/// What stands at the front of some received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Front<P> {
    /// Perhaps a packet; more bytes will tell.
    Incomplete,
    /// No packet begins here.
    Nothing,
    /// A good packet, and how many bytes it took.
    Packet(P, usize),
    /// A good header over damaged data: what the header says, in i with the data as they came, and how many bytes it claims.
    Damaged(P, usize),
}

/// Bytes of a header, in g and in i.
pub const HEADER: usize = 6;

/// First byte of every g packet (DLE).
pub const G_MARK: u8 = 0x10;
/// Largest data field of g: k = 8.
pub const G_FIELD_MAX: usize = 4096;
/// Value of k that marks a control packet.
const G_CONTROL: u8 = 9;
/// From this the check of every g packet is subtracted.
const G_MAGIC: u16 = 0xaaaa;

/// A packet of protocol g.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GPacket {
    Control(Control),
    /// `bytes` are the valid ones; none of them: the end of a file.
    Data {
        sequence: u8,
        acknowledged: u8,
        bytes: Vec<u8>,
    },
}

/// Control packets of g. Numbers are 0-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    Close,
    /// RJ: everything up to here has arrived, send again from the next.
    Reject(u8),
    /// SRJ: send this one again.
    RejectOne(u8),
    /// RR: everything up to here has arrived.
    Ready(u8),
    /// The window, the size (log2 - 5), the window again: what the sender of this will accept.
    InitC(u8),
    InitB(u8),
    InitA(u8),
}

impl Control {
    fn byte(self) -> u8 {
        match self {
            Self::Close => 1 << 3,
            Self::Reject(n) => 2 << 3 | n & 7,
            Self::RejectOne(n) => 3 << 3 | n & 7,
            Self::Ready(n) => 4 << 3 | n & 7,
            Self::InitC(n) => 5 << 3 | n & 7,
            Self::InitB(n) => 6 << 3 | n & 7,
            Self::InitA(n) => 7 << 3 | n & 7,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let n = byte & 7;
        match byte >> 3 {
            1 => Some(Self::Close),
            2 => Some(Self::Reject(n)),
            3 => Some(Self::RejectOne(n)),
            4 => Some(Self::Ready(n)),
            5 => Some(Self::InitC(n)),
            6 => Some(Self::InitB(n)),
            7 => Some(Self::InitA(n)),
            _ => None,
        }
    }
}

/// The sum over a whole data field of g, padding included.
pub fn g_sum(field: &[u8]) -> u16 {
    let (mut sum, mut cross) = (0xffff_u16, 0_u16);
    let mut left = field.len() as u16;
    for &byte in field {
        sum = sum.rotate_left(1);
        let before = sum;
        sum = sum.wrapping_add(u16::from(byte));
        cross = cross.wrapping_add(sum ^ left);
        if sum <= before {
            sum ^= cross;
        }
        left = left.wrapping_sub(1);
    }
    sum
}

fn write_g_header(k: u8, check: u16, control: u8, out: &mut Vec<u8>) {
    let [low, high] = check.to_le_bytes();
    out.extend([G_MARK, k, low, high, control, k ^ low ^ high ^ control]);
}

pub fn write_g_control(control: Control, out: &mut Vec<u8>) {
    let byte = control.byte();
    write_g_header(G_CONTROL, G_MAGIC.wrapping_sub(u16::from(byte)), byte, out);
}

/// Whether a data field of this many bytes exists in g: a power of two from 32 to 4096.
pub fn is_g_field(size: usize) -> bool {
    size.is_power_of_two() && (32..=G_FIELD_MAX).contains(&size)
}

/// Writes `bytes` in a data field of `field` bytes; as a short packet when they do not fill it.
pub fn write_g_data(sequence: u8, acknowledged: u8, bytes: &[u8], field: usize, out: &mut Vec<u8>) {
    assert!(is_g_field(field) && bytes.len() <= field, "{} bytes do not go into a field of {field}", bytes.len());
    let cut = field - bytes.len();
    let start = out.len();
    out.extend([0; HEADER]);
    // The bytes that tell how many are cut are among those that are cut.
    match cut {
        0 => {}
        1..=127 => out.push(cut as u8),
        _ => out.extend([0x80 | (cut & 0x7f) as u8, (cut >> 7) as u8]),
    }
    out.extend_from_slice(bytes);
    out.resize(start + HEADER + field, 0);

    let kind = if cut == 0 { 0x80 } else { 0xc0 };
    let control = kind | (sequence & 7) << 3 | acknowledged & 7;
    let check = G_MAGIC.wrapping_sub(g_sum(&out[start + HEADER..]) ^ u16::from(control));
    let mut header = Vec::with_capacity(HEADER);
    write_g_header((field.trailing_zeros() - 4) as u8, check, control, &mut header);
    out[start..start + HEADER].copy_from_slice(&header);
}

/// Reads the packet of g at the front of `bytes`; one whose data field is larger than `field_max` is none.
pub fn parse_g(bytes: &[u8], field_max: usize) -> Front<GPacket> {
    match bytes {
        [] | [G_MARK] => return Front::Incomplete,
        [G_MARK, 1..=9, ..] => {}
        _ => return Front::Nothing,
    }
    let &[_, k, low, high, control, xor, ref rest @ ..] = bytes else { return Front::Incomplete };
    if k ^ low ^ high ^ control != xor {
        return Front::Nothing;
    }
    let check = u16::from_le_bytes([low, high]);
    if k == G_CONTROL {
        return match Control::from_byte(control) {
            Some(known) if check == G_MAGIC.wrapping_sub(u16::from(control)) => {
                Front::Packet(GPacket::Control(known), HEADER)
            }
            _ => Front::Nothing,
        };
    }
    let field = 1_usize << (k + 4);
    // The alternate channel (01) is used by nobody.
    if field > field_max || control < 0x80 {
        return Front::Nothing;
    }
    let Some(data) = rest.get(..field) else { return Front::Incomplete };
    let packet = |bytes: Vec<u8>| GPacket::Data { sequence: control >> 3 & 7, acknowledged: control & 7, bytes };
    let valid = if control & 0x40 == 0 { Some(data) } else { without_cut(data) };
    match valid {
        Some(valid) if check == G_MAGIC.wrapping_sub(g_sum(data) ^ u16::from(control)) => {
            Front::Packet(packet(valid.to_vec()), HEADER + field)
        }
        _ => Front::Damaged(packet(Vec::new()), HEADER + field),
    }
}

/// The valid bytes of a short packet's data field; none where its count cannot be.
fn without_cut(field: &[u8]) -> Option<&[u8]> {
    let (cut, start) = match *field {
        [low @ 0..=127, ..] => (usize::from(low), 1),
        [low, high, ..] => (usize::from(low & 0x7f) | usize::from(high) << 7, 2),
        _ => return None,
    };
    if cut < start {
        return None;
    }
    field.get(start..start + field.len().checked_sub(cut)?)
}

/// The sum of f and y over `bytes`, going on from `sum`; the first begins with ffff.
pub fn stream_sum(sum: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(sum, |sum, byte| sum.rotate_left(1).wrapping_add(u16::from(*byte)))
}

/// First byte of every i packet.
pub const I_MARK: u8 = 0x07;
/// Largest data of one i packet: its length has 12 bits.
pub const I_DATA_MAX: usize = 4095;
/// Bytes of an i packet around its data, if it has any.
pub const I_OVERHEAD: usize = HEADER + 4;

/// The reflected CRC-32 without its final inversion, as protocol i has it.
const I_CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&Algorithm {
    width: 32,
    poly: 0x04c1_1db7,
    init: 0xffff_ffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x340b_c6d9,
    residue: 0,
});

/// A packet of protocol i. Numbers are 0-31, channels 0-7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IPacket {
    pub kind: IKind,
    pub number: u8,
    /// The channel of its sender's own command, and of the command that it answers.
    pub local: u8,
    pub acknowledged: u8,
    pub remote: u8,
    /// Sent by the side that placed the call.
    pub caller: bool,
    pub data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IKind {
    Data,
    Sync,
    Ack,
    Nak,
    /// SPOS: where the next data belong.
    Position,
    Close,
    /// Between two of us: the sums of a damaged packet's pieces, which asks for those that are wrong.
    Sums,
    /// Between two of us: the pieces of a packet that are wrong at the peer.
    Patch,
}

impl IKind {
    /// Whether packets of this kind take a number and are acknowledged.
    pub fn is_numbered(self) -> bool {
        matches!(self, Self::Data | Self::Position | Self::Close)
    }

    fn bits(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Sync => 1,
            Self::Ack => 2,
            Self::Nak => 3,
            Self::Position => 4,
            Self::Close => 5,
            Self::Sums => 6,
            Self::Patch => 7,
        }
    }
}

impl From<u8> for IKind {
    fn from(bits: u8) -> Self {
        match bits {
            0 => Self::Data,
            1 => Self::Sync,
            2 => Self::Ack,
            3 => Self::Nak,
            4 => Self::Position,
            5 => Self::Close,
            6 => Self::Sums,
            _ => Self::Patch,
        }
    }
}

pub fn i_crc(data: &[u8]) -> u32 {
    I_CRC.checksum(data)
}

pub fn write_i(packet: &IPacket, out: &mut Vec<u8>) {
    assert!(packet.data.len() <= I_DATA_MAX, "a packet of i has no room for {} bytes", packet.data.len());
    let [high, low] = (packet.data.len() as u16).to_be_bytes();
    let a = packet.number << 3 | packet.local & 7;
    let b = packet.acknowledged << 3 | packet.remote & 7;
    let c = packet.kind.bits() << 5 | u8::from(packet.caller) << 4 | high;
    out.extend([I_MARK, a, b, c, low, a ^ b ^ c ^ low]);
    if !packet.data.is_empty() {
        out.extend_from_slice(&packet.data);
        out.extend(i_crc(&packet.data).to_be_bytes());
    }
}

/// Reads the packet of i at the front of `bytes`; one with more data than `data_max` is none.
pub fn parse_i(bytes: &[u8], data_max: usize) -> Front<IPacket> {
    match bytes.first() {
        None => return Front::Incomplete,
        Some(&I_MARK) => {}
        Some(_) => return Front::Nothing,
    }
    let &[_, a, b, c, low, xor, ref rest @ ..] = bytes else { return Front::Incomplete };
    let length = usize::from(c & 0x0f) << 8 | usize::from(low);
    if a ^ b ^ c ^ low != xor || length > data_max {
        return Front::Nothing;
    }
    let packet = |data: &[u8]| IPacket {
        kind: IKind::from(c >> 5),
        number: a >> 3,
        local: a & 7,
        acknowledged: b >> 3,
        remote: b & 7,
        caller: c & 0x10 != 0,
        data: data.to_vec(),
    };
    if length == 0 {
        return Front::Packet(packet(&[]), HEADER);
    }
    let Some((data, crc)) = rest.get(..length + 4).and_then(|all| all.split_last_chunk::<4>()) else {
        return Front::Incomplete;
    };
    if i_crc(data) == u32::from_be_bytes(*crc) {
        Front::Packet(packet(data), I_OVERHEAD + length)
    } else {
        Front::Damaged(packet(data), I_OVERHEAD + length)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `10 02 00*62`: bytes in hex, `*n` repeats.
    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in text.split_whitespace() {
            let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
            let byte = u8::from_str_radix(digits, 16).expect("hex digits");
            bytes.extend(std::iter::repeat_n(byte, times.parse().expect("a count")));
        }
        bytes
    }

    fn check_control(control: Control, bytes: &str) {
        let mut out = Vec::new();
        write_g_control(control, &mut out);
        assert_eq!(out, hex(bytes), "{control:?}");
        assert_eq!(parse_g(&out, G_FIELD_MAX), Front::Packet(GPacket::Control(control), 6));
    }

    #[test]
    fn control_packets_of_g_have_the_captured_bytes() {
        check_control(Control::Close, "10 09 a2 aa 08 09");
        check_control(Control::Reject(0), "10 09 9a aa 10 29");
        check_control(Control::Reject(7), "10 09 93 aa 17 27");
        check_control(Control::RejectOne(3), "10 09 8f aa 1b 37");
        check_control(Control::Ready(0), "10 09 8a aa 20 09");
        check_control(Control::Ready(7), "10 09 83 aa 27 07");
        check_control(Control::InitC(7), "10 09 7b aa 2f f7");
        check_control(Control::InitB(1), "10 09 79 aa 31 eb");
        check_control(Control::InitB(5), "10 09 75 aa 35 e3");
        check_control(Control::InitA(3), "10 09 6f aa 3b f7");
        check_control(Control::InitA(7), "10 09 6b aa 3f f7");
    }

    fn check_sum(field: Vec<u8>, sum: u16, header: &str) {
        assert_eq!(g_sum(&field), sum, "{header}");
        if header.is_empty() {
            return;
        }
        let mut out = Vec::new();
        write_g_data(1, 0, &field, field.len(), &mut out);
        assert_eq!(out[..6], hex(header));
        let packet = GPacket::Data { sequence: 1, acknowledged: 0, bytes: field };
        assert_eq!(parse_g(&out, G_FIELD_MAX), Front::Packet(packet, out.len()));
    }

    fn padded(text: &str, size: usize) -> Vec<u8> {
        let mut field = text.as_bytes().to_vec();
        field.resize(size, 0);
        field
    }

    #[test]
    fn data_packets_of_g_have_the_known_sums() {
        check_sum(vec![0; 64], 0x34a4, "10 02 7e 76 88 82");
        check_sum(vec![0; 32], 0x7015, "10 01 0d 3a 88 be");
        check_sum((0..64).collect(), 0x7d4a, "10 02 e8 2c 88 4e");
        check_sum(vec![0xff; 64], 0x77e2, "10 02 40 33 88 f9");
        check_sum(vec![0x41; 64], 0xfe21, "10 02 01 ac 88 27");
        check_sum((0..=255).collect(), 0xd767, "10 04 bb d2 88 e5");
        check_sum(padded("SY", 64), 0x89a7, "10 02 7b 21 88 d0");
        check_sum(padded("EY", 64), 0xc97b, "10 02 b7 e0 88 dd");
        check_sum(padded("H", 64), 0x1f27, "10 02 fb 8a 88 fb");
        check_sum(padded("HY", 64), 0x3e9b, "10 02 97 6c 88 71");
        check_sum(padded("H", 32), 0x67a0, "10 01 82 43 88 48");
        check_sum(hex("40 00*63"), 0xdb53, "");
        check_sum(hex("80 01 00*126"), 0xfa4d, "");
        check_sum(hex("80 02 00*254"), 0x9769, "");
        check_sum(hex("80 08 00*1022"), 0x1335, "");
    }

    fn check_short(bytes: &[u8], field: usize, expected: &str) {
        let mut out = Vec::new();
        write_g_data(4, 1, bytes, field, &mut out);
        assert_eq!(out, hex(expected));
        let packet = GPacket::Data { sequence: 4, acknowledged: 1, bytes: bytes.to_vec() };
        assert_eq!(parse_g(&out, G_FIELD_MAX), Front::Packet(packet, out.len()));
    }

    #[test]
    fn the_count_of_a_short_packet_is_part_of_what_it_cuts() {
        check_short(b"", 64, "10 02 f8 ce e1 d5 40 00*63");
        for (field, length) in [(32, 31), (128, 0), (128, 1), (256, 128), (4096, 0), (4096, 3968), (4096, 4095)] {
            let bytes = vec![0x55; length];
            let mut out = Vec::new();
            write_g_data(2, 7, &bytes, field, &mut out);
            let packet = GPacket::Data { sequence: 2, acknowledged: 7, bytes };
            assert_eq!(parse_g(&out, G_FIELD_MAX), Front::Packet(packet, HEADER + field), "{length} in {field}");
        }
    }

    #[test]
    fn an_impossible_cut_is_damage() {
        for count in ["41 00*63", "00*64", "ff ff 00*62", "81 00*63"] {
            let field = hex(count);
            let control = 0xc8;
            let mut out = Vec::new();
            write_g_header(2, G_MAGIC.wrapping_sub(g_sum(&field) ^ control), control as u8, &mut out);
            out.extend(field);
            assert!(matches!(parse_g(&out, G_FIELD_MAX), Front::Damaged(..)), "{count}");
        }
    }

    #[test]
    fn every_cut_off_packet_is_incomplete_and_every_changed_header_is_nothing() {
        let mut g = Vec::new();
        write_g_data(5, 2, b"half a field", 64, &mut g);
        for end in 0..g.len() {
            assert_eq!(parse_g(&g[..end], G_FIELD_MAX), Front::Incomplete);
        }
        let mut i = Vec::new();
        write_i(&data_packet(b"CY\0"), &mut i);
        for end in 0..i.len() {
            assert_eq!(parse_i(&i[..end], I_DATA_MAX), Front::Incomplete);
        }
        for place in 0..HEADER {
            for bit in 0..8 {
                let (mut g, mut i) = (g.clone(), i.clone());
                g[place] ^= 1 << bit;
                i[place] ^= 1 << bit;
                assert_eq!(parse_g(&g, G_FIELD_MAX), Front::Nothing);
                assert_eq!(parse_i(&i, I_DATA_MAX), Front::Nothing);
            }
        }
        assert_eq!(parse_g(&g, 32), Front::Nothing, "larger than allowed");
        assert_eq!(parse_i(&i, 2), Front::Nothing, "larger than allowed");
    }

    fn data_packet(data: &[u8]) -> IPacket {
        IPacket {
            kind: IKind::Data,
            number: 17,
            local: 0,
            acknowledged: 14,
            remote: 4,
            caller: true,
            data: data.to_vec(),
        }
    }

    fn check_i(packet: IPacket, bytes: &str) {
        let mut out = Vec::new();
        write_i(&packet, &mut out);
        assert_eq!(out, hex(bytes));
        assert_eq!(parse_i(&out, I_DATA_MAX), Front::Packet(packet, out.len()));
    }

    #[test]
    fn packets_of_i_have_the_captured_bytes() {
        assert_eq!(i_crc(b"123456789"), 0x340b_c6d9);
        let empty = IPacket {
            kind: IKind::Ack,
            number: 0,
            local: 0,
            acknowledged: 0,
            remote: 0,
            caller: false,
            data: Vec::new(),
        };
        let sync = IPacket { kind: IKind::Sync, caller: true, data: vec![4, 0, 16, 7], ..empty.clone() };
        check_i(sync, "07 00 00 30 04 34 04 00 10 07 85 7f 30 46");
        check_i(IPacket { acknowledged: 8, ..empty.clone() }, "07 00 40 40 00 00");
        check_i(IPacket { kind: IKind::Nak, number: 5, acknowledged: 4, ..empty.clone() }, "07 28 20 60 00 68");
        let position = IPacket { kind: IKind::Position, number: 2, data: vec![0; 4], ..empty.clone() };
        check_i(position, "07 10 00 80 04 94 00 00 00 00 de bb 20 e3");
        let command = IPacket { number: 1, local: 1, caller: true, data: b"H\0".to_vec(), kind: IKind::Data, ..empty };
        check_i(command.clone(), "07 09 00 10 02 1b 48 00 86 86 28 0d");
        let close = IPacket { kind: IKind::Close, number: 5, local: 0, acknowledged: 12, caller: false, ..command };
        check_i(IPacket { data: Vec::new(), ..close }, "07 28 60 a0 00 e8");
        let reply = IPacket { number: 17, local: 4, acknowledged: 14, remote: 0, ..data_packet(b"CY\0") };
        check_i(reply, "07 8c 70 10 03 ef 43 59 00 19 1b f3 69");
    }

    #[test]
    fn damaged_data_of_i_still_tells_its_number() {
        let mut out = Vec::new();
        write_i(&data_packet(b"some data"), &mut out);
        out[9] ^= 0x20;
        assert_eq!(parse_i(&out, I_DATA_MAX), Front::Damaged(data_packet(b"somE data"), out.len()));
    }
}
