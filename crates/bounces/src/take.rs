//! The door: a report is read, matched with the items it is about, and kept with what follows from it.
//!
//! A report changes an item only if it speaks of the very address that the item was sent to, or came back to a return path that carries our seal (VERP). So a forged
//! report can at most concern a letter that was really sent to that address. What is not matched so names candidates, and changes nothing.

use crate::{
    automatic::Ignored,
    error::BounceError,
    mime::{Fields, lines, split_head},
    read::{read, without_mbox_line},
    report::{Form, Reading, Report, Reported},
};
use sha2::{Digest as _, Sha256};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tidings_core::{
    Id,
    bounce::{Class, Match},
    outbox::State,
    verp::VerpKey,
};
use tidings_store::{Database, Effect, Filter, Finding, HealthTerms, ItemRow, NewReport, ReportTaken};

/// How long a report waits for the relay's own answer to be written down, and how often it looks.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(50));
/// Items that a weak hint names.
const MOST_CANDIDATES: u16 = 3;
/// Items of one event and recipient that are looked through.
const MOST_SIBLINGS: u16 = 50;

/// The way a report came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `tidings bounce`.
    Command,
    /// `POST /v1/bounces`.
    Http,
    /// A mailbox that is read.
    Mailbox,
}

impl Way {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Http => "http",
            Self::Mailbox => "mailbox",
        }
    }
}

/// A mail that may be a report.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// Its bytes (RFC 5322), line ends as they come. Of more than [`crate::LONGEST`] the first ones are looked at.
    pub raw: &'a [u8],
    /// The address that it was delivered to, if the mail itself does not say so.
    pub recipient: Option<&'a str>,
    /// The way it came.
    pub way: Way,
}

/// What reports are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When an address counts as unhealthy.
    pub health: HealthTerms,
    /// Whether a reader's complaint counts like a hard bounce; else it is only noted.
    pub complaints_count: bool,
}

/// What became of one recipient's part of a report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TakenLine {
    /// What it says.
    pub class: Class,
    /// The address that it names, if it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The item it is about, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Id>,
    /// How that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_by: Option<Match>,
    /// What followed: `bounced`, `noted`, `unmatched`, or the state in which the item stays.
    pub effect: &'static str,
    /// Whether its address became unhealthy by it.
    pub unhealthy: bool,
    /// Items that it may be about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Id>,
}

/// What became of a mail. Each of these says that it need not be brought again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It says nothing about a letter's fate: nothing is kept.
    Ignored(Ignored),
    /// It was taken before: nothing changed.
    Known,
    /// It is kept.
    Report {
        /// Its form.
        form: Form,
        /// What became of it, recipient by recipient.
        lines: Vec<TakenLine>,
    },
}

/// Takes reports. Cheap to share.
pub struct Reports {
    store: Arc<dyn Database>,
    key: VerpKey,
    terms: RwLock<Terms>,
}

impl Reports {
    /// A door to this database.
    pub fn new(store: Arc<dyn Database>, terms: Terms) -> Self {
        let key = store.return_paths();
        Self { store, key, terms: RwLock::new(terms) }
    }

