//! The event API: `POST /v1/events` (CloudEvents 1.0 over HTTP, all three content modes) and `GET /v1/events/{id}/trace`.

mod events;
mod media;
mod trace;

use axum::{
    Router,
    routing::{get, post},
};
use std::sync::Arc;
use tidings_intake::Intake;
use tidings_web::{Scope, TokenGate, limits::body_limit};

/// The event API's routes, guarded by the tokens' scopes. `max_body` is the longest accepted request in bytes.
pub fn routes(intake: Arc<Intake>, gate: &TokenGate, max_body: usize) -> Router {
    let post_events = post(events::events_post).layer(body_limit(max_body)).layer(gate.require(Scope::EventsWrite));
    let get_trace = get(trace::event_trace).layer(gate.require(Scope::OutboxRead));
    Router::new().route("/v1/events", post_events).route("/v1/events/{id}/trace", get_trace).with_state(intake)
}
