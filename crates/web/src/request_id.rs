//! Request ids: one name per request in the log, in the reply and at the client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the id in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 64;

/// The id of the request being answered; handlers get it as `Extension<RequestId>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text: visible ASCII, at most 64 characters.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only visible ASCII becomes a request id")
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes ids for requests that bring none: a seed that differs between processes, and a count. They are names, not secrets.
#[derive(Debug, Clone)]
pub struct RequestIds {
    seed: u64,
    count: Arc<AtomicU64>,
}

impl RequestIds {
    /// Ids that begin with `seed`, a number drawn at random when the server starts.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, count: Arc::new(AtomicU64::new(0)) }
    }

    /// The id the client sent if it is sane (1 to 64 visible ASCII characters, once), else one of our own.
    pub(crate) fn of(&self, headers: &HeaderMap) -> RequestId {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => RequestId(id.clone()),
            _ => self.next(),
        }
    }

    fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{count:x}", self.seed);
        RequestId(HeaderValue::from_str(&id).expect("hexadecimal digits are visible ASCII"))
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (X_REQUEST_ID, HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn a_sane_id_is_kept() {
        let ids = RequestIds::seeded(1);
        for id in ["a", "4711", "trace/00-ab,cd", &"x".repeat(64)] {
            assert_eq!(ids.of(&with(&[id])).as_str(), id);
        }
    }

    #[test]
    fn an_odd_id_is_replaced() {
        let ids = RequestIds::seeded(0xfeed);
        for odd in [&[][..], &[""], &["two words"], &["ü"], &[&"x".repeat(65)], &["a", "b"]] {
            assert!(ids.of(&with(odd)).as_str().starts_with("000000000000feed-"), "{odd:?}");
        }
    }

    #[test]
    fn made_ids_never_repeat() {
        let ids = RequestIds::seeded(7);
        let other = ids.clone();
        assert_ne!(ids.of(&HeaderMap::new()), other.of(&HeaderMap::new()));
    }
}
