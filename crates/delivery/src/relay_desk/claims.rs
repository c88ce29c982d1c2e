//! What a desk claims: of which queue, which lanes, how much, within the relay's limits.

use super::{BATCH_LASTS, CLAIM_BYTES, MOST_CLAIMED, RelayDesk, Throttle, smallest_batch};
use crate::{
    bench::{Allowed, LEASE, Watch},
    house::URGENT,
    queue::{Catch, Wish},
};
use std::time::Duration;
use tidings_core::{Lane, lane::LaneSet};
use tidings_store::{Claim, Lease, Settled};
use tokio::time::Instant;

impl RelayDesk {
    /// Leases what the sessions can use, queue by queue in turn.
    pub(super) async fn claim(&mut self) {
        if !self.may_claim() {
            return;
        }
        if !self.breaker.is_open() {
            self.claim_for_probe().await;
            return self.watch_shelves();
        }
        self.first = (self.first + 1) % self.queues.len();
        self.held_back = false;
        for number in 0..self.queues.len() {
            let index = (self.first + number) % self.queues.len();
            let allowed = self.house.open_lanes();
            let by_lane = self.bench.view().by_lane;
            let queue = &mut self.queues[index];
            if queue.pending.is_empty() || queue.look_at > Instant::now() {
                continue;
            }
            let Some(wish) = queue.wish(&by_lane, self.batch, allowed) else { continue };
            if let Some(wish) = self.within_limits(wish).await {
                self.claim_from(index, wish).await;
            } else {
                self.held_back = true;
                // Asked again at the next poll, or when something new is heard; sooner if all that stands in the way is what is under way.
                if self.bench.room().is_none_or(|allowed| allowed.room.any == 0) {
                    self.queues[index].pending = LaneSet::NONE;
                }
            }
        }
        self.watch_shelves();
    }

    /// One letter is enough to see whether the trouble is over, and none is needed if it was in getting in.
    pub(super) async fn claim_for_probe(&mut self) {
        let view = self.bench.view();
        if self.breaker.wants_letter(Instant::now())
            && view.queued + view.in_flight == 0
            && !self.queues[0].pending.is_empty()
            && !self.house.open_lanes().is_empty()
            && self.allowance(1, true).await > 0
        {
            self.claim_from(0, Wish { lanes: LaneSet::ALL, limit: 1, share: 0 }).await;
        }
    }

    async fn claim_from(&mut self, index: usize, wish: Wish) {
        let queue = &self.queues[index];
        let (begun, (node, term)) = (Instant::now(), self.house.tenure.bearing());
        let claim = Claim {
            taken_over_by: queue.of.map(|_| self.plan.name.clone()),
            lanes: wish.lanes,
            share: wish.share,
            max_bytes: CLAIM_BYTES,
            ..Claim::new(&*node, &*queue.relay, wish.limit, LEASE)
        };
        match self.store.claim(claim).await {
            Ok(leases) => {
                let catch = caught(&leases, wish, begun.elapsed());
                let queue = &mut self.queues[index];
                let whole = wish.lanes == queue.pending;
                queue.learn(wish, catch);
                let taken_over = queue.of.is_some();
                if catch.full && whole && self.breaker.is_open() {
                    self.adapt_batch();
                }
                if !leases.is_empty() {
                    self.bench.put(leases, term, taken_over);
                }
            }
            Err(error) => {
                self.queues[index].pending = LaneSet::NONE;
                tracing::warn!(relay = %self.plan.name, error = %error, "due letters cannot be claimed; trying again");
            }
        }
    }

    /// Gives back what a claim has brought for a membership that had ended by then. What somebody else has taken back already stays as it is.
    pub(super) async fn give_back_orphans(&mut self) {
        self.orphans.append(&mut self.bench.orphans());
        if self.orphans.is_empty() {
            return;
        }
        match self.store.settle(self.orphans.clone()).await {
            Ok(written) => {
                let items = written.iter().filter(|settled| **settled != Settled::Stale).count();
                tracing::debug!(relay = %self.plan.name, items, "gave back what was claimed for a membership that has ended");
                self.orphans.clear();
            }
            Err(error) => {
                tracing::debug!(relay = %self.plan.name, error = %error, "what was claimed for a membership that has ended cannot be given back yet");
            }
        }
    }

