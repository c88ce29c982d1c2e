//! The scenarios, by what goes wrong.

mod certificates;
mod clock;
mod day;
mod disk;
mod nodes;
mod offsets;
mod outages;
mod postfix;
mod refusals;
mod replies;
mod sigkill;
mod slow;
mod smtp_sink;
mod tokens;

use crate::Scenario;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    replies::REPLIES,
    smtp_sink::SWITCHES,
    offsets::OFFSETS,
    slow::LORIS,
    outages::STOPS,
    outages::CUT_OFF,
    outages::RETURN,
    outages::CROWDED,
    outages::TWO,
    outages::NEXT,
    postfix::RESTARTS,
    day::DAY,
    refusals::SOME,
    refusals::GREY,
    refusals::POISON,
    refusals::SIGN_IN,
    refusals::QUOTA,
    tokens::TOKENS,
    certificates::ROLLOVER,
    certificates::STARTTLS,
    disk::NEARLY_FULL,
    disk::FULL,
    clock::STEPS,
    sigkill::SIGKILL,
    nodes::KILLED,
    nodes::STOPPED,
    nodes::BACKENDS,
    nodes::RESTARTED,
    nodes::EXHAUSTED,
    nodes::PROMOTED,
];
