//! What comes back: reports, and the health of addresses.

use crate::house::{House, hours, outcome};
use std::time::Duration;
use tidings_core::{
    Id,
    bounce::{Class, Match},
    outbox::State,
};
use tidings_store::{Effect, Finding, HealthTerms, NewReport, ReportFilter, ReportTaken};

const DAY: Duration = Duration::from_hours(24);
const TERMS: HealthTerms = HealthTerms { after: 2, within: Duration::from_hours(720), rest: None, keep: Duration::from_hours(2000) };

fn finding(class: Class, item: Option<Id>) -> Finding {
    Finding {
        class,
        status: Some("5.1.1".to_owned()),
        recipient: Some("ada@example.org".to_owned()),
        diagnostic: "550 no such user".to_owned(),
        item: item.map(|item| (item, Match::Envelope)),
        candidates: Vec::new(),
        counts: matches!(class, Class::Hard | Class::Delivered),
    }
}

fn report(number: u8, findings: Vec<Finding>) -> NewReport {
    NewReport { digest: [number; 32], way: "command", form: "dsn", reporter: Some("mx.example.org".to_owned()), findings, terms: TERMS }
}

/// A letter to an address that the relay has taken.
async fn sent(house: &House, name: &str, to: &str) -> Id {
    let id = house.accept_one(house.an_event(name).to(&[to])).await;
    let lease = house.claim(10).await.into_iter().find(|lease| lease.id == id).expect("it is due");
    house.settle(outcome(&lease, State::Sent, house.now())).await;
    id
}

async fn take(house: &House, report: NewReport) -> Vec<Effect> {
    match house.store.take_report(report).await.unwrap() {
        ReportTaken::New(effects) => effects,
        ReportTaken::Known => panic!("it was taken before"),
    }
}

async fn unhealthy(house: &House, address: &str) -> bool {
    !house.store.unhealthy(&[address.to_owned()]).await.unwrap().is_empty()
}

pub(crate) async fn a_letter_that_came_back_is_bounced_with_the_reason(house: &House) {
    let id = sent(house, "e1", "Ada@example.org").await;
    assert_eq!(take(house, report(1, vec![finding(Class::Hard, Some(id))])).await, [Effect::Bounced { unhealthy: false }]);
    let detail = house.detail(id).await;
    let line = detail.history.last().unwrap();
    assert_eq!((detail.row.state, line.what.as_str()), (State::Bounced, "bounced"));
    assert_eq!(line.detail.as_deref(), Some("5.1.1 550 no such user (hard, reported by mx.example.org, matched by envid)"));
    let bounced = tidings_store::Filter { state: Some(State::Bounced), ..tidings_store::Filter::default() };
    assert_eq!(house.store.items(bounced, None, 10).await.unwrap().items.len(), 1);
}

pub(crate) async fn a_report_is_taken_once(house: &House) {
    let id = sent(house, "e1", "ada@example.org").await;
    take(house, report(1, vec![finding(Class::Hard, Some(id))])).await;
    let before = house.history(id).await;
    assert_eq!(house.store.take_report(report(1, vec![finding(Class::Hard, Some(id))])).await.unwrap(), ReportTaken::Known);
    assert_eq!(house.history(id).await, before);
    assert_eq!(house.store.reports(ReportFilter::default(), None, 10).await.unwrap().items.len(), 1);
}

pub(crate) async fn only_what_was_sent_comes_back(house: &House) {
    let waiting = house.accept_one(house.an_event("e1")).await;
    assert_eq!(take(house, report(1, vec![finding(Class::Hard, Some(waiting))])).await, [Effect::Stands(State::Waiting)]);
    assert_eq!((house.state(waiting).await, house.history(waiting).await), (State::Waiting, vec!["accepted".into(), "bounced".into()]));
    let nobody = Id::from_number(77);
    assert_eq!(take(house, report(2, vec![finding(Class::Hard, Some(nobody)), finding(Class::Soft, None)])).await, [Effect::Unmatched; 2]);
    assert!(!unhealthy(house, "ada@example.org").await);
}

