//! What can go wrong between the house and its database.

use std::path::PathBuf;

/// Why a verb of the store did not happen. Nothing is half done: a verb that fails has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or nearly so; intake pauses, settling goes on as long as it can.
    #[error("the disk of {path} is nearly full: {free_bytes} bytes free, {needed_bytes} needed")]
    Full {
        /// The database's folder.
        path: PathBuf,
        /// What is left.
        free_bytes: u64,
        /// What has to be left for intake to go on.
        needed_bytes: u64,
    },
    /// The database cannot be reached or written now; trying again may help.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
    /// Another `tidings serve` works on this database.
    #[error("another tidings serve is working on {0}")]
    InUse(PathBuf),
    /// The database is the target of a copy that has not come to its end.
    #[error(
        "the database {0} is an unfinished copy: run the same `tidings store copy` again to finish it, or go on with the database that it is a copy of"
    )]
    Unfinished(PathBuf),
    /// The database was written by a newer version.
    #[error("the database {path} has schema {found}, made by a newer tidings; this one knows up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest this version knows.
        known: i64,
    },
    /// The key for sensitive letters is missing, malformed, readable by others, or not the one they were encrypted with.
    #[error("the key for sensitive letters: {0}")]
    Key(String),
    /// What was read from the database makes no sense: table, row and column.
    #[error("the database holds something that cannot be: {0}")]
    Corrupt(String),
    /// A mirrored object has changed since it was compared.
    #[error("the object {0} has changed meanwhile")]
    Moved(String),
    /// Another node feeds this directory by now; nothing was written.
    #[error("the directory {0} is fed by another node by now")]
    Fenced(String),
    /// Opening failed.
    #[error("cannot open the database {path}")]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
