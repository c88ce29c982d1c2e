//! A store that can be told to refuse outcomes, or to keep claims waiting; everything else goes to the real one.

use async_trait::async_trait;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidings_core::{Id, Timestamp, outbox::Settlement};
use tidings_store::{
    Acceptance, Accepted, Acted, Action, Arrivals, BatchItem, BatchRow, BatchState, Claim, Depth, Digest, EventRecord, EventSpan,
    FanOutRow, FanOutStep, Filter, ItemDetail, ItemRow, Lease, Page, RelayReport, RelayStanding, Settled, Slate, SlateWritten, Store,
    StoreError, TokenRecord,
};
use tokio::sync::watch;

pub(crate) struct Faulty {
    pub(crate) real: Arc<dyn Store>,
    pub(crate) refuses_outcomes: AtomicBool,
    /// While this says so, claims are on their way to the store.
    pub(crate) keeps_claims: watch::Sender<bool>,
    /// Claims that are on their way.
    pub(crate) claims_kept: AtomicUsize,
}

impl Faulty {
    /// In front of this store, and as obedient as it.
    pub(crate) fn before(real: &Arc<dyn Store>) -> Arc<Self> {
        let refuses_outcomes = AtomicBool::new(false);
        Arc::new(Self {
            real: Arc::clone(real),
            refuses_outcomes,
            keeps_claims: watch::Sender::new(false),
            claims_kept: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Store for Faulty {
    async fn accept(&self, batch: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        self.real.accept(batch).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        self.claims_kept.fetch_add(1, Ordering::AcqRel);
        let go = self.keeps_claims.subscribe().wait_for(|keeps| !keeps).await.map(|_| ());
        self.claims_kept.fetch_sub(1, Ordering::AcqRel);
        go.expect("it is told by itself");
        self.real.claim(claim).await
    }

    async fn extend(&self, node: &str, leases: &[(Id, i64)], lease: Duration) -> Result<Vec<Id>, StoreError> {
        self.real.extend(node, leases, lease).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        if self.refuses_outcomes.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("told to".to_owned()));
        }
        self.real.settle(settlements).await
    }

    async fn recover(&self, node: &str) -> Result<u64, StoreError> {
        self.real.recover(node).await
    }

    async fn expire(&self, limit: u32) -> Result<u64, StoreError> {
        self.real.expire(limit).await
    }

    async fn items(&self, filter: Filter, before: Option<Id>, limit: u16) -> Result<Page<ItemRow>, StoreError> {
        self.real.items(filter, before, limit).await
    }

    async fn item(&self, id: Id) -> Result<Option<ItemDetail>, StoreError> {
        self.real.item(id).await
    }

    async fn letter(&self, item: Id) -> Result<Option<Vec<u8>>, StoreError> {
        self.real.letter(item).await
    }

    async fn act(&self, action: Action, filter: Filter, by: &str) -> Result<Acted, StoreError> {
        self.real.act(action, filter, by).await
    }

    async fn event(&self, id: Id) -> Result<Option<EventRecord>, StoreError> {
        self.real.event(id).await
    }

    async fn events(&self, span: EventSpan, after: Option<Id>, limit: u16) -> Result<Vec<EventRecord>, StoreError> {
        self.real.events(span, after, limit).await
    }

    async fn depths(&self) -> Result<Vec<Depth>, StoreError> {
        self.real.depths().await
    }

    async fn relays(&self) -> Result<Vec<RelayStanding>, StoreError> {
        self.real.relays().await
    }

    async fn pause_relay(&self, name: &str, paused: bool, by: &str) -> Result<(), StoreError> {
        self.real.pause_relay(name, paused, by).await
    }

    async fn report_relay(&self, name: &str, report: RelayReport) -> Result<(), StoreError> {
        self.real.report_relay(name, report).await
    }

    async fn slate(&self, name: &str) -> Result<Slate, StoreError> {
        self.real.slate(name).await
    }

    async fn write_slate(&self, name: &str, expected: i64, text: &str) -> Result<SlateWritten, StoreError> {
        self.real.write_slate(name, expected, text).await
    }

    async fn forget_slates(&self, from: &str, below: &str) -> Result<u64, StoreError> {
        self.real.forget_slates(from, below).await
    }

    async fn event_named(&self, source: &str, event_id: &str) -> Result<Option<Id>, StoreError> {
        self.real.event_named(source, event_id).await
    }

    async fn rule_hour(&self, rule: &str, now: Timestamp) -> Result<(u64, Option<Id>), StoreError> {
        self.real.rule_hour(rule, now).await
    }

    async fn fan_outs(&self, event: Option<Id>, limit: u16) -> Result<Vec<FanOutRow>, StoreError> {
        self.real.fan_outs(event, limit).await
    }

    async fn fan_on(&self, step: FanOutStep) -> Result<Option<u64>, StoreError> {
        self.real.fan_on(step).await
    }

    async fn keep_people(&self, fan_out: Id, steps: u64, plan: Vec<u8>, parts: Vec<Vec<u8>>) -> Result<bool, StoreError> {
        self.real.keep_people(fan_out, steps, plan, parts).await
    }

    async fn batches(&self, state: Option<BatchState>, unalerted: bool, limit: u16) -> Result<Vec<BatchRow>, StoreError> {
        self.real.batches(state, unalerted, limit).await
    }

    async fn batch(&self, id: Id) -> Result<Option<BatchRow>, StoreError> {
        self.real.batch(id).await
    }

    async fn postpone(&self, items: Vec<Id>, due_at: Timestamp) -> Result<u64, StoreError> {
        self.real.postpone(items, due_at).await
    }

    async fn withhold(&self, items: Vec<Id>, why: &str) -> Result<u64, StoreError> {
        self.real.withhold(items, why).await
    }

    async fn batch_alerted(&self, id: Id) -> Result<(), StoreError> {
        self.real.batch_alerted(id).await
    }

    async fn batch_items(&self, id: Id, after: Option<(i64, i64)>, limit: u16) -> Result<Vec<BatchItem>, StoreError> {
        self.real.batch_items(id, after, limit).await
    }

    async fn end_batch(&self, id: Id, end: BatchState, by: &str) -> Result<Option<Acted>, StoreError> {
        self.real.end_batch(id, end, by).await
    }

    async fn digest(&self, batch: Id, digests: Vec<Digest>, by: &str) -> Result<Vec<Option<Accepted>>, StoreError> {
        self.real.digest(batch, digests, by).await
    }

    async fn broken_off(&self, limit: u16) -> Result<Vec<BatchRow>, StoreError> {
        self.real.broken_off(limit).await
    }

    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.real.add_token(token).await
    }

    async fn find_token(&self, digest: [u8; 32]) -> Result<Option<TokenRecord>, StoreError> {
        self.real.find_token(digest).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.real.tokens().await
    }

    async fn names(&self) -> Result<(Option<Id>, String), StoreError> {
        self.real.names().await
    }

    fn arrivals(&self) -> watch::Receiver<Arrivals> {
        self.real.arrivals()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.real.ready().await
    }
}
