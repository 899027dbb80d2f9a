//! The text of a letter or an article on its way out, in pieces.

use std::io;
use std::ops::Range;

use crate::store::Body;
use crate::wire::text::DotWriter;

/// How much of a body is read at once.
pub(super) const READ: usize = 8 * 1024;

pub struct Text {
    body: Body,
    rest: Range<u64>,
    dots: DotWriter,
}

impl Text {
    pub fn whole(body: Body) -> Self {
        let rest = 0..body.len();
        Self::part(body, rest)
    }

    pub fn part(body: Body, rest: Range<u64>) -> Self {
        Self { body, rest, dots: DotWriter::default() }
    }

    /// Appends the next piece, or the final dot; whether there is more.
    pub fn piece(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let mut piece = [0; READ];
        let wish = usize::try_from(self.rest.end - self.rest.start).unwrap_or(READ).min(READ);
        if wish == 0 {
            std::mem::take(&mut self.dots).finish(out);
            return Ok(false);
        }
        if self.body.read_at(self.rest.start, &mut piece[..wish])? < wish {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.rest.start += wish as u64;
        self.dots.push(&piece[..wish], out);
        Ok(true)
    }
}
