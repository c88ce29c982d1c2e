//! What is only read: objects, their links in both directions, managers above, members below.

use crate::{
    mirror::{LinkPage, MirrorObject, ObjectId, ObjectPage, Walk, names::folded, terms::NESTED},
    postgres::{
        fault::Fault,
        mirror::{
            links,
            rows::{self, COLUMNS, small},
        },
        work::{Value, query},
    },
};
use deadpool_postgres::Object;
use std::collections::{BTreeSet, HashSet};
use tidings_core::{directory::LinkRole, subject::ObjectType};
use tokio_postgres::Row;

/// Groups below a group are looked through so many at a time.
const GROUPS: usize = 64;

/// The object of a key, or else of a reference.
pub(super) async fn object(db: &Object, directory: &str, name: &str) -> Result<Option<MirrorObject>, Fault> {
    let of = format!(
        "SELECT {COLUMNS} FROM object o JOIN directory d ON d.number = o.directory WHERE o.directory = (SELECT number FROM directory WHERE name = $1) AND o."
    );
    let (of_key, of_name, hash) = (format!("{of}key = $2"), format!("{of}hash = $2"), rows::hash(name));
    let (key, reference): ([Value<'_>; 2], [Value<'_>; 2]) = ([&directory, &name], [&directory, &hash]);
    let (of_key, of_name) = tokio::try_join!(query(db, &of_key, &key), query(db, &of_name, &reference))?;
    if let Some(row) = of_key.first() {
        return Ok(Some(rows::object(row, 0)?));
    }
    // Without a reference it goes by its key, and was found above.
    for row in of_name {
        let object = rows::object(&row, 0)?;
        if object.head.reference.as_ref().is_some_and(|reference| folded(reference) == folded(name)) {
            return Ok(Some(object));
        }
    }
    Ok(None)
}

/// Before the first row.
fn start(after: Option<ObjectId>) -> i64 {
    after.map_or(i64::MIN, |after| after.0)
}

