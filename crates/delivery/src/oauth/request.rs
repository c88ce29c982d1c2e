//! The request to the token endpoint: one POST by HTTPS, bounded in time and size, that follows no redirect. Blocking; the desk runs it beside the runtime.

use super::{
    answer::{self, Answer, Granted, trouble},
    jwt,
    plan::{ClientProof, Grant, TokenPlan},
};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    error::KeyError,
    secret::Secret,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{error::Error as _, time::Duration};
use tidings_core::outbox::Stage;
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};
use zeroize::Zeroizing;

/// The most that is read of an answer.
const MOST_BYTES: u64 = 64 * 1024;
/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// RFC 7523 §2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// No token.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) trouble: RelayTrouble,
    /// How long the endpoint wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl From<RelayTrouble> for Failed {
    fn from(trouble: RelayTrouble) -> Self {
        Self { trouble, retry_after: None }
    }
}

fn unusable(error: &KeyError) -> RelayTrouble {
    let mut what = format!("the token request cannot be signed: {error}");
    if let Some(source) = error.source() {
        what = format!("{what}: {source}");
    }
    RelayTrouble::new(TroubleKind::Configuration, Stage::Auth, what).hint("check auth.oauth2.client_key_file and client_cert_file")
}

/// Sets up what requests of a plan are made with.
pub(super) fn agent(plan: &TokenPlan, limit: Duration) -> Result<Agent, RelayTrouble> {
    let roots = match &plan.ca_pem {
        None => RootCerts::PlatformVerifier,
        Some(pem) => {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let authorities: Vec<_> = read.unwrap_or_default().iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            if authorities.is_empty() {
                let what = "auth.oauth2.ca_file holds no certificate that can be read (PEM)";
                return Err(RelayTrouble::new(TroubleKind::Configuration, Stage::Auth, what));
            }
            RootCerts::new_with_certs(&authorities)
        }
    };
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        // Only the binary reads the environment, and it names no proxy.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A token is asked for about once an hour: no connection is worth keeping.
        .max_idle_connections(0)
        .timeout_global(Some(limit))
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .build();
    Ok(config.new_agent())
}

/// Asks for a token for the mailbox of `user`. `now_s` (seconds of Unix time) dates an assertion.
pub(super) fn ask(plan: &TokenPlan, agent: &Agent, user: &str, now_s: Option<i64>) -> Result<Granted, Failed> {
    if let Some((what, hint)) = plan.fault() {
        return Err(RelayTrouble::new(TroubleKind::Configuration, Stage::Auth, what).hint(hint).into());
    }
    let (form, basic) = form(plan, user, now_s).map_err(|error| unusable(&error))?;
    let mut request = agent.post(&plan.token_url).content_type("application/x-www-form-urlencoded");
    if let Some(basic) = &basic {
        request = request.header("Authorization", basic.as_str());
    }
    let endpoint = plan.endpoint();
    let mut response = request.send(form.as_bytes()).map_err(|error| explain(&error, endpoint))?;
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec().map_err(|error| explain(&error, endpoint))?;
    let answer = Answer { status, retry_after, body: Zeroizing::new(body) };
    let secret = match &plan.proof {
        ClientProof::SecretInBody(secret) | ClientProof::SecretByBasic(secret) => secret.reveal(),
        ClientProof::Key(_) => "",
    };
    answer::judge(endpoint, &answer, &[secret])
}

