//! Audiences: whom a rule speaks to, resolved from the event's data and the facts.

use super::{
    condition::{Condition, Scope},
    facts::{Crowd, Facts, Found, Want},
};
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
    /// The members of the group, those of member groups as well.
    Members,
    /// The group's own mail address.
    MembersMail,
    /// The group's owners, in place of its members.
    MembersOwners,
    /// Everybody in the groups or roles of this name, `NAME` or `DIRECTORY/NAME`.
    Holders(String),
    /// What a stored query of the configuration finds.
    Query(String),
    /// Everybody in a group or role that grants a permission.
    Permission {
        /// The path of the permission.
        path: String,
        /// Only the whole path counts; otherwise a parent of it does, too.
        strict: bool,
    },
    /// Who did a named past step: `performers.STEP` of the data.
    Performer(String),
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
        "`{0}` is not an audience; allowed are actor, object, member, manager, object_manager, managers:N, owners, primary_owner, additional_owners, members, members:mail, members:owners, approvers, requester, reviewers, subscribers, performer:STEP, holders:NAME, query:NAME, permission:/PATH, attr:PATH, cel:EXPRESSION or a mail address{1}"
    )]
    Unknown(String, String),
    /// `managers:` without a level from 1 to 9.
    #[error("`{0}`: the level must be a number from 1 to 9")]
    Level(String),
    /// What stands behind the colon is none of the ways there are.
    #[error("`{0}`: `members:` is followed by `mail` or `owners`; `members` alone means the people in the group")]
    Members(String),
    /// A permission's path is not one.
    #[error("`{0}`: a permission is a path such as `/Custom/WorkflowsNotifications/hire/approve`")]
    Permission(String),
    /// Nothing stands behind the colon.
    #[error("`{0}`: a name is missing behind the colon")]
    NoName(String),
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
                "manager" | "managers" => {
                    return match argument.parse() {
                        Ok(level @ 1..=9) if word == "manager" => Ok(Self::Manager(level)),
                        Ok(level @ 1..=9) => Ok(Self::Managers(level)),
                        _ => Err(AudienceError::Level(text.to_owned())),
                    };
                }
                "members" => {
                    return match argument {
                        "mail" => Ok(Self::MembersMail),
                        "owners" => Ok(Self::MembersOwners),
                        _ => Err(AudienceError::Members(crate::event::clip(text))),
                    };
                }
                "holders" | "query" | "permission" | "performer" | "attr" if argument.trim().is_empty() => {
                    return Err(AudienceError::NoName(text.to_owned()));
                }
                "holders" => return Ok(Self::Holders(argument.to_owned())),
                "query" => return Ok(Self::Query(argument.to_owned())),
                "performer" => return Ok(Self::Performer(argument.to_owned())),
                "permission" => return permission(text, argument),
                "attr" => return Ok(Self::Attribute(argument.to_owned())),
                "cel" => {
                    return Condition::compile(argument)
                        .map(Self::Expression)
                        .map_err(|e| AudienceError::Expression { text: text.to_owned(), why: e.message });
                }
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

    /// Whether only a mirrored directory can tell whom it means.
    pub fn needs_directory(&self) -> bool {
        matches!(self, Self::Holders(_) | Self::Query(_) | Self::Permission { .. })
    }

    /// The same with the strict reading of a permission: holding a parent of the path does not count.
    #[must_use]
    pub fn strictly(self) -> Self {
        match self {
            Self::Permission { path, .. } => Self::Permission { path, strict: true },
            other => other,
        }
    }

    /// Whom it finds for an event, each with the reason. `scope` is asked for only by an expression.
    ///
    /// # Errors
    /// Why it cannot be computed: the expression fails, the path holds no people.
    pub fn resolve<'s, 'f>(&self, event: &Event, facts: &'f Facts, scope: &dyn Fn() -> &'s Scope) -> Result<Reached<'f>, String> {
        let object = event.object.as_ref();
        let object_name = || object.map(|o| o.display_name().to_owned()).unwrap_or_default();
        let mut reached = Reached { people: Vec::new(), crowds: Vec::new(), wants: Vec::new(), facts };
        let owners = |of: fn(&Party) -> &[Party]| -> Vec<(Party, Reason)> {
            object.map(of).unwrap_or_default().iter().map(|owner| (owner.clone(), Reason::of("owner", object_name()))).collect()
        };
        let each = |people: Vec<Party>, reason: &Reason| people.into_iter().map(|one| (one, reason.clone())).collect::<Vec<_>>();
        match self {
            Self::Actor => reached.add(event.actor.iter().map(|actor| (actor.clone(), Reason::plain("actor")))),
            Self::Object | Self::Members => match object.map(|object| reached.known(object)) {
                Some(group) if group.object_type == ObjectType::Group => reached.members(&group)?,
                Some(one) if matches!(self, Self::Object) => reached.add([(one, Reason::plain("object"))]),
                _ => {}
            },
            Self::MembersMail => reached.people.extend(object.map(|group| (group.clone(), Reason::of("members", object_name())))),
            Self::Member => reached.add(event.member.iter().map(|member| (member.clone(), Reason::of("member", object_name())))),
            Self::Manager(level) => reached.add(managers(event, *level).into_iter().skip(usize::from(*level) - 1)),
            Self::ObjectManager => {
                let manager = object.and_then(|object| object.manager.as_deref());
                reached.add(manager.map(|manager| (manager.clone(), Reason::of("manager", object_name()))));
            }
            Self::Managers(level) => reached.add(managers(event, *level)),
            Self::Owners | Self::MembersOwners => reached.add(owners(|object| &object.owners)),
            Self::PrimaryOwner => reached.add(owners(Party::primary_owners)),
            Self::AdditionalOwners => reached.add(owners(Party::additional_owners)),
            Self::Named(name, reason) => reached.add(each(people(event.data.get(*name))?, &Reason::plain(reason))),
            Self::Performer(step) => {
                let performers = event.data.get("performers").and_then(|performers| performers.get(step));
                reached.add(each(people(performers)?, &Reason::of("performer", step.clone())));
            }
            Self::Attribute(path) => {
                let pointer = format!("/{}", path.replace('.', "/"));
                reached.add(each(people(lookup(&event.data, &pointer))?, &Reason::of("attribute", path.clone())));
            }
            Self::Expression(expression) => reached.add(each(people(Some(&expression.value(scope())?))?, &Reason::plain("expression"))),
            Self::Holders(name) => reached.crowd(Crowd::Holders(name.clone()), Reason::of("holder", name.clone()))?,
            Self::Query(name) => reached.crowd(Crowd::Query(name.clone()), Reason::of("query", name.clone()))?,
            Self::Permission { path, strict } => {
                reached.crowd(Crowd::Permission { path: path.clone(), strict: *strict }, Reason::of("permission", path.clone()))?;
            }
            Self::Address(address) => reached.people.push((Party::from_address(address.clone()), Reason::plain("address"))),
        }
        Ok(reached)
    }
}

