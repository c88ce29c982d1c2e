//! The server's certificate and key: from two PEM files to a rustls configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::TlsError;

/// Where certificate and key are. Both are read once; a renewed certificate needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file with the server's certificate first and the intermediate ones behind it.
    pub cert: PathBuf,
    /// PEM file with the certificate's private key, without a passphrase.
    pub key: PathBuf,
}

impl TlsFiles {
    /// TLS 1.2 and 1.3 with this certificate, offering HTTP/1.1 (RFC 7301).
    ///
    /// # Errors
    /// [`TlsError`] naming the file: unreadable, not PEM, nothing of the kind in it, or a key that is not the certificate's.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unread(&self.cert, error, |path| TlsError::NoCertificate { path }))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: self.cert.clone() });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unread(&self.key, error, |path| TlsError::NoKey { path }))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| self.refused(source))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn refused(&self, source: rustls::Error) -> TlsError {
        let (cert, key) = (self.cert.clone(), self.key.clone());
        match source {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert, key },
            source => TlsError::Refused { cert, key, source },
        }
    }
}

fn unread(path: &Path, error: pem::Error, nothing: impl FnOnce(PathBuf) -> TlsError) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Unreadable { path, source },
        pem::Error::NoItemsFound => nothing(path),
        other => TlsError::NotPem { path, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn files(folder: &Path, cert: &str, key: &str) -> TlsFiles {
        let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    #[test]
    fn each_broken_file_is_named_with_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let good = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (cert, key) = (good.cert.pem(), good.signing_key.serialize_pem());
        let load = |cert: &str, key: &str| files(folder.path(), cert, key).load();

        assert!(load(&cert, &key).is_ok());
        assert!(matches!(load(&key, &key), Err(TlsError::NoCertificate { path }) if path.ends_with("cert.pem")));
        assert!(matches!(load("", &key), Err(TlsError::NoCertificate { .. })));
        assert!(matches!(load(&cert, &cert), Err(TlsError::NoKey { path }) if path.ends_with("key.pem")));
        assert!(matches!(load(&cert, &other.signing_key.serialize_pem()), Err(TlsError::Mismatch { .. })));
        let cut = &cert[..cert.len() / 2];
        assert!(matches!(load(cut, &key), Err(TlsError::NotPem { path, .. }) if path.ends_with("cert.pem")));
        let gone = TlsFiles { cert: folder.path().join("gone.pem"), key: folder.path().join("key.pem") }.load().unwrap_err();
        assert!(gone.to_string().contains("gone.pem"), "{gone}");
    }
}
