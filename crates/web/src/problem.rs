//! The one shape of every error reply: a problem document (RFC 9457).
//!
//! A problem says what is wrong, and where: `pointer` is a JSON pointer (RFC 6901) to the offending value of the request's body. A type of
//! our own lies below `/problems/`; a problem that says no more than its status has the type `about:blank` and the status' own phrase as
//! title (RFC 9457 §4.2.1).

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use crate::token::Scope;

/// The media type of a problem (RFC 9457 §3).
pub const PROBLEM_JSON: &str = "application/problem+json";

const BLANK: &str = "about:blank";

/// A failed request, told to the client. Small to carry: `Result<T, Problem>` costs a pointer.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Serialize)]
struct Parts {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One of several things wrong with a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the offending value; the empty pointer is the whole body.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn status_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem that says no more than its status: type `about:blank`, the status' phrase as title.
    pub fn plain(status: StatusCode) -> Self {
        Self::of(status, BLANK, status.canonical_reason().unwrap_or("Error"))
    }

    /// A problem of a type of its own: `slug` is the last part of `/problems/<slug>`, the title the same for every problem of that type.
    pub fn typed(status: StatusCode, slug: &str, title: impl Into<Cow<'static, str>>) -> Self {
        Self::of(status, format!("/problems/{slug}"), title)
    }

    fn of(status: StatusCode, kind: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            kind: kind.into(),
            title: title.into(),
            status,
            detail: None,
            instance: None,
            pointer: None,
            errors: Vec::new(),
            request_id: None,
            headers: Vec::new(),
        }))
    }

    /// 400: the request cannot be read (broken JSON, a query that does not parse).
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::typed(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read").detail(detail)
    }

    /// 401: no token was sent. The challenge names no error then (RFC 6750 §3.1).
    pub fn unauthorized() -> Self {
        Self::typed(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed")
            .detail("send the header Authorization: Bearer tid_…")
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401: a token was sent and does not count: unknown, expired or malformed (RFC 6750 §3.1 `invalid_token`).
    pub fn invalid_token(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::typed(StatusCode::UNAUTHORIZED, "invalid-token", "The token does not count")
            .detail(detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""))
    }

    /// 403: the token is good and lacks `scope` (RFC 6750 §3.1 `insufficient_scope`).
    pub fn forbidden(scope: Scope) -> Self {
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        Self::typed(StatusCode::FORBIDDEN, "forbidden", "The token lacks a scope")
            .detail(format!("this needs the scope {scope}"))
            .header(WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).expect("scopes are written in ASCII"))
    }

    /// 404: nothing there.
    pub fn not_found() -> Self {
        Self::plain(StatusCode::NOT_FOUND)
    }

    /// 405: the resource is there, the method is not among `allowed` (RFC 9110 §15.5.6 wants them listed).
    pub fn method_not_allowed(allowed: &[axum::http::Method]) -> Self {
        let names: Vec<&str> = allowed.iter().map(axum::http::Method::as_str).collect();
        let names = names.join(", ");
        let allow = HeaderValue::from_str(&names).expect("a method is a token of visible ASCII");
        Self::plain(StatusCode::METHOD_NOT_ALLOWED).detail(format!("allowed: {names}")).header(ALLOW, allow)
    }

    /// 409: the request contradicts the present state.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::typed(StatusCode::CONFLICT, "conflict", "The request contradicts the present state").detail(detail)
    }

    /// 413: the body is longer than `limit` bytes.
    pub fn payload_too_large(limit: usize) -> Self {
        Self::typed(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "The body is too large")
            .detail(format!("at most {limit} bytes are taken here"))
    }

    /// 415: the body's media type is not among `allowed`.
    pub fn unsupported_media_type(allowed: &[&str]) -> Self {
        Self::typed(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The media type is not taken here")
            .detail(format!("allowed: {}", allowed.join(", ")))
    }

    /// 422: the body was read and a value in it is not acceptable; say which with [`Problem::pointer`] or [`Problem::errors`].
    pub fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::typed(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "A value is not acceptable").detail(detail)
    }

    /// 408: the client took longer to send its request than the server waits.
    pub fn request_too_slow(limit: Duration) -> Self {
        Self::typed(StatusCode::REQUEST_TIMEOUT, "request-too-slow", "The request took too long to arrive")
            .detail(format!("the whole request must arrive within {} ms", limit.as_millis()))
    }

    /// 503: not now; the client should come back after `retry_after` (sent in whole seconds, rounded up, at least one).
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::typed(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now").detail(detail).retry_after(retry_after)
    }

    /// 500: a fault of ours. Nothing of it is told but the request's id, which leads to the log.
    pub fn internal(request_id: impl Into<String>) -> Self {
        let mut problem = Self::typed(StatusCode::INTERNAL_SERVER_ERROR, "internal", "An internal error")
            .detail("the server's log tells more under this request id");
        problem.0.request_id = Some(request_id.into());
        problem
    }

    /// What happened this time, for the person who reads it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// URI reference of this occurrence (RFC 9457 §3.1.5).
    #[must_use]
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.0.instance = Some(instance.into());
        self
    }

    /// JSON pointer (RFC 6901) to the offending value.
    #[must_use]
    pub fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer = Some(pointer.into());
        self
    }

    /// Everything that is wrong, when it is more than one thing.
    #[must_use]
    pub fn errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        self.0.errors.extend(errors);
        self
    }

    /// Asks the client to come back after `delay` (RFC 9110 §10.2.3, whole seconds, rounded up, at least one).
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Adds a header to the reply.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The status this problem answers with.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.0).expect("strings and numbers always serialise");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in self.0.headers {
            headers.append(name, value);
        }
        response
    }
}

