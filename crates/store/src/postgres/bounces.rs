//! What came back, on PostgreSQL. Two reports about one item meet at its row, two about one address at the row by which its bounces are counted: one goes after the other.

use crate::{
    bounce::{AddressRow, Bounces, Effect, FORGOTTEN, Finding, HealthTerms, NewReport, ReportFilter, ReportRow, ReportTaken, line, reason},
    error::StoreError,
    health::{MOST, Records, SLATE},
    postgres::{
        Base, PostgresStore, Unsure,
        fault::Fault,
        work::{Line, Value, Work, count, text},
    },
    store::Page,
};
use async_trait::async_trait;
use tidings_core::{
    Id, Timestamp,
    bounce::Class,
    outbox::State,
    time::{earlier, from_millis, later},
    verp::VerpKey,
};
use tokio_postgres::Row;

#[async_trait]
impl Bounces for PostgresStore {
    async fn take_report(&self, report: NewReport) -> Result<ReportTaken, StoreError> {
        let taken = self.base.again(Unsure::Refuse, || take(&self.base, &report)).await;
        self.base.health.changed();
        taken
    }

    async fn reports(&self, filter: ReportFilter, before: Option<Id>, limit: u16) -> Result<Page<ReportRow>, StoreError> {
        self.base.again(Unsure::Again, || reports(&self.base, &filter, before, limit)).await
    }

