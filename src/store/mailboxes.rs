//! Mailboxes and users.

use super::{BodyId, Change, StoreError, View};
use crate::base::names::UserName;
use crate::base::time::Timestamp;

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailEntry {
    /// Counts from 1 in each mailbox and never comes again.
    pub number: u64,
    pub received: Timestamp,
    /// The envelope sender as text; empty for the null sender.
    pub sender: String,
    pub size: u64,
    pub body: BodyId,
}

/// A user: a name and how to check their password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: UserName,
    /// `{SCRAM-SHA-256}iterations,salt,stored-key,server-key`, or nothing: no login.
    pub password: Option<String>,
    pub added: Timestamp,
}

impl View<'_> {
    /// Name, messages, bytes of every mailbox that holds or held something.
    pub fn mailboxes(&self) -> Result<Vec<(UserName, u64, u64)>, StoreError> {
        unimplemented!()
    }
    pub fn mailbox(&self, _user: &UserName) -> Result<Vec<MailEntry>, StoreError> {
        unimplemented!()
    }
    pub fn mail_entry(&self, _user: &UserName, _number: u64) -> Result<Option<MailEntry>, StoreError> {
        unimplemented!()
    }
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        unimplemented!()
    }
    pub fn user(&self, _name: &UserName) -> Result<Option<User>, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    pub fn deliver(
        &mut self,
        _user: &UserName,
        _body: BodyId,
        _sender: &str,
        _now: Timestamp,
    ) -> Result<u64, StoreError> {
        unimplemented!()
    }
    /// Adds, or changes the password.
    pub fn set_user(&mut self, _user: &User) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Whether there was one. The mailbox stays.
    pub fn remove_user(&mut self, _name: &UserName) -> Result<bool, StoreError> {
        unimplemented!()
    }
}
