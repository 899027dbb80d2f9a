//! One article: what is checked of it, and the form in which it is stored.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use crate::base::newsgroup::GroupName;
use crate::base::time::Timestamp;
use crate::store::articles::Overview;
use crate::wire::header::{Header, folded};
use crate::wire::nntp::{self, one_line};

/// What is wrong with an article itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the header is too long")]
    HeaderTooLong,
    #[error("it has no text: no blank line ends the header")]
    NoBody,
    #[error("a line of its header is no field: {0}")]
    NoField(String),
    #[error("a CR stands alone in the header")]
    BareCr,
    #[error("it has a NUL")]
    Nul,
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
pub struct Article<'a> {
    pub message_id: String,
    pub groups: Vec<GroupName>,
    pub distributions: Vec<String>,
    /// If it can be read: old programs wrote many forms.
    pub date: Option<Timestamp>,
    /// A moderator has let it pass.
    pub approved: bool,
    /// With `bytes` as they are counted on the wire.
    pub overview: Overview,
    path: String,
    header: Header,
    /// From the blank line behind the header on.
    text: Cow<'a, [u8]>,
}

impl<'a> Article<'a> {
    /// Checks the article (RFC 5536 section 3.1). `poster`: it is posted here, and what is missing is added. An
    /// error comes with the Message-ID where there is one.
    pub fn parse(bytes: &'a [u8], poster: Option<(Timestamp, &str)>) -> Result<Self, (Option<String>, Flaw)> {
        let unix = to_lf(bytes);
        let (mut header, body_at) = Header::parse(&unix).map_err(|_| (None, Flaw::HeaderTooLong))?;
        let id = header.text("Message-ID").filter(|id| is_message_id(id));
        let flawed = |flaw: Flaw| (id.clone(), flaw);
        check_shape(&unix, body_at).map_err(flawed)?;
        let text = match unix {
            Cow::Borrowed(all) => Cow::Borrowed(&all[body_at..]),
            Cow::Owned(mut all) => {
                all.drain(..body_at);
                Cow::Owned(all)
            }
        };
        if let Some((now, domain)) = poster {
            complete(&mut header, now, domain, &text);
        }
        for name in ["Message-ID", "Newsgroups", "From", "Subject", "Date", "Path"] {
            match header.count(name) {
                0 => return Err(flawed(Flaw::Missing(name))),
                1 => {}
                _ => return Err(flawed(Flaw::Twice(name))),
            }
        }
        let message_id = header.text("Message-ID").filter(|id| is_message_id(id)).ok_or(flawed(Flaw::MessageId))?;
        let groups = groups(&header.text("Newsgroups").unwrap_or_default());
        if groups.is_empty() {
            return Err(flawed(Flaw::Newsgroups));
        }
        let words = |list: String| list.split(',').map(|word| word.trim().to_owned()).collect();
        let mut article = Self {
            date: header.text("Date").and_then(|d| parse_date(&d)),
            distributions: header.text("Distribution").map_or(Vec::new(), words),
            approved: header.text("Approved").is_some(),
            path: header.text("Path").unwrap_or_default(),
            message_id,
            groups,
            overview: Overview::default(),
            header,
            text,
        };
        article.overview = article.make_overview();
        Ok(article)
    }

    /// Whether this name is in its `Path`. The last component is the poster, not a site (RFC 5536 section 3.1.5).
    pub fn has_passed(&self, name: &str) -> bool {
        let ends = |c: char| matches!(c, '!' | ',') || c.is_ascii_whitespace();
        let mut sites = self.path.split(ends).filter(|word| !word.is_empty());
        sites.next_back();
        sites.any(|site| site.eq_ignore_ascii_case(name))
    }

    /// The article as it is kept and sent on: our name before `Path`, no `Xref`. Every other byte is as it came.
    pub fn stored(&self, our_name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header.as_bytes().len() + self.text.len() + our_name.len() + 2);
        for field in self.header.fields() {
            if field.is("Path") {
                // The value may begin on a folded line.
                let value = memchr(b':', field.raw).map_or(field.raw, |colon| &field.raw[colon + 1..]);
                out.extend_from_slice(b"Path: ");
                out.extend_from_slice(our_name.as_bytes());
                out.push(b'!');
                out.extend_from_slice(value.trim_ascii_start());
            } else if !field.is("Xref") {
                out.extend_from_slice(field.raw);
            }
        }
        out.extend_from_slice(&self.text);
        out
    }

    /// `bytes` is that of what came in; whoever stores another form counts that.
    fn make_overview(&self) -> Overview {
        let field = |name: &str| self.header.find(name).map_or(String::new(), |field| one_line(&field));
        // The blank line between header and text is no line of the text.
        let lines = memchr_iter(b'\n', &self.text).count().saturating_sub(1) as u64;
        Overview {
            subject: field("Subject"),
            from: field("From"),
            date: field("Date"),
            message_id: self.message_id.clone(),
            references: field("References"),
            bytes: 0,
            lines,
        }
    }
}

