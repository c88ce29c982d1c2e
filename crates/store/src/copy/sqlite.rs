//! An SQLite file as the source or the target of a copy. Everything here waits for the disk: it runs on a thread of its own.

use crate::{
    copy::{
        entities::{ENTITIES, OWN_META},
        value::{Entity, Kind, Page, Pages, Row, Value},
    },
    error::StoreError,
    sqlite::{spans, trace},
};
use rusqlite::{Connection, OptionalExtension, params_from_iter, types::ValueRef};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};
use tidings_core::outbox::State;

/// Memory for pages of the file while it is copied, in KiB: room for the inner pages of the indexes that are written in no order.
const CACHE_KIB: u32 = 131_072;
/// What sealing adds to a letter: the nonce and the tag.
const SEAL_BYTES: i64 = 40;

/// The file. While it is a source nobody writes to it.
pub(crate) struct Sqlite {
    db: Connection,
    path: PathBuf,
}

fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::Corrupt(what.into())
}

impl Sqlite {
    /// Takes a file that was opened for writing.
    pub(crate) fn new(path: &Path, db: Connection) -> Result<Self, StoreError> {
        let one = Self { db, path: path.to_owned() };
        let cache = format!("PRAGMA cache_size = -{CACHE_KIB}");
        one.db.execute_batch(&cache).map_err(|error| one.failed(&error))?;
        Ok(one)
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::Unavailable(format!("{}: {error}", self.path.display()))
    }

    /// Keeps everybody else from writing until it is dropped. What is read meanwhile is of one moment.
    pub(crate) fn freeze(&self) -> Result<(), StoreError> {
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(|error| self.failed(&error))
    }

    /// A value of `meta`.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional();
        found.map_err(|error| self.failed(&error))
    }

    /// Sets a value of `meta`, or takes it away.
    pub(crate) fn set_meta(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let done = match value {
            Some(value) => self.db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", (name, value)),
            None => self.db.execute("DELETE FROM meta WHERE name = ?1", [name]),
        };
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// The first table that holds something, beside what opening has made.
    pub(crate) fn filled(&self) -> Result<Option<&'static str>, StoreError> {
        for entity in ENTITIES {
            let sql = match entity.name {
                "meta" => {
                    "SELECT EXISTS (SELECT 1 FROM meta WHERE name NOT IN ('copy', 'ready_at', 'key_check', 'installation'))".to_owned()
                }
                "object_number" => "SELECT EXISTS (SELECT 1 FROM object_number WHERE next <> 1)".to_owned(),
                table => format!("SELECT EXISTS (SELECT 1 FROM {table})"),
            };
            if self.db.query_row(&sql, [], |row| row.get(0)).map_err(|error| self.failed(&error))? {
                return Ok(Some(entity.name));
            }
        }
        Ok(None)
    }

    /// How many rows an entity has.
    pub(crate) fn count(&self, entity: &Entity) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {}", entity.name);
        let count = self.db.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_err(|error| self.failed(&error))?;
        Ok(count.max(0).cast_unsigned())
    }

    /// The weeks that the history has lines of, counted from the first of January 1970.
    pub(crate) fn weeks(&self, week_ms: i64) -> Result<Vec<i64>, StoreError> {
        let weeks = || -> rusqlite::Result<Vec<i64>> {
            let mut found = self.db.prepare("SELECT DISTINCT at / ?1 FROM history WHERE at >= 0")?;
            found.query_map([week_ms], |row| row.get(0))?.collect()
        };
        weeks().map_err(|error| self.failed(&error))
    }

    /// Gives the rows behind a place, page by page, until there are no more or `give` says that it has enough.
    pub(crate) fn read(&self, mut pages: Pages, after: Option<&[Value]>, give: &mut dyn FnMut(Page) -> bool) -> Result<(), StoreError> {
        let failed = |error: rusqlite::Error| self.failed(&error);
        let entity = pages.entity();
        let mut statement = self.db.prepare(&question(entity, after.is_some())).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(after.unwrap_or_default())).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let full = pages.take(read_row(entity, row).map_err(|fault| match fault {
                Fault::Sql(error) => self.failed(&error),
                Fault::Said(error) => error,
            })?);
            if let Some(page) = full
                && !give(page)
            {
                return Ok(());
            }
        }
        give(pages.last());
        Ok(())
    }

    /// Writes a page and notes how far the copy has come, in one transaction. `before` is how many rows of the entity were written before.
    pub(crate) fn write(&mut self, page: &Page, before: u64, note: &[u8]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let write = |db: &mut Connection| -> rusqlite::Result<()> {
            let transaction = db.transaction()?;
            {
                let mut statement = transaction.prepare_cached(&answer(page.entity))?;
                for (number, row) in (before..).zip(&page.rows) {
                    for (place, value) in written(page.entity, row, number).into_iter().enumerate() {
                        statement.raw_bind_parameter(place + 1, &*value)?;
                    }
                    statement.raw_execute()?;
                }
            }
            transaction.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('copy', ?1)", [note])?;
            transaction.commit()
        };
        write(&mut self.db).map_err(|error| StoreError::Unavailable(format!("{}: {}: {error}", path.display(), page.entity.name)))
    }
}

