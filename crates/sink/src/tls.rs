//! From PEM files to a TLS server configuration, for those who hold files and not a finished [`ServerConfig`].

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::error::TlsFileError;

/// Builds a TLS server configuration from a certificate chain and its key, both PEM.
///
/// With `client_authority` every client must show a certificate signed by an authority of that PEM file.
///
/// # Errors
/// [`TlsFileError`] if a file cannot be read or its content cannot be used.
pub fn server_tls(chain_pem: &Path, key_pem: &Path, client_authority: Option<&Path>) -> Result<Arc<ServerConfig>, TlsFileError> {
    let chain = certificates(chain_pem)?;
    let key = PrivateKeyDer::from_pem_file(key_pem).map_err(|source| TlsFileError::Pem { path: key_pem.to_owned(), source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().map_err(TlsFileError::Unusable)?;
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(TlsFileError::Unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(TlsFileError::ClientAuthority)?)
        }
    };
    builder.with_single_cert(chain, key).map(Arc::new).map_err(TlsFileError::Unusable)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = |source| TlsFileError::Pem { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)
}
