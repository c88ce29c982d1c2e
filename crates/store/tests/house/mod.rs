//! What the tests of this room stand on: a database in a folder of its own, a clock that stands still, and acceptances that start valid.

#![allow(dead_code, reason = "two test programs share this, and neither uses all of it")]

pub(crate) mod dice;

use jiff::SignedDuration;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tidings_core::{
    Address, Clock, Id, IdMint, Lane, Timestamp,
    flood::FloodLimits,
    outbox::{Item, Letter, Pattern, Role, Settlement, State},
    testing::FixedClock,
    time::later,
};
use tidings_store::{
    Acceptance, Accepted, Claim, Database, FanOutOrder, Filter, GuardTerms, ItemDetail, Lease, OpenOptions, PostgresStore, PostgresTuning,
    SealKey, Settled, SqliteStore, Tuning,
};
use tidings_testkit::postgres::Postgres;

pub(crate) const LEASE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) store: Arc<dyn Database>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) mint: IdMint,
    pub(crate) folder: TempDir,
}

pub(crate) fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

pub(crate) fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

pub(crate) fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at("2026-11-21T09:00:00Z"))
}

pub(crate) fn options(folder: PathBuf, clock: Arc<dyn Clock>) -> OpenOptions {
    OpenOptions { url: "sqlite:tidings.db".to_owned(), data_dir: folder, key: SealKey::from_bytes([7; 32]), clock, min_free_bytes: 0 }
}

/// The database that others are copied from.
const TEMPLATE: &str = "house_template";

/// A server with a database that the others are copied from, so that the schema is made once.
pub(crate) async fn a_server() -> Arc<Postgres> {
    let server = tokio::task::spawn_blocking(|| {
        let server = Postgres::builder().start();
        server.create(TEMPLATE, None);
        server
    });
    let server = Arc::new(server.await.unwrap());
    let house = House::in_database(&server, TEMPLATE).await;
    drop(house);
    // Connections end a little after those who had them; a database that somebody is connected to is not copied.
    let others = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'");
    let watched = Arc::clone(&server);
    let alone =
        move || tidings_testkit::wait::until("the template to be left", LEASE, || (watched.sql("postgres", &others) == "0").then_some(()));
    tokio::task::spawn_blocking(alone).await.unwrap();
    server
}

impl House {
    /// On a database of its own.
    pub(crate) async fn on_postgres(server: &Arc<Postgres>, name: &str) -> Self {
        let (maker, database) = (Arc::clone(server), name.to_owned());
        tokio::task::spawn_blocking(move || maker.create(&database, Some(TEMPLATE))).await.unwrap();
        Self::in_database(server, name).await
    }

    /// On a database that is there, by a clock that stands still.
    pub(crate) async fn in_database(server: &Postgres, name: &str) -> Self {
        Self::node(server, name, 1, clock()).await
    }

    /// One of several nodes on a database that is there.
    pub(crate) async fn node(server: &Postgres, name: &str, number: u16, clock: Arc<FixedClock>) -> Self {
        let folder = TempDir::new().unwrap();
        let options = OpenOptions { url: server.url(name), ..options(folder.path().to_owned(), clock.clone()) };
        let store = PostgresStore::open(options, PostgresTuning { told_time: true, ..PostgresTuning::default() }).await.unwrap();
        Self { store, clock, mint: IdMint::starting_after(None, number), folder }
    }

