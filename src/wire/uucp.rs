//! What UUCP says in words: handshake messages, commands and replies, `X.` files.

use std::fmt::Write as _;

use crate::base::limits::{EXECUTION_FILE_MAX, EXECUTION_FILES_MAX, HANDSHAKE_MESSAGE_MAX, WIRE_NAME_MAX};
use crate::base::wishes::Reports;

const DLE: u8 = 0x10;

/// Why a line from a peer cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// `DLE text NUL`.
pub fn handshake_message(text: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(text.len() + 2);
    message.push(DLE);
    message.extend_from_slice(text.as_bytes());
    message.push(0);
    message
}

/// Finds handshake messages in whatever else the line carries: banners, echo, leftover packets.
///
/// A message begins at a DLE (a second one begins it anew) and ends at NUL, LF or CR (4.3BSD ends with LF).
/// The eighth bit is stripped, for lines with parity.
#[derive(Debug, Default)]
pub struct HandshakeReader {
    text: Option<Vec<u8>>,
}

impl HandshakeReader {
    /// Takes one byte; gives a message when it was its last.
    pub fn push(&mut self, byte: u8) -> Option<String> {
        let byte = byte & 0x7f;
        match (byte, &mut self.text) {
            (DLE, text) => *text = Some(Vec::new()),
            (_, None) => {}
            (0 | b'\n' | b'\r', Some(text)) => {
                let text = std::mem::take(text);
                self.text = None;
                return (!text.is_empty()).then(|| text.into_iter().map(char::from).collect());
            }
            // Too long to be a message: noise that happened to hold a DLE.
            (_, Some(text)) if text.len() >= HANDSHAKE_MESSAGE_MAX => self.text = None,
            (0x20..0x7f, Some(text)) => text.push(byte),
            (_, Some(_)) => self.text = None,
        }
        None
    }
}

/// What both ends of a call can do beyond the oldest form: the bits of `-N` and `ROKN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(pub u32);

impl Features {
    /// Sizes in S, E and R commands.
    pub const SIZES: Self = Self(0o1);
    /// Positions in SY and EY.
    pub const RESTART: Self = Self(0o2);
    /// The E command.
    pub const EXECUTE: Self = Self(0o4);
    /// Sizes are decimal: the form of Taylor 1.03, which gives no number behind `-N`.
    pub const DECIMAL: Self = Self(0o10);
    /// A dummy word stands before the size: SVR4. Never on the wire.
    pub const SVR4: Self = Self(0o20);
    /// Names may be quoted with backslashes.
    pub const QUOTING: Self = Self(0o40);
    /// The peer is bangpath, too: what only two of us do may be done. Known to nobody else, and others pass over bits they do not know.
    pub const BANGPATH: Self = Self(0o1000);
    /// What we announce: what Taylor 1.07 does, and who we are.
    pub const OURS: Self = Self(0o1047);

    /// An R may go on where an earlier one stopped. Other programs do not say whether the file is still the same.
    pub const FETCH_RESTART: Self = Self::SIZES.with(Self::RESTART).with(Self::BANGPATH);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    pub const fn without(self, bits: Self) -> Self {
        Self(self.0 & !bits.0)
    }

    const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What `-R` without `-N` means on both sides.
    const RESTARTS_AS_SVR4: Self = Self(0o1 | 0o2 | 0o20);
    const AS_1_03: Self = Self(0o1 | 0o10);
}

/// The caller's `S` line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallerLine {
    pub name: String,
    /// `-Q`: the number of this conversation.
    pub sequence: Option<u32>,
    /// `-p` or `-vgrade=`: send us only this grade or better.
    pub grade: Option<char>,
    /// `-R`: can restart files.
    pub restart: bool,
    /// `-N`: its features. `Some(None)` is the bare `-N` of Taylor 1.03.
    pub features: Option<Option<u32>>,
    /// `-U`: the caller's file size limit in bytes.
    pub size_max: Option<u64>,
}

