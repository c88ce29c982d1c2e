//! Links and their rows.

use crate::{
    error::StoreError,
    mirror::{MirrorLink, Target},
    sqlite::{
        fault::Fault,
        mirror::{names, rows},
    },
};
use rusqlite::{Connection, OptionalExtension, Row};
use tidings_core::{
    directory::{Link, LinkRole},
    time::from_millis,
};

/// The owner wishes no letters about this group.
pub(super) const MUTED: i64 = 1;
/// The link is a membership of a group.
pub(super) const NESTED: i64 = 2;

/// What a link says beside its two ends, as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) starts_at: Option<i64>,
    pub(super) ends_at: Option<i64>,
    pub(super) muted: bool,
}

impl Terms {
    pub(super) fn of(link: &Link) -> Self {
        let millis = |moment: Option<tidings_core::Timestamp>| moment.map(tidings_core::Timestamp::as_millisecond);
        Self { starts_at: millis(link.starts_at), ends_at: millis(link.ends_at), muted: link.muted }
    }

    pub(super) fn of_mirrored(link: &MirrorLink) -> Self {
        let millis = |moment: Option<tidings_core::Timestamp>| moment.map(tidings_core::Timestamp::as_millisecond);
        Self { starts_at: millis(link.starts_at), ends_at: millis(link.ends_at), muted: link.muted }
    }

    /// From three columns.
    pub(super) fn read(row: &Row<'_>, from: usize) -> Result<Self, Fault> {
        Ok(Self { starts_at: row.get(from)?, ends_at: row.get(from + 1)?, muted: row.get::<_, i64>(from + 2)? & MUTED != 0 })
    }

    /// The column of flags.
    pub(super) fn flags(self, role: LinkRole, group: bool) -> i64 {
        let nested = role == LinkRole::Member && group;
        (if self.muted { MUTED } else { 0 }) | (if nested { NESTED } else { 0 })
    }

    /// As the contract shows it.
    pub(super) fn link(self, role: LinkRole, other: Target) -> MirrorLink {
        let Self { starts_at, ends_at, muted } = self;
        MirrorLink { role, starts_at: starts_at.map(from_millis), ends_at: ends_at.map(from_millis), muted, other }
    }
}

/// The role of a column.
pub(super) fn role_of(number: i64) -> Result<LinkRole, StoreError> {
    LinkRole::from_number(number).ok_or_else(|| StoreError::Corrupt(format!("link.role: {number}")))
}

/// What a link of an object to a row says, if there is one.
pub(super) fn terms(db: &Connection, object: i64, role: LinkRole, target: i64) -> Result<Option<Terms>, Fault> {
    let mut found = db.prepare_cached("SELECT starts_at, ends_at, flags FROM link WHERE object = ?1 AND role = ?2 AND target = ?3")?;
    let mut rows = found.query((object, role.number(), target))?;
    rows.next()?.map(|row| Terms::read(row, 0)).transpose()
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
