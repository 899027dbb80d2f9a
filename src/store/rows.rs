//! How our values stand in rows: names as text, times and sizes as integers, what has parts as JSON.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

use super::inbound::{Purpose, ReceivedId};
use super::jobs::{Deed, JobId};
use super::{BodyId, Cargo, Envelope, Hop, ItemId, StoreError};
use crate::base::address::{Address, BadAddress, Domain};
use crate::base::names::{Grade, PeerName, PortName, SiteName, UserName};
use crate::base::newsgroup::GroupName;
use crate::base::time::Timestamp;
use crate::base::wishes::{CopyWishes, Reports};

/// What a row or a text in it lacks to be one of our values.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no {1}")]
struct NotOurs(String, &'static str);

macro_rules! text {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::parse(value.as_str()?).map_err(FromSqlError::other)
            }
        }
    )*};
}
text!(SiteName, UserName, PeerName, PortName, GroupName);

macro_rules! number {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.into())
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_i64().map(Self)
            }
        }
    )*};
}
number!(BodyId, ItemId, JobId, ReceivedId);

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_micros().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_micros)
    }
}

impl ToSql for Grade {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl FromSql for Grade {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        one_character(value.as_str()?).and_then(Self::parse).ok_or(FromSqlError::InvalidType)
    }
}

/// The only character of a text.
pub(super) fn one_character(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// `site:hub`, `smtp:mail.example:25`, `nntp:upstream`, `maildir:ann`.
impl ToSql for Hop {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(hop_text(self).into())
    }
}

pub(super) fn hop_text(hop: &Hop) -> String {
    match hop {
        Hop::Site(site) => format!("site:{site}"),
        Hop::Smtp { host, port } => format!("smtp:{host}:{port}"),
        Hop::Nntp(peer) => format!("nntp:{peer}"),
        Hop::Maildir(user) => format!("maildir:{user}"),
    }
}

impl FromSql for Hop {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let (kind, rest) = text.split_once(':').ok_or(FromSqlError::InvalidType)?;
        match kind {
            "site" => SiteName::parse(rest).map(Hop::Site).map_err(FromSqlError::other),
            "smtp" => {
                let (host, port) = rest.rsplit_once(':').ok_or(FromSqlError::InvalidType)?;
                let port = port.parse().map_err(FromSqlError::other)?;
                Ok(Hop::Smtp { host: host.to_owned(), port })
            }
            "nntp" => PeerName::parse(rest).map(Hop::Nntp).map_err(FromSqlError::other),
            "maildir" => UserName::parse(rest).map(Hop::Maildir).map_err(FromSqlError::other),
            _ => Err(FromSqlError::other(NotOurs(text.to_owned(), "hop"))),
        }
    }
}

/// A size or count as SQLite has it. Nothing here reaches 2^63.
pub(super) fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A size or count from a row.
pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0))
}

/// The JSON of a value, for a column.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structs of texts and numbers have a JSON form")
}

/// A value from the JSON in a row.
pub(super) fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Damaged(format!("a row holds `{text:.60}`: {e}")))
}

/// An address. Its printed form would not do: `a!b@c` is two different addresses.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum AddressRow {
    Domain { local: String, domain: String },
    Path { hosts: Vec<String>, user: String },
    Local { name: String },
}

impl From<&Address> for AddressRow {
    fn from(address: &Address) -> Self {
        match address.clone() {
            Address::Domain { local, domain } => Self::Domain { local, domain: domain.to_string() },
            Address::Path { hosts, user } => Self::Path { hosts, user },
            Address::Local(name) => Self::Local { name },
        }
    }
}

impl TryFrom<AddressRow> for Address {
    type Error = BadAddress;
    fn try_from(row: AddressRow) -> Result<Self, BadAddress> {
        Ok(match row {
            AddressRow::Domain { local, domain } => Self::Domain { local, domain: Domain::parse(&domain)? },
            AddressRow::Path { hosts, user } => Self::Path { hosts, user },
            AddressRow::Local { name } => Self::Local(name),
        })
    }
}

