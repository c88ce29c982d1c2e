//! The sheet of a relay: what is written in the database, and what follows from the time that has passed.
//!
//! Written as JSON. All moments are milliseconds of the database's clock since the epoch. What a later version may add is kept as it is.

use crate::{
    courier::{RelayTrouble, TroubleKind},
    rate::slice_number,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tidings_core::outbox::Stage;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sheet {
    /// When it was written.
    pub(crate) at: u64,
    /// What each node holds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) nodes: BTreeMap<String, Entry>,
    /// Letters handed over, for each span that is limited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sent: Vec<Tally>,
    /// Sessions begun, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) begun: Vec<Tally>,
    /// What is wrong with the relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Hold>,
    /// Not all seats are to be used for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ease: Option<Ease>,
    /// What an earlier version wrote in this place.
    #[serde(skip_serializing)]
    windows: Vec<Account>,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

/// What a node holds, and would like to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    /// The end of it all.
    pub(crate) until: u64,
    /// Counts its writings.
    pub(crate) turn: u64,
    /// Sessions it may have.
    pub(crate) seats: u16,
    /// Sessions it could use.
    pub(crate) wants: u16,
    /// Sessions it has.
    pub(crate) open: u16,
    /// Whether it has more work than its sessions can do soon.
    pub(crate) busy: bool,
    /// Letters it may hand over.
    pub(crate) letters: u64,
    /// Sessions it may begin.
    pub(crate) begins: u64,
}

/// What was counted within a span, by slices of it ([`crate::rate`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// The length of the span in seconds.
    pub(crate) span_s: u64,
    /// The numbers of slices since the epoch, and how much in each; oldest first.
    pub(crate) slices: Vec<(u64, u64)>,
}

/// A relay that is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hold {
    /// Since when; tells holds apart.
    pub(crate) since: u64,
    stage: String,
    kind: String,
    what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Times that it has failed, the first one included.
    pub(crate) failures: u32,
    /// When it may be tried.
    pub(crate) probe_at: u64,
    /// Who tries it, until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prober: Option<(String, u64)>,
}

/// Not all seats are to be used: the relay was busy, or has just come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ease {
    /// So many in all.
    pub(crate) seats: u16,
    /// Since when.
    pub(crate) at: u64,
}

/// A window as version 0.1 kept it: ages in milliseconds, and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Account {
    span_s: u64,
    sent: Vec<(u64, u64)>,
}

const STAGES: [Stage; 10] = [
    Stage::Connect,
    Stage::Greeting,
    Stage::Ehlo,
    Stage::Tls,
    Stage::Auth,
    Stage::Mail,
    Stage::Rcpt,
    Stage::Data,
    Stage::Content,
    Stage::Write,
];

const KINDS: [TroubleKind; 8] = [
    TroubleKind::Unreachable,
    TroubleKind::Tls,
    TroubleKind::Auth,
    TroubleKind::Busy,
    TroubleKind::Quota,
    TroubleKind::Protocol,
    TroubleKind::Configuration,
    TroubleKind::Folder,
];

/// A duration as it is written.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Hold {
    pub(crate) fn new(trouble: &RelayTrouble, since: u64, failures: u32, probe_at: u64) -> Self {
        let (stage, kind) = (trouble.stage.as_str().to_owned(), trouble.kind.as_str().to_owned());
        Self { since, stage, kind, what: trouble.what.clone(), hint: trouble.hint.clone(), failures, probe_at, prober: None }
    }

    /// What is wrong. What this version has no word for is taken for a break of the protocol.
    pub(crate) fn trouble(&self) -> RelayTrouble {
        let stage = STAGES.into_iter().find(|stage| stage.as_str() == self.stage).unwrap_or(Stage::Connect);
        let kind = KINDS.into_iter().find(|kind| kind.as_str() == self.kind).unwrap_or(TroubleKind::Protocol);
        RelayTrouble { stage, what: self.what.clone(), hint: self.hint.clone(), kind, pause: None }
    }
}

