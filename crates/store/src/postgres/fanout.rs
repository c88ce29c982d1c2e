//! Fan-outs: crowds that are told in chunks. A chunk's letters and the place where the next one begins are one transaction, so nobody is told twice and nobody is left out.
//!
//! Two nodes with the same chunk: the row of the fan-out is locked, and the one that comes second finds another number of chunks done. Two fan-outs of one event: the row of the event is
//! locked, so that who has a letter of it is seen by both.

use crate::{
    flood::{FanOutRow, FanOutStep},
    postgres::{
        Base,
        accept::{self, Birth, Ready, ReadyItems, Rows},
        fault::Fault,
        guard,
        work::{Work, count, recipient_hash, whole},
    },
};
use std::collections::HashSet;
use tidings_core::{Id, time::from_millis};
use tokio_postgres::Row;

const ROW: &str = "SELECT f.id, f.event, w.text, f.plan, f.data, f.cursor, f.steps, f.told, f.passed, f.batch, f.begun_at, f.ended_at,
        (SELECT p.people FROM fan_out_part p WHERE p.fan_out = f.id ORDER BY p.part LIMIT 1)
    FROM fan_out f JOIN word w ON w.number = f.rule";

/// Writes down the fan-outs of events.
pub(crate) async fn begin(work: &Work, new: &[&Ready]) -> Result<(), Fault> {
    for ready in new {
        for order in &ready.acceptance.fan_outs {
            let rule = ready.rest.words.of(&order.rule);
            let sql =
                "INSERT INTO fan_out (id, event, rule, plan, data, steps, told, passed, begun_at) VALUES ($1, $2, $3, $4, $5, 0, 0, 0, $6)";
            let (id, event) = (order.id.number(), ready.acceptance.id.number());
            work.execute(sql, &[&id, &event, &rule, &order.plan, &order.data, &work.now_ms()]).await?;
            add_parts(work, id, &order.parts).await?;
        }
    }
    Ok(())
}

async fn add_parts(work: &Work, fan_out: i64, parts: &[Vec<u8>]) -> Result<(), Fault> {
    if !parts.is_empty() {
        let sql = "INSERT INTO fan_out_part (fan_out, part, people)
            SELECT $1, p.place - 1, p.people FROM unnest($2::bytea[]) WITH ORDINALITY AS p (people, place)";
        work.execute(sql, &[&fan_out, &parts]).await?;
    }
    Ok(())
}

/// The fan-outs of an event, or those that are open.
pub(crate) async fn list(base: &Base, event: Option<Id>, limit: u16) -> Result<Vec<FanOutRow>, Fault> {
    let limit = i64::from(limit);
    let rows = match event {
        Some(event) => base.query(&format!("{ROW} WHERE f.event = $1 ORDER BY f.id LIMIT $2"), &[&event.number(), &limit]).await?,
        None => base.query(&format!("{ROW} WHERE f.ended_at IS NULL ORDER BY f.id LIMIT $1"), &[&limit]).await?,
    };
    Ok(rows.iter().map(row).collect())
}

fn row(row: &Row) -> FanOutRow {
    FanOutRow {
        id: Id::from_number(row.get(0)),
        event: Id::from_number(row.get(1)),
        rule: row.get(2),
        plan: row.get(3),
        data: row.get(4),
        cursor: row.get(5),
        steps: count(row, 6),
        told: count(row, 7),
        passed: count(row, 8),
        batch: row.get::<_, Option<i64>>(9).map(Id::from_number),
        begun_at: from_millis(row.get(10)),
        ended_at: row.get::<_, Option<i64>>(11).map(from_millis),
        people: row.get(12),
    }
}

/// A chunk with its letters made small. They stand in the second part.
pub(crate) struct ReadyStep(FanOutStep, ReadyItems);

/// Makes a chunk ready to be written.
pub(crate) async fn ready(base: &Base, mut step: FanOutStep) -> Result<ReadyStep, crate::error::StoreError> {
    let (letters, items) = (std::mem::take(&mut step.letters), std::mem::take(&mut step.items));
    let rest = accept::ready_items(base, letters, items, Vec::new()).await?;
    Ok(ReadyStep(step, rest))
}

