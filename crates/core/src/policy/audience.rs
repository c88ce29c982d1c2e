//! Audiences: whom a rule speaks to, resolved from the event's own data.

use super::condition::{Condition, Scope};
use crate::{
    address::Address,
    event::{Event, Fault, lookup},
    notice::Reason,
    subject::{ObjectType, Party},
};
use serde_json::Value;
use std::fmt;

/// Whom a rule speaks to.
#[derive(Debug, Clone)]
pub enum Audience {
    /// Who did it.
    Actor,
    /// What the event is about: the person, or a group's members.
    Object,
    /// The added or removed member.
    Member,
    /// The manager at this level above the person concerned: 1 is the direct one.
    Manager(u8),
    /// The direct manager of what the event is about, whoever else is concerned.
    ObjectManager,
    /// The managers up to this level.
    Managers(u8),
    /// The object's owners.
    Owners,
    /// The first of them.
    PrimaryOwner,
    /// The others.
    AdditionalOwners,
    /// The members of the group.
    Members,
    /// A list or person that the event's data names: approvers, requester, reviewers, subscribers.
    Named(&'static str, &'static str),
    /// A path in the event's data: `attr:details.owner_mail`.
    Attribute(String),
    /// A CEL expression that gives an address, a person, or a list of them.
    Expression(Condition),
    /// A fixed address.
    Address(Address),
}

/// Why a text is not an audience.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// No such word, and no mail address.
    #[error(
        "`{0}` is not an audience; allowed are actor, object, member, manager, object_manager, managers:N, owners, primary_owner, additional_owners, members, approvers, requester, reviewers, subscribers, attr:PATH, cel:EXPRESSION or a mail address{1}"
    )]
    Unknown(String, String),
    /// `managers:` without a level from 1 to 9.
    #[error("`{0}`: the level must be a number from 1 to 9")]
    Level(String),
    /// It needs a directory mirror.
    #[error("`{0}` needs a mirrored directory, and none is configured")]
    NeedsDirectory(String),
    /// The expression does not compile.
    #[error("`{text}`: {why}")]
    Expression {
        /// What was found.
        text: String,
        /// What is wrong.
        why: String,
    },
}

const WORDS: [&str; 13] = [
    "actor",
    "object",
    "member",
    "manager",
    "object_manager",
    "owners",
    "primary_owner",
    "additional_owners",
    "members",
    "approvers",
    "requester",
    "reviewers",
    "subscribers",
];

impl Audience {
    /// Reads an audience as written in a rule.
    ///
    /// # Errors
    /// [`AudienceError`] with what is allowed.
    pub fn parse(text: &str) -> Result<Self, AudienceError> {
        Ok(match text {
            "actor" => Self::Actor,
            "object" => Self::Object,
            "member" => Self::Member,
            "manager" => Self::Manager(1),
            "object_manager" => Self::ObjectManager,
            "owners" => Self::Owners,
            "primary_owner" => Self::PrimaryOwner,
            "additional_owners" => Self::AdditionalOwners,
            "members" => Self::Members,
            "approvers" => Self::Named("approvers", "approver"),
            "requester" => Self::Named("requester", "requester"),
            "reviewers" => Self::Named("reviewers", "reviewer"),
            "subscribers" => Self::Named("subscribers", "subscriber"),
            _ => return Self::parse_with_argument(text),
        })
    }

    fn parse_with_argument(text: &str) -> Result<Self, AudienceError> {
        if let Some((word, argument)) = text.split_once(':') {
            match word {
                "managers" => {
                    return match argument.parse() {
                        Ok(level @ 1..=9) => Ok(Self::Managers(level)),
                        _ => Err(AudienceError::Level(text.to_owned())),
                    };
                }
                "attr" if !argument.is_empty() => return Ok(Self::Attribute(argument.to_owned())),
                "cel" => {
                    return Condition::compile(argument)
                        .map(Self::Expression)
                        .map_err(|e| AudienceError::Expression { text: text.to_owned(), why: e.message });
                }
                "holders" | "query" => return Err(AudienceError::NeedsDirectory(text.to_owned())),
                _ => {}
            }
        }
        Address::parse(text).map(Self::Address).map_err(|_| {
            let near = WORDS
                .iter()
                .map(|w| (strsim::jaro_winkler(w, text), w))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            AudienceError::Unknown(crate::event::clip(text), near.map_or_else(String::new, |(_, word)| format!("; did you mean `{word}`?")))
        })
    }

