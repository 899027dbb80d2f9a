//! A message on its way in: the header is looked at and completed as it passes, the rest streams through.
//!
//! **What is changed.** One `Received` line is put before everything else (none where the message begins here), `From_` lines at
//! the top are taken off, and where the sender is a client of ours a missing `Date`, `Message-ID` and `From` are added behind the
//! header. Text whose first line ends in CRLF (DOS peers) is stored with LF. Nothing else: no `Return-Path`
//! is stored; the mailbox keeps the sender beside the message.

use std::io;

use crate::base::time::Timestamp;
use crate::store::Draft;
use crate::wire::header::{Header, HeaderReader, HeaderTooLong, folded, message_id};

/// Bytes that are read at once of what goes through an [`Intake`].
pub(super) const PIECE: usize = 64 * 1024;

/// Why a message cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    HeaderTooLong(#[from] HeaderTooLong),
    #[error("the message is larger than {0} bytes")]
    TooLarge(u64),
    #[error("cannot keep the message")]
    Io(#[from] io::Error),
}

/// What a client of ours may leave to us (RFC 6409 section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub now: Timestamp,
    /// Behind the `@` of a Message-ID.
    pub domain: String,
    /// The `From` to add, if one may be added.
    pub from: Option<String>,
}

/// Takes a message in pieces and writes its stored form.
#[derive(Debug)]
pub struct Intake<W = Draft> {
    out: W,
    reader: Option<HeaderReader>,
    received: String,
    completion: Option<Completion>,
    crlf: bool,
    after_cr: bool,
    taken: u64,
    max: u64,
    noted: Noted,
}

/// What is remembered of the header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noted {
    /// The Message-ID, with its angle brackets; empty if there is none.
    pub message_id: String,
    /// `Received` lines it came with.
    pub received: usize,
    /// `From_` lines it came with, without line ends.
    pub from_lines: Vec<Vec<u8>>,
}

/// A message taken whole, not yet accepted.
#[derive(Debug)]
pub struct Message<W = Draft> {
    pub out: W,
    /// Bytes as they came, before anything was added.
    pub size: u64,
    pub noted: Noted,
}

