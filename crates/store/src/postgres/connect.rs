//! Reaching the server: what the URL says, the pool of connections, the schema, the key.

use crate::{
    error::StoreError,
    open::COPY_NOTE,
    postgres::{
        fault::{Fault, in_full},
        tls::{self, Plan, Trust},
    },
    seal::{Place, SealKey, fill, hex},
};
use deadpool_postgres::{Connect, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::BoxFuture;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{SslMode, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a connection goes through once it is encrypted.
type RustlsStream<S> = <MakeRustlsConnect as MakeTlsConnect<S>>::Stream;

/// The schema, step by step. A step that has been released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_outbox.sql"),
    include_str!("migrations/0002_mirror.sql"),
    include_str!("migrations/0003_nodes.sql"),
    include_str!("migrations/0004_bounces.sql"),
    include_str!("migrations/0005_accounts.sql"),
];

/// The oldest schema whose programs may go on beside this one, and be started again: what later steps have changed does not concern them. While an upgrade goes from node to node both work.
const OLDEST: i64 = 5;

/// Connections of one node. A verb takes one for a few milliseconds; more would wait for each other inside the server.
const CONNECTIONS: usize = 12;
/// How long a verb waits for one of them.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to answer a knock, and how soon a host that has vanished is noticed.
const KNOCK: Duration = Duration::from_secs(5);

/// The text behind the value by which a wrong key is noticed.
const KEY_CHECK: &[u8] = b"tidings";
/// Any number; whoever brings the schema up to date holds the lock of this name.
pub(crate) const MIGRATION_LOCK: i64 = 0x5444_4753_0001;

/// What every connection is told first. A server that is set to answer a commit before it is on disk is overruled: accepted means on disk. A node that is
/// stopped in the middle of a transaction must not hold its rows for longer than others wait for it.
///
/// Nearly all that is asked is asked by key or in the order of an index. So each statement is planned once, and by its indexes: left to itself the server plans each execution anew, which takes a
/// quarter of its time, and prefers whole tables while it believes them to be small, which a table is only until it is flooded. A transaction that needs other plans says so ([`SWEEPING`]).
///
/// That leaves the choice between indexes. Of a table with few live rows and many dead ones, which cannot be vacuumed as long as somebody holds an old snapshot, the server believes that each look at an index
/// reads thousands of pages, and may walk over the whole of another, smaller index in place of a look by key. So statements hide from it what they do not want to be found by: `state + 0` where a row of `open_item` is
/// named by its id (the index of due work holds only some states), `expires_at + 0` where it is looked for by what is due.
const MANNERS: &str =
    "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '20s'; SET jit = off; SET client_min_messages = warning;
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// What a transaction is told that reads whole stretches of tables: the server may plan as it likes.
pub(crate) const SWEEPING: &str = "SET LOCAL plan_cache_mode = auto;
    SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Where the server is and how to speak to it.
pub(crate) struct Address {
    /// All hosts together.
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
    door: Door,
    /// For people: the URL without what is secret in it.
    pub(crate) shown: PathBuf,
}

impl Address {
    /// From a URL as libpq takes them: several hosts, `sslmode`, `sslrootcert`, `target_session_attrs`, and what else the driver knows.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let shown = PathBuf::from(crate::open::without_secrets(url));
        let failed = |source: Cause| StoreError::Open { path: shown.clone(), source };
        let (rest, mode, plan) = encryption(url).map_err(failed)?;
        let config = configured(&rest, mode, false).map_err(failed)?;
        let several = config.get_hosts().len() > 1;
        let hosts: Vec<Config> =
            alone(&rest).into_iter().map(|one| configured(&one, mode, several)).collect::<Result<_, _>>().map_err(failed)?;
        let tls = tls::connector(&plan).map_err(failed)?;
        let silent = hosts.iter().map(|_| AtomicU32::new(0)).collect();
        let door = Door { hosts, tls: tls.clone(), last: Arc::default(), silent };
        Ok(Self { config, tls, door, shown })
    }

    /// A connection of its own, and what speaks for it.
    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, RustlsStream<Socket>>), Fault> {
        self.door.knock().await
    }

    /// The pool. Nothing is connected yet.
    pub(crate) fn pool(&self) -> Result<Pool, StoreError> {
        let manager =
            Manager::from_connect(self.config.clone(), self.door.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let manners = Hook::async_fn(|client, _| Box::pin(async move { client.batch_execute(MANNERS).await.map_err(HookError::Backend) }));
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(1);
        Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: Some(PATIENCE), create: Some(KNOCK * (hosts + 1)), recycle: Some(KNOCK) })
            .post_create(manners)
            .build()
            .map_err(|error| StoreError::Unavailable(in_full(&error)))
    }
}

