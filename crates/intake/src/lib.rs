//! The one door: event → facts → decide → render → record. Whatever makes Tidings speak goes through [`Intake::accept`], and leaves a trace.
//!
//! What does not live here: reading requests (`sources`), SQL (`store`), sending (`delivery`).

mod accept;
mod crowd;
#[cfg(test)]
mod crowds_test;
mod desk;
mod error;
mod explain;
mod facts;
mod fanout;
mod feed;
mod flow;
mod guard;
mod health;
mod imprint;
mod known;
mod marker;
mod news;
#[cfg(test)]
mod people;
mod recall;
mod replay;
mod secrets;
mod trace;

pub use accept::{Claimed, Intake, Receipt};
pub use crowd::{Queries, StoredQuery};
pub use desk::{Desk, DeskParts};
pub use error::IntakeError;
pub use explain::{CrowdTold, Explainer, Explanation};
pub use facts::Policy;
pub use fanout::fan_out;
pub use feed::{Batch, Feed, Registry, Swept, Taken, Telling};
pub use guard::{Ended, GuardError};
pub use imprint::RelayImprint;
pub use marker::{MarkerFound, MarkerNoted};
pub use replay::{Before, CrowdReplay, LetterDifference, PersonReplay, Progress, Replay, Replayer, Stumble, Totals};
pub use tidings_store::StoreError;
