//! Why a file could not be taken, and may be later.

use std::{io, path::PathBuf};
use tidings_intake::{IntakeError, StoreError};

/// Why a file could not be taken. What is wrong with its content is no error but a refusal, see [`super::Report`].
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// It cannot be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It cannot be moved to where what was read lies.
    #[error("moving {path} away")]
    Move {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be looked at.
    #[error("looking into {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It was changed while it was read.
    #[error("{0} was changed while it was read; it is read again")]
    Changed(PathBuf),
    /// It cannot be recorded now.
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

impl From<StoreError> for CsvError {
    fn from(error: StoreError) -> Self {
        Self::Intake(IntakeError::Store(error))
    }
}
