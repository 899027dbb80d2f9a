//! Mailboxes and users.

use rusqlite::{Row, params};

use super::rows::{count, integer};
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

fn mail_row(row: &Row<'_>) -> rusqlite::Result<MailEntry> {
    Ok(MailEntry {
        number: count(row, "number")?,
        received: row.get("received")?,
        sender: row.get("sender")?,
        size: count(row, "size")?,
        body: row.get("body")?,
    })
}

fn user_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User { name: row.get("name")?, password: row.get("password")?, added: row.get("added")? })
}

impl View<'_> {
    /// Name, messages, bytes of every mailbox that holds or held something.
    pub fn mailboxes(&self) -> Result<Vec<(UserName, u64, u64)>, StoreError> {
        let sql = "SELECT mailbox.user AS user, count(number) AS messages, coalesce(sum(size), 0) AS bytes
                   FROM mailbox LEFT JOIN mail USING (user) GROUP BY mailbox.user ORDER BY mailbox.user";
        self.rows(sql, [], |row| Ok((row.get("user")?, count(row, "messages")?, count(row, "bytes")?)))
    }

    /// The messages of one mailbox, by number.
    pub fn mailbox(&self, user: &UserName) -> Result<Vec<MailEntry>, StoreError> {
        let sql = "SELECT number, received, sender, size, body FROM mail WHERE user = ? ORDER BY number";
        self.rows(sql, [user], mail_row)
    }

    /// One message.
    pub fn mail_entry(&self, user: &UserName, number: u64) -> Result<Option<MailEntry>, StoreError> {
        let sql = "SELECT number, received, sender, size, body FROM mail WHERE user = ? AND number = ?";
        self.row(sql, params![user, integer(number)], mail_row)
    }

    /// All users, by name.
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        self.rows("SELECT name, password, added FROM user ORDER BY name", [], user_row)
    }

    /// One user.
    pub fn user(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        self.row("SELECT name, password, added FROM user WHERE name = ?", [name], user_row)
    }
}

impl Change<'_> {
    /// The number of the message in the mailbox, which is made if it is new.
    pub fn deliver(&mut self, user: &UserName, body: BodyId, sender: &str, now: Timestamp) -> Result<u64, StoreError> {
        let size = self.count_body(body)?;
        let sql = "INSERT INTO mailbox (user, last) VALUES (?, 1)
                   ON CONFLICT (user) DO UPDATE SET last = last + 1 RETURNING last";
        let number = self.row(sql, [user], |row| count(row, "last"))?.expect("an upsert returns its row");
        let sql = "INSERT INTO mail (user, number, received, sender, size, body) VALUES (?, ?, ?, ?, ?, ?)";
        self.execute(sql, params![user, integer(number), now, sender, integer(size), body])?;
        Ok(number)
    }

    /// Takes a message out of a mailbox; whether it was there.
    pub fn remove_mail(&mut self, user: &UserName, number: u64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM mail WHERE user = ? AND number = ? RETURNING body";
        match self.row(sql, params![user, integer(number)], |row| row.get(0))? {
            Some(body) => self.release_body(body).map(|()| true),
            None => Ok(false),
        }
    }

    /// Adds, or changes the password.
    pub fn set_user(&mut self, user: &User) -> Result<(), StoreError> {
        let sql = "INSERT INTO user (name, password, added) VALUES (?, ?, ?)
                   ON CONFLICT (name) DO UPDATE SET password = excluded.password";
        self.execute(sql, params![user.name, user.password, user.added]).map(drop)
    }

    /// Whether there was one. The mailbox stays.
    pub fn remove_user(&mut self, name: &UserName) -> Result<bool, StoreError> {
        self.execute("DELETE FROM user WHERE name = ?", [name]).map(|n| n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::testing::*;
    use super::*;

    fn deliver(store: &Store, name: &str, bytes: &[u8]) -> u64 {
        write(store, |c| {
            let body = c.keep_bytes(bytes)?;
            c.deliver(&user(name), body, "bob@hub.example", NOW)
        })
    }

    #[test]
    fn numbers_count_in_each_mailbox_and_never_come_again() {
        let (_folder, store) = open();
        assert_eq!(
            [deliver(&store, "ann", b"1"), deliver(&store, "bob", b"1"), deliver(&store, "ann", b"22")],
            [1, 1, 2]
        );
        assert!(write(&store, |c| c.remove_mail(&user("ann"), 2)));
        assert!(!write(&store, |c| c.remove_mail(&user("ann"), 2)));
        assert_eq!(deliver(&store, "ann", b"333"), 3);
        let listed: Vec<(u64, u64)> =
            read(&store, |v| v.mailbox(&user("ann"))).iter().map(|entry| (entry.number, entry.size)).collect();
        assert_eq!(listed, [(1, 1), (3, 3)]);
        write(&store, |c| c.remove_mail(&user("bob"), 1));
        assert_eq!(read(&store, |v| v.mailboxes()), [(user("ann"), 2, 4), (user("bob"), 0, 0)]);
        let entry = read(&store, |v| v.mail_entry(&user("ann"), 3)).expect("a message");
        assert_eq!((entry.sender.as_str(), entry.received), ("bob@hub.example", NOW));
        assert_eq!(read(&store, |v| v.body(entry.body)).bytes(10).expect("readable"), b"333");
        assert_eq!(read(&store, |v| v.mail_entry(&user("ann"), 2)), None);
    }

    #[test]
    fn a_user_goes_and_the_mailbox_stays() {
        let (_folder, store) = open();
        let ann = User { name: user("ann"), password: Some("{SCRAM-SHA-256}x".to_owned()), added: NOW };
        write(&store, |c| c.set_user(&ann));
        write(&store, |c| c.set_user(&User { name: user("bob"), password: None, added: NOW }));
        let changed = User { password: Some("{SCRAM-SHA-256}y".to_owned()), added: later(9), ..ann.clone() };
        write(&store, |c| c.set_user(&changed));
        assert_eq!(read(&store, |v| v.user(&user("ann"))), Some(User { added: NOW, ..changed }));
        assert_eq!(read(&store, |v| v.users()).len(), 2);
        deliver(&store, "ann", b"x");
        assert!(write(&store, |c| c.remove_user(&user("ann"))));
        assert!(!write(&store, |c| c.remove_user(&user("ann"))));
        assert_eq!(read(&store, |v| v.user(&user("ann"))), None);
        assert_eq!(read(&store, |v| v.mailbox(&user("ann"))).len(), 1);
    }
}