impl CallerLine {
    /// Parses the text behind the `S`. Options nobody knows are passed over, as every known program does.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut words = text.split_ascii_whitespace();
        let name = words.next().ok_or(Malformed("the caller gave no name"))?;
        if name.len() > 64 {
            return Err(Malformed("the caller's name is too long"));
        }
        let mut line = Self { name: name.to_owned(), ..Self::default() };
        for word in words {
            let option = word.strip_prefix('-').unwrap_or("");
            let value = option.get(1..).unwrap_or("");
            match option.chars().next() {
                Some('Q') => line.sequence = value.parse().ok(),
                Some('p') => line.grade = line.grade.or(value.chars().next()),
                Some('v') => {
                    let grade = value.strip_prefix("grade=").and_then(|g| g.chars().next());
                    line.grade = line.grade.or(grade);
                }
                Some('R') => line.restart = true,
                Some('N') => line.features = Some(c_number(value).and_then(|n| u32::try_from(n).ok())),
                Some('U') => line.size_max = c_number(value).filter(|n| *n > 0).map(|n| n.saturating_mul(512)),
                _ => {}
            }
        }
        Ok(line)
    }

    /// The whole message, with its `S`; options in Taylor's order.
    pub fn print(&self) -> String {
        let mut text = format!("S{}", self.name);
        if let Some(n) = self.sequence {
            let _ = write!(text, " -Q{n}");
        }
        if let Some(g) = self.grade {
            let _ = write!(text, " -p{g} -vgrade={g}");
        }
        if self.restart {
            text.push_str(" -R");
        }
        match self.features {
            Some(Some(bits)) => {
                let _ = write!(text, " -N0{bits:o}");
            }
            Some(None) => text.push_str(" -N"),
            None => {}
        }
        text
    }

    /// What an answerer says to this line, and the features then in use. 4.3BSD and HDB accept exactly `OK`,
    /// so nothing is volunteered that was not asked for.
    pub fn welcome(&self) -> (String, Features) {
        match (self.features, self.restart) {
            (Some(Some(bits)), _) => {
                let common = Features::OURS.both(Features(bits));
                let said = Features::OURS.without(Features::BANGPATH).with(common);
                (format!("ROKN0{:o}", said.0), common)
            }
            (Some(None), _) => ("ROKN".to_owned(), Features::AS_1_03),
            (None, true) => ("ROK -R".to_owned(), Features::RESTARTS_AS_SVR4),
            (None, false) => ("ROK".to_owned(), Features::default()),
        }
    }
}

/// The answer to the `S` line, as the caller reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// Accepted; the features in use and the answerer's file size limit in bytes.
    Accepted { features: Features, size_max: Option<u64> },
    /// Refused, with the text behind the `R`.
    Refused(String),
}

impl Welcome {
    /// Parses the text behind the `R`.
    pub fn parse(text: &str) -> Self {
        let Some(rest) = text.strip_prefix("OK") else {
            return Self::Refused(text.to_owned());
        };
        if let Some(number) = rest.strip_prefix('N') {
            let number = number.split_ascii_whitespace().next().unwrap_or("");
            let features = match c_number(number).and_then(|n| u32::try_from(n).ok()) {
                Some(bits) => Features::OURS.both(Features(bits)),
                None => Features::AS_1_03,
            };
            return Self::Accepted { features, size_max: None };
        }
        let mut features = Features::default();
        let mut size_max = None;
        for word in rest.split_ascii_whitespace() {
            if word == "-R" {
                features = Features::RESTARTS_AS_SVR4;
            } else if let Some(limit) = word.strip_prefix("-U") {
                size_max = c_number(limit).filter(|n| *n > 0).map(|n| n.saturating_mul(512));
            }
        }
        Self::Accepted { features, size_max }
    }
}

/// A command of the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Send(SendCommand),
    /// With the command line to be run at the receiver.
    Execute(SendCommand, String),
    Receive {
        from: String,
        to: String,
        user: String,
        options: String,
        size_max: Option<u64>,
        /// Where to begin: only in the form of SVR4.
        position: Option<u64>,
        /// Where to begin if the file is still this one: only with [`Features::FETCH_RESTART`].
        restart: Option<Restart>,
    },
    Expand {
        from: String,
        to: String,
        user: String,
        options: String,
    },
    Hangup,
}

/// Where a file that is fetched goes on. On the wire `0x1000 0x9f3c`, behind the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    pub position: u64,
    /// What tells this file from what its name meant earlier. Of no meaning but to who has said it.
    pub version: u64,
}

impl Restart {
    fn parse(words: &[&str]) -> Option<Self> {
        let &[position, version] = words.get(..2)?.first_chunk()?;
        Some(Self { position: c_number(position)?, version: c_number(version)? })
    }
}

impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:x} 0x{:x}", self.position, self.version)
    }
}

