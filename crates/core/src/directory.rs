//! Directories: identity stores as their sources give them. An entry is one object with its links; a change says what became of one.
//!
//! A source (LDAP, SCIM, CSV) makes [`Entry`]s from what it reads and hands [`Change`]s to the intake. The mirror (`store`) keeps the last state of each entry and tells what is
//! different; the intake makes events of that. What deliberately does not live here: protocols, and how an entry is kept.

use crate::{Locale, Timestamp, address::Address, subject::ObjectType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt};

/// One object of a directory with its links, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The object itself.
    pub head: Head,
    /// What it links to: members and owners of a group, the manager of a person. Each role and target once.
    pub links: Vec<Link>,
    /// The source's own form of the object, kept beside it for the source alone (a SCIM resource, for one); not compared and not shown to rules.
    pub document: Option<Vec<u8>>,
}

/// An object without its links.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Names the object for ever, never used again for another: `entryUUID`, `objectGUID`, a SCIM id, the key column of a file.
    pub key: String,
    /// By what name other entries of the directory link to it, if not by the key: the distinguished name, in the source's normal form.
    pub reference: Option<String>,
    /// What it is.
    pub object_type: ObjectType,
    /// The name shown to readers.
    pub name: Option<String>,
    /// Where letters to it go; a group may have one, too.
    pub mail: Option<Address>,
    /// The language it reads.
    pub locale: Option<Locale>,
    /// IANA time zone.
    pub timezone: Option<String>,
    /// Whether the account is enabled.
    pub enabled: bool,
    /// For a group: whether everybody may join.
    pub public: bool,
    /// False if the object wishes none of the letters that may be switched off ("do not notify").
    pub notify: bool,
    /// Whatever else the mapping asks for, by the mapping's names: `account`, `title`, `department` …; texts, numbers, truth values or lists of them.
    pub attributes: BTreeMap<String, Value>,
}

/// What one entry says of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// What the other one is to it.
    pub role: LinkRole,
    /// The other one: its reference, or its key where the directory has no references.
    pub to: String,
    /// From when on, if it is not so yet.
    pub starts_at: Option<Timestamp>,
    /// Until when, if it is for a time only.
    pub ends_at: Option<Timestamp>,
    /// True if this owner wishes no letters about this group.
    pub muted: bool,
}

/// What the target of a link is to the entry that bears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkRole {
    /// A member of the group.
    Member,
    /// The primary owner.
    Owner,
    /// A further owner.
    AdditionalOwner,
    /// The person's manager.
    Manager,
}

impl LinkRole {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Member, Self::Owner, Self::AdditionalOwner, Self::Manager];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Owner => "owner",
            Self::AdditionalOwner => "additional_owner",
            Self::Manager => "manager",
        }
    }

    /// The number that a table keeps.
    pub const fn number(self) -> i64 {
        match self {
            Self::Member => 0,
            Self::Owner => 1,
            Self::AdditionalOwner => 2,
            Self::Manager => 3,
        }
    }

    /// The role of a number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }
}

impl fmt::Display for LinkRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Link {
    /// A link without a beginning or an end.
    pub fn new(role: LinkRole, to: impl Into<String>) -> Self {
        Self { role, to: to.into(), starts_at: None, ends_at: None, muted: false }
    }
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What.
    pub what: Became,
    /// Who did it: a reference or key of the same directory, if the source knows.
    pub actor: Option<String>,
    /// When, if the source knows.
    pub at: Option<Timestamp>,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Became {
    /// It is now exactly this; new or changed.
    Is(Entry),
    /// Only this is different of the entry with this key: for sources that tell parts, and for groups too large to be told whole.
    Adjusted {
        /// The entry's key.
        key: String,
        /// Its head now, if that is told.
        head: Option<Head>,
        /// Links it has now; one that is there already takes over beginning and end.
        added: Vec<Link>,
        /// Links it has no longer.
        removed: Vec<(LinkRole, String)>,
        /// The source's own form now, if that is told.
        document: Option<Vec<u8>>,
    },
    /// It is gone.
    Gone {
        /// The entry's key.
        key: String,
    },
}

impl Change {
    /// A change of which neither actor nor moment is known.
    pub fn of(what: Became) -> Self {
        Self { what, actor: None, at: None }
    }

