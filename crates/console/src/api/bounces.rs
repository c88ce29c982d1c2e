//! What came back: reports, and addresses that letters come back from.

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
use tidings_store::ReportFilter;
use tidings_web::{Grant, Problem};

/// Rows of a page.
const PAGE: u16 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportQuery {
    matched: Option<bool>,
    item: Option<Id>,
    cursor: Option<Id>,
}

pub(super) async fn report_list(State(window): State<Arc<Window>>, Query(query): Query<ReportQuery>) -> Result<Response, Problem> {
    let filter = ReportFilter { matched: query.matched, item: query.item };
    let page = window.bounces.reports(filter, query.cursor, PAGE).await.map_err(failed)?;
    Ok(Json(json!({"items": page.items, "next": page.next})).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressQuery {
    cursor: Option<String>,
}

pub(super) async fn address_list(State(window): State<Arc<Window>>, Query(query): Query<AddressQuery>) -> Result<Response, Problem> {
    let rows = window.bounces.addresses(query.cursor, PAGE).await.map_err(failed)?;
    let next = rows.last().filter(|_| rows.len() == usize::from(PAGE)).map(|row| row.address.clone());
    Ok(Json(json!({"items": rows, "next": next})).into_response())
}

pub(super) async fn address_act(
    State(window): State<Arc<Window>>,
    Extension(grant): Extension<Arc<Grant>>,
    Path((address, action)): Path<(String, String)>,
) -> Result<Response, Problem> {
    if action != "clear" {
        return Err(Problem::not_found().detail("an address can be told to clear"));
    }
    if window.bounces.clear_address(&address, &format!("token:{}", grant.name)).await.map_err(failed)? {
        Ok(Json(json!({"cleared": true})).into_response())
    } else {
        Err(Problem::not_found().detail("this address is not unhealthy"))
    }
}