/// The fields of S, and of E before its command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendCommand {
    pub from: String,
    pub to: String,
    pub user: String,
    /// Letters behind the minus, without it and without the `q` of quoting.
    pub options: String,
    pub temp: String,
    pub mode: u32,
    pub notify: String,
    pub size: Option<u64>,
}

/// An answer of the slave, or a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `S`, `E`, `R`, `X`, `H`, or `C` for a confirmation.
    pub verb: char,
    pub yes: bool,
    /// The digit behind a no.
    pub reason: Option<u32>,
    /// Behind `RY`: the mode.
    pub mode: Option<u32>,
    /// Behind `SY`, `EY`: the position to start from. Behind `RY mode`: the size.
    pub number: Option<u64>,
    /// Behind `RY mode size`, with [`Features::FETCH_RESTART`]: where the bytes begin, and what file they are of.
    pub restart: Option<Restart>,
}

impl Reply {
    pub fn yes(verb: char) -> Self {
        Self { verb, yes: true, reason: None, mode: None, number: None, restart: None }
    }

    pub fn no(verb: char, reason: Option<u32>) -> Self {
        Self { verb, yes: false, reason, mode: None, number: None, restart: None }
    }

    pub fn print(&self) -> String {
        let mut text = format!("{}{}", self.verb, if self.yes { 'Y' } else { 'N' });
        if let Some(reason) = self.reason {
            let _ = write!(text, "{reason}");
        }
        if let Some(mode) = self.mode {
            let _ = write!(text, " 0{mode:o}");
        }
        if let Some(number) = self.number {
            let _ = write!(text, " 0x{number:x}");
        }
        if let Some(restart) = self.restart {
            let _ = write!(text, " {restart}");
        }
        text
    }
}

/// Either of the two things that a protocol carries as a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Command(Command),
    Reply(Reply),
}

/// Parses a line of the conversation. `features` decides whether the last words are a size.
pub fn parse_line(bytes: &[u8], features: Features) -> Result<Line, Malformed> {
    // Latin-1 keeps every byte; names are compared as they came.
    let text: String = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    };
    let text = text.trim_end_matches(['\n', '\r', ' ']);
    let mut chars = text.chars();
    let verb = chars.next().ok_or(Malformed("an empty command"))?;
    match chars.next() {
        Some(second @ ('Y' | 'N')) if "SREXHC".contains(verb) => {
            parse_reply(verb, second == 'Y', &text[2..]).map(Line::Reply)
        }
        Some(' ' | '\t') | None => parse_command(verb, text, features).map(Line::Command),
        Some(_) => Err(Malformed("an unknown command")),
    }
}

fn parse_reply(verb: char, yes: bool, rest: &str) -> Result<Reply, Malformed> {
    let mut reply = if yes { Reply::yes(verb) } else { Reply::no(verb, None) };
    // The mark M ("let me be master") stands anywhere: directly behind a number, or as a word (BSD).
    let mut words = rest.split_ascii_whitespace().map(|w| w.trim_end_matches('M')).filter(|w| !w.is_empty());
    match (verb, yes) {
        ('R', true) => {
            reply.mode = words.next().and_then(|w| u32::from_str_radix(w, 8).ok()).filter(|m| *m != 0);
            reply.number = words.next().and_then(c_number);
            reply.restart = Restart::parse(&words.collect::<Vec<_>>());
        }
        (_, true) => reply.number = words.next().and_then(c_number),
        (_, false) => reply.reason = words.next().and_then(|w| w.parse().ok()),
    }
    Ok(reply)
}

