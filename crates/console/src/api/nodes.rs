//! Nodes: who serves the database.

use super::{Window, failed};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;
use tidings_web::Problem;

pub(super) async fn node_list(State(window): State<Arc<Window>>) -> Result<Response, Problem> {
    let nodes = window.nodes.nodes().await.map_err(failed)?;
    Ok(Json(json!({"items": nodes, "next": null})).into_response())
}
