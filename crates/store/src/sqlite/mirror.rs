//! The mirror on SQLite. What is fed goes through the one writer like every verb, and shares its commits; comparisons have a reading connection of their own.

mod compare;
mod links;
mod load;
mod look_up;
mod markers;
mod names;
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
    sqlite::{ITEM_BYTES, SqliteStore, accept, work::Work, writer::Way},
    store::{Acceptance, Accepted},
};
use async_trait::async_trait;
use tidings_core::{
    Id,
    directory::{Change, Entry, LinkRole},
    subject::ObjectType,
};

/// About what an entry and a link cost to load, in bytes of a group.
const ENTRY_BYTES: usize = 500;
const LINK_BYTES: usize = 60;

#[async_trait]
impl Mirror for SqliteStore {
    async fn directory(&self, name: &str) -> Result<DirectoryStanding, StoreError> {
        let name = name.to_owned();
        let asked = name.clone();
        match self.readers.ask(move |db| standing::of(db, &asked)).await? {
            Some(known) => Ok(known),
            None => self.writer.ask(Way::On, ITEM_BYTES, move |work| standing::make(work, &name)).await,
        }
    }

    async fn directories(&self) -> Result<Vec<DirectoryStanding>, StoreError> {
        self.readers.ask(standing::all).await
    }

    async fn compare(&self, directory: &str, changes: Vec<Change>) -> Result<Vec<Difference>, StoreError> {
        let directory = directory.to_owned();
        self.comparer.ask(move |db| compare::compare(db, &directory, changes)).await
    }

    async fn record(&self, mut record: Record) -> Result<Vec<Accepted>, StoreError> {
        self.space.check()?;
        let events = accept::ready(std::mem::take(&mut record.acceptances), &self.key, &self.patterns)?;
        let bytes = record::bytes(&record) + accept::bytes(&events);
        self.writer.ask(Way::In, bytes, move |work| record::record(work, &record, &events)).await
    }

    /// In transactions of some ten thousand entries, the bookmark with the last. Should one fail, those before it stay done, and doing it again does the rest.
    async fn load(&self, directory: &str, entries: Vec<Entry>, generation: i64, mut bookmark: Option<Vec<u8>>) -> Result<u64, StoreError> {
        let mut new = 0;
        let mut steps = steps::steps(entries);
        if steps.is_empty() {
            steps.push(Vec::new());
        }
        let last = steps.len() - 1;
        for (place, entries) in steps.into_iter().enumerate() {
            self.space.check()?;
            let bytes = entries.iter().map(|entry| ENTRY_BYTES + entry.links.len() * LINK_BYTES).sum();
            let bookmark = if place == last { bookmark.take() } else { None };
            let directory = directory.to_owned();
            let verb = move |work: &mut Work<'_>| load::load(work, &directory, &entries, generation, bookmark.as_deref());
            new += self.writer.ask(Way::In, bytes, verb).await?;
        }
        Ok(new)
    }

    async fn begin_refresh(&self, directory: &str) -> Result<i64, StoreError> {
        let directory = directory.to_owned();
        self.writer.ask(Way::On, ITEM_BYTES, move |work| standing::begin_refresh(work, &directory)).await
    }

    async fn unseen(&self, directory: &str, generation: i64) -> Result<(u64, u64), StoreError> {
        let directory = directory.to_owned();
        self.comparer.ask(move |db| standing::unseen(db, &directory, generation)).await
    }

