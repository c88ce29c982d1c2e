//! A database clock that is set back, as after a failover to a machine whose clock is behind. What was accepted while it was ahead is due, and ends, later than meant by as much as it was ahead;
//! here that is noticed and mended.
//!
//! Every node may notice, and all may mend at once: a step changes only rows that were accepted later than now, and so once.

use crate::{
    postgres::{
        Base,
        fault::Fault,
        work::{Line, Work},
    },
    sqlite::clock::in_words,
};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use tidings_core::{Id, lane::LaneSet, time::from_millis};

/// So far, in milliseconds, the clock may stand behind the newest acceptance: small corrections are a clock's daily life, and a letter late by that is not late.
const TOLERATED_MS: i64 = 1_000;
/// An item has its id before it is accepted, by no more than this many milliseconds.
const UNDER_WAY_MS: i64 = 60_000;
/// Rows changed in one transaction.
const STEP: usize = 2_000;

/// Keeps the newest acceptance of this process in mind and compares the clock with it.
#[derive(Debug)]
pub(crate) struct Watch {
    /// In milliseconds.
    newest: AtomicI64,
}

impl Watch {
    /// Begins with what is there: a step that was not mended to its end is found again.
    pub(crate) async fn begin(work: &Work) -> Result<Self, Fault> {
        let sql = "SELECT greatest((SELECT accepted_at FROM item ORDER BY id DESC LIMIT 1), (SELECT max(accepted_at) FROM open_item WHERE id > $1))";
        let newest = work.query_one(sql, &[&first_under_way(work.now_ms())]).await?.get::<_, Option<i64>>(0);
        Ok(Self { newest: AtomicI64::new(newest.unwrap_or(i64::MIN)) })
    }

    /// Something was accepted.
    pub(crate) fn accepted(&self, now_ms: i64) {
        self.newest.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Whether the clock was set back; said once for a step.
    fn is_set_back(&self, now_ms: i64) -> bool {
        let newest = self.newest.load(Ordering::Relaxed);
        newest.saturating_sub(now_ms) > TOLERATED_MS
            && self.newest.compare_exchange(newest, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Ids of items that may have been accepted later than now lie above this one.
fn first_under_way(now_ms: i64) -> i64 {
    Id::first_of(from_millis(now_ms - UNDER_WAY_MS)).number() - 1
}

/// Looks at the clock by which a transaction has begun. If it was set back, the first step is mended at once, so that what is claimed next is due by the clock as it is now, and the rest beside
/// what else there is to do; the transaction is given up then, and another one has to be begun.
pub(crate) async fn look(base: &Base, work: Work) -> Result<Option<Work>, Fault> {
    let now = work.now_ms();
    if !base.watch.is_set_back(now) {
        return Ok(Some(work));
    }
    let mended = step(base, work, first_under_way(now)).await;
    match mended {
        Ok((items, None)) => told(items),
        Ok((items, Some(next))) => {
            let base = base.me.clone();
            tokio::spawn(async move {
                if let Some(base) = base.upgrade() {
                    rest(&base, items, next).await;
                }
            });
        }
        Err(fault) => {
            // Seen again by the next one.
            base.watch.accepted(now + TOLERATED_MS + 1);
            return Err(fault);
        }
    }
    Ok(None)
}

async fn rest(base: &Arc<Base>, mut items: usize, mut next: i64) {
    loop {
        let mended = async { step(base, base.begin_at_once().await?, next).await };
        match mended.await {
            Ok((more, left)) => {
                items += more;
                match left {
                    Some(left) => next = left,
                    None => return told(items),
                }
            }
            Err(fault) => {
                let error = fault.into_store();
                tracing::warn!(%error, "items accepted while the clock was ahead still wait");
                return;
            }
        }
    }
}

fn told(items: usize) {
    if items > 0 {
        tracing::warn!(
            outbox.items = items,
            "the clock was set back: what was accepted while it was ahead is due by the clock as it is now"
        );
    }
}

/// One step: open items accepted later than now are taken as accepted now, with all their times moved by as much. Nothing else about them changes, neither state nor token nor attempts. A lease
/// stays as it is: its holder is at work. A time before the acceptance was set by the clock as it is now, when a lease ended. Gives how many, and after which item the next step begins.
async fn step(base: &Base, mut work: Work, after: i64) -> Result<(usize, Option<i64>), Fault> {
    let sql = "WITH early AS (
            SELECT id, accepted_at - $2 AS ahead FROM open_item WHERE id > $1 AND accepted_at > $2 ORDER BY id LIMIT $3 FOR UPDATE)
        UPDATE open_item o SET accepted_at = $2, expires_at = o.expires_at - e.ahead,
            due_at = CASE WHEN o.state = 2 OR (o.token > 0 AND o.due_at < o.accepted_at) THEN o.due_at ELSE o.due_at - e.ahead END
        FROM early e WHERE o.id = e.id RETURNING o.id, e.ahead, o.due_at";
    let rows = work.query(sql, &[&after, &work.now_ms(), &i64::try_from(STEP).unwrap_or(i64::MAX)]).await?;
    let mut mended: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    mended.sort_unstable();
    let at = work.now_ms();
    let line = |(item, ahead): &(i64, i64)| {
        let detail = format!("accepted while the clock was {} ahead", in_words(*ahead));
        Line { item: *item, at, what: "clock", who: None, detail: Some(detail.into()) }
    };
    work.note(&mended.iter().map(line).collect::<Vec<_>>()).await?;
    if !mended.is_empty() {
        work.arrived = LaneSet::ALL;
        for row in &rows {
            work.is_due(row.get(2));
        }
    }
    base.finish(work).await?;
    let left = mended.last().map(|(id, _)| *id).filter(|_| mended.len() == STEP);
    Ok((mended.len(), left))
}
