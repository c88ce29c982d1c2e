//! Facts: what is known of people and groups beyond the event's own data. Gathered by the intake before deciding; in here only their form, so that deciding stays pure.
//!
//! Deciding asks in two steps: what a rule needs of the event's people is known beforehand ([`Needs`]); which crowds it speaks to only shows once its condition holds, so a
//! decision names what it wanted and did not have ([`Want`]) and is made again with it.

use super::{audience::Audience, condition::Condition, health::Unwell, rule::Rule};
use crate::subject::Party;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A crowd: people whom no event names, found in the mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crowd {
    /// Everybody in this group, members of member groups as well.
    Members {
        /// The group's directory.
        directory: String,
        /// Its key there.
        key: String,
    },
    /// Everybody in the groups or roles of this name, `NAME` or `DIRECTORY/NAME`.
    Holders(String),
    /// What the stored query of this name finds.
    Query(String),
    /// Everybody in a group or role that grants this permission.
    Permission {
        /// The path: `/Custom/WorkflowsNotifications/hire/approve`.
        path: String,
        /// Only the whole path counts; otherwise a parent of it does, too.
        strict: bool,
    },
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members { directory, key } => write!(f, "the members of {directory}/{key}"),
            Self::Holders(name) => write!(f, "the holders of {name}"),
            Self::Query(name) => write!(f, "the query {name}"),
            Self::Permission { path, .. } => write!(f, "the holders of {path}"),
        }
    }
}

/// What was found of a crowd.
#[derive(Debug, Clone)]
pub enum Found {
    /// All of it.
    Few(Vec<Party>),
    /// More than one decision takes: told in chunks, and about so many as far as that is known.
    Many(Option<u64>),
    /// It cannot be found, with the reason.
    Unknown(String),
}

/// Something a decision lacked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// The people of a crowd.
    Crowd(Crowd),
    /// Who stands behind `directory/name`.
    Party(String),
}

/// What is known beyond the event.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    crowds: BTreeMap<Crowd, Found>,
    parties: BTreeMap<String, Option<Party>>,
    /// Whether there is a mirror that could be asked for more.
    asking: bool,
    /// Addresses that letters come back from.
    pub unwell: Unwell,
}

impl Facts {
    /// Nothing is known, and nobody can be asked.
    pub const NONE: Self = Self { crowds: BTreeMap::new(), parties: BTreeMap::new(), asking: false, unwell: Unwell::NOBODY };

    /// Nothing is known yet, but what a decision wants can be found out.
    pub fn asking() -> Self {
        Self { asking: true, ..Self::default() }
    }

    /// Adds what was found of a crowd.
    pub fn add_crowd(&mut self, crowd: Crowd, found: Found) {
        self.crowds.insert(crowd, found);
    }

    /// Adds who stands behind a reference; `None` if nobody does.
    pub fn add_party(&mut self, reference: String, party: Option<Party>) {
        self.parties.insert(reference, party);
    }

    pub(crate) fn crowd(&self, crowd: &Crowd) -> Option<&Found> {
        self.crowds.get(crowd)
    }

    pub(crate) fn party(&self, reference: &str) -> Option<&Option<Party>> {
        self.parties.get(reference)
    }

    pub(crate) fn can_ask(&self) -> bool {
        self.asking
    }
}

/// Where in an event's data a rule looks: `object`, `owners` of it, `mail` of those.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Where it begins.
    pub root: Root,
    /// The steps from there.
    pub steps: Vec<String>,
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// At a name of the data.
    Name(String),
    /// At the person concerned: the member, else the object.
    Person,
}

impl Path {
    fn name(name: &str) -> Self {
        Self { root: Root::Name(name.to_owned()), steps: Vec::new() }
    }

    fn steps(mut self, steps: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.steps.extend(steps.into_iter().map(Into::into));
        self
    }
}

/// What the rules for one kind of event look at in its data, as far as a mirror may know more of it. Made once per set of rules.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The paths; none twice. Empty if no rule listens.
    pub paths: Vec<Path>,
}

impl Needs {
    /// What these rules look at.
    pub(crate) fn of<'r>(rules: impl Iterator<Item = &'r Rule>) -> Self {
        let mut paths = BTreeSet::new();
        for rule in rules.filter(|rule| rule.enabled) {
            // Letters name them, whatever the audience is.
            paths.extend(["actor", "object", "member"].map(Path::name));
            if let Some(condition) = &rule.when {
                mentioned(condition, &mut paths);
            }
            for audience in [&rule.to, &rule.cc, &rule.fallback].into_iter().flatten() {
                of_audience(audience, &mut paths);
            }
        }
        // A path that another one begins with is followed with that one.
        let all: Vec<Path> = paths.iter().cloned().collect();
        paths.retain(|path| !all.iter().any(|longer| longer != path && longer.root == path.root && longer.steps.starts_with(&path.steps)));
        Self { paths: paths.into_iter().collect() }
    }
}

fn of_audience(audience: &Audience, paths: &mut BTreeSet<Path>) {
    match audience {
        Audience::Manager(levels) | Audience::Managers(levels) => {
            let person = Path { root: Root::Person, steps: Vec::new() };
            paths.insert(person.steps(std::iter::repeat_n("manager", usize::from(*levels))));
        }
        Audience::Owners | Audience::PrimaryOwner | Audience::AdditionalOwners | Audience::MembersOwners => {
            paths.insert(Path::name("object").steps(["owners"]));
        }
        Audience::ObjectManager => _ = paths.insert(Path::name("object").steps(["manager"])),
        Audience::Named(name, _) => _ = paths.insert(Path::name(name)),
        Audience::Performer(step) => _ = paths.insert(Path::name("performers").steps([step])),
        Audience::Attribute(path) => {
            let mut steps = path.split('.');
            if let Some(root) = steps.next() {
                paths.insert(Path::name(root).steps(steps));
            }
        }
        Audience::Expression(expression) => mentioned(expression, paths),
        Audience::Actor
        | Audience::Object
        | Audience::Member
        | Audience::Members
        | Audience::MembersMail
        | Audience::Holders(_)
        | Audience::Query(_)
        | Audience::Permission { .. }
        | Audience::Address(_) => {}
    }
}

