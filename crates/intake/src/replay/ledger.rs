//! The ledger of a replay: letters on either side, and what differs between them.

use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};
use tidings_core::{Id, Timestamp, outbox::Role};
use tidings_store::EventRecord;

/// Different stumbles that are told apart; what comes beyond is counted under the rule alone.
const STUMBLES: usize = 100;

/// What a replay has found.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// Events accepted at this moment or later.
    pub since: Timestamp,
    /// Events accepted before this moment.
    pub until: Timestamp,
    /// The sums.
    pub totals: Totals,
    /// Everybody whose letters differ, by address.
    pub people: Vec<PersonReplay>,
    /// Crowds that one side tells and the other does not. Who is told within a crowd is counted there alone.
    pub crowds: Vec<CrowdReplay>,
    /// Events that could not be decided, by the reason.
    pub undecided: Vec<Stumble>,
    /// Rules that would stumble: their condition or an audience cannot be computed, and they tell nobody for that.
    pub failed: Vec<Stumble>,
    /// Rules that look at what the stored events have lost; what they lead to is uncertain.
    pub uncertain: Vec<Stumble>,
}

impl Replay {
    /// The replay of no events.
    pub fn of_nothing(since: Timestamp, until: Timestamp) -> Self {
        Ledger::new(0).close(since, until)
    }
}

/// The sums of a replay. Letters count people who get one, copies as well; those of crowds are counted apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Events read.
    pub events: u64,
    /// Of those: events that could not be decided, and count for nothing else here.
    pub undecided: u64,
    /// Letters before.
    pub before: u64,
    /// Letters after.
    pub after: u64,
    /// Letters that come to it.
    pub more: u64,
    /// Letters that fall away.
    pub fewer: u64,
    /// Letters that stay.
    pub same: u64,
    /// Of those: letters that another rule leads to.
    pub by_another_rule: u64,
    /// People who get a letter before or after.
    pub people: u64,
    /// People whose letters differ.
    pub people_differing: u64,
    /// People who get letters after and got none before.
    pub people_gained: u64,
    /// People who got letters before and get none after.
    pub people_lost: u64,
    /// People told in crowds before, each as often as told.
    pub crowds_before: u64,
    /// People told in crowds after, by the crowds' sizes today.
    pub crowds_after: u64,
}

/// One person's letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonReplay {
    /// The address.
    pub address: String,
    /// The name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Letters that come to it.
    pub more: u64,
    /// Letters that fall away.
    pub fewer: u64,
    /// Letters that stay.
    pub same: u64,
    /// The first of what differs, in the order of the events.
    pub differences: Vec<LetterDifference>,
    /// How many more there are.
    pub unlisted: u64,
}

/// One letter that one side sends and the other does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterDifference {
    /// `more` or `fewer`.
    pub change: &'static str,
    /// What the letter is about.
    pub kind: String,
    /// The rule that leads to it.
    pub rule: String,
    /// `to` or `cc`.
    pub role: &'static str,
    /// The event.
    pub event: Id,
    /// When the event was accepted.
    pub at: Timestamp,
    /// Whether a rule looks at what the event has lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
}

/// A crowd that is told differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrowdReplay {
    /// Who.
    pub crowd: String,
    /// What about.
    pub kind: String,
    /// The rule; that of the last event if several tell it.
    pub rule: String,
    /// Events that come to it.
    pub more: u64,
    /// Events that fall away.
    pub fewer: u64,
    /// Events it is told of on either side.
    pub same: u64,
    /// How many people it is: those who were told the last time, or the crowd's size today.
    pub people: u64,
}

/// Something that cannot be decided, or not for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stumble {
    /// The rule, if it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why.
    pub why: String,
    /// How many events.
    pub events: u64,
    /// The last of them.
    pub event: Id,
}

/// What one side does with one event.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Everybody who gets a letter or a copy.
    pub(super) letters: Vec<Told>,
    /// Crowds that are told in chunks.
    pub(super) crowds: Vec<CrowdTold>,
}

/// One crowd that is told.
#[derive(Debug)]
pub(super) struct CrowdTold {
    pub(super) crowd: String,
    pub(super) kind: String,
    pub(super) rule: String,
    pub(super) people: u64,
}

/// One letter to one person.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) address: String,
    pub(super) name: Option<String>,
    pub(super) kind: String,
    pub(super) rule: String,
    pub(super) role: Role,
}

/// Adds up.
pub(super) struct Ledger {
    most: usize,
    totals: Totals,
    /// People whose letters differ, by their folded address.
    people: BTreeMap<String, PersonReplay>,
    /// How many letters of each person stay, by a hash of the folded address: of a million people it takes a few MiB. Two people of one hash would share a count.
    same: HashMap<u64, u32>,
    crowds: BTreeMap<(String, String), CrowdReplay>,
    undecided: Stumbles,
    failed: Stumbles,
    uncertain: Stumbles,
}

type Stumbles = BTreeMap<(Option<String>, String), (u64, Id)>;

