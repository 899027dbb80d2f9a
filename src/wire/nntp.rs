//! NNTP commands and replies (RFC 3977, and the forms of RFC 2980 that clients still use), parsed and printed.
//!
//! Lines come without their CRLF. Numbers, ranges and Message-IDs are checked here; whether a group exists is for the server.

use std::fmt;
use std::ops::RangeInclusive;

use memchr::memchr;

use super::header::Field;
use crate::base::limits::OVERVIEW_FIELD_MAX;
use crate::base::time::Timestamp;

/// A command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Capabilities,
    ModeReader,
    Date,
    Help,
    Quit,
    /// GROUP and its name, as it was given.
    Group(String),
    /// LISTGROUP with what it named.
    ListGroup(Option<String>, Option<RangeInclusive<u64>>),
    Last,
    Next,
    Retrieve(Part, Which),
    /// OVER, or XOVER (`old`).
    Over {
        of: Where,
        old: bool,
    },
    /// HDR, or XHDR (`old`).
    Hdr {
        field: String,
        of: Where,
        old: bool,
    },
    List(List),
    NewGroups(Timestamp),
    /// NEWNEWS with its wildmat.
    NewNews(String, Timestamp),
    Post,
    /// IHAVE with the Message-ID, as it was given: a bad one is only not wanted.
    Ihave(String),
}

/// What of an article is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Article,
    Head,
    Body,
    Stat,
}

/// Which article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Current,
    Number(u64),
    Id(String),
}

/// Which articles. A range without end goes to `u64::MAX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    Current,
    Range(RangeInclusive<u64>),
    Id(String),
}

/// What LIST lists; the first three with a wildmat (RFC 3977 section 7.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    Active(Option<String>),
    ActiveTimes(Option<String>),
    Newsgroups(Option<String>),
    OverviewFmt,
    Headers,
}

/// Why a line is no command we can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("unknown command")]
    Unknown,
    #[error("{0}")]
    Syntax(&'static str),
    /// A list that we do not have.
    #[error("no such list is kept here")]
    NotKept,
}

impl Malformed {
    /// The reply code of RFC 3977 section 3.2.1.
    pub fn code(self) -> u16 {
        match self {
            Self::Unknown => 500,
            Self::Syntax(_) => 501,
            Self::NotKept => 503,
        }
    }
}

/// Longest Message-ID with its angles (RFC 3977 section 3.6).
pub const MESSAGE_ID_MAX: usize = 250;

/// Whether a word can stand as a Message-ID on the wire (RFC 3977 section 9.8): 3 to 250 printable characters in angles.
pub fn is_message_id(word: &str) -> bool {
    let inner = word.strip_prefix('<').and_then(|word| word.strip_suffix('>'));
    let fits = |inner: &str| !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_graphic() && b != b'>');
    word.len() <= MESSAGE_ID_MAX && inner.is_some_and(fits)
}

/// The value of a field on one line, as overview and HDR show it (RFC 3977 section 8.3.2): unfolded, tabs and NULs as
/// blanks. What is no UTF-8 is read as Latin-1, as it was mostly meant. Cut off at [`OVERVIEW_FIELD_MAX`].
pub fn one_line(field: &Field<'_>) -> String {
    let colon = memchr(b':', field.raw).map_or(field.raw.len(), |at| at + 1);
    let mut value: Vec<u8> = field.raw[colon..].iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    value.iter_mut().filter(|b| matches!(b, b'\t' | 0)).for_each(|b| *b = b' ');
    let value = value.trim_ascii();
    let mut text = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().map(|b| char::from(*b)).collect(),
    };
    text.truncate(text.floor_char_boundary(OVERVIEW_FIELD_MAX));
    text
}

