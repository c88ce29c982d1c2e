//! A token issuer on loopback: token endpoint (RFC 6749, RFC 7523) and introspection (RFC 7662), strict by default and broken on request.
//!
//! It judges what it is asked with code of its own and counts everything: what the tested program says of itself is no evidence.

mod assertion;
mod listener;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::certs::CertFiles;
use assertion::{Judge, PublicKey};
use listener::{Listener, Reply, Request};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How the token endpoint behaves. Introspection is never affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// As the standards have it.
    Good,
    /// Gives tokens that introspection calls dead from the start.
    Stale,
    /// Answers any request with this status, headers and body.
    Says {
        /// The status code.
        status: u16,
        /// Header lines, without line ends.
        headers: Vec<String>,
        /// The body.
        body: String,
    },
    /// Answers rightly, but only after this time.
    Slow(Duration),
    /// Closes the connection without an answer.
    HangsUp,
}

/// A client that the issuer knows.
enum Client {
    Secret(String),
    Key(PublicKey),
}

/// A token request as it came.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The fields of the form, decoded.
    pub form: HashMap<String, String>,
    /// The header and the claims of its assertion, if it has one.
    pub assertion: Option<(Value, Value)>,
}

struct Issued {
    ends_at: Instant,
}

struct State {
    behaviour: Behaviour,
    lifetime: Duration,
    tokens: HashMap<String, Issued>,
    order: Vec<String>,
    requests: Vec<TokenRequest>,
    introspections: usize,
    used: HashSet<String>,
}

struct Shared {
    clients: HashMap<String, Client>,
    user: String,
    scope: Option<String>,
    token_bytes: usize,
    url: String,
    introspection: String,
    state: Mutex<State>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An issuer about to be started.
pub struct IssuerBuilder {
    certificate: Option<CertFiles>,
    clients: HashMap<String, Client>,
    user: String,
    scope: Option<String>,
    token_bytes: usize,
}

impl IssuerBuilder {
    /// Speaks HTTPS with this certificate; plain HTTP without.
    #[must_use]
    pub fn certificate(mut self, files: &CertFiles) -> Self {
        self.certificate = Some(files.clone());
        self
    }

    /// A client with a secret, which it may send in the body or by HTTP Basic.
    #[must_use]
    pub fn client(mut self, id: &str, secret: &str) -> Self {
        self.clients.insert(id.to_owned(), Client::Secret(secret.to_owned()));
        self
    }

    /// A client with a key (PEM; RSA or P-256) and, if given, a certificate (PEM) whose thumbprint its assertions must then carry.
    ///
    /// # Panics
    /// If the files cannot be read.
    #[must_use]
    pub fn key_client(mut self, id: &str, key: &Path, certificate: Option<&Path>) -> Self {
        self.clients.insert(id.to_owned(), Client::Key(PublicKey::of(key, certificate)));
        self
    }

    /// The mailbox that all tokens are good for; `post` unless set.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// The only scope that is granted; any unless set.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.to_owned());
        self
    }

    /// How long the tokens are, in octets; 1200 unless set, as long as Microsoft's.
    #[must_use]
    pub fn token_bytes(mut self, bytes: usize) -> Self {
        self.token_bytes = bytes;
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot listen or the certificate cannot be used.
    pub fn start(self) -> Issuer {
        let (listener, inner) = (Listener::bind(self.certificate.as_ref()), Listener::bind(None));
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let state = State {
            behaviour: Behaviour::Good,
            lifetime: Duration::from_hours(1),
            tokens: HashMap::new(),
            order: Vec::new(),
            requests: Vec::new(),
            introspections: 0,
            used: HashSet::new(),
        };
        let shared = Arc::new(Shared {
            clients: self.clients,
            user: self.user,
            scope: self.scope,
            token_bytes: self.token_bytes,
            url: format!("{scheme}://localhost:{}", listener.port()),
            introspection: format!("http://127.0.0.1:{}/introspect", inner.port()),
            state: Mutex::new(state),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        });
        let running = [listener, inner].map(|listener| {
            let answering = Arc::clone(&shared);
            listener.serve(move |request| answer(&answering, request))
        });
        Issuer { shared, _running: running }
    }
}

/// A token issuer. Dropped, it ends.
pub struct Issuer {
    shared: Arc<Shared>,
    _running: [listener::Serving; 2],
}

impl Issuer {
    /// An issuer that knows no client yet.
    pub fn builder() -> IssuerBuilder {
        IssuerBuilder { certificate: None, clients: HashMap::new(), user: "post".to_owned(), scope: None, token_bytes: 1200 }
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.shared.url)
    }

    /// The introspection endpoint, for a server that wants to know whether a token is good: plain HTTP on 127.0.0.1, also when tokens are given by HTTPS.
    pub fn introspection_url(&self) -> String {
        self.shared.introspection.clone()
    }

