//! Neighbours that Debian does not package, installed below cargo's target folder by `crates/testkit/neighbours/install`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::Running;
use crate::wait;

/// Time to come up.
const READY: Duration = Duration::from_secs(30);

/// The folder that a neighbour is installed in.
///
/// # Panics
/// If it is not, saying how to install it.
pub(crate) fn installed(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a file");
    let folders = program.ancestors().map(|folder| folder.join("neighbours").join(name));
    let found = folders.into_iter().find(|folder| folder.join("installed").is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not installed below the target folder, and this test needs it: crates/testkit/neighbours/install (./test runs it)"
        )
    })
}

/// The program of a neighbour, in this repository.
pub(crate) fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("neighbours").join(path)
}

/// The lines of JSON that a neighbour has printed and ended.
pub(crate) fn lines(running: &Running) -> Vec<Value> {
    let text = running.stdout();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))).collect()
}

/// Waits for the first line, which holds the port.
///
/// # Panics
/// If it does not come; the message holds what the neighbour wrote to standard error.
pub(crate) fn port(running: &mut Running) -> u16 {
    let port = wait::try_until(READY, || {
        if let Some(status) = running.status() {
            panic!("it ended before it was ready ({status}):\n{}", running.stderr());
        }
        lines(running).first().and_then(|line| line["port"].as_u64())
    });
    let port = port.unwrap_or_else(|| panic!("it is not ready after {READY:?}:\n{}", running.stderr()));
    u16::try_from(port).expect("a port is a port")
}
