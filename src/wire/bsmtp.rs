//! Mail in batches, both ways: what an SMTP client says, in a file, with nobody there to answer (BSMTP).
//!
//! **Written form.** LF line ends, HELO and no parameters: nobody offers anything, so nothing may be asked for. Exim (`-bS`) takes
//! a parameter behind an address for a malformed one and stops, Smail 3 knows none; UUCP carries eight bits and UTF-8 undeclared,
//! as it does for `rmail`. **Read form.** Whatever is said for each letter can be told from the rest by `DATA` and the lone dot; what
//! stands around it is taken as it comes.

use std::io::{self, BufRead, Read, Write};

use memchr::{memchr, memmem};

use super::packing::{Packer, Packing, damaged, unpacked};
use super::smtp::{Command, Mail, unanswered_address};
use super::text::DotWriter;
use crate::base::address::{Address, BadAddress};
use crate::base::limits::{BATCH_IDLE_COMMANDS_MAX, RECIPIENTS_MAX, SMTP_COMMAND_MAX};

/// The commands that take a batch. Which compression a name stands for is not the same everywhere: what is read goes by the magic
/// number.
pub const COMMANDS: [&str; 12] = [
    "rsmtp", "bsmtp", "rbsmtp", "rcsmtp", "cbsmtp", "csmtp", "rgsmtp", "gsmtp", "rzsmtp", "crsmtp", "grsmtp", "zrsmtp",
];

/// The command to which a batch is given that is packed so.
pub fn command(packing: Packing) -> &'static str {
    match packing {
        Packing::Plain => "rsmtp",
        Packing::Gzip => "rgsmtp",
        Packing::Compress => "rcsmtp",
    }
}

/// Writes a batch in pieces: [`begin`](Self::begin), the text by [`Write`], [`end`](Self::end); in the end [`finish`](Self::finish).
pub struct Writer<W: Write> {
    out: Packer<W>,
    text: DotWriter,
    piece: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// `name`: of this host.
    pub fn new(out: W, packing: Packing, name: &str) -> io::Result<Self> {
        let mut writer =
            Self { out: Packer::new(out, packing), text: DotWriter::with_lf(), piece: Vec::new(), written: 0 };
        writer.say(&Command::Helo(name.to_owned()))?;
        Ok(writer)
    }

    /// Bytes written, before compression.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The envelope of the next letter; `None` is the null sender.
    pub fn begin(&mut self, sender: Option<&Address>, recipients: &[Address]) -> io::Result<()> {
        self.say(&Command::Mail(Mail { sender: sender.cloned(), ..Mail::default() }))?;
        recipients.iter().try_for_each(|recipient| self.say(&Command::Rcpt(recipient.clone())))?;
        self.say(&Command::Data)
    }

    /// The end of a letter's text.
    pub fn end(&mut self) -> io::Result<()> {
        self.piece.clear();
        std::mem::replace(&mut self.text, DotWriter::with_lf()).finish(&mut self.piece);
        self.put()
    }

    /// The end of the batch. Gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.say(&Command::Quit)?;
        self.out.finish()
    }

    fn say(&mut self, command: &Command) -> io::Result<()> {
        self.piece = format!("{command}\n").into_bytes();
        self.put()
    }

    fn put(&mut self) -> io::Result<()> {
        self.written += self.piece.len() as u64;
        self.out.write_all(&self.piece)
    }
}

/// The text of the letter that was begun.
impl<W: Write> Write for Writer<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.piece.clear();
        self.text.push(text, &mut self.piece);
        self.put()?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The envelope of a letter in a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Letter {
    /// `None`: the null sender.
    pub sender: Result<Option<Address>, BadAddress>,
    pub recipients: Vec<Address>,
    /// What stands where an address should, and why it is none.
    pub refused: Vec<(String, BadAddress)>,
    /// How many more there are, of either kind, than [`RECIPIENTS_MAX`].
    pub too_many: u64,
}

/// Reads a batch of any form, one letter at a time, in bounded memory.
pub struct Reader<'a> {
    input: Box<dyn BufRead + 'a>,
    packed: bool,
    /// Within a text: what is left of it is passed over before the next letter.
    text: Option<Place>,
    begun: Option<Letter>,
    idle: u32,
    flaws: u64,
    first_flaw: Option<String>,
}

/// Where in a line of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Within,
    /// Behind a dot at a line's start, and behind a CR after it.
    Dot,
    DotCr,
}

