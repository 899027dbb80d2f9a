//! `sendmail` as programs call it: its arguments and standard input, made into a submission.

use std::io::{self, Read};

use crate::base::address::{Address, BadAddress};
use crate::base::limits::RECIPIENTS_MAX;
use crate::base::time::Now;
use crate::store::{Envelope, Store};
use crate::wire::header::{Header, HeaderReader, addresses};

use super::intake::PIECE;
use super::{Intake, IntakeError, Origin, Policy, Submission};

/// What `sendmail` is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `-bm`: take a message from standard input.
    #[default]
    Submit,
    /// `-bp`: what `mailq` does.
    ListQueue,
    /// `-bi`: what `newaliases` does.
    Aliases,
}

/// The command line of `sendmail`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    pub mode: Mode,
    /// `-t`: recipients are in the header.
    pub recipients_from_header: bool,
    /// `-i`, `-oi`: a lone dot does not end the message.
    pub ignore_dots: bool,
    /// `-f`, `-r`; empty or `<>`: the null sender.
    pub sender: Option<String>,
    /// `-F`: the name in a `From` that we add.
    pub full_name: Option<String>,
    pub recipients: Vec<String>,
}

/// A command line that we cannot follow (exit status 64).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArguments {
    #[error("unknown option {0}")]
    Unknown(String),
    #[error("the option {0} wants a value")]
    NoValue(String),
    #[error("the mode -b{0} is not supported")]
    Mode(String),
}

/// Why there is no submission.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Exit status 65.
    #[error("{0}: {1}")]
    Address(String, BadAddress),
    #[error("there are no recipients")]
    NoRecipients,
    #[error("there are more than {RECIPIENTS_MAX} recipients")]
    TooManyRecipients,
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("cannot read the message")]
    Input(#[source] io::Error),
}

impl Arguments {
    /// Takes what sendmail, Postfix and Exim take, and passes over what only steers their insides.
    pub fn parse(words: &[String]) -> Result<Self, BadArguments> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                arguments.recipients.push(word.clone());
                continue;
            };
            let (letter, attached) = option.split_at(option.chars().next().map_or(0, char::len_utf8));
            match letter {
                "-" if attached.is_empty() => arguments.recipients.extend(words.by_ref().cloned()),
                "t" | "i" | "n" | "v" | "U" | "G" | "m" if !attached.is_empty() => {
                    // Clusters of flags, as in `-ti`.
                    for flag in option.chars() {
                        arguments.flag(flag, word)?;
                    }
                }
                "t" | "i" | "n" | "v" | "U" | "G" | "m" => {
                    letter.chars().try_for_each(|flag| arguments.flag(flag, word))?;
                }
                "b" => arguments.mode(attached)?,
                "o" => arguments.ignore_dots |= attached == "i",
                // Attached or nothing.
                "q" | "d" | "e" | "A" => {}
                "f" | "r" | "F" | "B" | "C" | "D" | "h" | "L" | "M" | "N" | "O" | "p" | "R" | "V" | "X" => {
                    let value = match attached {
                        "" => words.next().cloned().ok_or_else(|| BadArguments::NoValue(word.clone()))?,
                        _ => attached.to_owned(),
                    };
                    match letter {
                        "f" | "r" => arguments.sender = Some(value),
                        "F" => arguments.full_name = Some(value),
                        _ => {}
                    }
                }
                _ => return Err(BadArguments::Unknown(word.clone())),
            }
        }
        Ok(arguments)
    }

    fn flag(&mut self, flag: char, word: &str) -> Result<(), BadArguments> {
        match flag {
            't' => self.recipients_from_header = true,
            'i' => self.ignore_dots = true,
            'n' | 'v' | 'U' | 'G' | 'm' => {}
            _ => return Err(BadArguments::Unknown(word.to_owned())),
        }
        Ok(())
    }

    fn mode(&mut self, mode: &str) -> Result<(), BadArguments> {
        self.mode = match mode {
            "m" => Mode::Submit,
            "p" => Mode::ListQueue,
            "i" => Mode::Aliases,
            _ => return Err(BadArguments::Mode(mode.to_owned())),
        };
        Ok(())
    }
}

