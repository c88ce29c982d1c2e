//! The one door: event → decide → render → record. Whatever makes Tidings speak goes through [`Intake::accept`], and leaves a trace.
//!
//! What does not live here: reading requests (`sources`), SQL (`store`), sending (`delivery`).

mod accept;
mod desk;
mod error;
mod explain;
mod feed;
mod imprint;
mod news;
mod secrets;
mod trace;

pub use accept::{Claimed, Intake, Receipt};
pub use desk::{Desk, DeskParts};
pub use error::IntakeError;
pub use explain::Explanation;
pub use feed::{Batch, Feed, Swept, Taken, Telling};
pub use imprint::RelayImprint;
pub use tidings_store::StoreError;
