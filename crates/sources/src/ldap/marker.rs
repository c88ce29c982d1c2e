//! Markers: a value in an attribute of an entry that asks for a letter and is cleared once the letter is sent. What there is to be read and decided of them; pure.
//!
//! ```text
//!            found: event + letters + row       token written            letter sent: noted,            value and token deleted
//!  (in the   as one                             (with an indicator)      then asked to clear            in one change
//!  directory) ─────────► Noted ────────────────► Claimed ───────────────► Clearing ───────────────────► (no row)
//!                          │                       │                         │
//!                          └── without an indicator, straight on ───────────►┘
//! ```
//!
//! The directory is the truth: whatever was broken off, the entry is read again and [`judge`] says what follows from it and from the row.
//!
//! - The value is gone: the marker was cleared (by us, if that was tried), and its row ends.
//! - Our token stands beside the value: nothing has been cleared. Once the letter is sent, clearing is tried, as often as need be: a change that finds no token fails whole.
//! - No token stands beside the value though one was written: the marker was cleared and set anew; the row ends, and the value is another request. While the letter has not left
//!   yet, it is written again instead: that letter answers the new request, too.
//! - Without an indicator there is one case in which it cannot be told: clearing was asked for, no answer came, and the value is there beside another mark of the entry's last
//!   change. It counts as set anew. A letter too many is possible then; a request is never lost.
//!
//! Servers that share a tree are not all of one age. What an entry says is not believed if it bears an older mark than was seen before, neither of a marker that is open nor of one that
//! has just ended: another server is asked, or the same one later.
//!
//! A change is made on the very state that was read where the server can (RFC 4528, by the mark of the last change), else by deleting the values that must be there.

