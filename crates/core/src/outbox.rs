//! The outbox: states of an item, what a courier answers, and what follows from the answer.
//!
//! ```text
//! accept ─► Held ─release─► Waiting ─claim─► Claimed ─settle─► Sent ─(bounce report)─► Bounced
//!              ▲               ▲   │            ├─ refused for now, session lost before the dot ─► Waiting (later)
//!              └────hold───────┤   │            ├─ lease lapses ─► Waiting (now)
//!                              │   │            ├─ lost after the dot ─► Waiting, "may be duplicate", or Held by kind
//!                            retry │            └─ refused for good, attempts or age used up ─► Failed
//!                              │   ├─cancel─► Cancelled
//!                              │   └─life time over─► Expired
//! ```

use crate::{
    address::Address,
    id::Id,
    kind::AfterUnknown,
    lane::Lane,
    retry::RetryPolicy,
    time::{Timestamp, later},
};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};

/// Where an outbox item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Set aside; only an operator or the flood guard lets it go.
    Held,
    /// Due at some time.
    Waiting,
    /// Leased to a node that is delivering it.
    Claimed,
    /// The relay took it.
    Sent,
    /// The relay took it, and it came back later.
    Bounced,
    /// Refused for good, or given up.
    Failed,
    /// Its life time was over before it could be sent.
    Expired,
    /// An operator cancelled it.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 8] =
        [Self::Held, Self::Waiting, Self::Claimed, Self::Sent, Self::Bounced, Self::Failed, Self::Expired, Self::Cancelled];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Claimed => "claimed",
            Self::Sent => "sent",
            Self::Bounced => "bounced",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The number the store keeps.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// From the number the store keeps.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// Whether nothing more happens to the item by itself: secrets are erased then.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Sent | Self::Bounced | Self::Failed | Self::Expired | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state (held, waiting, claimed, sent, bounced, failed, expired, cancelled)")]
pub struct StateError(pub String);

impl FromStr for State {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| StateError(text.to_owned()))
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// Whether the recipient stands in the letter's To or Cc line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The letter is written to this person.
    To,
    /// This person gets a copy.
    Cc,
}

impl Role {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::Cc => "cc",
        }
    }
}

/// What letters of one kind and language have in common: a letter with made-up names, written from the same template; or what the traces of one kind of event
/// have in common. A store may keep a letter or a trace as what differs from it. It never holds anything about a real person.
#[derive(PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// From the bytes of such a letter.
    pub fn new(text: Vec<u8>) -> Self {
        Self(text)
    }

    /// The bytes.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({} bytes)", self.0.len())
    }
}

/// A letter as the outbox keeps it: final bytes that never change.
#[derive(Clone)]
pub struct Letter {
    /// Its name; that of its first item.
    pub id: Id,
    /// What it is about.
    pub kind: &'static str,
    /// The rule that led to it.
    pub rule: String,
    /// The Message-ID without angle brackets; the same on every attempt.
    pub message_id: String,
    /// The envelope sender; `None` is the null sender `<>` (RFC 5321 §4.5.5).
    pub sender: Option<Address>,
    /// The message (RFC 5322), lines ended by CRLF, neither dot-stuffed nor ended by a dot.
    pub bytes: Vec<u8>,
    /// Whether it holds a secret: encrypted at rest and erased once every copy is settled.
    pub sensitive: bool,
    /// What it was written after, if that is known.
    pub pattern: Option<Arc<Pattern>>,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({}, {}, {} bytes)", self.id, self.kind, self.bytes.len())
    }
}

/// An outbox item as it is accepted: one letter for one recipient.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name.
    pub id: Id,
    /// The letter it carries.
    pub letter: Id,
    /// The envelope recipient.
    pub to: Address,
    /// In which line of the letter the recipient stands.
    pub role: Role,
    /// The relay it goes by.
    pub relay: String,
    /// How urgent it is.
    pub lane: Lane,
    /// `Waiting`, or `Held` with the reason.
    pub held: Option<String>,
    /// Not before this moment.
    pub due_at: Timestamp,
    /// Not after this moment.
    pub expires_at: Timestamp,
}

