//! The format of Unix `compress` (`.Z`), both ways: no crate writes it, and none that reads it goes to 16 bits.

use std::collections::HashMap;
use std::io::{self, Read, Write};

/// `1f 9d`
pub const MAGIC: [u8; 2] = [0x1f, 0x9d];
const CLEAR: u32 = 256;
const BITS_MIN: u32 = 9;
const BITS_MAX: u32 = 16;
/// The header's third byte: block mode (there is a CLEAR code).
const BLOCK_MODE: u8 = 0x80;
/// How often the encoder looks whether the table still serves, in bytes of input.
const CHECK_EVERY: u64 = 10_000;

/// Unpacks a `.Z` stream, header included.
pub struct Decoder<R> {
    input: R,
    bits_max: u32,
    block_mode: bool,
    width: u32,
    /// Codes come in groups of eight, `width` bytes together; what is left of one is skipped when the width changes.
    group: Vec<u8>,
    at_bit: usize,
    /// Prefix and last byte of each string above 255.
    prefix: Vec<u16>,
    suffix: Vec<u8>,
    free: u32,
    previous: Option<u32>,
    first_byte: u8,
    /// Unpacked, last byte first.
    stack: Vec<u8>,
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<R: Read> Decoder<R> {
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut header = [0; 3];
        input.read_exact(&mut header)?;
        let bits_max = u32::from(header[2] & 0x1f);
        if header[..2] != MAGIC || !(BITS_MIN..=BITS_MAX).contains(&bits_max) || header[2] & 0x60 != 0 {
            return Err(damaged("no compressed data: bad header"));
        }
        let block_mode = header[2] & BLOCK_MODE != 0;
        Ok(Self {
            input,
            bits_max,
            block_mode,
            width: BITS_MIN,
            group: Vec::new(),
            at_bit: 0,
            prefix: vec![0; 1 << bits_max],
            suffix: vec![0; 1 << bits_max],
            free: if block_mode { 257 } else { 256 },
            previous: None,
            first_byte: 0,
            stack: Vec::new(),
        })
    }

    /// The next code; `None` at the end of the data.
    fn code(&mut self) -> io::Result<Option<u32>> {
        // The width grows before the code that could no longer be named is read.
        if self.free > (1 << self.width) - 1 && self.width < self.bits_max && self.previous.is_some() {
            self.width += 1;
            self.drop_group();
        }
        let width = self.width as usize;
        if self.at_bit + width > self.group.len() * 8 {
            self.group.clear();
            self.at_bit = 0;
            (&mut self.input).take(width as u64).read_to_end(&mut self.group)?;
            if self.group.len() * 8 < width {
                return Ok(None);
            }
        }
        let byte = |n: usize| u32::from(self.group.get(n).copied().unwrap_or(0));
        let first = self.at_bit / 8;
        let word = byte(first) | byte(first + 1) << 8 | byte(first + 2) << 16;
        let code = word >> (self.at_bit % 8) & ((1 << width) - 1);
        self.at_bit += width;
        Ok(Some(code))
    }

    fn drop_group(&mut self) {
        self.group.clear();
        self.at_bit = 0;
    }

    /// Unpacks one code onto the stack; `false` at the end.
    fn step(&mut self) -> io::Result<bool> {
        let Some(code) = self.code()? else { return Ok(false) };
        if code == CLEAR && self.block_mode {
            self.drop_group();
            self.width = BITS_MIN;
            self.free = 257;
            self.previous = None;
            return Ok(true);
        }
        let Some(previous) = self.previous else {
            self.first_byte = u8::try_from(code).map_err(|_| damaged("damaged data: the first code is no byte"))?;
            self.stack.push(self.first_byte);
            self.previous = Some(code);
            return Ok(true);
        };
        let mut string = code;
        if code >= self.free {
            // The one string that may be named before it is made: the last with its own first byte behind it.
            if code > self.free || self.free >= 1 << self.bits_max {
                return Err(damaged("damaged data: a code that cannot be"));
            }
            self.stack.push(self.first_byte);
            string = previous;
        }
        while string > 255 {
            self.stack.push(self.suffix[string as usize]);
            string = u32::from(self.prefix[string as usize]);
        }
        self.first_byte = string as u8;
        self.stack.push(self.first_byte);
        if self.free < 1 << self.bits_max {
            self.prefix[self.free as usize] = previous as u16;
            self.suffix[self.free as usize] = self.first_byte;
            self.free += 1;
        }
        self.previous = Some(code);
        Ok(true)
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < out.len() {
            match self.stack.pop() {
                Some(byte) => {
                    out[count] = byte;
                    count += 1;
                }
                None if !self.step()? => break,
                None => {}
            }
        }
        Ok(count)
    }
}

/// Packs with 16 bits in block mode, as `compress` does by default.
pub fn compress(data: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    packer.write_all(data).and_then(|()| packer.finish()).expect("writing to memory does not fail")
}

