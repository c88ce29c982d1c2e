//! Accept: events with everything they caused, all of a batch or nothing.
//!
//! Two nodes with the same event: the unique index on source and id lets one of them write it, and the other waits until that one has committed and then finds it there.

use crate::{
    error::StoreError,
    pack::Mould,
    postgres::{
        Base, Unsure, fanout,
        fault::{Fault, repeat},
        guard::{self, Kept},
        words::Numbers,
        work::{HAS_SECRET, Line, SENSITIVE, Work, recipient_hash, small, text},
    },
    seal::{Place, wipe},
    store::{Acceptance, Accepted},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tidings_core::{
    Id,
    outbox::{Item, Letter, Role, State},
    time::later,
};

/// How long an item that is born claimed stays with its sender.
const BORN_CLAIMED_FOR: Duration = Duration::from_secs(15 * 60);
/// Ids hold milliseconds above this many bits (`tidings_core::Id`).
const ID_TICK_BITS: u32 = 22;
const DAY_MS: i64 = 86_400_000;

/// A letter ready to be written: sealed, or made small.
pub(crate) struct ReadyLetter {
    pub(crate) letter: Letter,
    /// The pattern it needs to be read again.
    pattern: Option<i32>,
    /// What it takes to deliver it, in bytes.
    size: i32,
}

/// Letters and items ready to be written, with the numbers of their words.
pub(crate) struct ReadyItems {
    pub(crate) letters: Vec<ReadyLetter>,
    pub(crate) items: Vec<Item>,
    /// For each item the place of its letter.
    letter_of: Vec<usize>,
    pub(crate) words: Numbers,
    relays: Numbers,
}

/// An acceptance ready to be written. Its letters and items stand in `rest`.
pub(crate) struct Ready {
    pub(crate) acceptance: Acceptance,
    pub(crate) rest: ReadyItems,
    /// The pattern that its trace needs to be read again.
    trace_pattern: Option<i32>,
}

impl ReadyItems {
    /// The letter of the item at a place.
    pub(crate) fn letter_of(&self, place: usize) -> &Letter {
        &self.letters[self.letter_of[place]].letter
    }
}

/// Encrypts what must not be read from the disk, makes the rest small, and looks the numbers of words up. Done before the transaction, by the caller's task, which holds no connection.
pub(crate) async fn ready(base: &Base, batch: Vec<Acceptance>) -> Result<Vec<Ready>, StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    for mut acceptance in batch {
        if let Some(mut secrets) = acceptance.secrets.take() {
            if !acceptance.items.is_empty() {
                acceptance.secrets = Some(base.key.seal(Place::EventSecret(acceptance.id.number()), &secrets)?);
            }
            wipe(&mut secrets);
        }
        let mut trace_pattern = None;
        if let Some((packed, mould)) = acceptance.trace_pattern.take().and_then(|pattern| base.patterns.pack(&acceptance.trace, &pattern)) {
            acceptance.trace = packed;
            trace_pattern = Some(base.words.pattern(&base.pool, &mould).await.map_err(Fault::into_store)?);
        }
        let mut others = vec![acceptance.source.as_str(), acceptance.kind];
        others.extend(acceptance.claimed_by.as_deref());
        others.extend(acceptance.fan_outs.iter().map(|order| order.rule.as_str()));
        let (letters, items) = (std::mem::take(&mut acceptance.letters), std::mem::take(&mut acceptance.items));
        let rest = ready_items(base, letters, items, others).await?;
        done.push(Ready { acceptance, rest, trace_pattern });
    }
    Ok(done)
}

