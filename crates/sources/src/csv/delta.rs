//! Delta files: each row adds, modifies or deletes one object. A column that the file does not have leaves as it is what it would hold.

use super::{
    Progress,
    digest::group_by_name,
    error::CsvError,
    layout::{Column, Layout},
    plan::{BadRows, CsvPlan, Mode},
    reader::Source,
    report::Report,
    row::{GROUP_PREFIX, Row, Verb},
    values::shown,
};
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
};
use tidings_core::{
    directory::{Became, Change, Entry, Link, LinkRole},
    subject::ObjectType,
};
use tidings_intake::{Batch, Feed, Telling};
use tidings_store::{MirrorObject, Target};

/// Changes that are handed over at once.
const BATCH: usize = 256;
/// Links that are looked at together.
const LINKS: u32 = 10_000;

/// Takes a delta file.
pub(super) async fn load(feed: &Feed, plan: &Arc<CsvPlan>, file: &Path, progress: &Progress) -> Result<Report, CsvError> {
    let mut report = Report::of(file, Mode::Delta);
    let standing = feed.mirror().directory(&plan.directory).await?;
    let source = Arc::new(Source::open(file)?);
    let layout = {
        let (source, plan) = (Arc::clone(&source), Arc::clone(plan));
        let survey = tokio::task::spawn_blocking(move || survey(&source, &plan, report)).await.expect("the survey does not panic")?;
        match survey {
            Ok((surveyed, layout)) => {
                report = surveyed;
                layout
            }
            Err(refused) => return Ok(*refused),
        }
    };
    let unknown = unknown(feed, plan, &source).await?;
    for (line, why) in &unknown {
        report.fault(*line, why.clone());
    }
    report.faults.sort_by_key(|fault| fault.line);
    if plan.bad_rows == BadRows::Refuse && report.faulty > 0 {
        return Ok(report.refuse("there are rows that cannot be taken, and the configuration says bad_rows = \"refuse\""));
    }
    report.silent = standing.loaded_at.is_none() && !plan.first_load_told;
    let mut taker =
        Taker { feed, plan, layout, report: &mut report, pending: Vec::new(), memberships: BTreeMap::new(), touched: HashSet::new() };
    let mut rows = source.stream(plan, Mode::Delta);
    let mut done = 0;
    while let Some(chunk) = rows.recv().await {
        for row in chunk? {
            done += 1;
            if !unknown.contains_key(&row.line) {
                taker.row(row).await?;
            }
        }
        progress(done, taker.report.rows);
    }
    taker.flush().await?;
    source.check_unchanged()?;
    if report.silent {
        report.remarks.push("No full file was read before: nothing was told.".to_owned());
    }
    progress(report.rows, report.rows);
    Ok(report)
}

type Surveyed = Result<(Report, Layout), Box<Report>>;

/// Form and rows; the report comes back as a refusal if the file must be refused.
fn survey(source: &Source, plan: &CsvPlan, mut report: Report) -> Result<Surveyed, CsvError> {
    if let Some(flaw) = source.flaw(plan)? {
        return Ok(Err(Box::new(report.refuse(format!("line {}: {}", flaw.line, flaw.what)))));
    }
    let read = source.rows(plan, Mode::Delta, |row| {
        report.rows += 1;
        match row {
            Ok(Row { verb: None, line, .. }) => report.fault(line, "change is empty; allowed are add, modify, delete"),
            Ok(_) => {}
            Err(bad) => report.fault(bad.line, bad.why),
        }
        true
    })?;
    Ok(match read {
        Ok(layout) => Ok((report, layout)),
        Err(why) => Err(Box::new(report.refuse(why))),
    })
}

/// Rows that modify or delete what is not there, by line.
async fn unknown(feed: &Feed, plan: &Arc<CsvPlan>, source: &Arc<Source>) -> Result<BTreeMap<u64, String>, CsvError> {
    let mut unknown = BTreeMap::new();
    // What the file itself makes or deletes on the way.
    let mut there: BTreeMap<String, bool> = BTreeMap::new();
    let mut rows = source.stream(plan, Mode::Delta);
    while let Some(chunk) = rows.recv().await {
        for row in chunk? {
            let key = row.head.key;
            let exists = match there.get(&key) {
                Some(exists) => *exists,
                None => find(feed, plan, &key).await?.is_some(),
            };
            match row.verb {
                Some(Verb::Add) => _ = there.insert(key, true),
                Some(Verb::Modify) if exists => {}
                Some(Verb::Delete) if exists => _ = there.insert(key, false),
                Some(Verb::Modify) => _ = unknown.insert(row.line, format!("there is no object with the key `{}` to modify", shown(&key))),
                Some(Verb::Delete) => _ = unknown.insert(row.line, format!("there is no object with the key `{}` to delete", shown(&key))),
                // Told by the survey.
                None => {}
            }
        }
    }
    Ok(unknown)
}

async fn find(feed: &Feed, plan: &CsvPlan, key: &str) -> Result<Option<MirrorObject>, CsvError> {
    Ok(feed.mirror().object(&plan.directory, key).await?.filter(|object| object.head.key == key))
}

/// What becomes of a group's members: those who come, and those who go.
type Coming = (Vec<Link>, Vec<(LinkRole, String)>);

