//! A database on a PostgreSQL server as the source or the target of a copy. Read in the order of the keys as one stream, written by `COPY`.

use crate::{
    copy::{
        entities::ENTITIES,
        value::{Entity, Kind, Page, Pages, Row, Value},
    },
    error::StoreError,
    postgres::{
        accept::span_of,
        connect::{self, Address},
        fault::in_full,
    },
    seal::SealKey,
};
use bytes::BytesMut;
use futures_util::TryStreamExt;
use std::{borrow::Cow, collections::HashMap, path::PathBuf, pin::pin, time::Duration};
use tidings_core::outbox::State;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

/// A session that copies is long and quiet between its pages; it reads in the order of the keys without sorting millions of rows; and what it commits is on disk.
const MANNERS: &str =
    "SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = '20s'; SET jit = off;
    SET client_min_messages = warning; SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Whoever copies holds the lock of this name.
const COPY_LOCK: i64 = 0x5444_4753_0002;
/// So often it is asked for, with this in between.
const TRIES: u32 = 12;
const BETWEEN: Duration = Duration::from_millis(250);

/// So many weeks of history have partitions of their own at most; the lines of others go to the partition for what finds none.
const WEEKS: usize = 520;

/// A session on the server.
pub(crate) struct Postgres {
    client: Client,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
    shown: PathBuf,
    /// The types of the columns that are written, by table.
    types: HashMap<&'static str, Vec<Type>>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Postgres {
    /// Connects, without looking at what is there.
    pub(crate) async fn connect(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let failed = |error: tokio_postgres::Error| StoreError::Open { path: address.shown.clone(), source: in_full(&error).into() };
        let (client, connection) = address.config.connect(address.tls.clone()).await.map_err(failed)?;
        let one = Self { client, task: tokio::spawn(connection), shown: address.shown.clone(), types: HashMap::new() };
        one.client.batch_execute(MANNERS).await.map_err(failed)?;
        Ok(one)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> StoreError {
        StoreError::Unavailable(format!("{}: {}", self.shown.display(), in_full(error)))
    }

    /// Whether there is an outbox.
    pub(crate) async fn is_there(&self) -> Result<bool, StoreError> {
        let row = self.client.query_one("SELECT to_regclass('meta') IS NOT NULL", &[]).await;
        Ok(row.map_err(|error| self.failed(&error))?.get(0))
    }

    /// Brings the schema up to date and checks the key.
    pub(crate) async fn open(&self, key: &SealKey) -> Result<(), StoreError> {
        connect::migrate(&self.client, &self.shown).await?;
        connect::check_key(&self.client, &self.shown, key).await
    }

    /// Keeps every other copy away, until the session ends. A session that was killed a moment ago may still be there, so it is asked for again a few times.
    pub(crate) async fn lock(&self) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let row = self.client.query_one("SELECT pg_try_advisory_lock($1)", &[&COPY_LOCK]).await;
            if row.map_err(|error| self.failed(&error))?.get(0) {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Err(StoreError::InUse(self.shown.clone()))
    }

    /// Refuses if a node is a member at this moment. One that was killed is one until its membership ends.
    pub(crate) async fn nobody_serves(&self) -> Result<(), StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM node WHERE name IS NOT NULL AND until > extract(epoch FROM clock_timestamp()) * 1000)";
        let serves = self.client.query_one(sql, &[]).await.map_err(|error| self.failed(&error))?.get(0);
        if serves { Err(StoreError::InUse(self.shown.clone())) } else { Ok(()) }
    }

    /// The name of the database.
    pub(crate) async fn name(&self) -> Result<String, StoreError> {
        let row = self.client.query_one("SELECT current_database()::text", &[]).await;
        Ok(row.map_err(|error| self.failed(&error))?.get(0))
    }

    /// Keeps everybody else from writing until the session ends. What is read meanwhile is of one moment.
    pub(crate) async fn freeze(&self) -> Result<(), StoreError> {
        let mut tables: Vec<String> =
            covered().into_iter().map(|column| column.split('.').next().expect("a column has a table").to_owned()).collect();
        tables.sort_unstable();
        tables.dedup();
        // The number of the next object is a sequence: who takes one writes an object.
        tables.retain(|table| table != "object_number");
        let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE {} IN SHARE MODE", tables.join(", "));
        self.client.batch_execute(&sql).await.map_err(|error| self.failed(&error))
    }

    /// A value of `meta`.
    pub(crate) async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.client.query_opt("SELECT value FROM meta WHERE name = $1", &[&name]).await;
        Ok(row.map_err(|error| self.failed(&error))?.map(|row| row.get(0)))
    }

    /// Sets a value of `meta`, or takes it away.
    pub(crate) async fn set_meta(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let set = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let done = match value {
            Some(value) => self.client.execute(set, &[&name, &value]).await,
            None => self.client.execute("DELETE FROM meta WHERE name = $1", &[&name]).await,
        };
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// The first table that holds something, beside what opening has made.
    pub(crate) async fn filled(&self) -> Result<Option<&'static str>, StoreError> {
        for entity in ENTITIES {
            let sql = match entity.name {
                "meta" => {
                    "SELECT EXISTS (SELECT FROM meta WHERE name NOT IN ('copy', 'schema', 'schema_oldest', 'key_check', 'installation'))"
                        .to_owned()
                }
                "object_number" => "SELECT is_called FROM object_number".to_owned(),
                table => format!("SELECT EXISTS (SELECT FROM {table})"),
            };
            if self.client.query_one(&sql, &[]).await.map_err(|error| self.failed(&error))?.get(0) {
                return Ok(Some(entity.name));
            }
        }
        Ok(None)
    }

    /// How many rows an entity has.
    pub(crate) async fn count(&self, entity: &Entity) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {}", from(entity));
        let row = self.client.query_one(&sql, &[]).await.map_err(|error| self.failed(&error))?;
        Ok(row.get::<_, i64>(0).max(0).cast_unsigned())
    }

    /// The weeks that the history has lines of, counted from the first of January 1970.
    pub(crate) async fn weeks(&self, week_ms: i64) -> Result<Vec<i64>, StoreError> {
        let rows = self.client.query("SELECT DISTINCT at / $1 FROM history WHERE at >= 0", &[&week_ms]).await;
        Ok(rows.map_err(|error| self.failed(&error))?.iter().map(|row| row.get(0)).collect())
    }

    /// Makes the partitions that the history of these weeks needs.
    pub(crate) async fn make_weeks(&self, mut weeks: Vec<i64>, week_ms: i64) -> Result<(), StoreError> {
        weeks.sort_unstable_by(|a, b| b.cmp(a));
        for week in weeks.into_iter().take(WEEKS) {
            let (from, to) = (week.saturating_mul(week_ms), week.saturating_add(1).saturating_mul(week_ms));
            let sql = format!("CREATE TABLE IF NOT EXISTS history_{week} PARTITION OF history FOR VALUES FROM ({from}) TO ({to})");
            self.client.batch_execute(&sql).await.map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// Gives the rows behind a place, page by page, until there are no more or nobody takes them.
    pub(crate) async fn read(&self, mut pages: Pages, after: Option<&[Value]>, give: &mpsc::Sender<Page>) -> Result<(), StoreError> {
        let entity = pages.entity();
        let statement = self.client.prepare(&question(entity, after.is_some())).await.map_err(|error| self.failed(&error))?;
        let behind: Vec<Plain<'_>> = after.unwrap_or_default().iter().map(Plain).collect();
        let rows = self.client.query_raw(&statement, behind).await.map_err(|error| self.failed(&error))?;
        let mut rows = pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(|error| self.failed(&error))? {
            if let Some(page) = pages.take(read_row(entity, &row))
                && give.send(page).await.is_err()
            {
                return Ok(());
            }
        }
        // Whoever takes no more says why.
        let _ = give.send(pages.last()).await;
        Ok(())
    }

    /// Writes a page and notes how far the copy has come, in one transaction. `before` is how many rows of the entity were written before.
    pub(crate) async fn write(&mut self, page: &Page, before: u64, note: &[u8]) -> Result<(), StoreError> {
        let tables = tables(page.entity);
        for table in tables.iter().filter(|table| table.name != "object_number") {
            if !self.types.contains_key(table.name) {
                let columns = format!("SELECT {} FROM {} LIMIT 0", table.columns.join(", "), table.name);
                let columns = self.client.prepare(&columns).await.map_err(|error| self.failed(&error))?;
                self.types.insert(table.name, columns.columns().iter().map(|column| column.type_().clone()).collect());
            }
        }
        let failed = |error: tokio_postgres::Error| {
            StoreError::Unavailable(format!("{}: {}: {}", self.shown.display(), page.entity.name, in_full(&error)))
        };
        self.client.batch_execute("BEGIN").await.map_err(failed)?;
        match page.entity.name {
            "meta" => {
                for row in &page.rows {
                    let (Value::Text(name), Value::Bytes(value)) = (&row[0], &row[1]) else { continue };
                    self.set_meta(name, Some(value)).await?;
                }
            }
            "object_number" => {
                for row in &page.rows {
                    let next = row[0].whole().unwrap_or(1);
                    self.client.execute("SELECT setval('object_number', $1, false)", &[&next]).await.map_err(failed)?;
                }
            }
            _ => {
                for table in &tables {
                    self.fill(table, page, before).await.map_err(failed)?;
                }
            }
        }
        self.set_meta("copy", Some(note)).await?;
        self.client.batch_execute("COMMIT").await.map_err(failed)
    }

    async fn fill(&self, table: &Table, page: &Page, before: u64) -> Result<(), tokio_postgres::Error> {
        let columns = table.columns.join(", ");
        let sink = self.client.copy_in(&format!("COPY {} ({columns}) FROM STDIN BINARY", table.name)).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &self.types[table.name]));
        for (number, row) in (before..).zip(&page.rows) {
            if (table.takes)(page.entity, row) {
                let cells = (table.pick)(page.entity, row, number);
                let cells: Vec<Plain<'_>> = cells.iter().map(|cell| Plain(cell)).collect();
                writer.as_mut().write_raw(cells).await?;
            }
        }
        writer.finish().await?;
        Ok(())
    }

    /// Once everything is written: what the server numbers by itself goes on above the highest number, and the planner knows what there is.
    pub(crate) async fn go_on(&self, lines: u64) -> Result<(), StoreError> {
        let failed = |error: tokio_postgres::Error| self.failed(&error);
        let identities = "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES'";
        for row in self.client.query(identities, &[]).await.map_err(failed)? {
            let (table, column): (&str, &str) = (row.get(0), row.get(1));
            let sql =
                format!("SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false) FROM {table}");
            self.client.query(&sql, &[]).await.map_err(failed)?;
        }
        let next = i64::try_from(lines).unwrap_or(i64::MAX).saturating_add(1);
        self.client.query("SELECT setval('history_line', $1, false)", &[&next]).await.map_err(failed)?;
        self.client.batch_execute("ANALYZE").await.map_err(failed)
    }
}

