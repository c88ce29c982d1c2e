//! Safe default headers: what every reply carries unless its handler says otherwise.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Content security policy of replies that are not pages: nothing may be loaded from or around them.
pub const API_CSP: &str = "default-src 'none'; frame-ancestors 'none'";

/// Content security policy of our pages: script, styles, pictures and fonts from this server only, nothing inline, no foreign frame
/// around them and no form that leads elsewhere.
pub const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const DEFAULTS: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(API_CSP)),
];

/// Adds the defaults where the handler has set nothing itself: `nosniff`, `no-store`, no referrer, [`API_CSP`].
pub fn add_defaults(headers: &mut HeaderMap) {
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_gaps_and_overwrite_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_CSP));
        add_defaults(&mut headers);
        assert_eq!(headers[CACHE_CONTROL], "public, max-age=3600");
        assert_eq!(headers[CONTENT_SECURITY_POLICY], PAGE_CSP);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
    }

    #[test]
    fn a_page_may_run_nothing_inline_and_load_nothing_from_elsewhere() {
        assert!(!PAGE_CSP.contains("unsafe"));
        assert!(!PAGE_CSP.contains("http"));
        assert!(!PAGE_CSP.contains('*'));
    }
}
