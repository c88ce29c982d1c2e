//! The postman: a desk for each relay, one settler, the tick of expiry, and the operator's word.

use crate::{
    bench::{Bench, BenchParts, replies_of},
    courier::{Courier, SessionEnd, Source},
    drain::{DrainWatch, Remarks},
    file::FileCourier,
    graph::GraphCourier,
    house::House,
    news::Newswire,
    pickup::PickupCourier,
    plan::{RelayPlan, Way},
    relay_desk::{DeskParts, RelayDesk, RelayStatus},
    roster::Roster,
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
    outbox::{Outcome, Settlement},
};
use tidings_store::{Store, Tenure};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, timeout, timeout_at},
};

/// Items expired in one verb.
const EXPIRE_AT_ONCE: u32 = 1000;
/// How long the last outcomes may take to be written once the deadline of a stop has passed.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// So long a relay's new desk waits for the letters that the old one has on the wire, before it begins beside it.
const HANDING_OVER: Duration = Duration::from_secs(30);
/// How often paused relays and expired letters are looked for.
const TICK: Duration = Duration::from_secs(1);

/// What the postman goes by, and may be told anew while at work ([`Postman::refit`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The ways out, in order.
    pub relays: Vec<RelayPlan>,
    /// What may leave.
    pub guard: EnvironmentGuard,
    /// Where everything goes when the guard's mode is `file`.
    pub file: Option<PathBuf>,
}

/// Everything a postman needs.
pub struct PostmanOptions {
    /// The outbox.
    pub store: Arc<dyn Store>,
    /// The ways out, and what may leave.
    pub route: Route,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// This node's membership: its name in leases, and until when it may use them. If it can end, there may be other nodes, and the limits of a relay hold for all of them together.
    pub tenure: Arc<Tenure>,
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

/// What another route changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refit {
    /// Relays that are new.
    pub added: Vec<String>,
    /// Relays that go on with another plan or another guard.
    pub changed: Vec<String>,
    /// Relays that are no longer there; their letters wait until they are.
    pub removed: Vec<String>,
}

/// Delivers what is due. Dropping it cuts everything off; [`Postman::stop`] ends it in order.
pub struct Postman {
    stop: watch::Sender<bool>,
    desks: JoinSet<()>,
    keeper: Task,
    settler: Task,
    hands: Vec<Hand>,
    route: Route,
    crew: Crew,
}

/// A task that ends with the one who holds it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A relay's desk at work, seen from the postman.
struct Hand {
    plan: RelayPlan,
    stop: watch::Sender<bool>,
    /// Closed when the desk has ended.
    working: watch::Receiver<()>,
    status: Arc<Mutex<RelayStatus>>,
}

/// What all desks are given.
struct Crew {
    store: Arc<dyn Store>,
    house: Arc<House>,
    standings: Arc<Standings>,
    roster: Arc<Roster>,
    outcomes: mpsc::UnboundedSender<Settlement>,
    clock: Arc<dyn Clock>,
    seed: u64,
    news: Newswire,
    shared: bool,
    recovered: watch::Receiver<bool>,
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
        Way::Graph(graph) => Arc::new(GraphCourier::new(graph.clone(), plan.limits, plan.timeouts, Arc::clone(clock))),
        Way::Pickup(pickup) => Arc::new(PickupCourier::new(pickup.clone())),
        Way::File { path } => Arc::new(FileCourier::new(path.clone(), Arc::clone(clock))),
    }
}

