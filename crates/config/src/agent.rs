//! The `appsettings.json` of an agent: a small house beside a target system, which sends the letters about passwords.
//!
//! What Netwrix Identity Manager has words for stands under `PasswordResetSettings`, as published; the rest stands in a section of ours in the same file,
//! `Tidings`, whose keys are those of `tidings.toml` (`agent/house.rs`). Both come to one [`Settings`], so that everything behind it is the same as in every house.

mod house;
mod reset;

use crate::{
    json,
    load::{Environment, LoadOptions, Loaded, Loading},
    problem::{Problems, Source},
    read::{self, Table},
    sections,
};
use std::{path::Path, time::Duration};
use tidings_core::Locale;

/// What only an agent's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The languages for readers whose own is not known or has no letters, the first choice first; empty if the file does not say, and then
    /// [`Organisation::default_locale`](crate::Organisation::default_locale) holds.
    pub cultures: Vec<Locale>,
    /// How links are made and confirmed; absent if the file has no `TwoFactorSettings`: only temporary passwords are sent then.
    pub two_way: Option<TwoWay>,
}

/// The two-way mode: the reader gets a link, confirms on our page, and is handed over to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoWay {
    /// Where links lead.
    pub confirmation: ConfirmationUri,
    /// Where a reader who has confirmed is sent: `Tidings.HandOverUri`, else `TwoFactorSettings.ApplicationUri`.
    pub hand_over_uri: String,
    /// How long a link holds. Default: 3 h.
    pub valid_for: Duration,
}

/// `TwoFactorSettings.ResetConfirmationUri`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmationUri {
    /// As written; it ends in `=`, and the token is appended to it.
    pub base: String,
    /// Its path, where the agent's page stands: `/PasswordReset/Activate/`.
    pub path: String,
    /// The parameter of the query that carries the token: `activationCode`.
    pub parameter: String,
}

/// Loads an agent's file from its text.
pub(crate) fn load_text(text: &str, path: &Path, env: Environment<'_>, options: LoadOptions) -> Result<Loaded, Problems> {
    let source = Source::of(path, text);
    let root = json::parse(source.text()).map_err(|error| Problems(vec![source.problem(error.offset, "", error.message)]))?;
    let loading = Loading::of(&source, path, env, options);
    let house = house::House::read(&loading, &source, &root, path);
    read::check(&loading, &house.tree, &sections::ROOT, "");
    let settings = sections::build(&loading, &Table::root(&house.tree, &sections::ROOT), path);
    let agent = reset::read(&loading, &source, &root, &house);
    let (problems, warnings) = loading.told(path);
    let renamed = |list: Vec<_>| list.into_iter().map(|problem| house.renamed(problem)).collect();
    let (problems, warnings): (Vec<_>, Vec<_>) = (renamed(problems), renamed(warnings));
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings: sections::Settings { agent: Some(agent), ..settings }, warnings }),
        _ => Err(Problems(problems)),
    }
}