use super::{
    filter,
    message::{Modification, Operation, RawEntry},
    values,
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidings_core::{Id, Kind, kind::Shape, schedule::Cron};
use tidings_store::{Marker, MarkerState};
use tokio::sync::Notify;

/// Requests for a letter that stand in an attribute.
#[derive(Debug, Clone)]
pub struct MarkerPlan {
    /// The attribute.
    pub attribute: String,
    /// An attribute that nobody else writes, for our token.
    pub indicator: Option<String>,
    /// Which value asks for which kind; values are compared without regard to case, blanks in a row as one.
    pub kinds: Vec<(String, &'static Kind)>,
    /// When is looked for markers; at once, if absent.
    pub schedule: Option<Cron>,
    /// Variables below `/details`, and the attributes they are filled from.
    pub details: Vec<(String, String)>,
    /// Pauses after a server has refused a change: the first, and the longest.
    pub pauses: (Duration, Duration),
}

/// Attributes that mark the last change of an entry, the finest first.
const MARKS: [&str; 3] = ["entryCSN", "uSNChanged", "modifyTimestamp"];
/// Entries that are remembered by name; beyond it all that bear a marker are looked for.
const MOST_HINTS: usize = 1000;

impl MarkerPlan {
    /// A plan with the usual pauses.
    pub fn new(attribute: impl Into<String>, kinds: Vec<(String, &'static Kind)>) -> Self {
        let pauses = (Duration::from_secs(2), Duration::from_mins(15));
        Self { attribute: attribute.into(), indicator: None, kinds, schedule: None, details: Vec::new(), pauses }
    }

    /// What must be read of an entry to judge its markers.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &str> {
        let own = [Some(&self.attribute), self.indicator.as_ref()].into_iter().flatten().map(String::as_str);
        own.chain(self.details.iter().map(|(_, attribute)| attribute.as_str())).chain(MARKS)
    }

    /// What a value asks for.
    pub(crate) fn kind_of(&self, value: &str) -> Option<&'static Kind> {
        self.kinds.iter().find(|(written, _)| folded(written) == value).map(|(_, kind)| *kind)
    }

    /// What an entry has for the letter. Moments and numbers are written as events have them.
    pub(crate) fn details_of(&self, raw: &RawEntry, kind: &Kind) -> Map<String, Value> {
        let value = |name: &str, attribute: &str| {
            let text = raw.text(attribute)?;
            let shape = kind.variables.iter().find(|one| one.pointer.strip_prefix("/details/") == Some(name)).map(|one| one.shape);
            Some(match shape {
                Some(Shape::Time) => values::moment(&text).map_or(Value::String(text), |moment| json!(moment.to_string())),
                Some(Shape::Flag) => values::truth(&text).map_or(Value::String(text), Value::Bool),
                Some(Shape::Number) => text.parse::<serde_json::Number>().map_or(Value::String(text), Value::Number),
                _ => Value::String(text),
            })
        };
        self.details.iter().filter_map(|(name, attribute)| Some((name.clone(), value(name, attribute)?))).collect()
    }
}

/// A value as caseIgnoreMatch compares it (RFC 4517 §4.2.11): without regard to case, blanks in a row as one, none around it.
pub(crate) fn folded(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The token of an event.
pub(crate) fn token(event: Id) -> String {
    format!("tidings-{event}")
}

/// What an entry says of its markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its key.
    pub(crate) key: String,
    /// Its name.
    pub(crate) dn: String,
    /// The values of the marker's attribute, as written.
    pub(crate) values: Vec<String>,
    /// The values of the indicator.
    pub(crate) tokens: Vec<String>,
    /// The mark of its last change, as `attribute=value`.
    pub(crate) mark: Option<String>,
}

impl Seen {
    pub(crate) fn of(raw: &RawEntry, key: String, plan: &MarkerPlan) -> Self {
        let mark = MARKS.iter().find_map(|name| Some(format!("{name}={}", raw.text(name)?)));
        let names = |name: &str| raw.names(name).map(str::to_owned).collect();
        Self {
            key,
            dn: raw.dn.clone(),
            values: names(&plan.attribute),
            tokens: plan.indicator.as_deref().map(names).unwrap_or_default(),
            mark,
        }
    }

    /// Of an entry that is gone.
    pub(crate) fn nothing(key: &str) -> Self {
        Self { key: key.to_owned(), dn: String::new(), values: Vec::new(), tokens: Vec::new(), mark: None }
    }

    /// A value of the marker's attribute as it is written here.
    pub(crate) fn written(&self, value: &str) -> Option<&str> {
        self.values.iter().map(String::as_str).find(|written| folded(written) == value)
    }

    fn bears(&self, event: Id) -> bool {
        let token = token(event);
        self.tokens.iter().any(|one| one.eq_ignore_ascii_case(&token))
    }

    /// The mark as a filter, in the wire's form.
    pub(crate) fn unchanged(&self) -> Option<Vec<u8>> {
        let (attribute, value) = self.mark.as_deref()?.split_once('=')?;
        let mut text = format!("({attribute}=");
        for octet in value.bytes() {
            write!(text, "\\{octet:02x}").expect("a string takes everything");
        }
        text.push(')');
        filter::compile(&text).ok()
    }
}

/// Whether one mark of a last change is older than another. Of marks of different kinds, or of counts that each server has for itself, that cannot be said.
pub(crate) fn is_older(one: Option<&str>, other: Option<&str>) -> bool {
    match (one.and_then(|mark| mark.split_once('=')), other.and_then(|mark| mark.split_once('='))) {
        // Both are written with the moment in front, all parts at the same place.
        (Some((name, one)), Some((same, other))) => name == same && name != MARKS[1] && one < other,
        _ => false,
    }
}

/// Whether an entry is no newer than it was when a marker of it ended: what it says of that marker is known. A moment of a second may hold several changes, and proves nothing.
pub(crate) fn is_known(seen: Option<&str>, ended: Option<&str>) -> bool {
    is_older(seen, ended) || (seen.is_some_and(|mark| mark.starts_with(MARKS[0])) && seen == ended)
}

/// What is to be done about a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing now.
    Wait,
    /// The token is to be written beside it.
    Claim,
    /// It is to be cleared.
    Clear,
    /// It is gone without us, and only our token is left to be deleted.
    Release,
    /// It is over.
    Over(End),
}

/// How a marker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// We cleared it.
    Cleared,
    /// Somebody else took it away. Its letter goes on.
    Withdrawn,
    /// It was cleared and set anew: what stands there is another request.
    SetAnew,
}

