//! "Who would be told?" answered by the very code that tells, without writing or sending anything.

use crate::{
    Desk, IntakeError,
    crowd::Gatherer,
    desk::{Names, readers},
    facts::{Origin, decided},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use tidings_core::{
    Event, Id, Kind,
    flood::Flood,
    policy::{Crowd, FanOut},
    trace::Trace,
};
use tidings_store::{Database, StoreError};

/// What an event would lead to.
#[derive(Debug, serde::Serialize)]
pub struct Explanation {
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name here, if an event of this source and id was accepted before: then nothing would come of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_as: Option<Id>,
    /// Crowds that would be told in chunks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crowds: Vec<CrowdTold>,
    /// Rule by rule, person by person, letter by letter.
    pub trace: Trace,
}

/// A crowd that would be told in chunks.
#[derive(Debug, serde::Serialize)]
pub struct CrowdTold {
    /// The rule.
    pub rule: String,
    /// The audience as written in the rule.
    pub audience: String,
    /// What the letters would be about.
    pub kind: &'static str,
    /// How many people it is; those who have no address or wish no letters are among them.
    pub people: u64,
    /// What the flood guard would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// Says what would become of events.
pub struct Explainer {
    desk: Desk,
    database: Option<Arc<dyn Database>>,
    gatherer: Option<Gatherer>,
}

impl Explainer {
    /// One that goes by a desk, and by what the database knows if there is one.
    pub fn new(desk: Desk, database: Option<Arc<dyn Database>>) -> Self {
        let gatherer = database.clone().map(|database| Gatherer::knowing(database.clone(), database));
        Self { desk, database, gatherer }
    }

    /// Says who would be told what and why. `at` is the JSON pointer of the event in what was read.
    ///
    /// # Errors
    /// [`IntakeError::Faulty`] if the event would not be accepted; [`IntakeError::Store`] if the database cannot be asked.
    pub async fn explain(&self, event: Value, at: &str) -> Result<Explanation, IntakeError> {
        let desk = &self.desk;
        let now = desk.parts.clock.now();
        let event = Event::read(event, at, now).map_err(IntakeError::Faulty)?;
        let (event, mut decision) = decided(&event, desk.policy(), self.gatherer.as_ref(), Origin::Posted).await?;
        let nobody = Names { event: Id::from_number(0), letter: Id::from_number(0), installation: "explained" };
        for notice in &decision.notices {
            let composed = desk.compose(&event, notice, None, nobody, now)?;
            decision.trace.letters.extend(readers(notice).map(|(reader, role)| {
                let mut line = desk.trace_of(notice, reader, role, &composed, None);
                let unwell = decision.unwell.holds(&reader.address.folded(), notice.kind, notice.lane).map(str::to_owned);
                line.held = line.held.or(unwell);
                line
            }));
        }
        let mut crowds = Vec::with_capacity(decision.fan_outs.len());
        for fan_out in &decision.fan_outs {
            crowds.push(self.crowd(fan_out).await?);
        }
        self.weigh(&mut decision.trace, &mut crowds).await?;
        let known_as = match &self.database {
            Some(database) => database.event_named(&event.source, &event.id).await?,
            None => None,
        };
        let (source, kind) = (event.source.clone(), event.type_name());
        Ok(Explanation { source, event: event.id.clone(), kind, known_as, crowds, trace: decision.trace })
    }

    async fn crowd(&self, fan_out: &FanOut) -> Result<CrowdTold, StoreError> {
        let people = self.size(&fan_out.crowd).await?;
        Ok(CrowdTold { rule: fan_out.rule.clone(), audience: fan_out.audience.clone(), kind: fan_out.kind.name, people, held: None })
    }

    async fn size(&self, crowd: &Crowd) -> Result<u64, StoreError> {
        match &self.gatherer {
            Some(gatherer) => gatherer.size(crowd, &self.desk.parts.queries).await,
            None => Ok(0),
        }
    }

    /// Notes what the flood guard would hold.
    async fn weigh(&self, trace: &mut Trace, crowds: &mut [CrowdTold]) -> Result<(), StoreError> {
        let limits = self.desk.parts.flood;
        let guarded = |kind: &str| !Kind::find(kind).is_some_and(|kind| kind.mandatory);
        let mut rules: BTreeMap<String, u64> = BTreeMap::new();
        let letters = trace.letters.iter().filter(|letter| letter.held.is_none() && guarded(letter.kind)).map(|letter| (&letter.rule, 1));
        let crowded = crowds.iter().filter(|crowd| guarded(crowd.kind)).map(|crowd| (&crowd.rule, crowd.people));
        for (rule, people) in letters.chain(crowded) {
            *rules.entry(rule.clone()).or_default() += people;
        }
        let of_event = rules.values().sum();
        let mut words: BTreeMap<String, String> = BTreeMap::new();
        for (rule, people) in rules.into_iter().filter(|_| limits.any()) {
            let (in_hour, open) = match &self.database {
                Some(database) => database.rule_hour(&rule, self.desk.parts.clock.now()).await?,
                None => (0, None),
            };
            let word = match (open, limits.judge(of_event, people, in_hour)) {
                (Some(batch), _) => format!("would be held by the guard in batch {batch}"),
                (None, Some(flood)) => {
                    let (most, all) = match flood {
                        Flood::Event => (limits.per_event, of_event),
                        Flood::RuleHour => (limits.per_rule_hour, in_hour + people),
                    };
                    format!("would be held by the guard: {}, {all} in all", flood.why(&rule, most))
                }
                (None, None) => continue,
            };
            words.insert(rule, word);
        }
        for letter in trace.letters.iter_mut().filter(|letter| letter.held.is_none() && guarded(letter.kind)) {
            letter.held = words.get(&letter.rule).cloned();
        }
        for crowd in crowds.iter_mut().filter(|crowd| guarded(crowd.kind)) {
            crowd.held = words.get(&crowd.rule).cloned();
        }
        Ok(())
    }
}
