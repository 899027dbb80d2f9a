//! The tables, made and brought up to date step by step, and how a connection is set up.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::StoreError;
use super::disk::{Disk, sync_folder};

/// Each step brings the schema from the version that is its place in the list to the next. Steps that were ever
/// released are never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
];

/// "bang": tells our file from other SQLite databases.
const APPLICATION_ID: i32 = 0x6261_6e67;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Opens the database; it exists and has our schema, or is about to get it.
pub(super) fn connect(disk: &Disk, access: Access) -> Result<Connection, StoreError> {
    let refused = |e| StoreError::database(&disk.database, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&disk.database, flags).map_err(refused)?;
    connection.busy_handler(Some(wait_for_turn)).map_err(refused)?;
    connection.set_prepared_statement_cache_capacity(128);
    // A reader looks at few pages; a writer's group should fit, since what does not is written twice.
    let cache_kib = match access {
        Access::Read => 1024,
        Access::Write => 4096,
    };
    // FULL: a commit returns when it is on the disk. The WAL goes into the database in larger portions than SQLite's
    // 4 MB, because each of them costs two more syncs.
    let settings = format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -{cache_kib}; PRAGMA temp_store = MEMORY;
         PRAGMA query_only = {};",
        access == Access::Read
    );
    connection.execute_batch(&settings).map_err(refused)?;
    Ok(connection)
}

/// Another process writes. Its commits are short, so ask often: SQLite's own handler sleeps up to 100 ms and starves
/// beside a busy writer. After about a minute something is wrong.
fn wait_for_turn(tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(if tries < 100 { 1 } else { 5 }));
    tries < 12_000
}

/// Makes the database if there is none, and brings its schema up to date. Called under the lock of opening.
pub(super) fn prepare(disk: &Disk) -> Result<Connection, StoreError> {
    let path = &disk.database;
    // SQLite would give it the mode of the umask. Opened only if it is new: closing a second descriptor of a database
    // drops the locks that this process holds on it.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // SQLite gives its other files to the owner of this one.
            disk.owner.give(&file).map_err(|e| StoreError::io(path, e))?;
            sync_folder(&disk.spool).map_err(|e| StoreError::io(&disk.spool, e))?;
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(StoreError::io(path, e)),
    }
    let mut connection = connect(disk, Access::Write)?;
    migrate(disk, &mut connection)?;
    Ok(connection)
}

fn migrate(disk: &Disk, connection: &mut Connection) -> Result<(), StoreError> {
    let refused = |e| StoreError::database(&disk.database, e);
    let number = |connection: &Connection, sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let known = MIGRATIONS.len() as i64;
    let found = number(connection, "PRAGMA user_version").map_err(refused)?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").map_err(refused)?;
    let ours = number(connection, "PRAGMA application_id").map_err(refused)? == i64::from(APPLICATION_ID);
    if tables > 0 && !ours {
        let why = "it belongs to another program; give bangpath a spool of its own";
        return Err(StoreError::unusable(&disk.database, why));
    }
    if found > known || found < 0 {
        return Err(StoreError::Schema { path: disk.database.clone(), found, known });
    }
    // The sweep would take every message for one that nobody names.
    if tables == 0 && disk.has_bodies()? {
        let why = "it is missing or empty, and there are messages in `bodies` beside it; put back a copy of it, or move \
                   `bodies` away to begin with an empty one";
        return Err(StoreError::unusable(&disk.database, why));
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(refused)?;
    if found == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refused)?;
    for step in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(step).map_err(refused)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(refused)?;
    transaction.pragma_update(None, "user_version", known).map_err(refused)?;
    disk.point(|| transaction.commit()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::sites::{KnownLine, TestedLine};
    use super::super::testing::*;
    use super::*;
    use crate::base::names::PortName;

    /// Opens a store of an earlier version with these rows in it.
    fn upgraded(version: usize, rows: &str) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let connection = Connection::open(folder.path().join("bangpath.db")).expect("a database");
        for step in &MIGRATIONS[..version] {
            connection.execute_batch(step).expect("a step");
        }
        connection.execute_batch(rows).expect("rows");
        connection.pragma_update(None, "application_id", APPLICATION_ID).expect("ours");
        connection.pragma_update(None, "user_version", version as i64).expect("a version");
        drop(connection);
        let store = Store::open(folder.path()).unwrap_or_else(|error| panic!("version {version}: {error}"));
        (folder, store)
    }

    fn known_line(store: &Store, name: &str) -> KnownLine {
        let port = PortName::parse("modem").expect("a name");
        read(store, |v| v.known_line(&site(name), &port))
    }

    /// The store of every earlier version is opened with what is in it.
    #[test]
    fn an_older_store_is_brought_up_to_date_and_keeps_what_it_has() {
        for version in 1..MIGRATIONS.len() {
            let row = "INSERT INTO site (name, last_result, failures, call_wanted) VALUES ('hub', 'no carrier', 3, 1)";
            let (_folder, store) = upgraded(version, row);
            let state = read(&store, |v| v.site_state(&site("hub")));
            assert_eq!((state.last_result.as_deref(), state.failures), (Some("no carrier"), 3));
            // Tables of every later step.
            write(&store, |c| c.want_hang_up(&site("hub"), None));
            assert!(read(&store, |v| v.statistics(None)).is_empty());
            assert_eq!(known_line(&store, "hub"), KnownLine::default());
            assert!(!read(&store, |v| v.is_barred("192.0.2.7", NOW)));
            write(&store, |c| c.bury_received(super::super::inbound::ReceivedId(1), "none", NOW));
        }
    }

    #[test]
    fn what_an_older_store_knows_of_lines_is_told_apart() {
        let rows = "INSERT INTO known_line (site, port, eight_bit, transparent, speed, round_trip, calls) VALUES
                    ('tested', 'modem', 1, 0, 2400, 1250000, 19), ('unmeasured', 'modem', 1, 0, NULL, NULL, 0),
                    ('measured', 'modem', 1, 1, NULL, 1250000, 20)";
        let tested = |calls| Some(TestedLine { eight_bit: true, transparent: false, calls });
        let round_trip = Some(Duration::from_micros(1_250_000));
        for version in [6, 7] {
            let (_folder, store) = upgraded(version, rows);
            assert_eq!(known_line(&store, "tested"), KnownLine { round_trip, tested: tested(19), counted: None });
            assert_eq!(known_line(&store, "unmeasured"), KnownLine { tested: tested(0), ..KnownLine::default() });
            assert_eq!(known_line(&store, "measured"), KnownLine { round_trip, ..KnownLine::default() });
        }
    }
}
