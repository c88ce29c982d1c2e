//! One of the two databases of a copy, whichever kind it is of.

use crate::{
    copy::{
        CopyError, Location,
        entities::ENTITIES,
        postgres::Postgres,
        sqlite::Sqlite,
        value::{Entity, Page, Pages, Value, plain},
    },
    error::StoreError,
    open::{COPY_NOTE, is_on_server},
    seal::SealKey,
    sqlite::connect,
};
use tokio::sync::mpsc;

/// A week, as the partitions of the history have it.
const WEEK_MS: i64 = 604_800_000;

/// A database that is read or filled.
pub(crate) enum Base {
    /// A file. It is away while a thread works on it.
    Sqlite(Option<Sqlite>),
    /// On a server.
    Postgres(Postgres),
}

fn broken_off(error: tokio::task::JoinError) -> StoreError {
    StoreError::Unavailable(format!("it was broken off: {error}"))
}

/// Has a thread that may wait for the disk work on a file.
async fn on_disk<T: Send + 'static>(
    file: &mut Option<Sqlite>,
    work: impl FnOnce(&mut Sqlite) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let mut one = file.take().ok_or_else(|| StoreError::Unavailable("a thread that worked on it has died".to_owned()))?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut one);
        (one, done)
    });
    let (one, done) = done.await.map_err(broken_off)?;
    *file = Some(one);
    done
}

impl Base {
    async fn open_file(at: &Location, key: &SealKey) -> Result<Self, StoreError> {
        let (path, key) = (at.path.clone(), key.clone());
        let opened = tokio::task::spawn_blocking(move || Sqlite::new(&path, connect::unlooked(&path, &key, None)?));
        Ok(Self::Sqlite(Some(opened.await.map_err(broken_off)??)))
    }

    /// Opens what is copied, and keeps everybody else from writing to it.
    pub(crate) async fn open_source(from: &Location, key: &SealKey) -> Result<Self, CopyError> {
        let mut source = if is_on_server(&from.url) {
            let server = Postgres::connect(&from.url).await?;
            if !server.is_there().await? {
                return Err(CopyError::NoSource(from.shown.clone()));
            }
            server.lock().await?;
            server.open(key).await?;
            server.nobody_serves().await?;
            Self::Postgres(server)
        } else {
            Self::open_file(from, key).await?
        };
        match &mut source {
            Self::Sqlite(file) => on_disk(file, |file| file.freeze()).await?,
            Self::Postgres(server) => server.freeze().await?,
        }
        if source.meta(COPY_NOTE).await?.is_some() {
            return Err(StoreError::Unfinished(from.shown.clone()).into());
        }
        Ok(source)
    }

    /// Opens what is filled; makes it if need be.
    pub(crate) async fn open_target(to: &Location, key: &SealKey) -> Result<Self, StoreError> {
        if !is_on_server(&to.url) {
            return Self::open_file(to, key).await;
        }
        let server = Postgres::connect(&to.url).await?;
        server.lock().await?;
        server.open(key).await?;
        Ok(Self::Postgres(server))
    }

    /// What tells this source from any other one.
    pub(crate) async fn origin(&mut self, from: &Location) -> Result<String, StoreError> {
        let place = match self {
            Self::Sqlite(_) => format!("sqlite:{}", from.path.canonicalize().unwrap_or_else(|_| from.path.clone()).display()),
            Self::Postgres(server) => format!("postgres:{}", server.name().await?),
        };
        let installation = self.meta("installation").await?.unwrap_or_default();
        Ok(format!("{} {place}", String::from_utf8_lossy(&installation)))
    }

    /// A value of `meta`.
    pub(crate) async fn meta(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sqlite(file) => on_disk(file, move |file| file.meta(name)).await,
            Self::Postgres(server) => server.meta(name).await,
        }
    }

    /// Sets a value of `meta`, or takes it away.
    pub(crate) async fn set_meta(&mut self, name: &'static str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => on_disk(file, move |file| file.set_meta(name, value.as_deref())).await,
            Self::Postgres(server) => server.set_meta(name, value.as_deref()).await,
        }
    }

    /// The first table that holds something, beside what opening has made.
    pub(crate) async fn filled(&mut self) -> Result<Option<&'static str>, StoreError> {
        match self {
            Self::Sqlite(file) => on_disk(file, |file| file.filled()).await,
            Self::Postgres(server) => server.filled().await,
        }
    }

    /// How many rows an entity has.
    pub(crate) async fn count(&mut self, entity: &'static Entity) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(file) => on_disk(file, move |file| file.count(entity)).await,
            Self::Postgres(server) => server.count(entity).await,
        }
    }

    /// The weeks that the history has lines of.
    pub(crate) async fn weeks(&mut self) -> Result<Vec<i64>, StoreError> {
        match self {
            Self::Sqlite(file) => on_disk(file, |file| file.weeks(WEEK_MS)).await,
            Self::Postgres(server) => server.weeks(WEEK_MS).await,
        }
    }

    /// Makes room for the history of these weeks.
    pub(crate) async fn make_ready(&mut self, weeks: Vec<i64>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(server) => server.make_weeks(weeks, WEEK_MS).await,
        }
    }

    /// Once everything is written, `lines` of them history: whatever the database numbers by itself goes on above.
    pub(crate) async fn go_on(&mut self, lines: u64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(server) => server.go_on(lines).await,
        }
    }

    /// Gives all rows in pages of so many, from an entity on, and of that one those behind a place; ends early if nobody takes them.
    pub(crate) async fn read(
        &mut self,
        first: usize,
        after: Option<Vec<Value>>,
        rows: usize,
        give: mpsc::Sender<Page>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                let read = move |file: &mut Sqlite| {
                    let mut after = after;
                    for entity in ENTITIES.iter().skip(first) {
                        file.read(Pages::of(entity, rows), after.take().as_deref(), &mut |page| give.blocking_send(page).is_ok())?;
                        if give.is_closed() {
                            break;
                        }
                    }
                    Ok(())
                };
                on_disk(file, read).await
            }
            Self::Postgres(server) => {
                let mut after = after;
                for entity in ENTITIES.iter().skip(first) {
                    server.read(Pages::of(entity, rows), after.take().as_deref(), &give).await?;
                    if give.is_closed() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes a page and the note of it. `before` is how many rows of the entity were written before.
    pub(crate) async fn write(&mut self, mut page: Page, before: u64, note: Vec<u8>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => on_disk(file, move |file| file.write(&page, before, &note)).await,
            Self::Postgres(server) => {
                page.rows.iter_mut().for_each(|row| plain(page.entity, row));
                server.write(&page, before, &note).await
            }
        }
    }
}