/// The same for letters and items alone; `others` are words that are needed, too.
pub(crate) async fn ready_items(base: &Base, letters: Vec<Letter>, items: Vec<Item>, others: Vec<&str>) -> Result<ReadyItems, StoreError> {
    let places: HashMap<Id, usize> = letters.iter().enumerate().map(|(place, letter)| (letter.id, place)).collect();
    let letter_of = items.iter().map(|item| {
        let place = places.get(&item.letter).copied();
        place.ok_or_else(|| StoreError::Corrupt(format!("item {} carries letter {}, which is not there", item.id, item.letter)))
    });
    let letter_of = letter_of.collect::<Result<Vec<_>, _>>()?;
    let words = others.into_iter().chain(letters.iter().flat_map(|letter| [letter.rule.as_str(), letter.kind]));
    let words = base.words.words(&base.pool, words).await.map_err(Fault::into_store)?;
    let relays = base.words.relays(&base.pool, items.iter().map(|item| item.relay.as_str())).await.map_err(Fault::into_store)?;
    let mut done = Vec::with_capacity(letters.len());
    for mut letter in letters {
        let size = i32::try_from(letter.bytes.len()).unwrap_or(i32::MAX);
        let mould = make_small(base, &mut letter)?;
        let pattern = match mould {
            Some(mould) => Some(base.words.pattern(&base.pool, &mould).await.map_err(Fault::into_store)?),
            None => None,
        };
        done.push(ReadyLetter { letter, pattern, size });
    }
    Ok(ReadyItems { letters: done, items, letter_of, words, relays })
}

/// Seals a sensitive letter and makes any other small.
fn make_small(base: &Base, letter: &mut Letter) -> Result<Option<Arc<Mould>>, StoreError> {
    if letter.sensitive {
        let sealed = base.key.seal(Place::Letter(letter.id.number()), &letter.bytes)?;
        wipe(&mut letter.bytes);
        letter.bytes = sealed;
    } else if let Some((packed, mould)) = letter.pattern.take().and_then(|pattern| base.patterns.pack(&letter.bytes, &pattern)) {
        letter.bytes = packed;
        return Ok(Some(mould));
    }
    Ok(None)
}

/// About how much a batch writes.
pub(crate) fn bytes(batch: &[Ready]) -> usize {
    let one = |ready: &Ready| {
        let (a, rest) = (&ready.acceptance, &ready.rest);
        a.data.len()
            + a.trace.len()
            + rest.letters.iter().map(|one| one.letter.bytes.len() + 200).sum::<usize>()
            + rest.items.len() * 400
            + 200
    };
    batch.iter().map(one).sum()
}

/// Writes the batches of several callers in one transaction. If that fails by one of them, each by itself.
pub(crate) async fn group(base: Arc<Base>, group: Vec<Vec<Ready>>) -> Vec<Result<Vec<Accepted>, StoreError>> {
    let items = |batches: &[Vec<Ready>]| batches.iter().flatten().map(|one| 1 + one.rest.items.len()).sum();
    let shared = base.again_within(base.patience_for(items(&group)), Unsure::Again, || together(&base, &group)).await;
    let error = match shared {
        Ok(answers) => return answers.into_iter().map(Ok).collect(),
        Err(error) => error,
    };
    if group.len() == 1 || !matches!(error, StoreError::Corrupt(_)) {
        tracing::warn!(store.verbs = group.len(), %error, "a group of acceptances could not be written");
        return group.iter().map(|_| Err(repeat(&error))).collect();
    }
    let mut answers = Vec::with_capacity(group.len());
    for batch in &group {
        let batch = std::slice::from_ref(batch);
        let alone = base.again_within(base.patience_for(items(batch)), Unsure::Again, || together(&base, batch)).await;
        answers.push(alone.map(|mut answers| answers.pop().expect("one batch, one answer")));
    }
    answers
}

async fn together(base: &Base, group: &[Vec<Ready>]) -> Result<Vec<Vec<Accepted>>, Fault> {
    let mut work = base.begin().await?;
    let all: Vec<&Ready> = group.iter().flatten().collect();
    let mut answers = write(&mut work, &all).await?.into_iter();
    base.finish(work).await?;
    Ok(group.iter().map(|batch| answers.by_ref().take(batch.len()).collect()).collect())
}

/// Writes acceptances inside a transaction that may do more. Gives what became of each.
pub(crate) async fn write(work: &mut Work, batch: &[&Ready]) -> Result<Vec<Accepted>, Fault> {
    let accepted = add_events(work, batch).await?;
    let new: Vec<&Ready> =
        batch.iter().zip(&accepted).filter(|(_, accepted)| matches!(accepted, Fate::Written)).map(|(ready, _)| *ready).collect();
    if guard::is_calm(work, &new).await? {
        add_all(work, &new, &[]).await?;
    } else {
        // One after the other, so that what one of them opens holds the next ones.
        for ready in new {
            let kept = guard::judge(work, ready).await?;
            add_all(work, &[ready], &[kept]).await?;
        }
    }
    let answer = |(ready, fate): (&&Ready, Fate)| match fate {
        Fate::Written | Fate::WrittenBefore => Accepted::New(ready.acceptance.id),
        Fate::Known(id) => Accepted::Duplicate(id),
    };
    Ok(batch.iter().zip(accepted).map(answer).collect())
}