/// Reads a message of the local user `user`. Whether they may use `-f` the caller has decided.
pub fn submission(
    store: &Store,
    policy: &Policy,
    now: Now,
    user: &str,
    arguments: &Arguments,
    mut input: impl Read,
) -> Result<Submission, LocalError> {
    let mut until = UntilDot { ignore: arguments.ignore_dots, ..UntilDot::default() };
    let (mut piece, mut text) = (vec![0; PIECE], Vec::new());
    let mut reader = HeaderReader::new();
    let mut more = true;
    while more {
        more = next_piece(&mut input, &mut until, &mut piece, &mut text)?;
        if reader.push(&text).map_err(IntakeError::from)? {
            break;
        }
    }
    let (mut header, rest) = reader.finish();
    let origin = Origin::Local(user.to_owned());
    let envelope = envelope(policy, user, arguments, &mut header)?;
    let mut completion = origin.completion(policy, now.wall);
    if let (Some(completion), Some(name)) = (&mut completion, &arguments.full_name) {
        let name: String = name.chars().filter(|c| !c.is_control() && !"\"\\<>".contains(*c)).collect();
        completion.from = completion.from.take().map(|from| format!("\"{name}\" <{from}>"));
    }
    let received = origin.received(policy, &envelope.recipients, now.wall);
    let mut intake = Intake::new(store.draft(), received, completion, u64::MAX);
    intake.write(header.as_bytes())?;
    intake.write(&rest)?;
    while more {
        more = next_piece(&mut input, &mut until, &mut piece, &mut text)?;
        intake.write(&text)?;
    }
    let mut message = intake.finish()?;
    message.out.seal().map_err(IntakeError::from)?;
    Ok(Submission { origin, envelope, message, failures: Vec::new() })
}

/// Fills `text` with what comes next; whether there may be more.
fn next_piece(
    input: &mut impl Read,
    until: &mut UntilDot,
    piece: &mut [u8],
    text: &mut Vec<u8>,
) -> Result<bool, LocalError> {
    text.clear();
    let len = match input.read(piece) {
        Ok(len) => len,
        Err(why) if why.kind() == io::ErrorKind::Interrupted => return Ok(true),
        Err(why) => return Err(LocalError::Input(why)),
    };
    if len == 0 {
        until.end(text);
        return Ok(false);
    }
    Ok(!until.push(&piece[..len], text))
}

/// Sender and recipients; with `-t` from the header, whose `Bcc` goes (RFC 5322 section 3.6.3).
fn envelope(policy: &Policy, user: &str, arguments: &Arguments, header: &mut Header) -> Result<Envelope, LocalError> {
    // As in SMTP, and in every other `sendmail`: `a!b@c` is for c.
    let parse = |text: &String| Address::parse_smtp(text).map_err(|why| LocalError::Address(text.clone(), why));
    let mut words = arguments.recipients.iter().flat_map(|text| addresses(text)).collect::<Vec<String>>();
    if arguments.recipients_from_header {
        let fields = header.fields().filter(|field| ["To", "Cc", "Bcc"].iter().any(|name| field.is(name)));
        words.extend(fields.flat_map(|field| addresses(&field.text())).collect::<Vec<String>>());
        header.remove("Bcc");
    }
    if words.is_empty() {
        return Err(LocalError::NoRecipients);
    }
    if words.len() > RECIPIENTS_MAX {
        return Err(LocalError::TooManyRecipients);
    }
    let recipients = words.iter().map(parse).collect::<Result<Vec<Address>, LocalError>>()?;
    let sender = match arguments.sender.as_deref() {
        None => Some(parse(&format!("{user}@{}", policy.domain))?),
        Some("" | "<>") => None,
        Some(text) => Some(parse(&text.trim_start_matches('<').trim_end_matches('>').to_owned())?),
    };
    Ok(Envelope { sender, recipients })
}

/// Ends a text at a line that is a dot alone, in any split.
#[derive(Debug, Default)]
struct UntilDot {
    ignore: bool,
    /// What of a line has come that may still be a lone dot: nothing, `.` or `.` CR.
    held: Vec<u8>,
    within: bool,
    ended: bool,
}

