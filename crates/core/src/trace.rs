//! The trace: the stored answer to "why did, or did not, X get this mail?"

use crate::{id::Id, notice::Reason};
use serde::Serialize;

/// What deciding on one event found, rule by rule, person by person.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Trace {
    /// Every rule whose `on` names the event's type, in order.
    pub rules: Vec<RuleTrace>,
    /// The letters it led to; empty if nobody is told.
    pub letters: Vec<LetterTrace>,
    /// References that could not be resolved: `directory/id`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<String>,
}

/// What became of one rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleTrace {
    /// Its name.
    pub rule: String,
    /// Whether it applied, and if not, why.
    pub verdict: RuleVerdict,
    /// The reason behind the verdict, in words: the condition that was false, the error in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whom its audiences found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<PersonTrace>,
}

/// Whether a rule applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleVerdict {
    /// It applied.
    Matched,
    /// It, or the kind of its letters, is switched off.
    Disabled,
    /// Its condition was false.
    ConditionFalse,
    /// Its condition could not be computed; the rule does not apply.
    ConditionError,
}

/// What became of one person whom an audience found, or of an audience that found nobody.
#[derive(Debug, Clone, Serialize)]
pub struct PersonTrace {
    /// The audience as written in the rule.
    pub audience: String,
    /// `to`, `cc` or `fallback`.
    pub role: &'static str,
    /// The person, by name or key; absent if the audience found nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The address, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Why this person was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was decided.
    pub verdict: PersonVerdict,
    /// More about the verdict: the rule that already told the person, the expression's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was decided about one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonVerdict {
    /// Gets a letter.
    Letter,
    /// Gets a copy of somebody's letter.
    Copy,
    /// Gets one already, by another path; the reason was added to it.
    AlreadyTold,
    /// Has no mail address.
    NoAddress,
    /// Is disabled.
    Disabled,
    /// Wishes no letters of this kind ("do not notify").
    OptedOut,
    /// Letters come back from this address: the news goes to the rule's fallback, or is about the address itself.
    Unhealthy,
    /// One of more than a decision takes: they are told in chunks, and each chunk looks at each of them.
    FannedOut,
    /// The event names only a reference that nothing resolves.
    Unresolved,
    /// The kind holds secrets, which are never copied.
    SecretNotCopied,
    /// The audience found nobody.
    Nobody,
    /// The audience could not be computed.
    AudienceError,
}

/// One letter that the event led to.
#[derive(Debug, Clone, Serialize)]
pub struct LetterTrace {
    /// The outbox item; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Id>,
    /// To whom.
    pub to: String,
    /// `to` or `cc`.
    pub role: &'static str,
    /// What about.
    pub kind: &'static str,
    /// By which rule.
    pub rule: String,
    /// By which relay.
    pub relay: String,
    /// In which language, and which languages were tried before it: `de-AT → de`.
    pub locale: String,
    /// Why this person.
    pub reasons: Vec<Reason>,
    /// What the environment guard says of it, if it does not simply let it through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// Set when the letter was held at once, with the reason: it could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}
