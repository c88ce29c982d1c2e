//! What [`crate::Store`]'s verbs about crowds and floods speak of: fan-outs, which tell a crowd in chunks, and the batches that the flood guard holds.

use crate::store::Acceptance;
use tidings_core::{
    Id, Timestamp,
    flood::FloodLimits,
    outbox::{Item, Letter},
};

/// A crowd that an event is to tell in chunks; written with the event.
#[derive(Debug, Clone)]
pub struct FanOutOrder {
    /// Its name.
    pub id: Id,
    /// The rule that tells it.
    pub rule: String,
    /// What the intake needs to go on, as JSON; the store does not look into it.
    pub plan: Vec<u8>,
    /// The event's data as it was decided on, if that differs from the event's own.
    pub data: Option<Vec<u8>>,
    /// The people, a chunk each, if the mirror is about to forget them.
    pub parts: Vec<Vec<u8>>,
}

/// A fan-out as it stands.
#[derive(Debug, Clone)]
pub struct FanOutRow {
    /// Its name.
    pub id: Id,
    /// The event it tells of.
    pub event: Id,
    /// The rule that tells.
    pub rule: String,
    /// The intake's plan.
    pub plan: Vec<u8>,
    /// The event's data as it was decided on, if that differs from the event's own.
    pub data: Option<Vec<u8>>,
    /// Where the next chunk begins; `None` at the beginning.
    pub cursor: Option<String>,
    /// Chunks done.
    pub steps: u64,
    /// People who got a letter by it.
    pub told: u64,
    /// People it looked at who got none.
    pub passed: u64,
    /// The next chunk's people, if they were written down.
    pub people: Option<Vec<u8>>,
    /// The batch that the guard holds its letters in.
    pub batch: Option<Id>,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
}

/// One chunk of a fan-out, done.
#[derive(Debug, Clone)]
pub struct FanOutStep {
    /// The fan-out.
    pub id: Id,
    /// Chunks done before it: if there are others by now, nothing is written.
    pub steps: u64,
    /// Where the next chunk begins.
    pub cursor: Option<String>,
    /// Whether it was the last.
    pub ended: bool,
    /// The letters; one for each item.
    pub letters: Vec<Letter>,
    /// The items. Who has one of this event and kind already gets no other.
    pub items: Vec<Item>,
    /// People of the chunk who get none.
    pub passed: u64,
    /// The guard's terms, and how many people the fan-out tells in all; given with the first chunk.
    pub guard: Option<(GuardTerms, u64)>,
}

/// What the flood guard looks at when letters are written.
#[derive(Debug, Clone, Copy)]
pub struct GuardTerms {
    /// The limits.
    pub limits: FloodLimits,
    /// The name of the batch, should one be opened.
    pub batch: Id,
}

/// Where a batch of the guard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Its letters are held.
    Held,
    /// They were let go.
    Released,
    /// Everybody got one letter in place of them.
    Digested,
    /// They were cancelled.
    Cancelled,
}

impl BatchState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Held, Self::Released, Self::Digested, Self::Cancelled];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
            Self::Digested => "digested",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A batch of the guard.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BatchRow {
    /// Its name.
    pub id: Id,
    /// What was too much: `event` or `rule_hour`.
    pub flood: String,
    /// The rule.
    pub rule: String,
    /// The event that was too much.
    pub event: Id,
    /// The limit.
    pub most: u64,
    /// Letters it holds or held.
    pub people: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Where it stands.
    pub state: BatchState,
    /// When it was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// Whether its alert is in the outbox.
    #[serde(skip)]
    pub alerted: bool,
}

/// An item of a batch, for a digest.
#[derive(Debug, Clone)]
pub struct BatchItem {
    /// The item.
    pub id: Id,
    /// Its place in the order by recipient.
    pub place: (i64, i64),
    /// To whom.
    pub to: String,
    /// The event that caused it.
    pub event: Id,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The letter's bytes; `None` if they are sealed or erased.
    pub bytes: Option<Vec<u8>>,
}

/// One letter for one person in place of those that a batch holds.
#[derive(Debug, Clone)]
pub struct Digest {
    /// The digest's event with its letter.
    pub acceptance: Acceptance,
    /// The items it stands for.
    pub items: Vec<Id>,
}
