//! Fan-out: a crowd is told in chunks. Each chunk reads people behind the cursor, decides on them, writes their letters and moves the cursor, in one transaction: kill the process
//! anywhere, and the next one goes on where the last chunk ended.

use crate::{
    Intake, IntakeError,
    accept::Bundle,
    crowd::{Cursor, Gatherer, Queries},
    facts::Origin,
    health, news,
    recall::recall,
    secrets,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tidings_core::{
    Event, Kind, Lane, Timestamp,
    directory::Head,
    notice::{REASON_CODES, Reason},
    policy::{Crowd, FanOut, Unwell, decide_chunk},
    subject::Party,
};
use tidings_store::{Difference, FanOutOrder, FanOutRow, FanOutStep, GuardTerms, StoreError};

/// Without being rung for, the task looks this often.
const PATROL: Duration = Duration::from_secs(1);
/// After a failure it waits for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// So long whoever ends a batch may still be at it.
const AT_IT: Duration = Duration::from_secs(60);
/// Crowds that are told in turns, a chunk each.
const AT_ONCE: u16 = 16;
/// Between so many letters the thread is offered to others.
const LETTERS_BETWEEN_YIELDS: usize = 32;
/// So often the rest of a crowd is read anew because a chunk of it was told meanwhile.
const TRIES: usize = 20;

/// What a chunk needs to be told, kept with its fan-out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    kind: String,
    audience: String,
    role: String,
    crowd: Crowd,
    code: String,
    detail: Option<String>,
    /// The relay that the rule names, or that the letters go by whatever the rule says.
    relay: Option<String>,
    lane: String,
    disabled_too: bool,
    /// How many, if they were counted when the event came.
    size: Option<u64>,
}

impl Plan {
    fn of(fan_out: &FanOut, relay: Option<&str>, size: Option<u64>) -> Self {
        Self {
            kind: fan_out.kind.name.to_owned(),
            audience: fan_out.audience.clone(),
            role: fan_out.role.to_owned(),
            crowd: fan_out.crowd.clone(),
            code: fan_out.reason.code.to_owned(),
            detail: fan_out.reason.detail.clone(),
            relay: relay.map(str::to_owned).or_else(|| fan_out.relay.clone()),
            lane: fan_out.lane.as_str().to_owned(),
            disabled_too: fan_out.disabled_too,
            size: size.or(fan_out.size),
        }
    }

    /// What was written down, read again by a version that still knows its words.
    pub(crate) fn read(row: &FanOutRow) -> Result<(FanOut, Option<u64>), StoreError> {
        let wrong = |what: String| StoreError::Corrupt(format!("fan_out {}: {what}", row.id));
        let plan: Self = serde_json::from_slice(&row.plan).map_err(|error| wrong(error.to_string()))?;
        let code = REASON_CODES.into_iter().find(|code| *code == plan.code).ok_or_else(|| wrong(format!("reason {}", plan.code)))?;
        let role =
            ["to", "cc", "fallback"].into_iter().find(|role| *role == plan.role).ok_or_else(|| wrong(format!("role {}", plan.role)))?;
        let fan_out = FanOut {
            rule: row.rule.clone(),
            kind: Kind::find(&plan.kind).ok_or_else(|| wrong(format!("kind {}", plan.kind)))?,
            audience: plan.audience,
            role,
            crowd: plan.crowd,
            size: plan.size,
            reason: Reason { code, detail: plan.detail },
            relay: plan.relay,
            lane: plan.lane.parse::<Lane>().map_err(|error| wrong(error.to_string()))?,
            disabled_too: plan.disabled_too,
        };
        Ok((fan_out, plan.size))
    }
}

/// Tells crowds, and the administrators of what the guard holds, until it is dropped.
pub async fn fan_out(intake: Arc<Intake>) {
    // Whoever ended a batch in this process before is gone.
    let mut patience = Duration::ZERO;
    loop {
        let wait = match intake.look_after(patience).await {
            Ok(true) => continue,
            Ok(false) => {
                patience = AT_IT;
                PATROL
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, again_s = PAUSE.as_secs(), "a crowd cannot be told now");
                PAUSE
            }
        };
        // The bell may ring or not: both ways it is looked at again.
        let _ = tokio::time::timeout(wait, intake.bell.notified()).await;
    }
}

impl Intake {
    /// What the task does each time: chunks and alerts; once there are none, ends that were broken off.
    async fn look_after(&self, patience: Duration) -> Result<bool, IntakeError> {
        let busy = self.fan_on().await?;
        if !busy {
            self.finish_ends(patience).await?;
        }
        Ok(busy)
    }

