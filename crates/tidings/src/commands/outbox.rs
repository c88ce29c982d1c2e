//! `tidings outbox`: the letters on their way.

use super::{block_on, operator};
use crate::{
    args::{ActArgs, FilterArgs, OutboxCommand},
    assemble,
    exit::Misuse,
    output,
};
use anyhow::{Result, bail};
use std::{path::Path, process::ExitCode, sync::Arc};
use tidings_core::{Id, outbox::State};
use tidings_store::{Acted, Action, Filter, ItemDetail, ItemRow, Store};

/// How many items one question to the store asks for.
const PAGE: u16 = 500;

/// Runs the command.
pub fn run(command: OutboxCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            OutboxCommand::List { config, filter, limit, before, output } => list(&config.config, filter, limit, before, output.json).await,
            OutboxCommand::Show { id, config, eml, output } => show(&config.config, id, eml, output.json).await,
            OutboxCommand::Retry(args) => act(Action::Retry, args).await,
            OutboxCommand::Cancel(args) => act(Action::Cancel, args).await,
            OutboxCommand::Hold(args) => act(Action::Hold, args).await,
            OutboxCommand::Release(args) => act(Action::Release, args).await,
        }
    })
}

async fn store(config: &Path) -> Result<Arc<dyn Store>> {
    let settings = assemble::settings(config)?;
    Ok(assemble::store(&settings).await?)
}

async fn list(config: &Path, filter: FilterArgs, limit: u32, mut before: Option<Id>, json: bool) -> Result<ExitCode> {
    let store = store(config).await?;
    let filter = to_filter(filter);
    let mut rows: Vec<ItemRow> = Vec::new();
    while (rows.len() as u64) < u64::from(limit) {
        let wanted = u16::try_from((u64::from(limit) - rows.len() as u64).min(u64::from(PAGE))).unwrap_or(PAGE);
        let page = store.items(filter.clone(), before, wanted).await?;
        rows.extend(page.items);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    if json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["ID", "STATE", "KIND", "TO", "RELAY", "LANE", "DUE", "TRIES", "LAST REPLY"]);
    for row in &rows {
        table.add_row([
            row.id.to_string(),
            state(row),
            row.kind.clone(),
            row.to.clone(),
            row.relay.clone(),
            row.lane.to_string(),
            if matches!(row.state, State::Waiting | State::Claimed) { output::moment(row.due_at) } else { String::new() },
            row.attempts.to_string(),
            row.last_reply.clone().unwrap_or_default(),
        ]);
    }
    output::show(&table)?;
    if let Some(next) = before {
        eprintln!("There are more; go on with --before {next}");
    }
    Ok(ExitCode::SUCCESS)
}

fn state(row: &ItemRow) -> String {
    if row.maybe_duplicate { format!("{} (may be a duplicate)", row.state) } else { row.state.to_string() }
}

async fn show(config: &Path, id: Id, eml: bool, json: bool) -> Result<ExitCode> {
    let store = store(config).await?;
    let Some(detail) = store.item(id).await? else { bail!("no item is called {id}") };
    if eml {
        match store.letter(id).await? {
            Some(letter) => output::bytes(&letter)?,
            None => bail!("the letter of {id} is not shown: it holds a secret, or has been erased"),
        }
    } else if json {
        output::json(&detail)?;
    } else {
        output::text(&readable(&detail))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn readable(detail: &ItemDetail) -> String {
    use std::fmt::Write;
    let row = &detail.row;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("item", &row.id.to_string());
    line("state", &state(row));
    line("kind", &row.kind);
    line("to", &format!("{} ({})", row.to, row.role));
    line("rule", &row.rule);
    line("relay", &row.relay);
    line("lane", row.lane.as_str());
    line("message-id", &format!("<{}>", row.message_id));
    line("event", &row.event.to_string());
    line("accepted", &output::moment(row.accepted_at));
    if matches!(row.state, State::Waiting | State::Claimed) {
        line("due", &output::moment(row.due_at));
    }
    line("expires", &output::moment(row.expires_at));
    line("attempts", &row.attempts.to_string());
    text.push_str("\nhistory\n");
    for entry in &detail.history {
        let by = entry.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let after = match (entry.next_at, entry.what.as_str()) {
            (Some(next), _) => format!("  → kept, next attempt {}", output::moment(next)),
            (None, "sent") => "  → done, cleared".to_owned(),
            (None, _) => String::new(),
        };
        let detail = entry.detail.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  {}  {}{by}  {detail}{after}", output::moment(entry.at), entry.what);
    }
    text
}

async fn act(action: Action, args: ActArgs) -> Result<ExitCode> {
    let filter = to_filter(args.filter);
    let filtered =
        filter.state.is_some() || filter.kind.is_some() || filter.to.is_some() || filter.relay.is_some() || filter.event.is_some();
    if args.ids.is_empty() && !filtered && !args.all {
        return Err(Misuse(format!(
            "tidings outbox {}: name the items, or say which by --state, --kind, --to, --relay or --event, or --all",
            action.as_str()
        ))
        .into());
    }
    let store = store(&args.config.config).await?;
    let mut acted = Acted { changed: 0, skipped: 0 };
    let filters =
        if args.ids.is_empty() { vec![filter] } else { args.ids.iter().map(|&id| Filter { id: Some(id), ..filter.clone() }).collect() };
    for filter in filters {
        let named = filter.id;
        let one = store.act(action, filter, &operator()).await?;
        if let Some(id) = named.filter(|_| one.changed + one.skipped == 0) {
            bail!("no item is called {id}");
        }
        acted.changed += one.changed;
        acted.skipped += one.skipped;
    }
    if args.output.json {
        output::json(&acted)?;
    } else {
        output::text(&format!("{}: {} changed, {} skipped because of their state", action.as_str(), acted.changed, acted.skipped))?;
    }
    let all_skipped = acted.changed == 0 && acted.skipped > 0;
    Ok(if all_skipped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn to_filter(args: FilterArgs) -> Filter {
    Filter { id: None, state: args.state, kind: args.kind, to: args.to, relay: args.relay, event: args.event }
}