pub(crate) async fn what_is_no_bounce_is_only_noted(house: &House) {
    let id = sent(house, "e1", "ada@example.org").await;
    for (number, class) in [(1, Class::Delayed), (2, Class::Relayed), (3, Class::Complaint), (4, Class::Delivered)] {
        assert_eq!(take(house, report(number, vec![finding(class, Some(id))])).await, [Effect::Noted { unhealthy: false }]);
    }
    assert_eq!(house.state(id).await, State::Sent);
    assert_eq!(house.history(id).await, ["accepted", "sent", "delayed", "relayed", "complaint", "delivered"]);
}

pub(crate) async fn an_address_is_unhealthy_after_several_letters_came_back(house: &House) {
    let (first, second) = (sent(house, "e1", "Ada@example.org").await, sent(house, "e2", "ada@Example.org").await);
    let soft = sent(house, "e3", "ada@example.org").await;
    take(house, report(1, vec![finding(Class::Hard, Some(first))])).await;
    // Another report about the same letter, and one that says nothing about the address, do not count.
    assert_eq!(take(house, report(2, vec![finding(Class::Hard, Some(first))])).await, [Effect::Stands(State::Bounced)]);
    assert_eq!(take(house, report(3, vec![finding(Class::Soft, Some(soft))])).await, [Effect::Bounced { unhealthy: false }]);
    assert!(!unhealthy(house, "ada@example.org").await);
    assert_eq!(take(house, report(4, vec![finding(Class::Hard, Some(second))])).await, [Effect::Bounced { unhealthy: true }]);
    let asked = house.store.unhealthy(&["ADA@example.org".to_owned(), "grace@example.org".to_owned()]).await.unwrap();
    let [row] = asked.as_slice() else { panic!("one of them is: {asked:?}") };
    assert_eq!((row.bounces, row.told, row.item, row.unhealthy_since), (2, false, second, house.now()));
    assert_eq!(row.reason, "5.1.1 550 no such user");
    assert_eq!(house.store.addresses(None, 10).await.unwrap().len(), 1);
    assert!(house.store.addresses(Some("ada@example.org".into()), 10).await.unwrap().is_empty());
}

pub(crate) async fn many_reports_at_once_make_an_address_unhealthy_once(house: &House) {
    let mut items = Vec::new();
    for number in 0..8 {
        items.push(sent(house, &format!("e{number}"), "ada@example.org").await);
    }
    let taking = items.iter().zip(1..).map(|(id, number)| house.store.take_report(report(number, vec![finding(Class::Hard, Some(*id))])));
    let taken = futures_util::future::join_all(taking).await;
    let became = taken.into_iter().filter(|taken| *taken.as_ref().unwrap() == ReportTaken::New(vec![Effect::Bounced { unhealthy: true }]));
    assert_eq!(became.count(), 1);
    assert_eq!(house.store.addresses(None, 10).await.unwrap()[0].bounces, 8);
}

pub(crate) async fn it_is_told_of_once(house: &House) {
    for number in 1..=2 {
        let id = sent(house, &format!("e{number}"), "ada@example.org").await;
        take(house, report(number, vec![finding(Class::Hard, Some(id))])).await;
    }
    let untold = house.store.untold(10).await.unwrap();
    assert_eq!(untold.len(), 1);
    house.store.address_told("ada@example.org", untold[0].unhealthy_since - hours(1)).await.unwrap();
    assert_eq!(house.store.untold(10).await.unwrap().len(), 1, "that was another time");
    house.store.address_told("Ada@example.org", untold[0].unhealthy_since).await.unwrap();
    assert!(house.store.untold(10).await.unwrap().is_empty());
    let third = sent(house, "e3", "ada@example.org").await;
    assert_eq!(take(house, report(3, vec![finding(Class::Hard, Some(third))])).await, [Effect::Bounced { unhealthy: false }]);
    assert!(house.store.untold(10).await.unwrap().is_empty());
}