/// What became of an event.
enum Fate {
    Written,
    /// By this very verb, whose commit was not answered.
    WrittenBefore,
    Known(Id),
}

async fn add_events(work: &Work, batch: &[&Ready]) -> Result<Vec<Fate>, Fault> {
    // By name, and so in the same order in every transaction: two that bring the same events do not wait for each other crosswise.
    let mut first: BTreeMap<(&str, i32), &Ready> = BTreeMap::new();
    for ready in batch {
        first.entry(name(ready)).or_insert(ready);
    }
    let of = |pick: fn(&Acceptance) -> i64| first.values().map(|ready| pick(&ready.acceptance)).collect::<Vec<i64>>();
    let (ids, times) = (of(|a| a.id.number()), of(|a| a.time.as_millisecond()));
    let (names, sources): (Vec<&str>, Vec<i32>) = first.keys().copied().unzip();
    let kinds: Vec<i32> = first.values().map(|ready| ready.rest.words.of(ready.acceptance.kind)).collect();
    let datas: Vec<&[u8]> = first.values().map(|ready| ready.acceptance.data.as_slice()).collect();
    let traces: Vec<&[u8]> = first.values().map(|ready| ready.acceptance.trace.as_slice()).collect();
    let patterns: Vec<Option<i32>> = first.values().map(|ready| ready.trace_pattern).collect();
    let sql = "INSERT INTO event (id, source, event_id, kind, time, accepted_at, data, trace, trace_pattern)
        SELECT e.id, e.source, e.event_id, e.kind, e.time, $8, e.data, e.trace, e.trace_pattern
        FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::integer[], $5::bigint[], $6::bytea[], $7::bytea[], $9::integer[])
            AS e (id, source, event_id, kind, time, data, trace, trace_pattern)
        ON CONFLICT (event_id, source) DO NOTHING RETURNING id";
    let added = work.query(sql, &[&ids, &sources, &names, &kinds, &times, &datas, &traces, &work.now_ms(), &patterns]).await?;
    let added: HashSet<i64> = added.iter().map(|row| row.get(0)).collect();
    let mut known: HashMap<(String, i32), i64> = HashMap::new();
    if added.len() < first.len() {
        let sql = "SELECT e.event_id, e.source, e.id FROM event e JOIN unnest($1::text[], $2::integer[]) AS n (event_id, source) ON e.event_id = n.event_id AND e.source = n.source";
        let found = work.query(sql, &[&names, &sources]).await?;
        known = found.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
    }
    let fate = |ready: &&Ready| {
        let id = ready.acceptance.id;
        if added.contains(&id.number()) {
            return Ok(Fate::Written);
        }
        let (event_id, source) = name(ready);
        let known = known.get(&(event_id.to_owned(), source)).copied();
        // The second of two in one batch: the first has been written a moment ago.
        let known = known.or_else(|| first.get(&(event_id, source)).map(|first| first.acceptance.id.number()));
        let known = known.ok_or_else(|| StoreError::Corrupt("event: a row is both there and not there".to_owned()))?;
        Ok(if known == id.number() { Fate::WrittenBefore } else { Fate::Known(Id::from_number(known)) })
    };
    batch.iter().map(fate).collect()
}

/// What an event is known by.
fn name(ready: &Ready) -> (&str, i32) {
    (&ready.acceptance.event_id, ready.rest.words.of(&ready.acceptance.source))
}

