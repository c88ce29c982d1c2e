//! What the attributes of a directory mean: presets for the common ones, each part of which can be set otherwise; and the making of an [`Entry`] by it.

use super::{
    dn,
    message::RawEntry,
    values::{self, text, truth},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tidings_core::{
    Address, Timestamp,
    directory::{Entry, Head, Link, LinkRole},
    subject::ObjectType,
};

/// A directory whose attributes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Microsoft Active Directory, Samba.
    ActiveDirectory,
    /// `inetOrgPerson`, `groupOfNames`, `groupOfUniqueNames`: OpenLDAP and most others.
    OpenLdap,
    /// FreeIPA, Red Hat Identity Management.
    FreeIpa,
}

/// What the attributes of a directory mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// By target: the attributes to look into, the first that has a value counts; all of them for links.
    targets: BTreeMap<String, Vec<String>>,
}

/// Targets that are fields of an object.
const FIELDS: [&str; 8] = ["key", "name", "mail", "locale", "timezone", "enabled", "public", "notify"];
/// Targets that are links, and of which role.
const LINKS: [(&str, LinkRole); 4] = [
    ("member", LinkRole::Member),
    ("owner", LinkRole::Owner),
    ("additional_owner", LinkRole::AdditionalOwner),
    ("manager", LinkRole::Manager),
];
/// Owners that wish no letters about this group.
const MUTED: &str = "muted_owner";
/// Targets whose values are object classes.
const CLASSES: [&str; 3] = ["group_classes", "contact_classes", "user_classes"];
/// Who changed the entry, and when.
const ACTOR: &str = "changed_by";
const MOMENT: &str = "changed_at";

/// A value of an account's `userAccountControl` (MS-ADTS §2.2.16): disabled.
const ACCOUNT_DISABLED: i64 = 0x2;
/// What an administrator writes to lock an account for good (draft-behera-ldap-password-policy, `pwdAccountLockedTime`); another moment is a lock that goes by itself.
const LOCKED_FOR_GOOD: &str = "000001010000Z";

/// What an entry came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mapped {
    pub(crate) entry: Entry,
    /// Who changed it, as a normal name.
    pub(crate) actor: Option<String>,
    /// When.
    pub(crate) at: Option<Timestamp>,
}

impl Mapping {
    /// The mapping of a preset.
    pub fn preset(preset: Preset) -> Self {
        let common = [
            ("mail", "mail"),
            ("locale", "preferredLanguage"),
            ("manager", "manager"),
            ("title", "title"),
            ("given_name", "givenName"),
            ("family_name", "sn"),
            ("description", "description"),
            ("phone", "telephoneNumber"),
            ("changed_by", "modifiersName"),
            ("changed_at", "modifyTimestamp"),
        ];
        let own: &[(&str, &str)] = match preset {
            Preset::ActiveDirectory => &[
                ("key", "objectGUID"),
                ("name", "displayName name cn"),
                ("enabled", "userAccountControl"),
                ("member", "member"),
                ("owner", "managedBy"),
                ("additional_owner", "msExchCoManagedByLink"),
                ("account", "sAMAccountName"),
                ("upn", "userPrincipalName"),
                ("department", "department"),
                ("company", "company"),
                ("employee_number", "employeeID"),
                ("changed_by", ""),
                ("changed_at", "whenChanged"),
                ("group_classes", "group"),
                ("contact_classes", "contact"),
                ("user_classes", "user"),
            ],
            Preset::OpenLdap => &[
                ("key", "entryUUID"),
                ("name", "displayName cn"),
                ("enabled", "pwdAccountLockedTime"),
                ("member", "member uniqueMember"),
                ("owner", "owner"),
                ("account", "uid"),
                ("department", "departmentNumber"),
                ("employee_number", "employeeNumber"),
                ("employee_type", "employeeType"),
                ("group_classes", "groupOfNames groupOfUniqueNames groupOfMembers"),
                ("contact_classes", ""),
                ("user_classes", "inetOrgPerson"),
            ],
            Preset::FreeIpa => &[
                ("key", "ipaUniqueID"),
                ("name", "displayName cn"),
                ("enabled", "nsAccountLock"),
                ("member", "member"),
                ("owner", "owner"),
                ("additional_owner", "memberManager"),
                ("account", "uid"),
                ("department", "departmentNumber"),
                ("employee_number", "employeeNumber"),
                ("employee_type", "employeeType"),
                ("group_classes", "ipaUserGroup groupOfNames"),
                ("contact_classes", ""),
                ("user_classes", "inetOrgPerson"),
            ],
        };
        let mut targets = BTreeMap::new();
        for (target, attributes) in common.iter().chain(own) {
            targets.insert((*target).to_owned(), attributes.split_whitespace().map(str::to_owned).collect());
        }
        Self { targets }
    }

