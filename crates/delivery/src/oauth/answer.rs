//! What a token endpoint answered: a token, or why not, and what follows from it.

use super::request::Failed;
use crate::{
    courier::{RelayTrouble, TroubleKind},
    secret::Secret,
};
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};
use tidings_core::outbox::Stage;
use zeroize::Zeroizing;

/// RFC 6749 §5.1 recommends `expires_in`; without it a token is taken to last so long.
const UNSAID_LIFETIME: Duration = Duration::from_mins(5);
/// A longer life is not believed.
const LONGEST_LIFETIME: Duration = Duration::from_hours(48);
/// The longest token: its base64 with the user name must fit in the 12288 octets of an AUTH answer (RFC 4954 §4).
const LONGEST_TOKEN: usize = 8192;
/// Most characters of an endpoint's words that are kept.
const MOST_WORDS: usize = 300;
/// Longest wait that an endpoint may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// A token and how long it lasts.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
}

/// An HTTP answer, whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

pub(super) fn trouble(kind: TroubleKind, endpoint: &str, what: &str) -> RelayTrouble {
    RelayTrouble::new(kind, Stage::Auth, format!("the token endpoint {endpoint} {what}"))
}

/// Makes sense of an answer. `secrets` are masked wherever the endpoint repeats them.
pub(super) fn judge(endpoint: &str, answer: &Answer, secrets: &[&str]) -> Result<Granted, Failed> {
    let parts: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let failed = |kind, what: String, hint: Option<&str>| {
        let trouble = trouble(kind, endpoint, &what);
        let trouble = if let Some(hint) = hint { trouble.hint(hint) } else { trouble };
        Failed { trouble, retry_after: pause(answer) }
    };
    match answer.status {
        200 => match &parts {
            Some(parts) => granted(endpoint, parts).map_err(|what| {
                failed(TroubleKind::Configuration, what, Some("check auth.oauth2.token_url: this is no answer of RFC 6749 §5.1"))
            }),
            None => Err(failed(
                TroubleKind::Unreachable,
                "answers 200 with something that is not JSON".to_owned(),
                Some("something in between may be answering in its place; check auth.oauth2.token_url"),
            )),
        },
        300..=399 => Err(failed(
            TroubleKind::Configuration,
            format!("redirects (HTTP {}), and a secret does not follow", answer.status),
            Some("write the final address in auth.oauth2.token_url"),
        )),
        408 | 425 | 429 | 500..=599 => Err(failed(TroubleKind::Unreachable, refusal(answer.status, parts.as_ref(), secrets), None)),
        status => {
            let code = parts.as_ref().and_then(|parts| parts.get("error")).and_then(Value::as_str).unwrap_or_default();
            let kind = match code {
                "temporarily_unavailable" | "server_error" | "slow_down" => TroubleKind::Unreachable,
                _ => TroubleKind::Configuration,
            };
            Err(failed(kind, refusal(status, parts.as_ref(), secrets), advice(status, code)))
        }
    }
}

fn granted(endpoint: &str, parts: &Value) -> Result<Granted, String> {
    let token = parts.get("access_token").and_then(Value::as_str).ok_or("answers without an access_token")?;
    // RFC 6750 §2.1 allows fewer characters still. Whatever is not printable ASCII would break out of the sign-in's framing.
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("answers with an access_token of {} octets that cannot be used for signing in", token.len()));
    }
    // RFC 6749 §7.1: letter case does not matter. Absent it is a breach, and common enough to be let pass.
    if let Some(kind) = parts.get("token_type").and_then(Value::as_str)
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err(format!("answers with a token of the type {}, not Bearer", clean(kind, &[])));
    }
    let lifetime = match parts.get("expires_in") {
        // Some endpoints write the number as a text.
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_f64().filter(|seconds| *seconds >= 0.0),
        None => None,
    };
    let lifetime = lifetime.map_or_else(
        || {
            tracing::info!(endpoint, assumed_s = UNSAID_LIFETIME.as_secs(), "the token endpoint does not say how long its token lasts");
            UNSAID_LIFETIME
        },
        |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFETIME).min(LONGEST_LIFETIME),
    );
    Ok(Granted { token: Secret::new(token), lifetime })
}

/// Status, error code and description in one line.
fn refusal(status: u16, parts: Option<&Value>, secrets: &[&str]) -> String {
    let part = |name: &str| parts.and_then(|parts| parts.get(name)).and_then(Value::as_str).map(|text| clean(text, secrets));
    let mut line = format!("answers HTTP {status}");
    if let Some(code) = part("error") {
        write!(line, " {code}").expect("a String takes everything");
    }
    if let Some(words) = part("error_description") {
        write!(line, ": {words}").expect("a String takes everything");
    }
    line
}