    /// The people it finds for an event, each with the reason. `scope` is asked for only by an expression.
    ///
    /// # Errors
    /// Why it cannot be computed: the expression fails, the path holds no people.
    pub fn resolve<'s>(&self, event: &Event, scope: &dyn Fn() -> &'s Scope) -> Result<Vec<(Party, Reason)>, String> {
        let object = event.object.as_ref();
        let object_name = || object.map(|o| o.display_name().to_owned()).unwrap_or_default();
        let owners = |skip: usize, take: usize| -> Vec<(Party, Reason)> {
            let owners = object.map(|o| o.owners.as_slice()).unwrap_or_default();
            owners.iter().skip(skip).take(take).map(|owner| (owner.clone(), Reason::of("owner", object_name()))).collect()
        };
        Ok(match self {
            Self::Actor => event.actor.iter().map(|actor| (actor.clone(), Reason::plain("actor"))).collect(),
            Self::Object => match object {
                Some(group) if group.object_type == ObjectType::Group => members(group),
                Some(one) => vec![(one.clone(), Reason::plain("object"))],
                None => Vec::new(),
            },
            Self::Member => event.member.iter().map(|member| (member.clone(), Reason::of("member", object_name()))).collect(),
            Self::Members => object.map(members).unwrap_or_default(),
            Self::Manager(level) => managers(event, *level).into_iter().skip(usize::from(*level) - 1).collect(),
            Self::ObjectManager => {
                let manager = object.and_then(|object| object.manager.as_deref());
                manager.map(|manager| (manager.clone(), Reason::of("manager", object_name()))).into_iter().collect()
            }
            Self::Managers(level) => managers(event, *level),
            Self::Owners => owners(0, usize::MAX),
            Self::PrimaryOwner => owners(0, 1),
            Self::AdditionalOwners => owners(1, usize::MAX),
            Self::Named(name, reason) => people(event.data.get(*name))?.into_iter().map(|one| (one, Reason::plain(reason))).collect(),
            Self::Attribute(path) => {
                let pointer = format!("/{}", path.replace('.', "/"));
                people(lookup(&event.data, &pointer))?.into_iter().map(|one| (one, Reason::of("attribute", path.clone()))).collect()
            }
            Self::Expression(expression) => {
                people(Some(&expression.value(scope())?))?.into_iter().map(|one| (one, Reason::plain("expression"))).collect()
            }
            Self::Address(address) => vec![(Party::from_address(address.clone()), Reason::plain("address"))],
        })
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actor => f.write_str("actor"),
            Self::Object => f.write_str("object"),
            Self::Member => f.write_str("member"),
            Self::Manager(1) => f.write_str("manager"),
            Self::Manager(level) => write!(f, "manager:{level}"),
            Self::ObjectManager => f.write_str("object_manager"),
            Self::Managers(level) => write!(f, "managers:{level}"),
            Self::Owners => f.write_str("owners"),
            Self::PrimaryOwner => f.write_str("primary_owner"),
            Self::AdditionalOwners => f.write_str("additional_owners"),
            Self::Members => f.write_str("members"),
            Self::Named(name, _) => f.write_str(name),
            Self::Attribute(path) => write!(f, "attr:{path}"),
            Self::Expression(expression) => write!(f, "cel:{}", expression.source()),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

fn members(group: &Party) -> Vec<(Party, Reason)> {
    group.members.iter().map(|member| (member.clone(), Reason::of("members", group.display_name()))).collect()
}

/// The chain of managers above the member, or above the object if no member is concerned.
fn managers(event: &Event, levels: u8) -> Vec<(Party, Reason)> {
    let Some(person) = event.member.as_ref().or(event.object.as_ref()) else { return Vec::new() };
    let mut above = person.manager.as_deref();
    let mut chain = Vec::new();
    while let Some(manager) = above.filter(|_| chain.len() < usize::from(levels)) {
        chain.push((manager.clone(), Reason::of("manager", person.display_name())));
        above = manager.manager.as_deref();
    }
    chain
}

/// People written as addresses, objects, or lists of them.
fn people(value: Option<&Value>) -> Result<Vec<Party>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => {
            list.iter().map(|one| people(Some(one))).collect::<Result<Vec<_>, _>>().map(|lists| lists.into_iter().flatten().collect())
        }
        Value::String(text) if text.contains('@') => text
            .split([';', ','])
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(|t| Address::parse(t).map(Party::from_address).map_err(|e| e.to_string()))
            .collect(),
        one => {
            let mut faults: Vec<Fault> = Vec::new();
            Party::read(one, "", &mut faults)
                .map(|party| vec![party])
                .ok_or_else(|| faults.first().map_or_else(String::new, ToString::to_string))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::an_event;
    use serde_json::json;

    fn who(audience: &str) -> Vec<String> {
        let event = an_event()
            .with("object", json!({"type":"group","name":"Payroll","manager":{"mail":"om@example.org"},"owners":[{"mail":"a@example.org"},{"mail":"b@example.org","primary":true},{"mail":"c@example.org"}],"members":[{"mail":"m@example.org"}]}))
            .with("member", json!({"name":"Linus","mail":"l@example.org","manager":{"mail":"m1@example.org","manager":{"mail":"m2@example.org"}}}))
            .with("approvers", json!(["x@example.org", {"mail":"y@example.org"}]))
            .with("details", json!({"ticket": {"mailbox": "t@example.org; u@example.org"}}))
            .build();
        let found = Audience::parse(audience).unwrap().resolve(&event, &|| Box::leak(Box::new(Scope::of(&event)))).unwrap();
        found.into_iter().map(|(party, _)| party.mail.unwrap().to_string()).collect()
    }

    #[test]
    fn every_audience_finds_its_people() {
        assert_eq!(who("owners"), ["b@example.org", "a@example.org", "c@example.org"]);
        assert_eq!(who("primary_owner"), ["b@example.org"]);
        assert_eq!(who("additional_owners"), ["a@example.org", "c@example.org"]);
        assert_eq!(who("object"), ["m@example.org"]);
        assert_eq!(who("member"), ["l@example.org"]);
        assert_eq!(who("manager"), ["m1@example.org"]);
        assert_eq!(who("object_manager"), ["om@example.org"]);
        assert_eq!(who("managers:5"), ["m1@example.org", "m2@example.org"]);
        assert_eq!(who("approvers"), ["x@example.org", "y@example.org"]);
        assert_eq!(who("attr:details.ticket.mailbox"), ["t@example.org", "u@example.org"]);
        assert_eq!(who("cel:object.owners.filter(o, !has(o.primary)).map(o, o.mail)"), ["a@example.org", "c@example.org"]);
        assert_eq!(who("helpdesk@example.org"), ["helpdesk@example.org"]);
        assert!(who("requester").is_empty());
    }

    #[test]
    fn what_is_no_audience_is_refused_with_what_is_allowed() {
        assert!(Audience::parse("owner").unwrap_err().to_string().ends_with("did you mean `owners`?"));
        assert!(matches!(Audience::parse("managers:0"), Err(AudienceError::Level(_))));
        assert!(matches!(Audience::parse("holders:Payroll"), Err(AudienceError::NeedsDirectory(_))));
        assert!(matches!(Audience::parse("cel:nobody.mail"), Err(AudienceError::Expression { .. })));
    }
}
