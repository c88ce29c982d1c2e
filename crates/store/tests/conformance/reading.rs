//! Listings, depths, relays, tokens, names.

use crate::house::{House, hours, only, outcome, seconds};
use tidings_core::{Id, Lane, Timestamp, outbox::State};
use tidings_store::{Depth, EventSpan, Filter, RelayReport, RelayStanding, TokenRecord};

async fn listed(house: &House, filter: Filter) -> Vec<Id> {
    let page = house.store.items(filter, None, 100).await.unwrap();
    page.items.into_iter().map(|item| item.id).collect()
}

pub(crate) async fn a_listing_is_paged_newest_first(house: &House) {
    let mut all = Vec::new();
    for n in 0..7 {
        all.push(house.accept_one(house.an_event(&format!("e{n}"))).await);
    }
    all.reverse();
    let (mut seen, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = house.store.items(Filter::default(), before, 3).await.unwrap();
        seen.extend(page.items.iter().map(|item| item.id));
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (all, 3));
}

pub(crate) async fn a_recipients_items_are_paged_newest_first(house: &House) {
    let mut all = Vec::new();
    for n in 0..23 {
        let to = if n % 3 == 0 { "grace@example.org" } else { "Ada@example.org" };
        all.push((house.accept_one(house.an_event(&format!("e{n}")).to(&[to])).await, to));
    }
    for (address, state) in [("ada@example.org", None), ("grace@example.org", Some(State::Waiting))] {
        let filter = Filter { to: Some(address.to_owned()), state, ..Filter::default() };
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = house.store.items(filter.clone(), before, 3).await.unwrap();
            seen.extend(page.items.iter().map(|item| item.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let expected: Vec<Id> = all.iter().rev().filter(|(_, to)| to.to_lowercase() == address).map(|(id, _)| *id).collect();
        assert_eq!(seen, expected, "{address}");
    }
}

pub(crate) async fn a_page_tells_whether_there_is_more(house: &House) {
    for n in 0..4 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    let exact = house.store.items(Filter::default(), None, 4).await.unwrap();
    assert_eq!((exact.items.len(), exact.next), (4, None));
    let short = house.store.items(Filter::default(), None, 3).await.unwrap();
    assert_eq!((short.items.len(), short.next), (3, Some(short.items[2].id)));
}

pub(crate) async fn each_filter_fits(house: &House) {
    let sent = house.accept_one(house.an_event("e1")).await;
    house.settle(outcome(&house.claim(1).await[0], State::Sent, house.now())).await;
    let failed = house.accept_one(house.an_event("e2").to(&["grace@example.org"])).await;
    house.settle(outcome(&house.claim(1).await[0], State::Failed, house.now())).await;
    let claimed = house.accept_one(house.an_event("e3").kind("test")).await;
    house.claim(1).await;
    let backup = house.accept_one(house.an_event("e4").by("backup")).await;
    let held = house.accept_one(house.an_event("e5").held("why not")).await;
    let event = house.detail(failed).await.row.event;

    assert_eq!(listed(house, only(claimed)).await, [claimed]);
    let by_state = |state| Filter { state: Some(state), ..Filter::default() };
    for (state, id) in
        [(State::Sent, sent), (State::Failed, failed), (State::Claimed, claimed), (State::Waiting, backup), (State::Held, held)]
    {
        assert_eq!(listed(house, by_state(state)).await, [id], "{state}");
    }
    for state in [State::Bounced, State::Expired, State::Cancelled] {
        assert!(listed(house, by_state(state)).await.is_empty(), "{state}");
    }
    assert_eq!(listed(house, Filter { kind: Some("test".into()), ..Filter::default() }).await, [claimed]);
    assert_eq!(listed(house, Filter { relay: Some("backup".into()), ..Filter::default() }).await, [backup]);
    assert_eq!(listed(house, Filter { event: Some(event), ..Filter::default() }).await, [failed]);
    assert_eq!(listed(house, Filter { to: Some("grace@example.org".into()), ..Filter::default() }).await, [failed]);
    let both = Filter { to: Some("ada@example.org".into()), state: Some(State::Held), relay: Some("main".into()), ..Filter::default() };
    assert_eq!(listed(house, both).await, [held]);
    let neither = Filter { to: Some("grace@example.org".into()), state: Some(State::Held), ..Filter::default() };
    assert!(listed(house, neither).await.is_empty());
    assert!(listed(house, Filter { kind: Some("no.such.kind".into()), ..Filter::default() }).await.is_empty());
}

pub(crate) async fn an_address_is_found_without_regard_to_case(house: &House) {
    let upper = house.accept_one(house.an_event("e1").to(&["Ada.King@Example.org"])).await;
    let umlaut = house.accept_one(house.an_event("e2").to(&["JÜRGEN@example.org"])).await;
    let find = |to: &str| Filter { to: Some(to.to_owned()), ..Filter::default() };
    for spelling in ["ada.king@example.org", "ADA.KING@EXAMPLE.ORG"] {
        assert_eq!(listed(house, find(spelling)).await, [upper]);
    }
    assert_eq!(listed(house, find("jürgen@example.org")).await, [umlaut]);
    assert!(listed(house, find("ada.king@example.or")).await.is_empty());
    assert_eq!(house.detail(upper).await.row.to, "Ada.King@example.org", "it is shown as it was written");
}

/// All events of a span, read in pages of so many, by their sources' ids.
async fn told_in(house: &House, span: &EventSpan, limit: u16) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = house.store.events(span.clone(), after, limit).await.unwrap();
        assert!(page.len() <= usize::from(limit.max(1)) && page.is_sorted_by_key(|event| event.id));
        let Some(last) = page.last() else { return names };
        after = Some(last.id);
        names.extend(page.into_iter().map(|event| event.event_id));
    }
}

