//! What was promised held against what has arrived, letter by letter.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tidings_sink::Received;
use tidings_testkit::postfix::MaildirLetter;
use tidings_testkit::smtp_sink::KeptLetter;
use tidings_testkit::wait;

use crate::house::{House, PATIENCE};

/// What a recovery may take beyond its probe interval: finding the letters, a session, two busy cores.
const SLACK: Duration = Duration::from_secs(15);

/// A letter that arrived, wherever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    message_id: String,
    to: String,
    /// Of the letter's bytes, without what a relay has put before them.
    digest: u64,
}

impl Arrival {
    fn new(to: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).replace('\r', "");
        let header = |line: &&str| line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case("message-id:"));
        let message_id = text.lines().take_while(|line| !line.is_empty()).find(header).expect("every letter has a Message-ID");
        let message_id = message_id[11..].trim().trim_matches(['<', '>']).to_owned();
        // The headers that a relay puts in front differ from copy to copy; the letter's own begin with one that none of them writes.
        let own = text.find("From: ").map_or(&*text, |at| &text[at..]);
        let mut hasher = DefaultHasher::new();
        own.trim_end().hash(&mut hasher);
        Self { message_id, to: to.to_owned(), digest: hasher.finish() }
    }
}

/// What our own sink has taken.
pub(crate) fn of_sink(letters: &[Arc<Received>]) -> Vec<Arrival> {
    letters.iter().map(|letter| Arrival::new(&letter.to[0], &letter.bytes)).collect()
}

/// What Postfix has delivered.
pub(crate) fn of_maildir(letters: &[MaildirLetter]) -> Vec<Arrival> {
    letters.iter().map(|letter| Arrival::new(&letter.to, &letter.bytes)).collect()
}

/// What `smtp-sink` has kept.
pub(crate) fn of_smtp_sink(letters: &[KeptLetter]) -> Vec<Arrival> {
    letters.iter().map(|letter| Arrival::new(&letter.to, &letter.bytes)).collect()
}

/// What a scenario comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Letters accepted.
    pub letters: usize,
    /// Letters that ended as refused, expired or held, where the scenario wants that.
    pub refused: usize,
    /// Letters promised that neither arrived nor ended as the scenario wants.
    pub lost: usize,
    /// Copies beyond the first.
    pub doubled: usize,
    /// Copies beyond the first whose item says `maybe_duplicate`.
    pub marked: usize,
    /// Attempts spent by letters though nobody had refused them.
    pub spent: u64,
    /// The slowest recovery after trouble was mended, if the scenario measures it.
    pub recovery: Option<Recovery>,
}

/// How soon letters flowed again after trouble was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// From mending to the first letter.
    pub took: Duration,
    /// The probe interval then in force.
    pub interval: Duration,
}

impl Recovery {
    /// Whether the first letter came within the interval, give or take what a busy machine needs.
    pub fn in_time(self) -> bool {
        self.took <= self.interval + SLACK
    }
}

impl Tally {
    /// Copies that came unannounced.
    pub fn unmarked(&self) -> usize {
        self.doubled - self.marked
    }

    /// What breaks a promise, in words; empty if nothing does.
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut note = |holds: bool, words: String| {
            if !holds {
                broken.push(words);
            }
        };
        note(self.letters > 0, "no letters were sent at all".to_owned());
        note(self.lost == 0, format!("{} of {} letters are lost", self.lost, self.letters));
        note(self.unmarked() == 0, format!("{} copies came twice and are not marked", self.unmarked()));
        note(self.spent == 0, format!("{} attempts were spent though no letter was refused", self.spent));
        if let Some(recovery) = self.recovery {
            let words = format!("recovery took {:.1?} with a probe interval of {:.1?}", recovery.took, recovery.interval);
            note(recovery.in_time(), words);
        }
        broken
    }

    /// With this recovery, if it is slower, measured by its interval, than the one known.
    #[must_use]
    pub(crate) fn recovered(mut self, recovery: Recovery) -> Self {
        let lateness = |recovery: Recovery| recovery.took.as_secs_f64() - recovery.interval.as_secs_f64();
        if self.recovery.is_none_or(|known| lateness(known) < lateness(recovery)) {
            self.recovery = Some(recovery);
        }
        self
    }

    /// Both together.
    #[must_use]
    pub(crate) fn and(self, other: &Self) -> Self {
        let sum = Self {
            letters: self.letters + other.letters,
            refused: self.refused + other.refused,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            marked: self.marked + other.marked,
            spent: self.spent + other.spent,
            recovery: self.recovery,
        };
        other.recovery.into_iter().fold(sum, Self::recovered)
    }
}

/// How an item may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Sent, at its first counted attempt: whatever went wrong was the relay's trouble.
    Sent,
    /// Sent, after the relay had refused it for now this often.
    SentAfter(u64),
    /// Sent, no matter after how many refusals.
    SentSomehow,
    /// In this final state, never sent.
    Not(&'static str),
}

