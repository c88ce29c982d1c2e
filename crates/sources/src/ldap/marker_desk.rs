//! Answers the markers of one directory, beside the source that follows it: finds them, has them noted, writes tokens, and clears what is sent.
//!
//! One task does all of it, one marker after the other. Whatever it was doing when it ended is found again by reading rows and entries; see `marker`.

mod step;

use super::{
    connection::{Connection, Pages, Step},
    control,
    error::LdapError,
    filter,
    marker::{self, End, MarkerPlan, Seen},
    message::RawEntry,
    source::LdapSource,
};
use serde_json::Map;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    convert::Infallible,
    sync::atomic::AtomicBool,
    time::Duration,
};
use tidings_core::Timestamp;
use tidings_intake::{IntakeError, MarkerFound};
use tidings_store::{Marker, MarkerState, MarkerStep, NewMarker};
use tokio::time::{Instant, sleep, timeout};

/// So often is looked whether letters of markers are sent, at most …
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// … and so many times as long as a look takes is waited in between.
const SHARE: u32 = 20;
/// Rows that are read at once.
const PAGE: u32 = 500;
/// Markers of one entry that are looked at.
const MOST_OF_ONE: u32 = 100;
/// So often an entry is read anew because it has changed under our hands; then it is left for later.
const ROUNDS: usize = 8;
/// If more markers are found at once, the flood guard sees all of them before the first letter leaves.
const MANY: usize = 100;
/// What is said of a marker whose letters were not sent.
const NOT_SENT: &str = "its letter was not sent; the marker stays until it is, or until somebody takes it away";
const NO_LETTER: &str = "it made no letter, because nobody is to be told or can be reached; the marker stays";

/// What is to be done with a server.
#[derive(Debug, Default)]
struct Work {
    /// All entries that bear a marker are looked for.
    all: bool,
    /// Entries to look at, by name; what is new there is noted.
    heard: BTreeSet<String>,
    /// Entries to look at, by key, because a marker of theirs is open.
    open: BTreeSet<(String, String)>,
}

impl Work {
    fn is_empty(&self) -> bool {
        !self.all && self.heard.is_empty() && self.open.is_empty()
    }
}

/// The desk of one directory.
pub(crate) struct Desk<'a> {
    source: &'a LdapSource,
    plan: &'a MarkerPlan,
    work: Work,
    /// When is looked for markers next, by the schedule.
    scheduled: Option<Timestamp>,
    /// Whether every open marker is looked at, as at the beginning.
    verify: bool,
    /// The indicator's values cannot be named.
    no_matching: AtomicBool,
    /// Markers that have ended lately, by key and value: with the mark of their entry as it was then, and when. A server that lags behind still shows them.
    ended: HashMap<(String, String), (Option<String>, Instant)>,
    /// What was said once.
    said: HashSet<String>,
    /// Connections that failed in a row.
    failures: u32,
}

/// A connection, and what its server can do.
struct Line {
    connection: Connection,
    /// Makes a change only on the state that was read.
    asserts: bool,
    /// There is no other server to ask for what this one refuses.
    last: bool,
    /// Entries whose changes are refused here, and may not be elsewhere.
    elsewhere: BTreeSet<(String, String)>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(source: &'a LdapSource, plan: &'a MarkerPlan) -> Self {
        Self {
            source,
            plan,
            work: Work { all: plan.schedule.is_none(), ..Work::default() },
            scheduled: None,
            verify: true,
            no_matching: AtomicBool::new(false),
            ended: HashMap::new(),
            said: HashSet::new(),
            failures: 0,
        }
    }