fn span(since: Timestamp, until: Timestamp) -> EventSpan {
    EventSpan { since, until, kinds: Vec::new() }
}

pub(crate) async fn events_of_a_span_come_in_pages_each_once(house: &House) {
    let start = house.now();
    for n in 0..7 {
        house.accept(house.an_event(&format!("e{n}"))).await;
        house.accept(house.an_event(&format!("quiet{n}")).to(&[])).await;
        house.clock.advance(seconds(1));
    }
    let all = told_in(house, &span(start, house.now()), 3).await;
    assert_eq!(all.len(), 14, "those that told nobody are among them");
    assert_eq!(all[..3], ["e0", "quiet0", "e1"]);
    assert_eq!(told_in(house, &span(start, house.now()), 100).await, all);
    assert_eq!(told_in(house, &span(start, house.now()), 0).await, all, "a page of none is a page of one");
    // From the moment itself on, up to the other one but without it.
    assert_eq!(told_in(house, &span(start + seconds(2), start + seconds(4)), 3).await, ["e2", "quiet2", "e3", "quiet3"]);
    assert!(told_in(house, &span(house.now(), house.now() + seconds(9)), 3).await.is_empty());
    assert!(told_in(house, &span(start + seconds(4), start), 3).await.is_empty(), "a span that ends before it begins");
    let first = &house.store.events(span(start, house.now()), None, 1).await.unwrap()[0];
    let same = house.store.event(first.id).await.unwrap().unwrap();
    assert_eq!(
        (first.source.as_str(), first.kind.as_str(), &first.data, &first.trace),
        ("hr", "membership.joined", &same.data, &same.trace)
    );
    assert_eq!((first.time, first.accepted_at), (start, start));
}

pub(crate) async fn events_are_found_by_their_kind(house: &House) {
    let start = house.now();
    for (n, kind) in ["membership.joined", "test", "membership.left", "test"].into_iter().enumerate() {
        house.accept(house.an_event(&format!("e{n}")).kind(kind)).await;
    }
    let end = start + seconds(1);
    let of = |kinds: &[&str]| EventSpan { kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(), ..span(start, end) };
    assert_eq!(told_in(house, &of(&["test"]), 1).await, ["e1", "e3"]);
    assert_eq!(told_in(house, &of(&["membership.left", "no.such.kind", "membership.joined"]), 9).await, ["e0", "e2"]);
    assert!(told_in(house, &of(&["no.such.kind"]), 9).await.is_empty(), "a kind that nothing is of is not every kind");
}

