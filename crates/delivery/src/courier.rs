//! The courier contract: a courier opens sessions; a session pulls loads and tells what became of each as soon as it is known.
//!
//! Pulling rather than being handed one letter at a time lets a session send the next envelope behind the present content (RFC 2920 §3.1), so that a letter
//! costs one round trip. What does not live here: which letter is next, and what follows from an outcome.

use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tidings_core::{
    Address, Id,
    guard::Cleared,
    outbox::{Outcome, Stage},
};

/// A letter ready to be handed over.
#[derive(Debug, Clone)]
pub struct Load {
    /// The outbox item.
    pub item: Id,
    /// The recipient, let through by the environment guard.
    pub to: Cleared,
    /// The envelope sender; `None` is `<>`.
    pub sender: Option<Address>,
    /// The message: lines ended by CRLF, neither dot-stuffed nor ended by a dot.
    pub bytes: Arc<[u8]>,
    /// The Message-ID without angle brackets.
    pub message_id: String,
    /// Whether the message holds octets above 127 and needs 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// Whether an address or a header is not ASCII and needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

impl Load {
    /// A load; looks through the bytes once to see what it needs of the relay.
    pub fn new(item: Id, to: Cleared, sender: Option<Address>, bytes: Arc<[u8]>, message_id: String) -> Self {
        let eight_bit = !bytes.is_ascii();
        let header_end = || bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
        let smtputf8 = to.address().needs_smtputf8()
            || sender.as_ref().is_some_and(Address::needs_smtputf8)
            || (eight_bit && !bytes[..header_end()].is_ascii());
        Self { item, to, sender, bytes, message_id, eight_bit, smtputf8 }
    }
}

/// Where a session gets its loads and leaves its outcomes.
#[async_trait]
pub trait Source: Send {
    /// The next load if one is at hand.
    fn try_next(&mut self) -> Option<Load>;

    /// The next load; waits for one. `None`: the session is no longer wanted. Safe to cancel.
    async fn next(&mut self) -> Option<Load>;

    /// Says what became of a load. Every load that was taken is reported exactly once.
    fn report(&mut self, item: Id, outcome: Outcome);

    /// The relay has let us in: connected, encrypted, signed in as planned.
    fn opened(&mut self) {}
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nothing more to do.
    Done,
    /// It carried as many letters as a session may, or the relay closed it between two letters: another may follow at once.
    Limit,
    /// The relay as a whole is in trouble.
    Trouble(RelayTrouble),
}

/// What is wrong with a relay; never the fault of a letter, and never spends a letter's attempts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {what}")]
pub struct RelayTrouble {
    /// At which step.
    pub stage: Stage,
    /// The relay's words or ours, one line.
    pub what: String,
    /// What an administrator can do about it.
    pub hint: Option<String>,
    /// Of what kind.
    pub kind: TroubleKind,
    /// How long the relay wants to be left alone, if it says so.
    pub pause: Option<Duration>,
}

impl RelayTrouble {
    /// Trouble without a hint.
    pub(crate) fn new(kind: TroubleKind, stage: Stage, what: impl Into<String>) -> Self {
        Self { stage, what: what.into(), hint: None, kind, pause: None }
    }

    /// With a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the time that the relay wants to be left alone.
    pub(crate) fn pause(mut self, pause: Option<Duration>) -> Self {
        self.pause = pause;
        self
    }

    /// What happened and what to do, in one line, for `relay list` and the log.
    pub fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}: {} ({hint})", self.stage, self.what),
            None => format!("{}: {}", self.stage, self.what),
        }
    }
}

/// The kinds of trouble; they differ in how soon another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// No route, no answer, no such host, a session that breaks.
    Unreachable,
    /// No encryption as required, or a certificate that is not trusted.
    Tls,
    /// The sign-in was refused.
    Auth,
    /// Too much for the relay: 421, too many sessions, too fast.
    Busy,
    /// What may be sent in a day or so is spent; it comes back by itself, and not soon.
    Quota,
    /// The relay does not keep to the protocol.
    Protocol,
    /// Settings on one side or the other make delivery impossible.
    Configuration,
    /// The pickup directory or the file cannot be written.
    Folder,
}

impl TroubleKind {
    /// The written name, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Protocol => "protocol",
            Self::Configuration => "configuration",
            Self::Folder => "folder",
        }
    }

    /// Whether it takes a person to mend it, so that fast probes are useless or (account lock-out) harmful.
    pub const fn needs_a_person(self) -> bool {
        matches!(self, Self::Auth | Self::Configuration)
    }
}

/// A way out.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// Opens a session and works until the source ends it, a limit is reached or there is trouble. May be run several times at once.
    async fn session(&self, source: &mut dyn Source) -> SessionEnd;

    /// Whether only one session at a time, and in it one letter at a time, is wise for now.
    fn one_at_a_time(&self) -> bool {
        false
    }
}