impl Tally {
    pub(crate) fn of(span: Duration) -> Self {
        Self { span_s: span.as_secs(), slices: Vec::new() }
    }

    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.span_s)
    }

    /// Counts so many at this moment.
    pub(crate) fn add(&mut self, moment: Duration, count: u64) {
        if count == 0 {
            return;
        }
        let number = slice_number(self.span(), moment);
        match self.slices.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(place) => self.slices[place].1 += count,
            Err(place) => self.slices.insert(place, (number, count)),
        }
    }
}

/// Sees to it that there is a tally for each of these spans.
pub(crate) fn keep_tallies(tallies: &mut Vec<Tally>, spans: impl Iterator<Item = Duration>) {
    for span in spans {
        if !tallies.iter().any(|tally| tally.span() == span) {
            tallies.push(Tally::of(span));
        }
    }
}

impl Sheet {
    /// What is written, as it stands at this moment. What cannot be read says nothing.
    pub(crate) fn read(text: &str, now: Duration) -> Self {
        let mut sheet: Self = serde_json::from_str(text).unwrap_or_default();
        for account in std::mem::take(&mut sheet.windows) {
            let mut tally = Tally::of(Duration::from_secs(account.span_s.max(1)));
            for (age, count) in account.sent {
                tally.add(Duration::from_millis(sheet.at.saturating_sub(age)), count);
            }
            sheet.sent.retain(|kept| kept.span_s != tally.span_s);
            sheet.sent.push(tally);
        }
        for tally in sheet.sent.iter_mut().chain(&mut sheet.begun) {
            tally.span_s = tally.span_s.max(1);
            tally.slices.sort_unstable();
        }
        sheet.pass(now);
        sheet
    }

