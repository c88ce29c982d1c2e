//! The event API: `POST /v1/events` (CloudEvents 1.0 over HTTP, all three content modes) and `GET /v1/events/{id}/trace`.

mod events;
mod media;
mod trace;

use axum::{
    Router,
    routing::{get, post},
};
use serde_json::Value;
use std::sync::Arc;
use tidings_core::event::Fault;
use tidings_intake::Intake;
use tidings_web::{Scope, TokenGate, limits::body_limit};

/// Looks at posted events before anybody reads them: a house that takes only some, or has something to add to them, plugs one in.
pub trait Screen: Send + Sync {
    /// The events as they are to be read, in the same number and order. `batch` says whether the pointers of faults count the events (`/3/type`) or not (`/type`).
    ///
    /// # Errors
    /// Why none of them is let through.
    fn pass(&self, events: Vec<Value>, batch: bool) -> Result<Vec<Value>, ScreenError>;
}

/// Why events are not let through.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// What is wrong with them.
    #[error("{} of the posted values cannot be accepted", .0.len())]
    Faulty(Vec<Fault>),
    /// What they need cannot be made now.
    #[error("{0}")]
    Unavailable(String),
}

/// Where posted events go.
#[derive(Clone)]
struct Door {
    intake: Arc<Intake>,
    screen: Option<Arc<dyn Screen>>,
}

/// The event API's routes, guarded by the tokens' scopes. `max_body` is the longest accepted request in bytes. Events pass the screen, if there is one.
pub fn routes(intake: Arc<Intake>, gate: &TokenGate, max_body: usize, screen: Option<Arc<dyn Screen>>) -> Router {
    let post_events = post(events::events_post).layer(body_limit(max_body)).layer(gate.require(Scope::EventsWrite));
    let get_trace = get(trace::event_trace).layer(gate.require(Scope::OutboxRead));
    Router::new().route("/v1/events", post_events).route("/v1/events/{id}/trace", get_trace).with_state(Door { intake, screen })
}
