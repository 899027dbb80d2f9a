//! One article: what is checked of it, and the form in which it is stored.

use crate::base::newsgroup::GroupName;
use crate::base::time::Timestamp;
use crate::store::articles::Overview;
use crate::wire::header::{Header, folded};

/// Longest Message-ID (RFC 3977 section 3.6).
const MESSAGE_ID_MAX: usize = 250;

/// What is wrong with an article itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the header is too long")]
    HeaderTooLong,
    #[error("it has no text: no blank line ends the header")]
    NoBody,
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("it has more than one {0}")]
    Twice(&'static str),
    #[error("its Message-ID is malformed")]
    MessageId,
    #[error("its Newsgroups is malformed")]
    Newsgroups,
}

/// An article that may be filed.
#[derive(Debug, Clone)]
pub struct Article {
    pub message_id: String,
    pub groups: Vec<GroupName>,
    pub distributions: Vec<String>,
    /// If it can be read: old programs wrote many forms.
    pub date: Option<Timestamp>,
    pub overview: Overview,
    path: String,
    header: Header,
    text: Vec<u8>,
}

impl Article {
    /// Checks the article (RFC 5536 section 3.1). `poster`: it is posted here, and what is missing is added. An
    /// error comes with the Message-ID where there is one.
    pub fn parse(bytes: &[u8], poster: Option<(Timestamp, &str)>) -> Result<Self, (Option<String>, Flaw)> {
        let unix = to_lf(bytes);
        let (mut header, body_at) = Header::parse(&unix).map_err(|_| (None, Flaw::HeaderTooLong))?;
        let id = header.text("Message-ID").filter(|id| is_message_id(id));
        let flawed = |flaw: Flaw| (id.clone(), flaw);
        if let Some((now, domain)) = poster {
            complete(&mut header, now, domain, &unix[body_at..]);
        }
        for name in ["Message-ID", "Newsgroups", "From", "Subject", "Date", "Path"] {
            match header.count(name) {
                0 => return Err(flawed(Flaw::Missing(name))),
                1 => {}
                _ => return Err(flawed(Flaw::Twice(name))),
            }
        }
        let message_id = header.text("Message-ID").filter(|id| is_message_id(id)).ok_or(flawed(Flaw::MessageId))?;
        let named = header.text("Newsgroups").unwrap_or_default();
        // Blanks between groups are wrong and common; a group with a bad name spoils only itself.
        let words = named.split([',', ' ', '\t']).filter(|w| !w.is_empty());
        let mut groups: Vec<GroupName> = words.filter_map(|word| GroupName::parse(word).ok()).collect();
        groups.dedup();
        if groups.is_empty() {
            return Err(flawed(Flaw::Newsgroups));
        }
        if body_at >= unix.len() {
            return Err(flawed(Flaw::NoBody));
        }
        let text = unix[body_at..].to_vec();
        let overview = overview(&header, &message_id, &text);
        Ok(Self {
            date: header.text("Date").and_then(|d| parse_date(&d)),
            distributions: header
                .text("Distribution")
                .map_or(Vec::new(), |d| d.split(',').map(|w| w.trim().to_owned()).collect()),
            path: header.text("Path").unwrap_or_default(),
            message_id,
            groups,
            overview,
            header,
            text,
        })
    }

    /// Whether this name is in its `Path`. The last component is the poster, not a site (RFC 5536 section 3.1.5).
    pub fn has_passed(&self, name: &str) -> bool {
        let mut sites: Vec<&str> = self.path.split(['!', ',', ' ']).filter(|w| !w.is_empty()).collect();
        sites.pop();
        sites.iter().any(|site| site.eq_ignore_ascii_case(name))
    }

    /// The article as it is kept and sent on: our name before `Path`, no `Xref`.
    pub fn stored(&self, our_name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header.as_bytes().len() + self.text.len() + our_name.len() + 1);
        let mut fields = self.header.clone();
        fields.remove("Xref");
        let bytes = fields.as_bytes();
        let path = find_path(bytes).unwrap_or(0);
        out.extend_from_slice(&bytes[..path]);
        out.extend_from_slice(our_name.as_bytes());
        out.push(b'!');
        out.extend_from_slice(&bytes[path..]);
        out.extend_from_slice(&self.text);
        out
    }
}

/// Where the value of the `Path` field begins.
fn find_path(header: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in header.split_inclusive(|b| *b == b'\n') {
        if line.len() > 5 && line[..5].eq_ignore_ascii_case(b"path:") {
            let blanks = line[5..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            return Some(at + 5 + blanks);
        }
        at += line.len();
    }
    None
}

/// CRLF becomes LF; where there is no CR nothing is copied twice.
fn to_lf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// What an injecting agent adds (RFC 5537 section 3.5).
fn complete(header: &mut Header, now: Timestamp, domain: &str, text: &[u8]) {
    if header.find("Path").is_none() {
        header.prepend(b"Path: not-for-mail\n");
    }
    if header.find("Date").is_none() {
        header.append(folded("Date", &now.rfc5322()).as_bytes());
    }
    if header.find("Message-ID").is_none() {
        let what = [header.as_bytes(), text].concat();
        let id = crate::wire::header::message_id(now, &what, domain);
        header.append(folded("Message-ID", &id).as_bytes());
    }
}

fn is_message_id(id: &str) -> bool {
    let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
    id.len() <= MESSAGE_ID_MAX
        && inner.is_some_and(|inner| {
            let graphic = inner.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
            let at = inner.find('@');
            graphic && at.is_some_and(|at| at > 0 && at + 1 < inner.len())
        })
}

fn overview(header: &Header, message_id: &str, text: &[u8]) -> Overview {
    let field = |name: &str| header.text(name).unwrap_or_default().replace(['\t', '\r', '\n', '\0'], " ");
    // The blank line between header and text is no line of the text.
    let lines = text.iter().filter(|b| **b == b'\n').count().saturating_sub(1) as u64;
    Overview {
        subject: field("Subject"),
        from: field("From"),
        date: field("Date"),
        message_id: message_id.to_owned(),
        references: field("References"),
        bytes: 0,
        lines,
    }
}

/// RFC 5322 dates, and what B News wrote: `Weekday, DD-Mon-YY HH:MM:SS GMT`, two-digit years, zone names.
fn parse_date(text: &str) -> Option<Timestamp> {
    let text = text.split('(').next().unwrap_or(text).trim();
    let text = text.split_once(',').map_or(text, |(_, rest)| rest).trim().replace('-', " ");
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [day, month, year, time, ..] = words.as_slice() else { return None };
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let short = month.get(..3)?.to_ascii_lowercase();
    let month = months.iter().position(|m| *m == short)? + 1;
    let year: i16 = year.parse().ok()?;
    let year = match year {
        0..=49 => year + 2000,
        50..=99 => year + 1900,
        _ => year,
    };
    let mut clock = time.split(':').map(|n| n.parse::<i8>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next().flatten().unwrap_or(0));
    let date =
        jiff::civil::DateTime::new(year, month as i8, day.parse().ok()?, hour, minute, second.min(59), 0).ok()?;
    // The zone decides hours; whether an article is too old is a matter of days.
    let at = jiff::tz::TimeZone::UTC.to_timestamp(date).ok()?;
    Some(Timestamp::from_jiff(at))
}
