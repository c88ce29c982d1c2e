//! Feedback (RFC 5965): a reader has pressed "this is spam", and the provider says so.

use crate::{
    classify::{failed, telling},
    dsn::bare,
    mime::{Fields, Leaf},
    report::{Reported, one_line},
};
use tidings_core::bounce::Class;

/// The media type of the part for programs.
pub(crate) const MEDIA: [&str; 1] = ["message/feedback-report"];

/// What the part says.
#[derive(Debug)]
pub(crate) struct Feedback {
    pub(crate) reporter: Option<String>,
    pub(crate) envelope: Option<String>,
    pub(crate) recipient: Reported,
}

/// Reads the part. A feedback about authentication (RFC 6591) or of another type that is no complaint says nothing about a letter's fate: `None`.
pub(crate) fn feedback(leaf: &Leaf<'_>) -> Option<Feedback> {
    let fields = Fields::of(leaf.bytes());
    let kind = fields.get("feedback-type")?.trim().to_ascii_lowercase();
    if !matches!(kind.as_str(), "abuse" | "fraud" | "other" | "opt-out" | "virus" | "complaint") {
        return None;
    }
    // Providers often leave the reader's address out, or write something in its place that is none (RFC 6590).
    let names: Vec<String> = ["original-rcpt-to", "removal-recipient"]
        .iter()
        .flat_map(|name| fields.all(name))
        .map(|value| bare(value.trim_start_matches("rfc822;")))
        .filter(|name| name.contains('@'))
        .collect();
    let reporter = fields.get("reporting-mta").or_else(|| fields.get("user-agent")).map(one_line);
    let recipient = Reported { class: Class::Complaint, names, status: None, diagnostic: format!("the reader complains: {kind}") };
    Some(Feedback { reporter, envelope: fields.get("original-envelope-id").map(str::to_owned), recipient })
}

/// What words alone say of one recipient.
pub(crate) fn from_words(address: &str, words: &str) -> Reported {
    let code = telling(None, words);
    Reported {
        class: failed(code, words),
        names: vec![bare(address)],
        status: code.map(|code| code.to_string()),
        diagnostic: one_line(words),
    }
}
