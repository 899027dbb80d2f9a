//! Envelopes between the world of `user@domain` and the world of `rmail` and bang paths, both ways.
//!
//! Out: a `From_` line of exactly ten words (`From ann@x Mon Jan  5 10:00:00 1998 remote from village`), which Postfix's and BSD's `rmail`
//! and Exim can all read, and recipients as arguments. In: all `From_` lines together name the sender.

use crate::base::address::{Address, Domain};
use crate::base::limits::RMAIL_COMMAND_MAX;
use crate::base::names::SiteName;
use crate::base::time::Timestamp;
use crate::store::Envelope;
use crate::wire::bsmtp;

use super::policy::{Addressing, Policy, SiteMail};

/// The null sender in a `From_` line: old `rmail`s do not take `<>`.
const NULL_SENDER: &str = "MAILER-DAEMON";

/// One execution of `rmail` at a neighbour. Its standard input is `prefix`, then the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rmail {
    /// `rmail bob carl`
    pub command: String,
    /// The `From_` line.
    pub prefix: Vec<u8>,
    pub recipients: Vec<Address>,
}

/// An address that cannot be an argument of `rmail` or a word of a `From_` line: it needs quotes, or a
/// shell at an old peer would make something else of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {0} cannot be sent over UUCP")]
pub struct Inexpressible(pub String);

/// What `site` is to execute for this envelope: one execution, or several where the recipients make
/// the command longer than [`RMAIL_COMMAND_MAX`]. Nobody is left out.
pub fn outgoing_rmail(
    policy: &Policy,
    site: &SiteName,
    envelope: &Envelope,
    queued: Timestamp,
) -> Result<Vec<Rmail>, Inexpressible> {
    let addressing = policy.site(site).addressing;
    let sender = sender_word(policy, addressing, envelope.sender.as_ref())?;
    let prefix = format!("From {sender} {} remote from {}\n", queued.ctime(), policy.name).into_bytes();
    let mut jobs: Vec<Rmail> = Vec::new();
    for recipient in &envelope.recipients {
        let argument = recipient_word(addressing, recipient)?;
        match jobs.last_mut() {
            Some(job) if job.command.len() + 1 + argument.len() <= RMAIL_COMMAND_MAX => {
                job.command.push(' ');
                job.command.push_str(&argument);
                job.recipients.push(recipient.clone());
            }
            _ => jobs.push(Rmail {
                command: format!("rmail {argument}"),
                prefix: prefix.clone(),
                recipients: vec![recipient.clone()],
            }),
        }
    }
    Ok(jobs)
}

/// How `site` is told of a recipient, with the command that tells it: `rmail bob`, or `rsmtp <bob>`.
pub fn told(mail: SiteMail, recipient: &Address) -> Result<String, Inexpressible> {
    match mail.batch {
        None => recipient_word(mail.addressing, recipient).map(|word| format!("rmail {word}")),
        Some(batch) => {
            batched_recipient(mail.addressing, recipient).map(|to| format!("{} <{to}>", bsmtp::command(batch.packing)))
        }
    }
}

/// The envelope as a site is told of it in a batch. With domains each address is one that SMTP takes, as Exim and Smail do; with
/// bang paths a path from the site on. No command line bounds it, and no shell sees it, so what `rmail` cannot be told is told here.
pub fn outgoing_batched(policy: &Policy, site: &SiteName, envelope: &Envelope) -> Result<Envelope, Inexpressible> {
    let addressing = policy.site(site).addressing;
    let sender = match (&envelope.sender, addressing) {
        (None, _) => None,
        (Some(sender), Addressing::Domain) => Some(smtp_address(policy, sender)),
        (Some(sender), Addressing::Bang) => {
            let word = sender_word(policy, addressing, Some(sender))?;
            Some(path(&format!("{}!{word}", policy.name), sender)?)
        }
    };
    let recipients = envelope.recipients.iter().map(|to| batched_recipient(addressing, to));
    Ok(Envelope { sender, recipients: recipients.collect::<Result<_, _>>()? })
}

fn batched_recipient(addressing: Addressing, recipient: &Address) -> Result<Address, Inexpressible> {
    match (addressing, recipient) {
        (_, Address::Local(_)) | (Addressing::Domain, Address::Domain { .. }) => Ok(recipient.clone()),
        (Addressing::Bang, Address::Domain { .. }) | (_, Address::Path { .. }) => {
            path(&written(Addressing::Bang, recipient), recipient)
        }
    }
}

