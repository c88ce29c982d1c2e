//! PostgreSQL: a server of its own in its own folder, apart from any system cluster.
//!
//! It listens on a loopback port and on a socket in its folder, and trusts whoever connects. The server refuses to run as root: then it runs as the user `postgres`
//! that Debian's package makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::certs::CertFiles;
use crate::folder::Folder;
use crate::ports::free_port;
use crate::process::{Ended, Program, Running, installed};
use crate::wait;

/// Time to come up, and for one of the tools.
const PATIENCE: Duration = Duration::from_secs(60);
/// The account that may do everything.
pub const ADMIN: &str = "postgres";
/// Where Debian keeps the versions.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A server about to be started.
#[derive(Debug, Clone, Default)]
pub struct PostgresBuilder {
    flush: bool,
    version: Option<u32>,
    tls: Option<CertFiles>,
    settings: Vec<(String, String)>,
}

impl PostgresBuilder {
    /// Flushes its log at every commit, as a real one does. Off unless asked for: tests that kill the server itself need it, others only wait for the disk.
    #[must_use]
    pub fn flush(mut self) -> Self {
        self.flush = true;
        self
    }

    /// Of this major version; the newest installed unless set.
    #[must_use]
    pub fn version(mut self, major: u32) -> Self {
        self.version = Some(major);
        self
    }

    /// Takes connections by TLS, too, with this certificate.
    #[must_use]
    pub fn tls(mut self, certificate: &CertFiles) -> Self {
        self.tls = Some(certificate.clone());
        self
    }

    /// A setting of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lays the cluster out, starts it and waits until it answers.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or the server does not come up.
    pub fn start(self) -> Postgres {
        let programs = programs(self.version);
        let folder = Folder::new("postgres");
        let keeper = Keeper::find();
        keeper.give(folder.path());
        let data = folder.join("data");
        let ended = keeper
            .program(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", ADMIN, "--pgdata"])
            .args([&data])
            .run(folder.path(), PATIENCE);
        assert!(ended.status.success(), "initdb fails: {}", ended.stderr);
        let port = free_port();
        fs::write(data.join("postgresql.auto.conf"), self.config(&data, folder.path(), port, &keeper))
            .expect("our own folder can be written");
        let mut server = Postgres { programs, port, keeper, running: None, folder };
        server.start();
        server
    }

    fn config(&self, data: &Path, folder: &Path, port: u16, keeper: &Keeper) -> String {
        let mut lines = vec![
            format!("port = {port}"),
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("unix_socket_directories = '{}'", folder.display()),
            "shared_buffers = '32MB'".to_owned(),
            "max_connections = 200".to_owned(),
            "log_min_messages = 'warning'".to_owned(),
        ];
        if !self.flush {
            lines.extend(["fsync = off", "full_page_writes = off"].map(str::to_owned));
        }
        if let Some(tls) = &self.tls {
            for (from, to) in [(&tls.cert_pem, "server.crt"), (&tls.key_pem, "server.key")] {
                fs::copy(from, data.join(to)).expect("our own folder can be written");
                // The server takes no key that others can read.
                fs::set_permissions(data.join(to), fs::Permissions::from_mode(0o600)).expect("the mode of our own file can be set");
            }
            keeper.give(&data.join("server.crt"));
            keeper.give(&data.join("server.key"));
            lines.push("ssl = on".to_owned());
        }
        lines.extend(self.settings.iter().map(|(name, value)| format!("{name} = '{value}'")));
        lines.join("\n") + "\n"
    }
}

/// The folder of a version's programs.
fn programs(version: Option<u32>) -> PathBuf {
    let found = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let mut majors: Vec<u32> = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    majors.sort_unstable();
    let major = match version {
        Some(wanted) => majors.into_iter().find(|major| *major == wanted),
        None => majors.pop(),
    };
    let major = major.unwrap_or_else(|| panic!("PostgreSQL is not installed, and this test needs it: apt-get install postgresql"));
    Path::new(VERSIONS).join(major.to_string()).join("bin")
}

/// The user that the server runs as: ourselves, or `postgres` if we are root.
#[derive(Debug)]
struct Keeper {
    other: bool,
}

impl Keeper {
    fn find() -> Self {
        Self { other: rustix::process::geteuid().is_root() }
    }

    fn program(&self, path: &Path) -> Program {
        if !self.other {
            return Program::new(path);
        }
        // setpriv takes the program's place, so that a signal to it is one to the server; runuser would stand between them.
        Program::new(installed("setpriv", "util-linux")).args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).args([path])
    }

    fn give(&self, path: &Path) {
        if self.other {
            let scratch = Folder::new("chown");
            let ended =
                Program::new(installed("chown", "coreutils")).args(["postgres:postgres"]).args([path]).run(scratch.path(), PATIENCE);
            assert!(ended.status.success(), "{} cannot be given to the user postgres: {}", path.display(), ended.stderr);
        }
    }
}

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    keeper: Keeper,
    running: Option<Running>,
    // Last: what runs there must have ended before its folder goes.
    folder: Folder,
}

