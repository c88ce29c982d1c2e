//! Who may do what: tokens, scopes, expiry, and how often the keeper is asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tidings_web::{GateLimits, Grant, KeeperError, Scope, ScopeSet, TokenDigest, TokenGate, TokenKeeper, mint};

use crate::house::{House, a_surface, the_log};

#[derive(Default)]
struct Keeper {
    grants: HashMap<TokenDigest, Grant>,
    asked: AtomicUsize,
    broken: AtomicBool,
}

impl Keeper {
    fn with(mut self, digest: TokenDigest, name: &str, scopes: &str, expires: Option<SystemTime>) -> Self {
        self.grants.insert(digest, Grant { name: name.into(), scopes: scopes.parse::<ScopeSet>().unwrap(), expires });
        self
    }
}

#[async_trait]
impl TokenKeeper for Keeper {
    async fn find(&self, digest: &TokenDigest) -> Result<Option<Grant>, KeeperError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if self.broken.load(Ordering::SeqCst) {
            return Err(KeeperError::new("disk I/O error"));
        }
        Ok(self.grants.get(digest).cloned())
    }
}

fn routes(gate: &TokenGate) -> Router {
    let router = Router::new()
        .route(
            "/v1/events",
            post(async |Extension(grant): Extension<Arc<Grant>>| grant.name.clone()).layer(gate.require(Scope::EventsWrite)),
        )
        .route("/v1/outbox", get(async || "items").layer(gate.require(Scope::OutboxRead)));
    a_surface().over(router)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[tokio::test]
async fn a_token_opens_what_its_scopes_allow_and_nothing_else() {
    let (writer, digest) = mint([1; 32]);
    let (admin, admin_digest) = mint([2; 32]);
    let keeper = Arc::new(Keeper::default().with(digest, "hr-sync", "events:write", None).with(admin_digest, "root", "admin", None));
    let gate = TokenGate::new(keeper.clone(), SystemTime::now, GateLimits::default());
    let house = House::open(routes(&gate)).await;

    for round in ["asked", "remembered"] {
        let reply = house.ask("POST", "/v1/events", &[&bearer(&writer)]).await;
        assert_eq!((reply.status(), reply.body()), (200, "hr-sync"), "{round}");
        let reply = house.ask("GET", "/v1/outbox", &[&bearer(&writer)]).await;
        assert_eq!(reply.problem(403)["detail"], "this needs the scope outbox:read", "{round}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\", scope=\"outbox:read\""));
        assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer(&admin)]).await.status(), 200, "{round}");
    }
    assert_eq!(keeper.asked.load(Ordering::SeqCst), 2);

    let lower_case = format!("authorization: bearer {writer}");
    assert_eq!(house.ask("POST", "/v1/events", &[&lower_case]).await.status(), 200);
}

#[tokio::test]
async fn without_a_good_token_the_answer_is_401_with_a_challenge() {
    let keeper = Arc::new(Keeper::default());
    let gate = TokenGate::new(keeper.clone(), SystemTime::now, GateLimits::default());
    let house = House::open(routes(&gate)).await;

    let reply = house.ask("GET", "/v1/outbox", &[]).await;
    assert_eq!(reply.problem(401)["type"], "/problems/unauthorized");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    assert_eq!(house.ask("GET", "/v1/outbox", &["Authorization: Basic YWRhOnB3"]).await.problem(401)["type"], "/problems/unauthorized");
    assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer("tid_guess")]).await.problem(401)["type"], "/problems/invalid-token");
    assert_eq!(keeper.asked.load(Ordering::SeqCst), 0, "what was never minted does not reach the store");

    let (unknown, _) = mint([9; 32]);
    let reply = house.ask("GET", "/v1/outbox", &[&bearer(&unknown)]).await;
    assert_eq!(reply.problem(401)["detail"], "no such token");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer(&unknown), &bearer(&unknown)]).await.status(), 400);
}

