//! What is only read: objects, their links in both directions, managers above, members below.

use crate::{
    mirror::{
        LinkPage, MirrorObject, ObjectId, ObjectPage, Portrait, Sitter, Target, Walk,
        names::{folded, hash},
        terms::NESTED,
    },
    sqlite::{
        fault::Fault,
        mirror::{
            links, names, rows,
            rows::{COLUMNS, WIDTH},
            standing::{self, NO_DIRECTORY},
        },
    },
};
use rusqlite::{Connection, Params};
use std::collections::{BTreeSet, HashMap, HashSet};
use tidings_core::{directory::LinkRole, subject::ObjectType};

/// The object of a key, or else of a reference.
pub(super) fn object(db: &Connection, directory: &str, name: &str) -> Result<Option<MirrorObject>, Fault> {
    let Some(directory) = standing::number(db, directory)? else { return Ok(None) };
    object_of(db, directory, name)
}

fn object_of(db: &Connection, directory: i64, name: &str) -> Result<Option<MirrorObject>, Fault> {
    if let Some(object) = rows::by_key(db, directory, name)? {
        return Ok(Some(object));
    }
    match names::bearer(db, directory, name)? {
        Some(bearer) => rows::by_id(db, bearer.id),
        None => Ok(None),
    }
}

/// Objects with some of their links.
pub(super) fn portraits(db: &Connection, sitters: &[Sitter], limit: u32) -> Result<Vec<Option<Portrait>>, Fault> {
    let mut numbers: HashMap<&str, Option<i64>> = HashMap::new();
    let mut portraits = Vec::with_capacity(sitters.len());
    for Sitter { directory, name, roles } in sitters {
        let number = match numbers.get(directory.as_str()) {
            Some(number) => *number,
            None => *numbers.entry(directory).or_insert(standing::number(db, directory)?),
        };
        let object = match number {
            Some(number) => object_of(db, number, name)?,
            None => None,
        };
        let Some(object) = object else {
            portraits.push(None);
            continue;
        };
        let mut its = Vec::new();
        for role in roles {
            its.extend(links(db, object.id, *role, None, limit)?);
        }
        portraits.push(Some(Portrait { object, links: its }));
    }
    Ok(portraits)
}

/// Before the first row.
fn start(after: Option<ObjectId>) -> i64 {
    after.map_or(i64::MIN, |after| after.0)
}

/// A page of the objects that a query gives in the order of their rows; it is to ask for one more than the page holds.
fn page(db: &Connection, sql: &str, values: impl Params, limit: u32) -> Result<ObjectPage, Fault> {
    let mut found = db.prepare_cached(sql)?;
    let mut rows = found.query(values)?;
    let mut page = ObjectPage { objects: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        if page.objects.len() >= limit as usize {
            page.next = page.objects.last().map(|object| object.id);
            break;
        }
        page.objects.push(rows::object(row, 0)?);
    }
    Ok(page)
}

/// Objects of a directory, or of all.
pub(super) fn objects(db: &Connection, directory: Option<&str>, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, Fault> {
    let (after, most) = (start(after), i64::from(limit) + 1);
    let Some(directory) = directory else {
        let sql = format!(
            "SELECT {COLUMNS} FROM object o CROSS JOIN directory d ON d.number = o.directory WHERE o.id > ?1 ORDER BY o.id LIMIT ?2"
        );
        return page(db, &sql, [after, most], limit);
    };
    let directory = standing::number(db, directory)?.unwrap_or(NO_DIRECTORY);
    let sql = format!(
        "SELECT {COLUMNS} FROM sighting s CROSS JOIN object o ON o.id = s.object CROSS JOIN directory d ON d.number = o.directory
         WHERE s.directory = ?1 AND s.object > ?2 ORDER BY s.object LIMIT ?3"
    );
    page(db, &sql, [directory, after, most], limit)
}

/// Groups of a name, without regard to case.
pub(super) fn groups_named(db: &Connection, directory: Option<&str>, name: &str) -> Result<Vec<MirrorObject>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM object o INDEXED BY object_group CROSS JOIN directory d ON d.number = o.directory WHERE o.group_hash = ?1 ORDER BY o.id"
    );
    let mut found = db.prepare_cached(&sql)?;
    let mut rows = found.query([hash(name)])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        let group = rows::object(row, 0)?;
        let named = group.head.name.as_deref().is_some_and(|its| folded(its) == folded(name));
        if named && directory.is_none_or(|directory| directory == group.directory) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// What an object links to.
