//! Mail that comes by `rmail`: from its arguments and standard input to a submission.

use std::io::{self, Read};

use crate::base::limits::RECIPIENTS_MAX;
use crate::base::time::Now;
use crate::store::{Body, Envelope, Store};
use crate::wire::smtp::Status;

use super::intake::PIECE;
use super::rewrite::{incoming_recipient, incoming_sender};
use super::{Failure, Intake, IntakeError, Origin, Policy, Submission};

/// Reads an execution of `rmail`, by a neighbour or a local user, and makes it ready for [`super::accept`].
///
/// `user` is the sender where no `From_` line names one. Arguments that are no addresses come back as failures: the sender
/// is told, the others go on. Errors: a header beyond all measure, or the disk.
pub fn incoming_rmail(
    store: &Store,
    policy: &Policy,
    now: Now,
    (origin, user): (Origin, &str),
    arguments: &[&str],
    mut input: impl Read,
) -> Result<Submission, IntakeError> {
    let (mut recipients, mut failures) = (Vec::new(), Vec::new());
    for argument in arguments {
        match incoming_recipient(argument) {
            Ok(_) if recipients.len() == RECIPIENTS_MAX => {
                failures.push(failed(argument, Status(5, 5, 3), "too many recipients".to_owned()));
            }
            Ok(recipient) => recipients.push(recipient),
            Err(why) => failures.push(failed(argument, Status(5, 1, 3), why.to_string())),
        }
    }
    let received = origin.received(policy, &recipients, now.wall);
    let completion = origin.completion(policy, now.wall);
    let mut intake = Intake::new(store.draft(), received, completion, u64::MAX);
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece)? {
            0 => break,
            len => intake.write(&piece[..len])?,
        }
    }
    let mut message = intake.finish()?;
    message.out.seal()?;
    let site = match &origin {
        Origin::Site { site, .. } => site,
        Origin::Smtp { .. } | Origin::Local(_) | Origin::Report => &policy.name,
    };
    let sender = incoming_sender(&message.noted.from_lines, site, user);
    Ok(Submission { origin, envelope: Envelope { sender, recipients }, message, failures })
}

fn failed(argument: &str, status: Status, reason: String) -> Failure {
    Failure::new(argument.chars().take(200).collect::<String>(), status, reason)
}

/// A kept body as standard input.
pub struct BodyReader {
    body: Body,
    at: u64,
}