#[tokio::test]
async fn a_token_ends_at_its_time_even_while_it_is_remembered() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let (token, digest) = mint([3; 32]);
    let keeper = Keeper::default().with(digest, "ci", "outbox:read", Some(start + Duration::from_mins(1)));
    let passed = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&passed);
    let now = move || start + Duration::from_secs(clock.load(Ordering::SeqCst));
    let gate = TokenGate::new(Arc::new(keeper), now, GateLimits { remember_for: Duration::from_hours(1), remembered: 8 });
    let house = House::open(routes(&gate)).await;

    assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer(&token)]).await.status(), 200);
    passed.store(60, Ordering::SeqCst);
    assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer(&token)]).await.problem(401)["detail"], "the token has expired");
}

#[tokio::test]
async fn many_requests_with_one_token_ask_the_keeper_once() {
    let (token, digest) = mint([4; 32]);
    let keeper = Arc::new(Keeper::default().with(digest, "ci", "outbox:read", None));
    let gate = TokenGate::new(keeper.clone(), SystemTime::now, GateLimits::default());
    let house = Arc::new(House::open(routes(&gate)).await);

    let clients: Vec<_> = (0..50)
        .map(|_| {
            let (house, line) = (Arc::clone(&house), bearer(&token));
            tokio::spawn(async move { house.ask("GET", "/v1/outbox", &[&line]).await.status() })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 200);
    }
    assert_eq!(keeper.asked.load(Ordering::SeqCst), 1);

    gate.forget(&digest);
    assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer(&token)]).await.status(), 200);
    assert_eq!(keeper.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_keeper_that_does_not_answer_is_503_and_not_401() {
    let (token, digest) = mint([5; 32]);
    let keeper = Arc::new(Keeper::default().with(digest, "ci", "outbox:read", None));
    keeper.broken.store(true, Ordering::SeqCst);
    let gate = TokenGate::new(keeper.clone(), SystemTime::now, GateLimits::default());
    let house = House::open(routes(&gate)).await;

    let reply = house.ask("GET", "/v1/outbox", &[&bearer(&token)]).await;
    reply.problem(503);
    assert_eq!(reply.header("retry-after"), Some("2"));
    keeper.broken.store(false, Ordering::SeqCst);
    assert_eq!(house.ask("GET", "/v1/outbox", &[&bearer(&token)]).await.status(), 200, "the failure is not remembered");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let gate = TokenGate::new(Arc::new(Keeper::default()), SystemTime::now, GateLimits::default());
    let house = House::open(routes(&gate)).await;
    for _ in 0..5 {
        house.post("/v1/events", &"x".repeat(2_000_000)).await.problem(401);
    }
}

#[tokio::test]
async fn no_log_line_holds_a_token() {
    let (token, digest) = mint([6; 32]);
    let (unknown, _) = mint([7; 32]);
    let keeper = Arc::new(Keeper::default().with(digest, "ci", "outbox:read", None));
    let gate = TokenGate::new(keeper.clone(), SystemTime::now, GateLimits::default());
    let dump =
        Router::new().route("/dump", get(async |request: axum::extract::Request| tracing::info!(headers = ?request.headers(), "dumped")));
    let house = House::open(routes(&gate).merge(a_surface().over(dump))).await;

    for path in ["/v1/outbox", "/v1/events", "/dump", "/nowhere"] {
        house.ask("GET", path, &[&bearer(&token)]).await;
        house.ask("POST", path, &[&bearer(&unknown)]).await;
    }
    keeper.broken.store(true, Ordering::SeqCst);
    house.ask("GET", "/v1/outbox", &[&bearer(&unknown)]).await.problem(503);
    let text = the_log().text();
    assert!(text.contains("dumped") && text.contains("disk I/O error"), "{text}");
    assert!(!text.contains("tid_") && !text.contains(&token[10..20]) && !text.contains(&unknown[10..20]), "{text}");
}
