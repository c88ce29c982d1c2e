//! Made-up events, one small and one full for every kind, with people who speak the letter's language.
//!
//! `templates/<kind>/sample.toml` gives the structure; a value `"@name"` stands for `[sample]` of the catalogue: a text, or a person.

use crate::{catalogue::Catalogue, source::Source};
use serde_json::{Map, Value, json};
use tidings_core::{
    Event, Kind, Locale, Timestamp,
    notice::{Notice, REASON_CODES, Reader, Reason},
    subject::Party,
};

/// Which sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Only what the kind requires: no actor, no names, no links.
    Minimal,
    /// Everything the kind may carry.
    Full,
}

/// The moment at which every sample happens.
pub(crate) const SAMPLE_TIME: &str = "2026-11-21T09:00:00Z";

/// Event and notice of a sample, or what is wrong with its file.
pub(crate) fn sample(
    kind: &'static Kind,
    source: &Source,
    size: Size,
    locale: &Locale,
    chain: &[&Catalogue],
) -> Result<(Event, Notice), String> {
    let file: Map<String, Value> = toml::from_str(&source.text).map_err(|error| error.to_string())?;
    let part = if size == Size::Full { "full" } else { "minimal" };
    let mut data = file.get(part).cloned().ok_or_else(|| format!("[{part}] is missing"))?;
    fill(&mut data, locale, chain)?;
    let event = json!({
        "specversion": "1.0", "id": "sample", "source": "tidings", "type": format!("tidings.{}", kind.name), "time": SAMPLE_TIME, "data": data,
    });
    let event = Event::read(event, "", Timestamp::UNIX_EPOCH)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let party = match file.get("reader").and_then(Value::as_str) {
        Some("object") => event.object.clone(),
        Some("member") => event.member.clone(),
        Some(name) => Some(person(name, locale, chain, size)?),
        None => None,
    }
    .ok_or("`reader` must be `object`, `member` or a person such as `@owner`")?;
    let address = party.mail.clone().ok_or("the reader has no mail address")?;
    let reason = file.get("reason").and_then(Value::as_str).unwrap_or("object");
    let code = REASON_CODES.into_iter().find(|code| *code == reason).ok_or_else(|| format!("`{reason}` is not a reason"))?;
    let detail = if matches!(code, "member" | "owner" | "manager") {
        event.object.as_ref().map(|object| object.display_name().to_owned())
    } else {
        None
    };
    let party = Party { locale: Some(locale.clone()), ..party };
    let notice = Notice {
        kind,
        rule: "sample".to_owned(),
        reader: Reader { address, party, reasons: vec![Reason { code, detail }] },
        cc: Vec::new(),
        relay: None,
        lane: kind.lane,
    };
    Ok((event, notice))
}

fn person(name: &str, locale: &Locale, chain: &[&Catalogue], size: Size) -> Result<Party, String> {
    let mut value = Value::String(name.to_owned());
    fill(&mut value, locale, chain)?;
    let mut faults = Vec::new();
    let mut party = Party::read(&value, "", &mut faults).ok_or_else(|| format!("`{name}` is not a person of the catalogue's [sample]"))?;
    if size == Size::Minimal {
        party.name = None;
    }
    Ok(party)
}

/// Replaces every `"@name"`.
fn fill(value: &mut Value, locale: &Locale, chain: &[&Catalogue]) -> Result<(), String> {
    match value {
        Value::String(text) if text.starts_with('@') => {
            let key = format!("sample.{}", &text[1..]);
            if let Some(found) = chain.iter().find_map(|catalogue| catalogue.get(&key)) {
                text.clone_from(&found.text);
                return Ok(());
            }
            let fields = chain.iter().map(|catalogue| catalogue.below(&key).collect::<Vec<_>>()).find(|fields| !fields.is_empty());
            let fields = fields.ok_or_else(|| format!("no catalogue has `{key}`"))?;
            let mut person: Map<String, Value> = fields.into_iter().map(|(name, text)| (name.to_owned(), json!(text.text))).collect();
            person.insert("locale".to_owned(), json!(locale.as_str()));
            *value = Value::Object(person);
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(|one| fill(one, locale, chain)),
        Value::Object(map) => map.values_mut().try_for_each(|one| fill(one, locale, chain)),
        _ => Ok(()),
    }
}
