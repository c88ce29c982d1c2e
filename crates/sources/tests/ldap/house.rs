//! What these tests stand on: a store in a folder of its own, an intake whose one rule tells everything to one reader, and sources that follow a slapd.

use crate::desk::desk;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidings_core::{
    Address, Clock, Timestamp,
    directory::LinkRole,
    policy::{Audience, Rule, TypePattern},
};
use tidings_intake::{Feed, Intake};
use tidings_sources::ldap::{Bind, LdapPlan, LdapSource, Mapping, Once, Password, Preset, Report, Server, Way};
use tidings_store::{DirectoryStanding, Filter, Mirror, OpenOptions, SealKey, SqliteStore, Store, Tuning};
use tidings_testkit::slapd::{self, Slapd};
use tokio::task::JoinHandle;

/// How long a test waits for something that is to happen. Generous: two busy cores, a debug build.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
pub(crate) const DIRECTORY: &str = "corp";

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a test is a binary of its own")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A house without a way out: what was told can be read in its outbox.
pub(crate) struct House {
    pub(crate) feed: Arc<Feed>,
    store: Arc<SqliteStore>,
    _folder: TempDir,
}

/// A source at work. Dropped, it ends as if its process had been killed.
pub(crate) struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An event as these tests look at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    /// The kind.
    pub(crate) kind: String,
    /// The name of the object.
    pub(crate) object: String,
    /// The name, or the reference, of the member.
    pub(crate) member: Option<String>,
    /// The name, or the reference, of who did it.
    pub(crate) actor: Option<String>,
    /// Whether it was found late.
    pub(crate) late: bool,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
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
        Self { feed: Arc::new(Feed::new(intake, mirror)), store, _folder: folder }
    }

    pub(crate) fn source(&self, plan: LdapPlan) -> LdapSource {
        LdapSource::new(DIRECTORY, plan, self.feed.clone()).unwrap()
    }

    /// Follows a directory until the value is dropped.
    pub(crate) fn follow(&self, plan: LdapPlan) -> Following {
        let source = self.source(plan);
        Following(tokio::spawn(async move {
            source.run().await;
        }))
    }

    /// Follows a directory, and comes back once its content is loaded.
    pub(crate) async fn load_and_follow(&self, plan: LdapPlan) -> Following {
        let following = self.follow(plan);
        self.until("the first load", async |standing| standing.loaded_at.is_some()).await;
        following
    }

    /// Reads a directory once.
    pub(crate) async fn once(&self, plan: LdapPlan) -> Report {
        self.source(plan).once(Once::default()).await.unwrap()
    }

    pub(crate) async fn standing(&self) -> DirectoryStanding {
        self.store.directory(DIRECTORY).await.unwrap()
    }

    /// Waits until the directory stands like this.
    pub(crate) async fn until(&self, what: &str, look: impl AsyncFn(&DirectoryStanding) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let standing = self.standing().await;
            if look(&standing).await {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {standing:?}, told {:#?}", self.told().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that was told so far, in order.
    pub(crate) async fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for (kind, data) in self.events().await {
            let name = |pointer: &str| {
                let party = data.pointer(pointer)?;
                party.as_str().or_else(|| party["name"].as_str()).map(str::to_owned)
            };
            told.push(Told {
                kind,
                object: name("/object").unwrap_or_default(),
                member: name("/member"),
                actor: name("/actor"),
                late: data.pointer("/details/found_late") == Some(&Value::Bool(true)),
            });
        }
        told
    }

    /// Every event so far with its data, in order.
    pub(crate) async fn events(&self) -> Vec<(String, Value)> {
        let (mut ids, mut before) = (Vec::new(), None);
        loop {
            let page = self.store.items(Filter::default(), before, 500).await.unwrap();
            ids.extend(page.items.iter().map(|item| item.event));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        ids.reverse();
        let mut events = Vec::new();
        for id in ids {
            let event = self.store.event(id).await.unwrap().unwrap();
            events.push((event.kind, serde_json::from_slice(&event.data).unwrap()));
        }
        events
    }

    /// Waits until so many events were told, and gives them; more than that are a failure.
    pub(crate) async fn told_exactly(&self, number: usize) -> Vec<Told> {
        self.until(&format!("{number} events"), async |_| self.told().await.len() >= number).await;
        let told = self.told().await;
        assert_eq!(told.len(), number, "{told:#?}");
        told
    }

    /// The names of a group's members as they are mirrored, in order.
    pub(crate) async fn members(&self, group: &str) -> Vec<String> {
        let groups = self.store.groups_named(Some(DIRECTORY), group).await.unwrap();
        let [group] = groups.as_slice() else { return Vec::new() };
        let links = self.store.links(group.id, LinkRole::Member, None, 1000).await.unwrap();
        let mut names: Vec<String> = links
            .into_iter()
            .map(|link| match link.other {
                tidings_store::Target::Known(object) => object.head.name.unwrap(),
                tidings_store::Target::Unknown(name) => format!("? {name}"),
            })
            .collect();
        names.sort_unstable();
        names
    }

    /// The names of all objects as they are mirrored, in order.
    pub(crate) async fn names(&self) -> Vec<String> {
        let page = self.store.objects(Some(DIRECTORY), None, 1000).await.unwrap();
        let mut names: Vec<String> = page.objects.into_iter().filter_map(|object| object.head.name).collect();
        names.sort_unstable();
        names
    }
}

/// A plan for servers on these ports of this machine, with short times.
pub(crate) fn plan_for(ports: &[u16], way: Way) -> LdapPlan {
    let servers = ports.iter().map(|port| Server::parse(&format!("ldap://127.0.0.1:{port}"), false).unwrap()).collect();
    let bind = Bind::Simple { dn: slapd::ADMIN.to_owned(), password: Password::new(slapd::PASSWORD) };
    let mut plan = LdapPlan::new(servers, bind, slapd::SUFFIX, Mapping::preset(Preset::OpenLdap));
    plan.way = way;
    plan.pauses = (Duration::from_millis(50), Duration::from_millis(200));
    plan.poll_every = Duration::from_millis(100);
    plan.deletions_every = Duration::from_millis(100);
    plan
}

pub(crate) fn plan(slapd: &Slapd, way: Way) -> LdapPlan {
    plan_for(&[slapd.port()], way)
}

/// What is told in these words: `KIND OBJECT [MEMBER]`.
pub(crate) fn words(told: &[Told]) -> Vec<String> {
    told.iter()
        .map(|one| {
            [Some(one.kind.as_str()), Some(one.object.as_str()), one.member.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// The same, sorted: for what is found in no order.
pub(crate) fn sorted_words(told: &[Told]) -> Vec<String> {
    let mut words = words(told);
    words.sort_unstable();
    words
}
