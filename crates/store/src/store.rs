//! The contract between the house and its database. One verb is one transaction; what a verb has answered is on disk.
//!
//! Written for two databases: nothing in here speaks of SQLite. Times of leases are the database's; a caller never passes "now" for them.

use crate::{
    error::StoreError,
    flood::{BatchItem, BatchRow, BatchState, Digest, FanOutOrder, FanOutRow, FanOutStep, GuardTerms},
    slate::{Slate, SlateWritten},
};
use async_trait::async_trait;
use std::{fmt, sync::Arc, time::Duration};
use tidings_core::{
    Address, Id, Lane, Timestamp,
    lane::LaneSet,
    outbox::{Item, Letter, Pattern, Role, Settlement, State},
};
use tokio::sync::watch;

/// An event with everything it caused, accepted as one. `Debug` shows names and sizes, never its data or secrets.
#[derive(Clone)]
pub struct Acceptance {
    /// The name this house gives the event.
    pub id: Id,
    /// The CloudEvent's source.
    pub source: String,
    /// The CloudEvent's id; unique together with `source`.
    pub event_id: String,
    /// Its type without prefix.
    pub kind: &'static str,
    /// When it happened.
    pub time: Timestamp,
    /// Its data as JSON, secrets already masked.
    pub data: Vec<u8>,
    /// The secret values of its data as JSON (`{"/details/password": "…"}`): encrypted at rest, erased once every item of the event is settled.
    /// Not kept at all if the event caused no item.
    pub secrets: Option<Vec<u8>>,
    /// The decision trace as JSON.
    pub trace: Vec<u8>,
    /// What traces of this kind have in common, if that is known: a store may keep the trace as what differs from it.
    pub trace_pattern: Option<Arc<Pattern>>,
    /// The letters it caused.
    pub letters: Vec<Letter>,
    /// One item per letter and recipient.
    pub items: Vec<Item>,
    /// The crowds it tells in chunks.
    pub fan_outs: Vec<FanOutOrder>,
    /// What the flood guard goes by; `None` if nothing of it is to be held.
    pub guard: Option<GuardTerms>,
    /// Items that are born claimed by this node (a test letter that its sender delivers at once), until the lease lapses.
    pub claimed_by: Option<String>,
}

impl fmt::Debug for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, kind, letters, items) = (self.id, self.kind, self.letters.len(), self.items.len());
        write!(f, "Acceptance({id}, {kind}, {} bytes of data, {letters} letters, {items} items)", self.data.len())
    }
}

/// What became of one acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk under its id.
    New(Id),
    /// The same source and id had been accepted before, under this id; nothing changed.
    Duplicate(Id),
}

/// Asks for due items.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who asks. A node that restarts under its old name gets its old leases back by [`Store::recover`].
    pub node: String,
    /// Items of which relay.
    pub relay: String,
    /// The relay that takes them over because their own is held: letters of sensitive kinds are left for their own relay, and each history says who took over.
    pub taken_over_by: Option<String>,
    /// Items of which lanes.
    pub lanes: LaneSet,
    /// At most this many.
    pub limit: u16,
    /// So many of them go to the lower lane whose first item has been due longest, once the rest has gone to the highest lanes: no lane starves. At most `limit`.
    pub share: u16,
    /// At most about this many bytes of letters together; at least one item is given if any is due.
    pub max_bytes: usize,
    /// How long the lease lasts.
    pub lease: Duration,
}

impl Claim {
    /// Asks for items of a relay of all lanes, without a share for lower ones, whatever their size.
    pub fn new(node: impl Into<String>, relay: impl Into<String>, limit: u16, lease: Duration) -> Self {
        let (node, relay) = (node.into(), relay.into());
        Self { node, relay, taken_over_by: None, lanes: LaneSet::ALL, limit, share: 0, max_bytes: usize::MAX, lease }
    }
}

/// What has become due in this process so far, counted by lane. A hint, never the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrivals([u64; Lane::ALL.len()]);