/// The body of the request, and what stands in `Authorization` if anything.
fn form(plan: &TokenPlan, user: &str, now_s: Option<i64>) -> Result<(Zeroizing<String>, Option<Zeroizing<String>>), KeyError> {
    let signed = |key| {
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).map_err(KeyError::Randomness)?;
        jwt::assertion(plan, key, user, now_s.ok_or(KeyError::NoClock)?, jti)
    };
    let mut form = Zeroizing::new(String::with_capacity(1024));
    let mut basic = None;
    match (&plan.grant, &plan.proof) {
        (Grant::JwtBearer, ClientProof::Key(key)) => {
            add(&mut form, "grant_type", JWT_BEARER);
            add(&mut form, "assertion", &signed(key)?);
            return Ok((form, None));
        }
        _ => add(&mut form, "grant_type", "client_credentials"),
    }
    match &plan.proof {
        ClientProof::SecretInBody(secret) => {
            add(&mut form, "client_id", &plan.client_id);
            add(&mut form, "client_secret", secret.reveal());
        }
        ClientProof::SecretByBasic(secret) => basic = Some(authorization(&plan.client_id, secret)),
        ClientProof::Key(key) => {
            add(&mut form, "client_id", &plan.client_id);
            add(&mut form, "client_assertion_type", ASSERTION_TYPE);
            add(&mut form, "client_assertion", &signed(key)?);
        }
    }
    if let Some(scope) = &plan.scope {
        add(&mut form, "scope", scope);
    }
    Ok((form, basic))
}

/// RFC 6749 §2.3.1: both parts are form-encoded before HTTP Basic (RFC 7617) joins them.
fn authorization(client: &str, secret: &Secret) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(String::new());
    encode(&mut pair, client);
    pair.push(':');
    encode(&mut pair, secret.reveal());
    Zeroizing::new(format!("Basic {}", Zeroizing::new(STANDARD.encode(pair.as_bytes())).as_str()))
}

fn add(form: &mut String, name: &str, value: &str) {
    if !form.is_empty() {
        form.push('&');
    }
    form.push_str(name);
    form.push('=');
    encode(form, value);
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
fn encode(form: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        match byte {
            b' ' => form.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) => form.push(char::from(byte)),
            _ => form.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]),
        }
    }
}

/// A request that got no answer, as a sentence with advice.
fn explain(error: &ureq::Error, endpoint: &str) -> RelayTrouble {
    let passes = |what: &str| trouble(TroubleKind::Unreachable, endpoint, what);
    let certificate = |inner: &rustls::Error| {
        trouble(TroubleKind::Tls, endpoint, &format!("cannot be spoken to by TLS: {inner}"))
            .hint("check its certificate and the clock; set auth.oauth2.ca_file if an authority of your own signs it")
    };
    match error {
        ureq::Error::Timeout(_) => passes("does not answer in time").hint("check whether a firewall stands between"),
        ureq::Error::HostNotFound => passes("cannot be found").hint("check auth.oauth2.token_url and the name servers of this machine"),
        ureq::Error::BodyExceedsLimit(_) => {
            trouble(TroubleKind::Configuration, endpoint, "sends far more than a token").hint("check auth.oauth2.token_url")
        }
        ureq::Error::BadUri(_) => {
            trouble(TroubleKind::Configuration, endpoint, "has no usable address").hint("check auth.oauth2.token_url")
        }
        ureq::Error::Rustls(inner) => certificate(inner),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => certificate(inner),
            None => {
                passes(&format!("cannot be reached: {error}")).hint("check auth.oauth2.token_url and whether a firewall stands between")
            }
        },
        other => passes(&format!("cannot be asked: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(proof: ClientProof) -> TokenPlan {
        TokenPlan::new("https://login.example.org/t", "cl:i ent", proof).scope("https://outlook.office365.com/.default")
    }

    #[test]
    fn the_form_is_what_the_documents_show() {
        let (body, basic) = form(&plan(ClientProof::SecretInBody(Secret::new("s=c&r t+ü"))), "u", None).unwrap();
        assert_eq!(
            body.as_str(),
            "grant_type=client_credentials&client_id=cl%3Ai+ent&client_secret=s%3Dc%26r+t%2B%C3%BC&scope=https%3A%2F%2Foutlook.office365.com%2F.default"
        );
        assert!(basic.is_none());
        let (body, basic) = form(&plan(ClientProof::SecretByBasic(Secret::new("s:t"))), "u", None).unwrap();
        assert_eq!(body.as_str(), "grant_type=client_credentials&scope=https%3A%2F%2Foutlook.office365.com%2F.default");
        assert_eq!(basic.unwrap().as_str(), format!("Basic {}", STANDARD.encode("cl%3Ai+ent:s%3At")));
    }
}