/// What a line says.
enum Said {
    Mail(Result<Option<Address>, BadAddress>),
    Rcpt(String, Result<Address, BadAddress>),
    Data,
    /// The letter that was begun is not meant any more.
    Reset,
    /// Another batch begins or ends: HELO, EHLO, QUIT.
    Other,
    /// What needs no answer, and was meant for somebody who gives one.
    Nothing,
    /// No command at all: a text that was not stuffed with dots, noise.
    Stray(String),
}

impl<'a> Reader<'a> {
    /// Finds out the form.
    pub fn new(input: impl Read + 'a) -> io::Result<Self> {
        let (input, packed) = unpacked(input)?;
        Ok(Self { input, packed, text: None, begun: None, idle: 0, flaws: 0, first_flaw: None })
    }

    /// Whether it was compressed: then a few bytes may stand for very many.
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// The envelope of the next letter, whose [`text`](Self::text) follows. An error means that the rest cannot be read.
    pub fn next_letter(&mut self) -> io::Result<Option<Letter>> {
        loop {
            if self.text.is_some() {
                io::copy(&mut self.text(), &mut io::sink())?;
            }
            let Some(line) = self.line()? else {
                self.drop_begun("it ends where the text of a letter should begin");
                return Ok(None);
            };
            self.idle += 1;
            match said(&line) {
                Said::Mail(sender) => {
                    self.drop_begun("a letter has no text");
                    self.begun = Some(Letter { sender, recipients: Vec::new(), refused: Vec::new(), too_many: 0 });
                }
                Said::Rcpt(written, recipient) => self.recipient(written, recipient),
                Said::Data => {
                    (self.text, self.idle) = (Some(Place::Start), 0);
                    match self.begun.take() {
                        Some(letter) if !letter.recipients.is_empty() || !letter.refused.is_empty() => {
                            return Ok(Some(letter));
                        }
                        Some(_) => self.flaw("a letter has no recipient".to_owned()),
                        None => self.flaw("a letter has no sender".to_owned()),
                    }
                }
                Said::Reset => self.begun = None,
                Said::Other => self.drop_begun("a letter has no text"),
                Said::Nothing => {}
                Said::Stray(line) => self.flaw(format!("this is no command: {line}")),
            }
            if self.idle > BATCH_IDLE_COMMANDS_MAX {
                return Err(damaged(format!("{} lines in a row lead to no letter", self.idle)));
            }
        }
    }

    /// The text of the letter up to its lone dot, without its stuffing; line ends are as they came. A batch that ends before
    /// that dot is an error.
    pub fn text(&mut self) -> Text<'_, 'a> {
        Text(self)
    }

    /// What was wrong in the lines so far that belong to no letter, and so may have been one.
    pub fn flaws(&self) -> Option<String> {
        let first = self.first_flaw.as_ref()?;
        Some(match self.flaws {
            1 => format!("the batch is damaged: {first}"),
            count => format!("the batch is damaged in {count} places: {first}"),
        })
    }

    fn flaw(&mut self, why: String) {
        self.flaws += 1;
        self.first_flaw.get_or_insert(why);
    }

    fn drop_begun(&mut self, why: &str) {
        if self.begun.take().is_some() {
            self.flaw(why.to_owned());
        }
    }

    fn recipient(&mut self, written: String, recipient: Result<Address, BadAddress>) {
        let Some(letter) = &mut self.begun else {
            return self.flaw("a recipient stands before the sender".to_owned());
        };
        // So many may be there that this counts as going on.
        self.idle = 0;
        if letter.recipients.len() + letter.refused.len() >= RECIPIENTS_MAX {
            letter.too_many += 1;
            return;
        }
        match recipient {
            Ok(recipient) => letter.recipients.push(recipient),
            Err(why) => letter.refused.push((written, why)),
        }
    }

    /// The next line without its end; of one that is too long the beginning.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.input).take(SMTP_COMMAND_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() == SMTP_COMMAND_MAX && !line.ends_with(b"\n") {
            self.input.skip_until(b'\n')?;
        }
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        let end = end.strip_suffix(b"\r").unwrap_or(end).len();
        line.truncate(end);
        Ok(Some(line))
    }
}

