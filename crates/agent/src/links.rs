//! Making links: an event about a link comes without one, and leaves with one.

use crate::{
    error::LinkError,
    keyring::Keyring,
    token::{Claims, Use, sealed},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tidings_core::{Clock, Locale, Timestamp, event::Fault, kind::TYPE_PREFIX};

/// The kinds that an agent tells of.
const KINDS: [&str; 3] = ["password.reset", "password.reset_link", "test"];

/// The kind whose link is made here.
const LINK_KIND: &str = "password.reset_link";

/// Longest name of a subject, in characters: it stands in the link.
const MAX_SUBJECT_CHARS: usize = 256;

/// How links are made and confirmed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The agent's public address: who signs.
    pub issuer: String,
    /// What the token is appended to, ending in `=`.
    pub base: String,
    /// The page's path.
    pub path: String,
    /// The parameter of the query that carries the token.
    pub parameter: String,
    /// Where a reader who has confirmed is sent on to.
    pub hand_over: String,
    /// How long a link holds.
    pub valid_for: Duration,
}

/// Makes links.
pub struct Links {
    plan: Option<Plan>,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
}

impl Links {
    /// Without a plan no links are made, and events that would need one are refused.
    pub fn new(plan: Option<Plan>, keyring: Arc<Keyring>, clock: Arc<dyn Clock>) -> Self {
        Self { plan, keyring, clock }
    }

    /// Looks at posted events, CloudEvents in their JSON form: only the kinds of an agent are let through, and those about a link are given theirs, with the moment
    /// of its end. What is not an event at all is left to whoever reads it next. `batch` says whether the pointers of faults count the events.
    ///
    /// A link that stands in the event already is refused: single use and life time, which the letter promises, hold only for links that are confirmed here, and
    /// whoever can post events is not to be able to send people anywhere else.
    ///
    /// # Errors
    /// Everything that is wrong; or [`LinkError`] within.
    pub fn complete(&self, mut events: Vec<Value>, batch: bool) -> Result<Result<Vec<Value>, Vec<Fault>>, LinkError> {
        let mut faults = Vec::new();
        for (index, event) in events.iter_mut().enumerate() {
            let at = if batch { format!("/{index}") } else { String::new() };
            let Some(name) = event.get("type").and_then(Value::as_str) else { continue };
            let kind = name.strip_prefix(TYPE_PREFIX).unwrap_or_default();
            if !KINDS.contains(&kind) {
                let allowed = KINDS.map(|kind| format!("`{TYPE_PREFIX}{kind}`")).join(", ");
                faults.push(Fault::at(&format!("{at}/type"), format!("an agent does not take this type; it takes {allowed}")));
                continue;
            }
            if event.get("data").and_then(|data| data.get("object")).and_then(Value::as_str).is_some_and(|object| !object.contains('@')) {
                // A whole house would look into its directories, and tell nobody if they know nothing of it.
                let why = "must stand whole, with its mail: an agent has no directories to look into";
                faults.push(Fault::at(&format!("{at}/data/object"), why));
                continue;
            }
            if kind == LINK_KIND {
                self.give_link(event, &at, &mut faults)?;
            }
        }
        Ok(if faults.is_empty() { Ok(events) } else { Err(faults) })
    }

    fn give_link(&self, event: &mut Value, at: &str, faults: &mut Vec<Fault>) -> Result<(), LinkError> {
        let Some(plan) = &self.plan else {
            let why = "this agent makes no links: its settings have no PasswordResetSettings.TwoFactorSettings";
            faults.push(Fault::at(&format!("{at}/type"), why));
            return Ok(());
        };
        let Some(data) = event.get_mut("data").and_then(Value::as_object_mut) else { return Ok(()) };
        let before = faults.len();
        for (name, why) in [
            ("link", "is not taken: the agent makes the link itself, so that it works once and ends when the letter says"),
            ("expires_at", "is not taken: the agent's settings say how long a link works (TokenBuildingSettings.ValidFor)"),
        ] {
            if data.get("details").and_then(|details| details.get(name)).is_some_and(|value| !value.is_null()) {
                faults.push(Fault::at(&format!("{at}/data/details/{name}"), why));
            }
        }
        let subject = subject(data);
        if subject.is_none() {
            let why = format!(
                "missing; the link names by it whose password is meant, in 1 to {MAX_SUBJECT_CHARS} characters (or by details.account)"
            );
            faults.push(Fault::at(&format!("{at}/data/object/id"), why));
        }
        if data.get("details").is_some_and(|details| !details.is_object() && !details.is_null()) {
            // Whoever reads the event says so.
            return Ok(());
        }
        if let Some(subject) = subject.filter(|_| faults.len() == before) {
            let locale = data.get("object").and_then(|object| object.get("locale")).and_then(Value::as_str);
            let locale = locale.and_then(|text| text.parse::<Locale>().ok()).map(|locale| locale.as_str().to_owned());
            let (link, expires_at) = self.link(plan, subject, locale)?;
            let details = data.entry("details").or_insert(Value::Null);
            if details.is_null() {
                *details = Value::Object(Map::new());
            }
            details["link"] = link.into();
            details["expires_at"] = json!(expires_at);
        }
        Ok(())
    }