/// Size of a stored article as RFC 3977 section 8.3.2 counts it: each line end is two bytes on the wire.
pub fn wire_size(stored: &[u8]) -> u64 {
    (stored.len() + memchr_iter(b'\n', stored).count()) as u64
}

/// LF line ends, and one behind the last line. What has them already is not copied.
fn to_lf(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\r', bytes).is_none() && bytes.ends_with(b"\n") {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 1);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(line));
        out.push(b'\n');
    }
    Cow::Owned(out)
}

/// Whether a header of fields ends at a blank line, so that all who read the article see the same header; and no NUL or bare
/// CR, which NNTP cannot carry (RFC 3977 section 3.1.1), changes it on the way. (In the text a CR becomes a line end there.)
fn check_shape(unix: &[u8], body_at: usize) -> Result<(), Flaw> {
    if memchr(0, unix).is_some() {
        return Err(Flaw::Nul);
    }
    if memchr(b'\r', &unix[..body_at]).is_some() {
        return Err(Flaw::BareCr);
    }
    let show = |line: &[u8]| {
        let end = memchr(b'\n', line).unwrap_or(line.len()).min(60);
        String::from_utf8_lossy(&line[..end]).chars().filter(|c| !c.is_control()).collect::<String>()
    };
    // Mail has such a line at its top.
    if unix.starts_with(b"From ") || unix.starts_with(b">From ") {
        return Err(Flaw::NoField(show(unix)));
    }
    match unix.get(body_at..) {
        None | Some([]) => Err(Flaw::NoBody),
        Some([b'\n', ..]) => Ok(()),
        Some(line) => Err(Flaw::NoField(show(line))),
    }
}