    /// Takes a target from other attributes: from the first of them that has a value, or for links from all. With none it is not looked for.
    ///
    /// Targets are `key`, `name`, `mail`, `locale`, `timezone`, `enabled`, `public`, `notify` (an attribute with `!` before it is read the other way round); the links `member`,
    /// `owner`, `additional_owner`, `manager`; `muted_owner`; `changed_by`, `changed_at`; `group_classes`, `contact_classes`, `user_classes`, which take object classes;
    /// and every other name, which becomes an attribute of the object.
    pub fn set(&mut self, target: impl Into<String>, attributes: Vec<String>) {
        self.targets.insert(target.into(), attributes);
    }

    /// The names that have a meaning of their own as targets.
    pub fn known_targets() -> impl Iterator<Item = &'static str> {
        FIELDS.into_iter().chain(LINKS.map(|(name, _)| name)).chain([MUTED, ACTOR, MOMENT]).chain(CLASSES)
    }

    /// The attribute that names an entry for ever.
    pub fn key(&self) -> &str {
        self.of("key").first().map_or("entryUUID", String::as_str)
    }

    /// The filter for everything that the mapping knows as user, group or contact.
    pub fn default_filter(&self) -> String {
        let classes: Vec<String> =
            CLASSES.iter().flat_map(|target| self.of(target)).map(|class| format!("(objectClass={class})")).collect();
        match classes.as_slice() {
            [] => "(objectClass=*)".to_owned(),
            // A computer's account is a user in Active Directory, but no person.
            _ if self.key().eq_ignore_ascii_case("objectGUID") => format!("(&(|{})(!(objectClass=computer)))", classes.concat()),
            _ => format!("(|{})", classes.concat()),
        }
    }

    /// Whether the key is what content synchronisation calls an entry by. 389 Directory Server makes it of `nsUniqueId`.
    pub(crate) fn key_is_entry_uuid(&self) -> bool {
        ["entryUUID", "nsUniqueId"].iter().any(|name| self.key().eq_ignore_ascii_case(name))
    }

    /// The attribute that says when an entry was changed.
    pub(crate) fn moment(&self) -> Option<&str> {
        self.of(MOMENT).first().map(String::as_str)
    }

    /// The attributes that hold members.
    pub(crate) fn members(&self) -> &[String] {
        self.of("member")
    }

    /// Everything that a search must ask for.
    pub(crate) fn attributes(&self) -> Vec<String> {
        let named = self.targets.iter().filter(|(target, _)| !CLASSES.contains(&target.as_str())).flat_map(|(_, attributes)| attributes);
        let mut wanted: BTreeSet<String> = named.map(|name| name.trim_start_matches('!').to_owned()).collect();
        wanted.insert("objectClass".to_owned());
        wanted.insert(self.key().to_owned());
        wanted.into_iter().collect()
    }

    /// All of it in a text: two mappings of one text read entries alike.
    pub(crate) fn shape(&self) -> String {
        let lines: Vec<String> = self.targets.iter().map(|(target, attributes)| format!("{target}={}", attributes.join(","))).collect();
        lines.join(";")
    }

    fn of(&self, target: &str) -> &[String] {
        self.targets.get(target).map_or(&[], Vec::as_slice)
    }

    /// The key of an entry by its attribute.
    pub(crate) fn key_of(&self, raw: &RawEntry) -> Option<String> {
        raw.values(self.key()).first().and_then(|value| values::key(self.key(), value))
    }

    /// Makes an entry of what a search gave.
    pub(crate) fn map(&self, raw: &RawEntry, key: String) -> Mapped {
        let mut head = self.head(raw, key);
        let links = self.links(raw, head.object_type == ObjectType::Group);
        head.reference = Some(dn::normalise(&raw.dn));
        let actor = self.first(raw, ACTOR).map(|name| dn::normalise(&name));
        let at = self.first(raw, MOMENT).and_then(|text| values::moment(&text));
        Mapped { entry: Entry { head, links, document: None }, actor, at }
    }

    fn head(&self, raw: &RawEntry, key: String) -> Head {
        let mut head = Head::new(self.object_type(raw), key);
        head.name = self.first(raw, "name");
        // An address that is none is as good as no address: the trace of a letter that would have gone there says so.
        head.mail = self.of("mail").iter().find_map(|name| Address::parse(&raw.text(name)?).ok());
        head.locale = self.first(raw, "locale").and_then(|text| first_language(&text).parse().ok());
        head.timezone = self.first(raw, "timezone");
        head.enabled = self.flag(raw, "enabled").unwrap_or(true);
        head.public = self.flag(raw, "public").unwrap_or(false);
        head.notify = self.flag(raw, "notify").unwrap_or(true);
        for (target, attributes) in &self.targets {
            if !Self::known_targets().any(|known| known == target)
                && let Some(value) = attributes.iter().find_map(|name| value(raw, name))
            {
                head.attributes.insert(target.clone(), value);
            }
        }
        head
    }

    fn object_type(&self, raw: &RawEntry) -> ObjectType {
        let is_one = |target| self.of(target).iter().any(|class| raw.is_a(class));
        if is_one("group_classes") {
            ObjectType::Group
        } else if is_one("contact_classes") {
            ObjectType::Contact
        } else if raw.is_a("computer") {
            ObjectType::Other("computer".to_owned())
        } else if is_one("user_classes") {
            ObjectType::User
        } else {
            ObjectType::Other("object".to_owned())
        }
    }

    fn first(&self, raw: &RawEntry, target: &str) -> Option<String> {
        self.of(target).iter().find_map(|name| raw.text(name))
    }

    fn flag(&self, raw: &RawEntry, target: &str) -> Option<bool> {
        self.of(target).iter().find_map(|written| {
            let name = written.trim_start_matches('!');
            let text = raw.text(name)?;
            let meant = match name.to_ascii_lowercase().as_str() {
                "useraccountcontrol" => text.parse::<i64>().ok().map(|flags| flags & ACCOUNT_DISABLED == 0),
                "nsaccountlock" | "logindisabled" => truth(&text).map(|locked| !locked),
                "pwdaccountlockedtime" => Some(text != LOCKED_FOR_GOOD),
                _ => truth(&text),
            };
            meant.map(|meant| meant != written.starts_with('!'))
        })
    }

    fn links(&self, raw: &RawEntry, is_group: bool) -> Vec<Link> {
        let muted: BTreeSet<String> = self.of(MUTED).iter().flat_map(|name| raw.names(name)).map(dn::normalise).collect();
        let mut seen = BTreeSet::new();
        let mut links = Vec::new();
        for (target, role) in LINKS {
            if role == LinkRole::Member && !is_group {
                continue;
            }
            for name in self.of(target).iter().flat_map(|attribute| raw.names(attribute)) {
                let to = dn::normalise(without_unique_id(name));
                if to.is_empty() || !seen.insert((role, to.clone())) {
                    continue;
                }
                let is_owner = matches!(role, LinkRole::Owner | LinkRole::AdditionalOwner);
                links.push(Link { muted: is_owner && muted.contains(&to), ..Link::new(role, to) });
            }
        }
        links
    }
}