/// Holds every item of a house against what arrived and against how each is to end. Says on standard error which letter is not as promised.
pub(crate) fn reckon(items: &[Value], accepted: usize, arrivals: &[Arrival], end: impl Fn(&Value) -> End) -> Tally {
    let mut copies: HashMap<&str, Vec<&Arrival>> = HashMap::new();
    for arrival in arrivals {
        copies.entry(&arrival.message_id).or_default().push(arrival);
    }
    let known: HashSet<&str> = items.iter().filter_map(|item| item["message_id"].as_str()).collect();
    let strangers: Vec<&&str> = copies.keys().filter(|id| !known.contains(**id)).collect();
    assert!(strangers.is_empty(), "{strangers:?} arrived and nobody promised them");
    let mut tally = Tally { letters: accepted, lost: accepted.saturating_sub(items.len()), ..Tally::default() };
    for item in items {
        let id = item["message_id"].as_str().expect("an id is a text");
        let came = copies.get(id).map_or(&[][..], Vec::as_slice);
        assert!(came.iter().all(|copy| copy.digest == came[0].digest && copy.to == came[0].to), "two different letters bear the name {id}");
        assert!(came.iter().all(|copy| item["to"] == copy.to.as_str()), "{id} went to somebody else: {item}");
        let (state, attempts) = (item["state"].as_str().unwrap_or_default(), item["attempts"].as_u64().unwrap_or_default());
        let end = end(item);
        let as_promised = match end {
            End::Sent | End::SentAfter(_) | End::SentSomehow => state == "sent" && !came.is_empty(),
            End::Not(wanted) => state == wanted && came.is_empty(),
        };
        let wanted_attempts = match end {
            End::Sent => 1,
            End::SentAfter(refusals) => 1 + refusals,
            End::SentSomehow | End::Not(_) => attempts,
        };
        if !as_promised || attempts > wanted_attempts {
            eprintln!("wanted {end:?}, {} copies arrived: {item}", came.len());
        }
        tally.lost += usize::from(!as_promised);
        tally.refused += usize::from(as_promised && matches!(end, End::Not(_)));
        tally.spent += attempts.saturating_sub(wanted_attempts);
        let extra = came.len().saturating_sub(1);
        tally.doubled += extra;
        if item["maybe_duplicate"] == true {
            tally.marked += extra;
        } else if extra > 0 {
            eprintln!("{} copies came and none is announced: {item}", came.len());
        }
    }
    tally
}

/// Seconds to the next probe of a relay, as the log said when it was last held; nothing if it never was.
pub(crate) fn probe_interval(house: &House, relay: &str) -> Option<Duration> {
    let log = house.log();
    let mut lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let held = lines.find(|line| line["message"] == "relay held" && line["relay"] == relay)?;
    held["next_probe_s"].as_f64().map(Duration::from_secs_f64)
}

/// Measures a recovery: mends, waits for what shows that letters flow again, and reads the interval in force from the log.
pub(crate) fn recovery(house: &House, relay: &str, mend: impl FnOnce(), mut flows: impl FnMut() -> bool) -> Recovery {
    let start = Instant::now();
    mend();
    // The slowest probes are a minute and a fifth apart at first.
    wait::until("letters to flow again", PATIENCE * 2, || flows().then_some(()));
    let took = start.elapsed();
    Recovery { took, interval: probe_interval(house, relay).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(id: &str, state: &str, attempts: u64, twice: bool) -> Value {
        json!({"message_id": id, "to": "a@example.org", "state": state, "attempts": attempts, "maybe_duplicate": twice})
    }

    fn arrival(id: &str) -> Arrival {
        Arrival::new("a@example.org", format!("Received: x\r\nFrom: b\r\nMessage-ID: <{id}>\r\n\r\nhello\r\n").as_bytes())
    }

    #[test]
    fn what_did_not_arrive_is_lost_and_what_came_twice_must_be_marked() {
        let items = [item("1", "sent", 1, false), item("2", "sent", 1, true), item("3", "sent", 1, false), item("4", "waiting", 0, false)];
        let arrivals = ["1", "1", "2", "2", "2"].map(arrival);
        let tally = reckon(&items, 5, &arrivals, |_| End::Sent);
        assert_eq!((tally.lost, tally.doubled, tally.marked, tally.unmarked(), tally.spent), (3, 3, 2, 1, 0));
        assert_eq!(tally.broken_promises().len(), 2);
    }

    #[test]
    fn an_end_that_is_wanted_is_no_loss_and_an_attempt_too_many_is_counted() {
        let items = [item("1", "failed", 1, false), item("2", "sent", 3, false)];
        let tally =
            reckon(&items, 2, &[arrival("2")], |item| if item["message_id"] == "1" { End::Not("failed") } else { End::SentAfter(1) });
        assert_eq!((tally.lost, tally.refused, tally.spent), (0, 1, 1));
        assert_eq!(reckon(&items[..1], 1, &[arrival("1")], |_| End::Not("failed")).lost, 1);
    }

    #[test]
    fn a_recovery_is_measured_by_its_probe_interval() {
        let slow = Recovery { took: Duration::from_secs(17), interval: Duration::from_secs(1) };
        let fine = Recovery { took: Duration::from_secs(20), interval: Duration::from_secs(30) };
        assert!(!slow.in_time() && fine.in_time());
        assert_eq!(Tally::default().recovered(fine).recovered(slow).recovery, Some(slow));
        assert_eq!(Tally::default().recovered(slow).recovered(fine).recovery, Some(slow));
    }
}
