//! Many tests on one server: each in a database of its own, several at a time.

use crate::house::{House, a_server};
use std::sync::Arc;
use tidings_testkit::postgres::Postgres;
use tokio::{sync::Semaphore, task::JoinHandle};

/// Tests at a time.
const AT_ONCE: usize = 4;

/// What runs on one server.
pub(crate) struct Suite {
    server: Arc<Postgres>,
    room: Arc<Semaphore>,
    /// Only what is named so, if anything is: the way to look at one test.
    only: Option<String>,
    running: Vec<(&'static str, JoinHandle<()>)>,
}

impl Suite {
    pub(crate) async fn start() -> Self {
        #[allow(clippy::disallowed_methods, reason = "a test that is looked at alone is named in the environment")]
        let only = std::env::var("TIDINGS_ONLY").ok();
        Self { server: a_server().await, room: Arc::new(Semaphore::new(AT_ONCE)), only, running: Vec::new() }
    }

    /// Has a test run in a database of its own.
    pub(crate) fn run<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        test: impl FnOnce(House) -> F + Send + 'static,
    ) {
        if self.only.as_deref().is_some_and(|only| !name.contains(only)) {
            return;
        }
        let (server, room, database) = (Arc::clone(&self.server), Arc::clone(&self.room), format!("house_{}", self.running.len()));
        let run = tokio::spawn(async move {
            let _place = room.acquire_owned().await.unwrap();
            let house = House::on_postgres(&server, &database).await;
            test(house).await;
        });
        self.running.push((name, run));
    }

    /// Waits for all, and names those that failed.
    pub(crate) async fn end(self) {
        let (count, mut failed) = (self.running.len(), Vec::new());
        for (name, run) in self.running {
            match run.await {
                Ok(()) => eprintln!("ok      {name}"),
                Err(error) => {
                    eprintln!("FAILED  {name}: {error}");
                    failed.push(name);
                }
            }
        }
        assert!(failed.is_empty(), "{} of {count} failed: {failed:?}\n{}", failed.len(), self.server.log());
    }
}
