//! `tidings agent`: the same house as `tidings serve`, set up by an agent's `appsettings.json`, with a screen before its door and a page beside it.

use crate::{
    args::AgentArgs,
    assemble::{self, House},
    clock::SystemClock,
    commands::serve::{self, Trade},
    exit::Misuse,
    output,
};
use anyhow::{Context, Result};
use axum::Router;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tidings_agent::{Confirmations, Keyring, Pages, Plan};
use tidings_config::Settings;
use tidings_core::{Clock, Locale};
use tidings_render::Stationery;
use tidings_sources::api::{Screen, ScreenError};
use tidings_web::{Scope, ScopeSet, TokenGate};
use tokio::task::JoinHandle;

/// The folder of the keys that sign links, in the data folder.
const KEYS: &str = "link-keys";

/// How often links that ended long ago are forgotten.
const FORGETTING: Duration = Duration::from_secs(3600);

/// Runs the command.
pub fn run(args: &AgentArgs) -> Result<ExitCode> {
    if !args.add_key {
        return serve::run(&args.appsettings, Trade::Agent);
    }
    let settings = assemble::settings(&args.appsettings)?;
    check_trade(&args.appsettings, &settings, Trade::Agent)?;
    let file = Keyring::add_key(&keys(&settings)).context("making a key that signs links")?;
    output::text(&format!("{}: signs links from the next start on", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn keys(settings: &Settings) -> PathBuf {
    settings.server.data_dir.join(KEYS)
}

/// Whether the file is one for this trade.
///
/// # Errors
/// [`Misuse`] with the command that takes it.
pub fn check_trade(config: &Path, settings: &Settings, trade: Trade) -> Result<()> {
    let file = config.display();
    match (trade, &settings.agent) {
        (Trade::Serve, Some(_)) => {
            Err(Misuse(format!("{file} is the settings file of an agent: tidings agent --appsettings {file}")).into())
        }
        (Trade::Agent, None) => Err(Misuse(format!(
            "{file}: the settings file of an agent is JSON, and its name ends in .json; tidings serve takes the others"
        ))
        .into()),
        _ => Ok(()),
    }
}

/// The first of an agent's languages that we have.
pub fn culture(settings: &Settings) -> Option<&Locale> {
    let cultures = &settings.agent.as_ref()?.cultures;
    let found = Stationery::first_known(settings.letters.templates.as_deref(), cultures);
    if found.is_none() && !cultures.is_empty() {
        let names: Vec<&str> = cultures.iter().map(Locale::as_str).collect();
        eprintln!(
            "NotificationSettings.Cultures: there are no letters in {}; readers without a language of their own get English (warning)",
            names.join(", ")
        );
    }
    found
}

/// Refuses to open an agent that everybody could reach and nobody could post to in safety: it is forgotten easily, and the letters would be missed late.
///
/// # Errors
/// [`Misuse`] with what to do.
pub async fn check_door(house: &House) -> Result<()> {
    let (listen, now) = (house.server.listen, SystemClock.now());
    if house.agent.is_none() || listen.ip().is_loopback() || house.server.clients.is_some() {
        return Ok(());
    }
    let tokens = house.store.tokens().await.context("asking whether there is a token")?;
    let posts = |scopes: &[String]| scopes.join(",").parse::<ScopeSet>().is_ok_and(|scopes| scopes.allows(Scope::EventsWrite));
    if tokens.iter().any(|token| posts(&token.scopes) && token.expires_at.is_none_or(|end| end > now)) {
        return Ok(());
    }
    let message = format!(
        "Tidings.Listen: {listen} is reached from other machines, but nobody is known who may post events: set ClientCaFile, or make a token for the server (tidings token create --scope events:write)"
    );
    Err(Misuse(message).into())
}

/// An agent's links: made at the door, confirmed on the page.
pub struct Links {
    keyring: Arc<Keyring>,
    plan: Option<Plan>,
    maker: Arc<tidings_agent::Links>,
    stationery: Option<Arc<Stationery>>,
}

impl Links {
    /// Those of an agent's settings; none of any other house.
    ///
    /// # Errors
    /// If the keys cannot be read or made, or the letters not be loaded.
    pub fn of(settings: &Settings) -> Result<Option<Self>> {
        let Some(agent) = &settings.agent else { return Ok(None) };
        let plan = agent.two_way.as_ref().map(|two_way| Plan {
            issuer: settings.server.public_url.clone(),
            base: two_way.confirmation.base.clone(),
            path: two_way.confirmation.path.clone(),
            parameter: two_way.confirmation.parameter.clone(),
            hand_over: two_way.hand_over_uri.clone(),
            valid_for: two_way.valid_for,
        });
        let keyring = Arc::new(Keyring::open(&keys(settings)).context("opening the keys that sign links")?);
        let maker = Arc::new(tidings_agent::Links::new(plan.clone(), Arc::clone(&keyring), Arc::new(SystemClock)));
        let stationery = plan.is_some().then(|| assemble::stationery(settings)).transpose()?;
        Ok(Some(Self { keyring, plan, maker, stationery }))
    }

    /// What posted events pass.
    pub fn screen(&self) -> Arc<dyn Screen> {
        Arc::new(LinkScreen(Arc::clone(&self.maker)))
    }

    fn confirmations(&self, house: &House) -> Option<Confirmations> {
        let plan = self.plan.clone()?;
        Some(Confirmations::new(plan, Arc::clone(&self.keyring), house.store.clone(), Arc::new(SystemClock)))
    }

    /// The page and what belongs to it; nothing if no links are made.
    pub fn routes(&self, house: &House, gate: &TokenGate) -> Router {
        match (self.confirmations(house), &self.stationery) {
            (Some(confirmations), Some(stationery)) => {
                let pages = Pages::new(stationery, &confirmations.plan().hand_over);
                tidings_agent::routes(Arc::new(confirmations), pages, gate, Arc::new(SystemClock))
            }
            _ => Router::new(),
        }
    }

    /// Forgets links that ended long ago, until the handle's task is ended.
    pub fn forgetting(&self, house: &House) -> JoinHandle<()> {
        let confirmations = self.confirmations(house);
        tokio::spawn(async move {
            let Some(confirmations) = confirmations else { return };
            let mut tick = tokio::time::interval(FORGETTING);
            loop {
                tick.tick().await;
                if let Err(error) = confirmations.forget().await {
                    tracing::warn!(%error, "links that ended long ago cannot be forgotten now");
                }
            }
        })
    }
}

/// The links as the event API's screen.
struct LinkScreen(Arc<tidings_agent::Links>);

impl Screen for LinkScreen {
    fn pass(&self, events: Vec<Value>, batch: bool) -> Result<Vec<Value>, ScreenError> {
        let completed = self.0.complete(events, batch).map_err(|error| ScreenError::Unavailable(error.to_string()))?;
        completed.map_err(ScreenError::Faulty)
    }
}