impl Arrivals {
    /// Counts one more in each of these lanes.
    pub fn count(&mut self, lanes: LaneSet) {
        for lane in lanes.iter() {
            self.0[lane as usize] = self.0[lane as usize].wrapping_add(1);
        }
    }

    /// The lanes in which something came since `earlier`.
    pub fn since(self, earlier: Self) -> LaneSet {
        let mut lanes = LaneSet::NONE;
        for lane in Lane::ALL.into_iter().filter(|lane| self.0[*lane as usize] != earlier.0[*lane as usize]) {
            lanes.add(lane);
        }
        lanes
    }
}

/// An item leased to a node, with everything needed to deliver and settle it. `Debug` shows the letter's size, never its bytes.
#[derive(Clone)]
pub struct Lease {
    /// The item.
    pub id: Id,
    /// The fencing token: settling needs it.
    pub token: i64,
    /// The event that caused it.
    pub event: Id,
    /// What the letter is about.
    pub kind: String,
    /// The envelope recipient, before the environment guard.
    pub to: Address,
    /// To or Cc.
    pub role: Role,
    /// Its lane.
    pub lane: Lane,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Attempts spent before this one.
    pub attempts: u32,
    /// Whether an earlier attempt may have reached the reader.
    pub maybe_duplicate: bool,
    /// The letter's Message-ID, without angle brackets.
    pub message_id: String,
    /// The envelope sender; `None` is the null sender.
    pub sender: Option<Address>,
    /// The letter's bytes, decrypted.
    pub bytes: std::sync::Arc<[u8]>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, token, kind) = (self.id, self.token, &self.kind);
        write!(f, "Lease({id}, token {token}, {kind}, {}, {}, {} bytes)", self.lane, self.to.masked(), self.bytes.len())
    }
}

/// What became of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Written.
    Done,
    /// The lease was no longer the caller's: nothing was written.
    Stale,
}

/// Which items a listing or an action is about. Every field that is set must fit.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exactly this item.
    pub id: Option<Id>,
    /// In this state.
    pub state: Option<State>,
    /// Of this kind.
    pub kind: Option<String>,
    /// To this address (compared without regard to case).
    pub to: Option<String>,
    /// By this relay.
    pub relay: Option<String>,
    /// Caused by this event.
    pub event: Option<Id>,
}

/// An item as it is listed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ItemRow {
    /// Its name.
    pub id: Id,
    /// The event that caused it.
    pub event: Id,
    /// What the letter is about.
    pub kind: String,
    /// The rule that led to it.
    pub rule: String,
    /// The envelope recipient.
    pub to: String,
    /// `to` or `cc`.
    pub role: &'static str,
    /// The relay it goes by.
    pub relay: String,
    /// Its lane.
    pub lane: Lane,
    /// Where it stands.
    pub state: State,
    /// When it is due, if it waits; for a claimed item the end of its lease.
    pub due_at: Timestamp,
    /// When its life time is over.
    pub expires_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Attempts spent.
    pub attempts: u32,
    /// The letter's Message-ID.
    pub message_id: String,
    /// Whether the reader may get it, or have got it, twice.
    pub maybe_duplicate: bool,
    /// The relay's last words, or ours.
    pub last_reply: Option<String>,
}

/// One line of an item's history.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HistoryLine {
    /// When.
    pub at: Timestamp,
    /// What: `accepted`, `sent`, `refused`, `unknown`, `returned`, `withheld`, `barred`, `lapsed`, `expired`, `taken` (by the relay that takes over), `clock`
    /// (the clock was set back: its times were moved), `retry`, `cancel`, `hold`, `release`; by reports: `bounced`, `delayed`, `relayed`, `delivered`, `complaint`.
    pub what: String,
    /// Who, for an operator's action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The relay's words, or the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// After an attempt that was not the last: when the next one was then due. An item is cleared from what is to be sent only by `sent`, or by an end for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
}

