//! One `tidings serve` at a time works on a database: this version's nodes would take each other's leases for their own.
//!
//! An advisory lock of a session of its own. It ends with the session, so whoever dies gives it back; and a connection that is lost is made anew, with the lock.

use crate::{
    error::StoreError,
    postgres::{connect::Address, fault::in_full},
};
use std::{sync::Arc, time::Duration};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_postgres::Client;

/// Any number; whoever serves holds the lock of this name.
const SERVE_LOCK: i64 = 0x5444_4753_0002;
/// The session of one that was killed a moment ago may still be there: so often the lock is asked for, with this in between.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);
/// Before a lost connection is made anew.
const AGAIN: Duration = Duration::from_secs(1);
/// The server notices within half a minute that our machine is gone, and gives the lock to the next one.
const MANNERS: &str =
    "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET idle_session_timeout = 0";

/// Held while `tidings serve` works on a database of a server; given back when dropped, and by the server when the process dies.
#[derive(Debug)]
pub struct ServerLock {
    keeper: AbortHandle,
}

impl Drop for ServerLock {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A session that may hold the lock. It ends when it is dropped.
struct Session {
    client: Client,
    /// Speaks for the client until the connection ends.
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the lock that only `tidings serve` takes.
///
/// # Errors
/// [`StoreError::InUse`] if another one holds it, [`StoreError::Open`] if the server cannot be asked.
pub async fn lock_on_server(url: &str) -> Result<ServerLock, StoreError> {
    let address = Arc::new(Address::parse(url)?);
    let failed = |error: tokio_postgres::Error| StoreError::Open { path: address.shown.clone(), source: in_full(&error).into() };
    let session = connect(&address).await.map_err(failed)?;
    let mut attempt = 0;
    while !take(&session.client).await.map_err(failed)? {
        attempt += 1;
        if attempt == TRIES {
            return Err(StoreError::InUse(address.shown.clone()));
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let keeper = tokio::spawn(keep(Arc::clone(&address), session)).abort_handle();
    Ok(ServerLock { keeper })
}

async fn connect(address: &Address) -> Result<Session, tokio_postgres::Error> {
    let (client, connection) = address.config.connect(address.tls.clone()).await?;
    let session = Session { client, task: tokio::spawn(connection) };
    session.client.batch_execute(MANNERS).await?;
    Ok(session)
}

async fn take(client: &Client) -> Result<bool, tokio_postgres::Error> {
    Ok(client.query_one("SELECT pg_try_advisory_lock($1)", &[&SERVE_LOCK]).await?.get(0))
}

/// Holds the lock through lost connections, without end. While the database is away nothing is claimed, so nothing has to stop.
async fn keep(address: Arc<Address>, mut session: Session) {
    loop {
        let ended = (&mut session.task).await;
        let why = ended.ok().and_then(Result::err).map(|error| in_full(&error));
        tracing::debug!(why, "the session that holds the lock of the database has ended");
        let mut told = false;
        session = loop {
            tokio::time::sleep(AGAIN).await;
            let Ok(again) = connect(&address).await else { continue };
            match take(&again.client).await {
                Ok(true) => break again,
                Ok(false) if !told => {
                    told = true;
                    let database = address.shown.display();
                    tracing::error!(%database, "another tidings serve has taken the database while ours could not reach it; stop one of them");
                }
                Ok(false) | Err(_) => {}
            }
        };
    }
}