impl Command {
    /// `now` decides the century of a year with two digits (RFC 3977 section 7.3.2).
    pub fn parse(line: &[u8], now: Timestamp) -> Result<Self, Malformed> {
        let line = std::str::from_utf8(line).map_err(|_| Malformed::Syntax("the command is no UTF-8"))?;
        if line.contains('\0') {
            return Err(Malformed::Syntax("a NUL in the command"));
        }
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or("").to_ascii_uppercase();
        let words: Vec<&str> = words.collect();
        let alone = |command: Self| if words.is_empty() { Ok(command) } else { Err(TOO_MANY) };
        match verb.as_str() {
            // Its keyword asks for nothing that RFC 3977 defines.
            "CAPABILITIES" => Ok(Self::Capabilities),
            "MODE" => match words.as_slice() {
                [word] if word.eq_ignore_ascii_case("READER") => Ok(Self::ModeReader),
                _ => Err(Malformed::Syntax("MODE READER is the only mode")),
            },
            "DATE" => alone(Self::Date),
            "HELP" => alone(Self::Help),
            "QUIT" => alone(Self::Quit),
            "POST" => alone(Self::Post),
            "LAST" => alone(Self::Last),
            "NEXT" => alone(Self::Next),
            "GROUP" => one(&words).map(|name| Self::Group(name.to_owned())),
            "LISTGROUP" => list_group(&words),
            "ARTICLE" => which(&words).map(|of| Self::Retrieve(Part::Article, of)),
            "HEAD" => which(&words).map(|of| Self::Retrieve(Part::Head, of)),
            "BODY" => which(&words).map(|of| Self::Retrieve(Part::Body, of)),
            "STAT" => which(&words).map(|of| Self::Retrieve(Part::Stat, of)),
            "OVER" => place(&words).map(|of| Self::Over { of, old: false }),
            "XOVER" => match place(&words)? {
                Where::Id(_) => Err(Malformed::Syntax("XOVER takes a range")),
                of @ (Where::Current | Where::Range(_)) => Ok(Self::Over { of, old: true }),
            },
            "HDR" => hdr(&words, false),
            "XHDR" => hdr(&words, true),
            "LIST" => list(&words).map(Self::List),
            "NEWGROUPS" => since(&words, now).map(Self::NewGroups),
            "NEWNEWS" => {
                let (groups, words) = words.split_first().ok_or(TOO_FEW)?;
                since(words, now).map(|at| Self::NewNews((*groups).to_owned(), at))
            }
            "IHAVE" => one(&words).map(|id| Self::Ihave(id.to_owned())),
            _ => Err(Malformed::Unknown),
        }
    }
}

const TOO_MANY: Malformed = Malformed::Syntax("too many arguments");
const TOO_FEW: Malformed = Malformed::Syntax("an argument is missing");

fn one<'a>(words: &[&'a str]) -> Result<&'a str, Malformed> {
    match words {
        [] => Err(TOO_FEW),
        [word] => Ok(word),
        _ => Err(TOO_MANY),
    }
}

fn optional(words: &[&str]) -> Result<Option<String>, Malformed> {
    match words {
        [] => Ok(None),
        [word] => Ok(Some((*word).to_owned())),
        _ => Err(TOO_MANY),
    }
}

/// RFC 3977 section 9.8: one to sixteen digits.
fn number(word: &str) -> Result<u64, Malformed> {
    let fits = (1..=16).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|_| fits).ok_or(Malformed::Syntax("that is no article number"))
}

