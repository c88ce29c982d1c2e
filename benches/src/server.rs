//! The program under test: its configuration, its commands and the running server.

use crate::{
    bench::Bench,
    child::{self, Running},
    flush::{FlushTally, Shim},
    http, letter,
    load::Door,
    proc::{self, ProcessReading},
    rounds::Reading,
    stats::real,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::process::Command;

/// The only relay of the configuration.
const RELAY: &str = "bench";
/// The key for sensitive letters, in the data folder.
const KEY_FILE: &str = "secret.key";
/// How long a command, and readiness, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the server may take to end; with a long queue the last checkpoint of the database takes its time.
const FAREWELL: Duration = Duration::from_secs(120);

/// How the server is set up, as far as subjects differ.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    way: Way,
    sessions: u16,
    letters: LetterSize,
    flush_delay: Duration,
    database: String,
    more: String,
}

/// The only relay.
#[derive(Debug, Clone)]
enum Way {
    Smtp(SocketAddr),
    Pickup(PathBuf),
}

/// What letters look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetterSize {
    /// Built in.
    Usual,
    /// A text and a line of HTML, about 1 KB with their headers.
    Small,
    /// Built in, with a picture of the organisation inside: about 100 KB.
    Pictured,
}

impl Setup {
    /// Letters go by SMTP to this address, over as many sessions as the scale says.
    pub(crate) fn smtp(bench: &Bench, addr: SocketAddr) -> Self {
        Self {
            way: Way::Smtp(addr),
            sessions: bench.scale.sessions,
            letters: LetterSize::Usual,
            flush_delay: Duration::ZERO,
            database: String::new(),
            more: String::new(),
        }
    }

    /// Letters go into this folder, from so many writers.
    pub(crate) fn pickup(folder: PathBuf, writers: u16) -> Self {
        Self {
            way: Way::Pickup(folder),
            sessions: writers,
            letters: LetterSize::Usual,
            flush_delay: Duration::ZERO,
            database: String::new(),
            more: String::new(),
        }
    }

    /// Over so many sessions.
    pub(crate) fn sessions(self, sessions: u16) -> Self {
        Self { sessions, ..self }
    }

    /// With letters of this size.
    pub(crate) fn letters(self, letters: LetterSize) -> Self {
        Self { letters, ..self }
    }

    /// On a disk whose every flush takes so much longer.
    pub(crate) fn slow_flushes(self, flush_delay: Duration) -> Self {
        Self { flush_delay, ..self }
    }

    /// On a database of a server.
    pub(crate) fn on(self, url: &str) -> Self {
        Self { database: format!("[database]\nurl = \"{url}\"\n"), ..self }
    }

    /// With further sections of the configuration.
    pub(crate) fn with(self, more: String) -> Self {
        Self { more, ..self }
    }

    fn configuration(&self, listen: SocketAddr) -> String {
        let way = match &self.way {
            Way::Smtp(addr) => format!("kind = \"smtp\"\nhost = \"{}\"\nport = {}\ntls = \"none\"", addr.ip(), addr.port()),
            Way::Pickup(folder) => format!("kind = \"pickup\"\nfolder = \"{}\"", folder.display()),
        };
        let letters = match self.letters {
            LetterSize::Usual => "",
            LetterSize::Small => "[letters]\ntemplates = \"templates\"\n",
            LetterSize::Pictured => "[organisation]\nlogo = \"logo.png\"\n",
        };
        format!(
            "[server]
listen = \"{listen}\"
data_dir = \"data\"

{}
{letters}
[[relay]]
name = \"{RELAY}\"
{way}
from = \"no-reply@example.org\"
limits = {{ sessions = {}, messages_per_session = 1000 }}
{}",
            self.database, self.sessions, self.more
        )
    }
}

/// A configuration with its database. Dropped, both go.
#[derive(Debug)]
pub(crate) struct House {
    program: PathBuf,
    folder: TempDir,
    config: PathBuf,
    door: Door,
    shim: Shim,
    flush_delay: Duration,
}

impl House {
    /// Writes a configuration, and makes a token.
    ///
    /// # Errors
    /// If the program refuses the configuration.
    pub(crate) async fn new(bench: &Bench, setup: Setup) -> Result<Self> {
        Self::furnish(bench, setup, None).await
    }

    /// Another node on the database of this one: it has the same key and the same token.
    ///
    /// # Errors
    /// If the program refuses the configuration.
    pub(crate) async fn beside(&self, bench: &Bench, setup: Setup) -> Result<Self> {
        Self::furnish(bench, setup, Some(self)).await
    }

    async fn furnish(bench: &Bench, setup: Setup, first: Option<&Self>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("house-").tempdir_in(bench.work()).context("making a folder for the server")?;
        let config = folder.path().join("tidings.toml");
        let addr = child::free_address()?;
        fs::write(&config, setup.configuration(addr)).context("writing the configuration")?;
        letter::furnish(folder.path(), setup.letters)?;
        let (program, shim, door) = (bench.program.clone(), bench.shim()?, Door { addr, token: String::new() });
        let mut house = Self { program, folder, config, door, shim, flush_delay: setup.flush_delay };
        if let Some(first) = first {
            fs::create_dir(house.data()).context("making the second node's data folder")?;
            fs::copy(first.data().join(KEY_FILE), house.data().join(KEY_FILE)).context("giving the second node the key")?;
            house.door.token.clone_from(&first.door.token);
            return Ok(house);
        }
        let token = house.command(&["token", "create", "--scope", "events:write"]).await?;
        token.trim().clone_into(&mut house.door.token);
        ensure!(!house.door.token.is_empty(), "tidings token create printed no token");
        Ok(house)
    }

