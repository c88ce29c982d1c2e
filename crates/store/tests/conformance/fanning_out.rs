//! Crowds that are told in chunks: the order written with the event, each chunk with the place of the next, and what the guard makes of them.

use crate::house::{Draft, House, seconds};
use tidings_core::{Id, outbox::State};
use tidings_store::{Accepted, BatchRow, BatchState, FanOutOrder, FanOutRow, FanOutStep, Filter};

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const LINUS: &str = "linus@example.org";

fn order(house: &House) -> FanOutOrder {
    FanOutOrder { id: house.id(), rule: "members".to_owned(), plan: b"{\"plan\":1}".to_vec(), data: None, parts: Vec::new() }
}

/// Accepts an event that tells nobody but a crowd.
async fn begun(house: &House, name: &str) -> FanOutRow {
    begun_with(house.an_event(name).to(&[]), order(house), house).await
}

async fn begun_with(draft: Draft<'_>, order: FanOutOrder, house: &House) -> FanOutRow {
    let id = order.id;
    house.accept(draft.crowd(order)).await;
    row(house, id).await
}

/// A fan-out as it stands now.
async fn row(house: &House, id: Id) -> FanOutRow {
    if let Some(row) = house.store.fan_outs(None, 100).await.unwrap().into_iter().find(|row| row.id == id) {
        return row;
    }
    // One that has ended is found by its event.
    let page = house.store.items(Filter::default(), None, 1000).await.unwrap();
    for event in page.items.iter().map(|item| item.event) {
        if let Some(row) = house.store.fan_outs(Some(event), 100).await.unwrap().into_iter().find(|row| row.id == id) {
            return row;
        }
    }
    panic!("there is no fan-out {id}")
}

/// The next chunk of a fan-out: a letter for each of these.
fn chunk(house: &House, row: &FanOutRow, to: &[&str]) -> FanOutStep {
    let (mut letters, mut items) = (Vec::new(), Vec::new());
    for to in to {
        let letter = house.an_event("").to(&[to]).rule("members").build();
        letters.extend(letter.letters);
        items.extend(letter.items);
    }
    FanOutStep {
        id: row.id,
        steps: row.steps,
        cursor: Some(format!("behind {}", row.steps + 1)),
        ended: false,
        letters,
        items,
        passed: 0,
        guard: None,
    }
}

async fn tell(house: &House, fan_out: Id, to: &[&str]) -> Option<u64> {
    let row = row(house, fan_out).await;
    house.store.fan_on(chunk(house, &row, to)).await.unwrap()
}

/// To whom items of a state go, in the order of the alphabet.
async fn who_is(house: &House, state: State) -> Vec<String> {
    let page = house.store.items(Filter { state: Some(state), ..Filter::default() }, None, 1000).await.unwrap();
    let mut who: Vec<String> = page.items.into_iter().map(|item| item.to).collect();
    who.sort_unstable();
    who
}

async fn the_batch(house: &House) -> BatchRow {
    let mut batches = house.store.batches(Some(BatchState::Held), false, 10).await.unwrap();
    assert_eq!(batches.len(), 1, "{batches:?}");
    batches.remove(0)
}

