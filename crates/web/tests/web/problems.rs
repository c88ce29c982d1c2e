//! Every error is a problem, whoever makes it; every reply has its id and its safe headers; bodies and times have limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;
use tidings_web::{NotReady, Readiness, RequestId, Surface, health_routes, limits};
use tokio::io::AsyncWriteExt;

use crate::house::{House, a_surface, read_reply, the_log};

#[derive(Deserialize)]
struct Page {
    limit: u16,
}

fn broken() -> &'static str {
    panic!("the roof fell in");
}

fn routes() -> Router {
    Router::new()
        .route("/page", get(async |Query(page): Query<Page>| page.limit.to_string()))
        .route("/json", post(async |Json(map): Json<BTreeMap<String, u8>>| map.len().to_string()))
        .route("/panic", get(async || broken()))
        .route("/fault", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "table tokens is locked")))
        .route("/id", get(async |Extension(id): Extension<RequestId>| id.to_string()))
        .route("/page.html", get(async || ([("content-type", "text/html"), ("cache-control", "private")], "<p>")))
        .route("/lost.html", get(async || (StatusCode::NOT_FOUND, [("content-type", "text/html")], "<p>lost")))
        .route("/small", post(async |body: Bytes| body.len().to_string()).layer(limits::body_limit(10)))
        .route("/large", post(async |body: Bytes| body.len().to_string()).layer(limits::body_limit(4_000_000)))
        .route("/plain", post(async |body: Bytes| body.len().to_string()))
        .route("/slow", post(async |_: Bytes| std::future::pending::<()>().await).layer(limits::request_timeout(Duration::from_millis(50))))
}

async fn a_house() -> House {
    House::open(Surface { body_limit: 1000, ..a_surface() }.over(routes())).await
}

#[tokio::test]
async fn what_axum_refuses_is_a_problem_too() {
    let house = a_house().await;
    assert_eq!(house.get("/nowhere").await.problem(404), json!({"type": "about:blank", "title": "Not Found", "status": 404}));
    let reply = house.ask("DELETE", "/page", &[]).await;
    assert_eq!(reply.problem(405)["title"], "Method Not Allowed");
    assert_eq!(reply.header("allow"), Some("GET,HEAD"));
    assert!(house.get("/page?limit=many").await.problem(400)["detail"].as_str().unwrap().contains("limit"));
    assert_eq!(house.post("/json", "{}").await.problem(415)["title"], "Unsupported Media Type");
    assert_eq!(house.get("/page?limit=5").await.body(), "5");
    let head = house.ask("HEAD", "/nowhere", &[]).await;
    assert_eq!((head.status(), head.body()), (404, ""));
}

#[tokio::test]
async fn an_error_page_stays_a_page() {
    let reply = a_house().await.get("/lost.html").await;
    assert_eq!((reply.status(), reply.body()), (404, "<p>lost"));
}

#[tokio::test]
async fn a_panic_is_answered_with_500_and_logged_once() {
    let house = a_house().await;
    let reply = house.ask("GET", "/panic", &["X-Request-Id: r-4711"]).await;
    let problem = reply.problem(500);
    assert_eq!(problem["request_id"], "r-4711");
    assert_eq!(reply.header("x-request-id"), Some("r-4711"));
    assert!(!reply.body().contains("roof"));
    let text = the_log().text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("ERROR") && line.contains("r-4711")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains("a handler panicked") && lines[0].contains("/panic"), "{text}");
    assert_eq!(house.get("/id").await.status(), 200, "the house goes on");
}

#[tokio::test]
async fn an_inner_fault_is_logged_and_not_told() {
    let reply = a_house().await.get("/fault").await;
    assert_eq!(reply.problem(500)["type"], "/problems/internal");
    assert!(!reply.body().contains("locked"));
    assert!(the_log().text().contains("table tokens is locked"));
}

#[tokio::test]
async fn every_reply_has_an_id_and_safe_headers() {
    let house = a_house().await;
    let reply = house.get("/id").await;
    assert_eq!(reply.header("x-request-id"), Some(reply.body()));
    assert!(reply.body().starts_with("000000000000feed-"));
    for reply in [reply, house.get("/nowhere").await, house.get("/panic").await] {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert!(reply.header("content-security-policy").is_some());
        assert!(reply.header("x-request-id").is_some());
    }
    assert_eq!(house.get("/page.html").await.header("cache-control"), Some("private"));
    let odd = house.ask("GET", "/id", &["X-Request-Id: two words"]).await;
    assert!(odd.body().starts_with("000000000000feed-"), "{odd:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_names_the_limit() {
    let house = a_house().await;
    for (path, length, status) in [
        ("/small", 10, 200),
        ("/small", 11, 413),
        ("/plain", 1000, 200),
        ("/plain", 1001, 413),
        ("/large", 3_000_000, 200),
        ("/large", 4_000_001, 413),
    ] {
        let reply = house.post(path, &"x".repeat(length)).await;
        assert_eq!(reply.status(), status, "{path} {length}");
        if status == 413 {
            let detail = reply.problem(413)["detail"].as_str().unwrap().to_owned();
            assert_eq!(detail, format!("at most {} bytes are taken here", length - 1));
        }
    }
    let chunked =
        "POST /small HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n";
    assert_eq!(house.say(chunked).await.problem(413)["detail"], "at most 10 bytes are taken here");
}

#[tokio::test]
async fn a_slow_handler_is_503_and_a_slow_client_408() {
    let house = a_house().await;
    let reply = house.post("/slow", "whole").await;
    reply.problem(503);
    assert_eq!(reply.header("retry-after"), Some("5"));

    let mut stream = house.connect().await;
    stream.write_all(b"POST /slow HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    read_reply(&mut stream).await.problem(408);
}

#[derive(Default)]
struct Parts {
    database_down: AtomicBool,
}

#[async_trait]
impl Readiness for Parts {
    async fn not_ready(&self) -> Vec<NotReady> {
        let down = self.database_down.load(Ordering::SeqCst);
        down.then(|| NotReady { part: "database".into(), reason: "read-only file system".into() }).into_iter().collect()
    }
}

#[tokio::test]
async fn readiness_says_what_is_missing_and_health_stays_up() {
    let parts = Arc::new(Parts::default());
    let house = House::open(a_surface().over(health_routes(parts.clone())).merge(a_surface().over(routes()))).await;
    let reply = house.get("/readyz").await;
    assert_eq!((reply.status(), reply.json()), (200, json!({"ready": true})));
    parts.database_down.store(true, Ordering::SeqCst);
    let reply = house.get("/readyz").await;
    assert_eq!(reply.status(), 503);
    assert_eq!(reply.json(), json!({"ready": false, "not_ready": [{"part": "database", "reason": "read-only file system"}]}));
    assert_eq!(house.get("/healthz").await.status(), 200);
    house.get("/nowhere").await.problem(404);
}