enum Fault {
    Sql(rusqlite::Error),
    Said(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// The columns of an entity as this database reads them, and what they are made from behind them.
fn expressions(entity: &Entity) -> Vec<&'static str> {
    let own = entity.columns.iter().map(|column| match (entity.name, column.name) {
        ("event", "trace_pattern") | ("item", "size") => "NULL",
        ("node", "until") => "seen",
        ("object", "type") => "CASE typeof(t.type) WHEN 'integer' THEN CAST(t.type AS TEXT) ELSE ':' || t.type END",
        (_, name) => name,
    });
    let more: &[&str] = match entity.name {
        // The head of a frame (RFC 8878 §3.1.1) tells how long the letter is.
        "item" => &["length(l.bytes)", "substr(l.bytes, 1, 18)", "l.pattern", "l.sensitive"],
        _ => &[],
    };
    own.chain(more.iter().copied()).collect()
}

fn question(entity: &Entity, behind: bool) -> String {
    let named = |name: &'static str| if name.contains(['.', '(']) || name == "NULL" { name.to_owned() } else { format!("t.{name}") };
    let columns: Vec<String> = expressions(entity).into_iter().map(named).collect();
    let keys: Vec<String> = entity.columns[..entity.key].iter().map(|column| format!("t.{}", column.name)).collect();
    let mut conditions = Vec::new();
    if entity.name == "meta" {
        conditions.push(format!("t.name NOT IN ({})", OWN_META.map(|name| format!("'{name}'")).join(", ")));
    }
    if behind {
        let places: Vec<String> = (1..=entity.cut).map(|place| format!("?{place}")).collect();
        conditions.push(format!("({}) > ({})", keys[..entity.cut].join(", "), places.join(", ")));
    }
    let with = if entity.name == "item" { " LEFT JOIN letter l ON l.id = t.letter" } else { "" };
    let only = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("SELECT {} FROM {} t{with}{only} ORDER BY {}", columns.join(", "), entity.name, keys.join(", "))
}

fn read_row(entity: &Entity, row: &rusqlite::Row<'_>) -> Result<Row, Fault> {
    let mut values = Vec::with_capacity(entity.columns.len() + 4);
    for place in 0..entity.columns.len() {
        values.push(value(row.get_ref(place)?, entity).map_err(Fault::Said)?);
    }
    if entity.name == "event" {
        let (trace, pattern) = (entity.place("trace"), entity.place("trace_pattern"));
        if let Some((number, packed)) = trace::split(values[trace].bytes().unwrap_or_default()).map_err(Fault::Said)? {
            let packed = Value::Bytes(packed.to_vec());
            (values[trace], values[pattern]) = (packed, Value::Whole(number));
        }
    } else if entity.name == "item" {
        let from = entity.columns.len();
        let size = size_of_letter(row.get(from)?, row.get_ref(from + 1)?, row.get(from + 2)?, row.get(from + 3)?);
        values[entity.place("size")] = Value::Whole(size);
    }
    for (value, column) in values.iter().zip(entity.columns) {
        let fits = matches!(
            (value, column.kind),
            (Value::Null, _) | (Value::Whole(_), Kind::Whole) | (Value::Text(_), Kind::Text) | (Value::Bytes(_), Kind::Bytes)
        );
        if !fits {
            return Err(Fault::Said(corrupt(format!("{}.{}", entity.name, column.name))));
        }
    }
    Ok(values)
}

/// What it takes to deliver a letter, in bytes, as far as its row tells; 0 once it is erased.
fn size_of_letter(length: Option<i64>, head: ValueRef<'_>, pattern: Option<i64>, sensitive: Option<bool>) -> i64 {
    let Some(length) = length else { return 0 };
    if sensitive == Some(true) {
        return (length - SEAL_BYTES).max(0);
    }
    match (pattern, head) {
        (Some(_), ValueRef::Blob(head)) => crate::pack::whole_length(head).and_then(|length| i64::try_from(length).ok()).unwrap_or(length),
        _ => length,
    }
}

fn value(value: ValueRef<'_>, entity: &Entity) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Whole(number),
        ValueRef::Text(text) => {
            let text = String::from_utf8(text.to_vec()).map_err(|_| corrupt(format!("{}: a text that is not UTF-8", entity.name)))?;
            Value::Text(text)
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(corrupt(format!("{}: a number that is not whole", entity.name))),
    })
}

/// The columns that an entity is written to.
fn targets(entity: &Entity) -> Vec<&'static str> {
    let own = entity.columns.iter().map(|column| column.name);
    match entity.name {
        "event" => own.filter(|name| *name != "trace_pattern").collect(),
        "node" => own.filter(|name| *name != "until").collect(),
        "item" => own.filter(|name| *name != "size").chain(["open_until", "span"]).collect(),
        _ => own.collect(),
    }
}

