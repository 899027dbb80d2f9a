//! SMTP commands and replies (RFC 5321), parsed and printed by both sides of the conversation.
//!
//! Lines come without their CRLF; [`LineReader`](super::text::LineReader) has seen to it that none stands within.

use std::fmt;

use crate::base::address::{Address, BadAddress};
use crate::base::limits::SMTP_REPLY_LINES_MAX;

/// A command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO and EHLO with the client's name, as it gave it.
    Helo(String),
    Ehlo(String),
    Mail(Mail),
    Rcpt(Address),
    Data,
    Rset,
    Noop,
    Vrfy(String),
    Help,
    Quit,
}

/// `MAIL FROM:<sender>` and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// `None`: the null sender, `<>`.
    pub sender: Option<Address>,
    /// RFC 1870.
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// RFC 6531.
    pub smtputf8: bool,
}

/// Why a line is no command we can follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("unknown command")]
    Unknown,
    #[error("{0}")]
    Syntax(&'static str),
    #[error(transparent)]
    Sender(BadAddress),
    #[error(transparent)]
    Recipient(BadAddress),
    #[error("unknown or bad parameter {0}")]
    Parameter(String),
}

impl Malformed {
    /// What a server says to it.
    pub fn reply(&self) -> Reply {
        let (code, status) = match self {
            Self::Unknown => (500, Status(5, 5, 1)),
            Self::Syntax(_) => (501, Status(5, 5, 4)),
            Self::Sender(_) => (501, Status(5, 1, 7)),
            Self::Recipient(_) => (501, Status(5, 1, 3)),
            Self::Parameter(_) => (555, Status(5, 5, 4)),
        };
        Reply::new(code, status, self.to_string())
    }
}

impl Command {
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let line = std::str::from_utf8(line).map_err(|_| Malformed::Syntax("the command is no UTF-8"))?;
        if line.contains('\0') {
            return Err(Malformed::Syntax("a NUL in the command"));
        }
        let line = line.trim_end_matches([' ', '\t']);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start_matches(' ');
        let alone = |command: Self| {
            if rest.is_empty() { Ok(command) } else { Err(Malformed::Syntax("this command takes no parameter")) }
        };
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => Ok(Self::Helo(client_name(rest)?)),
            "EHLO" => Ok(Self::Ehlo(client_name(rest)?)),
            "MAIL" => mail(rest).map(Self::Mail),
            "RCPT" => rcpt(rest).map(Self::Rcpt),
            "DATA" => alone(Self::Data),
            "RSET" => alone(Self::Rset),
            "QUIT" => alone(Self::Quit),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if rest.is_empty() => Err(Malformed::Syntax("whom?")),
            "VRFY" => Ok(Self::Vrfy(rest.to_owned())),
            _ => Err(Malformed::Unknown),
        }
    }
}

/// As it goes on the wire, without CRLF.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helo(name) => write!(f, "HELO {name}"),
            Self::Ehlo(name) => write!(f, "EHLO {name}"),
            Self::Mail(mail) => {
                match &mail.sender {
                    Some(sender) => write!(f, "MAIL FROM:<{sender}>")?,
                    None => f.write_str("MAIL FROM:<>")?,
                }
                if let Some(size) = mail.size {
                    write!(f, " SIZE={size}")?;
                }
                if mail.eight_bit {
                    f.write_str(" BODY=8BITMIME")?;
                }
                if mail.smtputf8 { f.write_str(" SMTPUTF8") } else { Ok(()) }
            }
            Self::Rcpt(recipient) => write!(f, "RCPT TO:<{recipient}>"),
            Self::Data => f.write_str("DATA"),
            Self::Rset => f.write_str("RSET"),
            Self::Noop => f.write_str("NOOP"),
            Self::Vrfy(whom) => write!(f, "VRFY {whom}"),
            Self::Help => f.write_str("HELP"),
            Self::Quit => f.write_str("QUIT"),
        }
    }
}

/// Clients give their name badly as often as not (RFC 5321 section 4.1.4: it must not matter), but it
/// ends up in `Received`.
fn client_name(text: &str) -> Result<String, Malformed> {
    let fits = |c: char| c.is_ascii_graphic() && !"()<>\\\";,".contains(c) || !c.is_ascii() && !c.is_control();
    if text.is_empty() || text.len() > 255 || !text.chars().all(fits) {
        return Err(Malformed::Syntax("the name of the client is missing or bad"));
    }
    Ok(text.to_owned())
}