pub(crate) async fn a_page_of_large_events_is_short(house: &House) {
    let start = house.now();
    for n in 0..5 {
        let mut event = house.an_event(&format!("e{n}")).build();
        event.data = format!(r#"{{"note":"{}"}}"#, "x".repeat(if n == 4 { 9 << 20 } else { 3 << 20 })).into_bytes();
        house.store.accept(vec![event]).await.unwrap();
    }
    let all = span(start, start + seconds(1));
    let first = house.store.events(all.clone(), None, 100).await.unwrap();
    assert_eq!(first.len(), 2, "two of 3 MiB are not more than 8 MiB, three are");
    let last = house.store.events(all.clone(), Some(house.store.events(all.clone(), Some(first[1].id), 2).await.unwrap()[1].id), 100).await;
    assert_eq!(last.unwrap().len(), 1, "one that is too large alone is given all the same");
    assert_eq!(told_in(house, &all, 100).await, ["e0", "e1", "e2", "e3", "e4"]);
}

pub(crate) async fn an_event_accepted_after_the_clock_was_set_back_is_in_its_own_span(house: &House) {
    let noon = house.now();
    house.clock.advance(hours(2));
    house.accept(house.an_event("ahead")).await;
    house.clock.advance(hours(-2));
    house.accept(house.an_event("after")).await;
    assert_eq!(told_in(house, &span(noon, noon + hours(1)), 9).await, ["after"], "its id is above that of the one before");
    assert_eq!(told_in(house, &span(noon, noon + hours(3)), 9).await, ["ahead", "after"]);
}

pub(crate) async fn depths_count_what_is_open(house: &House) {
    assert!(house.store.depths().await.unwrap().is_empty());
    let start = house.now();
    for n in 0..6 {
        house.accept(house.an_event(&format!("e{n}"))).await;
        house.clock.advance(seconds(1));
    }
    house.accept(house.an_event("code").lane(Lane::Codes).by("backup")).await;
    house.accept(house.an_event("held").held("why not").lane(Lane::Digests)).await;
    let leases = house.claim(3).await;
    house.settle(outcome(&leases[0], State::Sent, house.now())).await;
    let mut depths = house.store.depths().await.unwrap();
    depths.sort_by_key(|depth| (depth.relay.clone(), depth.lane, depth.state.number()));
    let told: Vec<_> = depths.iter().map(|d: &Depth| (d.relay.as_str(), d.lane, d.state, d.items, d.oldest)).collect();
    let after = |n: i64| start.checked_add(seconds(n)).unwrap();
    assert_eq!(
        told,
        [
            ("backup", Lane::Codes, State::Waiting, 1, after(6)),
            ("main", Lane::Notices, State::Waiting, 3, after(3)),
            ("main", Lane::Notices, State::Claimed, 2, after(1)),
            ("main", Lane::Digests, State::Held, 1, after(6)),
        ]
    );
}

pub(crate) async fn relays_keep_what_is_said_of_them(house: &House) {
    assert!(house.store.relays().await.unwrap().is_empty());
    let probe: Timestamp = "2026-11-21T09:05:00Z".parse().unwrap();
    let report = RelayReport { condition: "held", reason: Some("535 wrong password".into()), next_probe_at: Some(probe) };
    house.store.report_relay("main", report).await.unwrap();
    house.store.pause_relay("main", true, "ada").await.unwrap();
    house.clock.advance(seconds(9));
    house.store.pause_relay("main", true, "grace").await.unwrap();
    let said: RelayStanding = house.store.relays().await.unwrap().remove(0);
    let start = house.now().checked_add(seconds(-9)).unwrap();
    assert_eq!((said.name.as_str(), said.paused_at, said.paused_by.as_deref()), ("main", Some(start), Some("ada")));
    assert_eq!((said.condition.as_deref(), said.reason.as_deref()), (Some("held"), Some("535 wrong password")));
    assert_eq!((said.next_probe_at, said.reported_at), (Some(probe), Some(start)));

    house.store.pause_relay("main", false, "ada").await.unwrap();
    house.store.report_relay("main", RelayReport { condition: "open", reason: None, next_probe_at: None }).await.unwrap();
    house.store.pause_relay("backup", true, "ada").await.unwrap();
    let all = house.store.relays().await.unwrap();
    assert_eq!(all.iter().map(|relay| relay.name.as_str()).collect::<Vec<_>>(), ["backup", "main"]);
    assert_eq!((all[1].paused_at, all[1].paused_by.clone(), all[1].reason.clone(), all[1].next_probe_at), (None, None, None, None));
    assert_eq!((all[0].condition.as_deref(), all[0].reported_at), (None, None));
}

pub(crate) async fn tokens_are_found_by_their_digest(house: &House) {
    let token = |first: u8, expires_at| TokenRecord {
        digest: [first; 32],
        name: format!("token {first}"),
        scopes: vec!["events:write".to_owned(), "outbox:read".to_owned()],
        created_at: house.now(),
        expires_at,
    };
    house.store.add_token(token(1, None)).await.unwrap();
    house.store.add_token(token(2, Some(house.now()))).await.unwrap();
    let found = house.store.find_token([2; 32]).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.created_at, found.expires_at), ("token 2", house.now(), Some(house.now())));
    assert_eq!(found.scopes, ["events:write", "outbox:read"]);
    assert_eq!(house.store.find_token([1; 32]).await.unwrap().unwrap().expires_at, None);
    assert!(house.store.find_token([3; 32]).await.unwrap().is_none());
    let all: Vec<_> = house.store.tokens().await.unwrap().into_iter().map(|token| token.digest).collect();
    assert_eq!(all.len(), 2);
    assert!(all.contains(&[1; 32]) && all.contains(&[2; 32]));
}

pub(crate) async fn names_go_on_above_the_highest(house: &House) {
    let (highest, installation) = house.store.names().await.unwrap();
    assert_eq!(highest, None);
    assert!(installation.len() >= 8 && installation.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{installation}");
    let acceptance = house.an_event("e1").to(&["a@example.org", "b@example.org"]).build();
    let event = acceptance.id;
    house.store.accept(vec![acceptance]).await.unwrap();
    assert_eq!(house.store.names().await.unwrap(), (Some(event), installation));
}

pub(crate) async fn an_unknown_name_is_nothing(house: &House) {
    let id = house.id();
    assert!(house.store.item(id).await.unwrap().is_none());
    assert!(house.store.event(id).await.unwrap().is_none());
    assert!(house.store.letter(id).await.unwrap().is_none());
    house.store.ready().await.unwrap();
}
