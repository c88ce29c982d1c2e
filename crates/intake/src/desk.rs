//! The writing desk: policy, letters and the relays' imprints. Decides and writes, and needs no database for it.

use crate::{IntakeError, crowd::Queries, facts::Policy, imprint::RelayImprint};
use std::{collections::HashMap, sync::Arc};
use tidings_core::{
    Address, Clock, Event, Id, Timestamp,
    flood::FloodLimits,
    guard::{EnvironmentGuard, Verdict},
    notice::{Notice, Reader},
    outbox::Role,
    policy::{RuleSet, WhenUnhealthy},
    trace::LetterTrace,
};
use tidings_render::{Imprint, RenderError, Stationery, Written};

/// What a desk is made of.
pub struct DeskParts {
    /// The letters.
    pub stationery: Arc<Stationery>,
    /// The policy.
    pub rules: Arc<RuleSet>,
    /// The relays in their order, at least one; the first is the default.
    pub relays: Vec<RelayImprint>,
    /// Asked so that the trace can say what the guard would do; it decides again, for good, when a letter leaves.
    pub guard: EnvironmentGuard,
    /// The stored queries.
    pub queries: Queries,
    /// How many people may be mailed before somebody is asked.
    pub flood: FloodLimits,
    /// What is done with letters to addresses that letters come back from.
    pub unhealthy: WhenUnhealthy,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Decides and writes. Read only, so cheap to share.
pub struct Desk {
    pub(crate) parts: DeskParts,
    places: HashMap<String, usize>,
}

/// One letter, written or not.
pub(crate) struct Composed<'a> {
    pub(crate) imprint: &'a RelayImprint,
    pub(crate) message_id: String,
    pub(crate) written: Result<Written, RenderError>,
}

/// Whose letter it is, for its headers.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) event: Id,
    pub(crate) letter: Id,
    pub(crate) installation: &'a str,
}

impl Desk {
    /// A desk.
    ///
    /// # Panics
    /// If there is no relay: checked settings have at least one.
    pub fn new(parts: DeskParts) -> Self {
        assert!(!parts.relays.is_empty(), "checked settings have at least one relay");
        let places = parts.relays.iter().enumerate().map(|(place, relay)| (relay.name.clone(), place)).collect();
        Self { parts, places }
    }

    /// What it decides by.
    pub(crate) fn policy(&self) -> Policy<'_> {
        Policy { rules: &self.parts.rules, queries: &self.parts.queries, unhealthy: self.parts.unhealthy }
    }

    /// The relay a notice's letter goes by: the one asked for, else the rule's, else the first.
    fn imprint(&self, notice: &Notice, relay: Option<&str>) -> Result<&RelayImprint, IntakeError> {
        match relay.or(notice.relay.as_deref()) {
            None => Ok(&self.parts.relays[0]),
            Some(name) => self
                .places
                .get(name)
                .map(|&place| &self.parts.relays[place])
                .ok_or_else(|| IntakeError::NoRelay { rule: notice.rule.clone(), relay: name.to_owned() }),
        }
    }

    /// Writes a notice's letter.
    pub(crate) fn compose(
        &self,
        event: &Event,
        notice: &Notice,
        relay: Option<&str>,
        names: Names,
        now: Timestamp,
    ) -> Result<Composed<'_>, IntakeError> {
        let imprint = self.imprint(notice, relay)?;
        let message_id = format!("{}.{}@{}", names.letter, names.installation, imprint.from.domain());
        let on_letter = Imprint {
            from: imprint.from.clone(),
            from_name: imprint.from_name.clone(),
            reply_to: imprint.reply_to.clone(),
            message_id: &message_id,
            date: now,
            event_id: names.event,
        };
        let written = self.parts.stationery.write(event, notice, &on_letter);
        Ok(Composed { imprint, message_id, written })
    }

    /// A line of the trace for one recipient of a letter.
    pub(crate) fn trace_of(&self, notice: &Notice, reader: &Reader, role: Role, composed: &Composed, item: Option<Id>) -> LetterTrace {
        let (locale, held) = match &composed.written {
            Ok(written) => (written.tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "), None),
            Err(error) => (String::new(), Some(not_written(error))),
        };
        LetterTrace {
            item,
            to: reader.address.to_string(),
            role: role.as_str(),
            kind: notice.kind.name,
            rule: notice.rule.clone(),
            relay: composed.imprint.name.clone(),
            locale,
            reasons: reader.reasons.clone(),
            guard: self.guard_word(&reader.address, role),
            held,
        }
    }

    /// What the environment guard would do with a letter now; `None` if it lets it through unchanged.
    fn guard_word(&self, to: &Address, role: Role) -> Option<String> {
        match self.parts.guard.admit(to, role) {
            Verdict::Send(cleared) if !cleared.redirected() => None,
            Verdict::Send(cleared) => Some(format!("redirected to {}", cleared.address())),
            Verdict::ToFile(_) => Some("appended to the file of safety.file".to_owned()),
            Verdict::Hold(why) | Verdict::Refuse(why) => Some(why),
        }
    }
}

/// Why a letter is held that could not be written.
pub(crate) fn not_written(error: &RenderError) -> String {
    format!("could not be written: {error}")
}

/// Everybody who gets a notice's letter: the reader, then the copies.
pub(crate) fn readers(notice: &Notice) -> impl Iterator<Item = (&Reader, Role)> {
    std::iter::once((&notice.reader, Role::To)).chain(notice.cc.iter().map(|reader| (reader, Role::Cc)))
}
