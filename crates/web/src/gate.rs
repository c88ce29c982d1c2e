//! The gate before a route: who holds this token, and may they do this?
//!
//! In the steady state a request costs one SHA-256 and one look into the cache, and no allocation. The store is asked only when the cache
//! does not know the token, and then by one request at a time per slice of the digests: neither a lapsed entry under load nor a flood of
//! guesses becomes a flood of database reads.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either, FutureExt};
use tokio::sync::Mutex;
use tower::{Layer, Service};

use crate::cache::GrantCache;
use crate::error::chain;
use crate::problem::Problem;
use crate::tls::ClientCertificate;
use crate::token::{Grant, Scope, ScopeSet, TokenDigest, TokenKeeper, looks_minted};

const FLIGHTS: usize = 16;
const KEEPER_RETRY: Duration = Duration::from_secs(2);

/// How much the gate remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// How long a good token is believed without asking the keeper again: the longest a revoked token still works. Default 5 s.
    pub remember_for: Duration,
    /// How many tokens are remembered at most; 0 asks the keeper for every request. Default 1,024.
    pub remembered: usize,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self { remember_for: Duration::from_secs(5), remembered: 1024 }
    }
}

/// Checks bearer tokens. Cheap to clone; all clones share one memory.
#[derive(Clone)]
pub struct TokenGate(Arc<Inner>);

struct Inner {
    keeper: Arc<dyn TokenKeeper>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    cache: GrantCache,
    flights: [Mutex<()>; FLIGHTS],
    /// Whether routes with a scope are for holders of certificates alone.
    certificates: bool,
}

impl TokenGate {
    /// A gate that asks `keeper`, and `clock` whether a token has expired.
    pub fn new(keeper: Arc<dyn TokenKeeper>, clock: impl Fn() -> SystemTime + Send + Sync + 'static, limits: GateLimits) -> Self {
        Self(Arc::new(Inner {
            keeper,
            clock: Box::new(clock),
            cache: GrantCache::new(limits.remembered, limits.remember_for),
            flights: std::array::from_fn(|_| Mutex::new(())),
            certificates: false,
        }))
    }

    /// The same gate, which demands a certificate that counts ([`crate::TlsFiles::clients`]) before every route it guards: without one 403, whatever token is shown. Who
    /// has one may post events without a token; for everything else it takes the token, too.
    #[must_use]
    pub fn with_certificates(self) -> Self {
        let inner = Arc::into_inner(self.0).expect("a gate is set up before it is shared");
        Self(Arc::new(Inner { certificates: true, ..inner }))
    }

    /// A layer for routes that need `scope`: without a token 401, with an unknown or expired one 401, without the scope 403. Behind it,
    /// `Extension<Arc<Grant>>` tells who asks.
    pub fn require(&self, scope: Scope) -> RequireScope {
        RequireScope { gate: self.clone(), scope }
    }

    /// The grant of the token these headers carry.
    ///
    /// # Errors
    /// The problem to answer with: 401 without a good token, 503 if the keeper does not answer.
    pub async fn grant_of(&self, headers: &HeaderMap) -> Result<Arc<Grant>, Problem> {
        let digest = presented(headers)?;
        match self.0.cache.recall(&digest, Instant::now()) {
            Some(grant) => self.unexpired(grant),
            None => self.look_up(digest).await,
        }
    }

    /// Drops a token from the memory, so that its revocation counts from the next request on (in this process).
    pub fn forget(&self, digest: &TokenDigest) {
        self.0.cache.forget(digest);
    }