    /// Sends nothing until it is resumed.
    ///
    /// # Errors
    /// If the command fails.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.command(&["relay", "pause", RELAY]).await.map(drop)
    }

    /// Goes on sending.
    ///
    /// # Errors
    /// If the command fails.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.command(&["relay", "resume", RELAY]).await.map(drop)
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or is not ready in time; the message holds the end of its log.
    pub(crate) async fn serve(&self) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("-c").arg(&self.config).current_dir(self.folder.path());
        let flushes = self.shim.preload(&mut command, self.folder.path().join("flushes"), self.flush_delay)?;
        let mut running = Running::start(command, &self.folder.path().join("serve.log"))?;
        let start = Instant::now();
        loop {
            running.must_run()?;
            if matches!(http::get(self.door.addr, "/readyz").await, Ok((200, _))) {
                return Ok(Server { running, door: self.door.clone(), flushes });
            }
            if start.elapsed() > PATIENCE {
                bail!("the server is not ready after {PATIENCE:?}\n{}", running.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Bytes of the database's files.
    pub(crate) fn data_bytes(&self) -> u64 {
        proc::folder_bytes(&self.data())
    }

    /// Its folder, where commands run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn command(&self, arguments: &[&str]) -> Result<String> {
        self.command_within(arguments, PATIENCE).await
    }

    /// Runs a command of the program on this configuration and returns what it prints.
    ///
    /// # Errors
    /// If it fails, or is not done `within` the time.
    pub(crate) async fn command_within(&self, arguments: &[&str], within: Duration) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("-c").arg(&self.config).current_dir(self.folder.path());
        child::finish(command, within).await
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    running: Running,
    door: Door,
    flushes: FlushTally,
}

/// What the server says of its letters (`/metrics`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Books {
    /// Letters a relay took and that are settled.
    pub(crate) sent: f64,
    /// Items on their way, in whatever state.
    pub(crate) queued: f64,
    /// Objects mirrored, of all directories.
    pub(crate) objects: f64,
    /// Whether a directory's first load is complete.
    pub(crate) loaded: bool,
}

/// Where a server stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerState {
    /// What the kernel says.
    pub(crate) process: ProcessReading,
    /// Flushes so far.
    pub(crate) flushes: u64,
}

impl ServerState {
    /// What each of `letters` has cost since `earlier`; the rate is still open.
    pub(crate) fn since(&self, earlier: &Self, letters: u64) -> Reading {
        let (now, then, letters) = (&self.process, &earlier.process, real(letters.max(1)));
        Reading {
            cpu_us: Some((now.cpu_seconds - then.cpu_seconds) * 1e6 / letters),
            peak_bytes: Some(now.peak_bytes),
            written_bytes: Some(real(now.written_bytes - then.written_bytes) / letters),
            flushes: Some(real(self.flushes - earlier.flushes) / letters),
            ..Reading::default()
        }
    }
}

impl Server {
    /// Where events are posted.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// What the kernel says of the process, and its flushes.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn state(&self) -> Result<ServerState> {
        let process = proc::read(self.running.pid()).with_context(|| format!("the server has ended\n{}", self.running.log_tail()))?;
        Ok(ServerState { process, flushes: self.flushes.count()? })
    }

    /// What it says of its letters.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn books(&self) -> Result<Books> {
        let (status, text) = http::get(self.door.addr, "/metrics").await?;
        ensure!(status == 200, "GET /metrics: {status}");
        Ok(books(&text))
    }

    /// Waits until every item is settled, with so many sent since the server started.
    ///
    /// # Errors
    /// If that is not so `within` this time.
    pub(crate) async fn settled(&self, sent: f64, within: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let books = self.books().await?;
            if books.sent >= sent && books.queued == 0.0 {
                return Ok(());
            }
            if start.elapsed() > within {
                bail!(
                    "{} of {sent} letters sent and {} on their way after {within:?}\n{}",
                    books.sent,
                    books.queued,
                    self.running.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is on its way, whoever has sent it.
    ///
    /// # Errors
    /// If that is not so `within` this time.
    pub(crate) async fn empty(&self, within: Duration) -> Result<()> {
        self.settled(0.0, within).await
    }

    /// Ends it politely (SIGTERM).
    ///
    /// # Errors
    /// If it had to be killed.
    pub(crate) async fn stop(self) -> Result<()> {
        self.running.stop(FAREWELL).await
    }
}

/// Sums of the metrics of these names over all their labels (the Prometheus text format, version 0.0.4).
fn books(text: &str) -> Books {
    let sum = |name: &str| {
        let samples = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
        samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    Books {
        sent: sum("tidings_sent_total"),
        queued: sum("tidings_queue_items"),
        objects: sum("tidings_directory_objects"),
        loaded: sum("tidings_directory_loaded") > 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# TYPE tidings_sent_total counter\ntidings_sent_total{relay=\"a b\",lane=\"notices\"} 12\ntidings_sent_total{relay=\"c\"} 30\n\
                    tidings_sent_total_more 7\ntidings_queue_items{lane=\"x\",state=\"waiting\"} 5\n\
                    tidings_directory_objects{directory=\"corp\"} 3\ntidings_directory_loaded{directory=\"corp\"} 1\n";
        assert_eq!(books(text), Books { sent: 42.0, queued: 5.0, objects: 3.0, loaded: true });
    }
}
