//! Brings the tables to what a scribe has gathered: a statement or two a table, one after the other. Statements that need no other's answer are sent without waiting for it.

use crate::{
    mirror::columns,
    postgres::{
        fault::Fault,
        mirror::{
            rows::{ASKED, GROUP, hash, narrow, small, type_column},
            scribe::{LinkKey, LinkRow, Scribe},
        },
    },
};
use deadpool_postgres::Object;
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use tidings_core::{Address, Locale, directory::Head};
use tokio_postgres::types::{ToSql, Type};

/// Links go in statements of so many.
const LINKS: usize = 20_000;

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Writes everything.
pub(super) async fn write(scribe: &mut Scribe<'_>) -> Result<(), Fault> {
    let db = scribe.db;
    links(db, std::mem::take(&mut scribe.sheet.links)).await?;
    if !scribe.sheet.removed.is_empty() {
        remove(scribe).await?;
    }
    // What stands together here does not touch the same rows, and is sent without waiting for the answers.
    tokio::try_join!(change(scribe), rename(scribe), add(scribe), find_by(scribe), keep(scribe), wait_all(scribe), take_over(scribe))?;
    tokio::try_join!(raise(scribe), see(scribe), mark(scribe), loosen(scribe))?;
    Ok(())
}

/// Sets links and takes links away.
pub(super) async fn links(db: &Object, links: BTreeMap<LinkKey, Option<LinkRow>>) -> Result<(), Fault> {
    let (mut set, mut away) = (Links::default(), Links::default());
    for (key, row) in links {
        match row {
            Some(row) => set.add(key, row),
            None => away.add_key(key),
        }
        if away.objects.len() >= LINKS {
            away.take_away(db).await?;
        }
        if set.objects.len() >= LINKS {
            set.write(db).await?;
        }
    }
    away.take_away(db).await?;
    set.write(db).await
}

/// Links as columns.
#[derive(Default)]
pub(super) struct Links {
    objects: Vec<i64>,
    roles: Vec<i16>,
    targets: Vec<i64>,
    flags: Vec<i16>,
    starts_at: Vec<Option<i64>>,
    ends_at: Vec<Option<i64>>,
}

impl Links {
    fn add_key(&mut self, (target, role, object): LinkKey) {
        self.objects.push(object);
        self.roles.push(role);
        self.targets.push(target);
    }

    fn add(&mut self, key: LinkKey, row: LinkRow) {
        self.add_key(key);
        self.flags.push(row.flags);
        self.starts_at.push(row.terms.starts_at);
        self.ends_at.push(row.terms.ends_at);
    }

    async fn write(&mut self, db: &Object) -> Result<(), Fault> {
        let Self { objects, roles, targets, flags, starts_at, ends_at } = std::mem::take(self);
        if objects.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO link (object, role, target, flags, starts_at, ends_at)
             SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::bigint[])
             ON CONFLICT (object, role, target) DO UPDATE SET flags = excluded.flags, starts_at = excluded.starts_at, ends_at = excluded.ends_at";
        let values: [Parameter<'_>; 6] = [
            (&objects, Type::INT8_ARRAY),
            (&roles, Type::INT2_ARRAY),
            (&targets, Type::INT8_ARRAY),
            (&flags, Type::INT2_ARRAY),
            (&starts_at, Type::INT8_ARRAY),
            (&ends_at, Type::INT8_ARRAY),
        ];
        db.execute_typed(sql, &values).await?;
        Ok(())
    }

    async fn take_away(&mut self, db: &Object) -> Result<(), Fault> {
        let Self { objects, roles, targets, .. } = std::mem::take(self);
        if objects.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM link l USING unnest($1::bigint[], $2::smallint[], $3::bigint[]) t (object, role, target)
             WHERE l.object = t.object AND l.role = t.role AND l.target = t.target";
        db.execute_typed(sql, &[(&objects, Type::INT8_ARRAY), (&roles, Type::INT2_ARRAY), (&targets, Type::INT8_ARRAY)]).await?;
        Ok(())
    }
}