pub(crate) async fn an_address_becomes_healthy_again(house: &House) {
    for number in 1..=2 {
        let id = sent(house, &format!("e{number}"), "ada@example.org").await;
        take(house, report(number, vec![finding(Class::Hard, Some(id))])).await;
    }
    assert!(house.store.clear_address("ADA@example.org", "grace").await.unwrap());
    assert!(!house.store.clear_address("ada@example.org", "grace").await.unwrap());
    let third = sent(house, "e3", "ada@example.org").await;
    assert_eq!(take(house, report(3, vec![finding(Class::Hard, Some(third))])).await, [Effect::Bounced { unhealthy: false }]);
    // A letter that arrived speaks for the address as well.
    let fourth = sent(house, "e4", "ada@example.org").await;
    take(house, report(4, vec![finding(Class::Delivered, Some(fourth))])).await;
    let fifth = sent(house, "e5", "ada@example.org").await;
    assert_eq!(take(house, report(5, vec![finding(Class::Hard, Some(fifth))])).await, [Effect::Bounced { unhealthy: false }]);
    assert!(!unhealthy(house, "ada@example.org").await);
}

pub(crate) async fn what_came_back_long_ago_does_not_count(house: &House) {
    let first = sent(house, "e1", "ada@example.org").await;
    take(house, report(1, vec![finding(Class::Hard, Some(first))])).await;
    house.clock.advance(hours(721));
    let second = sent(house, "e2", "ada@example.org").await;
    assert_eq!(take(house, report(2, vec![finding(Class::Hard, Some(second))])).await, [Effect::Bounced { unhealthy: false }]);
}

pub(crate) async fn an_address_is_tried_again_after_its_rest(house: &House) {
    let resting =
        |number, id| NewReport { terms: HealthTerms { rest: Some(DAY), ..TERMS }, ..report(number, vec![finding(Class::Hard, Some(id))]) };
    for number in 1..=2 {
        let id = sent(house, &format!("e{number}"), "ada@example.org").await;
        take(house, resting(number, id)).await;
    }
    let since = house.store.untold(1).await.unwrap()[0].unhealthy_since;
    house.store.address_told("ada@example.org", since).await.unwrap();
    house.clock.advance(hours(25));
    assert!(!unhealthy(house, "ada@example.org").await && house.store.addresses(None, 10).await.unwrap().is_empty());
    // It is counted anew, and told of anew.
    let third = sent(house, "e3", "ada@example.org").await;
    assert_eq!(take(house, resting(3, third)).await, [Effect::Bounced { unhealthy: false }]);
    let fourth = sent(house, "e4", "ada@example.org").await;
    assert_eq!(take(house, resting(4, fourth)).await, [Effect::Bounced { unhealthy: true }]);
    assert_eq!(house.store.untold(10).await.unwrap()[0].unhealthy_since, house.now());
}

pub(crate) async fn reports_are_listed_and_the_old_ones_forgotten(house: &House) {
    let id = sent(house, "e1", "ada@example.org").await;
    let mut hint = finding(Class::Soft, None);
    hint.candidates = vec![id];
    take(house, report(1, vec![finding(Class::Hard, Some(id)), hint])).await;
    take(house, report(2, vec![finding(Class::Delayed, Some(id))])).await;
    let first = house.store.reports(ReportFilter::default(), None, 2).await.unwrap();
    assert_eq!(first.items.iter().map(|row| row.class.as_str()).collect::<Vec<_>>(), ["delayed", "soft"]);
    let rest = house.store.reports(ReportFilter::default(), first.next, 2).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].class.as_str(), rest.next), (1, "hard", None));
    let unmatched = house.store.reports(ReportFilter { matched: Some(false), ..ReportFilter::default() }, None, 10).await.unwrap();
    assert_eq!((unmatched.items.len(), unmatched.items[0].candidates.as_slice()), (1, [id].as_slice()));
    let of_item = house.store.reports(ReportFilter { item: Some(id), matched: Some(true) }, None, 10).await.unwrap();
    assert_eq!(of_item.items.len(), 2);
    assert_eq!(of_item.items[1].matched_by.as_deref(), Some("envid"));
    house.clock.advance(hours(2001));
    take(house, report(3, Vec::new())).await;
    assert!(house.store.reports(ReportFilter::default(), None, 10).await.unwrap().items.is_empty());
}
