//! News batches: `#! rnews` and the compressed forms, both ways.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::compress;
use crate::base::limits::{ARTICLE_MAX, UNPACK_MAX};

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

/// How a batch is packed for the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `#! rnews` articles as they are.
    Plain,
    /// `#! gunbatch`
    Gzip,
    /// `#! cunbatch`
    Compress,
}

/// Appends an article, with LF line ends, to an unpacked batch.
pub fn append(batch: &mut Vec<u8>, article: &[u8]) {
    batch.extend_from_slice(format!("#! rnews {}\n", article.len()).as_bytes());
    batch.extend_from_slice(article);
}

/// Packs a batch made by `append` for the wire.
pub fn pack(batch: Vec<u8>, packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => batch,
        Packing::Gzip => {
            let mut out = b"#! gunbatch\n".to_vec();
            let mut gzip = flate2::write::GzEncoder::new(&mut out, flate2::Compression::best());
            gzip.write_all(&batch).and_then(|()| gzip.finish().map(drop)).expect("writing to memory does not fail");
            out
        }
        Packing::Compress => {
            let mut out = b"#! cunbatch\n".to_vec();
            out.extend(compress::compress(&batch));
            out
        }
    }
}

/// One thing found in a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Article(Vec<u8>),
    /// An article above `ARTICLE_MAX`, passed over.
    Oversized {
        bytes: u64,
    },
    /// Bytes that belong to no article: the lengths in the batch are wrong here.
    OutOfStep {
        bytes: u64,
    },
    /// The batch ended inside an article that should have had more bytes.
    Truncated {
        missing: u64,
        article: Vec<u8>,
    },
}

/// Reads a batch of any form, one article at a time.
pub struct Reader<'a> {
    input: Box<dyn BufRead + 'a>,
    packed: bool,
    form: Form,
}

enum Form {
    /// A single article without any header line.
    Single,
    Batch,
    Done,
}

impl<'a> Reader<'a> {
    /// Finds out the form.
    pub fn new(input: impl Read + 'a) -> io::Result<Self> {
        let (mut input, packed) = unpacked(input)?;
        let magic = peek(&mut input, 12)?;
        let form = if magic.starts_with(b"#! rnews ") || magic.starts_with(b"! rnews ") {
            Form::Batch
        } else if magic.is_empty() {
            Form::Done
        } else {
            Form::Single
        };
        Ok(Self { input, packed, form })
    }

    /// Whether it was compressed: then a few bytes may stand for very many.
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// The next article, or what stands in its place. An error means that the rest cannot be read:
    /// a checksum that is wrong, for one.
    pub fn next_found(&mut self) -> io::Result<Option<Found>> {
        match self.form {
            Form::Done => Ok(None),
            Form::Single => {
                self.form = Form::Done;
                self.article(u64::MAX).map(Some)
            }
            Form::Batch => self.next_in_batch(),
        }
    }

    fn next_in_batch(&mut self) -> io::Result<Option<Found>> {
        let mut skipped = 0;
        loop {
            let line = read_line(&mut self.input)?;
            if line.is_empty() {
                self.form = Form::Done;
                return Ok((skipped > 0).then_some(Found::OutOfStep { bytes: skipped }));
            }
            match article_length(&line) {
                Some(_) if skipped > 0 => {
                    // Seen again by the next call.
                    let rest = std::mem::replace(&mut self.input, Box::new(io::empty()));
                    self.input = Box::new(BufReader::new(io::Cursor::new(line).chain(rest)));
                    return Ok(Some(Found::OutOfStep { bytes: skipped }));
                }
                Some(length) => {
                    let found = self.article(length)?;
                    return Ok(Some(found));
                }
                None => skipped += line.len() as u64,
            }
        }
    }

