//! Compare: what changes make different, all against one moment of the mirror.
//!
//! A batch of changes comes from one source in order, and some lean on others: a user is deleted, and with it the group is changed that had it as a member. Each
//! is compared with what is written; what earlier ones of the batch take away (objects, names, links) is kept in mind, so that a departure is told once.
//! That each is compared with what is written makes it a handful of questions, however many changes there are: all objects, all names, all links at once. Links are looked
//! at as they come from the database and not gathered.

use crate::{
    mirror::{
        Difference, MirrorLink, MirrorObject, Target,
        names::{Bearer, folded},
        terms::{Terms, role_of},
    },
    postgres::{
        fault::Fault,
        mirror::{
            links::{self, Targets},
            names,
            rows::{self, COLUMNS, Kept, small},
            standing::{self, NO_DIRECTORY},
        },
    },
};
use deadpool_postgres::Object;
use futures_util::{TryStreamExt, pin_mut};
use std::collections::{BTreeSet, HashMap, HashSet};
use tidings_core::directory::{Became, Change, Entry, Head, Link, LinkRole};
use tokio_postgres::types::Type;

/// What changes make different. The transaction sees one moment.
pub(super) async fn compare(db: &Object, directory: &str, changes: &[Change]) -> Result<Vec<Difference>, Fault> {
    let keys: Vec<&str> = changes.iter().map(Change::key).collect();
    let (number, kept) = tokio::try_join!(standing::number(db, directory), rows::kept(db, directory, &keys))?;
    let bearers = names::bearers(db, number.unwrap_or(NO_DIRECTORY), &asked(changes, &kept)).await?;
    let mut batch = Batch::default();
    for change in changes {
        batch.take(change.key(), &change.what, &kept);
    }
    let mut bearers = bearers.into_iter();
    let mut sheets: Vec<Sheet<'_>> =
        changes.iter().enumerate().map(|(place, change)| batch.sheet(place, &change.what, &kept, &mut bearers)).collect();
    told_anew(db, &mut sheets).await?;
    compare_whole(db, &mut sheets, &batch).await?;
    compare_parts(db, &mut sheets).await?;
    let unlinked = unlinked(&sheets);
    orphans(db, &mut sheets, &batch, &unlinked).await?;
    finish(db, sheets).await
}

/// All names that changes speak of: of each change those of its links, and for parts those of the links that are taken away.
fn asked<'a>(changes: &'a [Change], kept: &HashMap<String, Kept>) -> Vec<&'a str> {
    let mut asked = Vec::new();
    for change in changes {
        match &change.what {
            Became::Is(entry) => asked.extend(entry.links.iter().map(|link| link.to.as_str())),
            Became::Adjusted { key, added, removed, .. } if kept.contains_key(key) => {
                asked.extend(added.iter().map(|link| link.to.as_str()));
                asked.extend(removed.iter().map(|(_, name)| name.as_str()));
            }
            Became::Adjusted { .. } | Became::Gone { .. } => {}
        }
    }
    asked
}

/// What the changes of a batch take away, by the place of the first change that does.
#[derive(Default)]
struct Batch {
    changes: usize,
    /// Objects that end.
    gone: HashMap<i64, usize>,
    /// Objects that get another name: the one that is written is theirs no longer.
    renamed: HashMap<i64, usize>,
}

impl Batch {
    fn take(&mut self, key: &str, what: &Became, kept: &HashMap<String, Kept>) {
        let place = self.changes;
        self.changes += 1;
        let Some(kept) = kept.get(key) else { return };
        let id = kept.object.id.0;
        let head = match what {
            Became::Is(entry) => Some(&entry.head),
            Became::Adjusted { head, .. } => head.as_ref(),
            Became::Gone { .. } => {
                self.gone.entry(id).or_insert(place);
                None
            }
        };
        if let Some(head) = head {
            // The key names the object; a head cannot give it another.
            let called = head.reference.as_deref().unwrap_or(key);
            if folded(kept.object.head.referred_to_as()) != folded(called) {
                self.renamed.entry(id).or_insert(place);
            }
        }
    }

    /// Whether an object is gone once the changes before this place are written.
    fn is_gone(&self, id: i64, place: usize) -> bool {
        self.gone.get(&id).is_some_and(|at| *at < place)
    }

