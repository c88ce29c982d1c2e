//! Claims whose commit was not answered. They are on disk or they are not; if they are, their items would be hidden until the lease ends although nobody has them. So the next claim of the same process,
//! under whatever name it is a member by then, first puts back what is still claimed by them. Nobody was given these items: nothing is marked as a possible duplicate.

use crate::postgres::{Base, fault::Fault, work::Work};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What this process may hold without knowing it.
#[derive(Default)]
pub(crate) struct Doubts(Mutex<Vec<Doubt>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    item: i64,
    token: i64,
    /// When it was due before.
    due_at: i64,
    /// Under whose name (word).
    node: i32,
    /// The lease has ended by then, and with it the doubt.
    until: Instant,
}

/// A claim that is about to be committed. Dropped before it is [known](Self::known), it is in doubt.
pub(crate) struct Committing<'b> {
    doubts: &'b Doubts,
    claimed: Vec<Doubt>,
}

impl Doubts {
    fn list(&self) -> MutexGuard<'_, Vec<Doubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These items with these tokens are not in doubt any more.
    pub(crate) fn forget(&self, seen: &[(i64, i64)]) {
        if !seen.is_empty() {
            self.list().retain(|doubt| !seen.contains(&(doubt.item, doubt.token)));
        }
    }

    /// Begins to commit a claim: items with the tokens that they get by it, and when they were due before.
    pub(crate) fn committing(&self, node: i32, lease: Duration, claimed: impl Iterator<Item = (i64, i64, i64)>) -> Committing<'_> {
        let until = Instant::now() + lease;
        Committing { doubts: self, claimed: claimed.map(|(item, token, due_at)| Doubt { item, token, due_at, node, until }).collect() }
    }
}

impl Committing<'_> {
    /// The commit was answered.
    pub(crate) fn known(mut self) {
        self.claimed.clear();
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        if !self.claimed.is_empty() {
            self.doubts.list().append(&mut self.claimed);
        }
    }
}

/// Puts back what is in doubt, and gives what it has seen: no longer in doubt once this is [committed](Doubts::forget). What somebody has locked, such as a connection that was lost and is not ended
/// yet, is looked at again the next time.
pub(crate) async fn put_back(base: &Base, work: &Work) -> Result<Vec<(i64, i64)>, Fault> {
    let mine: Vec<Doubt> = {
        let mut list = base.doubts.list();
        let now = Instant::now();
        list.retain(|doubt| doubt.until > now);
        list.clone()
    };
    let Some(first) = mine.iter().map(|doubt| doubt.due_at).min() else { return Ok(Vec::new()) };
    let (items, tokens): (Vec<i64>, Vec<i64>) = mine.iter().map(|doubt| (doubt.item, doubt.token)).unzip();
    let (dues, nodes): (Vec<i64>, Vec<i32>) = mine.iter().map(|doubt| (doubt.due_at, doubt.node)).unzip();
    let sql = "WITH seen AS (
            SELECT o.id, d.token, d.due_at, o.state = 2 AND o.token = d.token AND o.node = d.node AS mine
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[]) AS d (id, token, due_at, node) JOIN open_item o ON o.id = d.id FOR UPDATE OF o SKIP LOCKED),
        back AS (UPDATE open_item o SET state = 1, node = NULL, due_at = s.due_at FROM seen s WHERE o.id = s.id AND s.mine)
        SELECT id, token FROM seen";
    let seen = work.query(sql, &[&items, &tokens, &dues, &nodes]).await?;
    base.front.due(first);
    tracing::debug!(items = seen.len(), "claims without an answer were looked at");
    Ok(seen.iter().map(|row| (row.get(0), row.get(1))).collect())
}
