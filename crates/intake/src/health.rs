//! Addresses that letters come back from: asked for before letters are written; what waits for them already is held, and somebody who can mend them is told, once.

use crate::{Intake, IntakeError};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use tidings_core::{
    Event, Id, Kind,
    kind::TYPE_PREFIX,
    notice::Notice,
    outbox::State,
    policy::{ADDRESS_UNHEALTHY, Unwell},
    subject::ObjectType,
};
use tidings_store::{AddressRow, Bounces, Filter, ItemRow, MirrorObject, StoreError};

/// Addresses that are told of at once.
const AT_ONCE: u16 = 50;
/// Letters to one address that are looked at at once.
const WAITING: u16 = 500;
/// Objects that are read at once when somebody is looked for by an address.
const PAGE: u32 = 1000;

/// The address that an event is about, if it is one that tells of an unhealthy address.
pub(crate) fn itself(event: &Event) -> Option<&str> {
    if event.kind.name == ADDRESS_UNHEALTHY { event.value("/details/address").and_then(Value::as_str) } else { None }
}

/// Asks for the addresses of notices that have not been asked for. Gives whether one of them is unhealthy.
pub(crate) async fn ask(
    bounces: &dyn Bounces,
    notices: &[Notice],
    asked: &mut HashSet<String>,
    unwell: &mut Unwell,
) -> Result<bool, StoreError> {
    let readers = notices.iter().flat_map(|notice| std::iter::once(&notice.reader).chain(&notice.cc));
    let new: Vec<String> = readers.map(|reader| reader.address.folded()).filter(|address| asked.insert(address.clone())).collect();
    if new.is_empty() {
        return Ok(false);
    }
    let rows = bounces.unhealthy(&new).await?;
    for row in &rows {
        unwell.add(row.address.to_lowercase(), why(row));
    }
    Ok(!rows.is_empty())
}

/// What is said of an unhealthy address.
fn why(row: &AddressRow) -> String {
    let since = row.unhealthy_since.round(jiff::Unit::Second).unwrap_or(row.unhealthy_since);
    format!("letters to this address come back ({} counted, unhealthy since {since}): {}", row.bounces, row.reason)
}

impl Intake {
    /// For each unhealthy address of which nobody has been told: holds the letters that wait for it, and writes an event. One whose event was written just before a crash gets no second one: it is known then.
    ///
    /// # Errors
    /// If the store cannot be asked or written; what was told stays told.
    pub async fn tell_of_addresses(&self) -> Result<(), IntakeError> {
        let Some(bounces) = self.gatherer.as_ref().and_then(|gatherer| gatherer.bounces.clone()) else { return Ok(()) };
        for row in bounces.untold(AT_ONCE).await? {
            let held = self.hold_waiting(&row).await?;
            let object = self.bearer(&row).await?;
            tracing::warn!(outbox.item = %row.item, bounces = row.bounces, held, "letters to an address come back: it is unhealthy");
            self.accept(vec![told(&row, object)], false).await?;
            bounces.address_told(&row.address, row.unhealthy_since).await?;
        }
        Ok(())
    }

    /// Holds letters to an address that were accepted before it became unhealthy and have not left; how many. The rule's fallback, which is told of new ones, has no part in them: they are written.
    async fn hold_waiting(&self, row: &AddressRow) -> Result<u64, StoreError> {
        let (folded, why) = (row.address.to_lowercase(), why(row));
        let mut unwell = Unwell::new(self.desk().parts.unhealthy);
        unwell.add(folded.clone(), why.clone());
        let filter = Filter { to: Some(row.address.clone()), state: Some(State::Waiting), ..Filter::default() };
        let (mut held, mut before) = (0, None);
        loop {
            let page = self.store.items(filter.clone(), before, WAITING).await?;
            let holds = |item: &ItemRow| Kind::find(&item.kind).and_then(|kind| unwell.holds(&folded, kind, item.lane)).is_some();
            let items: Vec<Id> = page.items.iter().filter(|item| holds(item)).map(|item| item.id).collect();
            if !items.is_empty() {
                held += self.store.withhold(items, &why).await?;
            }
            before = page.next;
            if before.is_none() {
                return Ok(held);
            }
        }
    }

    /// Whose address it is: somebody whom a directory knows, else whom the event of the last letter named, else nobody.
    async fn bearer(&self, row: &AddressRow) -> Result<Value, IntakeError> {
        if let Some(object) = self.mirrored(&row.address).await? {
            let name = object.head.reference.as_deref().unwrap_or(&object.head.key);
            return Ok(Value::String(format!("{}/{name}", object.directory)));
        }
        let event = match self.store.item(row.item).await? {
            Some(item) => self.store.event(item.row.event).await?,
            None => None,
        };
        let data: Option<Value> = event.and_then(|event| serde_json::from_slice(&event.data).ok());
        let named = data.as_ref().and_then(|data| party(data, &row.address.to_lowercase(), 4));
        let nobody = || json!({"type": "contact", "id": row.address, "name": row.address, "mail": row.address});
        Ok(named.map_or_else(nobody, |party| Value::Object(party.clone())))
    }

    /// Somebody with this address in a directory: a group or a person before any other object. All objects are looked through for that, once for an address.
    async fn mirrored(&self, address: &str) -> Result<Option<MirrorObject>, StoreError> {
        let Some(gatherer) = &self.gatherer else { return Ok(None) };
        let folded = address.to_lowercase();
        let (mut found, mut after) = (None, None);
        loop {
            let page = gatherer.mirror.objects(None, after, PAGE).await?;
            for object in page.objects {
                if object.head.mail.as_ref().is_some_and(|mail| mail.folded() == folded) {
                    if matches!(object.head.object_type, ObjectType::User | ObjectType::Group) {
                        return Ok(Some(object));
                    }
                    found.get_or_insert(object);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The party with this address (in lower case) in an event's data, at most so deep.
fn party<'d>(value: &'d Value, folded: &str, depth: u8) -> Option<&'d Map<String, Value>> {
    match value {
        Value::Object(map) => {
            let its = map.get("mail").and_then(Value::as_str).is_some_and(|mail| mail.to_lowercase() == folded);
            if its && map.contains_key("id") {
                return Some(map);
            }
            if depth == 0 { None } else { map.values().find_map(|value| party(value, folded, depth - 1)) }
        }
        Value::Array(list) if depth > 0 => list.iter().find_map(|value| party(value, folded, depth - 1)),
        _ => None,
    }
}

/// An unhealthy address as an event of its own, told about somebody who is not the address itself.
fn told(row: &AddressRow, object: Value) -> Value {
    let mut details = json!({
        "address": row.address,
        "reason": row.reason,
        "bounces": row.bounces,
        "unhealthy_at": row.unhealthy_since,
    });
    if let (Some(until), Some(details)) = (row.until, details.as_object_mut()) {
        details.insert("until".to_owned(), json!(until));
    }
    json!({
        "specversion": "1.0",
        "id": format!("unhealthy:{}:{}", row.address.to_lowercase(), row.unhealthy_since.as_millisecond()),
        "source": "tidings",
        "type": format!("{TYPE_PREFIX}{ADDRESS_UNHEALTHY}"),
        "time": row.unhealthy_since,
        "data": {"object": object, "details": details},
    })
}