fn said(line: &[u8]) -> Said {
    // What fills up the last block of a file: NULs, and the ^Z of DOS.
    let line = line.trim_ascii();
    if line.iter().all(|byte| matches!(byte, 0 | 0x1a)) {
        return Said::Nothing;
    }
    let shown = || {
        let line = String::from_utf8_lossy(line);
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect::<String>()
    };
    let space = memchr(b' ', line).unwrap_or(line.len());
    let (verb, rest) = line.split_at(space);
    let verb = verb.to_ascii_uppercase();
    let written = || String::from_utf8_lossy(rest).trim().chars().take(200).collect::<String>();
    let address = |keyword| match std::str::from_utf8(rest) {
        Ok(rest) if !line.contains(&0) => unanswered_address(rest, keyword),
        Ok(_) | Err(_) => Err(BadAddress("it is no UTF-8, or has a NUL")),
    };
    match verb.as_slice() {
        b"MAIL" => Said::Mail(address("FROM:")),
        b"RCPT" => {
            let recipient = address("TO:").and_then(|to| to.ok_or(BadAddress("it is empty")));
            Said::Rcpt(written(), recipient)
        }
        b"DATA" => Said::Data,
        b"RSET" => Said::Reset,
        b"HELO" | b"EHLO" | b"QUIT" => Said::Other,
        // TICK, VERB, ONEX are of BITNET's and sendmail's batches.
        b"NOOP" | b"HELP" | b"VRFY" | b"EXPN" | b"ETRN" | b"TICK" | b"VERB" | b"ONEX" => Said::Nothing,
        [b'X', more @ ..] if !more.is_empty() && more.iter().all(u8::is_ascii_alphanumeric) => Said::Nothing,
        _ => Said::Stray(shown()),
    }
}

/// What stands between DATA and the lone dot.
pub struct Text<'r, 'a>(&'r mut Reader<'a>);