/// The objects of row numbers in the numbers' order; those that are gone meanwhile are left out.
///
/// A page is the rows of one index, and what belongs to them is asked for by their numbers then. In one statement the planner may read both tables side by side from their
/// beginnings, and then a page costs what lies before it.
pub(super) async fn in_order(db: &Object, ids: &[i64]) -> Result<Vec<MirrorObject>, Fault> {
    let mut found = rows::by_ids(db, ids).await?;
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// A page of the objects whose row numbers a query gives in order; it has asked for one more than the page holds.
async fn page(db: &Object, found: &[Row], limit: u32) -> Result<ObjectPage, Fault> {
    let ids: Vec<i64> = found.iter().take(limit as usize).map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let next = ids.last().copied().map(ObjectId).filter(|_| found.len() > limit as usize);
    Ok(ObjectPage { objects: in_order(db, &ids).await?, next })
}

/// Objects of a directory, or of all.
pub(super) async fn objects(db: &Object, directory: Option<&str>, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, Fault> {
    let (after, most) = (start(after), i64::from(limit) + 1);
    let found = match directory {
        Some(directory) => {
            let sql = "SELECT object FROM sighting WHERE directory = (SELECT number FROM directory WHERE name = $1) AND object > $2 ORDER BY object LIMIT $3";
            query(db, sql, &[&directory, &after, &most]).await?
        }
        None => query(db, "SELECT id FROM object WHERE id > $1 ORDER BY id LIMIT $2", &[&after, &most]).await?,
    };
    page(db, &found, limit).await
}

/// Groups of a name, without regard to case.
pub(super) async fn groups_named(db: &Object, directory: Option<&str>, name: &str) -> Result<Vec<MirrorObject>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM object o JOIN directory d ON d.number = o.directory WHERE o.group_hash = $1 ORDER BY o.id");
    let mut groups = Vec::new();
    for row in query(db, &sql, &[&rows::hash(name)]).await? {
        let group = rows::object(&row, 0)?;
        let named = group.head.name.as_deref().is_some_and(|its| folded(its) == folded(name));
        if named && directory.is_none_or(|directory| directory == group.directory) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// What an object links to.
pub(super) async fn links(db: &Object, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, Fault> {
    let sql = "SELECT target, starts_at, ends_at, flags FROM link WHERE object = $1 AND role = $2 AND target > $3 ORDER BY target LIMIT $4";
    link_page(db, sql, (object.0, role, start(after)), limit).await
}

/// Who links to an object.
pub(super) async fn links_to(
    db: &Object,
    object: ObjectId,
    role: LinkRole,
    after: Option<ObjectId>,
    limit: u32,
) -> Result<LinkPage, Fault> {
    let sql = "SELECT object, starts_at, ends_at, flags FROM link WHERE target = $1 AND role = $2 AND object > $3 ORDER BY object LIMIT $4";
    link_page(db, sql, (object.0, role, start(after)), limit).await
}

async fn link_page(db: &Object, sql: &str, (end, role, after): (i64, LinkRole, i64), limit: u32) -> Result<LinkPage, Fault> {
    let (role_number, most) = (small(role.number()), i64::from(limit) + 1);
    let found = query(db, sql, &[&end, &role_number, &after, &most]).await?;
    let shown = &found[..found.len().min(limit as usize)];
    let next = shown.last().map(|row| row.try_get(0)).transpose()?.map(ObjectId).filter(|_| found.len() > shown.len());
    Ok(LinkPage { links: links::shown(db, shown, role).await?, next })
}

/// The managers above a person, nearest first. Of several on one level the one that was mirrored first.
pub(super) async fn managers(db: &Object, object: ObjectId, levels: u8) -> Result<Vec<MirrorObject>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM link l JOIN object o ON o.id = l.target JOIN directory d ON d.number = o.directory
         WHERE l.object = $1 AND l.role = $2 ORDER BY l.target LIMIT 1"
    );
    let mut managers: Vec<MirrorObject> = Vec::new();
    let mut seen = HashSet::from([object.0]);
    let (mut below, role) = (object.0, small(LinkRole::Manager.number()));
    while managers.len() < usize::from(levels) {
        let found = query(db, &sql, &[&below, &role]).await?;
        let Some(row) = found.first() else { break };
        let manager = rows::object(row, 0)?;
        if !seen.insert(manager.id.0) {
            break;
        }
        below = manager.id.0;
        managers.push(manager);
    }
    Ok(managers)
}

/// The members of a group.
pub(super) async fn members(db: &Object, group: ObjectId, depth: Walk, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, Fault> {
    let after = start(after);
    match depth {
        Walk::Direct => least_members(db, &[group.0], ANY, after, limit as usize).await,
        Walk::Nested => {
            let mut page = least_members(db, &groups_below(db, group.0).await?, NESTED, after, limit as usize).await?;
            page.objects.retain(|member| member.head.object_type != ObjectType::Group);
            Ok(page)
        }
    }
}

/// Above any flags of a link.
const ANY: i64 = 1 << 8;

/// A page of the members of some groups whose links' flags are below `mark`. Of each group the least members beyond `after`, in the order of the index, no further than the page
/// can need: not beyond the last one that those before it left in the page. So a page costs a look at each group and at most a page of each, its memory is a page of
/// some groups, and the number of members does not matter.
async fn least_members(db: &Object, groups: &[i64], mark: i64, after: i64, limit: usize) -> Result<ObjectPage, Fault> {
    let most = limit + 1;
    let mut least: BTreeSet<i64> = BTreeSet::new();
    let sql = "SELECT m.target FROM unnest($1::bigint[]) g (id) CROSS JOIN LATERAL (
             SELECT l.target FROM link l WHERE l.object = g.id AND l.role = $2 AND l.target > $3 AND l.target < $4 AND l.flags < $5
             AND NOT EXISTS (SELECT 1 FROM placeholder p WHERE p.id = l.target) ORDER BY l.target LIMIT $6) m";
    let (role, mark, asked) = (small(LinkRole::Member.number()), small(mark), i64::try_from(most).unwrap_or(i64::MAX));
    for some in groups.chunks(GROUPS) {
        let beyond = least.last().copied().filter(|_| least.len() >= most).unwrap_or(i64::MAX);
        for row in query(db, sql, &[&some, &role, &after, &beyond, &mark, &asked]).await? {
            least.insert(row.try_get(0)?);
        }
        while least.len() > most {
            least.pop_last();
        }
    }
    let more = least.len() > limit;
    let ids: Vec<i64> = least.into_iter().take(limit).collect();
    let next = ids.last().copied().map(ObjectId).filter(|_| more);
    Ok(ObjectPage { objects: in_order(db, &ids).await?, next })
}

/// A group and all groups below it, each once, whatever circles there are; by an index that has nothing but groups in groups: they are few.
async fn groups_below(db: &Object, group: i64) -> Result<Vec<i64>, Fault> {
    let sql = "WITH RECURSIVE below (id) AS (
             SELECT $1::bigint UNION SELECT l.target FROM below b JOIN link l ON l.object = b.id AND l.flags >= 2
         ) SELECT id FROM below ORDER BY id";
    let rows = query(db, sql, &[&group]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
