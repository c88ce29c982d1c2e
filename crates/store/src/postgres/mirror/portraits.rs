//! Many objects at once with some of their links: what the events of a whole request need costs as many questions as those of one.

use crate::{
    mirror::{MirrorLink, MirrorObject, Portrait, Sitter, names::folded, terms::role_of},
    postgres::{
        fault::Fault,
        mirror::{
            links::{self, Targets},
            rows::{self, ASKED, COLUMNS, hash, small},
        },
        work::text,
    },
};
use deadpool_postgres::Object;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tidings_core::directory::LinkRole;
use tokio_postgres::types::{ToSql, Type};

/// Links in the order of their other ends' rows, by bearer and role.
type Links = HashMap<(i64, LinkRole), Vec<MirrorLink>>;

/// The portraits, in the order asked.
pub(super) async fn portraits(db: &Object, sitters: &[Sitter], limit: u32) -> Result<Vec<Option<Portrait>>, Fault> {
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for sitter in sitters {
        names.entry(&sitter.directory).or_default().insert(text(&sitter.name).into_owned());
    }
    let mut found: HashMap<&str, HashMap<String, MirrorObject>> = HashMap::new();
    for (directory, names) in names {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        found.insert(directory, objects(db, directory, &names).await?);
    }
    let object = |sitter: &Sitter| found.get(sitter.directory.as_str())?.get(&*text(&sitter.name));
    let wanted: BTreeSet<(i64, LinkRole)> = sitters
        .iter()
        .filter_map(|one| Some((object(one)?.id.0, one)))
        .flat_map(|(id, one)| one.roles.iter().map(move |role| (id, *role)))
        .collect();
    let links = first_links(db, &wanted, limit).await?;
    let portrait = |sitter: &Sitter| {
        let object = object(sitter)?.clone();
        let links = sitter.roles.iter().filter_map(|role| links.get(&(object.id.0, *role))).flatten().cloned().collect();
        Some(Portrait { object, links })
    };
    Ok(sitters.iter().map(portrait).collect())
}

/// Objects by their keys, or else by their references: by the names that were asked for.
async fn objects(db: &Object, directory: &str, names: &[&str]) -> Result<HashMap<String, MirrorObject>, Fault> {
    let kept = rows::kept(db, directory, names).await?;
    let mut found: HashMap<String, MirrorObject> = kept.into_iter().map(|(key, kept)| (key, kept.object)).collect();
    let rest: Vec<&str> = names.iter().copied().filter(|name| !found.contains_key(*name)).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM object o JOIN directory d ON d.number = o.directory WHERE o.directory = (SELECT number FROM directory WHERE name = $1) AND o.hash = ANY($2)"
    );
    for some in rest.chunks(ASKED) {
        let mut asked: HashMap<String, Vec<&str>> = HashMap::new();
        for name in some {
            asked.entry(folded(name).into_owned()).or_default().push(name);
        }
        let hashes: Vec<i32> = asked.keys().map(|name| hash(name)).collect();
        for row in db.query_typed(&sql, &[(&directory, Type::TEXT), (&hashes, Type::INT4_ARRAY)]).await? {
            let object = rows::object(&row, 0)?;
            let names = object.head.reference.as_deref().and_then(|reference| asked.get(&*folded(reference)));
            for name in names.into_iter().flatten() {
                found.insert((*name).to_owned(), object.clone());
            }
        }
    }
    Ok(found)
}

/// The first `limit` links of each.
async fn first_links(db: &Object, wanted: &BTreeSet<(i64, LinkRole)>, limit: u32) -> Result<Links, Fault> {
    let sql = "SELECT g.object, g.role, l.target, l.starts_at, l.ends_at, l.flags FROM unnest($1::bigint[], $2::smallint[]) g (object, role)
         CROSS JOIN LATERAL (SELECT k.target, k.starts_at, k.ends_at, k.flags FROM link k WHERE k.object = g.object AND k.role = g.role ORDER BY k.target LIMIT $3) l
         ORDER BY g.object, g.role, l.target";
    let (objects, roles): (Vec<i64>, Vec<i16>) = wanted.iter().map(|(object, role)| (*object, small(role.number()))).unzip();
    let limit = i64::from(limit);
    let (mut found, mut ids) = (Vec::new(), BTreeSet::new());
    for (objects, roles) in objects.chunks(ASKED).zip(roles.chunks(ASKED)) {
        let asked: [(&(dyn ToSql + Sync), Type); 3] = [(&objects, Type::INT8_ARRAY), (&roles, Type::INT2_ARRAY), (&limit, Type::INT8)];
        for row in db.query_typed(sql, &asked).await? {
            let (object, role, target): (i64, i16, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            ids.insert(target);
            found.push(((object, role_of(i64::from(role))?), target, links::read(&row, 3)?));
        }
    }
    let targets = Targets::read(db, ids).await?;
    let mut links = Links::new();
    for (bearer, target, terms) in found {
        // Whose other end went between two questions is no link any more.
        if let Ok(other) = targets.of(target) {
            links.entry(bearer).or_default().push(terms.link(bearer.1, other));
        }
    }
    Ok(links)
}
