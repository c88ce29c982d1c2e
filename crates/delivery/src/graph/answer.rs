//! What Graph answered to a letter, and what follows from it.
//!
//! Sources, read in November 2026: Microsoft Graph, "user: sendMail", "Microsoft Graph error responses and resource types", "Microsoft Graph throttling
//! guidance"; the error codes of Exchange Web Services, which Graph hands through for mail (`Error…`).

use super::http::Answer;
use crate::courier::{RelayTrouble, TroubleKind};
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};
use tidings_core::{
    Timestamp,
    outbox::{Outcome, Refusal, Stage},
};

/// Most characters of Graph's words that are kept.
const MOST_WORDS: usize = 300;
/// Most characters of an id.
const MOST_ID: usize = 80;

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The letter is settled, and the next one may follow.
    Settled(Outcome),
    /// The access token is refused.
    BadToken(RelayTrouble),
    /// The relay is in trouble, and this becomes of the letter.
    Trouble(RelayTrouble, Outcome),
}

/// What Graph says of an error.
#[derive(Default)]
struct Words {
    code: String,
    /// Status, code and message in one line, with the ids that Microsoft's support asks for.
    line: String,
    is_json: bool,
}

/// One line of printable characters without mail addresses, which must not stand in logs.
fn clean(text: &str, most: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    let word = |word: &str| match word.split_once('@') {
        Some((local, domain)) => {
            let kept = local.char_indices().find(|(_, c)| c.is_alphanumeric()).map_or(0, |(at, c)| at + c.len_utf8());
            format!("{}***@{domain}", &local[..kept])
        }
        None => word.to_owned(),
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// RFC 9110 §10.2.3: seconds, or a date, which is taken by the server's own clock if it tells it.
fn pause(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let written = answer.header("retry-after")?;
    if let Ok(seconds) = written.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
    let there = answer.header("date").and_then(date).unwrap_or(now);
    let seconds = date(written)?.as_second() - there.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn words(answer: &Answer) -> Words {
    let parsed: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let error = parsed.as_ref().and_then(|parsed| parsed.get("error"));
    let part = |name: &str, most| error.and_then(|error| error.get(name)).and_then(Value::as_str).map(|text| clean(text, most));
    let code = part("code", MOST_ID).unwrap_or_default();
    let mut line = format!("HTTP {}", answer.status);
    for (before, text) in [(" ", code.as_str()), (": ", part("message", MOST_WORDS).as_deref().unwrap_or_default())] {
        if !text.is_empty() {
            write!(line, "{before}{text}").expect("a String takes everything");
        }
    }
    if code.is_empty() && !answer.reason.is_empty() {
        write!(line, " {}", clean(&answer.reason, MOST_ID)).expect("a String takes everything");
    }
    let ids: Vec<String> = ["request-id", "client-request-id"]
        .iter()
        .filter_map(|name| answer.header(name).map(|id| format!("{name} {}", clean(id, MOST_ID))))
        .collect();
    if !ids.is_empty() {
        write!(line, " ({})", ids.join(", ")).expect("a String takes everything");
    }
    Words { code, line, is_json: error.is_some() }
}

/// A letter that Graph will never take.
fn is_about_the_letter(code: &str, line: &str) -> Option<Stage> {
    Some(match code {
        "ErrorInvalidRecipients" | "ErrorRecipientNotFound" | "ErrorInvalidRecipientSubfilter" | "ErrorNoRecipients" => Stage::Rcpt,
        "ErrorMessageSizeExceeded"
        | "ErrorMimeContentInvalid"
        | "ErrorMimeContentInvalidBase64String"
        | "ErrorMimeContentConversionFailed" => Stage::Content,
        // The documented words of codes that say nothing themselves.
        _ if line.contains("base64 string for MIME content") || line.contains("maximum request length") => Stage::Content,
        _ => return None,
    })
}

/// Makes sense of an answer. `now` is for servers that do not tell the time.
pub(super) fn judge(answer: &Answer, now: Timestamp) -> Verdict {
    let said = words(answer);
    let line = said.line.clone();
    let held = |kind, stage, hint: &str| {
        let trouble = RelayTrouble::new(kind, stage, line.clone()).pause(pause(answer, now));
        let trouble = if hint.is_empty() { trouble } else { trouble.hint(hint) };
        let what = format!("not taken: {}", said.line);
        Verdict::Trouble(trouble, Outcome::Returned { what })
    };
    let unknown = || {
        let trouble = RelayTrouble::new(TroubleKind::Unreachable, Stage::Content, line.clone()).pause(pause(answer, now));
        Verdict::Trouble(trouble, Outcome::Unknown { what: format!("nobody knows whether it was sent: {}", said.line) })
    };
    let refused = |stage| Verdict::Settled(Outcome::Refused(Refusal::Permanent { stage, reply: said.line.clone() }));
    match answer.status {
        202 => Verdict::Settled(Outcome::Sent { reply: said.line }),
        // Not what is documented. Whether the letter was sent cannot be seen from it.
        200..=299 => Verdict::Settled(Outcome::Unknown { what: format!("{}, where 202 is documented", said.line) }),
        300..=399 => {
            held(TroubleKind::Configuration, Stage::Mail, "access tokens do not follow a redirect: write the final address in url")
        }
        401 => {
            let hint = "the access token is refused: check the scope, and that url and the token endpoint belong to the same cloud";
            Verdict::BadToken(RelayTrouble::new(TroubleKind::Auth, Stage::Mail, line).hint(hint))
        }
        413 => refused(Stage::Content),
        400..=499 if is_about_the_letter(&said.code, &said.line).is_some() => {
            refused(is_about_the_letter(&said.code, &said.line).unwrap_or(Stage::Content))
        }
        _ if said.code == "ErrorExceededMessageLimit" => held(
            TroubleKind::Quota,
            Stage::Content,
            "the mailbox has sent to 10,000 recipients within a day; letters are kept until it may send again",
        ),
        507 => held(TroubleKind::Configuration, Stage::Content, FULL),
        _ if said.code == "ErrorQuotaExceeded" => held(TroubleKind::Configuration, Stage::Content, FULL),
        403 => held(TroubleKind::Configuration, Stage::Mail, forbidden(&said.code)),
        404 | 410 if said.is_json => held(
            TroubleKind::Configuration,
            Stage::Mail,
            "there is no such mailbox: check auth.username, and that the user has a mailbox in Exchange Online with a licence",
        ),
        404 | 405 | 406 | 410 | 415 | 501 => {
            held(TroubleKind::Configuration, Stage::Mail, "this is not how Graph answers: check url, which ends in /v1.0")
        }
        407 => held(TroubleKind::Configuration, Stage::Connect, "a proxy stands in between and wants a sign-in of its own"),
        // Refused for the moment, and not carried out (RFC 9110 §15.5.9, RFC 6585 §4, RFC 9110 §15.6.4).
        408 => held(TroubleKind::Unreachable, Stage::Content, ""),
        429 | 503 | 509 => held(TroubleKind::Busy, Stage::Content, ""),
        // Whoever answers so may have carried the request out, or have handed it to somebody who has.
        500..=599 => unknown(),
        // A refusal that is not known. It is tried again as long as letters are, so that no mistake of a setting ends them.
        _ => Verdict::Settled(Outcome::Refused(Refusal::Transient { stage: Stage::Content, reply: said.line })),
    }
}

const FULL: &str = "the sending mailbox is full, and copies are kept in its Sent Items: make room, or have them deleted";

fn forbidden(code: &str) -> &'static str {
    match code {
        "ErrorSendAsDenied" => "the mailbox may not send as this From: grant it Send As, or write the mailbox's own address in from",
        "ErrorMessageSubmissionBlocked" => "the mailbox is blocked for sending: see Restricted entities in Microsoft Defender",
        "ErrorAccountSuspend" | "ErrorAccountSuspendShowTierUpgrade" => "the account is suspended: sign in to it once by hand",
        _ => {
            "the application may not send from this mailbox: grant it Mail.Send as an application permission with an administrator's consent, and let its access policy (or role) include the mailbox; changes take up to an hour"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TroubleKind::{Auth, Busy, Configuration, Quota, Unreachable};

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn judged(status: u16, code: &str, message: &str) -> Verdict {
        let body = serde_json::json!({"error": {"code": code, "message": message, "innerError": {"request-id": "r"}}}).to_string();
        judge(&Answer::of(status, &[("request-id", "4711-x")], &body), now())
    }

    #[test]
    fn what_is_taken_says_under_which_id() {
        let mut answer = Answer::of(202, &[("request-id", "a-1"), ("client-request-id", "b-2")], "");
        "Accepted".clone_into(&mut answer.reason);
        let reply = "HTTP 202 Accepted (request-id a-1, client-request-id b-2)".to_owned();
        assert_eq!(judge(&answer, now()), Verdict::Settled(Outcome::Sent { reply }));
        assert!(matches!(judged(200, "", ""), Verdict::Settled(Outcome::Unknown { .. })));
    }

    #[test]
    fn a_refusal_of_the_letter_ends_it_and_one_that_is_not_known_does_not() {
        for (status, code, message, stage) in [
            (400, "ErrorInvalidRecipients", "At least one recipient is not valid.", Stage::Rcpt),
            (400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.", Stage::Content),
            (400, "BadRequest", "Invalid base64 string for MIME content.", Stage::Content),
            (400, "BadRequest", "The maximum request length supported is 4MB.", Stage::Content),
            (400, "ErrorMessageSizeExceeded", "", Stage::Content),
            (413, "RequestEntityTooLarge", "", Stage::Content),
        ] {
            let Verdict::Settled(Outcome::Refused(Refusal::Permanent { stage: found, reply })) = judged(status, code, message) else {
                panic!("{status} {code} is not the end of the letter");
            };
            assert!(found == stage && reply.contains(code) && reply.contains("request-id 4711-x"), "{reply}");
        }
        for (status, code) in [(400, "BadRequest"), (409, "ErrorIrresolvableConflict"), (423, "")] {
            assert!(matches!(judged(status, code, "?"), Verdict::Settled(Outcome::Refused(Refusal::Transient { .. }))), "{status}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_relay_spends_no_attempt() {
        for (status, code, kind, words) in [
            (302, "", Configuration, "redirect"),
            (403, "ErrorAccessDenied", Configuration, "application permission"),
            (403, "ErrorSendAsDenied", Configuration, "grant it Send As"),
            (403, "ErrorMessageSubmissionBlocked", Configuration, "Restricted entities"),
            (403, "ErrorQuotaExceeded", Configuration, "mailbox is full"),
            (404, "ErrorInvalidUser", Configuration, "no such mailbox"),
            (405, "x", Configuration, "check url"),
            (407, "x", Configuration, "proxy"),
            (408, "", Unreachable, "HTTP 408"),
            (429, "ApplicationThrottled", Busy, "ApplicationThrottled"),
            (429, "ErrorExceededMessageLimit", Quota, "10,000"),
            (503, "ServiceUnavailable", Busy, "HTTP 503"),
            (507, "", Configuration, "mailbox is full"),
        ] {
            let Verdict::Trouble(trouble, Outcome::Returned { .. }) = judged(status, code, "said") else { panic!("{status} {code}") };
            assert!(trouble.kind == kind && trouble.sentence().contains(words), "{status}: {}", trouble.sentence());
        }
        let Verdict::BadToken(trouble) = judged(401, "InvalidAuthenticationToken", "Lifetime validation failed") else { panic!() };
        assert_eq!(trouble.kind, Auth);
        let page = Answer::of(404, &[], "<html>nothing here</html>");
        assert!(matches!(judge(&page, now()), Verdict::Trouble(trouble, _) if trouble.sentence().contains("check url")));
    }

    #[test]
    fn an_answer_that_leaves_it_open_marks_the_letter() {
        for status in [500, 502, 504, 599] {
            assert!(
                matches!(judged(status, "x", ""), Verdict::Trouble(trouble, Outcome::Unknown { .. }) if trouble.kind == Unreachable),
                "{status}"
            );
        }
    }

    #[test]
    fn the_wait_that_is_asked_for_is_read_as_seconds_or_as_a_date() {
        let asked = |headers: &[(&str, &str)]| match judge(&Answer::of(429, headers, ""), now()) {
            Verdict::Trouble(trouble, _) => trouble.pause.map(|pause| pause.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(&[("retry-after", "17")]), Some(17));
        assert_eq!(asked(&[("retry-after", "Sun, 22 Nov 2026 12:01:30 GMT")]), Some(90), "by our clock");
        let there = ("date", "Sun, 22 Nov 2026 12:01:20 GMT");
        assert_eq!(asked(&[("retry-after", "Sun, 22 Nov 2026 12:01:30 GMT"), there]), Some(10), "by theirs");
        assert_eq!(asked(&[("retry-after", "Sun, 22 Nov 2026 11:00:00 GMT")]), Some(0));
        assert_eq!((asked(&[("retry-after", "soon")]), asked(&[("retry-after", "-5")]), asked(&[])), (None, None, None));
    }

    #[test]
    fn no_address_stands_in_what_is_kept() {
        let Verdict::Trouble(trouble, _) = judged(404, "ErrorInvalidUser", "The requested user 'ada.king@example.org' is\r\ninvalid.")
        else {
            panic!()
        };
        assert!(trouble.what.contains("user 'a***@example.org' is invalid."), "{}", trouble.what);
    }
}
