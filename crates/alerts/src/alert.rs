//! One alert: what happened to which relay, as an event for the house's door and as a message for a webhook.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidings_core::Timestamp;

/// The CloudEvents source of the house's own events.
const SOURCE: &str = "tidings";

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// The relay is held.
    Held,
    /// It works again.
    Recovered,
    /// Something is wrong with it, although letters may still leave by it.
    Warning,
}

impl Matter {
    /// The kind of the event and its letter.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Held => "relay.held",
            Self::Recovered => "relay.recovered",
            Self::Warning => "relay.warning",
        }
    }
}

/// What administrators are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub matter: Matter,
    /// The relay.
    pub relay: String,
    /// What is wrong; empty for a recovery.
    pub error: String,
    /// What can be done about it.
    pub hint: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When the alert was made.
    pub at: Timestamp,
    /// The relay that sends the letters meanwhile.
    pub sent_by: Option<String>,
    /// The relay by which a letter about it can go; `None` if there is none.
    pub by: Option<String>,
    /// Whether every node hears of it, so that one is enough to tell.
    pub shared: bool,
}

impl Alert {
    /// A name that is the same however often the alert is told: the time the trouble began, the relay, the matter.
    fn name(&self) -> String {
        format!("{}/{}/{}/{}", self.matter.kind(), self.relay, self.since.as_millisecond(), self.at.as_millisecond())
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                details.insert(name.to_owned(), Value::String(value));
            }
        };
        add("error", Some(self.error.clone()).filter(|error| !error.is_empty()));
        add("hint", self.hint.clone());
        match self.matter {
            Matter::Held => add("failed_at", Some(self.since.to_string())),
            Matter::Recovered => {
                add("failed_at", Some(self.since.to_string()));
                add("recovered_at", Some(self.at.to_string()));
            }
            Matter::Warning => add("noticed_at", Some(self.since.to_string())),
        }
        add("sent_by", self.sent_by.clone());
        details
    }

    /// The CloudEvent that goes through the house's door.
    pub fn event(&self) -> Value {
        json!({
            "specversion": "1.0",
            "id": self.name(),
            "source": SOURCE,
            "type": format!("{}{}", tidings_core::kind::TYPE_PREFIX, self.matter.kind()),
            "time": self.at.to_string(),
            "data": {
                "object": {"type": "relay", "id": self.relay, "name": self.relay},
                "details": self.details(),
            },
        })
    }

    /// The body of a webhook's message (Standard Webhooks: `type`, `timestamp`, `data`).
    pub fn message(&self) -> Value {
        let mut data = self.details();
        data.insert("relay".to_owned(), Value::String(self.relay.clone()));
        json!({"type": self.matter.kind(), "timestamp": self.at.to_string(), "data": data})
    }

    /// The id of a webhook's message, the same on every attempt: plain ASCII whatever the relay is called.
    pub fn message_id(&self) -> String {
        let digest = Sha256::digest(self.name().as_bytes());
        digest[..16].iter().fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tidings_core::{Event, time::from_millis};

    pub(crate) fn alert(matter: Matter) -> Alert {
        Alert {
            matter,
            relay: "öffice".to_owned(),
            error: if matter == Matter::Recovered { String::new() } else { "connect: refused".to_owned() },
            hint: Some("check host and port".to_owned()).filter(|_| matter == Matter::Held),
            since: from_millis(1_700_000_000_000),
            at: from_millis(1_700_000_060_000),
            sent_by: None,
            by: Some("backup".to_owned()),
            shared: matter != Matter::Warning,
        }
    }

    #[test]
    fn every_alert_is_an_event_that_the_door_takes() {
        for matter in [Matter::Held, Matter::Recovered, Matter::Warning] {
            let event =
                Event::read(alert(matter).event(), "", from_millis(1_700_000_060_000)).unwrap_or_else(|faults| panic!("{faults:?}"));
            assert_eq!((event.kind.name, event.source.as_str()), (matter.kind(), "tidings"));
        }
    }

    #[test]
    fn a_message_keeps_its_id_and_is_told_from_others() {
        let id = alert(Matter::Held).message_id();
        assert!(id.is_ascii() && id.len() == 36 && id == alert(Matter::Held).message_id());
        assert_ne!(id, alert(Matter::Recovered).message_id());
        assert_eq!(alert(Matter::Held).message()["data"]["relay"], "öffice");
    }
}
