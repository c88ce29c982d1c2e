//! What becomes of reports: matched, kept, counted; and what a forged one cannot do.

use crate::{
    house::{House, Sent, dsn},
    sample,
};
use std::time::Duration;
use tidings_bounces::{BounceError, Ignored, Parcel, Taken, TakenLine, Terms, Way};
use tidings_core::{
    Address, Id,
    bounce::{Class, Match},
    outbox::State,
};
use tidings_store::ReportFilter;

fn line(taken: Result<Taken, BounceError>) -> TakenLine {
    match taken.unwrap() {
        Taken::Report { mut lines, .. } if lines.len() == 1 => lines.remove(0),
        other => panic!("a report about one recipient, not {other:?}"),
    }
}

fn about(name: &str, sent: &Sent) -> Vec<u8> {
    sample(name, &sent.item.to_string(), &sent.message_id, &sent.event.to_string())
}

#[tokio::test]
async fn samples_of_every_provider_are_matched() {
    let house = House::open().await;
    for (name, to, by) in [
        ("exchange-online", "ada@contoso.example", Match::MessageId),
        ("exchange-on-premises", "Ada@Contoso.example", Match::MessageId),
        ("exchange-text", "ada@contoso.example", Match::MessageId),
        ("exchange-2003", "ada@contoso.example", Match::MessageId),
        ("gmail", "ada@mail.example", Match::MessageId),
        ("amazon-ses", "ada@mail.example", Match::Header),
        ("exim-old", "ada@mail.example", Match::MessageId),
    ] {
        let sent = house.sent(to).await;
        let line = line(house.take(&about(name, &sent)).await);
        assert_eq!((line.item, line.matched_by, line.effect), (Some(sent.item), Some(by), "bounced"), "{name}");
        assert_eq!(house.state(sent.item).await, State::Bounced, "{name}");
    }
}

#[tokio::test]
async fn a_letter_beyond_ascii_is_matched_by_its_envelope() {
    let house = House::open().await;
    let sent = house.sent("jörg@mail.example").await;
    let status = "Original-Recipient: utf-8; j\\x{F6}rg@mail.example\nFinal-Recipient: utf-8; j\\x{F6}rg@mail.example";
    let raw = dsn("bounces@example.org", &format!("Original-Envelope-Id: {}\n", sent.item), status, 1);
    let line = line(house.take(&raw).await);
    assert_eq!((line.item, line.matched_by, line.class), (Some(sent.item), Some(Match::Envelope), Class::Hard));
}

