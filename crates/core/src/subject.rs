//! The people, groups and other objects that an event speaks of, read from its data.

use crate::{
    address::Address,
    directory::Head,
    fault::{Fault, Place, has_control, name_of},
    locale::Locale,
};
use serde_json::{Map, Value};

/// What sort of object something is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ObjectType {
    /// A person.
    #[default]
    User,
    /// A group or role with members and owners.
    Group,
    /// Somebody outside, known by address only.
    Contact,
    /// An account of a person in some system.
    Account,
    /// Anything else, by its own name: `connector`, `campaign` …
    Other(String),
}

impl ObjectType {
    /// The written name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Contact => "contact",
            Self::Account => "account",
            Self::Other(name) => name,
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "user" | "person" => Self::User,
            "group" | "role" => Self::Group,
            "contact" => Self::Contact,
            "account" => Self::Account,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A person, group or object as an event gives it.
#[derive(Debug, Clone, Default)]
pub struct Party {
    /// What it is; a party that does not say is a user.
    pub object_type: ObjectType,
    /// The directory it is of, if that is one that is mirrored.
    pub directory: Option<String>,
    /// Its key in its own system.
    pub id: Option<String>,
    /// Set when the event names it only as `"directory/id"`.
    pub reference: Option<String>,
    /// The name shown to readers.
    pub name: Option<String>,
    /// Where letters to it go.
    pub mail: Option<Address>,
    /// The language it reads.
    pub locale: Option<Locale>,
    /// IANA time zone, `Europe/Paris`; not checked against a database here.
    pub timezone: Option<String>,
    /// Whether the account is enabled; people who are disabled are not told anything.
    pub enabled: bool,
    /// For a group: whether everybody may join.
    pub public: bool,
    /// True if it wishes none of the letters that may be switched off (`"notify": false`).
    pub muted: bool,
    /// The person's manager, who may have one in turn.
    pub manager: Option<Box<Party>>,
    /// Owners, the primary ones first.
    pub owners: Vec<Party>,
    /// How many of the owners say `"primary": true`; if none does, the first is the primary owner.
    pub marked_owners: usize,
    /// Members of a group.
    pub members: Vec<Party>,
}

/// How deep people may hang below each other (`manager` of `manager` …).
const MAX_DEPTH: usize = 16;

impl Party {
    /// Somebody of whom only the address is known.
    pub fn from_address(address: Address) -> Self {
        Self { mail: Some(address), enabled: true, ..Self::default() }
    }

    /// A mirrored object, without its links.
    pub fn of_head(directory: &str, head: &Head) -> Self {
        Self {
            object_type: head.object_type.clone(),
            directory: Some(directory.to_owned()),
            id: Some(head.key.clone()),
            name: head.name.clone(),
            mail: head.mail.clone(),
            locale: head.locale.clone(),
            timezone: head.timezone.clone(),
            enabled: head.enabled,
            public: head.public,
            muted: !head.notify,
            ..Self::default()
        }
    }

    /// What to call it in a letter: its name, else the address, else its key.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().or(self.mail.as_ref().map(Address::as_str)).or(self.id.as_deref()).or(self.reference.as_deref()).unwrap_or("?")
    }

    /// The primary owners: those marked, else the first. Several are alike: a directory whose attribute for owners takes several values gives none of them precedence.
    pub fn primary_owners(&self) -> &[Self] {
        &self.owners[..self.marked_owners.max(1).min(self.owners.len())]
    }

    /// The owners who are not primary ones.
    pub fn additional_owners(&self) -> &[Self] {
        &self.owners[self.primary_owners().len()..]
    }

    /// Reads a party from an event's data.
    ///
    /// # Errors
    /// Everything wrong below `pointer` is added to `faults`; the party is returned only if nothing was.
    pub fn read(value: &Value, pointer: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        Self::read_below(value, &Place::At(pointer), faults)
    }

    /// As [`Party::read`], at a place.
    pub(crate) fn read_below(value: &Value, at: &Place<'_>, faults: &mut Vec<Fault>) -> Option<Self> {
        let before = faults.len();
        let party = Self::read_at(value, at, faults, 0);
        if faults.len() == before { party } else { None }
    }

