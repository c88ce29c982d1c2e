//! The program under test: its configuration, its commands and the running server.

use crate::{
    bench::Bench,
    child::{self, Running},
    http,
    load::Door,
    proc::{self, ProcessReading},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::process::Command;

/// The only relay of the configuration.
const RELAY: &str = "bench";
/// How long a command, and readiness, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the server may take to end; with a long queue the last checkpoint of the database takes its time.
const FAREWELL: Duration = Duration::from_secs(120);

/// A configuration with its database. Dropped, both go.
#[derive(Debug)]
pub(crate) struct House {
    program: PathBuf,
    folder: TempDir,
    config: PathBuf,
    door: Door,
}

impl House {
    /// Writes a configuration whose relay is `relay`, and makes a token.
    ///
    /// # Errors
    /// If the program refuses the configuration.
    pub(crate) async fn new(bench: &Bench, relay: SocketAddr) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("house-").tempdir_in(bench.work()).context("making a folder for the server")?;
        let config = folder.path().join("tidings.toml");
        let addr = child::free_address()?;
        let text = format!(
            "[server]
listen = \"{addr}\"
data_dir = \"data\"

[[relay]]
name = \"{RELAY}\"
kind = \"smtp\"
host = \"{}\"
port = {}
tls = \"none\"
from = \"no-reply@example.org\"
limits = {{ sessions = {}, messages_per_session = 1000 }}
",
            relay.ip(),
            relay.port(),
            bench.scale.sessions
        );
        fs::write(&config, text).context("writing the configuration")?;
        let mut house = Self { program: bench.program.clone(), folder, config, door: Door { addr, token: String::new() } };
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
        let mut running = Running::start(command, &self.folder.path().join("serve.log"))?;
        let start = Instant::now();
        loop {
            running.must_run()?;
            if matches!(http::get(self.door.addr, "/readyz").await, Ok((200, _))) {
                return Ok(Server { running, door: self.door.clone() });
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

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("-c").arg(&self.config).current_dir(self.folder.path());
        child::finish(command, PATIENCE).await
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    running: Running,
    door: Door,
}

/// What the server says of its letters (`/metrics`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Books {
    /// Letters a relay took and that are settled.
    pub(crate) sent: f64,
    /// Items on their way, in whatever state.
    pub(crate) queued: f64,
}

impl Server {
    /// Where events are posted.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// What the kernel says of the process.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn reading(&self) -> Result<ProcessReading> {
        proc::read(self.running.pid()).with_context(|| format!("the server has ended\n{}", self.running.log_tail()))
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
    Books { sent: sum("tidings_sent_total"), queued: sum("tidings_queue_items") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# TYPE tidings_sent_total counter\ntidings_sent_total{relay=\"a b\",lane=\"notices\"} 12\ntidings_sent_total{relay=\"c\"} 30\n\
                    tidings_sent_total_more 7\ntidings_queue_items{lane=\"x\",state=\"waiting\"} 5\n";
        assert_eq!(books(text), Books { sent: 42.0, queued: 5.0 });
    }
}
