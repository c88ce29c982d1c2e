//! Opening: encryption, the schema, the key, and what is not there.

use crate::house::{House, a_server, clock, options};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;
use tidings_store::{OpenOptions, SealKey, StoreError};
use tidings_testkit::{
    certs::{TestCa, Validity},
    postgres::Postgres,
};

fn at(url: String) -> OpenOptions {
    OpenOptions { url, ..options("unused".into(), clock()) }
}

/// An error with its causes.
fn said(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

async fn refusal(url: String) -> String {
    match tidings_store::open(at(url)).await {
        Ok(_) => panic!("it is opened"),
        Err(error) => said(&error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_another_program_and_a_newer_schema_are_refused() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    house.accept(house.an_event("e1")).await;
    let other_key = OpenOptions { key: SealKey::from_bytes([9; 32]), ..at(server.url("house")) };
    assert!(matches!(tidings_store::open(other_key).await, Err(StoreError::Key(_))));

    let sql = Arc::clone(&server);
    tokio::task::spawn_blocking(move || {
        sql.sql("house", "UPDATE meta SET value = '99' WHERE name IN ('schema', 'schema_oldest')");
        sql.create("foreign_house", None);
        sql.sql("foreign_house", "CREATE TABLE meta (name text, value bytea)");
    })
    .await
    .unwrap();
    assert!(matches!(tidings_store::open(at(server.url("house"))).await, Err(StoreError::Newer { found: 99, .. })));
    assert!(refusal(server.url("foreign_house")).await.contains("another program"));
    let missing = refusal(server.url("missing").replace("postgres@", "postgres:hunter2@")).await;
    assert!(missing.contains("\"missing\" does not exist") && !missing.contains("hunter2"), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_said_so_and_another_host_is_tried() {
    let server = a_server().await;
    let port = server.port();
    let away = refusal("postgres://postgres:hunter2@127.0.0.1:1/house".to_owned()).await;
    assert!(away.contains("refused") && !away.contains("hunter2"), "{away}");
    let several = format!("postgres://postgres@127.0.0.1:1,127.0.0.1:{port}/house_template");
    tidings_store::open(at(several)).await.unwrap().ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_proves_who_it_is_as_far_as_it_is_asked() {
    let (ours, other) = (TestCa::new(), TestCa::new());
    let certificate = ours.issue("db.example.org", Validity::Good);
    let (known, unknown) = (ours.pem_path(), other.pem_path());
    let server = tokio::task::spawn_blocking(move || {
        let server = Postgres::builder().tls(&certificate).start();
        server.create("house", None);
        server
    });
    let server = server.await.unwrap();
    let url = |query: &str| format!("{}?{query}", server.url("house"));
    let by = |path: &Path| format!("sslrootcert={}", path.display());
    for mode in ["sslmode=disable".to_owned(), "sslmode=require".to_owned(), format!("sslmode=verify-ca&{}", by(known))] {
        tidings_store::open(at(url(&mode))).await.unwrap_or_else(|error| panic!("{mode}: {}", said(&error)));
    }
    // Its certificate is of a known authority, and not for the address that was asked for.
    for mode in [
        format!("sslmode=verify-ca&{}", by(unknown)),
        format!("sslmode=require&{}", by(unknown)),
        format!("sslmode=verify-full&{}", by(known)),
    ] {
        let refused = refusal(url(&mode)).await;
        assert!(refused.to_lowercase().contains("certificate"), "{mode}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_that_counts_is_the_servers() {
    let server = a_server().await;
    let maker = Arc::clone(&server);
    tokio::task::spawn_blocking(move || maker.create("house", Some("house_template"))).await.unwrap();
    let (folder, clock) = (TempDir::new().unwrap(), clock());
    // A node whose own clock is a year behind: what it accepts is accepted now, and its leases end when they should.
    clock.advance(crate::house::hours(-24 * 365));
    let options = OpenOptions { url: server.url("house"), ..options(folder.path().to_owned(), clock.clone()) };
    let store = tidings_store::open(options).await.unwrap();
    let house = House { store, clock, mint: tidings_core::IdMint::starting_after(None, 1), folder };
    let id = house.accept_one(house.an_event("e1").lives_for(crate::house::hours(24 * 365 * 50))).await;
    let lease = house.claim(1).await.remove(0);
    let row = house.detail(id).await.row;
    let now =
        tokio::task::spawn_blocking(move || server.sql("house", "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"));
    let now: i64 = now.await.unwrap().parse().unwrap();
    assert!((now - row.accepted_at.as_millisecond()).abs() < 60_000, "{row:?}");
    assert_eq!(lease.accepted_at, row.accepted_at);
    assert!((row.due_at.as_millisecond() - now - 60_000).abs() < 60_000, "the lease ends a minute from now: {row:?}");
}
