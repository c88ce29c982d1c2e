//! Processes started here: they are ended when their owner goes, whatever the reason.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How much of a process's log an error shows, in bytes.
const SHOWN_LOG: usize = 2_000;

/// A running process whose output goes to a file. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    pid: u32,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program; standard output and error go to the file `log`.
    ///
    /// # Errors
    /// If there is no such program or the log cannot be made.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let name = name_of(&command);
        let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let twin = file.try_clone().context("sharing a log between standard output and error")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(twin)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name, pid, child, log: log.to_owned() })
    }

    /// Its process id, as long as it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Fails if it has ended, with the end of its log.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("looking after {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.log_tail()),
        }
    }

    /// The end of its output.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN_LOG)..]).into_owned()
    }

    /// Asks it to end (SIGTERM) and waits for that; kills it if it does not `within` the time.
    ///
    /// # Errors
    /// If it had to be killed.
    pub(crate) async fn stop(mut self, within: Duration) -> Result<()> {
        if self.child.try_wait().with_context(|| format!("looking after {}", self.name))?.is_none() {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("the kernel gives positive process ids");
            kill_process(pid, Signal::TERM).with_context(|| format!("ending {}", self.name))?;
        }
        if timeout(within, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("killing {}", self.name))?;
            bail!("{} did not end within {within:?} and was killed\n{}", self.name, self.log_tail());
        }
        Ok(())
    }
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// If it cannot be started, is not done `within` the time (it is killed then), or ends with another status than 0.
pub(crate) async fn finish(mut command: Command, within: Duration) -> Result<String> {
    let name = name_of(&command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(within, output)
        .await
        .with_context(|| format!("{name} was not done after {within:?}"))?
        .with_context(|| format!("running {name}"))?;
    ensure!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Finds a program on the search path, or where Debian keeps programs for administrators.
///
/// # Errors
/// If it is not there; the message names the package.
pub(crate) fn installed(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder: PathBuf| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not installed: apt-get install {package}"))
}

/// A loopback address nobody listens on just now.
///
/// # Errors
/// If there is none.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    listener.local_addr().context("asking for the free port")
}

fn name_of(command: &Command) -> String {
    let program = Path::new(command.as_std().get_program());
    let verb = command.as_std().get_args().next().and_then(OsStr::to_str).filter(|first| !first.starts_with('-'));
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    verb.map_or_else(|| name.to_string(), |verb| format!("{name} {verb}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_fails_says_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room >&2; exit 3"]);
        let error = finish(command, Duration::from_secs(20)).await.unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_stopped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut running = Running::start(command, &folder.path().join("log")).unwrap();
        running.must_run().unwrap();
        let pid = running.pid();
        running.stop(Duration::from_secs(20)).await.unwrap();
        assert!(crate::proc::read(pid).is_err());
    }
}
