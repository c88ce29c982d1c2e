//! `tidings directory`: the identity stores as they are mirrored.

use super::block_on;
use crate::{
    args::{DirectoryCommand, DirectoryLoadArgs, DirectorySyncArgs, FileMode},
    assemble::{self, House},
    directories,
    exit::Misuse,
    output,
};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::{io::IsTerminal, path::Path, process::ExitCode, sync::Arc};
use tidings_config::{Directory, DirectorySource, Settings};
use tidings_core::directory::LinkRole;
use tidings_intake::Telling;
use tidings_sources::{
    csv::{self, Mode, Progress, Report},
    ldap::{LdapSource, Once, Visit},
};
use tidings_store::{DirectoryStanding, Marker, MarkerState, MirrorObject, Target};

/// So many links of one role are shown.
const LINKS: u32 = 200;

/// So many open markers are shown, those that have waited longest.
const MARKERS: u32 = 200;

/// Runs the command.
pub fn run(command: DirectoryCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            DirectoryCommand::List { config, output } => list(&config.config, output.json).await,
            DirectoryCommand::Show { name, object, config, output } => match object {
                Some(object) => show_object(&name, &object, &config.config, output.json).await,
                None => show(&name, &config.config, output.json).await,
            },
            DirectoryCommand::Sync(args) => sync(args).await,
            DirectoryCommand::Load(args) => load(args).await,
        }
    })
}