    async fn unseen_keys(
        &self,
        directory: &str,
        generation: i64,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<(ObjectId, String)>, StoreError> {
        let (directory, after) = (directory.to_owned(), after.map_or(i64::MIN, |after| after.0));
        self.comparer.ask(move |db| standing::unseen_keys(db, &directory, generation, after, limit)).await
    }

    async fn end_refresh(&self, directory: &str, bookmark: Option<Vec<u8>>) -> Result<(), StoreError> {
        let directory = directory.to_owned();
        self.writer.ask(Way::On, ITEM_BYTES, move |work| standing::end_refresh(work, &directory, bookmark.as_deref())).await
    }

    async fn report_source(&self, directory: &str, failure: Option<String>, news: Option<Acceptance>) -> Result<bool, StoreError> {
        let way = if news.is_some() { Way::In } else { Way::On };
        let news = accept::ready(news.into_iter().collect(), &self.key, &self.patterns)?;
        let (bytes, directory) = (ITEM_BYTES + accept::bytes(&news), directory.to_owned());
        self.writer.ask(way, bytes, move |work| standing::report(work, &directory, failure.as_deref(), &news)).await
    }

    async fn object(&self, directory: &str, name: &str) -> Result<Option<MirrorObject>, StoreError> {
        let (directory, name) = (directory.to_owned(), name.to_owned());
        self.readers.ask(move |db| read::object(db, &directory, &name)).await
    }

    /// In one go: all of it is as of one moment, and pages that several of them lie on are read once.
    async fn portraits(&self, sitters: Vec<Sitter>, limit: u32) -> Result<Vec<Option<Portrait>>, StoreError> {
        self.readers.ask(move |db| read::portraits(db, &sitters, limit)).await
    }

    async fn document(&self, object: ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.ask(move |db| rows::document(db, object.0)).await
    }

    async fn objects(&self, directory: Option<&str>, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError> {
        let directory = directory.map(str::to_owned);
        self.readers.ask(move |db| read::objects(db, directory.as_deref(), after, limit)).await
    }

    async fn keyed(&self, directory: &str, keys: &[String]) -> Result<Vec<MirrorObject>, StoreError> {
        let (directory, keys) = (directory.to_owned(), keys.to_vec());
        self.readers.ask(move |db| look_up::keyed(db, &directory, &keys)).await
    }

    async fn documents(&self, objects: &[ObjectId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let objects = objects.to_vec();
        self.readers.ask(move |db| objects.iter().map(|object| rows::document(db, object.0)).collect()).await
    }

    async fn find(&self, directory: &str, attribute: &str, value: &str) -> Result<Vec<MirrorObject>, StoreError> {
        let (directory, attribute, value) = (directory.to_owned(), attribute.to_owned(), value.to_owned());
        self.readers.ask(move |db| look_up::find(db, &directory, &attribute, &value)).await
    }

    async fn listing(
        &self,
        directory: &str,
        object_type: &ObjectType,
        offset: u64,
        limit: u32,
    ) -> Result<(u64, Vec<MirrorObject>), StoreError> {
        let (directory, object_type) = (directory.to_owned(), object_type.clone());
        self.readers.ask(move |db| look_up::listing(db, &directory, &object_type, offset, limit)).await
    }

    async fn linked(&self, object: ObjectId, role: LinkRole, names: &[String]) -> Result<Vec<MirrorLink>, StoreError> {
        let names = names.to_vec();
        self.readers.ask(move |db| look_up::linked(db, object, role, &names)).await
    }

    async fn groups_named(&self, directory: Option<&str>, name: &str) -> Result<Vec<MirrorObject>, StoreError> {
        let (directory, name) = (directory.map(str::to_owned), name.to_owned());
        self.readers.ask(move |db| read::groups_named(db, directory.as_deref(), &name)).await
    }

    async fn links(&self, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError> {
        self.readers.ask(move |db| read::links(db, object, role, after, limit)).await
    }

    async fn links_to(&self, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError> {
        self.readers.ask(move |db| read::links_to(db, object, role, after, limit)).await
    }

    async fn managers(&self, object: ObjectId, levels: u8) -> Result<Vec<MirrorObject>, StoreError> {
        self.readers.ask(move |db| read::managers(db, object, levels)).await
    }

    async fn members(&self, group: ObjectId, depth: Walk, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError> {
        self.readers.ask(move |db| read::members(db, group, depth, after, limit)).await
    }

    async fn has_more_members(&self, group: ObjectId, than: u32) -> Result<bool, StoreError> {
        self.readers.ask(move |db| read::has_more_members(db, group, than)).await
    }

    async fn note_marker(&self, marker: NewMarker, event: Acceptance) -> Result<bool, StoreError> {
        self.space.check()?;
        let event = accept::ready(vec![event], &self.key, &self.patterns)?;
        let bytes = ITEM_BYTES + accept::bytes(&event);
        self.writer.ask(Way::In, bytes, move |work| markers::note(work, &marker, &event)).await
    }

    async fn markers(&self, directory: &str, key: Option<&str>, after: Option<Id>, limit: u32) -> Result<Vec<Marker>, StoreError> {
        let (directory, key, after) = (directory.to_owned(), key.map(str::to_owned), after.map_or(i64::MIN, Id::number));
        self.readers.ask(move |db| markers::list(db, &directory, key.as_deref(), after, limit)).await
    }

    async fn move_marker(&self, event: Id, step: MarkerStep) -> Result<bool, StoreError> {
        self.writer.ask(Way::On, ITEM_BYTES, move |work| markers::step(work, event, &step)).await
    }

    async fn end_marker(&self, event: Id) -> Result<bool, StoreError> {
        self.writer.ask(Way::On, ITEM_BYTES, move |work| markers::end(work, event)).await
    }
}
