//! The header of a message or article as bytes: order, folding and oddities stay as they came.

use std::fmt::Write as _;

use memchr::memchr;

use sha2::{Digest, Sha256};

use crate::base::limits::HEADER_MAX;
use crate::base::time::Timestamp;

/// The header block: whole lines with LF, without the blank line behind it. Printing it gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    bytes: Vec<u8>,
}

/// The header is larger than [`HEADER_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header is larger than {HEADER_MAX} bytes")]
pub struct HeaderTooLong;

/// One field with its folded lines, as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// All of it, with the last LF.
    pub raw: &'a [u8],
    colon: usize,
}

impl<'a> Field<'a> {
    pub fn name(&self) -> &'a [u8] {
        self.raw[..self.colon].trim_ascii_end()
    }

    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// What stands behind the colon, unfolded (RFC 5322 section 2.2.3) and trimmed; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        let value: Vec<u8> =
            self.raw[self.colon + 1..].iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        String::from_utf8_lossy(value.trim_ascii()).into_owned()
    }
}

impl Header {
    /// The header of a message that is at hand; and where the rest of it begins (with the blank line, if there is one).
    pub fn parse(message: &[u8]) -> Result<(Self, usize), HeaderTooLong> {
        let mut end = 0;
        while let Some(line) = line_at(message, end) {
            match kind(line, end == 0, only_from_lines(&message[..end])) {
                Kind::End => break,
                Kind::Part => end += line.len(),
            }
            if end > HEADER_MAX {
                return Err(HeaderTooLong);
            }
        }
        Ok((Self { bytes: message[..end].to_vec() }, end))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Every field, in order. Lines that belong to none (`From_` at the top) are passed over.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while let Some(first) = line_at(&self.bytes, at) {
                let mut end = at + first.len();
                while let Some(line) = line_at(&self.bytes, end).filter(|line| is_folded(line)) {
                    end += line.len();
                }
                let raw = &self.bytes[at..end];
                at = end;
                if let Some(colon) = field_colon(first) {
                    return Some(Field { raw, colon });
                }
            }
            None
        })
    }

    /// The first field of this name.
    pub fn find(&self, name: &str) -> Option<Field<'_>> {
        self.fields().find(|field| field.is(name))
    }

    /// The text of the first field of this name, if it is not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|field| field.text()).filter(|text| !text.is_empty())
    }

    pub fn count(&self, name: &str) -> usize {
        self.fields().filter(|field| field.is(name)).count()
    }

    /// Puts whole lines (of [`folded`]) before everything else.
    pub fn prepend(&mut self, lines: &[u8]) {
        self.bytes.splice(0..0, lines.iter().copied());
    }

    /// Puts whole lines behind everything else.
    pub fn append(&mut self, lines: &[u8]) {
        if !self.bytes.is_empty() && !self.bytes.ends_with(b"\n") {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(lines);
    }

    /// Takes out every field of this name.
    pub fn remove(&mut self, name: &str) {
        let (mut kept, mut at, mut dropping) = (Vec::with_capacity(self.bytes.len()), 0, false);
        while let Some(line) = line_at(&self.bytes, at) {
            at += line.len();
            if let Some(colon) = field_colon(line) {
                dropping = Field { raw: line, colon }.is(name);
            }
            if !dropping {
                kept.extend_from_slice(line);
            }
        }
        self.bytes = kept;
    }

    /// Takes the `From_` lines off the top (`From ann Mon Jan …`, `>From …`), in order, without line ends.
    pub fn take_from_lines(&mut self) -> Vec<Vec<u8>> {
        let (mut lines, mut at) = (Vec::new(), 0);
        while let Some(line) = line_at(&self.bytes, at).filter(|line| is_from_line(line)) {
            lines.push(line.trim_ascii_end().to_vec());
            at += line.len();
        }
        self.bytes.drain(..at);
        lines
    }
}

/// Collects a header from a stream, in any split, up to [`HEADER_MAX`].
#[derive(Debug, Default)]
pub struct HeaderReader {
    buffer: Vec<u8>,
    /// Where the line that is not yet judged begins, and up to where it holds no LF.
    line: usize,
    searched: usize,
    in_from_lines: bool,
}

impl HeaderReader {
    pub fn new() -> Self {
        Self { in_from_lines: true, ..Self::default() }
    }

    /// Whether the header is whole now. Then no more may be pushed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, HeaderTooLong> {
        self.buffer.extend_from_slice(bytes);
        while let Some(at) = memchr(b'\n', &self.buffer[self.searched..]) {
            let end = self.searched + at + 1;
            let line = &self.buffer[self.line..end];
            if kind(line, self.line == 0, self.in_from_lines) == Kind::End {
                return if self.line > HEADER_MAX { Err(HeaderTooLong) } else { Ok(true) };
            }
            self.in_from_lines &= is_from_line(line);
            self.line = end;
            self.searched = end;
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > HEADER_MAX { Err(HeaderTooLong) } else { Ok(false) }
    }

