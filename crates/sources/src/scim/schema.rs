//! The schemas of users and groups (RFC 7643 §§4, 8.7 and our two extensions): what the reading of resources checks against, and what `/Schemas` shows.

use serde_json::{Map, Value, json};
use tidings_core::subject::ObjectType;

/// The extension with a user's wishes about letters.
pub(super) const TIDINGS_USER: &str = "urn:ietf:params:scim:schemas:extension:tidings:2.0:User";
/// The extension with a group's owners.
pub(super) const TIDINGS_GROUP: &str = "urn:ietf:params:scim:schemas:extension:tidings:2.0:Group";
/// The enterprise extension (RFC 7643 §4.3).
pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// What sort of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Group,
}

/// The type of an attribute's values (RFC 7643 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Boolean,
    Moment,
    Binary,
    Reference,
    Complex,
}

/// Who may write an attribute, and whether it is ever shown (RFC 7643 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutability {
    ReadWrite,
    ReadOnly,
    Immutable,
    WriteOnly,
}

/// An attribute's definition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) of: Type,
    pub(super) many: bool,
    pub(super) required: bool,
    pub(super) exact: bool,
    pub(super) mutability: Mutability,
    pub(super) unique: bool,
    /// Shown only if it is asked for by name.
    pub(super) on_request: bool,
    /// Part of the schema as it is published. Terms of memberships, for one, are understood in a schema that is not ours to extend, and so not listed there.
    pub(super) listed: bool,
    pub(super) canonical: &'static [&'static str],
    pub(super) refers_to: &'static [&'static str],
    pub(super) subs: &'static [Attribute],
    pub(super) description: &'static str,
}

/// A schema.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) attributes: &'static [Attribute],
}

const fn of(of: Type, name: &'static str, description: &'static str) -> Attribute {
    let (many, required, exact, unique, on_request, listed) = (false, false, false, false, false, true);
    let (canonical, refers_to, subs): (&[&str], &[&str], &[Attribute]) = (&[], &[], &[]);
    Attribute {
        name,
        of,
        many,
        required,
        exact,
        mutability: Mutability::ReadWrite,
        unique,
        on_request,
        listed,
        canonical,
        refers_to,
        subs,
        description,
    }
}

const fn text(name: &'static str, description: &'static str) -> Attribute {
    of(Type::Text, name, description)
}

const fn flag(name: &'static str, description: &'static str) -> Attribute {
    of(Type::Boolean, name, description)
}

const fn complex(name: &'static str, subs: &'static [Attribute], description: &'static str) -> Attribute {
    Attribute { subs, ..of(Type::Complex, name, description) }
}

const fn reference(name: &'static str, refers_to: &'static [&'static str], description: &'static str) -> Attribute {
    Attribute { refers_to, exact: true, ..of(Type::Reference, name, description) }
}

impl Attribute {
    const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn on_request(self) -> Self {
        Self { on_request: true, ..self }
    }

    const fn unlisted(self) -> Self {
        Self { listed: false, ..self }
    }

    const fn is(self, mutability: Mutability) -> Self {
        Self { mutability, ..self }
    }

    const fn one_of(self, canonical: &'static [&'static str]) -> Self {
        Self { canonical, ..self }
    }

    /// The sub-attribute of this name, in any case.
    pub(super) fn sub(&self, name: &str) -> Option<&'static Attribute> {
        find(self.subs, name)
    }

    /// When it is shown (RFC 7643 §2.2).
    fn returned(&self) -> &'static str {
        match self.mutability {
            Mutability::WriteOnly => "never",
            _ if self.on_request => "request",
            _ => "default",
        }
    }

    /// As `/Schemas` shows it (RFC 7643 §7).
    fn to_json(self) -> Value {
        let mut map = Map::new();
        map.insert("name".to_owned(), json!(self.name));
        map.insert("type".to_owned(), json!(self.of.as_str()));
        map.insert("multiValued".to_owned(), json!(self.many));
        map.insert("description".to_owned(), json!(self.description));
        map.insert("required".to_owned(), json!(self.required));
        if self.of == Type::Complex {
            map.insert("subAttributes".to_owned(), self.subs.iter().filter(|sub| sub.listed).map(|sub| sub.to_json()).collect());
        } else {
            map.insert("caseExact".to_owned(), json!(self.exact));
        }
        if !self.canonical.is_empty() {
            map.insert("canonicalValues".to_owned(), json!(self.canonical));
        }
        if !self.refers_to.is_empty() {
            map.insert("referenceTypes".to_owned(), json!(self.refers_to));
        }
        map.insert("mutability".to_owned(), json!(self.mutability.as_str()));
        map.insert("returned".to_owned(), json!(self.returned()));
        map.insert("uniqueness".to_owned(), json!(if self.unique { "server" } else { "none" }));
        Value::Object(map)
    }
}

impl Type {
    /// The written name; `/Schemas` and messages say it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Boolean => "boolean",
            Self::Moment => "dateTime",
            Self::Binary => "binary",
            Self::Reference => "reference",
            Self::Complex => "complex",
        }
    }
}