/// Where the rows of an entity are.
fn from(entity: &Entity) -> &'static str {
    match entity.name {
        "guard_minute" => {
            "(SELECT rule, minute, sum(people)::bigint AS people, min(first_item) AS first_item FROM guard_minute GROUP BY rule, minute) t"
        }
        "meta" => "(SELECT name, value FROM meta WHERE name NOT IN ('copy', 'ready_at', 'schema', 'schema_oldest')) t",
        "item" => "item t LEFT JOIN open_item o ON o.id = t.id",
        "object_number" => "(SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END AS next FROM object_number) t",
        name => name,
    }
}

fn question(entity: &Entity, behind: bool) -> String {
    let alias = if from(entity).contains(" t") { "" } else { " t" };
    let columns: Vec<String> = entity
        .columns
        .iter()
        .map(|column| {
            let name = column.name;
            let of = match (entity.name, name) {
                ("item", "state" | "due_at" | "expires_at" | "accepted_at" | "attempts" | "token" | "flags") => {
                    format!("coalesce(o.{name}, t.{name})")
                }
                ("item", "node") => "o.node".to_owned(),
                _ => format!("t.{name}"),
            };
            match (entity.name, name, column.kind) {
                ("letter", "sensitive", _) | ("guard_batch", "alerted", _) | ("address_health", "told", _) => {
                    format!("{of}::integer::bigint")
                }
                (_, _, Kind::Whole) => format!("{of}::bigint"),
                (_, _, Kind::Text) => format!("{of}::text"),
                (_, _, Kind::Bytes) => of,
            }
        })
        .collect();
    let keys: Vec<String> = entity.columns[..entity.key].iter().map(|column| format!("t.{}", column.name)).collect();
    let mut only = String::new();
    if behind {
        let kinds = entity.columns[..entity.cut].iter().zip(1..).map(|(column, place)| {
            let kind = match column.kind {
                Kind::Whole => "bigint",
                Kind::Text => "text",
                Kind::Bytes => "bytea",
            };
            format!("${place}::{kind}")
        });
        only = format!(" WHERE ({}) > ({})", keys[..entity.cut].join(", "), kinds.collect::<Vec<_>>().join(", "));
    }
    format!("SELECT {} FROM {}{alias}{only} ORDER BY {}", columns.join(", "), from(entity), keys.join(", "))
}

