//! `[[relay.replies]]`: what refusals of a relay mean, where the built-in table is not right about it.

use crate::{
    keys::{Section, Shape, key},
    load::Loading,
    node::Value,
    read::Table,
};
use tidings_core::outbox::Stage;

const STAGES: [(&str, Stage); 8] = [
    ("greeting", Stage::Greeting),
    ("ehlo", Stage::Ehlo),
    ("tls", Stage::Tls),
    ("auth", Stage::Auth),
    ("mail", Stage::Mail),
    ("rcpt", Stage::Rcpt),
    ("data", Stage::Data),
    ("content", Stage::Content),
];

pub(crate) static REPLIES: Section = Section {
    meaning: "What refusals of this relay mean, in rows that come before the built-in ones; the first that fits holds.",
    keys: &[
        key(
            "stage",
            Shape::Choice(&["greeting", "ehlo", "tls", "auth", "mail", "rcpt", "data", "content"], &[]),
            "smtp, `[[relay.replies]]`: the step at which the refusal comes; any if absent.",
        ),
        key("code", Shape::ReplyCodes, "smtp, `[[relay.replies]]`: its basic code; any if absent."),
        key("enhanced", Shape::EnhancedCodes, "smtp, `[[relay.replies]]`: its enhanced code (RFC 3463); any if absent."),
        key("text", Shape::Text, "smtp, `[[relay.replies]]`: words that it holds, letter case aside; any if absent."),
        key(
            "means",
            Shape::Choice(&["retry", "fail", "sender", "busy", "quota", "hold", "sign-in"], &[]),
            "smtp, `[[relay.replies]]`, required: `retry` this letter later, `fail` it, `sender` fails it and alerts because its From may not send; of the relay: \
             `busy` (fewer sessions, soon again), `quota` (held, and not tried again soon), `hold` (needs an administrator), `sign-in` (refused).",
        ),
        key("hint", Shape::Text, "smtp, `[[relay.replies]]`: what an administrator can do, shown beside the refusal."),
    ],
};

/// Enhanced codes (RFC 3463): class and subject, the first and the last detail.
pub type EnhancedRange = ((u8, u16), (u16, u16));

/// A row of the table of replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyRule {
    /// The step at which the refusal comes. Default: any.
    pub stage: Option<Stage>,
    /// The first and the last basic code. Default: 400 to 599.
    pub codes: (u16, u16),
    /// Enhanced codes: class and subject, the first and the last detail. Default: any or none.
    pub enhanced: Option<EnhancedRange>,
    /// Words that the reply holds. Default: any.
    pub text: Option<String>,
    /// What it means.
    pub means: ReplyMeaning,
    /// What an administrator can do.
    pub hint: Option<String>,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMeaning {
    /// This letter is tried again later.
    Retry,
    /// This letter fails.
    Fail,
    /// This letter fails, and so will every other from the same sender.
    Sender,
    /// The relay has too much to do.
    Busy,
    /// What may be sent in a day or so is spent.
    Quota,
    /// The relay is held until an administrator has mended something.
    Hold,
    /// The sign-in is refused.
    SignIn,
}

impl ReplyMeaning {
    /// Whether it speaks of one letter, and not of the whole relay.
    const fn is_of_a_letter(self) -> bool {
        matches!(self, Self::Retry | Self::Fail | Self::Sender)
    }
}

