//! Full files: who does not stand in one is gone.
//!
//! A file is gone through three times: for its form, for what it holds (the digest, a few dozen bytes a row), and to take it. What can be refused is refused before anything
//! is taken.

use super::{
    Progress,
    digest::{self, Digest},
    error::CsvError,
    order::InOrder,
    plan::{BadRows, CsvPlan, Mode},
    reader::Source,
    report::Report,
    row::Row,
};
use std::{path::Path, sync::Arc};
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_intake::{Batch, Feed, Swept, Taken, Telling};
use tidings_store::Target;

/// Entries that are handed over at once.
const BATCH: usize = 1000;
/// Mirrored objects that are looked at together.
const PAGE: u32 = 1000;
/// The most groups of somebody whose row cannot be read.
const MOST_GROUPS: u32 = 10_000;

/// Takes a full file.
pub(super) async fn load(feed: &Feed, plan: &Arc<CsvPlan>, file: &Path, progress: &Progress) -> Result<Report, CsvError> {
    let mut report = Report::of(file, Mode::Full);
    let standing = feed.mirror().directory(&plan.directory).await?;
    let source = Arc::new(Source::open(file)?);
    let survey = {
        let (source, plan) = (Arc::clone(&source), Arc::clone(plan));
        tokio::task::spawn_blocking(move || digest::survey(&source, &plan)).await.expect("the survey does not panic")?
    };
    let mut digest = match survey {
        Ok(digest) => digest,
        Err(why) => return Ok(report.refuse(why)),
    };
    report.rows = digest.rows;
    for bad in digest.bad.drain(..) {
        report.fault(bad.line, bad.why);
    }
    if plan.bad_rows == BadRows::Refuse && report.faulty > 0 {
        return Ok(report.refuse("there are rows that cannot be read, and the configuration says bad_rows = \"refuse\""));
    }
    let absent = absent(feed, plan, &mut digest).await?;
    if absent.vanishing * 100 > absent.objects * u64::from(plan.most_vanishing_percent) {
        let why = format!(
            "{} of {} objects would vanish, more than the {}% that most_vanishing allows",
            absent.vanishing, absent.objects, plan.most_vanishing_percent
        );
        return Ok(report.refuse(why));
    }
    report.silent = standing.loaded_at.is_none() && !plan.first_load_told;
    let generation = feed.mirror().begin_refresh(&plan.directory).await?;
    let mut taker = Taker { feed, plan, generation, report: &mut report, order: InOrder::new(digest.fresh.clone()), entries: Vec::new() };
    taker.take_rows(&source, &digest, progress).await?;
    taker.take_named_groups(&digest, absent.emptied).await?;
    source.check_unchanged()?;
    taker.mark_seen(std::mem::take(&mut digest.seen)).await?;
    close(feed, plan, generation, &digest, absent.vanishing, &mut report).await?;
    progress(report.rows, report.rows);
    Ok(report)
}

/// What the mirror has and the file has not.
struct Absent {
    /// Objects that there are.
    objects: u64,
    /// Objects that would be gone.
    vanishing: u64,
    /// Groups known by name alone that nobody says to be in any more.
    emptied: Vec<Head>,
}