/// At which step of a delivery something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Finding and reaching the host.
    Connect,
    /// The relay's first words (RFC 5321 §4.2 "220").
    Greeting,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS and every TLS handshake.
    Tls,
    /// Sign-in.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA or BDAT, before the content.
    Data,
    /// The content up to the relay's answer to its final dot.
    Content,
    /// Writing a file (pickup directory, file courier).
    Write,
}

impl Stage {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Ehlo => "ehlo",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Content => "content",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a relay said no to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not now: 4yz and its like. The item is tried again, and this spends one of its attempts.
    Transient {
        /// At which step.
        stage: Stage,
        /// The relay's words, one line: `450 4.2.1 mailbox busy`.
        reply: String,
    },
    /// Never: 5yz (RFC 5321 §4.2.1).
    Permanent {
        /// At which step.
        stage: Stage,
        /// The relay's words, one line.
        reply: String,
    },
}

/// What became of one attempt to deliver one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The relay took it; its words.
    Sent {
        /// The relay's answer to the final dot, or the file's name.
        reply: String,
    },
    /// The relay refused this message or recipient.
    Refused(Refusal),
    /// The session died after the final dot: nobody knows.
    Unknown {
        /// What happened.
        what: String,
    },
    /// It was not tried, or the session died before the final dot, or the relay as a whole is in trouble: costs no attempt.
    Returned {
        /// What happened.
        what: String,
    },
    /// The environment guard or the courier holds it for an operator.
    Withheld {
        /// Why.
        why: String,
    },
    /// The environment guard refuses it for good.
    Barred {
        /// Why.
        why: String,
    },
}

/// How an item is to stand after an attempt; the store writes it if the lease still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The item.
    pub id: Id,
    /// The lease's fencing token.
    pub token: i64,
    /// The new state.
    pub state: State,
    /// When it is due again, if it waits.
    pub due_at: Timestamp,
    /// Attempts spent so far, this one included if it counted.
    pub attempts: u32,
    /// Whether the reader may get it twice from now on.
    pub maybe_duplicate: bool,
    /// When this was known.
    pub at: Timestamp,
    /// What happened, for the history: `sent`, `refused`, `unknown`, `returned`, `withheld`, `barred`.
    pub what: &'static str,
    /// The relay's words or ours.
    pub reply: String,
    /// The relay that tried, if it took over for the item's own one: an item that ends with this attempt is listed under it from then on.
    pub relay: Option<Arc<str>>,
}

/// What must be known of an item to settle it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The item.
    pub id: Id,
    /// The lease's fencing token.
    pub token: i64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Attempts spent before this one.
    pub attempts: u32,
    /// Whether an earlier attempt may have reached the reader.
    pub maybe_duplicate: bool,
    /// What the kind wants after an unknown outcome.
    pub after_unknown: AfterUnknown,
}

/// A returned item waits this long, so that a relay that comes and goes is not hammered; the breaker decides the rest.
const RETURN_PAUSE: Duration = Duration::from_secs(1);