fn mail(rest: &str) -> Result<Mail, Malformed> {
    let (path, parameters) = path(rest, "FROM:", "MAIL FROM:<address> is the form")?;
    let sender = match path {
        "" => None,
        _ => Some(Address::parse_smtp(path).map_err(Malformed::Sender)?),
    };
    let mut mail = Mail { sender, ..Mail::default() };
    for parameter in parameters.split_whitespace() {
        let bad = || Malformed::Parameter(parameter.chars().take(60).collect());
        let (key, value) = parameter.split_once('=').map_or((parameter, None), |(k, v)| (k, Some(v)));
        match (key.to_ascii_uppercase().as_str(), value.map(str::to_ascii_uppercase).as_deref()) {
            ("SIZE", Some(digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                mail.size = Some(digits.parse().map_err(|_| bad())?);
            }
            ("BODY", Some("7BIT")) => mail.eight_bit = false,
            ("BODY", Some("8BITMIME")) => mail.eight_bit = true,
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            _ => return Err(bad()),
        }
    }
    Ok(mail)
}

fn rcpt(rest: &str) -> Result<Address, Malformed> {
    let (path, parameters) = path(rest, "TO:", "RCPT TO:<address> is the form")?;
    if let Some(parameter) = parameters.split_whitespace().next() {
        return Err(Malformed::Parameter(parameter.chars().take(60).collect()));
    }
    Address::parse_smtp(path).map_err(Malformed::Recipient)
}

/// The address in what stands behind MAIL (`keyword` is `FROM:`) or RCPT (`TO:`), where nobody hears an answer: parameters are
/// passed over, for refusing a letter for them helps nobody, and the angle brackets may be missing. `None`: `<>`.
pub fn unanswered_address(rest: &str, keyword: &str) -> Result<Option<Address>, BadAddress> {
    const FORM: &str = "it does not stand as <address>";
    let rest = rest.trim();
    let after = after_keyword(rest, keyword).ok_or(BadAddress(FORM))?.trim_start();
    let address = match after.starts_with('<') {
        true => path(rest, keyword, FORM).map_err(|_| BadAddress(FORM))?.0,
        false => after.split_whitespace().next().ok_or(BadAddress(FORM))?,
    };
    if address.is_empty() { Ok(None) } else { Address::parse_smtp(address).map(Some) }
}

fn after_keyword<'a>(rest: &'a str, keyword: &str) -> Option<&'a str> {
    rest.get(..keyword.len()).filter(|k| k.eq_ignore_ascii_case(keyword)).map(|_| &rest[keyword.len()..])
}

/// What stands between `<` and `>`, and what follows. A blank before `<` is common and harmless.
fn path<'a>(rest: &'a str, keyword: &str, form: &'static str) -> Result<(&'a str, &'a str), Malformed> {
    let inner = after_keyword(rest, keyword)
        .and_then(|t| t.trim_start_matches(' ').strip_prefix('<'))
        .ok_or(Malformed::Syntax(form))?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                let after = &inner[at + 1..];
                return if after.is_empty() || after.starts_with(' ') {
                    Ok((&inner[..at], after))
                } else {
                    Err(Malformed::Syntax(form))
                };
            }
            _ => {}
        }
    }
    Err(Malformed::Syntax(form))
}

/// An enhanced status code: class, subject, detail (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8, pub u16, pub u16);

impl Status {
    /// `5.1.1`, if that is what stands there.
    pub fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split('.').map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits)
        });
        let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply of a server: one code, one line of text or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub status: Option<Status>,
    /// Never empty. Controls are blanks.
    pub lines: Vec<String>,
}

impl Reply {
    pub fn new(code: u16, status: Status, text: impl Into<String>) -> Self {
        Self { code, status: Some(status), lines: vec![text.into()] }
    }

    /// Without an enhanced code: the greeting, EHLO and 354 (RFC 2034 section 4).
    pub fn plain(code: u16, lines: impl IntoIterator<Item = String>) -> Self {
        Self { code, status: None, lines: lines.into_iter().collect() }
    }

    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// 4xx: it may work later.
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// The enhanced code, or the one that says no more than the code's first digit.
    pub fn status_or_default(&self) -> Status {
        self.status.unwrap_or(match self.code / 100 {
            2 | 3 => Status(2, 0, 0),
            4 => Status(4, 0, 0),
            _ => Status(5, 0, 0),
        })
    }

