//! Tokens are kept in the store; the web room asks for them here.

use std::{sync::Arc, time::SystemTime};
use tidings_store::Store;
use tidings_web::{Grant, KeeperError, ScopeSet, TokenDigest, TokenKeeper};

/// The store as a keeper of tokens.
pub struct StoreKeeper(pub Arc<dyn Store>);

#[async_trait::async_trait]
impl TokenKeeper for StoreKeeper {
    async fn find(&self, digest: &TokenDigest) -> Result<Option<Grant>, KeeperError> {
        let found = self.0.find_token(*digest.as_bytes()).await.map_err(KeeperError::new)?;
        let Some(token) = found else { return Ok(None) };
        let scopes: ScopeSet = token.scopes.join(",").parse().map_err(KeeperError::new)?;
        Ok(Some(Grant { name: token.name, scopes, expires: token.expires_at.map(SystemTime::from) }))
    }
}
