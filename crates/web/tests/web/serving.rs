//! Connections: TLS, an orderly end, clients that stall, and the bound on their number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use tidings_web::{BindError, ConnectionLimits, Farewell, Listener, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::house::{DEADLINE, House, a_surface, read_reply};

const GET_ROOT: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

fn hello() -> Router {
    a_surface().over(Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>| peer.ip().to_string())))
}

/// A route that says when a request is in it, and answers when it is told to.
fn waiting() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (inside, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&inside), Arc::clone(&go));
    let handler = async move || {
        tell.notify_one();
        wait.notified().await;
        "finished"
    };
    (a_surface().over(Router::new().route("/", get(handler))), inside, go)
}

/// Reads one reply of a connection that stays open.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let n = timeout(DEADLINE, stream.read(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

#[tokio::test]
async fn a_taken_or_impossible_address_is_named() {
    let first = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = first.bound_addr().to_string();
    let error = Listener::bind(&address).await.err().unwrap();
    assert_eq!(error.to_string(), format!("{address} is already in use"));
    assert!(matches!(Listener::bind("192.0.2.1:0").await.err().unwrap(), BindError::NotHere { .. }));
    let error = Listener::bind("8025").await.err().unwrap();
    assert!(matches!(error, BindError::NotAnAddress { .. }) && error.to_string().starts_with("8025 is not an address to listen on"));
}

#[tokio::test]
async fn tls_serves_with_its_certificate_and_plain_text_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem"), clients: None };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut house = House::open_with(hello(), ConnectionLimits::default(), Some(&files)).await;

    let url = format!("https://localhost:{}/", house.addr.port());
    let trusted = Certificate::from_der(made.cert.der()).to_owned();
    let fetch = move |roots: RootCerts| {
        let tls = TlsConfig::builder().root_certs(roots).build();
        let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(DEADLINE)).proxy(None).build().into();
        agent.get(&url).call().and_then(|mut reply| reply.body_mut().read_to_string())
    };
    let (trusting, doubting) =
        tokio::task::spawn_blocking(move || (fetch(RootCerts::new_with_certs(&[trusted])), fetch(RootCerts::WebPki))).await.unwrap();
    assert_eq!(trusting.unwrap(), "127.0.0.1");
    assert!(doubting.is_err());

    let mut plain = house.connect().await;
    plain.write_all(GET_ROOT.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(DEADLINE, plain.read_to_end(&mut bytes)).await.unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP/1.1"));

    let _silent = house.connect().await;
    house.close();
    assert_eq!(house.farewell().await, Farewell { dropped: 0 });
}

#[tokio::test]
async fn an_orderly_end_finishes_the_request_in_flight() {
    let (router, inside, go) = waiting();
    let mut house = House::open(router).await;
    let mut busy = house.connect().await;
    busy.write_all(GET_ROOT.as_bytes()).await.unwrap();
    let mut fresh = house.connect().await;
    timeout(DEADLINE, inside.notified()).await.unwrap();

    house.close();
    // The connection that asked nothing is closed, and the door as well, while the request in flight still runs.
    let mut byte = [0];
    assert_eq!(timeout(DEADLINE, fresh.read(&mut byte)).await.unwrap().unwrap_or(0), 0);
    assert!(TcpStream::connect(house.addr).await.is_err());
    go.notify_one();
    let reply = read_reply(&mut busy).await;
    assert_eq!((reply.status(), reply.body()), (200, "finished"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(house.farewell().await, Farewell { dropped: 0 });
}

#[tokio::test]
async fn an_idle_kept_connection_does_not_delay_the_end() {
    let mut house = House::open(hello()).await;
    let mut kept = house.connect().await;
    kept.write_all(GET_ROOT.as_bytes()).await.unwrap();
    assert!(read_head(&mut kept).await.starts_with("HTTP/1.1 200"));
    let begun = Instant::now();
    house.close();
    assert_eq!(house.farewell().await, Farewell { dropped: 0 });
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_is_not_finished_at_the_deadline_is_dropped_and_counted() {
    let (router, inside, _go) = waiting();
    let limits = ConnectionLimits { shutdown: Duration::from_millis(50), ..ConnectionLimits::default() };
    let mut house = House::open_with(router, limits, None).await;
    let mut busy = house.connect().await;
    busy.write_all(GET_ROOT.as_bytes()).await.unwrap();
    timeout(DEADLINE, inside.notified()).await.unwrap();
    house.close();
    assert_eq!(house.farewell().await, Farewell { dropped: 1 });
    assert_eq!(read_reply(&mut busy).await.0, "");
}

#[tokio::test]
async fn a_client_that_dribbles_its_headers_is_cut_off() {
    let limits = ConnectionLimits { header_read: Duration::from_millis(200), ..ConnectionLimits::default() };
    let house = House::open_with(hello(), limits, None).await;
    let (mut reader, mut writer) = house.connect().await.into_split();
    let dribble = tokio::spawn(async move {
        writer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while writer.write_all(b"X-Pad: a\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut bytes = Vec::new();
    // Closed or reset, both end it; an answer does not come.
    let _ = timeout(DEADLINE, reader.read_to_end(&mut bytes)).await.expect("the server cuts it off");
    assert!(!bytes.starts_with(b"HTTP/1.1 200"));
    timeout(DEADLINE, dribble).await.unwrap().unwrap();
    assert_eq!(house.get("/").await.status(), 200);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let limits = ConnectionLimits { connections: 1, ..ConnectionLimits::default() };
    let (router, inside, go) = waiting();
    let house = House::open_with(router, limits, None).await;
    let mut first = house.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
    timeout(DEADLINE, inside.notified()).await.unwrap();

    let mut second = house.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(100), inside.notified()).await.is_err(), "the second is not served beside the first");
    go.notify_one();
    assert_eq!(read_reply(&mut first).await.status(), 200);
    drop(first);
    timeout(DEADLINE, inside.notified()).await.unwrap();
    go.notify_one();
    assert_eq!(read_reply(&mut second).await.status(), 200);
}
