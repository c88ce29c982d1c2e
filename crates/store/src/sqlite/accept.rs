//! Accept: events with everything they caused, all of a batch or nothing.

use crate::{
    error::StoreError,
    pack::{Mould, Patterns},
    seal::{Place, SealKey, wipe},
    sqlite::{
        fanout,
        fault::Fault,
        guard::{self, Kept},
        trace,
        work::{HAS_SECRET, Line, SENSITIVE, Work, recipient_hash},
    },
    store::{Acceptance, Accepted},
};
use rusqlite::{OptionalExtension, params};
use std::{borrow::Cow, sync::Arc, time::Duration};
use tidings_core::{
    Id,
    outbox::{Item, Letter, Role, State},
    time::later,
};

/// How long an item that is born claimed stays with its sender.
const BORN_CLAIMED_FOR: Duration = Duration::from_secs(15 * 60);

/// An acceptance ready for the writer: secrets sealed, trace and other letters made small. Beside it what each letter, and the trace, needs to be read again.
pub(crate) struct Ready(Acceptance, Vec<Option<Arc<Mould>>>, Option<Arc<Mould>>);

impl Ready {
    /// The event's name here.
    pub(crate) const fn id(&self) -> Id {
        self.0.id
    }
}

/// Encrypts what must not be read from the disk and makes the rest small. Done by the caller's task, not by the writer: it costs more than the write.
pub(crate) fn ready(batch: Vec<Acceptance>, key: &SealKey, patterns: &Patterns) -> Result<Vec<Ready>, StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    for mut acceptance in batch {
        let moulds = ready_letters(&mut acceptance.letters, key, patterns)?;
        if let Some(mut secrets) = acceptance.secrets.take() {
            if !acceptance.items.is_empty() {
                acceptance.secrets = Some(key.seal(Place::EventSecret(acceptance.id.number()), &secrets)?);
            }
            wipe(&mut secrets);
        }
        let mut mould = None;
        if let Some((packed, its)) = acceptance.trace_pattern.take().and_then(|pattern| patterns.pack(&acceptance.trace, &pattern)) {
            (acceptance.trace, mould) = (packed, Some(its));
        }
        done.push(Ready(acceptance, moulds, mould));
    }
    Ok(done)
}

/// Seals sensitive letters and makes others small.
pub(crate) fn ready_letters(letters: &mut [Letter], key: &SealKey, patterns: &Patterns) -> Result<Vec<Option<Arc<Mould>>>, StoreError> {
    let mut moulds = Vec::with_capacity(letters.len());
    for letter in letters {
        let mut mould = None;
        if letter.sensitive {
            let sealed = key.seal(Place::Letter(letter.id.number()), &letter.bytes)?;
            wipe(&mut letter.bytes);
            letter.bytes = sealed;
        } else if let Some((packed, its_mould)) = letter.pattern.take().and_then(|pattern| patterns.pack(&letter.bytes, &pattern)) {
            (letter.bytes, mould) = (packed, Some(its_mould));
        }
        moulds.push(mould);
    }
    Ok(moulds)
}

/// About how much a batch writes.
pub(crate) fn bytes(batch: &[Ready]) -> usize {
    let one = |Ready(a, ..): &Ready| {
        a.data.len() + a.trace.len() + a.letters.iter().map(|letter| letter.bytes.len() + 200).sum::<usize>() + a.items.len() * 400 + 200
    };
    batch.iter().map(one).sum()
}

/// The verb.
pub(crate) fn accept(work: &mut Work<'_>, batch: &[Ready]) -> Result<Vec<Accepted>, Fault> {
    batch.iter().map(|ready| one(work, ready)).collect()
}

