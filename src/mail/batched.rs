//! Letters that come in a batch: each from its envelope and its text to a submission.

use std::io::{self, Read};

use crate::base::address::{Address, BadAddress};
use crate::base::time::Now;
use crate::store::{Envelope, Store};
use crate::wire::bsmtp::Letter;
use crate::wire::smtp::Status;

use super::intake::PIECE;
use super::rewrite::{batched_sender, brought_by};
use super::{Failure, Intake, IntakeError, Message, Origin, Policy, Submission};

/// Who brings a batch, and how its letters are taken.
pub struct Taking<'a> {
    pub store: &'a Store,
    pub policy: &'a Policy,
    pub now: Now,
    pub origin: Origin,
    /// The sender where the envelope names none that can be read.
    pub user: &'a str,
    /// Bytes of the largest letter.
    pub max: u64,
}

/// Why there is no submission.
#[derive(Debug, thiserror::Error)]
pub enum BatchedError {
    /// The batch ends or is damaged in the letter: the rest of it cannot be read either.
    #[error("cannot read the batch: {0}")]
    Broken(io::Error),
    #[error("cannot keep a letter")]
    Io(#[source] io::Error),
}

impl Taking<'_> {
    /// Reads the text of a letter and makes it ready for [`super::accept`], by the rules of [`super::rmail::incoming_rmail`]. What
    /// cannot be taken comes back as failures, of which the sender is told.
    pub fn take(&self, letter: Letter, text: impl Read) -> Result<Submission, BatchedError> {
        let sender = match (letter.sender, &self.origin) {
            (Ok(sender), Origin::Site { site, .. }) => batched_sender(sender, site),
            (Err(_), Origin::Site { site, .. }) => brought_by(site, self.user),
            (Ok(sender), Origin::Smtp { .. } | Origin::Local(_) | Origin::Report) => sender,
            (Err(_), Origin::Smtp { .. } | Origin::Local(_) | Origin::Report) => Address::parse_smtp(self.user).ok(),
        };
        let refused = |(written, why): (String, BadAddress)| Failure::new(written, Status(5, 1, 3), why.to_string());
        let mut failures: Vec<Failure> = letter.refused.into_iter().map(refused).collect();
        if letter.too_many > 0 {
            let more = format!("{} more recipients", letter.too_many);
            failures.push(Failure::new(more, Status(5, 5, 3), "too many recipients"));
        }
        let mut recipients = letter.recipients;
        let (message, refusal) = self.text(&recipients, text)?;
        if let Some(why) = refusal {
            let lost = |to: Address| Failure::new(&to, Status(5, 3, 4), why.clone());
            failures.extend(recipients.drain(..).map(lost));
        }
        Ok(Submission { origin: self.origin.clone(), envelope: Envelope { sender, recipients }, message, failures })
    }

    fn intake(&self, recipients: &[Address], max: u64) -> Intake {
        let received = self.origin.received(self.policy, recipients, self.now.wall);
        let completion = self.origin.completion(self.policy, self.now.wall);
        Intake::new(self.store.draft(), received, completion, max)
    }

    /// The whole text; or its beginning, for a report, and why it is refused.
    fn text(&self, recipients: &[Address], mut text: impl Read) -> Result<(Message, Option<String>), BatchedError> {
        let mut intake = self.intake(recipients, self.max);
        let (mut beginning, mut refusal) = (Vec::new(), None);
        let mut piece = vec![0; PIECE];
        loop {
            let len = text.read(&mut piece).map_err(BatchedError::Broken)?;
            if len == 0 {
                break;
            }
            if beginning.is_empty() {
                beginning = piece[..len].to_vec();
            }
            if refusal.is_none()
                && let Err(why) = intake.write(&piece[..len])
            {
                refusal = Some(refused(why)?);
                // Takes the place of what has been written; the rest is passed over.
                intake = self.intake(recipients, u64::MAX);
                intake.write(&beginning).or_else(|why| refused(why).map(drop))?;
            }
        }
        let mut message = intake.finish().map_err(|why| match refused(why) {
            Ok(why) => BatchedError::Io(io::Error::other(why)),
            Err(error) => error,
        })?;
        message.out.seal().map_err(BatchedError::Io)?;
        Ok((message, refusal))
    }
}

/// What the sender is told; or the disk is to blame.
fn refused(why: IntakeError) -> Result<String, BatchedError> {
    match why {
        IntakeError::Io(error) => Err(BatchedError::Io(error)),
        IntakeError::HeaderTooLong(_) | IntakeError::TooLarge(_) => Ok(why.to_string()),
    }
}