/// Blanks between groups are wrong and common; a group with a bad name spoils only itself.
fn groups(named: &str) -> Vec<GroupName> {
    let words = named.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let mut groups: Vec<GroupName> = Vec::new();
    for group in words.filter_map(|word| GroupName::parse(word).ok()) {
        if groups.last() != Some(&group) {
            groups.push(group);
        }
    }
    groups
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

/// RFC 5536 section 3.1.3: what the wire takes, with an `@` in it and no other angle.
fn is_message_id(id: &str) -> bool {
    let inner = id.get(1..id.len().saturating_sub(1)).unwrap_or("");
    let halves = inner.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
    nntp::is_message_id(id) && halves && !inner.contains('<')
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{HEADER_MAX, OVERVIEW_FIELD_MAX};
    use crate::news::testing::article;

    fn stored(text: &[u8]) -> String {
        match Article::parse(text, None) {
            Ok(article) => article.stored("here").escape_ascii().to_string(),
            Err((_, flaw)) => format!("({flaw})"),
        }
    }

    /// A good article after a change, which must hit: what is stored of it.
    fn check(from: &str, to: &str, expected: &str) {
        let before = article("<1@x>", "a.b", "there!me");
        let text = before.replacen(from, to, 1);
        assert_ne!(text, before, "{from:?} is not there");
        assert_eq!(stored(text.as_bytes()), expected, "{text:?}");
    }

    const REST: &str = "From: ann@x\\nNewsgroups: a.b\\nSubject: hi\\nMessage-ID: <1@x>\\n\
                        Date: 5 Apr 93 18:01:16 GMT\\n\\ntext\\n";

    #[test]
    fn our_name_goes_before_the_path_however_it_is_written() {
        for (path, expected) in [
            ("Path: me", "Path: here!me"),
            ("Path:me", "Path: here!me"),
            ("PATH :\t a!me", "Path: here!a!me"),
            ("Path: a!\n b!me", "Path: here!a!\\n b!me"),
            ("Path:\n a!me", "Path: here!a!me"),
            ("Xref: x a:1\nPath: me\nXREF: x\n b:2", "Path: here!me"),
        ] {
            check("Path: there!me", path, &format!("{expected}\\n{REST}"));
        }
    }

    #[test]
    fn only_line_ends_change_in_the_text() {
        let with_text = |text: &str| REST.replace("text\\n", text);
        for (text, expected) in [
            ("a\r\n.\r\n\r\n", "a\\n.\\n\\n"),
            ("no end", "no end\\n"),
            ("", ""),
            ("a\rb\r\r\n\x7f\t \n", "a\\rb\\r\\n\\x7f\\t \\n"),
            ("From x\n#! rnews 5\n", "From x\\n#! rnews 5\\n"),
        ] {
            check("text\n", text, &format!("Path: here!there!me\\n{}", with_text(expected)));
        }
        let latin = article("<1@x>", "a.b", "me").replace("hi", "?").into_bytes();
        let latin: Vec<u8> = latin.iter().map(|b| if *b == b'?' { 0xfc } else { *b }).collect();
        assert!(stored(&latin).contains("Subject: \\xfc\\n"));
        let long = "x".repeat(100_000);
        let text = article("<1@x>", "a.b", "me").replace("text", &long);
        assert!(stored(text.as_bytes()).ends_with(&format!("{long}\\n")));
    }

    #[test]
    fn what_is_wrong_with_an_article_is_said() {
        for (from, to, expected) in [
            ("Path: there!me\n", "", "it has no Path"),
            ("Date: ", "X: ", "it has no Date"),
            ("hi", "hi\nSubject: ho", "it has more than one Subject"),
            ("<1@x>", "1@x", "its Message-ID is malformed"),
            ("<1@x>", "<1@>", "its Message-ID is malformed"),
            ("<1@x>", "<1x>", "its Message-ID is malformed"),
            ("<1@x>", "<1@x> (a)", "its Message-ID is malformed"),
            ("<1@x>", "<1 2@x>", "its Message-ID is malformed"),
            ("<1@x>", "<a<1@x>", "its Message-ID is malformed"),
            ("<1@x>", &format!("<{}@x>", "y".repeat(250)), "its Message-ID is malformed"),
            ("a.b", "a..b", "its Newsgroups is malformed"),
            ("a.b", ",", "its Newsgroups is malformed"),
            ("\n\ntext\n", "", "it has no text: no blank line ends the header"),
            ("\n\ntext", "\nte xt", "a line of its header is no field: te xt"),
            ("Path", "From ann Mon\nPath", "a line of its header is no field: From ann Mon"),
            ("hi", "hi\rApproved: me", "a CR stands alone in the header"),
            ("hi", "hi\r\r", "a CR stands alone in the header"),
            ("hi", "h\0i", "it has a NUL"),
            ("text", "te\0xt", "it has a NUL"),
            ("hi", &"x".repeat(HEADER_MAX), "the header is too long"),
        ] {
            check(from, to, &format!("({expected})"));
        }
        for (text, expected) in [("", "it has no text"), ("\n", "it has no Message-ID"), ("text\n", "a line of its")] {
            assert!(
                stored(text.as_bytes()).starts_with(&format!("({expected}")),
                "{text:?}: {}",
                stored(text.as_bytes())
            );
        }
    }

    #[test]
    fn the_overview_counts_lines_and_bytes_as_the_wire_does() {
        let text = article("<1@x>", "a.b", "me").replace("hi\n", "a\tb\n c\nReferences: <0@x>\n\t<2@x>\n");
        let text = text.replace("text\n", "1\n\n3\n");
        let article = Article::parse(text.as_bytes(), None).expect("a good one");
        let overview = &article.overview;
        assert_eq!((overview.subject.as_str(), overview.references.as_str()), ("a b c", "<0@x> <2@x>"));
        assert_eq!((overview.lines, overview.message_id.as_str()), (3, "<1@x>"));
        let wire = text.replace("me\n", "here!me\n").replace('\n', "\r\n");
        assert_eq!(wire_size(&article.stored("here")), wire.len() as u64);
        let long = text.replace("a\tb", &"x".repeat(2 * OVERVIEW_FIELD_MAX));
        let article = Article::parse(long.as_bytes(), None).expect("a good one");
        assert_eq!(article.overview.subject.len(), OVERVIEW_FIELD_MAX);
    }

    #[test]
    fn dates_of_many_forms_are_read() {
        for (text, expected) in [
            ("Mon, 05 Apr 93 18:01:16 GMT", "1993-04-05"),
            ("5 Apr 1993 18:01:16 -0400", "1993-04-05"),
            ("5 Apr 93 18:01 PST", "1993-04-05"),
            ("Thursday, 05-Apr-84 18:01:16 EST", "1984-04-05"),
            ("Fri,  9 April 2021 18:01:60 +0000 (UTC)", "2021-04-09"),
            ("Mon Apr  5 18:01:16 1993", "no date"),
            ("5 Foo 93 18:01:16 GMT", "no date"),
            ("31 Feb 93 18:01:16 GMT", "no date"),
            ("5 \u{e4}\u{e4} 93 18:01:16", "no date"),
            ("yesterday", "no date"),
            ("", "no date"),
        ] {
            let found = parse_date(text).map_or("no date".to_owned(), |at| at.to_string()[..10].to_owned());
            assert_eq!(found, expected, "{text}");
        }
    }
}