/// An item with its history.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ItemDetail {
    /// The item.
    #[serde(flatten)]
    pub row: ItemRow,
    /// Every attempt and every operator's action, oldest first.
    pub history: Vec<HistoryLine>,
}

/// A page of a listing.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Id>,
}

/// What an operator does to items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Due at once. Waiting items only lose their delay; held, failed and cancelled ones are taken up again if their letter is still there.
    Retry,
    /// Never sent. Waiting and held items.
    Cancel,
    /// Set aside. Waiting items.
    Hold,
    /// Let go. Held items.
    Release,
}

impl Action {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release => "release",
        }
    }
}

/// What an action came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Acted {
    /// Items changed.
    pub changed: u64,
    /// Items that fit the filter but stand in a state (or have lost their letter) that does not allow the action.
    pub skipped: u64,
}

/// An event as it was accepted.
#[derive(Debug, Clone)]
pub struct EventRecord {
    /// Its name here.
    pub id: Id,
    /// The CloudEvent's source.
    pub source: String,
    /// The CloudEvent's id.
    pub event_id: String,
    /// Its type without prefix.
    pub kind: String,
    /// When it happened.
    pub time: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its data as JSON, secrets masked.
    pub data: Vec<u8>,
    /// The decision trace as JSON.
    pub trace: Vec<u8>,
}

/// Events that were accepted within a span of time.
#[derive(Debug, Clone)]
pub struct EventSpan {
    /// Accepted at this moment or later.
    pub since: Timestamp,
    /// Accepted before this moment.
    pub until: Timestamp,
    /// Of one of these kinds (types without prefix); of any kind if empty.
    pub kinds: Vec<String>,
}

/// How many items stand in a state, by relay and lane, and how old the oldest is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Depth {
    /// The relay.
    pub relay: String,
    /// The lane.
    pub lane: Lane,
    /// `Held`, `Waiting` or `Claimed`: the states in which items still have a way to go.
    pub state: State,
    /// How many.
    pub items: u64,
    /// When the oldest of them was accepted.
    pub oldest: Timestamp,
}

/// What is known of a relay across processes: an operator's pause, and what the delivering node last said of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RelayStanding {
    /// Its name.
    pub name: String,
    /// Set while an operator has paused it: since when.
    pub paused_at: Option<Timestamp>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// What the delivering node says: `open`, `held`, `ramping`; absent if none has spoken yet.
    pub condition: Option<String>,
    /// Why it is held, in words for an administrator.
    pub reason: Option<String>,
    /// When the next probe is due, if it is held.
    pub next_probe_at: Option<Timestamp>,
    /// When this was said.
    pub reported_at: Option<Timestamp>,
}

/// What a delivering node says of a relay.
#[derive(Debug, Clone)]
pub struct RelayReport {
    /// `open`, `held` or `ramping`.
    pub condition: &'static str,
    /// Why it is held.
    pub reason: Option<String>,
    /// When the next probe is due.
    pub next_probe_at: Option<Timestamp>,
}

