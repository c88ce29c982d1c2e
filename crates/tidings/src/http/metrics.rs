//! `/metrics` in the Prometheus text format. Counters and histograms come from the rooms; the depth of the outbox is asked for when somebody looks.

use axum::{
    Router,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidings_core::{Clock, Lane, Timestamp, outbox::State as ItemState};
use tidings_store::{Database, DirectoryStanding};

/// Buckets of latencies, in seconds: from a millisecond to four days.
const LATENCY_SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 345_600.0];

/// What answers `/metrics`.
#[derive(Clone)]
pub struct Exposition {
    handle: PrometheusHandle,
    store: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
}

impl Exposition {
    /// Starts recording; once per process.
    ///
    /// # Errors
    /// If a recorder is installed already.
    pub fn install(store: Arc<dyn Database>, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_SECONDS)?
            .install_recorder()?;
        describe();
        Ok(Self { handle, store, clock })
    }

    /// The route.
    pub fn routes(self) -> Router {
        Router::new().route("/metrics", get(metrics_show)).with_state(self)
    }

    /// Keeps memory bounded while nobody looks.
    pub async fn upkeep(self) {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            self.handle.run_upkeep();
        }
    }
}

fn describe() {
    metrics::describe_counter!("tidings_events_accepted_total", "Events accepted, by kind");
    metrics::describe_counter!(
        "tidings_mailbox_mails_total",
        "Mails read in the mailbox of reports, by what they are: report, known, other"
    );
    metrics::describe_gauge!("tidings_mailbox_held", "1 while the mailbox of reports cannot be read");
    metrics::describe_counter!("tidings_events_duplicate_total", "Events that were known already, by kind");
    metrics::describe_counter!("tidings_letters_accepted_total", "Letters accepted into the outbox, by kind");
    metrics::describe_counter!("tidings_sent_total", "Letters a relay took, by relay and lane");
    metrics::describe_counter!("tidings_refused_total", "Refusals of a letter or recipient, by relay and class");
    metrics::describe_counter!("tidings_retried_total", "Letters that will be tried again, by relay");
    metrics::describe_counter!("tidings_unknown_total", "Attempts whose outcome nobody knows, by relay");
    metrics::describe_histogram!(
        "tidings_accept_to_sent_seconds",
        metrics::Unit::Seconds,
        "Time from acceptance to the relay's 250, by lane"
    );
    metrics::describe_gauge!("tidings_queue_items", "Items on their way, by lane and state");
    metrics::describe_gauge!("tidings_queue_oldest_seconds", "Age of the oldest item on its way, by lane and state");
    metrics::describe_gauge!("tidings_relay_held", "1 while a relay is held because of trouble");
    metrics::describe_gauge!("tidings_sessions", "Open sessions, by relay");
    metrics::describe_gauge!("tidings_nodes", "Living nodes that serve the database");
    metrics::describe_counter!("tidings_nodes_lapsed_total", "Nodes whose work this one has taken back");
    metrics::describe_gauge!("tidings_directory_objects", "Objects mirrored, by directory");
    metrics::describe_gauge!("tidings_directory_failing", "1 while a directory's source fails");
    metrics::describe_gauge!("tidings_directory_loaded", "1 once a directory's first load is complete");
    metrics::describe_gauge!("tidings_directory_heard_seconds", "Time since a directory's source was last heard of in good order");
}

async fn metrics_show(State(exposition): State<Exposition>) -> Response {
    match exposition.store.depths().await {
        Ok(depths) => {
            let now = exposition.clock.now();
            let mut sums: BTreeMap<(Lane, &'static str), (u64, f64)> = BTreeMap::new();
            for lane in Lane::ALL {
                for state in [ItemState::Held, ItemState::Waiting, ItemState::Claimed] {
                    sums.insert((lane, state.as_str()), (0, 0.0));
                }
            }
            for depth in depths {
                let sum = sums.entry((depth.lane, depth.state.as_str())).or_default();
                sum.0 += depth.items;
                sum.1 = sum.1.max(now.duration_since(depth.oldest).as_secs_f64());
            }
            for ((lane, state), (items, oldest)) in sums {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                metrics::gauge!("tidings_queue_items", "lane" => lane.as_str(), "state" => state).set(items as f64);
                metrics::gauge!("tidings_queue_oldest_seconds", "lane" => lane.as_str(), "state" => state).set(oldest);
            }
        }
        Err(error) => tracing::warn!(error = %error, "the outbox cannot be counted for /metrics"),
    }
    match exposition.store.nodes().await {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        Ok(nodes) => metrics::gauge!("tidings_nodes").set(nodes.len() as f64),
        Err(error) => tracing::warn!(error = %error, "the nodes cannot be counted for /metrics"),
    }
    match exposition.store.directories().await {
        Ok(standings) => standings.iter().for_each(|standing| directory(standing, exposition.clock.now())),
        Err(error) => tracing::warn!(error = %error, "the directories cannot be counted for /metrics"),
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition.handle.render()).into_response()
}

fn directory(standing: &DirectoryStanding, now: Timestamp) {
    let name = || standing.name.clone();
    let flag = |set: bool| if set { 1.0 } else { 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    metrics::gauge!("tidings_directory_objects", "directory" => name()).set(standing.objects as f64);
    metrics::gauge!("tidings_directory_failing", "directory" => name()).set(flag(standing.failed_at.is_some()));
    metrics::gauge!("tidings_directory_loaded", "directory" => name()).set(flag(standing.loaded_at.is_some()));
    if let Some(heard_at) = standing.heard_at {
        metrics::gauge!("tidings_directory_heard_seconds", "directory" => name()).set(now.duration_since(heard_at).as_secs_f64());
    }
}