/// What follows from how far a marker is and from what its entry says.
pub(crate) fn judge(marker: &Marker, seen: &Seen, with_indicator: bool) -> Verdict {
    let (state, letters) = (marker.step.state, marker.letters);
    let bears = with_indicator && seen.bears(marker.event);
    if seen.written(&marker.value).is_none() {
        return match state {
            _ if bears => Verdict::Release,
            MarkerState::Clearing => Verdict::Over(End::Cleared),
            MarkerState::Noted | MarkerState::Claimed => Verdict::Over(End::Withdrawn),
        };
    }
    let once_sent = if letters.are_sent() { Verdict::Clear } else { Verdict::Wait };
    match state {
        _ if bears => once_sent,
        MarkerState::Noted if with_indicator => Verdict::Claim,
        MarkerState::Claimed if with_indicator && letters.are_open() => Verdict::Claim,
        MarkerState::Clearing if !with_indicator && seen.mark.is_some() && seen.mark == marker.step.seen => Verdict::Clear,
        // An indicator that was taken out of the configuration leaves rows behind that are claimed.
        MarkerState::Noted | MarkerState::Claimed if !with_indicator => once_sent,
        _ => Verdict::Over(End::SetAnew),
    }
}

/// The change that writes our token, beside those of other markers of the entry that are being answered. `by_mark`: whether the server makes it only on the state that was read;
/// if not, the value is deleted and added again, which fails if it is not there.
pub(crate) fn claim(plan: &MarkerPlan, marker: &Marker, others: &[Marker], seen: &Seen, by_mark: bool) -> Vec<Modification> {
    let mut changes = Vec::new();
    if !by_mark {
        let value = seen.written(&marker.value).unwrap_or(&marker.written);
        changes.push(change(Operation::Delete, &plan.attribute, [value]));
        changes.push(change(Operation::Add, &plan.attribute, [value]));
    }
    if let Some(indicator) = &plan.indicator {
        let others = others.iter().filter(|other| other.event != marker.event && seen.bears(other.event)).map(|other| token(other.event));
        changes.push(change(Operation::Replace, indicator, others.chain([token(marker.event)])));
    }
    changes
}

/// The change that clears a marker, or only its token. `by_value`: whether values of the indicator can be named; if not, those that are to stay are written.
pub(crate) fn clear(plan: &MarkerPlan, marker: &Marker, seen: &Seen, by_value: bool) -> Vec<Modification> {
    let value = seen.written(&marker.value);
    let mut changes: Vec<_> = value.map(|value| change(Operation::Delete, &plan.attribute, [value])).into_iter().collect();
    if let Some(indicator) = plan.indicator.as_ref().filter(|_| seen.bears(marker.event)) {
        let own = token(marker.event);
        let rest: Vec<&String> = seen.tokens.iter().filter(|one| !one.eq_ignore_ascii_case(&own)).collect();
        changes.push(match (by_value, rest.is_empty()) {
            (true, _) => change(Operation::Delete, indicator, [own]),
            // All of them: fails if there is none.
            (false, true) => change::<String>(Operation::Delete, indicator, []),
            (false, false) => change(Operation::Replace, indicator, rest),
        });
    }
    changes
}

fn change<T: AsRef<str>>(operation: Operation, attribute: &str, values: impl IntoIterator<Item = T>) -> Modification {
    let values = values.into_iter().map(|value| value.as_ref().as_bytes().to_vec()).collect();
    Modification { operation, attribute: attribute.to_owned(), values }
}

/// Word from whoever reads the directory to whoever answers its markers: which entries to look at. Only a hint; what an entry says is read again.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    inner: Mutex<Heard>,
    bell: Notify,
}

/// What was heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Names of entries.
    pub(crate) names: HashSet<String>,
    /// There were too many to remember them.
    pub(crate) all: bool,
    /// Keys of entries whose markers are being answered.
    open: HashSet<String>,
}

impl Hints {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an entry that was read, if it bears a marker or one of it is being answered. The bell is for [`Hints::ring`].
    pub(crate) fn hear(&self, raw: &RawEntry, key: &str, plan: &MarkerPlan) {
        let mut heard = self.heard();
        if raw.values(&plan.attribute).is_empty() && !heard.open.contains(key) {
            return;
        }
        if heard.names.len() >= MOST_HINTS {
            heard.all = true;
            heard.names.clear();
        }
        if !heard.all {
            heard.names.insert(raw.dn.clone());
        }
    }

