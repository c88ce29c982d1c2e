//! The scenarios, by what goes wrong.

mod offsets;
mod replies;
mod smtp_sink;

use crate::Scenario;

/// All of them, the quick ones first.
pub const SCENARIOS: [Scenario; 3] = [replies::REPLIES, smtp_sink::SWITCHES, offsets::OFFSETS];
