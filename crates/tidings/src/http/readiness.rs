//! Ready means: the database can be written, and the server is not on its way out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tidings_store::Store;
use tidings_web::{NotReady, Readiness};

/// The house's readiness.
pub struct HouseReadiness {
    store: Arc<dyn Store>,
    leaving: AtomicBool,
}

impl HouseReadiness {
    /// Ready as soon as the database is.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, leaving: AtomicBool::new(false) }
    }

    /// From now on the house is not ready: it is shutting down.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Readiness for HouseReadiness {
    async fn not_ready(&self) -> Vec<NotReady> {
        let mut reasons = Vec::new();
        if self.leaving.load(Ordering::Relaxed) {
            reasons.push(NotReady { part: "server".into(), reason: "it is shutting down".into() });
        }
        if let Err(error) = self.store.ready().await {
            reasons.push(NotReady { part: "database".into(), reason: error.to_string() });
        }
        reasons
    }
}
