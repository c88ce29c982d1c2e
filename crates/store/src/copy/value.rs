//! Rows in neither database's words: what is read from one, hashed, and written to the other.

use crate::mirror::names;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    /// None.
    Null,
    /// A whole number; yes and no are 1 and 0.
    Whole(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// The whole number it is.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Self::Whole(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes it is.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null | Self::Whole(_) => 0,
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
            }
    }

    /// In a form that no other value has: a letter for its kind, its length, its bytes.
    fn write_to(&self, form: &mut Vec<u8>) {
        let (kind, bytes) = match self {
            Self::Null => (b'-', &[][..]),
            Self::Whole(number) => {
                form.push(b'n');
                return form.extend_from_slice(&number.to_be_bytes());
            }
            Self::Text(text) => (b't', text.as_bytes()),
            Self::Bytes(bytes) => (b'b', bytes.as_slice()),
        };
        form.push(kind);
        form.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        form.extend_from_slice(bytes);
    }
}

/// The values of a row, in the order of its entity's columns.
pub(crate) type Row = Vec<Value>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole numbers, also yes and no.
    Whole,
    /// Texts.
    Text,
    /// Bytes.
    Bytes,
}

/// A column in neither database's words.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether it counts when two databases are compared. What does not follows from other columns.
    pub(crate) told: bool,
}

/// What is copied together.
#[derive(Debug)]
pub(crate) struct Entity {
    /// Its name, and that of its table unless said otherwise.
    pub(crate) name: &'static str,
    /// The columns; first those of the key, by which rows are in order.
    pub(crate) columns: &'static [Column],
    /// How many columns the key has.
    pub(crate) key: usize,
    /// How many columns of the key a page ends by: rows that are alike in them stand on one page.
    pub(crate) cut: usize,
}

impl Entity {
    /// The place of a column.
    pub(crate) fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|one| one.name == column).expect("an entity is asked for columns that it has")
    }
}

/// Rows of an entity, one after the other.
#[derive(Debug)]
pub(crate) struct Page {
    /// Of what.
    pub(crate) entity: &'static Entity,
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// These were the last ones.
    pub(crate) ended: bool,
}

impl Page {
    /// Where the next page begins: behind these values.
    pub(crate) fn cursor(&self) -> Option<Vec<Value>> {
        self.rows.last().map(|row| row[..self.entity.cut].to_vec())
    }
}

/// Makes pages of rows that come one by one, each of a bounded size.
pub(crate) struct Pages {
    entity: &'static Entity,
    most: usize,
    rows: Vec<Row>,
    bytes: usize,
    /// The last row of an item's history that was told, by the item, and its number.
    line: (i64, i64),
}

/// A page has about so many rows at most unless told otherwise, and about so many bytes.
pub(crate) const PAGE_ROWS: usize = 8_192;
const PAGE_BYTES: usize = 4 << 20;

impl Pages {
    /// Of what.
    pub(crate) fn entity(&self) -> &'static Entity {
        self.entity
    }

    /// Pages of an entity, of about so many rows at most.
    pub(crate) fn of(entity: &'static Entity, most: usize) -> Self {
        Self { entity, most, rows: Vec::new(), bytes: 0, line: (0, 0) }
    }

    /// Takes a row, and gives the page before it if that is full.
    pub(crate) fn take(&mut self, mut row: Row) -> Option<Page> {
        if self.entity.name == "history" {
            self.number(&mut row);
        }
        let cut = self.entity.cut;
        let full =
            (self.rows.len() >= self.most || self.bytes >= PAGE_BYTES) && self.rows.last().is_some_and(|last| last[..cut] != row[..cut]);
        let page = full.then(|| self.page(false));
        self.bytes += row.iter().map(Value::weight).sum::<usize>();
        self.rows.push(row);
        page
    }

    /// What is left.
    pub(crate) fn last(mut self) -> Page {
        self.page(true)
    }

    fn page(&mut self, ended: bool) -> Page {
        self.bytes = 0;
        Page { entity: self.entity, rows: std::mem::take(&mut self.rows), ended }
    }

    /// Lines of an item's history are numbered from 1, whatever numbers a database has given them.
    fn number(&mut self, row: &mut Row) {
        let item = row[0].whole().unwrap_or_default();
        self.line = if self.line.0 == item { (item, self.line.1 + 1) } else { (item, 1) };
        row[1] = Value::Whole(self.line.1);
    }
}

/// A row as a database on a server has it: without the one character that it does not take (see `postgres::work::text`). What is found by the names in it is found by the names as they are then.
pub(crate) fn plain(entity: &Entity, row: &mut Row) {
    let mut changed = false;
    for value in row.iter_mut() {
        if let Value::Text(text) = value
            && text.contains('\0')
        {
            *text = text.replace('\0', "\u{fffd}");
            changed = true;
        }
    }
    if !changed {
        return;
    }
    let text = |row: &Row, column: &str| match &row[entity.place(column)] {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    if entity.name == "object" {
        let name = text(row, "reference").or_else(|| text(row, "key")).unwrap_or_default();
        row[entity.place("hash")] = Value::Whole(names::hash(&name));
        let group = entity.place("group_hash");
        if let (Value::Whole(_), Some(name)) = (&row[group], text(row, "name")) {
            row[group] = Value::Whole(names::hash(&name));
        }
    } else if entity.name == "placeholder" {
        let name = text(row, "name").unwrap_or_default();
        row[entity.place("hash")] = Value::Whole(names::hash(&name));
    }
}

/// The hash of an entity's rows, whatever database they are read from.
#[derive(Default)]
pub(crate) struct Tally {
    rows: u64,
    hash: Sha256,
    form: Vec<u8>,
}

impl Tally {
    /// Counts rows in.
    pub(crate) fn add(&mut self, entity: &Entity, rows: &mut [Row]) {
        for row in rows {
            plain(entity, row);
            self.form.clear();
            for (value, _) in row.iter().zip(entity.columns).filter(|(_, column)| column.told) {
                value.write_to(&mut self.form);
            }
            self.hash.update(&self.form);
            self.rows += 1;
        }
    }

    /// How many rows, and their hash.
    pub(crate) fn end(self) -> (u64, [u8; 32]) {
        (self.rows, self.hash.finalize().into())
    }
}