    /// Tells each open crowd a chunk, and writes alerts of the guard that are due. Gives whether there was anything to do.
    ///
    /// # Errors
    /// If the store cannot be asked or written; whatever was done stays done.
    pub async fn fan_on(&self) -> Result<bool, IntakeError> {
        let open = self.store.fan_outs(None, AT_ONCE).await?;
        let mut done = self.alert().await;
        if let Err(error) = self.tell_of_addresses().await {
            done = Err(error);
        }
        for row in &open {
            // One that cannot be told does not stand in the way of the others.
            if let Err(error) = self.tell_chunk(row).await {
                done = Err(error);
            }
        }
        done.map(|()| !open.is_empty())
    }

    /// The fan-outs of an event as they are written down with it. `completed` is the event as it was decided on, if that differs from the event itself.
    pub(crate) async fn orders(
        &self,
        fan_outs: Vec<FanOut>,
        completed: Option<&Event>,
        now: Timestamp,
        relay: Option<&str>,
        origin: Origin<'_>,
    ) -> Result<Vec<FanOutOrder>, StoreError> {
        let mut orders = Vec::with_capacity(fan_outs.len());
        for fan_out in fan_outs {
            let (mut parts, mut size) = (Vec::new(), None);
            if let (Origin::End, Some(gatherer)) = (origin, &self.gatherer) {
                let (found, count) = rest(gatherer, &self.desk().parts.queries, &fan_out.crowd, Cursor::default()).await?;
                (parts, size) = (found, Some(count));
            }
            let plan = Plan::of(&fan_out, relay, size);
            orders.push(FanOutOrder {
                id: self.mint.mint(now),
                rule: fan_out.rule,
                plan: serde_json::to_vec(&plan).expect("a plan serialises"),
                data: completed.map(|event| secrets::mask(event).0),
                parts,
            });
        }
        Ok(orders)
    }

