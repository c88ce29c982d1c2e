//! Postfix's own measuring tools: `smtp-sink`, which takes mail and forgets it, and `smtp-source`, which makes it.

use crate::{
    child::{self, Running},
    proc,
};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, process::Command};

/// How long `smtp-sink` may take to start or end.
const PATIENCE: Duration = Duration::from_secs(20);

/// SMTP sessions of `smtp-source`.
const SOURCE_SESSIONS: &str = "20";

/// A running `smtp-sink` that shows its counter (`-c`). It never ends by itself: with `-M` it would end before it answers the last letter, and its client would
/// see a lost session.
#[derive(Debug)]
pub(crate) struct SmtpSink {
    running: Running,
}

impl SmtpSink {
    /// Starts it on this address and waits until it answers.
    ///
    /// # Errors
    /// If it is not installed or does not come up.
    pub(crate) async fn start(addr: SocketAddr, folder: &Path) -> Result<Self> {
        let mut command = Command::new(child::installed("smtp-sink", "postfix")?);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.args(["-c", &addr.to_string(), "1024"]);
        let mut running = Running::start(command, &folder.join("smtp-sink.log"))?;
        let start = Instant::now();
        while TcpStream::connect(addr).await.is_err() {
            running.must_run()?;
            if start.elapsed() > PATIENCE {
                bail!("smtp-sink does not answer on {addr}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self { running })
    }

    /// Letters so far: the last whole `mesg=N` of what it has shown.
    ///
    /// # Errors
    /// If its output cannot be read.
    pub(crate) fn letters(&self) -> Result<u64> {
        let mut file = File::open(self.running.log()).context("opening the output of smtp-sink")?;
        let length = file.metadata().context("measuring the output of smtp-sink")?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(200))).context("seeking in the output of smtp-sink")?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).context("reading the output of smtp-sink")?;
        Ok(last_count(&String::from_utf8_lossy(&tail)))
    }

    /// Waits until there are so many letters and returns the moment.
    ///
    /// # Errors
    /// If they are not there `within` this time.
    pub(crate) async fn wait_for(&mut self, letters: u64, within: Duration) -> Result<Instant> {
        let start = Instant::now();
        loop {
            let count = self.letters()?;
            if count >= letters {
                return Ok(Instant::now());
            }
            if start.elapsed() > within {
                bail!("smtp-sink has {count} of {letters} letters after {within:?}");
            }
            self.running.must_run()?;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Its CPU time so far, in seconds.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        Ok(proc::read(self.running.pid())?.cpu_seconds)
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it had to be killed.
    pub(crate) async fn stop(self) -> Result<()> {
        self.running.stop(PATIENCE).await
    }
}

fn last_count(shown: &str) -> u64 {
    // A counter is whole once the carriage return behind it is there.
    let whole = shown.rsplit_once('\r').map_or("", |(whole, _)| whole);
    whole.rsplit_once("mesg=").and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0)
}

/// What `smtp-source` sends.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    program: PathBuf,
    letter: PathBuf,
}

impl Source {
    /// It sends the letter in this file.
    ///
    /// # Errors
    /// If it is not installed.
    pub(crate) fn new(letter: PathBuf) -> Result<Self> {
        Ok(Self { program: child::installed("smtp-source", "postfix")?, letter })
    }

    /// Sends so many letters over 20 kept sessions and returns when the last is answered.
    ///
    /// # Errors
    /// If it fails or is not done `within` this time.
    pub(crate) async fn send(&self, to: SocketAddr, letters: u64, within: Duration) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-d", "-s", SOURCE_SESSIONS, "-m", &letters.to_string(), "-F"]).arg(&self.letter);
        command.args(["-f", "no-reply@example.org", "-t", "linus@example.org", "-M", "bench.example.org", &to.to_string()]);
        child::finish(command, within).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_is_cut_off_is_not_taken_for_a_smaller_number() {
        assert_eq!(last_count("mesg=9\rsess=1 quit=1 mesg=123\r"), 123);
        assert_eq!(last_count("sess=1 quit=1 mesg=123\rsess=1 quit=1 mesg=12"), 123);
        assert_eq!(last_count("123\rsess=1 qu"), 0);
        assert_eq!(last_count(""), 0);
    }
}
