//! The herald: hears the news, and tells it by letter and by webhook.

use crate::{
    alert::Alert,
    watch::{Now, Watch, Way},
    webhook::{self, Webhook},
};
use async_trait::async_trait;
use serde_json::Value;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tidings_core::Clock;
use tidings_delivery::news::{Newswire, RelayNews};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    task::JoinHandle,
    time::Instant,
};

/// Alerts kept while the door does not take them (the disk is full, say); beyond it the oldest is given up. The same for those on the way to the webhook.
const MOST_WAITING: usize = 64;
/// Between tries at the door: the first delay and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The house's one door for events.
#[async_trait]
pub trait Door: Send + Sync + 'static {
    /// Accepts a CloudEvent whose letters go by this relay. What it has accepted is on disk; an event known already counts as accepted.
    ///
    /// # Errors
    /// In words, if it cannot be recorded now.
    async fn accept(&self, event: Value, relay: &str) -> Result<(), String>;
}

/// What a herald goes by, and may be told anew while at work ([`Herald::refit`]).
pub struct HeraldPlan {
    /// The relays in their order.
    pub ways: Vec<Way>,
    /// The relay that letters about others go by, if it works.
    pub preferred: Option<String>,
    /// How long a relay must be held before anybody is told.
    pub after: Duration,
    /// Where news is posted.
    pub webhook: Option<Webhook>,
}

/// What a herald needs.
pub struct HeraldOptions {
    /// Where news is told.
    pub news: Newswire,
    /// What it goes by.
    pub plan: HeraldPlan,
    /// The house's door.
    pub door: Arc<dyn Door>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Whether this herald tells what all nodes hear of: that a relay is held, or works again. What only this node knows, it tells in any case.
    pub tells: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Tells administrators of relays in trouble. Dropping it ends its work; letters that were accepted are in the outbox by then.
pub struct Herald {
    task: JoinHandle<()>,
    plans: mpsc::UnboundedSender<HeraldPlan>,
}

impl Herald {
    /// Begins to listen. To be called inside a tokio runtime, before the news is told.
    pub fn start(options: HeraldOptions) -> Self {
        let HeraldOptions { news, plan, door, clock, tells } = options;
        let HeraldPlan { ways, preferred, after, webhook } = plan;
        let (plans, told) = mpsc::unbounded_channel();
        let mut desk = Desk {
            watch: Watch::new(ways, preferred, after),
            door,
            to_webhook: None,
            clock,
            tells,
            letters: VecDeque::new(),
            try_at: Instant::now(),
            pause: RETRY.0,
        };
        desk.post_to(webhook);
        Self { task: tokio::spawn(desk.run(news.listen(), told)), plans }
    }

    /// Goes by another plan from now on. What is known of relays in trouble stays known; messages on their way to the webhook before are not given up.
    pub fn refit(&self, plan: HeraldPlan) {
        // A herald whose task has ended has nothing to tell any more.
        let _ = self.plans.send(plan);
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    watch: Watch,
    door: Arc<dyn Door>,
    to_webhook: Option<mpsc::Sender<Alert>>,
    clock: Arc<dyn Clock>,
    tells: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Alerts whose event the door has not taken yet.
    letters: VecDeque<Alert>,
    try_at: Instant,
    pause: Duration,
}

impl Desk {
    /// Posts to this webhook from now on. A task of its own ends when the last message that was handed to it has gone or been given up.
    fn post_to(&mut self, webhook: Option<Webhook>) {
        self.to_webhook = webhook.map(|webhook| {
            let (to_webhook, alerts) = mpsc::channel(MOST_WAITING);
            tokio::spawn(webhook::run(webhook, Arc::clone(&self.clock), alerts));
            to_webhook
        });
    }