    /// The text for the database.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a sheet has nothing that JSON cannot say")
    }

    /// Lets time pass up to now: what has lapsed is counted and taken away, what is older than its span forgotten.
    pub(crate) fn pass(&mut self, now: Duration) {
        self.turn_back(now);
        let now_ms = millis(now);
        let lapsed: Vec<Entry> = self.nodes.values().filter(|entry| entry.until <= now_ms).cloned().collect();
        self.nodes.retain(|_, entry| entry.until > now_ms);
        for entry in &lapsed {
            self.count_lapsed(entry, entry.until);
        }
        for tally in self.sent.iter_mut().chain(&mut self.begun) {
            let (span, current) = (tally.span(), slice_number(tally.span(), now));
            tally.slices.retain(|(number, _)| crate::rate::touches(*number, current));
            debug_assert!(span >= Duration::from_secs(1));
        }
        if let Some(hold) = &mut self.hold {
            hold.prober.take_if(|(_, until)| *until <= now_ms);
        }
    }

    /// What a node had reserved when it was last heard of counts as sent then.
    fn count_lapsed(&mut self, entry: &Entry, at: u64) {
        let at = Duration::from_millis(at);
        self.sent.iter_mut().for_each(|tally| tally.add(at, entry.letters));
        self.begun.iter_mut().for_each(|tally| tally.add(at, entry.begins));
    }

    /// Nobody but the reader can be there: what others have reserved counts as sent now.
    pub(crate) fn empty(&mut self, now: Duration) {
        for entry in std::mem::take(&mut self.nodes).into_values() {
            self.count_lapsed(&entry, millis(now));
        }
    }

    /// A node is surely gone: what it had reserved counts as sent now.
    pub(crate) fn drop_entry(&mut self, name: &str, now: Duration) {
        if let Some(entry) = self.nodes.remove(name) {
            self.count_lapsed(&entry, millis(now));
        }
    }

    /// A clock that was set back makes nothing younger than it was, and nothing last longer.
    fn turn_back(&mut self, now: Duration) {
        let Some(back) = Duration::from_millis(self.at).checked_sub(now).filter(|back| *back > Duration::ZERO) else { return };
        let back_ms = millis(back);
        for entry in self.nodes.values_mut() {
            entry.until = entry.until.saturating_sub(back_ms);
        }
        for tally in self.sent.iter_mut().chain(&mut self.begun) {
            let slices = slice_number(tally.span(), back);
            for (number, _) in &mut tally.slices {
                *number = number.saturating_sub(slices);
            }
        }
        if let Some(hold) = &mut self.hold {
            hold.probe_at = hold.probe_at.saturating_sub(back_ms);
            if let Some((_, until)) = &mut hold.prober {
                *until = until.saturating_sub(back_ms);
            }
        }
        if let Some(ease) = &mut self.ease {
            ease.at = ease.at.saturating_sub(back_ms);
        }
        self.at = millis(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn later(seconds: u64) -> Duration {
        NOW + Duration::from_secs(seconds)
    }

    fn counted(sheet: &Sheet) -> u64 {
        sheet.sent.iter().flat_map(|tally| &tally.slices).map(|(_, count)| count).sum()
    }

    #[test]
    fn what_is_written_is_read_and_what_a_later_version_adds_is_kept() {
        let trouble = RelayTrouble::new(TroubleKind::Auth, Stage::Auth, "535 no").hint("look at the password");
        let mut sheet = Sheet { at: millis(NOW), hold: Some(Hold::new(&trouble, 5, 2, 9)), ..Sheet::default() };
        sheet.nodes.insert("a".to_owned(), Entry { until: millis(later(10)), seats: 3, letters: 7, ..Entry::default() });
        sheet.sent.push(Tally::of(Duration::from_mins(1)));
        sheet.sent[0].add(NOW, 4);
        let text = sheet.text().replacen('{', "{\"colour\":\"blue\",", 1);
        let again = Sheet::read(&text, NOW);
        assert_eq!(
            (again.nodes.clone(), again.sent.clone(), again.hold.as_ref().map(Hold::trouble)),
            (sheet.nodes, sheet.sent, Some(trouble))
        );
        assert!(again.text().contains("\"colour\":\"blue\""));
        for text in ["", "{}", "[]", "{\"at\":\"x\"}", "{\"at\":1,\"windows\":7}", "{\"sent\":[{\"span_s\":0,\"slices\":[[1,1]]}]}"] {
            assert!(Sheet::read(text, NOW).nodes.is_empty());
        }
    }

    #[test]
    fn what_lapses_counts_as_sent_when_it_lapsed() {
        let mut sheet = Sheet { at: millis(NOW), ..Sheet::default() };
        sheet.sent.push(Tally::of(Duration::from_mins(1)));
        sheet.nodes.insert("a".to_owned(), Entry { until: millis(later(15)), letters: 7, ..Entry::default() });
        sheet.pass(later(14));
        assert_eq!((counted(&sheet), sheet.nodes.len()), (0, 1));
        sheet.pass(later(40));
        assert_eq!((counted(&sheet), sheet.nodes.len()), (7, 0));
        sheet.pass(later(74));
        assert_eq!(counted(&sheet), 7);
        sheet.pass(later(76));
        assert_eq!(counted(&sheet), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_room_and_holds_nothing_for_longer() {
        let mut sheet = Sheet { at: millis(NOW), ..Sheet::default() };
        sheet.sent.push(Tally::of(Duration::from_mins(1)));
        sheet.sent[0].add(NOW, 7);
        sheet.nodes.insert("a".to_owned(), Entry { until: millis(later(15)), ..Entry::default() });
        let back = NOW.saturating_sub(Duration::from_hours(5));
        let mut back_then = Sheet::read(&sheet.text(), back);
        assert_eq!((counted(&back_then), back_then.nodes["a"].until), (7, millis(back + Duration::from_secs(15))));
        back_then.pass(back + Duration::from_secs(59));
        assert_eq!((counted(&back_then), back_then.nodes.len()), (7, 0));
        back_then.pass(back + Duration::from_secs(62));
        assert_eq!(counted(&back_then), 0);
    }

    #[test]
    fn what_an_earlier_version_has_counted_is_taken_over() {
        let text = format!(
            r#"{{"at":{},"windows":[{{"span_s":86400,"sent":[[3600000,5],[0,200]]}},{{"span_s":60,"sent":[[1000,2]]}}]}}"#,
            millis(NOW)
        );
        let mut sheet = Sheet::read(&text, later(10));
        assert_eq!(counted(&sheet), 207);
        assert!(!sheet.text().contains("windows"));
        sheet.pass(later(86_400 - 2000));
        assert_eq!(counted(&sheet), 200, "an hour before they were sent others were");
    }
}