    /// Answers markers for ever. Whoever wants it to end drops the future.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut pause = LOOK_EVERY;
        loop {
            // A bell, or the time to look at the letters, whichever comes first.
            let _ = timeout(pause, self.source.hints().rung()).await;
            let begun = Instant::now();
            pause = match self.round().await {
                Ok(()) => LOOK_EVERY.max(begun.elapsed() * SHARE),
                Err(error) => {
                    self.failures += 1;
                    let (first, longest) = self.source.plan().pauses;
                    let pause = first.saturating_mul(1 << self.failures.min(16)).min(longest);
                    let (directory, wait_ms) = (self.source.directory(), u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                    if self.failures == 1 {
                        tracing::warn!(
                            directory.name = directory,
                            error = error.chain(),
                            wait_ms,
                            "markers cannot be answered now; it will be tried again"
                        );
                    }
                    sleep(pause).await;
                    LOOK_EVERY
                }
            };
        }
    }

    /// Gathers what is to be done, and does it.
    async fn round(&mut self) -> Result<(), LdapError> {
        // What a first load has not recorded yet cannot be told of.
        if self.source.standing().await?.loaded_at.is_none() {
            return Ok(());
        }
        self.heed_schedule();
        let (names, all) = self.source.hints().take();
        self.work.all |= all && self.plan.schedule.is_none();
        self.verify |= all;
        self.work.heard.extend(names);
        self.gather_open().await?;
        if self.work.is_empty() {
            return Ok(());
        }
        let mut work = std::mem::take(&mut self.work);
        let done = self.do_with_servers(&mut work).await;
        if done.is_err() {
            self.work = work;
        } else if self.failures > 0 {
            self.failures = 0;
            tracing::info!(directory.name = self.source.directory(), "markers are answered again");
        }
        done
    }

    fn heed_schedule(&mut self) {
        let Some(schedule) = &self.plan.schedule else { return };
        let now = self.source.feed().now();
        match self.scheduled {
            Some(at) if at > now => {}
            Some(_) => {
                self.work.all = true;
                self.scheduled = schedule.next_after(now);
            }
            None => self.scheduled = schedule.next_after(now),
        }
    }

    /// Goes through all open markers: which of them want something from the directory, and of which there is something to be said.
    async fn gather_open(&mut self) -> Result<(), LdapError> {
        let (mut after, mut keys) = (None, HashSet::new());
        let now = self.source.feed().now();
        loop {
            let page = self.markers(None, after).await?;
            after = page.last().map(|marker| marker.event);
            for marker in &page {
                keys.insert(marker.key.clone());
                self.remark(marker).await?;
                let is_due = marker.step.due_at.is_none_or(|at| at <= now);
                let is_wanted = match marker.step.state {
                    MarkerState::Clearing => true,
                    MarkerState::Noted if self.plan.indicator.is_some() => true,
                    MarkerState::Noted | MarkerState::Claimed => marker.letters.are_sent(),
                };
                if self.verify || (is_due && is_wanted) {
                    self.work.open.insert((marker.key.clone(), marker.step.reference.clone()));
                }
            }
            if page.len() < PAGE as usize {
                break;
            }
        }
        self.verify = false;
        self.source.hints().attend_to(keys);
        Ok(())
    }

    /// Says once of a marker that its letters are not sent, and keeps it for whoever asks.
    async fn remark(&self, marker: &Marker) -> Result<(), LdapError> {
        let letters = marker.letters;
        let is_stuck = !letters.are_open() && !letters.are_sent();
        let words = if letters == tidings_store::MarkerLetters::default() { NO_LETTER } else { NOT_SENT };
        let said = marker.step.failure.as_deref();
        let failure = match said {
            Some(NOT_SENT | NO_LETTER) if !is_stuck => None,
            None if is_stuck => {
                tracing::warn!(directory.name = self.source.directory(), object.key = marker.key, event.id = %marker.event, "a marker: {words}");
                Some(words.to_owned())
            }
            _ => return Ok(()),
        };
        self.moved(marker, MarkerStep { failure, ..marker.step.clone() }).await
    }