fn read_row(entity: &Entity, row: &tokio_postgres::Row) -> Row {
    let value = |(place, kind): (usize, Kind)| match kind {
        Kind::Whole => row.get::<_, Option<i64>>(place).map_or(Value::Null, Value::Whole),
        Kind::Text => row.get::<_, Option<String>>(place).map_or(Value::Null, Value::Text),
        Kind::Bytes => row.get::<_, Option<Vec<u8>>>(place).map_or(Value::Null, Value::Bytes),
    };
    entity.columns.iter().map(|column| column.kind).enumerate().map(value).collect()
}

type Cells<'a> = Vec<Cow<'a, Value>>;

/// A table that rows of an entity are written to.
struct Table {
    name: &'static str,
    columns: Vec<&'static str>,
    /// Whether a row goes there.
    takes: fn(&Entity, &Row) -> bool,
    /// What of it, given how many rows came before it.
    pick: for<'a> fn(&Entity, &'a Row, u64) -> Cells<'a>,
}

/// The tables of an entity.
fn tables(entity: &Entity) -> Vec<Table> {
    let columns: Vec<&'static str> = entity.columns.iter().map(|column| column.name).collect();
    let name = entity.name;
    match name {
        "item" => {
            let own = columns.iter().copied().filter(|name| *name != "node").chain(["span"]).collect();
            vec![
                Table { name, columns: own, takes: any, pick: pick_item },
                Table { name: "open_item", columns: OPEN.to_vec(), takes: is_open, pick: pick_open },
                Table { name: "trouble", columns: vec!["item", "state"], takes: is_trouble, pick: pick_trouble },
            ]
        }
        "history" => vec![Table { name, columns, takes: any, pick: pick_line }],
        "guard_minute" => vec![Table { name, columns: columns.into_iter().chain(["writer"]).collect(), takes: any, pick: pick_minute }],
        _ => vec![Table { name, columns, takes: any, pick: pick_all }],
    }
}

