//! What is on the way: letters, and the replies that are owed for them.

use super::super::{reply::Reply, wire::Lost};
use crate::courier::{Load, RelayTrouble, TroubleKind};
use std::fmt::Display;
use tidings_core::outbox::{Outcome, Stage};
use tokio::time::Instant;

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Rset,
    Mail,
    Rcpt,
    Data,
    /// The final dot, or the last octet of the chunk.
    Content,
}

impl Ask {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::Rset | Self::Mail => Stage::Mail,
            Self::Rcpt => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::Content => Stage::Content,
        }
    }

    /// Whether such a reply can answer such a command at all.
    pub(super) fn allows(self, reply: &Reply) -> bool {
        match (self, reply.class()) {
            (Self::Data, 3) => reply.code == 354,
            (Self::Data, 2) | (_, 3) => false,
            (_, class) => (2..=5).contains(&class),
        }
    }
}

/// A reply that the relay owes. The letter it is about is always the first one on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) ask: Ask,
    /// The position in the outgoing bytes behind the command or content: before that has left there is nothing to answer.
    pub(super) ends: u64,
}

/// A letter on the way.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) load: Load,
    /// Known as soon as the relay refuses sender or recipient; its replies to what follows are read all the same.
    pub(super) refusal: Option<Outcome>,
    /// Whether the relay has taken the sender, so that a transaction is open.
    pub(super) open: bool,
    /// Where its content begins and ends in the outgoing bytes, once it is queued.
    pub(super) content: Option<(u64, u64)>,
    /// Whether the content travels by BDAT.
    pub(super) chunked: bool,
    pub(super) begun: Instant,
}

impl Slot {
    /// Whether the last octet of the content was handed to the connection.
    pub(super) fn is_whole(&self, handed: u64) -> bool {
        self.content.is_some_and(|(_, end)| end <= handed)
    }
}

/// The session cannot go on.
pub(super) struct Broken {
    pub(super) trouble: RelayTrouble,
    pub(super) cause: Cause,
}

/// What broke a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The connection ended without a word.
    Closed,
    /// The relay said 421: that it closes now, and looks at nothing more (RFC 5321 §3.8).
    Farewell,
    /// Anything else.
    Trouble,
}

impl From<RelayTrouble> for Broken {
    fn from(trouble: RelayTrouble) -> Self {
        Self { trouble, cause: Cause::Trouble }
    }
}

impl Broken {
    pub(super) fn lost(stage: Stage, lost: &Lost) -> Self {
        let kind = if matches!(lost, Lost::Malformed(_)) { TroubleKind::Protocol } else { TroubleKind::Unreachable };
        let cause = if lost.is_closed() { Cause::Closed } else { Cause::Trouble };
        Self { trouble: RelayTrouble::new(kind, stage, lost.words()), cause }
    }

    /// The relay said 421.
    pub(super) fn farewell(trouble: RelayTrouble) -> Self {
        Self { trouble, cause: Cause::Farewell }
    }

    /// The relay does not keep to the protocol.
    pub(super) fn breach(stage: Stage, what: String) -> Self {
        RelayTrouble::new(TroubleKind::Protocol, stage, what).into()
    }

    /// The relay says more than it was asked.
    pub(super) fn surplus(stage: Stage, what: &str) -> Self {
        Self::breach(stage, format!("the relay said something that was not asked for: {what}"))
    }
}

pub(super) fn returned(trouble: &RelayTrouble) -> Outcome {
    Outcome::Returned { what: format!("not sent: {trouble}") }
}

pub(super) fn unknown(then: impl Display) -> Outcome {
    Outcome::Unknown { what: format!("the whole letter was sent, and then: {then}") }
}
