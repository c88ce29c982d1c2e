//! `/v1/outbox`, `/v1/guard`, `/v1/bounces`, `/v1/addresses`, `/v1/relays` and `/v1/nodes`.

mod bounces;
mod guard;
mod nodes;
mod outbox;
mod relays;

pub use guard::{BatchEnder, NotEnded};

use axum::{
    Router,
    routing::{get, post},
};
use std::sync::Arc;
use tidings_store::{Bounces, Nodes, Store, StoreError};
use tidings_web::{Problem, Scope, TokenGate};
use tokio::sync::watch;

/// What the window looks at.
pub struct Window {
    /// The outbox.
    pub store: Arc<dyn Store>,
    /// Who serves it.
    pub nodes: Arc<dyn Nodes>,
    /// What came back.
    pub bounces: Arc<dyn Bounces>,
    /// The configured relays, in their order; they may change while the house is open.
    pub relays: watch::Receiver<Vec<String>>,
    /// Ends batches of the flood guard.
    pub batches: Arc<dyn BatchEnder>,
}

/// The routes, guarded by the tokens' scopes: reading needs `outbox:read`, acting `outbox:write`.
pub fn routes(window: Window, gate: &TokenGate) -> Router {
    let read = |route: axum::routing::MethodRouter<Arc<Window>>| route.layer(gate.require(Scope::OutboxRead));
    let write = |route: axum::routing::MethodRouter<Arc<Window>>| route.layer(gate.require(Scope::OutboxWrite));
    Router::new()
        .route("/v1/outbox", read(get(outbox::outbox_list)))
        .route("/v1/outbox/{id}", read(get(outbox::outbox_show)))
        .route("/v1/outbox/{id}/{action}", write(post(outbox::outbox_act)))
        .route("/v1/guard", read(get(guard::guard_list)))
        .route("/v1/guard/{id}", read(get(guard::guard_show)))
        .route("/v1/guard/{id}/{action}", write(post(guard::guard_act)))
        .route("/v1/nodes", read(get(nodes::node_list)))
        .route("/v1/bounces", read(get(bounces::report_list)))
        .route("/v1/addresses", read(get(bounces::address_list)))
        .route("/v1/addresses/{address}/{action}", write(post(bounces::address_act)))
        .route("/v1/relays", read(get(relays::relay_list)))
        .route("/v1/relays/{name}/{action}", write(post(relays::relay_act)))
        .with_state(Arc::new(window))
}

fn failed(error: StoreError) -> Problem {
    tracing::error!(error = %error, "the database cannot be asked");
    Problem::unavailable("the database cannot be used now", std::time::Duration::from_secs(5))
}