/// The paths that an expression speaks of: `object.owners` of `object.owners.exists(o, …)`.
fn mentioned(expression: &Condition, paths: &mut BTreeSet<Path>) {
    for (root, mut steps) in spoken_of(expression.source(), &["actor", "object", "member", "data"]) {
        if root == "data" {
            if !steps.is_empty() {
                let name = steps.remove(0);
                paths.insert(Path::name(&name).steps(steps));
            }
        } else {
            paths.insert(Path::name(root).steps(steps));
        }
    }
}

/// Every place where an expression speaks of one of these names, with the fields behind it; a function, an index or the end of the path ends them.
fn spoken_of<'r>(source: &str, roots: &[&'r str]) -> Vec<(&'r str, Vec<String>)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in source.match_indices(root) {
            let mut rest = &source[at + root.len()..];
            if source[..at].ends_with(|c| in_word(c) || c == '.') || rest.starts_with(in_word) {
                continue;
            }
            let mut steps: Vec<String> = Vec::new();
            while let Some(after) = rest.strip_prefix('.') {
                let word: &str = &after[..after.find(|c| !in_word(c)).unwrap_or(after.len())];
                rest = &after[word.len()..];
                // A function is no field.
                if word.is_empty() || rest.trim_start().starts_with('(') {
                    break;
                }
                steps.push(word.to_owned());
            }
            found.push((*root, steps));
        }
    }
    found
}

/// Whether a rule's condition or one of its audiences may look at a place of the data (a JSON pointer), or at something around or within it. Errs on the side of
/// yes: `details[name]` may be anything below `details`.
pub fn looks_at(rule: &Rule, pointer: &str) -> bool {
    let place: Vec<&str> = pointer.split('/').skip(1).collect();
    let near = |steps: &[&str]| steps.iter().zip(&place).all(|(one, other)| one == other);
    let speaks = |expression: &Condition| {
        let roots: Vec<&str> = place.first().copied().into_iter().chain(["data"]).collect();
        spoken_of(expression.source(), &roots).into_iter().any(|(root, steps)| {
            let head = (root != "data").then_some(root);
            near(&head.into_iter().chain(steps.iter().map(String::as_str)).collect::<Vec<_>>())
        })
    };
    let finds = |audience: &Audience| match audience {
        Audience::Attribute(path) => near(&path.split('.').collect::<Vec<_>>()),
        Audience::Named(name, _) => near(&[name]),
        Audience::Performer(step) => near(&["performers", step]),
        Audience::Expression(expression) => speaks(expression),
        _ => false,
    };
    rule.when.as_ref().is_some_and(speaks) || [&rule.to, &rule.cc, &rule.fallback].into_iter().flatten().any(finds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::TypePattern;

    fn needs(when: &str, to: &[&str]) -> Vec<String> {
        let to = to.iter().map(|word| Audience::parse(word).unwrap()).collect();
        let mut rule = Rule::simple("r", vec![TypePattern::parse("*").unwrap()], to);
        rule.when = Some(Condition::compile(when).unwrap());
        let shown = |path: &Path| {
            let root = match &path.root {
                Root::Name(name) => name.clone(),
                Root::Person => "person".to_owned(),
            };
            std::iter::once(root).chain(path.steps.iter().cloned()).collect::<Vec<_>>().join(".")
        };
        Needs::of([rule].iter()).paths.iter().map(shown).collect()
    }

    #[test]
    fn what_rules_look_at_is_known_beforehand() {
        assert_eq!(needs("true", &["managers:2", "owners"]), ["actor", "member", "object.owners", "person.manager.manager"]);
        assert_eq!(
            needs("object.owners.exists(o, o.mail == actor.mail) && data.details.x == 1", &["attr:member.manager.mail"]),
            ["actor.mail", "details.x", "member.manager.mail", "object.owners"]
        );
        assert_eq!(
            needs("has(member.title)", &["performer:review", "approvers"]),
            ["actor", "approvers", "member.title", "object", "performers.review"]
        );
    }

    #[test]
    fn rules_that_are_off_need_nothing() {
        let mut rule = Rule::simple("r", vec![TypePattern::parse("*").unwrap()], vec![Audience::Owners]);
        rule.enabled = false;
        assert!(Needs::of([rule].iter()).paths.is_empty());
    }

    #[test]
    fn whether_a_rule_looks_at_a_place_is_told_on_the_side_of_yes() {
        let looks = |when: &str, to: &str| {
            let mut rule = Rule::simple("r", vec![TypePattern::parse("*").unwrap()], vec![Audience::parse(to).unwrap()]);
            rule.when = Some(Condition::compile(when).unwrap());
            looks_at(&rule, "/details/password")
        };
        for when in [
            "details.password == \"x\"",
            "data.details.password != \"\"",
            "size(details) > 1",
            "details[\"password\"] == \"x\"",
            "has(data.details)",
        ] {
            assert!(looks(when, "actor"), "{when}");
        }
        for when in ["true", "details.account == \"x\"", "object.details == \"x\"", "data.object.name == \"x\""] {
            assert!(!looks(when, "actor"), "{when}");
        }
        assert!(looks("true", "attr:details.password") && looks("true", "cel:details.password"));
        assert!(!looks("true", "attr:details.owner") && !looks("true", "approvers"));
    }
}