impl Postgres {
    /// A server that does not flush.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ADMIN}@127.0.0.1:{}/{database}", self.port)
    }

    /// The server's own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        self.running.as_ref().map(Running::stderr).unwrap_or_default()
    }

    /// The address of a database that several servers have by turns: whoever can be written at the time is meant.
    pub fn url_of(servers: &[&Self], database: &str) -> String {
        let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("postgres://{ADMIN}@{}/{database}?target_session_attrs=read-write", hosts.join(","))
    }

    /// Runs SQL as the administrator, and gives what it answers: values apart by `|`, a line a row.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let ended = self.try_sql(database, sql);
        assert!(ended.status.success(), "the server refuses: {}\n{sql}", ended.stderr);
        ended.stdout.trim_end().to_owned()
    }

    /// Tries to run SQL as the administrator.
    pub fn try_sql(&self, database: &str, sql: &str) -> Ended {
        let scratch = Folder::new("psql");
        Program::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-f", "-"])
            .input(sql)
            .run(scratch.path(), PATIENCE)
    }

    /// Makes a database, as a copy of another one if that is named. Nobody may be connected to that one.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn create(&self, database: &str, template: Option<&str>) {
        let like = template.map_or_else(String::new, |template| format!(" TEMPLATE {template} STRATEGY file_copy"));
        self.sql(ADMIN, &format!("CREATE DATABASE {database}{like}"));
    }

    /// A second server that follows this one, and that this one waits for from now on: what it answers for stands on both.
    ///
    /// # Panics
    /// If the standby cannot be made or does not follow.
    #[must_use = "it follows for as long as it lives"]
    pub fn synchronous_standby(&self) -> Self {
        let folder = Folder::new("postgres-standby");
        let keeper = Keeper::find();
        keeper.give(folder.path());
        let data = folder.join("data");
        let primary = format!("host=127.0.0.1 port={} user={ADMIN} application_name=standby", self.port);
        let ended = keeper
            .program(&self.programs.join("pg_basebackup"))
            .args(["--no-sync", "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--dbname", &primary, "--pgdata"])
            .args([&data])
            .run(folder.path(), PATIENCE);
        assert!(ended.status.success(), "pg_basebackup fails: {}", ended.stderr);
        let port = free_port();
        let settings = data.join("postgresql.auto.conf");
        let copied = fs::read_to_string(&settings).expect("the copy has the settings of the first one");
        // The last word counts.
        let own = format!("{copied}port = {port}\nunix_socket_directories = '{}'\n", folder.path().display());
        fs::write(&settings, own).expect("our own folder can be written");
        let mut standby = Self { programs: self.programs.clone(), port, keeper, running: None, folder };
        standby.start();
        self.sql(ADMIN, "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.sql(ADMIN, "SELECT pg_reload_conf()");
        wait::until("the standby to be waited for", PATIENCE, || {
            (self.sql(ADMIN, "SELECT sync_state FROM pg_stat_replication") == "sync").then_some(())
        });
        standby
    }

    /// Makes a standby the one that can be written; it waits for no other any more.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn promote(&self) {
        assert_eq!(self.sql(ADMIN, "SELECT pg_promote()"), "t", "the standby is promoted");
        self.sql(ADMIN, "ALTER SYSTEM RESET synchronous_standby_names");
        self.sql(ADMIN, "SELECT pg_reload_conf()");
    }

    /// Ends every connection to a database from the server's side; how many there were.
    ///
    /// # Panics
    /// If the server cannot be asked.
    pub fn end_connections(&self, database: &str) -> usize {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        );
        self.sql(ADMIN, &sql).parse().expect("a count is a number")
    }

    /// Starts it again after it was stopped or killed.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&mut self) {
        let data = self.folder.join("data");
        let mut running = self.keeper.program(&self.programs.join("postgres")).args(["-D"]).args([&data]).start(self.folder.path());
        let ready = self.programs.join("pg_isready");
        wait::until("PostgreSQL to answer", PATIENCE, || {
            if let Some(status) = running.status() {
                panic!("PostgreSQL ended before it was ready ({status}): {}", running.stderr());
            }
            let scratch = Folder::new("pg-isready");
            let port = self.port.to_string();
            let ended = Program::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port]).run(scratch.path(), PATIENCE);
            ended.status.success().then_some(())
        });
        self.running = Some(running);
    }

    /// Stops it in order: connections are ended, nothing is left to recover.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends it at once, as a loss of power would but for what the system still has in memory: the next start recovers from its log.
    ///
    /// # Panics
    /// If it does not end.
    pub fn kill9(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut running) = self.running.take() {
            let pid = i32::try_from(running.id()).ok().and_then(Pid::from_raw).expect("a program has a number");
            // It may end this very moment.
            let _ = kill_process(pid, signal);
            assert!(running.wait(PATIENCE).is_some(), "PostgreSQL does not end");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM alone would wait for every connection to be given up.
        self.end(Signal::QUIT);
    }
}
