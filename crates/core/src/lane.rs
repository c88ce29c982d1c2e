//! Lanes of the outbox: a letter in a higher lane never waits behind one in a lower lane.

use std::{fmt, str::FromStr};

/// How urgent a letter is. The order of the variants is the order of the lanes, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Codes, temporary passwords and links that somebody is waiting for.
    Codes,
    /// News about the reader's own sign-in and safety.
    Security,
    /// Requests on which somebody else's work waits.
    Requests,
    /// What happened.
    Notices,
    /// What is going to happen.
    Reminders,
    /// Summaries.
    Digests,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 6] = [Self::Codes, Self::Security, Self::Requests, Self::Notices, Self::Reminders, Self::Digests];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Codes => "codes",
            Self::Security => "security",
            Self::Requests => "requests",
            Self::Notices => "notices",
            Self::Reminders => "reminders",
            Self::Digests => "digests",
        }
    }

    /// The number the store keeps: 0 for the most urgent.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// From the number the store keeps.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.number() == number)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a lane (codes, security, requests, notices, reminders, digests)")]
pub struct LaneError(pub String);

impl FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text).ok_or_else(|| LaneError(text.to_owned()))
    }
}

impl serde::Serialize for Lane {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
