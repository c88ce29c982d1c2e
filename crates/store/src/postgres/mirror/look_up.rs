//! Looking up what a client asks for by name: objects by key, by account, by another system's name; links by their other end; pages of one type.

use crate::{
    mirror::{MirrorLink, MirrorObject, ObjectId, looked_up},
    postgres::{
        fault::Fault,
        mirror::{
            links, names, read,
            rows::{self, COLUMNS, narrow, small, type_column},
            standing,
        },
        work::query,
    },
};
use deadpool_postgres::Object;
use std::{borrow::Cow, collections::BTreeSet};
use tidings_core::{directory::LinkRole, subject::ObjectType};
use tokio_postgres::types::Type;

/// Objects by an attribute's text.
pub(super) async fn find(db: &Object, directory: &str, attribute: &str, value: &str) -> Result<Vec<MirrorObject>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM looked_up n JOIN object o ON o.id = n.object JOIN directory d ON d.number = o.directory
         WHERE n.directory = (SELECT number FROM directory WHERE name = $1) AND n.hash = $2 ORDER BY n.object"
    );
    let hash = narrow(looked_up::hash(attribute, value));
    let mut objects = Vec::new();
    for row in query(db, &sql, &[&directory, &hash]).await? {
        let object = rows::object(&row, 0)?;
        if looked_up::says(&object.head, attribute, value) {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// Objects by their keys, in the keys' order.
pub(super) async fn keyed(db: &Object, directory: &str, keys: &[Cow<'_, str>]) -> Result<Vec<MirrorObject>, Fault> {
    let keys: BTreeSet<&str> = keys.iter().map(AsRef::as_ref).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    let mut kept = rows::kept(db, directory, &keys).await?;
    Ok(keys.into_iter().filter_map(|key| kept.remove(key)).map(|kept| kept.object).collect())
}

/// A page of the objects of one type, and how many there are.
pub(super) async fn listing(
    db: &Object,
    directory: &str,
    object_type: &ObjectType,
    offset: u64,
    limit: u32,
) -> Result<(u64, Vec<MirrorObject>), Fault> {
    let Some(number) = standing::number(db, directory).await? else { return Ok((0, Vec::new())) };
    let of = type_column(object_type);
    let (offset, limit) = (i64::try_from(offset).unwrap_or(i64::MAX), i64::from(limit));
    let count = "SELECT count(*) FROM object WHERE directory = $1 AND type = $2";
    let total: i64 = query(db, count, &[&number, &of]).await?.first().expect("a count is a row").try_get(0)?;
    // What is left out is gone through in the index alone.
    let sql = "SELECT id FROM object WHERE directory = $1 AND type = $2 ORDER BY id LIMIT $3 OFFSET $4";
    let page = query(db, sql, &[&number, &of, &limit, &offset]).await?;
    let ids: Vec<i64> = page.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok((total.unsigned_abs(), read::in_order(db, &ids).await?))
}

/// Links of an object to certain others.
pub(super) async fn linked(db: &Object, object: ObjectId, role: LinkRole, asked: &[Cow<'_, str>]) -> Result<Vec<MirrorLink>, Fault> {
    let of = "SELECT directory FROM object WHERE id = $1";
    let found = query(db, of, &[&object.0]).await?;
    let Some(row) = found.first() else { return Ok(Vec::new()) };
    let asked: Vec<&str> = asked.iter().map(AsRef::as_ref).collect::<BTreeSet<_>>().into_iter().collect();
    let found = names::bearers(db, row.try_get(0)?, &asked).await?;
    let targets: Vec<i64> = found.into_iter().flatten().map(|bearer| bearer.id).collect::<BTreeSet<_>>().into_iter().collect();
    let sql = "SELECT target, starts_at, ends_at, flags FROM link WHERE object = $1 AND role = $2 AND target = ANY($3)";
    let role_number = small(role.number());
    let found = db.query_typed(sql, &[(&object.0, Type::INT8), (&role_number, Type::INT2), (&targets, Type::INT8_ARRAY)]).await?;
    links::shown(db, &found, role).await
}