fn parse_command(verb: char, text: &str, features: Features) -> Result<Command, Malformed> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let field = |n: usize| words.get(n).copied().ok_or(Malformed("the command has too few words"));
    let options = || match field(4)?.strip_prefix('-') {
        Some(letters) => Ok(letters.to_owned()),
        None => Err(Malformed("the options do not begin with a minus")),
    };
    match verb {
        'H' if words.len() == 1 => Ok(Command::Hangup),
        'S' | 'E' => {
            let options = options()?;
            let name = |n: usize| unquote(field(n)?, &options);
            let mode = u32::from_str_radix(field(6)?, 8).map_err(|_| Malformed("the mode is no number"))?;
            let mut send = SendCommand {
                from: name(1)?,
                to: name(2)?,
                user: name(3)?,
                temp: field(5)?.to_owned(),
                mode,
                ..SendCommand::default()
            };
            send.notify = words.get(7).map_or(Ok(String::new()), |w| unquote(w, &options))?;
            if send.notify == "\"\"" {
                send.notify.clear();
            }
            // In E the size is one of the words that must be there.
            if verb == 'E' || features.has(Features::SIZES) {
                // SVR4 writes a dummy word before the size, in one of two places.
                let at = if words.get(8) == Some(&"dummy") { 9 } else { 8 };
                send.size = words.get(at).and_then(|w| c_number(w));
            }
            send.options = options.replace('q', "");
            check_names([&send.from, &send.to, &send.temp])?;
            if verb == 'S' {
                return Ok(Command::Send(send));
            }
            field(8)?;
            let command = nth_rest(text, 9).ok_or(Malformed("the E command names no command"))?;
            Ok(Command::Execute(send, command.to_owned()))
        }
        'R' | 'X' => {
            let options = options()?;
            let name = |n: usize| unquote(field(n)?, &options);
            let (from, to, user) = (name(1)?, name(2)?, name(3)?);
            check_names([&from, &to, &user])?;
            let options = options.replace('q', "");
            if verb == 'X' {
                return Ok(Command::Expand { from, to, user, options });
            }
            // `R from to user -options dummy mode owner temp 0xposition`, as SVR4 writes it. Taylor reads it of everybody.
            let svr4 = words.get(5) == Some(&"dummy");
            let position = words.get(9).filter(|_| svr4).map(|w| c_number(w).unwrap_or(0));
            // A negative or overlong number means no limit.
            let size_max = words
                .get(5)
                .and_then(|w| c_number(w))
                .filter(|n| features.has(Features::SIZES) && *n < u64::from(u32::MAX));
            let restart = words.get(6..).filter(|_| features.has(Features::FETCH_RESTART)).and_then(Restart::parse);
            Ok(Command::Receive { from, to, user, options, size_max, position, restart })
        }
        _ => Err(Malformed("an unknown command")),
    }
}

fn check_names<const N: usize>(names: [&String; N]) -> Result<(), Malformed> {
    for name in names {
        if name.len() > WIRE_NAME_MAX || name.contains(['\0', '\n', '\r']) {
            return Err(Malformed("a file name is too long or holds a control character"));
        }
    }
    Ok(())
}

/// What stands behind the first `n` words and one blank, inner blanks kept, cut at a newline.
fn nth_rest(text: &str, n: usize) -> Option<&str> {
    let mut rest = text;
    for _ in 0..n {
        rest = rest.trim_start_matches([' ', '\t']);
        rest = &rest[rest.find([' ', '\t'])?..];
    }
    let rest = rest.get(1..)?.split('\n').next()?.trim();
    (!rest.is_empty()).then_some(rest)
}

impl Command {
    /// The line for a peer with these features. `Err` where a name cannot be said to it.
    pub fn print(&self, features: Features) -> Result<String, Malformed> {
        match self {
            Self::Hangup => Ok("H".to_owned()),
            Self::Send(send) => send.print('S', features),
            Self::Execute(send, command) => Ok(format!("{} {command}", send.print('E', features)?)),
            Self::Receive { from, to, user, options, size_max, restart, position: _ } => {
                let (names, q) = quote_all([from, to, user], features)?;
                let mut text = format!("R {} -{options}{q}", names.join(" "));
                if features.has(Features::SIZES) && !features.has(Features::SVR4) {
                    match (size_max, features.has(Features::DECIMAL)) {
                        (Some(n), false) => write!(text, " 0x{n:x}"),
                        (Some(n), true) => write!(text, " {n}"),
                        (None, false) => write!(text, " 0x{:x}", u64::MAX),
                        (None, true) => write!(text, " -1"),
                    }
                    .expect("writing to a string");
                }
                if let Some(restart) = restart.filter(|_| features.has(Features::FETCH_RESTART)) {
                    let _ = write!(text, " {restart}");
                }
                Ok(text)
            }
            Self::Expand { from, to, user, options } => {
                let (names, q) = quote_all([from, to, user], features)?;
                Ok(format!("X {} -{options}{q}", names.join(" ")))
            }
        }
    }
}

