//! A look at a running server over HTTP: cheap enough to be taken again and again while something is waited for.

use serde_json::Value;

use crate::house::House;

/// Every item of the outbox that fits a query such as `state=waiting`.
#[track_caller]
pub(crate) fn items(house: &House, query: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = house.get(&format!("/v1/outbox?limit=500&{query}{cursor}"));
        items.append(page["items"].as_array_mut().expect("items are a list"));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// How all relays stand, in the order of the configuration.
#[track_caller]
pub(crate) fn relays(house: &House) -> Vec<Value> {
    house.get("/v1/relays")["items"].as_array().expect("items are a list").clone()
}

/// How the relay of this name stands.
#[track_caller]
pub(crate) fn relay(house: &House, name: &str) -> Value {
    relays(house).into_iter().find(|relay| relay["name"] == name).unwrap_or_else(|| panic!("there is no relay {name}"))
}
