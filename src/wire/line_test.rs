//! Frames of the line test: printable characters with a checksum; between them go the raw bytes whose fate they tell.

use std::fmt;
use std::fmt::Write;

use crc::{CRC_16_IBM_SDLC, Crc};

use crate::base::limits::{LINE_TEST_FRAME_MAX, LINE_TEST_RAW_MAX, LINE_TEST_TEXT_MAX};

pub const XON: u8 = 0x11;
pub const XOFF: u8 = 0x13;

/// How often each value goes in a sample of doubtful ones.
pub const COPIES: usize = 3;
/// Bytes from one copy of a value to the next, at least.
const APART: usize = 64;
/// Doubtful values that are looked at once more one by one.
pub const DOUBTFUL_MAX: usize = 48;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);

/// A set of byte values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255).filter(|byte| self.contains(*byte))
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] | other.0[n]))
    }

    pub fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] & other.0[n]))
    }

    /// First and last of each run.
    fn runs(&self) -> Vec<(u8, u8)> {
        let mut runs: Vec<(u8, u8)> = Vec::new();
        for byte in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if u16::from(*last) + 1 == u16::from(byte) => *last = byte,
                Some(_) | None => runs.push((byte, byte)),
            }
        }
        runs
    }

    fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for run in text.split('.').filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let (first, last) = (u8::from_str_radix(first, 16).ok()?, u8::from_str_radix(last, 16).ok()?);
            (first..=last).for_each(|byte| set.insert(byte));
        }
        Some(set)
    }
}

impl FromIterator<u8> for ByteSet {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        let mut set = Self::default();
        bytes.into_iter().for_each(|byte| set.insert(byte));
        set
    }
}

/// `11.13.80-9f`
impl fmt::Display for ByteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.runs().into_iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            match first == last {
                true => write!(f, "{dot}{first:02x}")?,
                false => write!(f, "{dot}{first:02x}-{last:02x}")?,
            }
        }
        Ok(())
    }
}

/// What goes raw over the line. Both sides know it byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Every value once.
    All,
    /// These values some times each, between letters.
    Again(ByteSet),
    /// So many letters and digits: how fast they come, and how many are damaged.
    Text(u16),
}

impl Sample {
    /// Whoever takes XOFF for flow control is let go by the XON that follows it, and by the last byte.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = match self {
            Self::All => {
                (0..=255).map(|byte| if matches!(byte & 0x7f, XON | XOFF) { byte ^ 2 } else { byte }).collect()
            }
            Self::Again(values) => {
                let mut values: Vec<u8> = values.iter().collect();
                values.reverse();
                let mut letters = (b'a'..=b'z').cycle();
                let mut bytes = Vec::new();
                // The copies far apart: a burst of noise strikes one of them.
                for _ in 0..COPIES {
                    let apart = bytes.len() + APART;
                    bytes.extend(values.iter().zip(&mut letters).flat_map(|(value, letter)| [letter, *value]));
                    bytes.extend(letters.by_ref().take(apart.saturating_sub(bytes.len())));
                }
                bytes.push(b'.');
                bytes
            }
            Self::Text(count) => text(*count),
        };
        bytes.push(XON);
        bytes
    }

    fn print(&self) -> String {
        match self {
            Self::All => "a".to_owned(),
            Self::Again(values) => format!("v{values}"),
            Self::Text(count) => format!("t{count}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("a", "") => Some(Self::All),
            ("v", values) => ByteSet::parse(values).filter(|set| set.len() <= DOUBTFUL_MAX).map(Self::Again),
            ("t", count) => count.parse().ok().filter(|count| *count <= LINE_TEST_TEXT_MAX).map(Self::Text),
            _ => None,
        }
    }
}

/// Letters and digits in an order that does not repeat, so that lost ones are missed where they were.
fn text(count: u16) -> Vec<u8> {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        DIGITS[(state >> 27) as usize]
    };
    (0..count).map(|_| next()).collect()
}

/// What became of raw bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// The highest bit does not pass. What it alone changes is not counted as changed.
    pub top_bit_lost: bool,
    /// Values that do not arrive.
    pub lost: ByteSet,
    /// Values that arrive as others.
    pub changed: ByteSet,
    /// Bytes looked at for damage, and how many were damaged or lost by chance.
    pub looked_at: u32,
    pub damaged: u32,
    /// How many bytes came within how many microseconds; 0: too few, or all at once.
    pub timed: u32,
    pub micros: u32,
}

impl Heard {
    /// What is not as it was sent, but for the highest bit.
    pub fn doubtful(&self) -> ByteSet {
        self.lost.union(&self.changed)
    }

