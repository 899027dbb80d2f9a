//! Delivery status notifications (RFC 3464), and the dead letters where none can be sent.

use std::fmt::Write as _;

use crate::base::address::Address;
use crate::base::names::Grade;
use crate::base::time::{Now, Timestamp};
use crate::store::ledger::Fact;
use crate::store::{BodyId, Cargo, Change, Envelope, Hop, NewItem, StoreError, View};
use crate::wire::header::{Header, HeaderReader, folded, message_id};
use crate::wire::smtp::Status;

use super::{Letter, Origin, Policy, destination, dispatch};

/// A recipient who will not get the message, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// As the sender wrote it or as the next hop was told; not always an address.
    pub recipient: String,
    pub status: Status,
    /// One sentence, or what the remote host said.
    pub reason: String,
    /// The SMTP host that said so.
    pub remote: Option<String>,
}

impl Failure {
    /// Found out here.
    pub fn new(recipient: impl ToString, status: Status, reason: impl Into<String>) -> Self {
        Self { recipient: recipient.to_string(), status, reason: reason.into(), remote: None }
    }
}

/// Tells the sender of a letter which recipients failed. A letter from nobody is buried instead, and so is one whose
/// sender cannot be told: a report is never reported on (RFC 5321 section 6.1).
pub(crate) fn give_back(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    letter: &Letter,
    failures: Vec<Failure>,
) -> Result<(), StoreError> {
    let Some(first) = failures.first() else {
        return Ok(());
    };
    let why = format!("<{}>: {}", first.recipient, first.reason);
    let Some(sender) = letter.sender.clone() else {
        return bury(change, policy, now, letter, &failures, &why);
    };
    if let Err(refusal) = destination(change, policy, &Origin::Report, &sender)? {
        let why = format!("{why}; and the sender <{sender}> cannot be told: {refusal}");
        return bury(change, policy, now, letter, &failures, &why);
    }
    let header = original_header(change, letter.body)?;
    let text = report(policy, now.wall, &sender, &failures, &header);
    let report = Letter {
        sender: None,
        body: change.keep_bytes(&text.bytes)?,
        size: text.bytes.len() as u64,
        message_id: text.message_id,
        grade: Grade::MAIL,
    };
    change.record(Fact {
        at: now.wall,
        verb: "returned",
        what: "mail",
        place: sender.to_string(),
        id: letter.message_id.clone(),
        bytes: letter.size,
        detail: if failures.len() > 1 { format!("{why}; and {} more", failures.len() - 1) } else { why },
    })?;
    let (_, lost) = dispatch(change, policy, now, &Origin::Report, &report, vec![sender])?;
    assert!(lost.is_empty(), "the sender's address had a destination");
    Ok(())
}

/// Into the dead letters, as an item that waits for ourselves: tried again, it is routed anew ([`super::delivery::reroute`]).
fn bury(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    letter: &Letter,
    failures: &[Failure],
    why: &str,
) -> Result<(), StoreError> {
    let recipients = failures.iter().filter_map(|failure| Address::parse_uucp(&failure.recipient).ok()).collect();
    let envelope = Envelope { sender: letter.sender.clone(), recipients };
    let cargo = Cargo::Mail { envelope, body: letter.body };
    let hop = Hop::Site(policy.name.clone());
    let id = change.enqueue(NewItem { hop, cargo, grade: letter.grade, queued: now.wall })?;
    change.bury_item(id, why, now.wall)?;
    change.record(Fact {
        at: now.wall,
        verb: "buried",
        what: "mail",
        place: letter.sender_text(),
        id: letter.message_id.clone(),
        bytes: letter.size,
        detail: why.to_owned(),
    })
}

/// The header of a kept message, or what can be had of it: of one that is lost the sender is told all the same.
pub(crate) fn original_header(view: &View<'_>, body: BodyId) -> Result<Header, StoreError> {
    let body = match view.body(body) {
        Ok(body) => body,
        Err(StoreError::Io { .. } | StoreError::Damaged(_)) => return Ok(Header::default()),
        Err(error) => return Err(error),
    };
    let (mut reader, mut at, mut piece) = (HeaderReader::new(), 0, vec![0; 8 * 1024]);
    loop {
        let unreadable = |why| StoreError::Damaged(format!("a body cannot be read: {why}"));
        let len = body.read_at(at, &mut piece).map_err(unreadable)?;
        match reader.push(&piece[..len]) {
            Ok(false) if len > 0 => at += len as u64,
            Ok(_) => return Ok(reader.finish().0),
            Err(_) => return Ok(Header::default()),
        }
    }
}

struct Report {
    bytes: Vec<u8>,
    message_id: String,
}

