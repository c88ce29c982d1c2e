//! Links and their rows.

use crate::{
    error::StoreError,
    mirror::{Target, terms::Terms},
    sqlite::{
        fault::Fault,
        mirror::{names, rows},
    },
};
use rusqlite::{Connection, OptionalExtension, Row};
use tidings_core::directory::LinkRole;

/// What a link says, from three columns.
pub(super) fn read(row: &Row<'_>, from: usize) -> Result<Terms, Fault> {
    Ok(Terms::of_columns(row.get(from)?, row.get(from + 1)?, row.get(from + 2)?))
}

/// What a link of an object to a row says, if there is one.
pub(super) fn terms(db: &Connection, object: i64, role: LinkRole, target: i64) -> Result<Option<Terms>, Fault> {
    let mut found = db.prepare_cached("SELECT starts_at, ends_at, flags FROM link WHERE object = ?1 AND role = ?2 AND target = ?3")?;
    let mut rows = found.query((object, role.number(), target))?;
    rows.next()?.map(|row| read(row, 0)).transpose()
}

/// What stands at the other end of a link.
pub(super) fn target(db: &Connection, id: i64) -> Result<Target, Fault> {
    if let Some(object) = rows::by_id(db, id)? {
        return Ok(Target::Known(Box::new(object)));
    }
    let name = names::placeholder(db, id)?;
    Ok(Target::Unknown(name.ok_or_else(|| StoreError::Corrupt(format!("link.target: {id} is not there")))?))
}

/// Whether a row is a group; `None` if there is no such object.
pub(super) fn group(db: &Connection, id: i64) -> Result<Option<bool>, Fault> {
    let sql = "SELECT type FROM object WHERE id = ?1";
    Ok(db.prepare_cached(sql)?.query_row([id], |row| Ok(rows::is_group(row.get_ref(0)?))).optional()?)
}