impl SendCommand {
    fn print(&self, verb: char, features: Features) -> Result<String, Malformed> {
        let (names, q) = quote_all([&self.from, &self.to, &self.user, &self.notify], features)?;
        let [from, to, user, notify] = names;
        let mut text = format!("{verb} {from} {to} {user} -{}{q} {} 0{:o}", self.options, self.temp, self.mode);
        let size = if verb == 'E' { Some(self.size.unwrap_or(0)) } else { self.size };
        // XP may announce E without sizes; in E the word stands nevertheless.
        match size.filter(|_| verb == 'E' || features.has(Features::SIZES)) {
            Some(size) => {
                let notify = if notify.is_empty() { "\"\"" } else { &notify };
                let _ = write!(text, " {notify}");
                if features.has(Features::SVR4) {
                    text.push_str(" dummy");
                }
                let _ =
                    if features.has(Features::DECIMAL) { write!(text, " {size}") } else { write!(text, " 0x{size:x}") };
            }
            // Taylor leaves the empty field there too; HDB and SVR4 want the first seven words only.
            None => {
                let _ = write!(text, " {notify} ");
            }
        }
        Ok(text)
    }
}

/// Quotes names where one needs it; the second value is `q` then.
fn quote_all<const N: usize>(
    names: [&String; N],
    features: Features,
) -> Result<([String; N], &'static str), Malformed> {
    let plain = |n: &str| n.bytes().all(|b| b > 0x20 && b != 0x7f && b != b'\\');
    if names.iter().all(|n| plain(n)) {
        return Ok((names.map(Clone::clone), ""));
    }
    if !features.has(Features::QUOTING) {
        return Err(Malformed("the name holds blanks, and the peer does not know how to quote"));
    }
    Ok((names.map(|n| quote(n)), "q"))
}

/// Blanks and controls as `\ooo`, a backslash doubled.
fn quote(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0'..=' ' | '\x7f' => {
                let _ = write!(out, "\\{:03o}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out
}

fn unquote(name: &str, options: &str) -> Result<String, Malformed> {
    if !options.contains('q') {
        return Ok(name.to_owned());
    }
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => out.push(b'\\'),
            Some(a @ b'0'..=b'3') => match (bytes.next(), bytes.next()) {
                (Some(b @ b'0'..=b'7'), Some(c @ b'0'..=b'7')) => {
                    out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
                }
                _ => return Err(Malformed("a bad escape in a quoted name")),
            },
            _ => return Err(Malformed("a bad escape in a quoted name")),
        }
    }
    String::from_utf8(out).map_err(|_| Malformed("a quoted name is not text"))
}

/// A number by the rules of C: 0x hexadecimal, 0 octal, else decimal. What is too large is `u64::MAX`.
fn c_number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if word.len() > 1 && word.starts_with('0') => (&word[1..], 8),
        None => (word, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}

/// An execution file: what it asks for. Letters nobody needs here are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutionFile {
    /// `C`: program and arguments.
    pub command: String,
    /// `U`: who asked, from which system. Not to be trusted.
    pub user: String,
    pub system: String,
    /// `I`: standard input.
    pub input: Option<String>,
    /// `F`: files that must be there, and the name that the command has for each.
    pub files: Vec<(String, Option<String>)>,
    /// `O`: where its output goes.
    pub output: Option<Output>,
    /// `R`: where mail about the job goes.
    pub requestor: Option<String>,
    /// `N`, `Z`, `n`: of what end mail tells.
    pub reports: Reports,
}

/// Where what a command writes is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub file: String,
    /// `None`: it stays where the command runs.
    pub site: Option<String>,
}

impl ExecutionFile {
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > EXECUTION_FILE_MAX {
            return Err(Malformed("the execution file is too long"));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut file = Self::default();
        let mut letters = String::new();
        for line in text.lines() {
            let mut chars = line.chars();
            let letter = chars.next();
            let rest = chars.as_str().trim();
            let mut words = rest.split_ascii_whitespace();
            let mut word = || words.next().unwrap_or("").to_owned();
            match letter {
                Some('C') => file.command = rest.to_owned(),
                Some('U') => (file.user, file.system) = (word(), word()),
                Some('I') => file.input = Some(word()),
                Some('F') => file.files.push((word(), Some(word()).filter(|name| !name.is_empty()))),
                Some('O') => {
                    let output = Output { file: word(), site: Some(word()).filter(|site| !site.is_empty()) };
                    file.output = Some(output).filter(|output| !output.file.is_empty());
                }
                Some('R') => file.requestor = Some(word()),
                Some(letter @ ('N' | 'Z' | 'n')) => letters.push(letter),
                _ => {}
            }
        }
        file.reports = Reports::parse(&letters);
        if file.command.is_empty() {
            return Err(Malformed("the execution file names no command"));
        }
        if file.files.len() > EXECUTION_FILES_MAX {
            return Err(Malformed("the execution file names too many files"));
        }
        Ok(file)
    }