/// Whom an audience has found.
pub struct Reached<'f> {
    /// Everybody who can be looked at now.
    pub people: Vec<(Party, Reason)>,
    /// Crowds too large for that, with the reason and their size as far as it is known.
    pub crowds: Vec<(Crowd, Reason, Option<u64>)>,
    /// What it lacked; once that is known, it may find more.
    pub wants: Vec<Want>,
    facts: &'f Facts,
}

impl Reached<'_> {
    /// The party that a reference means, if it is known by now.
    fn known(&mut self, party: &Party) -> Party {
        let Some(reference) = party.reference.as_ref().filter(|_| party.mail.is_none()) else { return party.clone() };
        match self.facts.party(reference) {
            Some(Some(known)) => known.clone(),
            Some(None) => party.clone(),
            None => {
                if self.facts.can_ask() {
                    self.wants.push(Want::Party(reference.clone()));
                }
                party.clone()
            }
        }
    }

    /// Adds people; a group without an address of its own stands for the people in it.
    fn add(&mut self, people: impl IntoIterator<Item = (Party, Reason)>) {
        for (party, reason) in people {
            let party = self.known(&party);
            if party.object_type != ObjectType::Group || party.mail.is_some() {
                self.people.push((party, reason));
                continue;
            }
            let place = self.people.len();
            self.group(&party, &reason);
            // A group's wish not to be told is that of all in it.
            self.people[place..].iter_mut().for_each(|(one, _)| one.muted |= party.muted);
        }
    }

    fn group(&mut self, group: &Party, reason: &Reason) {
        let Some(crowd) = crowd_of(group).filter(|_| group.members.is_empty()) else {
            if group.members.is_empty() {
                self.people.push((group.clone(), reason.clone()));
            }
            return self.people.extend(group.members.iter().map(|member| (member.clone(), reason.clone())));
        };
        if self.crowd(crowd, reason.clone()).is_err() {
            // Whoever is meant is nobody we know: it stays what it is, a group without an address.
            self.people.push((group.clone(), reason.clone()));
        }
    }

    /// The members of the group that the event is about: those it names, else those of the mirror.
    fn members(&mut self, group: &Party) -> Result<(), String> {
        let reason = Reason::of("members", group.display_name());
        if group.members.is_empty() {
            return crowd_of(group).map_or(Ok(()), |crowd| self.crowd(crowd, reason));
        }
        self.add(group.members.iter().map(|member| (member.clone(), reason.clone())));
        Ok(())
    }

    fn crowd(&mut self, crowd: Crowd, reason: Reason) -> Result<(), String> {
        match self.facts.crowd(&crowd) {
            Some(Found::Few(people)) => self.people.extend(people.iter().map(|one| (one.clone(), reason.clone()))),
            Some(Found::Many(size)) => self.crowds.push((crowd, reason, *size)),
            Some(Found::Unknown(why)) => return Err(why.clone()),
            None if self.facts.can_ask() => self.wants.push(Want::Crowd(crowd)),
            None => return Err(format!("{crowd}: no directory is mirrored here")),
        }
        Ok(())
    }
}

/// The crowd that a mirrored group is.
fn crowd_of(group: &Party) -> Option<Crowd> {
    Some(Crowd::Members { directory: group.directory.clone()?, key: group.id.clone()? })
}

