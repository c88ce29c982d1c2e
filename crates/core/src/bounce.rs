//! Bounces: what a report that came back says of a letter that a relay had taken.
//!
//! Here are the words alone. Reports are read and matched in `bounces`, kept in `store`.

use std::{fmt, str::FromStr};

/// What a report says became of a letter for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// It cannot be delivered, and no other letter to this address could be: there is no such mailbox or domain (RFC 3463: 5.1.1 and its like).
    Hard,
    /// It was not delivered, but another one may be: the mailbox is full, a policy is against it, it took too long.
    Soft,
    /// It is late and still on its way: no bounce (RFC 3464 §2.3.3 "delayed").
    Delayed,
    /// It lies in the mailbox ("delivered").
    Delivered,
    /// It was handed on to where no reports come from, or to several others ("relayed", "expanded").
    Relayed,
    /// Its reader has complained of it (RFC 5965).
    Complaint,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 6] = [Self::Hard, Self::Soft, Self::Delayed, Self::Delivered, Self::Relayed, Self::Complaint];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Complaint => "complaint",
        }
    }

    /// Whether the letter did not arrive.
    pub const fn is_bounce(self) -> bool {
        matches!(self, Self::Hard | Self::Soft)
    }

    /// The word of an item's history that tells of it.
    pub const fn history(self) -> &'static str {
        match self {
            Self::Hard | Self::Soft => "bounced",
            Self::Delayed | Self::Delivered | Self::Relayed | Self::Complaint => self.as_str(),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a class of reports (hard, soft, delayed, delivered, relayed, complaint)")]
pub struct ClassError(pub String);

impl FromStr for Class {
    type Err = ClassError;

    fn from_str(text: &str) -> Result<Self, ClassError> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| ClassError(text.to_owned()))
    }
}

impl serde::Serialize for Class {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// By what a report was found to be about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Match {
    /// The address it came back to names the item and carries our seal (VERP).
    Verp,
    /// The envelope's name, which the relay was given with the letter (ENVID, RFC 3461 §4.4).
    Envelope,
    /// The letter's Message-ID.
    MessageId,
    /// The letter's own header `X-Tidings-Event`: a relay gives Message-IDs of its own.
    Header,
}

impl Match {
    /// All of them, the surest first.
    pub const ALL: [Self; 4] = [Self::Verp, Self::Envelope, Self::MessageId, Self::Header];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verp => "verp",
            Self::Envelope => "envid",
            Self::MessageId => "message_id",
            Self::Header => "header",
        }
    }

    /// From its written name.
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

impl serde::Serialize for Match {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
