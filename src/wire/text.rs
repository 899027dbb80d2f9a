//! Lines and dot-stuffed text as SMTP and NNTP carry them, between the wire (CRLF) and the store (LF).
//!
//! **Stored form.** Bodies of mail and news are stored with LF line ends, as UUCP moves them; SMTP and NNTP
//! convert on the way in and out. Bytes above 127 and every control but CR and LF pass unchanged.
//! CRLF → LF → CRLF is exact; a bare CR has no place in either protocol (RFC 5321 section 2.3.8).

use memchr::{memchr, memchr2};

/// Which line ends are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// CRLF only; a bare CR or LF is a flaw. What SMTP demands, or else two servers see two different messages.
    Strict,
    /// LF too, for commands and text from NNTP clients. A bare CR in a text becomes a line end.
    Tolerant,
}

/// Why a line is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    #[error("line too long")]
    TooLong,
    #[error("lines end in CR LF")]
    BareEnd,
}

/// Cuts commands out of what has arrived. A bad line is told as soon as it is known to be bad, and what
/// is left of it is thrown away up to its end: so memory stays bounded by what was pushed and not consumed.
#[derive(Debug)]
pub struct LineReader {
    buffer: Vec<u8>,
    /// Where what is not consumed begins, and up to where no line end was found.
    start: usize,
    searched: usize,
    max: usize,
    ends: LineEnds,
    skipping: bool,
}

impl LineReader {
    /// `max` counts the line end.
    pub fn new(max: usize, ends: LineEnds) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, max, ends, skipping: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// What has arrived and is not consumed.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Takes `count` bytes out by other means than lines: a text in dots.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.buffer.len(), "more consumed than there is");
        self.searched = self.start;
    }

    /// The next line, without its end.
    pub fn next_line(&mut self) -> Option<Result<Vec<u8>, BadLine>> {
        if self.skipping && !self.skip() {
            return None;
        }
        let found = memchr(b'\n', &self.buffer[self.searched..]).map(|at| self.searched + at);
        let end = found.map_or(self.buffer.len(), |at| at + 1);
        if end - self.start > self.max {
            return Some(Err(self.bad(BadLine::TooLong)));
        }
        let Some(at) = found else {
            self.searched = end;
            return None;
        };
        let line = &self.buffer[self.start..at];
        let (line, ended_well) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, self.ends == LineEnds::Tolerant),
        };
        if !ended_well || memchr(b'\r', line).is_some() {
            return Some(Err(self.bad(BadLine::BareEnd)));
        }
        let line = line.to_vec();
        self.consume(end - self.start);
        Some(Ok(line))
    }

    fn bad(&mut self, why: BadLine) -> BadLine {
        self.skipping = true;
        self.searched = self.start;
        why
    }

    /// Throws away up to the end of the bad line; whether that end has come.
    fn skip(&mut self) -> bool {
        loop {
            let Some(at) = memchr(b'\n', &self.buffer[self.start..]) else {
                // A CR may be half of the end.
                let keep = usize::from(self.pending().last() == Some(&b'\r'));
                self.consume(self.pending().len() - keep);
                return false;
            };
            let whole = self.ends == LineEnds::Tolerant || at > 0 && self.buffer[self.start + at - 1] == b'\r';
            self.consume(at + 1);
            if whole {
                self.skipping = false;
                return true;
            }
        }
    }
}

/// What was wrong in a dot-stuffed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("a CR or LF stands alone")]
    BareEnd,
    #[error("a line is too long")]
    LineTooLong,
}

/// How far a [`DotReader`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DotProgress {
    /// Bytes of the input that belong to the text and its end.
    pub used: usize,
    /// The final dot has come; the rest of the input belongs to what follows.
    pub done: bool,
}

