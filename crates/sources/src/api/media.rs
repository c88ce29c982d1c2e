//! The three ways a CloudEvent travels over HTTP (CloudEvents HTTP Protocol Binding 1.0, §3), brought into one: the JSON form.

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::{Map, Value};
use tidings_core::event::is_json;
use tidings_web::Problem;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const ALLOWED: [&str; 3] = [STRUCTURED, BATCH, "application/json with ce- headers (binary mode)"];

/// What a request carries.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) events: Vec<Value>,
    /// Whether faults point into a list.
    pub(super) batch: bool,
}

/// Reads a request's events.
///
/// # Errors
/// A problem: 415 for another media type, 400 for what is not JSON, with line and column.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Posted, Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        STRUCTURED => Ok(Posted { events: vec![json(body)?], batch: false }),
        BATCH => match json(body)? {
            Value::Array(events) => Ok(Posted { events, batch: true }),
            _ => Err(Problem::bad_request(format!("a batch ({BATCH}) must be a JSON array of CloudEvents")).pointer("")),
        },
        _ if essence.starts_with("application/cloudevents") => Err(Problem::unsupported_media_type(&ALLOWED)),
        _ if headers.contains_key("ce-specversion") => binary(headers, content_type, body),
        _ => Err(Problem::unsupported_media_type(&ALLOWED)),
    }
}

/// Binary mode: attributes in `ce-` headers, the body is `data`.
fn binary(headers: &HeaderMap, content_type: &str, body: &[u8]) -> Result<Posted, Problem> {
    if !content_type.is_empty() && !is_json(content_type) {
        return Err(Problem::unsupported_media_type(&ALLOWED));
    }
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let text = percent_decoded(value.as_bytes()).ok_or_else(|| {
            Problem::bad_request(format!("the header {name} is not percent-encoded UTF-8 (CloudEvents HTTP binding §3.1.3.2)"))
                .pointer(format!("/{attribute}"))
        })?;
        event.insert(attribute.to_owned(), Value::String(text));
    }
    event.insert("data".to_owned(), json(body)?);
    Ok(Posted { events: vec![Value::Object(event)], batch: false })
}

fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")).pointer(""))
}

fn percent_decoded(value: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            let digit = |byte: u8| char::from(byte).to_digit(16);
            decoded.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
            rest = tail;
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn binary_mode_becomes_the_json_form() {
        let headers = headers(&[
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-type", "tidings.test"),
            ("ce-source", "caf%C3%A9"),
            ("ce-id", "1"),
        ]);
        let posted = read(&headers, br#"{"object":{}}"#).unwrap();
        assert_eq!(posted.events, [json!({"specversion":"1.0","type":"tidings.test","source":"café","id":"1","data":{"object":{}}})]);
    }

    #[test]
    fn a_list_is_a_batch_only_if_the_request_says_so() {
        assert!(read(&headers(&[("content-type", BATCH)]), b"[]").unwrap().batch);
        assert_eq!(read(&headers(&[("content-type", BATCH)]), b"{}").unwrap_err().status(), 400);
        assert_eq!(read(&headers(&[("content-type", "text/plain")]), b"{}").unwrap_err().status(), 415);
        assert_eq!(read(&headers(&[("content-type", STRUCTURED)]), b"{,}").unwrap_err().status(), 400);
    }

    #[test]
    fn broken_percent_encoding_is_refused() {
        assert_eq!(percent_decoded(b"a%2"), None);
        assert_eq!(percent_decoded(b"%ff"), None);
        assert_eq!(percent_decoded(b"a%20b"), Some("a b".into()));
    }
}