    /// Behaves like this from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state().behaviour = behaviour;
    }

    /// Gives tokens that last so long from now on; an hour unless set.
    pub fn lifetime(&self, lifetime: Duration) {
        self.shared.state().lifetime = lifetime;
    }

    /// Ends all tokens given so far.
    pub fn revoke_all(&self) {
        self.shared.state().tokens.clear();
    }

    /// The token requests so far, good and bad.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.shared.state().requests.clone()
    }

    /// How many token requests there were, good and bad.
    pub fn count(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// How often a server asked for a token's worth.
    pub fn introspections(&self) -> usize {
        self.shared.state().introspections
    }

    /// The tokens given so far, in order.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.state().order.clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
    }
}

fn answer(shared: &Shared, request: &Request) -> Option<Reply> {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/token") => token(shared, request),
        ("POST", "/introspect") => Some(introspect(shared, request)),
        _ => Some(Reply::json(404, &json!({"error": "not_found"}))),
    }
}

fn token(shared: &Shared, request: &Request) -> Option<Reply> {
    let form = request.form();
    let noted = TokenRequest {
        authorization: request.header("authorization").map(str::to_owned),
        assertion: form.get("client_assertion").or(form.get("assertion")).and_then(|text| assertion::parts(text)),
        form,
    };
    let behaviour = {
        let mut state = shared.state();
        state.requests.push(noted.clone());
        state.behaviour.clone()
    };
    match behaviour {
        Behaviour::Good => Some(grant(shared, request, &noted, true)),
        Behaviour::Stale => Some(grant(shared, request, &noted, false)),
        Behaviour::Says { status, headers, body } => Some(Reply { status, headers, body: body.into_bytes() }),
        Behaviour::HangsUp => None,
        Behaviour::Slow(time) => {
            let stop = shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
            drop(shared.stopped.wait_timeout_while(stop, time, |stop| !*stop));
            Some(grant(shared, request, &noted, true))
        }
    }
}

/// RFC 6749 §4.4.2 and RFC 7523 §2, refused as §5.2 has it.
fn grant(shared: &Shared, request: &Request, asked: &TokenRequest, alive: bool) -> Reply {
    let refuse = |status, error: &str, why: &str| Reply::json(status, &json!({"error": error, "error_description": why}));
    let field = |name: &str| asked.form.get(name).map(String::as_str);
    if request.header("content-type") != Some("application/x-www-form-urlencoded") {
        return refuse(400, "invalid_request", "not a form");
    }
    let scope = match field("grant_type") {
        Some("client_credentials") => {
            if let Err(why) = client(shared, asked) {
                return refuse(401, "invalid_client", &why);
            }
            field("scope").map(str::to_owned)
        }
        Some(JWT_BEARER) => match bearer(shared, asked) {
            Ok(scope) => scope,
            Err(why) => return refuse(400, "invalid_grant", &why),
        },
        _ => return refuse(400, "unsupported_grant_type", "neither client_credentials nor jwt-bearer"),
    };
    if shared.scope.is_some() && scope != shared.scope {
        return refuse(400, "invalid_scope", "this scope is not granted here");
    }
    let mut state = shared.state();
    let number = state.order.len() + 1;
    let text = format!("token-{number}-{}", "Ab3.".repeat(shared.token_bytes / 4));
    let lifetime = state.lifetime;
    if alive {
        state.tokens.insert(text.clone(), Issued { ends_at: Instant::now() + lifetime });
    }
    state.order.push(text.clone());
    Reply::json(200, &json!({"access_token": text, "token_type": "Bearer", "expires_in": lifetime.as_secs()}))
}

/// Who the client proves to be.
fn client(shared: &Shared, asked: &TokenRequest) -> Result<(), String> {
    let field = |name: &str| asked.form.get(name).map(String::as_str);
    if let Some(assertion) = field("client_assertion") {
        if field("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err("client_assertion_type is another one".to_owned());
        }
        let id = field("client_id").ok_or("client_id is missing")?;
        return judge(shared, assertion, id, Some(id)).map(|_| ());
    }
    let (id, secret) = match &asked.authorization {
        Some(header) => basic(header).ok_or("that is not HTTP Basic")?,
        None => (field("client_id").unwrap_or_default().to_owned(), field("client_secret").unwrap_or_default().to_owned()),
    };
    match shared.clients.get(&id) {
        Some(Client::Secret(right)) if *right == secret => Ok(()),
        _ => Err(format!("the client {id} has another secret")),
    }
}

/// RFC 7523 §2.1: an assertion that speaks for the mailbox; the scope it asks for.
fn bearer(shared: &Shared, asked: &TokenRequest) -> Result<Option<String>, String> {
    let assertion = asked.form.get("assertion").ok_or("assertion is missing")?;
    let issuer = asked.assertion.as_ref().and_then(|(_, claims)| claims["iss"].as_str()).ok_or("iss is missing")?;
    let claims = judge(shared, assertion, issuer, None)?;
    if claims["sub"] != shared.user.as_str() {
        return Err(format!("{} may not be acted for", claims["sub"]));
    }
    Ok(claims["scope"].as_str().map(str::to_owned))
}

