//! A street of relays: one house with many of them, so that as many failures run side by side and a suite of hundreds takes seconds.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use tidings_sink::{Extensions, SinkOptions};
use tidings_testkit::wait;

use crate::house::{Config, House, Mail, PATIENCE, events};
use crate::look;

/// What every relay of a street is told: one session, quick deadlines, and a second try after a second.
pub(crate) const BRISK: &str = "limits = { sessions = 1 }\nretry = { delays = [\"1s\"] }\n\
    timeouts = { connect = \"1s\", command = \"1s\", final_dot = \"2s\" }";

/// [`BRISK`] without its quick deadlines, for relays that must not seem slow on a busy machine.
pub(crate) fn patient() -> String {
    BRISK.replace("\"1s\", command = \"1s\"", "\"20s\", command = \"20s\"").replace("final_dot = \"2s\"", "final_dot = \"30s\"")
}

/// A house whose relays are named `r0`, `r1` and so on, in the order of their ports.
pub(crate) struct Street {
    pub(crate) house: House,
    relays: usize,
    events: Cell<usize>,
    accepted: Cell<usize>,
}

impl Street {
    /// Opens a street with a relay at each of these ports of 127.0.0.1, all with these further keys.
    pub(crate) fn open(ports: &[u16], keys: &str) -> Self {
        Self::open_with(&ports.iter().map(|port| (*port, format!("tls = \"none\"\n{keys}"))).collect::<Vec<_>>())
    }

    /// Opens a street whose relays have keys of their own, the encryption among them.
    pub(crate) fn open_with(relays: &[(u16, String)]) -> Self {
        Self { house: House::start(|config| lay_out(config, relays)), relays: relays.len(), events: Cell::new(0), accepted: Cell::new(0) }
    }

    /// Posts a letter to each of `each` readers by each of these relays, in one request. The readers of relay 7 are `r7.1@example.org` and so on.
    pub(crate) fn post(&self, relays: impl IntoIterator<Item = usize>, each: usize) {
        let first = self.events.get();
        let mut batch = Vec::new();
        for relay in relays {
            let number = first + batch.len();
            let reader = |n: usize| events::person(&format!("r{relay}.{n}@example.org"), "en");
            let owners: Vec<Value> = (number * each..(number + 1) * each).map(reader).collect();
            let object = json!({"type": "group", "id": format!("r{relay}"), "name": "Payroll", "owners": owners});
            batch.push(events::event(&number.to_string(), "object.created", json!({"object": object})));
        }
        self.house.accept(&batch);
        self.events.set(first + batch.len());
        self.accepted.set(self.accepted.get() + batch.len() * each);
    }

    /// Likewise by every relay.
    pub(crate) fn post_all(&self, each: usize) {
        self.post(0..self.relays, each);
    }

    /// Letters accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.get()
    }

    /// How the relays stand, in their order.
    pub(crate) fn relays(&self) -> Vec<Value> {
        look::relays(&self.house)
    }

    /// Waits until each of these relays is held, and gives what it says then.
    pub(crate) fn until_held(&self, which: &[usize]) -> Vec<Value> {
        self.until_held_for(which, |_, _| true)
    }

    /// The same for a reason that fits each, by its place among them: on a busy machine it may be another one at first.
    pub(crate) fn until_held_for(&self, which: &[usize], fits: impl Fn(usize, &str) -> bool) -> Vec<Value> {
        self.house.until("the relays to be held", || {
            let relays = self.relays();
            let held = |(place, relay): (usize, &Value)| {
                relay["condition"] == "held" && relay["reason"].as_str().is_some_and(|reason| fits(place, reason))
            };
            let which: Vec<Value> = which.iter().map(|relay| relays[*relay].clone()).collect();
            which.iter().enumerate().all(held).then_some(which)
        })
    }

    /// Waits until nothing waits any more.
    pub(crate) fn until_quiet(&self, patience: Duration) {
        let quiet = wait::try_until(patience, || self.house.is_quiet().then_some(()));
        let open = || self.items().into_iter().find(|item| item["state"] == "waiting" || item["state"] == "claimed");
        assert!(quiet.is_some(), "letters still wait after {patience:?}, one of them: {:?}; relays: {:?}", open(), self.relays());
    }

    /// Every item of the outbox.
    pub(crate) fn items(&self) -> Vec<Value> {
        look::items(&self.house, "")
    }
}

/// A sink that takes content by DATA only.
pub(crate) fn without_chunking() -> SinkOptions {
    SinkOptions { extensions: Extensions { chunking: false, ..Extensions::ALL }, ..SinkOptions::default() }
}

/// A house that serves, with a sink of these options as its relay.
pub(crate) fn house_with(options: SinkOptions, configure: impl FnOnce(&mut Config)) -> House {
    let mut house = House::furnish_with(Mail::open_with(options), configure);
    house.token = house.create_token("events:write,outbox:read,outbox:write");
    house.serve();
    house
}

fn lay_out(config: &mut Config, relays: &[(u16, String)]) {
    // Letters as small as a template allows: what is cut is the dialogue, and its content is content.
    let templates = config.folder().join("templates");
    fs::create_dir_all(templates.join("object.created")).expect("our own folder can be written");
    for (file, text) in [
        ("layout.txt", "[[ body ]]\n"),
        ("layout.html", "<html>\n[[ body ]]\n</html>\n"),
        ("object.created/body.txt", "Created.\n..and a line that begins with dots.\n"),
        ("object.created/body.html", "<p>Created.</p>\n"),
    ] {
        fs::write(templates.join(file), text).expect("our own folder can be written");
    }
    config.set("letters", "templates", "\"templates\"");
    config.set("safety", "guard", "{ per_event = 0, per_rule_hour = 0 }");
    let (mut tables, mut rules) = (String::new(), String::new());
    for (n, (port, keys)) in relays.iter().enumerate() {
        let _ = writeln!(tables, "[[relay]]\nname = \"r{n}\"\nkind = \"smtp\"\nfrom = \"no-reply@tidings.example\"\nport = {port}");
        if !keys.contains("host = ") {
            tables.push_str("host = \"127.0.0.1\"\n");
        }
        let _ = writeln!(tables, "{keys}\n");
        let _ = writeln!(
            rules,
            "[[rule]]\nname = \"by-r{n}\"\non = [\"object.created\"]\nwhen = 'object.id == \"r{n}\"'\nto = [\"owners\"]\nrelay = \"r{n}\"\n"
        );
    }
    config.relays(&tables);
    config.more(&rules);
}

/// The number of the relay an item goes by.
pub(crate) fn relay_of(item: &Value) -> usize {
    let name = item["relay"].as_str().unwrap_or_default();
    name.strip_prefix('r').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{item} goes by no relay of the street"))
}

/// How long a scenario waits for recovery: a few probes, on a busy machine.
pub(crate) const RECOVERY: Duration = PATIENCE;
