//! Letters to addresses that letters come back from: held, or given to the rule's fallback.

use crate::{kind::Kind, lane::Lane};
use std::collections::BTreeMap;

/// The kind that tells of an unhealthy address.
pub const ADDRESS_UNHEALTHY: &str = "address.unhealthy";

/// What is done with a letter to an unhealthy address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnhealthy {
    /// It is held, until the address is cleared and the letter released.
    #[default]
    Hold,
    /// Whoever stands in the rule's fallback gets it; it is held if the rule has none.
    Fallback,
    /// It is sent as any other.
    Send,
}

/// The unhealthy ones among the addresses that a decision speaks of, and what is done with letters to them.
#[derive(Debug, Clone, Default)]
pub struct Unwell {
    what: WhenUnhealthy,
    /// By address in lower case: since when and why.
    addresses: BTreeMap<String, String>,
}

impl Unwell {
    /// Nobody is.
    pub const NOBODY: Self = Self::new(WhenUnhealthy::Hold);

    /// Nobody yet.
    pub const fn new(what: WhenUnhealthy) -> Self {
        Self { what, addresses: BTreeMap::new() }
    }

    /// Adds an address (in lower case) with what is known of it.
    pub fn add(&mut self, folded: String, why: String) {
        self.addresses.insert(folded, why);
    }

    /// Whether nobody is unwell.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Why a person is not told by an audience, if so: what is told of an address never goes to it, nor to another one that is unhealthy; other news goes to the
    /// rule's fallback, if it has one.
    pub(crate) fn bars(&self, folded: &str, kind: &Kind, lane: Lane, has_fallback: bool) -> Option<&str> {
        let why = self.addresses.get(folded)?;
        let barred = kind.name == ADDRESS_UNHEALTHY || (self.what == WhenUnhealthy::Fallback && has_fallback && !goes_anyway(kind, lane));
        barred.then_some(why.as_str())
    }

    /// Why a letter is held, if so.
    pub fn holds(&self, folded: &str, kind: &Kind, lane: Lane) -> Option<&str> {
        let why = self.addresses.get(folded)?;
        (self.what != WhenUnhealthy::Send && !goes_anyway(kind, lane)).then_some(why.as_str())
    }
}

/// Letters that go to an unhealthy address all the same. A code or a link is asked for by somebody who waits for it: held it is worth nothing, nobody else may have it,
/// and should it arrive, the address is well. A test letter is there to try the address.
fn goes_anyway(kind: &Kind, lane: Lane) -> bool {
    lane == Lane::Codes || kind.sensitive() || kind.name == "test"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwell(what: WhenUnhealthy) -> Unwell {
        let mut unwell = Unwell::new(what);
        unwell.add("ada@example.org".into(), "came back".into());
        unwell
    }

    #[test]
    fn a_letter_is_held_or_left_to_the_fallback() {
        let kind = Kind::find("membership.joined").unwrap();
        let hold = unwell(WhenUnhealthy::Hold);
        assert_eq!(hold.holds("ada@example.org", kind, kind.lane), Some("came back"));
        assert_eq!(hold.holds("grace@example.org", kind, kind.lane), None);
        assert_eq!(hold.bars("ada@example.org", kind, kind.lane, true), None);
        let fallback = unwell(WhenUnhealthy::Fallback);
        assert_eq!(fallback.bars("ada@example.org", kind, kind.lane, true), Some("came back"));
        assert_eq!(fallback.bars("ada@example.org", kind, kind.lane, false), None);
        assert_eq!(fallback.holds("ada@example.org", kind, kind.lane), Some("came back"));
        assert_eq!(unwell(WhenUnhealthy::Send).holds("ada@example.org", kind, kind.lane), None);
    }

    #[test]
    fn a_code_goes_anyway_and_to_nobody_else() {
        let fallback = unwell(WhenUnhealthy::Fallback);
        for name in ["password.reset", "password.reset_link", "test"] {
            let kind = Kind::find(name).unwrap();
            assert_eq!(fallback.bars("ada@example.org", kind, kind.lane, true), None, "{name}");
            assert_eq!(fallback.holds("ada@example.org", kind, kind.lane), None, "{name}");
        }
    }

    #[test]
    fn an_address_is_never_told_that_it_is_unhealthy() {
        let kind = Kind::find(ADDRESS_UNHEALTHY).unwrap();
        for what in [WhenUnhealthy::Hold, WhenUnhealthy::Fallback, WhenUnhealthy::Send] {
            assert_eq!(unwell(what).bars("ada@example.org", kind, kind.lane, false), Some("came back"));
        }
    }
}
