//! What goes wrong between this room and the server, before it is put into the words of the contract, and whether doing it again is of use.

use crate::error::StoreError;
use std::path::PathBuf;
use tokio_postgres::error::SqlState;

/// A failure inside a verb: the server's, the connection's, or one that is already said in the contract's words.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server's, or the connection's.
    Sql(tokio_postgres::Error),
    /// No connection could be had.
    Pool(String),
    /// The answer to a commit did not come: it is on disk, or it is not.
    Unsure(tokio_postgres::Error),
    /// In the contract's words.
    Said(StoreError),
}

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Nothing was written; it may work at once.
    AtOnce,
    /// Nothing was written; it may work when there is a connection again.
    Later,
    /// Nobody knows whether it was written.
    Unsure,
    /// It will fail again.
    Never,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

impl From<deadpool_postgres::PoolError> for Fault {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Self::Sql(error),
            other => Self::Pool(in_full(&other)),
        }
    }
}

/// An error with its causes: the driver's own text is only "db error".
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

impl Fault {
    /// What may be done about it.
    pub(crate) fn again(&self) -> Again {
        match self {
            // Whoever has waited for a connection in vain has waited long enough.
            Self::Said(_) | Self::Pool(_) => Again::Never,
            Self::Unsure(_) => Again::Unsure,
            Self::Sql(error) => match error.code() {
                Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED => Again::AtOnce,
                // The server goes down, comes up, or is no longer the primary.
                Some(code) if is_away(code) => Again::Later,
                Some(_) => Again::Never,
                // Before a commit was sent nothing can have been written.
                None => Again::Later,
            },
        }
    }

    /// In the words of the contract.
    pub(crate) fn into_store(self) -> StoreError {
        match self {
            Self::Said(error) => error,
            Self::Pool(text) => StoreError::Unavailable(text),
            Self::Unsure(error) => StoreError::Unavailable(format!("the connection was lost during a commit: {}", in_full(&error))),
            Self::Sql(error) => match error.code() {
                Some(code) if *code == SqlState::DISK_FULL => full(),
                // Classes 22 (data), 23 (constraints): SQL:2023 part 2, table 38.
                Some(code) if ["22", "23"].iter().any(|class| code.code().starts_with(class)) => StoreError::Corrupt(in_full(&error)),
                _ => StoreError::Unavailable(in_full(&error)),
            },
        }
    }
}

/// The server's disk is full. How much it has left only the server knows.
fn full() -> StoreError {
    StoreError::Full { path: PathBuf::from("the database server"), free_bytes: 0, needed_bytes: 0 }
}

/// Classes 08 (connection) and 57P (operator), read-only servers, and those that take no more connections.
fn is_away(code: &SqlState) -> bool {
    let text = code.code();
    text.starts_with("08")
        || text.starts_with("57P")
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

/// The same failure for every caller that shared a transaction.
pub(crate) fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full { path, free_bytes, needed_bytes } => {
            StoreError::Full { path: path.clone(), free_bytes: *free_bytes, needed_bytes: *needed_bytes }
        }
        StoreError::Corrupt(what) => StoreError::Corrupt(what.clone()),
        StoreError::Unavailable(what) => StoreError::Unavailable(what.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
