//! The intake as the console's ender of batches.

use anyhow::Error;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use tidings_console::api::{BatchEnder, NotEnded};
use tidings_core::Id;
use tidings_intake::{GuardError, Intake};
use tidings_store::BatchState;

/// Ends batches by the intake.
pub struct IntakeEnder(pub Arc<Intake>);

#[async_trait]
impl BatchEnder for IntakeEnder {
    async fn end(&self, id: Id, end: BatchState, by: &str) -> Result<Value, NotEnded> {
        match self.0.end_batch(id, end, by).await {
            Ok(ended) => Ok(json!(ended)),
            Err(GuardError::Unknown(_)) => Err(NotEnded::Unknown),
            Err(error @ (GuardError::Ended(..) | GuardError::Undigested(..) | GuardError::Filling(_))) => {
                Err(NotEnded::Already(error.to_string()))
            }
            Err(error) => Err(NotEnded::Unavailable(format!("{:#}", Error::from(error)))),
        }
    }
}
