//! The writing desk of all tests of sources: built-in letters, one relay, no queries, no limits.

use std::sync::Arc;
use tidings_core::{
    Address, Clock,
    flood::FloodLimits,
    guard::{EnvironmentGuard, Mode},
    policy::{Rule, RuleSet, WhenUnhealthy},
};
use tidings_intake::{Desk, DeskParts, Queries, RelayImprint};
use tidings_render::{Stationery, StationeryOptions};

/// A desk with this rule alone.
pub(crate) fn desk(rule: Rule, clock: Arc<dyn Clock>) -> Desk {
    let relay = RelayImprint {
        name: "main".to_owned(),
        from: Address::parse("no-reply@example.org").unwrap(),
        from_name: None,
        reply_to: None,
        envelope_from: None,
    };
    Desk::new(DeskParts {
        stationery: Arc::new(Stationery::load(StationeryOptions::default()).unwrap_or_else(|problems| panic!("{problems:?}"))),
        rules: Arc::new(RuleSet::new(vec![rule])),
        relays: vec![relay],
        guard: EnvironmentGuard::new(Mode::Live, None, None, Vec::new()),
        queries: Queries::new(),
        flood: FloodLimits::default(),
        unhealthy: WhenUnhealthy::Hold,
        clock,
    })
}
