//! A real outbox and a postman for tests.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};
use tidings_core::{
    Address, Clock, Id, Lane, Timestamp,
    guard::{EnvironmentGuard, Mode},
    outbox::{Item, Letter, Role, State},
};
use tidings_delivery::{
    Postman, PostmanOptions, Route,
    news::Newswire,
    plan::{BreakerPlan, RelayPlan, Way},
};
use tidings_store::{Acceptance, Filter, ItemRow, Membership, OpenOptions, SealKey, Store, Tenure};

/// The clock of the machine: leases and delays are real here.
pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

pub(crate) struct House {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    next: AtomicI64,
    _folder: tempfile::TempDir,
}

pub(crate) fn live() -> EnvironmentGuard {
    EnvironmentGuard::new(Mode::Live, None, None, vec![])
}

/// A relay that is probed fast.
pub(crate) fn relay(way: Way) -> RelayPlan {
    let fast = vec![Duration::from_millis(50), Duration::from_millis(100)];
    RelayPlan { breaker: BreakerPlan { delays: fast.clone(), slow_delays: fast }, ..RelayPlan::new("main", way) }
}

/// The membership of one of several nodes.
pub(crate) fn membership(name: &str) -> Membership {
    Membership { number: 1, name: name.to_owned(), lease: Some(Duration::from_secs(3600)), recovered: 0 }
}

impl House {
    pub(crate) async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let options = OpenOptions {
            url: "sqlite:tidings.db".to_owned(),
            data_dir: folder.path().to_owned(),
            key: SealKey::from_bytes([7; 32]),
            clock: Arc::clone(&clock),
            min_free_bytes: 0,
        };
        let store = tidings_store::open(options).await.unwrap();
        Self { store, clock, next: AtomicI64::new(1), _folder: folder }
    }

    /// Accepts one letter for each recipient; gives the items.
    pub(crate) async fn accept(&self, recipients: impl IntoIterator<Item = String>, lane: Lane) -> Vec<Id> {
        self.accept_by("main", recipients, lane).await
    }

    /// Accepts a letter with a secret.
    pub(crate) async fn accept_secret(&self, to: &str) -> Id {
        self.accept_letters("main", [to.to_owned()], Lane::Codes, true).await[0]
    }

    /// Likewise, by this relay.
    pub(crate) async fn accept_by(&self, relay: &str, recipients: impl IntoIterator<Item = String>, lane: Lane) -> Vec<Id> {
        self.accept_letters(relay, recipients, lane, false).await
    }

    async fn accept_letters(&self, relay: &str, recipients: impl IntoIterator<Item = String>, lane: Lane, sensitive: bool) -> Vec<Id> {
        let now = self.clock.now();
        let mut items = Vec::new();
        let mut batch = Vec::new();
        for to in recipients {
            let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let id = Id::from_number(number);
            let message_id = format!("{number}@house.example.org");
            let bytes = format!("Message-ID: <{message_id}>\r\nTo: {to}\r\nSubject: {number}\r\n\r\nhello\r\n.\r\n").into_bytes();
            let sender = Some(Address::parse("house@example.org").unwrap());
            let letter = Letter { id, kind: "object.changed", rule: "r".into(), message_id, sender, bytes, sensitive, pattern: None };
            let item = Item {
                id,
                letter: id,
                to: Address::parse(&to).unwrap(),
                role: Role::To,
                relay: relay.into(),
                lane,
                held: None,
                due_at: now,
                expires_at: tidings_core::time::later(now, Duration::from_secs(3600)),
            };
            items.push(id);
            batch.push(Acceptance {
                id,
                source: "test".into(),
                event_id: number.to_string(),
                kind: "object.changed",
                time: now,
                data: b"{}".to_vec(),
                secrets: None,
                trace: b"{}".to_vec(),
                trace_pattern: None,
                letters: vec![letter],
                items: vec![item],
                fan_outs: Vec::new(),
                guard: None,
                claimed_by: None,
            });
        }
        self.store.accept(batch).await.unwrap();
        items
    }

    pub(crate) async fn accept_many(&self, count: usize) -> Vec<Id> {
        self.accept((0..count).map(|n| format!("reader{n}@example.org")), Lane::Notices).await
    }

    pub(crate) fn postman(&self, relay: RelayPlan, guard: EnvironmentGuard) -> Postman {
        self.postman_with(vec![relay], guard, None)
    }

    pub(crate) fn postman_with(&self, relays: Vec<RelayPlan>, guard: EnvironmentGuard, file: Option<std::path::PathBuf>) -> Postman {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Postman::start(PostmanOptions {
            store,
            route: Route { relays, guard, file },
            clock,
            tenure: tidings_store::Tenure::alone("node"),
            seed: 42,
            news: Newswire::default(),
        })
    }

    /// The postman of one of several nodes that work on this outbox.
    pub(crate) fn node(&self, name: &str, relays: Vec<RelayPlan>) -> Postman {
        self.node_for(Tenure::of(&membership(name), std::time::Instant::now()), relays)
    }

    /// The same for somebody who ends its membership.
    pub(crate) fn node_for(&self, tenure: Arc<Tenure>, relays: Vec<RelayPlan>) -> Postman {
        Postman::start(PostmanOptions {
            store: Arc::clone(&self.store),
            route: Route { relays, guard: live(), file: None },
            clock: Arc::clone(&self.clock),
            tenure,
            seed: 42,
            news: Newswire::default(),
        })
    }

    /// A postman whose news are heard.
    pub(crate) fn postman_telling(&self, relay: RelayPlan, news: Newswire) -> Postman {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Postman::start(PostmanOptions {
            store,
            route: Route { relays: vec![relay], guard: live(), file: None },
            clock,
            tenure: tidings_store::Tenure::alone("node"),
            seed: 42,
            news,
        })
    }

    pub(crate) async fn row(&self, id: Id) -> ItemRow {
        self.store.item(id).await.unwrap().expect("the item is there").row
    }

    pub(crate) async fn count(&self, state: State) -> u64 {
        let depths = self.store.depths().await.unwrap();
        depths.iter().filter(|depth| depth.state == state).map(|depth| depth.items).sum()
    }

    /// How many items are in one of the final or open states, by paging through all of them.
    pub(crate) async fn rows(&self, state: State) -> Vec<ItemRow> {
        let (mut rows, mut before) = (Vec::new(), None);
        loop {
            let page = self.store.items(Filter { state: Some(state), ..Filter::default() }, before, 500).await.unwrap();
            rows.extend(page.items);
            match page.next {
                Some(next) => before = Some(next),
                None => return rows,
            }
        }
    }
}

/// Waits until `holds` says so; fails with `what` after 90 s.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 90 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