/// Reads a text up to its final dot, in any split, and gives it in stored form.
///
/// Only CRLF, dot, CRLF ends a text (RFC 5321 section 4.1.1.4, RFC 3977 section 3.1.1), whatever else looks
/// like it. Flaws do not stop the reading: the end must be found before the refusal can be told.
#[derive(Debug)]
pub struct DotReader {
    ends: LineEnds,
    state: DotState,
    line: usize,
    line_max: usize,
    flaw: Option<Flaw>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DotState {
    /// After CRLF, or at the beginning.
    LineStart,
    /// After a line end that was no CRLF: a dot here is unstuffed and ends nothing.
    SoftStart,
    Within,
    /// After a CR that may be half of a line end.
    Cr,
    /// After a dot at a line's start, and after a CR behind that.
    Dot,
    DotCr,
    Done,
}

impl DotReader {
    /// `line_max` counts a line without its end, after unstuffing.
    pub fn new(ends: LineEnds, line_max: usize) -> Self {
        Self { ends, state: DotState::LineStart, line: 0, line_max, flaw: None }
    }

    /// The first flaw, if there was one: the text must then be refused. In tolerant mode bare ends are none.
    pub fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    /// Appends the stored form of what it reads to `out`: never more bytes than `input` has, and one.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> DotProgress {
        let mut at = 0;
        while at < input.len() && self.state != DotState::Done {
            if self.state == DotState::Within {
                let run = memchr2(b'\r', b'\n', &input[at..]).unwrap_or(input.len() - at);
                self.text(&input[at..at + run], out);
                at += run;
                if at == input.len() {
                    break;
                }
            }
            self.step(input[at], out);
            at += 1;
        }
        DotProgress { used: at, done: self.state == DotState::Done }
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        use DotState::{Cr, Done, Dot, DotCr, LineStart, SoftStart, Within};
        match (self.state, byte) {
            (Cr, b'\n') => self.line_end(LineStart, out),
            (DotCr, b'\n') => self.state = Done,
            (Dot, b'\r') => self.state = DotCr,
            (LineStart, b'.') => self.state = Dot,
            (SoftStart, b'.') => self.state = Within,
            // CRs before a CRLF make one line end with it.
            (Cr | DotCr, b'\r') => {
                self.bare();
                self.state = Cr;
            }
            (Cr | DotCr, _) => {
                self.bare();
                self.line_end(SoftStart, out);
                self.step(byte, out);
            }
            (LineStart | SoftStart | Within, b'\r') => self.state = Cr,
            (LineStart | SoftStart | Within | Dot, b'\n') => {
                self.bare();
                self.line_end(SoftStart, out);
            }
            (LineStart | SoftStart | Within | Dot, _) => {
                self.text(&[byte], out);
                self.state = Within;
            }
            (Done, _) => {}
        }
    }

    fn text(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.line += bytes.len();
        if self.line > self.line_max {
            self.flaw.get_or_insert(Flaw::LineTooLong);
        }
        out.extend_from_slice(bytes);
    }

    fn line_end(&mut self, state: DotState, out: &mut Vec<u8>) {
        out.push(b'\n');
        self.line = 0;
        self.state = state;
    }

    fn bare(&mut self) {
        if self.ends == LineEnds::Strict {
            self.flaw.get_or_insert(Flaw::BareEnd);
        }
    }
}

/// Writes stored text as dot-stuffed lines with CRLF. Takes LF, and CRLF where a DOS peer sent it; a bare CR
/// becomes a line end, for no server may be sent one (RFC 5321 section 2.3.8).
#[derive(Debug)]
pub struct DotWriter {
    end: &'static [u8],
    at_line_start: bool,
    after_cr: bool,
}

impl Default for DotWriter {
    fn default() -> Self {
        Self { end: b"\r\n", at_line_start: true, after_cr: false }
    }
}

impl DotWriter {
    /// Ends lines with LF: in batches that UUCP moves. Bare CRs may not be there either: to some who read the batch they end
    /// a line, and a dot behind them the letter.
    pub fn with_lf() -> Self {
        Self { end: b"\n", ..Self::default() }
    }

