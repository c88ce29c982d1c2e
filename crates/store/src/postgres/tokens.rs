//! Bearer tokens: only their digests.

use crate::{
    error::StoreError,
    postgres::{Base, fault::Fault},
    store::TokenRecord,
};
use tidings_core::{Timestamp, time::from_millis};
use tokio_postgres::Row;

/// Keeps a token; one with the same digest is replaced.
pub(crate) async fn add(base: &Base, token: &TokenRecord) -> Result<(), Fault> {
    let scopes = serde_json::to_string(&token.scopes).expect("a list of texts is JSON");
    let expires_at = token.expires_at.map(Timestamp::as_millisecond);
    let sql = "INSERT INTO token (digest, name, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (digest) DO UPDATE SET name = excluded.name, scopes = excluded.scopes, created_at = excluded.created_at, expires_at = excluded.expires_at";
    base.query(sql, &[&token.digest.as_slice(), &token.name, &scopes, &token.created_at.as_millisecond(), &expires_at]).await?;
    Ok(())
}

/// Finds a token by its digest, whether or not it has ended.
pub(crate) async fn find(base: &Base, digest: [u8; 32]) -> Result<Option<TokenRecord>, Fault> {
    let sql = "SELECT name, scopes, created_at, expires_at FROM token WHERE digest = $1";
    base.query(sql, &[&digest.as_slice()]).await?.first().map(|row| record(digest, row)).transpose()
}

/// Every token, by its name.
pub(crate) async fn all(base: &Base) -> Result<Vec<TokenRecord>, Fault> {
    let rows = base.query("SELECT name, scopes, created_at, expires_at, digest FROM token ORDER BY name, digest", &[]).await?;
    let one = |row: &Row| {
        let digest = <[u8; 32]>::try_from(row.get::<_, &[u8]>(4));
        record(digest.map_err(|_| StoreError::Corrupt("token.digest has another length than 32".to_owned()))?, row)
    };
    rows.iter().map(one).collect()
}

fn record(digest: [u8; 32], row: &Row) -> Result<TokenRecord, Fault> {
    let scopes = serde_json::from_str(row.get(1)).map_err(|error| StoreError::Corrupt(format!("token.scopes: {error}")))?;
    let expires_at = row.get::<_, Option<i64>>(3).map(from_millis);
    Ok(TokenRecord { digest, name: row.get(0), scopes, created_at: from_millis(row.get(2)), expires_at })
}
