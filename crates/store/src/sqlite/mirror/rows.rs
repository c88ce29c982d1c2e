//! An object and its row: what stands in which column, and back.

use crate::{
    error::StoreError,
    mirror::{MirrorObject, ObjectId, columns, names},
    sqlite::fault::Fault,
};
use rusqlite::{Connection, OptionalExtension, Row, types::Value, types::ValueRef};
use tidings_core::{Address, directory::Head, subject::ObjectType, time::from_millis};

/// How many columns an object takes in a row that shows it.
pub(super) const WIDTH: usize = 14;
/// The columns of an object `o` of a directory `d`, as [`object`] reads them.
pub(super) const COLUMNS: &str = "o.id, d.name, o.key, o.reference, o.type, o.name, o.mail, o.locale, o.timezone, o.flags, o.version, o.created_at, o.changed_at, o.attributes";

/// A head as its row has it.
pub(super) struct Columns<'a> {
    pub(super) head: &'a Head,
    pub(super) hash: i64,
    pub(super) object_type: Value,
    pub(super) group_hash: Option<i64>,
    pub(super) flags: i64,
    pub(super) attributes: Option<String>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(head: &'a Head) -> Self {
        let object_type = type_column(&head.object_type);
        let (group_hash, flags, attributes) = (columns::group_hash(head), columns::flags(head), columns::attributes(&head.attributes));
        Self { head, hash: names::hash(head.referred_to_as()), object_type, group_hash, flags, attributes }
    }

    pub(super) fn is_group(&self) -> bool {
        self.head.object_type == ObjectType::Group
    }
}

/// A type as its column has it.
pub(super) fn type_column(object_type: &ObjectType) -> Value {
    match object_type {
        ObjectType::User => Value::Integer(0),
        ObjectType::Group => Value::Integer(1),
        ObjectType::Contact => Value::Integer(2),
        ObjectType::Account => Value::Integer(3),
        ObjectType::Other(name) => Value::Text(name.clone()),
    }
}

/// Whether a row's type says that it is a group.
pub(super) fn is_group(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Integer(1))
}

fn type_of(value: ValueRef<'_>) -> Result<ObjectType, StoreError> {
    Ok(match value {
        ValueRef::Integer(0) => ObjectType::User,
        ValueRef::Integer(1) => ObjectType::Group,
        ValueRef::Integer(2) => ObjectType::Contact,
        ValueRef::Integer(3) => ObjectType::Account,
        ValueRef::Text(name) => ObjectType::Other(String::from_utf8_lossy(name).into_owned()),
        other => return Err(StoreError::Corrupt(format!("object.type: {other:?}"))),
    })
}

/// The object of a row that has [`COLUMNS`] from `from` on.
pub(super) fn object(row: &Row<'_>, from: usize) -> Result<MirrorObject, Fault> {
    let id: i64 = row.get(from)?;
    let corrupt = |column: &str| StoreError::Corrupt(format!("object.{column} of {id}"));
    let mail = row.get_ref(from + 6)?.as_str_or_null().map_err(|_| corrupt("mail"))?;
    let mail = mail.map(|mail| Address::parse(mail).map_err(|_| corrupt("mail"))).transpose()?;
    let locale = row.get_ref(from + 7)?.as_str_or_null().map_err(|_| corrupt("locale"))?;
    let locale = locale.map(|locale| locale.parse().map_err(|_| corrupt("locale"))).transpose()?;
    let attributes = row.get_ref(from + 13)?.as_str_or_null().map_err(|_| corrupt("attributes"))?;
    let attributes = attributes.map(serde_json::from_str).transpose().map_err(|_| corrupt("attributes"))?;
    let mut head = Head {
        reference: row.get(from + 3)?,
        name: row.get(from + 5)?,
        mail,
        locale,
        timezone: row.get(from + 8)?,
        attributes: attributes.unwrap_or_default(),
        ..Head::new(type_of(row.get_ref(from + 4)?)?, row.get::<_, String>(from + 2)?)
    };
    columns::set_flags(&mut head, row.get(from + 9)?);
    Ok(MirrorObject {
        id: ObjectId(id),
        directory: row.get(from + 1)?,
        head,
        version: row.get(from + 10)?,
        created_at: from_millis(row.get(from + 11)?),
        changed_at: from_millis(row.get(from + 12)?),
    })
}

/// The object of a row number.
pub(super) fn by_id(db: &Connection, id: i64) -> Result<Option<MirrorObject>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM object o CROSS JOIN directory d ON d.number = o.directory WHERE o.id = ?1");
    let mut found = db.prepare_cached(&sql)?;
    let mut rows = found.query([id])?;
    rows.next()?.map(|row| object(row, 0)).transpose()
}

/// The object of a key.
pub(super) fn by_key(db: &Connection, directory: i64, key: &str) -> Result<Option<MirrorObject>, Fault> {
    let sql =
        format!("SELECT {COLUMNS} FROM object o CROSS JOIN directory d ON d.number = o.directory WHERE o.directory = ?1 AND o.key = ?2");
    let mut found = db.prepare_cached(&sql)?;
    let mut rows = found.query((directory, key))?;
    rows.next()?.map(|row| object(row, 0)).transpose()
}

/// The row number of a key.
pub(super) fn id_of(db: &Connection, directory: i64, key: &str) -> Result<Option<i64>, Fault> {
    let sql = "SELECT id FROM object WHERE directory = ?1 AND key = ?2";
    Ok(db.prepare_cached(sql)?.query_row((directory, key), |row| row.get(0)).optional()?)
}

/// The source's own form of an object.
pub(super) fn document(db: &Connection, object: i64) -> Result<Option<Vec<u8>>, Fault> {
    let sql = "SELECT document FROM object_document WHERE object = ?1";
    Ok(db.prepare_cached(sql)?.query_row([object], |row| row.get(0)).optional()?)
}

/// A head as it would be read again after it was written: of numbers with many digits the text counts, which is what a row keeps.
pub(super) fn settled(db: &Connection, before: &MirrorObject, mut head: Head) -> Result<Head, Fault> {
    if head.attributes != before.head.attributes {
        let sql = "SELECT attributes FROM object WHERE id = ?1";
        let kept: Option<String> = db.prepare_cached(sql)?.query_row([before.id.0], |row| row.get(0)).optional()?.flatten();
        if kept == columns::attributes(&head.attributes) {
            head.attributes.clone_from(&before.head.attributes);
        }
    }
    Ok(head)
}