/// A path that is still one when it has been read as SMTP reads it.
fn path(word: &str, address: &Address) -> Result<Address, Inexpressible> {
    let read = Address::parse_smtp(word).ok().filter(|read| !matches!(read, Address::Domain { .. }));
    read.ok_or_else(|| Inexpressible(address.to_string()))
}

/// How `site` is told of a recipient of `rmail`.
pub fn recipient_word(addressing: Addressing, recipient: &Address) -> Result<String, Inexpressible> {
    plain(written(addressing, recipient), recipient)
}

/// How a neighbour is told of the sender: relative to us, since our name stands behind `remote from`.
pub fn sender_word(policy: &Policy, addressing: Addressing, sender: Option<&Address>) -> Result<String, Inexpressible> {
    let Some(sender) = sender else {
        return Ok(NULL_SENDER.to_owned());
    };
    let word = match (addressing, sender) {
        (Addressing::Bang, Address::Domain { local, domain }) if policy.is_ours(domain.as_str()) => local.clone(),
        (Addressing::Domain, Address::Local(user)) => format!("{user}@{}", policy.domain),
        _ => written(addressing, sender),
    };
    plain(word, sender)
}

/// Never a mixed form: in `a!b@c` nobody knows which comes first (RFC 976).
fn written(addressing: Addressing, address: &Address) -> String {
    match address {
        Address::Domain { local, domain } if addressing == Addressing::Domain && !local.contains('!') => {
            format!("{local}@{domain}")
        }
        Address::Domain { local, domain } => format!("{domain}!{local}"),
        Address::Path { hosts, user } => match user.rsplit_once('@') {
            Some((user, host)) => format!("{}!{host}!{user}", hosts.join("!")),
            None => format!("{}!{user}", hosts.join("!")),
        },
        Address::Local(user) => user.clone(),
    }
}

fn plain(word: String, address: &Address) -> Result<String, Inexpressible> {
    let ats = word.matches('@').count();
    let mixed = ats > 1 || ats == 1 && word.contains('!');
    let long = word.len() + "rmail ".len() > RMAIL_COMMAND_MAX;
    if word.is_empty() || mixed || long || word.starts_with('-') || word.contains(is_shell) {
        return Err(Inexpressible(address.to_string()));
    }
    Ok(word)
}

/// What a shell may make something of. BSD refuses a command with any of these (and `'`, which is common in names
/// and which we let pass); blanks and controls end words and lines.
fn is_shell(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "&^|()`\\<>;\"{}$*?".contains(c)
}

/// An argument of `rmail` as a peer gave it.
pub fn incoming_recipient(argument: &str) -> Result<Address, crate::base::address::BadAddress> {
    let address = Address::parse_uucp(argument)?;
    // `"a b"@c` cannot come as one argument; what else holds such a character is an attack.
    if argument.contains(is_shell) {
        return Err(crate::base::address::BadAddress("it holds a character that a shell would act on"));
    }
    Ok(address)
}

/// The sender that `From_` lines (without line ends) name; `None` for the null sender.
///
/// The systems of all lines, in order, then the user of the last one. A domain address wins over the
/// path: `ann@x`, and the last domain in `a!x.example!ann`. Without any line, or with one that says nothing,
/// the sender is who brought it.
pub fn incoming_sender(lines: &[Vec<u8>], site: &SiteName, user: &str) -> Option<Address> {
    let mut hosts: Vec<String> = Vec::new();
    let mut last: Option<String> = None;
    for line in lines {
        let line = String::from_utf8_lossy(line);
        let text = line.strip_prefix('>').unwrap_or(&line);
        let text = text.strip_prefix("From ").unwrap_or(text);
        // `From  Mon Jan …`: nobody.
        let word = if text.starts_with(' ') { "" } else { text.split_whitespace().next().unwrap_or("") };
        let word = word.strip_prefix('<').and_then(|w| w.strip_suffix('>')).unwrap_or(word);
        if let Some((_, system)) = text.rsplit_once(" remote from ") {
            hosts.extend(system.split_whitespace().next().map(str::to_owned));
        }
        last = Some(word.to_owned());
        if let Some((path, _)) = word.rsplit_once('!').filter(|_| !word.contains('@')) {
            hosts.extend(path.split('!').map(str::to_owned));
        }
    }
    let Some(word) = last else {
        return brought_by(site, user);
    };
    let name = word.rsplit('!').next().unwrap_or(&word);
    let bare = name.split('@').next().unwrap_or(name);
    if name.is_empty() || bare.eq_ignore_ascii_case(NULL_SENDER) {
        return None;
    }
    if name.contains('@') {
        return Address::parse_smtp(name).ok().or_else(|| brought_by(site, user));
    }
    path_sender(hosts, name, site).or_else(|| brought_by(site, user))
}