    /// Writes down the people of groups that end with these differences, as far as they have still to be told of something.
    pub(crate) async fn remember(&self, differences: &[Difference]) -> Result<(), StoreError> {
        let Some(gatherer) = &self.gatherer else { return Ok(()) };
        let ends: Vec<(&str, &Head)> = differences
            .iter()
            .filter(|difference| difference.after.is_none())
            .filter_map(|difference| difference.before.as_ref().map(|before| (before.directory.as_str(), &before.head)))
            .collect();
        if ends.is_empty() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let mut moved = false;
            for row in self.store.fan_outs(None, u16::MAX).await? {
                let (fan_out, _) = Plan::read(&row)?;
                let Some(cursor) = open_cursor(&row) else { continue };
                if ends.iter().any(|(directory, head)| speaks_of(&fan_out.crowd, directory, head)) {
                    let (parts, count) = rest(gatherer, &self.desk().parts.queries, &fan_out.crowd, cursor).await?;
                    let plan = Plan::of(&fan_out, None, Some(row.told + row.passed + count));
                    let plan = serde_json::to_vec(&plan).expect("a plan serialises");
                    moved |= !self.store.keep_people(row.id, row.steps, plan, parts).await?;
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("a crowd is told faster than it can be written down".to_owned()))
    }

    pub(crate) async fn tell_chunk(&self, row: &FanOutRow) -> Result<(), IntakeError> {
        let (fan_out, size) = Plan::read(row)?;
        let event = self.event_of(row).await?;
        let chunk = self.chunk(row, &fan_out.crowd).await?;
        let now = self.now();
        let guard = match self.guard_terms(now).filter(|_| row.told + row.passed == 0 && !fan_out.kind.mandatory) {
            Some(terms) => Some((terms, self.size(&fan_out.crowd, size).await?)),
            None => None,
        };
        let (notices, others) = decide_chunk(&fan_out, chunk.people);
        let desk = self.desk();
        let mut bundle = Bundle::new(self, &desk, &event, row.event, now);
        if let Some(bounces) = self.gatherer.as_ref().and_then(|gatherer| gatherer.bounces.as_ref()) {
            // Nobody stands in for one of a crowd: whoever is unhealthy has the letter held.
            bundle.unwell = Unwell::new(desk.parts.unhealthy);
            health::ask(bounces.as_ref(), &notices, &mut HashSet::new(), &mut bundle.unwell).await?;
        }
        for (index, notice) in notices.iter().enumerate() {
            bundle.write(notice, None)?;
            if index % LETTERS_BETWEEN_YIELDS == LETTERS_BETWEEN_YIELDS - 1 {
                tokio::task::yield_now().await;
            }
        }
        let step = FanOutStep {
            id: row.id,
            steps: row.steps,
            ended: chunk.ended,
            cursor: chunk.cursor,
            letters: bundle.letters,
            items: bundle.items,
            passed: others.len() as u64,
            guard,
        };
        if let Some(told) = self.store.fan_on(step).await? {
            metrics::counter!("tidings_letters_accepted_total", "kind" => fan_out.kind.name).increment(told);
        }
        Ok(())
    }

    /// How many a crowd is: as it was counted, or counted now.
    async fn size(&self, crowd: &Crowd, counted: Option<u64>) -> Result<u64, StoreError> {
        let (Some(gatherer), None) = (&self.gatherer, counted) else { return Ok(counted.unwrap_or_default()) };
        gatherer.size(crowd, &self.desk().parts.queries).await
    }

    /// The event that a fan-out tells of, as it was decided on.
    async fn event_of(&self, row: &FanOutRow) -> Result<Event, IntakeError> {
        let wrong = |what: String| IntakeError::Store(StoreError::Corrupt(format!("fan_out {}: {what}", row.id)));
        let record = self.store.event(row.event).await?.ok_or_else(|| wrong(format!("its event {} is not there", row.event)))?;
        recall(&record, row.data.as_deref()).map_err(wrong)
    }

    async fn chunk(&self, row: &FanOutRow, crowd: &Crowd) -> Result<Told, StoreError> {
        if let Some(people) = &row.people {
            let people: Vec<Value> =
                serde_json::from_slice(people).map_err(|error| StoreError::Corrupt(format!("fan_out_part: {error}")))?;
            let people = people.iter().filter_map(|one| Party::read(one, "", &mut Vec::new())).collect();
            return Ok(Told { people, cursor: Some(KEPT.to_owned()), ended: false });
        }
        let (Some(cursor), Some(gatherer)) = (open_cursor(row), &self.gatherer) else {
            return Ok(Told { people: Vec::new(), cursor: row.cursor.clone(), ended: true });
        };
        let chunk = gatherer.chunk(crowd, &self.desk().parts.queries, cursor).await?;
        Ok(Told {
            people: chunk.people.iter().map(|one| Party::of_head(&one.directory, &one.head)).collect(),
            ended: chunk.next.is_none(),
            cursor: chunk.next.map(|next| serde_json::to_string(&next).expect("a cursor serialises")),
        })
    }

    /// What the guard goes by, if there is one.
    pub(crate) fn guard_terms(&self, now: Timestamp) -> Option<GuardTerms> {
        let limits = self.desk().parts.flood;
        limits.any().then(|| GuardTerms { limits, batch: self.mint.mint(now) })
    }
}

/// The cursor of a fan-out that goes by people who were written down.
const KEPT: &str = "kept";

/// Some people of a crowd, and how it goes on behind them.
struct Told {
    people: Vec<Party>,
    cursor: Option<String>,
    ended: bool,
}

/// Where the mirror is to be read on; `None` if the people were written down.
fn open_cursor(row: &FanOutRow) -> Option<Cursor> {
    match row.cursor.as_deref() {
        _ if row.people.is_some() => None,
        None => Some(Cursor::default()),
        Some(text) => serde_json::from_str(text).ok(),
    }
}

/// Whether a crowd may hold the members of a group.
fn speaks_of(crowd: &Crowd, directory: &str, group: &Head) -> bool {
    match crowd {
        Crowd::Members { directory: its, key } => its == directory && *key == group.key,
        Crowd::Holders(name) => {
            let bare = name.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
            group
                .name
                .as_deref()
                .is_some_and(|its| its.eq_ignore_ascii_case(name) || bare.is_some_and(|bare| its.eq_ignore_ascii_case(bare)))
        }
        Crowd::Permission { .. } => group.attributes.contains_key("permissions"),
        Crowd::Query(_) => false,
    }
}

/// Everybody of a crowd from a cursor on, a chunk each, and how many.
async fn rest(gatherer: &Gatherer, queries: &Queries, crowd: &Crowd, from: Cursor) -> Result<(Vec<Vec<u8>>, u64), StoreError> {
    let (mut parts, mut count, mut cursor) = (Vec::new(), 0, Some(from));
    while let Some(from) = cursor {
        let chunk = gatherer.chunk(crowd, queries, from).await?;
        let people: Vec<Value> = chunk.people.iter().map(|one| Value::Object(news::party(&one.directory, &one.head))).collect();
        count += people.len() as u64;
        if !people.is_empty() {
            parts.push(serde_json::to_vec(&people).expect("JSON serialises"));
        }
        cursor = chunk.next;
    }
    Ok((parts, count))
}
