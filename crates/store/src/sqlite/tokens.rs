//! Bearer tokens: only their digests.

use crate::{
    error::StoreError,
    sqlite::{fault::Fault, work::Work},
    store::TokenRecord,
};
use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::{Timestamp, time::from_millis};

/// Keeps a token; one with the same digest is replaced.
pub(crate) fn add(work: &mut Work<'_>, token: &TokenRecord) -> Result<(), Fault> {
    let scopes = serde_json::to_string(&token.scopes).expect("a list of texts is JSON");
    let expires_at = token.expires_at.map(Timestamp::as_millisecond);
    work.db
        .prepare_cached("INSERT OR REPLACE INTO token (digest, name, scopes, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![token.digest, token.name, scopes, token.created_at.as_millisecond(), expires_at])?;
    Ok(())
}

/// Finds a token by its digest, whether or not it has ended.
pub(crate) fn find(db: &Connection, digest: [u8; 32]) -> Result<Option<TokenRecord>, Fault> {
    let found: Option<(String, String, i64, Option<i64>)> = db
        .prepare_cached("SELECT name, scopes, created_at, expires_at FROM token WHERE digest = ?1")?
        .query_row([digest], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((name, scopes, created_at, expires_at)) = found else { return Ok(None) };
    let scopes = serde_json::from_str(&scopes).map_err(|error| StoreError::Corrupt(format!("token.scopes: {error}")))?;
    Ok(Some(TokenRecord { digest, name, scopes, created_at: from_millis(created_at), expires_at: expires_at.map(from_millis) }))
}

/// Every token, by its name.
pub(crate) fn all(db: &Connection) -> Result<Vec<TokenRecord>, Fault> {
    let mut statement = db.prepare_cached("SELECT digest FROM token ORDER BY name, digest")?;
    let digests = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<[u8; 32]>, _>>()?;
    digests.into_iter().filter_map(|digest| find(db, digest).transpose()).collect()
}
