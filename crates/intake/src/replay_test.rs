use super::*;
use ledger::Ledger;
use serde_json::json;
use tempfile::TempDir;
use tidings_core::{
    Id,
    policy::{Audience, Rule, RuleSet, TypePattern, WhenUnhealthy},
    testing::{FixedClock, an_event},
};
use tidings_store::{Acceptance, OpenOptions, SealKey};

fn record(number: i64) -> EventRecord {
    EventRecord {
        id: Id::from_number(number),
        source: "hr".into(),
        event_id: number.to_string(),
        kind: "membership.joined".into(),
        time: Timestamp::UNIX_EPOCH,
        accepted_at: Timestamp::UNIX_EPOCH,
        data: Vec::new(),
        trace: Vec::new(),
    }
}

fn told(address: &str, rule: &str) -> Told {
    Told { address: address.into(), name: None, kind: "membership.joined".into(), rule: rule.into(), role: Role::To }
}

fn side(letters: Vec<Told>) -> Side {
    Side { letters, crowds: Vec::new() }
}

#[test]
fn the_letters_of_a_trace_are_read_with_their_readers_names() {
    let person = |who: &str, address: &str, verdict: &str| json!({"audience": "member", "role": "to", "who": who, "address": address, "verdict": verdict});
    let trace = json!({
        "rules": [{"rule": "r", "verdict": "matched", "people": [person("Ada", "ada@example.org", "letter"), person("all", "", "fanned_out")]}],
        "letters": [
            {"to": "ada@example.org", "role": "to", "kind": "test", "rule": "r", "relay": "main", "locale": "en", "reasons": []},
            {"to": "audit@example.org", "role": "cc", "kind": "test", "rule": "r", "relay": "main", "locale": "en", "reasons": []},
        ],
    });
    let (letters, fanned_out) = trace_letters(trace.to_string().as_bytes()).unwrap();
    assert!(fanned_out);
    let shown: Vec<_> = letters.iter().map(|told| (told.address.as_str(), told.name.as_deref(), told.role)).collect();
    assert_eq!(shown, [("ada@example.org", Some("Ada"), Role::To), ("audit@example.org", None, Role::Cc)]);
    assert!(trace_letters(b"no JSON").is_none() && trace_letters(br#"{"rules": []}"#).is_none());
}

#[test]
fn an_address_in_another_spelling_is_the_same_person() {
    let mut ledger = Ledger::new(1);
    ledger.event(&record(1), false, side(vec![told("Ada@example.org", "a")]), side(vec![told("ada@EXAMPLE.org", "b")]));
    let replay = ledger.close(Timestamp::MIN, Timestamp::MAX);
    assert!(replay.people.is_empty());
    assert_eq!((replay.totals.same, replay.totals.by_another_rule, replay.totals.people), (1, 1, 1));
}

#[test]
fn lines_and_stumbles_are_bounded_and_what_is_beyond_is_counted() {
    let mut ledger = Ledger::new(2);
    for number in 0..150 {
        ledger.event(&record(number), false, side(vec![told("ada@example.org", "a")]), Side::default());
        ledger.failed(&record(number), "r", format!("why {number}"));
        ledger.failed(&record(number), "r", "why 0".into());
    }
    let replay = ledger.close(Timestamp::MIN, Timestamp::MAX);
    let [ada] = replay.people.as_slice() else { panic!("{:?}", replay.people) };
    assert_eq!((ada.differences.len(), ada.unlisted, ada.fewer, replay.totals.people_lost), (2, 148, 150, 1));
    assert_eq!(replay.failed.len(), 101);
    assert_eq!(replay.failed.iter().map(|stumble| stumble.events).sum::<u64>(), 300);
    assert_eq!(replay.failed.iter().find(|stumble| stumble.why == "why 0").map(|stumble| stumble.events), Some(151));
}

/// An event as it was accepted, with what was recorded of it.
fn accepted(number: i64, kind: &'static str, data: &Value, trace: &str) -> Acceptance {
    Acceptance {
        id: Id::from_number(number),
        source: "hr".into(),
        event_id: number.to_string(),
        kind,
        time: Timestamp::UNIX_EPOCH,
        data: data.to_string().into_bytes(),
        secrets: None,
        trace: trace.as_bytes().to_vec(),
        trace_pattern: None,
        letters: Vec::new(),
        items: Vec::new(),
        fan_outs: Vec::new(),
        guard: None,
        claimed_by: None,
    }
}

#[tokio::test]
async fn what_cannot_be_decided_any_more_is_counted_with_the_reason_and_the_rest_goes_on() {
    let (folder, clock) = (TempDir::new().unwrap(), Arc::new(FixedClock::at("2026-11-21T09:00:00Z")));
    let (url, data_dir, key) = ("sqlite:t.db".into(), folder.path().to_owned(), SealKey::from_bytes([7; 32]));
    let store = tidings_store::open(OpenOptions { url, data_dir, key, clock, min_free_bytes: 0 }).await.unwrap();
    let first = Id::first_of("2026-11-21T09:00:00Z".parse().unwrap()).number();
    let good = Value::Object(an_event().build().data);
    let link = json!({"object": {"mail": "ada@example.org"}, "details": {"link": "***"}});
    store
        .accept(vec![
            accepted(first, "account.promoted", &good, r#"{"letters": []}"#),
            accepted(first + 1, "membership.joined", &json!({"object": {"mail": "no address"}}), r#"{"letters": []}"#),
            accepted(first + 2, "membership.joined", &good, "older than this version"),
            accepted(first + 3, "membership.joined", &good, r#"{"letters": []}"#),
            accepted(first + 4, "password.reset_link", &link, r#"{"letters": []}"#),
        ])
        .await
        .unwrap();
    let mut owners = Rule::simple("owners", vec![TypePattern::parse("*").unwrap()], vec![Audience::Owners]);
    owners.when = Some(tidings_core::policy::Condition::compile("has(details.link) || object.name == \"Payroll\"").unwrap());
    let (rules, queries) = (RuleSet::with_built_in(vec![owners]), crate::Queries::new());
    let policy = Policy { rules: &rules, queries: &queries, unhealthy: WhenUnhealthy::Hold };
    let span = || EventSpan { since: Timestamp::UNIX_EPOCH, until: Timestamp::MAX, kinds: Vec::new() };

    let mut steps = Vec::new();
    let replay =
        Replayer::new(store.clone(), Before::Recorded, policy, 9).run(span(), |progress| steps.push(progress.events)).await.unwrap();
    assert_eq!(steps, [5]);
    assert_eq!((replay.totals.events, replay.totals.undecided), (5, 3));
    let mut why: Vec<&str> = replay.undecided.iter().map(|stumble| stumble.why.as_str()).collect();
    why.sort_unstable();
    assert_eq!(why.len(), 3);
    assert!(why[0].starts_with("/data/object/mail: "), "{why:?}");
    assert!(why[1].starts_with("/type: `tidings.account.promoted` is not a known type"), "{why:?}");
    assert_eq!(why[2], "its trace cannot be read");
    let told: Vec<_> = replay.people.iter().map(|person| (person.address.as_str(), person.more, person.fewer)).collect();
    assert_eq!(told, [("ada@example.org", 1, 0), ("grace@example.org", 1, 0), ("linus@example.org", 1, 0)]);
    let [uncertain] = replay.uncertain.as_slice() else { panic!("{:?}", replay.uncertain) };
    assert_eq!((uncertain.rule.as_deref(), uncertain.events, uncertain.event.number()), (Some("owners"), 1, first + 4));

    let same = Replayer::new(store, Before::Decided(policy), policy, 9).run(span(), |_| {}).await.unwrap();
    assert_eq!((same.totals.same, same.totals.more, same.totals.fewer, same.totals.undecided), (5, 0, 0, 2));
}
