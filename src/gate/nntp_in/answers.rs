//! Long answers of the news server, in pieces: the next one is read from the store when the last has left.

use std::ops::RangeInclusive;

use super::{NntpIn, Work};
use crate::base::limits::HEADER_MAX;
use crate::base::newsgroup::{GroupName, Wildmat};
use crate::base::time::Timestamp;
use crate::gate::server::OUTPUT_MAX;
use crate::gate::text::{READ, Text};
use crate::store::articles::{Article, Group, Overview};
use crate::store::{Body, StoreError, View};
use crate::wire::header::Header;
use crate::wire::nntp::one_line;

/// Lines read from the store at once, and articles whose header must be read for a line.
const LINES: usize = 100;
const HEADERS: usize = 10;
/// Pieces in one look at the store, however few of their lines are wanted: a long look makes its log grow.
const PIECES: usize = 20;

/// What of groups a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    Active,
    Times,
    Descriptions,
}

/// An answer of many lines, and how far it has come.
pub enum Answer {
    Groups { show: Groups, wildmat: Wildmat, since: Timestamp, after: String },
    Numbers { group: GroupName, range: RangeInclusive<u64> },
    Over { group: GroupName, range: RangeInclusive<u64> },
    Hdr { group: GroupName, range: RangeInclusive<u64>, field: Field },
    NewNews { wildmat: Wildmat, behind: (Timestamp, i64) },
}

/// What HDR shows.
pub enum Field {
    Bytes,
    Lines,
    /// One that is in the overview.
    Overview(fn(&Overview) -> &str),
    /// One that is read from the article; and what stands for it where it is missing.
    Read(String, &'static str),
}

impl Answer {
    /// Appends the next lines; whether there are more.
    fn piece(&mut self, view: &View<'_>, out: &mut Vec<u8>) -> Result<bool, StoreError> {
        match self {
            Self::Groups { show, wildmat, since, after } => {
                let groups = view.groups_after(after, LINES)?;
                for group in groups.iter().filter(|g| g.created >= *since && wildmat.matches(g.name.as_str())) {
                    line(out, &show.line(group));
                }
                if let Some(last) = groups.last() {
                    *after = last.name.to_string();
                }
                Ok(groups.len() == LINES)
            }
            Self::Numbers { group, range } => {
                let numbers = view.numbers(group, range.clone(), LINES)?;
                numbers.iter().for_each(|number| line(out, &number.to_string()));
                Ok(rest(range, numbers.last(), numbers.len() == LINES))
            }
            Self::Over { group, range } => {
                let found = view.overview(group, range.clone(), LINES)?;
                found.iter().for_each(|(number, overview)| line(out, &over_line(*number, overview)));
                Ok(rest(range, found.last().map(|(number, _)| number), found.len() == LINES))
            }
            Self::Hdr { group, range, field } => {
                let numbers = view.numbers(group, range.clone(), HEADERS)?;
                for number in &numbers {
                    if let Some(article) = view.article_at(group, *number)? {
                        line(out, &format!("{number} {}", field.value(view, &article)?));
                    }
                }
                Ok(rest(range, numbers.last(), numbers.len() == HEADERS))
            }
            Self::NewNews { wildmat, behind } => {
                let found = view.arrivals(*behind, LINES)?;
                for arrival in found.iter().filter(|a| a.groups.split(',').any(|group| wildmat.matches(group))) {
                    line(out, &arrival.message_id);
                }
                if let Some(last) = found.last() {
                    *behind = last.place;
                }
                Ok(found.len() == LINES)
            }
        }
    }
}

/// Moves a range behind the last number shown; whether to go on.
fn rest(range: &mut RangeInclusive<u64>, last: Option<&u64>, full: bool) -> bool {
    if let Some(last) = last {
        *range = last.saturating_add(1)..=*range.end();
    }
    full
}

/// What the store gives has no line ends in it, and no line of ours begins with a dot.
fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// RFC 3977 section 8.3.2.
pub(super) fn over_line(number: u64, overview: &Overview) -> String {
    let Overview { subject, from, date, message_id, references, bytes, lines } = overview;
    format!("{number}\t{subject}\t{from}\t{date}\t{message_id}\t{references}\t{bytes}\t{lines}")
}

impl Groups {
    pub fn line(self, group: &Group) -> String {
        let Group { name, description, status, low, high, created, .. } = group;
        match self {
            Self::Active => format!("{name} {high} {low} {status}"),
            Self::Times => format!("{name} {} usenet", created.as_seconds()),
            Self::Descriptions if description.is_empty() => format!("{name}\t?"),
            Self::Descriptions => format!("{name}\t{}", description.replace(|c: char| c.is_control(), " ")),
        }
    }
}

impl Field {
    /// `None`: metadata that we do not have. `missing` stands for a field that an article lacks.
    pub fn named(name: &str, missing: &'static str) -> Option<Self> {
        let overview: fn(&Overview) -> &str = match name.to_ascii_lowercase().as_str() {
            ":bytes" => return Some(Self::Bytes),
            ":lines" => return Some(Self::Lines),
            "subject" => |overview| &overview.subject,
            "from" => |overview| &overview.from,
            "date" => |overview| &overview.date,
            "message-id" => |overview| &overview.message_id,
            metadata if metadata.starts_with(':') => return None,
            // References too: an article may lack it, and the overview does not tell that from an empty one.
            _ => return Some(Self::Read(name.to_owned(), missing)),
        };
        Some(Self::Overview(overview))
    }