pub(super) fn links(db: &Connection, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, Fault> {
    let sql = format!(
        "SELECT {COLUMNS}, p.name, l.target, l.starts_at, l.ends_at, l.flags FROM link l LEFT JOIN object o ON o.id = l.target
         LEFT JOIN directory d ON d.number = o.directory LEFT JOIN placeholder p ON p.id = l.target
         WHERE l.object = ?1 AND l.role = ?2 AND l.target > ?3 ORDER BY l.target LIMIT ?4"
    );
    link_page(db, &sql, (object.0, role, start(after)), limit)
}

/// Who links to an object.
pub(super) fn links_to(db: &Connection, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, Fault> {
    let sql = format!(
        "SELECT {COLUMNS}, NULL, l.object, l.starts_at, l.ends_at, l.flags FROM link l CROSS JOIN object o ON o.id = l.object
         CROSS JOIN directory d ON d.number = o.directory WHERE l.target = ?1 AND l.role = ?2 AND l.object > ?3 ORDER BY l.object LIMIT ?4"
    );
    link_page(db, &sql, (object.0, role, start(after)), limit)
}

fn link_page(db: &Connection, sql: &str, (end, role, after): (i64, LinkRole, i64), limit: u32) -> Result<LinkPage, Fault> {
    let mut found = db.prepare_cached(sql)?;
    let mut rows = found.query((end, role.number(), after, i64::from(limit) + 1))?;
    let mut page = LinkPage { links: Vec::new(), next: None };
    let mut last = None;
    while let Some(row) = rows.next()? {
        if page.links.len() >= limit as usize {
            page.next = last;
            break;
        }
        let other = match row.get(WIDTH)? {
            Some(name) => Target::Unknown(name),
            None => Target::Known(Box::new(rows::object(row, 0)?)),
        };
        last = Some(ObjectId(row.get(WIDTH + 1)?));
        page.links.push(links::read(row, WIDTH + 2)?.link(role, other));
    }
    Ok(page)
}

/// The managers above a person, nearest first. Of several on one level the one that was mirrored first.
pub(super) fn managers(db: &Connection, object: ObjectId, levels: u8) -> Result<Vec<MirrorObject>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM link l CROSS JOIN object o ON o.id = l.target CROSS JOIN directory d ON d.number = o.directory
         WHERE l.object = ?1 AND l.role = ?2 ORDER BY l.target LIMIT 1"
    );
    let mut above = db.prepare_cached(&sql)?;
    let mut managers: Vec<MirrorObject> = Vec::new();
    let mut seen = HashSet::from([object.0]);
    let mut below = object.0;
    while managers.len() < usize::from(levels) {
        let mut rows = above.query([below, LinkRole::Manager.number()])?;
        let Some(row) = rows.next()? else { break };
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
pub(super) fn members(db: &Connection, group: ObjectId, depth: Walk, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, Fault> {
    match depth {
        Walk::Direct => {
            let sql = format!(
                "SELECT {COLUMNS} FROM link l CROSS JOIN object o ON o.id = l.target CROSS JOIN directory d ON d.number = o.directory
                 WHERE l.object = ?1 AND l.role = ?2 AND l.target > ?3 ORDER BY l.target LIMIT ?4"
            );
            page(db, &sql, (group.0, LinkRole::Member.number(), start(after), i64::from(limit) + 1), limit)
        }
        Walk::Nested => nested(db, group.0, start(after), limit as usize),
    }
}

/// Whether a group has more members than that which are no groups: by the key of the links alone.
pub(super) fn has_more_members(db: &Connection, group: ObjectId, than: u32) -> Result<bool, Fault> {
    let sql = "SELECT count(*) > ?4 FROM (SELECT 1 FROM link WHERE object = ?1 AND role = ?2 AND flags < ?3 LIMIT ?4 + 1)";
    let values = (group.0, LinkRole::Member.number(), NESTED, than);
    Ok(db.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

/// A page of everybody below a group. First the groups below it, by an index that has nothing but groups in groups: they are few. Then the least members beyond
/// `after` of each, in the order of the index, no further than the page can need. So a page costs a seek for each group below and at most a page of each, its
/// memory is a page, and the number of members does not matter.
fn nested(db: &Connection, group: i64, after: i64, limit: usize) -> Result<ObjectPage, Fault> {
    let most = limit + 1;
    let mut least: BTreeSet<i64> = BTreeSet::new();
    for group in groups_below(db, group)? {
        let mut members = db.prepare_cached(
            "SELECT l.target FROM link l WHERE l.object = ?1 AND l.role = ?2 AND l.target > ?3 AND l.flags < ?4
             AND NOT EXISTS (SELECT 1 FROM placeholder p WHERE p.id = l.target) ORDER BY l.target",
        )?;
        let mut rows = members.query([group, LinkRole::Member.number(), after, NESTED])?;
        while let Some(row) = rows.next()? {
            let member = row.get(0)?;
            if least.len() >= most && least.last().is_some_and(|last| member >= *last) {
                break;
            }
            least.insert(member);
            if least.len() > most {
                least.pop_last();
            }
        }
    }
    let more = least.len() > limit;
    let mut page = ObjectPage { objects: Vec::new(), next: None };
    for member in least.into_iter().take(limit) {
        page.next = more.then_some(ObjectId(member));
        page.objects.extend(rows::by_id(db, member)?.filter(|member| member.head.object_type != ObjectType::Group));
    }
    Ok(page)
}

/// A group and all groups below it, each once.
fn groups_below(db: &Connection, group: i64) -> Result<Vec<i64>, Fault> {
    let mut below = db.prepare_cached("SELECT target FROM link INDEXED BY link_nested WHERE object = ?1 AND flags >= 2")?;
    let mut seen = HashSet::from([group]);
    let mut groups = vec![group];
    let mut next = 0;
    while let Some(group) = groups.get(next) {
        next += 1;
        let mut rows = below.query([*group])?;
        while let Some(row) = rows.next()? {
            let target = row.get(0)?;
            if seen.insert(target) {
                groups.push(target);
            }
        }
    }
    Ok(groups)
}