impl UntilDot {
    /// Appends what belongs to the text; whether its end has come.
    fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        if self.ignore {
            out.extend_from_slice(input);
            return false;
        }
        for &byte in input {
            if self.ended {
                break;
            }
            match (self.within, self.held.as_slice(), byte) {
                (false, b".", b'\n') | (false, b".\r", b'\n') => {
                    self.held.clear();
                    self.ended = true;
                }
                (false, b"", b'.') | (false, b".", b'\r') => self.held.push(byte),
                _ => {
                    out.append(&mut self.held);
                    out.push(byte);
                    self.within = byte != b'\n';
                }
            }
        }
        self.ended
    }

    /// The input is at its end; a dot without a line end is the end too.
    fn end(&mut self, out: &mut Vec<u8>) {
        if self.held != b"." {
            out.append(&mut self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::accept;
    use crate::mail::policy::tests::village;
    use crate::mail::tests::{contents, now, open, placed};

    fn arguments(line: &str) -> Result<Arguments, BadArguments> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn sendmail_is_called_in_many_ways() {
        let plain = |recipients: &[&str]| Arguments {
            recipients: recipients.iter().map(|r| (*r).to_owned()).collect(),
            ..Arguments::default()
        };
        let from = |sender: &str, arguments: Arguments| Arguments { sender: Some(sender.to_owned()), ..arguments };
        for (line, expected) in [
            ("bob carl", plain(&["bob", "carl"])),
            ("-oi -oem -odb -f ann@x bob", from("ann@x", Arguments { ignore_dots: true, ..plain(&["bob"]) })),
            ("-fann@x -i -- -bob", from("ann@x", Arguments { ignore_dots: true, ..plain(&["-bob"]) })),
            ("-ti", Arguments { ignore_dots: true, recipients_from_header: true, ..plain(&[]) }),
            (
                "-t -F Ann -B 8BITMIME",
                Arguments { full_name: Some("Ann".to_owned()), recipients_from_header: true, ..plain(&[]) },
            ),
            ("-bp", Arguments { mode: Mode::ListQueue, ..plain(&[]) }),
            ("-N failure -bm bob", plain(&["bob"])),
        ] {
            assert_eq!(arguments(line), Ok(expected), "{line}");
        }
        assert_eq!(arguments("-f"), Err(BadArguments::NoValue("-f".to_owned())));
        assert_eq!(arguments("-bs"), Err(BadArguments::Mode("s".to_owned())));
        assert!(matches!(arguments("-tz"), Err(BadArguments::Unknown(_))));
        assert!(matches!(arguments("-Z"), Err(BadArguments::Unknown(_))));
    }

    fn until(ignore: bool, input: &str, piece: usize) -> String {
        let mut until = UntilDot { ignore, ..UntilDot::default() };
        let mut out = Vec::new();
        if !input.as_bytes().chunks(piece).any(|part| until.push(part, &mut out)) {
            until.end(&mut out);
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_lone_dot_ends_the_message_unless_told_otherwise() {
        for (input, expected) in [
            ("a\n.\nb\n", "a\n"),
            (".\n", ""),
            ("a\r\n.\r\nb", "a\r\n"),
            ("a\n..\n.b\n", "a\n..\n.b\n"),
            ("a.\n.", "a.\n"),
            ("a\n.\rb", "a\n.\rb"),
        ] {
            for piece in [1, 2, 1000] {
                assert_eq!(until(false, input, piece), expected, "{input:?}");
                assert_eq!(until(true, input, piece), input);
            }
        }
    }

    #[test]
    fn recipients_come_from_the_header_and_bcc_goes() {
        let text = "To: Bob <bob@x>, carl\nbcc: dora@y\nCC: a!b!c\nSubject: hi\n";
        let mut header = Header::parse(text.as_bytes()).expect("short").0;
        let with_t = arguments("-t extra").expect("arguments");
        let found = envelope(&village(), "ann", &with_t, &mut header).expect("an envelope");
        let shown: Vec<String> = found.recipients.iter().map(Address::to_string).collect();
        assert_eq!(shown, ["extra", "bob@x", "carl", "dora@y", "a!b!c"]);
        assert_eq!(found.sender.expect("a sender").to_string(), "ann@village.example");
        assert_eq!(header.as_bytes(), b"To: Bob <bob@x>, carl\nCC: a!b!c\nSubject: hi\n".as_slice());
        let nobody = envelope(&village(), "ann", &arguments("-t").expect("arguments"), &mut Header::default());
        assert!(matches!(nobody, Err(LocalError::NoRecipients)));
        let mixed =
            envelope(&village(), "ann", &arguments("far!x@hub.example").expect("arguments"), &mut Header::default());
        assert_eq!(
            mixed.expect("an envelope").recipients[0].first_host(),
            Some("hub.example"),
            "the @ goes first, as in SMTP"
        );
        let null = envelope(&village(), "ann", &arguments("-f <> bob").expect("arguments"), &mut Header::default());
        assert_eq!(null.expect("an envelope").sender, None);
    }

    #[test]
    fn a_user_s_letter_is_completed_and_filed() {
        let (_dir, store) = open();
        let input = "To: bob\nBcc: hub!x\nSubject: hi\n\nhello\n.\nnot this\n";
        let called = arguments("-t -F Ann").expect("arguments");
        let submission = submission(&store, &village(), now(), "ann", &called, input.as_bytes()).expect("a letter");
        store.write(|change| accept(change, &village(), now(), submission)).expect("it is accepted");
        assert_eq!(placed(&store), ["mailbox bob: <ann@village.example>", "item hub C: <ann@village.example> to <x>"]);
        let shown = contents(&store);
        let end = shown.lines().next().and_then(|line| line.split("To: ").nth(1)).expect("a header");
        let id = end.split("Message-ID: ").nth(1).and_then(|rest| rest.split("\\n").next()).expect("a Message-ID");
        assert_eq!(
            end.replace(id, "<ID>"),
            "bob\\nSubject: hi\\nFrom: \"Ann\" <ann@village.example>\\nDate: Thu, 28 May 2026 20:26:40 +0000\\n\
             Message-ID: <ID>\\n\\nhello\\n"
        );
    }
}
