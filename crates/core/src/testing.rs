//! For tests in every room: a clock that stands still, and events that start valid.

use crate::{
    event::Event,
    time::{Clock, Timestamp},
};
use serde_json::{Map, Value, json};
use std::sync::Mutex;

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct FixedClock(Mutex<Timestamp>);

impl FixedClock {
    /// A clock that stands at `at`, in RFC 3339.
    ///
    /// # Panics
    /// If `at` is not a moment.
    pub fn at(at: &str) -> Self {
        Self(Mutex::new(at.parse().expect("a moment in RFC 3339")))
    }

    /// Moves the clock on (or back, with a negative duration).
    ///
    /// # Panics
    /// If the time leaves the expressible range.
    pub fn advance(&self, by: jiff::SignedDuration) {
        let mut now = self.0.lock().expect("no holder panics");
        *now = now.checked_add(by).expect("a time within range");
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no holder panics")
    }
}

/// Builds an event that is valid from the start; say only what matters.
#[derive(Debug, Clone)]
pub struct EventBuilder {
    kind: String,
    id: String,
    data: Map<String, Value>,
}

/// Somebody joined the group Payroll.
pub fn an_event() -> EventBuilder {
    let data = json!({
        "actor": {"id": "u1", "name": "Ada King", "mail": "ada@example.org"},
        "object": {"type": "group", "id": "g7", "name": "Payroll", "owners": [{"id": "u2", "name": "Grace", "mail": "grace@example.org", "locale": "de"}]},
        "member": {"id": "u3", "name": "Linus", "mail": "linus@example.org", "locale": "fr", "manager": {"id": "u1", "name": "Ada King", "mail": "ada@example.org"}},
        "details": {}
    });
    let Value::Object(data) = data else { unreachable!("an object was written above") };
    EventBuilder { kind: "membership.joined".to_owned(), id: "4711".to_owned(), data }
}

impl EventBuilder {
    /// Of this kind.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.kind);
        self
    }

    /// With this id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// With this value for one name of the data (`actor`, `object`, `member`, `details` …).
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.data.insert(name.to_owned(), value);
        self
    }

    /// A person's password is about to expire.
    #[must_use]
    pub fn password_expires(self, name: &str, at: &str) -> Self {
        let mail = format!("{}@example.org", name.to_lowercase());
        self.kind("password.expiring").with("object", json!({"name": name, "mail": mail})).with("details", json!({"expires_at": at}))
    }

    /// As the CloudEvent that would be posted.
    pub fn cloudevent(&self) -> Value {
        json!({"specversion": "1.0", "id": self.id, "source": "test", "type": format!("tidings.{}", self.kind), "time": "2026-11-21T09:00:00Z", "data": self.data})
    }

    /// As an event read by the house.
    ///
    /// # Panics
    /// If what was built is not valid.
    pub fn build(&self) -> Event {
        Event::read(self.cloudevent(), "", Timestamp::UNIX_EPOCH).expect("a valid event")
    }
}