fn judge(shared: &Shared, text: &str, id: &str, subject: Option<&str>) -> Result<Value, String> {
    let Some(Client::Key(key)) = shared.clients.get(id) else { return Err(format!("the client {id} has no key here")) };
    let claims = Judge { key, issuer: id, subject, audience: &format!("{}/token", shared.url) }.claims(text)?;
    let jti = claims["jti"].as_str().unwrap_or_default().to_owned();
    if jti.len() < 16 || !shared.state().used.insert(jti) {
        return Err("jti is missing, short or was used before".to_owned());
    }
    Ok(claims)
}

/// RFC 7617, the parts form-encoded as RFC 6749 §2.3.1 has them.
fn basic(header: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((listener::form_decoded(id), listener::form_decoded(secret)))
}

/// RFC 7662 §2.2.
fn introspect(shared: &Shared, request: &Request) -> Reply {
    let mut state = shared.state();
    state.introspections += 1;
    let token = request.form().remove("token").unwrap_or_default();
    let alive = state.tokens.get(&token).is_some_and(|issued| Instant::now() < issued.ends_at);
    let said = if alive { json!({"active": true, "username": shared.user, "scope": shared.scope}) } else { json!({"active": false}) };
    Reply::json(200, &said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;

    fn ask(issuer: &Issuer, form: &str) -> (u16, Value) {
        let reply = http::post(&issuer.token_url(), None, "application/x-www-form-urlencoded", form.as_bytes()).unwrap();
        (reply.status, reply.json())
    }

    fn is_active(issuer: &Issuer, token: &str) -> bool {
        let form = format!("token={token}");
        let reply = http::post(&issuer.introspection_url(), None, "application/x-www-form-urlencoded", form.as_bytes()).unwrap();
        reply.json()["active"] == true
    }

    const GOOD: &str = "grant_type=client_credentials&client_id=tidings&client_secret=s%26cret";

    #[test]
    fn a_known_client_gets_a_token_that_lives_until_it_ends() {
        let issuer = Issuer::builder().client("tidings", "s&cret").start();
        let (status, said) = ask(&issuer, GOOD);
        assert_eq!((status, &said["token_type"], &said["expires_in"]), (200, &json!("Bearer"), &json!(3600)));
        let token = said["access_token"].as_str().unwrap();
        assert!(is_active(&issuer, token) && !is_active(&issuer, "another") && token.len() > 1000);
        issuer.revoke_all();
        assert!(!is_active(&issuer, token));
        issuer.lifetime(Duration::ZERO);
        let (_, said) = ask(&issuer, GOOD);
        assert!(!is_active(&issuer, said["access_token"].as_str().unwrap()), "it ended at once");
        assert_eq!((issuer.count(), issuer.introspections()), (2, 4));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let issuer = Issuer::builder().client("tidings", "s&cret").scope("mail").start();
        for (form, error) in [
            ("grant_type=client_credentials&client_id=tidings&client_secret=wrong&scope=mail", "invalid_client"),
            ("grant_type=client_credentials&client_id=other&client_secret=s%26cret&scope=mail", "invalid_client"),
            ("grant_type=password&client_id=tidings&client_secret=s%26cret", "unsupported_grant_type"),
            (GOOD, "invalid_scope"),
            ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c", "invalid_grant"),
        ] {
            assert_eq!(ask(&issuer, form).1["error"], error, "{form}");
        }
        assert!(issuer.tokens().is_empty());
        let basic = format!("Basic {}", STANDARD.encode("tidings:s%26cret"));
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", basic.as_str())];
        let reply = http::request("POST", &issuer.token_url(), &headers, b"grant_type=client_credentials&scope=mail").unwrap();
        assert_eq!(reply.status, 200);
    }

    #[test]
    fn it_misbehaves_as_told() {
        let issuer = Issuer::builder().client("tidings", "s&cret").start();
        issuer.behave(Behaviour::Says { status: 503, headers: vec!["Retry-After: 9".to_owned()], body: "{}".to_owned() });
        let reply = http::post(&issuer.token_url(), None, "application/x-www-form-urlencoded", GOOD.as_bytes()).unwrap();
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("9")));
        issuer.behave(Behaviour::HangsUp);
        assert!(http::post(&issuer.token_url(), None, "application/x-www-form-urlencoded", GOOD.as_bytes()).is_err());
        issuer.behave(Behaviour::Stale);
        let (status, said) = ask(&issuer, GOOD);
        assert!(status == 200 && !is_active(&issuer, said["access_token"].as_str().unwrap()));
    }
}