/// The driver's settings of a URL. `several` says that it is one of several.
fn configured(url: &str, mode: SslMode, several: bool) -> Result<Config, Cause> {
    // The driver's own words may repeat a part of the URL, but never its password.
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| in_full(&error))?;
    config.ssl_mode(mode);
    if (several || config.get_hosts().len() > 1) && !url.contains("target_session_attrs") {
        // Of several, the primary: wherever it is after a failover.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(KNOCK);
    }
    if config.get_application_name().is_none() {
        config.application_name("tidings");
    }
    config.keepalives_idle(Duration::from_secs(15)).keepalives_interval(KNOCK).keepalives_retries(3).tcp_user_timeout(KNOCK * 4);
    Ok(config)
}

/// A URL of several hosts as one for each; as it is if its hosts stand elsewhere in it.
fn alone(url: &str) -> Vec<String> {
    let whole = || vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let (place, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = place.rsplit_once('@').map_or(("", place), |(user, hosts)| (user, hosts));
    if !hosts.contains(',') || path.contains("host=") || path.contains("hostaddr=") {
        return whole();
    }
    let at = if user.is_empty() { "" } else { "@" };
    hosts.split(',').map(|host| format!("{scheme}://{user}{at}{host}{path}")).collect()
}

/// Knocks at one host after the other. The driver would wait without end for one that takes the connection and then says nothing, as a machine does that has been stopped.
#[derive(Clone)]
struct Door {
    hosts: Vec<Config>,
    tls: MakeRustlsConnect,
    /// The one that opened last: it is tried first.
    last: Arc<AtomicUsize>,
    /// How often in a row somebody has knocked at each and got no answer at all: the more silent, the later it is tried.
    silent: Arc<[AtomicU32]>,
}

impl Door {
    async fn knock(&self) -> Result<(Client, Connection<Socket, RustlsStream<Socket>>), Fault> {
        let first = self.last.load(Ordering::Relaxed);
        let mut places: Vec<usize> = (0..self.hosts.len()).map(|step| (first + step) % self.hosts.len()).collect();
        places.sort_by_key(|place| self.silent[*place].load(Ordering::Relaxed));
        let mut failed = Fault::Pool(format!("no host has answered within {} s", KNOCK.as_secs()));
        for place in places {
            let mut waiting = Waiting { silent: &self.silent[place], answered: false };
            let answer = timeout(KNOCK, self.hosts[place].connect(self.tls.clone())).await;
            waiting.answered = answer.is_ok();
            match answer {
                Ok(Ok(opened)) => {
                    self.last.store(place, Ordering::Relaxed);
                    return Ok(opened);
                }
                Ok(Err(error)) => failed = error.into(),
                Err(_) => {}
            }
        }
        Err(failed)
    }
}

/// A knock that is not answered yet. Given up, by whomever, it leaves word that the host is silent.
struct Waiting<'d> {
    silent: &'d AtomicU32,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered {
            self.silent.store(0, Ordering::Relaxed);
        } else {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Connect for Door {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        Box::pin(async move {
            match self.knock().await {
                Ok((client, connection)) => {
                    let speaking = tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(error = in_full(&error), "a connection to the database has ended");
                        }
                    });
                    Ok((client, speaking))
                }
                Err(Fault::Sql(error)) => Err(error),
                // Nobody has answered, and the driver has no words for it: the pool says so when its patience ends, which is a moment from now.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// Takes `sslmode` and `sslrootcert` out of a URL: the driver knows but half of the modes.
fn encryption(url: &str) -> Result<(String, SslMode, Plan), Cause> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut authorities, mut rest) = ("prefer", None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", "system")) => {}
            Some(("sslrootcert", value)) => authorities = Some(PathBuf::from(unescaped(value)?)),
            Some((name @ ("sslcert" | "sslkey" | "sslcrl"), _)) => return Err(format!("{name} is not supported").into()),
            _ => rest.push(pair),
        }
    }
    let (mode, trust) = match mode {
        "disable" => (SslMode::Disable, Trust::Any),
        "prefer" => (SslMode::Prefer, Trust::Any),
        // As libpq has it: with authorities at hand they are asked.
        "require" if authorities.is_some() => (SslMode::Require, Trust::Authority),
        "require" => (SslMode::Require, Trust::Any),
        "verify-ca" => (SslMode::Require, Trust::Authority),
        "verify-full" => (SslMode::Require, Trust::Host),
        _ => return Err("sslmode is one of disable, prefer, require, verify-ca, verify-full".into()),
    };
    let plain = if rest.is_empty() { place.to_owned() } else { format!("{place}?{}", rest.join("&")) };
    Ok((plain, mode, Plan { trust, authorities }))
}