impl Mutability {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "readWrite",
            Self::ReadOnly => "readOnly",
            Self::Immutable => "immutable",
            Self::WriteOnly => "writeOnly",
        }
    }
}

/// The attribute of this name, in any case.
pub(super) fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

impl Schema {
    /// As `/Schemas` shows it.
    pub(super) fn to_json(&self, base: &str) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "attributes": self.attributes.iter().filter(|attribute| attribute.listed).map(|attribute| attribute.to_json()).collect::<Value>(),
            "meta": {"resourceType": "Schema", "location": format!("{base}/Schemas/{}", self.id)},
        })
    }
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::User, Self::Group];

    /// This kind and no other.
    pub(super) const fn alone(self) -> &'static [Self] {
        match self {
            Self::User => &[Self::User],
            Self::Group => &[Self::Group],
        }
    }

    /// The name of the resource type.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// Where its resources live, without the slash.
    pub(super) const fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    /// What the mirror calls it.
    pub(super) const fn object_type(self) -> ObjectType {
        match self {
            Self::User => ObjectType::User,
            Self::Group => ObjectType::Group,
        }
    }

    /// What an object of the mirror is here.
    pub(super) fn of(object_type: &ObjectType) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.object_type() == *object_type)
    }

    /// Its own schema.
    pub(super) const fn core(self) -> &'static Schema {
        match self {
            Self::User => &USER,
            Self::Group => &GROUP,
        }
    }

    /// The extensions that we know.
    pub(super) const fn extensions(self) -> &'static [&'static Schema] {
        match self {
            Self::User => &USER_EXTENSIONS,
            Self::Group => &GROUP_EXTENSIONS,
        }
    }

    /// The known extension of this name.
    pub(super) fn extension(self, id: &str) -> Option<&'static Schema> {
        self.extensions().iter().find(|schema| schema.id.eq_ignore_ascii_case(id)).copied()
    }

    /// As `/ResourceTypes` shows it (RFC 7643 §6).
    pub(super) fn to_json(self, base: &str) -> Value {
        let extensions: Vec<Value> = self.extensions().iter().map(|schema| json!({"schema": schema.id, "required": false})).collect();
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.as_str(),
            "name": self.as_str(),
            "description": self.core().description,
            "endpoint": format!("/{}", self.endpoint()),
            "schema": self.core().id,
            "schemaExtensions": extensions,
            "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", self.as_str())},
        })
    }
}

static USER_EXTENSIONS: [&Schema; 2] = [&ENTERPRISE_USER, &TIDINGS_USER_SCHEMA];
static GROUP_EXTENSIONS: [&Schema; 1] = [&TIDINGS_GROUP_SCHEMA];

/// All schemas, in the order in which they are listed.
pub(super) static ALL: [&Schema; 5] = [&USER, &GROUP, &ENTERPRISE_USER, &TIDINGS_USER_SCHEMA, &TIDINGS_GROUP_SCHEMA];

/// Attributes of every resource that a client may write (RFC 7643 §3.1).
pub(super) static COMMON: [Attribute; 1] =
    [Attribute { exact: true, ..text("externalId", "The resource's name in the client's own system.") }];

const VALUE: Attribute = text("value", "The value itself.");
const DISPLAY: Attribute = text("display", "A name for it, for people.");
const PRIMARY: Attribute = flag("primary", "Whether this is the preferred one; true once at most.");

static NAME: [Attribute; 6] = [
    text("formatted", "The whole name, as it is shown."),
    text("familyName", "The family name."),
    text("givenName", "The given name."),
    text("middleName", "The middle names."),
    text("honorificPrefix", "Titles before the name."),
    text("honorificSuffix", "Suffixes behind the name."),
];

static EMAIL: [Attribute; 4] = [VALUE, DISPLAY, text("type", "What the address is for.").one_of(&["work", "home", "other"]), PRIMARY];
static PHONE: [Attribute; 4] =
    [VALUE, DISPLAY, text("type", "What the number is for.").one_of(&["work", "home", "mobile", "fax", "pager", "other"]), PRIMARY];
static IM: [Attribute; 4] = [VALUE, DISPLAY, text("type", "Which service."), PRIMARY];
static PHOTO: [Attribute; 4] = [
    reference("value", &["external"], "Where the picture is."),
    DISPLAY,
    text("type", "What sort of picture.").one_of(&["photo", "thumbnail"]),
    PRIMARY,
];
static ADDRESS: [Attribute; 8] = [
    text("formatted", "The whole address, as it is shown."),
    text("streetAddress", "Street, house number, post office box."),
    text("locality", "The city."),
    text("region", "The state or region."),
    text("postalCode", "The postal code."),
    text("country", "The country, as two letters of ISO 3166-1."),
    text("type", "What the address is for.").one_of(&["work", "home", "other"]),
    PRIMARY,
];
static LABELLED: [Attribute; 4] = [VALUE, DISPLAY, text("type", "What sort."), PRIMARY];
static CERTIFICATE: [Attribute; 4] = [
    Attribute { exact: true, ..of(Type::Binary, "value", "A certificate, DER in base 64.") },
    DISPLAY,
    text("type", "What sort."),
    PRIMARY,
];
static GROUP_OF_USER: [Attribute; 4] = [
    text("value", "The group's id.").is(Mutability::ReadOnly),
    reference("$ref", &["Group"], "Where the group is.").is(Mutability::ReadOnly),
    text("display", "The group's name.").is(Mutability::ReadOnly),
    text("type", "How the user belongs to it.").one_of(&["direct", "indirect"]).is(Mutability::ReadOnly),
];