    /// The key of the entry it is about.
    pub fn key(&self) -> &str {
        match &self.what {
            Became::Is(entry) => &entry.head.key,
            Became::Adjusted { key, .. } | Became::Gone { key } => key,
        }
    }
}

impl Head {
    /// A user of whom only the key is known.
    pub fn new(object_type: ObjectType, key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reference: None,
            object_type,
            name: None,
            mail: None,
            locale: None,
            timezone: None,
            enabled: true,
            public: false,
            notify: true,
            attributes: BTreeMap::new(),
        }
    }

    /// By what name other entries link to it.
    pub fn referred_to_as(&self) -> &str {
        self.reference.as_deref().unwrap_or(&self.key)
    }

    /// As an event's data shows it ([`crate::subject::Party`] reads it back): the known fields, then the attributes; an attribute does not hide a field.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("type".to_owned(), json!(self.object_type.as_str()));
        map.insert("id".to_owned(), json!(self.key));
        let texts = [
            ("name", self.name.clone()),
            ("mail", self.mail.as_ref().map(ToString::to_string)),
            ("locale", self.locale.as_ref().map(ToString::to_string)),
            ("timezone", self.timezone.clone()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                map.insert(name.to_owned(), Value::String(text));
            }
        }
        map.insert("enabled".to_owned(), json!(self.enabled));
        if self.object_type == ObjectType::Group {
            map.insert("public".to_owned(), json!(self.public));
        }
        if !self.notify {
            map.insert("notify".to_owned(), json!(false));
        }
        for (name, value) in &self.attributes {
            if !map.contains_key(name) {
                map.insert(name.clone(), value.clone());
            }
        }
        map
    }

    /// What is different, as an event's `before` and `after` show it: only what differs; a value that is not there on one side stands there as `null`.
    /// `None` if nothing differs that a reader could care about: the reference alone is no news, it follows name and place.
    pub fn differences(&self, after: &Self) -> Option<(Map<String, Value>, Map<String, Value>)> {
        let (old, new) = (self.to_json(), after.to_json());
        let (mut was, mut is) = (Map::new(), Map::new());
        let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names.filter(|name| old.get(*name) != new.get(*name)) {
            was.insert(name.clone(), old.get(name).cloned().unwrap_or(Value::Null));
            is.insert(name.clone(), new.get(name).cloned().unwrap_or(Value::Null));
        }
        if was.is_empty() { None } else { Some((was, is)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Head {
        let mut ada = Head::new(ObjectType::User, "u1");
        ada.name = Some("Ada".to_owned());
        ada.attributes.insert("title".to_owned(), json!("Engineer"));
        ada
    }

    #[test]
    fn only_what_differs_is_told() {
        let mut after = ada();
        after.attributes.insert("title".to_owned(), json!("Head of engineering"));
        after.mail = Some(Address::parse("ada@example.org").unwrap());
        after.reference = Some("cn=ada".to_owned());
        let (was, is) = ada().differences(&after).unwrap();
        assert_eq!(Value::Object(was), json!({"title": "Engineer", "mail": null}));
        assert_eq!(Value::Object(is), json!({"title": "Head of engineering", "mail": "ada@example.org"}));
    }

    #[test]
    fn another_place_in_the_tree_is_no_news() {
        let mut after = ada();
        after.reference = Some("cn=ada,ou=moved".to_owned());
        assert!(ada().differences(&after).is_none());
    }

    #[test]
    fn an_attribute_does_not_hide_a_field() {
        let mut head = ada();
        head.attributes.insert("name".to_owned(), json!("somebody else"));
        assert_eq!(head.to_json()["name"], json!("Ada"));
    }
}