/// A value of a URL (RFC 3986 §2.1).
fn unescaped(value: &str) -> Result<String, Cause> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        let [Some(high), Some(low)] = digits else { return Err("a percent sign in a URL is followed by two hexadecimal digits".into()) };
        bytes.push(u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte"));
    }
    Ok(String::from_utf8(bytes)?)
}

/// Brings the schema up to date, all steps in one transaction; of several nodes that open an empty database at once one does, and the others wait for it.
pub(crate) async fn migrate(client: &Client, shown: &std::path::Path) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| StoreError::Open { path: shown.to_owned(), source: in_full(&error).into() };
    // An advisory lock: nothing that could be locked is there yet. Not on the way of any other verb.
    let begin = format!("BEGIN; SET LOCAL lock_timeout = '10min'; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    client.batch_execute(&begin).await.map_err(failed)?;
    let done = take_steps(client, shown).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await.map_err(failed);
    done.and(ended)
}

async fn take_steps(client: &Client, shown: &std::path::Path) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| StoreError::Open { path: shown.to_owned(), source: in_full(&error).into() };
    let there: bool = client.query_one("SELECT to_regclass('meta') IS NOT NULL", &[]).await.map_err(failed)?.get(0);
    let found = if there {
        let row = client.query_opt("SELECT value FROM meta WHERE name = 'schema'", &[]).await.map_err(failed)?;
        let Some(row) = row else {
            return Err(StoreError::Open { path: shown.to_owned(), source: "it is a database of another program".into() });
        };
        let number = String::from_utf8_lossy(row.get(0)).parse::<i64>();
        number.map_err(|_| StoreError::Corrupt("meta.value: schema".to_owned()))?
    } else {
        let version: i32 = client.query_one("SELECT current_setting('server_version_num')::integer", &[]).await.map_err(failed)?.get(0);
        if version < 150_000 {
            let why = format!("its server is PostgreSQL {}, and 15 is the oldest that is supported", version / 10_000);
            return Err(StoreError::Open { path: shown.to_owned(), source: why.into() });
        }
        0
    };
    let known = MIGRATIONS.iter().fold(0, |count, _| count + 1);
    if found > known {
        // A newer version has been here: it says whether we can still work with what it has made.
        let row = client.query_opt("SELECT value FROM meta WHERE name = 'schema_oldest'", &[]).await.map_err(failed)?;
        let oldest = row.and_then(|row| String::from_utf8_lossy(row.get(0)).parse::<i64>().ok());
        if oldest.is_none_or(|oldest| oldest > known) {
            return Err(StoreError::Newer { path: shown.to_owned(), found, known });
        }
        tracing::info!(store.schema = found, known, "a newer version has brought the database up to date; this one goes on with it");
        return Ok(());
    }
    for (number, step) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        client.batch_execute(step).await.map_err(failed)?;
        let note = "INSERT INTO meta (name, value) VALUES ('schema', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        client.execute(note, &[&number.to_string().as_bytes()]).await.map_err(failed)?;
        tracing::info!(store.schema = number, "the database was brought up to date");
    }
    if found < known {
        let note = "INSERT INTO meta (name, value) VALUES ('schema_oldest', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        client.execute(note, &[&OLDEST.to_string().as_bytes()]).await.map_err(failed)?;
    }
    Ok(())
}