static USER: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:User",
    name: "User",
    description: "A person with an account.",
    attributes: &[
        Attribute { unique: true, ..text("userName", "The name to sign in with; unique in the directory, letter case aside.") }.required(),
        complex("name", &NAME, "The parts of the name."),
        text("displayName", "The name shown to readers of letters."),
        text("nickName", "The casual name."),
        reference("profileUrl", &["external"], "A page about the user."),
        text("title", "The title, such as \"Vice President\"."),
        text("userType", "The relation to the organisation, such as \"Employee\"."),
        text("preferredLanguage", "The language that letters are written in, as a language tag."),
        text("locale", "The language that dates and numbers are written in; letters follow it if no language is preferred."),
        text("timezone", "The time zone, as IANA names it."),
        flag("active", "Whether the account is enabled; a disabled one is told nothing."),
        text("password", "Taken and thrown away: it is neither kept nor shown.").is(Mutability::WriteOnly),
        complex("emails", &EMAIL, "Mail addresses; letters go to the primary one, else the first for work, else the first.").many(),
        complex("phoneNumbers", &PHONE, "Telephone numbers.").many(),
        complex("ims", &IM, "Addresses for instant messages.").many(),
        complex("photos", &PHOTO, "Pictures.").many(),
        complex("addresses", &ADDRESS, "Postal addresses.").many(),
        complex("groups", &GROUP_OF_USER, "The groups that the user is a direct member of.").many().is(Mutability::ReadOnly),
        complex("entitlements", &LABELLED, "What the user is entitled to.").many(),
        complex("roles", &LABELLED, "The user's roles.").many(),
        complex("x509Certificates", &CERTIFICATE, "Certificates.").many(),
    ],
};

/// The sub-attributes of a member. Beginning and end of a membership are ours.
static MEMBER: [Attribute; 6] = [
    text("value", "The member's id.").is(Mutability::Immutable),
    reference("$ref", &["User", "Group"], "Where the member is.").is(Mutability::Immutable),
    text("type", "What the member is.").one_of(&["User", "Group"]).is(Mutability::Immutable),
    text("display", "The member's name.").is(Mutability::ReadOnly).on_request(),
    of(Type::Moment, "startsAt", "From when on, if the membership has not begun.").unlisted(),
    of(Type::Moment, "endsAt", "Until when, if the membership is for a time only.").unlisted(),
];

static GROUP: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:Group",
    name: "Group",
    description: "A group of users and other groups.",
    attributes: &[
        text("displayName", "The name shown to readers of letters.").required(),
        complex("members", &MEMBER, "Who belongs to it.").many(),
    ],
};

static MANAGER: [Attribute; 3] = [
    text("value", "The manager's id; a user name is understood, too."),
    reference("$ref", &["User"], "Where the manager is."),
    text("displayName", "The manager's name.").is(Mutability::ReadOnly).on_request(),
];

static ENTERPRISE_USER: Schema = Schema {
    id: ENTERPRISE,
    name: "EnterpriseUser",
    description: "What organisations know of their people.",
    attributes: &[
        text("employeeNumber", "The employee's number."),
        text("costCenter", "The cost centre."),
        text("organization", "The organisation."),
        text("division", "The division."),
        text("department", "The department."),
        complex("manager", &MANAGER, "The manager."),
    ],
};

static TIDINGS_USER_SCHEMA: Schema = Schema {
    id: TIDINGS_USER,
    name: "TidingsUser",
    description: "What a user wishes of letters.",
    attributes: &[flag("notify", "False if the user wishes none of the letters that may be switched off; true unless said.")],
};

static OWNER: [Attribute; 4] = [
    text("value", "The owner's id."),
    reference("$ref", &["User", "Group"], "Where the owner is."),
    text("displayName", "The owner's name.").is(Mutability::ReadOnly).on_request(),
    flag("notify", "False if the owner wishes no letters about this group; true unless said."),
];

static TIDINGS_GROUP_SCHEMA: Schema = Schema {
    id: TIDINGS_GROUP,
    name: "TidingsGroup",
    description: "Who answers for a group.",
    attributes: &[
        flag("public", "Whether everybody may join."),
        text("mail", "The group's own mail address."),
        complex("owner", &OWNER, "The primary owner."),
        // Not listed: whoever tries out what is listed adds the extension and then each attribute of it, and would take two owners for a fault.
        complex("additionalOwners", &OWNER, "Further owners.").many().unlisted(),
    ],
};
