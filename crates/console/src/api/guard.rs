//! The flood guard's batches: list, show, release, digest, cancel.

use super::{Window, failed};
use async_trait::async_trait;
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use tidings_core::Id;
use tidings_store::BatchState;
use tidings_web::{Grant, Problem};

/// Batches that are listed; the newest ones.
const LISTED: u16 = 1000;

/// Whoever ends batches: a digest has to be written, and letters are not written here.
#[async_trait]
pub trait BatchEnder: Send + Sync + 'static {
    /// Ends a batch. Gives what it came to.
    ///
    /// # Errors
    /// [`NotEnded`].
    async fn end(&self, id: Id, end: BatchState, by: &str) -> Result<serde_json::Value, NotEnded>;
}

/// Why a batch is not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotEnded {
    /// There is none of this name.
    Unknown,
    /// It was ended in another way, in words.
    Already(String),
    /// It cannot be done now, in words for the log.
    Unavailable(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<String>,
}

pub(super) async fn guard_list(State(window): State<Arc<Window>>, Query(query): Query<ListQuery>) -> Result<Response, Problem> {
    let known = |text: &str| BatchState::ALL.into_iter().find(|state| state.as_str() == text);
    let state = match query.state.as_deref() {
        None => None,
        Some(text) => {
            Some(known(text).ok_or_else(|| Problem::bad_request("state: held, released, digested and cancelled are allowed".to_owned()))?)
        }
    };
    let items = window.store.batches(state, false, LISTED).await.map_err(failed)?;
    Ok(Json(json!({"items": items, "next": null})).into_response())
}

pub(super) async fn guard_show(State(window): State<Arc<Window>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let batch = window.store.batch(batch_id(&id)?).await.map_err(failed)?;
    batch.map(|batch| Json(batch).into_response()).ok_or_else(unknown)
}

pub(super) async fn guard_act(
    State(window): State<Arc<Window>>,
    Extension(grant): Extension<Arc<Grant>>,
    Path((id, action)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let end = match action.as_str() {
        "release" => BatchState::Released,
        "digest" => BatchState::Digested,
        "cancel" => BatchState::Cancelled,
        _ => return Err(Problem::not_found().detail("a batch can be told to release, digest or cancel")),
    };
    match window.batches.end(batch_id(&id)?, end, &format!("token:{}", grant.name)).await {
        Ok(ended) => Ok(Json(ended).into_response()),
        Err(NotEnded::Unknown) => Err(unknown()),
        Err(NotEnded::Already(why)) => Err(Problem::conflict(why)),
        Err(NotEnded::Unavailable(error)) => {
            tracing::error!(error, guard.batch = id, "a batch cannot be ended");
            Err(Problem::unavailable("the batch cannot be ended now", std::time::Duration::from_secs(5)))
        }
    }
}

fn batch_id(text: &str) -> Result<Id, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("{error}")))
}

fn unknown() -> Problem {
    Problem::not_found().detail("no batch has this id")
}
