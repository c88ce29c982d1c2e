//! Accepting: read every event of a request, decide, write the letters, record all of it in one transaction.

use crate::{
    Desk, IntakeError,
    crowd::Gatherer,
    desk::{Names, not_written, readers},
    facts::{Origin, decided_knowing},
    known::Known,
    secrets,
};
use jiff::civil::Date;
use serde_json::Value;
use std::{
    borrow::Cow,
    sync::{Arc, PoisonError, RwLock},
};
use tidings_core::{
    Event, Id, IdMint, Kind, Timestamp,
    event::{Fault, lookup},
    notice::Notice,
    outbox::{Item, Letter},
    policy::Unwell,
    time::later,
    trace::Trace,
};
use tidings_store::{Acceptance, Accepted, Database, Mirror, Store};
use tokio::sync::{Notify, Semaphore};

/// The door. Cheap to share: everything in it is read only, but for the mint.
pub struct Intake {
    pub(crate) store: Arc<dyn Store>,
    desk: RwLock<Arc<Desk>>,
    pub(crate) gatherer: Option<Gatherer>,
    pub(crate) mint: IdMint,
    installation: String,
    /// Rung when there may be a crowd to tell.
    pub(crate) bell: Notify,
    /// Permits for long requests: more of them at once than there are processors would only take memory.
    long: Semaphore,
}

/// What became of a request's events.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Receipt {
    /// Events that are new.
    pub accepted: u64,
    /// Events that were known already.
    pub duplicates: u64,
    /// The name of each event here, in the request's order; a duplicate's is that of the first.
    pub ids: Vec<Id>,
}

/// An event whose letters its caller delivers itself.
#[derive(Debug)]
pub struct Claimed {
    /// The event's name here.
    pub event: Id,
    /// The items, leased to the caller with token 1.
    pub items: Vec<Item>,
    /// Their letters.
    pub letters: Vec<Letter>,
    /// How it came to them.
    pub trace: Trace,
}

/// Between so many events of one request the thread is offered to others.
const EVENTS_BETWEEN_YIELDS: usize = 32;