    async fn look_up(&self, digest: TokenDigest) -> Result<Arc<Grant>, Problem> {
        let flight = &self.0.flights[usize::from(digest.as_bytes()[0]) % FLIGHTS];
        let _one_at_a_time = flight.lock().await;
        if let Some(grant) = self.0.cache.recall(&digest, Instant::now()) {
            return self.unexpired(grant);
        }
        match self.0.keeper.find(&digest).await {
            Ok(Some(grant)) => {
                let grant = Arc::new(grant);
                self.0.cache.learn(digest, Arc::clone(&grant), Instant::now());
                self.unexpired(grant)
            }
            Ok(None) => Err(Problem::invalid_token("no such token")),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a token could not be checked; the request is answered with 503");
                Err(Problem::unavailable("tokens cannot be checked at the moment", KEEPER_RETRY))
            }
        }
    }

    fn unexpired(&self, grant: Arc<Grant>) -> Result<Arc<Grant>, Problem> {
        match grant.expires {
            Some(end) if end <= (self.0.clock)() => Err(Problem::invalid_token("the token has expired")),
            _ => Ok(grant),
        }
    }
}

/// The digest of the token in `Authorization: Bearer …` (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).
fn presented(headers: &HeaderMap) -> Result<TokenDigest, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(Problem::unauthorized)?;
    if values.next().is_some() {
        return Err(Problem::bad_request("more than one Authorization header"));
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(Problem::unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::unauthorized());
    }
    let token = token.trim();
    if looks_minted(token) { Ok(TokenDigest::of(token)) } else { Err(Problem::invalid_token("not a token of this server")) }
}

/// The layer made by [`TokenGate::require`].
#[derive(Clone)]
pub struct RequireScope {
    gate: TokenGate,
    scope: Scope,
}

impl RequireScope {
    /// Whether the certificate alone lets the request through; a token, if one is shown, is to be judged all the same.
    fn certified(&self, request: &mut Request) -> Result<bool, Problem> {
        let refused =
            |detail: String| Problem::typed(StatusCode::FORBIDDEN, "client-certificate", "A certificate is needed").detail(detail);
        let certificate = request.extensions().get::<ClientCertificate>();
        let certificate =
            certificate.ok_or_else(|| refused("this route is for clients that show a certificate (mutual TLS)".to_owned()))?;
        if !certificate.counts {
            return Err(refused(format!("the certificate of `{}` is not one of those that are let in", certificate.name)));
        }
        if self.scope != Scope::EventsWrite || request.headers().contains_key(AUTHORIZATION) {
            return Ok(false);
        }
        let name = format!("certificate:{}", certificate.name);
        let grant = Grant { name, scopes: ScopeSet::from_iter([Scope::EventsWrite]), expires: None };
        request.extensions_mut().insert(Arc::new(grant));
        Ok(true)
    }

    /// Lets the request through with its grant attached, or says why not.
    fn admit(&self, grant: Result<Arc<Grant>, Problem>, request: &mut Request) -> Result<(), Problem> {
        let grant = grant?;
        if !grant.scopes.allows(self.scope) {
            return Err(Problem::forbidden(self.scope));
        }
        request.extensions_mut().insert(grant);
        Ok(())
    }
}

impl<S> Layer<S> for RequireScope {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { require: self.clone(), inner }
    }
}

/// A route behind [`TokenGate::require`].
#[derive(Clone)]
pub struct Guarded<S> {
    require: RequireScope,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let refuse = |problem: Problem| Either::Right(std::future::ready(Ok(problem.into_response())).boxed());
        if self.require.gate.0.certificates {
            match self.require.certified(&mut request) {
                Ok(true) => return Either::Left(self.inner.call(request)),
                Ok(false) => {}
                Err(problem) => return refuse(problem),
            }
        }
        let digest = match presented(request.headers()) {
            Ok(digest) => digest,
            Err(problem) => return refuse(problem),
        };
        if let Some(grant) = self.require.gate.0.cache.recall(&digest, Instant::now()) {
            let grant = self.require.gate.unexpired(grant);
            return match self.require.admit(grant, &mut request) {
                Ok(()) => Either::Left(self.inner.call(request)),
                Err(problem) => refuse(problem),
            };
        }
        // The service that was polled ready goes with the request, its clone stays (tower's contract).
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        let require = self.require.clone();
        Either::Right(
            async move {
                let grant = require.gate.look_up(digest).await;
                match require.admit(grant, &mut request) {
                    Ok(()) => ready.call(request).await,
                    Err(problem) => Ok(problem.into_response()),
                }
            }
            .boxed(),
        )
    }
}
