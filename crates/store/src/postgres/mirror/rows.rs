//! An object and its row: what stands in which column, and back.

use crate::{
    error::StoreError,
    mirror::{MirrorObject, ObjectId, columns, names},
    postgres::fault::Fault,
};
use deadpool_postgres::Object;
use std::collections::HashMap;
use tidings_core::{Address, directory::Head, subject::ObjectType, time::from_millis};
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

/// The columns of an object `o` of a directory `d`, as [`object`] reads them.
pub(super) const COLUMNS: &str = "o.id, d.name, o.key, o.reference, o.type, o.name, o.mail, o.locale, o.timezone, o.flags, o.version, o.created_at, o.changed_at, o.attributes";
/// The column of a group's type.
pub(super) const GROUP: &str = "1";
/// Where an object's text of attributes stands in [`COLUMNS`].
const ATTRIBUTES: usize = 13;

/// Rows that are asked for by their numbers or names go in questions of so many.
pub(super) const ASKED: usize = 5_000;

/// The small number that the indexes hold for a name.
pub(super) fn hash(name: &str) -> i32 {
    narrow(names::hash(name))
}

/// A hash as its column has it.
pub(super) fn narrow(hash: i64) -> i32 {
    i32::try_from(hash).expect("hashes have 32 bits")
}

/// A role or flags as their column has them.
pub(super) fn small(number: i64) -> i16 {
    i16::try_from(number).expect("roles and flags are small numbers")
}

/// A type as its column has it.
pub(super) fn type_column(object_type: &ObjectType) -> String {
    match object_type {
        ObjectType::User => "0".to_owned(),
        ObjectType::Group => GROUP.to_owned(),
        ObjectType::Contact => "2".to_owned(),
        ObjectType::Account => "3".to_owned(),
        ObjectType::Other(name) => format!(":{name}"),
    }
}

fn type_of(column: &str) -> Result<ObjectType, StoreError> {
    Ok(match column {
        "0" => ObjectType::User,
        GROUP => ObjectType::Group,
        "2" => ObjectType::Contact,
        "3" => ObjectType::Account,
        other => match other.strip_prefix(':') {
            Some(name) => ObjectType::Other(name.to_owned()),
            None => return Err(StoreError::Corrupt(format!("object.type: {other:?}"))),
        },
    })
}

/// The object of a row that has [`COLUMNS`] from `from` on.
pub(super) fn object(row: &Row, from: usize) -> Result<MirrorObject, Fault> {
    let id: i64 = row.try_get(from)?;
    let corrupt = |column: &str| StoreError::Corrupt(format!("object.{column} of {id}"));
    let text = |column: usize| row.try_get::<_, Option<&str>>(from + column);
    let mail = text(6)?.map(|mail| Address::parse(mail).map_err(|_| corrupt("mail"))).transpose()?;
    let locale = text(7)?.map(|locale| locale.parse().map_err(|_| corrupt("locale"))).transpose()?;
    let attributes = text(ATTRIBUTES)?.map(serde_json::from_str).transpose().map_err(|_| corrupt("attributes"))?;
    let mut head = Head {
        reference: row.try_get(from + 3)?,
        name: row.try_get(from + 5)?,
        mail,
        locale,
        timezone: row.try_get(from + 8)?,
        attributes: attributes.unwrap_or_default(),
        ..Head::new(type_of(row.try_get(from + 4)?)?, row.try_get::<_, String>(from + 2)?)
    };
    columns::set_flags(&mut head, i64::from(row.try_get::<_, i16>(from + 9)?));
    Ok(MirrorObject {
        id: ObjectId(id),
        directory: row.try_get(from + 1)?,
        head,
        version: row.try_get(from + 10)?,
        created_at: from_millis(row.try_get(from + 11)?),
        changed_at: from_millis(row.try_get(from + 12)?),
    })
}

/// An object with its attributes as they are written down.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) object: MirrorObject,
    attributes: Option<String>,
}

impl Kept {
    fn read(row: &Row) -> Result<Self, Fault> {
        Ok(Self { object: object(row, 0)?, attributes: row.try_get(ATTRIBUTES)? })
    }

    /// A head as it would be read again after it was written: of numbers with many digits the text counts, which is what a row keeps.
    pub(super) fn settled(&self, mut head: Head) -> Head {
        if head.attributes != self.object.head.attributes && self.attributes == columns::attributes(&head.attributes) {
            head.attributes.clone_from(&self.object.head.attributes);
        }
        head
    }

    /// Whether a head says what is kept.
    pub(super) fn says(&self, head: &Head) -> bool {
        self.object.head == *head || self.object.head == self.settled(head.clone())
    }
}

/// The objects of keys, by their keys.
pub(super) async fn kept(db: &Object, directory: &str, keys: &[&str]) -> Result<HashMap<String, Kept>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM object o JOIN directory d ON d.number = o.directory WHERE o.directory = (SELECT number FROM directory WHERE name = $1) AND o.key = ANY($2)"
    );
    let mut found = HashMap::new();
    for some in keys.chunks(ASKED) {
        for row in db.query_typed(&sql, &[(&directory, Type::TEXT), (&some, Type::TEXT_ARRAY)]).await? {
            let kept = Kept::read(&row)?;
            found.insert(kept.object.head.key.clone(), kept);
        }
    }
    Ok(found)
}

/// Objects by their row numbers.
pub(super) async fn by_ids(db: &Object, ids: &[i64]) -> Result<HashMap<i64, MirrorObject>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM object o JOIN directory d ON d.number = o.directory WHERE o.id = ANY($1)");
    let mut found = HashMap::new();
    for some in ids.chunks(ASKED) {
        for row in db.query_typed(&sql, &[(&some, Type::INT8_ARRAY)]).await? {
            let object = object(&row, 0)?;
            found.insert(object.id.0, object);
        }
    }
    Ok(found)
}

/// One column of the rows of some numbers, by those: `sql` gives a number and a value.
pub(super) async fn column_of<T>(db: &Object, sql: &str, ids: &[i64]) -> Result<HashMap<i64, T>, Fault>
where
    T: for<'a> FromSql<'a>,
{
    let mut found = HashMap::new();
    for some in ids.chunks(ASKED) {
        for row in db.query_typed(sql, &[(&some, Type::INT8_ARRAY)]).await? {
            found.insert(row.try_get(0)?, row.try_get(1)?);
        }
    }
    Ok(found)
}

/// The sources' own forms of objects.
pub(super) async fn documents(db: &Object, objects: &[i64]) -> Result<HashMap<i64, Vec<u8>>, Fault> {
    column_of(db, "SELECT object, document FROM object_document WHERE object = ANY($1)", objects).await
}

/// The names of placeholders.
pub(super) async fn placeholders(db: &Object, ids: &[i64]) -> Result<HashMap<i64, String>, Fault> {
    column_of(db, "SELECT id, name FROM placeholder WHERE id = ANY($1)", ids).await
}