/// `n`, `n-`, `n-m`.
fn range(word: &str) -> Result<RangeInclusive<u64>, Malformed> {
    let (first, last) = match word.split_once('-') {
        None => (number(word)?, number(word)?),
        Some((first, "")) => (number(first)?, u64::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    Ok(first..=last)
}

fn id(word: &str) -> Result<String, Malformed> {
    if is_message_id(word) { Ok(word.to_owned()) } else { Err(Malformed::Syntax("that is no Message-ID")) }
}

fn which(words: &[&str]) -> Result<Which, Malformed> {
    match words {
        [] => Ok(Which::Current),
        [word] if word.starts_with('<') => id(word).map(Which::Id),
        [word] => number(word).map(Which::Number),
        _ => Err(TOO_MANY),
    }
}

fn place(words: &[&str]) -> Result<Where, Malformed> {
    match words {
        [] => Ok(Where::Current),
        [word] if word.starts_with('<') => id(word).map(Where::Id),
        [word] => range(word).map(Where::Range),
        _ => Err(TOO_MANY),
    }
}

fn list_group(words: &[&str]) -> Result<Command, Malformed> {
    match words {
        [] => Ok(Command::ListGroup(None, None)),
        [group] => Ok(Command::ListGroup(Some((*group).to_owned()), None)),
        [group, word] => Ok(Command::ListGroup(Some((*group).to_owned()), Some(range(word)?))),
        _ => Err(TOO_MANY),
    }
}

fn hdr(words: &[&str], old: bool) -> Result<Command, Malformed> {
    let (field, words) = words.split_first().ok_or(TOO_FEW)?;
    let name = field.strip_prefix(':').unwrap_or(field);
    if name.is_empty() || name.contains(':') || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Malformed::Syntax("that is no name of a field"));
    }
    Ok(Command::Hdr { field: (*field).to_owned(), of: place(words)?, old })
}

fn list(words: &[&str]) -> Result<List, Malformed> {
    let Some((keyword, words)) = words.split_first() else {
        return Ok(List::Active(None));
    };
    let alone = |list: List| if words.is_empty() { Ok(list) } else { Err(TOO_MANY) };
    match keyword.to_ascii_uppercase().as_str() {
        "ACTIVE" => optional(words).map(List::Active),
        "ACTIVE.TIMES" => optional(words).map(List::ActiveTimes),
        "NEWSGROUPS" => optional(words).map(List::Newsgroups),
        "OVERVIEW.FMT" => alone(List::OverviewFmt),
        // Its argument (MSGID, RANGE) would change nothing.
        "HEADERS" => optional(words).map(|_| List::Headers),
        "COUNTS" | "DISTRIB.PATS" | "DISTRIBUTIONS" | "MODERATORS" | "MOTD" | "SUBSCRIPTIONS" => {
            Err(Malformed::NotKept)
        }
        _ => Err(Malformed::Syntax("unknown list")),
    }
}

/// `yymmdd` or `yyyymmdd`, `hhmmss`, and `GMT` (RFC 3977 section 7.3.2). Without GMT it is UTC too: our own zone is nothing
/// that a client could know.
fn since(words: &[&str], now: Timestamp) -> Result<Timestamp, Malformed> {
    const BAD: Malformed = Malformed::Syntax("the date is [yy]yymmdd hhmmss [GMT]");
    let (date, time) = match words {
        [date, time] => (*date, *time),
        [date, time, zone] if zone.eq_ignore_ascii_case("GMT") => (*date, *time),
        _ => return Err(BAD),
    };
    let digits = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    if !digits(date) || !digits(time) || !matches!(date.len(), 6 | 8) || time.len() != 6 {
        return Err(BAD);
    }
    let two = |word: &str, at: usize| word[at..at + 2].parse::<i8>().map_err(|_| BAD);
    let day_at = date.len() - 4;
    let mut year: i16 = date[..day_at].parse().map_err(|_| BAD)?;
    if date.len() == 6 {
        let this_year = jiff::tz::TimeZone::UTC.to_datetime(now.to_jiff()).year();
        let century = this_year - this_year % 100;
        year += if year > this_year % 100 { century - 100 } else { century };
    }
    let (hour, minute, second) = (two(time, 0)?, two(time, 2)?, two(time, 4)?.min(59));
    let (month, day) = (two(date, day_at)?, two(date, day_at + 2)?);
    let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| BAD)?;
    jiff::tz::TimeZone::UTC.to_timestamp(civil).map(Timestamp::from_jiff).map_err(|_| BAD)
}