/// The same for bytes that come in pieces.
pub struct Packer<W> {
    out: W,
    codes: Encoder,
    table: HashMap<(u32, u8), u32>,
    free: u32,
    bytes_in: u64,
    check_at: u64,
    best_ratio: u64,
    string: Option<u32>,
}

impl<W: Write> Packer<W> {
    pub fn new(out: W) -> Self {
        let (table, codes) = (HashMap::new(), Encoder::new());
        Self { out, codes, table, free: 257, bytes_in: 0, check_at: CHECK_EVERY, best_ratio: 0, string: None }
    }

    fn push(&mut self, byte: u8) {
        let at = self.bytes_in;
        self.bytes_in += 1;
        let Some(prefix) = self.string else {
            self.string = Some(u32::from(byte));
            return;
        };
        if let Some(longer) = self.table.get(&(prefix, byte)) {
            self.string = Some(*longer);
            return;
        }
        self.codes.code(prefix);
        self.string = Some(u32::from(byte));
        if self.free < 1 << BITS_MAX {
            self.table.insert((prefix, byte), self.free);
            self.free += 1;
            // The decoder is one entry behind.
            if self.free > 1 << self.codes.width && self.codes.width < BITS_MAX {
                self.codes.end_group();
                self.codes.width += 1;
            }
        } else if at >= self.check_at {
            self.check_at = at + CHECK_EVERY;
            let ratio = at * 256 / self.codes.made;
            if ratio > self.best_ratio {
                self.best_ratio = ratio;
            } else {
                self.codes.code(CLEAR);
                self.codes.end_group();
                self.codes.width = BITS_MIN;
                self.table.clear();
                (self.free, self.best_ratio) = (257, 0);
            }
        }
    }

    /// Writes the last codes, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(last) = self.string {
            self.codes.code(last);
        }
        self.codes.flush();
        self.out.write_all(&self.codes.bytes)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bytes.iter().for_each(|byte| self.push(*byte));
        self.out.write_all(&self.codes.bytes)?;
        self.codes.bytes.clear();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Codes to bytes.
struct Encoder {
    bytes: Vec<u8>,
    /// All that there have been, also those that are written.
    made: u64,
    width: u32,
    pending: u64,
    pending_bits: u32,
    /// Codes in the present group of eight.
    in_group: u32,
}

impl Encoder {
    fn new() -> Self {
        let bytes = vec![MAGIC[0], MAGIC[1], BLOCK_MODE | BITS_MAX as u8];
        let made = bytes.len() as u64;
        Self { bytes, made, width: BITS_MIN, pending: 0, pending_bits: 0, in_group: 0 }
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
        self.made += 1;
    }

    fn code(&mut self, code: u32) {
        self.pending |= u64::from(code) << self.pending_bits;
        self.pending_bits += self.width;
        while self.pending_bits >= 8 {
            self.byte(self.pending as u8);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
        self.in_group = (self.in_group + 1) % 8;
    }

    /// Fills the group up, as the decoder will skip what is left of it.
    fn end_group(&mut self) {
        while self.in_group != 0 {
            self.code(0);
        }
    }

    fn flush(&mut self) {
        if self.pending_bits > 0 {
            self.byte(self.pending as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(packed)?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// Bytes from a small generator: `kinds` different ones.
    fn noise(seed: u64, len: usize, kinds: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % kinds) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn known_answers() {
        assert_eq!(compress(b"AAAAAAAAAA"), [0x1f, 0x9d, 0x90, 0x41, 0x02, 0x0a, 0x1c, 0x08]);
        assert_eq!(compress(b"ABABABABABAB"), [0x1f, 0x9d, 0x90, 0x41, 0x84, 0x04, 0x1c, 0x28, 0xb0, 0x20]);
        let twelve_bits = [0x1f, 0x9d, 0x8c, 0x41, 0x84, 0x04, 0x1c, 0x28, 0xb0, 0x20];
        assert_eq!(unpack(&twelve_bits).expect("compressed data"), b"ABABABABABAB");
    }

    #[test]
    fn what_is_packed_unpacks_also_over_every_width_and_a_full_table() {
        for (len, kinds) in [(0, 2), (1, 2), (300, 256), (5000, 2), (70_000, 4), (400_000, 256), (900_000, 3)] {
            let mut data = noise(len as u64, len, kinds);
            data.extend(noise(7, len / 2, 251));
            assert_eq!(unpack(&compress(&data)).expect("compressed data"), data, "{len} {kinds}");
        }
    }

    #[test]
    fn damage_is_noticed_or_harmless_and_never_a_panic() {
        let packed = compress(&noise(1, 3000, 40));
        for at in 0..packed.len() {
            let mut bad = packed.clone();
            bad[at] ^= 0x55;
            let _ = unpack(&bad);
            let _ = unpack(&packed[..at]);
        }
        for header in [&b"\x1f\x9d\x91"[..], b"\x1f\x9d\x88", b"\x1f\x9d\xf0", b"\x1f\x8b\x90", b""] {
            assert!(unpack(header).is_err());
        }
        assert!(unpack(&[0x1f, 0x9d, 0x90, 0xff, 0xff]).is_err(), "a first code above 255");
    }
}
