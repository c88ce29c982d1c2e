//! The program under test: built, so that nobody measures yesterday's.

use anyhow::{Context, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The folder of the build's output that this very program was built into.
///
/// # Errors
/// If this program does not lie in one.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("asking for the path of this program")?;
    let target =
        own.parent().and_then(Path::parent).context("this program does not lie in the output of a build; give --binary and --work")?;
    Ok(target.to_owned())
}

/// Builds the released program and returns its path. Cargo shows its progress.
///
/// # Errors
/// If it does not build.
pub(crate) async fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the manifest of this program lies in the workspace")?;
    let target = target_folder()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "-p", "tidings", "--target-dir"]).arg(&target).current_dir(root);
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await.context("running cargo build")?;
    ensure!(status.success(), "the program does not build: {status}");
    Ok(target.join("release/tidings"))
}