/// A bearer token as the store keeps it: only its digest.
#[derive(Debug, Clone)]
pub struct TokenRecord {
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What its owner calls it.
    pub name: String,
    /// The written names of its scopes.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// The database of the house.
///
/// Should the clock be set back, open items that were accepted while it was ahead do not wait until it is there again: their times move back with it, a line
/// `clock` in each history says so, and nothing else about them changes. Leases last as long as they were given for.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes events with their letters and items: all of `batch` or nothing, in one transaction that other callers may share.
    ///
    /// An event whose source and id are known already changes nothing and is answered as a duplicate; so is the second of two in one batch.
    ///
    /// # Errors
    /// [`StoreError::Full`] if the disk is nearly full, [`StoreError::Unavailable`] if it cannot be written; nothing is accepted then.
    async fn accept(&self, batch: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError>;

    /// Leases due items of a relay to a node: higher lanes first, within a lane the longest due first, and the claim's share to a lower lane.
    ///
    /// A leased item is hidden from other nodes; when its lease lapses it is due again and marked "may be a duplicate", so a node that dies delays its items
    /// and loses none. Items whose life time is over are not given out.
    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError>;

    /// Prolongs leases still held by the node. Gives the items whose lease is lost.
    async fn extend(&self, node: &str, leases: &[(Id, i64)], lease: Duration) -> Result<Vec<Id>, StoreError>;

    /// Writes outcomes; checks each token, so that a late node cannot overwrite what its successor did. Secrets of letters and events that are settled for good
    /// are erased in the same transaction. Callers share commits.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError>;

    /// Takes back every lease of a node that starts anew under its name: the items wait again, marked "may be a duplicate". Gives their number.
    async fn recover(&self, node: &str) -> Result<u64, StoreError>;

    /// Moves waiting and held items whose life time is over to `Expired`, at most `limit`; gives their number.
    async fn expire(&self, limit: u32) -> Result<u64, StoreError>;

    /// Items that fit, newest first, from `before` (exclusive) on.
    async fn items(&self, filter: Filter, before: Option<Id>, limit: u16) -> Result<Page<ItemRow>, StoreError>;

    /// One item with its history.
    async fn item(&self, id: Id) -> Result<Option<ItemDetail>, StoreError>;

    /// The bytes of an item's letter, for an operator; `None` if there is no such item or its letter has been erased. Never given for sensitive letters.
    async fn letter(&self, item: Id) -> Result<Option<Vec<u8>>, StoreError>;

    /// Does something to every item that fits, and notes in each history who did.
    async fn act(&self, action: Action, filter: Filter, by: &str) -> Result<Acted, StoreError>;

    /// Lets items wait on: those that wait and are due earlier are due at this moment, one that lies ahead. How many; whatever is claimed, held or has ended stays as it is. Nothing is noted in
    /// their histories: nothing has happened to them yet.
    async fn postpone(&self, items: Vec<Id>, due_at: Timestamp) -> Result<u64, StoreError>;

    /// Holds items that wait, and says why in their histories; how many. Whatever is claimed, held or has ended stays as it is.
    async fn withhold(&self, items: Vec<Id>, why: &str) -> Result<u64, StoreError>;

    /// An event by the name this house gave it.
    async fn event(&self, id: Id) -> Result<Option<EventRecord>, StoreError>;

    /// Events of a span in the order of their ids, which is that of their acceptance, from behind `after` on: at most `limit` (at least one is asked for), and
    /// fewer if their data and traces together come to more than about 8 MiB, but one at least if there is one. None means that there are no more.
    ///
    /// Whoever goes on behind the last one sees every event of the span once, also while others are accepted, as long as `until` does not lie in the future.
    /// The span speaks of the moment of acceptance, not of when it happened. Ids bound it from below alone ([`Id::first_of`]): after the clock was set back they
    /// go on above their highest, so that an event's `accepted_at` may lie before that of one with a lower id. Reads only, and without holding up a writer.
    async fn events(&self, span: EventSpan, after: Option<Id>, limit: u16) -> Result<Vec<EventRecord>, StoreError>;

    /// How much stands in the outbox.
    async fn depths(&self) -> Result<Vec<Depth>, StoreError>;

    /// What is known of relays.
    async fn relays(&self) -> Result<Vec<RelayStanding>, StoreError>;

    /// Pauses a relay or lets it go on.
    async fn pause_relay(&self, name: &str, paused: bool, by: &str) -> Result<(), StoreError>;

    /// Notes what a delivering node says of a relay.
    async fn report_relay(&self, name: &str, report: RelayReport) -> Result<(), StoreError>;

    /// What stands on the slate of this name.
    async fn slate(&self, name: &str) -> Result<Slate, StoreError>;

    /// Writes a slate whose version is still the one that was read; 0 writes one that was never written.
    async fn write_slate(&self, name: &str, expected: i64, text: &str) -> Result<SlateWritten, StoreError>;

    /// Forgets the slates whose names, compared byte by byte, are at least `from` and below `below`; how many. Their names can be written anew then.
    async fn forget_slates(&self, from: &str, below: &str) -> Result<u64, StoreError>;

    /// The event of this source and id, if it was accepted before.
    async fn event_named(&self, source: &str, event_id: &str) -> Result<Option<Id>, StoreError>;

    /// How many people a rule has mailed within the hour, as the guard counts, and the batch that whatever it tells now goes into.
    async fn rule_hour(&self, rule: &str, now: Timestamp) -> Result<(u64, Option<Id>), StoreError>;

    /// The fan-outs of an event, or else those that are not at their end, oldest first, at most `limit`.
    async fn fan_outs(&self, event: Option<Id>, limit: u16) -> Result<Vec<FanOutRow>, StoreError>;

    /// Writes one chunk of a fan-out: letters, items, and where the next one begins. Gives how many got a letter, or `None` if another chunk has been written
    /// meanwhile: nothing is written then.
    async fn fan_on(&self, step: FanOutStep) -> Result<Option<u64>, StoreError>;

    /// Writes down the people a fan-out has still to look at, because the mirror is about to forget them, and the plan with their
    /// number; from now on it goes by these. Gives false if another
    /// chunk has been written meanwhile: nothing is written then.
    async fn keep_people(&self, fan_out: Id, steps: u64, plan: Vec<u8>, parts: Vec<Vec<u8>>) -> Result<bool, StoreError>;

    /// The guard's batches, newest first, of one state if one is given; or those whose alert is not in the outbox.
    async fn batches(&self, state: Option<BatchState>, unalerted: bool, limit: u16) -> Result<Vec<BatchRow>, StoreError>;

    /// A batch of the guard.
    async fn batch(&self, id: Id) -> Result<Option<BatchRow>, StoreError>;

    /// Notes that a batch's alert is in the outbox. If a rule told too much: whatever it told while the batch was opened and has not left the house is held in it by then.
    async fn batch_alerted(&self, id: Id) -> Result<(), StoreError>;

    /// Items of a batch that are still held, by recipient, from a place (exclusive) on.
    async fn batch_items(&self, id: Id, after: Option<(i64, i64)>, limit: u16) -> Result<Vec<BatchItem>, StoreError>;

    /// Writes digests of a batch. Each is accepted in the transaction that cancels the items it stands for: an item is in a digest, or stays. One whose items are not all
    /// held in the batch any more is not written (`None`), nor is any once the batch has ended.
    async fn digest(&self, batch: Id, digests: Vec<Digest>, by: &str) -> Result<Vec<Option<Accepted>>, StoreError>;

    /// Ends a batch: its items are let go (`Released`) or cancelled (`Cancelled`). It is `Digested` once it holds nothing any more and no crowd is told into it; until
    /// then nothing changes, and `skipped` says how much stands in the way. Done again it finishes what was broken off. Gives `None` if there is no such batch or it was
    /// ended in another way.
    async fn end_batch(&self, id: Id, end: BatchState, by: &str) -> Result<Option<Acted>, StoreError>;

    /// Batches that were ended by somebody who was broken off before all of their items had gone that way, oldest first.
    async fn broken_off(&self, limit: u16) -> Result<Vec<BatchRow>, StoreError>;

    /// Keeps a token.
    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError>;

    /// Finds a token by its digest.
    async fn find_token(&self, digest: [u8; 32]) -> Result<Option<TokenRecord>, StoreError>;

    /// Every token, whether or not it has ended, by its name.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;

    /// The highest id in use, for starting a mint above it, and the number of this installation, for Message-IDs.
    async fn names(&self) -> Result<(Option<Id>, String), StoreError>;

    /// Counts up, by lane, whenever something may have become due in this process (an acceptance, an action), so that a deliverer need not poll fast. A hint,
    /// never the truth.
    fn arrivals(&self) -> watch::Receiver<Arrivals>;

    /// Whether the database can be written: the readiness check.
    async fn ready(&self) -> Result<(), StoreError>;
}