/// Whether an error has no body of its own, or axum's plain text: it is to be told as a problem then.
pub(crate) fn is_bare(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

/// Whether a response already is a problem.
pub(crate) fn is_problem(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == PROBLEM_JSON.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(problem: &Problem) -> serde_json::Value {
        serde_json::to_value(&problem.0).unwrap()
    }

    #[test]
    fn only_what_is_known_is_written() {
        assert_eq!(written(&Problem::not_found()), json!({"type": "about:blank", "title": "Not Found", "status": 404}));
    }

    #[test]
    fn every_offending_value_is_pointed_at() {
        let problem = Problem::unprocessable("two values are not acceptable").pointer("/data").instance("/v1/events/4711").errors([
            FieldError { pointer: "/data/member/mail".into(), detail: "not an address".into() },
            FieldError { pointer: "/type".into(), detail: "no kind of this name".into() },
        ]);
        assert_eq!(
            written(&problem),
            json!({
                "type": "/problems/unprocessable", "title": "A value is not acceptable", "status": 422,
                "detail": "two values are not acceptable", "instance": "/v1/events/4711", "pointer": "/data",
                "errors": [{"pointer": "/data/member/mail", "detail": "not an address"}, {"pointer": "/type", "detail": "no kind of this name"}]
            })
        );
    }

    #[test]
    fn a_missing_scope_is_named_in_the_challenge() {
        let response = Problem::forbidden(Scope::EventsWrite).into_response();
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"insufficient_scope\", scope=\"events:write\"");
        assert_eq!(Problem::unauthorized().into_response().headers()["www-authenticate"], "Bearer");
        assert_eq!(Problem::invalid_token("unknown").into_response().headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    }

    #[test]
    fn a_delay_is_rounded_up_to_whole_seconds() {
        for (delay, written) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
            let response = Problem::unavailable("the disk is nearly full", Duration::from_millis(delay)).into_response();
            assert_eq!(response.headers()["retry-after"], written);
        }
    }

    #[test]
    fn limits_and_alternatives_are_named() {
        assert!(written(&Problem::payload_too_large(1024))["detail"].as_str().unwrap().contains("1024"));
        let media = Problem::unsupported_media_type(&["application/json", "application/cloudevents+json"]);
        assert_eq!(written(&media)["detail"], "allowed: application/json, application/cloudevents+json");
        let method = Problem::method_not_allowed(&[axum::http::Method::GET, axum::http::Method::POST]).into_response();
        assert_eq!(method.headers()["allow"], "GET, POST");
        assert_eq!(written(&Problem::internal("r-1"))["request_id"], "r-1");
        assert_eq!(Problem::conflict("already sent").status(), 409);
        assert_eq!(Problem::bad_request("no JSON").status(), 400);
    }
}