    /// A link, and when it ends.
    fn link(&self, plan: &Plan, subject: String, locale: Option<String>) -> Result<(String, Timestamp), LinkError> {
        let now = self.clock.now().as_second();
        let end = now.saturating_add(i64::try_from(plan.valid_for.as_secs()).unwrap_or(i64::MAX / 2));
        let mut name = [0; 16];
        SystemRandom::new().fill(&mut name).map_err(|_| LinkError)?;
        let claims = Claims {
            iss: plan.issuer.clone(),
            aud: plan.base.clone(),
            sub: subject,
            iat: now,
            exp: end,
            jti: URL_SAFE_NO_PAD.encode(name),
            locale,
        };
        let token = sealed(&self.keyring, Use::Link, &claims).ok_or(LinkError)?;
        // Without dots and with no padding: some mail programs end a link at a dot.
        let link = format!("{}{}", plan.base, URL_SAFE_NO_PAD.encode(token));
        Ok((link, Timestamp::from_second(end).map_err(|_| LinkError)?))
    }
}

/// How the application knows the person: the object's id, else the name of the account. The address does not stand in for them: links are seen by proxies and stand in
/// histories.
fn subject(data: &Map<String, Value>) -> Option<String> {
    let id = data.get("object").and_then(|object| object.get("id")).and_then(Value::as_str);
    let account = || data.get("details").and_then(|details| details.get("account")).and_then(Value::as_str);
    let name = id.or_else(account)?;
    let fits = !name.trim().is_empty() && name.chars().count() <= MAX_SUBJECT_CHARS && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::testing::FixedClock;

    fn links(two_way: bool) -> Links {
        let folder = tempfile::tempdir().unwrap();
        let text = |text: &str| text.to_owned();
        let plan = two_way.then(|| Plan {
            issuer: text("https://agent.example.org"),
            base: text("https://agent.example.org/reset?t="),
            path: text("/reset"),
            parameter: text("t"),
            hand_over: text("https://app.example.org"),
            valid_for: Duration::from_secs(60),
        });
        Links::new(plan, Arc::new(Keyring::open(folder.path()).unwrap()), Arc::new(FixedClock::at("2026-11-22T09:00:00Z")))
    }

    fn of(kind: &str, data: Value) -> Value {
        json!({"type": kind, "data": data})
    }

    #[track_caller]
    fn faults(events: Vec<Value>, two_way: bool) -> Vec<String> {
        let faults = links(two_way).complete(events, true).unwrap().unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn only_events_about_passwords_pass_and_what_is_none_is_left_to_the_reader() {
        let passing = vec![
            of("tidings.password.reset", json!({"object": {"mail": "a@example.org"}})),
            of("tidings.test", json!({"object": "a@example.org"})),
            json!({"type": 5}),
            json!("no event"),
        ];
        assert_eq!(links(true).complete(passing.clone(), true).unwrap().unwrap(), passing);
        let others =
            vec![of("tidings.membership.joined", json!({})), of("tidings.password.expiring", json!({})), of("password.reset", json!({}))];
        assert_eq!(faults(others, true), ["/0/type", "/1/type", "/2/type"]);
        assert_eq!(faults(vec![of("tidings.password.reset", json!({"object": "corp/u9"}))], true), ["/0/data/object"]);
    }

    #[test]
    fn a_link_needs_a_name_that_is_no_address_and_a_plan() {
        let link = |data| vec![of("tidings.password.reset_link", data)];
        let named = json!({"object": {"mail": "a@example.org"}, "details": {"account": "ada"}});
        assert!(links(true).complete(link(named.clone()), true).unwrap().is_ok());
        assert_eq!(faults(link(named), false), ["/0/type"]);
        for nameless in [json!({"object": "a@example.org"}), json!({"object": {"mail": "a@example.org"}}), json!({"object": {"id": " "}})] {
            assert_eq!(faults(link(nameless), true), ["/0/data/object/id"]);
        }
        let long = json!({"object": {"id": "x".repeat(257)}});
        assert_eq!(faults(link(long), true), ["/0/data/object/id"]);
    }

    #[test]
    fn details_that_are_no_object_are_left_to_the_reader() {
        for details in [json!("text"), json!([1])] {
            let event = of("tidings.password.reset_link", json!({"object": {"id": "u"}, "details": details}));
            assert_eq!(links(true).complete(vec![event.clone()], false).unwrap().unwrap(), [event]);
        }
        let event = of("tidings.password.reset_link", json!({"object": {"id": "u"}, "details": null}));
        let events = links(true).complete(vec![event], false).unwrap().unwrap();
        assert!(events[0]["data"]["details"]["link"].is_string());
    }
}
