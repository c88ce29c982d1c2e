//! What a link says beside its two ends.

use crate::{
    error::StoreError,
    mirror::{MirrorLink, Target},
};
use tidings_core::{
    Timestamp,
    directory::{Link, LinkRole},
    time::from_millis,
};

/// The owner wishes no letters about this group.
pub(crate) const MUTED: i64 = 1;
/// The link is a membership of a group.
pub(crate) const NESTED: i64 = 2;

/// What a link says beside its two ends, as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) starts_at: Option<i64>,
    pub(crate) ends_at: Option<i64>,
    pub(crate) muted: bool,
}

impl Terms {
    pub(crate) fn of(link: &Link) -> Self {
        Self { starts_at: millis(link.starts_at), ends_at: millis(link.ends_at), muted: link.muted }
    }

    pub(crate) fn of_mirrored(link: &MirrorLink) -> Self {
        Self { starts_at: millis(link.starts_at), ends_at: millis(link.ends_at), muted: link.muted }
    }

    /// From three columns.
    pub(crate) fn of_columns(starts_at: Option<i64>, ends_at: Option<i64>, flags: i64) -> Self {
        Self { starts_at, ends_at, muted: flags & MUTED != 0 }
    }

    /// The column of flags.
    pub(crate) fn flags(self, role: LinkRole, group: bool) -> i64 {
        let nested = role == LinkRole::Member && group;
        (if self.muted { MUTED } else { 0 }) | (if nested { NESTED } else { 0 })
    }

    /// As the contract shows it.
    pub(crate) fn link(self, role: LinkRole, other: Target) -> MirrorLink {
        let Self { starts_at, ends_at, muted } = self;
        MirrorLink { role, starts_at: starts_at.map(from_millis), ends_at: ends_at.map(from_millis), muted, other }
    }
}

fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millisecond)
}

/// The role of a column.
pub(crate) fn role_of(number: i64) -> Result<LinkRole, StoreError> {
    LinkRole::from_number(number).ok_or_else(|| StoreError::Corrupt(format!("link.role: {number}")))
}
