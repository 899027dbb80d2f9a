//! One letter on its way in by SMTP: its sender, its recipients, its text, and what is said of them.

use std::io;

use tracing::{info, warn};

use super::{SmtpIn, Work};
use crate::base::address::Address;
use crate::base::limits::{MESSAGE_LINE_MAX, RECIPIENTS_MAX};
use crate::base::time::Now;
use crate::mail::{self, Intake, IntakeError, Origin, Refused, Submission};
use crate::store::{Envelope, StoreError};
use crate::wire::smtp::{Mail, Reply, Status};
use crate::wire::text::{DotReader, Flaw, LineEnds};

pub struct Transaction {
    mail: Mail,
    recipients: Vec<Address>,
    refused: usize,
}

pub struct Data {
    origin: Origin,
    envelope: Envelope,
    dots: DotReader,
    /// The message so far, or what will be said of it at its end.
    intake: Result<Intake, Reply>,
}

impl SmtpIn {
    pub(super) fn mail(&mut self, mail: Mail) {
        if self.service.client.is_none() {
            return self.out_of_order("say EHLO first");
        }
        if matches!(self.work, Some(Work::Envelope(_))) {
            return self.out_of_order("there is a sender already");
        }
        let max = self.service.policy.message_max;
        if mail.size.is_some_and(|size| size > max) {
            let text = format!("we take messages up to {max} bytes");
            return self.say(&Reply::new(552, Status(5, 3, 4), text));
        }
        // RFC 1870 section 6.1: better said now than behind the text.
        if let Err(why) = self.store.room_for(mail.size.unwrap_or(0)) {
            return self.say(&store_trouble(&why));
        }
        if mail.sender.as_ref().is_some_and(Address::needs_utf8) && !mail.smtputf8 {
            return self.say(&Reply::new(553, Status(5, 6, 7), "this address needs SMTPUTF8"));
        }
        self.work = Some(Work::Envelope(Transaction { mail, recipients: Vec::new(), refused: 0 }));
        self.say(&Reply::new(250, Status(2, 1, 0), "sender ok"));
    }

    pub(super) fn rcpt(&mut self, recipient: Address) {
        let origin = self.origin();
        let Some(Work::Envelope(transaction)) = &mut self.work else {
            return self.out_of_order("say MAIL first");
        };
        let reply = if transaction.recipients.len() + transaction.refused >= RECIPIENTS_MAX {
            Reply::new(452, Status(4, 5, 3), "too many recipients")
        } else if recipient.needs_utf8() && !transaction.mail.smtputf8 {
            Reply::new(553, Status(5, 6, 7), "this address needs SMTPUTF8")
        } else {
            match self.store.read(|view| mail::destination(view, &self.service.policy, &origin, &recipient)) {
                Ok(Ok(_)) => {
                    transaction.recipients.push(recipient);
                    return self.say(&Reply::new(250, Status(2, 1, 5), "recipient ok"));
                }
                Ok(Err(why)) => Reply::new(550, why.status, why.text),
                Err(why) => store_trouble(&why),
            }
        };
        transaction.refused += 1;
        self.say(&reply);
    }

    fn origin(&self) -> Origin {
        let smtputf8 = matches!(&self.work, Some(Work::Envelope(transaction)) if transaction.mail.smtputf8);
        let (name, extended) = self.service.client.clone().unwrap_or_default();
        let protocol = match (extended, smtputf8) {
            (_, true) => "UTF8SMTP",
            (true, false) => "ESMTP",
            (false, false) => "SMTP",
        };
        Origin::Smtp { peer: self.peer, name, protocol }
    }

    pub(super) fn begin_data(&mut self, now: Now) {
        let origin = self.origin();
        let transaction = match self.work.take() {
            Some(Work::Envelope(transaction)) => transaction,
            None | Some(Work::Data(_)) => return self.out_of_order("say MAIL and RCPT first"),
        };
        if transaction.recipients.is_empty() {
            self.work = Some(Work::Envelope(transaction));
            return self.say(&Reply::new(554, Status(5, 5, 1), "no valid recipients"));
        }
        if let Err(why) = self.store.room_for(transaction.mail.size.unwrap_or(0)) {
            return self.say(&store_trouble(&why));
        }
        let received = origin.received(&self.service.policy, &transaction.recipients, now.wall);
        let completion = origin.completion(&self.service.policy, now.wall);
        let intake = Intake::new(self.store.draft(), received, completion, self.service.policy.message_max);
        self.work = Some(Work::Data(Box::new(Data {
            origin,
            envelope: Envelope { sender: transaction.mail.sender, recipients: transaction.recipients },
            dots: DotReader::new(LineEnds::Strict, MESSAGE_LINE_MAX),
            intake: Ok(intake),
        })));
        self.say(&Reply::plain(354, ["end with a dot alone on a line".to_owned()]));
    }