impl Intake {
    /// Opens the door: asks the store for the highest id, so that new ones lie above.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn open(store: Arc<dyn Store>, desk: Desk) -> Result<Self, IntakeError> {
        let (highest, installation) = store.names().await?;
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (mint, long) = (IdMint::starting_after(highest, 0), Semaphore::new(processors));
        Ok(Self { store, desk: RwLock::new(Arc::new(desk)), gatherer: None, mint, installation, bell: Notify::new(), long })
    }

    /// The same door with a mirror behind it: references are resolved, people completed, and crowds found.
    #[must_use]
    pub fn with_mirror(mut self, mirror: Arc<dyn Mirror>) -> Self {
        self.gatherer = Some(Gatherer::new(mirror));
        self
    }

    /// The same door with a database behind it: as with its mirror, and letters to addresses that letters come back from are held or given to somebody else.
    #[must_use]
    pub fn with_database(mut self, database: Arc<dyn Database>) -> Self {
        self.gatherer = Some(Gatherer::knowing(database.clone(), database));
        self
    }

    /// Names what it accepts from now on by this node's number; no two processes at work on a database have the same. Names go on above those that were given.
    pub fn renumber(&self, node: u16) {
        self.mint.renumber(node);
    }

    /// Accepts CloudEvents in their JSON form: all of them or none.
    ///
    /// `batch` says whether the pointers of faults count the events (`/3/type`) or not (`/type`).
    ///
    /// # Errors
    /// [`IntakeError::Faulty`] with everything that is wrong; [`IntakeError::Store`] if it cannot be recorded now.
    pub async fn accept(&self, events: Vec<Value>, batch: bool) -> Result<Receipt, IntakeError> {
        let now = self.desk().parts.clock.now();
        let mut acceptances = Vec::with_capacity(events.len());
        let mut faults: Vec<Fault> = Vec::new();
        let permit = if events.len() > EVENTS_BETWEEN_YIELDS { self.long.acquire().await.ok() } else { None };
        let mut events = events.into_iter().enumerate();
        loop {
            let mut some = Vec::with_capacity(events.len().min(EVENTS_BETWEEN_YIELDS));
            for (index, value) in events.by_ref().take(EVENTS_BETWEEN_YIELDS) {
                let at = if batch { format!("/{index}") } else { String::new() };
                match Event::read(value, &at, now) {
                    Ok(event) => some.push(event),
                    Err(found) => faults.extend(found),
                }
            }
            if faults.is_empty() {
                self.prepare_all(&some, now, &mut acceptances).await?;
            }
            if events.len() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(permit);
        if !faults.is_empty() {
            return Err(IntakeError::Faulty(faults));
        }
        self.record(acceptances).await
    }

    /// Accepts one event whose letters go by `relay`, whatever the rules say: the way of news about relays.
    ///
    /// # Errors
    /// As [`Intake::accept`].
    pub async fn accept_by(&self, event: Value, relay: &str) -> Result<Receipt, IntakeError> {
        let now = self.desk().parts.clock.now();
        let event = Event::read(event, "", now).map_err(IntakeError::Faulty)?;
        let (acceptance, _) = self.prepare(&event, now, Some(relay), Origin::Posted).await?;
        self.record(vec![acceptance]).await
    }

    /// Accepts one event whose letters go by `relay` and are claimed at once by `node`, which delivers them itself: the test letter's way.
    ///
    /// # Errors
    /// As [`Intake::accept`].
    pub async fn accept_claimed(&self, event: Value, relay: Option<&str>, node: &str) -> Result<Claimed, IntakeError> {
        let now = self.desk().parts.clock.now();
        let event = Event::read(event, "", now).map_err(IntakeError::Faulty)?;
        let (mut acceptance, trace) = self.prepare(&event, now, relay, Origin::Posted).await?;
        acceptance.claimed_by = Some(node.to_owned());
        let claimed = Claimed { event: acceptance.id, items: acceptance.items.clone(), letters: acceptance.letters.clone(), trace };
        self.record(vec![acceptance]).await?;
        Ok(claimed)
    }

    /// Decides and writes by another desk from now on; what is being decided at this moment is finished by the one before.
    pub fn refit(&self, desk: Desk) {
        *self.desk.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(desk);
    }

    pub(crate) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time, as the desk has it.
    pub(crate) fn now(&self) -> Timestamp {
        self.desk().parts.clock.now()
    }

    /// A name that nothing in this house has borne.
    pub(crate) fn mint(&self) -> Id {
        self.mint.mint(self.now())
    }

    pub(crate) async fn record(&self, acceptances: Vec<Acceptance>) -> Result<Receipt, IntakeError> {
        let kinds: Vec<(&'static str, usize)> = acceptances.iter().map(|a| (a.kind, a.items.len())).collect();
        let crowds = acceptances.iter().any(|acceptance| !acceptance.fan_outs.is_empty() || acceptance.guard.is_some());
        let outcome = self.store.accept(acceptances).await?;
        if crowds {
            self.bell.notify_one();
        }
        let mut receipt = Receipt { accepted: 0, duplicates: 0, ids: Vec::with_capacity(outcome.len()) };
        for (accepted, (kind, items)) in outcome.into_iter().zip(kinds) {
            match accepted {
                Accepted::New(id) => {
                    receipt.accepted += 1;
                    receipt.ids.push(id);
                    metrics::counter!("tidings_events_accepted_total", "kind" => kind).increment(1);
                    metrics::counter!("tidings_letters_accepted_total", "kind" => kind).increment(items as u64);
                }
                Accepted::Duplicate(id) => {
                    receipt.duplicates += 1;
                    receipt.ids.push(id);
                    metrics::counter!("tidings_events_duplicate_total", "kind" => kind).increment(1);
                }
            }
        }
        Ok(receipt)
    }

    /// Decides on events that were posted together; what they need of the mirror is asked for once.
    async fn prepare_all(&self, events: &[Event], now: Timestamp, acceptances: &mut Vec<Acceptance>) -> Result<(), IntakeError> {
        let known = self.known(events, Origin::Posted).await?;
        for event in events {
            acceptances.push(self.prepare_knowing(event, now, None, Origin::Posted, &known).await?.0);
        }
        Ok(())
    }

    /// What the mirror knows of those whom events name.
    async fn known(&self, events: &[Event], origin: Origin<'_>) -> Result<Known, IntakeError> {
        let Some(gatherer) = &self.gatherer else { return Ok(Known::default()) };
        let desk = self.desk();
        Ok(Known::of(gatherer, events.iter().map(|event| (event, desk.policy().paths(event))), origin).await?)
    }

    /// Decides on an event and writes its letters; `relay` overrides what the rules say.
    pub(crate) async fn prepare(
        &self,
        event: &Event,
        now: Timestamp,
        relay: Option<&str>,
        origin: Origin<'_>,
    ) -> Result<(Acceptance, Trace), IntakeError> {
        let known = self.known(std::slice::from_ref(event), origin).await?;
        self.prepare_knowing(event, now, relay, origin, &known).await
    }

    async fn prepare_knowing(
        &self,
        event: &Event,
        now: Timestamp,
        relay: Option<&str>,
        origin: Origin<'_>,
        known: &Known,
    ) -> Result<(Acceptance, Trace), IntakeError> {
        let desk = self.desk();
        let (seen, decision) = decided_knowing(event, desk.policy(), self.gatherer.as_ref(), origin, known).await?;
        let mut bundle = Bundle::new(self, &desk, &seen, self.mint.mint(now), now);
        bundle.trace = decision.trace;
        bundle.unwell = decision.unwell;
        for notice in &decision.notices {
            bundle.write(notice, relay)?;
        }
        let completed = matches!(seen, Cow::Owned(_)).then_some(&*seen);
        let fan_outs = self.orders(decision.fan_outs, completed, now, relay, origin).await?;
        // News about relays, and the letters that a command sends itself, are nobody's flood.
        let guard = self.guard_terms(now).filter(|_| relay.is_none());
        let (data, secrets) = secrets::mask(event);
        let acceptance = Acceptance {
            id: bundle.id,
            source: event.source.clone(),
            event_id: event.id.clone(),
            kind: event.kind.name,
            time: event.time,
            data,
            secrets: secrets.filter(|_| !bundle.items.is_empty()),
            trace: serde_json::to_vec(&bundle.trace).expect("a trace serialises"),
            trace_pattern: desk.parts.rules.trace_pattern(event.kind).cloned(),
            letters: bundle.letters,
            items: bundle.items,
            fan_outs,
            guard,
            claimed_by: None,
        };
        Ok((acceptance, bundle.trace))
    }
}

/// The letters of one event as they are written.
pub(crate) struct Bundle<'a> {
    intake: &'a Intake,
    desk: &'a Desk,
    event: &'a Event,
    id: Id,
    now: Timestamp,
    pub(crate) letters: Vec<Letter>,
    pub(crate) items: Vec<Item>,
    pub(crate) trace: Trace,
    /// Addresses that letters come back from.
    pub(crate) unwell: Unwell,
}