#[tokio::test]
async fn the_same_report_by_another_way_changes_nothing() {
    let house = House::open().await;
    let sent = house.sent("ada@mail.example").await;
    let raw = about("gmail", &sent);
    line(house.take(&raw).await);
    let mut again = b"Received: from a by b; today\nDelivered-To: x@example.org\n".to_vec();
    again.extend(raw.iter().filter(|byte| **byte != b'\r'));
    again.extend(b"\n\n");
    assert_eq!(house.take(&again).await.unwrap(), Taken::Known);
    assert_eq!(house.store.reports(ReportFilter::default(), None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_copy_is_matched_and_not_the_letter_it_copies() {
    let house = House::open().await;
    let both = house.accept(&["ada@mail.example", "grace@mail.example"]).await;
    house.send_all().await;
    let raw = String::from_utf8(about("gmail", &both[0])).unwrap().replace("rfc822; ada@", "rfc822; grace@");
    assert_eq!(line(house.take(raw.as_bytes()).await).item, Some(both[1].item));
    assert_eq!((house.state(both[0].item).await, house.state(both[1].item).await), (State::Sent, State::Bounced));
}

#[tokio::test]
async fn a_return_path_with_our_seal_says_what_a_report_is_about() {
    let house = House::open().await;
    let sent = house.sent("ada@mail.example").await;
    let key = house.store.return_paths();
    let path = key.address(&Address::parse("bounces@example.org").unwrap(), sent.item).unwrap();
    // The letter was sent on, and the report names an address that we never heard of.
    let raw = dsn(path.as_str(), "", "Final-Recipient: rfc822; ada.private@elsewhere.example", 1);
    let taken = line(house.take(&raw).await);
    assert_eq!((taken.item, taken.matched_by, taken.effect), (Some(sent.item), Some(Match::Verp), "bounced"));
    // That says nothing of the address that it was sent to.
    let again = house.sent("ada@mail.example").await;
    let path = key.address(&Address::parse("bounces@example.org").unwrap(), again.item).unwrap();
    let raw = dsn("bounces@example.org", "", "Final-Recipient: rfc822; ada@mail.example", 2);
    let taken = house.reports.take(Parcel { raw: &raw, recipient: Some(path.as_str()), way: Way::Command }).await;
    assert_eq!((line(taken).item, house.store.addresses(None, 9).await.unwrap().len()), (Some(again.item), 0));
}

#[tokio::test]
async fn a_forged_report_concerns_nobody_else() {
    let house = House::open().await;
    let (sent, other) = (house.sent("ada@mail.example").await, house.sent("grace@mail.example").await);
    let envelope = format!("Original-Envelope-Id: {}\n", sent.item);
    let about_ada = "Final-Recipient: rfc822; ada@mail.example";
    let forged = [
        // Another one's envelope, a return path that is guessed, a message that is not ours, no message at all.
        dsn("bounces@example.org", &envelope, "Final-Recipient: rfc822; eve@mail.example", 1),
        dsn(&format!("bounces+{}-0123456789abcdef@example.org", sent.item), "", about_ada, 2),
        dsn("bounces@example.org", &format!("Original-Envelope-Id: {}\n", Id::from_number(99)), about_ada, 3),
        dsn("bounces@example.org", &format!("Original-Envelope-Id: {}\n", other.item), about_ada, 4),
    ];
    for raw in &forged {
        let line = line(house.take(raw).await);
        assert_eq!((line.item, line.effect), (None, "unmatched"));
    }
    assert_eq!((house.state(sent.item).await, house.state(other.item).await), (State::Sent, State::Sent));
    let unmatched = house.store.reports(ReportFilter { matched: Some(false), item: None }, None, 10).await.unwrap().items;
    assert_eq!(unmatched.len(), 4);
    assert_eq!(unmatched[0].candidates, [sent.item], "a hint, no more");
}

#[tokio::test]
async fn what_says_nothing_about_a_letter_is_not_kept() {
    let house = House::open().await;
    let sent = house.sent("ada@contoso.example").await;
    for (name, why) in [("out-of-office", Ignored::Vacation), ("challenge", Ignored::Challenge), ("receipt", Ignored::Receipt)] {
        assert_eq!(house.take(&about(name, &sent)).await.unwrap(), Taken::Ignored(why));
    }
    assert_eq!(house.state(sent.item).await, State::Sent);
    assert!(house.store.reports(ReportFilter::default(), None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_complaint_is_noted_and_counts_if_it_is_to() {
    let house = House::open().await;
    let (first, second) = (house.sent("ada@provider.example").await, house.sent("ada@provider.example").await);
    let taken = line(house.take(&about("complaint", &first)).await);
    assert_eq!((taken.item, taken.class, taken.effect), (Some(first.item), Class::Complaint, "noted"));
    assert_eq!(house.state(first.item).await, State::Sent);
    let mut terms = crate::house::TERMS;
    (terms.complaints_count, terms.health.after) = (true, 1);
    house.reports.refit(Terms { ..terms });
    // A provider that does not say who complains.
    let raw = String::from_utf8(about("complaint", &second)).unwrap().replace("Original-Rcpt-To: <ada@provider.example>\r\n", "");
    let taken = line(house.take(raw.replace("arf.1@", "arf.2@").as_bytes()).await);
    assert_eq!((taken.item, taken.unhealthy), (Some(second.item), true));
}

#[tokio::test]
async fn a_report_that_is_faster_than_the_relays_answer_waits_for_it() {
    let house = House::open().await;
    let sent = house.accept(&["ada@mail.example"]).await.remove(0);
    let leases = house.claim_all().await;
    let raw = about("gmail", &sent);
    let mut taking = std::pin::pin!(house.take(&raw));
    assert!(tokio::time::timeout(Duration::from_millis(150), &mut taking).await.is_err(), "it waits");
    house.answer(leases).await;
    assert_eq!(line(taking.await).effect, "bounced");
}
