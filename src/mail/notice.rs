//! Short messages of our own: a command that was refused, a file that did not go.

use crate::base::address::Address;
use crate::base::names::Grade;
use crate::base::time::Now;
use crate::store::Change;
use crate::wire::header::{folded, message_id};

use super::{Letter, Origin, Policy, Refused, dispatch};

/// Writes to `to` in the postmaster's name, with the null sender: nobody answers it by machine.
/// Where the address leads nowhere the log says so, and that is all.
pub fn notify(
    change: &mut Change<'_>,
    policy: &Policy,
    now: Now,
    to: &Address,
    subject: &str,
    text: &str,
) -> Result<(), Refused> {
    let header = [
        folded("From", &format!("Mail Delivery System <postmaster@{}>", policy.domain)),
        folded("To", &to.to_string()),
        folded("Subject", subject),
        folded("Date", &now.wall.rfc5322()),
        folded("Auto-Submitted", "auto-replied"),
    ]
    .concat();
    let id = message_id(now.wall, [header.as_bytes(), text.as_bytes()].concat().as_slice(), policy.domain.as_str());
    let bytes = format!("{header}{}\n{text}", folded("Message-ID", &id)).into_bytes();
    let letter = Letter {
        sender: None,
        body: change.keep_bytes(&bytes)?,
        size: bytes.len() as u64,
        message_id: id,
        grade: Grade::MAIL,
    };
    let (_, lost) = dispatch(change, policy, now, &Origin::Report, &letter, vec![to.clone()])?;
    for failure in lost {
        tracing::warn!(%to, why = failure.reason, "a notice leads nowhere");
    }
    Ok(())
}
