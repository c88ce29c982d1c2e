//! Relays: list, pause, resume.

use super::{Window, failed};
use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tidings_core::outbox::State as ItemState;
use tidings_store::{Depth, RelayStanding};
use tidings_web::{Grant, Problem};

pub(super) async fn relay_list(State(window): State<Arc<Window>>) -> Result<Response, Problem> {
    let standings = window.store.relays().await.map_err(failed)?;
    let depths = window.store.depths().await.map_err(failed)?;
    let items: Vec<Value> = window.relays.borrow().iter().map(|name| describe(name, &standings, &depths)).collect();
    Ok(Json(json!({"items": items, "next": null})).into_response())
}

/// A relay with what is known of it and what waits for it.
fn describe(name: &str, standings: &[RelayStanding], depths: &[Depth]) -> Value {
    let standing = standings.iter().find(|s| s.name == name);
    let waiting: u64 = depths.iter().filter(|d| d.relay == name && d.state == ItemState::Waiting).map(|d| d.items).sum();
    let mut relay = json!({"name": name, "waiting": waiting, "paused_at": null, "condition": null, "reason": null, "next_probe_at": null});
    if let (Some(standing), Some(relay)) = (standing.and_then(|s| serde_json::to_value(s).ok()), relay.as_object_mut()) {
        relay.extend(standing.as_object().cloned().unwrap_or_default());
    }
    relay
}

pub(super) async fn relay_act(
    State(window): State<Arc<Window>>,
    Extension(grant): Extension<Arc<Grant>>,
    Path((name, action)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let relays = window.relays.borrow().clone();
    if !relays.contains(&name) {
        return Err(Problem::not_found().detail(format!("no relay is called `{name}`; there are {}", relays.join(", "))));
    }
    let paused = match action.as_str() {
        "pause" => true,
        "resume" => false,
        _ => return Err(Problem::not_found().detail("a relay can be told to pause or resume")),
    };
    window.store.pause_relay(&name, paused, &format!("token:{}", grant.name)).await.map_err(failed)?;
    relay_list(State(window)).await
}
