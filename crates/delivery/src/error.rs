//! What can be wrong with a plan before anything is sent, and with a mailbox that is read.

use crate::courier::RelayTrouble;

/// Why the TLS side of a relay cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsPlanError {
    /// The file of certificate authorities holds none.
    #[error("ca_file holds no certificate (PEM, `-----BEGIN CERTIFICATE-----`)")]
    NoAuthority,
    /// A PEM text cannot be read.
    #[error("{what} is not readable as PEM")]
    Pem {
        /// `ca_file`, `client_cert_file` or `client_key_file`.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The TLS library refuses what was given.
    #[error("{what} cannot be used for TLS")]
    Unusable {
        /// Which setting.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The host is neither a name nor an address.
    #[error("`{0}` is not a host name that TLS can check")]
    Host(String),
}

/// Why a client key cannot sign token requests.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key.
    #[error("client_key_file is not readable as PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The key stands in a form that is not read.
    #[error("client_key_file must be a `PRIVATE KEY` or `RSA PRIVATE KEY`; convert it: openssl pkcs8 -topk8 -nocrypt")]
    Form,
    /// The key is neither RSA of at least 2048 bits nor P-256, or is damaged.
    #[error("client_key_file holds no key that can sign here: {0}")]
    Unusable(String),
    /// The key cannot do what is asked of it.
    #[error("{key} cannot sign {cannot}")]
    Algorithm {
        /// Which key.
        key: &'static str,
        /// The algorithm.
        cannot: &'static str,
    },
    /// The certificate file holds none.
    #[error("client_cert_file holds no certificate (PEM)")]
    NoCertificate,
    /// The certificate is damaged.
    #[error("client_cert_file is not readable as PEM")]
    CertificatePem(#[source] rustls::pki_types::pem::Error),
    /// The system gives no random numbers.
    #[error("this machine has no randomness for the assertion: {0}")]
    Randomness(getrandom::Error),
    /// Nobody told the time.
    #[error("there is no clock to date the assertion by")]
    NoClock,
}

/// Why a mailbox cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImapError {
    /// No connection, no encryption, or no sign-in.
    #[error("{}", .0.sentence())]
    NotIn(RelayTrouble),
    /// The server refuses a command.
    #[error("{command} is refused: {words}")]
    Refused {
        /// Its first words.
        command: String,
        /// The server's response code (RFC 9051 §7.1), if it gives one.
        code: Option<String>,
        /// The server's words.
        words: String,
    },
    /// The connection broke, or an answer did not come in time.
    #[error("the connection is lost: {0}")]
    Lost(String),
    /// What the server says is not IMAP, or far more than was asked for.
    #[error("the server does not keep to the protocol: {0}")]
    Garbled(&'static str),
}

impl From<RelayTrouble> for ImapError {
    fn from(trouble: RelayTrouble) -> Self {
        Self::NotIn(trouble)
    }
}
