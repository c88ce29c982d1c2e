//! What can go wrong on this floor, per operation. The texts are for the person who runs the server: they name the address or the file.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::token::Scope;

/// Why the server cannot listen where it was told to.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program (or another Tidings) listens there.
    #[error("{address} is already in use")]
    InUse {
        /// The address as it was given.
        address: String,
    },
    /// Ports below 1024 belong to privileged users on most systems.
    #[error("{address}: this user may not listen there; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE on Linux)")]
    NotAllowed {
        /// The address as it was given.
        address: String,
    },
    /// No network interface of this machine carries the address.
    #[error("{address} is not an address of this machine")]
    NotHere {
        /// The address as it was given.
        address: String,
    },
    /// Not an address at all, or a name that does not resolve.
    #[error("{address} is not an address to listen on; expected host:port, such as 127.0.0.1:8025 or [::1]:8025")]
    NotAnAddress {
        /// The address as it was given.
        address: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Any other refusal of the operating system.
    #[error("cannot listen on {address}")]
    Refused {
        /// The address as it was given.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    pub(crate) fn from_io(address: &str, source: io::Error) -> Self {
        let address = address.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { address },
            io::ErrorKind::AddrNotAvailable => Self::NotHere { address },
            _ => Self::Refused { address, source },
        }
    }
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or not readable by this user.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM (RFC 7468).
    #[error("{} is not a PEM file: {reason}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate file holds no `CERTIFICATE` section.
    #[error("{} holds no certificate (a section BEGIN CERTIFICATE)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file holds no private key that can be used.
    #[error("{} holds no private key (PKCS #8, PKCS #1 or SEC1, not encrypted with a passphrase)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is not the certificate's.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The file of clients' authorities cannot be used.
    #[error("the authorities in {} cannot vouch for clients: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What the TLS library said.
        reason: String,
    },
    /// Anything else the TLS library refuses.
    #[error("the certificate in {} with the key in {} cannot be used", cert.display(), key.display())]
    Refused {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
}

/// Why a text is not a scope or a list of scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A word that is no scope.
    #[error("`{found}` is not a scope (allowed: {})", Scope::written_list())]
    Unknown {
        /// The word.
        found: String,
    },
    /// The list names nothing; a token without any scope could do nothing.
    #[error("no scope given (allowed: {})", Scope::written_list())]
    Empty,
}

/// The keeper of tokens could not answer; the token in question is neither good nor bad.
#[derive(Debug, thiserror::Error)]
#[error("the token store did not answer")]
pub struct KeeperError {
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl KeeperError {
    /// Wraps whatever the store said.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// An error and all its causes in one line, for logs.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(": ");
        line.push_str(&inner.to_string());
        cause = inner.source();
    }
    line
}
