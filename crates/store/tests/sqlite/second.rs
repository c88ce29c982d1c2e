//! A second process on the same database: an operator's command beside a running server.

use crate::house::{House, ask, only, options, outcome};
use std::sync::Arc;
use tidings_core::outbox::State;
use tidings_store::{Acted, Action, Settled, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sees_at_once_what_the_other_did() {
    let serve = House::on_sqlite().await;
    let command = open(options(serve.folder.path().to_owned(), serve.clock.clone())).await.unwrap();
    let id = serve.accept_one(serve.an_event("e1")).await;
    assert_eq!(command.act(Action::Hold, only(id), "ada").await.unwrap(), Acted { changed: 1, skipped: 0 });
    assert!(serve.claim(1).await.is_empty());
    assert_eq!(serve.history(id).await, ["accepted", "hold"]);
    command.pause_relay("main", true, "ada").await.unwrap();
    command.act(Action::Release, only(id), "ada").await.unwrap();
    assert!(serve.claim(1).await.is_empty());
    command.pause_relay("main", false, "ada").await.unwrap();
    let lease = serve.claim(1).await.remove(0);
    assert_eq!(command.settle(vec![outcome(&lease, State::Sent, serve.now())]).await.unwrap(), [Settled::Done]);
    assert_eq!(serve.state(id).await, State::Sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_at_once_wait_for_each_other() {
    let serve = House::on_sqlite().await;
    let other = open(options(serve.folder.path().to_owned(), serve.clock.clone())).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..200 {
        let store = if n % 2 == 0 { Arc::clone(&serve.store) } else { Arc::clone(&other) };
        let mut acceptance = serve.an_event(&format!("e{n}")).build();
        acceptance.source = format!("source-{}", n / 7);
        tasks.push(tokio::spawn(async move { store.accept(vec![acceptance]).await }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(other.claim(ask("node-a", 1000)).await.unwrap().len(), 200);
}
