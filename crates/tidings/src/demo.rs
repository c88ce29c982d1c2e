//! `tidings demo`: the whole job on a made-up company. The same house as `tidings serve`, fed over HTTP like any other, delivering by SMTP to a mail sink of its
//! own that is switched off in the middle.

mod company;
mod page;
mod script;
mod tally;

use crate::{args::DemoArgs, assemble, clock, commands::block_on, exit::Misuse, http, logging};
use anyhow::{Context, Result};
use script::Script;
use std::{io::ErrorKind, path::Path, process::ExitCode, sync::Arc, time::Duration};
use tidings_core::Clock;
use tidings_sink::{Sink, SinkOptions};
use tidings_store::TokenRecord;
use tidings_web::{Listener, RequestIds, Scope, Surface};

/// How a configuration of the demo begins.
const HEADING: &str = "# The configuration of `tidings demo`";

/// Runs the command.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    logging::start(logging::LogFormat::Auto, "error");
    // A folder of its own that goes with the demo, unless the user wants to keep it.
    let temporary = if args.dir.is_none() { Some(tempfile::tempdir().context("making a folder for the demo")?) } else { None };
    let folder = args.dir.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path)).expect("one of the two is there");
    block_on(stage(folder, args))
}

async fn stage(folder: &Path, args: &DemoArgs) -> Result<ExitCode> {
    let sink =
        Arc::new(Sink::listen("127.0.0.1:0".parse().expect("an address"), SinkOptions::default()).context("starting the mail sink")?);
    let config = folder.join("tidings.toml");
    must_be_ours(folder, &config)?;
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    std::fs::write(&config, configuration(sink.addr().port())).with_context(|| format!("writing {}", config.display()))?;

    let settings = assemble::settings(&config)?;
    let lock = assemble::lock(&settings)?;
    let mut house = assemble::House::build(settings).await?;
    // An outage of seconds is to end within seconds: the demo looks after its relay more often than a real one wants.
    for relay in &mut house.relays {
        relay.breaker.delays = [100, 200, 300].map(Duration::from_millis).to_vec();
    }
    // Before anything leaves: what earlier demos in this folder have done with is not counted again.
    let earlier = tally::over(house.store.as_ref()).await?;
    let herald = house.herald(|| true)?;
    let postman = house.postman(tidings_store::Tenure::alone("serve"))?;
    let crowds = house.crowds();

    let (token, digest) = tidings_web::mint(clock::random()?);
    let scopes = vec![Scope::EventsWrite.as_str().to_owned()];
    let record =
        TokenRecord { digest: *digest.as_bytes(), name: "demo".to_owned(), scopes, created_at: clock::SystemClock.now(), expires_at: None };
    house.store.add_token(record).await?;
    let api = Listener::bind("127.0.0.1:0").await?;
    let server = format!("http://{}", api.bound_addr());
    let readiness = Arc::new(http::readiness::HouseReadiness::new(house.store.clone()));
    let exposition = http::metrics::Exposition::install(house.store.clone(), Arc::new(clock::SystemClock))?;
    let upkeep = tokio::spawn(exposition.clone().upkeep());
    let relays = tokio::sync::watch::Sender::new(house.relays.iter().map(|relay| relay.name.clone()).collect());
    let router = http::router(&house, &http::scim(&house), relays.subscribe(), readiness, exposition, None)?;
    let (leave, left) = tokio::sync::watch::channel(false);
    let serving = tokio::spawn(api.serve(router, wait(left.clone())));

    let run = format!("{:08x}", u32::from_le_bytes(clock::random()?));
    let script = Arc::new(Script::new(Arc::clone(&sink), house.store.clone(), server, token, run, earlier));
    let outcome = if args.once { once(&script).await } else { for_people(&script, args, left).await };

    let _ = leave.send(true);
    let _ = serving.await;
    crowds.abort();
    postman.stop(Duration::from_secs(5)).await;
    drop(herald);
    upkeep.abort();
    drop(lock);
    outcome
}

/// Runs the script to its end and judges it.
async fn once(script: &Arc<Script>) -> Result<ExitCode> {
    script.play(Duration::ZERO, &|line| eprintln!("{line}")).await?;
    let tally = script.tally().await?;
    crate::output::text(&tally.table())?;
    Ok(if tally.whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows the page, plays the script slowly enough to watch, and stays until the user has seen enough.
async fn for_people(script: &Arc<Script>, args: &DemoArgs, left: tokio::sync::watch::Receiver<bool>) -> Result<ExitCode> {
    let listener = Listener::bind(&args.listen).await?;
    let address = listener.bound_addr();
    let pages = Surface::new(RequestIds::seeded(u64::from_le_bytes(clock::random()?))).over(page::routes(Arc::clone(script)));
    let showing = tokio::spawn(listener.serve(pages, wait(left)));
    eprintln!("The letters of Nordwind, as their readers see them:  http://{address}/");
    eprintln!("Press Ctrl-C to end the demo.\n");
    let play = script.play(Duration::from_millis(1500), &|line| eprintln!("{line}"));
    tokio::select! {
        played = play => {
            played?;
            let tally = script.tally().await?;
            eprintln!("\n{}", tally.table());
            eprintln!("The page stays until you press Ctrl-C:  http://{address}/");
            assemble::told_to_stop().await?;
        }
        stopped = assemble::told_to_stop() => stopped?,
    }
    showing.abort();
    Ok(ExitCode::SUCCESS)
}

/// Refuses a folder that is not empty and was not left by a demo: somebody's own configuration would be overwritten, and their letters go to the demo's mail sink.
fn must_be_ours(folder: &Path, config: &Path) -> Result<()> {
    let found = match std::fs::read_to_string(config) {
        Ok(text) if text.starts_with(HEADING) => return Ok(()),
        Ok(text) => format!("its tidings.toml is not one of a demo: it begins with {:?}", text.lines().next().unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => match something_in(folder)? {
            Some(name) => format!("it holds {name:?} and no tidings.toml"),
            None => return Ok(()),
        },
        Err(error) => return Err(error).with_context(|| format!("reading {}", config.display())),
    };
    let folder = folder.display();
    Err(Misuse(format!(
        "--dir {folder}: {found}\nThe demo writes a configuration of its own there; name a folder that is empty, new, or left by an earlier demo."
    ))
    .into())
}

/// The name of something that lies in a folder; `None` if it is empty or not there.
fn something_in(folder: &Path) -> Result<Option<String>> {
    let first = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().transpose(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let first = first.with_context(|| format!("reading the folder {}", folder.display()))?;
    Ok(first.map(|entry| entry.file_name().to_string_lossy().into_owned()))
}

async fn wait(mut left: tokio::sync::watch::Receiver<bool>) {
    let _ = left.wait_for(|left| *left).await;
}

fn configuration(port: u16) -> String {
    format!(
        r##"{HEADING}; a real one looks no different.
[organisation]
name = "Nordwind"
colour = "#1f6f8b"
default_locale = "en"
default_timezone = "Europe/Berlin"

[safety]
mode = "live"
allowed_domains = ["nordwind.example"]

[[relay]]
name = "sink"
kind = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
from = "no-reply@nordwind.example"
retry = {{ delays = ["1s", "2s", "5s"] }}
{rules}"##,
        rules = company::RULES
    )
}