fn report(policy: &Policy, now: Timestamp, sender: &Address, failures: &[Failure], original: &Header) -> Report {
    let to = super::rewrite::smtp_address(policy, sender);
    let id = message_id(now, format!("{to}{failures:?}").as_bytes(), policy.domain.as_str());
    let boundary = boundary(&id, original);
    let mut text = [
        folded("From", &format!("Mail Delivery System <MAILER-DAEMON@{}>", policy.domain)),
        folded("To", &format!("<{to}>")),
        folded("Date", &now.rfc5322()),
        folded("Message-ID", &id),
        folded("Subject", "Undelivered mail returned to sender"),
        folded("Auto-Submitted", "auto-replied"),
        folded("MIME-Version", "1.0"),
        folded("Content-Type", &format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"")),
    ]
    .concat();
    let mut words =
        format!("This is the mail system at {}.\n\nYour message could not be delivered to\n\n", policy.hostname);
    for failure in failures {
        let host = failure.remote.as_ref().map(|host| format!(" {host} said:")).unwrap_or_default();
        let _ = writeln!(words, "  <{}>:{host} {}", visible(&failure.recipient), visible(&failure.reason));
    }
    words.push_str("\nIts header is attached.\n");
    let encoding = |ascii: bool| if ascii { "" } else { "Content-Transfer-Encoding: 8bit\n" };
    let _ = write!(
        text,
        "\n--{boundary}\nContent-Type: text/plain; charset=utf-8\n{}\n{words}\n--{boundary}\n\
         Content-Type: message/delivery-status\n\n{}\n--{boundary}\nContent-Type: text/rfc822-headers\n{}\n",
        encoding(words.is_ascii()),
        status_fields(policy, failures),
        encoding(original.as_bytes().is_ascii()),
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(original.as_bytes());
    bytes.extend_from_slice(format!("\n--{boundary}--\n").as_bytes());
    Report { bytes, message_id: id }
}

/// RFC 3464 section 2: fields about the message, then about each recipient. ASCII only.
fn status_fields(policy: &Policy, failures: &[Failure]) -> String {
    let mut fields = format!("Reporting-MTA: dns; {}\n", ascii(&policy.hostname));
    for failure in failures {
        let kind = if failure.recipient.is_ascii() { "rfc822" } else { "utf-8" };
        let diagnostic = match &failure.remote {
            Some(host) => {
                format!("Remote-MTA: dns; {}\n", ascii(host))
                    + &folded("Diagnostic-Code", &format!("smtp; {}", ascii(&failure.reason)))
            }
            None => folded("Diagnostic-Code", &format!("x-bangpath; {}", ascii(&failure.reason))),
        };
        let _ = write!(
            fields,
            "\nFinal-Recipient: {kind}; {}\nAction: failed\nStatus: {}\n{diagnostic}",
            xtext(&failure.recipient),
            failure.status
        );
    }
    fields
}

/// The 7-bit form of an internationalised address (`utf-8-addr-xtext`, RFC 6533 section 3).
fn xtext(address: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && (address.is_ascii() || !"\\+=".contains(c));
    address.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }).collect()
}

fn ascii(text: &str) -> String {
    visible(text).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// In one line: a reason may quote what a peer or user sent.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One that does not stand in what is quoted.
fn boundary(id: &str, original: &Header) -> String {
    let stem: String = id.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let free = |candidate: &String| memchr::memmem::find(original.as_bytes(), candidate.as_bytes()).is_none();
    (0_u32..).map(|n| format!("=_{stem}.{n}")).find(free).expect("a header has an end, and numbers have none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::policy::tests::village;

    fn failure(recipient: &str, remote: Option<&str>, reason: &str) -> Failure {
        let (recipient, remote) = (recipient.to_owned(), remote.map(str::to_owned));
        Failure { recipient, status: Status(5, 1, 1), reason: reason.to_owned(), remote }
    }

    fn header(text: &str) -> Header {
        Header::parse(text.as_bytes()).expect("short enough").0
    }

    #[test]
    fn a_report_says_who_failed_and_why_in_words_and_in_fields() {
        let sender = Address::parse_smtp("ann@far.example").expect("an address");
        let failures = [
            failure("bob@x.example", Some("mx.example"), "550 5.1.1 no such user"),
            failure("; rm", None, "it is bad\r\nX: y"),
        ];
        let now = Timestamp::from_seconds(883_994_400);
        let report = report(&village(), now, &sender, &failures, &header("Subject: hi\nX: \u{e4}\n"));
        let text = String::from_utf8(report.bytes).expect("text");
        let boundary =
            text.split("boundary=\"").nth(1).and_then(|t| t.split('"').next()).expect("a boundary").to_owned();
        let id = report.message_id;
        let expected = "\
From: Mail Delivery System <MAILER-DAEMON@village.example>
To: <ann@far.example>
Date: Mon, 05 Jan 1998 10:00:00 +0000
Message-ID: ID
Subject: Undelivered mail returned to sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary=\"B\"

--B
Content-Type: text/plain; charset=utf-8

This is the mail system at mx.village.example.

Your message could not be delivered to

  <bob@x.example>: mx.example said: 550 5.1.1 no such user
  <; rm>: it is bad  X: y

Its header is attached.

--B
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.village.example

Final-Recipient: rfc822; bob@x.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example
Diagnostic-Code: smtp; 550 5.1.1 no such user

Final-Recipient: rfc822; ;\\x{20}rm
Action: failed
Status: 5.1.1
Diagnostic-Code: x-bangpath; it is bad X: y

--B
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

Subject: hi
X: \u{e4}

--B--
";
        assert_eq!(text.replace(&boundary, "B").replace(&id, "ID"), expected);
    }

    #[test]
    fn addresses_beyond_ascii_have_a_seven_bit_form() {
        assert_eq!(xtext("ü+a@x"), "\\x{FC}\\x{2B}a@x");
        let fields = status_fields(&village(), &[failure("ü@x", None, "nö")]);
        assert!(fields.is_ascii() && fields.contains("utf-8; \\x{FC}@x"), "{fields}");
    }

    #[test]
    fn a_boundary_is_never_in_what_is_quoted() {
        let taken = boundary("<1.a@x>", &Header::default());
        assert_ne!(boundary("<1.a@x>", &header(&format!("X: {taken}\n"))), taken);
    }
}
