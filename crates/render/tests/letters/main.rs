//! The letters as their readers get them, overrides, and hostile values.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod built_in;
mod hostile;
mod message;
mod overrides;
mod portal;

use serde_json::Value;
use tidings_core::{
    Address, Event, Id, Timestamp,
    notice::{Notice, Reader, Reason},
    subject::Party,
};
use tidings_render::{Imprint, Organisation, Stationery, StationeryOptions};

/// The built-in letters of a made-up organisation.
fn stationery() -> Stationery {
    Stationery::load(StationeryOptions { organisation: organisation(), ..StationeryOptions::default() }).unwrap()
}

fn organisation() -> Organisation {
    Organisation { name: "Example & Sons".into(), default_timezone: "Europe/Berlin".into(), ..Organisation::default() }
}

fn imprint() -> Imprint<'static> {
    Imprint {
        from: Address::parse("no-reply@example.org").unwrap(),
        from_name: Some("Example & Sons".into()),
        reply_to: None,
        message_id: "<01h2x.1@example.org>",
        date: "2026-11-21T09:00:00Z".parse().unwrap(),
        event_id: Id::from_number(4711),
    }
}

fn an_event(kind: &str, data: Value) -> Event {
    let event = serde_json::json!({
        "specversion": "1.0", "id": "1", "source": "test", "type": format!("tidings.{kind}"), "time": "2026-11-21T09:00:00Z", "data": data,
    });
    Event::read(event, "", Timestamp::UNIX_EPOCH).unwrap()
}

/// A notice for the party, because it is the event's object.
fn a_notice(event: &Event, party: &Party) -> Notice {
    Notice {
        kind: event.kind,
        rule: "a rule".into(),
        reader: Reader { address: party.mail.clone().unwrap(), party: party.clone(), reasons: vec![Reason::plain("object")] },
        cc: Vec::new(),
        relay: None,
        lane: event.kind.lane,
    }
}
