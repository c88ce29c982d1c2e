//! Items: list, show, retry, cancel, hold, release.

use super::{Window, failed};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use tidings_core::Id;
use tidings_store::{Action, Filter};
use tidings_web::{Grant, Problem};

/// How many items a page holds unless asked otherwise, and at most.
const PAGE: u16 = 100;
const LARGEST_PAGE: u16 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<String>,
    kind: Option<String>,
    to: Option<String>,
    relay: Option<String>,
    event: Option<String>,
    cursor: Option<String>,
    limit: Option<u16>,
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: Option<String>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|error| Problem::bad_request(format!("{name}: {error}")))).transpose()
}

pub(super) async fn outbox_list(State(window): State<Arc<Window>>, Query(query): Query<ListQuery>) -> Result<Response, Problem> {
    let filter = Filter {
        id: None,
        state: parsed("state", query.state)?,
        kind: query.kind,
        to: query.to,
        relay: query.relay,
        event: parsed("event", query.event)?,
    };
    let before: Option<Id> = parsed("cursor", query.cursor)?;
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > LARGEST_PAGE {
        return Err(Problem::bad_request(format!("limit: {limit} is not allowed; 1 to {LARGEST_PAGE} is")));
    }
    let page = window.store.items(filter, before, limit).await.map_err(failed)?;
    Ok(Json(json!({"items": page.items, "next": page.next})).into_response())
}

pub(super) async fn outbox_show(State(window): State<Arc<Window>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let detail = window.store.item(item_id(&id)?).await.map_err(failed)?;
    detail.map(|detail| Json(detail).into_response()).ok_or_else(unknown)
}

pub(super) async fn outbox_act(
    State(window): State<Arc<Window>>,
    Extension(grant): Extension<Arc<Grant>>,
    Path((id, action)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let action = [Action::Retry, Action::Cancel, Action::Hold, Action::Release]
        .into_iter()
        .find(|known| known.as_str() == action)
        .ok_or_else(|| Problem::not_found().detail("an item can be told to retry, cancel, hold or release"))?;
    let id = item_id(&id)?;
    let by = format!("token:{}", grant.name);
    let acted = window.store.act(action, Filter { id: Some(id), ..Filter::default() }, &by).await.map_err(failed)?;
    let detail = window.store.item(id).await.map_err(failed)?.ok_or_else(unknown)?;
    if acted.changed == 0 {
        return Err(Problem::conflict(format!("the item is {}; {} is not possible", detail.row.state, action.as_str())));
    }
    Ok(Json(detail).into_response())
}

fn item_id(text: &str) -> Result<Id, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("{error}")))
}

fn unknown() -> Problem {
    Problem::not_found().detail("no item has this id")
}
