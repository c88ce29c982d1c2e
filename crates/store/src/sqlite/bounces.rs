//! What came back, on SQLite.

use crate::{
    bounce::{AddressRow, Bounces, Effect, FORGOTTEN, Finding, HealthTerms, NewReport, ReportFilter, ReportRow, ReportTaken, line, reason},
    error::StoreError,
    health::{MOST, Records, SLATE},
    sqlite::{
        ITEM_BYTES, SqliteStore,
        fault::Fault,
        work::{Line, Work, count},
        writer::Way,
    },
    store::Page,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tidings_core::{
    Id, Timestamp,
    bounce::Class,
    outbox::State,
    time::{earlier, from_millis, later},
    verp::VerpKey,
};

#[async_trait]
impl Bounces for SqliteStore {
    async fn take_report(&self, report: NewReport) -> Result<ReportTaken, StoreError> {
        self.space.check()?;
        let bytes = ITEM_BYTES * (1 + report.findings.len());
        let taken = self.writer.ask(Way::In, bytes, move |work| take(work, &report)).await;
        self.health.changed();
        taken
    }

    async fn reports(&self, filter: ReportFilter, before: Option<Id>, limit: u16) -> Result<Page<ReportRow>, StoreError> {
        self.readers.ask(move |db| reports(db, &filter, before, limit)).await
    }

    async fn unhealthy(&self, addresses: &[String]) -> Result<Vec<AddressRow>, StoreError> {
        let folded = addresses.iter().map(|address| address.to_lowercase()).collect();
        let folded = self.health.doubtful(folded, self).await?;
        if folded.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now().as_millisecond();
        self.readers.ask(move |db| unhealthy(db, &folded, now)).await
    }

    async fn addresses(&self, after: Option<String>, limit: u16) -> Result<Vec<AddressRow>, StoreError> {
        let now = self.clock.now().as_millisecond();
        let after = after.map(|after| after.to_lowercase());
        self.readers
            .ask(move |db| {
                let sql = format!("{ADDRESS} WHERE folded > ?1 AND (until IS NULL OR until > ?2) ORDER BY folded LIMIT ?3");
                Ok(db
                    .prepare_cached(&sql)?
                    .query_map(params![after.unwrap_or_default(), now, limit], address)?
                    .collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn untold(&self, limit: u16) -> Result<Vec<AddressRow>, StoreError> {
        let untold: Vec<AddressRow> = self
            .readers
            .ask(move |db| {
                let sql = format!("{ADDRESS} WHERE told = 0 ORDER BY unhealthy_since, folded LIMIT ?1");
                Ok(db.prepare_cached(&sql)?.query_map([limit], address)?.collect::<Result<_, _>>()?)
            })
            .await?;
        if !untold.is_empty() {
            self.health.changed();
        }
        Ok(untold)
    }

    async fn address_told(&self, address: &str, since: Timestamp) -> Result<(), StoreError> {
        let folded = address.to_lowercase();
        let told = move |work: &mut Work<'_>| {
            let sql = "UPDATE address_health SET told = 1 WHERE folded = ?1 AND unhealthy_since = ?2";
            work.db.prepare_cached(sql)?.execute(params![folded, since.as_millisecond()])?;
            Ok(())
        };
        self.writer.ask(Way::On, ITEM_BYTES, told).await
    }

    async fn clear_address(&self, address: &str, by: &str) -> Result<bool, StoreError> {
        let folded = address.to_lowercase();
        let cleared = self.writer.ask(Way::On, ITEM_BYTES, move |work| heal(work, &folded)).await;
        self.health.changed();
        let cleared = cleared?;
        tracing::info!(by, cleared, "an address is to be healthy");
        Ok(cleared)
    }

    fn return_paths(&self) -> VerpKey {
        self.key.return_paths()
    }
}

#[async_trait]
impl Records for SqliteStore {
    async fn changes(&self) -> Result<i64, StoreError> {
        self.readers
            .ask(|db| {
                let mut count = db.prepare_cached("SELECT version FROM slate WHERE name = ?1")?;
                Ok(count.query_row([SLATE], |row| row.get(0)).optional()?.unwrap_or(0))
            })
            .await
    }

    async fn all(&self) -> Result<Vec<String>, StoreError> {
        self.readers
            .ask(|db| {
                let mut all = db.prepare_cached("SELECT folded FROM address_health LIMIT ?1")?;
                Ok(all.query_map([MOST + 1], |row| row.get(0))?.collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// Counts a change of somebody's health.
fn count_change(work: &Work<'_>) -> Result<(), Fault> {
    let sql = "INSERT INTO slate (name, version, text) VALUES (?1, 1, '') ON CONFLICT (name) DO UPDATE SET version = version + 1";
    work.db.prepare_cached(sql)?.execute([SLATE])?;
    Ok(())
}

fn take(work: &mut Work<'_>, report: &NewReport) -> Result<ReportTaken, Fault> {
    forget(work, &report.terms)?;
    let sql = "INSERT INTO report (digest, taken_at, way, form, reporter) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (digest) DO NOTHING";
    let values = params![report.digest.as_slice(), work.now_ms(), report.way, report.form, report.reporter];
    if work.db.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(ReportTaken::Known);
    }
    let number = work.db.last_insert_rowid();
    let effects = report.findings.iter().map(|finding| find(work, report, number, finding)).collect::<Result<_, _>>()?;
    Ok(ReportTaken::New(effects))
}

/// Old reports go when new ones come.
fn forget(work: &Work<'_>, terms: &HealthTerms) -> Result<(), Fault> {
    let before = earlier(work.now, terms.keep).as_millisecond();
    let old: Vec<i64> = work
        .db
        .prepare_cached("SELECT id FROM report WHERE taken_at < ?1 ORDER BY taken_at LIMIT ?2")?
        .query_map(params![before, FORGOTTEN], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for report in old {
        work.db.prepare_cached("DELETE FROM finding WHERE report = ?1")?.execute([report])?;
        work.db.prepare_cached("DELETE FROM report WHERE id = ?1")?.execute([report])?;
    }
    Ok(())
}

fn find(work: &mut Work<'_>, report: &NewReport, number: i64, finding: &Finding) -> Result<Effect, Fault> {
    let item: Option<(i64, i64, String)> = match finding.item {
        None => None,
        Some((id, _)) => work
            .db
            .prepare_cached("SELECT id, state, coalesce(folded, recipient) FROM item WHERE id = ?1")?
            .query_row([id.number()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?,
    };
    let candidates = (!finding.candidates.is_empty()).then(|| serde_json::to_string(&finding.candidates).expect("ids are texts"));
    let matched_by = finding.item.filter(|_| item.is_some()).map(|(_, by)| by.as_str());
    work.db
        .prepare_cached(
            "INSERT INTO finding (report, class, status, recipient, diagnostic, item, matched_by, candidates) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            number,
            finding.class.as_str(),
            finding.status,
            finding.recipient,
            finding.diagnostic,
            item.as_ref().map(|(id, ..)| id),
            matched_by,
            candidates
        ])?;
    let Some((item, state, folded)) = item else { return Ok(Effect::Unmatched) };
    let detail = line(report, finding);
    work.note(&Line { item, at: work.now_ms(), what: finding.class.history(), who: None, detail: Some(&detail) })?;
    let state = State::from_number(state).ok_or_else(|| StoreError::Corrupt(format!("item.state: {state}")))?;
    let counts = |work: &Work<'_>| if finding.counts { judge(work, &report.terms, &folded, item, &reason(finding)) } else { Ok(false) };
    match (finding.class, state) {
        (Class::Hard | Class::Soft, State::Sent) => {
            work.stand(item, State::Bounced)?;
            Ok(Effect::Bounced { unhealthy: counts(work)? })
        }
        (Class::Complaint, State::Sent | State::Bounced) => Ok(Effect::Noted { unhealthy: counts(work)? }),
        (Class::Delivered, State::Sent) => {
            if finding.counts {
                heal(work, &folded)?;
            }
            Ok(Effect::Noted { unhealthy: false })
        }
        (Class::Delayed | Class::Relayed, State::Sent) => Ok(Effect::Noted { unhealthy: false }),
        (_, state) => Ok(Effect::Stands(state)),
    }
}

/// Counts one more against an address; says whether it became unhealthy by it.
fn judge(work: &Work<'_>, terms: &HealthTerms, folded: &str, item: i64, reason: &str) -> Result<bool, Fault> {
    let now = work.now_ms();
    let known: Option<Option<i64>> =
        work.db.prepare_cached("SELECT until FROM address_health WHERE folded = ?1")?.query_row([folded], |row| row.get(0)).optional()?;
    // What came back before an address was tried again does not count any more.
    let lapsed = known.flatten().filter(|until| *until <= now);
    let since = earlier(work.now, terms.within).as_millisecond().max(lapsed.unwrap_or(i64::MIN));
    work.db.prepare_cached("DELETE FROM setback WHERE folded = ?1 AND at < ?2")?.execute(params![folded, since])?;
    work.db.prepare_cached("INSERT OR IGNORE INTO setback (folded, item, at) VALUES (?1, ?2, ?3)")?.execute(params![folded, item, now])?;
    let setbacks: u64 =
        work.db.prepare_cached("SELECT count(*) FROM setback WHERE folded = ?1")?.query_row([folded], |row| count(row, 0))?;
    if known.is_some() && lapsed.is_none() {
        let sql = "UPDATE address_health SET reason = ?2, item = ?3 WHERE folded = ?1";
        work.db.prepare_cached(sql)?.execute(params![folded, reason, item])?;
        return Ok(false);
    }
    if setbacks < u64::from(terms.after) {
        return Ok(false);
    }
    let until = terms.rest.map(|rest| later(work.now, rest).as_millisecond());
    work.db
        .prepare_cached(
            "INSERT OR REPLACE INTO address_health (folded, address, unhealthy_since, until, reason, item, told)
             SELECT ?1, recipient, ?2, ?3, ?4, ?5, 0 FROM item WHERE id = ?5",
        )?
        .execute(params![folded, now, until, reason, item])?;
    count_change(work)?;
    Ok(true)
}

/// Forgets what came back from an address; says whether it was unhealthy.
fn heal(work: &Work<'_>, folded: &str) -> Result<bool, Fault> {
    work.db.prepare_cached("DELETE FROM setback WHERE folded = ?1")?.execute([folded])?;
    let sql = "DELETE FROM address_health WHERE folded = ?1 RETURNING until IS NULL OR until > ?2";
    let healed: Option<bool> = work.db.prepare_cached(sql)?.query_row(params![folded, work.now_ms()], |row| row.get(0)).optional()?;
    if healed.is_some() {
        count_change(work)?;
    }
    Ok(healed.unwrap_or(false))
}

const ADDRESS: &str = "SELECT address, unhealthy_since, until, reason, item, told,
    (SELECT count(*) FROM setback s WHERE s.folded = address_health.folded) FROM address_health";

fn address(row: &Row<'_>) -> rusqlite::Result<AddressRow> {
    Ok(AddressRow {
        address: row.get(0)?,
        unhealthy_since: from_millis(row.get(1)?),
        until: row.get::<_, Option<i64>>(2)?.map(from_millis),
        reason: row.get(3)?,
        item: Id::from_number(row.get(4)?),
        told: row.get(5)?,
        bounces: count(row, 6)?,
    })
}

fn unhealthy(db: &Connection, folded: &[String], now: i64) -> Result<Vec<AddressRow>, Fault> {
    let mut find = db.prepare_cached(&format!("{ADDRESS} WHERE folded = ?1 AND (until IS NULL OR until > ?2)"))?;
    let mut rows = Vec::new();
    for one in folded {
        rows.extend(find.query_row(params![one, now], address).optional()?);
    }
    Ok(rows)
}

fn reports(db: &Connection, filter: &ReportFilter, before: Option<Id>, limit: u16) -> Result<Page<ReportRow>, Fault> {
    let limit = limit.max(1);
    let which = match filter.matched {
        None => "",
        Some(true) => " AND f.item IS NOT NULL",
        Some(false) => " AND f.item IS NULL",
    };
    let sql = format!(
        "SELECT f.id, r.taken_at, r.way, r.form, r.reporter, f.class, f.status, f.recipient, f.diagnostic, f.item, f.matched_by, f.candidates
         FROM finding f CROSS JOIN report r ON r.id = f.report WHERE f.id < ?1 AND (?2 IS NULL OR f.item = ?2){which} ORDER BY f.id DESC LIMIT ?3"
    );
    let before = before.map_or(i64::MAX, Id::number);
    let mut find = db.prepare_cached(&sql)?;
    let rows = find.query_map(params![before, filter.item.map(Id::number), u32::from(limit) + 1], report_row)?;
    let mut items: Vec<ReportRow> = rows.collect::<Result<_, _>>()?;
    let more = items.len() > usize::from(limit);
    items.truncate(usize::from(limit));
    let next = items.last().filter(|_| more).map(|row| row.id);
    Ok(Page { items, next })
}

fn report_row(row: &Row<'_>) -> rusqlite::Result<ReportRow> {
    let candidates: Option<String> = row.get(11)?;
    Ok(ReportRow {
        id: Id::from_number(row.get(0)?),
        taken_at: from_millis(row.get(1)?),
        way: row.get(2)?,
        form: row.get(3)?,
        reporter: row.get(4)?,
        class: row.get(5)?,
        status: row.get(6)?,
        recipient: row.get(7)?,
        diagnostic: row.get(8)?,
        item: row.get::<_, Option<i64>>(9)?.map(Id::from_number),
        matched_by: row.get(10)?,
        candidates: candidates.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
    })
}
