//! What can be wrong with a plan before anything is sent.

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