/// Compares the mirror's keys with those of the file; what is left in `digest.fresh` is new.
async fn absent(feed: &Feed, plan: &CsvPlan, digest: &mut Digest) -> Result<Absent, CsvError> {
    let mut absent = Absent { objects: 0, vanishing: 0, emptied: Vec::new() };
    let mut staying = Vec::new();
    let mut after = None;
    loop {
        let page = feed.mirror().objects(Some(&plan.directory), after, PAGE).await?;
        for object in page.objects {
            absent.objects += 1;
            let known = digest.fresh.remove(&digest::hash(&object.head.key)) || digest.has(&object.head.key);
            if known {
                if digest.stands_on(&object.head.key) == Some(0) {
                    staying.push((object.id, object.head.key));
                }
            } else if digest::is_group_by_name(&object.head.key) {
                absent.emptied.push(object.head);
            } else {
                absent.vanishing += 1;
                if digest.keys_unknown {
                    staying.push((object.id, object.head.key));
                }
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // Whose row cannot be read is still in the groups that the mirror knows.
    for (id, key) in staying {
        for link in feed.mirror().links_to(id, LinkRole::Member, None, MOST_GROUPS).await? {
            if let Target::Known(group) = &link.other {
                digest
                    .keep(&group.head.key, &Link { starts_at: link.starts_at, ends_at: link.ends_at, ..Link::new(LinkRole::Member, &key) });
            }
        }
    }
    absent.emptied.retain(|head| !digest.has(&head.key));
    Ok(absent)
}

/// Ends the refresh: whoever was not seen is gone, unless it is not known who was.
async fn close(feed: &Feed, plan: &CsvPlan, generation: i64, digest: &Digest, vanishing: u64, report: &mut Report) -> Result<(), CsvError> {
    if digest.keys_unknown {
        report
            .remarks
            .push("There are rows of which it cannot be read whose they are, so nobody who is missing was taken for gone.".to_owned());
        feed.mirror().end_refresh(&plan.directory, None).await?;
        return Ok(());
    }
    let telling = if report.silent { Telling::Silent } else { Telling::Told };
    match feed.sweep(&plan.directory, generation, None, telling, None).await? {
        Swept::Done(taken) => report.add(taken),
        Swept::TooMany { .. } => unreachable!("a sweep without a bound refuses nothing"),
    }
    if vanishing > 0 {
        report.remarks.push(format!("{vanishing} objects do not stand in it any more and are gone."));
    }
    Ok(())
}

struct Taker<'a> {
    feed: &'a Feed,
    plan: &'a Arc<CsvPlan>,
    generation: i64,
    report: &'a mut Report,
    order: InOrder,
    entries: Vec<(Entry, Option<String>)>,
}

impl Taker<'_> {
    /// People first, then groups: whoever joins one is known by then.
    async fn take_rows(&mut self, source: &Arc<Source>, digest: &Digest, progress: &Progress) -> Result<(), CsvError> {
        let mut done = 0;
        for groups in [false, true] {
            if groups && !digest.has_group_rows {
                continue;
            }
            let mut rows = source.stream(self.plan, Mode::Full);
            while let Some(chunk) = rows.recv().await {
                for row in chunk?.into_iter().filter(|row| (row.head.object_type == ObjectType::Group) == groups) {
                    done += 1;
                    if digest.stands_on(&row.head.key) == Some(row.line) {
                        self.take_row(row, digest).await?;
                    }
                }
                progress(done, digest.rows);
            }
            for (entry, actor) in self.order.rest() {
                self.push(entry, actor).await?;
            }
        }
        Ok(())
    }

    async fn take_row(&mut self, row: Row, digest: &Digest) -> Result<(), CsvError> {
        let mut entry = Entry { head: row.head, links: row.links, document: None };
        if entry.head.object_type == ObjectType::Group {
            digest.add_members(&mut entry);
        }
        // Of a silent load nothing is told, so nobody needs to be known before.
        if self.report.silent {
            return self.push(entry, row.actor).await;
        }
        if let Some((entry, actor)) = self.order.take(entry, row.actor) {
            self.push(entry, actor).await?;
        }
        Ok(())
    }

    /// Groups that have no row of their own, but people who say to be in them.
    async fn take_named_groups(&mut self, digest: &Digest, emptied: Vec<Head>) -> Result<(), CsvError> {
        for entry in digest.named_groups() {
            self.push(entry, None).await?;
        }
        for head in emptied {
            self.push(Entry { head, links: Vec::new(), document: None }, None).await?;
        }
        self.flush().await
    }

    async fn push(&mut self, entry: Entry, actor: Option<String>) -> Result<(), CsvError> {
        self.entries.push((entry, actor));
        if self.entries.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), CsvError> {
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return Ok(());
        }
        if self.report.silent {
            let entries = entries.into_iter().map(|(entry, _)| entry).collect();
            let new = self.feed.load(&self.plan.directory, entries, self.generation, None).await?;
            self.report.add(Taken { changed: new, ..Taken::default() });
            return Ok(());
        }
        let changes = entries.into_iter().map(|(entry, actor)| Change { what: Became::Is(entry), actor, at: None }).collect();
        self.take(changes, Vec::new()).await
    }

    /// Rows that cannot be read are no sign that somebody is gone.
    async fn mark_seen(&mut self, seen: Vec<String>) -> Result<(), CsvError> {
        if seen.is_empty() { Ok(()) } else { self.take(Vec::new(), seen).await }
    }

    async fn take(&mut self, changes: Vec<Change>, seen: Vec<String>) -> Result<(), CsvError> {
        let telling = if self.report.silent { Telling::Silent } else { Telling::Told };
        let directory = self.plan.directory.clone();
        let batch = Batch { directory, changes, seen, generation: Some(self.generation), bookmark: None, telling };
        let taken = self.feed.take(batch).await?;
        self.report.add(taken);
        Ok(())
    }
}
