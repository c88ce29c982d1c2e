//! What goes wrong inside this room, before it is put into the words of the contract.

use crate::{error::StoreError, sqlite::space::Space};
use rusqlite::ErrorCode;

/// A failure inside a verb: SQLite's, or one that is already said in the contract's words.
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Said(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

impl Fault {
    /// In the words of the contract.
    pub(crate) fn into_store(self, space: &Space) -> StoreError {
        match self {
            Self::Said(error) => error,
            Self::Sql(error) => match &error {
                rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                    ErrorCode::DiskFull => space.full(),
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => {
                        StoreError::Corrupt(error.to_string())
                    }
                    _ => StoreError::Unavailable(error.to_string()),
                },
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..) => StoreError::Corrupt(error.to_string()),
                _ => StoreError::Unavailable(error.to_string()),
            },
        }
    }
}

/// The same failure for every caller that shared a commit.
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
