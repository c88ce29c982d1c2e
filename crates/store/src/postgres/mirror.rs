//! The mirror on PostgreSQL. A verb that writes a directory takes its row first, so that nodes that feed the same one go one after the other; what is written goes table by
//! table, a statement for all rows. Comparisons see one moment of the database.
//!
//! Statements that look for many rows are sent with their types and not kept by the connection: they are planned for what they carry and for what the tables hold at that time. A plan
//! that was made while the tables were small would go on through a whole first load. Those whose plan cannot be but one (a row by its key, a page of an index, rows that are
//! added) are prepared once a connection.
//!
//! What engines that speak PostgreSQL's protocol may not have: `WITH RECURSIVE` over a table that is spread (the groups below a group), `LATERAL` with `LIMIT` (pages of members,
//! portraits), and the change of a primary key's column (`link.target`, where two spellings of a name turn out to be one object).
//!
//! Writing is not tried again when the answer to a commit was lost: whether it is written a comparison shows, and that is what the caller of [`Mirror::record`] does next. A load can be done
//! again, and so it is.

mod compare;
mod flush;
mod links;
mod load;
mod look_up;
mod markers;
mod names;
mod plain;
mod portraits;
mod read;
mod record;
mod rows;
mod scribe;
mod standing;

use crate::{
    error::StoreError,
    marker::{Marker, MarkerStep, NewMarker},
    mirror::{
        Difference, DirectoryStanding, LinkPage, Mirror, MirrorLink, MirrorObject, ObjectId, ObjectPage, Portrait, Record, Sitter, Walk,
        steps,
    },
    postgres::{LONG, PostgresStore, Unsure, accept, work::text},
    store::{Acceptance, Accepted},
};
use async_trait::async_trait;
use tidings_core::{
    Id,
    directory::{Change, Entry, LinkRole},
    subject::ObjectType,
};

/// Asks questions, each of which sees what is committed when it is asked.
macro_rules! ask {
    ($store:ident, $db:ident => $question:expr) => {
        $store
            .base
            .again(Unsure::Again, || async {
                let client = $store.base.client().await?;
                let $db = &client;
                $question.await
            })
            .await
    };
}

/// Writes in one transaction.
macro_rules! write {
    ($store:ident, $db:ident, $now:ident => $verb:expr) => {
        write!($store, $db, $now, None => $verb)
    };
    // … of a directory, unless another node feeds it.
    ($store:ident, $db:ident, $now:ident, $directory:expr => $verb:expr) => {
        $store
            .base
            .again_within(LONG, Unsure::Refuse, || async {
                let work = $store.base.begin().await?;
                if let Some(directory) = Option::<&str>::from($directory) {
                    $store.base.check_fence(&work, directory).await?;
                }
                let ($db, $now) = (work.client(), work.now_ms());
                let answer = $verb.await?;
                $store.base.finish(work).await?;
                Ok(answer)
            })
            .await
    };
}

#[async_trait]
impl Mirror for PostgresStore {
    async fn directory(&self, name: &str) -> Result<DirectoryStanding, StoreError> {
        match ask!(self, db => standing::of(db, name))? {
            Some(known) => Ok(known),
            None => write!(self, db, _now => standing::make(db, name)),
        }
    }

    async fn directories(&self) -> Result<Vec<DirectoryStanding>, StoreError> {
        ask!(self, db => standing::all(db))
    }

    async fn compare(&self, directory: &str, mut changes: Vec<Change>) -> Result<Vec<Difference>, StoreError> {
        changes.iter_mut().for_each(plain::change);
        let changes = &changes;
        let compare = || async {
            let work = self.base.look().await?;
            let differences = compare::compare(work.client(), directory, changes).await?;
            self.base.finish(work).await?;
            Ok(differences)
        };
        self.base.again_within(LONG, Unsure::Again, compare).await
    }

    async fn record(&self, mut record: Record) -> Result<Vec<Accepted>, StoreError> {
        record.seen.iter_mut().for_each(plain::text);
        let events = accept::ready(&self.base, std::mem::take(&mut record.acceptances)).await?;
        let events: Vec<&accept::Ready> = events.iter().collect();
        let record = &record;
        let write = || async {
            let mut work = self.base.begin().await?;
            self.base.check_fence(&work, &record.directory).await?;
            record::record(work.client(), record, work.now_ms()).await?;
            let accepted = accept::write(&mut work, &events).await?;
            self.base.finish(work).await?;
            Ok(accepted)
        };
        self.base.again_within(LONG, Unsure::Refuse, write).await
    }

    /// In transactions of some ten thousand entries, the bookmark with the last. Should one fail, those before it stay done, and doing it again does the rest.
    async fn load(
        &self,
        directory: &str,
        mut entries: Vec<Entry>,
        generation: i64,
        mut bookmark: Option<Vec<u8>>,
    ) -> Result<u64, StoreError> {
        entries.iter_mut().for_each(plain::entry);
        let mut steps = steps::steps(entries);
        if steps.is_empty() {
            steps.push(Vec::new());
        }
        let (mut new, last) = (0, steps.len() - 1);
        for (place, entries) in steps.into_iter().enumerate() {
            let bookmark = if place == last { bookmark.take() } else { None };
            let step = load::Step { directory, entries: &entries, generation, bookmark: bookmark.as_deref() };
            new += write!(self, db, now, directory => load::load(db, &step, now))?;
        }
        Ok(new)
    }

    async fn begin_refresh(&self, directory: &str) -> Result<i64, StoreError> {
        write!(self, db, _now, directory => standing::begin_refresh(db, directory))
    }

