//! The events that are posted: somebody joined a group. Each causes one letter, to the member, in one of three languages.

use std::fmt::Write as _;

/// Languages of the readers, in turn.
const LOCALES: [&str; 3] = ["en", "de", "fr"];

/// Appends the event of this number (CloudEvents 1.0, structured) to `out`. Its id is the number, so a number posted twice is a duplicate.
pub(crate) fn write(out: &mut String, number: u64) {
    let locale = LOCALES[usize::try_from(number % 3).expect("a number below 3 fits")];
    let person = number % 1_000;
    write!(
        out,
        r#"{{"specversion":"1.0","id":"{number}","source":"bench","type":"tidings.membership.joined","time":"2026-11-21T09:00:00Z","data":{{"actor":{{"id":"u1","name":"Ada King","mail":"ada@example.org"}},"object":{{"type":"group","id":"g7","name":"Payroll","public":true,"owners":[{{"id":"u2","name":"Grace","mail":"grace@example.org","locale":"de"}}],"members":[]}},"member":{{"id":"p{person}","name":"Linus {person}","mail":"linus.{person}@example.org","locale":"{locale}","timezone":"Europe/Paris","enabled":true,"manager":{{"id":"u1","name":"Ada King","mail":"ada@example.org"}}}},"before":{{}},"after":{{}},"details":{{"ends_at":"2026-12-31"}}}}}}"#
    )
    .expect("a String takes everything");
}

/// Appends the events of these numbers as one batch, a JSON array.
pub(crate) fn write_batch(out: &mut String, numbers: std::ops::Range<u64>) {
    out.push('[');
    for number in numbers.clone() {
        if number > numbers.start {
            out.push(',');
        }
        write(out, number);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_batch_is_json_with_an_id_of_its_own_for_every_event() {
        let mut text = String::new();
        write_batch(&mut text, 998..1_003);
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, ["998", "999", "1000", "1001", "1002"]);
        assert_eq!(events[2]["data"]["member"]["mail"], "linus.0@example.org");
        assert_eq!(events[0]["data"]["member"]["locale"], "fr");
    }
}