    /// Asks to be told when more can be claimed of what is known to be due.
    fn watch_shelves(&self) {
        let most_urgent = self.queues.iter().filter_map(|queue| queue.pending.iter().next()).min();
        // The answer to a probe opens the relay.
        let answers = !self.breaker.is_open() || self.cap < self.plan.limits.sessions;
        self.bench.watch(Watch { lane: most_urgent.unwrap_or(Lane::Digests), low_water: usize::from(self.batch / 2), answers });
    }

    /// As much of a wish as the limits allow; what somebody waits for may have the last of it.
    async fn within_limits(&mut self, wish: Wish) -> Option<Wish> {
        let any = self.allowance(wish.limit, false).await;
        if any > 0 {
            return Some(Wish { limit: any, share: wish.share.min(any), ..wish });
        }
        let lanes = wish.lanes.and(URGENT);
        let urgent = if lanes.is_empty() { 0 } else { self.allowance(wish.limit, true).await };
        (urgent > 0).then_some(Wish { lanes, limit: urgent, share: 0 })
    }

    /// How many of `wanted` letters the limits allow. Sees to it that the relay's sheet tells of what will be sent; where others share the relay, that can be
    /// once the letters are claimed, unless it is known that there is little left and much to send.
    async fn allowance(&mut self, wanted: u16, urgent: bool) -> u16 {
        let Some(mut allowed) = self.bench.room() else { return wanted };
        if !allowed.known {
            if self.member.is_shared() || !self.read_sheet().await {
                return 0;
            }
            allowed = self.bench.room().unwrap_or(allowed);
        }
        let room = |allowed: Allowed| if urgent { allowed.room.urgent } else { allowed.room.any };
        let many = |count: u64| u16::try_from(count).unwrap_or(u16::MAX).min(wanted);
        let ahead = !self.member.is_shared() || self.throttled.is_some() || self.held_back;
        if !ahead {
            return many(room(allowed));
        }
        let short = room(allowed).min(u64::from(wanted)) > allowed.credit;
        if short && (self.member.is_shared() || allowed.stale) {
            self.wished = u64::from(many(room(allowed)));
            self.write_sheet(false).await;
            self.wished = 0;
            allowed = self.bench.room().unwrap_or(allowed);
        }
        many(room(allowed).min(allowed.credit))
    }

    /// Whether a limit keeps letters waiting. Once it does, that holds until everything that is due can go: a relay at its limit is not news every second.
    pub(super) fn note_throttle(&mut self) {
        let spent = self.bench.spent_up();
        let waits =
            spent.is_some() || self.throttled.is_some() && (self.held_back || self.queues.iter().any(|queue| !queue.pending.is_empty()));
        if !waits {
            self.throttled = None;
        } else if let Some(spent) = spent {
            let reason = spent.sentence(Instant::now(), self.clock.now());
            if self.throttled.is_none() {
                tracing::info!(relay = %self.plan.name, reason = %reason, "the relay is throttled");
            }
            self.throttled = Some(Throttle { reason, until: spent.until });
        }
    }

    fn adapt_batch(&mut self) {
        let now = Instant::now();
        if let Some(lasted) = self.last_full_claim.replace(now).map(|last| now - last) {
            if lasted < BATCH_LASTS.0 {
                self.batch = self.batch.saturating_mul(2).min(MOST_CLAIMED);
            } else if lasted > BATCH_LASTS.1 {
                self.batch = (self.batch / 2).max(smallest_batch(&self.plan));
            }
        }
    }
}

/// What a claim says of the queue that it was made on.
fn caught(leases: &[Lease], wish: Wish, took: Duration) -> Catch {
    let bytes: usize = leases.iter().map(|lease| lease.bytes.len()).sum();
    let by_lane = usize::from(wish.limit - wish.share);
    let reached = leases.get(..by_lane.min(leases.len())).and_then(<[Lease]>::last).map(|lease| lease.lane);
    // A claim may also end at its bytes; the next letter was too long for it, so it need not have come close.
    let full = leases.len() >= usize::from(wish.limit) || bytes > CLAIM_BYTES / 2;
    Catch { full, empty: leases.is_empty(), reached, took }
}
