//! Builds every part of the house in order. Read this first: it says what there is and what each part is given.
//!
//! configuration → key → database → letters → intake, and beside them the relays' plans for the postman. Only this binary reads the configuration and the
//! environment; the parts get plain values.

use crate::{
    bounces,
    clock::SystemClock,
    duties::{Begin, CROWDS, Duties},
    exit::Misuse,
    logging::{self, LogFormat},
    member::Member,
};
use anyhow::{Context, Result, bail};
use std::{path::Path, sync::Arc};
use tidings_alerts::{Door, Herald, HeraldOptions, HeraldPlan, Webhook};
use tidings_bounces::{Terms, mailbox::MailboxPlan};
use tidings_config::{self as sections, LoadOptions, Settings};
use tidings_core::{Clock, filter::Filter};
use tidings_delivery::{
    Postman, PostmanOptions, Route, Secret,
    courier::TroubleKind,
    graph::GraphPlan,
    news::Newswire,
    oauth::{ClientKey, ClientProof, Grant, KeyAlgorithm, TokenPlan},
    plan::{AuthMechanism, AuthPlan, BreakerPlan, Limits, PickupPlan, Rates, RelayPlan, Reports, SmtpPlan, Timeouts, TlsMin, TlsMode, Way},
    smtp::{
        classify::{Class, Codes, EnhancedCodes, Rule},
        preset::Preset,
    },
};
use tidings_intake::{Desk, DeskParts, Feed, Intake, Queries, RelayImprint, StoredQuery};
use tidings_render::{Logo, Organisation, Stationery, StationeryOptions};
use tidings_store::{Database, NODE_NUMBERS, NewNode, OpenOptions, SealKey, ServeLock, Tenure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// The file in the data folder that holds the key for sensitive letters, unless the configuration brings its own.
const KEY_FILE: &str = "secret.key";

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the binary is the only reader of the environment, and reads it here")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads the configuration. Warnings go to standard error.
///
/// # Errors
/// [`Misuse`] with all problems.
pub fn settings(config: &Path) -> Result<Settings> {
    load(config, LoadOptions::default())
}

/// Like [`settings`], and looks whether the folders that letters go to are there.
///
/// # Errors
/// [`Misuse`] with all problems.
pub fn settings_for_sending(config: &Path) -> Result<Settings> {
    load(config, LoadOptions { check_folders: true })
}

fn load(config: &Path, options: LoadOptions) -> Result<Settings> {
    let loaded = tidings_config::load_with(config, &environment, options)
        .map_err(|found| if options.check_folders { Misuse(all_problems(config, &found).join("\n")) } else { Misuse(found.to_string()) })?;
    for warning in &loaded.warnings {
        eprintln!("{warning} (warning)");
    }
    Ok(loaded.settings)
}

/// The problems found in a configuration, and those of the letters in the folder that it names: both are mended in one go.
pub fn all_problems(config: &Path, found: &tidings_config::Problems) -> Vec<String> {
    let mut lines: Vec<String> = found.0.iter().map(ToString::to_string).collect();
    // There are no checked settings to ask; a file that is not even TOML names no folder.
    let table = std::fs::read_to_string(config).ok().and_then(|text| toml::from_str::<toml::Table>(&text).ok()).unwrap_or_default();
    let written = table.get("letters").and_then(|letters| letters.get("templates")).and_then(toml::Value::as_str);
    let folder = written.map(|written| config.parent().unwrap_or(Path::new("")).join(written)).filter(|folder| folder.is_dir());
    if let Some(folder) = folder
        && let Err(problems) = Stationery::load(StationeryOptions { templates: Some(folder), ..StationeryOptions::default() })
    {
        lines.extend(problems.iter().map(ToString::to_string));
    }
    lines
}

/// Starts logging as the configuration says.
pub fn start_logging(settings: &Settings) {
    let format = match settings.log.format {
        sections::LogFormat::Auto => LogFormat::Auto,
        sections::LogFormat::Text => LogFormat::Text,
        sections::LogFormat::Json => LogFormat::Json,
    };
    logging::start(format, settings.log.level.as_str());
}

/// Takes the lock that lets only one `tidings serve` work on a file, or on this machine's part of a database on a server.
///
/// # Errors
/// If another one does, or the file cannot be made.
pub fn lock(settings: &Settings) -> Result<ServeLock> {
    std::fs::create_dir_all(&settings.server.data_dir)
        .with_context(|| format!("making the folder {}", settings.server.data_dir.display()))?;
    let database = tidings_store::database_path(&settings.database.url, &settings.server.data_dir)?;
    Ok(tidings_store::lock_exclusive(&database)?)
}

/// Whether some `tidings serve` may be at work: for a file its lock knows, and of a server the database tells.
///
/// # Errors
/// If the lock file cannot be read.
pub fn is_served(settings: &Settings) -> Result<bool> {
    let url = &settings.database.url;
    let database = tidings_store::database_path(url, &settings.server.data_dir)?;
    Ok(tidings_store::is_on_server(url) || tidings_store::serve_note(&database)?.is_some())
}

/// The key for sensitive letters, made if there is none; but for a database that is there already it has to be there, too.
///
/// # Errors
/// If it is missing, or cannot be used.
pub fn key(settings: &Settings, database_is_there: bool) -> Result<SealKey> {
    let file = settings.server.data_dir.join(KEY_FILE);
    match &settings.database.key {
        Some(key) => Ok(SealKey::from_text(key.reveal())?),
        // A new key beside an old database would only hide that the right one is missing.
        None if !file.exists() && database_is_there => {
            bail!("the key for sensitive letters is missing: {} belongs to the database and must be restored with it", file.display())
        }
        None => Ok(SealKey::load_or_create(&file)?),
    }
}

/// Opens the database.
///
/// # Errors
/// If the key or the database cannot be used.
pub async fn store(settings: &Settings) -> Result<Arc<dyn Database>> {
    let data_dir = settings.server.data_dir.clone();
    std::fs::create_dir_all(&data_dir).with_context(|| format!("making the folder {}", data_dir.display()))?;
    let key = key(settings, tidings_store::database_path(&settings.database.url, &data_dir)?.exists())?;
    let options = OpenOptions {
        url: settings.database.url_with_password().reveal().to_owned(),
        data_dir,
        key,
        clock: Arc::new(SystemClock),
        min_free_bytes: settings.database.min_free_bytes,
    };
    tidings_store::open(options).await.with_context(|| format!("opening the outbox {}", settings.database.url))
}

/// Loads the letters.
///
/// # Errors
/// [`Misuse`] with all problems of all letters.
pub fn stationery(settings: &Settings) -> Result<Arc<Stationery>> {
    let organisation = &settings.organisation;
    let logo = organisation.logo.as_ref().map(|logo| match logo {
        sections::Logo::Url(url) => Logo::Url(url.clone()),
        sections::Logo::File { bytes, media_type, .. } => Logo::Inline { bytes: bytes.clone(), media_type: (*media_type).to_owned() },
    });
    let organisation = Organisation {
        name: organisation.name.clone(),
        logo,
        colour: organisation.colour.clone(),
        default_locale: crate::agent::culture(settings).unwrap_or(&organisation.default_locale).clone(),
        default_timezone: organisation.default_timezone.iana_name().unwrap_or("UTC").to_owned(),
        website: organisation.website.clone(),
    };
    let portal = |directory: &sections::Directory| Some((directory.name.clone(), directory.password_portal_url.clone()?));
    let (templates, portals) = (settings.letters.templates.clone(), settings.directories.iter().filter_map(portal).collect());
    let stationery = Stationery::load(StationeryOptions { organisation, templates, portals });
    Ok(Arc::new(stationery.map_err(|problems| Misuse(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?))
}

/// Sets up the writing desk: policy, letters, imprints. It needs no database.
///
/// # Errors
/// [`Misuse`] with all problems of all letters.
pub fn desk(settings: Settings) -> Result<Desk> {
    let stationery = stationery(&settings)?;
    Ok(Desk::new(DeskParts {
        stationery,
        relays: settings.relays.iter().map(|relay| imprint(relay, &settings.organisation.name)).collect(),
        guard: settings.safety.guard(),
        queries: queries(&settings.queries)?,
        flood: settings.safety.flood,
        unhealthy: settings.bounces.unhealthy,
        rules: Arc::new(settings.rules),
        clock: Arc::new(SystemClock),
    }))
}

/// The stored queries, compiled.
///
/// # Errors
/// [`Misuse`] if a filter cannot be read: checked settings have none such.
pub fn queries(written: &[sections::Query]) -> Result<Queries> {
    let compiled = |query: &sections::Query| {
        let filter = Filter::parse(&query.filter).map_err(|error| Misuse(format!("the query `{}`: {error}", query.name)))?;
        Ok((query.name.clone(), StoredQuery { filter, directory: query.directory.clone() }))
    };
    written.iter().map(compiled).collect()
}

/// The database if the house was ever open; nothing is made if it was not.
///
/// # Errors
/// As [`store`].
pub async fn store_if_there(settings: &Settings) -> Result<Option<Arc<dyn Database>>> {
    let url = &settings.database.url;
    let there = tidings_store::is_on_server(url) || tidings_store::database_path(url, &settings.server.data_dir)?.exists();
    if there { store(settings).await.map(Some) } else { Ok(None) }
}

/// The assembled house.
pub struct House {
    /// Where the server listens and what it takes.
    pub server: sections::Server,
    /// What may leave.
    pub safety: sections::Safety,
    /// The database.
    pub store: Arc<dyn Database>,
    /// The one door for events.
    pub intake: Arc<Intake>,
    /// The directories' side of the door.
    pub feed: Arc<Feed>,
    /// The door for what comes back.
    pub reports: Arc<tidings_bounces::Reports>,
    /// The mailbox that reports are fetched from.
    pub mailbox: Option<MailboxPlan>,
    /// The ways out, in order.
    pub relays: Vec<RelayPlan>,
    /// The database's section.
    pub database: sections::Database,
    /// What is said in the log.
    pub log: sections::Log,
    /// What only an agent's file says.
    pub agent: Option<sections::Agent>,
    alerts: sections::Alerts,
    news: Newswire,
}

/// The intake as the herald's door.
struct IntakeDoor(Arc<Intake>);

#[async_trait::async_trait]
impl Door for IntakeDoor {
    async fn accept(&self, event: serde_json::Value, relay: &str) -> Result<(), String> {
        self.0.accept_by(event, relay).await.map(|_| ()).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }
}

impl House {
    /// Opens the database, loads the letters, and opens the door.
    ///
    /// # Errors
    /// Whatever keeps one of the parts from being built.
    pub async fn build(settings: Settings) -> Result<Self> {
        let store = store(&settings).await?;
        let relays = bounces::plans(&settings.relays, &store.return_paths());
        let reports = Arc::new(tidings_bounces::Reports::new(store.clone(), bounces::terms(&settings.bounces)));
        let (server, database, log) = (settings.server.clone(), settings.database.clone(), settings.log);
        let (safety, alerts, agent) = (settings.safety.clone(), settings.alerts.clone(), settings.agent.clone());
        let mailbox = bounces::mailbox(&settings.bounces);
        let intake = Arc::new(Intake::open(store.clone(), desk(settings)?).await?.with_database(store.clone()));
        // Until it joins it is no member, and names what it accepts by one of the numbers that no member has.
        let [number] = crate::clock::random()?;
        intake.renumber(NODE_NUMBERS + u16::from(number));
        let feed = Arc::new(Feed::new(Arc::clone(&intake), store.clone()));
        Ok(Self { server, safety, store, intake, feed, reports, mailbox, relays, database, log, agent, alerts, news: Newswire::default() })
    }

    /// Goes by other relays, rails, alerts, rules and letters from now on; the postman and the herald are told apart.
    pub fn refit(&mut self, relays: Vec<RelayPlan>, safety: sections::Safety, alerts: sections::Alerts, terms: Terms, desk: Desk) {
        self.intake.refit(desk);
        self.reports.refit(terms);
        (self.relays, self.safety, self.alerts) = (relays, safety, alerts);
    }

    /// The plan of a relay.
    ///
    /// # Errors
    /// [`Misuse`] with the names there are.
    pub fn relay(&self, name: &str) -> Result<&RelayPlan> {
        find_relay(&self.relays, name)
    }

    /// Joins those that serve the database.
    ///
    /// # Errors
    /// As [`Member::join`].
    pub async fn join(&self, duties: &Arc<Duties>) -> Result<Member> {
        let name_file = tidings_store::database_path(&self.database.url, &self.server.data_dir)?.with_extension("node");
        let node = NewNode {
            shown: self.server.node.clone().unwrap_or_else(machine_name),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            offers: Vec::new(),
            predecessor: None,
            lease: self.server.node_lease,
        };
        Member::join(self.store.clone(), Arc::clone(&self.intake), Arc::clone(duties), node, name_file).await
    }

    /// What this house does alone if it falls to it, beside its directories.
    pub fn crowd_work(&self) -> (String, Begin) {
        let intake = Arc::clone(&self.intake);
        (CROWDS.to_owned(), Box::new(move |_| tokio::spawn(tidings_intake::fan_out(Arc::clone(&intake)))))
    }

    /// Has a herald listen for news of relays; to be called before the postman is sent. What concerns all nodes is told by the one that `tells`.
    ///
    /// # Errors
    /// If the webhook cannot be used.
    pub fn herald(&self, tells: impl Fn() -> bool + Send + Sync + 'static) -> Result<Herald> {
        Ok(Herald::start(HeraldOptions {
            news: self.news.clone(),
            plan: herald_plan(&self.alerts, &self.relays)?,
            door: Arc::new(IntakeDoor(Arc::clone(&self.intake))),
            clock: Arc::new(SystemClock),
            tells: Arc::new(tells),
        }))
    }

    /// Tells crowds in chunks, and of what the flood guard holds, until the handle's task is ended: where nobody else could.
    pub fn crowds(&self) -> JoinHandle<()> {
        tokio::spawn(tidings_intake::fan_out(Arc::clone(&self.intake)))
    }

    /// Sends the postman on his way, for a member.
    ///
    /// # Errors
    /// If the system has no random numbers for his dice.
    pub fn postman(&self, tenure: Arc<Tenure>) -> Result<Postman> {
        Ok(Postman::start(PostmanOptions {
            store: self.store.clone(),
            route: route(&self.relays, &self.safety),
            clock: Arc::new(SystemClock) as Arc<dyn Clock>,
            tenure,
            seed: u64::from_le_bytes(crate::clock::random()?),
            news: self.news.clone(),
        }))
    }
}

/// What the postman goes by.
pub fn route(relays: &[RelayPlan], safety: &sections::Safety) -> Route {
    Route { relays: relays.to_vec(), guard: safety.guard(), file: safety.file.clone() }
}

/// What the herald goes by.
///
/// # Errors
/// If the webhook cannot be used.
pub fn herald_plan(alerts: &sections::Alerts, relays: &[RelayPlan]) -> Result<HeraldPlan> {
    let webhook = alerts.webhook.as_ref().map(|hook| Webhook::new(&hook.url, hook.secret.reveal(), hook.ca_pem.as_deref()));
    Ok(HeraldPlan {
        ways: relays.iter().map(|plan| tidings_alerts::Way { name: plan.name.clone(), next: plan.next.clone() }).collect(),
        preferred: alerts.relay.clone(),
        after: alerts.after,
        webhook: webhook.transpose().context("setting up alerts.webhook")?,
    })
}

/// The relay of this name.
///
/// # Errors
/// [`Misuse`] with the names there are.
pub fn find_relay<'a>(relays: &'a [RelayPlan], name: &str) -> Result<&'a RelayPlan> {
    relays.iter().find(|relay| relay.name == name).ok_or_else(|| {
        let names: Vec<&str> = relays.iter().map(|relay| relay.name.as_str()).collect();
        Misuse(format!("no relay is called `{name}`; there are {}", names.join(", "))).into()
    })
}

/// How a relay's letters are signed: in the organisation's name unless the relay has one of its own.
fn imprint(relay: &sections::Relay, organisation: &str) -> RelayImprint {
    RelayImprint {
        name: relay.name.clone(),
        from: relay.from.clone(),
        from_name: relay.from_name.clone().or_else(|| Some(organisation.to_owned())),
        reply_to: relay.reply_to.clone(),
        envelope_from: Some(relay.envelope_from.clone()),
    }
}

/// A relay's section as the postman's plan.
pub fn plan(relay: &sections::Relay) -> RelayPlan {
    let mut timeouts = Timeouts::default();
    let way = match &relay.courier {
        sections::Courier::Pickup(pickup) => Way::Pickup(PickupPlan {
            folder: pickup.folder.clone(),
            x_headers: pickup.x_headers,
            replay: pickup.replay,
            drain_within: pickup.drain_within,
            max_waiting: pickup.max_waiting,
            min_free: pickup.min_free,
        }),
        sections::Courier::File { path } => Way::File { path: path.clone() },
        sections::Courier::Graph(graph) => {
            timeouts = Timeouts { connect: graph.timeouts.connect, command: graph.timeouts.command, final_dot: graph.timeouts.final_dot };
            let plan = GraphPlan::new(graph.url.clone(), graph.mailbox.clone(), token_plan(&graph.tokens));
            Way::Graph(if let Some(pem) = &graph.ca_pem { plan.ca_pem(pem.clone()) } else { plan })
        }
        sections::Courier::Smtp(smtp) => {
            timeouts = Timeouts { connect: smtp.timeouts.connect, command: smtp.timeouts.command, final_dot: smtp.timeouts.final_dot };
            Way::Smtp(SmtpPlan { replies: replies(relay, &smtp.host), ..smtp_plan(smtp) })
        }
    };
    RelayPlan {
        name: relay.name.clone(),
        way,
        limits: Limits { sessions: relay.limits.sessions, messages_per_session: relay.limits.messages_per_session },
        rates: Rates {
            per_minute: relay.limits.per_minute,
            per_hour: relay.limits.per_hour,
            per_day: relay.limits.per_day,
            sessions_per_minute: relay.limits.sessions_per_minute,
        },
        retry: relay.retry.clone(),
        timeouts,
        breaker: BreakerPlan::default(),
        next: relay.next.clone(),
        return_paths: None,
    }
}

/// What a relay's refusals mean before the standard rows: the operator's rows, then those of the preset, or of the provider whose host it is.
fn replies(relay: &sections::Relay, host: &str) -> Vec<Rule> {
    let written = relay.replies.iter().map(|row| {
        let class = match row.means {
            sections::ReplyMeaning::Retry => Class::Transient,
            sections::ReplyMeaning::Fail => Class::Permanent,
            sections::ReplyMeaning::Sender => Class::Sender,
            sections::ReplyMeaning::Busy => Class::Relay(TroubleKind::Busy),
            sections::ReplyMeaning::Quota => Class::Relay(TroubleKind::Quota),
            sections::ReplyMeaning::Hold => Class::Relay(TroubleKind::Configuration),
            sections::ReplyMeaning::SignIn => Class::Relay(TroubleKind::Auth),
        };
        Rule {
            stages: row.stage.into_iter().collect::<Vec<_>>().into(),
            codes: Codes(row.codes.0, row.codes.1),
            enhanced: row.enhanced.map(|(of, details)| EnhancedCodes { of, details }),
            words: row.text.clone().map(Into::into),
            class,
            hint: row.hint.clone().map(Into::into),
            no_refresh: false,
        }
    });
    let preset = relay.preset.as_deref().and_then(Preset::find).or_else(|| Preset::of_host(host));
    written.chain(preset.into_iter().flat_map(Preset::rules)).collect()
}

fn smtp_plan(smtp: &sections::Smtp) -> SmtpPlan {
    let tls = match smtp.tls.mode {
        sections::TlsMode::None => TlsMode::None,
        sections::TlsMode::Auto => TlsMode::Auto,
        sections::TlsMode::StarttlsWhenAvailable => TlsMode::StartTlsWhenAvailable,
        sections::TlsMode::Starttls => TlsMode::StartTls,
        sections::TlsMode::Implicit => TlsMode::Implicit,
    };
    let auth = smtp.auth.as_ref().map(|auth| auth_plan(auth, &smtp.host, smtp.port, tls));
    SmtpPlan {
        tls,
        ca_pem: smtp.tls.ca_pem.clone(),
        client_identity: smtp.tls.client_identity.as_ref().map(|id| (id.certificate_pem.clone(), Secret::new(id.key_pem.reveal()))),
        tls_min: match smtp.tls.min_version {
            sections::TlsVersion::V1_2 => TlsMin::V1_2,
            sections::TlsVersion::V1_3 => TlsMin::V1_3,
        },
        auth,
        helo: machine_name(),
        pipelining: smtp.extensions.pipelining,
        chunking: smtp.extensions.chunking,
        reports: match smtp.extensions.dsn {
            sections::Dsn::Unasked => Reports::Unasked,
            sections::Dsn::Never => Reports::Never,
            sections::Dsn::Of { success, failure, delay } => Reports::Of { success, failure, delay },
        },
        ..SmtpPlan::new(smtp.host.clone(), smtp.port)
    }
}

fn auth_plan(auth: &sections::Auth, host: &str, port: u16, tls: TlsMode) -> AuthPlan {
    let user = auth.username.clone();
    let plan = match &auth.credential {
        sections::Credential::Password(password) => AuthPlan::new(user, Secret::new(password.reveal()), host, port, tls),
        sections::Credential::OAuth2(tokens) => AuthPlan::with_tokens(user, token_plan(tokens), host, port, tls),
    };
    let mechanism = match auth.mechanism {
        sections::Mechanism::Auto => AuthMechanism::Auto,
        sections::Mechanism::ScramSha256Plus => AuthMechanism::ScramSha256Plus,
        sections::Mechanism::ScramSha1Plus => AuthMechanism::ScramSha1Plus,
        sections::Mechanism::ScramSha256 => AuthMechanism::ScramSha256,
        sections::Mechanism::ScramSha1 => AuthMechanism::ScramSha1,
        sections::Mechanism::CramMd5 => AuthMechanism::CramMd5,
        sections::Mechanism::Plain => AuthMechanism::Plain,
        sections::Mechanism::Login => AuthMechanism::Login,
        sections::Mechanism::OAuthBearer => AuthMechanism::OAuthBearer,
        sections::Mechanism::XOAuth2 => AuthMechanism::XOAuth2,
    };
    plan.mechanism(mechanism).allow_cleartext(auth.allow_cleartext)
}

/// How access tokens are got.
pub fn token_plan(tokens: &sections::OAuth2) -> TokenPlan {
    let proof = match &tokens.proof {
        sections::ClientProof::SecretInBody(secret) => ClientProof::SecretInBody(Secret::new(secret.reveal())),
        sections::ClientProof::SecretByBasic(secret) => ClientProof::SecretByBasic(Secret::new(secret.reveal())),
        sections::ClientProof::Key(key) => ClientProof::Key(Box::new(ClientKey {
            pem: Secret::new(key.pem.reveal()),
            certificate_pem: key.certificate_pem.clone(),
            id: key.id.clone(),
            algorithm: match key.algorithm {
                None => KeyAlgorithm::ByKey,
                Some(sections::KeyAlgorithm::Rs256) => KeyAlgorithm::Rs256,
                Some(sections::KeyAlgorithm::Ps256) => KeyAlgorithm::Ps256,
                Some(sections::KeyAlgorithm::Es256) => KeyAlgorithm::Es256,
            },
        })),
    };
    let grant = match tokens.grant {
        sections::Grant::ClientCredentials => Grant::ClientCredentials,
        sections::Grant::JwtBearer => Grant::JwtBearer,
    };
    let plan = TokenPlan::new(tokens.token_url.clone(), tokens.client_id.clone(), proof).grant(grant);
    let plan = if let Some(scope) = &tokens.scope { plan.scope(scope.clone()) } else { plan };
    if let Some(pem) = &tokens.ca_pem { plan.ca_pem(pem.clone()) } else { plan }
}

/// This machine's name for EHLO (RFC 5321 §4.1.1.1), or `localhost` if it has none that fits.
pub fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if fits { name } else { "localhost".to_owned() }
}