    /// Where a name leads once the changes up to this place are written.
    fn end<'n>(&self, name: &'n str, bearer: Option<Bearer>, place: usize) -> End<'n> {
        match bearer {
            Some(bearer) if !self.is_gone(bearer.id, place) && self.renamed.get(&bearer.id).is_none_or(|at| *at > place) => {
                End::Row(bearer.id)
            }
            _ => End::Name(name),
        }
    }

    /// Lays a change beside what is kept. `bearers` goes on to those of the next change.
    fn sheet<'c>(
        &self,
        place: usize,
        what: &'c Became,
        kept: &HashMap<String, Kept>,
        bearers: &mut impl Iterator<Item = Option<Bearer>>,
    ) -> Sheet<'c> {
        let mut next = |name: &'c str| self.end(name, bearers.next().expect("each name was asked for"), place);
        match what {
            Became::Is(Entry { head, links, document }) => {
                let wanted = links.iter().map(|link| (link, next(&link.to))).collect();
                let mut sheet = Sheet::of(place, kept.get(&head.key), head.clone());
                (sheet.document, sheet.links) = (document.as_ref(), Told::Whole(Wanted::of(wanted)));
                sheet
            }
            Became::Adjusted { key, head, added, removed, document } => {
                let Some(before) = kept.get(key) else { return Sheet::empty(place) };
                let head = head.as_ref().map_or_else(|| before.object.head.clone(), |head| Head { key: key.clone(), ..head.clone() });
                let wanted = Wanted::of(added.iter().map(|link| (link, next(&link.to))).collect());
                let removed = removed.iter().map(|(role, name)| (*role, next(name))).collect();
                let mut sheet = Sheet::of(place, Some(before), head);
                (sheet.document, sheet.links) = (document.as_ref(), Told::Parts(wanted, removed));
                sheet
            }
            Became::Gone { key } => {
                Sheet { before: kept.get(key).map(|kept| kept.object.clone()), links: Told::Gone, ..Sheet::empty(place) }
            }
        }
    }
}

/// A change beside what is kept of its object.
struct Sheet<'c> {
    place: usize,
    before: Option<MirrorObject>,
    after: Option<Head>,
    document: Option<&'c Vec<u8>>,
    links: Told<'c>,
    added: Vec<(LinkRole, Terms, End<'c>)>,
    removed: Vec<(LinkRole, Terms, i64)>,
    altered: Vec<(LinkRole, Terms, i64)>,
    orphaned: Vec<MirrorLink>,
}

/// What is told of an object's links.
enum Told<'c> {
    Nothing,
    Whole(Wanted<'c>),
    Parts(Wanted<'c>, Vec<(LinkRole, End<'c>)>),
    Gone,
}

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End<'a> {
    /// To an object or a placeholder.
    Row(i64),
    /// To a name that has no row yet.
    Name(&'a str),
}

/// Links that an object is to have.
struct Wanted<'c> {
    links: Vec<(&'c Link, End<'c>)>,
    /// The place of each different one; of two alike the later one counts.
    places: HashMap<(LinkRole, End<'c>), usize>,
}

impl<'c> Wanted<'c> {
    fn of(links: Vec<(&'c Link, End<'c>)>) -> Self {
        let places = links.iter().enumerate().map(|(place, (link, end))| ((link.role, *end), place)).collect();
        Self { links, places }
    }

    /// Those that are still wanted, in the order they were told.
    fn left(self) -> impl Iterator<Item = (LinkRole, Terms, End<'c>)> {
        let Self { links, places } = self;
        let left = move |(place, (link, end)): (usize, (&'c Link, End<'c>))| {
            (places.get(&(link.role, end)) == Some(&place)).then(|| (link.role, Terms::of(link), end))
        };
        links.into_iter().enumerate().filter_map(left)
    }
}

impl Sheet<'_> {
    fn empty(place: usize) -> Self {
        let (added, removed, altered, orphaned) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { place, before: None, after: None, document: None, links: Told::Nothing, added, removed, altered, orphaned }
    }

    fn of(place: usize, before: Option<&Kept>, head: Head) -> Self {
        let after = Some(before.map_or_else(|| head.clone(), |kept| kept.settled(head.clone())));
        Self { before: before.map(|kept| kept.object.clone()), after, ..Self::empty(place) }
    }

    fn id(&self) -> Option<i64> {
        self.before.as_ref().map(|before| before.id.0)
    }
}

