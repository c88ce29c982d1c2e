//! `GET /v1/events/{id}/trace`: why somebody did, or did not, get a letter.

use super::{Door, events::problem};
use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use tidings_core::Id;
use tidings_web::Problem;

pub(super) async fn event_trace(State(door): State<Door>, Path(id): Path<String>) -> Response {
    let id: Id = match id.parse() {
        Ok(id) => id,
        Err(error) => return Problem::bad_request(format!("{error}")).into_response(),
    };
    match door.intake.trace(id).await {
        Ok(Some(event)) => Json(event).into_response(),
        Ok(None) => Problem::not_found().detail("no event has this id").into_response(),
        Err(error) => problem(error).into_response(),
    }
}
