//! The envelope in which j sends packets of i: printable lengths around them, and no byte that the line would eat.

/// First byte of an envelope and of a list.
pub const OPEN: u8 = b'^';
const CLOSE: u8 = b'~';
/// `^`, two lengths of two bytes, `=`, `@`, `~`.
const AROUND: usize = 8;
/// Largest packet of i inside: its index must stay printable.
pub const PACKET_MAX: usize = 3007;
/// `^` and `~` around 256 times four characters.
const LIST_MAX: usize = 2 + 256 * 4;

/// Byte values that may not be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Avoided([bool; 256]);

impl Avoided {
    /// XON and XOFF.
    pub fn standard() -> Self {
        let mut avoided = Self([false; 256]);
        avoided.insert(0x11);
        avoided.insert(0x13);
        avoided
    }

    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// Printable characters cannot be avoided.
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte)] = !(0x20..0x7f).contains(&byte);
    }

    pub fn unite(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours |= theirs;
        }
    }

    /// As each side says it at the start: `^\021\023~`.
    pub fn print(&self) -> Vec<u8> {
        let listed: String =
            (0..=255).filter(|byte| self.contains(*byte)).map(|byte| format!("\\{byte:03o}")).collect();
        format!("^{listed}~").into_bytes()
    }

    /// Reads what stands between `^` and `~`. `None`: that is no list, or a damaged one.
    fn parse(mut text: &[u8]) -> Option<Self> {
        let mut avoided = Self([false; 256]);
        while let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] = text {
            let byte = (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0');
            if (0x20..0x7f).contains(&byte) {
                return None;
            }
            avoided.insert(byte);
            text = rest;
        }
        text.is_empty().then_some(avoided)
    }
}

/// A packet out of its envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct Unwrapped {
    pub packet: Vec<u8>,
    /// Where bytes were changed for the way.
    pub altered: Vec<usize>,
}

/// What stands at the front of some received bytes, and how many it takes.
pub enum Front {
    /// Perhaps an envelope; so many bytes it would have.
    Incomplete(usize),
    Nothing,
    List(Box<Avoided>, usize),
    Packet(Unwrapped, usize),
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    out.extend([32 + (length / 64) as u8, 32 + (length % 64) as u8]);
}

fn length(high: u8, low: u8) -> Option<usize> {
    let printable = (32..127).contains(&high) && (32..96).contains(&low);
    printable.then(|| usize::from(high - 32) * 64 + usize::from(low - 32))
}

/// Writes one packet, at most `PACKET_MAX` bytes, without any avoided byte.
pub fn wrap(packet: &[u8], avoided: &Avoided, out: &mut Vec<u8>) {
    let (mut data, mut index) = (Vec::with_capacity(packet.len()), Vec::new());
    for (at, &byte) in packet.iter().enumerate() {
        if !avoided.contains(byte) {
            data.push(byte);
            continue;
        }
        let cleared = byte & 0x7f;
        let control = cleared < 0x20 || cleared == 0x7f;
        data.push(if control { cleared ^ 0x20 } else { cleared });
        let (high, low) = ((at / 32) as u8, (at % 32) as u8);
        index.extend(match (byte >= 0x80, control) {
            (true, true) if low == 31 => [126, 32 + high],
            (true, true) => [32 + high, 32 + low + 64],
            (true, false) => [32 + high, 32 + low],
            (false, _) => [32 + high, 32 + low + 32],
        });
    }
    out.push(OPEN);
    push_length(AROUND + data.len() + index.len(), out);
    out.push(b'=');
    push_length(data.len(), out);
    out.push(b'@');
    out.extend(data);
    out.extend(index);
    out.push(CLOSE);
}

/// Reads what is at the front of `bytes`; an envelope around more than `data_max` bytes is none.
pub fn unwrap(bytes: &[u8], data_max: usize) -> Front {
    match bytes {
        [] | [OPEN] => return Front::Incomplete(AROUND),
        [OPEN, CLOSE | b'\\', rest @ ..] if rest.get(1) != Some(&b'=') => return unwrap_list(bytes),
        [OPEN, ..] => {}
        _ => return Front::Nothing,
    }
    let &[_, a, b, equals, c, d, at, ..] = bytes else { return Front::Incomplete(AROUND) };
    let (Some(total), Some(data)) = (length(a, b), length(c, d)) else { return Front::Nothing };
    let index = total.checked_sub(AROUND + data);
    let possible = index.is_some_and(|index| index % 2 == 0 && index / 2 <= data);
    if (equals, at) != (b'=', b'@') || !possible || data > data_max {
        return Front::Nothing;
    }
    let Some(whole) = bytes.get(..total) else { return Front::Incomplete(total) };
    let (packet, index) = whole[AROUND - 1..total - 1].split_at(data);
    if whole[total - 1] != CLOSE {
        return Front::Nothing;
    }
    match restore(packet.to_vec(), index) {
        Some(unwrapped) => Front::Packet(unwrapped, total),
        None => Front::Nothing,
    }
}