/// Leaves out the sources' own forms that are kept already.
async fn told_anew(db: &Object, sheets: &mut [Sheet<'_>]) -> Result<(), Fault> {
    let told: Vec<i64> = sheets.iter().filter(|sheet| sheet.document.is_some()).filter_map(Sheet::id).collect();
    if told.is_empty() {
        return Ok(());
    }
    let kept = rows::documents(db, &told).await?;
    for sheet in sheets {
        if sheet.id().is_some_and(|id| kept.get(&id) == sheet.document) {
            sheet.document = None;
        }
    }
    Ok(())
}

/// Compares all links of those objects that are told whole.
async fn compare_whole(db: &Object, sheets: &mut [Sheet<'_>], batch: &Batch) -> Result<(), Fault> {
    let mut places: HashMap<i64, usize> = HashMap::new();
    for (place, sheet) in sheets.iter().enumerate() {
        if let (Told::Whole(_), Some(id)) = (&sheet.links, sheet.id()) {
            places.insert(id, place);
        }
    }
    if !places.is_empty() {
        let ids: Vec<i64> = places.keys().copied().collect();
        let sql = "SELECT object, role, target, starts_at, ends_at, flags FROM link WHERE object = ANY($1)";
        let rows = db.query_typed_raw(sql, [(ids, Type::INT8_ARRAY)]).await?;
        pin_mut!(rows);
        while let Some(row) = rows.try_next().await? {
            let (role, target) = (role_of(i64::from(row.try_get::<_, i16>(1)?))?, row.try_get(2)?);
            let sheet = &mut sheets[places[&row.try_get::<_, i64>(0)?]];
            if batch.is_gone(target, sheet.place) {
                continue;
            }
            let Told::Whole(wanted) = &mut sheet.links else { continue };
            let terms = links::read(&row, 3)?;
            match wanted.places.remove(&(role, End::Row(target))) {
                Some(place) => {
                    let told = Terms::of(wanted.links[place].0);
                    if told != terms {
                        sheet.altered.push((role, told, target));
                    }
                }
                None => sheet.removed.push((role, terms, target)),
            }
        }
    }
    for sheet in sheets {
        if matches!(sheet.links, Told::Whole(_))
            && let Told::Whole(wanted) = std::mem::replace(&mut sheet.links, Told::Nothing)
        {
            sheet.added.extend(wanted.left());
            sheet.altered.sort_unstable_by_key(|(role, _, target)| (*role, *target));
            sheet.removed.sort_unstable_by_key(|(role, _, target)| (*role, *target));
        }
    }
    Ok(())
}

/// Compares the links that are told of.
async fn compare_parts(db: &Object, sheets: &mut [Sheet<'_>]) -> Result<(), Fault> {
    let (mut objects, mut roles, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for sheet in sheets.iter() {
        if let (Told::Parts(wanted, removed), Some(id)) = (&sheet.links, sheet.id()) {
            let told = wanted.links.iter().map(|(link, end)| (link.role, *end)).chain(removed.iter().copied());
            for (role, end) in told {
                if let End::Row(target) = end {
                    objects.push(id);
                    roles.push(small(role.number()));
                    targets.push(target);
                }
            }
        }
    }
    let mirrored = terms(db, &objects, &roles, &targets).await?;
    for sheet in sheets {
        let (Told::Parts(..), Some(id)) = (&sheet.links, sheet.id()) else { continue };
        let Told::Parts(wanted, removed) = std::mem::replace(&mut sheet.links, Told::Nothing) else { continue };
        let there = |role: LinkRole, end| if let End::Row(target) = end { mirrored.get(&(id, role, target)).copied() } else { None };
        let mut away = HashSet::new();
        for (role, end) in removed {
            if let End::Row(target) = end
                && !wanted.places.contains_key(&(role, end))
                && let Some(terms) = there(role, end)
                && away.insert((role, target))
            {
                sheet.removed.push((role, terms, target));
            }
        }
        for (role, told, end) in wanted.left() {
            match (there(role, end), end) {
                (Some(terms), _) if terms == told => {}
                (Some(_), End::Row(target)) => sheet.altered.push((role, told, target)),
                _ => sheet.added.push((role, told, end)),
            }
        }
    }
    Ok(())
}

/// What certain links say, those of them that are there.
async fn terms(db: &Object, objects: &[i64], roles: &[i16], targets: &[i64]) -> Result<HashMap<(i64, LinkRole, i64), Terms>, Fault> {
    let mut found = HashMap::new();
    if objects.is_empty() {
        return Ok(found);
    }
    let sql = "SELECT l.object, l.role, l.target, l.starts_at, l.ends_at, l.flags FROM unnest($1::bigint[], $2::smallint[], $3::bigint[]) t (object, role, target)
         JOIN link l ON l.object = t.object AND l.role = t.role AND l.target = t.target";
    let asked = [(&objects as _, Type::INT8_ARRAY), (&roles as _, Type::INT2_ARRAY), (&targets as _, Type::INT8_ARRAY)];
    for row in db.query_typed(sql, &asked).await? {
        let role = role_of(i64::from(row.try_get::<_, i16>(1)?))?;
        found.insert((row.try_get(0)?, role, row.try_get(2)?), links::read(&row, 3)?);
    }
    Ok(found)
}

/// Links that changes end, by object, role and target; and the place of the change.
fn unlinked(sheets: &[Sheet<'_>]) -> HashMap<(i64, LinkRole, i64), usize> {
    let mut unlinked = HashMap::new();
    for sheet in sheets {
        let Some(id) = sheet.id() else { continue };
        unlinked.extend(sheet.removed.iter().map(|(role, _, target)| ((id, *role, *target), sheet.place)));
    }
    unlinked
}

/// Tells of objects that end who linked to them. Links of their own are not listed, however many they have.
async fn orphans(
    db: &Object,
    sheets: &mut [Sheet<'_>],
    batch: &Batch,
    unlinked: &HashMap<(i64, LinkRole, i64), usize>,
) -> Result<(), Fault> {
    let mut places: HashMap<i64, usize> = HashMap::new();
    for (place, sheet) in sheets.iter().enumerate() {
        if let (Told::Gone, Some(id)) = (&sheet.links, sheet.id()) {
            places.entry(id).or_insert(place);
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = places.keys().copied().collect();
    let sql = format!(
        "SELECT l.target, l.object, l.role, l.starts_at, l.ends_at, l.flags, {COLUMNS} FROM link l JOIN object o ON o.id = l.object
         JOIN directory d ON d.number = o.directory WHERE l.target = ANY($1) ORDER BY l.target, l.role, l.object"
    );
    let rows = db.query_typed_raw(&sql, [(ids, Type::INT8_ARRAY)]).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        let (target, bearer): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let role = role_of(i64::from(row.try_get::<_, i16>(2)?))?;
        let sheet = &mut sheets[places[&target]];
        let told = unlinked.get(&(bearer, role, target)).is_some_and(|at| *at < sheet.place);
        // Its link to itself goes with it.
        if bearer != target && !told && !batch.is_gone(bearer, sheet.place) {
            sheet.orphaned.push(links::read(&row, 3)?.link(role, Target::Known(Box::new(rows::object(&row, 6)?))));
        }
    }
    Ok(())
}

/// Shows what stands at the other ends of what is different.
async fn finish(db: &Object, sheets: Vec<Sheet<'_>>) -> Result<Vec<Difference>, Fault> {
    let mut ids = BTreeSet::new();
    for sheet in &sheets {
        ids.extend(sheet.removed.iter().chain(&sheet.altered).map(|(_, _, target)| *target));
        ids.extend(sheet.added.iter().filter_map(|(_, _, end)| if let End::Row(id) = end { Some(*id) } else { None }));
    }
    let targets = Targets::read(db, ids).await?;
    let mut differences = Vec::with_capacity(sheets.len());
    for sheet in sheets {
        let links = |rows: Vec<(LinkRole, Terms, i64)>| {
            rows.into_iter().map(|(role, terms, target)| Ok(terms.link(role, targets.of(target)?))).collect::<Result<Vec<_>, Fault>>()
        };
        let mut added = Vec::with_capacity(sheet.added.len());
        for (role, terms, end) in sheet.added {
            let other = match end {
                End::Row(id) => targets.of(id)?,
                End::Name(name) => Target::Unknown(name.to_owned()),
            };
            added.push(terms.link(role, other));
        }
        let (before, after, orphaned) = (sheet.before, sheet.after, sheet.orphaned);
        let (document, removed, altered) = (sheet.document.cloned(), links(sheet.removed)?, links(sheet.altered)?);
        differences.push(Difference { before, after, document, added, removed, altered, orphaned });
    }
    Ok(differences)
}
