//! Batches of mail: from a site's execution of `rsmtp` and its like, and from a program of this machine.

use std::io::Read;

use super::{Execution, Fate, LATER, LocalError, no_input};
use crate::base::address::Address;
use crate::base::limits::{
    BATCH_LETTERS_MAX, BODY_INLINE_MAX, LOCAL_BATCH_FILES_MAX, LOCAL_BATCH_HELD_MAX, LOCAL_BATCH_LETTERS_MAX,
};
use crate::base::time::Now;
use crate::base::words::count;
use crate::call::Context;
use crate::mail::batched::{BatchedError, Taking};
use crate::mail::{self, Origin, Refused, Submission};
use crate::store::StoreError;
use crate::wire::bsmtp::Reader;

impl Execution<'_> {
    /// A batch, letter by letter; each is one change that also notes how many have been taken, so that none is taken again. Those
    /// that are whole are taken whatever is wrong with others; then what is damaged stays in the dead letters.
    pub(super) fn letters(&self, context: &Context, now: Now) -> Result<Fate, StoreError> {
        let Some(input) = self.input(&context.store)? else { return Ok(no_input()) };
        let mut reader = match Reader::new(input) {
            Ok(reader) => reader,
            Err(error) => return Ok(Fate::Bad(format!("the batch cannot be read: {error}"))),
        };
        let mut number = 0;
        loop {
            let letter = match reader.next_letter() {
                Ok(Some(letter)) => letter,
                Ok(None) => break,
                Err(error) => return Ok(Fate::Bad(format!("{} taken; {error}", count(number, "letter")))),
            };
            number += 1;
            if number <= self.file.progress {
                continue;
            }
            if number > BATCH_LETTERS_MAX {
                return Ok(Fate::Bad(format!(
                    "{} taken; there are more than a batch may have",
                    count(BATCH_LETTERS_MAX, "letter")
                )));
            }
            if let Some(fate) = self.pause(context, number - 1, reader.is_packed()) {
                return Ok(fate);
            }
            let taking = taking(context, Origin::batch(self.site.clone()), self.user, reader.is_packed());
            let submission = match taking.take(letter, reader.text()) {
                Ok(submission) => submission,
                Err(BatchedError::Broken(error)) => {
                    return Ok(Fate::Bad(format!("{} taken; {error}", count(number - 1, "letter"))));
                }
                Err(error @ BatchedError::Io(_)) => return Ok(Fate::Later(LATER, error.to_string())),
            };
            let now = taking.now;
            let accepted = context.store.write(|change| {
                change.note_progress(self.file.id, number)?;
                mail::accept(change, &context.mail, now, submission)
            });
            match accepted {
                Ok(_) => {}
                Err(Refused::Store(error @ StoreError::Full(_))) => return Ok(Fate::Later(LATER, error.to_string())),
                Err(Refused::Store(error)) => return Err(error),
                Err(error @ (Refused::Loop | Refused::NoRecipients | Refused::TooManyRecipients)) => {
                    return Ok(Fate::Bad(error.to_string()));
                }
            }
        }
        if let Some(why) = reader.flaws() {
            return Ok(Fate::Bad(format!("{} taken; {why}", count(number, "letter"))));
        }
        context.store.write::<_, StoreError>(|change| self.succeed(context, now, change))?;
        Ok(Fate::Done)
    }
}

fn taking<'a>(context: &'a Context, origin: Origin, user: &'a str, packed: bool) -> Taking<'a> {
    // As large as `rmail` takes them, unless a few bytes may make a letter that fills the disk.
    let max = if packed { context.mail.message_max } else { u64::MAX };
    Taking { store: &context.store, policy: &context.mail, now: (context.clock)(), origin, user, max }
}

/// What became of a batch of this machine.
#[derive(Debug, Default)]
pub struct Batched {
    pub taken: usize,
    /// Which letters, or which of their recipients, were not taken, and why.
    pub refused: Vec<String>,
    /// Letters that neither were taken nor are returned to anybody, and damage of the batch.
    pub lost: Vec<String>,
}

/// Takes a batch that a local program hands in: `rsmtp` as a command. All letters that are whole are taken in one change, or none:
/// who is told to try later will bring all of them again. `own_name`: all of it is from the user, whatever it says.
pub fn local_letters(
    context: &Context,
    (origin, user): (Origin, &str),
    own_name: bool,
    input: impl Read,
) -> Result<Batched, LocalError> {
    let mut reader = Reader::new(input)?;
    let (mut submissions, mut batched, mut kept) = (Vec::<Submission>::new(), Batched::default(), Kept::default());
    loop {
        let letter = match reader.next_letter() {
            Ok(Some(letter)) => letter,
            Ok(None) => break,
            Err(error) => {
                batched.lost.push(error.to_string());
                break;
            }
        };
        let taking = taking(context, origin.clone(), user, reader.is_packed());
        let mut submission = match taking.take(letter, reader.text()) {
            Ok(submission) => submission,
            Err(BatchedError::Broken(error)) => {
                batched.lost.push(error.to_string());
                break;
            }
            Err(BatchedError::Io(error)) => return Err(LocalError::Disk(error)),
        };
        if !kept.add(submission.message.size) {
            let most = format!("{LOCAL_BATCH_LETTERS_MAX} letters are the most, {LOCAL_BATCH_FILES_MAX} large ones");
            return Err(LocalError::Damaged(format!("the batch is too large, nothing of it is taken: {most}")));
        }
        if own_name {
            submission.envelope.sender = Address::parse_smtp(user).ok();
        }
        submissions.push(submission);
    }
    batched.lost.extend(reader.flaws());
    let now = (context.clock)();
    context.store.write::<_, StoreError>(|change| {
        for (number, submission) in (1..).zip(submissions) {
            let sender = submission.envelope.sender.as_ref().map(Address::to_string).unwrap_or_default();
            let letter = format!("letter {number} from <{sender}>");
            match mail::accept(change, &context.mail, now, submission) {
                Ok(accepted) => {
                    batched.taken += 1;
                    if accepted.returned > 0 {
                        batched.refused.push(format!("{letter}: returned for {} of its recipients", accepted.returned));
                    }
                }
                Err(Refused::Store(error)) => return Err(error),
                Err(why) => batched.lost.push(format!("{letter}: {why}")),
            }
        }
        Ok(())
    })?;
    Ok(batched)
}

/// What is kept until the end of a batch.
#[derive(Default)]
struct Kept {
    letters: usize,
    held: u64,
    files: usize,
}

impl Kept {
    /// One more letter; whether it may be.
    fn add(&mut self, size: u64) -> bool {
        self.letters += 1;
        match size > BODY_INLINE_MAX as u64 {
            true => self.files += 1,
            false => self.held += size,
        }
        self.letters <= LOCAL_BATCH_LETTERS_MAX
            && self.held <= LOCAL_BATCH_HELD_MAX
            && self.files <= LOCAL_BATCH_FILES_MAX
    }
}
