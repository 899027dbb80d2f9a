//! Mail that comes by `rmail`: from its arguments and standard input to a submission.

use std::io::{self, Read};

use crate::base::limits::RECIPIENTS_MAX;
use crate::base::time::Now;
use crate::store::{Body, Envelope, Store};
use crate::wire::smtp::Status;

use super::rewrite::{incoming_recipient, incoming_sender};
use super::{Failure, Intake, IntakeError, Origin, Policy, Submission};

/// Bytes copied at once.
const PIECE: usize = 64 * 1024;

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
    let message = intake.finish()?;
    let site = match &origin {
        Origin::Site(site) => site,
        Origin::Smtp { .. } | Origin::Local(_) | Origin::Report => &policy.name,
    };
    let sender = incoming_sender(&message.noted.from_lines, site, user);
    Ok(Submission { origin, envelope: Envelope { sender, recipients }, message, failures })
}

fn failed(argument: &str, status: Status, reason: String) -> Failure {
    let recipient = argument.chars().take(200).collect();
    Failure { recipient, status, reason, remote: None }
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
