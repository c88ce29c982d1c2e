//! Another configuration while letters are on their way.

use crate::{
    failover::{PATIENCE, sink, smtp},
    house::{House, live, until},
};
use std::time::Duration;
use tidings_core::{Lane, outbox::State};
use tidings_delivery::{Refit, Route, plan::Limits};
use tidings_sink::{Fault, Stage, What, When};

fn route(relays: Vec<tidings_delivery::plan::RelayPlan>) -> Route {
    Route { relays, guard: live(), file: None }
}

#[tokio::test]
async fn what_is_on_the_wire_is_finished_and_the_rest_goes_the_new_way() {
    let (house, old, new) = (House::build().await, sink(), sink());
    old.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(300))));
    let mut plan = smtp("main", &old, None);
    plan.limits = Limits { sessions: 1, messages_per_session: 100 };
    house.accept_many(40).await;
    let mut postman = house.postman_with(vec![plan], live(), None);
    old.wait_for(1, PATIENCE).await.unwrap();
    let refit = postman.refit(route(vec![smtp("main", &new, None)]));
    assert_eq!(refit, Refit { changed: vec!["main".into()], ..Refit::default() });
    until("all are settled", || async { house.rows(State::Sent).await.len() == 40 }).await;
    let rows = house.rows(State::Sent).await;
    assert!(rows.iter().all(|row| !row.maybe_duplicate && row.attempts == 1), "nothing was cut off");
    assert_eq!(old.count() + new.count(), 40, "each went once, by one of the two");
    assert!(old.count() <= 4, "{} went the old way", old.count());
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_relay_that_stays_as_it_is_is_not_touched() {
    let (house, one, two) = (House::build().await, sink(), sink());
    one.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(20))));
    let plans = || {
        let mut plan = smtp("main", &one, None);
        plan.limits = Limits { sessions: 1, messages_per_session: 1000 };
        vec![plan]
    };
    house.accept_many(30).await;
    let mut postman = house.postman_with(plans(), live(), None);
    one.wait_for(3, PATIENCE).await.unwrap();
    let mut relays = plans();
    relays.push(smtp("two", &two, None));
    assert_eq!(postman.refit(route(relays)), Refit { added: vec!["two".into()], ..Refit::default() });
    assert_eq!(postman.refit(route(plans())), Refit { removed: vec!["two".into()], ..Refit::default() });
    assert_eq!(postman.refit(route(plans())), Refit::default());
    assert!(one.count() < 30, "the letters were on their way meanwhile");
    one.wait_for(30, PATIENCE).await.unwrap();
    assert_eq!(one.statistics().sessions, 1, "all went through the session that was open");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn letters_of_a_relay_that_is_gone_wait_until_it_is_back() {
    let (house, main, other) = (House::build().await, sink(), sink());
    let mut postman = house.postman_with(vec![smtp("main", &main, None), smtp("other", &other, None)], live(), None);
    postman.refit(route(vec![smtp("other", &other, None)]));
    until("its desk is gone", || async { postman.status().relays.len() == 1 }).await;
    house.accept(["ada@example.org".to_owned()], Lane::Notices).await;
    postman.refit(route(vec![smtp("other", &other, None), smtp("main", &main, None)]));
    main.wait_for(1, PATIENCE).await.unwrap();
    until("it is settled", || async { house.rows(State::Sent).await.len() == 1 }).await;
    assert_eq!(other.count(), 0);
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_relay_that_was_held_and_is_put_right_works_and_says_so() {
    use tidings_delivery::news::{News, Newswire};
    let (house, main) = (House::build().await, sink());
    let news = Newswire::default();
    let mut heard = news.listen();
    main.close().await;
    house.accept_many(3).await;
    let mut postman = house.postman_telling(smtp("main", &main, None), news);
    until("it is held", || async { postman.status().relays[0].condition == "held" }).await;
    let right = sink();
    postman.refit(route(vec![smtp("main", &right, None)]));
    right.wait_for(3, PATIENCE).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            if matches!(heard.recv().await.unwrap().what, News::Recovered) {
                return;
            }
        }
    });
    told.await.expect("that it works again is told");
    assert!(postman.stop(PATIENCE).await);
}