/// Writes all that new events have caused. `kept` is the guard's word on the items of each, if it holds any.
async fn add_all(work: &mut Work, new: &[&Ready], kept: &[Vec<Option<Kept>>]) -> Result<(), Fault> {
    let sealed: Vec<(i64, &[u8])> =
        new.iter().filter_map(|ready| Some((ready.acceptance.id.number(), ready.acceptance.secrets.as_deref()?))).collect();
    if !sealed.is_empty() {
        let (events, sealed): (Vec<i64>, Vec<&[u8]>) = sealed.into_iter().unzip();
        let sql = "INSERT INTO event_secret (event, sealed) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
        work.execute(sql, &[&events, &sealed]).await?;
    }
    let mut rows = Rows::default();
    for (place, ready) in new.iter().enumerate() {
        let (acceptance, rest) = (&ready.acceptance, &ready.rest);
        let claimant = acceptance.claimed_by.as_deref().map(|claimant| rest.words.of(claimant));
        let birth = Birth { event: acceptance.id.number(), has_secrets: acceptance.secrets.is_some(), claimant };
        rows.letters(rest, |_| true);
        for (index, item) in rest.items.iter().enumerate() {
            let kept = kept.get(place).and_then(|kept| kept.get(index)).and_then(Option::as_ref);
            rows.item(work, &birth, rest, index, kept);
            work.arrived.add(item.lane);
            work.is_due(item.due_at.as_millisecond());
        }
    }
    rows.write(work).await?;
    work.accepts = true;
    fanout::begin(work, new).await
}

/// What is the same for all items that are born together.
pub(crate) struct Birth {
    pub(crate) event: i64,
    pub(crate) has_secrets: bool,
    /// The node that they are born claimed by (word).
    pub(crate) claimant: Option<i32>,
}

/// Letters and items as columns: one statement a table, however many there are.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    letters: Letters<'a>,
    items: Items<'a>,
    kept: Vec<(Kept, i32, i64)>,
    held: Vec<Line<'a>>,
}

#[derive(Default)]
struct Letters<'a> {
    id: Vec<i64>,
    rule: Vec<i32>,
    pattern: Vec<Option<i32>>,
    sensitive: Vec<bool>,
    message_id: Vec<&'a str>,
    sender: Vec<Option<&'a str>>,
    bytes: Vec<&'a [u8]>,
}

#[derive(Default)]
struct Items<'a> {
    id: Vec<i64>,
    event: Vec<i64>,
    letter: Vec<i64>,
    due_at: Vec<i64>,
    expires_at: Vec<i64>,
    kind: Vec<i32>,
    relay: Vec<i32>,
    span: Vec<i32>,
    hash: Vec<i32>,
    lane: Vec<i16>,
    role: Vec<i16>,
    state: Vec<i16>,
    flags: Vec<i16>,
    recipient: Vec<&'a str>,
    folded: Vec<Option<String>>,
    size: Vec<i32>,
    node: Vec<Option<i32>>,
}

impl<'a> Rows<'a> {
    /// Adds the letters that `wanted` says yes to.
    pub(crate) fn letters(&mut self, rest: &'a ReadyItems, wanted: impl Fn(Id) -> bool) {
        let rows = &mut self.letters;
        for one in rest.letters.iter().filter(|one| wanted(one.letter.id)) {
            rows.id.push(one.letter.id.number());
            rows.rule.push(rest.words.of(&one.letter.rule));
            rows.pattern.push(one.pattern);
            rows.sensitive.push(one.letter.sensitive);
            rows.message_id.push(&one.letter.message_id);
            rows.sender.push(one.letter.sender.as_ref().map(tidings_core::Address::as_str));
            rows.bytes.push(&one.letter.bytes);
        }
    }

    /// Adds the item at a place. `kept` is the guard's word, if the guard has one on it.
    pub(crate) fn item(&mut self, work: &Work, birth: &Birth, rest: &'a ReadyItems, place: usize, kept: Option<&Kept>) {
        let (item, letter) = (&rest.items[place], &rest.letters[rest.letter_of[place]]);
        let (mut state, mut due_at, mut node) = (State::Waiting, item.due_at, None);
        if item.held.is_some() || kept.is_some() {
            state = State::Held;
        } else if birth.claimant.is_some() {
            (state, due_at, node) = (State::Claimed, later(work.now(), BORN_CLAIMED_FOR), birth.claimant);
        }
        let mut flags = if letter.letter.sensitive { SENSITIVE } else { 0 };
        flags |= if birth.has_secrets { HAS_SECRET } else { 0 };
        let folded = item.to.folded();
        let (id, hash) = (item.id.number(), recipient_hash(&folded));
        let rows = &mut self.items;
        rows.id.push(id);
        rows.event.push(birth.event);
        rows.letter.push(item.letter.number());
        rows.due_at.push(due_at.as_millisecond());
        rows.expires_at.push(item.expires_at.as_millisecond());
        rows.kind.push(rest.words.of(letter.letter.kind));
        rows.relay.push(rest.relays.of(&item.relay));
        rows.span.push(span_of(id));
        rows.hash.push(hash);
        rows.lane.push(small(item.lane.number()));
        rows.role.push(role_number(item.role));
        rows.state.push(small(state.number()));
        rows.flags.push(flags);
        rows.recipient.push(item.to.as_str());
        rows.folded.push((folded != item.to.as_str()).then_some(folded));
        rows.size.push(letter.size);
        rows.node.push(node);
        if let Some(kept) = kept {
            self.kept.push((kept.clone(), hash, id));
        }
        if let Some(reason) = item.held.as_deref().or(kept.map(|kept| kept.reason.as_str())) {
            let detail = Some(text(reason).into_owned().into());
            self.held.push(Line { item: id, at: work.now_ms(), what: "withheld", who: None, detail });
        }
    }

