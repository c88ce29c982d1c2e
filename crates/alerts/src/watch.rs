//! From news to alerts: once per hold, after a grace, and once more when it is over. Pure: the moment is an argument.

use crate::alert::{Alert, Matter};
use std::{collections::HashMap, time::Duration};
use tidings_core::Timestamp;
use tidings_delivery::news::{News, RelayNews};
use tokio::time::Instant;

/// A way out, as far as alerts are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The relay's name.
    pub name: String,
    /// The relay that takes over while it is held.
    pub next: Option<String>,
}

/// A present moment on both clocks: for waiting, and for telling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) clock: Timestamp,
}

/// Trouble that has not been told, or has been and is not over.
#[derive(Debug, Clone)]
struct Trouble {
    matter: Matter,
    error: String,
    hint: Option<String>,
    since: Timestamp,
    tell_at: Instant,
    told: bool,
}

/// Keeps what is wrong with which relay. Its memory is bounded by the number of relays.
#[derive(Debug)]
pub(crate) struct Watch {
    ways: Vec<Way>,
    preferred: Option<String>,
    after: Duration,
    held: HashMap<String, Trouble>,
    undrained: HashMap<String, Trouble>,
}

impl Watch {
    pub(crate) fn new(ways: Vec<Way>, preferred: Option<String>, after: Duration) -> Self {
        Self { ways, preferred, after, held: HashMap::new(), undrained: HashMap::new() }
    }

    /// Goes by other ways from now on; what is wrong with relays that are no longer among them is forgotten.
    pub(crate) fn refit(&mut self, ways: Vec<Way>, preferred: Option<String>, after: Duration) {
        for troubles in [&mut self.held, &mut self.undrained] {
            troubles.retain(|relay, _| ways.iter().any(|way| way.name == *relay));
        }
        (self.ways, self.preferred, self.after) = (ways, preferred, after);
    }

    /// Takes in a piece of news; gives what is to be told of it at once.
    pub(crate) fn hear(&mut self, news: RelayNews, now: Now) -> Option<Alert> {
        let RelayNews { relay, what } = news;
        let trouble =
            |matter, error, hint, after| Trouble { matter, error, hint, since: now.clock, tell_at: now.instant + after, told: false };
        match what {
            News::Held { trouble: found } => {
                let error = format!("{}: {}", found.stage, found.what);
                let after = self.after;
                // A hold goes on under another sign: the newest one is told.
                let known = self.held.entry(relay).or_insert_with(|| trouble(Matter::Held, String::new(), None, after));
                (known.error, known.hint) = (error, found.hint);
                None
            }
            News::Recovered => {
                let over = self.held.remove(&relay).filter(|trouble| trouble.told)?;
                Some(self.recovery(relay, &over, now))
            }
            News::NotDrained { files, oldest } => {
                let error = format!("{files} files wait in the pickup directory, the oldest for {} minutes", oldest.as_secs() / 60);
                let hint = Some("check whether the mail server runs and watches this folder".to_owned());
                let mut found = trouble(Matter::Warning, error, hint, Duration::ZERO);
                found.told = true;
                let alert = self.alert(&relay, &found, now);
                self.undrained.insert(relay, found);
                Some(alert)
            }
            News::Drained => {
                let over = self.undrained.remove(&relay)?;
                Some(self.recovery(relay, &over, now))
            }
            News::BadFiles { names, count } => {
                let error = format!("the mail server could not read {count} files and renamed them: {}", names.join(", "));
                Some(self.alert(&relay, &trouble(Matter::Warning, error, None, Duration::ZERO), now))
            }
            News::SenderRefused { from, reply } => {
                let error = format!("the sender {from} is refused: {reply}");
                let hint = Some("let the relay's account send as this address, or change `from`".to_owned());
                Some(self.alert(&relay, &trouble(Matter::Warning, error, hint, Duration::ZERO), now))
            }
        }
    }

    /// What has lasted longer than the grace and was not told yet.
    pub(crate) fn due(&mut self, now: Now) -> Vec<Alert> {
        let due: Vec<String> = self
            .held
            .iter()
            .filter(|(_, trouble)| !trouble.told && trouble.tell_at <= now.instant)
            .map(|(relay, _)| relay.clone())
            .collect();
        let mut alerts = Vec::with_capacity(due.len());
        for relay in due {
            if let Some(trouble) = self.held.get_mut(&relay) {
                trouble.told = true;
                let trouble = trouble.clone();
                alerts.push(self.alert(&relay, &trouble, now));
            }
        }
        alerts
    }