/// An attribute of the object: one text or a list in order, since a directory keeps its values in none; `TRUE` and `FALSE` as truth values.
fn value(raw: &RawEntry, name: &str) -> Option<Value> {
    let mut texts: Vec<String> = raw.values(name).iter().filter_map(|value| text(value)).collect();
    texts.sort_unstable();
    let one = |text: String| match text.as_str() {
        "TRUE" => Value::Bool(true),
        "FALSE" => Value::Bool(false),
        _ => Value::String(text),
    };
    match texts.len() {
        0 => None,
        1 => texts.pop().map(one),
        _ => Some(Value::Array(texts.into_iter().map(one).collect())),
    }
}

/// The first of `preferredLanguage`'s list, which is written as HTTP does: `de-AT, de;q=0.8` (RFC 2798 §2.7).
fn first_language(text: &str) -> &str {
    text.split([',', ';']).next().unwrap_or(text).trim()
}

/// `uniqueMember` may have a bit string behind the name (RFC 4517 §3.3.21): `cn=x#'0101'B`.
fn without_unique_id(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((dn, bits)) if bits.starts_with('\'') && bits.ends_with("'B") => dn,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(attributes: &[(&str, &[&str])]) -> RawEntry {
        let values = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        RawEntry {
            dn: "CN=Ada King,OU=people,DC=example,DC=org".to_owned(),
            attributes: attributes.iter().map(|(name, list)| ((*name).to_owned(), values(list))).collect(),
        }
    }

    fn mapped(preset: Preset, attributes: &[(&str, &[&str])]) -> Entry {
        Mapping::preset(preset).map(&raw(attributes), "k".to_owned()).entry
    }

    #[test]
    fn a_person_of_openldap() {
        let mapped = Mapping::preset(Preset::OpenLdap).map(
            &raw(&[
                ("objectClass", &["top", "inetOrgPerson"]),
                ("cn", &["Ada"]),
                ("displayName", &["Ada King"]),
                ("mail", &["not an address", "ada@example.org"]),
                ("preferredLanguage", &["de-AT, de;q=0.8"]),
                ("manager", &["cn=Grace, ou=people,dc=example,dc=org"]),
                ("uid", &["ada"]),
                ("title", &["b", "a"]),
                ("modifiersName", &["cn=admin,dc=example,dc=org"]),
                ("modifyTimestamp", &["20261122051000Z"]),
            ]),
            "k".to_owned(),
        );
        let head = &mapped.entry.head;
        assert_eq!(head.object_type, ObjectType::User);
        assert_eq!((head.name.as_deref(), head.reference.as_deref()), (Some("Ada King"), Some("cn=ada king,ou=people,dc=example,dc=org")));
        assert_eq!(head.locale.as_ref().unwrap().as_str(), "de-AT");
        assert_eq!(head.attributes["account"], json!("ada"));
        assert_eq!(head.attributes["title"], json!(["a", "b"]));
        assert!(head.enabled && head.notify && !head.public);
        assert_eq!(mapped.entry.links, [Link::new(LinkRole::Manager, "cn=grace,ou=people,dc=example,dc=org")]);
        assert_eq!(mapped.actor.as_deref(), Some("cn=admin,dc=example,dc=org"));
        assert_eq!(mapped.at.unwrap().to_string(), "2026-11-22T05:10:00Z");
    }

    #[test]
    fn a_group_has_each_member_once_and_owners_that_wish_no_letters() {
        let mut mapping = Mapping::preset(Preset::OpenLdap);
        mapping.set("muted_owner", vec!["seeAlso".to_owned()]);
        mapping.set("public", vec!["businessCategory".to_owned()]);
        let group = raw(&[
            ("objectClass", &["groupOfNames"]),
            ("member", &["cn=a,dc=org", "CN=A,DC=org", "cn=b,dc=org"]),
            ("uniqueMember", &["cn=c,dc=org#'01'B"]),
            ("owner", &["cn=o,dc=org", "cn=p,dc=org"]),
            ("seeAlso", &["CN=P,dc=org"]),
            ("businessCategory", &["yes"]),
        ]);
        let entry = mapping.map(&group, "g".to_owned()).entry;
        assert!(entry.head.public);
        let links: Vec<_> = entry.links.iter().map(|link| (link.role, link.to.as_str(), link.muted)).collect();
        assert_eq!(
            links,
            [
                (LinkRole::Member, "cn=a,dc=org", false),
                (LinkRole::Member, "cn=b,dc=org", false),
                (LinkRole::Member, "cn=c,dc=org", false),
                (LinkRole::Owner, "cn=o,dc=org", false),
                (LinkRole::Owner, "cn=p,dc=org", true),
            ]
        );
    }

    #[test]
    fn each_directory_says_in_its_own_way_who_is_disabled() {
        let enabled = |preset, attribute, value| mapped(preset, &[(attribute, &[value])]).head.enabled;
        assert!(enabled(Preset::ActiveDirectory, "userAccountControl", "512"));
        assert!(!enabled(Preset::ActiveDirectory, "userAccountControl", "514"));
        assert!(!enabled(Preset::FreeIpa, "nsAccountLock", "TRUE"));
        assert!(enabled(Preset::FreeIpa, "nsAccountLock", "FALSE"));
        assert!(!enabled(Preset::OpenLdap, "pwdAccountLockedTime", "000001010000Z"));
        assert!(enabled(Preset::OpenLdap, "pwdAccountLockedTime", "20261122051000Z"));
        let mut mapping = Mapping::preset(Preset::OpenLdap);
        mapping.set("notify", vec!["!doNotNotify".to_owned()]);
        assert!(!mapping.map(&raw(&[("doNotNotify", &["TRUE"])]), "k".to_owned()).entry.head.notify);
        assert!(mapping.attributes().contains(&"doNotNotify".to_owned()));
    }

    #[test]
    fn object_classes_of_active_directory() {
        let is = |classes: &[&str]| mapped(Preset::ActiveDirectory, &[("objectClass", classes)]).head.object_type;
        assert_eq!(is(&["top", "person", "organizationalPerson", "user"]), ObjectType::User);
        assert_eq!(is(&["top", "person", "organizationalPerson", "user", "computer"]), ObjectType::Other("computer".to_owned()));
        assert_eq!(is(&["top", "person", "organizationalPerson", "contact"]), ObjectType::Contact);
        assert_eq!(is(&["top", "group"]), ObjectType::Group);
    }

    #[test]
    fn a_break_of_line_does_not_get_into_a_name() {
        let entry = mapped(Preset::OpenLdap, &[("cn", &["Ada\r\nBcc: eve@example.org"])]);
        assert_eq!(entry.head.name.as_deref(), Some("Ada  Bcc: eve@example.org"));
    }
}