const OPEN: [&str; 12] =
    ["id", "due_at", "expires_at", "accepted_at", "token", "relay", "node", "attempts", "size", "lane", "state", "flags"];

fn any(_: &Entity, _: &Row) -> bool {
    true
}

/// The state of an item's row.
fn state(entity: &Entity, row: &Row) -> Option<State> {
    row[entity.place("state")].whole().and_then(State::from_number)
}

fn is_open(entity: &Entity, row: &Row) -> bool {
    state(entity, row).is_some_and(|state| !state.is_final())
}

fn is_trouble(entity: &Entity, row: &Row) -> bool {
    state(entity, row).is_some_and(|state| state.is_final() && state != State::Sent)
}

fn pick_all<'a>(_: &Entity, row: &'a Row, _: u64) -> Cells<'a> {
    row.iter().map(Cow::Borrowed).collect()
}

fn pick_item<'a>(entity: &Entity, row: &'a Row, _: u64) -> Cells<'a> {
    let mut cells: Cells<'a> = row.iter().map(Cow::Borrowed).collect();
    if is_open(entity, row) {
        cells[entity.place("state")] = Cow::Owned(Value::Null);
    }
    cells.remove(entity.place("node"));
    cells.push(Cow::Owned(Value::Whole(i64::from(span_of(row[0].whole().unwrap_or_default())))));
    cells
}

fn pick_open<'a>(entity: &Entity, row: &'a Row, _: u64) -> Cells<'a> {
    OPEN.iter().map(|column| Cow::Borrowed(&row[entity.place(column)])).collect()
}

fn pick_trouble<'a>(entity: &Entity, row: &'a Row, _: u64) -> Cells<'a> {
    vec![Cow::Borrowed(&row[0]), Cow::Borrowed(&row[entity.place("state")])]
}

/// Lines are numbered through, in the order of their items, so that those of one item are in order.
fn pick_line<'a>(_: &Entity, row: &'a Row, number: u64) -> Cells<'a> {
    let mut cells: Cells<'a> = row.iter().map(Cow::Borrowed).collect();
    cells[1] = Cow::Owned(Value::Whole(i64::try_from(number).unwrap_or(i64::MAX).saturating_add(1)));
    cells
}

/// As if one writer had counted.
fn pick_minute<'a>(_: &Entity, row: &'a Row, _: u64) -> Cells<'a> {
    row.iter().map(Cow::Borrowed).chain([Cow::Owned(Value::Whole(0))]).collect()
}

/// A value as it is bound, in the width of its column.
#[derive(Debug)]
struct Plain<'a>(&'a Value);

type Cause = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Plain<'_> {
    fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Whole(number) => match *column {
                Type::INT2 => i16::try_from(*number)?.to_sql(column, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(column, out),
                Type::BOOL => (*number != 0).to_sql(column, out),
                _ => number.to_sql(column, out),
            },
            Value::Text(text) => text.to_sql(column, out),
            Value::Bytes(bytes) => bytes.to_sql(column, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The columns of tables that the entities stand for, as `table.column`.
pub(crate) fn covered() -> Vec<String> {
    let tables = ENTITIES.iter().flat_map(tables);
    tables.flat_map(|table| table.columns.into_iter().map(move |column| format!("{}.{column}", table.name))).collect()
}
