//! Writes outcomes in groups, and stops delivery while that fails: a letter sent whose outcome cannot be written is sent again one day.

use crate::{house::House, roster::Roster};
use std::{sync::Arc, time::Duration};
use tidings_core::outbox::Settlement;
use tidings_store::{Settled, Store};
use tokio::sync::mpsc::UnboundedReceiver;

/// Outcomes written in one verb.
const GROUP: usize = 512;
/// After so many outcomes in one group the next ones will not be long in coming …
const MANY: usize = 4;
/// … and so long they are waited for: a commit costs as much as a dozen outcomes.
const GATHERING: Duration = Duration::from_millis(2);
/// Between tries when the database cannot be written: the first delay and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(crate) struct Settler {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) outcomes: UnboundedReceiver<Settlement>,
    pub(crate) house: Arc<House>,
    pub(crate) roster: Arc<Roster>,
}

impl Settler {
    /// Works until every desk is gone and everything is written.
    pub(crate) async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        let mut busy = false;
        loop {
            if busy {
                tokio::time::sleep(GATHERING).await;
            }
            if self.outcomes.recv_many(&mut group, GROUP).await == 0 {
                return;
            }
            busy = group.len() >= MANY;
            let written = self.write(&group).await;
            let before =
                self.house.outcomes_written(group.iter().zip(written).map(|(outcome, settled)| (outcome, settled == Settled::Stale)));
            if self.house.suspend(false) {
                tracing::info!("outcomes can be written again, delivery goes on");
                self.roster.rouse();
            } else if House::was_full(before) {
                self.roster.rouse();
            }
            group.clear();
        }
    }

    async fn write(&self, group: &[Settlement]) -> Vec<Settled> {
        let mut delay = RETRY.0;
        loop {
            match self.store.settle(group.to_vec()).await {
                Ok(written) => {
                    for (settlement, _) in group.iter().zip(&written).filter(|(_, settled)| **settled == Settled::Stale) {
                        tracing::warn!(outbox.item = %settlement.id, outbox.outcome = settlement.what, "the lease ended before the outcome was written; unless it is leased to us again within a minute, another attempt may follow");
                        metrics::counter!("tidings_stale_outcomes_total").increment(1);
                    }
                    return written;
                }
                Err(error) => {
                    if self.house.suspend(true) {
                        tracing::error!(error = %error, outcomes = group.len(), "outcomes cannot be written, delivery stops until they can");
                    }
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY.1);
                }
            }
        }
    }
}