/// A cargo without its body, which has a column of its own.
#[derive(Serialize, Deserialize)]
#[serde(tag = "cargo", rename_all = "lowercase")]
pub(super) enum CargoRow {
    Mail {
        sender: Option<AddressRow>,
        recipients: Vec<AddressRow>,
    },
    Article {
        message_id: String,
    },
    File {
        from: String,
        to: String,
        user: String,
        mode: u32,
        #[serde(flatten)]
        wishes: WishesRow,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution: Option<String>,
    },
    Fetch {
        from: String,
        to: String,
        user: String,
        #[serde(flatten)]
        wishes: WishesRow,
    },
    Expand {
        from: String,
        to: String,
        user: String,
        #[serde(flatten)]
        wishes: WishesRow,
    },
    Command {
        line: String,
        user: String,
        requestor: Option<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reports: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
}

/// The wishes of a copy: its letters, and who is told.
#[derive(Serialize, Deserialize)]
pub(super) struct WishesRow {
    #[serde(default)]
    notify: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    wishes: String,
}

impl From<CopyWishes> for WishesRow {
    fn from(wishes: CopyWishes) -> Self {
        Self { wishes: wishes.letters(), notify: wishes.notify }
    }
}

impl From<WishesRow> for CopyWishes {
    fn from(row: WishesRow) -> Self {
        Self { notify: row.notify, ..Self::parse(&row.wishes, "") }
    }
}

impl CargoRow {
    /// The row of a cargo and its body.
    pub fn split(cargo: &Cargo) -> (Self, Option<BodyId>) {
        match cargo.clone() {
            Cargo::Mail { envelope, body } => (Self::mail(&envelope), Some(body)),
            Cargo::Article { message_id, body } => (Self::Article { message_id }, Some(body)),
            Cargo::File { from, to, user, mode, wishes, execution, body } => {
                (Self::File { from, to, user, mode, wishes: wishes.into(), execution }, Some(body))
            }
            Cargo::Fetch { from, to, user, wishes } => (Self::Fetch { from, to, user, wishes: wishes.into() }, None),
            Cargo::Expand { from, to, user, wishes } => (Self::Expand { from, to, user, wishes: wishes.into() }, None),
            Cargo::Command { line, user, requestor, reports, file, input } => {
                let reports = reports.letter().to_owned();
                (Self::Command { line, user, requestor, reports, file }, Some(input))
            }
        }
    }

    pub fn mail(envelope: &Envelope) -> Self {
        Self::Mail {
            sender: envelope.sender.as_ref().map(AddressRow::from),
            recipients: envelope.recipients.iter().map(AddressRow::from).collect(),
        }
    }

