//! What can go wrong for the one who holds a sink. What goes wrong inside a session is said to the client, in SMTP.

use std::path::PathBuf;
use std::time::Duration;

/// The letters waited for did not come in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after {waited:?} the sink has {have} letters, which is not what was waited for")]
pub struct Late {
    /// Letters accepted since the sink was made.
    pub have: u64,
    /// How long was waited.
    pub waited: Duration,
}

/// Certificate files that cannot serve a TLS listener.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The file cannot be read or holds no usable PEM section.
    #[error("{path}: no usable PEM section")]
    Pem {
        /// The file in question.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Key, chain or client authority do not fit together.
    #[error("the certificate files cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The file of client authorities cannot be used.
    #[error("the client authorities cannot be used")]
    ClientAuthority(#[source] rustls::server::VerifierBuilderError),
}