impl Ledger {
    pub(super) fn new(most: usize) -> Self {
        let (totals, people, same, crowds) = (Totals::default(), BTreeMap::new(), HashMap::new(), BTreeMap::new());
        Self { most, totals, people, same, crowds, undecided: Stumbles::new(), failed: Stumbles::new(), uncertain: Stumbles::new() }
    }

    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        self.totals.events
    }

    pub(super) fn undecided(&mut self, record: &EventRecord, why: String) {
        self.totals.events += 1;
        self.totals.undecided += 1;
        stumble(&mut self.undecided, record, None, why);
    }

    pub(super) fn failed(&mut self, record: &EventRecord, rule: &str, why: String) {
        stumble(&mut self.failed, record, Some(rule), why);
    }

    pub(super) fn uncertain(&mut self, record: &EventRecord, rule: &str, why: String) {
        stumble(&mut self.uncertain, record, Some(rule), why);
    }

    /// One event, as each side tells it.
    pub(super) fn event(&mut self, record: &EventRecord, uncertain: bool, before: Side, after: Side) {
        self.totals.events += 1;
        let key = |told: &Told| (told.address.to_lowercase(), told.kind.clone());
        let mut gone: BTreeMap<(String, String), Told> = before.letters.into_iter().map(|told| (key(&told), told)).collect();
        self.totals.before += gone.len() as u64;
        let come: BTreeMap<(String, String), Told> = after.letters.into_iter().map(|told| (key(&told), told)).collect();
        self.totals.after += come.len() as u64;
        for (key, told) in come {
            match gone.remove(&key) {
                Some(other) => {
                    self.totals.same += 1;
                    self.totals.by_another_rule += u64::from(other.rule != told.rule);
                    *self.same.entry(hash(&key.0)).or_default() += 1;
                }
                None => self.differs(record, uncertain, key.0, told, "more"),
            }
        }
        for (key, told) in gone {
            self.differs(record, uncertain, key.0, told, "fewer");
        }
        self.crowds(before.crowds, after.crowds);
    }

    fn differs(&mut self, record: &EventRecord, uncertain: bool, folded: String, told: Told, change: &'static str) {
        let Told { address, name, kind, rule, role } = told;
        let person = self.people.entry(folded).or_insert_with(|| PersonReplay {
            address,
            name: None,
            more: 0,
            fewer: 0,
            same: 0,
            differences: Vec::new(),
            unlisted: 0,
        });
        person.name = person.name.take().or(name);
        let (count, total) =
            if change == "more" { (&mut person.more, &mut self.totals.more) } else { (&mut person.fewer, &mut self.totals.fewer) };
        *count += 1;
        *total += 1;
        if person.differences.len() < self.most {
            let (event, at) = (record.id, record.accepted_at);
            person.differences.push(LetterDifference { change, kind, rule, role: role.as_str(), event, at, uncertain });
        } else {
            person.unlisted += 1;
        }
    }

    fn crowds(&mut self, before: Vec<CrowdTold>, after: Vec<CrowdTold>) {
        let sum = |side: &[CrowdTold]| side.iter().map(|told| told.people).sum::<u64>();
        self.totals.crowds_before += sum(&before);
        self.totals.crowds_after += sum(&after);
        let key = |told: &CrowdTold| (told.crowd.clone(), told.kind.clone());
        let mut gone: BTreeMap<_, CrowdTold> = before.into_iter().map(|told| (key(&told), told)).collect();
        for told in after {
            let told_before = gone.remove(&key(&told)).is_some();
            let line = self.crowd(told);
            if told_before {
                line.same += 1;
            } else {
                line.more += 1;
            }
        }
        for told in gone.into_values() {
            self.crowd(told).fewer += 1;
        }
    }

    fn crowd(&mut self, told: CrowdTold) -> &mut CrowdReplay {
        let CrowdTold { crowd, kind, rule, people } = told;
        let key = (crowd.clone(), kind.clone());
        let fresh = || CrowdReplay { crowd, kind, rule: String::new(), more: 0, fewer: 0, same: 0, people: 0 };
        let line = self.crowds.entry(key).or_insert_with(fresh);
        (line.rule, line.people) = (rule, people);
        line
    }

    /// The sums and what differs.
    pub(super) fn close(mut self, since: Timestamp, until: Timestamp) -> Replay {
        let totals = &mut self.totals;
        totals.people = self.same.len() as u64;
        totals.people_differing = self.people.len() as u64;
        for (folded, person) in &mut self.people {
            let same = self.same.get(&hash(folded));
            person.same = same.copied().unwrap_or_default().into();
            totals.people += u64::from(same.is_none());
            totals.people_gained += u64::from(person.fewer + person.same == 0);
            totals.people_lost += u64::from(person.more + person.same == 0);
        }
        let listed = |stumbles: Stumbles| {
            let one = |((rule, why), (events, event))| Stumble { rule, why, events, event };
            stumbles.into_iter().map(one).collect()
        };
        Replay {
            since,
            until,
            totals: self.totals,
            people: self.people.into_values().collect(),
            crowds: self.crowds.into_values().filter(|crowd| crowd.more + crowd.fewer > 0).collect(),
            undecided: listed(self.undecided),
            failed: listed(self.failed),
            uncertain: listed(self.uncertain),
        }
    }
}

fn stumble(stumbles: &mut Stumbles, record: &EventRecord, rule: Option<&str>, why: String) {
    let rule = rule.map(str::to_owned);
    let mut key = (rule, why);
    if stumbles.len() >= STUMBLES && !stumbles.contains_key(&key) {
        key = (key.0, "other reasons".to_owned());
    }
    let (events, event) = stumbles.entry(key).or_insert((0, record.id));
    *events += 1;
    *event = record.id;
}

/// The same for one address in every run.
fn hash(folded: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    folded.hash(&mut hasher);
    hasher.finish()
}