/// Lets links go to another row. Where a link to that is there as well, the two become one.
pub(super) async fn retarget(db: &Object, from: i64, to: i64) -> Result<(), Fault> {
    let ends: [Parameter<'_>; 2] = [(&from, Type::INT8), (&to, Type::INT8)];
    let both = "DELETE FROM link l USING link w WHERE w.target = $1 AND l.target = $2 AND l.object = w.object AND l.role = w.role";
    db.execute_typed(both, &ends).await?;
    db.execute_typed("UPDATE link SET target = $2 WHERE target = $1", &ends).await?;
    Ok(())
}

/// Takes objects away with their links and those of others to them, who have changed thereby.
async fn remove(scribe: &mut Scribe<'_>) -> Result<(), Fault> {
    let (db, directory, sheet) = (scribe.db, scribe.directory, &mut scribe.sheet);
    let removed: Vec<i64> = sheet.removed.iter().copied().collect();
    let gone: [Parameter<'_>; 1] = [(&removed, Type::INT8_ARRAY)];
    let bearers = "SELECT object, count(DISTINCT target) FROM link WHERE target = ANY($1) GROUP BY object";
    for row in db.query_typed(bearers, &gone).await? {
        let id = row.try_get(0)?;
        if !sheet.removed.contains(&id) {
            *sheet.raised.entry(id).or_default() += row.try_get::<_, i64>(1)?;
        }
    }
    let waiting = "SELECT DISTINCT l.target FROM link l JOIN placeholder p ON p.id = l.target WHERE l.object = ANY($1)";
    for row in db.query_typed(waiting, &gone).await? {
        sheet.loosened.insert(row.try_get(0)?);
    }
    // Sent one behind the other; the answers are only whether they were done.
    let statements = [
        "DELETE FROM link WHERE target = ANY($1)",
        "DELETE FROM link WHERE object = ANY($1)",
        "DELETE FROM object_document WHERE object = ANY($1)",
        "DELETE FROM object WHERE id = ANY($1)",
    ];
    try_join_all(statements.iter().map(|sql| db.execute_typed(sql, &gone))).await?;
    let seen = "DELETE FROM sighting WHERE directory = $2 AND object = ANY($1)";
    db.execute_typed(seen, &[(&removed, Type::INT8_ARRAY), (&directory, Type::INT4)]).await?;
    for id in &removed {
        sheet.documents.remove(id);
        sheet.seen.remove(id);
        sheet.marked.remove(id);
        sheet.nameless.remove(id);
        sheet.raised.remove(id);
    }
    Ok(())
}

/// Heads as columns, with the references they have in the end.
#[derive(Default)]
struct Heads<'a> {
    ids: Vec<i64>,
    keys: Vec<&'a str>,
    references: Vec<Option<&'a str>>,
    hashes: Vec<i32>,
    types: Vec<String>,
    names: Vec<Option<&'a str>>,
    group_hashes: Vec<Option<i32>>,
    mails: Vec<Option<&'a str>>,
    locales: Vec<Option<&'a str>>,
    timezones: Vec<Option<&'a str>>,
    flags: Vec<i16>,
    attributes: Vec<Option<String>>,
}

impl<'a> Heads<'a> {
    fn add(&mut self, id: i64, head: &'a Head, nameless: bool) {
        let reference = head.reference.as_deref().filter(|_| !nameless);
        self.ids.push(id);
        self.keys.push(&head.key);
        self.references.push(reference);
        self.hashes.push(hash(reference.unwrap_or(&head.key)));
        self.types.push(type_column(&head.object_type));
        self.names.push(head.name.as_deref());
        self.group_hashes.push(columns::group_hash(head).map(narrow));
        self.mails.push(head.mail.as_ref().map(Address::as_str));
        self.locales.push(head.locale.as_ref().map(Locale::as_str));
        self.timezones.push(head.timezone.as_deref());
        self.flags.push(small(columns::flags(head)));
        self.attributes.push(columns::attributes(&head.attributes));
    }

    /// The columns, each as an array: the values of [`TABLE`].
    fn values(&self) -> [Parameter<'_>; 12] {
        [
            (&self.ids, Type::INT8_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.references, Type::TEXT_ARRAY),
            (&self.hashes, Type::INT4_ARRAY),
            (&self.types, Type::TEXT_ARRAY),
            (&self.names, Type::TEXT_ARRAY),
            (&self.group_hashes, Type::INT4_ARRAY),
            (&self.mails, Type::TEXT_ARRAY),
            (&self.locales, Type::TEXT_ARRAY),
            (&self.timezones, Type::TEXT_ARRAY),
            (&self.flags, Type::INT2_ARRAY),
            (&self.attributes, Type::TEXT_ARRAY),
        ]
    }
}

/// The columns that [`Heads::values`] gives, as a table `t`.
const TABLE: &str = "unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::text[], $11::smallint[], $12::text[])
    t (id, key, reference, hash, type, name, group_hash, mail, locale, timezone, flags, attributes)";

/// Writes objects that are changed.
async fn change(scribe: &Scribe<'_>) -> Result<(), Fault> {
    let sheet = &scribe.sheet;
    let mut changed = Heads::default();
    for (id, head) in sheet.changed.iter().filter(|(id, _)| !sheet.added.contains_key(id)) {
        changed.add(*id, head, sheet.nameless.contains(id));
    }
    if changed.ids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE object o SET reference = t.reference, hash = t.hash, type = t.type, name = t.name, group_hash = t.group_hash, mail = t.mail, locale = t.locale,
             timezone = t.timezone, flags = t.flags, attributes = t.attributes FROM {TABLE} WHERE o.id = t.id"
    );
    scribe.db.execute_typed(&sql, &changed.values()).await?;
    Ok(())
}

