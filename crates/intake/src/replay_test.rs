use super::*;
use ledger::Ledger;
use serde_json::json;
use tidings_core::Id;

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