    /// The header, and what was pushed behind it, beginning with the blank line if there is one. Also for a
    /// message that ended within its header.
    pub fn finish(mut self) -> (Header, Vec<u8>) {
        if self.line < self.buffer.len()
            && kind(&self.buffer[self.line..], self.line == 0, self.in_from_lines) == Kind::Part
        {
            self.line = self.buffer.len();
        }
        let rest = self.buffer.split_off(self.line);
        (Header { bytes: self.buffer }, rest)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    End,
}

/// The header ends at a blank line, or before the first line that is no part of a field: then nothing
/// separates it from the body, and a message without any header is all body.
fn kind(line: &[u8], first: bool, in_from_lines: bool) -> Kind {
    let part = field_colon(line).is_some() || in_from_lines && is_from_line(line) || !first && is_folded(line);
    if part { Kind::Part } else { Kind::End }
}

fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    Some(memchr(b'\n', rest).map_or(rest, |end| &rest[..=end]))
}

/// A line that goes on with the field before it. A line of blanks only is one too (RFC 5322 section 4.2).
fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn is_from_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

fn only_from_lines(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(line) = line_at(bytes, at) {
        if !is_from_line(line) {
            return false;
        }
        at += line.len();
    }
    true
}

/// Where the colon of a field is: behind printable characters, and blanks as old programs left them (RFC 5322 section 4.5).
fn field_colon(line: &[u8]) -> Option<usize> {
    let colon = memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(colon)
}

/// A Message-ID that no other message has: from the time and a digest of `what` (header or report) that is to have it.
pub fn message_id(now: Timestamp, what: &[u8], domain: &str) -> String {
    let digest: String = Sha256::digest(what).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("<{}.{digest}@{domain}>", now.as_micros())
}

/// A field as one or more lines with LF, folded at blanks where a line would pass 78 characters.
pub fn folded(name: &str, value: &str) -> String {
    let mut lines = format!("{name}:");
    let mut width = lines.len();
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        if width + 1 + word.len() > 78 && width > name.len() + 1 {
            let _ = write!(lines, "\n\t{word}");
            width = 8 + word.len();
        } else {
            let _ = write!(lines, " {word}");
            width += 1 + word.len();
        }
    }
    lines.push('\n');
    lines
}

/// The addresses of an address list (RFC 5322 section 3.4, with group syntax and route of section 4.4), as they stand
/// there without names and comments. Bang paths and bare names count too. Empty entries are passed over.
pub fn addresses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut entry = Entry::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' => skip_comment(&mut chars),
            '"' => entry.push_str(&quoted_string(&mut chars)),
            '<' => entry.open(),
            '>' => entry.close(),
            // `Name: a, b;` is a group; within `<@route:a@b>` the colon is the route's.
            ':' if !entry.open => entry = Entry::default(),
            ',' if entry.open && entry.text.starts_with('@') => entry.push(c),
            ',' | ';' => found.extend(std::mem::take(&mut entry).finish()),
            _ => entry.push(c),
        }
    }
    found.extend(entry.finish());
    found
}

#[derive(Default)]
struct Entry {
    text: String,
    angle: Option<String>,
    open: bool,
}

impl Entry {
    fn push(&mut self, c: char) {
        if self.angle.is_none() && !c.is_control() {
            self.text.push(c);
        }
    }

    fn push_str(&mut self, s: &str) {
        s.chars().for_each(|c| self.push(c));
    }

    fn open(&mut self) {
        self.open = true;
        self.text.clear();
    }

    fn close(&mut self) {
        if self.open {
            self.open = false;
            self.angle = Some(std::mem::take(&mut self.text));
        }
    }

    fn finish(self) -> Option<String> {
        let text = self.angle.unwrap_or(self.text);
        // Blanks around dots and the @ mean nothing outside of quotes.
        let text: String = if text.contains('"') { text.trim().to_owned() } else { text.split_whitespace().collect() };
        (!text.is_empty()).then_some(text)
    }
}