/// What the process is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To end: SIGTERM or Ctrl-C.
    Stop,
    /// To take the configuration as it is now: SIGHUP.
    Reload,
}

/// Hears what the process is told.
pub struct Ears {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Ears {
    /// Begins to listen: from now on none of these signals ends the process.
    ///
    /// # Errors
    /// If the system does not let us listen for signals.
    pub fn open() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next word.
    pub async fn hear(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// Waits until a command that has nothing to reload is told to end: SIGTERM, Ctrl-C, or a terminal that is closed.
///
/// # Errors
/// If the system does not let us listen for signals.
pub async fn told_to_stop() -> Result<()> {
    Ears::open()?.hear().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_of_the_configuration_is_one_of_delivery() {
        for preset in Preset::ALL {
            let text = format!(
                "[[relay]]\nname = \"a\"\npreset = \"{}\"\nhost = \"mail.example.org\"\nfrom = \"a@example.org\"\n",
                preset.as_str()
            );
            let loaded = sections::load_text(&text, Path::new("tidings.toml"), &|_| None, LoadOptions::default());
            let relay = loaded.expect("the configuration knows it too").settings.relays.remove(0);
            let Way::Smtp(smtp) = plan(&relay).way else { unreachable!("a preset is of an SMTP relay") };
            assert_eq!(smtp.replies, preset.rules());
        }
    }
}