    pub fn value(&self, view: &View<'_>, article: &Article) -> Result<String, StoreError> {
        Ok(match self {
            Self::Bytes => article.overview.bytes.to_string(),
            Self::Lines => article.overview.lines.to_string(),
            Self::Overview(value) => value(&article.overview).to_owned(),
            Self::Read(name, missing) => {
                let header = header(&view.body(article.body)?)?;
                header.find(name).map_or((*missing).to_owned(), |field| one_line(&field))
            }
        })
    }
}

/// The header of a stored article, which is not larger than one may be with our name in its Path.
fn header(body: &Body) -> Result<Header, StoreError> {
    let end = header_end(body)?;
    let mut bytes = vec![0; usize::try_from(end).expect("a header is not that large")];
    body.read_at(0, &mut bytes).map_err(unreadable)?;
    Header::parse(&bytes).map(|(header, _)| header).or(Ok(Header::default()))
}

/// Where the blank line behind the header is.
fn header_end(body: &Body) -> Result<u64, StoreError> {
    let (mut at, mut piece) = (0, [0; READ]);
    while at < 2 * HEADER_MAX as u64 {
        let count = body.read_at(at, &mut piece).map_err(unreadable)?;
        if let Some(found) = piece[..count].windows(2).position(|pair| pair == b"\n\n") {
            return Ok(at + found as u64 + 1);
        }
        if count < piece.len() {
            break;
        }
        // The pair may lie across two pieces.
        at += count as u64 - 1;
    }
    Err(StoreError::Damaged("an article without a blank line behind its header".to_owned()))
}

fn unreadable(why: std::io::Error) -> StoreError {
    StoreError::Damaged(format!("an article cannot be read: {why}"))
}

/// What HEAD shows of an article.
pub(super) fn head(body: Body) -> Result<Text, StoreError> {
    let end = header_end(&body)?;
    Ok(Text::part(body, 0..end))
}

/// What BODY shows of an article.
pub(super) fn without_head(body: Body) -> Result<Text, StoreError> {
    let rest = header_end(&body)? + 1..body.len();
    Ok(Text::part(body, rest))
}

impl NntpIn {
    /// The next piece of an answer; always some work.
    pub(super) fn answer_on(&mut self) -> bool {
        let Some(Work::Answering(answer)) = &mut self.work else {
            return false;
        };
        let more = self.store.read(|view| {
            for _ in 0..PIECES {
                let more = answer.piece(view, &mut self.output)?;
                if !more || self.output.len() >= OUTPUT_MAX {
                    return Ok::<_, StoreError>(more);
                }
            }
            Ok(true)
        });
        match more {
            Ok(true) => {}
            Ok(false) => {
                self.output.extend_from_slice(b".\r\n");
                self.work = None;
            }
            Err(why) => self.break_off(&why),
        }
        true
    }