fn unwrap_list(bytes: &[u8]) -> Front {
    match bytes.iter().position(|byte| *byte == CLOSE) {
        Some(end) => Avoided::parse(&bytes[1..end]).map_or(Front::Nothing, |list| Front::List(Box::new(list), end + 1)),
        None if bytes.len() < LIST_MAX => Front::Incomplete(LIST_MAX),
        None => Front::Nothing,
    }
}

fn restore(mut packet: Vec<u8>, index: &[u8]) -> Option<Unwrapped> {
    let mut altered = Vec::with_capacity(index.len() / 2);
    for pair in index.chunks_exact(2) {
        let (first, second) = (pair[0].checked_sub(32)?, pair[1].checked_sub(32)?);
        let (high, low, change) = match (first, second) {
            (94, high) => (high, 31, 0xa0),
            (high, low @ 0..=31) => (high, low, 0x80),
            (high, low @ 32..=63) => (high, low - 32, 0x20),
            (high, low) => (high, low - 64, 0xa0),
        };
        let at = usize::from(high) * 32 + usize::from(low);
        *packet.get_mut(at)? ^= change;
        altered.push(at);
    }
    Some(Unwrapped { packet, altered })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::hex;

    fn check(packet: &[u8], avoided: &Avoided, expected: Option<&str>) {
        let mut out = Vec::new();
        wrap(packet, avoided, &mut out);
        if let Some(expected) = expected {
            assert_eq!(out, hex(expected));
        }
        assert!(!out.iter().any(|byte| avoided.contains(*byte)));
        match unwrap(&out, PACKET_MAX) {
            Front::Packet(unwrapped, used) => assert_eq!((unwrapped.packet, used), (packet.to_vec(), out.len())),
            _ => panic!("{packet:?} does not come out of its envelope"),
        }
        for end in 0..out.len() {
            assert!(matches!(unwrap(&out[..end], PACKET_MAX), Front::Incomplete(_)));
        }
    }

    #[test]
    fn envelopes_have_the_captured_bytes() {
        let standard = Avoided::standard();
        let sync = hex("07 00 00 30 04 34 04 00 10 07 85 7f 30 46");
        check(&sync, &standard, Some("5e 20 36 3d 20 2e 40 07 00 00 30 04 34 04 00 10 07 85 7f 30 46 7e"));
        let mut command = hex("07 09 20 10 3c 05");
        command.extend(br#"E D.0001 D.alphaN0001 uucp -C D.0001 0666 "" 0x4a rmail bob"#);
        command.extend(hex("00 0f 11 23 fc"));
        let text = "5e 21 30 3d 21 26 40 07 09 20 10 3c 05 45 20 44 2e 30 30 30 31 20 44 2e 61 6c 70 68 61 4e 30 30 30 31 20 75 \
                    75 63 70 20 2d 43 20 44 2e 30 30 30 31 20 30 36 36 36 20 22 22 20 30 78 34 61 20 72 6d 61 69 6c 20 62 6f 62 \
                    00 0f 31 23 fc 22 43 7e";
        check(&command, &standard, Some(text));
    }

    #[test]
    fn any_bytes_survive_any_list() {
        let mut all = Avoided::standard();
        (0..=255).for_each(|byte| all.insert(byte));
        let packet: Vec<u8> = (0..1000_u32).map(|n| (n * 37 % 256) as u8).collect();
        check(&packet, &all, None);
        check(&packet, &Avoided::standard(), None);
        check(&[0x91; PACKET_MAX], &Avoided::standard(), None);
    }

    #[test]
    fn lists_are_printed_and_read_and_united() {
        let mut ours = Avoided::standard();
        assert_eq!(ours.print(), b"^\\021\\023~");
        let Front::List(theirs, 10) = unwrap(b"^\\000\\377~^", PACKET_MAX) else { panic!("a list") };
        ours.unite(&theirs);
        assert_eq!(ours.print(), b"^\\000\\021\\023\\377~");
        assert!(matches!(unwrap(b"^~", PACKET_MAX), Front::List(_, 2)));
        for damaged in ["^\\02\\023~", "^\\101~", "^\\021x~", "^\\421~"] {
            assert!(matches!(unwrap(damaged.as_bytes(), PACKET_MAX), Front::Nothing), "{damaged}");
        }
        assert!(matches!(unwrap(&[&b"^"[..], &b"\\021".repeat(300)].concat(), PACKET_MAX), Front::Nothing), "bounded");
    }

    #[test]
    fn what_is_no_envelope_is_nothing() {
        for shape in ["^ 6= .@14 bytes of it!!x", "^ 6= /@", "^ .= 6@", "^ 0= &@abcdef\"~~", "^}}=~~@"] {
            assert!(matches!(unwrap(shape.as_bytes(), PACKET_MAX), Front::Nothing), "{shape}");
        }
    }
}
