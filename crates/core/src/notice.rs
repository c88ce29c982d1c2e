//! Notices: one rule's verdict that one person is to be told one thing.

use crate::{address::Address, kind::Kind, lane::Lane, subject::Party};

/// Why somebody is told. The code is fixed (headers, catalogues, traces use it); the detail says which one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reason {
    /// The audience's word: `member`, `owner`, `manager`, `actor`, `object`, `address` …
    pub code: &'static str,
    /// Of whom or what, if that helps: the group's name, the member's name, the attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Reason {
    /// A reason without detail.
    pub fn plain(code: &'static str) -> Self {
        Self { code, detail: None }
    }

    /// A reason with detail.
    pub fn of(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: Some(detail.into()) }
    }
}

/// Every code a [`Reason`] may have; each has a text `reason.<code>` in the catalogues.
pub const REASON_CODES: [&str; 18] = [
    "actor",
    "object",
    "member",
    "members",
    "manager",
    "owner",
    "approver",
    "requester",
    "reviewer",
    "subscriber",
    "performer",
    "holder",
    "query",
    "permission",
    "attribute",
    "expression",
    "address",
    "fallback",
];

/// Somebody who can be told: a party with an address.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Where the letter goes.
    pub address: Address,
    /// Name, language, time zone and the rest of what is known.
    pub party: Party,
    /// Why, in the order the paths were found.
    pub reasons: Vec<Reason>,
}

/// One letter that is to be written.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What it is about.
    pub kind: &'static Kind,
    /// The first rule that led to it.
    pub rule: String,
    /// Whom it is for.
    pub reader: Reader,
    /// Who gets a copy with the same bytes.
    pub cc: Vec<Reader>,
    /// The relay, if the rule names one.
    pub relay: Option<String>,
    /// The lane it travels in.
    pub lane: Lane,
}