    /// What was heard is recorded in the mirror.
    pub(crate) fn ring(&self) {
        let heard = self.heard();
        if heard.all || !heard.names.is_empty() {
            self.bell.notify_one();
        }
    }

    /// Waits for the bell.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Takes what was heard.
    pub(crate) fn take(&self) -> (Vec<String>, bool) {
        let mut heard = self.heard();
        (std::mem::take(&mut heard.names).into_iter().collect(), std::mem::take(&mut heard.all))
    }

    /// Says whose markers are being answered.
    pub(crate) fn attend_to(&self, open: HashSet<String>) {
        self.heard().open = open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MarkerState::{Claimed, Clearing, Noted};
    use tidings_core::Timestamp;
    use tidings_store::{MarkerLetters, MarkerStep};

    const EVENT: Id = Id::from_number(7);
    const OPEN: MarkerLetters = MarkerLetters { open: 1, sent: 0, lost: 0, crowd: false };
    const SENT: MarkerLetters = MarkerLetters { open: 0, sent: 1, lost: 0, crowd: false };
    const LOST: MarkerLetters = MarkerLetters { open: 0, sent: 0, lost: 1, crowd: false };
    const NONE: MarkerLetters = MarkerLetters { open: 0, sent: 0, lost: 0, crowd: false };

    fn plan(indicator: Option<&str>) -> MarkerPlan {
        let kinds = vec![("PR_EMAIL".to_owned(), Kind::find("password.reset").unwrap())];
        MarkerPlan { indicator: indicator.map(str::to_owned), ..MarkerPlan::new("destinationIndicator", kinds) }
    }

    fn marker(state: MarkerState, letters: MarkerLetters) -> Marker {
        let step = MarkerStep {
            state,
            reference: "cn=Ada".to_owned(),
            seen: Some("entryCSN=1".to_owned()),
            tries: 0,
            due_at: None,
            failure: None,
        };
        let (key, value, written) = ("k".to_owned(), "pr_email".to_owned(), "PR_EMAIL".to_owned());
        Marker { event: EVENT, key, value, written, noted_at: Timestamp::UNIX_EPOCH, step, letters }
    }

    fn seen(values: &[&str], tokens: &[&str], mark: &str) -> Seen {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Seen {
            key: "k".to_owned(),
            dn: "cn=Ada".to_owned(),
            values: owned(values),
            tokens: owned(tokens),
            mark: Some(format!("entryCSN={mark}")),
        }
    }

    #[test]
    fn with_an_indicator_the_token_tells_what_has_happened() {
        let ours = token(EVENT);
        let there = seen(&["pr_Email "], &[&ours], "2");
        let bare = seen(&["PR_EMAIL"], &["somebody's"], "2");
        let gone = seen(&["other"], &[], "2");
        let left = seen(&[], &[&ours], "2");
        for (state, letters, seen, verdict) in [
            (Noted, OPEN, &bare, Verdict::Claim),
            (Noted, SENT, &bare, Verdict::Claim),
            (Noted, OPEN, &there, Verdict::Wait),
            (Claimed, OPEN, &there, Verdict::Wait),
            (Claimed, NONE, &there, Verdict::Wait),
            (Claimed, LOST, &there, Verdict::Wait),
            (Claimed, SENT, &there, Verdict::Clear),
            (Claimed, OPEN, &bare, Verdict::Claim),
            (Claimed, SENT, &bare, Verdict::Over(End::SetAnew)),
            (Claimed, LOST, &bare, Verdict::Over(End::SetAnew)),
            (Clearing, SENT, &there, Verdict::Clear),
            (Clearing, SENT, &bare, Verdict::Over(End::SetAnew)),
            (Clearing, SENT, &gone, Verdict::Over(End::Cleared)),
            (Claimed, OPEN, &gone, Verdict::Over(End::Withdrawn)),
            (Claimed, OPEN, &left, Verdict::Release),
            (Clearing, SENT, &left, Verdict::Release),
        ] {
            assert_eq!(judge(&marker(state, letters), seen, true), verdict, "{state:?} {letters:?} {seen:?}");
        }
    }

    #[test]
    fn without_one_the_mark_of_the_last_change_does_unless_an_answer_is_missing() {
        let (same, other, gone) = (seen(&["PR_EMAIL"], &[], "1"), seen(&["PR_EMAIL"], &[], "2"), seen(&[], &[], "2"));
        for (state, letters, seen, verdict) in [
            (Noted, OPEN, &same, Verdict::Wait),
            (Noted, LOST, &other, Verdict::Wait),
            (Noted, SENT, &other, Verdict::Clear),
            (Noted, OPEN, &gone, Verdict::Over(End::Withdrawn)),
            (Clearing, SENT, &same, Verdict::Clear),
            (Clearing, SENT, &other, Verdict::Over(End::SetAnew)),
            (Clearing, SENT, &gone, Verdict::Over(End::Cleared)),
        ] {
            assert_eq!(judge(&marker(state, letters), seen, false), verdict, "{state:?} {letters:?} {seen:?}");
        }
    }

    #[test]
    fn a_change_names_the_values_it_is_about() {
        let plan = plan(Some("teletexTerminalIdentifier"));
        let ours = token(EVENT);
        let marker = marker(MarkerState::Noted, OPEN);
        let words = |changes: Vec<Modification>| -> Vec<String> {
            changes
                .iter()
                .map(|one| format!("{:?} {} {}", one.operation, one.attribute, String::from_utf8(one.values.join(&b'+')).unwrap()))
                .collect()
        };
        let bare = seen(&["PR_EMAIL"], &["x"], "1");
        assert_eq!(
            words(claim(&plan, &marker, std::slice::from_ref(&marker), &bare, true)),
            [format!("Replace teletexTerminalIdentifier {ours}")]
        );
        let safely = words(claim(&plan, &marker, &[], &bare, false));
        assert_eq!(safely[..2], ["Delete destinationIndicator PR_EMAIL", "Add destinationIndicator PR_EMAIL"]);
        let there = seen(&["pr_email"], &[&ours], "1");
        let named = ["Delete destinationIndicator pr_email".to_owned(), format!("Delete teletexTerminalIdentifier {ours}")];
        assert_eq!(words(clear(&plan, &marker, &there, true)), named);
        assert_eq!(words(clear(&plan, &marker, &there, false))[1], "Delete teletexTerminalIdentifier ");
        let two = seen(&["pr_email"], &[&ours, "tidings-other"], "1");
        assert_eq!(words(clear(&plan, &marker, &two, false))[1], "Replace teletexTerminalIdentifier tidings-other");
        assert_eq!(words(clear(&MarkerPlan { indicator: None, ..plan }, &marker, &there, true)), named[..1]);
    }

    #[test]
    fn a_server_that_lags_behind_is_known_by_its_marks() {
        let csn = |second: u8| format!("entryCSN=202611220814{second:02}.823387Z#000000#000#000000");
        let older = |one: &str, other: &str| is_older(Some(one), Some(other));
        assert!(older(&csn(1), &csn(2)) && !older(&csn(2), &csn(1)) && !older(&csn(1), &csn(1)));
        assert!(!older("uSNChanged=1", "uSNChanged=2") && !older("modifyTimestamp=1", &csn(2)));
        assert!(!is_older(None, Some(&csn(1))) && !is_older(Some(&csn(1)), None));
        let known = |one: &str, other: &str| is_known(Some(one), Some(other));
        assert!(known(&csn(1), &csn(1)) && known(&csn(1), &csn(2)) && !known(&csn(2), &csn(1)));
        assert!(!known("modifyTimestamp=20261122081400Z", "modifyTimestamp=20261122081400Z"));
        assert!(!is_known(None, None));
    }

    #[test]
    fn values_are_compared_as_the_directory_does() {
        assert_eq!(folded("  PR   Email "), "pr email");
        assert_eq!(plan(None).kind_of("pr_email").map(|kind| kind.name), Some("password.reset"));
        assert!(plan(None).kind_of("pr email").is_none());
    }

    #[test]
    fn a_mark_becomes_a_filter_whatever_it_holds() {
        let one = seen(&[], &[], "2026#00)(x");
        assert_eq!(one.unchanged(), filter::compile("(entryCSN=2026#00\\29\\28x)").ok());
    }
}
