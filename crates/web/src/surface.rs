//! What surrounds every route: request id and span, time limit, panics and bare errors turned into problems, default headers.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use crate::headers;
use crate::limits::{name_body_limit, within};
use crate::problem::{Problem, is_bare, is_problem};
use crate::request_id::{RequestId, RequestIds, X_REQUEST_ID};

/// Longest text of a bare error that is passed on as a problem's detail.
const LONGEST_DETAIL_BYTES: usize = 4096;

/// The surroundings of a router. Two routers with different surfaces may be merged, as long as neither has a fallback of its own.
#[derive(Debug, Clone)]
pub struct Surface {
    /// Where request ids come from.
    pub request_ids: RequestIds,
    /// How long a request may take from its headers to its reply.
    pub request_timeout: Duration,
    /// How long a body may be, in bytes, where no [`crate::limits::body_limit`] says otherwise.
    pub body_limit: usize,
}

impl Surface {
    /// 30 seconds, 1 MiB.
    pub fn new(request_ids: RequestIds) -> Self {
        Self { request_ids, request_timeout: Duration::from_secs(30), body_limit: 1024 * 1024 }
    }

    /// Puts the surface over all routes of a router and its 404 and 405 replies.
    pub fn over(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, surround))
    }
}

async fn surround(State(surface): State<Surface>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = surface.request_ids.of(request.headers());
    hide_secrets(request.headers_mut());
    request.extensions_mut().insert(id.clone());
    DefaultBodyLimit::max(surface.body_limit).apply(&mut request);
    let span = tracing::info_span!("request", request.id = %id, http.method = %request.method(), http.path = shown_path(request.uri()));

    let work = within(surface.request_timeout, request, next).instrument(span.clone());
    let outcome = AssertUnwindSafe(work).catch_unwind().await;

    let response = if let Ok(response) = outcome {
        let response = name_body_limit(response, surface.body_limit);
        if needs_problem(&response) { told_as_problem(response, &id).instrument(span.clone()).await } else { response }
    } else {
        // The panic's own text and place come from the process' panic hook, within this span.
        span.in_scope(|| tracing::error!("a handler panicked; the request is answered with 500"));
        Problem::internal(id.as_str()).into_response()
    };
    span.in_scope(|| tracing::debug!(http.status = response.status().as_u16(), wait_us = begun.elapsed().as_micros(), "answered"));
    finished(response, &id)
}

fn finished(mut response: Response, id: &RequestId) -> Response {
    headers::add_defaults(response.headers_mut());
    response.headers_mut().insert(X_REQUEST_ID, id.header_value());
    response
}

/// Marks credentials so that a printed header map shows `Sensitive` in their place.
fn hide_secrets(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE] {
        if let axum::http::header::Entry::Occupied(mut values) = headers.entry(name) {
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}

/// The path for the log; without its query, and not at all if it may hold a mail address.
fn shown_path(uri: &Uri) -> &str {
    let path = uri.path();
    if path.contains('@') || path.contains("%40") { "(hidden: holds an address)" } else { path }
}

/// Whether this is an error without a body of its own, or with axum's plain text.
fn needs_problem(response: &Response) -> bool {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_problem(response) {
        return false;
    }
    is_bare(response)
}

/// The same error as a problem, with its other headers (`Allow`, for one) kept.
async fn told_as_problem(response: Response, id: &RequestId) -> Response {
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST_DETAIL_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let problem = match parts.status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(reason = text, "a request failed and is answered with 500");
            Problem::internal(id.as_str())
        }
        status if text.is_empty() => Problem::plain(status),
        StatusCode::BAD_REQUEST => Problem::bad_request(text),
        status => Problem::plain(status).detail(text),
    };
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    let mut response = problem.into_response();
    for (name, value) in &parts.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_an_address_stays_out_of_the_log() {
        for (uri, shown) in [
            ("/v1/outbox?to=ada@example.org", "/v1/outbox"),
            ("/v1/people/ada@example.org", "(hidden: holds an address)"),
            ("/v1/people/ada%40example.org", "(hidden: holds an address)"),
        ] {
            assert_eq!(shown_path(&uri.parse().unwrap()), shown);
        }
    }

    #[test]
    fn credentials_do_not_show_in_printed_headers() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer tid_secret".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer tid_second".parse().unwrap());
        hide_secrets(&mut headers);
        assert!(!format!("{headers:?}").contains("tid_"));
    }
}
