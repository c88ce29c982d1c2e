//! Why events are not accepted.

use tidings_core::event::Fault;
use tidings_store::StoreError;

/// Why a request's events were not accepted; none of them was.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Something in the events is wrong; every fault with its place.
    #[error("{} of the posted values cannot be accepted", .0.len())]
    Faulty(Vec<Fault>),
    /// A rule names a relay that is not configured; cannot happen with checked settings.
    #[error("the rule `{rule}` names the relay `{relay}`, which is not configured")]
    NoRelay {
        /// The rule.
        rule: String,
        /// The relay it names.
        relay: String,
    },
    /// The source could not be asked whose a name is.
    #[error("the directory cannot be asked whose a name is")]
    Registry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The record could not be written.
    #[error("the events could not be recorded")]
    Store(#[from] StoreError),
}