    /// When something becomes due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.held.values().filter(|trouble| !trouble.told).map(|trouble| trouble.tell_at).min()
    }

    fn alert(&self, relay: &str, trouble: &Trouble, now: Now) -> Alert {
        Alert {
            matter: trouble.matter,
            relay: relay.to_owned(),
            error: trouble.error.clone(),
            hint: trouble.hint.clone(),
            since: trouble.since,
            at: now.clock,
            sent_by: self.taker(relay).filter(|_| trouble.matter == Matter::Held),
            by: self.way_around(Some(relay)),
            shared: trouble.matter == Matter::Held,
        }
    }

    fn recovery(&self, relay: String, over: &Trouble, now: Now) -> Alert {
        let by = self.way_around(None);
        Alert {
            matter: Matter::Recovered,
            relay,
            error: String::new(),
            hint: None,
            since: over.since,
            at: now.clock,
            sent_by: None,
            by,
            shared: over.matter == Matter::Held,
        }
    }

    /// The relay by which a letter can go: the preferred one, else the first, that is neither held nor the one it is about.
    fn way_around(&self, relay: Option<&str>) -> Option<String> {
        let there = |name: &&str| Some(*name) != relay && !self.held.contains_key(*name);
        let preferred = self.preferred.as_deref().filter(there);
        preferred.or_else(|| self.ways.iter().map(|way| way.name.as_str()).find(there)).map(str::to_owned)
    }

    /// The relay that sends the letters of a held one.
    fn taker(&self, relay: &str) -> Option<String> {
        let next_of = |name: &str| self.ways.iter().find(|way| way.name == name).and_then(|way| way.next.as_deref());
        let mut taker = next_of(relay)?;
        for _ in 0..self.ways.len() {
            if !self.held.contains_key(taker) {
                return Some(taker.to_owned());
            }
            taker = next_of(taker)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{outbox::Stage, time::later};
    use tidings_delivery::courier::{RelayTrouble, TroubleKind};

    fn watch(preferred: Option<&str>) -> Watch {
        let way = |name: &str, next: Option<&str>| Way { name: name.to_owned(), next: next.map(str::to_owned) };
        let ways = vec![way("main", Some("backup")), way("backup", None), way("third", None)];
        Watch::new(ways, preferred.map(str::to_owned), Duration::from_secs(60))
    }

    fn start() -> Now {
        Now { instant: Instant::now(), clock: Timestamp::UNIX_EPOCH }
    }

    fn after(now: Now, seconds: u64) -> Now {
        let by = Duration::from_secs(seconds);
        Now { instant: now.instant + by, clock: later(now.clock, by) }
    }

    fn held(relay: &str, what: &str) -> RelayNews {
        let trouble = RelayTrouble {
            stage: Stage::Connect,
            what: what.to_owned(),
            hint: Some("look".to_owned()),
            kind: TroubleKind::Unreachable,
            pause: None,
        };
        RelayNews { relay: relay.to_owned(), what: News::Held { trouble } }
    }

    fn news(relay: &str, what: News) -> RelayNews {
        RelayNews { relay: relay.to_owned(), what }
    }

    #[test]
    fn a_hold_is_told_once_after_the_grace_and_its_end_once() {
        let (mut watch, now) = (watch(None), start());
        assert_eq!(watch.hear(held("main", "refused"), now), None);
        assert!(watch.due(after(now, 59)).is_empty());
        assert_eq!(watch.next_at(), Some(now.instant + Duration::from_secs(60)));
        watch.hear(held("main", "no route"), after(now, 59));
        let alerts = watch.due(after(now, 60));
        assert_eq!(alerts.len(), 1);
        let alert = &alerts[0];
        assert_eq!((alert.matter, alert.relay.as_str(), alert.error.as_str()), (Matter::Held, "main", "connect: no route"));
        assert_eq!((alert.by.as_deref(), alert.sent_by.as_deref(), alert.since), (Some("backup"), Some("backup"), now.clock));
        assert!(watch.due(after(now, 600)).is_empty() && watch.next_at().is_none());
        let over = watch.hear(news("main", News::Recovered), after(now, 700)).unwrap();
        assert_eq!((over.matter, over.since, over.by.as_deref()), (Matter::Recovered, now.clock, Some("main")));
        assert_eq!(watch.hear(news("main", News::Recovered), after(now, 701)), None);
    }

    #[test]
    fn a_hiccup_is_no_news() {
        let (mut watch, now) = (watch(None), start());
        watch.hear(held("main", "refused"), now);
        assert_eq!(watch.hear(news("main", News::Recovered), after(now, 30)), None);
        assert!(watch.due(after(now, 600)).is_empty());
    }

    #[test]
    fn letters_go_around_whatever_is_held() {
        let (mut watch, now) = (watch(Some("backup")), start());
        watch.hear(held("main", "refused"), now);
        watch.hear(held("backup", "refused"), now);
        let alerts = watch.due(after(now, 60));
        assert!(alerts.len() == 2 && alerts.iter().all(|alert| alert.by.as_deref() == Some("third") && alert.sent_by.is_none()));
        watch.hear(held("third", "refused"), after(now, 61));
        assert_eq!(watch.due(after(now, 121))[0].by, None);
    }

    #[test]
    fn a_pickup_directory_that_nobody_empties_is_told_and_its_end_too() {
        let (mut watch, now) = (watch(None), start());
        let stuck = News::NotDrained { files: 12, oldest: Duration::from_secs(900) };
        let alert = watch.hear(news("main", stuck), now).unwrap();
        assert_eq!((alert.matter, alert.by.as_deref()), (Matter::Warning, Some("backup")));
        assert!(alert.error.contains("12 files") && alert.error.contains("15 minutes"));
        assert_eq!(watch.hear(news("main", News::Drained), now).unwrap().matter, Matter::Recovered);
        assert_eq!(watch.hear(news("main", News::Drained), now), None);
        let bad = News::BadFiles { names: vec!["a.bad".to_owned()], count: 1 };
        assert!(watch.hear(news("main", bad), now).unwrap().error.contains("a.bad"));
        let refused = News::SenderRefused { from: "a@example.org".to_owned(), reply: "550 5.7.60".to_owned() };
        assert!(watch.hear(news("main", refused), now).unwrap().error.contains("5.7.60"));
    }
}