    /// Goes from server to server until all is done.
    async fn do_with_servers(&mut self, work: &mut Work) -> Result<(), LdapError> {
        let servers = self.source.plan().servers.len();
        let mut failed = None;
        for place in 0..servers {
            let line = match self.source.connect(place).await {
                Ok((connection, root)) => {
                    let asserts = root.controls.iter().any(|one| one == control::ASSERTION);
                    Line { connection, asserts, last: place + 1 == servers, elsewhere: BTreeSet::new() }
                }
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let elsewhere = self.do_with(line, work).await?;
            if elsewhere.is_empty() {
                return Ok(());
            }
            // The rest only: what is new was noted with the first one.
            *work = Work { open: elsewhere, ..Work::default() };
        }
        Err(failed.expect("each server could not be reached, or the last one was asked for the rest"))
    }

    /// Does it with one server. Gives what it refuses and another one may not.
    async fn do_with(&mut self, mut line: Line, work: &Work) -> Result<BTreeSet<(String, String)>, LdapError> {
        let may_note = self.plan.schedule.is_none();
        for (key, dn) in &work.open {
            match self.read_open(&mut line, key, dn).await? {
                Some(raw) => self.attend(&mut line, raw, may_note, false).await?,
                None => self.missing(key).await?,
            }
        }
        for dn in &work.heard {
            if let Some(raw) = self.entry(&mut line, dn).await? {
                self.attend(&mut line, raw, may_note, work.heard.len() > MANY).await?;
            }
        }
        if work.all {
            self.look_for_all(&mut line).await?;
        }
        let Line { connection, elsewhere, .. } = line;
        connection.close().await;
        Ok(elsewhere)
    }

    /// Every entry that bears a marker, by pages.
    async fn look_for_all(&mut self, line: &mut Line) -> Result<(), LdapError> {
        let source = self.source;
        let text = format!("(&{}({}=*))", source.plan().filter.trim(), self.plan.attribute);
        let wanted = filter::compile(&text).expect("the plan's filter was checked, and the other is made here");
        let mut pages = Pages::new(source.search(&wanted, source.marker_attributes()), source.plan().page_size);
        let mut found: Vec<RawEntry> = Vec::new();
        loop {
            match pages.next(&mut line.connection, |urls| source.referred(urls)).await? {
                Step::Entry(raw) => found.push(raw),
                Step::PageOver => {
                    let many = found.len() > MANY;
                    for raw in found.drain(..) {
                        self.attend(line, raw, true, many).await?;
                    }
                }
                Step::Over => return Ok(()),
            }
        }
    }

    /// The entry of an open marker: by the name that it had, or else by the one that the mirror knows.
    async fn read_open(&self, line: &mut Line, key: &str, dn: &str) -> Result<Option<RawEntry>, LdapError> {
        let is_it = |raw: &RawEntry| self.source.key(raw).as_deref() == Some(key);
        if let Some(raw) = self.entry(line, dn).await?.filter(is_it) {
            return Ok(Some(raw));
        }
        let known = self.source.feed().mirror().object(self.source.directory(), key).await.map_err(IntakeError::from)?;
        let Some(name) = known.and_then(|object| object.head.reference) else { return Ok(None) };
        Ok(self.entry(line, &name).await?.filter(is_it))
    }

    /// An entry with what its markers are judged by. One that the server does not give is as good as none: it must not keep others from being answered.
    async fn entry(&self, line: &mut Line, dn: &str) -> Result<Option<RawEntry>, LdapError> {
        match line.connection.base_entry(dn, self.source.marker_attributes()).await {
            Err(error @ LdapError::Refused { .. }) => {
                tracing::debug!(directory.name = self.source.directory(), error = error.chain(), "an entry is not given");
                Ok(None)
            }
            read => read,
        }
    }

    /// An entry cannot be read. It is gone only if the mirror has heard so.
    async fn missing(&mut self, key: &str) -> Result<(), LdapError> {
        let known = self.source.feed().mirror().object(self.source.directory(), key).await.map_err(IntakeError::from)?;
        for marker in self.markers(Some(key), None).await? {
            if known.is_none() {
                self.end(&marker, &Seen::nothing(key), End::Withdrawn).await?;
            } else {
                self.postpone(&marker, marker.step.state, "its entry cannot be read now".to_owned()).await?;
            }
        }
        Ok(())
    }

    /// Brings all markers of an entry as far as they go, and notes those that are new.
    async fn attend(&mut self, line: &mut Line, first: RawEntry, may_note: bool, many: bool) -> Result<(), LdapError> {
        let Some(key) = self.source.key(&first) else { return Ok(()) };
        let mut raw = first;
        for _ in 0..ROUNDS {
            let seen = Seen::of(&raw, key.clone(), self.plan);
            let open = self.markers(Some(&key), None).await?;
            let mut has_changed = false;
            for marker in &open {
                has_changed = self.drive(line, marker, &open, &seen).await?;
                if has_changed {
                    break;
                }
            }
            if !has_changed && may_note {
                has_changed = self.note_new(&raw, &seen, many).await?;
            }
            if !has_changed {
                return Ok(());
            }
            // Its name names it: our changes leave that as it is.
            match self.entry(line, &seen.dn).await? {
                Some(again) if self.source.key(&again).as_deref() == Some(&key) => raw = again,
                _ => return Ok(()),
            }
        }
        // It changes all the time, or the server does not find what it shows: either way it is not to be tried for ever.
        for marker in self.markers(Some(&key), None).await? {
            self.postpone(&marker, marker.step.state, "its entry was never as it had just been read".to_owned()).await?;
        }
        Ok(())
    }

    /// Notes what is not being answered yet. Gives whether there was any.
    async fn note_new(&mut self, raw: &RawEntry, seen: &Seen, many: bool) -> Result<bool, LdapError> {
        let open = self.markers(Some(&seen.key), None).await?;
        let mut has_noted = false;
        let directory = self.source.directory();
        for written in &seen.values {
            let value = marker::folded(written);
            let ended = self.ended.get(&(seen.key.clone(), value.clone()));
            let is_known = ended.is_some_and(|(mark, _)| marker::is_known(seen.mark.as_deref(), mark.as_deref()));
            if is_known || open.iter().any(|one| one.value == value) {
                continue;
            }
            let Some(kind) = self.plan.kind_of(&value) else {
                if self.said.len() < MOST_OF_ONE as usize && self.said.insert(value) {
                    tracing::warn!(directory.name = directory, marker.value = %written.escape_debug(), "a marker has a value that `kinds` does not name; it is left alone");
                }
                continue;
            };
            let found = MarkerFound {
                marker: NewMarker {
                    directory: directory.to_owned(),
                    key: seen.key.clone(),
                    reference: seen.dn.clone(),
                    value,
                    written: written.clone(),
                    seen: seen.mark.clone(),
                },
                kind,
                head: self.source.head(raw, seen.key.clone()),
                details: if self.plan.details.is_empty() { Map::new() } else { self.plan.details_of(raw, kind) },
                many,
            };
            match self.source.feed().note_marker(found).await {
                Ok(Some(noted)) => {
                    has_noted = true;
                    tracing::info!(directory.name = directory, object.key = seen.key, kind = kind.name, event.id = %noted.event, letters = noted.letters, "a marker was found");
                }
                Ok(None) => {}
                Err(IntakeError::Faulty(faults)) => {
                    let fault = faults.first().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).unwrap_or_default();
                    if self.said.insert(format!("{}/{fault}", seen.key)) {
                        tracing::error!(
                            directory.name = directory,
                            object.key = seen.key,
                            kind = kind.name,
                            fault,
                            "no event can be made of a marker; nobody is told, and it stays"
                        );
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(has_noted)
    }

    async fn markers(&self, key: Option<&str>, after: Option<tidings_core::Id>) -> Result<Vec<Marker>, LdapError> {
        let limit = if key.is_some() { MOST_OF_ONE } else { PAGE };
        Ok(self.source.feed().mirror().markers(self.source.directory(), key, after, limit).await.map_err(IntakeError::from)?)
    }
}
