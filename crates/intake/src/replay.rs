//! Replay: what rules would have made of the events that are stored, against what others would make of them or what was recorded when they came. Decides by the very
//! code that tells; writes and sends nothing.
//!
//! Events are read in pages and only what differs is kept, beside a small count for each person, so that memory does not grow with the number of events.

mod ledger;

use crate::{
    IntakeError,
    crowd::Gatherer,
    facts::{Origin, Policy, decided_knowing},
    fanout::Plan,
    known::Known,
    recall::{erased, recall},
};
use ledger::{CrowdTold, Ledger, Side, Told};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};
use tidings_core::{
    Event, Timestamp,
    outbox::Role,
    policy::{Crowd, Decision, facts::looks_at},
    trace::{PersonVerdict, RuleVerdict},
};
use tidings_store::{Database, EventRecord, EventSpan, StoreError};

pub use ledger::{CrowdReplay, LetterDifference, PersonReplay, Replay, Stumble, Totals};

/// Events read at once.
const PAGE: u16 = 256;
/// Events whose people are asked for at once.
const TOGETHER: usize = 32;
/// Crowds whose size is kept in mind.
const SIZES: usize = 1000;
/// Fan-outs of one event that are looked at: one for each rule and crowd.
const FAN_OUTS: u16 = 100;

/// What the rules are held against.
#[derive(Debug, Clone, Copy)]
pub enum Before<'a> {
    /// What was recorded when each event came, decided by the rules and on the facts of that time.
    Recorded,
    /// What these would do now.
    Decided(Policy<'a>),
}

/// How far a replay has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Events read.
    pub events: u64,
    /// When the last of them was accepted.
    pub at: Timestamp,
}

/// Replays stored events.
pub struct Replayer<'a> {
    database: Arc<dyn Database>,
    gatherer: Gatherer,
    before: Before<'a>,
    after: Policy<'a>,
    /// Lines that are kept for each person.
    most: usize,
    sizes: HashMap<(bool, Crowd), u64>,
}

impl<'a> Replayer<'a> {
    /// One that holds what `after` would do against `before`, and keeps at most `most` lines for each person.
    pub fn new(database: Arc<dyn Database>, before: Before<'a>, after: Policy<'a>, most: usize) -> Self {
        Self { gatherer: Gatherer::new(database.clone()), database, before, after, most, sizes: HashMap::new() }
    }

