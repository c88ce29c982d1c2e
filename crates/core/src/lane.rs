//! Lanes of the outbox: a letter in a higher lane never waits behind one in a lower lane.

use crate::time::Timestamp;
use std::{fmt, str::FromStr};

/// Every so many letters one goes to the lower lane that has waited longest, so that a lower lane is slow while the urgent ones are busy, and never starves.
pub const SHARE_OF_LOWER: u16 = 8;

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

/// Some of the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneSet(u8);

impl LaneSet {
    /// No lane.
    pub const NONE: Self = Self(0);
    /// Every lane.
    pub const ALL: Self = Self((1 << Lane::ALL.len()) - 1);

    /// This lane and all that are more urgent.
    pub const fn down_to(lane: Lane) -> Self {
        Self((2 << lane as u8) - 1)
    }

    /// This lane and all that are less urgent.
    pub const fn from(lane: Lane) -> Self {
        Self(Self::ALL.0 & !((1 << lane as u8) - 1))
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this lane is one of them.
    pub const fn has(self, lane: Lane) -> bool {
        self.0 & (1 << lane as u8) != 0
    }

    /// Adds a lane.
    pub fn add(&mut self, lane: Lane) {
        self.0 |= 1 << lane as u8;
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The lanes, the most urgent first.
    pub fn iter(self) -> impl Iterator<Item = Lane> {
        Lane::ALL.into_iter().filter(move |lane| self.has(*lane))
    }
}

/// Whose turn it is: the most urgent lane, and once in [`SHARE_OF_LOWER`] turns the lower one whose first letter has waited longest.
///
/// `heads` tells for each lane since when its first letter has waited; `turn` counts the letters taken.
pub fn next_turn(turn: u64, heads: &[Option<Timestamp>; Lane::ALL.len()]) -> Option<Lane> {
    let mut waiting = Lane::ALL.into_iter().filter_map(|lane| heads[lane as usize].map(|since| (since, lane)));
    let first = waiting.next()?.1;
    if !turn.is_multiple_of(u64::from(SHARE_OF_LOWER)) {
        return Some(first);
    }
    Some(waiting.min().map_or(first, |(_, lane)| lane))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_millis;

    #[test]
    fn sets_hold_what_was_put_in() {
        assert_eq!(LaneSet::down_to(Lane::Requests).iter().collect::<Vec<_>>(), [Lane::Codes, Lane::Security, Lane::Requests]);
        assert_eq!(LaneSet::from(Lane::Notices).iter().collect::<Vec<_>>(), [Lane::Notices, Lane::Reminders, Lane::Digests]);
        assert_eq!(LaneSet::down_to(Lane::Digests), LaneSet::ALL);
        assert_eq!(LaneSet::from(Lane::Codes), LaneSet::ALL);
        assert!(LaneSet::down_to(Lane::Codes).and(LaneSet::from(Lane::Security)).is_empty());
        let mut set = LaneSet::NONE;
        set.add(Lane::Digests);
        assert!(set.has(Lane::Digests) && !set.has(Lane::Codes));
        assert_eq!(set.or(LaneSet::down_to(Lane::Reminders)), LaneSet::ALL);
    }

    #[test]
    fn an_endless_stream_of_urgent_letters_leaves_a_share_to_whoever_has_waited_longest() {
        let at = |ms| Some(from_millis(ms));
        // Codes come in without end, just now; a digest and a reminder have waited.
        let heads = [at(1000), None, None, None, at(500), at(400)];
        let taken: Vec<Lane> = (1..=16).filter_map(|turn| next_turn(turn, &heads)).collect();
        assert_eq!(taken.iter().filter(|lane| **lane == Lane::Digests).count(), 2);
        assert_eq!(taken.iter().filter(|lane| **lane == Lane::Codes).count(), 14);
        let alone = [at(100), None, None, None, None, None];
        assert!((1..=16).all(|turn| next_turn(turn, &alone) == Some(Lane::Codes)));
        assert_eq!(next_turn(8, &[None; 6]), None);
    }
}
