//! The postman: a desk for each relay, one settler, the tick of expiry, and the operator's word.

use crate::{
    bench::{Bench, BenchParts, replies_of},
    courier::{Courier, SessionEnd, Source},
    drain::{DrainWatch, Remarks},
    file::FileCourier,
    house::House,
    news::Newswire,
    pickup::PickupCourier,
    plan::{RelayPlan, Way},
    relay_desk::{DeskParts, RelayDesk, RelayStatus},
    settler::Settler,
    smtp::SmtpCourier,
    standings::Standings,
};
use async_trait::async_trait;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidings_core::{
    Clock,
    guard::{EnvironmentGuard, Mode},
    outbox::Outcome,
};
use tidings_store::Store;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, timeout_at},
};

/// Items expired in one verb.
const EXPIRE_AT_ONCE: u32 = 1000;
/// How long the last outcomes may take to be written once the deadline of a stop has passed.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// How often paused relays and expired letters are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Everything a postman needs.
pub struct PostmanOptions {
    /// The outbox.
    pub store: Arc<dyn Store>,
    /// The ways out.
    pub relays: Vec<RelayPlan>,
    /// What may leave.
    pub guard: EnvironmentGuard,
    /// Where everything goes when the guard's mode is `file`.
    pub file: Option<PathBuf>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// This node's name in leases; the same after a restart, so that its old leases come back at once.
    pub node: String,
    /// For the jitter of delays.
    pub seed: u64,
    /// Where news of the relays is told.
    pub news: Newswire,
}

/// How delivery stands in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether delivery has stopped because outcomes cannot be written.
    pub suspended: bool,
    /// Outcomes known and not written yet.
    pub unsettled: usize,
    /// One entry a relay, in the order of the configuration.
    pub relays: Vec<RelayStatus>,
}

/// Delivers what is due. Dropping it cuts everything off; [`Postman::stop`] ends it in order.
pub struct Postman {
    stop: watch::Sender<bool>,
    desks: JoinSet<()>,
    keeper: JoinHandle<()>,
    settler: JoinHandle<()>,
    house: Arc<House>,
    statuses: Vec<Arc<Mutex<RelayStatus>>>,
}

/// The courier for a house that lets nothing out. It asks for letters, so that the guard's word on each is noted, and is never given one.
struct Nobody;

#[async_trait]
impl Courier for Nobody {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        source.opened();
        while let Some(load) = source.next().await {
            source.report(load.item, Outcome::Withheld { why: "nothing may leave this house".to_owned() });
        }
        SessionEnd::Done
    }
}

/// The courier of a plan.
pub(crate) fn courier_for(plan: &RelayPlan, clock: &Arc<dyn Clock>) -> Arc<dyn Courier> {
    match &plan.way {
        Way::Smtp(smtp) => Arc::new(SmtpCourier::new(smtp.clone(), plan.limits, plan.timeouts).with_clock(clock)),
        Way::Pickup(pickup) => Arc::new(PickupCourier::new(pickup.clone())),
        Way::File { path } => Arc::new(FileCourier::new(path.clone(), Arc::clone(clock))),
    }
}