fn skip_comment(chars: &mut impl Iterator<Item = char>) {
    let mut depth = 1;
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// The rest of a quoted string, with its quotes.
fn quoted_string(chars: &mut impl Iterator<Item = char>) -> String {
    let mut text = String::from('"');
    while let Some(c) = chars.next() {
        text.push(c);
        match c {
            '\\' => text.extend(chars.next()),
            '"' => break,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `header | rest`, read at once and in pieces.
    fn check(message: &str, expected: &str) {
        let (header, at) = Header::parse(message.as_bytes()).expect("short enough");
        let shown =
            |header: &Header, rest: &[u8]| format!("{}|{}", header.as_bytes().escape_ascii(), rest.escape_ascii());
        assert_eq!(shown(&header, &message.as_bytes()[at..]), expected, "{message:?}");
        for piece in [1, 3, 1000] {
            let mut reader = HeaderReader::new();
            let mut chunks = message.as_bytes().chunks(piece);
            while chunks.next().is_some_and(|part| !reader.push(part).expect("short enough")) {}
            let (header, mut rest) = reader.finish();
            chunks.for_each(|part| rest.extend_from_slice(part));
            assert_eq!(shown(&header, &rest), expected, "{message:?} by {piece}");
        }
    }

    #[test]
    fn a_header_ends_at_the_blank_line_or_where_no_field_stands() {
        check("A: 1\nB: 2\n c\n\nbody", "A: 1\\nB: 2\\n c\\n|\\nbody");
        check("A: 1\r\n\r\nbody", "A: 1\\r\\n|\\r\\nbody");
        check("A: 1\nbody: is not\nno field\n", "A: 1\\nbody: is not\\n|no field\\n");
        check("no field\nA: 1\n\n", "|no field\\nA: 1\\n\\n");
        check("\nbody", "|\\nbody");
        check("", "|");
        check("A: 1", "A: 1|");
        check("A: 1\n", "A: 1\\n|");
        check("From x y\n>From z\nA: 1\n\n", "From x y\\n>From z\\nA: 1\\n|\\n");
        check("A: 1\nFrom x y\n\n", "A: 1\\n|From x y\\n\\n");
        check(" A: 1\n", "| A: 1\\n");
        check("A : 1\n\t\nB:\n\n", "A : 1\\n\\t\\nB:\\n|\\n");
        check("no end of a line", "|no end of a line");
    }

    fn header(text: &str) -> Header {
        Header::parse(text.as_bytes()).expect("short enough").0
    }

    #[test]
    fn fields_are_found_in_any_case_and_unfolded() {
        let mut h = header("From a b\nReceived: 1\nSubject: a\n b\n\tc\nrECEIVED : 2\nEmpty:\n");
        assert_eq!(h.count("received"), 2);
        assert_eq!(h.text("SUBJECT").as_deref(), Some("a b\tc"));
        assert_eq!(h.text("Empty"), None);
        assert_eq!(h.find("subject").expect("it is there").raw, b"Subject: a\n b\n\tc\n");
        assert_eq!(h.take_from_lines(), [b"From a b".to_vec()]);
        h.remove("received");
        h.prepend(b"X: 1\n");
        h.append(b"Y: 2\n");
        assert_eq!(h.as_bytes(), b"X: 1\nSubject: a\n b\n\tc\nEmpty:\nY: 2\n".as_slice());
    }

    #[test]
    fn a_header_without_end_is_refused_before_it_fills_the_memory() {
        let mut reader = HeaderReader::new();
        let mut pushed = 0;
        let line = [b"X: ".as_slice(), &[b'y'; 1020], b"\n"].concat();
        while reader.push(&line).is_ok() {
            pushed += line.len();
            assert!(pushed <= HEADER_MAX);
        }
        assert!(Header::parse(&line.repeat(10_000)).is_err());
        assert!(HeaderReader::new().push(&[b'x'; HEADER_MAX + 1]).is_err());
    }

    #[test]
    fn long_values_are_folded_at_blanks() {
        let value = ["word"; 40].join(" ");
        let lines = folded("Received", &value);
        assert!(lines.lines().all(|line| line.len() <= 78 && !line.ends_with(' ')), "{lines}");
        assert_eq!(header(&lines).text("received").expect("it is there").replace('\t', " "), value);
        assert_eq!(folded("X", ""), "X:\n");
        assert_eq!(folded("X", &"y".repeat(100)), format!("X: {}\n", "y".repeat(100)));
    }

    #[test]
    fn addresses_are_read_from_lists() {
        for (text, expected) in [
            ("ann@x", "ann@x"),
            ("Ann <ann@x>, \"Bob, B.\" <bob@y> (his, own)", "ann@x|bob@y"),
            ("a!b!c, carl", "a!b!c|carl"),
            ("friends: ann@x, bob@y;, carl@z", "ann@x|bob@y|carl@z"),
            ("undisclosed-recipients:;", ""),
            ("<@r1,@r2:ann@x>", "@r1,@r2:ann@x"),
            ("\"a b\"@x", "\"a b\"@x"),
            ("\"a, \\\" <b\" <c@d>", "c@d"),
            ("ann @ x . org", "ann@x.org"),
            (" , ,ann@x,", "ann@x"),
            ("ann@x (a (nested\\) ) comment)", "ann@x"),
            ("<>", ""),
            ("Ann <ann@x", "ann@x"),
        ] {
            assert_eq!(addresses(text).join("|"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_header(message in "([AB]: ?x|\n| y|From x|>From|\r\n){0,12}", piece in 1_usize..9) {
            let (header, at) = Header::parse(message.as_bytes()).expect("short enough");
            let mut reader = HeaderReader::new();
            let mut chunks = message.as_bytes().chunks(piece);
            while chunks.next().is_some_and(|part| !reader.push(part).expect("short enough")) {}
            let (again, mut rest) = reader.finish();
            chunks.for_each(|part| rest.extend_from_slice(part));
            prop_assert_eq!(again, header);
            prop_assert_eq!(rest, &message.as_bytes()[at..]);
        }
    }
}