    fn print(&self, out: &mut String) {
        let flag = if self.top_bit_lost { " 7" } else { "" };
        let Self { lost, changed, looked_at, damaged, timed, micros, .. } = self;
        let sets = [('l', lost), ('c', changed)].map(|(letter, set)| match set.is_empty() {
            true => String::new(),
            false => format!(" {letter}{set}"),
        });
        let _ = write!(out, "{flag}{} n{looked_at} d{damaged} b{timed} u{micros}", sets.concat());
    }

    fn parse<'w>(words: impl Iterator<Item = &'w str>) -> Option<Self> {
        let mut heard = Self::default();
        for word in words {
            let (letter, rest) = word.split_at_checked(1)?;
            match letter {
                "7" => heard.top_bit_lost = true,
                "l" => heard.lost = ByteSet::parse(rest)?,
                "c" => heard.changed = ByteSet::parse(rest)?,
                "n" => heard.looked_at = rest.parse().ok()?,
                "d" => heard.damaged = rest.parse().ok()?,
                "b" => heard.timed = rest.parse().ok()?,
                "u" => heard.micros = rest.parse().ok()?,
                // A later version may tell more.
                _ => {}
            }
        }
        Some(heard)
    }
}

/// Who speaks: capital letters are the asker's, so that an echo is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Asker,
    Partner,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// From the asker: is anybody there, with a number to know an echo by. From the partner: yes, with the protocols
    /// that it would speak on one line or another.
    Hello(String),
    /// Raw bytes follow, and then `End`.
    Raw(Sample),
    End,
    /// Send me these.
    Give(Sample),
    /// This came of yours.
    Heard(Heard),
    /// Raw bytes ended that had not begun.
    Missed,
    /// All that was found: from the asker to the partner, back, and the round trip in microseconds.
    Facts {
        forth: Heard,
        back: Heard,
        round_trip: u32,
    },
    /// The facts are known to the partner.
    Known,
}

impl Word {
    fn letter(&self) -> char {
        match self {
            Self::Hello(_) => 'h',
            Self::Raw(_) => 'r',
            Self::End => 'e',
            Self::Give(_) => 'g',
            Self::Heard(_) => 'd',
            Self::Missed => 'm',
            Self::Facts { .. } => 'f',
            Self::Known => 'k',
        }
    }
}

/// One frame: `<H1 4711*8D35>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub side: Side,
    /// The asker's turn in which it is said, or that it answers.
    pub turn: u16,
    pub word: Word,
}

impl Frame {
    pub fn print(&self) -> Vec<u8> {
        let letter = self.word.letter();
        let letter = if self.side == Side::Asker { letter.to_ascii_uppercase() } else { letter };
        let mut body = format!("{letter}{}", self.turn);
        match &self.word {
            Word::Hello(text) => body.push_str(&format!(" {text}")),
            Word::Raw(sample) | Word::Give(sample) => body.push_str(&format!(" {}", sample.print())),
            Word::Heard(heard) => heard.print(&mut body),
            Word::Facts { forth, back, round_trip } => {
                body.push_str(&format!(" {round_trip}"));
                forth.print(&mut body);
                body.push_str(" /");
                back.print(&mut body);
            }
            Word::End | Word::Missed | Word::Known => {}
        }
        format!("<{body}*{:04X}>", CRC.checksum(body.as_bytes())).into_bytes()
    }

    /// What stands between `<` and `>`.
    fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.rsplit_once('*')?;
        if sum.len() != 4 || u16::from_str_radix(sum, 16).ok()? != CRC.checksum(body.as_bytes()) {
            return None;
        }
        let mut words = body.split(' ').filter(|word| !word.is_empty());
        let (letter, turn) = words.next()?.split_at_checked(1)?;
        let side = if letter.chars().all(|c| c.is_ascii_uppercase()) { Side::Asker } else { Side::Partner };
        let word = match letter.to_ascii_lowercase().as_str() {
            "h" => Word::Hello(words.next()?.to_owned()),
            "r" => Word::Raw(Sample::parse(words.next()?)?),
            "g" => Word::Give(Sample::parse(words.next()?)?),
            "e" => Word::End,
            "d" => Word::Heard(Heard::parse(words)?),
            "m" => Word::Missed,
            "f" => {
                let round_trip = words.next()?.parse().ok()?;
                let forth = Heard::parse(words.by_ref().take_while(|word| *word != "/"))?;
                Word::Facts { forth, back: Heard::parse(words)?, round_trip }
            }
            "k" => Word::Known,
            _ => return None,
        };
        Some(Self { side, turn: turn.parse().ok()?, word })
    }
}

/// Finds frames among whatever comes.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Since the last frame.
    bytes: Vec<u8>,
}

