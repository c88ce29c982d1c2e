//! What becomes of secrets.

use crate::house::{House, hours, only, outcome};
use tidings_core::outbox::State;
use tidings_store::{Acted, Action};

const PASSWORD: &str = "Winter-Storm-2026";

pub(crate) async fn a_sensitive_letter_is_erased_with_its_last_copy(house: &House) {
    house.accept(house.an_event("e1").to(&["ada@example.org", "grace@example.org"]).secret(PASSWORD)).await;
    let leases = house.claim(1).await;
    assert!(std::str::from_utf8(&leases[0].bytes).unwrap().contains(PASSWORD), "a lease carries the letter itself");
    house.settle(outcome(&leases[0], State::Sent, house.now())).await;
    let copy = house.claim(1).await.remove(0);
    assert!(std::str::from_utf8(&copy.bytes).unwrap().contains(PASSWORD), "the copy still has its letter");
    house.settle(outcome(&copy, State::Waiting, house.now())).await;
    let copy = house.claim(1).await.remove(0);
    assert!(std::str::from_utf8(&copy.bytes).unwrap().contains(PASSWORD), "a refusal for now erases nothing");
    house.settle(outcome(&copy, State::Failed, house.now())).await;
    assert_eq!(house.store.act(Action::Retry, only(copy.id), "ada").await.unwrap(), Acted { changed: 0, skipped: 1 });
    assert_eq!(house.store.letter(copy.id).await.unwrap(), None);
}

pub(crate) async fn a_secret_is_never_shown(house: &House) {
    let acceptance = house.an_event("e1").secret(PASSWORD).build();
    let numbers = format!("{:?}", PASSWORD.as_bytes());
    let numbers = numbers.trim_matches(['[', ']']);
    let shown = |text: &str| text.contains(PASSWORD) || text.contains(numbers);
    assert!(!shown(&format!("{acceptance:?}")));
    let (id, event) = (acceptance.items[0].id, acceptance.id);
    house.store.accept(vec![acceptance]).await.unwrap();
    assert_eq!(house.store.letter(id).await.unwrap(), None);
    assert!(!shown(&format!("{:?}", house.store.event(event).await.unwrap())));
    let lease = house.claim(1).await.remove(0);
    assert!(!shown(&format!("{lease:?}")));
    assert!(!format!("{lease:?}").contains("ada@example.org"));
}

pub(crate) async fn an_erased_letter_cannot_be_retried(house: &House) {
    let id = house.accept_one(house.an_event("e1").secret(PASSWORD)).await;
    let lease = house.claim(1).await.remove(0);
    house.settle(outcome(&lease, State::Failed, house.now())).await;
    assert_eq!(house.store.act(Action::Retry, only(id), "ada").await.unwrap(), Acted { changed: 0, skipped: 1 });
    assert_eq!(house.state(id).await, State::Failed);
}

pub(crate) async fn an_expired_or_cancelled_secret_is_erased(house: &House) {
    let expired = house.accept_one(house.an_event("e1").secret(PASSWORD).lives_for(hours(1))).await;
    let cancelled = house.accept_one(house.an_event("e2").secret(PASSWORD).lives_for(hours(5))).await;
    house.store.act(Action::Cancel, only(cancelled), "ada").await.unwrap();
    house.clock.advance(hours(1));
    assert_eq!(house.store.expire(10).await.unwrap(), 1);
    assert_eq!(house.state(expired).await, State::Expired);
    assert_eq!(house.store.act(Action::Retry, only(cancelled), "ada").await.unwrap(), Acted { changed: 0, skipped: 1 });
}
