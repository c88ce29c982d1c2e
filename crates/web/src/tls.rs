//! The server's certificate and key: from two PEM files to a rustls configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::error::TlsError;

/// Where certificate and key are. Both are read once; a renewed certificate needs a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file with the server's certificate first and the intermediate ones behind it.
    pub cert: PathBuf,
    /// PEM file with the certificate's private key, without a passphrase.
    pub key: PathBuf,
    /// Who vouches for clients, if certificates are asked of them. Nobody has to show one for the handshake, because pages for people stand on the same listener:
    /// which routes demand one is the gate's word, see [`crate::TokenGate::with_certificates`].
    pub clients: Option<ClientCheck>,
}

/// Which certificates of clients count (mutual TLS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCheck {
    /// PEM file with the authorities' certificates. A certificate from anybody else ends the handshake.
    pub ca: PathBuf,
    /// The names of which a certificate must bear one: DNS names among its alternative names, or the common name. Empty: any.
    pub names: Vec<String>,
}

/// The certificate that a client has shown, vouched for by one of the authorities; handlers find it among the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its name, for histories and messages: the one that let it in, else its first.
    pub name: String,
    /// Whether it bears one of the names that count.
    pub counts: bool,
}

impl ClientCheck {
    /// Judges a certificate that was verified in the handshake.
    pub(crate) fn judge(&self, certificate: &CertificateDer<'_>) -> ClientCertificate {
        let names = names_of(certificate);
        let found = names.iter().find(|name| self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)));
        let counts = found.is_some() || self.names.is_empty();
        ClientCertificate { name: found.or(names.first()).cloned().unwrap_or_else(|| "(without a name)".to_owned()), counts }
    }

    fn verifier(&self, provider: &Arc<rustls::crypto::CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let authorities = certificates(&self.ca)?;
        let refused = |source: String| TlsError::Authorities { path: self.ca.clone(), reason: source };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| refused(error.to_string()))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| refused(error.to_string()))
    }
}

/// The DNS names and then the common name of a certificate, without control characters, each at most 255 characters long.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let dns = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let fits = |name: &&str| !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control);
    dns.chain(common).filter(fits).map(str::to_owned).collect()
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unread(path, error, |path| TlsError::NoCertificate { path }))?;
    if chain.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(chain) }
}

impl TlsFiles {
    /// TLS 1.2 and 1.3 with this certificate, offering HTTP/1.1 (RFC 7301).
    ///
    /// # Errors
    /// [`TlsError`] naming the file: unreadable, not PEM, nothing of the kind in it, or a key that is not the certificate's.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unread(&self.key, error, |path| TlsError::NoKey { path }))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = match &self.clients {
            Some(clients) => clients.verifier(&provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
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
        let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), clients: None };
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
        let gone = TlsFiles { cert: folder.path().join("gone.pem"), key: folder.path().join("key.pem"), clients: None };
        let gone = gone.load().unwrap_err();
        assert!(gone.to_string().contains("gone.pem"), "{gone}");
        let clients = Some(ClientCheck { ca: folder.path().join("key.pem"), names: Vec::new() });
        let no_authority = TlsFiles { clients, ..files(folder.path(), &cert, &key) }.load();
        assert!(matches!(no_authority, Err(TlsError::NoCertificate { path }) if path.ends_with("key.pem")));
    }

    #[test]
    fn a_certificate_counts_by_a_name_it_bears() {
        let mut params = rcgen::CertificateParams::new(vec!["server.example.org".into(), "10.0.0.1".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Identity server");
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone();
        let judge =
            |names: &[&str]| ClientCheck { ca: PathBuf::new(), names: names.iter().map(|name| (*name).to_owned()).collect() }.judge(&der);
        assert_eq!(judge(&[]), ClientCertificate { name: "server.example.org".into(), counts: true });
        assert!(judge(&["SERVER.example.org"]).counts);
        assert_eq!(judge(&["x", "Identity server"]), ClientCertificate { name: "Identity server".into(), counts: true });
        assert_eq!(judge(&["example.org", "10.0.0.1"]), ClientCertificate { name: "server.example.org".into(), counts: false });
        assert!(!judge(&["x"]).counts);
        let broken = ClientCheck { ca: PathBuf::new(), names: vec!["x".into()] }.judge(&CertificateDer::from(vec![1, 2, 3]));
        assert!(!broken.counts);
    }
}