/// One acceptance.
pub(crate) fn one(work: &mut Work<'_>, Ready(acceptance, moulds, trace_mould): &Ready) -> Result<Accepted, Fault> {
    let trace = match trace_mould {
        Some(mould) => Cow::Owned(trace::written(work.pattern(mould)?, &acceptance.trace)),
        None => Cow::Borrowed(&acceptance.trace),
    };
    let source = work.word(&acceptance.source)?;
    let kind = work.word(acceptance.kind)?;
    let id = acceptance.id.number();
    let added = work
        .db
        .prepare_cached(
            "INSERT INTO event (id, source, event_id, kind, time, accepted_at, data, trace) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (event_id, source) DO NOTHING",
        )?
        .execute(params![
            id,
            source,
            acceptance.event_id,
            kind,
            acceptance.time.as_millisecond(),
            work.now_ms(),
            acceptance.data,
            *trace
        ])?;
    if added == 0 {
        let known = work
            .db
            .prepare_cached("SELECT id FROM event WHERE event_id = ?1 AND source = ?2")?
            .query_row(params![acceptance.event_id, source], |row| row.get(0))
            .optional()?;
        let known = known.ok_or_else(|| StoreError::Corrupt("event: a row is both there and not there".to_owned()))?;
        return Ok(Accepted::Duplicate(Id::from_number(known)));
    }
    if let Some(secrets) = &acceptance.secrets {
        work.db.prepare_cached("INSERT INTO event_secret (event, sealed) VALUES (?1, ?2)")?.execute(params![id, secrets])?;
    }
    for (letter, mould) in acceptance.letters.iter().zip(moulds) {
        add_letter(work, letter, mould.as_deref())?;
    }
    let kept = guard::judge(work, acceptance)?;
    let birth = Birth { event: id, has_secrets: acceptance.secrets.is_some(), claimed_by: acceptance.claimed_by.as_deref() };
    for (place, item) in acceptance.items.iter().enumerate() {
        let letter = acceptance.letters.iter().find(|letter| letter.id == item.letter);
        let letter =
            letter.ok_or_else(|| StoreError::Corrupt(format!("item {} carries letter {}, which is not there", item.id, item.letter)))?;
        add_item(work, &birth, letter, item, kept.get(place).and_then(Option::as_ref))?;
    }
    fanout::begin(work, acceptance)?;
    for item in &acceptance.items {
        work.arrived.add(item.lane);
    }
    Ok(Accepted::New(acceptance.id))
}

pub(crate) fn add_letter(work: &mut Work<'_>, letter: &Letter, mould: Option<&Mould>) -> Result<(), Fault> {
    let pattern = mould.map(|mould| work.pattern(mould)).transpose()?;
    let rule = work.word(&letter.rule)?;
    let sender = letter.sender.as_ref().map(tidings_core::Address::as_str);
    work.db
        .prepare_cached("INSERT INTO letter (id, rule, message_id, sender, sensitive, bytes, pattern) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![letter.id.number(), rule, letter.message_id, sender, letter.sensitive, letter.bytes, pattern])?;
    Ok(())
}

/// What is the same for all items that are born together.
pub(crate) struct Birth<'a> {
    pub(crate) event: i64,
    pub(crate) has_secrets: bool,
    pub(crate) claimed_by: Option<&'a str>,
}

/// Adds an item. `kept` is the guard's word, if the guard has one on it.
pub(crate) fn add_item(work: &mut Work<'_>, birth: &Birth<'_>, letter: &Letter, item: &Item, kept: Option<&Kept>) -> Result<(), Fault> {
    let kind = work.word(letter.kind)?;
    let relay = work.relay(&item.relay)?;
    let mut due_at = item.due_at.as_millisecond();
    let (mut state, mut token, mut node) = (State::Waiting, 0, None);
    let held = item.held.as_deref().or(kept.map(|kept| kept.reason.as_str()));
    if held.is_some() {
        state = State::Held;
    } else if let Some(claimant) = birth.claimed_by {
        (state, token, node) = (State::Claimed, 1, Some(work.word(claimant)?));
        due_at = later(work.now, BORN_CLAIMED_FOR).as_millisecond();
    }
    let mut flags = 0;
    flags |= if letter.sensitive { SENSITIVE } else { 0 };
    flags |= if birth.has_secrets { HAS_SECRET } else { 0 };
    let folded = item.to.folded();
    let hash = recipient_hash(&folded);
    let folded = (folded != item.to.as_str()).then_some(folded);
    let expires_at = item.expires_at.as_millisecond();
    let span = work.span()?;
    work.db
        .prepare_cached(
            "INSERT INTO item (id, event, letter, kind, relay, lane, role, state, due_at, expires_at, accepted_at, open_until, attempts, token, node, flags,
                 folded_hash, recipient, folded, span)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?10, 0, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            item.id.number(),
            birth.event,
            item.letter.number(),
            kind,
            relay,
            item.lane.number(),
            role_number(item.role),
            state.number(),
            due_at,
            expires_at,
            work.now_ms(),
            token,
            node,
            flags,
            hash,
            item.to.as_str(),
            folded,
            span
        ])?;
    if let Some(kept) = kept {
        guard::keep(work, kept, hash, item.id.number())?;
    }
    if let Some(reason) = held {
        work.note(&Line { item: item.id.number(), at: work.now_ms(), what: "withheld", who: None, detail: Some(reason) })?;
    }
    Ok(())
}

/// The number that the table keeps for a role.
pub(crate) const fn role_number(role: Role) -> i64 {
    match role {
        Role::To => 0,
        Role::Cc => 1,
    }
}

/// A role from its number.
pub(crate) fn role_of(number: i64) -> Result<Role, StoreError> {
    match number {
        0 => Ok(Role::To),
        1 => Ok(Role::Cc),
        other => Err(StoreError::Corrupt(format!("item.role: {other}"))),
    }
}
