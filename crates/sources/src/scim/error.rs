//! What SCIM answers when it cannot do as asked (RFC 7644 §3.12).

use axum::{
    body::Body,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tidings_core::filter::FilterError;
use tidings_intake::{IntakeError, StoreError};

/// The media type of everything that SCIM says (RFC 7644 §8.1).
pub(super) const SCIM_JSON: &str = "application/scim+json";

const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// After how many seconds a client may try again when the database is out of reach, and when the disk is full.
const SOON: &str = "5";
const LATER: &str = "30";

/// A request that failed.
#[derive(Debug)]
pub(super) struct ScimError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    kind: Option<&'static str>,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ScimError {
    /// An error that says no more than its status and a reason.
    pub(super) fn plain(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts { status, kind: None, detail: detail.into(), headers: Vec::new() }))
    }

    /// 400 with a `scimType` of RFC 7644's table 9.
    fn bad(kind: &'static str, detail: impl Into<String>) -> Self {
        let mut error = Self::plain(StatusCode::BAD_REQUEST, detail);
        error.0.kind = Some(kind);
        error
    }

    /// The body's structure is wrong, or it is not JSON.
    pub(super) fn syntax(detail: impl Into<String>) -> Self {
        Self::bad("invalidSyntax", detail)
    }

    /// A value is missing, or not of its attribute's type.
    pub(super) fn value(detail: impl Into<String>) -> Self {
        Self::bad("invalidValue", detail)
    }

    /// The filter cannot be followed.
    pub(super) fn filter(detail: impl Into<String>) -> Self {
        Self::bad("invalidFilter", detail)
    }

    /// A change's path is no path, or leads to no attribute.
    pub(super) fn path(detail: impl Into<String>) -> Self {
        Self::bad("invalidPath", detail)
    }

    /// A change's path selects nothing.
    pub(super) fn no_target(detail: impl Into<String>) -> Self {
        Self::bad("noTarget", detail)
    }

    /// The attribute is not the client's to write.
    pub(super) fn mutability(detail: impl Into<String>) -> Self {
        Self::bad("mutability", detail)
    }

    /// More resources would have to be sorted than we do.
    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Self::bad("tooMany", detail)
    }

    /// 409: another resource has this value already.
    pub(super) fn uniqueness(detail: impl Into<String>) -> Self {
        let mut error = Self::plain(StatusCode::CONFLICT, detail);
        error.0.kind = Some("uniqueness");
        error
    }

    /// 404.
    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::plain(StatusCode::NOT_FOUND, format!("there is no {what} `{}`", tidings_core::event::clip(id)))
    }

    /// 412: the resource is of another version than the client thinks (RFC 7644 §3.14).
    pub(super) fn precondition(version: &str) -> Self {
        Self::plain(StatusCode::PRECONDITION_FAILED, format!("the resource has changed: its version is {version}"))
    }

    /// 413.
    pub(super) fn too_large(limit: usize) -> Self {
        Self::plain(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {limit} bytes are taken here"))
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The status it answers with.
    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The reason.
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// As it is written.
    pub(super) fn to_json(&self) -> Value {
        // The status is a text (RFC 7644 §3.12).
        let mut json = json!({"schemas": [SCHEMA], "status": self.0.status.as_u16().to_string(), "detail": self.0.detail});
        if let Some(kind) = self.0.kind {
            json["scimType"] = json!(kind);
        }
        json
    }
}

impl IntoResponse for ScimError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = self.0.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SCIM_JSON));
        for (name, value) in self.0.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl From<StoreError> for ScimError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Moved(_) = error {
            return Self::plain(StatusCode::CONFLICT, "the resource is being changed by others; try again");
        }
        let (detail, after) = match &error {
            StoreError::Full { .. } => ("the disk is nearly full; nothing was changed", LATER),
            _ => ("the database cannot be used now; nothing was changed", SOON),
        };
        tracing::error!(error = %error, "a directory's change could not be recorded");
        Self::plain(StatusCode::SERVICE_UNAVAILABLE, detail).header(RETRY_AFTER, HeaderValue::from_static(after))
    }
}

impl From<IntakeError> for ScimError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Store(error) => error.into(),
            IntakeError::Faulty(faults) => {
                Self::value(faults.first().map_or_else(|| "a value cannot be accepted".to_owned(), ToString::to_string))
            }
            // Nobody but a directory's source asks a registry.
            IntakeError::NoRelay { .. } | IntakeError::Registry(_) => {
                tracing::error!(error = %error, "a rule cannot be followed");
                Self::plain(StatusCode::SERVICE_UNAVAILABLE, "the rules cannot be followed; see the log")
                    .header(RETRY_AFTER, HeaderValue::from_static(LATER))
            }
        }
    }
}

/// A filter of a query that does not parse.
impl From<FilterError> for ScimError {
    fn from(error: FilterError) -> Self {
        Self::filter(error.to_string())
    }
}
