//! Mail about copies and commands: to users here of what came for them or was refused, to users of a site of what became of its commands.

use crate::base::address::Address;
use crate::base::limits::WIRE_NAME_MAX;
use crate::base::names::SiteName;
use crate::base::time::Now;
use crate::base::words::with_causes;
use crate::mail;
use crate::store::{Change, StoreError};

/// Notices about what goes to a site or has come from it.
#[derive(Clone, Copy)]
pub(super) struct Notices<'a> {
    pub policy: &'a mail::Policy,
    pub now: Now,
    pub site: &'a SiteName,
}

impl Notices<'_> {
    /// What cannot be said to a user is in the log; only the disk is trouble.
    fn tell(&self, change: &mut Change<'_>, to: &Address, subject: &str, text: &str) -> Result<(), StoreError> {
        match mail::notify(change, self.policy, self.now, to, subject, text) {
            Ok(()) => Ok(()),
            Err(mail::Refused::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(%to, error = with_causes(&error), "cannot tell a user");
                Ok(())
            }
        }
    }

    /// To the user whose file or command the site refused. A user without a mailbox has the log and `dead`.
    pub fn refused(&self, change: &mut Change<'_>, (user, what): (&str, &str), why: &str) -> Result<(), StoreError> {
        let Ok(to) = Address::parse_uucp(user) else { return Ok(()) };
        let site = self.site;
        let text = format!(
            "Site {site} refused what you queued for it: {why}\n\n    {what}\n\nIt is kept: see `bangpath dead list`.\n"
        );
        self.tell(change, &to, &format!("Refused by {site}"), &text)
    }

    /// To who asked for a command at the site, of its end here.
    pub fn ended(&self, change: &mut Change<'_>, to: &Address, (command, how): (&str, &str)) -> Result<(), StoreError> {
        let command: String = command.chars().filter(|c| !c.is_control()).take(500).collect();
        let text =
            format!("Your site asked {} to run this command:\n\n    {command}\n\nIt {how}.\n", self.policy.hostname);
        self.tell(change, to, if how == DONE { "Command done" } else { "Command failed" }, &text)
    }

    /// To the user who asked for a copy with `-m`.
    pub fn copied(&self, change: &mut Change<'_>, user: &str, (from, to): (&str, &str)) -> Result<(), StoreError> {
        let Some(user) = plain(user) else { return Ok(()) };
        let text = format!("The copy that you asked for is done:\n\n    {from}\n    {to}\n");
        self.tell(change, &user, &format!("Copied: {}", shown(last(from))), &text)
    }

    /// To the user here whom the sender of a file wanted told (`n` of `S`). `to` is where it is now. Nobody else is: what a
    /// peer names may be anything, and must not make us write to the world.
    pub fn came(&self, change: &mut Change<'_>, user: &str, (sender, to): (&str, &str)) -> Result<(), StoreError> {
        let Some(name) = mail::local_user_named(change, self.policy, user)? else {
            tracing::info!(site = %self.site, user = shown(user), "there is no such user to be told of a file");
            return Ok(());
        };
        let (site, sender) = (self.site, shown(sender));
        let text = format!("A file has come for you from {sender} at site {site}:\n\n    {}\n", shown(to));
        self.tell(change, &Address::Local(name.to_string()), &format!("File from {site}: {}", shown(last(to))), &text)
    }
}

/// How a command has ended that has not failed.
pub(super) const DONE: &str = "has been done";

/// To whom a site's wishes about mail may lead: to a user here or behind a site, by a path alone.
fn plain(user: &str) -> Option<Address> {
    Address::parse_uucp(user).ok().filter(|_| !user.contains(['@', '%']))
}

fn last(name: &str) -> &str {
    name.rsplit('/').find(|part| !part.is_empty()).unwrap_or(name)
}

/// A peer's word as people may read it.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(WIRE_NAME_MAX).collect()
}
