//! A server of PostgreSQL of our own: Debian's package with its default settings, durability included, apart from any system cluster. As root it runs as the user `postgres`.

use crate::{
    child::{self, Running},
    proc,
    stats::real,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::process::Command;

/// Where Debian keeps the versions.
const VERSIONS: &str = "/usr/lib/postgresql";
/// How long it may take to come up, and to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a statement of ours may take: millions of rows are made by one.
const STATEMENT: Duration = Duration::from_secs(3 * 3600);

/// The server. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Postgres {
    programs: PathBuf,
    addr: SocketAddr,
    running: Running,
}

/// What the server has done so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatabaseState {
    cpu_seconds: f64,
    wal_bytes: f64,
    statements: f64,
}

/// What a letter has cost the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatabaseCost {
    /// CPU of all of its processes, in microseconds.
    pub(crate) cpu_us: f64,
    /// Bytes of its write-ahead log.
    pub(crate) wal_bytes: f64,
    /// Statements, of which each is a round trip unless it is sent together with others.
    pub(crate) statements: f64,
}

impl DatabaseState {
    /// What each of `letters` has cost since `earlier`.
    pub(crate) fn since(&self, earlier: &Self, letters: u64) -> DatabaseCost {
        let letters = real(letters.max(1));
        DatabaseCost {
            cpu_us: (self.cpu_seconds - earlier.cpu_seconds) * 1e6 / letters,
            wal_bytes: (self.wal_bytes - earlier.wal_bytes) / letters,
            statements: (self.statements - earlier.statements) / letters,
        }
    }
}

/// A program that is run as `postgres` if we are root: the server refuses root.
fn as_keeper(program: impl AsRef<OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

impl Postgres {
    /// Lays a cluster out below `parent` and starts it.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not come up.
    pub(crate) async fn start(parent: &Path) -> Result<Self> {
        let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
        let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
        let newest = newest.context("PostgreSQL is not installed: apt-get install postgresql")?;
        let programs = Path::new(VERSIONS).join(newest.to_string()).join("bin");
        let folder = parent.join("postgres");
        fs::create_dir(&folder).context("making the folder of PostgreSQL")?;
        if rustix::process::geteuid().is_root() {
            let mut chown = Command::new("chown");
            chown.arg("postgres:postgres").arg(&folder);
            child::finish(chown, PATIENCE).await?;
        }
        let data = folder.join("data");
        let mut initdb = as_keeper(programs.join("initdb"));
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "--pgdata"]).arg(&data);
        child::finish(initdb, PATIENCE).await?;
        let addr = child::free_address()?;
        let settings = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nshared_preload_libraries = 'pg_stat_statements'\n",
            addr.port(),
            folder.display()
        );
        fs::write(data.join("postgresql.auto.conf"), settings).context("configuring PostgreSQL")?;
        let mut command = as_keeper(programs.join("postgres"));
        command.arg("-D").arg(&data);
        let running = Running::start(command, &parent.join("postgres.log"))?;
        let mut server = Self { programs, addr, running };
        let begun = Instant::now();
        while server.sql("postgres", "SELECT 1").await.is_err() {
            server.running.must_run()?;
            if begun.elapsed() > PATIENCE {
                bail!("PostgreSQL does not answer\n{}", server.running.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.sql("postgres", "CREATE EXTENSION pg_stat_statements").await?;
        Ok(server)
    }

    /// The address of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.addr.port())
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// If it is there already.
    pub(crate) async fn create(&self, database: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {database}")).await?;
        Ok(self.url(database))
    }

    /// Drops a database that nobody uses any more.
    ///
    /// # Errors
    /// If somebody does.
    pub(crate) async fn drop_database(&self, database: &str) -> Result<()> {
        self.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).await.map(drop)
    }

    /// Runs SQL and gives its last answer, values apart by `|`, a line a row.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) async fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let answer = child::finish(self.psql(database, sql), STATEMENT).await?;
        Ok(answer.trim().to_owned())
    }

    /// The command that runs SQL.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        command
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn state(&self) -> Result<DatabaseState> {
        let sql = "SELECT pg_current_wal_insert_lsn() - '0/0', coalesce((SELECT sum(calls) FROM pg_stat_statements), 0)";
        let answer = self.sql("postgres", sql).await?;
        let (wal, statements) = answer.split_once('|').context("two figures")?;
        Ok(DatabaseState { cpu_seconds: self.cpu_seconds()?, wal_bytes: wal.parse()?, statements: statements.parse()? })
    }

    /// User and system time of all of its processes, those that have ended included.
    fn cpu_seconds(&self) -> Result<f64> {
        let mut processes = vec![self.running.pid()];
        processes.extend(proc::children(self.running.pid()));
        let mut seconds = 0.0;
        for (place, process) in processes.into_iter().enumerate() {
            // One that ends this very moment is counted by its parent from now on.
            let Ok(reading) = proc::read(process) else { continue };
            seconds += reading.cpu_seconds + if place == 0 { reading.children_cpu_seconds } else { 0.0 };
        }
        ensure!(seconds > 0.0, "the kernel tells no time of PostgreSQL");
        Ok(seconds)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// If it does not end.
    pub(crate) async fn stop(self) -> Result<()> {
        self.sql("postgres", "CHECKPOINT").await?;
        self.running.stop(PATIENCE).await
    }
}
