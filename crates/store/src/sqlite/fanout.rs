//! Fan-outs: crowds that are told in chunks. A chunk's letters and the place where the next one begins are one transaction, so nobody is told twice and nobody is left out.

use crate::{
    flood::{FanOutRow, FanOutStep},
    pack::Mould,
    sqlite::{
        accept::{Birth, add_item, add_letter},
        fault::Fault,
        guard,
        work::{Work, count, recipient_hash, whole},
    },
    store::Acceptance,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;
use tidings_core::{Id, time::from_millis};

const ROW: &str = "SELECT f.id, f.event, w.text, f.plan, f.data, f.cursor, f.steps, f.told, f.passed, f.batch, f.begun_at, f.ended_at,
        (SELECT p.people FROM fan_out_part p WHERE p.fan_out = f.id ORDER BY p.part LIMIT 1)
    FROM fan_out f JOIN word w ON w.number = f.rule";

/// Writes down an event's fan-outs.
pub(crate) fn begin(work: &mut Work<'_>, acceptance: &Acceptance) -> Result<(), Fault> {
    for order in &acceptance.fan_outs {
        let rule = work.word(&order.rule)?;
        work.db
            .prepare_cached(
                "INSERT INTO fan_out (id, event, rule, plan, data, steps, told, passed, begun_at) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, ?6)",
            )?
            .execute(params![order.id.number(), acceptance.id.number(), rule, order.plan, order.data, work.now_ms()])?;
        add_parts(work, order.id.number(), &order.parts)?;
    }
    Ok(())
}

fn add_parts(work: &Work<'_>, fan_out: i64, parts: &[Vec<u8>]) -> Result<(), Fault> {
    for (part, people) in (0_i64..).zip(parts) {
        work.db
            .prepare_cached("INSERT INTO fan_out_part (fan_out, part, people) VALUES (?1, ?2, ?3)")?
            .execute(params![fan_out, part, people])?;
    }
    Ok(())
}

/// The fan-outs of an event, or those that are open.
pub(crate) fn list(db: &Connection, event: Option<Id>, limit: u16) -> Result<Vec<FanOutRow>, Fault> {
    let rows = match event {
        Some(event) => db
            .prepare_cached(&format!("{ROW} WHERE f.event = ?1 ORDER BY f.id LIMIT ?2"))?
            .query_map(params![event.number(), limit], row)?
            .collect::<Result<_, _>>()?,
        None => db
            .prepare_cached(&format!("{ROW} WHERE f.ended_at IS NULL ORDER BY f.id LIMIT ?1"))?
            .query_map([limit], row)?
            .collect::<Result<_, _>>()?,
    };
    Ok(rows)
}

fn row(row: &Row<'_>) -> rusqlite::Result<FanOutRow> {
    Ok(FanOutRow {
        id: Id::from_number(row.get(0)?),
        event: Id::from_number(row.get(1)?),
        rule: row.get(2)?,
        plan: row.get(3)?,
        data: row.get(4)?,
        cursor: row.get(5)?,
        steps: count(row, 6)?,
        told: count(row, 7)?,
        passed: count(row, 8)?,
        batch: row.get::<_, Option<i64>>(9)?.map(Id::from_number),
        begun_at: from_millis(row.get(10)?),
        ended_at: row.get::<_, Option<i64>>(11)?.map(from_millis),
        people: row.get(12)?,
    })
}

/// A chunk with its letters made small.
pub(crate) struct ReadyStep(pub(crate) FanOutStep, pub(crate) Vec<Option<Arc<Mould>>>);

/// The verb.
pub(crate) fn step(work: &mut Work<'_>, ReadyStep(step, moulds): &ReadyStep) -> Result<Option<u64>, Fault> {
    let id = step.id.number();
    let found: Option<(i64, i64, Option<i64>)> = work
        .db
        .prepare_cached("SELECT event, rule, batch FROM fan_out WHERE id = ?1 AND steps = ?2 AND ended_at IS NULL")?
        .query_row(params![id, whole(step.steps)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((event, rule, mut batch)) = found else { return Ok(None) };
    if let Some((terms, people)) = &step.guard {
        batch = guard::judge_crowd(work, terms, event, rule, *people, step.items.first().map(|item| item.id))?;
    }
    let verdict = batch.map(|batch| guard::verdict(work, batch)).transpose()?.flatten();
    let birth = Birth { event, has_secrets: false, claimed_by: None };
    let mut told = 0;
    for ((letter, item), mould) in step.letters.iter().zip(&step.items).zip(moulds) {
        let folded = item.to.folded();
        let kind = work.word(letter.kind)?;
        let has_one: bool = work
            .db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM item WHERE event = ?1 AND folded_hash = ?2 AND kind = ?3 AND coalesce(folded, recipient) = ?4)")?
            .query_row(params![event, recipient_hash(&folded), kind, folded], |row| row.get(0))?;
        if has_one {
            continue;
        }
        // An operator has cancelled the batch: whoever is not told yet is not told.
        if verdict.as_ref().is_some_and(|verdict| verdict.cancelled) {
            continue;
        }
        add_letter(work, letter, mould.as_deref())?;
        add_item(work, &birth, letter, item, verdict.as_ref().and_then(|verdict| verdict.kept.as_ref()))?;
        work.arrived.add(item.lane);
        told += 1;
    }
    work.db
        .prepare_cached("DELETE FROM fan_out_part WHERE fan_out = ?1 AND part = (SELECT min(part) FROM fan_out_part WHERE fan_out = ?1)")?
        .execute([id])?;
    let passed = step.passed + (step.items.len() as u64 - told);
    let ended_at = step.ended.then(|| work.now_ms());
    work.db
        .prepare_cached(
            "UPDATE fan_out SET cursor = ?2, steps = steps + 1, told = told + ?3, passed = passed + ?4, ended_at = ?5, batch = ?6 WHERE id = ?1",
        )?
        .execute(params![id, step.cursor, whole(told), whole(passed), ended_at, batch])?;
    Ok(Some(told))
}

/// Writes down the people that are still to be looked at.
pub(crate) fn keep_people(work: &mut Work<'_>, fan_out: Id, steps: u64, plan: &[u8], parts: &[Vec<u8>]) -> Result<bool, Fault> {
    let id = fan_out.number();
    let fits = work
        .db
        .prepare_cached("UPDATE fan_out SET cursor = 'kept', plan = ?3, steps = steps + 1 WHERE id = ?1 AND steps = ?2 AND ended_at IS NULL AND coalesce(cursor, '') <> 'kept'")?
        .execute(params![id, whole(steps), plan])?;
    if fits > 0 {
        add_parts(work, id, parts)?;
    }
    Ok(fits > 0)
}
