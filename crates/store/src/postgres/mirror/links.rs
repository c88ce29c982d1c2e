//! Links as they are read.

use crate::{
    error::StoreError,
    mirror::{MirrorLink, MirrorObject, Target, terms::Terms},
    postgres::{fault::Fault, mirror::rows},
};
use deadpool_postgres::Object;
use std::collections::{BTreeSet, HashMap};
use tidings_core::directory::LinkRole;
use tokio_postgres::Row;

/// What a link says, from three columns.
pub(super) fn read(row: &Row, from: usize) -> Result<Terms, Fault> {
    Ok(Terms::of_columns(row.try_get(from)?, row.try_get(from + 1)?, i64::from(row.try_get::<_, i16>(from + 2)?)))
}

/// Links with their other ends, from rows that have the other end's number and what the link says.
pub(super) async fn shown(db: &Object, found: &[Row], role: LinkRole) -> Result<Vec<MirrorLink>, Fault> {
    let ids = found.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<i64>, _>>()?;
    let targets = Targets::read(db, ids).await?;
    let mut links = Vec::with_capacity(found.len());
    for row in found {
        // Whose other end went between two questions is no link any more.
        if let Ok(other) = targets.of(row.try_get(0)?) {
            links.push(read(row, 1)?.link(role, other));
        }
    }
    Ok(links)
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
