//! Opening the database file: its rights, its pragmas, its schema, its key.

use crate::{
    error::StoreError,
    open::COPY_NOTE,
    seal::{Place, SealKey, fill, hex},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

/// Marks the file as ours (`PRAGMA application_id`): "TDGS".
const APPLICATION: i64 = 0x5444_4753;

/// The schema, step by step. A step that has been released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_outbox.sql"),
    include_str!("migrations/0002_patterns.sql"),
    include_str!("migrations/0003_history_next.sql"),
    include_str!("migrations/0004_spans.sql"),
    include_str!("migrations/0005_mirror.sql"),
    include_str!("migrations/0006_floods.sql"),
    include_str!("migrations/0007_looked_up.sql"),
    include_str!("migrations/0008_markers.sql"),
    include_str!("migrations/0009_nodes.sql"),
    include_str!("migrations/0010_bounces.sql"),
    include_str!("migrations/0011_accounts.sql"),
];

/// How long a process waits for another one's transaction: an operator's command beside a busy server, or the other way round.
const BUSY: Duration = Duration::from_secs(15);

/// What both kinds of connection remember of prepared statements.
const STATEMENTS: usize = 160;

/// The text behind the value by which a wrong key is noticed.
const KEY_CHECK: &[u8] = b"tidings";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Opens the writing connection; makes the file, brings its schema up to date, checks the key.
pub(crate) fn writer(path: &Path, key: &SealKey, page_limit: Option<u32>) -> Result<Connection, StoreError> {
    let db = unlooked(path, key, page_limit)?;
    let note = db.query_row("SELECT 1 FROM meta WHERE name = ?1", [COPY_NOTE], |_| Ok(())).optional();
    match note.map_err(|error| StoreError::Open { path: path.to_owned(), source: error.into() })? {
        Some(()) => Err(StoreError::Unfinished(path.to_owned())),
        None => Ok(db),
    }
}

/// Likewise, also if it is an unfinished copy.
pub(crate) fn unlooked(path: &Path, key: &SealKey, page_limit: Option<u32>) -> Result<Connection, StoreError> {
    let failed = |source: Cause| StoreError::Open { path: path.to_owned(), source };
    make_file(path).map_err(|error| failed(error.into()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(|error| failed(error.into()))?;
    recognise(&db, path)?;
    pragmas(&db, page_limit).map_err(|error| failed(error.into()))?;
    migrate(&mut db, path)?;
    check_key(&mut db, path, key)?;
    Ok(db)
}

/// Opens a connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        prepare_once(&db)?;
        // Bounded (KiB when negative), so that memory does not grow with the queue; sorting goes to files.
        db.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = FILE; PRAGMA mmap_size = 0;")?;
        Ok(db)
    };
    open().map_err(|error| StoreError::Open { path: path.to_owned(), source: error.into() })
}

/// The file is made by us and not by SQLite, so that it is private from its first moment; SQLite gives its WAL the same rights. A file that is there is not
/// opened here: closing it would drop the locks of another connection of this process.
fn make_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            // The names too: the file's in its folder, and the folder's in the one above, should it be new.
            for folder in path.ancestors().skip(1).take(2).filter(|folder| !folder.as_os_str().is_empty()) {
                fs::File::open(folder)?.sync_all()?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses, before anything is written, what is not a database of ours or of a newer version.
fn recognise(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source: Cause| StoreError::Open { path: path.to_owned(), source };
    db.busy_timeout(BUSY).map_err(|error| failed(error.into()))?;
    let look = || -> rusqlite::Result<(i64, i64, i64)> {
        let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((tables, number(db, "application_id")?, number(db, "user_version")?))
    };
    let (tables, application, found) = look().map_err(|error| failed(error.into()))?;
    if application != APPLICATION && (tables > 0 || application != 0) {
        return Err(failed("it is an SQLite database of another program".into()));
    }
    let known = MIGRATIONS.iter().fold(0, |count, _| count + 1);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

fn number(db: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
}

/// Statements are kept once they are compiled, and plans do not depend on bound values: otherwise SQLite compiles a statement anew for each value that a partial
/// index might make a difference to, which took more than half of a look-up in the mirror.
fn prepare_once(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn pragmas(db: &Connection, page_limit: Option<u32>) -> rusqlite::Result<()> {
    prepare_once(db)?;
    // Only a new file takes its page size.
    db.execute_batch("PRAGMA page_size = 4096;")?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!(
            "the file system does not allow a write-ahead log (journal_mode is {mode})"
        )));
    }
    db.execute_batch(
        // FULL: the log is flushed before a commit is answered. secure_delete: what is erased is overwritten; erasing is rare, so it costs nothing that counts.
        // cache_size in KiB when negative: bounded, and large enough for the inner pages of every index. No foreign keys: one verb writes a whole event, and
        // checking them would double the look-ups of each insert.
        "PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = OFF;
         PRAGMA cache_size = -8192;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = FILE;
         PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA trusted_schema = OFF;",
    )?;
    if let Some(pages) = page_limit {
        db.execute_batch(&format!("PRAGMA max_page_count = {pages};"))?;
    }
    Ok(())
}

/// Brings the schema up to date, each step in a transaction of its own; two processes that open a new file at once do not disturb each other.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Open { path: path.to_owned(), source: error.into() };
    for (done, step) in (0..).zip(MIGRATIONS) {
        take_step(db, done, step).map_err(failed)?;
    }
    Ok(())
}

fn take_step(db: &mut Connection, done: i64, step: &str) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if number(&transaction, "user_version")? == done {
        transaction.execute_batch(step)?;
        transaction.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {};", done + 1))?;
        tracing::info!(store.schema = done + 1, "the database was brought up to date");
    }
    transaction.commit()
}

/// Names the installation and remembers the key the first time; afterwards refuses another key before it can do harm.
fn check_key(db: &mut Connection, path: &Path, key: &SealKey) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Open { path: path.to_owned(), source: error.into() };
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let known: Option<Vec<u8>> =
        transaction.query_row("SELECT value FROM meta WHERE name = 'key_check'", [], |row| row.get(0)).optional().map_err(failed)?;
    match known {
        Some(check) if key.open(Place::KeyCheck, &check).is_some_and(|text| *text == KEY_CHECK) => {}
        Some(_) => {
            return Err(StoreError::Key(format!(
                "it is not the one that {} was made with; its sensitive letters can only be read with that one",
                path.display()
            )));
        }
        None => {
            let check = key.seal(Place::KeyCheck, KEY_CHECK)?;
            let mut random = [0; 5];
            fill(&mut random)?;
            let installation = hex(&random);
            transaction
                .execute("INSERT INTO meta (name, value) VALUES ('key_check', ?1), ('installation', ?2)", (check, installation))
                .map_err(failed)?;
        }
    }
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    /// How often a statement that a partial index might serve is compiled anew for other values.
    fn compiled_anew(db: &Connection) -> i32 {
        let mut statement = db.prepare("SELECT a FROM t WHERE a = ?1 AND b = ?2").unwrap();
        for number in 0..5 {
            statement.query((number, number)).unwrap().next().unwrap();
        }
        statement.get_status(StatementStatus::RePrepare)
    }

    #[test]
    fn what_is_read_again_and_again_is_compiled_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let plain = Connection::open(&path).unwrap();
        plain.execute_batch("CREATE TABLE t (a INTEGER, b INTEGER); CREATE INDEX i ON t (a) WHERE b = 2;").unwrap();
        assert!(compiled_anew(&plain) > 0, "a connection without our settings would do so");
        assert_eq!(compiled_anew(&reader(&path).unwrap()), 0);
    }
}