    /// How many items there are.
    pub(crate) fn count(&self) -> u64 {
        self.items.id.len() as u64
    }

    /// Writes them. All statements are on their way before the first is answered.
    pub(crate) async fn write(self, work: &Work) -> Result<(), Fault> {
        if self.items.id.is_empty() && self.letters.id.is_empty() {
            return Ok(());
        }
        let (l, i, now) = (&self.letters, &self.items, work.now_ms());
        let letters = async {
            let sql = "INSERT INTO letter (id, rule, pattern, sensitive, message_id, sender, bytes)
                SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::boolean[], $5::text[], $6::text[], $7::bytea[])";
            work.execute(sql, &[&l.id, &l.rule, &l.pattern, &l.sensitive, &l.message_id, &l.sender, &l.bytes]).await
        };
        let items = async {
            let sql = "INSERT INTO item (id, event, letter, due_at, expires_at, accepted_at, token, kind, relay, attempts, size, span, folded_hash, lane, role, flags, recipient, folded)
                SELECT n.id, n.event, n.letter, n.due_at, n.expires_at, $14, 0, n.kind, n.relay, 0, n.size, n.span, n.hash, n.lane, n.role, n.flags, n.recipient, n.folded
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[], $8::integer[], $9::integer[],
                    $10::smallint[], $11::smallint[], $12::smallint[], $13::text[], $15::text[], $16::integer[])
                    AS n (id, event, letter, due_at, expires_at, kind, relay, span, hash, lane, role, flags, recipient, folded, size)";
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 16] = [
                &i.id,
                &i.event,
                &i.letter,
                &i.due_at,
                &i.expires_at,
                &i.kind,
                &i.relay,
                &i.span,
                &i.hash,
                &i.lane,
                &i.role,
                &i.flags,
                &i.recipient,
                &now,
                &i.folded,
                &i.size,
            ];
            work.execute(sql, &values).await
        };
        let open = async {
            let sql = "INSERT INTO open_item (id, due_at, expires_at, accepted_at, token, relay, node, attempts, size, lane, state, flags)
                SELECT n.id, n.due_at, n.expires_at, $10, CASE n.state WHEN 2 THEN 1 ELSE 0 END, n.relay, n.node, 0, n.size, n.lane, n.state, n.flags
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::integer[], $6::integer[], $7::smallint[], $8::smallint[], $9::smallint[])
                    AS n (id, due_at, expires_at, relay, node, size, lane, state, flags)";
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 10] =
                [&i.id, &i.due_at, &i.expires_at, &i.relay, &i.node, &i.size, &i.lane, &i.state, &i.flags, &now];
            work.execute(sql, &values).await
        };
        tokio::try_join!(letters, items, open)?;
        guard::keep(work, &self.kept).await?;
        work.note(&self.held).await
    }
}

/// The span of an item: the day of its id. Ids grow with time, so that what is written together is indexed together.
pub(crate) fn span_of(id: i64) -> i32 {
    i32::try_from((id >> ID_TICK_BITS) / DAY_MS).unwrap_or(i32::MAX)
}

/// The number that the table keeps for a role.
const fn role_number(role: Role) -> i16 {
    match role {
        Role::To => 0,
        Role::Cc => 1,
    }
}

/// A role from its number.
pub(crate) fn role_of(number: i16) -> Result<Role, StoreError> {
    match number {
        0 => Ok(Role::To),
        1 => Ok(Role::Cc),
        other => Err(StoreError::Corrupt(format!("item.role: {other}"))),
    }
}
