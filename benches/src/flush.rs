//! Flushes of the server: counted, and made as slow as those of a common disk. A small library (`flush.c`, compiled when the run begins) is preloaded into the
//! server; the program itself stays as it was built.

use crate::child;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// What is compiled.
const SOURCE: &str = include_str!("flush.c");
/// How long compiling may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The compiled library.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    library: PathBuf,
}

/// The count of one server's flushes.
#[derive(Debug, Clone)]
pub(crate) struct FlushTally {
    path: PathBuf,
}

impl Shim {
    /// Compiles the library into `folder`.
    ///
    /// # Errors
    /// If there is no C compiler.
    pub(crate) async fn compile(folder: &Path) -> Result<Self> {
        let (source, library) = (folder.join("flush.c"), folder.join("flush.so"));
        fs::write(&source, SOURCE).with_context(|| format!("writing {}", source.display()))?;
        let mut command = Command::new(child::installed("cc", "gcc")?);
        command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        child::finish(command, PATIENCE).await.context("compiling the library that counts flushes")?;
        Ok(Self { library })
    }

    /// Makes a program count its flushes in the file `tally`, and take `delay` longer for each.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn preload(&self, command: &mut Command, tally: PathBuf, delay: Duration) -> Result<FlushTally> {
        command.envs(self.environment(&tally, delay));
        FlushTally::make(tally)
    }

    /// The environment that makes a program do so.
    pub(crate) fn environment(&self, tally: &Path, delay: Duration) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("BENCH_FLUSH_TALLY", tally.display().to_string()),
            ("BENCH_FLUSH_DELAY_US", delay.as_micros().to_string()),
        ]
    }
}

impl FlushTally {
    /// A count of nothing yet.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn make(path: PathBuf) -> Result<Self> {
        fs::write(&path, 0_u64.to_ne_bytes()).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    /// Flushes so far.
    ///
    /// # Errors
    /// If the count cannot be read.
    pub(crate) fn count(&self) -> Result<u64> {
        let bytes = fs::read(&self.path).with_context(|| format!("reading {}", self.path.display()))?;
        let bytes = bytes.try_into().ok().with_context(|| format!("{} does not hold a count", self.path.display()))?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn flushes_of_another_program_are_counted_and_slowed() {
        let folder = tempfile::tempdir().unwrap();
        let shim = Shim::compile(folder.path()).await.unwrap();
        let delay = Duration::from_millis(30);
        // coreutils: `sync -d FILE` is fdatasync of each file, `sync FILE` is fsync.
        for (flag, flushes) in [("--data", 3), ("--", 2)] {
            let mut command = Command::new("sync");
            let tally = shim.preload(&mut command, folder.path().join("tally"), delay).unwrap();
            command.arg(flag).args(std::iter::repeat_n(folder.path().join("flush.c"), flushes));
            let start = Instant::now();
            child::finish(command, Duration::from_secs(20)).await.unwrap();
            assert_eq!(tally.count().unwrap(), flushes as u64);
            assert!(start.elapsed() >= delay * u32::try_from(flushes).unwrap());
        }
    }
}
