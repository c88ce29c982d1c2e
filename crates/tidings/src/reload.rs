//! Another configuration while the house is open: all of it or nothing, and nothing on the wire is cut off.

use crate::{
    assemble::{self, House, environment},
    bounces,
    directories::Plans,
    exit::Misuse,
};
use anyhow::{Context, Result};
use std::{path::PathBuf, sync::Arc};
use tidings_alerts::Herald;
use tidings_config::{LoadOptions, Settings};
use tidings_delivery::Postman;
use tidings_store::{ServeLock, ServeNote};
use tokio::sync::watch;

/// Takes the configuration anew when told to, and says what came of it.
pub struct Reloader {
    config: PathBuf,
    lock: Arc<ServeLock>,
    note: ServeNote,
    relays: watch::Sender<Vec<String>>,
}

impl Reloader {
    /// Notes in the lock file which process to tell.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn new(config: PathBuf, lock: Arc<ServeLock>, house: &House) -> Result<Self> {
        let pid = i32::try_from(std::process::id()).context("the number of this process")?;
        let note = ServeNote { pid, reloads: 0, in_force: true, said: Vec::new() };
        lock.tell(&note).context("writing the lock file")?;
        Ok(Self { config, lock, note, relays: watch::Sender::new(names(house)) })
    }

    /// The relays' names as they are in force.
    pub fn relays(&self) -> watch::Receiver<Vec<String>> {
        self.relays.subscribe()
    }

    /// Takes the configuration as it stands in its file now. A broken one is refused with all its problems, and the one before stays in force. Gives the plans of the
    /// directories' sources, which the caller exchanges; none if it was refused.
    pub fn reload(&mut self, house: &mut House, postman: &mut Postman, herald: &Herald) -> Option<Plans> {
        self.note.reloads += 1;
        let mut plans = None;
        match self.take(house, postman, herald) {
            Ok((said, taken)) => {
                tracing::info!(config = %self.config.display(), changes = %said.join("; "), "the configuration was taken anew");
                (self.note.in_force, self.note.said) = (true, said);
                plans = Some(taken);
            }
            Err(error) => {
                let said: Vec<String> = format!("{error:#}").lines().map(str::to_owned).collect();
                tracing::error!(config = %self.config.display(), problems = %said.join("; "), "the new configuration is refused, the one before stays in force");
                (self.note.in_force, self.note.said) = (false, said);
            }
        }
        if let Err(error) = self.lock.tell(&self.note) {
            tracing::warn!(%error, "what came of a reload cannot be noted");
        }
        plans
    }

    fn take(&self, house: &mut House, postman: &mut Postman, herald: &Herald) -> Result<(Vec<String>, Plans)> {
        let loaded = tidings_config::load_with(&self.config, &environment, LoadOptions { check_folders: true })
            .map_err(|found| Misuse(assemble::all_problems(&self.config, &found).join("\n")))?;
        let mut said: Vec<String> = loaded.warnings.iter().map(|warning| format!("{warning} (warning)")).collect();
        let settings = loaded.settings;
        said.extend(waits_for_a_restart(house, &settings));
        // Everything that can fail comes first.
        let relays = bounces::plans(&settings.relays, &house.store.return_paths());
        let terms = bounces::terms(&settings.bounces);
        let mailbox = bounces::mailbox(&settings.bounces);
        let (safety, alerts) = (settings.safety.clone(), settings.alerts.clone());
        let plans = Plans::of(&settings)?;
        let herald_plan = assemble::herald_plan(&alerts, &relays)?;
        let desk = assemble::desk(settings)?;
        let refit = postman.refit(assemble::route(&relays, &safety));
        house.refit(relays, safety, alerts, terms, desk);
        house.mailbox = mailbox;
        herald.refit(herald_plan);
        for (word, relays) in [("new", refit.added), ("changed", refit.changed), ("no longer there", refit.removed)] {
            said.extend(relays.iter().map(|relay| format!("relay {relay}: {word}")));
        }
        self.relays.send_replace(names(house));
        Ok((said, plans))
    }
}

fn names(house: &House) -> Vec<String> {
    house.relays.iter().map(|relay| relay.name.clone()).collect()
}

/// The keys that are different and cannot be changed under way.
fn waits_for_a_restart(house: &House, settings: &Settings) -> Vec<String> {
    let (old, new) = (&house.server, &settings.server);
    let differs = [
        ("server.listen", old.listen != new.listen),
        ("server.data_dir", old.data_dir != new.data_dir),
        ("server.tls_cert_file and server.tls_key_file", old.tls != new.tls),
        ("server.node and server.node_lease", (&old.node, old.node_lease) != (&new.node, new.node_lease)),
        ("server.max_body", old.max_body_bytes != new.max_body_bytes),
        ("server.client_ca_file and server.client_names", old.clients != new.clients),
        ("log", house.log != settings.log),
        ("PasswordResetSettings", house.agent != settings.agent),
        ("database", house.database != settings.database),
    ];
    let differs = differs.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(key, _)| format!("{key}: is different, and comes into force with the next start")).collect()
}