    /// Appends it with its CRLFs.
    pub fn print(&self, out: &mut Vec<u8>) {
        let status = self.status.map(|status| format!("{status} ")).unwrap_or_default();
        for (n, line) in self.lines.iter().enumerate() {
            let mark = if n + 1 < self.lines.len() { '-' } else { ' ' };
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            out.extend_from_slice(format!("{}{mark}{status}{line}\r\n", self.code).as_bytes());
        }
    }
}

/// In one line, for logs, deferrals and delivery status notifications.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        self.lines.iter().filter(|line| !line.is_empty()).try_for_each(|line| write!(f, " {line}"))
    }
}

/// Why what a server said is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    #[error("a line of the server does not begin with a code")]
    NoCode,
    #[error("the lines of a reply of the server have different codes")]
    CodesDiffer,
    #[error("a reply of the server has more than {SMTP_REPLY_LINES_MAX} lines")]
    TooManyLines,
}

/// Puts replies together from lines.
#[derive(Debug, Default)]
pub struct ReplyReader {
    begun: Option<Reply>,
}

impl ReplyReader {
    /// The reply that ends with this line, if one does.
    pub fn push(&mut self, line: &[u8]) -> Result<Option<Reply>, BadReply> {
        let (code, last, text) = reply_line(line).ok_or(BadReply::NoCode)?;
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let status = Status::parse(word).filter(|status| u16::from(status.0) == code / 100);
        let text = if status.is_some() { rest.to_owned() } else { text };
        let reply = match self.begun.take() {
            None => Reply { code, status, lines: vec![text] },
            Some(reply) if reply.code != code => return Err(BadReply::CodesDiffer),
            Some(reply) if reply.lines.len() == SMTP_REPLY_LINES_MAX => return Err(BadReply::TooManyLines),
            Some(mut reply) => {
                reply.lines.push(text);
                reply
            }
        };
        if last {
            return Ok(Some(reply));
        }
        self.begun = Some(reply);
        Ok(None)
    }
}

fn reply_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let code = line.get(..3).filter(|c| c.iter().all(u8::is_ascii_digit))?;
    let code = code.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    let last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    (200..600).contains(&code).then_some((code, last, text))
}

/// What a server offers in its answer to EHLO.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    pub pipelining: bool,
    pub eight_bit: bool,
    pub smtputf8: bool,
    /// SIZE is offered; and the largest message, where it names one.
    pub size: bool,
    pub size_max: Option<u64>,
}

