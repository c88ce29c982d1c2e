//! The events that are posted. Each causes one letter, to the member or the user, in one of three languages, but for those on a company in the mirror.

use crate::company::scatter;
use std::{fmt::Write as _, ops::Range, sync::LazyLock};

/// Languages of the readers, in turn.
const LOCALES: [&str; 3] = ["en", "de", "fr"];
/// Bytes of the remark in a [`Story::Long`] event: the letter shows it twice, as text and as HTML, and has some 100,000 bytes then.
const REMARK: usize = 46_000;
/// The first bytes of an urgent reader's address.
pub(crate) const URGENT: &str = "urgent.";

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// Somebody joined a group. The usual one.
    Joined,
    /// Somebody joined a group, with a remark that makes the letter long.
    Long,
    /// A membership is about to end: a reminder, which may wait.
    Ending,
    /// A link to choose a new password: somebody waits for it. It is sealed at rest.
    Link,
    /// Somebody joined a group; everybody is a reference into the mirror of a company of this size.
    Referring {
        /// People of the company.
        people: u64,
        /// Its groups.
        groups: u64,
    },
    /// Somebody's entry was changed.
    Changed,
    /// A group's entry was changed: the first group of the company in the mirror.
    ChangedGroup,
}

impl Story {
    /// Appends the event of this number (CloudEvents 1.0, structured) to `out`. Its id is the number, so a number posted twice is a duplicate.
    pub(crate) fn write(self, out: &mut String, number: u64) {
        let kind = match self {
            Self::Joined | Self::Long | Self::Referring { .. } => "membership.joined",
            Self::Ending => "membership.ending",
            Self::Link => "password.reset_link",
            Self::Changed | Self::ChangedGroup => "object.changed",
        };
        write!(
            out,
            r#"{{"specversion":"1.0","id":"{number}","source":"bench","type":"tidings.{kind}","time":"2026-11-21T09:00:00Z","data":{{"#
        )
        .expect("a String takes everything");
        if let Self::Referring { people, groups } = self {
            let (actor, object, member) = (scatter(number) % 100, scatter(number + 1) % groups.max(1), scatter(number + 2) % people.max(1));
            write!(out, r#""actor":"corp/p{actor}","object":"corp/g{object}","member":"corp/p{member}"}}}}"#)
                .expect("a String takes everything");
            return;
        }
        out.push_str(r#""actor":{"id":"u1","name":"Ada King","mail":"ada@example.org"},"#);
        if self == Self::Link {
            write!(
                out,
                r#""object":{{"type":"user","id":"p{number}","name":"Linus","mail":"{URGENT}{number}@example.org","locale":"en"}},"details":{{"link":"https://portal.example.org/reset/{number:032x}"}}}}}}"#
            )
            .expect("a String takes everything");
            return;
        }
        let person = number % 1_000;
        let locale = LOCALES[usize::try_from(number % 3).expect("a number below 3 fits")];
        if let Self::Changed | Self::ChangedGroup = self {
            if self == Self::ChangedGroup {
                out.push_str(r#""object":"corp/g0""#);
            } else {
                write!(
                    out,
                    r#""object":{{"type":"user","id":"p{person}","name":"Linus {person}","mail":"linus.{number}@example.org","locale":"{locale}","enabled":true}}"#
                )
                .expect("a String takes everything");
            }
            out.push_str(r#","before":{"department":"Sales"},"after":{"department":"Research"}}}"#);
            return;
        }
        write!(
            out,
            r#""object":{{"type":"group","id":"g7","name":"Payroll","public":true,"owners":[{{"id":"u2","name":"Grace","mail":"grace@example.org","locale":"de"}}],"members":[]}},"member":{{"id":"p{person}","name":"Linus {person}","mail":"linus.{person}@example.org","locale":"{locale}","timezone":"Europe/Paris","enabled":true,"manager":{{"id":"u1","name":"Ada King","mail":"ada@example.org"}}}},"before":{{}},"after":{{}},"details":{{"ends_at":"2026-12-31""#
        )
        .expect("a String takes everything");
        if self == Self::Long {
            out.push_str(r#","note":""#);
            out.push_str(remark(number));
            out.push('"');
        }
        out.push_str("}}}");
    }

    /// Appends the events of these numbers as one batch, a JSON array.
    pub(crate) fn write_batch(self, out: &mut String, numbers: Range<u64>) {
        out.push('[');
        for number in numbers.clone() {
            if number > numbers.start {
                out.push(',');
            }
            self.write(out, number);
        }
        out.push(']');
    }
}

/// A remark as it stands in JSON: words of random letters in lines, different for neighbouring numbers, so that no compression finds it known.
fn remark(number: u64) -> &'static str {
    static WORDS: LazyLock<String> = LazyLock::new(|| random_words(4 * REMARK));
    let start = usize::try_from(number.wrapping_mul(7_919) % (3 * REMARK as u64)).expect("an offset into the words fits");
    // A line break is two characters in JSON, of which the first must not come last.
    WORDS[start..start + REMARK].trim_end_matches('\\')
}

/// Words of one to eight letters from a generator with a fixed seed, some ten a line.
fn random_words(length: usize) -> String {
    let (mut words, mut state) = (String::with_capacity(length + 64), 0x9e37_79b9_7f4a_7c15_u64);
    let mut roll = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    while words.len() < length + 64 {
        for _ in 0..=roll(8) {
            words.push(char::from(b'a' + u8::try_from(roll(26)).expect("a number below 26 fits")));
        }
        words.push(' ');
        if roll(10) == 0 {
            words.push_str("\\n ");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn batch(story: Story, numbers: Range<u64>) -> Vec<Value> {
        let mut text = String::new();
        story.write_batch(&mut text, numbers);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_batch_is_json_with_an_id_of_its_own_for_every_event() {
        for story in [
            Story::Joined,
            Story::Long,
            Story::Ending,
            Story::Link,
            Story::Referring { people: 9, groups: 3 },
            Story::Changed,
            Story::ChangedGroup,
        ] {
            let events = batch(story, 998..1_003);
            let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(ids, ["998", "999", "1000", "1001", "1002"]);
        }
        let events = batch(Story::Joined, 998..1_003);
        assert_eq!(events[2]["data"]["member"]["mail"], "linus.0@example.org");
        assert_eq!(events[0]["data"]["member"]["locale"], "fr");
        assert_eq!(batch(Story::Link, 5..6)[0]["data"]["object"]["mail"], "urgent.5@example.org");
    }

    #[test]
    fn long_remarks_are_all_different_and_equally_long() {
        let events = batch(Story::Long, 0..300);
        let remarks: Vec<_> = events.iter().map(|event| event["data"]["details"]["note"].as_str().unwrap()).collect();
        assert!(remarks.iter().all(|remark| remark.len().abs_diff(REMARK) < REMARK / 40 && remark.lines().count() > 100));
        let distinct: std::collections::HashSet<_> = remarks.iter().collect();
        assert_eq!(distinct.len(), remarks.len());
    }
}