/// What follows from an outcome: the one place where the states after an attempt are decided.
///
/// `dice` is a random number from 0 to 1 for the jitter of delays.
pub fn settle(standing: &Standing, outcome: Outcome, retry: &RetryPolicy, now: Timestamp, dice: f64) -> Settlement {
    let mut after = Settlement {
        id: standing.id,
        token: standing.token,
        state: State::Waiting,
        due_at: now,
        attempts: standing.attempts,
        maybe_duplicate: standing.maybe_duplicate,
        at: now,
        what: "returned",
        reply: String::new(),
        relay: None,
    };
    let later_or_failed = |after: &mut Settlement| {
        after.attempts = standing.attempts.saturating_add(1);
        match retry.next_due(after.attempts, standing.accepted_at, now, dice) {
            Some(due) => after.due_at = due,
            None => after.state = State::Failed,
        }
    };
    match outcome {
        Outcome::Sent { reply } => {
            after.state = State::Sent;
            after.attempts = standing.attempts.saturating_add(1);
            (after.what, after.reply) = ("sent", reply);
        }
        Outcome::Refused(Refusal::Permanent { stage, reply }) => {
            after.state = State::Failed;
            after.attempts = standing.attempts.saturating_add(1);
            (after.what, after.reply) = ("refused", format!("{stage}: {reply}"));
        }
        Outcome::Refused(Refusal::Transient { stage, reply }) => {
            (after.what, after.reply) = ("refused", format!("{stage}: {reply}"));
            later_or_failed(&mut after);
            if after.state == State::Failed {
                after.reply.push_str(" (given up: no attempts or no time left)");
            }
        }
        Outcome::Unknown { what } => {
            after.maybe_duplicate = true;
            (after.what, after.reply) = ("unknown", what);
            match standing.after_unknown {
                // Not a refusal of the message, so it spends no attempt; but it waits as after one, because each try may be one letter more.
                AfterUnknown::Retry => {
                    later_or_failed(&mut after);
                    after.attempts = standing.attempts;
                }
                AfterUnknown::Hold => after.state = State::Held,
            }
        }
        Outcome::Returned { what } => {
            after.due_at = later(now, RETURN_PAUSE);
            after.reply = what;
        }
        Outcome::Withheld { why } => {
            after.state = State::Held;
            (after.what, after.reply) = ("withheld", why);
        }
        Outcome::Barred { why } => {
            after.state = State::Failed;
            (after.what, after.reply) = ("barred", why);
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        Standing {
            id: Id::from_number(7),
            token: 1,
            accepted_at: Timestamp::UNIX_EPOCH,
            attempts: 0,
            maybe_duplicate: false,
            after_unknown: AfterUnknown::Retry,
        }
    }

    fn refused(permanent: bool) -> Outcome {
        let (stage, reply) = (Stage::Rcpt, "4yz or 5yz".to_owned());
        Outcome::Refused(if permanent { Refusal::Permanent { stage, reply } } else { Refusal::Transient { stage, reply } })
    }

    #[test]
    fn a_permanent_refusal_is_not_retried() {
        let after = settle(&standing(), refused(true), &RetryPolicy::default(), Timestamp::UNIX_EPOCH, 0.5);
        assert_eq!((after.state, after.attempts), (State::Failed, 1));
    }

    #[test]
    fn a_transient_refusal_waits_and_spends_an_attempt() {
        let after = settle(&standing(), refused(false), &RetryPolicy::default(), Timestamp::UNIX_EPOCH, 0.5);
        assert_eq!((after.state, after.attempts), (State::Waiting, 1));
        assert_eq!(after.due_at, later(Timestamp::UNIX_EPOCH, Duration::from_mins(1)));
    }

    #[test]
    fn a_returned_item_spends_no_attempt() {
        let after =
            settle(&standing(), Outcome::Returned { what: "session lost".into() }, &RetryPolicy::default(), Timestamp::UNIX_EPOCH, 0.5);
        assert_eq!((after.state, after.attempts, after.maybe_duplicate), (State::Waiting, 0, false));
    }

    #[test]
    fn an_unknown_outcome_is_marked_and_held_if_the_kind_says_so() {
        let lost = || Outcome::Unknown { what: "lost after the dot".into() };
        let after = settle(&standing(), lost(), &RetryPolicy::default(), Timestamp::UNIX_EPOCH, 0.5);
        assert_eq!((after.state, after.attempts, after.maybe_duplicate), (State::Waiting, 0, true));
        assert!(after.due_at > Timestamp::UNIX_EPOCH);
        let careful = Standing { after_unknown: AfterUnknown::Hold, ..standing() };
        assert_eq!(settle(&careful, lost(), &RetryPolicy::default(), Timestamp::UNIX_EPOCH, 0.5).state, State::Held);
    }

    #[test]
    fn a_letter_older_than_the_schedule_is_given_up() {
        let now = later(Timestamp::UNIX_EPOCH, Duration::from_hours(120));
        let after = settle(&standing(), refused(false), &RetryPolicy::default(), now, 0.5);
        assert_eq!(after.state, State::Failed);
    }
}
