//! How batches of news and mail are packed, and unpacked whatever their form is.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::GzDecoder;

use super::compress;
use crate::base::limits::UNPACK_MAX;

/// The longest line that can begin a batch or an article in one.
const HEADER_LINE_MAX: usize = 100;
/// How many compressed forms may be packed into each other.
const NESTING_MAX: u32 = 2;

/// Magic numbers of what we do not unpack.
const OTHER_PACKINGS: [(&[u8], &str); 5] = [
    (b"\x1f\x9f", "freeze"),
    (b"\x1f\x1e", "pack"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// How a batch is packed for the wire. The line `#! gunbatch` or `#! cunbatch` before it has a batch of news alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    /// `.Z`, 16 bits.
    Compress,
}

/// How batches for a site are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchForm {
    pub packing: Packing,
    /// Bytes of one batch before compression; one letter or article always goes.
    pub size: u64,
}

impl BatchForm {
    /// Bytes unless the configuration says otherwise: some fifty short letters, and no more than a line of 2400 bit/s carries
    /// in seven minutes.
    pub const SIZE: u64 = 100_000;
}

/// Packs what is written to it. At its end [`finish`](Self::finish).
pub(super) enum Packer<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Compress(compress::Packer<W>),
}

impl<W: Write> Packer<W> {
    pub fn new(out: W, packing: Packing) -> Self {
        match packing {
            Packing::Plain => Self::Plain(out),
            Packing::Gzip => Self::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::best())),
            Packing::Compress => Self::Compress(compress::Packer::new(out)),
        }
    }

    /// Gives back what it wrote to.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Compress(packer) => packer.finish(),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Compress(packer) => packer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes off compressed forms and the `#!` line before them; whether there was one. The magic number counts for more than that
/// line, for some programs write gzip under `#! cunbatch`.
pub(super) fn unpacked<'a>(input: impl Read + 'a) -> io::Result<(Box<dyn BufRead + 'a>, bool)> {
    let mut input: Box<dyn BufRead + 'a> = Box::new(BufReader::new(input));
    let mut packed = false;
    for _ in 0..=NESTING_MAX {
        let magic = peek(&mut input, 12)?;
        if magic.starts_with(&[0x1f, 0x8b]) {
            packed = true;
            input = Box::new(BufReader::new(Bounded::new(Members::new(input))));
        } else if magic.starts_with(&compress::MAGIC) {
            packed = true;
            input = Box::new(BufReader::new(Bounded::new(compress::Decoder::new(input)?)));
        } else if magic.starts_with(b"#!") && !magic.starts_with(b"#! rnews ") {
            let line = read_line(&mut input)?;
            let word = line.get(2..).unwrap_or(b"").trim_ascii();
            let inner = peek(&mut input, 2)?;
            if !inner.starts_with(&[0x1f, 0x8b]) && !inner.starts_with(&compress::MAGIC) {
                let word = String::from_utf8_lossy(word).chars().take(40).collect::<String>();
                return Err(damaged(format!("batches of the form `{}` are not known", word.escape_debug())));
            }
        } else if let Some((_, name)) = OTHER_PACKINGS.iter().find(|(other, _)| magic.starts_with(other)) {
            return Err(damaged(format!("the batch is packed with {name}, which is not known here")));
        } else {
            return Ok((input, packed));
        }
    }
    Err(damaged("a batch packed in a batch in a batch".to_owned()))
}

pub(super) fn damaged(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Looks at the first bytes, fewer at the end, without taking them.
pub(super) fn peek(input: &mut Box<dyn BufRead + '_>, count: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    (&mut *input).take(count as u64).read_to_end(&mut head)?;
    let rest = std::mem::replace(input, Box::new(io::empty()));
    *input = Box::new(BufReader::new(io::Cursor::new(head.clone()).chain(rest)));
    Ok(head)
}

/// One line with its LF, or as much of it as may be one of a batch.
pub(super) fn read_line(input: &mut Box<dyn BufRead + '_>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    (&mut *input).take(HEADER_LINE_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// The members of a gzip file one after the other. Zeros behind the last are padding, to `gzip` too.
struct Members<R> {
    /// `None` at the end of all.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(input: R) -> Self {
        Self { member: Some(GzDecoder::new(input)) }
    }

    /// What comes behind a member: another one, or nothing.
    fn behind(mut input: R) -> io::Result<Option<R>> {
        loop {
            let bytes = match input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                filled => filled?,
            };
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            match (bytes.len(), zeros) {
                (0, _) => return Ok(None),
                (len, zeros) if len == zeros => input.consume(len),
                (_, zeros) => {
                    input.consume(zeros);
                    return Ok(Some(input));
                }
            }
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let read = member.read(out);
            if out.is_empty() || !matches!(read, Ok(0)) {
                // Also where reading was interrupted: that is no end.
                self.member = Some(member);
                return read;
            }
            self.member = Self::behind(member.into_inner())?.map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// Keeps a small packed batch from becoming an endless one.
struct Bounded<R> {
    inner: R,
    out: u64,
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Self { inner, out: 0 }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.out += count as u64;
        if self.out > UNPACK_MAX {
            return Err(damaged(format!("the batch unpacks to more than {UNPACK_MAX} bytes")));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&[u8]], expected: Result<&str, ()>) {
        let packed = parts.concat();
        let mut text = String::new();
        let read = unpacked(&packed[..]).and_then(|(mut input, _)| input.read_to_string(&mut text));
        assert_eq!(read.map(|_| text.as_str()).map_err(drop), expected, "{packed:?}");
    }

    #[test]
    fn members_of_gzip_follow_each_other_and_zeros_behind_them_are_padding() {
        let member = |text: &str| {
            let mut packer = Packer::new(Vec::new(), Packing::Gzip);
            packer.write_all(text.as_bytes()).and_then(|()| packer.finish()).expect("written to memory")
        };
        let (first, second) = (member("one "), member("two"));
        check(&[&first, &second], Ok("one two"));
        check(&[&first, &second, &[0; 20_000]], Ok("one two"));
        check(&[&first, &[0; 3], &second], Ok("one two"));
        check(&[&first, b"x"], Err(()));
        check(&[&first, &second[..15]], Err(()));
        check(&[&first, &second[..5]], Err(()));
    }
}
