//! Policy: rules + event + facts → notices, and the trace of how it came to that. Pure, so that `explain` answers with the very code that tells.

pub mod audience;
pub mod condition;
pub mod decide;
pub mod facts;
pub mod health;
pub mod rule;
mod shortcut;

pub use audience::Audience;
pub use condition::{Condition, Scope};
pub use decide::{Decision, FanOut, decide, decide_chunk};
pub use facts::{Crowd, Facts, Found, Needs, Want};
pub use health::{ADDRESS_UNHEALTHY, Unwell, WhenUnhealthy};
pub use rule::{Directories, Origin, Rule, RuleSet, TypePattern};