/// A permission as a rule writes it.
fn permission(text: &str, path: &str) -> Result<Audience, AudienceError> {
    let path = path.trim_end_matches('/');
    if !path.starts_with('/') || path.contains("//") || path.chars().any(char::is_control) {
        return Err(AudienceError::Permission(crate::event::clip(text)));
    }
    Ok(Audience::Permission { path: path.to_owned(), strict: false })
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
            Self::MembersMail => f.write_str("members:mail"),
            Self::MembersOwners => f.write_str("members:owners"),
            Self::Holders(name) => write!(f, "holders:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Permission { path, .. } => write!(f, "permission:{path}"),
            Self::Performer(step) => write!(f, "performer:{step}"),
            Self::Named(name, _) => f.write_str(name),
            Self::Attribute(path) => write!(f, "attr:{path}"),
            Self::Expression(expression) => write!(f, "cel:{}", expression.source()),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
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
        let facts = Facts::NONE;
        let found = Audience::parse(audience).unwrap().resolve(&event, &facts, &|| Box::leak(Box::new(Scope::of(&event)))).unwrap();
        found.people.into_iter().map(|(party, _)| party.mail.unwrap().to_string()).collect()
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
    fn of_several_owners_who_are_marked_none_comes_before_the_others() {
        let owners = |marks: [bool; 3]| {
            let list: Vec<_> = ["a", "b", "c"]
                .iter()
                .zip(marks)
                .map(|(name, mark)| json!({"mail": format!("{name}@example.org"), "primary": mark}))
                .collect();
            an_event().with("object", json!({"type": "group", "owners": list})).build().object.unwrap()
        };
        let mails = |owners: &[Party]| owners.iter().map(|owner| owner.mail.as_ref().unwrap().to_string()).collect::<Vec<_>>().join(" ");
        for (marks, primary, additional) in [
            ([true, false, true], "a@example.org c@example.org", "b@example.org"),
            ([true; 3], "a@example.org b@example.org c@example.org", ""),
            ([false; 3], "a@example.org", "b@example.org c@example.org"),
        ] {
            let object = owners(marks);
            assert_eq!((mails(object.primary_owners()), mails(object.additional_owners())), (primary.to_owned(), additional.to_owned()));
        }
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            "manager",
            "manager:3",
            "managers:2",
            "members:mail",
            "members:owners",
            "holders:corp/Payroll",
            "query:leavers",
            "permission:/Custom/x",
            "performer:review",
        ] {
            assert_eq!(Audience::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_group_without_an_address_stands_for_its_people_and_what_is_not_known_is_asked_for() {
        let group = json!({"type": "group", "directory": "corp", "id": "g", "name": "Payroll"});
        let event = an_event().with("object", group.clone()).with("member", group).with("actor", json!("corp/u1")).build();
        let crowd = || Crowd::Members { directory: "corp".into(), key: "g".into() };
        let resolve = |audience: &str, facts: &Facts| {
            let scope = || &*Box::leak(Box::new(Scope::of(&event)));
            let found = Audience::parse(audience).unwrap().resolve(&event, facts, &scope)?;
            let people: Vec<String> =
                found.people.iter().map(|(party, reason)| format!("{} {}", party.display_name(), reason.code)).collect();
            Ok::<_, String>((people, found.crowds.len(), found.wants))
        };
        let mut facts = Facts::asking();
        assert_eq!(resolve("object", &facts).unwrap().2, [Want::Crowd(crowd())]);
        assert_eq!(resolve("actor", &facts).unwrap().2, [Want::Party("corp/u1".into())]);
        facts.add_crowd(crowd(), Found::Few(vec![Party::from_address(Address::parse("a@example.org").unwrap())]));
        assert_eq!(resolve("object", &facts).unwrap().0, ["a@example.org members"]);
        assert_eq!(resolve("member", &facts).unwrap().0, ["a@example.org member"]);
        facts.add_crowd(crowd(), Found::Many(Some(5000)));
        assert_eq!(resolve("members", &facts).unwrap(), (vec![], 1, vec![]));
        facts.add_crowd(Crowd::Query("q".into()), Found::Unknown("no query".into()));
        assert_eq!(resolve("query:q", &facts), Err("no query".into()));
        assert!(resolve("holders:X", &Facts::NONE).unwrap_err().contains("no directory is mirrored"));
    }

    #[test]
    fn what_is_no_audience_is_refused_with_what_is_allowed() {
        assert!(Audience::parse("owner").unwrap_err().to_string().ends_with("did you mean `owners`?"));
        assert!(matches!(Audience::parse("managers:0"), Err(AudienceError::Level(_))));
        assert!(matches!(Audience::parse("members:all"), Err(AudienceError::Members(_))));
        assert!(matches!(Audience::parse("holders:"), Err(AudienceError::NoName(_))));
        assert!(matches!(Audience::parse("permission:Custom/x"), Err(AudienceError::Permission(_))));
        assert!(matches!(Audience::parse("cel:nobody.mail"), Err(AudienceError::Expression { .. })));
    }
}
