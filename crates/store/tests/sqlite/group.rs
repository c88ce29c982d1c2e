//! Group commit: callers that come together share a flush.

use crate::house::House;
use futures_util::future::{FutureExt as _, join_all};
use std::{sync::Arc, time::Duration};
use tidings_store::{Store, Tuning};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_share_commits_on_a_disk_whose_flush_takes_two_milliseconds() {
    let (house, store) = House::on_disk(Tuning { flush_delay: Duration::from_millis(2), ..Tuning::default() }, 0).await;
    let before = store.commits();
    let tasks = (0..64).map(|caller| {
        let batches: Vec<_> = (0..10).map(|n| vec![house.an_event(&format!("e{caller}-{n}")).build()]).collect();
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for batch in batches {
                store.accept(batch).await.unwrap();
            }
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
    let commits = store.commits() - before;
    assert!((10..=160).contains(&commits), "640 acceptances in {commits} commits");
}

#[tokio::test]
async fn a_claim_that_finds_nothing_writes_nothing() {
    let (house, store) = House::on_disk(Tuning::default(), 0).await;
    house.accept(house.an_event("e1").by("backup")).await;
    let before = store.commits();
    for _ in 0..5 {
        assert!(house.claim(10).await.is_empty());
        assert_eq!(store.expire(10).await.unwrap(), 0);
    }
    assert_eq!(store.commits(), before);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_writer() {
    let (house, store) = House::on_disk(Tuning { flush_delay: Duration::from_millis(200), ..Tuning::default() }, 0).await;
    let (first, second) = (house.an_event("e1").build(), house.an_event("e2").build());
    let id = first.items[0].id;
    assert!(store.accept(vec![first]).now_or_never().is_none(), "a commit takes longer than this");
    store.accept(vec![second]).await.unwrap();
    assert!(store.item(id).await.unwrap().is_some(), "what had been queued was written");
}