impl<W: io::Write> Intake<W> {
    /// `received`: the whole `Received` field, or nothing. `max`: bytes of the message as it comes.
    pub fn new(out: W, received: String, completion: Option<Completion>, max: u64) -> Self {
        Self {
            out,
            reader: Some(HeaderReader::new()),
            received,
            completion,
            crlf: false,
            after_cr: false,
            taken: 0,
            max,
            noted: Noted::default(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        self.taken += bytes.len() as u64;
        if self.taken > self.max {
            return Err(IntakeError::TooLarge(self.max));
        }
        let Some(mut reader) = self.reader.take() else {
            return self.pass(bytes);
        };
        if reader.push(bytes)? {
            return self.header_ends(reader);
        }
        self.reader = Some(reader);
        Ok(())
    }

    pub fn finish(mut self) -> Result<Message<W>, IntakeError> {
        if let Some(reader) = self.reader.take() {
            self.header_ends(reader)?;
        }
        if self.after_cr {
            self.out.write_all(b"\r")?;
        }
        Ok(Message { out: self.out, size: self.taken, noted: self.noted })
    }

    fn header_ends(&mut self, reader: HeaderReader) -> Result<(), IntakeError> {
        let (mut header, rest) = reader.finish();
        let from_lines_crlf = first_line_has_crlf(header.as_bytes());
        self.noted.from_lines = header.take_from_lines();
        let beginning = if header.is_empty() { &rest } else { header.as_bytes() };
        self.crlf = if beginning.is_empty() { from_lines_crlf } else { first_line_has_crlf(beginning) };
        if self.crlf {
            let lines: Vec<u8> = without_cr(header.as_bytes());
            header = Header::parse(&lines).map_or(header, |(header, _)| header);
        }
        let had_fields = !header.is_empty();
        self.noted.received = header.count("Received");
        if let Some(completion) = &self.completion {
            complete(&mut header, completion);
        }
        self.noted.message_id = header.text("Message-ID").unwrap_or_default();
        header.prepend(self.received.as_bytes());
        self.out.write_all(header.as_bytes())?;
        // A message that has no header must not have its first line read as one, nor its only header go on in its body.
        let separated = rest.starts_with(b"\n") || rest.starts_with(b"\r\n");
        if !separated && !had_fields && !header.is_empty() {
            self.out.write_all(b"\n")?;
        }
        self.pass(&rest)
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        if !self.crlf {
            return Ok(self.out.write_all(bytes)?);
        }
        let mut kept = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            if self.after_cr && byte != b'\n' {
                kept.push(b'\r');
            }
            self.after_cr = byte == b'\r';
            if !self.after_cr {
                kept.push(byte);
            }
        }
        Ok(self.out.write_all(&kept)?)
    }
}

fn first_line_has_crlf(bytes: &[u8]) -> bool {
    memchr::memchr(b'\n', bytes).is_some_and(|at| bytes[..at].ends_with(b"\r"))
}

fn without_cr(lines: &[u8]) -> Vec<u8> {
    let ends = |at: usize| lines[at] == b'\r' && lines.get(at + 1) == Some(&b'\n');
    (0..lines.len()).filter(|at| !ends(*at)).map(|at| lines[at]).collect()
}

fn complete(header: &mut Header, completion: &Completion) {
    let mut added = String::new();
    if let Some(from) = completion.from.as_ref().filter(|_| header.find("From").is_none()) {
        added.push_str(&folded("From", from));
    }
    if header.find("Date").is_none() {
        added.push_str(&folded("Date", &completion.now.rfc5322()));
    }
    if header.find("Message-ID").is_none() {
        added.push_str(&folded("Message-ID", &message_id(completion.now, header.as_bytes(), &completion.domain)));
    }
    header.append(added.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(input: &str, completion: Option<Completion>, piece: usize) -> Message<Vec<u8>> {
        let mut intake = Intake::new(Vec::new(), "Received: here\n".to_owned(), completion, 10_000);
        for part in input.as_bytes().chunks(piece) {
            intake.write(part).expect("small enough");
        }
        intake.finish().expect("small enough")
    }

    fn check(input: &str, expected: &str) {
        for piece in [1, 2, 1000] {
            let message = take(input, None, piece);
            assert_eq!(message.out.escape_ascii().to_string(), expected, "{input:?} by {piece}");
            assert_eq!(message.size, input.len() as u64);
        }
    }

    #[test]
    fn one_line_is_added_and_nothing_else_changed() {
        check("A: 1\n b\n\nbody\n", "Received: here\\nA: 1\\n b\\n\\nbody\\n");
        check("\nbody\n", "Received: here\\n\\nbody\\n");
        check("no header\n", "Received: here\\n\\nno header\\n");
        check("A: 1\nno field\n\nx", "Received: here\\nA: 1\\nno field\\n\\nx");
        check("", "Received: here\\n\\n");
        check("A: 1", "Received: here\\nA: 1");
        check(
            "From ann Mon Jan  5 10:00:00 1998 remote from x\n>From b y\nA: 1\n\nx\n",
            "Received: here\\nA: 1\\n\\nx\\n",
        );
    }

    #[test]
    fn text_of_dos_peers_is_stored_with_lf() {
        check("A: 1\r\n b\r\n\r\nx\ry\r\n", "Received: here\\nA: 1\\n b\\n\\nx\\ry\\n");
        check("From x y\nA: 1\r\n\r\nx\r\n", "Received: here\\nA: 1\\n\\nx\\n");
        check("A: 1\n\nx\r\ny\r", "Received: here\\nA: 1\\n\\nx\\r\\ny\\r");
        check("A: 1\r\n\r\nx\r", "Received: here\\nA: 1\\n\\nx\\r");
    }

    #[test]
    fn what_the_header_says_is_noted() {
        let message = take("From x y\nReceived: 1\nReceived: 2\nMESSAGE-ID:\n <a@b>\n\nReceived: 3\n", None, 3);
        assert_eq!(message.noted.message_id, "<a@b>");
        assert_eq!(message.noted.received, 2);
        assert_eq!(message.noted.from_lines, [b"From x y".to_vec()]);
    }

    #[test]
    fn a_client_of_ours_may_leave_date_and_message_id_to_us() {
        let completion = Completion {
            now: Timestamp::from_seconds(0),
            domain: "x.example".to_owned(),
            from: Some("ann@x".to_owned()),
        };
        let message = take("Subject: a\n\nbody\n", Some(completion.clone()), 1000);
        let text = String::from_utf8(message.out).expect("text");
        let rest = text.strip_prefix(
            "Received: here\nSubject: a\nFrom: ann@x\nDate: Thu, 01 Jan 1970 00:00:00 +0000\nMessage-ID: <",
        );
        assert!(rest.is_some_and(|rest| rest.ends_with("@x.example>\n\nbody\n")), "{text}");
        assert!(message.noted.message_id.ends_with("@x.example>"));
        let message = take("no header\n", Some(completion.clone()), 1000);
        assert!(message.out.ends_with(b"@x.example>\n\nno header\n"));
        let whole = "From: a@b\nDate: x\nMessage-ID: <y>\n\n";
        assert_eq!(take(whole, Some(completion), 1000).out, format!("Received: here\n{whole}").into_bytes());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let mut intake = Intake::new(Vec::new(), String::new(), None, 10);
        assert!(intake.write(b"A: 1\n\n1234").is_ok());
        assert!(matches!(intake.write(b"5"), Err(IntakeError::TooLarge(10))));
        let mut intake = Intake::new(Vec::new(), String::new(), None, u64::MAX);
        let line = [b"X: ".as_slice(), &[b'y'; 1000], b"\n"].concat();
        let refused = (0..10_000).find_map(|_| intake.write(&line).err());
        assert!(matches!(refused, Some(IntakeError::HeaderTooLong(_))));
    }
}
