//! Which variables a letter may use: those its kind declares, and the few that every letter has.

use tidings_core::Kind;

/// Fields of a person, group or object.
const PARTY: &[&str] = &["label", "name", "mail", "id", "type", "locale", "timezone", "public", "enabled"];
const READER: &[&str] = &["label", "name", "mail", "locale", "timezone", "is_actor", "is_object", "is_member"];
const ORGANISATION: &[&str] = &["name", "logo", "colour", "ink", "website"];
const EVENT: &[&str] = &["type", "kind", "time", "id", "source"];
/// Names that may be used only as a whole.
const WHOLE: &[&str] = &["changes", "reasons", "locale"];

/// Whether a letter of this kind may use the variable `path`, written with dots.
pub(crate) fn is_allowed(kind: &Kind, path: &str, in_subject: bool) -> bool {
    let mut steps = path.split('.');
    let head = steps.next().unwrap_or_default();
    let rest: Vec<&str> = steps.collect();
    let one_of = |fields: &[&str]| rest.is_empty() || rest.len() == 1 && fields.contains(&rest[0]);
    match head {
        "actor" | "object" | "member" => is_party_field(&rest),
        "before" | "after" => true,
        "reader" => one_of(READER),
        "organisation" => one_of(ORGANISATION),
        "event" => one_of(EVENT),
        "details" => rest.len() == 1 && details(kind).any(|name| name == rest[0]),
        "subject" => !in_subject && rest.is_empty(),
        _ => rest.is_empty() && WHOLE.contains(&head),
    }
}

fn is_party_field(rest: &[&str]) -> bool {
    match rest {
        [] | ["owners" | "members"] | ["attributes", ..] => true,
        ["manager", deeper @ ..] => is_party_field(deeper),
        [field] => PARTY.contains(field),
        _ => false,
    }
}

/// The names below `details` that the kind declares.
pub(crate) fn details(kind: &Kind) -> impl Iterator<Item = &'static str> {
    kind.variables.iter().filter_map(|variable| variable.pointer.strip_prefix("/details/"))
}

/// Why `path` is refused, and what is allowed.
pub(crate) fn refusal(kind: &Kind, path: &str) -> String {
    let mut all: Vec<String> = details(kind).map(|name| format!("details.{name}")).collect();
    for (head, fields) in
        [("actor", PARTY), ("object", PARTY), ("member", PARTY), ("reader", READER), ("organisation", ORGANISATION), ("event", EVENT)]
    {
        all.extend(fields.iter().map(|field| format!("{head}.{field}")));
    }
    all.extend(WHOLE.iter().map(|name| (*name).to_owned()));
    let near = all
        .iter()
        .map(|name| (strsim::jaro_winkler(name, path), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"));
    let head = path.split('.').next().unwrap_or(path);
    let same: Vec<&str> = all.iter().filter(|name| name.split('.').next() == Some(head)).map(String::as_str).collect();
    let allowed = if same.is_empty() {
        let own = details(kind).map(|name| format!("details.{name}")).collect::<Vec<_>>().join(", ");
        let comma = if own.is_empty() { "" } else { ", " };
        format!("{own}{comma}actor, object, member, before, after, changes, reader, organisation, reasons, event, locale")
    } else {
        same.join(", ")
    };
    format!("`{path}` is not a variable of `{}`{near} Allowed here: {allowed}", kind.name).replace("` Allowed", "`. Allowed")
}