/// Basic codes: `554`, `5xx`, `45x` or `450-459`.
pub(crate) fn codes(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{}` is no code of a refusal, such as 554, \"5xx\" or \"450-459\"", crate::load::shown(text));
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|_| text.trim().len() == 3);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(&text.replace(['x', 'X'], "0")).zip(number(&text.replace(['x', 'X'], "9"))),
    }
    .ok_or_else(wrong)?;
    let in_order = !text.contains("x0") && (400..=599).contains(&first) && (first..=599).contains(&last);
    if in_order { Ok((first, last)) } else { Err(wrong()) }
}

/// Enhanced codes: `5.7.1`, `5.7.*` or `4.7.500-699`.
pub(crate) fn enhanced(text: &str) -> Result<EnhancedRange, String> {
    let parse = || {
        let mut parts = text.trim().splitn(3, '.');
        let class: u8 = parts.next()?.parse().ok().filter(|class| matches!(class, 4 | 5))?;
        let subject: u16 = parts.next()?.parse().ok().filter(|subject| *subject <= 999)?;
        let detail = parts.next()?;
        let number = |text: &str| text.parse::<u16>().ok().filter(|detail| *detail <= 999);
        let details = match detail.split_once('-') {
            _ if detail == "*" => (0, 999),
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(detail)?, number(detail)?),
        };
        (details.0 <= details.1).then_some(((class, subject), details))
    };
    parse().ok_or_else(|| {
        format!("`{}` is no enhanced code of a refusal, such as \"5.7.1\", \"5.7.*\" or \"4.7.500-699\"", crate::load::shown(text))
    })
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Vec<ReplyRule> {
    table.tables("replies").iter().filter_map(|table| rule(loading, table)).collect()
}

fn rule(loading: &Loading<'_>, table: &Table<'_>) -> Option<ReplyRule> {
    if !table.has("means") {
        loading.problem(table.at(), table.key("means"), "is missing; write what the refusal means");
    }
    if !["code", "enhanced", "text"].into_iter().any(|name| table.has(name)) {
        loading.problem(table.at(), table.path(), "names no refusal; write code, enhanced or text");
    }
    let stage = table.text("stage").and_then(|word| STAGES.into_iter().find(|(name, _)| *name == word)).map(|(_, stage)| stage);
    let means = match table.text("means")? {
        "retry" => ReplyMeaning::Retry,
        "fail" => ReplyMeaning::Fail,
        "sender" => ReplyMeaning::Sender,
        "busy" => ReplyMeaning::Busy,
        "quota" => ReplyMeaning::Quota,
        "hold" => ReplyMeaning::Hold,
        "sign-in" => ReplyMeaning::SignIn,
        _ => return None,
    };
    if means.is_of_a_letter() && stage.is_some_and(|stage| matches!(stage, Stage::Greeting | Stage::Ehlo | Stage::Tls | Stage::Auth)) {
        let message = "speaks of a letter, and at this stage there is none; allowed are busy, quota, hold, sign-in";
        loading.problem(table.place("means"), table.key("means"), message);
    }
    let codes = match table.raw("code").map(|node| &node.value) {
        Some(Value::Integer(Some(code))) => u16::try_from(*code).ok().map(|code| (code, code))?,
        Some(Value::Text(text)) => codes(text).ok()?,
        Some(_) => return None,
        None => (400, 599),
    };
    Some(ReplyRule {
        stage,
        codes,
        enhanced: table.text("enhanced").and_then(|text| enhanced(text).ok()),
        text: table.owned("text"),
        means,
        hint: table.owned("hint"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_one_a_family_or_a_range() {
        for (text, wanted) in
            [("554", (554, 554)), ("5xx", (500, 599)), ("45X", (450, 459)), ("450-459", (450, 459)), ("421 - 451", (421, 451))]
        {
            assert_eq!(codes(text), Ok(wanted), "{text}");
        }
        for text in ["", "250", "5", "xxx", "600", "459-450", "4x0", "5.7.1", "-", "55x5", "٤٢١"] {
            assert!(codes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn enhanced_codes_are_one_or_several_details_of_a_subject() {
        for (text, wanted) in [("5.7.1", ((5, 7), (1, 1))), ("5.7.*", ((5, 7), (0, 999))), ("4.7.500-699", ((4, 7), (500, 699)))] {
            assert_eq!(enhanced(text), Ok(wanted), "{text}");
        }
        for text in ["", "2.0.0", "5.7", "5.*.1", "5.7.x", "5.7.9-1", "5.7.1000", "5.7.1.2"] {
            assert!(enhanced(text).is_err(), "{text}");
        }
    }
}
