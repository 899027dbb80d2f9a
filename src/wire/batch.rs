//! News batches: `#! rnews` and the compressed forms, both ways.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::packing::{Packer, Packing, peek, read_line, unpacked};
use crate::base::limits::ARTICLE_MAX;

/// Appends an article, with LF line ends, to an unpacked batch.
pub fn append(batch: &mut Vec<u8>, article: &[u8]) {
    batch.extend_from_slice(format!("#! rnews {}\n", article.len()).as_bytes());
    batch.extend_from_slice(article);
}

/// Packs a batch made by `append` for the wire.
pub fn pack(batch: Vec<u8>, packing: Packing) -> Vec<u8> {
    let line: &[u8] = match packing {
        Packing::Plain => return batch,
        Packing::Gzip => b"#! gunbatch\n",
        Packing::Compress => b"#! cunbatch\n",
    };
    let mut packer = Packer::new(line.to_vec(), packing);
    packer.write_all(&batch).and_then(|()| packer.finish()).expect("writing to memory does not fail")
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

/// The number in `#! rnews 283`, also where the `#` was eaten on the way (B News knew that).
fn article_length(line: &[u8]) -> Option<u64> {
    let number = line.strip_prefix(b"#! rnews ").or_else(|| line.strip_prefix(b"! rnews "))?;
    std::str::from_utf8(number).ok()?.trim().parse().ok()
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