    pub fn print(&self) -> String {
        let mut text = String::new();
        for (spool, name) in &self.files {
            let _ = match name {
                Some(name) => writeln!(text, "F {spool} {name}"),
                None => writeln!(text, "F {spool}"),
            };
        }
        if let Some(name) = &self.input {
            let _ = writeln!(text, "I {name}");
        }
        if let Some(Output { file, site }) = &self.output {
            let _ = match site {
                Some(site) => writeln!(text, "O {file} {site}"),
                None => writeln!(text, "O {file}"),
            };
        }
        let _ = writeln!(text, "U {} {}", self.user, self.system);
        if let Some(address) = &self.requestor {
            let _ = writeln!(text, "R {address}");
        }
        if self.reports != Reports::Unsaid {
            let _ = writeln!(text, "{}", self.reports.letter());
        }
        let _ = writeln!(text, "C {}", self.command);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Vec<String> {
        let mut reader = HandshakeReader::default();
        bytes.iter().filter_map(|b| reader.push(*b)).collect()
    }

    #[test]
    fn messages_are_found_among_noise() {
        assert_eq!(messages(b"Welcome!\r\n\x10She\x10Shere=beta\0\n\0\x10ROK\n"), ["Shere=beta", "ROK"]);
        assert_eq!(messages(b"\x90\xd3here\x8d"), ["Shere"]);
        assert_eq!(messages(&[&[DLE][..], &[b'a'; 5000], &[0], b"\x10Pg\0"].concat()), ["Pg"]);
        assert_eq!(messages(b"\x10\0\x10\x01\x02\0"), [""; 0]);
    }

    #[test]
    fn caller_lines() {
        let parse = |text: &str| CallerLine::parse(text).expect(text);
        let line = parse("alpha -Q5 -pZ -vgrade=Z -R -N047");
        assert_eq!(line.print(), "Salpha -Q5 -pZ -vgrade=Z -R -N047");
        assert_eq!(line.welcome(), ("ROKN047".to_owned(), Features::OURS.without(Features::BANGPATH)));
        assert_eq!(parse("alpha -R -N01047").welcome(), ("ROKN01047".to_owned(), Features::OURS));
        assert_eq!(parse("alpha -N").welcome().0, "ROKN");
        assert_eq!(parse("alpha -R -U0x7fffffff").welcome().0, "ROK -R");
        assert_eq!(parse("alpha -R -U0x7fffffff").size_max, Some(0x7fff_ffff * 512));
        // HDB: trailing blank, and exactly ROK wanted in answer. Unknown options are passed over.
        assert_eq!(parse("alpha -Q0 ").welcome().0, "ROK");
        assert_eq!(parse("alpha  -x9 -zzz --").welcome().1, Features::default());
        assert!(CallerLine::parse("").is_err());
    }

    #[test]
    fn welcomes() {
        let accepted = |bits: u32| Welcome::Accepted { features: Features(bits), size_max: None };
        assert_eq!(Welcome::parse("OKN047"), accepted(0o47));
        assert_eq!(Welcome::parse("OKN0447"), accepted(0o47));
        assert_eq!(Welcome::parse("OKN"), accepted(0o11));
        assert_eq!(Welcome::parse("OK"), accepted(0));
        assert_eq!(
            Welcome::parse("OK -R -U0x10 "),
            Welcome::Accepted { features: Features(0o23), size_max: Some(8192) }
        );
        assert_eq!(Welcome::parse("LCK"), Welcome::Refused("LCK".to_owned()));
    }

    fn round(text: &str, features: u32) {
        let features = Features(features);
        match parse_line(text.as_bytes(), features).expect(text) {
            Line::Command(command) => assert_eq!(command.print(features).expect(text), text),
            Line::Reply(reply) => assert_eq!(reply.print(), text),
        }
    }

    #[test]
    fn captured_commands_parse_and_print_alike() {
        round("E D.0001 D.alphaN0001 uucp -C D.0001 0666 \"\" 0x4a rmail bob", 0o47);
        round("E D.0001 D.alphaN0001 uucp -C D.0001 0666 \"\" 0x4a rmail bob", 0o4);
        round("E D.0001 D.betaN0001 uucp -CZR D.0001 0666 bob 0x4d rmail ann@alpha.example", 0o47);
        round("S /alpha/pub/hello.txt ~/incoming/hello.txt uucp -Cd D.0002 0644 \"\" 0x16", 0o47);
        round("S D.0001 D.alphaN0001 uucp - D.0001 0666 \"\" 74", 0o11);
        round("S D.0001 D.alphaN0001 uucp - D.0001 0666 \"\" dummy 0x4a", 0o23);
        round("S D.0001 D.alphaN0001 uucp - D.0001 0666  ", 0);
        round("S /a ~/two\\040words.txt uucp -Cdq D.0001 0644 \"\" 0x4", 0o47);
        round("R ~/wanted.txt /alpha/pub/got.txt uucp -d 0xffffffffffffffff", 0o47);
        round("R ~/wanted.txt /alpha/pub/got.txt uucp -d 0xffffffffffffffff 0x1000 0x9f3c", 0o1047);
        round("X ~/*.txt alpha!/alpha/pub/ uucp -d", 0o47);
        for line in [
            "H",
            "HY",
            "HN",
            "SY",
            "SY 0x1000",
            "SN2",
            "RY 0644 0x9a",
            "RY 0644 0x9a 0x10 0x9f3c",
            "CY",
            "CN5",
            "XY",
            "EN8",
        ] {
            round(line, 0o47);
        }
    }

    #[test]
    fn replies_of_every_dialect() {
        let reply = |text: &str| match parse_line(text.as_bytes(), Features::OURS) {
            Ok(Line::Reply(reply)) => reply,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!((reply("RY").mode, reply("RY 644 M").mode), (None, Some(0o644)));
        assert_eq!((reply("RY 0644M 0x9aM").mode, reply("RY 0644M 0x9aM").number), (Some(0o644), Some(0x9a)));
        assert!(reply("CYM").yes);
        assert_eq!(reply("CN").reason, None);
    }

    #[test]
    fn garbled_commands_are_refused() {
        for text in [
            "",
            "S a b",
            "S a b u C D.0 0666",
            "S a b u -C D.0 rw",
            "E a b u -C D.0 0666 \"\" 0x1",
            "Q",
            "SX",
            "HX x",
            "H x",
        ] {
            assert!(parse_line(text.as_bytes(), Features::OURS).is_err(), "{text}");
        }
        assert!(parse_line(b"S a\\777 b u -q D.0 0666", Features::OURS).is_err());
        assert!(parse_line(format!("S {} b u - D.0 0666", "x".repeat(999)).as_bytes(), Features::OURS).is_err());
        // Garbage behind the last field is no size where none was agreed; a size that does not parse is unknown.
        let size = |text: &str, bits| match parse_line(text.as_bytes(), Features(bits)) {
            Ok(Line::Command(Command::Send(send))) => send.size,
            other => panic!("{other:?}"),
        };
        assert_eq!(size("S a b u - D.0 0666 \"\" 0x10", 0), None);
        assert_eq!(size("S a b u - D.0 0666 \"\" 0xzz", 0o47), None);
        assert_eq!(size("S a b u - D.0 0666 \"\" 99999999999999999999999", 0o47), Some(u64::MAX));
    }

    #[test]
    fn execution_files() {
        let text = "F D.alphaN0001\nI D.alphaN0001\nU uucp alpha\nC rmail bob\n";
        let file = ExecutionFile::parse(text.as_bytes()).expect("an execution file");
        assert_eq!(file.print(), text);
        let uupc =
            "U user node\r\nR user@node.domain\r\nF D.node0A1Br\r\nI D.node0A1Br\r\nC rmail bob\r\n# Generated\r\n";
        let file = ExecutionFile::parse(uupc.as_bytes()).expect("an execution file");
        assert_eq!((file.input.as_deref(), file.command.as_str()), (Some("D.node0A1Br"), "rmail bob"));
        assert!(ExecutionFile::parse(b"U a b\n").is_err());
        assert!(ExecutionFile::parse(&[b'x'; EXECUTION_FILE_MAX + 1]).is_err());
        let many = |count| format!("{}C rnews\n", "F D.x\n".repeat(count));
        assert!(ExecutionFile::parse(many(EXECUTION_FILES_MAX).as_bytes()).is_ok());
        assert!(ExecutionFile::parse(many(EXECUTION_FILES_MAX + 1).as_bytes()).is_err());
    }
}