/// `site!user`: the sender where nothing names one.
pub fn brought_by(site: &SiteName, user: &str) -> Option<Address> {
    Address::parse_uucp(&format!("{site}!{user}")).ok()
}

/// The sender in the envelope of a letter in a batch. A path or a bare name is one as seen from the site.
pub fn batched_sender(sender: Option<Address>, site: &SiteName) -> Option<Address> {
    let (hosts, name) = match sender? {
        Address::Domain { local, domain } => return Some(Address::Domain { local, domain }),
        Address::Path { hosts, user } => (hosts, user),
        Address::Local(user) => (Vec::new(), user),
    };
    path_sender(hosts.clone(), &name, site)
        .or(Some(Address::Path { hosts: [vec![site.to_string()], hosts].concat(), user: name }))
}

/// `hosts!name`, as a domain address if one of the hosts is a domain.
fn path_sender(mut hosts: Vec<String>, name: &str, site: &SiteName) -> Option<Address> {
    let is_domain = |host: &String| host.contains('.') && !host.to_ascii_lowercase().ends_with(".uucp");
    if let Some(at) = hosts.iter().rposition(is_domain) {
        let domain = Domain::parse(&hosts[at]).ok()?;
        let local = hosts[at + 1..].iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("!");
        return Address::parse_smtp(&format!("{local}@{domain}")).ok();
    }
    // Replies go back the way it came, and that begins with the neighbour who called.
    if hosts.first().map(String::as_str) != Some(site.as_str()) {
        hosts.insert(0, site.as_str().to_owned());
    }
    Address::parse_uucp(&format!("{}!{name}", hosts.join("!"))).ok()
}