/// Refuses a database that is an unfinished copy.
pub(crate) async fn check_whole(client: &Client, shown: &std::path::Path) -> Result<(), StoreError> {
    let note = client.query_opt("SELECT FROM meta WHERE name = $1", &[&COPY_NOTE]).await;
    match note.map_err(|error| Fault::from(error).into_store())? {
        Some(_) => Err(StoreError::Unfinished(shown.to_owned())),
        None => Ok(()),
    }
}

/// Names the installation and remembers the key the first time; afterwards refuses another key before it can do harm. Of two nodes that are the first at once one
/// writes, and the other is measured by what that one wrote.
pub(crate) async fn check_key(client: &Client, shown: &std::path::Path, key: &SealKey) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| Fault::from(error).into_store();
    let check = key.seal(Place::KeyCheck, KEY_CHECK)?;
    let mut random = [0; 5];
    fill(&mut random)?;
    let add = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    client.execute(add, &[&"key_check", &check]).await.map_err(failed)?;
    client.execute(add, &[&"installation", &hex(&random)]).await.map_err(failed)?;
    let known = client.query_one("SELECT value FROM meta WHERE name = 'key_check'", &[]).await.map_err(failed)?;
    if key.open(Place::KeyCheck, known.get(0)).is_some_and(|text| *text == KEY_CHECK) {
        return Ok(());
    }
    Err(StoreError::Key(format!(
        "it is not the one that {} was made with; its sensitive letters can only be read with that one",
        shown.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_asked_for_as_libpq_has_it() {
        let asked = |query: &str| encryption(&format!("postgres://u@h/d{query}")).map(|(_, mode, plan)| (mode, plan.trust));
        assert_eq!(asked("").unwrap(), (SslMode::Prefer, Trust::Any));
        assert_eq!(asked("?sslmode=disable").unwrap(), (SslMode::Disable, Trust::Any));
        assert_eq!(asked("?sslmode=require").unwrap(), (SslMode::Require, Trust::Any));
        assert_eq!(asked("?sslmode=require&sslrootcert=/ca.pem").unwrap(), (SslMode::Require, Trust::Authority));
        assert_eq!(asked("?connect_timeout=3&sslmode=verify-ca").unwrap(), (SslMode::Require, Trust::Authority));
        assert_eq!(asked("?sslmode=verify-full").unwrap(), (SslMode::Require, Trust::Host));
        assert!(asked("?sslmode=yes").unwrap_err().to_string().contains("verify-full"));
        assert!(asked("?sslcert=x").unwrap_err().to_string().contains("sslcert is not supported"));
        let (rest, _, plan) = encryption("postgres://u@h/d?sslmode=require&connect_timeout=3&sslrootcert=/my%20ca.pem&a=b").unwrap();
        assert_eq!(rest, "postgres://u@h/d?connect_timeout=3&a=b");
        assert_eq!(plan.authorities, Some(PathBuf::from("/my ca.pem")));
    }

    #[test]
    fn of_several_hosts_the_one_that_can_be_written_is_taken() {
        let one = Address::parse("postgres://u:hunter2@h/d").unwrap();
        assert_eq!(one.config.get_target_session_attrs(), TargetSessionAttrs::Any);
        assert!(!one.shown.display().to_string().contains("hunter2"));
        let two = Address::parse("postgres://u:hunter2@h1:5432,h2:5433/d").unwrap();
        let each: Vec<_> =
            two.door.hosts.iter().map(|one| (one.get_hosts().len(), one.get_ports(), one.get_target_session_attrs())).collect();
        assert_eq!(each, [(1, [5432].as_slice(), TargetSessionAttrs::ReadWrite), (1, [5433].as_slice(), TargetSessionAttrs::ReadWrite)]);
        assert_eq!(two.door.hosts[1].get_user(), Some("u"));
        assert_eq!(alone("postgres:///d?host=a,b"), ["postgres:///d?host=a,b"]);
        assert_eq!(alone("postgres://a,b?x=1"), ["postgres://a?x=1", "postgres://b?x=1"]);
        assert_eq!(two.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(two.config.get_hosts().len(), 2);
    }
}