    /// Appends the wire form of the next piece of the text.
    pub fn push(&mut self, stored: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while at < stored.len() {
            if self.after_cr {
                // The line end is written; an LF behind the CR belongs to it.
                self.after_cr = false;
                if stored[at] == b'\n' {
                    at += 1;
                    continue;
                }
            }
            let run = memchr2(b'\r', b'\n', &stored[at..]).unwrap_or(stored.len() - at);
            if run > 0 {
                if self.at_line_start && stored[at] == b'.' {
                    out.push(b'.');
                }
                self.at_line_start = false;
                out.extend_from_slice(&stored[at..at + run]);
                at += run;
            }
            if let Some(end) = stored.get(at) {
                out.extend_from_slice(self.end);
                self.at_line_start = true;
                self.after_cr = *end == b'\r';
                at += 1;
            }
        }
    }

    /// Appends the end: the last line's if it has none, then the dot.
    pub fn finish(self, out: &mut Vec<u8>) {
        if !self.at_line_start {
            out.extend_from_slice(self.end);
        }
        out.push(b'.');
        out.extend_from_slice(self.end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    /// Feeds `input` in pieces; gives the text, `!` if flawed, and what was left behind the final dot.
    fn read(ends: LineEnds, input: &[u8], pieces: &[usize]) -> String {
        let mut reader = DotReader::new(ends, 20);
        let (mut out, mut at, mut done) = (Vec::new(), 0, false);
        let mut pieces = pieces.iter().copied().cycle();
        while at < input.len() && !done {
            let end = input.len().min(at + pieces.next().expect("there is a piece").max(1));
            let progress = reader.push(&input[at..end], &mut out);
            at += progress.used;
            done = progress.done;
        }
        let flaw = match reader.flaw() {
            None => "",
            Some(Flaw::BareEnd) => " bare",
            Some(Flaw::LineTooLong) => " long",
        };
        let end = if done { format!(" | {}", show(&input[at..])) } else { " unfinished".to_owned() };
        format!("{}{flaw}{end}", show(&out))
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_text() {
        for (input, strict, tolerant) in [
            ("a\r\n.\r\nrest", "a\\n | rest", "a\\n | rest"),
            (".\r\n", " | ", " | "),
            ("..a\r\n...\r\n.\r\n", ".a\\n..\\n | ", ".a\\n..\\n | "),
            (".a\r\n.\r\n", "a\\n | ", "a\\n | "),
            ("a\n.\n", "a\\n\\n bare unfinished", "a\\n\\n unfinished"),
            ("a\n.\r\nb\r\n.\r\n", "a\\n\\nb\\n bare | ", "a\\n\\nb\\n | "),
            ("a\r\n.\nb\r\n.\r\n", "a\\n\\nb\\n bare | ", "a\\n\\nb\\n | "),
            ("a\r\n.\rb\r\n.\r\n", "a\\n\\nb\\n bare | ", "a\\n\\nb\\n | "),
            ("a\r.\r\nb\r\n.\r\n", "a\\n\\nb\\n bare | ", "a\\n\\nb\\n | "),
            ("a\r.\rb\r\n.\r\n", "a\\n\\nb\\n bare | ", "a\\n\\nb\\n | "),
            ("a\r\n.\r\r\nb\r\n.\r\n", "a\\n\\nb\\n bare | ", "a\\n\\nb\\n | "),
            ("a\r\r\n.\r\n", "a\\n bare | ", "a\\n | "),
            ("a\n\r.\r\nb\r\n.\r\n", "a\\n\\n\\nb\\n bare | ", "a\\n\\n\\nb\\n | "),
            ("a\0\x7f\r\n.\r\n", "a\\x00\\x7f\\n | ", "a\\x00\\x7f\\n | "),
        ] {
            assert_eq!(read(LineEnds::Strict, input.as_bytes(), &[1000]), strict, "{input:?}");
            assert_eq!(read(LineEnds::Tolerant, input.as_bytes(), &[1000]), tolerant, "{input:?}");
            assert_eq!(read(LineEnds::Strict, input.as_bytes(), &[1]), strict, "{input:?} bytewise");
        }
    }

    #[test]
    fn a_line_is_counted_without_its_end_and_stuffing() {
        let text = |n: usize| format!("..{}\r\n.\r\n", "x".repeat(n - 1));
        assert!(!read(LineEnds::Strict, text(20).as_bytes(), &[3]).contains("long"));
        assert!(read(LineEnds::Strict, text(21).as_bytes(), &[3]).contains("long | "));
    }

    fn write(stored: &[u8], piece: usize) -> Vec<u8> {
        let (mut writer, mut out) = (DotWriter::default(), Vec::new());
        for part in stored.chunks(piece) {
            writer.push(part, &mut out);
        }
        writer.finish(&mut out);
        out
    }

    #[test]
    fn stored_text_is_written_with_crlf_and_dots_doubled() {
        for (stored, expected) in [
            ("", ".\\r\\n"),
            ("a", "a\\r\\n.\\r\\n"),
            ("a\n", "a\\r\\n.\\r\\n"),
            (".\n.a\nb.\n", "..\\r\\n..a\\r\\nb.\\r\\n.\\r\\n"),
            ("a\r\nb\n", "a\\r\\nb\\r\\n.\\r\\n"),
            ("a\r.\rb", "a\\r\\n..\\r\\nb\\r\\n.\\r\\n"),
            ("a\r\r\nb", "a\\r\\n\\r\\nb\\r\\n.\\r\\n"),
            ("\n\n", "\\r\\n\\r\\n.\\r\\n"),
        ] {
            assert_eq!(show(&write(stored.as_bytes(), 1000)), expected, "{stored:?}");
            assert_eq!(show(&write(stored.as_bytes(), 1)), expected, "{stored:?} bytewise");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(lines in proptest::collection::vec("[.a\u{e4}\0]{0,4}", 0..8),
                                        pieces in proptest::collection::vec(1_usize..7, 1..5)) {
            let stored: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let wire = write(stored.as_bytes(), 3);
            prop_assert_eq!(read(LineEnds::Strict, &wire, &pieces), format!("{} | ", show(stored.as_bytes())));
        }

        #[test]
        fn the_split_of_the_input_means_nothing(input in "[.a\r\n]{0,12}", pieces in proptest::collection::vec(1_usize..4, 1..5)) {
            for ends in [LineEnds::Strict, LineEnds::Tolerant] {
                prop_assert_eq!(read(ends, input.as_bytes(), &pieces), read(ends, input.as_bytes(), &[1000]));
            }
        }
    }

    fn lines(ends: LineEnds, input: &[u8], piece: usize) -> String {
        let mut reader = LineReader::new(8, ends);
        let mut told = Vec::new();
        for part in input.chunks(piece) {
            reader.push(part);
            while let Some(line) = reader.next_line() {
                told.push(match line {
                    Ok(line) => show(&line),
                    Err(BadLine::TooLong) => "(long)".to_owned(),
                    Err(BadLine::BareEnd) => "(bare)".to_owned(),
                });
            }
        }
        told.join(" ")
    }

    #[test]
    fn lines_are_cut_and_bad_ones_told_once() {
        for (input, strict, tolerant) in [
            ("a\r\nb\r\nc", "a b", "a b"),
            ("\r\n", "", ""),
            ("123456\r\n1234567\r\nb\r\n", "123456 (long) b", "123456 (long) b"),
            ("123456789012345678901234567890\r\nb\r\n", "(long) b", "(long) b"),
            ("a\nb\r\nc\r\n", "(bare) c", "a b c"),
            ("a\rb\r\nc\r\n", "(bare) c", "(bare) c"),
            ("123456789\nb\r\nc\r\n", "(long) c", "(long) b c"),
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(lines(LineEnds::Strict, input.as_bytes(), piece), strict, "{input:?} by {piece}");
                assert_eq!(lines(LineEnds::Tolerant, input.as_bytes(), piece), tolerant, "{input:?} by {piece}");
            }
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut reader = LineReader::new(4096, LineEnds::Strict);
        let mut told = 0;
        for _ in 0..1000 {
            reader.push(&[b'x'; 4096]);
            while let Some(line) = reader.next_line() {
                assert_eq!(line, Err(BadLine::TooLong));
                told += 1;
            }
            assert!(reader.buffer.capacity() <= 4 * 4096, "{}", reader.buffer.capacity());
        }
        assert_eq!(told, 1);
    }
}