impl FrameReader {
    /// Takes one byte; gives a frame when it was its last, and the raw bytes before it.
    pub fn push(&mut self, byte: u8) -> Option<(Frame, Vec<u8>)> {
        // Endless noise is no sample.
        if self.bytes.len() >= LINE_TEST_RAW_MAX {
            self.bytes.drain(..LINE_TEST_RAW_MAX / 2);
        }
        self.bytes.push(byte);
        if byte & 0x7f == b'>' {
            let from = self.bytes.len().saturating_sub(LINE_TEST_FRAME_MAX);
            let begin = from + self.bytes[from..].iter().rposition(|byte| byte & 0x7f == b'<')?;
            // A parity bit may stand where eight bits were meant.
            let text: String =
                self.bytes[begin + 1..self.bytes.len() - 1].iter().map(|b| char::from(b & 0x7f)).collect();
            let frame = Frame::parse(&text)?;
            self.bytes.truncate(begin);
            return Some((frame, std::mem::take(&mut self.bytes)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: Word, expected: &str) {
        let frame = Frame { side: Side::Asker, turn: 3, word };
        let printed = frame.print();
        assert_eq!(String::from_utf8_lossy(&printed), expected);
        let mut reader = FrameReader::default();
        let with_parity = printed.iter().map(|byte| byte | 0x80);
        let found: Vec<_> = b"x<y>".iter().copied().chain(with_parity).filter_map(|byte| reader.push(byte)).collect();
        assert_eq!(found, [(frame, b"x<y>".to_vec())]);
        let mut damaged = printed.clone();
        damaged[2] ^= 1;
        assert_eq!(damaged.iter().find_map(|byte| reader.push(*byte)), None);
    }

    #[test]
    fn frames_are_printed_and_found_among_noise() {
        let heard = Heard {
            top_bit_lost: true,
            lost: [0x11, 0x13].into_iter().collect(),
            changed: (0x80..=0x9f).collect(),
            looked_at: 256,
            damaged: 1,
            timed: 280,
            micros: 1_166_000,
        };
        check(Word::Hello("4711".to_owned()), "<H3 4711*8563>");
        check(Word::Raw(Sample::All), "<R3 a*28C8>");
        check(Word::Give(Sample::Again([0x11, 0x13].into_iter().collect())), "<G3 v11.13*57D8>");
        check(Word::Give(Sample::Text(500)), "<G3 t500*37C9>");
        check(Word::Heard(heard), "<D3 7 l11.13 c80-9f n256 d1 b280 u1166000*E205>");
        let facts = Word::Facts { forth: heard, back: Heard::default(), round_trip: 240_000 };
        check(facts, "<F3 240000 7 l11.13 c80-9f n256 d1 b280 u1166000 / n0 d0 b0 u0*7747>");
        check(Word::Known, "<K3*AE91>");
    }

    #[test]
    fn every_frame_stays_within_its_limit() {
        let ragged = |odd: u8| (0..128).map(|n| n * 2 + odd).collect::<ByteSet>();
        let most = u32::MAX;
        let heard = |lost, changed| Heard {
            top_bit_lost: true,
            lost,
            changed,
            looked_at: most,
            damaged: most,
            timed: most,
            micros: most,
        };
        let worst = heard(ragged(0), ragged(1));
        let word = Word::Facts { forth: worst, back: worst, round_trip: most };
        let frame = Frame { side: Side::Asker, turn: u16::MAX, word }.print();
        assert!(frame.len() <= LINE_TEST_FRAME_MAX, "{}", frame.len());
    }

    #[test]
    fn a_sample_holds_every_value_and_lets_go_whom_it_stopped() {
        let all = Sample::All.bytes();
        let at = |value: u8| all.iter().position(|byte| *byte == value).expect("every value");
        assert!((0..=255).all(|value| at(value) < 256) && all.len() == 257);
        assert!(at(XOFF) < at(XON) && at(XOFF | 0x80) < at(XON | 0x80));
        let text = Sample::Text(LINE_TEST_TEXT_MAX).bytes();
        assert!(text[..text.len() - 1].iter().all(u8::is_ascii_alphanumeric));
        for sample in [Sample::Again([0x13, 0xff].into_iter().collect()), Sample::Text(9), Sample::All] {
            assert_eq!(sample.bytes().last(), Some(&XON));
            assert_eq!(Sample::parse(&sample.print()), Some(sample));
        }
    }

    #[test]
    fn noise_is_kept_within_bounds() {
        let mut reader = FrameReader::default();
        for noise in [b"<".as_slice(), b">", b"<z>", b"z"] {
            assert!(noise.iter().cycle().take(20_000).all(|byte| reader.push(*byte).is_none()));
            assert!(reader.bytes.len() <= LINE_TEST_RAW_MAX);
        }
    }
}