impl Postman {
    /// Begins to deliver. Takes back first what this node had leased before it died. To be called inside a tokio runtime.
    pub fn start(options: PostmanOptions) -> Self {
        let PostmanOptions { store, relays, guard, file, clock, node, seed, news } = options;
        let house = Arc::new(House::default());
        let (outcomes, written) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let (ready, recovered) = watch::channel(false);
        let mut desks = JoinSet::new();
        let (mut benches, mut statuses) = (Vec::new(), Vec::new());
        let names: Vec<_> = relays.iter().map(|plan| (plan.name.clone(), plan.next.clone())).collect();
        let standings = Arc::new(Standings::new(&names));
        // In the modes `file` and `off` no relay is ever spoken to: one file, or nobody, takes the place of all couriers.
        let to_file = guard.mode() == Mode::File && file.is_some();
        let stand_in: Option<Arc<dyn Courier>> = match (guard.mode(), file) {
            (Mode::File, Some(path)) => Some(Arc::new(FileCourier::new(path, Arc::clone(&clock)))),
            (Mode::File, None) | (Mode::Off, _) => Some(Arc::new(Nobody)),
            (Mode::Live | Mode::Redirect, _) => None,
        };
        for (place, plan) in relays.into_iter().enumerate() {
            let courier = stand_in.clone().unwrap_or_else(|| courier_for(&plan, &clock));
            let bench = Arc::new(Bench::new(BenchParts {
                relay: Arc::clone(&standings.place(place).name),
                guard: guard.clone(),
                to_file,
                retry: plan.retry.clone(),
                clock: Arc::clone(&clock),
                house: Arc::clone(&house),
                outcomes: outcomes.clone(),
                seed: seed ^ (place as u64 + 1),
                rates: plan.rates,
                replies: replies_of(&plan),
                news: news.clone(),
            }));
            let remarks = Arc::new(Remarks::default());
            if let (Way::Pickup(pickup), None) = (&plan.way, &stand_in) {
                let (clock, news, remarks) = (Arc::clone(&clock), news.clone(), Arc::clone(&remarks));
                desks.spawn(DrainWatch::new(plan.name.clone(), pickup.clone(), clock, news, remarks).run(stopped.clone()));
            }
            let status = RelayStatus { name: plan.name.clone(), condition: "open", reason: None, paused: false, sessions: 0, leased: 0 };
            let status = Arc::new(Mutex::new(status));
            benches.push(Arc::downgrade(&bench));
            statuses.push(Arc::clone(&status));
            let parts = DeskParts {
                plan,
                courier,
                bench,
                store: Arc::clone(&store),
                house: Arc::clone(&house),
                clock: Arc::clone(&clock),
                node: node.clone(),
                place,
                standings: Arc::clone(&standings),
                status,
                news: news.clone(),
                remarks,
            };
            let (mut stopped, mut recovered) = (stopped.clone(), recovered.clone());
            desks.spawn(async move {
                tokio::select! {
                    waited = recovered.wait_for(|recovered| *recovered) => if waited.is_err() { return },
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
                RelayDesk::new(parts).run(stopped).await;
            });
        }
        let keeper = Keeper { store: Arc::clone(&store), node, standings, benches: benches.clone(), ready, stopped };
        let settler = tokio::spawn(Settler { store, outcomes: written, house: Arc::clone(&house), benches }.run());
        let keeper = tokio::spawn(keeper.run());
        Self { stop, desks, keeper, settler, house, statuses }
    }

    /// How delivery stands.
    pub fn status(&self) -> Status {
        let relays = self.statuses.iter().map(|status| status.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
        Status { suspended: self.house.is_suspended(), unsettled: self.house.unsettled(), relays }
    }

    /// Stops claiming, finishes what is on the wire, settles it, gives the rest back, ends. What is still on the wire at the deadline is cut off and settled as
    /// unknown. Gives whether everything ended in order and every outcome was written.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        self.stop.send_replace(true);
        let in_order = timeout_at(until, async { while self.desks.join_next().await.is_some() {} }).await.is_ok();
        if !in_order {
            tracing::warn!("the deadline passed, sessions are cut off");
            self.desks.shutdown().await;
        }
        self.keeper.abort();
        // The settler ends by itself once every bench is gone.
        let latest = until.max(Instant::now() + LAST_WRITES);
        let written = timeout_at(latest, &mut self.settler).await.is_ok();
        if !written {
            tracing::error!(outcomes = self.house.unsettled(), "outcomes could not be written; their letters may be sent twice");
            self.settler.abort();
        }
        in_order && written
    }
}

impl Drop for Postman {
    fn drop(&mut self) {
        self.keeper.abort();
        self.settler.abort();
    }
}

/// Recovers at the start; then expires what is too old and watches for the operator's word.
struct Keeper {
    store: Arc<dyn Store>,
    node: String,
    standings: Arc<Standings>,
    benches: Vec<std::sync::Weak<Bench>>,
    ready: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            }
            self.hear_operator().await;
            if !*self.ready.borrow() {
                self.recover().await;
            }
            self.expire().await;
        }
    }

    async fn recover(&self) {
        match self.store.recover(&self.node).await {
            Ok(count) => {
                if count > 0 {
                    tracing::info!(items = count, "took back what was leased when this node last ended; some of it may arrive twice");
                }
                self.ready.send_replace(true);
            }
            Err(error) => tracing::warn!(error = %error, "old leases cannot be taken back yet, delivery waits"),
        }
    }

    async fn hear_operator(&self) {
        let standings = match self.store.relays().await {
            Ok(standings) => standings,
            Err(error) => return tracing::debug!(error = %error, "the operator's word cannot be read"),
        };
        for (index, (place, bench)) in self.standings.places().iter().zip(&self.benches).enumerate() {
            let wanted = standings.iter().any(|standing| standing.name == *place.name && standing.paused_at.is_some());
            if self.standings.pause(index, wanted) {
                tracing::info!(relay = %place.name, paused = wanted, "the operator's word");
                if let Some(bench) = bench.upgrade() {
                    bench.rouse();
                }
            }
        }
    }

    async fn expire(&self) {
        loop {
            match self.store.expire(EXPIRE_AT_ONCE).await {
                Ok(count) if count >= u64::from(EXPIRE_AT_ONCE) => {}
                Ok(_) => return,
                Err(error) => return tracing::debug!(error = %error, "letters cannot be expired now"),
            }
        }
    }
}