    pub(crate) async fn on_sqlite() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), clock());
        let store = tidings_store::open(options(folder.path().to_owned(), clock.clone())).await.unwrap();
        Self { store, clock, mint: IdMint::starting_after(None, 1), folder }
    }

    /// The same on a disk that behaves as told.
    pub(crate) async fn on_disk(tuning: Tuning, min_free_bytes: u64) -> (Self, Arc<SqliteStore>) {
        let (folder, clock) = (TempDir::new().unwrap(), clock());
        let options = OpenOptions { min_free_bytes, ..options(folder.path().to_owned(), clock.clone()) };
        let store = SqliteStore::open(options, tuning).await.unwrap();
        (Self { store: store.clone(), clock, mint: IdMint::starting_after(None, 1), folder }, store)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn id(&self) -> Id {
        self.mint.mint(self.now())
    }

    /// An event that told Ada something; say only what matters.
    pub(crate) fn an_event(&self, event_id: &str) -> Draft<'_> {
        Draft {
            house: self,
            event_id: event_id.to_owned(),
            to: vec!["ada@example.org".to_owned()],
            relay: "main".to_owned(),
            lane: Lane::Notices,
            kind: "membership.joined",
            rule: "joined",
            text: b"Subject: You are in\r\n\r\nWelcome.\r\n".to_vec(),
            sensitive: false,
            pattern: None,
            secrets: None,
            held: None,
            guard: None,
            fan_outs: Vec::new(),
            claimed_by: None,
            due_in: SignedDuration::ZERO,
            lives_for: hours(24),
        }
    }

    /// What the flood guard goes by; 0 is no limit.
    pub(crate) fn terms(&self, per_event: u64, per_rule_hour: u64) -> GuardTerms {
        GuardTerms { limits: FloodLimits { per_event, per_rule_hour }, batch: self.id() }
    }

    /// Accepts one and gives its items.
    pub(crate) async fn accept(&self, draft: Draft<'_>) -> Vec<Id> {
        let acceptance = draft.build();
        let (id, items) = (acceptance.id, acceptance.items.iter().map(|item| item.id).collect());
        assert_eq!(self.store.accept(vec![acceptance]).await.unwrap(), [Accepted::New(id)]);
        items
    }

    /// Accepts one with one item.
    pub(crate) async fn accept_one(&self, draft: Draft<'_>) -> Id {
        let items = self.accept(draft).await;
        assert_eq!(items.len(), 1);
        items[0]
    }

    pub(crate) async fn claim(&self, limit: u16) -> Vec<Lease> {
        self.claim_as("node-a", limit).await
    }

    pub(crate) async fn claim_as(&self, node: &str, limit: u16) -> Vec<Lease> {
        self.store.claim(ask(node, limit)).await.unwrap()
    }

    pub(crate) async fn detail(&self, id: Id) -> ItemDetail {
        self.store.item(id).await.unwrap().expect("the item is there")
    }

    pub(crate) async fn state(&self, id: Id) -> State {
        self.detail(id).await.row.state
    }

    /// The steps of an item's history.
    pub(crate) async fn history(&self, id: Id) -> Vec<String> {
        self.detail(id).await.history.into_iter().map(|line| line.what).collect()
    }

    pub(crate) async fn settle(&self, settlement: Settlement) -> Settled {
        self.store.settle(vec![settlement]).await.unwrap()[0]
    }
}

pub(crate) fn ask(node: &str, limit: u16) -> Claim {
    Claim::new(node, "main", limit, LEASE)
}

pub(crate) fn only(id: Id) -> Filter {
    Filter { id: Some(id), ..Filter::default() }
}

pub(crate) fn ids(leases: &[Lease]) -> Vec<Id> {
    leases.iter().map(|lease| lease.id).collect()
}

/// How a lease comes to stand.
pub(crate) fn outcome(lease: &Lease, state: State, now: Timestamp) -> Settlement {
    let (what, reply) = match state {
        State::Sent => ("sent", "250 2.0.0 queued"),
        State::Failed => ("refused", "rcpt: 550 5.1.1 no such user"),
        State::Held => ("withheld", "not in the allowed domains"),
        _ => ("refused", "rcpt: 450 4.2.1 mailbox busy"),
    };
    Settlement {
        id: lease.id,
        token: lease.token,
        state,
        due_at: now,
        attempts: lease.attempts + 1,
        maybe_duplicate: lease.maybe_duplicate,
        at: now,
        what,
        reply: reply.to_owned(),
        relay: None,
    }
}