    pub fn join(self, body: Option<BodyId>) -> Result<Cargo, StoreError> {
        let address =
            |row: AddressRow| Address::try_from(row).map_err(|e| StoreError::Damaged(format!("an envelope: {e}")));
        let with_body = || body.ok_or_else(|| StoreError::Damaged("an item without its body".to_owned()));
        Ok(match self {
            Self::Mail { sender, recipients } => {
                let sender = sender.map(address).transpose()?;
                let recipients = recipients.into_iter().map(address).collect::<Result<_, _>>()?;
                Cargo::Mail { envelope: Envelope { sender, recipients }, body: with_body()? }
            }
            Self::Article { message_id } => Cargo::Article { message_id, body: with_body()? },
            Self::File { from, to, user, mode, wishes, execution } => {
                Cargo::File { from, to, user, mode, wishes: wishes.into(), execution, body: with_body()? }
            }
            Self::Fetch { from, to, user, wishes } => Cargo::Fetch { from, to, user, wishes: wishes.into() },
            Self::Expand { from, to, user, wishes } => Cargo::Expand { from, to, user, wishes: wishes.into() },
            Self::Command { line, user, requestor, reports, file } => {
                let reports = Reports::parse(&reports);
                Cargo::Command { line, user, requestor, reports, file, input: with_body()? }
            }
        })
    }
}

/// What a job does at the peer.
#[derive(Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "lowercase")]
pub(super) enum DeedRow {
    Execute {
        command: String,
        user: String,
        requestor: Option<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reports: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    Store {
        from: String,
        to: String,
        user: String,
        mode: u32,
        #[serde(flatten)]
        wishes: WishesRow,
    },
    Fetch {
        from: String,
        to: String,
        user: String,
        #[serde(flatten)]
        wishes: WishesRow,
    },
    Expand {
        from: String,
        to: String,
        user: String,
        #[serde(flatten)]
        wishes: WishesRow,
    },
}

impl From<&Deed> for DeedRow {
    fn from(deed: &Deed) -> Self {
        match deed.clone() {
            Deed::Execute { command, user, requestor, reports, file } => {
                Self::Execute { command, user, requestor, reports: reports.letter().to_owned(), file }
            }
            Deed::Expand { from, to, user, wishes } => Self::Expand { from, to, user, wishes: wishes.into() },
            Deed::Store { from, to, user, mode, wishes } => Self::Store { from, to, user, mode, wishes: wishes.into() },
            Deed::Fetch { from, to, user, wishes } => Self::Fetch { from, to, user, wishes: wishes.into() },
        }
    }
}

impl From<DeedRow> for Deed {
    fn from(row: DeedRow) -> Self {
        match row {
            DeedRow::Execute { command, user, requestor, reports, file } => {
                Self::Execute { command, user, requestor, reports: Reports::parse(&reports), file }
            }
            DeedRow::Expand { from, to, user, wishes } => Self::Expand { from, to, user, wishes: wishes.into() },
            DeedRow::Store { from, to, user, mode, wishes } => {
                Self::Store { from, to, user, mode, wishes: wishes.into() }
            }
            DeedRow::Fetch { from, to, user, wishes } => Self::Fetch { from, to, user, wishes: wishes.into() },
        }
    }
}

/// What becomes of a received file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "lowercase")]
pub(super) enum PurposeRow {
    Execute {
        command: String,
        user: String,
        requestor: Option<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reports: String,
    },
    Spool {
        name: String,
    },
}

impl From<&Purpose> for PurposeRow {
    fn from(purpose: &Purpose) -> Self {
        match purpose.clone() {
            Purpose::Execute { command, user, requestor, reports } => {
                Self::Execute { command, user, requestor, reports: reports.letter().to_owned() }
            }
            Purpose::Spool { name } => Self::Spool { name },
        }
    }
}

impl From<PurposeRow> for Purpose {
    fn from(row: PurposeRow) -> Self {
        match row {
            PurposeRow::Execute { command, user, requestor, reports } => {
                Self::Execute { command, user, requestor, reports: Reports::parse(&reports) }
            }
            PurposeRow::Spool { name } => Self::Spool { name },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_print_alike_stay_different() {
        let domain = Domain::parse("c").expect("a domain");
        let one = Address::Domain { local: "a!b".to_owned(), domain };
        let other = Address::Path { hosts: vec!["a".to_owned()], user: "b@c".to_owned() };
        assert_eq!(one.to_string(), other.to_string());
        for recipient in [one, other, Address::Local("ann".to_owned())] {
            let envelope = Envelope { sender: None, recipients: vec![recipient] };
            let cargo = Cargo::Mail { envelope, body: BodyId(5) };
            let (row, body) = CargoRow::split(&cargo);
            let back = from_json::<CargoRow>(&json(&row)).and_then(|row| row.join(body)).expect("readable");
            assert_eq!(back, cargo);
        }
    }

    #[test]
    fn what_waits_since_an_older_version_is_read_with_the_wishes_that_it_had() {
        let texts = |row: Cargo| match row {
            Cargo::File { wishes, .. } | Cargo::Fetch { wishes, .. } | Cargo::Expand { wishes, .. } => wishes,
            Cargo::Mail { .. } | Cargo::Article { .. } | Cargo::Command { .. } => unreachable!("no copy"),
        };
        let check = |text: &str, letters: &str, notify: Option<&str>| {
            let cargo = from_json::<CargoRow>(text).and_then(|row| row.join(Some(BodyId(5)))).expect(text);
            let wishes = texts(cargo);
            assert_eq!((wishes.letters().as_str(), wishes.notify.as_deref()), (letters, notify), "{text}");
        };
        let file = r#"{"cargo":"file","from":"a","to":"b","user":"u","mode":420,"notify""#;
        check(&format!("{file}:null}}"), "d", None);
        check(&format!("{file}:\"ann\"}}"), "dn", Some("ann"));
        check(&format!("{file}:\"ann\",\"wishes\":\"fmn\"}}"), "fmn", Some("ann"));
        check(r#"{"cargo":"fetch","from":"a","to":"b","user":"u"}"#, "d", None);
        check(r#"{"cargo":"expand","from":"a","to":"b","user":"u","wishes":"fm"}"#, "fm", None);
        let store = r#"{"deed":"store","from":"a","to":"b","user":"u","mode":420,"notify":null}"#;
        assert!(
            matches!(from_json::<DeedRow>(store).map(Deed::from), Ok(Deed::Store { wishes, .. }) if wishes.letters() == "d")
        );
    }

    #[test]
    fn hops_come_back_from_their_text() {
        for hop in [
            Hop::Site(SiteName::parse("hub").expect("a name")),
            Hop::Smtp { host: "::1".to_owned(), port: 2525 },
            Hop::Nntp(PeerName::parse("up").expect("a name")),
            Hop::Maildir(UserName::parse("ann+x").expect("a name")),
        ] {
            let text = hop_text(&hop);
            assert_eq!(Hop::column_result(ValueRef::Text(text.as_bytes())).expect("a hop"), hop);
        }
        for text in ["", "site:", "smtp:host", "smtp:host:99999", "pigeon:x", "maildir:../x"] {
            assert!(Hop::column_result(ValueRef::Text(text.as_bytes())).is_err(), "{text}");
        }
    }
}