impl Offers {
    pub fn from_reply(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.smtputf8 = true,
                "SIZE" => {
                    offers.size = true;
                    offers.size_max = words.next().and_then(|n| n.parse().ok()).filter(|max| *max > 0);
                }
                _ => {}
            }
        }
        offers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: &str) {
        let got = match Command::parse(line.as_bytes()) {
            Ok(command) => command.to_string(),
            Err(why) => {
                let mut out = Vec::new();
                why.reply().print(&mut out);
                String::from_utf8(out).expect("a reply is UTF-8").split(' ').take(2).collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(got, expected, "{line:?}");
    }

    #[test]
    fn commands_are_read_as_the_rfc_has_them() {
        for (line, expected) in [
            ("helo a.example", "HELO a.example"),
            ("EHLO [192.0.2.1]", "EHLO [192.0.2.1]"),
            ("ehlo", "501 5.5.4"),
            ("EHLO a b", "501 5.5.4"),
            ("EHLO (x)", "501 5.5.4"),
            ("mail from:<ann@x> size=10 body=8bitmime smtputf8", "MAIL FROM:<ann@x> SIZE=10 BODY=8BITMIME SMTPUTF8"),
            ("MAIL FROM:<>", "MAIL FROM:<>"),
            ("MAIL FROM: <ann@x>", "MAIL FROM:<ann@x>"),
            ("MAIL FROM:<ann@x> BODY=7BIT", "MAIL FROM:<ann@x>"),
            ("MAIL FROM:ann@x", "501 5.5.4"),
            ("MAIL FROM:<ann@x>SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<ann@x", "501 5.5.4"),
            ("MAIL FROM:<ann@x> SIZE=99999999999999999999999", "555 5.5.4"),
            ("MAIL FROM:<ann@x> SIZE=", "555 5.5.4"),
            ("MAIL FROM:<ann@x> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<ann@x> RET=HDRS", "555 5.5.4"),
            ("MAIL FROM:<a b@x>", "501 5.1.7"),
            ("MAIL", "501 5.5.4"),
            ("RCPT TO:<postmaster>", "RCPT TO:<postmaster>"),
            ("RCPT TO:<a!b!c>", "RCPT TO:<a!b!c>"),
            ("rcpt to:<\"a b>\\\"\"@c>", "501 5.1.3"),
            ("rcpt to:<\"a b\\\"\"@c>", "RCPT TO:<\"a b\\\"\"@c>"),
            ("RCPT TO:<\"a@b\"@c>", "RCPT TO:<\"a@b\"@c>"),
            ("RCPT TO:<@r:ann@x>", "RCPT TO:<ann@x>"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<-oX>", "501 5.1.3"),
            ("RCPT TO:<ann@x> NOTIFY=NEVER", "555 5.5.4"),
            ("RCPT TO:<ünï@dömain.example>", "RCPT TO:<ünï@dömain.example>"),
            ("DATA", "DATA"),
            ("DATA ", "DATA"),
            ("DATA x", "501 5.5.4"),
            ("NOOP whatever", "NOOP"),
            ("VRFY ann", "VRFY ann"),
            ("VRFY", "501 5.5.4"),
            ("HELP me", "HELP"),
            ("QUIT", "QUIT"),
            ("", "500 5.5.1"),
            ("STARTTLS", "500 5.5.1"),
            ("MAIL\0", "501 5.5.4"),
        ] {
            check(line, expected);
        }
        assert!(Command::parse(b"VRFY \xff").is_err());
    }

    fn replies(lines: &[&str]) -> String {
        let mut reader = ReplyReader::default();
        let told = lines.iter().filter_map(|line| match reader.push(line.as_bytes()) {
            Ok(None) => None,
            Ok(Some(reply)) => {
                let mut out = Vec::new();
                reply.print(&mut out);
                Some(String::from_utf8(out).expect("a reply is UTF-8").replace("\r\n", "|"))
            }
            Err(why) => Some(format!("{why:?}")),
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn replies_of_one_line_and_more_are_read_and_printed() {
        for (lines, expected) in [
            (&["250 ok"][..], "250 ok|"),
            (&["250"], "250 |"),
            (&["250 2.1.0 fine"], "250 2.1.0 fine|"),
            (&["550-5.1.1 no such", "550 5.1.1 user here"], "550-5.1.1 no such|550 5.1.1 user here|"),
            (&["250-a", "250-B 1", "250 c"], "250-a|250-B 1|250 c|"),
            // A code of another class is text.
            (&["250 5.1.1 odd"], "250 5.1.1 odd|"),
            (&["250-a", "550 b"], "CodesDiffer"),
            (&["hello"], "NoCode"),
            (&["25"], "NoCode"),
            (&["250_x"], "NoCode"),
            (&["199 x"], "NoCode"),
            (&["220 a\tb"], "220 a b|"),
        ] {
            assert_eq!(replies(lines), expected, "{lines:?}");
        }
        assert!(replies(&["250-x"; 101]).contains("TooManyLines"));
        let status = |line: &str| ReplyReader::default().push(line.as_bytes()).ok().flatten().and_then(|r| r.status);
        assert_eq!(status("250 5.1.1 odd"), None);
        assert_eq!(status("450 4.2.0"), Some(Status(4, 2, 0)));
        assert_eq!(status("450 4.2000.0 x"), None);
    }

    #[test]
    fn offers_are_read_from_the_answer_to_ehlo() {
        let lines = ["hub at your service", "PIPELINING", "size 1000", "8bitmime", "X-ODD"].map(str::to_owned);
        let offers = Offers::from_reply(&Reply::plain(250, lines));
        assert_eq!(
            offers,
            Offers { pipelining: true, eight_bit: true, smtputf8: false, size: true, size_max: Some(1000) }
        );
        let offers = Offers::from_reply(&Reply::plain(250, ["PIPELINING", "SIZE 0"].map(str::to_owned)));
        assert_eq!(offers, Offers { size: true, ..Offers::default() });
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_is_a_command_or_malformed(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(command) = Command::parse(&line) {
                prop_assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command));
            }
        }

        #[test]
        fn printed_commands_are_read_back(sender in "(MAIL FROM:|RCPT TO:)<[a-z\"@.!\\\\ >]{0,9}>( SIZE=[0-9]{1,3})?") {
            if let Ok(command) = Command::parse(sender.as_bytes()) {
                prop_assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command));
            }
        }
    }
}
