//! What the nodes that share a relay agree on: how many sessions each may have, what each may still send, and whether the relay is held.
//!
//! They agree by a *sheet*, one for each relay: a small text in the database that whoever changes it replaces only as it knew it (compare and set). It says for
//! each node what it holds, until when; what was sent within the spans of the limits, counted; and what is wrong with the relay, and who tries it. A node
//! takes for itself alone, and never more than the others leave. All here is pure: a caller reads, writes and brings the time.
//!
//! - **Leases.** What a node holds ends [`LEASE`] after it last wrote, by the database's clock. The node itself uses it for [`MARGIN`] less, counted by its own clock
//!   from before it asked for the database's time, so that what it has begun is over when others count on that. A node that is gone frees its seats that way.
//! - **Seats** are leave to have a session. Who has more than its fair share and meets another that wants gives back what it has closed, not what it means to close.
//! - **Sends** are reserved before they are made. What others have reserved counts as sent; what lapses counts as sent at its lapse. So
//!   whatever was counted and whatever is reserved together never exceed a limit, whoever dies at whichever step.
//! - **The breaker**: who meets trouble writes it down; the first who asks when a probe is due is the one who probes.
//!
//! A node that knows it is the only one (SQLite) keeps its count here over restarts, and nothing else.

mod member;
mod share;
mod sheet;
#[cfg(test)]
mod simulation;

#[cfg(test)]
use member::Draft;
pub(crate) use member::{Ask, Member, Terms, Word};
pub(crate) use sheet::{Hold, Tally};

use std::time::Duration;
use tokio::time::Instant;

/// How long others leave to a node what it holds, after it last wrote.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// So long before that end a node begins nothing more: what is on the way then has time to end.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);
/// How often a node looks at the sheet.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// What is held is renewed when it was written so long ago; what is no longer needed is given back then.
const RENEW: Duration = Duration::from_secs(4);

/// What is known of the database's clock: what it said, and between which two moments of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Since the epoch.
    pub(crate) said: Duration,
    pub(crate) before: Instant,
    pub(crate) after: Instant,
}

impl Link {
    /// The database's clock shows at least this.
    pub(crate) fn at_least(self, at: Instant) -> Duration {
        self.said + at.saturating_duration_since(self.after)
    }

    /// The database's clock shows at most this. Of a moment before it was asked as well. What it says is cut to whole milliseconds.
    pub(crate) fn at_most(self, at: Instant) -> Duration {
        let said = self.said + Duration::from_millis(1);
        if at >= self.before { said + (at - self.before) } else { said.saturating_sub(self.before - at) }
    }

    /// From when on the database's clock surely shows this.
    pub(crate) fn surely(self, moment: Duration) -> Instant {
        self.after + moment.saturating_sub(self.said)
    }

    /// Until when the database's clock surely does not show this.
    pub(crate) fn not_before(self, moment: Duration) -> Instant {
        self.before + moment.saturating_sub(self.said)
    }
}