    /// Replays the events of a span; `watch` is told after each page how far it has come.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn run(mut self, span: EventSpan, mut watch: impl FnMut(Progress)) -> Result<Replay, IntakeError> {
        let mut ledger = Ledger::new(self.most);
        let mut after = None;
        loop {
            let page = self.database.events(span.clone(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            let at = last.accepted_at;
            after = Some(last.id);
            for records in page.chunks(TOGETHER) {
                self.replay(records, &mut ledger).await?;
            }
            watch(Progress { events: ledger.events(), at });
        }
        Ok(ledger.close(span.since, span.until))
    }

    /// The policies that decide now.
    fn policies(&self) -> impl Iterator<Item = Policy<'a>> + use<'a> {
        let before = match self.before {
            Before::Decided(policy) => Some(policy),
            Before::Recorded => None,
        };
        before.into_iter().chain([self.after])
    }

    /// Replays some events; what the mirror knows of whom they name is asked for once for all of them.
    async fn replay(&mut self, records: &[EventRecord], ledger: &mut Ledger) -> Result<(), StoreError> {
        let events: Vec<Result<Event, String>> = records.iter().map(|record| recall(record, None)).collect();
        let named = events.iter().flatten().flat_map(|event| self.policies().map(move |policy| (event, policy.paths(event))));
        let known = Known::of(&self.gatherer, named, Origin::Posted).await?;
        for (record, event) in records.iter().zip(events) {
            match event {
                Ok(event) => self.replay_one(record, &event, &known, ledger).await?,
                Err(why) => ledger.undecided(record, why),
            }
        }
        Ok(())
    }

    async fn replay_one(&mut self, record: &EventRecord, event: &Event, known: &Known, ledger: &mut Ledger) -> Result<(), StoreError> {
        let before = match self.before {
            Before::Decided(policy) => Ok(self.decide((event, known), policy, false, None).await?),
            Before::Recorded => self.recorded(record).await?,
        };
        let before = match before {
            Ok(side) => side,
            Err(why) => {
                ledger.undecided(record, why);
                return Ok(());
            }
        };
        let after = self.decide((event, known), self.after, true, Some((record, &mut *ledger))).await?;
        let uncertain = self.uncertain(event, record, ledger);
        ledger.event(record, uncertain, before, after);
        Ok(())
    }

    /// What a policy would do now. What of it cannot be computed is noted in the ledger, if there is one.
    async fn decide(
        &mut self,
        (event, known): (&Event, &Known),
        policy: Policy<'_>,
        draft: bool,
        notes: Option<(&EventRecord, &mut Ledger)>,
    ) -> Result<Side, StoreError> {
        let (_, decision) = decided_knowing(event, policy, Some(&self.gatherer), Origin::Posted, known).await?;
        if let Some((record, ledger)) = notes {
            note_failures(record, &decision, ledger);
        }
        let mut side = Side::default();
        for notice in &decision.notices {
            for (reader, role) in crate::desk::readers(notice) {
                side.letters.push(Told {
                    address: reader.address.to_string(),
                    name: reader.party.name.clone(),
                    kind: notice.kind.name.to_owned(),
                    rule: notice.rule.clone(),
                    role,
                });
            }
        }
        for fan_out in decision.fan_outs {
            let people = match fan_out.size {
                Some(counted) => counted,
                None => self.size(&fan_out.crowd, policy, draft).await?,
            };
            let crowd = self.named(&fan_out.crowd, draft);
            side.crowds.push(CrowdTold { crowd, kind: fan_out.kind.name.to_owned(), rule: fan_out.rule, people });
        }
        Ok(side)
    }

    /// How a crowd is shown. Two queries of one name that ask for different people are two crowds.
    fn named(&self, crowd: &Crowd, draft: bool) -> String {
        match (self.before, crowd) {
            (Before::Decided(before), Crowd::Query(name)) if draft && before.queries.get(name) != self.after.queries.get(name) => {
                format!("{crowd} of the drafts")
            }
            _ => crowd.to_string(),
        }
    }

    async fn size(&mut self, crowd: &Crowd, policy: Policy<'_>, draft: bool) -> Result<u64, StoreError> {
        let key = (draft && matches!(crowd, Crowd::Query(_)), crowd.clone());
        if let Some(size) = self.sizes.get(&key) {
            return Ok(*size);
        }
        let size = self.gatherer.size(crowd, policy.queries).await?;
        if self.sizes.len() >= SIZES {
            self.sizes.clear();
        }
        self.sizes.insert(key, size);
        Ok(size)
    }

    /// What was recorded of an event; in words why that cannot be read.
    async fn recorded(&self, record: &EventRecord) -> Result<Result<Side, String>, StoreError> {
        let Some((letters, fanned_out)) = trace_letters(&record.trace) else { return Ok(Err("its trace cannot be read".to_owned())) };
        let mut side = Side { letters, crowds: Vec::new() };
        if fanned_out {
            for row in self.database.fan_outs(Some(record.id), FAN_OUTS).await? {
                let (fan_out, _) = Plan::read(&row)?;
                let (crowd, kind) = (fan_out.crowd.to_string(), fan_out.kind.name.to_owned());
                side.crowds.push(CrowdTold { crowd, kind, rule: row.rule, people: row.told });
            }
        }
        Ok(Ok(side))
    }

    /// Whether a rule looks at what the event has lost; noted in the ledger.
    fn uncertain(&self, event: &Event, record: &EventRecord, ledger: &mut Ledger) -> bool {
        let mut uncertain = false;
        for pointer in erased(event) {
            for policy in self.policies() {
                let of = event.directory();
                let rules = policy.rules.for_kind(event.kind).filter(|rule| rule.enabled && rule.directories.cover(of));
                for rule in rules.filter(|rule| looks_at(rule, pointer)) {
                    let field = pointer.trim_start_matches('/').replace('/', ".");
                    ledger.uncertain(record, &rule.name, format!("looks at `{field}`, which was a secret and is erased"));
                    uncertain = true;
                }
            }
        }
        uncertain
    }
}

/// Conditions and audiences that cannot be computed: a rule that never applies for that reason is what a draft is replayed for.
fn note_failures(record: &EventRecord, decision: &Decision, ledger: &mut Ledger) {
    for rule in &decision.trace.rules {
        if rule.verdict == RuleVerdict::ConditionError {
            ledger.failed(record, &rule.rule, rule.why.clone().unwrap_or_default());
        }
        for person in rule.people.iter().filter(|person| person.verdict == PersonVerdict::AudienceError) {
            ledger.failed(record, &rule.rule, format!("{}: {}", person.audience, person.why.as_deref().unwrap_or_default()));
        }
    }
}

/// The letters of a stored trace, and whether a crowd was told in chunks beside them.
fn trace_letters(trace: &[u8]) -> Option<(Vec<Told>, bool)> {
    let trace: Value = serde_json::from_slice(trace).ok()?;
    let people = || trace["rules"].as_array().into_iter().flatten().flat_map(|rule| rule["people"].as_array().into_iter().flatten());
    let name_of = |address: &str| {
        let person = people().find(|person| person["address"].as_str() == Some(address))?;
        person["who"].as_str().filter(|who| *who != address).map(str::to_owned)
    };
    let told = |letter: &Value| {
        let text = |name: &str| letter[name].as_str().map(str::to_owned);
        let address = text("to")?;
        let role = if letter["role"] == "cc" { Role::Cc } else { Role::To };
        Some(Told { name: name_of(&address), address, kind: text("kind")?, rule: text("rule")?, role })
    };
    let letters = trace["letters"].as_array()?.iter().map(told).collect::<Option<Vec<_>>>()?;
    Some((letters, people().any(|person| person["verdict"] == "fanned_out")))
}

#[cfg(test)]
#[path = "replay_test.rs"]
mod tests;