fn clean(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_WORDS).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// RFC 6749 §5.2, and what an administrator does about it.
fn advice(status: u16, code: &str) -> Option<&'static str> {
    Some(match (code, status) {
        ("invalid_client", _) => {
            "check auth.oauth2.client_id and its secret or key: the secret may have expired, or the certificate may not be registered"
        }
        ("unauthorized_client", _) => {
            "the client is known but may not ask like this: check its permissions, the admin's consent and auth.oauth2.grant"
        }
        ("invalid_scope", _) => "check auth.oauth2.scope",
        ("invalid_grant", _) => "check that the client may act for auth.username, auth.oauth2.grant, and the clock of this machine",
        ("unsupported_grant_type", _) => "the endpoint does not know this grant: check auth.oauth2.grant and token_url",
        ("invalid_request", _) => "check auth.oauth2: tenant, client_id, scope and client_auth",
        ("", 401 | 403) => "check auth.oauth2.client_id and its secret or key",
        ("", 404 | 405) => "there is no token endpoint at this address: check auth.oauth2.token_url and tenant",
        ("", 407) => "a proxy stands in between and wants a sign-in of its own",
        _ => return None,
    })
}

/// RFC 9110 §10.2.3, the form in seconds.
fn pause(answer: &Answer) -> Option<Duration> {
    let seconds: u64 = answer.retry_after.as_deref()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Result<Granted, Failed> {
        let answer = Answer { status, retry_after: Some("7".to_owned()), body: Zeroizing::new(body.as_bytes().to_vec()) };
        judge("login.example.org", &answer, &["s3cret"])
    }

    #[test]
    fn a_token_lasts_as_long_as_it_says() {
        for (more, seconds) in [
            (r#","expires_in":3599,"token_type":"Bearer""#, 3599),
            (r#","expires_in":"3599","token_type":"bearer""#, 3599),
            (r#","token_type":"BEARER""#, 300),
            ("", 300),
            (r#","expires_in":-5"#, 300),
            (r#","expires_in":1e300"#, 172_800),
            (r#","expires_in":"inf""#, 172_800),
            (r#","expires_in":0"#, 0),
        ] {
            let granted = answered(200, &format!(r#"{{"access_token":"abc"{more}}}"#)).unwrap();
            assert_eq!((granted.token.reveal(), granted.lifetime.as_secs()), ("abc", seconds), "{more}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(9000));
        for body in [
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a\u0001b"}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"abc","token_type":"mac"}"#,
            &long,
            "[]",
        ] {
            let failed = answered(200, body).unwrap_err();
            assert_eq!(failed.trouble.kind, TroubleKind::Configuration, "{}", failed.trouble);
        }
        assert_eq!(answered(200, "<html>welcome</html>").unwrap_err().trouble.kind, TroubleKind::Unreachable);
    }

    #[test]
    fn every_refusal_says_whether_a_person_is_needed() {
        use TroubleKind::{Configuration, Unreachable};
        for (status, body, kind, words) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: s3cret is\r\nwrong"}"#,
                Configuration,
                "AADSTS7000215: *** is wrong (check auth.oauth2.client_id",
            ),
            (400, r#"{"error":"invalid_grant"}"#, Configuration, "HTTP 400 invalid_grant (check that the client may act"),
            (400, r#"{"error":"unauthorized_client"}"#, Configuration, "consent"),
            (400, r#"{"error":"invalid_scope"}"#, Configuration, "check auth.oauth2.scope"),
            (400, r#"{"error":"temporarily_unavailable"}"#, Unreachable, "temporarily_unavailable"),
            (404, "", Configuration, "no token endpoint"),
            (302, "", Configuration, "final address"),
            (429, "", Unreachable, "HTTP 429"),
            (500, "oops", Unreachable, "HTTP 500"),
            (503, r#"{"error":"x"}"#, Unreachable, "HTTP 503 x"),
        ] {
            let failed = answered(status, body).unwrap_err();
            assert_eq!(failed.trouble.kind, kind, "{status} {body}");
            assert!(failed.trouble.sentence().contains(words), "{}", failed.trouble.sentence());
            assert_eq!(failed.retry_after, Some(Duration::from_secs(7)));
        }
    }
}
