//! Events as a client posts them. Each starts valid and says only what matters.

use serde_json::{Value, json};

/// A CloudEvent of this kind from the source `test`.
pub(crate) fn event(id: &str, kind: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "test", "type": format!("tidings.{kind}"), "time": "2026-11-21T09:00:00Z", "data": data})
}

/// Somebody. The name is made from the address: `ada.king@example.org` is Ada King.
pub(crate) fn person(mail: &str, locale: &str) -> Value {
    let name: Vec<String> = mail.split('@').next().unwrap_or_default().split('.').map(capitalised).collect();
    json!({"type": "user", "id": mail, "name": name.join(" "), "mail": mail, "locale": locale, "timezone": "Europe/Berlin"})
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The group Payroll with these owners.
pub(crate) fn payroll(owners: &[Value]) -> Value {
    json!({"type": "group", "id": "g7", "name": "Payroll", "owners": owners})
}

/// Somebody joins Payroll, which has no owner. The built-in rule tells the member.
pub(crate) fn joined(id: &str, member: Value) -> Value {
    event(id, "membership.joined", json!({"object": payroll(&[]), "member": member}))
}

/// A test letter to this address.
pub(crate) fn test_letter(id: &str, to: &str) -> Value {
    event(id, "test", json!({"object": person(to, "en")}))
}

/// A temporary password.
pub(crate) fn password_reset(id: &str, to: &str, password: &str) -> Value {
    event(id, "password.reset", json!({"object": person(to, "en"), "details": {"password": password, "account": "ada"}}))
}

/// A link to choose a new password.
pub(crate) fn reset_link(id: &str, to: &str, link: &str) -> Value {
    event(id, "password.reset_link", json!({"object": person(to, "en"), "details": {"link": link}}))
}