pub(crate) async fn a_crowd_is_written_down_with_its_event(house: &House) {
    let data = Some(br#"{"object":{"id":"g7","name":"Payroll"}}"#.to_vec());
    let acceptance = house.an_event("e1").crowd(FanOutOrder { data: data.clone(), ..order(house) }).crowd(order(house)).build();
    let (event, ids) = (acceptance.id, acceptance.fan_outs.iter().map(|order| order.id).collect::<Vec<_>>());
    assert_eq!(house.store.accept(vec![acceptance.clone()]).await.unwrap(), [Accepted::New(event)]);
    let rows = house.store.fan_outs(Some(event), 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    let row = &rows[0];
    assert_eq!((row.event, row.rule.as_str(), row.plan.as_slice(), &row.data), (event, "members", b"{\"plan\":1}".as_slice(), &data));
    assert_eq!((row.cursor.as_deref(), row.steps, row.told, row.passed), (None, 0, 0, 0));
    assert_eq!((&row.people, row.batch, row.begun_at, row.ended_at), (&None, None, house.now(), None));
    assert_eq!(rows[1].data, None);
    // The event told again tells no crowd again.
    let again = house.an_event("e1").crowd(order(house)).build();
    assert_eq!(house.store.accept(vec![again]).await.unwrap(), [Accepted::Duplicate(event)]);
    assert_eq!(house.store.fan_outs(None, 10).await.unwrap().len(), 2);
    assert!(house.store.fan_outs(Some(house.id()), 10).await.unwrap().is_empty());
}

pub(crate) async fn open_crowds_come_oldest_first_and_no_more_than_asked(house: &House) {
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(begun(house, &format!("e{number}")).await.id);
        house.clock.advance(seconds(1));
    }
    let listed = |limit| async move { house.store.fan_outs(None, limit).await.unwrap().into_iter().map(|row| row.id).collect::<Vec<_>>() };
    assert_eq!(listed(10).await, ids);
    assert_eq!(listed(2).await, ids[..2]);
    // Whoever has told a chunk is not put behind: the intake goes round by itself.
    tell(house, ids[0], &[ADA]).await;
    assert_eq!(listed(1).await, ids[..1]);
}

pub(crate) async fn a_chunk_is_written_with_the_place_of_the_next(house: &House) {
    let begun = begun(house, "e1").await;
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    let step = FanOutStep { passed: 5, ..chunk(house, &begun, &[ADA, GRACE]) };
    let (item, letter) = (step.items[0].id, step.letters[0].bytes.clone());
    assert_eq!(house.store.fan_on(step).await.unwrap(), Some(2));
    assert!(arrivals.has_changed().unwrap());
    let now = row(house, begun.id).await;
    assert_eq!((now.cursor.as_deref(), now.steps, now.told, now.passed), (Some("behind 1"), 1, 2, 5));
    let detail = house.detail(item).await;
    assert_eq!((detail.row.event, detail.row.rule.as_str(), detail.row.state), (begun.event, "members", State::Waiting));
    assert_eq!(house.store.letter(item).await.unwrap(), Some(letter));
    assert_eq!(house.claim(10).await.len(), 2);
    // A chunk in which nobody is to be told moves on as well.
    assert_eq!(house.store.fan_on(FanOutStep { passed: 3, ..chunk(house, &now, &[]) }).await.unwrap(), Some(0));
    let now = row(house, begun.id).await;
    assert_eq!((now.cursor.as_deref(), now.steps, now.told, now.passed), (Some("behind 2"), 2, 2, 8));
}

pub(crate) async fn the_last_chunk_ends_it(house: &House) {
    let begun = begun(house, "e1").await;
    tell(house, begun.id, &[ADA]).await;
    house.clock.advance(seconds(7));
    let at = row(house, begun.id).await;
    let last = FanOutStep { ended: true, cursor: None, ..chunk(house, &at, &[GRACE]) };
    assert_eq!(house.store.fan_on(last).await.unwrap(), Some(1));
    assert!(house.store.fan_outs(None, 10).await.unwrap().is_empty());
    let ended = house.store.fan_outs(Some(begun.event), 10).await.unwrap().remove(0);
    assert_eq!((ended.ended_at, ended.steps, ended.told), (Some(house.now()), 2, 2));
    assert_eq!(house.store.fan_on(chunk(house, &ended, &[LINUS])).await.unwrap(), None, "nothing comes behind the end");
    assert_eq!(who_is(house, State::Waiting).await, [ADA, GRACE]);
}

pub(crate) async fn a_chunk_that_comes_late_writes_nothing(house: &House) {
    let begun = begun(house, "e1").await;
    assert_eq!(house.store.fan_on(chunk(house, &begun, &[ADA])).await.unwrap(), Some(1));
    let late = FanOutStep { cursor: Some("elsewhere".to_owned()), passed: 9, ..chunk(house, &begun, &[GRACE]) };
    assert_eq!(house.store.fan_on(late).await.unwrap(), None);
    let early = FanOutStep { steps: 2, ..chunk(house, &begun, &[GRACE]) };
    assert_eq!(house.store.fan_on(early).await.unwrap(), None);
    let nowhere = FanOutStep { id: house.id(), ..chunk(house, &begun, &[GRACE]) };
    assert_eq!(house.store.fan_on(nowhere).await.unwrap(), None);
    let now = row(house, begun.id).await;
    assert_eq!((now.cursor.as_deref(), now.steps, now.told, now.passed), (Some("behind 1"), 1, 1, 0));
    assert_eq!(who_is(house, State::Waiting).await, [ADA]);
}

pub(crate) async fn of_many_who_write_one_chunk_one_does(house: &House) {
    let id = begun(house, "e1").await.id;
    for round in 1..=5 {
        let now = row(house, id).await;
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..8 {
            let step = chunk(house, &now, &[&format!("u{round}-{caller}@example.org")]);
            let store = house.store.clone();
            callers.spawn(async move { store.fan_on(step).await.unwrap() });
        }
        let mut told = Vec::new();
        while let Some(done) = callers.join_next().await {
            told.extend(done.unwrap());
        }
        assert_eq!(told, [1]);
        let now = row(house, id).await;
        assert_eq!((now.steps, now.told), (round, round));
    }
    assert_eq!(who_is(house, State::Waiting).await.len(), 5);
}

pub(crate) async fn who_has_a_letter_of_this_event_and_kind_gets_no_other(house: &House) {
    let draft = house.an_event("e1").to(&["Ada@example.org"]);
    let id = begun_with(draft, order(house), house).await.id;
    assert_eq!(tell(house, id, &["ADA@example.org", GRACE, "Grace@Example.org"]).await, Some(1), "nor twice in one chunk");
    let now = row(house, id).await;
    assert_eq!((now.told, now.passed), (1, 2));
    // A letter about something else is another letter; so is one of another event.
    let mut step = chunk(house, &now, &[ADA]);
    step.letters[0].kind = "object.changed";
    assert_eq!(house.store.fan_on(step).await.unwrap(), Some(1));
    let other = begun(house, "e2").await.id;
    assert_eq!(tell(house, other, &[GRACE]).await, Some(1));
    assert_eq!(who_is(house, State::Waiting).await, ["Ada@example.org", ADA, GRACE, GRACE]);
}

pub(crate) async fn a_chunk_that_fails_changes_nothing(house: &House) {
    let begun = begun(house, "e1").await;
    let taken = house.accept_one(house.an_event("e2").to(&[LINUS])).await;
    let mut step = chunk(house, &begun, &[ADA, GRACE]);
    // The name of the second item is taken.
    step.items[1].id = taken;
    assert!(house.store.fan_on(step).await.is_err());
    let now = row(house, begun.id).await;
    assert_eq!((now.cursor, now.steps, now.told), (None, 0, 0));
    assert_eq!(who_is(house, State::Waiting).await, [LINUS]);
    assert_eq!(tell(house, begun.id, &[ADA, GRACE]).await, Some(2));
}

pub(crate) async fn people_who_were_written_down_come_chunk_by_chunk(house: &House) {
    let parts: Vec<Vec<u8>> = (0..12).map(|part| format!("part {part}").into_bytes()).collect();
    let id = begun_with(house.an_event("e1").to(&[]), FanOutOrder { parts: parts.clone(), ..order(house) }, house).await.id;
    for part in parts {
        let now = row(house, id).await;
        assert_eq!(now.people, Some(part), "in the order they were given");
        house.store.fan_on(FanOutStep { cursor: Some("kept".to_owned()), ..chunk(house, &now, &[]) }).await.unwrap().unwrap();
    }
    let now = row(house, id).await;
    assert_eq!((now.people, now.ended_at, now.steps), (None, None, 12), "that it has ended is the caller's word");
}

pub(crate) async fn people_are_written_down_unless_a_chunk_came_between(house: &House) {
    let begun = begun(house, "e1").await;
    tell(house, begun.id, &[ADA]).await;
    let keep = |steps, part: &str| {
        let (plan, parts) = (b"{\"plan\":2}".to_vec(), vec![part.as_bytes().to_vec(), b"the last".to_vec()]);
        house.store.keep_people(begun.id, steps, plan, parts)
    };
    assert!(!keep(0, "read before the chunk").await.unwrap());
    let now = row(house, begun.id).await;
    assert_eq!((now.people.clone(), now.plan.as_slice()), (None, b"{\"plan\":1}".as_slice()));
    assert!(keep(1, "the rest").await.unwrap());
    assert_eq!(house.store.fan_on(chunk(house, &now, &[GRACE])).await.unwrap(), None, "the chunk that was read from the mirror comes late");
    let now = row(house, begun.id).await;
    assert_eq!((now.people.as_deref(), now.plan.as_slice()), (Some(b"the rest".as_slice()), b"{\"plan\":2}".as_slice()));
    assert_eq!((now.cursor.as_deref(), now.steps, now.told), (Some("kept"), 2, 1));
    assert!(!keep(2, "once more").await.unwrap(), "they are written down already");
    assert_eq!(row(house, begun.id).await.people.as_deref(), Some(b"the rest".as_slice()));
    let kept = |row: &FanOutRow, ended, to: &[&str]| FanOutStep { cursor: Some("kept".to_owned()), ended, ..chunk(house, row, to) };
    assert_eq!(house.store.fan_on(kept(&now, false, &[GRACE])).await.unwrap(), Some(1));
    let now = row(house, begun.id).await;
    assert_eq!(now.people.as_deref(), Some(b"the last".as_slice()));
    assert_eq!(house.store.fan_on(kept(&now, true, &[LINUS])).await.unwrap(), Some(1));
    assert!(!house.store.keep_people(begun.id, 4, Vec::new(), Vec::new()).await.unwrap(), "it has ended");
    assert!(!house.store.keep_people(house.id(), 0, Vec::new(), Vec::new()).await.unwrap());
    assert_eq!(who_is(house, State::Waiting).await, [ADA, GRACE, LINUS]);
}

pub(crate) async fn a_crowd_that_is_too_many_is_held_from_its_first_chunk_on(house: &House) {
    let begun = begun(house, "e1").await;
    let terms = house.terms(2, 0);
    let first = FanOutStep { guard: Some((terms, 3)), ..chunk(house, &begun, &[ADA]) };
    assert_eq!(house.store.fan_on(first).await.unwrap(), Some(1), "a letter that is held is a letter");
    let batch = the_batch(house).await;
    assert_eq!((batch.id, batch.event, batch.rule.as_str(), batch.flood.as_str()), (terms.batch, begun.event, "members", "event"));
    assert_eq!((batch.most, batch.people), (2, 1));
    assert_eq!(row(house, begun.id).await.batch, Some(batch.id));
    tell(house, begun.id, &[GRACE, LINUS]).await;
    assert_eq!(the_batch(house).await.people, 3);
    assert_eq!(who_is(house, State::Held).await, [ADA, GRACE, LINUS]);
    assert!(house.claim(10).await.is_empty());
    assert_eq!(house.store.rule_hour("members", house.now()).await.unwrap().0, 3, "the whole crowd is counted with its first chunk");
    // One that is not too many goes.
    let small = FanOutStep { guard: Some((house.terms(2, 0), 2)), ..chunk(house, &self::begun(house, "e2").await, &[ADA, GRACE]) };
    assert_eq!(house.store.fan_on(small).await.unwrap(), Some(2));
    assert_eq!(house.claim(10).await.len(), 2);
}

pub(crate) async fn what_its_event_told_others_is_held_with_a_crowd(house: &House) {
    let begun = begun_with(house.an_event("e1").to(&[ADA, GRACE]).guard(3, 0), order(house), house).await;
    let sent = house.claim(1).await.remove(0);
    let other = house.accept_one(house.an_event("e2").to(&["other@example.org"])).await;
    let first = FanOutStep { guard: Some((house.terms(3, 0), 2)), ..chunk(house, &begun, &[LINUS]) };
    house.store.fan_on(first).await.unwrap().unwrap();
    assert_eq!(who_is(house, State::Held).await, [GRACE, LINUS], "two and two are more than three");
    assert_eq!((house.state(sent.id).await, house.state(other).await), (State::Claimed, State::Waiting));
    assert_eq!(the_batch(house).await.people, 2);
}

pub(crate) async fn a_crowd_goes_by_what_became_of_its_batch(house: &House) {
    for (end, first, then) in
        [(BatchState::Released, State::Waiting, Some(State::Waiting)), (BatchState::Cancelled, State::Cancelled, None)]
    {
        let begun = begun(house, end.as_str()).await;
        let held = FanOutStep { guard: Some((house.terms(2, 0), 9)), ..chunk(house, &begun, &[ADA]) };
        house.store.fan_on(held).await.unwrap().unwrap();
        house.store.end_batch(the_batch(house).await.id, end, "ada").await.unwrap().unwrap();
        assert_eq!(tell(house, begun.id, &[GRACE, LINUS]).await, Some(if then.is_some() { 2 } else { 0 }), "{end:?}");
        let page = house.store.items(Filter { event: Some(begun.event), ..Filter::default() }, None, 10).await.unwrap();
        let mut stand: Vec<(String, State)> = page.items.into_iter().map(|item| (item.to, item.state)).collect();
        stand.sort_by(|one, other| one.0.cmp(&other.0));
        let mut expected = vec![(ADA.to_owned(), first)];
        expected.extend(then.into_iter().flat_map(|state| [(GRACE.to_owned(), state), (LINUS.to_owned(), state)]));
        assert_eq!(stand, expected, "{end:?}");
        let now = row(house, begun.id).await;
        assert_eq!(now.told + now.passed, 3, "{end:?}: everybody has been looked at");
    }
}

pub(crate) async fn a_crowd_of_a_rule_that_told_too_many_joins_its_batch(house: &House) {
    house.accept(house.an_event("e1").rule("members").to(&[ADA, GRACE]).guard(0, 1)).await;
    let batch = the_batch(house).await;
    assert_eq!(batch.flood, "rule_hour");
    let begun = begun(house, "e2").await;
    let first = FanOutStep { guard: Some((house.terms(0, 1), 1)), ..chunk(house, &begun, &[LINUS]) };
    house.store.fan_on(first).await.unwrap().unwrap();
    assert_eq!(the_batch(house).await.people, 3);
    assert_eq!(row(house, begun.id).await.batch, Some(batch.id));
    assert_eq!(who_is(house, State::Held).await, [ADA, GRACE, LINUS]);
}
