//! How large and how slow a request may be, per route.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::RequestExt;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{FromFnLayer, Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt};

use crate::problem::{Problem, is_bare};

type Step<T> = fn(State<T>, Request, Next) -> BoxFuture<'static, Response>;

/// A layer of this module; a name for axum's long type.
pub type LimitLayer<T> = FromFnLayer<Step<T>, T, (State<T>, Request)>;

/// How long a client that was cut short is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A layer that takes bodies of at most `limit` bytes. A longer one is answered with 413 and the limit: at once if its length is announced,
/// else as soon as the limit is passed. It overrides the limit of [`crate::Surface`] and of layers further out, in both directions.
pub fn body_limit(limit: usize) -> LimitLayer<usize> {
    from_fn_with_state(limit, limit_body as Step<usize>)
}

fn limit_body(State(limit): State<usize>, mut request: Request, next: Next) -> BoxFuture<'static, Response> {
    async move {
        if request.body().size_hint().lower() > limit as u64 {
            return Problem::payload_too_large(limit).into_response();
        }
        DefaultBodyLimit::max(limit).apply(&mut request);
        let mut request = request.with_limited_body();
        // The body itself is limited now, so that handlers which stream it are held to it too; extractors need not do it again.
        DefaultBodyLimit::disable().apply(&mut request);
        let response = next.run(request).await;
        name_body_limit(response, limit)
    }
    .boxed()
}

/// Puts the limit into a 413 that axum's extractors made.
pub(crate) fn name_body_limit(response: Response, limit: usize) -> Response {
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && is_bare(&response) {
        Problem::payload_too_large(limit).into_response()
    } else {
        response
    }
}

/// A layer that gives a request `limit` from its headers to its reply. If the client is still sending then, the answer is 408; if we are
/// still working, 503. Within a [`crate::Surface`] it can only shorten the surface's own time.
pub fn request_timeout(limit: Duration) -> LimitLayer<Duration> {
    from_fn_with_state(limit, limit_time as Step<Duration>)
}

fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> BoxFuture<'static, Response> {
    within(limit, request, next).boxed()
}

pub(crate) async fn within(limit: Duration, request: Request, next: Next) -> Response {
    let (request, arrived) = watched(request);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) if arrived.is_none_or(|arrived| arrived.load(Ordering::Relaxed)) => {
            tracing::warn!(limit_ms = limit.as_millis(), "a request took too long to answer and was given up");
            Problem::unavailable("the request took too long to answer", RETRY_AFTER).into_response()
        }
        Err(_) => Problem::request_too_slow(limit).into_response(),
    }
}

/// The request with its body watched, and whether it has arrived whole; `None` if there was nothing to wait for.
fn watched(request: Request) -> (Request, Option<Arc<AtomicBool>>) {
    if request.body().is_end_stream() {
        return (request, None);
    }
    let arrived = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&arrived);
    (request.map(|body| Body::new(Watched { body, arrived: watch })), Some(arrived))
}

struct Watched {
    body: Body,
    arrived: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.arrived.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
