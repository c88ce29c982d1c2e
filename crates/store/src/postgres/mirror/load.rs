//! Load: entries as they are, many at once, without comparing what they say with what others say.
//!
//! A batch's objects go in first, so that most names lead somewhere; then its links. Names are looked up in parts, and what is remembered of each is a number.

use crate::{
    mirror::{names::Bearer, steps::last_of_each_key, terms::Terms},
    postgres::{
        fault::Fault,
        mirror::{
            flush, links,
            names::{self, Names},
            rows::{self, ASKED, Kept, hash},
            scribe::{LinkKey, LinkRow, Pending, Scribe},
            standing::{self, Numbers},
        },
    },
};
use deadpool_postgres::Object;
use futures_util::{TryStreamExt, pin_mut};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tidings_core::directory::Entry;
use tokio_postgres::types::Type;

/// What one transaction loads.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) directory: &'a str,
    pub(super) entries: &'a [Entry],
    pub(super) generation: i64,
    pub(super) bookmark: Option<&'a [u8]>,
}

/// An entry with the row it was given.
struct Placed<'a> {
    entry: &'a Entry,
    id: i64,
    /// It was there before.
    known: bool,
}

/// The verb: one transaction. Gives how many objects are new.
pub(super) async fn load(db: &Object, step: &Step<'_>, now: i64) -> Result<u64, Fault> {
    let Step { directory, entries, generation, bookmark } = *step;
    let name = directory;
    let (directory, _) = standing::enter(db, name).await?;
    let entries: Vec<&Entry> = last_of_each_key(entries).collect();
    let keys: Vec<&str> = entries.iter().map(|entry| entry.head.key.as_str()).collect();
    let kept = rows::kept(db, name, &keys).await?;
    let hashes: BTreeSet<i32> = entries.iter().map(|entry| hash(entry.head.referred_to_as())).collect();
    let names = Names::read(db, directory, &hashes.into_iter().collect::<Vec<_>>()).await?;
    let numbers = Numbers::of(entries.len() - kept.len());
    let mut scribe = Scribe { db, directory, generation, now, names, numbers, sheet: Pending::default() };
    let mut changed = BTreeSet::new();
    let placed = place(&mut scribe, &entries, &kept, &mut changed).await?;
    let new = placed.iter().filter(|one| !one.known).count();
    flush::write(&mut scribe).await?;
    scribe.sheet = Pending::default();

    let asked: Vec<&str> = placed.iter().flat_map(|one| one.entry.links.iter().map(|link| link.to.as_str())).collect();
    let targets = targets(&mut scribe, &asked).await?;
    lay_links(&mut scribe, &placed, &targets, &mut changed).await?;
    scribe.sheet.raised = changed.into_iter().map(|id| (id, 1)).collect();
    flush::write(&mut scribe).await?;
    standing::note(db, directory, i64::try_from(new).expect("a count"), bookmark, now).await?;
    Ok(new as u64)
}

/// Gathers the entries' objects.
async fn place<'a>(
    scribe: &mut Scribe<'a>,
    entries: &[&'a Entry],
    kept: &HashMap<String, Kept>,
    changed: &mut BTreeSet<i64>,
) -> Result<Vec<Placed<'a>>, Fault> {
    let told = entries.iter().filter(|entry| entry.document.is_some());
    let with_form: Vec<i64> = told.filter_map(|entry| kept.get(&entry.head.key)).map(|kept| kept.object.id.0).collect();
    let forms = if with_form.is_empty() { HashMap::new() } else { rows::documents(scribe.db, &with_form).await? };
    let mut placed = Vec::with_capacity(entries.len());
    for &entry in entries {
        let id = match kept.get(&entry.head.key) {
            None => scribe.add(&entry.head).await?,
            Some(kept) => {
                let id = kept.object.id.0;
                if !kept.says(&entry.head) {
                    scribe.change(id, &kept.object.head, &entry.head).await?;
                    changed.insert(id);
                }
                scribe.sheet.seen.insert(id);
                id
            }
        };
        let known = kept.contains_key(&entry.head.key);
        if let Some(form) = &entry.document
            && forms.get(&id) != Some(form)
        {
            scribe.sheet.documents.insert(id, form);
            if known {
                changed.insert(id);
            }
        }
        placed.push(Placed { entry, id, known });
    }
    Ok(placed)
}

/// The rows that names lead to, in the order asked; placeholders are made.
async fn targets(scribe: &mut Scribe<'_>, asked: &[&str]) -> Result<Vec<Bearer>, Fault> {
    let found = names::bearers(scribe.db, scribe.directory, asked).await?;
    let mut made: HashMap<&str, Bearer> = HashMap::new();
    let missing: BTreeSet<&str> = asked.iter().zip(&found).filter(|(_, bearer)| bearer.is_none()).map(|(name, _)| *name).collect();
    scribe.numbers = Numbers::of(missing.len());
    let mut waiting = BTreeMap::new();
    for name in missing {
        let id = scribe.numbers.next(scribe.db).await?;
        made.insert(name, Bearer { id, known: false, group: false });
        waiting.insert(id, name);
        if waiting.len() >= ASKED {
            flush::wait(scribe, &std::mem::take(&mut waiting)).await?;
        }
    }
    flush::wait(scribe, &waiting).await?;
    Ok(asked.iter().zip(found).map(|(name, bearer)| bearer.unwrap_or_else(|| made[name])).collect())
}

/// Gathers the links. Those of an object that was there are brought to what its entry says: what is too many goes, and what is missing or different is written.
async fn lay_links(scribe: &mut Scribe<'_>, placed: &[Placed<'_>], targets: &[Bearer], changed: &mut BTreeSet<i64>) -> Result<(), Fault> {
    let mut known = HashSet::new();
    let mut rest = targets;
    for one in placed {
        let (its, others) = rest.split_at(one.entry.links.len());
        rest = others;
        if one.known {
            known.insert(one.id);
        }
        // Of two alike the later one stays.
        for (link, target) in one.entry.links.iter().zip(its) {
            scribe.link(one.id, link.role, *target, Terms::of(link));
        }
    }
    if known.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = known.iter().copied().collect();
    let sql = "SELECT object, role, target, starts_at, ends_at, flags FROM link WHERE object = ANY($1)";
    let rows = scribe.db.query_typed_raw(sql, [(ids, Type::INT8_ARRAY)]).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        let (object, role, target): (i64, i16, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (key, there): (LinkKey, _) = ((target, role, object), LinkRow { terms: links::read(&row, 3)?, flags: row.try_get(5)? });
        match scribe.sheet.links.get(&key) {
            Some(told) if *told == Some(there) => _ = scribe.sheet.links.remove(&key),
            Some(_) => {}
            None => {
                scribe.sheet.links.insert(key, None);
                scribe.sheet.loosened.insert(target);
            }
        }
    }
    changed.extend(scribe.sheet.links.keys().map(|(_, _, object)| *object).filter(|object| known.contains(object)));
    Ok(())
}
