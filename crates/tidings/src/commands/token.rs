//! `tidings token`: bearer tokens of the HTTP API.

use super::block_on;
use crate::{args::TokenCommand, assemble, clock, output};
use anyhow::{Context, Result};
use std::{process::ExitCode, time::Duration};
use tidings_core::{Clock, time::later};
use tidings_store::TokenRecord;

/// Runs the command.
pub fn run(command: TokenCommand) -> Result<ExitCode> {
    let TokenCommand::Create { scope, name, days, config, output } = command;
    block_on(async move {
        let settings = assemble::settings(&config.config)?;
        let store = assemble::store(&settings).await?;
        let (token, digest) = tidings_web::mint(clock::random()?);
        let now = clock::SystemClock.now();
        let scopes: Vec<String> = scope.iter().map(|s| s.as_str().to_owned()).collect();
        let expires_at = days.map(|days| later(now, Duration::from_hours(u64::from(days) * 24)));
        let record = TokenRecord { digest: *digest.as_bytes(), name, scopes: scopes.clone(), created_at: now, expires_at };
        store.add_token(record).await.context("keeping the token")?;
        if output.json {
            output::json(&serde_json::json!({"token": token, "scopes": scopes, "expires_at": expires_at}))?;
        } else {
            output::text(&token)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
