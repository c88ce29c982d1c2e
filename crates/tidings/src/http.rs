//! The HTTP surface of the server, put together from the rooms' routes.

pub mod batches;
pub mod bounces;
pub mod keeper;
pub mod metrics;
pub mod readiness;

use crate::{agent, assemble::House, clock};
use axum::Router;
use readiness::HouseReadiness;
use std::{sync::Arc, time::SystemTime};
use tidings_console::api::Window;
use tidings_core::Clock;
use tidings_sources::scim::Scim;
use tidings_web::{GateLimits, RequestIds, Surface, TokenGate, health_routes};
use tokio::sync::watch;

/// All routes of `tidings serve`, or of `tidings agent`, which has its own page in place of SCIM.
///
/// # Errors
/// If the system has no random numbers for request ids.
pub fn router(
    house: &House,
    scim: &Arc<Scim>,
    relays: watch::Receiver<Vec<String>>,
    readiness: Arc<HouseReadiness>,
    metrics: metrics::Exposition,
    agent: Option<&agent::Links>,
) -> anyhow::Result<Router> {
    let keeper = Arc::new(keeper::StoreKeeper(house.store.clone()));
    let mut gate = TokenGate::new(keeper, || SystemTime::from(clock::SystemClock.now()), GateLimits::default());
    if house.server.clients.is_some() {
        gate = gate.with_certificates();
    }
    let batches = Arc::new(batches::IntakeEnder(Arc::clone(&house.intake)));
    let window = Window { store: house.store.clone(), nodes: house.store.clone(), bounces: house.store.clone(), relays, batches };
    let only = match agent {
        Some(links) => links.routes(house, &gate),
        None => scim.routes(&gate),
    };
    let routes = Router::new()
        .merge(tidings_sources::api::routes(Arc::clone(&house.intake), &gate, max_body(house), agent.map(agent::Links::screen)))
        .merge(only)
        .merge(bounces::routes(Arc::clone(&house.reports), &gate, max_body(house)))
        .merge(tidings_console::api::routes(window, &gate))
        .merge(health_routes(readiness))
        .merge(metrics.routes());
    Ok(Surface::new(RequestIds::seeded(u64::from_le_bytes(clock::random()?))).over(routes))
}

/// The service for identity providers; its directories come later.
pub fn scim(house: &House) -> Arc<Scim> {
    Arc::new(Scim::new(Arc::clone(&house.feed), &house.server.public_url, max_body(house)))
}

fn max_body(house: &House) -> usize {
    usize::try_from(house.server.max_body_bytes).unwrap_or(usize::MAX)
}