struct Taker<'a> {
    feed: &'a Feed,
    plan: &'a Arc<CsvPlan>,
    layout: Layout,
    report: &'a mut Report,
    /// Changes of objects, to be taken before those of memberships: whoever joins is known by then.
    pending: Vec<Change>,
    /// By group and by who made the change.
    memberships: BTreeMap<(String, Option<String>), Coming>,
    /// Keys of objects that `pending` changes.
    touched: HashSet<String>,
}

impl Taker<'_> {
    async fn row(&mut self, row: Row) -> Result<(), CsvError> {
        // What is compared with must be what is there after the rows before; a row may name what one of those makes.
        let leans = row.links.iter().chain(&row.groups).any(|link| self.touched.contains(&link.to));
        if self.touched.contains(&row.head.key) || leans || self.pending.len() >= BATCH {
            self.flush().await?;
        }
        self.touched.insert(row.head.key.clone());
        let Some(verb) = row.verb else { return Ok(()) };
        if verb == Verb::Delete {
            self.pending.push(Change { what: Became::Gone { key: row.head.key }, actor: row.actor, at: None });
            return Ok(());
        }
        let before = find(self.feed, self.plan, &row.head.key).await?;
        if self.layout.has(Column::Groups) {
            self.memberships(&row, before.as_ref()).await?;
        }
        let what = match before {
            None => Became::Is(Entry { head: row.head, links: row.links, document: None }),
            Some(before) => {
                let head = self.layout.overlay(&before.head, &row.head);
                let removed = self.removed(&row.links, &before).await?;
                Became::Adjusted { key: row.head.key, head: Some(head), added: row.links, removed, document: None }
            }
        };
        self.pending.push(Change { what, actor: row.actor, at: None });
        Ok(())
    }

    /// Links that the row does not name any more, in the roles that the file has columns for.
    async fn removed(&self, links: &[Link], before: &MirrorObject) -> Result<Vec<(LinkRole, String)>, CsvError> {
        let mut removed = Vec::new();
        for (column, role) in Column::LINKS {
            if !self.layout.has(column) {
                continue;
            }
            let named: HashSet<&str> = links.iter().filter(|link| link.role == role).map(|link| link.to.as_str()).collect();
            for link in self.feed.mirror().links(before.id, role, None, LINKS).await? {
                let name = name_of(&link.other);
                if !named.contains(name) {
                    removed.push((role, name.to_owned()));
                }
            }
        }
        Ok(removed)
    }

    /// The groups that somebody is in now, against those that the row names.
    async fn memberships(&mut self, row: &Row, before: Option<&MirrorObject>) -> Result<(), CsvError> {
        let mut now: Vec<String> = Vec::new();
        for link in &row.groups {
            let group = self.group(&link.to, row).await?;
            let Some(group) = group else { continue };
            let coming = self.memberships.entry((group.clone(), row.actor.clone())).or_default();
            coming.0.push(Link { to: row.head.key.clone(), ..link.clone() });
            now.push(group);
        }
        let Some(before) = before else { return Ok(()) };
        for link in self.feed.mirror().links_to(before.id, LinkRole::Member, None, LINKS).await? {
            if let Target::Known(group) = &link.other
                && group.directory == self.plan.directory
                && !now.contains(&group.head.key)
            {
                let coming = self.memberships.entry((group.head.key.clone(), row.actor.clone())).or_default();
                coming.1.push((LinkRole::Member, row.head.key.clone()));
            }
        }
        Ok(())
    }

    /// The key of a group that a row names by key or name; one that nobody knows is made.
    async fn group(&mut self, name: &str, row: &Row) -> Result<Option<String>, CsvError> {
        if let Some(object) = find(self.feed, self.plan, name).await? {
            if object.head.object_type == ObjectType::Group {
                return Ok(Some(object.head.key));
            }
            self.report.fault(row.line, format!("groups: `{}` is not a group", shown(name)));
            return Ok(None);
        }
        let named = self.feed.mirror().groups_named(Some(&self.plan.directory), name).await?;
        match named.as_slice() {
            [group] => return Ok(Some(group.head.key.clone())),
            [_, _, ..] => {
                self.report.fault(row.line, format!("groups: more than one group is called `{}`; write its key", shown(name)));
                return Ok(None);
            }
            [] => {}
        }
        let key = format!("{GROUP_PREFIX}{name}");
        if self.touched.insert(key.clone()) {
            let entry = Entry { head: group_by_name(name), links: Vec::new(), document: None };
            self.pending.push(Change { what: Became::Is(entry), actor: row.actor.clone(), at: None });
        }
        Ok(Some(key))
    }

    async fn flush(&mut self) -> Result<(), CsvError> {
        let mut changes = std::mem::take(&mut self.pending);
        let memberships = std::mem::take(&mut self.memberships);
        changes.extend(memberships.into_iter().map(|((key, actor), (added, removed))| Change {
            what: Became::Adjusted { key, head: None, added, removed, document: None },
            actor,
            at: None,
        }));
        self.touched.clear();
        if changes.is_empty() {
            return Ok(());
        }
        let telling = if self.report.silent { Telling::Silent } else { Telling::Told };
        let directory = self.plan.directory.clone();
        let taken = self.feed.take(Batch { directory, changes, seen: Vec::new(), generation: None, bookmark: None, telling }).await?;
        self.report.add(taken);
        Ok(())
    }
}

fn name_of(target: &Target) -> &str {
    match target {
        Target::Known(object) => object.head.referred_to_as(),
        Target::Unknown(name) => name,
    }
}
