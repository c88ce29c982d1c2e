//! What can keep a report from being taken. It can be brought again each time.

use tidings_core::Id;
use tidings_store::StoreError;

/// Why a report was not taken: bring it again later.
#[derive(Debug, thiserror::Error)]
pub enum BounceError {
    /// The database cannot be asked or written.
    #[error("the report cannot be kept now")]
    Store(#[from] StoreError),
    /// The letter it is about is still being handed over: the relay was faster with its report than with its answer.
    #[error("the item {0} is still being delivered; what its report says cannot be settled yet")]
    NotYet(Id),
}
