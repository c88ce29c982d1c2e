//! Rules: on which events, when, for whom, about what.

use super::{audience::Audience, condition::Condition, facts::Needs};
use crate::{
    kind::{KINDS, Kind, TYPE_PREFIX},
    lane::Lane,
    outbox::Pattern,
    trace::{RuleTrace, RuleVerdict, Trace},
};
use std::{fmt, sync::Arc};

/// A rule as the configuration writes it, checked.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique among the rules.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The types it listens to.
    pub on: Vec<TypePattern>,
    /// Of which directories the events must be.
    pub directories: Directories,
    /// When it applies, if not always.
    pub when: Option<Condition>,
    /// Whom it writes to.
    pub to: Vec<Audience>,
    /// Who gets a copy.
    pub cc: Vec<Audience>,
    /// Whom it writes to if `to` reaches nobody.
    pub fallback: Vec<Audience>,
    /// The letter it sends; the event's own kind if absent.
    pub kind: Option<&'static Kind>,
    /// The relay its letters go by; the first one if absent.
    pub relay: Option<String>,
    /// The lane its letters travel in; the kind's if absent.
    pub lane: Option<Lane>,
    /// Whether people whose account is disabled are told as well.
    pub disabled_too: bool,
    /// Whether it is in force.
    pub enabled: bool,
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The house brings it along.
    BuiltIn,
    /// A directory's switch stands for it.
    Switch,
    /// The configuration says it in full.
    #[default]
    Configured,
}

impl Origin {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Switch => "switch",
            Self::Configured => "configured",
        }
    }
}

/// Of which directories the events are that a rule applies to (see [`crate::Event::directory`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Directories {
    /// Of any, or of none.
    #[default]
    All,
    /// Of this one.
    Only(String),
    /// Of any but these, or of none.
    AllBut(Vec<String>),
}

impl Directories {
    /// Whether an event of this directory is meant.
    pub fn cover(&self, directory: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(name) => directory == Some(name),
            Self::AllBut(names) => directory.is_none_or(|directory| names.iter().all(|name| name != directory)),
        }
    }
}

impl Rule {
    /// A rule that is on, without condition, copies or fallback.
    pub fn simple(name: impl Into<String>, on: Vec<TypePattern>, to: Vec<Audience>) -> Self {
        Self {
            name: name.into(),
            origin: Origin::Configured,
            on,
            directories: Directories::All,
            when: None,
            to,
            cc: Vec::new(),
            fallback: Vec::new(),
            kind: None,
            relay: None,
            lane: None,
            disabled_too: false,
            enabled: true,
        }
    }

    /// The kind of the letters it sends for an event of this kind.
    pub fn kind_for(&self, event_kind: &'static Kind) -> &'static Kind {
        self.kind.unwrap_or(event_kind)
    }
}

/// A type name without its prefix, in which `*` stands for any text: `membership.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePattern(String);

/// A pattern that matches no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` matches no type{hint}")]
pub struct TypePatternError {
    found: String,
    hint: String,
}

impl TypePattern {
    /// Reads a pattern; the prefix `tidings.` may be written or not.
    ///
    /// # Errors
    /// If no known type matches it, which is a typing error rather than a wish.
    pub fn parse(text: &str) -> Result<Self, TypePatternError> {
        let pattern = Self(text.strip_prefix(TYPE_PREFIX).unwrap_or(text).to_owned());
        if KINDS.iter().any(|kind| pattern.matches(kind.name)) {
            return Ok(pattern);
        }
        let hint = Kind::nearest(&pattern.0).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Err(TypePatternError { found: crate::event::clip(text), hint })
    }

    /// Whether it covers a type (given without prefix).
    pub fn matches(&self, name: &str) -> bool {
        fn covers(pattern: &str, name: &str) -> bool {
            match pattern.split_once('*') {
                None => pattern == name,
                Some((head, tail)) => name
                    .strip_prefix(head)
                    .is_some_and(|rest| (0..=rest.len()).any(|cut| rest.is_char_boundary(cut) && covers(tail, &rest[cut..]))),
            }
        }
        covers(&self.0, name)
    }
}

impl std::str::FromStr for TypePattern {
    type Err = TypePatternError;

    fn from_str(text: &str) -> Result<Self, TypePatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All rules in force, in order, found fast by kind.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    by_kind: Vec<Vec<usize>>,
    needs: Vec<Needs>,
    /// Kinds of which no letter is written.
    off: Vec<&'static Kind>,
    patterns: Vec<Option<Arc<Pattern>>>,
}

/// Traces that are shorter than this are kept as they are.
const SHORTEST_PATTERN: usize = 512;

impl RuleSet {
    /// The configured rules behind the built-in ones (see [`Rule`] and the kinds' `built_in`). A configured rule that bears the name of a built-in one, such as
    /// `built-in:membership.joined`, replaces it.
    pub fn with_built_in(configured: Vec<Rule>) -> Self {
        let mut rules = Self::built_in();
        rules.retain(|built_in| !configured.iter().any(|rule| rule.name == built_in.name));
        rules.extend(configured);
        Self::new(rules)
    }

    /// Exactly these rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        let by_kind: Vec<Vec<usize>> =
            KINDS.iter().map(|kind| (0..rules.len()).filter(|&i| rules[i].on.iter().any(|p| p.matches(kind.name))).collect()).collect();
        let needs = by_kind.iter().map(|places| Needs::of(places.iter().map(|&place| &rules[place]))).collect();
        let patterns = by_kind.iter().map(|places| trace_pattern(places.iter().map(|&place| &rules[place]))).collect();
        Self { rules, by_kind, needs, patterns, off: Vec::new() }
    }