/// The verb.
pub(crate) async fn step(base: &Base, ReadyStep(step, rest): &ReadyStep) -> Result<Option<u64>, Fault> {
    let mut work = base.begin().await?;
    let id = step.id.number();
    let sql = "SELECT event, rule, batch FROM fan_out WHERE id = $1 AND steps = $2 AND ended_at IS NULL FOR UPDATE";
    let Some(found) = work.query_opt(sql, &[&id, &whole(step.steps)]).await? else { return Ok(None) };
    let (event, rule, mut batch): (i64, i32, Option<i64>) = (found.get(0), found.get(1), found.get(2));
    work.query("SELECT id FROM event WHERE id = $1 FOR UPDATE", &[&event]).await?;
    if let Some((terms, people)) = &step.guard {
        batch = guard::judge_crowd(&mut work, terms, event, rule, *people, rest.items.first().map(|item| item.id)).await?;
    }
    let verdict = match batch {
        Some(batch) => guard::verdict(&work, batch).await?,
        None => None,
    };
    let told = tell(&mut work, event, rest, verdict.as_ref()).await?;
    work.execute("DELETE FROM fan_out_part WHERE fan_out = $1 AND part = (SELECT min(part) FROM fan_out_part WHERE fan_out = $1)", &[&id])
        .await?;
    let passed = step.passed + (rest.items.len() as u64 - told);
    let ended_at = step.ended.then(|| work.now_ms());
    let sql = "UPDATE fan_out SET cursor = $2, steps = steps + 1, told = told + $3, passed = passed + $4, ended_at = $5, batch = $6 WHERE id = $1";
    work.execute(sql, &[&id, &step.cursor, &whole(told), &whole(passed), &ended_at, &batch]).await?;
    base.finish(work).await?;
    Ok(Some(told))
}

/// Writes letters for those who have none of this event and kind yet. Gives their number.
async fn tell(work: &mut Work, event: i64, rest: &ReadyItems, verdict: Option<&guard::Verdict>) -> Result<u64, Fault> {
    // An operator has cancelled the batch: whoever is not told yet is not told.
    if verdict.is_some_and(|verdict| verdict.cancelled) {
        return Ok(0);
    }
    let folded: Vec<String> = rest.items.iter().map(|item| item.to.folded()).collect();
    let hashes: Vec<i32> = folded.iter().map(|folded| recipient_hash(folded)).collect();
    let sql = "SELECT kind, coalesce(folded, recipient) FROM item WHERE event = $1 AND folded_hash = ANY($2)";
    let have = work.query(sql, &[&event, &hashes]).await?;
    let mut have: HashSet<(i32, String)> = have.iter().map(|row| (row.get(0), row.get(1))).collect();
    let birth = Birth { event, has_secrets: false, claimant: None };
    let mut rows = Rows::default();
    let mut told = HashSet::new();
    for (place, folded) in folded.into_iter().enumerate() {
        let letter = rest.letter_of(place);
        if have.insert((rest.words.of(letter.kind), folded)) {
            rows.item(work, &birth, rest, place, verdict.and_then(|verdict| verdict.kept.as_ref()));
            work.arrived.add(rest.items[place].lane);
            work.is_due(rest.items[place].due_at.as_millisecond());
            told.insert(letter.id);
        }
    }
    rows.letters(rest, |letter| told.contains(&letter));
    work.accepts = true;
    let count = rows.count();
    rows.write(work).await?;
    Ok(count)
}

/// Writes down the people that are still to be looked at.
pub(crate) async fn keep_people(base: &Base, fan_out: Id, steps: u64, plan: &[u8], parts: &[Vec<u8>]) -> Result<bool, Fault> {
    let work = base.begin().await?;
    let id = fan_out.number();
    let sql = "UPDATE fan_out SET cursor = 'kept', plan = $3, steps = steps + 1 WHERE id = $1 AND steps = $2 AND ended_at IS NULL AND coalesce(cursor, '') <> 'kept'";
    let fits = work.execute(sql, &[&id, &whole(steps), &plan]).await? > 0;
    if fits {
        add_parts(&work, id, parts).await?;
    }
    base.finish(work).await?;
    Ok(fits)
}