    fn article(&mut self, length: u64) -> io::Result<Found> {
        let mut article = Vec::new();
        (&mut self.input).take(length.min(ARTICLE_MAX + 1)).read_to_end(&mut article)?;
        let read = article.len() as u64;
        if read > ARTICLE_MAX {
            let rest = io::copy(&mut (&mut self.input).take(length - read), &mut io::sink())?;
            return Ok(Found::Oversized { bytes: read + rest });
        }
        if read < length && length != u64::MAX {
            self.form = Form::Done;
            return Ok(Found::Truncated { missing: length - read, article });
        }
        Ok(Found::Article(article))
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
            let gzip = flate2::bufread::MultiGzDecoder::new(input);
            input = Box::new(BufReader::new(Bounded::new(gzip)));
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

/// The number in `#! rnews 283`, also where the `#` was eaten on the way (B News knew that).
fn article_length(line: &[u8]) -> Option<u64> {
    let number = line.strip_prefix(b"#! rnews ").or_else(|| line.strip_prefix(b"! rnews "))?;
    std::str::from_utf8(number).ok()?.trim().parse().ok()
}

pub(super) fn damaged(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Looks at the first bytes, fewer at the end, without taking them.
fn peek(input: &mut Box<dyn BufRead + '_>, count: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    (&mut *input).take(count as u64).read_to_end(&mut head)?;
    let rest = std::mem::replace(input, Box::new(io::empty()));
    *input = Box::new(BufReader::new(io::Cursor::new(head.clone()).chain(rest)));
    Ok(head)
}

/// One line with its LF, or as much of it as may be one of a batch.
fn read_line(input: &mut Box<dyn BufRead + '_>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    (&mut *input).take(HEADER_LINE_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(line)
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

    fn read(bytes: &[u8]) -> Vec<String> {
        let mut reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return vec![format!("error: {error}")],
        };
        let mut out = Vec::new();
        loop {
            match reader.next_found() {
                Ok(None) => return out,
                Ok(Some(Found::Article(article))) => out.push(String::from_utf8(article).expect("text")),
                Ok(Some(other)) => out.push(format!("{other:?}")),
                Err(error) => {
                    out.push(format!("error: {}", error.kind()));
                    return out;
                }
            }
        }
    }

    fn two() -> Vec<u8> {
        let mut batch = Vec::new();
        append(&mut batch, b"Subject: 1\n\none\n");
        append(&mut batch, b"Subject: 2\n\n#! rnews 5\nno\n");
        batch
    }

    #[test]
    fn every_form_is_read_back() {
        let expected = ["Subject: 1\n\none\n", "Subject: 2\n\n#! rnews 5\nno\n"];
        for packing in [Packing::Plain, Packing::Gzip, Packing::Compress] {
            assert_eq!(read(&pack(two(), packing)), expected, "{packing:?}");
        }
        let gzip_as_cunbatch = [b"#! cunbatch\n", &pack(two(), Packing::Gzip)[12..]].concat();
        assert_eq!(read(&gzip_as_cunbatch), expected);
        assert_eq!(read(&pack(two(), Packing::Gzip)[12..]), expected, "without any line");
        assert_eq!(read(b"Subject: x\n\nsingle\n"), ["Subject: x\n\nsingle\n"]);
        assert_eq!(read(b"! rnews 4\nabc\n"), ["abc\n"]);
        assert!(read(b"").is_empty());
    }

    #[test]
    fn lengths_that_lie_cost_no_other_article() {
        let lying = b"#! rnews 3\nabcdef\n#! rnews 4\nxyz\n";
        assert_eq!(read(lying), ["abc", "OutOfStep { bytes: 4 }", "xyz\n"]);
        let short = b"#! rnews 4\nxyz\n#! rnews 999\nabc\n";
        assert_eq!(read(short), ["xyz\n", "Truncated { missing: 995, article: [97, 98, 99, 10] }"]);
        assert_eq!(read(b"#! rnews -1\nabc\n"), ["OutOfStep { bytes: 16 }"]);
        let huge = b"#! rnews 99999999999999999999999\nabc\n";
        assert_eq!(read(huge), ["OutOfStep { bytes: 37 }"]);
    }

    #[test]
    fn damage_in_a_packed_batch_is_an_error() {
        let mut packed = pack(two(), Packing::Gzip);
        let at = packed.len() - 6;
        packed[at] ^= 1;
        assert!(read(&packed).last().is_some_and(|last| last.starts_with("error")));
        assert_eq!(read(b"#! funbatch\n\x1f\x9f"), ["error: batches of the form `funbatch` are not known"]);
    }

    #[test]
    fn an_oversized_article_is_passed_over() {
        let mut batch = Vec::new();
        append(&mut batch, &vec![b'x'; ARTICLE_MAX as usize + 5]);
        append(&mut batch, b"next\n");
        assert_eq!(read(&batch), [format!("Oversized {{ bytes: {} }}", ARTICLE_MAX + 5), "next\n".to_owned()]);
    }
}