/// In the modes `file` and `off` no relay is ever spoken to: one file, or nobody, takes the place of all couriers.
fn stand_in(route: &Route, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Courier>> {
    match (route.guard.mode(), &route.file) {
        (Mode::File, Some(path)) => Some(Arc::new(FileCourier::new(path.clone(), Arc::clone(clock)))),
        (Mode::File, None) | (Mode::Off, _) => Some(Arc::new(Nobody)),
        (Mode::Live | Mode::Redirect, _) => None,
    }
}

fn names(route: &Route) -> Vec<(String, Option<String>)> {
    route.relays.iter().map(|plan| (plan.name.clone(), plan.next.clone())).collect()
}

impl Crew {
    /// Sets a relay's desk to work; if another one is at work for it already, once that has ended, or the time for that is over.
    fn hire(&self, desks: &mut JoinSet<()>, route: &Route, plan: RelayPlan, place: usize, before: Option<Hand>) -> Hand {
        let (stop, stopped) = watch::channel(false);
        let (at_work, working) = watch::channel(());
        let (status, before) = if let Some(hand) = before {
            (hand.status, Some(hand.working))
        } else {
            let status = RelayStatus { name: plan.name.clone(), condition: "open", reason: None, paused: false, sessions: 0, leased: 0 };
            (Arc::new(Mutex::new(status)), None)
        };
        let stand_in = stand_in(route, &self.clock);
        // What takes the relay's place is this node's own.
        let shared = self.shared && stand_in.is_none();
        let courier = stand_in.clone().unwrap_or_else(|| courier_for(&plan, &self.clock));
        let relay = Arc::clone(&self.standings.place(place).name);
        let bench = Arc::new(Bench::new(BenchParts {
            relay: Arc::clone(&relay),
            guard: route.guard.clone(),
            to_file: route.guard.mode() == Mode::File && route.file.is_some(),
            retry: plan.retry.clone(),
            clock: Arc::clone(&self.clock),
            house: Arc::clone(&self.house),
            outcomes: self.outcomes.clone(),
            seed: self.seed ^ (place as u64 + 1),
            rates: plan.rates,
            shared,
            replies: replies_of(&plan),
            news: self.news.clone(),
            return_paths: plan.return_paths.clone(),
        }));
        self.roster.enter(relay, &bench);
        let remarks = Arc::new(Remarks::default());
        if let (Way::Pickup(pickup), None) = (&plan.way, &stand_in) {
            let (clock, news, remarks) = (Arc::clone(&self.clock), self.news.clone(), Arc::clone(&remarks));
            desks.spawn(DrainWatch::new(plan.name.clone(), pickup.clone(), clock, news, remarks).run(stopped.clone()));
        }
        let parts = DeskParts {
            plan: plan.clone(),
            courier,
            bench,
            store: Arc::clone(&self.store),
            house: Arc::clone(&self.house),
            clock: Arc::clone(&self.clock),
            place,
            standings: Arc::clone(&self.standings),
            status: Arc::clone(&status),
            news: self.news.clone(),
            remarks,
            shared,
        };
        let (mut ended, mut recovered) = (stopped.clone(), self.recovered.clone());
        desks.spawn(async move {
            // Held until this desk has ended, so that the next one can see it.
            let _at_work = at_work;
            let ready = async {
                if let Some(mut before) = before {
                    let _ = timeout(HANDING_OVER, async { while before.changed().await.is_ok() {} }).await;
                }
                recovered.wait_for(|recovered| *recovered).await.is_ok()
            };
            tokio::select! {
                ready = ready => if !ready { return },
                _ = ended.wait_for(|ended| *ended) => return,
            }
            RelayDesk::new(parts).run(stopped).await;
        });
        Hand { plan, stop, working, status }
    }
}

impl Postman {
    /// Begins to deliver. Takes back first what this node had leased before it died. To be called inside a tokio runtime.
    pub fn start(options: PostmanOptions) -> Self {
        let PostmanOptions { store, route, clock, tenure, seed, news } = options;
        let (outcomes, written) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let (ready, recovered) = watch::channel(false);
        let standings = Arc::new(Standings::new(&names(&route)));
        let (house, roster) = (Arc::new(House::of(Arc::clone(&tenure))), Arc::new(Roster::default()));
        // A place that nobody else can take is that of the only node.
        let shared = tenure.left().is_some();
        let crew = Crew { store, house, standings, roster, outcomes, clock, seed, news, shared, recovered };
        let mut desks = JoinSet::new();
        let hands = route.relays.iter().enumerate().map(|(place, plan)| crew.hire(&mut desks, &route, plan.clone(), place, None)).collect();
        let keeper = Keeper {
            store: Arc::clone(&crew.store),
            tenure,
            standings: Arc::clone(&crew.standings),
            roster: Arc::clone(&crew.roster),
            ready,
            stopped,
        };
        let (house, roster) = (Arc::clone(&crew.house), Arc::clone(&crew.roster));
        let settler = Task(tokio::spawn(Settler { store: Arc::clone(&crew.store), outcomes: written, house, roster }.run()));
        let keeper = Task(tokio::spawn(keeper.run()));
        Self { stop, desks, keeper, settler, hands, route, crew }
    }

    /// Goes by another route from now on, without cutting anything off: relays whose plan and guard stay as they are are not touched; the desk of one that changes, or is no
    /// longer there, finishes what it has on the wire and gives the rest back, and then the new one begins.
    pub fn refit(&mut self, route: Route) -> Refit {
        let mut refit = Refit::default();
        let all_change = (&route.guard, &route.file) != (&self.route.guard, &self.route.file);
        let places = self.crew.standings.arrange(&names(&route));
        let mut before = std::mem::take(&mut self.hands);
        for (plan, place) in route.relays.iter().zip(places) {
            let known = before.iter().position(|hand| hand.plan.name == plan.name).map(|index| before.swap_remove(index));
            let hand = match known {
                Some(hand) if !all_change && hand.plan == *plan => hand,
                Some(hand) => {
                    hand.stop.send_replace(true);
                    refit.changed.push(plan.name.clone());
                    self.crew.hire(&mut self.desks, &route, plan.clone(), place, Some(hand))
                }
                None => {
                    refit.added.push(plan.name.clone());
                    self.crew.hire(&mut self.desks, &route, plan.clone(), place, None)
                }
            };
            self.hands.push(hand);
        }
        for hand in before {
            hand.stop.send_replace(true);
            refit.removed.push(hand.plan.name);
        }
        while self.desks.try_join_next().is_some() {}
        self.route = route;
        refit
    }

    /// How delivery stands.
    pub fn status(&self) -> Status {
        let relays = self.hands.iter().map(|hand| hand.status.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
        Status { suspended: self.crew.house.is_suspended(), unsettled: self.crew.house.unsettled(), relays }
    }

    /// Stops claiming, finishes what is on the wire, settles it, gives the rest back, ends. What is still on the wire at the deadline is cut off and settled as
    /// unknown. Gives whether everything ended in order and every outcome was written.
    pub async fn stop(self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let Self { stop, mut desks, keeper, mut settler, hands, crew, .. } = self;
        stop.send_replace(true);
        for hand in &hands {
            hand.stop.send_replace(true);
        }
        let in_order = timeout_at(until, async { while desks.join_next().await.is_some() {} }).await.is_ok();
        if !in_order {
            tracing::warn!("the deadline passed, sessions are cut off");
            desks.shutdown().await;
        }
        drop(keeper);
        let house = Arc::clone(&crew.house);
        // The settler ends by itself once every bench is gone, and with the crew the last sender of outcomes.
        drop((crew, hands));
        let latest = until.max(Instant::now() + LAST_WRITES);
        let written = timeout_at(latest, &mut settler.0).await.is_ok();
        if !written {
            tracing::error!(outcomes = house.unsettled(), "outcomes could not be written; their letters may be sent twice");
        }
        in_order && written
    }
}

/// Recovers at the start; then expires what is too old and watches for the operator's word.
struct Keeper {
    store: Arc<dyn Store>,
    tenure: Arc<Tenure>,
    standings: Arc<Standings>,
    roster: Arc<Roster>,
    ready: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tenure = self.tenure.changes();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                // It may have been over for a while, and whoever wanted a letter then waits.
                Ok(()) = tenure.changed() => {
                    self.roster.rouse();
                    continue;
                }
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
        match self.store.recover(&self.tenure.name()).await {
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
        for (place, name) in self.standings.names().into_iter().enumerate() {
            let paused = standings.iter().any(|standing| standing.name == *name && standing.paused_at.is_some());
            if self.standings.pause(place, paused) {
                tracing::info!(relay = %name, paused, "the operator's word");
                self.roster.rouse_relay(&name);
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