impl BodyReader {
    pub fn new(body: Body) -> Self {
        Self { body, at: 0 }
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.body.read_at(self.at, out)?;
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::Address;
    use crate::mail::accept;
    use crate::mail::policy::tests::{site, village};
    use crate::mail::rewrite::outgoing_rmail;
    use crate::mail::tests::{contents, now, open, placed, submit};
    use crate::store::queue::ItemFilter;
    use crate::store::{Cargo, StoreError};

    fn take(store: &Store, from: &str, arguments: &[&str], text: &str) -> Result<(), IntakeError> {
        let origin = Origin::rmail(site(from));
        let submission = incoming_rmail(store, &village(), now(), (origin, "uucp"), arguments, text.as_bytes())?;
        store.write(|change| accept(change, &village(), now(), submission)).expect("it is accepted");
        Ok(())
    }

    const LETTER: &str = "From ann Mon Jan  5 10:00:00 1998 remote from oldvax\nMessage-ID: <1@x>\n\nFrom here on\n";

    #[test]
    fn a_neighbour_s_letter_reaches_a_mailbox_without_its_from_line() {
        let (_dir, store) = open();
        take(&store, "oldvax", &["bob", "village!bob"], LETTER).expect("a small letter");
        assert_eq!(
            contents(&store),
            "mailbox bob: <oldvax!ann> Received: from oldvax by mx.village.example (bangpath) with UUCP; Thu, 28 May\\n\\t\
             2026 20:26:40 +0000\\nMessage-ID: <1@x>\\n\\nFrom here on\\n\n"
        );
    }

    #[test]
    fn bad_arguments_come_back_and_the_others_go_on() {
        let (_dir, store) = open();
        take(&store, "oldvax", &["bob", ";", "rm", "-rf", "`id`", "/"], LETTER).expect("a small letter");
        assert_eq!(placed(&store), ["mailbox bob: <oldvax!ann>", "item oldvax C: <> to <ann>"]);
        let shown = contents(&store);
        for status in [
            "; ;\\nAction: failed\\nStatus: 5.1.3",
            "; rm\\nAction: failed\\nStatus: 5.1.1",
            "; -rf\\nAction: failed\\nStatus: 5.1.3",
        ] {
            assert!(shown.contains(status), "{status} in {shown}");
        }
    }

    #[test]
    fn a_letter_without_sender_or_header_is_taken() {
        let (_dir, store) = open();
        take(&store, "oldvax", &["ann"], "just text\n").expect("a small letter");
        take(&store, "oldvax", &["bob"], "").expect("an empty letter");
        assert_eq!(placed(&store), ["mailbox ann: <oldvax!uucp>", "mailbox bob: <oldvax!uucp>"]);
        assert!(contents(&store).contains("+0000\\n\\njust text\\n"));
    }

    #[test]
    fn a_header_beyond_measure_is_an_error_and_leaves_nothing() {
        let (_dir, store) = open();
        let text = "X: y\n".repeat(100_000);
        assert!(matches!(take(&store, "oldvax", &["ann"], &text), Err(IntakeError::HeaderTooLong(_))));
        assert_eq!(contents(&store), "");
    }

    #[test]
    fn what_leaves_one_site_arrives_at_the_next_unchanged() {
        let (_dir, store) = open();
        let text = "A: \u{e4}\n b\nMessage-ID: <2@x>\n\n.\nFrom here\r\n\0\rno end";
        submit(&store, Origin::Report, "ann@far.example", &["hub!bob", "hub!x!carl"], text).expect("it is accepted");
        let item = store.read(|view| view.items(&ItemFilter::default())).expect("the store works").remove(0);
        let Cargo::Mail { envelope, body } = &item.cargo else { panic!("only mail is here") };
        let jobs = outgoing_rmail(&village(), &site("hub"), envelope, item.queued).expect("plain addresses");
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].command, "rmail bob x!carl");
        let body = store.read(|view| -> Result<_, StoreError> { view.body(*body) }).expect("the store works");
        let input = jobs[0].prefix.as_slice().chain(BodyReader::new(body));
        let arguments: Vec<&str> = jobs[0].command.split(' ').skip(1).collect();
        let origin = Origin::rmail(site("village"));
        let again = incoming_rmail(&store, &village(), now(), (origin, "uucp"), &arguments, input).expect("small");
        assert_eq!(again.envelope.sender.as_ref().map(Address::to_string).as_deref(), Some("ann@far.example"));
        let mut bytes = vec![0; 1000];
        let len = again.message.out.read_at(0, &mut bytes).expect("a small draft");
        let stored = String::from_utf8_lossy(&bytes[..len]).into_owned();
        assert!(stored.starts_with("Received: from village ") && stored.ends_with(text), "{stored}");
    }

    #[test]
    fn a_local_user_may_call_rmail_too() {
        let (_dir, store) = open();
        for (text, sender) in [("To: bob\n\nhi\n", "ann@village.example"), (LETTER, "oldvax!ann")] {
            let origin = Origin::Local("ann".to_owned());
            let taken = incoming_rmail(&store, &village(), now(), (origin, "ann"), &["bob"], text.as_bytes());
            let submission = taken.expect("a small letter");
            store.write(|change| accept(change, &village(), now(), submission)).expect("it is accepted");
            assert_eq!(placed(&store).pop(), Some(format!("mailbox bob: <{sender}>")));
        }
    }
}
