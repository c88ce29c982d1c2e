//! A store in a folder of its own, and an intake whose one rule tells everything to one reader.

use crate::desk::desk;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tidings_core::{
    Address,
    directory::LinkRole,
    policy::{Audience, Rule, TypePattern},
    testing::FixedClock,
};
use tidings_intake::{Feed, Intake};
use tidings_sources::csv::{self, BadRows, CsvPlan, CsvWatch, Mode, Report};
use tidings_store::{Filter, Mirror, OpenOptions, SealKey, SqliteStore, Store, Target, Tuning};

pub(crate) struct House {
    pub(crate) feed: Arc<Feed>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) plan: CsvPlan,
    pub(crate) folder: TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(FixedClock::at("2026-11-21T09:00:00Z"));
        let options = OpenOptions {
            url: "sqlite:tidings.db".to_owned(),
            data_dir: folder.path().to_owned(),
            key: SealKey::from_bytes([7; 32]),
            clock: clock.clone(),
            min_free_bytes: 0,
        };
        let store = SqliteStore::open(options, Tuning::default()).await.unwrap();
        let reader = Audience::Address(Address::parse("reader@example.org").unwrap());
        let rule = Rule::simple("everything", vec![TypePattern::parse("*").unwrap()], vec![reader]);
        let desk = desk(rule, clock);
        let intake = Arc::new(Intake::open(store.clone(), desk).await.unwrap());
        let mirror: Arc<dyn Mirror> = store.clone();
        let inbox = folder.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        Self { feed: Arc::new(Feed::new(intake, mirror)), store, plan: a_plan(inbox), folder }
    }

    pub(crate) fn inbox(&self) -> PathBuf {
        self.folder.path().join("inbox")
    }

    pub(crate) fn watch(&self) -> CsvWatch {
        CsvWatch::new(self.feed.clone(), Arc::new(self.plan.clone())).unwrap()
    }

    /// Takes a full file with this content.
    pub(crate) async fn full(&self, text: impl AsRef<[u8]>) -> Report {
        self.load("staff.csv", text.as_ref(), Mode::Full).await
    }

    /// Takes a delta file with this content.
    pub(crate) async fn delta(&self, text: impl AsRef<[u8]>) -> Report {
        self.load("staff.delta.csv", text.as_ref(), Mode::Delta).await
    }

    async fn load(&self, name: &str, text: &[u8], mode: Mode) -> Report {
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        csv::load(&self.feed, &Arc::new(self.plan.clone()), &file, mode, &(Arc::new(|_, _| {}) as csv::Progress)).await.unwrap()
    }

    /// What was told so far, in order: kind, object, member.
    pub(crate) async fn told(&self) -> Vec<String> {
        let mut items = self.store.items(Filter::default(), None, 500).await.unwrap().items;
        items.reverse();
        let mut told = Vec::new();
        for item in items {
            let event = self.store.event(item.event).await.unwrap().unwrap();
            let data: Value = serde_json::from_slice(&event.data).unwrap();
            let name = |who: &str, word: &str| {
                let party = data.get(who)?;
                party.as_str().or_else(|| party.get("id")?.as_str()).map(|name| format!(" {word}{name}"))
            };
            let parts = [name("object", ""), name("member", ""), name("actor", "by ")];
            told.push(parts.into_iter().flatten().fold(event.kind, |line, part| line + &part));
        }
        told
    }

    /// What was told since `before` was all.
    pub(crate) async fn told_since(&self, before: &[String]) -> Vec<String> {
        self.told().await.split_off(before.len())
    }

    /// The members of a group by key, `?` before one that no object has.
    pub(crate) async fn members(&self, group: &str) -> Vec<String> {
        let Some(group) = self.store.object("hr", group).await.unwrap() else { return Vec::new() };
        let links = self.store.links(group.id, LinkRole::Member, None, 100).await.unwrap();
        let mut members: Vec<String> = links
            .into_iter()
            .map(|link| match link.other {
                Target::Known(object) => object.head.key,
                Target::Unknown(name) => format!("?{name}"),
            })
            .collect();
        members.sort();
        members
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.store.objects(Some("hr"), None, 1000).await.unwrap().objects.into_iter().map(|object| object.head.key).collect();
        keys.sort();
        keys
    }
}

fn a_plan(inbox: PathBuf) -> CsvPlan {
    CsvPlan {
        directory: "hr".into(),
        folder: Some(inbox),
        files: "*.csv".into(),
        delta_files: "*.delta.csv".into(),
        delimiter: b',',
        list_separator: ';',
        columns: vec![("department".into(), "Dept".into())],
        bad_rows: BadRows::Skip,
        most_vanishing_percent: 50,
        poll_every: Duration::from_millis(20),
        first_load_told: false,
        timezone: jiff::tz::TimeZone::UTC,
    }
}

pub(crate) fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