/// An acceptance in the making.
pub(crate) struct Draft<'a> {
    house: &'a House,
    event_id: String,
    to: Vec<String>,
    relay: String,
    lane: Lane,
    kind: &'static str,
    rule: &'static str,
    text: Vec<u8>,
    sensitive: bool,
    pattern: Option<Arc<Pattern>>,
    secrets: Option<Vec<u8>>,
    held: Option<String>,
    guard: Option<GuardTerms>,
    fan_outs: Vec<FanOutOrder>,
    claimed_by: Option<String>,
    due_in: SignedDuration,
    lives_for: SignedDuration,
}

impl Draft<'_> {
    pub(crate) fn to(mut self, to: &[&str]) -> Self {
        self.to = to.iter().map(|&to| to.to_owned()).collect();
        self
    }

    pub(crate) fn by(mut self, relay: &str) -> Self {
        relay.clone_into(&mut self.relay);
        self
    }

    pub(crate) fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn rule(mut self, rule: &'static str) -> Self {
        self.rule = rule;
        self
    }

    /// The flood guard looks at it by these limits; 0 is none.
    pub(crate) fn guard(mut self, per_event: u64, per_rule_hour: u64) -> Self {
        self.guard = Some(self.house.terms(per_event, per_rule_hour));
        self
    }

    /// It tells a crowd as well.
    pub(crate) fn crowd(mut self, order: FanOutOrder) -> Self {
        self.fan_outs.push(order);
        self
    }

    /// The letter is written after this.
    pub(crate) fn after(mut self, pattern: &Arc<Pattern>) -> Self {
        self.pattern = Some(Arc::clone(pattern));
        self
    }

    pub(crate) fn text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.text = text.into();
        self
    }

    pub(crate) fn secret(mut self, text: &str) -> Self {
        self.sensitive = true;
        self.secrets = Some(format!("{{\"/details/password\":\"{text}\"}}").into_bytes());
        self.text = format!("Subject: Your password\r\n\r\n{text}\r\n").into_bytes();
        self
    }

    pub(crate) fn held(mut self, reason: &str) -> Self {
        self.held = Some(reason.to_owned());
        self
    }

    pub(crate) fn claimed_by(mut self, node: &str) -> Self {
        self.claimed_by = Some(node.to_owned());
        self
    }

    pub(crate) fn due_in(mut self, delay: SignedDuration) -> Self {
        self.due_in = delay;
        self
    }

    pub(crate) fn lives_for(mut self, life_time: SignedDuration) -> Self {
        self.lives_for = life_time;
        self
    }

    /// One letter; the first recipient stands in To, the others get a copy.
    pub(crate) fn build(self) -> Acceptance {
        let (house, now) = (self.house, self.house.now());
        let letter_id = house.id();
        let mut letters = Vec::new();
        let mut items = Vec::new();
        for (index, to) in self.to.iter().enumerate() {
            items.push(Item {
                id: if index == 0 { letter_id } else { house.id() },
                letter: letter_id,
                to: Address::parse(to).unwrap(),
                role: if index == 0 { Role::To } else { Role::Cc },
                relay: self.relay.clone(),
                lane: self.lane,
                held: self.held.clone(),
                due_at: now.checked_add(self.due_in).unwrap(),
                expires_at: now.checked_add(self.lives_for).unwrap(),
            });
        }
        if !items.is_empty() {
            letters.push(Letter {
                id: letter_id,
                kind: self.kind,
                rule: self.rule.to_owned(),
                message_id: format!("{letter_id}@tidings.example.org"),
                sender: Some(Address::parse("no-reply@example.org").unwrap()),
                bytes: self.text,
                sensitive: self.sensitive,
                pattern: self.pattern,
            });
        }
        Acceptance {
            id: house.id(),
            source: "hr".to_owned(),
            event_id: self.event_id,
            kind: self.kind,
            time: now,
            data: br#"{"object":{"id":"g7"}}"#.to_vec(),
            secrets: self.secrets,
            trace: br#"[{"rule":"joined"}]"#.to_vec(),
            trace_pattern: None,
            letters,
            items,
            fan_outs: self.fan_outs,
            guard: self.guard,
            claimed_by: self.claimed_by,
        }
    }
}

/// The end of a lease taken now.
pub(crate) fn lease_end(now: Timestamp) -> Timestamp {
    later(now, LEASE)
}