/// Takes references from objects that have lost them and are told nothing else of.
async fn rename(scribe: &Scribe<'_>) -> Result<(), Fault> {
    let sheet = &scribe.sheet;
    let told = |id: &i64| sheet.changed.contains_key(id) || sheet.added.contains_key(id);
    let nameless: Vec<i64> = sheet.nameless.iter().copied().filter(|id| !told(id)).collect();
    if nameless.is_empty() {
        return Ok(());
    }
    let called = |id: &i64| scribe.names.object(*id).map_or(0, |named| hash(named.referred_to_as()));
    let hashes: Vec<i32> = nameless.iter().map(called).collect();
    let sql = "UPDATE object o SET reference = NULL, hash = t.hash FROM unnest($1::bigint[], $2::integer[]) t (id, hash) WHERE o.id = t.id";
    scribe.db.execute_typed(sql, &[(&nameless, Type::INT8_ARRAY), (&hashes, Type::INT4_ARRAY)]).await?;
    Ok(())
}

/// Raises versions.
async fn raise(scribe: &Scribe<'_>) -> Result<(), Fault> {
    if scribe.sheet.raised.is_empty() {
        return Ok(());
    }
    let (ids, by): (Vec<i64>, Vec<i64>) = scribe.sheet.raised.iter().unzip();
    let sql = "UPDATE object o SET version = o.version + t.more, changed_at = $3 FROM unnest($1::bigint[], $2::bigint[]) t (id, more) WHERE o.id = t.id";
    scribe.db.execute_typed(sql, &[(&ids, Type::INT8_ARRAY), (&by, Type::INT8_ARRAY), (&scribe.now, Type::INT8)]).await?;
    Ok(())
}

/// Writes objects that are new.
async fn add(scribe: &Scribe<'_>) -> Result<(), Fault> {
    let (db, sheet) = (scribe.db, &scribe.sheet);
    if sheet.added.is_empty() {
        return Ok(());
    }
    let mut added = Heads::default();
    for (id, head) in &sheet.added {
        added.add(*id, sheet.changed.get(id).unwrap_or(head), sheet.nameless.contains(id));
    }
    let sql = format!(
        "INSERT INTO object (id, directory, key, reference, hash, type, name, group_hash, mail, locale, timezone, flags, attributes, version, created_at, changed_at)
         SELECT t.id, $13, t.key, t.reference, t.hash, t.type, t.name, t.group_hash, t.mail, t.locale, t.timezone, t.flags, t.attributes, 1, $14, $14 FROM {TABLE}"
    );
    let mut values = added.values().to_vec();
    values.push((&scribe.directory, Type::INT4));
    values.push((&scribe.now, Type::INT8));
    db.execute_typed(&sql, &values).await?;
    let sql = "INSERT INTO sighting (directory, object, generation) SELECT $1, t.id, $3 FROM unnest($2::bigint[]) t (id)";
    db.execute_typed(sql, &[(&scribe.directory, Type::INT4), (&added.ids, Type::INT8_ARRAY), (&scribe.generation, Type::INT8)]).await?;
    Ok(())
}

/// Brings the names by which clients look objects up to what they are now.
async fn find_by(scribe: &Scribe<'_>) -> Result<(), Fault> {
    let (db, directory, looked_up) = (scribe.db, scribe.directory, &scribe.sheet.looked_up);
    let chosen = |there: bool| -> (Vec<i32>, Vec<i64>) {
        looked_up.iter().filter(|(_, found)| **found == there).map(|((hash, object), _)| (*hash, *object)).unzip()
    };
    let statements = [
        (
            false,
            "DELETE FROM looked_up n USING unnest($2::integer[], $3::bigint[]) t (hash, object)
             WHERE n.directory = $1 AND n.hash = t.hash AND n.object = t.object",
        ),
        (
            true,
            "INSERT INTO looked_up (directory, hash, object) SELECT $1, t.hash, t.object FROM unnest($2::integer[], $3::bigint[]) t (hash, object)
             ON CONFLICT (directory, hash, object) DO NOTHING",
        ),
    ];
    for (there, sql) in statements {
        let (hashes, objects) = chosen(there);
        if !hashes.is_empty() {
            db.execute_typed(sql, &[(&directory, Type::INT4), (&hashes, Type::INT4_ARRAY), (&objects, Type::INT8_ARRAY)]).await?;
        }
    }
    Ok(())
}