impl Read for Text<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let Some(place) = self.0.text else { break };
            let input = self.0.input.fill_buf()?;
            let Some(&byte) = input.first() else {
                return Err(damaged("the batch ends in the middle of a letter".to_owned()));
            };
            // How many bytes are done with, how many of them belong to the text, and where that leads.
            let (used, kept, next) = match (place, byte) {
                (Place::Start, b'.') => (1, 0, Some(Place::Dot)),
                (Place::Dot | Place::DotCr, b'\n') => (1, 0, None),
                (Place::Dot, b'\r') => (1, 0, Some(Place::DotCr)),
                (Place::DotCr, _) => {
                    // That CR was the line's.
                    out[filled] = b'\r';
                    filled += 1;
                    (0, 0, Some(Place::Within))
                }
                (Place::Start | Place::Within | Place::Dot, _) => {
                    let room = &input[..input.len().min(out.len() - filled)];
                    match memmem::find(room, b"\n.") {
                        Some(at) => (at + 1, at + 1, Some(Place::Start)),
                        None if room.ends_with(b"\n") => (room.len(), room.len(), Some(Place::Start)),
                        None => (room.len(), room.len(), Some(Place::Within)),
                    }
                }
            };
            out[filled..filled + kept].copy_from_slice(&input[..kept]);
            filled += kept;
            self.0.input.consume(used);
            self.0.text = next;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse_smtp(text).expect(text)
    }

    fn written(packing: Packing, letters: &[(&str, &[&str], &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), packing, "mx.village.example").expect("written to memory");
        for (sender, recipients, text) in letters {
            let recipients: Vec<Address> = recipients.iter().map(|to| address(to)).collect();
            let sender = (!sender.is_empty()).then(|| address(sender));
            writer.begin(sender.as_ref(), &recipients).expect("written to memory");
            text.as_bytes().chunks(3).for_each(|piece| writer.write_all(piece).expect("written to memory"));
            writer.end().expect("written to memory");
        }
        writer.finish().expect("written to memory")
    }

    /// Gives bytes in pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(self.0.len()).min(self.1);
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// The letters of a batch in words, and what is wrong with it; alike in any split.
    fn read(batch: &[u8]) -> String {
        let told = [1, 2, 7, batch.len().max(1)].map(|piece| read_in_pieces(batch, piece));
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
        told[0].clone()
    }

    fn read_in_pieces(batch: &[u8], piece: usize) -> String {
        let mut reader = match Reader::new(Pieces(batch, piece)) {
            Ok(reader) => reader,
            Err(error) => return format!("error: {error}"),
        };
        let mut told = Vec::new();
        loop {
            match reader.next_letter() {
                Ok(Some(letter)) => {
                    let sender = match letter.sender {
                        Ok(sender) => sender.map(|sender| sender.to_string()).unwrap_or_default(),
                        Err(why) => why.to_string(),
                    };
                    let to: Vec<String> = letter.recipients.iter().map(Address::to_string).collect();
                    let refused: String = letter.refused.iter().map(|(written, _)| format!(" not {written}")).collect();
                    let mut text = String::new();
                    let ended = match reader.text().read_to_string(&mut text) {
                        Ok(_) => String::new(),
                        Err(error) => format!(" ({error})"),
                    };
                    told.push(format!("<{sender}> to {}{refused}: {}{ended}", to.join(" "), text.escape_debug()));
                    if !ended.is_empty() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    told.push(format!("error: {error}"));
                    break;
                }
            }
        }
        told.extend(reader.flaws());
        told.join("\n")
    }

    #[test]
    fn a_batch_is_written_with_lf_and_without_what_only_answers_could_allow() {
        let letters: [(&str, &[&str], &str); 3] = [
            ("ann@village.example", &["bob@far.example", "x!carl"], "Subject: 1\n\n.\n..dots\nno end"),
            ("", &["b\u{fc}b@far.example"], "A: \u{e4}\r\n\r\nx\r.\ry\n"),
            ("ann@village.example", &["\"a b\"@far.example"], ""),
        ];
        let expected = "HELO mx.village.example\n\
            MAIL FROM:<ann@village.example>\nRCPT TO:<bob@far.example>\nRCPT TO:<x!carl>\nDATA\n\
            Subject: 1\n\n..\n...dots\nno end\n.\n\
            MAIL FROM:<>\nRCPT TO:<b\u{fc}b@far.example>\nDATA\nA: \u{e4}\n\nx\n..\ny\n.\n\
            MAIL FROM:<ann@village.example>\nRCPT TO:<\"a b\"@far.example>\nDATA\n.\nQUIT\n";
        assert_eq!(String::from_utf8(written(Packing::Plain, &letters)).expect("text"), expected);
        let read_back = "<ann@village.example> to bob@far.example x!carl: Subject: 1\\n\\n.\\n..dots\\nno end\\n\n\
            <> to b\u{fc}b@far.example: A: \u{e4}\\n\\nx\\n.\\ny\\n\n\
            <ann@village.example> to \"a b\"@far.example: ";
        for packing in [Packing::Plain, Packing::Gzip, Packing::Compress] {
            let batch = written(packing, &letters);
            assert_eq!(read(&batch), read_back, "{packing:?}");
            assert!(COMMANDS.contains(&command(packing)));
        }
        let packed = written(Packing::Compress, &letters);
        assert!(packed.starts_with(&super::super::compress::MAGIC));
        assert_eq!(read(&[b"#! cunbatch\n", &packed[..]].concat()), read_back);
    }

    #[test]
    fn batches_of_every_habit_are_read() {
        let letter = "<ann@x> to bob@y: A: 1\\n\\nHi\\n";
        for batch in [
            "MAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nDATA\nA: 1\n\nHi\n.\n",
            "helo hub\nmail from:<ann@x>\nrcpt to:<bob@y>\ndata\nA: 1\n\nHi\n.\nquit\n",
            "EHLO hub\nMAIL FROM: <ann@x> BODY=8BITMIME RET=HDRS ENVID=1\nRCPT TO:<bob@y> NOTIFY=NEVER\nDATA\nA: 1\n\nHi\n.\nQUIT",
            "MAIL FROM: ann@x\nRCPT TO: bob@y SIZE=1\nDATA \nA: 1\n\nHi\n.\n\n\n",
            "RSET\nNOOP\nHELP me\nVRFY ann\nXVERP\nTICK 1\nMAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nDATA\nA: 1\n\nHi\n.\nQUIT\n\0\0\0\x1a\0",
            "MAIL FROM:<gone@x>\nRCPT TO:<bob@y>\nRSET\nMAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nDATA\nA: 1\n\nHi\n.\nRSET\n",
        ] {
            assert_eq!(read(batch.as_bytes()), letter, "{batch:?}");
        }
        let crlf = "HELO hub\r\nMAIL FROM:<ann@x>\r\nRCPT TO:<bob@y>\r\nDATA\r\nA: 1\r\n\r\n..\r\n.\r\nQUIT\r\n";
        assert_eq!(read(crlf.as_bytes()), "<ann@x> to bob@y: A: 1\\r\\n\\r\\n.\\r\\n");
        let two = "HELO a\nMAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nDATA\nA: 1\n\nHi\n.\nQUIT\n".repeat(2);
        assert_eq!(read(two.as_bytes()), format!("{letter}\n{letter}"), "one behind the other");
        assert_eq!(read(b""), "");
        assert_eq!(read(b"HELO a\nQUIT\n"), "");
    }

    #[test]
    fn a_lone_dot_is_that_and_every_other_dot_is_text() {
        let text = |text: &str| read(format!("MAIL FROM:<>\nRCPT TO:<b>\nDATA\n{text}\n.\n").as_bytes());
        for (stuffed, expected) in [
            ("..", ".\\n"),
            ("...", "..\\n"),
            ("..\r", ".\\r\\n"),
            (".\rx", "\\rx\\n"),
            (".\r\r", "\\r\\r\\n"),
            (".x", "x\\n"),
            ("x.\n.x.\n", "x.\\nx.\\n\\n"),
            ("x\r.\r.", "x\\r.\\r.\\n"),
            ("", "\\n"),
        ] {
            assert_eq!(text(stuffed), format!("<> to b: {expected}"), "{stuffed:?}");
        }
    }

    #[test]
    fn what_belongs_to_no_letter_is_told_and_costs_no_other() {
        let good = "MAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nDATA\nA: 1\n\nHi\n.\n";
        let whole = "<ann@x> to bob@y: A: 1\\n\\nHi\\n\n";
        for (between, why) in [
            ("MAIL FROM:<ann@x>\nRCPT TO:<bob@y>\n", "the batch is damaged: a letter has no text"),
            ("MAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nHELO b\n", "the batch is damaged: a letter has no text"),
            ("DATA\nx\n.\n", "the batch is damaged: a letter has no sender"),
            ("MAIL FROM:<ann@x>\nDATA\nx\n.\n", "the batch is damaged: a letter has no recipient"),
            ("RCPT TO:<bob@y>\n", "the batch is damaged: a recipient stands before the sender"),
            ("and so on\nM\0IL\n", "the batch is damaged in 2 places: this is no command: and so on"),
        ] {
            assert_eq!(read(format!("{good}{between}{good}").as_bytes()), format!("{whole}{whole}{why}"));
        }
        let cut = |behind: &str| read(format!("{good}{behind}").as_bytes());
        let unfinished = "the batch is damaged: it ends where the text of a letter should begin";
        assert_eq!(cut("MAIL FROM:<ann@x>\nRCPT TO:<bo"), format!("{whole}{unfinished}"));
        assert_eq!(
            cut("MAIL FROM:<ann@x>\nRCPT TO:<bob@y>\nDATA\nA: 1\n"),
            format!("{whole}<ann@x> to bob@y:  (the batch ends in the middle of a letter)")
        );
    }

    #[test]
    fn addresses_that_are_none_are_told_with_the_letter() {
        let batch = b"MAIL FROM:<a b>\nRCPT TO:<bob@y>\nRCPT TO:<;rm>\nRCPT\nRCPT TO:<>\nRCPT TO:<b\xff>\nDATA\n.\n";
        let expected = "<bad address: it holds a character that no address may hold> to bob@y not TO:<;rm> not  not TO:<> \
                        not TO:<b\u{fffd}>: ";
        assert_eq!(read(batch), expected);
    }

    #[test]
    fn endless_batches_have_an_end() {
        let idle = "NOOP\n".repeat(2000);
        assert_eq!(read(idle.as_bytes()), "error: 1001 lines in a row lead to no letter");
        let many = "RCPT TO:<bob@y>\n".repeat(RECIPIENTS_MAX + 500);
        let batch = format!("MAIL FROM:<>\n{many}DATA\n.\n");
        let mut reader = Reader::new(batch.as_bytes()).expect("a batch");
        let letter = reader.next_letter().expect("readable").expect("a letter");
        assert_eq!((letter.recipients.len(), letter.too_many), (RECIPIENTS_MAX, 500));
        let long = format!("NOOP {}\nMAIL FROM:<>\nRCPT TO:<b>\nDATA\n.\n", "x".repeat(SMTP_COMMAND_MAX * 3));
        assert_eq!(read(long.as_bytes()), "<> to b: ");
    }

    #[test]
    fn damage_in_a_packed_batch_is_an_error_behind_what_could_be_read() {
        let letters: [(&str, &[&str], &str); 1] = [("ann@x", &["bob@y"], "A: 1\n\nHi\n")];
        let mut packed = written(Packing::Gzip, &letters);
        let at = packed.len() - 6;
        packed[at] ^= 1;
        let told = read(&packed);
        assert!(told.starts_with("<ann@x> to bob@y: A: 1\\n\\nHi\\n\nerror: "), "{told}");
        for (magic, name) in [(&b"BZh9"[..], "bzip2"), (b"\x1f\x9f", "freeze"), (b"\xfd7zXZ\0", "xz")] {
            assert_eq!(read(magic), format!("error: the batch is packed with {name}, which is not known here"));
        }
    }
}