impl<'a> Bundle<'a> {
    pub(crate) fn new(intake: &'a Intake, desk: &'a Desk, event: &'a Event, id: Id, now: Timestamp) -> Self {
        let (letters, items, trace, unwell) = (Vec::new(), Vec::new(), Trace::default(), Unwell::NOBODY);
        Self { intake, desk, event, id, now, letters, items, trace, unwell }
    }

    pub(crate) fn write(&mut self, notice: &Notice, relay: Option<&str>) -> Result<(), IntakeError> {
        let Self { intake, desk, event, now, .. } = *self;
        let letter = intake.mint.mint(now);
        let names = Names { event: self.id, letter, installation: &intake.installation };
        let composed = desk.compose(event, notice, relay, names, now)?;
        // A letter that cannot be written is held empty; no courier takes an empty letter.
        let held = composed.written.as_ref().err().map(not_written);
        if let Some(why) = &held {
            tracing::error!(event.id = %self.id, kind = notice.kind.name, outbox.item = %letter, error = %why, "a letter is held");
        }
        let expires_at = expiry(event, notice, now);
        for (position, (reader, role)) in readers(notice).enumerate() {
            let id = if position == 0 { letter } else { intake.mint.mint(now) };
            let mut line = desk.trace_of(notice, reader, role, &composed, Some(id));
            let unwell = self.unwell.holds(&reader.address.folded(), notice.kind, notice.lane).map(str::to_owned);
            line.held = line.held.or_else(|| unwell.clone());
            self.trace.letters.push(line);
            self.items.push(Item {
                id,
                letter,
                to: reader.address.clone(),
                role,
                relay: composed.imprint.name.clone(),
                lane: notice.lane,
                held: held.clone().or(unwell),
                due_at: now,
                expires_at,
            });
        }
        let (bytes, pattern) = composed.written.map(|written| (written.bytes, written.pattern)).unwrap_or_default();
        self.letters.push(Letter {
            id: letter,
            kind: notice.kind.name,
            rule: notice.rule.clone(),
            message_id: composed.message_id,
            sender: Some(composed.imprint.envelope_from.clone().unwrap_or_else(|| composed.imprint.from.clone())),
            sensitive: holds_secret(event, notice.kind),
            pattern,
            bytes,
        });
        Ok(())
    }
}

/// Whether a letter of this kind about this event holds a secret. A kind whose secret may be left out has letters without one, which are kept like any other.
fn holds_secret(event: &Event, kind: &Kind) -> bool {
    kind.variables.iter().any(|variable| variable.secret && lookup(&event.data, variable.pointer).is_some_and(|value| !value.is_null()))
}

/// When a letter's news is worth nothing any more: the end of the link that it carries, if the event states it; else the kind's life time, or the end of the password
/// it carries, whichever comes first.
fn expiry(event: &Event, notice: &Notice, now: Timestamp) -> Timestamp {
    let by_kind = later(now, notice.kind.life_time);
    if !notice.kind.sensitive() {
        return by_kind;
    }
    let stated = event.value("/details/expires_at").and_then(Value::as_str).and_then(|text| {
        text.parse::<Timestamp>().ok().or_else(|| {
            // A bare date ends with that day, everywhere on earth.
            let end = text.parse::<Date>().ok()?.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
            Some(later(end, std::time::Duration::from_hours(12)))
        })
    });
    // A letter that is nothing without its secret is worth as much as that, also longer than usual; one whose secret may be left out is news, too.
    let only_the_secret = notice.kind.variables.iter().any(|variable| variable.secret && variable.required);
    stated.map_or(by_kind, |stated| if only_the_secret { stated } else { stated.min(by_kind) })
}
