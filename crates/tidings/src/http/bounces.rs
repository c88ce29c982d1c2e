//! `POST /v1/bounces`: a report as the mail server got it.

use crate::commands::bounce::shown;
use anyhow::Error;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tidings_bounces::{BounceError, Parcel, Reports, Way};
use tidings_web::{Problem, Scope, TokenGate, limits::body_limit};

/// What a request may say beside the mail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    /// The address that it was delivered to.
    recipient: Option<String>,
}

/// The route, guarded by a scope of its own: whoever may report need not be able to do anything else.
pub fn routes(reports: Arc<Reports>, gate: &TokenGate, max_body: usize) -> Router {
    let take = post(bounce_post).layer(body_limit(max_body)).layer(gate.require(Scope::BouncesWrite));
    Router::new().route("/v1/bounces", take).with_state(reports)
}

async fn bounce_post(
    State(reports): State<Arc<Reports>>,
    Query(envelope): Query<Envelope>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("message/rfc822") {
        return Err(Problem::unsupported_media_type(&["message/rfc822"]).detail("a report is posted as the mail server got it"));
    }
    let parcel = Parcel { raw: &body, recipient: envelope.recipient.as_deref(), way: Way::Http };
    match reports.take(parcel).await {
        Ok(taken) => Ok((StatusCode::ACCEPTED, Json(shown(&taken))).into_response()),
        Err(error @ BounceError::NotYet(_)) => Err(Problem::unavailable(error.to_string(), Duration::from_secs(10))),
        Err(error) => {
            tracing::error!(error = %format!("{:#}", Error::from(error)), "a report cannot be kept");
            Err(Problem::unavailable("the report cannot be kept now", Duration::from_secs(5)))
        }
    }
}