    async fn unseen(&self, directory: &str, generation: i64) -> Result<(u64, u64), StoreError> {
        ask!(self, db => standing::unseen(db, directory, generation))
    }

    async fn unseen_keys(
        &self,
        directory: &str,
        generation: i64,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<(ObjectId, String)>, StoreError> {
        let after = after.map_or(i64::MIN, |after| after.0);
        ask!(self, db => standing::unseen_keys(db, directory, generation, after, limit))
    }

    async fn end_refresh(&self, directory: &str, bookmark: Option<Vec<u8>>) -> Result<(), StoreError> {
        let bookmark = bookmark.as_deref();
        write!(self, db, now, directory => standing::end_refresh(db, directory, bookmark, now))
    }

    async fn report_source(&self, directory: &str, failure: Option<String>, news: Option<Acceptance>) -> Result<bool, StoreError> {
        let failure = failure.as_deref().map(text);
        let news = accept::ready(&self.base, news.into_iter().collect()).await?;
        let news: Vec<&accept::Ready> = news.iter().collect();
        let write = || async {
            let mut work = self.base.begin().await?;
            self.base.check_fence(&work, directory).await?;
            let changed = standing::report(work.client(), directory, failure.as_deref(), work.now_ms()).await?;
            if changed {
                // The event is accepted only if what it says is news.
                accept::write(&mut work, &news).await?;
            }
            self.base.finish(work).await?;
            Ok(changed)
        };
        self.base.again_within(LONG, Unsure::Refuse, write).await
    }

    async fn object(&self, directory: &str, name: &str) -> Result<Option<MirrorObject>, StoreError> {
        let name = &*text(name);
        ask!(self, db => read::object(db, directory, name))
    }

    async fn portraits(&self, sitters: Vec<Sitter>, limit: u32) -> Result<Vec<Option<Portrait>>, StoreError> {
        ask!(self, db => portraits::portraits(db, &sitters, limit))
    }

    async fn document(&self, object: ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.documents(&[object]).await?.remove(0))
    }

    async fn objects(&self, directory: Option<&str>, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError> {
        ask!(self, db => read::objects(db, directory, after, limit))
    }

    async fn keyed(&self, directory: &str, keys: &[String]) -> Result<Vec<MirrorObject>, StoreError> {
        let keys: Vec<_> = keys.iter().map(|key| text(key)).collect();
        ask!(self, db => look_up::keyed(db, directory, &keys))
    }

    async fn documents(&self, objects: &[ObjectId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let ids: Vec<i64> = objects.iter().map(|object| object.0).collect();
        let mut found = ask!(self, db => rows::documents(db, &ids))?;
        Ok(ids.iter().map(|id| found.remove(id)).collect())
    }

    async fn find(&self, directory: &str, attribute: &str, value: &str) -> Result<Vec<MirrorObject>, StoreError> {
        ask!(self, db => look_up::find(db, directory, attribute, value))
    }

    async fn listing(
        &self,
        directory: &str,
        object_type: &ObjectType,
        offset: u64,
        limit: u32,
    ) -> Result<(u64, Vec<MirrorObject>), StoreError> {
        ask!(self, db => look_up::listing(db, directory, object_type, offset, limit))
    }

    async fn linked(&self, object: ObjectId, role: LinkRole, names: &[String]) -> Result<Vec<MirrorLink>, StoreError> {
        let names: Vec<_> = names.iter().map(|name| text(name)).collect();
        ask!(self, db => look_up::linked(db, object, role, &names))
    }

    async fn groups_named(&self, directory: Option<&str>, name: &str) -> Result<Vec<MirrorObject>, StoreError> {
        ask!(self, db => read::groups_named(db, directory, name))
    }

    async fn links(&self, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError> {
        ask!(self, db => read::links(db, object, role, after, limit))
    }

    async fn links_to(&self, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError> {
        ask!(self, db => read::links_to(db, object, role, after, limit))
    }

    async fn managers(&self, object: ObjectId, levels: u8) -> Result<Vec<MirrorObject>, StoreError> {
        ask!(self, db => read::managers(db, object, levels))
    }

    async fn members(&self, group: ObjectId, depth: Walk, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError> {
        ask!(self, db => read::members(db, group, depth, after, limit))
    }

    fn fence(&self, directory: &str, holder: &str) {
        let mut fences = self.base.fences.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        fences.insert(directory.to_owned(), holder.to_owned());
    }

    async fn note_marker(&self, marker: NewMarker, event: Acceptance) -> Result<bool, StoreError> {
        let id = event.id;
        let event = accept::ready(&self.base, vec![event]).await?;
        let event: Vec<&accept::Ready> = event.iter().collect();
        let write = || async {
            let mut work = self.base.begin().await?;
            self.base.check_fence(&work, &marker.directory).await?;
            let noted = markers::note(work.client(), &marker, id, work.now_ms()).await?;
            if noted {
                accept::write(&mut work, &event).await?;
            }
            self.base.finish(work).await?;
            Ok(noted)
        };
        self.base.again_within(LONG, Unsure::Refuse, write).await
    }

    async fn markers(&self, directory: &str, key: Option<&str>, after: Option<Id>, limit: u32) -> Result<Vec<Marker>, StoreError> {
        let after = after.map_or(i64::MIN, Id::number);
        ask!(self, db => markers::list(db, directory, key, after, limit))
    }

    async fn move_marker(&self, event: Id, step: MarkerStep) -> Result<bool, StoreError> {
        write!(self, db, _now => markers::step(db, event, &step))
    }

    async fn end_marker(&self, event: Id) -> Result<bool, StoreError> {
        write!(self, db, _now => markers::end(db, event))
    }
}