/// A reply, or the first line of one with more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

/// A line of a server that is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the server does not begin with a code")]
pub struct BadReply;

impl Reply {
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// Reads a line of a server; what could disturb a log is left out of its text.
    pub fn parse(line: &[u8]) -> Result<Self, BadReply> {
        let (code, rest) = line.split_at_checked(3).ok_or(BadReply)?;
        let digits = code.iter().all(u8::is_ascii_digit) && (b'1'..=b'5').contains(&code[0]);
        if !digits || !matches!(rest.first(), None | Some(b' ' | b'\t')) {
            return Err(BadReply);
        }
        let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let text = String::from_utf8_lossy(rest).trim().chars().filter(|c| !c.is_control()).collect();
        Ok(Self { code, text })
    }
}

/// Without CRLF.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { write!(f, "{}", self.code) } else { write!(f, "{} {}", self.code, self.text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::Header;

    /// What a line is read as, in the debug form of the command, or the reply code of the error.
    fn check(line: &str, expected: &str) {
        let now = Timestamp::from_seconds(1_780_000_000);
        let found = match Command::parse(line.as_bytes(), now) {
            Ok(command) => format!("{command:?}"),
            Err(why) => why.code().to_string(),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn commands_are_known_in_any_case_and_with_any_blanks() {
        for (line, expected) in [
            ("CAPABILITIES", "Capabilities"),
            ("capabilities AUTOUPDATE", "Capabilities"),
            ("mode reader", "ModeReader"),
            ("MODE STREAM", "501"),
            ("MODE", "501"),
            ("\tqUiT  ", "Quit"),
            ("DATE now", "501"),
            ("GROUP  a.b ", "Group(\"a.b\")"),
            ("GROUP", "501"),
            ("GROUP a b", "501"),
            ("LISTGROUP", "ListGroup(None, None)"),
            ("LISTGROUP a.b 3-", "ListGroup(Some(\"a.b\"), Some(3..=18446744073709551615))"),
            ("LISTGROUP a.b x", "501"),
            ("POST", "Post"),
            ("IHAVE <a@b>", "Ihave(\"<a@b>\")"),
            ("IHAVE nonsense", "Ihave(\"nonsense\")"),
            ("IHAVE", "501"),
            ("XENCRYPT RSA", "500"),
            ("", "500"),
            ("DATE\0", "501"),
        ] {
            check(line, expected);
        }
        assert_eq!(Command::parse(b"GROUP \xff", Timestamp::default()).map_err(Malformed::code), Err(501));
    }

    #[test]
    fn articles_are_named_by_number_range_or_message_id() {
        let long = format!("STAT <{}@b>", "x".repeat(250 - 4));
        let longer = format!("STAT <{}@b>", "x".repeat(251 - 4));
        check(&long, &format!("Retrieve(Stat, Id(\"{}\"))", &long[5..]));
        check(&longer, "501");
        for (line, expected) in [
            ("ARTICLE", "Retrieve(Article, Current)"),
            ("HEAD 007", "Retrieve(Head, Number(7))"),
            ("BODY <1@x>", "Retrieve(Body, Id(\"<1@x>\"))"),
            ("STAT 9999999999999999", "Retrieve(Stat, Number(9999999999999999))"),
            ("STAT 99999999999999999", "501"),
            ("STAT -1", "501"),
            ("STAT 1-2", "501"),
            ("STAT <1@x", "501"),
            ("STAT <>", "501"),
            ("STAT <\u{e4}@x>", "501"),
            ("OVER", "Over { of: Current, old: false }"),
            ("OVER 3-5", "Over { of: Range(3..=5), old: false }"),
            ("OVER 5-3", "Over { of: Range(5..=3), old: false }"),
            ("OVER -5", "501"),
            ("OVER <1@x>", "Over { of: Id(\"<1@x>\"), old: false }"),
            ("XOVER 3-", "Over { of: Range(3..=18446744073709551615), old: true }"),
            ("XOVER <1@x>", "501"),
            ("HDR", "501"),
            ("HDR Subject", "Hdr { field: \"Subject\", of: Current, old: false }"),
            ("XHDR :bytes 1", "Hdr { field: \":bytes\", of: Range(1..=1), old: true }"),
            ("HDR Sub:ject 1", "501"),
            ("HDR : 1", "501"),
        ] {
            check(line, expected);
        }
    }

    #[test]
    fn lists() {
        for (line, expected) in [
            ("LIST", "List(Active(None))"),
            ("LIST active a.*,!a.b", "List(Active(Some(\"a.*,!a.b\")))"),
            ("LIST ACTIVE.TIMES", "List(ActiveTimes(None))"),
            ("LIST NEWSGROUPS tx.*", "List(Newsgroups(Some(\"tx.*\")))"),
            ("LIST OVERVIEW.FMT", "List(OverviewFmt)"),
            ("LIST OVERVIEW.FMT x", "501"),
            ("LIST HEADERS RANGE", "List(Headers)"),
            ("LIST DISTRIB.PATS", "503"),
            ("LIST XYZZY", "501"),
        ] {
            check(line, expected);
        }
    }

    #[test]
    fn dates_have_a_century_that_is_past() {
        let at = |text: &str| {
            let t: jiff::Timestamp = text.parse().expect("a time");
            format!("NewGroups({:?})", Timestamp::from_jiff(t))
        };
        check("NEWGROUPS 990624 000000 GMT", &at("1999-06-24T00:00:00Z"));
        check("NEWGROUPS 260624 235960", &at("2026-06-24T23:59:59Z"));
        check("NEWGROUPS 270101 000000 gmt", &at("1927-01-01T00:00:00Z"));
        check("NEWGROUPS 19930405 180116 GMT", &at("1993-04-05T18:01:16Z"));
        let newnews = at("1993-04-05T18:01:16Z").replace("NewGroups(", "NewNews(\"a.*\", ");
        check("NEWNEWS a.* 19930405 180116 GMT", &newnews);
        for bad in ["990624", "990624 0000", "19990624 000000 CET", "991324 000000", "9906é4 000000", "990230 000000"]
        {
            check(&format!("NEWGROUPS {bad}"), "501");
        }
        check("NEWNEWS", "501");
    }

    #[test]
    fn replies_come_back_as_they_were_printed() {
        for line in ["200", "335 send it", "435 no \u{e4}"] {
            assert_eq!(Reply::parse(line.as_bytes()).expect(line).to_string(), line);
        }
        assert_eq!(Reply::parse(b"435 <a\x07@b>  ").expect("a reply"), Reply::new(435, "<a@b>"));
        for line in ["", "20", "2x0 a", "200-a", "999 a", "hello"] {
            assert!(Reply::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn a_field_on_one_line_has_no_tabs_and_an_end() {
        for (raw, expected) in [
            ("Subject: a\n\tb\n  c \n", "a b  c"),
            ("Subject:\n", ""),
            ("Subject :x\0y\r\n", "x y"),
            ("Subject: gr\u{fc}n\n", "gr\u{fc}n"),
        ] {
            let header = Header::parse(raw.as_bytes()).expect("short").0;
            assert_eq!(one_line(&header.find("Subject").expect("it is there")), expected, "{raw:?}");
        }
        let latin = Header::parse(b"Subject: gr\xfcn\n").expect("short").0;
        assert_eq!(one_line(&latin.find("Subject").expect("it is there")), "gr\u{fc}n");
        let long = Header::parse(format!("X: {}\n", "\u{fc}".repeat(OVERVIEW_FIELD_MAX)).as_bytes()).expect("short").0;
        assert_eq!(one_line(&long.find("X").expect("it is there")).len(), OVERVIEW_FIELD_MAX);
    }
}
