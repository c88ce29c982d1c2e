//! Links as they are read.

use crate::{
    error::StoreError,
    mirror::{MirrorLink, MirrorObject, Target, terms::Terms},
    postgres::{
        fault::Fault,
        mirror::rows::{self, WIDTH},
    },
};
use deadpool_postgres::Object;
use std::collections::{BTreeSet, HashMap};
use tidings_core::directory::LinkRole;
use tokio_postgres::Row;

/// What a link says, from three columns.
pub(super) fn read(row: &Row, from: usize) -> Result<Terms, Fault> {
    Ok(Terms::of_columns(row.try_get(from)?, row.try_get(from + 1)?, i64::from(row.try_get::<_, i16>(from + 2)?)))
}

/// A link with its other end: an object's columns, the name of a placeholder, the row number of the other end, and what the link says.
pub(super) fn shown(row: &Row, role: LinkRole) -> Result<(i64, MirrorLink), Fault> {
    let other = match row.try_get(WIDTH)? {
        Some(name) => Target::Unknown(name),
        None => Target::Known(Box::new(rows::object(row, 0)?)),
    };
    Ok((row.try_get(WIDTH + 1)?, read(row, WIDTH + 2)?.link(role, other)))
}

/// What stands at the other ends of links.
#[derive(Default)]
pub(super) struct Targets {
    objects: HashMap<i64, MirrorObject>,
    placeholders: HashMap<i64, String>,
}

impl Targets {
    pub(super) async fn read(db: &Object, ids: BTreeSet<i64>) -> Result<Self, Fault> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let ids: Vec<i64> = ids.into_iter().collect();
        let objects = rows::by_ids(db, &ids).await?;
        let rest: Vec<i64> = ids.into_iter().filter(|id| !objects.contains_key(id)).collect();
        let placeholders = if rest.is_empty() { HashMap::new() } else { rows::placeholders(db, &rest).await? };
        Ok(Self { objects, placeholders })
    }

    pub(super) fn of(&self, id: i64) -> Result<Target, StoreError> {
        if let Some(object) = self.objects.get(&id) {
            return Ok(Target::Known(Box::new(object.clone())));
        }
        let name = self.placeholders.get(&id);
        Ok(Target::Unknown(name.ok_or_else(|| StoreError::Corrupt(format!("link.target: {id} is not there")))?.clone()))
    }
}