    async fn run(mut self, mut heard: broadcast::Receiver<RelayNews>, mut plans: mpsc::UnboundedReceiver<HeraldPlan>) {
        loop {
            let wake = self.watch.next_at().into_iter().chain(Some(self.try_at).filter(|_| !self.letters.is_empty())).min();
            tokio::select! {
                news = heard.recv() => match news {
                    Ok(news) => {
                        let now = self.now();
                        let alert = self.watch.hear(news, now);
                        self.tell(alert);
                    }
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "news of relays came too fast; some of it is not told"),
                    Err(RecvError::Closed) => return,
                },
                Some(plan) = plans.recv() => {
                    let HeraldPlan { ways, preferred, after, webhook } = plan;
                    self.watch.refit(ways, preferred, after);
                    self.post_to(webhook);
                }
                () = async { match wake {
                    Some(wake) => tokio::time::sleep_until(wake).await,
                    None => std::future::pending().await,
                } } => {}
            }
            let now = self.now();
            let due = self.watch.due(now);
            self.tell(due);
            self.write().await;
        }
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), clock: self.clock.now() }
    }

    fn tell(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        for alert in alerts {
            if alert.shared && !(self.tells)() {
                tracing::debug!(relay = %alert.relay, alert = alert.matter.kind(), "another node tells");
                continue;
            }
            tracing::info!(relay = %alert.relay, alert = alert.matter.kind(), by = alert.by.as_deref(), "alert");
            if let Some(webhook) = &self.to_webhook
                && webhook.try_send(alert.clone()).is_err()
            {
                tracing::error!(relay = %alert.relay, "an alert cannot be handed to the webhook");
            }
            if alert.by.is_none() {
                tracing::warn!(relay = %alert.relay, "no relay is left by which a letter about this one could go");
                continue;
            }
            if self.letters.len() >= MOST_WAITING {
                tracing::error!("too many alerts wait to be written down, the oldest is given up");
                self.letters.pop_front();
            }
            self.letters.push_back(alert);
        }
    }

    /// Hands waiting alerts to the door, in order.
    async fn write(&mut self) {
        while self.try_at <= Instant::now() {
            let Some(alert) = self.letters.front() else { return };
            let Some(by) = &alert.by else { return };
            match self.door.accept(alert.event(), by).await {
                Ok(()) => {
                    self.letters.pop_front();
                    self.pause = RETRY.0;
                }
                Err(why) => {
                    tracing::warn!(relay = %alert.relay, error = %why, again_s = self.pause.as_secs(), "an alert cannot be written down");
                    self.try_at = Instant::now() + self.pause;
                    self.pause = (self.pause * 2).min(RETRY.1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tidings_core::{outbox::Stage, testing::FixedClock};
    use tidings_delivery::{
        courier::{RelayTrouble, TroubleKind},
        news::News,
    };

    /// Refuses so often, then takes everything.
    struct Stiff {
        refusals: Mutex<u32>,
        taken: mpsc::UnboundedSender<(Value, String)>,
    }

    #[async_trait]
    impl Door for Stiff {
        async fn accept(&self, event: Value, relay: &str) -> Result<(), String> {
            let mut refusals = self.refusals.lock().expect("no holder panics");
            if *refusals > 0 {
                *refusals -= 1;
                return Err("the disk is full".to_owned());
            }
            self.taken.send((event, relay.to_owned())).map_err(|error| error.to_string())
        }
    }

    #[tokio::test]
    async fn a_door_that_is_shut_for_a_while_delays_the_news_and_loses_none() {
        let news = Newswire::default();
        let (taken, mut events) = mpsc::unbounded_channel();
        let way = |name: &str| Way { name: name.to_owned(), next: None };
        let _herald = Herald::start(HeraldOptions {
            tells: Arc::new(|| true),
            news: news.clone(),
            plan: HeraldPlan { ways: vec![way("main"), way("backup")], preferred: None, after: Duration::from_millis(20), webhook: None },
            door: Arc::new(Stiff { refusals: Mutex::new(1), taken }),
            clock: Arc::new(FixedClock::at("2026-11-22T09:00:00Z")),
        });
        let trouble =
            RelayTrouble { stage: Stage::Connect, what: "refused".into(), hint: None, kind: TroubleKind::Unreachable, pause: None };
        news.tell("main", News::Held { trouble });
        let (held, by) = events.recv().await.expect("the herald lives");
        assert_eq!((held["type"].as_str(), by.as_str()), (Some("tidings.relay.held"), "backup"));
        news.tell("main", News::Recovered);
        let (recovered, by) = events.recv().await.expect("the herald lives");
        assert_eq!((recovered["type"].as_str(), by.as_str()), (Some("tidings.relay.recovered"), "main"));
    }

    #[tokio::test]
    async fn another_plan_keeps_what_is_known_of_relays_that_stay() {
        let news = Newswire::default();
        let (taken, mut events) = mpsc::unbounded_channel();
        let plan = |relays: &[&str]| {
            let ways = relays.iter().map(|name| Way { name: (*name).to_owned(), next: None }).collect();
            HeraldPlan { ways, preferred: None, after: Duration::from_millis(20), webhook: None }
        };
        let herald = Herald::start(HeraldOptions {
            tells: Arc::new(|| true),
            news: news.clone(),
            plan: plan(&["main", "backup"]),
            door: Arc::new(Stiff { refusals: Mutex::new(0), taken }),
            clock: Arc::new(FixedClock::at("2026-11-22T09:00:00Z")),
        });
        let trouble =
            RelayTrouble { stage: Stage::Connect, what: "refused".into(), hint: None, kind: TroubleKind::Unreachable, pause: None };
        news.tell("main", News::Held { trouble });
        let (held, by) = events.recv().await.expect("the herald lives");
        assert_eq!((held["type"].as_str(), by.as_str()), (Some("tidings.relay.held"), "backup"));
        herald.refit(plan(&["main", "third"]));
        news.tell("main", News::Recovered);
        let (over, by) = events.recv().await.expect("the herald lives");
        assert_eq!((over["type"].as_str(), by.as_str()), (Some("tidings.relay.recovered"), "main"), "that it was held is not forgotten");
    }
}