    /// The same, but no letter of these kinds is written, whatever the rules say.
    #[must_use]
    pub fn without_letters(mut self, off: Vec<&'static Kind>) -> Self {
        self.off = off;
        self
    }

    /// Whether letters of this kind are switched off.
    pub fn is_off(&self, kind: &Kind) -> bool {
        self.off.contains(&kind)
    }

    /// The built-in rules: one for each kind whose reader is its own subject.
    pub fn built_in() -> Vec<Rule> {
        let audiences =
            |kind: &Kind| kind.built_in.iter().map(|word| Audience::parse(word).expect("the table of kinds names audiences")).collect();
        KINDS
            .iter()
            .filter(|kind| !kind.built_in.is_empty())
            .map(|kind| {
                let rule = Rule::simple(format!("built-in:{}", kind.name), vec![TypePattern(kind.name.to_owned())], audiences(kind));
                Rule { origin: Origin::BuiltIn, ..rule }
            })
            .collect()
    }

    /// Whether a rule can never send a letter because every kind it could send is switched off.
    pub fn is_silenced(&self, rule: &Rule) -> bool {
        let heard = |kind: &&'static Kind| rule.on.iter().any(|pattern| pattern.matches(kind.name));
        KINDS.iter().filter(heard).all(|kind| self.is_off(rule.kind_for(kind)))
    }

    /// The rules that listen to events of this kind, in order.
    pub fn for_kind(&self, kind: &'static Kind) -> impl Iterator<Item = &Rule> {
        self.by_kind[place(kind)].iter().map(|&index| &self.rules[index])
    }

    /// What the rules for this kind look at in an event's data.
    pub fn needs(&self, kind: &'static Kind) -> &Needs {
        &self.needs[place(kind)]
    }

    /// What the traces of this kind have in common: the trace of an event for which no condition holds. `None` if it is too short to be worth anything.
    pub fn trace_pattern(&self, kind: &'static Kind) -> Option<&Arc<Pattern>> {
        self.patterns[place(kind)].as_ref()
    }

    /// All rules.
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }
}

/// The trace of an event for which none of these rules applies, unless it is short.
fn trace_pattern<'r>(rules: impl Iterator<Item = &'r Rule>) -> Option<Arc<Pattern>> {
    let verdict = |rule: &Rule| match &rule.when {
        _ if !rule.enabled => (RuleVerdict::Disabled, None),
        None => (RuleVerdict::Matched, None),
        Some(condition) => (RuleVerdict::ConditionFalse, Some(condition.source().to_owned())),
    };
    let line = |rule: &Rule| {
        let (verdict, why) = verdict(rule);
        RuleTrace { rule: rule.name.clone(), verdict, why, people: Vec::new() }
    };
    let trace = Trace { rules: rules.map(line).collect(), ..Trace::default() };
    let text = serde_json::to_vec(&trace).expect("a trace serialises");
    (text.len() >= SHORTEST_PATTERN).then(|| Arc::new(Pattern::new(text)))
}

fn place(kind: &'static Kind) -> usize {
    KINDS.iter().position(|k| k.name == kind.name).expect("every kind stands in the table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let pattern = TypePattern::parse("membership.*").unwrap();
        assert!(pattern.matches("membership.joined") && !pattern.matches("object.created"));
        assert!(TypePattern::parse("*").unwrap().matches("test"));
        assert!(TypePattern::parse("tidings.object.*ed").unwrap().matches("object.created"));
        assert!(TypePattern::parse("membership.join").unwrap_err().to_string().contains("did you mean `membership.joined`?"));
    }

    #[test]
    fn the_pattern_of_traces_is_the_trace_of_an_event_that_no_condition_fits() {
        let mut rules: Vec<Rule> = (0..10)
            .map(|number| {
                let mut rule =
                    Rule::simple(format!("r{number}"), vec![TypePattern::parse("membership.joined").unwrap()], vec![Audience::Actor]);
                rule.when = Some(Condition::compile(&format!("object.name == 'nothing of the sort {number}'")).unwrap());
                rule
            })
            .collect();
        rules[3].enabled = false;
        let rules = RuleSet::new(rules);
        let event = crate::testing::an_event().build();
        let trace = crate::policy::decide(&event, &rules, &crate::policy::Facts::NONE).trace;
        assert_eq!(rules.trace_pattern(event.kind).unwrap().text(), serde_json::to_vec(&trace).unwrap());
        assert!(rules.trace_pattern(Kind::find("test").unwrap()).is_none());
    }

    #[test]
    fn a_rule_may_be_of_one_directory_or_of_all_but_some() {
        let but = Directories::AllBut(vec!["corp".into()]);
        assert!(but.cover(None) && but.cover(Some("lab")) && !but.cover(Some("corp")));
        let only = Directories::Only("corp".into());
        assert!(!only.cover(None) && !only.cover(Some("lab")) && only.cover(Some("corp")));
        assert!(Directories::All.cover(None) && Directories::All.cover(Some("corp")));
    }

    #[test]
    fn a_configured_rule_of_the_same_name_replaces_the_built_in_one() {
        let mut mine = Rule::simple("built-in:test", vec![TypePattern::parse("test").unwrap()], vec![Audience::Actor]);
        mine.enabled = false;
        let rules = RuleSet::with_built_in(vec![mine]);
        let for_test: Vec<_> = rules.for_kind(Kind::find("test").unwrap()).collect();
        assert_eq!(for_test.len(), 1);
        assert!(!for_test[0].enabled);
    }
}