/// The form in which SMTP takes an address: `user@domain`. A path that begins here, and a bare name, are ours to route.
pub fn smtp_address(policy: &Policy, address: &Address) -> Address {
    let local = match address {
        Address::Domain { .. } => return address.clone(),
        Address::Local(user) => user.clone(),
        Address::Path { hosts, user } => format!("{}!{}", hosts.join("!"), user.replace('@', "%")),
    };
    Address::Domain { local, domain: policy.domain.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mail::policy::tests::{site, village};
    use crate::wire::packing::{BatchForm, Packing};

    fn address(text: &str) -> Address {
        Address::parse_uucp(text).expect(text)
    }

    fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
        Envelope {
            sender: (!sender.is_empty()).then(|| address(sender)),
            recipients: recipients.iter().map(|r| address(r)).collect(),
        }
    }

    /// `From_` line and command, or why not.
    fn check(to: &str, sender: &str, recipient: &str, expected: &str) {
        let jobs = outgoing_rmail(
            &village(),
            &site(to),
            &envelope(sender, &[recipient]),
            Timestamp::from_seconds(883_994_400),
        );
        let got = match jobs {
            Ok(jobs) => {
                assert_eq!(jobs.len(), 1);
                let line = String::from_utf8(jobs[0].prefix.clone()).expect("text");
                assert_eq!(line.split_whitespace().count(), 10, "{line}");
                let line = line.strip_suffix(" Mon Jan  5 10:00:00 1998 remote from village\n").expect(&line);
                format!("{line} | {}", jobs[0].command)
            }
            Err(why) => why.to_string(),
        };
        assert_eq!(got, expected, "{to} {sender} {recipient}");
    }

    #[test]
    fn a_site_is_told_addresses_in_its_own_form() {
        for (to, sender, recipient, expected) in [
            ("hub", "ann@village.example", "bob@far.example", "From ann@village.example | rmail bob@far.example"),
            ("hub", "ann", "bob", "From ann@village.example | rmail bob"),
            ("hub", "", "bob", "From MAILER-DAEMON | rmail bob"),
            ("hub", "oldvax!carl", "x!bob", "From oldvax!carl | rmail x!bob"),
            ("hub", "ann@far.example", "a!b!bob@c", "From ann@far.example | rmail a!b!c!bob"),
            ("oldvax", "ann@village.example", "bob@far.example", "From ann | rmail far.example!bob"),
            ("oldvax", "ann@far.example", "bob", "From far.example!ann | rmail bob"),
            ("oldvax", "", "a!bob", "From MAILER-DAEMON | rmail a!bob"),
            ("oldvax", "o'brien@x", "ann%y@x", "From x!o'brien | rmail x!ann%y"),
            ("hub", "ann@x", "a$b@x", "the address a$b@x cannot be sent over UUCP"),
            ("hub", "ann@x", "\"a b\"@x", "the address \"a b\"@x cannot be sent over UUCP"),
            ("hub", "\"a@b\"@x", "bob", "the address \"a@b\"@x cannot be sent over UUCP"),
            ("oldvax", "ann@x", "\"a@b\"@x", "the address \"a@b\"@x cannot be sent over UUCP"),
            ("hub", "ann@x", "a!b@x", "From ann@x | rmail a!x!b"),
        ] {
            check(to, sender, recipient, expected);
        }
        let mixed = Address::parse_smtp("a!b@x.example").expect("an address");
        assert_eq!(recipient_word(Addressing::Domain, &mixed).expect("it can be said"), "x.example!a!b");
    }

    #[test]
    fn a_batch_tells_what_its_reader_takes_and_comes_back_as_it_was() {
        let batch = Some(BatchForm { packing: Packing::Plain, size: 1 });
        for (to, sender, recipient, expected, seen) in [
            (
                "hub",
                "ann@village.example",
                "bob@far.example",
                "ann@village.example bob@far.example",
                "ann@village.example",
            ),
            ("hub", "ann", "bob", "ann@village.example bob", "ann@village.example"),
            ("hub", "", "x!bob", "<> x!bob", "<>"),
            ("hub", "oldvax!carl", "a$b@x", "oldvax!carl@village.example a$b@x", "oldvax!carl@village.example"),
            ("hub", "a!b@c", "a!b!bob@c", "a!b%c@village.example a!b!c!bob", "a!b%c@village.example"),
            ("oldvax", "ann@village.example", "bob@far.example", "village!ann far.example!bob", "village!ann"),
            ("oldvax", "ann@far.example", "bob", "village!far.example!ann bob", "ann@far.example"),
            ("oldvax", "oldvax!carl", "ann%y@x", "village!oldvax!carl x!ann%y", "village!oldvax!carl"),
            ("oldvax", "ann@x", "\"a b\"@x", "the address \"a b\"@x cannot be sent over UUCP", ""),
            ("oldvax", "ann@x", "\"a@b\"@x", "the address \"a@b\"@x cannot be sent over UUCP", ""),
        ] {
            let recipients = vec![
                Address::parse_smtp(recipient)
                    .ok()
                    .filter(|_| recipient.contains('"'))
                    .unwrap_or_else(|| address(recipient)),
            ];
            let sender = (!sender.is_empty()).then(|| address(sender));
            let told = outgoing_batched(&village(), &site(to), &Envelope { sender, recipients: recipients.clone() });
            let mail = SiteMail { batch, ..village().site(&site(to)) };
            assert_eq!(super::told(mail, &recipients[0]).is_ok(), told.is_ok(), "{recipient}");
            let got = match &told {
                Ok(told) => {
                    let sender = told.sender.as_ref().map_or("<>".to_owned(), ToString::to_string);
                    format!("{sender} {}", told.recipients[0])
                }
                Err(why) => why.to_string(),
            };
            assert_eq!(got, expected, "{to} {recipient}");
            let Ok(told) = told else { continue };
            // As SMTP reads them at the other end.
            let read =
                |address: &Address| Address::parse_smtp(&address.to_string()).expect("what we write we can read");
            assert_eq!(read(&told.recipients[0]), told.recipients[0]);
            let sender = batched_sender(told.sender.as_ref().map(read), &site("village"));
            assert_eq!(sender.map_or("<>".to_owned(), |sender| sender.to_string()), seen, "{to} {expected}");
        }
        let local = batched_sender(Some(address("ann")), &site("hub"));
        assert_eq!(local.map(|sender| sender.to_string()).as_deref(), Some("hub!ann"));
    }

    #[test]
    fn many_recipients_are_split_and_none_is_lost() {
        let recipients: Vec<Address> = (0..200).map(|n| address(&format!("user{n}@far.example"))).collect();
        let envelope = Envelope { sender: None, recipients: recipients.clone() };
        let jobs = outgoing_rmail(&village(), &site("hub"), &envelope, Timestamp::default()).expect("plain addresses");
        assert!(jobs.len() > 1);
        assert!(jobs.iter().all(|job| job.command.len() <= RMAIL_COMMAND_MAX));
        let again: Vec<Address> = jobs
            .iter()
            .flat_map(|job| job.command.split(' ').skip(1))
            .map(|argument| incoming_recipient(argument).expect("what we write we can read"))
            .collect();
        assert_eq!(again, recipients);
        assert_eq!(jobs.into_iter().flat_map(|job| job.recipients).collect::<Vec<_>>(), recipients);
        let long = format!("{}@far.example", "x".repeat(RMAIL_COMMAND_MAX));
        assert!(recipient_word(Addressing::Domain, &address(&long)).is_err());
    }

    #[test]
    fn the_sender_is_read_from_all_from_lines() {
        let date = "Mon Jan  5 10:00:00 1998";
        for (lines, expected) in [
            (vec![format!("From ann {date} remote from alpha")], "alpha!ann"),
            (vec![format!("From ann  {date} remote from alpha")], "alpha!ann"),
            (
                vec![format!("From bob {date} remote from alpha"), format!(">From ann {date} remote from beta")],
                "alpha!beta!ann",
            ),
            (vec![format!("From c!d!ann {date} remote from alpha")], "alpha!c!d!ann"),
            (vec![format!("From ann@far.example {date} remote from alpha")], "ann@far.example"),
            (vec![format!("From ann@far.example  {date}")], "ann@far.example"),
            (vec![format!("From <ann@far.example> {date}")], "ann@far.example"),
            (vec![format!("From far.example!ann {date} remote from alpha")], "ann@far.example"),
            (vec![format!("From far.example!a!ann {date} remote from alpha")], "a!ann@far.example"),
            (vec![format!("From alpha.uucp!ann {date}")], "alpha!alpha.uucp!ann"),
            (vec![format!("From beta!ann {date}")], "alpha!beta!ann"),
            (vec![format!("From ann {date}")], "alpha!ann"),
            (vec![format!("From x!ann@far.example {date} remote from alpha")], "ann@far.example"),
            (vec![format!("From MAILER-DAEMON {date} remote from alpha")], "<>"),
            (vec![format!("From mailer-daemon@far.example {date}")], "<>"),
            (vec![format!("From <> {date} remote from alpha")], "<>"),
            (vec![format!("From  {date} remote from alpha")], "<>"),
            (vec!["From ".to_owned()], "<>"),
            (vec![], "alpha!uucp"),
            (vec![format!("From a;b {date} remote from alpha")], "alpha!uucp"),
            (vec!["From \u{fffd}".to_owned()], "alpha!\u{fffd}"),
        ] {
            let lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
            let sender = incoming_sender(&lines, &site("alpha"), "uucp");
            let got = sender.map_or("<>".to_owned(), |sender| sender.to_string());
            assert_eq!(got, expected, "{lines:?}");
        }
        assert_eq!(incoming_sender(&[], &site("alpha"), "a b"), None);
    }

    #[test]
    fn arguments_that_a_shell_would_act_on_are_refused() {
        for argument in
            ["-oQ/tmp", ";", "a;b", "`id`", "$(id)", "a|b", "a&b", "a b", "(ann)", "a>b", "", "a\nb", "\"a b\"@c"]
        {
            assert!(incoming_recipient(argument).is_err(), "{argument}");
        }
        for argument in ["ann", "o'brien@x", "a!b!c", "ann@x.example", "a!b@c", "ünï@dömain.example", "rm"] {
            assert!(incoming_recipient(argument).is_ok(), "{argument}");
        }
    }

    #[test]
    fn smtp_hosts_are_told_paths_as_addresses_at_our_domain() {
        for (text, expected) in [
            ("ann", "ann@village.example"),
            ("a!b!c", "a!b!c@village.example"),
            ("ann@x", "ann@x"),
            ("a!b@c", "a!b%c@village.example"),
        ] {
            assert_eq!(smtp_address(&village(), &address(text)).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_sender_survives_the_way_to_a_neighbour(text in "[a-z]{1,5}([.+_-][a-z]{1,3})?@[a-z]{1,5}\\.example") {
            let sender = Address::parse_smtp(&text).expect("an address");
            for to in ["hub", "oldvax"] {
                let envelope = Envelope { sender: Some(sender.clone()), recipients: vec![address("bob")] };
                let jobs = outgoing_rmail(&village(), &site(to), &envelope, Timestamp::default()).expect("plain");
                let line = jobs[0].prefix.trim_ascii_end().to_vec();
                prop_assert_eq!(incoming_sender(&[line], &site("village"), "uucp"), Some(sender.clone()));
            }
        }
    }
}
