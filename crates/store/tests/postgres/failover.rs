//! A server that does not answer any more, and another one that does.

use crate::house::{a_server, clock, options};
use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidings_store::{OpenOptions, PostgresStore, PostgresTuning, Store, StoreError};
use tidings_testkit::postgres::Postgres;

/// All processes of a server, stopped until this is dropped: connections to it are still taken, by the system, and nobody answers.
struct Stopped(Vec<String>);

impl Stopped {
    fn all(server: &Postgres) -> Self {
        let first = std::fs::read_to_string(server.folder().join("data/postmaster.pid")).unwrap();
        let mut processes = vec![first.lines().next().unwrap().to_owned()];
        processes
            .extend(server.sql("postgres", "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").lines().map(str::to_owned));
        Self::signal(&processes, "-STOP");
        Self(processes)
    }

    fn signal(processes: &[String], signal: &str) {
        // One that has just ended is none of ours any more.
        let _ = Command::new("kill").arg(signal).args(processes).output();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        Self::signal(&self.0, "-CONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_holds_nobody_for_ever_and_another_host_is_found() {
    let (first, second) = tokio::join!(a_server(), a_server());
    let folder = TempDir::new().unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/house_template", first.port(), second.port());
    let open = || OpenOptions { url: url.clone(), ..options(folder.path().to_owned(), clock()) };
    let tuning = PostgresTuning { patience: Some(Duration::from_secs(3)), ..PostgresTuning::default() };
    let store = PostgresStore::open(open(), tuning).await.unwrap();
    // Patience is short here, and both servers have only just begun.
    let begun = Instant::now();
    while let Err(error) = store.write_slate("where", 0, "first").await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
    }
    assert_eq!(store.slate("where").await.unwrap().version, 1);

    let server = Arc::clone(&first);
    let stopped = tokio::task::spawn_blocking(move || Stopped::all(&server)).await.unwrap();
    let (begun, mut refused) = (Instant::now(), 0);
    loop {
        let asked = Instant::now();
        // Many at once, so that no connection of the pool is spared.
        let answers = futures_util::future::join_all((0..16).map(|_| store.slate("where"))).await;
        assert!(asked.elapsed() < Duration::from_secs(20), "nobody waits for ever");
        if answers.iter().all(|answer| answer.as_ref().is_ok_and(|slate| slate.version == 0)) {
            break;
        }
        refused += answers.iter().filter(|answer| matches!(answer, Err(StoreError::Unavailable(_)))).count();
        assert!(begun.elapsed() < Duration::from_secs(60), "the other host is found: {answers:?}");
    }
    assert!(refused > 0);
    // Whoever starts now goes past the one that takes the connection and says nothing.
    let fresh = PostgresStore::open(open(), tuning).await.unwrap();
    let begun = Instant::now();
    while let Err(error) = fresh.ready().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
    }
    drop(stopped);
}
