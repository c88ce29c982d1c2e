//! What can go wrong with keys and links.

use std::path::PathBuf;

/// Why the keys that sign links cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file or folder cannot be read or made.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner may read a key.
    #[error("{} may be read by others than its owner; whoever has it can make links (chmod 600)", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no key of the right kind.
    #[error("{} holds no private key on the curve P-256 (PKCS #8, PEM)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("no key could be made")]
    Random,
}

/// Why no link could be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers, so no link can be made")]
pub struct LinkError;