async fn list(config: &Path, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(config)?;
    let store = assemble::store(&settings).await?;
    let standings = store.directories().await?;
    let rows: Vec<Value> = settings
        .directories
        .iter()
        .map(|directory| standing(directory, standings.iter().find(|standing| standing.name == directory.name)))
        .collect();
    if as_json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["NAME", "SOURCE", "CONDITION", "OBJECTS", "LOADED", "HEARD OF", "WHY"]);
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        table.add_row([
            text("name"),
            text("source"),
            text("condition"),
            row["objects"].to_string(),
            text("loaded_at"),
            text("heard_at"),
            text("failure"),
        ]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn standing(directory: &Directory, standing: Option<&DirectoryStanding>) -> Value {
    let moment = |at: Option<tidings_core::Timestamp>| at.map(output::moment);
    let condition = match standing {
        Some(standing) if standing.failed_at.is_some() => "failing",
        Some(standing) if standing.loaded_at.is_some() => "loaded",
        Some(standing) if standing.objects > 0 => "loading",
        _ => "empty",
    };
    json!({
        "name": directory.name,
        "source": directory.source.as_str(),
        "condition": condition,
        "objects": standing.map_or(0, |standing| standing.objects),
        "loaded_at": moment(standing.and_then(|standing| standing.loaded_at)),
        "heard_at": moment(standing.and_then(|standing| standing.heard_at)),
        "failed_at": moment(standing.and_then(|standing| standing.failed_at)),
        "failure": standing.and_then(|standing| standing.failure.clone()),
        "refreshes": standing.map_or(0, |standing| standing.generation),
        "bookmark_bytes": standing.and_then(|standing| standing.bookmark.as_ref()).map(Vec::len),
    })
}

async fn show(name: &str, config: &Path, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(config)?;
    let directory = directories::find(&settings, name)?;
    let store = assemble::store(&settings).await?;
    let standings = store.directories().await?;
    let mut shown = standing(directory, standings.iter().find(|standing| standing.name == name));
    let rules: Vec<String> =
        settings.rules.all().iter().filter(|rule| rule.directories.cover(Some(name))).map(|rule| rule.name.clone()).collect();
    shown["rules"] = json!(rules);
    let markers = store.markers(name, None, None, MARKERS).await?;
    let marks = matches!(&directory.source, DirectorySource::Ldap(source) if source.marker.is_some());
    if marks || !markers.is_empty() {
        shown["markers"] = markers.iter().map(marker).collect();
    }
    print(&shown, as_json)
}

/// A marker that is open, and what it waits for.
fn marker(marker: &Marker) -> Value {
    let letters = marker.letters;
    let waits_for = match marker.step.state {
        MarkerState::Clearing => "the directory",
        _ if letters.are_sent() => "the directory",
        _ if letters.are_open() => "its letter",
        _ => "somebody to act",
    };
    json!({
        "value": marker.written,
        "object": marker.step.reference,
        "state": marker.step.state.as_str(),
        "waits_for": waits_for,
        "event": marker.event.to_string(),
        "noted_at": output::moment(marker.noted_at),
        "letters_open": letters.open,
        "letters_sent": letters.sent,
        "letters_lost": letters.lost,
        "tries": marker.step.tries,
        "next_at": marker.step.due_at.map(output::moment),
        "failure": marker.step.failure,
    })
}

async fn show_object(name: &str, wanted: &str, config: &Path, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(config)?;
    directories::find(&settings, name)?;
    let store = assemble::store(&settings).await?;
    let Some(object) = store.object(name, wanted).await? else { bail!("{name} has no object with the key or name `{wanted}`") };
    let mut shown = Value::Object(object.head.to_json());
    shown["changed_at"] = json!(output::moment(object.changed_at));
    for role in LinkRole::ALL {
        let links = store.links(object.id, role, None, LINKS).await?;
        let links: Vec<Value> = links.into_iter().map(|link| linked(&link.other, link.ends_at)).collect();
        if !links.is_empty() {
            shown[format!("{}s", role.as_str())] = json!(links);
        }
    }
    let groups = store.links_to(object.id, LinkRole::Member, None, LINKS).await?;
    let groups: Vec<Value> = groups.into_iter().map(|link| linked(&link.other, link.ends_at)).collect();
    if !groups.is_empty() {
        shown["member_of"] = json!(groups);
    }
    print(&shown, as_json)
}

fn linked(other: &Target, ends_at: Option<tidings_core::Timestamp>) -> Value {
    let known = |object: &MirrorObject| json!({"id": object.head.key, "name": object.head.name});
    let mut link = match other {
        Target::Known(object) => known(object),
        Target::Unknown(name) => json!({"id": name, "unknown": true}),
    };
    if let Some(ends_at) = ends_at {
        link["ends_at"] = json!(output::moment(ends_at));
    }
    link
}

/// An object as JSON, or as lines of name and value.
fn print(shown: &Value, as_json: bool) -> Result<ExitCode> {
    if as_json {
        output::json(shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Vec::new();
    for (name, value) in shown.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match value {
            Value::Array(list) => {
                lines.push(name.clone());
                lines.extend(list.iter().map(|one| match one {
                    Value::String(text) => format!("  {text}"),
                    Value::Object(map) => format!("  {}", map.values().filter_map(Value::as_str).collect::<Vec<_>>().join("  ")),
                    other => format!("  {other}"),
                }));
            }
            Value::String(text) => lines.push(format!("{name}  {text}")),
            other => lines.push(format!("{name}  {other}")),
        }
    }
    output::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn sync(args: DirectorySyncArgs) -> Result<ExitCode> {
    let settings = assemble::settings(&args.config.config)?;
    let directory = directories::find(&settings, &args.name)?;
    let source = match &directory.source {
        DirectorySource::Ldap(source) => source,
        DirectorySource::Scim => return over(&settings, &args).await,
        other => return Err(Misuse(format!("{} is fed by {}; only a server is asked", args.name, other.as_str())).into()),
    };
    let plan = directories::ldap_plan(source);
    plan.check().map_err(|error| Misuse(error.to_string()))?;
    // Two that feed one directory would tell the same change twice.
    let lock = if args.visit { None } else { Some(assemble::lock(&settings)?) };
    let house = House::build(settings).await?;
    if !args.visit {
        fed_by_nobody(&house, &args.name).await?;
    }
    let bar = progress();
    let source = LdapSource::new(&args.name, plan, Arc::clone(&house.feed)).context("setting up the directory")?;
    if args.visit {
        return visited(&source.visit(5).await.context("looking at the server")?, args.output.json);
    }
    let source = source.with_progress({
        let bar = bar.clone();
        Arc::new(move |report| bar.set_position(report.entries + report.unchanged))
    });
    let once = Once { whole: args.whole, telling: args.silent.then_some(Telling::Silent) };
    let report = source.once(once).await.context("asking the server")?;
    bar.finish_and_clear();
    drop(lock);
    let taken = report.taken;
    if args.output.json {
        output::json(&json!({
            "entries": report.entries, "unchanged": report.unchanged, "changed": taken.changed, "events": taken.events, "letters": taken.letters,
        }))?;
    } else {
        output::text(&format!(
            "{} entries read, {} known to be unchanged; {} objects changed, {} events, {} letters",
            report.entries, report.unchanged, taken.changed, taken.events, taken.letters
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Of a database on a server the lock of this machine does not tell who feeds a directory.
async fn fed_by_nobody(house: &House, directory: &str) -> Result<()> {
    if !tidings_store::is_on_server(&house.database.url) {
        return Ok(());
    }
    let duty = tidings_store::directory_duty(directory);
    let nodes = house.store.nodes().await?;
    match nodes.into_iter().find(|node| node.duties.contains(&duty)) {
        Some(node) => bail!("the node {} feeds {directory} already", node.node),
        None => Ok(()),
    }
}

/// Says that the first load of a directory is over, which an identity provider does not say itself: what it changes from now on is told.
async fn over(settings: &Settings, args: &DirectorySyncArgs) -> Result<ExitCode> {
    assemble::store(settings).await?.end_refresh(&args.name, None).await?;
    if args.output.json {
        output::json(&json!({"loaded": true}))?;
    } else {
        output::text(&format!("the first load of {} is over: what changes from now on is told", args.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn visited(visit: &Visit, as_json: bool) -> Result<ExitCode> {
    let samples: Vec<Value> = visit.samples.iter().map(|entry| Value::Object(entry.head.to_json())).collect();
    let way = format!("{:?}", visit.way).to_lowercase();
    print(&json!({"server": visit.server, "way": way, "contexts": visit.contexts, "samples": samples}), as_json)
}

async fn load(args: DirectoryLoadArgs) -> Result<ExitCode> {
    let settings = assemble::settings(&args.config.config)?;
    let directory = directories::find(&settings, &args.name)?;
    let DirectorySource::Csv(source) = &directory.source else {
        return Err(Misuse(format!(
            "{} is fed by {}; only a directory of the source csv reads files",
            args.name,
            directory.source.as_str()
        ))
        .into());
    };
    let plan = Arc::new(directories::csv_plan(directory, source, &settings.organisation));
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mode = match args.mode {
        Some(FileMode::Full) => Mode::Full,
        Some(FileMode::Delta) => Mode::Delta,
        None => plan.mode_of(&name).unwrap_or(Mode::Full),
    };
    let house = House::build(settings).await?;
    let bar = progress();
    let report = csv::load(&house.feed, &plan, &args.file, mode, &on(&bar)).await?;
    bar.finish_and_clear();
    if report.refused.is_none() {
        house.feed.source_works(&args.name).await?;
    }
    if args.output.json {
        output::json(&as_value(&report))?;
    } else {
        output::text(&report.to_string())?;
    }
    Ok(if report.refused.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_value(report: &Report) -> Value {
    json!({
        "file": report.file,
        "mode": report.mode.as_str(),
        "rows": report.rows,
        "faulty": report.faulty,
        "faults": report.faults.iter().map(|fault| json!({"line": fault.line, "why": fault.why})).collect::<Vec<_>>(),
        "refused": report.refused,
        "remarks": report.remarks,
        "silent": report.silent,
        "changed": report.taken.changed,
        "events": report.taken.events,
        "letters": report.taken.letters,
    })
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} rows  {per_sec}  {eta} left").expect("a valid template"));
    bar
}

fn on(bar: &ProgressBar) -> Progress {
    let bar = bar.clone();
    Arc::new(move |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
}