fn answer(entity: &Entity) -> String {
    let columns = targets(entity);
    let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
    match entity.name {
        "object_number" => "UPDATE object_number SET next = ?1".to_owned(),
        // The number of the installation and the mark of the key are there already.
        "meta" => "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)".to_owned(),
        table => format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", ")),
    }
}

/// A row as this database has it.
fn written<'a>(entity: &Entity, row: &'a Row, number: u64) -> Vec<Cow<'a, Value>> {
    let mut cells: Vec<Cow<'_, Value>> = row.iter().map(Cow::Borrowed).collect();
    match entity.name {
        "event" => {
            let (place, pattern) = (entity.place("trace"), entity.place("trace_pattern"));
            if let (Some(pattern), Some(packed)) = (row[pattern].whole(), row[place].bytes()) {
                cells[place] = Cow::Owned(Value::Bytes(trace::written(pattern, packed)));
            }
            cells.remove(pattern);
        }
        "item" => {
            let state = row[entity.place("state")].whole().and_then(State::from_number);
            let open = state.is_some_and(|state| !state.is_final());
            cells.remove(entity.place("size"));
            cells.push(if open { Cow::Borrowed(&row[entity.place("expires_at")]) } else { Cow::Owned(Value::Null) });
            cells.push(Cow::Owned(Value::Whole(i64::try_from(number / u64::from(spans::ITEMS)).unwrap_or(i64::MAX))));
        }
        "node" => drop(cells.remove(entity.place("until"))),
        "object" => {
            let place = entity.place("type");
            let written = match &row[place] {
                Value::Text(name) => match name.strip_prefix(':') {
                    Some(name) => Value::Text(name.to_owned()),
                    None => name.parse().map_or_else(|_| Value::Text(name.clone()), Value::Whole),
                },
                other => other.clone(),
            };
            cells[place] = Cow::Owned(written);
        }
        _ => {}
    }
    cells
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ToSqlOutput;
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Whole(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The columns of tables that the entities stand for, as `table.column`.
pub(crate) fn covered() -> Vec<String> {
    ENTITIES.iter().flat_map(|entity| targets(entity).into_iter().map(move |column| format!("{}.{column}", entity.name))).collect()
}