    /// The next piece of an article; always some work.
    pub(super) fn send_on(&mut self) -> bool {
        let Some(Work::Sending(text)) = &mut self.work else {
            return false;
        };
        match text.piece(&mut self.output) {
            Ok(true) => {}
            Ok(false) => self.work = None,
            Err(why) => self.break_off(&unreadable(why)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dialogue::Dialogue;
    use crate::gate::script::{Player, Split, start};
    use crate::news::testing::{article, group, open, village};
    use crate::news::{self, Source};
    use crate::store::Store;

    const MANY: usize = 1234;

    /// So many articles in `local.a`, and as many groups.
    fn filled() -> (tempfile::TempDir, Store) {
        let (dir, store) = open();
        let filed: Result<(), StoreError> = store.write(|change| {
            for n in 1..=MANY {
                change.add_group(&group(&format!("z.{n:04}")), "", 'y', start().wall)?;
                let text = article(&format!("<{n}@x>"), "local.a", "not-for-mail");
                news::accept(change, &village(), start(), &Source::Peer("p".to_owned()), text.as_bytes())?;
            }
            Ok(())
        });
        filed.expect("the store works");
        (dir, store)
    }

    fn server(store: &Store) -> NntpIn {
        NntpIn::new(store.clone(), Arc::new(village()), "192.0.2.1".parse().expect("an address"), start())
    }

    #[test]
    fn long_answers_go_out_in_pieces_and_nothing_is_missing() {
        let (_dir, store) = filled();
        for (command, line) in [
            ("LIST ACTIVE z.*", "z.%04 0 1 y"),
            ("LISTGROUP local.a", "%"),
            ("OVER 1-", "%\thi\tann@x\t5 Apr 93 18:01:16 GMT\t<%@x>\t\t"),
            ("HDR Subject 1-", "% hi"),
            ("HDR Newsgroups 1-", "% local.a"),
            ("HDR :lines 1-", "% 1"),
            ("NEWNEWS local.* 260101 000000", "<%@x>"),
            ("NEWGROUPS 260101 000000", "z.%04 0 1 y"),
        ] {
            let mut server = server(&store);
            let mut said = Vec::new();
            server.handle_input(start(), format!("GROUP local.a\r\n{command}\r\nDATE\r\n").as_bytes());
            loop {
                let before = said.len();
                server.poll_transmit(start(), &mut said);
                // A piece, and what one look at the store may add to it.
                assert!(server.output.len() < 3 * OUTPUT_MAX, "{command}");
                if said.len() == before {
                    break;
                }
            }
            let said = String::from_utf8(said).expect("text");
            let mut lines = said.lines().skip(3);
            for n in 1..=MANY {
                let expected = line.replace("%04", &format!("{n:04}")).replace('%', &n.to_string());
                let found = lines.next().expect("a line");
                assert!(found.starts_with(&expected), "{command}: {found} is not {expected}");
            }
            assert_eq!((lines.next(), lines.next()), (Some("."), Some("111 20260528202640")), "{command}");
        }
    }

    #[test]
    fn headers_and_texts_of_any_size_are_cut_in_the_right_place() {
        for padding in [0, READ - 200, READ - 150, READ - 145, READ, 3 * READ, HEADER_MAX - 200] {
            // Byte for byte across the place where one piece ends and the next begins.
            for more in 0..if padding == READ - 150 { 60 } else { 1 } {
                let (_dir, store) = open();
                let head = format!("X: {}\n", "y".repeat(padding + more));
                let text = article("<1@x>", "local.a", "me").replace("Date", &format!("{head}Date"));
                let policy = news::Policy { article_max: u64::MAX, ..village() };
                let source = Source::Peer("p".to_owned());
                store
                    .write(|change| news::accept(change, &policy, start(), &source, text.as_bytes()))
                    .expect("the store works");
                let stored = text.replace("me\n", "village!me\n").replace('\n', "\r\n");
                let (head, body) = stored.split_once("\r\n\r\n").expect("a blank line");
                let mut player = Player::new(server(&store), Split::Whole);
                player.heard();
                player.feed(b"HEAD <1@x>\r\nBODY <1@x>\r\nARTICLE <1@x>\r\n");
                let heard = String::from_utf8(player.heard()).expect("text");
                let expected =
                    format!("221 0 <1@x>\r\n{head}\r\n.\r\n222 0 <1@x>\r\n{body}.\r\n220 0 <1@x>\r\n{stored}.\r\n");
                assert!(heard == expected, "{padding} {more}: {} bytes of {}", heard.len(), expected.len());
                player.feed(b"HDR date <1@x>\r\nXHDR lines <1@x>\r\n");
                assert!(String::from_utf8(player.heard()).expect("text").contains("\r\n0 5 Apr 93"));
            }
        }
    }

    #[test]
    fn a_store_that_fails_in_the_middle_ends_the_connection_without_a_dot() {
        let (dir, store) = open();
        let text = article("<1@x>", "local.a", "me") + &"x\n".repeat(40_000);
        let source = Source::Peer("p".to_owned());
        store.write(|change| news::accept(change, &village(), start(), &source, text.as_bytes())).expect("it works");
        let mut server = server(&store);
        server.handle_input(start(), b"ARTICLE <1@x>\r\n");
        for file in std::fs::read_dir(dir.path().join("bodies")).expect("a folder") {
            let file = std::fs::OpenOptions::new().write(true).open(file.expect("a file").path()).expect("writable");
            file.set_len(20_000).expect("writable");
        }
        let mut said = Vec::new();
        let mut player = Player::new(server, Split::Whole);
        said.append(&mut player.heard());
        assert_eq!(player.outcome.map(|outcome| outcome.ended), Some(crate::gate::nntp_in::Ended::Broken));
        assert!(said.len() > 10_000 && !said.ends_with(b"\r\n.\r\n"), "{}", said.len());
        // What can be seen before the answer begins is told.
        let mut player = Player::new(self::server(&store), Split::Whole);
        player.play("> 200 …\n< HEAD <1@x>\n> 403 cannot read the store now\n< STAT <1@x>\n> 223 …");
    }
}