    async fn unhealthy(&self, addresses: &[String]) -> Result<Vec<AddressRow>, StoreError> {
        let folded = addresses.iter().map(|address| text(&address.to_lowercase()).into_owned()).collect();
        let folded = self.base.health.doubtful(folded, &*self.base).await?;
        if folded.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("{ADDRESS} WHERE folded = ANY($2) AND (until IS NULL OR until > {NOW}) ORDER BY folded");
        let told = self.base.told_now();
        let values: [Value<'_>; 2] = [&told, &folded];
        self.base.again(Unsure::Again, || rows(&self.base, &sql, &values)).await
    }

    async fn addresses(&self, after: Option<String>, limit: u16) -> Result<Vec<AddressRow>, StoreError> {
        let sql = format!("{ADDRESS} WHERE folded > $2 AND (until IS NULL OR until > {NOW}) ORDER BY folded LIMIT $3");
        let after = text(&after.unwrap_or_default().to_lowercase()).into_owned();
        let (told, limit) = (self.base.told_now(), i64::from(limit));
        let values: [Value<'_>; 3] = [&told, &after, &limit];
        self.base.again(Unsure::Again, || rows(&self.base, &sql, &values)).await
    }

    async fn untold(&self, limit: u16) -> Result<Vec<AddressRow>, StoreError> {
        let sql = format!("{ADDRESS} WHERE NOT told ORDER BY unhealthy_since, folded LIMIT $1");
        let limit = i64::from(limit);
        let values: [Value<'_>; 1] = [&limit];
        let untold = self.base.again(Unsure::Again, || rows(&self.base, &sql, &values)).await?;
        if !untold.is_empty() {
            self.base.health.changed();
        }
        Ok(untold)
    }

    async fn address_told(&self, address: &str, since: Timestamp) -> Result<(), StoreError> {
        let (folded, since) = (text(&address.to_lowercase()).into_owned(), since.as_millisecond());
        let sql = "UPDATE address_health SET told = true WHERE folded = $1 AND unhealthy_since = $2";
        let tell = || async {
            self.base.query(sql, &[&folded, &since]).await?;
            Ok(())
        };
        self.base.again(Unsure::Again, tell).await
    }

    async fn clear_address(&self, address: &str, by: &str) -> Result<bool, StoreError> {
        let folded = text(&address.to_lowercase()).into_owned();
        let clear = || async {
            let work = self.base.begin().await?;
            let cleared = heal(&work, &folded).await?;
            self.base.finish(work).await?;
            Ok(cleared)
        };
        let cleared = self.base.again(Unsure::Refuse, clear).await;
        self.base.health.changed();
        let cleared = cleared?;
        tracing::info!(by, cleared, "an address is to be healthy");
        Ok(cleared)
    }

    fn return_paths(&self) -> VerpKey {
        self.base.key.return_paths()
    }
}

#[async_trait]
impl Records for Base {
    async fn changes(&self) -> Result<i64, StoreError> {
        let count =
            || async { Ok(self.query("SELECT version FROM slate WHERE name = $1", &[&SLATE]).await?.first().map_or(0, |row| row.get(0))) };
        self.again(Unsure::Again, count).await
    }

    async fn all(&self) -> Result<Vec<String>, StoreError> {
        let most = i64::from(MOST + 1);
        let read = || async {
            let rows = self.query("SELECT folded FROM address_health LIMIT $1", &[&most]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        };
        self.again(Unsure::Again, read).await
    }
}

/// Counts a change of somebody's health.
async fn count_change(work: &Work) -> Result<(), Fault> {
    let sql = "INSERT INTO slate AS s (name, version, text) VALUES ($1, 1, '') ON CONFLICT (name) DO UPDATE SET version = s.version + 1";
    work.execute(sql, &[&SLATE]).await?;
    Ok(())
}

/// The present moment: told by a clock of tests, else the server's.
const NOW: &str = "coalesce($1::bigint, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)";

async fn take(base: &Base, report: &NewReport) -> Result<ReportTaken, Fault> {
    let work = base.begin().await?;
    forget(&work, &report.terms).await?;
    let sql = "INSERT INTO report (digest, taken_at, way, form, reporter) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO NOTHING RETURNING id";
    let reporter = report.reporter.as_deref().map(text);
    let kept = work.query_opt(sql, &[&report.digest.as_slice(), &work.now_ms(), &report.way, &report.form, &reporter.as_deref()]).await?;
    let Some(kept) = kept else { return Ok(ReportTaken::Known) };
    let mut effects = Vec::with_capacity(report.findings.len());
    for finding in &report.findings {
        effects.push(find(&work, report, kept.get(0), finding).await?);
    }
    base.finish(work).await?;
    Ok(ReportTaken::New(effects))
}

/// Old reports go when new ones come; those that somebody else has forgotten at the same time are passed over.
async fn forget(work: &Work, terms: &HealthTerms) -> Result<(), Fault> {
    let before = earlier(work.now(), terms.keep).as_millisecond();
    let sql = "WITH old AS (SELECT id FROM report WHERE taken_at < $1 ORDER BY taken_at LIMIT $2 FOR UPDATE SKIP LOCKED),
            gone AS (DELETE FROM finding f USING old WHERE f.report = old.id)
        DELETE FROM report r USING old WHERE r.id = old.id";
    work.execute(sql, &[&before, &i64::from(FORGOTTEN)]).await?;
    Ok(())
}

async fn find(work: &Work, report: &NewReport, number: i64, finding: &Finding) -> Result<Effect, Fault> {
    let item = match finding.item {
        None => None,
        Some((id, _)) => {
            let sql = "SELECT i.id, coalesce(i.state, (SELECT o.state FROM open_item o WHERE o.id = i.id)), coalesce(i.folded, i.recipient)
                FROM item i WHERE i.id = $1 FOR UPDATE OF i";
            work.query_opt(sql, &[&id.number()]).await?
        }
    };
    let candidates = (!finding.candidates.is_empty()).then(|| serde_json::to_string(&finding.candidates).expect("ids are texts"));
    let matched_by = finding.item.filter(|_| item.is_some()).map(|(_, by)| by.as_str());
    let sql = "INSERT INTO finding (report, class, status, recipient, diagnostic, item, matched_by, candidates) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (status, recipient) = (finding.status.as_deref().map(text), finding.recipient.as_deref().map(text));
    let diagnostic = text(&finding.diagnostic);
    let known: Option<i64> = item.as_ref().map(|row| row.get(0));
    work.execute(
        sql,
        &[
            &number,
            &finding.class.as_str(),
            &status.as_deref(),
            &recipient.as_deref(),
            &diagnostic.as_ref(),
            &known,
            &matched_by,
            &candidates,
        ],
    )
    .await?;
    let Some(row) = item else { return Ok(Effect::Unmatched) };
    let (item, state, folded): (i64, Option<i16>, String) = (row.get(0), row.get(1), row.get(2));
    let (said, why) = (line(report, finding), reason(finding));
    work.note(&[Line { item, at: work.now_ms(), what: finding.class.history(), who: None, detail: Some(text(&said)) }]).await?;
    let state = state.and_then(|state| State::from_number(state.into()));
    let state = state.ok_or_else(|| StoreError::Corrupt(format!("item.state of {item}")))?;
    match (finding.class, state) {
        (Class::Hard | Class::Soft, State::Sent) => {
            work.execute("UPDATE item SET state = 4 WHERE id = $1 AND state = 3", &[&item]).await?;
            let sql = "INSERT INTO trouble (item, state) VALUES ($1, 4) ON CONFLICT (item) DO UPDATE SET state = excluded.state";
            work.execute(sql, &[&item]).await?;
            Ok(Effect::Bounced { unhealthy: finding.counts && judge(work, &report.terms, &folded, item, &text(&why)).await? })
        }
        (Class::Complaint, State::Sent | State::Bounced) => {
            Ok(Effect::Noted { unhealthy: finding.counts && judge(work, &report.terms, &folded, item, &text(&why)).await? })
        }
        (Class::Delivered, State::Sent) => {
            if finding.counts {
                heal(work, &folded).await?;
            }
            Ok(Effect::Noted { unhealthy: false })
        }
        (Class::Delayed | Class::Relayed, State::Sent) => Ok(Effect::Noted { unhealthy: false }),
        (_, state) => Ok(Effect::Stands(state)),
    }
}

/// Counts one more against an address; says whether it became unhealthy by it.
async fn judge(work: &Work, terms: &HealthTerms, folded: &str, item: i64, reason: &str) -> Result<bool, Fault> {
    lock(work, folded).await?;
    let now = work.now_ms();
    let known: Option<Option<i64>> =
        work.query_opt("SELECT until FROM address_health WHERE folded = $1", &[&folded]).await?.map(|row| row.get(0));
    // What came back before an address was tried again does not count any more.
    let lapsed = known.flatten().filter(|until| *until <= now);
    let since = earlier(work.now(), terms.within).as_millisecond().max(lapsed.unwrap_or(i64::MIN));
    work.execute("DELETE FROM setback WHERE folded = $1 AND at < $2", &[&folded, &since]).await?;
    let sql = "INSERT INTO setback (folded, item, at) VALUES ($1, $2, $3) ON CONFLICT (folded, item) DO NOTHING";
    work.execute(sql, &[&folded, &item, &now]).await?;
    let setbacks = count(&work.query_one("SELECT count(*) FROM setback WHERE folded = $1", &[&folded]).await?, 0);
    if known.is_some() && lapsed.is_none() {
        work.execute("UPDATE address_health SET reason = $2, item = $3 WHERE folded = $1", &[&folded, &reason, &item]).await?;
        return Ok(false);
    }
    if setbacks < u64::from(terms.after) {
        return Ok(false);
    }
    let until = terms.rest.map(|rest| later(work.now(), rest).as_millisecond());
    let sql = "INSERT INTO address_health (folded, address, unhealthy_since, until, reason, item, told)
        SELECT $1, recipient, $2::bigint, $3::bigint, $4, $5::bigint, false FROM item WHERE id = $5
        ON CONFLICT (folded) DO UPDATE SET address = excluded.address, unhealthy_since = excluded.unhealthy_since, until = excluded.until,
            reason = excluded.reason, item = excluded.item, told = false";
    work.execute(sql, &[&folded, &now, &until, &reason, &item]).await?;
    count_change(work).await?;
    Ok(true)
}

/// Whoever counts, or forgets, what came back from an address holds this until the end of the transaction.
async fn lock(work: &Work, folded: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO address_count (folded) VALUES ($1) ON CONFLICT (folded) DO UPDATE SET folded = excluded.folded";
    work.execute(sql, &[&folded]).await?;
    Ok(())
}

/// Forgets what came back from an address; says whether it was unhealthy.
async fn heal(work: &Work, folded: &str) -> Result<bool, Fault> {
    lock(work, folded).await?;
    work.execute("DELETE FROM setback WHERE folded = $1", &[&folded]).await?;
    let sql = "DELETE FROM address_health WHERE folded = $1 RETURNING until IS NULL OR until > $2";
    let healed = work.query_opt(sql, &[&folded, &work.now_ms()]).await?;
    work.execute("DELETE FROM address_count WHERE folded = $1", &[&folded]).await?;
    if healed.is_some() {
        count_change(work).await?;
    }
    Ok(healed.is_some_and(|row| row.get(0)))
}

const ADDRESS: &str = "SELECT address, unhealthy_since, until, reason, item, told,
    (SELECT count(*) FROM setback s WHERE s.folded = address_health.folded) FROM address_health";

async fn rows(base: &Base, sql: &str, values: &[Value<'_>]) -> Result<Vec<AddressRow>, Fault> {
    Ok(base.query(sql, values).await?.iter().map(address).collect())
}

fn address(row: &Row) -> AddressRow {
    AddressRow {
        address: row.get(0),
        unhealthy_since: from_millis(row.get(1)),
        until: row.get::<_, Option<i64>>(2).map(from_millis),
        reason: row.get(3),
        item: Id::from_number(row.get(4)),
        told: row.get(5),
        bounces: count(row, 6),
    }
}

async fn reports(base: &Base, filter: &ReportFilter, before: Option<Id>, limit: u16) -> Result<Page<ReportRow>, Fault> {
    let limit = limit.max(1);
    let which = match filter.matched {
        None => "",
        Some(true) => " AND f.item IS NOT NULL",
        Some(false) => " AND f.item IS NULL",
    };
    // A statement of its own for each, because each is planned once.
    let of = if filter.item.is_some() { "f.item = $2" } else { "$2::bigint IS NULL" };
    let sql = format!(
        "SELECT f.id, r.taken_at, r.way, r.form, r.reporter, f.class, f.status, f.recipient, f.diagnostic, f.item, f.matched_by, f.candidates
         FROM finding f JOIN report r ON r.id = f.report WHERE f.id < $1 AND {of}{which} ORDER BY f.id DESC LIMIT $3"
    );
    let (before, item) = (before.map_or(i64::MAX, Id::number), filter.item.map(Id::number));
    let rows = base.query(&sql, &[&before, &item, &(i64::from(limit) + 1)]).await?;
    let mut items: Vec<ReportRow> = rows.iter().map(report_row).collect();
    let more = items.len() > usize::from(limit);
    items.truncate(usize::from(limit));
    let next = items.last().filter(|_| more).map(|row| row.id);
    Ok(Page { items, next })
}

fn report_row(row: &Row) -> ReportRow {
    let candidates: Option<String> = row.get(11);
    ReportRow {
        id: Id::from_number(row.get(0)),
        taken_at: from_millis(row.get(1)),
        way: row.get(2),
        form: row.get(3),
        reporter: row.get(4),
        class: row.get(5),
        status: row.get(6),
        recipient: row.get(7),
        diagnostic: row.get(8),
        item: row.get::<_, Option<i64>>(9).map(Id::from_number),
        matched_by: row.get(10),
        candidates: candidates.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
    }
}