    /// Judges by other terms from now on.
    pub fn refit(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    /// Takes a mail: reads it, matches it, keeps it. Taken twice it changes nothing and says so.
    ///
    /// # Errors
    /// [`BounceError`] if it has to be brought again later; nothing is kept then.
    pub async fn take(&self, parcel: Parcel<'_>) -> Result<Taken, BounceError> {
        let mut report = match read(parcel.raw) {
            Reading::Report(report) => report,
            Reading::Ignored(why) => {
                metrics::counter!("tidings_reports_ignored_total", "why" => why.as_str()).increment(1);
                tracing::info!(report.way = parcel.way.as_str(), why = why.as_str(), "a mail that came back is ignored");
                return Ok(Taken::Ignored(why));
            }
        };
        report.returned_to.extend(parcel.recipient.map(str::to_owned));
        let terms = *self.terms.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.sealed(&report).await?;
        let mut findings = Vec::with_capacity(report.recipients.len());
        for reported in &report.recipients {
            findings.push(self.find(&report, reported, &sealed, &terms).await?);
        }
        let new = NewReport {
            digest: digest(parcel.raw),
            way: parcel.way.as_str(),
            form: report.form.as_str(),
            reporter: report.reporter.clone(),
            findings: findings.clone(),
            terms: terms.health,
        };
        let taken = match self.store.take_report(new).await? {
            ReportTaken::Known => Taken::Known,
            ReportTaken::New(effects) => {
                let lines = findings.into_iter().zip(effects).map(|(finding, effect)| line(finding, effect)).collect();
                Taken::Report { form: report.form, lines }
            }
        };
        tell(&taken, parcel.way);
        Ok(taken)
    }

    /// The items whose return paths, with our seal, the report came back to.
    async fn sealed(&self, report: &Report) -> Result<Vec<ItemRow>, BounceError> {
        let mut items = Vec::new();
        for path in &report.returned_to {
            if let Some(id) = self.key.item(path)
                && let Some(found) = self.settled(id).await?
                && items.iter().all(|item: &ItemRow| item.id != found.id)
            {
                items.push(found);
            }
        }
        Ok(items)
    }

    /// An item, once what its relay answered is written down.
    async fn settled(&self, id: Id) -> Result<Option<ItemRow>, BounceError> {
        let until = tokio::time::Instant::now() + PATIENCE.0;
        loop {
            let found = self.store.item(id).await?.map(|detail| detail.row);
            match found {
                Some(row) if row.state == State::Claimed && tokio::time::Instant::now() < until => tokio::time::sleep(PATIENCE.1).await,
                Some(row) if row.state == State::Claimed => return Err(BounceError::NotYet(row.id)),
                found => return Ok(found),
            }
        }
    }

    async fn find(&self, report: &Report, reported: &Reported, sealed: &[ItemRow], terms: &Terms) -> Result<Finding, BounceError> {
        let matched = self.match_item(report, reported, sealed).await?;
        let named = matched.as_ref().is_none_or(|(item, _)| reported.names.is_empty() || names(reported, &item.to));
        let counts = named
            && match reported.class {
                Class::Hard | Class::Delivered => true,
                Class::Complaint => terms.complaints_count,
                Class::Soft | Class::Delayed | Class::Relayed => false,
            };
        let mut candidates = Vec::new();
        if matched.is_none() {
            for name in reported.names.iter().take(2) {
                let filter = Filter { to: Some(name.clone()), ..Filter::default() };
                candidates.extend(self.store.items(filter, None, MOST_CANDIDATES).await?.items.into_iter().map(|item| item.id));
            }
            candidates.truncate(MOST_CANDIDATES.into());
        }
        Ok(Finding {
            class: reported.class,
            status: reported.status.clone(),
            recipient: reported.names.first().cloned(),
            diagnostic: reported.diagnostic.clone(),
            item: matched.map(|(item, by)| (item.id, by)),
            candidates,
            counts,
        })
    }

    /// The item that a recipient's part of a report is about.
    async fn match_item(&self, report: &Report, reported: &Reported, sealed: &[ItemRow]) -> Result<Option<(ItemRow, Match)>, BounceError> {
        // A sealed return path names one item with one recipient. If the report speaks of several, it is about the one it names; of one, it is about that one, also
        // if the letter was sent on from there and the report names another address.
        let item = sealed.iter().find(|item| names(reported, &item.to));
        if let Some(item) = item.or_else(|| sealed.first().filter(|_| report.recipients.len() == 1)) {
            return Ok(Some((item.clone(), Match::Verp)));
        }
        for envelope in report.envelopes.iter().filter_map(|text| text.parse().ok()) {
            if let Some(item) = self.settled(envelope).await?.filter(|item| names(reported, &item.to)) {
                return Ok(Some((item, Match::Envelope)));
            }
        }
        for message_id in &report.message_ids {
            if let Some(item) = self.by_message_id(message_id, reported).await? {
                return Ok(Some((item, Match::MessageId)));
            }
        }
        for event in report.events.iter().filter_map(|text| text.parse().ok()) {
            // Several letters about one event go to one person now and then; then nobody can tell which one came back, unless only one has left.
            let mut items = self.of_event(event, reported).await?;
            if items.len() > 1 {
                items.retain(|item| item.state == State::Sent);
            }
            if items.len() == 1 {
                return Ok(items.pop().map(|item| (item, Match::Header)));
            }
        }
        Ok(None)
    }

    /// A letter's Message-ID begins with the letter's name, which is that of its first item; copies are items of the same event.
    async fn by_message_id(&self, message_id: &str, reported: &Reported) -> Result<Option<ItemRow>, BounceError> {
        let Some(letter) = message_id.split(['.', '@']).next().and_then(|text| text.parse::<Id>().ok()) else { return Ok(None) };
        let Some(first) = self.settled(letter).await?.filter(|item| item.message_id == message_id) else { return Ok(None) };
        // A provider that leaves out who complains still gives back the letter, and a letter has one reader.
        if names(reported, &first.to) || (reported.class == Class::Complaint && reported.names.is_empty()) {
            return Ok(Some(first));
        }
        let copies = self.of_event(first.event, reported).await?;
        Ok(copies.into_iter().find(|item| item.message_id == message_id))
    }

    /// The items of an event that went to an address which the report names.
    async fn of_event(&self, event: Id, reported: &Reported) -> Result<Vec<ItemRow>, BounceError> {
        let mut found: Vec<ItemRow> = Vec::new();
        for name in &reported.names {
            let filter = Filter { event: Some(event), to: Some(name.clone()), ..Filter::default() };
            for item in self.store.items(filter, None, MOST_SIBLINGS).await?.items {
                if found.iter().all(|known| known.id != item.id)
                    && let Some(item) = self.settled(item.id).await?
                {
                    found.push(item);
                }
            }
        }
        Ok(found)
    }
}

/// Whether a report names an address.
fn names(reported: &Reported, address: &str) -> bool {
    let folded = address.to_lowercase();
    reported.names.iter().any(|name| {
        let name = name.to_lowercase();
        // Ours is kept with its domain as A-labels (RFC 5890); a report may have either form.
        name == folded || tidings_core::Address::parse(&name).is_ok_and(|parsed| parsed.folded() == folded)
    })
}

fn line(finding: Finding, effect: Effect) -> TakenLine {
    let matched = finding.item.filter(|_| effect != Effect::Unmatched);
    let (effect, unhealthy) = match effect {
        Effect::Bounced { unhealthy } => ("bounced", unhealthy),
        Effect::Noted { unhealthy } => ("noted", unhealthy),
        Effect::Stands(state) => (state.as_str(), false),
        Effect::Unmatched => ("unmatched", false),
    };
    TakenLine {
        class: finding.class,
        recipient: finding.recipient,
        item: matched.map(|(id, _)| id),
        matched_by: matched.map(|(_, by)| by),
        effect,
        unhealthy,
        candidates: finding.candidates,
    }
}

/// Counts it, and says it to the log, without any address.
fn tell(taken: &Taken, way: Way) {
    match taken {
        Taken::Known => {
            metrics::counter!("tidings_reports_known_total").increment(1);
            tracing::info!(report.way = way.as_str(), "a report was taken before");
        }
        Taken::Report { form, lines } => {
            metrics::counter!("tidings_reports_taken_total", "form" => form.as_str(), "way" => way.as_str()).increment(1);
            for line in lines {
                let by = line.matched_by.map_or("nothing", Match::as_str);
                metrics::counter!("tidings_reports_recipients_total", "class" => line.class.as_str(), "matched_by" => by).increment(1);
                let item = line.item.map(tracing::field::display);
                tracing::info!(
                    report.form = form.as_str(), report.way = way.as_str(), report.class = %line.class, matched_by = by,
                    outbox.item = item, effect = line.effect, unhealthy = line.unhealthy, "a report was taken"
                );
            }
        }
        Taken::Ignored(_) => {}
    }
}

/// What makes a report the same when it comes again, perhaps another way: its body and the fields that its writer gave it, without what hosts on the way added.
fn digest(raw: &[u8]) -> [u8; 32] {
    let (head, body) = split_head(without_mbox_line(raw));
    let fields = Fields::of(head);
    let mut hash = Sha256::new();
    for name in ["message-id", "date", "subject", "from"] {
        hash.update(fields.get(name).unwrap_or_default().as_bytes());
        hash.update([0]);
    }
    for line in lines(body.trim_ascii_end()) {
        hash.update(line);
        hash.update(b"\n");
    }
    hash.finalize().into()
}