    fn read_at(value: &Value, at: &Place<'_>, faults: &mut Vec<Fault>, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            faults.push(at.fault(format!("people hang more than {MAX_DEPTH} deep below each other")));
            return None;
        }
        match value {
            Value::String(reference) => {
                if reference.is_empty() || has_control(reference, b"") {
                    faults.push(at.fault("a reference is written `directory/id`"));
                    return None;
                }
                Some(Self { reference: Some(reference.clone()), enabled: true, ..Self::default() })
            }
            Value::Object(map) => Some(Self::read_map(map, at, faults, depth)),
            other => {
                faults.push(at.fault(format!("expected an object or a reference `directory/id`, found {}", name_of(other))));
                None
            }
        }
    }

    fn read_map(map: &Map<String, Value>, at: &Place<'_>, faults: &mut Vec<Fault>, depth: usize) -> Self {
        let mut party = Self { enabled: true, ..Self::default() };
        for (key, value) in map {
            let here = at.key(key);
            match key.as_str() {
                "type" => party.object_type = line(value, &here, faults).map(|name| ObjectType::from_name(&name)).unwrap_or_default(),
                "directory" => party.directory = line(value, &here, faults),
                "id" => party.id = line(value, &here, faults),
                "name" => party.name = line(value, &here, faults),
                "timezone" => party.timezone = line(value, &here, faults),
                "mail" => party.mail = parsed(value, &here, faults, |text| Address::parse(text).map_err(|e| e.to_string())),
                "locale" => {
                    party.locale = parsed(value, &here, faults, |text| text.parse().map_err(|e: crate::locale::LocaleError| e.to_string()));
                }
                "enabled" => party.enabled = flag(value, &here, faults).unwrap_or(true),
                "public" => party.public = flag(value, &here, faults).unwrap_or(false),
                "notify" => party.muted = !flag(value, &here, faults).unwrap_or(true),
                "manager" if !value.is_null() => party.manager = Self::read_at(value, &here, faults, depth + 1).map(Box::new),
                "owners" => (party.owners, party.marked_owners) = Self::owners_first_primary(value, &here, faults, depth),
                "members" => party.members = Self::read_list(value, &here, faults, depth),
                _ => {}
            }
        }
        party
    }

    /// The owners, those marked as primary first, and how many are.
    fn owners_first_primary(value: &Value, at: &Place<'_>, faults: &mut Vec<Fault>, depth: usize) -> (Vec<Self>, usize) {
        let owners = Self::read_list(value, at, faults, depth);
        let marked = |index: usize| value.get(index).and_then(|owner| owner.get("primary")).and_then(Value::as_bool) == Some(true);
        let (mut first, others): (Vec<_>, Vec<_>) = owners.into_iter().enumerate().partition(|(index, _)| marked(*index));
        let primary = first.len();
        first.extend(others);
        (first.into_iter().map(|(_, owner)| owner).collect(), primary)
    }

    /// Reads a list of parties, or one alone.
    pub(crate) fn read_list(value: &Value, at: &Place<'_>, faults: &mut Vec<Fault>, depth: usize) -> Vec<Self> {
        match value {
            Value::Null => Vec::new(),
            Value::Array(list) => {
                list.iter().enumerate().filter_map(|(index, one)| Self::read_at(one, &at.index(index), faults, depth + 1)).collect()
            }
            one => Self::read_at(one, at, faults, depth + 1).into_iter().collect(),
        }
    }
}

/// One line of text, as it may stand in a header: no control characters.
fn line(value: &Value, here: &Place<'_>, faults: &mut Vec<Fault>) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if has_control(text, b"") => {
            faults.push(here.fault("holds a line break, NUL or another control character, which is not allowed here"));
            None
        }
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        other => {
            faults.push(here.fault(format!("expected a text, found {}", name_of(other))));
            None
        }
    }
}

fn parsed<T>(value: &Value, here: &Place<'_>, faults: &mut Vec<Fault>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => match parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                faults.push(here.fault(why));
                None
            }
        },
        other => {
            faults.push(here.fault(format!("expected a text, found {}", name_of(other))));
            None
        }
    }
}

fn flag(value: &Value, here: &Place<'_>, faults: &mut Vec<Fault>) -> Option<bool> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(*flag),
        other => {
            faults.push(here.fault(format!("expected true or false, found {}", name_of(other))));
            None
        }
    }
}
