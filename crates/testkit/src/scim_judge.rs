//! An independent judge of SCIM services: `scim2-tester` from the Python package index, which reads what a service says of itself and tries all of it.

use std::time::Duration;

use serde::Deserialize;

use crate::folder::Folder;
use crate::neighbours;
use crate::process::{Program, installed};

/// Time for all checks.
const PATIENCE: Duration = Duration::from_mins(5);

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Check {
    /// `SUCCESS`, `SKIPPED`, or something worse.
    pub status: String,
    /// Its name.
    pub title: String,
    /// The resources it was about.
    pub resource_type: Option<String>,
    /// What was found.
    pub reason: String,
}

impl Check {
    /// Whether nothing is held against the service.
    pub fn passed(&self) -> bool {
        self.status == "SUCCESS"
    }
}

/// Judges the service at `url` with this bearer token.
///
/// # Panics
/// If Python or the packages are not installed, or the judge itself fails.
pub fn judge_scim(url: &str, token: &str) -> Vec<Check> {
    let packages = neighbours::installed("scim2-tester").join("packages");
    let folder = Folder::new("scim");
    let program = Program::new(installed("python3", "python3")).env("PYTHONPATH", packages).env("TOKEN", token);
    let ended = program.args([neighbours::script("scim2-tester/judge.py").into_os_string(), url.into()]).run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "the judge failed: {}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))).collect()
}
