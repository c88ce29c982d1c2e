//! This process as a member of those that serve the database: it joins, beats, does what falls to it, and knows by its own clock when it is one no longer.

use crate::duties::Duties;
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tidings_intake::Intake;
use tidings_store::{Database, Membership, NewNode, StoreError, Tenure};
use tokio::{sync::watch, time::sleep};

/// A lease is prolonged so often within its time.
const BEATS: u32 = 5;
/// After a failure it is tried again so soon.
const AGAIN: Duration = Duration::from_secs(1);
/// Where nobody can take a place there is nothing to prolong.
const NEVER: Duration = Duration::from_hours(24);

/// This process's membership.
pub struct Member {
    store: Arc<dyn Database>,
    intake: Arc<Intake>,
    duties: Arc<Duties>,
    tenure: Arc<Tenure>,
    membership: Membership,
    node: NewNode,
    /// Where the name in leases is noted, so that whoever starts here next knows whose leases are free.
    name_file: PathBuf,
}

impl Member {
    /// Joins. The process before, which the lock beside the file shows to have ended, leaves with it.
    ///
    /// # Errors
    /// If the database cannot be written, or has no number left.
    pub async fn join(
        store: Arc<dyn Database>,
        intake: Arc<Intake>,
        duties: Arc<Duties>,
        node: NewNode,
        name_file: PathBuf,
    ) -> Result<Self> {
        let predecessor = std::fs::read_to_string(&name_file).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let (asked, offers) = (Instant::now(), duties.offers().await);
        let first = NewNode { predecessor, offers, ..node.clone() };
        let membership = store.join(first).await.context("joining those that serve the database")?;
        if membership.recovered > 0 {
            tracing::info!(
                items = membership.recovered,
                "took back what was leased when this node last ended; some of it may arrive twice"
            );
        }
        intake.renumber(membership.number);
        write_down(&name_file, &membership);
        let tenure = Tenure::of(&membership, asked);
        tracing::info!(node = %node.shown, node.number = membership.number, node.name = %membership.name, "joined");
        Ok(Self { store, intake, duties, tenure, membership, node, name_file })
    }

    /// Until when it may use what it has leased.
    pub fn tenure(&self) -> Arc<Tenure> {
        Arc::clone(&self.tenure)
    }

    /// Beats until told to stop; gives itself back, still a member.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Self {
        let mut pause = Duration::ZERO;
        loop {
            let duties = Arc::clone(&self.duties);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return self,
                () = duties.changed() => {}
                () = sleep(pause) => {}
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return self,
                next = self.beat() => pause = next,
            }
        }
    }

    /// Leaves: whatever this node still had is free at once.
    pub async fn leave(self) {
        match self.store.leave(&self.membership).await {
            Ok(_) => {
                // Nobody has to look for what is not there.
                let _ = std::fs::remove_file(&self.name_file);
            }
            Err(error) => {
                tracing::warn!(%error, "the others could not be told that this node ends; they find out when its lease has ended");
            }
        }
    }

    /// One beat; gives when the next is due.
    async fn beat(&mut self) -> Duration {
        let (asked, offers) = (Instant::now(), self.duties.offers().await);
        let mut rests = false;
        let answer = {
            let beat = self.store.beat(&self.membership, &offers);
            tokio::pin!(beat);
            loop {
                tokio::select! {
                    answer = &mut beat => break answer,
                    () = nearly_over(&self.tenure, self.membership.lease), if !rests => {
                        self.duties.have(BTreeSet::new(), &self.membership.name).await;
                        rests = true;
                    }
                }
            }
        };
        match answer {
            Ok(Some(pulse)) => {
                self.tenure.prolong(&self.membership, asked);
                for (name, items) in &pulse.lapsed {
                    tracing::warn!(
                        node.name = name,
                        items,
                        "a node was not heard of any more: its letters wait again, and some of them may arrive twice"
                    );
                    metrics::counter!("tidings_nodes_lapsed_total").increment(1);
                }
                let keeps = |duty: &String| offers.contains(duty) && !pulse.surplus.contains(duty);
                let (keep, leave): (BTreeSet<String>, BTreeSet<String>) = pulse.duties.into_iter().partition(keeps);
                self.duties.have(keep, &self.membership.name).await;
                if !leave.is_empty() {
                    let leave: Vec<String> = leave.into_iter().collect();
                    if let Err(error) = self.store.give_up(&self.membership, &leave).await {
                        tracing::debug!(%error, "duties could not be given up; again with the next beat");
                    }
                }
                self.membership.lease.map_or(NEVER, |lease| lease / BEATS)
            }
            Ok(None) => {
                self.join_anew().await;
                Duration::ZERO
            }
            Err(error) => {
                tracing::debug!(%error, "the membership could not be prolonged");
                AGAIN
            }
        }
    }

    /// The place is lost: nothing of it is used any more, and another one is taken.
    async fn join_anew(&mut self) {
        tracing::warn!(node.name = %self.membership.name, "this node was not heard of for longer than its lease, and others have taken over its work; it joins anew");
        self.tenure.lose();
        self.duties.have(BTreeSet::new(), &self.membership.name).await;
        loop {
            let asked = Instant::now();
            // Under the old name something may have been leased while others were told that it is gone.
            let node = NewNode { predecessor: Some(self.membership.name.clone()), offers: self.duties.offers().await, ..self.node.clone() };
            match self.store.join(node).await {
                Ok(membership) => {
                    self.intake.renumber(membership.number);
                    write_down(&self.name_file, &membership);
                    self.tenure.renew(&membership, asked);
                    tracing::info!(node.number = membership.number, node.name = %membership.name, "joined anew");
                    self.membership = membership;
                    return;
                }
                Err(error) => log_failure(&error),
            }
            sleep(AGAIN).await;
        }
    }
}

fn log_failure(error: &StoreError) {
    tracing::debug!(%error, "joining anew failed; trying again");
}

/// Waits until so little of the lease is left that what this node does alone has to end.
async fn nearly_over(tenure: &Tenure, lease: Option<Duration>) {
    match (tenure.left(), lease) {
        (Some(left), Some(lease)) => sleep(left.saturating_sub(lease / BEATS)).await,
        _ => std::future::pending().await,
    }
}

/// Notes the name in leases. Without it the next start waits for the lease to end.
fn write_down(file: &Path, membership: &Membership) {
    if membership.lease.is_none() {
        return;
    }
    let fresh = file.with_extension("node-new");
    let written = std::fs::write(&fresh, &membership.name).and_then(|()| std::fs::rename(&fresh, file));
    if let Err(error) = written {
        tracing::warn!(%error, file = %file.display(), "this node's name cannot be noted; after a crash its letters wait for the end of its lease");
    }
}