    /// Takes text up to the final dot, whatever is wrong with it: only behind the dot can a refusal be told.
    pub(super) fn data(&mut self, now: Now) -> bool {
        if self.input.pending().is_empty() {
            return false;
        }
        self.heard(now);
        let Some(Work::Data(data)) = &mut self.work else {
            return false;
        };
        let mut text = Vec::new();
        let progress = data.dots.push(self.input.pending(), &mut text);
        self.input.consume(progress.used);
        if let Ok(intake) = &mut data.intake {
            let flaw = data.dots.flaw().map(flawed);
            if let Some(reply) = flaw.or_else(|| intake.write(&text).err().map(|why| not_taken(&why))) {
                // The draft goes with it: the rest is read and thrown away.
                data.intake = Err(reply);
            }
        }
        if progress.done {
            self.finish_data(now);
        }
        true
    }

    fn finish_data(&mut self, now: Now) {
        let Some(Work::Data(data)) = self.work.take() else {
            return;
        };
        let Data { origin, envelope, intake, .. } = *data;
        // Synced here, so that no other client waits for it in the store.
        let sealed = intake.and_then(|intake| {
            let mut message = intake.finish().map_err(|why| not_taken(&why))?;
            message.out.seal().map_err(|why| not_taken(&why.into()))?;
            Ok(message)
        });
        let message = match sealed {
            Ok(message) => message,
            Err(reply) => {
                info!(peer = %self.peer, %reply, "message refused");
                return self.say(&reply);
            }
        };
        let (id, bytes) = (message.noted.message_id.clone(), message.size);
        let submission = Submission { origin, envelope, message, failures: Vec::new() };
        let reply = match self.store.write(|change| mail::accept(change, &self.service.policy, now, submission)) {
            Ok(accepted) => {
                self.service.accepted += 1;
                let (queued, delivered) = (accepted.queued.len(), accepted.delivered);
                info!(peer = %self.peer, id, bytes, queued, delivered, "message accepted");
                Reply::new(250, Status(2, 0, 0), "accepted")
            }
            Err(Refused::Store(why)) => store_trouble(&why),
            Err(why @ Refused::Loop) => Reply::new(554, Status(5, 4, 6), why.to_string()),
            Err(why @ (Refused::NoRecipients | Refused::TooManyRecipients)) => {
                Reply::new(554, Status(5, 5, 1), why.to_string())
            }
        };
        self.say(&reply);
    }
}

fn flawed(flaw: Flaw) -> Reply {
    match flaw {
        Flaw::BareEnd => Reply::new(554, Status(5, 6, 11), "a CR or LF stands alone in the message"),
        Flaw::LineTooLong => {
            Reply::new(554, Status(5, 6, 0), format!("a line of the message is longer than {MESSAGE_LINE_MAX} bytes"))
        }
    }
}

fn not_taken(why: &IntakeError) -> Reply {
    match why {
        IntakeError::HeaderTooLong(why) => Reply::new(552, Status(5, 3, 4), why.to_string()),
        IntakeError::TooLarge(_) => Reply::new(552, Status(5, 3, 4), why.to_string()),
        IntakeError::Io(source) if source.kind() == io::ErrorKind::StorageFull => full(),
        IntakeError::Io(source) => {
            warn!(%source, "cannot keep a message");
            Reply::new(451, Status(4, 3, 0), "cannot keep it now")
        }
    }
}

fn store_trouble(why: &StoreError) -> Reply {
    warn!(%why, "the store refuses a message");
    match why {
        StoreError::Full(_) => full(),
        StoreError::Io { .. } | StoreError::Database { .. } | StoreError::Schema { .. } | StoreError::Damaged(_) => {
            Reply::new(451, Status(4, 3, 0), "cannot keep it now")
        }
    }
}

fn full() -> Reply {
    Reply::new(452, Status(4, 3, 1), "no space left here; try later")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_means_later_and_so_does_every_other_trouble_of_ours() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let broken = || io::Error::from(io::ErrorKind::Other);
        let path = std::path::PathBuf::from("/spool");
        for (reply, expected) in [
            (not_taken(&IntakeError::Io(full)), "452 4.3.1 no space left here; try later"),
            (not_taken(&IntakeError::Io(broken())), "451 4.3.0 cannot keep it now"),
            (store_trouble(&StoreError::Full(path.clone())), "452 4.3.1 no space left here; try later"),
            (store_trouble(&StoreError::Io { path, source: broken() }), "451 4.3.0 cannot keep it now"),
            (store_trouble(&StoreError::Damaged(String::new())), "451 4.3.0 cannot keep it now"),
        ] {
            assert_eq!(reply.to_string(), expected);
        }
    }
}