/// Marks objects that were seen, those of certain keys as well. What bears the number already is left alone.
async fn see(scribe: &Scribe<'_>) -> Result<(), Fault> {
    let (db, sheet) = (scribe.db, &scribe.sheet);
    let (directory, generation) = ((&scribe.directory as _, Type::INT4), (&scribe.generation as _, Type::INT8));
    let seen: Vec<i64> = sheet.seen.iter().copied().filter(|id| !sheet.added.contains_key(id)).collect();
    for some in seen.chunks(ASKED) {
        let sql = "UPDATE sighting SET generation = $3 WHERE directory = $1 AND object = ANY($2) AND generation <> $3";
        db.execute_typed(sql, &[Clone::clone(&directory), (&some, Type::INT8_ARRAY), generation.clone()]).await?;
    }
    let keys: Vec<&str> = sheet.seen_keys.iter().copied().collect();
    for some in keys.chunks(ASKED) {
        let sql = "UPDATE sighting s SET generation = $3 FROM object o
             WHERE o.directory = $1 AND o.key = ANY($2) AND s.directory = $1 AND s.object = o.id AND s.generation <> $3";
        db.execute_typed(sql, &[Clone::clone(&directory), (&some, Type::TEXT_ARRAY), generation.clone()]).await?;
    }
    Ok(())
}

/// Keeps the sources' own forms.
async fn keep(scribe: &Scribe<'_>) -> Result<(), Fault> {
    if scribe.sheet.documents.is_empty() {
        return Ok(());
    }
    let (ids, forms): (Vec<i64>, Vec<&[u8]>) = scribe.sheet.documents.iter().map(|(id, form)| (*id, *form)).unzip();
    let sql = "INSERT INTO object_document (object, document) SELECT * FROM unnest($1::bigint[], $2::bytea[])
         ON CONFLICT (object) DO UPDATE SET document = excluded.document";
    scribe.db.execute_typed(sql, &[(&ids, Type::INT8_ARRAY), (&forms, Type::BYTEA_ARRAY)]).await?;
    Ok(())
}

/// Marks memberships of groups, so that walks find them, and takes the mark from those of what is none.
async fn mark(scribe: &Scribe<'_>) -> Result<(), Fault> {
    if scribe.sheet.marked.is_empty() {
        return Ok(());
    }
    let marked: Vec<i64> = scribe.sheet.marked.iter().copied().collect();
    let sql = "UPDATE link l SET flags = (l.flags & 1) | CASE WHEN o.type = $2 THEN 2 ELSE 0 END FROM object o
         WHERE o.id = ANY($1) AND l.target = o.id AND l.role = 0 AND (l.flags >= 2) <> (o.type = $2)";
    scribe.db.execute_typed(sql, &[(&marked, Type::INT8_ARRAY), (&GROUP, Type::TEXT)]).await?;
    Ok(())
}

/// Writes placeholders that are new.
async fn wait_all(scribe: &Scribe<'_>) -> Result<(), Fault> {
    wait(scribe, &scribe.sheet.waiting.iter().map(|(id, name)| (*id, name.as_str())).collect()).await
}

/// Takes away placeholders that are objects now.
async fn take_over(scribe: &Scribe<'_>) -> Result<(), Fault> {
    if scribe.sheet.taken_over.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = scribe.sheet.taken_over.iter().copied().collect();
    scribe.db.execute_typed("DELETE FROM placeholder WHERE id = ANY($1)", &[(&ids, Type::INT8_ARRAY)]).await?;
    Ok(())
}

/// Takes away placeholders that nothing links to any more.
async fn loosen(scribe: &Scribe<'_>) -> Result<(), Fault> {
    if scribe.sheet.loosened.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = scribe.sheet.loosened.iter().copied().collect();
    let sql = "DELETE FROM placeholder p WHERE p.id = ANY($1) AND NOT EXISTS (SELECT 1 FROM link l WHERE l.target = p.id)";
    scribe.db.execute_typed(sql, &[(&ids, Type::INT8_ARRAY)]).await?;
    Ok(())
}

/// Writes placeholders.
pub(super) async fn wait(scribe: &Scribe<'_>, waiting: &BTreeMap<i64, &str>) -> Result<(), Fault> {
    if waiting.is_empty() {
        return Ok(());
    }
    let (ids, names): (Vec<i64>, Vec<&str>) = waiting.iter().map(|(id, name)| (*id, *name)).unzip();
    let hashes: Vec<i32> = names.iter().map(|name| hash(name)).collect();
    let sql = "INSERT INTO placeholder (id, directory, hash, name) SELECT t.id, $1, t.hash, t.name FROM unnest($2::bigint[], $3::integer[], $4::text[]) t (id, hash, name)";
    let values: [Parameter<'_>; 4] =
        [(&scribe.directory, Type::INT4), (&ids, Type::INT8_ARRAY), (&hashes, Type::INT4_ARRAY), (&names, Type::TEXT_ARRAY)];
    scribe.db.execute_typed(sql, &values).await?;
    Ok(())
}
