//! The made-up company: people who read three languages, groups with owners, and what happens to them.

use serde_json::{Value, json};

/// Somebody at Nordwind.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// The key in the personnel system.
    pub id: &'static str,
    /// The full name.
    pub name: &'static str,
    /// The mail address.
    pub mail: &'static str,
    /// The language this person reads.
    pub locale: &'static str,
    /// The time zone.
    pub timezone: &'static str,
    /// The manager's key.
    pub manager: Option<&'static str>,
}

const fn person(
    id: &'static str,
    name: &'static str,
    mail: &'static str,
    locale: &'static str,
    timezone: &'static str,
    manager: &'static str,
) -> Person {
    Person { id, name, mail, locale, timezone, manager: Some(manager) }
}

/// Everybody at Nordwind.
pub const PEOPLE: [Person; 12] = [
    Person {
        id: "p01",
        name: "Ingrid Halvorsen",
        mail: "ingrid.halvorsen@nordwind.example",
        locale: "en",
        timezone: "Europe/Oslo",
        manager: None,
    },
    person("p02", "Jörg Straßmann", "joerg.strassmann@nordwind.example", "de-AT", "Europe/Vienna", "p01"),
    person("p03", "Élodie Fournier", "elodie.fournier@nordwind.example", "fr", "Europe/Paris", "p01"),
    person("p04", "Sam Okafor", "sam.okafor@nordwind.example", "en-GB", "Europe/London", "p01"),
    person("p05", "Birgit Ödegaard", "birgit.oedegaard@nordwind.example", "de", "Europe/Berlin", "p02"),
    person("p06", "Łukasz Wójcik", "lukasz.wojcik@nordwind.example", "pl", "Europe/Warsaw", "p02"),
    person("p07", "Chloé Dubois-Martin", "chloe.dubois@nordwind.example", "fr-CA", "America/Toronto", "p03"),
    person("p08", "佐藤 美咲", "misaki.sato@nordwind.example", "ja", "Asia/Tokyo", "p04"),
    person("p09", "Amara Diallo", "amara.diallo@nordwind.example", "fr", "Africa/Dakar", "p03"),
    person("p10", "Max Huber", "max.huber@nordwind.example", "de-CH", "Europe/Zurich", "p02"),
    person("p11", "Priya Raman", "priya.raman@nordwind.example", "en", "Asia/Kolkata", "p04"),
    person("p12", "Tom O'Brien", "tom.obrien@nordwind.example", "en-IE", "Europe/Dublin", "p04"),
];

/// Groups: key, name, owner's key.
const GROUPS: [(&str, &str, &str); 4] =
    [("g1", "Payroll", "p05"), ("g2", "VPN users", "p04"), ("g3", "Équipe Bretagne", "p03"), ("g4", "Projekt Nordlicht", "p02")];

/// The person with this key.
///
/// # Panics
/// If there is none: the keys are written in this file.
pub fn whom(id: &str) -> Person {
    PEOPLE.into_iter().find(|p| p.id == id).expect("the demo's own keys")
}

fn as_party(id: &str) -> Value {
    let one = whom(id);
    let mut party =
        json!({"type": "user", "id": one.id, "name": one.name, "mail": one.mail, "locale": one.locale, "timezone": one.timezone});
    if let Some(manager) = one.manager {
        let manager = whom(manager);
        party["manager"] = json!({"id": manager.id, "name": manager.name, "mail": manager.mail, "locale": manager.locale});
    }
    party
}

fn as_group(id: &str) -> Value {
    let (id, name, owner) = GROUPS.into_iter().find(|g| g.0 == id).expect("the demo's own keys");
    json!({"type": "group", "id": id, "name": name, "owners": [as_party(owner)]})
}

fn event(id: &str, kind: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "nordwind/hr", "type": format!("tidings.{kind}"), "data": data})
}

/// Somebody joins a group, on somebody's order.
pub fn joined(id: &str, member: &str, group: &str, by: &str) -> Value {
    event(id, "membership.joined", &json!({"actor": as_party(by), "object": as_group(group), "member": as_party(member)}))
}

/// Somebody leaves a group.
pub fn left(id: &str, member: &str, group: &str) -> Value {
    event(id, "membership.left", &json!({"object": as_group(group), "member": as_party(member)}))
}

/// A temporary membership is about to end.
pub fn ending(id: &str, member: &str, group: &str, ends_at: &str) -> Value {
    event(id, "membership.ending", &json!({"object": as_group(group), "member": as_party(member), "details": {"ends_at": ends_at}}))
}

/// Somebody new has an account.
pub fn account_created(id: &str, user: &str) -> Value {
    let account = whom(user).mail.split('@').next().unwrap_or_default();
    event(
        id,
        "account.created",
        &json!({"object": as_party(user), "details": {"account": account, "portal_url": "https://id.nordwind.example/"}}),
    )
}

/// A password is about to expire.
pub fn password_expiring(id: &str, user: &str, expires_at: &str) -> Value {
    event(
        id,
        "password.expiring",
        &json!({"object": as_party(user), "details": {"expires_at": expires_at, "portal_url": "https://id.nordwind.example/password"}}),
    )
}

/// Somebody asked for a link to choose a new password.
pub fn reset_link(id: &str, user: &str, token: &str, expires_at: &str) -> Value {
    let link = format!("https://id.nordwind.example/reset/{token}");
    event(id, "password.reset_link", &json!({"object": as_party(user), "details": {"link": link, "expires_at": expires_at}}))
}

/// A connector fails or works again.
pub fn connector(id: &str, recovered: bool) -> Value {
    let object = json!({"type": "connector", "id": "sap", "name": "SAP personnel import"});
    if recovered {
        event(id, "connector.recovered", &json!({"object": object, "details": {}}))
    } else {
        event(
            id,
            "connector.failed",
            &json!({"object": object, "details": {"error": "The server sap.nordwind.example did not answer within 30 seconds."}}),
        )
    }
}

/// An attribute of somebody changed.
pub fn changed(id: &str, user: &str, by: &str) -> Value {
    let change = |department: &str, room: &str| json!({"department": department, "room": room});
    event(
        id,
        "object.changed",
        &json!({"actor": as_party(by), "object": as_party(user), "before": change("Logistics", "B 2.14"), "after": change("Finance", "A 1.03")}),
    )
}

/// The rules of the company, beside the built-in ones.
pub const RULES: &str = r#"
[[rule]]
name = "owners-hear-of-members"
on = ["membership.joined", "membership.left"]
to = ["owners"]

[[rule]]
name = "payroll-needs-the-manager-too"
on = ["membership.joined"]
when = 'object.name == "Payroll"'
to = ["manager"]

[[rule]]
name = "connectors-alarm-the-admins"
on = ["connector.*"]
to = ["sam.okafor@nordwind.example", "joerg.strassmann@nordwind.example"]

[[rule]]
name = "people-see-changes-to-themselves"
on = ["object.changed"]
to = ["object"]
cc = ["manager"]
"#;
