//! `/healthz`: is the process alive? `/readyz`: can it do its job?

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

/// How long the parts may take to tell; a probe usually gives up soon after.
const PATIENCE: Duration = Duration::from_secs(5);

/// A part of the house that cannot do its job, for `/readyz`. Readable by anybody: no secret, no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Which part, in the house's words: `database`, `relay office365`.
    pub part: String,
    /// Why.
    pub reason: String,
}

/// Knows whether the house is ready; the binary plugs it in.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// The parts that are not ready; none means ready.
    async fn not_ready(&self) -> Vec<NotReady>;
}

/// The routes `/healthz` (200 while the process answers at all) and `/readyz` (200, or 503 with what is not ready). They need no token.
pub fn health_routes(readiness: Arc<dyn Readiness>) -> Router {
    Router::new().route("/healthz", get(async || Json(json!({"alive": true})))).route("/readyz", get(ready)).with_state(readiness)
}

async fn ready(State(readiness): State<Arc<dyn Readiness>>) -> Response {
    let missing = tokio::time::timeout(PATIENCE, readiness.not_ready()).await.unwrap_or_else(|_| {
        vec![NotReady { part: "readiness".into(), reason: format!("the parts did not tell within {} s", PATIENCE.as_secs()) }]
    });
    if missing.is_empty() {
        Json(json!({"ready": true})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false, "not_ready": missing}))).into_response()
    }
}
