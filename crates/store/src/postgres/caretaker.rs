//! What has to be done from time to time: partitions of the history ahead of their weeks, and the guard's books of hours that are over. Every node does it; the second one finds it done.

use crate::postgres::{Base, fault::Fault, guard};
use std::{sync::Weak, time::Duration};

const WEEK_MS: i64 = 604_800_000;
/// Partitions there are beside that of this week: what goes wrong here has a month to be noticed, and even then goes to the default partition.
const WEEKS_AHEAD: i64 = 4;
const EVERY: Duration = Duration::from_secs(300);

/// Goes its rounds as long as the database is open.
pub(crate) async fn serve(base: Weak<Base>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(base) = base.upgrade() else { return };
        round(&base).await;
    }
}

/// One round.
pub(crate) async fn round(base: &Base) {
    let done = async {
        let work = base.begin().await?;
        let now = work.now_ms();
        guard::forget(&work).await?;
        base.finish(work).await?;
        let week = now.div_euclid(WEEK_MS);
        for week in week..=week + WEEKS_AHEAD {
            add_partition(base, week).await?;
        }
        Ok::<_, Fault>(())
    };
    if let Err(fault) = done.await {
        let error = fault.into_store();
        tracing::warn!(%error, "the database could not be looked after");
    }
}

/// Adds the partition of a week, counted from the first of January 1970.
async fn add_partition(base: &Base, week: i64) -> Result<(), Fault> {
    let there = base.query("SELECT to_regclass($1::text) IS NOT NULL", &[&format!("history_{week}")]).await?;
    if there.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    let work = base.begin().await?;
    // Made first and attached then: that lets others read and write the history meanwhile. It waits for whoever holds the default partition, and others would wait behind it; so not for long.
    // An advisory lock, because two nodes that make a table at once disturb each other; nobody else asks for it.
    let sql = format!(
        "SET LOCAL lock_timeout = '2s'; SELECT pg_advisory_xact_lock({lock});
         CREATE TABLE IF NOT EXISTS history_{week} (LIKE history INCLUDING DEFAULTS)",
        lock = super::connect::MIGRATION_LOCK
    );
    work.client().batch_execute(&sql).await?;
    let attached = "SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass($1::text)";
    if work.query(attached, &[&format!("history_{week}")]).await?.is_empty() {
        let (from, to) = (week * WEEK_MS, (week + 1) * WEEK_MS);
        work.client()
            .batch_execute(&format!("ALTER TABLE history ATTACH PARTITION history_{week} FOR VALUES FROM ({from}) TO ({to})"))
            .await?;
    }
    base.finish(work).await
}
