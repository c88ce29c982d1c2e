//! `tidings address`: addresses that letters come back from, and the reports about them.

use super::{block_on, operator};
use crate::{
    args::{AddressClearArgs, AddressCommand, AddressReportsArgs},
    assemble, output,
};
use anyhow::{Result, bail};
use std::{path::Path, process::ExitCode};
use tidings_core::{Id, outbox::State};
use tidings_store::{Action, Filter, ReportFilter};

/// Rows that are read at once.
const PAGE: u16 = 500;
/// Reports that are listed; the newest ones.
const LISTED: usize = 1000;

/// Runs the command.
pub fn run(command: AddressCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            AddressCommand::List { config, output } => list(&config.config, output.json).await,
            AddressCommand::Clear(args) => clear(args).await,
            AddressCommand::Reports(args) => reports(args).await,
        }
    })
}

async fn list(config: &Path, json: bool) -> Result<ExitCode> {
    let store = assemble::store(&assemble::settings(config)?).await?;
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.addresses(after.take(), PAGE).await?;
        let full = page.len() == usize::from(PAGE);
        after = page.last().map(|row| row.address.clone());
        rows.extend(page);
        if !full {
            break;
        }
    }
    if json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["ADDRESS", "CAME BACK", "UNHEALTHY SINCE", "UNTIL", "TOLD", "WHY"]);
    for row in &rows {
        let until = row.until.map_or_else(|| "cleared".to_owned(), output::moment);
        let told = if row.told { "yes" } else { "not yet" };
        let since = output::moment(row.unhealthy_since);
        table.add_row([row.address.clone(), row.bounces.to_string(), since, until, told.to_owned(), row.reason.clone()]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}

async fn clear(args: AddressClearArgs) -> Result<ExitCode> {
    let store = assemble::store(&assemble::settings(&args.config.config)?).await?;
    let cleared = store.clear_address(args.address.as_str(), &operator()).await?;
    let held = Filter { to: Some(args.address.to_string()), state: Some(State::Held), ..Filter::default() };
    let released = if args.release { store.act(Action::Release, held, &operator()).await?.changed } else { 0 };
    if !cleared && released == 0 {
        bail!("{} is not unhealthy", args.address);
    }
    let letters = if args.release { format!(", {released} letters released") } else { String::new() };
    output::text(&format!("{} is healthy{letters}", args.address))?;
    Ok(ExitCode::SUCCESS)
}

async fn reports(args: AddressReportsArgs) -> Result<ExitCode> {
    let store = assemble::store(&assemble::settings(&args.config.config)?).await?;
    let filter = ReportFilter { matched: args.unmatched.then_some(false), item: args.item };
    let (mut rows, mut before): (Vec<_>, Option<Id>) = (Vec::new(), None);
    loop {
        let page = store.reports(filter.clone(), before, PAGE).await?;
        rows.extend(page.items);
        before = page.next;
        if before.is_none() || rows.len() >= LISTED {
            break;
        }
    }
    if args.output.json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["TAKEN", "CLASS", "RECIPIENT", "ITEM", "BY", "STATUS", "WHAT IT SAYS"]);
    for row in rows {
        let item = row.item.map_or_else(|| "?".to_owned(), |item| item.to_string());
        let by = row.matched_by.unwrap_or_else(|| "nothing".to_owned());
        let (recipient, status) = (row.recipient.unwrap_or_default(), row.status.unwrap_or_default());
        table.add_row([output::moment(row.taken_at), row.class, recipient, item, by, status, row.diagnostic]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}
